"""A damaged database gives back every row that can still be read, under its old key, and nothing that is none."""

import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.effects import Record, Save, Stream
from agent.outbox import PAGE_B, Database
from agent.salvage import TABLE_LEAF, salvaged, wal_pages
from agent.store import damage_mark, draft_of, open_database
from agent.uplink.codec import Mark, decode_record, from_cbor

BOOT = b"BOOT...1"
ALL_B = 100_000_000
RECORDS = 120
Money = dict[int, tuple[int, bytes]]


def record(n: int, size_b: int = 0, stream: Stream = Stream.MONEY) -> Record:
    payload = {"seqNo": n, "info": f"{n:05} " * (size_b // 6)}
    return Record(stream, "TransactionEvent", payload, 90.5, 1_767_261_600.0, 3)


def money_of(database: Database) -> Money:
    rows = [row for after in range(0, RECORDS, 20) for row in database.fetch(0, after, ALL_B)]
    return {row.seq: (row.last, row.body) for row in rows}


def filled(path: Path) -> Database:
    database = Database(path, BOOT)
    rng = random.Random(1)
    for n in range(RECORDS):
        size_b = rng.choice([0, 50, 400, 900, 3_000])  # the last ones do not fit into a page
        facts = Save("port/1", {"n": n}), Save(f"k{n % 30}", n)
        database.commit([record(n, size_b), record(n, 20, Stream.SAMPLES), *facts])
    database.acknowledged(database.epoch, {0: Mark(10), 3: Mark(40)})
    return database


@cache
def example() -> tuple[bytes, bytes, bytes, Money]:
    """File, WAL, epoch and money of a database in the middle of business."""
    with TemporaryDirectory() as folder:
        database = filled(path := Path(folder, "station.db"))
        database.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        database.commit([Save("port/1", {"n": "newest"}), Save("station", {"starts": 3})])
        money = money_of(database)
        assert len(money) == RECORDS
        files = path.read_bytes(), path.with_name("station.db-wal").read_bytes()
        database.db.close()
    return *files, database.epoch, money


def test_of_a_whole_database_everything_is_found() -> None:
    file, wal, epoch, money = example()
    found = salvaged(file, wal)
    assert (found.epoch, found.money) == (epoch, money)
    assert from_cbor(found.facts["port/1"]) == {"n": "newest"} and len(found.facts) == 33
    assert found.marks[0] == (11, 121) or found.marks[0][0] == 11


def damaged(data: bytes, pages: Iterator[int] | list[int]) -> bytes:
    out = bytearray(data)
    for page in pages:
        out[page * PAGE_B : (page + 1) * PAGE_B] = random.Random(page).randbytes(PAGE_B)
    return bytes(out[: len(data)])


@pytest.mark.promise("S2", "S9")
@given(st.data())
def test_each_whole_page_gives_back_each_row_on_it(data: st.DataObject) -> None:
    file, _, epoch, money = example()
    count = len(file) // PAGE_B
    lost = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 2))
    found = salvaged(damaged(file, list(lost)), b"")
    assert all(money[seq] == row for seq, row in found.money.items()), "what is found is what was there"
    assert found.epoch in (epoch, None)
    whole = [file[n * PAGE_B : (n + 1) * PAGE_B] for n in range(count) if n not in lost]
    short = [body for _, body in money.values() if len(body) < 800]
    readable = [body for body in short if any(body in page and page[0] == TABLE_LEAF for page in whole)]
    assert found.epoch is None or set(readable) <= {body for _, body in found.money.values()}


@pytest.mark.promise("S9")
@given(st.binary(max_size=5_000), st.binary(max_size=5_000))
def test_noise_gives_nothing_and_no_error(file: bytes, wal: bytes) -> None:
    assert salvaged(file, wal).money == {}
    assert salvaged(b"\x0d" + file, wal).facts == {}


