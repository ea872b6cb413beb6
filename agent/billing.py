"""Tariffs at the plug: which one counts for whom, what a session has used, and what that comes to. Pure.

The rules are in `policy/tariff`; this hands them the station's facts. A bill is counted up to its session's newest
reading, `Transaction.last`: whoever moves that has it counted in the same step, in `settled`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from msgspec import structs

from agent.clock import earliest, wall
from agent.policy import plan_token
from agent.policy.plan_token import Standing
from agent.policy.reservation import Reservation
from agent.policy.tariff import bill as bills
from agent.policy.tariff import usage
from agent.policy.tariff.bill import Bill
from agent.policy.tariff.choice import Choice, PriceFact, PriceFacts, Rule, choose, price_facts, prices_now
from agent.policy.tariff.cost import Cost, cost
from agent.policy.tariff.moment import NOBODY
from agent.policy.tariff.terms import Dimension, Tariff
from agent.policy.tariff.usage import KINDS, Kind, Reserved
from agent.port import Grant, Port, counts
from agent.reading import Reading, reading
from agent.station import Station, charging_state, stamp
from agent.transaction import TEST_RULE, Transaction

# -- whose ------------------------------------------------------------------------------------------------------------


def choice(
    station: Station, evse_id: int, groups: Iterable[str], now: float, answered: Tariff | None = None
) -> Choice:
    """Of a session that began here now."""
    said = station.owner
    if said.is_free_after_plan and plan_token.plan(said.tokens, station.clock, now).standing is Standing.DEACTIVATED:
        return Choice(Rule.NONE)
    at_s = earliest(station.clock, now)
    return choose(groups, said.group_tariffs, said.default_tariffs, evse_id, at_s, answered)


def of_grant(station: Station, evse_id: int, grant: Grant, now: float) -> Choice:
    if grant.rule == TEST_RULE:
        return Choice(Rule.NONE)
    return choice(station, evse_id, grant.groups, now, grant.tariff)


def begun(station: Station, evse_id: int, grant: Grant, begin: Reading, mine: Reservation | None) -> Bill | None:
    """`mine`: the reservation that the session uses up."""
    reserved = Reserved(mine.since_s) if mine else None
    chosen = of_grant(station, evse_id, grant, begin.mono_s)
    return bills.begun(chosen, begin, station.zone, grant.payer, reserved)


# -- how much ---------------------------------------------------------------------------------------------------------


def settled(before: Station, old: Port, station: Station, tx: Transaction) -> Transaction:
    """The session with its bill counted up to its newest reading. `before`, `old`: before this step, which tell what
    went on since the last one, and under which tariff."""
    was = old.transaction
    if was is None or was.transaction_id != tx.transaction_id:  # it has begun in this step
        return tx
    if tx.bill is None or was.bill is None or tx.last is was.last:
        return tx
    counted = bills.counted(was.bill, was.last, tx.last, kind(before, old), station.zone)
    assert counted
    return replace(tx, bill=replace(tx.bill, usage=counted.usage))


def kind(station: Station, port: Port) -> Kind:
    """What goes on at this port. While its controller is silent nobody sees it."""
    tx = port.transaction
    if tx is None or tx.interrupted or port.report is None:
        return Kind.UNSEEN
    return KINDS[charging_state(station, port)]


def so_far(station: Station, port: Port, now: float) -> Cost | None:
    """What the running session would cost if it ended now. None: no price is known."""
    counted = up_to_now(station, port, now)
    return bills.total(counted[0]) if counted else None


def up_to_now(station: Station, port: Port, now: float) -> tuple[Bill, Reading] | None:
    """The bill of the running session by the meter, and while nobody reads it by what is stored; and that reading."""
    tx, report = port.transaction, port.report
    if tx is None or tx.bill is None:
        return None
    if report is None or tx.interrupted or not counts(report, tx):
        return tx.bill, tx.last
    here = reading(report, now, *stamp(station, now))
    return bills.counted(tx.bill, tx.last, here, kind(station, port), station.zone) or tx.bill, here


# -- before the start -------------------------------------------------------------------------------------------------


def shown_tariff(station: Station, port: Port, now: float) -> Tariff | None:
    """Of the session that runs here or has just ended, of who may start here, else of whoever comes."""
    tx = port.transaction or (port.finished if port.served else None)
    if tx:
        return tx.bill.tariffs[-1] if tx.bill and tx.bill.tariffs else None
    if port.grant:
        return of_grant(station, port.evse_id, port.grant, now).tariff
    return choice(station, port.evse_id, (), now).tariff


def idle_price(station: Station, port: Port, now: float) -> PriceFact | None:
    """Of an idle minute of the session that runs here: what it costs now, or, with `now` None, would come to cost; with
    tax. None: nothing, or no price is known."""
    counted, tariff = up_to_now(station, port, now), shown_tariff(station, port, now)
    if counted is None or tariff is None:
        return None
    line = next((each for each in facts(station, tariff, now).lines if each.dimension is Dimension.IDLE_TIME), None)
    if line is None or not line.most:
        return None
    held = prices_now(tariff, counted[0].usage, counted[1], station.zone).get(Dimension.IDLE_TIME)
    return structs.replace(line, now=held or None, most=held or line.most)


def facts(station: Station, tariff: Tariff, now: float) -> PriceFacts:
    return price_facts(tariff, wall(station.clock, now), station.zone)


# -- reservations -----------------------------------------------------------------------------------------------------


def unused(
    station: Station, mine: Reservation, now: float, grant: Grant | None = None, at: int | None = None
) -> dict[str, Any] | None:
    """What a reservation costs that no session has followed, for its record; None: nothing that this station knows of.
    `grant`: of who has come, and did not plug in, `at` that port. Of one for any port where nobody has said at which,
    the cheapest: nobody knows which he would have taken."""
    named = mine.evse_id or at
    of_ports = [unused_at(station, mine, evse_id, now, grant) for evse_id in ([named] if named else evse_ids(station))]
    tariff, owed = min(of_ports, key=lambda each: each[1].total.incl if each[1] else 0)
    if tariff is None or owed is None or not owed.total.incl:
        return None
    return {
        "tariffId": tariff.tariff_id, "tariffVersion": tariff.version,
        "currency": owed.currency, "totalCost": owed.text,
    }  # fmt: skip


def evse_ids(station: Station) -> list[int]:
    return [port.evse_id for port in station.ports]


def unused_at(
    station: Station, mine: Reservation, evse_id: int, now: float, grant: Grant | None
) -> tuple[Tariff | None, Cost | None]:
    groups = frozenset({mine.group_id} if mine.group_id else ())
    chosen = of_grant(station, evse_id, grant, now) if grant else choice(station, evse_id, groups, now)
    if (tariff := chosen.tariff) is None:
        return None, None
    payer, reserved = grant.payer if grant else NOBODY, Reserved(mine.since_s)
    used = usage.reservation(tariff, reserved, wall(station.clock, now), station.zone, payer)
    return tariff, cost((tariff,), used, is_session=False)
