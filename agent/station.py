"""The charger as one pure value: its facts, and what follows from them for the whole station."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from enum import StrEnum
from math import inf
from typing import Any

from agent.clock import Clock, wall
from agent.effects import PortCommand, UpdaterWish
from agent.events import (
    Cp,
    Entry,
    Link,
    ListState,
    Machine,
    Measured,
    Modem,
    PartTold,
    PhoneTold,
    Registration,
    UpdaterTold,
)
from agent.faults import Fault
from agent.modem import budget
from agent.modem.budget import Usage
from agent.network import Network
from agent.panel import Panel
from agent.policy import sharing
from agent.policy.freshness import Freshness
from agent.policy.owner import Owner
from agent.policy.reasons import Reason
from agent.policy.sharing import CURRENT_MIN_MA, Draw, Sharing, raised_in_turn
from agent.port import Bar, Grant, Port, command, faults, is_capped, is_plugged, wanted_ma
from agent.settings import Settings
from agent.transaction import ChargingState
from agent.wizard.facts import Wizard


class BootReason(StrEnum):
    """OCPP 2.1 BootReasonEnumType: the ones a start of ours can have."""

    APPLICATION_RESET = "ApplicationReset"  # the agent restarted, Linux did not
    POWER_UP = "PowerUp"
    WATCHDOG = "Watchdog"
    REMOTE_RESET = "RemoteReset"
    SCHEDULED_RESET = "ScheduledReset"
    FIRMWARE_UPDATE = "FirmwareUpdate"
    UNKNOWN = "Unknown"


RESETS = (BootReason.REMOTE_RESET, BootReason.SCHEDULED_RESET, BootReason.FIRMWARE_UPDATE)


@dataclass(frozen=True, slots=True)
class Boot:
    """How this run of the agent began."""

    boot_id: str  # 16 hex digits, random
    at: float  # monotonic
    reason: BootReason
    same_kernel: bool = False  # Linux ran through: monotonic times of the last run still count
    last_seen_s: float | None = None  # wall, newest durable sign of life of the run before, if its clock was known
    count: int = 1  # starts in the station's life


def boot_reason(facts: Mapping[str, Any], otherwise: BootReason) -> BootReason:
    """Why this run began: a reset that was on its way when the last one ended, else what the machine says."""
    reset = facts.get("reset")
    return BootReason(reset) if reset in RESETS else otherwise


@dataclass(frozen=True, slots=True)
class Controller:
    boot_id: int
    circuit_limit_ma: int


@dataclass(frozen=True, slots=True)
class Holding:
    """An accepted card whose port is not known yet: the next port plugged in, or, if `choose`, the one chosen."""

    grant: Grant
    choose: bool
    at: float = 0.0  # a car plugged in since may be the one


class Stage(StrEnum):
    LOOKUP = "lookup"  # list and cache are being read
    ONLINE = "online"  # the cloud has been asked
    LATE = "late"  # the driver was refused; a late Accepted still starts


@dataclass(frozen=True, slots=True)
class Ask:
    """A tap on its way to a decision."""

    ask_id: int
    id_token: str
    evse_id: int | None  # the port it is for, as far as known
    choose: bool  # two cars wait: the driver has to say which is his
    blocked: Reason | None  # no port is to be had
    at: float
    due: float  # this stage is over
    stage: Stage = Stage.LOOKUP
    listed: Entry | None = None
    cached: Entry | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """The last thing said to a driver, at a port or, with 0, at the station."""

    evse_id: int
    reason: Reason | None  # None: accepted
    until: float
    id_token: str = ""
    changes_s: float | None = None  # wall: it is another answer then, as far as anybody knows
    rule: str = ""  # that refused, as records name it


@dataclass(frozen=True, slots=True)
class ListWord:
    """When we talked with the cloud about the allowlist, and how old we have called it. Times are monotonic."""

    linked_at: float = -inf  # the newest connection
    asked_at: float = -inf
    told_at: float = -inf  # it said what the newest list is
    freshness: Freshness = Freshness.FRESH


class FirmwareStatus(StrEnum):
    """OCPP 2.1 FirmwareStatusEnumType."""

    IDLE = "Idle"
    DOWNLOAD_SCHEDULED = "DownloadScheduled"
    DOWNLOADING = "Downloading"
    DOWNLOAD_PAUSED = "DownloadPaused"
    DOWNLOADED = "Downloaded"
    SIGNATURE_VERIFIED = "SignatureVerified"
    INSTALL_SCHEDULED = "InstallScheduled"
    INSTALLING = "Installing"
    INSTALL_REBOOTING = "InstallRebooting"
    INSTALLED = "Installed"
    DOWNLOAD_FAILED = "DownloadFailed"
    INVALID_SIGNATURE = "InvalidSignature"
    INSTALL_VERIFICATION_FAILED = "InstallVerificationFailed"
    INSTALLATION_FAILED = "InstallationFailed"


@dataclass(frozen=True, slots=True)
class Update:
    """A build that the cloud has ordered (UpdateFirmware), until the next order. How far it is, the updater knows, and
    OCPP's word for it is derived; what was told last is a fact."""

    order: str  # the id of its command
    request_id: int
    url: str
    retrieve_s: float  # wall; place_s is in it
    install_s: float | None = None
    retries: int | None = None
    retry_interval_s: int | None = None
    budget_b: int | None = None
    window: tuple[int, int] | None = None  # minutes of the site's day: from, and before; over midnight if to < from
    place_s: float = 0.0  # this station's among its fleet: so long after the others' first instant
    override: str = ""  # why sessions end for it
    ordered_s: float | None = None  # wall, when it came, or when the time was known first after that
    told: FirmwareStatus | None = None  # the last status
    code: str = ""  # why it has failed
    why: str = ""
    shut_at: float | None = None  # monotonic: nobody starts since; None: not yet, or not in this run
    ready_at: float | None = None  # monotonic: all ports are free and the updater was told to install


