"""The lights: what each looks like, second by second, and one code for one trouble wherever it is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agent.events import CardTapped, Link, PartTold
from agent.faults import FAULTS, Fault, Mender, code, mender
from agent.hal.controller import light_row
from agent.policy.reasons import WORDS, Reason
from agent.reporting import log_lines, refusal
from agent.selftest import Result, is_error
from agent.station import Notice, Station
from agent.ui.led import PATTERNS, Colour, Light, is_lit
from agent.ui.pages import LIGHTS
from agent.ui.situation import BARS, Situation
from agent.ui.view import screen
from board.controller import contract
from board.controller.app import light
from tests.play import Play
from tests.test_view import CHARGING, FREE, NOW, PLUGGED, SITUATIONS, station, stations

GOLDEN = Path(__file__).parent / "golden" / "lights.txt"
CODES = Path(__file__).parent.parent / "docs" / "codes.md"
TENTHS = 100


def picture() -> str:
    """Ten seconds of every light, a sign for each tenth, a space after each second."""
    lines = []
    for name, pattern in PATTERNS.items():
        signs = "".join("█" if is_lit(pattern, tenth / 10 + 0.05) else "·" for tenth in range(TENTHS))
        seconds = " ".join(signs[i : i + 10] for i in range(0, TENTHS, 10))
        lines.append(f"{name:16}{pattern.colour:8}{seconds}")
    return "\n".join(lines) + "\n"


@pytest.mark.promise("S7")
def test_every_light_looks_as_it_did() -> None:
    """If it shall look otherwise: correct the picture by hand, then look at it as somebody who sees no colour."""
    assert picture() == GOLDEN.read_text()


@pytest.mark.promise("S7")
def test_in_ten_seconds_each_picture_is_another() -> None:
    drawn = [line[24:] for line in picture().splitlines()]
    assert len(set(drawn)) == len(drawn) == len(Light)
    duty = {line[:16].strip(): line.count("█") for line in picture().splitlines()}
    assert min(duty.values()) >= 10, "a light that is mostly dark says nothing from afar"


def test_the_controller_plays_every_light_as_linux_does() -> None:
    for pattern in PATTERNS.values():
        colours, rhythm = light_row(pattern)
        assert colours and 0 <= rhythm < 1 << 30
        for tenth in range(3 * TENTHS):
            assert light.is_lit(rhythm, tenth * 100 + 50) == is_lit(pattern, tenth / 10 + 0.05)
    assert (contract.RED | contract.GREEN | contract.BLUE, light_row(PATTERNS[Light.STARTING])[1]) == light.STARTING
    assert light_row(PATTERNS[Light.OUT_OF_SERVICE]) == light.OUT_OF_SERVICE


def test_colour_helps_red_is_a_refusal_or_a_fault_and_green_is_yours_to_take() -> None:
    reds = {each for each, pattern in PATTERNS.items() if pattern.colour is Colour.RED}
    faults = {Light.FAULT, Light.FAULT_UNPLUG, Light.FAULT_WAITS, Light.EMERGENCY_STOP}
    assert reds == faults | {Light.REFUSED, Light.OUT_OF_SERVICE}
    greens = {each for each, pattern in PATTERNS.items() if pattern.colour is Colour.GREEN}
    assert greens == {Light.AVAILABLE, Light.UNREACHABLE, Light.ENDED}


def test_a_light_has_one_meaning_and_a_meaning_one_light() -> None:
    assert LIGHTS.keys() == PATTERNS.keys() and len(set(LIGHTS.values())) == len(LIGHTS)


def lit(of: Station) -> Light:
    return screen(of, NOW).ports[0].led


@pytest.mark.parametrize(
    ("situation", "light"),
    [
        (Situation.STARTING, Light.STARTING), (Situation.RESTARTING, Light.STARTING),
        (Situation.AVAILABLE, Light.AVAILABLE), (Situation.TAP_CARD, Light.PLUGGED),
        (Situation.CHARGING, Light.CHARGING), (Situation.PAUSED_BY_CAR, Light.SUSPENDED),
        (Situation.RESERVED, Light.RESERVED), (Situation.UPDATING, Light.UPDATING),
        (Situation.NOT_ACTIVATED, Light.NOT_ACTIVATED), (Situation.PLAN_ENDED, Light.OUT_OF_SERVICE),
    ],
)  # fmt: skip
def test_what_a_light_says_of_a_situation(situation: Situation, light: Light) -> None:
    assert lit(SITUATIONS[situation]) is light


def test_a_free_port_without_the_network_is_free_and_says_so() -> None:
    assert lit(station(FREE, link=Link.DOWN)) is Light.UNREACHABLE
    assert lit(station(FREE, link=Link.DOUBT)) is Light.AVAILABLE
    assert lit(station(CHARGING, link=Link.DOWN)) is Light.CHARGING


@pytest.mark.parametrize(
    ("fault", "light"),
    [
        (Fault.GROUND_FAULT, Light.FAULT_WAITS), (Fault.GROUND_FAULT_HALTED, Light.FAULT_UNPLUG),
        (Fault.CONTACTOR_WELDED, Light.FAULT), (Fault.METER_FAULT, Light.FAULT),
        (Fault.EMERGENCY_STOP, Light.EMERGENCY_STOP), (Fault.CONTROLLER_LOST, Light.FAULT_WAITS),
    ],
)  # fmt: skip
def test_a_faults_light_says_who_ends_it(fault: Fault, light: Light) -> None:
    assert lit(station(replace(FREE, latched=frozenset({fault})))) is light


def test_of_several_faults_the_most_urgent_speaks_in_light_text_and_code() -> None:
    found = frozenset({Fault.GROUND_FAULT, Fault.DIODE_FAULT, Fault.CONTACTOR_WELDED})
    model = screen(station(replace(PLUGGED, latched=found)), NOW).ports[0]
    assert (model.led, model.text, model.code) == (Light.FAULT, FAULTS[Fault.CONTACTOR_WELDED].text, "CX017")
    model = screen(station(replace(PLUGGED, latched=found | {Fault.EMERGENCY_STOP})), NOW).ports[0]
    assert (model.led, model.code) == (Light.EMERGENCY_STOP, "CX008")


# -- one code ---------------------------------------------------------------------------------------------------------


def logged(play: Play) -> list[str]:
    """What stands in the log of this station, by code."""
    return [line for record in play.records for line in log_lines(record)]


def events(play: Play) -> list[dict[str, Any]]:
    return [event for payload in play.payloads("NotifyEvent") for event in payload["eventData"] if "techCode" in event]


@pytest.mark.promise("S7")
@pytest.mark.parametrize("fault", [each for each in Fault if each is not Fault.CONTROLLER_LOST])
def test_a_fault_has_one_code_on_the_screen_in_the_log_and_at_the_cloud(fault: Fault) -> None:
    play = Play().see(1, faults=frozenset({fault}))
    model = screen(play.station, play.now)
    port = model.ports[0]
    assert {port.code, *(f.code for f in port.faults), *(m.code for m in model.messages)} == {code(fault)}
    (event,) = [each for each in events(play) if each["actualValue"] == fault]
    assert event["techCode"] == code(fault)
    assert f"{code(fault)} Connector 1: {fault}" in logged(play)
    play.see(1, faults=frozenset()).unplug(1).see(1)
    if mender(fault) is not Mender.SERVICE:
        assert f"{code(fault)} Connector 1: {fault}, cleared" in logged(play)
        assert screen(play.station, play.now).ports[0].code == ""


@pytest.mark.promise("S7")
@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_has_one_code_on_the_screen_in_the_log_and_at_the_cloud(reason: Reason) -> None:
    play = Play()
    before = play.station
    play.station = replace(before, notices=(Notice(1, reason, play.now + 8),))
    shown = screen(play.station, play.now).ports[0].notice
    record = refusal(play.station, play.station.notices[0], play.now)
    (line,) = log_lines(record)
    assert shown and shown.code == WORDS[reason].code == record.payload["eventData"][0]["techCode"] == line.split()[0]


def test_a_tapped_card_that_is_refused_is_in_the_log_without_its_number() -> None:
    play = Play().plug(1).on(CardTapped("04FFEE11223344")).after(30)
    refused = [line for line in logged(play) if line.startswith("A0")]
    assert refused and not any("04FFEE11223344" in line for line in refused)


def test_a_part_of_the_station_that_fails_has_one_code_too() -> None:
    play = Play().on(PartTold("Display", "Nothing is drawn.", "Restart it.", "display"))
    (message,) = screen(play.station, play.now).messages
    assert message.code == "display" and "display Display: Nothing is drawn." in logged(play)


CLOSED = [Situation.CANNOT_RECORD, Situation.OUT_OF_SERVICE, *sorted(set(BARS.values()))]


@pytest.mark.parametrize("at", CLOSED)
def test_a_state_in_which_every_card_is_refused_shows_that_refusals_code(at: Situation) -> None:
    codes = {words.code for words in WORDS.values()}
    assert screen(SITUATIONS[at], NOW).ports[0].code in codes


def test_who_can_charge_is_shown_no_code() -> None:
    for at in (Situation.AVAILABLE, Situation.CHARGING, Situation.TAP_CARD, Situation.ENDED, Situation.PAUSED_BY_CAR):
        assert screen(SITUATIONS[at], NOW).ports[0].code == ""


def rows() -> list[str]:
    """The table of docs/codes.md: every code of the two tables, with its light and its words."""
    refusals = sorted((each.code, Light(each.led), each.text, each.action) for each in WORDS.values())
    faults = sorted((code(each), lit(station(replace(FREE, latched=frozenset({each})))), row.text, row.fix)
                    for each, row in FAULTS.items())  # fmt: skip
    return [f"| {name} | {light} | {text} | {do} |" for name, light, text, do in (*refusals, *faults)]


def test_the_page_of_codes_lists_every_code_with_its_light_and_its_words() -> None:
    _, table = CODES.read_text().split("|---|---|---|---|\n")
    assert table.splitlines() == rows()


# -- the error LED ----------------------------------------------------------------------------------------------------


@given(stations, st.floats(0, 2 * NOW))
def test_the_error_led_is_lit_exactly_while_a_message_stands(station: Station, now: float) -> None:
    model = screen(station, now)
    assert is_error(station, now) == model.error_led == bool(model.messages)
    assert model.error_led == any(part.result is Result.FAILED for part in model.self_test)


def test_nothing_that_a_driver_does_lights_the_error_led() -> None:
    for at in (Situation.AVAILABLE, Situation.CHARGING, Situation.TAP_CARD, Situation.CLOSED, Situation.NOT_ACTIVATED):
        assert not screen(SITUATIONS[at], NOW).error_led
    for at in (Situation.FAULT, Situation.CANNOT_RECORD):
        assert screen(SITUATIONS[at], NOW).error_led


def test_a_part_that_is_mended_puts_it_out_again() -> None:
    broken = PartTold("Reader", "It does not answer.", "Look at its cable.", "reader")
    facts = station(FREE, parts={"Reader": broken})
    assert is_error(facts, NOW)
    assert not is_error(replace(facts, parts={"Reader": structs.replace(broken, problem="")}), NOW)
