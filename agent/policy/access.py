"""Who may use the station, and when: the owner's access policy, decided at the plug.

Its rules are read from the top. The first that names the driver and is open decides; where some name him and all are
closed, he reads when the first of them opens; where none does, the station is not for him. At closing time the same
walk is made for who is charging: another rule may hold from then on.

Pure; wall times are seconds since 1970, `zone` is the site's. While the time is unknown, hours are kept for nobody who
is named by a group or is connected, and against those who are merely anybody.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from math import inf
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from agent.policy.hours import DAY_S, DatedHours, Hours, local, next_change_s, opening_hours
from agent.policy.hours import is_open as is_open_at
from agent.settings import plain_text

RULES_MAX = 100
GROUPS_MAX = 20_000  # over all rules
GROUP = Annotated[str, Meta(min_length=1, max_length=255)]  # OCPP 2.1: identifierString[255]
LIMIT_MAX_S = 7 * 86_400


class Who(StrEnum):
    """Whom a rule names."""

    EVERYONE = "everyone"
    CONNECTED = "connected"  # whoever the organization has approved, in any group
    GROUPS = "groups"


class Visible(StrEnum):
    """To whom the station is on the map. It carries and reports the owner's choice (R6)."""

    EVERYONE = "everyone"
    USABLE = "usable"  # those who may use it
    NOBODY = "nobody"


class AtClosing(StrEnum):
    FINISH = "finish"  # who charges goes on until he is done
    STOP = "stop"


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    name: Annotated[str, plain_text(40), Meta(min_length=1)]
    who: Who
    groups: Annotated[tuple[GROUP, ...], Meta(max_length=GROUPS_MAX)] = ()
    hours: Hours | None = None  # None: at all times
    session_limit_s: Annotated[int, Meta(ge=60, le=LIMIT_MAX_S)] | None = None  # plugged in and authorised, at most
    limit_stops: bool = True  # False: the driver is only asked to leave
    overstay_s: Annotated[int, Meta(ge=0, le=LIMIT_MAX_S)] | None = None  # how long a car may stay that draws nothing


class Policy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """No rules: nobody."""

    policy_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,36}\Z")]
    version: Annotated[int, Meta(ge=1, le=2**53)]
    rules: Annotated[tuple[Rule, ...], Meta(max_length=RULES_MAX)] = ()
    at_closing: AtClosing = AtClosing.FINISH
    warning_s: Annotated[int, Meta(ge=0, le=3_600)] = 600  # before a session is stopped
    visible: Visible | None = None  # on the map; None: as the activation says, else everyone


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy, ready to be asked."""

    policy: Policy
    rules: tuple[Rule, ...]  # its own, each night of the week told by the two days that it lies in
    by_group: Mapping[str, tuple[int, ...]]  # numbers of the rules that name it
    dated: tuple[DatedHours, ...] = ()  # the days on which some rule has other hours than the week's, each once
    standing: dict[int, "Standing"] = field(default_factory=dict, compare=False, repr=False)  # as last worked out


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule with hours stands, from one instant until before another: to look for its next change takes long, and
    who taps shall not wait for it."""

    zone: tzinfo
    from_s: float
    until_s: float
    is_open: bool
    changes_s: float | None  # None: never, or so late that nobody counts on it


@dataclass(frozen=True, slots=True)
class Allowed:
    rule: str
    until_s: float | None = None  # it closes then; None: never, or nobody knows what time it is
    session_limit_s: int | None = None
    limit_stops: bool = True
    overstay_s: int | None = None
    is_time_known: bool = True  # False: the rule has hours, and nobody could look at the clock
    policy: str = ""  # that the rule is of, id@version


@dataclass(frozen=True, slots=True)
class Closed:
    """`rule` names the driver and opens first."""

    rule: str
    opens_s: float | None  # None: never again, or nobody knows what time it is


@dataclass(frozen=True, slots=True)
class NotFor:
    """No rule names this driver."""


Access = Allowed | Closed | NotFor


class Refused(Exception):
    """The policy is not taken; the text says in one sentence why."""


def ready(policy: Policy) -> Rules:
    by_group: dict[str, tuple[int, ...]] = {}
    for number, rule in enumerate(policy.rules):
        for group in rule.groups:
            by_group[group] = (*by_group.get(group, ()), number)
    dated = {(each.day, each.each_year): each for rule in policy.rules if rule.hours for each in rule.hours.dated}
    return Rules(policy, tuple(map(by_the_day, policy.rules)), by_group, tuple(dated.values()))


def by_the_day(rule: Rule) -> Rule:
    """Opening hours belong to the day on which they begin; a Span asks each instant for its own."""
    return rule if rule.hours is None else structs.replace(rule, hours=opening_hours(rule.hours))


def name_of(policy: Policy) -> str:
    """For records."""
    return f"{policy.policy_id}@{policy.version}"


