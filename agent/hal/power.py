"""The modem's power key, reset line, supply and SIM slot as sequences of lines in time.

What a sequence is comes from the board; what it does in time is one pure step. `ModemPower` plays one at a time on the
outputs of agent/hal/gpio.py, role "modem"; when to play which is the modem's recovery ladder's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Annotated

from msgspec import Meta, Struct

from agent.hal.device import Post
from agent.hal.gpio import OutputFacts

HoldMs = Annotated[int, Meta(ge=10, le=30_000)]
OutputName = Annotated[str, Meta(max_length=32)]


class ModemFacts(Struct, frozen=True):
    """[modem_lines]: names of [[output]] with role "modem", "" where the board has none, and the data sheet's times."""

    power_key: OutputName = ""
    reset: OutputName = ""
    supply: OutputName = ""  # on = the modem has its supply: safe = true
    sim_slot: OutputName = ""  # on = the second slot
    power_key_on_ms: HoldMs = 600
    power_key_off_ms: HoldMs = 1_500
    shutdown_ms: HoldMs = 5_000  # what the modem takes to leave its network after the key
    reset_ms: HoldMs = 300
    supply_off_ms: HoldMs = 3_000  # until its capacitors are empty

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.power_key, self.reset, self.supply, self.sim_slot) if name)

    def __post_init__(self) -> None:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("power_key, reset, supply and sim_slot share an output: give each its own")


def check_modem(facts: ModemFacts, outputs: Iterable[OutputFacts]) -> None:
    """ValueError unless each line is an output of the board, and its supply is on when nobody asks."""
    known = {each.name: each for each in outputs if each.role == "modem"}
    for name in facts.outputs:
        if name not in known:
            raise ValueError(f'no [[output]] with role = "modem" is named {name}')
    if facts.supply and not known[facts.supply].safe:
        raise ValueError(f"{facts.supply}: a modem without supply calls nobody: type safe = true in its [[output]]")


class Action(StrEnum):
    TURN_ON = "turn on"
    TURN_OFF = "turn off"
    RESET = "reset"
    CUT_SUPPLY = "cut supply"
    FIRST_SIM = "first SIM"
    SECOND_SIM = "second SIM"


@dataclass(frozen=True, slots=True)
class Step:
    """Put the output there, then let so much time pass."""

    output: str
    active: bool
    hold_s: float


def sequence(facts: ModemFacts, action: Action) -> tuple[Step, ...]:
    """Of this action on this board; () if the board cannot do it."""
    key, reset, supply, slot = facts.power_key, facts.reset, facts.supply, facts.sim_slot
    held = (Step(reset, True, facts.reset_ms / 1000), Step(reset, False, 0.0))
    cut = (Step(supply, False, facts.supply_off_ms / 1000), Step(supply, True, 0.0))
    match action:
        case Action.TURN_ON if key:
            return pressed(key, facts.power_key_on_ms, 0)
        case Action.TURN_OFF if key:
            return pressed(key, facts.power_key_off_ms, facts.shutdown_ms)
        case Action.RESET if reset:
            return held
        case Action.CUT_SUPPLY if supply:
            return cut
        case (Action.FIRST_SIM | Action.SECOND_SIM) if slot and (reset or supply):  # a modem reads its card at start
            around = held if reset else cut
            return (around[0], Step(slot, action is Action.SECOND_SIM, 0.0), around[1])
    return ()


def pressed(key: str, ms: int, after_ms: int) -> tuple[Step, ...]:
    return (Step(key, True, ms / 1000), Step(key, False, after_ms / 1000))


@dataclass(frozen=True, slots=True)
class Playing:
    action: Action
    steps: tuple[Step, ...]  # that are still to be taken
    step_at: float  # when the next one is; after the last one: when it ends


def advanced(playing: Playing, now: float) -> tuple[Playing | None, tuple[Step, ...]]:
    """What is left of it, None if it has ended, and the steps to take now. A late call takes no step too early: each
    holds its time from when it was really taken."""
    if now < playing.step_at:
        return playing, ()
    if not playing.steps:
        return None, ()
    taken: list[Step] = []
    for step in playing.steps:
        taken.append(step)
        if step.hold_s:
            break
    left = playing.steps[len(taken) :]
    if not left and not taken[-1].hold_s:
        return None, tuple(taken)
    return replace(playing, steps=left, step_at=now + taken[-1].hold_s), tuple(taken)


@dataclass(frozen=True, slots=True)
class SequenceEnded:
    """`done`: every output took its value; if not, a DeviceFailed has said which did not."""

    action: Action
    done: bool


class ModemPower:
    """`set` is Gpio.set. One sequence at a time; who wants another waits for SequenceEnded."""

    def __init__(self, facts: ModemFacts, set_output: Callable[[str, bool, float], bool], post: Post) -> None:
        self.facts, self._set, self._post = facts, set_output, post
        self._playing: Playing | None = None
        self._done = True

    def begin(self, action: Action, now: float) -> bool:
        """False if the board cannot do it, or another sequence is being played."""
        steps = sequence(self.facts, action)
        if self._playing or not steps:
            return False
        self._playing, self._done = Playing(action, steps, now), True
        self.due(now)
        return True

    def due(self, now: float) -> None:
        if self._playing is None:
            return
        action = self._playing.action
        self._playing, steps = advanced(self._playing, now)
        for step in steps:
            self._done &= self._set(step.output, step.active, now)
        if self._playing is None:
            self._post(SequenceEnded(action, self._done))

    def next_deadline(self) -> float:
        return inf if self._playing is None else self._playing.step_at

    def close(self) -> None:
        """Gpio.close puts the lines where they are safe."""
        self._playing = None
