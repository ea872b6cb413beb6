"""The two safety rules of the port controller, against independent statements of the same promises."""

from collections.abc import Callable
from copy import copy, deepcopy
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.controller.app import interlock
from board.controller.app.interlock import may_close
from board.controller.app.port import FRESH, GONE, SILENT, Pins, Port, PortBoard
from board.controller.contract import (
    CP_A,
    CP_B,
    CP_C,
    CP_D,
    CP_E,
    CP_F,
    FAULT_COUNT,
    FAULTS,
    STOP_NONE,
    TEST_PASSED,
    TEST_RUNNING,
)


@pytest.mark.promise("S1")
def test_a_contactor_closes_in_exactly_the_states_that_the_promise_names() -> None:
    closed = 0
    yes_no = (False, True)
    fault_masks = (0, *(1 << i for i in range(FAULT_COUNT)))
    numbers = product(range(6), (0, 5_999, 6_000, 16_000), (0, 1, 2), fault_masks, (0, 5_999, 6_000, 32_000))
    flags = list(product(yes_no, repeat=6))
    for (cp, offer_ma, stop, faults, cable_ma), (fresh, tested, feedback, ventilated, socketed, locked) in product(
        numbers, flags
    ):
        refusals = [
            cp in (CP_A, CP_B, CP_E, CP_F),
            cp == CP_D and not ventilated,
            offer_ma < 6_000,
            stop > 0,
            not fresh,
            faults > 0,
            not tested,
            feedback,
            socketed and not locked,
            socketed and cable_ma < offer_ma,
        ]
        got = may_close(cp, offer_ma, stop, fresh, faults, tested, feedback, ventilated, socketed, locked, cable_ma)
        assert got is (not any(refusals)), (cp, offer_ma, stop, fresh, faults, tested, feedback, ventilated, socketed)
        closed += got
    assert closed > 0


# What may be the matter with a port's pins at the instant of closing; one at a time, and all at once.
FLAWS: dict[str, Callable[[Pins], None]] = {
    "none": lambda pins: None,
    "tripped": lambda pins: setattr(pins, "tripped", True),
    "emergency stop": lambda pins: setattr(pins, "emergency_stop", True),
    "meter": lambda pins: setattr(pins, "meter_ok", False),
    "hot": lambda pins: setattr(pins, "temperature_dc", 850),
    "sensor torn off": lambda pins: setattr(pins, "temperature_dc", -1_000),
    "sensor without power": lambda pins: setattr(pins, "temperature_dc", -500),  # 0 mV of a TMP235
    "sensor shorted": lambda pins: setattr(pins, "temperature_dc", 30_000),
    "no diode": lambda pins: setattr(pins, "diode_ok", False),
    "voltage high": lambda pins: setattr(pins, "voltage_mv", (270_000, 0, 0)),
    "voltage low": lambda pins: setattr(pins, "voltage_mv", (180_000, 0, 0)),
}


def everything(pins: Pins) -> None:
    for flaw in list(FLAWS.values())[:-1]:
        flaw(pins)


FLAWS["all"] = everything
WISHES = tuple((offer_ma, stop, 1, 0) for offer_ma in (0, 5_999, 6_000, 16_000) for stop in (0, 1, 2))


def about_to_close(board: PortBoard) -> tuple[Port, Pins]:
    """A port that lacks only the car's C: tested, offered for a second, locked."""
    port, pins = Port(board), Pins()
    pins.cp, pins.voltage_mv, pins.cable_ma = CP_B, (230_000, 230_000, 230_000), 32_000
    port.wish(16_000, 0, 1, 0)
    for now_ms in range(0, 2_000, 10):
        port.step(now_ms, pins)
        pins.locked, pins.tripped = port.lock, port.testing
    assert port.offer_ma == 16_000 and not port.coil and port.self_test == TEST_PASSED and not port.faults
    return port, pins


