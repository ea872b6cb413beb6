"""The outbox within its bounds: what is kept, what is thinned and declared, what the cloud will never take."""

import queue
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import outbox
from agent import store as store_module
from agent.effects import Save, Stream
from agent.events import StoreFailed, StoreRecovered
from agent.outbox import Database, Forked, Row, runs
from agent.store import Buried, Committed, Fetched, Store, StoreForked, ballast_of, load_ballast, patience_s
from agent.uplink.codec import Mark, decode_record, digest
from tests.ledger import ALL_B, BOOT, record


def rows_of(database: Database, stream: Stream, after: int = 0) -> list[Row]:
    rows: list[Row] = []
    while more := database.fetch(stream, rows[-1].last if rows else after, ALL_B):
        rows += more
    return rows


def coverage(rows: list[Row]) -> list[tuple[int, int]]:
    """The stretches of seqs for which there is a record or a tombstone."""
    return list(runs([(row.seq, row.last) for row in rows], 0))


# -- what the cloud holds ---------------------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S10")
def test_acknowledged_money_is_kept_for_a_cloud_that_loses_it_and_other_streams_are_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "ARCHIVE_ROWS", 500)
    monkeypatch.setattr(outbox, "PRUNED_ROWS", 10)
    for n in range(1, 801):
        database.commit([record(n), record(n, Stream.SAMPLES)])
        database.acknowledged(database.epoch, {0: Mark(n), 3: Mark(n)})
    assert database.marks()[0] == database.marks()[3] == (801, 801)
    assert 500 <= len(rows_of(database, Stream.MONEY)) <= 510
    assert len(rows_of(database, Stream.SAMPLES)) <= 10


@pytest.mark.promise("S2")
def test_a_digest_of_another_record_means_that_this_storage_was_restored(database: Database) -> None:
    database.commit([record(n) for n in range(5)])
    rows = rows_of(database, Stream.MONEY)
    database.acknowledged(database.epoch, {0: Mark(3, (), digest(rows[2].body), 3)})
    assert database.marks()[0] == (4, 6)
    with pytest.raises(Forked):
        database.acknowledged(database.epoch, {0: Mark(5, (), digest(rows[3].body), 5)})
    with pytest.raises(Forked):  # the archive remembers too
        database.acknowledged(database.epoch, {0: Mark(2, (), digest(rows[3].body), 2)})
    assert database.marks()[0] == (4, 6), "nothing was forgotten on such a word"


@pytest.mark.promise("S2")
def test_a_new_epoch_sends_the_archive_again_for_who_knows_what_the_old_acknowledgements_were_worth(
    database: Database,
) -> None:
    database.commit([record(n) for n in range(1, 6)] + [record(n, Stream.STATUS) for n in range(1, 6)])
    database.acknowledged(database.epoch, {0: Mark(4), 1: Mark(4)})
    database.new_epoch()
    assert database.marks()[0] == (1, 6) and database.marks()[1] == (1, 2)
    assert [decode_record(row.body).payload["seqNo"] for row in rows_of(database, Stream.MONEY)] == [1, 2, 3, 4, 5]


@pytest.mark.promise("S2")
def test_seqs_are_not_given_twice_after_everything_was_acknowledged_and_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PRUNED_ROWS", 1)
    first = Database(tmp_path / "s.db", BOOT)
    first.commit([record(n, Stream.STATUS) for n in range(9)])
    first.acknowledged(first.epoch, {1: Mark(9)})
    assert rows_of(first, Stream.STATUS) == []
    first.close()
    again = Database(tmp_path / "s.db", BOOT)
    assert again.marks()[1] == (10, 10) and again.commit([record(1, Stream.STATUS)]) == {1: 11}
    again.close()


