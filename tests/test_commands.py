"""A command is done if the operator signed it, for this station, in time; and once."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.events import AvailabilityRequested, RemoteStartRequested, RemoteStopRequested
from agent.uplink import codec
from agent.uplink.codec import encode_command, to_cbor
from agent.uplink.commands import (
    SEEN_MAX,
    CacheClearRequested,
    Command,
    ListReplaceRequested,
    ListVersionRequested,
    Refusal,
    SeenCommands,
    open_command,
    to_event,
)
from agent.uplink.messages import COMMANDS, SAID
from agent.uplink.signed import sign

OPERATOR = Ed25519PrivateKey.from_private_bytes(b"the operator's private key, 32 B")
STRANGER = Ed25519PrivateKey.from_private_bytes(b"another private key of 32 bytes!")
KEYS = {b"op": OPERATOR.public_key()}
NOW_S = 1_767_261_600.0
LATER_MS = 1_767_261_660_000
STOP: dict[str, Any] = {"transactionId": "T1"}
CARD = {"idToken": "04:a2:2b:1c", "type": "ISO14443"}


def signed(
    action: str = "RequestStopTransaction", payload: dict[str, Any] = STOP, station_id: str = "S1",
    expires_ms: int = LATER_MS, key: Ed25519PrivateKey = OPERATOR, command_id: str = "C1",
) -> bytes:  # fmt: skip
    return sign(encode_command(codec.Command(station_id, command_id, expires_ms, action, payload)), b"op", key)


def opened(data: bytes, seen: SeenCommands | None = None, *, is_time_known: bool = True) -> Command | Refusal:
    return open_command(data, KEYS, "S1", NOW_S, seen or SeenCommands({}), is_time_known=is_time_known)


def refusal(data: bytes, seen: SeenCommands | None = None) -> Refusal:
    said = opened(data, seen)
    assert isinstance(said, Refusal)
    return said


def event(action: str, payload: dict[str, Any]) -> Any:
    command = opened(signed(action, payload))
    assert isinstance(command, Command), command
    return to_event(command)


# -- what is done -----------------------------------------------------------------------------------------------------


def test_a_command_becomes_what_the_core_understands() -> None:
    start = {"idToken": CARD, "remoteStartId": 7, "evseId": 2}
    assert event("RequestStartTransaction", start) == RemoteStartRequested("C1", 7, "04A22B1C", "ISO14443", 2)
    account = {"idToken": {"idToken": "account-9", "type": "Central"}, "remoteStartId": 8}
    assert event("RequestStartTransaction", account) == RemoteStartRequested("C1", 8, "account-9", "Central", None)
    assert event("RequestStopTransaction", STOP) == RemoteStopRequested("C1", "T1")
    port = {"operationalStatus": "Inoperative", "evse": {"id": 1, "connectorId": 1}}
    assert event("ChangeAvailability", port) == AvailabilityRequested("C1", operative=False, evse_id=1)
    for station in ({}, {"evse": {"id": 0}}):
        asked = {"operationalStatus": "Operative", **station}
        assert event("ChangeAvailability", asked) == AvailabilityRequested("C1", operative=True, evse_id=None)


def test_a_command_about_lists_goes_to_the_lists() -> None:
    request = {"versionNumber": 1, "updateType": "Full"}
    assert event("SendLocalList", request) == ListReplaceRequested("C1", request)
    assert event("GetLocalListVersion", {}) == ListVersionRequested("C1")
    assert event("ClearCache", {}) == CacheClearRequested("C1")


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
def test_what_cannot_be_commanded_is_refused_with_a_result() -> None:
    boot = {"chargingStation": {"model": "m", "vendorName": "v"}, "reason": "PowerUp"}
    asked: dict[str, dict[str, Any]] = {"Heartbeat": {}, "BootNotification": boot}
    for action, payload in asked.items():
        why = f"{action} cannot be commanded here"
        refused = {"commandId": "C1", "status": "Refused", "errorCode": "NotSupported", "why": why}
        assert refusal(signed(action, payload)).result == refused
    second = event("ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": 1, "connectorId": 2}})
    assert second.result["errorCode"] == "PropertyConstraintViolation"


@pytest.mark.promise("S9")
def test_an_unknown_action_and_a_wrong_payload_are_refused_with_a_result() -> None:
    unknown, wrong = refusal(signed("OpenTheDoor", {})), refusal(signed(payload={"transactionId": 5}))
    assert unknown.result and unknown.result["errorCode"] == "NotImplemented"
    assert wrong.result and wrong.result["errorCode"] == "FormatViolation" and "transactionId" in wrong.why
    assert unknown.command_id == wrong.command_id == "C1" and unknown.security_event is None


@pytest.mark.promise("S9")
def test_a_strangers_command_and_one_for_another_station_have_no_result() -> None:
    for data in (signed(key=STRANGER), signed(station_id="S2"), sign(to_cbor(["S1", "C1"]), b"op", OPERATOR)):
        said = refusal(data)
        assert said.result is None and said.security_event == "InvalidMessages" and said.why


@pytest.mark.promise("S9")
def test_a_late_command_is_refused_but_only_time_we_are_sure_of_makes_it_late() -> None:
    late = refusal(signed(expires_ms=int(NOW_S * 1000) - 1))
    assert late.result == {"commandId": "C1", "status": "Expired"}
    assert isinstance(opened(signed(expires_ms=int(NOW_S * 1000))), Command)
    unjudged = opened(signed(), is_time_known=False)
    assert isinstance(unjudged, Command) and not unjudged.is_time_known


@pytest.mark.promise("S2", "S9")
def test_a_repeated_command_is_done_once_even_across_a_power_cut() -> None:
    seen = SeenCommands({})
    assert isinstance(opened(signed(), seen), Command)
    save = seen.add("C1")
    for memory in (seen, SeenCommands({save.key: save.value})):
        again = refusal(signed(), memory)
        assert again.result is None and again.security_event is None and "already" in again.why
    assert isinstance(opened(signed(), SeenCommands({})), Command), "cut before the commit: it is done after all"


def test_a_command_still_being_carried_out_is_not_begun_twice() -> None:
    seen = SeenCommands({})
    seen.begin("C1")
    assert "already" in refusal(signed(), seen).why
    assert seen.add("C1").value == ["C1"] and "C1" in seen


@pytest.mark.promise("S10")
def test_the_memory_of_commands_is_bounded_and_forgets_the_oldest() -> None:
    seen = SeenCommands({})
    for n in range(SEEN_MAX + 5):
        save = seen.add(f"C{n}")
    assert len(save.value) == SEEN_MAX and "C4" not in seen and "C5" in seen and save.value[-1] == f"C{SEEN_MAX + 4}"
    assert "C204" in SeenCommands({save.key: [*save.value, 5, None]})
    assert "C1" not in SeenCommands({save.key: "nonsense"})


@pytest.mark.promise("S9")
def test_a_changed_bit_anywhere_is_refused_before_the_content_is_looked_at() -> None:
    data = signed()
    whole = opened(data)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        said = opened(bytes(changed))
        assert said == whole or (isinstance(said, Refusal) and said.result is None and said.security_event)


@pytest.mark.promise("S9")
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused_signed_or_not(data: bytes, is_signed: bool) -> None:
    said = refusal(sign(data, b"op", OPERATOR) if is_signed else data)
    assert said.security_event == "InvalidMessages"


MEMBERS = st.sampled_from("idToken evse id transactionId updateType versionNumber customData type".split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | MEMBERS, inner, max_size=3),
    max_leaves=8,
)


ACTIONS = st.sampled_from(sorted({*COMMANDS, *SAID})) | st.text(min_size=1, max_size=9)


@pytest.mark.promise("S9")
@given(ACTIONS, st.dictionaries(MEMBERS, JSON, max_size=4))
def test_any_signed_payload_is_an_event_or_a_refusal(action: str, payload: dict[str, Any]) -> None:
    said = opened(signed(action, payload))
    meant = to_event(said) if isinstance(said, Command) else said
    assert not isinstance(meant, Refusal) or meant.why


@pytest.mark.promise("S9")
@given(st.lists(JSON | st.just("S1") | st.integers(0, 60), max_size=6))
def test_any_signed_array_that_is_no_command_is_refused(row: list[Any]) -> None:
    assert refusal(sign(to_cbor(row), b"op", OPERATOR)).why
