"""What follows from the owner's decisions without anybody asking: plans end, reservations expire, a closing time comes.

Who may start is decided by `policy/authorize.py`, with the terms of a port; this hands them in.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any

from agent import billing, life, reporting
from agent.clock import earliest, is_expired, wall
from agent.effects import Record, Save
from agent.events import Link
from agent.policy import access, display_message, owner, plan_token, profile, reservation
from agent.policy.access import Allowed, AtClosing
from agent.policy.reservation import End, Ports, Reservation
from agent.port import UNTIL_RESTART, Grant, Port
from agent.station import Station
from agent.taps import Step, why_not_here, with_port
from agent.terms import limits, ports_of, since_s, situation
from agent.transaction import TEST_RULE, StoppedReason, Transaction, Trigger, ended_by

LATE_S = 0.001  # after an instant, so that it has surely come: floats are not exact


# -- one step ---------------------------------------------------------------------------------------------------------


def followed(before: Station, station: Station, now: float) -> Step:
    """What has become due. The instants in between change nothing, and are not looked at."""
    station, unused = not_plugged_in(before, offline(station, now), now)
    station, ended = reservations_over(station, now)
    ended = (*unused, *ended, *tariff_problem(before, station, now))
    if not is_due(before, station, now):
        return station, ended
    station = messages_over(profiles_over(station, now), now)
    station, warned = plan_followed(station, now)
    station = sessions_followed(station, now)
    return derived(station, now), (*ended, *warned)


def begun(station: Station, now: float) -> Station:
    """At the start: what holds by what is known then. Nobody is told yet."""
    return derived(with_standing(station, now), now)


def derived(station: Station, now: float) -> Station:
    station = replace(station, owner=replace(station.owner, due=due_at(station, now), **openings(station, now)))
    if not station.owner.profiles:
        return replace(station, owner=replace(station.owner, station_ma=None, port_ma=()))
    said = [tuple(limits(station, port, now)) for port in station.ports]
    whole_ma, port_ma = said[0][1].limit_ma, tuple(own.limit_ma for own, _ in said)
    return replace(station, owner=replace(station.owner, station_ma=whole_ma, port_ma=port_ma))


def openings(station: Station, now: float) -> dict[str, Any]:
    rules, at_s = life.rules(station), wall(station.clock, now)
    if rules is None:
        return {"opening": None, "opens_s": None}
    ahead = None if at_s is None else access.next_opening(rules, at_s, station.zone)
    return {"opening": access.opening(rules, at_s, station.zone), "opens_s": ahead[0] if ahead else None}


def is_due(before: Station, station: Station, now: float) -> bool:
    facts = ("owner", "clock", "zone", "settings")
    is_other = any(getattr(station, name) is not getattr(before, name) for name in facts)
    return is_other or now >= station.owner.due or sessions(before) != sessions(station)


def sessions(station: Station) -> list[tuple[bool, str, bool, bool]]:
    return [
        (port.report is None, tx.transaction_id, tx.interrupted, tx.ending is not None)
        if (tx := port.transaction) else (port.report is None, "", False, False)
        for port in station.ports
    ]  # fmt: skip


def offline(station: Station, now: float) -> Station:
    is_offline, said = station.link is Link.DOWN, station.owner
    if is_offline == (said.offline_since is not None):
        return station
    return replace(station, owner=replace(said, offline_since=now if is_offline else None))


def not_plugged_in(before: Station, station: Station, now: float) -> Step:
    """Who shows his card has used his reservation (H03.FR.09), also if he does not plug in within his time. Where the
    port itself is what hinders him he keeps it; what has passed its time meanwhile is over, and costs nothing."""
    records: list[Record] = []
    for evse_id, grant, is_hindered in timed_out(before, station, now):
        left, mine = reservation.used(station.owner.reservations, evse_id, grant.id_token, grant.groups)
        if mine is None or (is_hindered and not is_expired(station.clock, mine.expires_s, now)):
            continue
        end = End.REMOVED if is_hindered else End.NO_TRANSACTION
        owed = None if is_hindered else billing.unused(station, mine, now, grant, evse_id)
        records.append(reporting.reservation_record(station, mine.reservation_id, end, now, owed))
        station = replace(station, owner=replace(station.owner, reservations=left))
    return station, tuple(records)


def timed_out(before: Station, station: Station, now: float) -> Iterator[tuple[int | None, Grant, bool]]:
    """The grants whose time has passed in this step, at a port or, with None, at none, and whether the driver could not
    have started there."""
    if not station.owner.reservations:
        return
    for old, port in zip(before.ports, station.ports, strict=True):
        grant = old.grant
        if grant and now >= grant.until and not port.grant and not port.transaction:
            yield port.evse_id, grant, why_not_here(station, port, grant.id_token) is not None
    if before.holding and not station.holding:
        waited = before.holding.grant
        granted = {port.grant.id_token for port in station.ports if port.grant}
        charging = {port.transaction.id_token for port in station.ports if port.transaction}
        if now >= waited.until and waited.id_token not in granted | charging:
            yield None, waited, why_not_here(station, None, waited.id_token) is not None


def tariff_problem(before: Station, station: Station, now: float) -> tuple[Record, ...]:
    """A tariff that could not be used, and the next one that can be (I08)."""
    why = station.owner.tariff_problem
    return (reporting.tariff_record(station, why, now),) if why != before.owner.tariff_problem else ()


def reservations_over(station: Station, now: float) -> Step:
    said = station.owner
    if not said.reservations:
        return station, ()
    claimed = claimed_by_tap(station)
    _, over = reservation.over(said.reservations, ports_kept(station), station.clock, now)
    ended = {number: end for number, end in over if end is not End.EXPIRED or number not in claimed}
    if not ended:
        return station, ()
    records = [reporting.reservation_record(station, *each, now, owed(station, *each, now)) for each in ended.items()]
    kept = tuple(each for each in said.reservations if each.reservation_id not in ended)
    return replace(station, owner=replace(said, reservations=kept)), tuple(records)


def ports_kept(station: Station) -> Ports:
    """As what is reserved sees them: one that is out until a restart which is on its way is not out of service."""
    ports = ports_of(station)
    if life.row(station).is_closed:
        return ports
    restarting = frozenset(port.evse_id for port in station.ports if port.off and port.off <= UNTIL_RESTART)
    return replace(ports, unavailable=ports.unavailable - restarting)


def claimed_by_tap(station: Station) -> frozenset[int]:
    """Their holder has come in time, and has shown his card: they wait with him for the plug."""
    return frozenset(
        each.reservation_id
        for evse_id, id_token, groups in who_waits(station)
        for each in station.owner.reservations
        if reservation.is_holder(each, id_token, groups) and (evse_id is None or each.evse_id in (None, evse_id))
    )


def who_waits(station: Station) -> Iterator[tuple[int | None, str, frozenset[str]]]:
    """At a port or, with None, for one, also for the cloud's word."""
    for port in station.ports:
        if port.grant:
            yield port.evse_id, port.grant.id_token, port.grant.groups
    if station.holding:
        yield None, station.holding.grant.id_token, station.holding.grant.groups
    for ask in station.asks:
        entry = ask.listed or ask.cached
        yield ask.evse_id, ask.id_token, entry.groups if entry else frozenset()


