"""The agent's port with the agent's channel on it, for tests that speak AT without a keeper."""

from collections.abc import Callable
from math import inf
from pathlib import Path

from agent.hal.device import Watch
from agent.modem.at import Channel, Event
from agent.modem.tty import Came, Opened, Port


class AtPort:
    """`due` when `next_deadline` says so. `post` hears the port, and the channel's events."""

    def __init__(
        self, where: str, watch: Watch, post: Callable[[object], None], now: Callable[[], float],
        *, locks: Path, sys: Path = Path("/sys"),
    ) -> None:  # fmt: skip
        self.channel = Channel(now())
        self._post, self._now = post, now
        self._port = Port(where, watch, self._said, now, locks=locks, sys=sys)
        self._is_hanging_up = False

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    @property
    def is_ready(self) -> bool:
        return self._port.is_open and not self._is_hanging_up and self.channel.is_ready

    def send(self, command: str) -> None:
        assert self.is_ready
        self._port.write(self.channel.send(command, self._now()))

    def hang_up(self) -> None:
        self._port.hang_up()
        self._is_hanging_up = self._port.is_hanging_up

    def due(self, now: float) -> None:
        self._port.due(now)
        if self._is_hanging_up and not self._port.is_hanging_up:
            self._is_hanging_up = False
            self.channel.hung_up(now)
        if self._port.is_open and not self._is_hanging_up:
            data, events = self.channel.poll(now)
            self._port.write(data)
            self._tell(events)

    def next_deadline(self) -> float:
        return min(self._port.next_deadline(), self.channel.next_deadline() or inf)

    def close(self) -> None:
        self._port.close()

    def _said(self, what: object) -> None:
        match what:
            case Came(data):
                self._tell(self.channel.received(data, self._now()))
            case Opened():
                self.channel = Channel(self._now())
                self._post(what)
            case _:
                self._post(what)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._post(event)
