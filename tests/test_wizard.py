"""The install wizard: with four keys alone, by fields, through power cuts; what it proves, and what it never does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agent import navigation, zones
from agent.clock import ClockSource
from agent.effects import Stream
from agent.events import (
    ClockTold,
    ControllerFound,
    Cp,
    FieldEntered,
    KeyPressed,
    Link,
    LinkChanged,
    MachineTold,
    Modem,
    ModemTold,
    PageMeasured,
    PanelTold,
    PartTold,
    PlaceFound,
    ServiceOpened,
    SignalTold,
    StatusDelivered,
)
from agent.panel import SERVICE_S, Page
from agent.settings import Settings
from agent.ui.model import Field, Map, Qr
from agent.ui.view import screen
from agent.wizard import antenna, flow, inputs, layer, readiness, steps
from agent.wizard.facts import STEPS, Method, Pinpoint, Step, Wizard, restored, saved
from agent.wizard.flow import TEST_CHARGE_S
from agent.wizard.sentence import Sentence
from tests.installing import BOARD, MACHINE, NEW, Installer, activate, europe
from tests.play import ANN, WALL_S, Play

Do = Callable[[Installer], object]


def walk() -> list[Do]:
    """A whole installation with four keys, one press or one spelled word at a time."""
    return [
        lambda me: me.press("Continue"),
        lambda me: me.spell("installer", "Al Lee"),
        lambda me: me.spell("company", "A1"),
        lambda me: me.press("Continue"),
        lambda me: me.press("Continue"),
        lambda me: me.press("Continue"),
        lambda me: me.set("breaker_a", "40"),
        lambda me: me.set("port_limit_a", "20"),
        lambda me: me.press("Continue").press("Confirm"),
        lambda me: me.press("Continue"),
        lambda me: me.online().heard().press("Continue"),
        lambda me: me.spell("pinpoint", "52.52001, 13.40495"),
        lambda me: me.set("east_m", "-3"),
        lambda me: me.press("Continue"),
        lambda me: me.press("Continue"),
        lambda me: me.press("Later"),
        lambda me: me.online().heard().video().press("Continue"),
        lambda me: me.press("Hand over"),
    ]


def installed() -> Installer:
    me = Installer()
    for do in walk():
        do(me)
    me.heard()
    return me


def at(step: Step, **more: Any) -> Installer:
    """At this step, by a phone's word."""
    me = Installer(**more)
    return me.enter("step", step)


def events(me: Installer, variable: str) -> list[dict[str, Any]]:
    found = [event for payload in me.play.payloads("NotifyEvent") for event in payload["eventData"]]
    return [event for event in found if event["variable"]["name"] == variable]


# -- the whole --------------------------------------------------------------------------------------------------------


def test_four_keys_alone_bring_a_station_to_ready_waiting_for_activation() -> None:
    me = installed()
    assert me.prose() == "Handed over. Ready, waiting for activation." and me.page.footer == "Nothing is missing."
    me.press("Back")
    assert (me.screen.page, me.screen.layout) == (Page.HOME, "idle"), "the video and the check marks, as I3 asks"
    assert me.screen.headline == "Ready, waiting for activation." and readiness.is_ready(me.play.station)
    wizard, now = me.play.station.wizard, me.play.station.settings
    assert (wizard.installer, wizard.company, wizard.breaker_ma) == ("Al Lee", "A1", 40_000)
    assert (now.circuit_limit_ma, now.port_limit_ma, now.time_zone) == (32_000, 20_000, "Europe/Berlin")
    assert wizard.pinpoint and wizard.pinpoint.method is Method.NUDGED and wizard.pinpoint.who == "Al Lee, A1"
    assert wizard.pinpoint.longitude == pytest.approx(13.40495 - 3 / 67_700, abs=1e-6)


def test_the_same_comes_from_fields_by_touch_keyboard_or_phone() -> None:
    me = Installer().enter("step", "next")
    me.enter("installer", "  Al   Lee ").enter("company", "A1").enter("step", "circuit")
    me.enter("breaker_a", "40").enter("port_limit_a", "20").press("Continue").press("Confirm")
    me.online().enter("step", "network").heard()
    me.enter("step", "pinpoint").enter("pinpoint", "geo:52.52001,13.40495").enter("pinpoint.nudge", "w3")
    me.enter("step", "clock").enter("step", "next").enter("step", "readiness").video().heard()
    me.enter("step", "hand-over").press("Hand over").heard()
    by_keys, by_fields = installed().play.station, me.play.station
    assert by_fields.settings == by_keys.settings
    assert by_fields.wizard.installer == by_keys.wizard.installer
    assert by_fields.wizard.pinpoint and by_keys.wizard.pinpoint
    assert by_fields.wizard.pinpoint.longitude == pytest.approx(by_keys.wizard.pinpoint.longitude)
    assert me.prose() == "Handed over. Ready, waiting for activation."


