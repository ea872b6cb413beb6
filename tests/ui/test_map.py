"""The pinpoint's map in a real browser: really drawn, dragged, moved by keys, and without asking anybody else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PIL import Image, ImageChops
from playwright.sync_api import Browser

from agent.events import FieldEntered, ScreenTouched
from agent.panel import Page
from agent.ui import web
from agent.ui.maps import STREETS, station_map
from agent.ui.model import Block, PageModel, ScreenModel
from agent.ui.site import NAME
from agent.ui.words import ENGLISH
from agent.wizard import coordinates
from agent.wizard.coordinates import Point, distance_m
from agent.wizard.places import Place
from tests.pmtiles import archive
from tests.ui.harness import SIZES, WATCH, Display, is_blank

GATE = Point(52.516275, 13.377704, 5.0)
BERLIN = Place("DE", "Germany", "Berlin", 1.8, "Europe/Berlin")
DEAF = """() => {
  const fetch = window.fetch, deaf = () => Promise.resolve(new Response(null, {status: 204}));
  window.fetch = (url, ...rest) => String(url).includes("/api/field") ? deaf() : fetch(url, ...rest);
}"""
LEAVE = """async () => {
  const {render} = await import("/vendor/htm-preact-3.1.1.mjs");
  render(null, document.getElementById("app"));
}"""
MAP, PIN = ".pinpoint .map", ".pinpoint .pin"
DRAWN = f"{MAP}[data-outline=drawn]"


class Mapped(Display):
    """A page with nothing but the map; what is told of the pinpoint moves it, as the wizard does."""

    def __init__(self, browser: Browser, size: str, point: Point | None, **panel: Any) -> None:
        self.point, self.streets = point, ""
        super().__init__(browser, SIZES[size], **panel)

    def model(self) -> ScreenModel:
        blocks: tuple[Block, ...] = (station_map(self.point, BERLIN, ENGLISH, self.streets),)
        page = PageModel("Where is this station?", blocks)
        return structs.replace(super().model(), page=Page.ABOUT, layout="page", content=page)

    def post(self, event: object) -> None:
        if isinstance(event, ScreenTouched):
            return
        if isinstance(event, FieldEntered):
            if event.name == "pinpoint" and isinstance(point := coordinates.parse(event.value), Point):
                self.point = point
            if event.name == "pinpoint.nudge" and self.point and (there := coordinates.nudged(self.point, event.value)):
                self.point = there
        super().post(event)

    def at(self, point: Point | None, streets: str = "") -> None:
        self.point, self.streets = point, streets
        self.show(replace(self.station))
        self.page.wait_for_selector(DRAWN)
        self.settle()

    def centre(self, selector: str) -> tuple[float, float]:
        box = self.page.locator(selector).first.bounding_box()
        assert box is not None and box["width"] > 0 and box["height"] > 0, selector
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture(scope="module")
def mapped(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Mapped]]:
    folder, made = tmp_path_factory.mktemp("site"), dict[str, Mapped]()
    (folder / NAME).write_bytes(archive(GATE.latitude, GATE.longitude))

    def of(size: str) -> Mapped:
        if size not in made:
            made[size] = Mapped(browser, size, GATE, site=folder)
        return made[size]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "COALESCE_S", 0.002)
        yield of
        for each in made.values():
            problems = each.problems
            each.close()
            assert not problems


def changed(a: Image.Image, b: Image.Image) -> float:
    """The share of pixels that differ."""
    difference = ImageChops.difference(a, b).convert("L")
    return 1 - difference.histogram()[0] / (a.width * a.height)


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    found = picture.getcolors(picture.width * picture.height) or []
    return {colour for count, colour in found if count > 0.02 * picture.width * picture.height}  # type: ignore[misc]


@pytest.mark.parametrize("size", ["800x480", "480x272"])
def test_the_map_has_a_height_and_land_and_sea_on_it(mapped: Callable[[str], Mapped], size: str) -> None:
    display = mapped(size)
    display.at(GATE)
    display.at(None)  # whoever takes the place away sees again what there is to choose from
    box = display.page.locator(MAP).bounding_box()
    assert box is not None and box["height"] >= 0.3 * display.size.height_px
    land_and_sea = {(0x0B, 0x14, 0x20), (0x2B, 0x42, 0x59)}
    display.wait_for(lambda: land_and_sea <= colours(display.picture(MAP)), "land and sea")
    world = display.picture(MAP)
    assert not is_blank(world, 0.1)
    display.at(replace(GATE, accuracy_m=200_000.0))
    assert changed(world, display.picture(MAP)) > 0.1


@pytest.mark.parametrize("size", ["800x480", "480x272"])
def test_nothing_of_the_map_is_too_small_unreadable_or_without_a_name(
    mapped: Callable[[str], Mapped], size: str
) -> None:
    display = mapped(size)
    display.at(GATE)
    problems, said = display.measured()
    assert not problems and "Berlin, Germany." in said
    assert not display.axe()


def test_dragging_the_mark_tells_where_it_was_dropped(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(GATE)
    x, y = display.centre(PIN)

    def drag() -> None:
        mouse = display.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 30, y, steps=4)
        mouse.move(x + 60, y, steps=4)
        mouse.up()

    told = display.after(drag, FieldEntered)
    assert told.name == "pinpoint" and told.value.startswith("geo:52.516")
    east_m = coordinates.offset_m(GATE, display.point or GATE)[1]
    assert 5 < east_m < 200 and abs(coordinates.offset_m(GATE, display.point or GATE)[0]) < 1
    assert display.centre(PIN) == pytest.approx((x + 60, y), abs=3)


@pytest.mark.long
def test_a_finger_drags_the_mark_moves_the_map_and_places_it(browser: Browser) -> None:
    display = Mapped(browser, "800x480", GATE)
    display.context.close()
    display.context = browser.new_context(
        viewport={"width": 800, "height": 480}, has_touch=True, is_mobile=True, reduced_motion="reduce"
    )
    display.context.add_init_script(path=WATCH)
    display.page = display.opened()
    display.at(GATE)
    finger = display.context.new_cdp_session(display.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def drag(x: float, y: float, by: int) -> None:
        touch("touchStart", (x, y))
        for step in range(1, 9):
            touch("touchMove", (x + by * step / 8, y))
        touch("touchEnd")

    x, y = display.centre(PIN)
    told = display.after(lambda: drag(x, y, 64), FieldEntered)
    assert told.name == "pinpoint" and display.centre(PIN)[0] == pytest.approx(x + 64, abs=3)
    before = len(display.posted)
    drag(600, 150, -80)
    display.wait_for(lambda: display.centre(PIN)[0] == pytest.approx(x - 16, abs=3), "the map is moved")
    assert not [event for event in display.posted[before:] if isinstance(event, FieldEntered)]
    told = display.after(lambda: display.page.touchscreen.tap(200, 120), FieldEntered)
    assert told.name == "pinpoint" and display.centre(PIN)[0] == pytest.approx(200, abs=3)
    display.close()
    assert not display.problems


def test_a_press_on_the_map_places_the_station(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(None)
    assert display.page.locator(PIN).count() == 0
    told = display.after(lambda: display.page.click(MAP, position={"x": 200, "y": 60}), FieldEntered)
    assert told.name == "pinpoint" and display.page.locator(PIN).count() == 1


@pytest.mark.long
def test_a_drop_that_the_station_refuses_goes_back(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(GATE)
    home = display.centre(PIN)
    display.page.evaluate(DEAF)
    try:
        display.page.mouse.move(*home)
        display.page.mouse.down()
        display.page.mouse.move(home[0] + 80, home[1] + 20, steps=5)
        display.page.mouse.up()
        assert display.centre(PIN)[0] > home[0] + 40
        display.wait_for(lambda: display.centre(PIN) == pytest.approx(home, abs=2), "the mark is back")
    finally:
        display.page.reload()


@pytest.mark.parametrize(
    ("key", "step"), [("ArrowUp", "n1"), ("ArrowDown", "s1"), ("ArrowRight", "e1"), ("ArrowLeft", "w1")]
)
def test_arrow_keys_on_the_mark_move_it_by_a_metre(mapped: Callable[[str], Mapped], key: str, step: str) -> None:
    display = mapped("800x480")
    display.at(GATE)
    display.page.focus(PIN)
    told = display.after(lambda: display.page.keyboard.press(key), FieldEntered)
    assert (told.name, told.value) == ("pinpoint.nudge", step)
    assert distance_m(display.point or GATE, GATE) == pytest.approx(1.0, abs=0.02)


@pytest.mark.long
def test_the_drawn_arrows_move_it_by_the_step_that_is_chosen(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("480x272")
    display.at(GATE)
    steps = []
    for _ in range(3):
        steps.append(display.after(lambda: display.page.click(".pinpoint .to-n"), FieldEntered).value)
        display.page.click(".pinpoint .step")
    assert sorted(steps) == ["n0.1", "n1", "n10"]


def test_a_nudge_of_a_metre_is_seen_at_the_closest_zoom(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(GATE)
    for _ in range(4):
        display.page.get_by_role("button", name="Closer").click()
    display.settle()
    before = display.centre(PIN)
    display.after(lambda: display.page.click(".pinpoint .to-e"), FieldEntered)
    assert display.centre(PIN)[0] - before[0] > 10
    assert display.page.inner_text(".grid-size") .strip() == "1 m"


def test_streets_are_drawn_from_the_site_extract_and_their_source_is_named(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(GATE)
    before = display.picture(MAP)
    assert "No streets" in display.page.inner_text(".pinpoint")
    display.at(GATE, STREETS)
    display.page.wait_for_selector(f"{MAP}[data-streets=drawn]")
    display.wait_for(lambda: changed(before, display.picture(MAP)) > 0.4, "streets are drawn")
    assert "OpenStreetMap" in display.page.inner_text(".source")
    assert "No streets" not in display.page.inner_text(".pinpoint")


@pytest.mark.long
def test_a_page_that_is_left_takes_its_map_along(mapped: Callable[[str], Mapped]) -> None:
    display = mapped("800x480")
    display.at(GATE)
    display.page.evaluate(LEAVE)
    assert display.page.locator(".leaflet-container").count() == 0
    display.page.reload()
    display.page.wait_for_selector(DRAWN)


def test_the_outline_is_small_enough_to_stay() -> None:
    assert (Path(web.HERE) / "static" / "outline.bin").stat().st_size < 400_000
