"""Who may charge: the drivers, the CSV file they come from, and the list that goes to the stations."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.cloud.content import bucket_of, content_of, count_of, different, hash_of
from tools.cloud.database import Database
from tools.cloud.errors import OperatorError
from tools.cloud.referee import id_token_statuses
from tools.cloud.wire import VENDOR, Json, Malformed, format_time, parse_time

LIST_MAX = 1_000_000
PART_MAX = 1_000                        # drivers in one message: on bad radio a small one comes through
Version = tuple[int, int]               # (generation, version)


def canonical_token(text: str) -> str | None:
    """A card number as upper-case hex without separators; None if it is none (2 to 20 bytes)."""
    digits = re.sub(r"[\s:-]", "", text).upper()
    return digits if re.fullmatch(r"([0-9A-F]{2}){2,20}", digits) else None


@dataclass(frozen=True, slots=True)
class Driver:
    """One line of the list of drivers. `expiry_ms` since 1970, None = never."""

    id_token: str
    groups: tuple[str, ...] = ()
    status: str = "Accepted"
    expiry_ms: int | None = None
    language: str = ""
    name: str = ""


def id_token_info(driver: Driver | None, now_ms: int | None = None) -> Json:
    """OCPP's IdTokenInfoType; a passed expiry shows as Expired only where `now_ms` is given."""
    if driver is None:
        return {"status": "Unknown"}
    expired = now_ms is not None and driver.expiry_ms is not None and driver.expiry_ms < now_ms
    info: Json = {"status": "Expired" if expired and driver.status == "Accepted" else driver.status}
    if driver.expiry_ms is not None:
        info["cacheExpiryDateTime"] = format_time(driver.expiry_ms)
    if driver.groups:
        info["groupIdToken"] = {"idToken": driver.groups[0], "type": "Central"}
    if driver.language:
        info["language1"] = driver.language
    return info


def list_entry(driver: Driver) -> Json:
    """OCPP's AuthorizationData; OCPP knows one group, the others go to customData."""
    entry: Json = {
        "idToken": {"idToken": driver.id_token, "type": "ISO14443"},
        "idTokenInfo": id_token_info(driver),
    }
    if len(driver.groups) > 1:
        entry["customData"] = {"vendorId": VENDOR, "groups": list(driver.groups)}
    return entry


class Drivers:
    """The drivers and the version of the list made of them; every change is one transaction and one version."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._content: tuple[Version | None, bytes] | None = None

    def find(self, id_token: str) -> Driver | None:
        return next(self._select("WHERE id_token = ?", canonical_token(id_token) or id_token), None)

    def all(self) -> list[Driver]:
        return list(self._select("ORDER BY id_token"))

    def _select(self, where: str, *values: object) -> Iterator[Driver]:
        columns = "id_token, group_ids, status, expiry_ms, language, name"
        for token, groups, *rest in self.db.execute(f"SELECT {columns} FROM driver {where}", values):
            yield Driver(token, tuple(json.loads(groups)), *rest)

    def version(self) -> Version | None:
        """(generation, version) of the list; None before the first change, when nobody shall be sent anything."""
        found: Version | None = self.db.execute("SELECT generation, version FROM list").fetchone()
        return found

    def put(self, drivers: Iterable[Driver], now_ms: int) -> None:
        """Adds or replaces these drivers. Raises OperatorError, with nothing changed, if the list would not fit."""
        rows = [(d.id_token, json.dumps(d.groups), d.status, d.expiry_ms, d.language, d.name) for d in drivers]
        with self.db.transaction():
            self.db.executemany("INSERT OR REPLACE INTO driver VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._changed([row[0] for row in rows], now_ms)

    def remove(self, id_token: str, now_ms: int) -> None:
        with self.db.transaction():
            token = canonical_token(id_token) or id_token
            if not self.db.execute("DELETE FROM driver WHERE id_token = ?", (token,)).rowcount:
                raise OperatorError(f"{token} is not on the list; `devcloud allow --add {token}` would put it there")
            self._changed([token], now_ms)

    def _changed(self, tokens: Iterable[str], now_ms: int) -> None:
        if self.version() is None:
            self.db.execute("INSERT INTO list VALUES (?, 0)", (now_ms // 1000,))
        self.db.execute("UPDATE list SET version = version + 1")
        changed = "INSERT OR REPLACE INTO driver_change SELECT ?, version FROM list"
        self.db.executemany(changed, [(token,) for token in tokens])
        (count,) = self.db.execute("SELECT count(*) FROM driver").fetchone()
        if count > LIST_MAX:
            raise OperatorError(f"the list would have {count} drivers, a station takes {LIST_MAX}: remove some first")

    def content(self) -> bytes:
        """What the list says (docs/allowlist.md), computed once for each version."""
        version = self.version()
        if self._content is None or self._content[0] != version:
            self._content = version, content_of(map(list_entry, self._select("")))
        return self._content[1]

    def full(self, now_ms: int) -> list[Json]:
        """The whole list, in as many SendLocalListRequests as it takes; those alike stand together, and are short."""
        drivers = self._select("ORDER BY status, group_ids, language, expiry_ms IS NULL, length(id_token), id_token")
        return self._requests("Full", [list_entry(driver) for driver in drivers], {}, now_ms)

    def differential(self, since: Version, now_ms: int) -> list[Json] | None:
        """What leads from that version to ours, who may not charge any more first: who is gone has no idTokenInfo.
        None if there is no such way, or nothing to change."""
        version = self.version()
        if version is None or since[0] != version[0] or not since[1] < version[1]:
            return None
        rows = self.db.execute("SELECT id_token FROM driver_change WHERE version > ? ORDER BY id_token", (since[1],))
        found = [(token, self.find(token)) for (token,) in rows]
        gone = [{"idToken": {"idToken": token, "type": "ISO14443"}} for token, driver in found if driver is None]
        here = sorted((driver for _, driver in found if driver), key=lambda driver: driver.status == "Accepted")
        return self._requests("Differential", [*gone, *map(list_entry, here)], {"base": since[1]}, now_ms)

    def confirmation(self, now_ms: int) -> Json:
        """To a station that has our list: it is still the newest one."""
        version = self.version()
        assert version is not None
        (request,) = self._requests("Differential", [], {"base": version[1]}, now_ms)
        return request

    def mend(self, theirs: bytes, now_ms: int, at: Version | None = None) -> list[Json] | None:
        """For a station whose list of the version `at`, or of ours, says `theirs`: the buckets in which it differs; if
        it is ours, under a version that no list has had. None: it says what ours says."""
        ours = self.version()
        assert ours is not None
        buckets = different(self.content(), theirs)
        if at in (None, ours):
            if not buckets:
                return None
            self.db.execute("UPDATE list SET version = version + 1")
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
        parts = [entries[at : at + PART_MAX] for at in range(0, len(entries), PART_MAX)] or [[]]
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


# -- the CSV file -----------------------------------------------------------------------------------------------------

CSV_COLUMNS = ("idToken", "groups", "status", "expiry", "language", "name")
WRONG_MAX = 20                          # lines named in one error


def read_drivers(text: str) -> list[Driver]:
    """The drivers of a CSV file. Raises OperatorError naming each bad line."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), skipinitialspace=True, strict=True)
    try:
        if "idToken" not in (rows.fieldnames or ()) or not set(rows.fieldnames or ()) <= set(CSV_COLUMNS):
            raise OperatorError(f"the first line must name columns: idToken, and any of {', '.join(CSV_COLUMNS[1:])}")
        return _read_rows(rows)
    except csv.Error as error:
        raise OperatorError(f"line {rows.reader.line_num}: {error}; nothing imported") from None


