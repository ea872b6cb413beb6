"""The real firmware in a real MicroPython, held in the hand: its pins, its line, its flash, its resets."""

import random
import socket
import struct
import subprocess
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from board import chip, firmware
from board.controller import contract
from board.controller.app.firmware import Firmware
from board.controller.app.port import PortBoard
from board.controller.contract import pack
from board.controller.link import Deframer, frame

Options = Mapping[str, Any]
LINE_MAX = 128  # bytes that one step takes from the line
PATIENCE_S = 20.0
CIRCUIT_MAX_MA = 63_000
OFFERS_MA = (0, 6_000, 16_000, 32_000, 52_000)
HELLO = (contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH)

TETHERED: Options = {}
SOCKETED: Options = {"socketed": True, "phases": 3}
NOTHING = (12_000, 12_000, 3_300, 0, 0, 0, 250, 1, 0, 0, 0, 0, 0, 230_000, 230_000, 230_000)  # an idle port's inputs


@cache
def rom(*ports: tuple[tuple[str, Any], ...]) -> bytes:
    return probe_rom(pins(*ports))


def probe_rom(pins: str, port: str = "unix") -> bytes:
    """Boot part and firmware in one, and what a PC has of both, for code that looks into them."""
    sources = {*firmware.slot_files(port), *firmware.boot_files(port), firmware.CONTROLLER / "unix.py"}
    return firmware.romfs({"pins.py": pins, "fixed.py": firmware.fixed(pins)}, sorted(sources))


@cache
def unit_parts(*ports: tuple[tuple[str, Any], ...]) -> tuple[bytes, bytes]:
    return firmware.boot_rom(pins(*ports)), firmware.image(pins(*ports))


def pins(*ports: tuple[tuple[str, Any], ...]) -> str:
    return firmware.pin_table("test", CIRCUIT_MAX_MA, rows(*map(dict, ports)))


def rows(*ports: Options) -> list[dict[str, object]]:
    return [{"board": port, "pins": {}} for port in ports]


def pins_hash(*ports: Options) -> str:
    return firmware.hash_of(firmware.facts_of(CIRCUIT_MAX_MA, rows(*ports), {}))


def rom_file(folder: Path, *ports: Options) -> Path:
    path = folder / f"{len(ports)}.rom"
    path.write_bytes(rom(*(tuple(port.items()) for port in ports)))
    return path


def unit(folder: Path, *ports: Options) -> chip.Unit:
    boot, image = unit_parts(*(tuple(port.items()) for port in ports))
    path = folder / "boot"
    path.write_bytes(boot)
    return chip.Unit(path, image)


def bus_frame(*numbers: int) -> bytes:
    return b"P" + bytes([len(numbers)]) + struct.pack(f"<{len(numbers)}i", *numbers)


