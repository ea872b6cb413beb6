"""`station-agent list`: what is in the allowlist, for whoever stands before the station. From a copy of the files:
nothing of them is changed or locked, and the agent may run.

A station knows no card ids but keyed hashes of them: what an entry says can be read here, whose it is cannot.
"""

import csv
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from agent.authcache.content import BUCKETS
from agent.authcache.listfile import read_key
from agent.authcache.lists import Lists
from agent.outbox import Database, StoreError
from agent.settings import ConfigError

AskedFor = Callable[[], dict[str, Any] | None]  # the running agent's facts of its list; None: none runs
TRIES = 3  # an agent that runs may take a new list while we copy
COLUMNS = ("key", "status", "groups", "group", "expiry", "language", "pending", "removed")
NEVER_RAN = "no agent is running, and none has ever run in {}: type systemctl start station-agent"


@contextmanager
def opened(state: Path, asked: AskedFor) -> Iterator[Lists]:
    """The list in force, as a copy. ConfigError: the files cannot be read."""
    with TemporaryDirectory() as name:
        for again in range(TRIES):
            to = Path(name) / str(again)
            try:
                facts = asked()
                lists = copied(state, to, facts)
            except (OSError, StoreError, sqlite3.Error) as error:
                if isinstance(error, shutil.Error) and again + 1 < TRIES:  # a file has gone meanwhile
                    continue
                raise ConfigError(f"the list cannot be read ({error}): type sudo before the command") from None
            if facts is None or not lists.problem:
                break
        yield lists


def copied(state: Path, to: Path, facts: Mapping[str, Any] | None) -> Lists:
    if not (state / "station.db").exists():
        raise ConfigError(NEVER_RAN.format(state))
    to.mkdir()
    shutil.copy(state / "list.key", to / "list.key")
    if (state / "lists").is_dir():
        shutil.copytree(state / "lists", to / "lists", ignore=shutil.ignore_patterns("*.new*"))  # one is being made
    if facts is None:
        for each in ("station.db", "station.db-wal"):
            if (state / each).exists():
                shutil.copy(state / each, to / each)
        database = Database(to / "station.db", bytes(8))
        facts = database.facts()
        database.close()
    return Lists(to / "lists", facts, read_key(to / "list.key"), 0.0)


def status(lists: Lists, now_s: float | None) -> dict[str, Any]:
    """`now_s` is the wall time, if it is known."""
    state = lists.state
    old_s = None if now_s is None or state.synced_s is None else max(0.0, now_s - state.synced_s)
    parts = Counter(part.edition for part in lists.parts)
    return {
        "generation": state.generation, "version": state.version, "entries": state.entries, "hash": state.hash,
        "current_at": None if state.synced_s is None else shown_time(state.synced_s),
        "age_h": None if old_s is None else round(old_s / 3600, 1),
        "parts_here": {f"{edition.generation}/{edition.version}": count for edition, count in parts.items()},
        "problem": lists.problem,
    }  # fmt: skip


def verify(lists: Lists) -> list[str]:
    """What is wrong with the list in force, a sentence each. The bytes of its file were compared with its name when it
    was opened; here every entry is read, and counted where its sum says that it is."""
    if lists.problem:
        return [lists.problem]
    if not lists.state.version:
        return []
    found = [0] * BUCKETS
    keys = set()
    try:
        for key, _ in lists.entries():
            found[key[0]] += 1
            keys.add(key)
    except (sqlite3.Error, ValueError) as error:
        return [f"an entry cannot be read ({error}): the cloud sends the list again when it asks what is here"]
    said = lists.content.counts
    wrong = [bucket for bucket in range(BUCKETS) if found[bucket] != said[bucket]]
    problems = [f"{len(wrong)} of {BUCKETS} buckets have another number of entries than their sums"] if wrong else []
    if sum(found) != len(keys):
        problems.append("a card is listed twice")
    if sum(found) != lists.state.entries:
        problems.append(f"it has {sum(found)} entries, and says {lists.state.entries}")
    return problems


def export(lists: Lists, out: TextIO) -> int:
    """CSV, a line for each entry. How many."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    count = 0
    for key, entry in lists.entries():
        expiry = "" if entry.expiry_s is None else shown_time(entry.expiry_s)
        groups = ";".join(sorted(entry.groups))
        flags = ("yes" if entry.pending else "", "yes" if entry.removed else "")
        rows.writerow((key.hex(), entry.status, groups, entry.group_id or "", expiry, entry.language or "", *flags))
        count += 1
    return count


def shown_time(wall_s: float) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
