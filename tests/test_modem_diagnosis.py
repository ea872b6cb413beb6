"""Why there is no connection: each cause is found at a modem that has it, by the keeper's facts."""

from pathlib import Path

import pytest
from msgspec import structs

from agent.modem.apn import Access
from agent.modem.diagnosis import CAUSES, Facts, Found, Reach, found
from agent.modem.keeper import Wishes
from agent.modem.modem import State
from agent.modem.told import Warn
from agent.sim.modem.personalities import ALL
from tests.modem_line import Beyond, Line

DOCS = Path(__file__).parents[1] / "docs" / "modem.md"
ONE_APN = Wishes(access=Access("internet"))


def diagnosed(line: Line) -> Found:
    return found(Facts(line.told(), line.keeper.is_acknowledged, line.beyond.reach(line.carries)))


@pytest.mark.parametrize(
    ("cause", "make", "scenario", "wishes", "beyond", "after_s"),
    [
        ("all is well", "eg25", "well", Wishes(), Beyond(), 60),
        ("no port", "eg25", "off", Wishes(), Beyond(), 20),
        ("it hangs", "lara", "hang", Wishes(), Beyond(), 90),
        ("no SIM", "eg25", "no-sim", Wishes(), Beyond(), 60),
        ("the SIM wants its PIN", "eg25", "sim-locked", Wishes(), Beyond(), 60),
        ("the SIM wants its PIN", "eg25", "sim-one-try", Wishes(pin="1234"), Beyond(), 90),
        ("the SIM wants its PUK", "eg25", "sim-puk", Wishes(), Beyond(), 60),
        ("the SIM is dead", "eg25", "sim-dead", Wishes(), Beyond(), 60),
        ("the network denies this SIM", "eg25", "denied", Wishes(), Beyond(), 60),
        ("the network denies this SIM", "eg25", "illegal", Wishes(), Beyond(), 60),
        ("no 3G is left here", "sim5320", "sunset", Wishes(), Beyond(), 90),
        ("no signal", "eg25", "no-coverage", Wishes(), Beyond(), 90),
        ("only a foreign network", "eg25", "roaming", Wishes(may_roam=False), Beyond(), 60),
        ("wrong access point", "eg25", "wrong-apn", ONE_APN, Beyond(), 120),
        ("no connection comes up", "eg25", "attach-fails", Wishes(), Beyond(), 120),
        ("no names (DNS)", "eg25", "dead-call", Wishes(), Beyond(), 90),
        ("on 3G", "eg25", "only-3g", Wishes(), Beyond(), 120),
        ("poor signal", "eg25", "weak", Wishes(), Beyond(), 120),
        ("the clock is wrong", "eg25", "well", Wishes(), Beyond(tls="not yet valid", clock="1970"), 60),
        ("no way to the broker (TCP)", "eg25", "well", Wishes(), Beyond(tcp="refused"), 60),
        ("no TLS", "eg25", "well", Wishes(), Beyond(tls="self-signed certificate"), 60),
        ("the broker refuses us", "eg25", "well", Wishes(), Beyond(broker="unknown certificate"), 60),
        ("the broker is silent", "eg25", "well", Wishes(), Beyond(is_mute=True), 60),
    ],
)
def test_each_trouble_has_one_cause(
    cause: str, make: str, scenario: str, wishes: Wishes, beyond: Beyond, after_s: float
) -> None:
    is_there_before = scenario in ("wrong-apn", "attach-fails", "dead-call", "hang")
    line = Line(ALL[make], "well" if is_there_before else scenario, wishes=wishes, beyond=beyond,
        cold=scenario if is_there_before else "")
    result = diagnosed(line.run(after_s))
    assert result.cause == cause, (line.told().beneath, result)
    assert result.evidence and result.is_well is (cause == "all is well")


def test_a_modem_that_has_just_come_is_not_called_broken() -> None:
    line = Line(ALL["eg25"])
    while line.told().beneath is State.ABSENT:
        line.run(0.2)
    assert diagnosed(line).cause == "it is starting"


def test_what_no_simulated_modem_does_has_its_cause_too() -> None:
    told = Line(ALL["eg25"]).run(60.0).told()
    for cause, beneath, what in (
        ("radio off", State.RADIO_OFF, {}),
        ("SIM or modem is locked to another operator", State.SIM_LOCKED, {"warnings": {Warn.LOCKED_TO}}),
        ("the SIM wants its PIN", State.SIM_LOCKED, {}),
        ("not registered", State.SEARCHING, {}),
        ("no PPP in this system", State.ATTACHED, {"warnings": {Warn.SYSTEM}}),
    ):
        facts = Facts(structs.replace(told, beneath=beneath, **what))
        assert found(facts).cause == cause
    assert {row.cause for row in CAUSES} >= {"radio off", "not registered"}


def test_what_lies_behind_a_fault_is_not_blamed() -> None:
    """Names that are not found say nothing while there is no bearer; nor does the clock while the broker answers."""
    told = Line(ALL["eg25"]).run(60.0).told()
    bad = Reach(dns="no address", tcp="refused", tls="no", broker="no", clock="1970")
    assert found(Facts(structs.replace(told, beneath=State.SIM_MISSING), False, bad)).cause == "no SIM"
    assert found(Facts(told, True, bad)).is_well
    assert found(Facts(told, False, bad)).cause == "the clock is wrong"
    assert found(Facts(told, False, structs.replace(bad, clock=""))).cause == "no names (DNS)"
    all_works = Reach(dns="", tcp="", tls="", broker="", clock="1970")
    assert found(Facts(told, False, all_works)).cause == "the broker is silent"


@pytest.mark.parametrize("beneath", State)
@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_there_is_always_one_cause(beneath: State, is_acknowledged: bool) -> None:
    told = structs.replace(Line(ALL["eg25"]).told(), beneath=beneath)
    assert found(Facts(told, is_acknowledged)).cause


def test_the_docs_have_the_same_table() -> None:
    text = DOCS.read_text()
    for number, row in enumerate(CAUSES, 1):
        assert f"| {number} | {row.cause} | {row.looks_at} | {row.next or '-'} |" in text, row.cause
