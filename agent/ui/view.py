"""What screen and lights show, derived from the station's facts: pure, nothing stored, a renderer only draws it.

Each port is in exactly one `Situation` (`situation.py`), whose words and light stand in one table (`shown.py`). What
concerns a tap is a `NoticeModel`, and stands before the situation for its few seconds (S6, S7).
"""

from agent import __version__, billing, cellular, life, navigation, service
from agent.cellular import TROUBLES
from agent.clock import wall
from agent.events import Link
from agent.faults import FAULTS, code
from agent.panel import Action, Page
from agent.policy import display_message
from agent.policy.freshness import DAY_S, NAMES, WARNING_S, Freshness, age_s, freshness
from agent.policy.lifecycle import State
from agent.policy.reasons import WORDS, Led, Reason, stands_s
from agent.policy.tariff.bill import total as total_cost
from agent.policy.tariff.cost import Cost
from agent.port import Port, Status
from agent.selftest import PartResult, Result, results, worst
from agent.station import Notice, Stage, Station, charging_state, circuit_ma
from agent.terms import status
from agent.transaction import ChargingState, Transaction
from agent.ui import pages, servicepage, wizard_page
from agent.ui.led import Light
from agent.ui.model import (
    FaultModel,
    Figure,
    Message,
    NoticeModel,
    PageModel,
    PortModel,
    ScreenModel,
    SoftKey,
    Tone,
    TotalModel,
)
from agent.ui.price import cost_figure, cost_text, port_price, station_price
from agent.ui.shown import (
    SHOWN,
    ahead,
    closed,
    code_of,
    elsewhere,
    ending,
    filled,
    instruction,
    left_s,
    light_of,
    part_name,
    start,
    until_text,
    who,
)
from agent.ui.situation import Situation, is_closed, is_fit, is_free, is_idle, situation, worst_first
from agent.ui.stay import stay
from agent.ui.words import ENGLISH, LANGUAGES, ONLY_ENGLISH, STARTING, Say, Says, clock_face
from agent.wizard.readiness import state


def screen(station: Station, now: float, says: Says = ONLY_ENGLISH) -> ScreenModel:
    """Everything there is to see at `now` (monotonic seconds), in the language that is chosen."""
    language = navigation.language(station)
    say = says.get(language, ENGLISH)
    said, support = station_notice(station, now, say), station.settings.support_number
    list_age = list_age_s(station, now)
    tested = results(station, now)
    page = navigation.page(station)
    ports = tuple(port_model(station, p, said, tested, now, say) for p in station.ports)
    leaving_s = navigation.leaving_s(station, now)
    messages = tuple(messages_of(station, tested, say))
    return ScreenModel(
        serial=station.settings.station_id,
        owner=station.settings.owner,
        software=__version__,
        support_number=support,
        language=say.language,
        direction=say.direction,
        large=station.panel.large,
        awake=station.panel.lit,
        page=page,
        layout=layout(station, page, now),
        evse_id=station.panel.at if page is Page.PORT else 0,
        focus=focus(station),
        turned=station.panel.turned,
        turns=navigation.is_left_alone(station, now),
        screenfuls=station.panel.screenfuls,
        title=title(station, say),
        headline=headline(station, now, say),
        who=who(station, now, say),
        ways=ways(station, say),
        start_text=start(station, say),
        price=station_price(station, now, say),
        note=note(station, now, say),
        support=say("Help: {number}", number=support) if support else "",
        link=station.link,
        link_text=link_text(station, say),
        bars=cellular.bars(station.modem),
        list_version=station.allowlist.version,
        list_age_s=list_age,
        list_late=list_age is not None and list_age >= WARNING_S,
        list_text=list_text(station, list_age, say),
        store_ok=station.store_ok,
        store_text=say("Sessions are recorded." if station.store_ok else WORDS[Reason.CANNOT_RECORD].text),
        ready=station.store_ok and all(is_fit(p) for p in station.ports) and not messages,
        error_led=bool(messages),
        self_test=tested,
        messages=messages,
        ports=ports,
        notice=said,
        how=pages.how_to_start(station, say),
        content=content(station, page, now, say),
        installer=say("An installer's phone is connected.") if service.is_phone_in(station) else "",
        leaving_s=leaving_s,
        leaving_text=say("Start page in {n} s. Press to stay.", n=leaving_s) if leaving_s else "",
        keys=tuple(SoftKey(action, key_label(station, action, say)) for action in navigation.keys(station, now)),
        words={name: say(text) for name, text in RENDERERS_OWN.items()},
    )


