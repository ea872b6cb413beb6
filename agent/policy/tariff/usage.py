"""What a session has used, as whole numbers per price, and nothing else: money is always worked out anew of this.

`counted` takes the stretch from one reading of the meter to the next. It is cut wherever a price may begin or end: at a
time of day, at an amount of energy, at a duration. Between two readings time and energy are a straight line.

Where the station cannot know which price holds, the cheapest of those that may is counted: while the time is unknown,
while power or current differ at the two ends, and over a stretch in which it was not awake.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, structs, to_builtins

from agent.clock import WALL_MAX_S
from agent.policy.hours import edges, local, minutes
from agent.policy.tariff.moment import NOBODY, NONE, Counters, Load, Moment, Payer, chosen
from agent.policy.tariff.terms import (
    ANY,
    NOT_PRICED,
    Bounds,
    Dimension,
    Price,
    Status,
    Tariff,
    TariffRefused,
    begins_by,
    spans,
)
from agent.reading import ChargingState, Reading

TARIFFS_MAX = 8  # of one session, one after the other
PERIODS_MAX = 100  # told apart by when they were; what comes then is still counted per price
STRETCH_MAX_MS = 8 * 86_400_000  # a longer one nobody has seen

Quantity = Annotated[int, Meta(ge=0)]
WallMs = Annotated[int, Meta(ge=0, lt=int(WALL_MAX_S) * 1000)]


class Kind(IntEnum):
    """What goes on between two readings."""

    CHARGING = 0
    IDLE = 1  # plugged in, we offer, and the car takes nothing: OCPP's idle time, as far as it is the driver's
    SUSPENDED = 2  # we do not offer: no time is billed
    UNSEEN = 3  # we were not awake: no time is billed, and what was metered at the cheapest price


KINDS = {
    ChargingState.CHARGING: Kind.CHARGING,
    ChargingState.EV_CONNECTED: Kind.IDLE,
    ChargingState.SUSPENDED_EV: Kind.IDLE,
    ChargingState.SUSPENDED_EVSE: Kind.SUSPENDED,
    ChargingState.IDLE: Kind.SUSPENDED,
}
assert KINDS.keys() == set(ChargingState)
TIMED = {Kind.CHARGING: Dimension.CHARGING_TIME, Kind.IDLE: Dimension.IDLE_TIME}


class Period(Struct, frozen=True, array_like=True):
    """What was used while nothing changed: neither the kind nor the two prices in force."""

    tariff: int  # index in the session's tariffs
    kind: Kind
    energy: int  # index of the price per kWh, or NONE
    time: int  # index of the price per minute of this kind, or NONE
    began_ms: WallMs | None  # None: unknown
    energy_mwh: Quantity
    time_ms: Quantity


class Usage(Struct, frozen=True):
    """All that the cost of one session depends on, beside its tariffs."""

    fixed_fee: int = NONE  # the price that held when the session began
    reservation_fixed: int = NONE
    reserved: tuple[tuple[int, Quantity], ...] = ()  # price of reservationTime, milliseconds
    periods: tuple[Period, ...] = ()
    is_unsure: bool = False  # a price hung on the time of day, and the time was unknown


def counters(usage: Usage) -> Counters:
    spent = [0] * len(Kind)
    for period in usage.periods:
        spent[period.kind] += period.time_ms
    energy_mwh = sum(period.energy_mwh for period in usage.periods)
    return Counters(energy_mwh, spent[Kind.CHARGING], spent[Kind.IDLE], spent[Kind.SUSPENDED])


def moment_of(usage: Usage, last: Reading, zone: tzinfo) -> Moment:
    """That of the newest reading."""
    wall_ms = _wall_ms(last)
    there = None if wall_ms is None else local(wall_ms / 1000, zone)
    return Moment(there, counters(usage), _load(last))


# -- the beginning ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reservation that ends now; `since_s`: when its ReserveNow came, wall; None: unknown."""

    since_s: float | None = None


