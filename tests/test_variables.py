"""The device model: what the station says about itself is true, and what the cloud sets holds, within its bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock
from agent.commands.variables import ITEMS_MAX, REPORT_MAX_B, ROWS
from agent.core import born
from agent.events import ListChanged, ListState, Machine, MachineTold, OutboxCounted, PartTold
from agent.settings import BOUNDS, SETTINGS, Layer, Settings
from agent.station import Boot, BootReason
from agent.uplink.codec import encode_payload, to_cbor
from agent.uplink.commands import Command, Refusal, to_event
from agent.uplink.messages import COMMANDS, from_wire
from tests.play import ANN, WALL_S, Json, Play


def named(name: str, evse: Json | None = None) -> Json:
    component, _, variable = name.partition(".")
    said: Json = {"name": component} if evse is None else {"name": component, "evse": evse}
    return {"component": said, "variable": {"name": variable}}


def get(play: Play, name: str, evse: Json | None = None) -> str:
    (said,) = play.command("GetVariables", getVariableData=[named(name, evse)])["getVariableResult"]
    return str(said["attributeValue"] if said["attributeStatus"] == "Accepted" else said["attributeStatus"])


def put(play: Play, name: str, value: str, **more: Any) -> tuple[str, str, str]:
    """attributeStatus, reasonCode, text."""
    item = {**named(name), "attributeValue": value, **more}
    (said,) = play.command("SetVariables", setVariableData=[item])["setVariableResult"]
    info = said.get("attributeStatusInfo", {})
    return said["attributeStatus"], info.get("reasonCode", ""), info.get("additionalInfo", "")


def reports(play: Play, request_id: int) -> list[Json]:
    return [p for p in play.payloads("NotifyReport") if p["requestId"] == request_id]


def items(play: Play, request_id: int) -> list[Json]:
    return [item for part in reports(play, request_id) for item in part["reportData"]]


def names(play: Play, request_id: int) -> set[str]:
    return {f"{item['component']['name']}.{item['variable']['name']}" for item in items(play, request_id)}


# -- what is read -----------------------------------------------------------------------------------------------------


def test_the_station_says_what_it_is_and_how_it_does() -> None:
    play = Play(Settings(station_id="S-1"))
    play.on(MachineTold(Machine("duo", firmware_version="1.2", macs=("02:00:00:00:00:01",), imei="49015")))
    play.on(ListChanged(ListState(7, 100, WALL_S - 60))).on(OutboxCounted((1, 2, 3, 4, 5)))
    assert get(play, "ChargingStation.SerialNumber") == "S-1"
    assert get(play, "DataLink.MACAddress") == "02:00:00:00:00:01"
    assert get(play, "datalink.imei") == "49015", "names are compared without case"
    assert get(play, "DataLink.ICCID") == "", "known variable, unknown value"
    assert get(play, "LocalAuthListCtrlr.Version") == "7" and get(play, "LocalAuthListCtrlr.Age") == "60"
    assert get(play, "OCPPCommCtrlr.SamplesWaiting") == "4"
    assert get(play, "ClockCtrlr.TimeSource") == "CLOUD" and get(play, "ChargingStation.BootReason") == "PowerUp"
    play.plug(1).tap(ANN).charge(1)
    connector = {"id": 1, "connectorId": 1}
    assert get(play, "Connector.AvailabilityState", connector) == "Occupied"
    assert get(play, "EVSE.ChargingState", {"id": 1}) == "Charging" and get(play, "EVSE.Problem", {"id": 1}) == "false"
    assert get(play, "ChargingStation.AvailabilityState") == "Available", "port 2 is"


def part(name: str, instance: str) -> Json:
    said = named(name)
    return {**said, "variable": {**said["variable"], "instance": instance}}


def of_part(play: Play, name: str, instance: str) -> str:
    (said,) = play.command("GetVariables", getVariableData=[part(name, instance)])["getVariableResult"]
    return str(said["attributeValue"] if said["attributeStatus"] == "Accepted" else said["attributeStatus"])


def test_a_variable_with_instances_is_each_of_them_and_none_without_its_name() -> None:
    play = Play()
    name = "TariffCostCtrlr.Enabled"
    assert of_part(play, name, "Cost") == of_part(play, name.lower(), "tariff") == "true"
    assert of_part(play, name, "RunningCost") == "false"
    assert of_part(play, name, "Teapot") == get(play, name) == "UnknownVariable"
    asked = {"component": {"name": "TariffCostCtrlr"}, "variable": {"name": "Enabled"}}
    play.command("GetReport", requestId=1, componentVariable=[asked])
    assert [item["variable"]["instance"] for item in items(play, 1)] == ["Tariff", "Cost", "RunningCost"]


def test_what_is_said_of_tariffs_reservations_and_profiles_is_so() -> None:
    play = Play(machine=Machine(connectors=("cType2", "sType2")))
    assert get(play, "TariffCostCtrlr.Currency") == "" and get(play, "ReservationCtrlr.Entries") == "0"
    sent = {"tariffId": "T", "currency": "EUR", "energy": {"prices": [{"priceKwh": 0.25}]}}
    play.command("SetDefaultTariff", evseId=1, tariff=sent)
    assert get(play, "TariffCostCtrlr.Currency") == "EUR"
    play.command("SetDefaultTariff", evseId=2, tariff={**sent, "tariffId": "F", "currency": "CHF"})
    assert get(play, "TariffCostCtrlr.Currency") == "", "there are two"
    most = int(of_part(play, "TariffCostCtrlr.MaxElements", "Tariff"))
    for count, status in ((most, "Accepted"), (most + 1, "TooManyElements")):
        many = {**sent, "tariffId": str(count), "energy": {"prices": [{"priceKwh": 0.25}] * count}}
        assert play.command("SetDefaultTariff", evseId=1, tariff=many)["status"] == status
    for evse_id, kind in ((1, "cType2"), (2, "sType2")):
        assert get(play, "Connector.ConnectorType", {"id": evse_id, "connectorId": 1}) == kind
    level = int(get(play, "SmartChargingCtrlr.ProfileStackLevel"))
    for stack_level, status in ((level, "Accepted"), (level + 1, "Rejected")):
        period = {"startPeriod": 0, "limit": 10.0}
        schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        profile = {
            "id": 1, "stackLevel": stack_level, "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Relative", "chargingSchedule": [schedule],
        }  # fmt: skip
        assert play.command("SetChargingProfile", evseId=0, chargingProfile=profile)["status"] == status
    assert of_part(play, "SmartChargingCtrlr.Entries", "ChargingProfiles") == "1"


def test_what_is_not_there_is_named_as_unknown() -> None:
    play = Play()
    assert get(play, "Teapot.Model") == "UnknownComponent"
    assert get(play, "ChargingStation.Taste") == "UnknownVariable"
    assert get(play, "EVSE.AvailabilityState", {"id": 9}) == "UnknownComponent"
    item = {**named("ChargingStation.Model"), "attributeType": "Target"}
    (said,) = play.command("GetVariables", getVariableData=[item])["getVariableResult"]
    assert said["attributeStatus"] == "NotSupportedAttributeType"


@pytest.mark.promise("S10")
def test_too_many_items_are_refused_before_anything_is_done() -> None:
    payload = {"getVariableData": [named("ChargingStation.Model")] * (ITEMS_MAX + 1)}
    request = from_wire(COMMANDS["GetVariables"], payload)
    said = to_event(Command("c1", "GetVariables", payload, request))
    assert isinstance(said, Refusal) and said.result and said.result["errorCode"] == "OccurrenceConstraintViolation"


# -- what is set ------------------------------------------------------------------------------------------------------


def test_what_the_cloud_sets_holds_at_once_and_after_a_power_cut() -> None:
    play = Play()
    assert put(play, "TxCtrlr.EVConnectionTimeOut", "120") == ("Accepted", "", "")
    assert put(play, "AuthCtrlr.Enabled", "false")[0] == "Accepted"
    assert play.station.settings.ev_connection_timeout_s == 120 and play.station.settings.free
    again = play.reboot(30)
    assert again.station.settings.ev_connection_timeout_s == 120 and again.station.settings.free
    assert get(again, "TxCtrlr.EVConnectionTimeOut") == "120" and get(again, "AuthCtrlr.Enabled") == "false"
    assert again.station.ceiling == Settings(), "what the config file says is another matter"


def test_what_people_read_is_set_by_the_cloud_as_plain_text() -> None:
    play = Play()
    for name, text in (
        ("ChargingStation.Owner", "Harbour Offices"), ("ChargingStation.SupportNumber", "+49 800 1"),
        ("TariffCostCtrlr.TariffFallbackMessage", "0,30 €/kWh, no fee"), ("DisplayMessageCtrlr.Language", "fr"),
        ("ClockCtrlr.TimeZone", "Europe/Paris"),
    ):  # fmt: skip
        assert put(play, name, text) == ("Accepted", "", "") and get(play, name) == text
    settings = play.station.settings
    assert (settings.owner, settings.language, settings.time_zone) == ("Harbour Offices", "fr", "Europe/Paris")
    for text in ("Call\n0900 1", "\u202e1 0080 :pleH", "\x1b]0;x", "y" * 251):
        assert put(play, "TariffCostCtrlr.TariffFallbackMessage", text)[:2] == ("Rejected", "InvalidValue")
        assert put(play, "ChargingStation.Owner", text)[:2] == ("Rejected", "InvalidValue")
    assert put(play, "DisplayMessageCtrlr.Language", "xx")[:2] == ("Rejected", "InvalidValue")
    assert put(play, "ClockCtrlr.TimeZone", "../etc/passwd")[:2] == ("Rejected", "InvalidValue")
    assert play.station.settings == settings


@pytest.mark.promise("S11")
def test_electrical_limits_only_go_down_and_the_offer_follows_at_once() -> None:
    play = Play(Settings(circuit_limit_ma=32_000)).plug(1).tap(ANN).charge(1)
    status, code, text = put(play, "ChargingStation.CircuitLimit", "40000")
    assert (status, code) == ("Rejected", "ValueTooHigh") and "32000 or less" in text
    assert put(play, "ChargingStation.CircuitLimit", "16000")[0] == "Accepted"
    assert play.wish[0].offer_ma == 16_000
    assert put(play, "ChargingStation.CircuitLimit", "20000")[0] == "Accepted", "below what the installer allowed"
    assert put(play, "ChargingStation.CircuitLimit", "5999")[:2] == ("Rejected", "ValueTooLow")


def test_a_value_that_cannot_be_is_rejected_with_its_bounds() -> None:
    play = Play()
    assert put(play, "TxCtrlr.EVConnectionTimeOut", "5") == (
        "Rejected", "ValueTooLow", "ev_connection_timeout_s = 5 cannot be: type a number from 10 to 600",
    )  # fmt: skip
    for value in ("", "soon", "1e2", "nan", "٣", "9" * 400):
        assert put(play, "TxCtrlr.EVConnectionTimeOut", value)[0] == "Rejected"
    assert put(play, "AuthCtrlr.OfflineTxForUnknownIdEnabled", "maybe")[:2] == ("Rejected", "InvalidValue")
    assert put(play, "SecurityCtrlr.Identity", "S-2")[:2] == ("Rejected", "ReadOnly")
    assert put(play, "ChargingStation.Model", "x")[:2] == ("Rejected", "ReadOnly")
    assert put(play, "ChargingStation.Taste", "x")[0] == "UnknownVariable"
    assert put(play, "ChargingStation.Owner", "x", attributeType="MaxSet")[0] == "NotSupportedAttributeType"
    assert "cloud" not in play.facts and play.station.settings == Settings()


def test_several_are_set_in_order_and_each_stands_by_itself() -> None:
    play = Play()
    data = [{**named(n), "attributeValue": v} for n, v in (
        ("TxCtrlr.EVConnectionTimeOut", "100"), ("TxCtrlr.EVConnectionTimeOut", "1"), ("ChargingStation.Owner", "Ann"),
    )]  # fmt: skip
    said = play.command("SetVariables", setVariableData=data)["setVariableResult"]
    assert [each["attributeStatus"] for each in said] == ["Accepted", "Rejected", "Accepted"]
    assert play.facts["cloud"] == {"ev_connection_timeout_s": 100, "owner": "Ann"}


@pytest.mark.promise("S9")
@given(st.recursive(st.none() | st.integers() | st.text(max_size=5) | st.booleans(), lambda x: st.lists(x, max_size=2)
       | st.dictionaries(st.sampled_from(sorted(SETTINGS)) | st.text(max_size=3), x, max_size=5)))  # fmt: skip
def test_any_stored_layer_of_the_cloud_leaves_a_station_that_starts(fact: Any) -> None:
    config = Settings(circuit_limit_ma=16_000)
    boot = Boot("b0" * 8, 0.0, BootReason.POWER_UP)
    station, _ = born(config, boot, Clock(), 1, {"cloud": fact, "network": fact, "reset": fact}, [0.0], 0.0)
    assert station.settings.circuit_limit_ma <= 16_000


@pytest.mark.promise("S9")
@given(
    st.sampled_from([row for row in ROWS if row.setting]),
    st.text(max_size=20) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "0", "0,0"]),
)
def test_any_text_is_accepted_within_the_bounds_or_changes_nothing(row: Any, text: str) -> None:
    play = Play()
    before = play.station.settings, play.station.network
    status, code, _ = put(play, f"{row.component}.{row.variable}", text)
    if status == "Accepted":
        assert get(play, f"{row.component}.{row.variable}") != "UnknownVariable"
        assert play.reboot(9).station.settings == play.station.settings
    else:
        assert code and (play.station.settings, play.station.network) == before


def test_every_setting_of_the_cloud_has_a_variable() -> None:
    assert {key for key, setting in SETTINGS.items() if Layer.CLOUD in setting.layers and not setting.variable} == {
        "failsafe_ma"  # the controller stores it once, at commissioning
    }
    assert all(key in BOUNDS for key in SETTINGS)


# -- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [300, 1_000, 3_000])
def test_a_full_report_comes_in_small_parts_in_order_and_says_where_it_ends(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REPORT_MAX_B == 8_000
    monkeypatch.setattr("agent.commands.variables.REPORT_MAX_B", most)
    play = Play(ports=4)
    assert play.command("GetBaseReport", requestId=5, reportBase="FullInventory") == {"status": "Accepted"}
    parts = reports(play, 5)
    assert [part["seqNo"] for part in parts] == list(range(len(parts))) and len(parts) > 1
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(to_cbor(encode_payload(part))) <= most for part in parts)
    keys = [(str(i["component"]), str(i["variable"])) for i in items(play, 5)]
    assert len(keys) == len(set(keys))
    assert "DataLink.IMEI" not in names(play, 5), "what is not known is absent"


def test_each_inventory_holds_what_it_is_for() -> None:
    play = Play()
    play.command("GetBaseReport", requestId=1, reportBase="ConfigurationInventory")
    play.command("GetBaseReport", requestId=2, reportBase="SummaryInventory")
    assert {i["variableAttribute"][0]["mutability"] for i in items(play, 1)} == {"ReadWrite"}
    assert "TxCtrlr.EVConnectionTimeOut" in names(play, 1)
    assert {name.split(".")[1] for name in names(play, 2)} == {"AvailabilityState", "Available", "Problem"}
    limits = [i["variableCharacteristics"] for i in items(play, 1) if i["variable"]["name"] == "EVConnectionTimeOut"]
    assert [(each["unit"], each["minLimit"], each["maxLimit"]) for each in limits] == [("s", 10, 600)]


def test_a_report_of_some_components_holds_no_other() -> None:
    play = Play()
    wanted = [{"component": {"name": "EVSE", "evse": {"id": 2}}}, named("ChargingStation.Model")]
    assert play.command("GetReport", requestId=1, componentVariable=wanted) == {"status": "Accepted"}
    assert {i["component"].get("evse", {}).get("id") for i in items(play, 1)} == {2, None}
    assert "ChargingStation.Model" in names(play, 1) and "ChargingStation.VendorName" not in names(play, 1)
    play.command("GetReport", requestId=2, componentCriteria=["Problem"])
    assert items(play, 2) == []
    play.see(1, faults=frozenset({"over_voltage"}))
    play.command("GetReport", requestId=3, componentCriteria=["Problem"])
    assert {name.split(".")[0] for name in names(play, 3)} == {"ChargingStation", "EVSE", "Connector"}
    assert {i["component"].get("evse", {}).get("id") for i in items(play, 3)} == {1, None}
    nothing = play.command("GetReport", requestId=4, componentVariable=[{"component": {"name": "Teapot"}}])
    assert nothing["status"] == "EmptyResultSet" and reports(play, 4) == []


# -- what is on Linux' lines ------------------------------------------------------------------------------------------

BOX = Machine(outputs=(("door", True), ("pump", False)), contacts=("lid",))


def item(component: str, instance: str, variable: str, **more: str) -> Json:
    return {"component": {"name": component, "instance": instance}, "variable": {"name": variable}, **more}


def switch(play: Play, name: str, value: str) -> tuple[str, str]:
    asked = item("Actuator", name, "Active", attributeValue=value)
    (said,) = play.command("SetVariables", setVariableData=[asked])["setVariableResult"]
    assert said["component"] == {"name": "Actuator", "instance": name}
    return said["attributeStatus"], said.get("attributeStatusInfo", {}).get("reasonCode", "")


def value(play: Play, component: str, instance: str, variable: str) -> str:
    asked = [item(component, instance, variable)]
    (said,) = play.command("GetVariables", getVariableData=asked)["getVariableResult"]
    return str(said["attributeValue"] if said["attributeStatus"] == "Accepted" else said["attributeStatus"])


def test_the_cloud_switches_an_output_and_it_stays_so_over_a_restart() -> None:
    play = Play(machine=BOX)
    assert (value(play, "Actuator", "door", "Active"), value(play, "Actuator", "Pump", "active")) == ("true", "false")
    assert switch(play, "door", "false") == ("Accepted", "") and switch(play, "pump", "TRUE") == ("Accepted", "")
    play = play.reboot(30)
    assert play.station.outputs == {"door": False, "pump": True}
    assert (value(play, "Actuator", "door", "Active"), value(play, "Actuator", "pump", "Active")) == ("false", "true")


@pytest.mark.promise("S9")
def test_what_is_no_output_or_no_value_is_refused_and_changes_nothing() -> None:
    play = Play(machine=BOX)
    assert switch(play, "fan", "true") == ("UnknownComponent", "")
    assert switch(play, "door", "1") == ("Rejected", "InvalidValue")
    assert put(play, "Actuator.Active", "true")[0] == "UnknownComponent", "which one?"
    asked = item("CaseAccessSensor", "lid", "Active", attributeValue="false")
    (said,) = play.command("SetVariables", setVariableData=[asked])["setVariableResult"]
    assert said["attributeStatus"] == "Rejected" and play.station.outputs == {}
    stored = {"outputs": {"door": "yes", "gone": True, "pump": True}}
    assert Play(machine=BOX, facts=stored).station.outputs == {"pump": True}
    assert Play(machine=BOX, facts={"outputs": ["door"], "opened": {"lid": 1}}).station.outputs == {}


def test_a_report_tells_of_the_lines_and_of_one_that_failed() -> None:
    play = Play(machine=BOX).on(PartTold("output.door", "line 5 is not there", code="device"))
    assert value(play, "Actuator", "door", "Problem") == "true"
    assert value(play, "CaseAccessSensor", "lid", "Active") == "false"
    play.command("GetBaseReport", requestId=5, reportBase="FullInventory")
    told = {
        (each["component"].get("instance"), each["variable"]["name"]): each["variableAttribute"][0]
        for each in items(play, 5) if "instance" in each["component"]
    }  # fmt: skip
    assert told["door", "Active"] == {"value": "true", "mutability": "ReadWrite", "persistent": True, "constant": False}
    assert told.keys() == {("door", "Active"), ("door", "Problem"), ("pump", "Active"), ("lid", "Active")}
    play.command("GetReport", requestId=6, componentVariable=[{"component": {"name": "Actuator", "instance": "pump"}}])
    assert [each["component"]["instance"] for each in items(play, 6)] == ["pump"]
    play.command("GetReport", requestId=7, componentCriteria=["Problem"])
    assert {each["component"].get("instance") for each in items(play, 7)} == {"door"}


def test_the_light_has_a_mode_with_its_words() -> None:
    play = Play()
    assert put(play, "EnvironmentalLighting.Mode", "on")[0] == "Accepted" and play.station.settings.light == "on"
    assert put(play, "EnvironmentalLighting.Mode", "dim")[:2] == ("Rejected", "InvalidValue")
    play.command("GetReport", requestId=8, componentVariable=[{"component": {"name": "EnvironmentalLighting"}}])
    (told,) = items(play, 8)
    assert told["variableCharacteristics"]["valuesList"] == "auto,on,off"
