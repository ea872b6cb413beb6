"""From TransactionEvents to bills: pure, and the same whatever order they came in."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tools.cloud.wire import INT64, Json, Record, parse_time


@dataclass(frozen=True, slots=True)
class Event:
    """What the bill needs of one TransactionEvent. Registers in Wh, the first and the last that it brings."""

    seq_no: int
    kind: str                           # Started, Updated, Ended
    at_ms: int | None
    evse_id: int | None
    id_token: str | None
    first_wh: float | None
    last_wh: float | None
    register_fell: int                  # 1: from one of its own readings to the next
    stopped_reason: str | None
    cost: str | None = None             # as bill() has it; None: it brings none


@dataclass(frozen=True, slots=True)
class Session:
    """One charging session as it will be billed: a function of its events."""

    station: str
    transaction_id: str
    evse_id: int | None
    id_token: str | None
    started_ms: int | None
    ended_ms: int | None
    first_wh: float | None
    last_wh: float | None
    stopped_reason: str | None
    seq_nos: tuple[int, ...]
    violations: tuple[str, ...]
    cost: str | None = None             # with tax: 12.3 EUR; None: the station knows no price
    tariff_id: str | None = None        # the last one

    @property
    def energy_wh(self) -> float:
        return 0.0 if self.first_wh is None or self.last_wh is None else self.last_wh - self.first_wh


def read_event(record: Record) -> tuple[str, Event]:
    """(transactionId, what it says) of a TransactionEvent that the schema has passed."""
    payload = record.payload
    evse_id = payload.get("evse", {}).get("id")
    samples = (sample for value in payload.get("meterValue", ()) for sample in value["sampledValue"])
    registers = [wh for sample in samples if (wh := register_wh(sample)) is not None]
    info = payload["transactionInfo"]
    return info["transactionId"], Event(
        int(payload["seqNo"]),
        payload["eventType"],
        parse_time(payload["timestamp"]) if record.clock_source else None,
        evse_id if type(evse_id) is int and evse_id in INT64 else None,
        payload.get("idToken", {}).get("idToken"),
        registers[0] if registers else None,
        registers[-1] if registers else None,
        int(any(later < earlier for earlier, later in pairwise(registers))),
        info.get("stoppedReason"),
        bill(payload),
    )


def bill(payload: Json) -> str | None:
    """What the bill needs of tariffs and cost, as JSON: [tariffId, currency, total with tax, whether its parts add up],
    each null where the event does not say it; None if it says nothing of it."""
    tariff_id, details = payload["transactionInfo"].get("tariffId"), payload.get("costDetails")
    if details is None or details.get("failureToCalculate"):
        return json.dumps([tariff_id, None, None, None]) if tariff_id or details else None
    cost = details["totalCost"]
    return json.dumps([tariff_id, cost["currency"], shown(cost["total"].get("inclTax")), adds_up(cost)])


def adds_up(cost: Json) -> bool:
    """Net and with tax, the parts make the total; decimals as they are written."""
    parts = [part for part in cost.values() if isinstance(part, dict) and part is not cost["total"]]
    return all(
        sum((decimal(part.get(tax, 0)) for part in parts), Decimal()) == decimal(cost["total"].get(tax, 0))
        for tax in ("exclTax", "inclTax")
    )


def decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def shown(number: float | None) -> str | None:
    return None if number is None else f"{decimal(number).normalize() + 0:f}"


def register_wh(sample: Json) -> float | None:
    """The reading of the energy register in a SampledValueType (absent measurand and unit mean just that), or None."""
    if sample.get("measurand", "Energy.Active.Import.Register") != "Energy.Active.Import.Register":
        return None
    unit = sample.get("unitOfMeasure", {})
    scale = {"Wh": 1, "kWh": 1000}.get(unit.get("unit", "Wh"))
    if "phase" in sample or scale is None or abs(unit.get("multiplier", 0)) > 12:
        return None
    return float(sample["value"] * scale * 10.0 ** unit.get("multiplier", 0))


def session_of(station: str, transaction_id: str, events: Iterable[Event]) -> Session:
    """The session that these events make; each event once, however often it came."""
    events = sorted(events, key=lambda event: (event.seq_no, event.kind, repr(event)))
    started = [event for event in events if event.kind == "Started"]
    ended = [event for event in events if event.kind == "Ended"]
    metered = [event for event in events if event.first_wh is not None]
    registers = [wh for event in metered for wh in (event.first_wh, event.last_wh) if wh is not None]
    seq_nos = sorted({event.seq_no for event in events})
    bills = [(event.kind, *json.loads(event.cost)) for event in events if event.cost]
    last_bill = next((each for each in reversed(bills) if each[0] == "Ended"), None)
    last_cost = next((each for each in reversed(bills) if each[3] is not None), None)
    wrong = {
        "started_twice": len(started) > 1,
        "ended_twice": len(ended) > 1,
        "ended_without_started": bool(ended) and not started,
        "event_after_ended": bool(ended) and seq_nos[-1] > ended[-1].seq_no,
        "seq_no_gap": seq_nos[-1] - seq_nos[0] + 1 != len(seq_nos),
        "seq_no_twice": len(seq_nos) != len(events),
        "register_fell": any(event.register_fell for event in metered)
        or any(later < earlier for earlier, later in pairwise(registers)),
        "energy_negative": bool(registers) and registers[-1] < registers[0],
        "cost_missing": bool(ended) and any(each[1] for each in bills) and (last_bill is None or last_bill[3] is None),
        "cost_parts_differ": any(each[4] is False for each in bills),
        "currency_changed": len({each[2] for each in bills if each[2]}) > 1,
    }
    return Session(
        station,
        transaction_id,
        next((event.evse_id for event in events if event.evse_id is not None), None),
        next((event.id_token for event in events if event.id_token is not None), None),
        started[0].at_ms if started else None,
        ended[0].at_ms if ended else None,
        registers[0] if registers else None,
        registers[-1] if registers else None,
        next((event.stopped_reason for event in ended if event.stopped_reason is not None), None),
        tuple(seq_nos),
        tuple(kind for kind, is_wrong in wrong.items() if is_wrong),
        f"{last_cost[3]} {last_cost[2]}" if last_cost else None,
        next((each[1] for each in reversed(bills) if each[1]), None),
    )


SESSION_VIOLATIONS = (
    *("started_twice", "ended_twice", "ended_without_started", "event_after_ended"),
    *("seq_no_gap", "seq_no_twice", "register_fell", "energy_negative"),
    *("cost_missing", "cost_parts_differ", "currency_changed"),
)
