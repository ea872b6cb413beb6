"""What time it is, as an honest interval: at least `earliest`, and `wall` only when somebody told us.

Durations are monotonic seconds (`now`), which never jump. Wall times are seconds since 1970, UTC.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum

WALL_MAX_S = 32_503_680_000.0  # year 3000; a clock beyond it is a broken clock
BUILD_S = 1_790_000_000.0  # September 2026: this software did not exist earlier, so a clock before it was never set
TOLERANCE_S = 1.0  # the same source may wander so far before we follow


class ClockSource(IntEnum):
    """Who told us, worst first; the numbers are on the wire."""

    NONE = 0
    RTC = 1
    MODEM = 2
    NTP = 3
    CLOUD = 4


@dataclass(frozen=True, slots=True)
class Clock:
    floor_s: float = 0.0  # it was not earlier than this at `floor_at`
    floor_at: float = 0.0  # monotonic
    wall_s: float = 0.0  # it was this at `wall_at`, says `source`
    wall_at: float = 0.0  # monotonic
    source: ClockSource = ClockSource.NONE


def wall(clock: Clock, now: float) -> float | None:
    """The wall time, if anybody told us."""
    return None if clock.source is ClockSource.NONE else clock.wall_s + (now - clock.wall_at)


def floor(clock: Clock, now: float) -> float:
    """What the next start may build on: no clock chip of ours has moved it, only what came over TLS."""
    return clock.floor_s + (now - clock.floor_at)


def earliest(clock: Clock, now: float) -> float:
    """A wall time that is not after the true one, as far as we know: what "expired" is judged by."""
    known = wall(clock, now)
    return floor(clock, now) if known is None else known


def told(clock: Clock, wall_s: float, source: ClockSource, now: float) -> Clock:
    """Take a new time from `source`, unless a better source has spoken or it is nonsense.

    The cloud speaks over an authenticated channel: it moves the floor, also back; nobody else moves it, or may go
    below it. A clock chip with a flat battery says 2040, and a floor of 2040 would outlive the chip.
    """
    nonsense = not 0.0 < wall_s < WALL_MAX_S
    below = source is not ClockSource.CLOUD and wall_s < floor(clock, now)
    if source is ClockSource.NONE or source < clock.source or nonsense or below:
        return clock
    if source is clock.source and abs(clock.wall_s + (now - clock.wall_at) - wall_s) < TOLERANCE_S:
        return clock
    if source is not ClockSource.CLOUD:
        return replace(clock, wall_s=wall_s, wall_at=now, source=source)
    return Clock(wall_s, now, wall_s, now, source)


def is_expired(clock: Clock, expiry_s: float | None, now: float) -> bool:
    """Whether something with this expiry has surely expired; unknown time never expires anybody."""
    return expiry_s is not None and expiry_s < earliest(clock, now)


def read_time(text: str) -> float | None:
    """RFC 3339 with any offset, in seconds since 1970; None for what is no time."""
    try:
        at = datetime.fromisoformat(text)
        return at.timestamp() if at.tzinfo else None
    except (ValueError, OverflowError):  # 30 February, a leap second, the year 0 in the far east
        return None


def iso8601(wall_s: float) -> str:
    """RFC 3339 in UTC with milliseconds, as every OCPP timestamp of ours is spelled."""
    ms = round(wall_s * 1000)
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"
