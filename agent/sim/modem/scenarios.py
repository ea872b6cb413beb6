"""What befalls modems in the field, one row each: `tests/test_modem_scenarios.py` says what is expected of the agent.

A scenario changes a modem that is on and well, from `now` on. The names are what `python -m agent.sim.modem` takes.
"""

from collections.abc import Callable

from msgspec import structs

from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem

Scenario = Callable[[Modem, float], None]
WELL, MINUTE_S, HOUR_S, DAY_S = Network(), 60.0, 3_600.0, 86_400.0


def network_of(modem: Modem) -> Network:
    return modem.network or WELL


def fault(**what: object) -> Scenario:
    def happen(modem: Modem, now: float) -> None:
        for name, value in what.items():
            assert hasattr(modem.faults, name), name
            setattr(modem.faults, name, value)

    return happen


def served(**what: object) -> Scenario:
    """Another network, or the same one changed."""

    def happen(modem: Modem, now: float) -> None:
        modem.cover(structs.replace(network_of(modem), **what), now)

    return happen


def gone_for(seconds: float) -> Scenario:
    def happen(modem: Modem, now: float) -> None:
        network = network_of(modem)
        modem.cover(None, now)
        modem.at(now + seconds, lambda then: modem.cover(network, then))

    return happen


def flapping(period_s: float) -> Scenario:
    return lambda modem, now: modem.flap(network_of(modem), period_s, now, now + DAY_S)


def card(change: Callable[[Card], None]) -> Scenario:
    """Another SIM of its kind is put in."""

    def happen(modem: Modem, now: float) -> None:
        other = Card(modem.card.iccid if modem.card else Card().iccid)
        change(other)
        modem.insert(other, now)

    return happen


def locked(other: Card) -> None:
    other.pin, other.asks_pin = "1234", True


def one_try(other: Card) -> None:
    locked(other)
    other.pin_tries = 1


def puk(other: Card) -> None:
    locked(other)
    other.pin_tries = 0


def dead(other: Card) -> None:
    other.is_dead = True


def foreign(other: Card) -> None:
    other.imsi = "206011234567890"


def swapped(other: Card) -> None:
    other.iccid, other.imsi = "8949020000076543215", "262017654321098"


def reboots(every_s: float) -> Scenario:
    def happen(modem: Modem, now: float) -> None:
        modem.restart(now)
        modem.at(now + every_s, lambda then: happen(modem, then))

    return happen


def babbling(modem: Modem, now: float) -> None:
    """A line of noise each second, as of a port that is shared with a GNSS receiver gone wrong."""
    modem.babble(bytes(modem.random.randrange(256) for _ in range(40)) + b"\r\n")
    modem.at(now + 1.0, lambda then: babbling(modem, then))


def deregistered(modem: Modem, now: float) -> None:
    """By a command that somebody has sent, +COPS=2."""
    modem.cops_mode = 2
    modem.settle(now)


SCENARIOS: dict[str, Scenario] = {
    "well": lambda modem, now: None,
    "hang": lambda modem, now: modem.hang(now),
    "reboot": lambda modem, now: modem.restart(now),
    "reboots": reboots(2 * MINUTE_S),
    "off": lambda modem, now: modem.power(False, now),
    "no-sim": lambda modem, now: modem.pull(now),
    "sim-locked": card(locked),
    "sim-one-try": card(one_try),
    "sim-puk": card(puk),
    "sim-dead": card(dead),
    "sim-swapped": card(swapped),
    "roaming": card(foreign),
    "no-coverage": lambda modem, now: modem.cover(None, now),
    "short-gap": gone_for(10.0),
    "long-gap": gone_for(10 * MINUTE_S),
    "flapping": flapping(20.0),
    "denied": served(refuses=11),
    "illegal": served(refuses=3),
    "sunset": served(acts=(7,)),
    "only-3g": served(acts=(2,)),
    "data-only": served(is_data_only=True),
    "weak": served(rssi_dbm=-109, rsrp_dbm=-122, rsrq_db=-17.5, sinr_db=-4.0),
    "wrong-apn": served(apns=("iot.example",)),
    "attach-fails": fault(fails_attach=148),
    "garbage": fault(noise=0.02),
    "babble": babbling,
    "second-final": fault(second_final={"+CSIM", "+CPIN"}),
    "no-final": fault(no_final={"+CPIN"}),
    "late": fault(late={"+COPS": 60.0, "+CSQ": 5.0}),
    "lost": fault(lost={"+CGSN", "+CIMI"}),
    "double-cr": fault(doubles_cr=True),
    "stuck-call": fault(ignores_escape=True),
    "dead-call": fault(dies_in_call=True),
    "other-speed": lambda modem, now: setattr(modem, "baud", 9_600),
    "deregistered": deregistered,
    "radio-off": lambda modem, now: modem.set_fun(4, now),
}
