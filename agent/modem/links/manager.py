"""ModemManager's objects (its D-Bus interface 1.x) as our facts, and its errors as our causes. Pure.

`Objects` is what GetManagedObjects gives, without the marks of D-Bus: {path: {interface: {property: value}}}. What is
missing there, or of another type than it should be, is not known; nothing here raises.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from agent.modem import kinds
from agent.modem import modem as facts
from agent.modem.events import Cause
from agent.modem.kinds import Kind
from agent.modem.links.leases import Lease
from agent.modem.links.pppd import DNS_MAX, ipv4
from agent.modem.modem import Registration, Signal, Sim, State
from agent.modem.told import Told, Warn

SERVICE, ROOT = "org.freedesktop.ModemManager1", "/org/freedesktop/ModemManager1"
MODEM, GPP, SIM, BEARER = f"{SERVICE}.Modem", f"{SERVICE}.Modem.Modem3gpp", f"{SERVICE}.Sim", f"{SERVICE}.Bearer"
CDMA, SIMPLE, SIGNAL = f"{SERVICE}.Modem.ModemCdma", f"{SERVICE}.Modem.Simple", f"{SERVICE}.Modem.Signal"

Properties = Mapping[str, Any]
Objects = Mapping[str, Mapping[str, Properties]]

FAILED, LOCKED, DISABLED, DISABLING, ENABLED, REGISTERED, CONNECTED = -1, 2, 3, 4, 6, 8, 11  # MMModemState
REASONS = {2: State.SIM_MISSING, 3: State.SIM_FAILED, 5: State.SIM_FAILED}  # MMModemStateFailedReason
ATTACHED = 2  # MMModem3gppPacketServiceState
LOCKS = {1: "", 2: "SIM PIN", 3: "SIM PIN2", 4: "SIM PUK", 5: "SIM PUK2"}  # MMModemLock
ACTS = {  # MMModemAccessTechnology, the newest first, as 27.007 7.3 numbers them
    15: 11, 14: 7, 16: 8, 17: 9, 9: 6, 8: 6, 7: 5, 6: 4, 5: 2, 4: 3, 3: 0, 2: 1, 1: 0,
}  # fmt: skip
CAN_CDMA, CAN_GSM, CAN_LTE, CAN_5G = 1 << 1, 1 << 2, 1 << 3, 1 << 5 | 1 << 6  # MMModemCapability
PPP, STATIC, DHCP = 1, 2, 3  # MMBearerIpMethod
PERCENT_AT = 2.0  # MM makes of +CSQ's 0..31 a percentage; dBm = -113 + 2 × index


class Config(Struct, frozen=True):
    """How a bearer's interface is set up. `method`: PPP, STATIC or DHCP; 0: MM does not say."""

    interface: str
    method: int
    lease: Lease | None = None  # of STATIC


# -- values -----------------------------------------------------------------------------------------------------------


def plain(signature: str, value: Any) -> Any:
    """A D-Bus variant, and those within it, as what they hold."""
    if signature == "v" and isinstance(value, tuple) and len(value) == 2:
        return plain(str(value[0]), value[1])
    if signature == "a{sv}" and isinstance(value, Mapping):
        return {str(key): variant(each) for key, each in value.items()}
    if signature == "aa{sv}" and isinstance(value, list):
        return [plain("a{sv}", each) for each in value]
    return value


def variant(pair: Any) -> Any:
    return plain("v", pair)


