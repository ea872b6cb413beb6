"""The uplink against a cloud and a network that do their worst, in simulated time."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.clock import ClockSource
from agent.effects import Stream
from agent.events import AuthorizationStatus, ClockTold, Entry, Link, LinkChanged, TransactionAnswered
from agent.uplink import protocol
from agent.uplink.codec import (
    MESSAGE_MAX_B,
    Ack,
    Answer,
    Hello,
    Mark,
    VolatileAnswer,
    WireRecord,
    decode_hello,
    decode_record,
    decode_request,
    digest,
    encode_ack,
    encode_answer,
    encode_record,
    encode_response,
)
from agent.uplink.columns import decode_any_batch
from agent.uplink.protocol import (
    LAST_SEQ,
    OWED_MAX,
    Action,
    Alarm,
    Answered,
    BootAnswered,
    Bury,
    CommandArrived,
    Delete,
    Deliver,
    Drop,
    Fetch,
    OpenEpoch,
    Publish,
    Range,
    Uplink,
    VolatileAnswered,
    both,
    first_unsent,
    without,
)

BOOT_ID = b"BOOT...1"
ACCEPTED = {"status": "Accepted", "interval": 300}
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
NOW_MS = 1_767_261_600_000
Rows = list[tuple[int, int, bytes]]


def body(n: int, stream: int = 0, size: int = 0) -> bytes:
    payload = {"transactionInfo": {"transactionId": f"T{n}"}} if stream == 0 else {"seqNo": n}
    return encode_record(WireRecord(BOOT_ID, n, None, 0, "TransactionEvent", payload | {"info": "x" * size}))


def tombstone(first: int, last: int) -> tuple[int, int, bytes]:
    payload = {"first": first, "last": last, "why": "no room"}
    return first, last, encode_record(WireRecord(BOOT_ID, first, None, 0, "Tombstone", payload))


class Outbox:
    """What store.py does for the uplink, without a disk."""

    def __init__(self) -> None:
        self.rng = random.Random(7)
        self.epoch = b"EPOCH..1"
        self.rows: dict[int, Rows] = {stream: [] for stream in range(5)}
        self.next_seq = dict.fromkeys(range(5), 1)
        self.archive: Rows = []  # money that was acknowledged

    def append(self, stream: int, *bodies: bytes) -> None:
        for data in bodies:
            self.rows[stream].append((self.next_seq[stream], self.next_seq[stream], data))
            self.next_seq[stream] += 1

    def declare(self, stream: int, number: int) -> None:
        first = self.next_seq[stream]
        self.rows[stream].append(tombstone(first, first + number - 1))
        self.next_seq[stream] += number

    def marks(self) -> dict[int, Range]:
        return {s: (rows[0][0] if rows else self.next_seq[s], self.next_seq[s]) for s, rows in self.rows.items()}

    def fetch(self, fetch: Fetch) -> Rows:
        archive = self.archive if fetch.stream == 0 else []
        rows = [row for row in sorted([*archive, *self.rows[fetch.stream]]) if row[1] > fetch.after_seq][:64]
        sizes = [sum(len(row[2]) for row in rows[: n + 1]) for n in range(len(rows))]
        return [row for row, size in zip(rows, sizes, strict=True) if size <= fetch.limit_bytes] or rows[:1]

    def is_forked(self, delete: Delete) -> bool:
        """Whether the cloud holds another record under a key of ours."""
        held = {(0, *row) for row in self.archive} | {(s, *row) for s, rows in self.rows.items() for row in rows}
        return any(
            (first, digest(data)) != (mark.of, mark.digest)
            for stream, first, last, data in held
            if (mark := delete.marks.get(stream)) and mark.digest and first <= mark.of <= last
        )

    def delete(self, delete: Delete) -> None:
        assert delete.epoch == self.epoch
        for stream, mark in delete.marks.items():
            assert mark.high < self.next_seq[stream]
            owed = [row for row in self.rows[stream] if both([row[:2]], without([(1, LAST_SEQ)], mark))]
            self.archive += [row for row in self.rows[stream] if row not in owed] if stream == 0 else []
            self.rows[stream] = owed

    def bury(self, stream: int, seq: int) -> None:
        self.rows[stream] = [tombstone(seq, seq) if row[0] == seq else row for row in self.rows[stream]]

    def new_epoch(self) -> None:
        left, self.rows = self.rows | {0: sorted([*self.archive, *self.rows[0]])}, {stream: [] for stream in range(5)}
        self.epoch, self.archive = self.rng.randbytes(8), []
        self.next_seq = dict.fromkeys(range(5), 1)
        for stream, rows in left.items():
            for first, last, data in rows:
                if decode_record(data).action == "Tombstone":
                    self.declare(stream, last - first + 1)
                else:
                    self.append(stream, data)


# -- one step at a time -----------------------------------------------------------------------------------------------


class Desk:
    """An uplink with its outbox at hand: fetches, deletes and epochs are served at once, the rest is looked at."""

    def __init__(self, *streams: int, outbox: Outbox | None = None) -> None:
        self.outbox = outbox or Outbox()
        for n, stream in enumerate(streams):
            self.outbox.append(stream, body(n, stream))
        self.uplink = Uplink("S-1", BOOT_ID, self.outbox.epoch, self.outbox.marks(), BOOT)
        self.now = 1_000.0
        self.published: list[Publish] = []
        self.told: list[object] = []
        self.dropped: list[str] = []
        self.deleted: list[Delete] = []
        self.connection = 0

    def serve(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self.published.append(action)
                case Fetch():
                    rows = self.outbox.fetch(action)
                    self.serve(self.uplink.fetched(action.stream, action.after_seq, rows, self.now))
                case Delete() if self.outbox.is_forked(action):
                    self.serve(self.uplink.forked(self.now))
                case Delete():
                    self.outbox.delete(action)
                    self.deleted.append(action)
                case Bury():
                    self.outbox.bury(action.stream, action.seq)
                case OpenEpoch():
                    self.outbox.new_epoch()
                    self.serve(self.uplink.epoch_opened(self.outbox.epoch, self.outbox.marks(), self.now))
                case Drop():
                    self.dropped.append(action.why)
                case Deliver():
                    self.told.append(action.event)

    def connect(self, receive_maximum: int = 65_535, packet_max: int = 268_435_455) -> None:
        self.connection += 1
        self.serve(self.uplink.connected(self.connection, receive_maximum, packet_max, self.now))

    def greet(self, is_booted: bool = True, **limits: int) -> None:
        """Connected; the cloud has nothing yet."""
        self.connect(**limits)
        self.puback_all()
        self.take()
        self.ack({stream: Mark(0) for stream in range(5)})
        for boot in [publish for publish in self.published if is_booted and publish.topic.endswith("/v")]:
            self.published.remove(boot)
            accepted = VolatileAnswer(decode_request(boot.payload).request_id, {"status": "Accepted", "interval": 300})
            self.received("v", encode_response(accepted))

    def ack(self, marks: dict[int, Mark], conflict: bool = False, refused: dict[int, Any] | None = None) -> None:
        """Of all five streams it answers the hello."""
        hello = (BOOT_ID, self.connection) if len(marks) == 5 else None
        self.received("a", encode_ack(Ack(self.outbox.epoch, marks, NOW_MS, conflict, refused or {}, hello)))

    def received(self, kind: str, payload: bytes) -> None:
        self.serve(self.uplink.received(f"d/S-1/{kind}", payload, self.now))

    def puback_all(self, reason_code: int = 0) -> None:
        for publish in [publish for publish in self.published if publish.qos]:
            self.serve(self.uplink.puback(publish.packet_id, reason_code, self.now))

    def append(self, stream: int, *bodies: bytes) -> None:
        self.outbox.append(stream, *bodies)
        self.serve(self.uplink.appended({stream: self.outbox.next_seq[stream]}, self.now))

    def until(self, when: float) -> None:
        """Time goes on, deadline by deadline."""
        while (due := self.uplink.next_deadline()) is not None and due <= when:
            self.now = max(self.now, due)
            self.serve(self.uplink.deadline(self.now))
        self.now = when

    def take(self) -> list[Publish]:
        taken, self.published = self.published, []
        return taken

    def batches(self) -> list[tuple[int, int, int]]:
        """(stream, first, records) of the batches among what was published since."""
        batches = [(int(p.topic[-1]), decode_any_batch(p.payload)) for p in self.take() if p.topic[-1].isdigit()]
        return [(stream, batch.first, len(batch.records)) for stream, batch in batches]

    def links(self) -> list[Link]:
        return [event.link for event in self.told if isinstance(event, LinkChanged)]

    def alarms(self) -> list[str]:
        return [event.why for event in self.told if isinstance(event, Alarm)]


def test_hello_comes_first_and_nothing_else_before_its_answer() -> None:
    desk = Desk(0, 0, 3)
    desk.connect()
    desk.append(0, body(9))
    desk.serve(desk.uplink.request("Authorize", {}, 8.0, 1, desk.now))
    (hello,) = desk.take()
    assert (hello.topic, hello.qos) == ("u/S-1/h", 1)
    said = decode_hello(hello.payload)
    assert (said.epoch, said.boot_id) == (desk.outbox.epoch, BOOT_ID)
    assert said.streams == {0: (1, 3), 1: (1, 1), 2: (1, 1), 3: (1, 2), 4: (1, 1)}
    desk.ack({0: Mark(0)})  # a late word of an earlier connection: true, but no answer to hello, and its time is old
    assert desk.take() == [] and desk.links() == desk.told == []


def test_an_answer_that_an_earlier_run_asked_for_answers_nothing() -> None:
    """It would be another driver's."""

    def asked(boot_id: bytes) -> tuple[Desk, int]:
        desk = Desk()
        desk.uplink = Uplink("S-1", boot_id, desk.outbox.epoch, desk.outbox.marks(), BOOT)
        desk.connect()
        marks = {stream: Mark(0) for stream in range(5)}
        desk.received("a", encode_ack(Ack(desk.outbox.epoch, marks, NOW_MS, hello=(boot_id, desk.connection))))
        desk.serve(desk.uplink.request("Authorize", {}, 8.0, 1, desk.now))
        return desk, decode_request(desk.take()[-1].payload).request_id

    (_, before), (desk, after) = asked(b"any boot"), asked(b"the next")
    desk.received("v", encode_response(VolatileAnswer(before, {"idTokenInfo": {"status": "Accepted"}})))
    assert not [event for event in desk.told if isinstance(event, VolatileAnswered)]
    desk.received("v", encode_response(VolatileAnswer(after, {"idTokenInfo": {"status": "Invalid"}})))
    assert [event.tag for event in desk.told if isinstance(event, VolatileAnswered)] == [1]


