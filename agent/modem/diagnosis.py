"""Why there is no connection, or that there is one: a single cause, with what shows it and what to do next. Pure.

CAUSES is the decision: the first row that holds. It goes up the line from the port to the broker, since nothing above
a fault says anything. What a row asks of the facts beyond the modem (names, connections, TLS, clock) is tried by who
asks, and only when the broker is silent. `docs/modem.md` has the same table; a test keeps them equal.
"""

from collections.abc import Callable

from msgspec import Struct

from agent.modem import signal_verdict
from agent.modem.kinds import Kind
from agent.modem.modem import RSRP_HEARD_DBM, RSSI_HEARD_DBM, Signal, Sim, State
from agent.modem.signal_verdict import Verdict
from agent.modem.told import Told, Warn
from agent.modem.watching import of_signal

UP = (State.BEARER_UP, State.ONLINE, State.DEGRADED)
HAS_CARD = (Sim.READY, Sim.UNKNOWN)


class Reach(Struct, frozen=True):
    """What was tried from this station; None: it was not. Of texts, "" is well, and else it says what is wrong."""

    dns: str | None = None  # the broker's name
    tcp: str | None = None
    tls: str | None = None
    broker: str | None = None  # whether it takes us
    clock: str | None = None  # the system's


class Facts(Struct, frozen=True):
    """All that a cause is found by."""

    told: Told
    is_acknowledged: bool = False  # the broker answers us, over whatever line
    reach: Reach = Reach()


class Found(Struct, frozen=True):
    cause: str
    evidence: str
    next: str  # what to do; "" where all is well

    @property
    def is_well(self) -> bool:
        return not self.next


class Row(Struct, frozen=True):
    """`holds` gives the evidence, "" if it is not this. `looks_at` is for the docs."""

    cause: str
    looks_at: str
    next: str
    holds: Callable[[Facts], str]


def found(facts: Facts) -> Found:
    for row in CAUSES:
        if evidence := row.holds(facts):
            return Found(row.cause, evidence, row.next)
    raise AssertionError("the last row holds always")


# -- the port and the module ------------------------------------------------------------------------------------------


def when(is_so: bool, evidence: str) -> str:
    return evidence if is_so else ""


def no_port(facts: Facts) -> str:
    return when(facts.told.beneath is State.ABSENT, "the modem's port is not there, or another program has it")


def hangs(facts: Facts) -> str:
    hung = facts.told.counts.get("hung", 0)
    return when(facts.told.beneath is State.PROBING and hung > 0, f"three bare ATs were not answered ({hung} times)")


def starts(facts: Facts) -> str:
    return when(facts.told.beneath is State.PROBING, "it is being asked who it is")


def radio_off(facts: Facts) -> str:
    return when(facts.told.beneath is State.RADIO_OFF, "AT+CFUN? says 0 or 4")


# -- the SIM ----------------------------------------------------------------------------------------------------------


def no_sim(facts: Facts) -> str:
    return when(facts.told.beneath is State.SIM_MISSING, "the modem says that there is no SIM")


def locked(*warnings: Warn) -> Callable[[Facts], str]:
    """By the keeper's warning."""

    def holds(facts: Facts) -> str:
        said = [warning for warning in facts.told.warnings if warning in warnings]
        return str(said[0].value).partition(":")[0] if said and facts.told.beneath is State.SIM_LOCKED else ""

    return holds


def pin(facts: Facts) -> str:
    return locked(Warn.PIN_MISSING, Warn.PIN_WRONG, Warn.PIN_UNSURE)(facts) or when(
        facts.told.beneath is State.SIM_LOCKED and not locked(Warn.PUK, Warn.LOCKED_TO)(facts), "the SIM is locked"
    )


def sim_dead(facts: Facts) -> str:
    return when(facts.told.beneath is State.SIM_FAILED, "there is a SIM, and it does not answer the modem")


# -- the network ------------------------------------------------------------------------------------------------------


def stats(facts: Facts) -> str:
    """+CEREG 2, +CGREG 0"""
    known = facts.told.registrations.items()
    return ", ".join(f"{domain} {each.stat}" for domain, each in sorted(known)) or "no registration was told"


def is_seeking(facts: Facts) -> bool:
    return facts.told.beneath is State.SEARCHING


def is_heard(signal: Signal) -> bool:
    if signal.rsrp_dbm is not None:
        return signal.rsrp_dbm >= RSRP_HEARD_DBM
    return signal.rssi_dbm is not None and signal.rssi_dbm >= RSSI_HEARD_DBM


def denied(facts: Facts) -> str:
    if facts.told.beneath is not State.DENIED:
        return ""
    causes = sorted({each.cause for each in facts.told.registrations.values() if each.cause is not None})
    return f"{stats(facts)}; the network's cause: {', '.join(map(str, causes)) or 'not told'}"


def sunset(facts: Facts) -> str:
    is_old = facts.told.kind in (Kind.GSM, Kind.CDMA)
    return when(is_seeking(facts) and is_old and not is_heard(facts.told.signal), f"{facts.told.kind}; {stats(facts)}")


def no_signal(facts: Facts) -> str:
    return when(is_seeking(facts) and not is_heard(facts.told.signal), f"{stats(facts)}; nothing is heard")


def not_registered(facts: Facts) -> str:
    return when(is_seeking(facts), f"{stats(facts)}; {signal_verdict.text(of_signal(facts.told.signal))}")


def no_roaming(facts: Facts) -> str:
    where = facts.told.mccmnc or "a foreign network"
    return when(Warn.ROAMING in facts.told.warnings, f"registered with {where}, and may_roam is off")


# -- the bearer -------------------------------------------------------------------------------------------------------


def is_down(facts: Facts) -> bool:
    return facts.told.beneath in (State.REGISTERED, State.ATTACHED)


