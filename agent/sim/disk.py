"""The disk: the real SQL of agent/store.py on memory that outlives power cuts; it may be slow, or refuse.

A batch that was on its way when the power failed is on the disk or it is not, as a coin decides; never half.
"""

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.effects import Durable
from agent.events import StoreRecovered
from agent.store import RETRY_S, CommitFailed, Committed, Database, EpochOpened, Fetched
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
        self._on_its_way: list[tuple[Database, Sequence[Durable]]] = []

    @property
    def path(self) -> Path:
        return Path(self.folder.name)

    def mount(self, boot_id: bytes) -> Database:
        return Database(self.path / "station.db", boot_id, lambda _: self._db)

    def power_cut(self) -> None:
        """The controller of the disk may have finished what it was given, in order, or not."""
        for database, durable in self._on_its_way:
            if self.refuses or self._random.random() < 0.5:
                break
            database.commit(durable)
        self._on_its_way.clear()

    def close(self) -> None:
        self._db.close()
        self.folder.cleanup()


class SimStore:
    """agent/store.py's Store without its thread: the same answers, later. Lives from boot to power cut."""

    def __init__(self, disk: SimDisk, database: Database, later: Later, post: Post) -> None:
        self._disk, self._database, self._later, self._post = disk, database, later, post
        self._waiting: list[tuple[int, Sequence[Durable]]] = []
        self._is_busy = False
        self._is_failing = False
        self._told = 0

    def facts(self) -> dict[str, Any]:
        return self._database.facts()

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None:
        self._waiting.append((batch_id, durable))
        self._start()

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None:
        def read() -> None:
            self._post(Fetched(stream, after_seq, self._database.fetch(stream, after_seq, limit_bytes)))

        self._later(0.001, read)

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        if not self._disk.refuses:
            self._database.acknowledged(epoch, marks)

    def new_epoch(self) -> None:
        def opened() -> None:
            self._database.new_epoch()
            self._post(EpochOpened(self._database.epoch, self._database.marks()))

        self._later(self._disk.latency_s, opened)

    def _start(self) -> None:
        if self._is_busy or not self._waiting:
            return
        self._is_busy = True
        self._disk._on_its_way = [(self._database, durable) for _, durable in self._waiting[:1]]
        self._later(self._disk.latency_s, self._finish)

    def _finish(self) -> None:
        self._disk._on_its_way = []
        if self._disk.refuses:
            self._is_failing = True  # and busy, until the retry
            self._later(RETRY_S, self._retry)
            for batch_id in [n for n, _ in self._waiting if n > self._told]:
                self._told = batch_id
                self._post(CommitFailed(batch_id, self._disk.refuses))
            return
        self._is_busy = False
        batch_id, durable = self._waiting.pop(0)
        self._disk.commits += 1
        self._post(Committed(batch_id, self._database.commit(durable)))
        if self._is_failing and not self._waiting:
            self._is_failing = False
            self._post(StoreRecovered())
        self._start()

    def _retry(self) -> None:
        self._is_busy = False
        self._start()
