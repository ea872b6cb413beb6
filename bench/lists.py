"""The allowlist: 100,000 drivers, and a million beside them, from the cloud's signed messages to decisions.

The station is a process of its own (liststation.py): the agent's imports, the real store and lists, the real builder,
taps in the loop meanwhile. Lists are sent as the reference cloud sends them. Plain ones say the same of all drivers of
one of 20 houses; in rich ones each has an expiry of his own, three groups of 26, and a language.

In the same run the way EVerest stores its list (rows.py).
"""

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.authcache.lists import Lists
from agent.outbox import Database
from agent.sim.demo import ENVIRONMENT
from agent.store import open_database
from bench import rows as everest
from bench.figure import Figure, Figures, figure, percentile, wall_s
from bench.liststation import (
    BOOT_ID,
    CHANGED,
    KEY,
    LOOK_S,
    LOOKUPS,
    REMOVED,
    STATION_ID,
    WALL_S,
    Seen,
    Swap,
    card,
    changed,
    size_b,
)
from tools.cloud.cloud import Cloud
from tools.cloud.commands import Command
from tools.cloud.drivers import Driver, id_token_info, list_entry
from tools.cloud.ledger import Ledger
from tools.cloud.wire import VENDOR, Json, key_id

HOUSES, ROLES, TARIFFS, LANGUAGES = 20, ("owner", "staff", "guest"), ("day", "night", "flat"), ("de", "en", "fr", "it")
YEARS_S = 3 * 365 * 86_400
NOW_MS = round(WALL_S * 1000)
EXPIRES_MS = NOW_MS + 86_400_000
NEW = 100  # of a hundred drivers in the next list one says something else
FIRST = 2  # version of the first list that is sent
CHANGES = 28  # differences; each ninth is one too many for the overlay and makes a new file
SLOW = 10  # times slower than this machine: a small ARM core, docs/dependencies.md
KILLS = 5
WARM = 2  # swaps
ROWS_EACH = 500
ROWS_KILLED_S = 2.0
TARGETS: Mapping[str, tuple[str, float | None]] = {
    "swap_s": ("s", 3.0),
    "decision_p99_ms": ("ms", 5.0),
    "differential_ms": ("ms", 20.0),
    "lookup_hit_p99_us": ("us", 50.0),
    "lookup_miss_p99_us": ("us", 50.0),
    "lookup_overlay_p99_us": ("us", 50.0),
    "lookup_cold_p99_us": ("us", None),
    "entry_b": ("B", 32.0),
    "swap_entry_b": ("B", 70.0),
    "wire_b": ("B", 20.0),
    "rss_growth_mb": ("MB", 1.0),
}


@dataclass(frozen=True, slots=True)
class Size:
    """`name` stands in its figures' names; `swaps` of one list by the next."""

    name: str
    count: int
    swaps: int
    is_rich: bool = False
    has_targets: bool = True


SIZES = (
    Size("list", 100_000, 10),
    Size("list_rich", 100_000, 2, is_rich=True),
    Size("list_1m", 1_000_000, 1, has_targets=False),
)


def lists() -> Figures:
    return measured(SIZES, ROWS_EACH)


def lists_full() -> Figures:
    """Each row of theirs."""
    return measured(SIZES, 0)


def measured(sizes: Sequence[Size], rows_each: int) -> Figures:
    out: Figures = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            wire_b = prepare(folder, size)
            seen = asked("swaps", folder, size.count)
            ours = figures(size, wire_b, seen)
            if not size.is_rich:
                ours |= compared(folder, size, seen, rows_each)
            if size is sizes[0]:
                ours |= killed(folder, size, median(swap.seconds for swap in seen.swaps))
        out |= {f"{size.name}_{each}": made for each, made in ours.items()}
    return out


# -- the cloud's part -------------------------------------------------------------------------------------------------


def driver(number: int, *, is_rich: bool, language: str = "") -> Driver:
    house = f"house-{number % HOUSES}"
    if not is_rich:
        return Driver(card(number), (house,), language=language)
    rng = random.Random(number)
    groups = house, rng.choice(ROLES), rng.choice(TARIFFS)
    expiry_ms = NOW_MS + 1000 * (86_400 + rng.randrange(YEARS_S))
    return Driver(card(number), groups, expiry_ms=expiry_ms, language=language or rng.choice(LANGUAGES))


