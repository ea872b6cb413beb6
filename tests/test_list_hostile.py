"""Lists that lie: refused with the reason, told to the cloud, and the list before answers as if nothing had come."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from agent.authcache import builder, listfile, lists, overlay, parts
from agent.authcache.content import Content, bucket_of
from agent.authcache.lists import Made, Outcome, Plan, Status
from agent.events import AuthorizationStatus as Said
from agent.events import Entry, ListState
from agent.shell import SECURITY_EVENT_S, Shell
from agent.sim.world import STATION_ID, World
from agent.uplink.codec import encode_payload, to_cbor
from agent.uplink.commands import Command, Refusal, SeenCommands, open_command
from agent.uplink.operator import key_id
from agent.uplink.signed import sign
from tests.listed import CARD, OURS, WAYS, Cloud, in_parts, messages, one
from tests.test_allowlist import CARDS, CHANGES, held
from tests.test_authcache import OTHER, T0, Station, folder, full

Json = dict[str, Any]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path / "lists")


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud()
    made.change({card: Entry() for card in CARDS})
    return made


@contextmanager
def small_overlay(most: int) -> Iterator[None]:
    before, overlay.ENTRIES_MAX = overlay.ENTRIES_MAX, most
    try:
        yield
    finally:
        overlay.ENTRIES_MAX = before


@pytest.fixture
def no_overlay() -> Iterator[None]:
    """Every differential list makes a new file."""
    with small_overlay(0):
        yield


def diff(version: int, *entries: Json, **custom: Any) -> Json:
    listed = {"localAuthorizationList": list(entries)} if entries else {}
    head = {"vendorId": OURS, "generation": 1, **custom}
    return {"versionNumber": version, "updateType": "Differential", **listed, "customData": head}


def announcing(request: Json, **custom: Any) -> Json:
    """None: it is not said."""
    head = {name: value for name, value in {**request["customData"], **custom}.items() if value is not None}
    return {**request, "customData": head}


def brief(state: ListState | None) -> tuple[int, int, float | None]:
    assert state
    return state.version, state.entries, state.synced_s


# -- the list in force is touched by nobody ---------------------------------------------------------------------------


@pytest.mark.promise("S4", "S9")
def test_the_list_in_force_sent_again_with_a_wrong_count_keeps_its_file(station: Station) -> None:
    station.send(full(5, one()))
    outcome = station.send(announcing(full(5, one()), count=99))
    assert outcome.status is Status.Failed and "99 were announced" in outcome.reason
    station.restart()
    assert station.listed() and not station.lists.problem


@pytest.mark.promise("S4")
def test_a_list_is_in_force_with_its_own_commit_and_not_with_that_of_a_word_before_it(station: Station) -> None:
    station.send(full(1, one()))
    word, news = station.lists.replace(full(1, one()), T0 + 60), station.lists.replace(full(2, one(OTHER)), T0 + 61)
    station.commit(word.saves)
    assert brief(station.lists.committed()) == (1, 1, T0 + 60), news
    station.restart()  # before the other commit
    assert station.listed() and not station.lists.problem and brief(station.lists.state) == (1, 1, T0 + 60)


@pytest.mark.promise("S4")
@pytest.mark.usefixtures("no_overlay")
def test_what_was_built_on_another_list_than_the_one_in_force_is_not_taken(station: Station) -> None:
    station.send(full(1, one()))
    late = station.lists.plan(diff(3, one("04000003")), T0, 0.0)
    assert isinstance(late, Plan)
    made = late.build()
    assert isinstance(made, Made)
    station.send(diff(2, one("04000002")))
    outcome = station.lists.apply(made, T0, 0.0)
    assert outcome.status is Status.Failed and "another list came meanwhile" in outcome.reason
    assert station.listed("04000002") and len(station.files()) == 1
    assert station.send(diff(3, one("04000003"))).status is Status.Accepted
    assert station.lists.state.entries == 3


@pytest.mark.promise("S9")
@pytest.mark.parametrize("version", [2**63, 10**39, -(2**63)])
def test_a_version_that_no_disk_holds_is_refused(station: Station, version: int) -> None:
    outcome = station.send(full(version, one()))
    assert outcome.status is Status.Failed and "version" in outcome.reason and not station.files()


@pytest.mark.promise("S4", "S9")
def test_the_version_in_force_with_its_hash_and_another_count_is_refused(station: Station) -> None:
    station.send(full(1, one()))
    said = station.lists.content.hash
    outcome = station.send(diff(1, one(OTHER), hash=said, count=2))
    assert outcome.status is Status.Failed and "2 were announced" in outcome.reason


@pytest.mark.promise("S5")
@pytest.mark.parametrize("as_of", ["2026-01-01T00:00:00", "20260101", 5, True, {}, "yesterday", "x" * 90_000])
def test_when_it_was_newest_is_a_time_with_its_zone(station: Station, as_of: Any) -> None:
    outcome = station.send(announcing(full(1, one()), asOf=as_of))
    assert outcome.status is Status.Failed and outcome.reason.endswith("is no time: write 2026-01-31T18:00:00Z")
    assert len(outcome.reason) < 200


@pytest.mark.promise("S5")
def test_a_cloud_with_a_clock_that_is_ahead_makes_no_list_young_for_years(station: Station) -> None:
    station.send(announcing(full(1, one()), asOf="2099-01-01T00:00:00Z"), None)
    assert station.lists.state.synced_s == 4_070_908_800.0, "nobody knows better"
    station.send(announcing(full(1, one()), asOf="2099-01-01T00:00:00Z"), T0)
    assert station.lists.state.synced_s == T0
    station.send(announcing(full(2, one()), asOf="2098-01-01T00:00:00Z"), T0 + 60)
    assert station.lists.state.synced_s == T0 + 60


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (one("ACCOUNT\x00"), "control character"),
        (one("\x1b[2JX"), "control character"),
        (one(groups=["staff\n"]), "control character"),
        ({**one(), "idTokenInfo": {"status": "Accepted", "groupIdToken": {"idToken": "\x7f", "type": "Central"}}},
         "control character"),
        ({**one(), "idTokenInfo": {"status": "Accepted", "cacheExpiryDateTime": "2026-01-01T00:00:00"}}, "cacheExpiry"),
    ],
)  # fmt: skip
def test_what_nobody_can_print_is_on_no_list(station: Station, entry: Json, why: str) -> None:
    outcome = station.send(full(1, entry))
    assert outcome.status is Status.Failed and why in outcome.reason and outcome.reason.isprintable()


@pytest.mark.promise("S10")
@pytest.mark.parametrize("limit", [0, 2_000])
def test_a_list_has_a_greatest_size_in_whichever_way_it_comes(
    station: Station, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(overlay, "ENTRIES_MAX", limit)
    for module in (builder, listfile):
        monkeypatch.setattr(module, "ENTRIES_MAX", 2)
    assert station.send(full(1, one(), one(OTHER))).status is Status.Accepted
    for request in (diff(2, one("04000003")), full(2, one(), one(OTHER), one("04000003"))):
        outcome = station.send(request)
        assert outcome.status is Status.Failed and outcome.reason == "more than 2 entries"
    assert station.send(diff(2, one("04000003"), {"idToken": one()["idToken"]})).status is Status.Accepted


@pytest.mark.promise("S4", "S9")
@pytest.mark.parametrize("is_short", [True, False])
def test_on_a_flash_that_went_bad_no_list_is_derived_from_what_cannot_be_read(
    station: Station, is_short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "ENTRIES_MAX", 2_000 if is_short else 0)
    station.send(full(1, one(), one(OTHER)))
    (station.directory / station.files()[0]).write_bytes(b"")  # under the open file
    outcome = station.send(diff(2, one(CARD, "Blocked")))
    assert outcome.status is Status.Failed and "cannot be read" in outcome.reason and "send it whole" in outcome.reason


@pytest.mark.promise("S9")
@pytest.mark.parametrize("alike", ["5", "[]", "null", "{", '["Accepted",5,null,null,0]', '["Accepted",[5],null,null,0]',
                                   '["Fine",[],null,null,0]', '["Accepted",[],null,null,"x"]'])  # fmt: skip
def test_a_fact_of_an_overlay_that_says_nothing_is_no_list_and_no_crash(station: Station, alike: str) -> None:
    station.send(full(1, one()))
    station.send(diff(2, one(OTHER)))
    (name,) = [name for name in station.facts if name.startswith(overlay.PREFIX)]
    station.facts[name] = [alike, 0]
    station.restart()
    assert "no allowlist" in station.lists.problem and station.listed() is None
    assert station.send(full(3, one())).status is Status.Accepted and set(station.facts) == {"allowlist"}


@pytest.mark.promise("S4")
@pytest.mark.parametrize("harm", ["lost", "found", "mixed up"])
def test_changes_that_a_damaged_database_has_lost_or_found_make_no_other_list(station: Station, harm: str) -> None:
    station.send(full(1, one(), one(OTHER)))
    station.send(diff(2, one(CARD, "Blocked"), {"idToken": one(OTHER)["idToken"]}))
    first, second = (name for name in station.facts if name.startswith(overlay.PREFIX))
    match harm:
        case "lost":
            del station.facts[second]
        case "found":
            station.facts[overlay.PREFIX + "00" * 14] = []
        case "mixed up":
            station.facts |= {first: station.facts[second], second: station.facts[first]}
    station.restart()
    assert "not the list that was committed" in station.lists.problem
    assert station.lists.lookup(CARD, 0.0, T0) == (None, None) and not station.lists.state.version
    assert station.send(full(2, one(CARD, "Blocked"))).status is Status.Accepted
    assert set(station.facts) == {"allowlist"} and station.lists.state.entries == 1


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S4")
def test_a_part_of_the_list_in_force_is_no_part_of_another(station: Station, cloud: Cloud) -> None:
    messages = list(in_parts(cloud.full(), 3))
    for message in messages:
        station.send(message)
    files = station.files()
    again = station.send(messages[1], T0 + 60)
    assert (again.status, again.missing, brief(again.state)) == (Status.Accepted, 0, (1, 24, T0 + 60))
    assert station.files() == files


@pytest.mark.promise("S4")
def test_parts_of_a_list_that_is_in_force_are_gone_after_the_next_start(station: Station, cloud: Cloud) -> None:
    *some, last = in_parts(cloud.full(), 3)
    for message in some:
        station.send(message)
    station.commit(station.lists.replace(last, T0).saves)
    station.restart()  # before they could be removed
    assert station.listed(CARDS[0]) and len(station.files()) == 1


@pytest.mark.promise("S4")
def test_a_part_that_is_here_in_two_forms_counts_once(station: Station, cloud: Cloud) -> None:
    """As a cut leaves them, when a cloud has divided its list in another way."""
    first, second, third = in_parts(cloud.full(), 3)
    assert station.send(first).missing == 2
    (one_form,) = station.directory.iterdir()
    cut = one_form.read_bytes()
    other = {**first, "localAuthorizationList": first["localAuthorizationList"][:-1]}
    assert station.send(other).missing == 2
    one_form.write_bytes(cut)
    assert station.send(second).missing == 1 and station.send(first).missing == 1
    assert station.send(third).status is Status.Accepted and station.lists.content == cloud.content()


@pytest.mark.promise("S4")
def test_parts_of_an_older_list_do_not_take_the_place_of_a_newer_one(station: Station, cloud: Cloud) -> None:
    old = list(in_parts(cloud.full(), 3))
    cloud.change({CARDS[0]: None})
    new = list(in_parts(cloud.full(), 3))
    assert station.send(old[0]).missing == 2 and station.send(new[0]).missing == 2, "newer ones do"
    files = station.files()
    late = station.send(old[1])
    assert late.status is Status.Failed and late.reason == "parts of list 1/2 are here, which is newer"
    assert station.files() == files
    assert station.send(new[1]).missing == 1 and brief(station.send(new[2]).state) == (2, 23, T0)


@pytest.mark.promise("S9")
def test_a_wrong_entry_in_a_part_is_refused_when_it_comes_and_nothing_is_kept(station: Station, cloud: Cloud) -> None:
    first, *_ = in_parts(cloud.full(), 3)
    wrong = {**first, "localAuthorizationList": [one(groups=[""])]}
    outcome = station.send(wrong)
    assert outcome.status is Status.Failed and "groups are" in outcome.reason and not station.files()


@pytest.mark.promise("S4", "S9")
def test_parts_that_together_are_not_the_list_that_was_announced_are_forgotten(station: Station, cloud: Cloud) -> None:
    good = list(in_parts(cloud.full(), 3))
    cloud.entries[CARDS[1]] = Entry(Said.BLOCKED)
    lying = [{**each, "customData": mine["customData"]} for each, mine in zip(in_parts(cloud.full(), 3), good,
                                                                                strict=True)]  # fmt: skip
    outcomes = [station.send(each) for each in (good[0], lying[1], good[2])]
    assert "compare the two" in outcomes[-1].reason and not station.files()
    assert [station.send(each).missing for each in good] == [2, 1, 0] and station.lists.state.version == 1


@pytest.mark.promise("S4")
def test_parts_are_kept_when_it_is_the_disk_that_refuses(
    station: Station, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    *some, last = in_parts(cloud.full(), 3)
    for message in some:
        station.send(message)
    monkeypatch.setattr("agent.authcache.listfile.NEW", "no/such/folder")
    assert "could not be written" in station.send(last).reason and len(station.files()) == 3
    monkeypatch.undo()
    assert brief(station.send(last).state) == (1, 24, T0)


@pytest.mark.promise("S4", "S10")
def test_a_process_that_does_not_end_is_ended_and_the_long_list_may_come_again(
    station: Station, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "HERE_MAX", 3)
    monkeypatch.setattr(builder, "TIMEOUT_S", 0.0)
    outcome = station.send(cloud.full())
    assert outcome.reason == "the process that writes the list has failed: TimeoutExpired"
    monkeypatch.setattr(builder, "TIMEOUT_S", 60.0)
    wrong = station.send(announcing(cloud.full(), count=7))
    assert "24 entries, 7 were announced" in wrong.reason and not station.files(), "said by the process, too"
    assert station.send(cloud.full()).state == station.lists.state and len(station.files()) == 1
    assert station.lists.content == cloud.content()


@pytest.mark.promise("S10")
def test_parts_have_a_greatest_size_together(station: Station, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = in_parts(cloud.full(), 3)
    station.send(first)
    (path,) = station.directory.iterdir()
    monkeypatch.setattr(parts, "TOTAL_MAX_B", path.stat().st_size + 10)
    files = station.files()
    outcome = station.send(second)
    assert outcome.status is Status.Failed and "larger than" in outcome.reason and station.files() == files


# -- through the whole station: signed or not, refused with its reason, and told --------------------------------------


class Site:
    """A station at work with a list of all CARDS but two, 1/5; and whatever could tell that something of it changed."""

    def __init__(self) -> None:
        self.world = World(5).power_on().run(60)
        self.commands = 0
        self.cloud = Cloud()
        self.cloud.version = 5
        self.cloud.entries = {card: Entry() for card in CARDS[:-2]}
        self.world.command("SendLocalList", **self.cloud.full()).run(60)
        self.world.cloud.drivers[CARDS[-1]] = {"status": "Accepted"}
        self.world.plug(1).run(10).tap(CARDS[-1]).run(30)
        assert self.answers()[-1] == {"status": "Accepted"} and self.shell.lists.state.version == 5
        assert len(self.says()["facts"]) == 2, "the list, and one in the cache"

    @property
    def shell(self) -> Shell:
        assert self.world.shell
        return self.world.shell

    def signed(self, request: Json) -> bytes:
        """As its operator would, and with no encoder's walls."""
        self.commands += 1
        expires_ms = round((self.world.true_wall_s() + 3600) * 1000)
        head = [STATION_ID, f"hostile {self.commands}", expires_ms, "SendLocalList"]
        return self.sign(to_cbor([*head, encode_payload(request)]))

    def sign(self, data: bytes) -> bytes:
        return sign(data, self.kid, self.world._key)

    @property
    def kid(self) -> bytes:
        return key_id(self.world._key.public_key())

    def answers(self) -> list[Json]:
        return [result["response"] for result in self.world.cloud.results if result["status"] == "Done"]

    def security_events(self) -> list[str]:
        log = self.world.cloud.log
        return [record.payload["techInfo"] for record in log if record.action == "SecurityEventNotification"]

    def says(self) -> Json:
        """The files and facts of the list and of the cache, and what they answer."""
        lists, folder = self.shell.lists, self.world.disk.path / "lists"
        rows = self.world.disk.copied().execute("SELECT * FROM fact ORDER BY key").fetchall()
        return {
            "files": {path.name: path.read_bytes() for path in folder.iterdir()},
            "facts": [row for row in rows if row[0].startswith(("allowlist", "list/", "cache/"))],
            "answers": [lists.lookup(card, self.world.mono(), T0) for card in (*CARDS, CARD, OTHER)],
            "list": (lists.state, lists.content.dump()),
        }

    def hear(self, data: bytes) -> None:
        """Time enough to be done with it, and to complain again."""
        self.world.net.send_command(data)
        self.world.run(SECURITY_EVENT_S + 5)


