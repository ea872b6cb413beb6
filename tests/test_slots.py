"""Slots on a real folder: a build comes, piece by piece; what the launcher starts then; and everything that is refused.

Power cuts are in tests/durable_slots.py, random lives in tests/test_slots_random.py.
"""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from agent.files import DISK, Files
from agent.update import build, engine, health, launcher, rules, slots, statefile
from agent.update.bootstate import RESCUE, TRIES, Slot, State
from agent.update.engine import KEYRING, LOG_MAX_B, ROOM_B, ROOT_KEY, Engine, Plan
from agent.update.index import Piece
from agent.update.launcher import Choice, pick, pick_updater
from agent.update.refusal import Refused
from tests import builds

ROOT = Path(__file__).parent.parent
STATION = rules.Station("x86_64", "duo_cm4", is_production=True, security_floor=0)
FILES = {**builds.FILES, "agent/__main__.py": b"print('hello')\n"}


class Site:
    """A station's updater and launcher on one folder, and a person who flashes."""

    def __init__(self, folder: Path, files: Files = DISK) -> None:
        self.root, self.choice, self.boots, self.files = folder / "root", folder / "slot", 0, files
        if not self.root.exists():
            self.root.mkdir()
            (self.root / ROOT_KEY).write_bytes(builds.ROOT.public)
            (self.root / KEYRING).write_bytes(builds.RING)
        self.engine = self.opened()

    def opened(self, station: rules.Station = STATION) -> Engine:
        boot_id = f"boot {self.boots}"
        return Engine(self.root, station, self.files, choice=self.choice, boot_id=boot_id, probe=lambda tree: "")

    def updater(self, station: rules.Station = STATION) -> None:
        """Its process ends, and begins anew."""
        self.engine.close()
        self.engine = self.opened(station)

    def start(self, now_s: float = 10.0) -> Choice:
        """The agent is started, as by its unit."""
        made = pick(self.root, f"boot {self.boots}", now_s, self.files)
        self.choice.write_text(f"{made.slot} {made.kind} {made.version}\n")
        return made

    def boot(self) -> Choice:
        self.boots += 1
        self.updater()
        return self.start()

    def stage(self, version: str, **how: Any) -> Plan:
        data = built(version, **how)
        plan = self.engine.begin(builds.head_of(data).raw)
        self.send(data, plan.wanted)
        if not plan.held:
            self.engine.finish()
        return plan

    def send(self, data: bytes, wanted: tuple[Piece, ...]) -> None:
        for digest, stored in pieces_in(data).items():
            if digest in {piece.digest for piece in wanted}:
                self.engine.put(digest, stored)

    def install(self, version: str, **how: Any) -> str:
        """Staged, tried, found healthy."""
        self.stage(version, **how)
        slot = self.engine.activate()
        assert self.start() == Choice(slot, True, version)
        self.engine.confirm()
        return slot

    @property
    def state(self) -> State:
        state = statefile.load(self.root)
        assert state is not None
        return state


def built(version: str, files: Mapping[str, bytes] = FILES, sequence: int = 0, **how: Any) -> bytes:
    app = builds.app(version=version, files={**files, "version": version.encode()})
    return builds.build_file(app, builds.firmware(version=version), version=version, sequence=sequence, **how)


