"""The agent's channel at a simulated modem, in simulated time."""

from collections.abc import Callable
from typing import TypeVar

from agent.modem.at import Answered, Channel, Event
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personality import Personality

T = TypeVar("T")


class Host:
    """One port of a modem with a channel on it. `cut`: what the line carries comes in pieces of so many bytes."""

    def __init__(
        self, personality: Personality, card: Card | None = None, network: Network | None = None, *, cut: int = 0,
        number: int = 0, modem: Modem | None = None,
    ) -> None:  # fmt: skip
        self.modem = modem or Modem(personality, card, network)
        self.port = self.modem.ports[number]
        self.now = self.modem.now
        self.events: list[tuple[float, Event]] = []
        self._cut = cut
        if not self.modem.is_on:
            self.modem.power(True, self.now)
            self.run(self.modem.personality.boot_s)
        self.channel = Channel(self.now)

    def ask(self, command: str) -> Answered:
        self.until(lambda: self.channel.is_ready)
        seen = len(self.events)
        self.port.received(self.channel.send(command, self.now), self.now)
        return self.until(lambda: next((e for _, e in self.events[seen:] if isinstance(e, Answered)), None))

    def get(self, command: str, field: str) -> object:
        answer = self.ask(command)
        return answer.get(field) if answer.is_sure else None

    def until(self, condition: Callable[[], T | None], limit_s: float = 1_000.0) -> T:
        end = self.now + limit_s
        while not (found := condition()):
            assert self.now < end, (self.channel._state, self.events[-5:])
            self.step(end)
        return found

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step(end)

    def step(self, end: float) -> None:
        """To the next thing that happens on either side."""
        channel = getattr(self, "channel", None)
        dues = [due for due in (self.port.next_deadline(), channel and channel.next_deadline()) if due is not None]
        self.now = max(self.now, min([end, *dues]))
        data = self.port.poll(self.now)
        if channel is None:
            return
        for piece in [data[i : i + self._cut] for i in range(0, len(data), self._cut)] if self._cut else [data]:
            self.events += [(self.now, event) for event in channel.received(piece, self.now)]
        out, events = channel.poll(self.now)
        self.events += [(self.now, event) for event in events]
        self.port.received(out, self.now)

    def told(self, kind: type[T]) -> list[T]:
        return [event for _, event in self.events if isinstance(event, kind)]
