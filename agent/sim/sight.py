"""What a workbench shows of a world, real or simulated: values, ready for its page. No decisions, no I/O."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from agent.sim.demo import Entry
from agent.sim.plant import PILOT_MV, Bay, pilot_mv
from board.controller.contract import CP_A, CP_B, CP_C, CP_D, CP_E, CP_F

SAMPLES_MAX = 600  # of a plot: five minutes of the real world, and of a lapse whatever it covers
LETTERS = {CP_A: "A", CP_B: "B", CP_C: "C", CP_D: "D", CP_E: "E", CP_F: "F"}


class PortSight(Struct, frozen=True):
    """One port at its pins, and in the station's own words."""

    evse_id: int
    car: str  # agent/sim/car.py KINDS; "" = none
    state: str  # A .. F, as the pilot's wire shows it
    high_v: float  # pilot at the connector, plus phase
    low_v: float | None  # and minus phase; None without PWM
    offer_a: float
    coil: bool
    contactor: bool
    tripped: bool
    current_a: float
    power_w: int
    energy_wh: int  # since this car came
    register_wh: int
    temperature_c: float
    broken: tuple[str, ...]  # agent/sim/plant.py FAULTS
    word: str = ""  # the station's: its status, and what it makes of the car


class Mark(Struct, frozen=True):
    """A row of the ledger beside the meter."""

    evse_id: int
    who: str
    sessions: int
    ledger_wh: int | None
    meter_wh: int | None
    mark: str


class Decision(Struct, frozen=True):
    """What the station said of a card at the moment it was tapped: `station-agent explain`."""

    who: str
    evse_id: int | None
    decision: str
    text: str
    code: str
    rules: tuple[tuple[str, str], ...]


class Scene(Struct, frozen=True, kw_only=True):
    """All that the page draws."""

    view: str  # real, lapse
    clock: str
    busy: str = ""  # why the controls do nothing now
    ports: tuple[PortSight, ...]
    things: Mapping[str, Any]  # power, broker, radio, agent, stop: whether they are on; clock
    station: tuple[tuple[str, str], ...]  # what it says of itself: label, value
    ledger: tuple[Mark, ...]
    verdict: str  # of ledger and meters: equal, open, loss, wrong, none
    said: tuple[tuple[str, str, str], ...]  # to the cloud: when, stream, action
    log: tuple[str, ...]
    decisions: tuple[Decision, ...]
    story: tuple[str, ...]
    series: Mapping[str, Any]


class Samples:
    """The last SAMPLES_MAX of power, energy and cost of each port."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, tuple[int, ...], tuple[int, ...], tuple[float | None, ...]]] = deque(
            maxlen=SAMPLES_MAX
        )

    def add(self, at_s: float, ports: Sequence[PortSight], cost: Sequence[float | None]) -> None:
        powers = tuple(port.power_w for port in ports)
        self._rows.append((at_s, powers, tuple(port.energy_wh for port in ports), tuple(cost)))

    def columns(self) -> dict[str, Any]:
        rows = list(self._rows)
        return {
            "at_s": [round(row[0], 1) for row in rows],
            "power_w": [list(column) for column in zip(*(row[1] for row in rows), strict=False)],
            "energy_wh": [list(column) for column in zip(*(row[2] for row in rows), strict=False)],
            "cost": [list(column) for column in zip(*(row[3] for row in rows), strict=False)],
        }


def port_sight(
    bay: Bay, evse_id: int, now_ms: int, register_wh: float, came_wh: int | None, *, car: str, powered: bool, word: str
) -> PortSight:
    offer_ma = bay.shown.get("offer_ma", 0) if powered else 0
    state, diode = bay.cp(), bay.diode_ok
    return PortSight(
        evse_id, car, LETTERS[state],
        pilot_mv(PILOT_MV, state, diode) / 1000 if powered else 0.0,
        pilot_mv(-PILOT_MV, state, diode) / 1000 if offer_ma else None,
        offer_ma / 1000, bool(bay.shown.get("coil")), bay.contactor.value, bay.tripped(now_ms),
        max(bay.current_ma) / 1000, bay.power_w,
        0 if came_wh is None else max(0, int(register_wh) - came_wh), int(register_wh),
        bay.temperature_dc / 10, bay.broken, word,
    )  # fmt: skip


def marks(entries: Iterable[Entry]) -> tuple[Mark, ...]:
    return tuple(Mark(e.evse_id, e.who, e.sessions, e.ledger_wh, e.meter_wh, e.mark) for e in entries)


def verdict(rows: Sequence[Mark], *, clean: bool) -> str:
    """Of the whole: the worst of its rows."""
    found = {row.mark for row in rows if row.sessions or row.meter_wh} - {"here"}
    if "wrong" in found or (rows and not clean):
        return "wrong"
    return next((mark for mark in ("open", "loss", "equal") if mark in found), "none")


def decision(who: str, said: Mapping[str, Any] | None) -> Decision:
    if said is None:
        return Decision(who, None, "nobody decides", "No power, or no agent.", "", ())
    if "error" in said:
        return Decision(who, None, "no decision", str(said["error"]), "", ())
    rules = tuple((str(rule), str(opinion)) for rule, opinion in said.get("rules", ()))
    return Decision(who, said.get("evse_id"), said["decision"], said["text"], said.get("code") or "", rules)


def cost_of(model: Mapping[str, Any] | None, ports: int) -> list[float | None]:
    """What the station's screen shows as cost, per port; None where it shows none."""
    figures = [p.get("figures", ()) for p in model["ports"]] if model else []
    found = [next((f["value"] for f in each if f["name"] == "cost"), None) for each in figures]
    return [as_number(text) for text in (found + [None] * ports)[:ports]]


def as_number(text: Any) -> float | None:
    try:
        return None if text is None else float(str(text).replace(",", "."))
    except ValueError:
        return None
