"""The meter of a port at one instant, and what its session does then."""

from dataclasses import dataclass
from enum import StrEnum

from agent.events import Report


class ChargingState(StrEnum):
    """OCPP 2.1 ChargingStateEnumType, spelled as on the wire."""

    EV_CONNECTED = "EVConnected"
    CHARGING = "Charging"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    IDLE = "Idle"


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter at one instant."""

    energy_wh: int  # register
    mono_s: float
    wall_s: float | None  # the same instant, if the clock was known
    source: int = 0  # ClockSource of wall_s
    power_w: int = 0
    current_ma: tuple[int, int, int] = (0, 0, 0)
    voltage_mv: tuple[int, int, int] = (0, 0, 0)


def reading(report: Report, now: float, wall_s: float | None, source: int) -> Reading:
    return Reading(report.energy_wh, now, wall_s, source, report.power_w, report.current_ma, report.voltage_mv)