def cut_and_back(me: Installer) -> None:
    """The same station, at the same step; the network and the video come back by themselves."""
    before, is_over = me.play.station, Step.HAND_OVER in me.play.station.wizard.done
    me.cut()
    after = me.play.station
    assert saved(after.wizard) == saved(before.wizard) and after.settings == before.settings
    assert (me.shows(Page.HOME)) == is_over
    assert is_over or me.step is before.wizard.step
    me.online().video()


def test_a_power_cut_at_every_step_returns_to_it_and_loses_no_answer() -> None:
    me = Installer()
    for do in walk():
        do(me)
        cut_and_back(me)
    assert me.heard().play.station.settings == installed().play.station.settings
    assert readiness.is_ready(me.play.station)


@pytest.mark.long
@pytest.mark.parametrize("cut_at", range(len(walk())))
def test_one_power_cut_at_any_step_returns_to_it(cut_at: int) -> None:
    me = Installer()
    for number, do in enumerate(walk()):
        do(me)
        if number == cut_at:
            cut_and_back(me)
    assert me.heard().play.station.settings == installed().play.station.settings
    assert readiness.is_ready(me.play.station)


def test_it_works_with_no_network_and_no_place_and_says_what_is_open() -> None:
    me = Installer()
    me.press("Continue").spell("installer", "Ann").spell("company", "Amp").press("Continue", 3)
    me.set("breaker_a", "16").press("Continue").press("Confirm").press("Continue")
    me.press("Later").press("Later").set("region", "UTC")
    me.choose("time_zone")
    me.press("Change").press("+").press("Save").press("Continue").press("Later").video().press("Continue")
    assert me.page.footer == "Open: Network, Pinpoint."
    me.press("Hand over")
    assert me.prose() == "Handed over. It cannot be activated before the open items are done."
    assert not readiness.is_ready(me.play.station)
    (told,) = events(me, "HandOver")
    assert told["techInfo"] == "open items: Network, Pinpoint"
    assert told["customData"]["openItems"] == ["network", "pinpoint"]


def test_what_speaks_against_the_pinpoint_goes_into_the_hand_over() -> None:
    me = Installer()
    for do in walk()[:-1]:
        do(me)
    point = me.play.station.wizard.pinpoint
    assert point and me.step is Step.HAND_OVER
    doubt = Sentence("The station beside this one is {km} km away.", {"km": 7.2})
    me.play.on(PlaceFound(point.latitude, point.longitude, europe(point.latitude, point.longitude), (doubt,)))
    me.press("Hand over")
    (told,) = events(me, "HandOver")
    assert told["customData"]["doubts"] == ["The station beside this one is 7.2 km away."]


# -- when it is shown (I1) --------------------------------------------------------------------------------------------


def test_a_new_station_tests_itself_and_then_shows_the_wizard() -> None:
    play = Play(NEW, plug=False, machine=MACHINE)
    assert screen(play.station, 0.0).page is Page.HOME and not play.station.self_tested
    me = Installer()
    assert me.shows(Page.WIZARD) and me.step is Step.LANGUAGE


def test_a_station_that_was_handed_over_goes_back_to_work_after_a_power_cut() -> None:
    me = installed().cut()
    assert me.shows(Page.HOME) and me.screen.layout == "idle"
    assert me.video().screen.headline == "Ready, waiting for activation."


def test_an_activated_station_shows_no_wizard() -> None:
    me = Installer(msgspec.structs.replace(NEW, activated=True))
    assert me.shows(Page.HOME)
    me.enter("installer", "Eve").enter("step", "circuit").enter("breaker_a", "100", by_phone=True)
    assert me.play.station.wizard == Wizard(), "nobody enters anything there, by phone or not"


def test_the_activation_by_the_cloud_ends_it() -> None:
    me = at(Step.CIRCUIT).enter("breaker_a", "20")
    activate(me)
    assert me.shows(Page.HOME) and me.play.station.wizard.draft is None


def test_the_service_menu_leads_back_into_it_and_it_closes_with_the_service() -> None:
    me = Installer(msgspec.structs.replace(NEW, activated=True)).service()
    assert me.shows(Page.WIZARD) and me.step is Step.INSTALLER, "the first step with something missing"
    me.enter("installer", "Ann")
    assert me.play.station.wizard.installer == "Ann"
    me.play.after(SERVICE_S + 1)
    assert me.shows(Page.HOME)
    me.enter("installer", "Eve")
    assert me.play.station.wizard.installer == "Ann"


def test_back_from_the_first_step_shows_the_start_page_for_a_minute() -> None:
    me = Installer().press("Back")
    assert me.shows(Page.HOME)
    me.play.after(61)
    assert me.shows(Page.WIZARD)


def test_the_hand_over_stays_to_be_read_out_and_lets_nobody_change_anything() -> None:
    me = installed()
    assert me.keys == ["Back", "", "", ""] and me.rows()["Serial number"].value == "SA-1"
    me.enter("installer", "Eve").enter("step", "circuit").enter("breaker_a", "100", by_phone=True)
    assert me.play.station.wizard.installer == "Al Lee" and me.step is Step.HAND_OVER
    me.play.after(SERVICE_S + 1)
    assert me.shows(Page.HOME)