@pytest.mark.promise("S4")
def test_lists_that_come_at_once_are_taken_one_after_the_other() -> None:
    """A broker hands out what it has kept for an hour in one go."""
    site, cloud = Site(), Cloud()
    try:
        before = len(site.answers())
        cloud.version, cloud.entries = 5, {card: Entry() for card in CARDS[:-2]}
        site.world.net.latency_s = 0.0
        story: list[dict[str, Entry | None]] = [{CARDS[0]: None}, {CARDS[-1]: Entry()}, {CARDS[1]: None}]
        for n, changes in enumerate(story):
            cloud.change(changes)
            site.world.net.send_command(site.signed(cloud.full() if n == 1 else cloud.differential(changes)))
        site.world.run(60)
        assert site.answers()[before:] == [{"status": "Accepted"}] * 3
        assert site.shell.lists.state.version == 8 and site.shell.lists.content == cloud.content()
    finally:
        site.world.disk.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all: whatever comes, it is as before."""
    made = Site()
    yield made
    made.world.disk.close()


def next_list(**custom: Any) -> Json:
    """1/6: one card less. It would be taken if nothing were wrong with it."""
    cloud = Cloud()
    cloud.version, cloud.entries = 6, {card: Entry() for card in CARDS[1:-2]}
    return announcing(cloud.full(), **custom)


def with_entries(*entries: Json) -> Json:
    request = next_list(count=len(entries))
    del request["customData"]["hash"]
    return {**request, "localAuthorizationList": list(entries)}


def next_change(**custom: Any) -> Json:
    """The same as what differs."""
    cloud = Cloud()
    cloud.version, cloud.entries = 6, {card: Entry() for card in CARDS[1:-2]}
    return announcing(cloud.differential({CARDS[0]: None}, base=5), **custom)


def but(request: Json, **members: Any) -> Json:
    return {**request, **members}


def informed(**info: Any) -> Json:
    return {**one(), "idTokenInfo": {"status": "Accepted", **info}}


FAILED, MISMATCH = "Failed", "VersionMismatch"
CONTROL = "\x1b[2J"
HASH_5 = Content.of((card, Entry()) for card in CARDS[:-2]).hash
LIES: dict[str, tuple[Json, str, str]] = {
    "an older version": (but(next_list(), versionNumber=4), MISMATCH, "list 1/4 is older than 1/5 here"),
    "an older generation": (next_list(generation=0), MISMATCH, "list 0/6 is older than 1/5 here"),
    "no generation": (but(next_list(), customData={"vendorId": OURS}), MISMATCH, "list 0/6 is older"),
    "somebody else's generation": (next_list(vendorId="else"), MISMATCH, "list 0/6 is older than 1/5 here"),
    "this version otherwise": (but(next_list(), versionNumber=5), MISMATCH,
                               "5 is here with other content: count it up"),
    "this version without a hash": (but(with_entries(one()), versionNumber=5), MISMATCH,
                                    "5 is here with other content"),
    "this version changed": (but(next_change(hash=None), versionNumber=5), MISMATCH, "version 5 is here: count it up"),
    "version 0": (but(next_list(), versionNumber=0), FAILED, "version 0: versions begin at 1"),
    "a negative version": (but(next_list(), versionNumber=-6), FAILED, "version -6: versions begin at 1"),
    "a huge version": (but(next_list(), versionNumber=10**30), FAILED,
                       "a version is a number up to 9223372036854775807"),
    "a negative generation": (next_list(generation=-1), FAILED, "generation is a number from 0"),
    "a huge generation": (next_list(generation=2**63), FAILED, "generation is a number from 0"),
    "a generation that is true": (next_list(generation=True), FAILED, "generation is a number from 0"),
    "a generation in words": (next_list(generation="7"), FAILED, "generation is a number from 0"),
    "a wrong count": (next_list(count=22), FAILED, "this makes a list of 21 entries, 22 were announced"),
    "a negative count": (next_list(count=-1), FAILED, "this makes a list of 21 entries, -1 were announced"),
    "a huge count": (next_list(count=10**30), FAILED, "this makes a list of 21 entries, 10000"),
    "a count that is true": (next_list(count=True), FAILED, "count is a number"),
    "a count with a point": (next_list(count=21.0), FAILED, "count is a number"),
    "a count in words": (next_list(count="21"), FAILED, "count is a number"),
    "a wrong hash": (next_list(hash="0" * 64), FAILED, "0000000000000000 was announced: compare the two"),
    "the hash of another content": (next_list(hash=HASH_5), FAILED, f"{HASH_5[:16]} was announced: compare the two"),
    "a hash in capitals": (next_list(hash=next_list()["customData"]["hash"].upper()), FAILED, "was announced: compare"),
    "half a hash": (next_list(hash="0" * 32), FAILED, "hash is 64 hexadecimal digits"),
    "a hash that is a number": (next_list(hash=0), FAILED, "hash is 64 hexadecimal digits"),
    "an entry lost": (but(next_list(), localAuthorizationList=next_list()["localAuthorizationList"][1:]), FAILED,
                      "this makes a list of 20 entries, 21 were announced"),
    "no entries at all": (but(next_list(), localAuthorizationList=None), "Refused", "member is null"),
    "an empty list of entries": (but(next_list(), localAuthorizationList=[]), "Refused", "length >= 1"),
    "entries that are none": (but(next_list(), localAuthorizationList=[5]), "Refused", "Expected `object`"),
    "a version that is true": (but(next_list(), versionNumber=True), "Refused", "Expected `int`, got `bool`"),
    "a version in words": (but(next_list(), versionNumber="6"), "Refused", "Expected `int`, got `str`"),
    "another kind of list": (but(next_list(), updateType="Partial"), "Refused", "Partial"),
    "more members than OCPP has": (but(next_list(), more={}), "Refused", "more"),
    "the same card twice": (with_entries(one(), one()), FAILED, "…2B1C is listed twice"),
    "the same card in another spelling": (with_entries(one(), one("04:a2:2b:1c")), FAILED, "…2B1C is listed twice"),
    "the same account in another spelling": (with_entries(one("anna"), one(" ANNA ")), FAILED, "listed twice"),
    "an empty id": (with_entries(one("")), FAILED, "an entry has no id"),
    "a blank id": (with_entries(one(" \u00a0")), FAILED, "an entry has no id"),
    "an id too long": (with_entries(one("X" * 256)), "Refused", "length <= 255"),
    "an id that moves the cursor": (with_entries(one(CONTROL)), FAILED, "an id holds a control character"),
    "no idTokenInfo": (with_entries({"idToken": one()["idToken"]}), FAILED,
                       "…2B1C has no idTokenInfo, which a full list"),
    "a status that is none": (with_entries(one(status="Fine")), "Refused", "Fine"),
    "33 groups": (with_entries(one(groups=["x"] * 33)), FAILED, "…2B1C: groups are up to 32 names of 1 to 255"),
    "a group too long": (with_entries(one(groups=["x" * 256])), FAILED, "…2B1C: groups are up to 32 names of 1 to 255"),
    "a group without a name": (with_entries(one(groups=[""])), FAILED, "…2B1C: groups are up to 32 names of 1 to 255"),
    "a group that is a number": (with_entries(one(groups=[5])), FAILED, "…2B1C: groups are up to 32 names of 1 to 255"),
    "one group and no list": (with_entries(one(groups="staff")), FAILED,
                              "…2B1C: groups are up to 32 names of 1 to 255"),
    "a group that moves the cursor": (with_entries(one(groups=[CONTROL])), FAILED,
                                      "…2B1C: a group's name holds a control"),
    "pending by number": (with_entries(one(pending=1)), FAILED, "…2B1C: pending and removed are true or false"),
    "removed by word": (with_entries(one(removed="yes")), FAILED, "…2B1C: pending and removed are true or false"),
    "30 February": (with_entries(informed(cacheExpiryDateTime="2026-02-30T00:00:00Z")), FAILED,
                    "is no time: write 2026-"),
    "an expiry of no zone": (with_entries(informed(cacheExpiryDateTime="2026-02-03T00:00:00")), "Refused",
                             "cacheExpiry"),
    "news of no zone": (next_list(asOf="2026-02-03T00:00:00"), FAILED, "'2026-02-03T00:00:00' is no time: write 2026-"),
    "a base of a full list": (next_list(base=5), FAILED, "base is the version that a differential list leads from"),
    "another base": (next_change(base=4), MISMATCH, "this leads from version 4, here is 5"),
    "a base to come": (next_change(base=7), MISMATCH, "this leads from version 7, here is 5"),
    "a base that is true": (next_change(base=True), FAILED, "base is the version that a differential list leads from"),
    "another generation's changes": (next_change(generation=2), MISMATCH,
                                     "there is no list here to change: send it whole"),
    "changes with the old hash": (next_change(hash=HASH_5), FAILED, "was announced: compare the two, or send it whole"),
    "changes with a wrong count": (next_change(count=22), FAILED, "this makes a list of 21 entries, 22 were announced"),
    "a card changed twice": (but(next_change(), localAuthorizationList=[one(), one("04a2-2b1c", "Blocked")]), FAILED,
                             "…2B1C is changed twice"),
    "a bucket too many": (next_change(buckets=[256]), FAILED, "buckets are numbers below 256"),
    "a negative bucket": (next_change(buckets=[-1]), FAILED, "buckets are numbers below 256"),
    "a bucket that is true": (next_change(buckets=[True]), FAILED, "buckets are numbers below 256"),
    "buckets that are a number": (next_change(buckets=5), FAILED, "buckets are numbers below 256"),
    "buckets of a full list": (next_list(buckets=[5]), FAILED, "a full list replaces every bucket"),
    "a bucket whose cards are not named": (next_change(buckets=[bucket_of(CARDS[5])]), FAILED,
                                           "this makes a list of 20 entries, 21 were announced"),
    "all buckets, and one card": (but(next_change(buckets=[*range(256)], count=21), localAuthorizationList=[one()]),
                                  FAILED, "this makes a list of 1 entries, 21 were announced"),
    "part 0": (next_list(part=0, parts=3), FAILED, "part is a number from 1 to 3"),
    "part 4 of 3": (next_list(part=4, parts=3), FAILED, "part is a number from 1 to 3"),
    "a part that is true": (next_list(part=True, parts=3), FAILED, "part is a number from 1 to 3"),
    "no parts": (next_list(parts=0), FAILED, "parts is a number from 1 to 4000"),
    "4001 parts": (next_list(part=1, parts=4001), FAILED, "parts is a number from 1 to 4000"),
    "parts that announce no hash": (next_list(part=1, parts=3, hash=None), FAILED,
                                    "a list in parts needs count and hash"),
    "parts that announce no count": (next_list(part=1, parts=3, count=None), FAILED, "a list in parts needs count and"),
    "a part with a wrong entry": (announcing(with_entries(one("")), part=1, parts=3, hash=HASH_5), FAILED, "has no id"),
    "a part of an older list": (but(next_list(part=1, parts=3), versionNumber=4), MISMATCH,
                                "1/4 is older than 1/5 here"),
}  # fmt: skip


@pytest.mark.promise("S4", "S7", "S9")
@pytest.mark.parametrize(("request_", "status", "why"), LIES.values(), ids=LIES)
def test_a_lie_that_is_signed_is_refused_with_its_reason_and_nothing_changes(
    site: Site, request_: Json, status: str, why: str
) -> None:
    before, results = site.says(), len(site.world.cloud.results)
    site.hear(site.signed(request_))
    (result,) = site.world.cloud.results[results:]
    if status == "Refused":
        assert result["status"] == "Refused" and result["errorCode"] == "FormatViolation"
        said = result["why"]
    else:
        assert result["status"] == "Done" and result["response"]["status"] == status
        said = result["response"]["statusInfo"]["additionalInfo"]
    assert why in said and said.isprintable() and CARD not in said
    assert site.says() == before


def odd(payload: Json = {}, **head: Any) -> bytes:  # noqa: B006
    """A command's content, without our encoder's walls."""
    head = {"station": STATION_ID, "command_id": "odd", "expires_ms": 2**60, "action": "SendLocalList"} | head
    return to_cbor([*head.values(), payload])


def nested(depth: int) -> Json:
    return {"customData": {"vendorId": "x", "x": nested(depth - 1)} if depth else 0}


def cards(count: int) -> Json:
    shape = to_cbor([{"idToken": {"type": "ISO14443"}, "idTokenInfo": {"status": "Accepted"}}, 4,
                     b"".join(n.to_bytes(4, "big") for n in range(count))])  # fmt: skip
    return {"versionNumber": 6, "updateType": "Full", "localAuthorizationList": [shape]}


STRANGER = Ed25519PrivateKey.from_private_bytes(b"another private key of 32 bytes!")
FORGERIES: dict[str, tuple[Callable[[Site], bytes], str]] = {
    "unsigned": (lambda site: odd(next_list()),
                 "not a COSE_Sign1: expected [protected, unprotected, payload, signature]"),
    "nothing": (lambda site: b"", "not a COSE_Sign1: not CBOR"),
    "signed by a stranger": (lambda site: sign(odd(next_list()), site.kid, STRANGER), "the signature is wrong"),
    "signed with a key that nobody knows": (lambda site: sign(odd(next_list()), b"else", STRANGER),
                                            "signed with a key that this station does not know"),
    "another station's": (lambda site: site.sign(odd(next_list(), station="SIM-0002")),
                          "a command for station SIM-0002"),
    "cut off": (lambda site: site.signed(next_list())[:-1], "not a COSE_Sign1: not CBOR"),
    "with a byte more": (lambda site: site.signed(next_list()) + b"\0", "1 bytes follow the message"),
    "signed twice": (lambda site: site.sign(site.signed(next_list())), "not CBOR"),
    "a list that is no map": (lambda site: site.sign(to_cbor([STATION_ID, "odd", 2**60, "SendLocalList", []])),
                              "payload: expected a map"),
    "half a command": (lambda site: site.sign(to_cbor([STATION_ID, "odd"])), "command: expected an array of 5"),
    "no command id": (lambda site: site.sign(odd(next_list(), command_id="")), "command_id: expected text of 1 to 36"),
    "deeper than anything of OCPP": (lambda site: site.sign(odd(nested(12))), "JSON at most 24 deep"),
    "deeper than any decoder goes": (lambda site: site.sign(odd()[:-1] + b"\x81" * 2_000 + b"\0"), "not CBOR"),
    "more cards than one message has": (lambda site: site.sign(odd(cards(5_001))),
                                        "more than 5000 cards in one message"),
    "more bytes than one message has": (lambda site: site.sign(odd({"x": "x" * 100_000})), "bytes are over 100000"),
    "half a card": (lambda site: site.sign(odd({"localAuthorizationList": [b"\x83\xa0\x04\x43abc"]})),
                    "cards are an entry, a size from 1 to 18, and ids of that size"),
}  # fmt: skip


@pytest.mark.promise("S4", "S9")
@pytest.mark.parametrize(("forged", "why"), FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_a_security_event_and_nothing_changes(
    site: Site, forged: Callable[[Site], bytes], why: str
) -> None:
    before, events, results = site.says(), len(site.security_events()), len(site.world.cloud.results)
    site.hear(forged(site))
    (said,) = site.security_events()[events:]
    assert why in said and len(site.world.cloud.results) == results
    assert site.says() == before


@pytest.mark.promise("S4", "S9")
def test_after_all_these_the_next_list_is_taken_and_a_repetition_of_any_is_silent() -> None:
    site = Site()
    heard = [site.signed(request) for request, _, _ in LIES.values()]
    heard += [forged(site) for forged, _ in FORGERIES.values()]
    for data in heard:
        site.hear(data)
    site.hear(site.signed(next_change()))
    assert site.answers()[-1] == {"status": "Accepted"} and site.shell.lists.state.version == 6
    before, results = site.says(), len(site.world.cloud.results)
    for data in heard[: len(LIES)]:
        site.hear(data)
    assert site.says() == before and len(site.world.cloud.results) == results
    site.world.disk.close()


@pytest.mark.promise("S9")
def test_a_flipped_bit_anywhere_in_a_list_is_refused_by_its_signature(site: Site) -> None:
    data = site.signed(with_entries(one()))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        said = open_command(bytes(flipped), site.shell.operator_keys.keys, STATION_ID, 0.0, SeenCommands({}))
        assert isinstance(said, Refusal) and said.security_event and said.result is None, (bit, said)
    assert isinstance(open_command(data, site.shell.operator_keys.keys, STATION_ID, 0.0, SeenCommands({})), Command)


@pytest.mark.promise("S4", "S9")
def test_changes_before_any_list_are_refused() -> None:
    world = World(5).power_on().run(60)
    world.command("SendLocalList", **next_change()).run(60)
    why = world.cloud.results[-1]["response"]["statusInfo"]["additionalInfo"]
    assert why == "there is no list here to change: send it whole" and not list((world.disk.path / "lists").iterdir())
    world.disk.close()


@pytest.mark.promise("S4", "S9")
def test_a_list_that_is_played_again_changes_nothing_and_never_after_its_time_not_even_a_new_station() -> None:
    site = Site()
    old, new = site.signed(but(next_list(), versionNumber=6)), site.signed(but(next_list(), versionNumber=7))
    for data in (old, new):
        site.hear(data)
    before, results = site.says(), len(site.world.cloud.results)
    for _ in range(2):
        site.hear(old)
        assert site.says() == before and len(site.world.cloud.results) == results
        assert any("already done" in line for _, line in site.world.log)
        site.world.cut_power().run(10)
        site.world.power_on().run(100)
    site.world.disk.close()
    another = World(5).power_on().run(60)  # its store is new, its operator the same
    another.net.send_command(old)
    another.run(60)
    another.net.send_command(new)
    another.run(60)
    assert another.shell and another.shell.lists.state.version == 7, "an older one is replaced by what is newer"
    late = World(5).power_on().run(4_000)
    late.net.send_command(old)
    late.run(60)
    assert late.cloud.results[-1]["status"] == "Expired" and not list((late.disk.path / "lists").iterdir())
    for world in (another, late):
        world.disk.close()


# -- any sequence of all that -----------------------------------------------------------------------------------------


def without_one(request: Json) -> Json:
    """Less than what was sent. A removal goes last: one of a card that is not listed changes the cache alone, and
    without it the rest is a whole message of the cloud's, which no hash tells from another."""
    entries = request.get("localAuthorizationList", [])
    stays = [entry for entry in entries if is_removal(entry)]
    rest = [entry for entry in entries if not is_removal(entry)]
    return but(request, localAuthorizationList=[*rest[1:], *(stays if rest else stays[1:])] or [one("ODD")])


