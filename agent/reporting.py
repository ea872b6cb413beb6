"""What the cloud is told: the edges between two snapshots, as OCPP 2.1 messages in JSON form.

A status that does not last (MinimumStatusDuration) is not told, and neither is one that the cloud has heard in this
run. Each transaction message gets its seqNo here, once, and the transaction remembers the reading it carried.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from msgspec import json

from agent import life, terms
from agent.billing import settled
from agent.clock import earliest, iso8601, wall
from agent.effects import Record, Stream
from agent.events import Link, Registration
from agent.faults import FAULTS, code
from agent.policy.access import name_of
from agent.policy.id_token import masked
from agent.policy.plan_token import Plan, Standing, Token
from agent.policy.reasons import WORDS
from agent.policy.tariff import bill as bills
from agent.policy.tariff.bill import Bill
from agent.port import Port, counts, faults
from agent.selftest import PartResult, is_over, results
from agent.station import FirmwareStatus, Notice, Station, charging_state, is_low_data, outage_s, stamp
from agent.transaction import TEST_RULE, Reading, Transaction, Trigger, reading

VENDOR_ID = "station-agent"
TAMPERED = "TamperDetectionActivated"
RECONFIGURED = "ReconfigurationOfSecurityParameters"  # OCPP 2.1 security event
RESET = "ResetOrReboot"
LOW_SAMPLE_S = 3_600.0  # in low-data mode between two samples that are told; the meter is read and stored as ever
LOGGED_IN, LOGIN_FAILED = "MaintenanceLoginAccepted", "MaintenanceLoginFailed"
SERIAL_NUMBER_MAX = 25  # OCPP 2.1: fewer characters than a station id may have
TECH_INFO_MAX = 500  # OCPP 2.1


def next_sample_at(station: Station, port: Port) -> float | None:
    """When the running transaction is due for its next periodic or clock-aligned reading."""
    tx = port.transaction
    if tx is None or tx.interrupted or tx.ending or port.report is None:
        return None
    due = [tx.last.mono_s + station.settings.tx_updated_interval_s]
    if (aligned := next_aligned_at(station, tx)) is not None:
        due.append(aligned)
    return min(due)


def samples_due(station: Station, now: float) -> tuple[int, ...]:
    """The ports whose meters are to be read now, by evse_id."""
    if station.live and now >= station.live.next_at:
        return tuple(port.evse_id for port in station.ports)
    dues = [(port.evse_id, next_sample_at(station, port)) for port in station.ports if port.transaction]
    return tuple(evse_id for evse_id, due in dues if due is not None and now >= due)


def next_aligned_at(station: Station, tx: Transaction) -> float | None:
    interval, last_s = station.settings.aligned_interval_s, wall(station.clock, tx.last.mono_s)
    if not interval or last_s is None:
        return None
    next_s = ((last_s + 0.5) // interval + 1) * interval  # half a second early is on time: floats are not exact
    return tx.last.mono_s + (next_s - last_s)


def records(before: Station, after: Station, now: float) -> tuple[Station, tuple[Record, ...]]:
    """Everything that is owed to the cloud for this step, and the station that has numbered it."""
    out: list[Record] = []
    ports = []
    for old, new in zip(before.ports, after.ports, strict=True):
        if new is not old and faults(new) != faults(old):
            out.extend(fault_records(after, old, new, now))
        if terms.status(after, new) is not terms.status(before, old):
            new = replace(new, status_at=now)
        due = status_due(after, new)
        if due is not None and now >= due:
            out.append(status_record(after, new, new.status_at))
            new = replace(new, told=terms.status(after, new))
        new, transaction_records = transaction_edges(before, after, old, new, now)
        out.extend(transaction_records)
        ports.append(new)
    if after.notices is not before.notices:
        out.extend(refusal(after, n, now) for n in after.notices if n not in before.notices and n.reason)
    if any(new is not old for new, old in zip(ports, after.ports, strict=True)):
        after = replace(after, ports=tuple(ports))
    if after.self_tested:
        out.extend(part_records(before, after, now))
    elif is_over(tested := results(after, now)):
        out.append(self_test_record(after, tested, now))
        after = replace(after, self_tested=True)
    return after, tuple(out)


# -- transactions -----------------------------------------------------------------------------------------------------


def transaction_edges(before: Station, station: Station, old: Port, new: Port, now: float) -> tuple[Port, list[Record]]:
    out: list[Record] = []
    if (tx := new.finished) is not None and tx is not old.finished:
        tx = settled(before, old, station, tx)
        new = replace(new, finished=tx)
        if (
            old.transaction is None or old.transaction.transaction_id != tx.transaction_id
        ):  # began and ended in one step
            out.append(
                transaction_record(station, new, tx, "Started", begun_by(tx), tx.started, now, "Transaction.Begin")
            )
            tx = replace(tx, seq_no=tx.seq_no + 1)
            new = replace(new, finished=tx)
        assert tx.ending
        at = ended_at(station, tx) if tx.interrupted else now
        out.append(transaction_record(station, new, tx, "Ended", tx.ending.trigger, tx.last, at, "Transaction.End"))
    tx = new.transaction
    if tx is None:
        return new, out
    if old.transaction is None or old.transaction.transaction_id != tx.transaction_id:
        out.append(transaction_record(station, new, tx, "Started", begun_by(tx), tx.started, now, "Transaction.Begin"))
    elif (trigger := update_trigger(before, station, old, new, now)) and new.report:
        context = {
            Trigger.METER_VALUE_CLOCK: "Sample.Clock",
            Trigger.METER_VALUE_PERIODIC: "Sample.Periodic",
            Trigger.TRIGGER: "Trigger",
        }
        last = reading(new.report, now, *stamp(station, now)) if counts(new.report, tx) else tx.last
        is_sample = trigger in (Trigger.METER_VALUE_CLOCK, Trigger.METER_VALUE_PERIODIC)
        is_told = not is_sample or is_worth_its_data(station, tx, now)
        tx = settled(before, old, station, replace(tx, last=last, unplugs=new.report.unplugs))
        if not is_told:
            return replace(new, transaction=tx), out
        stream = Stream.SAMPLES if is_sample else Stream.MONEY
        stream = asked_for(station, stream) if trigger is Trigger.TRIGGER else stream
        out.append(transaction_record(
            station, new, tx, "Updated", trigger, tx.last, now, context.get(trigger, "Other"), stream
        ))  # fmt: skip
    else:
        return without_word(before, station, old, new, now), out
    controller = station.controller.boot_id if station.controller else tx.controller_boot_id
    return replace(new, transaction=replace(tx, seq_no=tx.seq_no + 1, controller_boot_id=controller)), out


def is_worth_its_data(station: Station, tx: Transaction, now: float) -> bool:
    """Whether a sample goes out: in low-data mode only the first in each part of the session."""
    if not is_low_data(station):
        return True
    return (now - tx.started.mono_s) // LOW_SAMPLE_S != (tx.last.mono_s - tx.started.mono_s) // LOW_SAMPLE_S


def without_word(before: Station, station: Station, old: Port, new: Port, now: float) -> Port:
    """A reading that is told to nobody: at the beginning of the end, so that what follows is billed as what it is."""
    old_tx, tx = old.transaction, new.transaction
    assert old_tx and tx
    if tx is old_tx:
        return new
    if tx.bill and tx.ending and not old_tx.ending and new.report and counts(new.report, tx) and not tx.interrupted:
        tx = replace(tx, last=reading(new.report, now, *stamp(station, now)), unplugs=new.report.unplugs)
    after = settled(before, old, station, tx)
    return new if after is new.transaction else replace(new, transaction=after)


def asked_for(station: Station, stream: Stream) -> Stream:
    """A station that the cloud calls Pending sends what is asked for, and nothing that waits before it (OCPP B02)."""
    return Stream.RESULTS if station.registration is Registration.PENDING else stream


def ended_at(station: Station, tx: Transaction) -> float:
    """When an interrupted transaction ended, in this run's time: at its last reading, or at the latest with the cut."""
    return tx.last.mono_s if station.boot.same_kernel else station.boot.at


