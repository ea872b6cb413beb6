"""The observer at the pins can fail: every condition of S1 and S11, broken by hand, one at a time."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.sim.car import Car
from agent.sim.plant import Delayed, DrivenPlant
from board.controller.app.port import PortBoard
from board.controller.contract import CP_E
from tests.observer import Broken, PinObserver

GO, STOP, NOW = (16_000, 0, 1, 0), (0, 1, 0, 0), (0, 2, 0, 0)
DUTY_16A, DUTY_20A, STEADY = 2_666, 3_333, 10_000

Change = Callable[["Hand"], object]


class Hand:
    """Drives the pins as a firmware should, or as it should not; every 10 ms somebody looks."""

    def __init__(self, socketed: bool = False) -> None:
        boards = (PortBoard(socketed=socketed), PortBoard(socketed=socketed))
        self.plant = DrivenPlant(boards, coil_circuit=False)
        self.observer = PinObserver(self.plant, 32_000)
        self.plant.watch = self.observer.look
        self.car = Car(reaction_ms=100, need_wh=50_000)
        self.now = 0.0
        self.plant.powered = True
        self.is_silent = False
        self.rows = [GO, STOP]

    @property
    def bay(self) -> Any:
        return self.plant.bays[0]

    def after(self, seconds: float) -> "Hand":
        for _ in range(round(seconds * 100)):
            self.now = round(self.now + 0.01, 2)
            if not self.is_silent and round(self.now * 100) % 50 == 0:
                self.wish(*self.rows)
            self.plant.touch(self.now, lambda plant: None)
        return self

    def wish(self, *rows: tuple[int, int, int, int]) -> "Hand":
        self.rows = list(rows)
        self.observer.heard(round(self.now * 1000), tuple(rows))
        return self

    def silence(self) -> "Hand":
        self.is_silent = True
        return self

    def reset(self) -> "Hand":
        self.observer.booted()
        return self.silence()

    def set(self, index: int = 0, **pins: int) -> "Hand":
        self.plant.drive(index, self.plant.bays[index].out._replace(**pins), self.now)
        return self

    def bay_has(self, **screws: object) -> "Hand":
        self.plant.touch(self.now, lambda plant: vars(plant.bays[0]).update(screws))
        return self

    def car_has(self, **screws: object) -> "Hand":
        self.plant.touch(self.now, lambda plant: vars(plant.bays[0].car).update(screws))
        return self

    def station_has(self, **screws: object) -> "Hand":
        self.plant.touch(self.now, lambda plant: vars(plant).update(screws))
        return self

    def test(self) -> "Hand":
        return self.set(gf_test=1).after(0.1).set(gf_test=0).after(0.1)

    def ready(self) -> "Hand":
        """All but the coil."""
        self.wish(*self.rows)
        self.plant.plug(0, self.car, self.now)
        return self.after(0.2).test().set(duty=DUTY_16A, lock=1).after(0.5)

    def charging(self) -> "Hand":
        self.ready().set(coil=1).after(1.0)
        assert self.bay.power_w > 3_000
        return self


@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("socketed", [False, True])
def test_a_session_as_it_should_be_pleases_the_observer(socketed: bool) -> None:
    hand = Hand(socketed).charging().after(10)
    hand.wish(STOP, STOP).set(duty=STEADY).after(0.05).set(coil=0).after(0.1)
    assert hand.observer.closes == 1 and hand.observer.greatest_ma == DUTY_16A * 6


def deaf(hand: Hand) -> None:
    """The test current flows, and the trip line does not move."""
    hand.bay_has(car=None).after(0.2)
    hand.bay.detector.stuck = True
    hand.bay_has(car=hand.car).test()
    hand.bay.detector.stuck = False
    hand.after(0.5)


def weld(hand: Hand) -> None:
    hand.set(coil=1).after(0.1)
    hand.bay.contactor.stuck = True
    hand.set(coil=0).after(0.5)
    hand.bay.contactor.stuck = False
    hand.after(0.5)


WRONG: dict[str, tuple[Change, str]] = {
    "full": (lambda hand: hand.car_has(need_mj=0).after(0.1), "the car is ready"),
    "ventilation": (lambda hand: hand.car_has(ventilation=True).after(0.05), "the car is ready"),
    "steady": (lambda hand: hand.car_has(stubborn=True).set(duty=STEADY), "6 A are offered"),
    "stop": (lambda hand: hand.wish(STOP, STOP), "the host wants it"),
    "no wish": (lambda hand: hand.reset(), "the host wants it"),
    "silent": (lambda hand: hand.silence().set(duty=1_000).after(3.1), "the host is fresh"),
    "deaf": (deaf, "the self-test has passed"),
    "another car": (
        lambda hand: hand.bay_has(car=None).after(0.2).bay_has(car=Car(reaction_ms=100)).after(0.5),
        "the self-test has passed",
    ),
    "welded": (weld, "the contactor was open"),
    "leak": (lambda hand: hand.bay_has(cable_leaks=True), "no current leaks"),
    "emergency": (lambda hand: hand.station_has(emergency_stop=True), "no emergency stop"),
    "diode": (lambda hand: hand.car_has(diode=False).after(0.05), "there is a diode"),
    "unlocked": (lambda hand: hand.set(lock=0).after(0.5), "the plug is locked"),
    "thin cable": (lambda hand: hand.car_has(cable_ma=13_000).after(0.1), "the cable carries it"),
    "hot": (lambda hand: hand.bay_has(temperature_dc=900), "it is cool"),
    "meter": (lambda hand: hand.bay_has(meter_dead=True), "the meter lives"),
    "voltage": (lambda hand: hand.bay_has(voltage_mv=(180_000, 0, 0)), "the voltage is good"),
}


@pytest.mark.promise("S1")
@pytest.mark.parametrize("name", WRONG)
def test_a_closing_that_lacks_one_condition_is_seen(name: str) -> None:
    change, condition = WRONG[name]
    hand = Hand(socketed=True).ready()
    change(hand)
    with pytest.raises(Broken, match=f"S1 .* port 0 closes, but not: .*{condition}"):
        hand.after(0.02).set(coil=1)


LATE: dict[str, tuple[Change, float, str]] = {
    "unplugged": (lambda hand: hand.bay_has(car=None), 0.1, "not C or D"),
    "ready no more": (lambda hand: hand.car_has(need_mj=0), 0.1, "not C or D"),
    "short": (lambda hand: hand.bay_has(pilot_fault=CP_E), 0.1, "not C or D"),
    "ventilation": (
        lambda hand: hand.car_has(ventilation=True, stubborn=True).set(duty=STEADY), 0.1, "D without ventilation",
    ),
    "emergency": (lambda hand: hand.station_has(emergency_stop=True).set(duty=STEADY), 0.1, "emergency stop"),
    "leak": (lambda hand: hand.bay_has(cable_leaks=True).set(duty=STEADY), 0.1, "ground fault"),
    "diode": (lambda hand: hand.car_has(diode=False), 0.1, "no diode"),
    "stop now": (lambda hand: hand.wish(NOW, STOP).set(duty=STEADY), 0.1, "stop now"),
    "stop": (lambda hand: hand.wish(STOP, STOP).set(duty=STEADY), 6.1, "nobody asks for it"),
    "reset": (lambda hand: hand.reset().set(duty=STEADY), 6.1, "nobody asks for it"),
    "hot": (lambda hand: hand.bay_has(temperature_dc=850), 7.1, "hot"),
    "voltage": (lambda hand: hand.bay_has(voltage_mv=(270_000, 0, 0)), 7.1, "voltage"),
    "meter": (lambda hand: hand.bay_has(meter_dead=True), 11.1, "meter"),
    "lock": (lambda hand: hand.bay_has(bolt=Delayed(1 << 40)), 9.1, "lock fails"),
    "cable": (lambda hand: hand.car_has(cable_ma=0), 1.1, "cable unreadable"),
}


@pytest.mark.promise("S1")
@pytest.mark.parametrize("name", LATE)
def test_an_opening_that_comes_too_late_is_seen_and_one_in_time_is_not(name: str) -> None:
    change, limit_s, reason = LATE[name]
    hand = Hand(socketed=True).charging()
    if reason == "nobody asks for it":
        hand.car_has(stubborn=True)
    change(hand)
    hand.after(limit_s)
    with pytest.raises(Broken, match=f"S1 .* port 0 is closed .* after: {reason}"):
        hand.after(0.02)


@pytest.mark.promise("S1")
def test_a_host_that_is_silent_for_its_grace_is_no_reason_to_stay_closed() -> None:
    hand = Hand().charging().car_has(stubborn=True).silence().after(2.5).set(duty=1_000).after(57).set(duty=STEADY)
    with pytest.raises(Broken, match="after: host silent for its grace"):
        hand.after(6.5)


@pytest.mark.promise("S11")
def test_too_much_in_sum_above_the_wish_or_above_the_failsafe_is_seen() -> None:
    both = Hand().wish(GO, GO).ready()
    with pytest.raises(Broken, match=r"S11 .* 35994 mA offered on a circuit of 32000"):
        both.set(1, duty=DUTY_20A)
    with pytest.raises(Broken, match=r"S11 .* offers 19998 mA .* no more than 16000 mA are asked for"):
        Hand().ready().set(duty=DUTY_20A)
    silent = Hand().charging().silence().after(2.5)
    with pytest.raises(Broken, match=r"S11 .* offers 15996 mA 110 ms after: host silent for 3 s"):
        silent.after(2.0)


@pytest.mark.promise("S1")
def test_a_live_plug_that_is_let_go_is_seen_also_behind_a_weld() -> None:
    hand = Hand(socketed=True).charging().set(lock=0).after(0.1)
    with pytest.raises(Broken, match="its plug is let go"):
        hand.after(0.1)
    hand = Hand(socketed=True).charging()
    hand.bay.contactor.stuck = True
    hand.wish(NOW, STOP).set(duty=STEADY, coil=0).after(10).set(lock=0).after(0.1)
    with pytest.raises(Broken, match="its plug is let go"):
        hand.after(0.1)


@pytest.mark.promise("S1")
def test_a_weld_is_nobodys_fault_but_its_coil_is() -> None:
    hand = Hand().charging()
    hand.bay.contactor.stuck = True
    hand.wish(NOW, STOP).set(duty=STEADY, coil=0).after(10)
    hand = Hand().charging()
    hand.bay.contactor.stuck = True
    hand.wish(NOW, STOP).set(duty=STEADY)
    with pytest.raises(Broken, match="stop now"):
        hand.after(0.2)
