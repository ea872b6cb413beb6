"""Nobody confirms what he cannot have read: whatever is to be confirmed has stood on the display as it is for a moment,
and a key, a touch and a phone are all the same there. On every page of the wizard four keys lead on, back and out."""

from collections import deque
from copy import deepcopy
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import navigation
from agent.core import handle
from agent.events import FieldEntered, KeyPressed, PageMeasured, ScreenLit
from agent.panel import LEAVE_S, LOOK_S, Action, Page
from agent.station import Station
from agent.ui.view import screen
from agent.wizard.facts import STEPS, Step
from tests.installing import Installer
from tests.test_wizard import at, walk

FAST_S = LOOK_S - 0.1


def drafted() -> Installer:
    return at(Step.CIRCUIT).enter("breaker_a", "40")


@cache
def walked() -> Installer:
    me = Installer()
    for do in walk()[:-1]:
        do(me)
    return me


def complete() -> Installer:
    """Nothing is missing; nobody has handed over."""
    return deepcopy(walked())


def last(me: Installer, after_s: float = 0.0) -> Installer:
    """The fourth key, whatever it does now; as fast as somebody presses twice."""
    me.play.after(after_s)
    key = me.screen.keys[3]
    me.play.on(KeyPressed(4, key.action))
    return me


@pytest.mark.promise("S11")
def test_a_double_press_on_continue_confirms_no_limit() -> None:
    me = drafted()
    last(last(me))
    assert "Confirm" in me.keys and not me.play.commissioned
    me.play.after(FAST_S)
    assert not last(me).play.commissioned
    me.play.after(0.2)
    assert last(me).play.commissioned


@pytest.mark.promise("S11")
def test_the_last_screenful_of_the_limits_is_read_too() -> None:
    """Long on a small display: Next, Next, and the third press of somebody in a hurry is Confirm."""
    me = last(drafted())
    me.play.after(1).on(PageMeasured(3)).after(1)
    last(last(last(me)))
    assert "Confirm" in me.keys and not me.play.commissioned
    assert last(me, 1).play.commissioned


@pytest.mark.promise("S11")
def test_a_page_that_was_measured_late_is_read_from_its_beginning() -> None:
    me = last(drafted())
    me.play.after(1).on(PageMeasured(2))
    assert "Next" in me.keys and not last(me).play.commissioned
    assert not last(me).play.commissioned and last(me, 1).play.commissioned


@pytest.mark.promise("S11")
def test_what_comes_by_phone_while_a_finger_is_on_its_way_is_not_confirmed_by_it() -> None:
    me = last(drafted())
    me.play.after(5)
    me.enter("breaker_a", "100", by_phone=True)
    assert not last(me).play.commissioned, "the key was meant for 40 A"
    me.play.after(FAST_S)
    me.enter("circuit_limit_a", "13", by_phone=True)
    assert not last(me, FAST_S).play.commissioned


@pytest.mark.promise("S11")
def test_the_press_that_wakes_a_dark_display_and_the_next_one_confirm_nothing() -> None:
    me = last(drafted())
    me.play.after(600).on(ScreenLit(lit=False)).after(5)
    last(me)
    assert not last(me, FAST_S).play.commissioned
    assert last(me, 0.2).play.commissioned


@pytest.mark.parametrize("way", ["key", "touch", "phone"])
def test_a_double_press_on_continue_hands_nothing_over(way: str) -> None:
    me = complete().enter("step", "readiness")
    me.let_a_phone_in()

    def on() -> bool:
        if way == "key":
            last(me)
        else:
            me.play.on(FieldEntered("step", "next", by_phone=way == "phone"))
        return Step.HAND_OVER in me.play.station.wizard.done

    me.play.after(2)
    assert not on() and me.step is Step.HAND_OVER
    assert not on()
    me.play.after(LOOK_S)
    assert on()


PRESSES = st.tuples(st.sampled_from([1, 2, 3, 4, 4, 4]), st.sampled_from([0.05, 0.3, FAST_S, 0.8, 2.0]))
EVENTS = st.one_of(
    PRESSES,
    st.builds(PageMeasured, st.integers(1, 3)),
    st.builds(FieldEntered, st.just("circuit_limit_a"), st.sampled_from(["13", "16", "20"]), st.booleans()),
    st.builds(FieldEntered, st.just("step"), st.sampled_from(["next", "back", "circuit"]), st.booleans()),
    st.builds(ScreenLit, st.booleans()),
)


@pytest.mark.promise("S11")
@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=25))
@example([(4, 2.0), (4, 0.05)])
def test_whatever_is_confirmed_has_stood_there_for_a_moment(events: list[Any]) -> None:
    """Judged from outside: by what the display showed, and since when."""
    me = drafted()
    me.let_a_phone_in()
    shown, since, orders = seen(me), me.play.now, 0
    for event in events:
        if isinstance(event, tuple):
            me.play.after(event[1])
            me.play.on(KeyPressed(event[0], me.screen.keys[event[0] - 1].action))
        else:
            me.play.on(event)
        if len(me.play.commissioned) > orders:
            orders = len(me.play.commissioned)
            assert me.play.now - since >= LOOK_S - 1e-9
        if (now_is := seen(me)) != shown:
            shown, since = now_is, me.play.now