@pytest.mark.promise("S2")
def test_the_cloud_decides_where_to_go_on() -> None:
    desk = Desk(0, 0, 0, 0, 0, 0, 0, 0)
    desk.connect()
    desk.ack({0: Mark(6, ((2, 3), (5, 5)))} | {stream: Mark(0) for stream in range(1, 5)})
    assert desk.batches() == [(0, 2, 2), (0, 5, 1), (0, 7, 2)]
    assert [row[0] for row in desk.outbox.rows[0]] == [2, 3, 5, 7, 8]


def test_the_boot_is_announced_until_it_is_accepted_and_the_clock_is_told() -> None:
    desk = Desk()
    desk.greet(is_booted=False)
    (boot,) = desk.take()
    request = decode_request(boot.payload)
    assert (boot.topic, boot.qos, request.action, request.payload) == ("u/S-1/v", 0, "BootNotification", BOOT)
    assert ClockTold(NOW_MS / 1000, ClockSource.CLOUD) in desk.told
    answer = {"status": "Pending", "interval": 100, "currentTime": "2026-01-01T10:00:00.000Z"}
    desk.received("v", encode_response(VolatileAnswer(request.request_id, answer)))
    assert desk.told[-2:] == [ClockTold(1_767_261_600.0, ClockSource.CLOUD), BootAnswered("Pending")]
    desk.until(desk.now + 99.9)
    assert desk.take() == []
    desk.until(desk.now + 0.2)
    request = decode_request(desk.take()[0].payload)
    desk.received("v", encode_response(VolatileAnswer(request.request_id, {**answer, "status": "Accepted"})))
    desk.serve(desk.uplink.disconnected(desk.now))
    desk.greet(is_booted=False)
    assert desk.take() == []


