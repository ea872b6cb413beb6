"""The steps of the install wizard: one row each. The same table stands in docs/installing.md; a test keeps them equal.

A step passes on evidence, not because somebody has pressed a key. The installer may always walk on; what a step leaves
open either keeps the hand-over closed (`Open.NO`) or goes into its report as an open item.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agent import selftest
from agent.selftest import Result
from agent.station import Station
from agent.wizard import readiness
from agent.wizard.facts import STEPS, Sentence, Step


class Open(StrEnum):
    """Whether the hand-over may happen without this step; as the table in the docs says it."""

    NO = "no"
    LISTED = "yes, as an open item"
    FREE = "yes"


Missing = Callable[[Station, float], Sentence | None]  # None: it passes


@dataclass(frozen=True, slots=True)
class Row:
    step: Step
    title: str  # on the display
    asks: str
    evidence: str
    passes: str  # when
    skip: Open
    again: str  # on re-entry
    missing: Missing


# -- when a step passes -----------------------------------------------------------------------------------------------


def nothing(station: Station, now: float) -> Sentence | None:
    return None


def names(station: Station, now: float) -> Sentence | None:
    told = station.wizard.installer and station.wizard.company
    return None if told else Sentence("Enter the installer's name and the company.")


def of_item(item: readiness.Item) -> Sentence | None:
    return None if item.is_met else item.evidence


def identity(station: Station, now: float) -> Sentence | None:
    return of_item(readiness.identity(station))


def self_test(station: Station, now: float) -> Sentence | None:
    results = selftest.results(station, now)
    if bad := [part for part in results if part.result is Result.FAILED]:
        return Sentence("{n} parts have failed.", {"n": len(bad)}) if len(bad) > 1 else Sentence("A part has failed.")
    if any(part.result is Result.RUNNING for part in results):
        return Sentence("The self-test is running.")
    if not all(item.is_met for item in readiness.ports(station)):
        return Sentence("A port is out of service.")
    return None


def circuit(station: Station, now: float) -> Sentence | None:
    if station.wizard.draft:
        return Sentence("Values wait for the confirmation at the display.")
    return of_item(readiness.circuit(station))


def network(station: Station, now: float) -> Sentence | None:
    return of_item(readiness.cloud(station))


def pinpoint(station: Station, now: float) -> Sentence | None:
    return of_item(readiness.pinpoint(station))


def clock(station: Station, now: float) -> Sentence | None:
    if not zone_of(station):
        return Sentence("Choose the time zone.")
    return None if readiness.is_clock_known(station, now) else Sentence("Nobody has told the time yet.")


def zone_of(station: Station) -> str:
    """As the installer has set it, as the pinpoint proposes it, or as the files have it; "" = nobody knows."""
    place = station.wizard.place
    chosen = str(station.wizard.settings.get("time_zone", ""))
    return chosen or (place.zone if place else "") or (z if (z := station.settings.time_zone) != "UTC" else "")


def charge(station: Station, now: float) -> Sentence | None:
    return None if station.wizard.charged else Sentence("No test charge was made.")


def ready(station: Station, now: float) -> Sentence | None:
    """Of what may not wait."""
    wrong = [item for item in readiness.items(station, now) if not item.is_met and not item.may_wait]
    return wrong[0].evidence if wrong else None


def handed_over(station: Station, now: float) -> Sentence | None:
    return None if Step.HAND_OVER in station.wizard.done else Sentence("The station has not been handed over.")


# -- the table --------------------------------------------------------------------------------------------------------

TABLE: tuple[Row, ...] = (
    Row(
        Step.LANGUAGE, "Language",
        "the language of the display", "the page itself, in that language", "always",
        Open.FREE, "shows the language chosen; a change counts at once", nothing,
    ),
    Row(
        Step.INSTALLER, "Installer",
        "installer's name, company", "the names as typed; they go into every report", "both are there",
        Open.NO, "shows who was here last; type your own names over them", names,
    ),
    Row(
        Step.IDENTITY, "Identity",
        "nothing", "serial number, MAC addresses, a QR code with both, whether there is a certificate",
        "the station has serial number and certificate", Open.NO, "shows it anew", identity,
    ),
    Row(
        Step.SELF_TEST, "Self-test",
        "nothing", "each part's result at this power-on; what failed, with code and fix, live",
        "every part has passed and every port is in service", Open.NO, "shows the newest power-on's", self_test,
    ),
    Row(
        Step.CIRCUIT, "Circuit",
        "breaker, limit of the circuit (80 % of the breaker is proposed), wiring, limit of each port",
        "old and new values, confirmed with a key at the display; the limit that the port controller has stored",
        "breaker and limit are confirmed and the port controller holds that limit", Open.NO,
        "shows what holds; lowering counts at once, raising needs every port free", circuit,
    ),
    Row(
        Step.NETWORK, "Network",
        "nothing",
        "modem type (3G is warned of), SIM, signal, gateway, broker; the cloud's acknowledgement of our report",
        "the cloud has acknowledged serial, ports and pinpoint as they are now", Open.LISTED, "looks anew", network,
    ),
    Row(
        Step.PINPOINT, "Pinpoint",
        "coordinates: a receiver's, typed, pasted, from a sister station, on the map; moved by metres",
        "country, nearest town and time zone of that point; what speaks against it; its accuracy, how and by whom it "
        "was found",
        "there is a point", Open.LISTED, "shows the point; a new one replaces it", pinpoint,
    ),
    Row(
        Step.CLOCK, "Zone and clock",
        "the time zone (the pinpoint's is proposed)", "local time, and who told it", "zone and time are known",
        Open.LISTED, "shows both; another zone counts at once", clock,
    ),
    Row(
        Step.CHARGE, "Test charge",
        "a port, with a car or a tester plugged in", "power and energy by the port's meter",
        "energy has flowed", Open.FREE, "may be made again", charge,
    ),
    Row(
        Step.READINESS, "Readiness",
        "nothing", "each item with what proves it: video frames drawn, check mark of each port, no message, no error "
        "light, circuit, pinpoint, cloud", "every item that may not wait is met", Open.NO, "looks anew", ready,
    ),
    Row(
        Step.HAND_OVER, "Hand-over",
        "the key Hand over", "all that the activation call asks for, on one page, and as a record for the cloud",
        "the key was pressed while no step above kept it closed", Open.NO,
        "shows it; pressed again, it reports again", handed_over,
    ),
)  # fmt: skip

assert tuple(row.step for row in TABLE) == STEPS
ROWS: dict[Step, Row] = {row.step: row for row in TABLE}


def missing(station: Station, step: Step, now: float) -> Sentence | None:
    return ROWS[step].missing(station, now)


def closed_by(station: Station, now: float) -> list[Row]:
    """What keeps the hand-over closed."""
    return [r for r in TABLE if r.step is not Step.HAND_OVER and r.skip is Open.NO and r.missing(station, now)]


def open_items(station: Station, now: float) -> list[Row]:
    """What is handed over as still to be done."""
    return [row for row in TABLE if row.skip is Open.LISTED and row.missing(station, now)]
