"""The station's half of docs/uplink.md: what to send when, and what the cloud's words mean. No clock, socket or thread.

    connected  disconnected  received  puback  fetched  appended  epoch_opened  request  deadline
        each takes the time last (`now`, monotonic seconds) and returns the actions to perform, in order;
    next_deadline
        says when to call deadline() at the latest.

What is owed to the cloud is a set of seqs, and only the cloud's word makes it smaller. What to send next follows from
it: the first stretch, money first, that is owed and not on its way. So a lost batch needs no bookkeeping: it stops being
on its way, and is owed again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.clock import ClockSource
from agent.effects import Stream
from agent.events import AuthorizationStatus, ClockTold, Link, LinkChanged, TransactionAnswered
from agent.uplink.codec import (
    MESSAGE_MAX_B,
    STREAMS,
    Ack,
    Answer,
    Batch,
    Hello,
    Mark,
    VolatileAnswer,
    VolatileRequest,
    WireError,
    decode_ack,
    decode_answer,
    decode_record,
    decode_response,
    encode_batch,
    encode_hello,
    encode_request,
    time_ms,
)

WINDOW_MAX = 20  # batches without the cloud's acknowledgement
BATCH_MAX_B = 8_000  # one lost radio minute costs little
RECORDS_MAX = 64  # in a batch
OVERHEAD_B = 64  # of a PUBLISH around its payload, at most
ENVELOPE_B, RECORD_B = 24, 5  # of a batch around its records, and around each of them
QUESTIONS_MAX = 16  # volatile requests without an answer; beyond it the oldest is forgotten
ANSWERS_MAX = 1_000  # transactions whose late answer we can still place
OWED_MAX = 2_000  # stretches; beyond it the rest counts as one, and is sent twice rather than never

DOUBT_ASKED_S = 1.5  # an answer that a driver waits for
DOUBT_SENT_S = 10.0  # an acknowledgement
SILENT_S = 30.0  # nothing at all, while something waits
HEARTBEAT_S = 230.0  # idle; just below the MQTT keepalive of 240 s, and it proves the whole way
PAUSE_S = 60.0  # after a broker's refusal
BOOT_RETRY_S = (10.0, 60.0, 86_400.0)  # least, without an interval from the cloud, most
LAST_SEQ = 2**63 - 1

NO_SUBSCRIBERS, NOT_AUTHORIZED = 0x10, 0x87  # MQTT 5 §3.4.2.1
TOO_BIG = {0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid"}

Range = tuple[int, int]  # of seqs, both ends belong to it


# -- what to perform --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Only on the connection of that number: what is late for it is void."""

    connection: int
    packet_id: int  # ours, never used twice; puback() tells it back for qos 1
    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read the outbox; answered by fetched()."""

    stream: int
    after_seq: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The cloud holds this."""

    epoch: bytes
    marks: dict[int, Mark]


@dataclass(frozen=True, slots=True)
class OpenEpoch:
    """Answered by epoch_opened()."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Tear this connection down, without a goodbye."""

    connection: int
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The OCPP response to a record."""

    stream: int
    seq: int
    transaction_id: str | None  # if the record was a TransactionEvent we still know
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VolatileAnswered:
    """The response to request() with this tag; `payload` None is an error of the cloud."""

    tag: int
    action: str
    payload: dict[str, Any] | None
    error_code: str = ""
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class BootAnswered:
    """OCPP RegistrationStatusEnumType: Accepted, Pending or Rejected. It restricts messages, not drivers."""

    status: str


@dataclass(frozen=True, slots=True)
class CommandArrived:
    """A COSE_Sign1, unverified."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that somebody must look at; nothing is lost."""

    why: str


Told = LinkChanged | ClockTold | TransactionAnswered | Answered | VolatileAnswered | BootAnswered | CommandArrived | Alarm


@dataclass(frozen=True, slots=True)
class Deliver:
    event: Told


Action = Publish | Fetch | Delete | OpenEpoch | Drop | Deliver


# -- what is owed -----------------------------------------------------------------------------------------------------


def both(a: Sequence[Range], b: Sequence[Range]) -> list[Range]:
    """The seqs in both; each is ascending and without overlaps, and so is the result."""
    out: list[Range] = []
    i = j = 0
    while i < len(a) and j < len(b):
        first, last = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if first <= last:
            out.append((first, last))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return out


