"""What the owner charges, as the cloud brings it: default tariffs, those of groups, and that of a running session.

A tariff is read whole, or refused with a sentence and nothing has changed (docs/policy.md, "What is refused").
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.clock import earliest
from agent.commands.answers import Handler, said, with_owner
from agent.events import OwnerRequested
from agent.policy.tariff import bill, choice, terms
from agent.policy.tariff.choice import GroupTariffs
from agent.policy.tariff.terms import Status, Tariff, TariffRefused
from agent.reporting import answer
from agent.station import Station
from agent.taps import Step, with_port


def refused(station: Station, event: OwnerRequested, why: TariffRefused, now: float) -> Step:
    return said(station, event, answer(why.status, "InvalidValue", str(why)), now)


def set_default(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    evse_ids = [port.evse_id for port in station.ports]
    try:
        tariff = terms.read(request["tariff"])
        at_s = earliest(station.clock, now)
        defaults = choice.with_default(station.owner.default_tariffs, evse_ids, request["evseId"], tariff, at_s)
    except TariffRefused as why:
        return refused(station, event, why, now)
    return said(with_owner(station, default_tariffs=defaults, tariff_problem=""), event, {"status": "Accepted"}, now)


def get(station: Station, event: OwnerRequested, now: float) -> Step:
    running = {port.evse_id: tx for port in station.ports if (tx := port.transaction)}
    drivers: dict[int, tuple[Tariff, str]] = {
        evse_id: (tx.bill.tariffs[-1], tx.id_token)
        for evse_id, tx in running.items()
        if tx.bill and tx.bill.tariffs and bill.is_of_driver(tx.bill)
    }
    found = choice.assignments(station.owner.default_tariffs, drivers, event.request["evseId"])
    response = {"status": "Accepted", "tariffAssignments": found} if found else {"status": "NoTariff"}
    return said(station, event, response, now)


def clear(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    kept, results = choice.without(station.owner.default_tariffs, request.get("tariffIds"), request.get("evseId"))
    return said(with_owner(station, default_tariffs=kept), event, {"clearTariffsResult": results}, now)


def of_groups(station: Station, event: OwnerRequested, now: float) -> Step:
    """All of them at once, in the place of those that were there; no data takes them away."""
    try:
        read = GroupTariffs() if event.request is None else choice.read_group_tariffs(event.request)
    except TariffRefused as why:
        return said(station, event, answer("Rejected", "InvalidValue", str(why)), now)
    return said(with_owner(station, group_tariffs=read, tariff_problem=""), event, {"status": "Accepted"}, now)


def change(station: Station, event: OwnerRequested, now: float) -> Step:
    """Of a running session, from this moment's reading on (agent/reporting.py takes it in this very step)."""
    request: Mapping[str, Any] = event.request
    named = request["transactionId"]
    port = next((p for p in station.ports if p.transaction and p.transaction.transaction_id == named), None)
    try:
        if port is None or port.transaction is None:
            raise TariffRefused("that transaction does not run here", Status.TX_NOT_FOUND)
        tx = port.transaction
        if tx.ending or tx.interrupted or port.report is None:
            raise TariffRefused("the session is ending, or its meter cannot be read just now: send it again")
        if tx.bill is None:
            raise TariffRefused("the session began without a tariff, and ends without one")
        if not tx.bill.tariffs:
            raise TariffRefused("this software cannot read the tariff that the session has: it keeps it")
        billed = bill.changed(tx.bill, terms.read(request["tariff"]), earliest(station.clock, now))
    except TariffRefused as why:
        return refused(station, event, why, now)
    after = with_port(station, replace(port, transaction=replace(tx, bill=billed)))
    return said(after, event, {"status": "Accepted"}, now)


HANDLERS: dict[str, Handler] = {
    "SetDefaultTariff": set_default,
    "GetTariffs": get,
    "ClearTariffs": clear,
    "GroupTariffs": of_groups,
    "ChangeTransactionTariff": change,
}
