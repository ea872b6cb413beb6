"""One station for each thing that a display can show: situations, refusals, pages, the station's own lines."""

from dataclasses import replace

from msgspec import structs

from agent.events import Link, ListState, Machine, PhoneTold
from agent.navigation import HELP_PARTS, KEYS
from agent.panel import LEAVE_S, Page, Panel, Part
from agent.policy.freshness import ALARM_S
from agent.policy.reasons import Reason
from agent.settings import Settings
from agent.station import Ask, Holding, Notice, Station
from agent.transaction import Ending, StoppedReason, Trigger
from agent.ui.situation import Situation
from agent.wizard.coordinates import Point
from agent.wizard.facts import STEPS, Draft, Editing, Mark, Method, Pinpoint, Step, Wizard
from agent.wizard.places import Place
from agent.wizard.sentence import Sentence
from tests.test_view import CHARGING, FREE, GRANT, NOW, PLUGGED, SITUATIONS, TX, WALL, station

FURNITURE = {
    "station_id": "SA-00417-B",
    "owner": "Harbour Offices",
    "support_number": "+1 555 0100",
    "tariff_text": "$0.32 per kWh, from the 5th hour on $0.05 per minute",
}
MACHINE = Machine(model="duo_cm4", firmware_version="0.9.0+4", macs=("02:00:5e:10:00:01",), modem_type="LTE")
FINISHED = replace(TX, ending=Ending(StoppedReason.LOCAL, Trigger.STOP_AUTHORIZED, NOW - 30))


def furnished(bare: Station, **panel: object) -> Station:
    """As an owner runs it: a name, a price, a number to call; and somebody who has just pressed a key."""
    settings = structs.replace(bare.settings, **FURNITURE)
    at_it = Panel(touched_at=NOW, **panel)  # type: ignore[arg-type]
    return replace(bare, settings=settings, machine=MACHINE, panel=at_it, allowlist=ListState(7, 1_480, WALL - 600))


def beside(bare: Station) -> Station:
    """With a second port: at work where the first one is free, free where not."""
    if len(bare.ports) > 1:
        return bare
    other = replace(CHARGING if bare is SITUATIONS[Situation.TAP_CARD] else FREE, evse_id=2)
    return replace(bare, ports=(*bare.ports, other))


def two(*ports: object, **facts: object) -> Station:
    return furnished(station(*(ports or (FREE, FREE)), **facts))  # type: ignore[arg-type]


def refused(reason: Reason, evse_id: int) -> Station:
    return two(PLUGGED, CHARGING, notices=(Notice(evse_id, reason, NOW + 8),))


def paged(page: Page, **panel: object) -> Station:
    return furnished(station(CHARGING, FREE), page=page, service_until=NOW + 1_000, **panel)


DOOR = PhoneTold(
    at=NOW, address="https://192.0.2.1:8443", link="https://192.0.2.1:8443/#A1b2C3d4E5f6G7h8I9j0Kw",
    wifi="WIFI:T:WPA;S:SA-00417-B;P:otter-lamp-42;;", code="12345678", fingerprint="3F 9A 11 C0 7E 52 D4 88",
)  # fmt: skip


def serviced(part: Part, **door: str) -> Station:
    """A part of the service menu; the door for a phone stands open."""
    menu = paged(Page.SERVICE, part=part, lights_at=NOW, phone_at=NOW, phone_until=NOW + 300)
    return replace(menu, phone=structs.replace(DOOR, **door))


ASKED = Ask(1, "04A2B3C4", 1, False, None, NOW, NOW + 8)

IDLE: dict[str, Station] = {
    "idle": two(),
    "idle, one port": furnished(station(FREE)),
    "idle, four ports": two(FREE, FREE, FREE, FREE),
    "idle, for everybody": furnished(station(FREE, FREE, settings=Settings(free=True))),
    "idle, offline": two(link=Link.DOWN),
    "idle, old list": replace(two(), allowlist=ListState(7, 1_480, WALL - ALARM_S)),
    "idle, no name": replace(two(), settings=Settings(station_id="SA-00417-B")),
    "idle, large text": furnished(station(FREE, FREE), large=True),
}
BUSY: dict[str, Station] = {
    "both charging": two(CHARGING, CHARGING),
    "four charging": two(CHARGING, CHARGING, CHARGING, CHARGING),
    "both charging, large text": furnished(station(CHARGING, CHARGING), large=True),
    "free again": two(replace(FREE, finished=FINISHED), CHARGING),
    "checking": two(PLUGGED, FREE, asks=(ASKED,)),
    "checking, which port": two(PLUGGED, PLUGGED, asks=(replace(ASKED, evse_id=None),)),
    "accepted": two(replace(FREE, grant=GRANT), CHARGING, notices=(Notice(1, None, NOW + 8),)),
    "card waits for a car": two(FREE, CHARGING, holding=Holding(GRANT, choose=False)),
    "card waits for a choice": two(PLUGGED, PLUGGED, holding=Holding(GRANT, choose=True)),
    "back to the start soon": replace(two(CHARGING, FREE), panel=Panel(language="es", touched_at=NOW - LEAVE_S + 11)),
}
AT_A_PORT = {f"situation: {each}": furnished(beside(bare)) for each, bare in SITUATIONS.items()}
LARGE = {f"port: {each}": furnished(beside(bare), page=Page.PORT, at=1) for each, bare in SITUATIONS.items()}
REFUSED = {f"refused: {reason}": refused(reason, 1) for reason in Reason}
REFUSED_ANYWHERE = {f"refused at no port: {reason}": refused(reason, 0) for reason in Reason}
READ: dict[str, Station] = {
    **{f"help {part + 1}": paged(Page.HELP, at=part) for part in range(HELP_PARTS)},
    **{f"help {part + 1}, large text": paged(Page.HELP, at=part, large=True) for part in range(HELP_PARTS)},
    **{str(page): paged(page) for page in KEYS if page not in (Page.HOME, Page.PORT, Page.HELP)},
    **{f"service: {part}": serviced(part) for part in Part if part},
    "service: phone is in": serviced(Part.PHONE, guest="192.0.2.17"),
    "service: no phone": replace(serviced(Part.PHONE), phone=None),
}

