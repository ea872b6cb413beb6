"""What durability costs: an enqueue, a start with much waiting, bytes written to the flash, a month offline.

Each in a process of its own where memory or the kernel's counters are looked at:

    python -m bench.disk wear | month | start COUNT
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from agent.effects import Record
from agent.loop import monotonic
from agent.outbox import Database
from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.world import STATION_ID
from agent.store import Store, open_database
from bench.figure import Disk, Figures, figure, file_system, missing, resident_mb, wall_s
from bench.records import outbox
from bench.world import DAY_S, MONTH_DAYS, PORTS, TURNS, FileDisk, card, plan_day, station

BOOT_ID = b"bench-01"
BATCHES, COMMITS = (1, 10, 100), 60
WAITING, FEW = 100_000, 100
SESSIONS, IDLE_DAYS = 24, 3
SETTINGS = Settings(station_id=STATION_ID, restart_delay_max_s=0.0)
TARGETS = {
    "start_100k_s": ("s", 1.0),
    "start_100k_rss_mb": ("MB", 10.0),
    "wear_session_hour_kb": ("kB", 150.0),
    "wear_idle_day_mb": ("MB", 5.0),
    "outbox_month_mb": ("MB", 25.0),
}


# -- enqueue ----------------------------------------------------------------------------------------------------------


def enqueue() -> Figures:
    """In turns with a bare fdatasync of three pages on the same disk."""
    out: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, records = Path(name), list(outbox(6_000))
        disk, (database, *_) = Disk(folder), open_database(folder / "station.db", BOOT_ID)
        with closing(disk), closing(database):
            fill(database, records)
            for size in BATCHES:
                batches = [records[n * size : (n + 1) * size] for n in range(COMMITS)]
                pairs = [(wall_s(partial(database.commit, batch)), wall_s(disk.sync)) for batch in batches]
                each_us = [commit_s / size * 1e6 for commit_s, _ in pairs]
                sync_s = median(sync_s for _, sync_s in pairs)
                rate = f"{1e6 / median(each_us):.0f} records/s beside {1 / sync_s:.0f} fdatasync/s on the same disk"
                out[f"enqueue_{size}_us"] = figure(each_us, "us", note=f"a record, of {size} in one commit: {rate}")
    return out


def fill(database: Database, records: Iterable[Record], size: int = 5) -> None:
    """Not synced, so it is fast; the write-ahead log reaches its full length and is written over, as on a station."""
    database.db.execute("PRAGMA synchronous = OFF")
    source = iter(records)
    while batch := list(islice(source, size)):
        database.commit(batch)
    database.db.execute("PRAGMA synchronous = FULL")


# -- start ------------------------------------------------------------------------------------------------------------


def start() -> Figures:
    """Until facts, marks and money are read and checked; in a process of its own, twice."""
    few, many = (asked("start", str(count)) for count in (FEW, WAITING))
    note = f"open a database with {WAITING} records waiting; with {FEW}: {few['seconds'] * 1000:.1f} ms"
    grown = f"more after it than before, {WAITING} records waiting; with {FEW}: {few['mb']:.1f} MB"
    return {
        "start_100k_s": figure([many["seconds"]], *TARGETS["start_100k_s"], note),
        "start_100k_rss_mb": figure([many["mb"]], *TARGETS["start_100k_rss_mb"], grown),
    }


def started(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = Path(name) / "station.db"
        subprocess.run([sys.executable, "-m", "bench.disk", "fill", str(path), str(count)], check=True)
        store = Store(path, BOOT_ID, lambda _: None, monotonic)
        before_mb, began = resident_mb(), monotonic()
        opened = store.open()
        seconds, mb = monotonic() - began, resident_mb() - before_mb
        owed = sum(end - floor for floor, end in opened.marks.values())
        store.close()
        assert owed == count, owed
        return {"seconds": seconds, "mb": mb}


def filled(path: Path, count: int) -> None:
    database, *_ = open_database(path, BOOT_ID)
    with closing(database):
        fill(database, outbox(count), 1_000)


# -- wear -------------------------------------------------------------------------------------------------------------


def wear() -> Figures:
    """By the kernel's count of the bytes that this process made it write to the block device."""
    names = ("wear_session_hour_kb", "wear_idle_day_mb")
    if file_system(Path(tempfile.gettempdir())) == "tmpfs":
        return {name: missing(*TARGETS[name], "the temporary folder is on no disk: set TMPDIR") for name in names}
    seen = asked("wear")
    session_kb, idle_mb = seen["session_b"] / SESSIONS / 1e3, seen["idle_b"] / IDLE_DAYS / 1e6
    each = seen["session_b"] / seen["session_commits"] / 1e3
    session = (
        f"/proc/self/io write_bytes over {SESSIONS} sessions of an hour with default settings, online:"
        f" {seen['session_commits'] / SESSIONS:.0f} commits an hour, {each:.1f} kB each with the checkpoints"
        " (the kernel writes whole pages of 4 kB); the file system's own journal not included"
    )
    idle = f"the same over {IDLE_DAYS} days with nobody there: {seen['idle_commits'] / IDLE_DAYS:.0f} commits a day"
    return {
        names[0]: figure([session_kb], *TARGETS[names[0]], session),
        names[1]: figure([idle_mb], *TARGETS[names[1]], idle),
    }


def worn() -> dict[str, float]:
    with station(SETTINGS, disk := FileDisk()).closing() as world:
        commits, written = disk.commits, written_b()
        for n in range(SESSIONS):
            world.plug(1, Car(need_wh=100_000)).run(10)
            world.tap(card(n)).run(3_600)
            world.tap(card(n)).run(10)
            assert world.unplug(1)
            world.run(60)
        session = {"session_b": written_b() - written, "session_commits": disk.commits - commits}
        world.run(3_600)
        commits, written = disk.commits, written_b()
        world.run(IDLE_DAYS * DAY_S)
        return {**session, "idle_b": written_b() - written, "idle_commits": disk.commits - commits}


def written_b() -> int:
    rows = Path("/proc/self/io").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("write_bytes"))


# -- a month offline --------------------------------------------------------------------------------------------------


def outbox_month() -> Figures:
    seen = asked("month")
    note = (
        f"station.db with its log after {MONTH_DAYS} days offline with {PORTS * TURNS} sessions a day:"
        f" {seen['records']:.0f} records wait; back online, all {seen['sessions']:.0f} sessions equal the meters"
    )
    return {"outbox_month_mb": figure([seen["size_b"] / 1e6], *TARGETS["outbox_month_mb"], note)}


def month() -> dict[str, float]:
    with station(SETTINGS, disk := FileDisk(is_synced=False)).closing() as world:
        assert world.shell
        world.net.cut()
        for _ in range(MONTH_DAYS):
            plan_day(world)
            world.run(DAY_S)
        size_b = disk.size_b
        records = sum(map(len_of, world.shell.uplink.owed().values()))
        world.net.mend()
        world.run(7_200)
        owed = sum(map(len_of, world.shell.uplink.owed().values()))
        assert world.is_equal() and not owed, (world.cloud.violations, owed)
        return {"size_b": size_b, "records": records, "sessions": len(world.cloud.sessions)}


def len_of(stretches: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in stretches)


# -- in a process of its own ------------------------------------------------------------------------------------------


def asked(*args: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "bench.disk", *args], capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main(what: str, *args: str) -> None:
    match what, args:
        case "fill", (path, count):
            filled(Path(path), int(count))
        case "start", (count,):
            print(json.dumps(started(int(count))))
        case "wear", ():
            print(json.dumps(worn()))
        case "month", ():
            print(json.dumps(month()))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
