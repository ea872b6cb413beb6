"""The referee of tests/listweeks.py: S4, S5 and docs/allowlist.md in its own words.

It knows what the operator has made, when, and what the cloud has said; from that alone follows what a station may have
on its disk and in its memory, whom it may let in, and how old it may call its list.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from math import inf
from typing import Any, Protocol

import cbor2

from agent.authcache.lists import FACT, Lists
from agent.clock import BUILD_S, Clock, earliest, wall
from agent.events import AuthorizationStatus as Said
from agent.events import Entry, Source
from agent.policy.authorize import Accept, Ask, Decision, Refuse
from agent.policy.freshness import Freshness, age_s, freshness
from agent.policy.reasons import Reason
from agent.settings import Settings
from tools.cloud.drivers import Driver

HOUR_S, DAY_S = 3600.0, 86_400.0
T0_S = BUILD_S + 100 * DAY_S  # when each story begins, and its time is 0
IN_FORCE_S, WARN_S, ALARM_S = 24 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S
REACHED_S = 3 * HOUR_S  # who was connected for so long in a day, in whatever pieces, could be reached
ASK_EVERY_S = 8 * HOUR_S  # a station says which list it has
TOLERANCE_S = 60.0  # no crystal is perfect: 50 ppm of nine days are 39 s
CACHE_S = 24 * HOUR_S
REFUSALS = {"Blocked": "card blocked", "Invalid": "card not activated", "NoCredit": "no credit"}
STATES = {"pending": ("Unknown", 1, "approval pending"), "removed": ("Invalid", 2, "connection removed")}


class Violation(AssertionError):
    """A promise is broken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the cloud, asked online."""

    at_s: float
    number: int  # of the first list that was published after it
    status: str


class Judged(Protocol):
    """A station, as far as the referee looks at it."""

    facts: dict[str, Any]  # on its disk
    lists: Lists
    settings: Settings
    clock: Clock
    is_told: bool  # the time, by the cloud, since it was started

    def mono(self, at_s: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Published:
    """One whole list, as the operator made it; `number` counts what was ever published."""

    number: int
    edition: tuple[int, int]
    cards: Mapping[str, Driver]
    hash: str
    at_s: float
    is_hidden: bool  # from the cloud itself: it does not know that its stations are ahead of it


def hash_of(cards: Iterable[Driver]) -> str:
    """docs/allowlist.md, "Content"."""
    counts, sums = [0] * 256, [0] * 256
    for driver in cards:
        token = driver.id_token.encode()
        entry = entry_of(driver)
        groups, flags = sorted(entry.groups, key=str.encode), entry.pending + 2 * entry.removed
        said = [entry.status.value, groups, entry.group_id, entry.language, flags]
        expiry = round((entry.expiry_s or 0.0) * 1000).to_bytes(8, "big")
        digest = sha256(token + b"\0" + expiry + cbor2.dumps(said)).digest()
        bucket = sha256(token).digest()[0]
        counts[bucket] += 1
        sums[bucket] += int.from_bytes(digest[:16], "big")
    pairs = zip(counts, sums, strict=True)
    return sha256(b"".join(n.to_bytes(4, "big") + (s % 2**128).to_bytes(16, "big") for n, s in pairs)).hexdigest()


class Referee:
    """What was true when; and what a station may do then. It knows no list but those that the operator has made."""

    def __init__(self, tally: Counter[str]) -> None:
        self.tally = tally
        self.published: list[Published] = []
        self._times: list[float] = []  # of being published
        self._numbers: dict[tuple[tuple[int, int], str], int] = {}
        self._last = (0, 0)  # the newest edition that the station ever had in force
        self._owed: deque[Published] = deque()  # not in force yet
        self._in_force = -1  # number
        self._summed: Lists | None = None  # whose content was added up
        self._answers: dict[str, Answer] = {}  # by card, the last one that the station has heard ..
        self._stored: dict[str, Answer] = {}  # .. and has on its disk
        self._gone: dict[str, int] = {}  # card: the number of the list that took it off last
        self._spells: list[tuple[float, float]] = []  # (since when, connected how long before that)
        self._is_up, self._up_s = False, 0.0
        self.longest_s = 0.0  # connected, until a change was in force

    # what happens

    def publish(self, edition: tuple[int, int], cards: Mapping[str, Driver], at_s: float, is_hidden: bool) -> None:
        made = Published(len(self.published), edition, dict(cards), hash_of(cards.values()), at_s, is_hidden)
        for card in (self.published[-1].cards.keys() if self.published else set()) - cards.keys():
            self._gone[card] = made.number
        self.published.append(made)
        self._times.append(at_s)
        self._numbers[edition, made.hash] = made.number
        self._owed.append(made)

    def answered(self, card: str, status: str, at_s: float) -> Callable[[], None]:
        """What the cloud has said of a card, asked online, and when it said so. To be called when it is on the disk."""
        answer = self._answers[card] = Answer(at_s, self.newest(at_s) + 1, status)
        return partial(self._stored.__setitem__, card, answer)

    def restarted(self) -> None:
        """The station knows no more than its disk."""
        self._answers = dict(self._stored)

    def linked(self, is_up: bool, at_s: float) -> None:
        if is_up != self._is_up:
            self._up_s = self.connected_s(at_s)
            self._spells.append((at_s, self._up_s))
            self._is_up = is_up

    def connected_s(self, until_s: float) -> float:
        """How long the station was connected before this time."""
        if not (at := bisect_right(self._spells, (until_s, inf))):
            return 0.0
        since_s, before_s = self._spells[at - 1]
        return before_s + (until_s - since_s if at % 2 else 0.0)

    def newest(self, at_s: float) -> int:
        return bisect_right(self._times, at_s) - 1

    # what is checked

    def list_in_force(self, station: Judged, at_s: float) -> Published | None:
        """S4: one published list in whole, by what is on the disk and by what is in memory; and never back."""
        fact, lists = station.facts.get(FACT), station.lists
        demand(not lists.problem, "S4", lists.problem)
        if fact is None:
            demand(lists.state.version == 0 and not lists.content.count, "S4", "a list that is not on the disk")
            return None
        edition = fact["generation"], fact["version"]
        number = self._numbers.get((edition, fact["hash"]))
        demand(number is not None, "S4", edition, "with hash", fact["hash"], "was never published")
        demand(edition >= self._last, "S4", "from", self._last, "back to", edition)
        made = self.published[number or 0]
        state = lists.state
        held = state.version, state.entries
        demand(held == (edition[1], len(made.cards)), "S4", held, "in memory,", edition, "on the disk")
        if self._summed is not lists or edition != self._last:
            demand(lists.content.hash == made.hash, "S4", edition, "in memory has another hash")
        self._last, self._in_force, self._summed = edition, made.number, lists
        self.tally["lists checked"] += 1
        while self._owed and self._owed[0].number <= made.number:
            change = self._owed.popleft()
            if change.number and not change.is_hidden:
                self.longest_s = max(self.longest_s, self.connected_s(at_s) - self.connected_s(change.at_s))
        return made

    def in_time(self, at_s: float) -> None:
        """S5: within a day of being made, if the station could be reached in that day."""
        if self._owed and at_s > (made_s := self._owed[0].at_s) + IN_FORCE_S:
            reached_s = self.connected_s(made_s + IN_FORCE_S) - self.connected_s(made_s)
            said = "a list is not in force after h", (at_s - made_s) / HOUR_S, "of the first day h connected:"
            enough_s = ASK_EVERY_S + REACHED_S if self._owed[0].is_hidden else REACHED_S
            demand(reached_s < enough_s, "S5", *said, reached_s / HOUR_S)
            self.tally["changes, a day out of reach"] += 1
            self._owed.popleft()

    def age(self, made: Published | None, station: Judged, at_s: float) -> None:
        """S5: never fresher than it is, warned at 20 h, alarmed at 24 h."""
        if made is None:
            return
        now, synced_s = station.mono(at_s), station.lists.state.synced_s
        demand(synced_s is not None, "S5", "the cloud has said how old the list is")
        assert synced_s is not None
        true_s, since_s = T0_S + at_s, synced_s - T0_S
        first, last = self.newest(since_s - 0.002), self.newest(since_s + TOLERANCE_S)  # a slow crystal
        lists = self.published[first : last + 1]
        is_newest = any((each.edition, each.hash) == (made.edition, made.hash) for each in lists)
        demand(is_newest, "S5", made.edition, "is called current at s", since_s, "when there was", lists[-1].edition)
        old_s = age_s(station.lists.state, station.clock, now)
        believed_s = wall(station.clock, now)
        fresh = freshness(old_s, station.settings.list_grace_days)
        if believed_s is None:
            demand(fresh is Freshness.FRESH, "S5", "nobody knows how old the list is")
            return
        assert old_s is not None
        honest = is_honest(believed_s, true_s)
        demand(honest or not station.is_told, "S5", "the cloud's time has given way to another")
        if honest:
            demand(abs(old_s - (true_s - synced_s)) <= TOLERANCE_S, "S5", "in seconds it says", old_s)
            old_s = true_s - synced_s
            missing = self.published[made.number + 1 : made.number + 2]
            late_s = at_s - missing[0].at_s if missing else 0.0
            demand(late_s < ALARM_S + TOLERANCE_S or fresh >= Freshness.OLD, "S5", "changes are missing, and no alarm")
        demand(old_s < WARN_S + TOLERANCE_S or fresh >= Freshness.LATE, "S5", "no warning at s", old_s)
        demand(old_s < ALARM_S + TOLERANCE_S or fresh >= Freshness.OLD, "S5", "no alarm at s", old_s)
        demand(old_s > WARN_S - TOLERANCE_S or fresh is Freshness.FRESH, "S5", "a warning at s", old_s)
        self.tally["ages checked"] += 1

    def entry(self, made: Published | None, card: str, listed: Entry | None) -> None:
        """S4: each card as the published list has it."""
        driver = made.cards.get(card) if made else None
        expected = driver and entry_of(driver)
        demand(listed == expected, "S4", card, "is", listed, "and", made and made.edition, "says", expected)

    def decision(
        self, made: Published | None, card: str, decision: Decision, station: Judged, at_s: float, *, can_ask: bool
    ) -> None:
        """What the list that is in force, its age and the cloud's own answers make of a card."""
        self.tally["decisions checked"] += 1
        reason = decision.reason if isinstance(decision, Refuse) else None
        driver = made.cards.get(card) if made else None
        if driver is None:
            if isinstance(decision, Accept):
                self._cached(card, decision, station, at_s)
            return
        if (refusal := STATES[driver.state][2] if driver.state in STATES else REFUSALS.get(driver.status)) is not None:
            demand(reason == refusal, "S5", card, "is", driver.state, driver.status, "and the answer is", decision)
            return
        now, synced_s = station.mono(at_s), station.lists.state.synced_s
        believed_s = wall(station.clock, now)
        honest = is_honest(believed_s, T0_S + at_s)
        time_s = T0_S + at_s if honest else earliest(station.clock, now)
        old_s = 0.0 if believed_s is None else time_s - (synced_s or 0.0)  # without a time nobody's list is old
        left_s = driver.expiry_ms / 1000 - time_s if driver.expiry_ms else inf
        grace_s = station.settings.list_grace_days * DAY_S - old_s if station.settings.list_grace_days else inf
        if min(abs(left_s), abs(grace_s)) <= TOLERANCE_S:
            return
        if left_s < 0.0:
            demand(reason is Reason.CARD_EXPIRED, "S5", card, "has expired, and the answer is", decision)
        elif grace_s < 0.0:
            asks = isinstance(decision, Ask) if can_ask else reason is Reason.LIST_TOO_OLD
            demand(asks, "S5", "a list of days", old_s / DAY_S, "decides about", card, decision)
            self.tally["members refused, list lapsed" if honest else "members refused by a wrong clock"] += 1
        else:
            is_in = isinstance(decision, Accept) and decision.source is Source.LIST
            demand(is_in, "S5", card, "is a member, and the answer is", decision)
            self.tally["members let in, list over a day old" if old_s > DAY_S else "members let in"] += 1

    def _cached(self, card: str, decision: Accept, station: Judged, at_s: float) -> None:
        is_said = decision.source is Source.CACHE and card in self._answers
        demand(is_said, "S5", card, "is let in, says nobody:", decision)
        answer = self._answers[card]
        demand(answer.status == "Accepted", "S5", "the cloud has called", card, answer.status)
        gone = self._gone.get(card, -1)
        is_gone = answer.number <= gone <= self._in_force
        demand(not is_gone, "S5", card, "was removed, in force, and the cache lets it in")
        honest = is_honest(wall(station.clock, station.mono(at_s)), T0_S + at_s)
        demand(not honest or at_s - answer.at_s <= CACHE_S + TOLERANCE_S, "S5", card, "has been cached for a day")
        self.tally["let in by the cache"] += 1


@lru_cache(maxsize=1024)
def entry_of(driver: Driver) -> Entry:
    language = driver.language or None
    if driver.state in STATES:
        status, flags, _ = STATES[driver.state]
        return Entry(Said(status), pending=flags == 1, removed=flags == 2, language=language)
    expiry_s = driver.expiry_ms / 1000 if driver.expiry_ms else None
    group_id = driver.groups[0] if driver.groups else None
    return Entry(Said(driver.status), expiry_s, frozenset(driver.groups), group_id, language=language)


def is_honest(believed_s: float | None, true_s: float) -> bool:
    return believed_s is not None and abs(believed_s - true_s) <= TOLERANCE_S


def demand(holds: bool, promise: str, *said: object) -> None:
    if not holds:
        raise Violation(f"{promise}: {' '.join(map(str, said))}")
