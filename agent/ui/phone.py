"""The installer's phone: the wizard over HTTPS, on one local link, for as long as the core wants the door open.

A listener of its own beside the panel's (agent/ui/web.py), with nothing behind it but the wizard's fields and a way for
a plan token. Each opening is a `Visit`, in a thread with an event loop of its own: new secrets, one phone, a bounded
time. Whoever is not in yet gets the page that asks for the code, and nothing else. The agent's loop only sets flags
here, and what a stranger can cost is bounded: connections in all and from one address, new ones in a second, time for
the TLS handshake, for a request and for its answer, bytes of each.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import uvicorn
from msgspec import Meta
from msgspec.structs import replace
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from agent.events import FieldEntered, PhoneTold
from agent.machine import interface_of
from agent.panel import SERVICE_S, DoorProblem
from agent.policy.plan_token import Refused, Token, Why
from agent.service import is_let_in
from agent.settings import Phone as PhoneFacts
from agent.station import Station
from agent.ui.door import CERTIFICATE, Entry, certificate, fingerprint, new_door, problem_at, wifi
from agent.ui.model import Field, Map, ScreenModel
from agent.ui.site import Streets
from agent.ui.web import HEADERS as PANELS
from agent.ui.web import TYPES, EventStream, happened, read, sent_with, streets_route
from agent.ui.words import LANGUAGES, Say, Says, language_of
from agent.wizard.inputs import NUDGE

SUBSCRIBERS_MAX = 4
CONNECTIONS_MAX = 24
OF_ONE_MAX = 8  # from one address; a browser opens six
ACCEPT_S = 0.05  # between two of them: a flood of handshakes has its part of the processor, and no more
REFUSE_S = 0.002
STRANGER_S = 0.05  # before any answer to somebody who is not in
FIELD_S = 0.05  # between two values of the wizard
PLAN_S = 1.0  # between two plan tokens
HANDSHAKE_S = 5.0
REQUEST_S = 10.0  # until a request is here, with its body
ANSWER_S = 30.0  # until its answer is there
BACKLOG = 128  # who waits to be refused
KEEP_S = 5  # without a further one
HEADERS_MAX = 16_384  # bytes
REFRESH_S = 1.0
COALESCE_S = 0.1
STOP_S = 2.0
LAST_WORD_S = 0.5  # for the answer that says that the door is closed
COOKIE = "__Host-installer"  # the prefix: Secure, for this host alone, for all of it (RFC 6265bis §4.1.3.2)
HERE = Path(__file__).parent

HEADERS = PANELS | {
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "geolocation=(self)",
    "cache-control": "no-store",
}
FOLDERS = {"/": HERE / "static", "/vendor/": HERE / "vendor"}
WORDS = {  # what the page says of its own, before anybody is in
    "title": "Installing this station",
    "choose": "Language",
    "ask": "Type the eight digits that the station shows.",
    "code": "Code",
    "enter": "Go on",
    "wrong": "That is not the code that the station shows now.",
    "closed": "Nobody can come in now: open the service menu at the station and let a phone in.",
    "lost": "The station does not answer: its menu may have closed. Stay near it.",
    "save": "Save",
    "cancel": "Cancel",
    "confirm": "Confirm at the station's own display.",
    "here": "Use this phone's position",
    "nowhere": "This phone does not tell its position.",
    "plan": "Plan token",
    "paste": "Paste its text, or choose its file.",
    "give": "Give it to the station",
    "strange": Why.UNREADABLE,
}


class Brought(msgspec.Struct, frozen=True):
    token: str  # a plan token, as its text


class Secret(msgspec.Struct, frozen=True):
    """The token, or the code."""

    secret: Annotated[str, Meta(max_length=64)]


View = Callable[[str], ScreenModel]  # the wizard's page in this language
Bring = Callable[[str, Callable[[Token | Refused], None]], None]  # a plan token, and who is told what came of it


def nobody(token: str, then: Callable[[Token | Refused], None]) -> None:
    """Where nobody takes any."""
    then(Refused("plan tokens are not taken here"))


class Phone:
    """Opens and closes the door as the station wants it. It lives on the agent's loop; each `Visit` has a thread."""

    def __init__(
        self, facts: PhoneFacts, folder: Path, station_id: str, view: View, says: Says, post: Callable[[object], None],
        wall: Callable[[], float], log: Callable[[str], None] = lambda _: None, bring: Bring = nobody,
    ) -> None:  # fmt: skip
        """`folder` keeps the certificate, `wall` is the system clock. `view`, `post`, `wall`, `log` and `bring` are
        called in the visit's thread."""
        self.facts, self.folder, self.station_id = facts, folder, station_id
        self.view, self.says, self.post, self.wall, self.log, self.bring = view, says, post, wall, log, bring
        self.visit: Visit | None = None
        post(PhoneTold())  # there is a door

    def follow(self, station: Station) -> None:
        """As often as you like; never waits."""
        wanted = station.panel.phone_at if is_let_in(station.panel) else None
        visit = self.visit
        if visit and visit.at == wanted:
            return visit.changed()
        if visit:
            visit.end()
        if wanted is not None:
            self.visit = Visit(self, wanted, visit)
            self.visit.start()

    def stop(self) -> None:
        if self.visit:
            self.visit.end()
            self.visit.join()


