"""The demo is what strangers see first: it comes true on real processes, and a story that does not says where."""

import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.app import RESTART
from agent.policy.id_token import masked
from agent.sim.demo import STATION_ID, Demo
from agent.sim.interpreter import RealController, missing
from agent.sim.modem.personalities import EG25
from agent.sim.scenario import CONDITIONS, DEMO, VERBS, StoryError, parse, play
from tests.process import until
from tools import devcloud

REAL = pytest.param("mosquitto", True, marks=pytest.mark.needs("mosquitto", "mosquitto"))


@pytest.mark.promise("S1", "S2", "S3", "S7")
@pytest.mark.parametrize(
    ("broker", "real"),
    [REAL, pytest.param("own", True, marks=pytest.mark.long), pytest.param("own", False, marks=pytest.mark.long)],
)
def test_the_demo_comes_true_on_either_broker_and_its_ledger_equals_the_meters(
    tmp_path: Path, broker: str, real: bool
) -> None:
    told: list[str] = []
    agent_log = tmp_path / "agent.log"
    demo = Demo(tmp_path, told.append, broker, real=real and not missing())
    try:
        demo.start()
        assert isinstance(demo.box.controller, RealController) == (real and not missing())
        play(DEMO, demo)
        assert len(demo.sessions()) == 3 and demo.is_equal()
        until(lambda: f"modem: {masked(EG25.imei)}" in agent_log.read_text(), 60)  # it is asked between other things
    except StoryError as error:
        logs = [path.read_text() for path in sorted(tmp_path.glob("*.log"))]
        pytest.fail("\n".join((*told, str(error), *logs)), pytrace=False)
    finally:
        demo.close()
    assert "Traceback" not in agent_log.read_text() and EG25.imei not in agent_log.read_text()


# -- the language -----------------------------------------------------------------------------------------------------


class Stage:
    """Takes every verb; nothing ever comes true."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return lambda *args: self.heard.append((verb, *args))

    def holds(self, condition: str, args: tuple[str, ...]) -> bool:
        return False

    def until(self, what: Callable[[], bool], timeout_s: float) -> bool:
        return what()


def test_a_step_reaches_the_stage_as_it_was_written() -> None:
    stage = Stage()
    play("say Hello  # all\n\nplug 2 need_wh=500 # a small car\ntap ann\ntap 04AA\nwait 0.5\ncut broker", stage)
    assert stage.heard == [
        ("say", "Hello # all"), ("plug", 2, 500, "normal"), ("tap", "04A1B2C3D4E5F6"), ("tap", "04AA"), ("wait", 0.5),
        ("cut", "broker"),
    ]  # fmt: skip


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("story", "sentence"),
    [
        ("plug 1\nexpect charging 1\ntap ann", "line 2: expected charging 1 within 30 s, and it was not so"),
        ("plug 1\n\njump 1", "line 3: no verb 'jump'"),
        ("expect happiness", "line 1: expect one of free, charging"),
        ("expect", "line 1: expect one of free, charging"),
        ("# one\nplug one", r"line 2: plug wants PORT \[need_wh=N\]"),
        ("plug 1 need_wh", "line 1: plug wants PORT"),
        ("tap", "line 1: tap wants NAME"),
        ("wait long", "line 1: wait wants SECONDS"),
        ("stop please", r"line 1: stop wants on \| off"),
        ("fault leak", "line 1: fault wants WHAT PORT"),
        ("heat 1 warm", "line 1: heat wants PORT CELSIUS"),
    ],
)
def test_a_story_that_is_wrong_or_not_true_fails_with_its_line(story: str, sentence: str) -> None:
    with pytest.raises(StoryError, match=sentence):
        play(story, Stage())


def test_what_breaks_and_is_mended_reaches_the_stage_too() -> None:
    stage = Stage()
    play("plug 1 car=diode\nfault leak 1\nheal leak 1\nstop on\nstop off\nheat 2 85\nclock dead", stage)
    assert stage.heard == [
        ("plug", 1, 20_000, "diode"), ("fault", "leak", 1), ("heal", "leak", 1), ("stop", True), ("stop", False),
        ("heat", 2, 85.0), ("clock", "dead"),
    ]  # fmt: skip


def test_a_story_with_a_wrong_word_is_refused_before_its_first_step() -> None:
    stage = Stage()
    with pytest.raises(StoryError):
        play("plug 1\njump 1", stage)
    assert stage.heard == []


ARGUMENTS = "1 0 -1 need_wh=1 need_wh=x = ann # 9e999 nan".split()
WORDS = st.sampled_from([*VERBS, *CONDITIONS, *ARGUMENTS])
LINES = st.lists(WORDS | st.text(string.printable, max_size=8)).map(" ".join)


@pytest.mark.promise("S9")
@given(st.lists(LINES).map("\n".join) | st.text())
def test_any_text_parses_or_raises_a_story_error(story: str) -> None:
    try:
        steps = list(parse(story))
    except StoryError as error:
        assert str(error).startswith("line ")
    else:
        assert all(step.verb in VERBS for step in steps)
        assert [step.line for step in steps] == sorted({step.line for step in steps})
        again = list(parse("\n".join(map(str, steps))))
        assert [(step.verb, step.args) for step in again] == [(step.verb, step.args) for step in steps]


@pytest.mark.promise("S9")
@given(st.lists(LINES).map("\n".join))
def test_any_story_is_played_or_fails_with_its_line(story: str) -> None:
    try:
        play(story, Stage())
    except StoryError as error:
        assert str(error).startswith("line ")


@pytest.mark.needs("mosquitto", "mosquitto")
@pytest.mark.promise("S2")
def test_a_real_agent_that_is_reset_from_afar_ends_and_its_next_run_says_so(tmp_path: Path) -> None:
    demo = Demo(tmp_path, lambda _: None, real=not missing())
    try:
        demo.start()
        assert demo.until(lambda: demo.holds("online", ()), 20)
        orders = devcloud.Ledger(tmp_path / "cloud.db").commands
        expires_ms = devcloud.clock_ms() + 60_000
        reset = orders.add(STATION_ID, "Reset", {"type": "Immediate"}, expires_ms)
        assert demo._agent
        assert demo._agent.wait(20) == RESTART
        demo.revive()
        assert demo.until(lambda: orders.result(reset)[0] == "Done", 20)
        report = {"requestId": 1, "reportBase": "FullInventory"}
        asked = orders.add(STATION_ID, "GetBaseReport", report, expires_ms)
        reason = {"component": {"name": "ChargingStation"}, "variable": {"name": "BootReason"}}
        why = orders.add(STATION_ID, "GetVariables", {"getVariableData": [reason]}, expires_ms)
        assert demo.until(lambda: orders.result(why)[0] == orders.result(asked)[0] == "Done", 20)
        result = orders.result(why)[1]
        assert result and result["response"]["getVariableResult"][0]["attributeValue"] == "RemoteReset"
    finally:
        demo.close()
    assert "Traceback" not in (tmp_path / "agent.log").read_text()
