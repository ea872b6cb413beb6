"""The device model: one table of what the station says about itself, and what of it the cloud sets (OCPP B05 to B08).

A row is read by a pure function of the station. What it gives as None is not known here: GetVariables says so with an
empty value, a report leaves it out. Names are compared without case, as OCPP asks.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from agent import derating, network
from agent.clock import iso8601, wall
from agent.effects import Record, Stream
from agent.events import Machine, ReportRequested, VariableChangesRequested, VariablesRequested
from agent.life import state_of, visible
from agent.policy import profile
from agent.policy.freshness import age_s
from agent.policy.tariff.terms import ELEMENTS_MAX
from agent.port import Port, faults, operative
from agent.reporting import answer, away, message, result, timestamp
from agent.settings import BOUNDS, SETTINGS, ConfigError, Layer, Merged, Settings, checked, fitting
from agent.station import Station, charging_state
from agent.taps import Step
from agent.terms import limited_by, status
from agent.uplink.cards import CARDS_MAX
from agent.uplink.codec import encode_payload, to_cbor
from agent.uplink.messages import (
    AttributeEnumType,
    ComponentCriterionEnumType,
    ComponentType,
    ComponentVariableType,
    GetVariableDataType,
    Message,
    ReportBaseEnumType,
    SetVariableDataType,
    VariableType,
)
from agent.wizard.facts import Step as WizardStep

ITEMS_MAX = 32  # of one GetVariables, SetVariables or GetReport: their answers stay far below what a record may have
REPORT_MAX_B = 8_000  # a NotifyReport: one lost radio minute costs little
REPORT_HEAD_B = 100  # of it, around its items
SHOWN_MAX = 400  # characters of a sentence in an answer of many

Value = str | int | float | bool | None
Read = Callable[[Station, Port | None, float], Value]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    component: str
    variable: str
    type: str  # OCPP DataEnumType
    read: Read
    of: str = ""  # "" = the station, else each "evse" or "connector"
    unit: str = ""
    setting: str = ""  # the key of SETTINGS that the cloud sets; or "network", priority of profiles; or "output"
    instance: str = ""  # of the component
    constant: bool = False
    summary: bool = False  # in the report that tells at a glance whether the station can charge
    part: str = ""  # instance of the variable
    values: str = ""  # that there may be, comma-separated


@dataclass(frozen=True, slots=True)
class Variable:
    """A row at its place in this station."""

    row: Row
    port: Port | None


# -- the table --------------------------------------------------------------------------------------------------------


def fact(read: Callable[[Station], Value]) -> Read:
    return lambda station, port, now: read(station)


def at_port(read: Callable[[Port], Value]) -> Read:
    def of_port(station: Station, port: Port | None, now: float) -> Value:
        assert port
        return read(port)

    return of_port


def state_at_port(station: Station, port: Port | None, now: float) -> Value:
    assert port
    return status(station, port)


def joined(items: Any) -> str | None:
    return ",".join(map(str, items)) or None


def availability(station: Station) -> str:
    """The station's own AvailabilityState: what its ports agree on; Available if any of them is."""
    states = {status(station, port) for port in station.ports}
    return "Available" if "Available" in states else min(states) if len(states) == 1 else "Occupied"


def list_age_s(station: Station, port: Port | None, now: float) -> Value:
    old_s = age_s(station.allowlist, station.clock, now)
    return None if old_s is None else round(old_s)


def clock_now(station: Station, port: Port | None, now: float) -> Value:
    wall_s = wall(station.clock, now)
    return None if wall_s is None else iso8601(wall_s)


def evse_state(station: Station, port: Port | None, now: float) -> Value:
    assert port
    return charging_state(station, port)


def evse_limited_by(station: Station, port: Port | None, now: float) -> Value:
    assert port
    return limited_by(station, port, now)


def instant(wall_s: float | None) -> str | None:
    return None if wall_s is None else iso8601(wall_s)


