"""What can happen: everything the core is ever told, in the past tense. Frozen values, no behaviour.

What happens is a Struct: a dataclass costs five times the memory and start-up time. Facts that the station keeps and
replaces parts of are dataclasses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

from agent.clock import ClockSource
from agent.faults import Fault
from agent.panel import DoorProblem
from agent.policy.tariff.terms import Tariff
from agent.uplink.messages import ComponentVariableType, GetVariableDataType, SetVariableDataType
from agent.wizard.facts import Sentence
from agent.wizard.places import Place


class Cp(StrEnum):
    """Control pilot, IEC 61851-1 Annex A: A no car, B car, C car wants energy, D with ventilation, E/F fault."""

    A, B, C, D, E, F = "A", "B", "C", "D", "E", "F"


class SelfTest(StrEnum):
    NOT_RUN, RUNNING, PASSED, FAILED = "not run", "running", "passed", "failed"


class Link(StrEnum):
    """The uplink, as far as an acknowledgement end to end proves it."""

    DOWN = "down"  # not connected: nobody to ask
    DOUBT = "doubt"  # connected, but something we sent has been waiting too long
    UP = "up"


class AuthorizationStatus(StrEnum):
    """OCPP 2.1 AuthorizationStatusEnumType, spelled as on the wire."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    CONCURRENT_TX = "ConcurrentTx"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    NO_CREDIT = "NoCredit"
    NOT_ALLOWED_TYPE_EVSE = "NotAllowedTypeEVSE"
    NOT_AT_THIS_LOCATION = "NotAtThisLocation"
    NOT_AT_THIS_TIME = "NotAtThisTime"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Report:
    """One port as its controller saw it. Fields and order: `board/controller/contract.py`."""

    cp: Cp = Cp.A
    pwm: bool = False  # x2 of the standard: we are ready
    contactor: bool = False  # feedback at the pins, not the coil's command
    locked: bool = False
    cable_ma: int = 0  # rating of a loose cable; 0 = none in the socket
    offer_ma: int = 0  # what the pilot says now
    faults: frozenset[Fault] = frozenset()
    energy_wh: int = 0  # register: never reset, survives power cuts
    power_w: int = 0
    current_ma: tuple[int, int, int] = (0, 0, 0)
    voltage_mv: tuple[int, int, int] = (0, 0, 0)
    temperature_dc: int = 200  # tenths of a degree Celsius
    self_test: SelfTest = SelfTest.PASSED
    retry_in_s: int = 0  # until the ground-fault retry; 0 = none
    unplugs: int = 0  # arrivals in state A since the controller's boot
    closes: int = 0  # contactor cycles in its life


@dataclass(frozen=True, slots=True)
class Entry:
    """What the allowlist, the cache or the cloud says about one card."""

    status: AuthorizationStatus = AuthorizationStatus.ACCEPTED
    expiry_s: float | None = None  # wall
    groups: frozenset[str] = frozenset()  # access and price
    group_id: str | None = None  # OCPP groupIdToken: cards of one group stop each other's sessions
    pending: bool = False  # the owner has the request but has not approved it yet
    removed: bool = False  # was connected once
    language: str | None = None  # of the texts for this driver: OCPP's language1
    tariff: Tariff | None = None  # of the cloud's answer to this very tap; no list and no cache has any


class Source(StrEnum):
    """Where an entry came from."""

    LIST = "allowlist"
    CACHE = "cache"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ListState:
    """The allowlist in force. `synced_s` is the cloud's own time when it was told to be current."""

    version: int = 0  # 0: there is no list
    entries: int = 0
    synced_s: float | None = None
    generation: int = 0
    hash: str = ""  # of its content, docs/allowlist.md


