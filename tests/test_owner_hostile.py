"""The owner's commands with whatever a cloud may put into them: each is answered as OCPP's schema has it, changes
nothing where it says no, survives a restart as it is, and takes no more room than was promised."""

import os
import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.commands.variables import ROWS
from agent.policy import owner as owner_facts
from agent.policy.display_message import MESSAGES_MAX
from agent.policy.profile import PROFILES_MAX
from agent.policy.reservation import RESERVATIONS_MAX
from agent.policy.tariff.choice import DEFAULTS_MAX
from agent.policy.tariff.terms import SIZE_MAX_B
from agent.reporting import VENDOR_ID
from agent.uplink.codec import (
    WireError,
    WireRecord,
    decode_payload,
    encode_payload,
    encode_record,
    from_cbor,
    to_cbor,
)
from agent.uplink.commands import OWNER_ACTIONS, OWNER_MESSAGES, Command, Refusal, to_event
from agent.uplink.messages import COMMANDS, from_wire
from tests import referee
from tests.play import ANN, KEYS, WALL_S, Json, Play
from tests.test_codec import anything, made, schema
from tests.test_commands import opened, signed
from tests.test_cost import fixed, tariff
from tests.test_owner import iso

RECORD_MAX_B = 90_000  # docs/uplink.md
MODEL = ["GetVariables", "SetVariables", "GetBaseReport", "GetReport"]
STARTS = ["RequestStartTransaction", "RequestStopTransaction", "ChangeAvailability"]
ORDERS = [*sorted(OWNER_ACTIONS), *(f"DataTransfer {name}" for name in sorted(OWNER_MESSAGES)), *MODEL, *STARTS]
YES = {"Accepted", "Done", None}
HUGE = [10**18, 2**63, -(2**64), 10**39, 0, -1]


TOKEN = {"idToken": ANN, "type": "ISO14443"}


def good(rng: random.Random, play: Play) -> dict[str, Json]:
    """An order of each kind that may well be taken, by its name in ORDERS."""
    tx = play.station.ports[0].transaction
    number, evse_id, expiry = rng.randint(1, 40), rng.choice([0, 1, 2]), iso(WALL_S + rng.choice([-1, 60, 90_000]))
    period = {"startPeriod": 0, "limit": rng.choice([0.0, 10.0])}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    profile = {
        "id": number, "stackLevel": rng.randint(0, 10), "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Relative", "chargingSchedule": [schedule],
    }  # fmt: skip
    text = {"format": "UTF8", "content": "Hello"}
    sent = tariff(f"T{number}", rng.choice([0.0, 0.3]), fixedFee=fixed(1.0), description=[text])
    row = rng.choice(ROWS)
    variable: Json = {
        "component": {"name": row.component} | ({"evse": {"id": 1}} if row.of else {}),
        "variable": {"name": row.variable} | ({"instance": row.part} if row.part else {}),
    }  # fmt: skip
    rule = {"name": "r", "who": rng.choice(["everyone", "connected"]), "sessionLimitS": 600}
    return {
        "ReserveNow": {"id": number, "idToken": TOKEN, "expiryDateTime": expiry, "evseId": evse_id},
        "CancelReservation": {"reservationId": number},
        "SetChargingProfile": {"evseId": evse_id, "chargingProfile": profile},
        "ClearChargingProfile": {"chargingProfileId": number},
        "GetChargingProfiles": {"requestId": number, "chargingProfile": {}},
        "GetCompositeSchedule": {"duration": 3600, "evseId": evse_id},
        "SetDefaultTariff": {"evseId": evse_id, "tariff": sent},
        "GetTariffs": {"evseId": evse_id},
        "ClearTariffs": {"tariffIds": [f"T{number}"]},
        "ChangeTransactionTariff": {"transactionId": tx.transaction_id if tx else "x", "tariff": sent},
        "SetDisplayMessage": {"message": {"id": number, "priority": "NormalCycle", "message": text}},
        "GetDisplayMessages": {"requestId": number},
        "ClearDisplayMessage": {"id": number},
        "GroupTariffs": {"version": "1", "rules": [{"groups": ["a"], "tariff": sent}]},
        "AccessPolicy": {"policyId": "p", "version": number, "rules": [rule]},
        "Activation": {"name": "n", "owner": "o", "contact": "c", "afterPlan": "free", "reservable": True},
        "Transfer": {"waitS": 60},
        "SetVariables": {"setVariableData": [variable | {"attributeValue": rng.choice(["true", "7", "x" * 900])}]},
        "GetVariables": {"getVariableData": [variable] * rng.choice([1, 32, 33])},
        "GetReport": {"requestId": number, "componentVariable": [variable]},
        "RequestStartTransaction": {"idToken": TOKEN, "remoteStartId": number, "evseId": evse_id or 1},
    }  # fmt: skip


