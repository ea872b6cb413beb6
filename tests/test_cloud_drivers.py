"""Drivers at the reference cloud: how they come, wait, go and are forgotten; the CSV file; compare."""

import base64
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.authcache.request import read_changes
from agent.clock import Clock
from agent.events import Entry, Link
from agent.policy import authorize
from agent.policy.reasons import Reason
from agent.settings import Settings
from tests.test_devcloud import HELLO, NO_LIST, START_MS, STATION, batch, opened, record, run
from tools.cloud import drivers, referee
from tools.cloud.cloud import Cloud, Publish
from tools.cloud.content import content_of, hash_of
from tools.cloud.drivers import Driver, Drivers, State, list_entry
from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.roster import read_drivers, read_file, write_drivers
from tools.cloud.service import clock_ms

STEPS = ("put", "ask", "ok", "out", "group")
ANN, BEN = Driver("04A1", ("staff",), name="Ann"), Driver("04A2", ("staff",), name="Ben")
CEM = Driver("04A3", ("staff",))


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


def states(ledger: Ledger) -> dict[str, State]:
    return {driver.id_token: driver.state for driver in ledger.drivers.all()}


def version(ledger: Ledger) -> int:
    found = ledger.drivers.version()
    return found[1] if found else 0


def changed(ledger: Ledger, since: int) -> dict[str, Any]:
    """By card, what a station at that version is told: its customData, None if it has no idTokenInfo."""
    generation, _ = ledger.drivers.version() or (0, 0)
    requests = ledger.drivers.differential((generation, since), START_MS) or []
    entries = [entry for request in requests for entry in request.get("localAuthorizationList", ())]
    return {entry["idToken"]["idToken"]: entry.get("customData", {}) if "idTokenInfo" in entry else None
            for entry in entries}  # fmt: skip


# -------------------------------------------------------------------------------------------------- what a station says


def refusal(driver: Driver) -> Reason | None:
    """Why a station that has the list of this driver alone refuses its card."""
    request = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [list_entry(driver)]}
    ((_, entry),) = read_changes(request)
    assert isinstance(entry, Entry)
    question = authorize.Question(driver.id_token, Settings(), Clock(), Link.UP, listed=entry, list_age_s=60.0)
    decision = authorize.decide(question, 0.0)
    return decision.reason if isinstance(decision, authorize.Refuse) else None


@pytest.mark.promise("S7")
def test_a_station_says_of_whoever_waits_and_of_whoever_was_removed_that_it_is_so() -> None:
    assert refusal(ANN) is None
    assert refusal(replace(ANN, state=State.PENDING)) is Reason.APPROVAL_PENDING
    assert refusal(replace(ANN, state=State.REMOVED)) is Reason.CONNECTION_REMOVED


@pytest.mark.promise("S7")
@pytest.mark.parametrize("state", [State.PENDING, State.REMOVED])
def test_whoever_reads_ocpp_alone_refuses_them_too_and_learns_no_group(state: State) -> None:
    entry = list_entry(replace(ANN, groups=("a", "b"), expiry_ms=START_MS, language="de", state=state))
    assert entry["idTokenInfo"]["status"] != "Accepted"
    assert entry["idTokenInfo"].keys() == {"status", "language1"} and entry["customData"].keys() == {"vendorId", state}
    request = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [entry]}
    assert referee.schema_fault("SendLocalListRequest", request) is None


# ------------------------------------------------------------------------------------------------------ come, wait, go


@pytest.mark.promise("S5")
def test_request_approval_and_removal_are_a_version_each_with_the_time_they_were_made(ledger: Ledger) -> None:
    ours = ledger.drivers
    ours.request(ANN, START_MS)
    ours.approve(["04:a1"], START_MS + 1_000)
    ours.remove(["04 A1"], START_MS + 2_000)
    assert version(ledger) == 3 and states(ledger) == {"04A1": State.REMOVED}
    assert [driver.since_ms for driver in ours.all()] == [START_MS + 2_000]
    generation, _ = ours.version() or (0, 0)
    assert [ours.made_ms((generation, n)) for n in range(4)] == [START_MS, START_MS + 1_000, START_MS + 2_000, None]
    assert ours.made_ms(None) == ours.made_ms((generation - 1, 3)) == START_MS  # another generation lacks all
    assert changed(ledger, 2) == {"04A1": {"vendorId": "station-agent", "removed": True}}


