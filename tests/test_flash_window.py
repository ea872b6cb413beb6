"""The window of the flash protocol: every byte once and in order, at nearly the line's own rate, whatever it loses."""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update.line import ACK, BODY_MAX, DATA, FRAME_MAX, Deframer, Receiver, ack, body, frame, packed
from agent.update.sender import Sender
from tests.flashline import Simulation, Wire


class Giving:
    """A flasher's end that does nothing but send."""

    def __init__(self, data: bytes, at_b: int = 0, window: int = 32, first: int = 0) -> None:
        self.sender = Sender(lambda at, n: data[at : at + n], len(data), at_b, window=window, first=first)
        self._frames = Deframer()

    def receive(self, data: bytes, now: float) -> None:
        for kind, seq, content in self._frames.feed(data):
            assert kind == ACK
            self.sender.acked(seq, content, now)

    def pull(self, now: float) -> bytes | None:
        return self.sender.pull(now)

    def next_deadline(self) -> float | None:
        return self.sender.next_deadline()


class Taking:
    """A device's end that does nothing but take."""

    def __init__(self, size_b: int, at_b: int = 0, window: int = 32, first: int = 0) -> None:
        self.receiver = Receiver(size_b, at_b, window=window, first=first)
        self.got = bytearray()
        self.data_b = 0
        self._frames, self._out = Deframer(), deque[bytes]()

    def receive(self, data: bytes, now: float) -> None:
        found = self._frames.feed(data)
        for kind, seq, content in found:
            assert kind == DATA
            self.data_b += len(content)
            self.got += self.receiver.take(seq, content)
        if found:
            self._out.append(self.receiver.ack(self.receiver.window))

    def pull(self, now: float) -> bytes | None:
        return self._out.popleft() if self._out else None

    def next_deadline(self) -> float | None:
        return None


def carried(
    data: bytes, baud: float, latency_s: float, *, window: int = 32, seed: int = 0, **faults: float
) -> tuple[float, Giving, Taking]:
    """The share of the wire's bytes per second that the data got, and both ends."""
    rng = random.Random(seed)
    there, back = (Wire(baud, latency_s, rng=rng, **faults) for _ in range(2))  # type: ignore[arg-type]
    first = rng.randrange(65_536)
    giving, taking = Giving(data, window=window, first=first), Taking(len(data), window=window, first=first)
    seconds = Simulation(giving, taking, there, back).run(lambda: giving.sender.is_done)
    assert taking.got == data
    return len(data) / (seconds * baud / 10), giving, taking


RANDOM = random.Random(1).randbytes(400_000)


@pytest.mark.parametrize("window", [8, 32])
@pytest.mark.parametrize("baud", [115_200, 921_600, 3_000_000])
def test_the_data_has_at_least_95_percent_of_the_wire(baud: int, window: int) -> None:
    share, giving, taking = carried(RANDOM, baud, 0.001, window=window)
    assert share >= 0.95 and not giving.sender.again_b and not taking.receiver.again_b


@pytest.mark.parametrize("latency_s", [0.001, 0.016])
@pytest.mark.parametrize("baud", [115_200, 921_600])
def test_the_data_has_at_least_90_percent_of_a_wire_that_spoils_one_byte_in_100_000(
    baud: int, latency_s: float
) -> None:
    share, giving, _ = carried(RANDOM, baud, latency_s, byte_error=1e-5)
    assert share >= 0.90 and giving.sender.again_b


def test_frames_are_shorter_where_the_line_is_bad() -> None:
    """One byte in a thousand: of 1 KiB frames two thirds would be lost."""
    share, _, _ = carried(RANDOM[:100_000], 115_200, 0.001, byte_error=1e-3)
    assert share >= 0.55


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_every_byte_comes_once_and_in_order_whatever_the_line_does(draw: st.DataObject) -> None:
    seed = draw.draw(st.integers(0, 2**32))
    data = random.Random(seed).randbytes(draw.draw(st.integers(1, 40_000)))
    faults = {
        "byte_error": draw.draw(st.sampled_from([0, 1e-5, 1e-3])),
        "lost": draw.draw(st.sampled_from([0, 0.01, 0.2])),
        "twice": draw.draw(st.sampled_from([0, 0.05, 0.5])),
        "cut_each_b": draw.draw(st.sampled_from([0, 1_500, 700])),
    }
    latency_s, window = draw.draw(st.sampled_from([0, 0.001, 0.2])), draw.draw(st.sampled_from([1, 8, 32, 255]))
    baud = draw.draw(st.sampled_from([9_600, 115_200, 3_000_000]))
    carried(data, baud, latency_s, window=window, seed=seed, **faults)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_after_a_cut_at_most_one_window_is_sent_twice(seed: int) -> None:
    rng = random.Random(seed)
    data, baud = RANDOM[:120_000], rng.choice([115_200, 921_600])
    giving, taking = Giving(data, window=8), Taking(len(data), window=8)
    line = Simulation(giving, taking, Wire(baud, 0.001, rng=rng), Wire(baud, 0.001, rng=rng))
    cut_s = rng.uniform(0, len(data) / baud * 10)
    line.run(lambda: line.now >= cut_s)
    at_b = taking.receiver.got_b  # what the device tells after it
    again, rest = Giving(data, at_b, window=8), Taking(len(data), at_b, window=8)
    Simulation(again, rest, Wire(baud, 0.001), Wire(baud, 0.001)).run(lambda: again.sender.is_done)
    assert taking.got + rest.got == data
    assert giving.sender.sent_b - at_b <= 8 * BODY_MAX


