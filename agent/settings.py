"""What can be set, by whom, within which bounds; and where each value came from.

Layers, weakest first: defaults < board < config file < wizard < cloud. `Settings` with `SETTINGS` beside it is the only
list of settings; the core sees the merged, frozen value and nothing else.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

CONFIG_MAX = 65_536  # characters of a TOML file; ours have a few hundred
OPERATOR_KEYS_MAX = 8  # one in use, one to come, and the rest for a mistake


class ConfigError(Exception):
    """The operator can fix it; the message is one sentence that says what to type."""


class Layer(IntEnum):
    """Who sets a value, weakest first."""

    DEFAULTS = 0
    BOARD = 1
    CONFIG = 2
    WIZARD = 3
    CLOUD = 4


PortMa = Annotated[int, Meta(ge=6_000, le=80_000)]  # IEC 61851-1 Annex A: what a duty cycle can say
CircuitMa = Annotated[int, Meta(ge=6_000, le=320_000)]  # four ports of 80 A
Phases = Literal[1, 3]
# One line of plain text for the display. Refused: control characters, line and paragraph separators, what turns the
# direction of what stands around it (UAX #9 embeddings, overrides, isolates), and halves of characters.
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*\Z"


def plain_text(max_length: int) -> Meta:
    described = f"a text in quotes, at most {max_length} characters, on one line, without control characters"
    return Meta(max_length=max_length, pattern=PLAIN, description=described)


FilePath = Annotated[str, Meta(min_length=1, max_length=1_000, description="the path of a file in quotes")]
Command = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=1_000)], ...],
    Meta(max_length=32, description='a program and its arguments, ["/usr/bin/…", "…"]'),
]
ZoneName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_+-]{1,20}(/[A-Za-z0-9_+-]{1,20}){0,2}\Z", description='a name like "Europe/Berlin"')
]
LATITUDE = r"-?([1-8]?[0-9](\.[0-9]{1,9})?|90)"
LONGITUDE = r"-?((1[0-7]|[1-9])?[0-9](\.[0-9]{1,9})?|180)"
SitePoint = Annotated[
    str,
    Meta(
        pattern=rf"^({LATITUDE}, ?{LONGITUDE})?\Z",
        description='latitude and longitude like "52.520008, 13.404954", or ""',
    ),
]
StationId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,36}\Z", description="1 to 36 letters, digits and hyphens")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The merged values, each with its bounds. Units last; what each means: `SETTINGS`."""

    station_id: StationId = "UNPROVISIONED"
    # electrical
    circuit_limit_ma: CircuitMa = 32_000
    port_limit_ma: PortMa = 32_000
    phases: Phases = 1
    ventilated: bool = False
    socketed: bool = False
    derate_from_dc: Annotated[int, Meta(ge=400, le=690)] = 650  # the two ranges never meet: derating has a slope
    derate_stop_dc: Annotated[int, Meta(ge=700, le=900)] = 800
    # who may charge
    activated: bool = True
    free: bool = False
    offline_tx_for_unknown_id: bool = False
    list_grace_days: Annotated[int, Meta(ge=0, le=3_650)] = 7
    cache_enabled: bool = True
    cache_lifetime_s: Annotated[int, Meta(ge=0, le=86_400)] = 86_400  # longer, and a removal is felt too late (S5)
    master_pass_group_id: Annotated[str, Meta(max_length=255)] = ""  # OCPP 2.1: identifierString[255]
    concurrent_tx: bool = False
    stop_tx_on_invalid_id: bool = True
    max_energy_on_invalid_id_wh: Annotated[int, Meta(ge=0, le=100_000)] = 0
    stop_tx_on_removal: bool = False
    support_number: Annotated[str, plain_text(40)] = ""
    owner: Annotated[str, plain_text(100)] = ""
    language: Literal["en", "es", "fr", "de", "zh", "ar"] = "en"
    tariff_text: Annotated[str, plain_text(250)] = ""
    tariff_text_offline: Annotated[str, plain_text(250)] = ""
    total_cost_text: Annotated[str, plain_text(250)] = ""
    reservations: bool = True
    time_zone: ZoneName = "UTC"
    site_point: SitePoint = ""
    light: Literal["auto", "on", "off"] = "auto"
    # times
    ev_connection_timeout_s: Annotated[float, Meta(ge=10, le=600)] = 60.0
    tx_resumption_timeout_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    tx_updated_interval_s: Annotated[float, Meta(ge=5, le=3_600)] = 300.0
    aligned_interval_s: Annotated[float, Meta(ge=0, le=86_400)] = 900.0
    minimum_status_duration_s: Annotated[float, Meta(ge=0, le=60)] = 0.5
    restart_delay_max_s: Annotated[float, Meta(ge=0, le=600)] = 30.0
    sessions_before_update: bool = False
    # the modem's data
    data_budget_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    data_billing_day: Annotated[int, Meta(ge=1, le=28)] = 1
    low_data: Literal["auto", "on", "off"] = "auto"
    host_grace_s: Annotated[int, Meta(ge=0, le=3_600)] = 60
    failsafe_ma: Annotated[int, Meta(ge=0, le=80_000)] = 6_000


