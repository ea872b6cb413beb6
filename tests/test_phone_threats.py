"""What an attacker at the installer's phone door tries, one by one; and that a station charges on meanwhile."""

import asyncio
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import service
from agent.events import FieldEntered, KeyPressed
from agent.panel import SERVICE_S, Action, DoorProblem, Page
from agent.ui import door, phone
from agent.ui.door import TRIES
from agent.ui.model import Qr
from agent.ui.phone import CONNECTIONS_MAX, HEADERS, OF_ONE_MAX
from agent.ui.view import screen
from agent.ui.web import happened
from tests.installing import Installer
from tests.phone import TIMEOUT_S, Browser, Site, is_listening, token_of
from tests.play import Play

ELSEWHERE = "127.0.0.2"  # another address of this machine: a stranger's


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("ACCEPT_S", "STRANGER_S"):
        monkeypatch.setattr(phone, name, 0.001)
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def inside(site: Site) -> Browser:
    """An installer's browser that has been let in."""
    told = site.let_in()
    browser = Browser(site, told)
    assert browser.enter(token_of(told)) == 204
    site.told()
    return browser


def stranger(browser: Browser) -> socket.socket:
    return socket.create_connection(browser.where, TIMEOUT_S, source_address=(ELSEWHERE, 0))


# -- passer-by --------------------------------------------------------------------------------------------------------


def test_passer_by_finds_no_listener_and_no_key_that_opens_one(site: Site) -> None:
    for key in (1, 2, 3, 4, 1, 3, 4, 4):
        site.do(KeyPressed(key))
    for event in (FieldEntered("service", "phone"), FieldEntered("service", "phone", by_phone=True)):
        site.do(event)
    assert site.phone.visit is None and not service.is_let_in(site.play.station.panel)


def test_passer_by_finds_it_closed_after_half_an_hour(site: Site, inside: Browser) -> None:
    told = site.play.station.phone
    site.play.after(SERVICE_S)
    site.follow()
    assert told and not is_listening(told) and not service.is_open(site.play.station, site.play.now)


# -- from the Internet ------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.needs("ip", "iproute2")
def test_nobody_reaches_it_from_the_cellular_side() -> None:
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--net", "--mount", sys.executable, "-m", "tests.phone_links"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["internet, if it were not bound"], "Linux takes it from any interface: so this test can fail"
    assert found["phone"] and not found["internet"]
    assert found["at the modem's address"] == DoorProblem.MOBILE


# -- guessing ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
def test_guessing_ends_after_five_tries_at_the_panel(site: Site) -> None:
    told = site.let_in()
    guesser = Browser(site, told)
    for _ in range(TRIES):
        assert guesser.enter("00000000" if told.code != "00000000" else "1") == 403
    assert site.told().problem is DoorProblem.GUESSED
    site.follow()
    assert not is_listening(told)
    texts = str(screen(site.play.station, site.play.now).content)
    assert "Too many wrong codes" in texts
    kinds = [payload["type"] for payload in site.play.payloads("SecurityEventNotification")]
    assert "MaintenanceLoginFailed" in kinds


def test_guessing_in_parallel_is_no_faster(site: Site) -> None:
    told = site.let_in()
    answers: list[int] = []

    def guess(n: int) -> None:
        with suppress(OSError, http.client.HTTPException):
            answers.append(Browser(site, told).enter(f"guess {n}"))

    guessers = [threading.Thread(target=guess, args=(n,)) for n in range(OF_ONE_MAX)]
    for each in guessers:
        each.start()
    for each in guessers:
        each.join()
    assert set(answers) <= {403} and site.told().problem is DoorProblem.GUESSED


def test_guessing_learns_nothing_from_the_time_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def is_same(said: str, known: str) -> bool:
        compared.append(known)
        return said == known

    monkeypatch.setattr(door, "is_same", is_same)
    entered = door.Door("token", "code", "session")
    for said in ("token", "code", "x", ""):
        entered.enter(said)
        entered.knows(said)
    assert compared == ["token", "code", "session"] * 4, "both secrets, whatever the first comparison says"


