"""Four keys at the lower edge of the display, by touch or as buttons: what each does on each page. Pure.

The table is the map. A page that nobody presses on for LEAVE_S goes back to the start by itself.
"""

from dataclasses import replace

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
from agent.panel import LEAVE_S, SERVICE_S, WAKE_S, WARN_S, Action, Page, Panel
from agent.station import Station
from agent.ui.words import LANGUAGES
from agent.wizard import flow

HELP_PARTS = 4  # agent/ui/pages.py

KEYS: dict[Page, tuple[Action, Action, Action, Action]] = {
    Page.HOME: (Action.HELP, Action.LANGUAGE, Action.LARGE, Action.PORTS),
    Page.PORT: (Action.BACK, Action.LANGUAGE, Action.LARGE, Action.NEXT),
    Page.HELP: (Action.BACK, Action.LANGUAGE, Action.ABOUT, Action.NEXT),
    Page.ABOUT: (Action.BACK, Action.LANGUAGE, Action.NEXT, Action.SERVICE),
    Page.SERVICE: (Action.BACK, Action.UP, Action.DOWN, Action.DO),
    Page.WIZARD: (Action.BACK, Action.DOWN, Action.CHANGE, Action.CONTINUE),  # while it is read: agent/wizard/flow.py
}


def page(station: Station) -> Page:
    """What somebody has chosen; else what the station has to show."""
    return station.panel.page or (Page.WIZARD if flow.is_wanted(station) else Page.HOME)


def keys(station: Station, now: float) -> tuple[Action, ...]:
    """What the four keys do now."""
    if page(station) is Page.WIZARD:
        return flow.keys(station, now)
    return tuple(action if works(station, action, now) else Action.NONE for action in KEYS[page(station)])


def works(station: Station, action: Action, now: float) -> bool:
    if action is Action.NEXT and page(station) is Page.ABOUT:
        return station.panel.screenfuls > 1
    return action is not Action.SERVICE or is_service(station, now)


def is_service(station: Station, now: float) -> bool:
    return now < station.panel.service_until


def language(station: Station) -> str:
    return station.panel.language or station.settings.language


# -- what happens -----------------------------------------------------------------------------------------------------


def pressed(station: Station, event: KeyPressed, now: float) -> Station:
    """A press on a dark display only wakes it; one that was meant for another picture does nothing."""
    was, station = station, touched(station, now)
    if not was.panel.lit or now < was.panel.woken_at + WAKE_S:
        return station
    offered = keys(was, now)
    action = offered[event.key - 1] if 1 <= event.key <= len(offered) else Action.NONE
    if event.action not in ("", action):
        return station
    if page(was) is Page.WIZARD:
        return flow.done(station, action, now)
    return replace(station, panel=done(station, action))


TURNING = {Action.NEXT, Action.CONTINUE}  # these first turn what is left of a page that is longer than the display


def done(station: Station, action: Action) -> Panel:
    panel = station.panel
    if action in TURNING and panel.turned + 1 < panel.screenfuls:
        return replace(panel, turned=panel.turned + 1)
    after = led_to(station, action)
    if place(after) != place(panel):
        return replace(after, turned=0, screenfuls=1)
    return replace(after, turned=0) if action in TURNING else after


def place(panel: Panel) -> tuple[object, ...]:
    """What is on the display; another place has other screenfuls."""
    return panel.page, panel.at, panel.language, panel.large


def led_to(station: Station, action: Action) -> Panel:
    panel, here = station.panel, page(station)
    match action:
        case Action.HELP:
            return replace(panel, page=Page.HELP, at=0)
        case Action.ABOUT:
            return replace(panel, page=Page.ABOUT, at=0)
        case Action.SERVICE:
            return replace(panel, page=Page.SERVICE, at=0)
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


def chosen(station: Station, event: PortChosen, now: float) -> Station:
    """Somebody pressed a port: its button, or its half of the screen."""
    station = touched(station, now)
    is_there = 1 <= event.evse_id <= len(station.ports)
    if is_there and page(station) in (Page.HOME, Page.PORT) and len(station.ports) > 1:
        panel = replace(station.panel, page=Page.PORT, at=event.evse_id, turned=0, screenfuls=1)
        return replace(station, panel=panel)
    return station


def touched(station: Station, now: float) -> Station:
    panel = station.panel
    woken_at = panel.woken_at if panel.lit else now
    return replace(station, panel=replace(panel, touched_at=now, lit=True, woken_at=woken_at))


def entered(station: Station, event: FieldEntered, now: float) -> Station:
    """Typing is a sign of life; the wizard's page alone has fields."""
    return flow.entered(touched(station, now), event, now)


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
        case PanelTold(drawn=drawn, video=video, problem=problem):
            was = station.panel
            video_at = now if video or was.video else was.video_at
            return replace(station, panel=replace(was, drawn=drawn, video=video, video_at=video_at, problem=problem))
        case ServiceOpened():
            panel = replace(touched(station, now).panel, page=Page.SERVICE, at=0, service_until=now + SERVICE_S)
            return replace(station, panel=panel)


# -- time -------------------------------------------------------------------------------------------------------------


def left(station: Station, now: float) -> Station:
    """Nobody has pressed for a while; or the service's time is over."""
    station = flow.settled(station, now)
    panel = station.panel
    if panel.page is Page.SERVICE and not is_service(station, now):
        return replace(station, panel=replace(panel, page=None, at=0, turned=0, screenfuls=1))
    if is_away(panel) and now >= panel.touched_at + LEAVE_S:
        start = replace(panel, page=None, at=0, turned=0, screenfuls=1, language="", large=False)
        return replace(station, panel=start)
    return station


def is_away(panel: Panel) -> bool:
    """Not at the start as everybody finds it. The wizard waits for its installer as long as it takes."""
    return panel.page is not Page.WIZARD and bool(panel.page or panel.language or panel.large)


def leaving_s(station: Station, now: float) -> int:
    """This page goes back by itself so soon that it is said; else 0."""
    panel = station.panel
    left_s = panel.touched_at + LEAVE_S - now
    return max(1, int(left_s)) if is_away(panel) and 0 < left_s <= WARN_S else 0


def deadline(station: Station) -> float:
    panel = station.panel
    leave_at = panel.touched_at + LEAVE_S if is_away(panel) else float("inf")
    leave_at = min(leave_at, flow.deadline(station))
    return min(leave_at, panel.service_until) if panel.page is Page.SERVICE else leave_at
