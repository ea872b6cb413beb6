"""The panel: a small web server on loopback for the kiosk browser. What it can change is in INPUTS: what is shown.

Everybody on this machine may look. Who presses must hold the token of this boot, which is in the address that only the
kiosk's user may read (`panelurl.py`); the page changes it for a cookie that no script sees.

It runs in a thread of its own with an event loop of its own. The agent's loop only sets a flag (`changed`), so that no
client, however slow or hostile, makes a heartbeat wait. The station is an immutable value: reading the newest one from
another thread needs no lock. Every client gets whole snapshots; a slow one misses some (latest wins, no queues).

Importing this costs 5 MB and 80 ms: only agent/app.py does, and late.
"""

import asyncio
import contextlib
import hashlib
import hmac
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
from msgspec import Meta, Struct, structs
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.events import FieldEntered, KeyPressed, PageMeasured, PortChosen, ScreenTouched
from agent.hal.display import DisplayFacts
from agent.ui.maps import STREETS
from agent.ui.model import Beat, ScreenModel
from agent.ui.panelurl import is_kiosk, new_token
from agent.ui.site import Streets

SUBSCRIBERS_MAX = 8
CONNECTIONS_MAX = 32  # more are answered 503
HEADERS_MAX = 16_384  # bytes; longer ones are answered 400
COALESCE_S = 0.05  # at most twenty snapshots a second
BODY_MAX = 65_536  # bytes of a request
REFRESH_S = 1.0  # at least one look a second: elapsed times and countdowns move without an event
ALIVE_S = 1.0  # a sign of life when nothing changes; an event, because a script does not see SSE comments. After three
# seconds of silence the page says that the station is restarting (static/station.mjs)
RETRY_MS = 1_000  # a page whose line has dropped comes again
GRACE_S = 1.0  # open requests may finish
STOP_S = 3.0  # then the thread is left to die with the process

HERE = Path(__file__).parent
HOSTS = {"localhost", "127.0.0.1", "[::1]"}  # another name is DNS rebinding
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
NOT_KEPT = {"cache-control": "no-store"}
KEPT = {"cache-control": "max-age=31536000, immutable"}  # what others made and has its version in its name
VERSIONED = re.compile(r"/vendor/.*\d\.\d")
ASKED_AGAIN = {"cache-control": "no-cache"}  # kept, and asked for by its ETag

INPUTS: dict[str, type[Struct]] = {  # what somebody at the display can do, and the event that it is
    "/api/key": KeyPressed,
    "/api/port": PortChosen,
    "/api/field": FieldEntered,
    "/api/measured": PageMeasured,
    "/api/touched": ScreenTouched,
}
TYPES = {
    ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".css": "text/css",
    ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2", ".webm": "video/webm",
    ".json": "application/json", ".bin": "application/octet-stream", ".pmtiles": "application/octet-stream",
}  # fmt: skip
VIDEO = "/video/how.webm"


def listed() -> Iterator[tuple[str, Path]]:
    """What is in our two folders, by its address."""
    for at, folder in (("/", HERE / "static"), ("/vendor/", HERE / "vendor")):
        for path in sorted(folder.rglob("*")):
            if path.suffix in TYPES and path.name != "VENDOR.json":
                name = path.relative_to(folder).as_posix()
                yield at + name.removesuffix("index.html"), path


STATIC = dict(listed())  # the whole list: nothing else is ever read from disk, but the operator's own video


class Session(Struct, frozen=True):
    """Who shows this boot's token may press."""

    token: Annotated[str, Meta(max_length=100)]


Take = Callable[[Request, Any], Response]


