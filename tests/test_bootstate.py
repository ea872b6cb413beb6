"""The boot state as a value: which slot runs, which may be written, when a try is counted, and its bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update.bootstate import (
    FILE_MAX_B,
    REASON_MAX,
    RESCUE,
    SLOTS,
    TRIES,
    Ended,
    Slot,
    State,
    Trial,
    activated,
    confirmed,
    decode,
    encode,
    gone_back,
    newest,
    order,
    rolled_back,
    staged,
    started,
    target,
    unusable,
)

OLD, NEW = "0" * 64, "f" * 64
RUNNING = State(7, Slot(OLD, is_confirmed=True), default="a", security_floor=3)
STAGED = staged(RUNNING, "b", NEW)
TRIED = activated(STAGED, "b", was_online=True)

# -- which slot runs --------------------------------------------------------------------------------------------------


def test_a_station_without_any_build_runs_the_rescue_tree() -> None:
    assert order(State()) == (RESCUE,)


def test_a_build_that_was_only_staged_does_not_run() -> None:
    assert order(STAGED)[0] == "a"
    assert order(staged(State(), "a", NEW)) == (RESCUE,)


def test_a_broken_default_gives_way_to_whatever_else_may_be_whole_and_last_to_the_rescue_tree() -> None:
    assert order(STAGED) == ("a", "b", RESCUE)
    assert order(TRIED) == ("b", "a", RESCUE)


@pytest.mark.promise("S8")
def test_a_trial_has_three_starts_then_the_default_runs_again_and_the_reason_is_kept() -> None:
    state, ran = TRIED, []
    for n in range(TRIES + 2):
        state = started(state, f"boot {n}", 10.0)
        ran.append(order(state)[0])
    assert ran == ["b"] * TRIES + ["a", "a"]
    assert state.last and not state.last.is_confirmed and "3 times" in state.last.reason
    assert activated(state, "b", was_online=False).last is None, "what is tried again has not failed yet"


@pytest.mark.promise("S8")
def test_mains_that_flicker_outside_a_trial_change_nothing() -> None:
    for state in (State(), RUNNING, STAGED, rolled_back(TRIED, "why")):
        assert started(state, "boot", 1.0) is state


def test_the_time_of_a_trial_counts_from_its_first_start_in_this_boot() -> None:
    state = started(started(TRIED, "one", 100.0), "one", 160.0)
    assert state.trial and (state.trial.since_s, state.trial.tries) == (100.0, TRIES - 2)
    again = started(state, "two", 9.0)
    assert again.trial and (again.trial.since_s, again.trial.tries) == (9.0, 0)


@pytest.mark.promise("S8")
def test_what_was_found_healthy_is_the_default_and_the_floor_never_sinks() -> None:
    state = confirmed(TRIED, 9)
    assert order(state) == ("b", "a", RESCUE) and state.security_floor == 9
    assert confirmed(TRIED, 1).security_floor == 3
    assert order(gone_back(state, "a", "by hand")) == ("a", "b", RESCUE)


# -- which slot may be written ----------------------------------------------------------------------------------------

def is_sound(state: State) -> bool:
    is_default = state.default == RESCUE or state.slot(state.default).is_confirmed
    is_trial = state.trial is None or (state.trial.slot != state.default and bool(state.slot(state.trial.slot).digest))
    return is_default and is_trial


DIGESTS = st.sampled_from(["", OLD, NEW])
TRIED_SLOT = st.tuples(st.booleans(), st.integers(0, TRIES), st.text(max_size=9), st.floats(0, 1e9))
ENDED = st.builds(Ended, st.sampled_from([*SLOTS, RESCUE]), DIGESTS, st.booleans(), st.text(max_size=REASON_MAX))


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any that can be."""
    held = {name: draw(DIGESTS) for name in SLOTS}
    made = {name: Slot(digest, bool(digest) and draw(st.booleans())) for name, digest in held.items()}
    default = draw(st.sampled_from([RESCUE, *(name for name in SLOTS if made[name].is_confirmed)]))
    able = [name for name in SLOTS if held[name] and name != default]
    trial, is_tried = None, draw(st.booleans())
    if able and is_tried:
        trial = Trial(draw(st.sampled_from(able)), *draw(TRIED_SLOT))
    more = draw(st.dictionaries(st.sampled_from(["x", "y"]), st.integers() | st.text(max_size=20)))
    number, floor = draw(st.integers(0, 2**53)), draw(st.integers(0, 2**53))
    state = State(number, made["a"], made["b"], default, trial, floor, draw(st.none() | ENDED), more)
    assert is_sound(state)
    return state


SOME_SLOTS = [Slot(), Slot(OLD), Slot(OLD, is_confirmed=True)]
SETTLED = [state for a, b, default in product(SOME_SLOTS, SOME_SLOTS, [*SLOTS, RESCUE])
           if is_sound(state := State(0, a, b, default))]  # fmt: skip


