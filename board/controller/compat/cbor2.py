"""Of cbor2 what the firmware uses, for MicroPython: integers, byte strings, texts, lists, maps, booleans and null.

`loads` raises ValueError for everything else, and for noise. On the host the real one runs.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH_MAX = 8


def dumps(value: "Any") -> bytes:
    if value is None:
        return b"\xf6"
    if type(value) is bool:
        return b"\xf5" if value else b"\xf4"
    if type(value) is int:
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if type(value) is bytes:
        return _head(2, len(value)) + value
    if type(value) is str:
        data = value.encode()
        return _head(3, len(data)) + data
    if type(value) is list:
        parts = [_head(4, len(value))] * (len(value) + 1)
        for i in range(len(value)):
            parts[i + 1] = dumps(value[i])
        return b"".join(parts)
    if type(value) is dict:
        parts = [_head(5, len(value))]
        for key in value:
            parts.append(dumps(key))
            parts.append(dumps(value[key]))
        return b"".join(parts)
    raise ValueError("no CBOR of ours")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for info in range(4):
        if number < 1 << (8 << info):
            return bytes((major << 5 | 24 + info,)) + _big(number, 1 << info)
    raise ValueError("an integer beyond 64 bits")


def _big(number: int, size: int) -> bytes:
    return bytes([number >> 8 * (size - 1 - i) & 0xFF for i in range(size)])


def loads(data: bytes) -> "Any":
    value, _ = _item(data, 0, 0)
    return value


def _item(data: bytes, at: int, depth: int) -> "tuple[Any, int]":
    if at >= len(data):
        raise ValueError("cut short")
    major, info = data[at] >> 5, data[at] & 0x1F
    at += 1
    if major == 7:
        if not 20 <= info <= 22:
            raise ValueError("no CBOR of ours")
        return (False, True, None)[info - 20], at
    if info >= 28:
        raise ValueError("no definite length")
    size = 1 << info - 24 if info >= 24 else 0
    if at + size > len(data):
        raise ValueError("cut short")
    number = info
    if size:
        number = 0
        for i in range(at, at + size):
            number = number << 8 | data[i]
    at += size
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major == 2 and number <= len(data) - at:
        return data[at : at + number], at + number
    if major == 3 and number <= len(data) - at:
        return str(data[at : at + number], "utf-8"), at + number
    if major < 4 or major > 5 or number > len(data) - at or depth >= DEPTH_MAX:
        raise ValueError("no CBOR of ours")
    items: "list[Any]" = []
    for _ in range(number << major - 4):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    if major == 4:
        return items, at
    if [key for key in items[::2] if type(key) is not str]:
        raise ValueError("a key that is no text")
    return dict(zip(items[::2], items[1::2])), at
