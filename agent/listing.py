"""How a station keeps its allowlist young: it says which list it has, and raises its voice when no word comes.

The cloud sends changes by itself while we are there. What it has missed, or we, comes out when we ask: after each
connection, at a place of the station's own in the first minute, so that a broker's restart brings no herd; and a few
times a day. A station without a list asks at once.
"""

from dataclasses import replace
from hashlib import sha256
from math import inf
from typing import Any

from agent import reporting
from agent.clock import ClockSource
from agent.effects import AskList, Record, Stream
from agent.events import Link, ListState, Registration
from agent.policy.freshness import ALARM_S, DAY_S, WARNING_S, Freshness, age_s, freshness
from agent.station import Station, is_low_data
from agent.taps import Step

MESSAGE_ID = "ListStatus"
PLACES_S = 60.0
AGAIN_S = 3_600.0  # a link that comes and goes is no reason to ask each time, and a lost question is asked again
EVERY_S = 8 * 3_600.0  # warned is at 20 h: two questions may get lost
COMPONENT = "LocalAuthListCtrlr"  # OCPP 2.1
SEVERITIES = {Freshness.LATE: 6, Freshness.OLD: 5, Freshness.LAPSED: 4}  # OCPP 2.1: warning, alert, error
ASK_TIMEOUT_S = 30.0


def linked(station: Station, before: Link, now: float) -> Station:
    """Another connection, or none."""
    if before is not Link.DOWN or station.link is Link.DOWN:
        return station
    return replace(station, list_word=replace(station.list_word, linked_at=now))


def changed(station: Station, state: ListState, now: float) -> Station:
    """At a start it is no word of the cloud's."""
    word = station.list_word if station.link is Link.DOWN else replace(station.list_word, told_at=now)
    return replace(station, allowlist=state, list_word=word)


def followed(station: Station, now: float) -> Step:
    """What is due by now: the question, and the word that the list has grown old, or is young again."""
    effects: tuple[AskList | Record, ...] = ()
    word = station.list_word
    if now >= ask_at(station):
        word, effects = replace(word, asked_at=now), (AskList(),)
    old_s = age_s(station.allowlist, station.clock, now)
    fresh = freshness(old_s, station.settings.list_grace_days)
    if fresh is not word.freshness:
        word, effects = replace(word, freshness=fresh), (*effects, record(station, fresh, old_s, now))
    return (replace(station, list_word=word), effects) if word is not station.list_word else (station, ())


def ask_at(station: Station) -> float:
    """When the cloud is to be asked next; never, while it does not listen."""
    word = station.list_word
    if station.link is not Link.UP or station.registration is not Registration.ACCEPTED:
        return inf
    if not station.allowlist.version and word.asked_at < word.linked_at:
        return word.linked_at
    is_told = word.told_at >= word.linked_at or is_low_data(station)  # else by the cloud, on an earlier connection
    told_again_at = word.told_at + (EVERY_S if is_told else AGAIN_S)
    return max(word.linked_at + place_s(station.settings.station_id), word.asked_at + AGAIN_S, told_again_at)


def place_s(station_id: str) -> float:
    return PLACES_S * int.from_bytes(sha256(station_id.encode()).digest()[:4], "big") / 2**32


def deadline(station: Station) -> float:
    return min(ask_at(station), older_at(station))


def older_at(station: Station) -> float:
    """When the list will be worse than we have called it."""
    state, clock, days = station.allowlist, station.clock, station.settings.list_grace_days
    if not state.version or state.synced_s is None or clock.source is ClockSource.NONE:
        return inf
    ages_s = (WARNING_S, ALARM_S, days * DAY_S if days else inf)
    worse_at_s = state.synced_s + min(ages_s[station.list_word.freshness :], default=inf)
    return clock.wall_at + worse_at_s - clock.wall_s + 1.0  # a second late is surely not early


def record(station: Station, fresh: Freshness, old_s: float | None, now: float) -> Record:
    """NotifyEvent: a warning, an alarm, or their end."""
    more: dict[str, Any] = {"cleared": True}
    if fresh is not Freshness.FRESH and old_s is not None:
        text = f"the list is {old_s / 3600:.0f} h old: approvals and removals since then are not known here"
        more = {"severity": SEVERITIES[fresh], "techInfo": text}
    said = fresh.name.capitalize()
    return reporting.notify_event(station, Stream.STATUS, now, {"name": COMPONENT}, "Freshness", said, **more)


def status(state: ListState) -> dict[str, Any]:
    """The DataTransferRequest that says which list is here."""
    data = {"generation": state.generation, "version": state.version, "hash": state.hash, "count": state.entries}
    return {"vendorId": reporting.VENDOR_ID, "messageId": MESSAGE_ID, "data": data}
