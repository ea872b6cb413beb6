"""What can happen: everything the core is ever told, in the past tense. Frozen values, no behaviour."""

from dataclasses import dataclass
from enum import StrEnum

from agent.clock import ClockSource
from agent.faults import Fault


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


class Source(StrEnum):
    """Where an entry came from."""

    LIST = "allowlist"
    CACHE = "cache"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ListState:
    """The allowlist in force. `synced_s` is the cloud's own time when it was told to be current."""

    version: int = 0
    entries: int = 0
    synced_s: float | None = None


# -- from the port controller and the machine -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControllerFound:
    boot_id: int
    uptime_s: float
    circuit_limit_ma: int  # the commissioned limit, stored and clamped there


@dataclass(frozen=True, slots=True)
class ControllerLost:
    why: str


@dataclass(frozen=True, slots=True)
class PortReported:
    evse_id: int
    report: Report


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """A commit did not reach the disk: what it held is kept in memory and tried again."""

    why: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """Everything that waited is on disk now."""


@dataclass(frozen=True, slots=True)
class ClockTold:
    wall_s: float
    source: ClockSource


@dataclass(frozen=True, slots=True)
class Deadline:
    """The instant asked for by next_deadline() has come."""


# -- from drivers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CardTapped:
    uid: str  # as the reader spelled it; normalised by the core, once


@dataclass(frozen=True, slots=True)
class PortChosen:
    """The driver pressed a port's button, or its half of the screen."""

    evse_id: int


# -- answers to what we asked -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Allowlist and cache have been read for the tap `ask_id`."""

    ask_id: int
    listed: Entry | None
    cached: Entry | None


@dataclass(frozen=True, slots=True)
class OnlineAnswered:
    """The cloud's own word about the tap `ask_id`, however late."""

    ask_id: int
    entry: Entry


# -- from the cloud ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkChanged:
    link: Link


@dataclass(frozen=True, slots=True)
class ListChanged:
    """Another allowlist is in force, or the same one has been told to be current."""

    state: ListState


@dataclass(frozen=True, slots=True)
class TransactionAnswered:
    """idTokenInfo in a TransactionEventResponse: the cloud's late opinion about a running transaction."""

    transaction_id: str
    status: AuthorizationStatus


@dataclass(frozen=True, slots=True)
class RemoteStartRequested:
    """OCPP RequestStartTransaction, its signature already checked."""

    command_id: str
    remote_start_id: int
    id_token: str
    type: str = "Central"
    evse_id: int | None = None
    group_id: str | None = None  # OCPP groupIdToken


@dataclass(frozen=True, slots=True)
class RemoteStopRequested:
    """OCPP RequestStopTransaction."""

    command_id: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class AvailabilityRequested:
    """OCPP ChangeAvailability; `evse_id` None is the whole station."""

    command_id: str
    operative: bool
    evse_id: int | None = None


@dataclass(frozen=True, slots=True)
class ClearRequested:
    """Service: try to clear latched faults of a port; its self-test decides."""

    command_id: str
    evse_id: int


Event = (
    ControllerFound
    | ControllerLost
    | PortReported
    | StoreFailed
    | StoreRecovered
    | ClockTold
    | Deadline
    | CardTapped
    | PortChosen
    | LookedUp
    | OnlineAnswered
    | LinkChanged
    | ListChanged
    | TransactionAnswered
    | RemoteStartRequested
    | RemoteStopRequested
    | AvailabilityRequested
    | ClearRequested
)