class Sender:
    """Signs what a station is to take, each message into a file."""

    def __init__(self, folder: Path) -> None:
        key = Ed25519PrivateKey.generate()
        (folder / "operator").mkdir()
        public = key.public_key()
        (folder / "operator" / key_id(public).hex()).write_bytes(public.public_bytes_raw())
        self.ledger = Ledger(":memory:")
        self._cloud = Cloud(self.ledger, key)
        self.ledger.db.execute("INSERT INTO station (name) VALUES (?)", (STATION_ID,))

    def write(self, path: Path, request: Json) -> int:
        """Its bytes."""
        command = Command(secrets.token_hex(8), STATION_ID, "SendLocalList", request, NOW_MS, EXPIRES_MS)
        data = self._cloud.signed(command)
        assert data
        return path.write_bytes(data)


def prepare(folder: Path, size: Size) -> list[float]:
    """All messages that the station is to take. Bytes per driver of each list."""
    sender = Sender(folder)
    drivers = sender.ledger.drivers
    drivers.put((driver(n, is_rich=size.is_rich) for n in range(size.count)), NOW_MS)
    wire_b = []
    for number in range(size.swaps + 1):
        some = range(number, size.count, NEW)
        drivers.put((driver(n, is_rich=size.is_rich, language="rm") for n in some), NOW_MS)
        parts = folder / "full" / f"{number:02}"
        parts.mkdir(parents=True)
        requests = drivers.full(NOW_MS)
        wire_b.append(sum(sender.write(parts / f"{n:04}", each) for n, each in enumerate(requests)) / size.count)
    version = drivers.version()
    assert version
    (folder / "changes").mkdir()
    for number in range(CHANGES):
        sender.write(folder / "changes" / f"{number:04}", difference(number, version, size))
    sender.ledger.close()
    return wire_b


def difference(number: int, version: tuple[int, int], size: Size) -> Json:
    """What leads from the list `number` differences after `version` to the next one."""
    numbers = changed(number, size.count)
    cards = [driver(n, is_rich=size.is_rich, language="rm") for n in numbers[:-REMOVED]]
    gone: list[Json] = [{"idToken": {"idToken": card(n), "type": "ISO14443"}} for n in numbers[-REMOVED:]]
    generation, base = version[0], version[1] + number
    return {
        "versionNumber": base + 1, "updateType": "Differential",
        "localAuthorizationList": [*gone, *map(list_entry, cards)],
        "customData": {"vendorId": VENDOR, "generation": generation, "base": base},
    }  # fmt: skip


def asked(what: str, folder: Path, count: int) -> Seen:
    command = [sys.executable, "-m", "bench.liststation", what, str(folder), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=ENVIRONMENT)
    answer: dict[str, Any] = json.loads(done.stdout or "{}")
    return Seen(**answer | {"swaps": [Swap(**each) for each in answer.get("swaps", [])]})


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(size: Size, wire_b: Sequence[float], seen: Seen) -> Figures:
    made = swap_figures(size, wire_b, seen.swaps)
    return made if size.is_rich else made | loop_figures(size, seen) | lookup_figures(size, seen)


def swap_figures(size: Size, wire_b: Sequence[float], swaps: Sequence[Swap]) -> Figures:
    applied_ms = median(swap.applied_s for swap in swaps) * 1e3
    parts_s, build_s = median(swap.parts_cpu_s for swap in swaps), median(swap.build_cpu_s for swap in swaps)
    swap = (
        f"{size.count} drivers: from the arrival of the last signed message, all others kept, to in force and answered"
        f" for on the disk; {build_s:.2g} s of CPU in the niced builder, which waits for all other work on the machine,"
        f" {applied_ms:.2g} ms in the loop to open it"
    )
    receive = (
        "the agent's CPU for all messages but the last: verified, read, kept, in the worker; on a core"
        f" {SLOW} times slower {SLOW * parts_s:.2g} s, and {SLOW * build_s:.2g} s of the builder"
    )
    most = "the same at the fullest instant: the old file, the new one and all parts"
    wire = "per driver: all messages of a full list as the cloud signs and encodes them"
    count = size.count
    return {
        "swap_s": judged("swap_s", size, [swap.seconds for swap in swaps], swap),
        "receive_cpu_s": judged("receive_cpu_s", size, [swap.parts_cpu_s for swap in swaps], receive),
        "entry_b": judged("entry_b", size, [s.rest_b / count for s in swaps], "the list's folder, nothing on its way"),
        "swap_entry_b": judged("swap_entry_b", size, [swap.folder_b / count for swap in swaps], most),
        "wire_b": judged("wire_b", size, wire_b, wire),
    }