def test_a_request_that_is_turned_down_is_forgotten_since_nothing_was_taken(ledger: Ledger) -> None:
    ledger.drivers.request(ANN, START_MS)
    (change,) = ledger.drivers.remove(["04A1"], START_MS)
    assert change.kind == "forgotten" and states(ledger) == {} and changed(ledger, 1) == {"04A1": None}


def test_who_was_removed_may_ask_again_and_is_approved_anew(ledger: Ledger) -> None:
    ledger.drivers.put([ANN], START_MS)
    with pytest.raises(OperatorError, match="on the list"):
        ledger.drivers.request(ANN, START_MS)
    ledger.drivers.remove(["04A1"], START_MS)
    ledger.drivers.request(replace(ANN, groups=()), START_MS + 5)
    with pytest.raises(OperatorError, match="waits already"):
        ledger.drivers.request(ANN, START_MS + 9)
    assert [driver.since_ms for driver in ledger.drivers.all(State.PENDING)] == [START_MS + 5]
    assert [change.kind for change in ledger.drivers.approve(["04A1"], START_MS)] == ["added"]
    assert ledger.drivers.approve(["04A1"], START_MS) == [] and version(ledger) == 4


@pytest.mark.promise("S9")
@pytest.mark.parametrize("what", [Drivers.approve, Drivers.remove])
def test_one_unknown_card_among_many_changes_nothing(
    ledger: Ledger, what: Callable[[Drivers, list[str], int], object]
) -> None:
    ledger.drivers.put([ANN, replace(BEN, state=State.PENDING)], START_MS)
    with pytest.raises(OperatorError, match="04FF is not on the list, nor are 1 more; `devcloud allow --add 04FF`"):
        what(ledger.drivers, ["04A1", "04A2", "04ff", ""], START_MS)
    with pytest.raises(OperatorError, match="'' is not on the list"):
        what(ledger.drivers, [""], START_MS)
    assert states(ledger) == {"04A1": State.APPROVED, "04A2": State.PENDING} and version(ledger) == 1


@pytest.mark.promise("S5")
def test_who_may_not_charge_any_more_is_told_first(ledger: Ledger) -> None:
    ledger.drivers.put([ANN, BEN, CEM, Driver("04A9")], START_MS)
    ledger.drivers.put([Driver("0400"), replace(CEM, status="Blocked")], START_MS)
    ledger.drivers.remove(["04A9"], START_MS)
    told = changed(ledger, 1)
    assert list(told) == ["04A3", "04A9", "0400"]


def test_what_is_so_already_is_no_version_and_a_name_is_none_of_a_stations_business(ledger: Ledger) -> None:
    ledger.drivers.put([ANN, BEN], START_MS)
    assert ledger.drivers.put([BEN, ANN], START_MS) == [] and version(ledger) == 1
    (change,) = ledger.drivers.put([replace(ANN, name="Anna")], START_MS + 9)
    assert (change.kind, version(ledger)) == ("changed", 1)
    (found,) = [driver for driver in ledger.drivers.all() if driver.name == "Anna"]
    assert found.since_ms == START_MS


