"""Four keys at the lower edge of the display, by touch or as buttons: what each does on each page. Pure.

The table is the map. A page that nobody presses on for LEAVE_S goes back to the start by itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from agent import service
from agent.events import (
    FieldEntered,
    KeyPressed,
    PageMeasured,
    PanelTold,
    PortChosen,
    ScreenLit,
    ScreenTouched,
    ServiceOpened,
)
from agent.panel import LEAVE_S, WAKE_S, WARN_S, Action, Page, Panel, Part
from agent.station import Station
from agent.ui.situation import is_idle
from agent.ui.words import LANGUAGES
from agent.wizard import flow, steps
from agent.wizard.facts import Step

HELP_PARTS = 4  # agent/ui/pages.py
TURNED = (Page.ABOUT, Page.SERVICE, Page.PHONE)  # NEXT turns them, where they are longer than the display

KEYS: dict[Page, tuple[Action, Action, Action, Action]] = {
    Page.HOME: (Action.HELP, Action.LANGUAGE, Action.LARGE, Action.PORTS),
    Page.PORT: (Action.BACK, Action.LANGUAGE, Action.LARGE, Action.NEXT),
    Page.HELP: (Action.BACK, Action.LANGUAGE, Action.ABOUT, Action.NEXT),
    Page.ABOUT: (Action.BACK, Action.LANGUAGE, Action.NEXT, Action.SERVICE),
    Page.SERVICE: service.KEYS[Part.MENU],
    Page.WIZARD: (Action.BACK, Action.DOWN, Action.CHANGE, Action.CONTINUE),  # while it is read: agent/wizard/flow.py
    Page.PHONE: service.KEYS[Part.PHONE],
}


def page(station: Station) -> Page:
    """What somebody has chosen; else what the station has to show."""
    return station.panel.page or (Page.WIZARD if flow.is_wanted(station) else Page.HOME)


def keys(station: Station, now: float) -> tuple[Action, ...]:
    """What the four keys do now."""
    here = page(station)
    if here is Page.WIZARD:
        return filled(station, flow.keys(station, now), now)
    row = service.KEYS[station.panel.part] if here is Page.SERVICE else KEYS[here]
    return tuple(in_force(station, action, now) for action in row)


def filled(station: Station, row: flow.Keys, now: float) -> tuple[Action, ...]:
    """Of the wizard's keys those that have nothing to do on this page do what is worth a key here."""
    others = iter(worth_a_key(station, now))
    return tuple(next(others, action) if action is Action.NONE and key in (2, 3) else action
                 for key, action in enumerate(row, 1))


def worth_a_key(station: Station, now: float) -> Iterator[Action]:
    """What is urgent first."""
    if flow.lingers(station, now):
        return
    if station.wizard.step is Step.CHARGE and flow.is_testing(station):
        yield Action.STOP
    if service.is_phone_in(station):
        yield Action.END
    elif is_phone_offered(station, now):
        yield Action.PHONE
    if not station.wizard.confirms and station.wizard.step not in LEAVES:
        yield Action.LEAVE


LEAVES = (Step.LANGUAGE, Step.READINESS)  # their own keys do: Back, Show


def is_phone_offered(station: Station, now: float) -> bool:
    """On the wizard's last page, when nothing is missing any more, until the station is handed over or activated: a
    phone may do what is open. Whoever presses the key stands at the display, where he could do all of it himself."""
    is_last = station.wizard.step is Step.HAND_OVER and flow.is_wanted(station)
    return is_last and station.phone is not None and not steps.closed_by(station, now)


def in_force(station: Station, action: Action, now: float) -> Action:
    """While a phone is in, whoever stands at the display can end its visit; ports are large another time."""
    if action is Action.SERVICE and not service.is_open(station, now):
        return Action.NONE
    if action is Action.NEXT and page(station) in TURNED and station.panel.screenfuls <= 1:
        return Action.NONE
    if action is Action.PORTS and service.is_phone_in(station):
        return Action.END
    if action is Action.PORTS and is_idle(station, now) and seen(station, now) < station.panel.screenfuls:
        return Action.NEXT
    return Action.NONE if action is Action.END and not service.phone(station) else action


