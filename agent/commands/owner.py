"""What the owner decides, as the cloud brings it: reservations, access policy, plan tokens.

Each command is read whole, taken or refused whole, and answered in the same commit. HANDLERS is the list of them.
"""

from collections.abc import Mapping
from typing import Any

from agent.clock import read_time, wall
from agent.commands.answers import Handler, said, with_owner
from agent.events import OwnerRequested
from agent.policy import access, plan_token, reservation
from agent.policy.id_token import normalised
from agent.policy.reservation import Answer, Reservation
from agent.reporting import answer
from agent.station import Station
from agent.taps import Step
from agent.terms import ports_of

# -- reservations -----------------------------------------------------------------------------------------------------


def reserve_now(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    token, group = request["idToken"], request.get("groupIdToken")
    expires_s = read_time(request["expiryDateTime"])
    if expires_s is None:
        return said(station, event, answer("Rejected", "InvalidValue", "expiryDateTime is no time"), now)
    new = Reservation(
        request["id"], canonical(token), expires_s, request.get("evseId") or None,
        group["idToken"] if group else None, wall(station.clock, now),
    )  # fmt: skip
    kept, status = reservation.reserve(station.owner.reservations, new, ports_of(station), station.clock, now)
    if status is Answer.REJECTED:
        why = f"EVSEs here are 1 to {len(station.ports)}, an expiry lies ahead, at most {reservation.RESERVATIONS_MAX}"
        return said(station, event, answer(status, "InvalidValue", why), now)
    return said(with_owner(station, reservations=kept), event, {"status": status}, now)


def canonical(token: Mapping[str, Any]) -> str:
    text: str = token["idToken"]
    return (normalised(text) or text) if token["type"] == "ISO14443" else text


def cancel_reservation(station: Station, event: OwnerRequested, now: float) -> Step:
    kept = reservation.cancelled(station.owner.reservations, event.request["reservationId"])
    if kept is None:
        return said(station, event, answer("Rejected", "InvalidValue", "there is no such reservation here"), now)
    return said(with_owner(station, reservations=kept), event, {"status": "Accepted"}, now)


# -- who and when -----------------------------------------------------------------------------------------------------


def access_policy(station: Station, event: OwnerRequested, now: float) -> Step:
    """An older version than the one in force is a repetition that came late; no data at all takes the policy away."""
    if event.request is None:
        return said(with_owner(station, access=None), event, {"status": "Accepted"}, now)
    try:
        policy = access.read(event.request)
    except access.Refused as refused:
        return said(station, event, answer("Rejected", "InvalidValue", str(refused)), now)
    held = station.owner.access
    if held and held.policy.policy_id == policy.policy_id and policy.version < held.policy.version:
        why = f"version {held.policy.version} of {policy.policy_id} is in force: send a newer one"
        return said(station, event, answer("Rejected", "OldVersion", why), now)
    return said(with_owner(station, access=access.ready(policy)), event, {"status": "Accepted"}, now)


# -- the plan ---------------------------------------------------------------------------------------------------------


def plan_token_came(station: Station, event: OwnerRequested, now: float) -> Step:
    """`request`: the claims of a token whose signature is right, or a text that says why it is not."""
    owner = station.owner
    try:
        if isinstance(event.request, str):
            raise plan_token.Refused(event.request)
        token = plan_token.read(event.request, station.settings.station_id)
        tokens = plan_token.taken(owner.tokens, token, station.clock, now)
    except plan_token.Refused as refused:
        return said(station, event, answer("Rejected", "InvalidToken", str(refused)), now)
    return said(with_owner(station, tokens=tokens), event, {"status": "Accepted"}, now)


HANDLERS: dict[str, Handler] = {
    "ReserveNow": reserve_now,
    "CancelReservation": cancel_reservation,
    "AccessPolicy": access_policy,
    "PlanToken": plan_token_came,
}