def _read_rows(rows: "csv.DictReader[str]") -> list[Driver]:
    drivers: dict[str, Driver] = {}
    bad: list[str] = []
    for row in rows:
        try:
            driver = read_driver({name: (value or "").strip() for name, value in row.items() if name in CSV_COLUMNS})
            if driver.id_token in drivers or None in row:
                raise OperatorError(f"{driver.id_token} stands twice" if None not in row else "too many columns")
            drivers[driver.id_token] = driver
        except OperatorError as error:
            bad.append(f"line {rows.line_num}: {error}")
    if bad:
        more = [f"and {len(bad) - WRONG_MAX} more"] if len(bad) > WRONG_MAX else []
        raise OperatorError("; ".join((*bad[:WRONG_MAX], *more, "nothing imported")))
    return list(drivers.values())


def read_driver(row: dict[str, str]) -> Driver:
    token = canonical_token(row["idToken"])
    if token is None:
        raise OperatorError(f"{row['idToken']!r} is no card number: write 2 to 20 bytes in hex, like 04A2B3C4D5E6F7")
    expiry_ms = parse_time(row["expiry"]) if row.get("expiry") else None
    if row.get("expiry") and expiry_ms is None:
        raise OperatorError(f"{row['expiry']!r} is no time: write 2027-01-31 or 2027-01-31T18:00:00Z")
    status = row.get("status") or "Accepted"
    if status not in id_token_statuses():
        raise OperatorError(f"status {status!r} is none of {', '.join(id_token_statuses())}")
    groups = tuple(dict.fromkeys(group.strip() for group in row.get("groups", "").split(";") if group.strip()))
    if len(row.get("language", "")) > 8 or any(len(group) > 255 for group in groups):
        raise OperatorError("a language has at most 8 characters (en, de-CH), a group at most 255")
    return Driver(token, groups, status, expiry_ms, row.get("language", ""), row.get("name", ""))


def write_drivers(drivers: Iterable[Driver]) -> str:
    """The CSV file that read_drivers reads back as the same drivers."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(CSV_COLUMNS)
    for d in drivers:
        rows.writerow((d.id_token, ";".join(d.groups), d.status, shown_expiry(d.expiry_ms), d.language, d.name))
    return out.getvalue()


def shown_expiry(expiry_ms: int | None) -> str:
    try:
        return "" if expiry_ms is None else format_time(expiry_ms)
    except Malformed:                   # a year that a CSV file cannot have brought
        return str(expiry_ms)
