"""Hours of the week, holidays and dates in the site's zone: midnight, both nights of the year, the next change."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.policy.hours import (
    ALWAYS,
    NEVER,
    DatedHours,
    Hours,
    Span,
    covers_day,
    edges,
    holds,
    is_open,
    local,
    minutes,
    next_change_s,
    opening,
)  # fmt: skip

BERLIN = ZoneInfo("Europe/Berlin")
MON, FRI, SAT, SUN = 0, 4, 5, 6
WORKDAYS = range(5)
# Zones whose clocks jump at 2:00 and 3:00, at midnight, by half an hour, and not at all.
ZONES = [UTC, *map(ZoneInfo, ("Europe/Berlin", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Tokyo"))]


def at(text: str, zone: tzinfo = BERLIN) -> float:
    """Seconds of a local time, the first one where it comes twice; with an offset, of that instant."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def told(at_s: float | None, zone: tzinfo = BERLIN) -> str | None:
    return None if at_s is None else local(at_s, zone).isoformat(timespec="minutes")


def minute(text: str) -> int:
    hour, _, rest = text.partition(":")
    return int(hour) * 60 + int(rest)


def span(start: str, end: str, *weekdays: int) -> Span:
    return Span(minute(start), minute(end), weekdays)


OFFICE = Hours(opening(span("08:00", "18:00", *WORKDAYS)))
NIGHTS = Hours(opening(span("22:00", "06:00", FRI)))


# -- a span -----------------------------------------------------------------------------------------------------------


def test_a_span_begins_with_its_first_minute_and_ends_before_its_last() -> None:
    day = span("08:00", "18:00")
    seen = [holds(day, local(at(f"2026-03-02T{hour}"), BERLIN)) for hour in ("07:59", "08:00", "17:59", "18:00")]
    assert seen == [False, True, True, False]


def test_an_end_of_midnight_is_the_end_of_the_day_and_two_equal_ends_are_all_day() -> None:
    evening, all_day = span("18:00", "00:00"), span("08:00", "08:00")
    assert holds(evening, local(at("2026-03-02T23:59"), BERLIN))
    assert not holds(evening, local(at("2026-03-02T00:00"), BERLIN))
    assert all(holds(all_day, local(at(f"2026-03-02T{hour:02}:00"), BERLIN)) for hour in range(24))


def test_over_midnight_the_day_of_the_week_is_that_of_the_instant() -> None:
    """OCPP joins conditions by AND: nothing belongs to the day before."""
    night = span("22:00", "06:00", FRI)
    fridays = ["2026-03-06T05:59", "2026-03-06T22:00"]
    others = ["2026-03-05T23:00", "2026-03-06T12:00", "2026-03-07T05:00"]
    assert all(holds(night, local(at(text), BERLIN)) for text in fridays)
    assert not any(holds(night, local(at(text), BERLIN)) for text in others)


def test_opening_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    assert is_open(NIGHTS, at("2026-03-07T05:59"), BERLIN)
    assert not is_open(NIGHTS, at("2026-03-06T05:59"), BERLIN)
    assert told(next_change_s(NIGHTS, at("2026-03-06T23:00"), BERLIN)) == "2026-03-07T06:00+01:00"


def test_dates_are_from_one_midnight_to_another() -> None:
    christmas = Span(from_date=date(2026, 12, 24), to_date=date(2026, 12, 27))
    seen = [holds(christmas, local(at(f"2026-12-{day}"), BERLIN)) for day in ("23T23:59", "24", "26T23:59", "27")]
    assert seen == [False, True, True, False]


# -- the nights on which the clock jumps -----------------------------------------------------------------------------


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    """25 October 2026: 3:00 becomes 2:00."""
    hours = Hours((span("02:30", "03:00"),))
    instants = edges(minutes(hours.week), at("2026-10-25T00:00"), at("2026-10-25T04:00"), BERLIN)
    walked = [(told(s), is_open(hours, s, BERLIN)) for s in instants]
    assert walked == [
        ("2026-10-25T02:30+02:00", True),
        ("2026-10-25T02:00+01:00", False),
        ("2026-10-25T02:30+01:00", True),
        ("2026-10-25T03:00+01:00", False),
    ]


def test_a_beginning_that_spring_leaves_out_is_the_jump() -> None:
    """29 March 2026: 2:00 becomes 3:00. What lies within the jump does not happen."""
    hours = Hours((span("02:30", "05:00"),))
    assert told(next_change_s(hours, at("2026-03-29T01:59"), BERLIN)) == "2026-03-29T03:00+02:00"
    within = Hours((span("02:00", "03:00"),))
    assert told(next_change_s(within, at("2026-03-29T00:00"), BERLIN)) == "2026-03-30T02:00+02:00"


