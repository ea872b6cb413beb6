"""The list as EVerest stores it (libocpp, OCPP 2.x), written from its description, to compare with: a table of SQLite,
a row for each card, the SHA-256 of type and id as hexadecimal text, what is said of it as JSON text; all of SQLite's
settings as they come. A full list deletes all rows, then puts in one after the other, each a commit of its own, and
the version last.

In Python like ours: theirs would take less beside the disk, which is most of it. Their search for cards that come twice
compares each with each, and is left out.

    python -m bench.rows FOLDER     replaces FOLDER's list by one as long, says "now" before the first row: to be killed
"""

import json
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.figure import wall_s

Row = tuple[str, dict[str, Any]]  # a card, its idTokenInfo

SCHEMA = """
CREATE TABLE version (id INT PRIMARY KEY NOT NULL, version INT);
CREATE TABLE list (hash TEXT PRIMARY KEY NOT NULL, info TEXT NOT NULL);
INSERT INTO version VALUES (0, 0);
"""
NAME = "rows.db"


class Rows:
    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        is_new = not path.exists()
        self.db = sqlite3.connect(path, isolation_level=None)
        if is_new:
            self.db.executescript(SCHEMA)

    def close(self) -> None:
        self.db.close()

    def clear(self) -> None:
        self.db.execute("DELETE FROM list")

    def put(self, rows: Iterable[Row]) -> None:
        """A commit each."""
        for id_token, info in rows:
            said = hash_of(id_token), json.dumps(info, separators=(",", ":"))
            self.db.execute("INSERT OR REPLACE INTO list VALUES (?, ?)", said)

    def count_up(self) -> None:
        self.db.execute("UPDATE version SET version = version + 1")

    def fill(self, rows: Iterable[Row]) -> None:
        """The same, but fast: for what is not measured."""
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute("BEGIN")
        self.put(rows)
        self.db.execute("COMMIT")
        self.db.execute("PRAGMA synchronous = FULL")

    def lookup(self, id_token: str) -> dict[str, Any] | None:
        found = self.db.execute("SELECT info FROM list WHERE hash = ?", (hash_of(id_token),)).fetchone()
        info: dict[str, Any] | None = json.loads(found[0]) if found else None
        return info

    def held(self) -> tuple[int, int]:
        """(version, rows)"""
        (version,) = self.db.execute("SELECT version FROM version").fetchone()
        (count,) = self.db.execute("SELECT count(*) FROM list").fetchone()
        return version, count


def hash_of(id_token: str) -> str:
    return sha256(f"ISO14443{id_token}".encode()).hexdigest()


def swap_s(rows: Rows, listed: Sequence[Row], each: int) -> float:
    """Seconds that the replacement of a list takes: of three times `each` rows, into an empty table, a half and a full
    one, and the rest in proportion; with `each` 0 of all of them."""
    seconds = wall_s(rows.clear)
    if each == 0 or 3 * each >= len(listed):
        return seconds + wall_s(lambda: rows.put(listed)) + wall_s(rows.count_up)
    taken_s, at = 0.0, 0
    for level in (0, (len(listed) - each) // 2, len(listed) - each):
        rows.fill(listed[at:level])
        at = level + each
        some = listed[level:at]
        taken_s += wall_s(partial(rows.put, some))
    return seconds + taken_s / (3 * each) * len(listed) + wall_s(rows.count_up)


def main(folder: str) -> None:
    rows = Rows(Path(folder))
    listed = [(hashed, json.loads(info)) for hashed, info in rows.db.execute("SELECT hash, info FROM list")]
    rows.clear()
    print("now", flush=True)
    rows.put(listed)
    rows.count_up()


if __name__ == "__main__":
    main(*sys.argv[1:])