def owed(station: Station, number: int, end: End, now: float) -> dict[str, Any] | None:
    """By whoever reserved and did not come. What the station could not keep costs nothing."""
    mine = next(each for each in station.owner.reservations if each.reservation_id == number)
    return billing.unused(station, mine, now) if end is End.EXPIRED else None


def profiles_over(station: Station, now: float) -> Station:
    said = station.owner
    if not said.profiles:
        return station
    running = [port.transaction.transaction_id for port in station.ports if port.transaction]
    kept = profile.lasting(said.profiles, situation(station, station.ports[0], now), running)
    return replace(station, owner=replace(said, profiles=kept)) if kept != said.profiles else station


def messages_over(station: Station, now: float) -> Station:
    said = station.owner
    running = [port.transaction.transaction_id for port in station.ports if port.transaction]
    kept = display_message.lasting(said.messages, running, station.clock, now)
    return replace(station, owner=replace(said, messages=kept)) if kept is not said.messages else station


def plan_followed(station: Station, now: float) -> Step:
    """How it stands, and a word to the owner some days before it ends."""
    station = with_standing(station, now)
    found = plan_token.plan(station.owner.tokens, station.clock, now)
    days = plan_token.warned_d(found, earliest(station.clock, now))
    if days == station.owner.warned_d:
        return station, ()
    station = replace(station, owner=replace(station.owner, warned_d=days))
    return station, (() if days is None else (reporting.plan_record(station, found, days, now),))


def with_standing(station: Station, now: float) -> Station:
    standing = plan_token.plan(station.owner.tokens, station.clock, now).standing
    if standing is station.owner.standing:
        return station
    return replace(station, owner=replace(station.owner, standing=standing))


def sessions_followed(station: Station, now: float) -> Station:
    for port in station.ports:
        if (tx := port.transaction) is not None and (why := overdue(station, tx, now)) is not None:
            after = ended_by(tx, *why, now)
            station = with_port(station, replace(port, transaction=after)) if after is not tx else station
    return station


def overdue(station: Station, tx: Transaction, now: float) -> tuple[StoppedReason, Trigger] | None:
    """Why the owner's rules end this session now."""
    if tx.ending or tx.interrupted or tx.rule == TEST_RULE:
        return None
    if tx.limit_s is not None and tx.limit_stops and since_s(station, tx, now) >= tx.limit_s:
        return StoppedReason.TIME_LIMIT_REACHED, Trigger.TIME_LIMIT_REACHED
    closes_s = closing(station, tx, now)
    if closes_s is not None and closes_s <= 0.0:
        return StoppedReason.TIME_LIMIT_REACHED, Trigger.TIME_LIMIT_REACHED
    return None