def is_left_alone(station: Station, now: float) -> bool:
    """The start page turns by itself; whoever presses or touches holds it (WCAG 2.2.2)."""
    return page(station) is Page.HOME and now >= station.panel.touched_at + LEAVE_S


def seen(station: Station, now: float) -> int:
    """How many screenfuls of the start page somebody has turned to."""
    return 1 if is_left_alone(station, now) else station.panel.turned + 1


def language(station: Station) -> str:
    return station.panel.language or station.settings.language


# -- what happens -----------------------------------------------------------------------------------------------------


def pressed(station: Station, event: KeyPressed, now: float) -> Station:
    """A press on a dark display only wakes it; one that was meant for another picture does nothing."""
    was, station = station, touched(station, now)
    if is_waking(was, now):
        return station
    offered = keys(was, now)
    action = offered[event.key - 1] if 1 <= event.key <= len(offered) else Action.NONE
    if event.action not in ("", action):
        return station
    if action not in RESTATES:
        station = replace(station, notices=())
    if action is Action.END:
        return service.phone_ended(station)
    if page(was) is Page.SERVICE and action is not Action.NEXT:
        after = service.pressed(station, action, now)
        return after if place(after.panel) == place(was.panel) else unturned(after)
    if turns(station, action):
        return replace(station, panel=replace(station.panel, turned=station.panel.turned + 1))
    if page(was) is Page.WIZARD and action is Action.PHONE:
        return unturned(service.offered(station, now))
    if page(was) is Page.WIZARD:
        return flow.done(station, action, now)
    return replace(station, panel=done(station, action))


def is_waking(station: Station, now: float) -> bool:
    """What is pressed now only wakes the display: nobody could read what it would do."""
    return not station.panel.lit or now < station.panel.woken_at + WAKE_S


RESTATES = {Action.NONE, Action.LANGUAGE, Action.LARGE}  # what was said to who has tapped is there to be read again
TURNING = {Action.NEXT, Action.CONTINUE, Action.SKIP}


def turns(station: Station, action: Action) -> bool:
    """What leads on first shows what is left of a page that is longer than the display: nobody confirms unseen."""
    panel, asks = station.panel, station.wizard.confirms and page(station) is Page.WIZARD
    leads_on = action is Action.SAVE if asks else action in TURNING
    return leads_on and panel.turned + 1 < panel.screenfuls


def unturned(station: Station) -> Station:
    """Another page is seen from its beginning."""
    return replace(station, panel=replace(station.panel, turned=0, screenfuls=1))


def done(station: Station, action: Action) -> Panel:
    panel = station.panel
    after = led_to(station, action)
    if place(after) != place(panel):
        return replace(after, turned=0, screenfuls=1)
    return replace(after, turned=0) if action in TURNING else after


def place(panel: Panel) -> tuple[object, ...]:
    """What is on the display; another place has other screenfuls."""
    return panel.page, panel.part, panel.at, panel.language, panel.large


def led_to(station: Station, action: Action) -> Panel:
    panel, here = station.panel, page(station)
    match action:
        case Action.HELP:
            return replace(panel, page=Page.HELP, at=0)
        case Action.ABOUT:
            return replace(panel, page=Page.ABOUT, at=0)
        case Action.SERVICE:
            return service.shown(station).panel
        case Action.BACK:
            return replace(panel, page=None, at=0)
        case Action.LANGUAGE:
            return replace(panel, language=following(language(station)), spoken="")
        case Action.LARGE:
            return replace(panel, large=not panel.large)
        case Action.PORTS:
            return replace(panel, page=Page.PORT, at=1)
        case Action.NEXT if here is Page.PORT:
            return replace(panel, at=panel.at % len(station.ports) + 1)
        case Action.NEXT if here is Page.HELP:
            return replace(panel, at=(panel.at + 1) % HELP_PARTS)
    return panel


def following(language: str) -> str:
    codes = list(LANGUAGES)
    return codes[(codes.index(language) + 1) % len(codes)]


READ = (Page.HELP, Page.ABOUT)


