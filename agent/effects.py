"""What the core asks of the world, in the imperative. The loop performs it; nothing here has an opinion.

The effects of one `handle` are a batch. Its durable part (Record, Save) is committed before a Wish may raise or close
anything; what a Wish lowers or opens is performed at once, before any disk (agent/gate.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from msgspec import Struct

from agent.events import Entry, Report
from agent.wizard.coordinates import Point


class Stop(IntEnum):
    """How energy ends; the numbers are the controller's contract."""

    NONE = 0
    ORDERLY = 1  # PWM off, open when the car has left C/D or after 6 s
    NOW = 2


@dataclass(frozen=True, slots=True)
class PortCommand:
    """Everything we want of one port: sent whole, with each heartbeat, so that nothing can be lost."""

    offer_ma: int = 0  # 0 = steady +12 V, no PWM; else >= 6,000
    stop: Stop = Stop.ORDERLY
    lock: bool = False
    clear: int = 0  # a rise asks to clear latched faults

    def __post_init__(self) -> None:
        assert self.offer_ma == 0 or self.offer_ma >= 6_000, self.offer_ma
        assert self.offer_ma == 0 or self.stop is Stop.NONE, self


SAFE = PortCommand()


def safer(a: PortCommand, b: PortCommand) -> PortCommand:
    """The command that asks for no more than either: what may be performed before the disk has spoken."""
    stop = max(a.stop, b.stop)
    return PortCommand(
        offer_ma=0 if stop else min(a.offer_ma, b.offer_ma),
        stop=stop,
        lock=a.lock or b.lock,
        clear=min(a.clear, b.clear),
    )


class Stream(IntEnum):
    """Priority of a record; each stream has its own dense sequence."""

    MONEY = 0
    STATUS = 1
    RESULTS = 2
    SAMPLES = 3
    LOGS = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A message owed to the cloud, durable before anything else happens. `payload` is OCPP 2.1 in JSON form."""

    stream: Stream
    action: str
    payload: dict[str, Any]
    mono_s: float  # when it happened, monotonic
    wall_s: float | None  # the same instant, if the clock was known
    source: int  # ClockSource of wall_s
    seal: bytes = b""  # what the station signs with its own key; the envelope goes into this record, in the same commit


class Save(Struct, frozen=True):
    """A fact that must survive a power cut; None forgets it. JSON-like values only."""

    key: str
    value: Any


class Wish(Struct, frozen=True):
    """The whole wish for every port, in order of evse_id."""

    commands: tuple[PortCommand, ...]


class Lookup(Struct, frozen=True):
    """Read allowlist and cache for this card; answered by LookedUp. `ask_id`: of a tap, or a transaction's id."""

    ask_id: int | str
    id_token: str


class AskOnline(Struct, frozen=True):
    """Send Authorize; answered by OnlineAnswered or not at all. Worthless after `timeout_s`."""

    ask_id: int
    id_token: str
    evse_id: int | None
    timeout_s: float


class Remember(Struct, frozen=True):
    """Put the cloud's own answer about this card into the authorization cache. It is no older than its question."""

    id_token: str
    entry: Entry
    asked_at: float  # monotonic: when the question went out


class Announce(Struct, frozen=True):
    """Send this request of ours now, on the volatile lane: BootNotification or Heartbeat."""

    action: str


class AskList(Struct, frozen=True):
    """Tell the cloud which allowlist is here, on the volatile lane: what leads to the newest comes as commands."""


class Count(Struct, frozen=True):
    """Somebody wants to know what waits; answered by OutboxCounted and CacheCounted."""


class Measure(Struct, frozen=True):
    """Look at disk, memory and processor; answered by Measured."""


class RenewCertificate(Struct, frozen=True):
    """Make a key and ask for its certificate, whatever the old one's age."""


class HangUp(Struct, frozen=True):
    """End the present connection to the broker."""

    why: str


class Live(Struct, frozen=True):
    """What the ports do now, for somebody who watches: worthless late, never kept."""

    mono_s: float
    wall_s: float | None
    ports: tuple[tuple[int, Report], ...]  # evse_id; at least one


class Commission(Struct, frozen=True):
    """Store these limits in the port controller, which clamps by them. What is raised, after the commit."""

    circuit_limit_ma: int  # per phase, all ports together
    failsafe_ma: int  # each port, while the host is silent
    host_grace_s: int


class LoadZone(Struct, frozen=True):
    """Read a time zone's rules; answered by ZoneLoaded."""

    name: str


class FindPlace(Struct, frozen=True):
    """Country, town and time zone of a point; answered by PlaceFound. `zone`: the one that the station is set to; "" =
    none yet."""

    latitude: float
    longitude: float
    zone: str
    sister: Point | None = None  # a station beside it
    address: Point | None = None  # the site's


class Ordered(Struct, frozen=True):
    """A build that the updater is to bring."""

    order: str  # its name between the two: another one is another order
    url: str
    retries: int | None = None  # attempts in a row that may bring nothing; None: as the updater thinks
    retry_interval_s: int | None = None
    budget_b: int | None = None  # on the radio, all attempts together


class UpdaterWish(Struct, frozen=True):
    """All that the updater is to do; told after the commit of the order, and of its end."""

    ordered: Ordered | None = None  # None: nothing is ordered, and what was is called off
    download: bool = False
    install: bool = False  # every port is shut: the next start is the first of its trial
    restarted: str = ""  # the last restart that it has asked for and that is seen to


class Wipe(Struct, frozen=True):
    """Forget the allowlist and the cache, in this very commit."""


class Upload(Struct, frozen=True):
    """Make a report and send it there; answered by UploadTold. Without `order`: what was wanted is called off."""

    order: str = ""
    url: str = ""
    retries: int | None = None
    retry_interval_s: int | None = None
    budget_b: int | None = None


class Restart(Struct, frozen=True):
    """End this run of the agent, as soon as this batch and all before it are on disk; somebody starts it again."""


Durable = Record | Save
Question = Lookup | AskOnline | AskList
Effect = (
    Record | Save | Wish | Question | Remember | Announce | RenewCertificate | HangUp | Live | Restart | Commission
    | LoadZone | FindPlace | Count | Measure | UpdaterWish | Wipe | Upload
)  # fmt: skip


def durable(effects: Sequence[Effect]) -> tuple[Durable, ...]:
    return tuple(e for e in effects if isinstance(e, Record | Save))
