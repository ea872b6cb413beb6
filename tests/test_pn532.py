"""The PN532 driver against a model of the chip: asleep at first, one thing at a time, a field with cards in it.

In simulated time for the dialogue and every accident in it; on a pty, byte by byte, for the driver on the event loop.
"""

import asyncio
import os
import random
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.events import CardTapped, Event
from agent.hal.card import AWAY_S
from agent.hal.pn532 import (
    ANSWER_S,
    DATA_MAX,
    FAILURES_MAX,
    POLL_S,
    RETRY_S,
    SETTLE_S,
    Deframer,
    Pn532,
    Pn532Facts,
    Pn532Reader,
    Word,
    frame,
    uid_of,
)
from agent.loop import monotonic
from agent.policy.id_token import UID_LENGTHS, normalised
from agent.sim.box import Line

TIMEOUT_S = 10.0
ANN, BOB, EVE = "04A1B2C3D4E5F6", "04B7C8D9", "04A1B2C3D4E5F6071829"
ACK, NACK = bytes.fromhex("0000FF00FF00"), bytes.fromhex("0000FFFF0000")
ERROR = bytes.fromhex("0000FF01FF7F8100")  # UM0701-02 §6.2.1.5


def said(data: bytes, *, is_extended: bool = False) -> bytes:
    """A frame of the chip with its TFI, by the letter of §6.2.1."""
    data = b"\xd5" + data
    size = len(data).to_bytes(2, "big") if is_extended else bytes((len(data),))
    head = (b"\xff\xff" if is_extended else b"") + size + bytes((-sum(size) % 256,))
    return b"\x00\x00\xff" + head + data + bytes((-sum(data) % 256, 0))


class Chip:
    """What UM0701-02 says of the chip, and no more than a reader of cards can meet."""

    def __init__(self) -> None:
        self.cards: list[str] = []  # in the field, as far as it is on
        self.phone = False  # another card, with another id each time the field comes back
        self._ids = random.Random(1)
        self.is_dead = False
        self.reset()

    def reset(self) -> None:
        """Power on: asleep, and patient without end."""
        self._is_awake = self._is_configured = False
        self._tries: int | None = None
        self._is_looking = False
        self._heard = b""
        self.is_field_on = False
        self.commands: list[bytes] = []

    def hear(self, data: bytes) -> bytes:
        out = b""
        for byte in data if not self.is_dead else b"":
            if not self._is_awake:
                self._is_awake = byte == 0x55
                continue
            self._heard = (self._heard + bytes((byte,)))[-64:]
            if self._heard.endswith(ACK[:-1]):
                self._is_looking, self._heard = False, b""
            elif command := self._command():
                self.commands.append(command)
                self._heard = b""
                out += ACK + self._done(command)
        return out

    def _command(self) -> bytes | None:
        start = self._heard.find(b"\x00\x00\xff")
        body = self._heard[start + 3 :]
        if start < 0 or len(body) < 2 or (body[0] + body[1]) % 256 or len(body) < body[0] + 3:
            return None
        data, checksum = body[2 : body[0] + 2], body[body[0] + 2]
        return data[1:] if not (sum(data) + checksum) % 256 and data[:1] == b"\xd4" else None

    def _done(self, command: bytes) -> bytes:
        command += bytes(5)  # the chip's own buffer has more as well
        if command[0] == 0x14:
            self._is_configured = True
            return said(b"\x15")
        if not self._is_configured:
            return ERROR
        match command[0], command[1]:
            case 0x32, 0x05:
                self._tries = command[4]
                return said(b"\x33")
            case 0x32, 0x01:
                self.is_field_on = bool(command[2] & 1)
                return said(b"\x33")
            case 0x4A, _:
                if not self.is_field_on and self.phone:
                    self.cards = ["08" + self._ids.randbytes(3).hex().upper()]
                self.is_field_on = True
                if not self.cards and self._tries in (None, 0xFF):
                    self._is_looking = True  # until there is a card
                    return b""
                return said(b"\x4b" + self._found())
        return ERROR

    def _found(self) -> bytes:
        if not self.cards:
            return b"\x00"
        uid = bytes.fromhex(self.cards[0])
        return b"\x01\x01\x00\x04\x08" + bytes((len(uid),)) + uid


