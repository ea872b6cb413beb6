"""Sends a report to an HTTPS server, in a thread of its own: one PUT, and after a broken one only what is missing.

Any server that takes PUT will do: the first attempt is one plain PUT of the whole file. After an attempt that broke
off, HEAD asks the same address for `Upload-Offset`; a server that says one gets the rest, as PUT with Content-Range;
every other one gets the whole again. What an answer is worth stands in `ENDS`.
"""

import http.client
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from urllib.parse import urlsplit

from agent.effects import Upload
from agent.events import UploadTold

RETRIES, RETRY_INTERVAL_S = 5, 60  # where the order does not say
PIECE_B = 16_384
SILENT_S = 30.0
HEADERS_B, CONNECT_B = 1_000, 6_000  # what a request and a connection cost besides
BUDGET_B = 20_000_000
STEP_PERCENT = 5
ENDS = {
    401: "PermissionDenied", 403: "PermissionDenied", 404: "NotSupportedOperation", 405: "NotSupportedOperation",
    501: "NotSupportedOperation", 400: "BadMessage", 411: "BadMessage", 413: "BadMessage", 415: "BadMessage",
}  # fmt: skip
UPLOADED, FAILED, UPLOADING = "Uploaded", "UploadFailure", "Uploading"
GOOD = (200, 201, 204)


class Broken(Exception):
    """This attempt; another one may do better. A sentence."""


class Ended(Exception):
    def __init__(self, status: str, why: str = "") -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(slots=True)
class Sending:
    """One order on its way."""

    wanted: Upload
    file: Path
    context: ssl.SSLContext
    ended: Flag
    size_b: int  # of the file
    sent_b: int = 0  # of the file, in the attempt that runs
    spent_b: int = 0  # all together
    on_spent: Callable[[int], None] = lambda _: None  # bytes that are about to go out
    on_sent: Callable[[int], None] = lambda _: None  # percent of the file, each STEP_PERCENT; the end tells itself

    def attempt(self, *, is_first: bool) -> None:
        """Ended: for good, well or not. Broken."""
        parts = urlsplit(self.wanted.url)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        self._spend(CONNECT_B)
        host, port = parts.hostname or "", parts.port or 443
        connection = http.client.HTTPSConnection(host, port, timeout=SILENT_S, context=self.context)
        try:
            with closing(connection):
                at = 0 if is_first else self._offset(connection, path)
                self._put(connection, path, at)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Ended(FAILED, f"the server is not believed: {error.verify_message}") from None
            raise Broken(f"{type(error).__name__}: {str(error)[:200]}") from None

    def _offset(self, connection: http.client.HTTPSConnection, path: str) -> int:
        """What the server has of it; 0 where it does not say."""
        self._spend(HEADERS_B)
        connection.request("HEAD", path)
        with connection.getresponse() as answer:
            said = answer.getheader("Upload-Offset", "")
            answer.read()
        return int(said) if said.isascii() and said.isdigit() and len(said) < 16 and int(said) <= self.size_b else 0

    def _put(self, connection: http.client.HTTPSConnection, path: str, at: int) -> None:
        size_b = self.size_b
        connection.putrequest("PUT", path, skip_accept_encoding=True)
        connection.putheader("Content-Type", "application/gzip")
        connection.putheader("Content-Length", str(size_b - at))
        if at:
            last = f"{at}-{size_b - 1}" if at < size_b else "*"
            connection.putheader("Content-Range", f"bytes {last}/{size_b}")
        self._spend(HEADERS_B)
        connection.endheaders()
        self.sent_b = at
        with self.file.open("rb") as file:
            file.seek(at)
            while piece := file.read(PIECE_B):
                if self.ended.is_set():
                    raise Broken("called off")
                self._spend(len(piece))
                try:
                    connection.send(piece)
                except OSError:
                    break  # it may have said why
                before, self.sent_b = self.sent_b, self.sent_b + len(piece)
                if steps(before, size_b) < steps(self.sent_b, size_b) and self.sent_b < size_b:
                    self.on_sent(steps(self.sent_b, size_b) * STEP_PERCENT)
        with connection.getresponse() as answer:
            status = answer.status
            answer.read(PIECE_B)
        if status in GOOD and self.sent_b == size_b:
            raise Ended(UPLOADED)
        if status in ENDS:
            raise Ended(ENDS[status], f"the server answers {status}")
        raise Broken(f"the server answers {status}")

    def _spend(self, size_b: int) -> None:
        self.spent_b += size_b
        self.on_spent(size_b)
        if self.spent_b > (self.wanted.budget_b or BUDGET_B):
            raise Ended(FAILED, f"the budget of {self.wanted.budget_b or BUDGET_B} bytes is spent")


def steps(sent_b: int, size_b: int) -> int:
    return sent_b * 100 // size_b // STEP_PERCENT


class Uploader:
    """`wish` is called by the loop; `gather` writes the report into a file, in our thread; `post` takes UploadTold."""

    def __init__(
        self, folder: Path, gather: Callable[[Path], None], trusting: Callable[[], ssl.SSLContext],
        post: Callable[[UploadTold], None], spent: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._spent = spent  # called in our thread
        self._folder, self._gather, self._trusting, self._post = folder, gather, trusting, post
        self._ended = Flag()
        self._order = ""
        self._sending: Sending | None = None

    @property
    def progress(self) -> str:
        """Of what is on its way, in words; "" if nothing is."""
        sending = self._sending
        return f"{sending.sent_b} of {sending.size_b} bytes sent" if sending else ""

    def wish(self, wanted: Upload) -> None:
        if wanted.order == self._order:
            return
        self._ended.set()
        self._order = wanted.order
        if wanted.order:
            self._ended = Flag()
            Thread(target=self._run, args=(wanted, self._ended), name="upload", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self, wanted: Upload, ended: Flag) -> None:
        file = self._folder / f"report-{wanted.order[:64].replace('/', '_')}.tar.gz"
        try:
            status, why = self._sent(wanted, file, ended)
        except OSError as error:
            status, why = FAILED, f"the report cannot be made: {error.strerror or error}"
        except Exception as error:  # a bug of ours ends the upload, not the station
            status, why = FAILED, f"a fault of ours: {error!r}"
        if not ended.is_set():
            self._sending = None
            with suppress(OSError):
                file.unlink(missing_ok=True)
            self._post(UploadTold(wanted.order, status, why))

    def _sent(self, wanted: Upload, file: Path, ended: Flag) -> tuple[str, str]:
        for other in self._folder.glob("report-*.tar.gz"):
            if other != file:
                other.unlink(missing_ok=True)
        is_first = not file.exists()
        if is_first:
            self._gather(file)
        size_b = file.stat().st_size
        sending = self._sending = Sending(
            wanted, file, self._trusting(), ended, size_b, on_spent=self._spent,
            on_sent=lambda percent: self._post(UploadTold(wanted.order, UPLOADING, percent=percent)),
        )  # fmt: skip
        tries = (RETRIES if wanted.retries is None else wanted.retries) + 1
        why = ""
        for number in range(tries):
            if number and ended.wait(wanted.retry_interval_s or RETRY_INTERVAL_S):
                break
            before = f"{why}; {sending.sent_b} of {sending.size_b} bytes were sent" if number else ""
            self._post(UploadTold(wanted.order, UPLOADING, before))
            try:
                sending.attempt(is_first=is_first and not number)
            except Ended as end:
                return end.status, end.why
            except Broken as broken:
                why = str(broken)
        return FAILED, why