@pytest.mark.promise("S8")
@pytest.mark.parametrize("running", [*SLOTS, RESCUE])
def test_the_slot_that_is_written_never_runs_and_is_not_the_default_while_another_one_is_free(running: str) -> None:
    assert len(SETTLED) == 15
    for state in SETTLED:
        slot = target(state, running)
        assert slot in SLOTS and slot != running
        assert slot != state.default or running in SLOTS
        after = unusable(state, slot, running)
        assert is_sound(after) and not after.slot(slot).digest and slot not in order(after)
        if running == state.default != RESCUE:
            assert order(after)[0] == running
        if running not in SLOTS and state.default not in SLOTS:
            assert not state.slot(slot).is_confirmed or (state.a.is_confirmed and state.b.is_confirmed)


@settings(max_examples=50)
@given(states(), st.text(max_size=40), st.floats(0, 1e9))
def test_whatever_happens_the_state_stays_one_that_can_be(state: State, boot_id: str, now_s: float) -> None:
    for after in (started(state, boot_id, now_s), *following(state)):
        assert is_sound(after), after
        assert order(after)[-1] == RESCUE and all(after.slot(name).digest for name in order(after)[:-1])
        assert after.security_floor >= state.security_floor


def following(state: State) -> list[State]:
    if state.trial:
        return [confirmed(state, 5), rolled_back(state, "why" * 99)]
    able = [name for name in SLOTS if state.slot(name).digest and name != state.default]
    tried = [activated(state, name, was_online=False) for name in able]
    back = [gone_back(state, name, "by hand") for name in able if state.slot(name).is_confirmed]
    return tried + back + [staged(state, name, NEW) for name in SLOTS if not state.slot(name).digest]


# -- its bytes --------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(states())
def test_a_state_comes_back_as_it_was_written(state: State) -> None:
    data = encode(state)
    found = decode(data)
    assert len(data) <= FILE_MAX_B and (found == state or found == replace(state, more={}))


@pytest.mark.promise("S8", "S9")
@given(st.data())
def test_a_torn_state_is_none(data: st.DataObject) -> None:
    whole = encode(TRIED)
    at = data.draw(st.integers(0, len(whole) - 1))
    rest = data.draw(st.sampled_from([b"", bytes(len(whole) - at), encode(RUNNING)[at:]]))
    assert whole[:at] + rest == whole or decode(whole[:at] + rest) in (None, RUNNING)


def signed(text: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(text), text)


@pytest.mark.promise("S9")
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_anything_else_behind_a_right_checksum_is_none_too(text: bytes) -> None:
    assert decode(signed(text)) is None and decode(text) is None


Change = Callable[[dict[str, object]], object]
WRONG: dict[str, Change] = {
    "no number": lambda table: table.pop("number"),
    "a number that is true": lambda table: table.update(number=True),
    "a number below zero": lambda table: table.update(number=-1),
    "a default that was never confirmed": lambda table: table.update(default="b"),
    "a slot that is none": lambda table: table.update(default="c"),
    "a trial of the default": lambda table: table.update(trial=["a", True, 3, "", 0.0]),
    "a trial at no time": lambda table: table.update(trial=["b", True, 3, "", float("nan")]),
    "a trial of too few words": lambda table: table.update(trial=["b"]),
    "a digest that is none": lambda table: table.update(slots={"a": [OLD, True], "b": ["g" * 64, False]}),
    "only one slot": lambda table: table.update(slots={"a": [OLD, True]}),
    "an endless reason": lambda table: table.update(last=["b", NEW, False, "x" * 999]),
    "a floor that is a text": lambda table: table.update(security_floor="3"),
}


@pytest.mark.promise("S9")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_software_of_ours_writes_is_none(wrong: str) -> None:
    table = json.loads(encode(STAGED)[9:])
    assert decode(signed(json.dumps(table).encode())) == STAGED
    WRONG[wrong](table)
    assert decode(signed(json.dumps(table).encode())) is None


def test_what_newer_software_has_added_is_kept_by_an_older_launcher() -> None:
    table = json.loads(encode(TRIED)[9:]) | {"colour": "green"}
    state = decode(signed(json.dumps(table).encode()))
    assert state and json.loads(encode(started(state, "boot", 1.0))[9:])["colour"] == "green"


@pytest.mark.promise("S10")
def test_what_newer_software_has_added_never_makes_a_state_too_long_to_be_read() -> None:
    assert decode(encode(replace(TRIED, more={"colour": "x" * FILE_MAX_B}))) == TRIED


def test_of_two_copies_the_newest_that_is_whole_counts() -> None:
    old, new = encode(replace(RUNNING, number=8)), encode(replace(STAGED, number=9))
    assert newest([old, new]) == newest([new, old]) == replace(STAGED, number=9)
    assert newest([old, new[:-9]]) == replace(RUNNING, number=8)
    assert newest([b"", new[:40]]) is None