def begun_by(tx: Transaction) -> Trigger:
    return Trigger.REMOTE_START if tx.remote_start_id is not None else Trigger.AUTHORIZED


def update_trigger(before: Station, station: Station, old: Port, new: Port, now: float) -> Trigger | None:
    """Why this step is worth an Updated, if it is."""
    old_tx, tx = old.transaction, new.transaction
    if old_tx is None or tx is None or new.report is None or tx.interrupted:
        return None
    if old_tx.interrupted:
        return Trigger.TX_RESUMED
    if tx.energy_cap_wh is not None and old_tx.energy_cap_wh is None and not tx.ending:
        return Trigger.DEAUTHORIZED
    if tx.bill and old_tx.bill and len(tx.bill.tariffs) > len(old_tx.bill.tariffs):
        return Trigger.TARIFF_CHANGED
    if new.triggers != old.triggers:
        return Trigger.TRIGGER
    if charging_state(station, new) is not charging_state(before, old) and not tx.ending:
        return Trigger.CHARGING_STATE_CHANGED
    due = next_sample_at(station, new)
    if due is None or now < due:
        return None
    aligned = next_aligned_at(station, tx)
    return Trigger.METER_VALUE_CLOCK if aligned is not None and now >= aligned else Trigger.METER_VALUE_PERIODIC


