"""The store's stories and their judge (tests/durable_stories.py)."""

import json
import os
import queue
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from agent import outbox
from agent.effects import Durable, Record, Save, Stream
from agent.loop import monotonic
from agent.outbox import Connect, Database, StoreError, connect
from agent.salvage import salvaged
from agent.store import CommitFailed, Committed, Crashed, EpochOpened, Fetched, Opened, Store
from agent.uplink.codec import Mark, WireError, decode_record
from tests.durability import Judge, Tree, plant

BOOT = b"BOOT...1"
ALL_B = 10_000_000
TOMBSTONE = -2  # is no record's number: where one stands, something is lost
A = TypeVar("A")


def say(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())  # one call, in the thread that was promised


def record(stream: int, n: int, size_b: int = 0) -> Record:
    custom = {"customData": {"vendorId": "x" * size_b}} if size_b else {}
    return Record(Stream(stream), "TransactionEvent", {"seqNo": n, **custom}, 90.5, 1_767_261_600.0, 3)


class Open:
    """A store on this folder, with its answers in a queue; what it promises is said at once."""

    def __init__(self, folder: Path, say: Callable[..., None] = say, connect: Connect = connect) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self.steps = 0
        self._say, self._waiting_for = say, 0
        times: dict[str, Any] = {"retry_s": 0.01, "group_s": 0.0}
        self.store = Store(folder / "station.db", BOOT, self._post, monotonic, connect=connect, **times)
        self.opened: Opened = self.store.open()
        say(opened=self.opened.epoch.hex())

    def _post(self, answer: object) -> None:
        match answer:
            case Committed(batch_id=step):
                self._say(done=step)
            case EpochOpened(epoch=epoch):
                self._say(done=self._waiting_for, epoch=epoch.hex())
            case Fetched():
                self._say(done=self._waiting_for)
            case CommitFailed() | Crashed():
                self._say(failed=repr(answer))
        self.answers.put(answer)

    def ask(self, **what: Any) -> int:
        self.steps += 1
        self._say(ask=self.steps, **what)
        return self.steps

    def answer(self, kind: type[A]) -> A:
        while not isinstance(answer := self.answers.get(timeout=30), kind):
            assert not isinstance(answer, CommitFailed | Crashed), answer
        return answer

    def commit(self, *durable: Durable) -> Committed:
        self.store.commit(self.ask(**told(durable)), durable)
        return self.answer(Committed)

    def commit_together(self, batches: Sequence[Sequence[Durable]]) -> None:
        for durable in batches:
            self.store.commit(self.ask(**told(durable)), durable)
        for _ in batches:
            self.answer(Committed)

    def acknowledge(self, marks: dict[int, Mark]) -> None:
        """Promised with the next commit."""
        self.ask(marks={stream: [mark.high, list(mark.missing)] for stream, mark in marks.items()})
        self.store.acknowledged(self.opened.epoch, marks)
        self.commit(Save("acknowledged", self.steps))

    def new_epoch(self) -> None:
        self._waiting_for = self.ask(epoch=True)
        self.store.new_epoch()
        self.opened = replace(self.opened, epoch=self.answer(EpochOpened).epoch)

    def rows(self, stream: int) -> dict[int, int]:
        """seq -> the number of the record, of all that were there when it was opened; the archive too."""
        found: dict[int, int] = {}
        at = 0
        while at < self.opened.marks[stream][1] - 1:
            self.store.fetch(stream, at, ALL_B)
            rows = self.answer(Fetched).rows
            assert rows is not None, f"stream {stream} cannot be read at {at}"
            if not rows:
                break
            found |= {row.seq: decode_record(row.body).payload.get("seqNo", TOMBSTONE) for row in rows}
            at = rows[-1].last
        return found


def told(durable: Sequence[Durable]) -> dict[str, Any]:
    records = [[int(item.stream), item.payload["seqNo"]] for item in durable if isinstance(item, Record)]
    return {"records": records, "facts": {item.key: item.value for item in durable if isinstance(item, Save)}}


# -- the store --------------------------------------------------------------------------------------------------------