def without(owed: Sequence[Range], mark: Mark) -> list[Range]:
    """What is still owed after the cloud's word, in a bounded number of stretches."""
    left = both(owed, [*mark.missing, (mark.high + 1, LAST_SEQ)])
    return left if len(left) <= OWED_MAX else [*left[:OWED_MAX], (left[OWED_MAX][0], LAST_SEQ)]


def first_unsent(owed: Sequence[Range], sent: Sequence[Range], end: int) -> Range | None:
    """The first stretch below `end` that is owed and not on its way."""
    for first, last in owed:
        last = min(last, end - 1)
        for start, stop in sorted(sent):
            if start > first:
                last = min(last, start - 1)
                break
            first = max(first, stop + 1)
        if first <= last:
            return first, last
    return None


@dataclass(slots=True)
class Sent:
    """A batch on its way: until the cloud acknowledges, or the broker refuses."""

    packet_id: int
    seqs: Range
    count: int  # records
    at: float


@dataclass(slots=True)
class Lane:
    """One stream."""

    owed: list[Range]
    next_seq: int
    sent: list[Sent] = field(default_factory=list)
    records_max: int = RECORDS_MAX
    is_stopped: bool = False  # until the next connection

    def unsent(self) -> Range | None:
        return None if self.is_stopped else first_unsent(self.owed, [sent.seqs for sent in self.sent], self.next_seq)

    def oldest(self) -> int:
        return min(self.owed[0][0], self.next_seq)


def lanes(marks: Mapping[int, tuple[int, int]]) -> dict[int, Lane]:
    return {stream: Lane([(marks[stream][0], LAST_SEQ)], marks[stream][1]) for stream in STREAMS}


@dataclass(slots=True)
class Question:
    """A volatile request; tag None: we asked for ourselves."""

    action: str
    tag: int | None
    at: float
    until: float