def seen(me: Installer) -> tuple[object, ...]:
    """What the page says, which of its screenfuls is shown, and whether there is light."""
    model = me.screen
    return str(model.content), model.turned, model.screenfuls, model.awake


# -- four keys --------------------------------------------------------------------------------------------------------


MANY_FIELDS = (Step.INSTALLER, Step.CIRCUIT, Step.PINPOINT, Step.CLOCK)  # every key has something to do


def presses_to_leave(me: Installer) -> int:
    """Whoever walks on hands nothing over and ends no visit on the way."""
    todo, now = deque([(me.play.station, 0)]), me.play.now
    while todo:
        station, presses = todo.popleft()
        if navigation.page(station) is Page.HOME:
            return presses
        for n, action in enumerate(navigation.keys(station, now), 1):
            if action not in (Action.NONE, Action.END, Action.PHONE) and presses < 5 and not is_hand_over(station, n):
                todo.append((handle(station, KeyPressed(n, action), now)[0], presses + 1))
    raise AssertionError("no way out")


def is_hand_over(station: Station, key: int) -> bool:
    return station.wizard.step is Step.HAND_OVER and key == 4


def test_whoever_has_left_the_wizard_finds_it_again_after_a_minute() -> None:
    me = complete().press("Leave")
    assert me.shows(Page.HOME)
    me.play.after(LEAVE_S + 1)
    assert me.shows(Page.WIZARD) and me.step is Step.HAND_OVER


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("has_phone", [False, True])
def test_from_every_step_three_presses_lead_out_and_no_two_keys_say_the_same(step: Step, *, has_phone: bool) -> None:
    me = complete().enter("step", step)
    if has_phone:
        me.let_a_phone_in()
    labels = [key.label for key in me.screen.keys if key.label]
    assert len(labels) == len(set(labels)) and all(bool(key.label) == bool(key.action) for key in me.screen.keys)
    assert {"Back"} <= set(labels), "and back from everywhere"
    assert ("End phone" in labels) == (has_phone and step not in MANY_FIELDS)
    assert presses_to_leave(me) <= 3


def test_a_test_charge_is_ended_with_one_key() -> None:
    me = at(Step.CHARGE)
    assert "End charge" not in me.keys
    me.play.plug(1)
    me.set("charge", "1").play.charge(1, wh=3)
    assert me.keys[1] == "End charge"
    me.press("End charge").play.open(1)
    assert me.play.transactions(1)[-1] == ("Ended", "Local") and "End charge" not in me.keys


def test_a_test_charge_that_waits_for_its_car_is_ended_with_one_key() -> None:
    me = at(Step.CHARGE)
    me.play.plug(1)
    me.set("charge", "1")
    me.press("End charge").play.after(400)
    assert not me.play.wish[0].offer_ma and "End charge" not in me.keys


def test_whoever_stands_at_the_display_can_end_the_phones_visit_from_the_wizard() -> None:
    me = at(Step.SELF_TEST).let_a_phone_in()
    me.press("End phone")
    assert me.shows(Page.WIZARD) and "End phone" not in me.keys
    me.enter("installer", "Mallory").play.on(FieldEntered("company", "Mallory", by_phone=True))
    assert me.play.station.wizard.company == ""


def test_the_keys_of_the_confirmation_end_a_phone_whose_values_nobody_wanted() -> None:
    me = at(Step.CIRCUIT).enter("breaker_a", "100", by_phone=True)
    assert me.keys == ["Back", "End phone", "Later", "Confirm"]


def test_every_key_of_the_wizard_says_what_it_does_on_every_page_that_four_keys_reach() -> None:
    """All of them, breadth first, from the first page of a new station."""
    start = Installer().play.station
    todo, found = [start], dict[tuple[object, ...], list[str]]()
    while todo:
        station = todo.pop()
        me = Installer()
        me.play.station = station
        model = screen(station, me.play.now)
        editing = station.wizard.editing
        key = (model.page, station.wizard.step, station.wizard.confirms, editing and editing.name)
        if model.page is not Page.WIZARD or key in found:
            continue
        found[key] = [each.label for each in model.keys]
        for n, each in enumerate(navigation.keys(station, me.play.now), 1):
            if each is not Action.NONE:
                fresh = Installer()
                fresh.play.station = station
                fresh.play.after(2).on(KeyPressed(n, each))
                todo.append(fresh.play.station)
    assert {key[1] for key in found} == set(STEPS)
    for labels in found.values():
        shown = [label for label in labels if label]
        assert labels[0] in ("Back", "Cancel") and len(shown) == len(set(shown)), labels
    assert not [a for a, b in pairwise(sorted(map(str, found))) if a == b]
