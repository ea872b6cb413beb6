"""The smallest parts, one by one: a tap in the core, a record's bytes, a durable commit, what must be imported."""

import secrets
import tempfile
from pathlib import Path
from statistics import median

from agent.core import handle
from agent.effects import Record, Stream
from agent.events import CardTapped, Entry, LookedUp
from agent.outbox import Database
from agent.sim.car import Car
from agent.sim.world import World
from agent.store import open_database
from agent.uplink.codec import WireRecord, decode_record, encode_record
from bench import imports
from bench.figure import Disk, Figures, figure, percentile, timed, wall_s

CARD = "04A10001"
COMMITS, BLOCKS, LAP = 60, 5, 1_000


def core_tap() -> Figures:
    """handle(CardTapped) and handle(LookedUp), up to the grant and the transaction's first record: no disk, no line."""
    with World(1).closing() as world:
        world.power_on().run(60)
        world.plug(1).run(5)
        assert world.shell
        station, now = world.shell.station, world.mono()

    def tap() -> None:
        asking, _ = handle(station, CardTapped(CARD), now)
        granted, _ = handle(asking, LookedUp(asking.asks[-1].ask_id, Entry(), None), now)
        assert granted.ports[0].transaction

    return {"core_tap_us": figure(timed(tap, 500, 5), "us", note="two steps of the core: tap, and the list's answer")}


def some_records() -> list[WireRecord]:
    """What one session sends."""
    with World(1).closing() as world:
        world.allow(CARD).power_on().run(60)
        world.plug(1, Car(need_wh=5_000)).run(5)
        world.tap(CARD).run(3_600)
        world.unplug(1)
        return world.run(60).cloud.log


def record_codec() -> Figures:
    records = some_records()
    encoded = [encode_record(record) for record in records]
    size = round(sum(map(len, encoded)) / len(encoded))

    def each(runs: list[float]) -> list[float]:
        return [us / len(records) for us in runs]

    encode = timed(lambda: [encode_record(record) for record in records], 20, 5)
    decode = timed(lambda: [decode_record(data) for data in encoded], 20, 5)
    note = f"mean over the {len(records)} records of a session, {size} bytes each"
    return {
        "record_encode_us": figure(each(encode), "us", note=note),
        "record_decode_us": figure(each(decode), "us", note=note),
    }


def commit() -> Figures:
    """One record, durable, in turns with a bare fdatasync of as many bytes on the same disk; both files overwritten."""
    sample = next(r for r in some_records() if r.payload.get("eventType") == "Updated")
    record = Record(Stream.SAMPLES, sample.action, sample.payload, 1.0, 1.8e9, sample.clock_source)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        disk, (database, *_) = Disk(folder), open_database(folder / "station.db", secrets.token_bytes(8))
        lap(database, record)
        pairs = [(wall_s(lambda: database.commit([record])), wall_s(disk.sync)) for _ in range(COMMITS * BLOCKS)]
        database.close()
        disk.close()
    blocks = [pairs[n : n + COMMITS] for n in range(0, len(pairs), COMMITS)]
    commits, syncs = ([median(pair[which] for pair in block) * 1e6 for block in blocks] for which in (0, 1))
    ratios = [sum(a for a, _ in block) / sum(b for _, b in block) for block in blocks]
    slow = ", ".join(f"{percentile(row, 99) * 1e6:.0f}" for row in zip(*pairs, strict=True))
    note = f"wall time, medians of {COMMITS} in turns with the other; p99 of commit and fdatasync {slow}"
    return {
        "commit_us": figure(commits, "us", note=f"one record through agent/store.py; {note}"),
        "fdatasync_us": figure(syncs, "us", note=f"three pages on the same disk; {note}"),
        "commit_per_fdatasync": figure(ratios, "ratio", note="of the sums; 1.0 would be a database that costs nothing"),
    }


def lap(database: Database, record: Record) -> None:
    """Until the write-ahead log has reached its full length once: from then on it is written over, as on a station."""
    database.db.execute("PRAGMA synchronous = OFF")
    for _ in range(LAP):
        database.commit([record])
    database.db.execute("PRAGMA synchronous = FULL")


def import_time() -> Figures:
    agent, panel = (imports.cost(f"import {name}", 5) for name in ("agent.app", "agent.app, agent.ui.web"))
    assert agent and panel
    note = f"agent.app with all it needs, {agent[1]:.0f} MB; with the panel {panel[0]:.0f} ms and {panel[1]:.0f} MB"
    return {"import_ms": figure([agent[0]], "ms", note=f"median of 5: {note}")}
