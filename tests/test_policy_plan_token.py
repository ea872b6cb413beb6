"""The plan tokens: which one counts, what follows, and which are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock, ClockSource
from agent.policy.plan_token import (
    CTI,
    DAY_S,
    EXP,
    GRACE_S,
    NBF,
    SUB,
    TOKENS_MAX,
    WARNINGS_D,
    Plan,
    Refused,
    Standing,
    State,
    Token,
    changes_s,
    plan,
    read,
    restored,
    saved,
    state_of,
    taken,
    warned_d,
)

START_S = 1_800_000_000
DAY = int(DAY_S)
FIRST = Token("01ab", 1, "Enterprise", START_S, START_S + 365 * DAY, START_S + 100 * DAY)
NEXT = Token("02ab", 2, "Enterprise", START_S + 365 * DAY, START_S + 730 * DAY)
NOBODY_KNOWS = Clock(floor_s=float(START_S))


def on(day: float) -> Clock:
    at_s = START_S + day * DAY_S
    return Clock(at_s, 0.0, at_s, 0.0, ClockSource.CLOUD)


def held(*tokens: Token, day: float = 1) -> tuple[Token, ...]:
    kept: tuple[Token, ...] = ()
    for token in tokens:
        kept = taken(kept, token, on(day), 0.0)
    return kept


def test_a_token_is_in_force_from_its_beginning_to_its_end_and_ninety_days_later_the_station_is_deactivated() -> None:
    for day, standing in (
        (-1, Standing.NONE), (0, Standing.ACTIVE), (364.9, Standing.ACTIVE), (365, Standing.ENDED),
        (454.9, Standing.ENDED), (455, Standing.DEACTIVATED), (9_999, Standing.DEACTIVATED),
    ):  # fmt: skip
        assert plan(held(FIRST), on(day), 0.0).standing is standing, day
    assert plan((), on(1), 0.0) == Plan(Standing.NONE)


def test_the_next_one_waits_and_takes_over_without_a_gap() -> None:
    both = held(FIRST, NEXT)
    assert plan(both, on(10), 0.0) == Plan(Standing.ACTIVE, FIRST, NEXT, FIRST.ends_s + GRACE_S)
    assert plan(both, on(365), 0.0) == Plan(Standing.ACTIVE, NEXT, None, NEXT.ends_s + GRACE_S)


def test_the_one_that_was_issued_last_counts_also_if_it_ends_earlier() -> None:
    shorter = Token("03ab", 3, "Basic", START_S + 5 * DAY, START_S + 20 * DAY)
    both = held(FIRST, shorter, day=6)
    assert plan(both, on(4), 0.0).token == FIRST
    assert plan(both, on(6), 0.0).token == shorter
    assert plan(both, on(21), 0.0).standing is Standing.ENDED, "the owner has taken the long one back"


def test_a_new_token_ends_a_deactivation_at_once() -> None:
    tokens = taken(held(FIRST), NEXT, on(500), 0.0)
    assert plan(held(FIRST), on(500), 0.0).standing is Standing.DEACTIVATED
    assert plan(tokens, on(500), 0.0).standing is Standing.ACTIVE


def test_a_station_that_does_not_know_the_time_ends_nothing_before_its_floor() -> None:
    assert plan(held(FIRST), NOBODY_KNOWS, 0.0).standing is Standing.ACTIVE
    assert plan(held(FIRST, NEXT), NOBODY_KNOWS, 0.0).token == NEXT, "the one that was issued last"
    late = Clock(floor_s=START_S + 500 * DAY_S)
    assert plan(held(FIRST), late, 0.0).standing is Standing.DEACTIVATED, "it is surely over"


def test_the_same_token_again_changes_nothing_and_an_earlier_one_is_refused() -> None:
    both = held(FIRST, NEXT)
    assert taken(both, FIRST, on(1), 0.0) == both
    for replay in (Token("ffff", 1, "Enterprise", START_S, START_S + 9 * DAY), Token("ee", 2, "x", 0, 5)):
        with pytest.raises(Refused, match="issued before"):
            taken(both, replay, on(1), 0.0)


def test_so_many_wait_and_those_that_will_never_count_again_leave_first() -> None:
    waiting = tuple(Token(f"{n:02x}", n, "x", START_S + n * DAY, START_S + 900 * DAY) for n in range(2, TOKENS_MAX + 1))
    full = held(FIRST, *waiting, day=0)
    last = Token("aa", 99, "x", START_S + 99 * DAY, START_S + 900 * DAY)
    with pytest.raises(Refused, match="wait until one has begun"):
        taken(full, last, on(0), 0.0)
    assert len(taken(full, last, on(3.5), 0.0)) == TOKENS_MAX - 1


def test_somebody_is_told_before_the_end_and_before_the_deactivation() -> None:
    tokens = held(FIRST)
    days = (300, 305, 336, 364.5, 365, 400, 454.5, 455)
    told = [warned_d(plan(tokens, on(day), 0.0), START_S + day * DAY_S) for day in days]
    assert told == [None, 60, 30, 1, None, 60, 1, None]
    assert warned_d(plan(held(FIRST, NEXT), on(364), 0.0), START_S + 364 * DAY_S) is None, "the next one is here"
    assert len(WARNINGS_D) * 2 + 3 == len(changes_s(tokens))


def test_owners_see_each_token_as_new_available_active_or_expired() -> None:
    both = held(FIRST, NEXT)
    for day, *states in (
        (1, State.ACTIVE, State.AVAILABLE), (366, State.EXPIRED, State.ACTIVE), (731, State.EXPIRED, State.EXPIRED),
    ):  # fmt: skip
        found = plan(both, on(day), 0.0)
        assert [state_of(token, found, is_activated=True) for token in both] == states
    assert state_of(FIRST, plan(both, on(1), 0.0), is_activated=False) is State.NEW


# -- reading

CLAIMS: dict[Any, Any] = {
    SUB: "SA-0001", CTI: b"\x01\xab", NBF: START_S, EXP: START_S + 365 * DAY, "issue": 1, "plan": "Enterprise",
    "supportEnd": START_S + 100 * DAY,
}  # fmt: skip


def test_a_token_is_read_as_it_was_said_and_survives_the_disk() -> None:
    assert read(CLAIMS, "SA-0001") == FIRST
    assert restored(saved(held(FIRST, NEXT))) == (FIRST, NEXT)
    assert restored([None, saved((FIRST,))[0], {"issue": "x"}]) == (FIRST,)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({SUB: "SA-0002"}, "for station SA-0002"),
        ({SUB: None}, "for station None"),
        ({CTI: "01ab"}, "serial"),
        ({NBF: START_S + 365 * DAY}, "ends before"),
        ({EXP: 1e9}, "ends_s"),
        ({"issue": 0}, "issue"),
        ({"plan": "a\nb"}, "name"),
    ],
)
def test_a_token_that_is_not_ours_or_not_sound_is_refused(change: dict[Any, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        read({**CLAIMS, **change}, "SA-0001")


@pytest.mark.promise("S9")
@given(st.none() | st.text() | st.lists(st.integers()) | st.dictionaries(st.integers(1, 7), st.integers()))
def test_anything_else_is_refused_too(claims: Any) -> None:
    with pytest.raises(Refused):
        read(claims, "SA-0001")


# -- properties

TOKENS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), min_size=1, max_size=4).map(
    lambda rows: tuple(
        Token(f"{n:02x}", n, "x", START_S + begin * DAY, START_S + (begin + days) * DAY)
        for n, (begin, days) in enumerate(rows, 1)
    )
)


@given(TOKENS, st.integers(-10, 900))
def test_at_every_instant_the_highest_issue_that_has_begun_counts(tokens: tuple[Token, ...], day: int) -> None:
    found = plan(tokens, on(day), 0.0)
    begun = [token for token in tokens if token.begins_s <= START_S + day * DAY]
    assert found.token == (begun[-1] if begun else None)
    assert (found.standing is Standing.ACTIVE) == bool(begun and START_S + day * DAY < begun[-1].ends_s)


@given(TOKENS, st.integers(-10, 900), st.integers(1, 900))
def test_nothing_changes_but_at_the_instants_that_were_foretold(tokens: tuple[Token, ...], day: int, days: int) -> None:
    first, last = plan(tokens, on(day), 0.0), plan(tokens, on(day + days), 0.0)
    from_s, to_s = START_S + day * DAY_S, START_S + (day + days) * DAY_S
    foretold = any(from_s < at_s <= to_s for at_s in changes_s(tokens))
    assert foretold or (first == last and warned_d(first, from_s) == warned_d(last, to_s))
