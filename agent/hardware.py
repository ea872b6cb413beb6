"""The drivers that the board file names, on the agent's loop: what they find becomes the core's events, and what the
core shows becomes light. A part that fails is told to the core, which tells everybody (`PartTold`); nothing else stops.

A board without a table has no such driver, and that driver's library (gpiod, pyscard) is not imported.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from typing import Any, Protocol

from agent.board import Board
from agent.events import CaseTold, KeyPressed, PartTold, PortChosen, ScreenTouched, ServiceOpened, of_driver
from agent.hal.device import STEADY_S, Aside, DeviceFailed, DeviceWorks, Post, Presence, Watch
from agent.hal.display import Backlight
from agent.hal.gnss import Gnss
from agent.hal.gpio import CLOUDS_OUTPUTS, Chips, Gpio, Gpiod, InputChanged
from agent.hal.keys import Keys
from agent.hal.leds import ERROR_LED, Leds
from agent.hal.pcsc import PcscReader
from agent.hal.pn532 import Pn532Reader
from agent.hal.rtc import Rtc
from agent.hal.thermal import TemperatureRead, Thermal
from agent.hal.tty import LineReader
from agent.port import is_plugged
from agent.selftest import is_error
from agent.station import Station
from agent.ui.led import ERROR, PATTERNS, Pattern
from agent.ui.view import lights

FAN_ON_DC, FAN_OFF_DC = 450, 400  # tenths of a degree Celsius; between them the fan stays as it is
SHOW_S = 1.0  # what is shown changes with time, too: a refusal is over
LIGHT_S = 60.0  # after somebody was seen to be there
HOLD_S = 5.0  # the service key: nobody does that by accident
CLOSED_S = 60.0  # a lid that has opened is told to be closed when it was so long: a contact that chatters is told once
READER = "TokenReader"  # component name
Light = Callable[[tuple[Pattern | None, ...], float], None]  # each port's light, if it is there; now


class Driver(Protocol):
    def due(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def close(self) -> None: ...


class Hardware:
    """`watch` is asyncio's loop."""

    def __init__(
        self, board: Board, post: Post, aside: Aside, watch: Watch, now: Callable[[], float],
        *, chips: Chips | None = None, light: Light = lambda lights, now: None,
    ) -> None:  # fmt: skip
        """`light` shows at the controller. `chips`: libgpiod's, unless there are others. ConfigError: the board asks
        for a library that is missing."""
        self._board, self._post, self._now, self._light = board, post, now, light
        self._drivers: list[Driver] = []
        self._gpio: Gpio | None = None
        self._leds: Leds | None = None
        self._backlight: Backlight | None = None
        self._shown: Station | None = None
        self._show_at = -inf
        self._inside_dc: dict[str, int] = {}  # temperatures that Linux reads
        self._is_fan_on = False
        self._plugged: list[bool] = []
        self._somebody_at = -inf  # the last sign that somebody is there
        self._touched_at = -inf  # the display, as the core knows
        self._active: set[str] = set()  # contacts that were told to be open, or pressed
        self._calm: dict[str, tuple[float, Any]] = {}  # since when they are not, and what to tell when that has lasted
        self._service: dict[str, float] = {}  # service keys that were seen up: when they will have been held
        self._reader = Presence(READER, self._heard)
        self._reader_problem: str | None = None  # None: there is no reader. Written by its own thread, perhaps
        with ExitStack() as undo:
            self._drive(undo, aside, watch, chips)
            self._read_cards(undo)
            self._undo = undo.pop_all()

    def _drive(self, undo: ExitStack, aside: Aside, watch: Watch, chips: Chips | None) -> None:
        """What lives on the loop."""
        board, hear, now = self._board, self._heard, self._now
        presences: list[Presence] = []

        def driven(driver: Any, *those: Presence) -> Any:
            undo.callback(driver.close)
            self._drivers.append(driver)
            presences.extend(those)
            return driver

        if board.output or board.input:
            gpio = Gpio(board.output, board.input, chips or Gpiod(), watch, hear, now)
            outputs = (each.presence for each in gpio.outputs.values())
            self._gpio = driven(gpio, *outputs, *(each.presence for each in gpio.inputs.values()))
        if board.led:
            leds = Leds(board.led, hear, aside, now)
            self._leds = driven(leds, *leds.presences.values())
        if board.display:
            backlight = Backlight(board.display, hear, aside, now)
            self._backlight = driven(backlight, backlight.presence)
        for facts in board.keys:
            keys = Keys(facts, watch, hear, now)
            driven(keys, keys.presence)
        if board.sensor:
            thermal = Thermal(board.sensor, hear, aside, now)
            driven(thermal, *thermal.presences.values())
        if board.rtc:
            rtc = Rtc(board.rtc, hear, aside, now)
            driven(rtc, rtc.presence)
        if board.gnss:
            gnss = Gnss(board.gnss, hear, now)
            driven(gnss, gnss.presence)
        for presence in presences:  # one that does not work says so in the first turn, before any self-test is over
            self._post(PartTold(component(presence.device)))

    def _read_cards(self, undo: ExitStack) -> None:
        facts: Any = self._board.reader.facts
        kind = self._board.reader.kind
        if kind in ("line", "pcsc", "pn532"):
            self._post(PartTold(READER))
            self._reader_told("")  # before it can say anything else, perhaps from a thread
        match kind:
            case "line":
                undo.callback(LineReader(facts.tty, self._post, self._reader_told).close)
            case "pcsc":
                undo.callback(PcscReader(facts, self._post, self._now, self._reader_told).close)
            case "pn532":
                undo.callback(Pn532Reader(facts, self._post, self._now, self._reader_told).close)

    @property
    def set_output(self) -> Callable[[str, bool, float], bool] | None:
        """For who plays sequences on outputs: the modem's. None: this board has no outputs."""
        return self._gpio.set if self._gpio else None

    # -- a turn (agent/loop.py)

    def due(self, now: float) -> None:
        for driver in self._drivers:
            if driver.next_deadline() <= now:
                driver.due(now)
        for name in [name for name, (at, _) in self._calm.items() if now >= at]:
            self._active.discard(name)
            self._post(self._calm.pop(name)[1])
        for name in [name for name, at in self._service.items() if now >= at]:
            self._service[name] = inf  # once, however long it is held
            self._heard(ServiceOpened("button"))
        if self._reader_problem:
            self._reader.failed(self._reader_problem, now)
        elif self._reader_problem is not None:
            self._reader.worked(now)

    def next_deadline(self) -> float:
        """A reader is looked at in every turn."""
        waits = (*(at for at, _ in self._calm.values()), *self._service.values())
        return min([self._show_at, *waits, *(driver.next_deadline() for driver in self._drivers)])

    def close(self) -> None:
        """Outputs go to their safe values."""
        self._undo.close()

    def show(self, station: Station, now: float) -> None:
        """Lights, screen and outputs: as often as you like, something is done where it may differ."""
        at_controller = self._board.lights_at_controller
        if not (self._leds or self._backlight or self._gpio or any(at_controller)):
            self._show_at = inf
            return
        if station is self._shown and now < self._show_at:
            return
        self._shown, self._show_at = station, now + SHOW_S
        if self._leds or any(at_controller):
            shown = [PATTERNS[light] for light in lights(station, now)]
            if self._leds:
                wishes = {facts.led: light for facts, light in zip(self._board.port, shown, strict=True)}
                self._leds.show({**wishes, ERROR_LED: ERROR if is_error(station, now) else None}, now)
            if any(at_controller):
                self._light(tuple(light if at else None for at, light in zip(at_controller, shown, strict=True)), now)
        if self._backlight:
            self._lit(self._backlight, station, now)
        if self._gpio:
            self._switch(self._gpio, station, now)

    def _lit(self, backlight: Backlight, station: Station, now: float) -> None:
        """Never dark while somebody reads or a car is here; a press in the browser wakes it as one on a button does."""
        if is_read(station) or station.panel.touched_at > self._touched_at:
            backlight.active(now)
        self._touched_at = station.panel.touched_at

    def _switch(self, gpio: Gpio, station: Station, now: float) -> None:
        """Fan, light and error LED follow the station; the enclosure's lock and what else there is, the cloud. The
        modem's lines are agent/hal/power.py's, and a contactor on Linux is nobody's."""
        ports_dc = [port.report.temperature_dc for port in station.ports if port.report]
        self._is_fan_on = is_fan_wanted(self._is_fan_on, [*self._inside_dc.values(), *ports_dc])
        is_light_on, is_error_lit = self._is_light_wanted(station, now), is_error(station, now)
        for each in self._board.output:
            wished = {"fan": self._is_fan_on, "light": is_light_on, "error": is_error_lit}.get(each.role)
            if each.role in CLOUDS_OUTPUTS:
                wished = station.outputs.get(each.name, each.safe)
            if wished is not None and gpio.outputs[each.name].wished != wished:
                gpio.set(each.name, wished, now)

    def _is_light_wanted(self, station: Station, now: float) -> bool:
        plugged = [is_plugged(port) for port in station.ports]
        if station.notices or station.asks or plugged != (self._plugged or plugged):
            self._somebody_at = now
        self._plugged = plugged
        light = station.settings.light
        return light == "on" or (light == "auto" and now < self._somebody_at + LIGHT_S)

    # -- what the drivers say, on the loop

    def _heard(self, event: Any) -> None:
        match event:
            case DeviceFailed(device=device, why=why):
                self._service.pop(device.removeprefix("input "), None)  # held or not, nobody can tell
                self._post(of_driver(component(device), why, "reader" if device == READER else "device"))
            case DeviceWorks(device=device):
                self._post(PartTold(component(device)))
            case InputChanged(name=name, role="emergency_stop", active=active):
                why = "the emergency stop is pressed: release it when the danger is over" if active else ""
                told = of_driver(f"EmergencyStop.{name}", why, "stop")
                self._changed(name, told, STEADY_S, active=active)
            case InputChanged(name=name, role="tamper", active=active):
                self._changed(name, CaseTold(name, is_open=active), CLOSED_S, active=active)
            case InputChanged(name=name, role="service", active=active):
                self._service_key(name, active=active)
            case InputChanged():  # feedback is the output's, auxiliary is nobody's
                pass
            case TemperatureRead(name=name, temperature_dc=temperature_dc):
                self._inside_dc[name] = temperature_dc
            case ScreenTouched():
                self._somebody_at = self._now()
                if self._backlight:
                    self._backlight.active(self._now())
                self._post(event)
            case PortChosen() | KeyPressed() | ServiceOpened():
                self._somebody_at = self._now()
                self._post(event)
            case _:
                self._post(event)

    def _changed(self, name: str, told: CaseTold | PartTold, calm_s: float, *, active: bool) -> None:
        """That a contact is active is told at once, and that it is not any more when that has lasted: one that chatters
        fills no journal."""
        if not active and name in self._active:
            self._calm[name] = (self._now() + calm_s, told)
            return
        self._calm.pop(name, None)
        if name not in self._active:
            self._post(told)
        if active:
            self._active.add(name)

    def _service_key(self, name: str, *, active: bool) -> None:
        """One that is down since the start, or since its chip has come back, is stuck and not held."""
        if not active:
            self._service[name] = inf
        elif name in self._service:
            self._service[name] = self._now() + HOLD_S

    def _reader_told(self, problem: str) -> None:
        self._reader_problem = problem


def component(device: str) -> str:
    """A driver's name for its device as OCPP 2.1 can say it: an identifierString of at most 50."""
    return re.sub(r"[^A-Za-z0-9*_=:+|@.-]", ".", device)[-50:]


def is_read(station: Station) -> bool:
    """Somebody reads the display, or may look at it any time: he is spoken to, or his car is here."""
    is_spoken_to = bool(station.notices or station.asks or station.holding)
    return is_spoken_to or any(port.transaction or is_plugged(port) for port in station.ports)


def is_fan_wanted(was: bool, temperatures_dc: list[int]) -> bool:
    """Hysteresis: a fan that is on goes on until it is a good deal cooler. Unknown is not hot."""
    return max(temperatures_dc, default=-inf) >= (FAN_OFF_DC if was else FAN_ON_DC)
