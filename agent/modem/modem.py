"""What is known of one modem, its state, and what to ask it next. Pure; agent/modem/keeper.py puts it to work.

Facts are what the modem has said, and when; the state is derived. Nothing steers anything that was not said in a sure
answer (agent/modem/at.py), and identity counts when read twice alike. `now` is monotonic seconds.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct, structs

from agent.modem import kinds
from agent.modem.at import Answered
from agent.modem.fields import Fields
from agent.modem.kinds import Evidence
from agent.modem.parsers.sim import LOCKS as CODES
from agent.modem.reading import Piece
from agent.modem.signal_verdict import RSRQ_GOOD_DB

LOST_AFTER_S = 15.0  # registration comes and goes: so long a loss is none (ModemManager does the same)
SIM_AFTER_S = 20.0  # a SIM that is being read says odd things (Quectel's note)
SIM_BUSY_MAX_S = 600.0  # busy is only waiting, but not for ever
RSRP_HEARD_DBM = -130.0  # below it nothing can be said to be heard
RSSI_HEARD_DBM = -111.0
SIGNAL_FRESH_S = 900.0  # an older one says nothing of now
DATA = ("+CEREG", "+CGREG", "+C5GREG")  # whose registration carries data; that of +CREG need not (SIMs for data only)
HOME, SEARCHING, DENIED, ROAMING = 1, 2, 3, 5  # 27.007 7.2; 6..8 and 11 carry no data
HEARD = (DENIED, 6, 7, 8, 11)  # somebody is there, who will not have us
# 24.301 and 24.008 annex G: the network knows this SIM or modem and will not have it; asking again helps nobody.
PERMANENT_CAUSES = frozenset((2, 3, 5, 6, 7, 8, 14))


class State(StrEnum):
    ABSENT = "absent"
    PROBING = "probing"
    RADIO_OFF = "radio off"
    SIM_MISSING = "SIM missing"
    SIM_LOCKED = "SIM locked"
    SIM_FAILED = "SIM failed"
    SEARCHING = "searching"
    DENIED = "denied"
    REGISTERED = "registered"
    ATTACHED = "attached"
    BEARER_UP = "bearer up"
    ONLINE = "online"
    DEGRADED = "degraded"
    RECOVERING = "recovering"
    BACK_OFF = "back-off"


class Sim(StrEnum):
    UNKNOWN = "unknown"
    READY = "ready"
    BUSY = "busy"
    LOCKED = "locked"
    MISSING = "missing"
    FAILED = "failed"


class Bearer(StrEnum):
    DOWN = "down"
    RISING = "rising"
    UP = "up"


class Registration(Struct, frozen=True):
    """Of one domain (27.007 7.2)."""

    stat: int | None = None
    act: int | None = None
    lac: int | None = None
    ci: int | None = None
    cause: int | None = None  # of a rejection, if the network's own


class Signal(Struct, frozen=True):
    rssi_dbm: float | None = None
    rsrp_dbm: float | None = None
    rsrq_db: float | None = None
    at: float = float("-inf")

    @property
    def is_good(self) -> bool | None:
        """Whether the antenna's place will do; None where the modem does not tell RSRQ."""
        return None if self.rsrq_db is None else self.rsrq_db >= RSRQ_GOOD_DB


class Modem(Struct, frozen=True):
    """The facts. A start of the modem leaves only the port's."""

    opened_at: float | None = None  # the port; None: there is none
    gone_at: float = 0.0  # since then there is none
    is_found: bool = False  # it has answered
    hung_at: float | None = None
    is_known: bool = False  # everything has been asked once
    # identity
    manufacturer: str | None = None
    model: str | None = None
    revision: str | None = None
    imei: str | None = None  # or MEID or ESN, of CDMA
    imei_read: str | None = None  # once
    evidence: Evidence = Evidence()
    # radio and SIM
    fun: int | None = None
    sim: Sim = Sim.UNKNOWN
    sim_since: float = 0.0
    lock: str | None = None
    lock_read: str | None = None  # once: a word that 27.007 does not have
    retries: int | None = None  # of the code that is asked for
    iccid: str | None = None
    iccid_read: str | None = None
    imsi: str | None = None
    # network
    registrations: dict[str, Registration] = {}
    lost_at: float | None = None  # it was registered, and is not since
    unregistered_at: float = 0.0  # since then it has been without, seriously
    denied_at: float = float("-inf")  # last
    heard_at: float = float("-inf")  # since then a network is heard
    operator: str | None = None
    mccmnc: str | None = None
    cops_mode: int | None = None
    cops_act: int | None = None
    signal: Signal = Signal()
    is_attached: bool | None = None
    contexts: dict[int, str] = {}  # access point by cid
    bearer: Bearer = Bearer.DOWN
    bearer_at: float = 0.0  # since then
    address: str | None = None