class Panel:
    """Serves what `get_model` returns, and takes what is pressed.

    `get_model` is called in the panel's thread, at most twenty times a second: it reads an immutable value and does not
    wait. What it raises is our bug: it ends the panel, never the agent, and the page says that the connection is lost.
    """

    def __init__(
        self,
        get_model: Callable[[], ScreenModel],
        port: int,
        post: Callable[[object], None] = lambda event: None,
        *,
        beat: Callable[[Beat], None] = lambda beat: None,
        token: str = "",
        display: DisplayFacts | None = None,
        video: Path | None = None,
        site: Path | None = None,
    ) -> None:
        """`port` 0 takes any free one; `url` tells which. `post` takes the events of INPUTS, and `beat` what the page
        says of itself each second, in the panel's thread. `token` lets press (one is made if there is none). `video` is
        played in place of ours. `site`: the folder in which the streets around the station may be.
        """
        self._get_model = get_model
        self._post = post
        self._port = port
        self._beat = beat
        self._token = token or new_token()
        self._display = display or DisplayFacts()
        self._streets = Streets(site) if site else None
        self._video = video or STATIC.get(VIDEO)
        self.newest = 0  # the id of the newest snapshot: what an awake page says that it has drawn
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

    @property
    def entrance(self) -> str:
        """The address for the display itself: who opens it may press. The token is in the fragment: never sent, never
        logged."""
        return f"{self.url}#{self._token}"

    @property
    def _cookie(self) -> str:
        return f"panel-{self._port}"  # cookies know no ports: another panel on this machine has its own

    @property
    def _session(self) -> str:
        """Follows from the token, so that it outlives a restart of the agent as the token does."""
        return hmac.new(self._token.encode(), b"session", hashlib.sha256).hexdigest()

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
                self.newest += 1
                self._wake()

    def _snapshot(self) -> bytes:
        return msgspec.json.encode({"screen": self._get_model()})

    def _wake(self) -> None:
        for news in self._subscribers:
            news.set()

    async def _stream(self, news: asyncio.Event) -> AsyncIterator[bytes]:
        sent = b""
        yield b"retry: %d\n\n" % RETRY_MS
        while not self._stopped.is_set():
            news.clear()
            if self._latest is not sent:
                sent = self._latest
                yield b"id: %d\ndata: %b\n\n" % (self.newest, sent)
            elif not await happened(news, ALIVE_S):
                yield b"event: alive\ndata:\n\n"

    # -- the pages ----------------------------------------------------------------------------------------------------

    def _app(self) -> ASGIApp:
        inputs = [self._input(path, type_, self._event) for path, type_ in INPUTS.items()]
        beat = self._input("/api/beat", Beat, self._heard)
        session = self._input("/api/session", Session, self._let_in, is_open=True)
        shown = [
            Route("/api/screen", self._screen),
            Route("/api/profile", self._profile),
            Route("/events", self._events),
            Route(VIDEO, self._film),
        ]
        if self._streets:
            shown.append(streets_route(self._streets))
        pages = [page(path, file) for path, file in STATIC.items()]
        return Router([*inputs, beat, session, *shown, *pages])

    def _input(self, path: str, type_: type[Struct], then: Take, *, is_open: bool = False) -> Route:
        """`is_open`: the token has not been shown yet."""

        async def take(request: Request) -> Response:
            if not is_own(request.headers):
                return PlainTextResponse("Only the station's own page presses keys.\n", 403)
            if not is_open and not self._may_press(request):
                return PlainTextResponse(MAY_LOOK, 403)
            if request.headers.get("content-type") != "application/json":  # no form of another page can send this
                return PlainTextResponse("Send JSON.\n", 415)
            body = await read(request)
            if body is None:
                return PlainTextResponse(f"At most {BODY_MAX} bytes.\n", 413)
            try:
                return then(request, msgspec.json.decode(body, type=type_))
            except (msgspec.DecodeError, ValueError) as error:
                return PlainTextResponse(f"{str(error)[:200]}\n", 400)

        return Route(path, take, methods=["POST"])

    def _may_press(self, request: Request) -> bool:
        return is_same(request.cookies.get(self._cookie, ""), self._session)

    def _let_in(self, _request: Request, session: Session) -> Response:
        if not is_same(session.token, self._token):
            return PlainTextResponse(MAY_LOOK, 403)
        answer = Response(status_code=204)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return answer

    def _event(self, _request: Request, event: Struct) -> Response:
        self._post(event)
        return Response(status_code=204)

    def _heard(self, _request: Request, beat: Beat) -> Response:
        is_own = is_kiosk(beat.page, self._token)
        self._beat(beat if is_own else structs.replace(beat, page=""))
        return Response(status_code=204)

    async def _profile(self, request: Request) -> Response:
        """How large the display is, since the page measures in millimetres; and whether this page may press."""
        display = self._display
        size = {"width_px": display.width_px, "height_px": display.height_px, "width_mm": display.width_mm}
        return as_json({**size, "may_press": self._may_press(request)})

    async def _film(self, _request: Request) -> Response:
        if self._video is None or not self._video.is_file():
            return PlainTextResponse("There is no video.\n", 404)
        return FileResponse(self._video, media_type=TYPES[".webm"], headers=ASKED_AGAIN)

    async def _screen(self, _request: Request) -> Response:
        return as_json(self._get_model())

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
        super().__init__(content, headers=NOT_KEPT)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def as_json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers=NOT_KEPT)


def page(path: str, file: Path) -> Route:
    """Read when it is asked for, which is once when the display starts: fonts and maps need not stay in memory."""
    etag = f'"{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"'
    headers = {**(KEPT if VERSIONED.match(path) else ASKED_AGAIN), "etag": etag}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(file.read_bytes(), media_type=TYPES[file.suffix], headers=headers)

    return Route(path, answer)


def streets_route(streets: Streets) -> Route:
    async def answer(_request: Request) -> Response:
        site = await run_in_threadpool(streets.site)
        if site.problem:
            return PlainTextResponse(f"{site.problem}\n", 404)
        return FileResponse(streets.path, media_type=TYPES[".bin"], headers=ASKED_AGAIN)

    return Route(STREETS, answer)


def guarded(app: ASGIApp) -> ASGIApp:
    """Only for who asks for this machine by its own name; and no page of ours inside anybody else's."""
    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        refused = None if host(Headers(scope=scope).get("host", "")) in HOSTS else NOT_HERE
        await (refused or app)(scope, receive, send)

    return sent_with(HEADERS, guard)


def sent_with(headers: Mapping[str, str], app: ASGIApp) -> ASGIApp:
    """Each of its answers carries these headers, a refusal too."""
    ours = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *ours]}
            await send(message)

        await app(scope, receive, send_more)

    return answer


NOT_HERE = PlainTextResponse("The panel is at http://127.0.0.1/ or http://localhost/ only.\n", 421)
MAY_LOOK = "This page may look, not press: open the address that station-agent panel prints.\n"


def host(header: str) -> str:
    """The name in a Host header, without the port."""
    return header if header.endswith("]") else header.rsplit(":", 1)[0].lower()


def is_own(headers: Headers) -> bool:
    """Sent by a page of this very panel, as every browser says of itself; who says nothing is no browser of ours."""
    is_same_site = headers.get("sec-fetch-site", "same-origin") == "same-origin"
    return is_same_site and headers.get("origin", "") == f"http://{headers.get('host', '').lower()}"


def is_same(told: str, known: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(told.encode(errors="replace"), known.encode())


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
