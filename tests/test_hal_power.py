"""The modem's lines in time, as a data sheet would have them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hal.gpio import Gpio, OutputFacts
from agent.hal.power import (
    Action,
    ModemFacts,
    ModemPower,
    Playing,
    SequenceEnded,
    Step,
    advanced,
    check_modem,
    sequence,
)
from agent.settings import ConfigError, table
from agent.sim.gpio import SimChips
from tests.hal import Turns

ALL = ModemFacts("key", "reset", "supply", "sim")
OUTPUTS = [
    OutputFacts(name, "modem", "/dev/gpiochip0", line, safe=name == "supply")
    for line, name in enumerate(["key", "reset", "supply", "sim"])
]


class Scope(Turns):
    """Watches the lines, with time stamps."""

    def __init__(self) -> None:
        super().__init__()
        self.edges: list[tuple[float, str, bool]] = []
        self.refuses: set[str] = set()

    def set(self, name: str, active: bool, now: float) -> bool:
        self.edges.append((round(now, 6), name, active))
        return name not in self.refuses


@pytest.mark.parametrize(
    ("action", "edges", "ends_at"),
    [
        (Action.TURN_ON, [(0.0, "key", True), (0.6, "key", False)], 0.6),
        (Action.TURN_OFF, [(0.0, "key", True), (1.5, "key", False)], 6.5),
        (Action.RESET, [(0.0, "reset", True), (0.3, "reset", False)], 0.3),
        (Action.CUT_SUPPLY, [(0.0, "supply", False), (3.0, "supply", True)], 3.0),
        (Action.SECOND_SIM, [(0.0, "reset", True), (0.3, "sim", True), (0.3, "reset", False)], 0.3),
        (Action.FIRST_SIM, [(0.0, "reset", True), (0.3, "sim", False), (0.3, "reset", False)], 0.3),
    ],
)
def test_each_action_is_its_lines_in_time(action: Action, edges: list[Any], ends_at: float) -> None:
    scope = Scope()
    power = ModemPower(ALL, scope.set, scope.post)
    assert power.begin(action, 0.0)
    scope.run(ends_at - 0.001, power)
    assert not scope.posted
    assert scope.run(0.002, power) == [SequenceEnded(action, True)]
    assert scope.edges == edges


def test_one_sequence_at_a_time_and_none_that_the_board_cannot() -> None:
    scope = Scope()
    power = ModemPower(ALL, scope.set, scope.post)
    assert power.begin(Action.TURN_OFF, 0.0) and not power.begin(Action.RESET, 1.0)
    assert not any(ModemPower(ModemFacts(), scope.set, scope.post).begin(action, 0.0) for action in Action)
    assert sequence(ModemFacts(sim_slot="sim"), Action.SECOND_SIM) == ()  # the modem would not notice


def test_a_line_that_refuses_is_told_at_the_end_and_the_rest_is_still_played() -> None:
    scope = Scope()
    scope.refuses = {"supply"}
    power = ModemPower(ALL, scope.set, scope.post)
    power.begin(Action.CUT_SUPPLY, 0.0)
    assert scope.run(10.0, power) == [SequenceEnded(Action.CUT_SUPPLY, False)] and len(scope.edges) == 2


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from([0.0, 0.1, 1])), min_size=1, max_size=8),
    st.lists(st.floats(0.0, 2.0), min_size=30, max_size=30),
)
def test_late_calls_take_every_step_in_order_and_none_too_early(rows: list[Any], waits: list[float]) -> None:
    steps = tuple(Step(*row) for row in rows)
    playing: Playing | None = Playing(Action.RESET, steps, 0.0)
    now, taken = 0.0, list[tuple[float, Step]]()
    for wait in [*waits, *[1.0] * 10]:
        if playing is not None:
            playing, due = advanced(playing, now)
            taken += [(now, step) for step in due]
        now += wait
    assert playing is None and tuple(step for _, step in taken) == steps
    for (at, step), (after, _) in pairwise(taken):
        assert after >= at + step.hold_s - 1e-9


def test_an_end_in_the_middle_leaves_the_modem_with_its_supply() -> None:
    chips, posted = SimChips(), list[Any]()
    gpio = Gpio(OUTPUTS, [], chips, chips, posted.append, lambda: chips.now)
    chips.run(1.0, gpio)
    power = ModemPower(ALL, gpio.set, posted.append)
    power.begin(Action.CUT_SUPPLY, chips.now)
    chips.run(chips.now + 1.0, gpio, power)
    assert chips.level(("/dev/gpiochip0", 2)) is False
    power.close()
    gpio.close()
    assert chips.level(("/dev/gpiochip0", 2)) is True


def test_lines_that_cannot_be_are_refused_with_what_to_type() -> None:
    check_modem(ALL, OUTPUTS)
    with pytest.raises(ConfigError, match="share an output"):
        table({"reset": "a", "supply": "a"}, ModemFacts, "x")
    with pytest.raises(ValueError, match="is named nokey"):
        check_modem(ModemFacts(power_key="nokey"), OUTPUTS)
    with pytest.raises(ValueError, match="type safe = true"):
        check_modem(ModemFacts(supply="key"), OUTPUTS)
