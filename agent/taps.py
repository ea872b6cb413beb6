"""From a card at the reader to a grant at one port, and never at the other (S6, S7).

One reader serves all ports. A tap is for the port the driver chose; else for the one car that waits; else it is held
for the next car that plugs in. Where two cars could be meant, the driver is asked: a token at the wrong port is another
driver's bill.
"""

from dataclasses import dataclass, replace

from agent import terms
from agent.effects import AskOnline, Effect, Lookup, Remember
from agent.events import AuthorizationStatus, CardTapped, Entry, LookedUp, OnlineAnswered, PortChosen, Source
from agent.panel import Page
from agent.policy.authorize import (
    Accept,
    Decision,
    Question,
    Refuse,
    decide,
    permitted,
    port_ready,
    station_ready,
    why_bad,
)
from agent.policy.authorize import Ask as AskCloud
from agent.policy.freshness import age_s
from agent.policy.id_token import normalised
from agent.policy.reasons import Reason, stands_s
from agent.policy.reservation import is_holder
from agent.port import Grant, Port, is_plugged, why_not
from agent.station import Ask, Holding, Notice, Stage, Station
from agent.transaction import LIST_RULE, TEST_RULE, StoppedReason, Trigger, ended_by
from agent.ui.words import language_of

CARD = "ISO14443"  # OCPP IdTokenEnumStringType of what the reader reads
ASKS_MAX = 8  # taps in flight; more come only from a broken reader, and are told to try again
LOOKUP_TIMEOUT_S = 0.25  # S6: a decision from the list within 0.3 s; a list that does not answer is no reason to wait
LATE_S = 20.0  # a late Accepted still starts, counted from the tap
CHOICE_S = 60.0  # a pressed port button counts for so long
DEBOUNCE_S = 3.0  # a card held against the reader is one tap
FRESH_PLUG_S = 300.0  # a car plugged in longer ago may be waiting for nobody

