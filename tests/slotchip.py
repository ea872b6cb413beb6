"""A controller in the hand, in simulated time: its flash is NOR, its boot part and its firmware are the real files on
CPython, its power can be cut at any operation on the flash.

An image is real but for what its ROMFS would hold; its version says how the firmware in it behaves: "2 bad import" ends
at once, "2 bad loop" after three seconds, "2 old" speaks contract 1.2 alone, "2 alien" one that nobody here speaks.
"""

import random
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from agent.update import index
from agent.update.chip import Image, Talk, image_of
from agent.update.index import Index
from board.controller import contract, main, slots
from board.controller.app.firmware import COIL, CONTACTOR, GF_TEST, OUTPUTS_FIRST, OUTPUTS_PER_PORT, TRIPPED, Firmware
from board.controller.app.port import PortBoard
from board.controller.slots import SECTOR_B, SLOT_B
from tests.chip import NOTHING

BOARD = "duo_test"
STEP_S = 0.01
RESET_S = 0.05
WATCHDOG_S = 2.0


class Cut(BaseException):
    """The power is gone."""


class Reset(BaseException):
    pass


class Flash:
    """Two slots of NOR: an erase sets all bits of a sector, a write only clears some."""

    def __init__(self, a: bytes = b"", b: bytes = b"") -> None:
        self.data = bytearray(a.ljust(SLOT_B, b"\xff") + b.ljust(SLOT_B, b"\xff"))
        self.files: dict[str, bytes] = {}
        self.operations = 0
        self.cut_at = 0  # the operation in whose middle the power goes; 0: none
        self.torn = 0.5  # how much of it is done by then
        self.is_full = False  # the file system
        self.worn: int | None = None  # a sector that takes nothing

    def change(self, at: int, data: bytes, *, is_erase: bool) -> None:
        size = self._done(len(data))
        if self.worn is not None and at // SECTOR_B == self.worn and not is_erase:
            size = 0
        old = self.data[at : at + size]
        self.data[at : at + size] = data[:size] if is_erase else bytes(a & b for a, b in zip(old, data, strict=False))
        self._end()

    def save(self, name: str, data: bytes) -> None:
        """A littlefs: old or new, and full is full."""
        size = self._done(2)
        if self.is_full:
            raise OSError(28, "full")
        if size == 2:
            self.files[name] = data
        self._end()

    def rename(self, name: str, to: str) -> None:
        size = self._done(2)
        if size == 2:
            self.files[to] = self.files.pop(name)
        self._end()

    def _done(self, size: int) -> int:
        self.operations += 1
        return int(size * self.torn) if self.operations == self.cut_at else size

    def _end(self) -> None:
        if self.operations == self.cut_at:
            raise Cut


class Inflater:
    """As MicroPython's: part by part, and what is wrong is found where it lies."""

    def __init__(self, data: bytes) -> None:
        self._inflate, self._rest = zlib.decompressobj(-12), bytes(data)

    def readinto(self, into: memoryview) -> int:
        try:
            found = self._inflate.decompress(self._rest, len(into))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        self._rest = self._inflate.unconsumed_tail
        into[: len(found)] = found
        return len(found)


