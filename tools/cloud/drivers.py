"""Who may charge: the drivers, how they come and go, and the list that goes to the stations."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from tools.cloud.content import bucket_of, content_of, count_of, different, hash_of
from tools.cloud.database import Database
from tools.cloud.errors import OperatorError
from tools.cloud.referee import schema_fault
from tools.cloud.wire import VENDOR, Json, format_time

LIST_MAX = 1_000_000                    # a station takes no more; all states together
GROUPS_MAX = 32                         # of one driver; a station takes no more
PENDING_MAX = 10_000                    # who waits shall not crowd out who may charge
REMOVED_MAX = 10_000                    # who was removed longest ago is forgotten first, ..
REMOVED_KEPT_MS = 90 * 24 * 3600 * 1000  # .. or after so long: then the card is as unknown as any other
EDITIONS_KEPT = 10_000                  # a station whose list is older than so many versions gets the whole one
PART_MAX = 1_000                        # drivers in one message: on bad radio a small one comes through
PART_B = 80_000                         # of them: a message takes 100,000, envelope and all
CARD_B, RUN_ID_B = 32, 18               # of one in a run: id and expiry; a longer id stands in none
Version = tuple[int, int]               # (generation, version)


def canonical_token(text: str) -> str | None:
    """A card number as upper-case hex without separators; None if it is none (2 to 20 bytes)."""
    digits = re.sub(r"[\s:-]", "", text).upper()
    return digits if re.fullmatch(r"([0-9A-F]{2}){2,20}", digits) else None


class State(StrEnum):
    APPROVED = "approved"               # may charge, as far as status and expiry go
    PENDING = "pending"                 # asked for, not approved yet
    REMOVED = "removed"                 # was approved once


REFUSED = {State.PENDING: "Unknown", State.REMOVED: "Invalid"}  # for whoever reads OCPP only


@dataclass(frozen=True, slots=True)
class Driver:
    """One line of the list of drivers. `expiry_ms` since 1970, None = never. `since_ms`: when its state was made what
    it is; whoever stores it knows."""

    id_token: str
    groups: tuple[str, ...] = ()
    status: str = "Accepted"
    expiry_ms: int | None = None
    language: str = ""
    name: str = ""
    state: State = State.APPROVED
    since_ms: int = field(default=0, compare=False)

    @property
    def may_charge(self) -> bool:
        return self.state is State.APPROVED and self.status == "Accepted"


@dataclass(frozen=True, slots=True)
class Change:
    """Of one driver; None: there is none."""

    before: Driver | None
    after: Driver | None

    @property
    def kind(self) -> str:
        """added | changed | removed | forgotten. Who is forgotten is as unknown as anybody."""
        if self.after is None:
            return "forgotten"
        if self.before and self.before.state is self.after.state:
            return "changed"
        return {State.APPROVED: "added", State.PENDING: "requested", State.REMOVED: "removed"}[self.after.state]

    @property
    def is_listed(self) -> bool:
        """Whether the list says something else now."""
        return not (self.before and self.after) or list_entry(self.before) != list_entry(self.after)


def id_token_info(driver: Driver | None, now_ms: int | None = None) -> Json:
    """OCPP's IdTokenInfoType; a passed expiry shows as Expired only where `now_ms` is given."""
    if driver is None:
        return {"status": "Unknown"}
    language = {"language1": driver.language} if driver.language else {}
    if driver.state is not State.APPROVED:
        return {"status": REFUSED[driver.state]} | language
    expired = now_ms is not None and driver.expiry_ms is not None and driver.expiry_ms < now_ms
    info: Json = {"status": "Expired" if expired and driver.may_charge else driver.status}
    if driver.expiry_ms is not None:
        info["cacheExpiryDateTime"] = format_time(driver.expiry_ms)
    if driver.groups:
        info["groupIdToken"] = {"idToken": driver.groups[0], "type": "Central"}
    return info | language


