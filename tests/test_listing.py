"""When a station asks for word about its allowlist, and when it says that it has grown old."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import ClockSource
from agent.events import ClockTold, Link, LinkChanged, ListChanged, ListState, Registered, Registration
from agent.listing import AGAIN_S, EVERY_S, PLACES_S, place_s
from agent.policy.freshness import ALARM_S, DAY_S, WARNING_S
from agent.settings import Settings
from tests.play import WALL_S, Play

HOUR_S = 3_600.0


def has(synced_s: float | None = WALL_S, version: int = 7) -> ListChanged:
    return ListChanged(ListState(version, 100, synced_s, 3, "ab" * 32))


def connected(play: Play) -> Play:
    return play.on(LinkChanged(Link.UP)).on(Registered(Registration.ACCEPTED))


def lost(play: Play) -> Play:
    return play.on(LinkChanged(Link.DOWN))


@pytest.fixture
def listed() -> Play:
    """A station that has had a list since before its start."""
    return Play(Settings(station_id="S-0001")).on(has())


def freshness(play: Play) -> list[tuple[str, Any]]:
    """What was said of it: the value, and its severity, or None when it has cleared."""
    said = [event for payload in play.payloads("NotifyEvent") for event in payload["eventData"]]
    found = [event for event in said if event["variable"]["name"] == "Freshness"]
    assert all(event["component"]["name"] == "LocalAuthListCtrlr" for event in found)
    assert all(event.get("cleared", False) is ("severity" not in event) for event in found)
    return [(event["actualValue"], event.get("severity")) for event in found]


# -- the question -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("S5")
def test_after_a_connection_it_asks_once_at_its_own_place_in_the_first_minute(listed: Play) -> None:
    connected(listed.after(5.0)).after(PLACES_S)
    assert listed.list_asked_at == [5.0 + place_s("S-0001")]


def test_without_a_list_it_asks_at_once() -> None:
    play = Play().on(ListChanged(ListState())).after(5.0)
    assert connected(play).list_asked_at == [5.0]
    lost(play.after(60.0))
    assert connected(play.after(60.0)).list_asked_at == [5.0, 125.0], "and again, until it has one"


def test_a_question_without_an_answer_is_asked_again_after_an_hour(listed: Play) -> None:
    connected(listed).after(3 * HOUR_S)
    first = place_s("S-0001")
    assert listed.list_asked_at == [first, first + AGAIN_S, first + 2 * AGAIN_S]


@pytest.mark.promise("S5")
def test_it_asks_again_eight_hours_after_it_was_told(listed: Play) -> None:
    connected(listed).after(PLACES_S).on(has()).after(EVERY_S - 1.0)
    assert len(listed.list_asked_at) == 1
    listed.after(1.0)
    assert len(listed.list_asked_at) == 2


def test_a_link_that_comes_and_goes_is_no_reason_to_ask_each_time(listed: Play) -> None:
    for _ in range(24 * 6):
        lost(connected(listed).after(300.0)).after(300.0)
    assert 1 <= len(listed.list_asked_at) <= 24


@pytest.mark.parametrize("status", [Registration.PENDING, Registration.REJECTED])
def test_it_does_not_ask_where_nobody_listens(listed: Play, status: Registration) -> None:
    listed.after(2 * HOUR_S).on(LinkChanged(Link.UP)).on(Registered(status)).after(2 * HOUR_S)
    listed.on(LinkChanged(Link.DOUBT)).on(Registered(Registration.ACCEPTED)).after(2 * HOUR_S)
    assert listed.list_asked_at == []


def test_of_ten_thousand_stations_no_second_of_the_minute_has_much_more_than_its_share() -> None:
    seconds = [int(place_s(f"S-{i:05d}")) for i in range(10_000)]
    assert max(seconds.count(second) for second in range(60)) < 220, "167 each would be even"


# -- its age ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S5")
def test_a_list_without_word_is_warned_of_at_20_h_and_alarmed_at_24_h_and_lapses_after_a_week(listed: Play) -> None:
    listed.after(WARNING_S - 1.0)
    assert freshness(listed) == []
    listed.after(2.0)
    assert freshness(listed) == [("Late", 6)]
    assert freshness(listed.after(4 * HOUR_S)) == [("Late", 6), ("Old", 5)]
    assert freshness(listed.after(6 * DAY_S)) == [("Late", 6), ("Old", 5), ("Lapsed", 4)]
    listed.on(has(WALL_S + 7 * DAY_S))
    assert freshness(listed)[-1] == ("Fresh", None)


def test_with_grace_for_ever_it_never_lapses() -> None:
    play = Play(Settings(list_grace_days=0)).on(has()).after(400 * DAY_S)
    assert freshness(play) == [("Late", 6), ("Old", 5)]


def test_while_nobody_knows_the_time_no_list_is_old() -> None:
    play = Play(wall_s=None).on(has(WALL_S + 29 * DAY_S)).after(30 * DAY_S)
    assert freshness(play) == []
    play.on(ClockTold(WALL_S + 30 * DAY_S + 1.0, ClockSource.NTP))
    assert freshness(play) == [("Old", 5)]
    play.on(ClockTold(WALL_S + 29 * DAY_S + 60.0, ClockSource.CLOUD))
    assert freshness(play) == [("Old", 5), ("Fresh", None)], "the time was wrong"


def test_where_there_is_no_list_nothing_is_old() -> None:
    assert freshness(Play().on(ListChanged(ListState())).after(30 * DAY_S)) == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("after"), st.floats(0, 3 * DAY_S)),
        st.tuples(st.just("told"), st.floats(-DAY_S, 0)),
        st.tuples(st.just("link"), st.sampled_from(list(Link))),
        st.tuples(st.just("clock"), st.floats(-3 * DAY_S, 3 * DAY_S)),
    ),
    max_size=30,
)


@given(steps, st.integers(0, 9))
def test_whatever_happens_what_is_said_of_its_age_is_what_it_is(story: list[tuple[str, Any]], days: int) -> None:
    """`Play.at` fails on a deadline that is due again at once."""
    play = connected(Play(Settings(list_grace_days=days)).on(has()))
    for what, value in story:
        match what:
            case "after":
                play.after(value)
            case "told":
                play.on(has(WALL_S + play.now + value))
            case "link":
                play.on(LinkChanged(value))
            case "clock":
                play.on(ClockTold(WALL_S + play.now + value, ClockSource.CLOUD))
        state, clock = play.station.allowlist, play.station.clock
        assert state.synced_s is not None
        age_s = clock.wall_s + play.now - clock.wall_at - state.synced_s
        said = (freshness(play) or [("Fresh", None)])[-1][0]
        if all(abs(age_s - limit_s) > 2.0 for limit_s in (WARNING_S, ALARM_S, days * DAY_S)):
            expected = "Fresh" if age_s < WARNING_S else "Late" if age_s < ALARM_S else "Old"
            assert said == ("Lapsed" if days and age_s >= days * DAY_S else expected)
