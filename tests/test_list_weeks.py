"""S4 and S5 over thousands of station-weeks (tests/listweeks.py), and that its referee notices when they are broken."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agent.authcache import overlay
from agent.authcache.listfile import Rows
from agent.authcache.lists import Lists, Outcome
from agent.clock import Clock
from agent.effects import Save
from agent.events import Entry
from agent.policy import freshness as policy
from tests import listweeks
from tests.listreferee import HOUR_S, Violation
from tests.listweeks import play
from tools.cloud.content import content_of
from tools.cloud.database import open_database
from tools.cloud.drivers import Driver, Drivers, list_entry

SEED = int(os.environ.get("STATION_SEED", "0"))
WEEKS = 4  # of one station


def said(seed: int, tally: Counter[str], longest_s: float) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(tally.items()))
    return f"list weeks from seed {seed}: {counts}; in force after {longest_s / HOUR_S:.1f} h connected at the latest"


def weeks_pass(seed: int, stations: int, record_property: Callable[[str, object], None]) -> None:
    tally, longest_s = play(range(seed, seed + stations), WEEKS)
    record_property("fact", said(seed, tally, longest_s))
    assert tally["station-weeks"] == stations * WEEKS
    tried = {"mends", "swaps", "differentials in place", "parts kept", "power cuts", "kills", "let in by the cache"}
    assert tried <= tally.keys(), "this world tries nothing of that kind"


@pytest.mark.promise("S4", "S5")
def test_over_many_weeks_every_decision_is_that_of_one_list_and_none_too_old(
    record_property: Callable[[str, object], None],
) -> None:
    weeks_pass(SEED, 20, record_property)


@pytest.mark.long
@pytest.mark.promise("S4", "S5")
def test_over_ten_thousand_weeks_every_decision_is_that_of_one_list_and_none_too_old(
    record_property: Callable[[str, object], None],
) -> None:
    weeks_pass(SEED, 2_500, record_property)


def test_a_driver_who_came_and_went_between_two_lists_is_named_when_they_are_mended() -> None:
    drivers = Drivers(open_database(":memory:"))
    drivers.put([Driver("04A22B1C")], 0)
    at, content = drivers.version(), content_of(map(list_entry, drivers.all()))
    drivers.request(Driver("04FFEE01"), 1)
    drivers.remove(["04FFEE01"], 2)
    requests = drivers.mend(content, 3, at)
    assert requests and requests[0]["localAuthorizationList"][0]["idToken"]["idToken"] == "04FFEE01"


# -- the referee notices ----------------------------------------------------------------------------------------------


def removals_stay_cached(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("agent.authcache.cache.Cache.list_changed", lambda self, *given: [])
    patch.setattr("agent.authcache.cache.Cache.clear", lambda self, *given: [])


def late_answers_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("agent.authcache.cache.Cache.clear", lambda self, now: self._forget(list(self._entries)))


def older_lists_are_taken(patch: pytest.MonkeyPatch) -> None:
    refusal = Lists._refusal

    def lenient(self: Lists, *offered: Any) -> Outcome | None:
        refused = refusal(self, *offered)
        return None if refused and "is older than" in refused.reason else refused

    patch.setattr(Lists, "_refusal", lenient)


def half_a_list_is_written(patch: pytest.MonkeyPatch) -> None:
    add = Rows.add

    def every_other(self: Rows, hashed: bytes, entry: Entry) -> None:
        if hashed[0] % 2:
            add(self, hashed, entry)

    patch.setattr(Rows, "add", every_other)


def removals_are_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    saves = overlay.saves
    patch.setattr(overlay, "saves", lambda changes: [save for save in saves(changes) if save.value])


def a_full_list_leaves_the_changes_of_the_one_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lists, "_forgotten", lambda self: [])


def the_version_is_there_before_its_list(patch: pytest.MonkeyPatch) -> None:
    """As two commits: a cut between them leaves the one without the other."""
    split: Callable[[tuple[Save, ...]], tuple[Save, ...]] = lambda saves: saves[:1]
    put = listweeks.Station._put

    def _put(self: listweeks.Station, batch: listweeks.Batch) -> None:
        put(self, batch if self.is_on else listweeks.Batch(split(batch.saves), batch.then))

    patch.setattr(listweeks.Station, "_put", _put)


def fsync_does_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(listweeks.SimDisk, "sync", lambda self, path: None)


def a_list_is_in_force_before_it_is_on_the_disk(patch: pytest.MonkeyPatch) -> None:
    apply = Lists.apply

    def at_once(self: Lists, *given: Any) -> Outcome:
        outcome = apply(self, *given)
        self.committed()
        return outcome

    patch.setattr(Lists, "apply", at_once)


def age_counts_from_when_the_message_came(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lists, "_synced_s", lambda self, offer, wall_s: wall_s or offer.as_of_s)


def the_age_is_half_of_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.listreferee.age_s", lambda *given: (policy.age_s(*given) or 0.0) / 2)


def the_warning_comes_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policy, "WARNING_S", 23 * HOUR_S)


def the_alarm_comes_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policy, "ALARM_S", 30 * HOUR_S)


def whoever_speaks_last_sets_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.listweeks.told", lambda clock, wall_s, source, now: Clock(wall_s, now, wall_s, now, source))


def members_stay_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("agent.policy.authorize.freshness", lambda old_s, grace_days: policy.Freshness.FRESH)


def members_go_with_the_link(patch: pytest.MonkeyPatch) -> None:
    freshness = policy.freshness
    patch.setattr("agent.policy.authorize.freshness", lambda old_s, days: freshness(old_s, min(days or 1, 1)))


def removals_are_swallowed_on_their_way(patch: pytest.MonkeyPatch) -> None:
    """With hash, count and version of the list that they do not make."""
    patch.setattr("agent.authcache.lists.difference", lambda *given: "")
    patch.setattr("agent.authcache.lists.read_changes", without_removals)


def without_removals(request: dict[str, Any]) -> Iterable[Any]:
    from agent.authcache.request import read_changes

    return (change for change in read_changes(request) if change[1])


def the_cloud_says_only_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.listweeks.World._repeat", lambda self, spell, at_s: None)
    patch.setattr("tests.listweeks.World._ask", lambda self, spell, at_s: None)


FAULTS = (
    removals_stay_cached, late_answers_are_kept, older_lists_are_taken, half_a_list_is_written,
    removals_are_forgotten_at_a_restart, a_full_list_leaves_the_changes_of_the_one_before,
    the_version_is_there_before_its_list, fsync_does_nothing, a_list_is_in_force_before_it_is_on_the_disk,
    age_counts_from_when_the_message_came, the_age_is_half_of_it, the_warning_comes_late, the_alarm_comes_late,
    whoever_speaks_last_sets_the_clock, members_stay_for_ever, members_go_with_the_link,
    removals_are_swallowed_on_their_way, the_cloud_says_only_once,
)  # fmt: skip


@pytest.mark.promise("S4", "S5")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_referee_notices_when(fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(Violation, match=r"^S[45]: .*seed \d+, day"):
        play(range(40), WEEKS)
