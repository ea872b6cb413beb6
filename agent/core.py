"""One step of the station: `handle(station, event, now) -> (station, effects)`. Pure; no event of any kind raises.

absorb   what the event says becomes facts
settle   what follows from the facts by itself: starts, ends, time-outs, recovery after a cut
report   the edges between before and after become records (agent/reporting.py)
wish     what we want of the ports is derived anew (agent/station.py)
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

import msgspec

from agent import (
    billing,
    cellular,
    dataplan,
    derating,
    farewell,
    health,
    life,
    listing,
    navigation,
    network,
    owner,
    selftest,
    service,
    taps,
    terms,
    updating,
    withdrawn,
)
from agent.clock import Clock, floor, told, wall
from agent.commands import charging, firmware, logs, profiles, tariffs, variables
from agent.commands import owner as owners
from agent.commands import station as stations
from agent.effects import Effect, HangUp, LoadZone, Save, Wish
from agent.events import (
    AllDelivered,
    AvailabilityRequested,
    CacheCounted,
    CardTapped,
    CaseTold,
    ClearRequested,
    ClockTold,
    ConnectionEnded,
    ConnectionMade,
    ControllerFound,
    ControllerLost,
    Cp,
    DataUsed,
    Deadline,
    Event,
    FieldEntered,
    FixLost,
    FixTold,
    KeyPressed,
    Link,
    LinkChanged,
    ListChanged,
    LiveRequested,
    LogRequested,
    LookedUp,
    Machine,
    MachineTold,
    Measured,
    MessageTriggered,
    ModemDid,
    ModemTold,
    NetworkProfileRequested,
    OnlineAnswered,
    OutboxCounted,
    OwnerRequested,
    PageMeasured,
    PanelTold,
    PartTold,
    PhoneTold,
    PlaceFound,
    PlanTokenCame,
    PortChosen,
    PortReported,
    Registered,
    RemoteStartRequested,
    RemoteStopRequested,
    Report,
    ReportRequested,
    ResetRequested,
    ScreenLit,
    ScreenTouched,
    ServiceOpened,
    SignalTold,
    StatusDelivered,
    StoreFailed,
    StoreRecovered,
    TransactionAnswered,
    UnlockRequested,
    UpdateRequested,
    UpdaterLost,
    UpdaterTold,
    UploadTold,
    VariableChangesRequested,
    VariablesRequested,
    ZoneLoaded,
)
from agent.faults import Fault
from agent.modem import budget
from agent.policy import owner as owner_facts
from agent.policy import profile
from agent.policy.authorize import Accept, Question, Refuse, free_for_all
from agent.policy.reasons import Reason
from agent.policy.tariff.bill import Bill, saved_tariffs
from agent.port import (
    Grant,
    Level,
    Port,
    controller_lost,
    counts,
    faults,
    followed,
    has_ended,
    is_over_at,
    is_plugged,
    reported,
)
from agent.reporting import (
    RECONFIGURED,
    case_records,
    lost_session,
    next_sample_at,
    outage_record,
    owner_lost_record,
    profile_lost_record,
    records,
    security_event,
    startup,
    status_due,
    tariff_record,
)
from agent.settings import Settings
from agent.station import (
    Boot,
    BootReason,
    Controller,
    Health,
    Station,
    outage_s,
    shared,
    stamp,
    wishes,
)
from agent.taps import Step, granted, noticed, port_of, with_port
from agent.transaction import StoppedReason, Transaction, Trigger, ended_by, reading, restored
from agent.transaction import saved as saved_transaction
from agent.wizard import antenna, flow, handover, layer, receiver
from agent.wizard.facts import restored as restored_wizard
from agent.wizard.facts import saved as saved_wizard

OWNER_COMMANDS = {**owners.HANDLERS, **profiles.HANDLERS, **tariffs.HANDLERS}
NOBODY_CAME = Refuse("", Reason.TIMED_OUT)
ALIVE_PERIOD_S = 600.0  # a sign of life on disk: how exactly an outage can be told, against wear of the flash


def handle(station: Station, event: Event, now: float) -> tuple[Station, tuple[Effect, ...]]:
    before = station
    station, asked = absorb(station, event, now)
    station, due = overdue_asks(station, now)
    station = service.commissioned(before, settle(station, now))
    station = navigation.looked(before, station, now)
    station, owned = owner.followed(before, station, now)
    station = taps.followed(before, station, now)
    station, gone = farewell.followed(before, station, now)
    station, updated = updating.followed(station, now)
    station, done = stations.followed(station, now)
    station, given_up = unanswered(station, now)
    station, listed = listing.followed(station, now)
    station, healthy = health.kept(before, station, now)
    station, warm = derating.followed(before, station, now)
    station = shared(before, station, now)
    recheck = withdrawn.questions(before, station)
    visits = service.effects(before, station, now)
    data = dataplan.followed(before, station)
    owed = (
        *asked, *due, *owned, *gone, *updated, *done, *given_up, *listed, *healthy, *warm, *recheck, *visits, *data
    )  # fmt: skip
    return closed(before, station, owed, now)


def closed(
    before: Station, station: Station, asked: Iterable[Effect], now: float
) -> tuple[Station, tuple[Effect, ...]]:
    """Turn the step into effects: records and facts first, then the wish, then the questions."""
    station, owed = records(before, station, now)
    station, installed = handover.followed(before, station, now)
    effects: list[Effect] = [*owed, *installed, *saves(before, station)]
    asked_for = station.ports, station.controller, station.settings, station.owner, station.sharing
    known = before.ports, before.controller, before.settings, before.owner, before.sharing
    if any(a is not b for a, b in zip(asked_for, known, strict=True)):
        effects.append(Wish(wishes(station)))  # whole, though it may be the same: it is the gate that compares
    effects.extend(asked)
    return station, tuple(effects)


# -- absorb -----------------------------------------------------------------------------------------------------------


def absorb(station: Station, event: Event, now: float) -> Step:
    match event:
        case PortReported(evse_id=evse_id, report=report):
            return port_reported(station, evse_id, report, now), ()
        case CardTapped():
            return taps.tapped(navigation.tapped(station), event, now)
        case PortChosen():
            return taps.chosen(navigation.chosen(station, event, now), event, now)
        case KeyPressed():
            return navigation.pressed(station, event, now), ()
        case FieldEntered():
            return navigation.entered(station, event, now), ()
        case ScreenTouched() | ScreenLit() | PageMeasured() | PanelTold() | ServiceOpened():
            return navigation.told(station, event, now), ()
        case PhoneTold():
            return service.phone_told(station, event, now), ()
        case ZoneLoaded(name=name, zone=zone):
            return (replace(station, zone=zone or UTC) if name == station.settings.time_zone else station), ()
        case PlaceFound():
            return place_found(station, event), ()
        case FixTold() if not flow.is_let_in(station, now):  # nobody asks where it is
            return station, ()
        case FixTold() | FixLost():
            return receiver.heard(station, event, now), ()
        case SignalTold():
            return antenna.heard(station, event, now), ()
        case AllDelivered():
            return farewell.delivered(station), ()
        case StatusDelivered():
            return replace(station, wizard=replace(station.wizard, is_heard=True)), ()
        case LookedUp(ask_id=str(transaction_id)):
            return withdrawn.looked_up(station, transaction_id, event, now), ()
        case LookedUp():
            return taps.looked_up(station, event, now)
        case OnlineAnswered():
            return taps.answered(station, event, now)
        case ControllerFound(boot_id=boot_id, circuit_limit_ma=limit_ma):
            return layer.found(replace(station, controller=Controller(boot_id, limit_ma))), ()
        case ControllerLost():
            return replace(station, ports=tuple(controller_lost(p) for p in station.ports)), ()
        case LinkChanged(link=link):
            proven = network.proved(station.network) if link is Link.UP else station.network
            return judged(listing.linked(replace(station, link=link), station.link, now), proven, now)
        case ListChanged(state=state):
            return listing.changed(station, state, now), ()
        case ClockTold(wall_s=wall_s, source=source):
            return clock_told(station, told(station.clock, wall_s, source, now), now)
        case StoreFailed():
            return store_failed(station, now), ()
        case StoreRecovered():
            return replace(station, store_ok=True), ()
        case TransactionAnswered(transaction_id=transaction_id, entry=entry, sent_at=sent_at):
            return withdrawn.answered(station, transaction_id, entry, sent_at)
        case PartTold(part=part):
            return replace(station, parts={**station.parts, part: event}), ()
        case CaseTold(name=name, is_open=is_open):
            return case_told(station, name, is_open, now)
        case MachineTold(machine=machine):
            return replace(station, machine=machine), ()
        case ModemTold(modem=modem):
            return cellular.heard(station, modem, now)
        case ModemDid():
            return cellular.did(station, event, now)
        case OutboxCounted(waiting=waiting):
            return replace(station, waiting=waiting), ()
        case Measured():
            return health.heard(station, event, now)
        case DataUsed():
            return dataplan.heard(station, event, now)
        case CacheCounted(size_b=size_b):
            return replace(station, cache_b=size_b), ()
        case ConnectionMade(address=address):
            return replace(station, network=network.made(station.network, address, now)), ()
        case ConnectionEnded(address=address):
            return judged(station, network.ended(station.network, address), now)
        case Registered(status=status):
            return replace(station, registration=status), ()
        case RemoteStartRequested():
            return charging.remote_start(station, event, now)
        case RemoteStopRequested():
            return charging.remote_stop(station, event, now)
        case AvailabilityRequested():
            return charging.availability(station, event, now)
        case ClearRequested():
            return charging.clear(station, event, now)
        case ResetRequested():
            return stations.reset(station, event, now)
        case UnlockRequested():
            return stations.unlock(station, event, now)
        case MessageTriggered():
            return stations.trigger(station, event, now)
        case NetworkProfileRequested():
            return stations.network_profile(station, event, now)
        case UpdateRequested():
            return firmware.update(station, event, now)
        case UpdaterTold() | UpdaterLost():
            return updating.heard(station, event), ()
        case LogRequested():
            return logs.get(station, event, now)
        case UploadTold():
            return logs.told(station, event, now)
        case OwnerRequested(action=action):
            return owners.for_whom(station, event, now) or OWNER_COMMANDS[action](station, event, now)
        case PlanTokenCame(claims=claims):
            return owners.plan_token_brought(station, claims, now)
        case LiveRequested():
            return stations.live(station, event, now)
        case VariablesRequested():
            return variables.get(station, event, now)
        case VariableChangesRequested():
            return variables.set(station, event, now)
        case ReportRequested():
            return variables.report(station, event, now)
        case Deadline():  # by now every port's meter has been read anew, for whoever watches
            return stations.watched(station, now)


def port_reported(station: Station, evse_id: int, report: Report, now: float) -> Station:
    port = port_of(station, evse_id)
    if port is None:
        return station
    boot_id = station.controller.boot_id if station.controller else 0
    after = reported(read_last(station, port, report), report, station.settings, boot_id, now)
    station = with_port(station, after)
    return taps.driver_left(station, evse_id, now) if port.plugged_at not in (None, after.plugged_at) else station


def read_last(station: Station, port: Port, report: Report) -> Port:
    """When a meter fails, what it said before is its session's last reading."""
    tx, good, at = port.transaction, port.report, port.seen_at
    if Fault.METER_FAULT not in report.faults or tx is None or tx.interrupted or good is None or not counts(good, tx):
        return port
    return replace(port, transaction=replace(tx, last=reading(good, at, *stamp(station, at))))