class Visit:
    """One opening of the door, from its start to its end, which comes after SERVICE_S whatever happens."""

    def __init__(self, phone: Phone, at: float, before: "Visit | None") -> None:
        """`before`: the one that has to be over first."""
        self.at, self.door = at, new_door()
        self._phone, self._before = phone, before
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._is_guessed = False
        self._subscribers: set[asyncio.Event] = set()
        self._origin = ""
        self._field_at = self._plan_at = 0.0  # the next value is taken
        self._thread = threading.Thread(target=self._run, name="phone", daemon=True)

    # -- from the agent's thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def changed(self) -> None:
        self._call(self._wake)

    def end(self) -> None:
        self._call(self._ended.set)

    def join(self) -> None:
        self._thread.join(STOP_S)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(function)

    # -- in its own ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._before:
            self._before.join()
            self._before = None
        problem = DoorProblem.BROKEN
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                problem = runner.run(self._opened())
        finally:  # a bug ends the door, never the agent
            if problem:
                self._tell(problem=problem)

    def _tell(self, **facts: Any) -> None:
        self._phone.post(PhoneTold(self.at, **facts))

    async def _opened(self) -> DoorProblem:
        """Listens until the end; why it came before its time, or not even to a beginning."""
        facts, phone = self._phone.facts, self._phone
        if problem := problem_at(facts.address):
            return problem
        try:
            pair = certificate(phone.folder, phone.station_id, facts.address, phone.wall())
            tls = tls_context(phone.folder / CERTIFICATE)
        except (OSError, ValueError, OverflowError) as error:  # ValueError: a clock that no certificate can say
            phone.log(f"no door for a phone: {error}")
            return DoorProblem.NO_CERTIFICATE
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            if problem := listening(listener, facts, phone.log):
                return problem
            self._origin = f"https://{facts.address}:{listener.getsockname()[1]}"
            link = f"{self._origin}/#{self.door.token}"
            self._tell(
                address=self._origin, link=link, code=self.door.code, fingerprint=fingerprint(pair), wifi=wifi(facts)
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SERVICE_S):
                    await Listener(self._app(), tls, self._ended).serve(listener)
        return DoorProblem.GUESSED if self._is_guessed else DoorProblem.NONE

    def _wake(self) -> None:
        for news in self._subscribers:
            news.set()

    # -- what is served -----------------------------------------------------------------------------------------------

    def _app(self) -> ASGIApp:
        pages = [static(path, file) for path, file in listed()]
        routes = [
            streets_route(Streets(self._phone.folder)),
            Route("/api/words", self._words),
            Route("/api/enter", self._enter, methods=["POST"]),
            Route("/api/field", self._field, methods=["POST"]),
            Route("/api/plan", self._plan, methods=["POST"]),
            Route("/events", self._events),
        ]
        open_to_all = {"/api/words", "/api/enter", *(path for path, _ in listed())}
        return guarded(Router([*routes, *pages]), self._origin, self._is_guest, open_to_all, self._pause)

    async def _pause(self) -> None:
        await happened(self._ended, STRANGER_S)

    def _is_guest(self, headers: Headers) -> bool:
        return self.door.knows(cookie(headers, COOKIE))

    async def _words(self, request: Request) -> Response:
        say = self._phone.says.get(wished(request), Say())
        told = {"language": say.language, "direction": say.direction, **words_of(say)}
        languages = {code: language.name for code, language in LANGUAGES.items() if code in self._phone.says}
        return json({"words": told, "languages": languages, "guest": self._is_guest(request.headers)})

    async def _enter(self, request: Request) -> Response:
        said = await sent(request, Secret)
        if isinstance(said, Response):
            return said
        match self.door.enter(said.secret):
            case Entry.IN:
                self._tell(address=self._origin, guest=request.client.host if request.client else "unknown")
                answer = Response(status_code=204)
                answer.set_cookie(
                    COOKIE, self.door.session, secure=True, httponly=True, samesite="strict", max_age=int(SERVICE_S)
                )
                return answer
            case Entry.WRONG:
                return PlainTextResponse("wrong\n", 403)
        if not self.door.is_entered:
            self._is_guessed = True
            self._loop.call_later(LAST_WORD_S, self._ended.set)
        return PlainTextResponse("closed\n", 403)

    async def _field(self, request: Request) -> Response:
        """A field that the wizard's page shows now, or the way to another step: nothing else is taken from a phone."""
        event = await sent(request, FieldEntered)
        if isinstance(event, Response):
            return event
        if event.name not in fields(self._phone.view("en")):
            return PlainTextResponse("There is no such field on this page.\n", 409)
        if self._loop.time() < self._field_at:
            return PlainTextResponse("Not so fast.\n", 429, {"retry-after": "1"})
        self._field_at = self._loop.time() + FIELD_S
        self._phone.post(replace(event, by_phone=True))
        return Response(status_code=204)

    async def _plan(self, request: Request) -> Response:
        """A plan token. What comes of it, in the installer's language, when it is on the disk."""
        brought = await sent(request, Brought)
        if isinstance(brought, Response):
            return brought
        if self._loop.time() < self._plan_at:
            return PlainTextResponse("Not so fast.\n", 429, {"retry-after": "1"})
        self._plan_at = self._loop.time() + PLAN_S
        judged: asyncio.Future[Token | Refused] = self._loop.create_future()

        def told(what: Token | Refused) -> None:
            if not judged.done():  # else nobody waits any more
                judged.set_result(what)

        self._phone.bring(brought.token, lambda what: self._call(lambda: told(what)))
        say = self._phone.says.get(wished(request), Say())
        try:
            async with asyncio.timeout(ANSWER_S / 2):
                what = await judged
        except TimeoutError:
            return PlainTextResponse("The station does not answer.\n", 504)
        return json({"taken": isinstance(what, Token), "text": judgement(what, say)})

    async def _events(self, request: Request) -> Response:
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            text = f"{SUBSCRIBERS_MAX} pages are open already: close one.\n"
            return PlainTextResponse(text, 503, {"retry-after": "5"})
        news = asyncio.Event()
        self._subscribers.add(news)
        return EventStream(self._stream(news, wished(request)), lambda: self._subscribers.discard(news))

    async def _stream(self, news: asyncio.Event, language: str) -> AsyncIterator[bytes]:
        before = b""
        while not self._ended.is_set():
            news.clear()
            snapshot = msgspec.json.encode({"screen": self._phone.view(language)})
            yield b"data: " + snapshot + b"\n\n" if snapshot != before else b"event: alive\ndata:\n\n"
            before = snapshot
            if not await happened(self._ended, COALESCE_S):
                await happened(news, REFRESH_S)


