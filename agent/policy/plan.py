"""How the station stands with its cloud plan, and what each state allows to an update over the air. Pure.

The states come from the plan's own policy, once there is one: it only has to hand in another `Plan`.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.policy.reasons import Reason
from agent.station import Station


class Plan(StrEnum):
    NOT_ACTIVATED = "not activated"  # new, or handed to another owner
    ACTIVE = "active"
    ENDED = "ended"  # drivers may still charge; a token makes it active again
    DEACTIVATED = "deactivated"  # closed, 90 days after its end: the radio is there for a new token


@dataclass(frozen=True, slots=True)
class Allowed:
    """Over the air. An engineer at the station needs no plan."""

    download: bool
    install: bool  # of what is here already


ALLOWED: dict[Plan, Allowed] = {
    Plan.NOT_ACTIVATED: Allowed(download=True, install=True),  # from the shelf: the newest before anybody charges
    Plan.ACTIVE: Allowed(download=True, install=True),
    Plan.ENDED: Allowed(download=True, install=True),  # it sells, so what is wrong with it must be mended
    Plan.DEACTIVATED: Allowed(download=False, install=True),  # nobody pays for the radio; nobody is in the way
}


def plan(station: Station) -> Plan:
    """By the facts that there are: until the plan's end is one of them, ENDED is not told from ACTIVE."""
    if station.bar and station.bar.reason is Reason.PLAN_ENDED:
        return Plan.DEACTIVATED
    return Plan.ACTIVE if station.settings.activated else Plan.NOT_ACTIVATED


def allowed(station: Station) -> Allowed:
    return ALLOWED[plan(station)]
