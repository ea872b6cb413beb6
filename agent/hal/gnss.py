"""A GNSS receiver on a serial line: where the station is, for whoever pinpoints it.

A fix is told at most once a second, its loss once. Nothing is said to the receiver: it speaks by itself, as it left its
factory. One that is silent, or speaks anything but NMEA 0183, has failed.
"""

from collections.abc import Callable
from math import inf
from typing import Literal

from msgspec import Struct

from agent.events import FixLost
from agent.hal.device import DevicePath, Post, Presence
from agent.hal.nmea import Nmea
from agent.hal.tty import Tty

PERIOD_S = 0.9  # between two fixes that are told: some receivers make ten a second
SILENT_S = 10.0  # without one intact sentence: they send several a second, with and without a fix


class GnssFacts(Struct, frozen=True):
    """[gnss]: a receiver that tells where the station is. The standard's speed is 4,800, most modules' 9,600."""

    device: DevicePath
    baudrate: Literal[4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800] = 9_600


class Gnss:
    """It lives on asyncio's loop, as its line does."""

    def __init__(self, facts: GnssFacts, post: Post, now: Callable[[], float]) -> None:
        self.presence = Presence("GNSS receiver", post)
        self._facts, self._post, self._now = facts, post, now
        self._nmea = Nmea()
        self._is_fixed = False
        self._told_at = -inf
        self._silent_at = inf  # then it has been silent for too long
        self._problem = ""  # of its line, to be told with the next turn
        self._tty = Tty(facts.device, facts.baudrate, self._received, self._gone, self._line_told)

    def due(self, now: float) -> None:
        if self._problem:
            self.presence.failed(self._problem, now)
            self._problem = ""
        elif now >= self._silent_at:
            self._silent_at = inf
            device = self._facts.device
            fix = "check its wires and its supply, or correct baudrate under [gnss] in the board file"
            self.presence.failed(f"{device} says nothing that a GNSS receiver would: {fix}", now)
            self._lost()

    def next_deadline(self) -> float:
        return -inf if self._problem else self._silent_at

    @property
    def sentences(self) -> int:
        """Intact ones, since its line was opened."""
        return self._nmea.sentences

    def close(self) -> None:
        self._tty.close()

    def _line_told(self, problem: str) -> None:
        """With each attempt to open the line."""
        self._problem = problem
        if not problem:
            self._nmea, self._silent_at = Nmea(), self._now() + SILENT_S

    def _gone(self) -> None:
        self._silent_at = inf
        self._lost()

    def _received(self, data: bytes) -> None:
        now, before = self._now(), self._nmea.sentences
        epochs = self._nmea.received(data)
        if self._nmea.sentences != before:
            self._silent_at = now + SILENT_S
            self.presence.worked(now)
        if None in epochs:
            self._lost()
        if epochs and (fix := epochs[-1]) and now >= self._told_at + PERIOD_S:
            self._is_fixed, self._told_at = True, now
            self._post(fix)

    def _lost(self) -> None:
        if self._is_fixed:
            self._is_fixed = False
            self._post(FixLost())
