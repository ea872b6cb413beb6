"""Who charges: RequestStartTransaction, RequestStopTransaction, ChangeAvailability (OCPP F01 to F03, G03, G04)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent import taps, terms
from agent.events import (
    AvailabilityRequested,
    ClearRequested,
    Entry,
    Registration,
    RemoteStartRequested,
    RemoteStopRequested,
)
from agent.policy import profile
from agent.policy.authorize import Accept, Question, Refuse, decide
from agent.policy.profile import Profile, Purpose, Rejected
from agent.policy.reasons import Reason
from agent.policy.tariff.moment import Payer
from agent.port import Grant, Level, Port
from agent.reporting import answer, result
from agent.station import Station
from agent.taps import Step, granted, port_of, with_port
from agent.transaction import StoppedReason, Trigger, ended_by

REASON_CODES = {
    Reason.CONCURRENT: "TxInProgress",
    Reason.PORT_TAKEN: "TxInProgress",
    Reason.CANNOT_RECORD: "OutOfStorage",
}


def remote_start(station: Station, event: RemoteStartRequested, now: float) -> Step:
    """The cloud has decided about the token; the station still decides about the port."""
    if station.registration in (Registration.PENDING, Registration.REJECTED):  # OCPP B02.FR.05
        said = answer("Rejected", "CSNotAccepted", f"the cloud says {station.registration}: its own remote starts wait")
        return station, (result(station, event.command_id, said, now),)
    if event.evse_id is not None and port_of(station, event.evse_id) is None:
        said = answer("Rejected", "UnknownEvse", f"EVSEs here are 1 to {len(station.ports)}")
        return station, (result(station, event.command_id, said, now),)
    port, why_not = aimed_from_afar(station, event, now)
    groups = frozenset({event.group_id} if event.group_id else ())
    entry = Entry(groups=groups, group_id=event.group_id)
    asked = Question(
        event.id_token, station.settings, station.clock, station.link, port_reason=why_not, online=entry, card=False,
        terms=terms.terms(station, port.evse_id if port else None),
    )  # fmt: skip
    decision = decide(asked, now)
    if port is None or not isinstance(decision, Accept):
        reason = decision.reason if isinstance(decision, Refuse) else Reason.UNAVAILABLE
        said = answer("Rejected", REASON_CODES.get(reason, "NotReady"), reason)
        return station, (result(station, event.command_id, said, now),)
    try:
        own = profile_to_come(station, port, event.charging_profile)
    except Rejected as rejected:
        return station, (result(station, event.command_id, answer("Rejected", rejected.code, rejected.why), now),)
    until = now + station.settings.ev_connection_timeout_s
    grant = Grant(
        event.id_token, event.type, decision.rule, until, groups, event.group_id, event.remote_start_id, profile=own,
        access=decision.access, payer=Payer(event.payment_brand, event.payment_recognition),
    )  # fmt: skip
    station = granted(station, port.evse_id, grant, now)
    return station, (result(station, event.command_id, {"status": "Accepted"}, now),)


def profile_to_come(station: Station, port: Port, said: Mapping[str, Any] | None) -> Profile | None:
    """A TxProfile without a transactionId, which the transaction gives it (F01). Rejected: nobody starts."""
    if said is None:
        return None
    own = profile.read(port.evse_id, said, len(station.ports), station.settings.phases)
    if own.purpose is not Purpose.TX or own.transaction_id is not None:
        raise Rejected("InvalidProfile", "a start takes a TxProfile, without a transactionId")
    profile.with_profile(station.owner.profiles, replace(own, transaction_id=""))
    return own


def aimed_from_afar(station: Station, event: RemoteStartRequested, now: float) -> tuple[Port | None, Reason | None]:
    """The port of a remote start. A button that somebody pressed at the station says nothing about it."""
    if event.evse_id is None:
        target = taps.aimed_at(replace(station, chosen=None), event.id_token, now)
    else:
        target = taps.Target(event.evse_id)
    port = port_of(station, target.evse_id)
    if port is None:
        return None, Reason.UNAVAILABLE if event.evse_id is not None else Reason.CHOOSE_PORT
    return port, target.blocked or taps.why_not_here(station, port, event.id_token)


def remote_stop(station: Station, event: RemoteStopRequested, now: float) -> Step:
    port = next(
        (p for p in station.ports if p.transaction and p.transaction.transaction_id == event.transaction_id), None
    )
    if port is None or port.transaction is None:
        said = answer("Rejected", "TxNotFound", "no such transaction runs here")
        return station, (result(station, event.command_id, said, now),)
    tx = ended_by(port.transaction, StoppedReason.REMOTE, Trigger.REMOTE_STOP, now)
    station = with_port(station, replace(port, transaction=tx))
    return station, (result(station, event.command_id, {"status": "Accepted"}, now),)


def availability(station: Station, event: AvailabilityRequested, now: float) -> Step:
    """Inoperative forbids starting; a running transaction finishes first, and the promise survives a reboot.

    The whole station back in service leaves an EVSE out that was switched off by itself.
    """
    named = [p for p in station.ports if event.evse_id in (None, p.evse_id)]
    level = frozenset({Level.STATION if event.evse_id is None else Level.EVSE})
    for port in named:
        if event.operative:
            port = replace(port, off=port.off - level, off_next=port.off_next - level)
        elif port.transaction:
            port = replace(port, off_next=port.off_next | level)
        else:
            port = replace(port, off=port.off | level)
        station = with_port(station, port)
    scheduled = any(p.transaction for p in named) and not event.operative
    if not named:
        said = answer("Rejected", "UnknownEvse", f"EVSEs here are 1 to {len(station.ports)}")
    else:
        said = answer("Scheduled" if scheduled else "Accepted")
    return station, (result(station, event.command_id, said, now),)


def clear(station: Station, event: ClearRequested, now: float) -> Step:
    """Service: the port's latched faults, once more judged by its self-test."""
    port = port_of(station, event.evse_id)
    if port is None:
        return station, (result(station, event.command_id, answer("Rejected", "UnknownEvse"), now),)
    return cleared(station, port), (result(station, event.command_id, answer("Accepted"), now),)


def cleared(station: Station, port: Port) -> Station:
    return with_port(station, replace(port, clears=port.clears + 1))
