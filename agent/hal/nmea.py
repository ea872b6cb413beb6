"""NMEA 0183 as GNSS receivers speak it: bytes in, fixes out, one for each epoch. Sans-IO; no bytes raise.

GGA, RMC, GNS, GSA and GST of any talker are read, the rest is passed over. An epoch is what carries one time. It is a
fix only if each of its sentences that can tell says so: a position that is estimated from speed, typed in or simulated
is none, nor is one whose sentences contradict each other.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import hypot

from agent.clock import BUILD_S, WALL_MAX_S
from agent.events import FixTold
from agent.wizard.coordinates import DEGREE_M, Point, is_place

LINE_MAX = 128  # bytes; the standard says 82, and receivers of many satellites say more
RANGE_ERROR_M = 5.0  # one sigma of a range: times HDOP it is what a receiver without GST knows of its accuracy
REAL = frozenset("12345")  # GGA: quality of a position that was measured; 6 estimated, 7 typed in, 8 simulated
MEASURED = frozenset("ADFPR")  # RMC, GNS: the same by letter; E, M, S and N are none
IN_SPACE = frozenset("23")  # GSA: 2D, 3D

SENTENCE = re.compile(rb"\$([A-Z0-9]{2})(GGA|RMC|GNS|GSA|GST),([ -)+-~]*)\*([0-9A-Fa-f]{2})")
CLOCK = re.compile(r"\d{6}(?:\.\d{1,9})?", re.ASCII)
NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,9})?", re.ASCII)
ANGLE = re.compile(r"(\d{2,3})(\d{2})(?:\.(\d{1,9}))?", re.ASCII)

Fields = tuple[str, ...]


class Nmea:
    """One line's reader. `sentences` counts the intact ones: a line on which it stands still is none of a receiver."""

    def __init__(self) -> None:
        self.sentences = 0
        self._line = b""
        self._epoch: dict[str, Fields] = {}  # by kind of sentence
        self._time = ""
        self._is_in_space = True

    def received(self, data: bytes) -> list[FixTold | None]:
        """The epochs that have ended, oldest first: a fix, or None where the receiver has none."""
        *lines, rest = (self._line + data).replace(b"\r", b"\n").split(b"\n")
        self._line = rest[-LINE_MAX:]
        return [ended for line in lines for ended in self._heard(line)]

    def _heard(self, line: bytes) -> list[FixTold | None]:
        found = SENTENCE.fullmatch(line, max(0, line.rfind(b"$")))
        if not found or checksum(found[0][1:-3]) != int(found[4], 16):
            return []
        self.sentences += 1
        kind, fields = found[2].decode(), tuple(found[3].decode("ascii").split(","))
        if kind == "GSA":  # one for each system, without a time
            self._is_in_space &= field(fields, 1) in IN_SPACE
            self._epoch[kind] = fields
            return []
        time = fields[0].rstrip("0") if "." in fields[0] else f"{fields[0]}."  # with as many zeros as each kind likes
        is_next = time != self._time or kind in self._epoch
        ended = [self._judged()] if is_next and self._epoch.keys() & POSITIONS.keys() else []
        if is_next:
            self._epoch, self._time, self._is_in_space = {}, time, True
        self._epoch[kind] = fields
        return ended

    def _judged(self) -> FixTold | None:
        return fix_of(self._epoch) if self._is_in_space else None


def checksum(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total


# -- an epoch ---------------------------------------------------------------------------------------------------------


def fix_of(epoch: Mapping[str, Fields]) -> FixTold | None:
    """By kind of sentence. None: it has no fix, or what it says cannot be."""
    points = [read(epoch[kind]) for kind, read in POSITIONS.items() if kind in epoch]
    good = [point for point in points if point and is_place(point)]
    if not good or len(good) < len(points):
        return None
    best = good[0]
    satellites = max(whole(field(epoch.get("GGA", ()), 6)), whole(field(epoch.get("GNS", ()), 6)))
    return FixTold(best.latitude, best.longitude, accuracy_m(epoch, best), satellites, wall_s(epoch.get("RMC", ())))


def gga(fields: Fields) -> Point | None:
    return point_of(fields[1:5]) if field(fields, 5) in REAL else None


def gns(fields: Fields) -> Point | None:
    """A letter for each system: one that has measured is enough, one that guesses is too much."""
    modes = set(field(fields, 5))
    return point_of(fields[1:5]) if modes & MEASURED and modes <= MEASURED | {"N"} else None


def rmc(fields: Fields) -> Point | None:
    is_measured = field(fields, 11) in MEASURED or len(fields) <= 11  # before NMEA 2.3 there was no letter
    return point_of(fields[2:6]) if field(fields, 1) == "A" and is_measured else None


POSITIONS = {"GGA": gga, "GNS": gns, "RMC": rmc}  # the most exact one first


def point_of(fields: Fields) -> Point | None:
    """`5231.2005,N,01324.2972,E`; its accuracy here is that of the last digit."""
    if len(fields) != 4:
        return None
    latitude, longitude = angle(fields[0], fields[1], "NS"), angle(fields[2], fields[3], "EW")
    if latitude is None or longitude is None:
        return None
    digits = min(len(fields[0].partition(".")[2]), len(fields[2].partition(".")[2]))
    return Point(latitude, longitude, DEGREE_M / 60 / 10**digits)


def angle(text: str, letter: str, letters: str) -> float | None:
    found = ANGLE.fullmatch(text)
    if not found or len(letter) != 1 or letter not in letters or int(found[2]) >= 60:
        return None
    degrees = int(found[1]) + float(f"{found[2]}.{found[3] or 0}") / 60
    return -degrees if letter == letters[1] else degrees


def accuracy_m(epoch: Mapping[str, Fields], point: Point) -> float | None:
    """One sigma: the receiver's own estimate, else from the geometry; never better than the last digit. None: it says
    nothing of it."""
    gst, least = epoch.get("GST", ()), point.accuracy_m or 0.0
    north, east = number(field(gst, 5)), number(field(gst, 6))
    if north is not None and east is not None:
        return max(least, hypot(north, east))
    said = field(epoch.get("GGA", ()), 7), field(epoch.get("GNS", ()), 7), field(epoch.get("GSA", ()), 15)
    dilution = next((value for text in said if (value := number(text))), None)
    return None if dilution is None else max(least, dilution * RANGE_ERROR_M)


def wall_s(rmc: Fields) -> float | None:
    """UTC of an RMC. A date before this build is that of a receiver whose week has run over, or that guesses."""
    time, date = field(rmc, 0), field(rmc, 8)
    if not CLOCK.fullmatch(time) or not re.fullmatch(r"\d{6}", date, re.ASCII):
        return None
    day, month, year, hour, minute, second = (int(text[i : i + 2]) for text in (date, time) for i in (0, 2, 4))
    try:
        told = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:  # also a leap second
        return None
    return told if BUILD_S <= told < WALL_MAX_S else None


def field(fields: Fields, at: int) -> str:
    """"" where there is none."""
    return fields[at] if at < len(fields) else ""


def number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) else None


def whole(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,3}", text, re.ASCII) else 0
