"""An installer at the display: presses what the keys say, types into fields, reads the page. The controller stores what
it is told, as the real one does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.events import (
    ControllerFound,
    Cp,
    FieldEntered,
    KeyPressed,
    Link,
    LinkChanged,
    Machine,
    PanelTold,
    PhoneTold,
    PortReported,
    Report,
    ServiceOpened,
    StatusDelivered,
)
from agent.panel import SERVICE_S, Page
from agent.policy.activation import Activation
from agent.settings import Settings
from agent.ui.model import Field, PageModel, Prose, Row, Rows, ScreenModel
from agent.ui.view import screen
from agent.wizard import flow
from agent.wizard.facts import STEPS, Step
from agent.wizard.places import Place
from tests.play import WALL_S, Play

BOARD = Settings(circuit_limit_ma=40_000, port_limit_ma=32_000)
ZONES = ("America/New_York", "Europe/Berlin", "Europe/Paris", "UTC")
MACHINE = Machine("duo", macs=("02:00:00:00:00:01",), certificate_expiry_s=WALL_S + 1e7, zones=ZONES)
BERLIN = Place("DE", "Germany", "Berlin", 1.0, "Europe/Berlin")
NEW = Settings(
    station_id="SA-1", activated=False, circuit_limit_ma=40_000, port_limit_ma=32_000, owner="Harbour Offices"
)  # fmt: skip


def europe(latitude: float, longitude: float) -> Place:
    return BERLIN if 40 < latitude < 60 and 0 < longitude < 30 else Place()


class Installer:
    """At a new station with two ports, powered on, its self-test done."""

    def __init__(self, settings: Settings = NEW, facts: Mapping[str, Any] | None = None) -> None:
        self.use(Play(settings, facts=facts, machine=MACHINE, board=BOARD, places=europe))

    def use(self, play: Play) -> "Installer":
        self.play, self.commissioned = play, len(play.commissioned)
        self.stored_ma = play.station.controller.circuit_limit_ma if play.station.controller else 0
        return self

    def cut(self, off_s: float = 5.0) -> "Installer":
        """Power off and on again: the self-test runs, the controller has what it stored."""
        stored_ma = self.stored_ma
        reports = [port.report for port in self.play.station.ports]
        self.use(self.play.reboot(off_s))
        self.stored_ma = stored_ma
        self.play.on(ControllerFound(8, 1.0, stored_ma))
        for port, report in zip(self.play.station.ports, reports, strict=True):
            register_wh = report.energy_wh if report else 0
            self.play.on(PortReported(port.evse_id, Report(energy_wh=register_wh, cp=report.cp if report else Cp.A)))
        self.play.after(1)
        return self

    # -- reading

    @property
    def screen(self) -> ScreenModel:
        return screen(self.play.station, self.play.now)

    def shows(self, page: Page) -> bool:
        return self.screen.page is page

    @property
    def page(self) -> PageModel:
        content = self.screen.content
        assert content, f"the display shows {self.screen.page}"
        return content

    @property
    def step(self) -> Step:
        return STEPS[self.page.step - 1]

    @property
    def keys(self) -> list[str]:
        return [key.label for key in self.screen.keys]

    def field(self, name: str) -> Field:
        return next(block for block in self.page.blocks if isinstance(block, Field) and block.name == name)

    def rows(self) -> dict[str, Row]:
        blocks = [block for block in self.page.blocks if isinstance(block, Rows)]
        return {row.label: row for block in blocks for row in block.rows}

    def prose(self) -> str:
        return " ".join(block.text for block in self.page.blocks if isinstance(block, Prose))

    # -- doing

    def press(self, label: str, times: int = 1) -> "Installer":
        for _ in range(times):
            keys = self.screen.keys
            found = [key for key in keys if key.label == label]
            assert found, f"no key is called {label!r}: {self.keys}"
            self.play.after(1.5).on(KeyPressed(keys.index(found[0]) + 1, found[0].action))
            self._controller()
        return self

    def let_a_phone_in(self) -> "Installer":
        """As its listener tells; how it comes to that: tests/test_phone.py."""
        station, now = self.play.station, self.play.now
        panel = replace(station.panel, phone_at=now, phone_until=now + SERVICE_S)
        told = PhoneTold(now, "https://192.168.4.1:8443", guest="192.168.4.7")
        self.play.station = replace(station, panel=panel, phone=told)
        return self

    def enter(self, name: str, value: str, *, by_phone: bool = False) -> "Installer":
        if by_phone:
            self.let_a_phone_in()
        self.play.on(FieldEntered(name, value, by_phone))
        self._controller()
        return self

    def choose(self, name: str) -> Field:
        """Bring the cursor to a field, by keys."""
        for _ in range(9):
            if (field := self.field(name)).chosen:
                return field
            self.press("Next field")
        raise AssertionError(f"the cursor never comes to {name}")

    def spell(self, name: str, text: str) -> "Installer":
        """Type with four keys."""
        self.choose(name)
        self.press("Change").clear(name)
        for sign in text:
            self._turn(name, sign.upper())
            self.press("Add")
        self._turn(name, "✓")
        return self.press("Save")

    def clear(self, name: str) -> None:
        while self.field(name).value:
            self._turn(name, "⌫")
            self.press("Delete")

    def set(self, name: str, value: str) -> "Installer":
        """Choose or count with minus and plus."""
        self.choose(name)
        self.press("Change")
        for _ in range(300):
            field = self.field(name)
            if field.value == value:
                return self.press("Save")
            is_less = field.kind == "number" and int(field.value) > int(value)
            self.press("−" if is_less else "+")
        raise AssertionError(f"{name} never becomes {value}")

    def _turn(self, name: str, sign: str) -> None:
        """The shorter way round."""
        field, editing = flow.edited(self.play.station), self.play.station.wizard.editing
        assert field and editing
        signs = flow.wheel(field, editing.value)
        ahead = (signs.index(sign) - editing.turn) % len(signs)
        back = len(signs) - ahead
        self.press("+", ahead) if ahead <= back else self.press("−", back)
        assert self.field(name).shown.endswith(f"[{sign}]")

    def _controller(self) -> None:
        """It stores the limit, and says so: raised only while nothing is offered."""
        for order in self.play.commissioned[self.commissioned :]:
            is_busy = any(port.report and port.report.offer_ma for port in self.play.station.ports)
            if order.circuit_limit_ma <= self.stored_ma or not is_busy:
                self.stored_ma = order.circuit_limit_ma
            self.play.on(ControllerFound(7, 60.0, self.stored_ma))
        self.commissioned = len(self.play.commissioned)

    # -- the world around

    def online(self) -> "Installer":
        self.play.on(LinkChanged(Link.UP))
        return self

    def heard(self) -> "Installer":
        """The cloud has acknowledged everything."""
        self.play.on(StatusDelivered())
        return self

    def service(self) -> "Installer":
        self.play.on(ServiceOpened("button"))
        self.play.station = flow.enter(self.play.station, self.play.now)  # as the service menu does
        return self

    def video(self) -> "Installer":
        self.play.on(PanelTold(drawn=True, video=True))
        return self


def activate(me: Installer) -> None:
    """Its last owner's cloud switches it on again, whatever the installer is at."""
    owner = replace(me.play.station.owner, activation=Activation("Yard 1", "Acme"))
    me.play.station = replace(me.play.station, owner=owner)
    me.play.command("SetVariables", setVariableData=[{
        "component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}, "attributeValue": "true",
    }])  # fmt: skip
