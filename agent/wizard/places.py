"""What is at a point, without any network: country, nearest town, time zone; and whether it may be a slip of the hand.

Two files, made by tools/make_places.py: `agent/ui/static/outline.bin` (coasts and borders of Natural Earth, 1:50
million; the page draws the same file) and `towns.bin` (GeoNames). They are read when a point is asked about and then
let go: `agent/atlas.py`. This module is pure: it is given their bytes.

How exact: borders and coasts are some hundred metres to a few kilometres off, so the country is that of the nearest
town on the same side of the drawn border. The time zone is that town's, too. docs/pinpoint.md says how often both are
right.
"""

import json
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import cos, hypot, radians

from agent.wizard.coordinates import DEGREE_M, Point, decimal, distance_m, is_place
from agent.wizard.sentence import Sentence

DEGREE_KM = DEGREE_M / 1000
FULL = 32_767  # a coordinate as a 16-bit integer: 180 degrees of longitude, 90 of latitude; steps of 0.6 and 0.3 km
NOBODY = 0xFFFF  # the sea's side of a coast
COAST_KM = 20.0  # nearer to a coast or a town than this is land: the outline is that coarse, and lacks small islands
NEAREST_KM = 200.0  # a coast farther away than this is not measured
SISTER_KM = 2.0  # stations of one site are closer together
ADDRESS_KM = 1.0
HIT_KM = 25.0  # a slip of the hand is believed if the place that was meant is this close to where it should be


@dataclass(frozen=True, slots=True)
class Place:
    """What is at a point; empty where there is nothing near."""

    code: str = ""  # ISO 3166-1 alpha-2
    country: str = ""  # English
    town: str = ""  # the nearest of some size, in its own country's spelling
    town_km: float = 0.0
    zone: str = ""  # IANA
    sea_km: float = 0.0  # to the coast; 0 on land


# -- coasts and borders -----------------------------------------------------------------------------------------------

OUTLINE = struct.Struct("<4s5H2x")  # magic, arcs, points (two words), rings, references