Step = tuple[Station, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Target:
    evse_id: int | None  # None: the next port plugged in
    choose: bool = False  # the driver has to say which
    blocked: Reason | None = None  # no port is to be had


# -- the tap ----------------------------------------------------------------------------------------------------------


def tapped(station: Station, event: CardTapped, now: float) -> Step:
    id_token = normalised(event.uid)
    if id_token is None:
        return noticed(station, 0, Reason.UNREADABLE, now), ()
    is_same_tap = station.last_tap[0] == id_token and now < station.last_tap[1] + DEBOUNCE_S
    station = replace(station, last_tap=(id_token, now))
    if is_same_tap or any(ask.id_token == id_token and ask.stage is not Stage.LATE for ask in station.asks):
        return station, ()
    if (port := to_stop(station, id_token, now)) is not None:
        return stopped(station, port, StoppedReason.LOCAL, id_token, now), ()
    station = with_room(forget_late(station, id_token))
    if len(station.asks) >= ASKS_MAX:
        return noticed(station, 0, Reason.COULD_NOT_ASK, now, id_token), ()
    target = aimed_at(station, id_token, now)
    ask = Ask(station.next_ask_id, id_token, target.evse_id, target.choose, target.blocked, now, now + LOOKUP_TIMEOUT_S)
    station = replace(station, asks=(*station.asks, ask), next_ask_id=ask.ask_id + 1)
    return station, (Lookup(ask.ask_id, id_token),)


def to_stop(station: Station, id_token: str, now: float) -> Port | None:
    """The running session this very card stops: its own, unless its driver pointed at another port."""
    own = [p for p in station.ports if p.transaction and p.transaction.id_token == id_token]
    chosen = chosen_port(station, now)
    if chosen is not None:
        return next((p for p in own if p.evse_id == chosen), None)
    if own and station.settings.concurrent_tx and waiting(station, id_token, now):
        return None
    return own[0] if own else None


def to_stop_for_others(station: Station, entry: Entry, now: float) -> tuple[Port, StoppedReason] | None:
    """The running session that this card's group, or the master pass, stops."""
    chosen = chosen_port(station, now)
    running = [p for p in station.ports if p.transaction and chosen in (None, p.evse_id)]
    if is_master(station, entry):
        return (running[0], StoppedReason.MASTER_PASS) if len(running) == 1 else None
    same = [p for p in running if p.transaction and entry.group_id and p.transaction.group_id == entry.group_id]
    return (same[0], StoppedReason.LOCAL) if len(same) == 1 else None


def is_master(station: Station, entry: Entry) -> bool:
    master = station.settings.master_pass_group_id
    return bool(master) and (entry.group_id == master or master in entry.groups)


def chosen_port(station: Station, now: float) -> int | None:
    return station.chosen[0] if station.chosen and now < station.chosen[1] else None


def waiting(station: Station, id_token: str, now: float) -> list[Port]:
    """Cars that are plugged in and could be this driver's: nobody's yet, nor on the way to be somebody else's."""
    asked_for = {a.evse_id for a in station.asks if a.stage is not Stage.LATE and a.id_token != id_token}
    return [p for p in station.ports if is_waiting(p, id_token) and p.evse_id not in asked_for]


def is_waiting(port: Port, id_token: str) -> bool:
    if not is_plugged(port) or port.transaction or (port.grant and port.grant.id_token != id_token):
        return False
    return not port.served or was_his(port, id_token)


def was_his(port: Port, id_token: str) -> bool:
    return port.served and port.finished is not None and port.finished.id_token == id_token


def is_fresh(port: Port, now: float) -> bool:
    """Whether the car came lately enough that the next tap is surely its driver's."""
    return port.plugged_at is not None and now < port.plugged_at + FRESH_PLUG_S


def aimed_at(station: Station, id_token: str, now: float) -> Target:
    """Which port a tap is for."""
    if (chosen := chosen_port(station, now)) is not None:
        return Target(chosen)
    if len(station.ports) == 1:
        return Target(station.ports[0].evse_id)
    cars = waiting(station, id_token, now)
    free = [p for p in station.ports if not is_plugged(p) and why_not(p, id_token) is None]
    if len(cars) == 1 and (not free or was_his(cars[0], id_token) or is_fresh(cars[0], now)):
        return Target(cars[0].evse_id)
    if cars:
        return Target(None, choose=True)
    if len(free) == 1:
        return Target(free[0].evse_id)
    if free:
        return Target(None)
    return best_refusal(station, id_token)


def best_refusal(station: Station, id_token: str) -> Target:
    """With no port to be had: the one whose reason tells the driver most. A car that was served is in the way."""
    order = (Reason.CONCURRENT, Reason.PORT_TAKEN, Reason.UNAVAILABLE, Reason.OUT_OF_SERVICE)
    reasons = [(why_not(p, id_token) or Reason.PORT_TAKEN, p.evse_id) for p in station.ports]
    reason, evse_id = min(reasons, key=lambda r: order.index(r[0]))
    return Target(evse_id, blocked=reason)


def chosen(station: Station, event: PortChosen, now: float) -> Step:
    """A port's button: the card that waits for the choice goes there; else it aims the one that is being asked about,
    or the next tap."""
    if all(p.evse_id != event.evse_id for p in station.ports):
        return station, ()
    holding = station.holding
    if holding is not None:
        return granted(station, event.evse_id, holding.grant, now), ()
    open_ = [a.ask_id for a in station.asks if a.evse_id is None and a.stage is not Stage.LATE]
    meant = open_ if len(open_) == 1 else []
    asks = tuple(replace(a, evse_id=event.evse_id, choose=False) if a.ask_id in meant else a for a in station.asks)
    return replace(station, chosen=(event.evse_id, now + CHOICE_S), asks=asks), ()


# -- the answers ------------------------------------------------------------------------------------------------------


def looked_up(station: Station, event: LookedUp, now: float) -> Step:
    ask = open_ask(station, event.ask_id)
    if ask is None or ask.stage is not Stage.LOOKUP:
        return station, ()
    return decided(station, replace(ask, listed=event.listed, cached=event.cached), None, now)


def answered(station: Station, event: OnlineAnswered, now: float) -> Step:
    """The cloud's word. It is remembered even when it comes too late to start."""
    ask = open_ask(station, event.ask_id)
    if ask is None:
        return station, ()
    entry = event.entry
    if event.tariff_problem or entry.tariff:
        station = replace(station, owner=replace(station.owner, tariff_problem=event.tariff_problem))
    station, effects = decided(station, ask, entry, now)
    return station, (*remembered(ask.id_token, entry, ask.at), *effects)


def remembered(id_token: str, entry: Entry, asked_at: float) -> tuple[Remember, ...]:
    """For the cache. That a card is charging elsewhere just now is no property of the card."""
    if entry.status is AuthorizationStatus.CONCURRENT_TX:
        return ()
    return (Remember(id_token, replace(entry, tariff=None), asked_at),)


def timed_out(station: Station, ask: Ask, now: float) -> Step:
    """This stage has taken long enough."""
    if ask.stage is Stage.LATE:
        return without(station, ask), ()
    return decided(station, ask, None, now)


def open_ask(station: Station, ask_id: int | str) -> Ask | None:
    return next((a for a in station.asks if a.ask_id == ask_id), None)


def without(station: Station, ask: Ask) -> Station:
    return replace(station, asks=tuple(a for a in station.asks if a.ask_id != ask.ask_id))


def forget_late(station: Station, id_token: str) -> Station:
    """A new tap of the same card makes its old question worthless."""
    return replace(station, asks=tuple(a for a in station.asks if a.id_token != id_token))


def with_room(station: Station) -> Station:
    """A late answer that nobody may wait for any more gives way to a new tap."""
    late = [a.ask_id for a in station.asks if a.stage is Stage.LATE]
    if len(station.asks) < ASKS_MAX or not late:
        return station
    return replace(station, asks=tuple(a for a in station.asks if a.ask_id != late[0]))


def driver_left(station: Station, evse_id: int, now: float) -> Station:
    """The car is gone, and with it what was said to its driver and every question about him: the next is another's."""
    station = replace(station, notices=tuple(n for n in station.notices if n.evse_id != evse_id))
    for ask in station.asks:
        if ask.evse_id == evse_id:
            station = without(station, ask)
            if ask.stage is not Stage.LATE:
                station = noticed(station, evse_id, Reason.TIMED_OUT, now, ask.id_token)
    return station


# -- the decision -----------------------------------------------------------------------------------------------------


def question(station: Station, ask: Ask, online: Entry | None, now: float) -> Question:
    port = port_of(station, ask.evse_id)
    others = [p.transaction for p in station.ports if p.transaction and p.evse_id != ask.evse_id]
    running = [p.transaction for p in station.ports if p.transaction]
    is_unknown = ask.listed is None and ask.cached is None
    stoppable = any(tx.group_id for tx in running) or (running and station.settings.master_pass_group_id)
    return Question(
        ask.id_token,
        station.settings,
        station.clock,
        station.link,
        port_reason=ask.blocked or why_not_here(station, port, ask.id_token),
        in_use=any(tx.id_token == ask.id_token for tx in others),
        may_stop=bool(is_unknown and stoppable),
        listed=ask.listed,
        list_age_s=age_s(station.allowlist, station.clock, now),
        cached=ask.cached,
        online=online,
        asked=ask.stage is not Stage.LOOKUP,
        terms=terms.terms(station, ask.evse_id),
    )


def why_not_here(station: Station, port: Port | None, id_token: str) -> Reason | None:
    if not station.store_ok:
        return Reason.CANNOT_RECORD
    if station.bar:
        return station.bar.reason
    if port is not None:
        return why_not(port, id_token)
    taken = station.holding is not None and station.holding.grant.id_token != id_token
    return Reason.PLUG_IN_FIRST if taken else None


def why_not_granted(station: Station, evse_id: int | None, grant: Grant, now: float) -> Refuse | None:
    """Why who was let in could not start now at this port or, with None, at any: much may have changed since."""
    opinion = port_ready(asked_again(station, evse_id, grant), now)
    return opinion if isinstance(opinion, Refuse) else why_not_let_in(station, evse_id, grant, now)


def why_not_let_in(station: Station, evse_id: int | None, grant: Grant, now: float) -> Refuse | None:
    """Why the owner would not let him in any more: the station's life, its reservations, its hours. Whether his card
    is good was decided at the tap."""
    if grant.rule == TEST_RULE:
        return None
    asked = asked_again(station, evse_id, grant)
    source = Source.LIST if grant.rule == LIST_RULE else None
    opinion = station_ready(asked, now) or permitted(Accept(grant.rule, source, grant.groups), asked, now)
    return opinion if isinstance(opinion, Refuse) else None


def asked_again(station: Station, evse_id: int | None, grant: Grant) -> Question:
    """A port that he has been given already is kept for nobody else."""
    port, here = port_of(station, evse_id), terms.terms(station, evse_id)
    if port and port.grant is grant:
        own = (each for each in here.reservations if is_holder(each, grant.id_token, grant.groups))
        here = replace(here, reservations=tuple(own))
    return Question(
        grant.id_token, station.settings, station.clock, station.link,
        port_reason=why_not_here(station, port, grant.id_token), card=grant.remote_start_id is None, terms=here,
    )  # fmt: skip


def decided(station: Station, ask: Ask, online: Entry | None, now: float) -> Step:
    entry = replace(online, expiry_s=None) if online else ask.listed or ask.cached
    language = entry.language if entry else None
    if entry and (stop := stops_instead(station, ask, entry, now)) is not None:
        return stopped(spoken_to(without(station, ask), language, now), *stop, ask.id_token, now), ()
    decision: Decision = decide(question(station, ask, online, now), now)
    if not isinstance(decision, AskCloud):
        station = spoken_to(station, language, now)
    match decision:
        case AskCloud(timeout_s=timeout_s):
            ask = replace(ask, stage=Stage.ONLINE, due=ask.at + timeout_s)
            asks = tuple(ask if a.ask_id == ask.ask_id else a for a in station.asks)
            return replace(station, asks=asks), (AskOnline(ask.ask_id, ask.id_token, ask.evse_id, timeout_s),)
        case Refuse(rule=rule, reason=reason, until_s=until_s):
            late = ask.stage is Stage.ONLINE and online is None
            station = replace(station, asks=kept_late(station.asks, ask)) if late else without(station, ask)
            if reason is Reason.PLUG_IN_FIRST and station.holding:  # two cards, and soon two cars: nobody guesses whose
                station = replace(station, holding=replace(station.holding, choose=True))
            return noticed(station, ask.evse_id or 0, reason, now, ask.id_token, until_s, rule), ()
        case Accept(rule=rule, groups=groups, access=access):
            until = now + station.settings.ev_connection_timeout_s
            group_id = entry.group_id if entry else None
            tariff = online.tariff if online else None
            grant = Grant(ask.id_token, CARD, rule, until, groups, group_id, access=access, tariff=tariff)
            station = without(station, ask)
            if ask.evse_id is None:
                since = now if ask.stage is Stage.LATE else ask.at  # once refused, a driver may have made room
                station = replace(forgotten(station, ask.id_token), holding=Holding(grant, ask.choose, since))
                return noticed(station, 0, Reason.CHOOSE_PORT if ask.choose else None, now, ask.id_token), ()
            return granted(station, ask.evse_id, grant, now), ()


def stops_instead(station: Station, ask: Ask, entry: Entry, now: float) -> tuple[Port, StoppedReason] | None:
    """The session that this tap stops because of its group or as a master pass, rather than starting one."""
    if ask.stage is Stage.LATE or why_bad(entry, station.clock, now) is not None:
        return None
    if can_start(station, ask) and not is_master(station, entry):
        return None
    return to_stop_for_others(station, entry, now)


def can_start(station: Station, ask: Ask) -> bool:
    port = port_of(station, ask.evse_id)
    return not ask.blocked and (port is None or why_not(port, ask.id_token) is None)


def kept_late(asks: tuple[Ask, ...], late: Ask) -> tuple[Ask, ...]:
    late = replace(late, stage=Stage.LATE, due=late.at + LATE_S)
    return tuple(late if a.ask_id == late.ask_id else a for a in asks)


# -- between the tap and the plug -------------------------------------------------------------------------------------


def followed(before: Station, station: Station, now: float) -> Station:
    """Who was let in and may not start any more is told so at once, and waits no longer. Whose car came to a port that
    is not for him is told so once, and waits on: there may be another port."""
    for port in station.ports:
        if port.grant and (why := why_not_let_in(station, port.evse_id, port.grant, now)):
            station = refused(with_port(station, replace(port, grant=None)), port.evse_id, port.grant, why, now)
    if (held := station.holding) is None:
        return station
    if (why := why_not_let_in(station, None, held.grant, now)) is not None:
        return refused(replace(station, holding=None), 0, held.grant, why, now)
    at_port = refused_at_plug(station, now)
    if at_port is None or at_port == refused_at_plug(before, now):
        return station
    evse_id, why = at_port
    return refused(station, evse_id, held.grant, why, now)


def refused_at_plug(station: Station, now: float) -> tuple[int, Refuse] | None:
    """The port at which the car of a held card stands and cannot start, and why."""
    cars = cars_for_hold(station, now)
    if station.holding is None or len(cars) != 1:
        return None
    why = why_not_granted(station, cars[0].evse_id, station.holding.grant, now)
    return (cars[0].evse_id, why) if why else None


def cars_for_hold(station: Station, now: float) -> list[Port]:
    """Those that were plugged in after the card that is held: one of them is its driver's. None, once he was asked."""
    holding = station.holding
    if holding is None or holding.choose:
        return []
    return [port for port in waiting(station, holding.grant.id_token, now) if may_take(port, holding)]


def may_take(port: Port, holding: Holding) -> bool:
    came_after = port.plugged_at is not None and port.plugged_at >= holding.at
    return came_after and not port.grant and not port.served and not why_not(port, holding.grant.id_token)


# -- what a decision does ---------------------------------------------------------------------------------------------


def port_of(station: Station, evse_id: int | None) -> Port | None:
    return station.ports[evse_id - 1] if evse_id and 1 <= evse_id <= len(station.ports) else None


def with_port(station: Station, port: Port) -> Station:
    return replace(station, ports=tuple(port if p.evse_id == port.evse_id else p for p in station.ports))


def granted(station: Station, evse_id: int, grant: Grant, now: float) -> Station:
    """The grant goes to this port, if it still can: things may have changed while we asked."""
    port = port_of(station, evse_id)
    assert port is not None
    if (why := why_not_granted(station, evse_id, grant, now)) is not None:
        return refused(station, evse_id, grant, why, now)
    station = forgotten(station, grant.id_token)
    used = station.chosen is not None and station.chosen[0] == evse_id
    station = replace(with_port(station, replace(port, grant=grant)), chosen=None if used else station.chosen)
    return noticed(station, evse_id, None, now, grant.id_token)


def refused(station: Station, evse_id: int, grant: Grant, why: Refuse, now: float) -> Station:
    return noticed(station, evse_id, why.reason, now, grant.id_token, why.until_s, why.rule)


def forgotten(station: Station, id_token: str) -> Station:
    """A card waits for one car at a time: the new wait replaces the old one."""
    if station.holding and station.holding.grant.id_token == id_token:
        station = replace(station, holding=None)
    for port in station.ports:
        if port.grant and port.grant.id_token == id_token and not station.settings.concurrent_tx:
            station = with_port(station, replace(port, grant=None))
    return station


def stopped(station: Station, port: Port, reason: StoppedReason, id_token: str, now: float) -> Station:
    assert port.transaction
    tx = ended_by(port.transaction, reason, Trigger.STOP_AUTHORIZED, now, id_token)
    return noticed(with_port(station, replace(port, transaction=tx)), port.evse_id, None, now, id_token)


def noticed(
    station: Station, evse_id: int, reason: Reason | None, now: float, id_token: str = "",
    changes_s: float | None = None, rule: str = "",
) -> Station:  # fmt: skip
    """Say something at a port (or, with 0, at the station); the newest thing said there stands."""
    notice = Notice(evse_id, reason, now + stands_s(reason), id_token, changes_s, rule)
    others = tuple(n for n in station.notices if n.evse_id != evse_id)
    return replace(station, notices=(*others, notice))


def spoken_to(station: Station, tag: str | None, now: float) -> Station:
    """A driver is answered in his language (BCP 47; None: not known), and the next driver not in that of this one. What
    somebody has chosen by hand stands, and an installer at work is not interrupted.
    """
    panel, language = station.panel, language_of(tag)
    is_by_hand = panel.language and panel.language != panel.spoken
    if is_by_hand or panel.page in (Page.SERVICE, Page.WIZARD, Page.PHONE):
        return station
    if language in ("", station.settings.language):
        return replace(station, panel=replace(panel, language="", spoken=""))
    return replace(station, panel=replace(panel, language=language, spoken=language, touched_at=now))