@dataclass(frozen=True, slots=True)
class Setting:
    meaning: str
    layers: frozenset[Layer]  # who may set it
    unit: str = ""
    variable: str = ""  # Component.Variable: OCPP 2.1's, or one of ours where it has none
    is_opposite: bool = False  # the variable is true where the setting is false
    lowers_only: bool = False  # electrical: config file and wizard stay within the board's, the cloud within theirs


BOARD, FILE = frozenset({Layer.BOARD}), frozenset({Layer.CONFIG})
HANDS = BOARD | FILE | {Layer.WIZARD}  # somebody who stands before the station, or built it
CLOUD = FILE | {Layer.CLOUD}
ALL = HANDS | CLOUD

SETTINGS: dict[str, Setting] = {
    "station_id": Setting("serial number = CN of the certificate = MQTT client id", FILE, "", "SecurityCtrlr.Identity"),
    "circuit_limit_ma": Setting(
        "per phase, over all ports together", ALL, "mA", "ChargingStation.CircuitLimit", lowers_only=True
    ),
    "port_limit_ma": Setting(
        "one port, per phase: board and power select", ALL, "mA", "ChargingStation.PortLimit", lowers_only=True
    ),
    "phases": Setting("phases wired to each port", HANDS, "", "ChargingStation.SupplyPhases", lowers_only=True),
    "ventilated": Setting("the room is ventilated: state D may charge", HANDS),
    "socketed": Setting("socket with a lock, not a tethered cable", BOARD),
    "derate_from_dc": Setting(
        "from here on the offer falls", ALL, "0.1 °C", "ChargingStation.DerateFrom", lowers_only=True
    ),
    "derate_stop_dc": Setting(
        "from here on nothing is offered", ALL, "0.1 °C", "ChargingStation.DerateStop", lowers_only=True
    ),
    "activated": Setting("the owner has activated the station", CLOUD, "", "ChargingStation.Activated"),
    "free": Setting("everybody, without a card", CLOUD, "", "AuthCtrlr.Enabled", is_opposite=True),
    "offline_tx_for_unknown_id": Setting(
        "unknown cards start while nobody can be asked", CLOUD, "", "AuthCtrlr.OfflineTxForUnknownIdEnabled"
    ),
    "list_grace_days": Setting(
        "how long members charge by a list that the cloud has not called current since; 0: for ever", CLOUD, "d",
        "LocalAuthListCtrlr.GraceDays",
    ),
    "cache_enabled": Setting("the cloud's answers are remembered", CLOUD, "", "AuthCacheCtrlr.Enabled"),
    "cache_lifetime_s": Setting("from the question for so long", CLOUD, "s", "AuthCacheCtrlr.LifeTime"),
    "master_pass_group_id": Setting("stops any session, starts none", CLOUD, "", "AuthCtrlr.MasterPassGroupId"),
    "concurrent_tx": Setting("one card may charge at two ports at once", CLOUD, "", "TxCtrlr.ConcurrentTx"),
    "stop_tx_on_invalid_id": Setting("a token refused late ends its session", CLOUD, "", "TxCtrlr.StopTxOnInvalidId"),
    "max_energy_on_invalid_id_wh": Setting(
        "what a token refused late may still draw", CLOUD, "Wh", "TxCtrlr.MaxEnergyOnInvalidId"
    ),
    "stop_tx_on_removal": Setting(
        "a card that the list takes off, blocks or lets expire while it charges counts as refused late", CLOUD, "",
        "TxCtrlr.StopTxOnRemoval",
    ),
    "support_number": Setting("telephone number beside every refusal", ALL, "", "ChargingStation.SupportNumber"),
    "owner": Setting("who runs the station, as drivers know it", CLOUD, "", "ChargingStation.Owner"),
    "language": Setting("of the display until somebody chooses another", ALL, "", "DisplayMessageCtrlr.Language"),
    "tariff_text": Setting(
        "what charging costs, in the owner's words, while no tariff says it", CLOUD, "",
        "TariffCostCtrlr.TariffFallbackMessage",
    ),
    "tariff_text_offline": Setting(
        "in its place while the cloud cannot be reached", CLOUD, "", "TariffCostCtrlr.OfflineTariffFallbackMessage"
    ),
    "total_cost_text": Setting(
        "what a driver reads who has finished, and whose cost the station does not know", CLOUD, "",
        "TariffCostCtrlr.TotalCostFallbackMessage",
    ),
    "reservations": Setting("ReserveNow is taken", CLOUD, "", "ReservationCtrlr.Enabled"),
    "time_zone": Setting("of the site, IANA", ALL, "", "ClockCtrlr.TimeZone"),
    "site_point": Setting(
        "where the site's address is, as the office knows it; the pinpoint is compared with it", CLOUD, "",
        "ChargingStation.SitePoint",
    ),
    "light": Setting("the enclosure's light; auto = while somebody is there", ALL, "", "EnvironmentalLighting.Mode"),
    "ev_connection_timeout_s": Setting("from tap to plug", CLOUD, "s", "TxCtrlr.EVConnectionTimeOut"),
    "tx_resumption_timeout_s": Setting("an outage a session survives", CLOUD, "s", "TxCtrlr.TxResumptionTimeout"),
    "tx_updated_interval_s": Setting("between two samples", CLOUD, "s", "SampledDataCtrlr.TxUpdatedInterval"),
    "aligned_interval_s": Setting("clock-aligned samples; 0 = off", CLOUD, "s", "AlignedDataCtrlr.Interval"),
    "minimum_status_duration_s": Setting(
        "a status is told when it has lasted so long", CLOUD, "s", "ChargingStation.MinimumStatusDuration"
    ),
    "restart_delay_max_s": Setting(
        "after a power cut each port waits a random part of this", CLOUD, "s", "ChargingStation.RestartDelay"
    ),
    "sessions_before_update": Setting(
        "people may start while an update waits for sessions to end", CLOUD, "",
        "ChargingStation.AllowNewSessionsPendingFirmwareUpdate",
    ),
    "data_budget_mb": Setting(
        "the modem's data in a month, 1 MB = 10^6 bytes; 0: no budget", CLOUD, "MB", "DataLink.Budget"
    ),
    "data_billing_day": Setting("the day on which the data's month begins", CLOUD, "", "DataLink.BillingDay"),
    "low_data": Setting(
        "samples, health, reports and builds wait; auto: from 80 % of the budget", CLOUD, "", "DataLink.LowDataMode"
    ),
    "host_grace_s": Setting("controller: host silent so long, orderly stop; 0 = at once", HANDS, "s"),
    "failsafe_ma": Setting("controller: host silent 3 s, at most this at each port", ALL, "mA", lowers_only=True),
}
BOUNDS: dict[str, Any] = get_type_hints(Settings, include_extras=True)