def transaction_record(
    station: Station, port: Port, tx: Transaction, event_type: str, trigger: Trigger, at: Reading, when: float,
    context: str, stream: Stream = Stream.MONEY,
) -> Record:  # fmt: skip
    """TransactionEvent. An Ended after a power cut is dated by its last stored reading, not by the restart."""
    dated = at.wall_s if tx.interrupted and event_type == "Ended" else wall(station.clock, when)
    info: dict[str, Any] = {"transactionId": tx.transaction_id}
    if event_type == "Ended" and tx.ending:
        info["stoppedReason"] = tx.ending.reason
    else:
        info["chargingState"] = charging_state(station, port)
    if tx.remote_start_id is not None:
        info["remoteStartId"] = tx.remote_start_id
    payload: dict[str, Any] = {
        "eventType": event_type,
        "timestamp": timestamp(station, dated, when),
        "triggerReason": trigger,
        "seqNo": tx.seq_no,
        "transactionInfo": info,
        "evse": {"id": port.evse_id, "connectorId": 1},
        "meterValue": [meter_value(station, at, context, timestamp(station, at.wall_s, when))],
    }
    if station.link is Link.DOWN:
        payload["offline"] = True
    if event_type != "Updated":
        payload["idToken"] = {"idToken": tx.id_token, "type": tx.token_type}
    if event_type == "Ended" and tx.ending and tx.ending.id_token:  # OCPP: who ended it, which may be another card
        payload["idToken"] = {"idToken": tx.ending.id_token, "type": "ISO14443"}
    if event_type == "Started":
        payload["customData"] = {"vendorId": VENDOR_ID, "rule": tx.rule, "listVersion": station.allowlist.version}
        if tx.access_rule:
            payload["customData"] |= {"accessRule": tx.access_rule, "accessPolicy": tx.access_policy}
        if tx.reservation_id is not None:
            payload["reservationId"] = tx.reservation_id
    if tx.bill:
        payload |= billed(tx.bill, payload, event_type, trigger, is_sample=stream is Stream.SAMPLES)
    if event_type == "Ended" and tx.rule == TEST_RULE:
        payload["customData"] = {"vendorId": VENDOR_ID, "rule": tx.rule}
    if trigger is Trigger.DEAUTHORIZED and tx.refused:
        known = {"reason": tx.refused, "listVersion": station.allowlist.version}
        payload["customData"] = {"vendorId": VENDOR_ID, **known}
    source = at.source if tx.interrupted else int(station.clock.source)
    return Record(stream, "TransactionEvent", payload, when, dated, source if dated is not None else 0)


def billed(
    bill: Bill, payload: dict[str, Any], event_type: str, trigger: Trigger, *, is_sample: bool
) -> dict[str, Any]:
    """What it costs so far, at the end and at each edge (I07): a sample would be twice as long. Which tariff that is,
    and why, where it is new."""
    more: dict[str, Any] = {}
    is_new = event_type == "Started" or trigger is Trigger.TARIFF_CHANGED
    if bill.tariffs and (is_new or event_type == "Ended"):
        more["transactionInfo"] = payload["transactionInfo"] | {"tariffId": bill.tariffs[-1].tariff_id}
    if is_new:
        more["customData"] = {"vendorId": VENDOR_ID, **payload.get("customData", {}), **bills.marks(bill)}
    if event_type != "Started" and not is_sample:
        more["costDetails"] = bills.details(bill, with_periods=event_type == "Ended")
    return more


