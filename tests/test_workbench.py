"""The workbench: what its buttons do happens at the pins, its books are honest, and no device can ever run it."""

import gc
import hashlib
import http.client
import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.sim import workbench
from agent.sim.box import Box
from agent.sim.controller import SimController
from agent.sim.demo import Demo, Visit, settled, visit_of
from agent.sim.lapse import Evening
from agent.sim.plant import FAULTS
from agent.sim.radio import Radio
from agent.sim.scenario import CARDS
from agent.sim.sight import marks, verdict
from agent.sim.window import PanelWindow
from agent.sim.workbench import BODY_MAX, Workbench
from agent.ui.web import Panel
from tests.conftest import LONG
from tests.process import until

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 10.0
SAMPLE_WH = 620  # five minutes at 7.4 kW: Settings.tx_updated_interval_s
GROWTH_MAX = 500  # objects; what a session was is some hundreds


# -- the books --------------------------------------------------------------------------------------------------------


def session(evse_id: int, first_wh: int, energy_wh: int, *, ended: bool = True, card: str = "ann") -> dict[str, Any]:
    return {
        "evse_id": evse_id, "id_token": CARDS[card], "first_wh": first_wh, "energy_wh": energy_wh,
        "ended_ms": 1 if ended else None,
    }  # fmt: skip


@pytest.mark.promise("S2")
@pytest.mark.parametrize(
    ("visit", "sessions", "mark"),
    [
        (Visit(1, "normal", 100, 150), [session(1, 100, 50)], "equal"),
        (Visit(1, "normal", 100, 150), [session(1, 100, 20), session(1, 120, 30)], "equal"),  # he tapped twice
        (Visit(1, "normal", 100, 100), [], "equal"),  # a stranger's car
        (Visit(1, "normal", 100, 150), [], "open"),
        (Visit(1, "normal", 100, 150), [session(1, 100, 50, ended=False)], "open"),
        (Visit(1, "normal", 100), [session(1, 100, 50)], "here"),
        (Visit(1, "normal", 100, 150), [session(1, 100, 49)], "wrong"),
        (Visit(1, "normal", 100, 150), [session(1, 100, 51)], "wrong"),
        (Visit(1, "normal", 100, 150, was_cut=True), [session(1, 100, 40)], "loss"),
        (Visit(1, "normal", 100, 150, was_cut=True), [session(1, 100, 60)], "wrong"),  # never the driver's loss
        (Visit(1, "normal", 100, 150), [session(2, 100, 50)], "open"),  # another port's money
    ],
)
def test_a_car_is_equal_to_its_sessions_or_the_ledger_says_what_is_not(
    visit: Visit, sessions: list[dict[str, Any]], mark: str
) -> None:
    assert settled([visit], sessions)[0].mark == mark


@pytest.mark.promise("S2")
@given(
    st.lists(st.tuples(st.integers(1, 2), st.lists(st.integers(0, 50), max_size=3)), max_size=12),
    st.randoms(use_true_random=False),
    st.sampled_from(["none", "drop", "double", "more", "less"]),
)
def test_honest_books_are_equal_and_one_session_that_is_wrong_is_seen(
    cars: list[tuple[int, list[int]]], rng: Any, crime: str
) -> None:
    registers, visits, sessions = {1: 0, 2: 0}, [], []
    for evse_id, energies in cars:
        from_wh = registers[evse_id]
        for wh in energies:
            sessions.append(session(evse_id, registers[evse_id], wh))
            registers[evse_id] += wh
        visits.append(Visit(evse_id, "normal", from_wh, registers[evse_id]))
    rng.shuffle(sessions)
    paid = [s for s in sessions if s["energy_wh"]]
    if crime != "none" and paid:
        victim = rng.choice(paid)
        match crime:
            case "drop":
                sessions.remove(victim)
            case "double":
                sessions.append(dict(victim))
            case _:
                victim["energy_wh"] += 1 if crime == "more" else -1
    said = verdict(marks(settled(visits, sessions)), clean=True)
    if crime == "none" or not paid:
        assert said in ("equal", "none")
    else:
        assert said in ("wrong", "open")


def test_a_session_that_begins_at_the_seam_of_two_cars_is_the_later_one_s() -> None:
    first, second = Visit(1, "normal", 100, 150), Visit(1, "normal", 150, 180, was_cut=True)
    assert visit_of(session(1, 100, 50), [first, second]) is first
    assert visit_of(session(1, 150, 0), [first, second]) is second
    assert visit_of(session(1, 150, 0), [first]) is first
    assert visit_of(session(1, 200, 1), [first, second]) is None
    assert [e.mark for e in settled([first, second], [session(1, 100, 50), session(1, 150, 0)])] == ["equal", "loss"]