# -- no more than there is room for -----------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S10")
def test_beyond_their_bound_samples_are_thinned_and_every_seq_stays_declared(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(outbox.ROWS_MAX, Stream.SAMPLES, 400)
    monkeypatch.setattr(outbox, "PRUNED_ROWS", 50)
    for n in range(1, 3_001):
        database.commit([record(n, Stream.SAMPLES), record(n)] if n % 10 == 0 else [record(n, Stream.SAMPLES)])
    rows = rows_of(database, Stream.SAMPLES)
    assert len(rows) <= 450 and coverage(rows) == [(1, 3_000)]
    kept = [decode_record(row.body).payload.get("seqNo") for row in rows]
    newest = [n for n in kept if n and n > 2_900]
    assert len(newest) == 100, "the newest are whole"
    assert len([n for n in kept if n and n < 2_800]) > 20, "of older ones some are left"
    assert len(rows_of(database, Stream.MONEY)) == 300, "money is not thinned"


@pytest.mark.promise("S10")
def test_beyond_their_bound_logs_go_and_say_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(outbox.ROWS_MAX, Stream.LOGS, 100)
    monkeypatch.setattr(outbox, "PRUNED_ROWS", 10)
    for n in range(1, 1_001):
        database.commit([record(n, Stream.LOGS)])
    rows = rows_of(database, Stream.LOGS)
    assert len(rows) <= 120 and coverage(rows) == [(1, 1_000)]
    first = decode_record(rows[0].body)
    assert first.action == "Tombstone" and first.payload["first"] == 1 and first.payload["last"] == rows[0].last


@pytest.mark.promise("S10")
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=30))
def test_runs_are_the_same_seqs_in_fewer_pieces(steps: list[tuple[int, int]]) -> None:
    rows, at = [], 0
    for gap, length in steps:
        at += gap + 1
        rows.append((100 + at, at + length - 1))
        at += length - 1
    seqs = [n for first, last in runs(rows, 100) for n in range(first, last + 1)]
    assert seqs == [n for key, last in rows for n in range(key - 100, last + 1)]
    pieces = list(runs(rows, 100))
    assert all(b[0] > a[1] + 1 for a, b in pairwise(pieces))


# -- what the cloud will never take -----------------------------------------------------------------------------------


@pytest.mark.promise("S2")
def test_a_dead_letter_is_kept_and_a_tombstone_stands_in_its_place(tmp_path: Path) -> None:
    first = Database(tmp_path / "s.db", BOOT)
    first.commit([record(n) for n in range(1, 4)])
    body = first.fetch(0, 1, 1)[0].body
    assert first.bury(0, 2, "no such currency") and not first.bury(0, 9, "never made")
    first.new_epoch()
    first.close()
    again = Database(tmp_path / "s.db", BOOT)
    (letter,) = again.dead_letters()
    assert (letter.stream, letter.seq, letter.why, letter.body) == (0, 2, "no such currency", body)
    rows = rows_of(again, Stream.MONEY)
    stone = decode_record(rows[1].body)
    assert coverage(rows) == [(1, 3)] and stone.payload == {"first": 2, "last": 2, "why": "no such currency"}
    again.close()


# -- the thread -------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self, path: Path, **times: Any) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self.clock = Clock()
        self.store = Store(path, BOOT, self.answers.put, self.clock, **times)
        self.opened = self.store.open()

    def answer(self) -> Any:
        return self.answers.get(timeout=30)

    def rows(self, stream: Stream) -> tuple[Row, ...]:
        self.store.fetch(stream, 0, ALL_B)
        answer = self.answer()
        assert isinstance(answer, Fetched) and answer.rows is not None
        return answer.rows


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def open_rig(**times: float) -> Rig:
        rigs.append(Rig(tmp_path / "station.db", **times))
        return rigs[-1]

    yield open_rig
    for rig in rigs:
        rig.store.close()


Start = Callable[..., Rig]


def test_samples_wait_for_company_and_money_does_not(start: Start) -> None:
    rig = start()
    rig.store.commit(1, [record(1, Stream.SAMPLES), Save("port/1", 1)])
    rig.store.commit(2, [record(2, Stream.SAMPLES)])
    assert rig.rows(Stream.SAMPLES) == (), "not on disk, and so not on its way to the cloud"
    rig.store.commit(3, [record(3)])
    assert [rig.answer() for _ in range(3)] == [Committed(n, {0: 2, 3: 3}) for n in (1, 2, 3)]
    rig.store.commit(4, [record(4, Stream.LOGS)])
    assert rig.rows(Stream.LOGS) == ()
    rig.store.flush()
    assert rig.answer() == Committed(4, {4: 2})


