"""The service menu as a page, and the QR code that lets the installer's phone in. Pure; what the menu does:
agent/service.py."""

from collections.abc import Callable, Iterator

from agent import cellular, service
from agent.commands import logs
from agent.effects import Stream
from agent.events import Link, PhoneTold
from agent.faults import FAULTS
from agent.panel import DoorProblem, Part
from agent.port import faults
from agent.station import Station
from agent.ui.led import PATTERNS
from agent.ui.model import Block, Field, Lights, Option, PageModel, Prose, Qr, Row, Rows
from agent.ui.pages import LIGHTS, plan_warning
from agent.ui.wizard_page import SOURCES
from agent.ui.words import Say, clock_face


def service_page(station: Station, now: float, say: Say) -> PageModel:
    part = station.panel.part
    return PARTS[part](station, now, say)


def menu_page(station: Station, now: float, say: Say) -> PageModel:
    at, do = service.at_cursor(station), say("Do it")
    menu = tuple(
        Field(service.FIELD, "choice", label(name, say), "", do, (Option(name, do),), chosen=name == at)
        for name in service.menu(station)
    )
    open_for = say("Open for {time}.", time=left(station.panel.service_until, now))
    footer = say.joined(about(station, at, say), open_for, plan_warning(station, now, say))
    return PageModel(say("Service"), menu, footer=footer)


def left(until: float, now: float) -> str:
    return clock_face(int(max(0.0, until - now)))


def label(name: str, say: Say) -> str:
    what, evse_id = service.item(name)
    return say(what.label, n=evse_id)


def about(station: Station, name: str, say: Say) -> str:
    """What is worth knowing before this is done."""
    _, evse_id = service.item(name)
    port = next((port for port in station.ports if port.evse_id == evse_id), None)
    if port:
        found = sorted(faults(port))
        return say(FAULTS[found[0]].text) if found else say("No fault at port {n}.", n=evse_id)
    if name == "report":
        return say.joined(say("Reported: {n}.", n=station.problems) if station.problems else "", upload(station, say))
    if name == "phone" and station.phone is None:
        return say("This station has no address for a phone: [phone] in its config file.")
    if name == "phone" and service.is_phone_in(station):
        return say("A phone is in. A new one ends its visit.")
    return ""


def upload(station: Station, say: Say) -> str:
    """How far the report is that the cloud has ordered; of one that is over only who has reported wants to know."""
    log = station.log
    if log is None or (log.is_over and not station.problems):
        return ""
    if logs.is_postponed(station):
        return say("The report is sent when data is no longer short.")
    return say(UPLOADS.get(log.status, NOT_SENT), n=log.percent)


NOT_SENT = "The report was not sent. The cloud knows why."
UPLOADS = {  # by what was told last
    "": "The cloud has ordered the report.",
    logs.UPLOADING: "The report is being sent: {n} %.",
    "Uploaded": "The report was sent.",
}


# -- a phone ----------------------------------------------------------------------------------------------------------


def phone_page(station: Station, now: float, say: Say) -> PageModel:
    return PageModel(say("The installer's phone"), tuple(phone_blocks(station, now, say)))


def phone_blocks(station: Station, now: float, say: Say) -> Iterator[Block]:
    """How a phone gets in, with all that it can be checked by; or why none does."""
    told, door = station.phone, service.phone(station)
    if told is None:
        yield Prose(say("This station has no address for a phone: [phone] in its config file."), "warning")
    elif door is None or not door.address:
        problem = told.problem if told.at == station.panel.phone_at else DoorProblem.NONE
        yield Prose(say(PROBLEMS[problem]), "warning" if problem else "")
    else:
        time = left(station.panel.phone_until, now)
        if door.guest:
            text = "An installer's phone is connected: {phone}. It stays at most {time}."
            yield Prose(say(text, phone=door.guest, time=time))
        else:
            yield from ways_in(door, time, say)


PROBLEMS: dict[DoorProblem, str] = {
    DoorProblem.NONE: "Please wait a moment.",
    DoorProblem.NO_ADDRESS: "No interface of this station has the address of [phone] in its config file.",
    DoorProblem.MOBILE: "The address of [phone] is the modem's: give that of the access point or of the USB cable.",
    DoorProblem.ROUTED: "The address of [phone] leads to the Internet: give that of the access point or the USB cable.",
    DoorProblem.UNBOUND: "The system does not let the agent listen on one interface only: see the log.",
    DoorProblem.TAKEN: "The port of [phone] is in use: choose another in the config file.",
    DoorProblem.NO_CERTIFICATE: "The certificate for phones cannot be made or read: see the log.",
    DoorProblem.BROKEN: "The door for phones has failed: see the log, and let the phone in again.",
    DoorProblem.GUESSED: "Too many wrong codes: the door is closed. Let the phone in again.",
}
assert PROBLEMS.keys() == set(DoorProblem)