class Outline:
    """Arcs between land and sea, or between two lands; each knows the lands on its two sides.

    A ray to the east that crosses the arcs of a land an odd number of times began inside of it.
    """

    def __init__(self, data: bytes) -> None:
        magic, arcs, low, high, _, _ = OUTLINE.unpack_from(data)
        assert magic == b"OUT1", "outline.bin is not of this version: run tools/make_places.py"
        view, points, at = memoryview(data), low | high << 16, OUTLINE.size
        self.boxes = view[at : at + 8 * arcs].cast("h")  # west, south, east, north of each arc
        self.sides = view[at + 8 * arcs : at + 12 * arcs].cast("H")
        self.firsts = view[at + 12 * arcs : at + 16 * arcs + 4].cast("I")  # first point of each, and the end
        self.points = view[at + 16 * arcs + 4 : at + 16 * arcs + 4 + 4 * points].cast("h")  # longitude, latitude

    def within(self, point: Point) -> int | None:
        """The land's number; None at sea."""
        x, y = point.longitude / 180 * FULL, point.latitude / 90 * FULL
        odd: set[int] = set()
        for arc in range(len(self.firsts) - 1):
            _, south, east, north = self.boxes[4 * arc : 4 * arc + 4]
            if south <= y <= north and x <= east and self._crossings(arc, x, y) % 2:
                odd ^= set(self.sides[2 * arc : 2 * arc + 2])
        return min(odd - {NOBODY}, default=None)

    def _crossings(self, arc: int, x: float, y: float) -> int:
        line = self.points[2 * self.firsts[arc] : 2 * self.firsts[arc + 1]].tolist()
        crossings, x1, y1 = 0, line[0], line[1]
        for x2, y2 in zip(line[2::2], line[3::2], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                crossings += 1
            x1, y1 = x2, y2
        return crossings

    def nearest(self, point: Point, land: int | None = None) -> tuple[int, float]:
        """The nearest land (or the one asked for) and how far its outline is; NOBODY if more than NEAREST_KM."""
        x, y = point.longitude / 180 * FULL, point.latitude / 90 * FULL
        x_km = 180 / FULL * DEGREE_KM * max(0.01, cos(radians(point.latitude)))
        y_km = 90 / FULL * DEGREE_KM
        found, best = NOBODY, NEAREST_KM
        for arc in range(len(self.firsts) - 1):
            west, south, east, north = self.boxes[4 * arc : 4 * arc + 4]
            if hypot(max(west - x, 0, x - east) * x_km, max(south - y, 0, y - north) * y_km) < best:
                sides = [side for side in self.sides[2 * arc : 2 * arc + 2] if side != NOBODY]
                if land in (None, *sides) and (away := self._away(arc, x, y, x_km, y_km)) < best:
                    found, best = sides[0], away
        return found if land is None or found == NOBODY else land, best

    def _away(self, arc: int, x: float, y: float, x_km: float, y_km: float) -> float:
        line = self.points[2 * self.firsts[arc] : 2 * self.firsts[arc + 1]].tolist()
        corners = [((px - x) * x_km, (py - y) * y_km) for px, py in zip(line[::2], line[1::2], strict=True)]
        return min(from_origin(*a, *b) for a, b in pairwise(corners))


def from_origin(x1: float, y1: float, x2: float, y2: float) -> float:
    """How far a stretch of line is from 0, 0."""
    dx, dy = x2 - x1, y2 - y1
    length2 = dx * dx + dy * dy
    along = max(0.0, min(1.0, -(x1 * dx + y1 * dy) / length2)) if length2 else 0.0
    return hypot(x1 + along * dx, y1 + along * dy)


# -- towns ------------------------------------------------------------------------------------------------------------

TOWNS = struct.Struct("<4s2I4x")  # magic, towns, length of the tables


@dataclass(frozen=True, slots=True)
class Kind:
    """What many towns have in common."""

    land: int  # of the outline, in or next to which they lie
    code: str
    zone: str


class Towns:
    """Sorted by latitude, in columns."""

    def __init__(self, data: bytes) -> None:
        magic, n, length = TOWNS.unpack_from(data)
        assert magic == b"TWN1", "towns.bin is not of this version: run tools/make_places.py"
        view, at = memoryview(data), TOWNS.size + length
        tables = json.loads(data[TOWNS.size : at])
        self.countries: dict[str, str] = tables["countries"]  # name by code
        self.lands: list[tuple[str, str]] = tables["lands"]  # code and name of each of the outline's
        self.kinds = [Kind(*kind) for kind in tables["kinds"]]
        self.latitudes, self.longitudes = view[at : at + 2 * n].cast("h"), view[at + 2 * n : at + 4 * n].cast("h")
        self._kind = view[at + 4 * n : at + 6 * n].cast("H")
        self._lengths, self._names = view[at + 6 * n : at + 7 * n], view[at + 7 * n :]

    def nearest(self, point: Point, land: int | None = None) -> tuple[int, float] | None:
        """Number and distance in km of the nearest town, in this land or in any."""
        kinds = {number for number, kind in enumerate(self.kinds) if land in (None, kind.land)}
        degrees = 0.5
        while kinds:
            found = min(self._around(point, degrees, kinds), default=None)
            if (found and found[0] <= degrees * DEGREE_KM) or degrees > 180:
                return (found[1], found[0]) if found else None
            degrees *= 3
        return None

    def _around(self, point: Point, degrees: float, kinds: set[int]) -> Iterator[tuple[float, int]]:
        """Distance and number of each town in a band of latitude."""
        first = bisect_left(self.latitudes, (point.latitude - degrees) / 90 * FULL)
        last = bisect_right(self.latitudes, (point.latitude + degrees) / 90 * FULL)
        shrink = max(0.01, cos(radians(point.latitude)))
        reach = min(180.0, degrees / shrink)
        columns = self.latitudes[first:last], self.longitudes[first:last], self._kind[first:last]
        for number, (y, x, kind) in enumerate(zip(*(column.tolist() for column in columns), strict=True), first):
            east = abs(x / FULL * 180 - point.longitude)
            if min(east, 360 - east) <= reach and kind in kinds:
                yield distance_m(point, Point(y / FULL * 90, x / FULL * 180)) / 1000, number

    def kind(self, town: int) -> Kind:
        return self.kinds[self._kind[town]]

    def name(self, town: int) -> str:
        start = sum(self._lengths[:town])
        return bytes(self._names[start : start + self._lengths[town]]).decode()

    @cached_property
    def codes_by_zone(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for kind in self.kinds:
            found.setdefault(kind.zone, set()).add(kind.code)
        return found


# -- both -------------------------------------------------------------------------------------------------------------


class Atlas:
    def __init__(self, outline: bytes, towns: bytes) -> None:
        self.outline, self.towns = Outline(outline), Towns(towns)

    def place(self, point: Point) -> Place:
        """Country, town and zone. At sea (COAST_KM from any coast or town) only how far the coast is."""
        land, sea_km = self.outline.within(point), 0.0
        if land is None:
            land, sea_km = self.outline.nearest(point)
            near = self.towns.nearest(point)
            if near and near[1] <= COAST_KM and near[1] < sea_km:
                land, sea_km = self.towns.kind(near[0]).land, 0.0  # on an island that the outline lacks
            elif sea_km > COAST_KM:
                return Place(sea_km=sea_km)
        code, country = self.towns.lands[land]
        found = self.towns.nearest(point, land)
        if not found:
            return Place(code, country)
        town, town_km = found
        kind = self.towns.kind(town)
        return Place(kind.code, self.towns.countries[kind.code], self.towns.name(town), town_km, kind.zone)

    def warnings(
        self, point: Point, zone: str = "", sister: Point | None = None, address: Point | None = None
    ) -> tuple[Sentence, ...]:
        """What speaks against this point: the sea, the zone that the station is set to, a station beside it, its
        address; and what may have been meant, if a swapped order or a wrong sign explains it."""
        place = self.place(point)
        said = tuple(self._against(point, place, zone, sister, address))
        if said and (meant := self._meant(point, zone, sister, address)):
            said += (meant,)
        return said

    def _against(
        self, point: Point, place: Place, zone: str, sister: Point | None, address: Point | None
    ) -> Iterator[Sentence]:
        codes = self.towns.codes_by_zone.get(zone, set())
        if not place.code and place.sea_km >= NEAREST_KM:
            yield Sentence("This point is in the sea, far from any coast.")
        elif not place.code:
            yield Sentence("This point is in the sea, {km} km from the coast.", {"km": round(place.sea_km)})
        elif codes and place.code not in codes:
            where = {"country": place.country, "zone": zone}
            yield Sentence("This point is in {country}, but the time zone is {zone}.", where)
        if sister and (km := distance_m(point, sister) / 1000) > SISTER_KM:
            yield Sentence("The station beside this one is {km} km away.", {"km": rounded(km)})
        if address and (km := distance_m(point, address) / 1000) > ADDRESS_KM:
            yield Sentence("The address of this site is {km} km away.", {"km": rounded(km)})

    def _meant(self, point: Point, zone: str, sister: Point | None, address: Point | None) -> Sentence | None:
        """A slip of the hand that explains it: then the point is where zone, sister and address say."""
        codes, known = self.towns.codes_by_zone.get(zone, set()), [p for p in (sister, address) if p]
        for is_swapped, latitude, longitude in slips(point):
            other = Point(latitude, longitude)
            if not is_place(other):
                continue
            is_near = all(distance_m(other, p) / 1000 <= HIT_KM for p in known)
            if is_near and (known or codes) and (not codes or self.place(other).code in codes):
                return asked(is_swapped, other)
        return None


def slips(point: Point) -> Iterator[tuple[bool, float, float]]:
    """Whether the order was swapped, and what was meant then."""
    latitude, longitude = point.latitude, point.longitude
    yield True, longitude, latitude
    yield False, -latitude, longitude
    yield False, latitude, -longitude
    yield False, -latitude, -longitude
    yield True, -longitude, latitude
    yield True, longitude, -latitude


def asked(is_swapped: bool, meant: Point) -> Sentence:
    facts = {"point": decimal(meant)}
    if is_swapped:
        return Sentence("Are latitude and longitude the wrong way round? Then it is {point}.", facts)
    return Sentence("Is a minus sign wrong or missing? Then it is {point}.", facts)


def rounded(km: float) -> float | int:
    return round(km) if km >= 10 else round(km, 1)
