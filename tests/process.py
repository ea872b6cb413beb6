"""A real agent process on a simulated box, for the tests that need the whole of it: `station-agent run`, as systemd
starts it, with a board file that names two ptys.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.authcache.listfile import read_key
from agent.authcache.lists import Lists
from agent.control import ask
from agent.loop import monotonic
from agent.outbox import Database
from agent.sim.box import Box
from agent.sim.controller import SimController
from agent.taps import DEBOUNCE_S
from board.controller import contract
from board.controller.app.port import PortBoard
from board.controller.link import Deframer
from tools import devcloud

ROOT = Path(__file__).parent.parent
STATION_ID = "S-1"
ANN, BOB = "04A1B2C3D4E5F6", "04B7C8D9"
TIMEOUT_S = 20.0
POLL_S = 0.02

BOARD = """
name = "duo_test"
description = "Two cables on one circuit"
circuit_limit_ma = 64_000
phases = 1
ventilated = false
[controller]
link = "serial"
chip = "unix"
tty = "{link}"
[reader]
kind = "line"
tty = "{reader}"
[[port]]
limit_ma = 32_000
connector = "cType1"
led = "port1"
[[port]]
limit_ma = 32_000
connector = "cType1"
led = "port2"
"""
CONFIG = """
[paths]
state = "state"
control = "control.sock"
[settings]
activated = true
restart_delay_max_s = 0.0
[station]
station_id = "{station_id}"
"""
BROKER = """
[broker]
host = "127.0.0.1"
port = {port}
ca = "{pki}/ca.pem"
cert = "{pki}/stations/{station_id}.pem"
key = "{pki}/stations/{station_id}.key"
"""


class Hardware(SimController):
    """The simulated charger; remembers when each whole wish of the host came in."""

    def __init__(self) -> None:
        super().__init__((PortBoard(), PortBoard()), circuit_limit_ma=64_000)
        self.wished_at: list[float] = []
        self._ear = Deframer()

    def receive(self, data: bytes, now: float) -> None:
        bodies = [contract.unpack(body) for _, body in self._ear.feed(data)]
        self.wished_at += [now for message in bodies if message and message[0] == contract.WISH]
        super().receive(data, now)


def longest_gap_s(times: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(times))


def edges(hardware: SimController, index: int, name: str) -> list[int]:
    """What this pin has done so far: the contactor's [1, 0] is one click on and one off."""
    return [value for _, i, pin, value in hardware.pins if (i, pin) == (index, name)]


def started_box(folder: Path) -> tuple[Box, Hardware]:
    hardware = Hardware()
    box = Box(hardware, folder).start()
    box.power_on()
    return box, hardware


def write_files(folder: Path, box: Box, *, pki: Path | None = None, port: int = 1) -> tuple[Path, Path]:
    """board.toml and config.toml; without `pki` the station has no broker."""
    board, config = folder / "board.toml", folder / "config.toml"
    board.write_text(BOARD.format(link=box.link.path, reader=box.reader.path))
    broker = BROKER.format(pki=pki, port=port, station_id=STATION_ID) if pki else ""
    config.write_text(CONFIG.format(station_id=STATION_ID) + broker)
    return board, config


def write_pki(folder: Path) -> Path:
    devcloud.ca_init(folder)
    devcloud.ca_station(folder, STATION_ID)
    return folder


def write_list(state: Path, *cards: str) -> None:
    """The allowlist as an earlier run has received and committed it."""
    state.mkdir(mode=0o700, exist_ok=True)
    database = Database(state / "station.db", bytes(8))
    lists = Lists(state / "lists", database.facts(), read_key(state / "list.key"), 0.0)
    accepted = {"idTokenInfo": {"status": "Accepted"}}
    entries = [{"idToken": {"idToken": card, "type": "ISO14443"}, **accepted} for card in cards]
    request = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": entries}
    outcome = lists.replace(request, None)
    assert outcome.state, outcome
    database.commit(outcome.saves)
    database.close()


def no_echo() -> None:
    """Before the same card's next tap: within DEBOUNCE_S it is the last one's echo."""
    over_at = monotonic() + DEBOUNCE_S
    until(lambda: monotonic() > over_at)


def until(what: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait for something that has no event of its own: a pin, a file, a child's answer."""
    pause, give_up_at = threading.Event(), monotonic() + timeout_s
    while not what():
        assert monotonic() < give_up_at, f"not within {timeout_s:g} s"
        pause.wait(POLL_S)


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(TIMEOUT_S)

    def hears(self, state: str) -> None:
        """Waits for it; TimeoutError."""
        while self.socket.recv(100).decode() != state:
            pass

    def close(self) -> None:
        self.socket.close()


class Agent:
    """One process of `station-agent run`."""

    def __init__(self, folder: Path, board: Path, config: Path, **environment: str) -> None:
        self.folder = folder
        self.log_path = folder / "agent.log"
        command = [sys.executable, "-m", "agent", "run", "--board", str(board), "--config", str(config)]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **environment}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=env,
                umask=0o022,  # what an operator's shell has; systemd's own is 0077
            )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What it says of itself; empty while it says nothing."""
        answer = ask(self.folder / "control.sock", {"command": "status"}, 5.0)
        return {} if answer is None or "error" in answer else answer

    def port(self, evse_id: int) -> dict[str, Any]:
        ports = self.status().get("ports")
        return dict(ports[evse_id - 1]) if ports else {}

    def explain(self, card: str) -> str:
        return json.dumps(ask(self.folder / "control.sock", {"command": "explain", "card": card, "port": 1}, 5.0))

    def is_charging(self, evse_id: int = 1) -> bool:
        return self.port(evse_id).get("charging_state") == "Charging"

    def is_free(self, evse_id: int = 1) -> bool:
        return self.port(evse_id).get("status") == "Available"

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code; TimeoutExpired after 5 s."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(5.0)

    def log(self) -> str:
        return self.log_path.read_text()
