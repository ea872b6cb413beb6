"""Lights through /sys/class/leds. The kernel blinks: a pattern goes on when the agent hangs or dies, and costs nothing.

A light is one folder a colour (`red`, `green` …), or one `multicolour` folder. Where the colour asked for is missing,
the rhythm speaks with what there is. The kernel's trigger `pattern` plays every rhythm; a kernel without it has `timer`
for those of one on and one off; for the rest the light stands still, and a DeviceFailed says what to type.

An ordinary LED is set in microseconds; one behind I2C may hang its writer, so all writing is an errand (device.py).
"""

from collections.abc import Callable, Container, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from agent.hal.device import SYSFS_PERMIT, Aside, Errand, Name, Post, Presence, Sysfs, SysName, sentence
from agent.ui.led import Colour, Pattern

FOLDER = Path("/sys/class/leds")
ERROR_LED = "error"  # the light that is lit while something stands that somebody must mend
CHECK_S = 10.0  # whether a light still is as it was set: a driver that was reloaded starts dark

MIX: dict[Colour, tuple[str, ...]] = {
    Colour.RED: ("red",),
    Colour.GREEN: ("green",),
    Colour.BLUE: ("blue",),
    Colour.YELLOW: ("red", "green"),
    Colour.WHITE: ("red", "green", "blue"),
}


class LedFacts(Struct, frozen=True):
    """[[led]]: a light by the name that [[port]] led has, or `error`, and its folders in /sys/class/leds."""

    name: Name
    red: SysName = ""
    green: SysName = ""
    blue: SysName = ""
    white: SysName = ""
    multicolour: SysName = ""
    brightness_percent: Annotated[int, Meta(ge=1, le=100)] = 100

    def __post_init__(self) -> None:
        if bool(self.multicolour) == bool(self.single):
            raise ValueError(f"{self.name}: name a folder a colour (red, green, blue, white), or one multicolour")
        if len(set(self.single.values())) < len(self.single):
            raise ValueError(f"{self.name}: two colours share a folder: a light of several colours is multicolour")

    @property
    def single(self) -> dict[str, str]:
        """Folder by colour."""
        each = {"red": self.red, "green": self.green, "blue": self.blue, "white": self.white}
        return {colour: folder for colour, folder in each.items() if folder}


def lit(colour: Colour, channels: Iterable[str]) -> set[str]:
    """Which of the channels make this colour, or come nearest to it; never none, for dark says nothing."""
    have = list(channels)
    if colour is Colour.WHITE and "white" in have:
        return {"white"}
    return {channel for channel in MIX[colour] if channel in have} or set(have[:1])


def writes(pattern: Pattern | None, level: int, trigger: str) -> list[tuple[str, str]]:
    """Files and texts that make a folder under this trigger show the rhythm at this brightness; None: dark."""
    rhythm_ms = [round(step * 1000) for step in pattern.rhythm_s] if pattern else []
    if trigger == "pattern":
        return [("pattern", pattern_text(rhythm_ms or [1000], level if pattern else 0))]
    if trigger == "timer":
        return [("brightness", str(level)), ("delay_on", str(rhythm_ms[0])), ("delay_off", str(rhythm_ms[1]))]
    return [("brightness", str(level if pattern else 0))]


def trigger_for(pattern: Pattern | None, triggers: Container[str]) -> str:
    """`pattern` even for what stands still, where the kernel has it: a trigger's files are made anew with it and are
    root's, so it is set once."""
    if "pattern" in triggers:
        return "pattern"
    return "timer" if pattern and len(pattern.rhythm_s) == 2 and "timer" in triggers else "none"


def pattern_text(rhythm_ms: Iterable[int], level: int) -> str:
    """Kernel's leds-trigger-pattern: each level twice, the second time for 0 ms, or it would fade to the next one."""
    steps = ((level if i % 2 == 0 else 0, ms) for i, ms in enumerate(rhythm_ms))
    return " ".join(f"{at} {ms} {at} 0" for at, ms in steps)


class LightError(Exception):
    """The light does not work, or not as it should; the text says what to do."""


