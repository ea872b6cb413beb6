"""What the station makes of its modem: said once when it comes, once when it has gone, and in words that fit."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agent import cellular
from agent.cellular import TROUBLES, UNTOLD, WEAK, bars, held, line, remembered, troubles, why_offline
from agent.events import Machine, Modem
from agent.modem.host import seen
from agent.modem.modem import Signal, Sim, State
from agent.modem.told import Warn, nothing

KNOWN = Modem(
    state="online", kind="LTE", generation="4g", operator="Telekom.de", rsrp_dbm=-97, rssi_dbm=-67, sim="ready",
    imei="869585031234560", iccid="8949020000012345675", imsi="262011234567890",
)  # fmt: skip


def modem(**what: Any) -> Modem:
    return replace(KNOWN, **what)


def test_its_words_are_those_of_the_modem() -> None:
    states = {state.value for state in State}
    assert states >= {*cellular.OF_STATE, *cellular.UNSURE, cellular.SEARCHING} and cellular.READY in set(Sim)
    assert TROUBLES.keys() >= Warn.__members__.keys() and TROUBLES.keys() >= {*WEAK, *UNTOLD, *cellular.TRYING}
    assert TROUBLES.keys() == Warn.__members__.keys() | set(cellular.OF_STATE.values())
    assert nothing(0.0).state.value in cellular.UNSURE


def test_a_card_that_is_missing_stays_missing_while_the_radio_is_off_and_on() -> None:
    told = held(modem(state="SIM missing", sim="missing"), frozenset())
    assert told == {"SIM_MISSING"}
    for state, sim in (("radio off", "unknown"), ("probing", "unknown"), ("absent", "unknown"), ("searching", "busy")):
        told = held(modem(state=state, sim=sim), told)
        assert told == {"SIM_MISSING"}, state
    assert held(modem(state="searching"), told) == frozenset(), "it is there again"


def test_a_denial_is_not_over_because_the_modem_tries_again() -> None:
    denied = held(modem(state="denied", warnings=("DENIED",)), frozenset())
    assert held(modem(state="searching"), denied) == {"DENIED"} and held(modem(), denied) == frozenset()


def test_what_the_broker_has_or_the_weather_is_no_record() -> None:
    assert held(modem(warnings=("BROKER", "SIGNAL")), frozenset()) == frozenset()


def test_people_are_told_why_it_is_offline_before_what_only_weakens_it() -> None:
    assert why_offline(modem(state="denied", warnings=("DENIED", "SIGNAL"))) == "DENIED"
    assert why_offline(modem(state="searching", warnings=("UPGRADE",))) == "SEARCHING"
    assert why_offline(modem(warnings=("SIGNAL", "UPGRADE"))) == "" and why_offline(Modem()) == ""
    assert troubles(modem(state="SIM missing", warnings=("UPGRADE", "SIGNAL"))) == ("SIM_MISSING", "UPGRADE", "SIGNAL")


@given(st.sampled_from(list(State)), st.sets(st.sampled_from(list(Warn))), st.sets(st.sampled_from(list(TROUBLES))))
def test_every_state_with_every_warning_has_its_words(state: State, warnings: set[Warn], before: set[str]) -> None:
    found = modem(state=state.value, warnings=tuple(sorted(each.name for each in warnings)))
    assert {each.name for each in warnings} <= set(troubles(found)) and why_offline(found) in {"", *TROUBLES}
    assert held(found, frozenset(before)) <= {*TROUBLES}


@pytest.mark.parametrize(("rsrp", "rssi", "shown"), [
    (-130, -60, 0), (-115, None, 1), (-97, -67, 3), (-80, None, 4), (None, -113, 0), (None, -95, 2), (None, None, None),
])  # fmt: skip
def test_bars_are_those_of_a_telephone(rsrp: int | None, rssi: int | None, shown: int | None) -> None:
    assert bars(modem(rsrp_dbm=rsrp, rssi_dbm=rssi)) == shown


def test_one_line_says_it_all_in_any_language() -> None:
    assert line(Machine(modem_type="LTE"), KNOWN) == "LTE, Telekom.de, 4G, -97 dBm"
    assert line(Machine(), Modem()) == "" and line(Machine(modem_type="GSM"), Modem()) == "GSM"


@given(st.recursive(st.none() | st.text(max_size=50) | st.integers(), lambda each: st.dictionaries(
    st.sampled_from(["modem_type", "imei", "iccid", "imsi", "x"]), each, max_size=4)))  # fmt: skip
def test_whatever_was_stored_a_start_makes_the_best_of_it(fact: object) -> None:
    machine = remembered(Machine(imei="1"), fact)
    assert all(isinstance(getattr(machine, name), str) for name in cellular.REMEMBERED)


def test_a_reading_that_moves_little_is_no_news() -> None:
    first = structs.replace(nothing(0.0), signal=Signal(rsrp_dbm=-97.0, rsrq_db=-9.5, rssi_dbm=-67.0))
    told = seen(first, Modem())
    near = structs.replace(first, signal=Signal(rsrp_dbm=-95.0, rsrq_db=-11.0, rssi_dbm=-69.0))
    far = structs.replace(first, signal=Signal(rsrp_dbm=-94.0, rsrq_db=-9.5, rssi_dbm=-67.0))
    assert seen(near, told) == told and seen(far, told).rsrp_dbm == -94
