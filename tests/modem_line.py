"""The keeper at a simulated modem, with a line behind it, in simulated time: what the tools are tried on.

The modem is agent/sim/modem's; `Beyond` is what stands between its bearer and our broker.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from agent.modem.at import Answered
from agent.modem.diagnosis import Reach
from agent.modem.events import (
    Acknowledged,
    BearerFell,
    BearerRose,
    Cause,
    Charging,
    Dial,
    Do,
    Done,
    Due,
    Event,
    HangUp,
    Lost,
    Opened,
    Probe,
    Probed,
    Received,
    Silent,
    Tell,
    Write,
)
from agent.modem.host import Refused
from agent.modem.keeper import Keeper, Wishes
from agent.modem.told import Told
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personality import Personality
from agent.sim.modem.scenarios import SCENARIOS
from tests.modemhost import Host as Channel_

RISE_S, PING_S = 2.0, 60.0


@dataclass
class Beyond:
    """Sentences of what is wrong; "" is well."""

    dns: str = ""
    tcp: str = ""
    tls: str = ""
    broker: str = ""
    clock: str = ""
    is_mute: bool = False  # the broker takes us and says nothing more

    def reach(self, carries: bool) -> Reach:
        """As far as one comes."""
        if not carries:
            return Reach(dns="no answer", clock=self.clock)
        steps: dict[str, str] = {}
        for name in ("dns", "tcp", "tls", "broker"):
            steps[name] = getattr(self, name)
            if steps[name]:
                break
        return Reach(**steps, clock=self.clock)

    @property
    def is_open(self) -> bool:
        return not (self.dns or self.tcp or self.tls or self.broker or self.clock or self.is_mute)


class Line:
    def __init__(
        self, personality: Personality, scenario: str = "well", *, wishes: Wishes | None = None,
        beyond: Beyond | None = None, cold: str = "",
    ) -> None:  # fmt: skip
        """`scenario` befalls it once it is well; `cold` was there before."""
        self.modem = Modem(personality, Card(), Network())
        self.port = self.modem.ports[0]
        self.beyond = beyond or Beyond()
        self.now = 1_000.0
        self.modem.run(self.now)
        if cold:
            SCENARIOS[cold](self.modem, self.now)
        self.keeper = Keeper(wishes or Wishes(), Random(0).uniform, self.now)
        self.listeners: list[Callable[[object], None]] = []
        self.is_there = self.is_up = False
        self._plans: list[tuple[float, Callable[[], None]]] = []
        self._at(0.0, lambda: self.modem.power(True, self.now))
        self._at(PING_S, self._ping)
        self._give(Charging(False))
        if scenario != "well":
            self.run(60.0)
            SCENARIOS[scenario](self.modem, self.now)

    def told(self) -> Told:
        return self.keeper.told(self.now)

    def listen(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    async def ask(self, command: str, *, force: bool = False) -> Answered:
        """At the modem's second port, as of a host whose first one carries a call."""
        if "CFUN" in command and not force:
            raise Refused(f"{command} may end the connection: type --force")
        if not self.modem.is_awake:
            raise Refused("the modem is not there")
        other = Channel_(self.modem.personality, modem=self.modem, number=1)
        answer = other.ask(command)
        self.run(max(other.now - self.now, 0.0))
        return answer

    def run(self, for_s: float) -> "Line":
        end = self.now + for_s
        while True:
            keeper_at = self.keeper.next_deadline(self.now)
            times = [end, keeper_at, *(at for at, _ in self._plans)]
            if (due := self.port.next_deadline()) is not None:
                times.append(due)
            self.now = max(self.now, min(times))
            for plan in [plan for plan in self._plans if plan[0] <= self.now]:
                self._plans.remove(plan)
                plan[1]()
            self._poll()
            if keeper_at <= self.now:
                self._give(Due())
            elif self.now >= end:
                return self

    def drop(self) -> None:
        """The call ends."""
        self._fall(Cause.ENDED)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _at(self, after_s: float, what: Callable[[], None]) -> None:
        self._plans.append((self.now + after_s, what))

    def _poll(self) -> None:
        data = self.port.poll(self.now)
        if self.modem.is_there is not self.is_there:
            self.is_there = self.modem.is_there
            self._fall(Cause.ENDED)
            self._give(Opened() if self.is_there else Lost())
        if data:
            self._give(Received(data))
        if self.is_up and not self.modem.is_attached:
            self._fall(Cause.ENDED)

    def _give(self, event: Event) -> None:
        for effect in self.keeper.handle(event, self.now):
            match effect:
                case Write(data=data):
                    self.port.received(data, self.now)
                case Dial():
                    self._at(RISE_S, lambda effect=effect: self._rise(effect))  # type: ignore[misc]
                case HangUp():
                    self.is_up = False
                case Probe():
                    carries = self.carries and not self.beyond.dns
                    self._at(1.0, lambda carries=carries: self._give(Probed(carries)))  # type: ignore[misc]
                case Do(action=action):
                    self._at(1.0, lambda action=action: self._give(Done(action)))  # type: ignore[misc]
                case Tell(news=news):
                    for listener in self.listeners:
                        listener(news)

    @property
    def carries(self) -> bool:
        return self.is_up and not self.modem.faults.dies_in_call

    def _rise(self, dial: Dial) -> None:
        network = self.modem.network
        if not self.modem.is_attached or network is None or self.modem.faults.fails_attach:
            self._give(BearerFell(Cause.FAILED))
        elif network.apns and dial.access.apn not in network.apns:
            self._give(BearerFell(Cause.APN))
        else:
            self.is_up = True
            self._give(BearerRose(network.address))
            self._at(1.0, self._answer)

    def _answer(self) -> None:
        if self.carries and self.beyond.is_open:
            self._give(Acknowledged())
        elif self.keeper.is_acknowledged:
            self._give(Silent())

    def _ping(self) -> None:
        self._answer()
        self._at(PING_S, self._ping)

    def _fall(self, cause: Cause) -> None:
        if self.is_up:
            self.is_up = False
            self._give(BearerFell(cause))
            self._answer()