@pytest.mark.promise("S10")
def test_who_was_removed_is_forgotten_after_ninety_days_or_ten_thousand_others(ledger: Ledger) -> None:
    cards, others = ["04A0", "04A1", "04A2", "04A3"], [f"05{n:06X}" for n in range(drivers.REMOVED_MAX - 2)]
    ledger.drivers.put(map(Driver, [*cards, *others, "04A4", "04A5"]), START_MS)
    for n, gone in enumerate((cards[:1], cards[1:2], cards[2:], others)):
        ledger.drivers.remove(gone, START_MS + n)
    removed = {driver.id_token for driver in ledger.drivers.all(State.REMOVED)}
    assert removed == {*cards[2:], *others} and ledger.drivers.find("04A0") is None
    assert changed(ledger, 1)["04A0"] is None                                   # stations forget it, too
    ledger.drivers.remove(["04A4"], START_MS + 4)
    ledger.drivers.remove(["04A5"], START_MS + drivers.REMOVED_KEPT_MS + 4)
    assert [driver.id_token for driver in ledger.drivers.all(State.REMOVED)] == ["04A4", "04A5"]


@pytest.mark.promise("S10")
def test_who_waits_does_not_crowd_out_who_may_charge(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "PENDING_MAX", 2)
    for driver in (ANN, BEN):
        ledger.drivers.request(driver, START_MS)
    with pytest.raises(OperatorError, match="`devcloud pending`"):
        ledger.drivers.request(CEM, START_MS)
    ledger.drivers.put([CEM], START_MS)
    assert len(states(ledger)) == 3


@pytest.mark.promise("S10")
@pytest.mark.parametrize(("bound", "versions"), [("EDITIONS_KEPT", 3), ("LIST_MAX", 6)])
def test_a_station_whose_list_is_older_than_what_is_kept_of_the_changes_gets_the_whole_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, bound: str, versions: int
) -> None:
    monkeypatch.setattr(drivers, bound, 3)
    for n in range(40):
        ledger.drivers.put([Driver(f"04{n:02}")], START_MS + n)
        ledger.drivers.remove([f"04{n:02}"], START_MS + n)
        ledger.drivers.put([Driver("FF00")], START_MS)
        ledger.db.execute("DELETE FROM driver WHERE state = 'removed'")         # as if forgotten, below LIST_MAX
    generation, newest = ledger.drivers.version() or (0, 0)
    ways = [ledger.drivers.differential((generation, n), START_MS) is not None for n in range(newest + 1)]
    assert ways == [n >= newest - versions for n in range(newest)] + [False]
    assert ledger.drivers.made_ms(None) is not None
    for table in ("driver_change", "edition"):
        assert ledger.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] <= versions


@pytest.mark.promise("S4")
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["04A0", "04A1", "04A2"]), st.sampled_from(STEPS)), max_size=3), max_size=8
    )
)
def test_every_way_from_a_version_to_the_newest_makes_the_newest_list(story: list[list[tuple[str, str]]]) -> None:
    ledger = Ledger(":memory:")
    ours = ledger.drivers
    lists: dict[int, dict[str, Any]] = {0: {}}
    for n, steps in enumerate(story):
        for token, what in steps:
            try:
                match what:
                    case "put":
                        ours.put([Driver(token, status="Blocked" if n % 2 else "Accepted")], START_MS)
                    case "ask":
                        ours.request(Driver(token), START_MS)
                    case "ok":
                        ours.approve([token], START_MS)
                    case "out":
                        ours.remove([token], START_MS)
                    case "group":
                        ours.group(f"g{n}", [token], START_MS, add=True)
            except OperatorError:
                pass
            lists[version(ledger)] = {driver.id_token: list_entry(driver) for driver in ours.all()}
    generation, newest = ours.version() or (0, 0)
    for since, there in lists.items():
        for request in ours.differential((generation, since), START_MS) or ():
            for entry in request.get("localAuthorizationList", ()):
                token = entry["idToken"]["idToken"]
                there = {one: said for one, said in there.items() if one != token}
                there |= {token: entry} if "idTokenInfo" in entry else {}
            assert request["customData"]["hash"] == hash_of(content_of(there.values()))
        assert there == lists[newest]
    ledger.close()


