"""A real agent process, its controller and reader on ptys as in the demo, and a list of 1,500 cards.

First with broker, cloud and an open panel: memory, idle CPU, the heartbeat while the list is replaced. Then without
any of them: starts, and taps. The clock is this process's: from the card's line on the reader's pty to the pilot.
"""

import queue
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.board import Board, load
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.sim.demo import BOARD, DEVCLOUD, ENVIRONMENT, ROOT, STATION_ID, config_toml
from agent.sim.mosquitto import BrokerError, Mosquitto, free_port
from agent.sim.plant import OnPin, Plant
from bench.figure import Figures, cpu_s, digits, figure, missing, percentile, resident_mb
from board.controller import contract
from board.controller.app.port import PortBoard
from board.controller.link import Deframer
from tools.devcloud import Driver, Ledger, ca_init, ca_station, clock_ms

CARDS = 1_500
STARTS, TAPS = 5, 60
IDLE_S, IDLE_RUNS = 5.0, 3
LISTS = 8
READY_S = 20.0
PANEL = "[panel]\nport = {port}\n"
TARGETS = {
    "rss_mb": ("MB", 60.0),
    "idle_cpu_percent": ("%", None),
    "heartbeat_gap_p99_s": ("s", 1.0),
    "cpu_to_first_tap_s": ("s", 1.0),
    "tap_to_decision_p50_s": ("s", None),
    "tap_to_decision_p99_s": ("s", 0.3),
}
RUN = """\
import sys; from pathlib import Path; from agent import app
sys.exit(app.run(Path(sys.argv[1]), Path(sys.argv[2]), controller_tty=sys.argv[3], reader_tty=sys.argv[4]))
"""


def card(number: int) -> str:
    return f"04A1{number:04X}"


class Ear(Box):
    """Notes when the agent's wishes came, as frames on the line, and when one changed."""

    def __init__(self, controller: Plant[Any]) -> None:
        super().__init__(controller)
        self.wishes: deque[float] = deque(maxlen=10_000)
        self.changes: deque[tuple[float, int, int]] = deque(maxlen=10_000)  # when, which port, to what offer
        self._frames = Deframer()
        self._offers: dict[int, int] = {}

    def heard(self, data: bytes) -> None:
        for _, body in self._frames.feed(data):
            match contract.unpack(body):
                case (contract.WISH, _, tuple(rows)):
                    self.wishes.append(time.perf_counter())
                    for index, (offer_ma, *_) in enumerate(rows):
                        if offer_ma != self._offers.get(index, 0):
                            self.changes.append((self.wishes[-1], index, offer_ma))
                        self._offers[index] = offer_ma


