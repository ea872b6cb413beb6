"""The store keeps what it said it keeps: whatever the disk does, in whatever order it is asked."""

import queue
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import outbox
from agent import store as store_module
from agent.effects import Durable, Record, Save, Stream
from agent.events import StoreFailed, StoreRecovered
from agent.loop import monotonic
from agent.outbox import Database, Gap, Marks, Row, StoreError
from agent.store import (
    Batch,
    Buried,
    CommitFailed,
    Committed,
    Crashed,
    EpochOpened,
    Fetched,
    Opened,
    Search,
    Searched,
    Store,
    StoreForked,
    open_database,
    squeeze,
)
from agent.uplink.codec import Mark, decode_record

BOOT = b"BOOT...1"
ALL = 1_000_000


def record(stream: Stream = Stream.MONEY, n: int = 0, action: str = "TransactionEvent", **payload: Any) -> Record:
    return Record(stream, action, {"seqNo": n, **payload}, 90.5 + n, 1_767_261_600.0, 3)


def said(rows: Sequence[Row]) -> list[int]:
    return [decode_record(row.body).payload["seqNo"] for row in rows]


class Disk:
    """A connection to SQLite whose commits fail or wait when the test says so; everything else is the real thing."""

    def __init__(self) -> None:
        self.fails = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.waits = threading.Event()  # somebody does, for goes_on
        self.commits = 0

    def connect(self, path: Path) -> Any:
        self.db = outbox.connect(path)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT":
            self.waits.set()
            assert self.goes_on.wait(30)
            if self.fails:
                raise sqlite3.OperationalError("disk I/O error")
            self.commits += 1
        return self.db.execute(sql, *values)

    def fill(self) -> None:
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        self.db.execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        self.db.execute(f"PRAGMA max_page_count = {outbox.PAGES_MAX}")


class Rig:
    """A store with its answers in a queue."""

    def __init__(self, path: Path, retry_s: float = 0.01, group_s: float = 0.0) -> None:
        self.disk = Disk()
        self.answers: queue.Queue[object] = queue.Queue()
        times: dict[str, Any] = {"retry_s": retry_s, "group_s": group_s}
        self.store = Store(path, BOOT, self.answers.put, monotonic, connect=self.disk.connect, **times)
        self.opened = self.store.open()
        self.batches = 0

    def commit(self, *durable: Durable) -> int:
        self.batches += 1
        self.store.commit(self.batches, durable)
        return self.batches

    def answer(self) -> Any:
        return self.answers.get(timeout=30)

    def committed(self, *durable: Durable) -> None:
        batch_id = self.commit(*durable)
        answer = self.answer()
        assert isinstance(answer, Committed) and answer.batch_id == batch_id

    def marks(self) -> Marks:
        """As the next start would find them."""
        return self.store._database.marks()

    def rows(self, stream: Stream = Stream.MONEY, after_seq: int = 0) -> tuple[Row, ...]:
        self.store.fetch(stream, after_seq, ALL)
        answer = self.answer()
        assert isinstance(answer, Fetched) and answer.rows is not None
        return answer.rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "station.db"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def open_rig(**options: Any) -> Rig:
        rigs.append(Rig(path, **options))
        return rigs[-1]

    yield open_rig
    for rig in rigs:
        rig.disk.goes_on.set()
        rig.store.close()


Start = Callable[..., Rig]


# -- what is committed stays ------------------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S3")
def test_facts_and_records_come_back_after_a_restart(start: Start) -> None:
    rig = start()
    rig.committed(Save("port.1", {"limit_ma": 16_000, "groups": ["a"]}), record(n=1), record(Stream.LOGS, 2))
    rig.committed(Save("gone", 1), record(n=3))
    rig.committed(Save("gone", None))
    assert rig.store.close() == 0
    again = start()
    assert again.opened == Opened(
        {"port.1": {"limit_ma": 16_000, "groups": ["a"]}},
        rig.opened.epoch,
        {0: (1, 3), 1: (1, 1), 2: (1, 1), 3: (1, 1), 4: (1, 2)},
    )
    assert said(again.rows()) == [1, 3] and said(again.rows(Stream.LOGS)) == [2]


