"""A PN532 card reader on a serial line: NXP UM0701-02, high-speed UART.

The line is a dialogue: a command, its acknowledgement, its answer. Whatever goes wrong in one (noise, silence, an error
frame) ends it, and the chip is set up anew: no state of the chip is ever relied on for longer than one dialogue. Each
look for a card ends with the field switched off, which also sends to sleep what was in it: the next look finds a card
that is still held as surely as a new one, also a phone in its payment mode. A frame is guarded by a sum of bytes, which
lets one damaged frame in 256 pass; so a card counts when a second look has found it too.
"""

import asyncio
from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from agent.events import CardTapped, Event
from agent.hal.card import Held, card_of
from agent.hal.device import DevicePath
from agent.hal.tty import Tty, checked_tty
from agent.policy.id_token import UID_LENGTHS

BAUDRATE = 115_200  # the chip's own after power-on, UM0701-02 §6.3.2
DATA_MAX = 265  # TFI and data of an extended frame, §6.2.1.2
START = b"\x00\xff"
TO_CHIP, FROM_CHIP, APPLICATION_ERROR = 0xD4, 0xD5, b"\x7f"
WAKE = b"\x55\x55" + bytes(14)  # §7.2.11: the chip sleeps after power-on; the zeros give its oscillator time
ABORT = b"\x00\x00\xff\x00\xff\x00"  # an acknowledgement from the host ends what the chip is at, §6.2.1.3

SAM_OFF = b"\x14\x01\x14\x01"  # SAMConfiguration: normal mode, no security module
FEW_TRIES = b"\x32\x05\xff\x01\x01"  # RFConfiguration, MaxRetries: two looks for a card, or a look would last for ever
LIST = b"\x4a\x01\x00"  # InListPassiveTarget: one card of ISO/IEC 14443 type A at 106 kbit/s
FIELD_OFF = b"\x32\x01\x00"  # RFConfiguration, RF field
STEPS = (SAM_OFF, FEW_TRIES, LIST, FIELD_OFF)
LOOK = STEPS.index(LIST)  # from here on in a circle

ACK_S = 0.1  # the chip takes 15 ms, USB adapters 16 ms more
ANSWER_S = 1.0
POLL_S = 0.1  # between two looks
AGAIN_S = 0.01  # before the look that makes sure; a card takes 5 ms without field to forget, ISO/IEC 14443-3 §5
RETRY_S = 1.0  # between two attempts with a chip that is away
FAILURES_MAX = 3  # in a row; then it is away
SETTLE_S = 1.0  # a reader that has just come finds what lies on it within so long


class Pn532Facts(Struct, frozen=True, forbid_unknown_fields=True):
    """A PN532 at its fixed 115,200 baud."""

    tty: DevicePath


class Word(Enum):
    """Frames without data."""

    ACK = 0
    NACK = 1


def frame(data: bytes) -> bytes:
    """A command's information frame, §6.2.1.1."""
    data = bytes((TO_CHIP,)) + data
    assert len(data) < 255
    return b"\x00" + START + bytes((len(data), -len(data) & 0xFF)) + data + bytes((-sum(data) & 0xFF, 0))


class Deframer:
    """Bytes in any cut to frames: TFI with data, or a Word. What is no frame is counted and skipped, byte by byte."""

    def __init__(self) -> None:
        self.noise_bytes = 0
        self.bad_frames = 0  # that began like one and had a wrong length or checksum
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes | Word]:
        frames: list[bytes | Word] = []
        self._buffer += data
        while (start := self._buffer.find(START)) >= 0:
            self._skip(start)
            first = self._first()
            if first is None:
                return frames
            size, found = first
            if size:
                self._buffer = self._buffer[size:]
                frames.append(found)
            else:
                self.bad_frames += 1
                self._skip(1)
        self._skip(len(self._buffer) - self._buffer.endswith(START[:1]))
        return frames

    def forget(self) -> None:
        """A dialogue is over: what has begun in it does not end any more."""
        self._skip(len(self._buffer))

    def _skip(self, size: int) -> None:
        self.noise_bytes += size - self._buffer[:size].count(0)  # zeros are pre- and postambles
        self._buffer = self._buffer[size:]

    def _first(self) -> tuple[int, bytes | Word] | None:
        """Size and content of the frame that the buffer begins with; size 0 if it is none, None if more is to come."""
        b = self._buffer
        head = 4
        if len(b) < head:
            return None
        if b[2:4] in (b"\x00\xff", b"\xff\x00"):
            return head, Word.NACK if b[2] else Word.ACK
        size = b[2]
        if b[2:4] == b"\xff\xff":  # an extended frame
            head = 7
            if len(b) < head:
                return None
            size = b[4] << 8 | b[5]
        if sum(b[2:head]) + (2 if head == 7 else 0) & 0xFF or not 0 < size <= DATA_MAX:
            return 0, b""
        data, checksum = b[head : head + size], b[head + size : head + size + 1]
        if not checksum:
            return None
        return (0, b"") if sum(data) + checksum[0] & 0xFF else (head + size + 1, data)


