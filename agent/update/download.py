"""Parts of a build by HTTPS: only what is missing, in whatever pieces the network and the server give it.

`Taker` says which bytes of the file are wanted next and takes what comes; `judged` says what a server's answer is
worth. Both are pure. `Attempt` is the thin shell around them, for a thread of its own: one request after the other
until nothing is wanted, or something is wrong. Nothing that a server sends is believed: the head is signed, and each
piece has the hash that the head names, so the worst that a server can do is to cost bytes, and those are counted.
"""

import http.client
import re
import socket
import ssl
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from agent.sockets import hang_up
from agent.update.air import End, Outcome
from agent.update.refusal import Refused
from agent.update.suit import HEAD_MAX_B, TooShort, head_bytes

HEAD_STEP_B = 65_536  # of a file that is not known yet
GAP_B = 2_048  # rather read in vain than asked around: a request costs as much, and a round trip
READ_B = 16_384
SILENT_S = 30.0  # for one answer of the network
OPEN_S = 60.0  # for name, connection, TLS and the head of an answer
DRIP_S, DRIP_B = 60.0, 1_024  # less in so long is no transfer
REDIRECTS_MAX = 5
REQUEST_B, CONNECT_B = 1_000, 6_000  # what a request, and a connection, cost besides the content
URL_MAX = 4_000
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", re.ASCII)
USER_AGENT = "station-agent"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Wanted:
    offset: int  # in the file
    size_b: int  # as stored
    digest: bytes


class Hands(Protocol):
    """Who takes what has come. Refused: this station must not have the build, or a piece is not what was signed."""

    def begin(self, head: bytes) -> Sequence[Wanted]: ...
    def put(self, digest: bytes, stored: bytes) -> None: ...


# -- what is wanted ---------------------------------------------------------------------------------------------------


class Taker:
    """A file on its way. `head`: what is known of its beginning already; `is_new`: nobody has had the whole of it."""

    def __init__(self, hands: Hands, head: bytes = b"", *, is_new: bool = True) -> None:
        self.got_b = 0  # new and right
        self._hands = hands
        self._head = bytearray(head)
        self._known_b = len(head) if is_new else HEAD_MAX_B  # of the head: not new
        self._todo: list[Wanted] | None = None  # still, by offset; None: the head is not whole yet
        self._at, self._part = 0, bytearray()  # what has come of the pieces and is not done with, from this offset on
        self._look()

    @property
    def head(self) -> bytes:
        """As far as it has come."""
        return bytes(self._head)

    @property
    def is_begun(self) -> bool:
        return self._todo is not None

    def wants(self) -> Span | None:
        """What to ask for next: pieces that lie close together are one request. None: nothing is wanted any more."""
        if self._todo is None:
            return Span(len(self._head), len(self._head) + HEAD_STEP_B - 1)
        if not self._todo:
            return None
        first = end = self._todo[0].offset
        if self._at == first:  # a server that gives less at a time than a piece is long
            first += len(self._part)
        for piece in self._todo:
            if piece.offset > end + GAP_B:
                break
            end = piece.offset + piece.size_b
        return Span(first, end - 1)

    def feed(self, offset: int, data: bytes) -> None:
        """Bytes of the file from `offset` on; what nobody wants is dropped. Refused; ValueError: this is no build."""
        if self._todo is None:
            offset, data = self._fed_head(offset, data)
        if self._todo is not None and data:
            self._feed_pieces(offset, data, self._todo)

    def _fed_head(self, offset: int, data: bytes) -> tuple[int, bytes]:
        """What is left of it when the head is whole."""
        have = len(self._head)
        if not offset <= have < offset + len(data):
            return offset, b""
        self._head += data[have - offset :]
        self._look()
        if self._todo is None:
            return offset, b""
        return (over := len(self._head)), data[over - offset :]

    def _look(self) -> None:
        end = envelope_end(self._head)
        if end is None:
            return
        del self._head[end:]
        self.got_b += max(0, end - self._known_b)
        self._todo = sorted(self._hands.begin(bytes(self._head)), key=offset_of)

    def _feed_pieces(self, offset: int, data: bytes, todo: list[Wanted]) -> None:
        if offset != self._at + len(self._part):  # not the continuation
            self._at, self._part = offset, bytearray()
        self._part += data
        while (index := bisect_left(todo, self._at, key=offset_of)) < len(todo):
            piece = todo[index]
            self._drop(piece.offset - self._at)  # nobody wants it
            if self._at < piece.offset or len(self._part) < piece.size_b:
                return
            self._hands.put(piece.digest, bytes(self._part[: piece.size_b]))
            self._drop(piece.size_b)
            self.got_b += piece.size_b
            del todo[index]
        self._drop(len(self._part))

    def _drop(self, size_b: int) -> None:
        size_b = min(size_b, len(self._part))
        self._at += size_b
        del self._part[:size_b]


