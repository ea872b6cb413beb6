"""List and cache against a dictionary that knows the true time, through restarts, unknown clocks and late answers."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.authcache import cache, overlay
from agent.authcache.listfile import key_hash
from agent.authcache.lists import Lists, Status
from agent.clock import Clock, ClockSource, earliest, floor, told, wall
from agent.effects import Remember
from agent.events import AuthorizationStatus as Said
from agent.events import Entry
from tests.listed import OURS, one
from tests.test_authcache import KEY, full

CARDS = [f"04A22B{n:02X}" for n in range(7)]
CARD = st.sampled_from(CARDS)
ANSWERS = st.builds(Entry, st.sampled_from([Said.ACCEPTED, Said.ACCEPTED, Said.BLOCKED, Said.UNKNOWN]), st.none(),
                    st.frozensets(st.sampled_from("ab"), max_size=1))  # fmt: skip
LISTED = st.sampled_from([
    None, Entry(), Entry(Said.BLOCKED), Entry(Said.INVALID, removed=True), Entry(Said.UNKNOWN, pending=True),
])  # fmt: skip
PAUSES = st.sampled_from([0.0, 1.0, 590.0, 3600.0, 8 * 3600.0, 15.9 * 3600.0, 24 * 3600.0])
SAVED_S = 600.0  # how old the saved floor may be at a cut
T0 = 1_800_000_000.0


def said(card: str, entry: Entry | None) -> dict[str, Any]:
    if entry is None:
        return {"idToken": {"idToken": card, "type": "ISO14443"}}
    return one(card, entry.status, removed=entry.removed, pending=entry.pending)


class Known:
    """The cloud's last word that counts about a card."""

    def __init__(self, entry: Entry, asked: float, *, is_dated: bool) -> None:
        self.entry, self.asked = entry, asked  # true time
        self.is_dated = is_dated  # the station knew the time then
        self.powered_s = 0.0  # how long the station has run since, at least as its floor tells