def access(rules: Rules, groups: Collection[str], at_s: float | None, zone: tzinfo, *, is_connected: bool) -> Access:
    """May a driver of these groups start now? `is_connected`: the allowlist, or the cloud, has approved him."""
    closed: list[tuple[float, str]] = []
    for number in naming(rules, groups, is_connected=is_connected):
        rule = rules.rules[number]
        is_open, changes_s = stands(rules, number, at_s, zone)
        if is_open:
            return Allowed(
                rule.name, changes_s, rule.session_limit_s, rule.limit_stops, rule.overstay_s,
                is_time_known=rule.hours is None or at_s is not None, policy=name_of(rules.policy),
            )  # fmt: skip
        assert rule.hours is not None, "what has no hours is open"
        closed.append((inf if changes_s is None else changes_s, rule.name))
    if not closed:
        return NotFor()
    first_s, name = min(closed, key=itemgetter(0))
    return Closed(name, None if first_s == inf else first_s)


def naming(rules: Rules, groups: Collection[str], *, is_connected: bool) -> Iterator[int]:
    """The numbers of the rules that name this driver, from the top."""
    numbers = {number for group in groups for number in rules.by_group.get(group, ())}
    for number, rule in enumerate(rules.rules):
        if rule.who is Who.EVERYONE or (rule.who is Who.CONNECTED and is_connected) or number in numbers:
            yield number


@dataclass(frozen=True, slots=True)
class Opening:
    """What the idle screen says: for whom it is open now, and, if for fewer than it will be, when that changes."""

    everyone: bool
    connected: bool
    groups: bool  # somebody at least
    changes_s: float | None  # the next opening or closing of any rule


def opening(rules: Rules, at_s: float | None, zone: tzinfo) -> Opening:
    found = [stands(rules, number, at_s, zone) for number in range(len(rules.rules))]
    named = {rule.who for rule, (is_open, _) in zip(rules.rules, found, strict=True) if is_open}
    return Opening(
        everyone=Who.EVERYONE in named, connected=Who.CONNECTED in named, groups=bool(named),
        changes_s=min((changes_s for _, changes_s in found if changes_s is not None), default=None),
    )  # fmt: skip


def is_holiday(rules: Rules, at_s: float | None, zone: tzinfo) -> bool:
    """Whether this day has other hours than the week's, for anybody."""
    if at_s is None or not rules.dated:
        return False
    today = local(at_s, zone).date()
    return any(each.is_on(today) for each in rules.dated)


def next_opening(rules: Rules, at_s: float, zone: tzinfo) -> tuple[float, Rule] | None:
    """When a rule that is closed now opens, and which; None: none does."""
    openings = []
    for number, rule in enumerate(rules.rules):
        is_open, changes_s = stands(rules, number, at_s, zone)
        if not is_open and changes_s is not None:
            openings.append((changes_s, rule))
    return min(openings, key=itemgetter(0), default=None)


def stands(rules: Rules, number: int, at_s: float | None, zone: tzinfo) -> tuple[bool, float | None]:
    """Whether a rule is open, and when that changes; None: never, or nobody knows what time it is."""
    rule = rules.rules[number]
    if rule.hours is None:
        return True, None
    if at_s is None:
        return rule.who is not Who.EVERYONE, None
    known = rules.standing.get(number)
    if known is None or known.zone is not zone or not known.from_s <= at_s < known.until_s:
        known = rules.standing[number] = worked_out(rule.hours, at_s, zone)
    return known.is_open, known.changes_s


def worked_out(hours: Hours, at_s: float, zone: tzinfo) -> Standing:
    """What has no next change that anybody sees may have one tomorrow."""
    changes_s = next_change_s(hours, at_s, zone)
    until_s = at_s + DAY_S if changes_s is None else changes_s
    return Standing(zone, at_s, until_s, is_open_at(hours, at_s, zone), changes_s)


# -- reading ----------------------------------------------------------------------------------------------------------


def read(said: Any) -> Policy:
    """What the operator has signed, as JSON-like values. Refused, with one sentence."""
    try:
        policy = msgspec.convert(said, Policy)
    except msgspec.ValidationError as error:
        raise Refused(f"the access policy cannot be read: {error}") from None
    if why := contradiction(policy):
        raise Refused(why)
    return policy


def contradiction(policy: Policy) -> str:
    """What the types let pass; "" if nothing is wrong."""
    if sum(len(rule.groups) for rule in policy.rules) > GROUPS_MAX:
        return f"over {GROUPS_MAX} groups in all rules: put drivers into fewer groups"
    names = [rule.name for rule in policy.rules]
    for rule in policy.rules:
        if names.count(rule.name) > 1:
            return f"two rules are called {rule.name!r}: records could not say which of them decided"
        if (rule.who is Who.GROUPS) != bool(rule.groups):
            return f"rule {rule.name!r}: groups belong to a rule for groups, and to no other"
        if rule.hours is not None and (why := unclear(rule.hours)):
            return f"rule {rule.name!r}: {why}"
    return ""


def unclear(hours: Hours) -> str:
    days = [dated.day for dated in hours.dated]
    return "a day is listed twice among its dates" if len(set(days)) < len(days) else ""


def saved(policy: Policy | None) -> Any:
    return None if policy is None else msgspec.to_builtins(policy)


def restored(fact: Any) -> Policy | None:
    """None: there is none, or this software cannot read it."""
    try:
        return None if fact is None else read(fact)
    except Refused:
        return None
