"""What carries our data: the interface of every bearer (agent/modem/bearers/), and what it is given to work with.

The host (agent/modem/host.py) owns one bearer. It says `rise`, and the bearer answers with BearerRose, or with
BearerFell and why. It says `fall`, and BearerFell(ASKED) answers once nothing of the bearer is left: no process, no
address, no route, no lock. A bearer that is up and dies says BearerFell by itself. It undoes only what it has set, ends
only what it has started, and never raises: what is wrong is a Cause, and `why` says it in a sentence.

Everything here is called on the loop's thread, and must return at once. What takes longer is a task of asyncio or a
job of `Hands.aside`, and answers through `Hands.post`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from agent.hal.device import Aside
from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.events import CID, BearerFell, BearerRose
from agent.modem.told import Told

METRIC = 700  # of its default route: above that of Ethernet (100) and Wi-Fi (600), which cost nothing


class Context(Struct, frozen=True):
    """What to bring up."""

    access: Access = Access()
    cid: int = CID  # of AT+CGDCONT: it has the access point already
    pdp_type: str = "IP"  # or IPV4V6, of which IPv4 is used
    at_port: str = ""  # the path of the port that is asked, as it is now; "": there is none, or it is nobody's
    data_port: str = ""  # the path of the port to dial on, as it is now; at_port where the modem has no other
    interface: str = ""  # of Linux, as the config file names it; "": find it
    metric: int = METRIC
    may_roam: bool = True  # for a bearer that owns its modem: nobody else can keep it at home


class Traits(Struct, frozen=True):
    """What the host must know of a kind of bearer."""

    name: str  # as in the config file: ppp, ecm, modemmanager, given
    takes_port: bool = False  # it opens `data_port` itself. Is that the port that is asked, too, then the host closes
    #                           and unlocks it before `rise`, and takes it back after BearerFell
    owns_modem: bool = False  # the whole modem is its own: the host opens no port and asks nothing, `Described` tells


class Described(Struct, frozen=True):
    """All that a bearer that owns its modem knows of it, whenever that has changed."""

    told: Told


Said = BearerRose | BearerFell | Described


@dataclass(frozen=True, slots=True)
class Hands:
    """What a bearer is given. A command is put into the keeper's queue, between its own questions."""

    post: Callable[[Said], None]  # from any thread
    ask: Callable[[str], Awaitable[Answered]]  # on the loop's thread; ask no question that the port cannot answer now
    aside: Aside  # a job that may hang, in a thread of its own; its result comes back on the loop's thread
    now: Callable[[], float]  # monotonic seconds
    log: Callable[[str], None]  # a sentence for the journal


class Bearer(Protocol):
    """Made by `agent/modem/bearers/NAME.py`: `bearer(hands: Hands) -> Bearer`."""

    @property
    def traits(self) -> Traits: ...

    @property
    def why(self) -> str:
        """What is wrong, and what to do about it, in a sentence; "" while nothing is."""
        ...

    def rise(self, context: Context) -> None:
        """Never while it is up or rising. The host says `fall` if nothing has come of it for some minutes."""
        ...

    def fall(self) -> None:
        """Whatever it is doing. Is nothing left to undo, then BearerFell(ASKED) comes all the same."""
        ...

    def due(self, now: float) -> None:
        """`next_deadline` has come, or any other turn of the loop."""
        ...

    def next_deadline(self) -> float:
        """inf: it has its own timers, or waits for nothing."""
        ...

    def close(self) -> None:
        """The agent ends: nothing is left when this returns. At most a second or two."""
        ...