def wrong_apn(facts: Facts) -> str:
    is_so = Warn.ACCESS in facts.told.warnings and is_down(facts)
    return when(is_so, "the network has refused every access point that was tried")


def no_ppp(facts: Facts) -> str:
    return when(Warn.SYSTEM in facts.told.warnings and is_down(facts), "this system has no PPP")


def no_bearer(facts: Facts) -> str:
    return when(is_down(facts), f"registered, {stats(facts)}; no connection has come up")


# -- above the bearer -------------------------------------------------------------------------------------------------


def is_silent(facts: Facts) -> bool:
    return facts.told.beneath in UP and not facts.is_acknowledged


def clock(facts: Facts) -> str:
    """A wrong clock is what TLS complains of: it comes before."""
    return facts.reach.clock or "" if is_silent(facts) and facts.reach.tls != "" else ""


def beyond(what: str) -> Callable[[Facts], str]:
    def holds(facts: Facts) -> str:
        return getattr(facts.reach, what) or "" if is_silent(facts) else ""

    return holds


def unacknowledged(facts: Facts) -> str:
    return when(is_silent(facts), f"the bearer is up ({facts.told.address or 'no address told'}), the broker is silent")


# -- it works ---------------------------------------------------------------------------------------------------------


def on_3g(facts: Facts) -> str:
    told = facts.told
    is_so = told.kind is Kind.LTE and told.generation in ("2g", "3g") and told.beneath in UP
    return when(is_so, f"a modem for LTE is on {told.generation}")


def poor(facts: Facts) -> str:
    judged = signal_verdict.judged(of_signal(facts.told.signal))
    is_so = judged.verdict in (Verdict.WEAK, Verdict.UNUSABLE) and facts.told.beneath in UP
    return when(is_so, f"{judged.by} is {judged.verdict}")


def well(facts: Facts) -> str:
    told = facts.told
    where = [told.operator or told.mccmnc, told.generation] if told.beneath in UP else ["over another line"]
    known = [*filter(None, where), signal_verdict.text(of_signal(told.signal))]
    return f"the broker answers ({', '.join(known)})"


CAUSES: tuple[Row, ...] = (
    Row("no port", "no port, or it is not ours",
        "look at plug and supply of the modem, and at [modem] port; a program that is named has it: end that one",
        no_port),
    Row("it hangs", "bare ATs without an answer",
        "wait for the ladder, which restarts it; if that does not help, cut the station's supply for 2 min",
        hangs),
    Row("it is starting", "not everything has been asked yet", "wait a minute, then ask again", starts),
    Row("radio off", "AT+CFUN?", "wait: it is switched on; if it stays so, type station-agent modem at AT+CFUN?",
        radio_off),
    Row("no SIM", "AT+CPIN?, for 20 s", "put a SIM in, with its contacts to the modem's", no_sim),
    Row("the SIM wants its PUK", "AT+CPIN?", "unlock it in a telephone with the PUK of its letter, or replace it",
        locked(Warn.PUK)),
    Row("SIM or modem is locked to another operator", "AT+CPIN?", "ask who sold it, or replace it",
        locked(Warn.LOCKED_TO)),
    Row("the SIM wants its PIN", "AT+CPIN?, tries left, the config file",
        "put the right one into [modem] pin_file; with fewer than two tries left, unlock it in a telephone first", pin),
    Row("the SIM is dead", "AT+CPIN? with AT+CFUN? 1, for 20 s", "clean its contacts, then replace it", sim_dead),
    Row("the network denies this SIM", "AT+CEREG? and its sisters say 3",
        "ask the SIM's operator whether it is active, and for which networks", denied),
    Row("no 3G is left here", "type GSM or CDMA, and nothing is heard",
        "have the modem replaced by one for LTE", sunset),
    Row("no signal", "no registration, +CSQ and +CESQ without a level",
        "look at the antenna's plug; type station-agent modem watch and move the antenna", no_signal),
    Row("not registered", "a level, but no registration",
        "wait 15 min; then look whether the SIM's operator has a network here: type station-agent modem watch",
        not_registered),
    Row("only a foreign network", "registered as a guest, and roaming is off",
        "set [modem] may_roam = true if the contract has it", no_roaming),
    Row("wrong access point", "every candidate was refused",
        "type apn, and login_file if it has any, of the SIM's operator into [modem]", wrong_apn),
    Row("no PPP in this system", "pppd's exit code", "choose another bearer under [modem]", no_ppp),
    Row("no connection comes up", "registered, and the call ends",
        "wait for the ladder; if it stays so, ask the SIM's operator whether data is included", no_bearer),
    Row("the clock is wrong", "the system's clock, before TLS", "type timedatectl set-ntp true, or set the time",
        clock),
    Row("no names (DNS)", "the broker's name, over the bearer",
        "compare [broker] host; an IoT access point may answer its own names only: ask its operator", beyond("dns")),
    Row("no way to the broker (TCP)", "a connection to the broker's port",
        "compare [broker] port; ask the SIM's operator for a firewall", beyond("tcp")),
    Row("no TLS", "the handshake", "compare [broker] ca and host with the broker's certificate", beyond("tls")),
    Row("the broker refuses us", "what it says after the handshake",
        "type station-agent doctor: it looks at our certificate", beyond("broker")),
    Row("the broker is silent", "all of it works, and nothing is acknowledged",
        "wait for the next try, five minutes at most; then look into the broker's log", unacknowledged),
    Row("on 3G", "a modem for LTE on an older network",
        "turn the antenna (station-agent modem watch); ask whether the SIM's contract has LTE", on_3g),
    Row("poor signal", "the verdict on the signal", "type station-agent modem watch and turn the antenna", poor),
    Row("all is well", "the broker acknowledges us", "", well),
)
