"""Lists that lie: refused with the reason, told to the cloud, and the list before answers as if nothing had come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.authcache import builder, listfile, overlay, parts
from agent.authcache.lists import Made, Plan, Status
from agent.events import AuthorizationStatus as Said
from agent.events import Entry, ListState
from tests.listed import CARD, OURS, Cloud, in_parts, one
from tests.test_allowlist import CARDS
from tests.test_authcache import OTHER, T0, Station, full

Json = dict[str, Any]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path / "lists")


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud()
    made.change({card: Entry() for card in CARDS})
    return made


@pytest.fixture
def no_overlay() -> Iterator[None]:
    """Every differential list makes a new file."""
    before, overlay.ENTRIES_MAX = overlay.ENTRIES_MAX, 0
    yield
    overlay.ENTRIES_MAX = before


def diff(version: int, *entries: Json, **custom: Any) -> Json:
    listed = {"localAuthorizationList": list(entries)} if entries else {}
    head = {"vendorId": OURS, "generation": 1, **custom}
    return {"versionNumber": version, "updateType": "Differential", **listed, "customData": head}


def announcing(request: Json, **custom: Any) -> Json:
    return {**request, "customData": {**request["customData"], **custom}}


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
    late = station.lists.plan(diff(3, one("04000003")), T0)
    assert isinstance(late, Plan)
    made = late.build()
    assert isinstance(made, Made)
    station.send(diff(2, one("04000002")))
    outcome = station.lists.apply(made, T0)
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
    assert station.lists.lookup(CARD, 0.0, None) == (None, None) and not station.lists.state.version
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


@pytest.mark.promise("S10")
def test_parts_have_a_greatest_size_together(station: Station, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = in_parts(cloud.full(), 3)
    station.send(first)
    (path,) = station.directory.iterdir()
    monkeypatch.setattr(parts, "TOTAL_MAX_B", path.stat().st_size + 10)
    files = station.files()
    outcome = station.send(second)
    assert outcome.status is Status.Failed and "larger than" in outcome.reason and station.files() == files
