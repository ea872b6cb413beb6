"""What is drawn is really there: pixels, shapes, fonts, the video. And what we look for, we would find."""

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser

from agent.ui.model import Tone
from agent.ui.situation import Situation
from agent.ui.words import LANGUAGES
from tests.ui.harness import SIZES, Display, is_blank
from tests.ui.stations import STATIONS

Displays = Callable[[str], Display]

# -- shapes -----------------------------------------------------------------------------------------------------------

TONES = {
    Tone.FREE: Situation.AVAILABLE,
    Tone.CHARGING: Situation.CHARGING,
    Tone.WAIT: Situation.WAITS_FOR_CAR,
    Tone.FAULT: Situation.OUT_OF_SERVICE,
}
GLYPH = "section.one h2 svg"
BORDER = """() => {
  const style = getComputedStyle(document.querySelector("section.one"));
  return [style.borderTopStyle, style.borderTopWidth, style.borderLeftWidth].join(" ");
}"""
LIKE = (48, 48)


def shape(picture: Image.Image) -> Image.Image:
    """Without colour and brightness: what is nearer to the brightest than to the darkest."""
    grey = picture.convert("L").resize(LIKE)
    levels = grey.tobytes()
    middle = (min(levels) + max(levels)) / 2
    return grey.point([255 if level > middle else 0 for level in range(256)])


def difference(a: Image.Image, b: Image.Image) -> float:
    """The share of pixels in which two shapes differ."""
    return ImageChops.difference(a, b).histogram()[255] / (a.width * a.height)


@pytest.mark.parametrize("size", ["800x480", "480x272"])
def test_tones_are_told_apart_by_shape_border_and_word_without_any_colour(display: Displays, size: str) -> None:
    """508 410, WCAG 1.4.1."""
    shown, shapes, borders, words = display(size), {}, set(), set()
    for tone, situation in TONES.items():
        shown.show(STATIONS[f"port: {situation}"])
        assert shown.page.get_attribute("section.one", "data-tone") == tone
        shapes[tone] = shape(shown.picture(GLYPH))
        borders.add(shown.page.evaluate(BORDER))
        words.add(shown.page.inner_text("section.one h2"))
    alike = {(a, b): difference(shapes[a], shapes[b]) for a, b in combinations(shapes, 2)}
    assert min(alike.values()) > 0.08, alike
    assert len(borders) == len(words) == len(TONES)


# -- fonts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_letter_is_drawn_in_our_own_font(display: Displays, language: str) -> None:
    """By the browser's own account: none was taken from the system, which may have none."""
    shown = display("800x480")
    shown.show(STATIONS["both charging"], language)
    link = shown.context.new_cdp_session(shown.page)
    link.send("DOM.enable")
    link.send("CSS.enable")
    root = link.send("DOM.getDocument")["root"]["nodeId"]
    fonts = []
    for node in link.send("DOM.querySelectorAll", {"nodeId": root, "selector": "h1, h2, p, dd, dt, button"})["nodeIds"]:
        fonts += link.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    link.detach()
    assert fonts and not [font["familyName"] for font in fonts if not font["isCustomFont"]]


# -- pictures that move -----------------------------------------------------------------------------------------------


@pytest.fixture
def lively(browser: Browser) -> Iterator[Display]:
    """A display whose user has not asked for less motion."""
    made = Display(browser, SIZES["800x480"], motion="no-preference")
    yield made
    made.close()


def test_the_video_plays_and_the_station_knows_it(lively: Display) -> None:
    """I3, from the page's own heartbeat; and its picture moves."""
    lively.wait_for(lambda: len({beat.frames for beat in lively.beats}) > 2, "frames are counted")
    assert lively.beats[-1].video == "playing" and not lively.problems
    first = lively.picture("video")
    assert not is_blank(first, 0.05)
    lively.wait_for(lambda: difference_of(first, lively.picture("video")) > 0.002, "the picture moves")


