"""The station's life: one table, state × (who starts by hand, who from the cloud, updates, visibility, status, screen).

The state is derived: who was made what (identity, wizard, readiness), whom it belongs to (activation, transfer) and how
its plan stands. Whoever asks what the station may do asks a row of TABLE, and nothing else. Pure.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.policy.plan_token import Standing
from agent.policy.reasons import Reason


class State(StrEnum):
    BARE = "bare"  # no identity
    PROVISIONED = "provisioned"  # the installer is not done
    INSTALLED = "installed"  # handed over, and something is still open
    READY = "ready"  # nothing is open: it waits for its activation
    ACTIVE = "active"
    PLAN_EXPIRED = "plan expired"  # up to 90 days ago
    DEACTIVATED = "deactivated"  # until another plan token comes
    DEACTIVATED_FREE = "deactivated, free"  # the same, and its owner has said: whoever comes, for nothing
    TRANSFERRED = "transferred"  # taken from its owner: until the next activation


class Starts(StrEnum):
    BY_RULES = "by the rules"  # card, list, hours, reservations
    FREELY = "freely"  # without a card
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Row:
    local: Starts
    remote: Starts  # from the cloud
    download: bool  # of a build, over the air. An engineer at the station needs no plan
    install: bool  # of what is here already
    is_visible: bool  # on the map, to whom its owner wants; else to nobody
    is_closed: bool  # its ports are Unavailable, unless a session runs there
    is_owned: bool  # somebody's: installing is over, and nobody has to activate it
    refusal: Reason | None = None  # to whoever may not start; and what the screen says


def waits(refusal: Reason, *, download: bool = True) -> Row:
    """Nobody starts. What is on the disk is installed: nobody is in the way."""
    is_owned = refusal is not Reason.STATION_NOT_ACTIVATED
    return Row(Starts.NOBODY, Starts.NOBODY, download, True, False, True, is_owned, refusal)


SELLS = Row(
    Starts.BY_RULES, Starts.BY_RULES, download=True, install=True, is_visible=True, is_closed=False, is_owned=True
)
NEW = waits(Reason.STATION_NOT_ACTIVATED)  # from the shelf: the newest software before anybody charges

TABLE: dict[State, Row] = {
    State.BARE: NEW,
    State.PROVISIONED: NEW,
    State.INSTALLED: NEW,
    State.READY: NEW,
    State.ACTIVE: SELLS,
    State.PLAN_EXPIRED: SELLS,  # what is wrong with what sells must be mended
    State.DEACTIVATED: waits(Reason.PLAN_ENDED, download=False),  # nobody pays for the radio, it is there for a token
    State.DEACTIVATED_FREE: Row(Starts.FREELY, Starts.NOBODY, False, True, False, False, True, Reason.PLAN_ENDED),
    State.TRANSFERRED: NEW,
}
assert TABLE.keys() == set(State)
assert all((row.refusal is None) == (row.local == row.remote == Starts.BY_RULES) for row in TABLE.values())


@dataclass(frozen=True, slots=True)
class Facts:
    is_provisioned: bool  # serial and certificate
    is_installed: bool  # the wizard is done
    is_activated: bool
    is_transferred: bool = False  # since the last activation
    standing: Standing = Standing.NONE  # of the plan
    is_free_after_plan: bool = False


AFTER_ACTIVATION: dict[Standing, State] = {
    Standing.NONE: State.ACTIVE,  # nobody has said that a plan is needed
    Standing.ACTIVE: State.ACTIVE,
    Standing.ENDED: State.PLAN_EXPIRED,
    Standing.DEACTIVATED: State.DEACTIVATED,
}
assert AFTER_ACTIVATION.keys() == set(Standing)


def state(facts: Facts, *, is_ready: bool = False) -> State:
    """`is_ready`: nothing is open (agent/wizard/readiness.py). INSTALLED and READY may do the same, so who only asks
    for the row need not look."""
    if facts.is_activated:
        found = AFTER_ACTIVATION[facts.standing]
        return State.DEACTIVATED_FREE if found is State.DEACTIVATED and facts.is_free_after_plan else found
    if facts.is_transferred:
        return State.TRANSFERRED
    if not facts.is_provisioned:
        return State.BARE
    if not facts.is_installed:
        return State.PROVISIONED
    return State.READY if is_ready else State.INSTALLED
