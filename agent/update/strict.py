"""CBOR as builds have it: deterministic (RFC 8949 §4.2.1), no tags, no floats, and bounded before it is decoded.

One value has one encoding, so that what was signed cannot be said in two ways. cbor2 sorts the keys of a map by their
length first (§4.2.3); for the keys that builds have that is the same order.
"""

from typing import Any, NoReturn

import cbor2

from agent.update.refusal import Refused

DEPTH_MAX = 8  # containers within each other; an index has 5


def loads(data: bytes, what: str, size_max_b: int) -> Any:
    """The one item that fills `data`: integers, texts, bytes, null, lists and dicts. Refused("format") for all else."""
    if len(data) > size_max_b:
        raise Refused("format", f"{what} is damaged or not ours: {len(data)} bytes, at most {size_max_b} are allowed")
    try:
        value = cbor2.loads(data, semantic_decoders=Untagged(), max_depth=DEPTH_MAX)
        is_exact = dumps(value) == data  # else a key is there twice, a length is unknown, an order is another, …
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        raise Refused("format", f"{what} is damaged or not ours: it is no CBOR of a build") from None
    if not is_exact or not _is_plain(value):
        raise Refused("format", f"{what} is damaged or not ours: its CBOR is not the deterministic one")
    return value


def dumps(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(type(key) in (int, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (int, str, bytes)


def _no_tag(decoder: Any, immutable: bool) -> NoReturn:
    raise ValueError("a tag")


class Untagged(dict[int, Any]):
    """Every tag number leads to a refusal: what a tag would build (a huge number, a pattern) is never built."""

    def __missing__(self, tag: int) -> Any:
        return _no_tag
