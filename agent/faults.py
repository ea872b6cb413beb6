"""Every fault a port can have, in one table: what it does, how long it lasts, what to do about it.

Codes CX0nn are the ChargeX consortium's Minimum Required Error Codes (MREC); a fault without a word there carries none.
The names up to PHASE_LOSS are the controller's, in the order of `board/controller/contract.py`; the rest the host's.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    GROUND_FAULT = "ground_fault"
    GROUND_FAULT_HALTED = "ground_fault_halted"
    GROUND_FAULT_SELF_TEST = "ground_fault_self_test"
    CONTACTOR_WELDED = "contactor_welded"
    CONTACTOR_STUCK_OPEN = "contactor_stuck_open"
    PILOT_FAULT = "pilot_fault"
    DIODE_FAULT = "diode_fault"
    VENTILATION_MISSING = "ventilation_missing"
    OVER_CURRENT = "over_current"
    OVER_VOLTAGE = "over_voltage"
    UNDER_VOLTAGE = "under_voltage"
    OVER_TEMPERATURE = "over_temperature"
    LOCK_FAILURE = "lock_failure"
    PROXIMITY_FAULT = "proximity_fault"
    METER_FAULT = "meter_fault"
    EMERGENCY_STOP = "emergency_stop"
    PHASE_LOSS = "phase_loss"
    CONTROLLER_LOST = "controller_lost"


class Latch(StrEnum):
    """Until when a fault lasts once its cause is gone."""

    NONE = "none"  # gone with its cause
    UNPLUG = "unplug"  # until the driver unplugs, so that the driver learns that it happened
    POWER_CYCLE = "power cycle"  # until a power cycle or a clear command, and then only if its cause is not sensed anew


class Cure(StrEnum):
    """What a running transaction does under the fault."""

    WAIT = "wait"  # suspended (SuspendedEVSE); goes on when the fault is gone
    END = "end"  # ended with `stopped_reason`


@dataclass(frozen=True, slots=True)
class Row:
    mrec: str | None  # ChargeX MREC, "CX0nn"
    latch: Latch
    cure: Cure
    stopped_reason: str  # OCPP 2.1 ReasonEnumType, when the transaction ends under it
    text: str  # for the driver
    fix: str  # for the installer or the owner


FAULTS: dict[Fault, Row] = {
    Fault.GROUND_FAULT: Row(
        "CX002", Latch.NONE, Cure.WAIT, "GroundFault",
        "Ground fault. Charging is tried again by itself.",
        "Three tries, 15 minutes apart. If it comes back with other cars, have the cable and the wiring tested.",
    ),
    Fault.GROUND_FAULT_HALTED: Row(
        "CX002", Latch.UNPLUG, Cure.END, "GroundFault",
        "Ground fault. Unplug and return the plug to its holster.",
        "Three tries failed with this car. Test with another car, then test the cable.",
    ),
    Fault.GROUND_FAULT_SELF_TEST: Row(
        "CX002", Latch.POWER_CYCLE, Cure.END, "GroundFault",
        "This port failed its safety test and is out of service.",
        "Switch the breaker off for two minutes. If the self-test fails again, replace the ground-fault sensor.",
    ),
    Fault.CONTACTOR_WELDED: Row(
        "CX017", Latch.POWER_CYCLE, Cure.END, "Other",
        "This port is out of service. Please unplug.",
        "The contactor does not open. Switch the breaker off and replace the contactor.",
    ),
    Fault.CONTACTOR_STUCK_OPEN: Row(
        "CX017", Latch.POWER_CYCLE, Cure.END, "Other",
        "This port is out of service.",
        "The contactor does not close. Check coil, wiring and fuse; then switch the breaker off for two minutes.",
    ),
    Fault.PILOT_FAULT: Row(
        "CX014", Latch.NONE, Cure.WAIT, "Other",
        "The plug is not connected properly. Unplug it and plug it in again.",
        "Control pilot in state E or F: look for a short or a broken wire in the cable.",
    ),
    Fault.DIODE_FAULT: Row(
        "CX010", Latch.UNPLUG, Cure.END, "Other",
        "This car's charging circuit does not answer correctly. Please unplug.",
        "No diode behind the pilot: this car, or somebody's test box. Nothing to repair at the station.",
    ),
    Fault.VENTILATION_MISSING: Row(
        "CX010", Latch.UNPLUG, Cure.END, "Other",
        "This car asks for ventilation, which this station does not have.",
        "Pilot state D. Only a site with ventilation, and a board that says so, may serve this car.",
    ),
    Fault.OVER_CURRENT: Row(
        "CX004", Latch.UNPLUG, Cure.END, "OvercurrentFault",
        "The car drew more current than offered. Please unplug.",
        "If several cars do it, check the meter's scale and the pilot's duty cycle.",
    ),
    Fault.OVER_VOLTAGE: Row(
        "CX005", Latch.NONE, Cure.WAIT, "PowerQuality",
        "The mains voltage is too high. Charging goes on when it is normal.",
        "Have the supply voltage measured at the station's terminals.",
    ),
    Fault.UNDER_VOLTAGE: Row(
        "CX006", Latch.NONE, Cure.WAIT, "PowerQuality",
        "The mains voltage is too low. Charging goes on when it is normal.",
        "Have the supply voltage measured under load.",
    ),
    Fault.OVER_TEMPERATURE: Row(
        "CX003", Latch.NONE, Cure.WAIT, "Other",
        "The station is too hot. Charging goes on when it has cooled down.",
        "Check fan, filter and the torque of the terminals.",
    ),
    Fault.LOCK_FAILURE: Row(
        "CX001", Latch.UNPLUG, Cure.END, "Other",
        "The plug could not be locked. Unplug it and push it in firmly.",
        "Check the lock's actuator and look for dirt in the socket.",
    ),
    Fault.PROXIMITY_FAULT: Row(
        "CX023", Latch.UNPLUG, Cure.END, "Other",
        "The cable's rating cannot be read. Try another cable.",
        "Proximity resistor missing or out of range: the cable, or the socket's contact.",
    ),
    Fault.METER_FAULT: Row(
        None, Latch.NONE, Cure.END, "Other",
        "This port's meter does not answer. It is out of service.",
        "Check the meter's wiring. Energy is never guessed: the session ended at the last good reading.",
    ),
    Fault.EMERGENCY_STOP: Row(
        "CX008", Latch.NONE, Cure.END, "EmergencyStop",
        "Emergency stop.",
        "Release the emergency stop button when the cause is gone.",
    ),
    Fault.PHASE_LOSS: Row(
        "CX006", Latch.NONE, Cure.WAIT, "PowerQuality",
        "A mains phase is missing. Charging goes on when it is back.",
        "Check the breaker and the phases at the station's terminals.",
    ),
    Fault.CONTROLLER_LOST: Row(
        None, Latch.NONE, Cure.WAIT, "Other",
        "This station is restarting a part. Please wait.",
        "The port controller does not answer: check its cable and supply; flash it with tools/flash.py.",
    ),
}  # fmt: skip

assert FAULTS.keys() == set(Fault)


class Mender(StrEnum):
    """Who ends a fault, the most urgent first: what the light tells apart."""

    RELEASE = "release"  # the emergency stop
    SERVICE = "service"  # somebody who mends the station
    DRIVER = "driver"  # by unplugging
    ITSELF = "itself"


def mender(fault: Fault) -> Mender:
    row = FAULTS[fault]
    if fault is Fault.EMERGENCY_STOP:
        return Mender.RELEASE
    if row.latch is Latch.UNPLUG:
        return Mender.DRIVER
    return Mender.ITSELF if (row.latch, row.cure) == (Latch.NONE, Cure.WAIT) else Mender.SERVICE


def code(fault: Fault) -> str:
    """What screen, log and cloud call it: the MREC, or its name where it has none."""
    return FAULTS[fault].mrec or fault
