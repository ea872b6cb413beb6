"""Who may charge and when, as the owner has said it: the rule that decides, and until when it holds."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.policy.access import (
    RULES_MAX,
    Access,
    Allowed,
    Closed,
    NotFor,
    Opening,
    Policy,
    Refused,
    Rule,
    Who,
    access,
    next_opening,
    opening,
    read,
    ready,
    restored,
    saved,
)
from agent.policy.hours import DatedHours, Hours, Span

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, tzinfo=BERLIN)


def daily(days: Iterable[int], start_min: int, end_min: int) -> tuple[Span, ...]:
    return (Span(start_min, end_min, tuple(days)),)


OFFICE = Hours(week=daily(range(5), 8 * 60, 18 * 60))
NIGHT = Hours(week=daily(range(7), 22 * 60, 6 * 60))


def office(**more: Any) -> Policy:
    """Fleet always; employees in office hours, for four hours; anybody at night and on weekends."""
    weekend = Hours(week=(*NIGHT.week, *daily((5, 6), 0, 0)))
    return Policy("office", 3, (
        Rule("fleet", Who.GROUPS, ("fleet",)),
        Rule("employees", Who.GROUPS, ("employees", "board"), OFFICE, session_limit_s=4 * 3600),
        Rule("anybody at night", Who.EVERYONE, hours=weekend),
    ), **more)  # fmt: skip


def asked(policy: Policy, day: int, hour: float, *groups: str, connected: bool = True) -> Access:
    at_s = (MONDAY + timedelta(days=day, hours=hour)).timestamp()
    return access(ready(policy), groups, at_s, BERLIN, is_connected=connected)


def at_s(day: int, hour: float) -> float:
    return (MONDAY + timedelta(days=day, hours=hour)).timestamp()


def test_the_first_rule_that_names_the_driver_and_is_open_decides_and_says_until_when() -> None:
    assert asked(office(), 0, 12, "fleet", "employees") == Allowed("fleet", policy="office@3")
    assert asked(office(), 0, 12, "employees") == Allowed("employees", at_s(0, 18), 4 * 3600, policy="office@3")
    assert asked(office(), 0, 23, "employees") == Allowed("anybody at night", at_s(1, 6), policy="office@3")
    assert asked(office(), 0, 23, connected=False) == Allowed("anybody at night", at_s(1, 6), policy="office@3")


def test_a_driver_who_comes_too_late_reads_when_the_first_of_his_rules_opens() -> None:
    assert asked(office(), 0, 19, "employees") == Closed("anybody at night", at_s(0, 22))
    assert asked(office(), 0, 7, "employees") == Closed("employees", at_s(0, 8))
    assert asked(office(), 4, 19, "visitors") == Closed("anybody at night", at_s(4, 22))


def test_a_station_that_is_for_others_is_not_closed_but_not_for_him() -> None:
    residents = Policy("home", 1, (Rule("residents", Who.GROUPS, ("residents",)), Rule("connected", Who.CONNECTED)))
    assert asked(residents, 0, 12, connected=False) == NotFor()
    assert asked(residents, 0, 12, connected=True) == Allowed("connected", policy="home@1")
    assert asked(Policy("none", 1), 0, 12, "fleet") == NotFor(), "no rules: nobody"


def test_a_holiday_has_its_own_hours() -> None:
    eves = DatedHours(date(2026, 12, 24), daily((), 480, 720))
    christmas = Hours(OFFICE.week, (DatedHours(date(2026, 12, 25)), eves))
    policy = Policy("office", 1, (Rule("employees", Who.CONNECTED, hours=christmas),))
    eve, day = (datetime(2026, 12, number, 10, tzinfo=BERLIN).timestamp() for number in (24, 25))
    monday = datetime(2026, 12, 28, 8, tzinfo=BERLIN).timestamp()
    open_ = Allowed("employees", eve + 2 * 3600, policy="office@1")
    assert access(ready(policy), (), eve, BERLIN, is_connected=True) == open_
    assert access(ready(policy), (), day, BERLIN, is_connected=True) == Closed("employees", monday)


@pytest.mark.parametrize(("month", "day", "hours"), [(10, 24, 9), (3, 28, 7)])
def test_a_night_is_as_long_as_the_clock_on_the_wall_makes_it(month: int, day: int, hours: int) -> None:
    policy = Policy("night", 1, (Rule("night", Who.EVERYONE, hours=NIGHT),))
    evening = datetime(2026, month, day, 22, tzinfo=BERLIN).timestamp()
    until_s = evening + hours * 3600
    said = access(ready(policy), (), evening, BERLIN, is_connected=False)
    assert said == Allowed("night", until_s, policy="night@1")


def test_without_a_clock_hours_are_kept_for_those_who_are_known_and_against_the_rest() -> None:
    rules = ready(office())
    known = access(rules, ("employees",), None, BERLIN, is_connected=True)
    assert known == Allowed("employees", None, 4 * 3600, is_time_known=False, policy="office@3")
    assert access(rules, ("fleet",), None, BERLIN, is_connected=True) == Allowed("fleet", policy="office@3")
    assert access(rules, (), None, BERLIN, is_connected=False) == Closed("anybody at night", None)


def test_the_idle_screen_knows_for_whom_it_is_open_and_what_comes_next() -> None:
    rules = ready(office())
    assert opening(rules, at_s(0, 12), BERLIN) == Opening(False, False, True, at_s(0, 18))
    assert opening(rules, at_s(0, 23), BERLIN) == Opening(True, False, True, at_s(1, 6))
    assert opening(rules, None, BERLIN) == Opening(False, False, True, None)
    found = next_opening(rules, at_s(0, 12), BERLIN)
    assert found and (found[0], found[1].name) == (at_s(0, 22), "anybody at night")
    assert next_opening(ready(Policy("p", 1, (Rule("all", Who.EVERYONE),))), at_s(0, 12), BERLIN) is None


# -- reading


SAID = {
    "policyId": "office", "version": 3, "atClosing": "stop", "visible": "usable",
    "rules": [{"name": "employees", "who": "groups", "groups": ["employees"], "hours": msgspec.to_builtins(OFFICE)}],
}  # fmt: skip


def test_a_policy_is_read_as_it_was_said_and_survives_the_disk() -> None:
    policy = read(SAID)
    assert policy.rules[0].hours == OFFICE and policy.at_closing == "stop" and policy.warning_s == 600
    assert restored(saved(policy)) == policy and restored(saved(None)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 0}, "version"),
        ({"colour": "red"}, "colour"),
        ({"rules": [{"name": "a", "who": "groups"}]}, "groups belong"),
        ({"rules": [{"name": "a", "who": "everyone", "groups": ["x"]}]}, "groups belong"),
        ({"rules": [{"name": "a", "who": "everyone"}] * 2}, "two rules are called 'a'"),
        ({"rules": [{"name": f"{n}", "who": "everyone"} for n in range(RULES_MAX + 1)]}, "length"),
        ({"rules": [{"name": "a", "who": "groups", "groups": [f"{n}" for n in range(20_001)]}]}, "length"),
        ({"rules": [{"name": f"{k}", "who": "groups", "groups": [f"{n}" for n in range(9_999)]} for k in (1, 2, 3)]},
         "over 20000 groups"),
        ({"rules": [{"name": "a", "who": "everyone", "sessionLimitS": 59}]}, "sessionLimitS"),
        ({"rules": [{"name": "a", "who": "everyone", "hours": {"dated": [{"day": "2026-12-24"}] * 2}}]}, "twice"),
        ({"rules": [{"name": "a", "who": "everyone", "hours": {"week": [{"start_min": 1440}]}}]}, "start_min"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_sentence(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        read({**SAID, **change})


@pytest.mark.promise("S9")
@settings(max_examples=40)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda k: st.lists(k) | st.dictionaries(st.text(), k)))
def test_anything_else_is_refused_too_and_never_an_error(said: Any) -> None:
    with pytest.raises(Refused):
        read(said)
    assert restored(said) is None


# -- properties

SPANS = st.builds(
    Span, st.integers(0, 1439), st.integers(0, 1439), st.sampled_from([(), (0,), (5, 6), (0, 1, 2, 3, 4)])
)
GROUPS = st.sampled_from([(), ("a",), ("b",), ("a", "b"), ("b", "c")])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    rules = []
    for number in range(draw(st.integers(0, 4))):
        who = draw(st.sampled_from(list(Who)))
        groups = draw(GROUPS.filter(bool)) if who is Who.GROUPS else ()
        hours = draw(st.none() | st.builds(Hours, st.lists(SPANS, max_size=3).map(tuple)))
        rules.append(Rule(f"rule {number}", who, groups, hours))
    return Policy("p", 1, tuple(rules))


INSTANTS = st.integers(int(at_s(-200, 0)), int(at_s(200, 0))).map(float)


@given(policies(), GROUPS, st.booleans(), INSTANTS)
def test_what_is_allowed_until_then_is_allowed_until_then_and_by_that_rule(
    policy: Policy, groups: tuple[str, ...], is_connected: bool, now_s: float
) -> None:  # fmt: skip
    rules = ready(policy)
    match access(rules, groups, now_s, BERLIN, is_connected=is_connected):
        case Allowed(rule, until_s) as said:
            last_s = min(until_s or now_s + 9 * 86_400, now_s + 9 * 86_400) - 1
            for part in (0.3, 1.0):
                later = access(rules, groups, now_s + (last_s - now_s) * part, BERLIN, is_connected=is_connected)
                assert isinstance(later, Allowed), "a rule above it may have opened, but somebody's holds"
            if until_s is not None:
                then = access(rules, groups, until_s, BERLIN, is_connected=is_connected)
                assert then != said and (not isinstance(then, Allowed) or then.rule != rule)
        case Closed(_, opens_s) if opens_s is not None:
            assert opens_s > now_s
            assert isinstance(access(rules, groups, opens_s, BERLIN, is_connected=is_connected), Allowed)
            before = access(rules, groups, opens_s - 1, BERLIN, is_connected=is_connected)
            assert isinstance(before, Closed)
        case NotFor():
            assert not any(rule.who is Who.EVERYONE for rule in policy.rules)


@settings(max_examples=30)
@given(policies(), GROUPS, st.lists(INSTANTS, min_size=2, max_size=6))
def test_what_is_remembered_of_a_rule_changes_no_answer(
    policy: Policy, groups: tuple[str, ...], instants: list[float]
) -> None:
    rules = ready(policy)
    for now_s in [*instants, *(each + 3_600 for each in instants)]:
        for zone in (BERLIN, UTC):
            asked = access(rules, groups, now_s, zone, is_connected=True)
            assert asked == access(ready(policy), groups, now_s, zone, is_connected=True)
            assert opening(rules, now_s, zone) == opening(ready(policy), now_s, zone)


@given(policies(), GROUPS, INSTANTS)
def test_whoever_is_in_more_groups_may_never_do_less(policy: Policy, groups: tuple[str, ...], now_s: float) -> None:
    rules = ready(policy)
    fewer = access(rules, groups[:1], now_s, UTC, is_connected=True)
    more = access(rules, groups, now_s, UTC, is_connected=True)
    assert not isinstance(fewer, Allowed) or isinstance(more, Allowed)
