"""Health: one small record for the operator, and alarms where a value passes its threshold. Pure.

What the machine measures is asked for (Measure) and comes back (Measured); the rest is known here. One Health each
HEALTH_S, and at once when an alarm comes or goes or a part of it that stands for a thing out of order changes. What has
its own word already (faults, the list's age, the line to the controller) gets no second one: docs/uplink.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from agent import cellular
from agent.clock import ClockSource
from agent.effects import Effect, Measure, Record, Stream
from agent.events import Measured
from agent.policy.freshness import age_s
from agent.port import Port, status
from agent.reporting import VENDOR_ID, message, notify_event
from agent.station import Station, is_low_data

HEALTH_S = 900.0
LOW_HEALTH_S = 21_600.0  # in low-data mode between two records; it is measured, and alarms are told, as ever
FIRST_S = 60.0  # after the start: until then nothing has settled
MESSAGE_ID = "Health"
MEGA_B = 1_000_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """Passed at `at`, over at `until`: between them nothing changes. `at` < `until`: too little of something."""

    component: str
    variable: str
    at: float
    until: float
    text: str  # what to do about it


THRESHOLDS = {
    "port": Threshold("TemperatureSensor", "Temperature", 70, 60, "The port offers less current: look at its cooling."),
    "cpu": Threshold("CPU", "Temperature", 85, 75, "Look at the fan and the sun on the enclosure."),
    "disk": Threshold("Storage", "Available", 128, 256, "The disk is nearly full: type station-agent doctor."),
    "memory": Threshold("Memory", "Available", 48, 96, "Memory is short: restart the station, and send its report."),
    "outbox": Threshold("Outbox", "Waiting", 10_000, 5_000, "Records wait for the cloud: look at the network."),
    "cycles": Threshold("PowerContactor", "Cycles", 90_000, 0, "The contactor nears the end of its life: replace it."),
}


def values(station: Station) -> Iterator[tuple[str, int, float]]:
    """Of each threshold that can be judged now: its name, the port or 0, the value."""
    measured = station.health.measured
    for port in station.ports:
        if port.report:
            yield "port", port.evse_id, port.report.temperature_dc / 10
            yield "cycles", port.evse_id, port.report.closes
    if measured is None:
        return
    if measured.cpu_dc is not None:
        yield "cpu", 0, measured.cpu_dc / 10
    if measured.disk_free_b is not None:
        yield "disk", 0, measured.disk_free_b / MEGA_B
    if measured.memory_free_b is not None:
        yield "memory", 0, measured.memory_free_b / MEGA_B
    if station.waiting:
        yield "outbox", 0, sum(station.waiting)


def alarmed(station: Station) -> frozenset[tuple[str, int]]:
    """Which thresholds are passed. One that cannot be judged stays as it was."""
    held = set(station.health.alarms)
    for name, evse_id, value in values(station):
        limit = THRESHOLDS[name]
        is_low = limit.at < limit.until
        if value <= limit.at if is_low else value >= limit.at:
            held.add((name, evse_id))
        elif value >= limit.until if is_low else value <= limit.until:
            held.discard((name, evse_id))
    return frozenset(held)


def kept(before: Station, station: Station, now: float) -> tuple[Station, tuple[Effect, ...]]:
    """What is due: a measurement, which is answered by the record; an alarm at once, since any report may bring it."""
    effects: tuple[Effect, ...] = ()
    if now >= station.health.due:
        station = replace(station, health=replace(station.health, due=now + HEALTH_S))
        effects = (Measure(),)
    if station.ports is before.ports or not is_judged_anew(before, station):
        return station, effects
    was, held = station.health.alarms, alarmed(station)
    if held == was:
        return station, effects
    station = replace(station, health=replace(station.health, alarms=held))
    return told(station, now, *effects, *alarms(station, was, now))


def is_judged_anew(before: Station, station: Station) -> bool:
    """A temperature or a count of cycles has moved."""

    def seen(port: Port) -> tuple[int, int] | None:
        return (port.report.temperature_dc, port.report.closes) if port.report else None

    return any(seen(a) != seen(b) for a, b in zip(before.ports, station.ports, strict=True) if a is not b)


def heard(station: Station, measured: Measured, now: float) -> tuple[Station, tuple[Effect, ...]]:
    """The machine has answered: alarms, if any has come or gone, and the record."""
    before = station.health.alarms
    station = replace(station, health=replace(station.health, measured=measured))
    station = replace(station, health=replace(station.health, alarms=alarmed(station)))
    if station.health.alarms == before and is_low_data(station) and now < station.health.told_at + LOW_HEALTH_S:
        return station, ()
    return told(station, now, *alarms(station, before, now))


def told(station: Station, now: float, *first: Effect) -> tuple[Station, tuple[Effect, ...]]:
    """The record goes out, after what comes `first`."""
    station = replace(station, health=replace(station.health, told_at=now))
    return station, (*first, record(station, now))


def alarms(station: Station, before: frozenset[tuple[str, int]], now: float) -> Iterator[Record]:
    """NotifyEvent of each that has come or gone."""
    found = {(name, evse_id): value for name, evse_id, value in values(station)}
    for name, evse_id in sorted(before ^ station.health.alarms):
        limit = THRESHOLDS[name]
        component: dict[str, Any] = {"name": limit.component} | ({"evse": {"id": evse_id}} if evse_id else {})
        is_on = (name, evse_id) in station.health.alarms
        more: dict[str, Any] = {"techCode": f"health-{name}", "techInfo": limit.text} if is_on else {"cleared": True}
        kind = {"eventNotificationType": "HardWiredMonitor"}
        actual = f"{found[name, evse_id]:g}"
        yield notify_event(station, Stream.STATUS, now, component, limit.variable, actual, **kind, **more)


def record(station: Station, now: float) -> Record:
    """DataTransfer Health: what is not known is left out."""
    return message(
        station, Stream.LOGS, "DataTransfer",
        {"vendorId": VENDOR_ID, "messageId": MESSAGE_ID, "data": known(facts(station, now))}, now,
    )  # fmt: skip


RECORD_MAX_B = 300
NUMBER_MAX = 2**32 - 1  # of any number in the record: five bytes


def facts(station: Station, now: float) -> dict[str, Any]:
    """Whatever is measured, and however wrong, RECORD_MAX_B hold it."""
    measured, machine = station.health.measured or Measured(), station.machine
    reports = [port.report for port in station.ports]
    old_s = age_s(station.allowlist, station.clock, now)
    return {
        "p": [status(port)[:3] for port in station.ports],
        "t": [None if each is None else each.temperature_dc for each in reports],
        "n": [None if each is None else each.closes for each in reports],
        "c": measured.cpu_dc,
        "d": mega(measured.disk_free_b),
        "m": mega(measured.memory_free_b),
        "k": ClockSource(station.clock.source).name.lower(),
        "l": None if old_s is None else round(old_s),
        "w": list(station.waiting) if any(station.waiting) else None,
        "e": list(measured.line_errors) if any(measured.line_errors) else None,
        "r": machine.modem_type[:12].encode("ascii", "replace").decode() or None,
        "s": cellular.signal_dbm(station.modem),
        "u": round(now - station.boot.at),
        "b": [mega(used_b), station.settings.data_budget_mb] if (used_b := station.data.month.all_b) else None,
        "z": True if is_low_data(station) else None,
        "a": list(passed(station.health.alarms)) or None,
    }


def passed(alarms: frozenset[tuple[str, int]]) -> Iterator[str]:
    """Each threshold once, with the ports at which it is passed: port13."""
    for name in sorted({name for name, _ in alarms}):
        yield name + "".join(str(evse_id) for other, evse_id in sorted(alarms) if other == name and evse_id)


def known(data: dict[str, Any]) -> dict[str, Any]:
    return {key: bounded(value) for key, value in data.items() if value is not None}


def bounded(value: Any) -> Any:
    match value:
        case list():
            return [bounded(each) for each in value]
        case int():
            return max(-NUMBER_MAX, min(value, NUMBER_MAX))
    return value


def mega(size_b: int | None) -> int | None:
    return None if size_b is None else size_b // MEGA_B
