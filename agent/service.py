"""The service menu, for whoever has proven to be at the inside of the station; and the installer's phone that it lets
in. Pure. `ITEMS` is the menu; its page is agent/ui/servicepage.py.

Open for SERVICE_S after each physical act: a key inside that is held, or the opening of the enclosure. What counts is
the act, not that the lid is still open, so a lid left open does not keep it open; a restart of the agent closes it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf

from agent import farewell
from agent.commands.charging import cleared
from agent.commands.station import resetting
from agent.effects import Count, Effect
from agent.events import PhoneTold
from agent.panel import ENTER_S, SERVICE_S, Action, DoorProblem, Page, Panel, Part
from agent.reporting import LOGGED_IN, LOGIN_FAILED, problem_record, security_event
from agent.station import ResetType, Station
from agent.taps import port_of
from agent.ui.led import PATTERNS, Light
from agent.wizard import flow
from agent.wizard.facts import Step

FIELD = "service"  # the menu as a field: touch chooses an item by its name
TEST_LIGHT_S = 3.0  # each
TEST_LIGHTS = tuple(PATTERNS)
FACTS = 3  # pages of them
REPORTED_S = 60.0  # a problem that is reported is the same problem for so long

KEYS: dict[Part, tuple[Action, Action, Action, Action]] = {
    Part.MENU: (Action.BACK, Action.UP, Action.DOWN, Action.DO),  # NEXT, below: of a page longer than the display
    Part.PHONE: (Action.BACK, Action.NONE, Action.NEXT, Action.END),
    Part.LIGHTS: (Action.BACK, Action.NONE, Action.NEXT, Action.NONE),
    Part.FACTS: (Action.BACK, Action.UP, Action.DOWN, Action.NEXT),
    Part.RESTART: (Action.BACK, Action.NONE, Action.NEXT, Action.DO),
    Part.FACTORY: (Action.BACK, Action.NONE, Action.NEXT, Action.DO),
}


# -- the menu ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    label: str  # {n}: of a port
    do: Callable[[Station, int, float], Station]


def wizard(station: Station, evse_id: int, now: float) -> Station:
    return flow.enter(station, now)


def offered(station: Station, now: float) -> Station:
    """From the wizard's last page (agent/navigation.py, is_phone_offered)."""
    return with_panel(let_in(station, now), page=Page.PHONE, at=0, part=Part.MENU)


def phone_let_in(station: Station, evse_id: int, now: float) -> Station:
    """The door opens anew, with new secrets: who was in is out."""
    return with_panel(let_in(station, now), part=Part.PHONE)


def faults_cleared(station: Station, evse_id: int, now: float) -> Station:
    """The port's latched faults are judged once more by its self-test."""
    port = port_of(station, evse_id)
    return cleared(station, port) if port else station


def lights_tested(station: Station, evse_id: int, now: float) -> Station:
    return with_panel(station, part=Part.LIGHTS, lights_at=now)


def facts_shown(station: Station, evse_id: int, now: float) -> Station:
    return with_panel(station, part=Part.FACTS, at=0)


def problem_reported(station: Station, evse_id: int, now: float) -> Station:
    """The operator's cloud hears of it, and orders the report (GetLog): it knows where to. Once a minute at most."""
    if now < station.problem_at + REPORTED_S:
        return station
    return replace(station, problems=station.problems + 1, problem_at=now)


def restart_asked(station: Station, evse_id: int, now: float) -> Station:
    return with_panel(station, part=Part.RESTART)


def factory_asked(station: Station, evse_id: int, now: float) -> Station:
    return with_panel(station, part=Part.FACTORY)


def closed(station: Station, evse_id: int = 0, now: float = 0.0) -> Station:
    """And whoever is in by phone is out."""
    page = None if station.panel.page in (Page.SERVICE, Page.PHONE) else station.panel.page
    return with_panel(station, page=page, at=0, part=Part.MENU, service_until=-inf, phone_until=-inf)


