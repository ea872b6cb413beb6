"""The workbench as people use it: in Debian's Chromium, with a real agent, broker and cloud behind its buttons."""

import os
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from agent.sim.demo import Demo, play_once
from agent.sim.interpreter import missing
from agent.sim.workbench import Workbench
from agent.taps import DEBOUNCE_S
from tests.ui.harness import AXE, AXE_RUN

# `STATION_SCREENS=1 pytest tests/ui/test_workbench_page.py -k story` takes the README's picture anew.
SCREEN = Path(__file__).parent.parent.parent / "docs" / "workbench.png"
PATIENCE_MS = 30_000
ROUNDS = 20  # two cars each
HEAP_MB = 12  # that an evening's lapse may leave behind

pytestmark = [pytest.mark.long, pytest.mark.needs("mosquitto", "mosquitto"), pytest.mark.timeout(900)]


class Bench:
    """The page in front of a whole site; what it asks elsewhere and what it complains about is kept."""

    def __init__(self, demo: Demo, browser: Browser, width: int, height: int) -> None:
        self.demo = demo
        self.workbench = Workbench(demo, 0)
        self.workbench.start()
        self.problems: list[str] = []
        self._browser = browser
        self.page = self.opened(width, height)

    def opened(self, width: int, height: int) -> Page:
        self.context = self._browser.new_context(viewport={"width": width, "height": height}, timezone_id="UTC")
        self.context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page = self.context.new_page()
        page.on("request", lambda asked: self._asked(asked.url))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda said: self._heard(said.type, f"{said.text} {said.location}"))
        page.goto(self.workbench.url)
        expect(page.locator("#port-2")).to_be_visible()
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.problems.append(f"asks somebody else: {url}")

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self.problems.append(text)

    def play(self) -> None:
        """The story, to its end; then the controls are ours."""
        play_once(self.demo)
        self.open()

    def open(self) -> None:
        assert self.demo.until(lambda: self.demo.holds("online", ()), 30)
        assert self.demo.until(lambda: (self.demo.status() or {}).get("list_entries", 0) > 0, 30)
        self.workbench.is_open.set()
        expect(self.page.locator("#busy")).to_be_hidden()
        for evse_id in (1, 2):
            self.port(evse_id, "Available")

    def close(self) -> None:
        self.context.close()
        self.workbench.stop()
        self.demo.close()

    def complaints(self) -> list[str]:
        """Not that a dead agent gives no answer, nor that a checkout has not made its video yet."""
        return [problem for problem in self.problems if "502" not in problem and "/video/" not in problem]

    # -- what hands do

    def press(self, name: str, within: str = "#world") -> None:
        """A switch is pressed only when the one before has been seen: who presses twice at once means one thing."""
        button = self.page.locator(within).get_by_role("button", name=name, exact=True)
        was = button.get_attribute("aria-pressed")
        button.click()
        if was:
            expect(button).to_have_attribute("aria-pressed", "false" if was == "true" else "true")

    def tap(self, card: str) -> None:
        self.page.locator(f"[data-card={card}]").click()

    def port(self, evse_id: int, text: str) -> None:
        """Until the port says so."""
        expect(self.page.locator(f"#port-{evse_id} .word")).to_contain_text(text)

    def rests(self, seconds: float) -> None:
        self.page.wait_for_timeout(seconds * 1000)  # a card that is held twice within DEBOUNCE_S was held once

    def figure(self, evse_id: int, name: str) -> float:
        text = self.page.locator(f"#port-{evse_id} [data-f={name}]").inner_text()
        return float(re.findall(r"-?[\d.]+", text)[0])


@pytest.fixture
def bench(tmp_path: Path, browser: Browser) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(width: int = 1280, height: int = 800) -> Bench:
        demo = Demo(tmp_path, lambda _: None, real=not missing())
        try:
            demo.start()
        except BaseException:
            demo.close()
            raise
        made.append(Bench(demo, browser, width, height))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.promise("S2")
def test_an_evening_of_forty_sessions_played_through_the_page_ends_with_ledger_equal_to_meters(
    bench: Callable[..., Bench],
) -> None:
    site = bench()
    site.open()
    for number in range(ROUNDS):
        cards = ("ann", "bob") if number % 2 else ("cara", "ann")
        for evse_id, card in enumerate(cards, 1):
            site.port(evse_id, "Available")
            site.press("Plug in", f"#port-{evse_id}")
            site.port(evse_id, "Occupied")
            site.tap(card)
            site.port(evse_id, "Charging")
        for evse_id in (1, 2):
            expect(site.page.locator(f"#port-{evse_id} [data-f=power]")).not_to_have_text("0.00 kW")
        if number % 3:  # he taps again; else he pulls the plug
            site.rests(DEBOUNCE_S + 0.1)
            for evse_id, card in enumerate(cards, 1):
                site.tap(card)
                expect(site.page.locator(f"#port-{evse_id} [data-f=contactor]")).to_have_text("open")
        for evse_id in (1, 2):
            site.press("Unplug", f"#port-{evse_id}")
        site.rests(DEBOUNCE_S)
    for evse_id in (1, 2):
        site.port(evse_id, "Available")
    expect(site.page.locator("#verdict")).to_have_text("ledger = meters")
    expect(site.page.locator("#ledger tr")).to_have_count(2 * ROUNDS)
    sessions = site.demo.sessions()
    assert len(sessions) == 2 * ROUNDS and sum(s["energy_wh"] for s in sessions) > 0
    assert all(s["ended_ms"] is not None for s in sessions) and site.demo.is_equal()
    assert not site.complaints()


