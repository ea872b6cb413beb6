"""A web server on loopback that does to a download whatever a test wants, over real TLS with certificates made here."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

FROM = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Authority:
    ca: Path
    server: Path  # certificate and key for 127.0.0.1
    stranger: Path  # the same from nobody's CA


def authority(folder: Path) -> Authority:
    key, cert = made("a CA", None, None)
    (folder / "ca.pem").write_bytes(cert.public_bytes(Encoding.PEM))
    other_key, other = made("another CA", None, None)
    for name, issuer_key, issuer in (("server", key, cert), ("stranger", other_key, other)):
        own_key, own = made("127.0.0.1", issuer_key, issuer)
        pem = own_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(own.public_bytes(Encoding.PEM) + pem)
    return Authority(*(folder / f"{name}.pem" for name in ("ca", "server", "stranger")))


def made(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(FROM + timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(ours, critical=False)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    return key, builder.sign(issuer_key or key, SHA256())


@dataclass
class Request:
    path: str
    headers: dict[str, str]  # names in small letters
    line: ssl.SSLSocket
    number: int  # of all requests, from 1

    @property
    def range(self) -> tuple[int, int]:
        first, _, last = self.headers["range"].removeprefix("bytes=").partition("-")
        return int(first), int(last)

    def send(self, data: bytes) -> None:
        self.line.sendall(data)

    def answer(self, status: str, body: bytes = b"", **headers: str) -> None:
        said = {"content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    def part(self, data: bytes, **headers: str) -> None:
        """An honest 206 of `data`."""
        first, last = self.range
        body = data[first : last + 1]
        where = f"bytes {first}-{first + len(body) - 1}/{len(data)}"
        self.answer("206 Partial Content", body, **{"content_range": where, **headers})


Answer = Callable[[Request], None]


@dataclass
class Web:
    """Answers each request as `answer` does, until the line is closed."""

    certificate: Path
    answer: Answer
    requests: list[Request] = field(default_factory=list)
    sent_b: int = 0

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}/station-2.0.0.build"
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._serve, name="web", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for line in (self._listener, *self._lines):
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(talk,), name="web line", daemon=True).start()

    def _talk(self, talk: socket.socket) -> None:
        with suppress(OSError, ValueError):
            line = self._context.wrap_socket(talk, server_side=True)
            self._lines.append(line)
            with line:
                rest = b""
                while True:
                    while b"\r\n\r\n" not in rest:
                        if not (data := line.recv(65_536)):
                            return
                        rest += data
                    head, _, rest = rest.partition(b"\r\n\r\n")
                    first, *lines = head.decode().split("\r\n")
                    parted = (each.partition(":") for each in lines)
                    headers = {name.lower(): value.strip() for name, _, value in parted}
                    request = Request(first.split()[1], headers, line, len(self.requests) + 1)
                    self.requests.append(request)
                    self.answer(request)
        talk.close()


def honest(data: bytes) -> Answer:
    return lambda request: request.part(data, etag='"one"')
