"""What a session costs, after a day of readings: the newest reading counted, the cost worked out, made a message."""

from functools import partial
from zoneinfo import ZoneInfo

from agent.policy.tariff.choice import Defaults, GroupTariffs, choose
from agent.policy.tariff.cost import cost, cost_details
from agent.policy.tariff.terms import ELEMENTS_MAX, Tariff, read
from agent.policy.tariff.usage import Kind, Usage, begun, counted
from agent.transaction import Reading
from bench.figure import Figures, figure, timed

ZONE = ZoneInfo("Europe/Berlin")
NOON_S, MINUTE_S, DAY_S = 1_772_449_200.0, 60, 86_400
HALF_HOURS = 48
GROUPS = 10_000
TARGET_US = 1_000.0


def tariff() -> Tariff:
    """Another price each half hour, one at night for lack of power, one per minute: as many prices as there may be."""
    hours = [f"{i // 2:02}:{i % 2 * 30:02}" for i in range(HALF_HOURS)]
    spans = [{"startTimeOfDay": hours[i - 1], "endTimeOfDay": hours[i]} for i in range(HALF_HOURS)]
    prices = [{"priceKwh": (250 + i) / 1000, "conditions": span} for i, span in enumerate(spans)]
    vat = [{"type": "VAT", "tax": 19}]
    terms = read({
        "tariffId": "bench",
        "currency": "EUR",
        "energy": {"prices": [{"priceKwh": 0.2, "conditions": {"maxPower": 1_000}}, *prices], "taxRates": vat},
        "chargingTime": {"prices": [{"priceMinute": 0.01, "conditions": {"minChargingTime": 3_600}}], "taxRates": vat},
        "maxCost": {"inclTax": 1_000},
    })  # fmt: skip
    assert sum(len(each.prices) for each in terms.priced.values()) == ELEMENTS_MAX
    return terms


def reading(after_s: int) -> Reading:
    return Reading(after_s * 3, float(after_s), NOON_S + after_s, 4, 10_800, (16_000, 16_000, 16_000))


def day(terms: Tariff) -> Usage:
    usage = begun(terms, NOON_S, ZONE)
    for at_s in range(0, DAY_S, MINUTE_S):
        usage = counted([terms], usage, reading(at_s), reading(at_s + MINUTE_S), Kind.CHARGING, ZONE)
    return usage


def update(terms: Tariff, usage: Usage) -> None:
    """What each sample of a running session asks for."""
    usage = counted([terms], usage, reading(DAY_S), reading(DAY_S + MINUTE_S), Kind.CHARGING, ZONE)
    cost_details([terms], usage, cost([terms], usage), with_periods=False)


def measured() -> Figures:
    terms = tariff()
    usage = day(terms)
    note = f"counted, worked out and made a CostDetailsType; {ELEMENTS_MAX} prices, {len(usage.periods)} periods"
    group_tariffs = GroupTariffs("1", (terms,), {f"group {i}": 0 for i in range(GROUPS)})
    mine = [f"group {i}" for i in range(0, GROUPS, GROUPS // 5)]
    choice = partial(choose, mine, group_tariffs, Defaults(), 1, NOON_S)
    groups = f"whose tariff; {GROUPS} groups, five of them the driver's"
    return {
        "tariff_update_us": figure(timed(partial(update, terms, usage), 100, 5), "us", TARGET_US, note),
        "tariff_choice_us": figure(timed(choice, 1_000, 5), "us", note=groups),
    }