def meter_value(station: Station, at: Reading, context: str, dated: str) -> dict[str, Any]:
    """Register, power, and per phase current and voltage; milliunits by multiplier, so that integers stay exact."""
    values: list[dict[str, Any]] = [
        {"value": at.energy_wh, "measurand": "Energy.Active.Import.Register", "context": context,
         "unitOfMeasure": {"unit": "Wh"}},
        {"value": at.power_w, "measurand": "Power.Active.Import", "context": context, "unitOfMeasure": {"unit": "W"}},
    ]  # fmt: skip
    for phase in range(station.settings.phases):
        values.append({"value": at.current_ma[phase], "measurand": "Current.Import", "context": context,
                       "phase": f"L{phase + 1}", "unitOfMeasure": {"unit": "A", "multiplier": -3}})  # fmt: skip
        values.append({"value": at.voltage_mv[phase], "measurand": "Voltage", "context": context,
                       "phase": f"L{phase + 1}-N", "unitOfMeasure": {"unit": "V", "multiplier": -3}})  # fmt: skip
    return {"timestamp": dated, "sampledValue": values}


def timestamp(station: Station, wall_s: float | None, now: float) -> str:
    """The wall time, or while nobody knows it the floor: the record's header says which, and the cloud corrects."""
    return iso8601(earliest(station.clock, now) if wall_s is None else wall_s)


# -- status, faults, refusals -----------------------------------------------------------------------------------------


def message(station: Station, stream: Stream, action: str, payload: dict[str, Any], now: float) -> Record:
    wall_s, source = stamp(station, now)
    return Record(stream, action, payload, now, wall_s, source)


def status_due(station: Station, port: Port) -> float | None:
    """When the port's status will have lasted long enough to be told; None if the cloud knows it."""
    if port.told is terms.status(station, port):
        return None
    return port.status_at + station.settings.minimum_status_duration_s


def status_record(station: Station, port: Port, now: float) -> Record:
    """StatusNotification of a status that holds since `now`."""
    wall_s = wall(station.clock, now)
    payload = {
        "timestamp": timestamp(station, wall_s, now),
        "connectorStatus": terms.status(station, port),
        "evseId": port.evse_id,
        "connectorId": 1,
    }
    return message(station, Stream.STATUS, "StatusNotification", payload, now)


def firmware_record(station: Station, now: float, *, is_asked: bool = False) -> Record:
    """FirmwareStatusNotification of what was told last. Asked for when nothing is under way, it says Idle (L01)."""
    update = station.update
    if update is None or (is_asked and update.told is FirmwareStatus.INSTALLED):
        return message(station, Stream.STATUS, "FirmwareStatusNotification", {"status": FirmwareStatus.IDLE}, now)
    told = update.told or FirmwareStatus.DOWNLOAD_SCHEDULED
    payload: dict[str, Any] = {"status": told, "requestId": update.request_id}
    if update.code:
        reason = "".join(part.capitalize() for part in update.code.split("-"))
        payload["statusInfo"] = {"reasonCode": reason[:20], "additionalInfo": update.why[:1024]}
    return message(station, Stream.STATUS, "FirmwareStatusNotification", payload, now)


def reservation_record(
    station: Station, reservation_id: int, end: str, now: float, owed: dict[str, Any] | None = None
) -> Record:
    """`owed`: what it costs that nobody has come; then it is money, which is never dropped."""
    payload: dict[str, Any] = {"reservationId": reservation_id, "reservationUpdateStatus": str(end)}
    if owed:
        payload["customData"] = {"vendorId": VENDOR_ID, **owed}
    return message(station, Stream.MONEY if owed else Stream.STATUS, "ReservationStatusUpdate", payload, now)


def plan_record(station: Station, found: Plan, days: int, now: float) -> Record:
    """So many days before the plan's end, or the station's deactivation."""
    token = found.token
    assert token
    what = "ends" if found.standing is Standing.ACTIVE else "has ended: the station is deactivated"
    said = f"plan {token.name} {what} in {days} day{'' if days == 1 else 's'}"
    return notify_event(
        station, Stream.STATUS, now, {"name": "ChargingStation"}, "Plan", str(found.standing), techInfo=said
    )


