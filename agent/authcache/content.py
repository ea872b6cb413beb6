"""What a list says, as a sum that two ends can compare without sending it (docs/allowlist.md, "Content").

256 buckets, by the first byte of the id's SHA-256; each is a count and the sum of its entries' digests. An entry that
comes, goes or changes moves one bucket, so a change of 250 among a million costs 250 digests. The sum tells two lists
apart, no more: whose list it is, its signature says.
"""

import json
import struct
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

import cbor2

from agent.events import Entry

BUCKETS = 256
DIGEST_B = 16
MODULUS = 1 << 8 * DIGEST_B
_BUCKET = struct.Struct(f">I{DIGEST_B}s")

PENDING, REMOVED = 1, 2  # flags


@lru_cache(maxsize=1024)
def attributes(
    status: str, groups: frozenset[str], group_id: str | None, language: str | None, flags: int
) -> tuple[str, bytes]:
    """What many entries say alike, as JSON and as CBOR: status, groups in order of their bytes, and the rest."""
    said = [status, sorted(groups, key=str.encode), group_id, language, flags]
    return json.dumps(said, separators=(",", ":")), cbor2.dumps(said)


def attributes_of(entry: Entry) -> tuple[str, bytes]:
    flags = PENDING * entry.pending | REMOVED * entry.removed
    return attributes(entry.status.value, entry.groups, entry.group_id, entry.language, flags)


def expiry_ms_of(entry: Entry) -> int:
    """Since 1970; 0: never. Nobody's card ends in 1970."""
    return 0 if entry.expiry_s is None else max(1, round(entry.expiry_s * 1000))


def encoded(id_token: str) -> bytes:
    """UTF-8, of any text: somebody may type half a surrogate pair, and is unknown then."""
    return id_token.encode("utf-8", "surrogatepass")


def bucket_of(id_token: str) -> int:
    """`id_token` is canonical (agent/authcache/listfile.py)."""
    return sha256(encoded(id_token)).digest()[0]


def digest_of(id_token: str, entry: Entry) -> int:
    said = sha256(encoded(id_token) + b"\0" + expiry_ms_of(entry).to_bytes(8, "big") + attributes_of(entry)[1])
    return int.from_bytes(said.digest()[:DIGEST_B], "big")


class Content:
    """Counts and sums of a list's buckets."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sums = [0] * BUCKETS

    @classmethod
    def of(cls, entries: Iterable[tuple[str, Entry]]) -> "Content":
        content = cls()
        for id_token, entry in entries:
            content.add(id_token, entry)
        return content

    @classmethod
    def load(cls, data: bytes) -> "Content":
        """What `dump` wrote. ValueError."""
        if len(data) != BUCKETS * _BUCKET.size:
            raise ValueError(f"{len(data)} B are no list's content")
        content = cls()
        for i, (count, total) in enumerate(_BUCKET.iter_unpack(data)):
            content._counts[i], content._sums[i] = count, int.from_bytes(total, "big")
        return content

    def dump(self) -> bytes:
        """256 times count (4 B) and sum (16 B), big endian: what is hashed, sent and kept."""
        pairs = zip(self._counts, self._sums, strict=True)
        return b"".join(_BUCKET.pack(count, total.to_bytes(DIGEST_B, "big")) for count, total in pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.dump() == other.dump()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> "Content":
        content = Content()
        content._counts, content._sums = self._counts[:], self._sums[:]
        return content

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def counts(self) -> list[int]:
        """Of each bucket."""
        return self._counts[:]

    @property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of `dump`: the same for the same entries, whoever computes it, in whatever order."""
        return sha256(self.dump()).hexdigest()

    def add(self, id_token: str, entry: Entry) -> None:
        self._move(id_token, entry, 1)

    def remove(self, id_token: str, entry: Entry) -> None:
        """The entry must be what was added."""
        self._move(id_token, entry, -1)

    def empty(self, bucket: int) -> None:
        self._counts[bucket] = self._sums[bucket] = 0

    def other(self, content: "Content") -> list[int]:
        """The buckets in which the two differ."""
        ours, theirs = (zip(each._counts, each._sums, strict=True) for each in (self, content))
        return [i for i, (here, there) in enumerate(zip(ours, theirs, strict=True)) if here != there]

    def _move(self, id_token: str, entry: Entry, sign: int) -> None:
        i = bucket_of(id_token)
        self._counts[i] += sign
        self._sums[i] = (self._sums[i] + sign * digest_of(id_token, entry)) % MODULUS
