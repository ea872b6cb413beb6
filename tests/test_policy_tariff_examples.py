"""The worked examples of docs/policy.md, as they stand there: computed by hand, and by the station."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.policy.tariff.cost import Cost, CostKind, cost, cost_details
from agent.policy.tariff.money import number, spelled
from agent.policy.tariff.terms import Tariff, read
from agent.policy.tariff.usage import KINDS, Kind, Reserved, Usage, begun, changed, counted
from agent.transaction import ChargingState, Reading
from agent.uplink.codec import WireRecord, decode_record, encode_record
from tests.referee import judge

PAGE = Path(__file__).parent.parent / "docs" / "policy.md"
EXAMPLE = re.compile(r"^#### (\d+)\. (.+?)\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| (.*?)\|$", re.MULTILINE)
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    tariffs: list[Tariff]
    lines: list[list[str]]  # local time, Wh, W, what went on
    parts: dict[str, tuple[str, str]]  # net and with tax, as they are written


def examples() -> Iterator[Example]:
    for number_, title, body in EXAMPLE.findall(PAGE.read_text()):
        rows = [[cell.strip() for cell in row.split("|")] for row in ROW.findall(body)]
        lines = [row for row in rows if len(row) == 4 and row[0] not in ("local time", "---")]
        parts = {row[0]: (row[1], row[2]) for row in rows if len(row) == 3 and row[0] != "part"}
        yield Example(f"{number_} {title}", [read(json.loads(text)) for text in BLOCK.findall(body)], lines, parts)


def reading(text: str, register_wh: str, power_w: str) -> Reading:
    """A monotonic clock that began with the year 1970: it knows nothing of summer."""
    if text.startswith("unknown"):
        hours, minutes = map(int, text.removeprefix("unknown ").split(":"))
        return Reading(int(register_wh), hours * 3600.0 + minutes * 60, None, 0, int(power_w))
    when = datetime.fromisoformat(text)
    at_s = (when if when.tzinfo else when.replace(tzinfo=BERLIN)).timestamp()
    return Reading(int(register_wh), at_s, at_s, 4, int(power_w))


def played(example: Example) -> tuple[tuple[Tariff, ...], Usage]:
    waiting = list(example.tariffs)
    tariffs: tuple[Tariff, ...] = (waiting.pop(0),)
    reserved: Reserved | None = None
    usage: Usage | None = None
    last: Reading | None = None
    for when, register_wh, power_w, went_on in example.lines:
        if went_on == "ChangeTransactionTariff":
            tariffs = changed(tariffs, waiting.pop(0), 0.0)
            continue
        now = reading(when, register_wh, power_w)
        if went_on == "ReserveNow":
            reserved = Reserved(now.wall_s)
            continue
        if usage is None or last is None:
            usage = begun(tariffs[0], now.wall_s, BERLIN, reserved=reserved)
        else:
            kind = Kind.UNSEEN if went_on == "outage" else KINDS[ChargingState(went_on)]
            usage = counted(tariffs, usage, last, now, kind, BERLIN)
        last = now
    assert usage is not None and not waiting
    return tariffs, usage


def written(costs: Cost) -> dict[str, tuple[str, str]]:
    amounts = [*costs.parts.items(), ("total", costs.total)]
    return {
        str(name): (spelled(amount.excl, costs.currency), spelled(amount.incl, costs.currency))
        for name, amount in amounts
    }


EXAMPLES = list(examples())
ENDED = {
    "eventType": "Ended",
    "timestamp": "2026-03-02T12:00:00.000Z",
    "triggerReason": "EVDeparted",
    "seqNo": 2,
    "transactionInfo": {"transactionId": "t"},
}


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 18 and all(example.lines and example.parts for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_station_comes_to_what_was_computed_by_hand(example: Example) -> None:
    tariffs, usage = played(example)
    costs = cost(tariffs, usage)
    assert written(costs) == example.parts
    assert costs.text == example.parts["total"][1]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_what_the_cloud_is_sent_is_what_the_screen_shows(example: Example) -> None:
    """And is a CostDetailsType of OCPP 2.1."""
    tariffs, usage = played(example)
    costs = cost(tariffs, usage)
    details = cost_details(tariffs, usage, costs, with_periods=True)
    payload = {**ENDED, "costDetails": details}
    judge("TransactionEvent", payload)
    record = WireRecord(b"8 bytes.", 0, None, 0, "TransactionEvent", payload)
    assert decode_record(encode_record(record)).payload == payload
    total = details["totalCost"]["total"]["inclTax"]
    assert total == number(costs.total.incl, costs.currency)
    assert Decimal(json.dumps(total)) == Decimal(costs.text)
    assert details["customData"].get("timeUnknown", False) == ("knows the time" in example.name)
    assert (costs.kind is CostKind.MIN) == example.name.startswith("9 ")
    assert (costs.kind is CostKind.MAX) == example.name.startswith("10 ")


def test_a_period_begins_where_the_price_does() -> None:
    tariffs, usage = played(EXAMPLES[1])
    periods = cost_details(tariffs, usage, cost(tariffs, usage), with_periods=True)["chargingPeriods"]
    assert periods == [
        {
            "tariffId": "2",
            "startPeriod": "2026-03-02T16:30:00.000Z",
            "dimensions": [{"type": "Energy", "volume": 6000}, {"type": "ChargingTime", "volume": 1800}],
        },
        {
            "tariffId": "2",
            "startPeriod": "2026-03-02T17:00:00.000Z",
            "dimensions": [{"type": "Energy", "volume": 4000}, {"type": "ChargingTime", "volume": 1200}],
        },
    ]