@pytest.mark.promise("S2")
def test_a_cloud_that_asks_for_a_hello_gets_one_but_not_more_often_than_every_ten_seconds() -> None:
    desk = Desk()
    desk.greet()
    desk.take()
    for _ in range(3):
        desk.received("a", encode_ack(Ack(bytes(8), {}, NOW_MS)))
    assert desk.take() == []
    desk.until(desk.now + 9.0)
    assert desk.take() == []
    desk.until(desk.now + 1.5)
    assert [publish.topic for publish in desk.take()] == ["u/S-1/h"]
    desk.ack({stream: Mark(0) for stream in range(5)})
    desk.until(desk.now + 100.0)
    assert not [publish for publish in desk.take() if publish.topic == "u/S-1/h"]


@pytest.mark.promise("S2")
def test_money_goes_first_then_the_rest_by_priority() -> None:
    desk = Desk(4, 3, 2, 1, 0)
    desk.greet()
    assert [stream for stream, _, _ in desk.batches()] == [0, 1, 2, 3, 4]


@pytest.mark.promise("S2")
def test_a_puback_deletes_nothing_the_clouds_word_does() -> None:
    desk = Desk(0, 0)
    desk.greet()
    desk.deleted.clear()
    desk.puback_all()
    assert desk.deleted == [] and len(desk.outbox.rows[0]) == 2
    desk.ack({0: Mark(2)})
    assert desk.deleted == [Delete(desk.outbox.epoch, {0: Mark(2)})] and desk.outbox.rows[0] == []


@pytest.mark.promise("S10")
@pytest.mark.parametrize(("receive_maximum", "window"), [(65_535, 20), (20, 20), (7, 7), (1, 1)])
def test_never_more_in_flight_than_the_broker_and_we_allow(receive_maximum: int, window: int) -> None:
    desk = Desk()
    desk.outbox.append(0, *(body(n, 0, 7_000) for n in range(50)))
    desk.uplink = Uplink("S-1", BOOT_ID, desk.outbox.epoch, desk.outbox.marks(), BOOT)
    desk.greet(receive_maximum=receive_maximum)
    assert len(desk.batches()) == window
    desk.ack({0: Mark(window)})  # acknowledged end to end, but the PUBACKs are still owed
    assert len(desk.batches()) == (20 if window == 20 and receive_maximum > 20 else 0)


@pytest.mark.promise("S10")
def test_batches_are_small_and_a_tombstone_stands_alone() -> None:
    desk = Desk()
    desk.outbox.append(3, *(body(n, 3) for n in range(100)))
    desk.outbox.declare(3, 1)
    desk.outbox.declare(3, 50)
    desk.outbox.append(3, body(1, 3, 3_900), body(2, 3, 3_900), body(3, 3, 50_000), body(4, 3))
    desk.uplink = Uplink("S-1", BOOT_ID, desk.outbox.epoch, desk.outbox.marks(), BOOT)
    desk.greet()
    sizes = [len(publish.payload) for publish in desk.published]
    assert sorted(sizes)[-2] <= 8_000
    assert desk.batches() == [
        (3, 1, 64), (3, 65, 36), (3, 101, 1), (3, 102, 1), (3, 152, 2), (3, 154, 1), (3, 155, 1),
    ]  # fmt: skip


@pytest.mark.promise("S6")
def test_an_unanswered_question_is_in_doubt_after_a_second_and_a_half_and_is_answered_however_late() -> None:
    desk = Desk()
    desk.greet()
    start = desk.now
    desk.serve(desk.uplink.request("Authorize", {"idToken": {"idToken": "A"}}, 8.0, 77, start))
    (publish,) = desk.take()
    assert publish.qos == 0
    desk.until(start + 1.4)
    assert desk.links() == [Link.UP]
    desk.until(start + 1.6)
    assert desk.links() == [Link.UP, Link.DOUBT]
    desk.until(start + 19)
    info = {"idTokenInfo": {"status": "Accepted"}}
    desk.received("v", encode_response(VolatileAnswer(decode_request(publish.payload).request_id, info)))
    assert VolatileAnswered(77, "Authorize", info) in desk.told
    assert desk.links() == [Link.UP, Link.DOUBT, Link.UP]


@pytest.mark.promise("S6")
def test_a_dead_link_is_noticed_in_thirty_seconds_when_something_waits() -> None:
    desk = Desk()
    desk.greet()
    desk.until(desk.now + 100)
    start = desk.now
    desk.append(0, body(1))
    desk.until(start + 9.9)
    assert desk.links()[-1] is Link.UP
    desk.until(start + 10.1)
    assert desk.links()[-1] is Link.DOUBT and not desk.dropped
    desk.until(start + 30.1)
    assert desk.links()[-1] is Link.DOWN and len(desk.dropped) == 1
    assert desk.uplink.next_deadline() is None


@pytest.mark.promise("S6")
def test_an_idle_dead_link_is_noticed_within_one_and_a_half_keepalives() -> None:
    desk = Desk()
    desk.greet()
    start = desk.now
    desk.until(start + 227)
    assert desk.take() == []
    desk.until(start + 1.5 * 240)
    assert decode_request(desk.take()[0].payload).action == "Heartbeat"
    assert desk.links()[-1] is Link.DOWN


@pytest.mark.promise("S2", "S6")
def test_with_a_mute_cloud_behind_a_living_broker_hellos_get_rarer_and_no_connection_is_thrown_away() -> None:
    desk = Desk(0)
    desk.greet()
    desk.puback_all()
    desk.take()
    hellos = []
    start = desk.now
    for _ in range(500):
        desk.until(desk.now + 1)
        for publish in desk.take():
            assert publish.topic.endswith("/h")
            hellos.append(desk.now - start)
            desk.serve(desk.uplink.puback(publish.packet_id, 0, desk.now))
    assert desk.links() == [Link.UP, Link.DOUBT, Link.DOWN] and desk.dropped == []
    gaps = [round(b - a) for a, b in pairwise(hellos)]
    assert gaps == sorted(gaps) and gaps[:4] == [30, 35, 45, 65]
    desk.ack({stream: Mark(0) for stream in range(5)})
    assert desk.batches() == [(0, 1, 1)] and desk.links()[-1] is Link.UP


