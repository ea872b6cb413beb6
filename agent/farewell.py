"""The station leaves its owner (I7): a transfer, or the factory's state. What it owes is delivered first; then whatever
was his is wiped in one commit. Pure.

From the order on nobody starts. A power cut before the commit finds the order, one after it finds nothing of him.
"""

from dataclasses import replace
from math import inf
from typing import Any

from msgspec import structs

from agent import life
from agent.clock import earliest
from agent.commands import variables
from agent.effects import Effect, Wipe
from agent.policy.owner import Leaving, Owner
from agent.policy.reasons import Reason
from agent.reporting import RESET, security_event
from agent.settings import SETTINGS
from agent.station import ListWord, Stage, Station
from agent.taps import Step, noticed, with_port
from agent.transaction import TEST_RULE, StoppedReason, Trigger, ended_by
from agent.wizard import layer
from agent.wizard.facts import ELECTRICAL, Wizard

SITE = ("time_zone", "site_point", "restart_delay_max_s")  # of the place, whoever owns the station
TEXTS = ("owner", "tariff_text", "tariff_text_offline", "total_cost_text")  # the last owner's words
BLANK: dict[str, Any] = {"activated": False, **dict.fromkeys(TEXTS, "")}  # also over what the config file says
WAIT_S, WAIT_MAX_S = 7 * 86_400, 30 * 86_400  # for what is owed


def ordered(station: Station, wait_s: int, now: float, *, is_reset: bool = False, by: str = "the cloud") -> Station:
    """Nobody starts any more, and who charges has ended: his session is the last that this owner is told of. Who
    was let in and has not plugged in is told so in this step (`taps.followed`); who waits for the word about his card,
    here."""
    leaving = Leaving(earliest(station.clock, now), wait_s, is_reset, by=by)
    station = with_cloud(station, {**station.cloud, "activated": False})
    for port in station.ports:
        tx = port.transaction and ended_by(port.transaction, StoppedReason.REMOTE, Trigger.REMOTE_STOP, now)
        grant = None if port.grant and port.grant.rule == TEST_RULE else port.grant
        station = with_port(station, replace(port, grant=grant, transaction=tx))
    owner = replace(station.owner, is_transferred=not is_reset, is_reset=is_reset, leaving=leaving)
    asked = [ask for ask in station.asks if ask.stage is not Stage.LATE]
    station = replace(station, owner=owner, asks=(), chosen=None)
    why = life.refusal(station) or Reason.STATION_NOT_ACTIVATED
    for ask in asked:
        station = noticed(station, ask.evse_id or 0, why, now, ask.id_token, rule="station")
    return station


def delivered(station: Station) -> Station:
    """Whatever there was to be told. Of a session that is still ending there is more to come."""
    leaving = station.owner.leaving
    if leaving is None or leaving.is_delivered or any(port.transaction for port in station.ports):
        return station
    told = structs.replace(leaving, is_delivered=True)
    return replace(station, owner=replace(station.owner, leaving=told))


def followed(before: Station, station: Station, now: float) -> Step:
    """Wiped, as soon as it may be. The step in which a session ends has its record to write, and is too early."""
    leaving, told = station.owner.leaving, resets(before, station, now)
    if leaving is None or any(port.transaction for each in (before, station) for port in each.ports):
        return station, told
    if not leaving.is_delivered and now < deadline(station):
        return station, told
    return wiped(station), (*told, Wipe())


def resets(before: Station, station: Station, now: float) -> tuple[Effect, ...]:
    """OCPP's security event of an order that has just come: whoever reads the log shall know who was it."""
    leaving = station.owner.leaving
    if leaving is None or not leaving.is_reset or not leaving.by or leaving is before.owner.leaving:
        return ()
    return (security_event(station, RESET, f"factory state, by {leaving.by}", now),)


def deadline(station: Station) -> float:
    """Monotonic: it has waited enough for what it owes. While a session is ending, its port has the deadline."""
    leaving = station.owner.leaving
    if leaving is None or any(port.transaction for port in station.ports):
        return inf
    return leaving.ordered_s + leaving.wait_s - earliest(station.clock, 0.0)


def wiped(station: Station) -> Station:
    """Nothing of the owner is left. What was installed stays; plan tokens too: they are the station's, and an old one
    must not count again."""
    said, leaving = station.owner, station.owner.leaving
    assert leaving
    kept = {key: value for key, value in station.cloud.items() if key in SITE or SETTINGS[key].lowers_only}
    station = with_cloud(station, {**kept, **BLANK})
    owner = Owner(
        tokens=said.tokens, standing=said.standing, warned_d=said.warned_d, due=said.due,
        is_transferred=said.is_transferred, is_reset=said.is_reset, offline_since=said.offline_since,
    )  # fmt: skip
    ports = tuple(replace(port, finished=None, grant=None) for port in station.ports)
    refused = tuple(notice for notice in station.notices if notice.reason)  # somebody stands there and reads it
    station = replace(station, owner=owner, ports=ports, notices=refused, list_word=ListWord())
    return uninstalled(station) if leaving.is_reset else station


def uninstalled(station: Station) -> Station:
    """The wizard begins anew; what an electrician has confirmed holds on."""
    was = station.wizard
    kept = {key: value for key, value in was.settings.items() if key in ELECTRICAL}
    new = Wizard(settings=kept, set_at_s=was.set_at_s, breaker_ma=was.breaker_ma)
    return layer.with_layer(replace(station, wizard=new), kept)


def with_cloud(station: Station, said: dict[str, Any]) -> Station:
    cloud, settings = variables.with_cloud(station.ceiling or station.settings, said)
    return replace(station, cloud=cloud, settings=settings)