def tariff_record(station: Station, why: str, now: float) -> Record:
    """OCPP's variable TariffCostCtrlr.Problem has changed. `why`: "" if all is well again."""
    more: dict[str, Any] = {"techCode": "tariff-refused", "techInfo": why[:TECH_INFO_MAX]} if why else {"cleared": True}
    component = {"name": "TariffCostCtrlr"}
    return notify_event(station, Stream.STATUS, now, component, "Problem", "true" if why else "false", **more)


def profile_lost_record(station: Station, why: str, now: float) -> Record:
    """A charging profile that was kept, and that this software does not take."""
    more: dict[str, Any] = {"techCode": "profile-refused", "techInfo": why[:TECH_INFO_MAX]}
    return notify_event(station, Stream.STATUS, now, {"name": "SmartChargingCtrlr"}, "Problem", "true", **more)


def owner_lost_record(station: Station, why: str, now: float) -> Record:
    """Something else that the owner has said, and that this software cannot read."""
    more: dict[str, Any] = {"techCode": "policy-unreadable", "techInfo": why[:TECH_INFO_MAX]}
    return notify_event(station, Stream.STATUS, now, {"name": "ChargingStation"}, "Problem", "true", **more)


def token_record(station: Station, token: Token, now: float) -> Record:
    """A plan token that somebody brought to the station."""
    said = f"plan token {token.issue} ({token.name}) was brought to the station"
    return notify_event(
        station, Stream.STATUS, now, {"name": "ChargingStation"}, "PlanToken", str(token.issue), techInfo=said
    )


PROFILES_OF_RECORD_B = 30_000  # as JSON; in CBOR a float may be more than twice as long


def profiles_records(
    station: Station, request_id: int, profiles: list[tuple[int, dict[str, Any]]], now: float
) -> Iterator[Record]:
    """ReportChargingProfiles of (evse_id, profile) in this order: one for each EVSE, or as many as it takes."""
    parts: list[tuple[int, list[dict[str, Any]]]] = []
    room_b = 0
    for evse_id, profile in profiles:
        room_b -= (size_b := len(json.encode(profile)))
        if room_b < 0 or parts[-1][0] != evse_id:
            parts.append((evse_id, []))
            room_b = PROFILES_OF_RECORD_B - size_b
        parts[-1][1].append(profile)
    for n, (evse_id, part) in enumerate(parts, 1):
        payload = {"requestId": request_id, "chargingLimitSource": "CSO", "evseId": evse_id, "chargingProfile": part}
        payload |= {"tbc": True} if n < len(parts) else {}
        yield message(station, Stream.RESULTS, "ReportChargingProfiles", payload, now)


MESSAGES_OF_RECORD = 4  # each may say 1.5 kB in five languages


def messages_records(station: Station, request_id: int, said: list[dict[str, Any]], now: float) -> Iterator[Record]:
    """NotifyDisplayMessages, as many as it takes."""
    for first in range(0, len(said), MESSAGES_OF_RECORD):
        part = said[first : first + MESSAGES_OF_RECORD]
        payload: dict[str, Any] = {"requestId": request_id, "messageInfo": part}
        if first + MESSAGES_OF_RECORD < len(said):
            payload["tbc"] = True
        yield message(station, Stream.RESULTS, "NotifyDisplayMessages", payload, now)


def notify_event(
    station: Station, stream: Stream, now: float, component: dict[str, Any], variable: str, actual: str, **more: Any
) -> Record:
    """NotifyEvent with one hard-wired event."""
    dated = timestamp(station, wall(station.clock, now), now)
    event = {
        "eventId": 0,
        "timestamp": dated,
        "trigger": "Alerting",
        "actualValue": actual,
        "eventNotificationType": "HardWiredNotification",
        "component": component,
        "variable": {"name": variable},
        **more,
    }
    return message(station, stream, "NotifyEvent", {"generatedAt": dated, "seqNo": 0, "eventData": [event]}, now)


def fault_records(station: Station, old: Port, new: Port, now: float) -> Iterator[Record]:
    before, after = faults(old), faults(new)
    component = {"name": "Connector", "evse": {"id": new.evse_id, "connectorId": 1}}
    for fault in sorted(before ^ after):
        more: dict[str, Any] = {"techInfo": FAULTS[fault].fix} if fault in after else {"cleared": True}
        yield notify_event(station, Stream.STATUS, now, component, "Problem", fault, techCode=code(fault), **more)


