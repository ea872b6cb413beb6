"""What is told of the modem on one screen: `station-agent modem status`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec

from agent.modem import apn, signal_verdict
from agent.modem.apn import Table
from agent.modem.told import Told
from agent.modem.watching import of_signal
from agent.policy.id_token import masked

ACTIONS_MAX = 8  # of the ladder's last ones that are shown
WIDTH = 13  # of the labels


class Extra(msgspec.Struct, frozen=True):
    """What the keeper does not tell."""

    is_acknowledged: bool = False  # the broker answers us
    access: str | None = None  # the config file's access point; None: it has none
    known: Table = {}
    providers: Table = {}
    interface: str = ""
    actions: tuple[tuple[float, str], ...] = ()  # when, which; the newest last
    used: Mapping[str, int] = {}  # bytes of this month, by what they are counted for
    session_b: int = 0  # bytes of the bearer that is up


def status_of(told: Told, extra: Extra, now: float) -> dict[str, Any]:
    """In JSON form; times are ages in seconds, ids are masked, what is not known is null."""
    levels = of_signal(told.signal)
    judged = signal_verdict.judged(levels)
    return {
        "state": str(told.state),
        "beneath": str(told.beneath),
        "since_s": round(now - told.since),
        "acknowledged": extra.is_acknowledged,
        "manufacturer": told.manufacturer,
        "model": told.model,
        "revision": told.revision,
        "type": None if told.kind is None else str(told.kind),
        "sunset": told.sunset and str(told.sunset),
        "imei": told.imei and masked(told.imei),
        "sim": str(told.sim),
        "iccid": told.iccid and masked(told.iccid),
        "operator": told.operator,
        "mccmnc": told.mccmnc,
        "generation": told.generation,
        "roaming": told.is_roaming,
        "registrations": {name: each.stat for name, each in sorted(told.registrations.items())},
        "apn": told.apn,
        "apn_by": None if told.apn is None else origin(told, extra),
        "address": told.address,
        "interface": extra.interface or None,
        "rssi_dbm": levels.rssi_dbm,
        "rsrp_dbm": levels.rsrp_dbm,
        "rsrq_db": levels.rsrq_db,
        "signal_age_s": round(now - told.signal.at) if isfinite(told.signal.at) else None,
        "verdict": str(judged.verdict),
        "verdict_by": judged.by,
        "actions": [[round(now - at), what] for at, what in extra.actions[-ACTIONS_MAX:]],
        "counts": dict(sorted(told.counts.items())),
        "level": told.level,
        "trouble": told.trouble and str(told.trouble),
        "next_action": told.next_action and str(told.next_action),
        "next_action_s": None if told.next_action_s is None else round(told.next_action_s),
        "warnings": sorted(str(warning) for warning in told.warnings),
        "used_b": dict(extra.used),
        "session_b": extra.session_b,
    }


def origin(told: Told, extra: Extra) -> str:
    """Who has named the access point in use."""
    if extra.access is not None:
        return "the config file"
    if not told.apn:
        return "the network's own"
    if any(apn.same(each.apn, told.apn) for each in apn.by_sim(extra.known, told.iccid, told.imsi)):
        return "known for this SIM"
    if any(apn.same(each.apn, told.apn) for each in apn.by_network(extra.providers, told.imsi)):
        return "Debian's list for the SIM's network"
    return "the modem had it"


# -- as text ----------------------------------------------------------------------------------------------------------


def as_text(status: Mapping[str, Any]) -> str:
    return "\n".join(f"{label:{WIDTH}} {text}" for label, text in lines(status))


def lines(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    beneath = "" if status["beneath"] == status["state"] else f" ({status['beneath']})"
    yield "state", f"{status['state']}{beneath} for {age(status['since_s'])}"
    yield "broker", "answers" if status["acknowledged"] else "silent"
    name = " ".join(filter(None, (status["manufacturer"], status["model"]))) or "not known yet"
    yield "modem", name + (f", {status['revision']}" if status["revision"] else "")
    yield "type", (status["type"] or "not known yet") + (f": {status['sunset']}" if status["sunset"] else "")
    yield "IMEI", status["imei"] or "-"
    yield "SIM", f"{status['sim']}, ICCID {status['iccid'] or '-'}"
    where = [status["operator"], status["mccmnc"] and f"({status['mccmnc']})", status["generation"]]
    yield "network", " ".join(filter(None, where)) + (", roaming" if status["roaming"] else "") or "-"
    yield "registered", ", ".join(f"{name} {stat}" for name, stat in status["registrations"].items()) or "-"
    access = "-" if status["apn"] is None else f"{status['apn'] or 'none'} ({status['apn_by']})"
    yield "access point", access
    yield "bearer", " on ".join(filter(None, (status["address"], status["interface"]))) or "-"
    yield "signal", signal_line(status)
    yield "actions", actions_line(status["actions"])
    yield "next", next_line(status)
    used = ", ".join(f"{cause} {megabytes(size_b)}" for cause, size_b in status["used_b"].items())
    yield "data used", f"{used or 'nothing'} this month, {megabytes(status['session_b'])} in this connection"
    for warning in status["warnings"]:
        yield "warning", warning


def signal_line(status: Mapping[str, Any]) -> str:
    levels = signal_verdict.Levels(status["rssi_dbm"], status["rsrp_dbm"], status["rsrq_db"])
    if status["signal_age_s"] is None:
        return "not known yet"
    return f"{signal_verdict.text(levels)}: {status['verdict']}, {age(status['signal_age_s'])} ago"


def actions_line(actions: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"{what} {age(age_s)} ago" for age_s, what in reversed(actions)) or "none"


def next_line(status: Mapping[str, Any]) -> str:
    if status["state"] == "recovering":
        return f"an action of level {status['level']} is under way"
    if status["next_action_s"] is None:
        return "nothing to do"
    what = status["next_action"] or "another try"
    return f"{what} in {age(status['next_action_s'])}" + (f": {status['trouble']}" if status["trouble"] else "")


def age(seconds: float) -> str:
    """90 s, 12 min, 5 h, 3 d."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3_600, 48)):
        if seconds < size * most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def megabytes(size_b: int) -> str:
    return f"{size_b / 1_000_000:.1f} MB"
