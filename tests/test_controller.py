"""The port controller in its simulated world: stories in simulated time, and an observer at the pins that knows S1 and
S11 on its own."""

import os
import random
import select
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.sim.plant import Bay
from board.controller import contract
from board.controller.app.controller import Controller
from board.controller.app.memory import Memory
from board.controller.app.port import Pins, Port, PortBoard
from board.controller.contract import CP_A, CP_B, CP_C, CP_D, CP_E, pack, unpack
from board.controller.link import Deframer, frame

OFF, STOP_NOW = (0, 1, 0, 0), (0, 2, 0, 0)
GO = (32_000, 0, 1, 0)
TETHERED, SOCKETED, THREE_PHASE = PortBoard(), PortBoard(socketed=True), PortBoard(phases=3)

Change = Callable[[SimController], object]
Row = tuple[int, ...]


class Stage:
    """A station's hardware, a host's wishes, and an observer who compares every edge at the pins with the promises.

    The observer never reads what the controller thinks, only pins, hardware and what the host said.
    """

    def __init__(self, *boards: PortBoard, on: bool = True, **options: Any) -> None:
        self.sim = SimController(boards or (TETHERED, TETHERED), on_pin=self._on_pin, **options)
        self.now = 0.0
        self.circuit_ma = options.get("circuit_limit_ma", 40_000)
        self.grace_s = max(3.0, options.get("host_grace_s", 60))
        self.rows = [OFF] * len(self.sim.bays)
        self.reports: list[Row] = [()] * len(self.sim.bays)
        self.heard: list[tuple[float, int, Row]] = []
        self.edges: list[tuple[float, int, str, int]] = []
        self._host_silent_since: float | None = 0.0
        self._shown: list[dict[str, int]] = [{} for _ in self.sim.bays]
        self._since: dict[tuple[int, str], float] = {}
        if on:
            self.sim.power_on(0.0)
            self.at(1)

    # -- the story's verbs

    def at(self, now: float) -> "Stage":
        for _, uptime_ms, index, row in self.sim.advance(now):
            assert unpack(pack(contract.REPORT, uptime_ms, index, contract.clamped(contract.PORT_REPORT, row)))
            self.reports[index] = row
            self.heard.append((now, index, row))
        self.now = now
        self._must_be_open(now)
        return self

    def after(self, seconds: float) -> "Stage":
        return self.at(round(self.now + seconds, 3))

    def wish(self, index: int, row: tuple[int, int, int, int]) -> "Stage":
        self._must_be_open(self.now)
        rows = [*self.rows]
        rows[index] = row
        self.said(*rows)
        self.sim.wish(self.rows, self.now)
        return self.at(self.now)

    def said(self, *rows: tuple[int, int, int, int]) -> None:
        """The host's word from here on, as the observer takes it."""
        self.rows = list(rows)
        self._host_silent_since = None

    def silence(self) -> "Stage":
        self._must_be_open(self.now)
        if self._host_silent_since is None:
            self._host_silent_since = self.now
        self.sim.host_alive(False, self.now)
        return self.at(self.now)

    def plug(self, index: int, car: Car | None = None) -> "Stage":
        self.sim.plug(index, car or Car(need_wh=50_000), self.now)
        return self.at(self.now)

    def touch(self, change: Change) -> "Stage":
        self._must_be_open(self.now)
        self.sim.touch(self.now, change)
        return self.at(self.now)

    def charging(self, index: int = 0, car: Car | None = None) -> "Stage":
        self.plug(index, car).after(1).wish(index, GO).after(10)
        assert self.closed(index) and self.sim.bays[index].power_w > 0
        return self

    # -- what the story asks

    def port(self, index: int, name: str) -> int:
        return self.reports[index][contract.PORT_REPORT[::3].index(name)]

    def faults(self, index: int = 0) -> set[str]:
        return {name for i, name in enumerate(NAMES) if self.port(index, "faults") >> i & 1}

    def closed(self, index: int = 0) -> bool:
        return self.sim.bays[index].contactor.value

    def edge(self, name: str, value: int, index: int = 0) -> float:
        """When this pin last took this value."""
        return [t for t, i, n, v in self.edges if (i, n, v) == (index, name, value)][-1]

    # -- the observer

    def _on_pin(self, t: float, index: int, name: str, value: int) -> None:
        self._must_be_open(t)
        self.edges.append((t, index, name, value))
        self._shown[index][name] = value
        assert sum(shown.get("offer_ma", 0) for shown in self._shown) <= self.circuit_ma, "S11"
        if name == "offer_ma":
            assert value == 0 or value >= 6_000
            if value > 0:
                assert value <= self.rows[index][0] and value <= self.sim.bays[index].board.max_ma
        if (name, value) == ("coil", 1):
            self._may_close(t, index)

    def _may_close(self, t: float, index: int) -> None:
        shown, bay = self._shown[index], self.sim.bays[index]
        assert bay.car is not None
        assert bay.car.cp() == CP_C or (bay.car.cp() == CP_D and bay.board.ventilated), "S1: the car is ready"
        assert shown["offer_ma"] >= 6_000, "S1: 6 A offered"
        assert self.rows[index][0] >= 6_000 and self.rows[index][1] == 0, "S1: the host wants it"
        silent_since = self._host_silent_since
        assert silent_since is None or t - silent_since < 3.0, "S1: host fresh"
        assert shown["self_test"] == contract.TEST_PASSED, "S1: self-test passed"
        assert not bay.contactor.value, "S1: no weld"
        if bay.board.socketed:
            assert bay.bolt.value and bay.car.cable_ma >= shown["offer_ma"], "S1: lock and cable"
        assert not self._reasons(index, t), f"S1: nothing wrong, not even for an instant: {self._reasons(index, t)}"

    def _reasons(self, index: int, t: float) -> list[tuple[str, float]]:
        """Why this contactor must be open now, and within how many seconds of the reason it must be."""
        bay, row, silent = self.sim.bays[index], self.rows[index], self._host_silent_since
        cp = self._shown[index].get("cp", CP_A)
        reasons = {
            "no power": (self.sim.controller is None, 0.1),
            "not C or D": (cp not in (CP_C, CP_D), 0.1),
            "D without ventilation": (cp == CP_D and not bay.board.ventilated, 0.1),
            "stop now": (row[1] == 2, 0.1),
            "emergency stop": (self.sim.emergency_stop, 0.1),
            "ground fault": (bay.cable_leaks, 0.1),
            "no diode": (bay.car is not None and not bay.car.diode, 0.1),
            "stop": (row[1] == 1 or row[0] < 6_000, 6.1),
            "silent": (silent is not None and t - silent >= self.grace_s, 6.1),
            "hot": (bay.temperature_dc >= bay.board.temperature_max_dc, 7.1),
            "voltage": (not 187_000 <= bay.voltage_mv[0] <= 264_000, 7.1),
            "meter": (bay.meter_dead and bay.board.metered, 11.1),
        }
        return [(name, limit) for name, (there, limit) in reasons.items() if there]

    def _must_be_open(self, t: float) -> None:
        for index, bay in enumerate(self.sim.bays):
            reasons = [] if bay.contactor.stuck else self._reasons(index, t)  # a weld opens for nobody
            for key in [k for k in self._since if k[0] == index and k[1] not in dict(reasons)]:
                del self._since[key]
            for name, limit in reasons:
                since = self._since.setdefault((index, name), t)
                if t - since > limit + 1e-6:
                    assert not self._shown[index].get("contactor"), f"S1: closed {t - since} s after: {name}"


