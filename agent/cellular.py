"""What the station makes of its modem: what is remembered of it, what the cloud hears, what people should do. Pure.

How the modem is kept online is agent/modem's; here its state is a fact among others (`ModemTold`), and what is worth a
record goes out once: another modem or SIM, a warning that comes or goes, a state that needs somebody, what the recovery
does. The codes are in docs/uplink.md.

States and warnings are words here, those of agent/modem (a test compares them): a station without a modem need not load
what reads one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.effects import Effect, Record, Save, Stream
from agent.events import Machine, Modem, ModemDid
from agent.reporting import notify_event
from agent.station import Station

COMPONENT = {"name": "Modem"}
FACT = "modem"  # what is remembered: the next start reports it before the modem has said a word
REMEMBERED = ("modem_type", "imei", "iccid", "imsi")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody must do something about."""

    text: str  # for the operator, on the wire
    fix: str
    shown: str = ""  # at the station, as in the catalogues; "": nobody there can do anything about it


LOCKED = "The SIM card is locked."
# One for each warning, and for each state that is one. Keys are the codes; what keeps the modem from being connected
# stands before what only weakens it (WEAK).
TROUBLES: dict[str, Trouble] = {
    "ABSENT": Trouble("The modem is gone.", "Look at its cable and supply.", "The modem does not answer."),
    "SIM_MISSING": Trouble(
        "There is no SIM card in the modem.", "Put one in, contacts down.", "There is no SIM card in the modem."
    ),
    "SIM_FAILED": Trouble(
        "The SIM card fails.", "Clean it and put it in again, or replace it.", "The SIM card does not answer."
    ),
    "PIN_MISSING": Trouble("The SIM card asks for a PIN.", "Put it into the file pin_file of [modem].", LOCKED),
    "PIN_WRONG": Trouble("The SIM card's PIN is another.", "Correct it in the file pin_file of [modem].", LOCKED),
    "PIN_UNSURE": Trouble("The SIM card has too few tries left.", "Unlock it in a telephone.", LOCKED),
    "PUK": Trouble("The SIM card asks for its PUK.", "Unlock it in a telephone, or replace it.", LOCKED),
    "LOCKED_TO": Trouble("Modem or SIM card is locked to another operator or device.", "Ask who sold it.", LOCKED),
    "DENIED": Trouble(
        "The network denies the SIM card.", "Ask its operator whether it is active.", "The network denies the SIM card."
    ),
    "ROAMING": Trouble("Only a foreign network is here.", "Allow may_roam in [modem], or use another SIM card."),
    "SEARCHING": Trouble(
        "The modem finds no network.", "Look at the antenna and its cable.", "The modem looks for a network."
    ),
    "ACCESS": Trouble(
        "No access point is accepted.", "Put apn, and login_file if it has a name, into [modem].",
        "The network takes no connection of this SIM card.",
    ),
    "SYSTEM": Trouble("This system cannot make the connection.", "Choose another bearer in [modem]."),
    "BROKER": Trouble("The line carries, but the broker does not answer.", "Nothing is wrong with the modem."),
    "UPGRADE": Trouble(
        "The modem is for 2G or 3G networks, which end.", "Have it replaced by one for LTE.",
        "This modem is for 2G or 3G networks, which end. Have it replaced by one for LTE.",
    ),
    "REPLACE": Trouble(
        "The modem is for 2G or 3G networks, which end, and cannot be replaced.", "Replace the station.",
        "This modem is for 2G or 3G networks, which end. Replace the station.",
    ),
    "LTE_ON_3G": Trouble(
        "An LTE modem has been on 2G or 3G for a day.", "Look at the antenna, and ask the SIM's operator for LTE.",
        "The modem has been without LTE for a day. Look at the antenna.",
    ),
    "SIM_3G_ONLY": Trouble("LTE denies this SIM card.", "Ask its operator for one with LTE."),
    "SIGNAL": Trouble("The signal is poor.", "Move or turn the antenna.", "The signal is poor. Turn the antenna."),
}  # fmt: skip
WEAK = frozenset(("BROKER", "UPGRADE", "REPLACE", "LTE_ON_3G", "SIM_3G_ONLY", "SIGNAL"))
SEARCHING, READY = "searching", "ready"  # agent/modem/modem.py State, Sim
OF_STATE = {"absent": "ABSENT", "SIM missing": "SIM_MISSING", "SIM failed": "SIM_FAILED", SEARCHING: "SEARCHING"}
# Not a word of their own: two heal by themselves, the signal is in the health record, of the broker nobody would hear.
UNTOLD = frozenset(("ABSENT", "SEARCHING", "SIGNAL", "BROKER"))
UNSURE = frozenset(("absent", "probing", "radio off"))  # nothing is known anew: what was so stays so
TRYING = frozenset(("DENIED", "ACCESS"))  # a search says nothing of these


