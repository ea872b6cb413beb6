"""Two serial ports with a cable between them: ptys that carry bytes as fast as a line of that rate, some milliseconds
late, and some of them wrong.

    python -m bench.nullmodem BAUD LATENCY_S ERRORS SEED     prints the two ttys, then carries until its stdin ends

ERRORS is how probable it is that a byte arrives as another. 8N1: a byte takes ten bits.
"""

import os
import pty
import random
import select
import struct
import subprocess
import sys
import termios
import time
import tty
from collections import deque
from fcntl import ioctl
from math import inf, log
from pathlib import Path
from types import TracebackType
from typing import Self

LATE_S = 0.005  # a machine that wakes us so much later has not stopped the line
AHEAD_S = 0.002  # a driver's buffer is deeper, but what waits there is not on the line yet
CHUNK_B = 512


class Way:
    """One direction."""

    def __init__(self, source: int, sink: int, baud: int, latency_s: float, errors: float, seed: int) -> None:
        self.source, self._sink = source, sink
        self._byte_s, self._latency_s, self._errors = 10 / baud, latency_s, errors
        self._rng = random.Random(seed)
        self._free_s = 0.0  # the line is, from then on
        self._waiting_b = 0  # in the driver's buffer: they go without a pause, however late we are woken
        self._flying: deque[tuple[float, bytes]] = deque()
        self._clean_b = self._until_next()

    def may_read(self, now: float) -> bool:
        return self._free_s <= now + AHEAD_S

    def read(self, now: float) -> None:
        most = max(1, min(CHUNK_B, int(AHEAD_S / self._byte_s)))
        data = os.read(self.source, most)
        begins_s = self._free_s if len(data) <= self._waiting_b else max(self._free_s, now - LATE_S)
        self._free_s = begins_s + len(data) * self._byte_s
        (self._waiting_b,) = struct.unpack("i", ioctl(self.source, termios.FIONREAD, bytes(4)))
        self._flying.append((self._free_s + self._latency_s, self._spoilt(data)))

    def deliver(self, now: float) -> None:
        while self._flying and self._flying[0][0] <= now:
            at, data = self._flying.popleft()
            try:
                taken = os.write(self._sink, data)
            except BlockingIOError:
                taken = 0
            if taken < len(data):  # its reader is slow: the bytes wait in the UART of somebody else's
                self._flying.appendleft((at, data[taken:]))
                return

    def due(self, now: float) -> float:
        """When there is something to do without a byte from anybody."""
        due = self._flying[0][0] if self._flying else inf
        return due if self.may_read(now) else min(due, self._free_s - AHEAD_S)

    def _until_next(self) -> float:
        return inf if not self._errors else int(log(1 - self._rng.random()) / log(1 - self._errors))

    def _spoilt(self, data: bytes) -> bytes:
        if self._clean_b >= len(data):
            self._clean_b -= len(data)
            return data
        spoilt = bytearray(data)
        while self._clean_b < len(spoilt):
            at = int(self._clean_b)
            spoilt[at] ^= self._rng.randint(1, 255)
            self._clean_b += 1 + self._until_next()
        self._clean_b -= len(spoilt)
        return bytes(spoilt)


class NullModem:
    """The cable as a process of its own; `near` and `far` are the ttys."""

    def __init__(self, baud: int, latency_s: float = 0.0, errors: float = 0.0, seed: int = 0) -> None:
        command = [sys.executable, "-m", "bench.nullmodem", str(baud), str(latency_s), str(errors), str(seed)]
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self._process.stdout
        self.near, self.far = self._process.stdout.readline().split()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def main(baud: str, latency_s: str, errors: str, seed: str) -> None:
    masters, slaves = zip(*(pty.openpty() for _ in range(2)), strict=True)
    for fd in (*masters, *slaves):
        tty.setraw(fd)
    for fd in masters:
        os.set_blocking(fd, False)
    near, far = masters
    ways = [
        Way(near, far, int(baud), float(latency_s), float(errors), int(seed)),
        Way(far, near, int(baud), float(latency_s), float(errors), int(seed) + 1),
    ]
    print(*(os.ttyname(fd) for fd in slaves), flush=True)  # the slaves stay open: a line without a reader is no error
    while True:
        now = time.monotonic()
        for way in ways:
            way.deliver(now)
        due = min(way.due(now) for way in ways)
        wait_s = max(0.0, min(1.0, due - now))
        readable, _, _ = select.select([0, *(way.source for way in ways if way.may_read(now))], [], [], wait_s)
        if 0 in readable:
            return
        now = time.monotonic()
        for way in ways:
            if way.source in readable:
                way.read(now)


if __name__ == "__main__":
    main(*sys.argv[1:])
