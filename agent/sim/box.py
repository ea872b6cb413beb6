"""A simulated charger's hardware in real time, for a real agent process: controller, card reader, GNSS receiver and a
modem, each on a pty.

One thread moves bytes and time. Stories call the verbs from any other thread; a verb is over when the hardware has
done it.
"""

import os
import pty
import queue
import random
import select
import threading
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from agent.loop import monotonic, system_wall
from agent.sim.car import Car
from agent.sim.gnss import Receiver
from agent.sim.modem.modem import Modem
from agent.sim.plant import Plant
from agent.wizard.coordinates import Point

T = TypeVar("T")
POLL_S = 0.01  # the controller's own loop turns every 10 ms
PLACE = Point(52.520008, 13.404954)  # where the simulated station stands
VERB_S = 5.0  # a verb that takes longer is a bug


class Line:
    """One pty: what the agent opens is `path`. With `name` that is a link, which like udev's survives the pty."""

    def __init__(self, name: Path | None = None) -> None:
        self._name = name
        self.device = ""
        self.master: int | None = None
        self.mend()

    def mend(self) -> None:
        """The line is there (again), as another device."""
        self.master, self._slave = pty.openpty()  # the slave is held: a restarting agent does not hang the line up
        if os.ttyname(self._slave) == self.device:
            former = self.master, self._slave
            self.master, self._slave = pty.openpty()
            for fd in former:
                os.close(fd)
        self.device = os.ttyname(self._slave)
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = self.device
        if self._name:
            self._name.symlink_to(self.device)
            self.path = str(self._name)

    def cut(self) -> None:
        """The adapter is pulled out: the device is gone, and so is its name."""
        assert self.master is not None
        if self._name:
            self._name.unlink()
        os.close(self.master)
        os.close(self._slave)
        self.master = None

    def read(self) -> bytes:
        try:
            return os.read(self.master, 4096) if self.master is not None else b""
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        """What the other end does not take is lost, as on a wire."""
        if data and self.master is not None:
            try:
                os.write(self.master, data)
            except (BlockingIOError, OSError):
                return

    def close(self) -> None:
        if self.master is not None:
            self.cut()


