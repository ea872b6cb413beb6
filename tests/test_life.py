"""A station's life in the hand: from the shelf to its owner, to the end of his plan, and to the next owner."""

from typing import Any

import pytest

from agent.events import Machine, PanelTold
from agent.policy.access import Visible
from agent.policy.lifecycle import State
from agent.policy.reasons import Reason
from agent.settings import Settings
from agent.ui.view import screen
from agent.wizard import readiness
from tests.play import ANN, BOB, WALL_S, Json, Play, cwt
from tests.test_owner import DAY_S, charging, hours, ordered, policy, token

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
    begun = activated()
    for play in (begun, rebooted(begun)):
        assert life(play) is State.ACTIVE and play.station.settings.owner == "Acme"
        assert play.station.owner.activation and play.station.owner.activation.name == "Yard 1"
    assert charging(play.plug(1).tap(ANN)) == [ANN, None]
    assert statuses(play.after(1))[-1] == "Occupied"


def test_all_that_comes_in_an_activation_is_in_force_at_once() -> None:
    rules = policy({"name": "day", "who": "everyone", "hours": hours(8, 18)}, visible="usable")
    claims = token(1, -10, 10, SERIAL)
    play = activated(
        afterPlan="free", reservable=True, visibility="usable", accessPolicy=rules, planToken=cwt(claims),
    )  # fmt: skip
    said = play.station.owner
    assert said.access and said.tokens and said.is_reservable and said.is_free_after_plan
    asked = play.command("GetVariables", getVariableData=[
        {"component": {"name": "ChargingStation"}, "variable": {"name": name}} for name in ("LifeCycle", "Visibility")
    ])  # fmt: skip
    assert [each["attributeValue"] for each in asked["getVariableResult"]] == ["active", str(Visible.USABLE)]


@pytest.mark.parametrize("wrong", [
    {"accessPolicy": {"policyId": "p"}}, {"planToken": "AAAA"}, {"name": ""}, {"owner": "A\u202eB"}, {"colour": 1},
    {"planToken": cwt(token(1, -10, 10, "SA-0002"))}, {"visibility": "nobody", "accessPolicy": policy()},
    {"defaultTariff": {}}, {"afterPlan": "whatever"}, {"digest": "0"},
])  # fmt: skip
def test_an_activation_with_anything_wrong_changes_nothing_and_says_why(wrong: Json) -> None:
    play = installed()
    before, facts = play.station.owner, dict(play.facts)
    said = ordered(play, "Activation", {**ACTIVATION, "accessPolicy": policy(), **wrong})
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
    assert statuses(play.after(1))[-2] == "Occupied"  # and the other port is Available


def test_a_session_that_runs_is_not_cut_off_by_the_plan() -> None:
    play = activated(planToken=cwt(token(1, -200, -89.9, SERIAL)))
    play.plug(1).tap(BOB).charge(1).after(0.2 * DAY_S)
    assert life(play) is State.DEACTIVATED
    assert charging(play) == [BOB, None] and play.wish[0].offer_ma
