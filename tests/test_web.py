"""The panel answers who asks properly, refuses the rest in one sentence, and holds nobody up."""

import hashlib
import http.client
import json
import os
import queue
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.clock import Clock
from agent.events import FieldEntered, KeyPressed, PageMeasured, PortChosen, Report, ScreenTouched
from agent.hal.display import DisplayFacts
from agent.loop import monotonic
from agent.port import Port
from agent.settings import Settings
from agent.station import Boot, BootReason, Station
from agent.ui import panelurl, web
from agent.ui.model import Beat, ScreenModel
from agent.ui.view import screen
from agent.ui.web import (
    BODY_MAX,
    CONNECTIONS_MAX,
    HEADERS,
    HEADERS_MAX,
    INPUTS,
    KEPT,
    STATIC,
    SUBSCRIBERS_MAX,
    TYPES,
    VIDEO,
    Panel,
)

TIMEOUT_S = 10.0
TOKEN = "the-token-of-this-boot"
SITE = Path(web.__file__).parent
OURS = [path for path in STATIC.values() if path.is_relative_to(SITE / "static") and path.suffix in (".mjs", ".html")]


class World:
    """A station that a test changes, behind a panel."""

    def __init__(self, **more: Any) -> None:
        boot = Boot("0011223344556677", 0.0, BootReason.POWER_UP)
        self.station = Station(Settings(station_id="SA-0"), boot, Clock(), (Port(1, report=Report()),))
        self.looks = 0
        self.pressed: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.beats: queue.SimpleQueue[Beat] = queue.SimpleQueue()
        self.panel = Panel(self.model, 0, self.pressed.put, beat=self.beats.put, token=TOKEN, **more)
        self.panel.start()
        self.port = int(self.panel.url.rsplit(":", 1)[1].strip("/"))

    def model(self) -> ScreenModel:
        self.looks += 1
        return screen(self.station, 0.0)

    def call(self, serial: str) -> None:
        """Give the station another name, as the loop would: a new value, then the flag."""
        self.station = Station(Settings(station_id=serial), self.station.boot, Clock(), self.station.ports)
        self.panel.changed()

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            link.request(method, path, body, headers=headers)
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def post(self, path: str, body: object, **headers: str | None) -> tuple[int, bytes]:
        """As the panel's own page does, once it has been let in; a header that is None is left out."""
        made: dict[str, str | None] = {"content-type": "application/json", "origin": self.panel.url.rstrip("/")}
        made["cookie"] = self.cookie()
        made |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in made.items() if value is not None}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.get(path, "POST", data, **sent)
        return status, answer

    def cookie(self, token: str = TOKEN) -> str:
        """What the panel gives for the token."""
        headers = {"content-type": "application/json", "origin": self.panel.url.rstrip("/")}
        _, answer, _ = self.get("/api/session", "POST", json.dumps({"token": token}).encode(), **headers)
        return answer.get("set-cookie", "").partition(";")[0]

    def raw(self, data: bytes) -> bytes:
        """What comes back until the panel closes, if these bytes are all it gets."""
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            try:
                return b"".join(iter(lambda: link.recv(65_536), b""))
            except ConnectionError:  # it hung up before it had read all of it
                return b""

    @contextmanager
    def subscribed(self) -> Iterator["Page"]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        link.request("GET", "/events")
        answer = link.getresponse()
        try:
            yield Page(answer)
        finally:
            answer.close()
            link.close()


class Page:
    """An open page: what it is sent, event by event."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer
        self.status = answer.status

    def event(self) -> str:
        lines = iter(lambda: self.answer.readline().decode().rstrip("\n"), "")
        return "\n".join(lines)

    def snapshot(self) -> dict[str, Any]:
        while not (found := re.match(r"id: (\d+)\ndata: (.*)", event := self.event())):
            assert event, "the panel has closed the stream"
        self.id = int(found[1])
        return dict(json.loads(found[2]))

    def until(self, serial: str) -> int:
        """How many snapshots it took until this station's name came."""
        return next(n for n in range(1, 1000) if self.snapshot()["screen"]["serial"] == serial)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.panel.stop()


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for what the panel's thread does by itself."""
    pause = threading.Event()
    assert any(is_so() or pause.wait(0.02) for _ in range(int(TIMEOUT_S / 0.02)))


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STATIC)
def test_the_page_and_its_files_are_served(world: World, path: str) -> None:
    status, headers, body = world.get(path)
    assert status == 200 and body
    assert headers["content-type"].startswith(TYPES[STATIC[path].suffix])