def is_removal(entry: Json) -> bool:
    return "idTokenInfo" not in entry or bool(entry.get("customData", {}).get("removed"))


MODEL_LIES: dict[str, Callable[[Json], Json]] = {
    "truth": lambda request: request,
    "older": lambda request: but(request, versionNumber=request["versionNumber"] - 2),
    "older generation": lambda request: announcing(request, generation=0),
    "wrong count": lambda request: announcing(request, count=request["customData"]["count"] + 1),
    "wrong hash": lambda request: announcing(request, hash="0" * 64),
    "truncated": without_one,
    "one too many": lambda request: but(request, localAuthorizationList=[
        *request.get("localAuthorizationList", []), one("ODD")]),
    "wrong entry": lambda request: but(request, localAuthorizationList=[one("")]),
    "wrong base": lambda request: announcing(request, base=99),
    "wrong part": lambda request: announcing(request, part=9, parts=8),
}  # fmt: skip
UNLISTED = "04FFEE77"
CUTS = ["", "restart", "cut before the commit", "cut after the commit"]
MESSAGES = st.tuples(st.sampled_from(list(MODEL_LIES)), st.sampled_from(CUTS))


def delivered(station: Station, request: Json, cut: str) -> Outcome:
    """With a power cut at some moment; what was cut off before the commit comes again, for nobody has answered."""
    outcome = station.lists.replace(request, T0)
    if cut == "cut before the commit":
        station.restart()
        outcome = station.lists.replace(request, T0)
    station.commit(outcome.saves)
    if cut == "cut after the commit":
        station.restart()
    station.lists.committed()
    if cut == "restart":
        station.restart()
    return outcome


