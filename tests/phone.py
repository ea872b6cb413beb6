"""An installer's phone that speaks HTTPS, and the station whose door it stands at: the real core and the real listener,
on loopback."""

import http.client
import json
import queue
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace as with_

from agent import service
from agent.commands.owner import plan_token_judged
from agent.events import Event, FieldEntered, PhoneTold, PlanTokenCame, ServiceOpened
from agent.loop import system_wall
from agent.policy.plan_token import Refused, Token, Why
from agent.settings import Phone as PhoneFacts
from agent.settings import Settings
from agent.ui.door import CERTIFICATE
from agent.ui.model import Field, PageModel, ScreenModel
from agent.ui.phone import COOKIE, Phone
from agent.ui.view import screen
from agent.ui.words import Say
from agent.uplink.cwt import claims_of
from tests.play import KEYS, Play

TIMEOUT_S = 10.0
NOTHING: Mapping[str, str] = {}
Answer = tuple[int, dict[str, str], bytes]


class Site:
    """A station with a door for phones. Its wizard has one field, and its owner's name is `owner`."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", owner: str = "Harbour", port: int = 0) -> None:
        self.play = Play(Settings(station_id="SA-0001", owner=owner))
        self.posted: queue.Queue[Any] = queue.Queue()
        self.folder, self.logged, self.views = folder, list[str](), 0
        says = {"en": Say("en"), "de": Say("de", {"Code": "Zahl", Why.UNREADABLE: "Kein Vertrag"})}
        facts, log = PhoneFacts(address, port), self.logged.append
        self.phone = Phone(facts, folder, "SA-0001", self.view, says, self.posted.put, system_wall, log, self.bring)
        self.hear()

    def view(self, language: str) -> ScreenModel:
        self.views += 1
        owner = self.play.station.settings.owner
        field = Field("breaker_a", "number", f"Breaker ({language})", "32", "32 A", hint=owner)
        return with_(screen(self.play.station, self.play.now), content=PageModel("Circuit", (field,)))

    def bring(self, token: str, then: Callable[[Token | Refused], None]) -> None:
        """As the shell does."""
        claims = claims_of(token, KEYS)
        judged = plan_token_judged(self.play.station, claims, self.play.now)
        if isinstance(judged, Token):
            self.do(PlanTokenCame(claims))
        then(judged)

    def do(self, event: Event) -> None:
        """As the shell does: a step, then whoever shows the station looks at it."""
        self.play.on(event)
        self.phone.follow(self.play.station)

    def hear(self) -> Event:
        """The next thing that the listener tells; the core has heard it then."""
        event: Event = self.posted.get(timeout=TIMEOUT_S)
        self.do(event)
        return event

    def told(self) -> PhoneTold:
        event = self.hear()
        assert isinstance(event, PhoneTold), event
        return event

    def let_in(self) -> PhoneTold:
        """Somebody inside the station opens the door; what the panel shows then."""
        if not self.play.station.panel.service_how:
            self.do(ServiceOpened("button"))
        self.play.after(0.5)
        self.do(ServiceOpened("button"))
        self.do(FieldEntered("service", "phone"))
        return self.told()

    def follow(self) -> None:
        """Time has passed; until the listener has done what follows from it."""
        self.phone.follow(self.play.station)
        if self.phone.visit and not service.is_let_in(self.play.station.panel):
            self.phone.visit.join()

    def close(self) -> None:
        self.phone.stop()


class Keeper(Protocol):
    folder: Path  # in which the certificate is


class Browser:
    """What a phone's browser does at this door: cookies, Origin, Host. It trusts the certificate that it was shown."""

    def __init__(self, site: Keeper, told: PhoneTold) -> None:
        self.origin, self.cookie = told.address, ""
        self.host = told.address.removeprefix("https://")
        address, _, port = self.host.rpartition(":")
        self.where = address, int(port)
        self.tls = ssl.create_default_context(cafile=str(site.folder / CERTIFICATE))
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def link(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*self.where, timeout=TIMEOUT_S, context=self.tls)

    def get(
        self, path: str, headers: Mapping[str, str] = NOTHING, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        link = self.link()
        try:
            cookie = {"cookie": self.cookie} if self.cookie else {}
            link.request(method, path, body, {"Host": self.host, **cookie, **headers})
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def post(self, path: str, value: Any, **headers: str) -> Answer:
        own = {"origin": self.origin, "content-type": "application/json", "sec-fetch-site": "same-origin"}
        kept = {k: v for k, v in {**own, **{k.replace("_", "-"): v for k, v in headers.items()}}.items() if v}
        return self.get(path, kept, method="POST", body=json.dumps(value).encode())

    def enter(self, secret: str) -> int:
        status, headers, _ = self.post("/api/enter", {"secret": secret})
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
            assert self.cookie.startswith(f"{COOKIE}=")
        return status

    @contextmanager
    def stream(self, path: str = "/events") -> Iterator[Callable[[], Mapping[str, Any]]]:
        """The next snapshot."""
        link = self.link()
        link.request("GET", path, headers={"Host": self.host, "cookie": self.cookie})
        answer = link.getresponse()
        assert answer.status == 200, answer.read()

        def snapshot() -> Mapping[str, Any]:
            while line := answer.readline():
                if line.startswith(b"data: "):
                    return dict(json.loads(line[6:])["screen"])
            raise ConnectionError("the stream has ended")

        try:
            yield snapshot
        finally:
            answer.close()
            link.close()


def token_of(told: PhoneTold) -> str:
    """As the page reads it: the fragment, which no browser sends."""
    address, _, token = told.link.partition("/#")
    assert address == told.address
    return token


def is_listening(told: PhoneTold) -> bool:
    address, _, port = told.address.removeprefix("https://").rpartition(":")
    try:
        socket.create_connection((address, int(port)), TIMEOUT_S).close()
    except OSError:
        return False
    return True