@pytest.mark.promise("S9")
@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 255)), max_size=50))
def test_flipped_bytes_never_make_a_wrong_record(flips: list[tuple[int, int]]) -> None:
    file, wal, _, money = example()
    broken = bytearray(file + wal)
    for at, value in flips:
        broken[at % len(broken)] = value
    found = salvaged(bytes(broken[: len(file)]), bytes(broken[len(file) :]))
    assert all(money[seq] == row for seq, row in found.money.items())


def test_frames_of_an_earlier_generation_of_the_wal_are_not_read() -> None:
    _, wal, _, _ = example()
    older = bytearray(wal)
    older[16:24] = b"othersal"
    assert len(wal_pages(wal)) >= 2 and wal_pages(bytes(older)) == []


def test_what_was_written_after_the_last_commit_was_never_promised_and_is_not_read() -> None:
    _, wal, _, _ = example()
    torn = bytearray(wal)
    last = 32 + (len(wal_pages(wal)) - 1) * (24 + PAGE_B)
    assert torn[last + 4 : last + 8] != bytes(4), "the frame of a commit"
    torn[last + 4 : last + 8] = bytes(4)
    assert len(wal_pages(bytes(torn))) < len(wal_pages(wal))


@pytest.mark.promise("S10")
def test_of_databases_that_were_set_aside_the_last_few_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    for n in range(8):
        path.write_bytes(b"no database, number %d, but long enough to look like one" % n * 100)
        open_database(path, BOOT)[0].close()
        path.unlink()
    kept = sorted(file.name for file in tmp_path.glob("station.db.damaged-*"))
    assert kept == [f"station.db.damaged-{n}" for n in range(4, 9)]


@pytest.mark.promise("S2", "S3")
def test_business_goes_on_with_the_money_and_the_running_session_of_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    database = filled(path)
    money, epoch = money_of(database), database.epoch
    database.close()
    file = path.read_bytes()
    roots = [n for n in range(len(file) // PAGE_B) if file[n * PAGE_B] == 0x05]  # interior pages: SQLite is lost
    path.write_bytes(damaged(file, roots))
    again, aside, count = open_database(path, BOOT)
    assert aside and aside.exists() and count == len(money) and again.epoch == epoch
    assert again.facts()["port/1"] == {"n": RECORDS - 1}
    assert money_of(again) == money and again.marks()[0] == (11, RECORDS + 1)
    assert again.commit([record(7)]) == {0: RECORDS + 2}
    again.close()
    assert open_database(path, BOOT)[1] is None, "the new file is whole"


@pytest.mark.promise("S2")
def test_one_damaged_row_is_a_dead_letter_and_the_rest_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    database = filled(path)
    bodies = [body for _, body in money_of(database).values()]
    victim = next(n for n in range(50, RECORDS) if 300 < len(bodies[n]) < 600)
    database.close()
    file = path.read_bytes()
    assert file.count(bodies[victim]) == 1
    path.write_bytes(file.replace(bodies[victim], bodies[victim][:-9] + b"\0" * 9))
    again, aside, _ = open_database(path, BOOT)
    assert aside is None and [letter.why for letter in again.dead_letters()] == ["damaged on disk"]
    rows = money_of(again)
    assert len(rows) == RECORDS and decode_record(rows[victim + 1][1]).action == "Tombstone"
    again.close()


@pytest.mark.promise("S2")
def test_damage_that_was_met_in_the_middle_of_business_is_mended_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    database = filled(path)
    money = money_of(database)
    database.close()
    damage_mark(path).touch()
    again, aside, count = open_database(path, BOOT)
    assert aside and count == len(money) and not damage_mark(path).exists()
    again.close()


@pytest.mark.promise("S2")
def test_a_power_cut_in_the_last_step_of_a_rebuild_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    database = filled(path)
    money = money_of(database)
    database.close()
    shutil.move(path, draft_of(path))
    again, aside, _ = open_database(path, BOOT)
    assert aside is None and money_of(again) == money
    again.close()