UPLOAD_ENDS = ("Uploaded", "UploadFailure", "BadMessage", "NotSupportedOperation", "PermissionDenied")


@dataclass(frozen=True, slots=True)
class LogUpload:
    """A report that the cloud has ordered (GetLog), until the next order."""

    order: str  # the id of its command
    request_id: int
    type: str
    url: str
    retries: int | None = None
    retry_interval_s: int | None = None
    budget_b: int | None = None
    ordered_s: float | None = None  # wall
    status: str = ""  # told last: OCPP 2.1 UploadLogStatusEnumType
    percent: int = 0  # that were sent in the attempt that runs; not saved

    @property
    def is_over(self) -> bool:
        return self.status in UPLOAD_ENDS


@dataclass(frozen=True, slots=True)
class Health:
    """agent/health.py."""

    due: float = inf  # monotonic: of the next measurement
    measured: Measured | None = None  # the last
    alarms: frozenset[tuple[str, int]] = frozenset()  # thresholds that are passed, and the port or 0
    told_at: float = -inf  # monotonic: of the last record


class ResetType(StrEnum):
    """OCPP 2.1 ResetEnumType."""

    IMMEDIATE = "Immediate"
    ON_IDLE = "OnIdle"
    RESUME = "ImmediateAndResume"


@dataclass(frozen=True, slots=True)
class Reset:
    """Somebody wants this run of the agent to end. Any restart fulfils it, so only `going` survives one."""

    type: ResetType
    at: float
    going: bool = False  # its fact is on the way to the disk, and after it the agent ends
    by: str = "the operator"
    boot_reason: BootReason | None = None  # what the next run says about its beginning; None: by type


@dataclass(frozen=True, slots=True)
class Unlock:
    """A connector whose lock is to open until then."""

    command_id: str
    evse_id: int
    until: float


