"""An update from the cloud's command line to the cloud's books, everything a process of its own: mosquitto, the
reference cloud, an HTTPS server with ranges, the updater and the agent, both started by the launcher out of slots.

The trees that run are this checkout's packages, compiled, with the dependencies of the environment that runs the tests.
"""

import platform
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from agent.control import ask
from agent.sim.car import Car
from agent.update import build, facts
from agent.update.engine import KEYRING, ROOT_KEY, Engine
from agent.update.launcher import pick
from board.controller import contract
from tests import builds
from tests.process import ANN, STATION_ID, no_echo, until
from tests.test_together import Place
from tests.weblab import Request, Web, authority, honest
from tools.flashing import packing, tree

pytestmark = [pytest.mark.needs("mosquitto", "mosquitto"), pytest.mark.long, pytest.mark.timeout(600)]

LAUNCHER = Path(__file__).parent.parent / "agent/update/launcher.py"
BLOB = random.Random(1).randbytes(1_500_000)  # so that a download takes a while
PLAY_S = 240.0  # a build on trial is watched for a minute at least (agent/update/health.py)


@cache
def compiled() -> tree.Files:
    ours = {path: file for path, file in tree.read_folder().items() if tree._is_ours(path)}
    return tree.compiled({**ours, tree.MAIN: ours[tree.START]})


def made(version: str, more: dict[str, bytes] | None = None, **how: object) -> bytes:
    """A build of this checkout that calls itself `version`; `more`: sources and data beside, or instead of, its own."""
    name = tree._named((LAUNCHER.parents[1] / "__init__.py").read_bytes(), version)
    changed = tree.compiled({path: (data, False) for path, data in {tree.NAMED: name, **(more or {})}.items()})
    spoken = [contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST]
    said = {**builds.APP_FACTS, "version": version, "contract": spoken}
    app = packing.Content("app", platform.machine(), said, {**compiled(), **changed})
    firmware = builds.firmware("duo_test", version, contract=spoken)
    return builds.build_file(app, firmware, version=version, **how)  # type: ignore[arg-type]


@dataclass
class Unit:
    """A service as systemd runs it: the launcher picks, the launcher runs, and whoever has ended is started again."""

    root: Path
    choice: Path
    program: str  # pick | pick-updater
    command: list[str]
    log: Path
    starts: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.program)
        self._thread.start()

    def _run(self) -> None:
        launcher = [sys.executable, "-I", str(LAUNCHER), str(self.root), str(self.choice)]
        with self.log.open("ab") as out:
            while not self._is_over.wait(0.2):
                subprocess.run([*launcher, self.program], stdout=out, stderr=out, check=True)
                self.starts += 1
                self.process = subprocess.Popen([*launcher, "run", *self.command], stdout=out, stderr=out, umask=0o022)
                self.process.wait()

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self._is_over.set()
        until(lambda: hasattr(self, "process"))
        while self._thread.is_alive():
            self.process.send_signal(signal.SIGTERM)
            self._thread.join(5.0)


