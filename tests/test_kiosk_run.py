"""A real browser on the real page: what it proves by its beat, and how it comes back when it hangs."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

from agent.app import panel_of
from agent.board import load_config
from agent.events import PanelTold, PartTold
from agent.loop import monotonic
from agent.station import Station as Facts
from agent.ui import kiosk as module
from agent.ui import video
from agent.ui.catalogues import load_says
from agent.ui.kiosk import NO_KIOSK, STANDS_IN, Kiosk, Renderer, Units, ladder_of
from agent.ui.model import Beat
from agent.ui.view import screen
from agent.ui.web import Panel
from tests.process import started_box, until, write_files
from tests.test_together import Running
from tests.test_view import FREE, NOW, station

ROOT = Path(__file__).parent.parent
CHROMIUM = [
    "/usr/bin/chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required", "--disable-component-update", "--disable-background-networking",
]  # fmt: skip
COG = ["/usr/bin/cog", "--platform=headless", "--webprocess-failure=restart"]
UNIT = '''"""As much of systemd as the two units need: who is started ends both, and has a group of its own."""
import json, os, signal, subprocess, sys
from pathlib import Path
folder, which = Path(sys.argv[1]), sys.argv[2]
for file in folder.glob("*.pid"):
    try:
        os.killpg(int(file.read_text()), signal.SIGKILL)
    except ProcessLookupError:
        pass
    file.unlink()
command = json.loads((folder / f"{which}.json").read_text())
log = open(folder / f"{which}.log", "ab")
child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
(folder / f"{which}.pid").write_text(str(child.pid))
'''


class Station:
    """Panel and ladder in real time, and a unit command that starts the real programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[object] = []
        self.lines: list[str] = []
        self._beats: SimpleQueue[Beat] = SimpleQueue()
        self.beside = 0  # beats of a second browser
        self.other: subprocess.Popen[bytes] | None = None
        model = screen(station(FREE, FREE), NOW, load_says())
        film = video.chosen(folder / "none", self.lines.append)
        self.panel = Panel(lambda: model, 0, beat=self._beats.put, video=film)
        self.panel.start()
        (folder / "panel.url").write_text(self.panel.entrance)
        (folder / "unit.py").write_text(UNIT)
        self.address = ["--panel", str(folder / "panel.url")]
        picture = ["--png", str(folder / "fb.png")]
        self.unit("framebuffer", [sys.executable, "-m", "agent.ui.framebuffer", *self.address, *picture])
        command = [sys.executable, str(folder / "unit.py"), str(folder)]
        units = Units(folder, {each: [*command, each] for each in Renderer})
        self.kiosk = Kiosk(ladder_of("browser", monotonic()), units, self.told.append, self._aside, self.lines.append)
        self.facts = station(FREE, FREE)

    def browser(self, command: list[str]) -> None:
        profile = [f"--user-data-dir={self.folder / 'profile'}"] if command is CHROMIUM else []
        self.unit("kiosk", [sys.executable, "-m", "agent.ui.browser", *self.address, "--", *command, *profile])

    def unit(self, name: str, command: list[str]) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(command))

    def _aside(self, job: Callable[[], object], then: Callable[[object], None]) -> None:
        then(job())

    def until(self, what: Callable[[], object], timeout_s: float = 60.0) -> None:
        def turn() -> object:
            while not self._beats.empty():
                beat = self._beats.get()
                self.beside += beat.by == "kiosk" and not beat.page
                self.kiosk.beat(beat, self.panel.newest, monotonic())
            self.kiosk.due(self.facts, monotonic())
            return what()

        until(turn, timeout_s)

    def look_beside(self) -> None:
        """A second browser, which may press: somebody looks at the panel over a tunnel."""
        command = [*CHROMIUM, f"--user-data-dir={self.folder / 'beside'}", self.panel.entrance]
        quiet = subprocess.DEVNULL
        self.other = subprocess.Popen(command, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
        self.until(lambda: self.beside)

    @property
    def shown(self) -> PanelTold | None:
        return next((each for each in reversed(self.told) if isinstance(each, PanelTold)), None)

    def pid(self, name: str) -> int:
        with suppress(OSError, ValueError):
            return int((self.folder / f"{name}.pid").read_text())
        return 0

    def close(self) -> None:
        for pid in (*map(self.pid, Renderer), self.other.pid if self.other else 0):
            if pid:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        if self.other:
            self.other.wait()
        self.panel.stop()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    for name, value in {"FIRST_S": 1.0, "START_S": 25.0, "SILENT_S": 6.0, "TRIAL_S": 3.0}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))
    running = Station(tmp_path)
    yield running
    running.close()