class Day(RuleBasedStateMachine):
    """`true`: the true time; `now`: the station's monotonic clock, which begins anew with each start."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.before, cache.ENTRIES_MAX = cache.ENTRIES_MAX, 4
        self.before_overlay, overlay.ENTRIES_MAX = overlay.ENTRIES_MAX, 3
        self.true, self.since, self.now, self.version = T0, 2.0, 2.0, 0
        self.clock = told(Clock(T0 - 1e6, 2.0), T0, ClockSource.CLOUD, 2.0)
        self.facts: dict[str, Any] = {}
        self.listed: dict[str, Entry] = {}
        self.known: dict[str, Known] = {}
        self.cleared, self.lifetime_s = T0 - 1.0, cache.LIFETIME_S
        self.lists = Lists(Path(self.folder.name), self.facts, KEY, self.now)

    def teardown(self) -> None:
        cache.ENTRIES_MAX, overlay.ENTRIES_MAX = self.before, self.before_overlay
        self.folder.cleanup()

    def commit(self, saves: Any) -> None:
        for save in saves:
            self.facts[save.key] = save.value
            if save.value is None:
                del self.facts[save.key]

    # -- what happens

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        self.true, self.now = self.true + seconds, self.now + seconds
        for known in self.known.values():
            known.powered_s += seconds

    @rule(off_s=PAUSES, lost_s=st.floats(0, SAVED_S))
    def the_power_goes(self, off_s: float, lost_s: float) -> None:
        """And nobody knows the time when it is back."""
        saved_s = floor(self.clock, self.now) - min(lost_s, self.now - self.since)
        for known in self.known.values():
            known.powered_s -= SAVED_S
        self.true, self.now = self.true + off_s, self.since
        self.clock = Clock(saved_s, self.now)
        self.lists = Lists(Path(self.folder.name), self.facts, KEY, self.now)

    @rule()
    def the_cloud_tells_the_time(self) -> None:
        self.clock = told(self.clock, self.true, ClockSource.CLOUD, self.now)

    @rule(years=st.sampled_from([-14, 14]))
    def somebody_tells_a_wrong_time_for_a_moment(self, years: int) -> None:
        clock, self.clock = self.clock, told(self.clock, self.true + years * 3e7, ClockSource.CLOUD, self.now)
        for card in CARDS:
            self.look(card)
        self.clock = clock

    @rule(card=CARD, entry=ANSWERS, late_s=st.sampled_from([0.0, 0.0, 1.0, 3600.0, 30 * 3600.0]))
    def the_cloud_answers(self, card: str, entry: Entry, late_s: float) -> None:
        """A question of this run, `late_s` ago."""
        late_s = min(late_s, self.now - self.since)
        asked_at, asked = self.now - late_s, self.true - late_s
        saves = self.lists.remember(Remember(card, entry, asked_at), floor(self.clock, asked_at), self.lifetime_s)
        self.commit(saves)
        old = self.known.get(card)
        newest = max(self.cleared, old.asked if old and entry.status is Said.ACCEPTED else self.cleared)
        if card in self.listed or asked < newest:
            assert not any(save.value for save in saves), "the list has the last word, and what came later"
            return
        self.known.pop(card, None)
        if self.lifetime_s:
            self.known[card] = Known(entry, asked, is_dated=wall(self.clock, self.now) is not None)
            self.known[card].powered_s = late_s
        self.room_was_made()

    def room_was_made(self) -> None:
        kept = [fact["status"] for name, fact in self.facts.items() if name.startswith(cache.PREFIX)]
        lost = [card for card in self.known if not self.is_held(card)]
        assert len(kept) <= 4 and len(lost) <= 1
        for card in lost:
            assert len(kept) == 4
            assert self.known[card].entry.status is not Said.ACCEPTED or set(kept) == {"Accepted"}
            del self.known[card]

    def is_held(self, card: str) -> bool:
        return cache.PREFIX + key_hash(KEY, card).hex() in self.facts

    @rule(entries=st.dictionaries(CARD, LISTED.filter(bool), max_size=4))
    def a_whole_list_comes(self, entries: dict[str, Entry]) -> None:
        self.version += 1
        self.take(full(self.version, *(said(*each) for each in entries.items())))
        self.listed = dict(entries)
        self.forget(CARDS)

    @precondition(lambda self: self.version)
    @rule(changes=st.dictionaries(CARD, LISTED, min_size=1, max_size=3))
    def a_difference_comes(self, changes: dict[str, Entry | None]) -> None:
        self.version += 1
        request = {"versionNumber": self.version, "updateType": "Differential"}
        cards = [said(*each) for each in changes.items()]
        is_long = len(self.lists._overlay) + len(cards) > overlay.ENTRIES_MAX  # then it is a file, and a swap
        self.take(request | {"localAuthorizationList": cards, "customData": {"vendorId": OURS, "generation": 1}})
        self.listed = {card: entry for card, entry in (self.listed | changes).items() if entry}
        is_removal = any(entry is None or entry.removed for entry in changes.values())
        self.forget(CARDS if is_removal or is_long else changes)

    def take(self, request: dict[str, Any]) -> None:
        outcome = self.lists.replace(request, wall(self.clock, self.now), self.now)
        assert outcome.status is Status.Accepted, outcome.reason
        self.commit(outcome.saves)
        self.lists.committed()

    def forget(self, cards: Any) -> None:
        if cards is CARDS:
            self.cleared = self.true
        for card in cards:
            self.known.pop(card, None)

    @rule()
    def the_cloud_clears_the_cache(self) -> None:
        self.commit(self.lists.cache.clear(self.now))
        self.forget(CARDS)

    @rule(seconds=st.sampled_from([0.0, 3600.0, cache.LIFETIME_S]))
    def the_cloud_sets_how_long(self, seconds: float) -> None:
        self.lifetime_s = seconds

    # -- what must be so

    def look(self, card: str) -> tuple[Entry | None, Entry | None]:
        return self.lists.lookup(card, self.now, earliest(self.clock, self.now), self.lifetime_s)

    @invariant()
    def everybody_is_who_the_dictionary_says(self) -> None:
        is_known_time = wall(self.clock, self.now) is not None
        for card in CARDS:
            listed, cached = self.look(card)
            assert listed == self.listed.get(card)
            assert listed is None or cached is None
            known = self.known.get(card)
            if known is None:
                assert cached is None
                continue
            assert cached in (None, known.entry)
            age_s = self.true - known.asked
            if is_known_time and age_s >= self.lifetime_s + 1e-3:
                assert cached is None, "S5"
            if known.powered_s >= self.lifetime_s + 1e-3:
                assert cached is None, "who has run for so long knows, though nobody tells the time"
            if known.is_dated and age_s < self.lifetime_s - 1e-3:
                assert cached == known.entry, "nothing is lost that counts"

    @invariant()
    def the_disk_holds_what_the_memory_does(self) -> None:
        assert len(self.lists.cache) == sum(name.startswith(cache.PREFIX) for name in self.facts)


Day.TestCase.settings = settings(stateful_step_count=30)
TestDay = pytest.mark.promise("S5", "S10")(Day.TestCase)