# -- a session


@pytest.mark.promise("S1")
def test_a_session_closes_when_the_car_is_ready_meters_exactly_and_opens_when_it_is_full() -> None:
    stage = Stage().plug(0, Car(max_ma=16_000, need_wh=2_000)).after(5).wish(0, GO).after(3_600)
    assert [(n, v) for _, i, n, v in stage.edges if i == 0 and n in ("offer_ma", "coil", "contactor")] == [
        ("offer_ma", 32_000), ("coil", 1), ("contactor", 1), ("coil", 0), ("contactor", 0),
    ]  # fmt: skip
    assert stage.edge("contactor", 1) - stage.edge("cp", CP_C) <= 3.0  # IEC 61851-1: the car need not wait longer
    assert stage.sim.register_wh(0, stage.now) == pytest.approx(2_000, abs=0.01)
    assert (stage.port(0, "energy_wh"), stage.port(0, "closes"), stage.port(0, "unplugs")) == (2_000, 1, 1)
    assert stage.sim.register_wh(1, stage.now) == 0


def test_energy_is_current_times_voltage_times_time() -> None:
    stage = Stage(THREE_PHASE).charging(0, Car(max_ma=16_000, phases=3, need_wh=90_000))
    before = stage.sim.register_wh(0, stage.now)
    assert stage.after(3_600).sim.register_wh(0, stage.now) - before == 3 * 16 * 230


@pytest.mark.promise("S1")
def test_an_orderly_stop_takes_the_pwm_first_and_opens_when_the_car_let_go() -> None:
    stage = Stage().charging().wish(0, OFF).after(10)
    assert stage.edge("offer_ma", 0) < stage.edge("cp", CP_B) <= stage.edge("contactor", 0)
    assert stage.edge("contactor", 0) - stage.edge("cp", CP_B) <= 0.1


@pytest.mark.promise("S1")
def test_a_car_that_does_not_let_go_is_cut_off_after_six_seconds() -> None:
    stage = Stage().charging(0, Car(stubborn=True)).wish(0, OFF).after(10)
    assert stage.edge("coil", 0) - stage.edge("offer_ma", 0) == 6.0
    assert not stage.closed()


@pytest.mark.promise("S1")
def test_stop_now_waits_for_nobody() -> None:
    stage = Stage().charging(0, Car(stubborn=True)).wish(0, STOP_NOW).after(0.1)
    assert not stage.closed()


@pytest.mark.promise("S1")
def test_pulling_the_plug_under_load_opens_within_100_ms() -> None:
    stage = Stage().charging()
    assert stage.sim.unplug(0, stage.now)
    assert not stage.after(0.1).closed()


@pytest.mark.promise("S1")
def test_a_stubborn_car_gets_nothing_before_it_is_offered() -> None:
    stage = Stage().plug(0, Car(stubborn=True)).after(60)
    assert stage.port(0, "cp") == CP_C and not stage.closed()
    assert stage.wish(0, GO).after(1).closed()


@pytest.mark.promise("S1")
def test_a_missing_diode_is_seen_before_the_first_closing() -> None:
    stage = Stage().plug(0, Car(stubborn=True, diode=False)).wish(0, GO).after(10)
    assert stage.faults() == {"diode_fault"} and stage.port(0, "closes") == 0


@pytest.mark.promise("S1")
def test_another_car_does_not_charge_on_the_wish_that_was_meant_for_the_one_before() -> None:
    stage = Stage().charging()
    stage.sim.unplug(0, stage.now)
    stage.after(0.2).plug(0).after(60)
    assert stage.port(0, "offer_ma") == 0 and not stage.closed()
    assert stage.wish(0, OFF).wish(0, GO).after(5).closed()


def test_a_wish_made_before_the_car_came_serves_the_car_that_comes() -> None:
    stage = Stage().wish(0, GO).after(60)
    assert stage.port(0, "offer_ma") == 0  # an offer to nobody would take current from the others
    assert stage.plug(0).after(5).closed()


def test_a_pilot_that_flutters_does_not_wear_the_contactor_and_needs_no_new_self_test() -> None:
    stage = Stage().charging()
    tests = len([1 for _, i, n, v in stage.edges if (i, n, v) == (0, "self_test", contract.TEST_RUNNING)])
    for _ in range(100):
        stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", CP_B)).after(0.05)
        stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", None)).after(0.05)
    assert stage.port(0, "closes") <= 6
    assert len([1 for _, i, n, v in stage.edges if (i, n, v) == (0, "self_test", contract.TEST_RUNNING)]) == tests
    assert stage.after(10).closed()


def test_a_car_that_asks_and_withdraws_all_day_does_not_wear_the_contactor_and_the_next_one_does_not_wait() -> None:
    stage = Stage().charging()
    for _ in range(1_000):
        stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", CP_B)).after(5)
        stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", None)).after(5)
    assert 100 < stage.port(0, "closes") < 200
    stage.sim.unplug(0, stage.now)
    stage.after(1).wish(0, OFF).plug(0).wish(0, GO)
    assert stage.after(4).closed()


def test_a_car_that_pauses_now_and_then_never_waits() -> None:
    stage = Stage().charging()
    for _ in range(10):
        stage.after(100).touch(lambda sim: setattr(sim.bays[0], "pilot_fault", CP_B)).after(5)
        assert not stage.closed()
        assert stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", None)).after(0.1).closed()


# -- sockets


@pytest.mark.promise("S1")
def test_a_socket_offers_what_the_cable_carries_locks_it_first_and_keeps_it_while_live() -> None:
    stage = Stage(SOCKETED).charging(0, Car(cable_ma=20_000, need_wh=50_000))
    assert (stage.port(0, "offer_ma"), stage.port(0, "cable_ma")) == (20_000, 20_000)
    assert stage.edge("locked", 1) < stage.edge("coil", 1)
    stage.wish(0, (32_000, 0, 0, 0)).after(1)  # a host that forgets the lock
    assert stage.closed() and not stage.sim.unplug(0, stage.now)
    stage.wish(0, (0, 1, 0, 0)).after(5)
    assert stage.edge("locked", 0) > stage.edge("contactor", 0) and stage.sim.unplug(0, stage.now)