WARNING_S = 600.0  # before a session is ended, where no policy says another


def warned_s(station: Station, tx: Transaction, now: float) -> float | None:
    """In how many seconds the owner's rules end this session, if that is so soon that its driver is to be told."""
    if tx.ending or tx.interrupted or tx.rule == TEST_RULE:
        return None
    left = [closing(station, tx, now)]
    if tx.limit_s is not None and tx.limit_stops:
        left.append(tx.limit_s - since_s(station, tx, now))
    return min((each for each in left if each is not None and each <= warning_s(station)), default=None)


def warning_s(station: Station) -> float:
    return station.owner.access.policy.warning_s if station.owner.access else WARNING_S


def leave_s(station: Station, port: Port, now: float) -> float | None:
    """In how many seconds the rule that has let this driver start wants him gone, if that is so soon that he is to be
    told; negative: since then. Nothing happens if he stays. Counted in this run: after a restart he has longer."""
    tx = port.transaction or (port.finished if port.served else None)
    if tx is None or tx.interrupted or tx.rule == TEST_RULE:
        return None
    left: list[float] = []
    if tx.limit_s is not None and not tx.limit_stops:
        left.append(tx.limit_s - since_s(station, tx, now))
    if tx.overstay_s is not None and port.idle_at is not None:
        left.append(tx.overstay_s - (now - port.idle_at))
    return min((each for each in left if each <= warning_s(station)), default=None)


def closing(station: Station, tx: Transaction, now: float) -> float | None:
    """In how many seconds this session is ended by the station's hours; None: they do not end it, or never."""
    rules, at_s = life.rules(station), wall(station.clock, now)
    if rules is None or rules.policy.at_closing is not AtClosing.STOP or at_s is None or tx.rule == TEST_RULE:
        return None
    is_connected = bool(tx.groups) or tx.was_listed or tx.remote_start_id is not None
    for _ in range(CLOSINGS_MAX):
        match access.access(rules, tx.groups, at_s, station.zone, is_connected=is_connected):
            case Allowed(until_s=None):
                return None
            case Allowed(until_s=float() | int() as until_s):
                at_s = until_s
            case _:
                return at_s - (wall(station.clock, now) or 0.0)
    return None


CLOSINGS_MAX = 14  # rules that follow each other without a gap


def due_at(station: Station, now: float) -> float:
    """Monotonic: the next instant at which something of the above may be due."""
    said, now_s = station.owner, wall(station.clock, now)
    in_s: list[float] = []
    floor_s = earliest(station.clock, now)
    walls = [*reservation.expiries_s(said.reservations), *plan_token.changes_s(said.tokens)]
    walls += display_message.changes_s(said.messages)
    in_s += [at_s - floor_s for at_s in walls]
    for port in station.ports:
        if (tx := port.transaction) is not None and not tx.ending:
            if tx.limit_s is not None:
                in_s.append(tx.limit_s - since_s(station, tx, now))
            if (closes := closing(station, tx, now)) is not None:
                in_s.append(closes)
        in_s += [limit.for_s for limit in limits(station, port, now)] if said.profiles else []
    if now_s is not None and (rules := life.rules(station)) is not None:
        changes_s = access.opening(rules, now_s, station.zone).changes_s
        in_s += [changes_s - now_s] if changes_s is not None else []
    ahead = [each for each in in_s if each > LATE_S / 2]
    return now + min(ahead) + LATE_S if ahead else inf


# -- a session begins -------------------------------------------------------------------------------------------------


def own_reservation(station: Station, evse_id: int, grant: Grant) -> Reservation | None:
    return reservation.own(station.owner.reservations, evse_id, grant.id_token, grant.groups)


def begun_by(station: Station, evse_id: int, grant: Grant) -> dict[str, Any]:
    """What the transaction keeps of the owner's decisions."""
    mine = own_reservation(station, evse_id, grant)
    kept: dict[str, Any] = {"reservation_id": mine.reservation_id if mine else None}
    if grant.access:
        kept |= {
            "access_rule": grant.access.rule, "access_policy": grant.access.policy,
            "limit_s": grant.access.session_limit_s, "limit_stops": grant.access.limit_stops,
            "overstay_s": grant.access.overstay_s,
        }  # fmt: skip
    return kept


def used(station: Station, evse_id: int, grant: Grant, transaction_id: str) -> Station:
    """The reservation that this session uses up is over; the charging profile that came with its start is its own."""
    left, mine = reservation.used(station.owner.reservations, evse_id, grant.id_token, grant.groups)
    if mine:
        station = replace(station, owner=replace(station.owner, reservations=left))
    if grant.profile:
        profiles = profile.begun(station.owner.profiles, grant.profile, transaction_id)
        station = replace(station, owner=replace(station.owner, profiles=profiles))
    return station


def saves(before: Station, after: Station) -> Iterator[Save]:
    if after.owner is before.owner:
        return
    was = owner.saved(before.owner)
    for name, value in owner.saved(after.owner).items():
        if value != was[name]:
            yield Save(owner.FACT + name, value)
