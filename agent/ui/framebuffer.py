"""The display without a browser: `python -m agent.ui.framebuffer`, a process of its own (Pillow, no web engine).

It draws what the page would (`drawing.py`) on a Linux framebuffer: from power-on until the browser is up, instead of it
on small boards, and when it hangs (`kiosk.py`). It reads the panel's events on loopback like any page, and proves by
the same beat that it draws. While the agent cannot be asked it says that the station starts, or starts again. Keys are
the agent's own (agent/hal/keys.py), so nothing is pressed here.

Of the agent it imports what draws, and no more: 30 MB in all.
"""

import argparse
import http.client
import json
import os
import queue
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

from PIL import Image, ImageChops

from agent.ui.drawing import RESTARTING, STARTING, decoded, draw, waiting
from agent.ui.fonts import Fonts

PANEL = Path("/run/station-agent/panel.url")
GRAPHICS, DEV = Path("/sys/class/graphics"), Path("/dev")
ADDRESS = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})/(?:#([A-Za-z0-9_-]{0,100}))?\s*\Z")
BEAT_S = 1.0
SILENT_S = 3.0  # without a word of the agent, which says one each second (agent/ui/web.py), it is restarting
AGAIN_S = 1.0
LINE_MAX = 1 << 20  # bytes of one event; a screen has a few thousand
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


# -- what the agent says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    port: int
    token: str  # lets beat; without it the picture is drawn all the same


def address(panel: Path) -> Address | None:
    """None while the agent has not said where its panel is."""
    with suppress(OSError):
        if found := ADDRESS.match(panel.read_text(encoding="ascii", errors="replace")[:300]):
            return Address(int(found[1]), found[2] or "")
    return None


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot: its id, and the screen as the panel spells it."""

    id: int
    screen: bytes


def snapshots(lines: Iterator[bytes]) -> Iterator[Shown | None]:
    """Server-sent events (WHATWG HTML §9.2.6) as the panel makes them; None is a sign of life. What is no snapshot is
    passed over."""
    id_, data = 0, b""
    for line in lines:
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"id" if value.isdigit() and len(value) < 16:
                id_ = int(value)
            case b"data" if len(data) + len(value) <= LINE_MAX:
                data += value
            case b"":
                if data:
                    yield Shown(id_, data)
                elif not value:
                    yield None
                data = b""


def screen_in(data: bytes) -> Any:
    """The model, or None where the data is none."""
    try:
        message = decoded(data)
        return getattr(message, "screen", None)
    except (ValueError, TypeError, RecursionError):
        return None


class Line:
    """A connection to the panel that is made anew whenever it ends, in a thread of its own. `news` gets what came:
    (address, Shown), or None when the agent cannot be asked."""

    def __init__(self, panel: Path) -> None:
        self.news: queue.Queue[tuple[Address, Shown] | None] = queue.Queue(maxsize=8)
        self._panel = panel
        self._stopped = Event()

    def start(self) -> None:
        Thread(target=self._run, name="line", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if at := address(self._panel):
                with suppress(OSError, http.client.HTTPException):
                    self._listen(at)
            self.news.put(None)
            self._stopped.wait(AGAIN_S)

    def _listen(self, at: Address) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=SILENT_S)
        try:
            connection.request("GET", "/events", headers={"accept": "text/event-stream"})
            answer = connection.getresponse()
            if answer.status != 200:
                return
            for shown in snapshots(iter(lambda: answer.readline(LINE_MAX + 1), b"")):
                if self._stopped.is_set():
                    return
                if shown:
                    self.news.put((at, shown))
        finally:
            connection.close()


class Beater:
    """Says to the agent what is drawn, as the page does. Never raises: an agent that is away hears nothing."""

    def __init__(self) -> None:
        self._at: Address | None = None
        self._cookie = ""

    def say(self, at: Address, path: str, facts: dict[str, Any]) -> None:
        if not at.token:
            return
        with suppress(OSError, http.client.HTTPException):
            if at != self._at or not self._cookie:
                self._cookie = self._post(at, "/api/session", {"token": at.token}).partition(";")[0]
                self._at = at
            if self._cookie:
                self._post(at, path, facts)

    def _post(self, at: Address, path: str, facts: dict[str, Any]) -> str:
        """The cookie that is set, if one is. A refusal makes us show the token again."""
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=BEAT_S)
        headers = {
            "content-type": "application/json", "origin": f"http://127.0.0.1:{at.port}", "cookie": self._cookie,
        }  # fmt: skip
        try:
            connection.request("POST", path, json.dumps(facts), headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                self._cookie = ""
            return answer.getheader("set-cookie", "")
        finally:
            connection.close()


# -- all of it --------------------------------------------------------------------------------------------------------


class Renderer:
    """What to draw: the newest screen, or that nobody can be asked."""

    def __init__(self, output: Output, width_mm: float, fonts: Fonts) -> None:
        self._output, self._width_mm, self._fonts = output, width_mm, fonts
        self._newest: Any = None  # the model, as last shown
        self._data = b""  # of what is shown; b"" while that is no screen
        self._is_waiting = False
        self.screenfuls = 1

    def waiting(self) -> None:
        """The agent cannot be asked: it starts, or starts again; then in the language that was last on the screen."""
        if self._is_waiting:
            return
        self._is_waiting, self._data = True, b""
        words = getattr(self._newest, "words", None)
        lost = getattr(words, "lost", "")
        texts = (lost,) if lost else RESTARTING if self._newest else STARTING
        rtl = getattr(self._newest, "direction", "ltr") == "rtl"
        self._output.show(waiting(texts, *self._size, rtl=rtl).image)

    def screen(self, data: bytes) -> bool:
        """Whether this was a screen; one that is there already costs nothing."""
        if data == self._data:
            return True
        model = screen_in(data)
        if model is None:
            return False
        self._newest, self._data, self._is_waiting = model, data, False
        drawn = draw(model, *self._size)
        self.screenfuls = drawn.screenfuls
        self._output.show(drawn.image)
        return True

    @property
    def told_screenfuls(self) -> int:
        """As the agent knows them."""
        return int(getattr(self._newest, "screenfuls", self.screenfuls)) if self._newest else 1

    @property
    def _size(self) -> tuple[int, int, float, Fonts]:
        return self._output.width, self._output.height, self._width_mm, self._fonts


def run(output: Output, width_mm: float, line: Line, now: Callable[[], float], ends: Callable[[], bool]) -> None:
    """Draw until it ends. OSError when the screen is gone."""
    renderer, beater = Renderer(output, width_mm, Fonts()), Beater()
    renderer.waiting()
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
            elif renderer.screen(news[1].screen):
                at, drawn = news[0], news[1].id
        if now() >= beat_at:
            beat_at = now() + BEAT_S
            if at:
                beater.say(at, "/api/beat", {
                    "drawn": drawn, "frames": 0, "video": "none", "visible": True, "by": "framebuffer",
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
        run(output, float(width_mm), Line(args.panel), clock, lambda: False)
    except (Unfit, RuntimeError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"the screen does not work ({error}): is the user in the group video?", file=sys.stderr)
    return OPERATOR


def clock() -> float:
    return time.monotonic()  # noqa: TID251 - a process of its own; agent/loop.py would bring asyncio


if __name__ == "__main__":
    sys.exit(main())
