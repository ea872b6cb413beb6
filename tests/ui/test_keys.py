"""Four keys lead everywhere and back, touch does the same, and what a key says is what it does."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser

from agent import navigation
from agent.events import KeyPressed, PortChosen, ScreenTouched
from agent.navigation import KEYS
from agent.panel import Action, Page, Panel
from tests.conftest import LONG
from tests.test_view import NOW
from tests.ui.harness import SIZES, Display
from tests.ui.stations import STATIONS

Displays = Callable[[str], Display]
ANYWHERE = {Action.LANGUAGE, Action.LARGE}  # these change how a page looks, not which one it is
OPENED = {Page.WIZARD, Page.PHONE}  # not by a key of the start page


def here(display: Display) -> tuple[object, ...]:
    panel = display.station.panel
    return navigation.page(display.station), panel.at, panel.turned, display.station.wizard.step


def kind(display: Display) -> tuple[object, ...]:
    return navigation.page(display.station), display.station.wizard.step


DOTS = "section.page .dots i, section.one .dots i"
OTHERS = [pytest.param(size, marks=pytest.mark.long) for size in SIZES if size != "800x480"]


@pytest.mark.parametrize("size", ["800x480", *OTHERS])
def test_four_keys_lead_to_every_page_and_back(display: Displays, size: str) -> None:
    """By the keyboard alone, WCAG 2.1.1: whatever is not seen yet is looked at, and its keys are pressed. In the quick
    run one of a page's kind stands for all of it."""
    shown = display(size)
    look = here if LONG else kind
    todo = deque([replace(STATIONS["both charging"], panel=Panel(touched_at=NOW, service_until=NOW + 1_000))])
    seen, pages = set(), set()
    while todo:
        shown.show(todo.popleft())
        if look(shown) in seen:
            continue
        seen.add(look(shown))
        pages.add(navigation.page(shown.station))
        station, offered = shown.station, navigation.keys(shown.station, NOW)
        assert shown.measured()[0] == []
        labels = [key.label for key in shown.model().keys]
        assert [text.strip() for text in shown.page.locator("nav.keys button").all_inner_texts()] == labels
        dots = [str(dot.get_attribute("class")) for dot in shown.page.locator(DOTS).all()]
        assert len(dots) in (0, station.panel.screenfuls) and dots.count("now") == bool(dots)
        if dots and not shown.page.locator("[data-chosen]").count():  # the page follows the field that is chosen
            assert dots.index("now") == station.panel.turned
        assert navigation.page(station) is Page.HOME or Action.BACK in offered
        for key, action in enumerate(offered, 1):
            if action not in ANYWHERE | {Action.NONE, Action.BACK}:
                shown.show(station)
                shown.press(key)
                todo.append(shown.station)
    assert pages >= set(KEYS) - OPENED


def test_a_key_and_a_finger_do_the_same(display: Displays) -> None:
    shown = display("800x480")
    for key in range(1, 5):
        shown.show(STATIONS["both charging"])
        by_key = shown.press(key), here(shown)
        shown.show(STATIONS["both charging"])
        button = shown.page.locator("nav.keys button").nth(key - 1)
        assert (shown.after(button.click, KeyPressed), here(shown)) == by_key


def test_a_finger_on_a_port_shows_that_port(display: Displays) -> None:
    shown = display("800x480")
    shown.show(STATIONS["both charging"])
    told = shown.after(shown.page.locator("article.card button").nth(1).click, PortChosen)
    assert told == PortChosen(2) and here(shown)[:2] == (Page.PORT, 2)


IDLE_DOTS = "section.idle .dots i"


def lit_dot(display: Display) -> int:
    return [str(dot.get_attribute("class")) for dot in display.page.locator(IDLE_DOTS).all()].index("now")


def test_on_a_small_display_a_key_turns_the_start_page(display: Displays) -> None:
    shown = display("480x272")
    shown.show(STATIONS["idle"])
    screenfuls = shown.page.locator(IDLE_DOTS).count()
    seen = []
    while shown.model().keys[3].action == Action.NEXT:
        seen.append(lit_dot(shown))
        shown.press(4)
    assert [*seen, lit_dot(shown)] == list(range(screenfuls)) and screenfuls > 2
    assert shown.measured()[0] == []
    shown.press(4)
    assert here(shown)[:2] == (Page.PORT, 1)


@pytest.mark.long
def test_the_start_page_turns_by_itself_and_whoever_touches_it_holds_it_where_it_stands(browser: Browser) -> None:
    """WCAG 2.2.2."""
    made = Display(browser, SIZES["480x272"])
    made.show(replace(STATIONS["idle"], panel=Panel()))
    made.wait_for(lambda: lit_dot(made) == 1, "it has turned by itself")
    made.after(lambda: made.page.mouse.click(200, 150), ScreenTouched)
    held = lit_dot(made)
    made.page.evaluate("(ms) => new Promise((done) => setTimeout(done, ms))", 6_000)
    assert lit_dot(made) == held
    made.press(4)
    assert lit_dot(made) == held + 1
    made.close()