@pytest.mark.promise("S2", "S3", "S7")
@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=pytest.mark.long) if n else n for n in range(40 if LONG else 1)]
)
def test_an_evening_of_forty_cars_ends_with_ledger_equal_to_meters(seed: int) -> None:
    evening = Evening(seed)
    try:
        while not evening.is_over:
            evening.turn(600.0)
        rows = marks(evening.entries())
        assert evening.verdict() in ("equal", "loss"), [row for row in rows if row.mark != "equal"]
        lost = [(row.meter_wh or 0) - (row.ledger_wh or 0) for row in rows if row.mark == "loss"]
        assert len(rows) == 40 and all(wh <= SAMPLE_WH for wh in lost)
        assert evening.world.is_equal() or lost  # the world's own audit, which knows no power cut
        assert {made.decision for made in evening.decisions} >= {"start", "stop"}
        scene = evening.scene(1.0)
        assert max(scene.series["power_w"][0]) > 1_000 and len(scene.series["at_s"]) > 100
    finally:
        evening.world.disk.close()


Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


# -- the page ---------------------------------------------------------------------------------------------------------


class Quiet:
    """Books with nothing in them."""

    def sessions(self) -> list[dict[str, Any]]:
        return []

    def messages(self) -> list[Any]:
        return []

    def is_clean(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Still(Demo):
    """The box alone: no agent, no broker, no cloud, and so no process."""

    def start(self) -> None:
        self.books = Quiet()  # type: ignore[assignment]
        self.box = Box(SimController()).start()
        self.box.power_on()
        self.powered = self.broker_on = True
        self.radio = Radio(1)
        self.window = PanelWindow(lambda: 1)


class Site:
    def __init__(self, folder: Path) -> None:
        self.demo = Still(folder, lambda _: None)
        self.demo.start()
        self.bench = Workbench(self.demo, 0)
        self.bench.start()
        self.bench.is_open.set()
        self.port = int(self.bench.url.rsplit(":", 1)[1].strip("/"))

    def ask(self, path: str, body: bytes | None = None, port: int = 0, **headers: str) -> Answer:
        port = port or self.port
        named = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/json"} if body is not None else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            link.request("GET" if body is None else "POST", path, body, {k: v for k, v in named.items() if v})
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def do(self, line: str) -> tuple[int, str]:
        status, _, said = self.ask("/do", json.dumps({"line": line}).encode())
        return status, said.decode()

    def scene(self) -> dict[str, Any]:
        """The next one that the page would get."""
        before = self.bench._scenes["real"]
        until(lambda: self.bench._scenes["real"] is not before)
        return dict(json.loads(self.ask("/scene/real")[2]))

    def close(self) -> None:
        self.bench.stop()
        self.demo.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("bench"))
    yield made
    made.close()


def test_what_a_button_does_happens_at_the_pins(site: Site) -> None:
    def pins(evse_id: int = 1) -> Any:
        return site.demo.box.controller.bays[evse_id - 1]

    assert site.do("plug 1 car=diode") == (204, "")
    assert pins().car is not None and not pins().car.diode
    port = site.scene()["ports"][0]
    assert (port["car"], port["state"], round(port["high_v"])) == ("diode", "B", 9)
    for what in FAULTS:
        assert site.do(f"fault {what} 2") == (204, "")
    assert pins(2).broken == tuple(FAULTS) and pins(2).contactor.value
    assert site.scene()["ports"][1]["broken"] == list(FAULTS)
    for what in FAULTS:
        assert site.do(f"heal {what} 2") == (204, "")
    assert pins(2).broken == () and not pins(2).contactor.value
    assert site.do("heat 1 85") == (204, "") and pins().temperature_dc == 850
    assert site.do("stop on") == (204, "") and site.scene()["things"]["stop"]
    assert site.do("stop off") == (204, "") and not site.scene()["things"]["stop"]
    assert site.do("cut radio") == (204, "") and not site.scene()["things"]["radio"]
    assert site.do("unplug 1") == (204, "") and pins().car is None


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("unplug 1", "port 1 has no car"),
        ("plug 9", "no port 9"),
        ("plug 0", "no port 0"),
        ("plug 1 car=tank", "'tank' is no car"),
        ("plug 1 need_wh=much", "plug"),
        ("fault love 1", "'love' cannot break"),
        ("fault leak", "fault"),
        ("heat 1 999", "-40 to 125"),
        ("heat 1 nan", "-40 to 125"),
        ("clock wrong", "right, fast, dead"),
        ("cut the cable", "cut: the"),
        ("jump 1", "no verb 'jump'"),
        ("expect free 1", "a story's own"),
        ("wait 99999", "a story's own"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason_and_nothing_changes(
    shared: Site, line: str, sentence: str
) -> None:
    status, said = shared.do(line)
    assert status == 400 and sentence in said
    assert shared.demo.here == {} and shared.demo.powered


def test_a_second_car_at_a_port_is_refused(shared: Site) -> None:
    assert shared.do("plug 2")[0] == 204
    assert shared.do("plug 2") == (400, "port 2 has a car already: unplug it first\n")
    assert shared.do("unplug 2")[0] == 204


@pytest.mark.promise("S9")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text(max_size=60).map(lambda text: json.dumps({"line": text}).encode()))
def test_no_body_breaks_the_workbench(shared: Site, body: bytes) -> None:
    status, _, _ = shared.ask("/do", body)
    assert status in (204, 400)


