"""What a list of drivers says, in few bytes: docs/allowlist.md, "Content"."""

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import cbor2

from tools.cloud.wire import VENDOR, Json, Malformed, parse_time

BUCKETS = 256
BUCKET_B = 20                           # count and sum
MODULUS = 2**128


@dataclass(frozen=True, slots=True)
class Said:
    """What a station says of its list."""

    version: tuple[int, int]            # (generation, version)
    content: bytes


def read_said(data: Any) -> Said:
    """From the data of an answer to ListContent. Raises Malformed."""
    match data:
        case {"generation": int(generation), "version": int(version), "hash": str(said), "content": str(text)}:
            pass
        case _:
            raise Malformed("generation, version, hash or content is missing")
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        raise Malformed("content is no base64") from None
    if len(content) != BUCKETS * BUCKET_B:
        raise Malformed(f"content has {len(content)} bytes, not {BUCKETS * BUCKET_B}")
    if hash_of(content) != said:
        raise Malformed("hash is not that of content")
    return Said((generation, version), content)


def bucket_of(id_token: str) -> int:
    return sha256(id_token.encode()).digest()[0]


def digest_of(entry: Json) -> int:
    """Of one AuthorizationData of a full list."""
    info, custom = entry["idTokenInfo"], entry.get("customData", {})
    custom = custom if custom.get("vendorId") == VENDOR else {}
    group = info.get("groupIdToken", {}).get("idToken")
    groups = custom.get("groups", [] if group is None else [group])
    flags = custom.get("pending", False) + 2 * custom.get("removed", False)
    said = [info["status"], sorted(groups, key=str.encode), group, info.get("language1"), flags]
    expiry_ms = max(1, parse_time(info["cacheExpiryDateTime"]) or 0) if "cacheExpiryDateTime" in info else 0
    head = entry["idToken"]["idToken"].encode() + b"\0" + expiry_ms.to_bytes(8, "big")
    return int.from_bytes(sha256(head + cbor2.dumps(said)).digest()[:16], "big")


def content_of(entries: Iterable[Json]) -> bytes:
    """256 times count and sum: what a station answers to ListContent."""
    counts, sums = [0] * BUCKETS, [0] * BUCKETS
    for entry in entries:
        bucket = bucket_of(entry["idToken"]["idToken"])
        counts[bucket] += 1
        sums[bucket] += digest_of(entry)
    return b"".join(
        count.to_bytes(4, "big") + (total % MODULUS).to_bytes(16, "big")
        for count, total in zip(counts, sums, strict=True)
    )


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def counts_of(content: bytes) -> list[int]:
    """How many drivers are in each bucket."""
    return [int.from_bytes(content[at : at + 4], "big") for at in range(0, len(content), BUCKET_B)]


def count_of(content: bytes) -> int:
    return sum(counts_of(content))


def different(ours: bytes, theirs: bytes) -> list[int]:
    """The buckets in which two lists differ."""
    places = [slice(at, at + BUCKET_B) for at in range(0, len(ours), BUCKET_B)]
    return [i for i, place in enumerate(places) if ours[place] != theirs[place]]