@pytest.mark.long
@pytest.mark.parametrize(
    "browser",
    [
        pytest.param(CHROMIUM, id="chromium", marks=pytest.mark.needs("chromium", "chromium")),
        pytest.param(COG, id="cog", marks=pytest.mark.needs("cog", "cog")),
    ],
)
def test_a_browser_that_hangs_is_started_anew_and_one_that_never_draws_is_stood_in_for(
    running: Station, browser: list[str]
) -> None:
    running.browser(browser)
    running.until(lambda: running.shown == PanelTold(True, True))
    assert PartTold("Display") in running.told, "it draws, and frames of the video go on"
    first = running.pid("kiosk")
    running.look_beside()
    os.killpg(first, signal.SIGSTOP)
    running.until(lambda: running.shown and not running.shown.drawn)
    running.until(lambda: running.pid("kiosk") not in (0, first))
    assert running.beside > 3, "another browser has drawn the page all the while, and was not taken for the display"
    running.until(lambda: running.shown == PanelTold(True, True))
    running.unit("kiosk", [sys.executable, "-c", "import threading; threading.Event().wait()"])
    os.killpg(running.pid("kiosk"), signal.SIGKILL)
    running.until(lambda: running.pid("framebuffer"), 120.0)
    running.until(lambda: running.shown == PanelTold(True, False, STANDS_IN))
    problems = [each.problem for each in running.told if isinstance(each, PartTold)]
    assert problems[-1] == NO_KIOSK and (running.folder / "fb.png").exists()
    assert subprocess.run(["pgrep", "-g", str(first)], capture_output=True, check=False).stdout == b""


DISPLAY = '\n[display]\ndrawn_by = "framebuffer"\nwidth_mm = 95\n'


@pytest.mark.long
def test_an_agent_has_its_display_drawn_knows_that_it_is_and_has_it_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FIRST_S": 0.5, "START_S": 20.0, "SILENT_S": 4.0, "TRIAL_S": 1.0}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "unit.py").write_text(UNIT)
    box, _ = started_box(tmp_path)
    board, config = write_files(tmp_path, box)
    board.write_text(board.read_text() + DISPLAY)
    command = [sys.executable, str(tmp_path / "unit.py"), str(tmp_path), "framebuffer"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(config.read_text() + f"[panel]\nport = {port}\nframebuffer = {json.dumps(command)}\n")
    settings = load_config(config)
    folder = Path(settings.paths.control).parent
    picture = ["--panel", str(folder / "panel.url"), "--png", str(tmp_path / "fb.png"), "--board", str(board)]
    (tmp_path / "framebuffer.json").write_text(json.dumps([sys.executable, "-m", "agent.ui.framebuffer", *picture]))
    running = Running(board, config)
    panel = panel_of(running.app, settings, folder)
    facts: Callable[[], Facts] = lambda: running.app.shell.station
    try:
        until(lambda: facts().panel.drawn, 60.0)
        until(lambda: "Display" in facts().parts and not facts().parts["Display"].problem, 60.0)
        first = int((tmp_path / "framebuffer.pid").read_text())
        os.killpg(first, signal.SIGSTOP)
        until(lambda: facts().panel.drawn is False, 60.0)
        until(lambda: facts().panel.drawn, 90.0)
        assert int((tmp_path / "framebuffer.pid").read_text()) != first
    finally:
        with suppress(OSError, ValueError):
            os.killpg(int((tmp_path / "framebuffer.pid").read_text()), signal.SIGKILL)
        panel.stop()
        running.close()
        box.close()
