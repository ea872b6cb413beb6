"""The words and the light of each situation, in one table, so that they cannot disagree; and what fills their holes."""

from dataclasses import dataclass
from datetime import datetime
from math import ceil

from agent import life, owner
from agent.clock import wall
from agent.events import Link
from agent.faults import FAULTS, Fault, Mender, code, mender
from agent.policy import access, reservation, sharing
from agent.policy.access import Opening
from agent.policy.freshness import DAY_S
from agent.policy.reasons import WORDS, Reason
from agent.port import Port, is_plugged
from agent.selftest import PORT_PARTS, SOCKET_PARTS, PartResult
from agent.station import Station
from agent.transaction import StoppedReason, Transaction
from agent.ui.led import Light
from agent.ui.model import Tone
from agent.ui.situation import BARS, Situation, goes_by_itself, is_free, worst_first
from agent.ui.words import Say, clock_face


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
    return Shown(Tone.FAULT, Light(WORDS[reason].led), title, WORDS[reason].text, instruction(reason))


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
    Situation.PLAN_ENDED: stated(Reason.PLAN_ENDED, "Closed"),
    Situation.UPDATING: stated(Reason.UPDATING, "Updating"),
    Situation.RESTARTING: Shown(
        Tone.WAIT, Light.STARTING, "Restarting", "The station is about to restart. Nobody can start now.",
        "Please wait a few minutes.",
    ),
    Situation.CLOSED: Shown(
        Tone.WAIT, Light.OUT_OF_SERVICE, "Closed", "The station is closed. {until}", "Please {elsewhere}."
    ),
    Situation.RESERVED: Shown(
        Tone.WAIT, Light.RESERVED, "Reserved", "This port is reserved for another driver. {until}",
        "Please {elsewhere}.",
    ),
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
        "Check the car's charging timer. {stop}",
    ),
    Situation.WAITS_FOR_POWER: Shown(
        Tone.WAIT, Light.SUSPENDED, "Waiting for power", "The circuit is fully used by other cars.",
        "Charging begins by itself. {stop}",
    ),
    Situation.CHARGING: Shown(
        Tone.CHARGING, Light.CHARGING, "Charging", "Up to {offer_a} A for your car.", "{stop}"
    ),
    Situation.NO_CURRENT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Car takes no power", "Power is switched on, but the car draws none now.", "{stop}"
    ),
    Situation.PAUSED_BY_CAR: Shown(
        Tone.WAIT, Light.SUSPENDED, "Paused by the car", "The car asks for no more power: full, or its timer.",
        "{stop}",
    ),
    Situation.TOO_HOT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Too hot", "The station is too hot to charge now.",
        "Charging goes on by itself. {stop}",
    ),
    Situation.CABLE_UNFIT: Shown(
        Tone.WAIT, Light.SUSPENDED, "Check the cable",
        "The station cannot read a rating of 6 A or more from the cable.",
        "Push the plug in firmly, or try another cable.",
    ),
    Situation.NO_OFFER: Shown(
        Tone.WAIT, Light.SUSPENDED, "Paused by the station", "The station cannot offer power to this car now.",
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

FAULT_LIGHTS: dict[Mender, Light] = {
    Mender.ITSELF: Light.FAULT_WAITS,
    Mender.DRIVER: Light.FAULT_UNPLUG,
    Mender.SERVICE: Light.FAULT,
    Mender.RELEASE: Light.EMERGENCY_STOP,
}


def light_of(station: Station, port: Port, at: Situation) -> Light:
    """The table's, but a fault's light says who ends it, and a free port's that the network is gone."""
    if at in (Situation.FAULT, Situation.FAULT_WAITS):
        return FAULT_LIGHTS[mender(worst_first(port)[0])]
    if at is Situation.AVAILABLE and station.link is Link.DOWN:
        return Light.UNREACHABLE
    return SHOWN[at].light


CODES: dict[Situation, Reason] = {  # where every card would be refused for this reason
    Situation.OUT_OF_SERVICE: Reason.UNAVAILABLE,
    Situation.CANNOT_RECORD: Reason.CANNOT_RECORD,
    Situation.CLOSED: Reason.CLOSED,
    Situation.RESERVED: Reason.RESERVED,
}


def code_of(station: Station, port: Port, at: Situation) -> str:
    """What is the matter in one word, the same on the screen, in the log and at the cloud; "" where nothing is."""
    bar, tx = station.bar or port.bar, port.transaction
    shut = life.refusal(station)
    if at in (Situation.FAULT, Situation.FAULT_WAITS):
        return code(worst_first(port)[0])
    if at is Situation.SELF_TEST_FAILED:
        return code(Fault.GROUND_FAULT_SELF_TEST)
    if at is Situation.LIMIT_REACHED and tx and tx.refused in set(Reason):
        return WORDS[Reason(tx.refused)].code
    if at in BARS.values() and (reason := bar.reason if bar and BARS[bar.reason] is at else shut):
        return WORDS[reason].code
    return WORDS[CODES[at]].code if at in CODES else ""

ENDINGS: dict[StoppedReason, str] = {
    StoppedReason.DE_AUTHORIZED: "Ended: this card is no longer accepted.",
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
    StoppedReason.TIME_LIMIT_REACHED: "Ended: its time was over.",
}

assert ENDINGS.keys() == set(StoppedReason)


PARTS: dict[str, str] = {  # component name on the wire: as people call it. Another driver's part is called as it is
    "Controller": "Port controller",
    "GroundFaultDetector": "Ground-fault protection",
    "PowerContactor": "Contactor",
    "ControlPilot": "Control pilot",
    "Meter": "Meter",
    "ElectricalFeed": "Mains supply",
    "TemperatureSensor": "Temperature",
    "EmergencyStop": "Emergency stop",
    "ConnectorPlugRetentionLock": "Plug lock",
    "ProximityPilot": "Cable rating",
    "Storage": "Storage",
    "TokenReader": "Card reader",
    "GNSS.receiver": "Satellite receiver",
    "ControllerLink": "Link to the controller",
    "Display": "Display",
}

assert {*PORT_PARTS, *SOCKET_PARTS} <= PARTS.keys()


def part_name(part: PartResult, say: Say) -> str:
    return say(PARTS.get(part.part, part.part))


def filled(station: Station, port: Port, at: Situation, now: float, say: Say) -> tuple[str, str]:
    """Text and action of a situation, with the facts filled in, and what comes."""
    tx, report, found = port.transaction, port.report, worst_first(port)
    facts = {
        "who": who(station, now, say),
        "start": start(station, say),
        "stop": say(how_to_stop(tx)) if tx else "",
        "offer_a": say.number(report.offer_ma / 1000, 1 if report.offer_ma % 1000 else 0) if report else "0",
        "elsewhere": elsewhere(station, say, port.evse_id),
        "fault": say(FAULTS[found[0]].text) if found else "",
        "remedy": remedy(station, port, found[0], say) if found else "",
        "left_s": left_s(port.grant.until, now) if port.grant else 0,
        "held_s": left_s(port.held_until, now) if port.held_until is not None else 0,
        "ending": ending(tx, say) if tx else "",
        "ended": ending(port.finished, say),
        "until": until_text(station, changes_s(station, port, at), now, say),
        "refused": refusal(tx, say)[0],
        "advice": advice(station, tx or port.finished, port.evse_id, say),
    }
    shown = SHOWN[at]
    text, action = say(shown.text, **facts).strip(), say(shown.action, **facts).strip()
    if at is Situation.CLOSED:
        text = say.joined(text, holiday(station, now, say))
    return say.joined(text, ahead(station, port, at, now, say)), action


def ahead(station: Station, port: Port, at: Situation, now: float, say: Say) -> str:
    """What comes in this session, and when; "" while nothing does."""
    tx = port.transaction
    coming: list[str] = []
    turn_s = sharing.turn_s(station.sharing, port.evse_id - 1, now) if at is Situation.WAITS_FOR_POWER else None
    if turn_s is not None:
        coming.append(say("Your turn comes in {n} min at the latest.", n=max(1, ceil(turn_s / 60))))
    if tx and tx.energy_cap_wh is not None and not tx.ending and at is not Situation.LIMIT_REACHED:
        coming += [refusal(tx, say)[0], say("Charging will stop soon.")]
    if tx and (ends_s := owner.warned_s(station, tx, now)) is not None:
        coming.append(say("Charging ends in {time}.", time=clock_face(max(0, int(ends_s)))))
    if tx and port.off_next:
        coming.append(say("The port goes out of service after this session."))
    return say.joined(*coming)


def changes_s(station: Station, port: Port, at: Situation) -> float | None:
    """Wall: until when it is so."""
    bar, held = station.bar or port.bar, station.owner.reservations
    if bar is not None and BARS[bar.reason] is at:
        return bar.until_s
    if at is Situation.CLOSED:
        return station.owner.opens_s
    return reservation.kept_until_s(held, port.evse_id) if at is Situation.RESERVED and held else None


def refusal(tx: Transaction | None, say: Say) -> tuple[str, str]:
    """Why the card of this session was refused since, and what its driver can do; empty if it was not."""
    if tx is None or tx.energy_cap_wh is None:
        return "", ""
    if tx.refused not in set(Reason):  # by another build
        return say("This card is no longer accepted."), ""
    return say(WORDS[Reason(tx.refused)].text), instruction(Reason(tx.refused))


def advice(station: Station, tx: Transaction | None, evse_id: int, say: Say) -> str:
    return say(refusal(tx, say)[1], elsewhere=elsewhere(station, say, evse_id))


def how_to_stop(tx: Transaction) -> str:
    if not tx.id_token:
        return "To stop, unlock and unplug the car."
    return "Stop in the app." if tx.token_type == "Central" else "Tap your card again to stop."


def elsewhere(station: Station, say: Say, evse_id: int = 0) -> str:
    """The best advice for somebody who cannot be served at this port (0: at none)."""
    free = next((p.evse_id for p in station.ports if p.evse_id != evse_id and is_free(station, p)), None)
    return say("use port {n}", n=free) if free else say("use another station")


def remedy(station: Station, port: Port, fault: Fault, say: Say) -> str:
    """What the driver can do; the fault's own text has said what happened."""
    other = elsewhere(station, say, port.evse_id)
    if goes_by_itself(fault):
        retry_in_s = port.report.retry_in_s if port.report else 0
        next_try = say("Next try in {time}.", time=clock_face(retry_in_s)) if retry_in_s else ""
        return say.joined(next_try, say("If this lasts, {elsewhere}.", elsewhere=other))
    return say("Unplug your car.") if is_plugged(port) else say("Please {elsewhere}.", elsewhere=other)


def left_s(until: float, now: float) -> int:
    return max(0, ceil(until - now))


def ending(tx: Transaction | None, say: Say) -> str:
    if tx is None or tx.ending is None:
        return say("The session has ended.")
    is_refused = tx.ending.reason is StoppedReason.DE_AUTHORIZED
    return (is_refused and refusal(tx, say)[0]) or say(ENDINGS[tx.ending.reason])


# -- the station's own --------------------------------------------------------------------------------------------


def who(station: Station, now: float, say: Say) -> str:
    """D8: who may charge now, and until when."""
    opening = station.owner.opening
    if life.refusal(station) or opening is None:
        return who_at_all(station, say)
    if not opening.groups:
        return closed(station, now, say)
    until = until_text(station, soon_s(station, now), now, say)
    return say.joined(who_by_hours(station, opening, say), until, holiday(station, now, say))


def closed(station: Station, now: float, say: Say) -> str:
    until = until_text(station, station.owner.opens_s, now, say)
    return say.joined(say(SHOWN[Situation.CLOSED].text, until=until).strip(), holiday(station, now, say))


def holiday(station: Station, now: float, say: Say) -> str:
    """That the hours of this day are not the week's; "" if they are, or nobody knows which day it is."""
    rules = life.rules(station)
    is_one = rules is not None and access.is_holiday(rules, wall(station.clock, now), station.zone)
    return say("Holiday hours today.") if is_one else ""


def soon_s(station: Station, now: float) -> float | None:
    """Wall: when the hours of a rule begin or end, if that is today or tomorrow."""
    now_s, opening = wall(station.clock, now), station.owner.opening
    at_s = opening.changes_s if opening else None
    return at_s if at_s is not None and now_s is not None and at_s - now_s <= DAY_S else None


def who_by_hours(station: Station, opening: Opening, say: Say) -> str:
    if life.is_reservable(station):
        return who_at_all(station, say)
    if opening.everyone:
        return say("For everybody.")
    return who_at_all(station, say) if opening.connected else say("For some of the connected drivers.")


def who_at_all(station: Station, say: Say) -> str:
    if life.is_reservable(station) and not life.refusal(station):
        return say(WORDS[Reason.NEEDS_RESERVATION].text)
    if life.refusal(station):
        return say("Nobody can charge here yet.")
    if life.is_free(station):
        return say("For everybody.")
    name = station.settings.owner
    return say("For connected drivers of {owner}.", owner=name) if name else say("For connected drivers.")


def start(station: Station, say: Say) -> str:
    if life.refusal(station):
        return ""
    return say("Plug in. No card is needed." if life.is_free(station) else "Plug in your car, then tap your card.")


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def until_text(station: Station, until_s: float | None, now: float, say: Say) -> str:
    """Until when, by the site's clock; "" while nobody can tell."""
    now_s = wall(station.clock, now)
    if until_s is None or now_s is None:
        return ""
    at, today = (datetime.fromtimestamp(s, station.zone) for s in (until_s, now_s))
    days = (at.date() - today.date()).days
    if days == 0:
        return say("Until {time}.", time=f"{at:%H:%M}")
    if 0 < days < 7:
        return say("Until {day} {time}.", day=say(WEEKDAYS[at.weekday()]), time=f"{at:%H:%M}")
    return say("Until {time}.", time=f"{at:%Y-%m-%d %H:%M}")
