"""Every screen, on the smallest displays and the largest, in every language: large enough, bright enough, whole.

What is looked at: tests/ui/stations.py. What is complained about: tests/ui/measure.js. `make test` looks at a part.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.ui.words import LANGUAGES
from tests.ui.harness import QUICK_SIZES, SIZES, Display, is_blank
from tests.ui.stations import FEW, ONE_OF_EACH, SOME, STATIONS
from tests.ui.test_fonts import missing

Displays = Callable[[str], Display]

QUICK = [*((name, "en") for name in FEW), *((name, "ar") for name in SOME)]
QUICK_LANGUAGES = ("en", "ar")


def complaints(displays: list[Display], name: str, language: str) -> list[str]:
    for display in displays:
        display.put(STATIONS[name], language)
    found = []
    for display in displays:
        display.settle()
        problems, said = display.measured()
        found += [f"{display.size}: {problem}" for problem in problems]
        if unreadable := missing(said):
            found.append(f"{display.size}: no glyph for {sorted(unreadable)}")
        if not said.strip():
            found.append(f"{display.size}: not a word")
    return found


@pytest.mark.parametrize(("name", "language"), QUICK)
def test_a_screen_can_be_read_and_pressed(display: Displays, name: str, language: str) -> None:
    assert not complaints([display(size) for size in QUICK_SIZES], name, language)


TURN_LEAST_S = 2.5  # of agent/ui/static/fit.mjs: no screenful is gone sooner


def screenfuls_in_time(shown: Display, name: str, language: str) -> bool:
    """Whether all of a refusal in large text is on the display while it stands."""
    bare = STATIONS[name]
    shown.show(replace(bare, panel=replace(bare.panel, large=True)), language)
    model = shown.model()
    notice = model.notice or next(port.notice for port in model.ports if port.notice)
    count: int = shown.page.evaluate("() => document.querySelector('.notice .dots').children.length || 1")
    return not notice.stands_s or count * TURN_LEAST_S <= notice.stands_s


@pytest.mark.promise("S7")
@pytest.mark.parametrize("name", ["refused: list too old", "refused: not connected"])
def test_a_refusal_in_large_text_is_shown_to_its_end_on_the_smallest_display(display: Displays, name: str) -> None:
    assert screenfuls_in_time(display("480x272"), name, "de")


@pytest.mark.long
@pytest.mark.promise("S7")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_each_refusal_in_large_text_is_shown_to_its_end(display: Displays, size: str, language: str) -> None:
    refusals = [name for name in STATIONS if name.startswith("refused")]
    assert not [name for name in refusals if not screenfuls_in_time(display(size), name, language)]


@pytest.mark.long
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", STATIONS)
def test_every_screen_can_be_read_and_pressed_on_every_display(display: Displays, name: str, language: str) -> None:
    displays = [display(size) for size in SIZES]
    assert not complaints(displays, name, language)
    assert not [str(shown.size) for shown in displays if is_blank(shown.picture())]


@pytest.mark.parametrize("language", QUICK_LANGUAGES)
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_axe_finds_nothing(display: Displays, name: str, language: str) -> None:
    """WCAG 2.2 AA, as far as a machine can tell. It would find nothing on an empty screen, either."""
    shown = display("800x480")
    shown.show(STATIONS[name], language)
    assert not shown.axe()
    assert not is_blank(shown.picture())


@pytest.mark.long
@pytest.mark.parametrize("size", QUICK_SIZES)
@pytest.mark.parametrize("language", QUICK_LANGUAGES)
@pytest.mark.parametrize("name", STATIONS)
def test_axe_finds_nothing_on_any_screen(display: Displays, name: str, language: str, size: str) -> None:
    shown = display(size)
    shown.show(STATIONS[name], language)
    assert not shown.axe()
