"""The units in board/systemd: systemd takes them, what they start is there, and after a kill the lines are safe."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent import updater
from agent.modem import assembly
from agent.ui import browser, panelurl
from agent.ui.kiosk import Renderer, Units
from agent.update import engine, launcher
from tests.process import Agent, started_box, until, write_files

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "board" / "systemd"
OPT = "/opt/station-agent/bin/"
TREE = "/usr/lib/station-agent/rescue/"  # of the image, read only; the launcher is of it
LAUNCHER = "agent/update/launcher.py"
SERVICES = sorted(UNITS.glob("*.service"))
OTHERS = [*UNITS.glob("*.socket"), *UNITS.glob("*.path")]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def commands(unit: Path) -> dict[str, list[str]]:
    """What the unit starts, by key, the second of a key with a 2; the prefixes of systemd.service(5) are gone."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().replace("\\\n", "").splitlines():
        if line.startswith("Exec"):
            key, _, value = line.partition("=")
            found[f"{key} 2" if key in found else key] = shlex.split(value.lstrip("-@:+!"))
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """/opt/station-agent/bin as the image has it, elsewhere."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    script = folder / "station-agent"
    script.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m agent "$@"\n')
    script.chmod(0o755)
    return folder


def placed(unit: Path, folder: Path, bin_: Path) -> Path:
    """A template as the one for the kiosk; what Debian brings need not be here."""
    copy = folder / unit.name.replace("@", "@kiosk")
    copy.write_text(re.sub("/usr/bin/(cog|systemctl)", "/bin/true", unit.read_text().replace(OPT, f"{bin_}/")))
    return copy


@pytest.mark.needs("systemd-analyze", "systemd")
def test_systemd_takes_every_unit_without_a_word(tmp_path: Path, installed: Path) -> None:
    units = [placed(unit, tmp_path, installed) for unit in (*SERVICES, *OTHERS)]
    assert len(units) == 13
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if any(unit.name in line for unit in units)]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.needs("systemd-analyze", "systemd")
def test_a_key_that_systemd_does_not_know_is_seen(tmp_path: Path, installed: Path) -> None:
    unit = placed(SERVICES[0], tmp_path, installed)
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "'WatchDogSec'" in done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: str(unit.name))
def test_what_a_unit_starts_comes_with_the_software(unit: Path) -> None:
    assert commands(unit)
    for key, (program, *args) in commands(unit).items():
        assert program.startswith(OPT) or program in ("/usr/bin/systemctl", "/usr/bin/python3"), key
        match Path(program).name, args:
            case "systemctl", ["--no-block", "restart", "station-%i.service"]:
                assert {f"station-{each}.service" for each in Renderer} <= {each.name for each in SERVICES}
            case "systemctl", ["--no-block", "restart", "station-agent.service"]:
                assert UNITS / "station-agent.service" in SERVICES
            case "systemctl", ["--no-block", "reboot"]:
                assert unit.name == "station-reboot.service"
            case "python3", ["-I", launcher, *words]:
                assert launcher == TREE + LAUNCHER and (ROOT / LAUNCHER).exists()
                words = words[2:] if words[0].startswith("/") else words  # root and choice
                if key == "ExecStartPre":
                    assert words in (["pick"], ["pick-updater"])
                else:
                    assert words[0] == "run" and takes(words[1], words[2:]), key
            case "python", ["-P", "-m", module, *more]:
                assert find_spec(module), key
                options = [a for a in more[: [*more, "--"].index("--")] if a.startswith("--")]
                asked = [sys.executable, "-m", module, "--help"]
                said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout
                assert all(a in said for a in options), key
            case name, _:
                assert name in SCRIPTS, key
                help_ = [a for a in args if not a.startswith(("-", "/"))]
                asked = [sys.executable, "-m", "agent", *help_, "--help"]
                said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
                assert all(a in said for a in args if a.startswith("--")), key


def takes(module: str, arguments: list[str]) -> bool:
    """Whether the program has these commands, and these options."""
    help_ = [a for a in arguments if not a.startswith(("-", "/"))]
    asked = [sys.executable, "-m", module, *help_, "--help"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return all(a in said for a in arguments if a.startswith("--"))


# -- the updater ------------------------------------------------------------------------------------------------------


@pytest.mark.needs("systemd-analyze", "systemd")
@pytest.mark.parametrize("name", ["agent", "update", "restart", "reboot", "gateway"])
def test_a_unit_may_do_little_more_than_it_needs(name: str) -> None:
    unit = UNITS / f"station-{name}.service"
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_what_the_updater_writes_is_what_the_path_unit_watches() -> None:
    assert f"PathChanged={engine.RESTART}\n" in (UNITS / "station-restart.path").read_text()


def test_what_the_agent_writes_is_what_the_path_unit_for_a_reboot_watches(tmp_path: Path) -> None:
    assert assembly.asked_to_reboot(tmp_path) == "" and (tmp_path / assembly.REBOOT).exists()
    assert f"PathChanged=/run/station-agent/{assembly.REBOOT}\n" in (UNITS / "station-reboot.path").read_text()


def test_agent_and_updater_are_started_out_of_what_was_picked_for_each_of_them() -> None:
    agent, update = ((UNITS / f"station-{each}.service").read_text() for each in ("agent", "update"))
    assert "StateDirectory=station-update\n" in update and str(launcher.ROOT) == "/var/lib/station-update"
    assert "RuntimeDirectory=station-agent\n" in agent and str(launcher.CHOICE) == "/run/station-agent/slot"
    assert update.count("/run/station-update/slot ") == 2 and "RuntimeDirectory=station-update\n" in update
    assert "ExecStartPre=-+" in agent and "ExecStartPre=-/" in update, "if it fails, the rescue tree runs"


def test_an_agent_that_the_launcher_starts_finds_the_updater_where_its_unit_lets_it_listen() -> None:
    image = UNITS.parent / "image/root/etc/systemd/system/station-update.service.d/virt.conf"
    for unit in (UNITS / "station-update.service", image):
        assert f" --orders {updater.SOCKET}" in unit.read_text().replace("\\\n", ""), unit
    environment = launcher.command_of(launcher.ROOT, launcher.CHOICE, "agent", [])[1]
    assert updater.socket_of(None, environment) == Path(updater.SOCKET)
    assert updater.socket_of(None, {}) is None and updater.socket_of("/x", {}) == Path("/x")


@pytest.mark.parametrize("name", ["agent", "update"])
def test_a_kind_of_device_that_a_module_brings_is_known_before_it_is_let_in(name: str) -> None:
    """Else the unit could never open it: systemd leaves out of DeviceAllow= what /proc/devices does not name yet."""
    unit = (UNITS / f"station-{name}.service").read_text()
    assert {"char-ttyUSB", "char-ttyACM"} <= set(re.findall(r"^DeviceAllow=(\S+)", unit, re.MULTILINE))
    modules = "modprobe@usbserial.service modprobe@cdc_acm.service"
    assert f"\nWants={modules}\n" in unit and f"\nAfter={modules}\n" in unit


# -- after a kill -----------------------------------------------------------------------------------------------------

LINES = """
[[output]]
name = "lamp"
role = "light"
chip = "/dev/gpiochip9"
line = 3
[[output]]
name = "door"
role = "enclosure_lock"
chip = "/dev/gpiochip9"
line = 5
safe = true
"""
GPIOD = '''
"""As much of libgpiod as an output needs. A line is a file, and keeps its level when its process dies."""
from enum import Enum
from pathlib import Path
class line:
    Direction = Enum("Direction", "INPUT OUTPUT")
    Drive = Enum("Drive", "PUSH_PULL OPEN_DRAIN OPEN_SOURCE")
    Value = bool
class LineSettings:
    def __init__(self, **facts): self.facts = facts
class Chip:
    def __init__(self, path): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def request_lines(self, config, consumer):
        for number, settings in config.items():
            self.set_value(number, settings.facts["output_value"])
        return self
    def set_value(self, number, value): (Path({folder!r}) / f"line{{number}}").write_text(str(value))
    def get_value(self, number): return (Path({folder!r}) / f"line{{number}}").read_text() == "True"
    def release(self): pass
'''


@pytest.mark.promise("S1")
def test_after_a_kill_the_units_own_line_puts_the_outputs_where_they_are_safe(tmp_path: Path) -> None:
    box, _ = started_box(tmp_path)
    board, config = write_files(tmp_path, box)
    board.write_text(board.read_text() + LINES)
    config.write_text(config.read_text().replace("[settings]", '[settings]\nlight = "on"'))
    (tmp_path / "gpiod.py").write_text(GPIOD.format(folder=str(tmp_path)))
    path = f"{tmp_path}:{ROOT}"

    def levels() -> list[str]:
        lines = [tmp_path / "line3", tmp_path / "line5"]
        return [line.read_text() for line in lines if line.exists()]

    agent = Agent(tmp_path, board, config, PYTHONPATH=path)
    try:
        until(lambda: levels() == ["True", "True"])
    finally:
        agent.end(signal.SIGKILL)
        box.close()
    assert levels() == ["True", "True"], "a killed agent puts nothing anywhere"
    _, isolated, launcher, *args = commands(UNITS / "station-agent.service")["ExecStopPost"]
    slot = tmp_path / "root" / "a" / "tree"
    slot.mkdir(parents=True)
    for part in (ROOT / "agent", ROOT / "board", tmp_path / "gpiod.py"):
        (slot / part.name).symlink_to(part)
    (tmp_path / "choice").write_text("a default 1.0.0\n")
    places = [launcher.replace(TREE, f"{ROOT}/"), str(tmp_path / "root"), str(tmp_path / "choice")]
    rest = [str(board) if arg.endswith("board.toml") else arg for arg in args]
    subprocess.run([sys.executable, isolated, *places, *rest], check=True, timeout=60)
    assert levels() == ["False", "True"]


# -- the display ------------------------------------------------------------------------------------------------------


def test_what_the_agent_writes_is_what_the_path_unit_watches(tmp_path: Path) -> None:
    unit = (UNITS / "station-display@.path").read_text()
    (watched,) = re.findall("^PathChanged=(.*)$", unit, re.MULTILINE)
    for renderer in Renderer:
        assert Units(tmp_path, {}).start(renderer) == ""
        assert (tmp_path / Path(watched.replace("%i", renderer)).name).exists()
    agent = (UNITS / "station-agent.service").read_text()
    assert Path(watched).parent == Path("/run") / re.findall("^RuntimeDirectory=(.*)$", agent, re.MULTILINE)[0]


def test_only_one_of_the_two_draws_and_only_the_framebuffer_is_there_at_power_on() -> None:
    kiosk, framebuffer = ((UNITS / f"station-{each}.service").read_text() for each in Renderer)
    assert "Conflicts=station-framebuffer.service" in kiosk and "station-kiosk.service" in framebuffer
    assert "[Install]" not in kiosk and "WantedBy=sysinit.target" in framebuffer
    for unit in (kiosk, framebuffer):
        assert "User=station-panel" in unit and "IPAddressDeny=any" in unit and "NoNewPrivileges=yes" in unit


BROWSER = "import sys; from pathlib import Path; Path(sys.argv[1]).write_text(Path(sys.argv[2][7:]).read_text())"


def test_the_browser_is_led_to_the_page_and_nobody_sees_the_token_on_its_command_line(tmp_path: Path) -> None:
    panel, seen = tmp_path / "panel.url", tmp_path / "seen"
    panel.write_text("http://127.0.0.1:8400/#abcDEF_-0123456789abcd\n")
    command = [sys.executable, "-c", BROWSER, str(seen)]
    line = [sys.executable, "-m", "agent.ui.browser", "--panel", str(panel), "--", *command]
    pages = set[str]()
    for _ in range(2):
        subprocess.run(line, cwd=ROOT, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}, check=True, timeout=60)
        found = re.search(r'content="0;url=http://127.0.0.1:8400/#(abcDEF_-0123456789abcd)\.(\w+)"', seen.read_text())
        assert found and panelurl.is_kiosk(found[2], found[1])
        pages.add(found[2])
    assert len(pages) == 2, "each start has a page of its own"
    assert (tmp_path / "start.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "http://example.org/", 'http://127.0.0.1:1/#x"><script>', "file:///etc/passwd"])
def test_the_browser_is_led_nowhere_else(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = tmp_path / "panel.url"
    assert browser.main(["--panel", str(panel), "--", "/bin/true"]) == 2
    panel.write_text(text)
    assert browser.main(["--panel", str(panel), "--", "/bin/true"]) == 2
    assert "holds no address" in capsys.readouterr().err and not (tmp_path / "start.html").exists()