def begun(
    tariff: Tariff, wall_s: float | None, zone: tzinfo, payer: Payer = NOBODY, reserved: Reserved | None = None
) -> Usage:
    """The usage of a session that begins at `wall_s`: its fixed fee (I12.FR.30), and the reservation that it ends."""
    usage = Usage() if reserved is None else reservation(tariff, reserved, wall_s, zone, payer)
    fees = tariff.of(Dimension.FIXED_FEE).prices
    there = _there(wall_s, zone)
    fixed_fee = chosen(fees, [Moment(there, Counters(), Load(), payer)])
    return structs.replace(usage, fixed_fee=fixed_fee, is_unsure=usage.is_unsure or _hangs_on_time(there, fees))


def reservation(
    tariff: Tariff, reserved: Reserved, until_s: float | None, zone: tzinfo, payer: Payer = NOBODY
) -> Usage:
    """What a reservation has used by `until_s`, with or without a session after it.

    While one of its two times is unknown no reserved time is billed; of a longer one than eight days the last eight.
    """
    fees, times = tariff.of(Dimension.RESERVATION_FIXED).prices, tariff.of(Dimension.RESERVATION_TIME).prices
    since, until = _there(reserved.since_s, zone), _there(until_s, zone)
    fee = chosen(fees, [Moment(until, Counters(), Load(), payer)])
    unsure = _hangs_on_time(until, fees)
    if since is None or until is None or reserved.since_s is None or until_s is None:
        return Usage(reservation_fixed=fee, is_unsure=unsure or bool(times))
    time_ms = min(max(0, _ms(until_s) - _ms(reserved.since_s)), STRETCH_MAX_MS)
    began_ms = _ms(until_s) - time_ms
    sums: dict[int, int] = {}
    for from_ms, to_ms in pairwise([0, *_day_cuts(times, began_ms, time_ms, zone), time_ms]):
        index = chosen(times, [Moment(_there((began_ms + from_ms) / 1000, zone), Counters(), Load(), payer)])
        sums[index] = sums.get(index, 0) + to_ms - from_ms
    return Usage(reservation_fixed=fee, reserved=tuple(sorted(sums.items())), is_unsure=unsure)


def _hangs_on_time(there: datetime | None, *prices: Sequence[Price]) -> bool:
    return there is None and any(map(spans, prices))


def changed(tariffs: tuple[Tariff, ...], tariff: Tariff, now_s: float) -> tuple[Tariff, ...]:
    """ChangeTransactionTariff: what is used from now on is counted by `tariff`, and nothing that was used before.

    Raises TariffRefused. The fixed fee of the first tariff stays, that of another is never charged (I12.FR.30).
    `now_s`: the earliest that it may be, wall.
    """
    if not begins_by(tariff, now_s):
        raise TariffRefused("a running session changes its tariff at once: send it when its validFrom has come")
    if tariffs and tariff.currency != tariffs[-1].currency:
        sentence = f"this session is paid in {tariffs[-1].currency}: send a tariff in that currency"
        raise TariffRefused(sentence, Status.NO_CURRENCY_CHANGE)
    if len(tariffs) >= TARIFFS_MAX:
        raise TariffRefused(f"this session has had {TARIFFS_MAX} tariffs: it keeps the last one to its end")
    return (*tariffs, tariff)


# -- from one reading to the next -------------------------------------------------------------------------------------


def counted(
    tariffs: Sequence[Tariff], usage: Usage, before: Reading, after: Reading, kind: Kind, zone: tzinfo
) -> Usage:
    """The usage with what came between two readings of one register; the last tariff counts."""
    tariff, index, stretch = tariffs[-1], len(tariffs) - 1, _stretch(before, after, kind)
    kind, began_ms = stretch.kind, stretch.began_ms
    energy, timed = tariff.of(Dimension.ENERGY).prices, tariff.of(TIMED[kind]).prices if kind in TIMED else ()
    pieces = _pieces((*energy, *timed), counters(usage), stretch, zone)
    periods = usage.periods
    if kind is Kind.UNSEEN:
        price = chosen(energy, (moment for piece in pieces for moment in piece.moments))
        periods = _added(periods, Period(index, kind, price, NONE, began_ms, stretch.energy_mwh, 0))
    else:
        for piece in pieces:
            at_ms = None if began_ms is None else began_ms + piece.from_ms
            prices = chosen(energy, piece.moments), chosen(timed, piece.moments)
            periods = _added(periods, Period(index, kind, *prices, at_ms, piece.energy_mwh, piece.time_ms))
    unsure = began_ms is None and bool(spans((*energy, *timed)))
    return structs.replace(usage, periods=periods, is_unsure=usage.is_unsure or unsure)