def test_a_device_without_room_is_not_sent_anything() -> None:
    sender = Sender(lambda at, n: bytes(n), 100_000, window=8)
    frames = [sender.pull(0.0) for _ in range(20)]
    assert sum(each is not None for each in frames) == 8
    sender.acked(8, b"\x00", 0.1)
    assert sender.pull(0.2) is None and sender.next_deadline() is None
    sender.acked(8, b"\x02", 0.3)
    assert [sender.pull(0.3) is not None for _ in range(3)] == [True, True, False]


def test_a_lost_last_frame_is_sent_again_after_a_time_that_fits_the_line() -> None:
    data = RANDOM[:20_000]
    giving, taking = Giving(data), Taking(len(data))
    there = Wire(921_600, 0.001)
    line = Simulation(giving, taking, there, Wire(921_600, 0.001))
    line.run(lambda: giving.sender.sent_b == len(data) - len(data) % BODY_MAX)
    there.lost = 1.0
    line.run(lambda: giving.sender.sent_b == len(data))
    there.lost = 0.0
    assert line.run(lambda: giving.sender.is_done) < 0.5


@given(st.integers(0, 65_535), st.binary(max_size=40))
def test_an_ack_of_frames_that_were_never_sent_changes_nothing(seq: int, content: bytes) -> None:
    """Nor is it believed in part: what stays unacknowledged goes again."""
    sender = Sender(lambda at, n: bytes(n), 10_000)
    for _ in range(4):
        sender.pull(0.0)
    try:
        sender.acked(seq, content, 0.1)
    except ValueError:
        assert sender.acked_b == 0 and sender.in_flight_b == 4 * BODY_MAX
    assert sender.acked_b <= 4 * BODY_MAX


@given(st.lists(st.tuples(st.integers(0, 65_535), st.binary(max_size=100)), max_size=60), st.integers(1, 64))
def test_a_receiver_keeps_no_more_than_its_window(frames: list[tuple[int, bytes]], window: int) -> None:
    receiver, out = Receiver(3_000, window=window), b""
    for seq, data in frames:
        try:
            out += receiver.take(seq, data)
        except ValueError:
            break
        assert len(receiver._early) < window and len(out) == receiver.got_b <= 3_000
        assert len(receiver.ack(window)) < 100


# -- frames ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65_535), st.binary(max_size=BODY_MAX)), max_size=8))
def test_what_is_framed_comes_out_again_however_it_is_cut(frames: list[tuple[int, int, bytes]]) -> None:
    wire = b"".join(frame(*each) for each in frames)
    for step in (1, 3, 1_000, len(wire) + 1):
        deframer = Deframer()
        found = [each for at in range(0, len(wire), step) for each in deframer.feed(wire[at : at + step])]
        assert found == frames and not deframer.errors


@given(st.binary(max_size=3_000), st.binary(max_size=300))
def test_a_frame_after_any_noise_is_found(noise: bytes, content: bytes) -> None:
    deframer = Deframer()
    deframer.feed(noise)
    assert deframer.feed(frame(7, 9, content))[-1:] == [(7, 9, content)]


def test_noise_without_end_takes_no_memory() -> None:
    deframer = Deframer()
    for _ in range(100):
        deframer.feed(b"x" * 10_000)
        assert len(deframer._buffer) <= FRAME_MAX
    assert deframer.errors >= 1


@given(st.binary(max_size=200))
def test_a_body_is_a_map_or_refused(data: bytes) -> None:
    try:
        found = body(data)
    except ValueError:
        return
    assert len(packed(found)) < 1_000


def test_an_ack_is_short() -> None:
    assert len(ack(5, 32, b"")) <= 12


def test_an_ack_that_the_line_repeats_late_changes_nothing() -> None:
    sender = Sender(lambda at, n: bytes(n), 20_000)
    for _ in range(6):
        sender.pull(0.0)
    sender.acked(4, b"\x08", 0.1)
    sender.acked(2, b"\x08", 0.2)
    assert sender.acked_b == 4 * BODY_MAX and sender.in_flight_b == 2 * BODY_MAX


def test_more_than_was_announced_is_an_error() -> None:
    receiver = Receiver(1_500)
    receiver.take(0, bytes(1_000))
    with pytest.raises(ValueError, match="announced"):
        receiver.take(1, bytes(501))
    assert receiver.got_b == 1_000
