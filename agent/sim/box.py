"""A simulated charger's hardware in real time, for a real agent process: controller and card reader, each on a pty.

One thread moves bytes and time. Stories call the verbs from any other thread; a verb is over when the hardware has
done it.
"""

import os
import pty
import queue
import select
import threading
import tty
from collections.abc import Callable
from typing import TypeVar

from agent.loop import monotonic
from agent.sim.car import Car
from agent.sim.controller import SimController

T = TypeVar("T")
POLL_S = 0.02  # the controller's own loop turns every 10 ms
VERB_S = 5.0  # a verb that takes longer is a bug


class Line:
    """One pty: what the agent opens is `path`."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self._slave = slave  # held open, so that a restarting agent does not hang the line up
        self.path = os.ttyname(slave)
        os.set_blocking(self.master, False)

    def read(self) -> bytes:
        try:
            return os.read(self.master, 4096)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        """What the other end does not take is lost, as on a wire."""
        if data:
            try:
                os.write(self.master, data)
            except (BlockingIOError, OSError):
                return

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


class Box:
    def __init__(self, controller: SimController) -> None:
        self.controller = controller
        self.link, self.reader = Line(), Line()
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
        self.link.close()
        self.reader.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- verbs

    def power_on(self) -> None:
        self._do(self.controller.power_on)

    def cut_power(self) -> None:
        self._do(self.controller.power_off)

    def plug(self, evse_id: int, car: Car) -> None:
        self._do(lambda now: self.controller.plug(evse_id - 1, car, now))

    def unplug(self, evse_id: int) -> bool:
        return self._do(lambda now: self.controller.unplug(evse_id - 1, now))

    def tap(self, uid: str) -> None:
        self._do(lambda _: self.reader.write(uid.encode() + b"\n"))

    # -- facts

    def register_wh(self, evse_id: int) -> float:
        return self._do(lambda now: self.controller.register_wh(evse_id - 1, now))

    def power_w(self, evse_id: int) -> int:
        return self._do(lambda now: self.controller.bays[evse_id - 1].power_w)

    def is_closed(self, evse_id: int) -> bool:
        """The contactor, seen at the pins."""
        return self._do(lambda now: self.controller.bays[evse_id - 1].contactor.value)

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
            readable, _, _ = select.select([self.link.master, self._wake_read], [], [], POLL_S)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            while not self._verbs.empty():
                verb = self._verbs.get()
                if verb is None:
                    return
                verb()
            now = self._now()
            data = self.link.read() if self.link.master in readable else b""
            self.controller.receive(data, now)
            self.link.write(self.controller.transmit())
