"""Commands of the cloud: signed by the operator, for this station, in time, once. The order of checks: docs/uplink.md.

Whatever arrives, the answer is a Command or a Refusal; what a command did is a CommandResult in stream 2. Mark a
command as seen in the commit that holds its result: after a cut before it the cloud's repetition does it, once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import UNSET, Struct

from agent import reporting
from agent.clock import read_time
from agent.commands.variables import ITEMS_MAX
from agent.effects import Save
from agent.events import (
    AvailabilityRequested,
    Commanded,
    LiveRequested,
    LogRequested,
    MessageTriggered,
    NetworkProfileRequested,
    OwnerRequested,
    RemoteStartRequested,
    RemoteStopRequested,
    ReportRequested,
    ResetRequested,
    UnlockRequested,
    UpdateRequested,
    VariableChangesRequested,
    VariablesRequested,
)
from agent.policy.id_token import normalised
from agent.reporting import answer
from agent.uplink import messages, operator
from agent.uplink.codec import WireError, decode_command
from agent.uplink.cwt import claims_of
from agent.uplink.messages import Message, OperationalStatusEnumType
from agent.uplink.signed import SignatureError, verify

FACT = "commands"
SEEN_MAX = 200  # oldest forgotten first; by then a held-back repetition has most likely expired
INVALID_MESSAGES = "InvalidMessages"  # OCPP 2.1 security event: signed wrongly, or not meant for us


class Command(Struct, frozen=True):
    """Signed, ours, new, and not known to be late."""

    command_id: str
    action: str
    payload: dict[str, Any]  # OCPP 2.1 in JSON form
    request: Message  # the same as a struct
    is_time_known: bool = True  # False: nobody could judge its expiry


class Refusal(Struct, frozen=True):
    """Nothing is done. `result`: the CommandResult owed to the cloud, and `command_id` is then to be marked as seen.

    Without a result the command was answered before, or is nobody's we know: then `security_event` is the type of the
    SecurityEventNotification to record.
    """

    why: str
    command_id: str | None = None
    result: dict[str, Any] | None = None
    security_event: str | None = None


class ListReplaceRequested(Struct, frozen=True):
    """OCPP SendLocalList."""

    command_id: str
    request: dict[str, Any]


class ListVersionRequested(Struct, frozen=True):
    """OCPP GetLocalListVersion."""

    command_id: str


class ListContentRequested(Struct, frozen=True):
    """DataTransfer ListContent: what does the list say, in 256 sums?"""

    command_id: str


class CacheClearRequested(Struct, frozen=True):
    """OCPP ClearCache."""

    command_id: str


class CertificateCame(Struct, frozen=True):
    """OCPP CertificateSigned."""

    command_id: str
    request: dict[str, Any]


class KeysChangeRequested(Struct, frozen=True):
    """DataTransfer OperatorKeys: agent/uplink/operator.py."""

    command_id: str
    data: Any


class TransactionStatusRequested(Struct, frozen=True):
    """OCPP GetTransactionStatus; None asks about all together."""

    command_id: str
    transaction_id: str | None


class Answered(Struct, frozen=True):
    """Nothing is to be done, and this is the response."""

    command_id: str
    response: dict[str, Any]


ListCommand = ListReplaceRequested | ListContentRequested | ListVersionRequested | CacheClearRequested
StoreCommand = TransactionStatusRequested
TrustCommand = CertificateCame | KeysChangeRequested
LIVE_MODE, LIST_CONTENT = "LiveMode", "ListContent"  # messageId of a DataTransfer under our vendorId
OWNER_ACTIONS = frozenset({
    "ReserveNow", "CancelReservation", "SetChargingProfile", "ClearChargingProfile", "GetChargingProfiles",
    "GetCompositeSchedule", "SetDefaultTariff", "GetTariffs", "ClearTariffs", "ChangeTransactionTariff",
    "SetDisplayMessage", "GetDisplayMessages", "ClearDisplayMessage",
})  # fmt: skip
PLAN_TOKEN, ACTIVATION = "PlanToken", "Activation"
OWNER_MESSAGES = frozenset({  # messageId, as above
    "AccessPolicy", PLAN_TOKEN, ACTIVATION, "Transfer", "FactoryReset", "GroupTariffs",
})  # fmt: skip
LIVE_INTERVAL_S, LIVE_FOR_S = range(1, 61), range(3_601)


NO_KEYS: Mapping[bytes, Ed25519PublicKey] = {}


class SeenCommands:
    """The ids of the last SEEN_MAX commands that have a result, and of those being carried out."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        stored = facts.get(FACT)
        ids = stored if isinstance(stored, list) else []
        self._ids = dict.fromkeys([i for i in ids if isinstance(i, str)][-SEEN_MAX:])
        self._begun: set[str] = set()

    def __contains__(self, command_id: object) -> bool:
        return command_id in self._ids or command_id in self._begun

    def begin(self, command_id: str) -> None:
        """It takes a while (a list is built): a repetition meanwhile is one, but a restart begins anew."""
        self._begun.add(command_id)

    def add(self, command_id: str) -> Save:
        """To be committed together with the result."""
        self._begun.discard(command_id)
        self._ids[command_id] = None
        while len(self._ids) > SEEN_MAX:
            del self._ids[next(iter(self._ids))]
        return Save(FACT, list(self._ids))