REFUSALS = [0x80, 0x83, 0x96, 0x97, 0x10]


@pytest.mark.promise("S2")
@pytest.mark.parametrize("reason_code", REFUSALS)
def test_a_broker_that_is_full_or_has_no_reader_is_left_alone_and_nothing_is_lost(reason_code: int) -> None:
    desk = Desk(*[0] * 5)
    desk.greet()
    desk.take()
    tries = 0
    start = desk.now
    desk.append(0, body(9))
    for _ in range(3_600):
        publishes = desk.published
        tries += len([p for p in publishes if p.topic.endswith("/0")])
        desk.puback_all(reason_code)
        desk.published = [p for p in desk.published if p not in publishes]
        desk.until(desk.now + 1)
    assert tries < 30 and len(desk.outbox.rows[0]) == 6, f"{tries} tries in {desk.now - start} s"
    assert desk.links()[-1] is not Link.UP
    desk.take()
    desk.serve(desk.uplink.disconnected(desk.now))
    desk.greet()
    assert desk.batches() == [(0, 1, 6)]


@pytest.mark.promise("S10")
@pytest.mark.parametrize("reason_code", [0x90, 0x95, 0x99])
def test_a_batch_that_the_broker_cannot_take_is_halved_down_to_the_one_that_stops_the_stream(reason_code: int) -> None:
    desk = Desk()
    desk.outbox.append(0, *(body(n) for n in range(8)))
    desk.outbox.append(1, body(1, 1))
    desk.uplink = Uplink("S-1", BOOT_ID, desk.outbox.epoch, desk.outbox.marks(), BOOT)
    desk.greet()
    counts = []
    for _ in range(4):
        money = [publish for publish in desk.take() if publish.topic.endswith("/0")]
        counts.append(len(decode_any_batch(money[0].payload).records))
        for publish in money:
            desk.serve(desk.uplink.puback(publish.packet_id, reason_code, desk.now))
    assert counts == [8, 4, 2, 1] and len(desk.alarms()) == 1
    assert len(desk.outbox.rows[0]) == 8
    desk.append(1, body(2, 1))
    assert desk.batches() == [(1, 2, 1)]  # the other streams go on


def test_a_stream_we_may_not_write_stops_with_an_alarm_until_the_next_connection() -> None:
    desk = Desk(0, 1)
    desk.greet()
    money = next(publish for publish in desk.take() if publish.topic.endswith("/0"))
    desk.serve(desk.uplink.puback(money.packet_id, 0x87, desk.now))
    desk.append(0, body(5))
    assert desk.batches() == [] and "0x87" in desk.alarms()[0]
    start = desk.now
    while desk.now < start + protocol.STOPPED_S + 1:  # the cloud lives, so the connection stands
        desk.until(desk.now + 20)
        desk.ack({1: Mark(1)})
    assert (0, 1, 2) in desk.batches(), "tried again once an hour"
    desk.serve(desk.uplink.puback(desk.uplink._last_id, 0x87, desk.now))
    desk.serve(desk.uplink.disconnected(desk.now))
    desk.greet()
    assert desk.batches()[0] == (0, 1, 2)


def test_nothing_is_sent_that_is_over_the_brokers_maximum_packet_size() -> None:
    desk = Desk()
    desk.outbox.append(0, *(body(n, 0, 300) for n in range(9)))
    desk.outbox.append(1, body(1, 1, 3_000))
    desk.uplink = Uplink("S-1", BOOT_ID, desk.outbox.epoch, desk.outbox.marks(), BOOT)
    desk.greet(packet_max=1_000)
    assert max(len(publish.payload) for publish in desk.published) <= 1_000 - 20
    assert {stream for stream, _, _ in desk.batches()} == {0} and "too big" in desk.alarms()[0]


@pytest.mark.promise("S2")
@pytest.mark.parametrize("is_conflict", [True, False])
def test_restored_storage_opens_a_new_epoch_and_all_that_is_left_is_sent_under_it(is_conflict: bool) -> None:
    desk = Desk(0, 0, 0)
    old = desk.outbox.epoch
    desk.connect()
    desk.take()
    desk.ack({0: Mark(1 if is_conflict else 3)} | {stream: Mark(0) for stream in range(1, 5)}, is_conflict)
    if not is_conflict:
        assert desk.outbox.epoch == old  # made before this start: the acknowledgement may have been lost
        desk.outbox.append(0, body(4), body(5))
        desk.uplink.appended({0: 6}, desk.now)
        desk.ack({0: Mark(4)})  # but this has never left us
    assert desk.outbox.epoch != old
    hello = decode_hello(next(p for p in desk.take() if p.topic.endswith("/h")).payload)
    assert hello.epoch == desk.outbox.epoch
    desk.received("a", encode_ack(Ack(old, {stream: Mark(9) for stream in range(5)}, NOW_MS)))
    assert desk.batches() == []  # the old epoch is over, whatever is said about it
    desk.ack({stream: Mark(0) for stream in range(5)})
    assert desk.batches() == [(0, 1, 3 if is_conflict else 5)]  # with the archive
    desk.ack({}, conflict=True)
    assert desk.dropped  # one new epoch a connection: a confused cloud cannot wear the disk out


@pytest.mark.promise("S2")
def test_what_the_cloud_lacks_for_long_is_sent_again_on_the_same_connection() -> None:
    desk = Desk()
    desk.greet()
    desk.take()
    desk.append(0, body(1))
    desk.now += 11
    desk.append(0, body(2))
    assert desk.batches() == [(0, 1, 1), (0, 2, 1)]
    desk.ack({0: Mark(2, ((1, 1),))})
    assert desk.batches() == [(0, 1, 1)]


@pytest.mark.promise("S2")
def test_a_gap_that_the_cloud_names_in_what_it_was_said_to_hold_asks_for_a_hello_on_the_same_connection() -> None:
    desk = Desk()
    desk.greet()
    desk.append(0, body(1), body(2), body(3))
    desk.ack({0: Mark(3)})  # forged
    desk.until(desk.now + 11)
    desk.append(0, body(4))
    desk.take()
    true = Mark(4, ((1, 3),))
    desk.ack({0: true})
    assert [publish.topic for publish in desk.take()] == ["u/S-1/h"]
    desk.ack({0: true} | {stream: Mark(0) for stream in range(1, 5)})
    assert desk.batches() == [(0, 1, 3)]