def test_a_database_from_before_there_were_states_opens_and_everybody_in_it_is_approved(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "cloud.db")
    old.execute(
        "CREATE TABLE driver (id_token TEXT PRIMARY KEY, group_ids TEXT NOT NULL, status TEXT NOT NULL,"
        " expiry_ms INTEGER, language TEXT NOT NULL, name TEXT NOT NULL) STRICT"
    )
    old.execute("""INSERT INTO driver VALUES ('04A1', '["staff"]', 'Accepted', NULL, '', 'Ann')""")
    old.execute("CREATE TABLE list (generation INTEGER NOT NULL, version INTEGER NOT NULL) STRICT")
    old.execute("INSERT INTO list VALUES (7, 5)")
    old.commit()
    old.close()
    ledger = Ledger(tmp_path / "cloud.db")
    assert ledger.drivers.all() == [ANN] and ledger.drivers.differential((7, 4), START_MS) is None
    ledger.drivers.remove(["04A1"], START_MS)
    assert changed(ledger, 5).keys() == {"04A1"}
    ledger.close()
    Ledger(tmp_path / "cloud.db").close()


# -------------------------------------------------------------------------------------------------------------- groups


def test_a_group_is_added_behind_the_others_and_taken_out_of_several_at_once(ledger: Ledger) -> None:
    ours = ledger.drivers
    ours.put([ANN, replace(BEN, groups=())], START_MS)
    assert len(ours.group("night", ["04A1", "04A2", "04a1"], START_MS, add=True)) == 2
    assert [driver.groups for driver in ours.all()] == [("staff", "night"), ("night",)]
    assert ours.group("night", ["04A1"], START_MS, add=True) == [] and version(ledger) == 2
    assert ours.groups() == {"night": 2, "staff": 1} and [d.id_token for d in ours.all(group="staff")] == ["04A1"]
    assert len(ours.group("staff", ["04A1", "04A2"], START_MS, add=False)) == 1
    for n in range(drivers.GROUPS_MAX - 1):
        ours.group(f"g{n}", ["04A1"], START_MS, add=True)
    with pytest.raises(OperatorError, match="32 groups"):
        ours.group("one more", ["04A1"], START_MS, add=True)


def test_groups_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = ("--db", tmp_path / "cloud.db")
    assert run("allow", *db, "--add", "04A1") == run("allow", *db, "--add", "04A2") == 0
    assert run("group", "add", *db, "{night}", "04A1", "04A2") == 0             # braces are no formatting
    assert run("group", *db, "add", "{night}", "04FF") == 2 and "04FF" in capsys.readouterr().err
    assert run("group", "add", *db, "a;b", "04A1") == run("group", "add", *db, " ", "04A1") == 2
    assert run("group", "remove", *db, "{night}", "04A2") == 0
    capsys.readouterr()
    assert run("group", "list", *db) == 0 and capsys.readouterr().out.split() == ["1", "{night}"]
    assert run("group", "list", *db, "{night}") == 0
    assert [driver.id_token for driver in read_drivers(capsys.readouterr().out)] == ["04A1"]


# ------------------------------------------------------------------------------------------------------------ CSV file


