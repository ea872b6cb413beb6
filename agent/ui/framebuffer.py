"""The display without a browser: `python -m agent.ui.framebuffer`, a process of its own (Pillow, no web engine).

It draws what the page would (`drawing.py`) on a Linux framebuffer: from power-on until the browser is up, instead of it
on small boards, and when it hangs (`kiosk.py`). It reads the panel's events on loopback like any page, and proves by
the same beat that it draws. While the agent cannot be asked it says that the station starts, or starts again. Keys are
the agent's own (agent/hal/keys.py), so nothing is pressed here.

Of the agent it imports what draws, and no more: 30 MB in all.
"""

import argparse
import json
import os
import queue
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from PIL import Image, ImageChops

from agent.ui.drawing import decoded, draw, waiting
from agent.ui.fonts import Fonts
from agent.ui.words import STARTING

if TYPE_CHECKING:
    from agent.ui.panelline import Address

PANEL = Path("/run/station-agent/panel.url")
GRAPHICS, DEV = Path("/sys/class/graphics"), Path("/dev")
BEAT_S = 1.0
TURN_S, NOTICE_TURN_S = 5.0, 2.5  # of what is longer than its box; a notice soon goes
DIGITS = re.compile(rb"[0-9]")
CATALOGUES = Path(__file__).parent / "i18n"
FIRST_LANGUAGES = "es", "fr"  # beside English, while nobody has chosen one
WIDTH_MM = 154.0  # of a 7 inch display, where the board file does not say
OPERATOR = 2
T = TypeVar("T")


# -- where the picture goes -------------------------------------------------------------------------------------------


class Output(Protocol):
    """Takes a picture of its own size."""

    width: int
    height: int

    def show(self, image: Image.Image) -> None: ...


@dataclass(frozen=True, slots=True)
class Format:
    """How the kernel lays out a picture."""

    width: int
    height: int
    depth: int  # bits a pixel: 16 is RGB 565, 24 is BGR, 32 is BGRX
    stride: int  # bytes a row


class Unfit(Exception):
    """The screen cannot be used; the text says what to do."""


