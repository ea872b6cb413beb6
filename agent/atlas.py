"""Reads what is known of places without a network, when a point is asked about, and lets it go again: a megabyte of
files for some milliseconds, rather than for ever.
"""

from pathlib import Path

from agent.wizard.coordinates import Point
from agent.wizard.places import Atlas, Place
from agent.wizard.sentence import Sentence

HERE = Path(__file__).parent
OUTLINE = HERE / "ui" / "static" / "outline.bin"
TOWNS = HERE / "wizard" / "towns.bin"


def opened() -> Atlas:
    """Raises OSError if the files are not there. Do not keep it."""
    return Atlas(OUTLINE.read_bytes(), TOWNS.read_bytes())


def look(
    point: Point, zone: str = "", sister: Point | None = None, address: Point | None = None
) -> tuple[Place, tuple[Sentence, ...]]:
    """What is at a point, and what speaks against it (agent/wizard/places.py). Takes tens of milliseconds on a small
    processor: not for the agent's loop. An image without the files knows no places, which stops nobody."""
    try:
        atlas = opened()
    except OSError:
        return Place(), ()
    return atlas.place(point), atlas.warnings(point, zone, sister, address)
