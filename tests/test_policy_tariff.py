"""What a session costs: what any tariff and any session must keep to, and the cases that the examples do not show."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.policy.tariff import usage as usages
from agent.policy.tariff.cost import Amount, Cost, CostKind, cost, cost_details, not_calculated
from agent.policy.tariff.moment import Payer
from agent.policy.tariff.money import CURRENCIES, exact, exponent, number, rounded, shared_out, spelled
from agent.policy.tariff.terms import (
    ELEMENTS_MAX,
    Dimension,
    Status,
    Tariff,
    TariffRefused,
    is_free,
    read,
    restored,
    saved,
    taxed,
    with_tax,
)
from agent.policy.tariff.usage import (
    PERIODS_MAX,
    TARIFFS_MAX,
    Kind,
    Reserved,
    Usage,
    begun,
    changed,
    counted,
    counters,
    reservation,
)
from agent.transaction import Reading
from tests.referee import judge

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, 8, tzinfo=BERLIN).timestamp()
NIGHTS = [datetime(2026, 3, 28, 20, tzinfo=BERLIN).timestamp(), datetime(2026, 10, 24, 20, tzinfo=BERLIN).timestamp()]
Json = dict[str, Any]


def tariff(**said: Any) -> Tariff:
    return read({"tariffId": "t", "currency": "EUR", **said})


def energy(*prices: Json, taxes: float = 0) -> Json:
    rates = {"taxRates": [{"type": "VAT", "tax": taxes}]} if taxes else {}
    return {"energy": {"prices": list(prices), **rates}}


def minutes(name: str, *prices: Json, taxes: float = 0) -> Json:
    return {name: energy(*prices, taxes=taxes)["energy"]}


def reading(after_s: float, wh: int, power_w: int = 7_000, wall_s: float | None = MONDAY, source: int = 4) -> Reading:
    known = None if wall_s is None else wall_s + after_s
    return Reading(wh, 1_000.0 + after_s, known, source if wall_s else 0, power_w, (power_w * 1000 // 230, 0, 0))


def session(tariffs: Sequence[Tariff], readings: Sequence[Reading], kinds: Sequence[Kind]) -> Usage:
    usage = begun(tariffs[0], readings[0].wall_s, BERLIN)
    for before, after, kind in zip(readings, readings[1:], kinds, strict=False):
        usage = counted(tariffs, usage, before, after, kind, BERLIN)
    return usage


def charged(terms: Tariff, length_s: float, wh: int, wall_s: float | None = MONDAY) -> Usage:
    return session([terms], [reading(0, 0, wall_s=wall_s), reading(length_s, wh, wall_s=wall_s)], [Kind.CHARGING])


# -- random tariffs and sessions --------------------------------------------------------------------------------------
# From a seed, by hand: to draw such a tree by hypothesis takes a hundred times as long as to bill it.

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OF_DAY = ("startTimeOfDay", "endTimeOfDay", "dayOfWeek", "validFromDate", "validToDate", "evseKind")
OF_USE = tuple(f"{bound}{what}" for bound in ("min", "max") for what in ("Energy", "Time", "ChargingTime", "IdleTime"))
OF_LOAD = ("minPower", "maxPower", "minCurrent", "maxCurrent")
PRICED = {"energy": "priceKwh", "chargingTime": "priceMinute", "idleTime": "priceMinute", "fixedFee": "priceFixed"}


def condition(name: str, rng: Random) -> Any:
    match name:
        case "startTimeOfDay" | "endTimeOfDay":
            return f"{rng.randrange(24):02}:{rng.choice((0, 0, 30, 59)):02}"
        case "dayOfWeek":
            return rng.sample(DAYS, rng.randint(1, 6))
        case "validFromDate" | "validToDate":
            return str(date(2026, rng.choice((3, 10)), rng.randint(1, 31)))
        case "evseKind":
            return rng.choice(("AC", "AC", "DC"))
        case "minEnergy" | "maxEnergy":
            return rng.choice((rng.randint(0, 40_000), rng.randint(0, 40_000_000) / 1000))
    return rng.randint(0, 20_000 if name in OF_LOAD else 40_000)


def random_form(seed: int, names: Sequence[str], with_limits: bool) -> Json:
    rng = Random(seed)
    form: Json = {"tariffId": "t", "currency": "EUR" if with_limits else rng.choice(("EUR", "JPY", "KWD"))}
    for dimension, price in PRICED.items():
        if rng.random() < 0.7:
            allowed = [name for name in names if name in OF_DAY] if dimension == "fixedFee" else names
            prices: list[Json] = []
            for _ in range(rng.randint(1, 4)):
                some = rng.sample(allowed, rng.choice((0, 1, 1, 2, 3)))
                amount = rng.choice((0, rng.randint(0, 5_000_000) / 1_000_000, rng.randint(0, 50) / 100))
                prices.append({price: amount, "conditions": {name: condition(name, rng) for name in some}})
            taxes = [{"type": "VAT", "tax": rng.choice((7, 19, 20.5)), "stack": rng.randrange(3)} for _ in range(2)]
            form[dimension] = {"prices": prices} | ({"taxRates": taxes} if rng.random() < 0.6 else {})
    if with_limits:
        least, most = sorted(rng.randrange(5_000) / 100 for _ in range(2))
        name = rng.choice(("exclTax", "inclTax"))
        form |= {n: {name: x} for n, x in (("minCost", least), ("maxCost", most)) if rng.random() < 0.4}
    return form


def tariffs(*names: str, with_limits: bool) -> st.SearchStrategy[Tariff]:
    return st.integers(0, 1_000_000).map(lambda seed: read(random_form(seed, names, with_limits)))


ANY_TARIFF = tariffs(*OF_DAY, *OF_USE, *OF_LOAD, with_limits=True)
STEADY = tariffs(*OF_DAY, *OF_USE, with_limits=False)  # does not depend on power
STEP = st.tuples(st.integers(0, 20_000), st.integers(0, 20_000), st.sampled_from(Kind))  # seconds, Wh
START = st.sampled_from([MONDAY, *NIGHTS]) | st.none()


def walked(terms: Sequence[Tariff], wall_s: float | None, steps: Sequence[tuple[int, int, Kind]]) -> Usage:
    at_s, wh, readings = 0, 0, [reading(0, 0, wall_s=wall_s)]
    for length_s, more_wh, _ in steps:
        at_s, wh = at_s + length_s, wh + more_wh
        readings.append(reading(at_s, wh, power_w=(at_s * 7) % 15_000, wall_s=wall_s))
    return session(terms, readings, [kind for _, _, kind in steps])


# -- what always holds ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(ANY_TARIFF, START, st.lists(STEP, max_size=5))
def test_the_parts_add_up_to_the_total_and_the_limits_are_kept(
    terms: Tariff, wall_s: float | None, steps: list[tuple[int, int, Kind]]
) -> None:
    usage = walked([terms], wall_s, steps)
    costs = cost([terms], usage)
    assert sum(part.excl for part in costs.parts.values()) == costs.total.excl
    assert sum(part.incl for part in costs.parts.values()) == costs.total.incl
    assert all(0 <= part.excl <= part.incl for part in [*costs.parts.values(), costs.total])
    if terms.min_cost:
        assert costs.total.incl >= rounded(with_tax(terms.min_cost) * 100)
    if terms.max_cost and costs.kind is not CostKind.MIN:
        assert terms.max_cost.incl is None or costs.total.incl <= terms.max_cost.incl * 100
        assert terms.max_cost.excl is None or costs.total.excl <= terms.max_cost.excl * 100
    details = cost_details([terms], usage, costs, with_periods=True)
    ended = {"eventType": "Ended", "timestamp": "2026-03-02T12:00:00.000Z", "triggerReason": "EVDeparted", "seqNo": 2}
    judge("TransactionEvent", {**ended, "transactionInfo": {"transactionId": "t"}, "costDetails": details})


@settings(max_examples=60, deadline=None)
@given(ANY_TARIFF, START, st.lists(STEP, max_size=4), st.integers(0, 5_000), st.integers(0, 5_000))
def test_more_time_or_energy_never_costs_less(
    terms: Tariff, wall_s: float | None, steps: list[tuple[int, int, Kind]], more_s: int, more_wh: int
) -> None:
    """Of a session that goes on. One price per kWh may be below the one before it, but none is negative."""
    shorter = walked([terms], wall_s, steps)
    longer = walked([terms], wall_s, [*steps, (more_s, more_wh, Kind.CHARGING)])
    before, after = cost([terms], shorter), cost([terms], longer)
    assert after.total.incl >= before.total.incl


LINE = st.tuples(st.integers(1, 40), st.integers(0, 40))  # seconds and Wh between two of a straight line's points


@settings(max_examples=60, deadline=None)
@given(STEADY, START, LINE, st.integers(2, 900), st.sampled_from([Kind.CHARGING, Kind.IDLE, Kind.SUSPENDED]), st.data())
def test_it_does_not_matter_how_often_the_meter_is_read(
    terms: Tariff, wall_s: float | None, line: tuple[int, int], length: int, kind: Kind, data: st.DataObject
) -> None:
    """Any readings on the straight line between two others change nothing, not by a millisecond or a milliwatt-hour."""
    step_s, step_wh = line
    points = sorted(data.draw(st.sets(st.integers(1, length - 1), max_size=8)))
    ends = [reading(i * step_s, i * step_wh, wall_s=wall_s) for i in (0, length)]
    often = [reading(i * step_s, i * step_wh, wall_s=wall_s) for i in (0, *points, length)]
    assert session([terms], ends, [kind]) == session([terms], often, [kind] * len(often))


@settings(max_examples=60, deadline=None)
@given(ANY_TARIFF, START, st.lists(STEP, max_size=6))
def test_nothing_that_was_used_is_lost_or_counted_twice(
    terms: Tariff, wall_s: float | None, steps: list[tuple[int, int, Kind]]
) -> None:
    so_far = counters(walked([terms], wall_s, steps))
    assert so_far.energy_mwh == 1000 * sum(wh for _, wh, _ in steps)
    spent = {kind: 1000 * sum(s for s, _, each in steps if each is kind) for kind in Kind}
    assert so_far.charging_ms == spent[Kind.CHARGING] and so_far.idle_ms == spent[Kind.IDLE]
    assert so_far.suspended_ms == spent[Kind.SUSPENDED]


@settings(max_examples=60, deadline=None)
@given(STEADY, st.sampled_from([MONDAY, *NIGHTS]), st.lists(STEP, max_size=4))
def test_not_knowing_the_time_never_costs_more(
    terms: Tariff, wall_s: float, steps: list[tuple[int, int, Kind]]
) -> None:
    known, unknown = walked([terms], wall_s, steps), walked([terms], None, steps)
    assert cost([terms], unknown).total.incl <= cost([terms], known).total.incl
    assert known.is_unsure is False


WITHOUT_DURATIONS = tariffs(*OF_DAY, "minEnergy", "maxEnergy", with_limits=True)


@pytest.mark.promise("S3")
@settings(max_examples=60, deadline=None)
@given(WITHOUT_DURATIONS, START, st.lists(STEP, min_size=1, max_size=4), st.data())
def test_an_outage_never_costs_the_driver_more_than_if_there_had_been_none(
    terms: Tariff, wall_s: float | None, steps: list[tuple[int, int, Kind]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(steps) - 1))
    cut = [(s, wh, Kind.UNSEEN if i == at else kind) for i, (s, wh, kind) in enumerate(steps)]
    seen, unseen = walked([terms], wall_s, steps), walked([terms], wall_s, cut)
    assert cost([terms], unseen).total.incl <= cost([terms], seen).total.incl
    assert counters(unseen).energy_mwh == counters(seen).energy_mwh


@settings(max_examples=40, deadline=None)
@given(ANY_TARIFF, START, st.lists(STEP, max_size=4))
def test_tariff_and_usage_survive_the_disk(
    terms: Tariff, wall_s: float | None, steps: list[tuple[int, int, Kind]]
) -> None:
    usage = walked([terms], wall_s, steps)
    again = restored(json.loads(json.dumps(saved(terms))))
    assert again == terms
    back = usages.restored(json.loads(json.dumps(usages.saved(usage))), [terms])
    assert back == usage and cost([terms], back) == cost([terms], usage)


# -- beside a clerk who writes each minute into a book ----------------------------------------------------------------

WH_A_MINUTE = 100


def by_the_minute(form: Json) -> Json:
    """The same tariff, with durations in whole minutes and energy in what a minute brings."""
    for dimension in PRICED:
        for price in form.get(dimension, {}).get("prices", ()):
            for name, value in price["conditions"].items():
                if name in OF_USE:
                    whole = value // 60 * 60 % 18_000 if "Time" in name else value // 100 * 100 % 30_000
                    price["conditions"][name] = int(whole)
    return form


def holds(said: Json, there: datetime, so_far: dict[str, int]) -> bool:
    """Of raw JSON, in the words of OCPP."""
    day, minute = there.date().isoformat(), f"{there:%H:%M}"
    begin, end = said.get("startTimeOfDay", "00:00"), said.get("endTimeOfDay", "00:00")
    in_window = begin <= minute < end if begin < end else minute >= begin or minute < end
    on_day = DAYS[there.weekday()] in said.get("dayOfWeek", DAYS)
    in_dates = said.get("validFromDate", day) <= day and ("validToDate" not in said or day < said["validToDate"])
    least = all(so_far[name.removeprefix("min")] >= said[name] for name in said if name.startswith("min"))
    most = all(so_far[name.removeprefix("max")] < said[name] for name in said if name.startswith("max"))
    return in_window and on_day and in_dates and least and most and said.get("evseKind") != "DC"


def clerk(form: Json, start_s: float, zone: tzinfo, work: Sequence[tuple[int, Kind]]) -> dict[str, Fraction]:
    """Net, exact, per dimension."""
    so_far = {"Energy": 0, "Time": 0, "ChargingTime": 0, "IdleTime": 0}
    book = dict.fromkeys(PRICED, Fraction())

    def price(dimension: str) -> Fraction:
        there = datetime.fromtimestamp(start_s + so_far["Time"], zone)
        prices = form.get(dimension, {}).get("prices", ())
        found = (p[PRICED[dimension]] for p in prices if holds(p["conditions"], there, so_far))
        return Fraction(str(next(found, 0)))

    book["fixedFee"] = price("fixedFee")
    for length_min, kind in work:
        for _ in range(length_min):
            timed = {Kind.CHARGING: "chargingTime", Kind.IDLE: "idleTime"}.get(kind)
            if kind is Kind.CHARGING:
                book["energy"] += price("energy") * WH_A_MINUTE / 1000
            if timed:
                book[timed] += price(timed)
                so_far[timed[0].upper() + timed[1:]] += 60
            so_far["Energy"] += WH_A_MINUTE if kind is Kind.CHARGING else 0
            so_far["Time"] += 60
    return book


WORK = st.lists(st.tuples(st.integers(1, 300), st.sampled_from([Kind.CHARGING, Kind.IDLE, Kind.SUSPENDED])), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000), st.sampled_from([MONDAY, *NIGHTS]), WORK)
def test_the_station_comes_to_what_a_clerk_would_minute_by_minute(
    seed: int, start_s: float, work: list[tuple[int, Kind]]
) -> None:
    form = by_the_minute(random_form(seed, (*OF_DAY, *OF_USE), with_limits=False))
    terms = read(form)
    steps = [(60 * n, WH_A_MINUTE * n if kind is Kind.CHARGING else 0, kind) for n, kind in work]
    costs = cost([terms], walked([terms], start_s, steps))
    book = clerk(form, start_s, BERLIN, work)
    unit = 10 ** exponent(terms.currency)
    for dimension, part in costs.parts.items():
        if dimension.value in book:
            assert abs(part.excl - book[dimension.value] * unit) < 1, dimension
    assert costs.total.excl == rounded(sum(book.values(), start=Fraction()) * unit)
    gross = (taxed(net, terms.of(Dimension(name)).taxes) for name, net in book.items())
    assert costs.total.incl == rounded(sum(gross, start=Fraction()) * unit)


# -- any JSON at the door ---------------------------------------------------------------------------------------------

LEAF: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1e308, 0.1, float("nan"), 2**70, "", "x" * 70, "24:00", "2026-02-30", "\ud800", [], {}, [[]]]
)
JSON = LEAF | st.recursive(LEAF, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of everything in it, itself too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def put(value: Any, path: Sequence[Any], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@pytest.mark.promise("S9")
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000_000), JSON, st.data())
def test_a_tariff_with_anything_wrong_is_refused_in_one_sentence(seed: int, new: Any, data: st.DataObject) -> None:
    form = random_form(seed, (*OF_DAY, *OF_USE, *OF_LOAD), with_limits=True)
    wrong = put(form, data.draw(st.sampled_from(places(form))), new)
    try:
        taken = read(wrong)
    except TariffRefused as error:
        assert str(error) and "\n" not in str(error) and error.status in set(Status)
        assert restored(wrong) is None
    else:  # then it can be billed
        usage = walked([taken], MONDAY, [(600, 1_000, Kind.CHARGING), (600, 0, Kind.IDLE)])
        assert cost([taken], usage).total.incl >= 0


def test_text_that_is_no_tariff_is_refused() -> None:
    wrongs: list[Any] = [None, [], "tariff", 7, {}, {"tariffId": "t"}, {1: 2}]
    for wrong in wrongs:
        with pytest.raises(TariffRefused):
            read(wrong)


REFUSED = {
    "a price is -0.1: send 0 to 999999999": energy({"priceKwh": -0.1}),
    "a price is 0.30000000000000004: send": energy({"priceKwh": 0.1 + 0.2}),
    "a price is 1000000000.0: send": energy({"priceKwh": 1e9}),
    "a price is inf: send": energy({"priceKwh": float("inf")}),
    "send taxes of at most 100 percent": energy({"priceKwh": 1}, taxes=101),
    "a tax is -1.0: send": energy({"priceKwh": 1}, taxes=-1),
    "'8:00' is no time of day: send one as 08:00": energy({"priceKwh": 1, "conditions": {"startTimeOfDay": "8:00"}}),
    "'24:00' is no time of day": energy({"priceKwh": 1, "conditions": {"endTimeOfDay": "24:00"}}),
    "'2026-02-30' is no date": energy({"priceKwh": 1, "conditions": {"validFromDate": "2026-02-30"}}),
    "send minTime and maxTime from 0": energy({"priceKwh": 1, "conditions": {"minTime": -1}}),
    "at most three decimal places": energy({"priceKwh": 1, "conditions": {"minEnergy": 0.0001}}),
    "validFrom 2026-02-30T00:00:00Z is no time": {"validFrom": "2026-02-30T00:00:00Z"},
    "minCost says no amount": {"minCost": {}},
    "EUR has 2 decimal places": {"maxCost": {"inclTax": 1.001}},
    "minCost is above maxCost": {"minCost": {"inclTax": 2}, "maxCost": {"inclTax": 1}},
    "exclTax is above inclTax": {"minCost": {"inclTax": 1, "exclTax": 2}},
    "currency 'EUT' is not in ISO 4217": {"currency": "EUT"},
    "tariffId is empty": {"tariffId": " "},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refusal_says_what_to_send(why: str) -> None:
    with pytest.raises(TariffRefused) as refused:
        tariff(**REFUSED[why])
    assert why in str(refused.value) and refused.value.status is Status.REJECTED


def test_too_many_prices_and_discharging_have_their_own_status() -> None:
    many = {"energy": {"prices": [{"priceKwh": 1}] * 30}, "idleTime": {"prices": [{"priceMinute": 1}] * 20}}
    assert sum(len(each.prices) for each in tariff(**many).priced.values()) == ELEMENTS_MAX
    with pytest.raises(TariffRefused) as refused:
        tariff(**many, fixedFee={"prices": [{"priceFixed": 1}]})
    assert refused.value.status is Status.TOO_MANY_ELEMENTS
    with pytest.raises(TariffRefused) as refused:
        tariff(**energy({"priceKwh": 1, "conditions": {"maxPower": -10}}))
    assert refused.value.status is Status.CONDITION_NOT_SUPPORTED


def test_a_price_is_what_somebody_has_written() -> None:
    """Not what a float makes of it: 0.1 is a tenth."""
    assert [exact(x) for x in (0.1, 12.0, 0.0, 1e-06, 123456.654321)] == list(
        map(Decimal, ("0.1", "12", "0", "0.000001", "123456.654321"))
    )
    usage = charged(tariff(**energy({"priceKwh": 0.1})), 3600, 3_000)
    assert cost([tariff(**energy({"priceKwh": 0.1}))], usage).total == Amount(30, 30)


def test_one_version_is_one_content() -> None:
    one, again = tariff(**energy({"priceKwh": 0.3})), tariff(**energy({"priceKwh": 0.3}))
    assert one.version == again.version != tariff(**energy({"priceKwh": 0.31})).version


# -- what a tariff may say --------------------------------------------------------------------------------------------


def test_a_tariff_without_prices_is_free() -> None:
    free = tariff()
    assert is_free(free) and not is_free(tariff(minCost={"inclTax": 1})) and is_free(tariff(**energy({"priceKwh": 0})))
    costs = cost([free], charged(free, 3600, 10_000))
    assert costs == Cost("EUR", CostKind.NORMAL, {}, Amount()) and costs.text == "0.00"


def test_of_prices_that_all_hold_the_first_counts_and_none_costs_nothing() -> None:
    first = tariff(**energy({"priceKwh": 1}, {"priceKwh": 0.1}))
    assert cost([first], charged(first, 3600, 1_000)).text == "1.00"
    late = tariff(**energy({"priceKwh": 1, "conditions": {"minEnergy": 400}}))
    assert cost([late], charged(late, 3600, 1_000)).text == "0.60"


def test_prices_of_dc_never_count_here_and_those_of_ac_always() -> None:
    terms = tariff(**energy(*({"priceKwh": p, "conditions": {"evseKind": k}} for p, k in ((9, "DC"), (1, "AC")))))
    assert cost([terms], charged(terms, 3600, 1_000)).text == "1.00"


def test_a_surcharge_is_for_the_card_that_it_names() -> None:
    visa = {"priceFixed": 2, "conditions": {"paymentBrand": "VISA", "paymentRecognition": "CC"}}
    terms = tariff(fixedFee={"prices": [visa, {"priceFixed": 1}]})
    payers = (Payer("VISA", "CC"), Payer("VISA", "Debit"), Payer("other", "CC"), Payer())
    texts = [cost([terms], begun(terms, MONDAY, BERLIN, payer)).text for payer in payers]
    assert texts == ["2.00", "1.00", "1.00", "1.00"]


def test_durations_are_summed_over_the_session() -> None:
    """Two pauses of twenty minutes are forty idle minutes."""
    terms = tariff(**minutes("idleTime", {"priceMinute": 1, "conditions": {"minIdleTime": 1_800}}))
    readings = [reading(s, wh) for s, wh in ((0, 0), (1_200, 0), (2_400, 2_000), (3_600, 2_000))]
    usage = session([terms], readings, [Kind.IDLE, Kind.CHARGING, Kind.IDLE])
    assert cost([terms], usage).text == "10.00"


@pytest.mark.parametrize("kind", [Kind.IDLE, Kind.SUSPENDED])
def test_the_duration_of_the_session_grows_whatever_goes_on(kind: Kind) -> None:
    """Half an hour of it is in the middle of the first stretch, or at its end; then ten idle minutes."""
    terms = tariff(**minutes("idleTime", {"priceMinute": 1, "conditions": {"minTime": 1_800}}))
    usage = session([terms], [reading(s, 0) for s in (0, 3_600, 4_200)], [kind, Kind.IDLE])
    assert cost([terms], usage).text == ("40.00" if kind is Kind.IDLE else "10.00")


def test_time_that_we_hold_back_is_not_billed_but_passes() -> None:
    terms = tariff(
        **minutes("idleTime", {"priceMinute": 1}),
        **minutes("chargingTime", {"priceMinute": 0.5, "conditions": {"minTime": 3_600}}),
    )
    readings = [reading(s, wh) for s, wh in ((0, 0), (3_600, 0), (4_200, 1_000))]
    usage = session([terms], readings, [Kind.SUSPENDED, Kind.CHARGING])
    costs = cost([terms], usage)
    assert costs.text == "5.00"
    details = cost_details([terms], usage, costs, with_periods=False)
    assert details["totalUsage"]["idleTime"] == 3_600 and details["totalUsage"]["customData"]["suspendedTime"] == 3_600
    assert "chargingPeriods" not in details


def test_both_figures_of_a_maximum_are_kept() -> None:
    terms = tariff(
        **energy({"priceKwh": 1}, taxes=20), **minutes("chargingTime", {"priceMinute": 1}), maxCost={"exclTax": 50}
    )
    costs = cost([terms], charged(terms, 3600, 40_000))
    assert costs.total.excl == 5_000 and costs.kind is CostKind.MAX
    assert costs.parts[Dimension.CHARGING_TIME] == Amount(1_000, 1_000)
    assert costs.parts[Dimension.ENERGY] == Amount(4_000, 4_800)
    both = tariff(**energy({"priceKwh": 1}, taxes=20), maxCost={"exclTax": 40, "inclTax": 42})
    assert cost([both], charged(both, 3600, 50_000)).total == Amount(3_500, 4_200)


def test_at_a_maximum_without_tax_more_of_what_is_taxed_less_does_not_make_it_cheaper() -> None:
    terms = tariff(
        **energy({"priceKwh": 1}), **minutes("chargingTime", {"priceMinute": 1}, taxes=20), maxCost={"exclTax": 50}
    )
    for wh in (0, 100, 5_000, 90_000):
        assert cost([terms], charged(terms, 3600, wh)).total == Amount(5_000, 6_000)


def test_a_minimum_without_tax_is_shown_with_it() -> None:
    terms = tariff(**energy({"priceKwh": 1}, taxes=20), minCost={"exclTax": 10})
    assert cost([terms], charged(terms, 60, 100)).total == Amount(1_000, 1_200)
    own = tariff(**energy({"priceKwh": 1}, taxes=20), minCost={"exclTax": 10, "taxRates": [{"type": "X", "tax": 10}]})
    assert cost([own], charged(own, 60, 100)).total == Amount(1_000, 1_100)


# -- another tariff in mid-session ------------------------------------------------------------------------------------


def test_another_tariff_is_in_the_same_currency_and_not_the_ninth() -> None:
    one = tariff(**energy({"priceKwh": 1}))
    with pytest.raises(TariffRefused) as refused:
        changed((one,), read({"tariffId": "u", "currency": "USD"}), MONDAY)
    assert refused.value.status is Status.NO_CURRENCY_CHANGE
    many = (one,) * TARIFFS_MAX
    with pytest.raises(TariffRefused):
        changed(many, one, MONDAY)
    with pytest.raises(TariffRefused, match="changes its tariff at once"):
        changed((one,), tariff(validFrom="2026-03-02T12:00:00Z"), MONDAY)


def test_a_session_that_began_without_a_price_has_one_from_the_moment_that_it_is_sent_one() -> None:
    terms = changed((), tariff(**energy({"priceKwh": 1}), fixedFee={"prices": [{"priceFixed": 5}]}), MONDAY)
    usage = counted(terms, Usage(), reading(60, 9_000), reading(120, 10_000), Kind.CHARGING, BERLIN)
    assert cost(terms, usage).text == "1.00"


def test_what_a_maximum_has_taken_off_does_not_come_back_with_another_tariff() -> None:
    capped = tariff(**energy({"priceKwh": 1}), maxCost={"inclTax": 5})
    terms = changed((capped,), tariff(**energy({"priceKwh": 1})), MONDAY)
    usage = charged(capped, 3600, 20_000)
    usage = counted(terms, usage, reading(3_600, 20_000), reading(7_200, 22_000), Kind.CHARGING, BERLIN)
    assert cost(terms, usage).text == "7.00"


# -- reservations -----------------------------------------------------------------------------------------------------


def test_a_reservation_that_nobody_came_to_costs_its_own_price_and_no_minimum() -> None:
    terms = tariff(
        reservationTime={"prices": [{"priceMinute": 0.1}]},
        reservationFixed={"prices": [{"priceFixed": 1}]},
        fixedFee={"prices": [{"priceFixed": 5}]},
        minCost={"inclTax": 9},
    )
    usage = reservation(terms, Reserved(MONDAY - 1_800), MONDAY, BERLIN)
    assert cost([terms], usage, is_session=False).text == "4.00"


def test_a_reservation_of_unknown_length_has_no_time_to_bill() -> None:
    terms = tariff(reservationTime={"prices": [{"priceMinute": 0.1}]})
    for since_s, until_s in ((None, MONDAY), (MONDAY, None), (MONDAY + 60, MONDAY)):
        usage = begun(terms, until_s, BERLIN, reserved=Reserved(since_s))
        assert cost([terms], usage).total.incl == 0
        assert usage.is_unsure == (None in (since_s, until_s))


def test_of_a_reservation_of_weeks_eight_days_are_billed() -> None:
    terms = tariff(reservationTime={"prices": [{"priceMinute": 0.01}]})
    usage = begun(terms, MONDAY, BERLIN, reserved=Reserved(MONDAY - 20 * 86_400))
    assert cost([terms], usage).text == "115.20"


def test_a_reservation_over_a_boundary_is_split_there() -> None:
    evening = {"priceMinute": 0.1, "conditions": {"startTimeOfDay": "18:00"}}
    terms = tariff(reservationTime={"prices": [evening, {"priceMinute": 0.5}]})
    six_s = MONDAY + 10 * 3600
    usage = begun(terms, six_s + 600, BERLIN, reserved=Reserved(six_s - 600))
    assert dict(usage.reserved) == {0: 600_000, 1: 600_000}
    assert cost([terms], usage).text == "6.00"


# -- what the station cannot know -------------------------------------------------------------------------------------

DAY_AND_NIGHT = energy(
    {"priceKwh": 0.4, "conditions": {"startTimeOfDay": "08:00", "endTimeOfDay": "20:00"}},
    {"priceKwh": 0.2, "conditions": {"startTimeOfDay": "20:00", "endTimeOfDay": "08:00"}},
)


def test_without_the_time_the_cheapest_price_counts_and_the_record_says_so() -> None:
    terms = tariff(**DAY_AND_NIGHT)
    usage = charged(terms, 3600, 10_000, wall_s=None)
    assert usage.is_unsure and cost([terms], usage).text == "2.00"
    assert charged(terms, 3600, 1, wall_s=60.0).is_unsure  # a clock that says 1970 was never set
    assert not charged(tariff(**energy({"priceKwh": 1})), 3600, 1, wall_s=None).is_unsure


def test_a_record_stays_flagged_when_the_time_has_come_to_be_known() -> None:
    terms = tariff(**DAY_AND_NIGHT)
    usage = charged(terms, 3600, 10_000, wall_s=None)
    usage = counted([terms], usage, reading(3_600, 10_000), reading(7_200, 20_000), Kind.CHARGING, BERLIN)
    assert usage.is_unsure and cost([terms], usage).text == "6.00"


def test_without_the_time_what_need_not_cost_anything_does_not() -> None:
    terms = tariff(**energy({"priceKwh": 0.4, "conditions": {"dayOfWeek": ["Monday"]}}))
    assert cost([terms], charged(terms, 3600, 10_000, wall_s=None)).text == "0.00"


def test_without_the_time_a_price_that_always_holds_ends_the_search() -> None:
    prices = ({"priceKwh": 0.4, "conditions": {"endTimeOfDay": "08:00"}}, {"priceKwh": 0.3}, {"priceKwh": 0.1})
    terms = tariff(**energy(*prices))
    assert cost([terms], charged(terms, 3600, 10_000, wall_s=None)).text == "3.00"


def test_a_time_that_comes_in_mid_stretch_dates_all_of_it() -> None:
    """The newest that is known of the time counts."""
    terms = tariff(**DAY_AND_NIGHT)
    before, after = reading(0, 0, wall_s=None), reading(3_600, 10_000)
    assert cost([terms], session([terms], [before, after], [Kind.CHARGING])).text == "4.00"


def test_a_clock_that_is_put_right_in_mid_session_makes_no_minute_longer() -> None:
    terms = tariff(**DAY_AND_NIGHT, **minutes("chargingTime", {"priceMinute": 0.1}))
    corrected = reading(600, 1_000, wall_s=MONDAY + 13 * 3600)  # it was ten past eight in the morning, we believed
    usage = session([terms], [reading(0, 0), corrected], [Kind.CHARGING])
    assert cost([terms], usage).text == "1.20"  # ten minutes, and 1 kWh at the price of the evening


@pytest.mark.promise("S3")
def test_over_an_outage_only_what_the_register_counted_is_billed() -> None:
    """At the cheapest price, and no minute of it; a monotonic clock that began anew does not matter."""
    terms = tariff(**DAY_AND_NIGHT, **minutes("chargingTime", {"priceMinute": 1}))
    eight_pm_s = MONDAY + 12 * 3600
    before = reading(0, 5_000, wall_s=eight_pm_s - 300)
    after = replace(reading(0, 6_000, wall_s=eight_pm_s + 300), mono_s=7.0)
    usage = counted([terms], Usage(), before, after, Kind.UNSEEN, BERLIN)
    assert cost([terms], usage).text == "0.20" and counters(usage).time_ms == 0
    daylight = counted([terms], Usage(), before, replace(after, wall_s=eight_pm_s - 1), Kind.UNSEEN, BERLIN)
    assert cost([terms], daylight).text == "0.40"


@pytest.mark.parametrize("after_s", [-3_600, 9 * 86_400], ids=["back", "on by days"])
def test_over_an_outage_in_which_the_clock_went_astray_no_time_is_known(after_s: int) -> None:
    terms = tariff(**DAY_AND_NIGHT)
    before, after = reading(0, 0), replace(reading(0, 1_000, wall_s=MONDAY + after_s), mono_s=7.0)
    usage = counted([terms], Usage(), before, after, Kind.UNSEEN, BERLIN)
    assert usage.is_unsure and cost([terms], usage).text == "0.20"


def test_a_stretch_of_weeks_is_one_that_nobody_has_seen() -> None:
    terms = tariff(**minutes("chargingTime", {"priceMinute": 1}), **energy({"priceKwh": 1}))
    usage = charged(terms, 9 * 86_400, 2_000)
    assert cost([terms], usage).text == "2.00" and counters(usage).charging_ms == 0


def test_a_register_that_goes_back_gives_nothing_back() -> None:
    terms = tariff(**energy({"priceKwh": 1}))
    usage = session([terms], [reading(0, 900), reading(60, 1_900), reading(120, 100)], [Kind.CHARGING] * 2)
    assert cost([terms], usage).text == "1.00"


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S10")
def test_a_session_that_flickers_for_days_stays_small_and_is_billed_to_the_cent() -> None:
    prices: list[Json] = [{"priceKwh": i / 10, "conditions": {"minPower": 1_000 * i}} for i in (9, 8, 7)]
    terms = tariff(
        **energy(*prices, {"priceKwh": 0.5}),
        **minutes("chargingTime", {"priceMinute": 0.01, "conditions": {"minPower": 7_500}}, {"priceMinute": 0.02}),
    )
    rng = Random(8)
    powers = [rng.choice((6_000, 7_100, 7_800, 8_400, 9_500)) for _ in range(500)]
    readings = [reading(i * 60, i * 100, power_w=powers[i // 2]) for i in range(1_000)]  # two alike: no doubt
    kinds = [rng.choice((Kind.CHARGING, Kind.CHARGING, Kind.IDLE)) for _ in range(999)]
    usage = session([terms], readings, kinds)
    assert PERIODS_MAX <= len(usage.periods) <= PERIODS_MAX + 2 * ELEMENTS_MAX
    assert "chargingPeriods" not in cost_details([terms], usage, cost([terms], usage), with_periods=True)

    net = Fraction()
    for i, kind in enumerate(kinds):
        low = min(readings[i].power_w, readings[i + 1].power_w)
        high = max(readings[i].power_w, readings[i + 1].power_w)
        net += min(_of_power(w) for w in (low, high)) / 10
        if kind is Kind.CHARGING:
            net += min(Fraction(1, 100) if w >= 7_500 else Fraction(2, 100) for w in (low, high))
    assert cost([terms], usage).total.incl == rounded(net * 100)


def _of_power(power_w: int) -> Fraction:
    return next((Fraction(i, 10) for i in (9, 8, 7) if power_w >= 1_000 * i), Fraction(1, 2))


def test_what_the_disk_gives_back_in_pieces_is_no_usage() -> None:
    terms = tariff(**energy({"priceKwh": 1}))
    whole = usages.saved(charged(terms, 60, 100))
    assert usages.restored(whole, [terms]) and usages.restored(whole, []) is None
    good = [0, 0, 0, -1, None, 1, 1]
    assert usages.restored({"periods": [good]}, [terms])
    periods = [[*good[:i], wrong, *good[i + 1 :]] for i, wrong in ((0, 1), (1, 9), (2, 5), (3, 0), (4, 1e99), (5, -1))]
    wrongs: list[Any] = [None, [], 7, {"fixed_fee": 0}, {"reserved": [[0, 5]]}, *({"periods": [p]} for p in periods)]
    for wrong in wrongs:
        assert usages.restored(wrong, [terms]) is None


def test_a_cost_that_is_not_known_here_is_no_cost_of_nothing() -> None:
    details = not_calculated("EUR", "x" * 600)
    assert details["failureToCalculate"] and len(details["failureReason"]) == 500
    ended = {"eventType": "Ended", "timestamp": "2026-03-02T12:00:00.000Z", "triggerReason": "EVDeparted", "seqNo": 2}
    judge("TransactionEvent", {**ended, "transactionInfo": {"transactionId": "t"}, "costDetails": details})


# -- money ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.sampled_from(sorted(CURRENCIES)))
def test_the_number_on_the_wire_is_the_text_on_the_screen(minor: int, currency: str) -> None:
    sent = json.loads(json.dumps(number(minor, currency)))
    assert Decimal(repr(sent)) == Decimal(spelled(minor, currency)) == Decimal(minor).scaleb(-exponent(currency))


def test_currencies_have_their_own_minor_unit() -> None:
    assert [spelled(1_230, currency) for currency in ("EUR", "JPY", "KWD")] == ["12.30", "1230", "1.230"]
    assert [rounded(Fraction(n, 2)) for n in (1, 2, 3, 5)] == [1, 1, 2, 3]


@settings(max_examples=50)
@given(st.lists(st.fractions(0, 1_000, max_denominator=997), max_size=6))
def test_shares_add_up_and_none_is_off_by_one(parts: list[Fraction]) -> None:
    for total in {rounded(sum(parts, start=Fraction())), floor(sum(parts)), ceil(sum(parts))}:
        shares = shared_out(total, parts)
        assert sum(shares) == total
        assert all(abs(share - part) < 1 for share, part in zip(shares, parts, strict=True))
        assert all(share == part for share, part in zip(shares, parts, strict=True) if part.denominator == 1)