def open_command(
    data: bytes,
    keys: Mapping[bytes, Ed25519PublicKey],
    station_id: str,
    now_s: float,
    seen: SeenCommands,
    *,
    is_time_known: bool = True,
) -> Command | Refusal:
    """The command in these bytes. `now_s`: a wall time surely not after the true one (clock.earliest).

    Any thread: reading a big list takes tens of milliseconds, more than the loop may wait.
    """
    try:
        said = decode_command(verify(data, keys))
    except (SignatureError, WireError) as error:
        return Refusal(str(error), security_event=INVALID_MESSAGES)
    if said.station_id != station_id:
        return Refusal(f"a command for station {said.station_id}", security_event=INVALID_MESSAGES)
    if said.command_id in seen:
        return Refusal("already done, or being done: its result stands", said.command_id)
    if said.expires_ms < now_s * 1000:
        return expired(said.command_id)
    if said.action in messages.SAID:
        return refused(said.command_id, "NotSupported", f"{said.action} cannot be commanded here")
    if said.action not in messages.COMMANDS:
        return refused(said.command_id, "NotImplemented", f"{said.action} is no action that this station knows")
    try:
        request = messages.from_wire(messages.COMMANDS[said.action], said.payload)
    except WireError as error:
        return refused(said.command_id, "FormatViolation", str(error))
    return Command(said.command_id, said.action, said.payload, request, is_time_known)


def to_event(
    command: Command, keys: Mapping[bytes, Ed25519PublicKey] = NO_KEYS
) -> Commanded | ListCommand | StoreCommand | TrustCommand | Answered | Refusal:
    """What the command asks for, in the core's words, or in those of the lists, or of our certificates and keys. `keys`
    are the operator's, for a plan token that is in it: it has a signature of its own."""
    command_id = command.command_id
    match command.request:
        case messages.RequestStartTransactionRequest() as start:
            token, kind = start.idToken.idToken, start.idToken.type
            id_token = (normalised(token) or token) if kind == "ISO14443" else token
            group_id = start.groupIdToken.idToken if start.groupIdToken else None
            return RemoteStartRequested(
                command_id, start.remoteStartId, id_token, kind, start.evseId, group_id,
                command.payload.get("chargingProfile"),
                additional(start.idToken, "PaymentBrand"), additional(start.idToken, "PaymentRecognition"),
            )  # fmt: skip
        case messages.RequestStopTransactionRequest(transactionId=transaction_id):
            return RemoteStopRequested(command_id, transaction_id)
        case messages.ChangeAvailabilityRequest(evse=evse, operationalStatus=status):
            if evse and evse.connectorId not in (None, 1):
                why = f"connector {evse.connectorId}: each port here has one connector, 1"
                return refused(command_id, "PropertyConstraintViolation", why)
            operative = status is OperationalStatusEnumType.Operative
            return AvailabilityRequested(command_id, operative, (evse.id or None) if evse else None)
        case messages.ResetRequest(type=kind, evseId=evse_id):
            return ResetRequested(command_id, kind, evse_id or None)
        case messages.UnlockConnectorRequest(evseId=evse_id, connectorId=connector_id):
            return UnlockRequested(command_id, evse_id, connector_id)
        case messages.TriggerMessageRequest(requestedMessage=message, evse=evse):
            return MessageTriggered(
                command_id, message, (evse.id or None) if evse else None, evse.connectorId if evse else None
            )
        case messages.GetVariablesRequest(getVariableData=items):
            return too_many(command_id, items) or VariablesRequested(command_id, tuple(items))
        case messages.SetVariablesRequest(setVariableData=items):
            return too_many(command_id, items) or VariableChangesRequested(command_id, tuple(items))
        case messages.GetBaseReportRequest(requestId=request_id, reportBase=base):
            return ReportRequested(command_id, request_id, base)
        case messages.GetReportRequest(requestId=request_id, componentVariable=wanted, componentCriteria=criteria):
            return too_many(command_id, wanted or ()) or ReportRequested(
                command_id, request_id, None, tuple(wanted or ()), tuple(criteria or ())
            )
        case messages.GetTransactionStatusRequest(transactionId=transaction_id):
            return TransactionStatusRequested(command_id, transaction_id)
        case messages.SetNetworkProfileRequest(configurationSlot=slot, connectionData=data):
            return NetworkProfileRequested(command_id, slot, data.ocppCsmsUrl, data.securityProfile)
        case messages.UpdateFirmwareRequest():
            return update_of(command_id, command.request)
        case messages.GetLogRequest() as wanted:
            ours: dict[str, Any] = wanted.customData or {}
            budget_b = ours.get("budgetB") if ours.get("vendorId") == reporting.VENDOR_ID else None
            return LogRequested(
                command_id, wanted.requestId, wanted.logType, wanted.log.remoteLocation, wanted.retries,
                wanted.retryInterval, budget_b if type(budget_b) is int else None,
            )  # fmt: skip
        case messages.DataTransferRequest(vendorId=reporting.VENDOR_ID, messageId=operator.MESSAGE_ID):
            return KeysChangeRequested(command_id, command.payload.get("data"))
        case messages.DataTransferRequest() as transfer:
            return transferred(command_id, transfer, keys)
        case messages.SendLocalListRequest():
            return ListReplaceRequested(command_id, command.payload)
        case messages.GetLocalListVersionRequest():
            return ListVersionRequested(command_id)
        case messages.ClearCacheRequest():
            return CacheClearRequested(command_id)
        case messages.CertificateSignedRequest():
            return CertificateCame(command_id, command.payload)
        case _ if command.action in OWNER_ACTIONS:
            return OwnerRequested(command_id, command.action, command.payload)
    raise AssertionError(command.action)  # every action of messages.COMMANDS is above


