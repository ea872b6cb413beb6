"""One allowlist = one immutable SQLite file. Its name is the hash of its bytes, so a torn one is noticed when opened.

It holds no card ids but keyed hashes of them: whoever finds the disk without the key learns nobody's card. The first
byte of a key is the id's bucket (agent/authcache/content.py), so that a bucket can be compared and replaced.
"""

import hashlib
import hmac
import re
import secrets
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from msgspec.json import decode

from agent.authcache.content import PENDING, REMOVED, Content, attributes_of, bucket_of, encoded, expiry_ms_of
from agent.events import AuthorizationStatus, Entry
from agent.files import DISK, Files, put
from agent.policy.id_token import masked, normalised

FORMAT = 3
ENTRIES_MAX = 1_000_000  # a list beyond it is refused whole
KEY_B, KEY_HASH_B = 32, 14
NAME = re.compile(r"list-([0-9a-f]{16})\.sqlite")
NEW = "list.new"  # what is being written; never opened, removed at start

SCHEMA = """
CREATE TABLE meta (format, generation, version, content, key_check);
CREATE TABLE class (id INTEGER PRIMARY KEY, attributes TEXT NOT NULL);
CREATE TABLE entry (key BLOB PRIMARY KEY, class INTEGER NOT NULL, expiry_s) WITHOUT ROWID;
"""
LOOKUP = "SELECT attributes, expiry_s FROM entry JOIN class ON class.id = class WHERE key = ?"

Alike = tuple[AuthorizationStatus, frozenset[str], str | None, str | None, int]  # as JSON; flags last
_ROW = struct.Struct(f">{KEY_HASH_B}sIq")  # key, class, expiry_ms: sorts as the file does, and a million fit in memory


class ListError(Exception):
    """A list that cannot be taken, written or read; the text says in one sentence why."""


class DiskError(ListError):
    """The list may be as it should: it is this disk that does not take it, or give it back, now."""


@dataclass(frozen=True, slots=True, order=True)
class Edition:
    """The order of lists: a new generation starts anew (restored cloud, new owner), within it the version grows."""

    generation: int
    version: int  # >= 1


@dataclass(frozen=True, slots=True)
class Built:
    path: Path
    edition: Edition
    content: Content  # the same list has the same, whatever wrote it

    @property
    def count(self) -> int:
        return self.content.count


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
    """What stands for the id on the disk: its bucket and 13 bytes of HMAC-SHA256. For any text, even no Unicode."""
    return _hashed(key, canonical(id_token))


def _hashed(key: bytes, token: str) -> bytes:
    return bytes((bucket_of(token),)) + hmac.digest(key, encoded(token), "sha256")[: KEY_HASH_B - 1]


def _key_check(key: bytes) -> bytes:
    """Tells a list made with another key, where every card would be unknown. No id canonicalises to lower case."""
    return hmac.digest(key, b"key check", "sha256")[:8]


# -- build ------------------------------------------------------------------------------------------------------------


def build(
    directory: Path, entries: Iterable[tuple[str, Entry]], edition: Edition, key: bytes, files: Files = DISK
) -> Built:
    """Write the list of these cards, durable under its final name when this returns. Blocks; any thread. ListError.

    `entries` is gone through again to name a card that is listed twice."""
    content, rows = gathered(entries, key)
    return write(directory, rows, Built(directory, edition, content), key, files)


def gathered(entries: Iterable[tuple[str, Entry]], key: bytes) -> tuple[Content, "Rows"]:
    """A whole list's content and its sorted rows. ListError."""
    content, rows = Content(), Rows()
    for id_token, entry in entries:
        token = canonical(id_token)
        if not token:
            raise ListError("an entry has no id")
        try:
            content.add(token, entry)
        except UnicodeEncodeError:
            raise ListError(f"{masked(token)}: a group's name holds half a surrogate pair") from None
        rows.add(_hashed(key, token), entry)
    if twice := rows.twice():
        card = next(canonical(token) for token, _ in entries if key_hash(key, token) == twice)
        raise ListError(f"{masked(card)} is listed twice")
    return content, rows


