"""Which rule decides about this card, now or at another time, and why: the walk of the core, written down.

The question is put exactly as a tap puts it (agent/taps.py): whether the tap stops a session, which port it is for,
then RULES from the top. What comes out is what the driver would see, with the codes that the log would show.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import msgspec

from agent import billing, life
from agent.clock import Clock, ClockSource, earliest, iso8601, told, wall
from agent.core import born
from agent.events import AuthorizationStatus, Entry, ListState, Report
from agent.policy import plan_token, reservation, sharing
from agent.policy.access import name_of
from agent.policy.authorize import Accept, Decision, Opinion, Refuse, walk
from agent.policy.authorize import Ask as AskCloud
from agent.policy.freshness import age_s, follows
from agent.policy.id_token import UID_LENGTHS, masked, normalised
from agent.policy.reasons import WORDS, Reason
from agent.policy.reservation import Reservation
from agent.policy.tariff.choice import Choice, Rule
from agent.port import Port
from agent.settings import ConfigError, Settings, shown
from agent.station import Ask, Boot, BootReason, Stage, Station
from agent.taps import (
    CHOICE_S,
    aimed_at,
    port_of,
    question,
    stops_instead,
    to_stop,
)
from agent.wizard import readiness


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`rules` holds every rule that was asked, with its opinion; the last one decided."""

    card: str  # normalised
    evse_id: int | None  # the port the tap is for; None: the next one plugged in, or chosen
    rules: tuple[tuple[str, str], ...]
    decision: str  # start | stop | ask | refuse
    text: str  # what the driver reads, and what to do about it
    owner: str = ""  # what the owner can do about it, if he can
    rule: str = ""  # that decided, as records name it
    access_policy: str = ""  # in force, id@version
    reason: str | None = None
    status: str | None = None  # OCPP 2.1 AuthorizationStatusEnumType; None while the cloud has to be asked
    code: str | None = None  # log code
    unanswered: str | None = None  # `ask` only: what happens if the cloud does not answer
    list_version: int = 0
    list_entries: int = 0
    list_age_s: float | None = None  # since the cloud last called it current; None: unknown
    list_follows: str = ""  # from its age, for drivers; "" while it is fresh
    clock: str = ""
    life: str = ""  # where the station is in its life, and to whom it is visible
    plan: str = ""  # its plan tokens; "": none came
    reservation: str = ""  # that the tap would use up, or that keeps the port
    limits: str = ""  # `start` only: what the owner's rule wants of the session
    tariff: str = ""  # which would count, and why; of a stop: which does
    waits: str = ""  # `stop` only: when the turn of the session that it would stop comes
    until: str | None = None  # `refuse` only: it is another answer then, as far as anybody knows


def explain(
    station: Station, id_token: str, listed: Entry | None, cached: Entry | None, evse_id: int | None, now: float
) -> Explanation:
    """`id_token` is normalised; `evse_id`: as if its button had been pressed. ConfigError: no such port."""
    if evse_id is not None:
        if port_of(station, evse_id) is None:
            known = ", ".join(str(port.evse_id) for port in station.ports)
            raise ConfigError(f"there is no port {evse_id} here: type --port and one of {known}")
        station = replace(station, chosen=(evse_id, now + CHOICE_S))
    target = aimed_at(station, id_token, now)
    ask = Ask(0, id_token, target.evse_id, target.choose, target.blocked, now, now, Stage.LOOKUP, listed, cached)
    if (stop := stops(station, ask, now)) is not None:
        port, rule = stop
        words = {"evse_id": port.evse_id, "rules": ((rule, f"stop it at port {port.evse_id}"),), **stopping(port)}
        words["tariff"], words["waits"] = billed(port), turn_text(station, port, now)
    else:
        rules, decision = walked(station, ask, now)
        words = {"evse_id": ask.evse_id, "rules": rules, "rule": decision.rule, **outcome(decision, ask)}
        words["tariff"] = tariff_text(station, decision, ask.evse_id, now)
        words["reservation"], words["limits"] = reservation_text(station, ask, decision), limits_text(decision)
        if isinstance(decision, AskCloud):
            words["unanswered"] = spelled(walked(station, replace(ask, stage=Stage.ONLINE), now)[1])
    return msgspec.convert({"card": id_token, **words, **basis(station, now)}, Explanation)


def stops(station: Station, ask: Ask, now: float) -> tuple[Port, str] | None:
    """The session that the tap would stop instead of starting one, and by what right."""
    if (own := to_stop(station, ask.id_token, now)) is not None:
        return own, "the card's own session runs"
    entry = ask.listed or ask.cached
    other = stops_instead(station, ask, entry, now) if entry else None
    return (other[0], f"a session runs that it may stop ({other[1]})") if other else None


def stopping(port: Port) -> dict[str, object]:
    text = f"Charging at port {port.evse_id} stops."
    return {"decision": "stop", "status": str(AuthorizationStatus.ACCEPTED), "text": text}