def pinpoint_text(station: Station) -> str | None:
    """Degrees, WGS 84; seven digits are a centimetre."""
    point = station.wizard.pinpoint
    return f"{point.latitude:.7f},{point.longitude:.7f}" if point else None


def pinpoint_accuracy_m(station: Station) -> int | None:
    point = station.wizard.pinpoint
    return round(point.accuracy_m) if point and point.accuracy_m is not None else None


def handed_over_at(station: Station) -> str | None:
    mark = station.wizard.done.get(WizardStep.HAND_OVER)
    return instant(mark.at_s) if mark else None


def waiting(stream: Stream) -> Read:
    return fact(lambda s: s.waiting[stream] if s.waiting else None)


def set_by_cloud(key: str) -> Row:
    """The row of a setting that has a variable."""
    setting = SETTINGS[key]
    component, _, variable = setting.variable.partition(".")

    def read(station: Station, port: Port | None, now: float) -> Value:
        value: Value = getattr(station.settings, key)
        return not value if setting.is_opposite else value

    kind = plain(key)
    types = {bool: "boolean", int: "integer", float: "decimal", str: "string"}
    writable = key if Layer.CLOUD in setting.layers else ""
    return Row(component, variable, types[kind], read, unit=setting.unit, setting=writable)


def plain(key: str) -> type:
    """bool, int, float or str: what a setting's value is."""
    bounds, args = BOUNDS[key], get_args(BOUNDS[key])
    kind: type = type(args[0]) if get_origin(bounds) is Literal else args[0] if args else bounds
    return kind


def currency(station: Station) -> str | None:
    """Of the tariffs that are here; None: there are none, or they do not agree."""
    said = station.owner
    tariffs = [*said.group_tariffs.tariffs, *(each for kept in said.default_tariffs.of_evse.values() for each in kept)]
    found = {tariff.currency for tariff in tariffs}
    return found.pop() if len(found) == 1 else None


def connector_type(station: Station, port: Port | None, now: float) -> Value:
    assert port
    kinds = station.machine.connectors
    return kinds[port.evse_id - 1] if port.evse_id <= len(kinds) else None


def sample_interval_s(station: Station) -> int:
    return round(station.settings.tx_updated_interval_s)


STATION, LINK, COMM, LIST = "ChargingStation", "DataLink", "OCPPCommCtrlr", "LocalAuthListCtrlr"
SMART, TARIFF = "SmartChargingCtrlr", "TariffCostCtrlr"