def test_a_page_longer_than_the_display_is_read_to_its_end_before_anything_is_confirmed() -> None:
    me = at(Step.CIRCUIT).enter("breaker_a", "20").press("Continue")
    assert me.page.title == "Circuit: confirm"
    me.play.on(PageMeasured(3))
    me.press("Next").press("Back").press("Next", 2)
    assert me.screen.turned == 2 and not me.play.commissioned
    me.press("Confirm")
    assert me.screen.turned == 0 and me.screen.screenfuls == 1 and me.play.commissioned


def test_a_page_with_fields_is_turned_too_and_shown_from_the_field_that_is_chosen() -> None:
    me = at(Step.INSTALLER)
    me.play.on(PageMeasured(2))
    me.press("Next")
    assert me.keys[3] == "Later" and me.screen.turned == 1
    me.press("Next field")
    assert (me.screen.turned, me.screen.screenfuls) == (0, 2) and me.field("company").chosen
    me.press("Next").press("Later")
    assert me.step is Step.IDENTITY and me.screen.screenfuls == 1


# -- fields -----------------------------------------------------------------------------------------------------------

REFUSED = [
    ("language", "xx", "Choose one of the list."),
    ("installer", "A" * 61, "Enter at most 60 characters."),
    ("company", "Amp\x07", "Enter letters, digits and signs only."),
    ("company", "Amp\u202eevil", "Enter letters, digits and signs only."),
    ("breaker_a", "5", "Enter a whole number from 8 to 400."),
    ("breaker_a", "32.5", "Enter a whole number from 8 to 400."),
    ("breaker_a", "9" * 999, "Enter a whole number from 8 to 400."),
    ("circuit_limit_a", "41", "Enter a whole number from 6 to 40."),
    ("circuit_limit_a", "-6", "Enter a whole number from 6 to 40."),
    ("port_limit_a", "33", "Enter a whole number from 6 to 32."),
    ("pinpoint", "", "Type or paste the coordinates, for example 52.520008, 13.404954."),
    ("pinpoint", "0, 0", "0, 0 is in the ocean: the map or the receiver had no position."),
    ("pinpoint", "1" * 3_000, "This text is too long: paste the coordinates or the map link alone."),
    ("pinpoint.nudge", "n1", "Enter the coordinates first, then move the point by metres."),
    ("time_zone", "Mars/Olympus", "Choose one of the list."),
    ("charge", "9", "Choose one of the list."),
    ("charge", "1", "Plug a car or a tester into port 1, then start."),
]  # fmt: skip


@pytest.mark.promise("S9")
@pytest.mark.parametrize(("name", "value", "why"), REFUSED, ids=lambda each: str(each)[:24])
def test_a_value_that_cannot_be_is_refused_in_one_sentence_and_changes_nothing(name: str, value: str, why: str) -> None:
    field = inputs.input_of(Installer().play.station, name)
    assert field
    me = at(field.step)
    before = me.play.station
    me.enter(name, value)
    shown = [block.error for block in me.page.blocks if isinstance(block, Field) and block.error] or [me.prose()]
    assert why in shown[0]
    after = me.play.station
    assert saved(after.wizard) == saved(before.wizard) and after.wizard.draft is None
    assert after.settings == before.settings and not me.play.commissioned


@pytest.mark.promise("S9")
def test_a_field_that_is_not_there_is_nobodys() -> None:
    me = at(Step.CIRCUIT)
    before = me.play.station.wizard
    me.enter("phases", "3").enter("circuit_limit_ma", "80000").enter("", "").enter("step", "nowhere")
    assert me.play.station.wizard == before, "a board with one phase has no such field"


def test_the_wheel_spells_deletes_and_cancels() -> None:
    me = at(Step.INSTALLER).spell("installer", "Bob")
    me.choose("installer")
    me.press("Change").press("−")
    assert me.field("installer").editing and me.keys == ["Cancel", "−", "+", "Add"]
    me.press("Add").press("Cancel")
    assert me.play.station.wizard.installer == "Bob" and not me.field("installer").editing
    me.spell("installer", "Jo")
    assert me.play.station.wizard.installer == "Jo"


def test_the_breaker_walks_along_the_sizes_that_are_sold() -> None:
    me = at(Step.CIRCUIT).press("Change")
    seen = []
    for _ in range(8):
        me.press("+")
        seen.append(int(me.field("breaker_a").value))
    assert seen == [8, 10, 13, 15, 16, 20, 25, 30]
    me.press("−").press("Save")
    assert me.field("breaker_a").shown == "25 A" and me.field("circuit_limit_a").shown == "20 A", "80 % of it"


# -- the circuit (S11) ------------------------------------------------------------------------------------------------


