"""What somebody at the display waits for: until the page is there, and from an event to the picture (Chromium)."""

import time

from playwright.sync_api import Browser, Error

from bench.figure import Figures, figure, missing, percentile
from tests.ui.harness import SIZES, Display, chromium
from tests.ui.stations import STATIONS

STARTS, EVENTS = 7, 100
SIZE = "800x480"
READY_S, SEEN_S = 1.0, 0.2
AT = "() => window.__watch.at / 1000"  # Unix time of the first frame with the newest snapshot


def panel() -> Figures:
    try:
        with chromium() as browser:
            return measured(browser)
    except Error as error:
        why = str(error).splitlines()[0][:80]
        targets = {"panel_page_ready_s": READY_S, "panel_event_to_frame_p99_s": SEEN_S}
        return {name: missing("s", target, why) for name, target in targets.items()}


def measured(browser: Browser) -> Figures:
    display = Display(browser, SIZES[SIZE], motion="no-preference")
    ready = [ready_s(display) for _ in range(STARTS)]
    seen = [seen_s(display, name) for _ in range(EVENTS // 2) for name in ("checking", "refused: not connected")]
    display.close()
    note = "from the loop's word to the frame that shows it"
    return {
        "panel_page_ready_s": figure(ready, "s", READY_S, f"{SIZE}, video and all; the browser runs already"),
        "panel_event_to_frame_p50_s": figure(seen, "s"),
        "panel_event_to_frame_p99_s": figure(seen, "s", SEEN_S, note, percentile(seen, 99)),
    }


def ready_s(display: Display) -> float:
    """From the address to the first picture of the station."""
    began = time.perf_counter()
    page = display.opened()
    page.locator("[data-layout]").wait_for(state="visible")
    took = time.perf_counter() - began
    page.close()  # a browser keeps no more than six lines open to one address
    return took


def seen_s(display: Display, name: str) -> float:
    began = time.time()
    display.show(STATIONS[name])
    return float(display.page.evaluate(AT)) - began
