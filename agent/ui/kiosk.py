"""Whether the display really shows what we say, and what follows when it does not.

The page, and the framebuffer's process, say each second what they have drawn (`Beat`). Of browsers only the one counts
that was started for the display, and was started last: a second one on the same page must not hide that it hangs, nor
prove to an installer that the video plays. `Ladder` is pure: beats and time
in; out come what the core is told (PanelTold, PartTold) and which program is to be started (`Show`). Whoever falls
silent is started anew; when that was twice in vain, the framebuffer stands in, and the kiosk is tried again from time
to time. `Kiosk` is its place on the agent's loop.

The agent has no right to start anything. It writes a file in its own folder in /run, and a path unit of systemd starts
what the file is named after (board/systemd/station-display@.path); or it runs the command that the config file has.
"""

import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from math import inf
from pathlib import Path

from msgspec import Struct

from agent.clock import wall
from agent.events import PanelTold, PartTold
from agent.hal.device import Aside
from agent.hardware import is_read
from agent.panel import ANIMATED
from agent.station import Station
from agent.ui.model import Beat

SILENT_S = 15.0  # without a beat that counts
STALL_S = 5.0  # without a new frame the video stands still
FIRST_S = 10.0  # a page that is there already comes back so soon after a start of the agent
START_S = 45.0  # until the first beat of what has just been started: a browser on a small board, cold
TRIES = 2  # starts in vain, then the other one
PROVEN_S = 300.0  # of good beats: what went wrong before is forgotten
TRIAL_S = 60.0  # of good beats: a kiosk that was tried again stays
BACK_S, BACK_MAX_S = 900.0, 14_400.0  # the kiosk is tried again so long after, each time in vain twice as long
NIGHT = 3  # o'clock at the site: browsers grow, so they begin anew
NIGHT_UP_S, UP_S, UP_MAX_S = 43_200.0, 86_400.0, 129_600.0  # not younger at night; older without a clock; by day, too
QUIET_S = 600.0  # nobody has touched the display
START_TIMEOUT_S = 30.0
PAGES_MAX = 16
PART = "Display"  # component name


class Renderer(StrEnum):
    """Who draws. The value is the name of its unit, station-….service."""

    KIOSK = "kiosk"
    FRAMEBUFFER = "framebuffer"


class Show(Struct, frozen=True):
    """Have this one begin anew; systemd ends the other one."""

    renderer: Renderer
    why: str


Outcome = Show | PanelTold | PartTold

UNSEEN = "Nothing draws the screen."
STALLED = "The instructional video stands still."
STANDS_IN = "The screen is drawn by the stand-in, which plays no video."
NO_KIOSK = "The display's browser does not run: a stand-in draws the screen."
FIX = "Type journalctl -u station-kiosk -u station-framebuffer; look at the display's cable and the memory."