def words_of(say: Say) -> dict[str, str]:
    return {key: say(text) for key, text in WORDS.items()}


def judgement(what: Token | Refused, say: Say) -> str:
    """Of a plan token, for whoever has brought it."""
    if isinstance(what, Refused):
        return say(what.why)
    day = f"{datetime.fromtimestamp(what.ends_s, UTC):%Y-%m-%d}"
    return say("The plan token is taken. The plan ends on {day}.", day=day)


def fields(screen: ScreenModel) -> set[str]:
    """What can be entered on this page. `step` is a way, not a field: agent/wizard/flow.py."""
    blocks = screen.content.blocks if screen.content else ()
    maps = {NUDGE for block in blocks if isinstance(block, Map)}  # which has no field of its own
    return {"step"} | maps | {block.name for block in blocks if isinstance(block, Field)}


# -- pages and answers ------------------------------------------------------------------------------------------------


def listed() -> list[tuple[str, Path]]:
    """The phone's page, and what it shares with the panel's; never that page itself."""
    found = [(at + path.relative_to(folder).as_posix(), path) for at, folder in FOLDERS.items()
             for path in sorted(folder.rglob("*")) if path.suffix in TYPES.keys() - {".webm"}]  # fmt: skip
    return [("/" if at == "/phone.html" else at, path) for at, path in found if at != "/index.html"]


