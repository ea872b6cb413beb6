"""The one file that opens the database: facts, and the outbox of records owed to the cloud.

One connection, one thread that owns it. The loop asks without waiting and is told through `post`; what it asked for in
one batch is on disk together or not at all. A batch that does not reach the disk stays here, is tried again with every
request and every RETRY_S, and never overtakes an older one.

    Committed, CommitFailed, Fetched, EpochOpened, StoreRecovered, Crashed    what `post` may be given
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agent.effects import Durable, Record, Save, Stream
from agent.events import StoreRecovered
from agent.uplink.codec import (
    MESSAGE_MAX_B,
    Mark,
    WireError,
    WireRecord,
    decode_record,
    encode_record,
    from_cbor,
    to_cbor,
)

RETRY_S = 5.0
CLOSE_S = 10.0  # a disk that hangs longer does not keep the process from ending
GROUP_MAX = 100  # batches in one transaction
WAITING_MAX = 10_000  # batches in memory; beyond it they are squeezed into one
SQUEEZED_MAX = 1_000  # records of other streams than money that a squeeze leaves
PAGES_MAX = 65_536  # 256 MB, a year of samples; beyond it commits fail, and a station that cannot write sells nothing
FETCH_MAX = 64  # records
RENUMBER_ROWS = 1_000  # keys held in memory at a time

MIGRATIONS = (
    """
    CREATE TABLE fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE epoch (id INTEGER PRIMARY KEY CHECK (id = 0), epoch BLOB NOT NULL) STRICT;
    CREATE TABLE stream (stream INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL) STRICT;
    CREATE TABLE outbox (                                   -- last: a tombstone stands for all from seq to there
        stream INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, is_tombstone INTEGER NOT NULL,
        body BLOB NOT NULL, PRIMARY KEY (stream, seq)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO epoch VALUES (0, randomblob(8));
    INSERT INTO stream VALUES (0, 1), (1, 1), (2, 1), (3, 1), (4, 1);
    """,
)

Connect = Callable[[Path], sqlite3.Connection]
Marks = dict[int, tuple[int, int]]  # stream -> oldest seq that is not acknowledged, next seq to be given


class StoreError(Exception):
    """The operator can fix it; the message says how."""


class Row(NamedTuple):
    """One record of the outbox, encoded; a tombstone stands for seq..last."""

    seq: int
    last: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    facts: dict[str, Any]
    epoch: bytes
    marks: Marks
    damaged: Path | None = None  # where an unreadable file was moved; this one is new, with another epoch


@dataclass(frozen=True, slots=True)
class Committed:
    """The batch is on disk. `next_seq` of the streams that grew, as of this transaction."""

    batch_id: int
    next_seq: dict[int, int]


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The batch is in memory only. Said once; Committed follows when the disk takes it."""

    batch_id: int
    why: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of a stream from after_seq + 1 on, in order; None if they could not be read."""

    stream: int
    after_seq: int
    rows: tuple[Row, ...] | None


@dataclass(frozen=True, slots=True)
class EpochOpened:
    epoch: bytes
    marks: Marks


@dataclass(frozen=True, slots=True)
class Crashed:
    """A bug of ours ended the owner thread: raise the error where it is seen."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that were dropped while they waited: their seqs are given, to one tombstone."""

    stream: int
    count: int
    last: Record


@dataclass(slots=True)
class Batch:
    ids: list[int]  # more than one after a squeeze
    untold: list[int]  # of them, those without an answer so far
    items: list[Record | Save | Gap]


# -- the file ---------------------------------------------------------------------------------------------------------


def connect(path: Path) -> sqlite3.Connection:
    """Autocommit: transactions are ours. The thread that opens is not the one that owns: open() is called before."""
    return sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)