# -- what follows from it ---------------------------------------------------------------------------------------------


def data_stats(modem: Modem) -> set[int | None]:
    return {modem.registrations[domain].stat for domain in DATA if domain in modem.registrations}


def is_in_service(modem: Modem) -> bool:
    """As said last, without patience. Old modems know no registration for data, but whether they are attached."""
    stats = data_stats(modem)
    return not {HOME, ROAMING}.isdisjoint(stats) if stats else modem.is_attached is True


def is_registered(modem: Modem, now: float) -> bool:
    """For data, in any domain. A loss counts when it has lasted."""
    return is_in_service(modem) or (modem.lost_at is not None and now < modem.lost_at + LOST_AFTER_S)


def is_roaming(modem: Modem) -> bool:
    return ROAMING in data_stats(modem) and HOME not in data_stats(modem)


def is_denied(modem: Modem) -> bool:
    return DENIED in data_stats(modem)


def is_denied_for_good(modem: Modem) -> bool:
    """Whether the causes say that another try helps; one that says nothing is not believed to help."""
    causes = {each.cause for domain, each in modem.registrations.items() if domain in DATA and each.stat == DENIED}
    return is_denied(modem) and (causes == {None} or not causes.isdisjoint(PERMANENT_CAUSES))


def has_coverage(modem: Modem, now: float) -> bool:
    """Whether any network is heard at all. Without one no reset helps."""
    if any(each.stat in (HOME, ROAMING, *HEARD) for each in modem.registrations.values()):
        return True
    signal = modem.signal
    if now > signal.at + SIGNAL_FRESH_S:
        return False
    if signal.rsrp_dbm is not None:
        return signal.rsrp_dbm >= RSRP_HEARD_DBM
    return signal.rssi_dbm is not None and signal.rssi_dbm >= RSSI_HEARD_DBM


def act(modem: Modem) -> int | None:
    """The radio in use: the data domains' word first."""
    for domain in ("+C5GREG", "+CEREG", "+CGREG", "+CREG"):
        found = modem.registrations.get(domain)
        if found and found.stat in (HOME, ROAMING) and found.act is not None:
            return found.act
    return modem.cops_act


def is_radio_off(modem: Modem) -> bool:
    return modem.fun in (0, 4)


def sim(modem: Modem, now: float) -> Sim:
    """With the radio off it says nothing of the SIM (Quectel's manual shows +CME ERROR: 13 for a sound one)."""
    if is_radio_off(modem):
        return Sim.UNKNOWN
    if modem.sim in (Sim.MISSING, Sim.FAILED) and now < modem.sim_since + SIM_AFTER_S:
        return Sim.BUSY
    if modem.sim is Sim.BUSY and now >= modem.sim_since + SIM_BUSY_MAX_S:
        return Sim.FAILED
    if modem.sim is Sim.UNKNOWN and is_registered(modem, now):
        return Sim.READY  # nobody has said so, but no network takes a modem without one
    return modem.sim


