"""GPIO chips in memory and in simulated time: contacts that bounce, relays that hang, chips that vanish.

A wire is (chip, line). Nothing on it: it floats, and reads as its bias says. The kernel's part is here too: it
debounces, keeps the last EDGES_MAX edges, gives a line to one owner, and leaves its level alone when the owner is gone.
"""

import errno
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Protocol

from agent.hal.gpio import EDGES_MAX, InputFacts, Line, OutputFacts

Wire = tuple[str, int]


class Driver(Protocol):
    def due(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...


class SimChips:
    """`agent.hal.gpio.Chips`, `agent.hal.device.Watch` and the time, in one."""

    def __init__(self, seed: int = 0, now: float = 0.0) -> None:
        self.now = now
        self.gone: set[str] = set()  # chips
        self.denied: set[str] = set()
        self.shorted: dict[Wire, bool] = {}  # the wire is tied to this level
        self.reads = 0  # of levels: what a driver costs
        self._levels: dict[Wire, bool | None] = {}
        self._lines: dict[Wire, SimLine] = {}
        self._relays: dict[Wire, tuple[Wire, float]] = {}
        self._ahead: list[tuple[float, int, Callable[[], None]]] = []
        self._readers: dict[int, Callable[[], Any]] = {}
        self._rng, self._numbers = random.Random(seed), count(100)

    # -- the world ----------------------------------------------------------------------------------------------------

    def level(self, wire: Wire) -> bool | None:
        """What a voltmeter shows; None: it floats."""
        return self.shorted.get(wire, self._levels.get(wire))

    def contact(self, wire: Wire, level: bool | None, *, bounce_s: float = 0.0) -> None:
        """A switch takes the wire to a level, or leaves it alone; on the way it bounces."""
        at = self.now
        while at < self.now + bounce_s:
            self._later(at, partial(self._drive, wire, self._rng.random() < 0.5))
            at += self._rng.uniform(0.00002, 0.001)
        self._later(self.now + bounce_s, partial(self._drive, wire, level))
        self.run(self.now)

    def relay(self, coil: Wire, feedback: Wire, *, delay_s: float = 0.01) -> None:
        """Its feedback contact takes the level of its coil a little later, bouncing."""
        self._relays[coil] = (feedback, delay_s)

    def hang(self, coil: Wire) -> None:
        """The relay moves no more."""
        del self._relays[coil]

    def unplug(self, chip: str) -> None:
        self.gone.add(chip)
        for line in [line for wire, line in self._lines.items() if wire[0] == chip]:
            line.ready()  # the kernel wakes whoever waits

    def kill(self) -> None:
        """The process that owns the lines dies: no line of code of it runs."""
        self._lines.clear()
        self._readers.clear()

    def run(self, until: float, *drivers: Driver, is_busy: bool = False) -> None:
        """Let time pass; whoever watches a line is called, unless the loop is busy, and drivers whenever they want."""
        while True:
            at = min((d.next_deadline() for d in drivers), default=inf)
            at = max(self.now, min(at, self._ahead[0][0] if self._ahead else inf))
            if at > until:
                break
            self.now = at
            while self._ahead and self._ahead[0][0] <= at:
                heappop(self._ahead)[2]()
                if not is_busy:
                    self._wake()
            for driver in drivers:
                if driver.next_deadline() <= at:
                    driver.due(at)
                    assert driver.next_deadline() > at, f"{driver} spins"
            if not is_busy:
                self._wake()
        self.now = until

    # -- the kernel ---------------------------------------------------------------------------------------------------

    def output(self, facts: OutputFacts) -> Line:
        line = self._request(facts)
        line.set(facts.safe)
        return line

    def input(self, facts: InputFacts) -> Line:
        return self._request(facts)

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> None:
        self._readers[fd] = callback

    def remove_reader(self, fd: int, /) -> None:
        self._readers.pop(fd, None)

    def free(self, wire: Wire) -> None:
        self._lines.pop(wire, None)

    def reached(self, chip: str) -> None:
        """OSError as the kernel says it."""
        if chip in self.gone:
            raise OSError(errno.ENODEV, "No such device")

    def later(self, delay_s: float, do: Callable[[], None]) -> None:
        self._later(self.now + delay_s, do)

    def drive(self, wire: Wire, level: bool) -> None:
        self._drive(wire, level)
        if wire in self._relays:
            feedback, delay_s = self._relays[wire]
            self._later(self.now + delay_s, partial(self.contact, feedback, level, bounce_s=0.002))

    def _request(self, facts: OutputFacts | InputFacts) -> "SimLine":
        wire = (facts.chip, facts.line)
        self.reached(facts.chip)
        if facts.chip in self.denied:
            raise PermissionError(errno.EACCES, "Permission denied", facts.chip)
        if wire in self._lines:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self._lines[wire] = SimLine(self, wire, facts, next(self._numbers))
        return self._lines[wire]

    def _drive(self, wire: Wire, level: bool | None) -> None:
        if self._levels.get(wire) != level:
            self._levels[wire] = level
            if wire in self._lines:
                self._lines[wire].changed()

    def _later(self, at: float, do: Callable[[], None]) -> None:
        heappush(self._ahead, (at, next(self._numbers), do))

    def _wake(self) -> None:
        for line in list(self._lines.values()):
            if line.is_ready and line.fd in self._readers:
                self._readers[line.fd]()


class SimLine:
    def __init__(self, chips: SimChips, wire: Wire, facts: OutputFacts | InputFacts, fd: int) -> None:
        self.fd, self.is_ready = fd, False
        self._chips, self._wire, self._facts = chips, wire, facts
        is_edged = isinstance(facts, InputFacts) and not facts.poll_ms
        self._debounce_s = facts.debounce_ms / 1000 if isinstance(facts, InputFacts) and is_edged else None
        self._edges: deque[bool] = deque(maxlen=EDGES_MAX)
        self._changes = 0
        self._value = self._raw()

    def get(self) -> bool:
        self._chips.reached(self._wire[0])
        self._chips.reads += 1
        return self._value if self._debounce_s else self._raw()

    def set(self, active: bool) -> None:
        self._chips.reached(self._wire[0])
        self._chips.drive(self._wire, active != self._facts.active_low)

    def edges(self) -> list[bool]:
        self._chips.reached(self._wire[0])
        taken, self.is_ready = list(self._edges), False
        self._edges.clear()
        return taken

    def release(self) -> None:
        self._chips.free(self._wire)

    def ready(self) -> None:
        self.is_ready = True

    def changed(self) -> None:
        """The wire's level has; the kernel believes it once it has lasted."""
        if self._debounce_s is None:
            return
        self._changes += 1
        self._chips.later(self._debounce_s, partial(self._settled, self._changes))

    def _settled(self, change: int) -> None:
        if (change == self._changes or not self._debounce_s) and self._raw() != self._value:
            self._value = not self._value
            self._edges.append(self._value)
            self.ready()

    def _raw(self) -> bool:
        level = self._chips.level(self._wire)
        if level is None:
            level = isinstance(self._facts, InputFacts) and self._facts.bias == "pull_up"
        return level != self._facts.active_low
