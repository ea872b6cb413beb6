"""Prices in words: what charging costs before it begins, for whoever stands there, and what it has cost so far."""

from decimal import Decimal

from agent import billing
from agent.events import Link
from agent.policy.tariff.choice import PriceFact, PriceFacts
from agent.policy.tariff.cost import Cost
from agent.policy.tariff.money import PLACES_MAX, exponent
from agent.policy.tariff.terms import Dimension
from agent.port import Port
from agent.station import Station
from agent.ui.model import Figure
from agent.ui.shown import until_text
from agent.ui.words import LANGUAGES, Say

PER: dict[Dimension, str] = {  # those of a reservation its maker was told elsewhere
    Dimension.ENERGY: "{price} {currency} per kWh",
    Dimension.CHARGING_TIME: "{price} {currency} per minute of charging",
    Dimension.IDLE_TIME: "{price} {currency} per idle minute",
    Dimension.FIXED_FEE: "{price} {currency} to start",
}


def station_price(station: Station, now: float, say: Say) -> str:
    """What charging costs whoever comes; never nothing at all (WAC 16-662-210)."""
    chosen = [billing.choice(station, port.evse_id, (), now).tariff for port in station.ports]
    told = [priced(station, billing.facts(station, each, now), now, say) if each else "" for each in chosen]
    if len(set(told)) > 1:
        ports = zip(station.ports, told, strict=True)
        texts = (say("Port {n}: {price}", n=port.evse_id, price=text) for port, text in ports if text)
        return say.joined(*texts)
    general = say.isolated(owners_words(station)) or say("The price is in the app.")
    return told[0] or general


def owners_words(station: Station) -> str:
    """While no tariff says what charging costs."""
    said = station.settings
    is_offline = station.link is Link.DOWN and said.tariff_text_offline
    return said.tariff_text_offline if is_offline else said.tariff_text


def port_price(station: Station, port: Port, now: float, say: Say) -> str:
    """Of who charges here, or may start; else of whoever comes. Empty where only the station's own words tell."""
    tariff = billing.shown_tariff(station, port, now)
    return priced(station, billing.facts(station, tariff, now), now, say) if tariff else ""


def priced(station: Station, facts: PriceFacts, now: float, say: Say) -> str:
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
