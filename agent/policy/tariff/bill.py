"""What one session owes: the tariffs that it has, why these, and what was used of them up to its newest reading.

Fixed when the session begins. Only ChangeTransactionTariff adds a tariff, and only a reading adds to the usage. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

from msgspec import Struct, ValidationError, convert

from agent.policy.tariff import terms, usage
from agent.policy.tariff.choice import Choice, Rule
from agent.policy.tariff.cost import Cost, cost, cost_details, not_calculated
from agent.policy.tariff.moment import NOBODY, Payer
from agent.policy.tariff.terms import Tariff, TariffRefused
from agent.policy.tariff.usage import Kind, Reserved, Usage
from agent.reading import Reading

LOST = "the station cannot read the tariff or the usage that it has stored for this session"
CHANGED = "changed by the cloud"
UNKNOWN_CURRENCY = "XXX"  # ISO 4217: no currency


@dataclass(frozen=True, slots=True)
class Bill:
    tariffs: tuple[Tariff, ...]  # one after the other; none: this build cannot read them
    usage: Usage
    rule: str  # what has chosen the first: Rule, a plain word on the disk
    group: str = ""  # that chose it
    policy: str = ""  # version of the group tariffs
    lost: Any = None  # what was stored and could not be read, kept as it is


class _Stored(Struct, frozen=True):
    rule: str
    usage: Any
    group: str = ""
    policy: str = ""


def begun(
    choice: Choice, begin: Reading, zone: tzinfo, payer: Payer = NOBODY, reserved: Reserved | None = None
) -> Bill | None:
    """Of a session that begins; None: it has no tariff, and costs nothing that this station knows of."""
    if choice.tariff is None:
        return None
    used = usage.begun(choice.tariff, begin.wall_s if begin.source else None, zone, payer, reserved)
    return Bill((choice.tariff,), used, choice.rule.value, choice.group, choice.policy)


def counted(bill: Bill | None, before: Reading, after: Reading, kind: Kind, zone: tzinfo) -> Bill | None:
    """With what came between two readings."""
    if bill is None or not bill.tariffs or after is before:
        return bill
    return replace(bill, usage=usage.counted(bill.tariffs, bill.usage, before, after, kind, zone))


def changed(bill: Bill, tariff: Tariff, now_s: float) -> Bill:
    """ChangeTransactionTariff. Raises TariffRefused. `now_s`: the earliest that it may be."""
    return replace(bill, tariffs=usage.changed(bill.tariffs, tariff, now_s))


def total(bill: Bill | None) -> Cost | None:
    """The one figure of screen and record; None: there is none."""
    return cost(bill.tariffs, bill.usage) if bill and bill.tariffs else None


def details(bill: Bill, *, with_periods: bool) -> dict[str, Any]:
    """OCPP 2.1 CostDetailsType, of the same figure."""
    if not bill.tariffs:
        return not_calculated(UNKNOWN_CURRENCY, LOST)
    return cost_details(bill.tariffs, bill.usage, cost(bill.tariffs, bill.usage), with_periods)


def marks(bill: Bill) -> dict[str, str]:
    """Why this tariff, for the record."""
    if len(bill.tariffs) > 1:
        return {"tariffRule": CHANGED, "tariffVersion": bill.tariffs[-1].version}
    said = {
        "tariffRule": bill.rule, "tariffVersion": bill.tariffs[-1].version if bill.tariffs else "",
        "tariffGroup": bill.group, "tariffPolicy": bill.policy,
    }  # fmt: skip
    return {name: text for name, text in said.items() if text}


def is_of_driver(bill: Bill) -> bool:
    """Whether its tariff is the driver's rather than the EVSE's (OCPP TariffKindEnumType)."""
    return bill.rule in (Rule.CLOUD.value, Rule.GROUP.value) or len(bill.tariffs) > 1


# -- the disk ---------------------------------------------------------------------------------------------------------


def saved(bill: Bill) -> Any:
    """Without its tariffs. What this build could not read another may."""
    if bill.lost is not None:
        return bill.lost["billed"]
    return {"rule": bill.rule, "group": bill.group, "policy": bill.policy, "usage": usage.saved(bill.usage)}


def saved_tariffs(bill: Bill | None) -> Any:
    if bill is not None and bill.lost is not None:
        return bill.lost["tariffs"]
    return [terms.saved(each) for each in bill.tariffs] if bill else None


def restored(billed: Any, tariffs: Any) -> Bill:
    """Never raises: of what cannot be read the bill says that it is lost, and the session goes on."""
    try:
        stored = convert(billed, _Stored)
        read = tuple(map(terms.read, tariffs if isinstance(tariffs, Sequence) else ()))
    except (ValidationError, TariffRefused):
        return Bill((), Usage(), "", lost={"billed": billed, "tariffs": tariffs})
    used = usage.restored(stored.usage, read)
    if used is None:
        return Bill((), Usage(), stored.rule, lost={"billed": billed, "tariffs": tariffs})
    return Bill(read, used, stored.rule, stored.group, stored.policy)