def tapped(station: Station) -> Station:
    """Who taps a card looks for its answer, whatever somebody has read here before."""
    if page(station) not in READ:
        return station
    return replace(station, panel=replace(station.panel, page=None, at=0, turned=0, screenfuls=1))


def chosen(station: Station, event: PortChosen, now: float) -> Station:
    """Somebody pressed a port: its button, or its half of the screen."""
    was, station = station, touched(station, now)
    is_there = 1 <= event.evse_id <= len(station.ports) and not is_waking(was, now)
    if is_there and page(station) in (Page.HOME, Page.PORT) and len(station.ports) > 1:
        panel = replace(station.panel, page=Page.PORT, at=event.evse_id, turned=0, screenfuls=1)
        return replace(station, panel=panel, notices=())
    return station


def touched(station: Station, now: float) -> Station:
    panel = station.panel
    woken_at = panel.woken_at if panel.lit else now
    turned = 0 if is_left_alone(station, now) else panel.turned
    return replace(station, panel=replace(panel, touched_at=now, lit=True, woken_at=woken_at, turned=turned))


def entered(station: Station, event: FieldEntered, now: float) -> Station:
    """Typing here is a sign of life. A phone's counts for the wizard alone, and only while that phone is let in."""
    if event.by_phone:
        return flow.entered(station, event, now) if service.is_phone_in(station) else station
    station = touched(station, now)
    if event.name == service.FIELD:
        return service.chosen(station, event.value, now)
    return flow.entered(station, event, now)


def told(
    station: Station, event: ScreenTouched | ScreenLit | PageMeasured | PanelTold | ServiceOpened, now: float
) -> Station:
    match event:
        case PageMeasured(screenfuls=screenfuls):
            turned = min(station.panel.turned, screenfuls - 1)
            return replace(station, panel=replace(station.panel, screenfuls=screenfuls, turned=turned))
        case ScreenTouched():
            return touched(station, now)
        case ScreenLit(lit=lit):
            return replace(station, panel=replace(station.panel, lit=lit))
        case PanelTold(drawn=drawn, video=video, problem=problem, steps=steps):
            was = station.panel
            video_at = now if video or was.video else was.video_at
            panel = replace(was, drawn=drawn, video=video, video_at=video_at, problem=problem)
            return replace(station, panel=replace(panel, has_steps=steps or was.has_steps))
        case ServiceOpened(how=how):
            return service.shown(service.opened(touched(station, now), how, now))


# -- time -------------------------------------------------------------------------------------------------------------


def sight(station: Station) -> tuple[object, ...]:
    """What somebody at the display has before him, as far as a key may confirm it."""
    panel, wizard = station.panel, station.wizard
    return (place(panel), panel.turned, panel.screenfuls, panel.lit, wizard.step, wizard.confirms, wizard.draft)


def looked(before: Station, station: Station, now: float) -> Station:
    """Whatever has changed has to be looked at anew before a key confirms it (Panel.is_read)."""
    if sight(before) == sight(station):
        return station
    return replace(station, panel=replace(station.panel, looked_at=now))


def left(station: Station, now: float) -> Station:
    """Nobody has pressed for a while; or the service's time is over."""
    station = service.left(flow.settled(station, now), now)
    panel = station.panel
    if is_away(station) and now >= panel.touched_at + LEAVE_S:
        start = replace(panel, page=None, at=0, part=Part.MENU, turned=0, screenfuls=1, language="", large=False)
        return replace(station, panel=start)
    return station


def is_away(station: Station) -> bool:
    """Not at the start as everybody finds it. The wizard waits for its installer as long as it takes."""
    panel = station.panel
    if panel.page is Page.WIZARD or service.stays(station):
        return False
    return bool(panel.page or panel.language or panel.large)


def leaving_s(station: Station, now: float) -> int:
    """This page goes back by itself so soon that it is said; else 0."""
    panel = station.panel
    left_s = panel.touched_at + LEAVE_S - now
    return max(1, int(left_s)) if is_away(station) and 0 < left_s <= WARN_S else 0


def deadline(station: Station) -> float:
    panel = station.panel
    leave_at = panel.touched_at + LEAVE_S if is_away(station) else inf
    return min(leave_at, flow.deadline(station), *service.deadlines(station))