Accident = Callable[[bytes], bytes]


@dataclass
class Desk:
    """Driver and chip, joined by a wire on which accidents happen, in simulated time."""

    chip: Chip = field(default_factory=Chip)
    reader: Pn532 = field(default_factory=lambda: Pn532("/dev/ttyS2"))
    now: float = 1_000.0
    taps: list[str] = field(default_factory=list)
    to_host: Accident = lambda data: data
    to_chip: Accident = lambda data: data

    def run(self, seconds: float) -> list[str]:
        """Let time pass; the taps in it."""
        before, until = len(self.taps), self.now + seconds
        while (now := max(self.now, self.reader.next_deadline())) <= until:
            self.now = now
            out = self.reader.poll(now)
            while out:
                heard = self.to_host(self.chip.hear(self.to_chip(out)))
                self.now += 0.005
                out = b""
                for byte in heard:
                    answer, uids = self.reader.received(bytes((byte,)), self.now)
                    out += answer
                    self.taps += uids
        self.now = until
        return self.taps[before:]

    def settled(self) -> "Desk":
        assert self.run(SETTLE_S + 0.5) == []
        assert self.reader.problem == ""
        return self


# -- the dialogue -----------------------------------------------------------------------------------------------------


def test_a_command_is_framed_as_the_manual_shows_it() -> None:
    assert frame(b"\x02") == bytes.fromhex("0000FF02FED4022A00")  # GetFirmwareVersion, UM0701-02 §7.2.2
    assert frame(b"\x14\x01\x14\x01") == bytes.fromhex("0000FF05FBD4140114010200")


@pytest.mark.parametrize("uid", [BOB, ANN, EVE])
def test_a_card_of_every_length_is_one_tap_however_long_it_is_held(uid: str) -> None:
    desk = Desk().settled()
    desk.chip.cards = [uid]
    assert desk.run(10 * POLL_S) == [uid]
    assert desk.run(60.0) == []
    desk.chip.cards = []
    desk.run(AWAY_S + 0.5)
    desk.chip.cards = [uid]
    assert desk.run(1.0) == [uid]


def test_a_card_is_seen_within_the_time_that_feedback_may_take() -> None:
    desk = Desk().settled()
    for _ in range(20):
        desk.run(random.Random(desk.now).random())
        desk.chip.cards, came = [ANN], desk.now
        while not desk.run(0.01):
            assert desk.now < came + 0.15, "S6: feedback to a tap within 0.2 s"
        desk.chip.cards = []
        desk.run(2 * AWAY_S)


def test_a_card_at_the_border_of_the_field_is_one_tap() -> None:
    desk, rng = Desk().settled(), random.Random(1)
    taps = []
    for _ in range(200):
        for cards in ([ANN], []):
            desk.chip.cards = cards
            taps += desk.run(2 * POLL_S + rng.random() * AWAY_S / 2)
    assert taps == [ANN]


def test_two_cards_one_after_the_other_are_two_taps_and_two_at_once_no_more() -> None:
    desk = Desk().settled()
    desk.chip.cards = [ANN]
    assert desk.run(0.5) == [ANN]
    desk.chip.cards = [BOB]
    assert desk.run(0.5) == [BOB]
    for _ in range(100):
        desk.chip.cards = desk.chip.cards[1:] or [ANN, BOB]  # a wallet: now this one answers, now that one
        assert desk.run(0.2) == []


def test_a_phone_that_makes_up_an_id_each_time_is_one_tap() -> None:
    desk = Desk().settled()
    desk.chip.phone = True
    assert [uid[:2] for uid in desk.run(60.0)] == ["08"]


def test_a_card_that_lies_on_the_reader_when_the_reader_comes_is_no_tap() -> None:
    desk = Desk()
    desk.chip.cards = [ANN]
    assert desk.run(20.0) == []
    desk.chip.cards = [BOB]
    assert desk.run(0.5) == [BOB]


def test_the_field_is_off_between_two_looks() -> None:
    desk = Desk().settled()
    assert desk.chip.commands[:2] == [bytes.fromhex("14011401"), bytes.fromhex("3205FF0101")]
    assert desk.chip.commands[-2:] == [bytes.fromhex("4A0100"), bytes.fromhex("320100")]
    assert not desk.chip.is_field_on


