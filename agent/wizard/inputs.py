"""What can be entered in the wizard: one row for each field. Typed, pasted or chosen, it comes as text; by four keys a
cursor, minus and plus make the same text. What cannot be is refused with one sentence, and nothing is changed.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agent.clock import wall
from agent.life import is_provisioned
from agent.port import Grant, is_plugged, why_not
from agent.settings import ConfigError
from agent.station import Station
from agent.taps import port_of, why_not_here, with_port
from agent.transaction import TEST_RULE, StoppedReason, Trigger, ended_by
from agent.ui.words import LANGUAGES
from agent.wizard import coordinates, receiver
from agent.wizard.coordinates import Point
from agent.wizard.facts import TEXT_MAX, Method, Pinpoint, Sentence, Step
from agent.wizard.layer import BREAKERS_A, board, drafted, drawn_up, set_to
from agent.wizard.steps import zone_of

VALUE_MAX = coordinates.TEXT_MAX  # characters that are looked at
MOVE_MAX_M = 1_000
NUDGE = "pinpoint.nudge"
NO_FIX, TAKE_FIX = "-", "take"  # of a GNSS receiver
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789-.,&'/+@"
DIGITS = "0123456789.,- °'\"NSEW+"

Outcome = Station | Sentence  # the station that has it, or why not


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody has entered, and how."""

    value: str
    by_phone: bool
    now: float


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    step: Step
    kind: str  # choice, number, text, yes: Field of agent/ui/model.py
    label: str
    read: Callable[[Station], str]
    put: Callable[[Station, Given], Outcome]
    unit: str = ""
    options: Callable[[Station], tuple[str, ...]] = lambda station: ()  # of a choice
    bounds: Callable[[Station], tuple[int, int]] = lambda station: (0, 0)  # of a number
    sizes: tuple[int, ...] = ()  # of a number that comes in sizes: what minus and plus walk along
    wheel: str = LETTERS  # of a text
    length_max: int = 0
    is_there: Callable[[Station], bool] = lambda station: True
    hint: str = ""

    def turned(self, station: Station, value: str, by: int) -> str:
        """What minus (-1) or plus (1) makes of a value."""
        if self.kind == "choice":
            options = self.options(station)
            at = options.index(value) + by if value in options else 0
            return options[at % len(options)] if options else value
        least, most = self.bounds(station)
        number = int(value) if NUMBER.fullmatch(value) else least
        if self.sizes:
            below, above = bisect_left(self.sizes, number) - 1, bisect_right(self.sizes, number)
            number = self.sizes[min(max(0, below if by < 0 else above), len(self.sizes) - 1)]
            return str(min(max(least, number), most))
        return str(min(max(least, number + by), most))


NUMBER = re.compile(r"-?[0-9]{1,6}", re.ASCII)


def whole(station: Station, given: Given, bounds: tuple[int, int]) -> int | Sentence:
    least, most = bounds
    text = given.value.strip()
    number = int(text) if NUMBER.fullmatch(text) else None
    if number is None or not least <= number <= most:
        return Sentence("Enter a whole number from {least} to {most}.", {"least": least, "most": most})
    return number


def one_of(given: Given, options: Iterable[str]) -> str | Sentence:
    return given.value if given.value in options else Sentence("Choose one of the list.")


def named(given: Given) -> str | Sentence:
    """A name as typed: one line, no invisible characters."""
    text = " ".join(given.value.split())
    if len(text) > TEXT_MAX:
        return Sentence("Enter at most {n} characters.", {"n": TEXT_MAX})
    return text if text.isprintable() else Sentence("Enter letters, digits and signs only.")


# -- settings ---------------------------------------------------------------------------------------------------------


def put_language(station: Station, given: Given) -> Outcome:
    code = one_of(given, LANGUAGES)
    return code if isinstance(code, Sentence) else taken(station, "language", code, given)


def taken(station: Station, key: str, value: str, given: Given) -> Outcome:
    after = set_to(station, key, value, given.now)
    return Sentence("Choose one of the list.") if isinstance(after, ConfigError) else after