class Home:
    """For the boot part: `board/controller/receive.py` says what."""

    board, kind, is_production = BOARD, "sim", 0

    def __init__(self, flash: Flash) -> None:
        self.flash = flash
        self.register = 0
        self.ms = 0
        self.heard = b""
        self.said = b""

    def slot(self, number: int) -> memoryview:
        return memoryview(self.flash.data)[number * SLOT_B : (number + 1) * SLOT_B]

    def erase(self, number: int, sector: int) -> None:
        self.flash.change(number * SLOT_B + sector * SECTOR_B, b"\xff" * SECTOR_B, is_erase=True)

    def write(self, number: int, at: int, data: bytes) -> None:
        self.flash.change(number * SLOT_B + at, data, is_erase=False)

    def read(self, name: str) -> bytes:
        return self.flash.files.get(name, b"")

    def save(self, name: str, data: bytes) -> None:
        self.flash.save(name, data)

    def inflater(self, data: bytes) -> "Inflater":
        return Inflater(data)

    def feed(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.said += data

    def receive(self) -> bytes:
        heard, self.heard = self.heard, b""
        return heard

    def now_ms(self) -> int:
        return self.ms

    def word(self) -> int:
        return self.register

    def set_word(self, word: int) -> None:
        self.register = word

    def reset(self) -> None:
        raise Reset


class Chip:
    """`step` every 10 ms. One after the other it is off, boots or receives, and runs firmware."""

    def __init__(self, a: bytes = b"", b: bytes = b"", ports: int = 1) -> None:
        self.home = Home(Flash(a, b))
        self.boards = (PortBoard(),) * ports
        self.rows = [list(NOTHING) for _ in range(ports)]
        self.boots: list[str] = []  # the version of each image that was started
        self.firmware: Firmware | None = None
        self._life: Iterator[None] | None = None
        self.now = 0.0
        self._starts_at = 0.0
        self._wished_at: float | None = None
        self._begun_at = 0.0
        self._is_proven = False
        self.version = ""
        self.power_on()

    @property
    def flash(self) -> Flash:
        return self.home.flash

    @property
    def is_receiving(self) -> bool:
        return self._life is not None

    def power_on(self) -> None:
        """After a cut, or at first."""
        self.flash.cut_at = 0
        self.home.register = 0
        self._boot(is_power_on=True)

    def reset(self) -> None:
        self._boot(is_power_on=False)

    def step(self, now: float, line: bytes) -> bytes:
        """Bytes of the line in and out. Cut: the power is gone, until `power_on`."""
        self.now, self.home.ms = now, round(now * 1000)
        self.home.heard += line
        if now < self._starts_at:
            self.home.heard = b""  # nobody listens
            return b""
        try:
            if self._life is not None:
                self._go_on()
            else:
                with speaking(self.version):
                    self._run()
        except Reset:
            self.reset()
        said, self.home.said = self.home.said, b""
        return said

    def settled(self) -> str:
        """The version that runs when nobody confirms anything; "" is the receiver. Each boot ends in a cut."""
        for _ in range(slots.TRIES + 2):
            self.power_on()
            self.step(self.now + 1.0, b"")
        return self.version if self.firmware is not None else ""

    def _boot(self, *, is_power_on: bool) -> None:
        self.firmware, self.version = None, ""
        self._life = slots.boot(self.home, is_power_on)
        self.home.heard = b""
        self._starts_at = self.now + RESET_S

    def _go_on(self) -> None:
        assert self._life is not None
        if next(self._life, self) is not self:
            return  # it receives
        self._life = None
        word = self.home.register
        assert word & slots.RUN
        self.home.register = word & ~slots.RUN
        self._slot = int(word & slots.SLOT_B_RUNS > 0)
        head = slots.intact(self.home.slot(self._slot), BOARD)
        assert head is not None, "what boots is whole"
        self.version = head[2]
        self.boots.append(self.version)
        image = head[2], head[3][:8].hex(), int(word & slots.ON_TRIAL > 0), int(word & slots.FELL_BACK > 0)
        if "bad import" in self.version:
            raise Reset
        self.firmware = Firmware(
            self.boards, 32_000, random.Random(len(self.boots)).getrandbits(32), 0, self.home.ms, self.home.read,
            self.home.save, "", image,
        )  # fmt: skip
        self._begun_at, self._wished_at, self._is_proven, self._is_new = self.now, None, False, bool(image[2])

    def _obey(self, firmware: Firmware) -> None:
        """Contactors, bolts and detectors follow."""
        for i, row in enumerate(self.rows):
            at = OUTPUTS_FIRST + OUTPUTS_PER_PORT * i
            row[CONTACTOR], row[TRIPPED] = firmware.outputs[at + COIL], firmware.outputs[at + GF_TEST]

    def _run(self) -> None:
        """As the loop of main.py."""
        firmware, now_ms = self.firmware, self.home.ms
        assert firmware is not None
        heard = self.home.receive()
        if heard:
            firmware.receive(heard, now_ms)
        firmware.inputs = array("i", (0, *(number for row in self.rows for number in row)))
        firmware.step(now_ms)
        self._obey(firmware)
        self.home.said += firmware.unsent(now_ms)
        firmware.sent(len(firmware.unsent(now_ms)))
        if "bad loop" in self.version and self.now > self._begun_at + 3:
            raise Reset
        if firmware.is_over():
            self.home.register = slots.MARK | slots.STAY
            raise Reset
        if self._is_proven:
            return
        if self._is_new and self.now > self._begun_at + main.TRIAL_MS / 1000:
            raise Reset
        if not firmware.is_wished(now_ms):
            self._wished_at = None
        elif self._wished_at is None:
            self._wished_at = self.now
        elif self.now >= self._wished_at + main.SOUND_MS / 1000:
            if self._is_new:
                self.flash.rename(slots.NEXT, slots.FILE)
            self.home.register = slots.MARK
            firmware.controller.proven()
            self._is_proven = True


class Line:
    """Between a host and a chip; each step of 10 ms carries what 115,200 baud do, or `rate_b` bytes a step."""

    def __init__(self, chip: "Steps", *, noise: float = 0.0, seed: int = 0, rate_b: int = 115) -> None:
        self.chip, self.now, self.noise, self.rate_b = chip, chip.now, noise, rate_b
        self.rng = random.Random(seed)
        self.carried = b""  # to the chip, all of it
        self.is_cut = False
        self._queue = b""

    def run(self, talk: Talk, until: Callable[[], bool] = lambda: False, limit_s: float = 600.0) -> Talk:
        """To its end, or until then."""
        give_up = self.now + limit_s
        while not talk.is_over and not until():
            assert self.now < give_up, "it comes to no end"
            self.now = round(self.now + STEP_S, 2)
            while len(self._queue) < self.rate_b and (out := talk.poll(self.now)):
                self._queue += out
            sent, self._queue = self._queue[: self.rate_b], self._queue[self.rate_b :]
            self.carried += sent
            said = self.chip.step(self.now, b"" if self.is_cut else self._spoilt(sent))
            if said and not self.is_cut:
                talk.received(self._spoilt(said), self.now)
        return talk

    def idle(self, seconds: float, line: bytes = b"") -> bytes:
        """Nobody speaks, or says `line` twice a second."""
        said = b""
        for step in range(round(seconds / STEP_S)):
            self.now = round(self.now + STEP_S, 2)
            said += self.chip.step(self.now, line if step % 50 == 0 else b"")
        return said

    def _spoilt(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        return bytes(byte ^ self.rng.randint(1, 255) if self.rng.random() < self.noise else byte for byte in data)


class Steps(Protocol):
    now: float

    def step(self, now: float, line: bytes) -> bytes: ...


@contextmanager
def speaking(version: str) -> Iterator[None]:
    """The contract of that firmware, while it thinks."""
    first, last = contract.MINOR_FIRST, contract.MINOR_LAST
    if " old" in version:
        contract.MINOR_LAST = 2
    if " alien" in version:
        contract.MINOR_FIRST, contract.MINOR_LAST = 200, 201
    try:
        yield
    finally:
        contract.MINOR_FIRST, contract.MINOR_LAST = first, last


def sealed(version: str, size_b: int = 30_000, board: str = BOARD) -> bytes:
    """An image; as compressible as code, and another one for each version."""
    rng = random.Random(version)
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(900)]
    body = b"".join(rng.choice(words) for _ in range(size_b // 3))[:size_b]
    return slots.sealed(board, version, body)


def component(data: bytes, board: str = BOARD, version: str = "2") -> Image:
    """As a build has it, which may say what it likes."""
    image = image_of(data)
    contract_range = [contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST]
    facts = {"version": version, "board": board, "contract": contract_range, "pins_hash": ""}
    found = Index(facts, image.index.files)
    return Image(found, index.dump(found), image.stored)