def self_test_record(station: Station, tested: tuple[PartResult, ...], now: float) -> Record:
    """Once in each run: every part with its result; what failed with code and fix (I9)."""
    dated = timestamp(station, wall(station.clock, now), now)
    events = []
    for number, part in enumerate(tested):
        component: dict[str, Any] = {"name": part.part}
        if part.evse_id:
            component["evse"] = {"id": part.evse_id}
        event = {
            "eventId": number,
            "timestamp": dated,
            "trigger": "Alerting",
            "actualValue": part.result,
            "eventNotificationType": "HardWiredNotification",
            "component": component,
            "variable": {"name": "SelfTest"},
        }
        more = {"techCode": part.code, "techInfo": f"{part.text} {part.fix}"[:TECH_INFO_MAX]}
        events.append({**event, **more} if part.code else event)
    return message(station, Stream.STATUS, "NotifyEvent", {"generatedAt": dated, "seqNo": 0, "eventData": events}, now)


def part_records(before: Station, after: Station, now: float) -> Iterator[Record]:
    """A part that fails or comes back after the self-test."""
    if after.parts is before.parts:
        return
    for name, told in sorted(after.parts.items()):
        was = before.parts.get(name)
        if bool(told.problem) != bool(was and was.problem):
            what = {"techCode": told.code, "techInfo": told.fix[:TECH_INFO_MAX]}
            more: dict[str, Any] = what if told.problem else {"cleared": True}
            yield notify_event(after, Stream.STATUS, now, {"name": name}, "Problem", told.problem or "none", **more)


def problem_record(station: Station, now: float) -> Record:
    """Somebody at the station asks for help, in its service menu."""
    told = "somebody in the service menu reports a problem: order the station's report (GetLog)"
    component = {"name": "ChargingStation"}
    return notify_event(station, Stream.STATUS, now, component, "ProblemReported", "true", techInfo=told)


def log_lines(record: Record) -> Iterator[str]:
    """For the station's own log: what has a code, under that code."""
    for event in record.payload.get("eventData", ()):
        if code := event.get("techCode"):
            component = event["component"]
            where = f"{component['name']} {component.get('evse', {}).get('id', '')}".strip()
            yield f"{code} {where}: {event['actualValue']}{', cleared' if event.get('cleared') else ''}"


def case_records(station: Station, name: str, is_open: bool, now: float) -> tuple[Record, ...]:
    """A contact of the enclosure. OCPP has a security event for its opening, and none for its closing."""
    more = {} if is_open else {"cleared": True}
    component = {"name": "CaseAccessSensor", "instance": name}
    told = notify_event(station, Stream.STATUS, now, component, "Active", "true" if is_open else "false", **more)
    return (security_event(station, TAMPERED, name, now), told) if is_open else (told,)


def refusal(station: Station, notice: Notice, now: float) -> Record:
    """For the owner who wonders why nobody could charge: which reason, at which port, for whom (masked), by which rule
    of which list and access policy."""
    assert notice.reason
    policy = rules.policy if (rules := life.rules(station)) else None
    by = {"rule": notice.rule, "accessPolicy": name_of(policy) if policy else ""}
    words = WORDS[notice.reason]
    component: dict[str, Any] = {"name": "TokenReader"}
    if notice.evse_id:
        component["evse"] = {"id": notice.evse_id}
    return notify_event(
        station, Stream.LOGS, now, component, "Problem", notice.reason,
        techCode=words.code, techInfo=f"{words.text} Card {masked(notice.id_token)}",
        customData={"vendorId": VENDOR_ID, "listVersion": station.allowlist.version}
        | {name: said for name, said in by.items() if said},
    )  # fmt: skip


def startup(station: Station, now: float) -> Record:
    """SecurityEventNotification StartupOfTheDevice: one with each boot."""
    payload = {
        "type": "StartupOfTheDevice",
        "timestamp": timestamp(station, wall(station.clock, now), now),
        "techInfo": f"{station.boot.reason}, start {station.boot.count}",
        "customData": {"vendorId": VENDOR_ID, "bootReason": station.boot.reason, "bootId": station.boot.boot_id},
    }
    return message(station, Stream.STATUS, "SecurityEventNotification", payload, now)


