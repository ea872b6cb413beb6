"""Times of the local day, days of the week, dates and holidays, in the site's zone. Pure; access and tariffs share it.

An instant (seconds since 1970) is turned into local time, never the other way round. So an hour that comes twice in
autumn is two hours, each judged by what the clock on the wall says; one that spring leaves out never was. A span's
ends are told by the wall clock too: where it jumps over the beginning, the span begins with the jump.
"""

from bisect import bisect_right
from calendar import isleap
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Annotated

from msgspec import Meta, Struct, structs

DAY_S = 86_400
DAY_MIN = 1_440
WEEK_DAYS = 8  # what a week shows, from any instant of a day on
SPANS_MAX, DATES_MAX = 50, 400
YEAR_MAX = 3_000  # as agent/clock.py has it
YEARS_AHEAD = 9  # leap days are at most eight years apart
DAYS_SEEN_MAX = 800  # days looked at for the next change; beyond it nobody says when it comes

Minute = Annotated[int, Meta(ge=0, lt=DAY_MIN)]
Weekday = Annotated[int, Meta(ge=0, le=6)]


class Span(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions on the local clock, all of which must hold, each by itself: OCPP 2.1 TariffConditionsType.

    With start 22:00, end 06:00 and Friday it holds on Friday from 0:00 to 6:00 and from 22:00 to midnight.
    """

    start_min: Minute = 0  # since local midnight, inclusive
    end_min: Minute = 0  # exclusive; not after the start: over midnight; equal to it: all day
    weekdays: Annotated[tuple[Weekday, ...], Meta(max_length=7)] = ()  # 0 is Monday; empty: every day
    from_date: date | None = None  # inclusive
    to_date: date | None = None  # exclusive


class DatedHours(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A holiday, or any day with hours of its own, instead of the week's; `spans` empty: closed all day."""

    day: date
    spans: Annotated[tuple[Span, ...], Meta(max_length=SPANS_MAX)] = ()
    each_year: bool = False  # from that day on; of February 29th, in leap years

    def is_on(self, today: date) -> bool:
        is_day = (today.month, today.day) == (self.day.month, self.day.day)
        return is_day and (today >= self.day if self.each_year else today == self.day)


class Hours(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When something is open. The first entry of a date counts."""

    week: Annotated[tuple[Span, ...], Meta(max_length=SPANS_MAX)] = ()
    dated: Annotated[tuple[DatedHours, ...], Meta(max_length=DATES_MAX)] = ()


ALWAYS = Hours((Span(),))
NEVER = Hours()


def opening(span: Span) -> tuple[Span, ...]:
    """Hours that belong to the day on which they begin: Friday 22:00 to 06:00 ends on Saturday morning."""
    if span.start_min <= span.end_min or span.end_min == 0 or not is_dated(span):
        return (span,)
    next_days = tuple(sorted((day + 1) % 7 for day in span.weekdays))
    morning = Span(0, span.end_min, next_days, _day_after(span.from_date), _day_after(span.to_date))
    return structs.replace(span, end_min=0), morning


def opening_hours(hours: Hours) -> Hours:
    """As an owner means them. Those of a date end with its last midnight; the morning after is the next day's."""
    dated = tuple(structs.replace(each, spans=tuple(map(_of_one_day, each.spans))) for each in hours.dated)
    return Hours(tuple(part for span in hours.week for part in opening(span)), dated)


def _of_one_day(span: Span) -> Span:
    return structs.replace(span, end_min=0) if span.start_min > span.end_min else span


def _day_after(day: date | None) -> date | None:
    return day + timedelta(days=1) if day is not None and day < date.max else day


def local(at_s: float, zone: tzinfo) -> datetime:
    """What the clock on the site's wall says. `at_s` is a sane wall time (agent/clock.py): 1970 to 3000."""
    return datetime.fromtimestamp(at_s, zone)


def holds(span: Span, there: datetime) -> bool:
    minute = there.hour * 60 + there.minute
    if span.start_min < span.end_min:
        if not span.start_min <= minute < span.end_min:
            return False
    elif not (minute >= span.start_min or minute < span.end_min):
        return False
    if span.weekdays and there.weekday() not in span.weekdays:
        return False
    if span.from_date is None and span.to_date is None:
        return True
    today = there.date()
    return (span.from_date is None or today >= span.from_date) and (span.to_date is None or today < span.to_date)


def is_dated(span: Span) -> bool:
    """Whether midnight may change it."""
    return bool(span.weekdays) or span.from_date is not None or span.to_date is not None


def is_any_time(span: Span) -> bool:
    return span.start_min == span.end_min and not is_dated(span)


def minutes(spans: Iterable[Span]) -> frozenset[int]:
    """The minutes of a local day at which any of them may begin or end."""
    found: set[int] = set()
    for span in spans:
        if span.start_min != span.end_min:
            found |= {span.start_min, span.end_min}
        if is_dated(span):
            found.add(0)
    return frozenset(found)


def covers_day(spans: Sequence[Span]) -> bool:
    """Whether at every minute of every day one of them holds, by those alone that know no days."""
    daily = [span for span in spans if not is_dated(span)]
    ends = minutes(daily)
    any_day = datetime(2026, 1, 1)  # noqa: DTZ001
    return bool(daily) and all(any(holds(s, any_day + timedelta(minutes=m)) for s in daily) for m in ends or {0})


# -- instants ---------------------------------------------------------------------------------------------------------


def edges(of_day: Iterable[int], from_s: float, to_s: float, zone: tzinfo) -> Iterator[int]:
    """The instants after `from_s` and before `to_s` at which the local clock comes to one of these minutes, or jumps.

    In order, each once. While the offset stands still local time is a straight line: we walk from jump to jump.
    """
    wanted = sorted(set(of_day))
    at_s = from_s
    while at_s < to_s:
        offset_s = _offset_s(at_s, zone)
        end_s = min(to_s, at_s + DAY_S)
        jumps = _offset_s(end_s, zone) != offset_s
        if jumps:
            end_s = _jump_s(at_s, end_s, zone)
        midnight_s = int((at_s + offset_s) // DAY_S) * DAY_S - offset_s
        for day_s in (midnight_s, midnight_s + DAY_S):
            yield from (s for minute in wanted if at_s < (s := day_s + minute * 60) < end_s)
        if end_s < to_s and (jumps or (end_s + offset_s) % DAY_S / 60 in wanted):
            yield int(end_s)
        at_s = end_s


def _offset_s(at_s: float, zone: tzinfo) -> int:
    offset = local(at_s, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _jump_s(from_s: float, to_s: float, zone: tzinfo) -> int:
    """The first second with another offset than `from_s` has; `to_s` has one."""
    offset_s, low, high = _offset_s(from_s, zone), int(from_s), int(-(-to_s // 1))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset_s(middle, zone) == offset_s else (low, middle)
    return high


# -- open or closed ---------------------------------------------------------------------------------------------------


def is_open(hours: Hours, at_s: float, zone: tzinfo) -> bool:
    there = local(at_s, zone)
    today = there.date()
    spans = next((dated.spans for dated in hours.dated if dated.is_on(today)), hours.week)
    return any(holds(span, there) for span in spans)


def next_change_s(hours: Hours, at_s: float, zone: tzinfo) -> int | None:
    """When it opens or closes next, seconds since 1970; None: never, or so late that nobody counts on it.

    What has not changed for a week changes on a listed date or never: the days between are not looked at.
    """
    spans = [*hours.week, *(span for dated in hours.dated for span in dated.spans)]
    of_day = minutes(spans) | ({0} if hours.dated else frozenset())
    if not of_day:
        return None
    was_open, special = is_open(hours, at_s, zone), _special_days(hours, spans, local(at_s, zone).year)
    for from_s, to_s in _days_worth_a_look(special, at_s, zone):
        for edge_s in (int(from_s), *edges(of_day, from_s, to_s, zone)):
            if edge_s > at_s and is_open(hours, edge_s, zone) != was_open:
                return edge_s
    return None


def _special_days(hours: Hours, spans: Iterable[Span], year: int) -> list[date]:
    """Those on which the week's pattern may change."""
    listed = {dated.day for dated in hours.dated}
    for day in [dated.day for dated in hours.dated if dated.each_year]:
        years = range(max(year, day.year), min(year + YEARS_AHEAD, YEAR_MAX))
        listed |= {day.replace(year=each) for each in years if not is_leap_day(day) or isleap(each)}
    listed |= {day for span in spans for day in (span.from_date, span.to_date) if day is not None}
    return sorted(day for day in listed if day.year < YEAR_MAX)


def is_leap_day(day: date) -> bool:
    return (day.month, day.day) == (2, 29)


def _days_worth_a_look(special: Sequence[date], at_s: float, zone: tzinfo) -> Iterator[tuple[float, float]]:
    """From and until, in order: the days after `at_s`, and those after each special date, until a week is over."""
    from_s, quiet = at_s, 0
    for _ in range(DAYS_SEEN_MAX):
        today = local(from_s, zone).date()
        quiet = 0 if today in special else quiet + 1
        if quiet > WEEK_DAYS:
            later = bisect_right(special, today)
            if later == len(special):
                return
            from_s, quiet = _midnight_s(special[later], zone), 0
        to_s = _midnight_s(local(from_s, zone).date() + timedelta(days=1), zone)
        yield from_s, to_s
        from_s = to_s


def _midnight_s(day: date, zone: tzinfo) -> float:
    """When this day begins: where midnight comes twice the first, where a jump leaves it out that jump."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