def link_text(station: Station, say: Say) -> str:
    """Of a station that is not connected why, if its modem knows, and somebody here could do something about it."""
    code = cellular.why_offline(station.modem) if station.link is Link.DOWN else ""
    return say(TROUBLES[code].shown) if code else say(LINKS[station.link])


def lights(station: Station, now: float) -> tuple[Light, ...]:
    """What each port's light says; the same as on the screen."""
    if tested := service.test_light(station, now):
        return (tested,) * len(station.ports)
    said = station_notice(station, now, ENGLISH)
    return tuple(light(station, port, said, port_notice(station, port, now, ENGLISH)) for port in station.ports)


def light(station: Station, port: Port, said: NoticeModel | None, notice: NoticeModel | None) -> Light:
    """`said` is what the station says to a driver whose port is not known: the ports that could be his light up."""
    spoken = notice or (said if port in spoken_to(station) else None)
    return spoken.led if spoken else light_of(station, port, situation(station, port))


def port_model(
    station: Station, port: Port, said: NoticeModel | None, tested: tuple[PartResult, ...], now: float, say: Say
) -> PortModel:
    at, report, tx = situation(station, port), port.report, port.transaction
    shown = SHOWN[at]
    text, action = filled(station, port, at, now, say)
    asked, said_here = stay(station, port, now, say), port_note(station, port, now, say)
    text = say.joined(text, asked, said_here)
    notice = port_notice(station, port, now, say)
    self_test = worst(part.result for part in tested if part.evse_id == port.evse_id)
    power_w = report.power_w if report else 0
    energy = energy_wh(port, tx) if tx else None
    elapsed = elapsed_s(station, tx, now, wall(station.clock, now)) if tx else None
    last = total(station, port.finished, say) if port.finished else None
    measured: tuple[Figure, ...] = ()
    if energy is not None:
        measured = figures(energy, power_w, elapsed, billing.so_far(station, port, now), say)
    elif last and port.finished and at is Situation.ENDED:
        measured = figures(last.energy_wh, None, last.elapsed_s, total_cost(port.finished.bill), say)
    return PortModel(
        evse_id=port.evse_id,
        name=say("Port {n}", n=port.evse_id),
        situation=at,
        status=status(station, port),
        charging_state=charging_state(station, port),
        tone=shown.tone,
        led=light(station, port, said, notice),
        title=say(shown.title),
        text=text,
        also=say.joined(ahead(station, port, at, now, say), asked, said_here),
        action=action,
        code=code_of(station, port, at),
        ready=is_fit(port),
        self_test=self_test,
        check=say(CHECKS[self_test]) if not is_fit(port) else say("✔ ready"),
        faults=tuple(
            FaultModel(f, say(FAULTS[f].text), say(FAULTS[f].fix), FAULTS[f].mrec, code(f)) for f in worst_first(port)
        ),
        retry_in_s=report.retry_in_s if report else 0,
        power_w=power_w,
        offer_a=(report.offer_ma if report else 0) / 1000,
        energy_wh=energy,
        elapsed_s=elapsed,
        figures=measured,
        price=port_price(station, port, now, say),
        offers=at in OFFERS,
        last=last,
        last_text=last_text(last, station.settings.total_cost_text, say) if last and not measured else "",
        notice=notice,
    )


OFFERS = (Situation.AVAILABLE, Situation.TAP_CARD, Situation.PLUG_IN)
CHECKS = {Result.PASSED: "✖ not ready", Result.FAILED: "✖ not ready", Result.RUNNING: "… self-test"}


def last_text(last: TotalModel, no_cost: str, say: Say) -> str:
    """`no_cost`: the owner's words for where the cost is not known here."""
    energy = say.number(last.energy_wh / 1000, 3)
    if last.cost:
        return say.joined(say("Last session: {energy} kWh, {cost}.", energy=energy, cost=last.cost), last.text)
    return say.joined(say("Last session: {energy} kWh.", energy=energy), say.isolated(no_cost), last.text)


def where_of(part: PartResult, say: Say) -> str:
    return say("Port {n}", n=part.evse_id) if part.evse_id else part_name(part, say)