@pytest.mark.parametrize("path", [*STATIC, "/api/screen", "/api/profile", "/nothing"])
def test_every_answer_forbids_framing_and_foreign_content(world: World, path: str) -> None:
    headers = world.get(path)[1]
    assert headers.items() >= HEADERS.items() and headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_only_what_has_its_version_in_its_name_is_kept_for_long(world: World) -> None:
    for path in STATIC:
        is_kept = world.get(path)[1]["cache-control"] == KEPT["cache-control"]
        assert is_kept == bool(re.match(r"/vendor/.*\d\.\d", path)), path
    assert world.get("/api/screen")[1]["cache-control"] == "no-store"


def test_a_file_that_the_browser_has_is_not_sent_again(world: World) -> None:
    etag = world.get("/style.css")[1]["etag"]
    assert world.get("/style.css", "GET", None, **{"if-none-match": etag})[::2] == (304, b"")
    assert world.get("/style.css", "GET", None, **{"if-none-match": '"older"'})[0] == 200


def test_the_video_comes_in_parts_as_a_browser_asks_for_it(tmp_path: Path) -> None:
    film = tmp_path / "how.webm"
    film.write_bytes(bytes(range(256)) * 100)
    world = World(video=film)
    status, headers, body = world.get(VIDEO, range="bytes=256-511")
    assert status == 206 and body == bytes(range(256)) and headers["content-type"] == "video/webm"
    film.unlink()
    assert world.get(VIDEO)[0] == 404
    world.panel.stop()


def test_the_page_asks_nobody_but_the_station() -> None:
    assert len(OURS) > 8
    for path in OURS:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\sstyle=|\son[a-z]+=|eval\(", text)


def test_what_others_made_is_here_unchanged_and_named() -> None:
    """Name, version, licence, source and hash of each file that is not ours."""
    named = json.loads((SITE / "vendor" / "VENDOR.json").read_text())
    licences = {name for entry in named.values() for name in entry["licence_files"]}
    there = {path.relative_to(SITE / "vendor").as_posix() for path in (SITE / "vendor").rglob("*") if path.is_file()}
    assert there == {"VENDOR.json", *named, *licences}
    for name, entry in named.items():
        assert hashlib.sha256((SITE / "vendor" / name).read_bytes()).hexdigest() == entry["sha256"], name
        assert entry["name"] and entry["licence"] and entry["source"] and entry["licence_files"]
        assert entry["version"] in name or entry["version"] in entry["source"]


def test_the_screen_is_there_as_json(world: World) -> None:
    status, headers, body = world.get("/api/screen")
    assert status == 200 and headers["content-type"] == "application/json"
    assert json.loads(body)["ports"][0]["title"] == "Available"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]", "[::1]:8400"])
def test_this_machine_may_be_called_by_its_own_names(world: World, name: str) -> None:
    assert world.get("/", Host=name)[0] == 200


@pytest.mark.promise("S9")
@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "192.168.1.7:8400", "", ":", "[::1].evil"])
def test_another_name_is_refused_because_it_may_be_dns_rebinding(world: World, name: str) -> None:
    for path in ("/", "/events", "/api/screen"):
        status, _, body = world.get(path, Host=name)
        assert status == 421 and b"localhost" in body


# -- the stream -------------------------------------------------------------------------------------------------------


def test_a_page_gets_the_screen_at_once_and_each_change(world: World) -> None:
    with world.subscribed() as page:
        assert page.status == 200
        assert page.answer.getheader("content-type", "").startswith("text/event-stream")
        page.snapshot()
        world.call("SA-1")
        page.until("SA-1")


@pytest.mark.promise("S10")
def test_a_flood_of_changes_costs_a_few_snapshots_and_the_newest_is_among_them(world: World) -> None:
    with world.subscribed() as page:
        page.snapshot()
        looks, begun = world.looks, monotonic()
        for n in range(10_000):
            world.call(f"SA-{n}")
        snapshots = page.until("SA-9999")
        most = 3 + (monotonic() - begun) / web.COALESCE_S  # however long this machine took for its calls
        assert snapshots <= most and world.looks - looks <= most


def test_time_moves_on_the_screen_without_an_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REFRESH_S", 0.05)
    with world.subscribed() as page:
        page.snapshot()
        world.station = Station(Settings(station_id="quiet"), world.station.boot, Clock(), world.station.ports)
        page.until("quiet")


