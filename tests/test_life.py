"""A station's life in the hand: from the shelf to its owner, to the end of his plan, and to the next owner."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import billing, service
from agent.events import AllDelivered, KeyPressed, Machine, PanelTold, PortChosen
from agent.life import visible
from agent.policy import plan_token
from agent.policy.access import Visible
from agent.policy.lifecycle import State
from agent.policy.owner import Owner, restored, saved
from agent.policy.plan_token import EXP, Standing, Why
from agent.policy.reasons import Reason
from agent.reporting import VENDOR_ID
from agent.settings import Settings
from agent.sim.world import STATION_ID, World, at_once
from agent.ui.pages import about_rows
from agent.ui.view import screen
from agent.ui.words import ENGLISH
from agent.uplink.cwt import claims_of
from agent.wizard import readiness
from tests.play import ANN, BOB, KEYS, OPERATOR, WALL_S, Json, Play, cwt
from tests.test_cost import tariff
from tests.test_owner import DAY_S, charging, hours, ordered, policy, token
from tools.cloud import cli_life
from tools.cloud.arguments import Run
from tools.cloud.errors import OperatorError

SERIAL = "SA-0001"
NEW = Settings(station_id=SERIAL, activated=False, circuit_limit_ma=32_000, restart_delay_max_s=0.0)
PROVISIONED = Machine(certificate_expiry_s=2e9)
WIZARD: Json = {
    "settings": {"circuit_limit_ma": 32_000}, "breaker_ma": 40_000, "installer": "Al Lee", "company": "A1",
    "pinpoint": {
        "latitude": 52.52, "longitude": 13.4, "accuracy_m": 5.0, "method": "typed", "at_s": None, "who": "Al Lee",
    },
    "done": {"hand-over": [WALL_S, False]}, "told": "d1", "is_heard": True,
}  # fmt: skip
ACTIVATION: Json = {"name": "Yard 1", "owner": "Acme", "contact": "yard@acme.example"}
PRICES: Json = {
    "groupTariffs": {"version": "1", "rules": [{"groups": ["fleet"], "tariff": tariff("fleet", 0.1)}]},
    "defaultTariff": tariff("public"),
}


def installed(**more: Any) -> Play:
    """Handed over; the cloud has heard of it."""
    play = Play(NEW, machine=PROVISIONED, facts={"wizard": WIZARD, **more})
    return play.on(PanelTold(drawn=True, video=True)).after(30)


def activated(**more: Any) -> Play:
    play = installed()
    assert ordered(play, "Activation", {**ACTIVATION, **more}) == {"status": "Accepted"}
    return play


def life(play: Play) -> State:
    return readiness.state(play.station)


def rebooted(play: Play) -> Play:
    play = play.reboot(60.0).on(PanelTold(drawn=True, video=True))
    for evse_id in (1, 2):
        play.see(evse_id, energy_wh=1000 * evse_id)
    return play.after(30)


def prices(play: Play) -> tuple[str, str]:
    """Ids of the tariffs for whoever is of the fleet, and for everybody else; "": there is none."""
    found = [billing.choice(play.station, 2, groups, play.now).tariff for groups in (["fleet"], [])]
    return found[0].tariff_id if found[0] else "", found[1].tariff_id if found[1] else ""


def statuses(play: Play) -> list[str]:
    return [p["connectorStatus"] for p in play.payloads("StatusNotification")]


# -- new


def test_a_station_is_nobodys_until_it_is_activated_and_says_so_to_drivers_and_to_the_cloud() -> None:
    assert life(Play(NEW)) is State.BARE
    assert life(Play(NEW, machine=PROVISIONED)) is State.PROVISIONED
    play = installed()
    assert life(play) is State.READY and set(statuses(play)) == {"Unavailable"}
    assert play.plug(1).tap(ANN).said(1) is Reason.STATION_NOT_ACTIVATED
    assert screen(play.station, play.now).headline == "Ready, waiting for activation."


def test_an_activation_is_refused_with_its_reason_until_the_station_is_pinpointed_and_ready() -> None:
    play = installed(wizard={**WIZARD, "pinpoint": None})
    assert life(play) is State.INSTALLED
    said = ordered(play, "Activation", ACTIVATION)
    assert said["status"] == "Rejected" and said["statusInfo"]["reasonCode"] == "NotReady"
    assert "pinpoint" in said["statusInfo"]["additionalInfo"]
    assert play.station.owner.activation is None and not play.station.settings.activated


def test_an_activated_station_sells_under_its_name_also_after_a_power_cut() -> None:
    first = activated()
    play = rebooted(first)
    for each in (first, play):
        assert life(each) is State.ACTIVE and each.station.settings.owner == "Acme"
        assert each.station.owner.activation and each.station.owner.activation.name == "Yard 1"
    assert charging(play.plug(1).tap(ANN)) == [ANN, None]
    assert statuses(play.after(1))[-1] == "Occupied"


def test_name_contact_and_plan_are_on_the_about_page_and_on_top() -> None:
    claims = {**token(1, -10, 100, SERIAL), "supportEnd": int(WALL_S)}
    play = activated(planToken=cwt(claims))
    assert "Yard 1 · Acme" in screen(play.station, play.now).title
    shown = {row.label: row.value for row in about_rows(play.station, play.now, ENGLISH)}
    assert (shown["Name"], shown["Owner"], shown["Contact"]) == ("Yard 1", "Acme", "yard@acme.example")
    assert shown["Plan"].startswith("Enterprise, 2026-") and shown["Support until"].startswith("2026-")
    ordered(play, "PlanToken", cwt(token(2, 98, 300, SERIAL)))
    plans = [row.value for row in about_rows(play.station, play.now, ENGLISH) if row.label == "Plan"]
    assert plans[0] == shown["Plan"] and plans[1].count("2026-") + plans[1].count("2027-") == 2, "one waits"


def test_all_that_comes_in_an_activation_is_in_force_at_once() -> None:
    rules = policy({"name": "day", "who": "everyone", "hours": hours(8, 18)}, visible="usable")
    claims = token(1, -10, 10, SERIAL)
    play = activated(
        afterPlan="free", reservable=True, visibility="usable", accessPolicy=rules, planToken=cwt(claims), **PRICES,
    )  # fmt: skip
    for each in (play, rebooted(play)):
        said = each.station.owner
        assert said.access and said.tokens and said.is_reservable and said.is_free_after_plan
        assert prices(each) == ("fleet", "public")
    asked = play.command("GetVariables", getVariableData=[
        {"component": {"name": "ChargingStation"}, "variable": {"name": name}} for name in ("LifeCycle", "Visibility")
    ])  # fmt: skip
    assert [each["attributeValue"] for each in asked["getVariableResult"]] == ["active", str(Visible.USABLE)]


@pytest.mark.parametrize("wrong", [
    {"accessPolicy": {"policyId": "p"}}, {"planToken": "AAAA"}, {"name": ""}, {"owner": "A\u202eB"}, {"colour": 1},
    {"planToken": cwt(token(1, -10, 10, "SA-0002"))},
    {"visibility": "nobody", "accessPolicy": policy(visible="everyone")},
    {"defaultTariff": {}}, {"groupTariffs": {"version": "1", "rules": [{"groups": [], "tariff": tariff()}]}},
    {"groupTariffs": None}, {"defaultTariff": tariff(currency="XXY")}, {"afterPlan": "whatever"}, {"digest": "0"},
])  # fmt: skip
def test_an_activation_with_anything_wrong_changes_nothing_and_says_why(wrong: Json) -> None:
    play = installed()
    before, facts = play.station.owner, dict(play.facts)
    said = ordered(play, "Activation", {**ACTIVATION, "accessPolicy": policy(), **PRICES, **wrong})
    assert said["status"] == "Rejected" and said["statusInfo"]["additionalInfo"]
    assert play.station.owner == before and play.facts == facts and life(play) is State.READY


def test_the_same_activation_again_is_accepted_and_changes_nothing_also_when_a_port_has_failed_since() -> None:
    play = activated(accessPolicy=policy())
    assert ordered(play, "AccessPolicy", {**policy(), "version": 2})["status"] == "Accepted"
    play = rebooted(play).on(PanelTold(drawn=False))
    before = play.station.owner
    assert ordered(play, "Activation", {**ACTIVATION, "accessPolicy": policy()}) == {"status": "Accepted"}
    assert play.station.owner is before
    assert ordered(play, "Activation", {**ACTIVATION, "name": "Yard 2"}) == {"status": "Accepted"}, "a new name"
    assert play.station.owner.access is before.access, "what does not come in it stays"


def test_the_cloud_can_switch_an_activated_station_off_and_on() -> None:
    play = activated()
    data = {"component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}}
    for value, at in (("false", State.READY), ("true", State.ACTIVE)):
        play.command("SetVariables", setVariableData=[{**data, "attributeValue": value}])
        assert life(play) is at


def test_a_station_that_nobody_has_activated_is_not_switched_on() -> None:
    on = {"component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}, "attributeValue": "true"}
    play = installed(wizard={**WIZARD, "pinpoint": None})
    (said,) = play.command("SetVariables", setVariableData=[on])["setVariableResult"]
    assert said["attributeStatus"] == "Rejected" and said["attributeStatusInfo"]["reasonCode"] == "NotReady"
    assert "send an Activation" in said["attributeStatusInfo"]["additionalInfo"] and life(play) is State.INSTALLED
    assert play.plug(1).tap(ANN).said(1) is Reason.STATION_NOT_ACTIVATED


@pytest.mark.parametrize("orders", [("FactoryReset",), ("Transfer", "FactoryReset")])
def test_only_an_activation_brings_a_station_out_of_the_factorys_state_whatever_its_config_file_says(
    orders: tuple[str, ...],
) -> None:
    of_file = Settings(station_id=SERIAL, circuit_limit_ma=32_000, restart_delay_max_s=0.0)
    play = Play(of_file, machine=PROVISIONED, facts={"wizard": WIZARD}).on(PanelTold(drawn=True, video=True)).after(30)
    assert life(play) is State.ACTIVE
    for order in orders:
        assert ordered(play, order, {}) == {"status": "Accepted"}
    on = {"component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}, "attributeValue": "true"}
    for each in (play.after(1), rebooted(play)):
        (said,) = each.command("SetVariables", setVariableData=[on])["setVariableResult"]
        assert said["attributeStatus"] == "Rejected" and life(each) is State.PROVISIONED


def test_who_may_see_the_station_is_what_was_said_last() -> None:
    def seen(play: Play) -> Visible:
        return visible(play.station)

    everyone = policy({"name": "all", "who": "everyone"})
    play = activated(visibility="nobody")
    ordered(play, "AccessPolicy", everyone)
    assert seen(play) is Visible.NOBODY, "a policy that says nothing of it changes nothing of it"
    ordered(play, "AccessPolicy", {**everyone, "version": 2, "visible": "usable"})
    assert seen(play) is Visible.USABLE
    ordered(play, "Activation", {**ACTIVATION, "visibility": "nobody", "name": "Yard 2"})
    assert seen(play) is seen(rebooted(play)) is Visible.NOBODY
    ordered(play, "Activation", {**ACTIVATION, "name": "Yard 3"})
    assert seen(play) is Visible.EVERYONE, "nobody says anything of it any more"


# -- the plan


def test_a_deactivated_station_is_unavailable_to_the_cloud_and_open_again_with_the_next_token() -> None:
    play = activated(planToken=cwt(token(1, -200, -89.9, SERIAL)))
    assert life(play) is State.PLAN_EXPIRED
    assert life(play.after(0.2 * DAY_S)) is State.DEACTIVATED and statuses(play)[-2:] == ["Unavailable"] * 2
    assert life(rebooted(play)) is State.DEACTIVATED
    offline = play.reboot(60.0, wall=False)
    assert life(offline) is State.DEACTIVATED, "what has surely ended stays so while the time is unknown"
    ordered(play, "PlanToken", cwt(token(2, -1, 300, SERIAL)))
    assert life(play.after(1)) is State.ACTIVE and statuses(play)[-2:] == ["Available"] * 2


def test_a_deactivated_station_charges_whoever_comes_for_nothing_if_its_owner_has_said_so() -> None:
    play = activated(planToken=cwt(token(1, -200, -91, SERIAL)), afterPlan="free")
    assert life(play) is State.DEACTIVATED_FREE
    who = {"idToken": "x", "type": "Central"}
    said = play.command("RequestStartTransaction", remoteStartId=1, idToken=who, evseId=2)
    assert said["status"] == "Rejected"
    assert charging(play.plug(1)) == ["", None]
    assert "Occupied" in statuses(play.after(1))


def test_after_its_plan_a_station_that_is_free_is_so_for_whoever_comes_and_its_screen_says_so() -> None:
    fleet = policy({"name": "fleet", "who": "groups", "groups": ["fleet"], "hours": hours(1, 2)}, atClosing="stop")
    ended = cwt(token(1, -200, -91, SERIAL))
    play = activated(planToken=ended, afterPlan="free", accessPolicy=fleet, reservable=True)
    assert life(play) is State.DEACTIVATED_FREE
    shown = screen(play.station, play.now)
    assert shown.who == "For everybody." and "Charging is free." in repr(shown)
    assert charging(play.plug(1).after(600)) == ["", None], "nor does closing time end it"
    assert "accessPolicy" not in play.payloads("TransactionEvent")[0]["customData"]


def test_nobody_charges_freely_by_a_plan_that_the_activation_has_replaced() -> None:
    """The old plan had ended long ago, the new owner says free, and a car stands there at that very moment."""
    play = activated(planToken=cwt(token(1, -200, -91, SERIAL)))
    assert life(play) is State.DEACTIVATED and charging(play.plug(1)) == [None, None]
    new = {**ACTIVATION, "owner": "Bell", "afterPlan": "free", "planToken": cwt(token(2, -1, 300, SERIAL))}
    assert ordered(play, "Activation", new) == {"status": "Accepted"}
    assert life(play) is State.ACTIVE and charging(play.after(5)) == [None, None]


def test_the_plan_goes_on_while_the_station_is_nobodys() -> None:
    play = activated(planToken=cwt(token(1, -200, -91, SERIAL)))
    assert ordered(play, "PlanToken", cwt(token(2, 1, 300, SERIAL))) == {"status": "Accepted"}
    ordered(play, "Transfer", {})
    play.on(AllDelivered()).after(1)
    assert play.wipes == 1 and play.station.owner.standing is Standing.DEACTIVATED
    assert play.after(2 * DAY_S).station.owner.standing is Standing.ACTIVE


def test_a_session_that_runs_is_not_cut_off_by_the_plan() -> None:
    play = activated(planToken=cwt(token(1, -200, -89.9, SERIAL)))
    play.plug(1).tap(BOB).charge(1).after(0.2 * DAY_S)
    assert life(play) is State.DEACTIVATED
    assert charging(play) == [BOB, None] and play.wish[0].offer_ma


# -- the next owner


def owned() -> Play:
    """A station of which its owner has made everything his."""
    rules = policy({"name": "all", "who": "everyone"})
    play = activated(accessPolicy=rules, planToken=cwt(token(1, -10, 10, SERIAL)), **PRICES)
    play.command("SetVariables", setVariableData=[
        {"component": {"name": component}, "variable": {"name": name}, "attributeValue": value}
        for component, name, value in (
            ("TariffCostCtrlr", "TariffFallbackMessage", "A lot"), ("ChargingStation", "PortLimit", "20000"),
            ("ClockCtrlr", "TimeZone", "Europe/Berlin"),
        )
    ])  # fmt: skip
    return play


def test_a_transfer_ends_what_runs_and_waits_until_all_of_it_is_delivered() -> None:
    play = owned()
    play.plug(1).tap(ANN).charge(1)
    assert ordered(play, "Transfer", {"waitS": 3600}) == {"status": "Accepted"}
    assert life(play) is State.TRANSFERRED and not play.wish[0].offer_ma
    assert play.plug(2).tap(BOB).said(2) is Reason.STATION_NOT_ACTIVATED
    play.on(AllDelivered()).open(1, 100).after(1)
    assert play.transactions(1)[-1] == ("Ended", "Remote")
    assert play.station.owner.access and not play.wipes, "that record was not among what was delivered"
    play.on(AllDelivered())
    assert play.station.owner.access is None and play.wipes == 1


@pytest.mark.promise("S7")
@pytest.mark.parametrize(("order", "data"), [("Transfer", {}), ("Transfer", {"waitS": 0}), ("FactoryReset", {})])
def test_who_waits_for_his_car_or_for_a_word_when_the_station_is_taken_reads_that_he_cannot_start(
    order: str, data: Json
) -> None:
    at_port = owned().tap(ANN).on(PortChosen(1))
    assert at_port.port(1).grant
    held = owned().tap(ANN)
    assert held.station.holding
    asked = owned().plug(2)
    asked.mute_list = True
    asked.tap(BOB)
    assert [ask.evse_id for ask in asked.station.asks] == [2]
    for play, evse_id in ((at_port, 1), (held, 0), (asked, 2)):
        assert ordered(play, order, data) == {"status": "Accepted"}
        assert play.said(evse_id) is Reason.STATION_NOT_ACTIVATED
        shown = screen(play.station, play.now)
        notice = shown.ports[evse_id - 1].notice if evse_id else shown.notice
        assert notice and notice.text == "This station is not activated yet."
        assert not any(port.grant for port in play.station.ports) and not play.station.holding and not play.station.asks
        told = [event for payload in play.payloads("NotifyEvent") for event in payload["eventData"]]
        assert [event["actualValue"] for event in told if event["component"]["name"] == "TokenReader"] == [
            "station not activated"
        ]
        assert play.plug(1).after(60).said(evse_id) is None and not play.transactions()


def test_after_a_transfer_nothing_of_the_owner_is_left_and_all_that_was_installed_is() -> None:
    play = owned()
    assert ordered(play, "Transfer", {}) == {"status": "Accepted"}
    assert ordered(play, "Activation", ACTIVATION)["statusInfo"]["reasonCode"] == "NotReady"
    play.on(AllDelivered()).after(1)
    for each in (play, rebooted(play)):
        said, settings = each.station.owner, each.station.settings
        assert said == Owner(tokens=said.tokens, standing=said.standing, is_transferred=True, **later(said))
        assert settings.owner == settings.tariff_text == "" and life(each) is State.TRANSFERRED
        assert prices(each) == ("", "")
        assert (settings.port_limit_ma, settings.time_zone) == (20_000, "Europe/Berlin")
        assert each.station.wizard.pinpoint and each.station.wizard.breaker_ma == 40_000
        assert "Acme" not in repr({key: value for key, value in each.facts.items() if key != "wizard"})
    again = rebooted(play)
    assert ordered(again, "Activation", {**ACTIVATION, "owner": "Bell"}) == {"status": "Accepted"}
    assert life(again) is State.ACTIVE and again.station.settings.owner == "Bell"
    assert ordered(again, "PlanToken", cwt(token(1, -1, 300, SERIAL)))["status"] == "Rejected", "an old one is a replay"


def test_what_would_be_an_owners_is_not_taken_while_the_last_one_is_on_his_way() -> None:
    """It would be wiped with all that is his, and the cloud would think that it is there."""
    play = owned()
    ordered(play, "Transfer", {})
    message = {"id": 1, "priority": "NormalCycle", "message": {"format": "UTF8", "content": "hello"}}
    orders: list[tuple[str, Json]] = [
        ("SetDefaultTariff", {"evseId": 0, "tariff": tariff()}), ("SetDisplayMessage", {"message": message}),
    ]  # fmt: skip
    transfers: Json = {"AccessPolicy": policy({"name": "all", "who": "everyone"}), "GroupTariffs": None}
    for is_left in (False, True):
        answers = [play.command(action, **said) for action, said in orders]
        answers += [ordered(play, name, data) for name, data in transfers.items()]
        assert [each["status"] for each in answers] == ["Accepted" if is_left else "Rejected"] * 4
        assert is_left or {each["statusInfo"]["reasonCode"] for each in answers} == {"NotReady"}
        play.on(AllDelivered()).after(1)
    assert play.station.owner.access and play.station.owner.messages and play.wipes == 1


def later(said: Owner) -> Json:
    return {"due": said.due, "offline_since": said.offline_since, "warned_d": said.warned_d}


def test_a_station_that_was_taken_from_its_owner_is_not_switched_on_but_activated() -> None:
    play = owned()
    on = {"component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}, "attributeValue": "true"}
    ordered(play, "Transfer", {})
    for evse_id in (1, 2):
        (said,) = play.command("SetVariables", setVariableData=[on])["setVariableResult"]
        assert said["attributeStatus"] == "Rejected" and "Activation" in said["attributeStatusInfo"]["additionalInfo"]
        assert life(play) is State.TRANSFERRED
        assert charging(play.plug(evse_id).tap(ANN)) == [None, None]
        play.on(AllDelivered()).after(1)
    assert play.wipes == 1


def test_a_transfer_survives_a_power_cut_and_does_not_wait_for_ever() -> None:
    play = owned()
    ordered(play, "Transfer", {"waitS": 3600})
    play = rebooted(play.after(1800))
    assert life(play) is State.TRANSFERRED and play.station.owner.access, "it waits on"
    assert ordered(play, "Transfer", {"waitS": 3600}) == {"status": "Accepted"}, "and not from the beginning"
    play.after(1800)
    assert play.station.owner.access is None and play.wipes == 1
    assert rebooted(play).wipes == 0


@pytest.mark.parametrize("data", [{"waitS": -1}, {"waitS": 1e9}, {"waitS": True}, {"wait": 1}, "now", [1]])
def test_a_transfer_that_makes_no_sense_changes_nothing(data: Any) -> None:
    play = owned()
    before = play.station.owner
    assert ordered(play, "Transfer", data)["status"] == "Rejected"
    assert play.station.owner is before and life(play) is State.ACTIVE


def test_in_the_factorys_state_a_station_keeps_its_identity_and_what_an_electrician_has_confirmed() -> None:
    play = owned()
    play.plug(1).tap(ANN).charge(1)
    assert ordered(play, "FactoryReset", {})["statusInfo"]["reasonCode"] == "TxInProgress"
    play.after(10).tap(ANN).open(1).after(5)
    assert not resets(play)
    assert ordered(play, "FactoryReset", {}) == {"status": "Accepted"}
    assert resets(play) == ["factory state, by the cloud"]
    for each in (play.after(1), rebooted(play)):
        wizard = each.station.wizard
        assert life(each) is State.PROVISIONED and each.station.owner.access is None and prices(each) == ("", "")
        assert wizard.pinpoint is None and not wizard.done and not wizard.installer
        assert wizard.breaker_ma == 40_000 and wizard.settings == {"circuit_limit_ma": 32_000}


def test_who_is_inside_the_station_can_reset_it_but_not_by_one_slip_nor_during_a_session() -> None:
    play = owned()
    asked = service.done(service.shown(service.opened(play.station, "the key", play.now)), "factory", play.now)
    play.station = replace(asked, panel=replace(asked.panel, looked_at=play.now))
    assert life(play.on(KeyPressed(4, "do"))) is State.ACTIVE, "nobody can have read the question yet"
    assert life(play.after(5).on(KeyPressed(4, "do")).after(1)) is State.PROVISIONED
    assert play.station.owner.activation is None and play.wipes == 1
    assert resets(rebooted(play)) == ["factory state, by the service menu"]


def resets(play: Play) -> list[str]:
    """What the operator's security log has of resets."""
    told = play.payloads("SecurityEventNotification")
    return [each["techInfo"] for each in told if each["type"] == "ResetOrReboot"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.promise("S9")
@given(ANYTHING)
def test_whatever_the_disk_holds_a_station_starts(fact: Any) -> None:
    parts = ("activation", "transferred", "reset", "leaving", "messages", "tokens", "access")
    said = restored({f"owner/{name}": fact for name in parts}, 2)
    assert restored({f"owner/{name}": value for name, value in saved(said).items()}, 2) == said


@pytest.mark.promise("S9")
@given(ANYTHING)
def test_whatever_comes_as_an_activation_is_taken_whole_or_refused(data: Any) -> None:
    play = ready()
    play.records.clear()
    said = ordered(play, "Activation", data)
    assert said["status"] == "Rejected" and play.station.owner.activation is None and life(play) is State.READY


@cache
def ready() -> Play:
    return installed()


@pytest.mark.promise("S2")
@pytest.mark.parametrize("cut_after_s", [None, 0.3, 3.0])
def test_a_station_hands_its_last_owners_sessions_over_before_it_forgets_him(cut_after_s: float | None) -> None:
    with World(settings=Settings(station_id=STATION_ID, restart_delay_max_s=0.0)).closing() as world:
        world.power_on().run(30).allow(ANN).run(10)
        world.plug(1).run(3).tap(ANN).run(60)
        world.command("DataTransfer", vendorId=VENDOR_ID, messageId="Transfer", data={})
        if cut_after_s is not None:
            world.run(cut_after_s).cut_power().run(5)
            world.power_on()
        world.run_until(lambda: is_wiped(world)).run(2)
        (session,) = world.cloud.sessions.values()
        assert session.is_whole and session.energy_wh > 0, "wiped, and so the cloud has all of it"
        assert world.shell and world.shell.lists.lookup(ANN, world.mono(), 0.0, 1e9) == (None, None)
        world.allow(ANN).run(10)
        assert world.shell.lists.state.version == 0, "a list that came too late is refused"
        world.cut_power().run(5)
        world.power_on().run(30)
        assert is_wiped(world) and not world.shell.lists.problem


def test_a_list_that_is_built_while_the_station_is_reset_is_not_the_next_owners() -> None:
    with World(settings=Settings(station_id=STATION_ID, restart_delay_max_s=0.0)).closing() as world:
        shell, building = world.power_on().run(30).shell, list[Any]()
        assert shell
        shell._build = lambda job, then: building.append(lambda: then(job()))
        world.allow(ANN).allow(BOB).run(10)
        world.command("DataTransfer", vendorId=VENDOR_ID, messageId="FactoryReset", data={})
        world.run(10)
        for build in building:
            build()
            shell.due(world.mono())
        world.run(10)
        assert len(building) == 1 and shell.lists.state.version == 0, "the second one is not even built"
        shell._build = at_once
        world.allow(BOB).run(10)
        assert shell.lists.state.entries == 2, "a list that comes later counts: it is for whoever comes next"


def is_wiped(world: World) -> bool:
    station = world.shell.station if world.shell else None
    return station is not None and station.owner.is_transferred and not station.owner.leaving


def test_a_token_in_a_file_is_taken_on_disk_and_told_to_the_cloud_or_refused_with_a_sentence() -> None:
    with World(settings=Settings(station_id=STATION_ID)).closing() as world:
        world.power_on().run(30)
        said: list[Any] = []
        shell = world.shell
        assert shell
        claims: dict[Any, Any] = {**token(1, -10, 10, STATION_ID), EXP: int(world.true_wall_s()) + 1000}
        for text in (cwt(claims, world._key), cwt(claims, world._key), cwt(claims), "x"):
            shell.plan_token(text, said.append, world.mono())
            world.run(5)
        assert said[0] == said[1] == shell.station.owner.tokens[0] and len(shell.station.owner.tokens) == 1
        assert "a key that this station does not know" in str(said[2]) and said[2].why is Why.SIGNER
        assert "base64" in str(said[3]) and said[3].why is Why.UNREADABLE


def test_the_reference_clouds_activation_is_good_and_one_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    files = {"policy": policy({"name": "all", "who": "everyone"}), "group": PRICES["groupTariffs"]}
    for name, said in {**files, "tariff": PRICES["defaultTariff"], "long": policy(name="x" * 89_900)}.items():
        (tmp_path / name).write_text(json.dumps(said))
    parser, sent = ArgumentParser(), list[Any]()
    subs = parser.add_subparsers()

    def to(name: str, run: Run, text: str) -> ArgumentParser:
        sub = subs.add_parser(name)
        sub.set_defaults(run=run)
        return sub

    def send(args: Namespace, action: str, payload: Any) -> int:
        sent.append(payload["data"])
        return 0

    cli_life.add_life(to, send)
    line = ["activate", "--name", "Yard 1", "--owner", "Acme"]
    line += ["--tariff", str(tmp_path / "tariff"), "--group-tariffs", str(tmp_path / "group"), "--policy"]
    args = parser.parse_args([*line, str(tmp_path / "policy")])
    args.run(args)
    play = installed()
    assert ordered(play, "Activation", sent[0]) == {"status": "Accepted"}
    assert play.station.owner.access and prices(play) == ("fleet", "public")
    args = parser.parse_args([*line, str(tmp_path / "long")])
    with pytest.raises(OperatorError, match="over 90000 bytes: send"):
        args.run(args)


def test_the_reference_clouds_tokens_are_good() -> None:
    made = cli_life.token(OPERATOR, SERIAL, {"begins_s": 1, "ends_s": 2, "said": {"issue": 1, "plan": "P"}})
    claims = claims_of(made, KEYS)
    assert not isinstance(claims, str) and plan_token.read(claims, SERIAL).name == "P"
