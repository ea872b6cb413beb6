"""What the modem's data costs: bytes of a month, by cause, against a budget. Pure.

An interface counts what has passed, whatever it was; those who have sent or got something say how much of it was
theirs. What nobody claims is overhead (TLS, TCP, keepalives, names), so the causes always add up to what has passed.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, structs

MEGA_B = 1_000_000
WARNINGS = (80, 100)  # percent of the budget
LEAVES_MAX, NAME_MAX = 64, 40
BACK_S = 2 * 3_600.0  # how far a site's clock may go back over midnight: summer time ends
CAUSE_B_MAX = 2**53  # of any number here: JSON's


class Cause(StrEnum):
    RECORDS = "records"  # sessions, status, results, questions about cards: what waits for no budget
    SAMPLES = "samples"
    LISTS = "lists"
    UPDATES = "updates"
    LOGS = "logs"
    LEAVES = "leaves"
    OVERHEAD = "overhead"


CLAIMED = tuple(cause for cause in Cause if cause is not Cause.OVERHEAD)
Bytes = Mapping[Cause, int]


# -- what has passed ---------------------------------------------------------------------------------------------------


class Counters(Struct, frozen=True):
    """Of an interface, since the kernel made it; `number` tells it from another one of the same name."""

    number: int
    received_b: int = 0
    sent_b: int = 0


class Meter(Struct, frozen=True):
    """Counters as they were seen last, and what was counted since it was told."""

    counters: dict[str, Counters] = {}
    late: dict[Cause, int] = {}  # claimed, and not on the wire yet
    used: dict[Cause, int] = {}
    session: str = ""  # the bearer that carried last: interface and number


def looked(meter: Meter, found: Mapping[str, Counters], claims: Bytes) -> Meter:
    """After a look at the counters of all bearers. `claims`: what was sent over them since the last look.

    What was claimed is believed as far as the wire has carried it since the last word (`told`), or carries it until the
    next look; else it went elsewhere. If a bearer has gone between two looks its last bytes are not known: what was
    claimed of them counts.
    """
    passed_b = sum(passed(meter.counters.get(name), now) for name, now in found.items())
    wanted = sums(meter.late, claims)
    if is_gone(meter.counters, found):
        passed_b = max(passed_b, sum(wanted.values()))
    used = dict(meter.used)
    left_b = passed_b + used.pop(Cause.OVERHEAD, 0)  # who sends in a thread of his own claims it late
    late: dict[Cause, int] = {}
    for cause, size_b in wanted.items():
        believed_b = min(size_b, left_b)
        left_b -= believed_b
        used[cause] = used.get(cause, 0) + believed_b
        if found and (waits_b := min(size_b - believed_b, claims.get(cause, 0))):
            late[cause] = waits_b
    used[Cause.OVERHEAD] = left_b
    session = next((f"{name}/{now.number}" for name, now in found.items()), meter.session)
    return Meter(dict(found), late, {cause: size_b for cause, size_b in used.items() if size_b}, session)


def passed(before: Counters | None, now: Counters) -> int:
    """Counters of another interface, or smaller ones, have begun anew."""
    if before is None or before.number != now.number:
        return now.received_b + now.sent_b
    return grown(before.received_b, now.received_b) + grown(before.sent_b, now.sent_b)


def grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def is_gone(before: Mapping[str, Counters], found: Mapping[str, Counters]) -> bool:
    return any(name not in found or found[name].number != was.number for name, was in before.items())


def told(meter: Meter) -> Meter:
    """What it has used is somebody else's to remember."""
    return structs.replace(meter, used={})


def sums(*parts: Mapping[Cause, int]) -> dict[Cause, int]:
    """In the order of Cause; without those that are nothing."""
    return {cause: size_b for cause in Cause if (size_b := sum(part.get(cause, 0) for part in parts))}


# -- a month -----------------------------------------------------------------------------------------------------------