class Stage:
    """Everything around one agent process, in one folder."""

    def __init__(self, folder: Path, make: Callable[[Path, OnPin], Plant[Any]]) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.offered: list[tuple[float, int]] = []
        self._offers: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        pki = folder / "pki"
        ca_init(pki)
        ca_station(pki, STATION_ID)
        self.broker = Mosquitto(
            folder / "broker", cafile=pki / "ca.pem", certfile=pki / "broker.pem", keyfile=pki / "broker.key"
        )
        self.box = Ear(make(folder, self._on_pin))
        self.box.start()
        self.box.power_on()
        self.panel_port = free_port()

    def close(self) -> None:
        for process in self._processes:
            self.end(process)
        self.broker.stop()
        self.box.close()

    def _on_pin(self, _: float, index: int, name: str, value: int) -> None:
        if name == "offer_ma" and value:
            self.offered.append((time.perf_counter(), index))
            self._offers.put(self.offered[-1])

    # -- processes

    def cloud(self) -> None:
        pki, db = str(self.folder / "pki"), str(self.folder / "cloud.db")
        self.broker.start()
        self._spawn("cloud.log", str(DEVCLOUD), "serve", "--pki", pki, "--db", db, "--port", str(self.broker.port))

    def agent(self, *, panel: bool) -> subprocess.Popen[bytes]:
        """Returns when the controller hears it."""
        config = self.folder / "config.toml"
        text = config_toml(self.broker.port, self.panel_port, self.folder / "modem")
        without = text.replace(PANEL.format(port=self.panel_port), "")
        assert without != text
        config.write_text(text if panel else without)
        self.box.wishes.clear()
        lines = self.box.link.path, self.box.reader.path
        process = self._spawn("agent.log", "-c", RUN, str(BOARD), str(config), *lines)
        self.until(lambda: bool(self.box.wishes))
        return process

    def _spawn(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=ENVIRONMENT
            )
        self._processes.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(READY_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def said(self, what: str) -> int:
        """How often the agent has."""
        log = self.folder / "agent.log"
        return log.read_text("utf-8", "replace").count(what) if log.exists() else 0

    def until(self, what: Callable[[], bool]) -> None:
        give_up_at = time.perf_counter() + READY_S
        while not what():
            if time.perf_counter() > give_up_at:
                raise TimeoutError((self.folder / "agent.log").read_text("utf-8", "replace")[-1000:])
            time.sleep(0.02)

    # -- what happens to the station

    def new_list(self, group: str) -> None:
        """The owner changes every card; returns when the list is in force."""
        already = self.said(f"with {CARDS} cards is in force")
        ledger = Ledger(self.folder / "cloud.db")
        ledger.drivers.put([Driver(card(n), (group,)) for n in range(CARDS)], clock_ms())
        ledger.close()
        self.until(lambda: self.said(f"with {CARDS} cards is in force") > already)

    def tap_s(self, number: int, evse_id: int, pause_s: float = 0.1) -> float:
        """A car comes, its driver taps, the car goes. From the card's line on the pty to the pilot's offer."""
        self.box.plug(evse_id, Car(reaction_ms=60_000))
        time.sleep(random.uniform(pause_s, 2 * pause_s))
        while not self._offers.empty():
            self._offers.get()
        began = time.perf_counter()
        self.box.reader.write(card(number).encode() + b"\n")
        offers = iter(lambda: self._offers.get(timeout=READY_S), None)
        return next(at for at, index in offers if index == evse_id - 1) - began

    def unplug(self, evse_id: int) -> None:
        self.box.unplug(evse_id)
        time.sleep(0.05)


def in_memory(folder: Path, on_pin: OnPin) -> SimController:
    board = load(BOARD)
    return SimController(ports_of(board), circuit_limit_ma=board.circuit_limit_ma, on_pin=on_pin)


def ports_of(board: Board) -> tuple[PortBoard, ...]:
    return tuple(PortBoard(max_ma=port.limit_ma, phases=board.phases) for port in board.port)


@contextmanager
def stage(make: Callable[[Path, OnPin], Plant[Any]] = in_memory) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        made = Stage(Path(name), make)
        try:
            yield made
        finally:
            made.close()


def live() -> Figures:
    try:
        with stage() as s:
            s.cloud()
            return {**online(s), **starts(s), **taps(s)}
    except BrokerError as error:
        return {name: missing(unit, target, str(error)) for name, (unit, target) in TARGETS.items()}


# -- with broker, cloud and panel -------------------------------------------------------------------------------------


def online(s: Stage) -> Figures:
    agent = s.agent(panel=True)
    s.new_list("first")
    with watching(s.panel_port):
        time.sleep(3.0)
        idle = [idle_percent(agent.pid) for _ in range(IDLE_RUNS)]
        quiet_s = gaps(s.box.wishes)
        s.box.wishes.clear()
        began = time.perf_counter()
        for n in range(LISTS):
            s.new_list(f"again-{n}")
        each_s = (time.perf_counter() - began) / LISTS
        loaded_s = gaps(s.box.wishes)
        rss_mb = resident_mb(agent.pid)
    s.end(agent)
    s.broker.stop()
    heard = (
        f"WISH frames at the controller over {LISTS} replacements of {CARDS} cards, {each_s:.1f} s each with the"
        f" cloud's polling; p50 {digits(percentile(loaded_s, 50))}, idle p99 {digits(percentile(quiet_s, 99))}"
    )
    return measured({
        "rss_mb": ([rss_mb], f"panel, one SSE client, TLS to broker and cloud, {CARDS} cards replaced {LISTS} times"),
        "idle_cpu_percent": (idle, f"of one core, {IDLE_S:.0f} s each: two ports, heartbeat and panel, nobody there"),
        "heartbeat_gap_p99_s": (loaded_s, heard),
    })  # fmt: skip


def gaps(times: deque[float]) -> list[float]:
    return [b - a for a, b in pairwise(list(times))]


def idle_percent(pid: int) -> float:
    cpu, began = cpu_s(pid), time.perf_counter()
    time.sleep(IDLE_S)
    return 100 * (cpu_s(pid) - cpu) / (time.perf_counter() - began)


@contextmanager
def watching(port: int) -> Iterator[None]:
    """A page that is open: reads the panel's events until it is closed."""
    with socket.create_connection(("127.0.0.1", port)) as page:
        page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        thread = threading.Thread(target=lambda: all(iter(lambda: page.recv(65_536), b"")), daemon=True)
        thread.start()
        yield
        page.shutdown(socket.SHUT_RDWR)
        thread.join(READY_S)


# -- alone ------------------------------------------------------------------------------------------------------------


def starts(s: Stage) -> Figures:
    """From exec to the pilot's offer: all the CPU of the process, then it ends."""
    cpu = []
    for n in range(STARTS):
        agent = s.agent(panel=False)
        s.tap_s(n, 1)
        cpu.append(cpu_s(agent.pid))
        s.unplug(1)
        s.end(agent)
    return measured({"cpu_to_first_tap_s": (cpu, "no panel, broker refused: user and system, all threads")})


def taps(s: Stage) -> Figures:
    agent = s.agent(panel=False)
    tap_s = []
    for n in range(TAPS):
        tap_s.append(s.tap_s(STARTS + n, 1 + n % 2))
        s.unplug(1 + n % 2)
    s.end(agent)
    note = f"{TAPS} taps from a list of {CARDS}, broker away; with the transaction's commit, to the offer on the pilot"
    return measured({"tap_to_decision_p50_s": (tap_s, note), "tap_to_decision_p99_s": (tap_s, note)})


def measured(each: Mapping[str, tuple[list[float], str]]) -> Figures:
    out: Figures = {}
    for name, (runs, note) in each.items():
        unit, target = TARGETS[name]
        out[name] = figure(runs, unit, target, note, percentile(runs, 99) if "p99" in name else None)
    return out
