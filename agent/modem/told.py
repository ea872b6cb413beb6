"""What is told of a modem: all that is known, what is new, and what stands in its way, for cloud, panel and people."""

from enum import StrEnum

from msgspec import Struct

from agent.modem import modem as facts
from agent.modem.kinds import Kind, Sunset
from agent.modem.modem import Signal, Sim, State
from agent.modem.recovery import Action, Trouble


class Warn(StrEnum):
    """What stands between this modem and a sound connection, for people."""

    UPGRADE = Sunset.UPGRADE.value
    REPLACE = Sunset.REPLACE.value
    LTE_ON_3G = "an LTE modem has been on 2G or 3G for a day: look at antenna, bands and SIM"
    SIM_3G_ONLY = "LTE denies this SIM, which 2G or 3G takes: ask its operator for one with LTE"
    PIN_MISSING = "the SIM asks for a PIN: type it into the config file"
    PIN_WRONG = "the SIM's PIN is another: correct it in the config file"
    PIN_UNSURE = "too few tries are left, or none are told: unlock the SIM in a telephone"
    PUK = "the SIM asks for its PUK: unlock it in a telephone, or replace it"
    LOCKED_TO = "modem or SIM is locked to another operator or device: ask who sold it"
    DENIED = "the network denies this SIM: ask its operator whether it is active"
    ACCESS = "no access point is accepted: type apn, and name and password if it has any"
    SYSTEM = "this system has no PPP: choose another bearer"
    ROAMING = "only a foreign network is here, and roaming is off"
    BROKER = "the line carries, but the broker does not answer: the modem is left alone"
    SIGNAL = "the signal is poor (RSRQ below -12.5 dB): move or turn the antenna"


class StateNews(Struct, frozen=True):
    before: State
    after: State
    skipped: int = 0  # changes between the two, of which nobody was told


class SimNews(Struct, frozen=True):
    before: str | None
    after: str


class ModemNews(Struct, frozen=True):
    before: str | None
    after: str


class KindNews(Struct, frozen=True):
    kind: Kind
    sunset: Sunset | None


class WarningNews(Struct, frozen=True):
    risen: frozenset[Warn]
    gone: frozenset[Warn]


class StartNews(Struct, frozen=True):
    """The modem has started by itself."""

    sign: str


class ActionNews(Struct, frozen=True):
    """An action of the ladder begins."""

    action: Action
    level: int


News = StateNews | SimNews | ModemNews | KindNews | WarningNews | StartNews | ActionNews


class Told(Struct, frozen=True):
    """All that is known, for cloud, panel and tools. What is not known is None."""

    state: State
    beneath: State  # without recovery
    since: float
    level: int | None  # of the action under way, or of the next one
    next_action_s: float | None  # from now
    manufacturer: str | None
    model: str | None
    revision: str | None
    imei: str | None
    kind: Kind | None
    sunset: Sunset | None
    sim: Sim
    iccid: str | None
    imsi: str | None
    operator: str | None
    mccmnc: str | None
    act: int | None
    generation: str | None
    is_roaming: bool
    registrations: dict[str, facts.Registration]
    signal: Signal
    is_signal_good: bool | None
    apn: str | None
    address: str | None
    warnings: frozenset[Warn]
    counts: dict[str, int]
    trouble: Trouble | None = None  # against which the ladder goes
    next_action: Action | None = None  # that of `next_action_s`; None: it only waits


def nothing(since: float) -> Told:
    """Of a modem that nobody has spoken of yet."""
    return Told(
        state=State.ABSENT, beneath=State.ABSENT, since=since, level=None, next_action_s=None, manufacturer=None,
        model=None, revision=None, imei=None, kind=None, sunset=None, sim=Sim.UNKNOWN, iccid=None, imsi=None,
        operator=None, mccmnc=None, act=None, generation=None, is_roaming=False, registrations={}, signal=Signal(),
        is_signal_good=None, apn=None, address=None, warnings=frozenset(), counts={},
    )  # fmt: skip