ROWS: tuple[Row, ...] = (
    Row(STATION, "Model", "string", fact(lambda s: s.machine.model), constant=True),
    Row(STATION, "VendorName", "string", fact(lambda s: s.machine.vendor_name), constant=True),
    Row(STATION, "SerialNumber", "string", fact(lambda s: s.settings.station_id), constant=True),
    Row(STATION, "FirmwareVersion", "string", fact(lambda s: s.machine.firmware_version or None), constant=True),
    Row(STATION, "AvailabilityState", "OptionList", fact(availability), summary=True),
    Row(STATION, "LifeCycle", "OptionList", fact(state_of)),
    Row(STATION, "Visibility", "OptionList", fact(visible)),
    Row(STATION, "Available", "boolean", fact(lambda s: any(map(operative, s.ports))), summary=True),
    Row(STATION, "Problem", "boolean", fact(lambda s: not s.store_ok or any(map(faults, s.ports))), summary=True),
    Row(STATION, "BootReason", "string", fact(lambda s: s.boot.reason), constant=True),
    Row(STATION, "BootCount", "integer", fact(lambda s: s.boot.count), constant=True),
    Row(STATION, "OutageDuration", "integer", fact(lambda s: None if (a := away(s)) is None else round(a)), unit="s"),
    Row(STATION, "Pinpoint", "string", fact(pinpoint_text)),
    Row(STATION, "PinpointAccuracy", "integer", fact(pinpoint_accuracy_m), unit="m"),
    Row(STATION, "PinpointMethod", "string", fact(lambda s: s.wizard.pinpoint.method if s.wizard.pinpoint else None)),
    Row(STATION, "BreakerRating", "integer", fact(lambda s: s.wizard.breaker_ma or None), unit="mA"),
    Row(STATION, "ControllerLimit", "integer", fact(lambda s: s.controller.circuit_limit_ma if s.controller else None),
        unit="mA"),
    Row(STATION, "Commissioned", "boolean", fact(lambda s: "circuit_limit_ma" in s.wizard.settings)),
    Row(STATION, "HandedOver", "dateTime", fact(handed_over_at)),
    Row(STATION, "Installer", "string", fact(lambda s: s.wizard.installer or None)),
    Row(STATION, "InstallerCompany", "string", fact(lambda s: s.wizard.company or None)),
    Row("EVSE", "AvailabilityState", "OptionList", state_at_port, of="evse", summary=True),
    Row("EVSE", "Available", "boolean", at_port(operative), of="evse", summary=True),
    Row("EVSE", "Problem", "boolean", at_port(lambda p: bool(faults(p))), of="evse", summary=True),
    Row("EVSE", "ChargingState", "OptionList", evse_state, of="evse"),
    Row("EVSE", "LimitedBy", "string", evse_limited_by, of="evse"),
    Row("Connector", "AvailabilityState", "OptionList", state_at_port, of="connector", summary=True),
    Row("Connector", "Available", "boolean", at_port(operative), of="connector", summary=True),
    Row("Connector", "Problem", "boolean", at_port(lambda p: bool(faults(p))), of="connector", summary=True),
    Row("Connector", "ConnectorType", "string", connector_type, of="connector", constant=True),
    Row("Connector", "Faults", "MemberList", at_port(lambda p: joined(sorted(faults(p)))), of="connector"),
    Row("Connector", "Locked", "boolean", at_port(lambda p: p.report.locked if p.report else None), of="connector"),
    Row(LINK, "MACAddress", "MemberList", fact(lambda s: joined(s.machine.macs)), constant=True),
    Row(LINK, "IMEI", "string", fact(lambda s: s.machine.imei or None), constant=True),
    Row(LINK, "ICCID", "string", fact(lambda s: s.machine.iccid or None)),
    Row(LINK, "IMSI", "string", fact(lambda s: s.machine.imsi or None)),
    Row(LINK, "ModemType", "string", fact(lambda s: s.machine.modem_type or None), constant=True),
    Row(LINK, "Gateway", "string", fact(lambda s: s.machine.gateway or None)),
    Row("ClockCtrlr", "DateTime", "dateTime", clock_now),
    Row("ClockCtrlr", "TimeSource", "OptionList", fact(lambda s: s.clock.source.name)),
    Row(LIST, "Enabled", "boolean", fact(lambda s: True), constant=True),
    Row(LIST, "Available", "boolean", fact(lambda s: bool(s.allowlist.version))),
    Row(LIST, "Entries", "integer", fact(lambda s: s.allowlist.entries)),
    Row(LIST, "ItemsPerMessage", "integer", fact(lambda s: CARDS_MAX), constant=True),
    Row(LIST, "SupportsExpiryDateTime", "boolean", fact(lambda s: True), constant=True),
    Row(LIST, "Version", "integer", fact(lambda s: s.allowlist.version)),
    Row(LIST, "Generation", "integer", fact(lambda s: s.allowlist.generation)),
    Row(LIST, "Hash", "string", fact(lambda s: s.allowlist.hash or None)),
    Row(LIST, "Age", "integer", list_age_s, unit="s"),
    Row(LIST, "Freshness", "OptionList", fact(lambda s: s.list_word.freshness.name.capitalize())),
    Row(LIST, "LastContact", "dateTime", fact(lambda s: instant(s.allowlist.synced_s))),
    Row(SMART, "Enabled", "boolean", fact(lambda s: True), constant=True),
    Row(SMART, "Available", "boolean", fact(lambda s: True), constant=True),
    Row(SMART, "Entries", "integer", fact(lambda s: len(s.owner.profiles)), part="ChargingProfiles"),
    Row(SMART, "PeriodsPerSchedule", "integer", fact(lambda s: profile.PERIODS_MAX), constant=True),
    Row(SMART, "ProfileStackLevel", "integer", fact(lambda s: profile.STACK_LEVEL_MAX), constant=True),
    Row(SMART, "RateUnit", "MemberList", fact(lambda s: "A,W"), constant=True),
    Row(SMART, "Phases3to1", "boolean", fact(lambda s: False), constant=True),
    Row(SMART, "ExternalControlSignalsEnabled", "boolean", fact(lambda s: False), constant=True),
    Row(SMART, "NotifyChargingLimitWithSchedules", "boolean", fact(lambda s: True), constant=True),
    Row(SMART, "LimitChangeSignificance", "decimal", fact(lambda s: derating.SIGNIFICANT_PERCENT), unit="Percent",
        constant=True),
    Row(SMART, "ChargingProfilePersistence", "boolean", fact(lambda s: True), constant=True, part="TxProfile"),
    Row(SMART, "ChargingProfilePersistence", "boolean", fact(lambda s: True), constant=True,
        part="ChargingStationExternalConstraints"),
    Row(SMART, "SupportsMaxOfflineDuration", "boolean", fact(lambda s: True), constant=True),
    Row(SMART, "SupportsUseLocalTime", "boolean", fact(lambda s: True), constant=True),
    Row(SMART, "SupportsRandomizedDelay", "boolean", fact(lambda s: False), constant=True),
    Row(SMART, "SupportsLimitAtSoC", "boolean", fact(lambda s: False), constant=True),
    Row(SMART, "SupportsDynamicProfiles", "boolean", fact(lambda s: False), constant=True),
    Row(SMART, "SupportsEvseSleep", "boolean", fact(lambda s: False), constant=True),
    Row("ReservationCtrlr", "Available", "boolean", fact(lambda s: True), constant=True),
    Row("ReservationCtrlr", "NonEvseSpecific", "boolean", fact(lambda s: True), constant=True),
    Row("ReservationCtrlr", "Entries", "integer", fact(lambda s: len(s.owner.reservations))),
    Row("ReservationCtrlr", "Required", "boolean", fact(lambda s: s.owner.is_reservable)),
    Row(TARIFF, "Available", "boolean", fact(lambda s: True), constant=True, part="Tariff"),
    Row(TARIFF, "Available", "boolean", fact(lambda s: True), constant=True, part="Cost"),
    Row(TARIFF, "Enabled", "boolean", fact(lambda s: True), constant=True, part="Tariff"),
    Row(TARIFF, "Enabled", "boolean", fact(lambda s: True), constant=True, part="Cost"),
    Row(TARIFF, "Enabled", "boolean", fact(lambda s: False), constant=True, part="RunningCost"),
    Row(TARIFF, "Currency", "string", fact(currency)),
    Row(TARIFF, "ConditionsSupported", "boolean", fact(lambda s: True), constant=True, part="Tariff"),
    Row(TARIFF, "MaxElements", "integer", fact(lambda s: ELEMENTS_MAX), constant=True, part="Tariff"),
    Row(TARIFF, "Interval", "integer", fact(sample_interval_s), unit="s", part="Tariff"),
    Row(TARIFF, "HandleFailedTariff", "OptionList", fact(lambda s: "UseDefaultTariff"), constant=True, part="Tariff",
        values="UseDefaultTariff"),
    Row(TARIFF, "Problem", "boolean", fact(lambda s: bool(s.owner.tariff_problem))),
    Row("MonitoringCtrlr", "Available", "boolean", fact(lambda s: False), constant=True),
    Row("MonitoringCtrlr", "Enabled", "boolean", fact(lambda s: False), constant=True),
    Row("AuthCacheCtrlr", "Available", "boolean", fact(lambda s: True), constant=True),
    Row("AuthCacheCtrlr", "Policy", "OptionList", fact(lambda s: "CUSTOM"), constant=True),
    Row("AuthCacheCtrlr", "Storage", "integer", fact(lambda s: s.cache_b), unit="B"),
    Row("SecurityCtrlr", "CertificateExpiry", "dateTime", fact(lambda s: instant(s.machine.certificate_expiry_s))),
    Row("SecurityCtrlr", "SecurityProfile", "integer", fact(lambda s: 3), constant=True),
    Row(COMM, "NetworkConfigurationPriority", "SequenceList", fact(lambda s: joined(s.network.order)),
        setting="network"),
    Row(COMM, "ActiveNetworkProfile", "integer", fact(lambda s: s.network.via)),
    Row(COMM, "MoneyWaiting", "integer", waiting(Stream.MONEY)),
    Row(COMM, "StatusWaiting", "integer", waiting(Stream.STATUS)),
    Row(COMM, "ResultsWaiting", "integer", waiting(Stream.RESULTS)),
    Row(COMM, "SamplesWaiting", "integer", waiting(Stream.SAMPLES)),
    Row(COMM, "LogsWaiting", "integer", waiting(Stream.LOGS)),
    Row(COMM, "StorageWorks", "boolean", fact(lambda s: s.store_ok)),
    Row("DisplayMessageCtrlr", "SupportedFormats", "MemberList", fact(lambda s: "ASCII,UTF8"), constant=True),
    Row("DeviceDataCtrlr", "ItemsPerMessage", "integer", fact(lambda s: ITEMS_MAX), constant=True),
    *(set_by_cloud(key) for key, setting in SETTINGS.items() if setting.variable),
)  # fmt: skip

