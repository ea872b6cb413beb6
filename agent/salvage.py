"""What can still be read of a damaged database: facts, and money under its old keys. No SQLite: it would refuse.

A row is believed if its checksum is right, wherever it stands: agent/outbox.py put one into each. So it does not matter
which pages are damaged; every whole page gives back every row on it. Layout of pages, cells and the WAL:
sqlite.org/fileformat2.html, sections 1.5, 1.6, 2.1 and 4.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.effects import Stream
from agent.outbox import EPOCH_FACT, PAGE_B, SEQ_BITS, SEQ_MASK, epoch_crc, fact_crc, row_crc
from agent.uplink.codec import STREAMS, from_cbor

TABLE_LEAF = 0x0D
WAL_HEADER_B, FRAME_HEADER_B = 32, 24
COLUMNS_MAX = 32  # newer software may have added some; ours come first
BODY_MAX = 200_000  # bytes of one row; a length beyond it is noise
OVERFLOWS_MAX = BODY_MAX // (PAGE_B - 4) + 1


@dataclass(slots=True)
class Salvaged:
    epoch: bytes | None = None
    money: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # seq -> last, body
    facts: dict[str, bytes] = field(default_factory=dict)  # key -> CBOR, of the newest version found
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)  # stream -> floor, next seq: the highest found


def salvage(path: Path) -> Salvaged:
    """Of the database and its WAL; a file that is missing gives nothing. OSError if one cannot be read."""
    wal = path.with_name(path.name + "-wal")
    return salvaged(path.read_bytes() if path.exists() else b"", wal.read_bytes() if wal.exists() else b"")


def salvaged(database: bytes, wal: bytes) -> Salvaged:
    pages = [*database_pages(database), *wal_pages(wal)]
    newest = dict(pages)
    rows = [row for _, page in pages for row in leaf_rows(page, newest)]
    out = Salvaged()
    versions: dict[str, int] = {}
    for row in rows:
        match row:
            case [_, str(key), int(version), int(crc), bytes(value), *_] if crc == fact_crc(key, version, value):
                if version >= versions.get(key, -1):
                    versions[key], out.facts[key] = version, value
            case [_, None, int(crc), bytes(epoch), *_] if crc == epoch_crc(epoch) and len(epoch) == 8:
                out.epoch = epoch  # the WAL comes after the file: the last one is the newest
    if out.epoch is None and EPOCH_FACT in out.facts:
        out.epoch = from_cbor(out.facts[EPOCH_FACT])
    for row in rows:
        match row:
            case [int(rowid), None, int(last), int(), int(crc), bytes(body), *_]:
                is_ours = out.epoch is not None and crc == row_crc(out.epoch, rowid, last, body)
                if is_ours and rowid >> SEQ_BITS == Stream.MONEY:
                    out.money[rowid & SEQ_MASK] = last, body
            case [int(stream), None, int(floor), int(next_seq), *_] if stream in STREAMS and 1 <= floor <= next_seq:
                out.marks[stream] = max((floor, next_seq), out.marks.get(stream, (1, 1)))
    return out


def database_pages(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number in range(len(data) // PAGE_B):
        yield number + 1, data[number * PAGE_B : (number + 1) * PAGE_B]


def wal_pages(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of the WAL's present generation up to its last commit, oldest first.

    Those of an earlier generation have another salt; what comes after a commit was never promised to anybody.
    """
    salt, pages, committed = data[16:24], [], 0
    for at in range(WAL_HEADER_B, len(data) - FRAME_HEADER_B - PAGE_B + 1, FRAME_HEADER_B + PAGE_B):
        number, size_after_commit = struct.unpack_from(">II", data, at)
        if data[at + 8 : at + 16] == salt:
            pages.append((number, data[at + FRAME_HEADER_B : at + FRAME_HEADER_B + PAGE_B]))
            committed = len(pages) if size_after_commit else committed
    return pages[:committed]


def leaf_rows(page: bytes, pages: Mapping[int, bytes]) -> Iterator[list[Any]]:
    """[rowid, column, ...] of each readable cell of a table's leaf page; noise gives nothing, or noise."""
    head = 100 if page[:16] == b"SQLite format 3\0" else 0
    if page[head] != TABLE_LEAF:
        return
    (count,) = struct.unpack_from(">H", page, head + 3)
    for index in range(min(count, (PAGE_B - head - 8) // 2)):
        (at,) = struct.unpack_from(">H", page, head + 8 + 2 * index)
        try:
            size, at = varint(page, at)
            rowid, at = varint(page, at)
            if size <= BODY_MAX:
                yield [rowid, *record(payload(page, at, size, pages))]
        except (IndexError, struct.error, ValueError, KeyError):  # a cell that is none
            continue


def payload(page: bytes, at: int, size: int, pages: Mapping[int, bytes]) -> bytes:
    """The cell's content; what does not fit into the page goes on in a chain of others."""
    most, least = PAGE_B - 35, (PAGE_B - 12) * 32 // 255 - 23
    if size <= most:
        return page[at : at + size]
    local = least + (size - least) % (PAGE_B - 4)
    local = local if local <= most else least
    out = page[at : at + local]
    (number,) = struct.unpack_from(">I", page, at + local)
    for _ in range(OVERFLOWS_MAX):
        if number == 0 or len(out) >= size:
            break
        out += pages[number][4:]
        (number,) = struct.unpack_from(">I", pages[number])
    return out[:size]


def record(data: bytes) -> Iterator[Any]:
    """The columns of a record. Raises IndexError, struct.error or ValueError for noise."""
    head_b, at = varint(data, 0)
    kinds = []
    while at < head_b:
        kind, at = varint(data, at)
        kinds.append(kind)
    if len(kinds) > COLUMNS_MAX:
        raise ValueError("too many columns")
    for kind in kinds:
        size = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        piece = data[at : at + size]
        if len(piece) != size:
            raise ValueError("cut off")
        at += size
        yield column(kind, piece)


def column(kind: int, piece: bytes) -> Any:
    if kind == 0:
        return None
    if kind <= 6:
        return int.from_bytes(piece, "big", signed=True)
    if kind in (8, 9):
        return kind - 8
    if kind >= 12:
        return piece.decode() if kind % 2 else piece
    if kind == 7:
        return struct.unpack(">d", piece)[0]
    raise ValueError(f"no column of kind {kind}")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where it ends."""
    value = 0
    for length in range(8):
        byte = data[at + length]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length + 1
    return value << 8 | data[at + 8], at + 9