def messages_of(station: Station, tested: tuple[PartResult, ...], say: Say) -> list[Message]:
    """What failed, where, and its fix: each part once."""
    return [
        Message(where_of(part, say), say(part.text), say(part.fix), part.code)
        for part in tested
        if part.result is Result.FAILED
    ]


def layout(station: Station, page: Page, now: float) -> str:
    """The video only where nobody needs the room."""
    if page is Page.PORT:
        return "port"
    if page is not Page.HOME:
        return "page"
    return "idle" if is_idle(station, now) else "ports"


FOCUS = (  # whose driver has something to do comes first
    Situation.PLUG_IN, Situation.TAP_CARD, Situation.BEGINNING, Situation.ENDED, Situation.LIMIT_REACHED,
    Situation.CHARGING,
)  # fmt: skip


def focus(station: Station) -> int:
    """The port that the driver at the display most likely means."""
    def rank(port: Port) -> int:
        at = situation(station, port)
        if is_being_asked(station, port.evse_id) or any(n.evse_id == port.evse_id for n in station.notices):
            return -1
        if at is Situation.AVAILABLE:
            return len(FOCUS) + 1
        return FOCUS.index(at) if at in FOCUS else len(FOCUS)

    return min(station.ports, key=rank).evse_id


def content(station: Station, page: Page, now: float, say: Say) -> PageModel | None:
    match page:
        case Page.HELP:
            return pages.help_page(station, say)
        case Page.ABOUT:
            return pages.about(station, now, say)
        case Page.SERVICE:
            return servicepage.service_page(station, now, say)
        case Page.PHONE:
            return servicepage.phone_page(station, now, say)
        case Page.WIZARD:
            return wizard_page.wizard_page(station, now, say)
    return None


LABELS: dict[Action, str] = {
    Action.NONE: "",
    Action.HELP: "Help",
    Action.ABOUT: "About",
    Action.LARGE: "Large text",
    Action.PORTS: "Ports",
    Action.NEXT: "Next",
    Action.BACK: "Back",
    Action.SERVICE: "Service",
    Action.UP: "Up",
    Action.DOWN: "Down",
    Action.DO: "Do it",
    Action.CHANGE: "Change",
    Action.LESS: "−",
    Action.MORE: "+",
    Action.SAVE: "Save",
    Action.CONTINUE: "Continue",
    Action.SKIP: "Later",
    Action.END: "End phone",
    Action.STOP: "End charge",
    Action.PHONE: "Phone",
    Action.LEAVE: "Leave",
}


def key_label(station: Station, action: Action, say: Say) -> str:
    """The language key says the next one in itself, for who cannot read this one."""
    if action is Action.LANGUAGE:
        return LANGUAGES[navigation.following(navigation.language(station))].name
    if action is Action.LARGE and station.panel.large:
        return say("Normal text")
    if navigation.page(station) is Page.WIZARD and (label := wizard_page.key_label(station, action, say)):
        return label
    return say(LABELS[action])


RENDERERS_OWN = {  # what a renderer says by itself, or while nobody can be asked
    "lost": "The station is restarting. Please wait.",
    "waiting": STARTING,
    "look": "Keys work at the station's own display only.",
    "video": "How to charge, as a video",
    "dark": "Touch to switch the display on.",
    "delete": "Delete",
    "space": "Space",
    "capitals": "Capital letters",
    "done": "Done",
    "cancel": "Cancel",
}


