"""Prices in words: what charging costs before it begins, for whoever stands there, and what it has cost so far."""

import re
from collections.abc import Sequence
from decimal import Decimal

from agent import billing, life
from agent.events import Link
from agent.policy.access import Who
from agent.policy.display_message import CHARS_MAX
from agent.policy.lifecycle import Starts
from agent.policy.tariff.choice import PriceFact, PriceFacts
from agent.policy.tariff.cost import Cost
from agent.policy.tariff.money import PLACES_MAX, exponent
from agent.policy.tariff.terms import Dimension, Tariff
from agent.port import Port
from agent.settings import PLAIN
from agent.station import Station
from agent.ui.model import Figure
from agent.ui.shown import until_text
from agent.ui.words import LANGUAGES, Say, language_of

PER: dict[Dimension, str] = {  # those of a reservation its maker was told elsewhere
    Dimension.ENERGY: "{price} {currency} per kWh",
    Dimension.CHARGING_TIME: "{price} {currency} per minute of charging",
    Dimension.IDLE_TIME: "{price} {currency} per idle minute",
    Dimension.FIXED_FEE: "{price} {currency} to start",
}

OWN_MAX = 2  # prices of groups that are told to whoever comes; of more, that there are more


def station_price(station: Station, now: float, say: Say) -> str:
    """What charging costs whoever comes; never nothing at all (WAC 16-662-210)."""
    return offered_price(station, station.ports, now, say)


def offered_price(station: Station, ports: Sequence[Port], now: float, say: Say) -> str:
    """At these ports, before anybody is known: the public price, and that of groups which have another one (D8)."""
    is_for_others, tariffs = who_comes(station)
    public = public_price(station, ports, now, say)
    own = list(dict.fromkeys(priced(station, tariff, now, say) for tariff in tariffs))
    if is_for_others:
        own = [text for text in own if text != public]
    if not own or (len(own) == 1 and not is_for_others):
        return own[0] if own else public
    first = say("Public: {price}" if is_public(station) else "Connected drivers: {price}", price=public)
    return say.joined(
        first if is_for_others else "",
        *(say("Some connected drivers: {price}", price=text) for text in own[:OWN_MAX]),
        say("Some have another price, which is shown when they tap their card.") if len(own) > OWN_MAX else "",
    )


def who_comes(station: Station) -> tuple[bool, tuple[Tariff, ...]]:
    """Whether somebody may start here whose groups have no tariff; and the tariffs of those who have. The access
    policy's hours do not count: for whom it is open just now stands beside the price."""
    rules, said = life.rules(station), station.owner.group_tariffs
    if life.is_free(station) or not said.tariffs:
        return True, ()
    if rules is None or not all(rule.who is Who.GROUPS for rule in rules.rules):
        return True, said.tariffs
    named, with_tariff = rules.by_group.keys(), said.groups.keys()
    found = {said.groups[group] for group in named & with_tariff}
    own = tuple(tariff for index, tariff in enumerate(said.tariffs) if index in found)
    return not own or not named <= with_tariff, own


def is_public(station: Station) -> bool:
    """Whether one need not be connected."""
    rules = life.rules(station)
    return life.is_free(station) or (rules is not None and any(rule.who is Who.EVERYONE for rule in rules.rules))


def public_price(station: Station, ports: Sequence[Port], now: float, say: Say) -> str:
    """Of whoever has no group."""
    chosen = [billing.choice(station, port.evse_id, (), now).tariff for port in ports]
    told = [priced(station, each, now, say) if each else "" for each in chosen]
    if len(set(told)) > 1:
        of_ports = zip(ports, told, strict=True)
        return say.joined(*(say("Port {n}: {price}", n=port.evse_id, price=text) for port, text in of_ports if text))
    return told[0] or general_price(station, say)


def general_price(station: Station, say: Say) -> str:
    """Where no tariff tells."""
    if life.row(station).local is Starts.FREELY:
        return say("Charging is free.")
    return say.isolated(owners_words(station)) or say("The price is in the app.")


def owners_words(station: Station) -> str:
    """While no tariff says what charging costs."""
    said = station.settings
    is_offline = station.link is Link.DOWN and said.tariff_text_offline
    return said.tariff_text_offline if is_offline else said.tariff_text


def port_price(station: Station, port: Port, now: float, say: Say) -> str:
    """Of the session here, or of who may start; else of whoever comes. Empty where none is known of the session."""
    if port.transaction is None and not port.served and port.grant is None:
        return offered_price(station, (port,), now, say)
    tariff = billing.shown_tariff(station, port, now)
    if tariff:
        return priced(station, tariff, now, say)
    return general_price(station, say) if port.grant else ""


def priced(station: Station, tariff: Tariff, now: float, say: Say) -> str:
    """What we know of it, and then what its owner says."""
    facts = billing.facts(station, tariff, now)
    return say.joined(parts(station, facts, now, say), described(tariff, say))


def described(tariff: Tariff, say: Say) -> str:
    """The owner's own words for it, in the display's language if he has said them so; one line of plain text."""
    plain = [text for text in tariff.texts if len(text.content) <= CHARS_MAX and re.match(PLAIN, text.content)]
    by_language = {language_of(text.language): text.content for text in reversed(plain)}
    first = plain[0].content if plain else ""
    return say.quoted(by_language.get(say.language) or by_language.get("") or first)


def parts(station: Station, facts: PriceFacts, now: float, say: Say) -> str:
    if facts.is_free:
        return say("Charging is free.")
    lines = [line_text(line, facts.currency, say) for line in facts.lines if line.most and line.dimension in PER]
    listed = say("{prices}.", prices=say.listed(lines)) if lines else ""
    least, most, currency = facts.min_cost, facts.max_cost, facts.currency
    return say.joined(
        listed,
        say("At least {price} {currency}.", price=amount(least, currency, say), currency=currency) if least else "",
        say("At most {price} {currency}.", price=amount(most, currency, say), currency=currency) if most else "",
        until_text(station, facts.until_s, now, say),
    )


def line_text(line: PriceFact, currency: str, say: Say) -> str:
    """What it costs now; of what costs nothing at first, what it comes to and when."""
    at = line.most if line.now is None else line.now
    text = say(PER[line.dimension], price=amount(at, currency, say), currency=currency)
    if line.now is None and line.free_s is not None:
        return say("{text} after {n} min", text=text, n=-(-line.free_s // 60))
    if line.now is None:
        return say("up to {text}", text=text)
    most = amount(line.most, currency, say)
    return text if line.now == line.most else say("{text} (up to {price})", text=text, price=most)


def amount(value: Decimal, currency: str, say: Say) -> str:
    """A price with tax: all its places up to six, and those of the currency at least."""
    text = f"{round(value, PLACES_MAX).normalize() + 0:f}"
    places = max(exponent(currency), len(text.partition(".")[2]))
    return f"{round(value, places):f}".replace(".", LANGUAGES[say.language].decimal)


def cost_figure(cost: Cost | None, say: Say) -> tuple[Figure, ...]:
    """The total with tax, as in the record."""
    return (Figure("cost", cost_number(cost, say), cost.currency),) if cost else ()


def cost_number(cost: Cost, say: Say) -> str:
    return cost.text.replace(".", LANGUAGES[say.language].decimal)


def cost_text(cost: Cost | None, say: Say) -> str:
    return say("{price} {currency}", price=cost_number(cost, say), currency=cost.currency) if cost else ""
