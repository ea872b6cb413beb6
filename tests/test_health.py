"""When a build on trial is found healthy, and when it is taken back; and what the agent writes about itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import ControllerLost, Link, LinkChanged
from agent.update.bootstate import Trial
from agent.update.health import (
    FRESH_S,
    OFFLINE_GRACE_S,
    PATIENCE_S,
    SETTLED_S,
    Facts,
    Verdict,
    dump,
    load,
    verdict,
)
from agent.vitals import EVERY_S, NAME, Vitals
from tests.play import ANN, Play

BOOT = "boot"
TRIAL = Trial("b", was_online=True, tries=2, boot_id=BOOT, since_s=100.0)
HEALTHY = Verdict(is_healthy=True)


def facts(now_s: float, **what: object) -> Facts:
    well = Facts(101.0, now_s, controller=True, meter=True, store=True, broker=True, has_session=False)
    return replace(well, **what)  # type: ignore[arg-type]


# -- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_what_is_well_and_stays_up_is_confirmed_after_a_minute() -> None:
    settled_s = 101.0 + SETTLED_S
    assert verdict(facts(settled_s - 1.0), TRIAL, BOOT, settled_s - 1.0) is None
    assert verdict(facts(settled_s), TRIAL, BOOT, settled_s) == HEALTHY


LACKS = {
    "controller": "the controller is not heard",
    "meter": "a meter's readings cannot be",
    "store": "the database takes no records",
    "broker": "the broker is not reached",
}


@pytest.mark.promise("S8")
@pytest.mark.parametrize("lack", LACKS)
def test_what_is_not_well_after_ten_minutes_is_taken_back_and_the_reason_is_told(lack: str) -> None:
    end_s = TRIAL.since_s + PATIENCE_S
    assert verdict(facts(end_s - 1.0, **{lack: False}), TRIAL, BOOT, end_s - 1.0) is None
    found = verdict(facts(end_s, **{lack: False}), TRIAL, BOOT, end_s)
    assert found and not found.is_healthy and found.reason.startswith(LACKS[lack])


@pytest.mark.promise("S8")
def test_an_agent_that_dies_again_and_again_or_hangs_is_not_well() -> None:
    for now_s in range(100, 1_000, 7):
        dying = facts(now_s, began_s=now_s - SETTLED_S / 2)
        hanging = facts(now_s - FRESH_S - 1.0)
        before = facts(now_s, began_s=TRIAL.since_s - 1.0)  # of the build before
        for found in (None, dying, hanging, before):
            said = verdict(found, TRIAL, BOOT, now_s)
            assert (said is None) == (now_s < TRIAL.since_s + PATIENCE_S) and said != HEALTHY


@pytest.mark.promise("S8")
def test_where_the_build_before_had_no_broker_this_one_may_be_without_it_for_a_quarter_hour() -> None:
    offline, end_s = replace(TRIAL, was_online=False), TRIAL.since_s + OFFLINE_GRACE_S
    for now_s in (TRIAL.since_s + PATIENCE_S, end_s - 1.0):
        assert verdict(facts(now_s, broker=False), offline, BOOT, now_s) is None
    assert verdict(facts(end_s, broker=False), offline, BOOT, end_s) == HEALTHY
    said = verdict(facts(end_s, broker=False, controller=False), offline, BOOT, end_s)
    assert said and not said.is_healthy, "all else must be well"


def test_a_trial_that_has_not_been_started_in_this_boot_is_not_judged() -> None:
    assert verdict(None, replace(TRIAL, boot_id="another"), BOOT, 1e6) is None


# -- its bytes --------------------------------------------------------------------------------------------------------


def test_facts_come_back_as_they_were_written() -> None:
    for each in (facts(5.0), facts(5.0, contract=(1, 2, 3), schema=4, has_session=True)):
        assert load(dump(each)) == each


def test_an_agent_of_another_version_may_say_more_or_less() -> None:
    assert load(b'{"began_s": 1, "at_s": 2, "mood": "fine"}') == Facts(1.0, 2.0, has_session=True), "nothing is assumed"


@pytest.mark.promise("S9")
@settings(max_examples=50)
@given(st.binary(max_size=60) | st.dictionaries(
    st.sampled_from([*Facts.__slots__, "x"]), st.none() | st.booleans() | st.integers() | st.text() | st.floats()
).map(lambda table: json.dumps(table).encode()))  # fmt: skip
def test_whatever_stands_in_the_file_is_facts_or_nothing(data: bytes) -> None:
    found = load(data)
    assert found is None or load(dump(found)) == found


# -- the agent's side -------------------------------------------------------------------------------------------------


def told(folder: Path) -> Facts:
    found = load((folder / NAME).read_bytes())
    assert found
    return found


def test_the_agent_tells_what_stands_in_the_file(tmp_path: Path) -> None:
    play, said = Play(), list[str]()
    vitals = Vitals(tmp_path, 3, lambda: (1, 2, 2), said.append, 0.0)
    vitals.due(play.station, 0.0)
    assert told(tmp_path) == Facts(0.0, 0.0, True, True, True, False, False, 3, (1, 2, 2))
    play.on(LinkChanged(Link.UP)).on(LinkChanged(Link.DOWN))
    vitals.due(replace(play.station, link=Link.UP), 1.0)
    assert not told(tmp_path).broker and vitals.next_deadline() == EVERY_S, "not with every turn"
    play.plug(1).tap(ANN)
    vitals.due(play.station, EVERY_S)
    assert told(tmp_path).broker and told(tmp_path).has_session and told(tmp_path).at_s == EVERY_S
    play.on(ControllerLost("the line is gone"))
    vitals.due(play.station, 2 * EVERY_S)
    assert not told(tmp_path).controller and not told(tmp_path).meter
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640 and not said


@pytest.mark.promise("S8")
def test_that_somebody_charges_is_told_at_once(tmp_path: Path) -> None:
    """Or a build of minutes would be sent first, and then refused."""
    play = Play()
    vitals = Vitals(tmp_path, 3, lambda: None, lambda _: None, 0.0)
    vitals.due(play.station, 0.0)
    vitals.due(play.plug(1).tap(ANN).station, 0.1)
    assert told(tmp_path).has_session and told(tmp_path).at_s == 0.1
    vitals.due(play.station, 0.2)
    assert told(tmp_path).at_s == 0.1, "and once"
    vitals.due(Play().station, 0.3)
    assert not told(tmp_path).has_session


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    said = list[str]()
    vitals = Vitals(tmp_path / "nowhere", 0, lambda: None, said.append, 0.0)
    for turn in range(5):
        vitals.due(Play().station, turn * EVERY_S)
    assert len(said) == 1 and "cannot be written" in said[0]


def test_facts_that_are_longer_than_any_of_ours_are_not_read() -> None:
    data = dump(Facts(1.0, 2.0))
    assert load(data.ljust(4_096)) == Facts(1.0, 2.0)
    assert load(data.ljust(4_097)) is None