@dataclass(frozen=True, slots=True)
class Machine:
    """What this station is made of, as far as anybody has found out; "" or None is unknown, and then nobody is told."""

    model: str = "station"
    vendor_name: str = "station-agent"
    firmware_version: str = ""
    macs: tuple[str, ...] = ()
    imei: str = ""
    iccid: str = ""
    imsi: str = ""
    modem_type: str = ""
    gateway: str = ""
    certificate_expiry_s: float | None = None  # wall: notAfter of the station's own certificate
    outputs: tuple[tuple[str, bool], ...] = ()  # that the cloud may set, each with its safe value
    contacts: tuple[str, ...] = ()  # of the enclosure, against tampering
    connectors: tuple[str, ...] = ()  # of each port, by evse_id: OCPP ConnectorEnumStringType
    can_renew: bool = False  # somebody performs RenewCertificate
    zones: tuple[str, ...] = ()  # time zones that can be loaded, IANA
    can_update: bool = False  # an update service takes orders
    has_gnss: bool = False  # a receiver tells where the station is
    has_modem: bool = False  # one is configured; else modem_type "" is blank, the type of a station without one
    streets: bool = False  # a map of the streets around it came with its kit


@dataclass(frozen=True, slots=True)
class Modem:
    """What core, panel and health record need to know of the modem; the rest is agent/modem/told.py's. Rounded, so that
    a signal that hardly moves is no news."""

    state: str = ""  # agent/modem/modem.py State; "": this station has none, and hangs off a gateway or a LAN
    doing: str = ""  # "recovering", "back-off": what is done about that state
    kind: str | None = None  # LTE, GSM, CDMA; None: not known yet
    generation: str = ""  # 2g … 5g, as it is now
    operator: str = ""
    is_roaming: bool = False
    rssi_dbm: int | None = None
    rsrp_dbm: int | None = None
    rsrq_db: int | None = None
    is_good: bool | None = None  # RSRQ of -12.5 dB or more; None: the modem does not tell
    sim: str = ""  # agent/modem/modem.py Sim
    imei: str = ""  # or MEID, ESN
    iccid: str = ""
    imsi: str = ""
    warnings: tuple[str, ...] = ()  # names of agent/modem/told.py Warn, sorted


class Registration(StrEnum):
    """OCPP 2.1 RegistrationStatusEnumType: the cloud's word about our BootNotification."""

    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


# -- from the port controller and the machine -------------------------------------------------------------------------


class ControllerFound(Struct, frozen=True):
    boot_id: int
    uptime_s: float
    circuit_limit_ma: int  # the commissioned limit, stored and clamped there


class ControllerLost(Struct, frozen=True):
    why: str


class PortReported(Struct, frozen=True):
    evse_id: int
    report: Report


class StoreFailed(Struct, frozen=True):
    """A commit did not reach the disk: what it held is kept in memory and tried again."""

    why: str


class StoreRecovered(Struct, frozen=True):
    """Everything that waited is on disk now."""


class ClockTold(Struct, frozen=True):
    wall_s: float
    source: ClockSource


class MachineTold(Struct, frozen=True):
    """Something about the machine has become known: the whole of it, anew."""

    machine: Machine


class ModemTold(Struct, frozen=True):
    """How the modem is: the whole of it, anew."""

    modem: Modem


class ModemDid(Struct, frozen=True):
    """Something that is worth a record. `what`: "sim" or "modem" (another one, or the first, `before` is "" then),
    "action" (of the recovery; `before` is its level)."""

    what: str
    before: str
    after: str


class CaseTold(Struct, frozen=True):
    """A contact of the enclosure has opened, or has stayed closed for a while; or is so at the start."""

    name: str
    is_open: bool


class PartTold(Struct, frozen=True):
    """How a part of the machine is that has a driver here; `problem` is "" while it works."""

    part: str  # component name on the wire
    problem: str = ""
    fix: str = ""  # what to type or to do
    code: str = ""  # a word for it that does not change


def of_driver(part: str, sentence: str, code: str) -> PartTold:
    """A driver says what is wrong, a colon, and what to do; or "" when its part works."""
    if not sentence:
        return PartTold(part)
    problem, _, fix = sentence.rpartition(": ")
    return PartTold(part, full(problem or fix), full(fix if problem else "type station-agent doctor"), code)