assert SETTINGS.keys() == BOUNDS.keys()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from. `at` is the wall time when its layer was set, None for what was always so."""

    layer: Layer
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    settings: Settings
    sources: dict[str, Origin]
    ignored: tuple[str, ...] = ()  # a sentence for each stored value that no longer fits


# -- one value ---------------------------------------------------------------------------------------------------------


def checked(layer: Layer, key: str, value: object, below: Merged | None = None) -> Any:
    """The value as `layer` may set it, over what is merged `below` it; ConfigError says what to type instead."""
    refuse_unknown([key], SETTINGS, "")
    setting = SETTINGS[key]
    if layer not in setting.layers:
        who = ", ".join(NOUNS[each] for each in sorted(setting.layers))
        raise ConfigError(f"{key} cannot be set by {NOUNS[layer]}: set it by {who}")
    value = fitted(value, BOUNDS[key], key)
    if below and setting.lowers_only and layer > Layer.BOARD and value > (most := getattr(below.settings, key)):
        raise ConfigError(f"{key} = {value} is more than the {most} that holds here already: type {most} or less")
    return value


NOUNS = {
    Layer.DEFAULTS: "the software",
    Layer.BOARD: "the board file",
    Layer.CONFIG: "the config file",
    Layer.WIZARD: "the install wizard",
    Layer.CLOUD: "the cloud",
}


def merge(layers: Mapping[Layer, Mapping[str, object]], times: Mapping[Layer, float] | None = None) -> Merged:
    """What holds, and who said so. A stronger layer wins; electrical limits only go down from the board on.

    Board and config are files that somebody can mend now: what is wrong in them is a ConfigError. What wizard and cloud
    set was checked when they set it, see `ceiling`; if it does not fit any more (an older build, another board), it is
    left out with a sentence in `ignored`, because a station must start.
    """
    merged = board = Merged(Settings(), {key: Origin(Layer.DEFAULTS) for key in SETTINGS})
    for layer in sorted(layers):
        ceiling_ = merged if layer is Layer.CLOUD else board
        values, ignored = fitting(layer, layers[layer], ceiling_)
        origin = Origin(layer, (times or {}).get(layer))
        merged = Merged(
            msgspec.structs.replace(merged.settings, **values),
            merged.sources | dict.fromkeys(values, origin),
            (*merged.ignored, *ignored),
        )
        board = merged if layer is Layer.BOARD else board
    return merged


def ceiling(layers: Mapping[Layer, Mapping[str, object]], layer: Layer) -> Merged:
    """What limits `layer`: `checked(layer, key, value, ceiling(layers, layer))` is how wizard and cloud set a value."""
    below = Layer.CLOUD if layer is Layer.CLOUD else Layer.CONFIG
    return merge({each: values for each, values in layers.items() if each < below})


def fitting(layer: Layer, values: Mapping[str, object], below: Merged) -> tuple[dict[str, Any], list[str]]:
    good: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in values.items():
        try:
            good[key] = checked(layer, key, value, below)
        except ConfigError as error:
            if layer < Layer.WIZARD:
                raise ConfigError(f"{NOUNS[layer]}: {error}") from None
            ignored.append(f"{NOUNS[layer]}: {error}")
    return good, ignored


# -- TOML tables of any kind -------------------------------------------------------------------------------------------

T = TypeVar("T", bound=msgspec.Struct)
WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}


def read_toml(text: str, where: str) -> dict[str, Any]:
    if len(text) > CONFIG_MAX:
        raise ConfigError(f"{where}: {len(text)} characters are no file of ours: keep it below {CONFIG_MAX}")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets 1,000 deep
        raise ConfigError(f"{where}: not valid TOML: {error}: correct it there") from None


def table(value: object, type_: type[T], where: str, **made: object) -> T:
    """A TOML table as a struct, each key checked against its bounds; `made` are fields that are built already."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: write it as a table, [name] and below it one key = value a line")
    bounds = get_type_hints(type_, include_extras=True)
    refuse_unknown(value, bounds, where)
    needed = {f.name for f in msgspec.structs.fields(type_) if f.required}
    if missing := sorted(needed - value.keys() - made.keys()):
        raise ConfigError(f"{where} {missing[0]} is missing: add {how_to_add(missing[0], bounds[missing[0]])}")
    values = {k: fitted(v, bounds[k], f"{where} {k}") for k, v in value.items() if k not in made}
    try:
        return type_(**values, **made)
    except ValueError as error:  # __post_init__: facts that contradict each other
        raise ConfigError(f"{where} {error}") from None