# -- the install wizard: each step as an installer finds it, and half way through -----------------------------------

PINPOINT = Pinpoint(59.913245, 10.739087, 6.0, Method.GNSS, WALL - 300, "Ann Lee, Bright Sparks")
INSTALLING = Wizard(
    installer="Ann Lee", company="Bright Sparks", breaker_ma=40_000, pinpoint=PINPOINT,
    place=Place("NO", "Norway", "Oslo", 1.4, "Europe/Oslo"),
    done={step: Mark(WALL - 600) for step in STEPS[:6]},
)  # fmt: skip


def installing(step: Step, **facts: object) -> Station:
    bare = furnished(station(FREE, FREE, settings=Settings(activated=False)), page=Page.WIZARD)
    return replace(bare, self_tested=True, wizard=replace(INSTALLING, step=step, **facts))  # type: ignore[arg-type]


def awaiting(door: PhoneTold) -> Station:
    """The wizard's last page has let a phone in, which has not come yet."""
    bare = installing(Step.HAND_OVER)
    panel = replace(bare.panel, page=Page.PHONE, phone_at=NOW, phone_until=NOW + 300)
    return replace(bare, panel=panel, phone=door)


def complete() -> Station:
    """Everything that has to be is done, and there is a door for phones."""
    bare = installing(Step.HAND_OVER, settings={"circuit_limit_ma": 32_000})
    machine, panel = replace(MACHINE, certificate_expiry_s=WALL + 1e8), replace(bare.panel, drawn=True, video=True)
    return replace(bare, machine=machine, panel=panel, phone=PhoneTold())


def with_receiver(station: Station) -> Station:
    return replace(station, machine=replace(station.machine, has_gnss=True))


WIZARD: dict[str, Station] = {
    **{f"wizard: {step}": installing(step) for step in STEPS},
    **{f"wizard begun: {step}": replace(installing(step), wizard=Wizard(step=step)) for step in STEPS},
    "wizard: a receiver's fixes": with_receiver(installing(
        Step.PINPOINT, fixes=(Point(59.913291, 10.739052, 3.5),) * 42, fixed_at=NOW, is_fixed=True,
        doubts=(Sentence("The station beside this one is {km} km away.", {"km": 7.2}),),
    )),
    "wizard begun: pinpoint with a receiver": with_receiver(replace(
        installing(Step.PINPOINT), wizard=Wizard(step=Step.PINPOINT),
    )),
    "wizard: to be confirmed": installing(Step.CIRCUIT, draft=Draft({"breaker_ma": 50_000}), confirms=True),
    "wizard: complete": complete(),
    "wizard: a phone may come": awaiting(structs.replace(DOOR, wifi="")),
    "wizard: a phone may join and come": awaiting(DOOR),
    "wizard: a field is changed": installing(Step.INSTALLER, cursor=1, editing=Editing("company", "Bright")),
}

STATIONS: dict[str, Station] = {**IDLE, **BUSY, **AT_A_PORT, **LARGE, **REFUSED, **REFUSED_ANYWHERE, **READ, **WIZARD}

# `make test` looks at FEW in English and SOME in Arabic; `make test-long` at all of them.
FEW = [
    *IDLE, *BUSY, *AT_A_PORT, *(name for name in READ if "large" not in name),
    *(f"port: {each}" for each in (Situation.AVAILABLE, Situation.CHARGING, Situation.FAULT, Situation.ENDED)),
    *(f"refused: {each}" for each in (Reason.NOT_CONNECTED, Reason.CLOSED, Reason.COULD_NOT_ASK, Reason.RANDOM_UID)),
    *(f"refused at no port: {each}" for each in (Reason.NOT_CONNECTED, Reason.CHOOSE_PORT)),
    *(name for name in WIZARD if "begun" not in name),
]  # fmt: skip
SOME = [*IDLE, *BUSY, *(name for name in READ if "large" not in name), "wizard: circuit", "wizard: readiness"]
ONE_OF_EACH = [  # layout
    "idle", "both charging", "situation: fault", "port: charging", "refused: not connected",
    "refused at no port: not connected", "wizard: circuit", "wizard: pinpoint", "wizard: readiness",
    *(name for name in READ if "large" not in name),
]  # fmt: skip