class Chip:
    """One life after the other of a chip. `end` lets it finish its turn; `kill` does not."""

    def __init__(self, folder: Path, *ports: Options, before: str = "") -> None:
        """`before`: code that runs in the chip before its firmware starts."""
        self.ports = ports
        self.before = before
        self.unit = unit(folder, *ports)
        self.flash = folder / "flash"
        self.folder = folder
        self.renew()
        self.process: subprocess.Popen[bytes] | None = None

    def renew(self) -> None:
        """As it leaves the factory."""
        self.flash.write_bytes(chip.flash_image(self.unit.image))

    def start(self, reset_cause: int = contract.RESET_POWER_ON) -> "Chip":
        self.line, line = socket.socketpair()
        self.bus, bus = socket.socketpair()
        line.setblocking(False)
        bus.setblocking(False)
        self.bus.settimeout(PATIENCE_S)
        self.line.setblocking(False)
        command = chip.firmware(self.unit.boot, line.fileno(), bus.fileno(), self.flash, reset_cause, self.before)
        fds, console = (line.fileno(), bus.fileno()), subprocess.PIPE
        self.process = subprocess.Popen(command, pass_fds=fds, stdout=console, stderr=subprocess.STDOUT)
        line.close()
        bus.close()
        self._numbers = self.bus.makefile("rb")
        self.boot_outputs = self.outputs()
        return self

    def outputs(self) -> tuple[int, ...]:
        try:
            head = self._numbers.read(2)
        except ConnectionResetError:  # it ended with a frame of ours unread
            head = b""
        if len(head) < 2:
            raise EOFError(self.last_words())
        assert head[:1] == b"P"
        return struct.unpack(f"<{head[1]}i", self._numbers.read(4 * head[1]))

    def step(self, clock_ms: int, inputs: tuple[int, ...], line: bytes = b"") -> tuple[int, ...]:
        if line:
            self.line.sendall(line)
        with suppress(BrokenPipeError):  # then there is an end to be read
            self.bus.sendall(bus_frame(clock_ms, *inputs))
        return self.outputs()

    def said(self) -> bytes:
        try:
            return self.line.recv(65_536)
        except BlockingIOError:
            return b""

    def last_words(self) -> str:
        """What it wrote to its console; it has ended, or does so now."""
        assert self.process is not None
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        return said.decode()

    def end(self) -> None:
        if self.process is not None:
            self.bus.shutdown(socket.SHUT_WR)
            self.process.communicate(timeout=PATIENCE_S)
            self._numbers.close()
            self.bus.close()
            self.line.close()
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.end()

    def reset(self, reset_cause: int = contract.RESET_WATCHDOG) -> "Chip":
        self.end()
        return self.start(reset_cause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Life:
    """Random numbers from the converters and random bytes from the host, step by step, from a seed."""

    def __init__(self, seed: int, port_count: int) -> None:
        self.rng = random.Random(seed)
        self.clock_ms = self.rng.choice((0, 10, 5_000, (1 << 29) - 2_000, (1 << 30) + 7))
        self.port_count = port_count
        self.rows = [list(NOTHING) for _ in range(port_count)]
        self.emergency_stop = 0
        self.seq = 0
        self.commissioned = False

    def inputs(self) -> tuple[int, ...]:
        rng = self.rng
        for row in self.rows:
            if rng.random() < 0.1:
                self._change(row)
            if rng.random() < 0.05:  # noise
                row[0] += rng.randrange(-600, 600)
        if rng.random() < 0.005:
            self.emergency_stop = rng.randrange(2)
        return (self.emergency_stop, *(number for row in self.rows for number in row))

    def _change(self, row: list[int]) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2:
                row[0] = rng.choice((12_000, 9_000, 6_000, 6_000, 3_000, 0, -12_000))
                row[1] = rng.choice((-12_000, -12_000, -12_000, row[0], -row[0]))
            case 3:
                row[2] = rng.choice((3_300, 2_705, 2_222, 1_320, 767, 0, rng.randrange(3_300)))
            case 4 | 5:
                row[3] = rng.randrange(2)
            case 6:
                row[4] = rng.randrange(2)
            case 7 | 8:
                row[5] = rng.randrange(2)
            case 9:
                row[6] = rng.choice((250, 250, 250, 900, -2_000, 30_000))
                row[7] = rng.choice((1, 1, 0))
            case 10:
                row[8] = rng.choice((row[8] + rng.randrange(100), rng.randrange(1_000_000)))
                row[9] = rng.choice((0, 7_000, 1 << 30))
            case 11:
                row[10:13] = [rng.choice((0, 16_000, 60_000)) for _ in range(3)]
                row[13:16] = [rng.choice((230_000, 230_000, 0, 300_000)) for _ in range(3)]

    def line(self) -> bytes:
        rng = self.rng
        if rng.random() > 0.2:
            return b""
        wish = tuple(
            (rng.choice(OFFERS_MA), rng.choice((0, 0, 0, 1, 2)), rng.randrange(2), rng.randrange(3))
            for _ in range(self.port_count)
        )
        good = rng.choice((
            HELLO,
            *[(contract.WISH, contract.MINOR_LAST, wish)] * 4,
            (contract.LIMIT, rng.choice((0, 20_000, 63_000, 64_000)), rng.choice((0, 6_000)), rng.choice((0, 60))),
        ))  # fmt: skip
        data = frame(self.seq, pack(*good))
        self.seq = self.seq + 1 & 0xFF
        match rng.randrange(12):
            case 0:
                return data[: rng.randrange(len(data))]
            case 1:
                at = rng.randrange(len(data))
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                return rng.randbytes(rng.randrange(60)) + data
            case 3:
                return data + data
        return data

    def pause(self) -> None:
        self.clock_ms += self.rng.choice((10, 10, 10, 10, 10, 10, 0, 20, 500, 3_000, 60_000))


@dataclass
class Twin:
    """The same files on CPython, fed with the same numbers."""

    ports: tuple[Options, ...]

    def __post_init__(self) -> None:
        self.files: dict[str, bytes] = {}
        _, image = unit_parts(*(tuple(port.items()) for port in self.ports))
        self.image: tuple[str, str, int, int] | None = ("0", image[96:104].hex(), 0, 0)
        self.firmware: Firmware | None = None
        self._line = b""

    def start(self, boot_id: int, clock_ms: int, reset_cause: int = contract.RESET_POWER_ON) -> None:
        boards = tuple(PortBoard(**port) for port in self.ports)
        self.firmware = Firmware(
            boards, CIRCUIT_MAX_MA, boot_id, reset_cause, clock_ms,
            lambda name: self.files.get(name, b""), self.files.__setitem__, pins_hash(*self.ports), self.image,
        )  # fmt: skip
        self._line = b""

    def step(self, clock_ms: int, inputs: tuple[int, ...], line: bytes = b"") -> tuple[int, ...]:
        """As one turn of `main.py`."""
        assert self.firmware is not None
        self._line += line
        if self._line:
            self.firmware.receive(self._line[:LINE_MAX], clock_ms)
            self._line = self._line[LINE_MAX:]
        self.firmware.inputs = array("i", inputs)
        self.firmware.step(clock_ms)
        return tuple(self.firmware.outputs)

    def said(self, clock_ms: int) -> bytes:
        assert self.firmware is not None
        said = self.firmware.unsent(clock_ms)
        self.firmware.sent(len(said))
        self.firmware.keep(clock_ms)
        return said


def messages(stream: bytes) -> list[tuple[Any, ...]]:
    return [message for _, body in Deframer().feed(stream) if (message := contract.unpack(body))]