@pytest.mark.promise("S5")
def test_the_clouds_opinion_is_as_old_as_the_first_sending_of_its_record_however_often_it_goes() -> None:
    desk = Desk(0, 0, 0)
    desk.greet()
    sent_at = desk.now
    assert desk.batches() == [(0, 1, 3)]
    desk.serve(desk.uplink.disconnected(desk.now))
    desk.now += 7200
    desk.greet()
    assert desk.batches() == [(0, 1, 3)]
    info = {"idTokenInfo": {"status": "Accepted", "groupIdToken": {"idToken": "home", "type": "Central"}}}
    desk.received("r", encode_answer(Answer(desk.outbox.epoch, 0, 2, info)))
    entry = Entry(groups=frozenset({"home"}), group_id="home")
    assert desk.told[-1] == TransactionAnswered("T1", entry, sent_at)
    for odd in ({"status": "Fine"}, {"status": "Accepted", "cacheExpiryDateTime": "tomorrow"}, {}, 5):
        desk.received("r", encode_answer(Answer(desk.outbox.epoch, 0, 2, {"idTokenInfo": odd})))
        assert not isinstance(desk.told[-1], TransactionAnswered), "words that cannot be read are no answer"


def test_the_clouds_late_opinion_reaches_its_transaction() -> None:
    desk = Desk(0, 0, 0)
    desk.greet()
    sent_at = desk.now
    desk.until(sent_at + 5)
    info = {"idTokenInfo": {"status": "Blocked"}}
    desk.received("r", encode_answer(Answer(desk.outbox.epoch, 0, 2, info)))
    opinion = TransactionAnswered("T1", Entry(AuthorizationStatus.BLOCKED), sent_at)
    assert desk.told[-2:] == [Answered(0, 2, "T1", info), opinion]
    desk.received("r", encode_answer(Answer(desk.outbox.epoch, 0, 99, {"totalCost": 1.5})))
    assert desk.told[-1] == Answered(0, 99, None, {"totalCost": 1.5})
    before = len(desk.told)
    desk.received("r", encode_answer(Answer(b"another1", 0, 2, info)))
    assert len(desk.told) == before


def test_a_command_is_handed_on_raw_even_before_the_hello_is_answered() -> None:
    desk = Desk()
    desk.connect()
    desk.received("c", b"\xd2\x84anything")
    assert desk.told == [CommandArrived(b"\xd2\x84anything")]


def test_what_the_cloud_asks_for_goes_out_at_once_and_live_readings_only_to_a_cloud_that_is_there() -> None:
    desk = Desk()
    desk.serve(desk.uplink.live(b"reading", desk.now))
    desk.serve(desk.uplink.announce("Heartbeat", desk.now))
    assert desk.take() == []
    desk.greet()
    desk.take()
    desk.serve(desk.uplink.live(b"reading", desk.now))
    desk.serve(desk.uplink.announce("Heartbeat", desk.now))
    desk.serve(desk.uplink.announce("BootNotification", desk.now))
    live, *asked = desk.take()
    assert (live.topic, live.payload, live.qos) == ("u/S-1/l", b"reading", 0)
    assert [decode_request(p.payload).action for p in asked] == ["Heartbeat", "BootNotification"]


def test_what_is_owed_is_told_without_what_the_cloud_holds_and_without_holes() -> None:
    desk = Desk(0, 0, 0, 1)
    assert desk.uplink.owed() == {0: [(1, 3)], 1: [(1, 1)], 2: [], 3: [], 4: []}
    desk.greet()
    desk.ack({0: Mark(3, ((2, 2),))})
    assert desk.uplink.owed() == {0: [(2, 2)], 1: [(1, 1)], 2: [], 3: [], 4: []}


@pytest.mark.promise("S2")
def test_what_nobody_holds_any_more_is_declared_and_does_not_stop_the_rest() -> None:
    """A cloud restored from a backup asks for what it had acknowledged."""
    outbox = Outbox()
    outbox.append(0, *(body(n) for n in range(6)))
    outbox.rows[0] = [row for row in outbox.rows[0] if row[0] in (2, 5)]
    desk = Desk(outbox=outbox)
    desk.greet()
    published = [p for p in desk.take() if p.topic.endswith("/0")]
    said = [decode_record(record) for p in published for record in decode_any_batch(p.payload).records]
    stones = [(r.payload["first"], r.payload["last"]) for r in said if r.action == "Tombstone"]
    assert stones == [(1, 1), (3, 4), (6, 6)] and len(said) == 5
    assert len(desk.alarms()) == 3 and "lacks 3 to 4 of stream 0" in desk.alarms()[1]


@pytest.mark.promise("S9")
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["a", "r", "v", "x", ""]), st.binary(max_size=200)),
            st.tuples(st.just("a"), st.builds(
                lambda high, now_ms: encode_ack(Ack(b"EPOCH..1", {0: Mark(high)}, now_ms)),
                st.integers(0, 4), st.integers(-(2**63), 2**63 - 1),
            )),
            st.tuples(st.just("r"), st.builds(
                lambda value: encode_answer(Answer(b"EPOCH..1", 0, 1, {"idTokenInfo": value})),
                st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=2)
                             | st.dictionaries(st.sampled_from(["status", "x"]), x, max_size=2)),
            )),
            st.tuples(st.just("v"), st.builds(
                lambda n, status, interval: encode_response(VolatileAnswer(n, {"status": status, "interval": interval,
                                                                               "currentTime": status})),
                st.integers(0, 8), st.sampled_from(["Pending", "", None, 5, []]), st.none() | st.integers() | st.text(),
            )),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_nothing_the_cloud_can_say_raises_or_deletes_what_it_does_not_hold(messages: list[tuple[str, bytes]]) -> None:
    desk = Desk(0, 0, 0)
    desk.greet()
    desk.deleted.clear()
    for kind, payload in messages:
        desk.received(kind, payload)
        desk.until(desk.now + 1)
    assert all(delete.marks[0].high <= 3 for delete in desk.deleted)
    assert len(desk.outbox.rows[0]) + len(desk.outbox.archive) == 3


# -- sets of seqs -----------------------------------------------------------------------------------------------------

seq_sets = st.sets(st.integers(1, 40))