def how_to_add(key: str, bounds: Any) -> str:
    is_table = isinstance(bounds, type) and issubclass(bounds, msgspec.Struct)
    return f"it as a table, [{key}] and below it one key = value a line" if is_table else f"{key} = {expected(bounds)}"


def refuse_unknown(keys: Collection[str], known: Collection[str], where: str) -> None:
    for key in keys:
        if key not in known:
            near = get_close_matches(key, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise ConfigError(f"{where} unknown key {shown(key)}: {hint}".strip())


def fitted(value: object, bounds: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, bounds)
    except (msgspec.ValidationError, ValueError):  # ValueError: a number of 5,000 digits
        raise ConfigError(f"{name} = {shown(value)} cannot be: type {expected(bounds)}") from None


def shown(value: object) -> str:
    """As much of a value as fits into a sentence."""
    try:
        text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    except (ValueError, RecursionError):  # a number of 5,000 digits, brackets 1,000 deep
        return "…"
    return text if len(text) <= 60 else f"{text[:59]}…"


def expected(bounds: Any) -> str:
    """What may be typed, in words: read from the field's own bounds."""
    args = get_args(bounds)
    if get_origin(bounds) is Literal:
        return " or ".join(f'"{arg}"' if isinstance(arg, str) else str(arg) for arg in args)
    if get_origin(bounds) is tuple:
        return f"a list in [ ], each of it {expected(args[0])}"
    if type(None) in args:
        return expected(args[0])
    kind, meta = (args[0], args[1]) if args and isinstance(args[1], Meta) else (bounds, Meta())
    words = WORDS.get(kind, "a table")
    if meta.description:
        return meta.description
    if meta.ge is not None:
        return f"{words} from {meta.ge} to {meta.le}"
    return f"{words}, at most {meta.max_length} characters" if meta.max_length else words


# -- the config file ---------------------------------------------------------------------------------------------------


class Identity(msgspec.Struct, frozen=True):
    """[station]"""

    station_id: StationId


class Broker(msgspec.Struct, frozen=True):
    """[broker]: where the cloud is to be had, and what it proves itself with (PEM file). The station makes its own key;
    `cert` and `key` are a pair to begin with, where there is one. `enrol`: an EST server, docs/identity.md."""

    host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}\Z", description="a host name or address in quotes")]
    ca: FilePath
    cert: FilePath = ""
    key: FilePath = ""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8883
    enrol: Annotated[
        str, Meta(pattern=r"^https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?\Z", description='"https://host:port"')
    ] = ""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together: name both, or none and the station makes its own key")


