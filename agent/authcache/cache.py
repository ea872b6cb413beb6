"""OCPP's authorization cache: what the cloud last answered about cards that are not on the list.

Only a real answer changes it. Age counts from the question, not from the last use: whoever taps each day does not
outlive a removal. It is judged when an entry is read and never written back, so a wrong clock costs nobody an entry.
When the cache is full, what is not Accepted goes first, then what was not used for longest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import ValidationError, convert

from agent.effects import Save
from agent.events import AuthorizationStatus, Entry
from agent.settings import Settings

ENTRIES_MAX = 1_000
LIFETIME_S = 24 * 3600.0  # at most: a card that no list names is removed by nothing else (S5)
AHEAD_S = 3600.0  # an entry that is younger than now by more was dated by a clock gone wild: nobody knows its age
PREFIX = "cache/"
ACCEPTED = AuthorizationStatus.ACCEPTED


@dataclass(frozen=True, slots=True)
class Fact:
    """As it stands on the disk, under `cache/` and the id's keyed hash in hex."""

    status: AuthorizationStatus
    expiry_s: float | None
    groups: list[str]
    group_id: str | None
    answered_s: float  # wall; not later than it was
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """`since`: monotonic, when asked or, from before this start, when loaded. `loaded_s`: only then, the wall time."""

    entry: Entry
    since: float
    loaded_s: float | None = None


def lifetime_s(settings: Settings) -> float:
    """How long an answer counts here; 0: there is no cache."""
    return settings.cache_lifetime_s if settings.cache_enabled else 0.0


class Cache:
    """Keys are the ids' keyed hashes; saves are due in the caller's next commit. `earliest_s`: the wall time, or while
    nobody knows it the latest that it surely is not before (agent/clock.py)."""

    def __init__(self, facts: Mapping[str, Any], now: float) -> None:
        self._entries: dict[bytes, Cached] = {}  # least recently used first
        self._sizes: dict[bytes, int] = {}
        self._owed: list[Save] = []  # what cannot be read again is forgotten with the next change
        self._cleared_at = float("-inf")
        loaded: list[tuple[float, bytes, Cached]] = []
        for name in (name for name in facts if name.startswith(PREFIX)):
            try:
                key, fact = bytes.fromhex(name.removeprefix(PREFIX)), convert(facts[name], Fact)
            except (ValueError, ValidationError):
                self._owed.append(Save(name, None))
                continue
            entry = Entry(fact.status, fact.expiry_s, frozenset(fact.groups), fact.group_id, language=fact.language)
            loaded.append((fact.answered_s, key, Cached(entry, now, fact.answered_s)))
        for _, key, cached in sorted(loaded, key=lambda item: item[:2]):
            self._owed += self._put(key, cached, facts[_name(key)])

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_b(self) -> int:
        """Bytes of the facts that stand for it on the disk."""
        return sum(self._sizes.values())

    def lookup(self, key: bytes, now: float, earliest_s: float, lifetime_s: float = LIFETIME_S) -> Entry | None:
        """The last answer about this card, unless it is surely older than `lifetime_s`."""
        cached = self._entries.pop(key, None)
        if cached is None:
            return None
        self._entries[key] = cached
        return None if _is_stale(cached, now, earliest_s, min(lifetime_s, LIFETIME_S)) else cached.entry

    def remember(
        self, key: bytes, entry: Entry, asked_at: float, asked_s: float, lifetime_s: float = LIFETIME_S
    ) -> list[Save]:
        """The cloud itself has answered a question of then. `asked_s`: by the wall clock, or earlier. Without a cache,
        an answer still ends what was known before."""
        there = self._entries.get(key)
        is_overtaken = there is not None and entry.status is ACCEPTED and asked_at < there.since
        if asked_at < self._cleared_at or is_overtaken:
            return []
        if lifetime_s <= 0.0:
            return self._forget([key] if there else [])
        fact = {
            "status": entry.status.value,
            "expiry_s": entry.expiry_s,
            "groups": sorted(entry.groups),
            "group_id": entry.group_id,
            "answered_s": asked_s,
            "language": entry.language,
        }
        evicted = self._put(key, Cached(entry, asked_at), fact)
        return [*self._paid(), Save(_name(key), fact), *evicted]

    def list_changed(self, contains: Callable[[bytes], bool]) -> list[Save]:
        """The list is final about what it contains: nothing of that stays here."""
        return self._forget([key for key in self._entries if contains(key)])

    def clear(self, now: float) -> list[Save]:
        """Nothing that was known or asked before counts any more."""
        self._cleared_at = now
        return self._forget(list(self._entries))

    def _forget(self, keys: list[bytes]) -> list[Save]:
        for key in keys:
            del self._entries[key], self._sizes[key]
        return [*self._paid(), *(Save(_name(key), None) for key in keys)]

    def _put(self, key: bytes, cached: Cached, fact: Any) -> list[Save]:
        self._entries.pop(key, None)
        self._entries[key] = cached
        self._sizes[key] = len(_name(key)) + len(msgspec.json.encode(fact))
        if len(self._entries) <= ENTRIES_MAX:
            return []
        other = self._least_wanted()
        del self._entries[other], self._sizes[other]
        return [Save(_name(other), None)]

    def _least_wanted(self) -> bytes:
        """It may be the newest one: a refused stranger takes nobody's place."""
        refused = (key for key, cached in self._entries.items() if cached.entry.status is not ACCEPTED)
        return next(refused, next(iter(self._entries)))

    def _paid(self) -> list[Save]:
        owed, self._owed = self._owed, []
        return owed


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _is_stale(cached: Cached, now: float, earliest_s: float, lifetime_s: float) -> bool:
    """Monotonic time within this run; across a restart the wall clock too."""
    age_s = 0.0 if cached.loaded_s is None else earliest_s - cached.loaded_s
    return age_s >= lifetime_s or age_s < -AHEAD_S or now - cached.since >= lifetime_s
