"""`make screenshots`: the pictures of docs/panel.md and installing.md, taken from the station's own page.

    python -m tests.ui.screenshots [NAME ...]      all, or those whose names begin so
    python -m tests.ui.screenshots --all FOLDER    every station of tests/ui/stations.py, to be looked at
    python -m tests.ui.screenshots --sheets FOLDER [480x272/en ...]    the same, many on one picture (`make sheets`)
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser

from agent.ui.words import LANGUAGES
from agent.wizard.facts import STEPS
from tests.ui.harness import SIZES, Display, chromium
from tests.ui.stations import STATIONS

SCREENS = Path(__file__).parent.parent.parent / "docs" / "screens"
COLOURS = 48  # of a palette: the screens are drawn with few
FILM_AT_S = 15.0
ACROSS, DOWN, TILE_PX, NAME_PX = 4, 5, 480, 16  # of a sheet: a screen is drawn no wider than the smallest display

# name: station, size, language
SHOTS: dict[str, tuple[str, str, str]] = {
    "idle": ("idle", "800x480", "en"),
    "idle-480x272": ("idle", "480x272", "en"),
    "idle-1280x800": ("idle", "1280x800", "en"),
    "idle-zh": ("idle", "800x480", "zh"),
    "tap-card": ("situation: tap card", "800x480", "en"),
    "checking": ("checking", "800x480", "en"),
    "refused": ("refused: not connected", "800x480", "en"),
    "could-not-ask": ("refused: could not ask", "800x480", "en"),
    "charging": ("both charging", "800x480", "en"),
    "charging-480x272": ("both charging", "480x272", "en"),
    "charging-ar": ("both charging", "800x480", "ar"),
    "charging-large": ("both charging, large text", "800x480", "en"),
    "port": ("port: charging", "800x480", "en"),
    "paused": ("situation: paused by car", "800x480", "en"),
    "finished": ("situation: ended", "800x480", "en"),
    "fault": ("situation: fault", "800x480", "en"),
    "fault-480x272": ("situation: fault", "480x272", "en"),
    "closed": ("situation: closed", "800x480", "en"),
    "not-activated": ("situation: not activated", "800x480", "en"),
    "help-start": ("help 1", "800x480", "en"),
    "help-lights": ("help 2", "800x480", "en"),
    "help-trouble": ("help 3", "800x480", "en"),
    "help-languages": ("help 4", "800x480", "en"),
    "about": ("about", "800x480", "en"),
    "wizard-phone": ("wizard: a phone may come", "800x480", "en"),
    **{f"wizard-{step.replace(' ', '-')}": (f"wizard: {step}", "800x480", "en") for step in STEPS},
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("screenshots", description="Take the pictures of docs/panel.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only those whose names begin so")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every station there is, on every display")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="the same, many on one picture")
    args = parser.parse_args(argv)
    folder = args.all or args.sheets or SCREENS
    folder.mkdir(parents=True, exist_ok=True)
    shots = everything() if args.all or args.sheets else SHOTS
    wanted = {name: shot for name, shot in shots.items() if not args.names or name.startswith(tuple(args.names))}
    with chromium() as browser:
        for size in SIZES:
            if of_size := {name: shot for name, shot in wanted.items() if shot[1] == size}:
                pictures = taken(browser, size, of_size)
                if args.sheets:
                    tile(pictures, folder)
                else:
                    save(pictures, folder)
    return 0


def everything() -> dict[str, tuple[str, str, str]]:
    return {
        f"{size}/{language}/{name.replace(': ', '-').replace(', ', '-').replace(' ', '_')}": (name, size, language)
        for size in SIZES
        for language in LANGUAGES
        for name in STATIONS
    }


def taken(browser: Browser, size: str, shots: dict[str, tuple[str, str, str]]) -> Iterator[tuple[str, Image.Image]]:
    display = Display(browser, SIZES[size], motion="no-preference")
    for name, (station, _, language) in shots.items():
        display.show(STATIONS[station], language)
        if display.page.locator("video").count():
            display.page.evaluate(AT, FILM_AT_S)
        yield name, display.picture()
    display.close()


def save(pictures: Iterator[tuple[str, Image.Image]], folder: Path) -> None:
    for name, picture in pictures:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path.stat().st_size:>7} {path}")


def tile(pictures: Iterator[tuple[str, Image.Image]], folder: Path) -> None:
    """Sheets of one size and language each, in the order of the stations: 480x272-en-1.png …"""
    for kind, group in groupby(pictures, key=lambda named: named[0].rpartition("/")[0]):
        for number, some in enumerate(sheetfuls(group), 1):
            path = folder / f"{kind.replace('/', '-')}-{number}.png"
            sheet(some).save(path)
            print(path, flush=True)


def sheetfuls(named: Iterator[tuple[str, Image.Image]]) -> Iterator[list[tuple[str, Image.Image]]]:
    while some := list(islice(named, ACROSS * DOWN)):
        yield some


def sheet(named: list[tuple[str, Image.Image]]) -> Image.Image:
    height = max(round(picture.height * TILE_PX / picture.width) for _, picture in named)
    made = Image.new("RGB", (ACROSS * (TILE_PX + 4), -(-len(named) // ACROSS) * (height + NAME_PX)), "grey")
    pen = ImageDraw.Draw(made)
    for i, (name, picture) in enumerate(named):
        x, y = i % ACROSS * (TILE_PX + 4), i // ACROSS * (height + NAME_PX)
        pen.text((x + 2, y + 2), name.rpartition("/")[2], "white")
        made.paste(picture if picture.width == TILE_PX else picture.resize((TILE_PX, height)), (x, y + NAME_PX))
    return made


AT = """(seconds) => new Promise((done) => {
  const film = document.querySelector("video");
  film.pause();
  film.addEventListener("seeked", () => requestAnimationFrame(() => setTimeout(done, 100)), {once: true});
  film.currentTime = seconds;
})"""

if __name__ == "__main__":
    sys.exit(main())
