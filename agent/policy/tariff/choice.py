"""Which tariff a session has, and what a driver is told of it before the start. Pure.

The driver's own comes first: the cloud's for this card (AuthorizeResponse), else that of its groups; then the default
of the EVSE; else there is none, and the station shows no price and sends no cost.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from decimal import Context, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, structs

from agent.clock import iso8601
from agent.policy.hours import DAY_S, WEEK_DAYS, covers_day, edges, local, minutes
from agent.policy.tariff import terms
from agent.policy.tariff.moment import NOBODY, NONE, Counters, Load, Moment, Payer, chosen
from agent.policy.tariff.money import MICROS
from agent.policy.tariff.terms import (
    ANY,
    Conditions,
    Dimension,
    Price,
    Priced,
    Status,
    Tariff,
    TariffRefused,
    Tax,
    begins_by,
    is_free,
    spans,
    taxed,
    with_tax,
)
from agent.policy.tariff.usage import Usage, moment_of
from agent.reading import Reading

GROUPS_MAX, GROUP_TARIFFS_MAX = 10_000, 32
DEFAULTS_MAX = 4  # of one EVSE: the one in force, and three that wait for their day
WIDE = Context(prec=100)  # six places times five taxes of eight: exact


class Rule(StrEnum):
    """What chose the tariff: for the record, and for `station-agent explain`."""

    CLOUD = "tariff of the cloud's answer"
    GROUP = "tariff of the group"
    DEFAULT = "default tariff"
    NONE = "no tariff"


class Choice(Struct, frozen=True):
    rule: Rule
    tariff: Tariff | None = None
    group: str = ""  # that chose it
    policy: str = ""  # version of the group tariffs


# -- by groups --------------------------------------------------------------------------------------------------------


class GroupTariffs(Struct, frozen=True):
    """The owner's tariffs in his order: a driver of several groups has the first of theirs."""

    version: str = ""
    tariffs: tuple[Tariff, ...] = ()
    groups: dict[str, int] = {}  # index in `tariffs`
    sent: Any = None


class _Rule(Struct, frozen=True, forbid_unknown_fields=True):
    groups: Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(min_length=1)]
    tariff: Any


class _Rules(Struct, frozen=True, forbid_unknown_fields=True):
    version: Annotated[str, Meta(min_length=1, max_length=36)]
    rules: Annotated[list[_Rule], Meta(max_length=GROUP_TARIFFS_MAX)]


def read_group_tariffs(wire: Any) -> GroupTariffs:
    """{"version": "7", "rules": [{"groups": ["residents"], "tariff": TariffType}, …]}; raises TariffRefused."""
    try:
        form = convert(wire, _Rules)
    except ValidationError as error:
        raise TariffRefused(f"group tariffs: {error}") from None
    if (count := sum(len(rule.groups) for rule in form.rules)) > GROUPS_MAX:
        raise TariffRefused(f"{count} groups have tariffs: send at most {GROUPS_MAX}")
    tariffs = tuple(terms.read(rule.tariff) for rule in form.rules)
    if any(tariff.valid_from_s is not None for tariff in tariffs):
        raise TariffRefused("a group's tariff holds from when it is sent: leave validFrom out (I08.FR.09)")
    groups: dict[str, int] = {}
    for index, rule in enumerate(form.rules):
        for group in rule.groups:
            groups.setdefault(group, index)
    return GroupTariffs(form.version, tariffs, groups, wire)


# -- defaults of the EVSEs --------------------------------------------------------------------------------------------


class Defaults(Struct, frozen=True):
    """What SetDefaultTariff has set, by evse_id: in the order of their validFrom, none twice."""

    of_evse: dict[int, tuple[Tariff, ...]] = {}

    def of(self, evse_id: int) -> tuple[Tariff, ...]:
        return self.of_evse.get(evse_id, ())


def with_default(defaults: Defaults, evse_ids: Sequence[int], evse_id: int, tariff: Tariff, now_s: float) -> Defaults:
    """SetDefaultTariff: at one EVSE, or with 0 at each. Raises TariffRefused.

    One that begins later waits beside the one in force; one that begins now replaces it. `now_s` is the earliest that
    it may be (agent/clock.py): a tariff begins when its time has surely come.
    """
    if evse_id and evse_id not in evse_ids:
        raise TariffRefused(f"there is no EVSE {evse_id} here: send one of {', '.join(map(str, (0, *evse_ids)))}")
    targets = set(evse_ids) if evse_id == 0 else {evse_id}
    for other, tariffs in defaults.of_evse.items():
        if other not in targets and any(_is_other(tariff, each) for each in tariffs):
            sentence = f"EVSE {other} has another tariff {tariff.tariff_id!r}: give this one an id of its own"
            raise TariffRefused(sentence, Status.DUPLICATE_TARIFF_ID)
    of_evse = defaults.of_evse | {target: _joined(defaults.of(target), tariff, now_s) for target in targets}
    return Defaults(dict(sorted(of_evse.items())))