@pytest.mark.promise("S2")
def test_committed_means_in_the_files_and_synced(start: Start, path: Path, tmp_path: Path) -> None:
    rig = start()
    rig.committed(record(n=1))
    for file in (path, path.with_name("station.db-wal")):
        shutil.copy(file, file.with_name(file.name.replace("station", "copy")))
    copy, damaged, _ = open_database(tmp_path / "copy.db", BOOT)
    assert said(copy.fetch(0, 0, ALL)) == [1] and damaged is None
    pragmas = [
        copy.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode", "locking_mode")
    ]
    assert pragmas == [2, "wal", "exclusive"]
    copy.close()


def test_a_record_says_when_it_happened_and_in_which_boot(start: Start) -> None:
    rig = start()
    rig.committed(Record(Stream.STATUS, "StatusNotification", {"evseId": 1}, 1.5, None, 0))
    wire = decode_record(rig.rows(Stream.STATUS)[0].body)
    assert (wire.boot_id, wire.mono_ms, wire.wall_ms, wire.clock_source) == (BOOT, 1_500, None, 0)
    assert (wire.action, wire.payload) == ("StatusNotification", {"evseId": 1})


def test_nobody_else_can_read_the_file(start: Start, path: Path) -> None:
    start().committed(record())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_what_waits_is_written_when_the_store_closes(start: Start) -> None:
    rig = start()
    rig.disk.goes_on.clear()
    for n in range(5):
        rig.commit(record(n=n))
    rig.disk.goes_on.set()
    assert rig.store.close() == 0
    assert said(start().rows()) == [0, 1, 2, 3, 4]


@pytest.mark.promise("S10")
def test_batches_that_wait_share_one_commit_and_keep_their_order(start: Start) -> None:
    rig = start()
    rig.disk.goes_on.clear()
    rig.commit(record(n=0))
    rig.store.fetch(Stream.MONEY, 0, ALL)
    for n in range(1, 50):
        rig.commit(record(n=n), Save("last", n))
    rig.disk.goes_on.set()
    answers = [rig.answer() for _ in range(51)]
    assert [a.batch_id for a in answers if isinstance(a, Committed)] == list(range(1, 51))
    assert rig.disk.commits <= 3
    assert said(rig.rows()) == list(range(50))


@pytest.mark.promise("S3")
def test_samples_that_find_no_company_go_alone_when_their_time_has_come(start: Start) -> None:
    rig = start(group_s=0.05)
    rig.store.commit(1, [record(Stream.SAMPLES, 1)])
    assert isinstance(rig.answers.get(timeout=10), Committed)  # and not with whatever the store does next


# -- what a failing disk does -----------------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S10")
def test_a_failed_commit_is_told_once_kept_and_made_good(start: Start) -> None:
    rig = start()
    rig.disk.fails = True
    rig.commit(record(n=1), Save("fact", 1))
    rig.commit(record(n=2))
    assert [rig.answer(), rig.answer()] == [CommitFailed(1, "disk I/O error"), CommitFailed(2, "disk I/O error")]
    rig.store.fetch(Stream.MONEY, 0, ALL)
    assert rig.answer() == Fetched(0, 0, ())  # the retries go on all the time, and say nothing
    rig.disk.fails = False
    answers = [rig.answer() for _ in range(3)]
    assert answers == [Committed(1, {0: 3}), Committed(2, {0: 3}), StoreRecovered()]
    assert said(rig.rows()) == [1, 2]


@pytest.mark.promise("S2", "S10")
def test_a_full_disk_refuses_sends_what_it_holds_and_recovers_when_that_is_acknowledged(start: Start) -> None:
    rig = start()
    for n in range(100):
        rig.committed(record(n=n, customData={"vendorId": "x" * 500}))
    rig.disk.fill()
    rig.commit(record(n=100, customData={"vendorId": "x" * 50_000}))
    assert rig.answer() == StoreFailed("the disk is full"), "no new sessions, though the ballast is gone"
    failed = rig.answer()
    assert isinstance(failed, CommitFailed) and "full" in failed.why
    assert len(rig.rows()) > 1
    rig.store.acknowledged(rig.opened.epoch, {0: Mark(100)})
    rig.disk.free()
    assert [rig.answer(), rig.answer()] == [Committed(101, {0: 102}), StoreRecovered()]
    assert said(rig.rows(after_seq=100)) == [100]


def test_a_stalled_disk_blocks_nobody_but_the_owner(start: Start) -> None:
    rig = start()
    rig.disk.goes_on.clear()
    rig.commit(record(n=1))
    rig.store.acknowledged(rig.opened.epoch, {0: Mark(0)})
    rig.store.new_epoch()
    rig.store.fetch(0, 0, ALL)  # none of these has waited
    assert rig.answers.empty()
    rig.disk.goes_on.set()
    answers = {type(rig.answer()) for _ in range(3)}
    assert answers == {Committed, EpochOpened, Fetched}


