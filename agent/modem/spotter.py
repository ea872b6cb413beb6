"""Reads the signal each second or two while an installer looks at it, and tells the core. One task at a time."""

import asyncio
from collections.abc import Callable
from math import inf

from msgspec import structs

from agent.events import SignalTold
from agent.modem.desk import SIGNAL_MAX_S, Antenna, HostLike
from agent.modem.host import Refused

PERIOD_S = 1.5  # between the beginnings of two readings
BUSY_S = 5.0  # after one that nothing came of


class Spotter:
    """`due` in any turn of the loop, with whether anybody looks (agent/wizard/antenna.py)."""

    def __init__(self, host: HostLike, post: Callable[[SignalTold], None], now: Callable[[], float]) -> None:
        self._antenna, self._post, self._now = Antenna(host), post, now
        self._next_at = -inf
        self.task: asyncio.Task[None] | None = None
        self._is_wanted = False

    def due(self, is_wanted: bool, now: float) -> None:
        self._is_wanted = is_wanted
        if is_wanted and self.task is None and now >= self._next_at:
            self._next_at = now + PERIOD_S
            self.task = asyncio.get_running_loop().create_task(self._read())

    def next_deadline(self) -> float:
        return self._next_at if self._is_wanted and self.task is None else inf

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _read(self) -> None:
        try:
            levels = await asyncio.wait_for(self._antenna.read(), SIGNAL_MAX_S)
            self._post(SignalTold(**structs.asdict(levels)))
        except (Refused, TimeoutError):
            self._next_at = self._now() + BUSY_S
        finally:
            self.task = None