def objects(body: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Of the answer of GetManagedObjects, a{oa{sa{sv}}}."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    if isinstance(body, Mapping):
        for path, interfaces in body.items():
            if isinstance(path, str) and isinstance(interfaces, Mapping):
                held = {str(name): plain("a{sv}", each) for name, each in interfaces.items()}
                found[path] = {name: dict(each) for name, each in held.items() if isinstance(each, Mapping)}
    return found


def text(properties: Properties, name: str) -> str | None:
    value = properties.get(name)
    return value if isinstance(value, str) and value and value.isprintable() else None


def number(properties: Properties, name: str, default: int = 0) -> int:
    value = properties.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def level(properties: Properties, name: str) -> float | None:
    """Of the interface Signal; MM says -999999 or a NaN for none."""
    value = properties.get(name)
    return float(value) if isinstance(value, float | int) and -200 < value < 100 else None


def bits(value: int) -> set[int]:
    return {bit for bit in range(32) if value >> bit & 1}


# -- which, and how it is ---------------------------------------------------------------------------------------------


def modem_of(found: Objects) -> str | None:
    """The path of the modem that is used: the one with the lowest number."""
    paths = [path for path, interfaces in found.items() if MODEM in interfaces]
    return min(paths, key=lambda path: (len(path), path), default=None)


def state(modem: Properties, gpp: Properties) -> State:
    now = number(modem, "State")
    if now == FAILED:
        return REASONS.get(number(modem, "StateFailedReason"), State.PROBING)
    if now == LOCKED:
        return State.SIM_LOCKED
    if now in (DISABLED, DISABLING):
        return State.RADIO_OFF
    if now >= CONNECTED:
        return State.BEARER_UP
    if now >= REGISTERED:
        return State.ATTACHED if number(gpp, "PacketServiceState", ATTACHED) == ATTACHED else State.REGISTERED
    if number(gpp, "RegistrationState", 4) == facts.DENIED:
        return State.DENIED
    return State.SEARCHING if now >= ENABLED else State.PROBING


def sim(modem: Properties) -> Sim:
    match state(modem, {}):
        case State.SIM_MISSING:
            return Sim.MISSING
        case State.SIM_LOCKED:
            return Sim.LOCKED
        case State.SIM_FAILED:
            return Sim.FAILED
        case State.PROBING:
            return Sim.UNKNOWN
    return Sim.READY


def act(modem: Properties) -> int | None:
    held = bits(number(modem, "AccessTechnologies"))
    return next((ours for bit, ours in ACTS.items() if bit in held), None)


def kind(modem: Properties, known: str | None) -> Kind | None:
    """`known`: by what LTE was seen before. MM's plain driver calls every modem GSM: model and radio count, too."""
    can = number(modem, "CurrentCapabilities")
    sets = modem.get("SupportedCapabilities")
    for each in sets if isinstance(sets, list) else []:
        can |= each if isinstance(each, int) else 0
    if known or can & (CAN_LTE | CAN_5G) or kinds.is_lte_model(text(modem, "Model")) or kinds.is_newer(act(modem)):
        return Kind.LTE
    if can & CAN_GSM:
        return Kind.GSM
    return Kind.CDMA if can & CAN_CDMA else None


def signal(modem: Properties, levels: Properties, now: float) -> Signal:
    """dB where MM measures them (Signal.Setup); RSSI else of what its percentage was made of."""
    rssi = None
    match modem.get("SignalQuality"):
        case (int(percent), _) if 0 < percent <= 100:
            rssi = -113.0 + PERCENT_AT * round(percent * 31 / 100)
    for name in ("Nr5g", "Lte", "Umts", "Gsm"):
        found = levels.get(name)
        if isinstance(found, Mapping) and {level(found, "rsrp"), level(found, "rssi")} != {None}:
            strength = level(found, "rssi")
            return Signal(rssi if strength is None else strength, level(found, "rsrp"), level(found, "rsrq"), now)
    return Signal() if rssi is None else Signal(rssi_dbm=rssi, at=now)


def registrations(gpp: Properties, radio: int | None) -> dict[str, Registration]:
    if "RegistrationState" not in gpp:
        return {}
    domain = "+CEREG" if kinds.is_newer(radio) else "+CGREG"
    return {domain: Registration(number(gpp, "RegistrationState"), radio)}


def warnings(modem: Properties, gpp: Properties, level: Signal, upgrade: kinds.Sunset | None) -> frozenset[Warn]:
    found = {Warn(upgrade.value)} if upgrade else set()
    where = state(modem, gpp)
    if where is State.SIM_LOCKED:
        lock = LOCKS.get(number(modem, "UnlockRequired"))
        found.add({"SIM PIN": Warn.PIN_MISSING, "SIM PUK": Warn.PUK}.get(lock or "", Warn.LOCKED_TO))
    if where is State.DENIED:
        found.add(Warn.DENIED)
    if level.is_good is False:
        found.add(Warn.SIGNAL)
    return frozenset(found)


def told(found: Objects, since: float, known: str | None, upgradable: bool, apn: str | None, now: float) -> Told:
    """All that MM says of its modem, in our words."""
    path = modem_of(found)
    interfaces = found.get(path or "", {})
    modem, gpp, cdma = (interfaces.get(name, {}) for name in (MODEM, GPP, CDMA))
    card = found.get(text(modem, "Sim") or "", {}).get(SIM, {})
    radio, level = act(modem), signal(modem, interfaces.get(SIGNAL, {}), now)
    where = state(modem, gpp) if path else State.ABSENT
    sort = kind(modem, known)
    upgrade = kinds.sunset(sort, upgradable)
    return Told(
        state=where, beneath=where, since=since, level=None, next_action_s=None,
        manufacturer=text(modem, "Manufacturer"), model=text(modem, "Model"), revision=text(modem, "Revision"),
        imei=text(gpp, "Imei") or text(cdma, "Esn") or text(modem, "EquipmentIdentifier"), kind=sort, sunset=upgrade,
        sim=sim(modem) if path else Sim.UNKNOWN, iccid=text(card, "SimIdentifier"), imsi=text(card, "Imsi"),
        operator=text(gpp, "OperatorName"), mccmnc=text(gpp, "OperatorCode"), act=radio,
        generation=kinds.generation(radio), is_roaming=number(gpp, "RegistrationState") == facts.ROAMING,
        registrations=registrations(gpp, radio), signal=level, is_signal_good=level.is_good,
        apn=apn if where is State.BEARER_UP else None, address=None,
        warnings=warnings(modem, gpp, level, upgrade) if path else frozenset(), counts={},
    )  # fmt: skip


# -- its bearers ------------------------------------------------------------------------------------------------------


def config(properties: Properties) -> Config | None:
    """Of a bearer. None: it is not connected, or has no interface."""
    interface, four = text(properties, "Interface"), properties.get("Ip4Config")
    if properties.get("Connected") is not True or interface is None:
        return None
    four = four if isinstance(four, Mapping) else {}
    method = number(four, "method")
    address, prefix = ipv4(text(four, "address") or ""), number(four, "prefix")
    lease = None
    if method == STATIC and address and 0 < prefix <= 32:
        dns = [ipv4(text(four, f"dns{i}") or "") for i in (1, 2, 3)]
        mtu = number(four, "mtu")
        lease = Lease(
            address, prefix, ipv4(text(four, "gateway") or ""), tuple(each for each in dns if each)[:DNS_MAX],
            mtu if 576 <= mtu <= 1_500 else None,
        )  # fmt: skip
    return Config(interface, method, lease)


# -- its errors -------------------------------------------------------------------------------------------------------

START = "ModemManager does not run: type systemctl enable --now ModemManager, or set another bearer"
PERMIT = "ModemManager does not let us: copy board/polkit/50-station-modem.rules to /etc/polkit-1/rules.d"
ERRORS: tuple[tuple[tuple[str, ...], Cause, str], ...] = (
    (("ServiceUnknown", "NameHasNoOwner", "Spawn.", "NoServer"), Cause.SYSTEM, START),
    (("Unauthorized", "AccessDenied", "NotAuthorized"), Cause.SYSTEM, PERMIT),
    (("UnknownApn", "ServiceOptionNot", "PdpType", "PdpAddress"), Cause.APN, "the access point was refused: check apn"),
    (("AuthFail", "UserAuthentication"), Cause.AUTH, "name or password was not accepted: check username and password"),
    (("Core.Unsupported", "UnknownInterface"), Cause.SYSTEM, "ModemManager cannot connect it: set another bearer"),
    (("UnknownObject", "UnknownMethod", "Core.NotFound"), Cause.ENDED, "ModemManager's modem has gone"),
)  # fmt: skip


NO_LIBRARY = "station.NoLibrary"  # none of D-Bus: `message` is what to type


def failed(name: str, message: str = "") -> tuple[Cause, str]:
    """Of a D-Bus error."""
    if name == NO_LIBRARY:
        return Cause.SYSTEM, f"there is nothing to speak D-Bus with: type {message}"
    for words, cause, why in ERRORS:
        if any(word in name for word in words):
            return cause, why
    return Cause.FAILED, f"ModemManager: {message or name}"[:200]
