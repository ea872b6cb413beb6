"""How the installer walks through the wizard: four keys, fields from touch, keyboard or phone, and what follows. Pure.

    reading     Back | Next field | Change | Continue (Later, where something is missing)
    editing     Back | − | + | Save (a text: one character after the other, by a wheel)
    confirming  Back |   | Later | Confirm: electrical values, old and new, at the panel alone
"""

from dataclasses import replace
from math import inf
from typing import Any

from agent.clock import wall
from agent.events import FieldEntered
from agent.life import is_owned
from agent.panel import SERVICE_S, Action, Page
from agent.station import Station
from agent.transaction import TEST_RULE
from agent.wizard import inputs, layer, steps
from agent.wizard.facts import STEPS, Editing, Mark, Refused, Sentence, Step
from agent.wizard.inputs import VALUE_MAX, Given, Input

TEST_CHARGE_S = 300.0  # so long at most
TAKE, DELETE = "✓", "⌫"  # on the wheel of characters: done, and one back
Keys = tuple[Action, Action, Action, Action]


# -- who is let in ----------------------------------------------------------------------------------------------------


def is_wanted(station: Station) -> bool:
    """By itself on the display: after the self-test, until it was handed over or somebody has activated it (I1)."""
    return not is_owned(station) and station.self_tested and Step.HAND_OVER not in station.wizard.done


def is_service(station: Station, now: float) -> bool:
    return now < station.panel.service_until


def may_enter(station: Station, event: FieldEntered, now: float) -> bool:
    """Whoever is at the page, or comes by phone while installing or service is on."""
    if event.by_phone:
        return is_wanted(station) or is_service(station, now)
    return is_shown(station) and (is_wanted(station) or is_service(station, now))


def lingers(station: Station, now: float) -> bool:
    """The hand-over is done and stays to be read; nothing can be changed any more."""
    is_over = not is_wanted(station) and not is_service(station, now)
    return is_over and station.panel.page is Page.WIZARD and now < station.wizard.lingers_until


def is_shown(station: Station) -> bool:
    return station.panel.page is Page.WIZARD or (station.panel.page is None and is_wanted(station))


def is_let_in(station: Station, now: float) -> bool:
    return is_wanted(station) or is_service(station, now) or lingers(station, now)


def enter(station: Station, now: float) -> Station:
    """From the service menu: at the first step that something is missing of, else at the readiness."""
    open_ = [row.step for row in steps.TABLE if row.missing(station, now) and row.step is not Step.CHARGE]
    at = open_[0] if open_ else Step.READINESS
    station = replace(station, panel=replace(station.panel, page=Page.WIZARD, at=0, touched_at=now))
    return went(station, at)


def left(station: Station) -> Station:
    """To the drivers' start page."""
    return replace(quiet(station), panel=replace(station.panel, page=Page.HOME, at=0))


# -- keys -------------------------------------------------------------------------------------------------------------


def keys(station: Station, now: float) -> Keys:
    wizard = station.wizard
    if lingers(station, now):
        return Action.BACK, Action.NONE, Action.NONE, Action.NEXT if turns(station) else Action.NONE
    if wizard.confirms:
        return Action.BACK, Action.NONE, Action.SKIP, Action.NEXT if turns(station) else Action.SAVE
    if wizard.editing:
        return Action.BACK, Action.LESS, Action.MORE, Action.SAVE
    choose = Action.DOWN if len(inputs.inputs(station, wizard.step)) > 1 else Action.NONE
    if wizard.step is Step.READINESS:
        choose = Action.DO
    change = Action.CHANGE if chosen(station) else Action.NONE
    return Action.BACK, choose, change, Action.NEXT if turns(station) else onward(station, now)


def turns(station: Station) -> bool:
    """A page that is longer than the display is read to its end before the last key does what it is for."""
    return station.panel.turned + 1 < station.panel.screenfuls


def onward(station: Station, now: float) -> Action:
    """The last key: what it promises, it does."""
    step = station.wizard.step
    if step is Step.HAND_OVER:
        return Action.NONE if steps.closed_by(station, now) else Action.DO
    if needs_confirmation(station, now):
        return Action.CONTINUE
    return Action.SKIP if steps.missing(station, step, now) else Action.CONTINUE