def walked(station: Station, ask: Ask, now: float) -> tuple[tuple[tuple[str, str], ...], Decision]:
    steps = list(walk(question(station, ask, None, now), now))
    decision = steps[-1][1]
    assert decision is not None, "the last rule always decides"
    return tuple((name, spelled(opinion)) for name, opinion in steps), decision


def spelled(opinion: Opinion) -> str:
    match opinion:
        case None:
            return "no opinion"
        case Accept(groups=groups, access=access):
            said = f"accept ({', '.join(sorted(groups))})" if groups else "accept"
            return f"{said}, by the owner's rule {access.rule!r}" if access else said
        case Refuse(rule=rule, reason=reason):
            return f"refuse: {reason}{f' ({rule})' if rule.startswith('access') else ''}"
        case AskCloud(timeout_s=timeout_s):
            return f"ask, for up to {timeout_s:g} s"


def outcome(decision: Decision, ask: Ask) -> dict[str, object]:
    """What the driver sees and the log says."""
    match decision:
        case AskCloud():
            return {"decision": "ask", "text": "The cloud decides."}
        case Refuse(reason=reason, until_s=until_s):
            until = None if until_s is None else iso8601(until_s)
            return {"decision": "refuse", "until": until, **words_of(reason)}
    if ask.choose:
        return {"decision": "start", **words_of(Reason.CHOOSE_PORT)}
    where = "at the next port that is plugged in" if ask.evse_id is None else f"at port {ask.evse_id}"
    return {"decision": "start", "status": str(AuthorizationStatus.ACCEPTED), "text": f"Charging starts {where}."}


def tariff_text(station: Station, decision: Decision, evse_id: int | None, now: float) -> str:
    """Of a session that this tap would start; where the port is not known yet, of each where they differ."""
    match decision:
        case Accept(groups=groups):
            return at_ports(station, evse_id, groups, now)
        case AskCloud():
            other = at_ports(station, evse_id, frozenset(), now)
            return f"the one of the cloud's answer or of its group, else {other}"
    return ""


def reservation_text(station: Station, ask: Ask, decision: Decision) -> str:
    """"" where there is none, or it is nobody's of these."""
    held, groups = station.owner.reservations, decision.groups if isinstance(decision, Accept) else frozenset()
    mine = reservation.own(held, ask.evse_id, ask.id_token, groups)
    if isinstance(decision, Accept) and mine is not None:
        return f"uses {named(mine)}"
    if isinstance(decision, Refuse) and decision.reason is Reason.RESERVED:
        kept = [each for each in held if each.evse_id == ask.evse_id] or [each for each in held if not each.evse_id]
        return f"kept by {', '.join(map(named, kept))}"
    return ""


def named(it: Reservation) -> str:
    where = f"port {it.evse_id}" if it.evse_id else "any port"
    return f"reservation {it.reservation_id} of {masked(it.id_token)} for {where}, until {iso8601(it.expires_s)}"


def limits_text(decision: Decision) -> str:
    allowed = decision.access if isinstance(decision, Accept) else None
    if allowed is None:
        return ""
    said = [] if allowed.until_s is None else [f"closes {iso8601(allowed.until_s)}"]
    if allowed.session_limit_s is not None:
        then = "then it stops" if allowed.limit_stops else "then the driver is asked to leave"
        said.append(f"{allowed.session_limit_s / 60:g} min at most, {then}")
    if allowed.overstay_s is not None:
        said.append(f"{allowed.overstay_s / 60:g} min without charging")
    return "; ".join(said)


def at_ports(station: Station, evse_id: int | None, groups: frozenset[str], now: float) -> str:
    ports = [port.evse_id for port in station.ports] if evse_id is None else [evse_id]
    told = {port: chosen(billing.choice(station, port, groups, now)) for port in ports}
    if len(set(told.values())) == 1:
        return told[ports[0]]
    return "; ".join(f"at port {port} {text}" for port, text in told.items())


def turn_text(station: Station, port: Port, now: float) -> str:
    """"" where it does not wait for its turn at the circuit, or nobody can tell."""
    left_s = sharing.turn_s(station.sharing, port.evse_id - 1, now)
    return "" if left_s is None else f"its turn at the circuit comes in {ceil(left_s / 60)} min at the latest"


def chosen(choice: Choice) -> str:
    if choice.tariff is None:
        return str(choice.rule)
    policy = f" by group tariffs {choice.policy}" if choice.policy else ""
    group = f" {choice.group}" if choice.group else ""
    return f"{choice.rule}{group}{policy}: {choice.tariff.tariff_id}, version {choice.tariff.version}"


def billed(port: Port) -> str:
    bill = port.transaction.bill if port.transaction else None
    if bill is None or not bill.tariffs:
        return str(Rule.NONE)
    return f"{bill.rule}: {bill.tariffs[-1].tariff_id}, version {bill.tariffs[-1].version}"


