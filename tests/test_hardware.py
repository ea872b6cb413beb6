"""The drivers of a board on the agent's loop: what fails is told, what is to be seen is shown."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agent import cli
from agent.board import BOARDS, Board, read_board
from agent.events import (
    CaseTold,
    Cp,
    KeyPressed,
    Machine,
    PartTold,
    PortChosen,
    ScreenLit,
    ScreenTouched,
    ServiceOpened,
)
from agent.faults import Fault
from agent.hal.device import STEADY_S
from agent.hal.display import Backlight
from agent.hardware import CLOSED_S, FAN_OFF_DC, FAN_ON_DC, HOLD_S, LIGHT_S, Hardware, component, is_fan_wanted, is_read
from agent.navigation import page
from agent.panel import Page
from agent.port import faults
from agent.settings import ConfigError, Settings
from agent.sim.gpio import SimChips
from agent.ui.led import ERROR, PATTERNS, Light, Pattern
from agent.ui.view import screen
from tests.hal import Kernel, Turns
from tests.play import Play
from tests.process import started_box, until, write_files
from tests.test_together import Running

CHIP = "gpiochip0"
FAN, LID, STOP, BUTTON = ((CHIP, line) for line in range(4))
LINES = f"""
[[output]]
name = "fan"
role = "fan"
chip = "{CHIP}"
line = 0
[[input]]
name = "lid"
role = "tamper"
chip = "{CHIP}"
line = 1
bias = "pull_up"
[[input]]
name = "stop"
role = "emergency_stop"
chip = "{CHIP}"
line = 2
bias = "pull_up"
[[input]]
name = "button1"
role = "button"
evse_id = 1
chip = "{CHIP}"
line = 3
"""


DUO, CM4 = ((BOARDS / f"{name}.toml").read_text() for name in ("duo_sim", "duo_cm4"))
BARE = CM4[: CM4.index("[reader]")] + '[reader]\nkind = "none"\n'


def board(tables: str = "", text: str = DUO) -> Board:
    return read_board(text + tables, "b.toml")


class Bench:
    """A board's hardware in simulated time. Lid and stop are closed contacts to ground, as they should be wired."""

    def __init__(self, tables: str = LINES, text: str = DUO) -> None:
        self.chips, self.turns = SimChips(), Turns()
        self.play = Play(Settings(), ports=2, plug=False)
        self.station = self.play.see(1).see(2).station
        for wire in (LID, STOP, BUTTON):
            self.chips.contact(wire, False)
        self.shown: list[tuple[Pattern | None, ...]] = []  # at the controller
        self.hardware = Hardware(
            board(tables, text), self.turns.post, self.turns.aside, self.chips, lambda: self.chips.now,
            chips=self.chips, light=lambda lights, now: self.shown.append(lights),
        )  # fmt: skip
        self.run(1)

    def due(self, now: float) -> None:
        self.hardware.due(now)
        self.hardware.show(self.station, now)

    def next_deadline(self) -> float:
        return self.hardware.next_deadline()

    def run(self, seconds: float) -> list[Any]:
        """What was posted meanwhile."""
        before = len(self.turns.posted)
        self.chips.run(self.chips.now + seconds, self)
        return self.turns.posted[before:]

    def hot(self, temperature_dc: int) -> "Bench":
        first, *rest = self.station.ports
        assert first.report
        warm = replace(first, report=replace(first.report, temperature_dc=temperature_dc))
        self.station = replace(self.station, ports=(warm, *rest))
        self.run(2)
        return self

    def told(self) -> dict[str, PartTold]:
        """Of each part the last word."""
        return {event.part: event for event in self.turns.posted if isinstance(event, PartTold)}


def test_every_part_of_the_board_is_told_of_and_works_until_it_does_not() -> None:
    told = Bench().told()
    assert told.keys() == {"output.fan", "input.lid", "input.stop", "input.button1", "EmergencyStop.stop"}
    assert not any(part.problem for part in told.values())


SERVICE = (CHIP, 4)
SERVICE_KEY = f"""
[[input]]
name = "service"
role = "service"
chip = "{CHIP}"
line = 4
active_low = true
bias = "pull_up"
"""