def clock_told(station: Station, clock: Clock, now: float) -> Step:
    """A new time is worth a sign of life on disk, and may tell at last how long the station was away."""
    if clock is station.clock:
        return station, ()
    station = replace(station, clock=clock, alive_at=now)
    away = None if station.outage_known else outage_record(station, now)
    return replace(station, outage_known=away is not None or station.outage_known), (away,) if away else ()


def place_found(station: Station, event: PlaceFound) -> Station:
    """Unless the installer has moved the point since."""
    point = station.wizard.pinpoint
    if point is None or (point.latitude, point.longitude) != (event.latitude, event.longitude):
        return station
    return replace(station, wizard=replace(station.wizard, place=event.place, doubts=event.doubts))


def case_told(station: Station, name: str, is_open: bool, now: float) -> Step:
    """The edge is told, also if it happened between two runs."""
    if is_open == (name in station.opened):
        return station, ()
    told = case_records(station, name, is_open, now)
    station = replace(station, opened=station.opened ^ {name})
    if is_open:
        station = service.uncovered(navigation.touched(station, now), name, now)
    return station, told


def judged(station: Station, after: network.Network, now: float) -> Step:
    """Another broker has proven itself, or has not: its operator hears of it, at the one or at the other."""
    said = network.verdict(station.network, after)
    told = (security_event(station, RECONFIGURED, said, now),) if said else ()
    return replace(station, network=after), told