class Uplink:
    """One station's uplink, over any number of connections. `marks`: stream -> (oldest not acknowledged, next)."""

    def __init__(
        self, station_id: str, boot_id: bytes, epoch: bytes, marks: Mapping[int, tuple[int, int]], boot: dict[str, Any]
    ) -> None:
        """`boot` is the BootNotification of this start."""
        self.station_id, self.boot_id, self.epoch, self.boot = station_id, boot_id, epoch, boot
        self.lanes = lanes(marks)
        self.noise = 0  # messages from the cloud that were none
        self.last_noise = ""
        self._out: list[Action] = []
        self._ids = 0  # of packets and requests
        self._told = Link.DOWN
        self._boot_at: float | None = 0.0  # when to send it (again); None: accepted
        self._transactions: dict[int, str] = {}  # seq in stream 0 -> transactionId
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._connection: int | None = None
        self._is_greeted = False  # the cloud has answered our hello
        self._hello_at: float | None = None  # sent, not answered
        self._heard = 0.0  # the cloud's last word
        self._window = WINDOW_MAX
        self._pause_until = 0.0
        self._pubacks: dict[int, Callable[[int, float], None]] = {}  # packet id -> what a refusal means
        self._questions: dict[int, Question] = {}
        self._fetching: Range | None = None  # (stream, after_seq)
        self._is_opening = False  # a new epoch
        self._epochs_opened = 0
        for lane in self.lanes.values():
            lane.sent, lane.is_stopped, lane.records_max = [], False, RECORDS_MAX

    # -- inputs -------------------------------------------------------------------------------------------------------

    def connected(self, connection: int, receive_maximum: int, packet_max: int, now: float) -> list[Action]:
        """Connected and subscribed; both limits as in the CONNACK (65,535 and "none" are for the caller to fill in)."""
        self._forget_connection()
        self._connection, self._heard = connection, now
        self._receive_maximum, self._payload_max = receive_maximum, min(packet_max - OVERHEAD_B, MESSAGE_MAX_B)
        self._hello(now)
        return self._done(now)

    def disconnected(self, now: float) -> list[Action]:
        self._forget_connection()
        return self._done(now)

    def received(self, topic: str, payload: bytes, now: float) -> list[Action]:
        """Any bytes from the broker; what is no message of docs/uplink.md is counted and changes nothing."""
        kind = topic.removeprefix(f"d/{self.station_id}/")
        try:
            match kind:
                case "c":
                    self._deliver(CommandArrived(payload))
                case "a" if self._connection is not None:
                    self._acknowledged(decode_ack(payload), now)
                case "r" if self._connection is not None:
                    self._answered(decode_answer(payload))
                case "v" if self._connection is not None:
                    self._responded(decode_response(payload), now)
        except WireError as error:
            self.noise += 1
            self.last_noise = f"{topic[:60]}: {error}"
        return self._done(now)

    def puback(self, packet_id: int, reason_code: int, now: float) -> list[Action]:
        """0x10 (no matching subscribers) is no success: nobody has it. A good one proves nothing, and frees a slot."""
        refused = self._pubacks.pop(packet_id, None)
        if refused and (reason_code >= 0x80 or reason_code == NO_SUBSCRIBERS):
            refused(reason_code, now)
        return self._done(now)

    def appended(self, next_seq: Mapping[int, int], now: float) -> list[Action]:
        """New records are on disk."""
        for stream, seq in next_seq.items():
            self.lanes[stream].next_seq = max(seq, self.lanes[stream].next_seq)
        return self._done(now)

    def fetched(
        self, stream: int, after_seq: int, rows: Sequence[tuple[int, int, bytes]] | None, now: float
    ) -> list[Action]:
        """Rows (seq, last, body) of the outbox from after_seq + 1 on; None: it could not be read."""
        if self._fetching == (stream, after_seq):
            self._fetching = None
            if rows is None:
                self._pause_until = now + PAUSE_S
            else:
                self._send(stream, after_seq, rows, now)
        return self._done(now)

    def epoch_opened(self, epoch: bytes, marks: Mapping[int, tuple[int, int]], now: float) -> list[Action]:
        """What is left has new seqs: everything starts anew, with a hello."""
        self.epoch, self.lanes = epoch, lanes(marks)
        self._transactions.clear()
        self._is_opening = self._is_greeted = False
        self._fetching = None
        if self._connection is not None:
            self._hello(now)
        return self._done(now)

    def request(self, action: str, payload: dict[str, Any], timeout_s: float, tag: int, now: float) -> list[Action]:
        """Ask the cloud now or never: VolatileAnswered with this tag, however late, or nothing at all."""
        self._ask(action, payload, timeout_s, tag, now)
        return self._done(now)

    def deadline(self, now: float) -> list[Action]:
        """Whatever is due by now; harmless at any other time."""
        for request_id in [n for n, question in self._questions.items() if now >= question.until]:
            del self._questions[request_id]
        if now >= self._silent_at():
            self._drop(f"no word from the cloud for {SILENT_S:.0f} s")
        elif self._connection is not None and not self._is_opening and self._hello_at is None and not self._is_greeted:
            self._hello_again(now)
        elif self._is_greeted and now >= self._heartbeat_at():
            self._ask("Heartbeat", {}, SILENT_S, None, now)
        return self._done(now)

    def next_deadline(self) -> float | None:
        """When deadline() has something to do; None: only an input will change anything."""
        if self._connection is None or self._is_opening:
            return None
        due = [self._silent_at(), *(question.until for question in self._questions.values())]
        if self._told is Link.UP:
            due.append(self._doubt_at())
        if self._is_greeted:
            due.append(self._heartbeat_at())
            due += [] if self._boot_at is None else [self._boot_at]
        if self._told is Link.DOUBT or not self._is_greeted:
            due += [self._pause_until] if self._pause_until else []
        return min(due)

    # -- what follows from the facts ----------------------------------------------------------------------------------

    def link(self, now: float) -> Link:
        """Up is what an answer from the cloud itself has proven."""
        if not self._is_greeted:
            return Link.DOWN
        return Link.DOUBT if now < self._pause_until or now >= self._doubt_at() else Link.UP

    def _waiting(self) -> Iterator[float]:
        """When each thing was sent whose answer is missing."""
        yield from (sent.at for lane in self.lanes.values() for sent in lane.sent)
        yield from (question.at for question in self._questions.values())
        if self._hello_at is not None:
            yield self._hello_at

    def _doubt_at(self) -> float:
        asked = min((question.at for question in self._questions.values()), default=LAST_SEQ)
        sent = min((sent.at for lane in self.lanes.values() for sent in lane.sent), default=LAST_SEQ)
        return min(max(asked, self._heard) + DOUBT_ASKED_S, max(sent, self._heard) + DOUBT_SENT_S)

    def _silent_at(self) -> float:
        return max(min(self._waiting(), default=float("inf")), self._heard) + SILENT_S