def test_guessing_a_cookie_opens_nothing(inside: Browser) -> None:
    name, _, session = inside.cookie.partition("=")
    for guess in ("", "x", session[:-1], session + "0", session.upper()):
        inside.cookie = f"{name}={guess}"
        assert inside.get("/events")[0] == 401
    inside.cookie = f"installer={session}"
    assert inside.get("/events")[0] == 401


# -- sniffing ---------------------------------------------------------------------------------------------------------


def test_sniffing_finds_nothing_in_the_clear(site: Site) -> None:
    told = site.let_in()
    browser = Browser(site, told)
    with socket.create_connection(browser.where, TIMEOUT_S) as plain, suppress(ConnectionError):
        plain.sendall(f"GET / HTTP/1.1\r\nHost: {browser.host}\r\n\r\n".encode())
        assert b"HTTP" not in plain.recv(1_000), "plain HTTP is not answered, not even by a redirect"
    browser.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        browser.get("/")


def test_sniffing_a_proxys_or_a_servers_log_finds_no_token(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    told = site.let_in()
    browser = Browser(site, told)
    browser.enter(token_of(told))
    assert "#" in told.link and token_of(told) not in told.address
    logged = "".join(capfd.readouterr()) + "".join(site.logged)
    assert token_of(told) not in logged and told.code not in logged and browser.cookie not in logged


def test_sniffing_scripts_cannot_read_the_cookie(site: Site) -> None:
    told = site.let_in()
    _, headers, _ = Browser(site, told).post("/api/enter", {"secret": told.code})
    cookie = headers["set-cookie"]
    assert cookie.startswith("__Host-") and "Domain" not in cookie
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}


# -- CSRF -------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ""},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "https://127.0.0.1"},
        {"origin": "http://127.0.0.1:{port}"},
        {"origin": "https://127.0.0.1:{port}.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
    ],
)
def test_csrf_another_page_changes_nothing(site: Site, inside: Browser, headers: dict[str, str]) -> None:
    port = str(inside.where[1])
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    for path, value in (("/api/field", {"name": "breaker_a", "value": "63"}), ("/api/enter", {"secret": "x"})):
        assert inside.post(path, value, **sent)[0] in (403, 415)
    assert site.posted.empty()


def test_csrf_no_other_page_may_read_an_answer_or_ask_first(inside: Browser) -> None:
    for method, path in (("OPTIONS", "/api/field"), ("GET", "/api/words"), ("GET", "/")):
        status, headers, _ = inside.get(path, {"origin": "https://evil.example"}, method=method)
        assert not [name for name in headers if name.startswith("access-control")]
        assert status in (200, 403)
        assert headers.items() >= HEADERS.items()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_csrf_methods_that_nobody_needs_do_nothing(site: Site, inside: Browser, method: str) -> None:
    assert inside.get("/api/field", {"origin": inside.origin}, method=method)[0] == 405
    assert site.posted.empty()


# -- DNS rebinding ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:{port}", "", "[::1]:{port}"]
)
def test_dns_rebinding_another_name_finds_nothing_here(inside: Browser, name: str) -> None:
    inside.host = name.replace("{port}", str(inside.where[1]))
    for path in ("/", "/events", "/api/words"):
        assert inside.get(path)[0] == 421


# -- XSS --------------------------------------------------------------------------------------------------------------


def test_xss_markup_in_a_text_of_the_cloud_stays_text(tmp_path: Path) -> None:
    markup = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    site = Site(tmp_path, owner=markup)
    told = site.let_in()
    browser = Browser(site, told)
    browser.enter(token_of(told))
    site.told()
    with browser.stream() as snapshot:
        assert snapshot()["content"]["blocks"][0]["hint"] == markup
    _, headers, body = browser.get("/api/words")
    assert headers["content-type"] == "application/json" and headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in headers["content-security-policy"] and markup.encode() not in body
    site.close()


