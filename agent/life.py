"""Where this station is in its life, by its facts, and what it may do there (agent/policy/lifecycle.py). Pure."""

from functools import cache
from typing import Any

from agent.policy import owner
from agent.policy.access import Rules, Visible
from agent.policy.lifecycle import TABLE, Facts, Row, Starts, State, state
from agent.policy.reasons import Reason
from agent.settings import Settings
from agent.station import Station
from agent.wizard.facts import Step

UNPROVISIONED = Settings().station_id


def is_provisioned(station: Station) -> bool:
    """Serial number and certificate: without them nobody is charged (I8)."""
    has_serial = station.settings.station_id != UNPROVISIONED
    return has_serial and station.machine.certificate_expiry_s is not None


def state_of(station: Station) -> State:
    """INSTALLED may be READY: agent/wizard/readiness.py looks."""
    said = station.owner
    return found(
        is_provisioned(station), Step.HAND_OVER in station.wizard.done, station.settings.activated,
        said.is_transferred, said.standing, said.is_free_after_plan,
    )  # fmt: skip


@cache
def found(*facts: Any) -> State:
    """Each step of the core asks for it, several times."""
    return state(Facts(*facts))


def row(station: Station) -> Row:
    return TABLE[state_of(station)]


def is_owned(station: Station) -> bool:
    """Somebody's, whether he sells just now or not."""
    return row(station).is_owned


def refusal(station: Station) -> Reason | None:
    """Why nobody at all starts at the station; None: somebody may."""
    here = row(station)
    return here.refusal if here.local is Starts.NOBODY else None


def is_free(station: Station) -> bool:
    """Nobody needs a card."""
    return station.settings.free or row(station).local is Starts.FREELY


def rules(station: Station) -> Rules | None:
    """The owner's access policy, as far as it counts: who may start freely, may at any time."""
    return None if row(station).local is Starts.FREELY else station.owner.access


def is_reservable(station: Station) -> bool:
    """Only with a reservation."""
    return station.owner.is_reservable and row(station).local is not Starts.FREELY


def visible(station: Station) -> Visible:
    """On the map (R6): as the owner wants, in a life in which there is anything to be seen."""
    return owner.visible(station.owner) if row(station).is_visible else Visible.NOBODY