def held(bench: Bench, seconds: float) -> list[Any]:
    """The key inside is pressed so long; how often the service was opened."""
    bench.chips.contact(SERVICE, False)
    posted = bench.run(seconds)
    bench.chips.contact(SERVICE, True)
    posted += bench.run(1)
    return [event for event in posted if isinstance(event, ServiceOpened)]


def with_service_key(*, down: bool = False) -> Bench:
    bench = Bench("", DUO)
    bench.hardware.close()
    bench.chips.contact(SERVICE, not down)
    bench.hardware = Hardware(
        board(SERVICE_KEY), bench.turns.post, bench.turns.aside, bench.chips, lambda: bench.chips.now, chips=bench.chips
    )
    bench.run(1)
    return bench


def test_the_key_inside_opens_the_service_when_it_is_held_for_five_seconds_once() -> None:
    bench = with_service_key()
    assert held(bench, HOLD_S - 0.3) == []
    assert held(bench, HOLD_S + 30) == [ServiceOpened("button")]
    assert held(bench, HOLD_S + 1) == [ServiceOpened("button")]
    assert not any(held(bench, 2) for _ in range(4)), "four short ones are not a long one"


@pytest.mark.promise("S9")
def test_a_service_key_that_is_stuck_from_the_start_or_loses_its_chip_opens_nothing() -> None:
    bench = with_service_key(down=True)
    assert not [event for event in bench.run(60) if isinstance(event, ServiceOpened)]
    bench.chips.contact(SERVICE, True)
    bench.run(1)
    bench.chips.contact(SERVICE, False)
    bench.run(2)
    bench.chips.unplug(CHIP)
    assert not [event for event in bench.run(30) if isinstance(event, ServiceOpened)]
    bench.chips.gone.clear()
    assert not [event for event in bench.run(30) if isinstance(event, ServiceOpened)]


@pytest.mark.promise("S9")
def test_a_part_that_fails_is_told_with_its_sentence_once_and_comes_back() -> None:
    bench = Bench()
    bench.chips.unplug(CHIP)
    failed = [event for event in bench.run(30) if isinstance(event, PartTold)]
    assert sorted(event.part for event in failed) == ["input.button1", "input.lid", "input.stop", "output.fan"]
    assert all(event.code == "device" and event.fix.startswith("Check its cable") for event in failed)
    bench.chips.gone.clear()
    bench.run(STEADY_S + 3)
    assert not any(part.problem for part in bench.told().values())


def test_a_chip_that_is_not_there_at_the_start_is_a_failed_part_in_the_first_turn() -> None:
    chips, turns = SimChips(), Turns()
    chips.gone.add(CHIP)
    Hardware(board(LINES), turns.post, turns.aside, chips, turns.now, chips=chips).due(0.0)
    last = {event.part: event.problem for event in turns.posted}
    assert len(last) == 4 and all(last.values())


def test_an_emergency_stop_is_told_while_it_is_pressed_and_a_broken_wire_is_one() -> None:
    bench = Bench()
    bench.chips.contact(STOP, None)
    bench.run(1)
    assert bench.told()["EmergencyStop.stop"].problem == "The emergency stop is pressed."
    bench.chips.contact(STOP, False, bounce_s=0.01)
    bench.run(STEADY_S + 1)
    assert not bench.told()["EmergencyStop.stop"].problem


@pytest.mark.promise("S10")
def test_an_emergency_stop_whose_wire_chatters_is_told_once() -> None:
    bench = Bench()
    said = []
    for i in range(100):
        bench.chips.contact(STOP, None if i % 2 else False)
        said += [e.problem for e in bench.run(0.3) if isinstance(e, PartTold)]
    assert said == ["The emergency stop is pressed."]


def test_a_button_chooses_its_port() -> None:
    bench = Bench()
    bench.chips.contact(BUTTON, True, bounce_s=0.005)
    assert [event for event in bench.run(1) if isinstance(event, PortChosen)] == [PortChosen(1)]


def lids(happened: list[Any]) -> list[bool]:
    return [event.is_open for event in happened if isinstance(event, CaseTold)]


