"""`station-agent demo`: a broker, the reference cloud, a real agent process on a simulated box, a story, a workbench.

Everything lives in one folder and ends with this process. With `once` the exit code is 0 only if the story came true to
its last line, which says that the cloud's ledger equals the simulated meters. Without it the story is played on the
workbench's page (agent/sim/workbench.py), and then the page is anybody's.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.board import load
from agent.control import ask
from agent.loop import monotonic
from agent.pintable import port_board
from agent.settings import ConfigError
from agent.sim.box import Box
from agent.sim.car import car_of
from agent.sim.controller import SimController
from agent.sim.interpreter import RealController, firmware, missing
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from agent.sim.mosquitto import BrokerError, Mosquitto, find_program, free_port
from agent.sim.plant import Plant
from agent.sim.radio import Radio
from agent.sim.scenario import CARDS, CLOCKS, DEMO, StoryError, play
from agent.sim.window import PanelWindow
from agent.ui.situation import Situation

if TYPE_CHECKING:
    from agent.sim.broker import Broker

ROOT = Path(__file__).parent.parent.parent
DEVCLOUD = ROOT / "tools" / "devcloud.py"
BOARD = ROOT / "board" / "duo_sim.toml"
STATION_ID = "DEMO-0001"
PAGE_PORT = 8400
POLL_S = 0.1
REFRESH_S = 0.5
READY_S = 20.0
STORY_MAX = 200  # lines kept
DECISIONS_MAX = 40
ENVIRONMENT = os.environ | {"MALLOC_ARENA_MAX": "1"}  # as board/systemd/station-agent.service has it
REACTION_MS = 500  # of every car: people watch

DRIVERS = f"""\
idToken,groups,status,expiry,state
{CARDS["ann"]},demo,,,approved
{CARDS["bob"]},demo,,,approved
{CARDS["cara"]},demo,,,approved
{CARDS["pending"]},demo,,,pending
{CARDS["removed"]},demo,,,approved
{CARDS["blocked"]},demo,Blocked,,approved
{CARDS["expired"]},demo,,2020-01-01T00:00:00Z,approved
"""


def config_toml(broker_port: int, panel_port: int, modem: Path) -> str:
    """The agent's config file, beside the folder `pki` that devcloud makes. `modem` is a serial line."""
    return f"""\
[station]
station_id = "{STATION_ID}"
[broker]
host = "localhost"
port = {broker_port}
ca = "pki/ca.pem"
cert = "pki/stations/{STATION_ID}.pem"
key = "pki/stations/{STATION_ID}.key"
[operator]
"operator" = "pki/operator.pub"
[paths]
state = "state"
control = "control.sock"
[modem]
port = "{modem}"
bearer = "given"
interface = "lo"
probe = "localhost:{panel_port}"
[panel]
port = {panel_port}
[settings]
activated = true
owner = "Demo Parking"
support_number = "+1 555 0100"
tx_updated_interval_s = 10.0
restart_delay_max_s = 2.0
"""


@dataclass(slots=True)
class Visit:
    """A car at a port, by the port's own meter, which counts whole watt-hours."""

    evse_id: int
    kind: str
    from_wh: int
    to_wh: int | None = None  # None: it is still there
    was_cut: bool = False  # the power went meanwhile, or the agent died: what was not stored is the owner's loss


class Skipped(Exception):
    """Somebody does not want to see the rest of the story."""


