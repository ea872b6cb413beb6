"""A small site extract, made from nothing: PMTiles v3 with vector tiles (Mapbox Vector Tile 2.1) of a crossroads, in
the layers that Protomaps' basemap has. Not a part of the station: what the installer's kit would bring.
"""

import gzip
import json
import math
import struct
from collections.abc import Iterable, Iterator

EXTENT = 4_096
Line = list[tuple[int, int]]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes | int) -> bytes:
    """Protocol Buffers: an integer, or bytes with their length."""
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def geometry(line: Line, is_area: bool) -> bytes:
    def steps() -> Iterator[int]:
        x = y = 0
        for number, (to_x, to_y) in enumerate(line):
            if number == 0:
                yield 1 | 1 << 3  # MoveTo
            elif number == 1:
                yield 2 | (len(line) - 1) << 3  # LineTo
            yield from (zigzag(to_x - x), zigzag(to_y - y))
            x, y = to_x, to_y
        if is_area:
            yield 7 | 1 << 3  # ClosePath

    return b"".join(map(varint, steps()))


def zigzag(value: int) -> int:
    return value << 1 ^ value >> 31


def layer(name: str, features: Iterable[tuple[dict[str, str], Line, bool]]) -> bytes:
    keys: list[str] = []
    values: list[str] = []
    body = field(15, 2) + field(1, name.encode())
    for tags, line, is_area in features:
        pairs = b""
        for key, value in tags.items():
            keys += [key] if key not in keys else []
            values += [value] if value not in values else []
            pairs += varint(keys.index(key)) + varint(values.index(value))
        feature = field(2, pairs) + field(3, 3 if is_area else 2) + field(4, geometry(line, is_area))
        body += field(2, feature)
    body += b"".join(field(3, key.encode()) for key in keys)
    body += b"".join(field(4, field(1, value.encode())) for value in values)
    return field(3, body + field(5, EXTENT))


def tile() -> bytes:
    """Ground, two roads that cross in the middle, a house in the north-west."""
    whole, middle, quarter = EXTENT, EXTENT // 2, EXTENT // 4
    ground: Line = [(0, 0), (whole, 0), (whole, whole), (0, whole)]
    wall = quarter + 400
    house: Line = [(quarter, quarter), (wall, quarter), (wall, wall), (quarter, wall)]
    return (
        layer("earth", [({"kind": "earth"}, ground, True)])
        + layer("buildings", [({"kind": "building"}, house, True)])
        + layer(
            "roads",
            [
                ({"kind": "major_road", "name": "Station Road"}, [(0, middle), (whole, middle)], False),
                ({"kind": "major_road", "name": "Market Street"}, [(middle, 0), (middle, whole)], False),
            ],
        )
    )


def tile_of(latitude: float, longitude: float, zoom: int) -> tuple[int, int]:
    sine = math.sin(math.radians(latitude))
    y = 0.5 - math.log((1 + sine) / (1 - sine)) / (4 * math.pi)
    return int((longitude + 180) / 360 * 2**zoom), int(y * 2**zoom)


def tile_id(zoom: int, x: int, y: int) -> int:
    """Along the Hilbert curve of each zoom, one zoom after the other."""
    number, side = ((1 << 2 * zoom) - 1) // 3, 1 << zoom >> 1
    while side:
        right, lower = int(x & side > 0), int(y & side > 0)
        number += side * side * (3 * right ^ lower)
        if not lower:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        side //= 2
    return number


def archive(latitude: float, longitude: float, zooms: range = range(13, 16)) -> bytes:
    """The same crossroads in the three by three tiles around a place, at each zoom."""
    places = [(zoom, *tile_of(latitude, longitude, zoom)) for zoom in zooms]
    near = [(z, x + dx, y + dy) for z, x, y in places for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    ids = sorted(tile_id(*each) for each in near)
    data = gzip.compress(tile(), mtime=0)
    directory = varint(len(ids))
    directory += b"".join(varint(number - before) for before, number in zip([0, *ids], ids, strict=False))
    directory += b"".join(varint(1) for _ in ids)  # run lengths
    directory += b"".join(varint(len(data)) for _ in ids)
    directory += b"".join(varint(1) for _ in ids)  # offset 0, plus one: all are the same tile
    root = gzip.compress(directory, mtime=0)
    metadata = gzip.compress(json.dumps({"vector_layers": []}).encode(), mtime=0)
    at_metadata = 127 + len(root)
    at_data = at_metadata + len(metadata)
    reach = 360 / 2 ** zooms[0]
    box = (longitude - reach, latitude - reach * 0.5, longitude + reach, latitude + reach * 0.5)
    header = struct.pack(
        "<7sB11Q6B4iB2i",
        b"PMTiles", 3, 127, len(root), at_metadata, len(metadata), 0, 0, at_data, len(data), len(ids), len(ids), 1,
        1, 2, 2, 1, zooms[0], zooms[-1], *(round(degrees * 1e7) for degrees in box),
        zooms[-1], round(longitude * 1e7), round(latitude * 1e7),
    )  # fmt: skip
    assert len(header) == 127
    return header + root + metadata + data