@pytest.mark.promise("S9")
def test_an_opened_lid_is_told_at_once_and_closed_when_it_has_stayed_so_however_it_chatters() -> None:
    bench = Bench()
    assert lids(bench.turns.posted) == [False]
    seen = []
    for i in range(round(CLOSED_S) * 2):
        bench.chips.contact(LID, None if i % 2 else False)
        seen += lids(bench.run(1))
    assert seen == [True], "never closed for long"
    bench.chips.contact(LID, False)
    assert lids(bench.run(CLOSED_S - 2)) == [] and lids(bench.run(4)) == [False]


def told_of_the_lid(play: Play) -> list[str]:
    """In order: the security event, and the sensor's value."""
    said = []
    for record in play.records:
        if record.action == "SecurityEventNotification" and record.payload["type"] == "TamperDetectionActivated":
            said.append(f"tampered {record.payload['techInfo']}")
        said += [
            event["actualValue"] + (" cleared" if event.get("cleared") else "")
            for event in record.payload.get("eventData", [])
            if event["component"] == {"name": "CaseAccessSensor", "instance": "lid"}
        ]
    return said


LID_OPEN, LID_CLOSED = CaseTold("lid", is_open=True), CaseTold("lid", is_open=False)


def test_the_cloud_hears_of_a_lid_once_per_opening_and_of_its_closing() -> None:
    play = Play(machine=Machine(contacts=("lid",))).on(LID_CLOSED)
    assert told_of_the_lid(play) == []
    play.on(LID_OPEN).on(LID_OPEN)
    assert told_of_the_lid(play) == ["tampered lid", "true"]
    play.on(LID_CLOSED).on(LID_CLOSED).on(LID_OPEN)
    assert told_of_the_lid(play)[2:] == ["false cleared", "tampered lid", "true"]


def test_a_lid_that_stays_open_over_a_restart_is_not_told_again_and_one_closed_meanwhile_is() -> None:
    play = Play(machine=Machine(contacts=("lid",))).on(LID_OPEN)
    before = len(told_of_the_lid(play))
    play = play.reboot(30).on(LID_OPEN)
    assert len(told_of_the_lid(play)) == before
    play = play.reboot(30).on(LID_CLOSED)
    assert told_of_the_lid(play)[before:] == ["false cleared"]
    other = Play(machine=Machine(), facts={"opened": ["lid"]})
    assert other.station.opened == frozenset(), "a contact that this board has not"


MORE = f"""
[[output]]
name = "lamp"
role = "light"
chip = "{CHIP}"
line = 4
[[output]]
name = "door"
role = "enclosure_lock"
chip = "{CHIP}"
line = 5
safe = true
[[output]]
name = "pump"
role = "auxiliary"
chip = "{CHIP}"
line = 6
"""
LAMP, DOOR, PUMP = ((CHIP, line) for line in range(4, 7))


def test_the_light_is_on_while_somebody_is_there_or_as_it_was_set() -> None:
    bench = Bench(MORE)
    bench.run(LIGHT_S)
    assert bench.chips.level(LAMP) is False
    bench.station = bench.play.see(1, cp=Cp.B).station
    bench.run(2)
    assert bench.chips.level(LAMP) is True
    bench.run(LIGHT_S)
    assert bench.chips.level(LAMP) is False, "the driver has gone for coffee"
    bench.station = bench.play.unplug(1).station
    bench.run(2)
    assert bench.chips.level(LAMP) is True, "and is back"
    for light, is_on in (("off", False), ("on", True)):
        settings = structs.replace(bench.station.settings, light=light)
        bench.station = replace(bench.station, settings=settings)
        bench.run(LIGHT_S)
        assert bench.chips.level(LAMP) is is_on
    bench.hardware.close()
    assert bench.chips.level(LAMP) is False


def test_a_touch_and_a_refusal_light_it_too() -> None:
    bench = Bench(MORE)
    bench.run(LIGHT_S)
    bench.hardware._heard(ScreenTouched())
    bench.run(2)
    assert bench.chips.level(LAMP) is True
    bench.run(LIGHT_S)
    assert bench.chips.level(LAMP) is False
    bench.station = bench.play.tap("04EEEEEEEEEEEE").station
    bench.run(2)
    assert (bench.station.asks or bench.station.notices) and bench.chips.level(LAMP) is True


