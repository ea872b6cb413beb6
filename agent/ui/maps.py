"""The map of the pinpoint as a block of a page: where, how exact, in words. Pure; static/map.mjs draws it."""

from agent.ui.model import Map
from agent.ui.words import Say
from agent.wizard.coordinates import Point
from agent.wizard.places import Place

STEP_M = 1.0
IN_TOWN_KM = 2.0
STREETS = "/site.pmtiles"  # where the panel serves the site extract (agent/ui/site.py)


def station_map(point: Point | None, place: Place | None, say: Say, streets: str = "", step_m: float = STEP_M) -> Map:
    """`streets`: the address of the site extract, "" without one."""
    text = say("The place is not known yet.") if point is None else said(point, place, say)
    if point is None:
        return Map(None, None, None, text, streets, step_m, words(say))
    return Map(point.latitude, point.longitude, point.accuracy_m, text, streets, step_m, words(say))


def said(point: Point, place: Place | None, say: Say) -> str:
    """52.520008, 13.404954 ± 5 m: 3 km from Berlin, Germany."""
    where = point_text(point, say)
    if place is None:
        return where
    facts = {"point": where, "town": place.town, "country": place.country}
    if place.town and place.town_km < IN_TOWN_KM:
        return say("{point}: in {town}, {country}.", **facts)
    if place.town:
        km = say.number(place.town_km, int(place.town_km < 10))
        return say("{point}: {km} km from {town}, {country}.", km=km, **facts)
    return say("{point}: in {country}.", **facts) if place.country else say("{point}: in the sea.", **facts)


def point_text(point: Point, say: Say) -> str:
    where = say("{latitude}, {longitude}", latitude=f"{point.latitude:.6f}", longitude=f"{point.longitude:.6f}")
    if point.accuracy_m is None:
        return where
    return say("{point} ± {accuracy}", point=where, accuracy=length(point.accuracy_m, say))


def length(metres: float, say: Say) -> str:
    return say("{n} km", n=say.number(metres / 1000)) if metres >= 1000 else say("{n} m", n=say.number(metres))


def words(say: Say) -> dict[str, str]:
    """What static/map.mjs names its parts, for who hears the page."""
    return {
        "map": say("Map: press to place the station, or drag the mark"),
        "move": say("Move the map and the mark"),
        "closer": say("Closer"),
        "farther": say("Farther"),
        "here": say("Show the mark"),
        "n": say("North"),
        "s": say("South"),
        "e": say("East"),
        "w": say("West"),
        "no_streets": say("No streets: this station's kit brought none. The lines are coasts and borders."),
    }