def unanswered(station: Station, now: float) -> Step:
    """A broker on trial that lets us in, with no cloud behind it."""
    until = station.network.until
    if until is None or now < until:
        return station, ()
    return replace(station, network=replace(station.network, until=None)), (HangUp("no word of the cloud there"),)


def store_failed(station: Station, now: float) -> Station:
    """What cannot be recorded is not sold: sessions that have not drawn energy yet end, running ones go on."""
    for port in station.ports:
        if port.transaction and not port.transaction.charged:
            tx = ended_by(port.transaction, StoppedReason.OTHER, Trigger.ABNORMAL_CONDITION, now)
            station = with_port(station, replace(port, transaction=tx))
    return replace(station, store_ok=False)


# -- settle -----------------------------------------------------------------------------------------------------------


def overdue_asks(station: Station, now: float) -> Step:
    effects: tuple[Effect, ...] = ()
    for ask in station.asks:
        if now >= ask.due:
            station, more = taps.timed_out(station, ask, now)
            effects += more
    return station, effects


def settle(station: Station, now: float) -> Station:
    """What follows by itself. Each rule is a sentence; their order is the order of life."""
    for evse_id in [p.evse_id for p in station.ports if not is_idle(p)]:
        station = released(station, evse_id, now)
        station = recovered(station, evse_id, now)
        station = withdrawn.capped(station, evse_id, now)
        station = abandoned(station, evse_id, now)
        station = ended(station, evse_id, now)
        station = taken_from_hold(station, evse_id, now)
        station = served_freely(station, evse_id, now)
        station = started(station, evse_id, now)
    station = navigation.left(expired(station, now), now)
    if now >= station.alive_at + ALIVE_PERIOD_S:
        station = replace(station, alive_at=now)
    return station


