"""The modem's data and its budget: what was used becomes facts, warnings become records, and one fact, `is_low_data`,
slows whatever may be slow. Pure.

Low-data mode holds from the first warning on until the month is over, or as somebody has set it. It never touches
money: sessions, status, results, questions about cards, and what the cloud has ordered with a budget of its own.
"""

from dataclasses import replace
from typing import Any

from msgspec import structs

from agent import reporting
from agent.clock import wall
from agent.commands import logs
from agent.effects import Effect, Record, Stream
from agent.events import DataUsed
from agent.modem import budget
from agent.modem.budget import MEGA_B, Cause
from agent.station import Station, is_low_data
from agent.taps import Step

COMPONENT = "DataLink"
SEVERITIES = {80: 6, 100: 5}  # OCPP 2.1: warning, alert


def heard(station: Station, event: DataUsed, now: float) -> Step:
    """What has passed since the last word. It is written in the commit of the sign of life, which it brings forward:
    it costs the flash nothing of its own."""
    settings, usage = station.settings, station.data
    usage = budget.turned(usage, wall(station.clock, now), station.zone, settings.data_billing_day)
    used = {Cause(name): size_b for name, size_b in event.used.items()}
    usage = budget.added(usage, used, event.leaves, event.session)
    usage = structs.replace(usage, kept=dict(event.kept))
    reached = budget.warning(usage.month.all_b, settings.data_budget_mb)
    station = replace(station, data=structs.replace(usage, warned=reached), alive_at=now)
    return station, (() if reached == usage.warned else (record(station, reached, now),))


def record(station: Station, reached: int, now: float) -> Record:
    """NotifyEvent: so much of the budget is used, or the warning is over."""
    more: dict[str, Any] = {"cleared": True}
    if reached:
        month, settings = station.data.month, station.settings
        mode = "low-data mode is on" if is_low_data(station) else "low-data mode is off"
        spent = ", ".join(f"{cause} {size_b / MEGA_B:.1f}" for cause, size_b in month.causes.items())
        said = f"{month.all_b / MEGA_B:.1f} of {settings.data_budget_mb} MB since {month.began or 'the start'}: {mode}"
        more = {"severity": SEVERITIES[reached], "techCode": "data-budget", "techInfo": f"{said} (MB: {spent})"[:500]}
    return reporting.notify_event(
        station, Stream.STATUS, now, {"name": COMPONENT}, "BudgetUsed", str(reached), **more
    )  # fmt: skip


def followed(before: Station, station: Station) -> tuple[Effect, ...]:
    """A report that was put off is sent when the mode is over."""
    if station.data is before.data and station.settings is before.settings:
        return ()
    if is_low_data(before) and not is_low_data(station) and station.log and not station.log.is_over:
        return (logs.wish(station, station.log),)
    return ()


def told(station: Station) -> dict[str, Any]:
    """For people who ask at the station."""
    usage, settings = station.data, station.settings
    return {
        "since": usage.month.began,
        "used_b": usage.month.all_b,
        "budget_mb": settings.data_budget_mb,
        "percent": budget.percent(usage.month.all_b, settings.data_budget_mb),
        "is_low_data": is_low_data(station),
        "causes": {str(cause): size_b for cause, size_b in usage.month.causes.items()},
        "leaves": dict(usage.leaves),
        "session": usage.session,
        "session_b": usage.session_b,
        "before": {"since": usage.before.began, "used_b": usage.before.all_b},
    }