def additional(token: messages.IdTokenType, kind: str) -> str | None:
    """What the idToken's additionalInfo says of that kind."""
    return next((each.additionalIdToken for each in token.additionalInfo or () if each.type == kind), None)


def update_of(command_id: str, request: messages.UpdateFirmwareRequest) -> UpdateRequested | Refusal:
    """What says who may sign a build is in the build (docs/flashing.md); OCPP's own certificate is not looked at."""
    firmware = request.firmware
    custom: dict[str, Any] = request.customData or {}
    retrieve_s = read_time(firmware.retrieveDateTime)
    install_s = read_time(firmware.installDateTime) if firmware.installDateTime else None
    if retrieve_s is None or (firmware.installDateTime and install_s is None):
        return refused(command_id, "PropertyConstraintViolation", "retrieveDateTime or installDateTime is no time")
    return UpdateRequested(
        command_id, request.requestId, firmware.location, retrieve_s, install_s, request.retries, request.retryInterval,
        custom if custom.get("vendorId") == reporting.VENDOR_ID else {},
    )  # fmt: skip


def transferred(
    command_id: str, transfer: messages.DataTransferRequest, keys: Mapping[bytes, Ed25519PublicKey]
) -> LiveRequested | ListContentRequested | OwnerRequested | Answered:
    """What OCPP has no message for."""
    if transfer.vendorId != reporting.VENDOR_ID:
        return Answered(command_id, answer("UnknownVendorId"))
    if transfer.messageId in OWNER_MESSAGES:
        data = None if transfer.data is UNSET else transfer.data
        return OwnerRequested(command_id, transfer.messageId, with_claims(transfer.messageId, data, keys))
    if transfer.messageId == LIST_CONTENT:
        return ListContentRequested(command_id)
    if transfer.messageId != LIVE_MODE:
        return Answered(command_id, answer("UnknownMessageId"))
    match transfer.data:
        case {"intervalS": interval_s, "forS": for_s} if type(interval_s) is type(for_s) is int:
            if interval_s in LIVE_INTERVAL_S and for_s in LIVE_FOR_S:
                return LiveRequested(command_id, interval_s, for_s)
    return Answered(command_id, answer("Rejected", "InvalidValue", "data: {intervalS: 1 to 60, forS: 0 to 3600}"))


def with_claims(message_id: str, data: Any, keys: Mapping[bytes, Ed25519PublicKey]) -> Any:
    """A plan token as its claims, or as the text of its refusal; all else as it is."""
    if message_id == PLAN_TOKEN:
        return claims_of(data, keys)
    if message_id == ACTIVATION and isinstance(data, Mapping) and "planToken" in data:
        return {**data, "planToken": claims_of(data["planToken"], keys)}
    return data


def too_many(command_id: str, items: Sequence[object]) -> Refusal | None:
    if len(items) <= ITEMS_MAX:
        return None
    return refused(command_id, "OccurrenceConstraintViolation", f"{len(items)} items are over {ITEMS_MAX}")


def expired(command_id: str) -> Refusal:
    return Refusal("expired: nothing was done", command_id, {"commandId": command_id, "status": "Expired"})


def refused(command_id: str, error_code: str, why: str) -> Refusal:
    """`error_code`: one of OCPP-J's."""
    result = {"commandId": command_id, "status": "Refused", "errorCode": error_code, "why": why[:1000]}
    return Refusal(why, command_id, result)