assert len({(row.component, row.variable, row.part) for row in ROWS}) == len(ROWS)


def lines(station: Station) -> Iterator[Row]:
    """What the board has on its GPIO lines for the cloud to set or see."""
    for name, safe in station.machine.outputs:
        active = fact(partial(output_value, name=name, safe=safe))
        yield Row("Actuator", "Active", "boolean", active, setting="output", instance=name)
        yield Row("Actuator", "Problem", "boolean", fact(partial(is_broken, part=f"output.{name}")), instance=name)
    for name in station.machine.contacts:
        is_open = fact(partial(is_opened, name=name))
        yield Row("CaseAccessSensor", "Active", "boolean", is_open, instance=name)
        broken = fact(partial(is_broken, part=f"input.{name}"))
        yield Row("CaseAccessSensor", "Problem", "boolean", broken, instance=name)


def output_value(station: Station, name: str, safe: bool) -> Value:
    return station.outputs.get(name, safe)


def is_opened(station: Station, name: str) -> Value:
    return name in station.opened


def is_broken(station: Station, part: str) -> Value:
    """None before its driver has spoken."""
    told = station.parts.get(part)
    return None if told is None else bool(told.problem)


def variables(station: Station) -> Iterator[Variable]:
    for row in (*ROWS, *lines(station)):
        for port in station.ports if row.of else (None,):
            yield Variable(row, port)


