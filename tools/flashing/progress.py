"""How far a transfer is, how fast, and how long it will take. Pure: the time is an argument."""

from dataclasses import dataclass, field

WINDOW_S = 5.0  # over which the rate is measured


@dataclass(slots=True)
class Progress:
    total_b: int
    done_b: int = 0
    again_b: int = 0  # sent more than once
    _marks: list[tuple[float, int]] = field(default_factory=list)

    def update(self, done_b: int, again_b: int, now: float) -> None:
        self.done_b, self.again_b = done_b, again_b
        if not self._marks or now - self._marks[-1][0] >= WINDOW_S / 20 or done_b == self.total_b:
            self._marks.append((now, done_b))
        while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW_S:
            self._marks.pop(0)

    @property
    def rate_bps(self) -> float | None:
        """Bytes a second, lately; None before anybody can say."""
        if len(self._marks) < 2:
            return None
        (from_s, from_b), (to_s, to_b) = self._marks[0], self._marks[-1]
        return (to_b - from_b) / (to_s - from_s) if to_s > from_s else None

    @property
    def left_s(self) -> float | None:
        rate = self.rate_bps
        return (self.total_b - self.done_b) / rate if rate else None

    @property
    def share(self) -> float:
        return self.done_b / self.total_b if self.total_b else 1.0


def size(bytes_: float) -> str:
    """As people say it: 512 B, 12.3 kB, 4.5 MB."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= scale:
            return f"{bytes_ / scale:.1f} {unit}"
    return f"{bytes_:.0f} B"


def duration(seconds: float | None) -> str:
    """12 s, 3 min 20 s, 1 h 05 min; "?" if nobody knows."""
    if seconds is None:
        return "?"
    whole = int(seconds + 0.999)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60:02} min"
