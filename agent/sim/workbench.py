"""The workbench: a page with the real panel of the real agent in it, beside the world that the panel stands in.

Development only. Nothing of `agent/sim` is in the device's package, `station-agent run` cannot reach it (the borders
of pyproject.toml), and no unit starts it; tests/test_workbench.py holds all three. It listens on loopback; every
control is a POST of a line of the story language (agent/sim/scenario.py), from its own page alone.

Three listeners in one thread: the page, the window onto the agent's panel, the window onto the time-lapse's. Two more
threads look at the worlds, one performs the verbs: whatever hangs, the page lives.
"""

import asyncio
import itertools
import os
import queue
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.clock import iso8601
from agent.loop import system_wall
from agent.settings import ConfigError
from agent.sim.box import Box
from agent.sim.car import KINDS
from agent.sim.demo import Demo, settled
from agent.sim.lapse import Lapse
from agent.sim.plant import FAULTS
from agent.sim.scenario import CARDS, CLOCKS, Step, StoryError, parse, perform
from agent.sim.sight import PortSight, Samples, Scene, cost_of, decision, marks, port_sight, verdict
from agent.sim.window import DISPLAYS, PanelWindow
from agent.ui.web import Panel

LOOK_S = 0.5  # between two looks at a world
SAY_S = 0.1  # between two looks for something new to tell a page
ALIVE_S = 5.0
VERB_S = 20.0  # a verb that takes longer is a bug
PAGES_MAX = 8
WAITING_MAX = 8  # verbs
BODY_MAX = 4_096
LOG_B = 8_192  # of the agent's log
LINES = 40
STOP_S = 3.0
STREAMS = ("money", "status", "result", "sample", "log")

HOSTS = {"localhost", "127.0.0.1"}
POLICY = "default-src 'self'; frame-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
FOLDER = Path(__file__).parent
STATIC = {  # the whole list
    "/": ("page/index.html", "text/html"),
    "/workbench.mjs": ("page/workbench.mjs", "text/javascript"),
    "/workbench.css": ("page/workbench.css", "text/css"),
    "/uPlot.esm.js": ("vendor/uPlot.esm.js", "text/javascript"),
    "/uPlot.min.css": ("vendor/uPlot.min.css", "text/css"),
    "/icon.svg": ("../ui/static/icon.svg", "image/svg+xml"),
}
NOT_BY_HAND = {"wait", "expect", "say", "choose"}  # a story's own


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the story language."""

    line: str


class Display(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which display the panel is drawn for."""

    size: str