def test_the_cloud_switches_what_is_its_own_and_all_is_safe_at_the_end() -> None:
    bench = Bench(MORE)
    assert (bench.chips.level(DOOR), bench.chips.level(PUMP)) == (True, False)
    bench.station = replace(bench.station, outputs={"door": False, "pump": True, "lamp": True, "gone": True})
    bench.run(2)
    assert (bench.chips.level(DOOR), bench.chips.level(PUMP)) == (False, True)
    bench.chips.unplug(CHIP)
    bench.run(2)
    assert "Check its cable" in bench.told()["output.door"].fix
    bench.chips.gone.clear()
    bench.run(STEADY_S + 3)
    assert (bench.chips.level(DOOR), bench.chips.level(PUMP)) == (False, True), "set again when the chip is back"
    bench.hardware.close()
    assert (bench.chips.level(DOOR), bench.chips.level(PUMP)) == (True, False)


def test_a_lock_on_linux_is_never_the_connectors() -> None:
    with pytest.raises(ConfigError, match='"enclosure_lock"'):
        board(MORE.replace("enclosure_lock", "lock"))


def test_a_fan_has_hysteresis_and_stands_still_when_all_ends() -> None:
    bench = Bench()
    for temperature_dc, is_on in (
        (FAN_ON_DC - 1, False), (FAN_ON_DC, True), (FAN_OFF_DC, True), (FAN_OFF_DC - 1, False),
        (FAN_ON_DC - 1, False), (FAN_ON_DC + 200, True),
    ):  # fmt: skip
        assert bench.hot(temperature_dc).chips.level(FAN) is is_on, temperature_dc
    bench.hardware.close()
    assert bench.chips.level(FAN) is False


@given(st.lists(st.integers(-400, 1_200), min_size=1, max_size=50))
def test_a_fan_never_stands_still_above_its_band_and_never_runs_below(temperatures_dc: list[int]) -> None:
    is_on = False
    for temperature_dc in temperatures_dc:
        was, is_on = is_on, is_fan_wanted(is_on, [temperature_dc, -400])
        assert is_on or temperature_dc < FAN_ON_DC
        assert not is_on or temperature_dc >= FAN_OFF_DC
        assert is_on == was or not FAN_OFF_DC <= temperature_dc < FAN_ON_DC


def lights(bench: Bench) -> list[Light]:
    wished = bench.hardware._leds._wished  # type: ignore[union-attr]
    names: dict[Pattern | None, Light] = {pattern: light for light, pattern in PATTERNS.items()}
    return [names[wished[f"port{evse_id}"]] for evse_id in (1, 2)]


LEDS = '\n[[led]]\nname = "port1"\nred = "a:red"\n[[led]]\nname = "port2"\nred = "b:red"\n'


def test_lights_follow_the_ports_and_a_light_that_is_not_there_is_a_failed_part() -> None:
    bench = Bench(LEDS)
    shown = [port.led for port in screen(bench.station, bench.chips.now).ports]
    assert lights(bench) == shown
    assert "not there" in bench.told()["light.port1"].problem
    bench.station = bench.play.see(1, cp=Cp.B).station
    bench.run(2)
    after = [port.led for port in screen(bench.station, bench.chips.now).ports]
    assert lights(bench) == after and after[0] != shown[0] and after[1] == shown[1]


def test_lights_that_linux_has_not_are_shown_at_the_controller() -> None:
    bench = Bench("")
    assert bench.shown[-1] == tuple(PATTERNS[port.led] for port in screen(bench.station, bench.chips.now).ports)
    bench.station = bench.play.see(1, cp=Cp.B).station
    bench.run(2)
    assert bench.shown[-1] == tuple(PATTERNS[port.led] for port in screen(bench.station, bench.chips.now).ports)
    assert bench.shown[-1] != bench.shown[0]
    assert not Bench(LEDS).shown


