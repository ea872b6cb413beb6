"""One language for stories: the demo, the tests, the bench and the workbench all speak it.

    plug 1 need_wh=5000      a car comes to port 1; car=diode: one that behaves badly (agent/sim/car.py KINDS)
    tap ann                  somebody holds a card against the reader
    expect charging 1        must become true within EXPECT_S; else the story has failed, at this line
    wait 30                  let time pass
    cut broker / mend broker, cut power / mend power, cut radio / mend radio, kill agent
    fault leak 1 / heal leak 1   something breaks at port 1 (agent/sim/plant.py FAULTS)
    stop on / stop off       the emergency stop is pressed, released
    heat 1 85                degrees Celsius in port 1
    clock dead               the clock chip, as the next power-on finds it
    say TEXT                 a heading, for the people who watch

A story is played on a Stage: the simulated world in simulated time, or a real agent with a real broker in real time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

EXPECT_S = 30.0  # on the stage's own clock

VERBS = {
    "say": "TEXT",
    "plug": "PORT [need_wh=N] [car=KIND]",
    "unplug": "PORT",
    "tap": "NAME",
    "choose": "PORT",
    "wait": "SECONDS",
    "cut": "power | broker | radio",
    "mend": "power | broker | radio",
    "kill": "agent",
    "fault": "WHAT PORT",
    "heal": "WHAT PORT",
    "stop": "on | off",
    "heat": "PORT CELSIUS",
    "clock": "right | fast | dead",
    "expect": "CONDITION",
}
CONDITIONS = {
    "free": "PORT            nobody there, ready",
    "charging": "PORT        energy flows",
    "waiting": "PORT         a car, tested and ready for a card",
    "stopped": "PORT         a car, no session, contactor open",
    "faulted": "PORT         out of service, and says so",
    "refused": "PORT REASON  the driver is told this; 0 = at the station",
    "online": "              the cloud has answered",
    "offline": "             it does not",
    "sessions": "N           ended sessions in the ledger",
    "equal": "               the ledger equals the meters: nothing missing, nothing double",
}


class StoryError(Exception):
    """A line that cannot be understood, or that did not come true; names the line."""


@dataclass(frozen=True, slots=True)
class Step:
    line: int
    verb: str
    args: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.verb, *self.args))


class Stage(Protocol):
    """Where a story is played. Ports count from 1; `card` is a name of CARDS or an id."""

    def say(self, text: str) -> None: ...
    def plug(self, evse_id: int, need_wh: int, car: str, /) -> object: ...
    def unplug(self, evse_id: int) -> object: ...
    def tap(self, card: str) -> object: ...
    def choose(self, evse_id: int) -> object: ...
    def wait(self, seconds: float) -> object: ...
    def cut(self, what: str) -> object: ...
    def mend(self, what: str) -> object: ...
    def kill(self, what: str) -> object: ...
    def fault(self, what: str, evse_id: int) -> object: ...
    def heal(self, what: str, evse_id: int) -> object: ...
    def stop(self, is_pressed: bool) -> object: ...
    def heat(self, evse_id: int, celsius: float) -> object: ...
    def clock(self, how: str) -> object: ...
    def holds(self, condition: str, args: tuple[str, ...]) -> bool: ...
    def until(self, what: Callable[[], bool], timeout_s: float) -> bool: ...


CARDS = {
    "ann": "04A1B2C3D4E5F6",
    "bob": "04B7C8D9",
    "cara": "04CA7A11",
    "pending": "04AA0001",  # has asked to be connected
    "removed": "04AA0002",  # was connected once
    "blocked": "04AA0003",
    "expired": "04AA0004",
    "stranger": "04DEAD99",
    "phone": "08F00F12",
}
CLOCKS = {"right": 0.0, "fast": 86_400.0, "dead": None}  # the clock chip's error in seconds; None: it has no battery


def parse(story: str) -> Iterator[Step]:
    """The steps of a story; blank lines and # comments are for the reader. StoryError names the line."""
    for number, line in enumerate(story.splitlines(), 1):
        words = line.split("#")[0].split() if not line.strip().startswith("say ") else line.split()
        if not words:
            continue
        verb, *args = words
        if verb not in VERBS:
            raise StoryError(f"line {number}: no verb {verb!r}; there are {', '.join(VERBS)}")
        if verb == "expect" and (not args or args[0] not in CONDITIONS):
            raise StoryError(f"line {number}: expect one of {', '.join(CONDITIONS)}")
        yield Step(number, verb, tuple(args))


def play(story: str, stage: Stage) -> None:
    """Plays the whole story, or raises StoryError at the line that failed."""
    for step in list(parse(story)):
        try:
            perform(step, stage)
        except (ValueError, IndexError, KeyError) as error:
            raise StoryError(f"line {step.line}: {step.verb} wants {VERBS[step.verb]} ({error})") from None


def perform(step: Step, stage: Stage) -> None:
    args = step.args
    match step.verb:
        case "say":
            stage.say(" ".join(args))
        case "plug":
            options = dict(arg.split("=") for arg in args[1:])
            stage.plug(int(args[0]), int(options.get("need_wh", 20_000)), options.get("car", "normal"))
        case "unplug":
            stage.unplug(int(args[0]))
        case "tap":
            stage.tap(CARDS.get(args[0], args[0]))
        case "choose":
            stage.choose(int(args[0]))
        case "wait":
            stage.wait(float(args[0]))
        case "cut":
            stage.cut(args[0])
        case "mend":
            stage.mend(args[0])
        case "kill":
            stage.kill(args[0])
        case "fault":
            stage.fault(args[0], int(args[1]))
        case "heal":
            stage.heal(args[0], int(args[1]))
        case "stop":
            stage.stop({"on": True, "off": False}[args[0]])
        case "heat":
            stage.heat(int(args[0]), float(args[1]))
        case "clock":
            stage.clock(args[0])
        case "expect":
            expect(step, stage)


def expect(step: Step, stage: Stage) -> None:
    condition, *args = step.args
    if not stage.until(lambda: stage.holds(condition, tuple(args)), EXPECT_S):
        raise StoryError(f"line {step.line}: expected {' '.join(step.args)} within {EXPECT_S:.0f} s, and it was not so")


DEMO = """
say A connected driver plugs in, taps, charges, stops.
expect online
expect free 1
plug 1
expect waiting 1
tap ann
expect charging 1
wait 3
tap ann
expect stopped 1
unplug 1
expect free 1
expect sessions 1
expect equal

say A stranger is refused, with the reason and what to do.
plug 1
expect waiting 1
tap stranger
expect refused 1 not connected
unplug 1
expect free 1
tap phone
expect refused 0 changing id

say The broker is cut. Bob charges all the same: the station decides from its own list.
cut broker
expect offline
plug 2
expect waiting 2
tap bob
expect charging 2
wait 3
tap bob
expect stopped 2
unplug 2

say The agent is killed and the power is cut in mid-session. Cara's car stays plugged in.
plug 1
expect waiting 1
tap cara
expect charging 1
wait 1
kill agent
expect charging 1
wait 2
cut power
wait 1
mend power
expect charging 1
wait 1

say The broker comes back: what is owed is delivered, in order, once.
mend broker
expect online
expect sessions 2
tap cara
expect stopped 1
unplug 1
expect sessions 3
expect equal
say Nothing missing, nothing double: the ledger equals the meters.
"""
