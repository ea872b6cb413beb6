"""The station's image, booted: QEMU is the board, MicroPython on this machine its port controller, tools/flash.py comes
over a serial line, and the plug is pulled. `make test-image`; what it measures it prints.

One story in one test: a power-on takes half a minute of emulation, a trial a minute of a healthy agent.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.board import load
from agent.pintable import pin_table, port_board
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.interpreter import RealController
from agent.sim.mosquitto import Mosquitto
from agent.update.engine import SYNC_B
from agent.update.index import PIECE_MAX_B
from agent.update.refusal import INTERLOCK, LINK, NO_DEVICE, OK, ROLLED_BACK
from board import chip
from board.image import make, slot
from tests.image import HOST, Station, certify_host
from tests.process import ANN, STATION_ID, until, write_list
from tests.rig import need_interpreter
from tests.test_together import Cloud
from tools import devcloud
from tools.flashing import cli, files, keyfiles
from tools.flashing import make as flashing

ROOT = Path(__file__).parent.parent
MADE = ROOT / "build" / "image"
PATIENCE_S = 600.0
TAP_S = 8.0  # between two taps: what the first has begun is seen by then
BALLAST_B = 10 << 20  # what of a new build must be sent for sure, whatever the old one has
PULLED_AT = 0.6  # of what is to be sent
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
[settings]
activated = true
restart_delay_max_s = 0.0
"""
DRIVERS = f"idToken,groups,status,expiry,state\n{ANN},demo,,,approved\n"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(2400),
    pytest.mark.skipif("STATION_IMAGE" not in os.environ, reason="type make test-image"),
    pytest.mark.needs("qemu-system-aarch64", "qemu-system-arm"),
    pytest.mark.needs("mke2fs", "e2fsprogs"),
    pytest.mark.needs("mosquitto"),
]


# -- what is flashed ---------------------------------------------------------------------------------------------------


def build_of(folder: Path, name: str, changed: dict[str, bytes]) -> Path:
    """This checkout with other files, as another commit, signed by the image's own dev key."""
    source = flashing.found(with_changes=True)
    more = {path: (data, False) for path, data in changed.items()}
    source = replace(source, commit=(name * 40)[:40], files={**source.files, **more})
    keys = MADE / "keys"
    signer, ring = keyfiles.load(keys / "dev.key.pem", str), (keys / files.RING).read_bytes()
    out = cli.Out(True, sys.stderr)
    data = flashing.made(source, [slot.PLATFORM], flashing.chosen([slot.BOARD]), 0, out, signer, ring)
    path = folder / f"{name}.build"
    path.write_bytes(data)
    return path


class Flash:
    """One run of tools/flash.py, its events as they come."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, str(ROOT / "tools" / "flash.py"), "--json", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.events: list[dict[str, Any]] = []
        self.said = ""  # on stderr

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """None: it has ended before."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if is_it(self.events[-1]):
                return self.events[-1]
        return None

    def ends(self) -> int:
        self.until(lambda _: False)
        _, self.said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode

    def told(self, name: str) -> dict[str, Any]:
        """The last event of this name."""
        return [event for event in self.events if event["event"] == name][-1]


# -- where -------------------------------------------------------------------------------------------------------------


