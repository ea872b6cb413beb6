"""The OCPP 2.1 messages this station reads. Written by tools/make_messages.py from the official schemas: do not edit.

Classes, members and values are spelled as in OCPP; what a schema bounds is bounded here. A member that is None is
absent on the wire.
"""

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, ValidationError, convert, json

from agent.uplink.codec import WireError


class CustomData(dict[str, Any]):
    """What OCPP has no word for: any members, with the vendor's id among them."""


class Message(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every message and of what they are made of."""


M = TypeVar("M", bound=Message)


def from_wire(form: type[M], wire: Any) -> M:
    """The JSON form as a message of this type; WireError, with one sentence, if the schema would refuse it."""
    try:
        message = convert(wire, form, dec_hook=_custom_data)
    except (ValidationError, UnicodeError) as error:  # UnicodeError: half a surrogate pair
        raise WireError(f"{form.__name__}: {error}") from None
    if _may_say_null(wire) and _members(wire) != _members(message):
        raise WireError(f"{form.__name__}: a member is null where OCPP leaves it out")
    return message


def _may_say_null(wire: Any) -> bool:
    """Its JSON does, perhaps within a text. Quickly: a list is long, and counting its members is most of the work."""
    try:
        return b"null" in json.encode(wire)
    except (ValueError, TypeError):  # half a surrogate pair
        return True


def _members(wire: Any) -> int:
    """How many members an object has, all levels together; None is lost on the way through a struct."""
    if isinstance(wire, Message):
        names, defaults = reversed(wire.__struct_fields__), reversed(wire.__struct_defaults__)
        absent = dict(zip(names, defaults, strict=False))  # the first fields may have no default
        values = [(getattr(wire, name), absent.get(name)) for name in wire.__struct_fields__]
        return sum(1 + _members(value) for value, nothing in values if value is not nothing)
    if isinstance(wire, dict):
        return len(wire) + sum(map(_members, wire.values()))
    return sum(map(_members, wire)) if isinstance(wire, list | tuple) else 0


def _custom_data(form: type, wire: Any) -> CustomData:
    assert form is CustomData, form
    vendor = wire.get("vendorId") if isinstance(wire, dict) else None
    if not isinstance(vendor, str) or len(vendor) > 255:
        raise ValueError("customData needs a vendorId of at most 255 characters")
    return CustomData(wire)


Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")]


class ChargingProfileKindEnumType(StrEnum):
    Absolute = "Absolute"
    Recurring = "Recurring"
    Relative = "Relative"
    Dynamic = "Dynamic"


class ChargingProfilePurposeEnumType(StrEnum):
    ChargingStationExternalConstraints = "ChargingStationExternalConstraints"
    ChargingStationMaxProfile = "ChargingStationMaxProfile"
    TxDefaultProfile = "TxDefaultProfile"
    TxProfile = "TxProfile"
    PriorityCharging = "PriorityCharging"
    LocalGeneration = "LocalGeneration"


class ChargingRateUnitEnumType(StrEnum):
    W = "W"
    A = "A"


class CostKindEnumType(StrEnum):
    CarbonDioxideEmission = "CarbonDioxideEmission"
    RelativePricePercentage = "RelativePricePercentage"
    RenewableGenerationPercentage = "RenewableGenerationPercentage"


class OperationModeEnumType(StrEnum):
    Idle = "Idle"
    ChargingOnly = "ChargingOnly"
    CentralSetpoint = "CentralSetpoint"
    ExternalSetpoint = "ExternalSetpoint"
    ExternalLimits = "ExternalLimits"
    CentralFrequency = "CentralFrequency"
    LocalFrequency = "LocalFrequency"
    LocalLoadBalancing = "LocalLoadBalancing"


class RecurrencyKindEnumType(StrEnum):
    Daily = "Daily"
    Weekly = "Weekly"


class RationalNumberType(Message, frozen=True, kw_only=True):
    exponent: int
    value: int
    customData: CustomData | None = None


class PriceRuleType(Message, frozen=True, kw_only=True):
    parkingFeePeriod: int | None = None
    carbonDioxideEmission: Annotated[int, Meta(ge=0)] | None = None
    renewableGenerationPercentage: Annotated[int, Meta(ge=0, le=100)] | None = None
    energyFee: RationalNumberType
    parkingFee: RationalNumberType | None = None
    powerRangeStart: RationalNumberType
    customData: CustomData | None = None


class PriceRuleStackType(Message, frozen=True, kw_only=True):
    duration: int
    priceRule: Annotated[list[PriceRuleType], Meta(min_length=1, max_length=8)]
    customData: CustomData | None = None


class TaxRuleType(Message, frozen=True, kw_only=True):
    taxRuleID: Annotated[int, Meta(ge=0)]
    taxRuleName: Annotated[str, Meta(max_length=100)] | None = None
    taxIncludedInPrice: bool | None = None
    appliesToEnergyFee: bool
    appliesToParkingFee: bool
    appliesToOverstayFee: bool
    appliesToMinimumMaximumCost: bool
    taxRate: RationalNumberType
    customData: CustomData | None = None


class OverstayRuleType(Message, frozen=True, kw_only=True):
    overstayFee: RationalNumberType
    overstayRuleDescription: Annotated[str, Meta(max_length=32)] | None = None
    startTime: int
    overstayFeePeriod: int
    customData: CustomData | None = None


class OverstayRuleListType(Message, frozen=True, kw_only=True):
    overstayPowerThreshold: RationalNumberType | None = None
    overstayRule: Annotated[list[OverstayRuleType], Meta(min_length=1, max_length=5)]
    overstayTimeThreshold: int | None = None
    customData: CustomData | None = None


class AdditionalSelectedServicesType(Message, frozen=True, kw_only=True):
    serviceFee: RationalNumberType
    serviceName: Annotated[str, Meta(max_length=80)]
    customData: CustomData | None = None


class AbsolutePriceScheduleType(Message, frozen=True, kw_only=True):
    timeAnchor: Time
    priceScheduleID: Annotated[int, Meta(ge=0)]
    priceScheduleDescription: Annotated[str, Meta(max_length=160)] | None = None
    currency: Annotated[str, Meta(max_length=3)]
    language: Annotated[str, Meta(max_length=8)]
    priceAlgorithm: Annotated[str, Meta(max_length=2000)]
    minimumCost: RationalNumberType | None = None
    maximumCost: RationalNumberType | None = None
    priceRuleStacks: Annotated[list[PriceRuleStackType], Meta(min_length=1, max_length=1024)]
    taxRules: Annotated[list[TaxRuleType], Meta(min_length=1, max_length=10)] | None = None
    overstayRuleList: OverstayRuleListType | None = None
    additionalSelectedServices: (
        Annotated[list[AdditionalSelectedServicesType], Meta(min_length=1, max_length=5)] | None
    ) = None
    customData: CustomData | None = None


class AdditionalInfoType(Message, frozen=True, kw_only=True):
    additionalIdToken: Annotated[str, Meta(max_length=255)]
    type: Annotated[str, Meta(max_length=50)]
    customData: CustomData | None = None


class LimitAtSoCType(Message, frozen=True, kw_only=True):
    soc: Annotated[int, Meta(ge=0, le=100)]
    limit: float
    customData: CustomData | None = None


class V2XFreqWattPointType(Message, frozen=True, kw_only=True):
    frequency: float
    power: float
    customData: CustomData | None = None


class V2XSignalWattPointType(Message, frozen=True, kw_only=True):
    signal: int
    power: float
    customData: CustomData | None = None


class ChargingSchedulePeriodType(Message, frozen=True, kw_only=True):
    startPeriod: int
    limit: float | None = None
    limit_L2: float | None = None
    limit_L3: float | None = None
    numberPhases: Annotated[int, Meta(ge=0, le=3)] | None = None
    phaseToUse: Annotated[int, Meta(ge=0, le=3)] | None = None
    dischargeLimit: Annotated[float, Meta(le=0)] | None = None
    dischargeLimit_L2: Annotated[float, Meta(le=0)] | None = None
    dischargeLimit_L3: Annotated[float, Meta(le=0)] | None = None
    setpoint: float | None = None
    setpoint_L2: float | None = None
    setpoint_L3: float | None = None
    setpointReactive: float | None = None
    setpointReactive_L2: float | None = None
    setpointReactive_L3: float | None = None
    preconditioningRequest: bool | None = None
    evseSleep: bool | None = None
    v2xBaseline: float | None = None
    operationMode: OperationModeEnumType | None = None
    v2xFreqWattCurve: Annotated[list[V2XFreqWattPointType], Meta(min_length=1, max_length=20)] | None = None
    v2xSignalWattCurve: Annotated[list[V2XSignalWattPointType], Meta(min_length=1, max_length=20)] | None = None
    customData: CustomData | None = None


class RelativeTimeIntervalType(Message, frozen=True, kw_only=True):
    start: int
    duration: int | None = None
    customData: CustomData | None = None


class CostType(Message, frozen=True, kw_only=True):
    costKind: CostKindEnumType
    amount: int
    amountMultiplier: int | None = None
    customData: CustomData | None = None


class ConsumptionCostType(Message, frozen=True, kw_only=True):
    startValue: float
    cost: Annotated[list[CostType], Meta(min_length=1, max_length=3)]
    customData: CustomData | None = None


class SalesTariffEntryType(Message, frozen=True, kw_only=True):
    relativeTimeInterval: RelativeTimeIntervalType
    ePriceLevel: Annotated[int, Meta(ge=0)] | None = None
    consumptionCost: Annotated[list[ConsumptionCostType], Meta(min_length=1, max_length=3)] | None = None
    customData: CustomData | None = None


class SalesTariffType(Message, frozen=True, kw_only=True):
    id: Annotated[int, Meta(ge=0)]
    salesTariffDescription: Annotated[str, Meta(max_length=32)] | None = None
    numEPriceLevels: Annotated[int, Meta(ge=0)] | None = None
    salesTariffEntry: Annotated[list[SalesTariffEntryType], Meta(min_length=1, max_length=1024)]
    customData: CustomData | None = None


class PriceLevelScheduleEntryType(Message, frozen=True, kw_only=True):
    duration: int
    priceLevel: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class PriceLevelScheduleType(Message, frozen=True, kw_only=True):
    priceLevelScheduleEntries: Annotated[list[PriceLevelScheduleEntryType], Meta(min_length=1, max_length=100)]
    timeAnchor: Time
    priceScheduleId: Annotated[int, Meta(ge=0)]
    priceScheduleDescription: Annotated[str, Meta(max_length=32)] | None = None
    numberOfPriceLevels: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class ChargingScheduleType(Message, frozen=True, kw_only=True):
    id: int
    limitAtSoC: LimitAtSoCType | None = None
    startSchedule: Time | None = None
    duration: int | None = None
    chargingRateUnit: ChargingRateUnitEnumType
    minChargingRate: float | None = None
    powerTolerance: float | None = None
    signatureId: Annotated[int, Meta(ge=0)] | None = None
    digestValue: Annotated[str, Meta(max_length=88)] | None = None
    useLocalTime: bool | None = None
    chargingSchedulePeriod: Annotated[list[ChargingSchedulePeriodType], Meta(min_length=1, max_length=1024)]
    randomizedDelay: Annotated[int, Meta(ge=0)] | None = None
    salesTariff: SalesTariffType | None = None
    absolutePriceSchedule: AbsolutePriceScheduleType | None = None
    priceLevelSchedule: PriceLevelScheduleType | None = None
    customData: CustomData | None = None


class ChargingProfileType(Message, frozen=True, kw_only=True):
    id: int
    stackLevel: Annotated[int, Meta(ge=0)]
    chargingProfilePurpose: ChargingProfilePurposeEnumType
    chargingProfileKind: ChargingProfileKindEnumType
    recurrencyKind: RecurrencyKindEnumType | None = None
    validFrom: Time | None = None
    validTo: Time | None = None
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    maxOfflineDuration: int | None = None
    chargingSchedule: Annotated[list[ChargingScheduleType], Meta(min_length=1, max_length=3)]
    invalidAfterOfflineDuration: bool | None = None
    dynUpdateInterval: int | None = None
    dynUpdateTime: Time | None = None
    priceScheduleSignature: Annotated[str, Meta(max_length=256)] | None = None
    customData: CustomData | None = None


class IdTokenType(Message, frozen=True, kw_only=True):
    additionalInfo: Annotated[list[AdditionalInfoType], Meta(min_length=1)] | None = None
    idToken: Annotated[str, Meta(max_length=255)]
    type: Annotated[str, Meta(max_length=20)]
    customData: CustomData | None = None


class RequestStartTransactionRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=1)] | None = None
    groupIdToken: IdTokenType | None = None
    idToken: IdTokenType
    remoteStartId: int
    chargingProfile: ChargingProfileType | None = None
    customData: CustomData | None = None


class RequestStopTransactionRequest(Message, frozen=True, kw_only=True):
    transactionId: Annotated[str, Meta(max_length=36)]
    customData: CustomData | None = None


class OperationalStatusEnumType(StrEnum):
    Inoperative = "Inoperative"
    Operative = "Operative"


class EVSEType(Message, frozen=True, kw_only=True):
    id: Annotated[int, Meta(ge=0)]
    connectorId: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class ChangeAvailabilityRequest(Message, frozen=True, kw_only=True):
    evse: EVSEType | None = None
    operationalStatus: OperationalStatusEnumType
    customData: CustomData | None = None


class ResetEnumType(StrEnum):
    Immediate = "Immediate"
    OnIdle = "OnIdle"
    ImmediateAndResume = "ImmediateAndResume"


class ResetRequest(Message, frozen=True, kw_only=True):
    type: ResetEnumType
    evseId: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class UnlockConnectorRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    connectorId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class MessageTriggerEnumType(StrEnum):
    BootNotification = "BootNotification"
    LogStatusNotification = "LogStatusNotification"
    FirmwareStatusNotification = "FirmwareStatusNotification"
    Heartbeat = "Heartbeat"
    MeterValues = "MeterValues"
    SignChargingStationCertificate = "SignChargingStationCertificate"
    SignV2GCertificate = "SignV2GCertificate"
    SignV2G20Certificate = "SignV2G20Certificate"
    StatusNotification = "StatusNotification"
    TransactionEvent = "TransactionEvent"
    SignCombinedCertificate = "SignCombinedCertificate"
    PublishFirmwareStatusNotification = "PublishFirmwareStatusNotification"
    CustomTrigger = "CustomTrigger"


class TriggerMessageRequest(Message, frozen=True, kw_only=True):
    evse: EVSEType | None = None
    requestedMessage: MessageTriggerEnumType
    customTrigger: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class AuthorizationStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Blocked = "Blocked"
    ConcurrentTx = "ConcurrentTx"
    Expired = "Expired"
    Invalid = "Invalid"
    NoCredit = "NoCredit"
    NotAllowedTypeEVSE = "NotAllowedTypeEVSE"
    NotAtThisLocation = "NotAtThisLocation"
    NotAtThisTime = "NotAtThisTime"
    Unknown = "Unknown"


class MessageFormatEnumType(StrEnum):
    ASCII = "ASCII"
    HTML = "HTML"
    URI = "URI"
    UTF8 = "UTF8"
    QRCODE = "QRCODE"


class UpdateEnumType(StrEnum):
    Differential = "Differential"
    Full = "Full"


class MessageContentType(Message, frozen=True, kw_only=True):
    format: MessageFormatEnumType
    language: Annotated[str, Meta(max_length=8)] | None = None
    content: Annotated[str, Meta(max_length=1024)]
    customData: CustomData | None = None


class IdTokenInfoType(Message, frozen=True, kw_only=True):
    status: AuthorizationStatusEnumType
    cacheExpiryDateTime: Time | None = None
    chargingPriority: int | None = None
    groupIdToken: IdTokenType | None = None
    language1: Annotated[str, Meta(max_length=8)] | None = None
    language2: Annotated[str, Meta(max_length=8)] | None = None
    evseId: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)] | None = None
    personalMessage: MessageContentType | None = None
    customData: CustomData | None = None


class AuthorizationData(Message, frozen=True, kw_only=True):
    idToken: IdTokenType
    idTokenInfo: IdTokenInfoType | None = None
    customData: CustomData | None = None


class SendLocalListRequest(Message, frozen=True, kw_only=True):
    localAuthorizationList: Annotated[list[AuthorizationData], Meta(min_length=1)] | None = None
    versionNumber: int
    updateType: UpdateEnumType
    customData: CustomData | None = None


class GetLocalListVersionRequest(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class ClearCacheRequest(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class DataTransferRequest(Message, frozen=True, kw_only=True):
    messageId: Annotated[str, Meta(max_length=50)] | None = None
    data: Any = UNSET
    vendorId: Annotated[str, Meta(max_length=255)]
    customData: CustomData | None = None


class GetTransactionStatusRequest(Message, frozen=True, kw_only=True):
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    customData: CustomData | None = None


class APNAuthenticationEnumType(StrEnum):
    PAP = "PAP"
    CHAP = "CHAP"
    NONE = "NONE"
    AUTO = "AUTO"


class OCPPInterfaceEnumType(StrEnum):
    Wired0 = "Wired0"
    Wired1 = "Wired1"
    Wired2 = "Wired2"
    Wired3 = "Wired3"
    Wireless0 = "Wireless0"
    Wireless1 = "Wireless1"
    Wireless2 = "Wireless2"
    Wireless3 = "Wireless3"
    Any = "Any"


class OCPPTransportEnumType(StrEnum):
    SOAP = "SOAP"
    JSON = "JSON"


class OCPPVersionEnumType(StrEnum):
    OCPP12 = "OCPP12"
    OCPP15 = "OCPP15"
    OCPP16 = "OCPP16"
    OCPP20 = "OCPP20"
    OCPP201 = "OCPP201"
    OCPP21 = "OCPP21"


class VPNEnumType(StrEnum):
    IKEv2 = "IKEv2"
    IPSec = "IPSec"
    L2TP = "L2TP"
    PPTP = "PPTP"


class APNType(Message, frozen=True, kw_only=True):
    apn: Annotated[str, Meta(max_length=2000)]
    apnUserName: Annotated[str, Meta(max_length=50)] | None = None
    apnPassword: Annotated[str, Meta(max_length=64)] | None = None
    simPin: int | None = None
    preferredNetwork: Annotated[str, Meta(max_length=6)] | None = None
    useOnlyPreferredNetwork: bool | None = None
    apnAuthentication: APNAuthenticationEnumType
    customData: CustomData | None = None


class VPNType(Message, frozen=True, kw_only=True):
    server: Annotated[str, Meta(max_length=2000)]
    user: Annotated[str, Meta(max_length=50)]
    group: Annotated[str, Meta(max_length=50)] | None = None
    password: Annotated[str, Meta(max_length=64)]
    key: Annotated[str, Meta(max_length=255)]
    type: VPNEnumType
    customData: CustomData | None = None


class NetworkConnectionProfileType(Message, frozen=True, kw_only=True):
    apn: APNType | None = None
    ocppVersion: OCPPVersionEnumType | None = None
    ocppInterface: OCPPInterfaceEnumType
    ocppTransport: OCPPTransportEnumType
    messageTimeout: int
    ocppCsmsUrl: Annotated[str, Meta(max_length=2000)]
    securityProfile: Annotated[int, Meta(ge=0)]
    identity: Annotated[str, Meta(max_length=48)] | None = None
    basicAuthPassword: Annotated[str, Meta(max_length=64)] | None = None
    vpn: VPNType | None = None
    customData: CustomData | None = None


class SetNetworkProfileRequest(Message, frozen=True, kw_only=True):
    configurationSlot: int
    connectionData: NetworkConnectionProfileType
    customData: CustomData | None = None


class CertificateSigningUseEnumType(StrEnum):
    ChargingStationCertificate = "ChargingStationCertificate"
    V2GCertificate = "V2GCertificate"
    V2G20Certificate = "V2G20Certificate"


class CertificateSignedRequest(Message, frozen=True, kw_only=True):
    certificateChain: Annotated[str, Meta(max_length=10000)]
    certificateType: CertificateSigningUseEnumType | None = None
    requestId: int | None = None
    customData: CustomData | None = None


class FirmwareType(Message, frozen=True, kw_only=True):
    location: Annotated[str, Meta(max_length=2000)]
    retrieveDateTime: Time
    installDateTime: Time | None = None
    signingCertificate: Annotated[str, Meta(max_length=5500)] | None = None
    signature: Annotated[str, Meta(max_length=800)] | None = None
    customData: CustomData | None = None


class UpdateFirmwareRequest(Message, frozen=True, kw_only=True):
    retries: Annotated[int, Meta(ge=0)] | None = None
    retryInterval: int | None = None
    requestId: int
    firmware: FirmwareType
    customData: CustomData | None = None


class LogEnumType(StrEnum):
    DiagnosticsLog = "DiagnosticsLog"
    SecurityLog = "SecurityLog"
    DataCollectorLog = "DataCollectorLog"


class LogParametersType(Message, frozen=True, kw_only=True):
    remoteLocation: Annotated[str, Meta(max_length=2000)]
    oldestTimestamp: Time | None = None
    latestTimestamp: Time | None = None
    customData: CustomData | None = None


class GetLogRequest(Message, frozen=True, kw_only=True):
    log: LogParametersType
    logType: LogEnumType
    requestId: int
    retries: Annotated[int, Meta(ge=0)] | None = None
    retryInterval: int | None = None
    customData: CustomData | None = None


class AttributeEnumType(StrEnum):
    Actual = "Actual"
    Target = "Target"
    MinSet = "MinSet"
    MaxSet = "MaxSet"


class ComponentType(Message, frozen=True, kw_only=True):
    evse: EVSEType | None = None
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class VariableType(Message, frozen=True, kw_only=True):
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class GetVariableDataType(Message, frozen=True, kw_only=True):
    attributeType: AttributeEnumType | None = None
    component: ComponentType
    variable: VariableType
    customData: CustomData | None = None


class GetVariablesRequest(Message, frozen=True, kw_only=True):
    getVariableData: Annotated[list[GetVariableDataType], Meta(min_length=1)]
    customData: CustomData | None = None


class SetVariableDataType(Message, frozen=True, kw_only=True):
    attributeType: AttributeEnumType | None = None
    attributeValue: Annotated[str, Meta(max_length=2500)]
    component: ComponentType
    variable: VariableType
    customData: CustomData | None = None


class SetVariablesRequest(Message, frozen=True, kw_only=True):
    setVariableData: Annotated[list[SetVariableDataType], Meta(min_length=1)]
    customData: CustomData | None = None


class ReportBaseEnumType(StrEnum):
    ConfigurationInventory = "ConfigurationInventory"
    FullInventory = "FullInventory"
    SummaryInventory = "SummaryInventory"


class GetBaseReportRequest(Message, frozen=True, kw_only=True):
    requestId: int
    reportBase: ReportBaseEnumType
    customData: CustomData | None = None


class ComponentCriterionEnumType(StrEnum):
    Active = "Active"
    Available = "Available"
    Enabled = "Enabled"
    Problem = "Problem"


class ComponentVariableType(Message, frozen=True, kw_only=True):
    component: ComponentType
    variable: VariableType | None = None
    customData: CustomData | None = None


class GetReportRequest(Message, frozen=True, kw_only=True):
    componentVariable: Annotated[list[ComponentVariableType], Meta(min_length=1)] | None = None
    requestId: int
    componentCriteria: Annotated[list[ComponentCriterionEnumType], Meta(min_length=1, max_length=4)] | None = None
    customData: CustomData | None = None


class ReserveNowRequest(Message, frozen=True, kw_only=True):
    id: Annotated[int, Meta(ge=0)]
    expiryDateTime: Time
    connectorType: Annotated[str, Meta(max_length=20)] | None = None
    idToken: IdTokenType
    evseId: Annotated[int, Meta(ge=0)] | None = None
    groupIdToken: IdTokenType | None = None
    customData: CustomData | None = None


class CancelReservationRequest(Message, frozen=True, kw_only=True):
    reservationId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class SetChargingProfileRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    chargingProfile: ChargingProfileType
    customData: CustomData | None = None


class ClearChargingProfileType(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)] | None = None
    chargingProfilePurpose: ChargingProfilePurposeEnumType | None = None
    stackLevel: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class ClearChargingProfileRequest(Message, frozen=True, kw_only=True):
    chargingProfileId: int | None = None
    chargingProfileCriteria: ClearChargingProfileType | None = None
    customData: CustomData | None = None


class ChargingProfileCriterionType(Message, frozen=True, kw_only=True):
    chargingProfilePurpose: ChargingProfilePurposeEnumType | None = None
    stackLevel: Annotated[int, Meta(ge=0)] | None = None
    chargingProfileId: Annotated[list[int], Meta(min_length=1)] | None = None
    chargingLimitSource: (
        Annotated[list[Annotated[str, Meta(max_length=20)]], Meta(min_length=1, max_length=4)] | None
    ) = None
    customData: CustomData | None = None


class GetChargingProfilesRequest(Message, frozen=True, kw_only=True):
    requestId: int
    evseId: Annotated[int, Meta(ge=0)] | None = None
    chargingProfile: ChargingProfileCriterionType
    customData: CustomData | None = None


class GetCompositeScheduleRequest(Message, frozen=True, kw_only=True):
    duration: int
    chargingRateUnit: ChargingRateUnitEnumType | None = None
    evseId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class DayOfWeekEnumType(StrEnum):
    Monday = "Monday"
    Tuesday = "Tuesday"
    Wednesday = "Wednesday"
    Thursday = "Thursday"
    Friday = "Friday"
    Saturday = "Saturday"
    Sunday = "Sunday"


class EvseKindEnumType(StrEnum):
    AC = "AC"
    DC = "DC"


class TaxRateType(Message, frozen=True, kw_only=True):
    type: Annotated[str, Meta(max_length=20)]
    tax: float
    stack: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class PriceType(Message, frozen=True, kw_only=True):
    exclTax: float | None = None
    inclTax: float | None = None
    taxRates: Annotated[list[TaxRateType], Meta(min_length=1, max_length=5)] | None = None
    customData: CustomData | None = None


class TariffConditionsFixedType(Message, frozen=True, kw_only=True):
    startTimeOfDay: str | None = None
    endTimeOfDay: str | None = None
    dayOfWeek: Annotated[list[DayOfWeekEnumType], Meta(min_length=1, max_length=7)] | None = None
    validFromDate: str | None = None
    validToDate: str | None = None
    evseKind: EvseKindEnumType | None = None
    paymentBrand: Annotated[str, Meta(max_length=20)] | None = None
    paymentRecognition: Annotated[str, Meta(max_length=20)] | None = None
    customData: CustomData | None = None


class TariffConditionsType(Message, frozen=True, kw_only=True):
    startTimeOfDay: str | None = None
    endTimeOfDay: str | None = None
    dayOfWeek: Annotated[list[DayOfWeekEnumType], Meta(min_length=1, max_length=7)] | None = None
    validFromDate: str | None = None
    validToDate: str | None = None
    evseKind: EvseKindEnumType | None = None
    minEnergy: float | None = None
    maxEnergy: float | None = None
    minCurrent: float | None = None
    maxCurrent: float | None = None
    minPower: float | None = None
    maxPower: float | None = None
    minTime: int | None = None
    maxTime: int | None = None
    minChargingTime: int | None = None
    maxChargingTime: int | None = None
    minIdleTime: int | None = None
    maxIdleTime: int | None = None
    customData: CustomData | None = None


class TariffEnergyPriceType(Message, frozen=True, kw_only=True):
    priceKwh: float
    conditions: TariffConditionsType | None = None
    customData: CustomData | None = None


class TariffEnergyType(Message, frozen=True, kw_only=True):
    prices: Annotated[list[TariffEnergyPriceType], Meta(min_length=1)]
    taxRates: Annotated[list[TaxRateType], Meta(min_length=1, max_length=5)] | None = None
    customData: CustomData | None = None


class TariffFixedPriceType(Message, frozen=True, kw_only=True):
    conditions: TariffConditionsFixedType | None = None
    priceFixed: float
    customData: CustomData | None = None


class TariffFixedType(Message, frozen=True, kw_only=True):
    prices: Annotated[list[TariffFixedPriceType], Meta(min_length=1)]
    taxRates: Annotated[list[TaxRateType], Meta(min_length=1, max_length=5)] | None = None
    customData: CustomData | None = None


class TariffTimePriceType(Message, frozen=True, kw_only=True):
    priceMinute: float
    conditions: TariffConditionsType | None = None
    customData: CustomData | None = None


class TariffTimeType(Message, frozen=True, kw_only=True):
    prices: Annotated[list[TariffTimePriceType], Meta(min_length=1)]
    taxRates: Annotated[list[TaxRateType], Meta(min_length=1, max_length=5)] | None = None
    customData: CustomData | None = None


class TariffType(Message, frozen=True, kw_only=True):
    tariffId: Annotated[str, Meta(max_length=60)]
    description: Annotated[list[MessageContentType], Meta(min_length=1, max_length=10)] | None = None
    currency: Annotated[str, Meta(max_length=3)]
    energy: TariffEnergyType | None = None
    validFrom: Time | None = None
    chargingTime: TariffTimeType | None = None
    idleTime: TariffTimeType | None = None
    fixedFee: TariffFixedType | None = None
    reservationTime: TariffTimeType | None = None
    reservationFixed: TariffFixedType | None = None
    minCost: PriceType | None = None
    maxCost: PriceType | None = None
    customData: CustomData | None = None


class SetDefaultTariffRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    tariff: TariffType
    customData: CustomData | None = None


class GetTariffsRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class ClearTariffsRequest(Message, frozen=True, kw_only=True):
    tariffIds: Annotated[list[Annotated[str, Meta(max_length=60)]], Meta(min_length=1)] | None = None
    evseId: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class ChangeTransactionTariffRequest(Message, frozen=True, kw_only=True):
    tariff: TariffType
    transactionId: Annotated[str, Meta(max_length=36)]
    customData: CustomData | None = None


class MessagePriorityEnumType(StrEnum):
    AlwaysFront = "AlwaysFront"
    InFront = "InFront"
    NormalCycle = "NormalCycle"


class MessageStateEnumType(StrEnum):
    Charging = "Charging"
    Faulted = "Faulted"
    Idle = "Idle"
    Unavailable = "Unavailable"
    Suspended = "Suspended"
    Discharging = "Discharging"


class MessageInfoType(Message, frozen=True, kw_only=True):
    display: ComponentType | None = None
    id: Annotated[int, Meta(ge=0)]
    priority: MessagePriorityEnumType
    state: MessageStateEnumType | None = None
    startDateTime: Time | None = None
    endDateTime: Time | None = None
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    message: MessageContentType
    messageExtra: Annotated[list[MessageContentType], Meta(min_length=1, max_length=4)] | None = None
    customData: CustomData | None = None


class SetDisplayMessageRequest(Message, frozen=True, kw_only=True):
    message: MessageInfoType
    customData: CustomData | None = None


class GetDisplayMessagesRequest(Message, frozen=True, kw_only=True):
    id: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)] | None = None
    requestId: int
    priority: MessagePriorityEnumType | None = None
    state: MessageStateEnumType | None = None
    customData: CustomData | None = None


class ClearDisplayMessageRequest(Message, frozen=True, kw_only=True):
    id: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class AuthorizeCertificateStatusEnumType(StrEnum):
    Accepted = "Accepted"
    SignatureError = "SignatureError"
    CertificateExpired = "CertificateExpired"
    CertificateRevoked = "CertificateRevoked"
    NoCertificateAvailable = "NoCertificateAvailable"
    CertChainError = "CertChainError"
    ContractCancelled = "ContractCancelled"


class EnergyTransferModeEnumType(StrEnum):
    AC_single_phase = "AC_single_phase"
    AC_two_phase = "AC_two_phase"
    AC_three_phase = "AC_three_phase"
    DC = "DC"
    AC_BPT = "AC_BPT"
    AC_BPT_DER = "AC_BPT_DER"
    AC_DER = "AC_DER"
    DC_BPT = "DC_BPT"
    DC_ACDP = "DC_ACDP"
    DC_ACDP_BPT = "DC_ACDP_BPT"
    WPT = "WPT"


class AuthorizeResponse(Message, frozen=True, kw_only=True):
    idTokenInfo: IdTokenInfoType
    certificateStatus: AuthorizeCertificateStatusEnumType | None = None
    allowedEnergyTransfer: Annotated[list[EnergyTransferModeEnumType], Meta(min_length=1)] | None = None
    tariff: TariffType | None = None
    customData: CustomData | None = None


class SendLocalListStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Failed = "Failed"
    VersionMismatch = "VersionMismatch"


class StatusInfoType(Message, frozen=True, kw_only=True):
    reasonCode: Annotated[str, Meta(max_length=20)]
    additionalInfo: Annotated[str, Meta(max_length=1024)] | None = None
    customData: CustomData | None = None


class SendLocalListResponse(Message, frozen=True, kw_only=True):
    status: SendLocalListStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


COMMANDS: dict[str, type[Message]] = {
    "RequestStartTransaction": RequestStartTransactionRequest,
    "RequestStopTransaction": RequestStopTransactionRequest,
    "ChangeAvailability": ChangeAvailabilityRequest,
    "Reset": ResetRequest,
    "UnlockConnector": UnlockConnectorRequest,
    "TriggerMessage": TriggerMessageRequest,
    "SendLocalList": SendLocalListRequest,
    "GetLocalListVersion": GetLocalListVersionRequest,
    "ClearCache": ClearCacheRequest,
    "DataTransfer": DataTransferRequest,
    "GetTransactionStatus": GetTransactionStatusRequest,
    "SetNetworkProfile": SetNetworkProfileRequest,
    "CertificateSigned": CertificateSignedRequest,
    "UpdateFirmware": UpdateFirmwareRequest,
    "GetLog": GetLogRequest,
    "GetVariables": GetVariablesRequest,
    "SetVariables": SetVariablesRequest,
    "GetBaseReport": GetBaseReportRequest,
    "GetReport": GetReportRequest,
    "ReserveNow": ReserveNowRequest,
    "CancelReservation": CancelReservationRequest,
    "SetChargingProfile": SetChargingProfileRequest,
    "ClearChargingProfile": ClearChargingProfileRequest,
    "GetChargingProfiles": GetChargingProfilesRequest,
    "GetCompositeSchedule": GetCompositeScheduleRequest,
    "SetDefaultTariff": SetDefaultTariffRequest,
    "GetTariffs": GetTariffsRequest,
    "ClearTariffs": ClearTariffsRequest,
    "ChangeTransactionTariff": ChangeTransactionTariffRequest,
    "SetDisplayMessage": SetDisplayMessageRequest,
    "GetDisplayMessages": GetDisplayMessagesRequest,
    "ClearDisplayMessage": ClearDisplayMessageRequest,
}
SAID = {  # by the station, and nobody's to command
    "BootNotification",
    "Heartbeat",
    "Authorize",
    "TransactionEvent",
    "StatusNotification",
    "NotifyEvent",
    "SecurityEventNotification",
    "MeterValues",
    "SignCertificate",
    "NotifyReport",
    "FirmwareStatusNotification",
    "LogStatusNotification",
    "ReservationStatusUpdate",
    "ReportChargingProfiles",
    "NotifyDisplayMessages",
    "NotifyChargingLimit",
    "ClearedChargingLimit",
}