def state(modem: Modem, now: float) -> State:
    """Up to the bearer; what the broker says of it, and recovery, are the keeper's."""
    if modem.opened_at is None:
        return State.ABSENT
    if modem.bearer is Bearer.UP:
        return State.BEARER_UP
    if not modem.is_known or modem.hung_at is not None:
        return State.PROBING
    if is_radio_off(modem):
        return State.RADIO_OFF
    match sim(modem, now):
        case Sim.MISSING:
            return State.SIM_MISSING
        case Sim.LOCKED:
            return State.SIM_LOCKED
        case Sim.FAILED:
            return State.SIM_FAILED
    if is_registered(modem, now):
        return State.REGISTERED if modem.is_attached is False else State.ATTACHED
    return State.DENIED if is_denied(modem) else State.SEARCHING


def next_change(modem: Modem, now: float) -> float | None:
    """When patience ends, and the state may be another without a word of the modem."""
    times = [modem.sim_since + SIM_AFTER_S, modem.sim_since + SIM_BUSY_MAX_S]
    if modem.lost_at is not None:
        times.append(modem.lost_at + LOST_AFTER_S)
    return min((each for each in times if each > now), default=None)


# -- what happens -----------------------------------------------------------------------------------------------------


def opened(now: float) -> Modem:
    return Modem(opened_at=now, sim_since=now, unregistered_at=now, bearer_at=now)


def gone(now: float) -> Modem:
    return Modem(gone_at=now, unregistered_at=now, bearer_at=now)


def restarted(modem: Modem, now: float) -> Modem:
    """Nothing that was known holds any more, but that it is there, and when it was denied."""
    assert modem.opened_at is not None
    return Modem(
        opened_at=modem.opened_at, is_found=True, sim_since=now, unregistered_at=now, bearer_at=now,
        denied_at=modem.denied_at,
    )  # fmt: skip


def without_sim(modem: Modem, now: float) -> Modem:
    """Another card, or none: all that came from it is gone."""
    return structs.replace(
        modem, iccid=None, iccid_read=None, imsi=None, registrations={}, operator=None, mccmnc=None, contexts={},
        lost_at=None, unregistered_at=now, is_attached=None, retries=None, cops_mode=None, cops_act=None,
    )  # fmt: skip


def answered(modem: Modem, answer: Answered, now: float) -> Modem:
    """A sure answer; others change nothing."""
    if not answer.is_sure or answer.final is None:
        return modem if answer.final is None else structs.replace(modem, imei_read=None, iccid_read=None)
    command = answer.command.upper()
    modem = questioned(modem, answer, command)
    if command == "AT+CPIN?":
        return sim_told(modem, lock=answer.get("lock"), error=answer.error, now=now)
    if not answer.is_ok:
        return modem
    if command == "AT+CGDCONT?":
        modem = structs.replace(modem, contexts={})
    for line in answer.lines:
        modem = told(modem, line, command, now)
    return modem


def questioned(modem: Modem, answer: Answered, command: str) -> Modem:
    """What it says of the modem's kind that it can answer this, or cannot."""
    evidence, is_ok = modem.evidence, answer.is_ok
    if command not in kinds.QUESTIONS:
        return modem
    evidence = kinds.asked(evidence, command)
    if command == "AT+CEREG=?" and is_ok and answer.lines:
        evidence = kinds.with_signs(evidence, lte="it answers AT+CEREG=?")
    if command == "AT+WS46=?" and is_ok:
        sets = answer.get("mode_sets")
        is_alone = answer.get("codes") == [25]  # of old modems 2G and 3G
        if isinstance(sets, list) and not is_alone and any("4g" in each or "5g" in each for each in sets):
            evidence = kinds.with_signs(evidence, lte="AT+WS46=?", gsm="AT+WS46=?")
    return structs.replace(modem, evidence=evidence)


def listened(before: Modem, modem: Modem, now: float) -> Modem:
    """Whether a network is heard by now, and was not."""
    return structs.replace(modem, heard_at=now) if has_coverage(modem, now) and not has_coverage(before, now) else modem


def heard(modem: Modem, piece: Piece, now: float) -> Modem:
    """A URC. Identity is never taken from one."""
    fields = piece.fields
    if piece.prefix in ("+CREG", *DATA):
        return registered(modem, piece.prefix, fields, now)
    if piece.prefix in ("+CSQ", "+CESQ", "^RSSI", "^HCSQ", "%CESQ"):
        return signalled(modem, fields, now)
    return modem