@pytest.mark.promise("S10")
def test_beyond_its_bound_the_queue_gives_up_samples_but_no_money_and_no_fact(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "WAITING_MAX", 100)
    monkeypatch.setattr(store_module, "SQUEEZED_MAX", 10)
    rig = start(retry_s=1e6)
    rig.disk.fails = True
    for n in range(250):
        rig.commit(record(n=n), record(Stream.SAMPLES, n, "MeterValues"), Save("last", n))
        rig.answer()
    assert len(rig.store._batches) < 102
    rig.disk.fails = False
    rig.commit(record(n=250))
    answers = [rig.answer() for _ in range(252)]
    assert [a.batch_id for a in answers[:-1]] == list(range(1, 252)) and answers[-1] == StoreRecovered()
    money = [*rig.rows(), *rig.rows(Stream.MONEY, 128)]
    assert said(money) == list(range(251))
    samples = rig.rows(Stream.SAMPLES)
    stone = decode_record(samples[0].body)
    assert (samples[0].seq, samples[0].last) == (1, stone.payload["last"]) and stone.action == "Tombstone"
    assert said(samples[1:]) == list(range(samples[0].last, 250))  # nothing is missing that is not declared
    rig.store.close()
    assert start().opened.facts == {"last": 249}


records = st.builds(record, st.sampled_from(Stream), st.integers(0, 99))
durables = st.lists(st.one_of(records, st.builds(Save, st.sampled_from("abc"), st.integers(0, 9))), max_size=6)


@pytest.mark.promise("S2", "S10")
@given(st.lists(durables, min_size=1, max_size=40), st.integers(1, 39))
def test_a_squeeze_counts_every_record_and_keeps_money_and_the_last_facts(work: list[list[Any]], cut: int) -> None:
    batches = [Batch([n], [], list(items)) for n, items in enumerate(work)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "SQUEEZED_MAX", 5)
        one = squeeze([squeeze(batches[:cut]), *batches[cut:]])
    before = [item for items in work for item in items]
    assert one.ids == list(range(len(work)))
    for stream in Stream:
        mine = [i for i in one.items if not isinstance(i, Save) and i.stream == stream]
        theirs = [i for i in before if isinstance(i, Record) and i.stream == stream]
        assert sum(i.count if isinstance(i, Gap) else 1 for i in mine) == len(theirs)
        assert stream is not Stream.MONEY or mine == theirs
    assert sum(isinstance(i, Record) and i.stream is not Stream.MONEY for i in one.items) <= 5
    assert {i.key: i.value for i in one.items if isinstance(i, Save)} == {
        i.key: i.value for i in before if isinstance(i, Save)
    }


@pytest.mark.promise("S9")
def test_a_record_that_no_wire_can_carry_is_declared_instead(start: Start) -> None:
    rig = start()
    rig.committed(record(Stream.STATUS, 1), record(Stream.STATUS, 2, huge="x" * 100_000), record(Stream.STATUS, 3))
    actions = [decode_record(row.body) for row in rig.rows(Stream.STATUS)]
    assert [wire.action for wire in actions] == ["TransactionEvent", "Tombstone", "TransactionEvent"]
    assert actions[1].payload["first"] == actions[1].payload["last"] == 2


def test_a_bug_of_ours_is_told_to_the_loop_instead_of_ending_in_silence(start: Start) -> None:
    rig = start()
    rig.commit(record(n=1, not_json=object()))
    crashed = rig.answer()
    assert isinstance(crashed, Crashed) and isinstance(crashed.error, AssertionError)


# -- files that are not ours ------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
@pytest.mark.parametrize("damage", [b"this is no database, but it is long enough to look like one" * 100, None])
def test_a_damaged_file_is_moved_aside_and_the_station_charges_on(
    start: Start, path: Path, damage: bytes | None
) -> None:
    rig = start()
    for n in range(200):
        rig.committed(record(n=n))
    rig.store.close()
    data = damage or path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096)
    path.write_bytes(data)
    again = start()
    assert again.opened.damaged == path.with_name("station.db.damaged-1")
    assert again.opened.damaged.read_bytes()[4096:] == data[4096:]
    assert again.opened.facts == {} and again.opened.salvaged == 0
    again.committed(record(n=7))
    assert said(again.rows()) == [7]


