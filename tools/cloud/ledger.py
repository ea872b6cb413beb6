"""Everything the stations have sent, once each, and what it amounts to; every fault of the wire is counted."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

from tools.cloud.commands import Commands
from tools.cloud.database import open_database
from tools.cloud.drivers import Drivers
from tools.cloud.lists import Lists
from tools.cloud.referee import record_fault
from tools.cloud.sessions import (
    NO_SHOW_VIOLATIONS,
    SESSION_VIOLATIONS,
    Event,
    NoShow,
    Session,
    money,
    no_show_of,
    read_event,
    session_of,
)
from tools.cloud.wire import (
    INT64,
    KEYS,
    MISSING_MAX,
    MONEY,
    STREAMS,
    Batch,
    Entry,
    Hello,
    Json,
    Keys,
    Live,
    Malformed,
    Mark,
    Record,
    Refused,
    Will,
    read_batch,
    read_record,
    tombstone_last,
    write_ack,
)

HARMLESS = ("doubles", "resent", "gaps_seen", "refused")
VIOLATIONS = (
    *("conflicts", "gaps_open", "undecodable", "unreadable", "schema_errors", "unknown_actions"),
    *("money_declared_lost", "event_under_two_keys", "certificate_requests_refused"),
    "operator_key_missing",
    *SESSION_VIOLATIONS,
    *NO_SHOW_VIOLATIONS,
)

Key = tuple[str, bytes, int]            # station, epoch, stream


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: the entries that are news, and those that are refused with why."""

    fresh: tuple[Entry, ...]
    refused: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class StationReport:
    sessions: tuple[Session, ...]
    no_shows: tuple[NoShow, ...]
    records: int
    counts: dict[str, int]              # every kind of HARMLESS and VIOLATIONS

    @property
    def violations(self) -> dict[str, int]:
        return {kind: n for kind, n in self.counts.items() if n and kind not in HARMLESS}

    @property
    def money(self) -> dict[str, str]:
        """By currency, what its sessions and its no-shows come to, with tax."""
        return money((*self.sessions, *self.no_shows))


@dataclass(frozen=True, slots=True)
class Report:
    stations: dict[str, StationReport]

    @property
    def clean(self) -> bool:
        return not any(station.violations for station in self.stations.values())


