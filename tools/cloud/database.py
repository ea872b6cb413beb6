"""One SQLite file that several processes share: consumers, commands, the view. Facts only; what follows from them is
computed where it is asked for.

Writers take turns by a lock on a file beside the database, not by SQLite's own. Two reasons. SQLite before 3.51.3 can
damage a WAL file when one connection resets it while another writes or checkpoints (sqlite.org/wal.html, "WAL-reset
bug"): here a write and the checkpoint that its COMMIT may bring are never two at a time. And SQLite lets those who
wait poll, so that one busy consumer can starve another; the kernel wakes whoever waits. kill -9 lets go of the lock.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS station (name TEXT PRIMARY KEY, epoch BLOB, boot_id BLOB, connection INTEGER, words INTEGER,
    online INTEGER NOT NULL DEFAULT 0, heard_ms INTEGER,
    gone_boot BLOB, gone_connection INTEGER,            -- the newest will: a hello that comes after it may be older
    about TEXT NOT NULL DEFAULT '{}',                   -- chargingStation of its BootNotification
    listed TEXT NOT NULL DEFAULT '',                    -- [generation, version] that it has confirmed ..
    listed_ms INTEGER NOT NULL DEFAULT 0,               -- .. and when
    offered TEXT NOT NULL DEFAULT '',                   -- [generation, version] that was last queued for it
    key_id BLOB) STRICT;                                -- the operator's key that it takes, NULL = the first one
CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, station TEXT NOT NULL, epoch BLOB NOT NULL,
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    boot_id BLOB, mono_ms INTEGER, wall_ms INTEGER, clock_source INTEGER, action TEXT,
    fault TEXT, fault_text TEXT,
    UNIQUE (station, epoch, stream, seq)) STRICT;
CREATE INDEX IF NOT EXISTS record_fault ON record (station, fault) WHERE fault IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_reservation ON record (station) WHERE action = 'ReservationStatusUpdate';
CREATE TABLE IF NOT EXISTS event (record_id INTEGER PRIMARY KEY, station TEXT NOT NULL, transaction_id TEXT NOT NULL,
    seq_no INTEGER NOT NULL, kind TEXT NOT NULL,
    at_ms INTEGER,                                      -- by its own timestamp; NULL: the station knew no time
    evse_id INTEGER, id_token TEXT, first_wh REAL, last_wh REAL, register_fell INTEGER NOT NULL,
    stopped_reason TEXT,
    cost TEXT, marks TEXT) STRICT;                      -- what the bill needs of each TransactionEvent
CREATE INDEX IF NOT EXISTS event_of ON event (station, transaction_id);
CREATE INDEX IF NOT EXISTS event_edge ON event (station, kind, transaction_id) WHERE kind <> 'Updated';
CREATE TABLE IF NOT EXISTS tombstone (station TEXT, epoch BLOB, stream INTEGER, first INTEGER, last INTEGER, body BLOB,
    PRIMARY KEY (station, epoch, stream, first, last)) STRICT;
CREATE TABLE IF NOT EXISTS conflict (station TEXT, epoch BLOB, stream INTEGER, seq INTEGER, digest BLOB, body BLOB,
    PRIMARY KEY (station, epoch, stream, seq, digest)) STRICT;
CREATE TABLE IF NOT EXISTS span (station TEXT, epoch BLOB, stream INTEGER, first INTEGER, last INTEGER,
    PRIMARY KEY (station, epoch, stream, first)) STRICT;                     -- what is stored or declared, merged
CREATE TABLE IF NOT EXISTS refusal (station TEXT, stream INTEGER, seq INTEGER, why TEXT NOT NULL,
    PRIMARY KEY (station, stream, seq)) STRICT;                             -- never to be stored
CREATE TABLE IF NOT EXISTS boot (station TEXT, boot_id BLOB, mono_ms INTEGER, wall_ms INTEGER,
    PRIMARY KEY (station, boot_id)) STRICT;                                 -- the newest dated record of each boot
CREATE TABLE IF NOT EXISTS counter (station TEXT, kind TEXT, n INTEGER, PRIMARY KEY (station, kind)) STRICT;
CREATE TABLE IF NOT EXISTS live (station TEXT PRIMARY KEY, received_ms INTEGER NOT NULL, mono_ms INTEGER NOT NULL,
    ports TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS port (station TEXT, evse_id INTEGER, status TEXT NOT NULL, epoch BLOB, seq INTEGER,
    PRIMARY KEY (station, evse_id)) STRICT;                                 -- by its newest StatusNotification
CREATE TABLE IF NOT EXISTS driver (id_token TEXT PRIMARY KEY, group_ids TEXT NOT NULL, status TEXT NOT NULL,
    expiry_ms INTEGER, language TEXT NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'approved', since_ms INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS driver_tariff (id_token TEXT PRIMARY KEY, tariff TEXT NOT NULL) STRICT;
                                                        -- OCPP TariffType, for who asks us about this driver
CREATE TABLE IF NOT EXISTS driver_change (id_token TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS driver_change_by ON driver_change (version);
CREATE TABLE IF NOT EXISTS edition (version INTEGER PRIMARY KEY, made_ms INTEGER NOT NULL) STRICT;
                                                        -- those that a station can be led on from the one before
CREATE TABLE IF NOT EXISTS list (generation INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, station TEXT NOT NULL, action TEXT NOT NULL,
    payload TEXT NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, sends INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0, is_part INTEGER NOT NULL DEFAULT 0,
    status TEXT, result TEXT) STRICT;                                       -- status NULL: no answer yet
CREATE INDEX IF NOT EXISTS command_open ON command (station, action) WHERE status IS NULL;
CREATE INDEX IF NOT EXISTS command_reserve ON command (station) WHERE action = 'ReserveNow';
"""
LATER = (                               # columns that a file from before them lacks
    ("driver", "state", "TEXT NOT NULL DEFAULT 'approved'"),
    ("driver", "since_ms", "INTEGER NOT NULL DEFAULT 0"),
    ("event", "cost", "TEXT"),
    ("event", "marks", "TEXT"),
    ("command", "is_part", "INTEGER NOT NULL DEFAULT 0"),
)
INDEXES = "CREATE INDEX IF NOT EXISTS driver_state ON driver (state, since_ms)"


class Database(sqlite3.Connection):
    """Readers read whenever they like; every write stands within `transaction()`."""

    lock: int | None = None             # a file descriptor; None in memory, where nobody else writes

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, durable when it returns. One within another is part of it."""
        if self.in_transaction:
            yield
            return
        with self.turn():
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            finally:
                if self.in_transaction:
                    self.execute("ROLLBACK")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else writes or checkpoints."""
        if self.lock is None:
            yield
            return
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.lock, fcntl.LOCK_UN)

    def close(self) -> None:
        with self.turn():               # the last one to close checkpoints
            super().close()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def open_database(path: Path | str) -> Database:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, factory=Database, cached_statements=256)
    if str(path) != ":memory:":
        db.lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with db.turn():
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(TABLES)
        for table, column, kind in LATER:
            if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        db.execute(INDEXES)
    return db