def offset_of(piece: Wanted) -> int:
    return piece.offset


def envelope_end(data: bytes | bytearray) -> int | None:
    """Where the envelope ends that begins here; None: it goes on beyond. Only lengths are looked at, for nobody has
    verified it. ValueError: no envelope begins here."""
    try:
        return len(head_bytes(BytesIO(data)))
    except TooShort:
        return None
    except Refused as refused:
        raise ValueError(refused.sentence) from None


# -- what an answer is worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """Of the file, from earlier answers."""

    etag: str = ""
    size_b: int = 0


@dataclass(frozen=True, slots=True)
class Body:
    """It follows, from `first` on; `last` None: up to its end, wherever that is."""

    first: int
    last: int | None
    known: Known
    is_whole: bool = False  # nobody has asked for all of it


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str


@dataclass(frozen=True, slots=True)
class Changed:
    """Another file lies there now, or another server answers."""


@dataclass(frozen=True, slots=True)
class Bad:
    end: End
    why: str
    retry_after_s: float = 0.0


Answer = Body | Redirect | Changed | Bad


def judged(url: str, span: Span, status: int, headers: Mapping[str, str], known: Known) -> Answer:
    """`headers` by their names in small letters."""
    if status in (301, 302, 303, 307, 308):
        return redirected(url, headers.get("location", ""))
    if status in (429, 503):
        return Bad(End.LINK, f"the server is busy ({status})", retry_after_s(headers))
    if status == 416:
        return Changed() if known.size_b else Bad(End.LIE, "the server has no such bytes")
    if status not in (200, 206):
        return Bad(End.REFUSAL, f"the server answers {status}")
    if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        return Bad(End.LIE, "the server compresses what is asked for as it is")
    etag = headers.get("etag", "")
    if known.etag and etag and etag != known.etag:
        return Changed()
    return part(span, headers, known, etag) if status == 206 else whole(headers, known, etag)


def part(span: Span, headers: Mapping[str, str], known: Known, etag: str) -> Answer:
    """206: it may be less than was asked for, but not something else."""
    found = RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return Bad(End.LIE, "the server does not say which part it sends")
    first, last = int(found[1]), int(found[2])
    size_b = 0 if found[3] == "*" else int(found[3])
    if first != span.first or not first <= last <= span.last or (size_b and last >= size_b):
        return Bad(End.LIE, f"the server sends bytes {first}-{last} instead of {span.first}-{span.last}")
    if headers.get("content-length", str(last - first + 1)) != str(last - first + 1):
        return Bad(End.LIE, "the server contradicts itself about the length")
    if known.size_b and size_b and size_b != known.size_b:
        return Changed()
    return Body(first, last, Known(strong(etag) or known.etag, size_b or known.size_b))


def whole(headers: Mapping[str, str], known: Known, etag: str) -> Answer:
    """200: from the beginning, whatever was asked for. What is not wanted of it is read in vain."""
    said = headers.get("content-length", "")
    if said and not re.fullmatch(r"\d{1,15}", said, re.ASCII):
        return Bad(End.LIE, "the server's length is no number")
    size_b = int(said) if said else 0
    if known.size_b and size_b and size_b != known.size_b:
        return Changed()
    known = Known(strong(etag) or known.etag, size_b or known.size_b)
    return Body(0, size_b - 1 if size_b else None, known, is_whole=True)


def strong(etag: str) -> str:
    """RFC 9110 §13.1.5: only a strong one is good for If-Range."""
    return etag if re.fullmatch(r'"[!#-~]{1,200}"', etag, re.ASCII) else ""


