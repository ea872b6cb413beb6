"""One port as facts, and everything that follows from them alone: status, faults, what we wish of its controller."""

from dataclasses import dataclass, replace
from enum import StrEnum

from agent.effects import PortCommand, Stop
from agent.events import Cp, Report, SelfTest
from agent.faults import FAULTS, Cure, Fault, Latch
from agent.policy.access import Allowed
from agent.policy.profile import Profile
from agent.policy.reasons import Reason
from agent.policy.sharing import CURRENT_MIN_MA, STEP_MA
from agent.policy.tariff.moment import NOBODY, Payer
from agent.policy.tariff.terms import Tariff
from agent.settings import Settings
from agent.transaction import StoppedReason, Transaction, Trigger, ended_by

OPEN_TIMEOUT_S = 10.0  # an ending is over by then even if the contactor is not seen open: 6 s sequence and its report
NOISE_DC = 10  # of a temperature sensor
COOLER_DC = 50  # a port that was too hot offers again this much below its limit, or its contactor would chatter
OPENS_AT_ONCE = frozenset({
    Fault.EMERGENCY_STOP, Fault.GROUND_FAULT, Fault.GROUND_FAULT_HALTED, Fault.CONTACTOR_WELDED, Fault.DIODE_FAULT,
})  # fmt: skip
LOST_TIMEOUT_S = 120.0  # with the controller lost: its own grace for a silent host is over, and the line had its chance


class Status(StrEnum):
    """OCPP 2.1 ConnectorStatusEnumType."""

    AVAILABLE = "Available"
    OCCUPIED = "Occupied"
    RESERVED = "Reserved"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"


class Level(StrEnum):
    """What a ChangeAvailability was about."""

    EVSE = "evse"
    STATION = "station"
    UPDATE = "update"  # nor this: an update waits for the last transaction (L01); gone with this run, and never saved
    RESET = "reset"  # no command of its own: a reset waits for the last transaction (OCPP B12)


UNTIL_RESTART = frozenset((Level.UPDATE, Level.RESET))


@dataclass(frozen=True, slots=True)
class Grant:
    """Somebody may start: waits for the plug, or for a port, until `until`."""

    id_token: str
    token_type: str  # OCPP IdTokenEnumStringType
    rule: str
    until: float
    groups: frozenset[str] = frozenset()
    group_id: str | None = None
    remote_start_id: int | None = None
    access: Allowed | None = None  # by the owner's rule, where he has any
    tariff: Tariff | None = None  # of the cloud's answer to this very tap
    profile: Profile | None = None  # of the transaction to come
    payer: Payer = NOBODY  # as a remote start has said


@dataclass(frozen=True, slots=True)
class Bar:
    """A rule that keeps everybody from starting, for its one reason."""

    reason: Reason  # one of agent/ui/situation.py BARS
    until_s: float | None = None  # wall; None: nobody knows


@dataclass(frozen=True, slots=True)
class Port:
    evse_id: int
    report: Report | None = None  # None until the controller has spoken
    lost: bool = False  # the controller has spoken once and is silent now
    plugged_at: float | None = None
    idle_at: float | None = None  # since when its car has had its session, or takes nothing of what it may
    drew: bool = False  # the contactor has been closed under this offer
    grant: Grant | None = None
    transaction: Transaction | None = None
    finished: Transaction | None = None  # the last one that ended here: its total stays on the screen
    served: bool = False  # a transaction has ended since the car was plugged in
    off: frozenset[Level] = frozenset()  # whose ChangeAvailability keeps it Inoperative
    off_next: frozenset[Level] = frozenset()  # Scheduled: when the transaction has ended
    latched: frozenset[Fault] = frozenset()  # gone, but to be seen by the driver until the plug is out
    found: frozenset[Fault] = frozenset()  # by the host itself, in the newest report
    seen_at: float = 0.0  # when the newest report came
    arrivals: tuple[int, int] | None = None  # the controller's boot, and its count of arrivals in A
    clears: int = 0
    triggers: int = 0  # how often the cloud has asked for a TransactionEvent
    told: Status | None = None  # to the cloud, in this run
    status_at: float = 0.0  # since when the status is what it is
    limit_told_ma: int | None = None  # what heat leaves it, as the cloud was told in this run
    held_until: float | None = None  # no energy before: the random delay after a site-wide power cut
    bar: Bar | None = None


