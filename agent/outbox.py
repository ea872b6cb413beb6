"""The database: facts, and the outbox of records owed to the cloud. Synchronous; agent/store.py has the thread.

One call, one transaction; what raises sqlite3.Error has changed nothing. A stream is two numbers, `floor` (the oldest
record that the cloud has not acknowledged) and `next` (the next to be given), and the rows between them. Money below
the floor is the archive, for a cloud that has lost it; of other streams nothing below the floor is kept.

Every row carries a checksum over its key and content, so that damage is seen before it is sent, and agent/salvage.py
can tell a row from noise.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from agent.effects import Record, Save, Stream
from agent.uplink.codec import (
    MESSAGE_MAX_B,
    Mark,
    WireError,
    WireRecord,
    decode_record,
    digest,
    encode_record,
    from_cbor,
    record_action,
    to_cbor,
)

PAGE_B = 1_024  # a commit writes whole pages: small ones wear the flash less
CACHE_KB = 512  # of pages in memory
CHECKPOINT_PAGES = 4_000  # of the WAL; each page that was written often is copied once
PAGES_MAX = 262_144  # 256 MB; beyond it commits fail, and a station that cannot write sells nothing
FETCH_MAX = 128  # records
ROWS_AT_ONCE = 1_000  # in memory, of whatever walks through all
ARCHIVE_ROWS = 10_000  # acknowledged money that is kept: years of a busy port
PRUNED_ROWS = 256  # removed together: so it costs less than a page each
ROWS_MAX = {Stream.STATUS: 20_000, Stream.RESULTS: 5_000, Stream.SAMPLES: 100_000, Stream.LOGS: 10_000}
DEAD_LETTERS_MAX = 1_000  # of other streams than money; beyond it a tombstone is all that is left of a record
THINNED_TO = 4  # of so many samples one stays, in the older half
EPOCH_FACT = "epoch"
SEQ_BITS = 56  # of a row's id; above them stands the stream
SEQ_MASK = (1 << SEQ_BITS) - 1
STREAMS_END = len(Stream) << SEQ_BITS



class Migration(NamedTuple):
    """One step of the schema. Additive: tables, indexes and columns (nullable, or with a default) come, and nothing
    else changes; whoever knows only the steps before goes on reading and writing, as every statement names its columns.
    Destructive is everything else. It waits until the build that brings it is confirmed, so that this build lives
    without it, too; afterwards no build that does not know it may open the file."""

    script: str
    is_destructive: bool = False


MIGRATIONS: tuple[Migration, ...] = (
    Migration("""
    CREATE TABLE fact (
        key TEXT PRIMARY KEY, version INTEGER NOT NULL, crc INTEGER NOT NULL, value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE epoch (id INTEGER PRIMARY KEY CHECK (id = 0), crc INTEGER NOT NULL, epoch BLOB NOT NULL) STRICT;
    CREATE TABLE stream (stream INTEGER PRIMARY KEY, floor INTEGER NOT NULL, next_seq INTEGER NOT NULL) STRICT;
    CREATE TABLE outbox (                                   -- last: a tombstone stands for all from seq to there
        id INTEGER PRIMARY KEY, last INTEGER NOT NULL, is_tombstone INTEGER NOT NULL, crc INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY, epoch BLOB NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL, why TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    INSERT INTO stream VALUES (0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1);
    """),
)  # fmt: skip

Connect = Callable[[Path], sqlite3.Connection]
Marks = dict[int, tuple[int, int]]  # stream -> oldest seq that is not acknowledged, next seq to be given


class StoreError(Exception):
    """The operator can fix it; the message says how."""


class Forked(Exception):
    """The cloud holds another record under a key of ours: this storage was restored, or copied."""


class Row(NamedTuple):
    """One record of the outbox, encoded; a tombstone stands for seq..last."""

    seq: int
    last: int
    body: bytes


class DeadLetter(NamedTuple):
    """A record that the cloud has refused for good."""

    epoch: bytes
    stream: int
    seq: int
    why: str
    body: bytes
    id: int = 0  # ascending, in the order in which they came


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that were dropped while they waited: their seqs are given, to one tombstone."""

    stream: int
    count: int
    last: Record


def connect(path: Path) -> sqlite3.Connection:
    """Autocommit: transactions are ours. The thread that opens is not the one that owns: open() is called before."""
    return sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)


def row_id(stream: int, seq: int) -> int:
    return stream << SEQ_BITS | seq


def row_crc(epoch: bytes, row_id: int, last: int, body: bytes) -> int:
    """Of a row of the outbox. The epoch is in it: the same id means another record in another epoch."""
    return crc32(body, crc32(b"outbox %s %d %d" % (epoch, row_id, last)))


def fact_crc(key: str, version: int, value: bytes) -> int:
    return crc32(value, crc32(b"fact %s %d" % (key.encode(), version)))


def epoch_crc(epoch: bytes) -> int:
    return crc32(b"epoch %s" % epoch)


class Database:
    def __init__(
        self, path: Path, boot_id: bytes, connect: Connect = connect, *, may_destroy: bool = False
    ) -> None:
        """`may_destroy`: this build is confirmed, so destructive migrations are made. StoreError if the file cannot be
        ours; sqlite3.DatabaseError (CORRUPT, NOTADB) if it is damaged."""
        self.boot_id = boot_id
        self.schema = 0  # of whoever opens the file: how many migrations it must know
        self.epoch, self._version = b"", 0
        self.floor: dict[int, int] = {}
        self.next_seq: dict[int, int] = {}
        self.grown: dict[int, int] = {}  # rows since the stream's bound was looked at
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        self.db = connect(path)
        try:
            self._configure(path)
            self._migrate(path, may_destroy)
            self._read()
        except BaseException:
            self.db.close()
            raise

    def _configure(self, path: Path) -> None:
        # EXCLUSIVE before WAL: no shared memory, and a second process is refused; two would corrupt (SQLite < 3.51.3).
        self.db.execute(f"PRAGMA page_size = {PAGE_B}")
        self.db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA journal_size_limit = 4194304")
        self.db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self.db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self.db.execute(f"PRAGMA max_page_count = {PAGES_MAX}")

    def _migrate(self, path: Path, may_destroy: bool) -> None:
        """user_version counts the migrations that were made; application_id is the number of the last destructive one:
        an older build opens what newer ones have only added to."""
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        (self.schema,) = self.db.execute("PRAGMA application_id").fetchone()
        if self.schema > version:
            raise sqlite3.DatabaseError(f"malformed schema {version}, {self.schema}")
        if self.schema > len(MIGRATIONS):
            why = f"schema {self.schema}, this is {len(MIGRATIONS)}"
            raise StoreError(f"{path} is of newer software ({why}): install that again, or move it away")
        for number, migration in enumerate(MIGRATIONS[version:], version + 1):
            if migration.is_destructive and not may_destroy:
                break  # and what builds upon it
            self.schema = number if migration.is_destructive else self.schema
            marks = f"PRAGMA user_version = {number}; PRAGMA application_id = {self.schema}"
            self.db.executescript(f"BEGIN IMMEDIATE; {migration.script}; {marks}; COMMIT")
        if self.db.execute("SELECT count(*) FROM epoch").fetchone() == (0,):
            with self._transaction():
                self._set_epoch(secrets.token_bytes(8))

    def _set_epoch(self, epoch: bytes) -> None:
        """Twice, on two pages: without it no row can be believed."""
        self.epoch = epoch
        self.db.execute("INSERT OR REPLACE INTO epoch (id, crc, epoch) VALUES (0, ?, ?)", (epoch_crc(epoch), epoch))
        self._save(Save(EPOCH_FACT, epoch))

    def _read(self) -> None:
        """What business needs at once: facts, marks and money, each checked. The rest is checked in slices, later."""
        crc, self.epoch = self.db.execute("SELECT crc, epoch FROM epoch").fetchone()
        if crc != epoch_crc(self.epoch):
            raise sqlite3.DatabaseError("malformed epoch")
        self._version = self.db.execute("SELECT ifnull(max(version), 0) FROM fact").fetchone()[0]
        for stream, floor, next_seq in self.db.execute("SELECT stream, floor, next_seq FROM stream"):
            self.floor[stream], self.next_seq[stream] = floor, max(next_seq, self._end(stream))
        self.facts()
        self.grown = dict.fromkeys(self.next_seq, 0)
        after: int | None = row_id(Stream.MONEY, self.floor[Stream.MONEY]) - 1
        while after is not None:
            after, _ = self.check(after, row_id(Stream.STATUS, 0))

    def _end(self, stream: int) -> int:
        """One beyond the newest row of the stream."""
        (end,) = self.db.execute(
            "SELECT last + 1 FROM outbox WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (row_id(stream, 0), row_id(stream + 1, 0) - 1),
        ).fetchone() or (1,)
        return int(end)

    def check(self, after: int, until: int = STREAMS_END) -> tuple[int | None, list[int]]:
        """Look at some rows beyond this id: the id to go on from, None at the end; and the damaged ones, now buried."""
        rows = self.db.execute(
            "SELECT id, last, crc, body FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (after, until, ROWS_AT_ONCE),
        ).fetchall()
        damaged = [key for key, last, crc, body in rows if crc != row_crc(self.epoch, key, last, body)]
        for key in damaged:
            self.bury(key >> SEQ_BITS, key & SEQ_MASK, "damaged on disk", is_damaged=True)
        return (rows[-1][0] if len(rows) == ROWS_AT_ONCE else None), damaged

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self.epoch, dict(self.floor), dict(self.next_seq), self._version
        self._rollback()
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            self.epoch, self.floor, self.next_seq, self._version = before
            with suppress(sqlite3.Error):
                self._rollback()
            raise

    def _rollback(self) -> None:
        if self.db.in_transaction:  # SQLite has rolled back already after some errors
            self.db.execute("ROLLBACK")

    # -- facts and records

    def facts(self) -> dict[str, Any]:
        out = {}
        rows = self.db.execute("SELECT key, version, crc, value FROM fact WHERE key != ?", (EPOCH_FACT,))
        for key, version, crc, value in rows:
            if crc != fact_crc(key, version, value):
                raise sqlite3.DatabaseError(f"malformed fact {key}")
            try:
                out[key] = from_cbor(value)
            except WireError as error:
                raise sqlite3.DatabaseError(f"malformed fact: {error}") from None
        return out

    def marks(self) -> Marks:
        return {stream: (min(self.floor[stream], end), end) for stream, end in self.next_seq.items()}

    def commit(self, items: Sequence[Record | Save | Gap], marks: Mapping[int, Mark] | None = None) -> dict[int, int]:
        """All of them, or none; and what the cloud has acknowledged meanwhile. Returns next_seq of what grew."""
        with self._transaction():
            for item in items:
                match item:
                    case Save():
                        self._save(item)
                    case Record():
                        self._append(item)
                    case Gap():
                        self._declare(item)
            grown = {int(i.stream): self.next_seq[i.stream] for i in items if not isinstance(i, Save)}
            self._settle(marks or {})
            for stream in grown:
                self._bound(Stream(stream))
        return grown

    def _save(self, save: Save) -> None:
        if save.value is None:
            self.db.execute("DELETE FROM fact WHERE key = ?", (save.key,))
            return
        data = to_cbor(save.value)
        assert len(data) <= MESSAGE_MAX_B, f"{save.key} is too big to be read again"
        self._version += 1
        self.db.execute(
            "INSERT INTO fact (key, version, crc, value) VALUES (?1, ?2, ?3, ?4)"
            " ON CONFLICT DO UPDATE SET version = ?2, crc = ?3, value = ?4",
            (save.key, self._version, fact_crc(save.key, self._version, data), data),
        )

    def _append(self, record: Record) -> None:
        try:
            self._insert(record.stream, self._encoded(record))
        except WireError as error:
            assert record.stream is not Stream.MONEY, f"{record.action}: {error}"
            self._declare(Gap(record.stream, 1, record), f"{record.action}: {error}"[:200])

    def _declare(self, gap: Gap, why: str = "no room while the disk failed") -> None:
        stone = self._stone(gap.stream, self.next_seq[gap.stream], gap.count, why, gap.last)
        self._insert(gap.stream, stone, gap.count, is_tombstone=True)

    def _stone(self, stream: int, first: int, count: int, why: str, at: Record | None = None) -> bytes:
        payload = {"first": first, "last": first + count - 1, "why": why}
        when = (at.mono_s, at.wall_s, at.source) if at else (0.0, None, 0)
        return self._encoded(Record(Stream(stream), "Tombstone", payload, *when))

    def _encoded(self, record: Record) -> bytes:
        wall_ms = None if record.wall_s is None else round(record.wall_s * 1000)
        said = record.action, record.payload
        return encode_record(WireRecord(self.boot_id, round(record.mono_s * 1000), wall_ms, int(record.source), *said))

    def _insert(self, stream: int, body: bytes, count: int = 1, is_tombstone: bool = False) -> None:
        seq = self.next_seq[stream]
        self.next_seq[stream] = seq + count
        self.grown[stream] += 1
        self._put(stream, seq, seq + count - 1, is_tombstone, body)

    def _put(self, stream: int, seq: int, last: int, is_tombstone: bool, body: bytes) -> None:
        key = row_id(stream, seq)
        row = key, last, is_tombstone, row_crc(self.epoch, key, last, body), body
        columns = "id, last, is_tombstone, crc, body"
        self.db.execute(f"INSERT OR REPLACE INTO outbox ({columns}) VALUES (?, ?, ?, ?, ?)", row)

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> tuple[Row, ...]:
        """At most FETCH_MAX records from after_seq + 1 on, in order, up to limit_bytes but at least one."""
        rows: list[Row] = []
        base = row_id(stream, 0)
        for key, last, crc, body in self.db.execute(
            "SELECT id, last, crc, body FROM outbox WHERE id <= ?1 AND last > ?2 AND id >="
            " ifnull((SELECT max(id) FROM outbox WHERE id BETWEEN ?3 AND ?4), ?3) ORDER BY id LIMIT ?5",
            (row_id(stream + 1, 0) - 1, after_seq, base, base + after_seq, FETCH_MAX),
        ):
            limit_bytes -= len(body)
            if rows and limit_bytes < 0:
                break
            if crc != row_crc(self.epoch, key, last, body):
                raise sqlite3.DatabaseError(f"malformed row {key}")
            rows.append(Row(key - base, last, body))
        return tuple(rows)

    def holds(self, transaction_id: str | None, owed: Mapping[int, Sequence[tuple[int, int]]]) -> bool:
        """Whether a record of this transaction (None: any) is among those owed: streams, and in each the seqs from, to.

        The id stands in a record as text after its length, so no longer one is found in its place.
        """
        word = b"" if transaction_id is None else to_cbor(transaction_id)
        query = "SELECT 1 FROM outbox WHERE id BETWEEN ? AND ? AND instr(body, ?) LIMIT 1"
        return any(
            self.db.execute(query, (row_id(stream, first), row_id(stream, min(last, SEQ_MASK)), word)).fetchone()
            for stream, stretches in owed.items()
            for first, last in stretches
        )

    # -- what the cloud holds

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        """Forgets what the cloud holds. A word about another epoch, or about what we never gave, changes nothing.

        Raises Forked if the cloud holds another record than we do.
        """
        self.compare(epoch, marks)
        if epoch == self.epoch:
            with self._transaction():
                self._settle(marks)

    def compare(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        """Raises Forked if the digest in a mark is of something else than what we hold there, tombstones included.

        A tombstone that has grown since the cloud got it counts as well: a new epoch costs traffic, a wrong "the same"
        would cost records.
        """
        for stream, mark in marks.items():
            if epoch != self.epoch or mark.digest is None:
                continue
            base = row_id(stream, 0)
            found = self.db.execute(
                "SELECT id, last, body FROM outbox WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                (base, base + mark.of),
            ).fetchone()
            if found and found[1] >= mark.of and (found[0] != base + mark.of or digest(found[2]) != mark.digest):
                raise Forked(f"stream {stream}, seq {mark.of}")

    def _settle(self, marks: Mapping[int, Mark]) -> None:
        """The floor rises to the first seq that the cloud lacks, and what it left behind goes, many rows at a time."""
        for stream, mark in marks.items():
            floor = min([first for first, _ in mark.missing], default=mark.high + 1)
            if not self.floor[stream] < floor <= self.next_seq[stream]:
                continue
            self.floor[stream] = floor
            self._write_marks(stream)
            self._prune(stream)

    def _write_marks(self, stream: int) -> None:
        marks = self.floor[stream], self.next_seq[stream], stream
        self.db.execute("UPDATE stream SET floor = ?, next_seq = ? WHERE stream = ?", marks)

    def _prune(self, stream: int) -> None:
        kept = self.floor[stream] - (ARCHIVE_ROWS if stream == Stream.MONEY else 0)
        base = row_id(stream, 0)
        below = (base + 1, base + kept - 1, kept)
        (oldest,) = self.db.execute("SELECT min(id) FROM outbox WHERE id BETWEEN ? AND ?", below[:2]).fetchone()
        if oldest is not None and base + kept - oldest >= PRUNED_ROWS:
            self.db.execute("DELETE FROM outbox WHERE id BETWEEN ? AND ? AND last < ?", below)

    # -- no more than there is room for

    def _bound(self, stream: Stream) -> None:
        if stream not in ROWS_MAX or self.grown[stream] < PRUNED_ROWS:
            return
        self.grown[stream] = 0
        if self.next_seq[stream] - self.floor[stream] > ROWS_MAX[stream]:
            held = "SELECT count(*) FROM outbox WHERE id BETWEEN ? AND ?"
            (count,) = self.db.execute(held, (row_id(stream, self.floor[stream]), row_id(stream + 1, 0) - 1)).fetchone()
            if count > ROWS_MAX[stream]:
                self._thin(stream, count // 2)

    def make_room(self) -> None:
        """The disk is full: of logs half go, of the older samples most."""
        for stream in (Stream.LOGS, Stream.SAMPLES):
            with self._transaction():
                self._thin(stream, (self.next_seq[stream] - self.floor[stream]) // 2)

    def _thin(self, stream: Stream, count: int) -> None:
        """Of the oldest rows samples are thinned, others go; tombstones say which."""
        after = row_id(stream, self.floor[stream]) - 1
        while count > 0:
            rows = self.db.execute(
                "SELECT id, last, is_tombstone FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                (after, row_id(stream + 1, 0), min(count, ROWS_AT_ONCE)),
            ).fetchall()
            if not rows:
                return
            count -= len(rows)
            after = rows[-1][0]
            samples = [key for key, _, is_tombstone in rows if not is_tombstone]
            kept = frozenset(samples[::THINNED_TO] if stream is Stream.SAMPLES else ())
            for first, last in runs([(key, last) for key, last, _ in rows if key not in kept], row_id(stream, 0)):
                self._replace(stream, first, last, "no room")

    def _replace(self, stream: int, first: int, last: int, why: str) -> None:
        """A tombstone for everything from first to last."""
        base = row_id(stream, 0)
        self.db.execute("DELETE FROM outbox WHERE id BETWEEN ? AND ?", (base + first, base + last))
        self._put(stream, first, last, True, self._stone(stream, first, last - first + 1, why))

    # -- what the cloud will never take

    def bury(self, stream: int, seq: int, why: str, *, is_damaged: bool = False) -> bool:
        """To the dead letters, and a tombstone in its place. False: there is no such record, or it is a tombstone.

        A damaged row is buried even if it looks like a tombstone. No dead letter is ever deleted: of other streams than
        money the first DEAD_LETTERS_MAX are kept, since a cloud that refuses everything must not fill the disk.
        """
        key = row_id(stream, seq)
        row = self.db.execute("SELECT body FROM outbox WHERE id = ? AND (? OR NOT is_tombstone)", (key, is_damaged))
        if (found := row.fetchone()) is None:
            return False
        with self._transaction():
            if stream == Stream.MONEY or self._has_room_for_letters():
                self.db.execute(
                    "INSERT INTO dead_letter (epoch, stream, seq, why, body) VALUES (?, ?, ?, ?, ?)",
                    (self.epoch, stream, seq, why, *found),
                )
            self._replace(stream, seq, self._reach(key), why[:200])
        return True

    def _has_room_for_letters(self) -> bool:
        query = "SELECT count(*) FROM dead_letter WHERE stream != ?"
        (count,) = self.db.execute(query, (int(Stream.MONEY),)).fetchone()
        return int(count) < DEAD_LETTERS_MAX

    def _reach(self, key: int) -> int:
        """The last seq that this row stands for; a damaged one may say anything, but not beyond the next row."""
        stream, seq = key >> SEQ_BITS, key & SEQ_MASK
        last: int = self.db.execute("SELECT last FROM outbox WHERE id = ?", (key,)).fetchone()[0]
        (after,) = self.db.execute("SELECT min(id) FROM outbox WHERE id > ?", (key,)).fetchone()
        end = after & SEQ_MASK if after is not None and after >> SEQ_BITS == stream else self.next_seq[stream]
        return max(seq, min(last, end - 1))

    def dead_letters(self, after_id: int = 0, limit_bytes: int | None = None) -> list[DeadLetter]:
        """Those after this one, in order; up to limit_bytes, but at least one."""
        out: list[DeadLetter] = []
        query = "SELECT epoch, stream, seq, why, body, id FROM dead_letter WHERE id > ? ORDER BY id"
        for letter in (DeadLetter(*row) for row in self.db.execute(query, (after_id,))):
            if limit_bytes is not None:
                limit_bytes -= len(letter.body)
                if out and limit_bytes < 0:
                    break
            out.append(letter)
        return out

    def count_dead_letters(self) -> int:
        (count,) = self.db.execute("SELECT count(*) FROM dead_letter").fetchone()
        return int(count)

    # -- epochs

    def new_epoch(self) -> None:
        """What is owed is numbered anew, from 1 and without holes, in the same order.

        The archive of money is owed again: whoever has led us here may have acknowledged what nobody holds. The cloud
        knows its transactions by their ids.
        What is damaged is buried first: a new checksum would make it look whole.
        """
        after: int | None = 0
        while after is not None:
            after, _ = self.check(after)
        with self._transaction():
            self._set_epoch(secrets.token_bytes(8))
            for stream in self.next_seq:
                base, floor = row_id(stream, 0), self.floor[stream]
                if stream != Stream.MONEY:
                    below = base, base + floor, floor
                    self.db.execute("DELETE FROM outbox WHERE id BETWEEN ? AND ? AND last < ?", below)
                self.next_seq[stream] = self._renumber(stream)
                self.floor[stream] = 1
                self._write_marks(stream)

    def _renumber(self, stream: int) -> int:
        """Rows only ever move down, into room that the ones before them have left."""
        base = row_id(stream, 0)
        page = "SELECT id, last, is_tombstone, body FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        next_seq, old = 1, base
        while rows := self.db.execute(page, (old, row_id(stream + 1, 0), ROWS_AT_ONCE)).fetchall():
            for old, old_last, is_tombstone, body in rows:
                last = next_seq + old_last - (old - base)
                if is_tombstone:
                    body = readdressed(body, next_seq, last)
                self.db.execute("DELETE FROM outbox WHERE id = ?", (old,))
                self._put(stream, next_seq, last, is_tombstone, body)
                next_seq = last + 1
        return next_seq

    def restore(
        self, epoch: bytes | None, money: Sequence[tuple[int, int, bytes]], facts: Mapping[str, bytes], marks: Marks
    ) -> None:
        """Take in what was salvaged: money (seq, last, body) under its old keys, where the epoch is known.

        Whatever is too low in the marks, the cloud's own marks will show: then a new epoch begins.
        """
        with self._transaction():
            if epoch is not None:
                self._set_epoch(epoch)
            for stream, (floor, next_seq) in marks.items():
                self.floor[stream], self.next_seq[stream] = min(floor, next_seq), next_seq
                self._write_marks(stream)
            for seq, last, body in money:
                self._put(Stream.MONEY, seq, last, is_tombstone(body), body)
                self.next_seq[Stream.MONEY] = max(self.next_seq[Stream.MONEY], last + 1)
            for key, value in facts.items():
                if key != EPOCH_FACT:
                    self._save(Save(key, from_cbor(value)))

    def close(self) -> None:
        with suppress(sqlite3.Error):  # a full disk: the WAL is as good
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()


def is_tombstone(body: bytes) -> bool:
    """Words that this software does not know are no tombstone's: newer software wrote them."""
    try:
        return record_action(body) == "Tombstone"
    except WireError:
        return False


def readdressed(body: bytes, first: int, last: int) -> bytes:
    """A tombstone says inside which seqs it stands for."""
    stone = decode_record(body)
    stone.payload.update(first=first, last=last)
    return encode_record(stone)


def runs(rows: Sequence[tuple[int, int]], base: int) -> Iterator[tuple[int, int]]:
    """Neighbouring rows (id, last) as stretches of seqs."""
    start: int | None = None
    end = 0
    for key, last in rows:
        if start is not None and key - base != end + 1:
            yield start, end
            start = None
        start = key - base if start is None else start
        end = last
    if start is not None:
        yield start, end