@pytest.mark.parametrize(
    "text",
    [
        "idToken,groups,name\n04A1,staff;night,\"Ann, A.\"\n",
        "\ufeffidToken;groups;name\r\n04:a1;\"staff;night\";Ann, A.\r\n;;\r\n\r\n",
        "\ufeffIDTOKEN\tGroups\tName\n04a1\t staff ; night \tAnn, A.",
        "name,groups,idToken\n\"Ann, A.\",\"staff;;night;staff\",04-A1\n",
    ],
)  # fmt: skip
def test_a_file_is_read_as_spreadsheets_write_it(text: str) -> None:
    assert read_drivers(text) == [Driver("04A1", ("staff", "night"), name="Ann, A.")]


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ("xyz,,,,,,", "line 2: 'xyz' is no card number: write 2 to 20 bytes in hex"),
        ("4.12E+13,,,,,,", "line 2: '4.12E+13' is a number that a spreadsheet made of a card: format the column"),
        ("4A2B3C4D5E6F7,,,,,,", "line 2: '4A2B3C4D5E6F7' has an odd number of digits"),
        ("04FF,,OK,,,,", "line 2: status 'OK' is none of Accepted"),
        ("04FF,,,31.12.2027,,,", "line 2: '31.12.2027' is no time: write 2027-01-31"),
        ("04FF,,,9999-12-31T23:59:59-12:00,,,", "is no time: write 2027-01-31"),
        ("04FF,,,,english-us,,", "line 2: a language has at most 8 characters"),
        (f"04FF,{';'.join(map(str, range(33)))},,,,,", "32 groups"),
        ("04FF,,,,,,gone", "line 2: state 'gone' is none of approved, pending, removed"),
        ("04FF,,,", "line 2: 4 columns where the first line names 7"),
        ("04FF,,,,,a,b,", "line 2: 8 columns where the first line names 7"),
        ("04FF,,,,,,\n04AA,,,,,,\n04:ff,,,,,,", "line 4: 04FF stands in line 2, too"),
        ("04AA,,,,,\"two\nlines\",\n04XX,,,,,,", "line 4: '04XX' is no card number"),
        ("04AA,,,,,\"no end,", "line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_what_to_type_and_nothing_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, hint: str
) -> None:
    db, file = tmp_path / "cloud.db", tmp_path / "drivers.csv"
    assert run("allow", "--db", db, "--add", "0400") == 0
    file.write_text(f"{','.join(('idToken', *HEADER))}\n{row}\n", "utf-8")
    for how in ((), ("--replace",), ("--replace", "--dry-run")):
        assert run("allow", "--db", db, file, *how) == 2
        said = capsys.readouterr().err
        assert hint in said and "nothing imported" in said and "Traceback" not in said
    ledger = Ledger(db)
    assert states(ledger) == {"0400": State.APPROVED} and version(ledger) == 1
    ledger.close()


HEADER = ("groups", "status", "expiry", "language", "name", "state")


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "the first line must name columns"),
        (b"\n04A1\n", "the first line must name columns"),
        (b"card,name\n04A1,Ann\n", "the first line must name columns"),
        (b"idToken,name,Name\n04A1,Ann,Ben\n", "each once"),
        ("idToken,name\n04A1,Jörg\n".encode("latin-1"), "line 2: no UTF-8: save it as »CSV UTF-8«"),
        ("idToken,name\n04A1,Jörg\n".encode("utf-16"), "save it as »CSV UTF-8«"),
        (b"idToken,name\n04A1," + b"x" * 200_000, "line 2: field larger"),
    ],
)
def test_a_file_that_is_none_is_refused_with_a_sentence(tmp_path: Path, content: bytes, hint: str) -> None:
    file = tmp_path / "drivers.csv"
    file.write_bytes(content)
    with pytest.raises(OperatorError, match=hint):
        read_file(file)
    with pytest.raises(OperatorError, match="No such file"):
        read_file(tmp_path / "none.csv")


@pytest.mark.promise("S9")
@given(st.text(alphabet="idToken,groups;\n\r\"04AF\t \0é", max_size=80).map("idToken,groups\n".__add__) | st.text())
def test_no_file_stops_the_import(text: str) -> None:
    try:
        found = read_drivers(text)
    except OperatorError:
        return
    assert read_drivers(write_drivers(found)) == found
    ledger = Ledger(":memory:")
    ledger.drivers.put(found, START_MS)
    assert sorted(ledger.drivers.all(), key=str) == sorted(found, key=str)
    ledger.close()


