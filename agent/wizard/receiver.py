"""A GNSS receiver's fixes while somebody installs, and their mean, which he may take as the pinpoint. Pure.

Whose receiver it is does not matter: one of its own, or a modem's. Both say FixTold and FixLost.
"""

from dataclasses import replace

from agent.events import FixLost, FixTold
from agent.station import Station
from agent.wizard.coordinates import Point, averaged
from agent.wizard.facts import Sentence

FIXES_MIN = 10  # a mean of fewer may be one bad fix, or the first of a cold start
FIXES_KEPT = 60  # a minute's; those of a cold start are forgotten by then
GAP_S = 600.0  # a receiver that was silent for longer may have been carried elsewhere


def heard(station: Station, event: FixTold | FixLost, now: float) -> Station:
    wizard = station.wizard
    if isinstance(event, FixLost):
        return replace(station, wizard=replace(wizard, is_fixed=False))
    fixes = (*known(station, now), Point(event.latitude, event.longitude, event.accuracy_m))[-FIXES_KEPT:]
    wizard = replace(wizard, fixes=fixes, fixed_at=now, fix_s=event.wall_s, is_fixed=True)
    return replace(station, wizard=wizard)


def known(station: Station, now: float) -> tuple[Point, ...]:
    """The fixes that still count."""
    return station.wizard.fixes if now <= station.wizard.fixed_at + GAP_S else ()


def mean(station: Station, now: float) -> Point | Sentence:
    """Of the last fixes, or why there is none."""
    fixes = known(station, now)
    point = averaged(fixes)
    if point is None:
        return Sentence("The receiver has no fix yet: it needs a view of the sky. Or type the coordinates.")
    if len(fixes) < FIXES_MIN:
        facts = {"n": len(fixes), "least": FIXES_MIN}
        return Sentence("The receiver has told {n} fixes: wait until there are {least}.", facts)
    return point