def label(station: Station, action: Action) -> str:
    """What a key is called here, where it is not what it is called elsewhere; "" = as elsewhere."""
    wizard = station.wizard
    match action:
        case Action.SAVE if wizard.confirms:
            return "Confirm"
        case Action.SAVE if wizard.editing and is_text(station):
            return {TAKE: "Save", DELETE: "Delete"}.get(sign(station), "Add")
        case Action.BACK if wizard.editing:
            return "Cancel"
        case Action.DOWN:
            return "Next field"
        case Action.DO:
            return "Show" if wizard.step is Step.READINESS else "Hand over"
    return ""


def done(station: Station, action: Action, now: float) -> Station:
    """A key of this page was pressed."""
    panel = station.panel
    if is_binding(station, action) and not panel.is_read(now):
        return station
    if action is Action.NEXT:
        return replace(station, panel=replace(panel, turned=panel.turned + 1))
    if action is Action.BACK and panel.turned:
        return replace(station, panel=replace(panel, turned=panel.turned - 1))
    return from_its_top(station, followed(station, action, now))


def is_binding(station: Station, action: Action) -> bool:
    """Nobody does this without having read the page."""
    wizard = station.wizard
    return (wizard.confirms and action is Action.SAVE) or (wizard.step is Step.HAND_OVER and action is Action.DO)


def from_its_top(before: Station, station: Station) -> Station:
    """A page that has changed is shown from its chosen field, or its beginning; how long another one is, the display
    tells."""
    screenfuls = station.panel.screenfuls if spot(before) == spot(station) else 1
    return replace(station, panel=replace(station.panel, turned=0, screenfuls=screenfuls))


def spot(station: Station) -> tuple[object, ...]:
    wizard = station.wizard
    return station.panel.page, wizard.step, wizard.confirms


def followed(station: Station, action: Action, now: float) -> Station:
    wizard = station.wizard
    match action:
        case Action.BACK if lingers(station, now):
            return left(station)
        case Action.BACK:
            return back(station)
        case Action.SAVE if wizard.confirms:
            return confirmed(station, now)
        case Action.SAVE:
            return saved(station, now)
        case Action.LESS:
            return turned(station, -1)
        case Action.MORE:
            return turned(station, 1)
        case Action.DOWN:
            count = max(1, len(inputs.inputs(station, wizard.step)))
            return with_(station, cursor=(at(station) + 1) % count, refused=None)
        case Action.CHANGE:
            return changing(station)
        case Action.SKIP if wizard.confirms:
            return went(marked(station, wizard.step, now), Step.NETWORK)
        case Action.CONTINUE | Action.SKIP:
            return continued(station, now)
        case Action.STOP:
            return inputs.stopped(station, now)
        case Action.LEAVE:
            return left(station)  # the display goes back to the wizard by itself
        case Action.DO if wizard.step is Step.READINESS:
            return left(station)
        case Action.DO:
            return handed_over(station, now)
    return station


def with_(station: Station, **facts: Any) -> Station:
    return replace(station, wizard=replace(station.wizard, **facts))


def at(station: Station) -> int:
    """Where the cursor is: fields come and go."""
    return min(station.wizard.cursor, max(0, len(inputs.inputs(station, station.wizard.step)) - 1))


def chosen(station: Station) -> Input | None:
    """The field under the cursor."""
    here = inputs.inputs(station, station.wizard.step)
    return here[at(station)] if here else None


def back(station: Station) -> Station:
    wizard = station.wizard
    if wizard.editing:
        return with_(station, editing=None, refused=None)
    if wizard.confirms:
        return with_(station, confirms=False)
    number = STEPS.index(wizard.step)
    return went(station, STEPS[number - 1]) if number else left(station)


def quiet(station: Station) -> Station:
    """Nobody is in the middle of anything; what nobody has confirmed waits."""
    return with_(station, cursor=0, editing=None, refused=None, confirms=False, region="")


def went(station: Station, step: Step) -> Station:
    return with_(quiet(station), step=step)


# -- changing a field by keys -----------------------------------------------------------------------------------------


def changing(station: Station) -> Station:
    field = chosen(station)
    if field is None:
        return station
    return with_(station, editing=Editing(field.name, field.read(station)), refused=None)


