"""What limits a port by itself, as OCPP tells limits that are not the cloud's (K12, K13): heat. Pure.

A port that must offer less because it is warm says so once, again when that has changed by SIGNIFICANT_PERCENT of it,
and when it is over. A start of the software ends what was told before it; what still holds is told anew.
"""

from dataclasses import replace
from typing import Any

from agent.effects import Record, Stream
from agent.port import NOISE_DC, Port, derated_ma
from agent.reporting import message
from agent.settings import Settings
from agent.station import Station
from agent.taps import Step, with_port

SIGNIFICANT_PERCENT = 10.0  # OCPP's LimitChangeSignificance
SOURCE = "Other"  # OCPP 2.1 ChargingLimitSourceEnumStringType: neither the operator's nor an energy manager's


def limit_ma(port: Port, settings: Settings) -> int | None:
    """What is to be told of this port; None: heat does not limit it. Its sensor's noise is never news, and nothing is
    said of a port whose controller is silent."""
    if port.report is None:
        return port.limit_told_ma
    most_ma, temperature_dc = settings.port_limit_ma, port.report.temperature_dc
    told_ma = most_ma if port.limit_told_ma is None else port.limit_told_ma
    here_ma, surely_ma = derated_ma(temperature_dc, settings), derated_ma(temperature_dc + NOISE_DC, settings)
    if here_ma < told_ma and is_significant(told_ma, here_ma):
        told_ma = here_ma
    elif surely_ma > told_ma and (surely_ma == most_ma or is_significant(told_ma, surely_ma)):
        told_ma = surely_ma
    return told_ma if told_ma < most_ma else None


def is_significant(told_ma: int, here_ma: int) -> bool:
    return abs(here_ma - told_ma) * 100 >= SIGNIFICANT_PERCENT * told_ma


def followed(before: Station, station: Station, now: float) -> Step:
    """Each port whose limit is another than was told."""
    if station.ports is before.ports and station.settings is before.settings:
        return station, ()
    records: list[Record] = []
    for port in station.ports:
        here_ma = limit_ma(port, station.settings)
        if here_ma != port.limit_told_ma:
            station = with_port(station, replace(port, limit_told_ma=here_ma))
            records.append(record(station, port.evse_id, here_ma, now))
    return station, tuple(records)


def record(station: Station, evse_id: int, here_ma: int | None, now: float) -> Record:
    """NotifyChargingLimit with its schedule, or ClearedChargingLimit."""
    if here_ma is None:
        payload: dict[str, Any] = {"chargingLimitSource": SOURCE, "evseId": evse_id}
        return message(station, Stream.STATUS, "ClearedChargingLimit", payload, now)
    period = {"startPeriod": 0, "limit": here_ma // 100 / 10}
    schedule = {"id": evse_id, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    payload = {"chargingLimit": {"chargingLimitSource": SOURCE}, "evseId": evse_id, "chargingSchedule": [schedule]}
    return message(station, Stream.STATUS, "NotifyChargingLimit", payload, now)