@pytest.mark.parametrize(("day", "length_h"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_a_day_is_as_long_as_the_clock_makes_it(day: str, length_h: int) -> None:
    hours = Hours((Span(from_date=date.fromisoformat(day), to_date=date.fromisoformat(day) + timedelta(days=1)),))
    begin_s = next_change_s(hours, at(day) - 7 * 86_400, BERLIN)
    assert begin_s is not None and begin_s == at(day)
    assert next_change_s(hours, begin_s, BERLIN) == begin_s + length_h * 3600


# -- open and closed -------------------------------------------------------------------------------------------------


def test_office_hours_say_when_they_open_again_over_the_weekend() -> None:
    assert is_open(OFFICE, at("2026-03-06T17:59"), BERLIN)
    assert told(next_change_s(OFFICE, at("2026-03-06T18:00"), BERLIN)) == "2026-03-09T08:00+01:00"


def test_a_holiday_has_its_own_hours_or_none() -> None:
    hours = Hours(OFFICE.week, (DatedHours(date(2026, 3, 3)), DatedHours(date(2026, 3, 4), (span("10:00", "12:00"),))))
    assert told(next_change_s(hours, at("2026-03-02T18:00"), BERLIN)) == "2026-03-04T10:00+01:00"
    assert told(next_change_s(hours, at("2026-03-04T11:00"), BERLIN)) == "2026-03-04T12:00+01:00"
    assert told(next_change_s(hours, at("2026-03-04T12:00"), BERLIN)) == "2026-03-05T08:00+01:00"


def test_a_holiday_of_each_year_is_one_from_its_first_year_on_and_a_date_of_its_own_goes_before() -> None:
    closed = DatedHours(date(2026, 12, 25), each_year=True)
    hours = Hours((Span(),), (DatedHours(date(2028, 12, 25), (span("10:00", "12:00"),)), closed))
    assert [is_open(hours, at(f"{year}-12-25 09:00"), BERLIN) for year in (2025, 2026, 2027, 2028)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert is_open(hours, at("2028-12-25 10:00"), BERLIN)
    assert told(next_change_s(hours, at("2027-06-01 00:00"), BERLIN)) == "2027-12-25T00:00+01:00"
    assert told(next_change_s(hours, at("2028-12-24 12:00"), BERLIN)) == "2028-12-25T00:00+01:00"
    leap = Hours((Span(),), (DatedHours(date(2028, 2, 29), each_year=True),))
    assert told(next_change_s(leap, at("2028-03-01 00:00"), BERLIN)) == "2032-02-29T00:00+01:00"
    assert told(next_change_s(leap, at("2097-01-01 00:00"), BERLIN)) == "2104-02-29T00:00+01:00"


# What an owner of an office has: summer and winter hours, nights, days of his own, holidays of one and of each year.
YEAR = 2028  # a leap year
SEASON = date(YEAR, 5, 1), date(YEAR, 10, 1)
YARD = Hours(
    (
        *(Span(480, 1080, tuple(WORKDAYS), to_date=SEASON[0]), Span(480, 1080, tuple(WORKDAYS), SEASON[1])),
        Span(420, 1230, (*WORKDAYS, SAT), *SEASON), *opening(Span(1320, 150, (FRI, SAT))),
    ),
    (
        DatedHours(date(YEAR, 2, 29), (Span(600, 750),)), DatedHours(date(2020, 1, 1), each_year=True),
        DatedHours(date(2026, 12, 25), each_year=True), DatedHours(date(YEAR, 12, 26)),
        DatedHours(date(2030, 7, 4), each_year=True), DatedHours(date(2024, 7, 7), (Span(0, 90), Span(1350, 0)), True),
        *(DatedHours(date(YEAR, 3, day)) for day in (26, 27)), DatedHours(date(YEAR, 10, 29), (Span(120, 210),)),
    ),
)


def office(there: datetime) -> bool:
    """The same by hand."""
    now, today, month = there.hour * 60 + there.minute, (there.month, there.day), there.month
    match today:
        case (2, 29):
            return 600 <= now < 750
        case (1, 1) | (12, 25) | (12, 26) | (3, 26) | (3, 27):
            return False
        case (7, 7):
            return now < 90 or now >= 1350
        case (10, 29):
            return 120 <= now < 210
    day = there.weekday()
    is_night = (day in (FRI, SAT) and now >= 1320) or (day in (SAT, SUN) and now < 150)
    if 5 <= month < 10:
        return is_night or (day != SUN and 420 <= now < 1230)
    return is_night or (day < SAT and 480 <= now < 1080)


@pytest.mark.parametrize(("place", "step_min"), [
    *((place, 30) for place in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")),
    *(pytest.param(place, 1, marks=pytest.mark.long) for place in ("Europe/Berlin", "Australia/Lord_Howe")),
])  # fmt: skip
def test_a_leap_year_of_an_office_is_as_its_wall_clock_says_at_every_instant(place: str, step_min: int) -> None:
    zone = ZoneInfo(place)
    first_s, end_s = (round(datetime(year, 1, 1, tzinfo=zone).timestamp()) for year in (YEAR, YEAR + 1))
    instants = range(first_s, end_s, step_min * 60)
    says = [office(datetime.fromtimestamp(each, zone)) for each in instants]
    assert all(is_open(YARD, each, zone) is say for each, say in zip(instants[::7], says[::7], strict=True))
    changes = [each for each, (was, say) in zip(instants[1:], pairwise(says), strict=True) if was is not say]
    found, at_s = [], first_s
    while (change_s := next_change_s(YARD, at_s, zone)) is not None and change_s < end_s:
        found.append(change_s)
        at_s = change_s
    assert found == changes and len(changes) > 500


def test_what_never_changes_has_no_next_change() -> None:
    assert next_change_s(ALWAYS, at("2026-03-02"), BERLIN) is None and is_open(ALWAYS, at("2026-03-02"), BERLIN)
    assert next_change_s(NEVER, at("2026-03-02"), BERLIN) is None and not is_open(NEVER, at("2026-03-02"), BERLIN)
    ended = Hours((Span(to_date=date(2020, 1, 1)),), (DatedHours(date(2020, 1, 1)), DatedHours(date(9999, 12, 31))))
    assert next_change_s(ended, at("2026-03-02"), BERLIN) is None


def test_a_season_months_away_is_found_by_its_date() -> None:
    hours = Hours((Span(minute("08:00"), minute("20:00"), (SAT, SUN), date(2026, 11, 1), date(2027, 3, 1)),))
    assert told(next_change_s(hours, at("2026-03-02"), BERLIN)) == "2026-11-01T08:00+01:00"
    assert told(next_change_s(hours, at("2027-02-28T20:00"), BERLIN)) is None


def test_spans_that_cover_the_day_are_known_to() -> None:
    assert covers_day([span("08:00", "18:00"), span("18:00", "08:00")])
    assert covers_day([Span()])
    assert not covers_day([span("08:00", "18:00"), span("18:01", "08:00")])
    assert not covers_day([span("08:00", "18:00"), span("18:00", "08:00", MON)])
    assert not covers_day([])


def test_hours_survive_the_disk_and_nonsense_does_not() -> None:
    hours = Hours(OFFICE.week, (DatedHours(date(2026, 3, 3)),))
    assert msgspec.convert(msgspec.to_builtins(hours), Hours) == hours
    for wrong in ({"week": [{"start_min": 1440}]}, {"week": [{"weekdays": [7]}]}, {"dated": [{"day": "2026-02-30"}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Hours)


# -- against a clock that is read every minute -----------------------------------------------------------------------

MINUTE = st.integers(0, 1_439) | st.sampled_from([0, 60, 120, 150, 180, 1_410, 1_439])
DATE = st.dates(date(2026, 3, 1), date(2026, 11, 10))
SPAN = st.builds(
    Span, MINUTE, MINUTE, st.lists(st.integers(0, 6), max_size=3).map(tuple), st.none() | DATE, st.none() | DATE
)
SPANS = st.lists(SPAN, max_size=3).map(tuple)
DATED = st.lists(st.builds(DatedHours, DATE, st.lists(SPAN, max_size=1).map(tuple)), max_size=2).map(tuple)
HOURS = st.builds(Hours, SPANS, DATED)
NEAR_JUMPS = st.sampled_from(
    ["2026-03-08", "2026-03-28", "2026-04-04", "2026-04-24", "2026-10-04", "2026-10-24", "2026-10-29", "2026-11-01"]
)
START = st.builds(lambda day, m: int(at(day, UTC)) + m * 60, NEAR_JUMPS, st.integers(0, 2_880))


@settings(max_examples=20, deadline=None)
@given(HOURS, START, st.sampled_from(ZONES))
def test_between_two_edges_nothing_changes(hours: Hours, from_s: int, zone: tzinfo) -> None:
    spans = [*hours.week, *(each for dated in hours.dated for each in dated.spans)]
    to_s = from_s + 30 * 3600
    found = set(edges(minutes(spans) | {0}, from_s, to_s, zone))
    assert all(from_s < s < to_s for s in found)
    for before_s, after_s in pairwise(range(from_s, to_s, 60)):
        if after_s not in found:
            assert is_open(hours, before_s, zone) == is_open(hours, after_s, zone)


@settings(max_examples=20, deadline=None)
@given(HOURS, START, st.sampled_from(ZONES))
def test_the_next_change_is_the_first_minute_that_differs(hours: Hours, from_s: int, zone: tzinfo) -> None:
    now, found = is_open(hours, from_s, zone), next_change_s(hours, from_s, zone)
    horizon_s = from_s + 3 * 86_400 if found is None else min(found, from_s + 3 * 86_400)
    assert all(is_open(hours, s, zone) == now for s in range(from_s, horizon_s, 300))
    if found is not None:
        assert found > from_s and is_open(hours, found, zone) != now
        assert is_open(hours, found - 60, zone) == now


@given(st.lists(MINUTE, max_size=5), START, st.integers(1, 60 * 3600), st.sampled_from(ZONES))
def test_edges_of_two_parts_are_the_edges_of_the_whole(
    of_day: list[int], from_s: int, length_s: int, zone: tzinfo
) -> None:
    middle_s, to_s = from_s + length_s // 3, from_s + length_s
    whole = list(edges(of_day, from_s, to_s, zone))
    assert whole == sorted(set(whole))
    parts = [*edges(of_day, from_s, middle_s, zone), *edges(of_day, middle_s, to_s, zone)]
    assert parts == [s for s in whole if s != middle_s]
