"""Relays and inputs against chips that bounce, vanish and refuse, in simulated time."""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import PortChosen
from agent.hal.device import STEADY_S, DeviceFailed, DeviceWorks
from agent.hal.gpio import (
    CHECK_S,
    FOLLOW_S,
    Debounced,
    Gpio,
    Gpiod,
    InputChanged,
    InputFacts,
    OutputFacts,
    check_lines,
    debounced,
    make_safe,
)
from agent.settings import ConfigError, table
from agent.sim.gpio import SimChips

CHIP = "/dev/gpiochip0"
FAN = OutputFacts("fan", "fan", CHIP, 1, feedback="fan_runs")
LOCK = OutputFacts("lock", "enclosure_lock", CHIP, 2, active_low=True, safe=True)
FAN_RUNS = InputFacts("fan_runs", "feedback", CHIP, 3)
BUTTON = InputFacts("button1", "button", CHIP, 4, active_low=True, bias="pull_up", evse_id=1)
TAMPER = InputFacts("tamper", "tamper", CHIP, 5, bias="pull_up")  # closed to ground while the door is shut
STOP = InputFacts("stop", "emergency_stop", CHIP, 6, bias="pull_up")


def wire(facts: OutputFacts | InputFacts) -> tuple[str, int]:
    return (facts.chip, facts.line)


@dataclass
class Bench:
    chips: SimChips = field(default_factory=SimChips)
    posted: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chips.relay(wire(FAN), wire(FAN_RUNS))
        self.chips.contact(wire(FAN_RUNS), level=False)
        for facts in (TAMPER, STOP):
            self.chips.contact(wire(facts), level=False)
        self.gpio = self.new()

    def new(self) -> Gpio:
        return Gpio([FAN, LOCK], [FAN_RUNS, BUTTON, TAMPER, STOP], self.chips, self.chips, self.posted.append, self.now)

    def now(self) -> float:
        return self.chips.now

    def run(self, seconds: float) -> list[Any]:
        """What was posted meanwhile."""
        before = len(self.posted)
        self.chips.run(self.chips.now + seconds, self.gpio)
        return self.posted[before:]

    def set(self, facts: OutputFacts, active: bool) -> bool:
        return self.gpio.set(facts.name, active, self.chips.now)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.run(1.0)
    return bench


def test_an_input_tells_its_first_value_and_then_each_change_once(bench: Bench) -> None:
    assert {(e.name, e.active) for e in bench.posted} == {("fan_runs", False), ("tamper", False), ("stop", False)}
    bench.chips.contact(wire(TAMPER), level=True, bounce_s=0.01)
    assert bench.run(10.0) == [InputChanged("tamper", "tamper", active=True)]


def test_a_bouncing_button_is_pressed_once_and_a_held_one_not_again() -> None:
    for seed in range(50):
        bench = Bench(SimChips(seed))
        bench.run(1.0)
        bench.chips.contact(wire(BUTTON), level=False, bounce_s=0.015)
        assert bench.run(30.0) == [PortChosen(1)], seed
        bench.chips.contact(wire(BUTTON), level=True, bounce_s=0.015)
        assert bench.run(30.0) == [], seed


def test_a_press_shorter_than_the_loops_turn_is_seen(bench: Bench) -> None:
    bench.chips.contact(wire(BUTTON), level=False)
    bench.chips.later(0.03, partial(bench.chips.drive, wire(BUTTON), level=True))
    bench.chips.run(bench.chips.now + 0.3, is_busy=True)  # the kernel keeps the edges
    assert bench.run(1.0) == [PortChosen(1)]


def test_a_button_that_is_held_at_the_start_is_stuck_and_chooses_nothing() -> None:
    bench = Bench()
    bench.chips.contact(wire(BUTTON), level=False)
    bench.run(60.0)
    assert PortChosen(1) not in bench.posted


def test_nor_does_one_that_is_held_when_its_chip_comes_back(bench: Bench) -> None:
    bench.chips.unplug(CHIP)
    bench.run(2.0)
    bench.chips.contact(wire(BUTTON), level=False)
    bench.chips.gone.clear()
    bench.run(30.0)
    assert PortChosen(1) not in bench.posted


def test_a_broken_wire_reads_as_an_emergency_stop(bench: Bench) -> None:
    bench.chips.contact(wire(STOP), level=None)  # floats: the pull-up speaks
    assert bench.run(2.0) == [InputChanged("stop", "emergency_stop", active=True)]


def test_an_oscillating_line_costs_a_few_reads_a_second(bench: Bench) -> None:
    flood = InputFacts("flood", "auxiliary", CHIP, 9, debounce_ms=0)
    bench.gpio = Gpio([], [flood], bench.chips, bench.chips, bench.posted.append, bench.now)
    bench.run(1.0)
    for i in range(20_000):
        bench.chips.later(i / 2_000, partial(bench.chips.contact, wire(flood), level=bool(i % 2)))
    before = bench.chips.reads
    said = bench.run(10.0)
    assert len(said) <= 200 and bench.chips.reads - before <= 250


