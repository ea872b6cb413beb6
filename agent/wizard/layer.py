"""The installer's layer of the settings, and what of it is written into the port controller. Pure.

Board and config file are below it, the cloud is above. Electrical limits stay within what the board carries; what is
lowered counts at once, what is raised waits until every port is free (S11), as the controller itself demands.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from agent.clock import wall
from agent.commands.variables import with_cloud
from agent.policy.sharing import CURRENT_MIN_MA
from agent.port import is_plugged
from agent.settings import BOUNDS, ConfigError, Layer, Merged, Settings, checked, fitting
from agent.station import Station
from agent.wizard.facts import ELECTRICAL, Draft, Raise

CONTINUOUS_PERCENT = 80  # of the breaker: a car charges for hours (NEC 210.20(A), 625.41)
BREAKERS_A = (  # sold sizes: IEC 60898-1, NEC 240.6(A)
    6, 8, 10, 13, 15, 16, 20, 25, 30, 32, 35, 40, 45, 50, 60, 63, 70, 80, 90, 100, 110, 125, 150, 160, 175, 200, 225,
    250, 300, 320, 350, 400,
)  # fmt: skip


def board(station: Station) -> Settings:
    """What the board carries: nobody's limit is more."""
    return station.board or files(station)


def files(station: Station) -> Settings:
    """What holds without installer and cloud."""
    return station.files or station.ceiling or station.settings


def with_layer(station: Station, layer: Mapping[str, Any]) -> Station:
    """The installer's layer is this one now; the cloud's is laid over it anew, as far as it still fits."""
    ceiling = over(files(station), board(station), layer)
    cloud, settings = with_cloud(ceiling, station.cloud)
    still = station.cloud if cloud == station.cloud else cloud  # the same object is not saved again
    return replace(station, ceiling=ceiling, settings=settings, cloud=still)


def over(files: Settings, board: Settings, layer: Mapping[str, Any]) -> Settings:
    """What the files say, with the installer's layer over it; what fits no more (another board) is left out."""
    good, _ = fitting(Layer.WIZARD, layer, Merged(board, {}))
    return msgspec.structs.replace(files, **good)


def set_to(station: Station, key: str, value: Any, now: float) -> Station | ConfigError:
    """One setting as the installer wants it."""
    try:
        value = checked(Layer.WIZARD, key, value, Merged(board(station), {}))
    except ConfigError as error:
        return error
    layer = {**station.wizard.settings, key: value}
    wizard = replace(station.wizard, settings=layer, set_at_s=wall(station.clock, now))
    return with_layer(replace(station, wizard=wizard), layer)


# -- the circuit ------------------------------------------------------------------------------------------------------


def commissioned(station: Station, key: str) -> int:
    """What holds now of an electrical value, without the cloud's word."""
    if key == "breaker_ma":
        return station.wizard.breaker_ma
    value: int = getattr(station.ceiling or station.settings, key)
    return value


def drafted(station: Station, key: str) -> int:
    """The same, as it would be after the confirmation."""
    draft = station.wizard.draft
    return draft.values.get(key, commissioned(station, key)) if draft else commissioned(station, key)


def changes(station: Station) -> list[tuple[str, int, int]]:
    """What the confirmation would change: key, old, new. All of it the first time, when nothing was ever confirmed."""
    values = {key: (commissioned(station, key), drafted(station, key)) for key in ELECTRICAL}
    is_first = "circuit_limit_ma" not in station.wizard.settings
    return [(key, old, new) for key, (old, new) in values.items() if old != new or is_first]


def continuous_ma(breaker_ma: int) -> int:
    """What a breaker carries for hours, in whole amperes."""
    return breaker_ma * CONTINUOUS_PERCENT // 100 // 1000 * 1000


def drawn_up(station: Station, values: Mapping[str, int], *, by_phone: bool) -> Station:
    """One more value to be confirmed. Another breaker proposes another limit."""
    draft = station.wizard.draft or Draft()
    if (breaker_ma := values.get("breaker_ma")) is not None:
        limit_ma = min(continuous_ma(breaker_ma), board(station).circuit_limit_ma)
        values = {**values, "circuit_limit_ma": limit_ma}
    draft = Draft({**draft.values, **values}, draft.by_phone or by_phone)
    return replace(station, wizard=replace(station.wizard, draft=draft))


def is_raised(station: Station) -> bool:
    return drafted(station, "circuit_limit_ma") > held_ma(station)


def held_ma(station: Station) -> int:
    """The limit that is stored in the controller, as far as known."""
    return station.controller.circuit_limit_ma if station.controller else commissioned(station, "circuit_limit_ma")


def is_in_use(station: Station) -> bool:
    return any(p.transaction or is_plugged(p) or (p.report and p.report.offer_ma) for p in station.ports)


def is_beyond_board(station: Station) -> bool:
    """A draft may come from the disk, and the board be another one since."""
    most = Merged(board(station), {})
    values = {key: drafted(station, key) for key in ELECTRICAL if key in BOUNDS}
    return bool(fitting(Layer.WIZARD, values, most)[1])


def confirmed(station: Station, now: float) -> Station:
    """The values of the draft count."""
    wizard = station.wizard
    electrical = {key: drafted(station, key) for key in ELECTRICAL if key in BOUNDS}
    layer, at_s = {**wizard.settings, **electrical}, wall(station.clock, now)
    wizard = replace(
        wizard, settings=layer, set_at_s=at_s, breaker_ma=drafted(station, "breaker_ma"), draft=None, confirms=False,
        commissions=wizard.commissions + 1, owed=raise_of(station),
    )  # fmt: skip
    return with_layer(replace(station, wizard=wizard), layer)


# -- a raise that the controller does not hold yet ---------------------------------------------------------------------


def raise_of(station: Station) -> Raise | None:
    """What the draft raises, from what the panel shows as old."""
    return Raise(held_ma(station), drafted(station, "circuit_limit_ma")) if is_raised(station) else None


def found(station: Station) -> Station:
    """The controller has told which limit it holds: the new one, and all is done; the old one, and it is to be told; or
    another one, for which nobody has confirmed anything."""
    owed = owing(station)
    return station if owed is station.wizard.owed else replace(station, wizard=replace(station.wizard, owed=owed))


def owing(station: Station) -> Raise | None:
    """What was confirmed, as long as the controller may still be told it. Another board file may have come since."""
    owed = station.wizard.owed
    if owed is None or commissioned(station, "circuit_limit_ma") != owed.new_ma or held_ma(station) != owed.old_ma:
        return None
    return owed


def is_owed(station: Station) -> bool:
    """It can be told now: it is there, each of its ports has spoken, and none is in use (S11)."""
    is_there = station.controller is not None and all(port.report for port in station.ports)
    return is_there and owing(station) is not None and not is_in_use(station)


def limits(settings: Settings, port_count: int) -> tuple[int, int, int]:
    """For the controller: circuit, failsafe of each port in mA, grace in s. All ports' failsafe must fit the circuit;
    where 6 A each do not, none is offered while the host is silent."""
    failsafe_ma = min(settings.failsafe_ma, settings.circuit_limit_ma // port_count)
    return settings.circuit_limit_ma, failsafe_ma if failsafe_ma >= CURRENT_MIN_MA else 0, settings.host_grace_s
