"""The real firmware in a real MicroPython, held in the hand: its pins, its line, its flash, its resets."""

import socket
import struct
import subprocess
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from board import chip, firmware
from board.controller import contract
from board.controller.app.firmware import Firmware
from board.controller.app.port import PortBoard
from board.controller.link import Deframer

Options = Mapping[str, Any]
BLOCK, BLOCKS = 4_096, 32
LINE_MAX = 256  # bytes that one step takes from the line
PATIENCE_S = 20.0
CIRCUIT_MAX_MA = 63_000

TETHERED: Options = {}
SOCKETED: Options = {"socketed": True, "phases": 3}
NOTHING = (12_000, 12_000, 3_300, 0, 0, 0, 250, 1, 0, 0, 0, 0, 0, 230_000, 230_000, 230_000)  # an idle port's inputs


@cache
def rom(*ports: tuple[tuple[str, Any], ...]) -> bytes:
    rows = [{"board": dict(port), "pins": {}} for port in ports]
    return firmware.image(firmware.pin_table("test", CIRCUIT_MAX_MA, rows))


def rom_file(folder: Path, *ports: Options) -> Path:
    path = folder / f"{len(ports)}.rom"
    path.write_bytes(rom(*(tuple(port.items()) for port in ports)))
    return path


def blank(folder: Path) -> Path:
    path = folder / "flash"
    path.write_bytes(b"\xff" * BLOCK * BLOCKS)
    return path


def frame(*numbers: int) -> bytes:
    return b"P" + bytes([len(numbers)]) + struct.pack(f"<{len(numbers)}i", *numbers)


class Chip:
    """One life after the other of a chip. `end` lets it finish its turn; `kill` does not."""

    def __init__(self, folder: Path, *ports: Options) -> None:
        self.ports = ports
        self.rom = rom_file(folder, *ports)
        self.flash = blank(folder)
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, reset_cause: int = contract.RESET_POWER_ON) -> "Chip":
        self.line, line = socket.socketpair()
        self.bus, bus = socket.socketpair()
        line.setblocking(False)
        bus.setblocking(False)
        self.bus.settimeout(PATIENCE_S)
        self.line.setblocking(False)
        command = chip.firmware(self.rom, line.fileno(), bus.fileno(), self.flash, reset_cause)
        self.process = subprocess.Popen(command, pass_fds=(line.fileno(), bus.fileno()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        line.close()
        bus.close()
        self._numbers = self.bus.makefile("rb")
        self.boot_outputs = self.outputs()
        return self

    def outputs(self) -> tuple[int, ...]:
        head = self._numbers.read(2)
        if len(head) < 2:
            raise EOFError(self.last_words())
        assert head[:1] == b"P"
        return struct.unpack(f"<{head[1]}i", self._numbers.read(4 * head[1]))

    def step(self, clock_ms: int, inputs: tuple[int, ...], line: bytes = b"") -> tuple[int, ...]:
        if line:
            self.line.sendall(line)
        self.bus.sendall(frame(clock_ms, *inputs))
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

    def __enter__(self) -> "Chip":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@dataclass
class Twin:
    """The same files on CPython, fed with the same numbers."""

    ports: tuple[Options, ...]

    def __post_init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.firmware: Firmware | None = None
        self._line = b""

    def start(self, boot_id: int, clock_ms: int, reset_cause: int = contract.RESET_POWER_ON) -> None:
        boards = tuple(PortBoard(**port) for port in self.ports)
        self.firmware = Firmware(
            boards, CIRCUIT_MAX_MA, boot_id, reset_cause, clock_ms,
            lambda name: self.files.get(name, b""), self.files.__setitem__,
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
        said = self.firmware.unsent()
        self.firmware.sent(len(said))
        self.firmware.keep(clock_ms)
        return said


def messages(stream: bytes) -> list[tuple[Any, ...]]:
    return [message for _, body in Deframer().feed(stream) if (message := contract.unpack(body))]
