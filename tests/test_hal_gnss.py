"""A GNSS receiver on a real pty: it searches, has a fix, loses it, is silent, is pulled out and comes back."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from agent.board import BOARDS, load
from agent.events import FixLost, FixTold, PartTold
from agent.hal import tty as hal_tty
from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.gnss import SILENT_S, Gnss, GnssFacts
from agent.hardware import Hardware
from agent.machine import machine_of
from agent.sim.box import Line
from agent.sim.gnss import Receiver
from agent.wizard.coordinates import Point, distance_m

HERE = Point(52.520008, 13.404954)


class Bench:
    """A receiver on its line, and a driver at the other end; seconds pass when the story says so."""

    def __init__(self, folder: Path, **model: Any) -> None:
        self.line, self.receiver = Line(folder / "gnss"), Receiver(HERE, **model)
        self.time, self.posted = 0.0, list[Any]()
        self.gnss = Gnss(GnssFacts(str(folder / "gnss")), self.posted.append, lambda: self.time)

    async def seconds(self, count: int) -> list[Any]:
        """What was posted meanwhile."""
        before = len(self.posted)
        for _ in range(count):
            await self.say(self.receiver.second())
            self._pass(1.0)
        return self.posted[before:]

    async def say(self, data: bytes) -> None:
        """Until the driver has read it all."""
        seen = self.gnss._received
        left = len(data)

        def received(piece: bytes) -> None:
            nonlocal left
            left -= len(piece)
            seen(piece)

        self.gnss._tty._on_bytes = received
        self.line.write(data)
        await until(lambda: left <= 0)
        self.gnss._tty._on_bytes = seen

    def silence(self, seconds: float) -> list[Any]:
        before = len(self.posted)
        self._pass(seconds)
        return self.posted[before:]

    def _pass(self, seconds: float) -> None:
        until_s = self.time + seconds
        while (at := self.gnss.next_deadline()) <= until_s:
            self.time = max(self.time, at)
            self.gnss.due(self.time)
            assert self.gnss.next_deadline() > self.time, "it spins"
        self.time = until_s

    def close(self) -> None:
        self.gnss.close()
        self.line.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not what():
            await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)


def played(folder: Path, story: Callable[[Bench], Awaitable[None]], **model: Any) -> None:
    async def run() -> None:
        bench = Bench(folder, **model)
        try:
            await story(bench)
        finally:
            bench.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hal_tty, "RETRY_S", 0.02)


def kinds(posted: list[Any]) -> list[str]:
    return [type(event).__name__ for event in posted]


def test_nothing_is_told_before_the_first_fix_then_one_a_second_and_its_loss_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert await bench.seconds(20) == [], "a cold start is no news and no failure"
        fixes = await bench.seconds(30)
        assert set(kinds(fixes)) == {"FixTold"} and 27 <= len(fixes) <= 30
        assert all(distance_m(HERE, Point(fix.latitude, fix.longitude)) < 15 for fix in fixes)
        assert all(fix.accuracy_m == pytest.approx(2.8, abs=0.1) and fix.satellites >= 7 for fix in fixes)
        assert all(later.wall_s - sooner.wall_s == 1 for sooner, later in pairwise(fixes))
        bench.receiver.sees_sky = False
        assert kinds(await bench.seconds(20))[-1:] == ["FixLost"] and bench.posted.count(FixLost()) == 1
        bench.receiver.sees_sky = True
        assert set(kinds(await bench.seconds(15))) == {"FixTold"}

    played(tmp_path, story, cold_s=20)


def test_ten_fixes_a_second_are_told_once_a_second(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        for _ in range(10):
            await bench.say(b"".join(bench.receiver.second() for _ in range(10)))
            bench.silence(1.0)
        assert kinds(bench.posted) == ["FixTold"] * 10

    played(tmp_path, story, cold_s=0)


@pytest.mark.promise("S9")
def test_a_receiver_that_is_pulled_out_fails_once_and_works_when_it_is_back(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.seconds(5)
        bench.line.cut()
        await until(lambda: bench.gnss.next_deadline() < bench.time)
        bench.silence(0.0)
        (lost, failed) = [event for event in bench.posted if not isinstance(event, FixTold)]
        assert lost == FixLost() and isinstance(failed, DeviceFailed)
        assert failed.why == f"{bench.line.path} is not there: check its cable and the board file"
        assert bench.silence(60.0) == [], "told once"
        bench.line.mend()
        await until(lambda: bench.time < bench.gnss.next_deadline() < bench.time + SILENT_S + 1)
        bench.receiver.power_on()
        posted = await bench.seconds(12)
        assert DeviceWorks("GNSS receiver") in posted and kinds(posted)[-1] == "FixTold"

    played(tmp_path, story, cold_s=3)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("noise", [b"", b"\x00\xff" * 40, b"\xb5\x62\x01\x07\x5c\x00" * 30, b"04A1B2C3\r\n" * 9])
def test_a_line_that_says_nothing_a_receiver_would_is_a_sentence(tmp_path: Path, noise: bytes) -> None:
    """A wrong speed, another protocol, a card reader in its place."""

    async def story(bench: Bench) -> None:
        if noise:
            await bench.say(noise)
        assert bench.silence(SILENT_S - 1) == []
        (failed,) = bench.silence(60.0)
        assert "says nothing that a GNSS receiver would" in failed.why and "correct baudrate" in failed.why
        assert DeviceWorks("GNSS receiver") in await bench.seconds(10)

    played(tmp_path, story, cold_s=0)


@pytest.mark.promise("S9")
def test_whatever_bytes_come_only_real_fixes_are_told(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        rng = random.Random(5)
        for _ in range(40):
            said = bytearray(bench.receiver.second())
            for _ in range(3):
                said[rng.randrange(len(said))] = rng.randrange(256)
            await bench.say(rng.randbytes(rng.randrange(200)) + bytes(said))
            bench.silence(1.0)
        told = [event for event in bench.posted if isinstance(event, FixTold)]
        assert told and all(distance_m(HERE, Point(each.latitude, each.longitude)) < 15 for each in told)

    played(tmp_path, story, cold_s=0)


def test_a_board_that_names_one_has_a_part_that_can_fail(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "gnss"
        board = structs.replace(load(BOARDS / "duo_sim.toml"), gnss=GnssFacts(str(path)))
        assert machine_of(board).has_gnss and not machine_of(load(BOARDS / "duo_sim.toml")).has_gnss
        posted: list[Any] = []
        loop = asyncio.get_running_loop()
        hardware = Hardware(board, posted.append, lambda job, then: then(job()), loop, lambda: 0.0)
        hardware.due(0.0)
        told = [(each.part, bool(each.problem)) for each in posted if isinstance(each, PartTold)]
        assert told == [("GNSS.receiver", False), ("GNSS.receiver", True)], "the last word counts"
        hardware.close()

    asyncio.run(story())
