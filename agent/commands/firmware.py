"""UpdateFirmware (OCPP L01): an order for the updater, which agent/updating.py follows from here on."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent import life, updating
from agent.effects import Effect
from agent.events import UpdateRequested
from agent.reporting import answer, result
from agent.settings import PLAIN
from agent.station import Station, Update
from agent.taps import Step
from agent.uplink.backoff import spread_s

URL = re.compile(r"https://[^\s/?#@]+(/[!-~]*)?", re.ASCII)  # nobody's name and password in it
MINUTE = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
SPREAD_S, BUDGET_B = range(7 * 86_400 + 1), range(1, 1 << 40)
OVERRIDE_MAX = 200
INTERVAL_MAX_S, RETRIES_MAX = 86_400, 1_000_000
CUSTOM = ("vendorId", "budgetB", "window", "spreadS", "override")

Refusal = tuple[str, str]  # reason code and sentence


def update(station: Station, event: UpdateRequested, now: float) -> Step:
    """A new order replaces one that has not begun to install."""
    ordered = read(station, event)
    running = updating.open_update(station)
    why = refusal(station, running) if isinstance(ordered, Update) else ordered
    if why is not None or not isinstance(ordered, Update):
        assert why
        return station, (result(station, event.command_id, answer("Rejected", *why), now),)
    if running and running.request_id == ordered.request_id and running.url == ordered.url:
        return station, (result(station, event.command_id, answer("Accepted", "NoError", "it goes on"), now),)
    said = answer("AcceptedCanceled" if running else "Accepted")
    effects: tuple[Effect, ...] = (result(station, event.command_id, said, now),)
    return replace(updating.reopened(station), update=ordered), effects


def refusal(station: Station, running: Update | None) -> Refusal | None:
    if not station.machine.can_update:
        return "UnsupportedRequest", "there is no update service on this station"
    if updating.is_installing(station):
        assert running
        return "FwUpdateInProgress", f"update {running.request_id} installs just now: order this one when it is over"
    if not life.row(station).download:
        return "NotEnabled", f"the station is {life.state_of(station)}: nothing is downloaded until a new token comes"
    return None


def read(station: Station, event: UpdateRequested) -> Update | Refusal:
    """The order, with this station's own place among its fleet."""
    if not URL.fullmatch(event.location):
        return "InvalidURL", "location: type https://HOST/PATH, without a user in it"
    if event.retries is not None and event.retries > RETRIES_MAX:
        return "ValueTooHigh", f"retries: 0 to {RETRIES_MAX}"
    if event.retry_interval_s is not None and not 0 <= event.retry_interval_s <= INTERVAL_MAX_S:
        return "ValueOutOfRange", f"retryInterval: 0 to {INTERVAL_MAX_S} s"
    custom = read_custom(event.custom)
    if isinstance(custom, tuple):
        return custom
    place_s = spread_s(f"{station.settings.station_id}/{event.request_id}", custom.pop("spread_s", 0))
    return Update(
        event.command_id, event.request_id, event.location, event.retrieve_s + place_s, event.install_s,
        event.retries, event.retry_interval_s, place_s=place_s, **custom,
    )  # fmt: skip


def read_custom(custom: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    """What OCPP has no word for (docs/uplink.md). What is misspelled is refused: a budget that nobody reads would cost
    money."""
    if unknown := sorted(custom.keys() - set(CUSTOM)):
        return "UnsupportedParam", f"customData: {unknown[0][:40]!r} is not known: there are {', '.join(CUSTOM[1:])}"
    out: dict[str, Any] = {}
    if "budgetB" in custom:
        if not is_in(custom["budgetB"], BUDGET_B):
            return "InvalidValue", "customData: budgetB is a number of bytes, 1 or more"
        out["budget_b"] = custom["budgetB"]
    if "spreadS" in custom:
        if not is_in(custom["spreadS"], SPREAD_S):
            return "InvalidValue", f"customData: spreadS is 0 to {SPREAD_S[-1]} seconds"
        out["spread_s"] = custom["spreadS"]
    if "window" in custom:
        if (window := read_window(custom["window"])) is None:
            return "InvalidValue", 'customData: window is ["22:00", "05:00"], two times of the site\'s day'
        out["window"] = window
    if "override" in custom:
        why = custom["override"]
        if not isinstance(why, str) or not 1 <= len(why) <= OVERRIDE_MAX or not re.match(PLAIN, why):
            return "InvalidValue", f"customData: override says why, on one line, in at most {OVERRIDE_MAX} characters"
        out["override"] = why
    return out


def is_in(value: Any, bounds: range) -> bool:
    return type(value) is int and value in bounds


def read_window(value: Any) -> tuple[int, int] | None:
    """Minutes of the day."""
    match value:
        case [str(first), str(last)] if first != last:
            found = [MINUTE.fullmatch(text) for text in (first, last)]
            minutes = [int(each[1]) * 60 + int(each[2]) for each in found if each]
            return (minutes[0], minutes[1]) if len(minutes) == 2 else None
    return None
