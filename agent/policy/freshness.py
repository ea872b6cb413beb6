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


NAMES = {
    Freshness.FRESH: "",
    Freshness.LATE: "late",
    Freshness.OLD: "old",
    Freshness.LAPSED: "too old",
}
assert NAMES.keys() == set(Freshness)


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


def follows(old_s: float | None, grace_days: int) -> str:
    """What follows for drivers, in one or two sentences; "" of a fresh list."""
    match freshness(old_s, grace_days):
        case Freshness.LATE:
            return "The newest approvals and removals may be missing."
        case Freshness.OLD:
            assert old_s is not None
            left = f"for {age(int(grace_days * DAY_S - old_s))} more" if grace_days else "all the same"
            return f"What the owner has approved or removed since is not in force. Who is on it can charge {left}."
        case Freshness.LAPSED:
            return "Nobody starts by it until the network is back."
    return ""


def age(seconds: int) -> str:
    """As a person says it: 5 minutes, 30 hours, 2 days."""
    for unit_s, name, least in ((86_400, "day", 2), (3_600, "hour", 1), (60, "minute", 1)):
        if (n := seconds // unit_s) >= least:
            return f"{n} {name}{'' if n == 1 else 's'}"
    return "less than a minute"
