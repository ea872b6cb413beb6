"""`station-agent demo`: a broker, the reference cloud, a real agent process on a simulated box, and a story.

Everything lives in one folder and ends with this process. With `once` the exit code is 0 only if the story came true to
its last line, which says that the cloud's ledger equals the simulated meters.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.board import load
from agent.control import ask
from agent.loop import monotonic
from agent.pintable import port_board
from agent.settings import ConfigError
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.sim.interpreter import RealController, firmware, missing
from agent.sim.mosquitto import BrokerError, Mosquitto, find_program, free_port
from agent.sim.plant import Plant
from agent.sim.scenario import CARDS, DEMO, StoryError, play
from agent.ui.model import ScreenModel

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

CONFIG = """\
[station]
station_id = "{station_id}"
[broker]
host = "localhost"
port = {port}
ca = "pki/ca.pem"
cert = "pki/stations/{station_id}.pem"
key = "pki/stations/{station_id}.key"
[operator]
"operator" = "pki/operator.pub"
[paths]
state = "state"
control = "control.sock"
[panel]
port = {panel}
[settings]
owner = "Demo Parking"
support_number = "+1 555 0100"
tx_updated_interval_s = 10.0
restart_delay_max_s = 2.0
"""


class Demo:
    """The stage: what a story does to it, it does to real processes."""

    def __init__(
        self, folder: Path, out: Callable[[str], None] = print, broker: str = "mosquitto", *, real: bool = True
    ) -> None:
        """`broker`: mosquitto or own; `real`: the controller's firmware in MicroPython, else its logic in memory."""
        self.folder, self._print, self._which, self._real = folder, out, broker, real
        self.story: list[str] = []
        self.meters: list[dict[str, Any]] = []  # what each car has had, by the simulated meter
        self._since: dict[int, int] = {}  # evse_id -> register when its car came
        self._began = monotonic()
        self._pause = threading.Event()  # never set: waiting on it is waiting
        self._cloud: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self.screen: ScreenModel | None = None  # as last seen, and the rest of the page
        self.extras: Mapping[str, Any] = {}
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    # -- the world around the station ---------------------------------------------------------------------------------

    def start(self) -> None:
        pki = self.folder / "pki"
        self._tool("ca", "init", str(pki))
        self._tool("ca", "station", str(pki), STATION_ID)
        for name in ("ann", "bob", "cara"):
            self._tool("allow", "--db", str(self.folder / "cloud.db"), "--add", CARDS[name], "--groups", "demo")
        self.broker = make_broker(self._which, self.folder / "broker", pki)
        self.broker.start()
        self._start_cloud()
        self.box = Box(make_controller(self.folder, real=self._real)).start()
        self.panel_port = free_port()
        config = CONFIG.format(station_id=STATION_ID, port=self.broker.port, panel=self.panel_port)
        (self.folder / "config.toml").write_text(config)
        self.mend("power")

    def close(self) -> None:
        self._end(self._agent, signal.SIGTERM)
        self._end(self._cloud, signal.SIGTERM)
        if hasattr(self, "broker"):
            self.broker.stop()
        if hasattr(self, "box"):
            self.box.close()

    def _start_cloud(self) -> None:
        pki, db = str(self.folder / "pki"), str(self.folder / "cloud.db")
        self._cloud = self._spawn(
            "cloud.log", str(DEVCLOUD), "serve", "--pki", pki, "--db", db, "--port", str(self.broker.port)
        )

    def _start_agent(self) -> None:
        self._agent = self._spawn(
            "agent.log", "-m", "agent.sim.demo", str(self.folder / "config.toml"),
            self.box.link.path, self.box.reader.path,
        )  # fmt: skip

    def revive(self) -> None:
        """As systemd does with whoever has ended: a reset from the cloud asks for it."""
        if self._agent is not None and self._agent.poll() is not None:
            self._start_agent()

    def _spawn(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        command = (sys.executable, *command)
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT)

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

    def plug(self, evse_id: int, need_wh: int) -> None:
        self._tell(f"  a car plugs in at port {evse_id}")
        self._since[evse_id] = int(self.box.register_wh(evse_id))  # a register counts whole watt-hours
        self.box.plug(evse_id, Car(need_wh=need_wh, reaction_ms=500))

    def unplug(self, evse_id: int) -> None:
        energy_wh = int(self.box.register_wh(evse_id)) - self._since[evse_id]
        self._tell(f"  the car at port {evse_id} leaves; its meter says {energy_wh} Wh")
        if energy_wh:
            self.meters.append({"evse_id": evse_id, "wh": energy_wh})
        self.box.unplug(evse_id)

    def tap(self, card: str) -> None:
        name = next((name for name, uid in CARDS.items() if uid == card), card)
        self._tell(f"  {name} taps a card")
        self.box.tap(card)

    def choose(self, evse_id: int) -> None:
        raise ValueError("the demo's box has no buttons")

    def wait(self, seconds: float) -> None:
        self._pause.wait(seconds)

    def cut(self, what: str) -> None:
        self._tell(f"  -- the {what} is cut")
        if what == "power":
            self.box.cut_power()
            self._end(self._agent, signal.SIGKILL)
        elif what == "broker":
            self.broker.kill()
        else:
            raise ValueError(what)

    def mend(self, what: str) -> None:
        self._tell(f"  -- the {what} is on")
        if what == "power":
            self.box.power_on()
            self._start_agent()
        elif what == "broker":
            self.broker.start()
        else:
            raise ValueError(what)

    def kill(self, what: str) -> None:
        self._tell(f"  -- kill -9 of the {what}")
        self._end(self._agent, signal.SIGKILL)
        self._start_agent()

    def until(self, what: Callable[[], bool], timeout_s: float) -> bool:
        until = monotonic() + timeout_s
        while not what():
            if monotonic() > until:
                return False
            self._pause.wait(POLL_S)
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
        return bool(port["status"] == "Available")

    def _seen(self, condition: str, args: tuple[str, ...]) -> str:
        """What an onlooker sees when it has come true."""
        match condition:
            case "charging":
                return f"port {args[0]} charges with {self.box.power_w(int(args[0])) / 1000:.1f} kW"
            case "stopped":
                return f"port {args[0]} has stopped; the contactor is open"
            case "free":
                return f"port {args[0]} is free and ready"
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
        answer = ask(self.folder / "control.sock", {"command": "status"}, 2.0)
        return None if answer is None or "error" in answer else answer

    def sessions(self) -> list[dict[str, Any]]:
        """The cloud's ledger."""
        done = tool("ledger", "--db", str(self.folder / "cloud.db"), "--json")
        report = json.loads(done.stdout or "{}")
        self.is_clean = bool(report.get("clean"))
        return list(report.get("stations", {}).get(STATION_ID, {}).get("sessions", []))

    def is_equal(self) -> bool:
        """Each session in the ledger once, with what its meter says; no violation of any kind."""
        sessions = sorted(self.sessions(), key=lambda s: (s["evse_id"], s["first_wh"]))  # a start may have no date
        if len(sessions) != len(self.meters) or not self.is_clean:
            return False
        pairs = zip(sessions, sorted(self.meters, key=lambda m: m["evse_id"]), strict=True)
        return all((s["energy_wh"], s["evse_id"]) == (m["wh"], m["evse_id"]) for s, m in pairs)

    def _is_told(self, evse_id: int, reason: str) -> bool:
        from agent.policy.reasons import WORDS, Reason

        notice = self._notice(evse_id)
        return notice is not None and notice["code"] == WORDS[Reason(reason)].code

    def _notice(self, evse_id: int) -> dict[str, Any] | None:
        model = self._screen_json()
        if model is None:
            return None
        holder = model if evse_id == 0 else next(p for p in model["ports"] if p["evse_id"] == evse_id)
        notice: dict[str, Any] | None = holder.get("notice")
        return notice

    # -- the page -----------------------------------------------------------------------------------------------------

    def _screen_json(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.panel_port}/api/screen", timeout=2) as answer:
                model: dict[str, Any] = json.load(answer)
                return model
        except (OSError, ValueError):
            return None

    def press(self, event: object) -> None:
        """What is pressed on the demo's page is pressed at the station's own."""
        from agent.ui.web import INPUTS

        path = next(path for path, type_ in INPUTS.items() if isinstance(event, type_))
        with suppress(OSError):  # no power, or it is restarting: then nobody hears it
            if not self._posted(path, event) and self._posted("/api/session", {"token": self._token()}):
                self._posted(path, event)

    def _token(self) -> str:
        return (self.folder / "panel.url").read_text().strip().rpartition("#")[2]

    def _posted(self, path: str, body: object) -> bool:
        """False: a new station asks who we are."""
        origin = f"http://127.0.0.1:{self.panel_port}"
        headers = {"content-type": "application/json", "origin": origin}
        request = urllib.request.Request(f"{origin}{path}", msgspec.json.encode(body), headers)
        try:
            self._browser.open(request, timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code != HTTPStatus.FORBIDDEN
        return True

    def refresh(self) -> bool:
        """Look at the station's screen and at the ledger, for the page; False while there was no screen to see yet."""
        model = self._screen_json()
        if model is not None:  # without power the last picture stays
            self.screen = msgspec.convert({k: v for k, v in model.items() if k != "extras"}, ScreenModel)
        ledger = [
            {
                "transaction_id": session["transaction_id"][-6:],
                "evse_id": session["evse_id"],
                "id_token": session["id_token"] or "",
                "ledger_wh": None if session["ended_ms"] is None else round(session["energy_wh"]),
                "meter_wh": self.meters[n]["wh"] if n < len(self.meters) else None,
            }
            for n, session in enumerate(sorted(self.sessions(), key=lambda s: s["started_ms"] or 0))
        ]
        self.extras = {"story": self.story[-40:], "ledger": ledger}
        return self.screen is not None

    def _tell(self, line: str) -> None:
        self.story.append(line.strip())
        self._print(line)


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
    end = threading.Event()
    panel = None if once and page_port is None else page(demo, PAGE_PORT if page_port is None else page_port, end)
    play(DEMO, demo)
    if not once:
        print(f"\nThe station stays up; its page: {panel.entrance if panel else ''}   (Ctrl-C ends it)")
        print(f"Ask it: {sys.argv[0]} status --config {demo.folder}/config.toml", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: end.set())
        with suppress(KeyboardInterrupt):
            while not end.wait(REFRESH_S):
                demo.revive()
    end.set()
    if panel:
        panel.stop()
    return 0


def page(demo: Demo, port: int, end: threading.Event) -> Any:
    """The demo's own page: the station's screen, and below it the story and the ledger. Refreshed by its own thread."""
    from agent.ui.web import Panel

    if not demo.until(demo.refresh, READY_S):
        raise StoryError("the agent's own page did not come up")

    def screen() -> ScreenModel:
        assert demo.screen
        return demo.screen

    panel = Panel(screen, port, demo.press, lambda: demo.extras)
    try:
        panel.start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise ConfigError(f"no page at port {port} ({why}): type station-agent demo --page {PAGE_PORT + 1}") from None

    def follow() -> None:
        while not end.wait(REFRESH_S):
            demo.refresh()
            panel.changed()

    threading.Thread(target=follow, name="page", daemon=True).start()
    print(f"The page: {panel.entrance}", flush=True)
    return panel


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


if __name__ == "__main__":  # the station's own process: the device's code, on the demo's lines
    from agent import app

    os.umask(0o077)
    sys.exit(app.run(BOARD, Path(sys.argv[1]), controller_tty=sys.argv[2], reader_tty=sys.argv[3]))
