"""Serial lines on the loop: a reader whose line is not there, or goes and comes back."""

import asyncio
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from agent.board import BOARDS, Chosen, LineFacts, load
from agent.events import CardTapped, PartTold
from agent.hal import tty as hal_tty
from agent.hal.device import STEADY_S
from agent.hal.tty import LineReader
from agent.hardware import READER, Hardware
from agent.settings import ConfigError


class Line:
    """A pty under a name that stays, as udev gives one; it can be unplugged."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "reader"
        self.ends: tuple[int, int] | None = None

    def plug(self) -> "Line":
        self.ends = pty.openpty()
        tty.setraw(self.ends[1])
        self.path.symlink_to(os.ttyname(self.ends[1]))
        return self

    def say(self, data: bytes) -> None:
        assert self.ends
        os.write(self.ends[0], data)

    def unplug(self) -> None:
        if self.ends:
            self.path.unlink()
            for fd in self.ends:
                os.close(fd)
            self.ends = None


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hal_tty, "RETRY_S", 0.02)


@pytest.mark.promise("S9")
def test_a_reader_that_is_not_there_says_so_and_works_when_it_comes(tmp_path: Path) -> None:
    async def story() -> None:
        line, heard, told = Line(tmp_path), [], []  # type: ignore[var-annotated]
        reader = LineReader(str(line.path), heard.append, told.append)
        assert told == [f"{line.path} is not there: check its cable and the board file"]
        line.plug()
        await until(lambda: told[-1] == "")
        line.say(b"04A1B2C3D4E5F6\r\n")
        await until(lambda: bool(heard))
        assert heard == [CardTapped("04A1B2C3D4E5F6")]
        line.unplug()
        await until(lambda: "is not there" in told[-1])
        line.plug()
        await until(lambda: told[-1] == "")
        reader.close()
        line.unplug()

    asyncio.run(story())


def parts(posted: list[PartTold]) -> list[tuple[str, bool]]:
    return [(each.part, bool(each.problem)) for each in posted]


@pytest.mark.promise("S9")
def test_a_reader_on_a_line_is_a_part_of_the_station_and_a_loose_plug_fills_no_journal(tmp_path: Path) -> None:
    async def story() -> None:
        line = Line(tmp_path)
        board = structs.replace(load(BOARDS / "duo_sim.toml"), reader=Chosen("line", LineFacts(str(line.path))))
        posted: list[PartTold] = []
        loop = asyncio.get_running_loop()
        hardware = Hardware(board, posted.append, lambda job, then: then(job()), loop, lambda: 0.0)
        hardware.due(0.0)
        assert parts(posted) == [(READER, False), (READER, True)]
        assert posted[-1].fix.startswith("Check its cable")
        for now in range(1, 9):
            line.plug()
            await until(lambda: hardware._reader_problem == "")
            hardware.due(float(now))
            line.unplug()
            await until(lambda: hardware._reader_problem)
            hardware.due(now + 0.5)
        assert len(posted) == 2
        line.plug()
        await until(lambda: hardware._reader_problem == "")
        hardware.due(10.0)
        hardware.due(10.0 + STEADY_S)
        assert parts(posted)[2:] == [(READER, False)]
        hardware.close()
        line.unplug()

    asyncio.run(story())


@pytest.mark.promise("S9")
@pytest.mark.parametrize("name", ["a file", "a folder", "a\0zero", "nowhere/x"])
def test_what_is_no_serial_line_is_a_sentence(tmp_path: Path, name: str) -> None:
    async def story() -> None:
        told: list[str] = []
        reader = LineReader(str(tmp_path / name), lambda event: None, told.append)
        assert len(told) == 1 and ("does not work" in told[0] or "is not there" in told[0])
        reader.close()

    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    asyncio.run(story())


def test_a_line_that_another_program_holds_is_in_use(tmp_path: Path) -> None:
    async def story() -> None:
        line, told = Line(tmp_path).plug(), []  # type: ignore[var-annotated]
        first = LineReader(str(line.path), lambda event: None)
        second = LineReader(str(line.path), lambda event: None, told.append)
        assert "in use by another program" in told[0]
        first.close()
        second.close()
        line.unplug()

    asyncio.run(story())


def test_a_line_that_is_not_ours_is_refused_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match="dialout"):
            LineReader(str(tmp_path), lambda event: None)

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    asyncio.run(story())
