"""The install wizard as a page: what each step asks, shows and still misses. Pure; the steps are `agent/wizard/`."""

from collections.abc import Callable, Iterator
from datetime import datetime

from agent import __version__, cellular, selftest
from agent.cellular import TROUBLES
from agent.clock import ClockSource, wall
from agent.events import Link
from agent.panel import Action
from agent.port import is_plugged
from agent.selftest import Result
from agent.station import Station, charging_state
from agent.transaction import TEST_RULE, ChargingState
from agent.ui.maps import STREETS, length, point_text, station_map
from agent.ui.model import Block, Field, Option, PageModel, Prose, Qr, Row, Rows
from agent.ui.shown import part_name
from agent.ui.words import LANGUAGES, Say
from agent.wizard import flow, inputs, layer, readiness, receiver, steps
from agent.wizard.coordinates import Point
from agent.wizard.facts import STEPS, Method, Sentence, Step
from agent.wizard.inputs import Input
from agent.wizard.steps import ROWS
from agent.wizard.steps import Row as Row_

OPTIONS_MAX = 9  # of a choice at once
AROUND = 3  # signs of the wheel at each side of the one that is taken
OLD_MODEMS = ("GSM", "CDMA")  # 3G and older: networks that end (M1)
ENDING = (TROUBLES["UPGRADE"].shown, TROUBLES["REPLACE"].shown)


def wizard_page(station: Station, now: float, say: Say) -> PageModel:
    wizard = station.wizard
    title = say(ROWS[wizard.step].title)
    number = STEPS.index(wizard.step) + 1
    if wizard.confirms:
        title = say("{step}: confirm", step=title)
        blocks = tuple(confirmation(station, say))
    else:
        blocks = (*refusal(station, say), *CONTENTS[wizard.step](station, now, say))
    return PageModel(title, blocks, number, len(STEPS), footer(station, now, say))


def said(say: Say, sentence: Sentence) -> str:
    return say(sentence.text, **sentence.facts)


def footer(station: Station, now: float, say: Say) -> str:
    """What is still missing, on every page, in one line: the readiness page says all of it."""
    rows = steps.closed_by(station, now)
    closed = [row for row in rows if row.step is not Step.READINESS] or rows  # which asks for the others, too
    missing = say("Missing: {list}.", list=short(closed, say)) if closed else ""
    open_ = steps.open_items(station, now)
    waiting = say("Open: {list}.", list=len(open_) if closed else short(open_, say)) if open_ else ""
    return say.joined(missing, waiting) or say("Nothing is missing.")


def short(rows: list[Row_], say: Say) -> str:
    """The first two, and how many more: Circuit, Installer +1."""
    more = f" +{len(rows) - 2}" if len(rows) > 2 else ""
    return say.listed(say(row.title) for row in rows[:2]) + more


def key_label(station: Station, action: Action, say: Say) -> str:
    """What the wizard calls a key; "" = as everywhere."""
    return say(flow.label(station, action))


def refusal(station: Station, say: Say) -> Iterator[Block]:
    """Of a field that is not on this page, or of the whole."""
    refused = station.wizard.refused
    names = [field.name for field in inputs.inputs(station, station.wizard.step)]
    if refused and refused.name not in names:
        yield Prose(said(say, refused.why), "warning")


# -- fields -----------------------------------------------------------------------------------------------------------


def fields(station: Station, say: Say) -> Iterator[Field]:
    here = inputs.inputs(station, station.wizard.step)
    for number, each in enumerate(here):
        yield field(station, each, number == flow.at(station) and not station.wizard.confirms, say)


def field(station: Station, each: Input, is_chosen: bool, say: Say) -> Field:
    editing, refused = station.wizard.editing, station.wizard.refused
    is_edited = editing is not None and editing.name == each.name
    value = editing.value if editing and is_edited else each.read(station)
    least, most = each.bounds(station) if each.kind == "number" else (None, None)
    shown, hint = text_of(each, value, say), say(each.hint)
    if is_edited and each.kind == "text":
        shown, hint = f"{value}[{flow.sign(station)}]", wheel(station, say)
    return Field(
        name=each.name,
        kind=each.kind,
        label=say(each.label),
        value=value,
        shown=shown,
        options=tuple(Option(option, text_of(each, option, say)) for option in near(each.options(station), value)),
        unit=each.unit,
        least=least,
        most=most,
        step=None if least is None else 1,
        length_max=each.length_max,
        hint=hint,
        error=said(say, refused.why) if refused and refused.name == each.name else "",
        chosen=is_chosen,
        editing=is_edited,
    )


