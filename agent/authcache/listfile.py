"""One allowlist = one immutable SQLite file. Its name is the hash of its bytes, so a torn one is noticed when opened.

It holds no card ids but keyed hashes of them: whoever finds the disk without the key learns nobody's card.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.events import AuthorizationStatus, Entry
from agent.policy.id_token import masked, normalised

FORMAT = 1
ENTRIES_MAX = 100_000  # a list beyond it is refused whole
KEY_B, KEY_HASH_B = 32, 16
NAME = re.compile(r"list-([0-9a-f]{16})\.sqlite")
NEW = "list.new"  # what is being written; never opened, removed at start
PENDING, REMOVED = 1, 2  # flags

SCHEMA = """
CREATE TABLE meta (format, generation, version, count, content_hash, key_check);
CREATE TABLE group_set (id INTEGER PRIMARY KEY, names TEXT NOT NULL);
CREATE TABLE entry (
    key BLOB PRIMARY KEY, status TEXT NOT NULL, expiry_s REAL, group_set INTEGER NOT NULL, group_id TEXT,
    flags INTEGER NOT NULL
) WITHOUT ROWID;
"""
LOOKUP = """
SELECT status, expiry_s, names, group_id, flags FROM entry JOIN group_set ON group_set.id = group_set WHERE key = ?
"""

Row = tuple[bytes, str, float | None, str, str | None, int]


class ListError(Exception):
    """A list that cannot be taken, written or read; the text says in one sentence why."""


@dataclass(frozen=True, slots=True, order=True)
class Edition:
    """The order of lists: a new generation starts anew (restored cloud, new owner), within it the version grows."""

    generation: int
    version: int  # >= 1


@dataclass(frozen=True, slots=True)
class Built:
    path: Path
    edition: Edition
    content_hash: str  # of the entries, in hex: the same list has the same, whatever wrote it
    count: int


class Files:
    """The file operations that durability hangs on, one by one; a test cuts the power between any two."""

    def write(self, path: Path, data: bytes) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)

    def sync(self, path: Path) -> None:
        """A file's content, or the names in a directory."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


DISK = Files()


def put(path: Path, data: bytes, new: Path, files: Files) -> None:
    """`path` holds all of `data`, durably, or what it held before. OSError."""
    files.write(new, data)
    files.sync(new)
    files.rename(new, path)
    files.sync(path.parent)


# -- keys -------------------------------------------------------------------------------------------------------------


def read_key(path: Path, files: Files = DISK) -> bytes:
    """The station's key for card ids, made at first use. A damaged one is made anew, and the list with it. OSError."""
    key = path.read_bytes() if path.exists() else b""
    if len(key) != KEY_B:
        key = secrets.token_bytes(KEY_B)
        put(path, key, path.with_suffix(".new"), files)
    return key


def canonical(id_token: str) -> str:
    """A card as the reader's id is normalised; any other token (an app's account) as upper-case text."""
    return normalised(id_token) or id_token.strip().upper()


def key_hash(key: bytes, id_token: str) -> bytes:
    """What stands for the id on the disk: HMAC-SHA256, 16 bytes. For any text, even one that is not Unicode."""
    return hmac.digest(key, canonical(id_token).encode("utf-8", "surrogatepass"), "sha256")[:KEY_HASH_B]


def _key_check(key: bytes) -> bytes:
    """Tells a list made with another key, where every card would be unknown. No id canonicalises to lower case."""
    return hmac.digest(key, b"key check", "sha256")[:8]


# -- build ------------------------------------------------------------------------------------------------------------


def build(
    directory: Path, entries: Iterable[tuple[str, Entry]], edition: Edition, key: bytes, files: Files = DISK
) -> Built:
    """Write the list, durable under its final name when this returns. Blocks on the disk; any thread. ListError."""
    rows = _rows(entries, key)
    content_hash = hashlib.sha256(json.dumps([[row[0].hex(), *row[1:]] for row in rows]).encode()).hexdigest()
    try:
        data = _image(rows, (FORMAT, edition.generation, edition.version, len(rows), content_hash, _key_check(key)))
        path = directory / f"list-{hashlib.sha256(data).hexdigest()[:16]}.sqlite"
        put(path, data, directory / NEW, files)
    except UnicodeEncodeError:
        raise ListError("the name of a group holds half a surrogate pair") from None
    except OSError as error:
        with suppress(OSError):
            files.remove(directory / NEW)
        raise ListError(f"the list could not be written: {error}") from None
    return Built(path, edition, content_hash, len(rows))