def test_while_the_story_plays_the_controls_wait_and_it_can_be_skipped(site: Site) -> None:
    site.bench.is_open.clear()
    assert site.do("plug 1")[0] == 409
    assert site.scene()["busy"] == "The story is playing."
    assert site.ask("/skip", b"{}")[0] == 204
    assert site.demo.skip.is_set()


def test_an_evening_is_begun_from_the_page_and_another_one_ends_it(site: Site) -> None:
    assert json.loads(site.ask("/scene/lapse")[2]) is None
    for _ in range(2):
        assert site.ask("/evening", b"{}")[0] == 204
        scene = json.loads(site.ask("/scene/lapse")[2])
        assert scene["view"] == "lapse" and len(scene["ports"]) == 2
        window = json.loads(site.ask("/setup")[2])["windows"]["lapse"]
        model = json.loads(site.ask("/api/screen", None, window["port"])[2])
        assert model["serial"] == "SIM-0001" and window["token"]
        until(lambda: "plays by itself" in json.loads(site.ask("/scene/lapse")[2])["busy"])
        until(lambda: len(json.loads(site.ask("/scene/lapse")[2])["decisions"]) > 3)
        decisions = json.loads(site.ask("/scene/lapse")[2])["decisions"]
        assert {made["decision"] for made in decisions if made["who"] != "stranger"} <= {"start", "stop"}