@pytest.mark.promise("S5")
def test_with_replace_the_file_is_the_whole_truth_and_a_dry_run_says_what_it_would_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, file = tmp_path / "cloud.db", tmp_path / "drivers.csv"
    ledger = Ledger(db)
    ledger.drivers.put([ANN, BEN, CEM], START_MS)
    ledger.drivers.request(Driver("04FF", name="Zoe\x1b[31m"), START_MS)
    ledger.drivers.remove(["04A3"], clock_ms())
    before = states(ledger), version(ledger)
    file.write_text("idToken,groups,name\n04A1,staff;night,Ann\n04A7,,Dan\n")
    capsys.readouterr()
    assert run("allow", "--db", db, file, "--replace", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "~ 04A1 groups=staff -> staff;night",
        "+ 04A7 status=Accepted name=Dan state=approved",
        "- 04A2 state=approved -> removed",
        "x 04FF",
        "1 added, 1 changed, 1 removed, 1 forgotten; nothing is changed yet",
    ]
    assert (states(ledger), version(ledger)) == before
    assert run("allow", "--db", db, file, "--replace") == 0
    assert capsys.readouterr().out == "1 added, 1 changed, 1 removed, 1 forgotten\n"
    removed = {"04A2": State.REMOVED, "04A3": State.REMOVED}                    # who was removed before stays so
    assert states(ledger) == {"04A1": State.APPROVED, "04A7": State.APPROVED} | removed
    assert version(ledger) == before[1] + 1
    assert run("allow", "--db", db, file, "--replace") == 0
    assert capsys.readouterr().out == "it is so already: no change\n"
    file.write_text("idToken,groups,name\n")
    assert run("allow", "--db", db, file, "--replace") == 2 and "remove all" in capsys.readouterr().err
    assert run("allow", "--db", db, "--add", "04A1", "--replace") == 2
    ledger.close()


def test_without_replace_a_file_adds_and_approves_whom_it_names(tmp_path: Path) -> None:
    db, file = tmp_path / "cloud.db", tmp_path / "drivers.csv"
    ledger = Ledger(db)
    ledger.drivers.put([ANN], START_MS)
    ledger.drivers.request(BEN, START_MS)
    file.write_text("idToken,name,state\n04A2,Ben,\n04A3,,pending\n")
    assert run("allow", "--db", db, file) == 0
    assert states(ledger) == {"04A1": State.APPROVED, "04A2": State.APPROVED, "04A3": State.PENDING}
    ledger.close()


@pytest.mark.promise("S4")
def test_an_export_read_into_another_cloud_makes_the_same_list(tmp_path: Path) -> None:
    one, other, file = Ledger(tmp_path / "one.db"), Ledger(tmp_path / "other.db"), tmp_path / "out.csv"
    one.drivers.put([ANN, replace(BEN, groups=("é", "a,b"), expiry_ms=START_MS + 1, language="de")], START_MS)
    one.drivers.request(CEM, START_MS)
    one.drivers.remove(["04A1"], START_MS)
    other.drivers.put([Driver("04EE", state=State.PENDING)], START_MS)
    assert run("drivers", "--db", tmp_path / "one.db", "--csv", file) == 0
    assert run("allow", "--db", tmp_path / "other.db", file, "--replace") == 0
    assert one.drivers.all() == other.drivers.all() and one.drivers.content() == other.drivers.content()
    for ledger in (one, other):
        ledger.close()


def test_a_life_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = ("--db", tmp_path / "cloud.db")
    assert run("pending", *db) == 2
    assert run("request", *db, "04:a1", "--driver", "Ann\x1b[31m", "--groups", "staff;night") == 0
    assert run("request", *db, "xyz") == run("request", *db, "04a1") == 2
    capsys.readouterr()
    assert run("pending", *db) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[1:] == ["04A1", "staff;night", "Ann?[31m"]              # a terminal obeys no name
    assert run("approve", *db, "04a1", "04a9") == 2 and run("approve", *db, "04a1") == 0
    assert run("pending", *db) == 0 and run("remove", *db, "04a1") == 0 and run("remove", *db, "04a1") == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["1 added", "1 removed"] and "04A1 is removed since 20" in said.err
    assert run("drivers", *db, "--state", "removed") == 0
    assert [driver.state for driver in read_drivers(capsys.readouterr().out)] == [State.REMOVED]
    assert run("drivers", *db, "--csv", tmp_path / "no" / "such.csv") == 2