def test_a_quiet_station_gives_a_sign_of_life(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ALIVE_S", 0.05)
    with world.subscribed() as page:
        page.snapshot()
        assert page.event() == "event: alive\ndata:"


def test_nobody_looking_costs_no_look(world: World) -> None:
    eventually(lambda: not world.panel._subscribers)
    looks = world.looks
    with world.subscribed() as page:
        page.snapshot()
        assert world.looks == looks + 1


@pytest.mark.promise("S9", "S10")
def test_a_ninth_page_is_told_to_close_one_and_gets_in_when_one_has_left(world: World) -> None:
    eventually(lambda: not world.panel._subscribers)
    with ExitStack() as open_pages:
        pages = [open_pages.enter_context(world.subscribed()) for _ in range(SUBSCRIBERS_MAX)]
        assert all(page.snapshot() for page in pages)
        status, headers, body = world.get("/events")
        assert status == 503 and b"close one" in body and headers["retry-after"]
    eventually(lambda: not world.panel._subscribers)
    with world.subscribed() as page:
        assert page.status == 200 and page.snapshot()


@pytest.mark.promise("S10")
def test_a_page_that_does_not_read_holds_up_nobody(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), TIMEOUT_S) as stuck, world.subscribed() as page:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        stuck.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        page.snapshot()
        for n in range(5):
            world.call(f"SA-{n}" * 1_000)
            page.until(f"SA-{n}" * 1_000)


def test_each_snapshot_has_its_number_so_that_the_page_can_say_what_it_has_drawn(world: World) -> None:
    with world.subscribed() as page:
        page.snapshot()
        before = page.id
        world.call("SA-numbered")
        page.until("SA-numbered")
        assert page.id > before and page.id == world.panel.newest


# -- what is pressed --------------------------------------------------------------------------------------------------

PRESSES = [
    ("/api/key", {"key": 2, "action": "language"}, KeyPressed(2, "language")),
    ("/api/key", {"key": 4}, KeyPressed(4)),
    ("/api/port", {"evse_id": 1}, PortChosen(1)),
    ("/api/field", {"name": "owner", "value": "Žluťoučký <b>"}, FieldEntered("owner", "Žluťoučký <b>")),
    ("/api/measured", {"screenfuls": 3}, PageMeasured(3)),
    ("/api/touched", {}, ScreenTouched()),
]


@pytest.mark.parametrize(("path", "body", "event"), PRESSES)
def test_what_the_page_sends_is_what_happened(world: World, path: str, body: object, event: object) -> None:
    assert world.post(path, body)[0] == 204
    assert world.pressed.get(timeout=TIMEOUT_S) == event


def test_the_page_says_each_second_what_it_shows(world: World) -> None:
    said = {"drawn": 7, "frames": 1234, "video": "playing", "visible": True}
    assert world.post("/api/beat", said)[0] == 204
    assert world.beats.get(timeout=TIMEOUT_S) == Beat(7, 1234, "playing", True)
    assert world.post("/api/beat", {**said, "video": "perhaps"})[0] == 400


def test_only_the_page_of_the_displays_own_browser_is_told_as_its(world: World) -> None:
    said = {"drawn": 7, "frames": 1234, "video": "playing", "visible": True}
    token, _, own = panelurl.kiosk_url(world.panel.entrance).partition("#")[2].partition(".")
    assert token == TOKEN
    for page in ("", own[:-1], own[:-1] + ("0" if own[-1] != "0" else "1"), "x" + own[1:], "ü" * 48, own + "0"):
        assert world.post("/api/beat", {**said, "page": page})[0] == 204
        assert world.beats.get(timeout=TIMEOUT_S).page == ""
    assert world.post("/api/beat", {**said, "page": own})[0] == 204
    assert world.beats.get(timeout=TIMEOUT_S).page == own
    assert world.post("/api/beat", {**said, "page": "x" * 101})[0] == 400


def test_the_page_learns_how_large_the_display_is() -> None:
    world = World(display=DisplayFacts(width_px=480, height_px=272, width_mm=95))
    size = {"width_px": 480, "height_px": 272, "width_mm": 95}
    assert json.loads(world.get("/api/profile")[2]) == {**size, "may_press": False}
    assert json.loads(world.get("/api/profile", cookie=world.cookie())[2]) == {**size, "may_press": True}
    world.panel.stop()


