"""Reads what is known of places without a network, when a point is asked about, and lets it go again: a megabyte of
files for some milliseconds, rather than for ever.
"""

from dataclasses import replace
from pathlib import Path

from agent.wizard.coordinates import Point
from agent.wizard.facts import Place
from agent.wizard.places import Atlas

HERE = Path(__file__).parent
OUTLINE = HERE / "ui" / "static" / "outline.bin"
TOWNS = HERE / "wizard" / "towns.bin"


def opened() -> Atlas:
    """Raises OSError if the files are not there. Do not keep it."""
    return Atlas(OUTLINE.read_bytes(), TOWNS.read_bytes())


def place_of(latitude: float, longitude: float, zone: str = "") -> Place | None:
    """What is at a point, and what speaks against it (agent/wizard/places.py), if the station is set to this zone.
    Takes some hundred milliseconds on a small processor: not for the agent's loop. None where the image lacks the
    files: then nobody knows, which stops nobody."""
    try:
        atlas = opened()
    except OSError:
        return None
    point = Point(latitude, longitude)
    return replace(atlas.place(point), warnings=atlas.warnings(point, zone))
