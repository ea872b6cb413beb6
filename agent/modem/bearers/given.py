"""Nothing is dialled: the line is there by somebody else's hand (Ethernet, Wi-Fi, a modem that routes by itself). It
rises when its interface has an address and a route out, and falls when that has gone for a while."""

from collections.abc import Callable
from math import inf
from pathlib import Path

from agent import machine
from agent.modem.bearer import Bearer, Context, Hands, Traits
from agent.modem.events import BearerFell, BearerRose, Cause

LOOK_S = 5.0
GONE_S = 15.0  # a lease that is renewed, a cable that is moved
RESOLVERS = Path("/etc/resolv.conf")


def bearer(hands: Hands) -> Bearer:
    return Given(hands)


def line(interface: str) -> tuple[str, str] | None:
    """Interface and IPv4 address of the way out; of `interface` where it is named, wherever that leads. None: there is
    none."""
    for name in [interface] if interface else machine.ways_out():
        if address := machine.address_of(name):
            return name, address
    return None


def resolvers(path: Path = RESOLVERS) -> tuple[str, ...]:
    found = (each.split() for each in machine.lines(path))
    return tuple(words[1] for words in found if len(words) > 1 and words[0] == "nameserver")[:3]


class Given:
    traits = Traits("given")

    def __init__(
        self, hands: Hands, find: Callable[[str], tuple[str, str] | None] = line,
        dns: Callable[[], tuple[str, ...]] = resolvers,
    ) -> None:  # fmt: skip
        self._hands, self._find, self._dns = hands, find, dns
        self.why = ""
        self._interface = ""
        self._look_at = inf  # inf: nobody has said rise
        self._up: tuple[str, str] | None = None
        self._gone_since: float | None = None

    def rise(self, context: Context) -> None:
        self._interface, self._up, self._gone_since = context.interface, None, None
        self._look_at = self._hands.now()

    def fall(self) -> None:
        """There is nothing to undo."""
        self._look_at, self._up, self.why = inf, None, ""
        self._hands.post(BearerFell(Cause.ASKED))

    def due(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        found = self._find(self._interface)
        if found is not None and found != self._up:
            self._up, self._gone_since, self.why = found, None, ""
            self._hands.post(BearerRose(found[1], found[0], self._dns()))
        elif found is not None:
            self._gone_since = None
        elif self._up is None:
            lacks = f"{self._interface} has no address" if self._interface else "no interface has a route out"
            self.why = f"{lacks}: look at the cable and the network"
        elif self._gone_since is None:
            self._gone_since = now
        elif now >= self._gone_since + GONE_S:
            self._up, self._look_at = None, inf
            self._hands.post(BearerFell(Cause.ENDED))

    def next_deadline(self) -> float:
        return self._look_at

    def close(self) -> None:
        self._look_at = inf
