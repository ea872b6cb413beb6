"""A display that hangs is started anew; in vain, something else draws; what is told of it is true. Simulated time."""

import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import Clock, ClockSource
from agent.events import PanelTold, PartTold
from agent.panel import ANIMATED
from agent.selftest import is_error
from agent.ui.kiosk import (
    BACK_S,
    FIRST_S,
    NO_KIOSK,
    PROVEN_S,
    QUIET_S,
    SILENT_S,
    STALLED,
    STANDS_IN,
    START_S,
    TRIES,
    UNSEEN,
    UP_MAX_S,
    UP_S,
    Kiosk,
    Ladder,
    Outcome,
    Renderer,
    Show,
    Units,
    ladder_of,
    local_hour,
)
from agent.ui.model import Beat
from tests.play import Play
from tests.test_view import CHARGING, FREE, NOW, station

KIOSK, FRAMEBUFFER = Renderer.KIOSK, Renderer.FRAMEBUFFER


@dataclass
class Display:
    """The two programs, as far as they live: who is started beats after a while, each second, until it hangs."""

    ladder: Ladder = field(default_factory=lambda: ladder_of("browser", 0.0))
    now: float = 0.0
    boots_s: float = 5.0
    hangs: set[Renderer] = field(default_factory=set)  # these never come to draw
    video: str = "playing"
    stands_in: str = "none"  # what the framebuffer has in its place
    is_stalled: bool = False
    calm: bool = False
    hour: int | None = None
    running: Renderer | None = KIOSK
    up_at: float = 0.0
    page: str = "1"  # of the kiosk's browser
    drawn: int = 0
    frames: int = 0
    said: list[tuple[float, Outcome]] = field(default_factory=list)

    def run(self, seconds: float) -> list[Outcome]:
        before, until = len(self.said), self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.drawn += 1
            self.frames += 0 if self.is_stalled else 25
            if self.running and self.running not in self.hangs and self.now >= self.up_at + self.boots_s:
                video = self.stands_in if self.running is FRAMEBUFFER else self.video
                page = self.page if self.running is KIOSK else ""
                beat = Beat(self.drawn, self.frames, video, True, self.running.value, page)  # type: ignore[arg-type]
                self.heard(self.ladder.beat(beat, self.drawn, self.now))
            self.heard(self.ladder.due(self.now, calm=self.calm, hour=self.hour))
        return [each for _, each in self.said[before:]]

    def heard(self, outcome: list[Outcome]) -> None:
        for each in outcome:
            self.said.append((self.now, each))
            if isinstance(each, Show):
                self.running, self.up_at = each.renderer, self.now
                self.page = str(int(self.page) + 1)

    @property
    def starts(self) -> list[tuple[float, Renderer]]:
        return [(at, each.renderer) for at, each in self.said if isinstance(each, Show)]

    @property
    def told(self) -> PanelTold:
        return [each for _, each in self.said if isinstance(each, PanelTold)][-1]

    @property
    def part(self) -> str:
        return [each.problem for _, each in self.said if isinstance(each, PartTold)][-1]


def beside(display: Display, seconds: int, page: str = "") -> None:
    """Somebody else's browser is on the same page, and draws it well."""
    for _ in range(seconds):
        display.run(1)
        beat = Beat(display.drawn, display.drawn * 25, "playing", True, page=page)
        display.heard(display.ladder.beat(beat, display.drawn, display.now))


def test_a_second_browser_on_the_page_hides_no_hung_one() -> None:
    display = Display()
    display.run(60)
    display.hangs = {KIOSK}
    beside(display, 20)
    assert display.told == PanelTold(False, False, UNSEEN) and [who for _, who in display.starts] == [KIOSK]
    beside(display, 200)
    assert display.starts[-1][1] is FRAMEBUFFER and display.part == NO_KIOSK


def test_a_second_browser_proves_nothing_where_no_display_draws() -> None:
    display = Display(hangs={KIOSK, FRAMEBUFFER})
    beside(display, 40)
    assert not any(isinstance(each, PanelTold) for _, each in display.said)