def loop_figures(size: Size, seen: Seen) -> Figures:
    taps_ms = [each * 1e3 for swap in seen.swaps for each in swap.taps_s]
    earlier_ms = [each * 1e3 for swap in seen.swaps for each in swap.earlier_taps_s] or [0.0]
    changed_ms = [each * 1e3 for each in seen.changed_s]
    pairs = [pair for swap in seen.swaps for pair in zip(swap.taps_s, swap.queued_s, strict=True)]
    alone_ms = [max(0.0, tap_s - queued_s) * 1e3 for tap_s, queued_s in pairs]
    decision = (
        f"{len(taps_ms)} taps at random times in the loop while lists are swapped, half of them on the list, each"
        f" decided as it should: from the tap to the policy's word; p50 {percentile(taps_ms, 50):.2g}, greatest"
        f" {max(taps_ms):.3g}; p99 without the waits for a processor that other work had"
        f" {percentile(alone_ms, 99):.2g}; p99 while the other messages came"
        f" {percentile(earlier_ms, 99):.2g}, at rest {percentile(seen.idle_taps_s, 99) * 1e3:.2g}"
    )
    differential = (
        f"{CHANGED} changes, {REMOVED} of them removals: plan, commit to the real store, in force; p99"
        f" {percentile(changed_ms, 99):.3g}; with signature and decoding {median(seen.arrived_s) * 1e3:.3g}; each ninth"
        f" makes a new file: {median(seen.rewritten_s):.2g} s"
    )
    after_mb, most_mb = [swap.after_mb for swap in seen.swaps], max(swap.rss_mb for swap in seen.swaps)
    growth_mb = after_mb[-1] - after_mb[min(WARM, len(after_mb)) - 1]
    each_mb = ", ".join(f"{each:.1f}" for each in after_mb)
    memory = (
        f"the agent's resident memory after {len(after_mb)} swaps, less that after {WARM} (caches fill): before"
        f" {seen.before_mb:.1f}, then {each_mb}; meanwhile at most {most_mb:.1f}, and the builder's own"
        f" {max(swap.builder_mb for swap in seen.swaps):.0f}, looked at each {LOOK_S * 1e3:.0f} ms"
    )
    return {
        "decision_p99_ms": judged("decision_p99_ms", size, taps_ms, decision, percentile(taps_ms, 99)),
        "differential_ms": judged("differential_ms", size, changed_ms, differential),
        "rss_growth_mb": judged("rss_growth_mb", size, [growth_mb], memory),
    }


def lookup_figures(size: Size, seen: Seen) -> Figures:
    out: Figures = {}
    for kind, lookups_s in seen.lookups_s.items():
        us = [each * 1e6 for each in lookups_s]
        note = f"Lists.lookup of {len(us)} random cards, each timed; p50 {percentile(us, 50):.3g}"
        name = f"lookup_{kind}_p99_us"
        out[name] = judged(name, size, us, note, percentile(us, 99))
    us, first_us = ([each * 1e6 for each in lookups_s] for lookups_s in (seen.cold_s, seen.first_s))
    note = (
        f"the file alone, {len(us)} random cards after the kernel was told to drop its pages; the very first"
        f" {percentile(first_us, 50):.3g}, p99 of {len(first_us)} {percentile(first_us, 99):.3g};"
        f" {seen.read_b / 1e3:.0f} kB read from the disk"
    )
    name = "lookup_cold_p99_us"
    return {**out, name: judged(name, size, us, note, percentile(us, 99))}


def judged(name: str, size: Size, runs: Sequence[float], note: str, value: float | None = None) -> Figure:
    unit, target = TARGETS.get(name, ("s", None))
    return figure(runs, unit, target if size.has_targets else None, note, value)


# -- the other way ----------------------------------------------------------------------------------------------------