def told(modem: Modem, line: Piece, command: str, now: float) -> Modem:
    """One line of a sure answer that ended well."""
    fields, prefix = line.fields, line.prefix
    if prefix in ("+CREG", *DATA) and command.endswith("?") and not command.endswith("=?"):
        return registered(modem, prefix, fields, now)
    if {"rsrp_dbm", "rssi_dbm"} & fields.keys():
        modem = signalled(modem, fields, now)
    if prefix == "+COPS":
        return operated(modem, fields)
    if isinstance(cid := fields.get("cid"), int) and prefix == "+CGDCONT":
        return structs.replace(modem, contexts={**modem.contexts, cid: str(fields.get("apn") or "")})
    if "attached" in fields:
        was = is_registered(modem, now)
        return in_service(structs.replace(modem, is_attached=fields["attached"]), was, now)
    if "fun" in fields:
        return powered(modem, fields["fun"], now)
    if "iccid" in fields and fields.get("valid"):
        return read_iccid(modem, str(fields["iccid"]))
    if fields.get("valid") and (serial := fields.get("imei") or fields.get("meid") or fields.get("esn")):
        return read_imei(modem, str(serial), is_cdma=fields.get("imei") is None)
    if isinstance(tries := fields.get("retries"), dict):
        return structs.replace(modem, retries=tries.get(modem.lock, modem.retries))
    if "imsi" in fields:
        return structs.replace(modem, imsi=fields["imsi"] or modem.imsi)
    if "capabilities" in fields or command == "ATI":
        said = fields.get("capabilities") or [line.text]
        if isinstance(said, list):
            modem = structs.replace(modem, evidence=kinds.from_capabilities(modem.evidence, said, command))
    return named(modem, fields)


def named(modem: Modem, fields: Fields) -> Modem:
    known = {key: str(fields[key]) for key in ("manufacturer", "model", "revision") if fields.get(key)}
    if not known:
        return modem
    modem = structs.replace(modem, **known)
    if "model" in known and kinds.is_lte_model(modem.model):
        evidence = kinds.with_signs(modem.evidence, lte=f"its model {modem.model}", gsm="model")
        return structs.replace(modem, evidence=evidence)
    return modem


def registered(modem: Modem, domain: str, fields: Fields, now: float) -> Modem:
    stat, technology = fields.get("stat"), fields.get("act")
    if not isinstance(stat, int):
        return modem
    is_network_cause = fields.get("cause_type") in (0, None)
    each = Registration(
        stat, whole(technology), whole(fields.get("lac")), whole(fields.get("ci")),
        whole(fields.get("reject_cause")) if is_network_cause else None,
    )  # fmt: skip
    known = modem.registrations.get(domain)
    if known and known.stat == stat and each.act is None:  # a short form says less, not something else
        each = structs.replace(known, cause=each.cause or known.cause)
    was, before = is_in_service(modem), modem
    modem = structs.replace(modem, registrations={**modem.registrations, domain: each})
    if stat == DENIED and domain in DATA:
        modem = structs.replace(modem, denied_at=now)
    if kinds.is_newer(each.act) and stat in (HOME, ROAMING):
        modem = structs.replace(modem, evidence=kinds.with_signs(modem.evidence, lte="seen on LTE", gsm="seen on LTE"))
    return in_service(modem, was or is_registered(before, now), now)


def in_service(modem: Modem, was: bool, now: float) -> Modem:
    """`was`: just before. When a loss counts, it counts from its beginning."""
    if is_in_service(modem):
        return structs.replace(modem, lost_at=None)
    if was and modem.lost_at is None:
        return structs.replace(modem, lost_at=now, unregistered_at=now)
    return modem


def operated(modem: Modem, fields: Fields) -> Modem:
    if "networks" in fields:
        return modem
    mode = whole(fields.get("mode"))
    if fields.get("operator") is None:
        return structs.replace(modem, cops_mode=mode, operator=None, mccmnc=None, cops_act=None)
    technology = whole(fields.get("act"))
    modem = structs.replace(modem, cops_mode=mode, cops_act=technology)
    if kinds.is_newer(technology):
        modem = structs.replace(modem, evidence=kinds.with_signs(modem.evidence, lte="seen on LTE", gsm="seen on LTE"))
    if fields.get("format") == 2:
        return structs.replace(modem, mccmnc=fields.get("mccmnc") or modem.mccmnc)
    return structs.replace(modem, operator=str(fields["operator"]))


