"""Batches of records that are alike, as columns of differences (docs/uplink.md, "Columns"). No I/O.

A sample repeats nearly everything of the sample before it, so a batch of fifteen costs little more than one. Nothing is
left out: the records that come out are, byte for byte, the records that went in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from agent.uplink.codec import INT64, MESSAGE_MAX_B, Batch, WireError, decode_batch, from_cbor, to_cbor

STRIDE_MAX = 4  # records back to the one that it is compared with: one for each port of a station
COUNT_MAX = 1_000
REBUILT_MAX_B = 10 * MESSAGE_MAX_B

Shape = tuple[Any, ...]


def encode_columns(epoch: bytes, first: int, bodies: Sequence[bytes]) -> tuple[bytes, int]:
    """The batch of the records that are alike, from the first on, and how many these are; b"" if it is only one.

    The first record has seq `first`.
    """
    assert first >= 1 and len(epoch) == 8
    rows = _alike(bodies)
    if len(rows) < 2:
        return b"", 1
    stride = _stride(rows)
    return to_cbor([epoch, first, len(rows), list(bodies[:stride]), _columns(rows, stride)]), len(rows)


def decode_any_batch(data: bytes) -> Batch:
    """A batch of either kind. WireError."""
    match from_cbor(data):
        case [epoch, first, count, list(templates), dict(changes), *_] if type(count) is int:
            plain = decode_batch(to_cbor([epoch, first, templates]))
            return Batch(plain.epoch, plain.first, rebuilt(count, plain.records, changes))
    return decode_batch(data)


def _alike(bodies: Sequence[bytes]) -> list[list[Any]]:
    """The leaves of these encoded records, from the first on, as long as they have the same shape."""
    shape, leaves = _flat(from_cbor(bodies[0]))
    rows = [leaves]
    for body in bodies[1:COUNT_MAX]:
        other, leaves = _flat(from_cbor(body))
        if other != shape:
            break
        rows.append(leaves)
    return rows


def _stride(rows: Sequence[Sequence[Any]]) -> int:
    """How many records back the one stands that differs in numbers only; 1 if there is none."""
    words = [[leaf for leaf in row if type(leaf) is not int] for row in rows]
    strides = range(1, min(STRIDE_MAX, len(rows) - 1) + 1)
    return next((n for n in strides if words[n:] == words[:-n]), 1)


def _columns(rows: Sequence[Sequence[Any]], stride: int) -> dict[int, Any]:
    out: dict[int, Any] = {}
    for leaf, values in enumerate(zip(*rows, strict=True)):
        pairs = list(zip(values, values[stride:], strict=False))
        if all(type(old) is type(new) and old == new for old, new in pairs):
            continue
        if type(values[0]) is not int:
            out[leaf] = list(values[stride:])
            continue
        added = [new - old for old, new in pairs]
        same = next((known for known, column in out.items() if column == added), None)
        out[leaf] = added[0] if added == added[:1] * len(added) else added if same is None else {0: same}
    return out


def rebuilt(count: int, templates: Sequence[bytes], columns: dict[int, Any]) -> tuple[bytes, ...]:
    """The records' bytes. WireError if these are no columns of that many records."""
    stride = len(templates)
    if not 1 <= stride < count <= COUNT_MAX:
        raise WireError(f"{count} records of {stride} templates")
    shapes, rows = zip(*(_flat(from_cbor(body)) for body in templates), strict=True)
    if any(shape != shapes[0] for shape in shapes):
        raise WireError("templates of different shapes")
    changes = _changes(count - stride, columns, shapes[0], rows[0])
    values, size = list(rows), sum(map(len, templates))
    whole = from_cbor(templates[0])
    out = list(templates)
    for number in range(count - stride):
        row = list(values[-stride])
        for leaf, column in changes.items():
            row[leaf] = row[leaf] + column[number] if type(row[leaf]) is int else column[number]
            if type(row[leaf]) is int and row[leaf] not in INT64:
                raise WireError("a sum beyond 64 bits")
        values.append(row)
        body = to_cbor(_whole(whole, iter(row)))
        size += len(body)
        if size > REBUILT_MAX_B:
            raise WireError(f"columns of more than {REBUILT_MAX_B} bytes")
        out.append(body)
    return tuple(out)


def _changes(count: int, columns: dict[int, Any], shape: Shape, row: Sequence[Any]) -> dict[int, list[Any]]:
    """Each column as a list of `count` changes, by leaf in ascending order."""
    out: dict[int, list[Any]] = {}
    for leaf in sorted(columns, key=lambda leaf: leaf if type(leaf) is int else -1):
        if type(leaf) is not int or not 0 <= leaf < len(row):
            raise WireError(f"no leaf {leaf!r}")
        wanted = (int,) if type(row[leaf]) is int else (str, bytes, float, bool, type(None))
        match columns[leaf]:
            case int(added) if type(added) is int and int in wanted:
                out[leaf] = [added] * count
            case {0: same, **rest} if not rest and type(same) is int and same in out and int in wanted:
                out[leaf] = out[same]
            case list(items) if len(items) == count and all(type(item) in wanted for item in items):
                out[leaf] = items
            case column:
                raise WireError(f"no column for leaf {leaf}: {repr(column)[:60]}")
    return out


def _flat(value: Any) -> tuple[Shape, list[Any]]:
    """What must be the same in records that are alike (keys, lengths, which leaves are integers), and the leaves."""
    shape: list[Any] = []
    leaves: list[Any] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            shape.append(tuple(item))
            todo += reversed(item.values())
        elif type(item) is list:
            shape.append(len(item))
            todo += reversed(item)
        else:
            shape.append(type(item) is int)
            leaves.append(item)
    return tuple(shape), leaves


def _whole(template: Any, leaves: Iterator[Any]) -> Any:
    """The template with these leaves."""
    if type(template) is dict:
        return {key: _whole(item, leaves) for key, item in template.items()}
    if type(template) is list:
        return [_whole(item, leaves) for item in template]
    return next(leaves)