def put_zone(station: Station, given: Given) -> Outcome:
    zones = station.machine.zones
    if zones and given.value not in zones:
        return Sentence("Choose one of the list.")
    return taken(station, "time_zone", given.value, given)


def put_region(station: Station, given: Given) -> Outcome:
    region = one_of(given, regions(station))
    if isinstance(region, Sentence):
        return region
    return replace(station, wizard=replace(station.wizard, region=region))


def regions(station: Station) -> tuple[str, ...]:
    return tuple(sorted({zone.partition("/")[0] for zone in station.machine.zones}))


def region(station: Station) -> str:
    return station.wizard.region or zone_of(station).partition("/")[0]


def zones(station: Station) -> tuple[str, ...]:
    here = region(station)
    found = tuple(zone for zone in station.machine.zones if zone.partition("/")[0] == here)
    return found or station.machine.zones


# -- names ------------------------------------------------------------------------------------------------------------


def put_installer(station: Station, given: Given) -> Outcome:
    name = named(given)
    return name if isinstance(name, Sentence) else replace(station, wizard=replace(station.wizard, installer=name))


def put_company(station: Station, given: Given) -> Outcome:
    name = named(given)
    return name if isinstance(name, Sentence) else replace(station, wizard=replace(station.wizard, company=name))


# -- the circuit: nothing of it counts before it is confirmed ---------------------------------------------------------


