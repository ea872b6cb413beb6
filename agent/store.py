"""The one thread that owns the database (agent/outbox.py): facts, and the outbox of records owed to the cloud.

The loop asks without waiting and is told through `post`; what it asked for in one batch is on disk together or not at
all. A batch that does not reach the disk stays here, is tried again with every request and every RETRY_S, and never
overtakes an older one. Samples, logs and signs of life wait a little for company (`patience_s`): a commit writes whole
pages, and flash wears. What the cloud has acknowledged is written with the next commit.

    Committed, CommitFailed, Fetched, EpochOpened, Buried, StoreFailed, StoreRecovered, StoreForked, Crashed
        what `post` may be given
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.effects import Durable, Record, Save, Stream
from agent.events import StoreFailed, StoreRecovered
from agent.outbox import (
    PRUNED_ROWS,
    SEQ_BITS,
    SEQ_MASK,
    Connect,
    Database,
    DeadLetter,
    Forked,
    Gap,
    Marks,
    Row,
    StoreError,
    connect,
)
from agent.uplink.codec import Mark

RETRY_S = 5.0
EPOCH_RETRY_MAX_S = 3_600.0  # a new epoch writes everything anew: tried every RETRY_S it would wear out the flash
CLOSE_S = 10.0  # a disk that hangs longer does not keep the process from ending
GROUP_S = 1.0  # what samples and logs wait for company, as of all ports at a quarter hour; S3 allows no more
ALIVE_WAIT_S = 300.0  # what a sign of life waits, when nothing else is to be written
ALIVE_FACT = "station"
SETTLE_S = 600.0  # what an acknowledgement waits for a commit to go with
CHECK_S = 30.0  # between two slices of the check that runs in idle time
CHECK_AGAIN_S = 86_400.0
GROUP_MAX = 100  # batches in one transaction
WAITING_MAX = 10_000  # batches in memory; beyond it they are squeezed into one
SEARCHES_MAX = 64  # questions that wait
SQUEEZED_MAX = 1_000  # records of other streams than money that a squeeze leaves
BALLAST_B = 2 << 20  # a full disk refuses even DELETE: this goes first
DAMAGED_MAX = 5  # databases set aside
FORGOTTEN = "cache/"  # facts that are not salvaged: what has been taken back might come back with them


@dataclass(frozen=True, slots=True)
class Opened:
    facts: dict[str, Any]
    epoch: bytes
    marks: Marks
    damaged: Path | None = None  # where an unreadable file was moved; what could be read of it is in the new one
    salvaged: int = 0  # records of money
    dead_letters: int = 0
    schema: int = 0  # how many migrations a build must know to open this database


class Committed(Struct, frozen=True):
    """The batch is on disk. `next_seq` of the streams that grew, as of this transaction."""

    batch_id: int
    next_seq: dict[int, int]


class CommitFailed(Struct, frozen=True):
    """The batch is in memory only. Said once; Committed follows when the disk takes it."""

    batch_id: int
    why: str


class Fetched(Struct, frozen=True):
    """Records of a stream from after_seq + 1 on, in order; None if they could not be read."""

    stream: int
    after_seq: int
    rows: tuple[Row, ...] | None


class Search(Struct, frozen=True):
    """Is anything about this transaction (None: any) not acknowledged? `owed`: of streams, what the cloud lacks."""

    search_id: str
    transaction_id: str | None
    owed: Mapping[int, Sequence[tuple[int, int]]]


class Searched(Struct, frozen=True):
    search: Search
    is_held: bool


class EpochOpened(Struct, frozen=True):
    epoch: bytes
    marks: Marks


class Buried(Struct, frozen=True):
    """The record is among the dead letters, and a tombstone stands in its place."""

    stream: int
    seq: int
    why: str


class StoreForked(Struct, frozen=True):
    """The cloud holds other records than we do under keys of this epoch."""

    why: str


class Crashed(Struct, frozen=True):
    """A bug of ours ended the owner thread: raise the error where it is seen."""

    error: BaseException


@dataclass(slots=True)
class Batch:
    ids: list[int]  # more than one after a squeeze
    untold: list[int]  # of them, those without an answer so far
    items: list[Record | Save | Gap]
    due: float = 0.0  # monotonic: it may wait for company until then


# -- the file ---------------------------------------------------------------------------------------------------------


def set_aside(path: Path) -> Path:
    """Moves a damaged database and its WAL away, and keeps the last few of them for whoever wants to look."""
    names = [file.name.removeprefix(f"{path.name}.damaged-") for file in path.parent.glob(f"{path.name}.damaged-*")]
    number = max((int(name) for name in names if name.isdecimal()), default=0) + 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    for tail in ("-wal", "-shm", ""):
        path.with_name(f"{path.name}.damaged-{number - DAMAGED_MAX}{tail}").unlink(missing_ok=True)
    for tail in ("-wal", "-shm", ""):  # the database last: while it stands, the next start finds it damaged again
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


def open_database(
    path: Path, boot_id: bytes, connect: Connect = connect, *, may_destroy: bool = False
) -> tuple[Database, Path | None, int]:
    """The database, where a damaged one was put, and how much of its money was salvaged. StoreError: what to do."""
    try:
        if not path.exists() and draft_of(path).exists():
            draft_of(path).rename(path)  # the power failed in the last step of a rebuild
        try:
            database = Database(path, boot_id, connect, may_destroy=may_destroy)
            opened: tuple[Database, Path | None, int] = database, None, 0
            if damage_mark(path).exists():
                opened[0].close()
                raise sqlite3.DatabaseError("found damaged while it was in use")
        except sqlite3.DatabaseError as error:
            if code(error) not in DAMAGE:
                raise
            opened = rebuilt(path, boot_id, connect, may_destroy)
        sync_folder(path)
        return opened
    except OSError as error:
        advice = "its folder must exist and belong to the user that runs this"
        raise StoreError(f"cannot open {path}: {error.strerror}: {advice}") from None
    except sqlite3.Error as error:
        if code(error) == sqlite3.SQLITE_BUSY:
            raise StoreError(f"{path} is in use: another station-agent runs, stop that first") from None
        raise StoreError(f"cannot open {path}: {error}: check the disk and its free space") from None


def rebuilt(path: Path, boot_id: bytes, connect: Connect, may_destroy: bool) -> tuple[Database, Path, int]:
    """A new database with what could be read of the damaged one. Complete under another name before it takes the place:
    a power cut in between finds the damaged one again."""
    from agent.salvage import salvage  # once in the life of a bad disk

    found = salvage(path)
    facts = {key: value for key, value in found.facts.items() if not key.startswith(FORGOTTEN)}
    draft = draft_of(path)
    for tail in ("", "-wal", "-shm"):
        draft.with_name(draft.name + tail).unlink(missing_ok=True)
    database = Database(draft, boot_id, connect, may_destroy=may_destroy)
    money = [(seq, *row) for seq, row in sorted(found.money.items())]
    database.restore(found.epoch, money, facts, found.marks)
    database.close()
    sync_folder(path)
    aside = set_aside(path)
    draft.rename(path)
    damage_mark(path).unlink(missing_ok=True)
    sync_folder(path)
    return Database(path, boot_id, connect, may_destroy=may_destroy), aside, len(found.money)


def draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.rebuilt")


def damage_mark(path: Path) -> Path:
    """Stands beside a database that SQLite found damaged while it was in use: opening alone would not notice."""
    return path.with_name(f"{path.name}.damage")


DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; an error that we raised about the content counts as damage."""
    extended: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return extended & 0xFF