@pytest.mark.promise("S9")
def test_who_shows_the_token_gets_a_cookie_that_no_script_and_no_other_site_has(world: World) -> None:
    headers = {"content-type": "application/json", "origin": world.panel.url.rstrip("/")}
    body = json.dumps({"token": TOKEN}).encode()
    status, answer, _ = world.get("/api/session", "POST", body, **headers)
    cookie = answer["set-cookie"].lower()
    assert status == 204 and "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
    assert world.panel.entrance == f"{world.panel.url}#{TOKEN}"


@pytest.mark.promise("S9")
@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 22, "\ud800"])
def test_a_wrong_token_gets_none(world: World, token: str) -> None:
    assert world.cookie(token) == ""


@pytest.mark.promise("S9")
@pytest.mark.parametrize("path", [*INPUTS, "/api/beat"])
def test_without_the_cookie_the_page_may_look_but_not_press(world: World, path: str) -> None:
    for cookie in (None, "", "panel=x", f"panel-{world.port}=", f"panel-{world.port}=" + "0" * 64, f"panel={TOKEN}"):
        status, answer = world.post(path, {"key": 1, "evse_id": 1}, cookie=cookie)
        assert status == 403 and b"station-agent panel" in answer
    assert world.pressed.empty() and world.get("/api/screen")[0] == 200


def test_the_cookie_outlives_a_restart_of_the_agent_as_the_token_does(world: World) -> None:
    again = World()
    value = world.cookie().partition("=")[2]
    assert again.cookie().partition("=")[2] == value
    again.panel.stop()


@pytest.mark.promise("S9")
@pytest.mark.parametrize("path", [*INPUTS, "/api/beat", "/api/session"])
def test_another_page_of_this_machine_presses_nothing(world: World, path: str) -> None:
    ours = world.panel.url.rstrip("/")
    others = [None, "", "null", "http://evil.example", "http://127.0.0.1", f"{ours}0", ours.replace("http", "https")]
    for origin in others:
        assert world.post(path, {"key": 1, "token": TOKEN}, origin=origin)[0] == 403
    assert world.post(path, {"key": 1, "token": TOKEN}, sec_fetch_site="same-site")[0] == 403
    assert world.pressed.empty()


@pytest.mark.promise("S9")
@pytest.mark.parametrize("type_", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_cannot_press(world: World, type_: str | None) -> None:
    assert world.post("/api/key", {"key": 1}, content_type=type_)[0] == 415


no_object = st.recursive(st.none() | st.integers() | st.text(), st.lists)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("path", [*INPUTS, "/api/beat", "/api/session"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(body=st.binary(max_size=100).filter(lambda data: b"{" not in data) | no_object.map(json.dumps))
def test_rubbish_in_a_press_is_answered_in_a_sentence(world: World, path: str, body: bytes | str) -> None:
    status, answer = world.post(path, body.encode() if isinstance(body, str) else body)
    assert status == 400 and 0 < len(answer) <= 201
    assert world.pressed.empty() and world.beats.empty()


@pytest.mark.promise("S9", "S10")
def test_a_press_too_long_to_be_one_is_not_read(world: World) -> None:
    assert world.post("/api/field", {"name": "x", "value": "x" * BODY_MAX})[0] == 413


# -- hostile clients --------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "path",
    ["/nothing", "/static/panel.mjs", "/../../etc/passwd", "/panel.mjs/..", "/%2e%2e/", "//", "/vendor/VENDOR.json"],
)
def test_what_is_not_on_the_list_is_not_found(world: World, path: str) -> None:
    assert world.get(path)[0] == 404


@pytest.mark.promise("S9")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_the_panel_only_shows(world: World, method: str) -> None:
    assert {world.get(path, method)[0] for path in ("/", "/events", "/api/screen")} == {405}


@pytest.mark.promise("S9")
def test_a_head_request_does_not_occupy_a_page(world: World) -> None:
    assert world.get("/events", "HEAD")[0] == 405


@pytest.mark.promise("S9")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"GET {text} HTTP/1.1\r\n\r\n".encode()))
def test_rubbish_is_answered_with_an_error_or_not_at_all(world: World, data: bytes) -> None:
    answer = world.raw(data)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))


@pytest.mark.promise("S9", "S10")
@pytest.mark.parametrize("head", [b"GET /" + b"a" * 4 * HEADERS_MAX, b"GET / HTTP/1.1\r\nX: " + b"a" * 4 * HEADERS_MAX])
def test_a_huge_head_is_cut_off(world: World, head: bytes) -> None:
    answer = world.raw(head)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert world.get("/")[0] == 200