ERRORS = LEDS + f"""
[[led]]
name = "error"
red = "c:red"
[[output]]
name = "alarm"
role = "error"
chip = "{CHIP}"
line = 7
"""
ALARM = (CHIP, 7)


def test_the_error_led_is_lit_while_somebody_must_mend_something_and_dark_again_after() -> None:
    bench = Bench(ERRORS)

    def lit() -> tuple[bool, bool | None]:
        bench.run(2)
        return bench.hardware._leds._wished["error"] == ERROR, bench.chips.level(ALARM)  # type: ignore[union-attr]

    assert lit() == (False, False)
    bench.station = bench.play.see(2, faults=frozenset({Fault.OVER_TEMPERATURE})).station
    assert lit() == (True, True)
    bench.station = bench.play.see(2, faults=frozenset()).station
    assert lit() == (False, False)
    bench.station = bench.play.on(PartTold("Display", "Nothing is drawn.", "Look at its cable.", "display")).station
    assert lit() == (True, True)
    bench.hardware.close()
    assert bench.chips.level(ALARM) is False


def test_an_error_led_alone_takes_no_ports_light_from_its_controller_and_is_no_ports() -> None:
    alone = '\n[[led]]\nname = "error"\nred = "c:red"\n'
    assert board(alone).lights_at_controller == (True, True)
    with pytest.raises(ConfigError, match="station's own light"):
        board(alone, DUO.replace('led = "port1"', 'led = "error"'))


KEYS = "".join(
    f'\n[[input]]\nname = "key{i}"\nrole = "key"\nkey = {i}\nchip = "{CHIP}"\nline = {i + 9}\n' for i in range(1, 5)
)