def edited(station: Station) -> Input | None:
    """The field that is being changed, if it is still there."""
    editing = station.wizard.editing
    return inputs.input_of(station, editing.name) if editing else None


def is_text(station: Station) -> bool:
    field = edited(station)
    return field is not None and field.kind == "text"


def wheel(field: Input, value: str) -> str:
    """What can be taken next: the end first, then what takes one away, then the characters."""
    return TAKE + (DELETE if value else "") + field.wheel


def sign(station: Station) -> str:
    """Where the wheel stands."""
    editing, field = station.wizard.editing, edited(station)
    if editing is None or field is None:
        return TAKE
    signs = wheel(field, editing.value)
    return signs[editing.turn % len(signs)]


def turned(station: Station, by: int) -> Station:
    editing, field = station.wizard.editing, edited(station)
    if editing is None or field is None:
        return with_(station, editing=None)
    if field.kind == "text":
        return with_(station, editing=replace(editing, turn=(editing.turn + by) % len(wheel(field, editing.value))))
    return with_(station, editing=replace(editing, value=field.turned(station, editing.value, by)))


def saved(station: Station, now: float) -> Station:
    editing, field = station.wizard.editing, edited(station)
    if editing is None or field is None:
        return with_(station, editing=None)
    if field.kind == "text" and (taken := sign(station)) != TAKE:
        return with_(station, editing=spelled(field, editing, taken))
    return put(station, field, Given(editing.value, False, now))


def spelled(field: Input, editing: Editing, taken: str) -> Editing:
    """One character more, or less. The wheel stays where it is, as far as it has that place."""
    if taken == DELETE:
        value = editing.value[:-1]
        return replace(editing, value=value, turn=1 if value else 0)
    if len(editing.value) >= field.length_max:
        return editing
    is_inside = field.wheel == inputs.LETTERS and editing.value[-1:].isalpha()
    value = editing.value + (taken.lower() if is_inside else taken)
    turn = editing.turn + (not editing.value)  # the place of DELETE
    return replace(editing, value=value, turn=turn)


# -- fields, from wherever --------------------------------------------------------------------------------------------


def entered(station: Station, event: FieldEntered, now: float) -> Station:
    """A value by touch, keyboard or phone. `step` is no field but a way: a step's name, `next` or `back`."""
    if not may_enter(station, event, now):
        return station
    field = inputs.input_of(station, event.name)
    if event.name == "step":
        after = walked(station, event.value, now)
    else:
        given = Given(event.value[: VALUE_MAX + 1], event.by_phone, now)
        after = put(station, field, given) if field else station
    return from_its_top(station, after)


def walked(station: Station, where: str, now: float) -> Station:
    if where in set(STEPS):
        return went(station, Step(where))
    match where:
        case "back" if station.wizard.step is not STEPS[0]:
            return back(station)
        case "next" if station.wizard.step is Step.HAND_OVER:
            return handed_over(station, now)
        case "next" if not station.wizard.confirms:
            return continued(station, now)
    return station


def put(station: Station, field: Input, given: Given) -> Station:
    """The value counts, or is refused with a sentence and nothing is changed."""
    outcome = field.put(station, given)
    if isinstance(outcome, Sentence):
        return with_(station, refused=Refused(field.name, outcome))
    refused = station.wizard.refused
    refused = None if refused and refused.name == field.name else refused
    after = with_(outcome, editing=None, refused=refused)
    return shown_at_panel(after) if given.by_phone and field.step is Step.CIRCUIT else after


def shown_at_panel(station: Station) -> Station:
    """What came by phone and has to be confirmed stands on the panel, whatever was there."""
    if not station.wizard.draft:
        return station
    station = replace(station, panel=replace(station.panel, page=Page.WIZARD))
    return with_(went(station, Step.CIRCUIT), confirms=True)


# -- steps ------------------------------------------------------------------------------------------------------------


def needs_confirmation(station: Station, now: float) -> bool:
    wizard = station.wizard
    if wizard.step is not Step.CIRCUIT or not layer.drafted(station, "breaker_ma"):
        return False
    return bool(wizard.draft) or (steps.circuit(station, now) is not None and wizard.owed is None)


