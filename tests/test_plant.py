"""The physics behind the pins: the pilot's volts as IEC 61851-1 has them, plugs, contacts that take their time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sim.car import Car
from agent.sim.plant import PILOT_MV, Bay, Delayed, offered_ma, pilot_mv, proximity_mv
from board.controller.app.port import PortBoard
from board.controller.contract import CP_A, CP_B, CP_C, CP_D, CP_E, CP_F, CURRENT_MAX_MA, CURRENT_MIN_MA


@pytest.mark.parametrize(
    ("state", "high_mv", "low_mv"),
    [
        (CP_A, 12_000, -12_000), (CP_B, 9_000, -12_000), (CP_C, 6_000, -12_000), (CP_D, 3_000, -12_000),
        (CP_E, 0, 0), (CP_F, -12_000, -12_000),
    ],
)  # fmt: skip
def test_each_state_has_its_volts(state: int, high_mv: int, low_mv: int) -> None:
    assert abs(pilot_mv(PILOT_MV, state, diode=True) - high_mv) < 100
    assert abs(pilot_mv(-PILOT_MV, state, diode=True) - low_mv) < 100


@pytest.mark.parametrize("state", [CP_B, CP_C, CP_D])
def test_without_its_diode_a_car_pulls_the_negative_half_up(state: int) -> None:
    assert pilot_mv(-PILOT_MV, state, diode=False) > -9_000
    assert pilot_mv(-PILOT_MV, state, diode=False) == -pilot_mv(PILOT_MV, state, diode=False)


def test_a_car_reads_the_duty_cycle_as_the_standard_says() -> None:
    said = {0: 0, 300: 0, 700: 0, 800: 6_000, 999: 6_000, 1_000: 6_000, 2_667: 16_002, 8_500: 51_000, 8_960: 64_000}
    said |= {9_600: 80_000, 9_700: 80_000, 9_701: 0, 10_000: 0}
    assert {duty: offered_ma(duty) for duty in said} == said


@given(st.integers(0, 10_000))
def test_no_duty_cycle_offers_what_the_standard_does_not_know(duty: int) -> None:
    assert offered_ma(duty) == 0 or CURRENT_MIN_MA <= offered_ma(duty) <= CURRENT_MAX_MA


def test_a_plug_shows_its_rating_no_plug_shows_the_supply() -> None:
    assert proximity_mv(None) == 3_300
    ratings = [proximity_mv(ma) for ma in (0, 63_000, 32_000, 20_000, 13_000)]
    assert ratings == sorted(ratings) == [189, 767, 1_320, 2_222, 2_705]


def test_the_negative_half_shows_only_under_pwm_and_a_steady_level_shows_in_both() -> None:
    bay = Bay(PortBoard())
    bay.car = Car()
    assert bay.pins_mv()[0] == bay.pins_mv()[1] == 8_979
    bay.out = bay.out._replace(duty=2_667)
    assert bay.pins_mv()[:2] == (8_979, -12_000)
    bay.out = bay.out._replace(duty=0)
    assert bay.pins_mv()[:2] == (-12_000, -12_000)


def test_a_cable_left_in_the_socket_still_shows_and_a_tethered_one_never() -> None:
    bay = Bay(PortBoard(socketed=True))
    bay.abandoned_cable_ma = 20_000
    assert bay.pins_mv()[2] == 2_222
    bay = Bay(PortBoard())
    bay.car = Car()
    assert bay.pins_mv()[2] == 3_300


def test_a_contact_follows_after_its_time_unless_it_sticks() -> None:
    contact = Delayed(20)
    contact.follow(0, True)
    assert (contact.value, contact.due_ms) == (False, 20)
    contact.follow(20, True)
    assert contact.value
    contact.stuck = True
    contact.follow(30, False)
    contact.follow(50, False)
    assert contact.value
    contact.stuck = False
    contact.follow(60, False)
    assert not contact.value
