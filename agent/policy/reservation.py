"""Reservations (OCPP H01 to H04): whom a port is kept for, and whether there is one more to keep.

One names a port, or any: then so many ports stay free as there are such reservations, and who holds one may take any of
them. It ends when it is used, cancelled, past its time, or when its port cannot keep the promise any more. It is used,
too, by who shows his card and then does not plug in. Expired means surely expired: a station that does not know the
time keeps its word.

Pure. A port that is free here has no car, no session, no grant, no fault, and is in service.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent.clock import Clock, is_expired

RESERVATIONS_MAX = 32


class Answer(StrEnum):
    """OCPP 2.1 ReserveNowStatusEnumType."""

    ACCEPTED = "Accepted"
    FAULTED = "Faulted"
    OCCUPIED = "Occupied"
    REJECTED = "Rejected"
    UNAVAILABLE = "Unavailable"


class End(StrEnum):
    """OCPP 2.1 ReservationUpdateStatusEnumType: of one that ends without a session, and without the cloud's word."""

    EXPIRED = "Expired"  # nobody came
    REMOVED = "Removed"  # its port, or every port, is out of order or out of service
    NO_TRANSACTION = "NoTransaction"  # its holder came, and did not plug in


class Reservation(Struct, frozen=True, forbid_unknown_fields=True):
    reservation_id: int
    id_token: Annotated[str, Meta(min_length=1, max_length=255)]
    expires_s: float  # wall
    evse_id: int | None = None  # None: any port
    group_id: Annotated[str, Meta(max_length=255)] | None = None  # its holders may use it, too
    since_s: float | None = None  # wall: when it was made; None: nobody knew the time