def ranges(seqs: set[int]) -> list[Range]:
    return [
        (first, next(n for n in count(first) if n + 1 not in seqs)) for first in sorted(seqs) if first - 1 not in seqs
    ]


def seqs(spans: Sequence[Range]) -> set[int]:
    return {n for first, last in spans for n in range(first, min(last, 60) + 1)}


@given(seq_sets, seq_sets)
def test_both_is_the_intersection(a: set[int], b: set[int]) -> None:
    assert both(ranges(a), ranges(b)) == ranges(a & b)


@given(seq_sets, seq_sets, st.integers(1, 45))
def test_first_unsent_is_the_first_that_is_owed_and_not_on_its_way(owed: set[int], sent: set[int], end: int) -> None:
    left = {n for n in owed - sent if n < end}
    stretches = sorted(ranges(sent), key=hash)
    found = first_unsent(ranges(owed), stretches, end)
    assert found == (ranges(left)[0] if left else None)


@pytest.mark.promise("S10")
def test_what_is_owed_stays_bounded_and_never_forgets() -> None:
    owed = [(1, LAST_SEQ)]
    for offset in range(6):
        missing = tuple((n, n) for n in range(2 + offset * 2_000, 2 + (offset + 1) * 2_000, 2))
        owed = [*owed[:-1], *without(owed[-1:], Mark(1 + (offset + 1) * 2_000, missing))]
    left = without(owed, Mark(0))
    assert len(left) == OWED_MAX + 1
    assert all(any(first <= n <= last for first, last in left) for n in range(2, 12_000, 2))


# -- the whole, over a network that loses, doubles, delays and breaks -------------------------------------------------


