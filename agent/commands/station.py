"""About the station itself: Reset, UnlockConnector, TriggerMessage, SetNetworkProfile, LiveMode.

What takes a while is a fact with a deadline, and `followed` says its end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from agent import network, reporting
from agent.clock import wall
from agent.commands import logs
from agent.effects import Announce, Effect, Live, Record, RenewCertificate, Restart, Stream
from agent.events import (
    LiveRequested,
    MessageTriggered,
    NetworkProfileRequested,
    Registration,
    ResetRequested,
    UnlockRequested,
)
from agent.port import Level, Port
from agent.reporting import answer, result
from agent.station import BootReason, LiveMode, Reset, ResetType, Station, Unlock, stamp
from agent.taps import Step, port_of, with_port
from agent.transaction import StoppedReason, Trigger, ended_by, reading
from agent.uplink.messages import MessageTriggerEnumType

RESET_WAIT_S = 15.0  # for sessions to end orderly, which takes 10 s at most; what is left then ends after the restart
UNLOCK_WAIT_S = 3.0  # the controller itself calls a lock that has not moved by then a fault
UNLOCKS_MAX = 8  # commands that wait for locks
TLS_WITH_CERTIFICATES = 3  # OCPP security profile: ours, and the highest

MessageTrigger = MessageTriggerEnumType


# -- Reset (OCPP B11, B12) --------------------------------------------------------------------------------------------


def reset(station: Station, event: ResetRequested, now: float) -> Step:
    """Nobody starts from here on. A milder reset than the one under way changes nothing."""
    if event.evse_id is not None:
        known = port_of(station, event.evse_id) is not None
        code, text = ("UnsupportedRequest", "only the whole station is reset") if known else ("UnknownEvse", "")
        return station, (result(station, event.command_id, answer("Rejected", code, text), now),)
    station = resetting(station, ResetType(event.type), now)
    assert station.reset
    waits = station.reset.type is ResetType.ON_IDLE and any(p.transaction for p in station.ports)
    return station, (result(station, event.command_id, answer("Scheduled" if waits else "Accepted"), now),)


def resetting(station: Station, kind: ResetType, now: float, by: str = "the operator") -> Station:
    if station.reset is None or kind is not ResetType.ON_IDLE:
        if station.reset is None or (station.reset.type is not kind and not station.reset.going):
            station = replace(shut(station), reset=Reset(kind, now, by=by))
        if kind is ResetType.IMMEDIATE:
            station = all_ending(station, now)
    return station


def shut(station: Station, level: Level = Level.RESET) -> Station:
    """Free ports become Unavailable at once, the others when their session ends."""
    for port in station.ports:
        if port.transaction:
            port = replace(port, off_next=port.off_next | {level})
        else:
            port = replace(port, off=port.off | {level})
        station = with_port(station, port)
    return station


def all_ending(station: Station, now: float) -> Station:
    for port in station.ports:
        if port.transaction:
            tx = ended_by(port.transaction, StoppedReason.IMMEDIATE_RESET, Trigger.RESET_COMMAND, now)
            station = with_port(station, replace(port, transaction=tx))
    return station


def reset_reason(reset: Reset) -> BootReason:
    """What the next run says about its beginning."""
    if reset.boot_reason:
        return reset.boot_reason
    return BootReason.SCHEDULED_RESET if reset.type is ResetType.ON_IDLE else BootReason.REMOTE_RESET


def is_ready(station: Station, reset: Reset, now: float) -> bool:
    """Whether the agent may go: sessions have ended, had their time to, or go on after the restart as they are."""
    idle = not any(port.transaction for port in station.ports)
    return idle or reset.type is ResetType.RESUME or now >= reset_at(reset)


def reset_at(reset: Reset) -> float:
    return reset.at + RESET_WAIT_S if reset.type is ResetType.IMMEDIATE else float("inf")


def gone(station: Station, now: float) -> Step:
    reset = station.reset
    if reset is None or reset.going or not is_ready(station, reset, now):
        return station, ()
    why = f"{reset.type} reset by {reset.by}"
    told = reporting.security_event(station, reporting.RESET, why, now)
    return replace(station, reset=replace(reset, going=True)), (told, Restart())


# -- UnlockConnector (OCPP F05) ---------------------------------------------------------------------------------------


def unlock(station: Station, event: UnlockRequested, now: float) -> Step:
    """Without a transaction the wish is an open lock anyway: what is left is to see it open."""

    def said(status: str, code: str = "", text: str = "") -> Step:
        return station, (result(station, event.command_id, answer(status, code, text), now),)

    port = port_of(station, event.evse_id)
    if port is None or event.connector_id != 1:
        return said("UnknownConnector", "UnknownEvse" if port is None else "UnknownConnectorId")
    if port.transaction:
        return said("OngoingAuthorizedTransaction", "TxInProgress")
    if not station.settings.socketed:
        return said("UnlockFailed", "FixedCable", "a tethered cable: nothing here is locked")
    if port.report is None:
        return said("UnlockFailed", "InternalError", "the port controller is silent")
    if len(station.unlocks) >= UNLOCKS_MAX:
        return said("UnlockFailed", "OutOfMemory", "too many at once")
    waiting = Unlock(event.command_id, event.evse_id, now + UNLOCK_WAIT_S)
    return replace(station, unlocks=(*station.unlocks, waiting)), ()


def unlocked(station: Station, now: float) -> Step:
    """Those that have come to an end, with their results."""
    ends = [(each, said) for each in station.unlocks if (said := unlock_end(station, each, now))]
    if not ends:
        return station, ()
    done = [each for each, _ in ends]
    results = tuple(result(station, each.command_id, said, now) for each, said in ends)
    return replace(station, unlocks=tuple(u for u in station.unlocks if u not in done)), results


def unlock_end(station: Station, unlock: Unlock, now: float) -> dict[str, object] | None:
    port = port_of(station, unlock.evse_id)
    assert port
    if port.transaction:  # somebody was faster
        return answer("OngoingAuthorizedTransaction", "TxStarted")
    if port.report and not port.report.locked:
        return answer("Unlocked")
    return answer("UnlockFailed", "InternalError", "the lock has not opened") if now >= unlock.until else None


# -- TriggerMessage (OCPP F06) ----------------------------------------------------------------------------------------

Triggered = tuple[Station, tuple[Effect, ...]] | tuple[str, str]  # done, or reason code and text of a rejection
DoTrigger = Callable[[Station, MessageTriggered, tuple[Port, ...], float], Triggered]


def trigger(station: Station, event: MessageTriggered, now: float) -> Step:
    """The result, and what was asked for, in one commit; which of them arrives first, nobody promises."""
    do = TRIGGERS.get(MessageTrigger(event.message))
    if do is None or (do is triggered_certificate and not station.machine.can_renew):
        said = answer("NotImplemented", "UnsupportedRequest", f"{event.message} is never sent from here")
        return station, (result(station, event.command_id, said, now),)
    ports = tuple(p for p in station.ports if event.evse_id in (None, p.evse_id))
    if not ports or event.connector_id not in (None, 1):
        said = answer("Rejected", "UnknownEvse" if not ports else "UnknownConnectorId")
        return station, (result(station, event.command_id, said, now),)
    match do(station, event, ports, now):
        case (Station() as after, tuple(effects)):
            return after, (result(station, event.command_id, answer("Accepted"), now), *effects)
        case (str(code), str(text)):
            return station, (result(station, event.command_id, answer("Rejected", code, text), now),)
    raise AssertionError(event)


def triggered_boot(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    if station.registration is Registration.ACCEPTED:  # F06.FR.17
        return "NotEnabled", "the cloud has accepted this station already"
    return station, (Announce("BootNotification"),)


def triggered_heartbeat(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    return station, (Announce("Heartbeat"),)


def triggered_status(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    if event.evse_id is None or event.connector_id is None:  # F06.FR.12
        return "MissingParam", "a status belongs to a connector: name evse.id and evse.connectorId"
    told = [reporting.status_record(station, port, now) for port in ports]
    return station, tuple(replace(record, stream=reporting.asked_for(station, record.stream)) for record in told)


def triggered_transaction(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    """The edge is a counter; agent/reporting.py sees it and gives the seqNo."""
    running = [p for p in ports if p.transaction and not p.transaction.interrupted and p.report]
    if not running:
        return "TxNotFound", "no transaction runs there"
    for port in running:
        station = with_port(station, replace(port, triggers=port.triggers + 1))
    return station, ()


def triggered_meters(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    records = tuple(meter_values(station, ports, now))
    return (station, records) if records else ("InternalError", "the port controller is silent")


def triggered_firmware(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    record = reporting.firmware_record(station, now, is_asked=True)
    return station, (replace(record, stream=reporting.asked_for(station, record.stream)),)


def triggered_log(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    record = logs.asked_status(station, now)
    return station, (replace(record, stream=reporting.asked_for(station, record.stream)),)


def triggered_certificate(station: Station, event: MessageTriggered, ports: tuple[Port, ...], now: float) -> Triggered:
    return station, (RenewCertificate(),)


def meter_values(station: Station, ports: Iterable[Port], now: float) -> Iterator[Record]:
    for port in ports:
        if port.report:
            read = reading(port.report, now, *stamp(station, now))
            dated = reporting.timestamp(station, read.wall_s, now)
            values = [reporting.meter_value(station, read, "Trigger", dated)]
            payload = {"evseId": port.evse_id, "meterValue": values}
            yield reporting.message(station, reporting.asked_for(station, Stream.SAMPLES), "MeterValues", payload, now)


TRIGGERS: dict[MessageTrigger, DoTrigger] = {
    MessageTrigger.BootNotification: triggered_boot,
    MessageTrigger.Heartbeat: triggered_heartbeat,
    MessageTrigger.StatusNotification: triggered_status,
    MessageTrigger.TransactionEvent: triggered_transaction,
    MessageTrigger.MeterValues: triggered_meters,
    MessageTrigger.SignChargingStationCertificate: triggered_certificate,
    MessageTrigger.FirmwareStatusNotification: triggered_firmware,
    MessageTrigger.LogStatusNotification: triggered_log,
}


# -- SetNetworkProfile (OCPP B09) -------------------------------------------------------------------------------------


def network_profile(station: Station, event: NetworkProfileRequested, now: float) -> Step:
    address = network.address_of(event.url)
    if address is None:
        said = answer("Rejected", "InvalidNetworkConf", "type mqtts://host:port")
    elif event.security_profile != TLS_WITH_CERTIFICATES:
        said = answer("Rejected", "NoSecurityDowngrade", f"securityProfile {TLS_WITH_CERTIFICATES} and no other")
    elif event.slot not in network.SLOTS:
        slots = f"{network.SLOTS.start} to {network.SLOTS.stop - 1}"
        said = answer("Rejected", "InvalidConfSlot", f"slots here are {slots}")
    elif event.slot in station.network.order:
        said = answer("Rejected", "PriorityNetworkConf", f"slot {event.slot} is in use: take another")
    else:
        said = answer("Accepted")
        station = replace(station, network=network.with_profile(station.network, event.slot, address))
    return station, (result(station, event.command_id, said, now),)


# -- LiveMode ---------------------------------------------------------------------------------------------------------


def live(station: Station, event: LiveRequested, now: float) -> Step:
    mode = LiveMode(event.interval_s, now + event.for_s, now) if event.for_s else None
    return replace(station, live=mode), (result(station, event.command_id, answer("Accepted"), now),)


def watched(station: Station, now: float) -> Step:
    """The reading that is due; one that was missed is not made up for."""
    mode = station.live
    if mode is None or now < min(mode.next_at, mode.until):
        return station, ()
    if now >= mode.until:
        return replace(station, live=None), ()
    ports = tuple((port.evse_id, port.report) for port in station.ports if port.report)
    station = replace(station, live=replace(mode, next_at=now + mode.interval_s))
    return station, (Live(now, wall(station.clock, now), ports),) if ports else ()


# -- what takes a while -----------------------------------------------------------------------------------------------


def followed(station: Station, now: float) -> Step:
    """What commands of earlier steps have come to."""
    station, results = unlocked(station, now)
    station, end = gone(station, now)
    return station, (*results, *end)


def deadlines(station: Station) -> Iterator[float]:
    """When `followed` or `watched` has something to do, if nothing happens first."""
    if station.reset and not station.reset.going:
        yield reset_at(station.reset)
    yield from (each.until for each in station.unlocks)
    if station.live:
        yield min(station.live.next_at, station.live.until)