def ballast_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.ballast")


def load_ballast(path: Path) -> bool:
    """Whether it stands whole (a power cut may have emptied it), made if there is room for it and as much again."""
    ballast = ballast_of(path)
    try:
        if ballast.exists() and ballast.stat().st_size >= BALLAST_B:
            return True
        disk = os.statvfs(path.parent)
        if disk.f_bavail * disk.f_frsize < 2 * BALLAST_B:
            return False
        with open(os.open(ballast, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_B)
    except OSError:
        return False
    return True


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
    return Batch(ids, untold, [*owed, *facts.values()], min(batch.due for batch in batches))


def drop(items: Sequence[Record | Gap], stream: Stream) -> list[Record | Gap]:
    """The items, with one gap in the place of everything in this stream."""
    dropped = [item for item in items if item.stream == stream]
    kept = [item for item in items if item.stream != stream]
    if not dropped:
        return kept
    last = dropped[-1].last if isinstance(dropped[-1], Gap) else dropped[-1]
    return [*kept, Gap(stream, sum(item.count if isinstance(item, Gap) else 1 for item in dropped), last)]


def is_about(record: Record, transaction_id: str | None) -> bool:
    """Whether a record not yet on disk is of this transaction; None: of any."""
    info = record.payload.get("transactionInfo")
    return isinstance(info, dict) and transaction_id in (None, info.get("transactionId"))


# -- the thread -------------------------------------------------------------------------------------------------------


def patience_s(durable: Sequence[Durable], group_s: float = GROUP_S) -> float:
    """How long this batch may wait for company, with the facts that go with it; whoever cannot calls flush()."""
    records = [item for item in durable if isinstance(item, Record)]
    if records:
        return group_s if all(record.stream in (Stream.SAMPLES, Stream.LOGS) for record in records) else 0.0
    saved = [item.key for item in durable if isinstance(item, Save)]
    return ALIVE_WAIT_S if saved and set(saved) == {ALIVE_FACT} else 0.0


class Letters(Struct, frozen=True):
    """Dead letters that somebody wants to read."""

    after_id: int
    limit_bytes: int
    answer: "Future[list[DeadLetter]]"


@dataclass(slots=True)
class Asked:
    """What waits for the owner beside batches; bounded, because the same question again replaces the first."""

    marks: dict[int, Mark] = field(default_factory=dict)
    epoch: bytes = b""  # that they speak of
    settle_at: float | None = None
    compare: dict[int, Mark] = field(default_factory=dict)  # marks with a digest
    forked: bytes = b""  # the epoch under which the cloud holds other records: nothing uncompared is believed
    new_epoch: bool = False
    bury: dict[tuple[int, int], str] = field(default_factory=dict)  # stream, seq -> why
    fetches: dict[int, tuple[int, int]] = field(default_factory=dict)  # stream -> after_seq, limit_bytes
    searches: list[Search] = field(default_factory=list)  # SEARCHES_MAX
    letters: list[Letters] = field(default_factory=list)  # SEARCHES_MAX


class Store:
    """Owns the database. Every method but open and close returns at once; `post` is called from the owner thread."""

    def __init__(
        self, path: Path, boot_id: bytes, post: Callable[[object], None], clock: Callable[[], float],
        *, connect: Connect = connect, retry_s: float = RETRY_S, group_s: float = GROUP_S, may_destroy: bool = False,
    ) -> None:  # fmt: skip
        """`clock` is monotonic seconds. `may_destroy`: this build is confirmed (agent/outbox.py)."""
        self._path, self._boot_id, self._post, self._clock, self._connect = path, boot_id, post, clock, connect
        self._retry_s, self._group_s, self._may_destroy = retry_s, group_s, may_destroy
        self._changed = threading.Condition()  # guards what follows
        self._batches: list[Batch] = []
        self._in_hand = 0  # of them, in the transaction that is on its way
        self._asked = Asked()
        self._is_closing = False
        self._is_failing = False  # the loop has been told that the store fails; like the rest, the owner's own
        self._retry_at: float | None = None  # the last try failed
        self._epoch_at: float | None = None  # a new epoch was refused: when to try again
        self._epoch_pause_s = retry_s
        self._has_ballast = True
        self._check_at, self._check_after = 0.0, 0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def open(self) -> Opened:
        """Blocks. A damaged file is moved aside and rebuilt from what is readable; StoreError: something to type."""
        self._database, damaged, salvaged = open_database(
            self._path, self._boot_id, self._connect, may_destroy=self._may_destroy
        )
        letters = self._database.count_dead_letters()
        facts, epoch, marks = self._database.facts(), self._database.epoch, self._database.marks()
        opened = Opened(facts, epoch, marks, damaged, salvaged, letters, self._database.schema)
        self._has_ballast = load_ballast(self._path)
        self._check_at = self._clock() + CHECK_S
        self._thread.start()
        return opened

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None:
        """All of the batch in one transaction: Committed, or CommitFailed first."""
        patience = patience_s(durable, self._group_s)
        due = self._clock() + patience if patience else 0.0
        with self._changed:
            self._batches.append(Batch([batch_id], [batch_id], list(durable), due))
            if len(self._batches) - self._in_hand > WAITING_MAX:
                self._batches[self._in_hand :] = [squeeze(self._batches[self._in_hand :])]
            self._changed.notify()

    def flush(self) -> None:
        """What waits for company goes now."""
        with self._changed:
            for batch in self._batches:
                batch.due = 0.0
            self._changed.notify()

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None:
        """Fetched. One question a stream: a second before the answer replaces the first."""
        with self._changed:
            self._asked.fetches[stream] = after_seq, limit_bytes
            self._changed.notify()

    def search(self, search: Search) -> None:
        """Searched. With a disk that hangs for many of them it is held, as nobody can know that it is not."""
        with self._changed:
            is_too_many = len(self._asked.searches) >= SEARCHES_MAX
            if not is_too_many:
                self._asked.searches.append(search)
                self._changed.notify()
        if is_too_many:
            self._post(Searched(search, is_held=True))

    def dead_letters(self, after_id: int, limit_bytes: int) -> "Future[list[DeadLetter]]":
        """Those after this one, as Database.dead_letters(); StoreError if they cannot be read, or too many ask."""
        answer: Future[list[DeadLetter]] = Future()
        with self._changed:
            is_too_many = len(self._asked.letters) >= SEARCHES_MAX
            if not is_too_many:
                self._asked.letters.append(Letters(after_id, limit_bytes, answer))
                self._changed.notify()
        if is_too_many:
            answer.set_exception(StoreError("the disk does not answer: try again"))
        return answer

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        """The cloud holds this: it may go, with the next commit. StoreForked if a digest is of another record."""
        with self._changed:
            asked = self._asked
            if epoch != asked.epoch:
                asked.epoch, asked.marks, asked.compare = epoch, {}, {}
            for stream, mark in marks.items():  # what can be compared is believed only then
                if mark.digest:
                    asked.compare[stream] = mark
                elif epoch != asked.forked:
                    asked.marks[stream] = mark
            if asked.settle_at is None:
                asked.settle_at = self._clock() + SETTLE_S
            self._changed.notify()

    def bury(self, stream: int, seq: int, why: str) -> None:
        """Buried, if there is such a record."""
        with self._changed:
            self._asked.bury[stream, seq] = why
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
            while not self._has_news():  # what comes meanwhile may be due before what was waited for
                self._changed.wait(max(0.0, self._wakes_at() - self._clock()))
            is_closing, now = self._is_closing, self._clock()
            is_due = is_closing or any(batch.due <= now for batch in self._batches)
            group = self._batches[:GROUP_MAX] if is_due else []
            self._in_hand = len(group)
        if group:
            self._commit(group)
        if is_closing and (self._retry_at is not None or not self._batches):
            self._settle()
            return False
        self._answer_one(now)
        if not self._has_ballast and self._retry_at is None:
            self._reload_ballast()
        if now >= self._check_at:
            self._check(now)
        return True

    def _has_news(self) -> bool:
        """Something can be done at once. What failed waits for the clock, or for company."""
        asked, now = self._asked, self._clock()
        is_due = any(batch.due <= now for batch in self._batches) and (
            self._retry_at is None or bool(self._batches[-1].untold)
        )
        is_asked = (
            asked.compare or asked.new_epoch or asked.bury or asked.fetches or asked.searches or asked.letters
        )
        return bool(self._is_closing or is_due or is_asked or now >= self._wakes_at())

    def _wakes_at(self) -> float:
        """The next thing that time brings."""
        due = [self._check_at]
        if self._asked.settle_at is not None:
            due.append(self._asked.settle_at)
        if self._epoch_at is not None:
            due.append(self._epoch_at)
        if self._retry_at is not None:
            due.append(self._retry_at)
        else:
            due += [batch.due for batch in self._batches]
        return min(due)

    def _commit(self, group: list[Batch]) -> None:
        items = [item for batch in group for item in batch.items]
        epoch, marks = self._taken_marks()
        try:
            settled = marks if epoch == self._database.epoch else {}
            grown = self._with_ballast(lambda: self._database.commit(items, settled))
        except sqlite3.Error as error:
            self._fail(error)
            return
        with self._changed:
            del self._batches[: len(group)]
            self._in_hand = 0
        self._retry_at = None
        for batch_id in [batch_id for batch in group for batch_id in batch.ids]:
            self._post(Committed(batch_id, grown))
        self._recovered()

    def _recovered(self) -> None:
        if self._is_failing and self._has_ballast and not self._batches:
            self._is_failing = False
            self._post(StoreRecovered())

    def _fail(self, error: sqlite3.Error) -> None:
        self._is_failing = True
        self._retry_at = self._clock() + self._retry_s
        with self._changed:
            self._in_hand = 0
            untold = [batch_id for batch in self._batches for batch_id in batch.untold]
            for batch in self._batches:
                batch.untold = []
        for batch_id in untold:
            self._post(CommitFailed(batch_id, str(error)))
        self._damaged(error)

    def _with_ballast(self, change: Callable[[], Any]) -> Any:
        """A full disk gets the ballast and what can be spared; then no new business, until there is room again."""
        try:
            return change()
        except sqlite3.Error as error:
            if code(error) != sqlite3.SQLITE_FULL or not ballast_of(self._path).exists():
                raise
        ballast_of(self._path).unlink()
        self._has_ballast = False
        if not self._is_failing:
            self._post(StoreFailed("the disk is full"))
        self._is_failing = True
        self._database.make_room()
        return change()

    def _reload_ballast(self) -> None:
        if load_ballast(self._path):
            self._has_ballast = True
            self._recovered()

    def _damaged(self, error: sqlite3.Error) -> None:
        """SQLite has met damage in the middle of business: the next start rebuilds, and it comes soon."""
        if code(error) in DAMAGE and hasattr(error, "sqlite_errorcode"):
            damage_mark(self._path).touch()  # if the power fails now, it is met again
            raise error

    def _taken_marks(self) -> tuple[bytes, dict[int, Mark]]:
        """None while something is still to be compared: a later word must not overtake that."""
        with self._changed:
            asked = self._asked
            if asked.compare:
                return asked.epoch, {}
            marks, asked.marks, asked.settle_at = asked.marks, {}, None
            return asked.epoch, marks

    def _settle(self) -> None:
        epoch, marks = self._taken_marks()
        if marks:
            with suppress(sqlite3.Error):  # the next acknowledgement says it again
                self._database.acknowledged(epoch, marks)

    def _answer_one(self, now: float) -> None:
        with self._changed:
            asked = self._asked
            compare, asked.compare = asked.compare, {}
            bury, asked.bury = asked.bury, {}
            is_new, asked.new_epoch = asked.new_epoch, False
            is_settling = asked.settle_at is not None and (now >= asked.settle_at or self._is_much(asked.marks))
            stream = min(asked.fetches, default=None)
            question = None if stream is None else asked.fetches.pop(stream)
            epoch = asked.epoch
            searches, asked.searches = asked.searches, []
            letters, asked.letters = asked.letters, []
            unwritten = [item for batch in self._batches for item in batch.items if isinstance(item, Record)]
        try:
            self._database.compare(epoch, compare)
            with self._changed:
                asked.marks = compare | asked.marks
            if is_settling:
                self._settle()
            for (buried, seq), why in bury.items():
                if self._database.bury(buried, seq, why):
                    self._post(Buried(buried, seq, why))
        except Forked as forked:
            with self._changed:
                asked.marks, asked.settle_at, asked.forked = {}, None, epoch
            self._post(StoreForked(str(forked)))
        except sqlite3.Error as error:
            with self._changed:  # the next acknowledgement says it again
                asked.marks, asked.settle_at = {}, None
            self._damaged(error)
        if is_new or (self._epoch_at is not None and now >= self._epoch_at):
            self._open_epoch()
        if stream is not None and question is not None:
            self._post(Fetched(stream, question[0], self._rows(stream, *question)))
        for search in searches:
            is_held = any(is_about(record, search.transaction_id) for record in unwritten) or self._holds(search)
            self._post(Searched(search, is_held))
        for asked_for in letters:
            self._read(asked_for)

    def _read(self, letters: Letters) -> None:
        if not letters.answer.set_running_or_notify_cancel():  # nobody waits any more
            return
        try:
            letters.answer.set_result(self._database.dead_letters(letters.after_id, letters.limit_bytes))
        except sqlite3.Error as error:
            letters.answer.set_exception(StoreError(f"the dead letters cannot be read: {error}"))
            self._damaged(error)

    def _holds(self, search: Search) -> bool:
        try:
            return self._database.holds(search.transaction_id, search.owed)
        except sqlite3.Error as error:
            self._damaged(error)
            return True  # nobody can know that it is not

    def _is_much(self, marks: Mapping[int, Mark]) -> bool:
        """Enough for a transaction of its own: while much is sent, the outbox shrinks."""
        return any(mark.high - self._database.floor[stream] >= PRUNED_ROWS for stream, mark in marks.items())

    def _open_epoch(self) -> None:
        try:
            self._with_ballast(self._database.new_epoch)
        except sqlite3.Error as error:
            self._epoch_at = self._clock() + self._epoch_pause_s
            self._epoch_pause_s = min(2 * self._epoch_pause_s, EPOCH_RETRY_MAX_S)
            self._damaged(error)
            return
        self._epoch_at, self._epoch_pause_s = None, self._retry_s
        self._post(EpochOpened(self._database.epoch, self._database.marks()))

    def _rows(self, stream: int, after_seq: int, limit_bytes: int) -> tuple[Row, ...] | None:
        try:
            return self._database.fetch(stream, after_seq, limit_bytes)
        except sqlite3.Error as error:
            self._check_at, self._check_after = 0.0, 0  # whatever is damaged there is found soon
            self._damaged(error)
            return None

    def _check(self, now: float) -> None:
        """A slice of the outbox in idle time; what is damaged becomes a dead letter, and is declared."""
        try:
            after, damaged = self._database.check(self._check_after)
        except sqlite3.Error as error:
            self._check_at = now + CHECK_S
            self._damaged(error)
            return
        for key in damaged:
            self._post(Buried(key >> SEQ_BITS, key & SEQ_MASK, "damaged on disk"))
        self._check_after, self._check_at = after or 0, now + (CHECK_S if after else CHECK_AGAIN_S)
