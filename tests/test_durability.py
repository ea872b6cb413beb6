"""What was promised is there after a power cut at any operation; a forgotten fsync is noticed (tests/mutation.py)."""

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from agent import store
from tests import mutation
from tests.conftest import LONG
from tests.durability import ROOT, Data, Names, Recording, Said, Size, Step, Sync, Tree, broken, record, tree, worlds
from tests.durable_farewell import LISTED, farewell_judge, his
from tests.durable_stories import STORIES, recorded

pytestmark = pytest.mark.needs("strace", "strace")

Tell = Callable[[str, object], None]
WRITTEN = [story for story in STORIES if story != "reopening"]
LONG_STORIES = ("farewell",)  # whose quick tests are their own
QUICKLY = [pytest.param(story, marks=pytest.mark.long) if story in LONG_STORIES else story for story in WRITTEN]

# -- what was promised ------------------------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S4", "S8")
@pytest.mark.parametrize("story", QUICKLY)
def test_what_was_promised_survives_a_power_cut_at_any_operation(story: str, record_property: Tell) -> None:
    recording = recorded(story, range(2))
    assert list(broken(recording, STORIES[story].judge(), effort=0)) == []
    record_property("fact", f"{story}: the power was cut at {len(recording.steps) + 1} instants")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.promise("S2", "S4", "S8")
@pytest.mark.parametrize("story", WRITTEN)
@pytest.mark.parametrize("life", [0, 11, 20, 31])
def test_what_was_promised_survives_whatever_a_power_cut_leaves(
    story: str, life: int, record_property: Tell
) -> None:
    recording = recorded(story, range(life, life + 3))
    disks = len({(world.key(), world.said) for world in worlds(recording, effort=5, seed=life)})
    assert list(broken(recording, STORIES[story].judge(), effort=5, seed=life)) == []
    record_property("fact", f"{story} {life}: {len(recording.steps) + 1} instants, {disks} disks that a cut may leave")