def test_xss_the_cloud_is_told_to_send_no_markup() -> None:
    asked = {"component": {"name": "DisplayMessageCtrlr"}, "variable": {"name": "SupportedFormats"}}
    (answer,) = Play().command("GetVariables", getVariableData=[asked])["getVariableResult"]
    assert (answer["attributeStatus"], answer["attributeValue"]) == ("Accepted", "ASCII,UTF8")


def test_xss_the_page_has_no_script_of_its_own_inside_and_makes_no_markup_of_texts() -> None:
    static = Path(phone.__file__).parent / "static"
    page = (static / "phone.html").read_text()
    assert "<script>" not in page and "style=" not in page and "://" not in page
    script = (static / "phone.mjs").read_text()
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "dangerously"):
        assert unsafe not in script


# -- unsafe amperage --------------------------------------------------------------------------------------------------


@pytest.mark.promise("S11")
def test_unsafe_amperage_from_a_phone_waits_for_a_key_at_the_panel_and_is_never_above_the_board() -> None:
    me = Installer().enter("step", "circuit").enter("breaker_a", "40", by_phone=True)
    before = me.play.station.settings.circuit_limit_ma
    me.enter("circuit_limit_a", "13", by_phone=True)
    for name, value in (("step", "next"), ("step", "circuit"), ("step", "readiness"), ("service", "restart")):
        me.enter(name, value, by_phone=True)
        assert me.play.station.settings.circuit_limit_ma == before
    me.enter("step", "circuit", by_phone=True).enter("circuit_limit_a", "13", by_phone=True)
    shown = str(me.screen.content)
    assert "13 A" in shown and str(before // 1000) in shown, "old and new, side by side at the panel"
    me.play.after(2)
    me.press("Confirm")
    assert me.play.station.settings.circuit_limit_ma == 13_000
    me.enter("step", "circuit").enter("circuit_limit_a", "500", by_phone=True)
    assert me.field("circuit_limit_a").error and not me.play.station.wizard.draft


# -- a fake QR code ---------------------------------------------------------------------------------------------------


def test_fake_qr_the_address_stands_in_full_beneath_the_code_and_the_code_is_new_each_time(site: Site) -> None:
    seen = set()
    for _ in range(3):
        told = site.let_in()
        shown = screen(site.play.station, site.play.now).content
        assert shown
        (code,) = [block for block in shown.blocks if isinstance(block, Qr)]
        assert code.text == told.address and code.data.startswith(f"{told.address}/#")
        seen.add(code.data)
    assert len(seen) == 3
    site.do(KeyPressed(4, Action.END))
    assert screen(site.play.station, site.play.now).page is Page.SERVICE
    assert "Qr(" not in str(screen(site.play.station, site.play.now).content)


# -- denial of service ------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HANDSHAKE_S", "REQUEST_S", "KEEP_S"):
        monkeypatch.setattr(phone, name, 0.5)


def hangs_up(link: socket.socket) -> bool:
    """Within a test's patience."""
    try:
        while link.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.promise("S10")
@pytest.mark.usefixtures("impatient")
def test_dos_a_handshake_that_never_ends_is_hung_up_on(site: Site) -> None:
    told = site.let_in()
    browser = Browser(site, told)
    with stranger(browser) as silent, stranger(browser) as slow:
        slow.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert hangs_up(silent) and hangs_up(slow)


POST = (
    b"POST /api/enter HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nContent-Type: application/json\r\n"
)


@pytest.mark.promise("S10")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        POST + b"Content-Length: 1000\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
    ],
    ids=["nothing", "half a line", "half a header", "half a body", "half a chunk", "one and a half"],
)
def test_dos_a_slow_loris_is_hung_up_on(site: Site, sent: bytes) -> None:
    browser = Browser(site, site.let_in())
    with browser.tls.wrap_socket(stranger(browser), server_hostname="127.0.0.1") as link:
        if sent:
            link.sendall(sent.replace(b"{host}", browser.host.encode()))
        assert hangs_up(link)