def static(at: str, file: Path) -> Route:
    async def answer(_request: Request) -> Response:
        return Response(file.read_bytes(), media_type=TYPES[file.suffix])

    return Route(at, answer)


def json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


T = TypeVar("T", bound=msgspec.Struct)


async def sent(request: Request, type_: type[T]) -> T | Response:
    """The body, or what to say instead."""
    if request.headers.get("content-type") != "application/json":  # no form of another page can send this
        return PlainTextResponse("Send JSON.\n", 415)
    body = await read(request)
    if body is None:
        return PlainTextResponse("Too long.\n", 413)
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, ValueError) as error:
        return PlainTextResponse(f"{str(error)[:200]}\n", 400)


def cookie(headers: Headers, name: str) -> str:
    pairs = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
    return next((value for key, _, value in pairs if key == name), "")


def wished(request: Request) -> str:
    """The language that the page asks for, else that of its browser."""
    asked = request.query_params.get("language", "")
    return asked if asked in LANGUAGES else spoken(request.headers)


def spoken(headers: Headers) -> str:
    """The first language of Accept-Language (RFC 9110 §12.5.4) that we speak. Browsers send them in order."""
    asked = headers.get("accept-language", "")[:200].split(",")
    return next(filter(None, (language_of(each.strip().partition(";")[0]) for each in asked)), "en")


# -- who is let through -----------------------------------------------------------------------------------------------


def guarded(
    app: ASGIApp, origin: str, is_guest: Callable[[Headers], bool], open_to_all: set[str],
    pause: Callable[[], Awaitable[None]],
) -> ASGIApp:  # fmt: skip
    """By its one name, from its own page, and, but for the page itself, by whom the door knows. Strangers wait."""
    def refusal(scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MAX:
            return PlainTextResponse("Too long.\n", 431)
        if headers.get("host", "").lower() != origin.removeprefix("https://"):  # another name is DNS rebinding
            return PlainTextResponse("There is nothing here by this name.\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            is_own = headers.get("origin", "").lower() == origin
            if not is_own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return PlainTextResponse("Only the station's own page may do this.\n", 403)
        if scope["path"] in open_to_all or is_guest(headers):
            return None
        return PlainTextResponse("Show the station's code first.\n", 401)

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_guest(Headers(scope=scope)):
            await pause()
        await (refusal(scope) or app)(scope, receive, send)

    return sent_with(HEADERS, guard)


# -- the listener -----------------------------------------------------------------------------------------------------


def tls_context(pem: Path) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pem)
    return tls


def listening(listener: socket.socket, facts: PhoneFacts, log: Callable[[str], None]) -> DoorProblem:
    """At this address and on its interface: Linux would take what comes in by another one for the same address."""
    try:
        name = interface_of(facts.address).encode()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name + b"\0")
    except OSError as error:
        log(f"no door for a phone: the kernel does not bind it to its interface ({error.strerror})")
        return DoorProblem.UNBOUND
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((facts.address, facts.port))
        listener.listen(BACKLOG)
    except OSError as error:
        log(f"no door for a phone: port {facts.port} of {facts.address} is taken ({error.strerror})")
        return DoorProblem.TAKEN
    listener.setblocking(False)
    return DoorProblem.NONE