@dataclass(frozen=True, slots=True)
class LiveMode:
    """Somebody watches the meters."""

    interval_s: int
    until: float
    next_at: float


@dataclass(frozen=True, slots=True)
class Station:
    settings: Settings  # in force: `ceiling` with `cloud` over it
    boot: Boot
    clock: Clock
    ports: tuple[Port, ...]
    controller: Controller | None = None
    link: Link = Link.DOWN
    store_ok: bool = True
    allowlist: ListState = field(default_factory=ListState)
    list_word: ListWord = field(default_factory=ListWord)
    asks: tuple[Ask, ...] = ()
    holding: Holding | None = None
    chosen: tuple[int, float] | None = None  # evse_id, until
    notices: tuple[Notice, ...] = ()
    last_tap: tuple[str, float] = ("", -1e9)
    alive_at: float = 0.0  # when the sign of life was last written
    outage_known: bool = False
    next_ask_id: int = 1
    next_transaction: int = 1
    next_event_id: int = 1
    ceiling: Settings | None = None  # what holds without the cloud's layer, and limits it
    files: Settings | None = None  # what board and config file say, without the installer's layer
    board: Settings | None = None  # what the board alone says: it limits the installer
    wizard: Wizard = field(default_factory=Wizard)
    cloud: Mapping[str, Any] = field(default_factory=dict)  # what SetVariables has set, by key of SETTINGS
    machine: Machine = field(default_factory=Machine)
    modem: Modem = field(default_factory=Modem)
    modem_told: frozenset[str] = frozenset()  # codes of agent/cellular.py that the cloud knows to be so
    network: Network = field(default_factory=Network)
    registration: Registration | None = None  # None: the cloud has not spoken in this run
    parts: Mapping[str, PartTold] = field(default_factory=dict)  # what their drivers have said last
    opened: frozenset[str] = frozenset()  # contacts of the enclosure
    outputs: Mapping[str, bool] = field(default_factory=dict)  # what the cloud has set of them; the rest are safe
    self_tested: bool = False  # this run's self-test has been reported
    waiting: tuple[int, ...] = ()  # records of each stream that are not acknowledged, when last counted
    cache_b: int | None = None  # of the disk, when last counted
    reset: Reset | None = None
    unlocks: tuple[Unlock, ...] = ()
    live: LiveMode | None = None
    update: Update | None = None  # the last one ordered
    updater: UpdaterTold | None = None  # its last word; None: it is not there
    told_updater: UpdaterWish | None = None  # our last word to it
    update_due: float = inf  # monotonic: when time alone may change something about the update
    restarted: str = ""  # the restart that the updater has asked for, and got
    bar: Bar | None = None
    panel: Panel = field(default_factory=Panel)
    phone: PhoneTold | None = None  # None: this station has no door for a phone
    owner: Owner = field(default_factory=Owner)
    sharing: Sharing = field(default_factory=Sharing)  # whose turn it is at the circuit, in this run
    zone: tzinfo = UTC  # of the site
    health: Health = field(default_factory=Health)
    log: LogUpload | None = None  # the last one ordered
    data: Usage = field(default_factory=Usage)  # of the modem, in this month
    problems: int = 0  # how often somebody in the service menu has asked for help, in this run
    problem_at: float = -inf  # monotonic: the last time


def stamp(station: Station, now: float) -> tuple[float | None, int]:
    """Wall time and its source, for a record."""
    return wall(station.clock, now), int(station.clock.source)


def is_low_data(station: Station) -> bool:
    """Whether everything that is not money is to be slow, or to wait: by the modem's data budget, or as it was set."""
    settings = station.settings
    if settings.low_data != "auto":
        return settings.low_data == "on"
    budget_mb = settings.data_budget_mb
    return bool(budget_mb) and budget.warning(station.data.month.all_b, budget_mb) > 0


