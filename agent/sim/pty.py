"""A simulated controller at the end of a real serial line: a pty that `agent.hal` opens like any tty."""

import os
import queue
import select
import termios
import threading
import tty
from collections.abc import Callable

from agent.sim.controller import SimController

TURN_S = 0.01  # as the firmware's own loop
READ_MAX = 4_096
UNSENT_MAX = 4_096  # nobody reads: older bytes are dropped, as a UART does

Verb = Callable[[SimController, float], object]


class PtyController:
    """Runs `sim` in real time in one thread. `clock` is a monotonic clock in seconds; the simulation began at its 0.

    Other threads reach the simulation through `do` alone: `line.do(lambda sim, now: sim.plug(0, Car(), now))`.
    """

    def __init__(self, sim: SimController, clock: Callable[[], float]) -> None:
        self._sim = sim
        self._clock = clock
        self._verbs: queue.SimpleQueue[tuple[Verb, queue.SimpleQueue[object]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._master, self._slave = os.openpty()  # our own end of the slave keeps the line up while no host has it open
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, name="sim-controller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def do(self, verb: Verb) -> object:
        """Run `verb(sim, now)` in the simulation's thread and return what it returns, or raise what it raises."""
        answer: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._verbs.put((verb, answer))
        got = answer.get(timeout=10)
        if isinstance(got, Exception):
            raise got
        return got

    def _run(self) -> None:
        unsent = b""
        while not self._stopping.is_set():
            select.select([self._master], [], [], TURN_S)
            now = self._clock()
            while not self._verbs.empty():
                verb, answer = self._verbs.get()
                try:
                    answer.put(verb(self._sim, now))
                except Exception as error:  # the caller's, in the caller's thread
                    answer.put(error)
            self._sim.receive(self._read(), now)
            self._sim.advance(now)
            unsent = self._write((unsent + self._sim.transmit())[-UNSENT_MAX:])

    def _read(self) -> bytes:
        try:
            return os.read(self._master, READ_MAX)
        except BlockingIOError:
            return b""

    def _write(self, data: bytes) -> bytes:
        """Write what the line takes; return the rest."""
        try:
            return data[os.write(self._master, data) :]
        except BlockingIOError:
            return data