class Demo:
    """The stage: what a story does to it, it does to real processes. Verbs come from one thread at a time."""

    def __init__(
        self, folder: Path, out: Callable[[str], None] = print, broker: str = "mosquitto", *, real: bool = True
    ) -> None:
        """`broker`: mosquitto or own; `real`: the controller's firmware in MicroPython, else its logic in memory."""
        self.folder, self._print, self._which, self._real = folder, out, broker, real
        self.story: deque[str] = deque(maxlen=STORY_MAX)
        self.visits: list[Visit] = []
        self.here: dict[int, Visit] = {}  # by evse_id
        self.decisions: deque[tuple[str, dict[str, Any] | None]] = deque(maxlen=DECISIONS_MAX)  # who, what of him
        self.skip = threading.Event()
        self.powered = self.broker_on = False
        self.clock_chip = "right"
        self._cloud: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._starting = threading.RLock()  # of the agent: a verb's affair, and the supervisor's

    # -- the world around the station ---------------------------------------------------------------------------------

    def start(self) -> None:
        pki = self.folder / "pki"
        self._tool("ca", "init", str(pki))
        self._tool("ca", "station", str(pki), STATION_ID)
        self._allow(DRIVERS)
        self._tool("remove", "--db", str(self.folder / "cloud.db"), CARDS["removed"])
        self.broker = make_broker(self._which, self.folder / "broker", pki)
        self.broker.start()
        self.broker_on = True
        self.radio = Radio(self.broker.port)
        self._start_cloud()
        self.books = Books(self.folder)
        modem = Modem(EG25, Card(), Network()), self.folder / "modem"
        self.box = Box(make_controller(self.folder, real=self._real), modem=modem).start()
        self.panel_port = free_port()
        self.window = PanelWindow(lambda: self.panel_port)
        config = config_toml(self.radio.port, self.panel_port, self.folder / "modem")
        (self.folder / "config.toml").write_text(config)
        self.mend("power")

    def _allow(self, drivers: str) -> None:
        file = self.folder / "drivers.csv"
        file.write_text(drivers)
        self._tool("allow", "--db", str(self.folder / "cloud.db"), str(file))

    def close(self) -> None:
        self._end(self._agent, signal.SIGTERM)
        self._end(self._cloud, signal.SIGTERM)
        for part in ("books", "radio", "box"):
            if hasattr(self, part):
                getattr(self, part).close()
        if hasattr(self, "broker"):
            self.broker.stop()

    def _start_cloud(self) -> None:
        pki, db = str(self.folder / "pki"), str(self.folder / "cloud.db")
        self._cloud = self._spawn(
            "cloud.log", str(DEVCLOUD), "serve", "--pki", pki, "--db", db, "--port", str(self.broker.port)
        )

    def _start_agent(self) -> None:
        clock = self.folder / "clock"
        clock.write_text(self.clock_chip)
        self._agent = self._spawn(
            "agent.log", "-m", "agent.sim.device", str(BOARD), str(self.folder / "config.toml"),
            self.box.link.path, self.box.reader.path, str(clock), self.box.gnss.path,
        )  # fmt: skip

    def revive(self) -> None:
        """As systemd does with whoever has ended: a reset from the cloud asks for it."""
        with self._starting:
            if self.powered and not self.is_running:
                self._start_agent()

    @property
    def is_running(self) -> bool:
        return self._agent is not None and self._agent.poll() is None

    @property
    def agent_pid(self) -> int | None:
        return self._agent.pid if self._agent is not None and self.is_running else None

    def _spawn(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(
                (sys.executable, *command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=ENVIRONMENT
            )

    def _tool(self, *args: str) -> None:
        done = tool(*args)
        if done.returncode:
            raise StoryError(f"devcloud {' '.join(args)}: {done.stderr.strip()}")

    def _end(self, process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -- verbs (agent/sim/scenario.py) --------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._tell(f"\n{text}")

    def plug(self, evse_id: int, need_wh: int, car: str = "normal") -> None:
        if evse_id in self.here:
            raise StoryError(f"port {evse_id} has a car already: unplug it first")
        self._bay(evse_id)
        coming = car_of(car, need_wh, REACTION_MS)
        self._tell(f"  a car{'' if car == 'normal' else f' ({car})'} plugs in at port {evse_id}")
        self.here[evse_id] = Visit(evse_id, car, int(self.box.register_wh(evse_id)))
        self.visits.append(self.here[evse_id])
        self.box.plug(evse_id, coming)

    def unplug(self, evse_id: int) -> None:
        if evse_id not in self.here:
            raise StoryError(f"port {evse_id} has no car: plug one in first")
        if not self.box.unplug(evse_id):
            raise StoryError(f"the lock of port {evse_id} holds the plug")
        visit = self.here.pop(evse_id)
        visit.to_wh = int(self.box.register_wh(evse_id))
        self._tell(f"  the car at port {evse_id} leaves; its meter says {visit.to_wh - visit.from_wh} Wh")

    def tap(self, card: str) -> None:
        self.decisions.append((name_of(card), self._ask("explain", card=card)))
        self._tell(f"  {name_of(card)} taps a card")
        self.box.tap(card)

    def choose(self, evse_id: int) -> None:
        raise ValueError("the demo's box has no buttons")

    def wait(self, seconds: float) -> None:
        if self.skip.wait(seconds):
            raise Skipped

    def cut(self, what: str) -> None:
        if what not in ("power", "broker", "radio"):
            raise ValueError(what)
        self._tell(f"  -- the {what} is cut")
        if what == "power":
            with self._starting:
                self.powered = False
                self.box.cut_power()
                self._end(self._agent, signal.SIGKILL)
            for visit in self.here.values():
                visit.was_cut = True
        elif what == "broker" and self.broker_on:
            self.broker_on = False
            self.radio.refuse()
            self.broker.kill()
        elif what == "radio":
            self.radio.is_on = False
            self.box.cellular(lambda modem, now: modem.cover(None, now))

    def mend(self, what: str) -> None:
        if what not in ("power", "broker", "radio"):
            raise ValueError(what)
        self._tell(f"  -- the {what} is on")
        if what == "power" and not self.powered:
            with self._starting:
                self.powered = True
                self.box.power_on()
                self._start_agent()
        elif what == "broker" and not self.broker_on:
            self.broker.start()
            self.radio.open()
            self.broker_on = True
        elif what == "radio":
            self.radio.is_on = True
            self.box.cellular(lambda modem, now: modem.cover(Network(), now))

    def kill(self, what: str) -> None:
        self._tell(f"  -- kill -9 of the {what}")
        for visit in self.here.values():
            visit.was_cut = True
        with self._starting:
            self._end(self._agent, signal.SIGKILL)
            if self.powered:
                self._start_agent()

    def fault(self, what: str, evse_id: int) -> None:
        self._break(what, evse_id, True)

    def heal(self, what: str, evse_id: int) -> None:
        self._break(what, evse_id, False)

    def _break(self, what: str, evse_id: int, is_broken: bool) -> None:
        bay = self._bay(evse_id)
        self.box.touch(lambda plant: plant.bays[bay].break_(what, is_broken))
        self._tell(f"  -- {what} at port {evse_id}: {'broken' if is_broken else 'mended'}")

    def stop(self, is_pressed: bool) -> None:
        self._tell(f"  -- the emergency stop is {'pressed' if is_pressed else 'released'}")
        self.box.touch(lambda plant: setattr(plant, "emergency_stop", is_pressed))

    def heat(self, evse_id: int, celsius: float) -> None:
        bay = self._bay(evse_id)
        if not -40 <= celsius <= 125:
            raise ValueError("-40 to 125 degrees")
        self.box.touch(lambda plant: setattr(plant.bays[bay], "temperature_dc", round(celsius * 10)))
        self._tell(f"  -- port {evse_id} has {celsius:g} °C")

    def clock(self, how: str) -> None:
        if how not in CLOCKS:
            raise ValueError(f"one of {', '.join(CLOCKS)}")
        self.clock_chip = how
        self._tell(f"  -- the clock chip: {how}, as the next power-on finds it")

    def _bay(self, evse_id: int) -> int:
        if not 1 <= evse_id <= len(self.box.controller.bays):
            raise ValueError(f"no port {evse_id}")
        return evse_id - 1

    def until(self, what: Callable[[], bool], timeout_s: float) -> bool:
        until = monotonic() + timeout_s
        while not what():
            if monotonic() > until:
                return False
            self.wait(POLL_S)
        return True

    # -- conditions ---------------------------------------------------------------------------------------------------

    def holds(self, condition: str, args: tuple[str, ...]) -> bool:
        holds = self._holds(condition, args)
        if holds:
            self._tell(f"     {self._seen(condition, args)}")
        return holds

    def _holds(self, condition: str, args: tuple[str, ...]) -> bool:
        if condition in ("sessions", "equal"):
            ended = [s for s in self.sessions() if s["ended_ms"] is not None]
            return len(ended) == int(args[0]) if condition == "sessions" else self.is_equal()
        status = self.status()
        if status is None:
            return False
        if condition in ("online", "offline"):
            return bool((status["link"] == "up") == (condition == "online"))
        if condition == "refused":
            return self._is_told(int(args[0]), " ".join(args[1:]))
        evse_id = int(args[0])
        port = status["ports"][evse_id - 1]
        match condition:
            case "charging":
                return port["charging_state"] == "Charging" and self.box.power_w(evse_id) > 0
            case "stopped":
                return port["transaction_id"] is None and not self.box.is_closed(evse_id)
            case "waiting":
                return self._situation(evse_id) == Situation.TAP_CARD
            case "faulted":
                return bool(port["status"] == "Faulted")
        return bool(port["status"] == "Available")

    def _seen(self, condition: str, args: tuple[str, ...]) -> str:
        """What an onlooker sees when it has come true."""
        match condition:
            case "charging":
                return f"port {args[0]} charges with {self.box.power_w(int(args[0])) / 1000:.1f} kW"
            case "stopped":
                return f"port {args[0]} has stopped; the contactor is open"
            case "waiting":
                return f"port {args[0]} waits for a card"
            case "free":
                return f"port {args[0]} is free and ready"
            case "faulted":
                return f"port {args[0]} is out of service"
            case "refused":
                notice = self._notice(int(args[0]))
                return f'refused: "{notice["text"]} {notice["action"]}" ({notice["code"]})' if notice else "refused"
            case "sessions":
                return f"{args[0]} sessions in the ledger"
            case "equal":
                return f"ledger = meters: {sum(s['energy_wh'] for s in self.sessions()):.0f} Wh"
        return f"the station is {condition}"

    def status(self) -> dict[str, Any] | None:
        """The running agent's own word, over its control socket."""
        answer = self._ask("status")
        return None if answer is None or "error" in answer else answer

    def _ask(self, command: str, **more: Any) -> dict[str, Any] | None:
        """None: no agent runs. An answer may be a complaint, under "error"."""
        return ask(self.folder / "control.sock", {"command": command, **more}, 2.0)

    def token(self) -> str:
        """What lets press the keys of the station's panel; "" while nobody has told."""
        with suppress(OSError):
            return (self.folder / "panel.url").read_text().strip().rpartition("#")[2]
        return ""

    def sessions(self) -> list[dict[str, Any]]:
        """The cloud's ledger."""
        return self.books.sessions()

    def is_equal(self) -> bool:
        """Every car that had energy is in the ledger with what its meter says, in whole sessions; nothing else is, and
        there is no violation of any kind."""
        entries = [entry for entry in settled(self.visits, self.sessions()) if entry.sessions or entry.meter_wh]
        return self.books.is_clean() and all(entry.mark == "equal" for entry in entries)

    def _is_told(self, evse_id: int, reason: str) -> bool:
        from agent.policy.reasons import WORDS, Reason

        notice = self._notice(evse_id)
        return notice is not None and notice["code"] == WORDS[Reason(reason)].code

    def _situation(self, evse_id: int) -> str:
        """As the screen says it: a car that has left, and that the station has not missed yet, waits for no card."""
        model = self.window.screen()
        return str(model["ports"][evse_id - 1]["situation"]) if model else ""

    def _notice(self, evse_id: int) -> dict[str, Any] | None:
        model = self.window.screen()
        if model is None:
            return None
        holder = model if evse_id == 0 else next(p for p in model["ports"] if p["evse_id"] == evse_id)
        notice: dict[str, Any] | None = holder.get("notice")
        return notice

    def _tell(self, line: str) -> None:
        self.story.append(line.strip())
        self._print(line)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one car, beside what the meter says."""

    evse_id: int
    who: str
    sessions: int
    ledger_wh: int | None  # None: not in the ledger yet, or not to its end
    meter_wh: int | None  # None: no meter knows it
    was_cut: bool = False
    is_here: bool = False  # and the meter runs

    @property
    def mark(self) -> str:
        if self.is_here:
            return "here"
        if self.meter_wh is None:
            return "wrong"
        if self.ledger_wh is None:
            return "open"
        if self.was_cut and self.ledger_wh < self.meter_wh:
            return "loss"  # the owner's, after a power cut: never the driver's
        return "equal" if self.ledger_wh == self.meter_wh else "wrong"


def settled(visits: Sequence[Visit], sessions: Sequence[dict[str, Any]]) -> list[Entry]:
    """Each car beside its sessions: those that begin on the port's register while it was there. Then what is left."""
    owners = [(s, visit_of(s, visits)) for s in sessions]
    left, entries = [s for s, owner in owners if owner is None], []
    for visit in visits:
        end_wh = visit.to_wh
        its = [s for s, owner in owners if owner is visit]
        is_over = end_wh is not None and all(s["ended_ms"] is not None for s in its)
        meter_wh = None if end_wh is None else end_wh - visit.from_wh
        is_owed = bool(meter_wh) and not its
        ledger_wh = round(sum(s["energy_wh"] for s in its)) if is_over and not is_owed else None
        who = ", ".join(dict.fromkeys(name_of(s["id_token"] or "") for s in its))
        entries.append(Entry(visit.evse_id, who, len(its), ledger_wh, meter_wh or 0, visit.was_cut, end_wh is None))
    stray = (Entry(s["evse_id"] or 0, name_of(s["id_token"] or ""), 1, round(s["energy_wh"]), None) for s in left)
    return [*entries, *stray]


def visit_of(session: dict[str, Any], visits: Sequence[Visit]) -> Visit | None:
    """Whose it is: the last car of that port on whose part of the register it begins. At the seam of two cars that is
    the later one: what began there without energy adds nothing to either."""
    first_wh, evse_id = session["first_wh"], session["evse_id"]
    if first_wh is None:
        return None
    of_port = (visit for visit in reversed(visits) if visit.evse_id == evse_id)
    return next((v for v in of_port if v.from_wh <= first_wh and (v.to_wh is None or first_wh <= v.to_wh)), None)


def name_of(card: str) -> str:
    return next((name for name, uid in CARDS.items() if uid == card), card)


class Books:
    """The cloud's ledger, as `devcloud watch --json` tells it: a thread reads line after line."""

    def __init__(self, folder: Path) -> None:
        self.newest: dict[str, Any] = {}
        command = (sys.executable, str(DEVCLOUD), "watch", "--db", str(folder / "cloud.db"), "--json")
        self._log = (folder / "books.log").open("ab")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT
        )
        self._thread = threading.Thread(target=self._read, name="books", daemon=True)
        self._thread.start()

    def sessions(self) -> list[dict[str, Any]]:
        return list(self.newest.get("stations", {}).get(STATION_ID, {}).get("sessions", []))

    def messages(self) -> list[tuple[int, str, int, int, str, str]]:
        """received_ms, station, stream, seq, action, in a few words; the oldest first."""
        return [tuple(message) for message in self.newest.get("messages", [])]

    def is_clean(self) -> bool:
        return bool(self.newest.get("clean"))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self.newest = json.loads(line)


def choose_broker(which: str) -> str:
    """mosquitto or own; `auto`: mosquitto where it is installed. ConfigError if it is not at hand."""
    if which == "auto":
        which = "mosquitto" if find_program() else "own"
    if which == "own" and find_spec("mqtt5") is None:
        raise ConfigError("no broker is at hand: type apt-get install mosquitto, or pip install mqtt5")
    return which


def make_controller(folder: Path, *, real: bool) -> Plant[Any]:
    board = load(BOARD)
    ports = tuple(port_board(board, port) for port in board.port)
    if real:
        program = firmware(folder, ports, board.circuit_limit_ma)
        return RealController(program, folder / "flash.img", ports, lockstep=True)  # in step even on a busy machine
    return SimController(ports, circuit_limit_ma=board.circuit_limit_ma)


def make_broker(which: str, folder: Path, pki: Path) -> "Mosquitto | Broker":
    ca, cert, key = pki / "ca.pem", pki / "broker.pem", pki / "broker.key"
    if which == "mosquitto":
        return Mosquitto(folder, cafile=ca, certfile=cert, keyfile=key)
    from agent.sim.broker import Broker  # only here: what it is made of is no part of a station

    return Broker(cafile=ca, certfile=cert, keyfile=key)


def tool(*args: str) -> subprocess.CompletedProcess[str]:
    """One command of the reference cloud."""
    command = (sys.executable, str(DEVCLOUD), *args)
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def main(*, once: bool, page_port: int | None, keep: bool, broker: str = "auto") -> int:
    if not DEVCLOUD.exists():
        raise ConfigError(f"{DEVCLOUD} is not there: run the demo from a checkout of the project")
    broker = choose_broker(broker)
    print(f"The broker: {broker if broker == 'mosquitto' else 'our own, agent/sim/broker.py'}", flush=True)
    why = missing()
    print(f"The controller: {f'its logic in memory, {why}' if why else 'its firmware in MicroPython'}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started here ends here
    folder = Path(tempfile.mkdtemp(prefix="station-demo-"))
    demo = Demo(folder, lambda line: print(line, flush=True), broker, real=not why)
    try:
        return show(demo, once=once, page_port=page_port)
    except (StoryError, BrokerError) as error:
        print(f"\nThe story failed: {error}\nLogs are in {folder}", file=sys.stderr)
        keep = True
        return 1
    finally:
        demo.close()
        if not keep:
            remove(folder)


def show(demo: Demo, *, once: bool, page_port: int | None) -> int:
    print(f"The demo's folder: {demo.folder}", flush=True)
    demo.start()
    bench = None
    if not once or page_port is not None:
        from agent.sim.workbench import Workbench  # web servers: only for whoever looks

        bench = Workbench(demo, PAGE_PORT if page_port is None else page_port)
        print(f"The page: {bench.start()}", flush=True)
    try:
        play_once(demo)
        if bench and not once:
            stay(demo, bench)
    finally:
        if bench:
            bench.stop()
    return 0


def play_once(demo: Demo) -> None:
    """Somebody at the page may skip the rest; then all is as after the story, but for the cars."""
    try:
        play(DEMO, demo)
    except Skipped:
        demo.skip.clear()
        for what, is_on in (("broker", demo.broker_on), ("power", demo.powered)):
            if not is_on:
                demo.mend(what)
        demo.say("The rest of the story was skipped.")


def stay(demo: Demo, bench: Any) -> None:
    print(f"\nThe station stays up; its workbench: {bench.url}   (Ctrl-C ends it)")
    print(f"Ask it: {sys.argv[0]} status --config {demo.folder}/config.toml", flush=True)
    bench.is_open.set()
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    with suppress(KeyboardInterrupt):
        while not end.wait(REFRESH_S):
            demo.revive()


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