def is_idle(port: Port) -> bool:
    """Nobody is here and nothing is left to do: no rule applies."""
    return port.transaction is None and port.grant is None and not is_plugged(port) and port.held_until is None


def released(station: Station, evse_id: int, now: float) -> Station:
    """The random delay after a power cut is over."""
    port = port_of(station, evse_id)
    if port is None or port.held_until is None or now < port.held_until:
        return station
    return with_port(station, replace(port, held_until=None))


def recovered(station: Station, evse_id: int, now: float) -> Station:
    """S3: resume an interrupted transaction only if everything says that it is still the same one; else it ended then.

    One that was already ending goes on ending, and the register it comes to is final; or it ends at what was stored.
    """
    port = port_of(station, evse_id)
    if port is None or port.transaction is None or not port.transaction.interrupted:
        return station
    tx = port.transaction
    match resumes(station, port, tx, now):
        case True:
            ending = replace(tx.ending, at=now) if tx.ending else None  # its time was another run's
            tx = replace(tx, interrupted=False, ending=ending)
            assert port.report
            return with_port(station, replace(port, transaction=followed(tx, port.report, faults(port), now)))
        case False:
            tx = ended_by(tx, StoppedReason.POWER_LOSS, Trigger.ABNORMAL_CONDITION, now)
            return with_port(station, finished(port, tx))
    return station