def signalled(modem: Modem, fields: Fields, now: float) -> Modem:
    """Of +CSQ and +CESQ each tells a part. What a line says to be unknown is; what it does not speak of stays."""
    old = modem.signal if now <= modem.signal.at + SIGNAL_FRESH_S else Signal()
    values: dict[str, Any] = {
        key: real(fields[key]) if key in fields else getattr(old, key) for key in ("rssi_dbm", "rsrp_dbm", "rsrq_db")
    }
    if "rsrp_dbm" in fields and values["rssi_dbm"] is None:  # +CESQ on LTE has no RSSI, +CSQ has
        values["rssi_dbm"] = old.rssi_dbm if values["rsrp_dbm"] is not None else None
    if all(each is None for each in values.values()):
        return structs.replace(modem, signal=Signal(at=now))
    return structs.replace(modem, signal=Signal(**values, at=now))


def powered(modem: Modem, fun: object, now: float) -> Modem:
    if not isinstance(fun, int) or fun == modem.fun:
        return modem
    off = fun in (0, 4)
    modem = structs.replace(modem, fun=fun, sim_since=now, sim=Sim.UNKNOWN if off else modem.sim)
    return detached(modem, now) if off else modem


def detached(modem: Modem, now: float) -> Modem:
    """By us: what was said of registration before holds no more."""
    return structs.replace(modem, registrations={}, is_attached=None, unregistered_at=now, lost_at=None, cops_mode=None)


LOCKS = {"READY": Sim.READY, "NOT READY": Sim.FAILED, "NOT INSERTED": Sim.MISSING, "BLOCKED": Sim.FAILED}
ERRORS = {10: Sim.MISSING, 11: Sim.LOCKED, 12: Sim.LOCKED, 14: Sim.BUSY, 5: Sim.LOCKED}


def sim_told(modem: Modem, lock: object, error: int | str | None, now: float) -> Modem:
    """What AT+CPIN? has brought."""
    if is_radio_off(modem):
        return modem
    if error is not None:
        found = ERRORS.get(error, Sim.FAILED) if isinstance(error, int) else Sim.FAILED
        lock = {11: "SIM PIN", 12: "SIM PUK"}.get(error) if isinstance(error, int) else None
    elif isinstance(lock, str) and lock not in CODES and lock != modem.lock_read:
        return structs.replace(modem, lock_read=lock)  # a word that nobody knows counts when it is read twice: noise
    elif isinstance(lock, str):
        found = LOCKS.get(lock, Sim.LOCKED)
    else:
        return modem
    before = modem.sim
    bad = (Sim.MISSING, Sim.FAILED)
    since = modem.sim_since if found is before or (found in bad and before in bad) else now
    modem = structs.replace(modem, sim=found, lock=str(lock) if lock else None, sim_since=since)
    if sim(modem, now) is Sim.MISSING and modem.iccid is not None:
        return without_sim(modem, now)
    return modem


def read_iccid(modem: Modem, iccid: str) -> Modem:
    """Counts when read twice alike."""
    if iccid == modem.iccid_read:
        return structs.replace(modem, iccid=iccid)
    return structs.replace(modem, iccid_read=iccid)


def read_imei(modem: Modem, imei: str, is_cdma: bool) -> Modem:
    if imei != modem.imei_read:
        return structs.replace(modem, imei_read=imei)
    sign = {"cdma": "its serial number"} if is_cdma else {"gsm": "its IMEI"}
    return structs.replace(modem, imei=imei, evidence=kinds.with_signs(modem.evidence, **sign))


def bearer_changed(modem: Modem, bearer: Bearer, address: str | None, now: float) -> Modem:
    return structs.replace(modem, bearer=bearer, bearer_at=now, address=address)


def whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