def _is_other(one: Tariff, other: Tariff) -> bool:
    return one.tariff_id == other.tariff_id and one.version != other.version


def _joined(tariffs: Sequence[Tariff], new: Tariff, now_s: float) -> tuple[Tariff, ...]:
    """The one in force and those that wait, of which none begins when another does."""
    kept = {_begins_s(each, now_s): each for each in tariffs if each.tariff_id != new.tariff_id}
    kept[_begins_s(new, now_s)] = new
    if len(kept) > DEFAULTS_MAX:
        raise TariffRefused(f"{DEFAULTS_MAX} tariffs are there already: clear one first, by ClearTariffs")
    return tuple(kept[begins_s] for begins_s in sorted(kept))


def _begins_s(tariff: Tariff, now_s: float) -> float:
    """All that have begun are the same: the newest word replaces the others."""
    return 0.0 if tariff.valid_from_s is None or begins_by(tariff, now_s) else tariff.valid_from_s


def default(defaults: Defaults, evse_id: int, now_s: float) -> Tariff | None:
    """The one in force; `now_s` as above."""
    begun = [each for each in defaults.of(evse_id) if _begins_s(each, now_s) == 0.0]
    return begun[-1] if begun else None


def without(
    defaults: Defaults, tariff_ids: Sequence[str] | None, evse_id: int | None
) -> tuple[Defaults, list[dict[str, str]]]:
    """ClearTariffs at one EVSE, or with 0 or None at all of them, and its clearTariffsResult. A running session keeps
    its tariff (I10.FR.07)."""
    targets = set(defaults.of_evse) if evse_id in (None, 0) else {evse_id}
    there = [each for id_, tariffs in defaults.of_evse.items() if id_ in targets for each in tariffs]
    found = {each.tariff_id for each in there}
    wanted = list(dict.fromkeys(sorted(found) if tariff_ids is None else tariff_ids))
    results = [{"tariffId": id_, "status": "Accepted" if id_ in found else "NoTariff"} for id_ in wanted]
    of_evse = {
        id_: kept
        for id_, tariffs in defaults.of_evse.items()
        if (kept := tuple(each for each in tariffs if each.tariff_id not in wanted or id_ not in targets))
    }
    return Defaults(of_evse), results or [{"status": "NoTariff"}]


def assignments(
    defaults: Defaults, running: Mapping[int, tuple[Tariff, str]], evse_id: int
) -> list[dict[str, Any]]:
    """GetTariffs: tariffAssignments of one EVSE, or with 0 of all; `running`: the driver's tariff of a session and his
    idToken, by evse_id. Empty: NoTariff."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for id_, tariffs in defaults.of_evse.items():
        for tariff in tariffs if evse_id in (0, id_) else ():
            entry = {"tariffId": tariff.tariff_id, "tariffKind": "DefaultTariff", "evseIds": []}
            if tariff.valid_from_s is not None:
                entry["validFrom"] = iso8601(tariff.valid_from_s)
            found.setdefault((tariff.tariff_id, tariff.version), entry)["evseIds"].append(id_)
    drivers = [
        {"tariffId": tariff.tariff_id, "tariffKind": "DriverTariff", "evseIds": [id_]}
        | ({"idTokens": [id_token]} if id_token else {})
        for id_, (tariff, id_token) in sorted(running.items())
        if evse_id in (0, id_)
    ]
    return [*found.values(), *drivers]


def saved(defaults: Defaults) -> Any:
    return {str(evse_id): [each.sent for each in tariffs] for evse_id, tariffs in defaults.of_evse.items()}


def restored(value: Any) -> Defaults | None:
    """None: this build cannot read all of it; nothing is charged by half of what the owner has sent."""
    try:
        lists = convert(value, dict[int, list[Any]], strict=False)
        return Defaults({id_: tuple(map(terms.read, each)) for id_, each in sorted(lists.items())})
    except (ValidationError, TariffRefused):
        return None


def restored_groups(value: Any) -> GroupTariffs:
    """None at all if this build cannot read all of them."""
    try:
        return GroupTariffs() if value is None else read_group_tariffs(value)
    except TariffRefused:
        return GroupTariffs()


# -- the choice -------------------------------------------------------------------------------------------------------


def choose(
    groups: Iterable[str],
    group_tariffs: GroupTariffs,
    defaults: Defaults,
    evse_id: int,
    now_s: float,
    answered: Tariff | None = None,
) -> Choice:
    """`answered`: the tariff of the cloud's answer to this very tap. `now_s`: the earliest that it may be."""
    if answered is not None and begins_by(answered, now_s):
        return Choice(Rule.CLOUD, answered)
    found = [(index, group) for group in groups if (index := group_tariffs.groups.get(group)) is not None]
    if found:
        index, group = min(found)
        return Choice(Rule.GROUP, group_tariffs.tariffs[index], group, group_tariffs.version)
    tariff = default(defaults, evse_id, now_s)
    return Choice(Rule.DEFAULT, tariff) if tariff else Choice(Rule.NONE)