def resumes(station: Station, port: Port, tx: Transaction, now: float) -> bool | None:
    """True, False, or None while it cannot be said yet."""
    timeout_s, report = station.settings.tx_resumption_timeout_s, port.report
    if now >= station.boot.at + timeout_s:
        return False
    if report is None or station.controller is None:
        return None
    same_controller = station.controller.boot_id == tx.controller_boot_id
    if report.cp is Cp.A or report.energy_wh < tx.last.energy_wh or (same_controller and report.unplugs != tx.unplugs):
        return False
    away_s = outage_s(station, tx.last.wall_s, tx.last.source, tx.last.mono_s)
    return None if away_s is None else away_s <= timeout_s


def abandoned(station: Station, evse_id: int, now: float) -> Station:
    """A controller that stays away for longer than a power cut may last ends the session as the cut would."""
    port, over_at = port_of(station, evse_id), abandoned_at(station, evse_id)
    if port is None or port.transaction is None or over_at is None or now < over_at:
        return station
    tx = ended_by(port.transaction, StoppedReason.POWER_LOSS, Trigger.ABNORMAL_CONDITION, now)
    return with_port(station, finished(port, tx))


def abandoned_at(station: Station, evse_id: int) -> float | None:
    """When a running session is given up unless its controller speaks again."""
    port = port_of(station, evse_id)
    tx = port.transaction if port else None
    if port is None or tx is None or tx.ending or tx.interrupted or not port.lost:
        return None
    return port.seen_at + station.settings.tx_resumption_timeout_s


def ended(station: Station, evse_id: int, now: float) -> Station:
    """TxStopPoint: the contactor is open, so the register is final, if its meter has not failed."""
    port = port_of(station, evse_id)
    if port is None or port.transaction is None or not has_ended(port, now):
        return station
    tx, report = port.transaction, port.report
    if report and counts(report, tx):
        tx = replace(tx, last=reading(report, now, *stamp(station, now)))
    return with_port(station, finished(port, tx))


def finished(port: Port, tx: Transaction) -> Port:
    """The transaction is over; what was scheduled for its end happens now."""
    return replace(
        port,
        transaction=None,
        finished=tx,
        grant=None,
        served=is_plugged(port) and not (tx.ending and tx.ending.reason is StoppedReason.EV_DISCONNECTED),
        off=port.off | port.off_next,
        off_next=frozenset(),
    )


def served_freely(station: Station, evse_id: int, now: float) -> Station:
    """A free station asks for no card."""
    port = port_of(station, evse_id)
    if port is None or not life.is_free(station) or life.refusal(station) or port.grant:
        return station
    if not is_plugged(port) or port.served or taps.why_not_here(station, port, "") is not None:
        return station
    asked = Question("", station.settings, station.clock, station.link, terms=terms.terms(station, evse_id))
    opinion = free_for_all(asked, now)
    if not isinstance(opinion, Accept):
        return station
    until = now + station.settings.ev_connection_timeout_s
    grant = Grant("", "NoAuthorization", opinion.rule, until, access=opinion.access)
    return with_port(replace(station, holding=None), replace(port, grant=grant))


def taken_from_hold(station: Station, evse_id: int, now: float) -> Station:
    """A card that waits for a car goes to the one plugged in after it; if there are two, its driver is asked."""
    holding, cars = station.holding, taps.cars_for_hold(station, now)
    if holding is None or port_of(station, evse_id) not in cars:
        return station
    if len(cars) > 1:
        station = replace(station, holding=replace(holding, choose=True))
        return noticed(station, 0, Reason.CHOOSE_PORT, now, holding.grant.id_token)
    return station if taps.refused_at_plug(station, now) else granted(station, evse_id, holding.grant, now)