def near(options: tuple[str, ...], value: str) -> tuple[str, ...]:
    """Of a long list those around the value: whoever presses the last of them sees those behind it."""
    at = options.index(value) if value in options else 0
    first = max(0, min(at - OPTIONS_MAX // 2, len(options) - OPTIONS_MAX))
    return options[first : first + OPTIONS_MAX]


def text_of(each: Input, value: str, say: Say) -> str:
    """A value as a person reads it."""
    if each.name == "language" and value in LANGUAGES:
        return LANGUAGES[value].name
    if each.name == "charge":
        return say("none") if value == "-" else say("Port {n}", n=value)
    if each.name == "gnss":
        return say("take its point") if value == inputs.TAKE_FIX else say("not taken")
    if each.name == "time_zone":
        return value.rpartition("/")[2].replace("_", " ") if each.kind == "choice" else value
    if each.name == "breaker_a" and value == "0":
        return "–"
    return f"{value} {each.unit}" if each.unit and value else value or "–"


def wheel(station: Station, say: Say) -> str:
    """The signs beside the one that is taken next, as they pass."""
    each, editing = flow.edited(station), station.wizard.editing
    assert each and editing
    signs = flow.wheel(each, editing.value)
    at = editing.turn % len(signs)
    around = [signs[(at + i) % len(signs)] for i in range(-AROUND, AROUND + 1)]
    around[AROUND] = f"[{around[AROUND]}]"
    return " ".join("␣" if sign == " " else sign for sign in around)


# -- the steps --------------------------------------------------------------------------------------------------------


def language(station: Station, now: float, say: Say) -> Iterator[Block]:
    yield Prose(say("This station is being installed. It goes on where you left it, also after a power cut."))
    yield from fields(station, say)


def installer(station: Station, now: float, say: Say) -> Iterator[Block]:
    yield Prose(say("Who installs this station? The report to its operator names you."))
    yield from fields(station, say)


def identity(station: Station, now: float, say: Say) -> Iterator[Block]:
    serial, macs = station.settings.station_id, ", ".join(station.machine.macs) or say("unknown")
    item = readiness.identity(station)
    yield Prose(say("The activation call asks for these numbers."))
    yield Rows((
        Row(say("Serial number"), serial),
        Row(say("MAC address"), macs),
        Row(say("Certificate"), say("there") if item.is_met else say("none"), mark(item.is_met)),
    ))  # fmt: skip
    if not item.is_met:
        yield Prose(said(say, item.fix), "warning")
    yield Qr(f"SN:{serial} MAC:{','.join(station.machine.macs)}", f"{serial} {macs}")


def mark(is_met: bool, *, may_wait: bool = False) -> str:
    return "passed" if is_met else "open" if may_wait else "failed"


MARKS = {Result.PASSED: "passed", Result.FAILED: "failed", Result.RUNNING: "running"}


def self_test(station: Station, now: float, say: Say) -> Iterator[Block]:
    """What failed comes first, with what to do; it changes while one watches."""
    results = selftest.results(station, now)
    bad = [part for part in results if part.result is Result.FAILED]
    for part in bad:
        what = say.joined(say(part.text), say(part.fix))
        yield Prose(say("{part}: {what}", part=where(part, say), what=what), "warning")
    if not bad and (why := steps.self_test(station, now)):
        yield Prose(said(say, why))
    alone = [p for p in results if p.result is not Result.PASSED or not p.evse_id]
    rows = [Row(where(p, say), say(p.result), MARKS[p.result]) for p in alone]
    for port in station.ports:
        passed = [part_name(p, say) for p in results if p not in alone and p.evse_id == port.evse_id]
        if passed:
            rows.append(Row(say("Port {n}", n=port.evse_id), say.listed(passed), "passed"))
    yield Rows(tuple(rows))


def where(part: selftest.PartResult, say: Say) -> str:
    name = part_name(part, say)
    return say("Port {n}, {part}", n=part.evse_id, part=name) if part.evse_id else name


def circuit(station: Station, now: float, say: Say) -> Iterator[Block]:
    yield from fields(station, say)
    yield Prose(sharing(station, say))
    item = readiness.circuit(station)
    if station.wizard.draft:
        yield Prose(say("Continue shows old and new values. They count when they are confirmed there."))
    else:
        yield Rows((Row(say("Port controller"), said(say, item.evidence), mark(item.is_met)),))
        if station.wizard.owed:
            yield Prose(said(say, item.fix))
    if station.settings.circuit_limit_ma < layer.commissioned(station, "circuit_limit_ma"):
        yield Prose(say("The cloud allows {n} A at present.", n=station.settings.circuit_limit_ma // 1000), "small")


def sharing(station: Station, say: Say) -> str:
    """The sum that an installer would make on paper."""
    breaker, limit, port = (
        layer.drafted(station, key) // 1000 for key in ("breaker_ma", "circuit_limit_ma", "port_limit_ma")
    )
    count = len(station.ports)
    carried, most = layer.continuous_ma(breaker * 1000) // 1000, layer.board(station).circuit_limit_ma // 1000
    if carried > most:
        sum_ = say(
            "80 % of {breaker} A: {n} A; this station takes {most} A at most.", breaker=breaker, n=carried, most=most
        )
    else:
        sum_ = say("80 % of {breaker} A: {n} A.", breaker=breaker, n=carried) if breaker else ""
    if count == 1:
        return sum_
    facts = {"count": count, "port": port, "sum": count * port, "limit": limit}
    if count * port > limit:
        text = say("{count} ports of {port} A could draw {sum} A: they share {limit} A.", **facts)
    else:
        text = say("{count} ports of {port} A draw {sum} A at most: each has its full current.", **facts)
    return say.joined(sum_, text)


NAMES = {
    "breaker_ma": "Breaker of this station",
    "circuit_limit_ma": "Circuit, all ports together",
    "port_limit_ma": "Each port at most",
    "phases": "Phases wired to each port",
}


def confirmation(station: Station, say: Say) -> Iterator[Block]:
    """Old and new, for the key at the panel."""
    draft = station.wizard.draft
    if draft and draft.by_phone:
        yield Prose(say("These values came by telephone. Compare them with the breaker in front of you."), "warning")
    else:
        yield Prose(say("Compare with the breaker in front of you."))
    changes = layer.changes(station)
    rows = [Row(say(NAMES[key]), f"{amount(key, old)} → {amount(key, new)}") for key, old, new in changes]
    held = f"{layer.held_ma(station) // 1000} A → {layer.drafted(station, 'circuit_limit_ma') // 1000} A"
    yield Rows((*rows, Row(say("Port controller"), held)))
    yield Prose(sharing(station, say))
    if why := flow.why_not_confirmed(station):
        yield Prose(said(say, why), "warning")


def amount(key: str, value: int) -> str:
    if key == "phases":
        return str(value)
    return f"{value // 1000} A" if value else "–"


def network(station: Station, now: float, say: Say) -> Iterator[Block]:
    machine, item = station.machine, readiness.cloud(station)
    rows = [Row(say("Modem"), machine.modem_type or say("unknown" if machine.has_modem else "none: gateway or LAN"))]
    if machine.modem_type or machine.has_modem:
        rows.append(Row(say("SIM"), machine.iccid or say("not read"), mark(bool(machine.iccid))))
        rows.append(signal(station, say))
    rows.append(Row(say("Gateway"), machine.gateway or say("none"), mark(bool(machine.gateway), may_wait=True)))
    up = station.link is Link.UP
    rows.append(Row(say("Broker"), say(LINKS[station.link]), mark(up, may_wait=True)))
    rows.append(Row(say("Cloud"), said(say, item.evidence), mark(item.is_met, may_wait=True)))
    told = [TROUBLES[code].shown for code in cellular.troubles(station.modem)]
    if machine.modem_type.upper() in OLD_MODEMS and not any(text in told for text in ENDING):
        yield Prose(say("This modem is for 2G or 3G networks, which end. Have it replaced by one for LTE."), "warning")
    for code in cellular.troubles(station.modem):
        if TROUBLES[code].shown:
            yield Prose(say(TROUBLES[code].shown), "warning")
    yield Rows(tuple(rows))
    if not item.is_met:
        yield Prose(said(say, item.fix))


def signal(station: Station, say: Say) -> Row:
    """Good enough is RSRQ of -12.5 dB; of a modem that does not tell it nobody knows."""
    modem, level = station.modem, cellular.signal_dbm(station.modem)
    if level is None:
        return Row(say("Signal"), say("unknown"), "open")
    rsrq = "" if modem.rsrq_db is None else f", RSRQ {modem.rsrq_db} dB"
    return Row(say("Signal"), f"{level} dBm{rsrq}", "" if modem.is_good is None else mark(modem.is_good))


LINKS = {Link.UP: "Online", Link.DOUBT: "Online, but answers are missing", Link.DOWN: "Not connected."}

METHODS = {
    Method.TYPED: "typed or pasted",
    Method.NUDGED: "moved by metres",
    Method.SISTER: "from a sister station",
    Method.GNSS: "from a receiver",
}
assert METHODS.keys() == set(Method)


def pinpoint(station: Station, now: float, say: Say) -> Iterator[Block]:
    """Where the point comes from, what speaks against it, and the map, on which one sees it; small displays show little
    at once, so the rest comes after these."""
    point, here_now = station.wizard.pinpoint, {each.name: each for each in fields(station, say)}
    if station.machine.has_gnss:
        yield here_now.pop("gnss")
        yield Rows((gnss(station, now, say),))
    yield here_now.pop("pinpoint")
    for doubt in station.wizard.doubts:
        yield Prose(said(say, doubt), "warning")
    here = Point(point.latitude, point.longitude, point.accuracy_m) if point else None
    yield station_map(here, station.wizard.place, say, STREETS if station.machine.streets else "")
    yield from here_now.values()
    if point:
        size = length(point.accuracy_m, say) if point.accuracy_m is not None else say("unknown")
        yield Rows((
            Row(say("Place"), place(station, say)),
            Row(say("Accuracy"), size),
            Row(say("Found"), say(METHODS[point.method])),
        ))  # fmt: skip
    else:
        yield Prose(say("You can do this later. Without it the station cannot be activated."), "small")


def gnss(station: Station, now: float, say: Say) -> Row:
    """What could be taken now, or why nothing."""
    mean, count = receiver.mean(station, now), len(receiver.known(station, now))
    if not isinstance(mean, Point):
        return Row(say("Its fix"), said(say, mean), "running")
    if station.wizard.is_fixed:
        return Row(say("Mean of {n} fixes", n=count), point_text(mean, say), "passed")
    return Row(say("Mean of {n} fixes, none at present", n=count), point_text(mean, say), "open")


def place(station: Station, say: Say) -> str:
    """Whether it is the right country is what catches a swapped sign."""
    found = station.wizard.place
    return (", ".join(filter(None, (found.town, found.country))) if found else "") or say("unknown")


SOURCES = {
    ClockSource.NONE: "nobody yet",
    ClockSource.RTC: "its own clock chip",
    ClockSource.MODEM: "the modem",
    ClockSource.NTP: "a time server",
    ClockSource.CLOUD: "the cloud",
}
assert SOURCES.keys() == set(ClockSource)


def clock(station: Station, now: float, say: Say) -> Iterator[Block]:
    yield from fields(station, say)
    wall_s, zone = wall(station.clock, now), steps.zone_of(station)
    time = say("unknown") if wall_s is None else f"{datetime.fromtimestamp(wall_s, station.zone):%Y-%m-%d %H:%M}"
    is_in_force = zone == station.settings.time_zone
    rows = [
        Row(say("Local time"), time if is_in_force else say("after Continue"), mark(wall_s is not None, may_wait=True)),
        Row(say("Told by"), say(SOURCES[station.clock.source])),
    ]
    if zone and not is_in_force:
        rows.insert(0, Row(say("Proposed"), zone))
    yield Rows(tuple(rows))


def charge(station: Station, now: float, say: Say) -> Iterator[Block]:
    yield Prose(say("Plug a car or a tester into a port and choose it here. Nobody is billed: the record says test."))
    yield from fields(station, say)
    rows = []
    for port in station.ports:
        tx, report = port.transaction, port.report
        if tx and tx.rule == TEST_RULE:
            is_on = charging_state(station, port) is ChargingState.CHARGING
            power = say.number((report.power_w if report else 0) / 1000, 1)
            energy = say.number(max(0, (report.energy_wh if report else 0) - tx.started.energy_wh) / 1000, 3)
            text = say("{power} kW, {energy} kWh", power=power, energy=energy)
            rows.append(Row(say("Port {n}", n=port.evse_id), text, "passed" if is_on else "running"))
        else:
            text = say("plugged in") if is_plugged(port) else say("nothing is plugged in")
            rows.append(Row(say("Port {n}", n=port.evse_id), text))
    yield Rows((*rows, Row(say("Test charge"), say("energy has flowed") if station.wizard.charged else say("none"),
                           mark(station.wizard.charged, may_wait=True))))  # fmt: skip


def ready(station: Station, now: float, say: Say) -> Iterator[Block]:
    found = list(readiness.items(station, now))
    wrong = [item for item in found if not item.is_met]
    for item in wrong:
        if item.fix.text:
            text = say("{part}: {what}", part=said(say, item.title), what=said(say, item.fix))
            yield Prose(text, "" if item.may_wait else "warning")
    yield Rows(tuple(
        Row(said(say, item.title), said(say, item.evidence), mark(item.is_met, may_wait=item.may_wait))
        for item in found
    ))  # fmt: skip


def hand_over(station: Station, now: float, say: Say) -> Iterator[Block]:
    settings, machine, wizard = station.settings, station.machine, station.wizard
    unknown = say("unknown")
    yield Prose(say(state(station, now)), "lead")
    point = inputs.point_text(station) or say("open")
    open_ = say.listed(say(row.title) for row in steps.open_items(station, now)) or say("none")
    breaker = amount("breaker_ma", wizard.breaker_ma)
    yield Rows((
        Row(say("Serial number"), settings.station_id),
        Row(say("MAC address"), ", ".join(machine.macs) or unknown),
        Row(say("Ports"), str(len(station.ports))),
        Row(say("Pinpoint"), point),
        Row(say("Breaker"), breaker),
        Row(say("Circuit"), sharing(station, say)),
        Row(say("Modem"), cellular.line(machine, station.modem) or say("none: gateway or LAN")),
        Row(say("Software"), machine.firmware_version or __version__),
        Row(say("Installer"), ", ".join(filter(None, (wizard.installer, wizard.company))) or unknown),
        Row(say("Open items"), open_),
    ))  # fmt: skip


def state(station: Station, now: float) -> str:
    """Where the station stands, in one sentence."""
    if station.settings.activated:
        return "This station is activated."
    if steps.closed_by(station, now):
        return "The hand-over is closed until nothing is missing."
    if Step.HAND_OVER not in station.wizard.done:
        return "Everything that has to be is done. Hand over, then call for the activation."
    if not readiness.is_ready(station):
        return "Handed over. It cannot be activated before the open items are done."
    return "Handed over. Ready, waiting for activation."


CONTENTS: dict[Step, Callable[[Station, float, Say], Iterator[Block]]] = {
    Step.LANGUAGE: language,
    Step.INSTALLER: installer,
    Step.IDENTITY: identity,
    Step.SELF_TEST: self_test,
    Step.CIRCUIT: circuit,
    Step.NETWORK: network,
    Step.PINPOINT: pinpoint,
    Step.CLOCK: clock,
    Step.CHARGE: charge,
    Step.READINESS: ready,
    Step.HAND_OVER: hand_over,
}
assert CONTENTS.keys() == set(Step)
