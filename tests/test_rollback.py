"""An update and the way back, as the database sees it: a build that is one ahead adds to the schema while it is on
trial, the one before reads and writes what it finds; what cannot be undone waits until the new one is confirmed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import outbox
from agent.authcache.listfile import Edition, build, open_list
from agent.effects import Save, Stream
from agent.events import Entry
from agent.outbox import Database, Migration, StoreError
from agent.salvage import salvage
from agent.store import open_database
from agent.uplink.codec import Mark, decode_record
from tests.ledger import ALL_B, BOOT, record
from tests.play import ANN, Play

ADDITIVE = Migration("""
    ALTER TABLE fact ADD COLUMN source TEXT;
    ALTER TABLE outbox ADD COLUMN weight REAL NOT NULL DEFAULT 0.5;
    ALTER TABLE dead_letter ADD COLUMN at_s INTEGER;
    ALTER TABLE stream ADD COLUMN colour TEXT NOT NULL DEFAULT 'green';
    ALTER TABLE epoch ADD COLUMN made_s INTEGER;
    CREATE TABLE tariff (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE INDEX outbox_weight ON outbox (weight)
""")
DESTRUCTIVE = Migration("ALTER TABLE dead_letter RENAME COLUMN why TO reason", is_destructive=True)
AFTER = Migration("ALTER TABLE fact ADD COLUMN later TEXT")
OLD = outbox.MIGRATIONS
NEW = (*OLD, ADDITIVE)
AHEAD = (*OLD, ADDITIVE, DESTRUCTIVE, AFTER)


@contextmanager
def software(path: Path, migrations: tuple[Migration, ...], *, is_confirmed: bool = False) -> Iterator[Database]:
    """The database as a build opens it that knows these."""
    before, outbox.MIGRATIONS = outbox.MIGRATIONS, migrations
    try:
        database = Database(path, BOOT, may_destroy=is_confirmed)
        try:
            yield database
        finally:
            database.close()
    finally:
        outbox.MIGRATIONS = before


def numbers(database: Database, stream: Stream = Stream.MONEY) -> list[int]:
    rows = database.fetch(stream, 0, ALL_B)
    return [decode_record(row.body).payload.get("seqNo", -1) for row in rows]


def level(database: Database) -> int:
    found: int = database.db.execute("PRAGMA user_version").fetchone()[0]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "station.db"


@pytest.mark.promise("S2", "S8")
def test_records_and_settings_survive_an_update_and_the_way_back(path: Path) -> None:
    with software(path, OLD, is_confirmed=True) as old:
        old.commit([record(1), record(2), Save("cloud", {"light": "on"})])
        old.acknowledged(old.epoch, {0: Mark(1)})
    with software(path, NEW) as new:
        assert level(new) == len(NEW) and numbers(new)[-1] == 2 and new.facts() == {"cloud": {"light": "on"}}
        new.commit([record(3), Save("cloud", {"light": "off"}), Save("only the new one knows", [1])])
        new.db.execute("UPDATE outbox SET weight = 0.75")
    with software(path, OLD, is_confirmed=True) as old:
        assert numbers(old)[-2:] == [2, 3] and old.facts()["cloud"] == {"light": "off"}
        old.commit([record(4), Save("cloud", {"light": "auto"})])
        assert old.marks()[0] == (2, 5)
    with software(path, NEW) as new:
        assert numbers(new)[-3:] == [2, 3, 4] and new.facts()["cloud"] == {"light": "auto"}
        assert new.facts()["only the new one knows"] == [1]


@pytest.mark.promise("S2", "S8")
def test_the_build_before_does_everything_with_the_extended_file(path: Path) -> None:
    with software(path, NEW) as new:
        new.commit([record(n, stream) for n in range(1, 9) for stream in (Stream.MONEY, Stream.SAMPLES, Stream.LOGS)])
    with software(path, OLD) as old:
        old.acknowledged(old.epoch, {0: Mark(3), 3: Mark(2)})
        assert old.bury(0, 5, "the cloud will not have it") and old.count_dead_letters() == 1
        old.make_room()
        old.new_epoch()
        assert sorted(numbers(old)) == [-1, 1, 2, 3, 4, 6, 7, 8]
        old.commit([record(9), Save("a", None), Save("b", 1)])
        assert old.check(0) == (None, [])
    with software(path, NEW) as new:
        assert numbers(new)[-1] == 9 and new.dead_letters()[0].why == "the cloud will not have it"


@pytest.mark.promise("S2", "S8")
def test_what_cannot_be_undone_waits_until_the_build_is_confirmed(path: Path) -> None:
    with software(path, OLD) as old:
        old.commit([record(1)])
    with software(path, AHEAD) as trial:
        assert level(trial) == len(NEW) and trial.schema == 0, "nothing beyond the destructive one is made either"
        trial.commit([record(2)])
    with software(path, OLD) as old:
        assert numbers(old) == [1, 2]
    with software(path, AHEAD, is_confirmed=True) as confirmed:
        assert level(confirmed) == len(AHEAD) and confirmed.schema == len(AHEAD) - 1
        assert numbers(confirmed) == [1, 2]
    for before in (OLD, NEW):
        with pytest.raises(StoreError, match="newer software"), software(path, before):
            pass
    further = (*AHEAD, Migration("CREATE TABLE more (id INTEGER)"))
    with software(path, further) as ahead:
        assert ahead.schema == len(AHEAD) - 1
    with software(path, AHEAD) as again:
        assert numbers(again) == [1, 2]


# -- what may be called additive ---------------------------------------------------------------------------------------

TABLES = ("fact", "epoch", "stream", "outbox", "dead_letter")


def not_additive(migrations: tuple[Migration, ...]) -> str:
    """The first thing that a migration does besides adding, though it does not call itself destructive."""
    db = sqlite3.connect(":memory:")
    with closing(db):
        for number, migration in enumerate(migrations):
            before = {name: (columns(db, name), rows(db, name)) for name in tables(db)}
            limits = unique_indexes(db) | triggers(db)
            db.executescript(migration.script)
            if number == 0:
                for name in TABLES:  # a row each, so that what is done to rows is seen
                    names = ", ".join(each for each, *_ in columns(db, name))
                    fill = ", ".join("x'07'" if kind == "BLOB" else "7" for _, kind, *_ in columns(db, name))
                    db.execute(f"INSERT INTO {name} ({names}) VALUES ({fill})" if name != "epoch" else EPOCH_ROW)
            why = changed(db, before) or "".join(sorted((unique_indexes(db) | triggers(db)) - limits))
            if why and number and not migration.is_destructive:
                return f"migration {number + 1}: {why}"
    return ""


EPOCH_ROW = "INSERT INTO epoch VALUES (0, 7, x'07')"


def changed(db: sqlite3.Connection, before: dict[str, Any]) -> str:
    for name, (old_columns, old_rows) in before.items():
        if name not in tables(db):
            return f"table {name} is gone"
        now = columns(db, name)
        if now[: len(old_columns)] != old_columns:
            return f"the columns of {name} are others"
        for column, _, is_needed, default in now[len(old_columns) :]:
            if is_needed and default is None:
                return f"{name}.{column} must be given by whoever does not know it"
        if [row[: len(old_columns)] for row in rows(db, name)] != old_rows:
            return f"the rows of {name} are others"
    return ""


def tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]


def columns(db: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    """Name, type, NOT NULL, default."""
    return [row[1:5] for row in db.execute(f"PRAGMA table_info({table})")]


def rows(db: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT * FROM {table}").fetchall()


def unique_indexes(db: sqlite3.Connection) -> set[str]:
    """Older software's rows could be refused by it."""
    return {name for table in TABLES if table in tables(db) for _, name, is_unique, *_ in
            db.execute(f"PRAGMA index_list({table})") if is_unique}  # fmt: skip


def triggers(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}


@pytest.mark.promise("S8")
def test_what_calls_itself_additive_is_additive() -> None:
    assert not_additive(OLD) == "" == not_additive(AHEAD)
    for script in (
        "DROP TABLE dead_letter", "ALTER TABLE dead_letter RENAME COLUMN why TO reason", "DELETE FROM stream",
        "UPDATE outbox SET crc = 0", "CREATE UNIQUE INDEX bodies ON outbox (body)", "ALTER TABLE fact DROP COLUMN crc",
        "CREATE TRIGGER t AFTER INSERT ON fact BEGIN DELETE FROM fact; END",
    ):  # fmt: skip
        assert "migration 3" in not_additive((*NEW, Migration(script))), script
        assert not_additive((*NEW, Migration(script, is_destructive=True))) == ""


def test_a_file_whose_marks_contradict_each_other_is_damaged_and_is_rebuilt(path: Path) -> None:
    with software(path, OLD) as old:
        old.commit([record(1)])
        old.db.execute("PRAGMA application_id = 77")
    database, aside, salvaged = open_database(path, BOOT)
    assert aside and salvaged == 1 and numbers(database) == [1]
    database.close()


@pytest.mark.promise("S2", "S8")
def test_the_build_before_salvages_what_a_newer_one_has_written(path: Path) -> None:
    with software(path, NEW) as new:
        new.commit([record(n) for n in range(1, 30)] + [Save("cloud", {"light": "on"})])
        new.db.execute("UPDATE fact SET source = 'wizard'")
        epoch, marks = new.epoch, new.marks()
    found = salvage(path)
    assert found.epoch == epoch and sorted(found.money) == list(range(1, 30)) and "cloud" in found.facts
    with software(path, OLD) as old:
        old.commit([record(30)])
        old.acknowledged(old.epoch, {0: Mark(7)})
    assert sorted(salvage(path).money) == list(range(1, 31)) and salvage(path).marks[0] == (8, 31)
    assert marks[0] == (1, 30)


STEPS = st.lists(st.tuples(st.sampled_from(["old", "new"]), st.integers(0, 4), st.integers(0, 3)), max_size=12)


@pytest.mark.promise("S2", "S8")
@settings(max_examples=25)
@given(STEPS)
def test_whoever_runs_in_whatever_order_nothing_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path, made, floor = tmp_path_factory.mktemp("rollback") / "station.db", 0, 1
    for who, count, acknowledged in steps:
        with software(path, NEW if who == "new" else OLD) as database:
            database.commit([record(made + n + 1) for n in range(count)] + [Save("made", made + count)])
            made += count
            floor = max(floor, min(floor + acknowledged, made + 1))
            database.acknowledged(database.epoch, {0: Mark(floor - 1)})
            assert database.marks()[0] == (floor, made + 1) and database.facts() == {"made": made}
            assert numbers(database) == list(range(1, made + 1))


# -- beside the database ----------------------------------------------------------------------------------------------


def extended(value: Any) -> Any:
    """As a build might write it that has more to say."""
    if isinstance(value, dict):
        return {**{key: extended(each) for key, each in value.items()}, "of a newer build": 1}
    return value


@pytest.mark.promise("S2", "S8")
def test_facts_to_which_a_newer_build_has_added_are_read_by_the_one_before() -> None:
    play = Play().plug(1).tap(ANN).at(300.0)
    facts = {key: extended(value) for key, value in play.facts.items()} | {"newer": {"x": 1}}
    assert any(facts[key] != value for key, value in play.facts.items())
    as_written, by_a_newer_one = (Play(facts=found, plug=False) for found in (play.facts, facts))
    assert as_written.station.ports[0].transaction and by_a_newer_one.station == as_written.station


@pytest.mark.promise("S4", "S8")
def test_the_list_is_not_touched_by_an_update(tmp_path: Path) -> None:
    built = build(tmp_path, [("04A1B2C3", Entry())], Edition(1, 1), b"k" * 32)
    with software(tmp_path / "station.db", NEW) as new:
        new.commit([record(1)])
    found = open_list(built.path, b"k" * 32)
    assert found.lookup("04A1B2C3") == Entry()
    found.close()
