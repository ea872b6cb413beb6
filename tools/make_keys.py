"""Append to agent/uplink/keys.csv what the OCPP 2.1 schemas name and the table lacks.

`python tools/make_keys.py` needs the `ocpp` package. A number, once given, is never changed, reused or removed: records
years old must still read. So this only appends; a new word of our own goes to the end of OURS.
"""

import csv
import io
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parent.parent / "agent" / "uplink" / "keys.csv"
HEADER = "number,name,kind\n"

# One byte (0..23): what each sampled value repeats. Two bytes (24..255): the rest of the daily messages.
HOT = """
value measurand unitOfMeasure unit phase context sampledValue timestamp meterValue transactionInfo transactionId seqNo
L1 L2 L3 A V W Wh Current.Import Voltage Power.Active.Import Energy.Active.Import.Register Sample.Periodic

TransactionEvent StatusNotification NotifyEvent CommandResult Tombstone SecurityEventNotification MeterValues
BootNotification Heartbeat Authorize DataTransfer RequestStartTransaction RequestStopTransaction ChangeAvailability
Reset UnlockConnector SendLocalList GetLocalListVersion ClearCache TriggerMessage
eventType triggerReason Started Updated Ended offline evse id evseId connectorId idToken type chargingState
stoppedReason customData vendorId station-agent EVConnected Charging SuspendedEV SuspendedEVSE Idle
Authorized CablePluggedIn ChargingStateChanged Deauthorized EVCommunicationLost EVConnectTimeout EVDeparted EVDetected
MeterValueClock MeterValuePeriodic RemoteStart RemoteStop ResetCommand StopAuthorized Trigger TxResumed UnlockCommand
AbnormalCondition EnergyLimitReached TimeLimitReached LimitSet ChargingRateChanged RunningCost
DeAuthorized EmergencyStop EVDisconnected GroundFault ImmediateReset MasterPass Local Other OvercurrentFault PowerLoss
PowerQuality Reboot Remote StoppedByEV Timeout
timeSpentCharging remoteStartId cableMaxCurrent numberOfPhasesUsed reservationId multiplier location Outlet
Sample.Clock Transaction.Begin Transaction.End Interruption.Begin Interruption.End
signedMeterValue signedMeterData encodingMethod signingMethod publicKey
L1-N L2-N L3-N N Current.Offered Power.Offered Frequency kWh kW Celsius
ISO14443 ISO15693 Central KeyCode MacAddress NoAuthorization
connectorStatus Available Occupied Reserved Unavailable Faulted
generatedAt tbc eventData eventId trigger actualValue component variable name instance eventNotificationType cause
techCode techInfo cleared severity Alerting Delta Periodic HardWiredNotification HardWiredMonitor PreconfiguredMonitor
CustomMonitor EVSE Connector ChargingStation AvailabilityState Problem Active
status Accepted Rejected reason statusInfo reasonCode additionalInfo idTokenInfo Blocked Expired Invalid Unknown
ConcurrentTx NotAtThisLocation NotAtThisTime NotAllowedTypeEVSE NoCredit cacheExpiryDateTime groupIdToken totalCost
currentTime interval chargingStation model vendorName serialNumber firmwareVersion modem iccid imsi PowerUp
Watchdog RemoteReset LocalReset localAuthorizationList versionNumber updateType Full Differential personalMessage
commandId response first last why errorCode Done Refused
"""

# Words of this project that OCPP does not have, with their kind. Append only.
OURS = {
    "CommandResult": "value", "Tombstone": "value", "station-agent": "value", "Done": "value", "Refused": "value",
    "A": "value", "V": "value", "W": "value", "Wh": "value", "kW": "value", "kWh": "value", "Celsius": "value",
    "ISO14443": "value", "ISO15693": "value", "Central": "value", "KeyCode": "value", "MacAddress": "value",
    "NoAuthorization": "value", "ChargingStation": "value", "AvailabilityState": "value",
    "Connector": "value", "EVSE": "value", "Problem": "value", "Active": "value",
    "commandId": "name", "response": "name", "first": "number", "last": "number", "why": "name", "errorCode": "name",
    "macAddress": "name", "bootReason": "name", "outageS": "number", "clockSource": "name", "listVersion": "number",
    "listAgeS": "number", "listGeneration": "name", "rule": "name", "mono": "number", "bootId": "name",
    "groups": "name", "modemType": "name", "resumedAfterS": "number", "faults": "name", "mrecCode": "name",
    "none": "value", "rtc": "value", "ntp": "value", "cloud": "value",
    "generation": "number", "count": "number", "parts": "number",
    "disk-full": "value", "thinned": "value", "dropped": "value",
    "budgetB": "number", "spreadS": "number", "window": "name", "override": "name",
}  # fmt: skip


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every OCPP 2.1 schema as (action, JSON), in order of file name; requests and responses share their action."""
    folder = files("ocpp") / "v21" / "schemas"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            action = file.name.removesuffix(".json").removesuffix("Request").removesuffix("Response")
            yield action, json.loads(file.read_text("utf-8-sig"))


def scalar(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a property's value is once references and arrays are looked through: time, number or name."""
    if "$ref" in node:
        node = definitions[node["$ref"].removeprefix("#/definitions/")]
    if "items" in node:
        return scalar(node["items"], definitions)
    if node.get("format") == "date-time":
        return "time"
    # No type at all (DataTransfer.data): anything may stand there, an integer too.
    return "number" if node.get("type", "number") in ("integer", "number") else "name"


def words() -> dict[str, set[str]]:
    """Each word of the schemas with every kind it is used as; a word that is only a value has `value` alone."""
    found: dict[str, set[str]] = {}
    for action, schema in schemas():
        found.setdefault(action, set()).add("value")
        definitions = schema.get("definitions", {})
        for node in (schema, *definitions.values()):
            for value in node.get("enum", ()):
                found.setdefault(value, set()).add("value")
            for name, field in node.get("properties", {}).items():
                found.setdefault(name, set()).add(scalar(field, definitions))
    return found


def kind(uses: set[str]) -> str:
    """The one kind of a word: `number` wins over all, `time` only where the field is never anything else."""
    fields = uses - {"value"}
    if not fields:
        return "value"
    if "number" in fields:
        return "number"
    return "time" if fields == {"time"} else "name"


def extend(table: str) -> str:
    """The table with every missing word appended: hot words, then our own, then the rest in alphabetical order."""
    rows = list(csv.DictReader(io.StringIO(table)))
    known = {row["name"] for row in rows}
    kinds = {**OURS, **{word: kind(uses) for word, uses in words().items()}}
    lines = [table or HEADER]
    for word in dict.fromkeys((*HOT.split(), *OURS, *sorted(kinds))):
        if word not in known:
            lines.append(f"{len(rows) + len(lines) - 1},{word},{kinds[word]}\n")
    return "".join(lines)


if __name__ == "__main__":
    before = TABLE.read_text() if TABLE.exists() else ""
    TABLE.write_text(extend(before))
    print(f"{TABLE.name}: {TABLE.read_text().count(chr(10)) - max(1, before.count(chr(10)))} words appended")