class Site:
    """Controller, car, reader, broker and cloud on this machine; the station in QEMU."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pki = folder, folder / "pki"
        board = load(make.BOARD)
        ports = tuple(port_board(board, port) for port in board.port)
        program = chip.unit(folder, pin_table(board))
        self.hardware = RealController(program, folder / "flash.img", ports, lockstep=True)
        self.box = Box(self.hardware).start()
        self.box.power_on()
        devcloud.ca_init(self.pki)
        devcloud.ca_station(self.pki, STATION_ID)
        certify_host(self.pki)
        ca, cert, key = (self.pki / name for name in ("ca.pem", "broker.pem", "broker.key"))
        self.broker = Mosquitto(folder / "broker", cafile=ca, certfile=cert, keyfile=key)
        self.broker.start()
        self.cloud = Cloud(folder, self.pki, self.broker.port)
        (folder / "drivers.csv").write_text(DRIVERS)
        assert self.cloud.typed("allow", str(folder / "drivers.csv"))[0] == 0
        lines = {"service": "pty", "controller": serial(self.box.link.path), "reader": serial(self.box.reader.path)}
        (folder / "qemu").mkdir()
        self.station = Station(MADE, folder / "qemu", self.from_the_factory(), lines)

    def from_the_factory(self) -> Path:
        """/var/lib: the build of the image in slot A, who the station is, and a list with Ann on it."""
        data = self.folder / "data"
        make.fill_data(data, make.Build(MADE / "station.build", MADE / "keys" / "root.pub.pem"), None)
        config = CONFIG.format(station_id=STATION_ID, host=HOST, port=self.broker.port)
        with (data / make.CONFIG / "config.toml").open("a") as file:
            file.write(config)
        state = data / "station-agent"
        write_list(state, ANN)
        (state / "pki").mkdir()
        for name in ("ca.pem", "operator.pub"):
            shutil.copyfile(self.pki / name, state / "pki" / name)
        for kind in ("pem", "key"):
            shutil.copyfile(self.pki / "stations" / f"{STATION_ID}.{kind}", state / "pki" / f"station.{kind}")
        (state / "pki" / "station.key").chmod(0o600)
        return data

    def close(self) -> None:
        self.station.pull_the_plug()
        self.cloud.close()
        self.broker.stop()
        self.box.close()

    def flash(self, *words: str) -> Flash:
        return Flash(words[0], "--port", self.station.line("service"), *words[1:])

    def plug(self) -> None:
        self.box.plug(1, Car(reaction_ms=200, need_wh=50_000))

    def tap_until_charging(self) -> None:
        """A driver who sees nothing happen taps again."""
        for _ in range(int(PATIENCE_S / TAP_S)):
            self.box.tap(ANN)
            if self.is_charging(TAP_S):
                return
        raise AssertionError("nobody charges\n" + "\n".join(self.station.log[-60:]))

    def is_charging(self, within_s: float) -> bool:
        try:
            until(lambda: self.box.power_w(1) > 0, within_s)
        except AssertionError:
            return False
        return True

    def drive_off(self) -> None:
        until(lambda: self.box.unplug(1), 30.0)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloud.station().get("sessions", [])
        return found


def serial(path: str) -> str:
    return f"serial,path={path}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need_interpreter()
    made = Site(tmp_path)
    yield made
    made.close()


# -- the story ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S2", "S8")
def test_a_station_charges_is_flashed_through_a_power_cut_and_comes_back_from_a_build_that_fails(
    site: Site, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    station = site.station
    ballast = {"agent/ballast.bin": random.Random(1).randbytes(BALLAST_B)}
    newer = build_of(tmp_path, "b", ballast)
    broken = build_of(tmp_path, "c", {**ballast, "agent/__main__.py": b"raise SystemExit('made to fail')\n"})

    # The first power-on, to the first accepted tap.
    site.plug()
    booted_s = station.boot()
    site.tap_until_charging()
    took_s, cpu_s = station.up_s, station.cpu_s("station-agent.service")
    record_property("fact", f"image in QEMU: shell after {booted_s:.0f} s, first accepted tap after {took_s:.0f} s of"
                            f" power, with {cpu_s:.1f} s of CPU in the agent's unit")  # fmt: skip
    assert running(site) == "a"

    assert "[pattern]" in station.shell("cat /sys/class/leds/port1:red/trigger")

    # Nobody is disturbed, and nothing but our build is taken while it is sent.
    busy = site.flash("flash", str(newer))
    assert busy.ends() == INTERLOCK, (busy.events[-5:], busy.said)
    assert site.box.power_w(1) > 0
    site.drive_off()
    until(lambda: len(site.sessions()) == 1, PATIENCE_S)

    # Flashed, and the plug is pulled in the middle.
    cut = site.flash("flash", str(newer), "--when-idle", "--retry", "20")
    half = cut.until(lambda event: event["event"] == "progress" and event["done_b"] >= PULLED_AT * event["total_b"])
    assert half and half["done_b"] < half["total_b"], (cut.events[-3:], cut.said)
    station.pull_the_plug()
    assert cut.ends() in (LINK, NO_DEVICE)  # the pty is gone with its machine
    station.boot()
    assert running(site) == "a"

    # Gone on with: what had come is not sent again.
    began_s = station.up_s
    again = site.flash("resume", str(newer), "--when-idle")
    assert again.ends() == OK, (again.events[-5:], again.said)
    first, second = cut.told("planned")["wanted_b"], again.told("planned")["wanted_b"]
    assert second <= first - half["done_b"] + SYNC_B + 4 * PIECE_MAX_B, "what was not synced, and what was on its way"
    record_property("fact", f"flash over QEMU's serial line: {first:,} bytes wanted, {second:,} after the cut at"
                            f" {half['done_b']:,}; confirmed after {station.up_s - began_s:.0f} s")  # fmt: skip
    assert running(site) == "b"
    site.plug()
    site.tap_until_charging()
    site.drive_off()

    # A build that does not even start: the old one comes back by itself, and says why.
    bad = site.flash("flash", str(broken), "--when-idle")
    assert bad.ends() == ROLLED_BACK, (bad.events[-5:], bad.said)
    until(lambda: running(site) == "b", PATIENCE_S)  # while the launcher hashes, nothing is picked yet
    site.plug()
    site.tap_until_charging()
    site.drive_off()
    until(lambda: len(site.sessions()) == 3, PATIENCE_S)
    assert not site.cloud.station()["violations"]


def running(site: Site) -> str:
    """The slot, by the station's own word; the updater may start after the agent."""
    give_up_s = site.station.up_s + PATIENCE_S
    while (asked := site.flash("status")).ends() != OK:
        assert asked.process.returncode == LINK and site.station.up_s < give_up_s, (asked.events, asked.said)
    slot: str = asked.told("identified")["state"]["running"]
    return slot