@pytest.mark.promise("S2")
@pytest.mark.parametrize("order", ["transfer", pytest.param("reset", marks=pytest.mark.long)])
def test_a_station_that_is_taken_from_its_owner_is_his_or_nobodys_wherever_the_power_is_cut(
    order: str, record_property: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BALLAST_B", 4_096)
    recording = recorded("farewell", [("transfer", "reset").index(order)], before=his())
    assert list(broken(recording, farewell_judge(before=LISTED), effort=0)) == []
    record_property("fact", f"{order}: the power was cut at {len(recording.steps) + 1} instants")


@pytest.mark.promise("S2")
def test_a_second_power_cut_during_the_recovery_from_the_first_loses_nothing() -> None:
    recording = recorded("store", [0])
    said = recording.said()
    everything = [world for world in worlds(recording, effort=2) if "opened" in "".join(said[: world.said])]
    for world in random.Random(1).sample(everything, 5 if LONG else 2):
        again = recorded("reopening", [1], before=world.tree)
        judge = partial(judged, said[: world.said])
        assert list(broken(again, judge, effort=0)) == []


def judged(before: Sequence[str], files: Tree, _said: Sequence[str]) -> str:
    return STORIES["store"].judge()(files, before)


# -- the mutation check -----------------------------------------------------------------------------------------------

QUICK = (
    "synchronous = OFF", "no transactions: each row by itself", "promised before COMMIT",
    "agent/files.py: put() without files.sync(new)",
    "agent/authcache/lists.py: _stage() without self.cache.clear(now)",
)  # fmt: skip


@pytest.mark.promise("S2", "S4")
@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_of_the_durable_code_is_killed(name: str) -> None:
    (mutant,) = [mutant for mutant in mutation.mutants() if mutant.name == name]
    assert mutation.verdict(mutant, lives=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.promise("S2", "S4", "S8")
@pytest.mark.parametrize("mutant", mutation.mutants(), ids=lambda mutant: mutant.name)
def test_every_mutant_is_killed_but_the_equivalent_ones(mutant: mutation.Mutant) -> None:
    assert bool(mutation.verdict(mutant)) != (mutant.name in mutation.EQUIVALENT)


def test_every_equivalent_mutant_is_still_in_the_source() -> None:
    assert mutation.EQUIVALENT.keys() <= {mutant.name for mutant in mutation.mutants()}


# -- the model of the disk --------------------------------------------------------------------------------------------

EVERY_OPERATION = """
import os, pathlib, sys, threading
folder = pathlib.Path(sys.argv[1])
(folder / "kept").write_bytes(b"rewritten")
(folder / "gone").unlink()
with open("relative", "wb") as file:
    file.write(b'quotes " and \\\\ backslash, \\x00\\xff, brackets <1> (deleted), <unfinished ...>')
    file.seek(5)
    file.write(b"#")
with open("relative", "ab") as file:
    file.write(b" at the end")
os.rename("relative", "renamed")
os.replace("renamed", folder / "kept")
os.mkdir("inner")
fd = os.open("inner/random", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 5000, 1000)
os.ftruncate(fd, 3000)
os.posix_fallocate(fd, 0, 9000)
os.fsync(fd)
os.close(fd)
os.truncate("inner/random", 8000)
def write(name):
    for n in range(50):
        with open(f"inner/{name}", "ab") as file:
            file.write(bytes([n]))
threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.write(1, b"done")
"""


def test_when_nothing_is_lost_the_model_is_the_folder(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    (folder / "kept").write_bytes(b"before, and longer than after")
    (folder / "gone").write_bytes(b"")
    recording = record(folder, tmp_path, [sys.executable, "-c", EVERY_OPERATION, str(folder)], cwd=folder)
    *_, last = [world for world in worlds(recording, effort=0) if world.why == "all is left"]
    assert last.tree == tree(folder) and recording.said() == ["done"]
    assert len(recording.before) == 2 and len(last.tree["inner/random"] or b"") == 8000


def ends(*steps: Step, before: Tree | None = None) -> list[Tree]:
    """Every disk that may be left when the power goes after the last step."""
    recording = Recording(before or {}, set(), list(steps), [""] * len(steps))
    return [world.tree for world in worlds(recording, effort=20) if world.cut == len(steps)]


CREATED = Names(ROOT, {"file": 1})
RENAMED = Names(ROOT, {"new": None, "list": 2})


@pytest.mark.promise("S2", "S4")
def test_a_file_is_there_when_both_it_and_its_name_are_synced_and_not_before() -> None:
    written = Data(1, 0, b"content")
    assert {} in ends(CREATED, written, Sync(1, 2))  # its name may be gone
    assert {"file": b""} in ends(CREATED, written, Sync(ROOT, 2))  # its content may be gone
    assert {"file": b"\0" * 7} in ends(CREATED, written, Sync(ROOT, 2))  # or all but its size
    assert ends(CREATED, written, Sync(1, 2), Sync(ROOT, 3)) == [{"file": b"content"}]


def test_what_is_written_while_a_sync_runs_is_not_covered_by_it() -> None:
    assert {"file": b"a"} in ends(CREATED, Data(1, 0, b"a"), Data(1, 1, b"b"), Sync(1, 2), Sync(ROOT, 1))


def test_a_rename_is_whole_or_not_at_all_and_may_come_before_the_content() -> None:
    before: Tree = {"list": b"old", "new": b""}
    found = ends(Data(2, 0, b"new!"), RENAMED, before=before)
    assert {"list": b"old", "new": b"new!"} in found and {"list": b"new!"} in found and {"list": b""} in found
    assert all("list" in end for end in found)


def test_a_write_is_torn_at_sectors_and_pages_from_either_side() -> None:
    whole, old = b"n" * 8192, b"o" * 8192
    found = [end["file"] for end in ends(Data(1, 0, whole), before={"file": old})]
    heads = {at for at in range(1, 8192) if whole[:at] + old[at:] in found}
    tails = {at for at in range(1, 8192) if old[:at] + whole[at:] in found}
    assert 4096 in heads & tails and len(heads) > 2 and len(tails) > 2
    assert all(at % 512 == 0 for at in heads | tails)


def test_a_truncation_can_be_undone_until_it_is_synced() -> None:
    assert {"file": b"old"} in ends(Size(1, 0), before={"file": b"old"})
    assert ends(Size(1, 0), Sync(1, 1), before={"file": b"old"}) == [{"file": b""}]


def test_a_promise_counts_from_the_moment_it_was_made() -> None:
    recording = Recording({}, set(), [CREATED, Said("promised"), Sync(ROOT, 1)], ["", "", ""])
    assert {(world.cut, world.said) for world in worlds(recording, 0)} == {(0, 0), (1, 0), (2, 1), (3, 1)}
    wrong = list(broken(recording, lambda files, said: "lost" if said and not files else ""))
    assert len(wrong) == 1 and wrong[0].startswith("cut 2 of 3")