def test_a_car_that_leaves_its_cable_behind_ends_the_power_not_the_lock() -> None:
    stage = Stage(SOCKETED).charging()
    stage.sim.leave(0, stage.now)
    stage.after(1)
    assert not stage.closed() and stage.port(0, "cp") == CP_A
    assert (stage.port(0, "locked"), stage.port(0, "cable_ma")) == (1, 32_000)
    assert stage.wish(0, OFF).after(1).port(0, "locked") == 0


@pytest.mark.promise("S1")
def test_a_live_contact_holds_its_lock_even_if_car_and_cable_are_not_seen_any_more() -> None:
    stage = Stage(SOCKETED).charging().touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True))
    stage.sim.leave(0, stage.now)
    stage.touch(lambda sim: setattr(sim.bays[0], "abandoned_cable_ma", 0)).wish(0, OFF).after(2)
    assert stage.port(0, "cp") == CP_A and stage.port(0, "cable_ma") == 0
    assert stage.sim.bays[0].contactor.value and stage.sim.bays[0].bolt.value
    stage.touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", False)).after(1)
    assert not stage.sim.bays[0].bolt.value


def test_a_dead_host_does_not_keep_a_drivers_cable() -> None:
    stage = Stage(SOCKETED).charging().silence().after(70)
    assert not stage.closed() and stage.sim.unplug(0, stage.now)


# -- the host falls silent


@pytest.mark.promise("S1", "S11")
def test_a_silent_host_means_the_failsafe_current_then_an_orderly_stop() -> None:
    stage = Stage().charging().silence()
    assert stage.after(2.9).port(0, "offer_ma") == 32_000
    assert stage.after(0.2).port(0, "offer_ma") == 6_000
    assert stage.after(56.8).port(0, "offer_ma") == 6_000 and stage.closed()
    assert stage.after(0.2).port(0, "offer_ma") == 0
    assert not stage.after(2).closed()
    assert stage.wish(0, GO).after(5).closed()


def test_without_grace_a_silent_host_means_stop() -> None:
    stage = Stage(host_grace_s=0).charging().silence().after(3.1)
    assert stage.port(0, "offer_ma") == 0
    assert not stage.after(2).closed()


@pytest.mark.promise("S1")
def test_while_the_host_is_silent_nothing_starts_and_nothing_is_raised() -> None:
    stage = Stage(failsafe_ma=20_000).charging(0, Car(max_ma=10_000, need_wh=50_000)).wish(0, (10_000, 0, 1, 0))
    stage.plug(1).wish(1, (6_000, 0, 1, 0)).after(2)
    stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", CP_B)).silence().after(4)
    assert stage.port(0, "offer_ma") == 10_000
    assert not stage.touch(lambda sim: setattr(sim.bays[0], "pilot_fault", None)).after(10).closed(0)
    assert stage.port(1, "offer_ma") == 6_000 and stage.closed(1)


@pytest.mark.promise("S1")
def test_what_others_give_back_while_the_host_is_silent_is_not_taken() -> None:
    stage = Stage(failsafe_ma=20_000).charging(0).plug(1).wish(1, GO).after(2)
    assert stage.port(1, "offer_ma") == 8_000
    stage.silence().after(4).sim.unplug(0, stage.now)
    assert stage.after(20).port(1, "offer_ma") == 8_000
    assert stage.wish(0, OFF).after(1).port(1, "offer_ma") == 32_000


# -- ground fault and its self-test


@pytest.mark.promise("S1")
def test_a_ground_fault_is_tried_again_three_times_then_halted_until_unplugged() -> None:
    stage = Stage().charging(0, Car(leak_after_ms=20_000, need_wh=50_000)).after(15)
    for tries in range(1, 4):
        assert stage.faults() == {"ground_fault"} and not stage.closed(), tries
        assert stage.sim.bays[0].pins.cp == CP_B
        assert 898 <= stage.port(0, "retry_in_s") <= 900
        tripped = stage.now
        stage.at(stage.edge("coil", 0) + 899.9)
        assert stage.faults() == {"ground_fault"} and stage.now > tripped
        stage.after(10)
        assert stage.faults() == set() and stage.closed() and stage.port(0, "retry_in_s") == 0
        stage.after(15)
    assert stage.faults() == {"ground_fault_halted"}
    assert stage.after(3_600).faults() == {"ground_fault_halted"} and not stage.closed()
    stage.sim.unplug(0, stage.now)
    assert stage.after(1).faults() == set()
    assert stage.wish(0, OFF).plug(0).wish(0, GO).after(5).closed()


def test_a_ground_fault_before_the_plug_lasts_as_long_as_it_is_there() -> None:
    stage = Stage().touch(lambda sim: setattr(sim.bays[0], "cable_leaks", True)).after(1)
    assert stage.faults() == {"ground_fault"}
    assert stage.touch(lambda sim: setattr(sim.bays[0], "cable_leaks", False)).after(1).faults() == set()


def test_the_countdown_runs() -> None:
    stage = Stage().charging(0, Car(leak_after_ms=15_000, need_wh=50_000)).after(100)
    port, pins = stage.sim.controller, stage.sim.bays[0].pins
    assert port is not None
    tripped_ms = round(stage.edge("coil", 0) * 1000)
    assert port.report(0, tripped_ms + 60_000, pins)[17] == 840
    assert port.report(0, tripped_ms + 899_999, pins)[17] == 1


@pytest.mark.promise("S1")
def test_a_self_test_comes_at_power_on_with_each_car_and_after_each_session() -> None:
    def tests(stage: Stage) -> int:
        return len([1 for _, i, n, v in stage.edges if (i, n, v) == (0, "self_test", contract.TEST_PASSED)])

    stage = Stage()
    assert tests(stage) == 1
    assert tests(stage.plug(0).after(1)) == 2
    assert tests(stage.wish(0, GO).after(60)) == 2
    assert tests(stage.wish(0, OFF).after(60)) == 3
    assert tests(stage.wish(0, GO).after(60)) == 3 and stage.closed()


@pytest.mark.promise("S1")
def test_a_failed_self_test_keeps_the_port_open_until_one_passes() -> None:
    stage = Stage(on=False).touch(lambda sim: setattr(sim.bays[0].detector, "stuck", True))
    stage.sim.power_on(0.0)
    stage.after(2).plug(0).wish(0, GO).after(60)
    assert stage.faults() == {"ground_fault_self_test"} and not stage.closed()
    assert stage.port(0, "self_test") == contract.TEST_FAILED and stage.faults(1) == set()
    stage.wish(0, (32_000, 0, 1, 1)).after(5)
    assert stage.faults() == {"ground_fault_self_test"}
    stage.touch(lambda sim: setattr(sim.bays[0].detector, "stuck", False)).after(60)
    stage.sim.unplug(0, stage.now)
    stage.after(1).plug(0).wish(0, OFF).after(1)
    assert stage.faults() == {"ground_fault_self_test"}
    assert stage.wish(0, (32_000, 0, 1, 2)).after(5).closed() and stage.faults() == set()


# -- contactors