class Workbench:
    def __init__(self, demo: Demo, port: int) -> None:
        """`port` 0 takes any free one."""
        self.demo = demo
        self.is_open = threading.Event()  # the story is over: the controls are anybody's
        self.samples = Samples()
        self.lapse: Lapse | None = None
        self._seeds = itertools.count(1)  # no evening is like the other
        self._lapse_panel: Panel | None = None
        self._lapse_window = PanelWindow(self._lapse_port)
        self._port = port
        self._scenes: dict[str, bytes] = {"real": b"", "lapse": b""}
        self._hands = ThreadPoolExecutor(1, "hands")
        self._waiting = 0
        self._pages = 0
        self._ended = threading.Event()
        self._servers: list[uvicorn.Server] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    # -- from the demo's thread ---------------------------------------------------------------------------------------

    def start(self) -> str:
        """Listen and serve; its address. ConfigError if the port is taken."""
        sockets = [listener(self._port), listener(0), listener(0)]
        self._port, self.demo.window.port, self._lapse_window.port = (each.getsockname()[1] for each in sockets)
        for window in (self.demo.window, self._lapse_window):
            window.ancestor = f"{self.url[:-1]} http://localhost:{self._port}"
        apps: list[ASGIApp] = [self._app(), self.demo.window, self._lapse_window]
        self._servers = [server(self._guarded(app, each)) for app, each in zip(apps, sockets, strict=True)]
        for name, run in (("workbench", lambda: self._serve(sockets)), ("eyes", self._watch)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self.url

    def stop(self) -> None:
        self._ended.set()
        for each in self._servers:
            each.should_exit = True
        for thread in self._threads:
            thread.join(STOP_S)
        self._end_lapse()
        self._hands.shutdown()

    # -- the page's controls ------------------------------------------------------------------------------------------

    def do(self, line: str) -> str:
        """Perform a line of the story language. StoryError: why not."""
        steps = list(parse(line))
        for step in steps:
            if step.verb in NOT_BY_HAND:
                raise StoryError(f"{step.verb} is a story's own: nobody here waits for it")
            self._perform(step)
        return "\n".join(map(str, steps))

    def _perform(self, step: Step) -> None:
        try:
            perform(step, self.demo)
        except (ValueError, IndexError, KeyError) as error:
            raise StoryError(f"{step.verb}: {error}") from None

    def begin_lapse(self) -> None:
        """A new evening; the one before ends."""
        self._end_lapse()
        self.lapse = Lapse(next(self._seeds))
        self._lapse_panel = Panel(self.lapse.evening.model, 0, self.lapse.evening.press)
        self._lapse_panel.start()
        self.lapse.changed = self._lapse_panel.changed
        self._scenes["lapse"] = msgspec.json.encode(self.lapse.scene())

    def _end_lapse(self) -> None:
        if self.lapse and self._lapse_panel:
            self._lapse_panel.stop()
            self.lapse.stop()
        self.lapse = self._lapse_panel = None
        self._scenes["lapse"] = b""

    def _lapse_port(self) -> int:
        return int(self._lapse_panel.url.rsplit(":", 1)[1].strip("/")) if self._lapse_panel else 0

    def _lapse_token(self) -> str:
        return self._lapse_panel.entrance.rpartition("#")[2] if self._lapse_panel else ""

    # -- what can be seen ---------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            with suppress(queue.Empty):  # the box has no time for a look: another one will do
                self._scenes["real"] = msgspec.json.encode(self.scene())
            if lapse := self.lapse:
                self._scenes["lapse"] = msgspec.json.encode(lapse.scene())

    def scene(self) -> Scene:
        """The real world, now."""
        demo, status = self.demo, self.demo.status()
        words = [f"{p['status']} · {p['charging_state']}" for p in status["ports"]] if status else []
        ports = look(demo, words)
        wall_s = system_wall()
        self.samples.add(wall_s, ports, cost_of(demo.window.screen() if status else None, len(ports)))
        rows = marks(settled(tuple(demo.visits), demo.books.sessions()))
        messages = demo.books.messages()
        said = tuple((clock_of(m[0]), STREAMS[m[2]], f"{m[4]}  {m[5]}") for m in messages)
        return Scene(
            view="real", clock=iso8601(wall_s), busy="" if self.is_open.is_set() else "The story is playing.",
            ports=ports, things=self._things(), station=facts_of(demo, status),
            ledger=rows, verdict=verdict(rows, clean=demo.books.is_clean()),
            said=said, log=tail(demo.folder / "agent.log"),
            decisions=tuple(decision(who, said) for who, said in tuple(demo.decisions)),
            story=tuple(demo.story)[-LINES:], series=self.samples.columns(),
        )  # fmt: skip

    def _things(self) -> dict[str, Any]:
        demo = self.demo
        return {
            "power": demo.powered, "broker": demo.broker_on, "radio": demo.radio.is_on, "agent": demo.is_running,
            "stop": demo.box.controller.emergency_stop, "clock": demo.clock_chip,
        }  # fmt: skip

    # -- in the server's thread ---------------------------------------------------------------------------------------

    def _serve(self, sockets: Sequence[socket.socket]) -> None:
        async def serve() -> None:
            await asyncio.gather(*(one.serve(sockets=[each]) for one, each in zip(self._servers, sockets, strict=True)))

        asyncio.run(serve())
        for each in sockets:
            each.close()

    def _app(self) -> ASGIApp:
        pages = [page(path, (FOLDER / name).read_bytes(), type_) for path, (name, type_) in STATIC.items()]
        return Starlette(
            routes=[
                *pages,
                Route("/setup", self._setup),
                Route("/scene/{view}", self._scene),
                Route("/events/{view}", self._events),
                Route("/do", self._do, methods=["POST"]),
                Route("/display", self._display, methods=["POST"]),
                Route("/skip", self._skip, methods=["POST"]),
                Route("/evening", self._evening, methods=["POST"]),
            ]
        )

    async def _setup(self, _request: Request) -> Response:
        """Where the panels are, with what lets press their keys, and the words of the language."""
        windows = {
            "real": {"port": self.demo.window.port, "token": self.demo.token()},
            "lapse": {"port": self._lapse_window.port, "token": self._lapse_token()},
        }
        words = {"cars": list(KINDS), "faults": FAULTS, "cards": list(CARDS), "clocks": list(CLOCKS)}
        return as_json({"windows": windows, "evening": self.lapse is not None, **words})

    async def _scene(self, request: Request) -> Response:
        scene = self._scenes.get(request.path_params["view"])
        return Response(scene or b"null", media_type="application/json")

    async def _events(self, request: Request) -> Response:
        view = request.path_params["view"]
        if view not in self._scenes:
            return PlainTextResponse("There are real and lapse.\n", 404)
        if self._pages >= PAGES_MAX:
            return PlainTextResponse(f"{PAGES_MAX} pages are open already: close one.\n", 503)
        return StreamingResponse(self._stream(view), media_type="text/event-stream")

    async def _stream(self, view: str) -> AsyncIterator[bytes]:
        self._pages += 1
        sent, silent_s = b"", 0.0
        try:
            while not self._ended.is_set():
                newest = self._scenes[view]
                if newest is not sent or silent_s >= ALIVE_S:
                    sent, silent_s = newest, 0.0
                    yield b"data: " + (sent or b"null") + b"\n\n"
                silent_s += SAY_S
                await passed(SAY_S)
        finally:
            self._pages -= 1

    async def _do(self, request: Request) -> Response:
        try:
            order = msgspec.json.decode(await read(request), type=Order)
        except (msgspec.DecodeError, ValueError) as error:
            return PlainTextResponse(f"{str(error)[:200]}\n", 400)
        if not self.is_open.is_set():
            return PlainTextResponse("The story is playing: wait for its end, or skip it.\n", 409)
        return await self._by_hand(lambda: self.do(order.line))

    async def _display(self, request: Request) -> Response:
        try:
            size = msgspec.json.decode(await read(request), type=Display).size
        except (msgspec.DecodeError, ValueError) as error:
            return PlainTextResponse(f"{str(error)[:200]}\n", 400)
        if size not in DISPLAYS:
            return PlainTextResponse(f"There are {', '.join(DISPLAYS)}.\n", 400)
        self.demo.window.size = self._lapse_window.size = size
        return Response(status_code=204)

    async def _evening(self, request: Request) -> Response:
        await read(request)
        return await self._by_hand(self.begin_lapse)

    async def _skip(self, request: Request) -> Response:
        await read(request)
        if not self.is_open.is_set():
            self.demo.skip.set()
        return Response(status_code=204)

    async def _by_hand(self, what: Callable[[], object]) -> Response:
        """One thing after the other, in the one thread that touches the world."""
        if self._waiting >= WAITING_MAX:
            return PlainTextResponse("So many things wait already: let them happen.\n", 503)
        self._waiting += 1
        try:
            async with asyncio.timeout(VERB_S):
                await asyncio.get_running_loop().run_in_executor(self._hands, what)
        except StoryError as error:
            return PlainTextResponse(f"{error}\n", 400)
        except TimeoutError:
            return PlainTextResponse("That takes too long.\n", 500)
        finally:
            self._waiting -= 1
        return Response(status_code=204)

    def _guarded(self, app: ASGIApp, at: socket.socket) -> ASGIApp:
        """Asked for by this machine's own name; changed by a page of this very origin."""
        port = at.getsockname()[1]
        windows = (self.demo.window.port, self._lapse_window.port)
        frames = " ".join(f"http://{host}:{each}" for each in windows for host in sorted(HOSTS))

        async def guard(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_guarded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(raw=list(message.get("headers", ())))
                    headers.update(HEADERS)
                    headers.setdefault("content-security-policy", POLICY.format(frames))
                    message = {**message, "headers": headers.raw}
                await send(message)

            assert scope["type"] == "http", scope["type"]
            await (refused(Headers(scope=scope), scope["method"], port) or app)(scope, receive, send_guarded)

        return guard


def refused(headers: Headers, method: str, port: int) -> Response | None:
    """Another name is DNS rebinding; another origin is another page that uses this one."""
    if headers.get("host", "") not in {f"{host}:{port}" for host in HOSTS}:
        return PlainTextResponse(f"The workbench is at http://127.0.0.1:{port}/ only.\n", 421)
    if method in ("GET", "HEAD"):
        return None
    if headers.get("origin") != f"http://{headers['host']}":
        return PlainTextResponse("Only the workbench's own page may do that.\n", 403)
    if headers.get("content-type", "").split(";")[0] != "application/json":
        return PlainTextResponse("Send JSON.\n", 415)
    return None


# -- the real world ---------------------------------------------------------------------------------------------------


def look(demo: Demo, words: Sequence[str]) -> tuple[PortSight, ...]:
    """Each port at its pins, all at the same instant."""
    box: Box = demo.box
    here = dict(demo.here)

    def sights(now: float) -> tuple[PortSight, ...]:
        return tuple(
            port_sight(
                bay, i, round(now * 1000), box.controller.register_wh(i - 1, now),
                here[i].from_wh if i in here else None, car=here[i].kind if i in here else "",
                powered=demo.powered, word=words[i - 1] if words else "no answer",
            )
            for i, bay in enumerate(box.controller.bays, 1)
        )  # fmt: skip

    return box.ask(sights)


def facts_of(demo: Demo, status: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """What the station says of itself, over its control socket."""
    if status is None:
        return (("agent", f"does not answer (process {demo.agent_pid})" if demo.is_running else "does not run"),)
    age_s = status["list_age_s"]
    return (
        ("agent", f"runs, process {demo.agent_pid}, {resident_mb(demo.agent_pid)} MB"),
        ("link to the cloud", status["link"]),
        ("outbox", f"{status['outbox_records']} records"),
        ("dead letters", str(status["dead_letters"])),
        ("store", "writes" if status["store_ok"] else "does not write"),
        ("list", f"version {status['list_version']}, {status['list_entries']} cards"),
        ("list's age", "unknown" if age_s is None else f"{age_s:.0f} s"),
        ("clock", status["clock"]),
        ("controller", "answers" if status["controller"] else "is lost"),
    )


def resident_mb(pid: int | None) -> int:
    with suppress(OSError, TypeError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1_000_000
    return 0


def tail(path: Path) -> tuple[str, ...]:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_B))
            return tuple(file.read().decode(errors="replace").splitlines()[-LINES:])
    except OSError:
        return ()


def clock_of(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")


# -- the web ----------------------------------------------------------------------------------------------------------


def listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise ConfigError(f"no page at port {port} ({why}): type station-agent demo --page {port + 1}") from None


def server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip


def page(path: str, body: bytes, media_type: str) -> Route:
    async def answer(_request: Request) -> Response:
        return Response(body, media_type=media_type)

    return Route(path, answer)


def as_json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def read(request: Request) -> bytes:
    """The body; ValueError if it is too long to be one of ours."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX:
            raise ValueError(f"at most {BODY_MAX} bytes")
    return body


async def passed(seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
