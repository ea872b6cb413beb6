"""Charging profiles as the cloud brings, clears and asks for them (OCPP 2.1 block K). HANDLERS is the list of them."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

from agent import reporting
from agent.clock import iso8601, wall
from agent.commands.answers import Handler, said, with_owner
from agent.events import OwnerRequested
from agent.policy import profile
from agent.policy.profile import Limit, Rejected, Situation
from agent.reporting import answer
from agent.station import Station, commissioned_ma
from agent.taps import Step, port_of
from agent.terms import situation

SOURCE = "CSO"  # OCPP 2.1 ChargingLimitSourceEnumStringType: all of ours come from the operator


def set_profile(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    try:
        wired = station.settings.phases
        new = profile.read(request["evseId"], request["chargingProfile"], len(station.ports), wired)
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
    """The answer says whether there are any; they follow as ReportChargingProfiles."""
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
    told = sorted(((each.evse_id, dict(each.said)) for each in found), key=lambda each: each[0])
    records = reporting.profiles_records(station, request["requestId"], told, now)
    station, answered = said(station, event, {"status": "Accepted" if found else "NoProfiles"}, now)
    return station, (*answered, *records)


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
    "SetChargingProfile": set_profile,
    "ClearChargingProfile": clear_profile,
    "GetChargingProfiles": get_profiles,
    "GetCompositeSchedule": composite_schedule,
}
