"""Whose tariff a session has, what the cloud may set, get and clear, and what a driver reads before the start."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.policy.tariff.choice import (
    DEFAULTS_MAX,
    GROUP_TARIFFS_MAX,
    Choice,
    Defaults,
    GroupTariffs,
    PriceFact,
    Rule,
    assignments,
    choose,
    default,
    price_facts,
    prices_now,
    read_group_tariffs,
    restored,
    saved,
    with_default,
    without,
)
from agent.policy.tariff.terms import Dimension, Status, Tariff, TariffRefused, read
from agent.policy.tariff.usage import Kind, begun, counted
from agent.transaction import Reading
from tests.referee import judge

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, 8, tzinfo=BERLIN).timestamp()
EVSES = (1, 2)
Json = dict[str, Any]


def wire(name: str, price: float = 0.3, **more: Any) -> Json:
    return {"tariffId": name, "currency": "EUR", "energy": {"prices": [{"priceKwh": price}]}, **more}


def tariff(name: str, price: float = 0.3, **more: Any) -> Tariff:
    return read(wire(name, price, **more))


def ids(defaults: Defaults, evse_id: int) -> list[str]:
    return [each.tariff_id for each in defaults.of(evse_id)]


def set_all(*tariffs: Tariff, evse_id: int = 0, now_s: float = MONDAY) -> Defaults:
    defaults = Defaults()
    for each in tariffs:
        defaults = with_default(defaults, EVSES, evse_id, each, now_s)
    return defaults


GROUPS = read_group_tariffs({
    "version": "7",
    "rules": [
        {"groups": ["staff"], "tariff": {"tariffId": "free", "currency": "EUR"}},
        {"groups": ["residents", "staff"], "tariff": wire("home", 0.2)},
    ],
})  # fmt: skip


# -- the choice -------------------------------------------------------------------------------------------------------


def test_the_drivers_own_tariff_comes_before_the_stations() -> None:
    defaults = set_all(tariff("public"))
    chosen = [choose(groups, GROUPS, defaults, 1, MONDAY) for groups in ({"residents"}, {"guests"}, ())]
    assert [(c.rule, c.tariff and c.tariff.tariff_id) for c in chosen] == [
        (Rule.GROUP, "home"), (Rule.DEFAULT, "public"), (Rule.DEFAULT, "public"),
    ]  # fmt: skip
    assert chosen[0].group == "residents" and chosen[0].policy == "7"


def test_the_clouds_answer_to_this_card_comes_first_of_all() -> None:
    answered = tariff("for you", 0.1)
    assert choose({"staff"}, GROUPS, set_all(tariff("public")), 1, MONDAY, answered) == Choice(Rule.CLOUD, answered)
    later = tariff("of tomorrow", 0.1, validFrom="2026-03-03T00:00:00Z")
    assert choose({"staff"}, GROUPS, Defaults(), 1, MONDAY, later).rule is Rule.GROUP


def test_a_driver_of_several_groups_has_the_tariff_that_the_owner_named_first() -> None:
    chosen = choose({"residents", "staff"}, GROUPS, Defaults(), 1, MONDAY)
    assert chosen.tariff is not None and chosen.tariff.tariff_id == "free"


def test_without_any_tariff_there_is_no_price() -> None:
    assert choose({"guests"}, GroupTariffs(), Defaults(), 1, MONDAY) == Choice(Rule.NONE)


def test_group_tariffs_are_taken_whole_or_not_at_all() -> None:
    rule = {"groups": ["a"], "tariff": wire("a")}
    wrongs: tuple[Any, ...] = (
        None, [], {"version": "1"}, {"version": "1", "rules": [{"groups": ["a"], "tariff": {}}]},
        {"version": "1", "rules": [{"groups": [], "tariff": wire("a")}]},
        {"version": "1", "rules": [{**rule, "tariff": wire("a", validFrom="2026-01-01T00:00:00Z")}]},
        {"version": "1", "rules": [rule] * (GROUP_TARIFFS_MAX + 1)},
        {"version": "1", "rules": [{**rule, "groups": [str(i) for i in range(10_001)]}]},
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(TariffRefused):
            read_group_tariffs(wrong)


# -- SetDefaultTariff -------------------------------------------------------------------------------------------------


def test_evse_0_is_each_of_them_and_one_may_have_its_own() -> None:
    defaults = with_default(set_all(tariff("both")), EVSES, 2, tariff("second"), MONDAY)
    assert (ids(defaults, 1), ids(defaults, 2)) == (["both"], ["second"])


def test_a_tariff_of_tomorrow_waits_and_then_begins() -> None:
    defaults = set_all(tariff("today"), tariff("tomorrow", validFrom="2026-03-03T00:00:00+01:00"))
    midnight_s = datetime(2026, 3, 3, tzinfo=BERLIN).timestamp()
    found = [default(defaults, 1, s) for s in (MONDAY, midnight_s - 1, midnight_s)]
    assert [each and each.tariff_id for each in found] == ["today", "today", "tomorrow"]


def test_what_is_set_anew_takes_the_place_of_what_begins_when_it_does_or_has_its_id() -> None:
    later = "2026-03-03T00:00:00Z"
    defaults = set_all(tariff("old"), tariff("a", validFrom=later), tariff("new"))
    assert ids(defaults, 1) == ["new", "a"]
    assert ids(with_default(defaults, EVSES, 1, tariff("b", validFrom=later), MONDAY), 1) == ["new", "b"]
    assert ids(with_default(defaults, EVSES, 0, tariff("a", 0.9), MONDAY), 1) == ["a"]
    next_week = with_default(defaults, EVSES, 1, tariff("c"), MONDAY + 7 * 86_400)
    assert ids(next_week, 1) == ["c"]


def test_one_id_is_one_tariff_on_the_whole_station() -> None:
    defaults = set_all(tariff("a"), evse_id=1)
    assert ids(with_default(defaults, EVSES, 2, tariff("a"), MONDAY), 2) == ["a"]
    with pytest.raises(TariffRefused) as refused:
        with_default(defaults, EVSES, 2, tariff("a", 0.4), MONDAY)
    assert refused.value.status is Status.DUPLICATE_TARIFF_ID
    assert ids(with_default(defaults, EVSES, 0, tariff("a", 0.4), MONDAY), 2) == ["a"]


def test_more_tariffs_than_can_wait_and_evses_that_are_not_here_are_refused() -> None:
    waiting = [tariff(str(day), validFrom=f"2026-03-{day:02}T00:00:00Z") for day in range(10, 10 + DEFAULTS_MAX)]
    full = set_all(*waiting)
    with pytest.raises(TariffRefused, match="clear one first"):
        with_default(full, EVSES, 1, tariff("one more", validFrom="2026-04-01T00:00:00Z"), MONDAY)
    with pytest.raises(TariffRefused, match="there is no EVSE 3 here"):
        with_default(full, EVSES, 3, tariff("a"), MONDAY)


# -- ClearTariffs, GetTariffs -----------------------------------------------------------------------------------------


def test_clearing_says_what_became_of_each() -> None:
    defaults = with_default(set_all(tariff("both")), EVSES, 2, tariff("second"), MONDAY)
    some, results = without(defaults, ["second", "third"], None)
    assert ids(some, 1) == ["both"] and ids(some, 2) == []
    assert results == [{"tariffId": "second", "status": "Accepted"}, {"tariffId": "third", "status": "NoTariff"}]
    judge("ClearTariffsResponse", {"clearTariffsResult": results})

    none, results = without(defaults, None, None)
    assert none == Defaults() and [each["tariffId"] for each in results] == ["both", "second"]
    assert without(none, None, 1) == (none, [{"status": "NoTariff"}])
    judge("ClearTariffsResponse", {"clearTariffsResult": [{"status": "NoTariff"}]})


def test_clearing_at_one_evse_leaves_the_other() -> None:
    cleared, results = without(set_all(tariff("both")), ["both"], 1)
    assert (ids(cleared, 1), ids(cleared, 2)) == ([], ["both"])
    assert results == [{"tariffId": "both", "status": "Accepted"}]


def test_getting_tells_defaults_and_the_drivers_of_running_sessions() -> None:
    defaults = set_all(tariff("both"), tariff("later", validFrom="2026-03-03T00:00:00Z"))
    running = {2: (tariff("home"), "04A1")}
    found = assignments(defaults, running, 0)
    assert found == [
        {"tariffId": "both", "tariffKind": "DefaultTariff", "evseIds": [1, 2]},
        {
            "tariffId": "later",
            "tariffKind": "DefaultTariff",
            "evseIds": [1, 2],
            "validFrom": "2026-03-03T00:00:00.000Z",
        },
        {
            "tariffId": "home",
            "tariffKind": "DriverTariff",
            "evseIds": [2],
            "idTokens": ["04A1"],
        },
    ]
    assert [each["tariffId"] for each in assignments(defaults, running, 1)] == ["both", "later"]
    assert assignments(Defaults(), {}, 0) == []


def test_defaults_survive_the_disk_whole_or_not_at_all() -> None:
    defaults = set_all(tariff("both"), tariff("later", validFrom="2026-03-03T00:00:00Z"))
    assert restored(saved(defaults)) == defaults and restored({}) == Defaults()
    wrongs: tuple[Any, ...] = (None, [], {"x": []}, {"1": [{}]}, {"1": [wire("a"), {"tariffId": "b"}]})
    for wrong in wrongs:
        assert restored(wrong) is None


# -- before the start -------------------------------------------------------------------------------------------------


def test_prices_are_told_with_tax_per_kwh_then_per_minute_then_the_rest() -> None:
    vat = [{"type": "VAT", "tax": 19}]
    day = {"startTimeOfDay": "08:00", "endTimeOfDay": "18:00"}
    terms = tariff(
        "t",
        fixedFee={"prices": [{"priceFixed": 1}], "taxRates": vat},
        idleTime={"prices": [{"priceMinute": 0.1, "conditions": {"minIdleTime": 1_800}}]},
        energy={"prices": [{"priceKwh": 0.4, "conditions": day}, {"priceKwh": 0.25}], "taxRates": vat},
        maxCost={"inclTax": 20},
    )
    facts = price_facts(terms, MONDAY, BERLIN)
    assert facts.lines == (
        PriceFact(Dimension.ENERGY, Decimal("0.476"), Decimal("0.2975"), Decimal("0.476")),
        PriceFact(Dimension.IDLE_TIME, None, Decimal(0), Decimal("0.1"), free_s=1_800),
        PriceFact(Dimension.FIXED_FEE, Decimal("1.19"), Decimal("1.19"), Decimal("1.19")),
    )
    assert (facts.currency, facts.is_free, facts.min_cost, facts.max_cost) == ("EUR", False, None, Decimal(20))
    assert facts.until_s == MONDAY + 10 * 3600


def test_in_mid_session_the_prices_are_those_that_the_next_kwh_and_minute_cost() -> None:
    vat = [{"type": "VAT", "tax": 20}]
    terms = tariff(
        "t",
        energy={"prices": [{"priceKwh": 0.1, "conditions": {"maxEnergy": 5_000}}, {"priceKwh": 0.5}], "taxRates": vat},
        idleTime={"prices": [{"priceMinute": 1, "conditions": {"minIdleTime": 60}}]},
    )
    readings = [Reading(wh, s, MONDAY + s, 4, 7_000) for s, wh in ((0.0, 0), (3_600.0, 5_000), (3_700.0, 5_000))]
    usage = counted([terms], begun(terms, MONDAY, BERLIN), readings[0], readings[1], Kind.CHARGING, BERLIN)
    assert prices_now(terms, usage, readings[1], BERLIN) == {Dimension.ENERGY: Decimal("0.6")}
    usage = counted([terms], usage, readings[1], readings[2], Kind.IDLE, BERLIN)
    now = {Dimension.ENERGY: Decimal("0.6"), Dimension.IDLE_TIME: Decimal(1)}
    assert prices_now(terms, usage, readings[2], BERLIN) == now


def test_without_the_time_the_price_that_is_told_is_the_one_that_is_counted() -> None:
    day = {"startTimeOfDay": "08:00", "endTimeOfDay": "18:00"}
    terms = tariff("t", energy={"prices": [{"priceKwh": 0.4, "conditions": day}, {"priceKwh": 0.25}]})
    facts = price_facts(terms, None, BERLIN)
    assert facts.lines[0].now == Decimal("0.25") and facts.until_s is None


def test_the_least_is_nothing_only_where_there_are_times_without_a_price() -> None:
    day, night = ({"startTimeOfDay": a, "endTimeOfDay": b} for a, b in (("08:00", "20:00"), ("20:00", "08:00")))
    prices = [{"priceKwh": 0.4, "conditions": day}, {"priceKwh": 0.2, "conditions": night}]
    lines = [price_facts(tariff("t", energy={"prices": some}), MONDAY, BERLIN).lines for some in (prices, prices[:1])]
    assert [line.least for (line,) in lines] == [Decimal("0.2"), Decimal(0)]


def test_a_free_tariff_says_so() -> None:
    assert price_facts(read({"tariffId": "t", "currency": "EUR"}), MONDAY, BERLIN).is_free
