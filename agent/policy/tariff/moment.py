"""Which price holds at an instant: the first whose conditions all do (I12.FR.33, 34)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.policy.hours import covers_day, holds
from agent.policy.tariff.terms import ANY, Conditions, Price, spans

NONE = -1  # no price holds: what is used then costs nothing


@dataclass(frozen=True, slots=True)
class Payer:
    """What is known of the card that pays: additionalInfo of the idToken, OCPP 2.1 TariffConditionsFixedType."""

    brand: str | None = None
    recognition: str | None = None


NOBODY = Payer()


@dataclass(frozen=True, slots=True)
class Load:
    """Power and current at one instant; the current is the sum of the phases."""

    power_mw: int = 0
    current_ma: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """How much a transaction has had so far."""

    energy_mwh: int = 0
    charging_ms: int = 0
    idle_ms: int = 0
    suspended_ms: int = 0

    @property
    def time_ms(self) -> int:
        return self.charging_ms + self.idle_ms + self.suspended_ms


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a condition may ask about, at one instant."""

    there: datetime | None  # local; None: unknown
    so_far: Counters
    load: Load
    payer: Payer = NOBODY


def chosen(prices: Sequence[Price], moments: Iterable[Moment]) -> int:
    """The index of the price that counts, or NONE; of several that may hold at these moments the cheapest."""
    may_hold = {index for moment in moments for index in candidates(prices, moment)}
    return min(may_hold, key=lambda i: (prices[i].micros if i != NONE else 0, i), default=NONE)


def candidates(prices: Sequence[Price], moment: Moment) -> list[int]:
    """The first price that holds; while the time is unknown also those that might come before it."""
    found: list[int] = []
    for index, price in enumerate(prices):
        if not _holds_at_any_time(price.when, moment):
            continue
        if price.when.span is None:
            return [*found, index]
        if moment.there is None:
            found.append(index)
        elif holds(price.when.span, moment.there):
            return [index]
    return found if found and covers_day(spans(prices[i] for i in found)) else [*found, NONE]


def _holds_at_any_time(when: Conditions, moment: Moment) -> bool:
    so_far, load = moment.so_far, moment.load
    return (
        not when.elsewhere
        and (when.energy_mwh is ANY or when.energy_mwh.holds(so_far.energy_mwh))
        and (when.time_ms is ANY or when.time_ms.holds(so_far.time_ms))
        and (when.charging_ms is ANY or when.charging_ms.holds(so_far.charging_ms))
        and (when.idle_ms is ANY or when.idle_ms.holds(so_far.idle_ms))
        and (when.power_mw is ANY or when.power_mw.holds(load.power_mw))
        and (when.current_ma is ANY or when.current_ma.holds(load.current_ma))
        and when.brand in (None, moment.payer.brand)
        and when.recognition in (None, moment.payer.recognition)
    )
