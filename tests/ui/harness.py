"""A display on the bench: a real panel that serves the station it is given, and its page in Debian's Chromium.

Every request that leaves the panel and every error of the page is kept: a test that ends with one has failed.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from agent import navigation
from agent.events import FieldEntered, KeyPressed, PageMeasured, PortChosen, ScreenTouched
from agent.hal.display import DisplayFacts
from agent.station import Station
from agent.ui import web
from agent.ui.catalogues import load_says
from agent.ui.model import Beat, ScreenModel
from agent.ui.qr import drawn
from agent.ui.view import screen
from tests.test_view import NOW
from tests.ui.stations import STATIONS

E = TypeVar("E")
HERE = Path(__file__).parent
WATCH, MEASURE, AXE = HERE / "watch.js", HERE / "measure.js", HERE / "vendor" / "axe.min.js"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--font-render-hinting=none", "--force-color-profile=srgb", "--disable-lcd-text", "--mute-audio"]
PATIENCE_S = 20.0
SAYS = load_says()

# What the station promises of its display: 508 402.4, WCAG 2.5.8 (and more), WCAG 1.4.6.
CAP_MM, TARGET_MM, CONTRAST = 4.8, 9.0, 7.0
CAP_SHARE = 0.714  # height of a capital of Noto Sans, of its font size

AXE_RUN = """async () => {
  const only = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await axe.run(document, {runOnly: only, resultTypes: ["violations"]});
  return found.violations.map((v) => `${v.id}: ${v.help}: ` + v.nodes.map((n) => n.html.slice(0, 120)).join(" | "));
}"""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a display: pixels, and millimetres of what lights up."""

    width_px: int
    height_px: int
    width_mm: int

    @property
    def px_per_mm(self) -> float:
        return self.width_px / self.width_mm

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"


PANELS = Size(800, 480, 154), Size(480, 272, 95), Size(1024, 600, 154), Size(1280, 800, 217)
SIZES = {str(size): size for size in PANELS}
QUICK_SIZES = ("800x480", "480x272")


class Display:
    """`show` a station and look. Time stands still at NOW; what is pressed goes the way it goes on a station."""

    def __init__(self, browser: Browser, size: Size, *, motion: str = "reduce", **panel: Any) -> None:
        self.size = size
        self.station = STATIONS["idle"]
        self.posted: list[object] = []
        self.beats: list[Beat] = []
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._revision = 0
        facts = DisplayFacts(width_px=size.width_px, height_px=size.height_px, width_mm=size.width_mm)
        self.panel = web.Panel(self.model, 0, self.post, beat=self.beats.append, display=facts, **panel)
        self.panel.start()
        viewport: Any = {"width": size.width_px, "height": size.height_px}
        self.context = browser.new_context(
            viewport=viewport, device_scale_factor=1, reduced_motion=motion, locale="en-US", timezone_id="UTC"  # type: ignore[arg-type]
        )
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.context.add_init_script(path=WATCH)
        self.page = self.opened()

    def opened(self) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self._asked(request.url))
        page.on("console", lambda said: self._heard(said.type, f"{said.text} {said.location.get('url', '')}"))
        page.on("pageerror", lambda error: self.problems.append(f"error in the page: {error}"))
        with page.expect_response("**/api/session"):  # from then on it may press
            page.goto(self.panel.entrance)
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith((self.panel.url, "data:", "blob:")):
            self.problems.append(f"asks somebody else: {url}")

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"console: {text}")

    def close(self) -> None:
        self.context.close()
        self.panel.stop()

    # -- in the panel's thread ----------------------------------------------------------------------------------------

    def model(self) -> ScreenModel:
        with self._lock:
            return drawn(structs.replace(screen(self.station, NOW, SAYS), list_version=self._revision))

    def post(self, event: object) -> None:
        with self._lock:
            self.posted.append(event)
            self.station = followed(self.station, event)
            self._revision += 1
        self.panel.changed()

    # -- in the test's --------------------------------------------------------------------------------------------

    def show(self, station: Station, language: str = "en") -> None:
        """Until it is on the display, and the display has told how much room it takes."""
        self.put(station, language)
        self.settle()

    def put(self, station: Station, language: str = "en") -> None:
        """Without waiting for it: `settle` does."""
        with self._lock:
            self.station = replace(station, panel=replace(station.panel, language=language))
            self._revision += 1
        self.panel.changed()

    def settle(self) -> None:
        drawn = -1
        while drawn != self._revision:
            drawn = self._revision
            is_drawn = self.page.evaluate(
                "([revision, patience]) => window.__watch.drawn(revision, patience)", [drawn, PATIENCE_S * 1000]
            )
            assert is_drawn, f"not drawn within {PATIENCE_S:g} s: {self.problems}"

    def press(self, key: int) -> KeyPressed:
        """A key of the four, until what it leads to is on the display."""
        return self.after(lambda: self.page.keyboard.press(str(key)), KeyPressed)

    def after(self, gesture: Callable[[], object], kind: type[E]) -> E:
        """What the station was told of this gesture; what that leads to is on the display."""
        before = len(self.posted)

        def told() -> E | None:
            return next((event for event in self.posted[before:] if isinstance(event, kind)), None)

        gesture()
        self.wait_for(told, f"{kind.__name__} is told")
        self.settle()
        found = told()
        assert found is not None
        return found

    def wait_for(self, is_so: Callable[[], object], what: str) -> None:
        """What comes by itself. The page's own turn of events must go on meanwhile."""
        for _ in range(int(PATIENCE_S / 0.02)):
            if is_so():
                return
            self.page.evaluate("() => new Promise((done) => setTimeout(done, 20))")
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")

    def measured(self) -> tuple[list[str], str]:
        """What a person would complain about, and every text that is there to be read."""
        model = self.model()
        limits = {
            "px_per_mm": self.size.px_per_mm, "cap_mm": CAP_MM, "cap_share": CAP_SHARE, "target_mm": TARGET_MM,
            "contrast": CONTRAST, "language": model.language, "direction": model.direction,
        }  # fmt: skip
        found = self.page.evaluate(MEASURE.read_text(), limits)
        return [*found["problems"], *self.problems], found["said"]

    def axe(self) -> list[str]:
        if not self.page.evaluate("() => Boolean(window.axe)"):
            self.page.evaluate(AXE.read_text())
        return list(self.page.evaluate(AXE_RUN))

    def picture(self, selector: str | None = None) -> Image.Image:
        where = self.page.locator(selector).first if selector else self.page
        return Image.open(BytesIO(where.screenshot())).convert("RGB")


def followed(station: Station, event: object) -> Station:
    """What somebody does at the display, and nothing else of a station's life."""
    match event:
        case KeyPressed():
            return navigation.pressed(station, event, NOW)
        case PortChosen():
            return navigation.chosen(station, event, NOW)
        case FieldEntered():
            return navigation.entered(station, event, NOW)
        case PageMeasured() | ScreenTouched():
            return navigation.told(station, event, NOW)
    raise AssertionError(event)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; without its sandbox where we are root, which a kiosk never is."""
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else ARGUMENTS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def is_blank(picture: Image.Image, share: float = 0.01) -> bool:
    """Hardly anything but one colour."""
    colours = picture.getcolors(picture.width * picture.height) or []
    return max(count for count, _ in colours) > (1 - share) * picture.width * picture.height