def list_entry(driver: Driver) -> Json:
    """OCPP's AuthorizationData, and in customData what OCPP lacks: several groups, and why somebody may not charge."""
    custom: Json = {}
    if driver.state is not State.APPROVED:
        custom = {driver.state.value: True}
    elif len(driver.groups) > 1:
        custom = {"groups": list(driver.groups)}
    entry = {"idToken": {"idToken": driver.id_token, "type": "ISO14443"}, "idTokenInfo": id_token_info(driver)}
    return entry | ({"customData": {"vendorId": VENDOR} | custom} if custom else {})


class Drivers:
    """The drivers and the version of the list made of them; every change is one transaction and one version."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._content: tuple[Version | None, bytes] | None = None

    # -- asking -------------------------------------------------------------------------------------------------------

    def find(self, id_token: str) -> Driver | None:
        return next(self._select("WHERE id_token = ?", canonical_token(id_token) or id_token), None)

    def all(self, state: State | None = None, group: str | None = None) -> list[Driver]:
        """In the order of their cards; those of a state in the order in which they came to be so."""
        in_group = "EXISTS (SELECT 1 FROM json_each(group_ids) WHERE value = ?2)"
        where = f"WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR {in_group})"
        return list(self._select(f"{where} ORDER BY {'since_ms, ' if state else ''}id_token", state, group))

    def _these(self, id_tokens: Iterable[str]) -> dict[str, Driver]:
        """Those of them that are there; one question, however many."""
        found = self._select("WHERE id_token IN (SELECT value FROM json_each(?))", json.dumps(list(id_tokens)))
        return {driver.id_token: driver for driver in found}

    def _select(self, where: str, *values: object) -> Iterator[Driver]:
        return map(read_row, self.db.execute(f"SELECT {COLUMNS} FROM driver {where}", values))

    def counts(self) -> dict[State, int]:
        counted = dict(self.db.execute("SELECT state, count(*) FROM driver GROUP BY state"))
        return {state: counted.get(state, 0) for state in State}

    def groups(self) -> dict[str, int]:
        """How many drivers of whatever state are in each."""
        return dict(
            self.db.execute("SELECT value, count(*) FROM driver, json_each(group_ids) GROUP BY value ORDER BY value")
        )

    def version(self) -> Version | None:
        """(generation, version) of the list; None before the first change, when nobody shall be sent anything."""
        found: Version | None = self.db.execute("SELECT generation, version FROM list").fetchone()
        return found

    def made_ms(self, since: Version | None) -> int | None:
        """When the first change was made that a station with this list lacks; None: it lacks none. The newest
        EDITIONS_KEPT versions are known."""
        version = self.version()
        first = since[1] if since and version and since[0] == version[0] else 0
        found: tuple[int | None] = self.db.execute(
            "SELECT min(made_ms) FROM edition WHERE version > ?", (first,)
        ).fetchone()
        return found[0]

    def tariff(self, id_token: str) -> Json | None:
        """What this driver pays where a station asks us about him (OCPP 2.1 I08); None: what everybody pays there."""
        token = canonical_token(id_token) or id_token
        row = self.db.execute("SELECT tariff FROM driver_tariff WHERE id_token = ?", (token,)).fetchone()
        found: Json | None = json.loads(row[0]) if row else None
        return found

    # -- changing -----------------------------------------------------------------------------------------------------

    def put(self, drivers: Iterable[Driver], now_ms: int, *, whole: bool = False) -> list[Change]:
        """Adds or replaces these drivers; with `whole` they are all that there are. Returns what was changed. Raises
        OperatorError, with nothing changed, if the list would not fit."""
        with self.db.transaction():
            return self._apply(self.changes(drivers, whole=whole), now_ms)

    def changes(self, drivers: Iterable[Driver], *, whole: bool = False) -> list[Change]:
        """What `put` would do. With `whole`, who is not among them is removed, or forgotten if only asked for."""
        named = {driver.id_token: driver for driver in drivers}
        here = self._these(named)
        changes = [Change(here.get(token), after) for token, after in named.items() if here.get(token) != after]
        rest = self._select("WHERE state <> 'removed' ORDER BY id_token") if whole else ()
        return changes + [removal(driver) for driver in rest if driver.id_token not in named]

    def request(self, driver: Driver, now_ms: int) -> None:
        """Somebody asks to be approved."""
        with self.db.transaction():
            here = self.find(driver.id_token)
            if here and here.state is not State.REMOVED:
                is_so = "is on the list" if here.state is State.APPROVED else "waits already: `devcloud pending`"
                raise OperatorError(f"{here.id_token} {is_so}")
            self._apply([Change(here, replace(driver, state=State.PENDING))], now_ms)

    def approve(self, id_tokens: Iterable[str], now_ms: int) -> list[Change]:
        """Who asked, and who was removed. Returns what was changed: who is approved stays so."""
        with self.db.transaction():
            drivers = self._known(id_tokens)
            news = [driver for driver in drivers if driver.state is not State.APPROVED]
            return self._apply([Change(driver, replace(driver, state=State.APPROVED)) for driver in news], now_ms)

    def remove(self, id_tokens: Iterable[str], now_ms: int) -> list[Change]:
        """Who only asked is forgotten: nothing was taken from them."""
        with self.db.transaction():
            drivers = self._known(id_tokens)
            for driver in drivers:
                if driver.state is State.REMOVED:
                    raise OperatorError(f"{driver.id_token} is removed since {format_time(driver.since_ms)}")
            return self._apply([removal(driver) for driver in drivers], now_ms)

    def group(self, name: str, id_tokens: Iterable[str], now_ms: int, *, add: bool) -> list[Change]:
        """Puts drivers into a group, behind those that they are in, or takes them out of it."""
        with self.db.transaction():
            changes = []
            for driver in self._known(id_tokens):
                others = tuple(group for group in driver.groups if group != name)
                groups = (driver.groups if name in driver.groups else (*others, name)) if add else others
                if len(groups) > GROUPS_MAX:
                    raise OperatorError(f"{driver.id_token} is in {GROUPS_MAX} groups; `devcloud group remove` first")
                changes.append(Change(driver, replace(driver, groups=groups)))
            return self._apply([change for change in changes if change.before != change.after], now_ms)

    def price(self, id_token: str, tariff: Json | None) -> str:
        """Gives a driver his tariff, or takes it away. Returns his card."""
        if tariff and (fault := schema_fault("SetDefaultTariffRequest", {"evseId": 0, "tariff": tariff})):
            raise OperatorError(f"this is no tariff: {fault}")
        if tariff and "validFrom" in tariff:
            raise OperatorError("a driver's tariff holds at once: leave validFrom out (I08.FR.09)")
        with self.db.transaction():
            (driver,) = self._known([id_token])
            self.db.execute("DELETE FROM driver_tariff WHERE id_token = ?", (driver.id_token,))
            if tariff:
                self.db.execute("INSERT INTO driver_tariff VALUES (?, ?)", (driver.id_token, json.dumps(tariff)))
        return driver.id_token

    def _known(self, id_tokens: Iterable[str]) -> list[Driver]:
        """Each once. Raises OperatorError naming who is not there."""
        tokens = dict.fromkeys(canonical_token(text) or text for text in id_tokens)
        found = self._these(tokens)
        if absent := [token for token in tokens if token not in found]:
            more = f", nor are {len(absent) - 1} more" if len(absent) > 1 else ""
            remedy = f"`devcloud allow --add {absent[0]}` would put it there"
            raise OperatorError(f"{absent[0] or repr('')} is not on the list{more}; {remedy}. Nothing was changed")
        return [found[token] for token in tokens]

    def _apply(self, changes: list[Change], now_ms: int) -> list[Change]:
        """Within a transaction."""
        self._write(changes, now_ms)
        forgotten = [Change(driver, None) for driver in self._overdue(now_ms)] if changes else []
        self._write(forgotten, now_ms)
        counts = self.counts()
        if (count := sum(counts.values())) > LIST_MAX:
            raise OperatorError(f"the list would have {count} drivers, a station takes {LIST_MAX}: remove some first")
        if counts[State.PENDING] > PENDING_MAX:
            raise OperatorError(f"{PENDING_MAX} requests wait: approve or remove some first, `devcloud pending`")
        if listed := [token_of(change) for change in (*changes, *forgotten) if change.is_listed]:
            self._next(listed, now_ms)
        return changes

    def _write(self, changes: Iterable[Change], now_ms: int) -> None:
        rows, gone = [], []
        for before, after in ((change.before, change.after) for change in changes):
            if after is None:
                assert before
                gone.append((before.id_token,))
                continue
            since_ms = before.since_ms if before and before.state is after.state else now_ms
            said = after.status, after.expiry_ms, after.language, after.name, after.state, since_ms
            rows.append((after.id_token, json.dumps(after.groups), *said))
        self.db.executemany(f"INSERT OR REPLACE INTO driver ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.db.executemany("DELETE FROM driver WHERE id_token = ?", gone)
        self.db.executemany("DELETE FROM driver_tariff WHERE id_token = ?", gone)

    def _overdue(self, now_ms: int) -> list[Driver]:
        """Who was removed so long ago, or so many removals ago, that nobody need be told any more."""
        newest = "SELECT id_token FROM driver WHERE state = 'removed' ORDER BY since_ms DESC, id_token LIMIT ?2"
        where = f"WHERE state = 'removed' AND (since_ms < ?1 OR id_token NOT IN ({newest}))"
        return list(self._select(where, now_ms - REMOVED_KEPT_MS, REMOVED_MAX))

    def _next(self, id_tokens: Iterable[str], now_ms: int) -> None:
        """A version that no list has had: these say something else in it."""
        if self.version() is None:
            self.db.execute("INSERT INTO list VALUES (?, 0)", (now_ms // 1000,))
        (version,) = self.db.execute("UPDATE list SET version = version + 1 RETURNING version").fetchone()
        self.db.execute("INSERT INTO edition VALUES (?, ?)", (version, now_ms))
        rows = [(id_token, version) for id_token in id_tokens]
        self.db.executemany("INSERT OR REPLACE INTO driver_change VALUES (?, ?)", rows)
        many = "SELECT version FROM driver_change ORDER BY version DESC LIMIT 1 OFFSET ?"
        (oldest,) = self.db.execute(many, (LIST_MAX,)).fetchone() or (0,)
        last = min(version - 1, max(oldest, version - EDITIONS_KEPT))
        for table in ("edition", "driver_change"):
            self.db.execute(f"DELETE FROM {table} WHERE version <= ?", (last,))

    # -- the list -----------------------------------------------------------------------------------------------------

    def content(self) -> bytes:
        """What the list says (docs/allowlist.md), computed once for each version."""
        version = self.version()
        if self._content is None or self._content[0] != version:
            self._content = version, content_of(map(list_entry, self._select("")))
        return self._content[1]

    def full(self, now_ms: int) -> list[Json]:
        """The whole list, in as many SendLocalListRequests as it takes; those alike stand together, and are short."""
        alike = "state, status, group_ids, language, expiry_ms IS NULL, length(id_token), id_token"
        entries = [list_entry(driver) for driver in self._select(f"ORDER BY {alike}")]
        return self._requests("Full", entries, {}, now_ms)

    def differential(self, since: Version, now_ms: int) -> list[Json] | None:
        """What leads from that version to ours, who may not charge any more first: who is gone has no idTokenInfo.
        None if there is no such way, or nothing to change."""
        version = self.version()
        if version is None or since[0] != version[0] or not since[1] < version[1]:
            return None
        (oldest,) = self.db.execute("SELECT min(version) FROM edition").fetchone()
        if oldest is None or since[1] < oldest - 1:
            return None
        changed = "SELECT id_token FROM driver_change WHERE version > ?"
        here = list(self._select(f"WHERE id_token IN ({changed}) ORDER BY id_token", since[1]))
        absent = f"{changed} AND id_token NOT IN (SELECT id_token FROM driver) ORDER BY id_token"
        gone = [{"idToken": {"idToken": row[0], "type": "ISO14443"}} for row in self.db.execute(absent, (since[1],))]
        here.sort(key=lambda driver: driver.may_charge)
        return self._requests("Differential", [*gone, *map(list_entry, here)], {"base": since[1]}, now_ms)

    def confirmation(self, now_ms: int) -> Json:
        """To a station that has our list: it is still the newest one."""
        version = self.version()
        assert version is not None
        (request,) = self._requests("Differential", [], {"base": version[1]}, now_ms)
        return request

    def mend(self, theirs: bytes, now_ms: int, at: Version | None = None) -> list[Json] | None:
        """For a station whose list of the version `at`, or of ours, says `theirs`: the buckets in which it differs; if
        it is ours, under a version that no list has had. None: it says what ours says, and has its version."""
        ours = self.version()
        assert ours is not None
        buckets = different(self.content(), theirs)
        if at in (None, ours):
            if not buckets:
                return None
            self._next((), now_ms)
        elif not buckets:                                       # approved and removed again since: it may be cached
            return self.differential(at or ours, now_ms)
        entries = [list_entry(driver) for driver in self._select("") if bucket_of(driver.id_token) in buckets]
        return self._requests("Differential", entries, {"base": (at or ours)[1], "buckets": buckets}, now_ms)

    def new_generation(self, now_ms: int, after: int = 0) -> Version:
        """All lists that were ever sent are older from here on: this database is a restored one, or another owner's."""
        with self.db.transaction():
            self.db.execute("UPDATE list SET generation = max(generation, ?, ?) + 1", (after, now_ms // 1000))
        version = self.version()
        if version is None:
            raise OperatorError("there is no list yet; `devcloud allow` makes one")
        return version

    def _requests(self, kind: str, entries: list[Json], custom: Json, now_ms: int) -> list[Json]:
        version, content = self.version(), self.content()
        assert version is not None
        parts = list(parts_of(entries)) or [[]]
        whole = {
            "vendorId": VENDOR, "generation": version[0], "count": count_of(content), "hash": hash_of(content),
            "asOf": format_time(now_ms), **custom,
        }  # fmt: skip
        return [
            {
                "versionNumber": version[1],
                "updateType": kind,
                **({"localAuthorizationList": part} if part else {}),
                "customData": whole | ({"part": n, "parts": len(parts)} if len(parts) > 1 else {}),
            }
            for n, part in enumerate(parts, 1)
        ]


def parts_of(entries: Iterable[Json]) -> Iterator[list[Json]]:
    """As many as one message takes, by count and by bytes: at most what they have as JSON, and of those that stand in a
    run with the one before (docs/uplink.md, Cards) an id and an expiry."""
    part: list[Json] = []
    room_b, before = 0, None
    for entry in entries:
        kin = kinship(entry)
        alone_b = len(json.dumps(entry, ensure_ascii=False).encode()) if kin is None or kin != before else CARD_B
        if not part or len(part) == PART_MAX or alone_b > room_b:
            if part:
                yield part
            part, room_b = [], PART_B
            alone_b = len(json.dumps(entry, ensure_ascii=False).encode())
        part.append(entry)
        room_b, before = room_b - alone_b, kin
    if part:
        yield part


def kinship(entry: Json) -> tuple[int, bool, Json | None] | None:
    """What is alike in a run of cards; None: it travels by itself."""
    size, info = len(entry["idToken"]["idToken"]), entry.get("idTokenInfo")
    if size > 2 * RUN_ID_B:
        return None
    is_dated = info is not None and "cacheExpiryDateTime" in info
    return size, is_dated, info and {name: value for name, value in info.items() if name != "cacheExpiryDateTime"}


COLUMNS = "id_token, group_ids, status, expiry_ms, language, name, state, since_ms"


def read_row(row: tuple[Any, ...]) -> Driver:
    token, groups, status, expiry_ms, language, name, state, since_ms = row
    return Driver(token, read_groups(groups), status, expiry_ms, language, name, State(state), since_ms)


@lru_cache(maxsize=1024)
def read_groups(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def removal(driver: Driver) -> Change:
    return Change(driver, None if driver.state is State.PENDING else replace(driver, state=State.REMOVED))


def token_of(change: Change) -> str:
    driver = change.after or change.before
    assert driver
    return driver.id_token
