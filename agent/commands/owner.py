"""What the owner decides, as the cloud brings it: reservations, access policy, plan tokens, charging profiles.

Each command is read whole, taken or refused whole, and answered in the same commit. HANDLERS is the list of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

from agent import reporting
from agent.clock import iso8601, read_time, wall
from agent.events import OwnerRequested
from agent.policy import access, plan_token, profile, reservation
from agent.policy.id_token import normalised
from agent.policy.profile import Limit, Rejected, Situation
from agent.policy.reservation import Answer, Reservation
from agent.reporting import answer, result
from agent.station import Station, commissioned_ma
from agent.taps import Step, port_of
from agent.terms import ports_of, situation

Handler = Callable[[Station, OwnerRequested, float], Step]


def asked(station: Station, event: OwnerRequested, now: float) -> Step:
    return HANDLERS[event.action](station, event, now)


def said(station: Station, event: OwnerRequested, response: Mapping[str, Any], now: float) -> Step:
    return station, (result(station, event.command_id, dict(response), now),)


def with_owner(station: Station, **changes: Any) -> Station:
    return replace(station, owner=replace(station.owner, **changes))


# -- reservations -----------------------------------------------------------------------------------------------------


def reserve_now(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    token, group = request["idToken"], request.get("groupIdToken")
    expires_s = read_time(request["expiryDateTime"])
    if expires_s is None:
        return said(station, event, answer("Rejected", "InvalidValue", "expiryDateTime is no time"), now)
    new = Reservation(
        request["id"], canonical(token), expires_s, request.get("evseId") or None,
        group["idToken"] if group else None,
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


# -- how much ---------------------------------------------------------------------------------------------------------


def set_profile(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    try:
        new = profile.read(request["evseId"], request["chargingProfile"], len(station.ports))
        port = port_of(station, new.evse_id)
        running = port.transaction.transaction_id if port and port.transaction else None
        if new.purpose is profile.Purpose.TX and (running is None or new.transaction_id not in (None, running)):
            raise Rejected("TxNotFound", "that transaction does not run at this EVSE")
        if new.purpose is profile.Purpose.TX and new.transaction_id is None:
            new = replace(new, transaction_id=running, said={**new.said, "transactionId": running})
        profiles = profile.with_profile(station.owner.profiles, new)
    except Rejected as rejected:
        return said(station, event, answer("Rejected", rejected.code, rejected.why), now)
    return said(with_owner(station, profiles=profiles), event, {"status": "Accepted"}, now)


def clear_profile(station: Station, event: OwnerRequested, now: float) -> Step:
    """By id, or by criteria, which must all hold."""
    request: Mapping[str, Any] = event.request
    number, criteria = request.get("chargingProfileId"), request.get("chargingProfileCriteria") or {}
    gone = [
        each for each in station.owner.profiles
        if profile.matches(
            each, criteria.get("evseId"), criteria.get("chargingProfilePurpose"), criteria.get("stackLevel"),
            () if number is None else (number,),
        )
    ]  # fmt: skip
    if not gone:
        return said(station, event, answer("Unknown", "NotFound", "no profile here is so"), now)
    kept = tuple(each for each in station.owner.profiles if each not in gone)
    return said(with_owner(station, profiles=kept), event, {"status": "Accepted"}, now)


def get_profiles(station: Station, event: OwnerRequested, now: float) -> Step:
    """The answer says whether there are any; they follow as ReportChargingProfiles, one for each EVSE."""
    request: Mapping[str, Any] = event.request
    criteria: Mapping[str, Any] = request["chargingProfile"]
    sources = criteria.get("chargingLimitSource")
    found = [
        each for each in station.owner.profiles
        if profile.matches(
            each, request.get("evseId"), criteria.get("chargingProfilePurpose"), criteria.get("stackLevel"),
            tuple(criteria.get("chargingProfileId") or ()),
        ) and (not sources or SOURCE in sources)
    ]  # fmt: skip
    evse_ids = sorted({each.evse_id for each in found})
    records = [
        reporting.profiles_record(
            station, request["requestId"], evse_id, [dict(each.said) for each in found if each.evse_id == evse_id], now,
            is_last=evse_id == evse_ids[-1],
        )
        for evse_id in evse_ids
    ]  # fmt: skip
    station, answered = said(station, event, {"status": "Accepted" if found else "NoProfiles"}, now)
    return station, (*answered, *records)


SOURCE = "CSO"  # OCPP 2.1 ChargingLimitSourceEnumStringType: all of ours come from the operator


def composite_schedule(station: Station, event: OwnerRequested, now: float) -> Step:
    """What will hold if nothing happens: of one port, or with evseId 0 of the whole station (K08)."""
    request: Mapping[str, Any] = event.request
    evse_id, duration_s, now_s = request["evseId"], request["duration"], wall(station.clock, now)
    port = port_of(station, evse_id)
    if evse_id and port is None:
        return said(station, event, answer("Rejected", "UnknownEvse", f"EVSEs here are 1 to {len(station.ports)}"), now)
    if now_s is None or not 1 <= duration_s <= profile.COMPOSITE_MAX_S:
        why = f"the station knows no time, or the duration is not 1 to {profile.COMPOSITE_MAX_S} s"
        return said(station, event, answer("Rejected", "InvalidValue", why), now)
    unit = request.get("chargingRateUnit", "A")
    here = situation(station, port or station.ports[0], now)
    periods = [
        {"startPeriod": round(at_s), "limit": in_unit(limit_ma, unit, here), "numberPhases": here.phases}
        for at_s, limit_ma in profile.composite(lambda then: whole(station, evse_id, then), here, duration_s)
    ]
    schedule = {
        "evseId": evse_id, "duration": duration_s, "scheduleStart": iso8601(now_s), "chargingRateUnit": unit,
        "chargingSchedulePeriod": periods[: profile.COMPOSITE_PERIODS_MAX],
    }  # fmt: skip
    return said(station, event, {"status": "Accepted", "schedule": schedule}, now)


def whole(station: Station, evse_id: int, then: Situation) -> Limit:
    """All that limits, the hardware too."""
    limits = [profile.station_limit(station.owner.profiles, then), Limit(commissioned_ma(station), None, inf)]
    if evse_id:
        limits.append(profile.port_limit(station.owner.profiles, evse_id, then))
        limits.append(Limit(station.settings.port_limit_ma, None, inf))
    return profile.lowest(limits)


def in_unit(limit_ma: int | None, unit: str, here: Situation) -> float:
    """In A with one decimal, or in W, both rounded down: OCPP 2.1 has one place behind the point."""
    assert limit_ma is not None, "the hardware has limits"
    if unit == "W":
        return float(limit_ma * here.voltage_mv * here.phases // 1_000_000)
    return limit_ma // 100 / 10


HANDLERS: dict[str, Handler] = {
    "ReserveNow": reserve_now,
    "CancelReservation": cancel_reservation,
    "AccessPolicy": access_policy,
    "PlanToken": plan_token_came,
    "SetChargingProfile": set_profile,
    "ClearChargingProfile": clear_profile,
    "GetChargingProfiles": get_profiles,
    "GetCompositeSchedule": composite_schedule,
}