def test_a_welded_contactor_is_told_apart_and_lasts_until_a_clear_finds_it_open() -> None:
    stage = Stage().charging().touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True)).wish(0, OFF).after(3)
    assert stage.faults() == {"contactor_welded"} and stage.port(0, "contactor") == 1
    assert stage.wish(0, (0, 1, 0, 1)).after(1).faults() == {"contactor_welded"}
    stage.touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", False)).after(1)
    assert stage.faults() == {"contactor_welded"} and stage.port(0, "contactor") == 0
    assert stage.wish(0, (0, 1, 0, 2)).after(1).faults() == set()


def test_a_power_cycle_finds_a_weld_again_before_anything_closes() -> None:
    stage = Stage().charging().touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True))
    stage.sim.power_off(stage.now)
    stage.after(120)
    stage.sim.power_on(stage.now)
    stage.after(1)
    assert stage.faults() == {"contactor_welded"} and stage.port(0, "self_test") == contract.TEST_NOT_RUN


def test_a_contactor_that_does_not_close_is_stuck_open_not_a_ground_fault() -> None:
    stage = Stage().touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True)).plug(0).wish(0, GO).after(5)
    assert stage.faults() == {"contactor_stuck_open"}
    assert stage.edge("coil", 0) - stage.edge("coil", 1) == 0.5
    stage.touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", False)).after(60)
    assert stage.faults() == {"contactor_stuck_open"}
    assert stage.wish(0, (32_000, 0, 1, 1)).after(5).closed()


# -- every other fault: what causes it, how soon it is open, until when it lasts


def hardware(**values: Any) -> Change:
    return lambda sim: vars(sim.bays[0]).update(values)


def button(pressed: bool) -> Change:
    return lambda sim: setattr(sim, "emergency_stop", pressed)


def car(**values: Any) -> Change:
    return lambda sim: vars(sim.bays[0].car).update(values)


NAMES = contract.FAULTS.split()
FAULT_STORIES = [
    # fault, board, cause, cure, open after, gone with its cause after: None = lasts until unplugged
    ("pilot_fault", TETHERED, hardware(pilot_fault=CP_E), hardware(pilot_fault=None), 0.1, 0.1),
    ("diode_fault", TETHERED, car(diode=False), car(diode=True), 0.1, None),
    ("ventilation_missing", TETHERED, car(ventilation=True), car(ventilation=False), 0.1, None),
    ("over_current", TETHERED, car(greed_ma=5_000), car(greed_ma=0), 13.1, None),
    ("over_voltage", TETHERED, hardware(voltage_mv=(270_000, 0, 0)), hardware(voltage_mv=(230_000, 0, 0)), 7.1, 10.1),
    ("under_voltage", TETHERED, hardware(voltage_mv=(180_000, 0, 0)), hardware(voltage_mv=(230_000, 0, 0)), 7.1, 10.1),
    ("over_temperature", TETHERED, hardware(temperature_dc=850), hardware(temperature_dc=749), 7.1, 60.1),
    ("proximity_fault", SOCKETED, car(cable_ma=0), car(cable_ma=32_000), 7.1, None),
    ("meter_fault", TETHERED, hardware(meter_dead=True), hardware(meter_dead=False), 11.1, 0.1),
    ("emergency_stop", TETHERED, button(True), button(False), 0.1, 0.1),
    (
        "phase_loss",
        THREE_PHASE,
        hardware(voltage_mv=(230_000, 0, 230_000)),
        hardware(voltage_mv=(230_000,) * 3),
        7.1,
        10.1,
    ),
]


@pytest.mark.promise("S1")
@pytest.mark.parametrize("story", FAULT_STORIES, ids=lambda story: story[0])
def test_a_fault_opens_in_time_and_lasts_as_long_as_its_row_says(story: tuple[Any, ...]) -> None:
    fault, board, cause, cure, open_after_s, gone_after_s = story
    stage = Stage(board, TETHERED).charging(0, Car(phases=board.phases, need_wh=50_000))
    stage.touch(cause).after(open_after_s)
    assert not stage.closed() and stage.faults() == {fault}
    assert stage.faults(1) == ({fault} if fault == "emergency_stop" else set())
    stage.touch(cure).after(gone_after_s or 120)
    assert stage.faults() == (set() if gone_after_s else {fault})
    assert not stage.closed() or gone_after_s
    stage.wish(0, OFF)
    stage.after(1).sim.unplug(0, stage.now)
    assert stage.after(1).faults() == set()
    assert stage.plug(0).wish(0, GO).after(5).closed()


def test_the_release_of_the_emergency_stop_restarts_nothing() -> None:
    stage = Stage().charging().touch(button(True)).after(1).touch(button(False)).after(60)
    assert stage.faults() == set() and not stage.closed()
    assert stage.wish(0, OFF).wish(0, GO).after(5).closed()


def test_over_temperature_ends_only_when_clearly_cooler() -> None:
    stage = Stage().touch(hardware(temperature_dc=900)).after(2).touch(hardware(temperature_dc=800)).after(300)
    assert stage.faults() == {"over_temperature"}


def test_a_car_has_five_seconds_to_follow_a_lower_offer() -> None:
    slow = Car(need_wh=50_000, reaction_ms=5_000)
    stage = Stage().charging(0, slow).wish(0, (6_000, 0, 1, 0)).after(30)
    assert stage.faults() == set() and stage.closed()


def test_each_lowering_gives_the_car_its_time_anew() -> None:
    port, pins = Port(PortBoard()), Pins()
    pins.voltage_mv = (230_000, 0, 0)

    def until(now_ms: int, offer_ma: int) -> int:
        port.wish(offer_ma, 0, 0, 0)
        for t in range(now_ms, now_ms + 4_800, 10):
            pins.tripped, pins.contactor = port.testing, port.coil
            port.step(t, pins)
        return port.faults

    pins.cp = CP_C
    assert until(0, 32_000) == 0 and port.coil
    pins.current_ma = (32_000, 0, 0)
    assert until(4_800, 16_000) == 0
    pins.current_ma = (16_000, 0, 0)
    assert until(9_600, 6_000) == 0  # above the offer for 9.6 s on end, yet in time each time
    assert until(14_400, 6_000) == 1 << NAMES.index("over_current")


def test_a_lock_that_jams_keeps_the_port_open_until_unplugged() -> None:
    stage = Stage(SOCKETED).touch(lambda sim: setattr(sim.bays[0].bolt, "stuck", True)).plug(0).wish(0, GO).after(10)
    assert stage.faults() == {"lock_failure"} and not stage.closed()
    stage.wish(0, OFF)
    stage.sim.unplug(0, stage.now)
    assert stage.after(1).faults() == set()


@pytest.mark.promise("S1")
def test_with_ventilation_state_d_is_served() -> None:
    assert Stage(PortBoard(ventilated=True)).charging(0, Car(ventilation=True)).port(0, "cp") == CP_D