def test_samples_wait_no_longer_than_their_time(start: Start) -> None:
    rig = start(group_s=0.05)
    rig.store.commit(1, [record(1, Stream.SAMPLES)])
    assert rig.rows(Stream.SAMPLES) == ()
    rig.clock.now += 0.06
    rig.store.fetch(Stream.MONEY, 0, ALL_B)  # a clock that is no clock does not wake the thread
    assert {type(rig.answer()), type(rig.answer())} == {Committed, Fetched}


def test_only_samples_logs_and_signs_of_life_may_wait() -> None:
    assert 0 < patience_s([record(1, Stream.SAMPLES), Save("port/1", 1)]) == patience_s([record(1, Stream.LOGS)]) <= 10
    assert patience_s([Save("station", 1)]) > 10 >= patience_s([record(1, Stream.LOGS), Save("station", 1)])
    for durable in ([Save("x", 1)], [], [record(1)], [record(1, Stream.SAMPLES), record(1, Stream.STATUS)]):
        assert not patience_s(durable)


@pytest.mark.promise("S2")
def test_a_foreign_digest_is_told_and_nothing_is_forgotten(start: Start) -> None:
    rig = start()
    rig.store.commit(1, [record(1), record(2)])
    assert isinstance(rig.answer(), Committed)
    rig.store.acknowledged(rig.opened.epoch, {0: Mark(2, (), b"notours!", 2), 1: Mark(0)})
    rig.store.commit(2, [record(3)])
    answers = [rig.answer(), rig.answer()]
    assert {type(answer) for answer in answers} == {StoreForked, Committed}
    assert rig.store._database.marks()[0] == (1, 4)


@pytest.mark.promise("S2")
def test_a_burial_is_told_once_it_is_on_disk(start: Start) -> None:
    rig = start()
    rig.store.commit(1, [record(1)])
    rig.answer()
    rig.store.bury(0, 7, "there is no such record")
    rig.store.bury(0, 1, "refused")
    assert rig.answer() == Buried(0, 1, "refused")
    assert decode_record(rig.rows(Stream.MONEY)[0].body).action == "Tombstone"


@pytest.mark.promise("S2")
def test_what_is_damaged_is_found_in_idle_time(start: Start) -> None:
    rig = start()
    rig.store.commit(1, [record(n, Stream.STATUS) for n in range(1, 6)])
    rig.answer()
    rig.store._database.db.execute("UPDATE outbox SET body = zeroblob(9) WHERE id & 255 = 3")
    rig.clock.now += store_module.CHECK_S + 1
    rig.store.flush()
    assert rig.answer() == Buried(1, 3, "damaged on disk")
    assert coverage(list(rig.rows(Stream.STATUS))) == [(1, 5)]


@pytest.mark.promise("S10")
def test_a_full_disk_gets_the_ballast_and_takes_the_end_of_a_session(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(retry_s=1e6)
    assert ballast_of(tmp_path / "station.db").stat().st_size == store_module.BALLAST_B
    rng = random.Random(1)
    rig.store.commit(1, [record(n, Stream.LOGS, 900) for n in range(500)])
    rig.store.flush()
    rig.answer()
    has_room = False
    monkeypatch.setattr(store_module, "load_ballast", lambda path: has_room and load_ballast(path))
    (pages,) = rig.store._database.db.execute("PRAGMA page_count").fetchone()
    rig.store._database.db.execute(f"PRAGMA max_page_count = {pages}")
    rig.store.commit(2, [record(1, size_b=rng.randrange(5_000, 9_000)), Save("port/1", None)])
    assert rig.answer() == StoreFailed("the disk is full"), "no new sessions"
    assert rig.answer() == Committed(2, {0: 2}), "but the running one has its end, in what the logs have left"
    assert not ballast_of(tmp_path / "station.db").exists()
    rig.store._database.db.execute(f"PRAGMA max_page_count = {outbox.PAGES_MAX}")
    has_room = True
    rig.store.fetch(Stream.MONEY, 0, 1)  # a clock that is no clock does not wake the thread
    assert {type(rig.answer()), type(rig.answer())} == {Fetched, StoreRecovered}
    assert ballast_of(tmp_path / "station.db").exists()
