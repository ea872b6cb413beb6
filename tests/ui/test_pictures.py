"""docs/panel.md and docs/installing.md show the pictures that `make screenshots` takes, all of them and no others; and
they stay small."""

import re
from pathlib import Path

from PIL import Image

from tests.ui.screenshots import SCREENS, SHOTS
from tests.ui.stations import STATIONS

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = (DOCS / "panel.md", DOCS / "installing.md")
SIZE_MAX = 60_000


def test_the_page_shows_every_picture_and_each_is_there() -> None:
    named = [name for page in PAGES for name in re.findall(r"\]\(screens/([\w-]+)\.png\)", page.read_text())]
    assert sorted(named) == sorted(SHOTS)
    pages = "".join(page.read_text() for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"])
    assert all(f"screens/{path.name}" in pages for path in SCREENS.glob("*.png")), "nobody shows it: delete it"


def test_every_picture_is_small_and_of_a_display() -> None:
    for name, (station, size, _) in SHOTS.items():
        path = SCREENS / f"{name}.png"
        assert path.stat().st_size <= SIZE_MAX, name
        with Image.open(path) as picture:
            assert f"{picture.width}x{picture.height}" == size and station in STATIONS