class Cloud:
    """docs/uplink.md's other half, as small as it can be: it stores, then acknowledges."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.ledger: dict[tuple[bytes, int, int], bytes] = {}
        self.is_mute = False
        self.once: set[bytes] = set()  # what it has held, before it was restored
        self.has_forgotten = False  # and knows it: whoever sends something is asked for a hello

    def hear(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        kind = topic.rpartition("/")[2]
        if self.is_mute:
            return []
        if self.has_forgotten and kind != "h":
            return [("a", encode_ack(Ack(bytes(8), {}, NOW_MS)))]
        if kind == "h":
            self.has_forgotten = False
            hello = decode_hello(payload)
            return [("a", self.ack(hello.epoch, range(5), hello=hello))]
        if kind == "v":
            request = decode_request(payload)
            answer = {"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00.000Z"}
            return [("v", encode_response(VolatileAnswer(request.request_id, answer)))]
        batch, stream = decode_any_batch(payload), int(kind)
        is_conflict = False
        for seq, data in enumerate(batch.records, batch.first):
            record = decode_record(data)
            last = record.payload["last"] if record.action == "Tombstone" else seq
            is_stone = record.action == "Tombstone"
            assert not is_stone or len(batch.records) == 1
            for n in range(seq, last + 1):
                held = self.ledger.setdefault((batch.epoch, stream, n), data)
                self.once.add(data)
                is_conflict |= held != data and not is_stone and decode_record(held).action != "Tombstone"
        return [("a", self.ack(batch.epoch, [stream], is_conflict))]

    def mark(self, epoch: bytes, stream: int) -> Mark:
        stored = {n for e, s, n in self.ledger if (e, s) == (epoch, stream)}
        high = max(stored, default=0)
        return Mark(high, tuple(ranges(set(range(1, high + 1)) - stored)))

    def ack(
        self, epoch: bytes, streams: Sequence[int], is_conflict: bool = False, hello: Hello | None = None
    ) -> bytes:
        marks = {s: self.mark(epoch, s) for s in streams}
        if hello:
            marks = {s: self.with_digest(epoch, s, mark) for s, mark in marks.items()}
        answers = (hello.boot_id, hello.connection) if hello else None
        return encode_ack(Ack(epoch, marks, NOW_MS, is_conflict, hello=answers))

    def with_digest(self, epoch: bytes, stream: int, mark: Mark) -> Mark:
        held = self.ledger.get((epoch, stream, mark.high))
        if held is None:
            return mark
        said = decode_record(held)
        of = said.payload["first"] if said.action == "Tombstone" else mark.high
        return replace(mark, digest=digest(held), of=of)


class World:
    """Station, broker, cloud and the weather between them, from one seed. Time jumps from event to event."""

    def __init__(self, seed: int, storms: bool = True) -> None:
        self.rng = random.Random(seed)
        self.storms = storms
        self.outbox = Outbox()
        self.cloud = Cloud(self.outbox)
        self.uplink = Uplink("S-1", BOOT_ID, self.outbox.epoch, self.outbox.marks(), BOOT)
        self.now = 0.0
        self.calls = count()
        self.pending: list[tuple[float, int, Callable[[], None]]] = []
        self.connection = 0
        self.is_connected = self.has_answer = False
        self.receive_maximum = 65_535
        self.in_flight: set[int] = set()
        self.money_owed_at_hello = False
        self.made: list[tuple[int, bytes]] = []
        self.made_in_vain: list[tuple[int, bytes]] = []
        self.sent_batches: list[int] = []  # their streams
        self.link = Link.DOWN
        self.later(1.0, self.connect)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.pending, (self.now + delay_s, next(self.calls), call))

    def on_connection(self, delay_s: float, call: Callable[[], None]) -> None:
        """What happens only if this connection still stands then."""
        number = self.connection
        self.later(delay_s, lambda: call() if self.is_connected and number == self.connection else None)

    def run(self, until: float) -> None:
        while True:
            due = self.uplink.next_deadline()
            times = [due] if due is not None else []
            times += [self.pending[0][0]] if self.pending else []
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            if self.pending and self.pending[0][0] <= self.now:
                heapq.heappop(self.pending)[2]()
            else:
                self.perform(self.uplink.deadline(self.now))
                assert (after := self.uplink.next_deadline()) is None or after > self.now, "a deadline that never ends"
        self.now = until

    def chance(self, probability: float) -> bool:
        return self.storms and self.rng.random() < probability

    def connect(self) -> None:
        if self.is_connected:
            return
        self.connection += 1
        self.is_connected, self.has_answer = True, False
        self.in_flight.clear()
        self.receive_maximum = self.rng.choice([1, 3, 20, 65_535])
        self.perform(self.uplink.connected(self.connection, self.receive_maximum, 268_435_455, self.now))
        if self.chance(0.5):
            self.on_connection(self.rng.expovariate(1 / 30), self.disconnect)

    def disconnect(self) -> None:
        self.is_connected = False
        self.perform(self.uplink.disconnected(self.now))
        self.later(self.rng.uniform(0.5, 20.0), self.connect)

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self.publish(action)
                case Fetch():
                    delay_s = self.rng.uniform(0.0, 0.05)
                    self.later(delay_s, lambda fetch=action: self.answer_fetch(fetch))  # type: ignore[misc]
                case Delete():
                    self.delete(action)
                case OpenEpoch():
                    self.later(0.1, self.open_epoch)
                case Drop():
                    assert action.connection == self.connection
                    self.disconnect()
                case Deliver(LinkChanged(link)):
                    assert link is not self.link
                    self.link = link

    def publish(self, publish: Publish) -> None:
        assert self.is_connected and publish.connection == self.connection
        assert len(publish.payload) <= MESSAGE_MAX_B
        kind = publish.topic.rpartition("/")[2]
        assert kind == "h" or self.has_answer, "published before the hello was answered"
        self.sent_batches += [int(kind)] if kind.isdigit() else []
        if publish.qos:
            self.in_flight.add(publish.packet_id)
            assert len(self.in_flight) <= self.receive_maximum
            assert len(self.in_flight) <= protocol.WINDOW_MAX + 1  # and the hello
            self.on_connection(self.rng.uniform(0.02, 0.5), lambda: self.puback(publish.packet_id))
        if self.chance(0.1):
            return  # lost between broker and cloud
        for _ in range(2 if self.chance(0.1) else 1):
            self.later(self.rng.uniform(0.02, 3.0), lambda: self.reach_cloud(publish))

    def puback(self, packet_id: int) -> None:
        self.in_flight.discard(packet_id)
        code = self.rng.choice([0x97, 0x10]) if self.chance(0.02) else 0
        self.perform(self.uplink.puback(packet_id, code, self.now))

    def reach_cloud(self, publish: Publish) -> None:
        for kind, payload in self.cloud.hear(publish.topic, publish.payload):
            for _ in range(2 if self.chance(0.1) else 1):
                if not self.chance(0.1):
                    answers_hello = publish.topic.endswith("/h")
                    delay_s = self.rng.uniform(0.02, 3.0)
                    self.later(delay_s, lambda k=kind, p=payload, h=answers_hello: self.receive(k, p, h))  # type: ignore[misc]

    def receive(self, kind: str, payload: bytes, answers_hello: bool) -> None:
        if self.is_connected:  # also what was meant for an earlier connection
            self.has_answer |= answers_hello
            self.perform(self.uplink.received(f"d/S-1/{kind}", payload, self.now))

    def answer_fetch(self, fetch: Fetch) -> None:
        rows = None if self.chance(0.02) else self.outbox.fetch(fetch)
        self.perform(self.uplink.fetched(fetch.stream, fetch.after_seq, rows, self.now))

    def delete(self, delete: Delete) -> None:
        if delete.epoch != self.outbox.epoch:
            return
        if self.outbox.is_forked(delete):
            self.later(0.01, lambda: self.perform(self.uplink.forked(self.now)))
            return
        before = {row[2] for rows in self.outbox.rows.values() for row in rows}
        self.outbox.delete(delete)
        gone = before - {row[2] for rows in self.outbox.rows.values() for row in rows}
        known = set(self.cloud.ledger.values()) | self.cloud.once
        assert gone <= known, "deleted what the cloud does not hold"

    def open_epoch(self) -> None:
        self.outbox.new_epoch()
        self.has_answer = False
        self.perform(self.uplink.epoch_opened(self.outbox.epoch, self.outbox.marks(), self.now))

    def make(self, n: int) -> None:
        stream = self.rng.choice(list(Stream))
        if stream >= Stream.SAMPLES and self.rng.random() < 0.1:
            self.outbox.declare(stream, self.rng.randint(1, 9))
        else:
            data = body(n, stream, self.rng.choice([0, 0, 10, 500, 3_000]))
            self.made.append((stream, data))
            self.outbox.append(stream, data)
        self.perform(self.uplink.appended({int(stream): self.outbox.next_seq[stream]}, self.now))

    def restart(self, outbox: Outbox) -> None:
        """The station's power is cut; it starts again with this outbox."""
        self.outbox = outbox
        self.uplink = Uplink("S-1", BOOT_ID, outbox.epoch, outbox.marks(), BOOT)
        self.link = Link.DOWN
        if self.is_connected:
            self.disconnect()

    def back_up(self, delay_s: float) -> None:
        """The disk is copied, and put back after so long: what was made in between is gone, as far as we know."""
        copy, made = deepcopy(self.outbox), len(self.made)

        def restore() -> None:
            self.made_in_vain += self.made[made:]
            self.restart(copy)
            for n in range(self.rng.choice([0, 30])):  # offline work, and a restart: nothing in memory tells any more
                self.make(10_000 + n)
            self.restart(self.outbox)

        self.later(delay_s, restore)


@pytest.mark.promise("S2")
@given(st.integers(0, 2**32))
def test_a_cloud_that_was_restored_from_yesterday_gets_its_money_again_and_is_told_what_is_gone(seed: int) -> None:
    world = World(seed)
    for n in range(60):
        world.later(world.rng.uniform(0, 600), lambda n=n: world.make(n))  # type: ignore[misc]
    world.run(world.rng.uniform(0, 400))
    backup = dict(world.cloud.ledger)
    world.run(world.now + world.rng.uniform(0, 200))
    world.cloud.ledger, world.cloud.has_forgotten = backup, True
    world.run(900.0)
    world.storms = False
    world.run(3_000.0)
    assert not any(world.outbox.rows.values()), f"{seed=}: not delivered"
    held = set(world.cloud.ledger.values())
    assert {data for stream, data in world.made if stream == 0} <= held, f"{seed=}: money lost"
    for stream, lane in world.uplink.lanes.items():
        mark = world.cloud.mark(world.outbox.epoch, stream)
        assert mark == Mark(lane.next_seq - 1), f"{seed=}: neither delivered nor declared in stream {stream}: {mark}"