def commissioned(breaker_a: int = 40) -> Installer:
    return at(Step.CIRCUIT).enter("breaker_a", str(breaker_a)).press("Continue").press("Confirm")


@pytest.mark.promise("S11")
def test_nothing_counts_before_old_and_new_were_confirmed() -> None:
    me = at(Step.CIRCUIT).enter("breaker_a", "20")
    assert me.play.station.settings.circuit_limit_ma == 40_000 and not me.play.commissioned
    assert "count when they are confirmed" in me.prose()
    me.press("Continue")
    assert me.rows()["Circuit, all ports together"].value == "40 A → 16 A"
    assert me.rows()["Breaker of this station"].value == "– → 20 A"
    assert me.rows()["Port controller"].value == "40 A → 16 A"
    me.press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 16_000 and me.stored_ma == 16_000
    assert [(order.circuit_limit_ma, order.failsafe_ma) for order in me.play.commissioned] == [(16_000, 6_000)]
    assert me.rows()["Port controller"].value == "16 A, stored in the port controller."
    (told,) = events(me, "CircuitLimit")
    assert told["actualValue"] == "16000" and "circuit_limit_ma 40000 -> 16000" in told["techInfo"]


@pytest.mark.promise("S11")
def test_what_was_entered_waits_for_its_confirmation_over_a_cut() -> None:
    me = at(Step.CIRCUIT).enter("breaker_a", "20").press("Continue").cut()
    assert me.play.station.settings.circuit_limit_ma == 40_000 and not me.play.commissioned
    assert me.field("breaker_a").shown == "20 A"
    me.press("Continue").press("Confirm")
    assert me.stored_ma == 16_000


@pytest.mark.promise("S11")
def test_a_draft_for_another_board_is_refused() -> None:
    me = at(Step.CIRCUIT, facts={"wizard": {"draft": [{"breaker_ma": 90_000, "circuit_limit_ma": 80_000}, False]}})
    me.press("Continue").press("Confirm")
    assert me.field("circuit_limit_a").error == "This board carries less: enter the values again."
    assert me.play.station.settings.circuit_limit_ma == 40_000 and not me.play.commissioned


def test_what_nobody_has_confirmed_leaves_with_the_service() -> None:
    me = Installer(msgspec.structs.replace(NEW, activated=True)).service().enter("breaker_a", "20")
    me.play.after(SERVICE_S + 1)
    assert me.play.station.wizard.draft is None and me.play.facts["wizard"]["draft"] is None


@pytest.mark.promise("S11")
def test_a_lower_circuit_counts_at_once_while_two_cars_charge() -> None:
    me = commissioned().enter("step", "hand-over")
    activate(me)
    play = me.play
    play.plug(1).tap(ANN).charge(1).plug(2).tap("04B2B2B2").after(10)
    for evse_id in (1, 2):
        play.charge(evse_id).after(1)
    me.service().enter("step", "circuit").enter("circuit_limit_a", "13").press("Continue").press("Confirm")
    offers = [command.offer_ma for command in play.wish]
    assert 6_000 <= sum(offers) <= 13_000, "the wish is lowered in the same step"
    assert play.station.settings.circuit_limit_ma == me.stored_ma == 13_000


@pytest.mark.promise("S11")
def test_a_higher_circuit_waits_until_every_port_is_free() -> None:
    me = commissioned(16)
    me.play.plug(1)
    me.enter("breaker_a", "40").press("Continue")
    assert "unplug it, then raise" in me.prose()
    me.press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 12_000 == me.stored_ma
    assert me.field("circuit_limit_a").error == "A car is plugged in: unplug it, then raise the limit."
    me.play.unplug(1)
    me.press("Continue").press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == me.stored_ma == 32_000


@pytest.mark.promise("S11")
def test_a_circuit_above_its_breaker_or_its_board_is_refused() -> None:
    me = at(Step.CIRCUIT).enter("circuit_limit_a", "40").enter("breaker_a", "400")
    assert me.field("circuit_limit_a").value == "40", "80 % of 400 A, but the board carries 40"
    assert "80 % of 400 A: 320 A; this station takes 40 A at most." in me.prose()
    me.enter("breaker_a", "25").enter("circuit_limit_a", "26")
    assert me.field("circuit_limit_a").error == "Enter a whole number from 6 to 25."


@pytest.mark.promise("S11")
def test_a_circuit_too_small_for_all_failsafe_currents_has_none() -> None:
    assert layer.limits(Settings(circuit_limit_ma=11_000), 2) == (11_000, 0, 60)
    assert layer.limits(Settings(circuit_limit_ma=13_000, failsafe_ma=8_000), 2) == (13_000, 6_500, 60)


@pytest.mark.promise("S11")
def test_a_controller_that_holds_another_limit_is_shown_and_told_again() -> None:
    me = commissioned()
    me.play.on(ControllerFound(9, 1.0, 16_000))
    assert me.rows()["Port controller"].value == "The port controller holds 16 A, not 32 A."
    me.press("Continue").press("Confirm")
    assert me.play.commissioned[-1].circuit_limit_ma == 32_000 == me.stored_ma
    assert "Circuit" not in me.page.footer