def full(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


class OutboxCounted(Struct, frozen=True):
    """How many records of each stream the cloud has not acknowledged; told before somebody asks."""

    waiting: tuple[int, ...]


class CacheCounted(Struct, frozen=True):
    """How much of the disk the authorization cache takes; told before somebody asks."""

    size_b: int


class Measured(Struct, frozen=True):
    """What Measure has asked for; None: this machine does not tell."""

    disk_free_b: int | None = None
    memory_free_b: int | None = None
    cpu_dc: int | None = None  # tenths of a degree Celsius
    line_errors: tuple[int, ...] = ()  # of the line to the controller: spoilt frames here, there, dropped messages


class DataUsed(Struct, frozen=True):
    """What has passed the modem's bearers since the last word of this kind, in bytes (agent/modem/budget.py)."""

    used: Mapping[str, int]  # by Cause; together all of it
    leaves: Mapping[str, int] = {}  # of a gateway's leaves, by name
    session: str = ""  # the bearer that carried it
    kept: Mapping[str, Any] = {}  # the meter's own, to be given back at the next start


class ConnectionMade(Struct, frozen=True):
    """The broker has let us in; whether the cloud answers is another matter. `address` (host, port): whom the attempt
    was for, by SetNetworkProfile; None: the config file's."""

    address: tuple[str, int] | None = None


class ConnectionEnded(Struct, frozen=True):
    """A connection is gone, or an attempt to make one has failed. `address` as in ConnectionMade."""

    address: tuple[str, int] | None = None


class Progress(StrEnum):
    """How far the updater is with the build that was ordered."""

    NONE = "none"  # it knows of no order
    WAITING = "waiting"  # it has the order, and has not spoken to the server yet
    DOWNLOADING = "downloading"
    STAGED = "staged"  # all of it is on the disk, read back, and signed by somebody we believe
    ACTIVATED = "activated"  # the next start begins its trial
    TRIAL = "trial"  # it runs
    CONFIRMED = "confirmed"
    FAILED = "failed"  # what ran before runs on
    ROLLED_BACK = "rolled-back"  # it has run, and what ran before runs again


class UpdaterTold(Struct, frozen=True):
    """What the update service says of itself and of the order that it has: the whole of it, anew."""

    order: str = ""
    progress: Progress = Progress.NONE
    code: str = ""  # why it has failed: agent/update/refusal.py
    why: str = ""  # the same as a sentence
    received_b: int = 0  # of the pieces that are wanted
    wanted_b: int = 0
    version: str = ""  # of the build
    restart_id: str = ""  # it wants this run to end, once for each such name
    restart: str = ""  # "idle", "now" (sessions end) or "resume" (they go on after it)
    restart_why: str = ""


class AllDelivered(Struct, frozen=True):
    """Of sessions, status and results the cloud has acknowledged everything, and nothing waits for the disk. Told while
    a transfer waits for it."""


class UpdaterLost(Struct, frozen=True):
    """The update service is not there."""


class Deadline(Struct, frozen=True):
    """The instant asked for by next_deadline() has come."""


# -- from drivers -----------------------------------------------------------------------------------------------------


class CardTapped(Struct, frozen=True):
    uid: str  # as the reader spelled it; normalised by the core, once


class PortChosen(Struct, frozen=True):
    """The driver pressed a port's button, or its half of the screen."""

    evse_id: int


class KeyPressed(Struct, frozen=True):
    """One of the four soft keys, from the left. `action`: what the page that was touched said it does; "" for a button,
    which says nothing."""

    key: int  # 1 … 4
    action: str = ""


class FieldEntered(Struct, frozen=True):
    """Somebody has typed or chosen a value on a page; `name` is a Field's of agent/ui/model.py. What it is worth, the
    page's owner in the core decides."""

    name: str
    value: str
    by_phone: bool = False  # from the installer's phone, not from the station's own screen


class PageMeasured(Struct, frozen=True):
    """The page that is shown fills the display so many times over: a key turns it."""

    screenfuls: Annotated[int, Meta(ge=1, le=64)]


class ZoneLoaded(Struct, frozen=True):
    """The rules of a time zone, as LoadZone has asked; None: this machine does not know it."""

    name: str
    zone: tzinfo | None


class PlaceFound(Struct, frozen=True):
    """What is at a point, as FindPlace has asked, and what speaks against it."""

    latitude: float
    longitude: float
    place: Place
    doubts: tuple[Sentence, ...] = ()


class FixTold(Struct, frozen=True):
    """Where a GNSS receiver measures the station to be, whoever has that receiver: at most once a second, and never
    before it really has a fix. Degrees, WGS 84."""

    latitude: float
    longitude: float
    accuracy_m: float | None = None  # one sigma; None: it does not say
    satellites: int = 0  # used
    wall_s: float | None = None  # its UTC; None: it does not know the date


class FixLost(Struct, frozen=True):
    """It has none any more, or does not work. Told once."""


class SignalTold(Struct, frozen=True):
    """What the modem's antenna hears just now, while an installer turns it: each second or two. All None: nothing."""

    rssi_dbm: float | None = None
    rsrp_dbm: float | None = None
    rsrq_db: float | None = None
    rscp_dbm: float | None = None
    ecno_db: float | None = None


class StatusDelivered(Struct, frozen=True):
    """Everything that is in the stream of status is acknowledged by the cloud, and nothing waits for the disk."""


class PanelTold(Struct, frozen=True):
    """What the display proves of itself by its heartbeat, when that has changed."""

    drawn: bool  # something draws what we say
    video: bool = False  # and the frames of the instructional video go on
    problem: str = ""  # why not, for the installer
    steps: bool = False  # where there is no browser: the steps drawn in the video's place stand there, all of them


class ScreenTouched(Struct, frozen=True):
    """Somebody is at the display. At most one a second."""


class ScreenLit(Struct, frozen=True):
    """The backlight has gone out, or on."""

    lit: bool


class ServiceOpened(Struct, frozen=True):
    """Somebody has proven to be at the inside of the station; `how` is for the record."""

    how: str


class PhoneTold(Struct, frozen=True):
    """What the door for the installer's phone does now; the whole of it, anew. agent/ui/phone.py."""

    at: float = -1.0  # of which opening: Panel.phone_at
    address: str = ""  # what a person types there, "https://192.168.4.1:8443"
    link: str = ""  # the same with the one-time token, for a QR code; "" when somebody is in
    code: str = ""  # eight digits, for who types
    fingerprint: str = ""  # of the certificate, as the phone's browser shows its beginning
    wifi: str = ""  # how to join the station's own network, for a QR code; "" where the image has not said
    guest: str = ""  # the address of the phone that is in
    problem: DoorProblem = DoorProblem.NONE


# -- answers to what we asked -----------------------------------------------------------------------------------------


class LookedUp(Struct, frozen=True):
    """Allowlist and cache have been read, for what `ask_id` says in Lookup."""

    ask_id: int | str
    listed: Entry | None
    cached: Entry | None
    is_read: bool = True  # False: the disk has refused to tell what the list says


class OnlineAnswered(Struct, frozen=True):
    """The cloud's own word about the tap `ask_id`, however late."""

    ask_id: int
    entry: Entry
    tariff_problem: str = ""  # a sentence, where a tariff came with it that cannot be used


# -- from the cloud ---------------------------------------------------------------------------------------------------


class LinkChanged(Struct, frozen=True):
    link: Link


class ListChanged(Struct, frozen=True):
    """Another allowlist is in force, or the same one has been told to be current."""

    state: ListState


class TransactionAnswered(Struct, frozen=True):
    """idTokenInfo in a TransactionEventResponse: the cloud's late opinion about a running transaction. It is no older
    than `sent_at` (monotonic), when the record first went out."""

    transaction_id: str
    entry: Entry
    sent_at: float


class RemoteStartRequested(Struct, frozen=True):
    """OCPP RequestStartTransaction, its signature already checked."""

    command_id: str
    remote_start_id: int
    id_token: str
    type: str = "Central"
    evse_id: int | None = None
    group_id: str | None = None  # OCPP groupIdToken
    charging_profile: Mapping[str, Any] | None = None  # of the transaction to come
    payment_brand: str | None = None  # additionalInfo of the idToken
    payment_recognition: str | None = None


class RemoteStopRequested(Struct, frozen=True):
    """OCPP RequestStopTransaction."""

    command_id: str
    transaction_id: str


class AvailabilityRequested(Struct, frozen=True):
    """OCPP ChangeAvailability; `evse_id` None is the whole station."""

    command_id: str
    operative: bool
    evse_id: int | None = None


class Registered(Struct, frozen=True):
    """BootNotificationResponse."""

    status: Registration


class ResetRequested(Struct, frozen=True):
    """OCPP Reset; `type` is Immediate, OnIdle or ImmediateAndResume, `evse_id` None the whole station."""

    command_id: str
    type: str
    evse_id: int | None = None


class UnlockRequested(Struct, frozen=True):
    """OCPP UnlockConnector."""

    command_id: str
    evse_id: int
    connector_id: int = 1


class MessageTriggered(Struct, frozen=True):
    """OCPP TriggerMessage; `message` is one of MessageTriggerEnumType."""

    command_id: str
    message: str
    evse_id: int | None = None
    connector_id: int | None = None


class VariablesRequested(Struct, frozen=True):
    """OCPP GetVariables."""

    command_id: str
    data: tuple[GetVariableDataType, ...]


class VariableChangesRequested(Struct, frozen=True):
    """OCPP SetVariables."""

    command_id: str
    data: tuple[SetVariableDataType, ...]


class ReportRequested(Struct, frozen=True):
    """OCPP GetBaseReport (`base`), or GetReport: what is named in `wanted`, of components that meet `criteria`."""

    command_id: str
    request_id: int
    base: str | None = None
    wanted: tuple[ComponentVariableType, ...] = ()
    criteria: tuple[str, ...] = ()


class NetworkProfileRequested(Struct, frozen=True):
    """OCPP SetNetworkProfile."""

    command_id: str
    slot: int
    url: str
    security_profile: int


class UpdateRequested(Struct, frozen=True):
    """OCPP UpdateFirmware. Times are wall times; `custom` is what its customData says under our vendorId, unread."""

    command_id: str
    request_id: int
    location: str
    retrieve_s: float
    install_s: float | None = None
    retries: int | None = None
    retry_interval_s: int | None = None
    custom: Mapping[str, Any] = {}


class LogRequested(Struct, frozen=True):
    """OCPP GetLog. `url`: its remoteLocation; `budget_b`: customData's, on the radio, all attempts together."""

    command_id: str
    request_id: int
    type: str
    url: str
    retries: int | None = None
    retry_interval_s: int | None = None
    budget_b: int | None = None


class UploadTold(Struct, frozen=True):
    """How far the upload of an order is. `status`: OCPP 2.1 UploadLogStatusEnumType."""

    order: str
    status: str
    why: str = ""
    percent: int = 0  # of the report, that were sent in this attempt


class LiveRequested(Struct, frozen=True):
    """DataTransfer LiveMode: the meters every `interval_s`, for `for_s` seconds from now; 0 ends it."""

    command_id: str
    interval_s: int
    for_s: int


class OwnerRequested(Struct, frozen=True):
    """What the owner decides: an OCPP request in JSON form that has passed its schema, or the data of a DataTransfer
    under our vendorId, whose messageId is then the action (agent/commands/owner.py)."""

    command_id: str
    action: str
    request: Any


class PlanTokenCame(Struct, frozen=True):
    """Somebody at the station has brought a plan token whose signature is right, and which is taken."""

    claims: Any


class ClearRequested(Struct, frozen=True):
    """Service: try to clear latched faults of a port; its self-test decides."""

    command_id: str
    evse_id: int


Commanded = (  # what a command of the cloud asks of the core
    RemoteStartRequested
    | RemoteStopRequested
    | AvailabilityRequested
    | ResetRequested
    | UnlockRequested
    | MessageTriggered
    | VariablesRequested
    | VariableChangesRequested
    | ReportRequested
    | NetworkProfileRequested
    | LiveRequested
    | UpdateRequested
    | LogRequested
    | OwnerRequested
)
Command = Commanded | ClearRequested | PlanTokenCame
Event = (
    ControllerFound
    | ControllerLost
    | PortReported
    | PartTold
    | CaseTold
    | ModemTold
    | ModemDid
    | StoreFailed
    | StoreRecovered
    | ClockTold
    | Deadline
    | CardTapped
    | PortChosen
    | KeyPressed
    | FieldEntered
    | PageMeasured
    | PanelTold
    | ScreenTouched
    | ScreenLit
    | ServiceOpened
    | PhoneTold
    | LookedUp
    | OnlineAnswered
    | LinkChanged
    | ListChanged
    | TransactionAnswered
    | MachineTold
    | OutboxCounted
    | CacheCounted
    | Measured
    | DataUsed
    | ConnectionMade
    | ConnectionEnded
    | Registered
    | ZoneLoaded
    | PlaceFound
    | FixTold
    | SignalTold
    | FixLost
    | StatusDelivered
    | AllDelivered
    | UpdaterTold
    | UpdaterLost
    | UploadTold
    | Command
)