def security_event(station: Station, kind: str, why: str, now: float) -> Record:
    """SecurityEventNotification of one of OCPP's types."""
    payload = {"type": kind, "timestamp": timestamp(station, wall(station.clock, now), now), "techInfo": why[:255]}
    return message(station, Stream.STATUS, "SecurityEventNotification", payload, now)


def dead_letter(station: Station, stream: int, seq: int, why: str, now: float) -> Record:
    """A record that the cloud will never take, or that the disk has damaged, is kept aside."""
    component, told = {"name": "Outbox"}, f"stream {stream}, seq {seq}: {why}"[:500]
    return notify_event(station, Stream.STATUS, now, component, "DeadLetter", str(seq), techInfo=told)


def lost_session(station: Station, evse_id: int, fact: Any, now: float) -> Record:
    """What a port had stored cannot be read (other software wrote it): its session will never say Ended."""
    transaction = fact.get("transaction") if isinstance(fact, dict) else None
    named = transaction.get("transaction_id") if isinstance(transaction, dict) else None
    component = {"name": "EVSE", "evse": {"id": evse_id}}
    told = str(named)[:500]
    return notify_event(station, Stream.STATUS, now, component, "StoredSession", "unreadable", techInfo=told)


def outage_record(station: Station, now: float) -> Record | None:
    """How long the station was away, as soon as a known clock on both sides can tell (R7)."""
    boot, away_s = station.boot, away(station)
    if away_s is None:
        return None
    custom = {"vendorId": VENDOR_ID, "outageS": round(away_s), "bootReason": boot.reason}
    return notify_event(
        station,
        Stream.STATUS,
        now,
        {"name": "ChargingStation"},
        "OutageDuration",
        str(round(away_s)),
        customData=custom,
    )


def away(station: Station) -> float | None:
    """How long the station was without power before this run, in seconds; None: it was not, or nobody can tell."""
    boot = station.boot
    if boot.last_seen_s is None or boot.same_kernel:
        return None
    return outage_s(station, boot.last_seen_s, 1, 0.0)


def boot_notification(station: Station) -> dict[str, Any]:
    """BootNotification, with what is known by now."""
    machine, away_s = station.machine, away(station)
    described: dict[str, Any] = {"model": machine.model[:20], "vendorName": machine.vendor_name[:50]}
    if len(station.settings.station_id) <= SERIAL_NUMBER_MAX:  # else the topic and the certificate say it
        described["serialNumber"] = station.settings.station_id
    if machine.firmware_version:
        described["firmwareVersion"] = machine.firmware_version[:50]
    if modem := {name: getattr(machine, name)[:20] for name in ("iccid", "imsi") if getattr(machine, name)}:
        described["modem"] = modem
    custom = {
        "vendorId": VENDOR_ID,
        "mac": list(machine.macs),
        "imei": machine.imei,
        "modemType": machine.modem_type,
        "gateway": machine.gateway,
        "bootReason": station.boot.reason,
        "outageS": None if away_s is None else round(away_s),
    }
    known = {name: value for name, value in custom.items() if value not in ("", None, [])}
    return {"chargingStation": described, "reason": station.boot.reason, "customData": known}


def transaction_status(station: Station, transaction_id: str | None, is_held: bool) -> dict[str, Any]:
    """GetTransactionStatusResponse (OCPP E14). `is_held`: something about it is not acknowledged."""
    if transaction_id is None:
        return {"messagesInQueue": is_held}
    running = any(p.transaction and p.transaction.transaction_id == transaction_id for p in station.ports)
    return {"ongoingIndicator": running, "messagesInQueue": is_held}


def answer(status: str, reason_code: str = "", text: str = "") -> dict[str, Any]:
    """A response that is a status and, for whoever wonders why, a statusInfo."""
    if not reason_code:
        return {"status": status}
    info = {"reasonCode": reason_code, "additionalInfo": text[:1024]} if text else {"reasonCode": reason_code}
    return {"status": status, "statusInfo": info}


def result(station: Station, command_id: str, response: dict[str, Any], now: float) -> Record:
    """The answer to a command from the cloud; kept until acknowledged like everything else."""
    payload = {"commandId": command_id, "status": "Done", "response": response}
    return message(station, Stream.RESULTS, "CommandResult", payload, now)