def test_a_clear_clears_what_is_latched_only_when_its_cause_is_gone() -> None:
    stage = Stage().charging(0, Car(diode=True, need_wh=50_000)).touch(car(diode=False)).after(1)
    stage.touch(car(diode=True)).after(60)
    assert stage.faults() == {"diode_fault"}
    assert stage.wish(0, (32_000, 0, 1, 1)).after(5).closed()


# -- the circuit


@pytest.mark.promise("S11")
def test_whatever_the_host_asks_the_offers_fit_the_circuit() -> None:
    stage = Stage().charging(0).plug(1).wish(1, (80_000, 0, 1, 0)).after(10)
    assert [stage.port(i, "offer_ma") for i in (0, 1)] == [32_000, 8_000]


@pytest.mark.promise("S11")
def test_what_one_car_may_still_draw_is_not_given_to_the_other() -> None:
    stage = Stage(circuit_limit_ma=32_000).charging(0).plug(1).wish(1, GO).after(1)
    assert stage.port(1, "offer_ma") == 0
    stage.wish(0, (16_000, 0, 1, 0)).after(4.9)
    assert [stage.port(i, "offer_ma") for i in (0, 1)] == [16_000, 0]  # the car has 5 s to follow
    assert stage.after(0.2).port(1, "offer_ma") == 16_000
    stage.sim.unplug(0, stage.now)
    assert stage.after(0.1).port(1, "offer_ma") == 32_000  # nobody there to draw


@pytest.mark.promise("S11")
def test_a_stubborn_car_keeps_its_share_until_its_contactor_is_open() -> None:
    stage = Stage(circuit_limit_ma=32_000).charging(0, Car(stubborn=True)).plug(1).wish(0, OFF).wish(1, GO).after(5.9)
    assert stage.closed(0) and stage.port(1, "offer_ma") == 0
    assert stage.after(0.2).port(1, "offer_ma") == 32_000


@pytest.mark.promise("S11")
def test_a_weld_keeps_what_flows_through_it_even_after_a_reboot() -> None:
    stage = (
        Stage(circuit_limit_ma=32_000)
        .charging(0, Car(stubborn=True, max_ma=20_000))
        .touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True))
    )
    stage.sim.reset(stage.now)
    stage.after(1).plug(1).wish(1, GO).after(10)
    assert stage.port(0, "power_w") > 0 and stage.port(1, "offer_ma") == 12_000


@pytest.mark.promise("S11")
@pytest.mark.parametrize("unknown", ["no meter here", "dead meter"])
def test_a_weld_of_which_nobody_knows_what_it_carries_keeps_all_that_it_could(unknown: str) -> None:
    board = PortBoard(max_ma=20_000, metered=unknown == "dead meter")
    stage = Stage(board, TETHERED, circuit_limit_ma=32_000).charging(0, Car(stubborn=True))
    stage.touch(lambda sim: vars(sim.bays[0]).update(meter_dead=True, _metered=(0,) * 8))
    stage.touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True))
    stage.sim.reset(stage.now)
    stage.after(1).plug(1).wish(1, GO).after(10)
    assert stage.port(1, "offer_ma") == 12_000
    stage.touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", False)).after(1)
    assert stage.port(1, "offer_ma") == 32_000


@pytest.mark.promise("S11")
def test_a_host_that_moves_the_offer_all_the_time_does_not_cover_a_car_that_draws_too_much() -> None:
    stage = Stage().plug(0, Car(max_ma=32_000, greed_ma=20_000, need_wh=50_000)).wish(0, (10_000, 0, 1, 0)).after(2)
    assert stage.closed()
    for n in range(20):
        stage.after(1).wish(0, (10_000 - n % 2 * 100, 0, 1, 0))
    assert stage.faults() == {"over_current"}


@pytest.mark.promise("S11")
def test_what_was_offered_before_is_not_kept_for_a_car_by_moving_the_offer_all_the_time() -> None:
    stage = Stage(circuit_limit_ma=32_000).charging(0, Car(reaction_ms=100, need_wh=50_000)).plug(1).wish(1, GO)
    for n in range(20):
        stage.after(1).wish(0, (10_000 - n % 2 * 100, 0, 1, 0))
    assert stage.port(1, "offer_ma") >= 21_900 and stage.faults() == set()


def sent(stage: Stage, *message: Any) -> list[tuple[Any, ...]]:
    """Say it over the line; what comes back, without the reports."""
    if message[0] == contract.WISH:
        stage.said(*message[2])
        stage._host_silent_since = stage.now
    stage.sim.receive(frame(0, pack(*message)), stage.now)
    return [m for m in answers(stage.sim.transmit()) if m[0] != contract.REPORT]


def answers(stream: bytes) -> list[tuple[Any, ...]]:
    got = [unpack(body) for _, body in Deframer().feed(stream)]
    assert None not in got
    return [message for message in got if message is not None]


def hello(**wrong: Any) -> tuple[Any, ...]:
    fields = {"major": contract.MAJOR, "first": contract.MINOR_FIRST, "last": contract.MINOR_LAST}
    return (contract.HELLO, *{**fields, "hash": contract.HASH, **wrong}.values())


@pytest.mark.promise("S11")
def test_a_controller_that_was_never_commissioned_offers_nothing_until_it_is() -> None:
    stage = Stage(circuit_limit_ma=0)
    stage.circuit_ma = 0
    assert stage.plug(0).wish(0, GO).after(60).port(0, "offer_ma") == 0
    assert sent(stage, *hello())[0][9] == 0
    stage.circuit_ma = 20_000
    assert sent(stage, contract.LIMIT, 20_000, 10_000, 60)[0][9] == 20_000
    assert stage.wish(0, GO).after(1).sim.bays[0].shown["offer_ma"] == 20_000


@pytest.mark.promise("S11")
def test_the_limit_is_stored_lowered_at_any_time_and_raised_only_when_idle() -> None:
    stage = Stage()
    sent(stage, *hello())
    assert sent(stage, contract.LIMIT, 40_000, 20_001, 60)[0][1] == contract.LIMIT_REFUSED  # two ports: 40,002
    stage.plug(0).wish(0, GO).plug(1).wish(1, GO).after(1)
    for circuit_ma, failsafe_ma in ((40_001, 6_000), (40_000, 6_001), (40_000, 20_001), (80_001, 0)):
        assert sent(stage, contract.LIMIT, circuit_ma, failsafe_ma, 60)[0][:2] == (
            contract.REFUSED,
            contract.LIMIT_REFUSED,
        )
    assert sent(stage, contract.LIMIT, 20_000, 6_000, 60)[0][0] == contract.WELCOME
    stage.circuit_ma = 20_000
    assert [bay.shown["offer_ma"] for bay in stage.sim.bays] == [20_000, 0]
    stage.sim.reset(stage.now)
    assert sent(stage.wish(0, OFF).wish(1, OFF).after(10), *hello())[0][9] == 20_000
    stage.circuit_ma = 30_000
    assert sent(stage, contract.LIMIT, 30_000, 6_000, 60)[0][9] == 30_000