Reservations = tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports as reservations see them. Who is in none of the sets has a car, a session or a grant."""

    free: frozenset[int]
    faulted: frozenset[int] = field(default_factory=frozenset)
    unavailable: frozenset[int] = field(default_factory=frozenset)  # out of service: switched off, not ready
    all: frozenset[int] = field(default_factory=frozenset)


def reserve(
    held: Reservations, new: Reservation, ports: Ports, clock: Clock, now: float
) -> tuple[Reservations, Answer]:
    """The same id again replaces what it named, if the new one can be kept; else the old one stays."""
    others = tuple(each for each in held if each.reservation_id != new.reservation_id)
    if is_expired(clock, new.expires_s, now) or len(others) >= RESERVATIONS_MAX:
        return held, Answer.REJECTED
    if new.evse_id is not None and new.evse_id not in ports.all:
        return held, Answer.REJECTED
    why_not = kept_from(others, new, ports)
    return (held, why_not) if why_not else ((*others, new), Answer.ACCEPTED)


def kept_from(others: Reservations, new: Reservation, ports: Ports) -> Answer | None:
    """Why it cannot be kept; None: it can."""
    if new.evse_id in ports.faulted:
        return Answer.FAULTED
    if new.evse_id in ports.unavailable:
        return Answer.UNAVAILABLE
    after = (*others, new)
    is_there = new.evse_id is None or (new.evse_id in ports.free and new.evse_id not in named(others))
    if is_there and len(ports.free - named(after)) >= len(unnamed(after)):
        return None
    if new.evse_id is None and not ports.all - ports.faulted:
        return Answer.FAULTED
    if new.evse_id is None and not ports.all - ports.faulted - ports.unavailable:
        return Answer.UNAVAILABLE
    return Answer.OCCUPIED


def named(held: Iterable[Reservation]) -> frozenset[int]:
    return frozenset(each.evse_id for each in held if each.evse_id is not None)


def unnamed(held: Iterable[Reservation]) -> list[Reservation]:
    return [each for each in held if each.evse_id is None]


def is_holder(reservation: Reservation, id_token: str, groups: Collection[str]) -> bool:
    return reservation.id_token == id_token or (reservation.group_id is not None and reservation.group_id in groups)


def own(held: Reservations, evse_id: int | None, id_token: str, groups: Collection[str]) -> Reservation | None:
    """The reservation that this driver would use at this port: one for the port before one for any. With None: the
    first that he holds at all."""
    mine = [each for each in held if is_holder(each, id_token, groups)]
    if evse_id is None:
        return mine[0] if mine else None
    fitting = [each for each in mine if each.evse_id in (None, evse_id)]
    return min(fitting, key=lambda each: each.evse_id is None, default=None)


def kept_for_others(
    held: Reservations, evse_id: int, id_token: str, groups: Collection[str], free: Collection[int]
) -> bool:
    """Whether this port is kept from this driver: it is named for another, or as many ports as are free are kept for
    others who may take any. Whoever asks stands at the port, so it counts as free."""
    mine = own(held, evse_id, id_token, groups)
    if evse_id in named(held):
        return mine is None or mine.evse_id is None
    if mine is not None:
        return False
    others = [each for each in unnamed(held) if not is_holder(each, id_token, groups)]
    return len(others) >= len((frozenset(free) | {evse_id}) - named(held))


def kept_until_s(held: Reservations, evse_id: int) -> float:
    """Until when, if nothing else happens."""
    mine = [each.expires_s for each in held if each.evse_id == evse_id] or [each.expires_s for each in held]
    return min(mine)


def shown_reserved(held: Reservations, ports: Ports) -> frozenset[int]:
    """The free ports whose status is Reserved: those that are named, and all the rest if every one of them is kept."""
    rest = ports.free - named(held)
    return (ports.free & named(held)) | (rest if len(unnamed(held)) >= len(rest) else frozenset())


def used(
    held: Reservations, evse_id: int | None, id_token: str, groups: Collection[str]
) -> tuple[Reservations, Reservation | None]:
    """A session begins, or its driver's time to plug in is over (H03.FR.09): without the reservation that he uses up
    by it, and that one, if any."""
    mine = own(held, evse_id, id_token, groups)
    return tuple(each for each in held if each is not mine), mine


def over(held: Reservations, ports: Ports, clock: Clock, now: float) -> tuple[Reservations, list[tuple[int, End]]]:
    """Without those that are past their time, and those whose port has failed or was taken out of service (H01.FR.16,
    FR.17)."""
    kept: list[Reservation] = []
    ended: list[tuple[int, End]] = []
    gone, working = ports.faulted | ports.unavailable, ports.all - ports.faulted - ports.unavailable
    for each in held:
        if is_expired(clock, each.expires_s, now):
            ended.append((each.reservation_id, End.EXPIRED))
        elif each.evse_id in gone or (each.evse_id is None and not working):
            ended.append((each.reservation_id, End.REMOVED))
        else:
            kept.append(each)
    return (tuple(kept), ended) if ended else (held, ended)


def of_type(evse_id: int | None, connector_type: str | None, connectors: Sequence[str]) -> int | None:
    """Which port a reservation for a type of connector means; None: any. `connectors`: of each port, by evse_id. Raises
    LookupError with a sentence if the answer is Rejected."""
    if connector_type is None:
        return evse_id
    fitting = [number for number, each in enumerate(connectors, 1) if each == connector_type]
    if not fitting or (evse_id is not None and evse_id not in fitting):
        raise LookupError(f"connectors here are {', '.join(connectors) or 'not known'}")
    if evse_id is not None or len(fitting) == len(connectors):
        return evse_id
    if len(fitting) > 1:
        raise LookupError(f"{connector_type} is at EVSE {', '.join(map(str, fitting))} alone: name one of them")
    return fitting[0]


def cancelled(held: Reservations, reservation_id: int) -> Reservations | None:
    """None: there is no such reservation."""
    kept = tuple(each for each in held if each.reservation_id != reservation_id)
    return kept if len(kept) < len(held) else None


def expiries_s(held: Reservations) -> Sequence[float]:
    return [each.expires_s for each in held]


def saved(held: Reservations) -> Any:
    return msgspec.to_builtins(held)


def restored(fact: Any) -> Reservations:
    """Those that this software can read, each id once."""
    found: dict[int, Reservation] = {}
    for row in fact if isinstance(fact, list | tuple) else []:
        if isinstance(row, Mapping):
            try:
                reservation = msgspec.convert(dict(row), Reservation)
            except msgspec.ValidationError:
                continue
            found[reservation.reservation_id] = reservation
    return tuple(found.values())[:RESERVATIONS_MAX]