def troubles(modem: Modem) -> tuple[str, ...]:
    """Codes of TROUBLES, in their order."""
    found = set(modem.warnings)
    if (code := OF_STATE.get(modem.state)) and found <= WEAK:
        found.add(code)
    return tuple(code for code in TROUBLES if code in found)


def held(modem: Modem, before: frozenset[str]) -> frozenset[str]:
    """What the cloud is to know, of which it knows that already."""
    found = frozenset(troubles(modem)) - UNTOLD
    if modem.state in UNSURE or (modem.state == SEARCHING and modem.sim != READY):
        return found | before
    return found | (before & TRYING) if modem.state == SEARCHING else found


def remembered(machine: Machine, fact: object) -> Machine:
    """What the last run knew of the modem."""
    if not isinstance(fact, Mapping):
        return machine
    return replace(machine, **{name: fact[name][:40] for name in REMEMBERED if isinstance(fact.get(name), str)})


def heard(station: Station, modem: Modem, now: float) -> tuple[Station, tuple[Effect, ...]]:
    machine = station.machine
    known = replace(
        machine, modem_type=machine.modem_type if modem.kind is None else modem.kind, imei=modem.imei or machine.imei,
        iccid=modem.iccid or machine.iccid, imsi=imsi_of(modem, machine),
    )  # fmt: skip
    is_told = held(modem, station.modem_told)
    effects: list[Effect] = list(records(station, is_told, now))
    if known != machine:
        station = replace(station, machine=known)
        effects.append(Save(FACT, {name: getattr(known, name) for name in REMEMBERED}))
    return replace(station, modem=modem, modem_told=is_told), tuple(effects)


def imsi_of(modem: Modem, machine: Machine) -> str:
    """Another card's is not this one's."""
    if modem.imsi:
        return modem.imsi
    return "" if modem.iccid and modem.iccid != machine.iccid else machine.imsi


def did(station: Station, event: ModemDid, now: float) -> tuple[Station, tuple[Effect, ...]]:
    match event.what:
        case "sim" | "modem" if event.before:
            name = "ICCID" if event.what == "sim" else "IMEI"
            what = f"{event.before} -> {event.after}"
            return station, (said(station, name, what, f"modem-{event.what}-swapped", now),)
        case "action":
            return station, (said(station, "Recovery", event.after, f"modem-recovery-{event.before}", now),)
    return station, ()


def records(station: Station, is_told: frozenset[str], now: float) -> Iterator[Record]:
    """What has come or gone."""
    for code in sorted(station.modem_told ^ is_told):
        trouble = TROUBLES[code]
        more: dict[str, Any] = {"techInfo": f"{trouble.text} {trouble.fix}"} if code in is_told else {"cleared": True}
        name = f"modem-{code.lower().replace('_', '-')}"
        yield notify_event(station, Stream.STATUS, now, COMPONENT, "Problem", code, techCode=name, **more)


def said(station: Station, variable: str, actual: str, code: str, now: float) -> Record:
    return notify_event(station, Stream.STATUS, now, COMPONENT, variable, actual[:2_500], techCode=code)


def why_offline(modem: Modem) -> str:
    """The code of what people at the station can be told; "": nothing that would help them."""
    return next((code for code in troubles(modem) if code not in WEAK and TROUBLES[code].shown), "")


def line(machine: Machine, modem: Modem) -> str:
    """Type, operator, network and signal, as far as they are known; "" without a modem. Needs no language."""
    level = signal_dbm(modem)
    words = (
        machine.modem_type or modem.kind or "", modem.operator, modem.generation.upper(),
        "" if level is None else f"{level} dBm",
    )  # fmt: skip
    return ", ".join(word for word in words if word)


def bars(modem: Modem) -> int | None:
    """0 … 4, as telephones show it: by RSRP where it is told (LTE), else by RSSI; None: not known, or no modem."""
    if modem.rsrp_dbm is not None:
        return sum(modem.rsrp_dbm >= least for least in (-120, -110, -100, -90))
    if modem.rssi_dbm is not None:
        return sum(modem.rssi_dbm >= least for least in (-109, -99, -89, -77))
    return None


def signal_dbm(modem: Modem) -> int | None:
    return modem.rsrp_dbm if modem.rsrp_dbm is not None else modem.rssi_dbm
