"""The receiving end of stations' reports: HTTPS PUT into a folder, taken up again where it broke off.

HEAD says how much of a file is there (`Upload-Offset`). A PUT with Content-Range goes on exactly there, every other PUT
begins anew; a part has its own name until the file is whole.
"""

import re
import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tools.tlsserver import TlsServer

NAME = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]{0,199})", re.ASCII)
RANGE = re.compile(r"bytes (?:(\d{1,12})-\d{1,12}|\*)/(\d{1,12})", re.ASCII)
REPORT_MAX_B = 64_000_000
READ_B = 65_536
SILENT_S = 30.0


class Receiver(TlsServer):
    """Serves from start() to stop(); `host` "" is every interface."""

    def __init__(
        self, folder: Path, cert: Path, key: Path | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        super().__init__(Handler, context, host=host, port=port)


class Handler(BaseHTTPRequestHandler):
    timeout = SILENT_S
    protocol_version = "HTTP/1.1"
    server: Receiver

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nobody reads it."""

    def do_HEAD(self) -> None:
        if (paths := self._paths()) is None:
            return self._answer(404)
        whole, part = paths
        file = whole if whole.exists() else part
        return self._answer(200, file.stat().st_size if file.exists() else 0)

    def do_PUT(self) -> None:
        paths, length = self._paths(), self.headers.get("Content-Length", "")
        if paths is None or not length.isdigit():
            return self._refuse(404 if paths is None else 411)
        whole, part = paths
        first, size_b = 0, int(length)
        if said := self.headers.get("Content-Range"):
            found = RANGE.fullmatch(said)
            if found is None:
                return self._refuse(400)
            size_b = int(found[2])
            first = size_b - int(length)
            if first != (whole if whole.exists() else part).stat().st_size:
                return self._refuse(409)
        if size_b > REPORT_MAX_B:
            return self._refuse(413)
        if whole.exists() and first == size_b:
            return self._answer(200)
        self._take(part, first, int(length))
        if part.stat().st_size != size_b:
            return self._refuse(400)
        part.replace(whole)
        return self._answer(201)

    def _take(self, part: Path, first: int, length: int) -> None:
        with part.open("r+b" if first else "wb") as file:
            file.seek(first)
            while length and (data := self.rfile.read1(min(length, READ_B))):
                file.write(data)
                file.flush()
                length -= len(data)

    def _paths(self) -> tuple[Path, Path] | None:
        found = NAME.fullmatch(self.path)
        if found is None:
            return None
        return self.server.folder / found[1], self.server.folder / f".{found[1]}.part"

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self._answer(status)

    def _answer(self, status: int, offset: int | None = None) -> None:
        self.send_response(status)
        if offset is not None:
            self.send_header("Upload-Offset", str(offset))
        self.send_header("Content-Length", "0")
        self.end_headers()
