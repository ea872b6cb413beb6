"""The same page in WPE WebKit, the engine of small panels (cog): it starts, draws, plays, takes keys, comes back."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from agent.hal.display import DisplayFacts
from agent.station import Station
from agent.ui.model import Beat, ScreenModel
from agent.ui.view import screen
from agent.ui.web import Panel
from tests.test_view import NOW
from tests.ui.harness import SAYS, followed, is_blank
from tests.ui.stations import ONE_OF_EACH, STATIONS

pytestmark = [
    pytest.mark.long,
    pytest.mark.needs("cog"),
    pytest.mark.needs("WPEWebDriver", "wpewebkit-driver"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Selenium's own
]
COG = ["--automation", "-P", "headless"]
PATIENCE_S = 30.0


class Cog:
    """A panel in cog, driven by WPEWebDriver."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.wpewebkit.options import Options
        from selenium.webdriver.wpewebkit.service import Service

        self.station: Station = STATIONS["idle"]
        self.beats: list[Beat] = []
        self.panel = Panel(self.model, 0, self.post, beat=self.beats.append, display=DisplayFacts())
        self.panel.start()
        options = Options()
        options.binary_location = "/usr/bin/cog"
        options.set_capability("browserName", "cog")
        for argument in COG:
            options.add_argument(argument)
        options.set_capability("wpe:browserOptions", {"binary": "/usr/bin/cog", "args": COG})
        self.driver: Any = webdriver.WPEWebKit(options=options, service=Service("/usr/bin/WPEWebDriver"))
        self.driver.get(self.panel.entrance)

    def model(self) -> ScreenModel:
        return screen(self.station, NOW, SAYS)

    def post(self, event: object) -> None:
        self.station = followed(self.station, event)
        self.panel.changed()

    def show(self, station: Station, language: str) -> None:
        self.station = replace(station, panel=replace(station.panel, language=language))
        self.panel.changed()

    def wait_for(self, is_so: Any, what: str) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.1)):
            if is_so():
                return
            pause.wait(0.1)
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def picture(self) -> Image.Image:
        return Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")

    def close(self) -> None:
        self.driver.quit()
        self.panel.stop()


@pytest.fixture(scope="module")
def cog() -> Iterator[Cog]:
    made = Cog()
    yield made
    made.close()


@pytest.mark.parametrize("language", ["en", "ar", "zh"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_wpe_draws_every_kind_of_screen_whole(cog: Cog, name: str, language: str) -> None:
    cog.show(STATIONS[name], language)
    model = cog.model()
    words = model.content.title if model.content else model.title
    cog.wait_for(
        lambda: cog.run("document.documentElement.lang") == language and words in cog.run("document.body.innerText"),
        f"{name} is drawn",
    )
    assert cog.run("document.documentElement.scrollWidth <= innerWidth")
    assert cog.run("document.documentElement.scrollHeight <= innerHeight")
    assert cog.run("document.fonts.check('16px Station', 'A')")
    assert not is_blank(cog.picture())


def test_wpe_plays_the_video_and_says_so(cog: Cog) -> None:
    cog.show(STATIONS["idle"], "en")
    cog.wait_for(lambda: cog.beats and cog.beats[-1].video == "playing", "the page says that it plays")
    frames = cog.beats[-1].frames
    cog.wait_for(lambda: cog.beats[-1].frames > frames + 10, "its frames go on")


def test_wpe_takes_the_four_keys(cog: Cog) -> None:
    from selenium.webdriver.common.by import By

    cog.show(STATIONS["idle"], "en")
    cog.driver.find_element(By.TAG_NAME, "body").send_keys("1")
    cog.wait_for(lambda: cog.run("document.querySelector('[data-page]').dataset.page") == "help", "help is shown")
