"""Where a port stands, for people: exactly one `Situation`, found by one walk. Derived, nothing stored."""

from enum import StrEnum

from agent import life
from agent.events import SelfTest
from agent.faults import FAULTS, Fault, Mender, mender
from agent.policy.reasons import Reason
from agent.policy.sharing import CURRENT_MIN_MA
from agent.port import Port, Status, derated_ma, faults, is_capped, is_plugged, is_ready, operative
from agent.station import Stage, Station, charging_state, targets_ma
from agent.terms import status
from agent.transaction import ChargingState, Transaction


class Situation(StrEnum):
    STARTING = "starting"
    SELF_TEST = "self-test"
    SELF_TEST_FAILED = "self-test failed"
    FAULT = "fault"
    FAULT_WAITS = "fault waits"
    OUT_OF_SERVICE = "out of service"
    NOT_ACTIVATED = "not activated"
    CANNOT_RECORD = "cannot record"
    PLAN_ENDED = "plan ended"
    UPDATING = "updating"
    RESTARTING = "restarting"
    CLOSED = "closed"
    RESERVED = "reserved"
    AVAILABLE = "available"
    PLUG_IN = "plug in"
    TAP_CARD = "tap card"
    BEGINNING = "beginning"
    INTERRUPTED = "interrupted"
    HELD = "held"
    WAITS_FOR_CAR = "waits for car"
    WAITS_FOR_POWER = "waits for power"
    CHARGING = "charging"
    NO_CURRENT = "no current"
    PAUSED_BY_CAR = "paused by car"
    TOO_HOT = "too hot"
    CABLE_UNFIT = "cable unfit"
    NO_OFFER = "no offer"
    LIMIT_REACHED = "limit reached"
    ENDING = "ending"
    ENDED = "ended"


def situation(station: Station, port: Port) -> Situation:
    """The one thing to say about this port now; what keeps everybody from charging comes first."""
    if found := faults(port):
        return Situation.FAULT_WAITS if all(goes_by_itself(f) for f in found) else Situation.FAULT
    if port.transaction:
        return in_session(station, port, port.transaction)
    if port.report is None:
        return Situation.STARTING
    if port.report.self_test is SelfTest.FAILED:
        return Situation.SELF_TEST_FAILED
    if not is_ready(port):
        return Situation.SELF_TEST
    if port.served:
        return Situation.ENDED
    if station.bar and station.bar.reason is Reason.UPDATING:
        return Situation.UPDATING
    if not operative(port):
        return Situation.RESTARTING if station.reset else Situation.OUT_OF_SERVICE
    if reason := life.refusal(station):
        return BARS[reason]
    if not station.store_ok:
        return Situation.CANNOT_RECORD
    if bar := station.bar or port.bar:
        return BARS[bar.reason]
    if port.grant:
        return Situation.BEGINNING if is_plugged(port) else Situation.PLUG_IN
    if is_closed(station):
        return Situation.CLOSED
    if not is_plugged(port):
        return Situation.RESERVED if status(station, port) is Status.RESERVED else Situation.AVAILABLE
    return Situation.BEGINNING if life.is_free(station) else Situation.TAP_CARD


def is_closed(station: Station) -> bool:
    """For everybody, by the hours of the access policy."""
    opening = station.owner.opening
    return opening is not None and not opening.groups


BARS: dict[Reason, Situation] = {  # a rule, not a fault, keeps people from starting here
    Reason.STATION_NOT_ACTIVATED: Situation.NOT_ACTIVATED,
    Reason.PLAN_ENDED: Situation.PLAN_ENDED,
    Reason.UPDATING: Situation.UPDATING,
    Reason.CLOSED: Situation.CLOSED,
    Reason.NEEDS_RESERVATION: Situation.RESERVED,
    Reason.RESERVED: Situation.RESERVED,
}


def in_session(station: Station, port: Port, tx: Transaction) -> Situation:
    if tx.ending:
        return Situation.ENDING
    if tx.interrupted or port.report is None:
        return Situation.INTERRUPTED
    if port.report.self_test is SelfTest.FAILED:
        return Situation.SELF_TEST_FAILED
    if is_capped(port):
        return Situation.LIMIT_REACHED
    match charging_state(station, port):
        case ChargingState.CHARGING:
            return Situation.CHARGING if port.report.power_w > 0 else Situation.NO_CURRENT
        case ChargingState.SUSPENDED_EV:
            return Situation.PAUSED_BY_CAR if port.drew else Situation.WAITS_FOR_CAR
    if port.held_until is not None:
        return Situation.HELD
    if not is_ready(port):
        return Situation.SELF_TEST
    return Situation.WAITS_FOR_CAR if port.report.offer_ma else why_no_offer(station, port)


def why_no_offer(station: Station, port: Port) -> Situation:
    """A session is on and the pilot offers nothing: whose turn it is, or what is missing."""
    settings, report = station.settings, port.report
    assert report
    if derated_ma(report.temperature_dc, settings) < CURRENT_MIN_MA <= settings.port_limit_ma:
        return Situation.TOO_HOT
    if settings.socketed and report.cable_ma < CURRENT_MIN_MA:
        return Situation.CABLE_UNFIT
    targets = targets_ma(station)
    if targets[port.evse_id - 1]:
        return Situation.BEGINNING  # the controller has not shown it yet
    in_use = any(p.report and p.report.offer_ma for p in station.ports if p.evse_id != port.evse_id)
    return Situation.WAITS_FOR_POWER if in_use or any(targets) else Situation.NO_OFFER


def goes_by_itself(fault: Fault) -> bool:
    return mender(fault) is Mender.ITSELF


MENDERS = list(Mender)


def worst_first(port: Port) -> list[Fault]:
    """What needs a hand before what passes; else in the order of the table."""
    found = faults(port)
    return sorted((f for f in FAULTS if f in found), key=lambda f: MENDERS.index(mender(f)))


def is_fit(port: Port) -> bool:
    """The installer's green check mark: self-test passed, no fault, not taken out of service."""
    return is_ready(port) and operative(port) and not faults(port)


IDLE = (Situation.AVAILABLE, Situation.NOT_ACTIVATED)  # the activation asks whether the video is there (I3)


def is_idle(station: Station, now: float) -> bool:
    """Every port is free and nobody is spoken to: there is room for the video."""
    is_spoken_to = station.holding or any(now < each.until for each in station.notices)
    is_asked = any(ask.stage is not Stage.LATE for ask in station.asks)
    return not is_spoken_to and not is_asked and all(situation(station, port) in IDLE for port in station.ports)


def is_free(station: Station, port: Port) -> bool:
    return situation(station, port) is Situation.AVAILABLE