def test_a_browser_that_was_replaced_counts_no_more_when_it_thaws() -> None:
    display = Display()
    display.run(60)
    display.hangs = {KIOSK}
    display.run(20)
    display.hangs = set()
    display.run(30)
    assert display.told.drawn and display.page == "2"
    display.hangs = {KIOSK}
    beside(display, 20, page="1")
    assert not display.told.drawn and len(display.starts) == 2


def test_after_a_restart_of_the_agent_the_page_that_is_there_counts() -> None:
    display = Display()
    display.run(60)
    display.ladder, display.page = ladder_of("browser", display.now), "7"
    display.run(30)
    assert display.told.drawn and not display.starts


def test_where_nobody_is_started_any_page_counts_as_in_development() -> None:
    ladder = ladder_of("", 0.0)
    assert PanelTold(True, False) in ladder.beat(Beat(1, 0, "none", True), 1, 1.0)


def test_a_display_that_draws_and_plays_is_told_so_once() -> None:
    display = Display()
    said = display.run(3_600)
    assert said == [PartTold("Display"), PanelTold(True, False), PanelTold(True, True)]
    assert not display.starts


def test_frames_that_stand_still_are_no_video_and_the_drawn_steps_are_none_either() -> None:
    display = Display()
    display.run(60)
    display.is_stalled = True
    display.run(10)
    assert display.told == PanelTold(True, False, STALLED)
    display.is_stalled = False
    display.run(2)
    assert display.told == PanelTold(True, True)
    display.video = "animation"
    display.run(2)
    assert display.told == PanelTold(True, False, ANIMATED)


def test_while_another_page_stands_in_the_videos_place_what_was_seen_last_holds() -> None:
    display = Display()
    display.run(60)
    display.video = "none"
    display.run(600)
    assert display.told == PanelTold(True, True)


def test_a_browser_that_hangs_is_started_anew_after_fifteen_seconds() -> None:
    display = Display()
    display.run(60)
    display.hangs = {KIOSK}
    display.run(SILENT_S - 2)
    assert not display.starts and display.told.drawn
    display.run(3)
    ((at, what),) = display.starts
    assert what is KIOSK and at <= 60 + SILENT_S + 1 and display.told == PanelTold(False, False, UNSEEN)
    display.hangs = set()
    display.run(20)
    assert display.told == PanelTold(True, True) and display.part == ""


def test_one_that_beats_and_shows_an_old_picture_or_is_hidden_counts_as_silent() -> None:
    for beat in (Beat(3, 0, "playing", True, page="1"), Beat(99, 0, "playing", False, page="1")):
        ladder, starts = ladder_of("browser", 0.0), []
        for second in range(1, 100):
            starts += [e for e in ladder.beat(beat, 99 + second, float(second)) if isinstance(e, Show)]
        assert starts and ladder._good_at < SILENT_S


def test_twice_in_vain_the_framebuffer_stands_in_and_somebody_is_to_mend_it() -> None:
    display = Display()
    display.run(60)
    display.hangs = {KIOSK}
    display.run(300)
    assert [what for _, what in display.starts] == [KIOSK] * TRIES + [FRAMEBUFFER]
    assert display.told == PanelTold(True, False, STANDS_IN) and display.part == NO_KIOSK
    part = next(each for _, each in display.said if isinstance(each, PartTold) and each.problem)
    play = Play().on(part)
    assert is_error(play.station, play.now) and part.code == "display"


def test_after_power_on_the_framebuffer_draws_until_the_browser_does() -> None:
    display = Display(running=FRAMEBUFFER, boots_s=8.0)
    display.run(9)
    assert display.told == PanelTold(True, False, STANDS_IN) and not display.starts
    display.run(30)
    assert display.starts == [(FIRST_S, KIOSK)] and display.told == PanelTold(True, True) and display.part == ""


def test_an_agent_that_begins_anew_leaves_a_browser_alone_that_comes_back() -> None:
    display = Display(boots_s=FIRST_S - 2)
    display.run(600)
    assert not display.starts and display.told.drawn