class Ledger:
    """One SQLite file, or `:memory:`. Stored are facts; sessions, dates and most counts are derived when asked for."""

    def __init__(self, path: Path | str, keys: Keys = KEYS) -> None:
        self.db = open_database(path)
        self.keys = keys
        self.drivers = Drivers(self.db)
        self.commands = Commands(self.db)
        self.lists = Lists(self.db, self.drivers, self.commands)

    def close(self) -> None:
        self.db.close()

    # -- taking in ----------------------------------------------------------------------------------------------------

    def ingest(self, station: str, stream: int, batch_bytes: bytes, now_ms: int) -> bytes | None:
        """Stores a batch with all its effects in one transaction. Returns the acknowledgement, to be sent now that it
        is durable, or None for a batch that cannot be read: it is counted, and nothing else changes."""
        try:
            batch = read_batch(batch_bytes, self.keys)
        except Malformed:
            self.count(station, "undecodable", now_ms)
            return None
        stored = self.store(station, stream, batch, now_ms)
        refused = {stream: stored.refused} if stored.refused else {}
        return self.ack(station, batch.epoch, (stream,), now_ms, refused)

    def store(self, station: str, stream: int, batch: Batch, now_ms: int) -> Stored:
        key = (station, batch.epoch, stream)
        faults = {entry.seq: record_fault(entry.record) for entry in batch.entries if entry.record}   # before our turn
        with self.db.transaction():
            self._seen(station, now_ms, {entry.record.boot_id for entry in batch.entries if entry.record})
            if tombstone_last(batch.entries) is not None:
                self._bury(key, batch)
                return Stored((), ())
            refused = self._refusals(key, batch)
            entries = [entry for entry in batch.entries if entry.seq not in refused]
            fresh = self._news(key, entries)
            self._insert(key, fresh, faults, now_ms)
            for first, last in runs(entry.seq for entry in entries):
                self._cover(key, first, last)
            if refused:
                self._count(station, "refused", len(refused))
        return Stored(tuple(fresh), tuple(refused.items()))

    def _seen(self, station: str, now_ms: int, boots: Iterable[bytes] = ()) -> None:
        """It is there: a hello may have been lost with our own restore, and what comes now proves the same, unless it
        is of the boot whose will we have read."""
        self.db.execute(
            "INSERT INTO station (name, online, heard_ms) VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET heard_ms = ?2",
            (station, now_ms),
        )
        alive = "UPDATE station SET online = 1 WHERE name = ? AND NOT online AND gone_boot IS NOT ?"
        self.db.executemany(alive, [(station, boot_id) for boot_id in boots])

    def count(self, station: str, kind: str, now_ms: int) -> None:
        with self.db.transaction():
            self._seen(station, now_ms)
            self._count(station, kind)

    def _count(self, station: str, kind: str, n: int = 1) -> None:
        self.db.execute(
            "INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", (station, kind, n)
        )

    def _bury(self, key: Key, batch: Batch) -> None:
        """A tombstone lives beside the records: under one key with a record it is no conflict, in either order."""
        row = (*key, batch.first, batch.last, batch.entries[0].body)
        if not self.db.execute("INSERT OR IGNORE INTO tombstone VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
            self._count(key[0], "doubles")
        self._cover(key, batch.first, batch.last)

    def _refusals(self, key: Key, batch: Batch) -> dict[int, str]:
        station, _, stream = key
        chosen = "SELECT seq, why FROM refusal WHERE station = ? AND stream = ? AND seq BETWEEN ? AND ? ORDER BY seq"
        return dict(self.db.execute(chosen, (station, stream, batch.first, batch.last)).fetchall())

    def _news(self, key: Key, entries: Sequence[Entry]) -> list[Entry]:
        """Those whose keys are not taken. Repetitions are counted, another record under a taken key is kept aside."""
        if not entries:
            return []
        taken = "SELECT seq, digest FROM record WHERE (station, epoch, stream) = (?, ?, ?) AND seq BETWEEN ? AND ?"
        known = dict(self.db.execute(taken, (*key, entries[0].seq, entries[-1].seq)).fetchall())
        fresh = [entry for entry in entries if entry.seq not in known]
        others = [entry for entry in entries if known.get(entry.seq, entry.digest) != entry.digest]
        rows = [(*key, entry.seq, entry.digest, entry.body) for entry in others]
        self.db.executemany("INSERT OR IGNORE INTO conflict VALUES (?, ?, ?, ?, ?, ?)", rows)
        if doubles := len(entries) - len(fresh) - len(others):
            self._count(key[0], "doubles", doubles)
        return fresh

    def _insert(
        self, key: Key, fresh: Sequence[Entry], faults: dict[int, tuple[str, str] | None], now_ms: int
    ) -> None:
        (last_id,) = self.db.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()
        records: list[tuple[object, ...]] = []
        events: list[tuple[object, ...]] = []
        newest: dict[bytes, Record] = {}                    # boot -> the last of its records that knew the time
        for record_id, entry in enumerate(fresh, last_id + 1):
            record = entry.record
            fault = faults[entry.seq] if record else ("unreadable", entry.why)
            place = (record_id, *key, entry.seq, entry.digest, entry.body, now_ms)
            records.append((*place, *record_columns(record), *(fault or (None, None))))
            if record is None:
                continue
            if record.clock_source and record.wall_ms is not None:
                newest[record.boot_id] = max(newest.get(record.boot_id, record), record, key=clock_reading)
            if fault is None:
                events += self._take_effect(key, entry.seq, record_id, record, now_ms)
        self.db.executemany(f"INSERT INTO record VALUES ({', '.join('?' * 15)})", records)
        self.db.executemany(f"INSERT INTO event VALUES ({', '.join('?' * 14)})", events)
        self._set_clocks(key[0], newest)

    def _take_effect(
        self, key: Key, seq: int, record_id: int, record: Record, now_ms: int
    ) -> Iterator[tuple[object, ...]]:
        """What a new record means besides being kept; what a TransactionEvent means is the row of `event` it yields."""
        station, epoch, stream = key
        match record:
            case Record(action="TransactionEvent"):
                transaction_id, e = read_event(record)
                said = (e.seq_no, e.kind, e.at_ms, e.evse_id, e.id_token, e.first_wh, e.last_wh, e.register_fell)
                yield (record_id, station, transaction_id, *said, e.stopped_reason, e.cost, e.marks)
            case Record(action="StatusNotification", payload={"evseId": int(evse_id), "connectorStatus": status}):
                if evse_id in INT64 and stream == 1:  # in stream 2 it was asked for; seqs of two streams tell no order
                    self._set_port(station, evse_id, status, epoch, seq)
            case Record(action="CommandResult", payload=payload):
                if command := self.commands.finish(station, payload):
                    self.lists.finished(command, now_ms)
                    if command.is_transfer("OperatorKeys") and command.response.get("status") == "Accepted":
                        self._take_key(station, command.payload["data"])

    def _set_port(self, station: str, evse_id: int, status: str, epoch: bytes, seq: int) -> None:
        """Of one epoch the highest seq is the newest word, whichever consumer stores it first."""
        self.db.execute(
            "INSERT INTO port VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status,"
            " epoch = excluded.epoch, seq = excluded.seq WHERE epoch <> excluded.epoch OR seq < excluded.seq",
            (station, evse_id, status, epoch, seq),
        )

    def _take_key(self, station: str, data: Json) -> None:
        """From now on its commands are signed by the key that it has just learnt."""
        for added in data.get("add", ()):
            self.db.execute("UPDATE station SET key_id = ? WHERE name = ?", (bytes.fromhex(added["kid"]), station))

    def _set_clocks(self, station: str, newest: dict[bytes, Record]) -> None:
        """The newest dated record of a boot dates the undated ones: later in a boot, the clock is the better one."""
        self.db.executemany(
            "INSERT INTO boot VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET mono_ms = excluded.mono_ms,"
            " wall_ms = excluded.wall_ms WHERE (excluded.mono_ms, excluded.wall_ms) > (mono_ms, wall_ms)",
            [(station, boot_id, record.mono_ms, record.wall_ms) for boot_id, record in newest.items()],
        )

    def _cover(self, key: Key, first: int, last: int) -> None:
        """Adds first..last to the stored ranges, merging neighbours, so that marks cost as much as there are holes."""
        ours = "station = ? AND epoch = ? AND stream = ?"
        newest = f"SELECT last FROM span WHERE {ours} ORDER BY first DESC LIMIT 1"
        (high,) = self.db.execute(newest, key).fetchone() or (0,)
        if first > high + 1:
            self._count(key[0], "gaps_seen")
        touching = f"FROM span WHERE {ours} AND first <= ? AND last >= ?"
        reach = (*key, last + 1, first - 1)
        found = f"SELECT min(first), max(last), count(*) {touching}"
        low, top, count = self.db.execute(found, reach).fetchone()
        if count == 1 and low <= first and last <= top:
            return
        self.db.execute(f"DELETE {touching}", reach)
        merged = (*key, min(first, low or first), max(last, top or last))
        self.db.execute("INSERT INTO span VALUES (?, ?, ?, ?, ?)", merged)

    # -- marks --------------------------------------------------------------------------------------------------------

    def mark(self, station: str, epoch: bytes, stream: int, *, with_digest: bool = False) -> Mark:
        """Everything up to `high` is stored or declared dropped, except the missing ranges."""
        spans = self.db.execute(
            "SELECT first, last FROM span WHERE station = ? AND epoch = ? AND stream = ? ORDER BY first LIMIT ?",
            (station, epoch, stream, MISSING_MAX),
        )
        high, missing = 0, []
        for first, last in spans:
            if first > high + 1:
                missing.append((high + 1, first - 1))
            high = last
        newest = self._newest(station, epoch, stream, high) if with_digest else None
        return Mark(high, tuple(missing), *(newest or ()))

    def _newest(self, station: str, epoch: bytes, stream: int, high: int) -> tuple[bytes, int] | None:
        """Digest and seq of what stands under the highest key up to `high`: the record, or a tombstone."""
        key = (station, epoch, stream, high)
        ours = "WHERE station = ? AND epoch = ? AND stream = ?"
        record = self.db.execute(
            f"SELECT substr(digest, 1, 8), seq FROM record {ours} AND seq <= ? ORDER BY seq DESC LIMIT 1", key
        ).fetchone()
        stone = self.db.execute(
            f"SELECT body, first FROM tombstone {ours} AND first <= ? ORDER BY first DESC, last DESC LIMIT 1", key
        ).fetchone()
        if stone and (record is None or stone[1] > record[1]):
            return sha256(stone[0]).digest()[:8], stone[1]
        return record and tuple(record)

    def ack(
        self, station: str, epoch: bytes, streams: Iterable[int], now_ms: int,
        refused: Refused | None = None, hello: Hello | None = None,
    ) -> bytes:  # fmt: skip
        """The acknowledgement for these streams. A conflict stays said for its epoch: the mark covers a record that is
        not the station's, so no later ack may let the station forget its own."""
        marks = {stream: self.mark(station, epoch, stream, with_digest=hello is not None) for stream in streams}
        conflict = self.db.execute("SELECT 1 FROM conflict WHERE station = ? AND epoch = ? LIMIT 1", (station, epoch))
        return write_ack(epoch, marks, now_ms, conflict.fetchone() is not None, refused or {}, hello)

    def greeting(self, station: str, hello: Hello, now_ms: int) -> bytes:
        """What answers a hello: all five marks, with digests; they may have gone back."""
        return self.ack(station, hello.epoch, STREAMS, now_ms, hello=hello)

    # -- who is there -------------------------------------------------------------------------------------------------

    def hello(self, station: str, hello: Hello, now_ms: int) -> None:
        """The station has connected. Consumers share the stream of messages, so that of one connection the will may be
        read before the hello, and an older hello after a newer one: neither changes who is there."""
        with self.db.transaction():
            self._seen(station, now_ms)
            epoch, boot_id, connection, gone_boot, gone = self.db.execute(
                "SELECT epoch, boot_id, connection, gone_boot, gone_connection FROM station WHERE name = ?", (station,)
            ).fetchone()
            if boot_id == hello.boot_id and connection > hello.connection:
                return
            self.lists.greeted(station, epoch != hello.epoch, boot_id != hello.boot_id)
            if epoch not in (None, hello.epoch):            # its records have other numbers now
                self.db.execute("DELETE FROM refusal WHERE station = ?", (station,))
            is_gone = gone_boot == hello.boot_id and gone >= hello.connection
            self.db.execute(
                "UPDATE station SET (epoch, boot_id, connection, words, online) = (?, ?, ?, ?, ?) WHERE name = ?",
                (hello.epoch, hello.boot_id, hello.connection, hello.words, not is_gone, station),
            )
            self.commands.retry(station)

    def will(self, station: str, will: Will, now_ms: int) -> None:
        """The broker says that a connection is gone; one older than the newest hello's says nothing."""
        with self.db.transaction():
            self.db.execute("INSERT OR IGNORE INTO station (name, heard_ms) VALUES (?, ?)", (station, now_ms))
            self.db.execute(
                "UPDATE station SET gone_boot = ?1, gone_connection = ?2 WHERE name = ?3 AND"
                " (boot_id IS NULL OR boot_id <> ?1 OR connection <= ?2)"
                " AND (gone_boot IS NOT ?1 OR gone_connection < ?2)",
                (will.boot_id, will.connection, station),
            )
            self.db.execute(
                "UPDATE station SET online = 0 WHERE name = ? AND boot_id = ? AND connection <= ?",
                (station, will.boot_id, will.connection),
            )

    def describe(self, station: str, about: Json | None, now_ms: int) -> None:
        """It has asked something; `about` is the chargingStation of a BootNotification."""
        with self.db.transaction():
            self._seen(station, now_ms)
            if about:
                self.db.execute("UPDATE station SET about = ? WHERE name = ?", (json.dumps(about), station))

    def watch(self, station: str, live: Live, now_ms: int) -> None:
        ports = json.dumps([[p.evse_id, p.cp, p.offer_ma, p.energy_wh, p.power_w, p.current_ma, p.voltage_mv]
                            for p in live.ports])  # fmt: skip
        with self.db.transaction():
            self._seen(station, now_ms)
            self.db.execute("INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?)", (station, now_ms, live.mono_ms, ports))

    def refuse(self, station: str, stream: int, seq: int, why: str | None) -> None:
        """From now on this record is not stored, and the acknowledgement says why; None takes that back."""
        with self.db.transaction():
            self.db.execute("DELETE FROM refusal WHERE (station, stream, seq) = (?, ?, ?)", (station, stream, seq))
            if why is not None:
                self.db.execute("INSERT INTO refusal VALUES (?, ?, ?, ?)", (station, stream, seq, why))

    # -- reading ------------------------------------------------------------------------------------------------------

    def sessions(self, station: str, *, only_running: bool = False) -> tuple[Session, ...]:
        """Its sessions, the first event to arrive first. An event counts once, whatever epoch it comes under; where the
        station knew no time, the newest dated record of its boot dates it."""
        running = (
            " AND transaction_id IN (SELECT transaction_id FROM event WHERE station = ?1 AND kind = 'Started'"
            " EXCEPT SELECT transaction_id FROM event WHERE station = ?1 AND kind = 'Ended')"
        )
        rows = self.db.execute(
            "SELECT transaction_id, seq_no, kind, coalesce(at_ms, record.mono_ms + boot.wall_ms - boot.mono_ms),"
            " evse_id, id_token, first_wh, last_wh, register_fell, stopped_reason, cost, marks, digest,"
            " min(event.record_id)"
            " FROM event JOIN record ON record.id = event.record_id"
            " LEFT JOIN boot ON boot.station = record.station AND boot.boot_id = record.boot_id AND at_ms IS NULL"
            f" WHERE event.station = ?1{running if only_running else ''}"
            " GROUP BY transaction_id, digest ORDER BY transaction_id",
            (station,),
        )
        found = []
        for transaction_id, group in groupby(rows, itemgetter(0)):
            of_it = list(group)
            events = (Event(*row[1:12]) for row in of_it)
            found.append((min(row[-1] for row in of_it), session_of(station, transaction_id, events)))
        return tuple(session for _, session in sorted(found, key=itemgetter(0)))

    def no_shows(self, station: str) -> tuple[NoShow, ...]:
        """Its reservations that no session has followed, the first record to arrive first; each record counts once,
        whatever epoch it comes under, and is dated as a session's events are."""
        rows = self.db.execute(
            "SELECT body, coalesce(CASE WHEN clock_source THEN record.wall_ms END,"
            " record.mono_ms + boot.wall_ms - boot.mono_ms), min(received_ms)"
            " FROM record LEFT JOIN boot ON boot.station = record.station AND boot.boot_id = record.boot_id"
            " WHERE record.station = ? AND action = 'ReservationStatusUpdate' AND fault IS NULL"
            " GROUP BY digest ORDER BY min(record.id)",
            (station,),
        ).fetchall()
        reserved = self.commands.reserved(station) if rows else []
        found = (
            no_show_of(station, read_record(body, self.keys).payload, at_ms, received_ms, reserved)
            for body, at_ms, received_ms in rows
        )
        return tuple(each for each in found if each)

    def records(self, station: str, action: str, count: int = -1) -> list[tuple[int, Record]]:
        """(received_ms, record) of the newest `count` records of this kind, oldest first."""
        rows = self.db.execute(
            "SELECT received_ms, body FROM record WHERE station = ? AND action = ? AND fault IS NULL"
            " ORDER BY id DESC LIMIT ?",
            (station, action, count),
        ).fetchall()
        return [(received_ms, read_record(body, self.keys)) for received_ms, body in reversed(rows)]

    def stations(self) -> list[str]:
        return [name for (name,) in self.db.execute("SELECT name FROM station ORDER BY name")]

    def report(self) -> Report:
        """Every station's sessions, no-shows and what was wrong, told apart from what was only repeated."""
        return Report({name: self._station_report(name) for name in self.stations()})

    def _station_report(self, station: str) -> StationReport:
        sessions, no_shows = self.sessions(station), self.no_shows(station)
        (records,) = self.db.execute("SELECT count(*) FROM record WHERE station = ?", (station,)).fetchone()
        return StationReport(sessions, no_shows, records, self.counts(station, (*sessions, *no_shows)))

    def counts(self, station: str, rows: Iterable[Session | NoShow]) -> dict[str, int]:
        counts = dict.fromkeys((*HARMLESS, *VIOLATIONS), 0)
        for query in COUNTS:
            counts |= dict(self.db.execute(query, (station,)).fetchall())
        for kind in (kind for row in rows for kind in row.violations):
            counts[kind] += 1
        counts["money_declared_lost"] = self._money_lost(station)
        return counts

    def _money_lost(self, station: str) -> int:
        """How many records of money were declared lost, and never came."""
        graves = self.db.execute(
            "SELECT epoch, first, last FROM tombstone WHERE station = ? AND stream = ? ORDER BY epoch, first",
            (station, MONEY),
        ).fetchall()
        have = "SELECT count(*) FROM record WHERE station = ? AND epoch = ? AND stream = ? AND seq BETWEEN ? AND ?"
        lost, reached = 0, (b"", 0)
        for epoch, first, last in graves:
            first = max(first, reached[1] + 1) if epoch == reached[0] else first
            if first <= last:
                lost += last - first + 1 - self.db.execute(have, (station, epoch, MONEY, first, last)).fetchone()[0]
                reached = epoch, last
        return lost


COUNTS = (
    "SELECT kind, n FROM counter WHERE station = ?",
    "SELECT 'conflicts', count(*) FROM conflict WHERE station = ?",
    "SELECT fault, count(*) FROM record WHERE station = ? AND fault IS NOT NULL GROUP BY fault",
    """SELECT 'gaps_open', count(*) FROM (SELECT first,
        lag(last, 1, 0) OVER (PARTITION BY epoch, stream ORDER BY first) AS before FROM span WHERE station = ?)
        WHERE first > before + 1""",
    """SELECT 'resent', coalesce(sum(n - 1), 0) FROM (SELECT count(DISTINCT epoch) AS n FROM record
        WHERE station = ?1 AND (SELECT count(DISTINCT epoch) > 1 FROM span WHERE station = ?1)
        GROUP BY digest HAVING n > 1)""",
    """SELECT 'event_under_two_keys', coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM event
        JOIN record ON record.id = event.record_id WHERE event.station = ? GROUP BY epoch, transaction_id, digest
        HAVING n > 1)""",
)


def clock_reading(record: Record) -> tuple[int, int]:
    return record.mono_ms, record.wall_ms or 0


def record_columns(record: Record | None) -> tuple[object, ...]:
    """boot_id .. action of the table `record`."""
    if record is None:
        return (None,) * 5
    return record.boot_id, record.mono_ms, record.wall_ms, record.clock_source, record.action


def runs(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges without holes."""
    numbers = list(seqs)
    cuts = [i for i, (before, after) in enumerate(pairwise(numbers), 1) if after != before + 1]
    for start, end in pairwise((0, *cuts, len(numbers))):
        if start < end:
            yield numbers[start], numbers[end - 1]
