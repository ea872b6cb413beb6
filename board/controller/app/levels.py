"""From a voltage to a band: hysteresis against noise, a hold time against a spike. Pure; MicroPython subset."""


class Levels:
    """`borders_mv`, falling, divide the bands 0 (highest) to len(borders_mv). A border is crossed only by more than
    `hysteresis_mv`; another band counts once the voltage has been out of the old one for `hold_ms`, without a return.

    What flutters between two wrong bands is out of the right one all the time: it cannot hold it.
    """

    def __init__(self, borders_mv: "tuple[int, ...]", hysteresis_mv: int, hold_ms: int) -> None:
        self.level = -1  # as counts; -1 = nothing seen yet
        self._borders_mv = borders_mv
        self._hysteresis_mv = hysteresis_mv
        self._hold_ms = hold_ms
        self._seen = 0  # band of the latest voltage
        self._left_ms: int | None = None

    def see(self, now_ms: int, mv: int) -> int:
        """The band that counts now. The first voltage counts at once."""
        borders = self._borders_mv
        seen, margin = self._seen, 0 if self.level < 0 else self._hysteresis_mv
        while seen < len(borders) and mv < borders[seen] - margin:
            seen += 1
        while seen > 0 and mv >= borders[seen - 1] + margin:
            seen -= 1
        self._seen = seen
        if self.level < 0:
            self.level = seen
        if seen == self.level:
            self._left_ms = None
        elif self._left_ms is None:
            self._left_ms = now_ms
        if self._left_ms is not None and now_ms - self._left_ms >= self._hold_ms:
            self.level = seen
            self._left_ms = None
        return self.level

    def rest(self, level: int) -> None:
        """There is nothing to see: this band, from now on."""
        self.level = self._seen = level
        self._left_ms = None

    def rebase(self, by_ms: int) -> None:
        if self._left_ms is not None:
            self._left_ms -= by_ms