@pytest.mark.promise("S9")
@given(st.binary(max_size=20_000))
def test_any_bytes_in_the_place_of_the_file_open_or_are_moved_aside(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "station.db")
        path.write_bytes(data)
        database, aside, salvaged = open_database(path, BOOT)
        assert salvaged == 0
        assert database.facts() == {}
        assert len(data) < 512 if aside is None else aside.read_bytes() == data  # SQLite takes less for an empty file
        database.close()


@pytest.mark.promise("S9")
def test_what_the_operator_can_mend_is_one_sentence(start: Start, path: Path, tmp_path: Path) -> None:
    start()
    with pytest.raises(StoreError, match="in use: another station-agent runs"):
        open_database(path, BOOT)
    with pytest.raises(StoreError, match="its folder must exist"):
        open_database(tmp_path / "nowhere" / "station.db", BOOT)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA application_id = 98")
    db.close()
    with pytest.raises(StoreError, match="newer software"):
        open_database(newer, BOOT)
    assert newer.exists()  # and not moved aside


# -- acknowledgements, epochs -----------------------------------------------------------------------------------------


@pytest.mark.promise("S2")
def test_a_word_about_another_epoch_or_beyond_what_was_given_deletes_nothing(start: Start) -> None:
    rig = start()
    rig.committed(record(n=1), record(n=2))
    for epoch, mark in ((b"another1", Mark(2)), (rig.opened.epoch, Mark(3)), (rig.opened.epoch, Mark(2, ((1, 1),)))):
        rig.store.acknowledged(epoch, {0: mark})
        rig.committed(Save("fact", mark.high))
        assert rig.marks()[0] == (1, 3)
    rig.store.acknowledged(rig.opened.epoch, {0: Mark(2, ((2, 2),))})
    rig.committed(Save("fact", 0))
    assert rig.marks()[0] == (2, 3)


@pytest.mark.promise("S2")
def test_no_later_word_overtakes_the_digest_that_says_whose_records_these_are(start: Start) -> None:
    """Both come while the owner is busy; what the cloud holds under these keys are not our records."""
    rig = start()
    rig.committed(*[record(Stream.STATUS, n) for n in range(1, 6)])
    rig.disk.waits.clear()
    rig.disk.goes_on.clear()
    rig.store.bury(Stream.STATUS, 5, "refused")
    assert rig.disk.waits.wait(30)
    epoch = rig.opened.epoch
    rig.store.acknowledged(epoch, {1: Mark(2, (), b"notours!", 2)})
    rig.store.acknowledged(epoch, {1: Mark(4)})
    rig.commit(record())
    rig.disk.goes_on.set()
    answers = [rig.answer() for _ in range(3)]
    assert {type(answer) for answer in answers} == {Buried, Committed, StoreForked}
    rig.store.acknowledged(epoch, {1: Mark(4)})  # .. and before anybody has opened a new epoch
    rig.committed(record())
    assert rig.marks()[1] == (1, 6)


@pytest.mark.promise("S2")
def test_a_new_epoch_is_opened_as_soon_as_the_disk_takes_it(start: Start) -> None:
    rig = start()
    rig.committed(record(n=1), record(n=2))
    rig.store.acknowledged(rig.opened.epoch, {0: Mark(1)})
    rig.disk.fails = True
    rig.store.new_epoch()
    assert said(rig.rows()) == [1, 2]
    rig.disk.fails = False
    opened = rig.answer()
    assert isinstance(opened, EpochOpened) and opened.epoch != rig.opened.epoch
    assert opened.marks[0] == (1, 3) and [row.seq for row in rig.rows()] == [1, 2]


def test_a_transaction_is_held_until_its_last_record_is_acknowledged(start: Start) -> None:
    rig = start()

    owed = {0: [(1, 9)], 3: [(1, 9)]}

    def is_held(transaction_id: str | None) -> bool:
        search = Search("c1", transaction_id, owed)
        rig.store.search(search)
        answer = rig.answer()
        assert isinstance(answer, Searched) and answer.search == search
        return answer.is_held

    assert not is_held(None) and not is_held("b0-1")
    rig.committed(record(transactionInfo={"transactionId": "b0-12"}))
    assert is_held("b0-12") and not is_held("b0-1") and not is_held("0-12") and is_held(None)
    rig.committed(record(Stream.SAMPLES, transactionInfo={"transactionId": "b0-12"}), record(Stream.STATUS))
    owed[0] = [(2, 9)]  # the cloud holds the first; whether it is still in the archive does not matter
    assert is_held("b0-12"), "a sample waits"
    owed[3] = []
    assert not is_held("b0-12") and not is_held(None)
    rig.disk.fails = True
    rig.commit(record(transactionInfo={"transactionId": "b0-13"}))
    assert isinstance(rig.answer(), CommitFailed)
    assert is_held("b0-13"), "in memory only"