def test_a_browser_that_never_comes_up_after_power_on_ends_in_the_framebuffer_too() -> None:
    display = Display(hangs={KIOSK})
    display.run(START_S * (TRIES + 2) + 10)
    assert [what for _, what in display.starts] == [KIOSK] * (TRIES + 1) + [FRAMEBUFFER]
    assert display.running is FRAMEBUFFER and display.told.drawn


def test_the_browser_comes_back_when_nobody_reads_and_proves_itself_before_it_is_called_mended() -> None:
    display = Display(hangs={KIOSK})
    display.run(BACK_S + 600)
    assert display.running is FRAMEBUFFER, "somebody is there"
    display.hangs, display.calm = set(), True
    display.run(30)
    assert display.running is KIOSK and display.part == NO_KIOSK
    display.run(60)
    assert display.part == "" and display.told == PanelTold(True, True)


def test_a_browser_that_stays_broken_is_tried_more_and_more_rarely() -> None:
    display = Display(hangs={KIOSK}, calm=True)
    display.run(86_400)
    tries = [at for at, what in display.starts if what is KIOSK][TRIES + 1 :]
    gaps = [late - early for early, late in pairwise(tries)]
    assert gaps == sorted(gaps) and gaps[0] >= BACK_S and len(tries) < 12
    assert display.part == NO_KIOSK and display.running is FRAMEBUFFER


def test_a_board_with_a_framebuffer_alone_starts_that_anew_and_says_so_in_the_end() -> None:
    display = Display(ladder=ladder_of("framebuffer", 0.0), running=FRAMEBUFFER)
    display.run(60)
    assert display.told == PanelTold(True) and display.part == ""
    display.stands_in = "animation"
    display.run(2)
    assert display.told == PanelTold(True, steps=True), "what its start page has in the video's place"
    display.stands_in = "none"
    display.run(2)
    assert display.told == PanelTold(True)
    display.hangs = {FRAMEBUFFER}
    display.run(86_400)
    assert {what for _, what in display.starts} == {FRAMEBUFFER} and len(display.starts) < 80
    assert display.part == UNSEEN and not display.told.drawn
    display.hangs = set()
    display.run(3_600)
    assert display.told.drawn and display.part == ""


def test_a_board_whose_display_nobody_minds_is_told_of_and_never_started() -> None:
    display = Display(ladder=ladder_of("", 0.0))
    display.run(60)
    assert display.told == PanelTold(True, True)
    display.hangs = {KIOSK}
    display.run(86_400)
    assert display.told == PanelTold(False, False, UNSEEN) and not display.starts
    assert not [e for _, e in display.said if isinstance(e, PartTold)]


def test_at_night_the_browser_begins_anew_where_nobody_is_and_a_fresh_one_does_not() -> None:
    display = Display(hour=2)
    display.run(50_000)
    display.hour = 3
    display.run(600)
    assert not display.starts, "a driver is there"
    display.calm = True
    display.run(3_000)
    assert len(display.starts) == 1 and display.told.drawn
    display.hour = 4
    display.run(UP_S)
    assert len(display.starts) == 1


def test_without_a_clock_it_begins_anew_each_day_and_a_station_busy_at_night_by_day() -> None:
    display = Display(calm=True)
    display.run(3 * UP_S + 100)
    assert [round(at / UP_S) for at, _ in display.starts] == [1, 2, 3]
    display = Display(calm=True, hour=12)
    display.run(UP_MAX_S + 10)
    assert len(display.starts) == 1