def commissioned_ma(station: Station) -> int:
    """The commissioned limit as far as known: the controller's own is the last word, and lower wins."""
    limit = station.settings.circuit_limit_ma
    return min(limit, station.controller.circuit_limit_ma) if station.controller else limit


def circuit_ma(station: Station) -> int:
    """What all ports may draw together now, per phase: charging profiles only ever lower it."""
    whole_ma = station.owner.station_ma
    return commissioned_ma(station) if whole_ma is None else min(commissioned_ma(station), whole_ma)


def draw(station: Station, port: Port) -> Draw:
    """The port as sharing sees it: what it wants and may have by charging profiles, and what it takes."""
    port_ma, want_ma, report = station.owner.port_ma, wanted_ma(port, station.settings), port.report
    limit_ma = port_ma[port.evse_id - 1] if port_ma else None
    if limit_ma is not None and limit_ma < want_ma:
        want_ma = limit_ma if limit_ma >= CURRENT_MIN_MA else 0
    came = port.plugged_at or 0.0
    if report is None:
        return Draw(want_ma, came=came)
    drawn_ma = None if Fault.METER_FAULT in report.faults else max(report.current_ma)
    return Draw(want_ma, report.offer_ma, drawn_ma, came)


def shared(before: Station, station: Station, now: float) -> Station:
    """Whose turn it is, and what is lent to whom, when what it goes by has changed, or time has."""
    facts = ("ports", "controller", "settings", "owner")
    if now < station.sharing.due and all(getattr(station, name) is getattr(before, name) for name in facts):
        return station
    draws = [draw(station, port) for port in station.ports]
    after = sharing.followed(station.sharing, circuit_ma(station), draws, now)
    return station if after is station.sharing else replace(station, sharing=after)


def wishes(station: Station) -> tuple[PortCommand, ...]:
    """What we want of every port: its share of the circuit, lowered at once, raised in turn (S11)."""
    target = targets_ma(station)
    if not any(target):
        return tuple(command(port, 0) for port in station.ports)
    most = station.settings.port_limit_ma  # a port that has not spoken may still offer what it offered last
    in_force = [port.report.offer_ma if port.report else most for port in station.ports]
    offers = raised_in_turn(circuit_ma(station), target, in_force)
    return tuple(command(port, offer) for port, offer in zip(station.ports, offers, strict=True))


def targets_ma(station: Station) -> tuple[int, ...]:
    """What every port is to have in the end, by evse_id: its share of the circuit, or 0."""
    draws = [draw(station, port) for port in station.ports]
    return sharing.targets(station.sharing, circuit_ma(station), draws)


def charging_state(station: Station, port: Port) -> ChargingState:
    """A port that is to have nothing, because others have it all or for a reason of its own, is suspended by us; one
    that only waits for the pilot to say so is connected."""
    tx, report = port.transaction, port.report
    if tx is None:
        return ChargingState.EV_CONNECTED if is_plugged(port) else ChargingState.IDLE
    if report is None or tx.interrupted or tx.ending or faults(port) or is_capped(port):
        return ChargingState.SUSPENDED_EVSE
    if report.contactor and report.cp in (Cp.C, Cp.D):
        return ChargingState.CHARGING
    if tx.charged:
        return ChargingState.SUSPENDED_EV if report.offer_ma else ChargingState.SUSPENDED_EVSE
    return ChargingState.EV_CONNECTED if targets_ma(station)[port.evse_id - 1] else ChargingState.SUSPENDED_EVSE


def outage_s(station: Station, wall_s: float | None, source: int, mono_s: float) -> float | None:
    """How long we were away since this instant of the run before; None while nobody can tell.

    Within one run of Linux the monotonic clock tells. Across a power cut two known wall times do.
    """
    boot = station.boot
    if boot.same_kernel:
        return max(0.0, boot.at - mono_s)
    now_s = wall(station.clock, boot.at)
    if now_s is None or wall_s is None or not source or now_s < wall_s:
        return None
    return now_s - wall_s
