"""What the screen and the lights show, derived from the station's facts: pure, nothing stored, the page only draws it.

Each port is in exactly one `Situation`, found by one walk (`situation`). SHOWN has the words and the light for each, so
that words and light cannot disagree. What concerns a tap is a `NoticeModel`, and stands before the situation for its
few seconds (S6, S7).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil

import msgspec

from agent import __version__
from agent.clock import wall
from agent.events import Link, SelfTest
from agent.faults import FAULTS, Cure, Fault, Latch
from agent.policy.freshness import NAMES, WARNING_S, age, age_s, follows, freshness
from agent.policy.reasons import WORDS, Led, Reason
from agent.policy.sharing import CURRENT_MIN_MA
from agent.port import (
    Port,
    Status,
    derated_ma,
    faults,
    is_capped,
    is_plugged,
    is_ready,
    operative,
    status,
)
from agent.selftest import PartResult, Result, results, worst
from agent.station import Stage, Station, charging_state, targets_ma
from agent.transaction import ChargingState, StoppedReason, Transaction
from agent.ui.led import Light

# -- the model --------------------------------------------------------------------------------------------------------


class Tone(StrEnum):
    """How a thing is drawn: each has its own colour, glyph and border, so that none depends on colour alone."""

    FREE, CHARGING, WAIT, FAULT = "free", "charging", "wait", "fault"


class NoticeModel(msgspec.Struct, frozen=True):
    """What is said to the driver who has just tapped a card."""

    tone: Tone
    led: Light
    title: str
    text: str
    action: str
    code: str = ""  # log code, the same in the log and on the wire; "" where there is nothing to look up


class FaultModel(msgspec.Struct, frozen=True):
    fault: Fault
    text: str  # for the driver
    fix: str  # for the installer or the owner
    mrec: str | None  # ChargeX MREC


class TotalModel(msgspec.Struct, frozen=True):
    """The last session that ended at a port, as it was recorded."""

    energy_wh: int
    elapsed_s: int | None
    text: str  # why it ended


class PortModel(msgspec.Struct, frozen=True):
    evse_id: int
    status: Status
    charging_state: ChargingState
    tone: Tone
    led: Light
    title: str
    text: str
    action: str
    ready: bool  # the installer's green check mark
    self_test: Result  # of the worst of its parts
    faults: tuple[FaultModel, ...]
    retry_in_s: int  # until the ground-fault retry; 0 = none
    power_w: int
    offer_a: float  # in force
    energy_wh: int | None  # of the running session; None without one
    elapsed_s: int | None  # of the running session; None without one, or while nobody can tell
    last: TotalModel | None
    notice: NoticeModel | None


class ScreenModel(msgspec.Struct, frozen=True):
    serial: str
    owner: str
    software: str
    support_number: str
    headline: str
    who: str  # may charge now
    ways: tuple[str, ...]  # to start
    link: Link
    link_text: str
    list_version: int
    list_age_s: int | None  # since the cloud last said that the list is current; None while nobody can tell
    list_late: bool  # older than S5's warning
    list_text: str
    store_ok: bool
    store_text: str
    ready: bool  # nothing here keeps the installer
    self_test: tuple[PartResult, ...]  # of every part, at this power-on
    ports: tuple[PortModel, ...]
    notice: NoticeModel | None  # for a driver whose port is not known


def screen(station: Station, now: float) -> ScreenModel:
    """Everything there is to see at `now` (monotonic seconds)."""
    said = station_notice(station, now)
    age_s, tested = list_age_s(station, now), results(station, now)
    return ScreenModel(
        serial=station.settings.station_id,
        owner=station.settings.owner,
        software=__version__,
        support_number=station.settings.support_number,
        headline=headline(station),
        who=who(station),
        ways=ways(station),
        link=station.link,
        link_text=LINKS[station.link],
        list_version=station.allowlist.version,
        list_age_s=age_s,
        list_late=age_s is not None and age_s >= WARNING_S,
        list_text=list_text(station, age_s),
        store_ok=station.store_ok,
        store_text="Sessions are recorded." if station.store_ok else WORDS[Reason.CANNOT_RECORD].text,
        ready=station.store_ok and all(is_fit(p) for p in station.ports),
        self_test=tested,
        ports=tuple(port_model(station, p, said, tested, now) for p in station.ports),
        notice=said,
    )


def port_model(
    station: Station, port: Port, said: NoticeModel | None, tested: tuple[PartResult, ...], now: float
) -> PortModel:
    """`said` is what the station says to a driver whose port is not known: the ports that could be his light up."""
    at, report, tx = situation(station, port), port.report, port.transaction
    shown = SHOWN[at]
    text, action = filled(station, port, at, now)
    notice = port_notice(station, port, now)
    spoken = notice or (said if port in spoken_to(station) else None)
    return PortModel(
        evse_id=port.evse_id,
        status=status(port),
        charging_state=charging_state(station, port),
        tone=shown.tone,
        led=spoken.led if spoken else shown.light,
        title=shown.title,
        text=text,
        action=action,
        ready=is_fit(port),
        self_test=worst(part.result for part in tested if part.evse_id == port.evse_id),
        faults=tuple(FaultModel(f, FAULTS[f].text, FAULTS[f].fix, FAULTS[f].mrec) for f in worst_first(port)),
        retry_in_s=report.retry_in_s if report else 0,
        power_w=report.power_w if report else 0,
        offer_a=(report.offer_ma if report else 0) / 1000,
        energy_wh=energy_wh(port, tx) if tx else None,
        elapsed_s=elapsed_s(station, tx, now, wall(station.clock, now)) if tx else None,
        last=total(station, port.finished) if port.finished else None,
        notice=notice,
    )


# -- where a port stands ----------------------------------------------------------------------------------------------


class Situation(StrEnum):
    STARTING = "starting"
    SELF_TEST = "self-test"
    SELF_TEST_FAILED = "self-test failed"
    FAULT = "fault"
    FAULT_WAITS = "fault waits"
    OUT_OF_SERVICE = "out of service"
    NOT_ACTIVATED = "not activated"
    CANNOT_RECORD = "cannot record"
    AVAILABLE = "available"
    PLUG_IN = "plug in"
    TAP_CARD = "tap card"
    BEGINNING = "beginning"
    INTERRUPTED = "interrupted"
    HELD = "held"
    WAITS_FOR_CAR = "waits for car"
    WAITS_FOR_POWER = "waits for power"
    CHARGING = "charging"
    NO_CURRENT = "no current"
    PAUSED_BY_CAR = "paused by car"
    TOO_HOT = "too hot"
    CABLE_UNFIT = "cable unfit"
    NO_OFFER = "no offer"
    LIMIT_REACHED = "limit reached"
    ENDING = "ending"
    ENDED = "ended"


def situation(station: Station, port: Port) -> Situation:
    """The one thing to say about this port now; what keeps everybody from charging comes first."""
    if found := faults(port):
        return Situation.FAULT_WAITS if all(goes_by_itself(f) for f in found) else Situation.FAULT
    if port.transaction:
        return in_session(station, port, port.transaction)
    if port.report is None:
        return Situation.STARTING
    if port.report.self_test is SelfTest.FAILED:
        return Situation.SELF_TEST_FAILED
    if not is_ready(port):
        return Situation.SELF_TEST
    if port.served:
        return Situation.ENDED
    if not operative(port):
        return Situation.OUT_OF_SERVICE
    if not station.settings.activated:
        return Situation.NOT_ACTIVATED
    if not station.store_ok:
        return Situation.CANNOT_RECORD
    if port.grant:
        return Situation.BEGINNING if is_plugged(port) else Situation.PLUG_IN
    if not is_plugged(port):
        return Situation.AVAILABLE
    return Situation.BEGINNING if station.settings.free else Situation.TAP_CARD


def in_session(station: Station, port: Port, tx: Transaction) -> Situation:
    if tx.ending:
        return Situation.ENDING
    if tx.interrupted or port.report is None:
        return Situation.INTERRUPTED
    if port.report.self_test is SelfTest.FAILED:
        return Situation.SELF_TEST_FAILED
    if is_capped(port):
        return Situation.LIMIT_REACHED
    match charging_state(station, port):
        case ChargingState.CHARGING:
            return Situation.CHARGING if port.report.power_w > 0 else Situation.NO_CURRENT
        case ChargingState.SUSPENDED_EV:
            return Situation.PAUSED_BY_CAR
    if port.held_until is not None:
        return Situation.HELD
    if not is_ready(port):
        return Situation.SELF_TEST
    return Situation.WAITS_FOR_CAR if port.report.offer_ma else why_no_offer(station, port)


def why_no_offer(station: Station, port: Port) -> Situation:
    """A session is on and the pilot offers nothing: whose turn it is, or what is missing."""
    settings, report = station.settings, port.report
    assert report
    if derated_ma(report.temperature_dc, settings) < CURRENT_MIN_MA <= settings.port_limit_ma:
        return Situation.TOO_HOT
    if settings.socketed and report.cable_ma < CURRENT_MIN_MA:
        return Situation.CABLE_UNFIT
    targets = targets_ma(station)
    if targets[port.evse_id - 1]:
        return Situation.BEGINNING  # the controller has not shown it yet
    in_use = any(p.report and p.report.offer_ma for p in station.ports if p.evse_id != port.evse_id)
    return Situation.WAITS_FOR_POWER if in_use or any(targets) else Situation.NO_OFFER


def goes_by_itself(fault: Fault) -> bool:
    return FAULTS[fault].cure is Cure.WAIT and FAULTS[fault].latch is Latch.NONE


def worst_first(port: Port) -> list[Fault]:
    """What needs a hand before what passes; else in the order of the table."""
    found = faults(port)
    return sorted((f for f in FAULTS if f in found), key=goes_by_itself)


def is_fit(port: Port) -> bool:
    """The installer's green check mark: self-test passed, no fault, not taken out of service."""
    return is_ready(port) and operative(port) and not faults(port)