def compared(folder: Path, size: Size, seen: Seen, rows_each: int) -> Figures:
    """Ours divided by theirs."""
    listed = [(card(n), id_token_info(driver(n, is_rich=False))) for n in range(size.count)]
    (folder / "rows").mkdir()
    rows = everest.Rows(folder / "rows")
    rows.fill(listed)
    swap_s = everest.swap_s(rows, listed, rows_each)
    rng = random.Random(3)
    cards = [card(rng.randrange(size.count)) for _ in range(LOOKUPS)]
    lookups_us = [wall_s(partial(rows.lookup, each)) * 1e6 for each in cards]
    entry_b = size_b(folder / "rows") / size.count
    rows.close()
    unknown, version = rows_killed(folder / "rows", size.count)
    how = f"{3 * rows_each} rows timed in an empty, a half and a full table, the rest in proportion"
    how = how if rows_each else "each of them timed"
    ours_us = percentile(seen.lookups_s["hit"], 50) * 1e6
    ours_b = median(swap.rest_b for swap in seen.swaps) / size.count
    swap = (
        f"of {swap_s:.3g} s for a row and a commit each, in SQLite as it comes, {how}; Python as ours, no search for"
        " cards that come twice"
    )
    lookup = f"medians: {ours_us:.3g} us of {percentile(lookups_us, 50):.3g}, which knows neither overlay nor cache"
    killed = (
        f"of all drivers unknown after a kill {ROWS_KILLED_S:.0f} s after the first row of their swap, under version"
        f" {version}, the one before: nobody sees it"
    )
    return {
        "swap_per_rows": figure([each.seconds / swap_s for each in seen.swaps], "ratio", note=swap),
        "lookup_per_rows": figure([ours_us / percentile(lookups_us, 50)], "ratio", note=lookup),
        "entry_per_rows": figure([ours_b / entry_b], "ratio", note=f"{ours_b:.3g} B of {entry_b:.3g}"),
        "rows_killed": figure([unknown], "ratio", note=killed),
    }


def rows_killed(folder: Path, count: int) -> tuple[float, int]:
    with victim("bench.rows", str(folder)) as process:
        ended(process, ROWS_KILLED_S)
    rows = everest.Rows(folder)
    version, held = rows.held()
    rows.close()
    return 1 - held / count, version


# -- a kill in the middle ---------------------------------------------------------------------------------------------


def killed(folder: Path, size: Size, swap_s: float) -> Figures:
    """At random instants of a swap, agent and builder."""
    for name in ("station.db", "station.db-wal", "station.db-shm", "station.db-ballast"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "lists")
    asked("ready", folder, size.count)
    rng, unknown, new = random.Random(4), [], 0
    for n in range(KILLS):
        copy = folder / f"killed-{n}"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("killed-*", "rows", "changes"))
        with victim("bench.liststation", "last", str(copy), str(size.count)) as process:
            ended(process, rng.uniform(0, 1.5 * swap_s))
        share, is_new = after(copy, size)
        unknown.append(share)
        new += is_new
    note = (
        f"of 1000 drivers asked for after {KILLS} kills of agent and builder at random instants of a swap (of the"
        f" processes, not of the power): {KILLS - new} times the old list whole, {new} times the new one"
    )
    return {"killed": figure(unknown, "ratio", note=note, value=max(unknown))}


def after(folder: Path, size: Size) -> tuple[float, bool]:
    """The share of drivers that the list does not know, and whether it is the new one; that its content is what was
    announced, Lists has checked."""
    database: Database
    database, *_ = open_database(folder / "station.db", BOOT_ID)
    held = Lists(folder / "lists", database.facts(), KEY, 0.0)
    database.close()
    assert not held.problem and held.state.entries == size.count, held.problem
    assert held.state.version in (FIRST, FIRST + size.swaps)
    rng = random.Random(5)
    found = [held.lookup(card(rng.randrange(size.count)), 0.0, WALL_S)[0] for _ in range(1_000)]
    return found.count(None) / len(found), held.state.version > FIRST


@contextmanager
def victim(module: str, *args: str) -> Iterator["subprocess.Popen[bytes]"]:
    """It has said "now"; in a group of its own with all that it starts."""
    command = [sys.executable, "-m", module, *args]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True
    )
    try:
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"now\n"
            yield process
    finally:
        process.kill()


def ended(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Killed after so long, with all that it has started, or ended by itself before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