def test_the_panel_is_drawn_for_the_display_that_was_chosen(site: Site) -> None:
    assert site.ask("/display", b'{"size": "1280x800"}')[0] == 204
    profile = json.loads(site.ask("/api/profile", None, site.demo.window.port)[2])
    assert profile == {"width_px": 1280, "height_px": 800, "width_mm": 217}
    assert site.ask("/display", b'{"size": "1x1"}')[0] == 400


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
@pytest.mark.parametrize("path", ["/do", "/skip", "/evening", "/display"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_only_its_own_page_turns_the_world(shared: Site, path: str, headers: dict[str, str], status: int) -> None:
    assert shared.ask(path, b'{"line": "plug 1"}', 0, **headers)[0] == status
    assert shared.demo.here == {} and not shared.demo.skip.is_set() and shared.bench.lapse is None


def test_a_window_takes_no_key_from_another_page(shared: Site) -> None:
    port = shared.demo.window.port
    assert shared.ask("/api/key", b"{}", port, origin="http://evil.example")[0] == 403
    assert shared.ask("/api/key", b"{}", port)[0] == 502  # through the door; there is no panel here
    assert shared.ask("/", None, port, host="evil.example")[0] == 421


def test_an_order_has_a_bound_and_a_get_changes_nothing(shared: Site) -> None:
    assert shared.ask("/do", b" " * (BODY_MAX + 1))[0] == 400
    assert shared.ask("/do")[0] == 405
    assert shared.ask("/../demo.py")[0] == 404
    assert shared.ask("/events/other")[0] == 404


def test_every_page_is_its_own_and_runs_no_foreign_script(shared: Site) -> None:
    for path in workbench.STATIC:
        status, headers, body = shared.ask(path)
        assert status == 200 and body
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; frame-src http://127.0.0.1:") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and headers["x-content-type-options"] == "nosniff"
    assert b"http" not in shared.ask("/")[2]


def test_it_listens_on_loopback_alone(shared: Site) -> None:
    others = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for address in {str(each) for each in others if not str(each).startswith("127.")}:
        for port in (shared.port, shared.demo.window.port):
            with socket.socket() as link:
                link.settimeout(1.0)
                assert link.connect_ex((address, port)) != 0


def test_what_others_wrote_is_unchanged() -> None:
    folder = ROOT / "agent" / "sim" / "vendor"
    vendors = json.loads((folder / "VENDOR.json").read_text())
    listed = {name: sha for each in vendors for name, sha in each["files"].items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert listed == {name: sha for name, sha in found.items() if name != "VENDOR.json"}


# -- the window onto the panel ----------------------------------------------------------------------------------------


def test_the_window_shows_the_panel_as_it_is_to_the_workbench_alone(tmp_path: Path) -> None:
    evening = Evening(3, sessions=2)
    panel = Panel(evening.model, 0)
    panel.start()
    port = int(panel.url.rsplit(":", 1)[1].strip("/"))
    site = Site(tmp_path)
    try:
        site.demo.window._panel_port = lambda: port
        status, headers, body = site.ask("/", None, site.demo.window.port)
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        link.request("GET", "/")
        direct = link.getresponse()
        assert (status, body) == (200, direct.read())
        assert "frame-ancestors 'none'" in direct.headers["content-security-policy"]  # the product's own
        link.close()
        assert f"frame-ancestors {site.bench.url[:-1]} " in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'self'") and "x-frame-options" not in headers
        model = site.demo.window.screen()
        assert model and [p["evse_id"] for p in model["ports"]] == [1, 2]
        assert site.ask("/api/screen", None, site.demo.window.port)[0] == 200
        assert site.ask("/%0d%0ax-forged:%20yes%0d%0a/api/screen", None, site.demo.window.port)[0] == 404
        with socket.create_connection(("127.0.0.1", site.demo.window.port), TIMEOUT_S) as stream:
            stream.sendall(f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{site.demo.window.port}\r\n\r\n".encode())
            heard = b""
            while b"data: {" not in heard:
                heard += stream.recv(65_536)
        panel.stop()
        status, headers, body = site.ask("/", None, site.demo.window.port)
        assert b"display is dark" in body and site.bench.url[:-1] in headers["content-security-policy"]
        assert site.ask("/api/screen", None, site.demo.window.port)[0] == 502
    finally:
        site.close()
        panel.stop()
        evening.world.disk.close()


# -- the radio --------------------------------------------------------------------------------------------------------


def test_a_radio_that_is_off_is_silent_and_what_it_has_broken_stays_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        radio = Radio(broker.getsockname()[1])
        try:
            with socket.create_connection(("127.0.0.1", radio.port), TIMEOUT_S) as station:
                far, _ = broker.accept()
                with far:
                    far.settimeout(TIMEOUT_S)
                    station.sendall(b"hello")
                    assert far.recv(10) == b"hello"
                    radio.is_on = False
                    station.sendall(b"lost")
                    far.settimeout(0.2)
                    with pytest.raises(TimeoutError):
                        far.recv(10)
                    radio.is_on = True
                    station.sendall(b"after a gap")
                    with pytest.raises(TimeoutError):
                        far.recv(10)
            with socket.create_connection(("127.0.0.1", radio.port), TIMEOUT_S) as station:
                far, _ = broker.accept()
                with far:
                    station.sendall(b"again")
                    assert far.recv(10) == b"again"
            radio.refuse()
            until(lambda: is_refused(radio.port))
            radio.open()
            with socket.create_connection(("127.0.0.1", radio.port), TIMEOUT_S):
                broker.accept()[0].close()
        finally:
            radio.close()


def is_refused(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) != 0


# -- no device ever runs it -------------------------------------------------------------------------------------------


def test_the_station_s_own_program_does_not_know_the_workbench() -> None:
    """The layers of pyproject.toml forbid the import; here the loaded program says so itself."""
    seen = "import sys, agent.app, agent.ui.web, agent.cli; print([m for m in sys.modules if m[:9] == 'agent.sim'])"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_for_a_device_leaves_the_simulator_out() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "agent/sim" in wheel["exclude"]
    outside = [path for folder in ("agent", "board") for path in (ROOT / folder).rglob("*.py")]
    users = {
        str(path.relative_to(ROOT)) for path in outside
        if "agent/sim" not in str(path) and "from agent.sim" in path.read_text()
    }  # fmt: skip
    assert users == {"agent/cli.py"}  # `demo` alone, and only when it is typed


def test_no_unit_starts_it() -> None:
    units = [path for path in (ROOT / "board").rglob("*") if path.suffix in (".service", ".socket", ".timer", ".conf")]
    assert any("launcher.py run agent run " in path.read_text() for path in units)
    assert not [path for path in units if " demo" in path.read_text() or "agent.sim" in path.read_text()]


# -- a day ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.promise("S10")
def test_a_day_of_cars_with_the_panel_open_leaves_nothing_behind_in_the_agent() -> None:
    """What the device's own code holds at the same hour of two nights; the simulated cloud keeps all it ever heard."""
    evening = Evening(5, sessions=360)
    try:
        evening.turn(10 * 3600.0)
        before, visits = held(evening), len(evening.visits)
        for _ in range(48):
            evening.turn(1800.0)
            msgspec.json.encode(evening.model())
        assert len(evening.visits) > visits + 100
        assert held(evening) < before + GROWTH_MAX
    finally:
        evening.world.disk.close()


def held(evening: Evening) -> int:
    """Objects that can be reached from the agent without passing through the simulator or through code."""
    code = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
    seen: set[int] = set()
    left: list[object] = [evening.world.shell]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, code) or type(each).__module__.startswith("agent.sim"):
            continue
        seen.add(id(each))
        left += gc.get_referents(each)
    return len(seen)