def started(station: Station, evse_id: int, now: float) -> Station:
    """TxStartPoint: authorised and plugged in, whichever came first, at a port that can."""
    port = port_of(station, evse_id)
    if port is None or port.grant is None or not is_plugged(port) or port.report is None:
        return station
    grant = port.grant
    if taps.why_not_granted(station, evse_id, grant, now) is not None:
        return station
    begin = reading(port.report, now, *stamp(station, now))
    tx = Transaction(
        transaction_id=f"{station.boot.boot_id}-{station.next_transaction}",
        id_token=grant.id_token,
        token_type=grant.token_type,
        groups=grant.groups,
        group_id=grant.group_id,
        rule=grant.rule,
        started=begin,
        last=begin,
        unplugs=port.report.unplugs,
        controller_boot_id=station.controller.boot_id if station.controller else 0,
        remote_start_id=grant.remote_start_id,
        bill=billing.begun(station, evse_id, grant, begin, owner.own_reservation(station, evse_id, grant)),
        **owner.begun_by(station, evse_id, grant),
    )
    station = owner.used(station, evse_id, grant, tx.transaction_id)
    station = replace(station, next_transaction=station.next_transaction + 1)
    return with_port(station, replace(port, grant=None, transaction=tx))


def expired(station: Station, now: float) -> Station:
    """Grants without a car, held cards, choices and notices all have their time."""
    for port in station.ports:
        if port.grant and now >= port.grant.until:
            why = taps.why_not_granted(station, port.evse_id, port.grant, now) or NOBODY_CAME
            station = with_port(station, replace(port, grant=None))
            station = taps.refused(station, port.evse_id, port.grant, why, now)
    if station.holding and now >= station.holding.grant.until:
        grant = station.holding.grant
        why = taps.why_not_granted(station, None, grant, now) or NOBODY_CAME
        station = taps.refused(replace(station, holding=None), 0, grant, why, now)
    if any(now >= n.until for n in station.notices):
        station = replace(station, notices=tuple(n for n in station.notices if now < n.until))
    if station.chosen and now >= station.chosen[1]:
        station = replace(station, chosen=None)
    return station


# -- time -------------------------------------------------------------------------------------------------------------


def next_deadline(station: Station) -> float:
    """When the station wants a Deadline, if nothing else happens first."""
    due = [station.alive_at + ALIVE_PERIOD_S]
    if not station.self_tested:
        due.append(station.boot.at + selftest.PATIENCE_S)
    due.extend(ask.due for ask in station.asks)
    due.extend(n.until for n in station.notices)
    due.extend(stations.deadlines(station))
    due.append(station.update_due)
    due.append(station.owner.due)
    due.append(station.sharing.due)
    due.append(farewell.deadline(station))
    due.append(station.health.due)
    due.append(listing.deadline(station))
    due.append(navigation.deadline(station))
    if station.network.until is not None:
        due.append(station.network.until)
    if station.holding:
        due.append(station.holding.grant.until)
    if station.chosen:
        due.append(station.chosen[1])
    for port in station.ports:
        tx = port.transaction
        if (told_at := status_due(station, port)) is not None:
            due.append(told_at)
        if port.grant:
            due.append(port.grant.until)
        if port.held_until is not None:
            due.append(port.held_until)
        if tx is None:
            continue
        if (over_at := is_over_at(port)) is not None:
            due.append(over_at)
        if (given_up_at := abandoned_at(station, port.evse_id)) is not None:
            due.append(given_up_at)
        if tx.interrupted:
            due.append(station.boot.at + station.settings.tx_resumption_timeout_s)
        if (sample_at := next_sample_at(station, port)) is not None:
            due.append(sample_at)
    return min(due)


# -- what survives ----------------------------------------------------------------------------------------------------


UNSAVED = {Level.UPDATE}


def saved(port: Port) -> dict[str, Any]:
    return {
        "off": sorted(port.off - UNSAVED),  # a build that does not know the name would not read the port
        "off_next": sorted(port.off_next - UNSAVED),
        "latched": sorted(port.latched),
        "arrivals": port.arrivals if port.latched else None,
        "transaction": saved_transaction(port.transaction) if port.transaction else None,
    }