class Ladder:
    """`first` draws unless it fails; `other` stands in for it. Without `first` nobody is started: beats are told."""

    def __init__(self, first: Renderer | None, other: Renderer | None, now: float) -> None:
        self.first, self.other = first, other
        self.shown = first  # who is to draw now
        self.tries = -1  # the first start, after power-on, is none; below 0 nothing has ever been drawn
        self._started_at = now - START_S + FIRST_S
        self._seen_at = -inf  # the newest beat that shows our newest picture, whosever it is
        self._good_at = -inf  # of the one that is to draw
        self._good_since = inf
        self._frames, self._frames_at = -1, -inf
        self._drawn_id = -1
        self._page, self._pages_before = "", deque[str](maxlen=PAGES_MAX)  # of the kiosk's browser, and of those before
        self._back_s, self._back_at = BACK_S, inf
        self._is_trial = False
        self._told: PanelTold | None = None
        self._part: str | None = None  # the problem as told; None: nothing yet
        self._video, self._steps, self._problem = False, False, ""

    # -- in -----------------------------------------------------------------------------------------------------------

    def beat(self, beat: Beat, newest: int, now: float) -> list[Outcome]:
        """`newest`: the id of the newest snapshot that we have sent."""
        if self.first and beat.by == "kiosk" and not self._is_own(beat.page):
            return self.due(now)
        is_current = beat.drawn == newest or beat.drawn > self._drawn_id
        self._drawn_id = beat.drawn
        if beat.visible and is_current:
            self._seen_at = now
            self._see(beat, now)
            if self.shown in (None, beat.by):
                if now >= self._good_at + SILENT_S or self._good_since == inf:
                    self._good_since = now
                self._good_at = now
        return self.due(now)

    def _is_own(self, page: str) -> bool:
        """Whoever is new has been started last."""
        if not page or page in self._pages_before:
            return False
        if page != self._page:
            self._pages_before.append(self._page)
            self._page = page
        return True

    def due(self, now: float, *, calm: bool = False, hour: int | None = None) -> list[Outcome]:
        """`calm`: nobody reads the display, nobody has touched it for a while. `hour` at the site, if it is known."""
        out: list[Outcome] = []
        if self.first:
            self._climb(now, out, calm=calm, hour=hour)
        self._tell(now, out)
        return out

    def next_deadline(self) -> float:
        """Falling silent; what waits for a calm hour is seen when somebody asks anyway."""
        silent_at = self._seen_at + SILENT_S if self._told is not None and self._told.drawn else inf
        if not self.first:
            return silent_at
        return min(silent_at, max(self._good_at + SILENT_S, self._judged_at()))

    # -- who draws ----------------------------------------------------------------------------------------------------

    def _judged_at(self) -> float:
        """From then on silence counts."""
        patience_s = START_S * (1 << max(0, min(self.tries - TRIES, 5)))
        return max(self._good_at + SILENT_S, self._started_at + patience_s)

    def _is_good(self, now: float) -> bool:
        return self._good_at >= self._started_at and now < self._good_at + SILENT_S

    def _climb(self, now: float, out: list[Outcome], *, calm: bool, hour: int | None) -> None:
        if self._is_good(now):
            self.tries = max(self.tries, 0)
            self._proven(now, out)
            if calm and self._is_old(now, hour):
                self._start(self.shown, "it begins anew each night", now, out)
            elif calm and self.shown is not self.first and now >= self._back_at:
                self._is_trial = True
                self._start(self.first, "it is tried again", now, out)
        elif now >= self._judged_at():
            self._silent(now, out)

    def _silent(self, now: float, out: list[Outcome]) -> None:
        if self.shown is self.first and self.other and (self._is_trial or self.tries >= TRIES):
            self._part_told(NO_KIOSK, out)
            self._back_at = now + self._back_s
            self._back_s = min(2 * self._back_s, BACK_MAX_S)
            self._is_trial = False
            return self._start(self.other, "the other one does not draw", now, out)
        why = "nothing draws yet" if self.tries < 0 else f"nothing drawn since {now - self._good_at:.0f} s"
        self.tries += 1
        if self.tries > TRIES:
            self._part_told(UNSEEN, out)
        if self.shown is not self.first and now >= self._back_at:  # neither draws: each has its turn
            self._is_trial = True
            return self._start(self.first, "nothing else draws either", now, out)
        return self._start(self.shown, why, now, out)

    def _proven(self, now: float, out: list[Outcome]) -> None:
        good_s = now - max(self._good_since, self._started_at)
        if (self._is_trial or self._part) and good_s < TRIAL_S:
            return
        self._is_trial = False
        if self.shown is self.first:
            self._part_told("", out)
        elif self._part == UNSEEN:
            self._part_told(NO_KIOSK, out)
        if good_s >= PROVEN_S:
            self.tries = 0
            if self.shown is self.first:
                self._back_s = BACK_S

    def _is_old(self, now: float, hour: int | None) -> bool:
        up_s = now - self._started_at
        if self.shown is not Renderer.KIOSK:
            return False
        if hour == NIGHT:
            return up_s >= NIGHT_UP_S
        return up_s >= (UP_S if hour is None else UP_MAX_S)

    def _start(self, renderer: Renderer | None, why: str, now: float, out: list[Outcome]) -> None:
        assert renderer
        if renderer is not self.shown:
            self._video, self._problem, self.tries = False, "", 0
        self.shown, self._started_at, self._good_since = renderer, now, inf
        self._frames, self._frames_at = -1, -inf
        out.append(Show(renderer, why))

    def _part_told(self, problem: str, out: list[Outcome]) -> None:
        if problem != self._part:
            self._part = problem
            out.append(PartTold(PART, problem, FIX, "display") if problem else PartTold(PART))

    # -- what is seen -------------------------------------------------------------------------------------------------

    def _see(self, beat: Beat, now: float) -> None:
        """While the video's place is taken by something else, what was seen of it last holds."""
        if beat.by == "framebuffer":
            is_all_there_is = self.first is Renderer.FRAMEBUFFER  # a board without a browser has no video to play
            self._steps = is_all_there_is and beat.video == "animation"
            self._video, self._problem = False, "" if is_all_there_is else STANDS_IN
        elif beat.video == "animation":
            self._video, self._problem = False, ANIMATED
        elif beat.video == "playing":
            if beat.frames != self._frames:
                if self._frames >= 0:
                    self._video, self._problem = True, ""
                self._frames, self._frames_at = beat.frames, now
            elif now >= self._frames_at + STALL_S:
                self._video, self._problem = False, STALLED

    def _tell(self, now: float, out: list[Outcome]) -> None:
        is_drawn = now < self._seen_at + SILENT_S
        if self._told is None and not is_drawn:
            return  # nothing has been heard yet
        told = PanelTold(True, self._video, self._problem, self._steps) if is_drawn else PanelTold(False, False, UNSEEN)
        if told != self._told:
            self._told = told
            out.append(told)