def pieces_in(data: bytes) -> dict[bytes, bytes]:
    """digest -> as it is stored, of a whole build."""
    head = builds.head_of(data, None)
    rest = io.BytesIO(data[len(head.raw) :]).getvalue()
    return {d: rest[at : at + piece.stored_b] for d, (at, piece) in build.pieces_of(head).items()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(what: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        what()
    assert caught.value.sentence
    return caught.value.code


# -- a build comes ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_a_station_without_a_build_runs_the_rescue_tree_and_takes_one(site: Site) -> None:
    assert site.start() == Choice(RESCUE)
    plan = site.stage("1.0.0")
    assert plan.slot == "a" and plan.held == "" and plan.have_b == 0
    assert site.start() == Choice(RESCUE), "what is staged waits"
    assert site.engine.activate() == "a"
    assert site.start() == Choice("a", True, "1.0.0")
    site.engine.confirm()
    assert site.start() == Choice("a", False, "1.0.0")
    tree = site.root / "a" / "tree"
    assert (tree / "agent/a.pyc").read_bytes() == builds.FILES["agent/a.pyc"]
    assert os.access(tree / "bin/tool", os.X_OK) and not os.access(tree / "version", os.X_OK)
    assert (site.root / "a" / "controller" / "app.rom").read_bytes() == builds.ROM["app.rom"]


@pytest.mark.promise("S8")
def test_builds_go_into_the_slots_by_turns_and_the_one_before_stays_as_it_is(site: Site) -> None:
    assert [site.install(f"{n}.0.0") for n in range(1, 6)] == ["a", "b", "a", "b", "a"]
    status = site.engine.status()
    assert [held and (held.version, held.is_confirmed) for held in status.slots.values()] == [
        ("5.0.0", True), ("4.0.0", True)
    ]  # fmt: skip
    assert status.running == "a" and status.missing_b is None and status.state.last and status.state.last.is_confirmed


def test_only_what_the_running_slot_lacks_is_asked_for(site: Site) -> None:
    site.install("1.0.0")
    plan = site.engine.begin(builds.head_of(built("1.0.1")).raw)
    assert [piece.size_b for piece in plan.wanted] == [len("1.0.1")]
    assert plan.total_b - plan.have_b == len("1.0.1")


def test_a_build_that_is_there_is_not_sent_again(site: Site) -> None:
    site.install("1.0.0")
    again = site.engine.begin(builds.head_of(built("1.0.0")).raw)
    assert (again.held, again.slot, again.wanted) == ("running", "a", ())
    site.stage("2.0.0")
    before = site.state
    again = site.engine.begin(builds.head_of(built("2.0.0")).raw)
    assert (again.held, again.slot, again.wanted) == ("staged", "b", ())
    assert site.state == before


@pytest.mark.promise("S8")
def test_a_flash_that_was_cut_off_goes_on_where_it_was(site: Site) -> None:
    data = built("1.0.0")
    head = builds.head_of(data)
    plan = site.engine.begin(head.raw)
    for digest in [piece.digest for piece in plan.wanted][:3]:
        site.engine.put(digest, pieces_in(data)[digest])
    again = site.engine.begin(head.raw)  # the line was cut
    assert again.wanted == plan.wanted[3:]
    site.updater()  # the power was
    assert refused(site.engine.finish) == "usage" and site.engine.status().slots["a"]
    assert site.engine.begin(head.raw).wanted == plan.wanted[3:]
    site.send(data, plan.wanted)
    site.engine.finish()
    assert site.engine.activate() == "a" and site.start() == Choice("a", True, "1.0.0")


def test_another_build_takes_the_place_of_one_that_was_on_its_way(site: Site) -> None:
    site.engine.begin(builds.head_of(built("1.0.0", {"agent/x": b"1" * 70_000, "agent/gone": b"?"})).raw)
    site.stage("2.0.0", files={"agent/x/y": b"2"})
    assert sorted(slots.found(site.root / "a")) == ["controller/app.rom", "tree/agent/x/y", "tree/version"]
    assert site.engine.activate() == "a" and site.start().slot == "a"


def test_a_piece_that_stands_in_many_places_comes_once(site: Site) -> None:
    plan = site.stage("1.0.0", files={f"agent/{n}": b"same" * 99 for n in range(9)})
    assert len(plan.wanted) < 9 and plan.total_b > 9 * 396
    assert site.engine.activate() and site.start().is_trial


@pytest.mark.promise("S9")
def test_a_piece_that_is_not_what_was_signed_is_refused_and_not_written(site: Site) -> None:
    data = built("1.0.0")
    plan = site.engine.begin(builds.head_of(data).raw)
    before = {path: path.read_bytes() for path in (site.root / "a" / "tree").rglob("*") if path.is_file()}
    piece = next(piece for piece in plan.wanted if piece.size_b > 100)
    assert refused(lambda: site.engine.put(piece.digest, b"?" * piece.stored_b)) == "hash"
    assert {path: path.read_bytes() for path in before} == before
    site.engine.put(b"\0" * 32, b"nobody has asked for it")
    assert refused(site.engine.finish) == "verify"


@pytest.mark.promise("S8")
def test_what_reads_back_as_something_else_is_wanted_again(site: Site) -> None:
    data = built("1.0.0")
    plan = site.engine.begin(builds.head_of(data).raw)
    site.send(data, plan.wanted)
    path = site.root / "a" / "tree" / "agent" / "a.pyc"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert refused(site.engine.finish) == "verify" and not site.state.a.digest
    site.send(data, plan.wanted)
    site.engine.finish()
    assert site.engine.activate() == "a" and site.start() == Choice("a", True, "1.0.0")


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8", "S9")
def test_what_must_not_come_changes_nothing(site: Site) -> None:
    site.install("1.0.0", sequence=4)
    site.stage("1.5.0", sequence=4)
    before = {path: path.read_bytes() for path in site.root.rglob("*") if path.is_file()}
    dev, old = built("2.0.0", signer=builds.DEV, sequence=9), built("2.0.0", sequence=3)
    arm = builds.build_file(builds.app("aarch64", "2.0.0"), version="2.0.0", sequence=9)
    torn = bytearray(builds.head_of(built("2.0.0", sequence=9)).raw)
    torn[len(torn) // 2] ^= 1
    heads = {"role": dev, "downgrade": old, "platform": arm, "key": built("2.0.0", signer=builds.STRANGER)}
    for code, data in heads.items():
        raw = builds.head_of(data, None).raw
        assert refused(partial(site.engine.begin, raw)) == code
    assert refused(lambda: site.engine.begin(bytes(torn))) in ("signature", "format")
    assert refused(lambda: site.engine.begin(b"")) == "format"
    assert {path: path.read_bytes() for path in site.root.rglob("*") if path.is_file()} == before


@pytest.mark.promise("S8")
def test_the_rules_are_asked_again_before_a_trial(site: Site) -> None:
    site.updater(replace(STATION, is_production=False))
    site.stage("1.0.0", signer=builds.DEV)
    site.updater()  # it has been put into production meanwhile
    assert refused(site.engine.activate) == "role"
    assert site.start() == Choice(RESCUE)


@pytest.mark.promise("S8")
def test_new_firmware_is_understood_by_the_app_that_comes_back_if_the_new_one_is_no_good(site: Site) -> None:
    """The app's own contract is that of its slot; no controller need be heard for it."""
    site.install("1.0.0")
    both = builds.app(version="2.0.0", contract=[1, 2, 3]), builds.firmware(version="2.0.0", contract=[1, 3, 3])
    head = builds.head_of(builds.build_file(*both, version="2.0.0")).raw
    assert refused(lambda: site.engine.begin(head)) == "contract"
    site.install("3.0.0")


def test_a_session_keeps_no_build_from_coming_but_from_being_tried(site: Site) -> None:
    site.engine.station = replace(STATION, has_session=True)
    site.stage("1.0.0")
    assert refused(site.engine.activate) == "session"
    assert site.engine.activate(waived={"session"}, reason="the pilot's sensor is broken") == "a"
    assert site.engine.log_lines()[-1]["reason"] == "the pilot's sensor is broken"


def test_nothing_comes_while_a_build_is_on_trial(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert refused(lambda: site.stage("3.0.0")) == "busy" == refused(site.engine.activate)
    before = site.state
    site.engine.abandon()
    assert site.state == before, "what is tried is not given up"
    site.start()
    assert refused(lambda: site.stage("3.0.0")) == "busy"


@pytest.mark.promise("S8")
def test_the_good_build_is_not_overwritten_while_the_failed_one_still_runs(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert site.start().slot == "b"
    assert site.engine.roll_back("it is no good") == "a"
    assert refused(lambda: site.stage("3.0.0")) == "busy", "until it has been started anew"
    assert site.start() == Choice("a", False, "1.0.0")
    assert site.stage("3.0.0").slot == "b"


@pytest.mark.promise("S10")
def test_a_build_that_does_not_fit_costs_no_slot(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    before, disk = site.state, os.statvfs(site.root)
    blocks = (ROOM_B + 1_000) // disk.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*disk[:4], blocks, *disk[5:])))
    big = builds.head_of(built("3.0.0", files={"agent/big": os.urandom(500_000)})).raw
    assert refused(lambda: site.engine.begin(big)) == "storage" == refused(lambda: site.engine.look(big))
    assert refused(lambda: site.opened().begin(big)) == "storage", "whoever was refused holds nobody up"
    assert site.state == before
    assert site.stage("3.0.0").slot == "b", "what it replaces counts as room"


@pytest.mark.promise("S8")
def test_an_updater_that_does_not_know_what_runs_leaves_the_default_alone(site: Site) -> None:
    site.install("1.0.0")
    site.choice.unlink()
    assert site.stage("2.0.0").slot == "b" and site.start() == Choice("a", False, "1.0.0")


class Counting(Files):
    """Which files were synced, and which are read from the disk and not from memory."""

    def __init__(self) -> None:
        self.synced: list[Path] = []
        self.forgotten: set[Path] = set()

    def sync(self, path: Path) -> None:
        self.synced.append(path)
        super().sync(path)

    def forget(self, path: Path) -> None:
        self.forgotten.add(path)
        super().forget(path)


def test_what_has_come_is_synced_every_few_megabytes_and_read_back_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SYNC_B", 50_000)
    files = Counting()
    site, data = Site(tmp_path, files), built("1.0.0")
    plan = site.engine.begin(builds.head_of(data).raw)
    files.synced.clear()
    site.send(data, plan.wanted)
    assert site.root / "a/tree/agent/a.pyc" in files.synced
    site.engine.finish()
    there = {path for folder in ("tree", "controller") for path in (site.root / "a" / folder).rglob("*")}
    assert files.forgotten == {path for path in there if path.is_file()}


@pytest.mark.promise("S8")
def test_what_is_damaged_in_the_slot_that_runs_is_not_copied_from_there(site: Site) -> None:
    site.install("1.0.0")
    DAMAGES["a byte"](site.root / "a")
    assert site.stage("2.0.0").slot == "b" == site.engine.activate()
    assert site.start() == Choice("b", True, "2.0.0")


class Full(Files):
    """No room after so many bytes."""

    def __init__(self, left_b: int) -> None:
        self.left_b = left_b

    def write_at(self, path: Path, offset_b: int, data: bytes) -> None:
        self.left_b -= len(data)
        if self.left_b < 0:
            raise OSError(28, "No space left on device")
        super().write_at(path, offset_b, data)


@pytest.mark.promise("S8", "S10")
def test_a_disk_that_fails_in_the_middle_refuses_and_the_flash_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    disk = Full(5_000)
    site = Site(tmp_path, disk)
    assert refused(lambda: site.stage("1.0.0")) == "storage"
    assert site.start() == Choice(RESCUE)
    disk.left_b = 10**9
    assert site.stage("1.0.0").have_b and site.engine.activate() == "a"


def test_a_keyring_that_cannot_be_written_keeps_no_updater_from_starting(site: Site) -> None:
    site.install("1.0.0")
    site.install("2.0.0", keys=builds.ring(2, prod=builds.PROD))
    (site.root / KEYRING).write_bytes(builds.RING)  # the power went before it was renewed, and then the disk was full
    site.files = ReadOnly()
    site.updater()
    assert site.engine.status().keyring_version == 1
    site.files = DISK
    site.updater()
    assert site.engine.status().keyring_version == 2


def test_two_flashers_do_not_write_at_once(site: Site) -> None:
    site.engine.begin(builds.head_of(built("1.0.0")).raw)
    second = site.opened()
    assert refused(lambda: second.begin(builds.head_of(built("1.0.0")).raw)) == "busy"
    site.engine.abandon()
    assert second.begin(builds.head_of(built("1.0.0")).raw).slot == "a"


def test_a_build_that_was_given_up_is_not_run_and_its_pieces_are_not_sent_again(site: Site) -> None:
    site.stage("1.0.0")
    site.engine.abandon()
    assert refused(site.engine.activate) == "verify"
    assert site.engine.begin(builds.head_of(built("1.0.0")).raw).wanted == ()
    site.engine.finish()
    assert site.engine.activate() == "a"


# -- trial and rollback -----------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_a_build_that_dies_at_each_start_is_given_up_by_the_launcher_alone(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert [site.start().version for _ in range(TRIES + 1)] == ["2.0.0"] * TRIES + ["1.0.0"]
    last = site.state.last
    assert last and not last.is_confirmed and last.slot == "b" and "never found healthy" in last.reason


@pytest.mark.promise("S8")
def test_mains_that_flicker_during_a_trial_end_it_and_the_confirmed_build_stays(site: Site) -> None:
    site.install("1.0.0")
    files = {path: path.stat().st_mtime_ns for path in site.root.rglob("*")}
    assert {site.boot().version for _ in range(20)} == {"1.0.0"}
    assert {path: path.stat().st_mtime_ns for path in site.root.rglob("*")} == files
    site.stage("2.0.0")
    site.engine.activate()
    assert [site.boot().version for _ in range(TRIES + 2)] == ["2.0.0"] * TRIES + ["1.0.0"] * 2


FACTS = health.Facts(5.0, 100.0, controller=True, meter=True, store=True, broker=True, has_session=False)


@pytest.mark.promise("S8")
def test_the_updater_confirms_what_is_well_and_takes_back_what_is_not(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert site.engine.watch(FACTS, 100.0) is None, "it has not been started"
    site.start(now_s=4.0)
    assert site.engine.watch(None, 30.0) is None
    assert site.engine.watch(FACTS, 100.0) == health.Verdict(is_healthy=True)
    assert site.state.default == "b" and site.engine.watch(FACTS, 100.0) is None
    site.stage("3.0.0")
    site.engine.activate()
    site.start(now_s=200.0)
    verdict = site.engine.watch(replace(FACTS, began_s=201.0, at_s=900.0, controller=False), 900.0)
    assert verdict and not verdict.is_healthy and "controller" in verdict.reason
    assert site.start() == Choice("b", False, "2.0.0")
    assert site.state.last and "controller" in site.state.last.reason


@pytest.mark.promise("S8")
def test_a_build_whose_updater_does_not_start_is_not_confirmed_however_well_it_charges(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0", files={**FILES, "agent/__init__.py": b"", "agent/update/__init__.py": b""})
    site.engine = Engine(site.root, STATION, choice=site.choice, boot_id="boot 0")  # with the real probe
    site.engine.activate()
    site.start(now_s=4.0)
    verdict = site.engine.watch(FACTS, 100.0)
    assert verdict and not verdict.is_healthy and "its updater does not start" in verdict.reason


@pytest.mark.promise("S8")
def test_going_back_by_hand_needs_a_build_that_was_confirmed_and_that_the_floor_allows(site: Site) -> None:
    assert refused(lambda: site.engine.roll_back("by hand")) == "verify"
    site.install("1.0.0", sequence=2)
    site.stage("2.0.0", sequence=2)
    assert refused(lambda: site.engine.roll_back("by hand")) == "verify", "2.0.0 was never tried"
    site.engine.activate()
    site.start()
    site.engine.confirm()
    assert site.engine.roll_back("by hand") == "a" and site.start() == Choice("a", False, "1.0.0")
    site.install("3.0.0", sequence=5)
    assert refused(lambda: site.engine.roll_back("by hand")) == "downgrade"
    assert site.start().version == "3.0.0"


def test_nobody_goes_back_to_a_build_that_cannot_open_the_database(site: Site) -> None:
    site.install("1.0.0")
    site.install("2.0.0")
    (level,) = {max(held.schema, 0) for held in site.engine.status().slots.values() if held}
    assert refused(lambda: site.engine.roll_back("by hand", schema=level + 1)) == "wrong-device"
    assert site.engine.roll_back("by hand", schema=level) == "a"


@pytest.mark.promise("S8")
def test_a_newer_keyring_counts_from_the_confirmation_on_and_an_older_one_never(site: Site) -> None:
    site.install("1.0.0")
    newer = builds.ring(2, prod=builds.PROD)
    site.stage("2.0.0", keys=newer)
    assert site.engine.status().keyring_version == 1
    site.engine.activate()
    site.start()
    site.engine.confirm()
    assert site.engine.status().keyring_version == 2 and (site.root / KEYRING).read_bytes() == newer
    site.install("3.0.0")  # it brings the first ring
    assert site.engine.status().keyring_version == 2
    (site.root / KEYRING).write_bytes(b"torn")
    site.stage("4.0.0", keys=newer)
    site.engine.activate()
    site.start()
    site.engine.confirm()
    assert site.engine.status().keyring_version == 2


# -- what the launcher finds ------------------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda slot: (slot / "tree/agent/a.pyc").write_bytes(b"a" * 99_999 + b"b"),
    "a tail": lambda slot: os.truncate(slot / "tree/agent/a.pyc", 5),
    "a file": lambda slot: (slot / "tree/agent/a.pyc").unlink(),
    "a file that shadows a module": lambda slot: (slot / "tree/json.py").write_text("raise SystemExit"),
    "a folder that shadows one": lambda slot: shadowed(slot / "tree/json/__init__.py"),
    "a link": lambda slot: linked(slot / "tree/agent/a.pyc"),
    "a link of all": lambda slot: linked(slot),  # noqa: PLW0108  # it is defined below
    "a link of the tree": lambda slot: linked(slot / "tree"),
    "a link of a folder": lambda slot: (slot / "tree/more").symlink_to("agent"),
    "a pipe": lambda slot: piped(slot / "tree/agent/a.pyc"),
    "a mode": lambda slot: (slot / "tree/agent/a.pyc").chmod(0o755),
    "the firmware": lambda slot: (slot / "controller/app.rom").write_bytes(b""),
    "the list": lambda slot: (slot / "files").write_bytes((slot / "files").read_bytes()[:-40]),
    "a list of other files": lambda slot: (slot / "files").write_bytes(slots.list_of("9", {})),
    "a file and its line in the list": lambda slot: listed_anew(slot, "tree/agent/a.pyc"),
    "no list": lambda slot: (slot / "files").unlink(),
}


def listed_anew(slot: Path, path: str) -> None:
    """All of it fits together; it is only not what was signed."""
    (slot / path).write_bytes(b"print('another agent')")
    version, files = slots.read_list((slot / "files").read_bytes())
    found = slots.hashed(slot / path)
    assert found
    (slot / "files").write_bytes(slots.list_of(version, {**files, path: found}))


def shadowed(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("raise SystemExit")


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def test_nothing_is_written_into_the_slot_that_runs_however_the_other_one_leads_there(site: Site) -> None:
    site.install("1.0.0")
    for link in ("b", "b/tree"):
        rmtree(site.root / "b", ignore_errors=True)
        (site.root / link).parent.mkdir(exist_ok=True)
        (site.root / link).symlink_to(site.root / "a" / Path(link).relative_to("b"))
        assert site.stage("2.0.0").slot == "b"
        assert site.start() == Choice("a", False, "1.0.0") and not (site.root / link).is_symlink()
        site.engine.abandon()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.promise("S8")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_slot_that_is_not_what_was_signed_is_never_started(site: Site, damage: str) -> None:
    site.install("1.0.0")
    site.install("2.0.0")
    DAMAGES[damage](site.root / "b")
    assert site.start() == Choice("a", False, "1.0.0") == pick_updater(site.root)
    assert site.state.default == "b", "the launcher changes nothing outside a trial"
    plan = site.stage("2.0.0")
    assert plan.slot == "b" and plan.held == "" and plan.have_b > plan.total_b // 2, "a flash mends it"
    site.engine.activate()
    assert site.start() == Choice("b", True, "2.0.0")


@pytest.mark.promise("S8")
def test_a_build_on_trial_that_is_damaged_ends_its_trial(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    DAMAGES["a byte"](site.root / "b")
    site.engine.activate()
    assert site.start() == Choice("a", False, "1.0.0")
    assert site.state.trial is None and site.state.last and "a.pyc is damaged" in site.state.last.reason
    assert site.stage("2.0.0").held == "", "it is not taken for staged again"
    site.engine.activate()
    assert site.start() == Choice("b", True, "2.0.0")


@pytest.mark.promise("S8")
def test_a_build_that_was_never_found_healthy_is_a_makeshift_that_destroys_nothing(site: Site) -> None:
    """The default is broken, so what has failed its trial is better than nothing; the default may be mended."""
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    site.start()
    site.engine.roll_back("it is no good")
    DAMAGES["a byte"](site.root / "a")
    assert launched(site, "pick").returncode == 0
    made = launcher.read_choice(site.choice)
    assert made == Choice("b", False, "2.0.0", is_makeshift=True) == site.start()
    assert may_be_taken_back(site) == "1"
    site.engine.abandon()
    assert launched(site, "pick").returncode == 0 and may_be_taken_back(site) == "1"
    DAMAGES["a byte"](site.root / "b")
    assert launched(site, "pick").returncode == 0 and may_be_taken_back(site) == "1", "nor does the rescue tree"
    site.install("3.0.0")
    assert launched(site, "pick").returncode == 0 and may_be_taken_back(site) == ""


@pytest.mark.promise("S8")
def test_what_is_tried_is_the_build_that_was_flashed_and_not_the_makeshift_that_runs(site: Site) -> None:
    for version in ("0.9.0", "1.0.0"):
        site.install(version)
    site.stage("2.0.0")
    site.engine.activate()
    site.start()
    site.engine.roll_back("it is no good")
    DAMAGES["a byte"](site.root / "b")
    assert site.start() == Choice("a", False, "2.0.0", is_makeshift=True)
    site.choice.write_text("a makeshift 2.0.0\n")
    assert site.stage("3.0.0").slot == "b" == site.engine.activate()
    assert site.start() == Choice("b", True, "3.0.0")


def may_be_taken_back(site: Site) -> str:
    """What the agent's build is told (agent/app.py): "1" = no destructive migration is made."""
    return launcher.command_of(site.root, site.choice, "agent", [])[1]["STATION_TRIAL"]


@pytest.mark.promise("S8")
def test_with_both_slots_broken_the_rescue_tree_runs_and_a_flash_mends_the_station(site: Site) -> None:
    site.install("1.0.0")
    site.install("2.0.0")
    DAMAGES["a byte"](site.root / "a")
    DAMAGES["no list"](site.root / "b")
    assert site.boot() == Choice(RESCUE) == pick_updater(site.root)
    assert site.install("3.0.0") == "a" and site.boot() == Choice("a", False, "3.0.0")


@pytest.mark.promise("S8")
def test_a_state_that_is_lost_on_both_copies_is_made_anew_from_the_slots(site: Site) -> None:
    site.install("1.0.0", sequence=3)
    site.install("2.0.0", sequence=7)
    site.install("3.0.0", sequence=9)
    lost(site)
    assert site.boot() == Choice("a", False, "3.0.0")
    assert (site.state.default, site.state.security_floor) == ("a", 9)
    assert site.state.b == Slot(site.state.b.digest, is_confirmed=True)
    site.install("4.0.0", sequence=9)
    lost(site)
    assert site.boot() == Choice("b", False, "4.0.0"), "numbers go on where they were"
    site.engine.roll_back("it hums")
    lost(site)
    assert site.boot() == Choice("a", False, "3.0.0"), "nor is a way back by hand forgotten"


def lost(site: Site) -> None:
    for turn in (0, 1):
        (site.root / f"state.{turn}").write_bytes(b"torn")


@pytest.mark.promise("S8")
def test_a_state_is_not_made_anew_by_a_disk_that_is_only_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(slot: Path, digest: str) -> str:
        raise TimeoutError("it takes too long")

    site.install("1.0.0")
    for turn in (0, 1):
        (site.root / f"state.{turn}").unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(launcher, "checked", slow)
        assert site.start() == Choice(RESCUE) and statefile.load(site.root) is None
    assert site.start() == Choice("a", False, "1.0.0")


@pytest.mark.promise("S8")
def test_without_a_state_a_half_written_slot_is_not_taken_for_a_build_and_an_untried_one_is_tried(site: Site) -> None:
    site.engine.begin(builds.head_of(built("1.0.0")).raw)
    for turn in (0, 1):
        (site.root / f"state.{turn}").unlink(missing_ok=True)
    assert site.boot() == Choice(RESCUE)
    site.stage("1.0.0")
    for turn in (0, 1):
        (site.root / f"state.{turn}").unlink(missing_ok=True)
    assert [site.boot() for _ in range(TRIES + 1)] == [Choice("a", True, "1.0.0")] * TRIES + [Choice(RESCUE)]


def test_one_copy_of_the_state_is_enough(site: Site) -> None:
    site.install("1.0.0")
    newest = site.state.number % 2
    (site.root / f"state.{1 - newest}").write_bytes(b"")
    assert site.boot() == Choice("a", False, "1.0.0")


class ReadOnly(Files):
    def write(self, path: Path, data: bytes, mode: int = 0) -> None:
        raise OSError(30, "Read-only file system")


@pytest.mark.promise("S8")
def test_a_try_that_cannot_be_counted_is_not_made(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    site.files = ReadOnly()
    assert site.start() == Choice("a", False, "1.0.0")
    site.files = DISK
    assert site.start() == Choice("b", True, "2.0.0")


def test_a_folder_that_is_not_there_is_no_reason_not_to_start(tmp_path: Path) -> None:
    assert pick(tmp_path / "nowhere", "boot", 1.0) == Choice(RESCUE) == pick_updater(tmp_path / "nowhere")


@pytest.mark.promise("S8")
def test_the_updater_is_never_that_of_a_build_on_trial(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert site.start().slot == "b" and pick_updater(site.root) == Choice("a", False, "1.0.0")


@pytest.mark.promise("S8")
def test_an_updater_without_a_whole_default_is_that_of_the_rescue_tree_as_long_as_a_trial_is_on(site: Site) -> None:
    """What is on trial must not be what judges it."""
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    DAMAGES["a byte"](site.root / "a")
    assert site.start() == Choice("b", True, "2.0.0") and pick_updater(site.root) == Choice(RESCUE)


@pytest.mark.promise("S8")
def test_facts_of_the_build_before_do_not_confirm_the_one_on_trial(site: Site) -> None:
    """The first start of the trial was made, the second one could not be counted: the default runs meanwhile."""
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    assert site.start(now_s=4.0) == Choice("b", True, "2.0.0")
    site.files = ReadOnly()
    assert site.start(now_s=8.0) == Choice("a", False, "1.0.0")
    assert site.engine.watch(replace(FACTS, began_s=9.0), 100.0) is None
    verdict = site.engine.watch(replace(FACTS, began_s=9.0, at_s=700.0), 700.0)
    assert verdict and not verdict.is_healthy and site.state.default == "a"


@pytest.mark.promise("S8")
def test_a_name_that_is_no_text_ends_a_trial_with_a_reason_that_is(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    Path(os.fsdecode(os.fsencode(site.root / "b/tree") + b"/\xff.py")).write_text("")
    done = launched(site, "pick")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "slot a: 1.0.0"), done.stderr
    assert site.state.last and b"\\udcff.py is not listed" in site.state.last.reason.encode()


@pytest.mark.promise("S8")
def test_whoever_holds_the_boot_state_for_ever_keeps_nothing_from_starting(site: Site) -> None:
    site.install("1.0.0")
    site.stage("2.0.0")
    site.engine.activate()
    before = site.state
    with statefile.locked(site.root):
        assert picked_in_haste(site) == Choice("a", False, "1.0.0")
    assert site.state == before, "no try was lost by it"


@pytest.mark.promise("S8")
def test_a_disk_that_does_not_answer_costs_its_slot_and_no_start(site: Site) -> None:
    site.install("1.0.0")
    site.install("2.0.0")
    (site.root / "b" / "files").unlink()
    os.mkfifo(site.root / "b" / "files")  # nobody ever writes into it
    assert picked_in_haste(site) == Choice("a", False, "1.0.0")


@pytest.mark.parametrize("unit", ["station-agent", "station-update"])
def test_the_launcher_loses_its_patience_before_systemd_does(unit: str) -> None:
    """The lock, then both slots."""
    text = (ROOT / "board" / "systemd" / f"{unit}.service").read_text()
    (timeout_s,) = re.findall(r"^TimeoutStartSec=(\d+)$", text, re.MULTILINE)
    first_s, further_s = launcher.PATIENCE_S
    assert first_s + 2 * further_s < int(timeout_s) * 0.8


def picked_in_haste(site: Site) -> Choice:
    """By the launcher's program, with less patience."""
    program = (
        "import sys; from pathlib import Path; from agent.update import launcher; launcher.PATIENCE_S = 0.5, 5.0;"
        f"launcher.main_pick(Path({str(site.root)!r}), Path({str(site.choice)!r}), is_updater=False)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)
    return launcher.read_choice(site.choice)


# -- the programs -----------------------------------------------------------------------------------------------------

LAUNCHER = ROOT / "agent" / "update" / "launcher.py"


def launched(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(LAUNCHER), str(site.root), str(site.choice), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")


def test_the_launcher_picks_and_becomes_the_program_of_the_slot(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONSAFEPATH", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
    site.stage("1.0.0", files={"agent/__init__.py": b"", "agent/__main__.py": PROGRAM})
    site.engine.activate()
    done = launched(site, "pick")
    assert (done.returncode, done.stdout) == (0, "slot a, on trial: 1.0.0\n"), done.stderr
    assert launched(site, "run", "agent", "one", "two").stdout == "['one', 'two'] a 1 True\n"
    site.engine.confirm()
    launched(site, "pick")
    assert launched(site, "run", "agent").stdout == "[] a  True\n"


PROGRAM = b"""
import os, subprocess, sys, agent
child = subprocess.run([sys.executable, "-c", "import agent; print(agent.__file__)"], capture_output=True, text=True)
is_same = child.stdout.strip() == agent.__file__ and os.environ["PYTHONPATH"] in agent.__file__
flags = sys.flags.safe_path, sys.flags.no_user_site, sys.flags.dont_write_bytecode  # nothing of others, nothing beside
print(sys.argv[1:], os.environ["STATION_SLOT"], os.environ["STATION_TRIAL"], is_same and all(flags))
"""


def test_without_a_slot_the_launcher_becomes_the_program_of_its_own_tree(site: Site) -> None:
    done = launched(site, "pick")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "slot rescue: the version of the image")
    done = launched(site, "run", "agent", "--help")
    assert done.returncode == 0 and "station-agent" in done.stdout
    site.choice.unlink()
    assert launched(site, "run", "agent", "--help").stdout == done.stdout
    assert launched(site, "fly").returncode == 2


def test_root_becomes_the_updaters_user_with_none_of_its_own_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def did(name: str) -> Callable[[object], None]:
        return lambda which: done.append((name, which))

    done: list[tuple[str, object]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, did(name))
    launcher.become(tmp_path)
    owner = tmp_path.stat()
    assert done == [("setgroups", []), ("setgid", owner.st_gid), ("setuid", owner.st_uid)]


def test_what_was_picked_is_not_written_through_a_link(site: Site, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    site.choice.symlink_to(tmp_path / "precious")
    launched(site, "pick")
    assert (tmp_path / "precious").read_text() == "precious" and not site.choice.is_symlink()


def test_what_was_picked_can_be_read_by_the_units_user_whatever_the_units_umask(site: Site) -> None:
    """Else the rescue tree would run, and say nothing."""
    before = os.umask(0o077)  # as station-agent.service has it
    try:
        launched(site, "pick")
    finally:
        os.umask(before)
    assert site.choice.stat().st_mode & 0o777 == 0o644


def test_while_the_launcher_looks_at_the_slots_nobody_is_told_that_the_rescue_tree_runs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picked(root: Path) -> Choice:
        seen.append(site.engine.status().is_picking)
        return Choice("a")

    seen: list[bool] = []
    site.install("1.0.0")
    monkeypatch.setattr(launcher, "lose_patience", lambda: None)
    monkeypatch.setattr(launcher, "pick_updater", picked)
    assert launcher.main_pick(site.root, site.choice, is_updater=True) == 0
    assert seen == [True] and not site.engine.status().is_picking and site.engine.running == "a"


def test_an_updater_that_dies_again_and_again_gives_way_to_that_of_the_rescue_tree(site: Site) -> None:
    site.install("1.0.0")
    picked = [launched(site, "pick-updater").stdout.splitlines()[-1].split(":")[0] for _ in range(5)]
    assert picked == ["slot a"] * launcher.STARTS_MAX + ["slot rescue"] * 2


def test_starts_of_the_updater_that_lie_apart_are_not_counted_together(tmp_path: Path) -> None:
    assert not any(launcher.is_looping(tmp_path / "starts", n * launcher.STARTS_S) for n in range(20))
    assert not launcher.is_looping(tmp_path / "starts", 3.0), "another boot"


@pytest.mark.parametrize("half", ["", "2", "2 ", "2 7.", "x y", "1 2 3"])
def test_a_count_of_starts_that_is_half_written_keeps_no_updater_from_its_slot(half: str, tmp_path: Path) -> None:
    (tmp_path / "starts").write_text(half)
    assert not launcher.is_looping(tmp_path / "starts", 8.0)


@pytest.mark.parametrize("text", ["", "c default 1\n", "a\n", "a perhaps 1\n", "rescue default \n", "\xff\xfe"])
def test_a_choice_that_is_none_is_the_rescue_tree(tmp_path: Path, text: str) -> None:
    (tmp_path / "slot").write_bytes(text.encode("latin-1"))
    assert launcher.read_choice(tmp_path / "slot") == Choice(RESCUE)


# -- its log ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S10")
def test_the_log_is_bounded_and_loses_its_oldest_lines(site: Site) -> None:
    for n in range(LOG_MAX_B // 200 * 2):
        site.engine._log("test", number=n, filler="x" * 200)
    lines = site.engine.log_lines()
    assert (site.root / "log").stat().st_size < LOG_MAX_B + 1_000
    assert lines[-1]["number"] == LOG_MAX_B // 200 * 2 - 1 and lines[0]["event"] == "test"
    with (site.root / "log").open("ab") as log:
        log.write(b'{"torn": \xff\n[1]\n')
    assert site.engine.log_lines() == lines


def test_a_slots_list_is_read_as_it_was_written_and_nothing_else_is_a_list() -> None:
    files = {"tree/a b": slots.Listed("0" * 64, False), "tree/x": slots.Listed("f" * 64, True)}
    data = slots.list_of("1 beta", files)
    assert slots.read_list(data) == ("1 beta", files)
    other, newer = data.replace(b" x ", b" y "), data.replace(b"1 ", b"2 ", 1)
    for wrong in (b"", data[:-1], data + b"\n", data[1:], other, newer, b"\xff"):
        with pytest.raises(slots.Damaged):
            slots.read_list(wrong)