def is_free(station: Station, port: Port) -> bool:
    return situation(station, port) is Situation.AVAILABLE


# -- the words --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """`{names}` in text and action are filled in by `filled`."""

    tone: Tone
    light: Light
    title: str
    text: str
    action: str


def stated(reason: Reason, title: str) -> Shown:
    """A state in which every card gets this reason: the same words before the tap as after it."""
    return Shown(Tone.FAULT, Light.OUT_OF_SERVICE, title, WORDS[reason].text, instruction(reason))


def instruction(reason: Reason) -> str:
    """What the table says to do; which other port, if any, the station knows better."""
    return WORDS[reason].action.replace("use another port", "{elsewhere}")


SHOWN: dict[Situation, Shown] = {
    Situation.STARTING: Shown(
        Tone.WAIT, Light.STARTING, "Starting", "The station is starting this port.", "Please wait a moment."
    ),
    Situation.SELF_TEST: Shown(
        Tone.WAIT, Light.STARTING, "Self-test", "The port is testing its ground-fault protection.",
        "Please wait a moment.",
    ),
    Situation.SELF_TEST_FAILED: Shown(
        Tone.FAULT, Light.FAULT, "Out of service", "This port has failed its self-test.", "Please {elsewhere}."
    ),
    Situation.FAULT: Shown(Tone.FAULT, Light.FAULT, "Out of service", "{fault}", "{remedy}"),
    Situation.FAULT_WAITS: Shown(Tone.FAULT, Light.FAULT_WAITS, "Paused", "{fault}", "{remedy}"),
    Situation.OUT_OF_SERVICE: stated(Reason.UNAVAILABLE, "Out of service"),
    Situation.NOT_ACTIVATED: stated(Reason.STATION_NOT_ACTIVATED, "Not activated"),
    Situation.CANNOT_RECORD: stated(Reason.CANNOT_RECORD, "Out of service"),
    Situation.AVAILABLE: Shown(Tone.FREE, Light.AVAILABLE, "Available", "{who}", "{start}"),
    Situation.PLUG_IN: Shown(
        Tone.WAIT, Light.ASK, "Plug in", "The card was accepted for this port.", "Plug in your car within {left_s} s."
    ),
    Situation.TAP_CARD: Shown(
        Tone.WAIT, Light.PLUGGED, "Plugged in", "The car is connected. It is not charging yet.",
        "Tap your card to start.",
    ),
    Situation.BEGINNING: Shown(
        Tone.WAIT, Light.STARTING, "Starting", "Your session is starting.", "Please wait a moment."
    ),
    Situation.INTERRUPTED: Shown(
        Tone.WAIT, Light.HELD, "Interrupted", "The station was restarted. It checks whether your session can go on.",
        "Wait a moment, or unplug your car.",
    ),
    Situation.HELD: Shown(
        Tone.WAIT, Light.HELD, "Paused after a power cut", "The ports go on one after the other.",
        "Charging goes on by itself in {held_s} s.",
    ),
    Situation.WAITS_FOR_CAR: Shown(
        Tone.WAIT, Light.SUSPENDED, "Waiting for the car", "The station is ready. The car does not ask for power yet.",
        "If this takes long, check the car's charging timer. {stop}",
    ),
    Situation.WAITS_FOR_POWER: Shown(
        Tone.WAIT, Light.SUSPENDED, "Waiting for power", "The circuit is fully used by other cars.",
        "Charging begins by itself. {stop}",
    ),
    Situation.CHARGING: Shown(
        Tone.CHARGING, Light.CHARGING, "Charging", "Up to {offer_a} A for your car.", "{stop}"
    ),
    Situation.NO_CURRENT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Connected", "Power is switched on, but the car draws none now.", "{stop}"
    ),
    Situation.PAUSED_BY_CAR: Shown(
        Tone.WAIT, Light.SUSPENDED, "Paused by the car", "The car asks for no more power: full, or its timer.",
        "{stop}",
    ),
    Situation.TOO_HOT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Too hot", "The station is too hot to charge now.",
        "Charging goes on by itself when it has cooled down. {stop}",
    ),
    Situation.CABLE_UNFIT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Cable", "The station cannot read a rating of 6 A or more from the cable.",
        "Push the plug in firmly, or try another cable.",
    ),
    Situation.NO_OFFER: Shown(
        Tone.WAIT, Light.SUSPENDED, "Paused", "The station cannot offer power to this car now.",
        "{stop} Or {elsewhere}.",
    ),
    Situation.LIMIT_REACHED: Shown(
        Tone.WAIT, Light.SUSPENDED, "Stopped", "{refused} It gets no more energy.", "Unplug your car. {advice}"
    ),
    Situation.ENDING: Shown(
        Tone.WAIT, Light.ENDED, "Stopping", "{ending}", "You can unplug your car in a few seconds. {advice}"
    ),
    Situation.ENDED: Shown(Tone.FREE, Light.ENDED, "Finished", "{ended}", "Unplug your car. {advice}"),
}  # fmt: skip

