"""The index of one component: its files, each in pieces, each piece with its SHA-256.

The manifest signs the index's digest, so each piece can be checked before it is written, in any order. The same index
serves streaming, resuming, skipping what is there already, and copying what the running slot has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from agent.update import strict
from agent.update.refusal import Refused

VERSION = 1
DIGEST_B = 32
PIECE_MAX_B = 65_536  # of an app; as much as a station inflates in memory
CHIP_PIECE_MAX_B = 4_096  # of a controller image: the window that its chip has room for
PATH_MAX_B = 255
FILES_MAX = 20_000
TOTAL_MAX_B = 256 << 20
INDEX_MAX_B = 1 << 20  # the head that holds it is no longer
FACTS_MAX = 32
TEXT_MAX = 255


@dataclass(frozen=True, slots=True)
class Piece:
    """`size_b` bytes of a file, 1..PIECE_MAX_B; stored raw if `stored_b` is the same, else as raw deflate."""

    digest: bytes  # SHA-256 of the bytes as they lie in the file
    size_b: int
    stored_b: int  # 1..size_b: nothing is stored that grew

    @property
    def is_deflated(self) -> bool:
        return self.stored_b < self.size_b


@dataclass(frozen=True, slots=True)
class File:
    path: str  # relative, with "/"
    executable: bool
    pieces: tuple[Piece, ...]  # in order; none: an empty file

    @property
    def size_b(self) -> int:
        return sum(piece.size_b for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Index:
    """What a component is. Facts of an app: version, build_time_s, python, schema, contract; of a controller: version,
    board, contract, pins_hash. A contract is [major, minor_first, minor_last]."""

    facts: Mapping[str, Any]
    files: tuple[File, ...]  # sorted by path

    @property
    def size_b(self) -> int:
        return sum(file.size_b for file in self.files)

    def pieces(self) -> dict[bytes, Piece]:
        """Each once, by digest, in order of first appearance."""
        found: dict[bytes, Piece] = {}
        for file in self.files:
            for piece in file.pieces:
                found.setdefault(piece.digest, piece)
        return found


def dump(index: Index) -> bytes:
    files = [
        [file.path, int(file.executable), [[piece.digest, piece.size_b, piece.stored_b] for piece in file.pieces]]
        for file in index.files
    ]
    return strict.dumps([VERSION, dict(index.facts), files])


def load(data: bytes) -> Index:
    """Refused("format") for what is no index, or one out of bounds."""
    match strict.loads(data, "the index", INDEX_MAX_B):
        case [int() as version, dict() as facts, list() as rows]:
            if version != VERSION:
                raise Refused("format", f"the index has version {version}: flash a build of this station's kind first")
            index = Index(_facts(facts), tuple(map(_file, _bounded(rows, FILES_MAX, "files"))))
            _check_paths([file.path for file in index.files])
            _check_pieces(piece for file in index.files for piece in file.pieces)
            if index.size_b > TOTAL_MAX_B:
                raise _bad(f"{index.size_b} bytes unpacked, at most {TOTAL_MAX_B} are allowed")
            return index
    raise _bad("not [version, facts, files]")


def _facts(facts: dict[Any, Any]) -> Mapping[str, Any]:
    """Texts and numbers, or short lists of them."""
    if len(facts) > FACTS_MAX:
        raise _bad("too many facts")
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        if not isinstance(name, str) or len(values) > FACTS_MAX or not all(map(_is_fact, [name, *values])):
            raise _bad("a fact that is neither text nor number")
    return facts


def _is_fact(value: Any) -> bool:
    return (isinstance(value, str) and len(value) <= TEXT_MAX) or (type(value) is int and abs(value) < 1 << 63)


def _file(row: Any) -> File:
    match row:
        case [str() as path, 0 | 1 as executable, list() as pieces] if _is_path(path):
            return File(path, bool(executable), tuple(map(_piece, pieces)))
    raise _bad(f"a file's row is wrong: {str(row)[:80]}")


def _piece(row: Any) -> Piece:
    match row:
        case [bytes() as digest, int() as size_b, int() as stored_b] if (
            len(digest) == DIGEST_B and 1 <= stored_b <= size_b <= PIECE_MAX_B
        ):
            return Piece(digest, size_b, stored_b)
    raise _bad("a piece's row is wrong")


def _is_path(path: str) -> bool:
    """Stays below the folder that it is unpacked in, on any file system."""
    parts = path.split("/")
    return (
        len(path.encode()) <= PATH_MAX_B
        and path.isprintable()  # no NUL, no newline
        and "\\" not in path
        and not any(part in ("", ".", "..") for part in parts)
    )


def _check_paths(paths: list[str]) -> None:
    if any(a >= b for a, b in pairwise(paths)):
        raise _bad("its files are not sorted by path, or one is there twice")
    known = set(paths)
    for path in paths:
        above = path.rpartition("/")[0]
        while above:
            if above in known:
                raise _bad(f"{above} is a file and a folder")
            above = above.rpartition("/")[0]


def _check_pieces(pieces: Iterable[Piece]) -> None:
    known: dict[bytes, Piece] = {}
    if any(known.setdefault(piece.digest, piece) != piece for piece in pieces):
        raise _bad("one piece is there with two sizes")


def _bounded(rows: list[Any], most: int, what: str) -> list[Any]:
    if len(rows) > most:
        raise _bad(f"{len(rows)} {what}, at most {most} are allowed")
    return rows


def _bad(why: str) -> Refused:
    return Refused("format", f"the build's index is not ours ({why}): make the build anew with tools/flash.py build")