# -- resets


def test_register_and_cycle_count_survive_resets_and_the_rest_starts_anew() -> None:
    stage = Stage(seed=7).charging().after(3_600)
    wh, closes = stage.sim.register_wh(0, stage.now), stage.port(0, "closes")
    stage.sim.power_off(stage.now)
    stage.after(600)
    first = stage.sim.power_on(stage.now)
    stage.after(1)
    assert stage.sim.register_wh(0, stage.now) == wh and stage.port(0, "energy_wh") == int(wh)
    assert (stage.port(0, "closes"), stage.port(0, "unplugs"), stage.port(1, "unplugs")) == (closes, 0, 1)
    assert not stage.closed() and stage.port(0, "offer_ma") == 0  # a boot starts nothing by itself
    second = stage.sim.reset(stage.now)
    assert first[5] != second[5] and second[6] == 0 and second[7] == contract.RESET_WATCHDOG


def test_a_swap_during_a_power_cut_is_not_seen_but_a_departure_is() -> None:
    stage = Stage().charging()
    stage.sim.power_off(stage.now)
    stage.sim.unplug(0, stage.now)
    stage.sim.power_on(stage.now + 60)
    assert stage.at(stage.now + 61).port(0, "unplugs") == 1


@pytest.mark.promise("S1")
def test_a_port_whose_meter_linux_reads_has_no_fault_of_what_it_cannot_measure_and_every_other() -> None:
    stage = Stage(PortBoard(metered=False, phases=3), TETHERED)
    stage.touch(hardware(meter_dead=True)).plug(0).after(1).wish(0, GO).after(60)
    assert stage.closed() and not stage.faults()
    stage.touch(hardware(temperature_dc=900)).after(10)
    assert not stage.closed() and stage.faults() == {"over_temperature"}


# -- the link


def test_a_newer_host_is_spoken_to_in_our_minor_and_an_older_one_is_refused() -> None:
    stage, newer, older = Stage(), contract.MINOR_LAST + 1, contract.MINOR_FIRST - 1
    assert sent(stage, *hello(last=newer, hash="4bcacaeb"))[0][0] == contract.WELCOME
    assert sent(stage, contract.WISH, newer, (OFF, OFF))[-1][1] == contract.HELLO_FIRST
    assert sent(stage, contract.WISH, contract.MINOR_LAST, (OFF, OFF)) == []
    refused = sent(stage, *hello(first=0, last=older, hash="4bcacaeb"))[0]
    assert refused[:2] == (contract.REFUSED, contract.NO_COMMON_VERSION) and "tools/flash.py" in refused[2]


@pytest.mark.promise("S9")
def test_only_a_greeted_host_is_obeyed_and_every_refusal_says_what_to_do() -> None:
    stage = Stage()
    wish = (contract.WISH, contract.MINOR_LAST, ((32_000, 0, 1, 0), OFF))
    assert sent(stage, *wish)[0][:2] == (contract.REFUSED, contract.HELLO_FIRST)
    assert sent(stage, *hello(major=9))[0][:2] == (contract.REFUSED, contract.NO_COMMON_VERSION)
    assert sent(stage, *hello(first=200, last=201))[0][:2] == (contract.REFUSED, contract.NO_COMMON_VERSION)
    assert sent(stage, *hello(hash="deadbeef"))[0][:2] == (contract.REFUSED, contract.OTHER_CONTRACT)
    assert sent(stage, *wish)[0][1] == contract.HELLO_FIRST
    welcome = sent(stage, *hello())[0]
    assert welcome[0] == contract.WELCOME and welcome[8:] == (2, 40_000, "")
    one_port = (contract.WISH, contract.MINOR_LAST, (OFF,))
    assert sent(stage, *one_port)[0][:2] == (contract.REFUSED, contract.WRONG_PORT_COUNT)
    assert sent(stage, contract.WISH, 7, (OFF, OFF))[0][1] == contract.HELLO_FIRST
    assert sent(stage, *wish) == []
    stage.sim.reset(stage.now)
    assert sent(stage, *wish)[0][1] == contract.HELLO_FIRST


def test_reports_come_every_half_second_and_at_once_on_a_change() -> None:
    stage = Stage()
    sent(stage, *hello())
    times = {0: [], 1: []}  # type: dict[int, list[float]]
    for step in range(1, 500):
        now = stage.now + step / 100
        if step == 123:
            stage.sim.plug(0, Car(), now)
        stage.sim.advance(now)
        for message in answers(stage.sim.transmit()):
            times[message[2]].append(step / 100)
    assert 1.23 in times[0] and 1.23 not in times[1]
    assert all(later - earlier <= 0.501 for got in times.values() for earlier, later in pairwise(got))
    assert len(times[1]) == 9


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=60) | st.builds(frame, st.integers(0, 255), st.binary(max_size=60)), max_size=20))
def test_noise_on_the_line_changes_nothing(chunks: list[bytes]) -> None:
    stage = Stage().charging()
    before = list(stage.edges), stage.reports
    for chunk in chunks:
        stage.sim.receive(chunk, stage.now)
        stage.after(0.05)
    assert (list(stage.edges), stage.reports) == before


@pytest.mark.promise("S1")
def test_of_more_frames_than_the_ports_leave_time_for_only_the_newest_are_looked_at() -> None:
    stage = Stage()
    sent(stage, *hello())
    stage.plug(0).after(1)
    nonsense = b"".join(frame(n, b"no message") for n in range(6))
    wishes = (pack(contract.WISH, contract.MINOR_LAST, ((6_000 + 1_000 * n, 0, 1, 0), OFF)) for n in range(4))
    stage.said((9_000, 0, 1, 0), OFF)
    stage.sim.receive(nonsense + b"".join(frame(6 + n, wish) for n, wish in enumerate(wishes)), stage.now)
    controller = stage.sim.controller
    assert controller and (controller.dropped_frames, controller.bad_messages) == (6, 0)
    assert stage.sim.bays[0].shown["offer_ma"] == 9_000


def test_a_rest_of_a_frame_does_not_spoil_the_next_heartbeat() -> None:
    stage = Stage()
    sent(stage, *hello())
    stage.sim.receive(b"\x7e\xfa" + bytes(20), stage.now)
    stage.plug(0).after(1)
    assert sent(stage, contract.WISH, contract.MINOR_LAST, ((16_000, 0, 1, 0), OFF)) == []
    assert stage.sim.bays[0].shown["offer_ma"] == 16_000


def test_what_nobody_reads_is_bounded() -> None:
    stage = Stage()
    sent(stage, *hello())
    stage.after(3_600)
    assert len(stage.sim.transmit()) < 3_000
    assert stage.sim.controller is not None and stage.sim.controller.dropped_reports > 10_000