def broken(rng: random.Random, payload: Json) -> Json:
    """With one member gone, of another kind, or much too much of it."""
    places = list(members(payload))
    if not places:
        return {"surplus": 1}
    at, key = rng.choice(places)
    match rng.randrange(4):
        case 0 if isinstance(at, dict):
            del at[key]
        case 1:
            at[key] = rng.choice([*HUGE, None, True, "", "\udc80", "x" * 5_000, [], {}, 1e308, 0.1 + 0.2])
        case 2:
            at[key] = [deepcopy(at[key]) for _ in range(200)]
        case _:
            at[key] = anything(rng, 2)
    return payload


def members(value: Any) -> Any:
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(each, dict | list):
            yield from members(each)


def ordered(rng: random.Random, play: Play) -> tuple[str, Json]:
    order = rng.choice(ORDERS)
    action, _, message_id = order.partition(" ")
    request = schema(f"{action}Request")
    payload = deepcopy(good(rng, play).get(message_id or action)) if rng.random() < 0.6 else None
    if payload is None:
        payload = anything(rng, 3) if message_id else made(rng, request, request["definitions"])
    if rng.random() < 0.4:
        payload = broken(rng, payload)
    return action, {"vendorId": VENDOR_ID, "messageId": message_id, "data": payload} if message_id else payload


def arrived(payload: Json) -> Json | None:
    """As the wire brings it; None: no wire could."""
    try:
        there: Json = decode_payload(from_cbor(to_cbor(encode_payload(payload))))
    except WireError:
        return None
    return there


def given_to(play: Play, action: str, payload: Json) -> Json | None:
    """The station's answer; None: the payload is refused before any of it is looked at."""
    play.commands += 1
    command_id = f"h{play.commands}"
    here = arrived(payload)
    try:
        if here is None:
            return None
        request = from_wire(COMMANDS[action], here)
    except WireError:
        return None
    event = to_event(Command(command_id, action, here, request), KEYS)
    if isinstance(event, Refusal):
        return None
    referee.expect(command_id, action)
    play.on(event)  # type: ignore[arg-type]  # the core's
    answers: list[Json] = [p["response"] for p in play.payloads("CommandResult") if p["commandId"] == command_id]
    (response,) = answers
    return response


def fits(play: Play) -> None:
    """What is kept is within its bounds, comes back from the disk as it is, and no record is longer than one may be."""
    held = play.station.owner
    assert len(held.reservations) <= RESERVATIONS_MAX and len(held.messages) <= MESSAGES_MAX
    assert len(held.profiles) <= PROFILES_MAX + len(play.station.ports)
    assert all(len(each) <= DEFAULTS_MAX for each in held.default_tariffs.of_evse.values())
    saved = owner_facts.saved(held)
    again = owner_facts.restored({owner_facts.FACT + name: value for name, value in saved.items()}, 2)
    assert owner_facts.saved(again) == saved
    for record in play.records:
        size_b = len(encode_record(WireRecord(bytes(8), 1, None, 0, record.action, record.payload)))
        assert size_b <= RECORD_MAX_B, (record.action, size_b)