def operative(port: Port) -> bool:
    """OCPP availability: an EVSE is in service if neither it nor the whole station was switched off (G03, G04)."""
    return not port.off


def is_plugged(port: Port) -> bool:
    return port.plugged_at is not None


def faults(port: Port) -> frozenset[Fault]:
    if port.lost:
        return port.latched | {Fault.CONTROLLER_LOST}
    if port.report is None:
        return port.latched
    return port.latched | port.found | port.report.faults if port.latched or port.found else port.report.faults


def is_ready(port: Port) -> bool:
    """Whether the controller is there and has proven the port's ground-fault protection."""
    return port.report is not None and port.report.self_test is SelfTest.PASSED


def status(port: Port) -> Status:
    if faults(port):
        return Status.FAULTED
    if port.transaction:  # one that runs on while the controller restarts, or was made Inoperative meanwhile
        return Status.OCCUPIED
    if not operative(port) or not is_ready(port):
        return Status.UNAVAILABLE
    return Status.OCCUPIED if is_plugged(port) else Status.AVAILABLE


def is_capped(port: Port) -> bool:
    """Whether a token that was refused late has drawn what it may."""
    tx, report = port.transaction, port.report
    return (
        tx is not None and tx.energy_cap_wh is not None and report is not None and report.energy_wh >= tx.energy_cap_wh
    )


def why_not(port: Port, id_token: str) -> Reason | None:
    """Why nobody, or not this card, could start here now."""
    if port.transaction:
        return Reason.CONCURRENT if port.transaction.id_token == id_token else Reason.PORT_TAKEN
    if port.grant and port.grant.id_token != id_token:
        return Reason.PORT_TAKEN
    if faults(port):
        return Reason.OUT_OF_SERVICE
    if not operative(port) or not is_ready(port):
        return Reason.UNAVAILABLE
    return port.bar.reason if port.bar else None


def wanted_ma(port: Port, settings: Settings) -> int:
    """What this port could use now, before sharing: 0, or 6 A up to the least of board, cable and temperature."""
    tx, report = port.transaction, port.report
    if tx is None or tx.ending or tx.interrupted or report is None or port.held_until is not None or is_capped(port):
        return 0
    if faults(port) or not is_ready(port) or report.cp not in (Cp.B, Cp.C, Cp.D):
        return 0
    temperature_dc = report.temperature_dc if report.offer_ma else report.temperature_dc + COOLER_DC
    if derated_ma(temperature_dc, settings) == 0:
        return 0
    limits = [settings.port_limit_ma, settings.circuit_limit_ma, cooled_ma(report, settings)]
    if settings.socketed:
        limits.append(report.cable_ma)
    limit = min(limits)
    return limit if limit >= CURRENT_MIN_MA else 0


def cooled_ma(report: Report, settings: Settings) -> int:
    """What its temperature allows: less at once, more only when it is a degree cooler, or its noise would be seen."""
    most_ma = derated_ma(report.temperature_dc, settings)
    return min(most_ma, max(report.offer_ma, derated_ma(report.temperature_dc + NOISE_DC, settings)))


def derated_ma(temperature_dc: int, settings: Settings) -> int:
    """Full current up to derate_from_dc, then in a line down to 6 A, nothing from derate_stop_dc on."""
    start, stop = settings.derate_from_dc, settings.derate_stop_dc
    if temperature_dc < start:
        return settings.port_limit_ma
    if temperature_dc >= stop:
        return 0
    part = (settings.port_limit_ma - CURRENT_MIN_MA) * (stop - temperature_dc) // (stop - start)
    return CURRENT_MIN_MA + part - part % STEP_MA


def command(port: Port, offer_ma: int) -> PortCommand:
    """The whole wish. The lock stays shut until the contactor is open."""
    tx, report = port.transaction, port.report
    lock = tx is not None or (report is not None and report.contactor)
    if offer_ma:
        return PortCommand(offer_ma, Stop.NONE, lock, port.clears)
    return PortCommand(0, Stop.NOW if faults(port) & OPENS_AT_ONCE else Stop.ORDERLY, lock, port.clears)