def format_of(folder: Path) -> Format:
    """From /sys/class/graphics/fb0. Unfit."""
    try:
        size = (folder / "virtual_size").read_text().strip().split(",")
        depth, stride = ((folder / name).read_text().strip() for name in ("bits_per_pixel", "stride"))
        width, height, bits, row = (int(number) for number in (*size, depth, stride))
    except OSError as error:
        advice = "correct [display] framebuffer in the board file"
        raise Unfit(f"{folder} is not there ({error.strerror}): {advice}") from None
    except ValueError:
        raise Unfit(f"{folder} does not say its size: this is no framebuffer") from None
    height = min(height, visible_height(folder, width) or height)
    if not (0 < width <= 16_384 and 0 < height <= 16_384 and bits in (16, 24, 32) and row >= width * bits // 8):
        raise Unfit(f"{folder} has {width} × {height} pixels of {bits} bits: 16, 24 or 32 bits are known")
    return Format(width, height, bits, row)


def visible_height(folder: Path, width: int) -> int:
    """A driver that draws in turn on two pictures has a virtual size of both. 0: it does not say."""
    with suppress(OSError):
        if found := re.search(rf"\b{width}x([0-9]{{1,5}})", (folder / "mode").read_text()):
            return int(found[1])
    return 0


def packed(image: Image.Image, depth: int) -> bytes:
    """The rows of a picture in the kernel's layout, without padding."""
    if depth == 32:
        return image.tobytes("raw", "BGRX")
    if depth == 24:
        return image.tobytes("raw", "BGR")
    red, green, blue = image.split()  # low byte gggbbbbb, high byte rrrrrggg
    low = ImageChops.add(green.point([(v & 0x1C) << 3 for v in range(256)]), blue.point([v >> 3 for v in range(256)]))
    high = ImageChops.add(red.point([v & 0xF8 for v in range(256)]), green.point([v >> 5 for v in range(256)]))
    return Image.merge("LA", (low, high)).tobytes()


class Screen:
    """A framebuffer of the kernel, or a file that is laid out as one. Only rows that differ are written. OSError."""

    def __init__(self, device: Path, format_: Format) -> None:
        self.width, self.height = format_.width, format_.height
        self._format = format_
        self._handle = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        self._shown: Image.Image | None = None

    def show(self, image: Image.Image) -> None:
        box = ImageChops.difference(image, self._shown).getbbox() if self._shown else (0, 0, self.width, self.height)
        if box is None:
            return
        _, top, _, low = box
        row, stride = self.width * self._format.depth // 8, self._format.stride
        data = packed(image.crop((0, top, self.width, low)), self._format.depth)
        if stride == row:
            os.pwrite(self._handle, data, top * stride)
        else:
            for i in range(low - top):
                os.pwrite(self._handle, data[i * row : (i + 1) * row], (top + i) * stride)
        self._shown = image

    def close(self) -> None:
        os.close(self._handle)


class Picture:
    """A PNG file, whole at any time."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._path, self._new = path, path.with_name(f".{path.name}.new")

    def show(self, image: Image.Image) -> None:
        image.save(self._new, "PNG", compress_level=1)
        self._new.replace(self._path)


# -- all of it --------------------------------------------------------------------------------------------------------


def screen_in(data: bytes) -> Any:
    """The model, or None where the data is none."""
    try:
        message = decoded(data)
        return getattr(message, "screen", None)
    except (ValueError, TypeError, RecursionError):
        return None


class Renderer:
    """What to draw: the newest screen, or that nobody can be asked."""

    def __init__(self, output: Output, width_mm: float, fonts: Fonts) -> None:
        self._output, self._width_mm, self._fonts = output, width_mm, fonts
        self._newest: Any = None  # the model, as last shown
        self._data = b""  # of what is shown; b"" while that is no screen
        self._is_waiting = False
        self._key, self._since, self._turned = b"", 0.0, 0
        self.screenfuls = self.turns = 1
        self.has_steps = False  # what stands in the video's place has been there, all of it

    def waiting(self) -> None:
        """The agent cannot be asked: it starts, or starts again; then in the language that was last on the screen."""
        if self._is_waiting:
            return
        self._is_waiting, self._data = True, b""
        words = getattr(self._newest, "words", None)
        lost = getattr(words, "lost", "")
        texts = (lost,) if lost else starting()
        rtl = getattr(self._newest, "direction", "ltr") == "rtl"
        self._output.show(waiting(texts, *self._size, rtl=rtl).image)

    def screen(self, data: bytes, now: float) -> bool:
        """Whether this was a screen; one that is there already costs nothing."""
        if data == self._data:
            return True
        model = screen_in(data)
        if model is None:
            return False
        if self._key != (key := DIGITS.sub(b"", data)):  # figures that only count on turn nothing back
            self._key, self._since = key, now
        self._newest, self._data, self._is_waiting = model, data, False
        self._draw(now)
        return True

    def due(self, now: float) -> None:
        """What is longer than its box turns."""
        if self._data and self.turns > 1 and self._turn(now) != self._turned:
            self._draw(now)

    def _turn(self, now: float) -> int:
        is_short = self._newest.notice or any(port.notice for port in self._newest.ports)
        return int((now - self._since) // (NOTICE_TURN_S if is_short else TURN_S))

    def _draw(self, now: float) -> None:
        self._turned = self._turn(now)
        drawn = draw(self._newest, *self._size, self._turned)
        self.screenfuls, self.turns = drawn.screenfuls, drawn.turns
        steps = self._newest.how.steps if self._newest.layout == "idle" else ()
        self.has_steps = bool(steps) and (self._turned >= drawn.turns - 1 or self.has_steps)
        self._output.show(drawn.image)

    @property
    def told_screenfuls(self) -> int:
        """As the agent knows them."""
        return int(getattr(self._newest, "screenfuls", self.screenfuls)) if self._newest else 1

    @property
    def _size(self) -> tuple[int, int, float, Fonts]:
        return self._output.width, self._output.height, self._width_mm, self._fonts


def starting() -> tuple[str, ...]:
    """What stands there before the agent has said anything, in each of the languages that most people read."""
    texts = []
    for code in FIRST_LANGUAGES:
        with suppress(OSError, ValueError, KeyError):
            texts.append(json.loads((CATALOGUES / f"{code}.json").read_bytes())[STARTING])
    return (STARTING, *texts)


def run(output: Output, width_mm: float, panel: Path, now: Callable[[], float], ends: Callable[[], bool]) -> None:
    """Draw until it ends. OSError when the screen is gone."""
    renderer = Renderer(output, width_mm, Fonts())
    renderer.waiting()
    from agent.ui.panelline import Beater, Line  # half of all imports: a picture stands before them

    line, beater = Line(panel), Beater()
    line.start()
    at: Address | None = None
    drawn, beat_at = 0, now()
    while not ends():
        try:
            news = newest(line.news, max(0.0, beat_at - now()))
        except queue.Empty:
            pass
        else:
            if news is None:
                at = None
                renderer.waiting()
            elif renderer.screen(news[1].screen, now()):
                at, drawn = news[0], news[1].id
        if now() >= beat_at:
            beat_at = now() + BEAT_S
            renderer.due(now())
            if at:
                beater.say(at, "/api/beat", {
                    "drawn": drawn, "frames": 0, "visible": True, "by": "framebuffer",
                    "video": "animation" if renderer.has_steps else "none",
                })  # fmt: skip
                if renderer.screenfuls != renderer.told_screenfuls:
                    beater.say(at, "/api/measured", {"screenfuls": renderer.screenfuls})


def newest(news: "queue.Queue[T]", timeout_s: float) -> T:
    """What came last; what came before it is old. queue.Empty: nothing has."""
    last = news.get(timeout=timeout_s)
    while not news.empty():
        last = news.get_nowait()
    return last


def board_facts(path: Path) -> dict[str, Any]:
    """[display] of the board file, as far as it can be read: the agent says what is wrong with it."""
    import tomllib  # not every display has a board file

    with suppress(OSError, ValueError):
        display = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("display", {})
        return display if isinstance(display, dict) else {}
    return {}


def output_of(args: argparse.Namespace, facts: dict[str, Any]) -> Output:
    """Unfit, OSError."""
    if args.png:
        width, height = args.size
        return Picture(args.png, width, height)
    name = str(facts.get("framebuffer", "")) or "fb0"
    if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", name):
        raise Unfit(f"{name!r} is no framebuffer: correct [display] framebuffer in the board file")
    return Screen(DEV / name, format_of(GRAPHICS / name))


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 160 <= int(width) <= 8_192 and 120 <= int(height) <= 8_192):
        raise argparse.ArgumentTypeError("write it as 800x480")
    return int(width), int(height)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.ui.framebuffer", description="the display without a browser")
    parser.add_argument("--board", type=Path, metavar="FILE", help="the board file: which framebuffer, how large")
    parser.add_argument("--panel", type=Path, default=PANEL, metavar="FILE", help=f"default: {PANEL}")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw into this file instead")
    parser.add_argument("--size", type=size, default=(800, 480), metavar="WxH", help="of --png; default: 800x480")
    args = parser.parse_args(arguments)
    facts = board_facts(args.board) if args.board else {}
    width_mm = facts.get("width_mm", WIDTH_MM)
    try:
        output = output_of(args, facts)
        run(output, float(width_mm), args.panel, clock, lambda: False)
    except (Unfit, RuntimeError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"the screen does not work ({error}): is the user in the group video?", file=sys.stderr)
    return OPERATOR


def clock() -> float:
    return time.monotonic()  # noqa: TID251 - a process of its own; agent/loop.py would bring asyncio


if __name__ == "__main__":
    sys.exit(main())
