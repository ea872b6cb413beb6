"""What a session costs: a function of its tariffs and of what it has used, worked out anew each time it is asked.

Exact fractions all the way; rounded once, at the end, to the minor unit of the currency, half up. The screen's text and
the cloud's number are made of the same whole numbers.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from msgspec import Struct

from agent.clock import iso8601
from agent.policy.tariff.moment import NONE
from agent.policy.tariff.money import MICROS, exponent, number, rounded, shared_out, spelled
from agent.policy.tariff.terms import Dimension, Limit, Tariff, taxed, with_tax, without_tax
from agent.policy.tariff.usage import PERIODS_MAX, TIMED, Kind, Period, Usage, counters

# What a maximum is taken off, of parts with the same tax, first to last: what runs on longest gives way first.
YIELDING = (
    Dimension.IDLE_TIME,
    Dimension.CHARGING_TIME,
    Dimension.ENERGY,
    Dimension.FIXED_FEE,
    Dimension.RESERVATION_TIME,
    Dimension.RESERVATION_FIXED,
)
assert set(YIELDING) == set(Dimension)
MWH_OF_KWH, MS_OF_MINUTE = 1_000_000, 60_000
UNITS = {  # of what is counted in what is priced
    Dimension.ENERGY: MWH_OF_KWH,
    Dimension.CHARGING_TIME: MS_OF_MINUTE,
    Dimension.IDLE_TIME: MS_OF_MINUTE,
    Dimension.FIXED_FEE: 1,
    Dimension.RESERVATION_TIME: MS_OF_MINUTE,
    Dimension.RESERVATION_FIXED: 1,
}
assert UNITS.keys() == set(Dimension)
ON_WIRE = {dimension: dimension.value for dimension in Dimension} | {Dimension.FIXED_FEE: "fixed"}  # TotalCostType
REASON_MAX = 500  # OCPP 2.1
VENDOR_ID = "station-agent"


class CostKind(StrEnum):
    """OCPP 2.1 TariffCostEnumType."""

    NORMAL = "NormalCost"
    MIN = "MinCost"
    MAX = "MaxCost"


class Amount(Struct, frozen=True):
    """In minor units of the currency. `incl` is never less than `excl`."""

    excl: int = 0
    incl: int = 0


class Cost(Struct, frozen=True):
    currency: str
    kind: CostKind
    parts: dict[Dimension, Amount]  # those that the tariff prices; they add up to the total, with tax and without
    total: Amount

    @property
    def text(self) -> str:
        """The total with tax, as the driver reads it: 12.30."""
        return spelled(self.total.incl, self.currency)


class Exact(Struct, frozen=True):
    """In major units, without tax, and the taxes."""

    excl: Fraction = Fraction()
    tax: Fraction = Fraction()

    @property
    def incl(self) -> Fraction:
        return self.excl + self.tax

    @property
    def rate(self) -> Fraction:
        return self.tax / self.excl if self.excl else Fraction()

    def __add__(self, other: "Exact") -> "Exact":
        return Exact(self.excl + other.excl, self.tax + other.tax)

    def times(self, factor: Fraction) -> "Exact":
        return Exact(self.excl * factor, self.tax * factor)


NOTHING = Exact()
Parts = dict[Dimension, Exact]


def cost(tariffs: Sequence[Tariff], usage: Usage, is_session: bool = True) -> Cost:
    """What there would be to pay if it ended now. `is_session` False: a reservation that nobody came to; the least
    that a session costs does not count then."""
    last = tariffs[-1]
    parts, is_capped = _calculated(tariffs, usage)
    kind = CostKind.MAX if is_capped else CostKind.NORMAL
    least = last.min_cost if is_session else None
    if least is not None and _sum(parts).incl < with_tax(least):  # instead of all that was calculated (I12.FR.38)
        net = without_tax(least)
        parts, kind = {Dimension.FIXED_FEE: Exact(net, with_tax(least) - net)}, CostKind.MIN
    return _rounded(last.currency, kind, parts)


# -- exact ------------------------------------------------------------------------------------------------------------


def _calculated(tariffs: Sequence[Tariff], usage: Usage) -> tuple[Parts, bool]:
    """Under each tariff in its turn: its maximum holds for all that has come until another tariff follows."""
    parts: Parts = {}
    is_capped = False
    for index, tariff in enumerate(tariffs):
        for dimension, used in _used(usage, index).items():
            if dimension in tariff.priced:
                excl = _times_price(tariff, dimension, used)
                tax = taxed(excl, tariff.of(dimension).taxes) - excl
                parts[dimension] = parts.get(dimension, NOTHING) + Exact(excl, tax)
        parts, is_capped = _capped(parts, tariff.max_cost)
    return parts, is_capped


def _used(usage: Usage, index: int) -> dict[Dimension, dict[int, int]]:
    """How much of each price of this tariff: mWh, milliseconds, times. Of the fees and the reservation the first has
    all."""
    used: dict[Dimension, dict[int, int]] = {dimension: {} for dimension in UNITS}
    for period in usage.periods:
        if period.tariff == index:
            _add(used[Dimension.ENERGY], period.energy, period.energy_mwh)
            if period.kind in TIMED:
                _add(used[TIMED[period.kind]], period.time, period.time_ms)
    if index == 0:
        used[Dimension.FIXED_FEE] = {usage.fixed_fee: 1}
        used[Dimension.RESERVATION_TIME] = dict(usage.reserved)
        used[Dimension.RESERVATION_FIXED] = {usage.reservation_fixed: 1}
    return used


def _add(sums: dict[int, int], price: int, quantity: int) -> None:
    sums[price] = sums.get(price, 0) + quantity


def _times_price(tariff: Tariff, dimension: Dimension, used: Mapping[int, int]) -> Fraction:
    prices = tariff.of(dimension).prices
    return Fraction(sum(prices[i].micros * n for i, n in used.items() if i != NONE), MICROS * UNITS[dimension])


def _sum(parts: Mapping[Dimension, Exact]) -> Exact:
    return sum(parts.values(), start=NOTHING)


def _capped(parts: Parts, most: Limit | None) -> tuple[Parts, bool]:
    """What is above the maximum comes off, of one part after the other, those with the lowest tax first: in any other
    order a maximum without tax would let the total with tax fall while the session goes on."""
    was = _sum(parts)
    if most is None:
        return parts, False
    if most.incl is not None:
        parts = _without(parts, was.incl - Fraction(most.incl), "incl")
    if most.excl is not None:
        parts = _without(parts, _sum(parts).excl - Fraction(most.excl), "excl")
    reached = (most.incl is not None and was.incl >= most.incl) or (most.excl is not None and was.excl >= most.excl)
    return parts, reached


def _without(parts: Parts, excess: Fraction, of: str) -> Parts:
    left = dict(parts)
    for dimension in sorted(YIELDING, key=lambda dimension: left.get(dimension, NOTHING).rate):
        has: Fraction = getattr(left.get(dimension, NOTHING), of)
        if excess > 0 and has:
            off = min(has, excess)
            left[dimension] = left[dimension].times(1 - off / has)
            excess -= off
    return left


# -- rounded ----------------------------------------------------------------------------------------------------------


def _rounded(currency: str, kind: CostKind, parts: Parts) -> Cost:
    """The totals with tax and without are rounded; the parts share out the net, and the tax that is between them."""
    unit = 10 ** exponent(currency)
    nets, taxes = [part.excl * unit for part in parts.values()], [part.tax * unit for part in parts.values()]
    net, tax = sum(nets, start=Fraction()), sum(taxes, start=Fraction())
    total = Amount(rounded(net), rounded(net + tax))
    shares = zip(parts, shared_out(total.excl, nets), shared_out(total.incl - total.excl, taxes), strict=True)
    return Cost(currency, kind, {name: Amount(net, net + tax) for name, net, tax in shares}, total)


# -- on the wire ------------------------------------------------------------------------------------------------------


def cost_details(tariffs: Sequence[Tariff], usage: Usage, costs: Cost, with_periods: bool) -> dict[str, Any]:
    """OCPP 2.1 CostDetailsType, of `costs` as the screen shows them; with its periods when the session ends."""
    details: dict[str, Any] = {"totalCost": _total_cost(costs), "totalUsage": _total_usage(usage)}
    if with_periods and 0 < len(usage.periods) < PERIODS_MAX and all(p.began_ms is not None for p in usage.periods):
        details["chargingPeriods"] = [_charging_period(tariffs, period) for period in usage.periods]
    marks = {"version": tariffs[-1].version, "timeUnknown": usage.is_unsure}
    return details | {"customData": {"vendorId": VENDOR_ID} | {name: mark for name, mark in marks.items() if mark}}


def not_calculated(currency: str, why: str) -> dict[str, Any]:
    """CostDetailsType of a session whose tariff or usage this build cannot read: the cloud has to work it out."""
    total_cost = {"currency": currency, "typeOfCost": CostKind.NORMAL.value, "total": {"inclTax": 0}}
    total_usage = {"energy": 0, "chargingTime": 0, "idleTime": 0}
    failure = {"failureToCalculate": True, "failureReason": why[:REASON_MAX]}
    return {"totalCost": total_cost, "totalUsage": total_usage, **failure}


def _total_cost(costs: Cost) -> dict[str, Any]:
    def price(amount: Amount) -> dict[str, Any]:
        return {"exclTax": number(amount.excl, costs.currency), "inclTax": number(amount.incl, costs.currency)}

    head = {"currency": costs.currency, "typeOfCost": costs.kind.value}
    parts = {ON_WIRE[dimension]: price(amount) for dimension, amount in costs.parts.items()}
    return head | parts | {"total": price(costs.total)}


def _total_usage(usage: Usage) -> dict[str, Any]:
    """Energy in Wh; seconds, the fractions of one left off. OCPP 2.1: chargingTime is the whole duration, idleTime that
    of it in which no energy flowed, so that the time which is billed as charging is what is between them."""
    so_far = counters(usage)
    charging_s, idle_s, suspended_s = (
        ms // 1000 for ms in (so_far.charging_ms, so_far.idle_ms, so_far.suspended_ms)
    )
    total: dict[str, Any] = {
        "energy": _wh(so_far.energy_mwh),
        "chargingTime": charging_s + idle_s + suspended_s,
        "idleTime": idle_s + suspended_s,
    }
    if usage.reserved:
        total["reservationTime"] = sum(ms for _, ms in usage.reserved) // 1000
    if so_far.suspended_ms:  # of idleTime; it is billed as nothing
        total["customData"] = {"vendorId": VENDOR_ID, "suspendedTime": suspended_s}
    return total


def _charging_period(tariffs: Sequence[Tariff], period: Period) -> dict[str, Any]:
    assert period.began_ms is not None
    dimensions = [{"type": "Energy", "volume": _wh(period.energy_mwh)}]
    if period.kind in TIMED:
        name = "ChargingTime" if period.kind is Kind.CHARGING else "IdleTIme"  # sic
        dimensions.append({"type": name, "volume": _seconds(period.time_ms)})
    began = iso8601(period.began_ms / 1000)
    return {"tariffId": tariffs[period.tariff].tariff_id, "startPeriod": began, "dimensions": dimensions}


def _wh(mwh: int) -> int | float:
    return float(Decimal(mwh) / 1000) if mwh % 1000 else mwh // 1000


def _seconds(ms: int) -> int | float:
    return float(Decimal(ms) / 1000) if ms % 1000 else ms // 1000