# ------------------------------------------------------------------------------------------------------------- compare


@dataclass
class PretendedStation:
    """Answers ListContent for the list of `drivers`, and takes what it is sent, as long as a command waits."""

    cloud: Cloud
    drivers: list[Driver]
    version: tuple[int, int]
    wrong: dict[str, Any] = field(default_factory=dict)                         # said instead
    sent: list[Any] = field(default_factory=list)
    seq: int = 0

    def take(self, messages: list[Publish], now_ms: int) -> None:
        for message in messages:
            _, command_id, _, action, payload = opened(self.cloud, message)
            self.sent.append((action, payload))
            response = self.content() if action == "DataTransfer" else {"status": "Accepted"}
            self.seq += 1
            said = {"commandId": command_id, "status": "Done", "response": response}
            self.cloud.receive(f"u/{STATION}/2", batch(self.seq, record("CommandResult", said)), now_ms)

    def content(self) -> dict[str, Any]:
        content = content_of(map(list_entry, self.drivers))
        generation, version = self.version
        said = {"generation": generation, "version": version, "hash": hash_of(content)}
        data = said | {"content": base64.b64encode(content).decode()} | self.wrong
        return {"status": "Accepted", "data": data} if "status" not in self.wrong else self.wrong


@pytest.fixture
def station(tmp_path: Path) -> Iterator[PretendedStation]:
    """It has the cloud's list of 300 drivers, and is answered for by a thread, as the cloud's own service would be."""
    cloud = Cloud(Ledger(tmp_path / "cloud.db"), Ed25519PrivateKey.generate())
    members = [Driver(f"04{n:04X}", ("staff",)) for n in range(300)]
    cloud.ledger.drivers.put(members, clock_ms())
    station = PretendedStation(cloud, members, cloud.ledger.drivers.version() or (0, 0))
    cloud.receive(f"u/{STATION}/h", HELLO, clock_ms())
    _, *messages = cloud.receive(f"u/{STATION}/v", NO_LIST, clock_ms())
    station.take(messages, clock_ms())
    yield station
    cloud.ledger.close()


