"""What the station makes of its modem: what is remembered of it, what the cloud hears, what people should do. Pure.

How the modem is kept online is agent/modem's; here its state is a fact among others (`ModemTold`), and what is worth a
record goes out once: another modem or SIM, a warning that comes or goes, a state that needs somebody, what the recovery
does. The codes are in docs/uplink.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.effects import Effect, Record, Save, Stream
from agent.events import Machine, Modem, ModemDid
from agent.modem.modem import State
from agent.modem.told import Warn
from agent.reporting import notify_event
from agent.station import Station

COMPONENT = {"name": "Modem"}
FACT = "modem"  # what is remembered: the next start reports it before the modem has said a word
REMEMBERED = ("modem_type", "imei", "iccid", "imsi")
CONNECTED = (State.BEARER_UP, State.ONLINE)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody must do something about."""

    text: str  # for people, as in the catalogues
    fix: str


# A sentence for each warning, and for each state that is one: what is wrong, and what to do. Keys are the codes.
TROUBLES: dict[str, Trouble] = {
    "UPGRADE": Trouble("The modem is for 2G or 3G networks, which end.", "Have it replaced by one for LTE."),
    "REPLACE": Trouble("The modem is for 2G or 3G networks, which end.", "Replace the station."),
    "LTE_ON_3G": Trouble(
        "An LTE modem has been on 2G or 3G for a day.", "Look at the antenna, and ask the SIM's operator for LTE."
    ),
    "SIM_3G_ONLY": Trouble("LTE denies this SIM card.", "Ask its operator for one with LTE."),
    "PIN_MISSING": Trouble("The SIM card asks for a PIN.", "Put it into the file pin_file of [modem]."),
    "PIN_WRONG": Trouble("The SIM card's PIN is another.", "Correct it in the file pin_file of [modem]."),
    "PIN_UNSURE": Trouble("The SIM card has too few tries left.", "Unlock it in a telephone."),
    "PUK": Trouble("The SIM card asks for its PUK.", "Unlock it in a telephone, or replace it."),
    "LOCKED_TO": Trouble("Modem or SIM card is locked to another operator or device.", "Ask who sold it."),
    "DENIED": Trouble("The network denies this SIM card.", "Ask its operator whether it is active."),
    "ACCESS": Trouble("No access point is accepted.", "Put apn, and login_file if it has a name, into [modem]."),
    "SYSTEM": Trouble("This system cannot make the connection.", "Choose another bearer in [modem]."),
    "ROAMING": Trouble("Only a foreign network is here.", "Allow may_roam in [modem], or use another SIM card."),
    "BROKER": Trouble("The line carries, but the broker does not answer.", "Nothing is wrong with the modem."),
    "SIGNAL": Trouble("The signal is poor.", "Move or turn the antenna."),
    "SIM_MISSING": Trouble("There is no SIM card in the modem.", "Put one in, contacts down."),
    "SIM_FAILED": Trouble("The SIM card does not answer.", "Clean it and put it in again, or replace it."),
    "SEARCHING": Trouble("The modem finds no network.", "Look at the antenna and its cable."),
    "ABSENT": Trouble("The modem does not answer.", "Look at its cable and supply."),
}
assert TROUBLES.keys() >= Warn.__members__.keys()
OF_STATE = {
    State.SIM_MISSING: "SIM_MISSING", State.SIM_FAILED: "SIM_FAILED", State.SEARCHING: "SEARCHING",
    State.ABSENT: "ABSENT",
}  # fmt: skip
TOLD = frozenset(("SIM_MISSING", "SIM_FAILED"))  # states that are a record; others heal, or are told already


def troubles(modem: Modem) -> tuple[str, ...]:
    """Codes of TROUBLES, worst first: what keeps it from being connected before what only weakens it."""
    state = OF_STATE.get(State(modem.state)) if modem.state else None
    order = list(TROUBLES)
    found = sorted(modem.warnings, key=order.index)
    weak = {"UPGRADE", "REPLACE", "LTE_ON_3G", "SIM_3G_ONLY", "SIGNAL", "BROKER"}
    hard = [each for each in found if each not in weak]
    return (*hard, *((state,) if state and not hard else ()), *(each for each in found if each in weak))


def remembered(machine: Machine, fact: object) -> Machine:
    """What the last run knew of the modem."""
    if not isinstance(fact, Mapping):
        return machine
    return replace(machine, **{name: fact[name][:40] for name in REMEMBERED if isinstance(fact.get(name), str)})


def heard(station: Station, modem: Modem, now: float) -> tuple[Station, tuple[Effect, ...]]:
    before, machine = station.modem, station.machine
    known = replace(
        machine, modem_type=machine.modem_type if modem.kind is None else modem.kind, imei=modem.imei or machine.imei,
        iccid=modem.iccid or machine.iccid, imsi=imsi_of(modem, machine),
    )  # fmt: skip
    effects: list[Effect] = list(records(station, before, modem, now))
    if known != machine:
        station = replace(station, machine=known)
        effects.append(Save(FACT, {name: getattr(known, name) for name in REMEMBERED}))
    return replace(station, modem=modem), tuple(effects)


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


def records(station: Station, before: Modem, after: Modem, now: float) -> Iterator[Record]:
    """What has come or gone."""
    was, is_now = told_of(before), told_of(after)
    for code in sorted(was ^ is_now):
        trouble = TROUBLES[code]
        more: dict[str, Any] = {"techInfo": f"{trouble.text} {trouble.fix}"} if code in is_now else {"cleared": True}
        code_ = f"modem-{code.lower().replace('_', '-')}"
        yield notify_event(station, Stream.STATUS, now, COMPONENT, "Problem", code, techCode=code_, **more)


def told_of(modem: Modem) -> frozenset[str]:
    """That only the signal is poor, or the broker silent, is no word of its own: the health record has the one, and of
    the other nobody would hear."""
    state = OF_STATE.get(State(modem.state)) if modem.state else None
    return (frozenset(modem.warnings) - {"BROKER", "SIGNAL"}) | (TOLD & {state or ""})


def said(station: Station, variable: str, actual: str, code: str, now: float) -> Record:
    return notify_event(station, Stream.STATUS, now, COMPONENT, variable, actual[:2_500], techCode=code)


def bars(modem: Modem) -> int | None:
    """0 … 4, as telephones show it: by RSRP where it is told (LTE), else by RSSI; None: not known, or no modem."""
    if modem.rsrp_dbm is not None:
        return sum(modem.rsrp_dbm >= least for least in (-120, -110, -100, -90))
    if modem.rssi_dbm is not None:
        return sum(modem.rssi_dbm >= least for least in (-109, -99, -89, -77))
    return None


def signal_dbm(modem: Modem) -> int | None:
    return modem.rsrp_dbm if modem.rsrp_dbm is not None else modem.rssi_dbm
