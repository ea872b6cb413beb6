"""The list is the old one or the new one, whatever happens; the cache holds what the cloud really said, for a day."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.authcache.cache import ENTRIES_MAX, LIFETIME_S, Cache
from agent.authcache.content import Content
from agent.authcache.listfile import Edition, ListError, build, canonical, key_hash, open_list, read_key
from agent.authcache.lists import Lists, Made, Outcome, Plan, Status
from agent.effects import Remember, Save
from agent.events import AuthorizationStatus as Said
from agent.events import Entry, ListState
from agent.files import PRIVATE, Files
from tests.listed import CARD, OURS, one

KEY = b"k" * 32
OTHER = "04FFEE01"
T0 = 1_767_261_600.0
STATUSES = st.sampled_from(list(Said))
EXPIRIES = st.none() | st.integers(1, 4 * 10**12).map(lambda ms: ms / 1000)
ENTRIES = st.builds(
    Entry, STATUSES, EXPIRIES, st.frozensets(st.text("abé", min_size=1, max_size=3), max_size=3),
    st.none() | st.text("ab", max_size=4), st.booleans(), st.booleans(), st.none() | st.sampled_from(["en", "de-CH"]),
)  # fmt: skip


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def full(version: int, *entries: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    request = {"versionNumber": version, "updateType": "Full"}
    custom = {"vendorId": OURS, "generation": generation, "count": len(entries)}
    return {**request, **({"localAuthorizationList": list(entries)} if entries else {}), "customData": custom}


def state(version: int, entries: int, synced_s: float) -> ListState:
    """Of generation 1, with as many of these cards as there are entries."""
    content = Content()
    for card in [CARD][:entries]:
        content.add(card, Entry())
    return ListState(version, entries, synced_s, 1, content.hash)


def in_group(group_id: str, **info: Any) -> dict[str, Any]:
    return {"status": "Accepted", "groupIdToken": {"idToken": group_id, "type": "Central"}, **info}


class Station:
    """Lists with the facts on the disk; `restart` is a power cut that the files survived."""

    def __init__(self, directory: Path, facts: dict[str, Any] | None = None) -> None:
        self.directory, self.facts = directory, dict(facts or {})
        self.restart()

    def restart(self, now: float = 0.0) -> None:
        self.lists = Lists(self.directory, self.facts, KEY, now)

    def commit(self, saves: list[Save] | tuple[Save, ...]) -> None:
        for save in saves:
            self.facts[save.key] = save.value
            if save.value is None:
                del self.facts[save.key]

    def send(self, request: dict[str, Any], wall_s: float | None = T0) -> Outcome:
        outcome = self.lists.replace(request, wall_s)
        self.commit(outcome.saves)
        self.lists.committed()
        return outcome

    def listed(self, id_token: str = CARD) -> Entry | None:
        return self.lists.lookup(id_token, 0.0, T0)[0]

    def cached(self, id_token: str = CARD, now: float = 0.0, wall_s: float = T0) -> Entry | None:
        return self.lists.lookup(id_token, now, wall_s)[1]

    def hear(self, status: str, id_token: str = CARD, now: float = 0.0, wall_s: float = T0) -> None:
        entry = Entry(Said(status), groups=frozenset({"staff"}))
        self.commit(self.lists.remember(Remember(id_token, entry, now), wall_s))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path / "lists")


# -- the file ---------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.text(min_size=1, max_size=9).map(canonical).filter(bool), ENTRIES, max_size=8),
    st.text(max_size=9),
)
def test_a_list_answers_exactly_what_was_built_into_it(entries: dict[str, Entry], stranger: str) -> None:
    with folder() as directory:
        built = build(directory, entries.items(), Edition(1, 2), KEY)
        opened = open_list(built.path, KEY)
        assert {id_token: opened.lookup(id_token) for id_token in entries} == entries
        assert opened.lookup(stranger) == entries.get(canonical(stranger))
        assert opened.built == built and built.count == len(entries)
        opened.close()


def test_the_same_list_has_the_same_name_in_whatever_order_it_came(tmp_path: Path) -> None:
    entries = [(f"04A22B{n:02X}", Entry(groups=frozenset({"x", f"g{n}"}))) for n in range(9)]
    first, second = build(tmp_path, entries, Edition(1, 1), KEY), build(tmp_path, entries[::-1], Edition(1, 1), KEY)
    assert first == second and len(list(tmp_path.iterdir())) == 1
    assert build(tmp_path, entries[:-1], Edition(1, 1), KEY).content.hash != first.content.hash


@pytest.mark.parametrize("spelling", ["04:a2:2b:1c", " 04a2 2b1c", "0x04A22B1C", "04-A2-2B-1C"])
def test_however_a_card_is_spelled_it_is_the_same_card(tmp_path: Path, spelling: str) -> None:
    opened = open_list(build(tmp_path, [(spelling, Entry())], Edition(1, 1), KEY).path, KEY)
    assert opened.lookup(CARD) == Entry() and opened.lookup("4A22B1C") is None


@pytest.mark.promise("S9")
def test_a_card_listed_twice_refuses_the_list_and_names_it_without_giving_it_away(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"…2B1C is listed twice"):
        build(tmp_path, [(CARD, Entry()), ("04:a2:2b:1c", Entry(Said.BLOCKED))], Edition(1, 1), KEY)
    with pytest.raises(ListError, match="no id"):
        build(tmp_path, [("  ", Entry())], Edition(1, 1), KEY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("part_s", "most_b"), [(0.0, 28), (0.123, 32)])
def test_a_card_with_an_expiry_of_its_own_takes_few_bytes_of_the_disk(
    tmp_path: Path, part_s: float, most_b: int
) -> None:
    entries = [(f"04A22B{n:08X}", Entry(expiry_s=1_800_000_000 + n + part_s)) for n in range(8_000)]
    path = build(tmp_path, entries, Edition(1, 1), KEY).path
    assert path.stat().st_size <= most_b * len(entries)
    opened = open_list(path, KEY)
    assert all(opened.lookup(id_token) == entry for id_token, entry in entries[::100])


def test_the_file_holds_no_card_id_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = build(tmp_path, [(CARD, Entry()), ("ACCOUNT-9", Entry())], Edition(1, 1), KEY).path
    data = path.read_bytes()
    assert CARD.encode() not in data and bytes.fromhex(CARD) not in data and b"ACCOUNT-9" not in data
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("S4", "S9")
def test_a_torn_or_foreign_file_is_no_list(tmp_path: Path) -> None:
    path = build(tmp_path, [(CARD, Entry())], Edition(1, 1), KEY).path
    with pytest.raises(ListError, match="another key"):
        open_list(path, b"j" * 32)
    data = path.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], b"", data[:5000] + b"\xff" + data[5001:], data + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(ListError, match="damaged"):
            open_list(path, KEY)
    with pytest.raises(ListError, match="no name"):
        open_list(tmp_path / "../list.sqlite", KEY)
    for foreign in (b"not a database", b"", other_database(tmp_path / "x")):
        name = tmp_path / f"list-{hashlib.sha256(foreign).hexdigest()[:16]}.sqlite"
        name.write_bytes(foreign)
        with pytest.raises(ListError, match=name.name):
            open_list(name, KEY)


def other_database(path: Path) -> bytes:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (format)")
    db.execute("INSERT INTO meta VALUES (9)")
    db.commit()
    db.close()
    return path.read_bytes()


@given(st.text())
@pytest.mark.promise("S9")
def test_any_text_at_all_can_be_looked_up(text: str) -> None:
    with folder() as directory:
        opened = open_list(build(directory, [(CARD, Entry())], Edition(1, 1), KEY).path, KEY)
        assert [opened.lookup(odd) for odd in (text + "\ud800", "", "\0", "'; --")] == [None] * 4
        opened.close()


def test_the_key_is_made_once_and_a_damaged_one_anew(tmp_path: Path) -> None:
    path = tmp_path / "card.key"
    key = read_key(path)
    assert len(key) == 32 and read_key(path) == key and path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(key[:7])
    assert len(read_key(path)) == 32 and read_key(path) != key
    assert [p.name for p in tmp_path.iterdir()] == ["card.key"]


# -- the list in force ------------------------------------------------------------------------------------------------


def test_a_list_is_in_force_once_it_is_committed_and_survives_a_restart(station: Station) -> None:
    outcome = station.lists.replace(full(3, one(groups=["staff", "night"])), T0)
    assert outcome.status is Status.Accepted and outcome.response == {"status": "Accepted"}
    assert station.listed() is None and station.lists.state == ListState(), "applied is not committed"
    station.commit(outcome.saves)
    content = Content()
    content.add(CARD, Entry(groups=frozenset({"staff", "night"})))
    assert station.lists.committed() == outcome.state == ListState(3, 1, T0, 1, content.hash)
    for _ in range(2):
        assert station.listed() == Entry(groups=frozenset({"staff", "night"}))
        assert station.lists.state == outcome.state and not station.lists.problem
        station.restart()


def test_everything_ocpp_and_we_say_about_a_card_is_kept(station: Station) -> None:
    info = in_group("fleet", status="Blocked", cacheExpiryDateTime="2026-01-01T11:00:00.5+01:00")
    station.send(full(1, {**one(), "idTokenInfo": info}, one(OTHER, pending=True, removed=True)))
    assert station.listed() == Entry(Said.BLOCKED, T0 + 0.5, frozenset({"fleet"}), "fleet")
    assert station.listed(OTHER) == Entry(pending=True, removed=True)


def test_an_empty_list_is_a_list(station: Station) -> None:
    station.send(full(1, one()))
    assert station.send(full(2)).status is Status.Accepted
    assert station.listed() is None and station.lists.state == state(2, 0, T0) and len(station.files()) == 1


@pytest.mark.promise("S4")
def test_a_version_never_goes_back_nor_changes_its_content(station: Station) -> None:
    station.send(full(5, one()))
    before = station.facts.copy()
    for request in (full(4, one(OTHER)), full(9, one(OTHER), generation=0), full(5, one(OTHER)), full(5)):
        outcome = station.send(request)
        assert outcome.status is Status.VersionMismatch and outcome.response["statusInfo"]["additionalInfo"]
    for request in (full(0, one(OTHER)), full(-1), {**full(6), "updateType": "Differential"}):
        assert station.send(request).status is Status.Failed
    assert station.facts == before and station.listed() and len(station.files()) == 1
    assert station.send(full(1, one(OTHER), generation=2)).status is Status.Accepted, "a new generation starts anew"


@pytest.mark.promise("S5")
def test_the_same_list_again_changes_nothing_but_the_time_of_being_current(station: Station) -> None:
    station.send(full(5, one()))
    files = station.files()
    assert station.send(full(5, one()), T0 + 60).state == state(5, 1, T0 + 60)
    assert station.send(full(5, one()), None).state == state(5, 1, T0 + 60)
    assert station.files() == files and station.listed() and station.facts["allowlist"]["synced_s"] == T0 + 60


@pytest.mark.promise("S5")
def test_a_list_that_comes_late_is_as_old_as_the_cloud_said_of_it(station: Station) -> None:
    """Of version 5 the cloud spoke last; version 6 is from before, from a storage that the cloud has lost since."""
    def said(version: int, as_of: str) -> Outcome:
        request = full(version, one())
        return station.send({**request, "customData": {**request["customData"], "asOf": as_of}})

    said(5, "2026-01-02T12:00:00Z")
    late = said(6, "2026-01-01T10:00:00Z")
    assert late.state and late.state.synced_s == T0
    said(6, "2026-01-01T09:00:00Z")
    assert station.lists.state.synced_s == T0, "of one list it never goes back"


@pytest.mark.promise("S4")
def test_a_list_is_not_in_force_because_what_came_before_it_is_on_the_disk(station: Station) -> None:
    """The disk is slow: the word that a list is still the newest waits for it, and a newer list comes."""
    station.send(full(5, one()))
    confirmed = station.lists.replace(full(5, one()), T0 + 60)
    assert confirmed.status is Status.Accepted and station.lists.state.synced_s == T0, "a cut would forget it"
    assert "on its way" in station.lists.replace(full(6, one(OTHER)), T0 + 61).reason
    station.commit(confirmed.saves)
    assert station.lists.committed().version == 5 and station.listed() and not station.listed(OTHER)
    station.restart()
    assert station.listed() and not station.lists.problem


@pytest.mark.promise("S4", "S5")
def test_a_change_of_whichever_list_is_here_undoes_nothing_that_came_while_it_was_built(station: Station) -> None:
    station.send(full(1, one(), one(OTHER)))
    change = {**full(3, one("04000001")), "updateType": "Differential"}
    long = {**change, "customData": {"vendorId": OURS, "generation": 1, "buckets": [9]}}
    plan = station.lists.plan(long, T0, 0.0)
    assert isinstance(plan, Plan)
    removal = {**full(2, {"idToken": one()["idToken"]}), "updateType": "Differential"}
    station.send({**removal, "customData": {"vendorId": OURS, "generation": 1}})
    assert not station.listed() and station.listed(OTHER)
    made = plan.build()
    assert isinstance(made, Made) and station.lists.apply(made, T0, 0.0).reason
    assert not station.listed() and station.lists.state.version == 2


@pytest.mark.promise("S4", "S9")
@pytest.mark.parametrize("wrong", [{"count": 2}, {"count": 0}])
def test_a_wrong_announcement_of_the_list_in_force_does_not_take_its_file_away(
    station: Station, wrong: dict[str, Any]
) -> None:
    request = full(5, one())
    station.send(request)
    outcome = station.send({**request, "customData": {**request["customData"], **wrong}})
    assert "were announced" in outcome.reason and len(station.files()) == 1
    station.restart()
    assert station.listed() and not station.lists.problem


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([one(), one("04:A2:2B:1C")], "listed twice"),
        ([{"idToken": {"idToken": CARD, "type": "ISO14443"}}], "no idTokenInfo"),
        ([one(groups="staff")], "groups are"),
        ([one(groups=[""])], "groups are"),
        ([one(groups=["x"] * 33)], "groups are"),
        ([one(groups=["\ud800"]), {**one(OTHER), "idTokenInfo": in_group("\ud800")}], "surrogate"),
        ([one(pending=1)], "true or false"),
        ([one("")], "no id"),
        ([{**one(), "idTokenInfo": {"status": "Fine"}}], "Fine"),
        ([{**one(), "idTokenInfo": {"status": "Accepted", "cacheExpiryDateTime": "2026-02-30T00:00:00Z"}}], "no time"),
    ],
)  # fmt: skip
def test_a_wrong_entry_refuses_the_whole_list_and_says_why(station: Station, entries: list[Any], why: str) -> None:
    station.send(full(1, one()))
    before = station.files()
    outcome = station.send(full(2, *entries))
    assert outcome.status is Status.Failed and why in outcome.reason and not outcome.saves
    assert station.listed() and station.files() == before


def test_a_list_that_lost_entries_on_its_way_is_refused(station: Station) -> None:
    request = full(1, one(), one(OTHER))
    outcome = station.send({**request, "localAuthorizationList": [one()]})
    assert "a list of 1 entries, 2 were announced" in outcome.reason


@pytest.mark.promise("S9")
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "versionNumber": st.integers(-1, 9) | st.text(max_size=2) | st.none(),
            "updateType": st.sampled_from(["Full", "Differential", "", None]),
            "localAuthorizationList": st.lists(
                st.sampled_from([one(), one(OTHER), one(groups=[1]), {}, None, 5, one(removed=None)]), max_size=3
            ),
            "customData": st.sampled_from(
                [None, {}, {"vendorId": "else", "generation": "x"}]
                + [{"vendorId": OURS, "generation": odd} for odd in (-1, 2**80, True, "x")]
                + [{"vendorId": OURS, "count": odd} for odd in (True, 2, "x")]
            ),
            "more": st.none(),
        },
    )
)  # fmt: skip
def test_any_request_is_answered(request: dict[str, Any]) -> None:
    with folder() as directory:
        station = Station(directory)
        outcome = station.send(request)
        assert (outcome.status is Status.Accepted) == (station.lists.state.version > 0) == bool(station.files())
        assert outcome.reason or outcome.status is Status.Accepted


def test_while_one_list_waits_for_the_disk_another_is_put_off(station: Station) -> None:
    waiting = station.lists.replace(full(1, one()), T0)
    assert "on its way" in station.lists.replace(full(2, one(OTHER)), T0).reason
    station.commit(waiting.saves)
    station.lists.committed()
    assert station.listed() and station.send(full(2, one(OTHER))).status is Status.Accepted


def test_a_list_built_meanwhile_elsewhere_is_judged_again_when_it_is_applied(station: Station) -> None:
    late = station.lists.plan(full(1, one(OTHER)), T0, 0.0)
    assert isinstance(late, Plan)
    made = late.build()
    assert isinstance(made, Made)
    station.send(full(2, one()))
    assert station.lists.apply(made, T0, 0.0).status is Status.VersionMismatch
    assert not made.built.path.exists() and station.listed()


@pytest.mark.promise("S4")
def test_without_its_file_there_is_no_list_never_half_a_one_and_it_can_be_sent_again(station: Station) -> None:
    station.send(full(5, one(), one(OTHER)))
    path = station.directory / station.files()[0]
    data = path.read_bytes()
    ways: list[Callable[[], object]] = [path.unlink, lambda: path.write_bytes(data[:-4096])]
    for damage in ways:
        damage()
        station.restart()
        assert (
            station.lists.state == ListState() and station.listed() is None and "no allowlist" in station.lists.problem
        )
        assert station.send(full(4, one())).status is Status.VersionMismatch, "no way back to an older one"
        assert station.send(full(5, one(), one(OTHER))).status is Status.Accepted
        assert station.listed() and not station.lists.problem and station.files() == [path.name]


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "fact",
    [5, {}, {"file": 1}, {"file": "../x", "generation": 1, "version": 1, "hash": "", "count": 0, "synced_s": None}],
)
def test_a_malformed_fact_is_reported_and_is_no_list(tmp_path: Path, fact: Any) -> None:
    lists = Lists(tmp_path, {"allowlist": fact}, KEY, 0.0)
    assert lists.problem and lists.state == ListState() and lists.lookup(CARD, 0.0, T0) == (None, None)
    assert lists.replace(full(2, one()), T0).status is Status.Accepted
    assert lists.committed().version == 2


def test_files_that_no_fact_names_are_removed_at_start_and_nobody_elses(station: Station) -> None:
    station.send(full(1, one()))
    (station.directory / "list-0123456789abcdef.sqlite").touch()
    (station.directory / "list.new").touch()
    (station.directory / "somebody's").touch()
    station.restart()
    assert len(station.files()) == 2 and "somebody's" in station.files() and station.listed()


# -- power cuts and full disks ----------------------------------------------------------------------------------------


class Cut(BaseException):
    """The power is gone."""


class CutDisk(Files):
    """A disk as the kernel keeps it: what fsync has not covered may be there after a cut, torn, or not at all.

    The power goes at step `cut`; step `deaf` is skipped, as if somebody had forgotten it.
    """

    def __init__(self, directory: Path, cut: int | None = None, deaf: int | None = None) -> None:
        self.steps, self.cut, self.deaf = list[str](), cut, deaf
        self.contents = [path.read_bytes() for path in sorted(directory.iterdir())]
        self.synced = set(range(len(self.contents)))
        names = {path.name: n for n, path in enumerate(sorted(directory.iterdir()))}
        self.names = [names]  # the directory as it is durably, and each state since: a cut leaves any of them

    def step(self, name: str) -> bool:
        if len(self.steps) == self.cut:
            raise Cut
        self.steps.append(name)
        return len(self.steps) - 1 != self.deaf

    def write(self, path: Path, data: bytes, mode: int = PRIVATE) -> None:
        if self.step("write"):
            super().write(path, data, mode)
            self.names.append({**self.names[-1], path.name: len(self.contents)})
            self.contents.append(data)

    def sync(self, path: Path) -> None:
        if self.step("sync"):
            super().sync(path)
            if path.is_dir():
                self.names = self.names[-1:]
            else:
                self.synced.add(self.names[-1][path.name])

    def rename(self, source: Path, target: Path) -> None:
        if self.step("rename"):
            super().rename(source, target)
            rest = {name: n for name, n in self.names[-1].items() if name != source.name}
            self.names.append({**rest, target.name: self.names[-1][source.name]})

    def remove(self, path: Path) -> None:
        if self.step("remove"):
            super().remove(path)
            self.names.append({name: n for name, n in self.names[-1].items() if name != path.name})

    def worlds(self) -> Iterator[dict[str, bytes]]:
        """Every directory that the cut may leave: name -> content."""
        for names in self.names:
            for kept in (1.0, 0.5, 0.0):
                sizes = {
                    n: len(self.contents[n]) if n in self.synced else int(len(self.contents[n]) * kept)
                    for n in names.values()
                }
                yield {name: self.contents[n][: sizes[n]] for name, n in names.items()}


OLD, NEW = full(1, one(), one(OTHER, "Blocked")), full(2, one(OTHER), one("04000001"))
CONTENT = {1: [Entry(), Entry(Said.BLOCKED), None], 2: [None, Entry(), Entry()]}
CARDS = [CARD, OTHER, "04000001"]


def cut_while_replacing(cut: int | None, deaf: int | None = None) -> tuple[int, dict[str, Any], CutDisk]:
    """(version that was committed, facts, disk): OLD is in force and NEW comes when the power goes."""
    with folder() as directory:
        station = Station(directory)
        station.send(OLD)
        disk = CutDisk(directory, cut, deaf)
        lists = Lists(directory, station.facts, KEY, 0.0, disk)
        try:
            saves = lists.replace(NEW, T0).saves
            disk.step("commit")
            station.commit(saves)
            disk.step("committed")
            lists.committed()
        except Cut:
            pass
        return station.facts["allowlist"]["version"], station.facts, disk


def broken_worlds(cut: int | None, deaf: int | None = None) -> list[str]:
    """What is wrong in any world after this cut; and there the new list must go in as if nothing had happened."""
    version, facts, disk = cut_while_replacing(cut, deaf)
    wrong = []
    for world in disk.worlds():
        with folder() as directory:
            for name, data in world.items():
                (directory / name).write_bytes(data)
            station = Station(directory, facts)
            found = [station.listed(card) for card in CARDS]
            if found != CONTENT[version] or station.lists.state.version != version or len(station.files()) != 1:
                wrong.append(f"{cut=} {version=} {found} {station.files()} {station.lists.problem}")
            assert station.send(NEW).status is Status.Accepted
            assert [station.listed(card) for card in CARDS] == CONTENT[2] and len(station.files()) == 1
    return wrong


STEPS = ["write", "sync", "rename", "sync", "commit", "committed", "remove"]


@pytest.mark.promise("S4")
@pytest.mark.parametrize("cut", [*range(len(STEPS)), None])
def test_a_power_cut_anywhere_leaves_exactly_the_old_list_or_the_new_one(cut: int | None) -> None:
    version, _, disk = cut_while_replacing(cut)
    assert disk.steps == STEPS[:cut] and version == (2 if "committed" in disk.steps or cut == 5 else 1)
    assert not broken_worlds(cut)


@pytest.mark.promise("S4")
@pytest.mark.parametrize("deaf", [1, 3])
def test_a_forgotten_fsync_is_noticed_by_the_test_above(deaf: int) -> None:
    assert STEPS[deaf] == "sync"
    assert any(broken_worlds(cut, deaf) for cut in [*range(len(STEPS)), None])


class FullDisk(Files):
    def sync(self, path: Path) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.promise("S9", "S10")
def test_a_full_disk_refuses_the_new_list_and_keeps_the_old_one(station: Station) -> None:
    station.send(full(1, one()))
    files = station.files()
    station.lists = Lists(station.directory, station.facts, KEY, 0.0, FullDisk())
    outcome = station.send(full(2, one(OTHER)))
    assert outcome.status is Status.Failed and "No space left" in outcome.reason
    assert station.listed() and station.files() == files


# -- the cache --------------------------------------------------------------------------------------------------------


def test_the_cloud_s_last_answer_is_remembered_across_a_restart(station: Station) -> None:
    station.hear("Accepted")
    station.hear("Blocked", OTHER)
    for _ in range(2):
        assert station.cached() == Entry(groups=frozenset({"staff"}))
        assert station.cached(OTHER) == Entry(Said.BLOCKED, groups=frozenset({"staff"}))
        station.restart()
    assert CARD not in str(station.facts), "keyed hashes only"


def test_an_answer_is_worth_a_day_by_the_monotonic_clock(station: Station) -> None:
    station.hear("Accepted", now=100.0)
    assert station.cached(now=99.0 + LIFETIME_S) and not station.cached(now=100.0 + LIFETIME_S)
    station.hear("Accepted", now=200.0 + LIFETIME_S)
    assert station.cached(now=200.0 + LIFETIME_S), "answered again"


@pytest.mark.promise("S5")
def test_across_a_restart_the_wall_clock_judges_where_it_is_known(station: Station) -> None:
    station.hear("Accepted", wall_s=T0)
    station.restart(now=5.0)
    assert station.cached(now=5.0, wall_s=T0 + LIFETIME_S - 1) and not station.cached(now=5.0, wall_s=T0 + LIFETIME_S)
    assert station.cached(now=5.0, wall_s=T0), "a wrong clock destroyed nothing"
    assert station.cached(now=5.0, wall_s=T0 - 600), "the last word about the time was saved ten minutes before it"
    assert not station.cached(now=6.0 + LIFETIME_S, wall_s=T0)


@pytest.mark.promise("S5")
def test_an_answer_dated_by_a_clock_gone_wild_does_not_live_until_then(station: Station) -> None:
    station.hear("Accepted", wall_s=T0 + 4e8)
    station.restart()
    assert not station.cached()
    assert station.cached(wall_s=T0 + 4e8), "nothing was destroyed"


def test_a_jump_of_the_wall_clock_costs_nobody_a_fresh_answer(station: Station) -> None:
    station.hear("Accepted", wall_s=T0)
    assert station.cached(wall_s=4e9) and station.cached(wall_s=0.0)


@pytest.mark.promise("S5")
def test_list_beats_cache_and_takes_its_cards_out_in_the_same_commit(station: Station) -> None:
    station.hear("Accepted")
    station.hear("Accepted", OTHER)
    outcome = station.send(full(1, one(status="Blocked")))
    assert [save.key for save in outcome.saves][:1] == ["allowlist"] and len(outcome.saves) == 3
    assert station.lists.lookup(CARD, 0.0, T0) == (Entry(Said.BLOCKED), None) and not station.cached(OTHER)
    station.hear("Accepted")
    station.send(full(2))
    assert station.lists.lookup(CARD, 0.0, T0) == (None, None), "what the list holds never gets into the cache"


def test_clear_forgets_everything_for_good(station: Station) -> None:
    station.hear("Accepted")
    station.commit(station.lists.cache.clear(0.0))
    assert not station.cached() and not station.facts


def fill(cache: Cache, status: Said, count: int) -> None:
    for n in range(count):
        cache.remember(key_hash(KEY, f"{status}{n}"), Entry(status), 0.0, T0)


@pytest.mark.promise("S10")
def test_a_full_cache_gives_up_refusals_first_then_what_was_not_used_for_longest() -> None:
    cache = Cache({}, 0.0)
    fill(cache, Said.ACCEPTED, ENTRIES_MAX - 1)
    fill(cache, Said.BLOCKED, 1)
    first, second = (key_hash(KEY, f"Accepted{n}") for n in (0, 1))
    assert cache.lookup(first, 0.0, T0), "used: now the second is the oldest"
    saves = [cache.remember(key_hash(KEY, f"new{n}"), Entry(), 0.0, T0) for n in range(2)]
    assert [batch[-1] for batch in saves] == [
        Save(f"cache/{key_hash(KEY, 'Blocked0').hex()}", None), Save(f"cache/{second.hex()}", None)
    ]  # fmt: skip
    assert len(cache) == ENTRIES_MAX and cache.lookup(first, 0.0, T0) and not cache.lookup(second, 0.0, T0)


@pytest.mark.promise("S10")
def test_a_thousand_refused_strangers_push_no_driver_out() -> None:
    cache = Cache({}, 0.0)
    fill(cache, Said.ACCEPTED, ENTRIES_MAX)
    size_b = cache.size_b
    fill(cache, Said.UNKNOWN, ENTRIES_MAX)
    assert all(cache.lookup(key_hash(KEY, f"Accepted{n}"), 0.0, T0) for n in range(ENTRIES_MAX))
    assert len(cache) == ENTRIES_MAX and cache.size_b == size_b


@pytest.mark.promise("S10")
@given(st.lists(st.tuples(st.integers(0, 6), STATUSES, st.booleans()), max_size=30))
def test_memory_and_disk_always_hold_the_same_cards(answers: list[tuple[int, Said, bool]]) -> None:
    with folder() as directory:
        station = Station(directory)
        last: dict[str, Said] = {}
        for card, status, again in answers:
            last[f"0400000{card}"] = status
            station.hear(status, f"0400000{card}")
            if again:
                station.restart()
            assert len(station.facts) == len(station.lists.cache) == len(last)
            assert {c: entry.status for c in last if (entry := station.cached(c))} == last


@pytest.mark.promise("S9")
def test_facts_that_cannot_be_read_cost_only_themselves_and_are_cleaned_up(station: Station) -> None:
    station.hear("Accepted")
    good = dict(station.facts)
    station.facts |= {"cache/zz": good[next(iter(good))], "cache/00": {"status": "Fine"}, "cache/01": 5}
    station.restart()
    assert station.cached() and len(station.lists.cache) == 1
    station.hear("Accepted")
    assert set(station.facts) == set(good)