def test_an_output_starts_safe_follows_its_wish_and_ends_safe(bench: Bench) -> None:
    assert (bench.chips.level(wire(FAN)), bench.chips.level(wire(LOCK))) == (False, False)  # the lock is active low
    assert bench.set(FAN, active=True) and bench.set(LOCK, active=False)
    assert (bench.chips.level(wire(FAN)), bench.chips.level(wire(LOCK))) == (True, True)
    bench.gpio.close()
    assert (bench.chips.level(wire(FAN)), bench.chips.level(wire(LOCK))) == (False, False)


def test_an_exception_leaves_the_outputs_safe(bench: Bench) -> None:
    bench.set(FAN, active=True)
    with pytest.raises(OSError, match="elsewhere"), bench.gpio:
        raise OSError("elsewhere")
    assert bench.chips.level(wire(FAN)) is False


def test_a_killed_agent_leaves_a_level_behind_that_make_safe_ends(bench: Bench) -> None:
    bench.set(FAN, active=True)
    bench.chips.kill()
    assert bench.chips.level(wire(FAN)) is True  # what the kernel does: nothing
    assert make_safe([FAN, LOCK], bench.chips) == []
    assert bench.chips.level(wire(FAN)) is False
    bench.chips.unplug(CHIP)
    assert len(make_safe([FAN, LOCK], bench.chips)) == 2


def test_a_relay_that_does_not_follow_is_told_once_and_so_is_its_return(bench: Bench) -> None:
    bench.chips.hang(wire(FAN))
    bench.set(FAN, active=True)
    (failed,) = bench.run(60.0)
    assert isinstance(failed, DeviceFailed) and "switched on and fan_runs says off" in failed.why
    bench.chips.contact(wire(FAN_RUNS), level=True)
    posted = bench.run(STEADY_S + 2.0)
    assert posted == [InputChanged("fan_runs", "feedback", active=True), DeviceWorks("output fan")]


def test_a_relay_that_follows_in_time_is_no_fault(bench: Bench) -> None:
    for i in range(20):
        bench.set(FAN, active=i % 2 == 0)
        bench.gpio.due(bench.chips.now)  # as every turn of the loop does
        bench.run(FOLLOW_S + 0.2)
    assert not any(isinstance(e, DeviceFailed) for e in bench.posted)


def test_a_relay_that_cannot_be_read_back_is_a_fault(bench: Bench) -> None:
    bench.chips.shorted[wire(LOCK)] = False
    assert not bench.set(LOCK, active=False)
    assert [type(e) for e in bench.run(30.0)] == [] and isinstance(bench.posted[-1], DeviceFailed)
    bench.chips.shorted.clear()
    assert DeviceWorks("output lock") in bench.run(10.0)


def test_what_somebody_else_did_to_a_line_is_undone(bench: Bench) -> None:
    bench.set(LOCK, active=True)
    bench.chips.drive(wire(LOCK), level=True)
    bench.run(CHECK_S)
    assert bench.chips.level(wire(LOCK)) is False


def test_a_chip_that_vanishes_is_one_fault_a_line_and_comes_back_with_the_wish(bench: Bench) -> None:
    bench.set(FAN, active=True)
    bench.run(2.0)
    bench.chips.unplug(CHIP)
    lost = bench.run(60.0)
    assert {type(e) for e in lost} == {DeviceFailed} and len(lost) == 6
    assert all("is not there" in e.why for e in lost)
    bench.chips.drive(wire(FAN), level=False)  # it lost its supply too
    bench.chips.gone.clear()
    back = bench.run(10.0)
    assert len([e for e in back if isinstance(e, DeviceWorks)]) == 6
    assert bench.chips.level(wire(FAN)) is True
    assert InputChanged("tamper", "tamper", active=False) in back  # told anew: who knows what happened meanwhile


def test_a_loose_plug_fills_no_journal(bench: Bench) -> None:
    for _ in range(50):
        bench.chips.unplug(CHIP)
        bench.run(1.5)
        bench.chips.gone.clear()
        bench.run(1.5)
    assert len([e for e in bench.posted if isinstance(e, DeviceFailed | DeviceWorks)]) == 6


@pytest.mark.parametrize(("how", "word"), [("denied", "usermod -aG gpio"), ("gone", "is not there")])
def test_what_may_not_be_used_or_is_absent_is_one_sentence_a_line(how: str, word: str) -> None:
    bench = Bench()
    getattr(bench.chips, how).add(CHIP)
    said = bench.run(30.0)
    assert len(said) == 6 and all(isinstance(e, DeviceFailed) and word in e.why for e in said)
    assert not bench.set(FAN, active=True)


