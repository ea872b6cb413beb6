"""The code on the display is read by a real reader, as a phone's camera sees it at arm's length, and it says just what
the station offers."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from PIL import Image, ImageFilter

from agent.ui.drawing import decoded, draw
from agent.ui.fonts import Fonts
from agent.ui.model import Qr, ScreenModel
from agent.ui.qr import drawn
from agent.ui.view import screen
from agent.wizard.facts import STEPS
from tests.test_view import NOW
from tests.ui.harness import PANELS, SAYS, SIZES, Display, Size
from tests.ui.stations import STATIONS

pytestmark = pytest.mark.needs("zbarimg", "zbar-tools")
COMMON = [size for size in PANELS if str(size) != "1024x600"]
CAMERA_PX_MM = 5.0  # at 30 cm: a phone's 4,000 pixels see 36 cm there, twice as many to the millimetre
MODULE_MM = 0.5  # five pixels of that camera
FONTS = Fonts()
NAMES = ["wizard: a phone may come", "wizard: a phone may join and come", f"wizard: {STEPS[2]}"]
ON_PAGE = [  # the smallest display is the hardest: the others in the long tests
    pytest.param(name, str(size), marks=() if size.height_px < 300 and name == NAMES[0] else pytest.mark.long)
    for name in NAMES for size in COMMON
]  # fmt: skip


def read(picture: Image.Image, path: Path) -> list[str]:
    """What zbar finds in it."""
    picture.save(path)
    command = ["zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return sorted(ran.stdout.splitlines())


def by_hand(picture: Image.Image, size: Size) -> Image.Image:
    """As a camera sees it: held askew, not quite in focus, with its own pixels."""
    scale = CAMERA_PX_MM / size.px_per_mm
    seen = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    seen = seen.rotate(7, Image.Resampling.BICUBIC, expand=True, fillcolor=(40, 40, 40))
    return seen.filter(ImageFilter.GaussianBlur(0.6))


def codes(model: ScreenModel) -> list[Qr]:
    assert model.content
    return [block for block in model.content.blocks if isinstance(block, Qr)]


def screenfuls(display: Display) -> list[Image.Image]:
    """The whole page, as it is turned."""
    pictures = [display.picture()]
    for turned in range(1, display.station.panel.screenfuls):
        panel = replace(display.station.panel, turned=turned)
        display.show(replace(display.station, panel=panel))
        pictures.append(display.picture())
    return pictures


@pytest.mark.parametrize(("name", "size"), ON_PAGE)
def test_the_code_on_the_page_is_read_as_it_was_meant(
    display: Callable[[str], Display], name: str, size: str, tmp_path: Path
) -> None:
    shown = display(size)
    shown.show(STATIONS[name])
    offered = sorted(code.data for code in codes(shown.model()))
    assert offered and all(0 < len(data) < 200 for data in offered)
    pictures = screenfuls(shown)
    assert found(pictures, tmp_path) == offered
    seen = [by_hand(picture, SIZES[size]) for picture in pictures]
    assert found(seen, tmp_path) == offered, "at arm's length"


def found(pictures: Sequence[Image.Image], folder: Path) -> list[str]:
    return sorted(text for picture in pictures for text in read(picture, folder / "seen.png"))


@pytest.mark.parametrize("size", [*map(str, COMMON)])
def test_a_module_of_the_code_is_large_enough_for_a_phone_at_thirty_centimetres(
    display: Callable[[str], Display], size: str
) -> None:
    shown = display(size)
    shown.show(STATIONS["wizard: a phone may come"])
    (code,) = codes(shown.model())
    box = shown.page.locator("svg.code").bounding_box()
    assert box and box["width"] == box["height"]
    module_px = box["width"] / len(code.rows)
    assert module_px / SIZES[size].px_per_mm >= MODULE_MM and module_px >= 3
    assert code.rows[0] == code.rows[3] == "0" * len(code.rows), "four modules of white around it"


@pytest.mark.parametrize("size", COMMON, ids=str)
@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:])])
def test_the_code_on_the_framebuffer_is_read_as_it_was_meant(size: Size, name: str, tmp_path: Path) -> None:
    model = drawn(screen(STATIONS[name], NOW, SAYS))
    at = size.width_px, size.height_px, float(size.width_mm)
    pictures, turned = [], 0
    while True:
        picture = draw(decoded(msgspec.json.encode(structs.replace(model, turned=turned))), *at, FONTS)
        pictures.append(picture.image)
        turned += 1
        if turned >= picture.screenfuls:
            break
    offered = sorted(code.data for code in codes(model))
    assert found(pictures, tmp_path) == offered
    assert found([by_hand(picture, size) for picture in pictures], tmp_path) == offered, "at arm's length"