assert SHOWN.keys() == set(Situation)

ENDINGS: dict[StoppedReason, str] = {
    StoppedReason.DE_AUTHORIZED: "Ended: this card was refused since.",
    StoppedReason.EMERGENCY_STOP: "Ended by the emergency stop.",
    StoppedReason.EV_DISCONNECTED: "Ended by unplugging.",
    StoppedReason.GROUND_FAULT: "Ended by a ground fault.",
    StoppedReason.IMMEDIATE_RESET: "Ended by a restart of the station.",
    StoppedReason.LOCAL: "Ended with a card.",
    StoppedReason.MASTER_PASS: "Ended with the owner's card.",
    StoppedReason.OTHER: "Ended by the station.",
    StoppedReason.OVERCURRENT_FAULT: "Ended: the car drew too much current.",
    StoppedReason.POWER_LOSS: "Ended by a power cut.",
    StoppedReason.POWER_QUALITY: "Ended by a fault of the mains.",
    StoppedReason.REMOTE: "Ended from the app.",
}

assert ENDINGS.keys() == set(StoppedReason)


def filled(station: Station, port: Port, at: Situation, now: float) -> tuple[str, str]:
    """Text and action of a situation, with the facts filled in."""
    tx, report, found = port.transaction, port.report, worst_first(port)
    facts = {
        "who": who(station),
        "start": "Plug in. No card is needed." if station.settings.free else "Plug in your car, then tap your card.",
        "stop": how_to_stop(tx) if tx else "",
        "offer_a": f"{report.offer_ma / 1000:g}" if report else "0",
        "elsewhere": elsewhere(station, port.evse_id),
        "fault": FAULTS[found[0]].text if found else "",
        "remedy": remedy(station, port, found[0]) if found else "",
        "left_s": left_s(port.grant.until, now) if port.grant else 0,
        "held_s": left_s(port.held_until, now) if port.held_until is not None else 0,
        "ending": ending(tx) if tx else "",
        "ended": ending(port.finished) if port.finished else ending(None),
        "refused": refusal(tx)[0],
        "advice": refusal(tx or port.finished)[1].format(elsewhere=elsewhere(station, port.evse_id)),
    }
    shown = SHOWN[at]
    text, action = shown.text.format_map(facts), shown.action.format_map(facts).strip()
    if tx and tx.energy_cap_wh is not None and not tx.ending and at is not Situation.LIMIT_REACHED:
        text += f" {refusal(tx)[0]} Charging will stop soon."
    if tx and port.off_next:
        text += " The port goes out of service after this session."
    return text, action