@pytest.fixture
def compare(
    station: PretendedStation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    done = threading.Event()

    def answer() -> None:
        ledger = Ledger(tmp_path / "cloud.db")          # a connection of its own
        station.cloud = Cloud(ledger, station.cloud.operator)
        while not done.wait(0.02):
            station.take(station.cloud.due(clock_ms()), clock_ms())
        ledger.close()

    def compare(*args: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run("compare", "--db", tmp_path / "cloud.db", STATION, *args)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    thread = threading.Thread(target=answer)
    thread.start()
    yield compare
    done.set()
    thread.join(20)


Compare = Callable[..., tuple[int, str]]


@pytest.mark.promise("S4")
def test_compare_says_that_a_list_is_the_same(station: PretendedStation, compare: Compare) -> None:
    code, said = compare()
    assert code == 0 and "300 drivers, the same as ours" in said
    asked = next(payload for action, payload in station.sent if action == "DataTransfer")
    assert asked == {"vendorId": "station-agent", "messageId": "ListContent"}


@pytest.mark.promise("S4")
def test_compare_counts_what_differs_and_mends_only_that(
    station: PretendedStation, compare: Compare, tmp_path: Path
) -> None:
    lost, blocked, *rest = station.drivers
    stranger = Driver("04DEAD99")
    station.drivers = [replace(blocked, status="Blocked"), *rest, stranger]
    code, said = compare()
    assert code == 1 and "300 drivers, ours has 300" in said and "they differ in 3 of 256 buckets" in said
    assert "in at least 3 drivers" in said
    sent = len(station.sent)
    code, said = compare("--mend", "--wait")
    assert code == 0
    (request,) = [payload for action, payload in station.sent[sent:] if action == "SendLocalList"]
    custom = request["customData"]
    assert (request["updateType"], custom["base"], len(custom["buckets"])) == ("Differential", station.version[1], 3)
    named = {entry["idToken"]["idToken"] for entry in request["localAuthorizationList"]}
    assert {lost.id_token, blocked.id_token} <= named and stranger.id_token not in named and len(named) < 20
    ledger = Ledger(tmp_path / "cloud.db")
    station.drivers, station.version = ledger.drivers.all(), ledger.drivers.version() or (0, 0)
    ledger.close()
    assert compare()[0] == 0 and custom["hash"] == hash_of(content_of(map(list_entry, station.drivers)))


def test_an_older_list_is_led_on_by_its_buckets_one_of_another_generation_is_not(
    station: PretendedStation, compare: Compare, tmp_path: Path
) -> None:
    generation, version = station.version
    station.drivers = station.drivers[1:]
    assert run("allow", "--db", tmp_path / "cloud.db", "--add", "04FF") == 0
    code, said = compare()
    assert code == 1 and f"list {version} of generation {generation}, ours is {version + 1}" in said
    station.version = (generation - 1, version)
    code, said = compare("--mend")
    assert code == 2 and f"`devcloud list {STATION}` sends it" in said
    station.version = (generation, version)
    assert compare("--mend", "--wait")[0] == 0
    custom = station.sent[-1][1]["customData"]
    assert custom["base"] == version and len(custom["buckets"]) == 2


def test_a_restored_cloud_begins_a_generation_that_every_station_takes(
    station: PretendedStation, compare: Compare, tmp_path: Path
) -> None:
    generation, version = station.version
    station.version, station.drivers = (generation + 10**9, version + 5), station.drivers[1:]
    code, said = compare("--mend")
    assert code == 2 and "`devcloud generation`" in said
    ledger = Ledger(tmp_path / "cloud.db")
    ledger.db.execute("UPDATE station SET listed = ?", (f"[{generation + 10**9}, {version + 5}]",))
    assert run("generation", "--db", tmp_path / "cloud.db") == 0
    made = ledger.drivers.version()
    assert made and made > station.version and ledger.drivers.made_ms(station.version) is not None
    ledger.close()
    assert run("generation", "--db", tmp_path / "none.db") == 2


def test_a_station_that_is_asked_by_hand_is_mended_by_hand(station: PretendedStation, compare: Compare) -> None:
    station.drivers = station.drivers[1:]
    sent = len(station.sent)
    assert compare()[0] == compare()[0] == 1
    assert [action for action, _ in station.sent[sent:]] == ["DataTransfer", "DataTransfer"]


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"content": "AAAA"}, "content has 3 bytes, not 5120"),
        ({"content": "?"}, "content is no base64"),
        ({"content": base64.b64encode(bytes(5120)).decode()}, "hash is not that of content"),
        ({"version": "1"}, "is missing"),
        ({"version": None}, "is missing"),
        ({"status": "UnknownMessageId"}, f"`devcloud list {STATION}` sends ours"),
        ({"status": "Accepted"}, "is missing"),
        ({"status": "Accepted", "data": "x"}, "is missing"),
    ],
)
def test_an_answer_that_says_nothing_is_named_and_mends_nothing(
    station: PretendedStation, compare: Compare, wrong: dict[str, Any], hint: str
) -> None:
    station.wrong = wrong
    code, said = compare("--mend")
    assert code == 2 and hint in said
    assert [action for action, _ in station.sent[1:]] == ["DataTransfer"]


def test_compare_with_nobody_there_or_no_list_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ("--db", tmp_path / "cloud.db")
    assert run("compare", *db, STATION) == 2 and "make one with `devcloud allow`" in capsys.readouterr().err
    run("allow", *db, "--add", "04A1")
    assert run("compare", *db, STATION, "--expires-s", 1) == 2 and "has not answered" in capsys.readouterr().err