@pytest.mark.promise("S11")
def test_the_clouds_lower_limit_stays_and_its_higher_one_is_refused() -> None:
    me = commissioned()

    def cloud(ma: int) -> str:
        item = {"component": {"name": "ChargingStation"}, "variable": {"name": "CircuitLimit"}}
        (said,) = me.play.command("SetVariables", setVariableData=[{**item, "attributeValue": str(ma)}])[
            "setVariableResult"
        ]
        return str(said["attributeStatus"])

    assert cloud(33_000) == "Rejected" and cloud(10_000) == "Accepted"
    assert "The cloud allows 10 A at present." in me.prose()
    me.enter("circuit_limit_a", "20").press("Continue").press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 10_000 and me.stored_ma == 20_000
    me.enter("circuit_limit_a", "8").press("Continue").press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 8_000
    assert me.cut().play.station.settings.circuit_limit_ma == 8_000


# -- by phone ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S11")
def test_a_limit_from_a_phone_waits_on_the_panel_for_a_key_there() -> None:
    me = commissioned().enter("step", "pinpoint")
    me.enter("circuit_limit_a", "20", by_phone=True)
    assert me.step is Step.CIRCUIT and "came by telephone" in me.prose()
    assert me.rows()["Circuit, all ports together"].value == "32 A → 20 A"
    for value in ("next", "hand-over", "network", "back", "Confirm", "save"):
        me.enter("step", value, by_phone=True)
        assert me.play.station.settings.circuit_limit_ma == 32_000
    me.enter("circuit_limit_a", "21", by_phone=True)
    me.play.on(KeyPressed(4, "save"))
    assert me.play.station.settings.circuit_limit_ma == 32_000, "nobody can have read what has just changed"
    me.press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 21_000
    assert "entered by phone, confirmed at the panel" in events(me, "CircuitLimit")[-1]["techInfo"]


def test_a_phone_may_enter_all_the_rest() -> None:
    me = Installer().enter("installer", "Ann", by_phone=True).enter("pinpoint", "52.52001 13.40495", by_phone=True)
    assert me.play.station.wizard.installer == "Ann" and me.play.station.wizard.pinpoint


def test_a_dark_panel_is_lit_first_and_the_next_press_confirms() -> None:
    me = commissioned()
    me.play.station = replace(me.play.station, panel=replace(me.play.station.panel, lit=False))
    me.play.after(5).on(KeyPressed(4, ""))
    assert me.play.station.panel.lit and me.step is Step.CIRCUIT


# -- evidence ---------------------------------------------------------------------------------------------------------


def test_the_network_step_passes_on_the_clouds_own_word() -> None:
    me = commissioned().press("Continue")
    assert me.step is Step.NETWORK and me.rows()["Modem"].value == "none: gateway or LAN"
    assert me.rows()["Cloud"].value == "Not connected." and me.keys[3] == "Later"
    me.online()
    assert "has not acknowledged" in me.rows()["Cloud"].value and me.keys[3] == "Later"
    me.heard()
    assert me.rows()["Cloud"].mark == "passed" and me.keys[3] == "Continue"
    me.press("Continue").enter("pinpoint", "52.52001, 13.40495").press("Continue")
    assert me.page.footer.endswith("Open: 1."), "another pinpoint is another report"
    assert [event["customData"]["pinpoint"] is None for event in events(me, "Commissioning")] == [True, False]
    assert {record.stream for record in me.play.records if "Commissioning" in str(record.payload)} == {Stream.STATUS}


def test_an_old_modem_is_warned_of() -> None:
    me = commissioned().press("Continue")
    assert "end. Have it replaced" not in me.prose()
    for kind in ("GSM", "CDMA"):
        me.play.on(MachineTold(msgspec_replaced(modem_type=kind, iccid="8949000000")))
        assert "end. Have it replaced" in me.prose() and me.rows()["SIM"].mark == "passed"
    me.play.on(MachineTold(msgspec_replaced(modem_type="LTE")))
    assert "end. Have it replaced" not in me.prose() and me.rows()["SIM"].mark == "failed"


