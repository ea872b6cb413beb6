"""The self-test at every power-on (I9): what each part has shown, and what to do about it. Pure; nothing is stored.

The controller tests what is under voltage (ground-fault protection by its test current, the contactor by weld sense
with the coil off: no connector is ever energised for a test), drivers tell about theirs (`PartTold`), and the rest
follows from the station's facts. A failed part of a port takes that port out of service, by its fault, and no other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from agent.events import SelfTest
from agent.faults import FAULTS, Fault, code
from agent.port import Port, faults
from agent.station import Station

PATIENCE_S = 60.0  # after power-on; who has said nothing by then has failed


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class PartResult:
    part: str  # as component name on the wire
    evse_id: int  # 0: the station's
    result: Result
    code: str = ""  # the fault's name, or the ChargeX MREC code where there is one
    text: str = ""
    fix: str = ""


PORT_PARTS: dict[str, tuple[Fault, ...]] = {
    "Controller": (Fault.CONTROLLER_LOST,),
    "GroundFaultDetector": (Fault.GROUND_FAULT_SELF_TEST, Fault.GROUND_FAULT, Fault.GROUND_FAULT_HALTED),
    "PowerContactor": (Fault.CONTACTOR_WELDED, Fault.CONTACTOR_STUCK_OPEN),
    "ControlPilot": (Fault.PILOT_FAULT, Fault.DIODE_FAULT, Fault.VENTILATION_MISSING),
    "Meter": (Fault.METER_FAULT, Fault.OVER_CURRENT),
    "ElectricalFeed": (Fault.OVER_VOLTAGE, Fault.UNDER_VOLTAGE, Fault.PHASE_LOSS),
    "TemperatureSensor": (Fault.OVER_TEMPERATURE,),
    "EmergencyStop": (Fault.EMERGENCY_STOP,),
}
SOCKET_PARTS: dict[str, tuple[Fault, ...]] = {
    "ConnectorPlugRetentionLock": (Fault.LOCK_FAILURE,),
    "ProximityPilot": (Fault.PROXIMITY_FAULT,),
}
assert {fault for row in (PORT_PARTS | SOCKET_PARTS).values() for fault in row} == set(Fault)


def results(station: Station, now: float) -> tuple[PartResult, ...]:
    """Each part once: the ports' in order, then the station's."""
    return tuple(each(station, now))


def each(station: Station, now: float) -> Iterator[PartResult]:
    is_late = now >= station.boot.at + PATIENCE_S
    for port in station.ports:
        yield from of_port(station, port, is_late)
    yield from of_station(station)


def is_error(station: Station, now: float) -> bool:
    """Something stands that somebody must mend: the error LED is lit, and the installer is not done (I3)."""
    return any(part.result is Result.FAILED for part in each(station, now))


def is_over(tested: Iterable[PartResult]) -> bool:
    return all(part.result is not Result.RUNNING for part in tested)


def worst(found: Iterable[Result]) -> Result:
    return max(found, key=(Result.PASSED, Result.RUNNING, Result.FAILED).index)


def of_port(station: Station, port: Port, is_late: bool) -> Iterator[PartResult]:
    """Behind a silent controller nothing is known, so nothing is said."""
    if port.report is None:
        yield given("Controller", port.evse_id, Fault.CONTROLLER_LOST if port.lost or is_late else None, is_known=False)
        return
    found, is_tested = faults(port), port.report.self_test in (SelfTest.PASSED, SelfTest.FAILED)
    socket = {part: row for part, row in SOCKET_PARTS.items() if station.settings.socketed or found & {*row}}
    for part, speaks_against in (PORT_PARTS | socket).items():
        fault = next((fault for fault in speaks_against if fault in found), None)
        is_known = is_tested or part != "GroundFaultDetector"
        if not is_known and is_late:
            fault = fault or Fault.GROUND_FAULT_SELF_TEST
        yield given(part, port.evse_id, fault, is_known)


def given(part: str, evse_id: int, fault: Fault | None, is_known: bool) -> PartResult:
    if fault is None:
        return PartResult(part, evse_id, Result.PASSED if is_known else Result.RUNNING)
    row = FAULTS[fault]
    return PartResult(part, evse_id, Result.FAILED, code(fault), row.text, row.fix)


def of_station(station: Station) -> Iterator[PartResult]:
    if station.store_ok:
        yield PartResult("Storage", 0, Result.PASSED)
    else:
        fix = "Free room on the disk or replace it: station-agent doctor says more."
        yield PartResult("Storage", 0, Result.FAILED, "store", "Sessions cannot be recorded.", fix)
    for part, told in sorted(station.parts.items()):
        if told.problem:
            yield PartResult(part, 0, Result.FAILED, told.code, told.problem, told.fix)
        else:
            yield PartResult(part, 0, Result.PASSED)