ITEMS: dict[str, Item] = {
    "wizard": Item("Run the installation again", wizard),
    "phone": Item("Let a phone in", phone_let_in),
    "clear": Item("Clear the faults of port {n}", faults_cleared),
    "lights": Item("Test the lights", lights_tested),
    "facts": Item("Network, list, records", facts_shown),
    "report": Item("Report a problem", problem_reported),
    "restart": Item("Restart the station", restart_asked),
    "factory": Item("Reset to factory state", factory_asked),
    "close": Item("Close the service menu", closed),
}


def menu(station: Station) -> tuple[str, ...]:
    """Names, always the same at one station: between look and press nothing moves. With a port: "clear 2"."""
    ports = [port.evse_id for port in station.ports]
    return tuple(each for name in ITEMS for each in ([f"clear {n}" for n in ports] if name == "clear" else [name]))


def item(name: str) -> tuple[Item, int]:
    """And the port that it is for, or 0."""
    name, _, port = name.partition(" ")
    return ITEMS[name], int(port or 0)


def at_cursor(station: Station) -> str:
    names = menu(station)
    return names[station.panel.at % len(names)]


# -- what happens -----------------------------------------------------------------------------------------------------


def is_open(station: Station, now: float) -> bool:
    return now < station.panel.service_until


def opened(station: Station, how: str, now: float) -> Station:
    """By the menu's key inside. `how` is for the record."""
    return with_panel(station, service_until=now + SERVICE_S, service_how=how)


def uncovered(station: Station, contact: str, now: float) -> Station:
    """Somebody has opened the enclosure. The menu comes up by itself, but not over the wizard, whose reader has his
    hands in there."""
    station = opened(station, f"the contact {contact}", now)
    return station if flow.is_shown(station) else shown(station)


def commissioned(before: Station, after: Station) -> Station:
    """The station has been handed over: the service is over."""
    was, mark = (station.wizard.done.get(Step.HAND_OVER) for station in (before, after))
    return closed(after) if mark is not None and mark is not was else after


def shown(station: Station) -> Station:
    return with_panel(station, page=Page.SERVICE, at=0, part=Part.MENU)


def pressed(station: Station, action: Action, now: float) -> Station:
    """On Page.SERVICE. `station` has been touched."""
    panel = station.panel
    if not is_open(station, now):
        return station
    match panel.part, action:
        case Part.MENU, Action.BACK:
            return with_panel(station, page=None, at=0)
        case Part(), Action.BACK:
            return back(station)
        case (Part.MENU | Part.FACTS) as part, (Action.UP | Action.DOWN):
            rows = len(menu(station)) if part is Part.MENU else FACTS
            return with_panel(station, at=(panel.at + (1 if action is Action.DOWN else -1)) % rows)
        case Part.MENU, Action.DO:
            return done(station, at_cursor(station), now)
        case Part.RESTART, Action.DO if panel.is_read(now):
            return resetting(back(station), ResetType.RESUME, now, "the service menu")
        case Part.FACTORY, Action.DO if panel.is_read(now) and not any(port.transaction for port in station.ports):
            return farewell.ordered(closed(station), 0, now, is_reset=True, by="the service menu")
    return station


def chosen(station: Station, name: str, now: float) -> Station:
    """By touch."""
    panel, names = station.panel, menu(station)
    if panel.page is not Page.SERVICE or panel.part is not Part.MENU or not is_open(station, now) or name not in names:
        return station
    return done(with_panel(station, at=names.index(name)), name, now)


def done(station: Station, name: str, now: float) -> Station:
    what, evse_id = item(name)
    return what.do(station, evse_id, now)


def back(station: Station) -> Station:
    """To the menu, where it was left."""
    names = menu(station)
    at = names.index(station.panel.part) if station.panel.part in names else 0
    return with_panel(station, part=Part.MENU, at=at, lights_at=-inf)


def left(station: Station, now: float) -> Station:
    """What is over by itself."""
    panel = station.panel
    if -inf < panel.phone_until <= now:
        waited = is_phone_page(panel) and not is_phone_in(station)
        station = phone_ended(with_panel(station, touched_at=now) if waited else station)
    if not is_open(station, now) and not flow.is_wanted(station):
        station = phone_ended(station) if is_let_in(panel) else station
        station = with_panel(station, page=None, at=0) if panel.page is Page.PHONE else station
    if panel.page is Page.SERVICE and not is_open(station, now):
        return with_panel(station, page=None, at=0, part=Part.MENU, lights_at=-inf)
    if -inf < lights_until(panel) <= now:
        seen = back(with_panel(station, touched_at=now)) if panel.part is Part.LIGHTS else station
        return with_panel(seen, lights_at=-inf)
    return station