programs = st.lists(
    st.tuples(
        st.integers(1, 3_000), st.sets(st.sampled_from(Renderer)), st.sampled_from(["playing", "animation", "none"]),
        st.booleans(), st.booleans(), st.none() | st.sampled_from([2, 3, 12]),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=15)
@given(st.sampled_from(["browser", "framebuffer"]), st.floats(0, START_S - 2), programs)
def test_whatever_hangs_starts_are_far_apart_and_what_can_draw_draws_in_the_end(
    drawn_by: str, boots_s: float, story: list[tuple[int, set[Renderer], str, bool, bool, int | None]]
) -> None:
    display = Display(ladder=ladder_of(drawn_by, 0.0), boots_s=boots_s)
    display.running = display.ladder.first
    for seconds, display.hangs, display.video, display.is_stalled, display.calm, display.hour in story:
        display.run(seconds)
    assert all(late - early >= START_S for (early, _), (late, _) in pairwise(display.starts))
    told = [each for _, each in display.said if isinstance(each, PanelTold)]
    assert all(a != b for a, b in pairwise(told)), "edges only"
    hung = {KIOSK} if drawn_by == "browser" else set()
    display.hangs = hung
    display.run(START_S * 2**6 + 200)
    assert display.told.drawn and display.running not in hung
    display.hangs, display.calm, display.hour = set(), True, 12
    display.run(2 * 14_400 + PROVEN_S)
    assert display.running is display.ladder.first and display.part == "" and display.told.drawn


SOME_BEATS = st.tuples(
    st.integers(0, 5), st.integers(0, 50), st.booleans(), st.floats(0, 40), st.sampled_from(["", "a", "b"])
)


@given(st.lists(SOME_BEATS, max_size=60))
def test_a_deadline_is_never_behind_and_any_beats_are_taken(beats: list[tuple[int, int, bool, float, str]]) -> None:
    ladder, now = ladder_of("browser", 0.0), 0.0
    for drawn, frames, visible, later_s, page in beats:
        now += later_s
        ladder.beat(Beat(drawn, frames, "playing", visible, page=page), drawn + frames % 2, now)
        ladder.due(now)
        assert ladder.next_deadline() > now


# -- on the loop ------------------------------------------------------------------------------------------------------


def test_a_start_is_a_file_that_systemd_watches_or_the_operators_command(tmp_path: Path) -> None:
    assert Units(tmp_path, {}).start(KIOSK) == ""
    assert [each.name for each in tmp_path.iterdir()] == ["show-kiosk"]
    mark = tmp_path / "a; b"
    touch = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", str(mark)]
    assert Units(tmp_path, {FRAMEBUFFER: touch}).start(FRAMEBUFFER) == "" and mark.exists()
    assert "cannot be written" in Units(tmp_path / "none", {}).start(KIOSK)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ([sys.executable, "-c", "raise SystemExit('no display')"], "no display"),
        (["/nowhere/at-all"], "did not do it"),
        (["\0"], "did not do it"),
        ([sys.executable, "-c", "import threading; threading.Event().wait()"], "timed out"),
    ],
)
def test_a_command_that_fails_or_hangs_is_a_sentence(
    command: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ui.kiosk.START_TIMEOUT_S", 0.3 if word == "timed out" else 20.0)
    assert word in Units(tmp_path, {KIOSK: command}).start(KIOSK)


def test_a_night_is_the_sites_and_only_an_idle_untouched_station_is_calm(tmp_path: Path) -> None:
    three = datetime(2026, 11, 22, 3, 30, tzinfo=ZoneInfo("America/New_York")).timestamp()
    clock = Clock(wall_s=three, wall_at=NOW, source=ClockSource.NTP)
    there = station(FREE, clock=clock, zone=ZoneInfo("America/New_York"))
    assert local_hour(there, NOW) == 3 and local_hour(replace(there, zone=UTC), NOW) == 8
    assert local_hour(station(FREE, clock=Clock()), NOW) is None

    def starts(facts: object) -> int:
        posted: list[object] = []
        lines: list[str] = []
        ladder = ladder_of("browser", NOW - UP_S)
        aside = lambda job, then: then(job())
        kiosk = Kiosk(ladder, Units(tmp_path, {}), posted.append, aside, lines.append)
        kiosk.beat(Beat(1, 0, "none", True, page="1"), 1, NOW - 1)
        kiosk.due(facts, NOW)  # type: ignore[arg-type]
        assert posted == [PartTold("Display"), PanelTold(True, False)]
        return len(lines)

    assert starts(there) == 1
    assert starts(replace(there, ports=(replace(CHARGING, evse_id=1),))) == 0
    touched = replace(there, panel=replace(there.panel, touched_at=NOW - QUIET_S + 1))
    assert starts(touched) == 0
    assert starts(replace(there, zone=UTC)) == 0
