"""The agent's line to the update service: what the core wishes goes out whole, what the service says comes in.

A service that is away is no fault of the station's: it is tried again, and told everything when it is there.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from agent.effects import UpdaterWish
from agent.events import Progress, UpdaterLost, UpdaterTold
from agent.update import orders
from agent.update.orders import LineError, Order, State, Wish

SOCKET = "/run/station-update/orders.sock"  # as board/systemd/station-update.service says it
SLOT = "STATION_SLOT"  # set by agent/update/launcher.py: whoever has slots has an update service beside them
RETRY_S = 5.0


def socket_of(configured: str | None, environment: Mapping[str, str]) -> Path | None:
    """Where the update service listens; None: there is none, as on a developer's machine."""
    if configured:
        return Path(configured)
    return Path(SOCKET) if SLOT in environment else None


class UpdaterLine:
    """On the loop's thread. `post` takes what the core is to hear."""

    def __init__(self, path: Path, post: Callable[[object], None], log: Callable[[str], None]) -> None:
        self._path, self._post, self._log = path, post, log
        self._writer: asyncio.StreamWriter | None = None
        self._stop = asyncio.Event()

    def wish(self, wish: UpdaterWish) -> None:
        """The core says it again after each connection, so what finds nobody is lost without harm."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() <= orders.LINE_MAX_B:
            self._writer.write(orders.write(wish_of(wish)))

    async def run(self) -> None:
        """Until stop()."""
        while not self._stop.is_set():
            with suppress(OSError):
                await self._talk()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._stop.wait()

    def stop(self) -> None:
        self._stop.set()
        if self._writer is not None:
            self._writer.transport.abort()

    async def _talk(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._path, limit=orders.LINE_MAX_B)
        try:
            while line := await reader.readline():
                if isinstance(said := orders.read(line.removesuffix(b"\n")), State):
                    self._post(told_of(said))
        except (LineError, ValueError) as error:  # ValueError: a line beyond the limit
            self._log(f"the update service says what nobody understands: {error}")
        finally:
            self._writer.transport.abort()
            self._writer = None
            self._post(UpdaterLost())


def wish_of(wish: UpdaterWish) -> Wish:
    told, order = wish.ordered, None
    if told is not None:
        order = Order(told.order, told.url, told.retries, told.retry_interval_s, told.budget_b)
    return Wish(order, wish.download, wish.install, wish.restarted)


def told_of(state: State) -> UpdaterTold:
    return UpdaterTold(
        state.order, Progress(state.progress), state.code, state.why, state.received_b, state.wanted_b, state.version,
        state.restart_id, state.restart, state.restart_why,
    )  # fmt: skip