def test_a_chip_that_is_away_is_a_sentence_until_it_is_back() -> None:
    desk = Desk().settled()
    desk.chip.is_dead = True
    desk.run(FAILURES_MAX * ANSWER_S)
    assert "/dev/ttyS2" in desk.reader.problem
    asked = desk.reader.failures
    desk.run(60.0)
    assert desk.reader.failures - asked <= 60 / RETRY_S
    desk.chip.is_dead = False
    desk.chip.reset()  # it was without power
    desk.run(RETRY_S + 0.5)
    assert desk.reader.problem == ""
    desk.settled()
    desk.chip.cards = [ANN]
    assert desk.run(0.5) == [ANN]


@pytest.mark.parametrize("answer", [NACK, ERROR, ACK + ERROR, said(b"\x4b\x01"), said(b"\x09")])
@pytest.mark.promise("S9")
def test_a_chip_that_talks_nonsense_is_a_sentence_and_no_storm(answer: bytes) -> None:
    desk = Desk(to_host=lambda data: answer)
    before = len(desk.chip.commands)
    assert desk.run(30.0) == []
    assert desk.reader.problem
    assert len(desk.chip.commands) - before < 3 * (FAILURES_MAX + 30 / RETRY_S)


def test_a_chip_that_lost_its_power_for_a_moment_is_set_up_anew_and_a_held_card_stays_one_tap() -> None:
    desk = Desk().settled()
    desk.chip.cards = [ANN]
    assert desk.run(1.0) == [ANN]
    desk.chip.reset()
    assert desk.run(10.0) == []
    assert desk.reader.problem == ""
    assert bytes.fromhex("14011401") in desk.chip.commands


# -- accidents --------------------------------------------------------------------------------------------------------


