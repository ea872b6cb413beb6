"""The only clock and the only event loop: read what happened, hand it over with the time, re-arm one timer.

Threads and callbacks put happenings into the inbox; the loop takes them in order. It never blocks: what may take more
than a few milliseconds has its own thread and answers with a happening. The heartbeat to the controller and the
watchdog of systemd hang on completed turns of this loop and on nothing else.
"""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

IDLE_S = 0.5  # a turn at least this often: the controller's heartbeat
YOUNG_MAX = 20_000  # objects that Python's collector has not looked at yet: some 2 MB
LATE_S = 0.05  # a turn that takes longer is counted: see design, "never waits more than 50 ms"


class Turning(Protocol):
    """agent/app.py: everything that takes part in a turn."""

    def happened(self, happening: object, now: float) -> None: ...
    def due(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...


def monotonic() -> float:
    """Seconds since Linux booted; goes on over a restart of the agent, stands still for nothing."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def system_wall() -> float:
    """The system clock, whatever it is worth."""
    return time.time()


def settle_memory() -> None:
    """What stands now lives as long as the process, so the collector need not look at it again; and of what comes later
    it looks at the newest when there is a lot of it. A part of a long list is some ten thousand objects: looked at by
    the hundred, nobody is answered meanwhile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 50)


class Inbox:
    """Happenings from any thread, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[object] = asyncio.Queue()

    def post(self, happening: object) -> None:
        """Thread-safe; after the loop has ended, for nobody."""
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(self._queue.put_nowait, happening)

    async def take(self, timeout_s: float) -> list[object]:
        """What has happened, waiting at most so long for the first."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                taken = [await self._queue.get()]
        except TimeoutError:
            return []
        while not self._queue.empty():
            taken.append(self._queue.get_nowait())
        return taken


class Loop:
    def __init__(self, turning: Turning, inbox: Inbox, alive: Callable[[], None] = lambda: None) -> None:
        self.turns = 0
        self.late = 0  # turns that took longer than LATE_S
        self.longest_s = 0.0
        self._turning, self._inbox, self._alive = turning, inbox, alive
        self._stopping = False

    def stop(self) -> None:
        """End after this turn."""
        self._stopping = True
        self._inbox.post(None)

    async def run(self) -> None:
        while not self._stopping:
            now = monotonic()
            wait_s = min(IDLE_S, self._turning.next_deadline() - now)
            happenings = await self._inbox.take(wait_s)
            began = monotonic()
            for happening in happenings:
                if happening is not None:
                    self._turning.happened(happening, monotonic())
            self._turning.due(monotonic())
            self._count(monotonic() - began)
            self._alive()

    def _count(self, took_s: float) -> None:
        self.turns += 1
        self.late += took_s > LATE_S
        self.longest_s = max(self.longest_s, took_s)


def notify_systemd(state: str) -> None:
    """sd_notify(3): READY=1, WATCHDOG=1, STOPPING=1; nothing where systemd is not listening."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        try:
            out.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:  # systemd will restart us if it matters
            print(f"systemd did not take {state!r}: {error}")
