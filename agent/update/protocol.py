"""The station's end of the flash protocol (docs/flash-protocol.md) on one line. Sans-IO, and without a slot or a file.

Bytes go into receive(), come out of pull(); next_deadline() says when tick() wants to be called. What a request asks
for comes out of jobs() and is done elsewhere (agent/update/service.py), one after the other in the order of all lines;
done() brings the result. All lines of a station share one Desk: one flasher at a time changes something.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from agent.update import line
from agent.update.build import Head
from agent.update.index import Piece
from agent.update.line import ANSWER, BODY_MAX, DATA, WINDOW, Deframer, Receiver, frame, packed
from agent.update.refusal import Refused

HEAD_MAX_B, DOCUMENT_MAX_B, DIGEST_B = 1 << 20, 1 << 16, 32
BACKLOG_B = 256 << 10  # received and not written yet; beyond it the flasher has to wait
REASON_MAX = 200  # characters of what somebody gives as a reason
REPEAT_ACK_S = 1.0
FREE = frozenset({line.HELLO, line.STATUS, line.LOG, line.PING, line.BYE, line.WANTED})  # while another is at work
SESSION_OVER = "this session is over, or the station's update service was started anew: begin again"


# -- what is to be done ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """-> a mapping: IDENTITY, of which STATUS is the part `state`."""


@dataclass(frozen=True, slots=True)
class Begin:
    """-> Begun; None where `head` is None and the station does not remember a head with this SHA-256."""

    digest: bytes
    head: bytes | None
    is_dry: bool  # what would be wanted; nothing is changed


@dataclass(frozen=True, slots=True)
class Put:
    """-> None"""

    piece: Piece
    stored: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """-> None"""


@dataclass(frozen=True, slots=True)
class Activate:
    """-> "activated" or "waiting" """

    when_idle: bool
    override: str  # why a running session or an interlock is no reason to wait; "" = it is


@dataclass(frozen=True, slots=True)
class RollBack:
    """-> None"""

    reason: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """-> None"""


@dataclass(frozen=True, slots=True)
class ReadLog:
    """-> a sequence of (number, line), those after `after`, oldest first; as many as there are."""

    after: int


@dataclass(frozen=True, slots=True)
class Provision:
    """-> a mapping"""

    document: bytes


Job = Look | Begin | Put | Finish | Activate | RollBack | Abandon | ReadLog | Provision


@dataclass(frozen=True, slots=True)
class Begun:
    """What the engine says of a head: each of its pieces, in their numbering, and the numbers of those it wants."""

    slot: str
    pieces: tuple[Piece, ...]
    wanted: tuple[int, ...]  # rising
    have_b: int  # of its files that are there, or need not be sent
    total_b: int
    held: str = ""  # "running" or "staged": the station has this build already, whole


def numbered(head: Head) -> tuple[Piece, ...]:
    """The pieces of the components that this head brings the index of, each once; both ends count them so."""
    found: dict[bytes, Piece] = {}
    for name in head.named:
        if (index := head.components.get(name)) is not None:
            for digest, piece in index.pieces().items():
                found.setdefault(digest, piece)
    return tuple(found.values())


# -- what all lines share ----------------------------------------------------------------------------------------------


class Keeping(Protocol):
    """What has come of something that is not whole yet, or not done: its SHA-256 -> its first bytes. What
    agent/update/kept.py keeps outlives the process."""

    data: dict[bytes, bytearray]

    def add(self, digest: bytes, data: bytes) -> None: ...
    def drop(self, digest: bytes) -> None: ...
    def only(self, digests: Collection[bytes]) -> None: ...


class Memory:
    """For as long as the process lives."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytearray] = {}

    def add(self, digest: bytes, data: bytes) -> None:
        """What comes next of it."""
        self.data.setdefault(digest, bytearray()).extend(data)

    def drop(self, digest: bytes) -> None:
        """It is where it belongs."""
        self.data.pop(digest, None)

    def only(self, digests: Collection[bytes]) -> None:
        """All others are not wanted."""
        for gone in self.data.keys() - set(digests):
            del self.data[gone]


@dataclass(slots=True)
class Desk:
    """Who is at work, and what was received of a build that is not whole yet: it outlives the flasher's connection.
    Nothing is acknowledged before it is here."""

    holder: object | None = None
    text: Keeping = field(default_factory=Memory)  # the head or document on its way
    pieces: Keeping = field(default_factory=Memory)  # as stored: the one on its way, and those not written yet

    def claim(self, owner: object) -> bool:
        if self.holder is None:
            self.holder = owner
        return self.holder is owner

    def release(self, owner: object) -> None:
        if self.holder is owner:
            self.holder = None