@dataclass(frozen=True, slots=True)
class Stretch:
    kind: Kind
    time_ms: int  # monotonic; of an unseen one how long the clock says that it was, or 0
    energy_mwh: int
    began_ms: int | None  # wall
    loads: tuple[Load, ...]  # at its ends


def _stretch(before: Reading, after: Reading, kind: Kind) -> Stretch:
    """Its wall time is told by its end: that is the newest that we know of the time."""
    energy_mwh = max(0, after.energy_wh - before.energy_wh) * 1000
    time_ms = max(0, _ms(after.mono_s) - _ms(before.mono_s))
    began_ms, ended_ms = _wall_ms(before), _wall_ms(after)
    loads = _load(before), _load(after)
    if kind is not Kind.UNSEEN and time_ms <= STRETCH_MAX_MS:
        return Stretch(kind, time_ms, energy_mwh, began_ms if ended_ms is None else ended_ms - time_ms, loads)
    if began_ms is None or ended_ms is None or not 0 <= ended_ms - began_ms <= STRETCH_MAX_MS:
        return Stretch(Kind.UNSEEN, 0, energy_mwh, None, loads)
    return Stretch(Kind.UNSEEN, ended_ms - began_ms, energy_mwh, began_ms, loads)


def _load(reading: Reading) -> Load:
    return Load(reading.power_w * 1000, sum(reading.current_ma))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a stretch in which no price begins or ends; `moments` are what may be true of its beginning."""

    from_ms: int
    time_ms: int
    energy_mwh: int
    moments: tuple[Moment, ...]


def _pieces(prices: Sequence[Price], so_far: Counters, stretch: Stretch, zone: tzinfo) -> Iterator[Piece]:
    """At least one, also of a stretch of nothing."""
    cuts = sorted({(0, 0), *_cuts(prices, so_far, stretch, zone)})
    for (from_ms, from_mwh), (to_ms, to_mwh) in pairwise([*cuts, (stretch.time_ms, stretch.energy_mwh)]):
        at_ms = None if stretch.began_ms is None else stretch.began_ms + from_ms
        there = None if at_ms is None else _there(at_ms / 1000, zone)
        then = _later(so_far, stretch.kind, from_ms, from_mwh)
        moments = tuple(Moment(there, then, load) for load in set(stretch.loads))
        yield Piece(from_ms, to_ms - from_ms, to_mwh - from_mwh, moments)


def _cuts(prices: Sequence[Price], so_far: Counters, stretch: Stretch, zone: tzinfo) -> Iterator[tuple[int, int]]:
    """Points within the straight line, milliseconds and mWh: at an instant what has flowed by then, in whole mWh; of an
    amount of energy the first millisecond by which it has flowed."""
    time_ms, energy_mwh = stretch.time_ms, stretch.energy_mwh
    at_ms = set(_day_cuts(prices, stretch.began_ms, time_ms, zone))
    if stretch.kind is not Kind.UNSEEN:
        at_ms |= {bound - so_far.time_ms for bound in _bounds(price.when.time_ms for price in prices)}
    if stretch.kind is Kind.CHARGING:
        at_ms |= {bound - so_far.charging_ms for bound in _bounds(price.when.charging_ms for price in prices)}
    if stretch.kind is Kind.IDLE:
        at_ms |= {bound - so_far.idle_ms for bound in _bounds(price.when.idle_ms for price in prices)}
    yield from ((ms, energy_mwh * ms // time_ms) for ms in at_ms if 0 < ms < time_ms)
    at_mwh = {bound - so_far.energy_mwh for bound in _bounds(price.when.energy_mwh for price in prices)}
    yield from ((-(-mwh * time_ms // energy_mwh), mwh) for mwh in at_mwh if 0 < mwh < energy_mwh)


def _bounds(conditions: Iterable[Bounds]) -> set[int]:
    return {end for each in conditions if each is not ANY for end in (each.least, each.most) if end is not None}


def _day_cuts(prices: Sequence[Price], began_ms: int | None, time_ms: int, zone: tzinfo) -> list[int]:
    """Milliseconds after the beginning at which the local clock lets a price begin or end."""
    of_day = minutes(spans(prices))
    if began_ms is None or not of_day:
        return []
    return [at_s * 1000 - began_ms for at_s in edges(of_day, began_ms / 1000, (began_ms + time_ms) / 1000, zone)]


def _later(so_far: Counters, kind: Kind, time_ms: int, energy_mwh: int) -> Counters:
    """An unseen stretch takes no time."""
    charging = time_ms if kind is Kind.CHARGING else 0
    idle = time_ms if kind is Kind.IDLE else 0
    suspended = time_ms if kind is Kind.SUSPENDED else 0
    return Counters(
        so_far.energy_mwh + energy_mwh,
        so_far.charging_ms + charging,
        so_far.idle_ms + idle,
        so_far.suspended_ms + suspended,
    )


def _added(periods: tuple[Period, ...], new: Period) -> tuple[Period, ...]:
    """Into the last period if it is of the same sort. When there are too many: into any of the same sort, or each
    price's part by itself, so that beyond PERIODS_MAX there is at most one for each price and kind."""
    if not new.energy_mwh and not new.time_ms:
        return periods
    if periods and _sort(periods[-1]) == _sort(new):
        return (*periods[:-1], _joined(periods[-1], new))
    if len(periods) < PERIODS_MAX:
        return (*periods, new)
    for i in range(len(periods) - 1, -1, -1):
        if _sort(periods[i]) == _sort(new):
            return (*periods[:i], _joined(periods[i], new), *periods[i + 1 :])
    if new.energy_mwh and new.time_ms:
        energy = Period(new.tariff, new.kind, new.energy, NONE, new.began_ms, new.energy_mwh, 0)
        time = Period(new.tariff, new.kind, NONE, new.time, new.began_ms, 0, new.time_ms)
        return _added(_added(periods, energy), time)
    return (*periods, new)


