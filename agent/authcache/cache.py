"""OCPP's authorization cache: what the cloud last answered about cards that are not on the list.

Only a real answer changes it. Age is judged when an entry is read and never written back, so a wrong clock costs nobody
an entry. When full, what is not Accepted goes first, then what was not used for longest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import ValidationError, convert

from agent.effects import Save
from agent.events import AuthorizationStatus, Entry

ENTRIES_MAX = 1_000
LIFETIME_S = 24 * 3600.0  # since the last answer (AuthCacheCtrlr.LifeTime), so a removal is felt within a day
PREFIX = "cache/"


@dataclass(frozen=True, slots=True)
class Fact:
    """As it stands on the disk, under `cache/` and the id's keyed hash in hex."""

    status: AuthorizationStatus
    expiry_s: float | None
    groups: list[str]
    group_id: str | None
    answered_s: float | None  # wall, None: nobody knew


@dataclass(frozen=True, slots=True)
class Cached:
    """`since`: monotonic, when answered or, from before this start, when loaded. `answered_s`: only of the latter."""

    entry: Entry
    since: float
    answered_s: float | None = None


class Cache:
    """Keys are the ids' keyed hashes; saves are due in the caller's next commit."""

    def __init__(self, facts: Mapping[str, Any], now: float) -> None:
        self._entries: dict[bytes, Cached] = {}  # least recently used first
        self._owed: list[Save] = []  # what cannot be read again is forgotten with the next change
        loaded: list[tuple[float, bytes, Cached]] = []
        for name in (name for name in facts if name.startswith(PREFIX)):
            try:
                key, fact = bytes.fromhex(name.removeprefix(PREFIX)), convert(facts[name], Fact)
            except (ValueError, ValidationError):
                self._owed.append(Save(name, None))
                continue
            if fact.answered_s is None and fact.status is AuthorizationStatus.ACCEPTED:
                self._owed.append(Save(name, None))  # its age could never be told
                continue
            entry = Entry(fact.status, fact.expiry_s, frozenset(fact.groups), fact.group_id)
            loaded.append((fact.answered_s or 0.0, key, Cached(entry, now, fact.answered_s)))
        for _, key, cached in sorted(loaded, key=lambda item: item[0]):
            self._owed += self._put(key, cached)

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(self, key: bytes, now: float, wall_s: float | None) -> Entry | None:
        """The last answer about this card, unless it is surely over a day old. `wall_s`: None if nobody knows."""
        cached = self._entries.pop(key, None)
        if cached is None:
            return None
        self._entries[key] = cached
        return None if _is_stale(cached, now, wall_s) else cached.entry

    def remember(self, key: bytes, entry: Entry, now: float, wall_s: float | None) -> list[Save]:
        """The cloud itself has answered."""
        evicted = self._put(key, Cached(entry, now))
        fact = {
            "status": entry.status.value,
            "expiry_s": entry.expiry_s,
            "groups": sorted(entry.groups),
            "group_id": entry.group_id,
            "answered_s": wall_s,
        }
        return [*self._paid(), Save(_name(key), fact), *evicted]

    def list_changed(self, contains: Callable[[bytes], bool]) -> list[Save]:
        """The list is final about what it contains: nothing of that stays here."""
        return self._forget([key for key in self._entries if contains(key)])

    def clear(self) -> list[Save]:
        return self._forget(list(self._entries))

    def _forget(self, keys: list[bytes]) -> list[Save]:
        for key in keys:
            del self._entries[key]
        return [*self._paid(), *(Save(_name(key), None) for key in keys)]

    def _put(self, key: bytes, cached: Cached) -> list[Save]:
        self._entries.pop(key, None)
        evicted = [self._least_wanted()] if len(self._entries) >= ENTRIES_MAX else []
        for other in evicted:
            del self._entries[other]
        self._entries[key] = cached
        return [Save(_name(other), None) for other in evicted]

    def _least_wanted(self) -> bytes:
        accepted = AuthorizationStatus.ACCEPTED
        refused = (key for key, cached in self._entries.items() if cached.entry.status is not accepted)
        return next(refused, next(iter(self._entries)))

    def _paid(self) -> list[Save]:
        owed, self._owed = self._owed, []
        return owed


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _is_stale(cached: Cached, now: float, wall_s: float | None) -> bool:
    """Monotonic time within this run; across a restart the wall clock too, where both its ends are known."""
    carried = cached.answered_s is not None and wall_s is not None and wall_s - cached.answered_s > LIFETIME_S
    return carried or now - cached.since > LIFETIME_S