def words_of(reason: Reason) -> dict[str, object]:
    words = WORDS[reason]
    text = f"{words.text} {words.action}"
    return {"reason": str(reason), "status": str(words.status), "code": words.code, "text": text, "owner": words.owner}


def basis(station: Station, now: float) -> dict[str, object]:
    """What the decision rested on: how old the list is, and what time it is."""
    state, old_s = station.allowlist, age_s(station.allowlist, station.clock, now)
    rules = life.rules(station)
    return {
        "access_policy": name_of(rules.policy) if rules else "",
        "list_version": state.version,
        "list_entries": state.entries,
        "list_age_s": old_s,
        "list_follows": follows(old_s, station.settings.list_grace_days),
        "clock": clock_text(station, now),
        "life": life_text(station),
        "plan": plan_text(station, now),
    }


def life_text(station: Station) -> str:
    return f"{readiness.state(station)}, on the map for {life.visible(station)}"


def plan_text(station: Station, now: float) -> str:
    """Each token with its state (I6), in the order in which they begin."""
    held = station.owner.tokens
    found, is_activated = plan_token.plan(held, station.clock, now), station.settings.activated
    return "; ".join(
        f"{each.name} ({each.issue}) {plan_token.state_of(each, found, is_activated=is_activated)}, "
        f"{iso8601(each.begins_s)} to {iso8601(each.ends_s)}"
        for each in sorted(held, key=lambda each: (each.begins_s, each.issue))
    )


def clock_text(station: Station, now: float) -> str:
    wall_s = wall(station.clock, now)
    if wall_s is None:
        return f"unknown, not before {iso8601(earliest(station.clock, now))}"
    return f"{iso8601(wall_s)}, told by {station.clock.source.name.lower()}"


def at_time(station: Station, at_s: float | None, now: float) -> Station:
    """The same station, had the cloud told it this time (seconds since 1970) just now."""
    return station if at_s is None else replace(station, clock=told(station.clock, at_s, ClockSource.CLOUD, now))


def offline_station(
    settings: Settings, port_count: int, facts: Mapping[str, Any], wall_s: float | None, list_state: ListState
) -> Station:
    """The station as its files tell while no agent runs: idle ports without a fault, since nobody can look at them."""
    station, _ = born(settings, Boot("", 0.0, BootReason.UNKNOWN), Clock(), port_count, facts, [0.0] * port_count, 0.0)
    clock = station.clock if wall_s is None else told(station.clock, wall_s, ClockSource.RTC, 0.0)
    ports = tuple(replace(port, report=Report()) for port in station.ports)
    return replace(station, clock=clock, ports=ports, allowlist=list_state)


def card_of(text: str) -> str:
    """The card as the core knows it. ConfigError says what a card id looks like."""
    card = normalised(text)
    if card is None:
        digits = " or ".join(str(2 * length) for length in UID_LENGTHS)
        raise ConfigError(f"{shown(text)} is no card id: type its {digits} hexadecimal digits")
    return card


def as_text(it: Explanation, support_number: str = "") -> str:
    """The explanation for a human: the walk, what came of it, what it rested on."""
    width = max(len(rule) for rule, _ in it.rules)
    lines = [f"card {it.card}, {'port not known yet' if it.evse_id is None else f'port {it.evse_id}'}"]
    lines += [f"  {rule:{width}}  {opinion}" for rule, opinion in it.rules]
    marks = ", ".join(mark for mark in (it.reason, it.status, it.code) if mark)
    lines.append(f"=> {it.decision}" + (f" ({marks})" if marks else ""))
    lines.append(f"   {it.text}" + (f" Support: {support_number}" if support_number and it.reason else ""))
    if it.rule:
        lines.append(f"   Rule: {it.rule}" + (f", access policy {it.access_policy}" if it.access_policy else ""))
    if it.until:
        lines.append(f"   Until {it.until}")
    if it.owner:
        lines.append(f"   Owner: {it.owner}")
    if it.unanswered:
        lines.append(f"   If the cloud does not answer: {it.unanswered}")
    if it.reservation:
        lines.append(f"   Reservation: {it.reservation}")
    if it.limits:
        lines.append(f"   Limits: {it.limits}")
    if it.tariff:
        lines.append(f"   Tariff: {it.tariff}")
    if it.waits:
        lines.append(f"   Waits: {it.waits}")
    age = "never called current" if it.list_age_s is None else f"called current {it.list_age_s / 3600:.1f} h ago"
    lines.append(f"list version {it.list_version}, {it.list_entries} cards, {age}; clock {it.clock}")
    if it.list_follows:
        lines.append(f"   {it.list_follows}")
    lines.append(f"station {it.life}" + (f"; plan {it.plan}" if it.plan else ""))
    return "\n".join(lines)