class Station:
    """Its box, its slots with 1.0.0 in one of them, its two units; a cloud, and a server that has builds."""

    def __init__(self, place: Place, undo: ExitStack) -> None:
        self.place, self.folder, self._undo = place, place.folder, undo
        self.root, self.choice = self.folder / "root", self.folder / "slot"
        _, self.cloud = place.home()
        web = self.folder / "web"
        web.mkdir()
        self.web = authority(web)
        trusted = place.pki / "ca.pem"
        trusted.write_bytes(trusted.read_bytes() + self.web.ca.read_bytes())
        text = place.config.read_text().replace("[paths]", f'[paths]\nupdater = "{self.folder}/orders"')
        place.config.write_text(text)
        drivers = self.folder / "drivers.csv"
        drivers.write_text(f"idToken,groups,status,expiry,state\n{ANN},demo,,,approved\n")
        assert self.cloud.typed("allow", str(drivers))[0] == 0
        self._install()

    def _install(self) -> None:
        self.root.mkdir()
        (self.root / ROOT_KEY).write_bytes(builds.ROOT.public)
        (self.root / KEYRING).write_bytes(builds.RING)
        where = facts.Where(self.place.board, self.place.config, self.folder / "vitals", self.root)
        data = made("1.0.0")
        head = build.read_head(BytesIO(data), builds.TRUST)
        engine = Engine(self.root, facts.station(where), choice=self.choice, boot_id=facts.boot_id())
        places = build.pieces_of(head)
        for piece in engine.begin(head.raw).wanted:
            begins = len(head.raw) + places[piece.digest][0]
            engine.put(piece.digest, data[begins : begins + piece.stored_b])
        engine.finish()
        engine.activate()
        chosen = pick(self.root, facts.boot_id(), facts.uptime_s())
        self.choice.write_text(f"{chosen.slot} trial {chosen.version}\n")
        engine.confirm()
        engine.close()

    def power_on(self) -> "Station":
        folder = self.folder
        (folder / "updater").mkdir()
        where = ["--board", f"{folder}/board.toml", "--config", f"{folder}/config.toml"]
        served = [
            "agent.update.service", "serve", "--root", str(self.root), *where, "--vitals", f"{folder}/vitals",
            "--choice", str(self.choice), "--socket", f"{folder}/flash", "--orders", f"{folder}/orders",
        ]  # fmt: skip
        self.updater = self._unit(folder / "updater" / "slot", "pick-updater", served)
        self.agent = self._unit(self.choice, "pick", ["agent", "run", *where])
        until(lambda: self.says().get("list_version"), 120.0)
        return self

    def _unit(self, choice: Path, program: str, command: list[str]) -> Unit:
        unit = Unit(self.root, choice, program, command, self.folder / f"{program}.log")
        self._undo.callback(unit.close)
        return unit

    def serve(self, answer: Callable[[Request], None]) -> Web:
        return self._undo.enter_context(Web(self.web.server, answer))

    def order(self, web: Web, request_id: int, *options: str) -> None:
        ordered = self.cloud.typed("firmware", STATION_ID, web.url, "--id", str(request_id), *options, "--wait")
        assert ordered[0] == 0, ordered[1]

    def told(self, request_id: int) -> list[str]:
        """What the cloud's command line prints of it, without the time."""
        printed = self.cloud.typed("firmware", STATION_ID)[1]
        lines = [line.split(None, 2)[1:] for line in printed.splitlines()]
        return [words[1] for words in lines if words[0] == str(request_id)]

    def comes(self, request_id: int, last: str) -> list[str]:
        def has_come() -> bool:
            return self.told(request_id)[-1:] != [] and self.told(request_id)[-1].startswith(last)

        try:
            until(has_come, PLAY_S)
        except AssertionError:
            logs = "".join(f"\n{path.name}:\n{path.read_text()[-3_000:]}" for path in self.folder.glob("*.log"))
            raise AssertionError(f"{last} is not told, but {self.told(request_id)}{logs}") from None
        return self.told(request_id)

    def says(self) -> dict[str, Any]:
        """Of itself; empty while no agent runs."""
        answer = ask(self.folder / "control.sock", {"command": "status"}, 5.0)
        return {} if answer is None or "error" in answer else answer

    def is_at(self, state: str) -> bool:
        """The first port's charging state."""
        ports = self.says().get("ports", [])
        return bool(ports) and ports[0]["charging_state"] == state

    def taps(self, state: str) -> None:
        """The reader of a station that has just started may not be open yet."""
        until(lambda: "passed" in [e["result"] for e in self.says()["self_test"] if e["part"] == "TokenReader"])
        no_echo()
        self.place.box.tap(ANN)
        until(lambda: self.is_at(state))

    def runs(self) -> str:
        return self.choice.read_text().split()[-1]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with ExitStack() as undo:
        yield Station(Place(tmp_path, undo), undo)


WAY = ["Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting"]


@pytest.mark.promise("S8")
def test_a_build_that_differs_in_one_file_costs_one_file_and_the_session_and_is_installed_in_the_end(
    station: Station,
) -> None:
    station.power_on()
    data = made("1.0.1")
    web = station.serve(honest(data))
    box = station.place.box
    box.plug(1, Car(reaction_ms=200))
    until(lambda: station.is_at("EVConnected"), 60.0)
    station.taps("Charging")
    station.order(web, 7)
    assert station.comes(7, "InstallScheduled") == [*WAY[:3], "InstallScheduled"]
    asked = sum(min(last, len(data) - 1) - first + 1 for first, last in (request.range for request in web.requests))
    assert asked < len(data) / 10, (asked, len(data))
    assert station.is_at("Charging") and station.agent.starts == 1
    station.taps("EVConnected")
    box.unplug(1)
    assert station.comes(7, "Installed") == [*WAY[:3], "InstallScheduled", *WAY[3:], "Installed"]
    assert station.agent.starts == 2 and station.runs() == "1.0.1" and station.cloud.told(": 1.0.1")


@pytest.mark.promise("S8")
def test_a_build_that_comes_over_ten_broken_lines_and_kills_and_dies_at_its_start_is_told_as_rolled_back(
    station: Station,
) -> None:
    station.power_on()
    data = made("2.0.0", {"agent/blob.bin": BLOB, "agent/app.py": b"raise SystemExit('this build is broken')\n"})
    sent = [0]

    def breaks(request: Request) -> None:
        first, last = request.range
        body = data[first : last + 1]
        where = f"bytes {first}-{first + len(body) - 1}/{len(data)}"
        request.send(f"HTTP/1.1 206 X\r\nContent-Range: {where}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        request.send(body[:170_000])
        sent[0] += len(body[:170_000])
        if request.number in (2, 5):
            station.updater.kill()
        if request.number == 4:
            station.agent.kill()
        if len(body) > 170_000:
            raise OSError

    web = station.serve(breaks)
    station.order(web, 8)
    told = station.comes(8, "Installation")
    assert told[:-1] == WAY
    assert told[-1].split(None, 1)[0] == "InstallationFailed" and "RolledBack" in told[-1]
    assert len(web.requests) > 10 and sent[0] < 1.6 * len(BLOB)
    assert station.runs() == "1.0.0"
    station.order(station.serve(honest(made("1.0.2"))), 9)
    assert station.comes(9, "Installed")[0] == "Downloading", "and the next order is none the worse for it"