@pytest.mark.parametrize("size", ["800x480", "480x272"])
@pytest.mark.parametrize("step", ["installer", "circuit", "pinpoint", "test charge"])
def test_the_field_that_the_keys_are_at_is_in_sight(display: Displays, step: str, size: str) -> None:
    """Wherever in its row the chosen value stands."""
    shown = display(size)
    shown.show(STATIONS[f"wizard: {step}"])
    box = shown.page.locator("div.field[data-chosen]").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= SIZES[size].width_px


def test_one_key_walks_through_all_languages_and_each_page_says_which_it_is(display: Displays) -> None:
    """WCAG 3.1.1; the next language stands on the key in its own script."""
    shown = display("800x480")
    shown.show(STATIONS["idle"])
    walked = []
    for _ in range(6):
        shown.press(2)
        walked.append(shown.page.evaluate("document.documentElement.lang"))
        assert shown.page.evaluate("document.documentElement.dir") == shown.model().direction
    assert walked == ["es", "fr", "de", "zh", "ar", "en"]


@pytest.mark.parametrize("name", ["both charging", "situation: charging"])
def test_left_is_left_in_every_language(display: Displays, name: str) -> None:
    """Port 1 is on the left as in reality, and so is the first key, whichever way the letters run."""
    shown = display("800x480")
    for language in ("en", "ar"):
        shown.show(STATIONS[name], language)
        for selector in ("article.card", "nav.keys button"):
            lefts = [box["x"] for each in shown.page.locator(selector).all() if (box := each.bounding_box())]
            assert lefts == sorted(lefts) and len(lefts) > 1


@pytest.fixture
def alone(browser: Browser) -> Iterator[Display]:
    made = Display(browser, SIZES["800x480"])
    yield made
    made.close()


def test_a_page_whose_agent_is_gone_says_so_and_comes_back_by_itself(alone: Display) -> None:
    """As a restart does it: the same port, the same token. `kill -9` of a real one: test_restart.py."""
    alone.show(STATIONS["both charging"])
    port, token = alone.panel._port, alone.panel._token
    alone.panel.stop()
    cover = alone.page.locator(".cover")
    cover.wait_for(state="visible")
    assert alone.model().words["lost"] in cover.inner_text()
    alone.panel = type(alone.panel)(alone.model, port, alone.post, token=token)
    alone.panel.start()
    cover.wait_for(state="detached")
    assert not [said for said in alone.problems if "403" in said], "nothing is sent to whoever does not know the page"
    alone.problems.clear()  # the browser's own words about a line that has dropped
    alone.press(1)
    assert here(alone)[0] is Page.HELP
    assert alone.measured()[0] == []


NEVER_SILENT = """() => {
  const real = setTimeout;
  window.setTimeout = (then, ms, ...more) => ms === 3000 ? 0 : real(then, ms, ...more);  // SILENCE_MS, station.mjs
}"""


def test_no_figure_of_a_run_that_is_over_stands_on_the_page(alone: Display) -> None:
    """Covered when the line drops, not three seconds later: meanwhile a car may have stopped to charge."""
    alone.page.evaluate(NEVER_SILENT)
    alone.show(STATIONS["both charging"])
    port, token = alone.panel._port, alone.panel._token
    alone.panel.stop()
    cover = alone.page.locator(".cover")
    cover.wait_for(state="visible")
    alone.put(STATIONS["situation: interrupted"])
    alone.panel = type(alone.panel)(alone.model, port, alone.post, token=token)
    alone.panel.start()
    cover.wait_for(state="detached")
    assert "Interrupted" in alone.page.inner_text("main")
    assert "3.6" not in alone.page.inner_text("main").split("Port 2")[0]


def test_a_dark_display_only_wakes(alone: Display) -> None:
    dark = STATIONS["both charging"]
    alone.show(replace(dark, panel=replace(dark.panel, lit=False)))
    alone.press(1)
    assert alone.station.panel.lit and navigation.page(alone.station) is Page.HOME


def test_the_price_stands_before_the_way_to_start(display: Displays) -> None:
    """23 CFR 680.116, AFIR 5: known before anybody starts; in the order of the document too."""
    shown = display("800x480")
    shown.show(STATIONS["idle"])
    model = shown.model()
    text = shown.page.inner_text("main")
    assert -1 < text.index(model.price) < text.index(model.start_text)
