"""How old the allowlist is, by the cloud's own time, and what follows from it (S5). Pure.

Age counts from when the cloud last had nothing newer. While the time is unknown nobody's list is old.
"""

from enum import IntEnum

from agent.clock import Clock, wall
from agent.events import ListState

WARNING_S = 20 * 3600.0
ALARM_S = 24 * 3600.0
DAY_S = 86_400.0


class Freshness(IntEnum):
    """Of a list; ordered."""

    FRESH = 0
    LATE = 1  # approvals and removals may soon be missing
    OLD = 2  # they may be missing
    LAPSED = 3  # too old to let anybody charge by it


def age_s(state: ListState, clock: Clock, now: float) -> float | None:
    """None: there is no list, the cloud never said how old it is, or nobody knows what time it is."""
    wall_s = wall(clock, now)
    if not state.version or wall_s is None or state.synced_s is None:
        return None
    return max(0.0, wall_s - state.synced_s)


def freshness(old_s: float | None, grace_days: int) -> Freshness:
    """`grace_days`: how long members are let in without word from the cloud; 0: for ever."""
    if old_s is None or old_s < WARNING_S:
        return Freshness.FRESH
    if grace_days and old_s >= grace_days * DAY_S:
        return Freshness.LAPSED
    return Freshness.OLD if old_s >= ALARM_S else Freshness.LATE
