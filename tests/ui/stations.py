"""One station for each thing that a display can show: situations, refusals, pages, the station's own lines."""

from dataclasses import replace
from typing import Any

from msgspec import structs

from agent import owner
from agent.events import Link, ListState, Machine, PhoneTold
from agent.navigation import HELP_PARTS, KEYS
from agent.panel import LEAVE_S, Page, Panel, Part
from agent.policy import access, display_message
from agent.policy.display_message import Messages
from agent.policy.freshness import ALARM_S
from agent.policy.owner import Owner
from agent.policy.plan_token import Standing, Token
from agent.policy.reasons import Reason
from agent.policy.reservation import Reservation
from agent.policy.sharing import TURN_S, Sharing
from agent.policy.tariff import bill as bills
from agent.policy.tariff import choice, terms
from agent.policy.tariff.choice import Choice, Defaults, Rule
from agent.policy.tariff.usage import Kind
from agent.settings import Settings
from agent.station import Ask, Controller, Holding, Notice, Station
from agent.transaction import Ending, StoppedReason, Trigger
from agent.ui.situation import Situation
from agent.wizard.coordinates import Point
from agent.wizard.facts import STEPS, Draft, Editing, Mark, Method, Pinpoint, Step, Wizard
from agent.wizard.places import Place
from agent.wizard.sentence import Sentence
from tests.test_view import CHARGING, FREE, GRANT, NOW, OFFERED, PLUGGED, SITUATIONS, TX, WALL, station

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

# -- what the owner has decided: prices, hours, reservations, the plan, turns, messages -------------------------------


def tariff(currency: str = "EUR", kwh: float = 0.45, **more: Any) -> dict[str, Any]:
    return {"tariffId": "T", "currency": currency, "energy": {"prices": [{"priceKwh": kwh}]}, **more}


IDLE_TIME = {"prices": [{"priceMinute": 0.05, "conditions": {"minIdleTime": 1_800}}]}
FULL = tariff(
    energy={"prices": [
        {"priceKwh": 0.59, "conditions": {"startTimeOfDay": "07:00", "endTimeOfDay": "19:00"}}, {"priceKwh": 0.45},
    ]},
    chargingTime={"prices": [{"priceMinute": 0.02}]}, idleTime=IDLE_TIME, fixedFee={"prices": [{"priceFixed": 1.0}]},
    minCost={"inclTax": 2.0}, maxCost={"inclTax": 60.0},
)  # fmt: skip
YEN, DINARS = tariff("JPY", 35, idleTime=IDLE_TIME), tariff("KWD", 0.0125)
MOST = 999_999_999.0  # the highest price that is taken
DEAR = tariff(
    "KWD", MOST, chargingTime={"prices": [{"priceMinute": MOST}]}, idleTime={"prices": [{"priceMinute": MOST}]},
    fixedFee={"prices": [{"priceFixed": MOST}]}, minCost={"inclTax": MOST}, maxCost={"inclTax": MOST},
)  # fmt: skip
FREE_OF_CHARGE = tariff(kwh=0)


def priced(*said: dict[str, Any]) -> Owner:
    """The first for port 1, the next one for port 2; one alone for both."""
    return Owner(default_tariffs=Defaults({i: (terms.read(said[(i - 1) % len(said)]),) for i in (1, 2)}))


def with_groups(*said: dict[str, Any], public: dict[str, Any]) -> Station:
    """A fleet, and whoever else has a tariff of his own; everybody may come."""
    rules = [{"groups": [f"g{i}"], "tariff": each} for i, each in enumerate(said)]
    owned = replace(priced(public), group_tariffs=choice.read_group_tariffs({"version": "1", "rules": rules}))
    return ruled(two(PLUGGED, CHARGING, owner=owned), [{"name": "all", "who": "everyone"}])


def billed(said: dict[str, Any], kind: Kind = Kind.CHARGING) -> Any:
    """A port that charges under this tariff."""
    tx, zone = CHARGING.transaction, station().zone
    assert tx
    bill = bills.begun(Choice(Rule.DEFAULT, terms.read(said)), tx.started, zone)
    return replace(CHARGING, transaction=replace(tx, bill=bills.counted(bill, tx.started, tx.last, kind, zone)))


def over(port: Any) -> Any:
    finished = replace(port.transaction, ending=FINISHED.ending)
    return replace(PLUGGED, served=True, finished=finished)