@pytest.mark.promise("S2")
def test_a_restored_storage_that_has_worked_offline_and_restarted_swallows_nothing() -> None:
    desk = Desk(0, 0, 0)
    desk.connect()
    desk.take()
    old = desk.outbox.epoch
    foreign = digest(b"what the cloud got from us before the storage was restored")
    desk.ack({0: Mark(2, (), foreign, 2)} | {stream: Mark(0) for stream in range(1, 5)})
    assert desk.outbox.epoch != old and desk.deleted == []
    desk.take()
    desk.ack({stream: Mark(0) for stream in range(5)})
    assert desk.batches() == [(0, 1, 3)]


@pytest.mark.promise("S2")
def test_the_same_digest_is_an_acknowledgement_like_any_other() -> None:
    desk = Desk(0, 0, 0)
    desk.connect()
    desk.take()
    desk.ack({0: Mark(2, (), digest(desk.outbox.rows[0][1][2]), 2)} | {stream: Mark(0) for stream in range(1, 5)})
    assert desk.batches() == [(0, 3, 1)]


@pytest.mark.promise("S2")
def test_what_the_cloud_refuses_three_times_is_a_dead_letter_and_the_rest_goes_on() -> None:
    desk = Desk()
    desk.greet()
    desk.take()
    desk.append(0, body(1), body(2), body(3))
    tries = 0
    for _ in range(200):
        desk.until(desk.now + 1)
        for stream, first, number in desk.batches():
            tries += stream == 0 and first <= 2 < first + number
            is_stone = desk.outbox.rows[0] and decode_record(desk.outbox.rows[0][0][2]).action == "Tombstone"
            if first == 2 and is_stone:
                desk.ack({0: Mark(3)})
            else:
                desk.ack({0: Mark(3, ((2, 2),))}, refused={0: [(2, "the cloud cannot")]})
    assert tries == protocol.REFUSALS + 1 and desk.outbox.rows[0] == []


@pytest.mark.promise("S2", "S9")
def test_a_refusal_of_what_is_not_owed_changes_nothing() -> None:
    desk = Desk(0)
    desk.greet()
    desk.take()
    for _ in range(5):
        desk.ack({0: Mark(0)}, refused={0: [(7, "never made")], 3: [(1, "neither")]})
        desk.ack({0: Mark(1)}, refused={0: [(1, "after all")]})
    assert desk.outbox.rows[0] == [] and desk.outbox.archive != []


def test_pending_leaves_the_answers_to_commands_and_rejected_nothing() -> None:
    """OCPP B02, B03. It restricts messages, not drivers."""
    for status, sent in (("Pending", [2]), ("Rejected", [])):
        desk = Desk(0, 1, 2)
        desk.connect()
        desk.puback_all()
        desk.take()
        desk.ack({stream: Mark(0) for stream in range(5)})
        boot = next(p for p in desk.take() if p.topic.endswith("/v"))
        desk.append(0, body(7))
        desk.take()
        answer = VolatileAnswer(decode_request(boot.payload).request_id, {"status": status, "interval": 60})
        desk.received("v", encode_response(answer))
        desk.serve(desk.uplink.disconnected(desk.now))
        desk.connect()
        desk.puback_all()
        desk.take()
        desk.ack({stream: Mark(0) for stream in range(5)})
        desk.puback_all()
        assert [stream for stream, _, _ in desk.batches()] == sent
        desk.ack({2: Mark(len(sent))})
        desk.until(desk.now + 61)
        boot = next(p for p in desk.take() if p.topic.endswith("/v"))
        desk.received("v", encode_response(VolatileAnswer(decode_request(boot.payload).request_id, ACCEPTED)))
        assert {stream for stream, _, _ in desk.batches()} >= {0, 1}


def test_samples_travel_in_columns_and_come_out_as_they_went_in() -> None:
    desk = Desk()
    samples = [body(n, 3) for n in range(40)]
    desk.outbox.append(3, *samples)
    desk.uplink = Uplink("S-1", BOOT_ID, desk.outbox.epoch, desk.outbox.marks(), BOOT)
    desk.greet()
    (batch,) = [p for p in desk.take() if p.topic.endswith("/3")]
    assert list(decode_any_batch(batch.payload).records) == samples
    assert len(batch.payload) < sum(map(len, samples)) / 10


@pytest.mark.promise("S2", "S10")
@given(st.integers(0, 2**32), st.booleans())
@example(0, True)
@example(1986908, True)  # a tombstone where the cloud has its highest
@example(90345, True)  # a hello took the only slot while a batch was being read
def test_everything_made_is_held_once_whatever_the_network_did(seed: int, is_restored: bool) -> None:
    world = World(seed)
    for n in range(60):
        world.later(world.rng.uniform(0, 600), lambda n=n: world.make(n))  # type: ignore[misc]
    for _ in range(3):
        world.later(world.rng.uniform(0, 600), lambda: setattr(world.cloud, "is_mute", not world.cloud.is_mute))
        if not is_restored:
            world.later(world.rng.uniform(0, 600), lambda: world.restart(world.outbox))
    if is_restored:
        world.later(world.rng.uniform(0, 300), lambda: world.back_up(world.rng.uniform(1, 300)))
    world.run(900.0)
    world.storms = world.cloud.is_mute = False
    world.run(3_000.0)
    assert world.link is not Link.DOWN
    assert not any(world.outbox.rows.values()), f"{seed=}: not delivered"
    held = Counter(world.cloud.ledger.values())
    missing = [item[1] for item in world.made if not held[item[1]] and item not in world.made_in_vain]
    assert not missing, f"{seed=}: lost"
    if not is_restored:
        twice = [data for _, data in world.made if held[data] > 1]
        assert not twice, f"{seed=}: stored twice under different keys"


@pytest.mark.promise("S2")
@given(st.integers(0, 2**32))
def test_after_an_outage_all_money_is_sent_before_anything_else(seed: int) -> None:
    world = World(seed, storms=False)
    for n in range(300):
        world.make(n)
    world.run(600.0)
    assert world.sent_batches == sorted(world.sent_batches) and not any(world.outbox.rows.values())
    assert Counter(world.cloud.ledger.values()) >= Counter(data for _, data in world.made)