def bill_of(port: Port) -> Bill | None:
    return port.transaction.bill if port.transaction else None


def tariff_saves(old: Port, new: Port) -> Iterator[Save]:
    """The tariffs of a session are long and seldom change: a fact of their own, in the commit of what they are of."""
    was, held = bill_of(old), bill_of(new)
    if (was and was.tariffs) != (held and held.tariffs):
        yield Save(f"tariffs/{new.evse_id}", saved_tariffs(held))


def is_saved_alike(old: Port, new: Port) -> bool:
    same_tx = old.transaction is new.transaction or old.transaction == new.transaction
    same_latches = old.latched == new.latched and (not new.latched or old.arrivals == new.arrivals)
    return same_tx and same_latches and old.off == new.off and old.off_next == new.off_next


def saves(before: Station, after: Station) -> tuple[Save, ...]:
    out = [
        Save(f"port/{new.evse_id}", saved(new))
        for old, new in zip(before.ports, after.ports, strict=True)
        if new is not old and not is_saved_alike(old, new)
    ]
    for old, new in zip(before.ports, after.ports, strict=True):
        out.extend(tariff_saves(old, new) if new is not old else ())
    if after.alive_at != before.alive_at or after.clock is not before.clock:
        out.append(Save("station", alive(after)))
    if after.data is not before.data:
        out.append(Save("data", budget.saved(after.data)))
    if after.cloud is not before.cloud:
        out.append(Save("cloud", dict(after.cloud)))
    if after.outputs is not before.outputs:
        out.append(Save("outputs", dict(after.outputs)))
    if after.opened != before.opened:
        out.append(Save("opened", sorted(after.opened)))
    if after.network is not before.network and network.saved(after.network) != network.saved(before.network):
        out.append(Save("network", network.saved(after.network)))
    if after.reset and after.reset.going and after.reset is not before.reset:
        out.append(Save("reset", stations.reset_reason(after.reset)))
    if after.update is not before.update and (held := updating.saved(after.update)) != updating.saved(before.update):
        out.append(Save("update", held))
    if after.log is not before.log and (sent := logs.saved(after.log)) != logs.saved(before.log):
        out.append(Save("log", sent))
    if after.restarted != before.restarted:
        out.append(Save("restarted", after.restarted))
    if after.wizard is not before.wizard and (told := saved_wizard(after.wizard)) != saved_wizard(before.wizard):
        out.append(Save("wizard", told))
    out.extend(owner.saves(before, after))
    return tuple(out)


def alive(station: Station) -> dict[str, Any]:
    at = station.alive_at
    return {"seen_s": wall(station.clock, at), "floor_s": floor(station.clock, at), "starts": station.boot.count}


def born(
    settings: Settings,
    boot: Boot,
    clock: Clock,
    port_count: int,
    facts: Mapping[str, Any],
    jitter: Iterable[float],
    now: float,
    machine: Machine | None = None,
    board: Settings | None = None,
) -> tuple[Station, tuple[Effect, ...]]:
    """The station at its start, with what the disk remembers. `settings`: what the files say; the layers of installer
    and cloud are facts. `board`: what the board alone says, which limits the installer. `jitter` in 0..1, one for each
    port.

    Facts that cannot be read are kept aside port by port, never raised: a port starts fresh rather than not at all.
    """
    machine = machine or Machine()
    machine = cellular.remembered(machine, facts.get(cellular.FACT)) if machine.has_modem else machine
    board, wizard = board or settings, restored_wizard(facts.get("wizard"))
    ceiling = layer.over(settings, board, wizard.settings)
    cloud, in_force = variables.with_cloud(ceiling, facts.get("cloud"))
    held = in_force.restart_delay_max_s if boot.reason is BootReason.POWER_UP and boot.count > 1 else None
    ports = tuple(
        reborn(i, facts, None if held is None else boot.at + held * part, now)
        for i, part in zip(range(1, port_count + 1), jitter, strict=True)
    )
    station = Station(
        settings=in_force, boot=boot, clock=clock, ports=ports, alive_at=now, ceiling=ceiling, cloud=cloud,
        files=settings, board=board, wizard=wizard,
        network=network.restored(facts.get("network")), machine=machine,
        update=updating.restored(facts.get("update")), restarted=str(facts.get("restarted") or ""),
        outputs=variables.outputs_set(machine, facts.get("outputs")), opened=opened(machine, facts.get("opened")),
        owner=owner_facts.restored(facts, port_count), health=Health(boot.at + health.FIRST_S),
        log=logs.restored(facts.get("log")), data=budget.restored(facts.get("data")),
    )  # fmt: skip
    station = owner.begun(station, now)
    done = [Save("reset", None)] if facts.get("reset") is not None else []
    lost, asked = lost_facts(station, facts, now), lookups(station)
    first = (startup(station, now), Save("station", alive(station)), *done, *lost, Wish(wishes(station)))
    return station, (*first, *asked)


