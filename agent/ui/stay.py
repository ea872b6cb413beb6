"""What a driver is told of his stay: when the owner wants his car gone, and what an idle minute costs. Pure."""

from agent import billing, owner
from agent.policy.tariff.usage import Kind
from agent.port import Port
from agent.station import Station
from agent.ui.price import line_text
from agent.ui.words import Say, clock_face


def stay(station: Station, port: Port, now: float, say: Say) -> str:
    """From the warning on; "" while nobody asks him to leave."""
    left_s = owner.leave_s(station, port, now)
    if left_s is None:
        return ""
    if left_s > 0:
        asked = say("Your car may stay {time} more.", time=clock_face(int(left_s)))
    else:
        asked = say("Your car has stayed too long: please make room.")
    return say.joined(asked, idle_cost(station, port, now, say))


def idle_cost(station: Station, port: Port, now: float, say: Say) -> str:
    """While it is the driver's own time that passes; "" if the tariff knows no price for it."""
    if billing.kind(station, port) is not Kind.IDLE:
        return ""
    line = billing.idle_price(station, port, now)
    tariff = billing.shown_tariff(station, port, now)
    return say("Staying costs {price}.", price=line_text(line, tariff.currency, say)) if line and tariff else ""
