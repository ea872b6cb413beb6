"""The two safety rules of the port controller, against independent statements of the same promises."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.controller.app import interlock
from board.controller.app.interlock import may_close
from board.controller.contract import CP_A, CP_B, CP_D, CP_E, CP_F, FAULTS


@pytest.mark.promise("S1")
def test_a_contactor_closes_in_exactly_the_states_that_the_promise_names() -> None:
    closed = 0
    yes_no = (False, True)
    fault_masks = (0, *(1 << i for i in range(len(FAULTS))))
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
    assert share([16_000, 16_000], [16_000] * 2, [16_000] * 2, 20_000) == [16_000, 0]  # the limit itself was lowered