def amperes(key: str) -> Callable[[Station], str]:
    return lambda station: str(drafted(station, key) // 1000)


def breaker_bounds(station: Station) -> tuple[int, int]:
    return 8, BREAKERS_A[-1]  # 80 % of 8 A is a car's least


def circuit_bounds(station: Station) -> tuple[int, int]:
    """Never more than the board, nor than the breaker."""
    most_ma = board(station).circuit_limit_ma
    return 6, min(most_ma, drafted(station, "breaker_ma") or most_ma) // 1000


def port_bounds(station: Station) -> tuple[int, int]:
    return 6, board(station).port_limit_ma // 1000


def put_amperes(key: str, bounds: Callable[[Station], tuple[int, int]]) -> Callable[[Station, Given], Outcome]:
    def put(station: Station, given: Given) -> Outcome:
        value = whole(station, given, bounds(station))
        if isinstance(value, Sentence):
            return value
        return drawn_up(station, {key: value * 1000}, by_phone=given.by_phone)

    return put


def phases(station: Station) -> tuple[str, ...]:
    return ("1", "3")[: 1 + (board(station).phases == 3)]


def put_phases(station: Station, given: Given) -> Outcome:
    value = one_of(given, phases(station))
    if isinstance(value, Sentence):
        return value
    return drawn_up(station, {"phases": int(value)}, by_phone=given.by_phone)


# -- the place --------------------------------------------------------------------------------------------------------


def put_point(station: Station, given: Given) -> Outcome:
    point = coordinates.parse(given.value)
    return placed(station, point, Method.TYPED, given.now) if isinstance(point, Point) else Sentence(point)


def put_sister(station: Station, given: Given) -> Outcome:
    """This station begins where that one is; later points are compared with it. Nothing: there is none."""
    if not given.value.strip():
        return replace(station, wizard=replace(station.wizard, sister=None))
    point = coordinates.parse(given.value)
    if not isinstance(point, Point):
        return Sentence(point)
    sister = Point(point.latitude, point.longitude)
    station = replace(station, wizard=replace(station.wizard, sister=sister))
    return placed(station, point, Method.SISTER, given.now)


def placed(station: Station, point: Point, method: Method, now: float) -> Station:
    wizard = station.wizard
    who = ", ".join(filter(None, (wizard.installer, wizard.company)))
    at_s = wall(station.clock, now)
    if at_s is None and method is Method.GNSS:
        at_s = wizard.fix_s
    found = Pinpoint(point.latitude, point.longitude, point.accuracy_m, method, at_s, who)
    return replace(station, wizard=replace(wizard, pinpoint=found, place=None, doubts=()))


def put_fix(station: Station, given: Given) -> Outcome:
    """Taken again, it is the mean of newer fixes."""
    value = one_of(given, fix_options(station))
    if isinstance(value, Sentence) or value == NO_FIX:
        return value if isinstance(value, Sentence) else station
    point = receiver.mean(station, given.now)
    return point if isinstance(point, Sentence) else placed(station, point, Method.GNSS, given.now)


def fix_options(station: Station) -> tuple[str, ...]:
    return NO_FIX, TAKE_FIX


def fix_taken(station: Station) -> str:
    point = station.wizard.pinpoint
    return TAKE_FIX if point and point.method is Method.GNSS else NO_FIX


def put_nudge(station: Station, given: Given) -> Outcome:
    """As the map sends it: `n1`, `e-0.1`."""
    pinpoint = station.wizard.pinpoint
    here = Point(pinpoint.latitude, pinpoint.longitude, pinpoint.accuracy_m) if pinpoint else None
    point = coordinates.nudged(here, given.value) if here else None
    if point is None:
        return Sentence("Enter the coordinates first, then move the point by metres.")
    return placed(station, point, Method.NUDGED, given.now)


def put_move(letter: str) -> Callable[[Station, Given], Outcome]:
    def put(station: Station, given: Given) -> Outcome:
        metres = whole(station, given, (-MOVE_MAX_M, MOVE_MAX_M))
        if isinstance(metres, Sentence):
            return metres
        return put_nudge(station, replace(given, value=f"{letter}{metres}")) if metres else station

    return put


def has_point(station: Station) -> bool:
    return station.wizard.pinpoint is not None


def point_text(station: Station) -> str:
    point = station.wizard.pinpoint
    return coordinates.decimal(Point(point.latitude, point.longitude)) if point else ""


def sister_text(station: Station) -> str:
    sister = station.wizard.sister
    return coordinates.decimal(sister) if sister else ""


# -- the test charge --------------------------------------------------------------------------------------------------


def testing(station: Station) -> int:
    """The port of the test charge that runs, or is about to; 0: none."""
    for port in station.ports:
        if (port.transaction and port.transaction.rule == TEST_RULE) or (port.grant and port.grant.rule == TEST_RULE):
            return port.evse_id
    return 0


def tested(station: Station) -> str:
    return str(testing(station) or "-")


def ports(station: Station) -> tuple[str, ...]:
    return ("-", *(str(port.evse_id) for port in station.ports))


def put_charge(station: Station, given: Given) -> Outcome:
    value = one_of(given, ports(station))
    if isinstance(value, Sentence):
        return value
    if value == tested(station):
        return station
    station = stopped(station, given.now)
    return started(station, int(value), given.now) if value != "-" else station


def started(station: Station, evse_id: int, now: float) -> Outcome:
    port = port_of(station, evse_id)
    assert port
    if not is_provisioned(station):
        return Sentence("A station without an identity charges nobody.")
    if not is_plugged(port) or port.served:
        return Sentence("Plug a car or a tester into port {n}, then start.", {"n": evse_id})
    if why_not_here(station, port, "") or why_not(port, ""):
        return Sentence("Port {n} cannot charge now: its page says why.", {"n": evse_id})
    until = now + station.settings.ev_connection_timeout_s
    return with_port(station, replace(port, grant=Grant("", "NoAuthorization", TEST_RULE, until)))


def stopped(station: Station, now: float) -> Station:
    """Whatever test charge there is comes to its end."""
    for port in station.ports:
        if port.grant and port.grant.rule == TEST_RULE:
            station = with_port(station, replace(port, grant=None))
        elif port.transaction and port.transaction.rule == TEST_RULE:
            tx = ended_by(port.transaction, StoppedReason.LOCAL, Trigger.STOP_AUTHORIZED, now)
            station = with_port(station, replace(port, transaction=tx))
    return station


# -- the table --------------------------------------------------------------------------------------------------------

TABLE: tuple[Input, ...] = (
    Input(
        "language", Step.LANGUAGE, "choice", "Language", lambda s: s.settings.language, put_language,
        options=lambda s: tuple(LANGUAGES),
    ),
    Input(
        "installer", Step.INSTALLER, "text", "Installer's name", lambda s: s.wizard.installer, put_installer,
        length_max=TEXT_MAX,
    ),
    Input(
        "company", Step.INSTALLER, "text", "Company", lambda s: s.wizard.company, put_company, length_max=TEXT_MAX
    ),
    Input(
        "breaker_a", Step.CIRCUIT, "number", "Breaker of this station", amperes("breaker_ma"),
        put_amperes("breaker_ma", breaker_bounds), "A", bounds=breaker_bounds, sizes=BREAKERS_A,
        hint="As printed on the breaker.",
    ),
    Input(
        "circuit_limit_a", Step.CIRCUIT, "number", "Circuit, all ports together", amperes("circuit_limit_ma"),
        put_amperes("circuit_limit_ma", circuit_bounds), "A", bounds=circuit_bounds,
        hint="Cars charge for hours: 80 % of the breaker is proposed.",
    ),
    Input(
        "port_limit_a", Step.CIRCUIT, "number", "Each port at most", amperes("port_limit_ma"),
        put_amperes("port_limit_ma", port_bounds), "A", bounds=port_bounds,
    ),
    Input(
        "phases", Step.CIRCUIT, "choice", "Phases wired to each port", lambda s: str(drafted(s, "phases")), put_phases,
        options=phases, is_there=lambda s: board(s).phases == 3,
    ),
    Input(
        "gnss", Step.PINPOINT, "choice", "Satellite receiver", fix_taken, put_fix, options=fix_options,
        is_there=lambda s: s.machine.has_gnss,
    ),
    Input(
        "pinpoint", Step.PINPOINT, "text", "Coordinates", point_text, put_point, wheel=DIGITS,
        length_max=VALUE_MAX, hint="Or a link copied from a map.",
    ),
    Input(
        "north_m", Step.PINPOINT, "number", "Move north (minus: south)", lambda s: "0", put_move("n"), "m",
        bounds=lambda s: (-MOVE_MAX_M, MOVE_MAX_M), is_there=has_point,
    ),
    Input(
        "east_m", Step.PINPOINT, "number", "Move east (minus: west)", lambda s: "0", put_move("e"), "m",
        bounds=lambda s: (-MOVE_MAX_M, MOVE_MAX_M), is_there=has_point,
    ),
    Input(
        "sister", Step.PINPOINT, "text", "Same place as the station at", sister_text, put_sister,
        wheel=DIGITS, length_max=VALUE_MAX, hint="As its display shows them.",
    ),
    Input(
        "region", Step.CLOCK, "choice", "Region", region, put_region, options=regions,
        is_there=lambda s: bool(s.machine.zones),
    ),
    Input(
        "time_zone", Step.CLOCK, "choice", "Time zone", zone_of, put_zone, options=zones,
        is_there=lambda s: bool(s.machine.zones),
    ),
    Input(
        "time_zone", Step.CLOCK, "text", "Time zone", zone_of, put_zone, length_max=64,
        is_there=lambda s: not s.machine.zones, hint="A name like Europe/Berlin.",
    ),
    Input("charge", Step.CHARGE, "choice", "Port", tested, put_charge, options=ports),
)  # fmt: skip

UNSEEN: tuple[Input, ...] = (  # what only a map sends
    Input(NUDGE, Step.PINPOINT, "text", "", lambda s: "", put_nudge),
)


def inputs(station: Station, step: Step) -> tuple[Input, ...]:
    """What can be entered on this page now."""
    return tuple(each for each in TABLE if each.step is step and each.is_there(station))


def input_of(station: Station, name: str) -> Input | None:
    return next((each for each in (*TABLE, *UNSEEN) if each.name == name and each.is_there(station)), None)