def ways_in(door: PhoneTold, time: str, say: Say) -> Iterator[Block]:
    if door.wifi:
        yield Qr(door.wifi, say("First: join the station's Wi-Fi."))
    yield Qr(door.link, door.address)
    yield Rows(
        (
            Row(say("Code, if the phone asks"), f"{door.code[:4]} {door.code[4:]}"),
            Row(say("Certificate (SHA-256) begins"), door.fingerprint),
            Row(say("Waiting for"), time),
        )
    )
    warning = "The phone warns, because the station made its certificate itself: compare how it begins."
    yield Prose(say(warning), "small")


# -- the rest ---------------------------------------------------------------------------------------------------------


def lights_page(station: Station, now: float, say: Say) -> PageModel:
    light = service.test_light(station, now)
    if light is None:
        return PageModel(say("Test of the lights"), ())
    pattern = PATTERNS[light]
    shown = Lights(((light, say(LIGHTS[light]), pattern.colour.value, pattern.rhythm_s),))
    at = service.TEST_LIGHTS.index(light) + 1
    return PageModel(say("Test of the lights"), (shown,), at, len(service.TEST_LIGHTS))


def facts_page(station: Station, now: float, say: Say) -> PageModel:
    at = station.panel.at % len(FACTS)
    title, rows = FACTS[at]
    return PageModel(say(title), (Rows(tuple(rows(station, now, say))),), at + 1, len(FACTS))


LINKS = {Link.UP: "online", Link.DOUBT: "online, but answers are missing", Link.DOWN: "offline"}


def network_rows(station: Station, now: float, say: Say) -> Iterator[Row]:
    machine, unknown = station.machine, say("unknown")
    yield Row(say("Network"), say(LINKS[station.link]), "passed" if station.link is Link.UP else "failed")
    yield Row(say("The cloud says"), station.registration or unknown)
    yield Row(say("Modem"), cellular.line(machine, station.modem) or say("unknown" if machine.has_modem else "none"))
    yield Row(say("Gateway"), machine.gateway or say("none"))
    yield Row(say("SIM card"), machine.iccid or unknown)
    yield Row(say("Clock by"), say(SOURCES[station.clock.source]))


def list_rows(station: Station, now: float, say: Say) -> Iterator[Row]:
    known = station.allowlist
    yield Row(say("List"), str(known.version) if known.version else say("none"))
    yield Row(say("Generation"), str(known.generation))
    yield Row(say("Cards"), str(known.entries))
    yield Row(say("State"), station.list_word.freshness.name.lower())


STREAMS = {
    Stream.MONEY: "Sessions waiting", Stream.STATUS: "Messages waiting", Stream.RESULTS: "Answers waiting",
    Stream.SAMPLES: "Samples waiting", Stream.LOGS: "Log lines waiting",
}  # fmt: skip


def outbox_rows(station: Station, now: float, say: Say) -> Iterator[Row]:
    yield Row(say("Storage"), say("works") if station.store_ok else say("cannot record"), mark(station.store_ok))
    for stream, text in STREAMS.items():
        yield Row(say(text), str(station.waiting[stream]) if station.waiting else say("not counted yet"))


def mark(is_good: bool) -> str:
    return "passed" if is_good else "failed"


FactRows = Callable[[Station, float, Say], Iterator[Row]]
FACTS: tuple[tuple[str, FactRows], ...] = (("Network", network_rows), ("List", list_rows), ("Records", outbox_rows))
assert len(FACTS) == service.FACTS


def restart_page(station: Station, now: float, say: Say) -> PageModel:
    text = say("The station restarts at once. Sessions that run go on after it.")
    return PageModel(say("Restart the station?"), (Prose(text, "lead"),))


def factory_page(station: Station, now: float, say: Say) -> PageModel:
    """A session has to end first: the key does nothing then, and this says so."""
    text = say("Owner, cards and rules are deleted. The circuit stays as it is. The installation begins anew.")
    lines = [Prose(text, "lead")]
    if any(port.transaction for port in station.ports):
        lines.append(Prose(say("A session runs: end it first."), "warning"))
    return PageModel(say("Reset to factory state?"), tuple(lines))


Page = Callable[[Station, float, Say], PageModel]
PARTS: dict[Part, Page] = {
    Part.MENU: menu_page,
    Part.PHONE: phone_page,
    Part.LIGHTS: lights_page,
    Part.FACTS: facts_page,
    Part.RESTART: restart_page,
    Part.FACTORY: factory_page,
}
assert PARTS.keys() == service.KEYS.keys() == set(Part)
