"""What the owner's decisions mean for one port now: its status, the terms of a tap, what charging profiles
look at. Pure.
"""

from collections.abc import Iterator

from agent import life
from agent.clock import wall
from agent.events import Report
from agent.policy import profile, reservation
from agent.policy.authorize import Terms
from agent.policy.profile import Limit, Profile, Situation
from agent.policy.reservation import Ports
from agent.policy.sharing import CURRENT_MIN_MA, STEP_MA
from agent.port import Port, Status, cooled_ma, faults, is_plugged, is_ready, operative
from agent.port import status as own_status
from agent.station import Station, circuit_ma, commissioned_ma, draw, targets_ma
from agent.transaction import Transaction

BEGUN_S = 0.001  # at the very instant at which the link goes, it has been away for so long
NOMINAL_MV = (230_000, 120_000, 208_000, 240_000, 277_000)  # the first while the controller has not said any


def ports_of(station: Station) -> Ports:
    """As reservations see them. A port whose controller has not spoken yet is not free, and keeps what is reserved; a
    station that nobody may use keeps nothing."""
    everyone, is_closed = frozenset(port.evse_id for port in station.ports), life.row(station).is_closed
    faulted = frozenset(port.evse_id for port in station.ports if faults(port))
    out = frozenset(port.evse_id for port in station.ports if is_closed or not operative(port))
    taken = frozenset(port.evse_id for port in station.ports if is_taken(port) or not is_ready(port))
    return Ports(everyone - faulted - out - taken, faulted, out - faulted, everyone)


def is_taken(port: Port) -> bool:
    return port.transaction is not None or port.grant is not None or is_plugged(port)


def status(station: Station, port: Port) -> Status:
    """As the cloud is told: the port's own, unless the station is closed or the port is kept for somebody."""
    own = own_status(port)
    if port.transaction or own not in (Status.AVAILABLE, Status.OCCUPIED):
        return own
    if life.row(station).is_closed:
        return Status.UNAVAILABLE
    held = station.owner.reservations
    if own is Status.OCCUPIED or not held or port.evse_id not in reservation.shown_reserved(held, ports_of(station)):
        return own
    return Status.RESERVED


def terms(station: Station, evse_id: int | None) -> Terms:
    """Of whoever stands at this port, or, with None, at the station."""
    held, free, row = station.owner.reservations, ports_of(station).free, life.row(station)
    return Terms(life.rules(station), held, life.is_reservable(station), evse_id, free, station.zone, row)


def situation(station: Station, port: Port, now: float) -> Situation:
    """What charging profiles look at."""
    said, tx = station.owner, port.transaction
    offline_s = max(now - said.offline_since, BEGUN_S) if said.offline_since is not None else 0.0
    return Situation(
        wall(station.clock, now), station.zone, offline_s, tx.transaction_id if tx else None,
        None if tx is None else since_s(station, tx, now), nominal_mv(port), station.settings.phases,
    )  # fmt: skip


def nominal_mv(port: Port) -> int:
    """What the mains are said to have, next to what is measured: a profile in watts is the same in amperes all day."""
    measured_mv = max(port.report.voltage_mv) if port.report else 0
    return min(NOMINAL_MV, key=lambda mv: abs(mv - measured_mv)) if measured_mv else NOMINAL_MV[0]


def since_s(station: Station, tx: Transaction, now: float) -> float:
    """How long this session has lasted, as far as one can tell: across a power cut by two known wall times."""
    began, now_s = tx.started, wall(station.clock, now)
    if tx.transaction_id.startswith(f"{station.boot.boot_id}-"):  # of this run, whose own clock is never set
        return max(0.0, now - began.mono_s)
    if began.wall_s is not None and now_s is not None:
        return max(0.0, now_s - began.wall_s)
    return max(0.0, now - began.mono_s)


def limited_by(station: Station, port: Port, now: float) -> str:
    """What keeps this session's offer from being higher, for engineers; "" where there is no session."""
    if port.transaction is None or port.report is None:
        return ""
    if port.held_until is not None:
        return f"random delay after a power cut, {port.held_until - now:.0f} s more"
    own, whole = limits(station, port, now)
    least_ma, why = min(least(station, port, port.report, own), key=lambda limit: limit[0])
    if least_ma < CURRENT_MIN_MA or offered_ma(station, port) > least_ma - STEP_MA:
        return f"{why}, {least_ma / 1000:g} A"
    is_profile = whole.by is not None and circuit_ma(station) < commissioned_ma(station)
    shared = named(whole.by) if whole.by and is_profile else "circuit"
    if not draw(station, port).want_ma:
        return "a fault, or its end"
    part = "share of" if offered_ma(station, port) else "no place now at"
    return f"{part} the {shared}, {circuit_ma(station) / 1000:g} A"


def least(station: Station, port: Port, report: Report, own: Limit) -> Iterator[tuple[int, str]]:
    """Of the port alone."""
    yield station.settings.port_limit_ma, "port limit"
    yield commissioned_ma(station), "circuit"
    yield cooled_ma(report, station.settings), f"temperature of {report.temperature_dc / 10:.0f} °C"
    if station.settings.socketed:
        yield report.cable_ma, "cable"
    if own.by is not None and own.limit_ma is not None:
        yield own.limit_ma, named(own.by)


def offered_ma(station: Station, port: Port) -> int:
    """In the end: lowering comes first."""
    return targets_ma(station)[port.evse_id - 1]


def named(said: Profile) -> str:
    return f"{said.purpose} {said.profile_id}"


def limits(station: Station, port: Port, now: float) -> Iterator[profile.Limit]:
    """Of the port by its transaction, and of the whole station."""
    here = situation(station, port, now)
    yield profile.port_limit(station.owner.profiles, port.evse_id, here)
    yield profile.station_limit(station.owner.profiles, here)