def title(station: Station, say: Say) -> str:
    """Whose station it is, and how its ports share the circuit: what an installer compares with the plan."""
    activation, owner = station.owner.activation, station.settings.owner
    name = " · ".join(filter(None, (activation.name if activation else "", owner))) or station.settings.station_id
    shared = len(station.ports) > 1 and circuit_ma(station) < station.settings.port_limit_ma * len(station.ports)
    if not shared:
        return say.isolated(name)
    return say("{name} · the ports share {n} A", name=name, n=circuit_ma(station) // 1000)


def note(station: Station, now: float, say: Say) -> str:
    """What the owner wants the start page to say (OCPP block O); what is for one port's display, behind its name."""
    if not station.owner.messages:
        return ""
    held = display_message.for_station(station.owner.messages)
    states = {message_state(station, port) for port in station.ports}
    of_ports = [(port, message_at(station, port, now)) for port in station.ports]
    return say.joined(
        in_words(display_message.shown(held, states, station.clock, now), say),
        *(say("Port {n}: {text}", n=port.evse_id, text=in_words(message, say))
          for port, message in of_ports if message and message.evse_id and not message.transaction_id),
    )  # fmt: skip


def port_note(station: Station, port: Port, now: float, say: Say) -> str:
    return in_words(message_at(station, port, now), say) if station.owner.messages else ""


def message_at(station: Station, port: Port, now: float) -> display_message.Message | None:
    running = port.transaction.transaction_id if port.transaction else None
    held = display_message.for_port(station.owner.messages, port.evse_id, running)
    return display_message.shown(held, {message_state(station, port)}, station.clock, now)


def in_words(message: display_message.Message | None, say: Say) -> str:
    return say.quoted(display_message.in_language(message, say.language)) if message else ""


def message_state(station: Station, port: Port) -> str:
    """OCPP 2.1 MessageStateEnumType."""
    at = status(station, port)
    if at in (Status.FAULTED, Status.UNAVAILABLE):
        return str(at)
    if port.transaction is None:
        return "Idle"
    suspended = (ChargingState.SUSPENDED_EV, ChargingState.SUSPENDED_EVSE)
    return "Suspended" if charging_state(station, port) in suspended else "Charging"


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


def total(station: Station, tx: Transaction, say: Say) -> TotalModel:
    at_s = elapsed_s(station, tx, tx.last.mono_s, tx.last.wall_s)
    return TotalModel(max(0, tx.energy_wh), at_s, ending(tx, say), cost_text(total_cost(tx.bill), say))


def figures(
    energy_wh: int, power_w: int | None, elapsed_s: int | None, cost: Cost | None, say: Say
) -> tuple[Figure, ...]:
    """From zero on (NIST HB44 3.40 S.2.7). A session that has ended has no power."""
    energy = Figure("energy", say.number(energy_wh / 1000, 3), "kWh")
    unit = say("h:min:s" if elapsed_s and elapsed_s >= 3_600 else "min:s")
    time = Figure("time", "–" if elapsed_s is None else clock_face(elapsed_s), unit)
    power = () if power_w is None else (Figure("power", say.number(power_w / 1000, 1), "kW"),)
    return (energy, *cost_figure(cost, say), *power, time)


# -- what is said to who has just tapped ------------------------------------------------------------------------------


def checking(say: Say) -> NoticeModel:
    text, action = say("Checking …"), say("Please wait a moment.")
    return NoticeModel(Tone.WAIT, Light.AUTHORISING, say("Card read"), text, action)


TITLES = {
    Led.REFUSED: "Not accepted",
    Led.ASK: "One more step",
    Led.COULD_NOT_ASK: "Could not check this card",
    Led.OUT_OF_SERVICE: "Cannot start here",
    Led.NOT_ACTIVATED: "Cannot start here",
    Led.UPDATING: "Cannot start here",
}


def is_being_asked(station: Station, evse_id: int | None) -> bool:
    """A tap for this port (None: port not known) is on its way. A late one is not: its driver has been answered."""
    return any(ask.evse_id == evse_id and ask.stage is not Stage.LATE for ask in station.asks)


def port_notice(station: Station, port: Port, now: float, say: Say) -> NoticeModel | None:
    if is_being_asked(station, port.evse_id):
        return checking(say)
    notice = next((n for n in station.notices if n.evse_id == port.evse_id and now < n.until), None)
    if notice is None:
        return None
    if notice.reason:
        return words(station, notice, now, say)
    at = situation(station, port)
    text, action = filled(station, port, at, now, say)  # what was accepted, start or stop, the port's facts say best
    tone, led = SHOWN[at].tone, light_of(station, port, at)
    return NoticeModel(tone, led, say("Card accepted"), text, action, stands_s=stands_s(None))


def station_notice(station: Station, now: float, say: Say) -> NoticeModel | None:
    """A refusal stands its time; after it the card that waits for a port is on the screen as long as it waits."""
    if is_being_asked(station, None):
        return checking(say)
    refusal = next((n for n in station.notices if n.evse_id == 0 and n.reason and now < n.until), None)
    holding = station.holding
    if refusal and not (holding and refusal.reason is Reason.CHOOSE_PORT):
        return words(station, refusal, now, say)
    if holding is None:
        return None
    title = say("Card accepted")
    if holding.choose:
        choose = WORDS[Reason.CHOOSE_PORT]
        return NoticeModel(Tone.WAIT, Light.ASK, title, say(choose.text), say(choose.action), choose.code)
    do = say("Plug in your car within {left_s} s.", left_s=left_s(holding.grant.until, now))
    return NoticeModel(Tone.WAIT, Light.ASK, title, say("The next car that is plugged in is yours."), do)


def words(station: Station, notice: Notice, now: float, say: Say) -> NoticeModel:
    """A refusal as the driver sees it: its one text, and the facts that only the station knows (D3)."""
    reason = notice.reason
    assert reason, "accepted"
    said = WORDS[reason]
    action = say(instruction(reason), elsewhere=elsewhere(station, say, notice.evse_id))
    old_s = list_age_s(station, now)
    if reason in (Reason.NOT_CONNECTED, Reason.LIST_TOO_OLD) and old_s is not None:
        action = say.joined(action, say("This station's list was confirmed {age} ago.", age=say.age(old_s)))
    tone = Tone.WAIT if said.led in (Led.ASK, Led.COULD_NOT_ASK) else Tone.FAULT
    title = say(TITLES[said.led])
    text = say.joined(say(said.text), until_text(station, notice.changes_s, now, say))
    return NoticeModel(tone, Light(said.led), title, text, action, said.code, stands_s(reason))


def spoken_to(station: Station) -> tuple[Port, ...]:
    """The ports whose light answers a driver without a port: those that could be his; if there is none, all."""
    shut = (Status.UNAVAILABLE, Status.FAULTED)
    could = tuple(p for p in station.ports if not p.transaction and status(station, p) not in shut)
    return could or station.ports


# -- the station's own lines ------------------------------------------------------------------------------------------


LINKS = {
    Link.UP: "Online",
    Link.DOUBT: "Online, but answers are missing",
    Link.DOWN: "Offline. Sessions are kept and sent later",
}


def headline(station: Station, now: float, say: Say) -> str:
    if reason := life.refusal(station):
        waits = state(station) is State.READY
        return say("Ready, waiting for activation." if waits else WORDS[reason].text)
    if not station.store_ok:
        return say(WORDS[Reason.CANNOT_RECORD].text)
    free = [str(p.evse_id) for p in station.ports if is_free(station, p)]
    if len(free) == 1:
        return say("Port {n} is free", n=free[0])
    if free:
        return say("Ports {list} and {last} are free", list=say.listed(free[:-1]), last=free[-1])
    if is_closed(station):
        return closed(station, now, say)
    taken = (Status.OCCUPIED, Status.RESERVED)
    if any(p.transaction or status(station, p) in taken for p in station.ports):
        return say("No port is free")
    if bar := station.bar:
        return say(WORDS[bar.reason].text)
    is_starting = any(p.report is None and not p.lost for p in station.ports)
    return say("Starting" if is_starting else "Out of service")


def ways(station: Station, say: Say) -> tuple[str, ...]:
    """D8: the ways to start that work now."""
    if life.refusal(station):
        return ()
    by_hand = say("plug in") if life.is_free(station) else say("driver card")
    return (by_hand, say("app")) if station.link is not Link.DOWN else (by_hand,)


def list_age_s(station: Station, now: float) -> int | None:
    """Since the cloud last said, by its own time, that the list is current (S5)."""
    old_s = age_s(station.allowlist, station.clock, now)
    return None if old_s is None else int(old_s)


FOLLOWS = {
    Freshness.FRESH: "",
    Freshness.LATE: "The newest approvals and removals may be missing.",
    Freshness.OLD: "What the owner has approved or removed since is not in force. Who is on it can charge {left}.",
    Freshness.LAPSED: "Nobody starts by it until the network is back.",
}


def list_text(station: Station, list_age: int | None, say: Say) -> str:
    state = station.allowlist
    if not state.version:
        return say("No list of connected drivers yet")
    confirmed = say("confirmed {age} ago", age=say.age(list_age)) if list_age is not None else say("age unknown")
    text = say("List {n}, {cards} cards, {confirmed}", n=state.version, cards=state.entries, confirmed=confirmed)
    grace_s = station.settings.list_grace_days * DAY_S
    fresh = freshness(list_age, station.settings.list_grace_days)
    left = say("for {age} more", age=say.age(grace_s - (list_age or 0))) if grace_s else say("all the same")
    if not NAMES[fresh]:
        return text
    return say.joined(say("{list}: {state}.", list=text, state=say(NAMES[fresh])), say(FOLLOWS[fresh], left=left))