HOURS = {"week": [{"start_min": 480, "end_min": 1_080, "weekdays": [0, 1, 2, 3, 4]}]}  # WALL is a Friday, 8:00
HOLIDAY = {**HOURS, "dated": [{"day": "2027-01-15"}]}
RULES: dict[str, list[dict[str, Any]]] = {
    "for everybody until": [{"name": "day", "who": "everyone", "hours": HOURS}],
    "for some": [{"name": "staff", "who": "groups", "groups": ["staff"]}],
    "closed": [{"name": "night", "who": "everyone", "hours": {"week": [{"start_min": 1_320, "end_min": 360}]}}],
    "closed on a holiday": [{"name": "day", "who": "everyone", "hours": HOLIDAY}],
    "nobody": [],
}


def ruled(bare: Station, rules: list[dict[str, Any]], **more: Any) -> Station:
    policy = access.ready(access.read({"policyId": "p", "version": 1, "rules": rules, **more}))
    return owner.derived(replace(bare, owner=replace(bare.owner, access=policy)), NOW)


def saying(*texts: tuple[str, dict[str, Any]]) -> Messages:
    languages = {"en", "es", "fr", "de", "zh", "ar"}
    infos = (
        {"id": i, "priority": "InFront", "message": {"format": "UTF8", "content": text}, **more}
        for i, (text, more) in enumerate(texts, 1)
    )
    return tuple(display_message.read(info, languages, {TX.transaction_id: 1}, 2) for info in infos)


def told(bare: Station, *texts: tuple[str, dict[str, Any]]) -> Station:
    return replace(bare, owner=replace(bare.owner, messages=saying(*texts)))


LONG = (  # as long as one may be
    "On Saturday the car park is closed from 8 in the morning until 6 in the evening, because the market comes to the "
    "square: please fetch your car on Friday evening. Whoever stays pays nothing for it, but cannot leave before the "
    "last stall is gone."
)
ARABIC = "يُغلق الموقف يوم السبت من 8:00 إلى 18:00 بسبب السوق."
AT_1 = {"display": {"name": "Display", "evse": {"id": 1}}}
STAYING = replace(billed(FULL, Kind.IDLE), report=replace(OFFERED, contactor=False, power_w=0), drew=True)


def staying(idle_s: float, port: Any = STAYING) -> Station:
    tx, name = port.transaction or port.finished, "transaction" if port.transaction else "finished"
    kept = replace(tx, overstay_s=1_800)
    return two(replace(port, idle_at=NOW - idle_s, **{name: kept}), CHARGING)


PLAN = Token("aa", 1, "Business", int(WALL) - 40_000_000, int(WALL) - 30 * 86_400, int(WALL) + 10_000_000)
RESERVED = tuple(Reservation(port, "04FFEE11", WALL + 900, port) for port in (1, 2))
WAITING = Sharing((1,), (0,), NOW - TURN_S + 700)

