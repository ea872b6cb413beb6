"""What the handlers of the owner's commands share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from agent.events import OwnerRequested
from agent.reporting import result
from agent.station import Station
from agent.taps import Step

Handler = Callable[[Station, OwnerRequested, float], Step]


def said(station: Station, event: OwnerRequested, response: Mapping[str, Any], now: float) -> Step:
    return station, (result(station, event.command_id, dict(response), now),)


def with_owner(station: Station, **changes: Any) -> Station:
    return replace(station, owner=replace(station.owner, **changes))