def redirected(url: str, location: str) -> Answer:
    try:
        target = urljoin(url, location)[: URL_MAX + 1]
    except ValueError:
        target = ""
    if not location or not is_good(target):
        return Bad(End.REFUSAL, "the server sends us to no https place")
    return Redirect(target)


def is_good(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_ours = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and port != 0
    return is_ours and len(url) <= URL_MAX and url.isascii() and url.isprintable() and " " not in url


def retry_after_s(headers: Mapping[str, str]) -> float:
    """RFC 9110 §10.2.3: seconds, or a date, which is measured by the server's own clock. 0: it does not say."""
    said = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", said, re.ASCII):
        return float(said)
    try:
        until, now = (parsedate_to_datetime(text) for text in (said, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


# -- the shell --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Job:
    """One attempt. `head` and `known`: of earlier ones. `left_b` may be spent."""

    url: str
    hands: Hands
    context: ssl.SSLContext
    left_b: int
    head: bytes = b""
    known: Known = field(default_factory=Known)
    is_pinned: bool = True  # the server's name for the file is to stay the same
    is_new: bool = True  # the head has never come whole


class Stop:
    """To be set from any thread: the attempt ends as soon as the network lets it, which is at once."""

    def __init__(self) -> None:
        self._event, self._lock = Event(), Lock()
        self._line: socket.socket | None = None

    def set(self) -> None:
        self._event.set()
        self.cut()

    def cut(self) -> None:
        """The connection ends, and no more."""
        with self._lock:
            if self._line is not None:
                hang_up(self._line)

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def watch(self, line: socket.socket | None) -> None:
        """`line` is the connection now, and ours to close."""
        with self._lock:
            before, self._line = self._line, line
            if before is not None:
                before.close()
        if self.is_set:
            self.cut()


def trusting(ca: Path | None) -> ssl.SSLContext:
    """The system's roots and the operator's own. OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    if ca is not None:
        context.load_verify_locations(ca)
    return context


class Ended(Exception):
    def __init__(self, end: End, why: str = "", code: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.outcome = end, code, why, retry_after_s


class Attempt:
    """Runs once, in a thread of its own. `taker` and `known` stay: the next attempt begins with what they have."""

    def __init__(self, job: Job, stop: Stop, clock: Callable[[], float]) -> None:
        self.job, self.stop, self.clock = job, stop, clock
        self.known = job.known if job.is_pinned else replace(job.known, etag="")
        self.spent_b = 0
        self.taker: Taker | None = None
        self._connection: http.client.HTTPSConnection | None = None
        self._where = ""
        self._is_used = False  # the connection has carried an answer

    def run(self) -> Outcome:
        """Never raises for anything that the world does."""
        try:
            self.taker = Taker(self.job.hands, self.job.head, is_new=self.job.is_new)
            while (span := self.taker.wants()) is not None:
                self._fetch(span, self.taker)
                if self.taker.wants() == span:
                    raise Ended(End.LINK, "the server sends nothing of what is asked for")
            return self._outcome(End.DONE)
        except Ended as ended:
            return self._outcome(*ended.outcome)
        except Refused as refused:
            return self._outcome(*ended_by(refused))
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            if self.stop.is_set:
                return self._outcome(End.STOPPED)
            return self._outcome(End.LINK, "", f"{type(error).__name__}: {str(error)[:200]}")
        except ValueError as error:
            return self._outcome(End.LIE, "format", str(error)[:200])
        finally:
            self._hang_up()

    def _outcome(self, end: End, code: str = "", why: str = "", retry_after_s: float = 0.0) -> Outcome:
        if self.stop.is_set and end is End.LINK:
            end = End.STOPPED
        return Outcome(end, self.taker.got_b if self.taker else 0, self.spent_b, code, why, retry_after_s)

    def _fetch(self, span: Span, taker: Taker) -> None:
        """One request with its answer, redirects followed."""
        url = self.job.url
        for _ in range(REDIRECTS_MAX + 1):
            self._check()
            answer = self._asked(url, span)
            if isinstance(answer, tuple):
                body, response = answer
                with closing(response):
                    return self._take(body, response, taker)
            if isinstance(answer, Changed):
                self.known = Known()
                raise Ended(End.LINK, "the file on the server has changed", "changed")
            if isinstance(answer, Bad):
                raise Ended(answer.end, answer.why, "", answer.retry_after_s)
            url = answer.url
        raise Ended(End.REFUSAL, "the server sends us from place to place")

    def _check(self) -> None:
        if self.stop.is_set:
            raise Ended(End.STOPPED)
        if self.spent_b >= self.job.left_b:
            raise Ended(End.BUDGET)

    def _asked(self, url: str, span: Span) -> tuple[Body, http.client.HTTPResponse] | Redirect | Changed | Bad:
        asked = Span(span.first, min(span.last, span.first + max(0, self.job.left_b - self.spent_b)))
        over = Timer(OPEN_S, self.stop.cut)  # a server that drips its headers
        over.daemon = True
        over.start()
        try:
            try:
                response = self._sent(self._connected(url), url, asked)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not self._is_used:
                    raise
                self._hang_up()  # it had been closed while we were busy
                response = self._sent(self._connected(url), url, asked)
        finally:
            over.cancel()
        self._is_used = True
        answer = judged(url, asked, response.status, lowered(response), self.known)
        if isinstance(answer, Body):
            return answer, response
        response.close()
        self._hang_up()
        return answer

    def _sent(self, connection: http.client.HTTPSConnection, url: str, span: Span) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={span.first}-{span.last}", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if self.known.etag:
            headers["If-Range"] = self.known.etag
        parts = urlsplit(url)
        self.spent_b += REQUEST_B
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers=headers)
        return connection.getresponse()

    def _connected(self, url: str) -> http.client.HTTPSConnection:
        """The one that stands, if it leads there and its last answer was read to the end."""
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 443}"
        if self._connection is not None and self._connection.sock is not None and where == self._where:
            return self._connection
        self._hang_up()
        host, port = parts.hostname or "", parts.port or 443
        self.spent_b += CONNECT_B
        talk = socket.create_connection((host, port), SILENT_S)
        self.stop.watch(talk.dup())
        try:
            secured = self.job.context.wrap_socket(talk, server_hostname=host)
        except BaseException:
            talk.close()
            raise
        self._connection = http.client.HTTPSConnection(host, port, timeout=SILENT_S)
        self._connection.sock = secured
        self._connection.auto_open = 0  # a new connection is made here, or not at all
        self._where, self._is_used = where, False
        return self._connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self.stop.watch(None)

    def _take(self, body: Body, response: http.client.HTTPResponse, taker: Taker) -> None:
        self.known = body.known if self.job.is_pinned else replace(body.known, etag="")
        at, since_s, since_b = body.first, self.clock(), 0
        for data in chunks(response):
            self.spent_b += len(data)
            since_b += len(data)
            if body.last is not None and at + len(data) > body.last + 1:
                raise Ended(End.LIE, "the server sends more than it has said")
            taker.feed(at, data)
            at += len(data)
            self._check()
            if (now_s := self.clock()) >= since_s + DRIP_S:
                if since_b < DRIP_B:
                    raise Ended(End.LINK, f"only {since_b} bytes in {now_s - since_s:.0f} s")
                since_s, since_b = now_s, 0
            wanted = taker.wants()
            if wanted is None or (body.is_whole and body.last is not None and wanted.first > body.last):
                break
        if not response.isclosed():  # something of it is left: the connection cannot be used again
            self._hang_up()
        elif body.last is not None and at <= body.last:
            raise Ended(End.LINK, "the server has closed in the middle")


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while data := response.read1(READ_B):
        yield data


def lowered(response: http.client.HTTPResponse) -> dict[str, str]:
    """Each once; where a server says one twice, the first counts."""
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        found.setdefault(name.lower(), value)
    return found


def ended_by(refused: Refused) -> tuple[End, str, str]:
    """What the station's own side has said no to."""
    if refused.code == "busy":
        return End.BUSY, refused.code, refused.sentence
    end = End.LIE if refused.code == "hash" else End.REFUSED
    return end, refused.code, refused.sentence
