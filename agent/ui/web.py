"""The panel: a small web server on loopback for the kiosk browser. What it can change is in INPUTS: what is shown.

It runs in a thread of its own with an event loop of its own. The agent's loop only sets a flag (`changed`), so that no
client, however slow or hostile, makes a heartbeat wait. The station is an immutable value: reading the newest one from
another thread needs no lock. Every client gets whole snapshots; a slow one misses some (latest wins, no queues).

Importing this costs 8 MB and 80 ms: only agent/app.py does, and late.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.events import FieldEntered, KeyPressed, PortChosen
from agent.ui.model import ScreenModel

SUBSCRIBERS_MAX = 8
CONNECTIONS_MAX = 32  # more are answered 503
HEADERS_MAX = 16_384  # bytes; longer ones are answered 400
COALESCE_S = 0.05  # at most twenty snapshots a second
BODY_MAX = 65_536  # bytes of a request
REFRESH_S = 1.0  # at least one look a second: elapsed times and countdowns move without an event
ALIVE_S = 5.0  # a sign of life when nothing changes; an event, because a script does not see SSE comments
GRACE_S = 1.0  # open requests may finish
STOP_S = 3.0  # then the thread is left to die with the process

HOSTS = {"localhost", "127.0.0.1", "[::1]"}  # another name is DNS rebinding
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
INPUTS: dict[str, type[msgspec.Struct]] = {  # what somebody at the display can do, and the event that it is
    "/api/key": KeyPressed,
    "/api/port": PortChosen,
    "/api/field": FieldEntered,
}
STATIC = {  # the whole list: nothing else is ever read from disk
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Panel:
    """Serves what `get_model` returns.

    `get_model` and `extras` are called in the panel's thread, at most five times a second: they read immutable values
    and do not wait. `extras` (the demo's `story` and `ledger`, see static/app.js) is JSON-like and stays small. What
    they raise is our bug: it ends the panel, never the agent, and the page says that the connection is lost.
    """

    def __init__(
        self,
        get_model: Callable[[], ScreenModel],
        port: int,
        post: Callable[[object], None] = lambda event: None,
        extras: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """`port` 0 takes any free one; `url` tells which. `post` takes the events of INPUTS, in the panel's thread."""
        self._get_model = get_model
        self._post = post
        self._extras = extras
        self._port = port
        self._subscribers: set[asyncio.Event] = set()
        self._latest = b""
        self._dirty = asyncio.Event()
        self._stopped = asyncio.Event()
        self._is_dirty = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    # -- from the agent's thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""
        assert self._thread is None, "a panel starts once"
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop, listener), name="panel", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """There may be something new to see. Never waits; a flood of calls costs one wake-up."""
        if not self._is_dirty:
            self._is_dirty = True
            self._call(self._dirty.set)

    def stop(self) -> None:
        """End the thread; open pages see that the connection is lost."""
        self._call(self._stopped.set)
        if self._thread:
            self._thread.join(STOP_S)

    def _call(self, function: Callable[[], object]) -> None:
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the panel's loop has ended: nobody is looking
                self._loop.call_soon_threadsafe(function)

    # -- in the panel's thread ----------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        with listener, asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        server = uvicorn.Server(
            uvicorn.Config(
                guarded(self._app()),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                h11_max_incomplete_event_size=HEADERS_MAX,
                timeout_graceful_shutdown=int(GRACE_S),
            )
        )
        publisher = asyncio.create_task(self._publish())
        publisher.add_done_callback(lambda _: self._stopped.set())  # whatever ended it, the pages must not look alive
        end = asyncio.create_task(self._end(server))
        await server.serve(sockets=[listener])
        await end
        await publisher

    async def _end(self, server: uvicorn.Server) -> None:
        await self._stopped.wait()
        server.should_exit = True
        self._wake()

    async def _publish(self) -> None:
        """A new snapshot when something has changed, and now and then to see whether something has."""
        while not await happened(self._stopped, COALESCE_S):
            await happened(self._dirty, REFRESH_S)
            self._dirty.clear()
            self._is_dirty = False  # before the look: what changes from here on asks for another one
            if self._subscribers and (snapshot := self._snapshot()) != self._latest:
                self._latest = snapshot
                self._wake()

    def _snapshot(self) -> bytes:
        extras = {"extras": self._extras()} if self._extras else {}
        return msgspec.json.encode({"screen": self._get_model(), **extras})

    def _wake(self) -> None:
        for news in self._subscribers:
            news.set()

    async def _stream(self, news: asyncio.Event) -> AsyncIterator[bytes]:
        sent = b""
        while not self._stopped.is_set():
            news.clear()
            if self._latest is not sent:
                sent = self._latest
                yield b"data: " + sent + b"\n\n"
            elif not await happened(news, ALIVE_S):
                yield b"event: alive\ndata:\n\n"

    # -- the pages ----------------------------------------------------------------------------------------------------

    def _app(self) -> ASGIApp:
        folder = Path(__file__).parent / "static"
        pages = [page(path, (folder / name).read_bytes(), type_) for path, (name, type_) in STATIC.items()]
        inputs = [Route(path, self._input(type_), methods=["POST"]) for path, type_ in INPUTS.items()]
        shown = [Route("/api/screen", self._screen), Route("/events", self._events)]
        return Starlette(routes=[*pages, *inputs, *shown])

    def _input(self, type_: type[msgspec.Struct]) -> Callable[[Request], Any]:
        async def take(request: Request) -> Response:
            if request.headers.get("content-type") != "application/json":  # no form of another page can send this
                return PlainTextResponse("Send JSON.\n", 415)
            body = await read(request)
            if body is None:
                return PlainTextResponse(f"At most {BODY_MAX} bytes.\n", 413)
            try:
                event = msgspec.json.decode(body, type=type_)
            except (msgspec.DecodeError, ValueError) as error:
                return PlainTextResponse(f"{str(error)[:200]}\n", 400)
            self._post(event)
            return Response(status_code=204)

        return take

    async def _screen(self, _request: Request) -> Response:
        return Response(msgspec.json.encode(self._get_model()), media_type="application/json")

    async def _events(self, request: Request) -> Response:
        if request.method != "GET":
            return PlainTextResponse("Only GET.\n", 405)
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            text = f"{SUBSCRIBERS_MAX} pages are open already: close one.\n"
            return PlainTextResponse(text, 503, {"retry-after": "5"})
        if not self._subscribers:
            self._latest = b""  # from when somebody last looked
        news = asyncio.Event()
        self._subscribers.add(news)
        self._dirty.set()
        return EventStream(self._stream(news), lambda: self._subscribers.discard(news))


class EventStream(StreamingResponse):
    """Server-sent events, WHATWG HTML §9.2; `leave` is called however it ends."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        super().__init__(content)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def page(path: str, body: bytes, media_type: str) -> Route:
    async def answer(_request: Request) -> Response:
        return Response(body, media_type=media_type)

    return Route(path, answer)


def guarded(app: ASGIApp) -> ASGIApp:
    """Only for who asks for this machine by its own name; and no page of ours inside anybody else's."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *ours]}
            await send(message)

        assert scope["type"] == "http", scope["type"]
        refused = None if host(Headers(scope=scope).get("host", "")) in HOSTS else NOT_HERE
        await (refused or app)(scope, receive, send_guarded)

    return guard


NOT_HERE = PlainTextResponse("The panel is at http://127.0.0.1/ or http://localhost/ only.\n", 421)


def host(header: str) -> str:
    """The name in a Host header, without the port."""
    return header if header.endswith("]") else header.rsplit(":", 1)[0].lower()


async def read(request: Request) -> bytes | None:
    """The body, or None if it is too long to be one of ours."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            return None
    return body


async def happened(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the event, so long at most; whether it came."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