class Lamp:
    """One light, written from whatever thread runs the errand. LightError."""

    def __init__(self, facts: LedFacts, folder: Path, sysfs: Sysfs) -> None:
        self.facts = facts
        self._folder, self._sysfs = folder, sysfs
        self._set: dict[str, str] = {}  # folder: the trigger that we set

    def show(self, pattern: Pattern | None) -> None:
        can_blink = True
        for name, (one, channels) in self._split(pattern).items():
            at = self._folder / name
            if channels:
                self._colour(at, channels)
            level = max(1, self._number(at / "max_brightness") * self.facts.brightness_percent // 100)
            triggers = self._read(at / "trigger")
            trigger = trigger_for(one, triggers.replace("[", "").replace("]", "").split())
            if f"[{trigger}]" not in triggers:
                self._write(at / "trigger", trigger)
            for file, text in writes(one, level, trigger):
                self._write(at / file, text)
            self._set[name] = trigger
            can_blink &= trigger != "none" or one is None or not one.rhythm_s
        if not can_blink:
            raise LightError(f"the light {self.facts.name} cannot blink: type modprobe ledtrig-pattern")

    def is_as_set(self) -> bool:
        """False where somebody else has changed it, or a driver has begun anew."""
        return all(f"[{trigger}]" in self._read(self._folder / name / "trigger") for name, trigger in self._set.items())

    def _split(self, pattern: Pattern | None) -> dict[str, tuple[Pattern | None, set[str]]]:
        """What each folder shows, and for a multicolour one with which channels."""
        if name := self.facts.multicolour:
            channels = self._read(self._folder / name / "multi_index").split()
            return {name: (pattern, lit(pattern.colour, channels) if pattern else set())}
        shown = lit(pattern.colour, self.facts.single) if pattern else set()
        return {name: (pattern if colour in shown else None, set()) for colour, name in self.facts.single.items()}

    def _colour(self, at: Path, channels: set[str]) -> None:
        full = str(self._number(at / "max_brightness"))
        order = self._read(at / "multi_index").split()
        self._write(at / "multi_intensity", " ".join(full if channel in channels else "0" for channel in order))

    def _number(self, path: Path) -> int:
        text = self._read(path)
        if not (text.isdecimal() and len(text) < 10):
            raise LightError(f"{path} says {text[:20]!r} where a number should be: this is no light")
        return int(text)

    def _read(self, path: Path) -> str:
        try:
            return self._sysfs.read(path)
        except OSError as error:
            raise LightError(sentence(error, str(path), SYSFS_PERMIT)) from None

    def _write(self, path: Path, text: str) -> None:
        try:
            self._sysfs.write(path, text)
        except OSError as error:
            raise LightError(sentence(error, str(path), SYSFS_PERMIT)) from None


class Leds:
    """The lights of a board. `show` takes the whole wish, as often as you like; only what differs is written."""

    def __init__(
        self, facts: Iterable[LedFacts], post: Post, aside: Aside, now: Callable[[], float],
        *, folder: Path = FOLDER, sysfs: Sysfs | None = None,
    ) -> None:  # fmt: skip
        self.lamps = {each.name: Lamp(each, folder, sysfs or Sysfs()) for each in facts}
        self.presences = {name: Presence(f"light {name}", post) for name in self.lamps}
        self._now = now
        self._errand = Errand(aside)
        self._wished: dict[str, Pattern | None] = {}  # None: dark
        self._shown: dict[str, Pattern | None] = {}
        self._check_at = inf

    def show(self, wishes: Mapping[str, Pattern | None], now: float) -> None:
        """By the light's name. A light that has not been wished yet is left alone."""
        self._wished |= {name: pattern for name, pattern in wishes.items() if name in self.lamps}
        self.due(now)

    def due(self, now: float) -> None:
        if self._errand.is_out:
            if self._errand.hangs(now):
                for name in self._wished:
                    self.presences[name].failed(f"the light {name} does not answer: look at its bus and supply", now)
            return
        check = now >= self._check_at
        todo = {name: pattern for name, pattern in self._wished.items() if self._is_due(name, now) or check}
        if todo:
            if check or self._check_at == inf:  # a light that is tried again puts off nobody's check
                self._check_at = now + CHECK_S
            self._errand.go(lambda: self._do(todo, check), self._done, now)

    def next_deadline(self) -> float:
        """An errand that is out ends with `_done`, which looks at the wish again."""
        if self._errand.is_out:
            hangs_at = self._errand.next_deadline()
            return inf if self._errand.hangs(self._now()) else hangs_at
        retries = [self.presences[name].retry_at for name in self._wished if self.presences[name].why]
        return min([self._check_at, *retries])

    def close(self) -> None:
        """The lights stay as they are: a pattern that blinks on says more than the dark."""

    def _is_due(self, name: str, now: float) -> bool:
        presence = self.presences[name]
        if presence.why:
            return now >= presence.retry_at
        return name not in self._shown or self._shown[name] != self._wished[name]

    def _do(self, todo: Mapping[str, Pattern | None], check: bool) -> dict[str, tuple[Pattern | None, str]]:
        """Elsewhere: what was shown, and what was wrong with it."""
        done = {}
        for name, pattern in todo.items():
            lamp, problem = self.lamps[name], ""
            try:
                if not check or name not in self._shown or self._shown[name] != pattern or not lamp.is_as_set():
                    lamp.show(pattern)
            except LightError as error:
                problem = str(error)
            done[name] = (pattern, problem)
        return done

    def _done(self, done: Mapping[str, tuple[Pattern | None, str]]) -> None:
        now = self._now()
        for name, (pattern, problem) in done.items():
            if problem:
                self._shown.pop(name, None)
                self.presences[name].failed(problem, now)
            else:
                self._shown[name] = pattern
                self.presences[name].worked(now)
        if any(self._is_due(name, now) for name in self._wished):  # the wish has changed meanwhile
            self.due(now)