class Database:
    """The SQL of it, synchronous: one call, one transaction. Raises sqlite3.Error, and then nothing has changed."""

    def __init__(self, path: Path, boot_id: bytes, connect: Connect = connect) -> None:
        """StoreError if the file cannot be ours; sqlite3.DatabaseError (CORRUPT, NOTADB) if it is damaged."""
        self.boot_id = boot_id
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        self.db = connect(path)
        try:
            self._configure(path)
            (self.epoch,) = self.db.execute("SELECT epoch FROM epoch").fetchone()
            self.next_seq: dict[int, int] = dict(self.db.execute("SELECT stream, next_seq FROM stream"))
        except BaseException:
            self.db.close()
            raise

    def _configure(self, path: Path) -> None:
        # EXCLUSIVE before WAL: no shared memory, and a second process is refused; two would corrupt (SQLite < 3.51.3).
        self.db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA journal_size_limit = 4194304")
        self.db.execute(f"PRAGMA max_page_count = {PAGES_MAX}")
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreError(f"{path} is of newer software (schema {version}): install that again, or move it away")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self.db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")
        if (verdict := self.db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(f"malformed: {verdict}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self.epoch, dict(self.next_seq)
        self._rollback()
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            self.epoch, self.next_seq = before
            with suppress(sqlite3.Error):
                self._rollback()
            raise

    def _rollback(self) -> None:
        if self.db.in_transaction:  # SQLite has rolled back already after some errors
            self.db.execute("ROLLBACK")

    def facts(self) -> dict[str, Any]:
        try:
            return {key: from_cbor(value) for key, value in self.db.execute("SELECT key, value FROM fact")}
        except WireError as error:
            raise sqlite3.DatabaseError(f"malformed fact: {error}") from None

    def marks(self) -> Marks:
        oldest = dict(self.db.execute("SELECT stream, min(seq) FROM outbox GROUP BY stream"))
        return {stream: (oldest.get(stream, next_seq), next_seq) for stream, next_seq in self.next_seq.items()}

    def commit(self, items: Sequence[Record | Save | Gap]) -> dict[int, int]:
        """All of them, or none. Returns next_seq of the streams that grew."""
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
            self.db.executemany("UPDATE stream SET next_seq = ? WHERE stream = ?", [(n, s) for s, n in grown.items()])
        return grown

    def _save(self, save: Save) -> None:
        if save.value is None:
            self.db.execute("DELETE FROM fact WHERE key = ?", (save.key,))
            return
        data = to_cbor(save.value)
        assert len(data) <= MESSAGE_MAX_B, f"{save.key} is too big to be read again"
        self.db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (save.key, data))

    def _append(self, record: Record) -> None:
        try:
            self._insert(record.stream, self._encoded(record))
        except WireError as error:
            assert record.stream is not Stream.MONEY, f"{record.action}: {error}"
            self._declare(Gap(record.stream, 1, record), f"{record.action}: {error}"[:200])

    def _declare(self, gap: Gap, why: str = "no room while the disk failed") -> None:
        first = self.next_seq[gap.stream]
        payload = {"first": first, "last": first + gap.count - 1, "why": why}
        stone = Record(Stream(gap.stream), "Tombstone", payload, gap.last.mono_s, gap.last.wall_s, gap.last.source)
        self._insert(gap.stream, self._encoded(stone), gap.count, is_tombstone=True)

    def _encoded(self, record: Record) -> bytes:
        wall_ms = None if record.wall_s is None else round(record.wall_s * 1000)
        said = record.action, record.payload
        return encode_record(WireRecord(self.boot_id, round(record.mono_s * 1000), wall_ms, int(record.source), *said))

    def _insert(self, stream: int, body: bytes, count: int = 1, is_tombstone: bool = False) -> None:
        seq = self.next_seq[stream]
        self.next_seq[stream] = seq + count
        row = int(stream), seq, seq + count - 1, is_tombstone, body
        self.db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", row)

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> tuple[Row, ...]:
        """At most FETCH_MAX records from after_seq + 1 on, in order, up to limit_bytes but at least one."""
        rows: list[Row] = []
        for row in self.db.execute(
            "SELECT seq, last, body FROM outbox WHERE stream = ?1 AND last > ?2 AND seq >="
            " ifnull((SELECT max(seq) FROM outbox WHERE stream = ?1 AND seq <= ?2), 0) ORDER BY seq LIMIT ?3",
            (stream, after_seq, FETCH_MAX),
        ):
            limit_bytes -= len(row[2])
            if rows and limit_bytes < 0:
                break
            rows.append(Row(*row))
        return tuple(rows)

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        """Deletes what the cloud holds. A word about another epoch, or about what we never gave, deletes nothing."""
        if epoch != self.epoch:
            return
        with self._transaction():
            for stream, mark in marks.items():
                if mark.high < self.next_seq[stream]:
                    self.db.executemany(
                        "DELETE FROM outbox WHERE stream = ? AND seq BETWEEN ? AND ? AND last <= ?",
                        [(stream, first, last, last) for first, last in held(mark)],
                    )

    def new_epoch(self) -> None:
        """What is left is numbered anew, from 1 and without holes, in the same order."""
        with self._transaction():
            self.epoch = secrets.token_bytes(8)
            self.db.execute("UPDATE epoch SET epoch = ?", (self.epoch,))
            for stream in self.next_seq:
                self.next_seq[stream] = self._renumber(stream)
                self.db.execute("UPDATE stream SET next_seq = ? WHERE stream = ?", (self.next_seq[stream], stream))

    def _renumber(self, stream: int) -> int:
        """Rows only ever move down, into room that the ones before them have left."""
        keys = "SELECT seq, last, is_tombstone FROM outbox WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
        move = "UPDATE outbox SET seq = ?, last = ? WHERE stream = ? AND seq = ?"
        next_seq, old = 1, 0
        while page := self.db.execute(keys, (stream, old, RENUMBER_ROWS)).fetchall():
            for old, old_last, is_tombstone in page:
                last = next_seq + old_last - old
                if is_tombstone:
                    self._readdress(stream, old, next_seq, last)
                self.db.execute(move, (next_seq, last, stream, old))
                next_seq = last + 1
        return next_seq

    def _readdress(self, stream: int, seq: int, first: int, last: int) -> None:
        """A tombstone says inside which seqs it stands for."""
        here = "WHERE stream = ? AND seq = ?", (stream, seq)
        (body,) = self.db.execute(f"SELECT body FROM outbox {here[0]}", here[1]).fetchone()
        stone = decode_record(body)
        stone.payload.update(first=first, last=last)
        self.db.execute(f"UPDATE outbox SET body = ? {here[0]}", (encode_record(stone), *here[1]))

    def close(self) -> None:
        with suppress(sqlite3.Error):  # a full disk: the WAL is as good
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()


def held(mark: Mark) -> Iterator[tuple[int, int]]:
    """The stretches of seqs that this mark says are stored."""
    start = 1
    for first, last in mark.missing:
        if start < first:
            yield start, first - 1
        start = last + 1
    if start <= mark.high:
        yield start, mark.high


def set_aside(path: Path) -> Path:
    """Moves a damaged database and its WAL away, never over another one. Nothing in it is lost for who salvages it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for tail in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(aside.with_name(aside.name + tail))
    sync_folder(path)
    return aside


def sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_database(path: Path, boot_id: bytes, connect: Connect = connect) -> tuple[Database, Path | None]:
    """The database, and where a damaged one was put. StoreError says what the operator can do."""
    aside = None
    try:
        try:
            database = Database(path, boot_id, connect)
        except sqlite3.DatabaseError as error:
            if code(error) not in DAMAGE:
                raise
            aside = set_aside(path)
            database = Database(path, boot_id, connect)
        sync_folder(path)
        return database, aside
    except OSError as error:
        advice = "its folder must exist and belong to the user that runs this"
        raise StoreError(f"cannot open {path}: {error.strerror}: {advice}") from None
    except sqlite3.Error as error:
        if code(error) == sqlite3.SQLITE_BUSY:
            raise StoreError(f"{path} is in use: another station-agent runs, stop that first") from None
        raise StoreError(f"cannot open {path}: {error}: check the disk and its free space") from None


DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; an error that we raised about the content counts as damage."""
    extended: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return extended & 0xFF


def squeeze(batches: Sequence[Batch]) -> Batch:
    """One batch instead of many: of each fact the last value, and all records, or of the least streams a tombstone.

    Money is never dropped: a store that fails forbids new sessions, and the running ones come to an end.
    """
    items = [item for batch in batches for item in batch.items]
    facts = {item.key: item for item in items if isinstance(item, Save)}
    owed = [item for item in items if not isinstance(item, Save)]
    for stream in (Stream.LOGS, Stream.SAMPLES, Stream.RESULTS, Stream.STATUS):
        if sum(item.stream != Stream.MONEY for item in owed) > SQUEEZED_MAX:
            owed = drop(owed, stream)
    ids = [batch_id for batch in batches for batch_id in batch.ids]
    untold = [batch_id for batch in batches for batch_id in batch.untold]
    return Batch(ids, untold, [*owed, *facts.values()])


def drop(items: Sequence[Record | Gap], stream: Stream) -> list[Record | Gap]:
    """The items, with one gap in the place of everything in this stream."""
    dropped = [item for item in items if item.stream == stream]
    kept = [item for item in items if item.stream != stream]
    if not dropped:
        return kept
    last = dropped[-1].last if isinstance(dropped[-1], Gap) else dropped[-1]
    return [*kept, Gap(stream, sum(item.count if isinstance(item, Gap) else 1 for item in dropped), last)]


# -- the thread -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """What waits for the owner beside batches; bounded, because the same question again replaces the first."""

    marks: dict[int, Mark] = field(default_factory=dict)
    epoch: bytes = b""  # that they speak of
    new_epoch: bool = False
    fetches: dict[int, tuple[int, int]] = field(default_factory=dict)  # stream -> after_seq, limit_bytes


class Store:
    """Owns the database. Every method but open and close returns at once; `post` is called from the owner thread."""

    def __init__(
        self, path: Path, boot_id: bytes, post: Callable[[object], None],
        *, connect: Connect = connect, retry_s: float = RETRY_S,
    ) -> None:  # fmt: skip
        self._path, self._boot_id, self._post, self._connect, self._retry_s = path, boot_id, post, connect, retry_s
        self._changed = threading.Condition()  # guards what follows
        self._batches: list[Batch] = []
        self._in_hand = 0  # of them, in the transaction that is on its way
        self._asked = Asked()
        self._is_closing = False
        self._is_failing = False  # some batch has been told so; like the next two, the owner's own
        self._is_stuck = False  # the last try failed
        self._is_epoch_owed = False  # a new epoch was refused
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def open(self) -> Opened:
        """Blocks. A damaged file is moved aside and a new one opened; StoreError if there is something to type."""
        self._database, damaged = open_database(self._path, self._boot_id, self._connect)
        opened = Opened(self._database.facts(), self._database.epoch, self._database.marks(), damaged)
        self._thread.start()
        return opened

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None:
        """All of the batch in one transaction: Committed, or CommitFailed first."""
        with self._changed:
            self._batches.append(Batch([batch_id], [batch_id], list(durable)))
            if len(self._batches) - self._in_hand > WAITING_MAX:
                self._batches[self._in_hand :] = [squeeze(self._batches[self._in_hand :])]
            self._changed.notify()

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None:
        """Fetched. One question a stream: a second before the answer replaces the first."""
        with self._changed:
            self._asked.fetches[stream] = after_seq, limit_bytes
            self._changed.notify()

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        """The cloud holds this: delete it. If the disk refuses, the next acknowledgement says it again."""
        with self._changed:
            if epoch != self._asked.epoch:
                self._asked.epoch, self._asked.marks = epoch, {}
            self._asked.marks.update(marks)
            self._changed.notify()

    def new_epoch(self) -> None:
        """EpochOpened, as soon as the disk takes it."""
        with self._changed:
            self._asked.new_epoch = True
            self._changed.notify()

    def close(self) -> int:
        """Commits what waits, once more. Returns the number of batches that never reached the disk."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        return sum(len(batch.ids) for batch in self._batches)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # a dead owner thread would be silent: the loop raises it where it is seen
            self._post(Crashed(error))
        finally:
            self._database.close()

    def _turn(self) -> bool:
        """Commits first, then one answer, so that neither waits for ever. False: closed."""
        with self._changed:
            is_owing = bool(self._batches) or self._is_epoch_owed
            self._changed.wait_for(self._has_news, self._retry_s if is_owing else None)
            is_closing, group = self._is_closing, self._batches[:GROUP_MAX]
            self._in_hand = len(group)
        if group:
            self._commit(group)
        if is_closing and (self._is_stuck or not self._batches):
            return False
        self._answer_one()
        return True

    def _has_news(self) -> bool:
        """Something can be done at once. What failed waits for the clock, or for company."""
        asked = self._asked
        is_due = bool(self._batches) and (not self._is_stuck or bool(self._batches[-1].untold))
        return bool(self._is_closing or is_due or asked.marks or asked.new_epoch or asked.fetches)

    def _commit(self, group: list[Batch]) -> None:
        try:
            grown = self._database.commit([item for batch in group for item in batch.items])
        except sqlite3.Error as error:
            self._fail(str(error))
            return
        with self._changed:
            del self._batches[: len(group)]
            self._in_hand = 0
            is_recovered = self._is_failing and not self._batches
        self._is_stuck = False
        for batch_id in [batch_id for batch in group for batch_id in batch.ids]:
            self._post(Committed(batch_id, grown))
        if is_recovered:
            self._is_failing = False
            self._post(StoreRecovered())

    def _fail(self, why: str) -> None:
        self._is_failing = self._is_stuck = True
        with self._changed:
            self._in_hand = 0
            untold = [batch_id for batch in self._batches for batch_id in batch.untold]
            for batch in self._batches:
                batch.untold = []
        for batch_id in untold:
            self._post(CommitFailed(batch_id, why))

    def _answer_one(self) -> None:
        with self._changed:
            asked = self._asked
            epoch, marks, asked.marks = asked.epoch, asked.marks, {}
            is_new, asked.new_epoch = asked.new_epoch, False
            stream = min(asked.fetches, default=None)
            question = None if stream is None else asked.fetches.pop(stream)
        if marks:
            with suppress(sqlite3.Error):
                self._database.acknowledged(epoch, marks)
        if is_new or self._is_epoch_owed:
            self._open_epoch()
        if stream is not None and question is not None:
            self._post(Fetched(stream, question[0], self._rows(stream, *question)))

    def _open_epoch(self) -> None:
        try:
            self._database.new_epoch()
        except sqlite3.Error:
            self._is_epoch_owed = True
            return
        self._is_epoch_owed = False
        self._post(EpochOpened(self._database.epoch, self._database.marks()))

    def _rows(self, stream: int, after_seq: int, limit_bytes: int) -> tuple[Row, ...] | None:
        try:
            return self._database.fetch(stream, after_seq, limit_bytes)
        except sqlite3.Error:
            return None