def played(seed: int) -> None:
    rng = random.Random(seed)
    play = Play()
    if rng.random() < 0.5:
        play.plug(1).tap(ANN)
    for _ in range(12):
        play.after(0)  # what the last order has set in motion, as a transfer that waits for nothing
        before = owner_facts.saved(play.station.owner)
        action, payload = ordered(rng, play)
        told = len(play.records)
        response = given_to(play, action, payload)
        if response is None or response.get("status") not in YES:
            assert owner_facts.saved(play.station.owner) == before, (action, response)
            assert {record.action for record in play.records[told:]} <= {"CommandResult"}
    play.after(rng.choice([1, 100, 86_400]))
    fits(play)
    play.reboot(60.0)


@pytest.mark.promise("S9")
@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_any_order_of_the_owner_is_answered_and_one_that_is_refused_changes_nothing(seed: int) -> None:
    played(seed)


@pytest.mark.long
@pytest.mark.promise("S9")
def test_hundreds_of_runs_of_any_orders_of_the_owner() -> None:
    for seed in range(int(os.environ.get("STATION_SEEDS", "600"))):
        played(seed)


# -- much of it


@pytest.mark.promise("S9")
@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.long)])
def test_ten_thousand_reservations_and_profiles_take_no_more_room_than_the_first(count: int) -> None:
    play, rng = Play(), random.Random(1)
    for number in range(count):
        order = good(rng, play)
        order["ReserveNow"] |= {"id": number, "expiryDateTime": iso(WALL_S + 3600)}
        order["SetChargingProfile"]["chargingProfile"] |= {"id": number, "stackLevel": number % 10}
        for action in ("ReserveNow", "SetChargingProfile"):
            assert given_to(play, action, deepcopy(order[action])) is not None
        play.records.clear()
    fits(play)


HEAP = {"vendorId": "x", "heap": [0.1] * 2_000}  # what OCPP lets anybody add


@pytest.mark.promise("S9")
def test_what_is_too_long_to_be_kept_and_told_again_is_refused() -> None:
    play, rng = Play(), random.Random(1)
    for action, member in (
        ("SetChargingProfile", "chargingProfile"), ("SetDisplayMessage", "message"), ("SetDefaultTariff", "tariff"),
    ):  # fmt: skip
        payload = good(rng, play)[action]
        payload[member]["customData"] = HEAP | {"more": "x" * SIZE_MAX_B}
        response = given_to(play, action, payload)
        assert response and response["status"] == "Rejected", action
        assert "bytes: send at most" in response["statusInfo"]["additionalInfo"]
    assert not any(owner_facts.saved(play.station.owner).values())


@pytest.mark.promise("S9")
def test_as_much_as_is_taken_is_told_again_in_records_that_are_short_enough() -> None:
    play, rng = Play(), random.Random(1)
    for number in range(1, 31):
        order = good(rng, play)
        order["SetDisplayMessage"]["message"] |= {"id": number, "customData": HEAP}
        profile = order["SetChargingProfile"]["chargingProfile"]
        profile |= {"id": number, "stackLevel": number % 10, "customData": HEAP | {"more": "x" * 7_000}}
        order["SetChargingProfile"]["evseId"] = 1 + number % 2
        for action in ("SetDisplayMessage", "SetChargingProfile"):
            given_to(play, action, order[action])
    held = play.station.owner
    assert len(held.messages) == MESSAGES_MAX and len(held.profiles) >= 10
    for action in ("GetDisplayMessages", "GetChargingProfiles"):
        given_to(play, action, good(rng, play)[action])
    reports = play.payloads("ReportChargingProfiles")
    told = [each["id"] for report in reports for each in report["chargingProfile"]]
    assert sorted(told) == sorted(each.profile_id for each in held.profiles)
    assert ["tbc" in report for report in reports] == [True] * (len(reports) - 1) + [False]
    fits(play)


# -- what is not done here


@pytest.mark.parametrize("action", [
    "SetVariableMonitoring", "SetMonitoringBase", "SetMonitoringLevel", "GetMonitoringReport",
    "ClearVariableMonitoring", "CostUpdated", "NotifyEVChargingNeeds",
])  # fmt: skip
def test_what_this_station_does_not_do_is_refused_by_name(action: str) -> None:
    said = opened(signed(action, {}))
    assert isinstance(said, Refusal) and said.result and said.result["errorCode"] == "NotImplemented"
    assert action in said.result["why"]
