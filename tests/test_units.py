"""The units in board/systemd: systemd takes them, what they start is there, and after a kill the lines are safe."""

import os
import shlex
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.process import Agent, started_box, until, write_files

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "board" / "systemd"
OPT = "/opt/station-agent/bin/"
SERVICES = sorted(UNITS.glob("*.service"))
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def commands(unit: Path) -> dict[str, list[str]]:
    """What the unit starts, by key; the prefixes of systemd.service(5) are gone."""
    lines = unit.read_text().replace("\\\n", "").splitlines()
    execs = (line.partition("=") for line in lines if line.startswith("Exec"))
    return {key: shlex.split(value.lstrip("-@:+!")) for key, _, value in execs}


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
    copy = folder / unit.name
    copy.write_text(unit.read_text().replace(OPT, f"{bin_}/"))
    return copy


@pytest.mark.needs("systemd-analyze", "systemd")
def test_systemd_takes_every_unit_without_a_word(tmp_path: Path, installed: Path) -> None:
    units = [placed(unit, tmp_path, installed) for unit in (*SERVICES, *UNITS.glob("*.socket"))]
    assert len(units) == 3
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
        assert program.startswith(OPT), key
        match Path(program).name, args:
            case "python", ["-P", "-m", module]:
                assert find_spec(module), key
            case name, _:
                assert name in SCRIPTS, key
                help_ = [a for a in args if not a.startswith(("-", "/"))]
                asked = [sys.executable, "-m", "agent", *help_, "--help"]
                said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
                assert all(a in said for a in args if a.startswith("--")), key


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
def test_after_a_kill_the_units_own_line_puts_the_outputs_where_they_are_safe(tmp_path: Path, installed: Path) -> None:
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
    program, *args = commands(UNITS / "station-agent.service")["ExecStopPost"]
    line = [program.replace(OPT, f"{installed}/"), *(str(board) if arg.endswith("board.toml") else arg for arg in args)]
    subprocess.run(line, env=os.environ | {"PYTHONPATH": path}, check=True, timeout=60)
    assert levels() == ["False", "True"]