class Rows:
    """A list's entries under their key_hash(), packed: a million fit in memory."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []
        self.classes: dict[str, int] = {}  # what entries say alike stands in the file once

    def add(self, hashed: bytes, entry: Entry) -> None:
        if len(self.packed) == ENTRIES_MAX:
            raise ListError(f"more than {ENTRIES_MAX} entries")
        number = self.classes.setdefault(attributes_of(entry)[0], len(self.classes))
        self.packed.append(_ROW.pack(hashed, number, expiry_ms_of(entry)))

    def twice(self) -> bytes | None:
        """A key that stands in two rows. Sorts them."""
        self.packed.sort()
        keys = (row[:KEY_HASH_B] for row in self.packed)
        return next((one for one, other in pairwise(keys) if one == other), None)


def write(directory: Path, rows: Rows, built: Built, key: bytes, files: Files = DISK) -> Built:
    """`built` without its path; `rows` are sorted, and what its content says. DiskError."""
    meta = (FORMAT, built.edition.generation, built.edition.version, built.content.dump(), _key_check(key))
    data = _image(rows, meta)
    path = directory / f"list-{hashlib.sha256(data).hexdigest()[:16]}.sqlite"
    try:
        put(path, data, directory / NEW, files)
    except OSError as error:
        with suppress(OSError):
            files.remove(directory / NEW)
        raise DiskError(f"the list could not be written: {error}") from None
    return replace(built, path=path)


def _image(rows: Rows, meta: tuple[object, ...]) -> bytes:
    """The bytes of the database; the same entries have the same, whichever came first."""
    numbers = {rows.classes[alike]: number for number, alike in enumerate(sorted(rows.classes))}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("PRAGMA temp_store = MEMORY")  # what VACUUM copies into
        db.executescript(SCHEMA)
        db.execute("BEGIN")
        db.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?)", meta)
        db.executemany("INSERT INTO class VALUES (?, ?)", list(enumerate(sorted(rows.classes))))
        unpacked = map(_ROW.unpack, rows.packed)
        entries = ((key, numbers[number], _seconds(expiry_ms)) for key, number, expiry_ms in unpacked)
        db.executemany("INSERT INTO entry VALUES (?, ?, ?)", entries)
        db.execute("COMMIT")
        db.execute("VACUUM")  # pages are full then: an eighth less
        return db.serialize()


def _seconds(expiry_ms: int) -> float | None:
    """Whole ones, as most are, take half the bytes."""
    return (expiry_ms / 1000 if expiry_ms % 1000 else expiry_ms // 1000) or None


# -- read -------------------------------------------------------------------------------------------------------------


class ListFile:
    """An open list. It has its own connection, so a lookup never waits for another file's fsync; one thread."""

    def __init__(self, path: Path, db: sqlite3.Connection, built: Built, key: bytes) -> None:
        self.path, self.built = path, built
        self.failures = 0  # reads that the disk refused after the file had been checked
        self._db, self._key = db, key

    def lookup(self, id_token: str) -> Entry | None:
        """What the list says about this id; None for any text that is not in it."""
        return self.find(key_hash(self._key, id_token))

    def find(self, hashed: bytes) -> Entry | None:
        """`hashed` is a key_hash()."""
        try:
            row: tuple[str, float | None] | None = self._db.execute(LOOKUP, (hashed,)).fetchone()
        except sqlite3.Error:  # the flash went bad under us: unknown here, somebody else may know the card
            self.failures += 1
            return None
        return row and entry_of(*row)

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Every entry, under its key_hash(), in their order. sqlite3.Error."""
        query = "SELECT key, attributes, expiry_s FROM entry JOIN class ON class.id = class ORDER BY key"
        for key, alike, expiry_s in self._db.execute(query):
            yield key, entry_of(alike, expiry_s)

    def bucket(self, number: int) -> list[bytes]:
        """The key_hash() of every entry in a bucket. sqlite3.Error."""
        span = bytes((number,)), bytes((number,)) + b"\xff" * KEY_HASH_B
        return [key for (key,) in self._db.execute("SELECT key FROM entry WHERE key BETWEEN ? AND ?", span)]

    def close(self) -> None:
        self._db.close()


def entry_of(alike: str, expiry_s: float | None) -> Entry:
    """`alike`: what attributes() made. ValueError: it is something else."""
    return replace(_said(alike), expiry_s=float(expiry_s)) if expiry_s else _said(alike)


@lru_cache(maxsize=1024)
def _said(alike: str) -> Entry:
    status, groups, group_id, language, flags = decode(alike, type=Alike)
    pending, removed = bool(flags & PENDING), bool(flags & REMOVED)
    return Entry(status, None, groups, group_id, pending, removed, language)


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
        case (form, int(generation), int(version), bytes(content), bytes(check)) if form == FORMAT:
            if check != _key_check(key):
                raise ListError("made with another key, so that no card would be found")
            return Built(path, Edition(generation, version), Content.load(content))
    raise ListError("made by other software: this one cannot read it")