class Paths(msgspec.Struct, frozen=True):
    """[paths]: where the station keeps its state, and where its command line finds it."""

    state: FilePath = "/var/lib/station-agent"
    control: FilePath = "/run/station-agent/control.sock"
    updater: FilePath | None = None  # the update service's socket; None: the image's, if the launcher has started us


class Panel(msgspec.Struct, frozen=True):
    """[panel]: the page that the kiosk browser shows, on loopback only."""

    port: Annotated[int, Meta(ge=1, le=65_535)]
    # Where no systemd starts what draws (board/systemd/station-display@.path): a program and its arguments.
    kiosk: Command = ()
    framebuffer: Command = ()


class Phone(msgspec.Struct, frozen=True):
    """[phone]: where an installer's phone finds the station, once somebody inside it has let one in: the address of its
    own access point or of its USB cable, never of the modem. `ssid` and the file with the passphrase, which the image
    makes anew for each session, let the panel show how to join the access point."""

    address: Annotated[
        str,
        Meta(pattern=r"^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}\Z", description="an IPv4 address"),
    ]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8443
    ssid: Annotated[str, Meta(max_length=32)] = ""  # IEEE 802.11
    passphrase_file: FilePath = ""

    def __post_init__(self) -> None:
        if self.address == "0.0.0.0" or int(self.address.partition(".")[0]) >= 224:
            raise ValueError(f"address = {self.address} is no interface's: type the access point's or the USB cable's")
        if bool(self.ssid) != bool(self.passphrase_file):
            raise ValueError("ssid and passphrase_file belong together: name both, or none")


INTERFACE = r"[A-Za-z][A-Za-z0-9_.-]{0,13}"  # IFNAMSIZ: 15 characters
Ports = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=65_535)], ...],
    Meta(max_length=16, description="a list of up to 16 ports, 1 to 65535, like [443, 8883]"),
]


