"""The station's half of docs/uplink.md: what to send when, and what the cloud's words mean. No clock, socket or thread.

    connected  disconnected  received  puback  fetched  appended  forked  epoch_opened  request  live  deadline
        each takes the time last (`now`, monotonic seconds) and returns the actions to perform, in this order;
    next_deadline
        says when to call deadline() at the latest.

What is owed to the cloud is a set of seqs, and only the cloud's word makes it smaller. What to send next follows from
it: the first stretch, money first, that is owed and not on its way. A batch that the broker refused, or that nobody has
acknowledged for too long, is not on its way any more; so it is sent again without being remembered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from msgspec import Struct

from agent.clock import ClockSource
from agent.effects import Stream
from agent.events import ClockTold, Link, LinkChanged, TransactionAnswered
from agent.uplink.answers import entry_of
from agent.uplink.codec import (
    MESSAGE_MAX_B,
    STREAMS,
    WORDS,
    Ack,
    Answer,
    Batch,
    Hello,
    Mark,
    VolatileAnswer,
    VolatileRequest,
    WireError,
    WireRecord,
    decode_ack,
    decode_answer,
    decode_record,
    decode_response,
    encode_batch,
    encode_hello,
    encode_record,
    encode_request,
    record_action,
    time_ms,
)
from agent.uplink.columns import encode_columns

WINDOW_MAX = 20  # batches without the cloud's acknowledgement
BATCH_MAX_B = 8_000  # one lost radio minute costs little
RECORDS_MAX = 128  # in a batch
COLUMNS_SAVE = 4  # so many times smaller, at least, are samples in columns
OVERHEAD_B = 64  # of a PUBLISH around its payload, at most
ENVELOPE_B, RECORD_B = 24, 5  # of a batch around its records, and around each of them
QUESTIONS_MAX = 16  # volatile requests without an answer; beyond it the oldest is forgotten
ANSWERS_MAX = 200  # records of money whose late answer we can still place
OWED_MAX = 2_000  # stretches; beyond it the rest counts as one, and is sent twice rather than never
REFUSALS = 3  # of one record by the cloud itself; then it is a dead letter
REFUSED_MAX = 100  # records whose refusals are counted

DOUBT_ASKED_S = 1.5  # an answer that a driver waits for
DOUBT_SENT_S = 10.0  # an acknowledgement
GREET_AGAIN_S = 10.0  # however often the cloud asks
SILENT_S = 25.0  # nothing at all, while something waits
KEEPALIVE_S = 240.0  # of MQTT, unless the connection says otherwise
HEARTBEAT_PART = 0.95  # of it: idle, a heartbeat goes instead of MQTT's ping, and proves the whole way
STOPPED_S = 3_600.0  # a stream that the broker forbids, or cannot take
PAUSE_S, PAUSE_MAX_S = 5.0, 300.0  # after a refusal, or with a mute cloud; doubled until there is progress
BOOT_RETRY_S = 60.0  # without an interval from the cloud
BOOT_RETRY_LEAST_S, BOOT_RETRY_MOST_S = 10.0, 86_400.0  # with one

NO_SUBSCRIBERS, NOT_AUTHORIZED = 0x10, 0x87  # MQTT 5 §3.4.2.1, of a PUBACK
UNACCEPTABLE = (0x90, 0x95, 0x99)  # topic name invalid, packet too large, payload format invalid
ACCEPTED = "Accepted"  # OCPP RegistrationStatusEnumType, beside Pending and Rejected
HELD_RECORDS, HELD_S = 15, 900.0  # samples wait for company: a radio woken for one costs ten times its bytes
LAST_SEQ = 2**63 - 1
NEVER = float("inf")

Range = tuple[int, int]  # of seqs, both ends belong to it


# -- what to perform --------------------------------------------------------------------------------------------------


class Publish(Struct, frozen=True):
    """Only on the connection of that number: what is late for it is void."""

    connection: int
    packet_id: int  # ours, never used twice; puback() tells it back for qos 1
    topic: str
    payload: bytes
    qos: int


class Fetch(Struct, frozen=True):
    """Read the outbox; answered by fetched()."""

    stream: int
    after_seq: int
    limit_bytes: int


class Delete(Struct, frozen=True):
    """The cloud holds this; if a digest in it is of another record than ours: forked()."""

    epoch: bytes
    marks: dict[int, Mark]


class Bury(Struct, frozen=True):
    """The cloud will never take this record: to the dead letters, and a tombstone in its place."""

    stream: int
    seq: int
    why: str


class OpenEpoch(Struct, frozen=True):
    """Answered by epoch_opened()."""


class Drop(Struct, frozen=True):
    """Tear this connection down, without a goodbye."""

    connection: int
    why: str


class Answered(Struct, frozen=True):
    """The OCPP response to a record."""

    stream: int
    seq: int
    transaction_id: str | None  # if the record was a TransactionEvent we still know
    payload: dict[str, Any]


class VolatileAnswered(Struct, frozen=True):
    """The response to request() with this tag; `payload` None is an error of the cloud."""

    tag: int
    action: str
    payload: dict[str, Any] | None
    error_code: str = ""
    error_text: str = ""


class BootAnswered(Struct, frozen=True):
    """OCPP RegistrationStatusEnumType: Accepted, Pending or Rejected. It restricts messages, not drivers."""

    status: str


class CommandArrived(Struct, frozen=True):
    """A COSE_Sign1, unverified."""

    data: bytes


class Alarm(Struct, frozen=True):
    """Something that somebody must look at; nothing is lost."""

    why: str


Told = (
    LinkChanged | ClockTold | TransactionAnswered | Answered | VolatileAnswered | BootAnswered | CommandArrived | Alarm
)


class Deliver(Struct, frozen=True):
    event: Told


Action = Publish | Fetch | Delete | Bury | OpenEpoch | Drop | Deliver


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


def count(stretches: Sequence[Range]) -> int:
    return sum(last - first + 1 for first, last in stretches)


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


class Sent(Struct, frozen=True):
    """A publish with qos 1: a batch of a stream, or the hello (stream None)."""

    packet_id: int
    at: float
    stream: int | None = None
    seqs: Range = (0, 0)
    count: int = 0  # records


@dataclass(slots=True)
class Lane:
    """One stream."""

    owed: list[Range]  # never empty: its end is open
    next_seq: int
    known: int  # the cloud cannot hold more than this: published by us, or made before this start
    sent: list[Sent] = field(default_factory=list)  # neither acknowledged by the cloud nor refused by the broker
    records_max: int = RECORDS_MAX
    stopped_until: float | None = None  # or until the next connection
    settled_at: float = -NEVER  # when the cloud last acknowledged something new

    def unsent(self) -> Range | None:
        if self.stopped_until is not None:
            return None
        return first_unsent(self.owed, [sent.seqs for sent in self.sent], self.next_seq)

    def has_lost(self, mark: Mark, until: int, now: float) -> bool:
        """Whether the cloud lacks, up to there, what it has acknowledged; an old word may only have come late."""
        if now < self.settled_at + DOUBT_SENT_S:
            return False
        lacking = both(without([(1, LAST_SEQ)], mark), [(1, min(until, self.next_seq - 1))])
        return count(both(lacking, self.owed)) < count(lacking)

    def marks(self) -> Range:
        return min(self.owed[0][0], self.next_seq), self.next_seq


def lanes(marks: Mapping[int, Range], is_new: bool = False) -> dict[int, Lane]:
    """`is_new`: of an epoch that nobody has heard of."""
    ordered = [(stream, *marks[stream]) for stream in STREAMS]
    return {s: Lane([(oldest, LAST_SEQ)], next_seq, 0 if is_new else next_seq - 1) for s, oldest, next_seq in ordered}


def in_columns(stream: int) -> bool:
    """Samples are alike, and many."""
    return stream == Stream.SAMPLES


def read_record(stream: int, body: bytes) -> tuple[str, str | None]:
    """Action and, of money, transactionId. What cannot be read says nothing, and is sent as it is."""
    try:
        if stream != Stream.MONEY:
            return record_action(body), None
        record = decode_record(body)
    except WireError:
        return "", None
    info = record.payload.get("transactionInfo")
    transaction_id = info.get("transactionId") if isinstance(info, dict) else None
    return record.action, transaction_id if isinstance(transaction_id, str) else None


class Question(Struct, frozen=True):
    """A volatile request; tag None: it is our own."""

    action: str
    tag: int | None
    at: float
    until: float  # then it is forgotten


# -- the protocol -----------------------------------------------------------------------------------------------------


class Uplink:
    """One station's uplink, over any number of connections."""

    def __init__(
        self, station_id: str, boot_id: bytes, epoch: bytes, marks: Mapping[int, Range], boot: dict[str, Any]
    ) -> None:
        """`marks`: of each stream the oldest seq not acknowledged and the next one; `boot`: the BootNotification."""
        self.station_id, self.boot_id, self.epoch, self.boot = station_id, boot_id, epoch, boot
        self.lanes = lanes(marks)
        self.noise = 0  # messages from the cloud that were none
        self.last_noise = ""
        self._out: list[Action] = []
        self._last_id = int.from_bytes(boot_id[:3])  # of packets and questions: no run answers another's
        self._told = Link.DOWN
        self._boot_at: float | None = 0.0  # when to send it (again); None: accepted
        self._registration = ACCEPTED  # what the cloud has said about us; it restricts messages, not drivers
        self._refusals: dict[tuple[int, int], int] = {}  # stream, seq -> how often the cloud has refused it
        self._held_until: float | None = None  # samples wait until then at most; None: nothing holds them
        self._is_opening = False  # a new epoch
        self._transactions: dict[int, tuple[str, float]] = {}  # seq in stream 0 -> transactionId, when first sent
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._connection: int | None = None
        self._receive_maximum = self._payload_max = 0
        self._heartbeat_s = KEEPALIVE_S * HEARTBEAT_PART
        self._is_greeted = False  # the cloud has answered our hello
        self._greeted_at = 0.0
        self._greet_at = NEVER  # the cloud has asked for another hello, too soon after the last
        self._hello: Sent | None = None  # not answered
        self._heard = 0.0  # the cloud's last word
        self._window = WINDOW_MAX
        self._paused_until: float | None = None
        self._pause_s = PAUSE_S
        self._flying: dict[int, Sent] = {}  # without a PUBACK
        self._questions: dict[int, Question] = {}
        self._fetching: tuple[int, int] | None = None  # stream, after_seq
        self._has_reopened = False  # an epoch, on this connection
        self._latest_s, self._is_time_doubted = NEVER, False
        for lane in self.lanes.values():
            lane.sent, lane.stopped_until, lane.records_max = [], None, RECORDS_MAX

    # -- inputs

    def connected(
        self, connection: int, receive_maximum: int, packet_max: int, now: float, keepalive_s: float = KEEPALIVE_S,
        latest_s: float = NEVER,
    ) -> list[Action]:  # fmt: skip
        """Connected and subscribed. Limits as in the CONNACK; where it is silent, MQTT's: 65,535 and 268,435,455.

        `latest_s`: the wall time when the broker's certificate ends.
        """
        self._forget_connection()
        self._latest_s = latest_s
        self._connection, self._heard = connection, now
        self._heartbeat_s = keepalive_s * HEARTBEAT_PART
        self._receive_maximum, self._payload_max = receive_maximum, min(packet_max - OVERHEAD_B, MESSAGE_MAX_B)
        return self._done(now)

    def disconnected(self, now: float) -> list[Action]:
        self._forget_connection()
        return self._done(now)

    def received(self, topic: str, payload: bytes, now: float) -> list[Action]:
        """Any bytes from the broker; what is no message of docs/uplink.md is counted and changes nothing."""
        kind = topic.removeprefix(f"d/{self.station_id}/")
        try:
            if kind == "c":  # the broker will not say it again, so it counts on any connection
                self._tell(CommandArrived(payload))
            elif self._connection is not None:
                self._read(kind, payload, now)
        except WireError as error:
            self.noise += 1
            self.last_noise = f"{topic[:60]}: {error}"
        return self._done(now)

    def puback(self, packet_id: int, reason_code: int, now: float) -> list[Action]:
        """A good one proves nothing and frees a slot. 0x10 (no matching subscribers) is none: nobody has got it."""
        sent = self._flying.pop(packet_id, None)
        if sent and (reason_code >= 0x80 or reason_code == NO_SUBSCRIBERS):
            self._refused(sent, reason_code, now)
        return self._done(now)

    def appended(self, next_seq: Mapping[int, int], now: float) -> list[Action]:
        """New records are on disk."""
        if Stream.SAMPLES in next_seq and self.lanes[Stream.SAMPLES].unsent() is None:
            self._held_until = now + HELD_S
        for stream, seq in next_seq.items():
            self.lanes[stream].next_seq = max(seq, self.lanes[stream].next_seq)
        return self._done(now)

    def fetched(
        self, stream: int, after_seq: int, rows: Sequence[tuple[int, int, bytes]] | None, now: float
    ) -> list[Action]:
        """Rows (seq, last, body) of the outbox from after_seq + 1 on, in order; None: it could not be read."""
        if self._fetching == (stream, after_seq):
            self._fetching = None
            if rows is None:
                self._pause(now)
            else:
                self._send(stream, after_seq, rows, now)
        return self._done(now)

    def forked(self, now: float) -> list[Action]:
        """The store holds other records than the cloud under the same keys."""
        if not self._is_opening:
            self._open_epoch()
        return self._done(now)

    def epoch_opened(self, epoch: bytes, marks: Mapping[int, Range], now: float) -> list[Action]:
        """What is left has new seqs: everything starts anew, with a hello."""
        self.epoch, self.lanes = epoch, lanes(marks, is_new=True)
        self._transactions.clear()
        self._refusals.clear()
        self._is_opening = self._is_greeted = False
        self._hello = self._fetching = None
        return self._done(now)

    def request(self, action: str, payload: dict[str, Any], timeout_s: float, tag: int, now: float) -> list[Action]:
        """Ask now or never: VolatileAnswered with this tag, however late, or nothing at all."""
        self._ask(action, payload, timeout_s, tag, now)
        return self._done(now)

    def live(self, payload: bytes, now: float) -> list[Action]:
        """Meters for somebody who watches, now or never."""
        if self._is_greeted and self._registration == ACCEPTED:
            self._publish("l", payload, 0)
        return self._done(now)

    def announce(self, action: str, now: float) -> list[Action]:
        """The cloud asks for our BootNotification or Heartbeat now (TriggerMessage)."""
        if action == "BootNotification":
            self._boot_at = now
        else:
            self._ask(action, {}, SILENT_S, None, now, is_asked_for=True)
        return self._done(now)

    def owed(self) -> dict[int, list[Range]]:
        """Of each stream, the seqs that exist and that the cloud has not acknowledged."""
        lanes = self.lanes.items()
        return {s: [(a, min(b, lane.next_seq - 1)) for a, b in lane.owed if a < lane.next_seq] for s, lane in lanes}

    def deadline(self, now: float) -> list[Action]:
        """Whatever is due by now; harmless at any other time."""
        if now >= self._silent_at():
            self._give_up(now)
        for request_id in [n for n, question in self._questions.items() if now >= question.until]:
            del self._questions[request_id]
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
        if now >= self._greet_at:
            self._greet_at = NEVER
            self._greet_again(now)
        for lane in self.lanes.values():
            if lane.stopped_until is not None and now >= lane.stopped_until:
                lane.stopped_until = None
        if now >= self._heartbeat_at():
            self._ask("Heartbeat", {}, SILENT_S, None, now)
        return self._done(now)

    def next_deadline(self) -> float | None:
        """When deadline() has something to do; None: only an input will change anything."""
        due = [self._silent_at(), self._heartbeat_at(), self._greet_at]
        due += [question.until for question in self._questions.values()]
        due += [lane.stopped_until for lane in self.lanes.values() if lane.stopped_until is not None]
        if self._told is Link.UP:
            due.append(self._doubt_at())
        if self._paused_until is not None:
            due.append(self._paused_until)
        elif self._is_greeted:
            due += [] if self._boot_at is None else [self._boot_at]
            due += [] if self._held_until is None else [self._held_until]
        return None if (first := min(due)) == NEVER else first

    # -- what follows from the facts

    def link(self, now: float) -> Link:
        """Up is what an answer from the cloud itself has proven."""
        if not self._is_greeted:
            return Link.DOWN
        return Link.DOUBT if self._paused_until is not None or now >= self._doubt_at() else Link.UP

    def _sent_at(self) -> float:
        return min([sent.at for lane in self.lanes.values() if lane.sent for sent in lane.sent], default=NEVER)

    def _asked_at(self) -> float:
        return min([question.at for question in self._questions.values()], default=NEVER)

    def _doubt_at(self) -> float:
        return min(max(self._asked_at(), self._heard) + DOUBT_ASKED_S, max(self._sent_at(), self._heard) + DOUBT_SENT_S)

    def _silent_at(self) -> float:
        flying_at = min([sent.at for sent in self._flying.values()], default=NEVER)
        hello_at = self._hello.at if self._hello else NEVER
        return max(min(flying_at, hello_at, self._sent_at(), self._asked_at()), self._heard) + SILENT_S

    def _heartbeat_at(self) -> float:
        is_idle = self._is_greeted and not self._questions and self._registration == ACCEPTED
        return self._heard + self._heartbeat_s if is_idle else NEVER

    def _done(self, now: float) -> list[Action]:
        """Send what the facts now call for, tell a change of the link, hand out the actions."""
        if self._connection is not None and self._paused_until is None and not self._is_opening:
            if self._is_greeted:
                self._announce_boot(now)
                self._hold_samples(now)
                self._fetch()
            elif self._hello is None and len(self._flying) < self._receive_maximum:
                self._greet(now)
        if (link := self.link(now)) is not self._told:
            self._told = link
            self._tell(LinkChanged(link))
        out, self._out = self._out, []
        return out

    # -- up

    def _greet(self, now: float) -> None:
        assert self._connection is not None
        marks = {stream: lane.marks() for stream, lane in self.lanes.items()}
        hello = Hello(self.epoch, self.boot_id, marks, self._connection, len(WORDS))
        self._hello = Sent(self._publish("h", encode_hello(hello), 1), now)
        self._flying[self._hello.packet_id] = self._hello

    def _hold_samples(self, now: float) -> None:
        """Held samples go when there are enough, when they are old, or when the radio is awake for something else."""
        if self._held_until is None:
            return
        unsent = self.lanes[Stream.SAMPLES].unsent()
        count = 0 if unsent is None else unsent[1] - unsent[0] + 1
        if count >= HELD_RECORDS or now >= self._held_until or self._flying:
            self._held_until = None

    def _fetch(self) -> None:
        """One batch at a time is read, so that money which comes meanwhile is next."""
        count = sum(len(lane.sent) for lane in self.lanes.values())
        if self._fetching or count >= self._window or len(self._flying) >= self._receive_maximum:
            return
        for stream, lane in self.lanes.items():
            is_held = stream == Stream.SAMPLES and self._held_until is not None
            if not is_held and self._may_send(stream) and (unsent := lane.unsent()):
                self._fetching = stream, unsent[0] - 1
                plain_b = self._batch_max() * (COLUMNS_SAVE if in_columns(stream) else 1)
                self._out.append(Fetch(*self._fetching, plain_b))
                return

    def _may_send(self, stream: int) -> bool:
        """OCPP B02, B03: Pending leaves us the answers to commands, Rejected nothing."""
        return self._registration == ACCEPTED or (self._registration == "Pending" and stream == Stream.RESULTS)

    def _batch_max(self) -> int:
        return max(1, min(BATCH_MAX_B, self._payload_max))

    def _send(self, stream: int, after_seq: int, rows: Sequence[tuple[int, int, bytes]], now: float) -> None:
        """One batch from these rows: a stretch that is owed, without holes, a tombstone alone."""
        lane = self.lanes[stream]
        unsent = lane.unsent()
        if unsent is None or len(self._flying) >= self._receive_maximum:  # a hello may have taken the slot meanwhile
            return
        first, last = unsent
        rows = [row for row in rows if row[1] >= first]
        hole_end = min(rows[0][0] - 1, last) if rows else last
        if hole_end >= first:
            if first == after_seq + 1:  # else all of it was acknowledged meanwhile, and we ask again
                self._declare(stream, (first, hole_end), now)
            return
        bodies = list(self._fitting(stream, lane.records_max, last, rows, now))
        if len(bodies[0]) + ENVELOPE_B + RECORD_B > self._payload_max:
            self._stop(stream, f"record {first} of {len(bodies[0])} bytes is too big for the broker", now)
            return
        data, count = self._batch(stream, rows[0][0], bodies)
        self._send_batch(stream, data, (rows[0][0], rows[count - 1][1]), count, now)

    def _batch(self, stream: int, first: int, bodies: Sequence[bytes]) -> tuple[bytes, int]:
        """The payload, and how many of these records are in it."""
        if in_columns(stream):
            data, count = encode_columns(self.epoch, first, bodies)
            if data and len(data) <= self._batch_max():
                return data, count
        sizes = accumulate(len(body) + RECORD_B for body in bodies)
        fits = sum(size + ENVELOPE_B <= self._batch_max() for size in sizes)
        return encode_batch(Batch(self.epoch, first, tuple(bodies[: max(1, fits)]))), max(1, fits)

    def _send_batch(self, stream: int, data: bytes, seqs: Range, count: int, now: float) -> None:
        packet_id = self._publish(str(int(stream)), data, 1)
        sent = self._flying[packet_id] = Sent(packet_id, now, stream, seqs, count)
        self.lanes[stream].sent.append(sent)
        self.lanes[stream].known = max(self.lanes[stream].known, seqs[1])

    def _fitting(
        self, stream: int, records_max: int, last: int, rows: Sequence[tuple[int, int, bytes]], now: float
    ) -> Iterator[bytes]:
        next_seq = rows[0][0]
        for row_first, row_last, body in rows[:records_max]:
            action, transaction_id = read_record(stream, body)
            is_first = row_first == rows[0][0]
            fits = row_first == next_seq and row_last <= last and action != "Tombstone"
            if not (is_first or fits):
                return
            if stream == Stream.MONEY and transaction_id is not None:
                self._transactions.setdefault(row_first, (transaction_id, now))
                while len(self._transactions) > ANSWERS_MAX:
                    del self._transactions[next(iter(self._transactions))]
            yield body
            if action == "Tombstone":
                return
            next_seq = row_last + 1

    def _declare(self, stream: int, hole: Range, now: float) -> None:
        """The cloud asks for what it has acknowledged once, or the outbox was mended: nobody can send it, so say so."""
        why = f"the cloud lacks {hole[0]} to {hole[1]} of stream {stream}, and we do not hold them any more"
        payload = {"first": hole[0], "last": hole[1], "why": "not held any more"}
        stone = encode_record(WireRecord(self.boot_id, max(0, round(now * 1000)), None, 0, "Tombstone", payload))
        self._send_batch(stream, encode_batch(Batch(self.epoch, hole[0], (stone,))), hole, 1, now)
        self._tell(Alarm(why))

    def _ask(
        self, action: str, payload: dict[str, Any], timeout_s: float, tag: int | None, now: float,
        is_asked_for: bool = False,
    ) -> None:  # fmt: skip
        is_free = self._registration == ACCEPTED or action == "BootNotification"
        if not self._is_greeted or not (is_free or (is_asked_for and self._registration == "Pending")):
            return
        if len(self._questions) >= QUESTIONS_MAX:
            del self._questions[next(iter(self._questions))]
        request = VolatileRequest(self._last_id + 1, action, payload)
        self._publish("v", encode_request(request), 0)
        self._questions[request.request_id] = Question(action, tag, now, now + max(timeout_s, SILENT_S))

    def _announce_boot(self, now: float) -> None:
        if self._boot_at is not None and now >= self._boot_at:
            self._boot_at = now + BOOT_RETRY_S
            self._ask("BootNotification", self.boot, BOOT_RETRY_S, None, now)

    def _publish(self, kind: str, payload: bytes, qos: int) -> int:
        assert self._connection is not None
        self._last_id += 1
        topic = f"u/{self.station_id}/{kind}"
        self._out.append(Publish(self._connection, self._last_id, topic, payload, qos))
        return self._last_id

    def _tell(self, event: Told) -> None:
        self._out.append(Deliver(event))

    # -- down

    def _refused(self, sent: Sent, reason_code: int, now: float) -> None:
        """The broker did not take it: it is owed again."""
        if sent is self._hello:
            self._hello = None
            self._pause(now)
        if sent.stream is None or sent not in self.lanes[sent.stream].sent:
            return
        lane = self.lanes[sent.stream]
        lane.sent.remove(sent)
        why = f"the broker refuses stream {sent.stream}, seq {sent.seqs[0]}: {reason_code:#04x}"
        if reason_code == NOT_AUTHORIZED or (reason_code in UNACCEPTABLE and sent.count == 1):
            self._stop(sent.stream, why, now)
        elif reason_code in UNACCEPTABLE:
            lane.records_max = max(1, sent.count // 2)
        else:
            self._pause(now)

    def _pause(self, now: float) -> None:
        if self._paused_until is None:
            self._paused_until = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
            self._window = 1  # then one try, not twenty

    def _give_up(self, now: float) -> None:
        """Silence. Without PUBACKs the connection is dead. With them only the cloud is: a hello is cheaper than TLS."""
        is_broker_mute = any(now >= sent.at + DOUBT_SENT_S for sent in self._flying.values())
        if is_broker_mute or self._pause_s == PAUSE_MAX_S:
            self._drop(f"no word from the cloud for {SILENT_S:.0f} s")
            return
        if self._hello:
            self._pause(now)
        self._is_greeted, self._hello = False, None
        self._questions.clear()
        for lane in self.lanes.values():
            lane.sent = []

    def _stop(self, stream: int, why: str, now: float) -> None:
        """A connection may stand for weeks, so even what the broker forbids is tried again now and then."""
        if self.lanes[stream].stopped_until is None:
            self.lanes[stream].stopped_until = now + STOPPED_S
            self._tell(Alarm(why))

    def _drop(self, why: str) -> None:
        assert self._connection is not None
        self._out.append(Drop(self._connection, why))
        self._forget_connection()

    def _read(self, kind: str, payload: bytes, now: float) -> None:
        match kind:
            case "a":
                self._acknowledged(decode_ack(payload), now)
            case "r":
                self._answered(decode_answer(payload), now)
            case "v":
                self._responded(decode_response(payload), now)
            case _:
                raise WireError("no topic of ours")

    def _acknowledged(self, ack: Ack, now: float) -> None:
        if not ack.marks and not ack.conflict:
            self._greet_again(now)
        if ack.epoch != self.epoch or self._is_opening:
            return
        if ack.conflict or any(mark.high > self.lanes[stream].known for stream, mark in ack.marks.items()):
            self._open_epoch()
            return
        is_whole = len(ack.marks) == len(STREAMS)
        is_answer = is_whole and not self._is_greeted and ack.hello == (self.boot_id, self._connection)
        if not (self._is_greeted or is_answer):
            return  # a late word of an earlier connection: its time is old, its storage maybe not ours any more
        self._heard = now
        self._time_told(ack.now_ms, now)
        if is_answer:
            self._is_greeted, self._hello, self._paused_until = True, None, None
            self._greeted_at = now
            for stream, mark in ack.marks.items():  # the cloud may have lost what it had: then it is owed again
                self.lanes[stream].owed = without([(1, LAST_SEQ)], mark)
        elif any(self.lanes[s].has_lost(m, LAST_SEQ if is_whole else m.high, now) for s, m in ack.marks.items()):
            self._greet_again(now)  # its storage was restored while the connection stood, or a word of it came late
        for stream, refused in ack.refused.items():
            for seq, why in refused:
                self._refused_for_good(stream, seq, why, now)
        news = {stream: mark for stream, mark in ack.marks.items() if self._progress(stream, mark, now) or is_answer}
        if news:
            self._window, self._pause_s = WINDOW_MAX, PAUSE_S
            self._out.append(Delete(self.epoch, news))

    def _greet_again(self, now: float) -> None:
        """The cloud knows nothing of us, or is not sure any more: it shall say what it holds."""
        if not self._is_greeted:
            return
        if now < self._greeted_at + GREET_AGAIN_S:
            self._greet_at = self._greeted_at + GREET_AGAIN_S
            return
        self._is_greeted, self._hello, self._greet_at = False, None, NEVER
        self._questions.clear()

    def _progress(self, stream: int, mark: Mark, now: float) -> bool:
        """Owed is what it was, minus what the cloud holds. What it lacks for long is not on its way any more."""
        lane = self.lanes[stream]
        before, lane.owed = lane.owed, without(lane.owed, mark)
        lane.sent = [
            sent
            for sent in lane.sent
            if both(lane.owed, [sent.seqs]) and not (sent.seqs[1] <= mark.high and now >= sent.at + DOUBT_SENT_S)
        ]
        if lane.owed != before:
            lane.settled_at = now
        return lane.owed != before

    def _refused_for_good(self, stream: int, seq: int, why: str, now: float) -> None:
        """The cloud itself says that it will never store this. Believed when it has said so often enough."""
        lane = self.lanes[stream]
        if seq >= lane.next_seq or not both(lane.owed, [(seq, seq)]):
            return
        lane.sent = [sent for sent in lane.sent if not sent.seqs[0] <= seq <= sent.seqs[1]]
        times = self._refusals.pop((stream, seq), 0) + 1
        if times >= REFUSALS:
            self._out.append(Bury(stream, seq, why))
            return
        self._refusals[stream, seq] = times
        while len(self._refusals) > REFUSED_MAX:
            del self._refusals[next(iter(self._refusals))]
        self._pause(now)

    def _open_epoch(self) -> None:
        """Our storage was restored, or copied: what is left is sent under keys that nobody has used."""
        if self._has_reopened:
            self._drop("the cloud knows a new epoch better than we do")
            return
        self._has_reopened = self._is_opening = True
        self._is_greeted, self._hello, self._fetching = False, None, None
        self._out.append(OpenEpoch())

    def _answered(self, answer: Answer, now: float) -> None:
        if answer.epoch != self.epoch:
            return
        self._heard = now
        sent = self._transactions.get(answer.seq) if answer.stream == Stream.MONEY else None
        transaction_id, sent_at = sent or (None, now)
        self._tell(Answered(answer.stream, answer.seq, transaction_id, answer.payload))
        info = answer.payload.get("idTokenInfo")
        if transaction_id is not None and isinstance(info, dict):
            self._tell(TransactionAnswered(transaction_id, entry_of(info), sent_at))

    def _responded(self, response: VolatileAnswer, now: float) -> None:
        question = self._questions.pop(response.request_id, None)
        if question is None:
            return
        self._heard = now
        payload = response.payload
        if question.tag is not None:
            error = response.error_code, response.error_text
            self._tell(VolatileAnswered(question.tag, question.action, payload, *error))
        elif payload is not None:
            current_time = payload.get("currentTime")
            if isinstance(current_time, str) and (ms := time_ms(current_time)) is not None:
                self._time_told(ms, now)
            if question.action == "BootNotification":
                self._booted(payload, now)

    def _time_told(self, wall_ms: int, now: float) -> None:
        """A cloud whose clock is beyond its broker's certificate is wrong, or the broker is: no floor is built on that,
        for nobody could take it back over TLS."""
        if wall_ms / 1000 <= self._latest_s:
            self._tell(ClockTold(wall_ms / 1000, ClockSource.CLOUD))
        elif not self._is_time_doubted:
            self._is_time_doubted = True
            self._tell(Alarm("by the cloud's clock its broker's certificate has expired: we do not believe its clock"))

    def _booted(self, payload: dict[str, Any], now: float) -> None:
        status, interval_s = payload.get("status"), payload.get("interval")
        if status not in (ACCEPTED, "Pending", "Rejected"):
            raise WireError("BootNotificationResponse without a status of OCPP 2.1")
        self._tell(BootAnswered(status))
        self._registration = status
        if status == ACCEPTED:
            self._boot_at = None
        elif type(interval_s) is int and interval_s > 0:
            self._boot_at = now + min(max(interval_s, BOOT_RETRY_LEAST_S), BOOT_RETRY_MOST_S)