class Box:
    """`folder`, if given, holds names for the lines that stay while devices come and go. `noise`: how probably a byte
    between agent and controller, either way, becomes another. `modem`: with the name of its line, which
    it takes with it when it restarts; it has this box's power."""

    def __init__(
        self, controller: Plant[Any], folder: Path | None = None, modem: tuple[Modem, Path] | None = None
    ) -> None:
        self.controller = controller
        self.noise = 0.0
        self.spoilt = 0  # bytes so far
        self._random = random.Random(1)
        self.link = Line(folder / "controller" if folder else None)
        self.reader = Line(folder / "reader" if folder else None)
        self.gnss = Line(folder / "gnss" if folder else None)
        self.receiver = Receiver(PLACE)
        self.modem = modem[0] if modem else None
        self.at_line = Line(modem[1]) if modem else None
        self._told_at = 0.0  # by the receiver
        self._began = monotonic()
        self._verbs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="box", daemon=True)

    def start(self) -> "Box":
        self._thread.start()
        return self

    def close(self) -> None:
        self._verbs.put(None)
        os.write(self._wake_write, b"x")
        self._thread.join(VERB_S)
        self.controller.close()
        self.link.close()
        self.reader.close()
        self.gnss.close()
        if self.at_line:
            self.at_line.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- verbs

    def power_on(self) -> None:
        self._do(self.controller.power_on)
        self._do(lambda _: self.receiver.power_on())
        self.cellular(lambda modem, now: modem.power(True, now))

    def cut_power(self) -> None:
        self._do(self.controller.power_off)
        self.cellular(lambda modem, now: modem.power(False, now))

    def reset_controller(self) -> None:
        """It alone, as its watchdog does."""
        self._do(self.controller.reset)

    def plug(self, evse_id: int, car: Car) -> None:
        self._do(lambda now: self.controller.plug(evse_id - 1, car, now))

    def unplug(self, evse_id: int) -> bool:
        return self._do(lambda now: self.controller.unplug(evse_id - 1, now))

    def touch(self, change: Callable[[Any], object]) -> None:
        """Change the hardware: `box.touch(lambda plant: setattr(plant, "emergency_stop", True))`."""
        self._do(lambda now: self.controller.touch(now, change))

    def cellular(self, change: Callable[[Modem, float], object]) -> None:
        """Something befalls the modem, its SIM or its network; nothing where there is none."""
        if modem := self.modem:
            self._do(lambda now: change(modem, now))

    def tap(self, uid: str) -> None:
        self._do(lambda _: self.reader.write(uid.encode() + b"\n"))

    def cut_line(self) -> None:
        """Between agent and controller; both live on."""
        self._do(lambda _: self.link.cut())

    def mend_line(self) -> None:
        self._do(lambda _: self.link.mend())

    def cut_reader(self) -> None:
        self._do(lambda _: self.reader.cut())

    def mend_reader(self) -> None:
        self._do(lambda _: self.reader.mend())

    def babble(self, line: Line, data: bytes) -> None:
        """Noise towards the agent."""
        self._do(lambda _: line.write(data))

    # -- facts

    def ask(self, question: Callable[[float], T]) -> T:
        """Look at the hardware at one instant: `box.ask(lambda now: …)`."""
        return self._do(question)

    def register_wh(self, evse_id: int) -> float:
        return self._do(lambda now: self.controller.register_wh(evse_id - 1, now))

    def power_w(self, evse_id: int) -> int:
        return self._do(lambda now: int(self.controller.bays[evse_id - 1].power_w))

    def is_closed(self, evse_id: int) -> bool:
        """The contactor, seen at the pins."""
        return self._do(lambda now: bool(self.controller.bays[evse_id - 1].contactor.value))

    # -- the thread

    def _now(self) -> float:
        return monotonic() - self._began

    def _do(self, verb: Callable[[float], T]) -> T:
        done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((verb(self._now()), None))
            except Exception as error:
                done.put((None, error))

        self._verbs.put(run)
        os.write(self._wake_write, b"x")
        result, error = done.get(timeout=VERB_S)
        if error:
            raise error
        return result  # type: ignore[return-value]

    def _run(self) -> None:
        while True:
            lines = [] if self.link.master is None else [self.link.master]
            readable, _, _ = select.select([*lines, self._wake_read, *self.controller.fds], [], [], POLL_S)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            while not self._verbs.empty():
                verb = self._verbs.get()
                if verb is None:
                    return
                verb()
            now = self._now()
            if said := self.link.read():
                self.heard(said)
            self.controller.receive(self._spoilt(said), now)
            self.link.write(self._spoilt(self.controller.transmit()))
            self._locate(now)
            self._call(now)

    def _call(self, now: float) -> None:
        """A modem that restarts takes its port with it."""
        if self.modem is None or self.at_line is None:
            return
        self.modem.run(now)
        if self.modem.is_there is (self.at_line.master is None):
            self.at_line.mend() if self.modem.is_there else self.at_line.cut()
        if said := self.at_line.read():
            self.modem.ports[0].received(said, now)
        self.at_line.write(self.modem.ports[0].poll(now))

    def _locate(self, now: float) -> None:
        """A receiver speaks once a second, whether anybody listens or not."""
        if now >= self._told_at + 1.0:
            self._told_at = now
            self.receiver.wall_s = float(int(system_wall()))
            self.gnss.write(self.receiver.second())

    def heard(self, data: bytes) -> None:
        """What the agent has said, before the line spoils it: for whoever measures."""

    def _spoilt(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        rng = self._random
        noisy = bytes(byte ^ rng.randint(1, 255) if rng.random() < self.noise else byte for byte in data)
        self.spoilt += sum(a != b for a, b in zip(noisy, data, strict=True))
        return noisy
