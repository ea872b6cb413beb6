"""A GNSS receiver: searches after power-on, then tells each second where it is, a little wrong, as NMEA 0183.

Its error wanders slowly, as that of a receiver which stands still does, with a little noise on top; sometimes a fix
leaps, where a wall mirrors the sky.
"""

import random
from datetime import UTC, datetime
from math import exp

from agent.hal.nmea import checksum
from agent.wizard.coordinates import Point, moved

GPS = ("GP",)
EPOCH = datetime(2026, 11, 22, 10, 15, tzinfo=UTC).timestamp()
WANDER_S = 60.0  # how long an error goes the same way
LEAP_M = 300.0
NOISE_M = 0.2


class Receiver:
    """Call `second` once a second for what it says then."""

    def __init__(
        self, place: Point, seed: int = 0, *, cold_s: int = 30, error_m: float = 2.0, leaps: float = 0.0,
        systems: tuple[str, ...] = GPS,
    ) -> None:  # fmt: skip
        """`cold_s`: it searches for so long. `error_m`: one sigma, in each direction. `leaps`: how probably a fix
        leaps. `systems`: with more than one it talks as GN."""
        self.place, self.error_m, self.leaps, self.systems = place, error_m, leaps, systems
        self.sees_sky = True
        self.wall_s: float | None = None  # None: it goes on from EPOCH
        self._random = random.Random(seed)
        self._search_s = self.cold_s = cold_s
        self._north = self._east = 0.0
        self._count = 0

    def power_on(self) -> None:
        """Without a battery it begins anew."""
        self._search_s, self._north, self._east = self.cold_s, 0.0, 0.0

    def second(self) -> bytes:
        self._count += 1
        self._search_s = self._search_s - 1 if self.sees_sky else min(self.cold_s, 5)  # a short search finds it again
        wall_s = EPOCH + self._count if self.wall_s is None else self.wall_s
        said = self._fix(wall_s) if self.sees_sky and self._search_s < 0 else self._search(wall_s)
        return b"".join(sentence(each) for each in said)

    def _search(self, wall_s: float) -> list[str]:
        talker, time = self._talker, f"{datetime.fromtimestamp(wall_s, UTC):%H%M%S}.00" if self._count > 3 else ""
        gsa = [f"{talker}GSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99" for _ in self.systems]
        return [f"{talker}RMC,{time},V,,,,,,,,,,N", f"{talker}GGA,{time},,,,,0,00,99.99,,,,,,", *gsa]

    def _fix(self, wall_s: float) -> list[str]:
        at, talker, when = self._where(), self._talker, datetime.fromtimestamp(wall_s, UTC)
        there = f"{minutes(at.latitude, 'NS', 2)},{minutes(at.longitude, 'EW', 3)}"
        used, time, sigma = self._random.randint(7, 11), f"{when:%H%M%S}.00", f"{self.error_m:.1f}"
        return [
            f"{talker}RMC,{time},A,{there},0.02,,{when:%d%m%y},,,A",
            f"{talker}GGA,{time},{there},1,{used:02d},0.90,38.1,M,44.9,M,,",
            *(f"{talker}GSA,A,3,05,07,09,13,15,,,,,,,,1.60,0.90,1.30" for _ in self.systems),
            f"{talker}GST,{time},6.2,,,,{sigma},{sigma},4.0",
        ]

    @property
    def _talker(self) -> str:
        return self.systems[0] if len(self.systems) == 1 else "GN"

    def _where(self) -> Point:
        keep = exp(-1 / WANDER_S)
        stir = self.error_m * (1 - keep**2) ** 0.5
        self._north = keep * self._north + self._random.gauss(0, stir)
        self._east = keep * self._east + self._random.gauss(0, stir)
        leap = LEAP_M if self._random.random() < self.leaps else 0.0
        north, east = self._random.gauss(self._north, NOISE_M), self._random.gauss(self._east, NOISE_M)
        return moved(self.place, north + leap, east)


def minutes(degrees: float, letters: str, digits: int) -> str:
    """`5231.20048,N`: whole degrees, then minutes with five digits, 2 cm."""
    total = round(abs(degrees) * 60, 5)
    return f"{int(total // 60):0{digits}d}{total % 60:08.5f},{letters[degrees < 0]}"


def sentence(text: str) -> bytes:
    """With its checksum, as it goes over the line."""
    data = text.encode("ascii")
    return b"$%b*%02X\r\n" % (data, checksum(data))