def play_store(folder: Path, life: int, turns: int = 2) -> None:
    """Batches alone and in groups, acknowledgements, a new epoch; every other life ends as a killed process does."""
    rng = random.Random(life)
    open_store = Open(folder)
    numbers = iter(range(life * 1_000, (life + 1) * 1_000))

    def batch() -> list[Durable]:
        streams = rng.choices((0, 0, 1, 3), k=rng.randrange(1, 4))
        records = [record(stream, next(numbers), rng.choice((0, 50, 900, 6_000))) for stream in streams]
        return [*records, Save(rng.choice("ab"), next(numbers)), Save("last", next(numbers))]

    given = {stream: next_seq - 1 for stream, (_, next_seq) in open_store.opened.marks.items()}
    for turn in range(turns):
        for durable in (batch(), batch()):
            given |= {s: n - 1 for s, n in open_store.commit(*durable).next_seq.items()}
        open_store.commit_together([batch() for _ in range(5)])
        if turn and life % 2:
            open_store.new_epoch()
            given = dict.fromkeys(given, 0)
        elif given[0] > 2:
            open_store.acknowledge({0: Mark(given[0], ((given[0] - 1, given[0] - 1),)), 3: Mark(given[3])})
    if life % 2:  # as a killed process
        os._exit(0)
    assert open_store.store.close() == 0


def play_reopening(folder: Path, _life: int) -> None:
    """Nothing but SQLite's own recovery, which writes too."""
    Open(folder, say=nothing).store.close()


@dataclass(frozen=True, slots=True)
class Legal:
    """A state that the store may be in: what was committed up to some step."""

    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[int, dict[int, int]] = field(default_factory=lambda: {stream: {} for stream in range(5)})
    deleted: dict[int, dict[int, int]] = field(default_factory=lambda: {stream: {} for stream in range(5)})
    next_seq: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(5), 1))
    floor: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(5), 1))
    epoch: str | None = None  # None: nobody was told so far

    def after(self, step: dict[str, Any]) -> "Legal":
        match step:
            case {"records": records, "facts": facts}:
                rows, next_seq = {s: dict(r) for s, r in self.rows.items()}, dict(self.next_seq)
                for stream, n in records:
                    rows[stream][next_seq[stream]] = n
                    next_seq[stream] += 1
                return replace(self, facts=self.facts | facts, rows=rows, next_seq=next_seq)
            case {"marks": marks}:
                floor = self.floor | {int(stream): lowest(*mark) for stream, mark in marks.items()}
                gone = {stream: {seq for seq in rows if seq < floor[stream]} for stream, rows in self.rows.items()}
                rows = {s: {q: n for q, n in r.items() if q not in gone.get(s, ())} for s, r in self.rows.items()}
                deleted = {s: self.deleted[s] | {q: r[q] for q in gone.get(s, ())} for s, r in self.rows.items()}
                return replace(self, rows=rows, deleted=deleted, floor=floor)
            case {"epoch": True}:
                left = self.rows | {0: dict(sorted((self.deleted[0] | self.rows[0]).items()))}  # with the archive
                rows = {s: dict(enumerate(r.values(), 1)) for s, r in left.items()}
                next_seq = {s: len(r) + 1 for s, r in rows.items()}
                return replace(Legal(), facts=self.facts, rows=rows, next_seq=next_seq)
        raise AssertionError(step)

    def differs(self, found: "Legal", epochs: Sequence[str]) -> str:
        if found.epoch != self.epoch and (self.epoch or found.epoch in epochs):
            return f"epoch {found.epoch} and not {self.epoch}"
        if (found.facts, found.next_seq) != (self.facts, self.next_seq):
            return f"{found.facts} {found.next_seq} and not {self.facts} {self.next_seq}"
        for stream, rows in self.rows.items():
            there = found.rows[stream]
            archive = self.deleted[stream] if stream == Stream.MONEY else {}
            if missing := (rows | archive).items() - there.items():
                return f"stream {stream} has not {sorted(missing)[:3]}"
            if more := there.items() - rows.items() - self.deleted[stream].items():
                return f"stream {stream} has {sorted(more)[:3]} too"
        return ""


