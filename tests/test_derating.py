"""Heat limits a port: the cloud hears of it as of any limit that is not its own, when it matters."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.derating import SIGNIFICANT_PERCENT
from agent.events import ControllerLost
from agent.port import NOISE_DC, derated_ma
from agent.settings import Settings
from tests.play import Json, Play


def told(play: Play) -> list[tuple[int, float | None]]:
    """evseId and A of each limit; None: it is cleared."""
    found: list[tuple[int, float | None]] = []
    for record in play.records:
        match record.action, record.payload:
            case "NotifyChargingLimit", {"evseId": evse_id, "chargingSchedule": [dict(schedule)]}:
                found.append((evse_id, limit_of(schedule)))
            case "ClearedChargingLimit", {"evseId": evse_id}:
                found.append((evse_id, None))
    return found


def limit_of(schedule: Json) -> Any:
    (period,) = schedule["chargingSchedulePeriod"]
    return period["limit"]


def at(play: Play, *temperatures_dc: int) -> Play:
    for temperature_dc in temperatures_dc:
        play.after(1).see(2, temperature_dc=temperature_dc)
    return play


def test_a_port_that_grows_warm_tells_its_limit_and_when_it_is_over() -> None:
    play = at(Play(), 400, 649, 650, 660)
    assert told(play) == [], "5 percent less is not worth a word"
    assert told(at(play, 700)) == [(2, 23.0)]
    assert told(at(play, 800)) == [(2, 23.0), (2, 0.0)]
    assert told(at(play, 700, 400)) == [(2, 23.0), (2, 0.0), (2, 21.0), (2, None)]


def test_the_noise_of_a_sensor_is_no_news_wherever_it_is() -> None:
    for first in range(640, 810, 8):
        play = at(Play(), first + 5)
        said = len(told(play))
        at(play, *[first, first + 5, first + 9] * 5)
        assert len(told(play)) <= said + 1, first


def test_a_port_whose_controller_is_silent_keeps_what_was_told() -> None:
    play = at(Play(), 700)
    assert told(play.on(ControllerLost("cut")).after(600)) == [(2, 23.0)]


@settings(max_examples=15)
@given(st.lists(st.integers(500, 900), max_size=12), st.sampled_from([6_000, 10_000, 32_000]))
def test_what_was_told_is_never_far_from_what_holds(temperatures_dc: list[int], limit_ma: int) -> None:
    play = Play(Settings(port_limit_ma=limit_ma))
    for temperature_dc in temperatures_dc:
        at(play, temperature_dc)
        last = told(play)[-1][1] if told(play) else None
        told_ma = limit_ma if last is None else round(last * 1_000)
        least, most = (derated_ma(temperature_dc + more, play.station.settings) for more in (NOISE_DC, 0))
        room = SIGNIFICANT_PERCENT / 100 * told_ma
        assert least - room <= told_ma <= most + room
