"""Reservations: what is promised is kept, and who comes without one gets what is left."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock, ClockSource
from agent.policy.reservation import (
    RESERVATIONS_MAX,
    Answer,
    End,
    Ports,
    Reservation,
    cancelled,
    kept_for_others,
    over,
    own,
    reserve,
    restored,
    saved,
    shown_reserved,
    used,
)

NOW_S = 1_800_000_000.0
CLOCK = Clock(NOW_S, 0.0, NOW_S, 0.0, ClockSource.CLOUD)
LATER_S = NOW_S + 3600
BOTH = frozenset({1, 2})


def ports(*free: int, faulted: tuple[int, ...] = (), unavailable: tuple[int, ...] = ()) -> Ports:
    return Ports(frozenset(free), frozenset(faulted), frozenset(unavailable), BOTH)


def one(number: int, token: str = "ANN", evse_id: int | None = None, **more: Any) -> Reservation:
    return Reservation(number, token, more.pop("expires_s", LATER_S), evse_id, **more)


def asked(held: tuple[Reservation, ...], new: Reservation, there: Ports) -> Answer:
    return reserve(held, new, there, CLOCK, 0.0)[1]


def test_a_port_is_reserved_if_it_is_free_and_the_answer_says_why_not() -> None:
    for there, answer in (
        (ports(1, 2), Answer.ACCEPTED), (ports(2), Answer.OCCUPIED), (ports(2, faulted=(1,)), Answer.FAULTED),
        (ports(2, unavailable=(1,)), Answer.UNAVAILABLE),
    ):  # fmt: skip
        assert asked((), one(1, evse_id=1), there) is answer
    assert asked((), one(1, evse_id=3), ports(1, 2)) is Answer.REJECTED
    assert asked((), one(1, evse_id=1, expires_s=NOW_S - 1), ports(1, 2)) is Answer.REJECTED
    assert asked((one(1, "BEN", 1),), one(2, evse_id=1), ports(1, 2)) is Answer.OCCUPIED


def test_one_for_any_port_keeps_as_many_free_as_there_are_of_it() -> None:
    first = (one(1, "BEN"),)
    assert asked(first, one(2), ports(1, 2)) is Answer.ACCEPTED
    assert asked(first, one(2), ports(1)) is Answer.OCCUPIED
    assert asked((*first, one(2)), one(3, "CID"), ports(1, 2)) is Answer.OCCUPIED
    assert asked((*first, one(2)), one(3, "CID", 1), ports(1, 2)) is Answer.OCCUPIED, "a port by name takes one of them"
    assert asked((), one(1), ports(faulted=(1, 2))) is Answer.FAULTED
    assert asked((), one(1), ports(faulted=(1,), unavailable=(2,))) is Answer.UNAVAILABLE


def test_the_same_id_again_takes_the_place_of_the_one_before_or_leaves_it() -> None:
    held = (one(7, evse_id=1),)
    moved, answer = reserve(held, one(7, evse_id=2), ports(1, 2), CLOCK, 0.0)
    assert answer is Answer.ACCEPTED and moved == (one(7, evse_id=2),)
    kept, answer = reserve(held, one(7, evse_id=2), ports(1), CLOCK, 0.0)
    assert answer is Answer.OCCUPIED and kept == held


def test_a_driver_uses_the_reservation_for_this_port_before_one_for_any() -> None:
    held = (one(1), one(2, evse_id=1), one(3, "BEN", group_id="fleet"))
    assert used(held, 1, "ANN", ()) == ((held[0], held[2]), held[1])
    assert used(held, 2, "ANN", ()) == ((held[1], held[2]), held[0])
    assert used(held, 1, "CID", {"fleet"})[1] == held[2], "whoever is of the group it was made for"
    assert used(held, 1, "CID", ()) == (held, None)
    assert own(held, None, "ANN", ()) == held[0] and own(held, None, "CID", ()) is None


def test_who_has_none_may_not_take_what_is_kept_for_others() -> None:
    assert kept_for_others((one(1, evse_id=1),), 1, "BEN", (), BOTH)
    assert not kept_for_others((one(1, evse_id=1),), 2, "BEN", (), BOTH)
    both = one(1, evse_id=1), one(2, "BEN")
    assert kept_for_others(both, 1, "BEN", (), BOTH), "any port is any but Ann's"
    assert not kept_for_others(both, 2, "BEN", (), BOTH) and not kept_for_others(both, 1, "ANN", (), BOTH)
    assert not kept_for_others((one(1),), 1, "BEN", (), BOTH), "one is left for Ann"
    assert kept_for_others((one(1),), 1, "BEN", (), {1}), "the last one is hers"
    assert not kept_for_others((one(1),), 1, "ANN", (), {1})
    assert shown_reserved((one(1),), ports(1)) == {1} and shown_reserved((one(1),), ports(1, 2)) == frozenset()
    assert shown_reserved((one(1, evse_id=1), one(2, "BEN")), ports(1, 2)) == BOTH


@pytest.mark.parametrize(
    ("there", "clock", "ended"),
    [
        (ports(1, 2), CLOCK, []),
        (ports(1, 2), Clock(LATER_S + 1, 0.0, LATER_S + 1, 0.0, ClockSource.NTP), [(1, End.EXPIRED), (2, End.EXPIRED)]),
        (ports(1, 2), Clock(floor_s=LATER_S - 1), []),
        (ports(2, faulted=(1,)), CLOCK, [(1, End.REMOVED)]),
        (ports(2, unavailable=(1,)), CLOCK, [(1, End.REMOVED)]),
        (ports(faulted=(1, 2)), CLOCK, [(1, End.REMOVED), (2, End.REMOVED)]),
        (ports(), CLOCK, []),
    ],
)
def test_a_reservation_ends_with_its_time_or_with_its_port(there: Ports, clock: Clock, ended: Any) -> None:
    held = (one(1, evse_id=1), one(2, "BEN"))
    kept, told = over(held, there, clock, 0.0)
    assert told == ended and [each.reservation_id for each in kept] == [n for n in (1, 2) if n not in dict(ended)]


def test_what_is_cancelled_is_gone_and_what_never_was_is_said_so() -> None:
    held = (one(1), one(2))
    assert cancelled(held, 1) == (one(2),) and cancelled(held, 3) is None


def test_reservations_survive_the_disk_and_rubbish_is_left_out() -> None:
    held = (one(1, evse_id=1), one(2, "BEN", group_id="fleet"))
    assert restored(saved(held)) == held
    assert restored([7, *saved(held), {"reservation_id": 9}]) == held and restored("x") == ()
    many = saved(tuple(one(n) for n in range(RESERVATIONS_MAX + 5)))
    assert len(restored(many)) == RESERVATIONS_MAX


# -- properties

TOKENS = st.sampled_from(["ANN", "BEN", "CID"])
HELD = st.lists(st.tuples(TOKENS, st.none() | st.integers(1, 4)), max_size=5)
ALL = frozenset({1, 2, 3, 4})


def made(rows: list[tuple[str, int | None]], free: frozenset[int]) -> tuple[Reservation, ...]:
    held: tuple[Reservation, ...] = ()
    for number, (token, evse_id) in enumerate(rows):
        held, _ = reserve(held, one(number, token, evse_id), Ports(free, all=ALL), CLOCK, 0.0)
    return held


@given(HELD, st.frozensets(st.sampled_from(sorted(ALL))), TOKENS, st.integers(1, 4))
def test_after_whoever_may_has_begun_everybody_elses_promise_can_still_be_kept(
    rows: list[tuple[str, int | None]], free: frozenset[int], token: str, evse_id: int
) -> None:
    held = made(rows, free)
    if evse_id not in free or kept_for_others(held, evse_id, token, (), free):
        return
    left, _ = used(held, evse_id, token, ())
    rest = free - {evse_id}
    names = [each.evse_id for each in left if each.evse_id is not None]
    assert set(names) <= rest and len(rest - set(names)) >= sum(each.evse_id is None for each in left)


@given(HELD, st.frozensets(st.sampled_from(sorted(ALL))), TOKENS)
def test_a_port_that_is_free_and_not_shown_as_reserved_is_anybodys(
    rows: list[tuple[str, int | None]], free: frozenset[int], token: str
) -> None:
    held = made(rows, free)
    for evse_id in free - shown_reserved(held, Ports(free, all=ALL)):
        assert not kept_for_others(held, evse_id, token, (), free)
    for evse_id in shown_reserved(held, Ports(free, all=ALL)):
        assert kept_for_others(held, evse_id, "NOBODY", (), free)