def test_over_the_line_a_silent_host_is_noticed_by_its_missing_heartbeats() -> None:
    stage = Stage()
    sent(stage, *hello())
    stage.plug(0)
    for _ in range(40):
        sent(stage.after(0.5), contract.WISH, contract.MINOR_LAST, (GO, OFF))
    assert stage.closed() and stage.sim.bays[0].shown["offer_ma"] == 32_000
    assert stage.after(3.1).sim.bays[0].shown["offer_ma"] == 6_000
    assert not stage.after(60).closed()


def test_over_the_line_a_host_without_grace_is_not_gone_between_two_heartbeats() -> None:
    stage = Stage(host_grace_s=0)
    sent(stage, *hello())
    stage.plug(0)
    for _ in range(20):
        sent(stage.after(0.5), contract.WISH, contract.MINOR_LAST, (GO, OFF))
    assert stage.after(2.9).closed() and stage.sim.bays[0].shown["offer_ma"] == 32_000
    assert stage.after(0.2).sim.bays[0].shown["offer_ma"] == 0 and not stage.after(6).closed()


# -- everything at once


def random_car(rng: random.Random) -> Car:
    return Car(
        max_ma=rng.choice((6_000, 16_000, 32_000)),
        phases=rng.choice((1, 3)),
        need_wh=rng.choice((10, 1_000, 50_000)),
        reaction_ms=rng.choice((0, 10, 1_000, 4_000)),
        stubborn=rng.random() < 0.1,
        greed_ma=rng.choice((0, 0, 0, 5_000)),
        ventilation=rng.random() < 0.1,
        diode=rng.random() < 0.95,
        leak_after_ms=rng.choice((None, None, None, 500, 20_000)),
        cable_ma=rng.choice((0, 13_000, 20_000, 32_000)),
    )


def repair(bay: Bay) -> Change:
    good = Bay(bay.board)
    screws = ("pilot_fault", "cable_leaks", "meter_dead", "temperature_dc", "voltage_mv")
    values = {name: vars(good)[name] for name in screws}
    contacts = (bay.contactor, bay.bolt, bay.detector)
    return lambda sim: [vars(bay).update(values), *(vars(contact).update(stuck=False) for contact in contacts)]


def random_event(stage: Stage, rng: random.Random) -> None:
    sim, i = stage.sim, rng.randrange(len(stage.sim.bays))
    bay = sim.bays[i]
    match rng.randrange(18):
        case 13 | 14 | 15:  # somebody mends the port, and a good car charges
            if sim.controller is None:
                sim.power_on(stage.now)
            stage.touch(button(False)).touch(repair(bay)).after(80)
            sim.leave(i, stage.now)
            stage.wish(i, (0, 1, 0, 0)).after(1).wish(i, (0, 1, 0, 1)).after(5)
            stage.plug(i, Car(need_wh=rng.choice((100, 50_000)))).wish(i, (16_000, 0, 1, 1)).after(5)
        case 0 | 1 | 2 if bay.car is None:
            sim.plug(i, random_car(rng), stage.now)
        case 1 if bay.car is not None:
            rng.choice((sim.unplug, sim.leave))(i, stage.now)
        case 3 | 4 | 5 | 6:
            offer_ma = rng.choice((0, 3_000, 6_000, 10_000, 16_000, 32_000, 80_000))
            stage.wish(i, (offer_ma, rng.choice((0, 0, 0, 0, 1, 2)), rng.randrange(2), rng.randrange(4)))
        case 7 if rng.random() < 0.3:
            stage.silence()
        case 8 if rng.random() < 0.2:
            rng.choice((sim.reset, sim.power_off, sim.power_on))(stage.now)
            stage._host_silent_since = stage.now
            stage.rows = [OFF] * len(stage.rows)
        case 9 if rng.random() < 0.3:
            stage.touch(lambda sim: setattr(bay.contactor, "stuck", not bay.contactor.stuck and rng.random() < 0.5))
        case 10 if rng.random() < 0.5:
            stage.touch(button(rng.random() < 0.3))
        case 11:
            values: dict[str, tuple[Any, ...]] = {
                "pilot_fault": (None, None, CP_B, CP_E),
                "cable_leaks": (False, False, True),
            }
            values |= {"meter_dead": (False, False, True), "temperature_dc": (250, 250, 900)}
            values |= {"voltage_mv": ((230_000,) * 3, (230_000,) * 3, (180_000, 230_000, 230_000), (270_000, 0, 0))}
            name = rng.choice(list(values))
            stage.touch(lambda sim: setattr(bay, name, rng.choice(values[name])))
        case 12 if rng.random() < 0.3:
            jammed = rng.choice((bay.bolt, bay.detector))
            stage.touch(lambda sim: setattr(jammed, "stuck", not jammed.stuck))
    stage.after(rng.choice((0.001, 0.01, 0.05, 0.2, 1, 5, 30, 1_000)))


def soak(seed: int, events: int) -> Stage:
    rng = random.Random(seed)
    boards = tuple(
        PortBoard(socketed=rng.random() < 0.5, ventilated=rng.random() < 0.3, phases=rng.choice((1, 3)))
        for _ in range(rng.choice((1, 2, 4)))
    )
    stage = Stage(*boards, circuit_limit_ma=rng.choice((24_000, 40_000, 63_000)), failsafe_ma=6_000, seed=seed)
    wh = [0.0] * len(boards)
    for n in range(events):
        try:
            random_event(stage, rng)
        except AssertionError as wrong:
            raise AssertionError(f"{seed=} event {n} at {stage.now}: {wrong}") from wrong
        for i in range(len(boards)):
            register = stage.sim.register_wh(i, stage.now)
            assert register >= wh[i], f"{seed=}: the register of port {i} went back"
            wh[i] = register
    return stage


@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_can_happen_breaks_a_promise_at_the_pins(seed: int) -> None:
    closes = sum(value for _, _, name, value in soak(seed, 2_000).edges if name == "coil")
    assert closes > 100, "a world in which nothing charges proves nothing"


@pytest.mark.promise("S11")
def test_cars_that_obey_within_their_five_seconds_never_draw_more_than_the_circuit_in_sum() -> None:
    rng = random.Random(5)
    stage = Stage(TETHERED, SOCKETED, TETHERED, circuit_limit_ma=40_000)
    drawn = []
    for _ in range(3_000):
        i = rng.randrange(3)
        if stage.sim.bays[i].car is None:
            stage.plug(i, Car(need_wh=rng.choice((500, 50_000)), reaction_ms=rng.choice((100, 2_000, 4_900))))
        elif rng.random() < 0.05:
            stage.sim.leave(i, stage.now)
        stage.wish(i, (rng.choice((0, 6_000, 10_000, 16_000, 32_000)), rng.choice((0, 0, 0, 0, 1)), 1, 0))
        for _ in range(rng.choice((1, 5, 50))):
            stage.after(0.1)
            drawn.append(sum(bay.current_ma[0] for bay in stage.sim.bays))
    assert max(drawn) == 40_000


