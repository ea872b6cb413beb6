"""A tariff as OCPP 2.1 sends it (TariffType), checked once, then held as exact decimals and whole numbers.

`read` is the only door: what it lets through can be counted and billed without any further check. What it holds is
saved as it was sent, and read through the same door again.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from hashlib import sha256
from itertools import groupby
from typing import Any

from msgspec import Struct, json

from agent.clock import WALL_MAX_S, read_time
from agent.policy.hours import Span, is_any_time
from agent.policy.tariff.money import CURRENCIES, MICROS, exact, exponent
from agent.uplink.codec import WireError
from agent.uplink.messages import (
    DayOfWeekEnumType,
    EvseKindEnumType,
    MessageFormatEnumType,
    PriceType,
    TariffConditionsFixedType,
    TariffConditionsType,
    TariffEnergyType,
    TariffFixedType,
    TariffTimeType,
    TariffType,
    TaxRateType,
    from_wire,
)

ELEMENTS_MAX = 50  # prices of one tariff, all its dimensions together
SIZE_MAX_B = 64_000  # of its JSON, for it is kept as it was sent
STACK_MAX = 9
SECONDS_MAX = 10_000_000  # of a duration in a condition: 115 days
WEEK = list(DayOfWeekEnumType)
TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
DATE = re.compile(r"[12]\d{3}-\d\d-\d\d", re.ASCII)
PLAIN = (MessageFormatEnumType.ASCII, MessageFormatEnumType.UTF8)  # no page, address or picture is shown to drivers
HERE = EvseKindEnumType.AC  # every station of ours


class Dimension(StrEnum):
    """What is priced, spelled as in TariffType."""

    ENERGY = "energy"
    CHARGING_TIME = "chargingTime"
    IDLE_TIME = "idleTime"
    FIXED_FEE = "fixedFee"
    RESERVATION_TIME = "reservationTime"
    RESERVATION_FIXED = "reservationFixed"


class Status(StrEnum):
    """Why a tariff is not taken: OCPP 2.1 TariffSetStatusEnumType and TariffChangeStatusEnumType."""

    REJECTED = "Rejected"
    TOO_MANY_ELEMENTS = "TooManyElements"
    CONDITION_NOT_SUPPORTED = "ConditionNotSupported"
    DUPLICATE_TARIFF_ID = "DuplicateTariffId"
    TX_NOT_FOUND = "TxNotFound"
    NO_CURRENCY_CHANGE = "NoCurrencyChange"


class TariffRefused(Exception):
    """The tariff is not taken, and nothing has changed; the text says in one sentence what to send instead."""

    def __init__(self, text: str, status: Status = Status.REJECTED) -> None:
        super().__init__(text)
        self.status = status


class Bounds(Struct, frozen=True):
    """From `least`, inclusive, to `most`, exclusive; None is no bound."""

    least: int | None = None
    most: int | None = None

    def holds(self, value: int) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value < self.most)


ANY = Bounds()


class Conditions(Struct, frozen=True):
    """When a price holds; all of them must. Thousandths, so that a decimal becomes a whole number."""

    span: Span | None = None  # of the local clock
    elsewhere: bool = False  # for EVSEs of another kind than ours: never here
    energy_mwh: Bounds = ANY  # of the transaction so far
    power_mw: Bounds = ANY  # at this moment
    current_ma: Bounds = ANY  # at this moment, sum of the phases
    time_ms: Bounds = ANY  # of the transaction so far
    charging_ms: Bounds = ANY  # of it charging
    idle_ms: Bounds = ANY  # of it idle
    brand: str | None = None  # of the card that pays
    recognition: str | None = None


class Price(Struct, frozen=True):
    """Without tax; per kWh, per minute, or once."""

    micros: int  # millionths of the currency's major unit: what six places can say
    when: Conditions


class Tax(Struct, frozen=True):
    name: str
    percent: Decimal
    stack: int  # 0: of the price; 1: of the price with the taxes of stack 0; and so on


class Priced(Struct, frozen=True):
    """One dimension: the first price that holds is the one that counts."""

    prices: tuple[Price, ...] = ()
    taxes: tuple[Tax, ...] = ()


class Limit(Struct, frozen=True):
    """What a session costs at least, or at most. Of a missing figure the taxes tell: the limit's own if it has any,
    else those of the first dimension that is taxed."""

    excl: Decimal | None
    incl: Decimal | None
    taxes: tuple[Tax, ...] = ()


class Text(Struct, frozen=True):
    language: str  # RFC 5646; "" where none was said
    content: str


class Tariff(Struct, frozen=True):
    """Read-only, its JSON form too: it is shared by all that has the same tariff."""

    tariff_id: str
    version: str  # of its content: two tariffs with one version say the same
    currency: str
    priced: dict[Dimension, Priced]  # those that are priced at all
    min_cost: Limit | None = None
    max_cost: Limit | None = None
    valid_from_s: float | None = None  # wall
    texts: tuple[Text, ...] = ()
    sent: Any = None  # the JSON form that all this was read from

    def of(self, dimension: Dimension) -> Priced:
        return self.priced.get(dimension, NOT_PRICED)


NOT_PRICED = Priced()


def read(wire: Any) -> Tariff:
    """A TariffType in JSON form as a tariff; TariffRefused, with one sentence, for anything else."""
    version = _version(wire)
    try:
        form = from_wire(TariffType, wire)
    except WireError as error:
        raise TariffRefused(str(error)) from None
    if form.currency not in CURRENCIES:
        raise TariffRefused(f"currency {form.currency!r} is not in ISO 4217: send three capital letters such as EUR")
    if not form.tariffId.strip():
        raise TariffRefused("tariffId is empty: send an id of 1 to 60 characters")
    priced = dict(_dimensions(form))
    if (count := sum(len(each.prices) for each in priced.values())) > ELEMENTS_MAX:
        sentence = f"the tariff has {count} prices: send at most {ELEMENTS_MAX} in all"
        raise TariffRefused(sentence, Status.TOO_MANY_ELEMENTS)
    taxes = next((each.taxes for each in priced.values() if each.taxes), ())
    least = _limit("minCost", form.minCost, form.currency, taxes)
    most = _limit("maxCost", form.maxCost, form.currency, taxes)
    if least and most and (with_tax(least) > with_tax(most) or without_tax(least) > without_tax(most)):
        raise TariffRefused("minCost is above maxCost: send a minCost that is not")
    plain = [each for each in form.description or () if each.format in PLAIN]
    texts = tuple(Text(each.language or "", each.content) for each in plain)
    return Tariff(
        form.tariffId, version, form.currency, priced, least, most, _valid_from_s(form), texts, wire
    )  # fmt: skip


def saved(tariff: Tariff) -> Any:
    """For the store: as it was sent."""
    return tariff.sent


def restored(value: Any) -> Tariff | None:
    """None: this build cannot read it."""
    try:
        return read(value)
    except TariffRefused:
        return None


def is_free(tariff: Tariff) -> bool:
    """Whether nothing that a driver does can cost anything."""
    least = tariff.min_cost
    costs = (price.micros for each in tariff.priced.values() for price in each.prices if not price.when.elsewhere)
    return not any(costs) and not (least and (least.incl or least.excl))


def begins_by(tariff: Tariff, now_s: float) -> bool:
    """Whether it may be used; `now_s`: the earliest that it may be, so that nothing begins before its time."""
    return tariff.valid_from_s is None or tariff.valid_from_s <= now_s


def taxed(amount: Fraction, taxes: Iterable[Tax]) -> Fraction:
    """With taxes, which come in the order of their stacks: those of one stack are on what the stacks below it make of
    the amount (I12.FR.13)."""
    for _, stack in groupby(taxes, key=lambda tax: tax.stack):
        amount += amount * sum(Fraction(tax.percent) for tax in stack) / 100
    return amount


def with_tax(limit: Limit) -> Fraction:
    if limit.incl is not None:
        return Fraction(limit.incl)
    assert limit.excl is not None
    return taxed(Fraction(limit.excl), limit.taxes)


def without_tax(limit: Limit) -> Fraction:
    if limit.excl is not None:
        return Fraction(limit.excl)
    assert limit.incl is not None
    return Fraction(limit.incl) / taxed(Fraction(1), limit.taxes)


def spans(prices: Iterable[Price]) -> list[Span]:
    return [price.when.span for price in prices if price.when.span is not None]


def _above(one: Decimal | None, other: Decimal | None) -> bool:
    return one is not None and other is not None and one > other


def _version(wire: Any) -> str:
    try:
        sent = json.encode(wire, order="deterministic")
    except (ValueError, TypeError):  # half a surrogate pair; a key that is no text
        raise TariffRefused("the tariff is not JSON, or a text in it is not Unicode: send UTF-8") from None
    if len(sent) > SIZE_MAX_B:
        raise TariffRefused(f"the tariff has {len(sent)} bytes: send at most {SIZE_MAX_B}")
    return sha256(sent).hexdigest()[:12]


def _valid_from_s(form: TariffType) -> float | None:
    if form.validFrom is None:
        return None
    at_s = read_time(form.validFrom)
    if at_s is None or not 0 <= at_s < WALL_MAX_S:
        raise TariffRefused(f"validFrom {form.validFrom} is no time: send one as 2026-12-24T18:00:00Z")
    return at_s


# -- prices -----------------------------------------------------------------------------------------------------------


def _dimensions(form: TariffType) -> Iterable[tuple[Dimension, Priced]]:
    said = (form.energy, form.chargingTime, form.idleTime, form.fixedFee, form.reservationTime, form.reservationFixed)
    for dimension, each in zip(Dimension, said, strict=True):
        if each is not None:
            yield dimension, Priced(tuple(_prices(dimension, each)), _taxes(dimension, each.taxRates))


def _prices(dimension: Dimension, form: TariffEnergyType | TariffTimeType | TariffFixedType) -> Iterable[Price]:
    match form:
        case TariffEnergyType():
            said = [(each.priceKwh, _running(dimension, each.conditions)) for each in form.prices]
        case TariffTimeType():
            said = [(each.priceMinute, _running(dimension, each.conditions)) for each in form.prices]
        case TariffFixedType():
            said = [(each.priceFixed, _starting(dimension, each.conditions)) for each in form.prices]
    return [Price(int(_exact(dimension, "a price", amount) * MICROS), when) for amount, when in said]


def _exact(place: str, what: str, value: float) -> Decimal:
    if (amount := exact(value)) is None:
        raise TariffRefused(f"{place}: {what} is {value!r}: send 0 to 999999999 with at most six decimal places")
    return amount


def _taxes(place: str, rates: Sequence[TaxRateType] | None) -> tuple[Tax, ...]:
    taxes = [Tax(rate.type, _exact(place, "a tax", rate.tax), rate.stack or 0) for rate in rates or ()]
    if any(tax.percent > 100 or tax.stack > STACK_MAX for tax in taxes):
        raise TariffRefused(f"{place}: send taxes of at most 100 percent, and stacks of at most {STACK_MAX}")
    return tuple(sorted(taxes, key=lambda tax: tax.stack))


def _limit(place: str, form: PriceType | None, currency: str, taxes: tuple[Tax, ...]) -> Limit | None:
    if form is None:
        return None
    if form.exclTax is None and form.inclTax is None:
        raise TariffRefused(f"{place} says no amount: send exclTax, inclTax or both")
    excl, incl = (None if x is None else _exact(place, "an amount", x) for x in (form.exclTax, form.inclTax))
    if _above(excl, incl):
        raise TariffRefused(f"{place}: exclTax is above inclTax: send an exclTax that is not")
    if any(amount is not None and amount != round(amount, exponent(currency)) for amount in (excl, incl)):
        raise TariffRefused(f"{place}: {currency} has {exponent(currency)} decimal places: send no more of them")
    return Limit(excl, incl, _taxes(place, form.taxRates) or taxes)


# -- conditions -------------------------------------------------------------------------------------------------------


def _running(place: str, form: TariffConditionsType | None) -> Conditions:
    if form is None:
        return Conditions()
    return Conditions(
        span=_span(place, form),
        elsewhere=form.evseKind not in (None, HERE),
        energy_mwh=_thousandths(place, "Energy", form.minEnergy, form.maxEnergy),
        power_mw=_thousandths(place, "Power", form.minPower, form.maxPower),
        current_ma=_thousandths(place, "Current", form.minCurrent, form.maxCurrent),
        time_ms=_seconds(place, "Time", form.minTime, form.maxTime),
        charging_ms=_seconds(place, "ChargingTime", form.minChargingTime, form.maxChargingTime),
        idle_ms=_seconds(place, "IdleTime", form.minIdleTime, form.maxIdleTime),
    )


def _starting(place: str, form: TariffConditionsFixedType | None) -> Conditions:
    if form is None:
        return Conditions()
    return Conditions(
        span=_span(place, form),
        elsewhere=form.evseKind not in (None, HERE),
        brand=form.paymentBrand,
        recognition=form.paymentRecognition,
    )


def _thousandths(place: str, what: str, least: float | None, most: float | None) -> Bounds:
    """Of Wh, W or A. Negative ones mean energy from the car, which no station of ours takes."""
    if least is None and most is None:
        return ANY
    if any(bound is not None and bound < 0 for bound in (least, most)):
        sentence = f"{place}: min{what} or max{what} is negative: this station does not discharge cars"
        raise TariffRefused(sentence, Status.CONDITION_NOT_SUPPORTED)
    whole = []
    for bound in (least, most):
        thousandths = None if bound is None else _exact(place, f"min{what} or max{what}", bound) * 1000
        if thousandths is not None and thousandths % 1:
            raise TariffRefused(f"{place}: min{what} and max{what} have at most three decimal places here: round them")
        whole.append(None if thousandths is None else int(thousandths))
    return Bounds(*whole)


def _seconds(place: str, what: str, least: int | None, most: int | None) -> Bounds:
    if least is None and most is None:
        return ANY
    if any(bound is not None and not 0 <= bound <= SECONDS_MAX for bound in (least, most)):
        raise TariffRefused(f"{place}: send min{what} and max{what} from 0 to {SECONDS_MAX} seconds")
    return Bounds(*(None if bound is None else bound * 1000 for bound in (least, most)))


def _span(place: str, form: TariffConditionsType | TariffConditionsFixedType) -> Span | None:
    """None: always. A missing end of the day's window is midnight."""
    from_date, to_date = _date(place, form.validFromDate), _date(place, form.validToDate)
    weekdays = tuple(sorted({WEEK.index(day) for day in form.dayOfWeek or ()}))
    span = Span(_minute(place, form.startTimeOfDay), _minute(place, form.endTimeOfDay), weekdays, from_date, to_date)
    return None if is_any_time(span) else span


def _minute(place: str, text: str | None) -> int:
    if text is None:
        return 0
    if TIME_OF_DAY.fullmatch(text) is None:
        raise TariffRefused(f"{place}: {text[:20]!r} is no time of day: send one as 08:00")
    return int(text[:2]) * 60 + int(text[3:])


def _date(place: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text if DATE.fullmatch(text) else "")
    except ValueError:  # also 30 February
        raise TariffRefused(f"{place}: {text[:20]!r} is no date: send one as 2026-12-24") from None