class Listener:
    """Accepts, and keeps what strangers can cost within bounds; a request is uvicorn's from then on."""

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext, ended: asyncio.Event) -> None:
        self._config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, date_header=False, timeout_keep_alive=KEEP_S,
            h11_max_incomplete_event_size=HEADERS_MAX,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._tls, self._ended = tls, ended
        self._open: Counter[str] = Counter()  # connections, by the address they come from
        self._greeting: set[asyncio.Task[bool]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Until it has ended; then every connection is."""
        accepting = asyncio.create_task(self._accept(listener))
        try:
            await self._ended.wait()
        finally:
            for task in (accepting, *self._greeting):
                task.cancel()
            await asyncio.gather(accepting, *self._greeting, return_exceptions=True)
            for connection in list(self._state.connections):
                connection.transport.abort()
            if self._state.tasks:
                await asyncio.wait(list(self._state.tasks), timeout=STOP_S / 2)

    async def _accept(self, listener: socket.socket) -> None:
        is_taken = False
        while not await happened(self._ended, ACCEPT_S if is_taken else REFUSE_S):
            await readable(listener)
            with contextlib.suppress(OSError):  # it hung up already, or no descriptor is free: the next one may do
                link, (address, _) = listener.accept()
                is_taken = self._open.total() < CONNECTIONS_MAX and self._open[address] < OF_ONE_MAX
                if is_taken:
                    self._take(link, address)
                else:
                    link.close()

    def _take(self, link: socket.socket, address: str) -> None:
        self._open[address] += 1
        greeting = asyncio.create_task(self._greet(link, address))
        self._greeting.add(greeting)
        greeting.add_done_callback(lambda done: self._greeted(done, link, address))

    async def _greet(self, link: socket.socket, address: str) -> bool:
        """TLS, in time; whether it came to be."""
        link.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Patient(self._config, self._state, {}, lambda: self._gone(address)), link,
                ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=STOP_S,
            )  # fmt: skip
        except OSError:
            return False
        return True

    def _greeted(self, done: asyncio.Task[bool], link: socket.socket, address: str) -> None:
        self._greeting.discard(done)
        if done.cancelled() or not done.result():
            link.close()
            self._gone(address)

    def _gone(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


async def readable(listener: socket.socket) -> None:
    """Somebody knocks. (asyncio's own sock_accept loses a connection when it is cancelled.)"""
    loop = asyncio.get_running_loop()
    knocked = asyncio.Event()
    loop.add_reader(listener, knocked.set)
    try:
        await knocked.wait()
    finally:
        loop.remove_reader(listener)


class Patient(H11Protocol):
    """A connection whose requests and answers have their time; the stream of the wizard's page alone has as much as it
    likes, since its reader is known."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any], gone: Callable[[], None]
    ) -> None:
        super().__init__(config, state, app_state)
        self._gone = gone
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait(REQUEST_S)

    def data_received(self, data: bytes) -> None:
        before: Any = self.cycle  # None before the first
        if self._patience is None and (before is None or before.response_complete):
            self._wait(REQUEST_S)
        super().data_received(data)
        now: Any = self.cycle
        if now is not None and not now.more_body and not now.response_complete:
            self._wait(None if self.scope["path"] == "/events" else ANSWER_S)

    def on_response_complete(self) -> None:
        self._wait(None)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)
        self._gone()

    def _wait(self, patience_s: float | None) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = None if patience_s is None else self.loop.call_later(patience_s, self.transport.abort)