def lowest(high: int, missing: Sequence[Sequence[int]]) -> int:
    """The first seq that the cloud lacks."""
    return min([first for first, _ in missing], default=high + 1)


def legal_states(said: Sequence[str]) -> tuple[list[Legal], int, list[str]]:
    """All of them in order, the index of the first that the promises allow, and the epochs that were told."""
    states, promised, first = [Legal()], 0, 0
    epochs: list[str] = []
    for line in said:
        told: dict[str, Any] = json.loads(line)
        match told:
            case {"opened": epoch}:
                first = len(states) - 1  # of this life, whose steps count from 1
                states[-1] = replace(states[-1], epoch=epoch)
                epochs.append(epoch)
            case {"ask": _}:
                states.append(states[-1].after(told))
            case {"done": step, "epoch": epoch}:
                promised = first + step
                states[promised] = replace(states[promised], epoch=epoch)
                epochs.append(epoch)
            case {"done": step}:
                promised = max(promised, first + step)
            case {"failed": why}:
                raise AssertionError(why)
    return states, promised, epochs


def judge_store(damaged: bytes | None = None) -> Judge:
    """`damaged`: what stood there when the story began; it must stay findable for whoever salvages it."""

    def judge(files: Tree, said: Sequence[str]) -> str:
        there = read_store(files, damaged)
        if isinstance(there, str):
            return there
        states, promised, epochs = legal_states(said)
        differences = [state.differs(there, epochs) for state in states[promised:]]
        return "" if "" in differences else "; or ".join(differences[:3])

    return judge


def read_store(files: Tree, damaged: bytes | None) -> Legal | str:
    with planted(files) as folder:
        try:
            again = Open(folder, say=nothing)
        except StoreError as error:
            return f"does not open: {error}"
        opened = again.opened
        try:
            rows = {stream: again.rows(stream) for stream in range(5)}
            probe = again.commit(record(0, -1))  # and business goes on
        except (AssertionError, WireError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            again.store.close()
        next_seq = {stream: next_seq for stream, (_, next_seq) in opened.marks.items()}
        with closing(sqlite3.connect(folder / "station.db")) as db:
            verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok" or probe.next_seq != {0: next_seq[0] + 1}:
            return f"integrity {verdict}, next_seq {probe.next_seq}"
        if damaged is not None and not any(path.read_bytes() == damaged for path in folder.iterdir()):
            return "the damaged file is gone"
        if damaged is None and opened.damaged:
            return f"set aside as {opened.damaged.name}"
    return Legal(opened.facts, rows, {}, next_seq, epoch=opened.epoch.hex())


def nothing(**_: Any) -> None:
    pass


@contextmanager
def planted(files: Tree) -> Iterator[Path]:
    """In memory where there is some: the judge's own fsyncs are nobody's concern."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        plant(Path(name), files)
        yield Path(name)


# -- what is damaged --------------------------------------------------------------------------------------------------

DAMAGED = b"this was a database once, and somebody may read money in it " * 100


@cache
def half_readable() -> bytes:
    """A database with money in it, of which some pages are noise."""
    with TemporaryDirectory() as folder:
        database = Database(path := Path(folder, "station.db"), BOOT)
        for n in range(40):
            database.commit([record(0, n, 300), Save("a", n)])
        database.close()
        data = path.read_bytes()
    pages = [data[at : at + outbox.PAGE_B] for at in range(0, len(data), outbox.PAGE_B)]
    return b"".join(b"\xa5" * outbox.PAGE_B if n % 5 == 4 else page for n, page in enumerate(pages))


def judge_rebuilt(files: Tree, _said: Sequence[str]) -> str:
    """Whatever could be read of the damaged file is in business again, and the file itself is kept."""
    with planted(files) as folder:
        again = Open(folder, say=nothing)
        rows = again.rows(0)
        again.store.close()
        kept = any(path.read_bytes() == half_readable() for path in folder.iterdir())
    readable = salvaged(half_readable(), b"").money
    if missing := readable.keys() - rows.keys():
        return f"{len(missing)} of {len(readable)} readable records are gone"
    return "" if kept else "the damaged file is gone"
