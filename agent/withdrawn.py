"""A running session whose card is refused meanwhile: by the cloud's late answer, or by the list, if its owner says so.

Both leave the same two facts in the transaction: why, and how far it may still draw (MaxEnergyOnInvalidId). The rest is
derived from them: at that register the session ends, or without StopTxOnInvalidId it waits.
"""

from collections.abc import Iterator
from dataclasses import replace

from agent import taps
from agent.effects import Effect, Lookup
from agent.events import AuthorizationStatus, Entry, LookedUp
from agent.policy.authorize import NEGATIVE, why_bad
from agent.policy.reasons import Reason
from agent.port import Port, is_capped
from agent.station import Station
from agent.taps import Step, port_of, with_port
from agent.transaction import StoppedReason, Trigger, ended_by


def refused(station: Station, port: Port, reason: Reason) -> Station:
    """No more than MaxEnergyOnInvalidId from here on; the first refusal stands."""
    tx = port.transaction
    if tx is None or tx.energy_cap_wh is not None:
        return station
    register_wh = port.report.energy_wh if port.report else tx.last.energy_wh
    cap_wh = register_wh + station.settings.max_energy_on_invalid_id_wh
    return with_port(station, replace(port, transaction=replace(tx, energy_cap_wh=cap_wh, refused=reason)))


def capped(station: Station, evse_id: int, now: float) -> Station:
    """OCPP E05: a token refused late has drawn what it may. After a restart it must first be its session still."""
    port = port_of(station, evse_id)
    if port is None or port.transaction is None or port.transaction.interrupted or not is_capped(port):
        return station
    if not station.settings.stop_tx_on_invalid_id:
        return station
    tx = ended_by(port.transaction, StoppedReason.DE_AUTHORIZED, Trigger.DEAUTHORIZED, now)
    return with_port(station, replace(port, transaction=tx))


# -- by the cloud -----------------------------------------------------------------------------------------------------


def answered(station: Station, transaction_id: str, entry: Entry, sent_at: float) -> Step:
    """idTokenInfo in a TransactionEventResponse. The cache learns it as well, or the same card would start again."""
    port = port_with(station, transaction_id)
    if port is None or port.transaction is None:
        return station, ()
    tx = port.transaction
    known = taps.remembered(tx.id_token, entry, sent_at) if tx.token_type == taps.CARD else ()
    if entry.status is AuthorizationStatus.ACCEPTED:
        return station, known
    return refused(station, port, NEGATIVE[entry.status]), known


# -- by the list ------------------------------------------------------------------------------------------------------


def questions(before: Station, station: Station) -> Iterator[Effect]:
    """What the list says of those who charge: with another list or other settings, and with each sign of life, since a
    card expires without a word."""
    same = before.allowlist is station.allowlist and before.settings is station.settings
    if not station.settings.stop_tx_on_removal or (same and before.alive_at == station.alive_at):
        return
    for port in station.ports:
        if (tx := port.transaction) and not tx.ending and tx.energy_cap_wh is None:
            yield Lookup(tx.transaction_id, tx.id_token)


def looked_up(station: Station, transaction_id: str, event: LookedUp, now: float) -> Station:
    """A list that cannot be read takes nobody off."""
    port = port_with(station, transaction_id)
    tx = port.transaction if port else None
    if port is None or tx is None or tx.ending or not station.settings.stop_tx_on_removal:
        return station
    if not station.allowlist.version or not event.is_read:
        return station
    if event.listed is None:  # whom the list has never named, it does not take off
        return refused(station, port, Reason.CONNECTION_REMOVED) if tx.was_listed else station
    reason = why_bad(event.listed, station.clock, now)
    if reason is None:
        return station if tx.was_listed else with_port(station, replace(port, transaction=replace(tx, listed=True)))
    is_the_clouds = tx.remote_start_id is not None and not tx.was_listed  # it has started him in spite of the list
    return station if is_the_clouds else refused(station, port, reason)


def port_with(station: Station, transaction_id: str) -> Port | None:
    return next((p for p in station.ports if p.transaction and p.transaction.transaction_id == transaction_id), None)