def lookups(station: Station) -> Iterator[Effect]:
    """What follows from the facts by tables that are not ours."""
    if station.settings.time_zone != "UTC":
        yield LoadZone(station.settings.time_zone)
    if station.log:
        yield logs.wish(station, station.log)
    if station.wizard.pinpoint:
        yield handover.place_of(station, station.wizard.pinpoint)


def opened(machine: Machine, fact: Any) -> frozenset[str]:
    """Of the contacts that this board has."""
    return frozenset(name for name in machine.contacts if isinstance(fact, list) and name in fact)


def lost_facts(station: Station, facts: Mapping[str, Any], now: float) -> Iterator[Effect]:
    """Of a session that this software cannot read its owner hears, and what was stored is kept aside. That its bill
    cannot be read its Ended says. What he has decided and this software cannot keep to he hears at each start, until he
    has said it anew: the build before this one could still read it."""
    if station.owner.tariff_problem:
        yield tariff_record(station, station.owner.tariff_problem, now)
    for why in profile.unread(facts.get(owner_facts.FACT + "profiles"), len(station.ports)):
        yield profile_lost_record(station, why, now)
    for why in owner_facts.lost(facts, station.owner):
        yield owner_lost_record(station, why, now)
    for port in station.ports:
        if (bill := bill_of(port)) is not None and bill.lost is not None:
            yield Save(f"unread/bill/{port.evse_id}", bill.lost)
        fact = facts.get(f"port/{port.evse_id}")
        was_idle = fact is None or (isinstance(fact, dict) and fact.get("transaction") is None)
        if port.transaction is None and not was_idle:
            yield Save(f"unread/port/{port.evse_id}", fact)
            yield lost_session(station, port.evse_id, fact, now)


def relatched(fact: Mapping[str, Any]) -> dict[str, Any]:
    """What the driver is still to see, until the plug is out; names that this software does not know are left out."""
    known = frozenset(Fault(name) for name in fact.get("latched") or () if name in set(Fault))
    match fact.get("arrivals"):
        case [int(boot_id), int(unplugs)] if known:
            return {"latched": known, "arrivals": (boot_id, unplugs)}
    return {"latched": known}


def reborn(evse_id: int, facts: Mapping[str, Any], held_until: float | None, now: float) -> Port:
    fact: Any = facts.get(f"port/{evse_id}")
    port = Port(evse_id, held_until=held_until, status_at=now)  # what the cloud heard last was another run's truth
    try:
        off, off_next = (frozenset(map(Level, fact[key])) - {Level.RESET, *UNSAVED} for key in ("off", "off_next"))
        port = replace(port, off=off, off_next=off_next, **relatched(fact))
        stored, bill = fact["transaction"], facts.get(f"tariffs/{evse_id}")
        return replace(port, transaction=restored(stored, bill) if stored else None)
    except (TypeError, KeyError, ValueError, msgspec.ValidationError):
        return port
