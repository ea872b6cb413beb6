"""`make screenshots`: the pictures of docs/panel.md and installing.md, taken from the station's own page.

    python -m tests.ui.screenshots [NAME ...]      all, or those whose names begin so
    python -m tests.ui.screenshots --all FOLDER    every station of tests/ui/stations.py, to be looked at
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from agent.ui.words import LANGUAGES
from agent.wizard.facts import STEPS
from tests.ui.harness import SIZES, Display, chromium
from tests.ui.stations import STATIONS

SCREENS = Path(__file__).parent.parent.parent / "docs" / "screens"
COLOURS = 48  # of a palette: the screens are drawn with few
FILM_AT_S = 15.0

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
    args = parser.parse_args(argv)
    folder = args.all or SCREENS
    folder.mkdir(parents=True, exist_ok=True)
    shots = everything() if args.all else SHOTS
    wanted = {name: shot for name, shot in shots.items() if not args.names or name.startswith(tuple(args.names))}
    with chromium() as browser:
        for size in SIZES:
            if of_size := {name: shot for name, shot in wanted.items() if shot[1] == size}:
                take(browser, size, of_size, folder)
    return 0


def everything() -> dict[str, tuple[str, str, str]]:
    return {
        f"{size}/{language}/{name.replace(': ', '-').replace(', ', '-').replace(' ', '_')}": (name, size, language)
        for size in SIZES
        for language in LANGUAGES
        for name in STATIONS
    }


def take(browser: Browser, size: str, shots: dict[str, tuple[str, str, str]], folder: Path) -> None:
    display = Display(browser, SIZES[size], motion="no-preference")
    for name, (station, _, language) in shots.items():
        display.show(STATIONS[station], language)
        if display.page.locator("video").count():
            display.page.evaluate(AT, FILM_AT_S)
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        few = display.picture().quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{path.stat().st_size:>7} {path}")
    display.close()


AT = """(seconds) => new Promise((done) => {
  const film = document.querySelector("video");
  film.pause();
  film.addEventListener("seeked", () => requestAnimationFrame(() => setTimeout(done, 100)), {once: true});
  film.currentTime = seconds;
})"""

if __name__ == "__main__":
    sys.exit(main())