class Gateway(msgspec.Struct, frozen=True):
    """[gateway]: this station is the router of stations without a modem (docs/gateway.md)."""

    leaves_on: Annotated[str, Meta(pattern=rf"^{INTERFACE}\Z", description='an interface like "eth0"')]
    network: Annotated[
        str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}\Z", description='a network like "192.168.77.0/24"')
    ]
    uplinks: Annotated[
        tuple[Annotated[str, Meta(pattern=rf"^{INTERFACE}[*]?\Z", description='an interface like "ppp*"')], ...],
        Meta(min_length=1, max_length=8, description='a list of one to eight interfaces like ["ppp*"]'),
    ] = ("ppp*", "wwan*")  # wherever the modem's comes back
    tcp: Ports = (443, 8443, 8883)  # updates, certificates, the broker
    udp: Ports = ()
    leases: FilePath = ""  # of dnsmasq, where it gives the leaves their addresses and hears their names
    names: Annotated[
        dict[StationId, str],
        Meta(max_length=32, description='a table of up to 32 lines, serial number = "address"'),
    ] = {}

    def __post_init__(self) -> None:
        try:
            net = IPv4Network(self.network)
        except ValueError:
            raise ValueError(f'network = "{self.network}" is none: type one like "192.168.77.0/24"') from None
        if not net.is_private or not 16 <= net.prefixlen <= 30:
            raise ValueError(f"network = {net} cannot be: type a private one from /16 to /30")
        for name in self.uplinks:
            if name == self.leaves_on or (name[-1] == "*" and self.leaves_on.startswith(name[:-1])):
                raise ValueError(f"uplinks names {name}, where the leaves are: name the modem's interface")
        for serial, address in self.names.items():
            try:
                is_there = IPv4Address(address) in net
            except ValueError:
                is_there = False
            if not is_there:
                raise ValueError(f'names {serial} = "{address[:40]}" is no address in {net}: type one of them')


AT_PORT = r"^(usb:[0-9a-fA-F]{4}:[0-9a-fA-F]{4}:[0-9]{1,3}|/[A-Za-z0-9_./-]{1,200})?\Z"
AtPort = Annotated[
    str, Meta(pattern=AT_PORT, description='"usb:2c7c:0125:2" (vendor, product, interface) or the path of a device')
]


Apn = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}\Z", description="an access point's name, or \"\" for the network's own")
]


class Modem(msgspec.Struct, frozen=True):
    """[modem]: how this station is reached over a cellular network, docs/modem.md. A station behind another one's modem
    has no port, and names that station as its `gateway`."""

    port: AtPort = ""  # that answers AT commands
    data_port: AtPort = ""  # where a call is dialled; "": on the port that is asked
    bearer: Literal["auto", "ppp", "ecm", "modemmanager", "given"] = "auto"
    apn: Apn | None = None  # None: find out
    login_file: FilePath = ""  # the access point's name and password, a line each
    pin_file: FilePath = ""  # of the SIM
    may_roam: bool = True
    pdp_type: Literal["IP", "IPV4V6"] = "IP"  # the uplink is IPv4: no bearer sets an IPv6 address
    interface: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,15}\Z", description='a network interface like "wwan0"')
    ] = ""  # "": the bearer finds it
    metric: Annotated[int, Meta(ge=1, le=9_999)] = 700  # of its default route
    probe: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9.-]{1,253}:[0-9]{1,5})?\Z", description='"host:port"')
    ] = ""  # asked when the broker is silent; "": the line's own resolver is enough
    gateway: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9-]{1,36})?\Z", description="a station's serial number")
    ] = ""

    def __post_init__(self) -> None:
        if self.gateway and (self.port or self.bearer == "modemmanager"):
            raise ValueError("a station has a modem or a gateway: name port, or gateway, not both")
        if not self.gateway and not self.port and self.bearer != "modemmanager":
            raise ValueError('port is missing: add port = "usb:vendor:product:interface" or the path of a device')
        if self.data_port and self.data_port == self.port:
            raise ValueError("data_port is the port that is asked: leave it out, or name the modem\'s second port")
        if self.login_file and self.apn is None:
            raise ValueError("login_file needs its access point: add apn")