def test_every_switch_of_the_world_does_what_it_says_and_is_undone(bench: Callable[..., Bench]) -> None:
    site = bench(1600, 900)
    site.open()
    port = site.page.locator("#port-1")

    site.press("Plug in", "#port-1")
    site.port(1, "Occupied")
    site.tap("stranger")
    expect(site.page.locator("#decisions li").last).to_contain_text("stranger: ask")
    expect(site.page.frame_locator("#panel").locator("body")).to_contain_text("not connected")
    for card, word in (("pending", "refuse"), ("removed", "refuse"), ("blocked", "refuse"), ("expired", "refuse")):
        site.rests(1.0)
        site.tap(card)
        expect(site.page.locator("#decisions li").last).to_contain_text(f"{card}: {word}")
    site.tap("ann")
    site.port(1, "Charging")
    expect(port.locator("[data-f=contactor]")).to_have_text("closed")
    assert site.figure(1, "offer") >= 6

    for name in ("Ground fault", "Short our pilot"):  # one after the other: each takes the port out, each heals
        site.press(name, "#port-1")
        expect(port.locator("[data-f=contactor]")).to_have_text("open")
        site.press(name, "#port-1")
    site.press("Unplug", "#port-1")
    site.press("Weld the contactor", "#port-1")
    expect(port.locator("[data-f=contactor]")).to_have_text("closed, coil off")
    site.port(1, "Faulted")
    site.press("Weld the contactor", "#port-1")
    expect(port.locator("[data-f=contactor]")).to_have_text("open")

    site.press("Emergency stop")
    site.port(2, "Faulted")
    site.press("Emergency stop")
    site.port(2, "Available")

    link = site.page.locator("#station dd").nth(1)
    site.press("Kill the broker")
    expect(link).to_have_text("down")
    site.press("Kill the broker")
    expect(link).to_have_text("up")
    site.page.locator("#chip").select_option("dead")
    site.press("Cut the power")
    expect(site.page.locator("#station")).to_contain_text("does not run")
    expect(site.page.frame_locator("#panel").locator("body")).not_to_be_empty()
    site.press("Cut the power")
    expect(site.page.locator("#station")).to_contain_text("runs, process")
    before = site.demo.agent_pid
    site.press("kill -9 the agent")
    expect(site.page.locator("#station")).not_to_contain_text(f"process {before},")
    expect(site.page.locator("#error")).to_be_hidden()
    assert not site.complaints()


def test_the_story_can_be_watched_and_looks_as_the_guide_shows_it(bench: Callable[..., Bench]) -> None:
    site = bench()
    site.play()
    expect(site.page.locator("#verdict")).to_have_text("ledger = meters")
    site.press("Plug in", "#port-1")
    site.port(1, "Occupied")
    site.tap("ann")
    site.port(1, "Charging")
    site.rests(6.0)  # something to see in the plots
    for size in ("480x272", "1024x600", "1280x800", "800x480"):
        site.page.locator("#size").select_option(size)
        expect(site.page.locator("#scale")).to_contain_text(size.replace("x", " x "))
    expect(site.page.frame_locator("#panel").locator("body")).to_contain_text("kWh")
    site.rests(0.5)
    picture = Image.open(BytesIO(site.page.screenshot(full_page=True))).convert("RGB")
    if "STATION_SCREENS" in os.environ:
        picture.quantize(64).save(SCREEN, optimize=True)
    panel = Image.open(BytesIO(site.page.locator("#bezel").screenshot()))
    assert len(panel.convert("RGB").getcolors(panel.width * panel.height) or []) > 50  # not a dark one
    site.page.evaluate(AXE.read_text())
    assert not site.page.evaluate(AXE_RUN)
    assert site.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not site.complaints()


def test_it_works_without_a_mouse(bench: Callable[..., Bench]) -> None:
    site = bench()
    site.open()
    reached: set[str] = set()
    for _ in range(120):
        site.page.keyboard.press("Tab")
        name: Any = site.page.evaluate("document.activeElement.textContent.trim().slice(0, 40)")
        reached.add(str(name))
        if name == "Plug in" and "Unplug" not in reached and site.demo.here == {}:
            site.page.keyboard.press("Enter")
            site.port(1, "Occupied")
    assert site.demo.here and {"Emergency stop", "Cut the power", "ann, connected", "Ground fault"} <= reached


def test_evenings_by_lapse_end_equal_and_leave_nothing_behind_in_the_browser(bench: Callable[..., Bench]) -> None:
    site = bench()
    site.open()
    session = site.context.new_cdp_session(site.page)

    def heap_mb() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    heaps = []
    site.page.locator("#view-lapse").click()
    for _ in range(3):
        expect(site.page.locator("#ledger tr")).to_have_count(40, timeout=120_000)
        done = re.compile("ledger = meters|never the driver")
        expect(site.page.locator("#verdict")).to_contain_text(done, timeout=60_000)
        heaps.append(heap_mb())
        site.page.locator("#again").click()
        expect(site.page.locator("#verdict")).not_to_have_text("ledger = meters")
    site.page.locator("#view-real").click()
    expect(site.page.locator("#busy")).to_be_hidden()
    assert heaps[-1] - heaps[0] < HEAP_MB, heaps
    assert not site.complaints()