def refusal(tx: Transaction | None) -> tuple[str, str]:
    """Why the card of this session was refused since, and what its driver can do; empty if it was not."""
    if tx is None or tx.energy_cap_wh is None:
        return "", ""
    if tx.refused not in set(Reason):  # by another build
        return "This card was refused since.", ""
    return WORDS[Reason(tx.refused)].text, instruction(Reason(tx.refused))


def how_to_stop(tx: Transaction) -> str:
    if not tx.id_token:
        return "To stop, unlock and unplug the car."
    return "Stop in the app." if tx.token_type == "Central" else "Tap your card again to stop."


def elsewhere(station: Station, evse_id: int = 0) -> str:
    """The best advice for somebody who cannot be served at this port (0: at none)."""
    free = next((p.evse_id for p in station.ports if p.evse_id != evse_id and is_free(station, p)), None)
    return f"use port {free}" if free else "use another station"


def remedy(station: Station, port: Port, fault: Fault) -> str:
    """What the driver can do; the fault's own text has said what happened."""
    other = elsewhere(station, port.evse_id)
    if goes_by_itself(fault):
        retry_in_s = port.report.retry_in_s if port.report else 0
        next_try = f"Next try in {clock_face(retry_in_s)}. " if retry_in_s else ""
        return f"{next_try}If that does not help, {other}."
    return "Unplug your car." if is_plugged(port) else f"Please {other}."