@dataclass(frozen=True, slots=True)
class Config:
    """The config file. Without [station] and [broker] the station has no identity: it charges nobody.

    `operator` names the public keys (PEM files, Ed25519) that commands, lists and builds are signed with, by key id.
    """

    station_id: str | None = None
    broker: Broker | None = None
    operator: dict[str, str] = field(default_factory=dict)
    paths: Paths = field(default_factory=Paths)
    settings: dict[str, Any] = field(default_factory=dict)
    panel: Panel | None = None  # None: no page
    phone: Phone | None = None  # None: none is ever let in
    modem: Modem | None = None  # None: this station has none, and names no gateway
    gateway: Gateway | None = None  # None: it is nobody's

    def layer(self) -> dict[str, Any]:
        """What this file says for Layer.CONFIG."""
        return self.settings if self.station_id is None else {**self.settings, "station_id": self.station_id}


TABLES = ("station", "broker", "operator", "paths", "settings", "panel", "phone", "modem", "gateway")


def read_config(text: str, where: str) -> Config:
    """The file at `where`; relative paths in it start from its folder. ConfigError names file and key."""
    tables = read_toml(text, where)
    refuse_unknown(tables, TABLES, f"{where}:")
    station = table(tables["station"], Identity, f"{where}: [station]") if "station" in tables else None
    broker = table(tables["broker"], Broker, f"{where}: [broker]") if "broker" in tables else None
    if broker and not station:
        raise ConfigError(
            f'{where}: [broker] needs an identity: add [station] and below it station_id = "serial number"'
        )
    gateway = gateway_of(tables["gateway"], where) if "gateway" in tables else None
    modem = modem_of(table(tables["modem"], Modem, f"{where}: [modem]"), where) if "modem" in tables else None
    if gateway and modem and modem.gateway:
        raise ConfigError(f"{where}: whoever hangs off a gateway is none: remove [gateway], or gateway of [modem]")
    return Config(
        station.station_id if station else None,
        broker and msgspec.structs.replace(
            broker, ca=beside(where, broker.ca),
            cert=broker.cert and beside(where, broker.cert), key=broker.key and beside(where, broker.key),
        ),
        operator_keys(tables.get("operator", {}), where),
        paths_of(table(tables.get("paths", {}), Paths, f"{where}: [paths]"), where),
        settings_of(tables.get("settings", {}), where),
        table(tables["panel"], Panel, f"{where}: [panel]") if "panel" in tables else None,
        phone_of(table(tables["phone"], Phone, f"{where}: [phone]"), where) if "phone" in tables else None,
        modem=modem, gateway=gateway,
    )  # fmt: skip


def operator_keys(value: object, where: str) -> dict[str, str]:
    name = f"{where}: [operator]"
    if not isinstance(value, dict) or len(value) > OPERATOR_KEYS_MAX:
        raise ConfigError(f'{name} holds up to {OPERATOR_KEYS_MAX} lines: type key id = "public key file"')
    if any(not 1 <= len(kid) <= 32 for kid in value):
        raise ConfigError(f"{name}: a key id has 1 to 32 characters")
    return {kid: beside(where, fitted(path, FilePath, f"{name} {kid}")) for kid, path in value.items()}


def paths_of(paths: Paths, where: str) -> Paths:
    updater = paths.updater and beside(where, paths.updater)
    return Paths(beside(where, paths.state), beside(where, paths.control), updater)


def phone_of(phone: Phone, where: str) -> Phone:
    path = phone.passphrase_file
    return msgspec.structs.replace(phone, passphrase_file=path and beside(where, path))


def gateway_of(value: object, where: str) -> Gateway:
    gateway = table(value, Gateway, f"{where}: [gateway]")
    return msgspec.structs.replace(gateway, leases=gateway.leases and beside(where, gateway.leases))


def modem_of(modem: Modem, where: str) -> Modem:
    login, pin = (path and beside(where, path) for path in (modem.login_file, modem.pin_file))
    return msgspec.structs.replace(modem, login_file=login, pin_file=pin)


def settings_of(value: object, where: str) -> dict[str, Any]:
    name = f"{where}: [settings]"
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write it as a table, [settings] and below it one key = value a line")
    if "station_id" in value:
        raise ConfigError(f"{name} station_id belongs under [station]: move it there")
    try:
        return {key: checked(Layer.CONFIG, key, each) for key, each in value.items()}
    except ConfigError as error:
        raise ConfigError(f"{name} {error}") from None


def beside(where: str, path: str) -> str:
    """A relative path in a file means: from the folder of that file."""
    folder, slash, _ = where.rpartition("/")
    return path if path.startswith("/") or not slash else f"{folder}/{path}"
