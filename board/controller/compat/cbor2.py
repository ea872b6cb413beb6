"""Of micropython-lib's cbor2 what the firmware uses, for where that cannot be installed: integers, texts and lists.

`loads` raises ValueError for everything else, and for noise. On the host and in a released firmware the real one runs.
"""


def dumps(value: object) -> bytes:
    if type(value) is int:
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if type(value) is str:
        data = value.encode()
        return _head(3, len(data)) + data
    if type(value) is list:
        parts = [_head(4, len(value))] * (len(value) + 1)
        for i in range(len(value)):
            parts[i + 1] = dumps(value[i])
        return b"".join(parts)
    raise ValueError("neither int, str nor list")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for info in range(4):
        if number < 1 << (8 << info):
            return bytes((major << 5 | 24 + info,)) + _big(number, 1 << info)
    raise ValueError("an integer beyond 64 bits")


def _big(number: int, size: int) -> bytes:
    return bytes([number >> 8 * (size - 1 - i) & 0xFF for i in range(size)])


def loads(data: bytes) -> object:
    value, _ = _item(data, 0, 0)
    return value


DEPTH_MAX = 8


def _item(data: bytes, at: int, depth: int) -> "tuple[object, int]":
    if at >= len(data):
        raise ValueError("cut short")
    major, info = data[at] >> 5, data[at] & 0x1F
    at += 1
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
    if major == 3 and at + number <= len(data):
        return str(data[at : at + number], "utf-8"), at + number
    if major == 4 and number <= len(data) - at and depth < DEPTH_MAX:
        items = []
        for _ in range(number):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    raise ValueError("neither int, str nor list")
