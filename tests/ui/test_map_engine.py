"""The pinpoint's map in WPE WebKit, which has no WebGL here and older scripts: drawn, and moved by its keys."""

from collections.abc import Iterator

import pytest
from msgspec import structs

from agent.events import FieldEntered
from agent.panel import Page
from agent.ui.maps import station_map
from agent.ui.model import PageModel, ScreenModel
from agent.ui.words import ENGLISH
from agent.wizard.coordinates import Point
from tests.ui.harness import is_blank
from tests.ui.test_engine import Cog

pytestmark = [
    pytest.mark.long,
    pytest.mark.needs("cog"),
    pytest.mark.needs("WPEWebDriver", "wpewebkit-driver"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Selenium's own
]


class Mapped(Cog):
    def __init__(self) -> None:
        self.posted: list[object] = []
        super().__init__()

    def model(self) -> ScreenModel:
        page = PageModel("Where is this station?", (station_map(Point(52.5, 13.4, 60_000.0), None, ENGLISH),))
        return structs.replace(super().model(), page=Page.ABOUT, layout="page", content=page)

    def post(self, event: object) -> None:
        self.posted.append(event)


@pytest.fixture
def cog() -> Iterator[Mapped]:
    shown = Mapped()
    yield shown
    shown.close()


def test_wpe_draws_the_outline_and_its_keys_move_the_mark(cog: Mapped) -> None:
    is_there = "document.querySelector('.map[data-outline=drawn] .pin') !== null"
    cog.wait_for(lambda: cog.run(is_there), "the map is there")
    box = cog.run("document.querySelector('.map').getBoundingClientRect()")
    top, height = box["top"], box["height"]
    assert height > 100
    cog.wait_for(lambda: not is_blank(cog.picture().crop((0, int(top), 380, int(top + height))), 0.1), "land and sea")
    cog.run("document.querySelector('.pinpoint .to-n').click() ?? true")
    cog.wait_for(lambda: FieldEntered("pinpoint.nudge", "n1") in cog.posted, "the nudge is told")