def reported(port: Port, report: Report, settings: Settings, boot_id: int, now: float) -> Port:
    """Take in what the controller `boot_id` saw, and first the unplugging that only it saw, while the line was cut."""
    known = port.arrivals is not None and port.arrivals[0] == boot_id
    missed = known and port.arrivals != (boot_id, report.unplugs)
    arrivals = (boot_id, report.unplugs)
    if missed and (is_plugged(port) or port.latched) and report.cp is not Cp.A:
        port = seen(port, replace(report, cp=Cp.A), arrivals, settings, now)
    return seen(port, report, arrivals, settings, now)


def found(report: Report, settings: Settings) -> frozenset[Fault]:
    """What the host sees for itself: only it knows whether the installer has said that the room is ventilated."""
    return frozenset({Fault.VENTILATION_MISSING} if report.cp is Cp.D and not settings.ventilated else ())


def seen(port: Port, report: Report, arrivals: tuple[int, int], settings: Settings, now: float) -> Port:
    unplugged, plugged = report.cp is Cp.A, report.cp in (Cp.B, Cp.C, Cp.D)  # E and F tell nothing about a car
    here = found(report, settings)
    latched = frozenset(f for f in report.faults | here if FAULTS[f].latch is Latch.UNPLUG)
    port = replace(
        port,
        report=report,
        arrivals=arrivals,
        found=here,
        seen_at=now,
        lost=False,
        grant=None if unplugged and is_plugged(port) else port.grant,  # the token left with the car
        plugged_at=None if unplugged else now if port.plugged_at is None and plugged else port.plugged_at,
        idle_at=(now if port.idle_at is None else port.idle_at) if is_idle(port, report) else None,
        drew=report.contactor or (port.drew and report.offer_ma > 0),
        served=port.served and not unplugged,
        latched=frozenset() if unplugged else port.latched | latched,
    )
    tx = port.transaction
    if tx is None or tx.interrupted:
        return port
    after = followed(tx, report, faults(port), now)
    return port if after is tx else replace(port, transaction=after)


def is_idle(port: Port, report: Report) -> bool:
    """Whether a car stands here that has had its session, or takes nothing of what it may. A meter that has failed does
    not know."""
    if report.cp is Cp.A:
        return False
    if port.transaction is None or port.transaction.ending:
        return port.served or port.transaction is not None
    return report.offer_ma > 0 and report.power_w == 0 and Fault.METER_FAULT not in report.faults


def followed(tx: Transaction, report: Report, faults: frozenset[Fault], now: float) -> Transaction:
    """What the report means for a running transaction."""
    if report.contactor and report.power_w > 0 and not tx.charged:
        tx = replace(tx, charged=True)
    if report.cp is Cp.A:
        tx = ended_by(tx, StoppedReason.EV_DISCONNECTED, Trigger.EV_DEPARTED, now)
    if fatal := {StoppedReason(FAULTS[f].stopped_reason) for f in faults if FAULTS[f].cure is Cure.END}:
        reason = min(fatal, key=lambda r: (r is StoppedReason.OTHER, r))  # a fault with a word of its own says more
        tx = ended_by(tx, reason, Trigger.ABNORMAL_CONDITION, now)
    if report.energy_wh < tx.last.energy_wh:  # the register went back: bill what was stored, and no further
        tx = ended_by(tx, StoppedReason.OTHER, Trigger.ABNORMAL_CONDITION, now)
    return tx


def counts(report: Report, tx: Transaction) -> bool:
    """Whether this reading may go on the bill: a failed meter has no say, and a register never goes back."""
    return report.energy_wh >= tx.last.energy_wh and Fault.METER_FAULT not in report.faults


def controller_lost(port: Port) -> Port:
    return replace(port, lost=True, report=None) if port.report else port


def is_over_at(port: Port) -> float | None:
    """When the ending is over even though nobody has seen the contactor open; None if nothing is ending."""
    tx = port.transaction
    if tx is None or tx.ending is None or tx.interrupted:
        return None
    return tx.ending.at + (OPEN_TIMEOUT_S if port.report else LOST_TIMEOUT_S)


def has_ended(port: Port, now: float) -> bool:
    """Whether the ending is over: the register is final, or every chance was given to see it."""
    over_at = is_over_at(port)
    return over_at is not None and (now >= over_at or (port.report is not None and not port.report.contactor))