def component_of(variable: Variable) -> Json:
    component: Json = {"name": variable.row.component}
    if variable.row.instance:
        component["instance"] = variable.row.instance
    if variable.port:
        component["evse"] = {"id": variable.port.evse_id}
        if variable.row.of == "connector":
            component["evse"]["connectorId"] = 1
    return component


def is_component(variable: Variable, wanted: ComponentType) -> bool:
    """Whether this is the one component that is meant."""
    names = (variable.row.component, variable.row.instance)
    if not are_alike(names, (wanted.name, wanted.instance or "")):
        return False
    if variable.port is None:
        return wanted.evse is None
    connector = 1 if variable.row.of == "connector" else None
    return wanted.evse is not None and (wanted.evse.id, wanted.evse.connectorId) == (variable.port.evse_id, connector)


def are_alike(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    return [name.casefold() for name in ours] == [name.casefold() for name in theirs]


def is_within(variable: Variable, wanted: ComponentVariableType) -> bool:
    """Whether this belongs to what a report was asked for: a component without EVSE or instance means each of them, and
    so does a variable without instance."""
    component, name = wanted.component, wanted.variable
    names = (variable.row.component, variable.row.instance)
    if not are_alike(names, (component.name, component.instance or variable.row.instance)):
        return False
    if component.evse and (variable.port is None or variable.port.evse_id != component.evse.id):
        return False
    connector = component.evse.connectorId if component.evse else None
    if connector is not None and (variable.row.of != "connector" or connector != 1):
        return False
    return name is None or are_alike(
        (variable.row.variable, variable.row.part), (name.name, name.instance or variable.row.part)
    )


def found(station: Station, component: ComponentType, name: VariableType) -> Variable | str:
    """The variable of that name; or OCPP's word for what is not known of it."""
    here = [variable for variable in variables(station) if is_component(variable, component)]
    if not here:
        return "UnknownComponent"
    names = (name.name, name.instance or "")
    same = [v for v in here if are_alike((v.row.variable, v.row.part), names)]
    return same[0] if same else "UnknownVariable"


def text_of(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value == int(value) else repr(value)
    return str(value)


def echoed(part: Message) -> Json:
    """A component or variable as it was named, without what others wrote into customData."""
    named: Json = msgspec.to_builtins(part)
    named.pop("customData", None)
    if "evse" in named:
        named["evse"].pop("customData", None)
    return named


# -- GetVariables (B06) -----------------------------------------------------------------------------------------------


def get(station: Station, event: VariablesRequested, now: float) -> Step:
    results = []
    for item in event.data:
        variable, said = asked_about(station, item)
        if variable:
            said["attributeStatus"] = "Accepted"
            said["attributeValue"] = text_of(variable.row.read(station, variable.port, now))
        results.append(said)
    return station, (result(station, event.command_id, {"getVariableResult": results}, now),)


def asked_about(station: Station, item: GetVariableDataType | SetVariableDataType) -> tuple[Variable | None, Json]:
    """The variable, and the result so far; with its status where there is no such variable."""
    said: Json = {"component": echoed(item.component), "variable": echoed(item.variable)}
    if item.attributeType is not None:
        said["attributeType"] = item.attributeType
    variable = found(station, item.component, item.variable)
    if isinstance(variable, str):
        return None, said | {"attributeStatus": variable}
    if item.attributeType not in (None, AttributeEnumType.Actual):
        return None, said | {"attributeStatus": "NotSupportedAttributeType"}
    return variable, said


# -- SetVariables (B05) -----------------------------------------------------------------------------------------------


def set(station: Station, event: VariableChangesRequested, now: float) -> Step:  # noqa: A001  # beside get
    """One after the other: each stands or falls by itself, in the order given."""
    results = []
    for item in event.data:
        variable, said = asked_about(station, item)
        if variable:
            station, verdict = written(station, variable.row, item.attributeValue)
            said["attributeStatus"] = verdict["status"]
            if "statusInfo" in verdict:
                said["attributeStatusInfo"] = verdict["statusInfo"]
        results.append(said)
    return station, (result(station, event.command_id, {"setVariableResult": results}, now),)


def written(station: Station, row: Row, text: str) -> tuple[Station, Json]:
    if not row.setting:
        return station, answer("Rejected", "ReadOnly", f"{row.variable} is not the cloud's to set")
    if row.setting == "network":
        return prioritised(station, text)
    if row.setting == "output":
        return switched(station, row.instance, text)
    setting = SETTINGS[row.setting]
    value = parsed(plain(row.setting), text)
    if setting.is_opposite and isinstance(value, bool):
        value = not value
    try:
        value = checked(Layer.CLOUD, row.setting, value, Merged(ceiling(station), {}))
    except ConfigError as error:
        return station, answer("Rejected", reason_code(row.setting, value), str(error)[:SHOWN_MAX])
    if row.setting == "activated" and value and (why := why_not_switched_on(station)):
        return station, answer("Rejected", "NotReady", why)
    settings = msgspec.structs.replace(station.settings, **{row.setting: value})
    station = replace(station, settings=settings, cloud={**station.cloud, row.setting: value}, ceiling=ceiling(station))
    return station, answer("Accepted")


def why_not_switched_on(station: Station) -> str:
    """Only one that is, or was, somebody's is switched on; another one is activated, when it is ready (I3, I12)."""
    said = station.owner
    if said.leaving or said.is_transferred or said.is_reset:
        return "the station was taken from its owner: send an Activation"
    is_known = station.settings.activated or said.activation or ceiling(station).activated
    return "" if is_known else "nobody has activated the station yet: send an Activation"


def switched(station: Station, name: str, text: str) -> tuple[Station, Json]:
    active = parsed(bool, text)
    if not isinstance(active, bool):
        return station, answer("Rejected", "InvalidValue", f"{name} is switched: type true or false")
    return replace(station, outputs={**station.outputs, name: active}), answer("Accepted")


def outputs_set(machine: Machine, fact: Any) -> dict[str, bool]:
    """What was stored, of the outputs that this board has."""
    stored = fact if isinstance(fact, Mapping) else {}
    return {name: stored[name] for name, _ in machine.outputs if isinstance(stored.get(name), bool)}


def ceiling(station: Station) -> Settings:
    """What holds without the cloud's layer."""
    return station.settings if station.ceiling is None else station.ceiling


def reason_code(key: str, value: object) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "InvalidValue"
    bounds = get_args(BOUNDS[key])
    meta = bounds[1] if len(bounds) > 1 and isinstance(bounds[1], Meta) else Meta()
    if meta.ge is not None and value < meta.ge:
        return "ValueTooLow"
    return "ValueTooHigh"


NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)


def parsed(kind: type, text: str) -> object:
    """The text as a value of that kind, or as it is: then the bounds refuse it."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.casefold(), text)
    if kind in (int, float) and NUMBER.fullmatch(text):
        number = float(text)
        return int(number) if number == int(number) else number
    return text


def prioritised(station: Station, text: str) -> tuple[Station, Json]:
    slots = [int(part) for part in text.split(",") if re.fullmatch(r"[0-9]", part, re.ASCII)]
    after = network.ordered(station.network, tuple(slots)) if len(slots) == text.count(",") + 1 else None
    if after is None:
        known = ",".join(map(str, [0, *dict(station.network.slots)]))
        return station, answer("Rejected", "InvalidValue", f"slots here are {known}, each at most once")
    return replace(station, network=after), answer("Accepted")


def with_cloud(settings: Settings, fact: Any) -> tuple[Json, Settings]:
    """The cloud's layer as it was stored, and what then holds. What does not fit any more is left out: an older build,
    another board, a config file that allows less. It stays out until the cloud sets it again."""
    stored = fact if isinstance(fact, Mapping) else {}
    good, _ = fitting(Layer.CLOUD, {key: stored[key] for key in stored if key in SETTINGS}, Merged(settings, {}))
    return good, msgspec.structs.replace(settings, **good)


# -- GetBaseReport, GetReport (B07, B08) ------------------------------------------------------------------------------


def report(station: Station, event: ReportRequested, now: float) -> Step:
    """The answer and the whole report are one commit: all of it will arrive, or none."""
    items = [item_of(station, v, now) for v in wanted(station, event, now) if is_told(station, v, now)]
    if not items:
        return station, (result(station, event.command_id, answer("EmptyResultSet", "NotFound"), now),)
    reports = notify_reports(station, event.request_id, items, now)
    return station, (result(station, event.command_id, answer("Accepted"), now), *reports)


def wanted(station: Station, event: ReportRequested, now: float) -> Iterator[Variable]:
    for variable in variables(station):
        match event.base:
            case ReportBaseEnumType.FullInventory:
                yield variable
            case ReportBaseEnumType.ConfigurationInventory if variable.row.setting:
                yield variable
            case ReportBaseEnumType.SummaryInventory if variable.row.summary:
                yield variable
            case None if is_asked(station, variable, event, now):
                yield variable


def is_asked(station: Station, variable: Variable, event: ReportRequested, now: float) -> bool:
    named = not event.wanted or any(is_within(variable, each) for each in event.wanted)
    return named and (not event.criteria or any(meets(station, variable, each, now) for each in event.criteria))


def meets(station: Station, variable: Variable, criterion: str, now: float) -> bool:
    """Whether the variable's component meets it. One that does not say is taken to be in order (B08)."""
    here = (variable.row.component, variable.row.of, variable.row.instance, criterion)
    for row in (*ROWS, *lines(station)):
        if (row.component, row.of, row.instance, row.variable) == here:
            return row.read(station, variable.port, now) is True
    return criterion != ComponentCriterionEnumType.Problem


def is_told(station: Station, variable: Variable, now: float) -> bool:
    """What is not known is absent; what can be set is there, even empty."""
    return bool(variable.row.setting) or variable.row.read(station, variable.port, now) is not None


def item_of(station: Station, variable: Variable, now: float) -> Json:
    """OCPP ReportDataType."""
    row = variable.row
    attribute: Json = {
        "value": text_of(row.read(station, variable.port, now)),
        "mutability": "ReadWrite" if row.setting else "ReadOnly",
        "persistent": bool(row.setting),
        "constant": row.constant,
    }
    characteristics: Json = {"dataType": row.type, "supportsMonitoring": False}
    if row.unit:
        characteristics["unit"] = row.unit
    if row.values:
        characteristics["valuesList"] = row.values
    if row.setting in BOUNDS and get_origin(BOUNDS[row.setting]) is Literal:
        characteristics |= {"dataType": "OptionList", "valuesList": ",".join(map(str, get_args(BOUNDS[row.setting])))}
    bounds = get_args(BOUNDS[row.setting]) if row.setting in BOUNDS else ()
    for meta in (each for each in bounds if isinstance(each, Meta)):
        limits = {"minLimit": meta.ge, "maxLimit": meta.le if meta.ge is not None else meta.max_length}
        characteristics |= {name: limit for name, limit in limits.items() if limit is not None}
    return {
        "component": component_of(variable),
        "variable": {"name": row.variable} | ({"instance": row.part} if row.part else {}),
        "variableAttribute": [attribute],
        "variableCharacteristics": characteristics,
    }


def notify_reports(station: Station, request_id: int, items: list[Json], now: float) -> tuple[Record, ...]:
    """NotifyReport in as many parts as it needs, each of them small."""
    dated = timestamp(station, wall(station.clock, now), now)
    parts = list(parted(items))
    return tuple(
        message(station, Stream.RESULTS, "NotifyReport", {
            "requestId": request_id, "generatedAt": dated, "seqNo": n, "tbc": n + 1 < len(parts), "reportData": part,
        }, now)
        for n, part in enumerate(parts)
    )  # fmt: skip


def parted(items: list[Json]) -> Iterator[list[Json]]:
    part: list[Json] = []
    size = REPORT_HEAD_B
    for item in items:
        size += (bytes_ := len(to_cbor(encode_payload(item))))
        if part and size > REPORT_MAX_B:
            yield part
            part, size = [], REPORT_HEAD_B + bytes_
        part.append(item)
    yield part