@pytest.mark.promise("S1")
@pytest.mark.parametrize("ventilated", [False, True])
@pytest.mark.parametrize("socketed", [False, True])
def test_the_real_port_closes_in_exactly_the_states_that_the_promise_names(ventilated: bool, socketed: bool) -> None:
    ready, ready_pins = about_to_close(PortBoard(ventilated=ventilated, socketed=socketed))
    yes_no, closed = (False, True), 0
    for (cp, wish, host), (welded, locked, tested), cable_ma, flaw in product(
        product(range(6), WISHES, (FRESH, SILENT, GONE)), product(yes_no, yes_no, yes_no), (0, 13_000, 32_000), FLAWS
    ):
        port, pins = copy(ready), copy(ready_pins)
        port.holds = deepcopy(ready.holds)
        port._held = list(ready._held)
        pins.cp, pins.contactor, pins.locked, pins.cable_ma = cp, welded, locked, cable_ma
        FLAWS[flaw](pins)
        port.self_test = TEST_PASSED if tested else TEST_RUNNING  # still running: due to fail or to pass later
        port._test_by = 10_000
        port.testing = not tested and not pins.tripped
        port.wish(*wish)
        port.step(2_000, pins, host, 6_000)
        good = (
            (cp == CP_C or (cp == CP_D and ventilated))
            and wish[0] >= 6_000
            and wish[1] == STOP_NONE
            and host == FRESH
            and not welded
            and tested
            and flaw == "none"
            and (not socketed or (locked and cable_ma > 0))
        )
        assert port.coil is good, (cp, wish, host, welded, locked, tested, cable_ma, flaw)
        assert not port.coil or not socketed or port.offer_ma <= cable_ma
        closed += port.coil
    assert closed > 0


def just_closed() -> tuple[Port, Pins]:
    port, pins = about_to_close(PortBoard())
    pins.cp = CP_C
    for now_ms in (2_000, 2_010):
        port.step(now_ms, pins)
        pins.contactor = port.coil
    assert port.coil and not port.faults
    return port, pins


@pytest.mark.promise("S1")
@pytest.mark.parametrize("retries", range(4))
def test_a_trip_opens_in_the_same_step_the_first_time_and_the_last(retries: int) -> None:
    port, pins = just_closed()
    port.retries, pins.tripped = retries, True
    port.step(2_020, pins)
    assert not port.coil
    assert port.faults == 1 << FAULTS.split().index("ground_fault_halted" if retries == 3 else "ground_fault")


def share(asked: list[int], in_force: list[int], claims: list[int], circuit_ma: int) -> list[int]:
    offers = [-1] * len(asked)
    interlock.share(asked, in_force, claims, circuit_ma, offers)
    return offers


currents = st.just(0) | st.integers(6_000, 80_000)
ports = st.lists(st.tuples(currents, currents, currents), min_size=1, max_size=4)  # asked, in force, held from before


@pytest.mark.promise("S11")
@given(ports, st.integers(0, 160_000))
def test_offers_fit_the_circuit_whatever_is_asked(rows: list[tuple[int, int, int]], circuit_ma: int) -> None:
    asked, in_force = [row[0] for row in rows], [row[1] for row in rows]
    claims = [max(row[1:]) for row in rows]
    offers = share(asked, in_force, claims, circuit_ma)
    assert sum(offers) <= circuit_ma
    assert all(offer == 0 or 6_000 <= offer <= ask for offer, ask in zip(offers, asked, strict=True))
    for i, offer in enumerate(offers):
        others = [max(claims[j], offers[j]) for j in range(len(rows)) if j != i]
        assert offer <= in_force[i] or offer + sum(others) <= circuit_ma, "given what another may draw"
    if sum(in_force) <= circuit_ma:
        assert sum(map(max, offers, in_force)) <= circuit_ma, "it matters which output is set first"
        assert all(map(int.__ge__, offers, map(min, asked, in_force))), "lowered without a need"


def test_ports_share_in_order_and_nobody_gets_less_than_six_amperes() -> None:
    assert share([32_000, 32_000], [0, 0], [0, 0], 40_000) == [32_000, 8_000]
    assert share([32_000, 32_000], [0, 0], [0, 0], 32_000) == [32_000, 0]
    assert share([16_000, 32_000], [0, 32_000], [0, 32_000], 40_000) == [8_000, 32_000]  # what is in force stays
    assert share([16_000, 16_000], [16_000, 0], [32_000, 0], 32_000) == [16_000, 0]  # the car may still draw 32 A
    assert share([16_000, 32_000, 0], [0] * 3, [0, 0, 20_000], 40_000) == [16_000, 0, 0]  # 36 A are spoken for
    assert share([16_000, 16_000], [16_000] * 2, [16_000] * 2, 20_000) == [16_000, 0]  # the limit itself was lowered