def test_a_press_holds_the_video_for_a_minute_and_the_station_thinks_no_ill_of_it(lively: Display) -> None:
    """WCAG 2.2.2: what moves by itself beside what is read can be halted."""
    lively.wait_for(lambda: lively.beats and lively.beats[-1].video == "playing", "it plays")
    film, hold = "document.querySelector('video')", lively.page.locator(".hold")
    lively.page.clock.install()
    hold.click()
    assert lively.page.evaluate(f"{film}.paused") and hold.get_attribute("aria-pressed") == "false"
    lively.page.clock.run_for(2_000)
    lively.wait_for(lambda: lively.beats[-1].video == "none", "what is held is no evidence, for or against")
    assert lively.page.evaluate(f"{film}.paused")
    lively.page.clock.run_for(60_000)
    lively.wait_for(lambda: not lively.page.evaluate(f"{film}.paused"), "after a minute it goes on by itself")
    hold.click()
    hold.click()
    # In a minute that takes no time its line is dead over and over: it may come anew before the station lets go of it.
    problems = [each for each in lively.problems if "503" not in each or not each.endswith("/events")]
    assert not lively.page.evaluate(f"{film}.paused") and not problems, problems


def difference_of(a: Image.Image, b: Image.Image) -> float:
    changed = ImageChops.difference(a, b).convert("L").point([255 if level > 40 else 0 for level in range(256)])
    return changed.histogram()[255] / (a.width * a.height)


def test_where_the_video_does_not_play_the_steps_are_drawn_and_said(browser: Browser) -> None:
    made = Display(browser, SIZES["800x480"], motion="no-preference", video=Path(__file__))
    made.wait_for(lambda: made.beats and made.beats[-1].video == "animation", "the stand-in is told")
    said = made.measured()[1]
    assert made.model().how.steps[0][1] in said
    made.close()


@pytest.mark.parametrize("name", ["idle", "both charging", "help 1", "help 2"])
def test_nothing_moves_for_who_has_asked_for_less_motion(display: Displays, name: str) -> None:
    shown = display("800x480")
    shown.show(STATIONS[name])
    running = "() => document.getAnimations().filter((each) => each.playState === 'running').length"
    assert shown.page.evaluate(running) == 0


@pytest.mark.parametrize("name", ["idle", "both charging", "help 1", "help 2", "refused: not connected"])
def test_nothing_flashes(lively: Display, name: str) -> None:
    """WCAG 2.3.1: not three times a second. The rhythms of the lights themselves: tests/test_view.py."""
    lively.show(STATIONS[name])
    durations = lively.page.evaluate(
        "() => document.getAnimations().map((each) => each.effect.getComputedTiming().duration)"
    )
    assert all(duration >= 334 for duration in durations)


# -- what we look for, we would find ----------------------------------------------------------------------------------

FLAWS = {
    "h1 { font-size: 8px !important }": "capitals of",
    "h1, h1 * { color: #555 !important }": "contrast",
    "h1, h1 * { opacity: 0.4 !important }": "contrast",
    "h1 { position: fixed !important; inset-inline-start: -40px !important }": "cut by",
    "h1 { position: fixed !important; top: -400px !important }": "out of sight",
    "nav.keys button { height: 20px !important; min-height: 0 !important; flex: none !important }": "a finger needs",
    "h1 { position: fixed !important; top: 250px !important; left: 40px !important }": "one upon the other",
    "section.one { max-height: 30px !important }": "px too high",
    "body { width: 2000px !important; position: static !important }": "the page is",
}
STYLE = """(css) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  document.adoptedStyleSheets = css ? [sheet] : [];
}"""


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_of_the_page_is_found(display: Displays, flaw: str) -> None:
    shown = display("800x480")
    shown.show(STATIONS["port: charging"])
    before = shown.measured()[0]
    shown.page.evaluate(STYLE, flaw)
    after = shown.measured()[0]
    shown.page.evaluate(STYLE, "")
    assert [problem for problem in after if FLAWS[flaw] in problem and problem not in before]


def test_an_empty_display_is_found(display: Displays) -> None:
    shown = display("800x480")
    shown.show(STATIONS["idle"])
    assert not is_blank(shown.picture())
    shown.page.evaluate(STYLE, "#app { display: none !important }")
    assert is_blank(shown.picture()) and not shown.measured()[1].strip()
    shown.page.evaluate(STYLE, "")


def test_who_asks_somebody_else_is_found_and_refused(browser: Browser) -> None:
    made = Display(browser, SIZES["800x480"])
    made.page.evaluate("fetch('http://127.0.0.2:9/').catch(() => {})")
    made.wait_for(lambda: made.problems, "the request is found")
    made.close()


def test_axe_would_find_something(display: Displays) -> None:
    shown = display("800x480")
    shown.show(STATIONS["idle"])
    shown.page.evaluate("document.documentElement.lang = ''")
    assert any(found.startswith("html-has-lang") for found in shown.axe())
    shown.page.evaluate("document.documentElement.lang = 'en'")