class Month(Struct, frozen=True):
    """`began`: its first day at the site, ISO 8601; "" while nobody knows the time."""

    began: str = ""
    causes: dict[Cause, int] = {}

    @property
    def all_b(self) -> int:
        return sum(self.causes.values())


class Usage(Struct, frozen=True):
    """What survives."""

    month: Month = Month()
    before: Month = Month()  # the month before, for whoever asks about its bill
    leaves: dict[str, int] = {}  # of this month, by name
    session: str = ""
    session_b: int = 0  # of the bearer that is up
    warned: int = 0  # percent; what was told last
    kept: dict[str, Any] = {}  # the meter's, for the next start in the same life of Linux


def began(wall_s: float, zone: tzinfo, billing_day: int) -> date:
    """The first day of the billing month that this instant lies in, in the site's own time."""
    today = datetime.fromtimestamp(wall_s, zone).date()
    if today.day >= billing_day:
        return today.replace(day=billing_day)
    return (today.replace(day=1) - timedelta(days=1)).replace(day=billing_day)


def turned(usage: Usage, wall_s: float | None, zone: tzinfo, billing_day: int) -> Usage:
    """In the month that it is now. While nobody knows the time the last known month goes on; a month that had begun by
    a wrong clock, or another billing day, is added to the one that it really is."""
    if wall_s is None:
        return usage
    first, month = began(wall_s, zone, billing_day).isoformat(), usage.month
    if first == month.began or (first < month.began == began(wall_s + BACK_S, zone, billing_day).isoformat()):
        return usage
    if not month.began:
        return structs.replace(usage, month=structs.replace(month, began=first))
    if first < month.began:
        earlier = usage.before.causes if usage.before.began == first else {}
        before = Month() if usage.before.began >= first else usage.before
        return structs.replace(usage, month=Month(first, sums(earlier, month.causes)), before=before)
    return structs.replace(usage, month=Month(first), before=month, leaves={})


def added(usage: Usage, used: Bytes, leaves: Mapping[str, int], session: str) -> Usage:
    """Never less than before. Of more leaves than LEAVES_MAX the rest has no name."""
    by_leaf = dict(usage.leaves)
    for name, size_b in leaves.items():
        name = name[:NAME_MAX] if name in by_leaf or len(by_leaf) < LEAVES_MAX - 1 else "others"
        by_leaf[name] = by_leaf.get(name, 0) + size_b
    month = structs.replace(usage.month, causes=sums(usage.month.causes, used))
    before_b = usage.session_b if session == usage.session else 0
    session_b = before_b + sum(used.values())
    return structs.replace(usage, month=month, leaves=by_leaf, session=session, session_b=session_b)


def percent(used_b: int, budget_mb: int) -> int | None:
    """Of the budget, rounded down; None: there is none."""
    return used_b * 100 // (budget_mb * MEGA_B) if budget_mb else None


def warning(used_b: int, budget_mb: int) -> int:
    """The highest of WARNINGS that is reached, else 0."""
    part = percent(used_b, budget_mb)
    return max((each for each in WARNINGS if part is not None and part >= each), default=0)


# -- what survives -----------------------------------------------------------------------------------------------------


def saved(usage: Usage) -> dict[str, Any]:
    table: dict[str, Any] = msgspec.to_builtins(usage)
    return table


def restored(fact: Any) -> Usage:
    """What cannot be read begins at nothing: a count, and no money."""
    try:
        usage = msgspec.convert(fact, Usage)
        for month in filter(None, (usage.month.began, usage.before.began)):
            date.fromisoformat(month)
    except (msgspec.ValidationError, ValueError):
        return Usage()
    numbers: Iterable[int] = (*usage.month.causes.values(), *usage.before.causes.values(), *usage.leaves.values())
    return usage if all(0 <= each <= CAUSE_B_MAX for each in (*numbers, usage.session_b)) else Usage()
