"""What the owner of the station has decided: facts, each as it was said, and how they survive on the disk. Pure.

A part that this software cannot read counts as not said: drivers whom the list accepts charge, rather than nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent.policy import access, activation, display_message, plan_token, profile, reservation
from agent.policy.access import Opening, Rules, Visible
from agent.policy.activation import Activation
from agent.policy.display_message import Messages
from agent.policy.plan_token import Standing, Token
from agent.policy.profile import Profile
from agent.policy.reservation import Reservations
from agent.policy.tariff import choice
from agent.policy.tariff.choice import Defaults, GroupTariffs

NO_DEFAULTS, NO_GROUPS = Defaults(), GroupTariffs()
FACT = "owner/"  # of each part's name on the disk


class Leaving(Struct, frozen=True):
    """The station is on its way from its owner: wiped when what it owes is delivered, or when it has waited enough."""

    ordered_s: Annotated[float, Meta(ge=0)]  # wall, surely not after the true one
    wait_s: Annotated[int, Meta(ge=0)]
    is_reset: bool = False  # to the factory's state, not to another owner
    is_delivered: bool = False  # this run's
    by: str = ""  # who has ordered it; this run's


@dataclass(frozen=True, slots=True)
class Owner:
    activation: Activation | None = None  # the last one; None: none came, or it was transferred since
    access: Rules | None = None  # None: whoever the list or the cloud accepts, at all times
    reservations: Reservations = ()
    is_reservable: bool = False  # only with a reservation
    tokens: tuple[Token, ...] = ()
    is_free_after_plan: bool = False  # deactivated, it charges whoever comes, for nothing
    is_transferred: bool = False  # since the last activation
    is_reset: bool = False  # to the factory's state, since the last activation
    leaving: Leaving | None = None
    profiles: tuple[Profile, ...] = ()
    default_tariffs: Defaults = NO_DEFAULTS
    group_tariffs: GroupTariffs = NO_GROUPS
    tariff_problem: str = ""  # why the last tariff could not be used: one of an AuthorizeResponse, or of the disk
    messages: Messages = ()  # on the display
    warned_d: int | None = None  # so many days before the plan's end, or its deactivation, somebody was told last
    offline_since: float | None = None  # monotonic; of this run
    # Derived when something has changed, or `due` has come: what follows from the above and the time.
    due: float = inf  # monotonic
    standing: Standing = Standing.NONE  # of the plan
    opening: Opening | None = None  # for whom the access policy is open now; None: there is none
    opens_s: float | None = None  # wall: when a rule opens that is closed now
    station_ma: int | None = None  # what profiles allow the whole station, per phase; None: they do not limit it
    port_ma: tuple[int | None, ...] = ()  # and each port, by evse_id


def visible(owner: Owner) -> Visible:
    """To whom the owner wants it to be on the map: the access policy's word, where it has one, since an activation that
    has another takes it away (agent/commands/owner.py)."""
    by_policy = owner.access.policy.visible if owner.access else None
    by_activation = owner.activation.visibility if owner.activation else None
    return by_policy or by_activation or Visible.EVERYONE


def saved(owner: Owner) -> dict[str, Any]:
    """Each part by its name; None: there is nothing to keep."""
    return {
        "access": access.saved(owner.access.policy) if owner.access else None,
        "reservations": reservation.saved(owner.reservations) or None,
        "reservable": owner.is_reservable or None,
        "tokens": plan_token.saved(owner.tokens) or None,
        "free after plan": owner.is_free_after_plan or None,
        "activation": activation.saved(owner.activation),
        "transferred": owner.is_transferred or None,
        "reset": owner.is_reset or None,
        "leaving": None if owner.leaving is None else list(msgspec.structs.astuple(owner.leaving)[:3]),
        "profiles": profile.saved(owner.profiles) or None,
        "default tariffs": choice.saved(owner.default_tariffs) or None,
        "group tariffs": owner.group_tariffs.sent,
        "messages": display_message.saved(owner.messages) or None,
        "warned": owner.warned_d,
    }


def leaving_of(fact: Any) -> Leaving | None:
    """One that cannot be read has waited enough: a station that was taken from its owner is not given back to him."""
    if fact is None:
        return None
    try:
        return Leaving(*msgspec.convert(fact, tuple[float, int, bool]))
    except msgspec.ValidationError:
        return Leaving(0.0, 0)


UNREADABLE = "this software cannot read a tariff that is stored here: send all tariffs again"


def is_unreadable(defaults: Any, groups: Any) -> bool:
    """Something is stored, and nothing of it is in force."""
    is_lost = groups is not None and choice.restored_groups(groups).sent is None
    return is_lost or (bool(defaults) and choice.restored(defaults) is None)


LOST = "this software cannot read {part} stored here, so it counts as not said: send it again"
PARTS = {  # of whose loss nobody else speaks, as people call them
    "access": "the access policy", "reservations": "the reservations", "tokens": "the plan tokens",
    "activation": "the activation", "messages": "the messages",
}  # fmt: skip


def lost(facts: Mapping[str, Any], owner: Owner) -> tuple[str, ...]:
    """A sentence for each part that is stored and of which nothing was restored."""
    kept = saved(owner)
    gone = [part for name, part in PARTS.items() if facts.get(FACT + name) and kept[name] is None]
    return tuple(LOST.format(part=part) for part in gone)


def restored(facts: Mapping[str, Any], ports: int) -> Owner:
    def fact(name: str) -> Any:
        return facts.get(FACT + name)

    policy, warned_d = access.restored(fact("access")), fact("warned")
    return Owner(
        access=access.ready(policy) if policy else None,
        reservations=reservation.restored(fact("reservations")),
        is_reservable=fact("reservable") is True,
        tokens=plan_token.restored(fact("tokens")),
        is_free_after_plan=fact("free after plan") is True,
        activation=activation.restored(fact("activation")),
        is_transferred=fact("transferred") is True,
        is_reset=fact("reset") is True,
        leaving=leaving_of(fact("leaving")),
        profiles=profile.restored(fact("profiles"), ports),
        default_tariffs=choice.restored(fact("default tariffs") or {}) or NO_DEFAULTS,
        group_tariffs=choice.restored_groups(fact("group tariffs")),
        tariff_problem=UNREADABLE if is_unreadable(fact("default tariffs"), fact("group tariffs")) else "",
        messages=display_message.restored(fact("messages")),
        warned_d=warned_d if type(warned_d) is int else None,
    )