class Noise:
    """Flips, cuts and inserts on a wire, by seed."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        self._rng, self._rate = rng, rate

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._rng.random() >= self._rate:
                out.append(byte)
                continue
            match self._rng.randrange(4):
                case 0:
                    out.append(byte ^ 1 << self._rng.randrange(8))
                case 1:
                    out += bytes((byte,)) + self._rng.randbytes(self._rng.randrange(12))
                case 2:
                    out += b"\x00\x00\xff" + self._rng.randbytes(2) + bytes((byte,))  # what begins like a frame
        return bytes(out)


@given(st.integers(0, 1 << 32), st.sampled_from([0.001, 0.01, 0.1, 1.0]))
@pytest.mark.promise("S9")
def test_noise_delays_a_tap_and_makes_none_and_when_it_ends_the_reader_reads(
    seed: int, rate: float
) -> None:
    rng = random.Random(seed)
    desk = Desk(to_host=Noise(rng, rate), to_chip=Noise(rng, rate)) if rate == 1.0 else Desk().settled()
    desk.to_host, desk.to_chip = Noise(rng, rate), Noise(rng, rate)
    for _ in range(5):
        desk.chip.cards = rng.choice([[], [ANN], [BOB], [EVE]])
        desk.run(2.0)
    assert set(desk.taps) <= {ANN, BOB, EVE}
    desk.chip.cards = []
    desk.to_host = desk.to_chip = lambda data: data
    desk.run(RETRY_S + ANSWER_S + SETTLE_S + AWAY_S)
    assert desk.reader.problem == ""
    desk.chip.cards = ["04FFEEDD"]
    assert desk.run(1.0) == ["04FFEEDD"]


@given(st.lists(st.binary(max_size=80), max_size=20))
@example([b"\x00\x00\xff\xff\xff\xff\xff\x02" + bytes(300)])
@pytest.mark.promise("S9")
def test_the_driver_survives_any_bytes_at_any_time(chunks: list[bytes]) -> None:
    reader, now = Pn532("tty"), 0.0
    for chunk in chunks:
        now = max(now, reader.next_deadline())
        reader.poll(now)
        _, uids = reader.received(chunk, now)
        assert uids == []
        assert len(reader.deframer._buffer) <= DATA_MAX + 8


frames = st.lists(
    st.one_of(
        st.just((Word.ACK, ACK)),
        st.just((Word.NACK, NACK)),
        st.just((b"\x7f", ERROR)),
        st.binary(max_size=253).map(lambda data: (b"\xd5" + data, said(data))),
        st.binary(max_size=DATA_MAX - 1).map(lambda data: (b"\xd5" + data, said(data, is_extended=True))),
    ),
    max_size=8,
)


@given(frames, st.lists(st.integers(1, 40), min_size=1), st.sampled_from([b"", b"\x55", b"\xaa\x55\x00"]))
def test_every_frame_comes_through_in_any_cut(
    frames: list[tuple[bytes | Word, bytes]], cuts: list[int], gap: bytes
) -> None:
    stream, deframer, got = gap.join(wire for _, wire in frames), Deframer(), []
    while stream:
        for cut in cuts:
            got += deframer.feed(stream[:cut])
            stream = stream[cut:]
    assert got == [data for data, _ in frames]
    assert deframer.bad_frames == 0


@given(st.binary(min_size=1, max_size=40), st.data())
def test_one_flipped_bit_never_passes_as_another_frame(data: bytes, draw: st.DataObject) -> None:
    wire = bytearray(said(data))
    position = draw.draw(st.integers(3, len(wire) - 2))
    wire[position] ^= 1 << draw.draw(st.integers(0, 7))
    got = Deframer().feed(bytes(wire))
    assert b"\xd5" + data not in got


@given(st.binary(max_size=40))
def test_an_answer_gives_an_id_that_the_core_takes_or_none(answer: bytes) -> None:
    uid = uid_of(answer)
    assert uid is None or normalised(uid) == uid


@pytest.mark.parametrize("size", range(14))
def test_an_id_of_a_length_that_no_card_has_is_none(size: int) -> None:
    answer = b"\x01\x01\x00\x04\x08" + bytes((size,)) + bytes(range(4, 4 + size))
    assert (uid_of(answer) is not None) == (size in UID_LENGTHS)


uids = st.sampled_from(UID_LENGTHS).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(uids, st.binary(max_size=40))
def test_an_id_comes_through_as_the_card_gave_it(uid: bytes, ats: bytes) -> None:
    answer = b"\x01\x01\x00\x04\x20" + bytes((len(uid),)) + uid
    assert uid_of(answer) == uid.hex().upper()
    assert uid_of(answer + bytes((len(ats) + 1,)) + ats) == uid.hex().upper()
    assert uid_of(answer[:-1]) is None


# -- on a pty ---------------------------------------------------------------------------------------------------------


class Box:
    """The chip at the other end of a pty, in a thread; what it says comes byte by byte."""

    def __init__(self, path: Path) -> None:
        self.line = Line(path)
        self.chip = Chip()
        self.lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def cut(self) -> None:
        with self.lock:
            self.line.cut()

    def mend(self) -> None:
        with self.lock:
            self.chip.reset()
            self.line.mend()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        if self.line.master is not None:
            self.line.cut()

    def _live(self) -> None:
        while not self._closed.is_set():
            with self.lock:
                master = self.line.master
                if master is not None and select.select([master], [], [], 0.01)[0]:
                    for byte in self.chip.hear(self.line.read()):
                        os.write(master, bytes((byte,)))
            self._closed.wait(0.001)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "reader")
    yield box
    box.close()


async def came(is_there: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not is_there():
            await asyncio.to_thread(threading.Event().wait, 0.02)


def test_on_a_real_line_cards_are_read_and_the_line_may_go_and_come_back(box: Box) -> None:
    posted: list[Event] = []
    told: list[str] = []

    async def story() -> None:
        reader = Pn532Reader(Pn532Facts(tty=str(box.line.path)), posted.append, monotonic, told.append)
        try:
            await came(lambda: reader.chip._settled_at and monotonic() > reader.chip._settled_at)
            box.chip.cards = [ANN]
            await came(lambda: posted == [CardTapped(ANN)])
            box.cut()
            await came(lambda: reader.problem)
            box.chip.cards = []
            box.mend()
            await came(lambda: not reader.problem)
            await came(lambda: reader.chip._settled_at and monotonic() > reader.chip._settled_at)
            box.chip.cards = [EVE]
            await came(lambda: len(posted) == 2)
        finally:
            reader.close()

    asyncio.run(story())
    assert posted == [CardTapped(ANN), CardTapped(EVE)]
    assert [bool(sentence) for sentence in told] == [True, False]
