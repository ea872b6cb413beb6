"""A serial line between a flasher and a device, in simulated time: so many bytes a second, some late, some wrong, some
never, some twice; never one past another. What lies in the driver's buffer counts too."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

BUFFER_B = 4_096  # that a tty takes before it makes its writer wait


class End(Protocol):
    """One end of a line, without any I/O."""

    def receive(self, data: bytes, now: float) -> None: ...
    def pull(self, now: float) -> bytes | None: ...
    def next_deadline(self) -> float | None: ...


@dataclass
class Wire:
    """One direction. `byte_error`: the chance of each byte to become another; `lost`, `twice`: of a bunch of bytes."""

    baud: float
    latency_s: float = 0.0
    byte_error: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    cut_each_b: int = 0  # bytes come in bunches of at most so many, 0 = as they were written
    sent_b: int = 0
    _free_s: float = 0.0

    def is_free(self, now: float) -> bool:
        return self._free_s - now < BUFFER_B / self.bytes_per_s

    def free_s(self) -> float:
        """When the buffer takes the next write."""
        return self._free_s - BUFFER_B / self.bytes_per_s

    @property
    def bytes_per_s(self) -> float:
        return self.baud / 10  # 8N1

    def carry(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """When which bytes come out of the other end."""
        self.sent_b += len(data)
        out = []
        for bunch in self._bunches(data):
            self._free_s = max(self._free_s, now) + len(bunch) / self.bytes_per_s
            if self.rng.random() < self.lost:
                continue
            times = 2 if self.rng.random() < self.twice else 1
            out += [(self._free_s + self.latency_s, self._worn(bunch))] * times
        return out

    def _bunches(self, data: bytes) -> list[bytes]:
        if not self.cut_each_b:
            return [data]
        bunches = []
        while data:
            n = self.rng.randint(1, self.cut_each_b)
            bunches.append(data[:n])
            data = data[n:]
        return bunches

    def _worn(self, data: bytes) -> bytes:
        if not self.byte_error:
            return data
        worn, at = bytearray(data), -1
        while (at := at + 1 + int(self.rng.expovariate(self.byte_error))) < len(worn):
            worn[at] ^= 1 << self.rng.randrange(8)
        return bytes(worn)


class Simulation:
    """Two ends and the line between them."""

    def __init__(self, a: End, b: End, there: Wire, back: Wire, now: float = 0.0) -> None:
        self.ends, self.wires, self.now = (a, b), (there, back), now
        self.is_cut = False  # the cable is out
        self._events: list[tuple[float, int, int, bytes]] = []  # when, order, to whom, what
        self._order = 0

    def run(self, until: Callable[[], bool], limit_s: float = 3_600.0) -> float:
        """Until it holds; returns the simulated seconds that this took. AssertionError after `limit_s`."""
        start = self.now
        while True:
            self._write()
            if until():
                return self.now - start
            assert self.now - start < limit_s, "never came to an end"
            self._step(start + limit_s)

    def _write(self) -> None:
        for i, end in enumerate(self.ends):
            while self.wires[i].is_free(self.now) and (data := end.pull(self.now)):
                for at_s, bunch in self.wires[i].carry(data, self.now):
                    self._order += 1
                    heapq.heappush(self._events, (at_s, self._order, 1 - i, bunch))

    def _step(self, limit_s: float) -> None:
        """To the next instant at which something happens."""
        times = [limit_s]
        for end, wire in zip(self.ends, self.wires, strict=True):
            if (due := end.next_deadline()) is not None:
                times.append(max(due, wire.free_s()))  # whoever cannot write cannot act
            if wire.free_s() > self.now:
                times.append(wire.free_s())
        if self._events:
            times.append(self._events[0][0])
        self.now = max(self.now + 1e-9, min(times))
        while self._events and self._events[0][0] <= self.now:
            _, _, to, bunch = heapq.heappop(self._events)
            if not self.is_cut:
                self.ends[to].receive(bunch, self.now)