def test_the_network_step_says_live_what_the_antenna_hears_and_what_was_best() -> None:
    me = commissioned().press("Continue")
    assert "Signal" not in me.rows(), "there is no modem"
    me.play.on(MachineTold(msgspec_replaced(modem_type="LTE", iccid="8949000000", has_modem=True)))
    assert (me.rows()["Signal"].value, me.rows()["Signal"].mark) == ("unknown", "open")
    assert antenna.is_watched(me.play.station, me.play.now)
    for rsrq, rsrp, said, mark in (
        (-14.5, -108, "Weak: turn or move the antenna.", "open"),
        (-9.5, -96, "Good: fasten the antenna here.", "passed"),
        (-19.0, -112, "Unusable: move the antenna to another place.", "failed"),
        (None, None, "Nothing is heard: look at the antenna's plug.", "open"),
    ):
        me.play.after(2).on(SignalTold(rsrq_db=rsrq, rsrp_dbm=rsrp))
        assert me.prose().startswith(said) and me.rows()["Signal"].mark == mark
    assert me.rows()["Signal"].value == "unknown"
    assert me.rows()["Best so far"].value == "RSRP -96 dBm, RSRQ -9.5 dB" and me.rows()["Best so far"].mark == "passed"
    me.play.after(antenna.FRESH_S + 1)
    assert "Best so far" not in me.rows(), "an old reading is not what it hears now"
    me.play.on(ModemTold(Modem(state="online", rsrp_dbm=-96, rsrq_db=-13, rssi_dbm=-67)))
    assert me.rows()["Signal"].value == "RSRP -96 dBm, RSRQ -13 dB, RSSI -67 dBm (CSQ 23)"
    assert me.rows()["Signal"].mark == "open", "one verdict, whoever has told the levels"
    me.play.after(antenna.WATCHED_S)
    assert not antenna.is_watched(me.play.station, me.play.now), "nobody is there any more"
    me.play.on(SignalTold(rsrq_db=-16.0, rsrp_dbm=-110))
    assert me.rows()["Best so far"].value.startswith("RSRP -110"), "of another visit"
    me.press("Later")
    assert not antenna.is_watched(me.play.station, me.play.now)


def msgspec_replaced(**changes: Any) -> Any:
    return replace(MACHINE, **changes)


def test_a_failed_part_is_shown_with_its_fix_and_keeps_the_hand_over_closed() -> None:
    me = installed().service().enter("step", "self-test")
    me.play.on(PartTold("TokenReader", "The reader is silent.", "Check its cable.", "reader"))
    assert "Card reader: The reader is silent. Check its cable." in me.prose()
    assert me.rows()["Card reader"].mark == "failed"
    me.enter("step", "hand-over")
    assert me.keys[3] == "" and "closed" in me.prose() and "Missing: Self-test" in me.page.footer
    me.play.on(PartTold("TokenReader"))
    assert me.keys[3] == "Hand over"


def test_readiness_asks_for_frames_that_were_really_drawn() -> None:
    me = at(Step.READINESS)
    assert me.rows()["Charging video"].mark == "failed"
    me.play.on(PanelTold(drawn=True, video=False))
    assert "not been seen playing" in me.rows()["Charging video"].value
    me.press("Show")
    assert me.screen.layout == "idle", "the video, and a check mark for each port"
    me.play.on(PanelTold(drawn=True, video=True)).after(61).on(PanelTold(drawn=True, video=False)).after(120)
    assert me.rows()["Charging video"].value == "Its frames were drawn 2 min ago."
    me.play.on(PanelTold(drawn=True, video=False, problem="The video file is damaged."))
    assert me.rows()["Charging video"].value == "The video file is damaged."


def test_a_board_without_a_browser_is_ready_when_the_drawn_steps_were_on_its_display() -> None:
    me = at(Step.READINESS)
    me.play.on(PanelTold(drawn=True))
    assert me.rows()["Charging video"].mark == "failed"
    me.play.on(PanelTold(drawn=True, steps=True)).after(61).on(PanelTold(drawn=True)).after(120)
    row = me.rows()["Charging video"]
    assert row.mark == "passed" and row.value == "The instructional video does not play: its drawn steps stand in."
    me.play.on(PanelTold(drawn=False, problem="Nothing draws the screen."))
    assert me.rows()["Charging video"].mark == "failed"


def test_readiness_names_the_port_without_its_check_mark_and_the_error_light() -> None:
    me = at(Step.READINESS)
    assert me.rows()["Port 2"].mark == me.rows()["Error light"].mark == "passed"
    me.play.see(2, cp=Cp.E, faults=frozenset({"pilot_fault"}))
    assert me.rows()["Port 2"].mark == me.rows()["Error light"].mark == me.rows()["Messages"].mark == "failed"
    assert me.rows()["Port 1"].mark == "passed"


def test_a_station_without_identity_walks_the_wizard_and_is_not_handed_over() -> None:
    me = Installer(msgspec.structs.replace(NEW, station_id="UNPROVISIONED")).enter("step", "identity")
    assert me.rows()["Certificate"].mark == "failed" and "provision" in me.prose()
    assert [block.data for block in me.page.blocks if isinstance(block, Qr)] == [
        "SN:UNPROVISIONED MAC:02:00:00:00:00:01"
    ]
    me.press("Later").enter("step", "charge").play.plug(1)
    me.enter("step", "test charge").enter("charge", "1")
    assert me.field("charge").error == "A station without an identity charges nobody."
    me.enter("step", "hand-over")
    assert me.keys[3] == "" and "Identity" in me.page.footer


# -- place and time ---------------------------------------------------------------------------------------------------