# -- on the loop ------------------------------------------------------------------------------------------------------


class Units:
    """Has a renderer started; from a thread of its own, for it may take its time."""

    def __init__(self, folder: Path, commands: Mapping[Renderer, Sequence[str]]) -> None:
        self._folder, self._commands = folder, commands

    def start(self, renderer: Renderer) -> str:
        """What went wrong, as a sentence; "" is no promise that anything is drawn: a beat is."""
        if command := self._commands.get(renderer):
            return self._run(command)
        path = self._folder / f"show-{renderer}"
        try:
            path.write_text("show\n")
        except OSError as error:
            return f"{path} cannot be written ({error.strerror})"
        return ""

    def _run(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=START_TIMEOUT_S, check=False, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return f"{command[0]} did not do it: {error}"[:300]
        said = done.stderr.decode(errors="replace").strip()
        return f"{command[0]} ended with {done.returncode}: {said}"[:300] if done.returncode else ""


class Kiosk:
    """`due` is called in every turn of the loop."""

    def __init__(
        self, ladder: Ladder, units: Units, post: Callable[[object], None], aside: Aside, log: Callable[[str], None]
    ) -> None:
        self._ladder, self._units, self._post, self._aside, self._log = ladder, units, post, aside, log

    def beat(self, beat: Beat, newest: int, now: float) -> None:
        self._perform(self._ladder.beat(beat, newest, now))

    def due(self, station: Station, now: float) -> None:
        calm = not is_read(station) and now >= station.panel.touched_at + QUIET_S
        self._perform(self._ladder.due(now, calm=calm, hour=local_hour(station, now) if calm else None))

    def next_deadline(self) -> float:
        return self._ladder.next_deadline()

    def _perform(self, outcome: Sequence[Outcome]) -> None:
        for each in outcome:
            match each:
                case Show(renderer=renderer, why=why):
                    self._log(f"display: {renderer} is started: {why}")
                    self._aside(partial(self._units.start, renderer), self._started)
                case _:
                    self._post(each)

    def _started(self, problem: str) -> None:
        if problem:
            self._log(f"display: {problem}")


def local_hour(station: Station, now: float) -> int | None:
    now_s = wall(station.clock, now)
    return None if now_s is None else datetime.fromtimestamp(now_s, station.zone).hour


def ladder_of(drawn_by: str, now: float) -> Ladder:
    """From the board's [display] drawn_by."""
    match drawn_by:
        case "browser":
            return Ladder(Renderer.KIOSK, Renderer.FRAMEBUFFER, now)
        case "framebuffer":
            return Ladder(Renderer.FRAMEBUFFER, None, now)
    return Ladder(None, None, now)
