"""The OCPP 2.1 messages this station speaks. Written by tools/make_messages.py from the official schemas: do not edit.

Classes, members and values are spelled as in OCPP; what a schema bounds is bounded here. A member that is None is
absent on the wire.
"""

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, ValidationError, convert, to_builtins

from agent.uplink.codec import WireError


class CustomData(dict[str, Any]):
    """What OCPP has no word for: any members, with the vendor's id among them."""


class Message(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every message and of what they are made of."""


M = TypeVar("M", bound=Message)


def to_wire(message: Message) -> dict[str, Any]:
    """The message in OCPP's JSON form. What our own code built is not checked again."""
    wire: dict[str, Any] = to_builtins(message)
    return wire


def from_wire(form: type[M], wire: Any) -> M:
    """The JSON form as a message of this type; WireError, with one sentence, if the schema would refuse it."""
    try:
        message = convert(wire, form, dec_hook=_custom_data)
    except ValidationError as error:
        raise WireError(f"{form.__name__}: {error}") from None
    if _members(wire) != _members(to_builtins(message)):
        raise WireError(f"{form.__name__}: a member is null where OCPP leaves it out")
    return message


def _members(wire: Any) -> int:
    """How many members an object has, all levels together; None is lost on the way through a struct."""
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


class BootReasonEnumType(StrEnum):
    ApplicationReset = "ApplicationReset"
    FirmwareUpdate = "FirmwareUpdate"
    LocalReset = "LocalReset"
    PowerUp = "PowerUp"
    RemoteReset = "RemoteReset"
    ScheduledReset = "ScheduledReset"
    Triggered = "Triggered"
    Unknown = "Unknown"
    Watchdog = "Watchdog"


class ModemType(Message, frozen=True, kw_only=True):
    iccid: Annotated[str, Meta(max_length=20)] | None = None
    imsi: Annotated[str, Meta(max_length=20)] | None = None
    customData: CustomData | None = None


class ChargingStationType(Message, frozen=True, kw_only=True):
    serialNumber: Annotated[str, Meta(max_length=25)] | None = None
    model: Annotated[str, Meta(max_length=20)]
    modem: ModemType | None = None
    vendorName: Annotated[str, Meta(max_length=50)]
    firmwareVersion: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class BootNotificationRequest(Message, frozen=True, kw_only=True):
    chargingStation: ChargingStationType
    reason: BootReasonEnumType
    customData: CustomData | None = None


class RegistrationStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Pending = "Pending"
    Rejected = "Rejected"


class StatusInfoType(Message, frozen=True, kw_only=True):
    reasonCode: Annotated[str, Meta(max_length=20)]
    additionalInfo: Annotated[str, Meta(max_length=1024)] | None = None
    customData: CustomData | None = None


class BootNotificationResponse(Message, frozen=True, kw_only=True):
    currentTime: Time
    interval: int
    status: RegistrationStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class HeartbeatRequest(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class HeartbeatResponse(Message, frozen=True, kw_only=True):
    currentTime: Time
    customData: CustomData | None = None


class HashAlgorithmEnumType(StrEnum):
    SHA256 = "SHA256"
    SHA384 = "SHA384"
    SHA512 = "SHA512"


class AdditionalInfoType(Message, frozen=True, kw_only=True):
    additionalIdToken: Annotated[str, Meta(max_length=255)]
    type: Annotated[str, Meta(max_length=50)]
    customData: CustomData | None = None


class IdTokenType(Message, frozen=True, kw_only=True):
    additionalInfo: Annotated[list[AdditionalInfoType], Meta(min_length=1)] | None = None
    idToken: Annotated[str, Meta(max_length=255)]
    type: Annotated[str, Meta(max_length=20)]
    customData: CustomData | None = None


class OCSPRequestDataType(Message, frozen=True, kw_only=True):
    hashAlgorithm: HashAlgorithmEnumType
    issuerNameHash: Annotated[str, Meta(max_length=128)]
    issuerKeyHash: Annotated[str, Meta(max_length=128)]
    serialNumber: Annotated[str, Meta(max_length=40)]
    responderURL: Annotated[str, Meta(max_length=2000)]
    customData: CustomData | None = None


class AuthorizeRequest(Message, frozen=True, kw_only=True):
    idToken: IdTokenType
    certificate: Annotated[str, Meta(max_length=10000)] | None = None
    iso15118CertificateHashData: Annotated[list[OCSPRequestDataType], Meta(min_length=1, max_length=4)] | None = None
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


class AuthorizeCertificateStatusEnumType(StrEnum):
    Accepted = "Accepted"
    SignatureError = "SignatureError"
    CertificateExpired = "CertificateExpired"
    CertificateRevoked = "CertificateRevoked"
    NoCertificateAvailable = "NoCertificateAvailable"
    CertChainError = "CertChainError"
    ContractCancelled = "ContractCancelled"


class DayOfWeekEnumType(StrEnum):
    Monday = "Monday"
    Tuesday = "Tuesday"
    Wednesday = "Wednesday"
    Thursday = "Thursday"
    Friday = "Friday"
    Saturday = "Saturday"
    Sunday = "Sunday"


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


class EvseKindEnumType(StrEnum):
    AC = "AC"
    DC = "DC"


class MessageFormatEnumType(StrEnum):
    ASCII = "ASCII"
    HTML = "HTML"
    URI = "URI"
    UTF8 = "UTF8"
    QRCODE = "QRCODE"


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


class AuthorizeResponse(Message, frozen=True, kw_only=True):
    idTokenInfo: IdTokenInfoType
    certificateStatus: AuthorizeCertificateStatusEnumType | None = None
    allowedEnergyTransfer: Annotated[list[EnergyTransferModeEnumType], Meta(min_length=1)] | None = None
    tariff: TariffType | None = None
    customData: CustomData | None = None


class ChargingStateEnumType(StrEnum):
    EVConnected = "EVConnected"
    Charging = "Charging"
    SuspendedEV = "SuspendedEV"
    SuspendedEVSE = "SuspendedEVSE"
    Idle = "Idle"


class CostDimensionEnumType(StrEnum):
    Energy = "Energy"
    MaxCurrent = "MaxCurrent"
    MinCurrent = "MinCurrent"
    MaxPower = "MaxPower"
    MinPower = "MinPower"
    IdleTIme = "IdleTIme"
    ChargingTime = "ChargingTime"


class LocationEnumType(StrEnum):
    Body = "Body"
    Cable = "Cable"
    EV = "EV"
    Inlet = "Inlet"
    Outlet = "Outlet"
    Upstream = "Upstream"


class MeasurandEnumType(StrEnum):
    Current_Export = "Current.Export"
    Current_Export_Offered = "Current.Export.Offered"
    Current_Export_Minimum = "Current.Export.Minimum"
    Current_Import = "Current.Import"
    Current_Import_Offered = "Current.Import.Offered"
    Current_Import_Minimum = "Current.Import.Minimum"
    Current_Offered = "Current.Offered"
    Display_PresentSOC = "Display.PresentSOC"
    Display_MinimumSOC = "Display.MinimumSOC"
    Display_TargetSOC = "Display.TargetSOC"
    Display_MaximumSOC = "Display.MaximumSOC"
    Display_RemainingTimeToMinimumSOC = "Display.RemainingTimeToMinimumSOC"
    Display_RemainingTimeToTargetSOC = "Display.RemainingTimeToTargetSOC"
    Display_RemainingTimeToMaximumSOC = "Display.RemainingTimeToMaximumSOC"
    Display_ChargingComplete = "Display.ChargingComplete"
    Display_BatteryEnergyCapacity = "Display.BatteryEnergyCapacity"
    Display_InletHot = "Display.InletHot"
    Energy_Active_Export_Interval = "Energy.Active.Export.Interval"
    Energy_Active_Export_Register = "Energy.Active.Export.Register"
    Energy_Active_Import_Interval = "Energy.Active.Import.Interval"
    Energy_Active_Import_Register = "Energy.Active.Import.Register"
    Energy_Active_Import_CableLoss = "Energy.Active.Import.CableLoss"
    Energy_Active_Import_LocalGeneration_Register = "Energy.Active.Import.LocalGeneration.Register"
    Energy_Active_Net = "Energy.Active.Net"
    Energy_Active_Setpoint_Interval = "Energy.Active.Setpoint.Interval"
    Energy_Apparent_Export = "Energy.Apparent.Export"
    Energy_Apparent_Import = "Energy.Apparent.Import"
    Energy_Apparent_Net = "Energy.Apparent.Net"
    Energy_Reactive_Export_Interval = "Energy.Reactive.Export.Interval"
    Energy_Reactive_Export_Register = "Energy.Reactive.Export.Register"
    Energy_Reactive_Import_Interval = "Energy.Reactive.Import.Interval"
    Energy_Reactive_Import_Register = "Energy.Reactive.Import.Register"
    Energy_Reactive_Net = "Energy.Reactive.Net"
    EnergyRequest_Target = "EnergyRequest.Target"
    EnergyRequest_Minimum = "EnergyRequest.Minimum"
    EnergyRequest_Maximum = "EnergyRequest.Maximum"
    EnergyRequest_Minimum_V2X = "EnergyRequest.Minimum.V2X"
    EnergyRequest_Maximum_V2X = "EnergyRequest.Maximum.V2X"
    EnergyRequest_Bulk = "EnergyRequest.Bulk"
    Frequency = "Frequency"
    Power_Active_Export = "Power.Active.Export"
    Power_Active_Import = "Power.Active.Import"
    Power_Active_Setpoint = "Power.Active.Setpoint"
    Power_Active_Residual = "Power.Active.Residual"
    Power_Export_Minimum = "Power.Export.Minimum"
    Power_Export_Offered = "Power.Export.Offered"
    Power_Factor = "Power.Factor"
    Power_Import_Offered = "Power.Import.Offered"
    Power_Import_Minimum = "Power.Import.Minimum"
    Power_Offered = "Power.Offered"
    Power_Reactive_Export = "Power.Reactive.Export"
    Power_Reactive_Import = "Power.Reactive.Import"
    SoC = "SoC"
    Voltage = "Voltage"
    Voltage_Minimum = "Voltage.Minimum"
    Voltage_Maximum = "Voltage.Maximum"


class OperationModeEnumType(StrEnum):
    Idle = "Idle"
    ChargingOnly = "ChargingOnly"
    CentralSetpoint = "CentralSetpoint"
    ExternalSetpoint = "ExternalSetpoint"
    ExternalLimits = "ExternalLimits"
    CentralFrequency = "CentralFrequency"
    LocalFrequency = "LocalFrequency"
    LocalLoadBalancing = "LocalLoadBalancing"


class PhaseEnumType(StrEnum):
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    N = "N"
    L1_N = "L1-N"
    L2_N = "L2-N"
    L3_N = "L3-N"
    L1_L2 = "L1-L2"
    L2_L3 = "L2-L3"
    L3_L1 = "L3-L1"


class PreconditioningStatusEnumType(StrEnum):
    Unknown = "Unknown"
    Ready = "Ready"
    NotReady = "NotReady"
    Preconditioning = "Preconditioning"


class ReadingContextEnumType(StrEnum):
    Interruption_Begin = "Interruption.Begin"
    Interruption_End = "Interruption.End"
    Other = "Other"
    Sample_Clock = "Sample.Clock"
    Sample_Periodic = "Sample.Periodic"
    Transaction_Begin = "Transaction.Begin"
    Transaction_End = "Transaction.End"
    Trigger = "Trigger"


class ReasonEnumType(StrEnum):
    DeAuthorized = "DeAuthorized"
    EmergencyStop = "EmergencyStop"
    EnergyLimitReached = "EnergyLimitReached"
    EVDisconnected = "EVDisconnected"
    GroundFault = "GroundFault"
    ImmediateReset = "ImmediateReset"
    MasterPass = "MasterPass"
    Local = "Local"
    LocalOutOfCredit = "LocalOutOfCredit"
    Other = "Other"
    OvercurrentFault = "OvercurrentFault"
    PowerLoss = "PowerLoss"
    PowerQuality = "PowerQuality"
    Reboot = "Reboot"
    Remote = "Remote"
    SOCLimitReached = "SOCLimitReached"
    StoppedByEV = "StoppedByEV"
    TimeLimitReached = "TimeLimitReached"
    Timeout = "Timeout"
    ReqEnergyTransferRejected = "ReqEnergyTransferRejected"


class TariffCostEnumType(StrEnum):
    NormalCost = "NormalCost"
    MinCost = "MinCost"
    MaxCost = "MaxCost"


class TransactionEventEnumType(StrEnum):
    Ended = "Ended"
    Started = "Started"
    Updated = "Updated"


class TriggerReasonEnumType(StrEnum):
    AbnormalCondition = "AbnormalCondition"
    Authorized = "Authorized"
    CablePluggedIn = "CablePluggedIn"
    ChargingRateChanged = "ChargingRateChanged"
    ChargingStateChanged = "ChargingStateChanged"
    CostLimitReached = "CostLimitReached"
    Deauthorized = "Deauthorized"
    EnergyLimitReached = "EnergyLimitReached"
    EVCommunicationLost = "EVCommunicationLost"
    EVConnectTimeout = "EVConnectTimeout"
    EVDeparted = "EVDeparted"
    EVDetected = "EVDetected"
    LimitSet = "LimitSet"
    MeterValueClock = "MeterValueClock"
    MeterValuePeriodic = "MeterValuePeriodic"
    OperationModeChanged = "OperationModeChanged"
    RemoteStart = "RemoteStart"
    RemoteStop = "RemoteStop"
    ResetCommand = "ResetCommand"
    RunningCost = "RunningCost"
    SignedDataReceived = "SignedDataReceived"
    SoCLimitReached = "SoCLimitReached"
    StopAuthorized = "StopAuthorized"
    TariffChanged = "TariffChanged"
    TariffNotAccepted = "TariffNotAccepted"
    TimeLimitReached = "TimeLimitReached"
    Trigger = "Trigger"
    TxResumed = "TxResumed"
    UnlockCommand = "UnlockCommand"


class CostDimensionType(Message, frozen=True, kw_only=True):
    type: CostDimensionEnumType
    volume: float
    customData: CustomData | None = None


class ChargingPeriodType(Message, frozen=True, kw_only=True):
    dimensions: Annotated[list[CostDimensionType], Meta(min_length=1)] | None = None
    tariffId: Annotated[str, Meta(max_length=60)] | None = None
    startPeriod: Time
    customData: CustomData | None = None


class TotalPriceType(Message, frozen=True, kw_only=True):
    exclTax: float | None = None
    inclTax: float | None = None
    customData: CustomData | None = None


class TotalCostType(Message, frozen=True, kw_only=True):
    currency: Annotated[str, Meta(max_length=3)]
    typeOfCost: TariffCostEnumType
    fixed: PriceType | None = None
    energy: PriceType | None = None
    chargingTime: PriceType | None = None
    idleTime: PriceType | None = None
    reservationTime: PriceType | None = None
    reservationFixed: PriceType | None = None
    total: TotalPriceType
    customData: CustomData | None = None


class TotalUsageType(Message, frozen=True, kw_only=True):
    energy: float
    chargingTime: int
    idleTime: int
    reservationTime: int | None = None
    customData: CustomData | None = None


class CostDetailsType(Message, frozen=True, kw_only=True):
    chargingPeriods: Annotated[list[ChargingPeriodType], Meta(min_length=1)] | None = None
    totalCost: TotalCostType
    totalUsage: TotalUsageType
    failureToCalculate: bool | None = None
    failureReason: Annotated[str, Meta(max_length=500)] | None = None
    customData: CustomData | None = None


class EVSEType(Message, frozen=True, kw_only=True):
    id: Annotated[int, Meta(ge=0)]
    connectorId: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class SignedMeterValueType(Message, frozen=True, kw_only=True):
    signedMeterData: Annotated[str, Meta(max_length=32768)]
    signingMethod: Annotated[str, Meta(max_length=50)] | None = None
    encodingMethod: Annotated[str, Meta(max_length=50)]
    publicKey: Annotated[str, Meta(max_length=2500)] | None = None
    customData: CustomData | None = None


class UnitOfMeasureType(Message, frozen=True, kw_only=True):
    unit: Annotated[str, Meta(max_length=20)] | None = None
    multiplier: int | None = None
    customData: CustomData | None = None


class SampledValueType(Message, frozen=True, kw_only=True):
    value: float
    measurand: MeasurandEnumType | None = None
    context: ReadingContextEnumType | None = None
    phase: PhaseEnumType | None = None
    location: LocationEnumType | None = None
    signedMeterValue: SignedMeterValueType | None = None
    unitOfMeasure: UnitOfMeasureType | None = None
    customData: CustomData | None = None


class MeterValueType(Message, frozen=True, kw_only=True):
    sampledValue: Annotated[list[SampledValueType], Meta(min_length=1)]
    timestamp: Time
    customData: CustomData | None = None


class TransactionLimitType(Message, frozen=True, kw_only=True):
    maxCost: float | None = None
    maxEnergy: float | None = None
    maxTime: int | None = None
    maxSoC: Annotated[int, Meta(ge=0, le=100)] | None = None
    customData: CustomData | None = None


class TransactionType(Message, frozen=True, kw_only=True):
    transactionId: Annotated[str, Meta(max_length=36)]
    chargingState: ChargingStateEnumType | None = None
    timeSpentCharging: int | None = None
    stoppedReason: ReasonEnumType | None = None
    remoteStartId: int | None = None
    operationMode: OperationModeEnumType | None = None
    tariffId: Annotated[str, Meta(max_length=60)] | None = None
    transactionLimit: TransactionLimitType | None = None
    customData: CustomData | None = None


class TransactionEventRequest(Message, frozen=True, kw_only=True):
    costDetails: CostDetailsType | None = None
    eventType: TransactionEventEnumType
    meterValue: Annotated[list[MeterValueType], Meta(min_length=1)] | None = None
    timestamp: Time
    triggerReason: TriggerReasonEnumType
    seqNo: Annotated[int, Meta(ge=0)]
    offline: bool | None = None
    numberOfPhasesUsed: Annotated[int, Meta(ge=0, le=3)] | None = None
    cableMaxCurrent: int | None = None
    reservationId: Annotated[int, Meta(ge=0)] | None = None
    preconditioningStatus: PreconditioningStatusEnumType | None = None
    evseSleep: bool | None = None
    transactionInfo: TransactionType
    evse: EVSEType | None = None
    idToken: IdTokenType | None = None
    customData: CustomData | None = None


class TransactionEventResponse(Message, frozen=True, kw_only=True):
    totalCost: float | None = None
    chargingPriority: int | None = None
    idTokenInfo: IdTokenInfoType | None = None
    transactionLimit: TransactionLimitType | None = None
    updatedPersonalMessage: MessageContentType | None = None
    updatedPersonalMessageExtra: Annotated[list[MessageContentType], Meta(min_length=1, max_length=4)] | None = None
    customData: CustomData | None = None


class ConnectorStatusEnumType(StrEnum):
    Available = "Available"
    Occupied = "Occupied"
    Reserved = "Reserved"
    Unavailable = "Unavailable"
    Faulted = "Faulted"


class StatusNotificationRequest(Message, frozen=True, kw_only=True):
    timestamp: Time
    connectorStatus: ConnectorStatusEnumType
    evseId: Annotated[int, Meta(ge=0)]
    connectorId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class StatusNotificationResponse(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class EventNotificationEnumType(StrEnum):
    HardWiredNotification = "HardWiredNotification"
    HardWiredMonitor = "HardWiredMonitor"
    PreconfiguredMonitor = "PreconfiguredMonitor"
    CustomMonitor = "CustomMonitor"


class EventTriggerEnumType(StrEnum):
    Alerting = "Alerting"
    Delta = "Delta"
    Periodic = "Periodic"


class ComponentType(Message, frozen=True, kw_only=True):
    evse: EVSEType | None = None
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class VariableType(Message, frozen=True, kw_only=True):
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None
    customData: CustomData | None = None


class EventDataType(Message, frozen=True, kw_only=True):
    eventId: Annotated[int, Meta(ge=0)]
    timestamp: Time
    trigger: EventTriggerEnumType
    cause: Annotated[int, Meta(ge=0)] | None = None
    actualValue: Annotated[str, Meta(max_length=2500)]
    techCode: Annotated[str, Meta(max_length=50)] | None = None
    techInfo: Annotated[str, Meta(max_length=500)] | None = None
    cleared: bool | None = None
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    component: ComponentType
    variableMonitoringId: Annotated[int, Meta(ge=0)] | None = None
    eventNotificationType: EventNotificationEnumType
    variable: VariableType
    severity: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class NotifyEventRequest(Message, frozen=True, kw_only=True):
    generatedAt: Time
    tbc: bool | None = None
    seqNo: Annotated[int, Meta(ge=0)]
    eventData: Annotated[list[EventDataType], Meta(min_length=1)]
    customData: CustomData | None = None


class NotifyEventResponse(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class SecurityEventNotificationRequest(Message, frozen=True, kw_only=True):
    type: Annotated[str, Meta(max_length=50)]
    timestamp: Time
    techInfo: Annotated[str, Meta(max_length=255)] | None = None
    customData: CustomData | None = None


class SecurityEventNotificationResponse(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class MeterValuesRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    meterValue: Annotated[list[MeterValueType], Meta(min_length=1)]
    customData: CustomData | None = None


class MeterValuesResponse(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


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


class RequestStartTransactionRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=1)] | None = None
    groupIdToken: IdTokenType | None = None
    idToken: IdTokenType
    remoteStartId: int
    chargingProfile: ChargingProfileType | None = None
    customData: CustomData | None = None


class RequestStartStopStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"


class RequestStartTransactionResponse(Message, frozen=True, kw_only=True):
    status: RequestStartStopStatusEnumType
    statusInfo: StatusInfoType | None = None
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    customData: CustomData | None = None


class RequestStopTransactionRequest(Message, frozen=True, kw_only=True):
    transactionId: Annotated[str, Meta(max_length=36)]
    customData: CustomData | None = None


class RequestStopTransactionResponse(Message, frozen=True, kw_only=True):
    status: RequestStartStopStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class OperationalStatusEnumType(StrEnum):
    Inoperative = "Inoperative"
    Operative = "Operative"


class ChangeAvailabilityRequest(Message, frozen=True, kw_only=True):
    evse: EVSEType | None = None
    operationalStatus: OperationalStatusEnumType
    customData: CustomData | None = None


class ChangeAvailabilityStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    Scheduled = "Scheduled"


class ChangeAvailabilityResponse(Message, frozen=True, kw_only=True):
    status: ChangeAvailabilityStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class ResetEnumType(StrEnum):
    Immediate = "Immediate"
    OnIdle = "OnIdle"
    ImmediateAndResume = "ImmediateAndResume"


class ResetRequest(Message, frozen=True, kw_only=True):
    type: ResetEnumType
    evseId: Annotated[int, Meta(ge=0)] | None = None
    customData: CustomData | None = None


class ResetStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    Scheduled = "Scheduled"


class ResetResponse(Message, frozen=True, kw_only=True):
    status: ResetStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class UnlockConnectorRequest(Message, frozen=True, kw_only=True):
    evseId: Annotated[int, Meta(ge=0)]
    connectorId: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class UnlockStatusEnumType(StrEnum):
    Unlocked = "Unlocked"
    UnlockFailed = "UnlockFailed"
    OngoingAuthorizedTransaction = "OngoingAuthorizedTransaction"
    UnknownConnector = "UnknownConnector"


class UnlockConnectorResponse(Message, frozen=True, kw_only=True):
    status: UnlockStatusEnumType
    statusInfo: StatusInfoType | None = None
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


class TriggerMessageStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    NotImplemented = "NotImplemented"


class TriggerMessageResponse(Message, frozen=True, kw_only=True):
    status: TriggerMessageStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class UpdateEnumType(StrEnum):
    Differential = "Differential"
    Full = "Full"


class AuthorizationData(Message, frozen=True, kw_only=True):
    idToken: IdTokenType
    idTokenInfo: IdTokenInfoType | None = None
    customData: CustomData | None = None


class SendLocalListRequest(Message, frozen=True, kw_only=True):
    localAuthorizationList: Annotated[list[AuthorizationData], Meta(min_length=1)] | None = None
    versionNumber: int
    updateType: UpdateEnumType
    customData: CustomData | None = None


class SendLocalListStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Failed = "Failed"
    VersionMismatch = "VersionMismatch"


class SendLocalListResponse(Message, frozen=True, kw_only=True):
    status: SendLocalListStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class GetLocalListVersionRequest(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class GetLocalListVersionResponse(Message, frozen=True, kw_only=True):
    versionNumber: int
    customData: CustomData | None = None


class ClearCacheRequest(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


class ClearCacheStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"


class ClearCacheResponse(Message, frozen=True, kw_only=True):
    status: ClearCacheStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class DataTransferRequest(Message, frozen=True, kw_only=True):
    messageId: Annotated[str, Meta(max_length=50)] | None = None
    data: Any = UNSET
    vendorId: Annotated[str, Meta(max_length=255)]
    customData: CustomData | None = None


class DataTransferStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    UnknownMessageId = "UnknownMessageId"
    UnknownVendorId = "UnknownVendorId"


class DataTransferResponse(Message, frozen=True, kw_only=True):
    status: DataTransferStatusEnumType
    statusInfo: StatusInfoType | None = None
    data: Any = UNSET
    customData: CustomData | None = None


class GetTransactionStatusRequest(Message, frozen=True, kw_only=True):
    transactionId: Annotated[str, Meta(max_length=36)] | None = None
    customData: CustomData | None = None


class GetTransactionStatusResponse(Message, frozen=True, kw_only=True):
    ongoingIndicator: bool | None = None
    messagesInQueue: bool
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


class SetNetworkProfileStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    Failed = "Failed"


class SetNetworkProfileResponse(Message, frozen=True, kw_only=True):
    status: SetNetworkProfileStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class CertificateSigningUseEnumType(StrEnum):
    ChargingStationCertificate = "ChargingStationCertificate"
    V2GCertificate = "V2GCertificate"
    V2G20Certificate = "V2G20Certificate"


class CertificateHashDataType(Message, frozen=True, kw_only=True):
    hashAlgorithm: HashAlgorithmEnumType
    issuerNameHash: Annotated[str, Meta(max_length=128)]
    issuerKeyHash: Annotated[str, Meta(max_length=128)]
    serialNumber: Annotated[str, Meta(max_length=40)]
    customData: CustomData | None = None


class SignCertificateRequest(Message, frozen=True, kw_only=True):
    csr: Annotated[str, Meta(max_length=5500)]
    certificateType: CertificateSigningUseEnumType | None = None
    hashRootCertificate: CertificateHashDataType | None = None
    requestId: int | None = None
    customData: CustomData | None = None


class GenericStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"


class SignCertificateResponse(Message, frozen=True, kw_only=True):
    status: GenericStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class CertificateSignedRequest(Message, frozen=True, kw_only=True):
    certificateChain: Annotated[str, Meta(max_length=10000)]
    certificateType: CertificateSigningUseEnumType | None = None
    requestId: int | None = None
    customData: CustomData | None = None


class CertificateSignedStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"


class CertificateSignedResponse(Message, frozen=True, kw_only=True):
    status: CertificateSignedStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class AttributeEnumType(StrEnum):
    Actual = "Actual"
    Target = "Target"
    MinSet = "MinSet"
    MaxSet = "MaxSet"


class GetVariableDataType(Message, frozen=True, kw_only=True):
    attributeType: AttributeEnumType | None = None
    component: ComponentType
    variable: VariableType
    customData: CustomData | None = None


class GetVariablesRequest(Message, frozen=True, kw_only=True):
    getVariableData: Annotated[list[GetVariableDataType], Meta(min_length=1)]
    customData: CustomData | None = None


class GetVariableStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    UnknownComponent = "UnknownComponent"
    UnknownVariable = "UnknownVariable"
    NotSupportedAttributeType = "NotSupportedAttributeType"


class GetVariableResultType(Message, frozen=True, kw_only=True):
    attributeStatus: GetVariableStatusEnumType
    attributeStatusInfo: StatusInfoType | None = None
    attributeType: AttributeEnumType | None = None
    attributeValue: Annotated[str, Meta(max_length=2500)] | None = None
    component: ComponentType
    variable: VariableType
    customData: CustomData | None = None


class GetVariablesResponse(Message, frozen=True, kw_only=True):
    getVariableResult: Annotated[list[GetVariableResultType], Meta(min_length=1)]
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


class SetVariableStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    UnknownComponent = "UnknownComponent"
    UnknownVariable = "UnknownVariable"
    NotSupportedAttributeType = "NotSupportedAttributeType"
    RebootRequired = "RebootRequired"


class SetVariableResultType(Message, frozen=True, kw_only=True):
    attributeType: AttributeEnumType | None = None
    attributeStatus: SetVariableStatusEnumType
    attributeStatusInfo: StatusInfoType | None = None
    component: ComponentType
    variable: VariableType
    customData: CustomData | None = None


class SetVariablesResponse(Message, frozen=True, kw_only=True):
    setVariableResult: Annotated[list[SetVariableResultType], Meta(min_length=1)]
    customData: CustomData | None = None


class ReportBaseEnumType(StrEnum):
    ConfigurationInventory = "ConfigurationInventory"
    FullInventory = "FullInventory"
    SummaryInventory = "SummaryInventory"


class GetBaseReportRequest(Message, frozen=True, kw_only=True):
    requestId: int
    reportBase: ReportBaseEnumType
    customData: CustomData | None = None


class GenericDeviceModelStatusEnumType(StrEnum):
    Accepted = "Accepted"
    Rejected = "Rejected"
    NotSupported = "NotSupported"
    EmptyResultSet = "EmptyResultSet"


class GetBaseReportResponse(Message, frozen=True, kw_only=True):
    status: GenericDeviceModelStatusEnumType
    statusInfo: StatusInfoType | None = None
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


class GetReportResponse(Message, frozen=True, kw_only=True):
    status: GenericDeviceModelStatusEnumType
    statusInfo: StatusInfoType | None = None
    customData: CustomData | None = None


class DataEnumType(StrEnum):
    string = "string"
    decimal = "decimal"
    integer = "integer"
    dateTime = "dateTime"
    boolean = "boolean"
    OptionList = "OptionList"
    SequenceList = "SequenceList"
    MemberList = "MemberList"


class MutabilityEnumType(StrEnum):
    ReadOnly = "ReadOnly"
    WriteOnly = "WriteOnly"
    ReadWrite = "ReadWrite"


class VariableAttributeType(Message, frozen=True, kw_only=True):
    type: AttributeEnumType | None = None
    value: Annotated[str, Meta(max_length=2500)] | None = None
    mutability: MutabilityEnumType | None = None
    persistent: bool | None = None
    constant: bool | None = None
    customData: CustomData | None = None


class VariableCharacteristicsType(Message, frozen=True, kw_only=True):
    unit: Annotated[str, Meta(max_length=16)] | None = None
    dataType: DataEnumType
    minLimit: float | None = None
    maxLimit: float | None = None
    maxElements: Annotated[int, Meta(ge=1)] | None = None
    valuesList: Annotated[str, Meta(max_length=1000)] | None = None
    supportsMonitoring: bool
    customData: CustomData | None = None


class ReportDataType(Message, frozen=True, kw_only=True):
    component: ComponentType
    variable: VariableType
    variableAttribute: Annotated[list[VariableAttributeType], Meta(min_length=1, max_length=4)]
    variableCharacteristics: VariableCharacteristicsType | None = None
    customData: CustomData | None = None


class NotifyReportRequest(Message, frozen=True, kw_only=True):
    requestId: int
    generatedAt: Time
    reportData: Annotated[list[ReportDataType], Meta(min_length=1)] | None = None
    tbc: bool | None = None
    seqNo: Annotated[int, Meta(ge=0)]
    customData: CustomData | None = None


class NotifyReportResponse(Message, frozen=True, kw_only=True):
    customData: CustomData | None = None


MESSAGES: dict[str, tuple[type[Message], type[Message]]] = {
    "BootNotification": (BootNotificationRequest, BootNotificationResponse),
    "Heartbeat": (HeartbeatRequest, HeartbeatResponse),
    "Authorize": (AuthorizeRequest, AuthorizeResponse),
    "TransactionEvent": (TransactionEventRequest, TransactionEventResponse),
    "StatusNotification": (StatusNotificationRequest, StatusNotificationResponse),
    "NotifyEvent": (NotifyEventRequest, NotifyEventResponse),
    "SecurityEventNotification": (SecurityEventNotificationRequest, SecurityEventNotificationResponse),
    "MeterValues": (MeterValuesRequest, MeterValuesResponse),
    "RequestStartTransaction": (RequestStartTransactionRequest, RequestStartTransactionResponse),
    "RequestStopTransaction": (RequestStopTransactionRequest, RequestStopTransactionResponse),
    "ChangeAvailability": (ChangeAvailabilityRequest, ChangeAvailabilityResponse),
    "Reset": (ResetRequest, ResetResponse),
    "UnlockConnector": (UnlockConnectorRequest, UnlockConnectorResponse),
    "TriggerMessage": (TriggerMessageRequest, TriggerMessageResponse),
    "SendLocalList": (SendLocalListRequest, SendLocalListResponse),
    "GetLocalListVersion": (GetLocalListVersionRequest, GetLocalListVersionResponse),
    "ClearCache": (ClearCacheRequest, ClearCacheResponse),
    "DataTransfer": (DataTransferRequest, DataTransferResponse),
    "GetTransactionStatus": (GetTransactionStatusRequest, GetTransactionStatusResponse),
    "SetNetworkProfile": (SetNetworkProfileRequest, SetNetworkProfileResponse),
    "SignCertificate": (SignCertificateRequest, SignCertificateResponse),
    "CertificateSigned": (CertificateSignedRequest, CertificateSignedResponse),
    "GetVariables": (GetVariablesRequest, GetVariablesResponse),
    "SetVariables": (SetVariablesRequest, SetVariablesResponse),
    "GetBaseReport": (GetBaseReportRequest, GetBaseReportResponse),
    "GetReport": (GetReportRequest, GetReportResponse),
    "NotifyReport": (NotifyReportRequest, NotifyReportResponse),
}
