"""The activation (I12): one object, signed by the operator, that makes an installed station somebody's.

Name, owner, what happens after the plan, who sees it. Access policy, tariffs and plan token may come in it; they are
read by their own readers (agent/commands/owner.py). All of it is applied, or nothing. Pure.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from agent.policy.access import Visible
from agent.settings import PLAIN, plain_text

PARTS = ("accessPolicy", "groupTariffs", "defaultTariff", "planToken")  # each with a reader of its own


class Activation(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: Annotated[str, Meta(min_length=1, max_length=60, pattern=PLAIN)]  # of the station, as drivers know it
    owner: Annotated[str, Meta(min_length=1, max_length=100, pattern=PLAIN)]
    contact: Annotated[str, plain_text(100)] = ""  # of the owner
    after_plan: Literal["closed", "free"] = "closed"  # deactivated: nobody charges, or everybody for nothing
    reservable: bool = False  # only with a reservation
    visibility: Visible | None = None  # on the map; None: as the access policy says, else everyone
    digest: str = ""  # of the whole object, parts and all: the same one again is known by it


class Refused(Exception):
    """The activation is not taken; the text says in one sentence why."""


def read(said: Any) -> tuple[Activation, dict[str, Any]]:
    """The activation, and the parts that came in it. Refused."""
    if not isinstance(said, Mapping):
        raise Refused("an activation is an object with at least name and owner")
    if "digest" in said:
        raise Refused("the activation cannot be read: its digest is made here")
    parts = {name: said[name] for name in PARTS if name in said}
    try:
        activation = msgspec.convert({key: said[key] for key in said if key not in parts}, Activation)
    except msgspec.ValidationError as error:
        raise Refused(f"the activation cannot be read: {error}") from None
    return activation, parts


def saved(activation: Activation | None) -> Any:
    return None if activation is None else msgspec.to_builtins(activation)


def restored(fact: Any) -> Activation | None:
    """None: there is none, or this software cannot read it."""
    try:
        return None if fact is None else msgspec.convert(fact, Activation)
    except msgspec.ValidationError:
        return None
