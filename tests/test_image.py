"""The station's image, booted: QEMU is the board, MicroPython on this machine its port controller, tools/flash.py comes
over a serial line, and the plug is pulled. `make test-image`; what it measures it prints.

One story in one test: each power-on takes a quarter of a minute of emulation.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.board import load
from agent.pintable import pin_table, port_board
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.interpreter import RealController
from agent.sim.mosquitto import Mosquitto
from board import chip
from board.firmware import image
from board.image import make, slot
from tests.image import HOST, Station, certify_host
from tests.process import ANN, STATION_ID, until, write_list
from tests.rig import need_interpreter
from tools import devcloud

ROOT = Path(__file__).parent.parent
MADE = ROOT / "build" / "image"
PATIENCE_S = 240.0
TAP_S = 6.0  # between two taps: a decision has been shown by then, and the second is no echo
CONFIG = """
[station]
station_id = "{station_id}"
[broker]
host = "{host}"
port = {port}
ca = "/var/lib/station-agent/pki/ca.pem"
cert = "/var/lib/station-agent/pki/station.pem"
key = "/var/lib/station-agent/pki/station.key"
[operator]
"operator" = "/var/lib/station-agent/pki/operator.pub"
[paths]
state = "/var/lib/station-agent"
control = "/run/station-agent/control.sock"
[settings]
restart_delay_max_s = 0.0
tx_updated_interval_s = 10.0
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("STATION_IMAGE" not in os.environ, reason="type make test-image"),
    pytest.mark.needs("qemu-system-aarch64", "qemu-system-arm"),
    pytest.mark.needs("mke2fs", "e2fsprogs"),
    pytest.mark.needs("mosquitto"),
]


class Flash:
    """One run of tools/flash.py, its events as they come."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, str(ROOT / "tools" / "flash.py"), "--json", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.events: list[dict[str, Any]] = []

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if is_it(self.events[-1]):
                return self.events[-1]
        return None

    def end(self) -> int:
        self.until(lambda _: False)
        return self.process.wait(PATIENCE_S)

    @property
    def said(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()


class Site:
    """Controller, car, reader, broker on this machine; the station in QEMU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        board = load(make.BOARD)
        rom = folder / "rom"
        rom.write_bytes(image(pin_table(board)))
        ports = tuple(port_board(board, port) for port in board.port)
        self.hardware = RealController(partial(chip.firmware, rom), folder / "flash.img", ports, lockstep=True)
        self.box = Box(self.hardware).start()
        pki = folder / "pki"
        devcloud.ca_init(pki)
        devcloud.ca_station(pki, STATION_ID)
        certify_host(pki)
        files = {"cafile": pki / "ca.pem", "certfile": pki / "broker.pem", "keyfile": pki / "broker.key"}
        self.broker = Mosquitto(folder / "broker", **files)
        self.broker.start()
        lines = {
            "controller": f"serial,path={self.box.link.path}", "reader": f"serial,path={self.box.reader.path}",
            "service": "pty",
        }  # fmt: skip
        (folder / "qemu").mkdir()
        self.station = Station(MADE, folder / "qemu", self.from_the_factory(pki), lines)

    def from_the_factory(self, pki: Path) -> Path:
        """/var/lib: the build of the image in slot A, who the station is, and a list with Ann on it."""
        data = self.folder / "data"
        (build,) = MADE.glob("*.build")
        make.fill_data(data, make.Build(build, MADE / "keys" / "root.pub.pem"), None)
        state = data / "station-agent"
        write_list(state, ANN)
        config = CONFIG.format(station_id=STATION_ID, host=HOST, port=self.broker.port)
        (state / "config.toml").write_text(config)
        (state / "pki").mkdir()
        for name in ("ca.pem", "operator.pub"):
            shutil.copyfile(pki / name, state / "pki" / name)
        for suffix in (".pem", ".key"):
            shutil.copyfile(pki / "stations" / f"{STATION_ID}{suffix}", (state / "pki" / "station").with_suffix(suffix))
        return data

    def close(self) -> None:
        self.station.pull_the_plug()
        self.broker.stop()
        self.box.close()

    # -- what is seen from outside

    def offers(self) -> bool:
        return any(name == "offer_ma" and value for _, _, name, value in self.hardware.pins[-3:])

    def power_w(self) -> int:
        return self.box.power_w(1)

    def tap_until_charging(self) -> None:
        """A driver who sees nothing happen taps again."""
        for _ in range(int(PATIENCE_S / TAP_S)):
            self.box.tap(ANN)
            try:
                until(lambda: self.power_w() > 0, TAP_S)
            except AssertionError:
                continue
            return
        raise AssertionError("nobody charges")
