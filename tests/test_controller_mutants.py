"""The mutation check of the controller's update: each check, each order and each write that a power cut needs is taken
away, one at a time, and some promise of tests/test_controller_slots.py must break."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from board.controller import receive, slots
from board.controller.receive import Target
from tests import test_controller_slots as promises

# What it is called, whose function, which one, what stands there, what stands there instead.
MUTANTS: tuple[tuple[str, Any, str, str, str], ...] = (
    ("the state's CRC is not looked at", slots, "load", "== crc32(data[:_STATE_B])", "> -1"),
    ("an image's hash is not looked at", slots, "intact", " or digest_of(slot, head[0], feed) != head[3]", ""),
    ("an image's board is not looked at", slots, "intact", " or head[1] != board", ""),
    ("tries are not counted", slots, "at_boot", "tries - 1", "tries"),
    ("a trial boots what is not whole", slots, "at_boot", " and is_intact[trial]", ""),
    ("the confirmed slot boots, whole or not", slots, "without_trial", "if is_intact[slot]:", "if True:"),
    ("the slot that boots is written", slots, "target", "return 1 - ", "return "),
    ("an open slot is still on trial", slots, "opened", "NONE, 0, NONE", "*state[1:]"),
    ("what is confirmed is not laid ready", slots, "chosen", "home.save(NEXT, dump(confirmed(slot)))", "pass"),
    ("a counted try is not kept", slots, "chosen", "home.save(FILE, dump(after))", "pass"),
    ("a try is made that was not counted", slots, "chosen", "without_trial(state, is_intact), (", "slot, ("),
    ("a slot is not erased", Target, "open", "self._home.erase(self.slot, sector)", "pass"),
    ("a piece is not checked before it is written", Target, "put", " or found.digest() != digest", ""),
    ("a sector is not read back", Target, "put", "if not lies(", "if False and not lies("),
    ("the slot is not read back", Target, "finish", "if not self._holds(self.slot)", "if False"),
    ("the image is not looked at as a whole", Target, "finish", "head is None or head[0] != self._size_b()", "False"),
    ("the trial is not begun", Target, "activate", "self._home.save(", "dict("),
    ("the boards are not compared", receive, "pieces_of", "if named != board", "if False"),
)  # fmt: skip
EQUIVALENT = {
    "an open slot is still on trial": "what lies there boots only if it is whole, and is the new image then, on trial",
    "a sector is not read back": "before the slot may boot all of it is read back",
    "the slot is not read back": "each sector was read back as it was written; the image is hashed as a whole",
}


def judged() -> None:
    """The promises, the quick ones first."""
    promises.test_a_spoilt_state_means_no_trial_and_is_never_an_error()
    promises.test_what_boots_is_whole_and_nothing_boots_only_where_nothing_is()
    promises.test_a_trial_ends_after_its_tries_in_the_confirmed_slot_if_that_is_whole()
    promises.test_the_slot_that_may_be_written_is_never_the_one_that_would_boot_without_it()
    promises.test_an_image_says_its_board_and_version_and_any_spoilt_bit_shows()
    promises.test_a_try_that_cannot_be_counted_is_not_made()
    promises.test_a_damaged_slot_is_not_booted_and_without_any_the_receiver_waits()
    promises.test_a_worn_sector_and_a_full_file_system_are_refused_and_the_old_image_stays()
    promises.test_another_boards_image_is_refused_before_the_first_byte_is_touched()
    promises.test_a_piece_of_the_right_size_that_is_another_is_never_written()
    for stored in (b"", bytes(40), bytes(range(256)) * 16):
        promises.test_a_piece_that_is_not_what_the_index_says_is_never_written(stored)
    for story in (promises.never_flashed, promises.in_a_trial):
        promises.test_a_power_cut_at_any_operation_boots_the_old_image_or_the_new(story, 0.5)


def mutated(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(old) >= 1, f"{old} is not there any more: mend the list"
    made: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + text.replace(old, new), function.__globals__, made)
    return made[function.__name__]  # type: ignore[no-any-return]


@pytest.mark.long
@pytest.mark.promise("S8")
@pytest.mark.parametrize(("owner", "name", "old", "new", "why"), [
    pytest.param(owner, name, old, new, EQUIVALENT.get(what, ""), id=what) for what, owner, name, old, new in MUTANTS
])  # fmt: skip
def test_what_is_taken_away_breaks_a_promise(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, old: str, new: str, why: str
) -> None:
    monkeypatch.setattr(owner, name, mutated(getattr(owner, name), old, new))
    try:
        judged()
    except BaseException as error:
        assert not isinstance(error, KeyboardInterrupt)
        assert not why, "it is not equivalent any more"
    else:
        assert why, "nobody has noticed"