def stays(station: Station) -> bool:
    """This part of the page waits for something, not for a press."""
    panel = station.panel
    awaits_phone = is_phone_page(panel) and is_let_in(panel) and not is_phone_in(station)
    return awaits_phone or (panel.page is Page.SERVICE and panel.part is Part.LIGHTS)


def is_phone_page(panel: Panel) -> bool:
    return panel.page is Page.PHONE or (panel.page is Page.SERVICE and panel.part is Part.PHONE)


def is_let_in(panel: Panel) -> bool:
    return panel.phone_until > -inf


def deadlines(station: Station) -> Iterator[float]:
    panel = station.panel
    if panel.page is Page.SERVICE:
        yield panel.service_until
    if is_let_in(panel):
        yield panel.phone_until
    if panel.lights_at > -inf:
        yield lights_until(panel)


def effects(before: Station, after: Station, now: float) -> Iterator[Effect]:
    """Whoever gets in, and who does not: the operator hears of it. What waits is counted for who looks."""
    if after.panel.part is Part.FACTS and after.panel is not before.panel:
        yield Count()
    if after.panel.service_until > before.panel.service_until:
        yield security_event(after, LOGGED_IN, f"service menu, opened by {after.panel.service_how}", now)
    if after.problems > before.problems:
        yield problem_record(after, now)
    was, told = before.phone, after.phone
    if told is None or told is was:
        return
    if told.guest and told.guest != (was and was.guest):
        yield security_event(after, LOGGED_IN, f"installer's phone, {told.guest}", now)
    if told.problem is DoorProblem.GUESSED and told.at == before.panel.phone_at and is_let_in(before.panel):
        yield security_event(after, LOGIN_FAILED, "installer's phone: too many wrong codes", now)


# -- the lights -------------------------------------------------------------------------------------------------------


def lights_until(panel: Panel) -> float:
    return panel.lights_at + TEST_LIGHT_S * len(TEST_LIGHTS)


def test_light(station: Station, now: float) -> Light | None:
    """What every port shows now, one after the other; None: there is no test."""
    step = (now - station.panel.lights_at) // TEST_LIGHT_S
    return TEST_LIGHTS[int(step)] if 0 <= step < len(TEST_LIGHTS) else None


# -- the installer's phone --------------------------------------------------------------------------------------------


def let_in(station: Station, now: float) -> Station:
    """For as long as it takes somebody who stands here to come in."""
    station = with_panel(station, phone_at=now)
    return with_panel(station, phone_until=min(now + ENTER_S, longest(station, now)))


def longest(station: Station, now: float) -> float:
    """Until the service's end, or half an hour after the press that has let it in."""
    return station.panel.service_until if is_open(station, now) else station.panel.phone_at + SERVICE_S


def phone_ended(station: Station) -> Station:
    panel = station.panel
    part = Part.MENU if panel.part is Part.PHONE else panel.part
    return with_panel(station, page=None if panel.page is Page.PHONE else panel.page, part=part, phone_until=-inf)


def phone_told(station: Station, told: PhoneTold, now: float) -> Station:
    """Of an opening that is over nobody wants to know."""
    panel, was = station.panel, station.phone
    station = replace(station, phone=told)
    if told.at != panel.phone_at or not is_let_in(panel):
        return station
    if told.problem:
        return with_panel(station, phone_until=-inf)
    if told.guest and not (was and was.at == told.at and was.guest):
        return with_panel(station, phone_until=longest(station, now))
    return station


def phone(station: Station) -> PhoneTold | None:
    """The door of this opening, when it stands open."""
    told, panel = station.phone, station.panel
    return told if told and is_let_in(panel) and told.at == panel.phone_at else None


def is_phone_in(station: Station) -> bool:
    door = phone(station)
    return bool(door and door.guest)


def with_panel(station: Station, **changes: object) -> Station:
    return replace(station, panel=replace(station.panel, **changes))  # type: ignore[arg-type]  # fields of Panel
