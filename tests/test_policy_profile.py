"""Charging profiles: what limits a port or the station, at each instant, and until when that holds."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.policy.profile import (
    PERIODS_MAX,
    PROFILES_MAX,
    Limit,
    Profile,
    Purpose,
    Rejected,
    Situation,
    composite,
    in_ma,
    lasting,
    later,
    matches,
    port_limit,
    read,
    restored,
    saved,
    station_limit,
    unread,
    with_profile,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
NOON_S = NOON.timestamp()
BERLIN = ZoneInfo("Europe/Berlin")
AT = Situation(NOON_S)


def said(
    number: int = 1, purpose: str = "TxDefaultProfile", kind: str = "Absolute", level: int = 0,
    periods: tuple[tuple[int, float], ...] = ((0, 16.0),), unit: str = "A", start: datetime | None = NOON, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A ChargingProfileType; what belongs to its schedule goes there."""
    schedule: dict[str, Any] = {
        "id": number, "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": at, "limit": limit} for at, limit in periods],
    }  # fmt: skip
    if start is not None and kind != "Relative":
        schedule["startSchedule"] = start.isoformat()
    of_schedule = ("duration", "useLocalTime", "randomizedDelay", "minChargingRate")
    schedule |= {key: more.pop(key) for key in of_schedule if key in more}
    return {
        "id": number, "stackLevel": level, "chargingProfilePurpose": purpose, "chargingProfileKind": kind,
        "chargingSchedule": [schedule], **more,
    }  # fmt: skip