@pytest.mark.promise("S10")
@pytest.mark.parametrize("size", [65_537, 3_000_000])
def test_dos_a_big_body_is_refused_and_not_kept(inside: Browser, site: Site, size: int) -> None:
    try:
        status, _, _ = inside.post("/api/field", {"name": "breaker_a", "value": "x" * size})
    except OSError:  # it hung up before it had read all of it
        status = 413
    assert status == 413 and site.posted.empty()
    assert inside.get("/", {"x-long": "x" * 20_000})[0] == 431
    assert inside.get("/")[0] == 200


@pytest.mark.promise("S10")
def test_dos_a_hundred_connections_of_a_stranger_leave_room_for_the_installer(site: Site) -> None:
    told = site.let_in()
    browser = Browser(site, told)
    with ExitStack() as strangers:
        for _ in range(100):
            with suppress(OSError):
                strangers.enter_context(stranger(browser))
        assert browser.enter(token_of(told)) == 204
        assert OF_ONE_MAX * 2 <= CONNECTIONS_MAX


NEARLY_HTTP = rb"(GET|POST|HEAD|PUT) /[a-z/?%]{0,20} HTTP/1.[01]\r\n([A-Za-z-]{1,20}: [ -~]{0,30}\r\n){0,5}\r\n.{0,20}"


@pytest.mark.promise("S9")
@pytest.mark.usefixtures("impatient")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    sent=st.binary(max_size=300) | st.from_regex(NEARLY_HTTP),
    is_safe=st.booleans(),
)
def test_dos_no_bytes_of_a_stranger_end_the_door(site: Site, sent: bytes, is_safe: bool) -> None:
    told = site.let_in() if site.phone.visit is None else site.play.station.phone
    assert told
    browser = Browser(site, told)
    link = stranger(browser)
    with browser.tls.wrap_socket(link, server_hostname="127.0.0.1") if is_safe else link as link, suppress(OSError):
        link.sendall(sent)
        link.shutdown(socket.SHUT_WR)
        hangs_up(link)
    assert browser.get("/api/words")[0] == 200 and site.posted.empty()


class Beats:
    """The agent's loop, as far as its time goes: a turn each 20 ms, and the longest that one had to wait for."""

    def __init__(self) -> None:
        self.longest_s, self.turns = 0.0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._beat()))

    async def _beat(self) -> None:
        clock, before = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
        while not self._over.is_set():
            await happened(asyncio.Event(), 0.02)
            self.longest_s, before = max(self.longest_s, clock() - before), clock()
            self.turns += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


FLOOD = """
import socket, ssl, sys, threading
host, port = sys.argv[1], int(sys.argv[2])
tls = ssl.create_default_context(); tls.check_hostname = False; tls.verify_mode = ssl.CERT_NONE
over = threading.Event()
def knock(n):
    while not over.is_set():
        try:
            link = socket.create_connection((host, port), 1, source_address=(f"127.0.0.{2 + n}", 0))
            if n % 3 == 0:
                link.sendall(b"rubbish" * 1000); link.recv(100)
            elif n % 3 == 1:
                with tls.wrap_socket(link) as safe:
                    for _ in range(50):
                        safe.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); safe.recv(10000)
            else:
                over.wait(0.5)
            link.close()
        except OSError:
            pass
knockers = [threading.Thread(target=knock, args=(n,), daemon=True) for n in range(12)]
for each in knockers: each.start()
sys.stdin.read(); over.set()
"""


@pytest.mark.long
@pytest.mark.promise("S10")
def test_dos_a_flood_from_twelve_addresses_costs_the_agents_loop_no_heartbeat(site: Site) -> None:
    told = site.let_in()
    host, port = Browser(site, told).where
    command = [sys.executable, "-I", "-c", FLOOD, host, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as flood, Beats() as beats:
        for _ in range(100):
            site.do(KeyPressed(2))  # the core goes on
            threading.Event().wait(0.05)
        assert flood.stdin and flood.poll() is None
        flood.stdin.close()
    assert beats.turns > 100 and beats.longest_s < 1.0, "the controller waits for three seconds"
    assert Browser(site, told).enter(token_of(told)) == 204