def clock_face(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


def left_s(until: float, now: float) -> int:
    return max(0, ceil(until - now))


# -- a session's numbers ----------------------------------------------------------------------------------------------


def energy_wh(port: Port, tx: Transaction) -> int:
    """What the session has drawn by the meter; never less than what is stored, and no guess across a cut."""
    live_wh = port.report.energy_wh if port.report and not tx.interrupted else 0
    return max(0, max(live_wh, tx.last.energy_wh) - tx.started.energy_wh)


def elapsed_s(station: Station, tx: Transaction, mono_s: float, wall_s: float | None) -> int | None:
    """From the start to this instant. Across a restart only two known wall times can tell."""
    if tx.transaction_id.startswith(f"{station.boot.boot_id}-"):
        return max(0, int(mono_s - tx.started.mono_s))
    if wall_s is None or tx.started.wall_s is None or wall_s < tx.started.wall_s:
        return None
    return int(wall_s - tx.started.wall_s)


def total(station: Station, tx: Transaction) -> TotalModel:
    at_s = elapsed_s(station, tx, tx.last.mono_s, tx.last.wall_s)
    return TotalModel(max(0, tx.energy_wh), at_s, ending(tx))


def ending(tx: Transaction | None) -> str:
    if tx is None or tx.ending is None:
        return "The session has ended."
    is_refused = tx.ending.reason is StoppedReason.DE_AUTHORIZED
    return (is_refused and refusal(tx)[0]) or ENDINGS[tx.ending.reason]


# -- what is said to who has just tapped ------------------------------------------------------------------------------


CHECKING = NoticeModel(Tone.WAIT, Light.AUTHORISING, "Card read", "Checking …", "Please wait a moment.")
TITLES = {
    Led.REFUSED: "Not accepted",
    Led.ASK: "One more step",
    Led.COULD_NOT_ASK: "Could not check this card",
    Led.OUT_OF_SERVICE: "Cannot start here",
}


def is_being_asked(station: Station, evse_id: int | None) -> bool:
    """A tap for this port (None: port not known) is on its way. A late one is not: its driver has been answered."""
    return any(ask.evse_id == evse_id and ask.stage is not Stage.LATE for ask in station.asks)


def port_notice(station: Station, port: Port, now: float) -> NoticeModel | None:
    if is_being_asked(station, port.evse_id):
        return CHECKING
    notice = next((n for n in station.notices if n.evse_id == port.evse_id and now < n.until), None)
    if notice is None:
        return None
    if notice.reason:
        return words(station, notice.reason, port.evse_id, now)
    at = situation(station, port)
    text, action = filled(station, port, at, now)  # what was accepted, a start or a stop, the port's facts say best
    return NoticeModel(SHOWN[at].tone, SHOWN[at].light, "Card accepted", text, action)


def station_notice(station: Station, now: float) -> NoticeModel | None:
    """A refusal stands its time; after it the card that waits for a port is on the screen as long as it waits."""
    if is_being_asked(station, None):
        return CHECKING
    refusal = next((n.reason for n in station.notices if n.evse_id == 0 and n.reason and now < n.until), None)
    holding = station.holding
    if refusal and not (holding and refusal is Reason.CHOOSE_PORT):
        return words(station, refusal, 0, now)
    if holding is None:
        return None
    left = left_s(holding.grant.until, now)
    do = WORDS[Reason.CHOOSE_PORT].action if holding.choose else f"Plug in your car within {left} s."
    text = WORDS[Reason.CHOOSE_PORT].text if holding.choose else "The next car that is plugged in is yours."
    code = WORDS[Reason.CHOOSE_PORT].code if holding.choose else ""
    return NoticeModel(Tone.WAIT, Light.ASK, "Card accepted", text, do, code)


def words(station: Station, reason: Reason, evse_id: int, now: float) -> NoticeModel:
    """A refusal as the driver sees it: its one text, and the facts that only the station knows (D3)."""
    said = WORDS[reason]
    action = instruction(reason).format(elsewhere=elsewhere(station, evse_id))
    age_s = list_age_s(station, now)
    if reason in (Reason.NOT_CONNECTED, Reason.LIST_TOO_OLD) and age_s is not None:
        action += f" This station's list was confirmed {age(age_s)} ago."
    tone = Tone.WAIT if said.led in (Led.ASK, Led.COULD_NOT_ASK) else Tone.FAULT
    return NoticeModel(tone, Light(said.led), TITLES[said.led], said.text, action, said.code)


def spoken_to(station: Station) -> tuple[Port, ...]:
    """The ports whose light answers a driver without a port: those that could be his; if there is none, all."""
    could = tuple(p for p in station.ports if not p.transaction and status(p) in (Status.AVAILABLE, Status.OCCUPIED))
    return could or station.ports


# -- the station's own lines ------------------------------------------------------------------------------------------


LINKS = {
    Link.UP: "Online",
    Link.DOUBT: "Online, but answers are missing",
    Link.DOWN: "Offline. Sessions are kept and sent later",
}


def headline(station: Station) -> str:
    if not station.settings.activated:
        return WORDS[Reason.STATION_NOT_ACTIVATED].text
    if not station.store_ok:
        return WORDS[Reason.CANNOT_RECORD].text
    free = [str(p.evse_id) for p in station.ports if is_free(station, p)]
    if free:
        return f"Port {free[0]} is free" if len(free) == 1 else f"Ports {', '.join(free[:-1])} and {free[-1]} are free"
    if any(p.transaction or status(p) is Status.OCCUPIED for p in station.ports):
        return "No port is free"
    return "Starting" if any(p.report is None and not p.lost for p in station.ports) else "Out of service"


def who(station: Station) -> str:
    """D8: who may charge now."""
    if not station.settings.activated:
        return "Nobody yet."
    if station.settings.free:
        return "For everybody."
    return f"For connected drivers of {station.settings.owner}." if station.settings.owner else "For connected drivers."


def ways(station: Station) -> tuple[str, ...]:
    """D8: the ways to start that work now."""
    if not station.settings.activated:
        return ()
    start = ("plug in",) if station.settings.free else ("driver card",)
    return (*start, "app") if station.link is not Link.DOWN else start


def list_age_s(station: Station, now: float) -> int | None:
    """Since the cloud last said, by its own time, that the list is current (S5)."""
    old_s = age_s(station.allowlist, station.clock, now)
    return None if old_s is None else int(old_s)


def list_text(station: Station, age_s: int | None) -> str:
    state = station.allowlist
    if not state.version:
        return "No list of connected drivers yet"
    confirmed = f"confirmed {age(age_s)} ago" if age_s is not None else "age unknown"
    grace_days = station.settings.list_grace_days
    name, what = NAMES[freshness(age_s, grace_days)], follows(age_s, grace_days)
    return f"List {state.version}, {state.entries} cards, {confirmed}" + (f": {name}. {what}" if name else "")