def _sort(period: Period) -> tuple[int, Kind, int, int]:
    return period.tariff, period.kind, period.energy, period.time


def _joined(one: Period, new: Period) -> Period:
    used = one.energy_mwh + new.energy_mwh, one.time_ms + new.time_ms
    return Period(one.tariff, one.kind, one.energy, one.time, one.began_ms, *used)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _wall_ms(reading: Reading) -> int | None:
    wall_s = reading.wall_s if reading.source else None
    return _ms(wall_s) if wall_s is not None and STRETCH_MAX_MS / 1000 < wall_s < WALL_MAX_S else None


def _there(wall_s: float | None, zone: tzinfo) -> datetime | None:
    return local(wall_s, zone) if wall_s is not None and 0 <= wall_s < WALL_MAX_S else None


# -- the disk ---------------------------------------------------------------------------------------------------------


def saved(usage: Usage) -> Any:
    return to_builtins(usage)


def restored(value: Any, tariffs: Sequence[Tariff]) -> Usage | None:
    """None: it cannot be read, or is not of these tariffs; then the session's cost is not known here."""
    try:
        usage = convert(value, Usage)
    except ValidationError:
        return None
    return usage if _fits(usage, tariffs) else None


def _fits(usage: Usage, tariffs: Sequence[Tariff]) -> bool:
    if not tariffs or any(not 0 <= period.tariff < len(tariffs) for period in usage.periods):
        return False
    named = [(tariffs[0].of(Dimension.FIXED_FEE), usage.fixed_fee)]
    named.append((tariffs[0].of(Dimension.RESERVATION_FIXED), usage.reservation_fixed))
    named += [(tariffs[0].of(Dimension.RESERVATION_TIME), index) for index, _ in usage.reserved]
    for period in usage.periods:
        tariff = tariffs[period.tariff]
        named.append((tariff.of(Dimension.ENERGY), period.energy))
        named.append((tariff.of(TIMED[period.kind]) if period.kind in TIMED else NOT_PRICED, period.time))
    return all(NONE <= index < len(priced.prices) for priced, index in named)