# -- before the start -------------------------------------------------------------------------------------------------


class PriceFact(Struct, frozen=True):
    """One line of a price: what a kWh, a minute or a start costs, with tax, in major units, exact."""

    dimension: Dimension
    now: Decimal | None  # for a session that begins at this moment; None: nothing at first
    least: Decimal  # of all its prices, nothing included where none holds at times
    most: Decimal
    free_s: int | None = None  # how long it costs nothing, where only a duration is waited for


class PriceFacts(Struct, frozen=True):
    """In the order that AFIR asks for: per kWh, per minute, per session, the rest."""

    currency: str
    is_free: bool
    lines: tuple[PriceFact, ...]
    min_cost: Decimal | None = None  # with tax
    max_cost: Decimal | None = None
    until_s: int | None = None  # wall; so long it surely stands; None: the clock does not change it within days


ORDER = (
    Dimension.ENERGY,
    Dimension.CHARGING_TIME,
    Dimension.IDLE_TIME,
    Dimension.FIXED_FEE,
    Dimension.RESERVATION_TIME,
    Dimension.RESERVATION_FIXED,
)


RUNNING = ORDER[:3]


def price_facts(tariff: Tariff, wall_s: float | None, zone: tzinfo, payer: Payer = NOBODY) -> PriceFacts:
    """What the driver is told before the start, and of a reservation; unknown time: the cheapest that may hold."""
    moment = Moment(None if wall_s is None else local(wall_s, zone), Counters(), Load(), payer)
    lines = (_line(dimension, tariff.of(dimension), moment) for dimension in ORDER)
    least, most = (None if each is None else _decimal(with_tax(each)) for each in (tariff.min_cost, tariff.max_cost))
    of_day = minutes(span for priced in tariff.priced.values() for span in spans(priced.prices))
    soon = () if wall_s is None else edges(of_day, wall_s, wall_s + WEEK_DAYS * DAY_S, zone)
    shown = tuple(line for line in lines if line)
    return PriceFacts(tariff.currency, is_free(tariff), shown, least, most, next(iter(soon), None))


def prices_now(tariff: Tariff, usage: Usage, last: Reading, zone: tzinfo) -> dict[Dimension, Decimal]:
    """What a kWh and a minute cost at the newest reading of a running session, with tax; missing: nothing."""
    moment = moment_of(usage, last, zone)
    chosen_of = {dimension: chosen(tariff.of(dimension).prices, [moment]) for dimension in RUNNING}
    return {
        dimension: _with_tax(tariff.of(dimension).prices[index], tariff.of(dimension).taxes)
        for dimension, index in chosen_of.items()
        if index != NONE
    }


def _line(dimension: Dimension, priced: Priced, moment: Moment) -> PriceFact | None:
    amounts = [_with_tax(price, priced.taxes) for price in priced.prices if not price.when.elsewhere]
    if not amounts:
        return None
    by_clock = [price for price in priced.prices if structs.replace(price.when, span=None) == Conditions()]
    is_certain = any(price.when.span is None for price in by_clock) or covers_day(spans(by_clock))
    index = chosen(priced.prices, [moment])
    now = None if index == NONE else _with_tax(priced.prices[index], priced.taxes)
    waits = [ms // 1000 for price in priced.prices if (ms := _wait_ms(price.when))]
    free_s = min(waits, default=None) if now is None else None
    return PriceFact(dimension, now, min(amounts) if is_certain else Decimal(0), max(amounts), free_s)


def _wait_ms(when: Conditions) -> int | None:
    """Of a price that waits for nothing but a duration."""
    waits = structs.replace(when, time_ms=ANY, charging_ms=ANY, idle_ms=ANY)
    bounds = (when.time_ms.least, when.charging_ms.least, when.idle_ms.least)
    return max((ms for ms in bounds if ms is not None), default=None) if waits == Conditions() else None


def _with_tax(price: Price, taxes: Iterable[Tax]) -> Decimal:
    return _decimal(taxed(Fraction(price.micros, MICROS), taxes))


def _decimal(exact: Fraction) -> Decimal:
    """A product of decimals is one."""
    return WIDE.divide(Decimal(exact.numerator), Decimal(exact.denominator))
