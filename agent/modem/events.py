"""What happens to a modem, and what is to be done about it: the words between the keeper and whoever performs.

Events are what the port, the bearer, the broker and the board say; effects are what agent/modem/host.py does.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.recovery import Action
from agent.modem.told import News

CID = 1  # the context that we set where none has the access point

# -- what happens -----------------------------------------------------------------------------------------------------


class Opened(Struct, frozen=True):
    """The port is there, and ours."""


class Lost(Struct, frozen=True):
    """The port is gone, or there is none."""


class Received(Struct, frozen=True):
    data: bytes


class Returned(Struct, frozen=True):
    """The port is ours again that the bearer had (`Wishes.lends_port`)."""


class BearerRose(Struct, frozen=True):
    """The bearer carries, as far as it knows."""

    address: str | None = None
    interface: str = ""  # of Linux, for its counters, and for whoever speaks over it alone; "": not known
    dns: tuple[str, ...] = ()  # its own resolvers' addresses


class Cause(StrEnum):
    """Why a bearer fell, or did not rise."""

    ASKED = "we have hung up"
    ENDED = "hung up, or its line is dead"
    FAILED = "no carrier"
    APN = "the access point was not accepted"
    AUTH = "name or password was not accepted"
    SYSTEM = "this system cannot do it"


class BearerFell(Struct, frozen=True):
    cause: Cause


class Acknowledged(Struct, frozen=True):
    """The broker's own word: CONNACK, PUBACK, PINGRESP; over this modem's bearer, or another line."""

    is_ours: bool = True


class Silent(Struct, frozen=True):
    """There is no connection that the broker answers."""


class Probed(Struct, frozen=True):
    is_answered: bool


class Done(Struct, frozen=True):
    """A `Do` has ended, well or not."""

    action: Action


class Charging(Struct, frozen=True):
    is_charging: bool


class Ask(Struct, frozen=True):
    """Somebody wants to know what the modem says to this; Replied answers."""

    number: int
    command: str


class Due(Struct, frozen=True):
    """Time has passed."""


Event = (
    Opened | Lost | Received | Returned | BearerRose | BearerFell | Acknowledged | Silent | Probed | Done | Charging
    | Ask | Due
)  # fmt: skip


# -- what is to be done -----------------------------------------------------------------------------------------------


class Write(Struct, frozen=True):
    """To the port."""

    data: bytes


class Dial(Struct, frozen=True):
    """Bring the bearer up over this context; BearerRose or BearerFell answers."""

    access: Access
    cid: int = CID


class HangUp(Struct, frozen=True):
    """Nothing of a bearer is left afterwards. Needs no answer."""


class Probe(Struct, frozen=True):
    """Resolve a name at the bearer's own resolver, open a TCP connection to a second host; over this bearer alone."""


class Do(Struct, frozen=True):
    """REOPEN, START, USB, POWER, OTHER_SIM or REBOOT."""

    action: Action


class Save(Struct, frozen=True):
    """Keep this; `Keeper(..., kept=)` takes it back."""

    kept: dict[str, Any]


class Tell(Struct, frozen=True):
    news: News


class Replied(Struct, frozen=True):
    """To Ask. Without an answer: the port was lost, the modem has started anew, or too many ask."""

    number: int
    answer: Answered | None


Effect = Write | Dial | HangUp | Probe | Do | Save | Tell | Replied
