"""The real firmware in lockstep: simulated hardware behind its pins, our own end of the link as its host, a line that
may be bad, and the observer. Time is simulated, 10 ms by 10 ms; the same seed gives the same world. `WatchedController`
is the same without a host and in real time, for a host that is a process or a machine of its own."""

import atexit
import random
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from agent.effects import PortCommand, Stop
from agent.events import ControllerFound, ControllerLost, Event, PortReported
from agent.hal.controller import IDLE_S, ControllerLink
from agent.sim.car import Car
from agent.sim.interpreter import Program, RealController, firmware, missing
from agent.sim.plant import Bay
from agent.ui.led import Pattern
from board.controller import contract
from board.controller.app.controller import FRAMES_MAX
from board.controller.app.port import PortBoard
from board.controller.link import Deframer
from tests.conftest import LONG
from tests.observer import Broken, PinObserver

STEP_S = 0.01
LINE_B = 115  # what 115,200 baud carry in a step
QUEUE_B = 4_096
CIRCUIT_MA, FAILSAFE_MA, GRACE_S = 32_000, 6_000, 5
CIRCUIT_MAX_MA = 63_000  # of the board
LATE_MS = 1_000  # a machine that runs other tests as well stops a process for a while, and that is nobody's fault
OFF = PortCommand()
ON = PortCommand(16_000, Stop.NONE, lock=True)

TETHERED, SOCKETED = PortBoard(), PortBoard(socketed=True)


def need_interpreter() -> None:
    """It comes with the development environment; where PyPI has no wheel, these tests are skipped."""
    if why := missing():
        pytest.fail(why) if LONG else pytest.skip(why)


@cache
def program(boards: tuple[PortBoard, ...], circuit_max_ma: int = CIRCUIT_MAX_MA) -> Program:
    folder = Path(mkdtemp(prefix="firmware-"))
    atexit.register(shutil.rmtree, folder)
    return firmware(folder, boards, circuit_max_ma)


class Tap:
    """On the wire to the firmware: which whole wishes it gets, and when. As deaf as it: it must be greeted first, and
    of what comes in one turn it looks at the newest."""

    def __init__(self, ports: int, minor: int = contract.MINOR_LAST) -> None:
        """`minor`: the last that the firmware speaks."""
        self._ports, self._last = ports, minor
        self.reset(0.0)

    def reset(self, now: float) -> None:
        self._ear, self._heard_at, self._minor = Deframer(), now, -1

    def hears(self, data: bytes, now: float) -> list[tuple[object, ...]]:
        """Each WISH and LIMIT that counts."""
        frames = self._ear.idle() if now - self._heard_at > IDLE_S + 1e-6 else []
        self._heard_at = now
        heard: list[tuple[object, ...]] = []
        frames += self._ear.feed(data)
        for _, body in frames[-FRAMES_MAX:]:
            match message := contract.unpack(body):
                case (contract.HELLO, *version):
                    minor = contract.agree(*version)[0]
                    self._minor = -1 if minor is None else min(minor, self._last)
                case (contract.WISH, minor, tuple(rows)) if minor == self._minor and len(rows) == self._ports:
                    heard.append(message)
                case (contract.LIMIT, *_) if self._minor >= 0:
                    heard.append(message)
        return heard


class WatchedController(RealController):
    """Two cables, the observer at their pins and on the line; what it sees broken is kept for the test's end."""

    def __init__(
        self, folder: Path, circuit_ma: int, *, failsafe_ma: int = 6_000, grace_s: int = 60, lockstep: bool = True
    ) -> None:
        """`failsafe_ma` and `grace_s`: what the host will commission it with."""
        boards = (TETHERED, TETHERED)
        super().__init__(program(boards, circuit_ma), folder / "flash.img", boards, lockstep=lockstep, watch=self._look)
        self.observer = PinObserver(self, circuit_ma, failsafe_ma=failsafe_ma, grace_s=grace_s, latency_ms=LATE_MS)
        self.broken: list[str] = []
        self.wished_ms: list[int] = []  # when each whole wish came
        self._tap, self._boots = Tap(2), 0

    def receive(self, data: bytes, now: float) -> None:
        super().receive(data, now)
        if self.boots != self._boots:
            self._boots = self.boots
            self._tap.reset(now)
            self.observer.booted()
        for message in self._tap.hears(data, now) if data else []:
            match message:
                case (contract.WISH, _, tuple(rows)):
                    self.wished_ms.append(round(now * 1000))
                    self.observer.heard(round(now * 1000), rows)

    def edges(self, index: int, name: str) -> list[tuple[int, int]]:
        """What this pin has done so far: (ms, value)."""
        return [(round(at * 1000), value) for at, i, pin, value in list(self.pins) if (i, pin) == (index, name)]

    def _look(self, now_ms: int) -> None:
        try:
            self.observer.look(now_ms)
        except Broken as broken:
            self.broken.append(str(broken))


