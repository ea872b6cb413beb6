"""What a port's light can say, as data. A rhythm tells the lights apart without colour; colour only helps.

Rhythms are spelled as dots (0.2 s) and dashes (0.8 s), 0.3 s apart, then 1.2 s of dark, where words must be told
apart; the few lights that last long are calmer. No light flashes more than three times a second (WCAG 2.3.1). Each fits
into the controller's six steps of up to 3.1 s (`board/controller/contract.py`): so three dots and dashes at most.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate


class Light(StrEnum):
    """Every light there is; the values of `agent.policy.reasons.Led` are among them."""

    REFUSED = "refused"
    ASK = "ask"  # something is left for the driver to do
    COULD_NOT_ASK = "could not ask"
    OUT_OF_SERVICE = "out of service"
    AVAILABLE = "available"
    PLUGGED = "plugged"
    AUTHORISING = "authorising"
    CHARGING = "charging"
    SUSPENDED = "suspended"
    ENDED = "ended"
    HELD = "held"  # after a power cut
    FAULT = "fault"  # somebody has to mend it
    FAULT_UNPLUG = "fault unplug"  # the driver ends it
    FAULT_WAITS = "fault waits"  # goes on by itself
    EMERGENCY_STOP = "emergency stop"
    STARTING = "starting"
    RESERVED = "reserved"
    UPDATING = "updating"
    NOT_ACTIVATED = "not activated"
    UNREACHABLE = "unreachable"  # available, and nobody can be asked


class Colour(StrEnum):
    GREEN, BLUE, YELLOW, RED, WHITE = "green", "blue", "yellow", "red", "white"


@dataclass(frozen=True, slots=True)
class Pattern:
    colour: Colour
    rhythm_s: tuple[float, ...]  # on, off, on, off … from the start again; () = on all the time


STEADY: tuple[float, ...] = ()


def coded(signs: str) -> tuple[float, ...]:
    """A rhythm of dots and dashes."""
    on_off = [step for sign in signs for step in ({".": 0.2, "-": 0.8}[sign], 0.3)]
    return (*on_off[:-1], 1.2)


PATTERNS: dict[Light, Pattern] = {
    Light.AVAILABLE: Pattern(Colour.GREEN, (3.0, 0.3)),
    Light.PLUGGED: Pattern(Colour.BLUE, coded(".")),
    Light.AUTHORISING: Pattern(Colour.BLUE, (0.2, 0.2)),
    Light.CHARGING: Pattern(Colour.BLUE, (2.0, 2.0)),
    Light.SUSPENDED: Pattern(Colour.BLUE, coded("-.")),
    Light.ENDED: Pattern(Colour.GREEN, coded("--")),
    Light.HELD: Pattern(Colour.YELLOW, coded("..-")),
    Light.STARTING: Pattern(Colour.WHITE, coded("-")),
    Light.RESERVED: Pattern(Colour.YELLOW, coded("---")),
    Light.ASK: Pattern(Colour.YELLOW, coded("..")),
    Light.REFUSED: Pattern(Colour.RED, coded("...")),
    Light.COULD_NOT_ASK: Pattern(Colour.YELLOW, coded("-..")),
    Light.OUT_OF_SERVICE: Pattern(Colour.RED, coded("--.")),
    Light.UPDATING: Pattern(Colour.WHITE, coded("-.-")),
    Light.NOT_ACTIVATED: Pattern(Colour.WHITE, coded(".--")),
    Light.UNREACHABLE: Pattern(Colour.GREEN, (2.4, 0.3, 0.3, 0.3)),  # as available, and winks twice
    Light.FAULT_WAITS: Pattern(Colour.RED, (0.5, 0.5)),  # blinking red is what the field knows for "is tried again"
    Light.FAULT_UNPLUG: Pattern(Colour.RED, coded(".-.")),
    Light.EMERGENCY_STOP: Pattern(Colour.RED, (0.8, 0.2)),
    Light.FAULT: Pattern(Colour.RED, STEADY),
}

assert PATTERNS.keys() == set(Light)


ERROR = Pattern(Colour.RED, STEADY)  # a light of its own on some boards: something stands that somebody must mend


def is_lit(pattern: Pattern, now: float) -> bool:
    """Whether the light is on at this instant; all lights of a kind beat together."""
    if not pattern.rhythm_s:
        return True
    at = now % sum(pattern.rhythm_s)
    return next((i % 2 == 0 for i, end in enumerate(accumulate(pattern.rhythm_s)) if at < end), False)