def test_a_line_of_another_program_is_left_to_it(bench: Bench) -> None:
    other = bench.new()
    other.due(bench.chips.now)
    assert all("in use by another" in e.why for e in bench.posted[-6:])
    other.close()
    assert bench.set(FAN, active=True)


def test_a_polled_input_is_debounced_by_us() -> None:
    bench = Bench()
    polled = InputFacts("door", "auxiliary", CHIP, 8, debounce_ms=100, poll_ms=20)
    bench.gpio = Gpio([], [polled], bench.chips, bench.chips, bench.posted.append, bench.now)
    bench.run(1.0)
    bench.chips.contact(wire(polled), level=True, bounce_s=0.08)
    assert bench.run(5.0) == [InputChanged("door", "auxiliary", active=True)]


@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=60), st.integers(0, 100))
def test_a_debounced_value_was_read_so_long(readings: list[tuple[int, bool]], period: int) -> None:
    now, was, run = 0, debounced(None, False, 0, period), 0
    for step, raw in readings:
        now += step
        run = now if raw != was.raw else run
        now_it_is = debounced(was, raw, now, period)
        if now_it_is.value != was.value:
            assert now_it_is.value == raw and now - run >= period
        was = now_it_is
    assert isinstance(was, Debounced)


def test_random_lives_end_safe_and_tell_the_truth() -> None:
    for seed in range(100):
        rng, bench = random.Random(seed), Bench(SimChips(seed))
        deeds: list[Callable[[], object]] = [
            partial(bench.set, FAN, active=True),
            partial(bench.set, FAN, active=False),
            partial(bench.chips.contact, wire(TAMPER), level=True, bounce_s=0.01),
            partial(bench.chips.contact, wire(TAMPER), level=False, bounce_s=0.01),
            partial(bench.chips.unplug, CHIP),
            bench.chips.gone.clear,
            partial(bench.chips.denied.add, CHIP),
            bench.chips.denied.clear,
        ]
        for _ in range(40):
            rng.choice(deeds)()
            bench.run(rng.uniform(0.0, 3.0))
        bench.chips.gone.clear()
        bench.chips.denied.clear()
        bench.run(10.0)
        assert bench.chips.level(wire(FAN)) == bench.gpio.outputs["fan"].wished, seed
        assert bench.gpio.inputs["tamper"].active == bench.chips.level(wire(TAMPER)), seed
        told = [e for e in bench.posted if isinstance(e, InputChanged) and e.name == "tamper"]
        assert told[-1].active == bench.chips.level(wire(TAMPER)), seed
        bench.gpio.close()
        assert bench.chips.level(wire(FAN)) is False, seed


def test_without_libgpiod_a_board_with_lines_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(ConfigError, match=r"pip install 'station-agent\[device\]'"):
        Gpiod()


LINE = {"name": "k1", "role": "contactor", "chip": CHIP, "line": 1}


@pytest.mark.promise("S1")
def test_a_power_contactor_on_linux_is_refused_unless_hardware_drops_it() -> None:
    with pytest.raises(ConfigError, match="leave it to the port controller, or name the hardware"):
        table(LINE, OutputFacts, "board.toml: [[output]] 1")
    with pytest.raises(ConfigError, match="name the hardware"):
        table(LINE | {"dropped_by": "  "}, OutputFacts, "x")
    with pytest.raises(ConfigError, match="is not safe"):
        table(LINE | {"dropped_by": "watchdog relay K9 in the coil's circuit", "safe": True}, OutputFacts, "x")
    assert table(LINE | {"dropped_by": "watchdog relay K9 in the coil's circuit"}, OutputFacts, "x").role == "contactor"


@pytest.mark.parametrize(
    ("facts", "type_", "word"),
    [
        ({"role": "fan", "dropped_by": "x"}, OutputFacts, "remove it"),
        ({"role": "button"}, InputFacts, "evse_id"),
        ({"role": "tamper", "evse_id": 1}, InputFacts, "evse_id"),
        ({"role": "tamper", "poll_ms": 3}, InputFacts, "keeps a processor busy"),
        ({"role": "tamper", "bias": "up"}, InputFacts, '"pull_up"'),
        ({"role": "tamper", "debounce": 3}, InputFacts, "did you mean debounce_ms"),
        ({"role": "fan", "line": 5_000}, OutputFacts, "from 0 to 1023"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_what_to_type(facts: dict[str, Any], type_: Any, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        table(LINE | facts, type_, "x")


def test_the_lines_of_a_board_agree() -> None:
    check_lines([FAN, LOCK], [FAN_RUNS, BUTTON])
    with pytest.raises(ValueError, match="is used twice"):
        check_lines([FAN], [InputFacts("x", "feedback", CHIP, FAN.line)])
    with pytest.raises(ValueError, match="named lock"):
        check_lines([LOCK], [InputFacts("lock", "auxiliary", CHIP, 7)])
    with pytest.raises(ValueError, match='no \\[\\[input\\]\\] with role = "feedback" is named fan_runs'):
        check_lines([FAN], [])