class Rig:
    def __init__(
        self,
        folder: Path,
        boards: Sequence[PortBoard] = (TETHERED, SOCKETED),
        *,
        seed: int = 0,
        coil_circuit: bool = True,
        is_host_there: bool = True,
        sim: RealController | None = None,
        link: Callable[[], ControllerLink] | None = None,
        minor: int = contract.MINOR_LAST,
    ) -> None:
        """`sim`, `link`: another controller than that of `boards`, and our end of the line to it; `minor`: the last of
        the contract that it speaks."""
        need_interpreter()
        self.rng = random.Random(seed)
        self.sim = sim or RealController(
            program(tuple(boards)), folder / "flash.img", tuple(boards),
            lockstep=True, on_a_tty=False, coil_circuit=coil_circuit,
        )  # fmt: skip
        ports = len(self.sim.bays)
        self._link = link or (lambda: ControllerLink(ports, CIRCUIT_MA, FAILSAFE_MA, GRACE_S))
        self.observer = PinObserver(self.sim, 0, failsafe_ma=FAILSAFE_MA, grace_s=GRACE_S)
        self.sim.watch = self.observer.look
        self.now = 0.0
        self.circuit_ma = 0  # by the firmware's own word; it does not leave the factory commissioned
        self.limits = 0  # how often it was told one
        self.commands = [OFF] * ports
        self.noise = 0.0  # how probably a byte on the line is another
        self.is_cut = False
        self.host: ControllerLink | None = None
        self.events: list[Event] = []
        self.reports: list[tuple[int, ...]] = [()] * ports
        self._queue = b""
        self._tap, self._ear = Tap(ports, minor), Deframer()
        self._boots = 0
        self.sim.power_on(0.0)
        if is_host_there:
            self.start_host()
        self.after(2.0)

    def close(self) -> None:
        self.sim.close()

    # -- the host

    def start_host(self) -> "Rig":
        """Also after `kill_host`: it knows nothing."""
        self.host = self._link()
        self.commands = [OFF] * len(self.sim.bays)
        return self

    def kill_host(self) -> "Rig":
        self.host, self._queue = None, b""
        return self

    def wish(self, index: int, command: PortCommand) -> "Rig":
        self.commands[index] = command
        if self.host is not None:
            self.say(self.host.wish(tuple(self.commands), self.now))
        return self

    def say(self, data: bytes) -> "Rig":
        """Whatever goes down the line."""
        self._queue = (self._queue + data)[-QUEUE_B:]
        return self

    def show(self, *lights: Pattern) -> "Rig":
        assert self.host is not None
        return self.say(self.host.show(lights, self.now))

    # -- time

    def after(self, seconds: float) -> "Rig":
        for _ in range(round(seconds / STEP_S)):
            self.now = round(self.now + STEP_S, 2)
            self._line(self.now)
            self.sim.poll(self.now)
        return self

    def until(self, what: object, seconds: float = 10.0) -> "Rig":
        assert callable(what)
        give_up_at = self.now + seconds
        while not what():
            assert self.now < give_up_at, f"not within {seconds} s"
            self.after(STEP_S)
        return self

    def _line(self, now: float) -> None:
        """What the wire carries in this step: what arrives before it is read in it."""
        heard = self.sim.transmit()
        for _, body in self._ear.feed(heard):
            self._understand(contract.unpack(body))
        heard = self._spoilt(heard)
        if self.host is not None:
            out, events = self.host.poll(now)
            answer, more = self.host.received(b"" if self.is_cut else heard, now)
            self.events += events + more
            self.say(out + answer)
        data, self._queue = self._spoilt(self._queue[:LINE_B]), self._queue[LINE_B:]
        if self.sim.boots != self._boots:
            self._boots = self.sim.boots
            self._tap.reset(now)
            self._ear = Deframer()
            self.observer.booted()
        if data and not self.is_cut and self.sim.boot is not None:
            self.sim.boot.write(data)
            for message in self._tap.hears(data, now):
                self._take(message)

    def _take(self, message: tuple[object, ...]) -> None:
        match message:
            case (contract.WISH, _, tuple(rows)):
                self.observer.heard(round(self.now * 1000), rows)
            case (contract.LIMIT, int(circuit_ma), *_):  # from here on, unless it is refused
                self.limits += 1
                self.observer.circuit_ma = max(self.circuit_ma, circuit_ma)

    def _understand(self, message: tuple[object, ...] | None) -> None:
        match message:
            case (contract.WELCOME, *_, int(circuit_ma), str()):
                self.circuit_ma = self.observer.circuit_ma = circuit_ma
            case (contract.REFUSED, contract.LIMIT_REFUSED, _):
                self.observer.circuit_ma = self.circuit_ma
            case (contract.REPORT, _, int(index), tuple(row)):
                self.reports[index] = row
            case None:
                raise AssertionError("the firmware says what nobody understands")

    def _spoilt(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        return bytes(byte ^ self.rng.randint(1, 255) if self.rng.random() < self.noise else byte for byte in data)

    # -- stories

    @property
    def bays(self) -> list[Bay]:
        return self.sim.bays

    def plug(self, index: int, car: Car | None = None) -> "Rig":
        self.sim.plug(index, car or Car(reaction_ms=200, need_wh=50_000), self.now)
        return self

    def touch(self, index: int, **screws: object) -> "Rig":
        self.sim.touch(self.now, lambda sim: vars(sim.bays[index]).update(screws))
        return self

    def charging(self, index: int = 0, car: Car | None = None) -> "Rig":
        self.plug(index, car).after(0.5).wish(index, ON)
        return self.until(lambda: self.bays[index].power_w > 0)

    def closed(self, index: int = 0) -> bool:
        return self.bays[index].contactor.value

    def faults(self, index: int = 0) -> set[str]:
        mask = self.reports[index][6]
        return {name for bit, name in enumerate(contract.FAULTS.split()) if mask >> bit & 1}

    def reported(self, index: int, name: str) -> int:
        return self.reports[index][contract.PORT_REPORT[::3].index(name)]

    def clicks(self, index: int = 0) -> list[int]:
        """What the contactor has done so far."""
        return [value for _, i, name, value in self.sim.pins if (i, name) == (index, "contactor")]

    def lost(self) -> list[str]:
        return [event.why for event in self.events if isinstance(event, ControllerLost)]

    def found(self) -> int:
        return sum(isinstance(event, ControllerFound) for event in self.events)

    def told(self) -> int:
        return sum(isinstance(event, PortReported) for event in self.events)
