"""What the installer has told, and where the wizard stands: facts. What the steps are is in `agent/wizard/steps.py`.

What survives a power cut is exactly `saved(wizard)`: each answer counts from when it was saved, an unfinished one is
asked again. Electrical values wait for their confirmation over a cut, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isfinite
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from agent.clock import WALL_MAX_S
from agent.modem.signal_verdict import Levels
from agent.settings import SETTINGS
from agent.wizard.coordinates import Point, is_place
from agent.wizard.places import Place as Place  # a fact of the wizard, too
from agent.wizard.sentence import Sentence as Sentence

TEXT_MAX = 60  # characters of a name
ELECTRICAL = ("breaker_ma", "circuit_limit_ma", "port_limit_ma", "phases")  # confirmed at the panel, old and new shown
T = TypeVar("T")


class Step(StrEnum):
    """In the order in which they are asked."""

    LANGUAGE = "language"
    INSTALLER = "installer"
    IDENTITY = "identity"
    SELF_TEST = "self-test"
    CIRCUIT = "circuit"
    NETWORK = "network"
    PINPOINT = "pinpoint"
    CLOCK = "clock"
    CHARGE = "test charge"
    READINESS = "readiness"
    HAND_OVER = "hand-over"


STEPS = tuple(Step)


class Method(StrEnum):
    """How the place was found."""

    TYPED = "typed"  # or pasted, or dragged on the map
    NUDGED = "nudged"  # moved by metres from where it was
    SISTER = "sister station"
    GNSS = "GNSS"


@dataclass(frozen=True, slots=True)
class Mark:
    """When the installer went on from a step; `is_open`: although something was missing there."""

    at_s: float | None = None  # wall; None: nobody knew the time
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Pinpoint:
    """Where the station is. Degrees, WGS 84."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    accuracy_m: Annotated[float, Meta(ge=0, le=1e7)] | None
    method: Method
    at_s: Annotated[float, Meta(ge=0, le=WALL_MAX_S)] | None  # wall
    who: Annotated[str, Meta(max_length=2 * TEXT_MAX + 2)]