@pytest.mark.promise("S4", "S5", "S9")
@example([({CARDS[0]: None, CARDS[1]: Entry()}, "diff", [("truncated", "")])], random.Random(0), 30)
@given(st.lists(st.tuples(CHANGES, st.sampled_from(WAYS), st.lists(MESSAGES, max_size=3)), max_size=5),
       st.randoms(use_true_random=False), st.integers(1, 30))  # fmt: skip
def test_whatever_comes_between_the_station_has_the_cloud_s_list_or_the_one_before(
    story: list[tuple[dict[str, Entry | None], str, list[tuple[str, str]]]], chance: random.Random, most: int
) -> None:
    with folder() as directory, small_overlay(most):
        station, cloud = Station(directory), Cloud()
        cloud.version = 2
        station.send(cloud.full())
        before = cloud.version, dict(cloud.entries)
        for changes, way, heard in story:
            cloud.change(changes)
            after = cloud.version, dict(cloud.entries)
            takes_off = any(entry is None or entry.removed for entry in changes.values())
            coming = messages(cloud, way, changes, before[0])
            station.hear("Accepted", UNLISTED)
            is_new = False
            for lie, cut in heard:
                was_new, sent = is_new, MODEL_LIES[lie](chance.choice(coming))
                outcome = delivered(station, sent, cut)
                assert outcome.status is Status.Accepted or outcome.reason
                is_new = check(station, before, after, takes_off)
                assert is_new is was_new or lie in ("truth", "truncated"), lie  # not each entry changes anything
            for is_clean in (False, True):  # a lie may have taken the place of parts
                for message in coming if station.lists.state.version != cloud.version else []:
                    outcome = delivered(station, message, chance.choice(CUTS))
                    assert outcome.status is Status.Accepted or not is_clean, outcome
            assert check(station, before, after, takes_off)
            before = after


Listed = tuple[int, dict[str, Entry]]


def check(station: Station, before: Listed, after: Listed, takes_off: bool) -> bool:
    """One of the two, whole, and nothing else on the disk; whether it is the second."""
    lists = station.lists
    is_new = lists.state.version == after[0]
    version, entries = after if is_new else before
    content = Content.of(entries.items())
    assert (lists.state.version, held(station), lists.content) == (version, entries, content)
    assert station.facts["allowlist"]["hash"] == lists.state.hash == content.hash and not lists.problem
    strays = {path.name for path in station.directory.iterdir()} - {station.facts["allowlist"]["file"]}
    assert all(name.startswith("part-1-") and name.split("-")[2] > str(version) for name in strays), strays
    is_cleared = is_new and (takes_off or not station.facts["allowlist"]["content"])
    assert bool(station.cached(UNLISTED)) != is_cleared, "a removal or a new file clears the cache, in the same commit"
    return is_new
