"""Whatever happens to a modem, in whatever order: it comes back, and what is done to it stays bounded."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.modem import liveness
from agent.modem.keeper import Wishes
from agent.modem.liveness import Liveness, Verdict
from agent.modem.modem import State
from agent.modem.recovery import HOUR_S, LIMITS, RESETS, Action, Recovery, restored, saved
from tests.modem_world import ALL, SLOW_S, Card, World
from tests.test_modem_stories import within_limits

# What may happen, by name: (attribute of world or network, values).
HAPPENINGS: dict[str, tuple[object, ...]] = {
    "is_heard": (False, True),
    "carries": (False, True),
    "takes_data": (False, True),
    "denies": (None, 8, 15, 22),
    "is_foreign": (False, True),
    "act": (2, 7),
    "broker": (False, True),
    "hangs": (False, True),
    "stuck": (False, True),
    "cops_mode": (0, 2),
    "fun": (0, 1, 4),
}
WELL: dict[str, object] = {
    "is_heard": True, "carries": True, "takes_data": True, "denies": None, "broker": True, "hangs": False,
    "stuck": False, "act": 7,
}  # fmt: skip
HAPPENING = st.sampled_from([(key, value) for key, values in HAPPENINGS.items() for value in values])
HISTORY = st.lists(st.tuples(HAPPENING, st.sampled_from((3.0, 20.0, 100.0, 900.0, 4_000.0))), max_size=12)


@pytest.mark.promise("R1")
@settings(max_examples=3)
@given(HISTORY, st.integers(0, 3), st.booleans())
@example([(("fun", 4), 900.0), (("hangs", True), 900.0), (("cops_mode", 2), 20.0)], 0, False)
def test_no_history_leads_to_a_state_that_is_never_left(
    history: list[tuple[tuple[str, object], float]], seed: int, is_charging: bool
) -> None:
    lived(history, seed, is_charging)


@pytest.mark.long
@settings(max_examples=100)
@given(HISTORY, st.integers(0, 3), st.booleans())
def test_no_long_row_of_histories_does_either(
    history: list[tuple[tuple[str, object], float]], seed: int, is_charging: bool
) -> None:
    lived(history, seed, is_charging)


def lived(history: list[tuple[tuple[str, object], float]], seed: int, is_charging: bool) -> None:
    world = World(seed=seed, is_charging=is_charging, wishes=Wishes(can=ALL, stable_s=SLOW_S))
    for (key, value), for_s in history:
        world.set(**{key: value}).run(for_s)
        assert not (is_charging and world.done(Action.REBOOT))
    within_limits(world)
    world.card = world.card or Card()
    world.set(**WELL)
    world.until(State.ONLINE, 15 * HOUR_S)
    within_limits(world)


@pytest.mark.promise("R1")
@settings(max_examples=2)
@given(st.lists(st.tuples(st.sampled_from((("is_heard", False), ("is_heard", True))), st.just(1_500.0)), max_size=6))
def test_where_nothing_but_coverage_comes_and_goes_nothing_is_reset(
    history: list[tuple[tuple[str, object], float]],
) -> None:
    world = World()
    for (key, value), for_s in history:
        world.set(**{key: value}).run(for_s)
    assert not world.done(*RESETS)


@pytest.mark.long
def test_a_year_leaves_nothing_behind() -> None:
    world, rng = World(wishes=Wishes(can=ALL, stable_s=SLOW_S)), random.Random(5)
    sizes = []
    for _ in range(4):
        for _ in range(13):
            world.set(**{rng.choice(("hangs", "stuck")): True}).run(2 * HOUR_S)
            world.set(**WELL).run(7 * 86_400.0 - 2 * HOUR_S)
            world.news.clear()
            world.saves.clear()
            world.states.clear()
        keeper = world.keeper
        sizes.append(
            len(keeper._asked) + len(keeper._steps) + len(keeper.counts) + len(str(keeper.saved(world.now))) // 100
            + sum(map(len, keeper.recovery.ledger.values())) + len(keeper._pins_tried)
        )  # fmt: skip
    assert world.state is State.ONLINE and sizes[-1] <= sizes[0] + 20, sizes
    within_limits(world)


# -- liveness ---------------------------------------------------------------------------------------------------------


def test_a_line_is_down_after_three_failures_over_ninety_seconds_and_up_after_two_successes() -> None:
    life = liveness.began(0.0)
    for at in (30.0, 75.0):
        life = liveness.probed(liveness.asked(life, at), False, at)
        assert liveness.verdict(life) is Verdict.DOUBT
    life = liveness.probed(life, False, 100.0)
    assert liveness.verdict(life) is Verdict.DOUBT, "three, but over 70 s"
    life = liveness.probed(life, False, 120.0)
    assert liveness.verdict(life) is Verdict.DOWN
    life = liveness.probed(life, True, 420.0)
    assert liveness.verdict(life) is Verdict.DOWN and life.probe_at == 430.0
    assert liveness.verdict(liveness.probed(life, True, 430.0)) is Verdict.BROKER_ONLY
    assert liveness.verdict(liveness.acknowledged(life, 430.0)) is Verdict.ALIVE


@given(st.lists(st.sampled_from(("ack", "silent", "yes", "no", "wait")), max_size=40))
@example(["no", "no", "silent", "no", "ack", "no"])
def test_no_order_of_words_makes_a_line_down_that_was_not_silent_for_ninety_seconds(words: list[str]) -> None:
    life, now, good_at = liveness.began(0.0), 0.0, 0.0
    for word in words:
        now += 31.0
        if word in ("ack", "yes"):
            good_at = now
        was_down, life = life.is_down, said(life, word, now)
        assert not life.is_down or was_down or now - good_at >= 90.0
        assert (liveness.next_deadline(life) is None) is (life.is_acknowledged and not life.is_down
                                                          and life.asked_at is None)


def said(life: Liveness, word: str, now: float) -> Liveness:
    match word:
        case "ack":
            return liveness.acknowledged(life, now)
        case "silent":
            return liveness.silent(life, now)
        case "wait":
            return liveness.asked(life, now) if liveness.due(life, now) else life
    return liveness.probed(life, word == "yes", now)


# -- what is kept -----------------------------------------------------------------------------------------------------

KEYS = [*LIMITS, "no port", "x"]
THING = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(KEYS), each, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.fixed_dictionaries({"ledger": THING, "tracks": THING}))
def test_whatever_was_kept_no_wait_is_longer_than_its_back_off_and_it_reads_back_alike(kept: object) -> None:
    found = restored(kept, 5_000.0)
    assert all(track.not_before <= 5_000.0 + 16 * HOUR_S for track in found.tracks.values())
    again = restored(saved(found, 5_000.0), 5_000.0)
    assert set(again.tracks) == set(found.tracks) and isinstance(again, Recovery)
