"""The display's light, and what kind of screen it is. What is drawn is the browser's; nothing is drawn here.

The backlight burns while somebody may read it: bright after a touch or while something happens, then dim, then dark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.events import ScreenLit
from agent.hal.device import SYSFS_PERMIT, Aside, Errand, Post, Presence, Sysfs, SysName, sentence

BACKLIGHTS, GRAPHICS = Path("/sys/class/backlight"), Path("/sys/class/graphics")
CHECK_S = 10.0  # whether it still is as set: a driver that was reloaded starts at its own level
POWER_ON, POWER_OFF = "0", "4"  # FB_BLANK_UNBLANK, FB_BLANK_POWERDOWN of linux/fb.h
PIXELS_MAX = 16_384

Pixels = Annotated[int, Meta(ge=160, le=PIXELS_MAX)]
Percent = Annotated[int, Meta(ge=0, le=100)]
WaitS = Annotated[int, Meta(ge=0, le=86_400)]


class DisplayFacts(Struct, frozen=True):
    """[display]: folders in /sys/class/backlight and /sys/class/graphics, "" where there is none.

    Its size in millimetres decides how many pixels a letter gets: capitals have 4.8 mm at least.
    """

    backlight: SysName = ""
    framebuffer: SysName = ""
    width_px: Pixels = 800
    height_px: Pixels = 480
    width_mm: Annotated[int, Meta(ge=50, le=1_000)] = 154  # of what lights up; 7 inch
    drawn_by: Literal["", "browser", "framebuffer"] = ""  # whom the agent keeps drawing; "": nobody (agent/ui/kiosk.py)
    bright_percent: Annotated[int, Meta(ge=1, le=100)] = 100
    dim_percent: Percent = 20
    dim_after_s: WaitS = 60  # without a touch while nothing happens; 0: never
    dark_after_s: WaitS = 0  # 0: never

    def __post_init__(self) -> None:
        if self.dim_percent > self.bright_percent:
            raise ValueError("dim_percent is brighter than bright_percent: type less")
        if 0 < self.dark_after_s < self.dim_after_s:
            raise ValueError("dark_after_s comes before dim_after_s: type more, or 0 for never")


def level_percent(facts: DisplayFacts, active_at: float, now: float) -> int:
    """What the backlight should be at, if the last touch or happening was at `active_at`."""
    idle_s = now - active_at
    if 0 < facts.dark_after_s <= idle_s:
        return 0
    return facts.dim_percent if 0 < facts.dim_after_s <= idle_s else facts.bright_percent


def next_level_at(facts: DisplayFacts, active_at: float, now: float) -> float:
    """When `level_percent` changes next if nothing happens."""
    steps = (active_at + after_s for after_s in (facts.dim_after_s, facts.dark_after_s) if after_s)
    return min((at for at in steps if at > now), default=inf)


@dataclass(frozen=True, slots=True)
class Framebuffer:
    driver: str
    width: int
    height: int
    bits_per_pixel: int
    stride: int  # bytes a row


def framebuffer(facts: DisplayFacts, folder: Path = GRAPHICS, sysfs: Sysfs | None = None) -> Framebuffer | str:
    """What the screen is, or a sentence about what is wrong."""
    at, sysfs = folder / facts.framebuffer, sysfs or Sysfs()
    try:
        size = sysfs.read(at / "virtual_size").split(",")
        numbers = [*size, sysfs.read(at / "bits_per_pixel"), sysfs.read(at / "stride")]
        driver = sysfs.read(at / "name")
    except OSError as error:
        return sentence(error, f"the screen {at}", SYSFS_PERMIT)
    if len(numbers) != 4 or not all(number.isdecimal() and len(number) <= 6 for number in numbers):
        return f"the screen {at} says {', '.join(numbers)[:40]!r} of its size: this is no framebuffer"
    width, height, depth, stride = map(int, numbers)
    if not (0 < width <= PIXELS_MAX and 0 < height <= PIXELS_MAX and depth in (1, 8, 16, 24, 32)):
        return f"the screen {at} has {width} × {height} pixels of {depth} bits, which cannot be: look at its driver"
    return Framebuffer(driver[:32], width, height, depth, stride)


class Backlight:
    """`active` whenever somebody touches the screen or something happens that should be read. When it goes out or on, a
    ScreenLit says so."""

    def __init__(
        self, facts: DisplayFacts, post: Post, aside: Aside, now: Callable[[], float],
        *, folder: Path = BACKLIGHTS, sysfs: Sysfs | None = None,
    ) -> None:  # fmt: skip
        self.facts = facts
        self.presence = Presence("backlight", post)
        self._post = post
        self._now, self._at, self._sysfs = now, folder / facts.backlight, sysfs or Sysfs()
        self._errand = Errand(aside)
        self._active_at = now()
        self._shown: int | None = None
        self._is_lit = True  # as told: whoever restarts us finds it bright
        self._check_at = -inf if facts.backlight else inf

    def active(self, now: float) -> None:
        self._active_at = now
        self.due(now)

    def due(self, now: float) -> None:
        if not self.facts.backlight:
            return
        if self._errand.is_out:
            if self._errand.hangs(now):
                self.presence.failed("the backlight does not answer: look at its bus and supply", now)
            return
        level = level_percent(self.facts, self._active_at, now)
        if now >= min(self._check_at, self.presence.retry_at) or (level != self._shown and not self.presence.why):
            self._check_at = now + CHECK_S
            self._errand.go(lambda: self._set(level), self._done, now)

    def next_deadline(self) -> float:
        if self._errand.is_out:
            return inf if self._errand.hangs(self._now()) else self._errand.next_deadline()
        if not self.facts.backlight:
            return inf
        now = self._now()
        return min(self._check_at, self.presence.retry_at, next_level_at(self.facts, self._active_at, now))

    def close(self) -> None:
        """It stays as it is."""

    def _set(self, level: int) -> tuple[int, str]:
        """Elsewhere. Written only where it differs: some backlights flicker when they are told anew."""
        try:
            full = self._sysfs.read(self._at / "max_brightness")
            if not full.isdecimal() or len(full) > 9:
                return level, f"{self._at} says {full[:20]!r} of its brightness: this is no backlight"
            raw = str(max(1, int(full) * level // 100) if level else 0)
            for file, text in (("brightness", raw), ("bl_power", POWER_ON if level else POWER_OFF)):
                if self._sysfs.read(self._at / file) != text:
                    self._sysfs.write(self._at / file, text)
        except OSError as error:
            return level, sentence(error, str(self._at), SYSFS_PERMIT)
        return level, ""

    def _done(self, done: tuple[int, str]) -> None:
        now = self._now()
        self._shown, problem = done
        if problem:
            self.presence.failed(problem, now)
        else:
            self.presence.worked(now)
            self._tell(is_lit=bool(self._shown))
            self.due(now)  # somebody may have touched it meanwhile

    def _tell(self, *, is_lit: bool) -> None:
        if is_lit != self._is_lit:
            self._is_lit = is_lit
            self._post(ScreenLit(is_lit))