def test_the_pinpoint_shows_its_place_and_proposes_the_zone() -> None:
    me = at(Step.PINPOINT).enter("pinpoint", "52.52001, 13.40495")
    (map_,) = [block for block in me.page.blocks if isinstance(block, Map)]
    assert me.rows()["Place"].value == "Berlin, Germany" and "Berlin" in map_.text
    assert me.rows()["Found"].value == "typed or pasted"
    me.press("Continue")
    assert me.rows()["Proposed"].value == "Europe/Berlin" and me.play.station.settings.time_zone == "UTC"
    me.press("Continue")
    assert me.play.station.settings.time_zone == "Europe/Berlin"
    assert me.play.station.zone == zones.load("Europe/Berlin")
    assert me.cut().play.station.zone == zones.load("Europe/Berlin"), "and at birth"


def test_a_rough_point_stays_open() -> None:
    me = at(Step.PINPOINT).enter("pinpoint", "52.5, 13.4")
    assert me.page.footer.endswith("Open: 2.") and me.keys[3] == "Later"
    me.enter("sister", "52.52001, 13.40495")
    assert me.page.footer.endswith("Open: 1.") and me.keys[3] == "Continue"
    assert me.rows()["Found"].value == "from a sister station"


def test_the_clock_step_waits_for_zone_and_time() -> None:
    me = Installer().use(Play(NEW, machine=MACHINE, board=BOARD, wall_s=None)).enter("step", "clock")
    assert me.keys[3] == "Later" and me.rows()["Told by"].value == "nobody yet"
    me.enter("time_zone", "America/New_York")
    me.play.on(ClockTold(WALL_S, ClockSource.CLOUD))
    assert me.keys[3] == "Continue" and me.rows()["Local time"].value == "2026-09-21 10:13"


def test_a_zone_is_chosen_by_region_with_four_keys() -> None:
    me = at(Step.CLOCK).set("region", "Europe").set("time_zone", "Europe/Paris")
    assert me.play.station.settings.time_zone == "Europe/Paris" and me.play.station.zone == zones.load("Europe/Paris")


def test_of_a_long_list_those_around_the_value_are_offered() -> None:
    me = at(Step.CLOCK)
    me.play.on(MachineTold(replace(MACHINE, zones=zones.names())))
    me.enter("time_zone", "America/New_York")
    offered = [option.value for option in me.field("time_zone").options]
    assert "America/New_York" in offered and len(offered) == 9 and offered == sorted(offered)
    assert len(me.field("region").options) <= 11
    me.enter("time_zone", offered[-1])
    assert offered[-1] in [option.value for option in me.field("time_zone").options][:5]
    me.enter("time_zone", "Asia/Tokyo")
    assert me.play.station.settings.time_zone == "Asia/Tokyo", "also one that was not offered"


def test_the_language_counts_at_once() -> None:
    me = Installer().set("language", "fr")
    assert navigation.language(me.play.station) == "fr"
    assert navigation.language(me.cut().play.station) == "fr"


# -- the test charge --------------------------------------------------------------------------------------------------


def test_a_test_charge_draws_energy_and_is_marked_in_its_records() -> None:
    me = at(Step.CHARGE)
    me.play.plug(1)
    me.set("charge", "1")
    assert me.play.transactions(1) == [("Started", "Authorized")]
    me.play.charge(1, wh=5).after(5)
    assert me.rows()["Port 1"].mark == "passed" and me.rows()["Test charge"].mark == "passed"
    me.play.after(TEST_CHARGE_S)
    me.play.open(1)
    assert me.play.transactions(1)[-1] == ("Ended", "Local")
    started, *_, ended = me.play.payloads("TransactionEvent")
    assert started["customData"]["rule"] == ended["customData"]["rule"] == "test charge"
    assert me.cut().play.station.wizard.charged


def test_a_test_charge_ends_with_a_key() -> None:
    me = at(Step.CHARGE)
    me.play.plug(2)
    me.set("charge", "2").play.charge(2)
    me.set("charge", "-").play.open(2)
    assert me.play.transactions(2)[-1] == ("Ended", "Local")


# -- the disk and the table -------------------------------------------------------------------------------------------

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
broken = st.dictionaries(st.sampled_from([*saved(Wizard())]), json) | json


@pytest.mark.promise("S9")
@given(broken)
def test_facts_of_another_build_or_a_damaged_disk_are_asked_again_and_never_raise(fact: Any) -> None:
    me = Installer(facts={"wizard": fact})
    assert me.screen.page in (Page.WIZARD, Page.HOME)
    assert me.play.station.settings.circuit_limit_ma <= BOARD.circuit_limit_ma
    wizard = me.play.station.wizard
    assert restored(saved(wizard)) == replace(wizard, place=None)
    me.enter("step", "hand-over").enter("step", "next")