@dataclass(frozen=True, slots=True)
class Editing:
    """A field whose value the keys change now."""

    name: str
    value: str
    turn: int = 0  # of the wheel of characters, for a text


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the last value of a field was not taken, and what to enter instead."""

    name: str
    why: Sentence


@dataclass(frozen=True, slots=True)
class Draft:
    """Electrical values that somebody has entered and nobody has confirmed at the panel. By key of SETTINGS, and
    `breaker_ma`."""

    values: Mapping[str, int] = field(default_factory=dict)
    by_phone: bool = False


@dataclass(frozen=True, slots=True)
class Raise:
    """Somebody has confirmed at the panel that the circuit is raised from old to new, and the controller does not hold
    it yet: it was away. This is for a controller that holds the old one, and for no other."""

    old_ma: int
    new_ma: int


@dataclass(frozen=True, slots=True)
class Wizard:
    settings: Mapping[str, Any] = field(default_factory=dict)  # Layer.WIZARD
    set_at_s: float | None = None  # wall: when the newest of them was set
    installer: str = ""
    company: str = ""
    breaker_ma: int = 0  # 0: not told
    pinpoint: Pinpoint | None = None
    sister: Point | None = None  # the station beside this one
    charged: bool = False  # a test charge has drawn energy
    done: Mapping[Step, Mark] = field(default_factory=dict)
    step: Step = Step.LANGUAGE
    told: str = ""  # what of the station was last put into the outbox, as a digest
    is_heard: bool = False  # and the cloud has acknowledged that
    draft: Draft | None = None
    owed: Raise | None = None
    # this run's
    cursor: int = 0  # among the fields of the step
    editing: Editing | None = None
    refused: Refused | None = None
    confirms: bool = False  # the panel shows old and new values, and waits for the key
    commissions: int = 0  # how often they were confirmed
    region: str = ""  # of the time zones that are offered
    place: Place | None = None  # at the pinpoint
    doubts: tuple[Sentence, ...] = ()  # what speaks against it
    fixes: tuple[Point, ...] = ()  # of a GNSS receiver, the newest last
    fixed_at: float = -inf  # monotonic: the newest
    fix_s: float | None = None  # wall: the same, as the receiver says
    is_fixed: bool = False  # and it has it still
    signal: Levels | None = None  # what the modem's antenna has heard last, agent/wizard/antenna.py
    signal_at: float = -inf  # monotonic
    signal_best: Levels | None = None
    lingers_until: float = -inf  # monotonic: the hand-over stays to be read out on the telephone


def saved(wizard: Wizard) -> dict[str, Any]:
    """As JSON-like values, for the store."""
    return {
        "settings": dict(wizard.settings), "set_at_s": wizard.set_at_s, "installer": wizard.installer,
        "company": wizard.company, "breaker_ma": wizard.breaker_ma, "step": wizard.step, "told": wizard.told,
        "pinpoint": msgspec.to_builtins(wizard.pinpoint), "is_heard": wizard.is_heard, "charged": wizard.charged,
        "draft": None if wizard.draft is None else [dict(wizard.draft.values), wizard.draft.by_phone],
        "sister": None if wizard.sister is None else [wizard.sister.latitude, wizard.sister.longitude],
        "owed": None if wizard.owed is None else [wizard.owed.old_ma, wizard.owed.new_ma],
        "done": {step: [mark.at_s, mark.is_open] for step, mark in wizard.done.items()},
    }  # fmt: skip


Name = Annotated[str, Meta(max_length=TEXT_MAX)]
Milliamp = Annotated[int, Meta(ge=0, le=1_000_000)]
WallS = Annotated[float, Meta(ge=0, le=WALL_MAX_S)]


def restored(fact: Any) -> Wizard:
    """What the disk remembers; what of it cannot be read (by an older build, a damaged disk) is asked again."""
    if not isinstance(fact, Mapping):
        return Wizard()
    pinpoint: Pinpoint | None = read(fact, "pinpoint", Pinpoint | None, None)
    layer: dict[str, Any] = read(fact, "settings", dict[str, Any], {})
    numbers = (pinpoint.latitude, pinpoint.longitude, pinpoint.accuracy_m, pinpoint.at_s) if pinpoint else ()
    return Wizard(
        settings={key: value for key, value in layer.items() if key in SETTINGS},
        set_at_s=read(fact, "set_at_s", WallS | None, None),
        installer=read(fact, "installer", Name, ""),
        company=read(fact, "company", Name, ""),
        breaker_ma=read(fact, "breaker_ma", Milliamp, 0),
        pinpoint=pinpoint if all(map(is_sound, numbers)) else None,
        charged=read(fact, "charged", bool, False),
        done=marks(fact.get("done")),
        step=read(fact, "step", Step, Step.LANGUAGE),
        told=read(fact, "told", Annotated[str, Meta(max_length=64)], ""),
        is_heard=read(fact, "is_heard", bool, False),
        sister=beside(read(fact, "sister", tuple[float, float] | None, None)),
        owed=raised(read(fact, "owed", tuple[Milliamp, Milliamp] | None, None)),
        draft=drafted(read(fact, "draft", tuple[dict[str, Milliamp], bool] | None, None)),
    )


def beside(stored: tuple[float, float] | None) -> Point | None:
    point = Point(*stored) if stored else None
    return point if point and is_place(point) else None


def raised(stored: tuple[int, int] | None) -> Raise | None:
    return Raise(*stored) if stored and stored[0] < stored[1] else None


def drafted(stored: tuple[dict[str, int], bool] | None) -> Draft | None:
    values = {key: value for key, value in stored[0].items() if key in ELECTRICAL} if stored else {}
    return Draft(values, stored[1]) if stored and values else None


def read(fact: Mapping[Any, Any], key: str, type_: Any, otherwise: T) -> T:
    try:
        value: T = msgspec.convert(fact.get(key, otherwise), type_)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return otherwise
    return value if is_sound(value) else otherwise


def is_sound(value: object) -> bool:
    """No NaN, no infinity: msgspec's bounds let NaN pass."""
    return not isinstance(value, float) or isfinite(value)


def marks(fact: Any) -> dict[Step, Mark]:
    stored = fact if isinstance(fact, Mapping) else {}
    found: dict[Step, tuple[float | None, bool] | None] = {
        step: read(stored, step, tuple[WallS | None, bool] | None, None) for step in STEPS
    }
    return {step: Mark(*mark) for step, mark in found.items() if mark and is_sound(mark[0])}