# -- one line ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Request:
    kind: int
    number: int
    since_s: float
    fields: dict[str, Any]
    answer: bytes = b""  # the frame; empty while the work goes on
    job: int = 0
    told_s: float | None = None  # when WORKING was last said

    @property
    def is_open(self) -> bool:
        return not self.answer

    @property
    def working_s(self) -> float:
        """When WORKING is due."""
        if self.told_s is None:
            return self.since_s + line.WORKING_AFTER_S
        return self.told_s + line.WORKING_EACH_S


@dataclass(slots=True)
class _Transfer:
    receiver: Receiver
    number: int  # of its SEND
    digest: bytes | None  # of a text; None: it is of pieces
    pieces: tuple[Piece, ...]  # all that were announced; empty for a text
    at: int  # in `pieces`: the one on its way
    since: int  # the last ticket before it
    heard_s: float
    said_room: int = WINDOW


class Device:
    """One line's state. A line that is closed, or silent for line.SILENCE_S, is as if it had never been."""

    def __init__(self, desk: Desk, *, frame_b: int = BODY_MAX, window: int = WINDOW) -> None:
        self.frame_b, self.window = frame_b, window
        self._desk = desk
        self._frames = Deframer()
        self._nonce: bytes | None = None  # of the session; None: there is none
        self._version = 0
        self._heard_s = 0.0
        self._request: _Request | None = None  # the last one
        self._transfer: _Transfer | None = None
        self._begun: Begun | None = None
        self._is_dry = False  # the plan was one to look at
        self._failed: Refused | None = None  # why the transfer cannot go on
        self._jobs: list[tuple[int, Job]] = []
        self._tickets = 0
        self._putting: dict[int, Piece] = {}  # ticket: what is being written, also of a session that is over
        self._owes_answer = self._owes_working = self._owes_ack = self._owes_failed = False
        self._refusal = b""  # to somebody without a session

    @property
    def has_session(self) -> bool:
        return self._nonce is not None

    # -- bytes

    def receive(self, data: bytes, now: float) -> None:
        """Any bytes at all. At most one frame of each kind is owed for it, however many there are."""
        for kind, seq, body in self._frames.feed(data):
            self._heard_s = now
            if kind == DATA:
                self._data(seq, body, now)
            elif kind in range(1, ANSWER):
                self._requested(kind, seq, body, now)

    def pull(self, now: float) -> bytes | None:
        """The next frame to be sent."""
        request, transfer = self._request, self._transfer
        if self._refusal:
            refusal, self._refusal = self._refusal, b""
            return refusal
        if self._owes_answer and request is not None and request.answer:
            self._owes_answer = False
            return request.answer
        if self._owes_working and request is not None and request.is_open:
            self._owes_working, request.told_s = False, now
            return frame(line.WORKING, request.number, packed({"what": line.NAMES[request.kind]}))
        if self._owes_failed and self._failed and transfer is not None:
            self._owes_failed = False
            return frame(line.REFUSED, transfer.number, refused(self._failed))
        if self._owes_ack and transfer is not None and not self._failed:
            self._owes_ack, transfer.said_room, transfer.heard_s = False, self._room(), now
            return transfer.receiver.ack(transfer.said_room)
        return None

    def next_deadline(self) -> float | None:
        due = []
        request, transfer = self._request, self._transfer
        if request is not None and request.is_open:
            due.append(request.working_s)
        elif self._nonce is not None:
            due.append(self._heard_s + line.SILENCE_S)
        if transfer is not None and not transfer.receiver.is_whole and not self._failed:
            due.append(transfer.heard_s + REPEAT_ACK_S)
        return min(due, default=None)

    def tick(self, now: float) -> None:
        """The instant that next_deadline() named has come, or any other."""
        request, transfer = self._request, self._transfer
        if request is not None and request.is_open:
            if now >= request.working_s:
                self._owes_working, request.told_s = True, now
        elif self._nonce is not None and now >= self._heard_s + line.SILENCE_S:
            self.close()
            return
        if transfer is not None and now >= transfer.heard_s + REPEAT_ACK_S:
            transfer.heard_s = now
            self._owes_ack = not transfer.receiver.is_whole

    def close(self) -> None:
        """The flasher is gone. What was received stays on the desk, what was begun is finished."""
        self._desk.release(self)
        self._nonce = self._request = self._transfer = self._begun = self._failed = None
        for ticket, _ in self._jobs:  # nobody has heard of them; pieces are on the desk
            self._putting.pop(ticket, None)
        self._jobs.clear()
        self._owes_answer = self._owes_working = self._owes_ack = self._owes_failed = False

    # -- requests

    def _requested(self, kind: int, number: int, body: bytes, now: float) -> None:
        if kind == line.HELLO:
            self._hello(number, body, now)
            return
        last = self._request
        if self._nonce is None or last is None:
            self._refusal = frame(line.REFUSED, number, refused(Refused("link", SESSION_OVER)))
            return
        if number == last.number and kind == last.kind:
            self._owes_answer, self._owes_working = True, last.is_open
            return
        if number != (last.number + 1) & 0xFFFF or (last.is_open and kind != line.BYE):
            return
        self._open(kind, number, body, now)

    def _hello(self, number: int, body: bytes, now: float) -> None:
        try:
            fields = line.body(body)
            nonce = _need(fields, "nonce", bytes)
        except (ValueError, Refused):
            return
        last = self._request
        if nonce == self._nonce and last is not None:
            if last.kind == line.HELLO:  # else it is an old one, that the line has repeated
                self._owes_answer, self._owes_working = True, last.is_open
            return
        self.close()
        self._nonce = nonce[:16]
        self._open(line.HELLO, number, body, now)

    def _open(self, kind: int, number: int, body: bytes, now: float) -> None:
        self._owes_answer = self._owes_working = False
        try:
            fields = line.body(body)
        except ValueError:
            fields = None
        self._request = _Request(kind, number, now, fields or {})
        try:
            if fields is None:
                raise Refused("format", f"{line.NAMES.get(kind, 'a request')} was not understood: use a newer tool")
            handler = _HANDLERS.get(kind)
            if handler is None:
                raise Refused("usage", "this station does not know that request: its software is older than the tool")
            if kind not in FREE and not self._desk.claim(self):
                raise Refused("busy", "another flasher is at work on this station: wait until it has ended")
            handler(self, fields, now)
        except Refused as refusal:
            self._refuse(refusal)

    def _answer(self, fields: Mapping[str, Any]) -> None:
        request = self._request
        assert request is not None and request.is_open
        request.answer = frame(request.kind + ANSWER, request.number, packed(fields))
        self._owes_answer = True

    def _refuse(self, refusal: Refused) -> None:
        request = self._request
        assert request is not None and request.is_open
        request.answer = frame(line.REFUSED, request.number, refused(refusal))
        self._owes_answer = True

    def _do(self, job: Job) -> int:
        self._tickets += 1
        self._jobs.append((self._tickets, job))
        return self._tickets

    def _ask(self, job: Job) -> None:
        """The request's answer is this job's result."""
        assert self._request is not None
        self._request.job = self._do(job)

    # -- each request

    def _identify(self, fields: dict[str, Any], now: float) -> None:
        match fields.get("versions"):
            case [int() as first, int() as last] if common := range(
                max(first, line.VERSIONS.start), min(last + 1, line.VERSIONS.stop)
            ):
                self._version = common[-1]
            case _:
                self._nonce = None
                ours = f"{line.VERSIONS.start} to {line.VERSIONS[-1]}"
                raise Refused("usage", f"this station speaks versions {ours} of the flash protocol: use another tool")
        self._ask(Look())

    def _send(self, fields: dict[str, Any], now: float) -> None:
        what, size_b = _need(fields, "what", str), _need(fields, "size_b", int)
        digest, first = _need(fields, "digest", bytes), _need(fields, "seq", int)
        if not 0 <= first <= 0xFFFF or (what in SIZES and len(digest) != DIGEST_B):
            raise Refused("format", "SEND has a wrong seq or digest: use a newer tool")
        assert self._request is not None
        since, number = self._tickets, self._request.number
        if what in SIZES:
            at_b = self._text_at(digest, size_b, SIZES[what])
            receiver = Receiver(size_b, at_b, first=first, window=self.window)
            self._transfer = _Transfer(receiver, number, digest, (), 0, since, now)
        elif what == "pieces":
            pieces = self._announced(size_b)
            at_b, at = self._goes_on(pieces)
            receiver = Receiver(size_b, at_b, first=first, window=self.window)
            self._transfer = _Transfer(receiver, number, None, pieces, at, since, now)
        else:
            raise Refused("format", "SEND names nothing that this station takes: use a newer tool")
        self._failed, self._owes_ack, self._owes_failed = None, False, False
        self._answer({"at_b": at_b})

    def _text_at(self, digest: bytes, size_b: int, most_b: int) -> int:
        if not 0 < size_b <= most_b:
            raise Refused("format", f"{size_b} bytes are too many for what is sent: at most {most_b} are taken")
        text = self._desk.text
        text.only([digest])
        if len(text.data.get(digest, b"")) > size_b:
            text.drop(digest)
        return len(text.data.get(digest, b""))

    def _announced(self, size_b: int) -> tuple[Piece, ...]:
        if self._begun is None or self._is_dry:
            raise Refused("usage", "a plan comes before its pieces: use a newer tool")
        begun, self._begun = self._begun, None  # what is wanted then: PLAN says it
        pieces = tuple(begun.pieces[number] for number in begun.wanted)
        if size_b != sum(piece.stored_b for piece in pieces):
            raise Refused("format", "the flasher would send something else than is wanted: use a newer tool")
        return pieces

    def _goes_on(self, pieces: tuple[Piece, ...]) -> tuple[int, int]:
        """From which byte and in which piece on. Those that are whole on the desk, and were not written by who had
        them then, are written now."""
        kept = self._desk.pieces
        at_b, at = 0, 0
        while at < len(pieces) and len(kept.data.get(pieces[at].digest, b"")) == pieces[at].stored_b:
            at_b += pieces[at].stored_b
            at += 1
        kept.only([piece.digest for piece in pieces[: at + 1]])
        for piece in pieces[:at]:
            self._put(piece)
        if at < len(pieces):
            at_b += len(kept.data.get(pieces[at].digest, b""))
        return at_b, at

    def _plan(self, fields: dict[str, Any], now: float) -> None:
        digest = _need(fields, "digest", bytes)
        self._transfer = None
        self._is_dry = fields.get("is_dry") is True
        self._ask(Begin(digest, self._text(digest), self._is_dry))

    def _text(self, digest: bytes) -> bytes | None:
        """What was sent with this SHA-256, whole; None: nothing was."""
        text = bytes(self._desk.text.data.get(digest, b""))
        return text if sha256(text).digest() == digest else None

    def _provision(self, fields: dict[str, Any], now: float) -> None:
        document = self._text(_need(fields, "digest", bytes))
        if document is None:
            raise Refused("usage", "the document comes before its request: use a newer tool")
        self._transfer = None
        self._ask(Provision(document))

    def _planned(self, begun: Begun | None) -> Mapping[str, Any]:
        self._begun = begun
        if begun is None:
            return {"is_known": False}
        wanted_b = sum(begun.pieces[number].stored_b for number in begun.wanted)
        return {
            "is_known": True, "slot": begun.slot, "held": begun.held, "pieces": len(begun.pieces),
            "wanted": len(begun.wanted), "wanted_b": wanted_b, "have_b": begun.have_b, "total_b": begun.total_b,
        }  # fmt: skip

    def _wanted(self, fields: dict[str, Any], now: float) -> None:
        first = _need(fields, "first", int)
        if self._begun is None or not 0 <= first <= len(self._begun.pieces):
            raise Refused("usage", "a plan comes before its bitmap: use a newer tool")
        size = min(line.BITS_B, (len(self._begun.pieces) - first + 7) // 8)
        bits = bytearray(size)
        for number in self._begun.wanted:
            if first <= number < first + 8 * size:
                bits[(number - first) // 8] |= 1 << (number - first) % 8
        self._answer({"first": first, "bits": bytes(bits)})

    def _finish(self, fields: dict[str, Any], now: float) -> None:
        if self._failed:
            raise self._failed
        self._transfer = None
        self._ask(Finish())

    def _activate(self, fields: dict[str, Any], now: float) -> None:
        self._ask(Activate(_need(fields, "when_idle", bool), _need(fields, "override", str)[:REASON_MAX]))

    def _roll_back(self, fields: dict[str, Any], now: float) -> None:
        self._ask(RollBack(_need(fields, "reason", str)[:REASON_MAX]))

    def _log(self, fields: dict[str, Any], now: float) -> None:
        self._ask(ReadLog(_need(fields, "after", int)))

    def _bye(self, fields: dict[str, Any], now: float) -> None:
        request = self._request
        self._answer({})
        self.close()
        self._request, self._owes_answer = request, True  # said once more; then there is no session

    # -- data

    def _data(self, seq: int, body: bytes, now: float) -> None:
        transfer = self._transfer
        if transfer is None:
            if self._nonce is None:
                self._refusal = frame(line.REFUSED, seq, refused(Refused("link", SESSION_OVER)))
            return
        transfer.heard_s = now
        if self._failed:
            self._owes_failed = True
            return
        if self._backlog_b() >= BACKLOG_B + self.window * BODY_MAX:  # more than whoever heeds the room has on its way
            self._owes_ack = True
            return
        try:
            fresh = transfer.receiver.take(seq, body)
        except ValueError:
            self._fail(Refused("format", "the flasher sent more than it had announced: use a newer tool"))
            return
        self._owes_ack = True
        if transfer.digest is None:
            self._cut(transfer, fresh)
        elif fresh:
            self._desk.text.add(transfer.digest, fresh)

    def _cut(self, transfer: _Transfer, fresh: bytes) -> None:
        """What is whole is written; until that is done it stays on the desk, too."""
        kept = self._desk.pieces
        while fresh:
            piece = transfer.pieces[transfer.at]
            missing_b = piece.stored_b - len(kept.data.get(piece.digest, b""))
            kept.add(piece.digest, fresh[:missing_b])
            if len(fresh) >= missing_b:
                self._put(piece)
                transfer.at += 1
            fresh = fresh[missing_b:]

    def _put(self, piece: Piece) -> None:
        self._putting[self._do(Put(piece, bytes(self._desk.pieces.data[piece.digest])))] = piece

    def _room(self) -> int:
        return self.window if self._backlog_b() < BACKLOG_B else 0

    def _backlog_b(self) -> int:
        return sum(piece.stored_b for piece in self._putting.values())

    def _fail(self, refusal: Refused) -> None:
        self._failed, self._owes_failed, self._owes_ack = refusal, True, False
        self._desk.pieces.only(())

    # -- what was done

    def jobs(self) -> list[tuple[int, Job]]:
        """(ticket, job), each once."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def done(self, ticket: int, result: Any, now: float) -> None:
        """`result`: what the job is said to give, or a Refused. Of a session that is over: nothing happens."""
        transfer = self._transfer
        if (piece := self._putting.pop(ticket, None)) is not None:
            self._desk.pieces.drop(piece.digest)
            if isinstance(result, Refused) and transfer is not None and ticket > transfer.since and not self._failed:
                self._fail(result)
            if transfer is not None and transfer.said_room == 0 and self._room():
                self._owes_ack = True
            return
        request = self._request
        if request is None or not request.is_open or request.job != ticket:
            return
        self._heard_s = now  # whoever waited was allowed to be silent
        if isinstance(result, Refused):
            self._refuse(result)
        else:
            self._answer(self._fields(request, result))

    def _fields(self, request: _Request, result: Any) -> Mapping[str, Any]:
        match request.kind:
            case line.HELLO:
                return {**result, "version": self._version, "frame_b": self.frame_b, "window": self.window}
            case line.STATUS:
                state: Mapping[str, Any] = result["state"]
                return state
            case line.PLAN:
                return self._planned(result)
            case line.LOG:
                return log_page(result)
            case line.ACTIVATE:
                return {"result": result}
            case line.PROVISION:
                given: Mapping[str, Any] = result
                return given
            case kind:
                return {"result": RESULTS.get(kind, "done")}


SIZES = {"head": HEAD_MAX_B, "document": DOCUMENT_MAX_B}  # what is sent as one text, and how long it may be
RESULTS = {line.FINISH: "staged", line.ROLLBACK: "rolled-back", line.ABANDON: "abandoned"}
_HANDLERS = {
    line.HELLO: Device._identify,
    line.SEND: Device._send,
    line.PLAN: Device._plan,
    line.WANTED: Device._wanted,
    line.FINISH: Device._finish,
    line.ACTIVATE: Device._activate,
    line.STATUS: lambda self, fields, now: self._ask(Look()),
    line.ROLLBACK: Device._roll_back,
    line.LOG: Device._log,
    line.PROVISION: Device._provision,
    line.ABANDON: lambda self, fields, now: self._ask(Abandon()),
    line.PING: lambda self, fields, now: self._answer({}),
    line.BYE: Device._bye,
}
_T = TypeVar("_T", bytes, int, str, bool)


def _need(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = fields.get(name)
    if type(value) is not kind:
        raise Refused("format", f"the request lacks a {name} that can be read: use a newer tool")
    return value


def refused(refusal: Refused) -> bytes:
    """The body of REFUSED; a sentence that is too long is cut."""
    sentence = refusal.sentence.encode()[: BODY_MAX - 64].decode("utf-8", "ignore")
    return packed({"code": refusal.code, "sentence": sentence})


def log_page(lines: Sequence[tuple[int, str]]) -> Mapping[str, Any]:
    """As many as fit into one frame; each is cut to half of one."""
    page: list[list[Any]] = []
    room_b = BODY_MAX - 32
    for number, text in lines:
        cut = text.encode()[: BODY_MAX // 2].decode("utf-8", "ignore")
        room_b -= len(cut.encode()) + 16
        if room_b < 0:
            break
        page.append([number, cut])
    return {"lines": page, "more": len(page) < len(lines)}