def test_a_fetch_is_bounded_in_bytes_but_never_empty(start: Start) -> None:
    rig = start()
    rig.committed(*(record(n=n, customData={"vendorId": "x" * 1_000}) for n in range(100)))
    for limit, count in ((1, 1), (3_200, 3), (ALL, 90)):
        rig.store.fetch(Stream.MONEY, 10, limit)
        answer = rig.answer()
        assert [row.seq for row in answer.rows] == list(range(11, 11 + count))


steps = st.one_of(
    st.tuples(st.just("commit"), durables),
    st.tuples(st.just("drop"), st.integers(1, 5)),
    st.tuples(st.just("ack"), st.sets(st.integers(1, 30))),
    st.tuples(st.just("epoch"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("fail"), durables),
)


@pytest.mark.promise("S2", "S10")
@given(st.lists(steps, max_size=30))
def test_the_outbox_is_what_was_committed_minus_what_was_acknowledged(work: list[tuple[str, Any]]) -> None:
    """Against a model: a list of (first, last, what) for each stream, and the seq below which the cloud has all."""
    model: dict[int, list[tuple[int, int, int]]] = {stream: [] for stream in range(5)}
    next_seq, floor = dict.fromkeys(range(5), 1), dict.fromkeys(range(5), 1)
    facts: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        disk = Disk()
        database = Database(Path(folder, "s.db"), BOOT, disk.connect)
        for step, value in work:
            match step:
                case "commit" | "drop":
                    items = [Gap(3, value, record(Stream.SAMPLES, 0))] if step == "drop" else value
                    database.commit(items)
                    facts |= {i.key: i.value for i in items if isinstance(i, Save)}
                    for item in (i for i in items if not isinstance(i, Save)):
                        what, count = (-1, item.count) if isinstance(item, Gap) else (item.payload["seqNo"], 1)
                        first = next_seq[item.stream]
                        model[item.stream].append((first, first + count - 1, what))
                        next_seq[item.stream] += count
                case "ack":
                    for stream in model:
                        high = min(30, next_seq[stream] - 1)
                        missing = tuple((n, n) for n in sorted(value) if n <= high)
                        database.acknowledged(database.epoch, {stream: Mark(high, missing)})
                        floor[stream] = max(floor[stream], missing[0][0] if missing else high + 1)
                case "epoch":
                    database.new_epoch()
                    for stream in model:
                        owed = 1 if stream == Stream.MONEY else floor[stream]  # the archive too
                        rows = model[stream] = [row for row in model[stream] if row[1] >= owed]
                        next_seq[stream] = floor[stream] = 1
                        for at, (first, last, what) in enumerate(rows):
                            rows[at] = (next_seq[stream], next_seq[stream] + last - first, what)
                            next_seq[stream] += last - first + 1
                case "restart":
                    database.close()
                    database = Database(Path(folder, "s.db"), BOOT, disk.connect)
                case "fail":
                    disk.fails = True
                    with pytest.raises(sqlite3.OperationalError):
                        database.commit(value)
                    disk.fails = False
        assert database.facts() == facts
        for stream, rows in model.items():
            assert database.marks()[stream] == (floor[stream], next_seq[stream])
            rows = [row for row in rows if row[1] >= floor[stream]]
            found = database.fetch(stream, floor[stream] - 1, ALL)
            assert [(r.seq, r.last) for r in found] == [row[:2] for row in rows[:128]]
            for (seq, last, body), (_, _, what) in zip(found, rows, strict=False):
                wire = decode_record(body)
                assert wire.payload == {"seqNo": what} if what >= 0 else wire.payload["first"] == seq
                assert what >= 0 or wire.payload["last"] == last
                assert (
                    database.fetch(stream, last, ALL) == found[found.index((seq, last, body)) + 1 :] or len(rows) > 128
                )
        database.close()
