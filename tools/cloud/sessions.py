"""From TransactionEvents and the ends of reservations to bills: pure, and the same whatever order they came in."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tools.cloud.wire import INT64, Json, Record, parse_time

ADMITTED = {"rule": "rule", "accessRule": "access_rule", "accessPolicy": "access_policy", "listVersion": "list_version"}
PRICED = {
    "tariffRule": "tariff_rule", "tariffVersion": "tariff_version", "tariffGroup": "tariff_group",
    "tariffPolicy": "tariff_policy",
}  # fmt: skip
NO_SHOWS = ("Expired", "NoTransaction")  # Removed is the station's own doing
NO_SHOW_VIOLATIONS = ("no_show_cost_unreadable",)
TOTAL = re.compile(r"\d{1,15}(\.\d{1,6})?", re.ASCII)
TEXT_MAX = 250                          # characters of a mark
CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


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
    marks: str | None = None            # as marks() has it; None: it brings none


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
    rule: str | None = None             # what let the driver in, and by which list ..
    list_version: str | None = None
    access_rule: str | None = None      # .. and the rule of the owner's policy that allowed it, and its version
    access_policy: str | None = None
    reservation_id: int | None = None   # that it has used up
    tariff_rule: str | None = None      # why this tariff ..
    tariff_version: str | None = None
    tariff_group: str | None = None     # .. and of a group's tariff the group, and the version of those tariffs
    tariff_policy: str | None = None

    @property
    def energy_wh(self) -> float:
        return 0.0 if self.first_wh is None or self.last_wh is None else self.last_wh - self.first_wh


@dataclass(frozen=True, slots=True)
class NoShow:
    """A reservation that no session has followed: a function of its record, and of the ReserveNow that made it."""

    station: str
    reservation_id: int
    evse_id: int | None                 # None: any, or we do not know
    id_token: str | None                # whom it was kept for; None: this cloud has no command that made it
    at_ms: int | None
    end: str                            # of NO_SHOWS
    cost: str | None                    # with tax: 3.5 EUR; None: it costs nothing that the station knows of
    tariff_id: str | None
    tariff_version: str | None
    violations: tuple[str, ...] = ()


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
        marks(payload),
    )


def marks(payload: Json) -> str | None:
    """Who and why, as JSON: by the columns' names what the event says of it; None if it says nothing."""
    custom = payload.get("customData") or {}
    said: Json = {
        column: text for name, column in (ADMITTED | PRICED).items() if (text := short(custom.get(name))) is not None
    }
    number = payload.get("reservationId")
    if number is not None and int(number) in INT64:
        said["reservation_id"] = int(number)
    return json.dumps(said) if said else None


def short(value: object) -> str | None:
    """Of what no schema judges: a text or a number, if it is one."""
    return str(value)[:TEXT_MAX] if type(value) is str or (type(value) is int and value in INT64) else None


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
    return None if number is None else plain(decimal(number))


def plain(amount: Decimal) -> str:
    return f"{amount.normalize() + 0:f}"


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
    said = [json.loads(event.marks) for event in events if event.marks]
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
        reservation_id=next((each["reservation_id"] for each in said if "reservation_id" in each), None),
        **columns(ADMITTED.values(), next((each for each in said if "rule" in each), {})),
        **columns(PRICED.values(), next((each for each in reversed(said) if "tariff_rule" in each), {})),
    )


def columns(names: Iterable[str], said: Json) -> dict[str, Any]:
    return {name: said.get(name) for name in names}


# -- reservations that nobody has used --------------------------------------------------------------------------------


def no_show_of(
    station: str, payload: Json, at_ms: int | None, received_ms: int, reserved: Sequence[tuple[int, Json]]
) -> NoShow | None:
    """What a ReservationStatusUpdate that the schema has passed comes to; None: nobody has missed anything. `reserved`:
    (made_ms, ReserveNow) of the station, the oldest first."""
    if payload["reservationUpdateStatus"] not in NO_SHOWS:
        return None
    number, custom = int(payload["reservationId"]), payload.get("customData") or {}
    made = made_by(reserved, number, received_ms if at_ms is None else at_ms)
    cost = no_show_cost(custom)
    return NoShow(
        station,
        number,
        made.get("evseId"),
        made.get("idToken", {}).get("idToken"),
        at_ms,
        payload["reservationUpdateStatus"],
        cost,
        short(custom.get("tariffId")),
        short(custom.get("tariffVersion")),
        NO_SHOW_VIOLATIONS if cost is None and "totalCost" in custom else (),
    )


def no_show_cost(custom: Json) -> str | None:
    total, currency = custom.get("totalCost"), custom.get("currency")
    if not (isinstance(total, str) and isinstance(currency, str)):
        return None
    return f"{plain(Decimal(total))} {currency}" if TOTAL.fullmatch(total) and CURRENCY.fullmatch(currency) else None


def made_by(reserved: Sequence[tuple[int, Json]], number: int, by_ms: int) -> Json:
    """The newest ReserveNow of this number before then; empty if there is none."""
    found = (asked for made_ms, asked in reversed(reserved) if asked.get("id") == number and made_ms <= by_ms)
    return next(found, {})


def money(rows: Iterable[Session | NoShow]) -> dict[str, str]:
    """By currency, what these come to, with tax."""
    sums: dict[str, Decimal] = {}
    for cost in (row.cost for row in rows if row.cost):
        amount, currency = cost.split(" ", 1)
        sums[currency] = sums.get(currency, Decimal()) + Decimal(amount)
    return {currency: plain(amount) for currency, amount in sorted(sums.items())}


SESSION_VIOLATIONS = (
    *("started_twice", "ended_twice", "ended_without_started", "event_after_ended"),
    *("seq_no_gap", "seq_no_twice", "register_fell", "energy_negative"),
    *("cost_missing", "cost_parts_differ", "currency_changed"),
)