OWNER: dict[str, Station] = {
    "price: all parts": two(owner=priced(FULL)),
    "price: all parts, for a card": two(PLUGGED, CHARGING, owner=priced(FULL)),
    "price: free": two(owner=priced(FREE_OF_CHARGE)),
    "price: each port its own": two(owner=priced(FULL, YEN)),
    "price: of the public and of a group": with_groups(FREE_OF_CHARGE, public=tariff(kwh=0.59)),
    "price: of the public and of many groups": with_groups(FREE_OF_CHARGE, YEN, DINARS, DEAR, public=FULL),
    "price: dinars": two(PLUGGED, replace(FREE, grant=GRANT), owner=priced(DINARS)),
    "price: the highest": two(PLUGGED, PLUGGED, owner=priced(DEAR)),
    "cost: running": two(billed(FULL), billed(YEN), owner=priced(FULL)),
    "cost: the highest": two(billed(DEAR), billed(DEAR), owner=priced(DEAR)),
    "cost: ended": two(over(billed(FULL)), over(billed(DINARS)), owner=priced(FULL)),
    "cost: ended, the highest": two(over(billed(DEAR)), replace(over(billed(DEAR)), served=False, report=FREE.report)),
    "cost: free again": two(
        replace(FREE, finished=over(billed(FULL)).finished), replace(FREE, finished=over(billed(YEN)).finished),
        owner=priced(FULL),
    ),
    **{f"access: {name}": ruled(two(), rules) for name, rules in RULES.items()},
    "access: it closes soon": ruled(
        two(CHARGING, PLUGGED), [{"name": "day", "who": "everyone", "hours": {"week": [{"end_min": 485}]}}],
        atClosing="stop",
    ),
    "stay: soon too long": staying(1_500),
    "stay: too long": staying(2_500),
    "stay: too long, finished": staying(2_500, over(billed(FULL))),
    "reserved: one port": two(PLUGGED, FREE, owner=Owner(reservations=RESERVED)),
    "reserved: only with one": two(owner=Owner(is_reservable=True)),
    "plan: ended": two(owner=Owner(tokens=(PLAN,), standing=Standing.ENDED)),
    "plan: soon over, service": replace(
        paged(Page.SERVICE), owner=Owner(tokens=(structs.replace(PLAN, ends_s=int(WALL) + 20 * 86_400),)),
    ),
    "plan: deactivated": two(owner=Owner(standing=Standing.DEACTIVATED)),
    "plan: deactivated, free": two(PLUGGED, FREE, owner=Owner(standing=Standing.DEACTIVATED, is_free_after_plan=True)),
    "life: transferred": furnished(
        station(FREE, FREE, settings=Settings(activated=False), owner=Owner(is_transferred=True))
    ),
    "turn: waits": two(
        replace(PLUGGED, transaction=TX), replace(CHARGING, plugged_at=1.0), sharing=WAITING,
        controller=Controller(1, 8_000),
    ),
    "price: with a description": two(PLUGGED, FREE, owner=priced(tariff(description=[
        {"format": "UTF8", "content": LONG}, {"format": "UTF8", "language": "ar", "content": ARABIC},
    ]))),
    "message: for all": told(two(), (LONG, {})),
    "message: while charging": told(two(CHARGING, PLUGGED), (LONG, {})),
    "message: for one port": told(two(CHARGING, FREE), ("For taxis only.", AT_1)),
    "message: for one port, idle": told(two(), ("For taxis only.", AT_1)),
    "message: Arabic": told(two(CHARGING, FREE), (ARABIC, {})),
    "message: Arabic, idle": told(two(), (ARABIC, {})),
}
OWNER |= {
    f"idle, {name}": replace(each, ports=(FREE, replace(FREE, evse_id=2)))
    for name, each in list(OWNER.items()) if name.startswith("price: of the public")
}  # fmt: skip
OWNER |= {
    f"port: {name}": replace(each, panel=replace(each.panel, page=Page.PORT, at=1))
    for name, each in list(OWNER.items())
    if name in ("price: all parts, for a card", "price: the highest", "cost: running", "cost: the highest",
                "cost: ended, the highest", "stay: too long", "turn: waits", "message: while charging")
}  # fmt: skip

STATIONS: dict[str, Station] = {
    **IDLE, **BUSY, **AT_A_PORT, **LARGE, **REFUSED, **REFUSED_ANYWHERE, **OWNER, **READ, **WIZARD,
}  # fmt: skip

# `make test` looks at FEW in English and SOME in Arabic; `make test-long` at all of them.
FEW = [
    *IDLE, *BUSY, *AT_A_PORT, *(name for name in READ if "large" not in name),
    *(f"port: {each}" for each in (Situation.AVAILABLE, Situation.CHARGING, Situation.FAULT, Situation.ENDED)),
    *(f"refused: {each}" for each in (Reason.NOT_CONNECTED, Reason.CLOSED, Reason.COULD_NOT_ASK, Reason.RANDOM_UID)),
    *(f"refused at no port: {each}" for each in (Reason.NOT_CONNECTED, Reason.CHOOSE_PORT)),
    *(name for name in WIZARD if "begun" not in name),
    "price: all parts, for a card", "cost: the highest", "stay: too long", "turn: waits", "message: while charging",
]  # fmt: skip
SOME = [
    *IDLE, *BUSY, *(name for name in READ if "large" not in name),
    "wizard: circuit", "wizard: readiness", "turn: waits",
]  # fmt: skip
ONE_OF_EACH = [  # layout
    "idle", "both charging", "situation: fault", "port: charging", "refused: not connected",
    "refused at no port: not connected", "wizard: circuit", "wizard: pinpoint", "wizard: readiness",
    *(name for name in READ if "large" not in name),
]  # fmt: skip