def with_period(profile: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The same, with more in its first period."""
    profile["chargingSchedule"][0]["chargingSchedulePeriod"][0] |= more
    return profile


def one(*args: Any, evse_id: int = 0, **more: Any) -> Profile:
    return read(evse_id, said(*args, **more), ports=2)


def tx(number: int, amperes: float, transaction_id: str = "T1", evse_id: int = 1, **more: Any) -> Profile:
    limits = ((0, amperes),)
    return one(number, "TxProfile", "Relative", periods=limits, evse_id=evse_id, transactionId=transaction_id, **more)


def at(hours: float) -> Situation:
    return replace(AT, now_s=NOON_S + hours * 3600)


# -- what counts


def test_nothing_said_is_no_limit() -> None:
    assert port_limit([], 1, AT) == station_limit([], AT) == Limit(None, None, inf)


def test_a_schedule_has_no_limit_before_it_begins_then_its_periods_then_none() -> None:
    profile = one(periods=((0, 16), (3600, 10)), duration=7200)
    assert [port_limit([profile], 1, at(h)).limit_ma for h in (-0.1, 0, 0.9, 1, 1.9, 2)] == [
        None, 16_000, 16_000, 10_000, 10_000, None,
    ]  # fmt: skip
    assert port_limit([profile], 1, at(0.5)).for_s == 1800


def test_the_highest_stack_level_with_something_to_say_counts_even_if_it_allows_more() -> None:
    low, high = one(1, periods=((0, 10),)), one(2, level=5, periods=((0, 20),), duration=3600)
    assert port_limit([low, high], 1, at(0)).limit_ma == 20_000
    assert port_limit([low, high], 1, at(1)).limit_ma == 10_000, "where it has a gap the one below it counts"
    assert port_limit([low, high], 1, at(0)).by == high


def test_the_transactions_own_profile_comes_before_the_default_and_is_nobody_elses() -> None:
    profiles = [one(1, periods=((0, 10),)), tx(2, 20)]
    mine = replace(AT, transaction_id="T1", started_s=0.0)
    assert port_limit(profiles, 1, mine).limit_ma == 20_000
    assert port_limit(profiles, 1, replace(mine, transaction_id="T2")).limit_ma == 10_000
    assert port_limit(profiles, 2, mine).limit_ma == 10_000


def test_a_relative_schedule_begins_with_the_transaction_and_needs_no_clock() -> None:
    profile = one(kind="Relative", periods=((0, 6), (600, 32)))
    for now_s in (None, NOON_S):
        situation = Situation(now_s, transaction_id="T1", started_s=599.0)
        assert port_limit([profile], 1, situation) == Limit(6_000, profile, 1.0)
        assert port_limit([profile], 1, later(situation, 1)).limit_ma == 32_000


def test_a_day_repeats_itself_and_a_week_too() -> None:
    daily = one(kind="Recurring", recurrencyKind="Daily", periods=((0, 16), (3600, 32)), duration=7200)
    weekly = one(kind="Recurring", recurrencyKind="Weekly", periods=((0, 16), (3600, 32)))
    for day in range(9):
        assert port_limit([daily], 1, at(24 * day + 0.5)).limit_ma == 16_000
        assert port_limit([daily], 1, at(24 * day + 3)) == Limit(None, None, 21 * 3600)
        assert port_limit([weekly], 1, at(24 * day + 0.5)).limit_ma == (16_000 if day % 7 == 0 else 32_000)


def test_the_lowest_of_all_that_holds_for_the_station_counts() -> None:
    grid = one(1, "ChargingStationExternalConstraints", periods=((0, 20),))
    owner = one(2, "ChargingStationMaxProfile", periods=((0, 40),), duration=600)
    assert station_limit([grid, owner], AT) == Limit(20_000, grid, 600)
    assert station_limit([owner], AT).limit_ma == 40_000 and port_limit([grid, owner], 1, AT).limit_ma is None


def test_watts_are_spread_over_the_phases_that_are_wired_and_rounded_down() -> None:
    profile = one(periods=((0, 11_000),), unit="W")
    assert in_ma(profile, 11_000, replace(AT, phases=3, voltage_mv=230_000)) == 15_942
    assert in_ma(profile, 11_000, replace(AT, phases=1, voltage_mv=240_000)) == 45_833


def test_the_lowest_of_three_phases_is_the_limit_of_all() -> None:
    profile = said()
    profile["chargingSchedule"][0]["chargingSchedulePeriod"][0] |= {"limit_L2": 10, "limit_L3": 12.5}
    assert port_limit([read(0, profile, 2)], 1, AT).limit_ma == 10_000


def test_without_a_clock_a_schedule_counts_with_the_least_that_it_ever_allows() -> None:
    profile = one(kind="Recurring", recurrencyKind="Daily", periods=((0, 32), (3600, 8), (7200, 16)))
    assert port_limit([profile], 1, Situation(None)).limit_ma == 8_000
    grid = one(2, "ChargingStationMaxProfile", periods=((0, 32), (3600, 10)), duration=7200)
    assert station_limit([grid], Situation(None)).limit_ma == 10_000


def test_a_profile_that_needs_the_cloud_is_over_when_the_cloud_was_away_for_too_long() -> None:
    low, high = one(1, periods=((0, 10),)), one(2, level=1, periods=((0, 20),), maxOfflineDuration=60)
    offline = replace(AT, offline_s=59.0)
    assert port_limit([low, high], 1, offline) == Limit(20_000, high, 1.0)
    assert port_limit([low, high], 1, later(offline, 1)).limit_ma == 10_000
    assert port_limit([low, high], 1, AT).limit_ma == 20_000, "and counts again with the cloud"
    assert lasting([low, high], later(offline, 1), ()) == (low, high)
    ends = one(3, level=1, maxOfflineDuration=60, invalidAfterOfflineDuration=True)
    assert lasting([low, ends], later(offline, 1), ()) == (low,)


def test_a_profile_that_may_not_be_offline_at_all_counts_with_the_cloud_and_is_over_at_the_instant_it_goes() -> None:
    low, never = one(1, periods=((0, 10),)), one(2, level=1, periods=((0, 20),), maxOfflineDuration=0)
    gone = replace(AT, offline_s=0.001)
    assert port_limit([low, never], 1, AT) == Limit(20_000, never, inf)
    assert port_limit([low, never], 1, gone) == Limit(10_000, low, inf)
    assert port_limit([low, never], 1, replace(gone, now_s=None)).limit_ma == 10_000
    ends = one(3, level=1, maxOfflineDuration=0, invalidAfterOfflineDuration=True)
    assert lasting([low, ends], AT, ()) == (low, ends), "with the cloud it lasts"
    assert lasting([low, ends], gone, ()) == (low,)


# -- summer and winter


def test_the_sites_own_time_is_the_same_hour_of_the_day_in_summer_and_winter() -> None:
    start = datetime(2026, 1, 1, 22, tzinfo=UTC)
    profile = one(
        kind="Recurring", recurrencyKind="Daily", start=start, useLocalTime=True, duration=8 * 3600, periods=((0, 32),)
    )
    for day in (datetime(2026, 1, 15, tzinfo=BERLIN), datetime(2026, 7, 15, tzinfo=BERLIN)):
        for hour, limit_ma in ((21.9, None), (22, 32_000), (23, 32_000)):
            situation = Situation(day.timestamp() + hour * 3600, BERLIN)
            assert port_limit([profile], 1, situation).limit_ma == limit_ma


@pytest.mark.parametrize(("month", "day", "hours"), [(10, 24, 9), (3, 28, 7)])
def test_the_night_in_which_the_clock_is_set_is_an_hour_longer_or_shorter(month: int, day: int, hours: int) -> None:
    start = datetime(2026, 1, 1, 22, tzinfo=UTC)
    profile = one(kind="Recurring", recurrencyKind="Daily", start=start, useLocalTime=True, duration=8 * 3600)
    evening = datetime(2026, month, day, 22, tzinfo=BERLIN).timestamp()
    said = list(composite(lambda s: port_limit([profile], 1, s), Situation(evening, BERLIN), 12 * 3600))
    assert said == [(0.0, 16_000), (hours * 3600.0, None)]


# -- what is kept


def test_a_profile_with_the_same_id_takes_the_place_of_the_one_before() -> None:
    first, second = one(1), one(1, periods=((0, 8),))
    assert with_profile([first], second) == (second,)


def test_two_of_the_same_rank_at_the_same_time_are_one_too_many() -> None:
    held = [one(1), tx(2, 10)]
    for profile, is_taken in (
        (one(3), False),
        (one(3, evse_id=1), False),
        (one(3, level=1), True),
        (one(3, validTo=(NOON - timedelta(days=1)).isoformat()), False),
        (tx(4, 10), False),
        (tx(4, 10, "T2"), True),
        (one(3, "ChargingStationMaxProfile"), True),
    ):
        if is_taken:
            assert with_profile(held, profile)[-1] == profile
        else:
            with pytest.raises(Rejected, match="same purpose"):
                with_profile(held, profile)
    early = one(5, level=7, validTo=NOON.isoformat())
    assert len(with_profile([early], one(6, level=7, validFrom=NOON.isoformat()))) == 2, "one after the other"


def test_there_is_room_for_so_many_and_a_replacement_needs_none() -> None:
    held: tuple[Profile, ...] = ()
    for number in range(PROFILES_MAX):
        held = with_profile(held, tx(number, 10, f"T{number}"))
    with pytest.raises(Rejected, match="clear one"):
        with_profile(held, tx(99, 10, "T99"))
    assert len(with_profile(held, tx(3, 16, "T3"))) == PROFILES_MAX


def test_what_is_over_is_forgotten() -> None:
    ended, running, past = tx(1, 10, "T1"), tx(2, 10, "T2"), one(3, validTo=NOON.isoformat())
    assert lasting([ended, running, past], AT, ["T2"]) == (running,)
    assert lasting([past], Situation(None), []) == (past,), "whose end nobody can have seen, stays"


def test_criteria_that_are_not_said_match_all() -> None:
    profile = one(7, level=2, evse_id=1)
    assert matches(profile) and matches(profile, evse_id=1, purpose="TxDefaultProfile", stack_level=2, ids=[7, 8])
    for wrong in ({"evse_id": 0}, {"purpose": "TxProfile"}, {"stack_level": 0}, {"ids": [8]}):
        assert not matches(profile, **wrong)


# -- what is refused


@pytest.mark.parametrize(
    ("evse_id", "profile", "why"),
    [
        (0, said(purpose="PriorityCharging"), "no use"),
        (0, said(kind="Dynamic"), "no use"),
        (3, said(), "EVSEs here"),
        (0, said(level=10), "stack levels"),
        (1, said(purpose="ChargingStationMaxProfile"), "of the station"),
        (0, said(purpose="ChargingStationMaxProfile", kind="Relative"), "relative"),
        (0, said(purpose="TxProfile", transactionId="T"), "one EVSE"),
        (0, said(transactionId="T"), "belongs to a TxProfile"),
        (0, said(start=None), "has a startSchedule"),
        (0, said(kind="Recurring"), "Daily or Weekly"),
        (0, said(recurrencyKind="Daily"), "recurrencyKind"),
        (0, said(kind="Recurring", recurrencyKind="Daily", duration=86_401), "longer than"),
        (0, said(validFrom=NOON.isoformat(), validTo=NOON.isoformat()), "not after"),
        (0, said(validFrom="yesterday"), "no time"),
        (0, said(periods=((1, 16),)), "begins with 0"),
        (0, said(periods=((0, 16), (0, 10))), "begins with 0"),
        (0, said(periods=((0, 16), (10**400, 10))), "begins with 0"),
        (0, said(periods=((0, -1),)), "limits are"),
        (0, said(periods=((0, float("nan")),)), "limits are"),
        (0, said(periods=tuple((n, 16.0) for n in range(PERIODS_MAX + 1))), "periods"),
        (0, said(randomizedDelay=10), "not done here"),
        (0, said(duration=0), "duration is 1 to"),
        (0, said(duration=-5), "duration is 1 to"),
        (0, said(kind="Relative", duration=2**31), "duration is 1 to"),
        (0, said(maxOfflineDuration=-5), "maxOfflineDuration is 0 to"),
        (0, said(minChargingRate=-1.0), "minChargingRate is 0"),
        (0, said(minChargingRate=float("nan")), "minChargingRate is 0"),
        (0, with_period(said(), setpoint=0), "setpoint is not done"),
        (0, with_period(said(), dischargeLimit_L2=-3.0), "dischargeLimit_L2 is not done"),
        (0, with_period(said(), numberPhases=0), "numberPhases is 1 to 3"),
        (0, with_period(said(), startPeriod=-1), "begins with 0"),
        (0, with_period(said(), limit_L3=-1.0), "limits are"),
        (0, said() | {"chargingSchedule": said()["chargingSchedule"] * 2}, "one chargingSchedule"),
    ],
)
def test_what_cannot_be_kept_to_is_rejected_with_the_reason(evse_id: int, profile: Mapping[str, Any], why: str) -> None:
    with pytest.raises(Rejected, match=why) as caught:
        read(evse_id, profile, ports=2)
    assert 0 < len(caught.value.code) <= 20


def test_what_is_saved_is_read_back_and_what_cannot_be_read_is_left_out() -> None:
    profiles = (one(1), tx(2, 8.5))
    assert restored(saved(profiles), 2) == profiles
    rubbish: Any
    for rubbish in (None, 7, "x", [7], [{}], [{"evseId": 1, "profile": {}}], [{"evseId": "1", "profile": said()}]):
        assert restored(rubbish, 2) == ()
    assert restored([None, *saved(profiles)], 2) == profiles


def test_a_profile_of_fewer_phases_than_are_wired_is_rejected_since_no_phase_is_switched_off() -> None:
    for phases, number, amperes, is_kept in (
        (3, 1, 16.0, False), (3, 2, 16.0, False), (3, 3, 16.0, True), (1, 1, 16.0, True), (1, 3, 16.0, True),
        (3, 1, 0.0, True),
    ):  # fmt: skip
        form = with_period(said(periods=((0, amperes),)), numberPhases=number)
        if is_kept:
            assert read(1, form, 2, phases).limits == ((0.0, amperes),)
            continue
        with pytest.raises(Rejected, match="cannot switch phases") as caught:
            read(1, form, 2, phases)
        assert caught.value.code == "UnsupportedParam"


def test_what_is_stored_and_refused_now_is_told_with_its_id_and_the_others_stay() -> None:
    now_refused = {"evseId": 0, "profile": with_period(said(7), setpoint=3)}
    rows = [None, *saved((one(1),)), now_refused, {"evseId": 1, "profile": {"id": 9}}, {"evseId": 1, "profile": "x"}]
    assert restored(rows, 2) == (one(1),)
    nobody, refused, half, text = unread(rows, 2)
    assert "profile ?" in nobody and "profile ?" in text and "profile 9 cannot be read" in half
    assert "charging profile 7 is refused now" in refused and "setpoint is not done" in refused
    assert unread(None, 2) == unread([], 2) == unread(saved((one(1), tx(2, 8.5))), 2) == ()
    assert len(unread("x", 2)) == 1
    assert "profile ? is refused now" in unread([{"evseId": 1, "profile": "x" * 20_000}], 2)[0]


# -- properties

SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3)
RUBBISH = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


@pytest.mark.promise("S9")
@given(data=st.data(), rubbish=RUBBISH)
def test_whatever_stands_in_a_stored_profile_the_start_goes_on_with_the_others(
    data: st.DataObject, rubbish: Any
) -> None:
    (row,) = deepcopy(saved((tx(2, 8.5),)))
    schedule = row["profile"]["chargingSchedule"][0]
    there = data.draw(st.sampled_from([row, row["profile"], schedule, schedule["chargingSchedulePeriod"][0]]))
    there[data.draw(st.sampled_from(sorted(there)))] = rubbish
    kept = restored([row, *saved((one(1),))], 2)
    assert kept[-1] == one(1) and len(kept) + len(unread([row], 2)) == 2


AMPERES = st.sampled_from([0.0, 5.9, 6.0, 10.0, 16.0, 31.5, 32.0, 63.0])
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kolkata")])
INSTANTS = st.integers(-20 * 86_400, 20 * 86_400).map(lambda s: NOON + timedelta(seconds=s))


@st.composite
def some(draw: st.DrawFn) -> Profile:
    purpose = draw(st.sampled_from(list(Purpose)))
    kinds = ["Absolute", "Recurring"] + (["Relative"] if purpose in (Purpose.TX, Purpose.TX_DEFAULT) else [])
    kind = draw(st.sampled_from(kinds))
    starts = sorted(draw(st.sets(st.integers(1, 90_000), max_size=5)))
    more: dict[str, Any] = {}
    if kind == "Recurring":
        more["recurrencyKind"] = draw(st.sampled_from(["Daily", "Weekly"]))
    if draw(st.booleans()):
        more["duration"] = draw(st.integers(1, 86_400))
    if kind != "Relative":
        more["useLocalTime"] = draw(st.booleans())
    if draw(st.booleans()):
        more["validFrom"] = draw(INSTANTS).isoformat()
    if draw(st.booleans()):
        more["maxOfflineDuration"] = draw(st.just(0) | st.integers(1, 7200))
        more["invalidAfterOfflineDuration"] = draw(st.booleans())
    if purpose is Purpose.TX:
        more["transactionId"] = draw(st.sampled_from(["T1", "T2"]))
    limits = tuple((start, draw(AMPERES)) for start in (0, *starts))
    level = draw(st.integers(0, 3))
    evse_id = draw(st.integers(1, 2)) if purpose is Purpose.TX else 0
    start = draw(INSTANTS)
    return one(draw(st.integers()), purpose.value, kind, level, limits, evse_id=evse_id, start=start, **more)


SITUATIONS = st.builds(
    Situation,
    now_s=st.none() | st.integers(-40 * 86_400, 40 * 86_400).map(lambda s: NOON_S + s),
    zone=ZONES,
    offline_s=st.sampled_from([0.0, 0.0, 1.0, 3000.0, 9000.0]),
    transaction_id=st.sampled_from([None, "T1"]),
    started_s=st.none() | st.integers(0, 100_000).map(float),
    phases=st.sampled_from([1, 3]),
)


@given(st.lists(some(), max_size=5), SITUATIONS, st.floats(0.0, 1.0))
def test_what_holds_for_so_long_holds_for_so_long(held: list[Profile], here: Situation, part: float) -> None:
    both: list[Callable[[Situation], Limit]] = [partial(port_limit, held, 1), partial(station_limit, held)]
    for limit_of in both:
        limit = limit_of(here)
        assert limit.for_s > 0.0
        rest_s = min(limit.for_s, 30 * 86_400.0)
        between = later(here, max(0.0, rest_s * part - 0.01))
        assert limit_of(between).limit_ma == limit.limit_ma


@pytest.mark.promise("S11")
@given(st.lists(some(), max_size=5), SITUATIONS)
def test_one_more_station_profile_never_allows_more_of_another_purpose(held: list[Profile], here: Situation) -> None:
    both = station_limit(held, here).limit_ma
    for purpose in (Purpose.EXTERNAL, Purpose.STATION_MAX):
        alone = station_limit([p for p in held if p.purpose is purpose], here).limit_ma
        assert alone is None or (both is not None and both <= alone)


@given(st.lists(some(), max_size=5), SITUATIONS, st.integers(1, 3 * 86_400), st.integers(0, 3 * 86_400))
def test_the_schedule_that_is_told_is_the_one_that_is_kept(
    held: list[Profile], here: Situation, duration_s: int, later_s: int
) -> None:
    assume(later_s < duration_s)
    told = list(composite(lambda s: port_limit(held, 1, s), here, duration_s))
    assert told[0][0] == 0.0 and [at_s for at_s, _ in told] == sorted({at_s for at_s, _ in told})
    limit_ma = [limit for at_s, limit in told if at_s <= later_s][-1]
    there = replace(here, started_s=here.started_s or 0.0)
    assert port_limit(held, 1, later(there, later_s)).limit_ma == limit_ma


SMALL = st.none() | st.integers(-3, 3)


@pytest.mark.promise("S11")
@given(
    st.booleans(), SMALL, SMALL, SMALL, st.integers(-3, 3), st.integers(-1, 40), SMALL, st.sampled_from([0.0, 0.5, 2])
)
def test_whatever_is_accepted_limits_from_its_start_to_its_end_while_the_cloud_may_be_away(
    is_relative: bool, duration: int | None, offline: int | None, rate: int | None, first: int, amperes: int,
    setpoint: int | None, away_s: float,
) -> None:  # fmt: skip
    more: dict[str, Any] = {"duration": duration, "maxOfflineDuration": offline, "minChargingRate": rate}
    asked = said(kind="Relative" if is_relative else "Absolute", periods=((first, amperes),), **more)
    is_nonsense = first != 0 or amperes < 0 or any(each is not None and each < 0 for each in (duration, offline, rate))
    try:
        profile = read(0, with_period(asked, setpoint=setpoint), ports=2)
    except Rejected as rejected:
        assert is_nonsense or duration == 0 or setpoint is not None
        assert rejected.why
        return
    assert not is_nonsense
    here = Situation(NOON_S, offline_s=away_s, started_s=0.0)
    is_cut_off = offline is not None and 0.0 < away_s >= offline
    assert port_limit([profile], 1, here).limit_ma == (None if is_cut_off else amperes * 1000)
    then = replace(later(here, duration or 9), offline_s=0.0)
    assert port_limit([profile], 1, then).limit_ma == (None if duration else amperes * 1000)


@given(st.lists(some(), max_size=4))
def test_any_profile_survives_the_disk(held: list[Profile]) -> None:
    assert restored(saved(held), 2) == tuple(held)