@pytest.mark.long
@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("seed", range(100, 120))
def test_nothing_that_can_happen_breaks_a_promise_at_the_pins_for_long(seed: int) -> None:
    soak(seed, 20_000)


def test_a_step_every_ten_milliseconds_gives_the_same_pins_as_a_step_when_due() -> None:
    def edges(period_s: float | None) -> list[tuple[float, int, str, int]]:
        rng = random.Random(11)
        stage = Stage(SOCKETED, TETHERED)
        for _ in range(120):
            random_event_on_a_grid(stage, rng)
            until = round(stage.now + rng.choice((0.01, 0.1, 1, 8)), 2)
            while period_s and stage.now < until:
                stage.touch(lambda sim: None).after(period_s)
            stage.at(until)
        return stage.edges

    assert edges(None) == edges(0.01)


def random_event_on_a_grid(stage: Stage, rng: random.Random) -> None:
    i = rng.randrange(2)
    bay = stage.sim.bays[i]
    match rng.randrange(6):
        case 0 if bay.car is None:
            stage.plug(i, Car(max_ma=16_000, need_wh=50_000, stubborn=rng.random() < 0.2))
        case 1 if rng.random() < 0.3:
            stage.sim.leave(i, stage.now)
        case 2 | 3:
            stage.wish(i, rng.choice((GO, GO, OFF, STOP_NOW)))
        case 4 if rng.random() < 0.3:
            stage.silence()
        case 5:
            stage.touch(lambda sim: setattr(bay, "pilot_fault", rng.choice((None, None, CP_B))))


def test_the_same_seed_gives_the_same_world() -> None:
    assert soak(3, 500).edges == soak(3, 500).edges


def test_a_day_of_forty_sessions_closes_each_contactor_once_a_session() -> None:
    stage = Stage(circuit_limit_ma=64_000)
    for hour in range(20):
        for i in (0, 1):
            stage.plug(i, Car(need_wh=20_000 - 15_000 * i)).wish(i, GO)
        stage.at(hour * 4_300 + 3_600).wish(0, OFF).wish(1, OFF).after(60)
        assert all(stage.sim.unplug(i, stage.now) for i in (0, 1))
        stage.at((hour + 1) * 4_300)
    assert len(stage.heard) > 10_000 and stage.port(0, "closes") == 20


def test_over_a_real_tty_a_host_greets_wishes_and_is_reported_to() -> None:
    box = Box(SimController()).start()
    host = os.open(box.link.path, os.O_RDWR | os.O_NOCTTY)
    deframer = Deframer()

    def wait_for(wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        while select.select([host], [], [], 10)[0]:
            for _, body in deframer.feed(os.read(host, 100)):
                message = unpack(body)
                if message is not None and wanted(message):
                    return message
        raise AssertionError("nothing came for 10 s")

    try:
        box.power_on()
        os.write(host, frame(0, pack(*hello())))
        assert wait_for(lambda m: m[0] == contract.WELCOME)[8] == 2
        box.plug(1, Car(reaction_ms=10))
        os.write(host, frame(1, pack(contract.WISH, contract.MINOR_LAST, (GO, OFF))))
        row = wait_for(lambda m: m[0] == contract.REPORT and m[2] == 0 and m[3][2] == 1)[3]
        assert row[5] == 32_000
        with pytest.raises(AssertionError, match="has a car already"):
            box.plug(1, Car())
    finally:
        os.close(host)
        box.close()
    assert (deframer.noise_bytes, deframer.crc_errors, deframer.gaps) == (0, 0, 0)


# -- what a reset must not forgive


@pytest.mark.promise("S1")
def test_a_reset_does_not_clear_what_only_a_power_cycle_may() -> None:
    stage = Stage().plug(0).touch(lambda sim: setattr(sim.bays[0].contactor, "stuck", True)).wish(0, GO).after(10)
    assert stage.faults() == {"contactor_stuck_open"}
    stage.wish(0, OFF).sim.reset(stage.now)
    assert stage.after(2).faults() == {"contactor_stuck_open"}
    stage.sim.power_off(stage.now)
    stage.sim.power_on(stage.now + 1)
    assert stage.at(stage.now + 3).faults() == set()


@pytest.mark.promise("S1")
def test_what_lasts_until_the_car_leaves_lasts_over_resets_and_power_cuts() -> None:
    stage = Stage().plug(0, Car(max_ma=40_000, greed_ma=10_000, need_wh=50_000)).wish(0, GO).after(20)
    assert stage.faults() == {"over_current"}
    stage.wish(0, OFF).sim.power_off(stage.now)
    stage.sim.power_on(stage.now + 1)
    assert stage.at(stage.now + 3).faults() == {"over_current"}
    stage.sim.unplug(0, stage.now)
    assert stage.after(1).faults() == set()


@pytest.mark.promise("S1")
def test_a_ground_fault_waits_its_fifteen_minutes_also_over_a_power_cut() -> None:
    stage = Stage().charging(0, Car(leak_after_ms=20_000, need_wh=50_000)).after(15)
    assert stage.faults() == {"ground_fault"}
    stage.wish(0, OFF).sim.power_off(stage.now)
    stage.sim.power_on(stage.now + 1)
    stage.at(stage.now + 2).wish(0, GO).after(880)
    assert stage.faults() == {"ground_fault"} and not stage.closed()
    assert stage.after(30).closed()


@pytest.mark.promise("S1")
def test_a_latch_is_to_be_stored_at_once_also_while_another_port_delivers() -> None:
    stage = Stage().charging(1).wish(0, (20_000, 0, 1, 0))
    assert not stage.sim.memory.urgent
    stage.plug(0).touch(car(diode=False)).after(1)
    assert stage.faults() == {"diode_fault"} and stage.closed(1)
    assert stage.sim.memory.urgent and stage.sim.memory.latched[0] == 1 << NAMES.index("diode_fault")


def test_the_next_car_has_its_three_tries_also_after_a_reset() -> None:
    stage = Stage().charging(0, Car(leak_after_ms=20_000, need_wh=50_000)).after(15 + 900)
    assert stage.sim.memory.retries[0] == 1
    stage.sim.unplug(0, stage.now)
    stage.after(1)
    assert stage.sim.memory.retries[0] == 0


@pytest.mark.promise("S11")
def test_a_limit_that_cannot_be_stored_is_not_in_force() -> None:
    memory = Memory(1)
    memory.circuit_limit_ma, memory.failsafe_ma = 20_000, 6_000
    controller = Controller((TETHERED,), memory, boot_id=1, save=lambda now_ms: False)
    for limits in ((16_000, 6_000, 60), (32_000, 10_000, 0)):
        assert not controller.limit(*limits, 0)
    assert (memory.circuit_limit_ma, memory.failsafe_ma, memory.host_grace_s) == (20_000, 6_000, 60)
    assert controller.limit(20_000, 6_000, 60, 0)  # nothing to store