def uid_of(answer: bytes) -> str | None:
    """The id in what LIST was answered with, after its two codes; None: not one card, or no id that a card has.

    Number of cards, and of the first: its number, SENS_RES (2), SEL_RES, length of the id, the id; §7.3.5. What follows
    is its ATS, whose first byte says how long it is.
    """
    if answer[:1] != b"\x01" or len(answer) < 6:
        return None
    end = 6 + answer[5]
    uid, ats = answer[6:end], answer[end:]
    if len(uid) not in UID_LENGTHS or len(uid) != answer[5] or (ats and ats[0] != len(ats)):
        return None
    return uid.hex().upper()


class Pn532:
    """The host's side of the dialogue. Sans-IO: time is an argument, bytes come back.

    A card that lies on the reader when the reader comes is no tap: who can say whether it has been one before?
    """

    def __init__(self, where: str) -> None:
        self.bad_cards = 0  # that gave no id we can use
        self.failures = 0  # dialogues that failed, in all
        self.deframer = Deframer()
        self._sentence = f"the card reader on {where} does not answer: check its cable, its supply and its UART switch"
        self._held = Held()
        self._found = ""  # the card that the look before this one found
        self._is_sure = True
        self._step = 0
        self._is_waiting = False
        self._due = 0.0
        self._failed = 0  # dialogues in a row
        self._settled_at: float | None = None  # None: away

    @property
    def problem(self) -> str:
        return self._sentence if self._failed >= FAILURES_MAX else ""

    def next_deadline(self) -> float:
        return self._due

    def poll(self, now: float) -> bytes:
        """What is due to be said."""
        if now < self._due:
            return b""
        if self._is_waiting:
            self._fail(now)
            return b""
        return self._say(now)

    def received(self, data: bytes, now: float) -> tuple[bytes, list[str]]:
        """Bytes from the line. Returns what to answer, and the ids of cards that were tapped."""
        out, uids = b"", []
        for found in self.deframer.feed(data):
            if not self._is_waiting:
                continue  # a late answer, to nobody
            if found is Word.ACK:
                self._due = now + ANSWER_S
            elif found is Word.NACK or found == APPLICATION_ERROR:
                self._fail(now)
            elif found[:2] == bytes((FROM_CHIP, STEPS[self._step][0] + 1)):
                uids += self._answered(found[2:], now)
                out += self.poll(now)
        return out, uids

    def disconnected(self) -> None:
        """The line is gone: what comes next is another one."""
        self.deframer.forget()

    def _say(self, now: float) -> bytes:
        self.deframer.forget()
        self._is_waiting, self._due = True, now + ACK_S
        return (WAKE + ABORT if self._step == 0 else b"") + frame(STEPS[self._step])

    def _answered(self, answer: bytes, now: float) -> list[str]:
        uids = self._listed(answer, now) if STEPS[self._step] == LIST else []
        self._is_waiting, self._due = False, now
        self._step += 1
        if self._step == len(STEPS):
            self._step, self._due = LOOK, now + (POLL_S if self._is_sure else AGAIN_S)
        return uids

    def _listed(self, answer: bytes, now: float) -> list[str]:
        self._failed = 0
        if self._settled_at is None:
            self._settled_at = now + SETTLE_S
        uid = uid_of(answer)
        before, self._found = self._found, card_of(uid) if uid else ""
        self._is_sure = self._found in ("", before)
        self.bad_cards += uid is None and answer != b"\x00"
        if uid is None or not self._is_sure:
            return []
        return [uid] if self._held.is_tap(uid, now) and now >= self._settled_at else []

    def _fail(self, now: float) -> None:
        """Begin anew; at once, until that has failed too often."""
        self.failures += 1
        self._failed = min(self._failed + 1, FAILURES_MAX)
        self._step, self._is_waiting, self._due = 0, False, now
        if self.problem:
            self._settled_at, self._due = None, now + RETRY_S


class Pn532Reader:
    """A PN532 on the event loop. `tell` hears each new `problem`; "" is none."""

    def __init__(
        self, facts: Pn532Facts, post: Callable[[Event], None], now: Callable[[], float],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """ConfigError if the line may not be opened."""
        self.chip = Pn532(facts.tty)
        self.problem = ""
        self._post, self._now, self._tell = post, now, tell
        self._loop = asyncio.get_running_loop()
        self._tty = Tty(checked_tty(facts.tty), BAUDRATE, self._received, self.chip.disconnected)
        self._timer = self._loop.call_soon(self._due)

    def close(self) -> None:
        self._timer.cancel()
        self._tty.close()

    def _due(self) -> None:
        self._turn(self.chip.poll(self._now()))

    def _received(self, data: bytes) -> None:
        out, uids = self.chip.received(data, self._now())
        for uid in uids:
            self._post(CardTapped(uid))
        self._turn(out)

    def _turn(self, out: bytes) -> None:
        self._tty.write(out)
        if self.chip.problem != self.problem:
            self.problem = self.chip.problem
            self._tell(self.problem)
        self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, self.chip.next_deadline() - self._now()), self._due)
