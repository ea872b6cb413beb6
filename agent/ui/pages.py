"""The pages that people read: how to start, what the lights say, what to do when it does not work, About. Pure."""

from collections.abc import Iterator
from datetime import datetime

from agent import __version__, cellular, life
from agent.cellular import TROUBLES
from agent.clock import earliest
from agent.policy import plan_token
from agent.policy.plan_token import Standing
from agent.station import Station, circuit_ma
from agent.ui.led import PATTERNS, Light
from agent.ui.model import Lights, PageModel, Prose, Row, Rows, Steps
from agent.ui.words import LANGUAGES, Say
from agent.wizard import readiness

LIGHTS: dict[Light, str] = {  # in the order in which a driver meets them
    Light.AVAILABLE: "Available",
    Light.UNREACHABLE: "Available, without the network",
    Light.PLUGGED: "Plugged in: tap your card",
    Light.AUTHORISING: "Checking your card",
    Light.ASK: "Something is left to do: read the screen",
    Light.REFUSED: "Card not accepted: the screen says why",
    Light.COULD_NOT_ASK: "The card could not be checked",
    Light.CHARGING: "Charging",
    Light.SUSPENDED: "Connected, no power flows: the screen says why",
    Light.ENDED: "Finished: unplug your car",
    Light.HELD: "Charging goes on soon, after a power cut",
    Light.RESERVED: "Reserved",
    Light.STARTING: "Starting, self-test",
    Light.UPDATING: "New software is being installed",
    Light.NOT_ACTIVATED: "Not activated yet",
    Light.OUT_OF_SERVICE: "Closed or out of service",
    Light.FAULT_WAITS: "Fault: tried again by itself",
    Light.FAULT_UNPLUG: "Fault: unplug your car",
    Light.FAULT: "Fault: somebody has to mend it",
    Light.EMERGENCY_STOP: "Emergency stop",
}
assert LIGHTS.keys() == set(Light)


def how_to_start(station: Station, say: Say) -> Steps:
    """Drawn, where no video plays. Plug or tap first: both work, this order is easier to say."""
    steps = [("plug", say("Plug in your car."))]
    if not life.is_free(station):
        steps.append(("tap", say("Hold your card against the reader.")))
    steps.append(("charge", say("Charging begins. The screen shows energy and time.")))
    stop = "To stop, unlock and unplug the car." if life.is_free(station) else "Tap your card again to stop."
    steps.append(("unplug", say(stop)))
    return Steps(tuple(steps))


def help_page(station: Station, say: Say) -> PageModel:
    """Four parts, one key walks through them."""
    part = HELP[station.panel.at % len(HELP)]
    return part(station, say)


def help_start(station: Station, say: Say) -> PageModel:
    return PageModel(say("How to start"), (how_to_start(station, say),))


def help_lights(station: Station, say: Say) -> PageModel:
    rows = tuple(
        (light, say(text), PATTERNS[light].colour.value, PATTERNS[light].rhythm_s) for light, text in LIGHTS.items()
    )
    return PageModel(say("What the light says"), (Lights(rows),))


def help_trouble(station: Station, say: Say) -> PageModel:
    support = station.settings.support_number
    steps = [
        ("screen", say("Read what the screen says: it names the reason and what to do.")),
        ("unplug", say("Unplug the car, wait a moment, plug it in again.")),
        ("breaker", say("Owners: switch the breaker off for two minutes, then on again. Nothing is lost.")),
    ]
    if support:
        steps.append(("phone", say("Call {number} and say the serial number: {serial}.", number=support,
                                   serial=station.settings.station_id)))  # fmt: skip
    return PageModel(say("If it does not work"), (Steps(tuple(steps)),))


def help_languages(station: Station, say: Say) -> PageModel:
    rows = tuple(Row(language.name, code) for code, language in LANGUAGES.items())
    text = say("The second key changes the language. After a minute without a press it is as before.")
    return PageModel(say("Languages"), (Prose(text), Rows(rows)))


HELP = (help_start, help_lights, help_trouble, help_languages)


def about(station: Station, now: float, say: Say) -> PageModel:
    """I10: what a caller is asked for, at any time."""
    return PageModel(say("About this station"), (Rows(tuple(about_rows(station, now, say))),))


def day(wall_s: float, station: Station) -> str:
    return f"{datetime.fromtimestamp(wall_s, station.zone):%Y-%m-%d}"


def plan_warning(station: Station, now: float, say: Say) -> str:
    """For whoever looks after the station (I6); drivers can do nothing about it. "" while there is time enough."""
    found = plan_token.plan(station.owner.tokens, station.clock, now)
    if found.token is None:
        return ""
    if found.standing is Standing.DEACTIVATED:
        return say("The plan has ended: a new plan token is needed.")
    if found.standing is Standing.ENDED:
        closes = "The plan has ended: without a new plan token the station closes on {day}."
        frees = "The plan has ended: without a new plan token charging is free from {day} on."
        text = frees if station.owner.is_free_after_plan else closes
        return say(text, day=day(found.deactivates_s, station))
    is_warned = plan_token.warned_d(found, earliest(station.clock, now)) is not None
    text = "The plan ends on {day}: a new plan token is needed."
    return say(text, day=day(found.token.ends_s, station)) if is_warned else ""


def about_rows(station: Station, now: float, say: Say) -> Iterator[Row]:
    settings, machine = station.settings, station.machine
    unknown = say("unknown")
    yield Row(say("Serial number"), settings.station_id)
    yield Row(say("MAC address"), ", ".join(machine.macs) or unknown)
    yield Row(say("Software"), machine.firmware_version or __version__)
    yield Row(say("Model"), machine.model)
    activation = station.owner.activation
    if activation:
        yield Row(say("Name"), activation.name)
    yield Row(say("Owner"), settings.owner or unknown)
    if activation and activation.contact:
        yield Row(say("Contact"), activation.contact)
    plan = plan_token.plan(station.owner.tokens, station.clock, now)
    if token := plan.token:
        yield Row(say("Plan"), f"{token.name}, {day(token.ends_s, station)}")
        if token.support_ends_s is not None:
            yield Row(say("Support until"), day(token.support_ends_s, station))
    if warning := plan_warning(station, now, say):
        yield Row(say("Plan"), warning, "open")
    if waiting := plan.waiting:
        yield Row(say("Plan"), f"{waiting.name}, {day(waiting.begins_s, station)} – {day(waiting.ends_s, station)}")
    yield Row(say("Support"), settings.support_number or unknown)
    yield Row(say("Circuit"), say("{n} A", n=circuit_ma(station) // 1000))
    if point := station.wizard.pinpoint:
        yield Row(say("Pinpoint"), f"{point.latitude:.6f}, {point.longitude:.6f}")
    if not life.is_owned(station):
        wrong = [item.title for item in readiness.items(station, now) if not item.is_met]
        text = say.listed(say(title.text, **title.facts) for title in wrong)
        ready = say("Missing: {list}.", list=text) if wrong else say("yes")
        yield Row(say("Ready to be activated"), ready, "open" if wrong else "passed")
    yield Row(say("Modem"), cellular.line(machine, station.modem) or say("unknown" if machine.has_modem else "none"))
    for code in cellular.troubles(station.modem):
        if TROUBLES[code].shown:
            yield Row(say("Modem"), say(TROUBLES[code].shown), "open")
    if machine.gateway:
        yield Row(say("Gateway"), machine.gateway)
    if machine.certificate_expiry_s is not None:
        yield Row(say("Certificate until"), day(machine.certificate_expiry_s, station))