def test_four_buttons_are_the_displays_four_keys() -> None:
    bench = Bench(KEYS)
    for i in (3, 1):
        bench.chips.contact((CHIP, i + 9), True, bounce_s=0.005)
        assert [event for event in bench.run(1) if isinstance(event, KeyPressed)] == [KeyPressed(i)]
        bench.chips.contact((CHIP, i + 9), False)
        assert not [event for event in bench.run(1) if isinstance(event, KeyPressed)]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("key = 4", "key = 1", "soft key 1"),
        ("key = 4\n", "", "type key = 1, 2, 3 or 4"),
        ('role = "key"', 'role = "auxiliary"', 'exactly where role = "key"'),
        ("key = 4", "key = 5", "cannot be"),
    ],
)
def test_keys_that_cannot_be_are_refused(old: str, new: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        board(KEYS.replace(old, new))


DISPLAY = '\n[display]\nbacklight = "bl"\ndim_after_s = 60\ndark_after_s = 300\n'


class Lit(Bench):
    """A bench with a backlight in a folder, whose happenings reach the core."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = Kernel(folder)
        kernel.make("bl", max_brightness=100, brightness=100, bl_power=0)
        self.file = folder / "bl" / "brightness"
        monkeypatch.setattr("agent.hardware.Backlight", partial(Backlight, folder=folder, sysfs=kernel))
        super().__init__(LINES + KEYS + DISPLAY)

    def run(self, seconds: float) -> list[Any]:
        happened = []
        for _ in range(round(seconds)):
            now = super().run(1)
            happened += now
            self.play.now = self.chips.now
            for event in now:
                if isinstance(event, ScreenLit | ScreenTouched | KeyPressed | PortChosen):
                    self.station = self.play.on(event).station
        return happened

    @property
    def level(self) -> int:
        return int(self.file.read_text())


@pytest.fixture
def lit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lit:
    return Lit(tmp_path, monkeypatch)


def test_a_press_on_the_dark_display_wakes_it_and_does_nothing_else(lit: Lit) -> None:
    lit.run(310)
    assert (lit.level, lit.station.panel.lit) == (0, False)
    lit.chips.contact((CHIP, 10), True)
    lit.run(2)
    assert (lit.level, lit.station.panel.lit, page(lit.station)) == (100, True, Page.HOME)
    lit.chips.contact((CHIP, 10), False)
    lit.run(1)
    lit.chips.contact((CHIP, 10), True)
    lit.run(1)
    assert page(lit.station) is Page.HELP


def test_a_press_in_the_browser_wakes_it_too(lit: Lit) -> None:
    lit.run(310)
    lit.station = lit.play.on(KeyPressed(1, "help")).station
    lit.run(1)
    assert (lit.level, page(lit.station)) == (100, Page.HOME)
    lit.run(310)
    lit.station = lit.play.on(PortChosen(2)).station
    lit.run(1)
    assert (lit.level, page(lit.station)) == (100, Page.HOME)


def test_it_is_never_dark_while_a_car_is_here_or_somebody_is_spoken_to(lit: Lit) -> None:
    lit.station = lit.play.see(1, cp=Cp.B).station
    lit.run(600)
    assert lit.level == 100
    lit.station = lit.play.unplug(1).station
    lit.run(310)
    assert lit.level == 0
    lit.station = lit.play.tap("04EEEEEEEEEEEE").station
    assert is_read(lit.station)
    lit.run(1)
    assert lit.level == 100


def test_a_board_without_drivers_or_lights_costs_no_turn() -> None:
    bench = Bench("", BARE)
    assert bench.next_deadline() == float("inf") and not bench.turns.posted


@pytest.mark.parametrize("device", ["output fan", "keys /dev/input/by-path/platform-gpio-keys-with-a-long-name-event"])
def test_a_parts_name_can_be_said_on_the_wire(device: str) -> None:
    name = component(device)
    assert 0 < len(name) <= 50 and " " not in name and "/" not in name


def test_after_a_kill_the_outputs_of_a_board_are_made_safe_or_said(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "b.toml"
    path.write_text((BOARDS / "duo_sim.toml").read_text())
    assert cli.main(["board", "safe", str(path)]) == 0
    pytest.importorskip("gpiod", reason='needs gpiod: pip install "station-agent[device]"')
    path.write_text(path.read_text() + LINES.replace(CHIP, str(tmp_path / "gpiochip9")))
    assert cli.main(["board", "safe", str(path)]) == cli.FAILED
    assert "(fan) is not there: check its cable" in capsys.readouterr().out


EVERYTHING = """
[meter]
kind = "modbus"
tty = "{folder}/ttyS9"
units = [1, 2]
energy_wh = {{ address = 0, type = "uint32" }}
power_w = {{ address = 2, type = "uint16" }}
current_ma = [{{ address = 3, type = "uint16" }}]
voltage_mv = [{{ address = 4, type = "uint32" }}]
[[led]]
name = "port1"
red = "nothing:red"
[[led]]
name = "port2"
red = "nothing:green"
[[keys]]
path = "{folder}/event9"
[[sensor]]
name = "case"
kind = "hwmon"
chip = "nothing"
[display]
backlight = "nothing"
[rtc]
device = "rtc99"
[gnss]
device = "{folder}/ttyS8"
"""


@pytest.mark.promise("S9")
def test_an_agent_whose_every_driver_finds_nothing_runs_and_says_so_of_each(tmp_path: Path) -> None:
    pytest.importorskip("pymodbus")
    box, _ = started_box(tmp_path)
    board_path, config = write_files(tmp_path, box)
    board_path.write_text(board_path.read_text() + EVERYTHING.format(folder=tmp_path))
    running = Running(board_path, config)
    keys = component(f"keys {tmp_path}/event9")
    lights = {"light.port1", "light.port2"}
    missing = lights | {keys, "temperature.case", "backlight", "clock.chip", "GNSS.receiver", "Meter.1", "Meter.2"}
    try:
        until(lambda: {part for part, told in running.app.shell.station.parts.items() if told.problem} == missing)
        until(lambda: all(Fault.METER_FAULT in faults(port) for port in running.app.shell.station.ports))
    finally:
        running.close()
        box.close()


def test_what_a_board_does_not_name_is_not_imported() -> None:
    code = """
import sys
from agent.app import App
from agent import cli
from agent.board import BOARDS, load
from agent.hardware import Hardware
Hardware(load(BOARDS / "duo_sim.toml"), print, print, None, float)
assert "agent.hal.modbus" in sys.modules
print({"gpiod", "pymodbus", "smartcard"} & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout == "set()\n", done.stdout + done.stderr