def test_what_is_saved_is_restored() -> None:
    wizard = Wizard(
        settings={"circuit_limit_ma": 16_000}, set_at_s=WALL_S, installer="Ann", company="Amp", breaker_ma=20_000,
        pinpoint=Pinpoint(52.5, 13.4, None, Method.GNSS, None, "Ann"), charged=True, step=Step.CLOCK, told="ab",
    )  # fmt: skip
    assert restored(msgspec.json.decode(msgspec.json.encode(saved(wizard)))) == wizard
    assert restored(None) == restored([]) == Wizard()


def test_the_table_in_the_docs_is_the_table() -> None:
    head = ("step", "asks", "evidence", "passes when", "may be skipped", "on re-entry")
    rows = [(r.title, r.asks, r.evidence, r.passes, r.skip, r.again) for r in steps.TABLE]
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    text = (Path(__file__).parent.parent / "docs" / "installing.md").read_text()
    assert "\n".join([lines[0], "|---|---|---|---|---|---|", *lines[1:]]) + "\n" in text
    for number, row in enumerate(steps.TABLE, 1):
        assert f"## {number}. {row.title}\n" in text and f"screens/wizard-{row.step.replace(' ', '-')}.png" in text


def test_every_step_has_its_row_and_every_page_its_fields() -> None:
    me = Installer()
    for step in STEPS:
        me.enter("step", step)
        assert me.step is step and me.page.steps == len(STEPS)
        assert me.page.title == steps.ROWS[step].title and me.page.footer
        names = [block.name for block in me.page.blocks if isinstance(block, Field)]
        assert names == [each.name for each in inputs.inputs(me.play.station, step)]
        assert sum(block.chosen for block in me.page.blocks if isinstance(block, Field)) == bool(names)


# -- anything at all --------------------------------------------------------------------------------------------------

NAMES = sorted({each.name for each in (*inputs.TABLE, *inputs.UNSEEN)} | {"step", "x"})
VALUES = ["", "1", "2", "-", "20", "32", "400", "next", "back", "en", "ar", "UTC", "Europe/Berlin", "52.52, 13.404",
          "n1", "-3", "Ann", *STEPS]  # fmt: skip


class Anybody(RuleBasedStateMachine):
    """Presses, types, pulls plugs and cuts the power, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.me = Installer()

    @rule(key=st.integers(0, 5), wait=st.sampled_from([0.0, 1.5, 70.0]))
    def press(self, key: int, wait: float) -> None:
        self.me.play.after(wait).on(KeyPressed(key, ""))
        self.me._controller()

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES) | st.text(max_size=9), by_phone=st.booleans())
    def enter(self, name: str, value: str, by_phone: bool) -> None:
        self.me.enter(name, value, by_phone=by_phone)

    @rule(ma=st.sampled_from([6_000, 16_000, 40_000]))
    def controller(self, ma: int) -> None:
        self.me.stored_ma = ma
        self.me.play.on(ControllerFound(9, 1.0, ma))

    @rule(evse_id=st.integers(1, 2), cp=st.sampled_from([Cp.A, Cp.B, Cp.E]))
    def plug(self, evse_id: int, cp: Cp) -> None:
        self.me.play.see(evse_id, cp=cp)

    @rule(event=st.sampled_from([
        LinkChanged(Link.UP), LinkChanged(Link.DOWN), StatusDelivered(), PanelTold(True, True), ServiceOpened("button"),
        FieldEntered("step", "x" * 5_000),
    ]))  # fmt: skip
    def happens(self, event: Any) -> None:
        self.me.play.on(event)

    @rule()
    def cut(self) -> None:
        self.me.cut()

    @invariant()
    def a_page_is_always_there(self) -> None:
        model = self.me.screen
        assert len(model.keys) == 4 and (model.page is not Page.WIZARD or model.content)

    @invariant()
    def limits_stay_within_the_board_and_the_breaker(self) -> None:
        station = self.me.play.station
        for now in (station.settings, station.ceiling):
            assert now and now.circuit_limit_ma <= BOARD.circuit_limit_ma and now.port_limit_ma <= BOARD.port_limit_ma
        if breaker_ma := station.wizard.breaker_ma:
            assert station.ceiling and station.ceiling.circuit_limit_ma <= breaker_ma
        assert all(order.circuit_limit_ma <= BOARD.circuit_limit_ma for order in self.me.play.commissioned)

    @invariant()
    def what_is_on_the_disk_is_what_holds(self) -> None:
        wizard = self.me.play.station.wizard
        assert "wizard" not in self.me.play.facts or self.me.play.facts["wizard"] == saved(wizard)
        assert saved(restored(saved(wizard))) == saved(wizard)

    @invariant()
    def a_hand_over_needs_all_that_may_not_wait(self) -> None:
        station = self.me.play.station
        if flow.onward(station, self.me.play.now) == "do":
            assert station.wizard.breaker_ma and station.wizard.installer


TestAnybody = Anybody.TestCase
TestAnybody.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@pytest.mark.long
def test_anybody_for_long() -> None:
    run_state_machine_as_test(Anybody, settings=settings(max_examples=400, stateful_step_count=60, deadline=None))