def _rows(entries: Iterable[tuple[str, Entry]], key: bytes) -> list[Row]:
    rows: dict[bytes, Row] = {}
    for id_token, entry in entries:
        hashed = key_hash(key, id_token)
        if not canonical(id_token):
            raise ListError("an entry has no id")
        if hashed in rows:
            raise ListError(f"{masked(canonical(id_token))} is listed twice")
        if len(rows) == ENTRIES_MAX:
            raise ListError(f"more than {ENTRIES_MAX} entries")
        flags = PENDING * entry.pending | REMOVED * entry.removed
        names = json.dumps(sorted(entry.groups))
        rows[hashed] = (hashed, entry.status.value, entry.expiry_s, names, entry.group_id, flags)
    return sorted(rows.values())


def _image(rows: list[Row], meta: tuple[object, ...]) -> bytes:
    """The bytes of the database; the same rows have the same bytes."""
    sets = {names: number for number, names in enumerate(sorted({row[3] for row in rows}))}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.execute("BEGIN")
        db.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?)", meta)
        db.executemany("INSERT INTO group_set VALUES (?, ?)", [(number, names) for names, number in sets.items()])
        entries = ((key, status, expiry_s, sets[names], *rest) for key, status, expiry_s, names, *rest in rows)
        db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", entries)
        db.execute("COMMIT")
        return db.serialize()


# -- read -------------------------------------------------------------------------------------------------------------


class ListFile:
    """An open list. It has its own connection, so a lookup never waits for another file's fsync; one thread."""

    def __init__(self, path: Path, db: sqlite3.Connection, built: Built, key: bytes) -> None:
        self.path, self.built = path, built
        self.failures = 0  # reads that the disk refused after the file had been checked
        self._db, self._key = db, key

    def lookup(self, id_token: str) -> Entry | None:
        """What the list says about this id; None for any text that is not in it."""
        row = self._read(LOOKUP, key_hash(self._key, id_token))
        if row is None:
            return None
        status, expiry_s, names, group_id, flags = row
        groups = frozenset(json.loads(names))
        return Entry(
            AuthorizationStatus(status), expiry_s, groups, group_id, bool(flags & PENDING), bool(flags & REMOVED)
        )

    def contains(self, hashed: bytes) -> bool:
        """`hashed` is a key_hash()."""
        return self._read("SELECT 1 FROM entry WHERE key = ?", hashed) is not None

    def close(self) -> None:
        self._db.close()

    def _read(self, query: str, hashed: bytes) -> tuple[str, float | None, str, str | None, int] | None:
        try:
            row: tuple[str, float | None, str, str | None, int] | None = self._db.execute(query, (hashed,)).fetchone()
        except sqlite3.Error:  # the flash went bad under us: unknown here, somebody else may know the card
            self.failures += 1
            return None
        return row


def open_list(path: Path, key: bytes) -> ListFile:
    """Open a list for reading. ListError: not there, torn, of another format, or made with another key."""
    name = NAME.fullmatch(path.name)
    if name is None:
        raise ListError(f"{path.name!r} is no name of a list")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ListError(f"{path.name} cannot be read: {error.strerror}") from None
    if not digest.startswith(name[1]):
        raise ListError(f"{path.name} is damaged: its content is not what its name says")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
        try:
            return ListFile(path, db, _described(path, db, key), key)
        except BaseException:
            db.close()
            raise
    except (ListError, sqlite3.Error) as error:
        raise ListError(f"{path.name}: {error}") from None


def _described(path: Path, db: sqlite3.Connection, key: bytes) -> Built:
    match db.execute("SELECT * FROM meta").fetchone():
        case (form, int(generation), int(version), int(count), str(content_hash), bytes(check)) if form == FORMAT:
            if check != _key_check(key):
                raise ListError("made with another key, so that no card would be found")
            return Built(path, Edition(generation, version), content_hash, count)
    raise ListError("made by other software: this one cannot read it")
