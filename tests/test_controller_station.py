"""A build brings the port controller its firmware through the station: the update service, the launcher and what the
agent's unit starts before the agent, as they are; the controller is a real MicroPython on its own line."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.update.chip import Look, Report
from agent.update.chipline import Tty, converse
from board import firmware
from board.controller import contract
from tests import flashstation
from tests.flashsite import Quick, Site
from tests.process import until
from tests.rig import need_interpreter
from tests.slotchip import sealed
from tests.supervised import TABLE, Supervised
from tools.flashing import packing, steps
from tools.flashing.buildfile import BuildFile

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "board" / "systemd" / "station-agent.service"
RESCUE = "/usr/lib/station-agent/rescue/"
RANGE = [contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Supervised]:
    need_interpreter()
    folder = tmp_path / "chip"
    folder.mkdir()
    with closing(Supervised(folder, firmware.image(TABLE, "1"))) as found:
        yield found


class Station(Site):
    def __init__(self, folder: Path, controller: Supervised) -> None:
        self.said: list[str] = []
        self.tty = controller.path
        super().__init__(folder, hands=Quick)
        named = f'link = "serial"\ntty = "{self.tty}"\nchip = "unix"\n'
        self.where.board.write_text(f'name = "test"\n[controller]\n{named}')

    def confirmed(self) -> None:
        """The service has found the agent well, as `Quick` does at once."""
        until(lambda: self.engine.state.trial is None and self.engine.state.last is not None)

    def start_agent(self) -> None:
        """What systemd runs before ExecStart, with folders of ours; the slot's tree is what it runs out of."""
        launcher = "agent/update/launcher.py"
        places = {
            RESCUE + launcher: [str(ROOT / launcher), str(self.root), str(self.choice)],
            "/etc/station-agent/board.toml": [str(self.where.board)],
            "/var/lib/station-agent/controller": [str(self.folder / "controller")],
            "/usr/bin/python3": [sys.executable],
        }  # fmt: skip
        for line in UNIT.read_text().replace("\\\n", "").splitlines():
            key, _, value = line.partition("=")
            if key == "ExecStartPre":
                words = [word for each in shlex.split(value.lstrip("-+")) for word in places.get(each, [each])]
                done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
                self.said += done.stdout.splitlines()


def build(folder: Path, version: str, rom: bytes, image: str) -> BuildFile:
    """The app is what the agent's unit needs of it before the agent; the rest of it would only take time."""
    files = [*(ROOT / "agent").glob("*.py"), *(ROOT / "agent" / "update").glob("*.py")]
    files += [*(ROOT / "board").glob("*.py"), *(ROOT / "board" / "controller").glob("*.py")]
    content = {str(path.relative_to(ROOT)): (path.read_bytes(), False) for path in files}
    facts = {"version": version, "contract": RANGE}
    app = [
        packing.Content("app", name, {"build_time_s": 1, "python": "3.11", "schema": [1, 2], **facts}, content)
        for name in ("x86_64", "aarch64")
    ]
    chip = packing.Content(
        "controller", "test", {"board": "test", "pins_hash": "", "image": image, **facts}, {"app.rom": (rom, False)}
    )
    unsigned = packing.packed(version, "c" * 40, 1, [*app, chip])
    path = folder / f"{version}.build"
    path.write_bytes(packing.sealed(unsigned, flashstation.ring(), flashstation.prod_key()))
    return BuildFile(path)


def runs(controller: Supervised) -> Report:
    with closing(Tty(controller.path)) as line:
        return converse(line, Look(nonce=b"a look--"))


@pytest.mark.promise("S8")
def test_a_build_that_is_flashed_onto_a_station_brings_the_controller_its_firmware_and_a_rollback_the_old(
    tmp_path: Path, controller: Supervised
) -> None:
    old, new = firmware.image(TABLE, "1"), firmware.image(TABLE, "2")
    with closing(Station(tmp_path, controller)) as station:
        with closing(build(tmp_path, "1.0", old, "1")) as file:
            station.flash(file)
        assert station.said[-1] == "the controller runs 1 already"
        station.confirmed()
        with closing(build(tmp_path, "2.0", new, "2")) as file:
            station.flash(file)
        found = runs(controller)
        assert (found.version, found.on_trial) == ("2", True), station.said
        assert "runs 2, on trial" in station.said[-1]
        station.confirmed()
        station.talk(lambda talk, tell: steps.rolled_back(talk, "it is not liked", tell))
        assert runs(controller).version == "1", station.said


@pytest.mark.promise("S8")
def test_firmware_that_does_not_start_is_tried_once_and_the_stations_own_build_goes_on(
    tmp_path: Path, controller: Supervised
) -> None:
    with closing(Station(tmp_path, controller)) as station:
        with closing(build(tmp_path, "2.0", sealed("2 dead", 9_000, "test"), "2 dead")) as file:
            station.flash(file)
        assert "did not come up, the controller runs 1 again" in station.said[-1]
        assert runs(controller).fell_back and station.choice.read_text().split()[2] == "2.0"
        station.confirmed()
        station.start_agent()
        assert "2 dead has failed its trial" in station.said[-1]
