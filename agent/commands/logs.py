"""GetLog (OCPP N01): the station's report on its way to an HTTPS server, which agent/uploader.py sees to.

What was told last is a fact; each LogStatusNotification follows from what the uploader says. The order survives a
restart, and the upload goes on where the server says that it has stopped.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from agent.clock import iso8601, wall
from agent.effects import Record, Stream, Upload
from agent.events import LogRequested, UploadTold
from agent.reporting import answer, message, result
from agent.station import LogUpload, Station, is_low_data
from agent.taps import Step

URL = re.compile(r"https://[^\s/?#@]+(/[!-~]*)?", re.ASCII)  # nobody's name and password in it
TYPES = ("DiagnosticsLog", "SecurityLog")
CANCELED, UPLOADING, IDLE = "AcceptedCanceled", "Uploading", "Idle"
RETRIES_MAX, INTERVAL_MAX_S = 100, 86_400
BUDGET_MAX_B = 1 << 40
POSTPONED = "data is short: it is sent when that is over; order it with a budgetB to have it now"


def get(station: Station, event: LogRequested, now: float) -> Step:
    """A new order ends the one before. The same again, as after a lost answer, goes on."""
    if why := refusal(event):
        return station, (result(station, event.command_id, answer("Rejected", *why), now),)
    running = station.log if station.log and not station.log.is_over else None
    if running and (running.request_id, running.url) == (event.request_id, event.url):
        said = answer("Accepted", "NoError", "it goes on") | {"filename": named(station, running)}
        return station, (result(station, event.command_id, said, now),)
    new = LogUpload(
        event.command_id, event.request_id, event.type, event.url, event.retries, event.retry_interval_s,
        event.budget_b, wall(station.clock, now),
    )  # fmt: skip
    status, upload = CANCELED if running else "Accepted", wish(station, new)
    said = (answer(status) if upload.order else answer(status, "Postponed", POSTPONED)) | {
        "filename": named(station, new)
    }
    ended = (status_record(station, running, CANCELED, "", now),) if running else ()
    station = replace(station, log=new)
    return station, (result(station, event.command_id, said, now), *ended, upload)


def refusal(event: LogRequested) -> tuple[str, str] | None:
    if event.type not in TYPES:
        return "UnsupportedParam", f"logType: there are {' and '.join(TYPES)} here"
    if not URL.fullmatch(event.url):
        return "InvalidURL", "remoteLocation: type https://HOST/PATH, without a user in it"
    if event.retries is not None and event.retries > RETRIES_MAX:
        return "ValueTooHigh", f"retries: 0 to {RETRIES_MAX}"
    if event.retry_interval_s is not None and not 0 <= event.retry_interval_s <= INTERVAL_MAX_S:
        return "ValueOutOfRange", f"retryInterval: 0 to {INTERVAL_MAX_S} s"
    if event.budget_b is not None and not 1 <= event.budget_b <= BUDGET_MAX_B:
        return "InvalidValue", "customData: budgetB is a number of bytes, 1 or more"
    return None


def told(station: Station, event: UploadTold, now: float) -> Step:
    """What has become of it; of an order that is over nobody wants to know."""
    log = station.log
    if log is None or log.is_over or event.order != log.order:
        return station, ()
    told_before = log.status == event.status == UPLOADING and not event.why
    station = replace(station, log=replace(log, status=event.status, percent=event.percent))
    if told_before:
        return station, ()
    return station, (status_record(station, log, event.status, event.why, now),)


def status_record(station: Station, log: LogUpload | None, status: str, why: str, now: float) -> Record:
    """LogStatusNotification. Asked for when nothing is under way, it says Idle (N01)."""
    payload: dict[str, Any] = {"status": status}
    if log is not None and status != IDLE:
        payload["requestId"] = log.request_id
    if why:
        payload["statusInfo"] = {"reasonCode": status[:20], "additionalInfo": why[:1024]}
    return message(station, Stream.STATUS, "LogStatusNotification", payload, now)


def asked_status(station: Station, now: float) -> Record:
    """For TriggerMessage."""
    log = station.log if station.log and not station.log.is_over else None
    return status_record(station, log, UPLOADING if log else IDLE, "", now)


def wish(station: Station, log: LogUpload | None) -> Upload:
    """Without a budget of its own it waits while data is short (agent/dataplan.py)."""
    if log is None or log.is_over or (log.budget_b is None and is_low_data(station)):
        return Upload()
    return Upload(log.order, log.url, log.retries, log.retry_interval_s, log.budget_b)


def is_postponed(station: Station) -> bool:
    """What is ordered waits until data is no longer short."""
    return station.log is not None and not station.log.is_over and not wish(station, station.log).order


def named(station: Station, log: LogUpload) -> str:
    """OCPP: the name of the file that will be uploaded."""
    dated = re.sub(r"[^0-9T]", "", iso8601(log.ordered_s)[:19]) if log.ordered_s is not None else log.order[:16]
    return f"{station.settings.station_id}-{dated}.tar.gz"[:255]


def saved(log: LogUpload | None) -> dict[str, Any] | None:
    if log is None or log.is_over:
        return None
    said: dict[str, Any] = msgspec.to_builtins(log)
    return {name: value for name, value in said.items() if name != "percent"}


def restored(fact: Any) -> LogUpload | None:
    """What cannot be read is no order: whoever wants it orders anew."""
    if not isinstance(fact, Mapping):
        return None
    try:
        return msgspec.convert(fact, LogUpload)
    except msgspec.ValidationError:
        return None