@pytest.mark.promise("S9", "S10")
def test_more_connections_than_there_may_be_are_refused_and_then_all_is_well() -> None:
    world = World()
    idle = [socket.create_connection(("127.0.0.1", world.port), TIMEOUT_S) for _ in range(CONNECTIONS_MAX)]
    eventually(lambda: world.get("/")[0] == 503)
    for link in idle:
        link.close()
    eventually(lambda: world.get("/")[0] == 200)
    world.panel.stop()


@pytest.mark.promise("S9")
def test_a_body_nobody_asked_for_is_not_kept(world: World) -> None:
    head = b"GET /api/screen HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", world.port), TIMEOUT_S) as link:
        link.sendall(head + b"x" * 10_000)
        assert link.recv(12) == b"HTTP/1.1 200"


def test_the_panel_listens_on_one_loopback_address_only(world: World) -> None:
    with pytest.raises(
        ConnectionRefusedError
    ):  # all of 127/8 is this machine: a listener on every address would answer
        socket.create_connection(("127.0.0.2", world.port), TIMEOUT_S)


# -- start and stop ---------------------------------------------------------------------------------------------------


def test_stop_closes_open_pages_and_ends_the_thread() -> None:
    world = World()
    with world.subscribed() as page:
        page.snapshot()
        world.panel.stop()
        assert page.event() == ""
    world.panel.changed()
    world.panel.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "panel" and thread is world.panel._thread]


def test_stop_may_come_right_after_start() -> None:
    panel = World().panel
    panel.stop()
    assert panel._thread and not panel._thread.is_alive()


def test_a_port_that_is_taken_is_an_error_at_once(world: World) -> None:
    with pytest.raises(OSError, match="in use"):
        Panel(world.model, world.port).start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_view_ends_the_panel_and_its_pages_see_it() -> None:
    world = World()
    with world.subscribed() as page:
        page.snapshot()
        world.station = None  # type: ignore[assignment]
        world.panel.changed()
        assert page.event() == ""
    assert world.panel._thread
    world.panel._thread.join(TIMEOUT_S)
    assert not world.panel._thread.is_alive()


def test_a_change_never_waits_for_the_panel() -> None:
    """The panel's thread is held in the middle of a look; the agent's loop does not notice."""
    hold, calls = threading.Event(), queue.SimpleQueue[None]()

    def model() -> ScreenModel:
        calls.put(None)
        hold.wait(TIMEOUT_S)
        return screen(held.station, 0.0)

    held = World()
    with held.subscribed() as page:
        assert page.snapshot()
        held.panel._get_model = model
        held.call("SA-HELD")
        calls.get(timeout=TIMEOUT_S)
        for _ in range(100_000):
            held.panel.changed()
        hold.set()
        page.until("SA-HELD")
    held.panel.stop()


def test_the_view_does_not_pull_in_the_web_server() -> None:
    code = "import sys, agent.ui.view; print({'starlette', 'uvicorn', 'asyncio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"set()"


# -- the address that may press ---------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
def test_the_address_is_for_our_group_alone_and_outlives_a_restart(tmp_path: Path) -> None:
    token = panelurl.new_token()
    assert panelurl.kept_token(tmp_path) == ""
    for port in (8400, 8401):
        panelurl.write(tmp_path, f"http://127.0.0.1:{port}/#{token}")
        assert panelurl.kept_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / panelurl.NAME).stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [panelurl.NAME]


@pytest.mark.promise("S9")
def test_an_address_that_another_has_laid_there_is_not_ours(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    panelurl.write(tmp_path, f"http://127.0.0.1:1/#{panelurl.new_token()}")
    (tmp_path / panelurl.NAME).rename(real)
    (tmp_path / panelurl.NAME).symlink_to(real)
    assert panelurl.kept_token(tmp_path) == ""
    panelurl.write(tmp_path, "http://127.0.0.1:1/#x")
    assert not (tmp_path / panelurl.NAME).is_symlink() and "/#x\n" not in real.read_text()
    (tmp_path / panelurl.NAME).unlink()
    os.mkfifo(tmp_path / panelurl.NAME)
    assert panelurl.kept_token(tmp_path) == ""


@given(st.binary(max_size=60))
def test_rubbish_in_its_place_is_no_token(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / panelurl.NAME).write_bytes(data)
        assert panelurl.kept_token(Path(name)) == ""
