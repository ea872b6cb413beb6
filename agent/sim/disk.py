"""The disk: the real SQL of agent/store.py on memory that outlives power cuts; it may be slow, or refuse.

A batch that was on its way when the power failed is on the disk or it is not, as a coin decides; never half.
"""

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.effects import Durable, Record
from agent.events import StoreRecovered
from agent.outbox import Database, Forked
from agent.store import (
    GROUP_MAX,
    RETRY_S,
    Buried,
    CommitFailed,
    Committed,
    EpochOpened,
    Fetched,
    Search,
    Searched,
    StoreForked,
    is_about,
    patience_s,
)
from agent.uplink.codec import Mark

FULL = "database or disk is full"
FSYNC_FAILS = "disk I/O error"

Later = Callable[[float, Callable[[], None]], None]  # seconds from now, what then
Post = Callable[[object], None]


class SimDisk:
    """What stays in the box when the power is cut."""

    def __init__(self, seed: int) -> None:
        self.folder = TemporaryDirectory(prefix="station-")
        self.latency_s = 0.004  # of a commit: eMMC
        self.refuses = ""  # why no commit succeeds: FULL, or FSYNC_FAILS; "" = it works
        self.commits = 0
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._random = random.Random(seed)
        self._on_its_way: tuple[Database, Sequence[Durable]] | None = None

    @property
    def path(self) -> Path:
        return Path(self.folder.name)

    def mount(self, boot_id: bytes) -> Database:
        return Database(self.path / "station.db", boot_id, lambda _: self._db)

    def copied(self) -> sqlite3.Connection:
        """What a backup of the disk would hold now."""
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.backup(copy)
        return copy

    def restore(self, copy: sqlite3.Connection) -> None:
        """A backup is put back; whoever does that has switched the station off."""
        copy.backup(self._db)

    def power_cut(self) -> None:
        """The controller of the disk may have finished what it was given, or not."""
        if self._on_its_way and not self.refuses and self._random.random() < 0.5:
            database, durable = self._on_its_way
            database.commit(durable)
        self._on_its_way = None

    def close(self) -> None:
        self._db.close()
        self.folder.cleanup()


class SimStore:
    """agent/store.py's Store without its thread: the same answers, later. Lives from boot to power cut."""

    def __init__(self, disk: SimDisk, database: Database, later: Later, post: Post) -> None:
        self._disk, self._database, self._later, self._post = disk, database, later, post
        self._waiting: list[tuple[int, Sequence[Durable]]] = []
        self._marks: dict[int, Mark] = {}
        self._epoch = b""  # that they speak of
        self._is_busy = self._is_failing = False
        self._urgent = 0  # the newest batch that waits for nobody
        self._told = 0

    def facts(self) -> dict[str, Any]:
        return self._database.facts()

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None:
        self._waiting.append((batch_id, durable))
        if patience := patience_s(durable):
            self._later(patience, lambda: self.flush() if batch_id >= self._waiting_from() else None)
        else:
            self._urgent = batch_id
            self._start()

    def _waiting_from(self) -> float:
        return self._waiting[0][0] if self._waiting else float("inf")

    def flush(self) -> None:
        if self._waiting:
            self._urgent = self._waiting[-1][0]
            self._start()

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None:
        def read() -> None:
            self._post(Fetched(stream, after_seq, self._database.fetch(stream, after_seq, limit_bytes)))

        self._later(0.001, read)

    def search(self, search: Search) -> None:
        unwritten = [item for _, batch in self._waiting for item in batch if isinstance(item, Record)]
        is_held = any(is_about(record, search.transaction_id) for record in unwritten)
        is_held = is_held or self._database.holds(search.transaction_id, search.owed)
        self._later(0.001, lambda: self._post(Searched(search, is_held)))

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        try:
            self._database.compare(epoch, marks)
        except Forked as forked:
            self._marks = {}
            why = str(forked)
            self._later(0.001, lambda: self._post(StoreForked(why)))
            return
        self._marks = {**(self._marks if epoch == self._epoch else {}), **marks}
        self._epoch = epoch

    def bury(self, stream: int, seq: int, why: str) -> None:
        if self._database.bury(stream, seq, why):
            self._later(0.001, lambda: self._post(Buried(stream, seq, why)))

    def new_epoch(self) -> None:
        def opened() -> None:
            self._database.new_epoch()
            self._post(EpochOpened(self._database.epoch, self._database.marks()))

        self._later(self._disk.latency_s, opened)

    def _start(self) -> None:
        if self._is_busy or self._urgent < self._waiting_from():
            return
        self._is_busy = True
        group = self._waiting[:GROUP_MAX]
        self._disk._on_its_way = self._database, [item for _, durable in group for item in durable]
        self._later(self._disk.latency_s, lambda: self._finish(len(group)))

    def _finish(self, count: int) -> None:
        on_its_way, self._disk._on_its_way = self._disk._on_its_way, None
        assert on_its_way
        if self._disk.refuses:
            self._is_failing = True  # and busy, until the retry
            self._later(RETRY_S, self._retry)
            for batch_id in [n for n, _ in self._waiting if n > self._told]:
                self._told = batch_id
                self._post(CommitFailed(batch_id, self._disk.refuses))
            return
        self._is_busy = False
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        marks, self._marks = self._marks if self._epoch == self._database.epoch else {}, {}
        grown = self._database.commit(on_its_way[1], marks)
        self._disk.commits += 1
        for batch_id, _ in group:
            self._post(Committed(batch_id, grown))
        if self._is_failing and not self._waiting:
            self._is_failing = False
            self._post(StoreRecovered())
        self._start()

    def _retry(self) -> None:
        self._is_busy = False
        self._start()