def continued(station: Station, now: float) -> Station:
    """On to the next step; what is missing here stays open."""
    step = station.wizard.step
    if needs_confirmation(station, now):
        return with_(station, confirms=True, editing=None, refused=None)
    if step is Step.HAND_OVER:
        return station
    station = accepted(station, now) if step is Step.CLOCK else station
    return went(marked(station, step, now), STEPS[STEPS.index(step) + 1])


def marked(station: Station, step: Step, now: float) -> Station:
    mark = Mark(wall(station.clock, now), steps.missing(station, step, now) is not None)
    return with_(station, done={**station.wizard.done, step: mark})


def accepted(station: Station, now: float) -> Station:
    """The zone that was proposed."""
    zone = steps.zone_of(station)
    after = layer.set_to(station, "time_zone", zone, now) if zone else station
    return after if isinstance(after, Station) else station


def confirmed(station: Station, now: float) -> Station:
    """The key at the panel, with old and new values on it."""
    why = why_not_confirmed(station)
    if why:
        return with_(station, refused=Refused("circuit_limit_a", why), confirms=False)
    station = layer.confirmed(station, now)
    return went(marked(station, Step.CIRCUIT, now), Step.CIRCUIT)


def why_not_confirmed(station: Station) -> Sentence | None:
    """S11: the controller, too, raises its limit only while nothing is offered."""
    breaker_a, limit_a = (layer.drafted(station, key) // 1000 for key in ("breaker_ma", "circuit_limit_ma"))
    if limit_a > breaker_a:
        facts = {"limit": limit_a, "breaker": breaker_a}
        return Sentence("{limit} A is more than the breaker of {breaker} A: enter {breaker} A or less.", facts)
    if layer.is_beyond_board(station):
        return Sentence("This board carries less: enter the values again.")
    if layer.is_raised(station) and layer.is_in_use(station):
        return Sentence("A car is plugged in: unplug it, then raise the limit.")
    return None


def handed_over(station: Station, now: float) -> Station:
    if steps.closed_by(station, now) or not station.panel.is_read(now):
        return station
    station = went(marked(station, Step.HAND_OVER, now), Step.HAND_OVER)
    station = with_(station, lingers_until=now + SERVICE_S)
    return replace(station, panel=replace(station.panel, page=Page.WIZARD, at=0))


# -- what follows by itself -------------------------------------------------------------------------------------------


def settled(station: Station, now: float) -> Station:
    """The test charge has its time; whoever is inside without leave is outside."""
    station = charged(station)
    if (until := charge_until(station)) is not None and now >= until:
        station = inputs.stopped(station, now)
    if station.panel.page is Page.WIZARD and not is_let_in(station, now):
        station = replace(quiet(station), panel=replace(station.panel, page=None, at=0))
    if station.wizard.draft and is_closed(station, now):
        station = with_(station, draft=None)  # who comes next has not entered it
    return station


def is_closed(station: Station, now: float) -> bool:
    """Installing is over, and nobody has opened the service."""
    is_over = is_owned(station) or Step.HAND_OVER in station.wizard.done
    return is_over and not is_service(station, now)


def charged(station: Station) -> Station:
    if station.wizard.charged:
        return station
    sessions = [tx for port in station.ports for tx in (port.transaction, port.finished) if tx]
    return with_(station, charged=True) if any(tx.rule == TEST_RULE and tx.charged for tx in sessions) else station


def is_testing(station: Station) -> bool:
    """A test charge runs, or is about to."""
    is_on = (tx for port in station.ports if (tx := port.transaction) and tx.rule == TEST_RULE and not tx.ending)
    return any(is_on) or any(port.grant and port.grant.rule == TEST_RULE for port in station.ports)


def charge_until(station: Station) -> float | None:
    """When the test charge that runs is ended; one that has outlived a restart, at once."""
    for port in station.ports:
        tx = port.transaction
        if tx and tx.rule == TEST_RULE and not tx.ending and not tx.interrupted:
            is_ours = tx.transaction_id.startswith(f"{station.boot.boot_id}-")
            return tx.started.mono_s + TEST_CHARGE_S if is_ours else 0.0
    return None


def deadline(station: Station) -> float:
    until = charge_until(station)
    is_guest = station.panel.page is Page.WIZARD and not is_wanted(station)
    leave = max(station.panel.service_until, station.wizard.lingers_until) if is_guest else inf
    return min(inf if until is None else until, leave)
