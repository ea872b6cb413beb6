"""`station-agent board try`: every input and output of a board, one at a time, by hand, on the real hardware.

A step does one thing, asks the person what is to be seen, and leaves its output safe. Nothing here puts voltage on a
connector: contactors are shown open by their feedback, and no current is ever offered. Whatever ends a trial (the last
step, `q`, Ctrl-C, a bug) leaves every output safe.

`Hands` is all that a trial does to the world; agent/trialhands.py has real ones, the tests those of the simulator.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from agent.board import Board, PortFacts
from agent.effects import PortCommand, Stop
from agent.events import Cp, FixTold, Report, SelfTest
from agent.faults import Fault
from agent.hal.gpio import Chips, InputFacts, Line, OutputFacts, make_safe
from agent.hal.leds import LedFacts
from agent.hal.modbus import Sample
from agent.hal.rtc import RtcFacts
from agent.hal.thermal import SensorFacts
from agent.ui.led import PATTERNS, STEADY, Colour, Pattern

HAND_S = 60.0  # a person has so long to press, plug, or hold a card there
ANSWER_S = 5.0  # a device has so long to answer
LOCK_S = 4.0
SELF_TEST_S = 10.0
GNSS_S = 5.0
DARK = None
SEEN = "[y]es, [n]o, [s]kip, [q]uit? "


class Quit(Exception):
    """The person has had enough."""


class Gone(Exception):
    """The controller does not answer, or not any more."""


class Verdict(StrEnum):
    WORKS = "works"
    FAILS = "fails"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    verdict: Verdict
    note: str = ""


class Hands(Protocol):
    """What a trial does, and what has happened so far."""

    @property
    def chips(self) -> Chips: ...

    reports: dict[int, Report]  # newest of each port of the controller, by evse_id
    lost: str  # why the controller does not answer, "" while it does
    cards: list[str]  # ids that were read
    fixes: list[FixTold]  # the GNSS receiver's newest
    samples: dict[int, Sample | str]  # newest of each Modbus meter, by evse_id

    def say(self, text: str) -> None: ...
    def ask(self, question: str) -> str: ...  # a line of the person's, while the hardware is kept alive; EOFError
    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool: ...
    def wish(self, commands: tuple[PortCommand, ...]) -> None: ...
    def show(self, led: LedFacts, pattern: Pattern | None) -> str: ...  # "" or what is wrong
    def temperature(self, sensor: SensorFacts) -> int | str: ...  # tenths of a degree, or what is wrong
    def clock(self, rtc: RtcFacts) -> str: ...
    def sentences(self) -> int: ...  # intact ones of the GNSS receiver
    def backlight(self, percent: int) -> str: ...  # "" or what is wrong
    def close(self) -> None: ...


Outcome = tuple[Verdict, str]
Step = tuple[str, Callable[[Hands], Outcome]]
WORKS, FAILS, SKIPPED = Verdict.WORKS, Verdict.FAILS, Verdict.SKIPPED


def run(board: Board, hands: Hands) -> list[Result]:
    """Every step, or those until the person quits. Safe at the end, whatever happens."""
    results: list[Result] = []
    try:
        for name, step in steps(board):
            hands.say(f"\n-- {name}")
            with safe(board, hands):
                verdict, note = tried(step, hands)
            results.append(Result(name, verdict, note))
            hands.say(f"   {verdict}{': ' + note if note else ''}")
    except (Quit, EOFError, KeyboardInterrupt):
        hands.say("stopped: all outputs are safe")
    return results


def tried(step: Callable[[Hands], Outcome], hands: Hands) -> Outcome:
    try:
        return step(hands)
    except Gone:
        return FAILS, hands.lost or "the controller does not answer"


@contextmanager
def safe(board: Board, hands: Hands) -> Iterator[None]:
    """Before and after: nothing is offered, nothing locked, each output of Linux at its safe value."""
    off = (PortCommand(stop=Stop.NOW),) * len(board.port)
    hands.wish(off)
    try:
        yield
    finally:
        hands.wish(off)
        for problem in make_safe(board.output, hands.chips):
            hands.say(f"   {problem}")


def steps(board: Board) -> Iterator[Step]:
    if board.controller.link != "sim":
        yield "port controller", partial(try_link, len(board.port))
        for evse_id, port in enumerate(board.port, 1):
            yield from port_steps(evse_id, port, len(board.port))
        yield "emergency stop at the controller", try_stop
    for output in board.output:
        yield f"output {output.name}", partial(try_output, board, output)
    for entry in board.input:
        if entry.role != "feedback":
            yield f"input {entry.name}", partial(try_input, entry)
    for led in board.led:
        yield f"light {led.name}", partial(try_led, led)
    if board.reader.kind not in ("sim", "none"):
        yield "card reader", try_reader
    if board.meter.kind == "modbus":
        for evse_id in range(1, len(board.port) + 1):
            yield f"meter of port {evse_id}", partial(try_meter, evse_id)
    for sensor in board.sensor:
        yield f"temperature {sensor.name}", partial(try_sensor, sensor)
    if board.display and board.display.backlight:
        yield "backlight", try_backlight
    if board.rtc:
        yield "clock chip", partial(try_clock, board.rtc)
    if board.gnss:
        yield "GNSS receiver", try_gnss


def port_steps(evse_id: int, port: PortFacts, count: int) -> Iterator[Step]:
    yield f"port {evse_id}: contactor open", partial(try_contactor, evse_id)
    yield f"port {evse_id}: pilot", partial(try_pilot, evse_id)
    if port.socketed:
        yield f"port {evse_id}: lock", partial(try_lock, evse_id, count)
    yield f"port {evse_id}: ground-fault self-test", partial(try_self_test, evse_id, count)
    yield f"port {evse_id}: readings", partial(try_readings, evse_id)


# -- the person --------------------------------------------------------------------------------------------------------


def asked(hands: Hands, question: str) -> Outcome:
    while True:
        match hands.ask(f"   {question} {SEEN}").strip().lower()[:1]:
            case "y":
                return WORKS, ""
            case "n":
                return FAILS, f"the answer to “{question}” was no"
            case "s":
                return SKIPPED, ""
            case "q":
                raise Quit


def awaited(hands: Hands, what: str, condition: Callable[[], bool], timeout_s: float = HAND_S) -> bool:
    hands.say(f"   {what} (within {timeout_s:.0f} s)")
    return hands.wait(condition, timeout_s)


# -- the controller ----------------------------------------------------------------------------------------------------


def try_link(count: int, hands: Hands) -> Outcome:
    if hands.wait(lambda: len(hands.reports) == count, ANSWER_S):
        return WORKS, f"{count} port(s) report"
    return FAILS, hands.lost or "it does not answer: check cable, supply and [controller] tty"


def newest(hands: Hands, evse_id: int) -> Report:
    if evse_id not in hands.reports:
        raise Gone
    return hands.reports[evse_id]


def try_contactor(evse_id: int, hands: Hands) -> Outcome:
    report = newest(hands, evse_id)
    if report.contactor or Fault.CONTACTOR_WELDED in report.faults:
        return FAILS, "it is closed, and nobody asks it to: cut the power, and look for a weld or a swapped feedback"
    return WORKS, "feedback says open"


def try_pilot(evse_id: int, hands: Hands) -> Outcome:
    if not awaited(hands, "plug a car or a tester in", lambda: newest(hands, evse_id).cp in (Cp.B, Cp.C, Cp.D)):
        return FAILS, f"the pilot stays in state {newest(hands, evse_id).cp}: check pilot and its divider"
    if not awaited(hands, "unplug it", lambda: newest(hands, evse_id).cp is Cp.A):
        return FAILS, f"the pilot stays in state {newest(hands, evse_id).cp}"
    return WORKS, ""


def try_lock(evse_id: int, count: int, hands: Hands) -> Outcome:
    if not awaited(hands, "put a cable into the socket", lambda: newest(hands, evse_id).cable_ma > 0):
        return FAILS, "no cable is seen: check proximity"
    amperes = newest(hands, evse_id).cable_ma // 1000
    for is_locked in (True, False):
        hands.wish(only(evse_id, count, PortCommand(stop=Stop.NOW, lock=is_locked)))
        if not hands.wait(lambda: newest(hands, evse_id).locked is is_locked, LOCK_S):  # noqa: B023
            return FAILS, f"it does not {'lock' if is_locked else 'unlock'}: check lock and lock_feedback"
        verdict, note = asked(hands, "Is the plug held now?" if is_locked else "Does it come out again?")
        if verdict is not WORKS:
            return verdict, note
    return WORKS, f"a cable for {amperes} A"


def try_self_test(evse_id: int, count: int, hands: Hands) -> Outcome:
    hands.wish(only(evse_id, count, PortCommand(stop=Stop.NOW, clear=1)))
    done = lambda: newest(hands, evse_id).self_test in (SelfTest.PASSED, SelfTest.FAILED)
    hands.wait(lambda: newest(hands, evse_id).self_test is SelfTest.RUNNING, 1.0)
    if hands.wait(done, SELF_TEST_S) and newest(hands, evse_id).self_test is SelfTest.PASSED:
        return WORKS, ""
    return FAILS, "the detector does not see its test current: check gf_trip and gf_test"


def try_readings(evse_id: int, hands: Hands) -> Outcome:
    report = newest(hands, evse_id)
    volts = ", ".join(f"{mv / 1000:.1f} V" for mv in report.voltage_mv)
    return asked(hands, f"It reads {report.temperature_dc / 10:.1f} °C, {volts}, {report.energy_wh} Wh: is that so?")


def try_stop(hands: Hands) -> Outcome:
    newest(hands, 1)
    if not awaited(hands, "press the emergency stop", lambda: stops(hands) == {True}):
        return FAILS, "not every port has seen it: check emergency_stop"
    return (WORKS, "") if awaited(hands, "release it", lambda: stops(hands) == {False}) else (FAILS, "it stays pressed")


def stops(hands: Hands) -> set[bool]:
    """What the ports say of the emergency stop."""
    return {Fault.EMERGENCY_STOP in report.faults for report in hands.reports.values()}


def only(evse_id: int, count: int, command: PortCommand) -> tuple[PortCommand, ...]:
    return tuple(command if i == evse_id else PortCommand(stop=Stop.NOW) for i in range(1, count + 1))


# -- Linux -------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(line: Line) -> Iterator[Line]:
    try:
        yield line
    finally:
        line.release()


def try_output(board: Board, facts: OutputFacts, hands: Hands) -> Outcome:
    if facts.role == "contactor":
        return SKIPPED, "a power contactor is switched by nobody's hand"
    try:
        with opened(hands.chips.output(facts)) as line:
            for active in (not facts.safe, facts.safe):
                line.set(active)
                if line.get() != active:
                    return FAILS, f"the line does not take its value: look for a short at line {facts.line}"
                verdict, note = asked(hands, f"Is {facts.name} ({facts.role}) {'on' if active else 'off'} now?")
                follows = feedback(board, facts, hands)
                if verdict is not WORKS:
                    return verdict, note
                if follows not in (None, active):
                    return FAILS, f"its feedback {facts.feedback} says {'on' if follows else 'off'}"
    except OSError as error:
        return FAILS, f"line {facts.line} of {facts.chip}: {error.strerror or error}"
    return WORKS, ""


def feedback(board: Board, facts: OutputFacts, hands: Hands) -> bool | None:
    """What the input that follows it says; None where there is none."""
    for entry in board.input:
        if entry.name == facts.feedback:
            with opened(hands.chips.input(entry)) as line:
                return line.get()
    return None


def try_input(facts: InputFacts, hands: Hands) -> Outcome:
    try:
        with opened(hands.chips.input(facts)) as line:
            was = line.get()
            for active in (not was, was):
                what = f"{'operate' if active is not was else 'let go of'} {facts.name} ({facts.role})"
                if not awaited(hands, what, lambda: line.get() is active):  # noqa: B023
                    return FAILS, f"it stays {'off' if active else 'on'}: check its wire, bias and active_low"
    except OSError as error:
        return FAILS, f"line {facts.line} of {facts.chip}: {error.strerror or error}"
    return WORKS, "it is active when nobody touches it: is active_low right?" if was else ""


def try_led(facts: LedFacts, hands: Hands) -> Outcome:
    colours = [Colour.RED, Colour.GREEN, Colour.BLUE] if facts.multicolour else [
        colour for colour in Colour if str(colour) in facts.single
    ]  # fmt: skip
    shows = [(f"{colour}", Pattern(colour, STEADY)) for colour in colours]
    blinking = next((pattern for pattern in PATTERNS.values() if pattern.rhythm_s == (0.5, 0.5)), None)
    try:
        for what, pattern in [*shows, *([("blinking", blinking)] if blinking else [])]:
            if problem := hands.show(facts, pattern):
                return FAILS, problem
            verdict, note = asked(hands, f"Is the light {facts.name} {what} now?")
            if verdict is not WORKS:
                return verdict, note
    finally:
        hands.show(facts, DARK)
    return WORKS, ""


def try_reader(hands: Hands) -> Outcome:
    before = len(hands.cards)
    if awaited(hands, "hold a card against the reader", lambda: len(hands.cards) > before):
        return WORKS, f"card {hands.cards[-1]}"
    return FAILS, "no card was read"


def try_meter(evse_id: int, hands: Hands) -> Outcome:
    hands.wait(lambda: evse_id in hands.samples, ANSWER_S)
    match hands.samples.get(evse_id, "it does not answer: check A and B of the line, unit and baudrate"):
        case Sample() as sample:
            volts = ", ".join(f"{mv / 1000:.1f} V" for mv in sample.voltage_mv)
            return asked(hands, f"It reads {sample.energy_wh} Wh, {sample.power_w} W, {volts}: is that so?")
        case problem:
            return FAILS, problem


def try_sensor(facts: SensorFacts, hands: Hands) -> Outcome:
    reading = hands.temperature(facts)
    if isinstance(reading, str):
        return FAILS, reading
    return asked(hands, f"It reads {reading / 10:.1f} °C: is that so?")


def try_backlight(hands: Hands) -> Outcome:
    for percent, what in ((0, "dark"), (100, "bright")):
        if problem := hands.backlight(percent):
            return FAILS, problem
        verdict, note = asked(hands, f"Is the display {what} now?")
        if verdict is not WORKS:
            hands.backlight(100)
            return verdict, note
    return WORKS, ""


def try_clock(facts: RtcFacts, hands: Hands) -> Outcome:
    return asked(hands, f"{hands.clock(facts)}: is that so?")


def try_gnss(hands: Hands) -> Outcome:
    """It may take minutes to find satellites, and none in a hall: that it speaks is enough for its wires."""
    if not hands.wait(lambda: hands.sentences() > 0, GNSS_S):
        return FAILS, "no sentence of NMEA 0183 came: look at its wires and supply, and at baudrate"
    if not hands.wait(lambda: bool(hands.fixes), GNSS_S):
        return WORKS, "it speaks, and has no fix here"
    fix = hands.fixes[-1]
    return WORKS, f"it says {fix.latitude:.6f}, {fix.longitude:.6f}"


# -- at the end --------------------------------------------------------------------------------------------------------


def summary(results: list[Result]) -> str:
    lines = [f"{result.verdict:8}{result.name}{': ' + result.note if result.note else ''}" for result in results]
    counts = ", ".join(f"{sum(r.verdict is each for r in results)} {each}" for each in Verdict)
    return "\n".join(["", *lines, counts])
