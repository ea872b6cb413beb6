"""The hands of `board try` on real hardware: the station's own drivers, on a loop that turns while a person thinks.

The controller is greeted and wished nothing but safe outputs; it is not commissioned here.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.board import Board, LineFacts
from agent.effects import PortCommand
from agent.events import CardTapped, ControllerLost, FixTold, PortReported, Report
from agent.hal import rtc as clock_chip
from agent.hal import thermal
from agent.hal.controller import ControllerLink
from agent.hal.device import Sysfs
from agent.hal.display import BACKLIGHTS
from agent.hal.gnss import Gnss
from agent.hal.gpio import Chips, Gpiod
from agent.hal.leds import FOLDER, Lamp, LedFacts, LightError
from agent.hal.modbus import Bus, ModbusFacts, Sample
from agent.hal.pcsc import PcscFacts, PcscReader
from agent.hal.pn532 import Pn532Facts, Pn532Reader
from agent.hal.rtc import RtcFacts
from agent.hal.thermal import SensorFacts
from agent.hal.tty import LineReader, SerialController, checked_tty
from agent.loop import Inbox, monotonic
from agent.pintable import pins_hash
from agent.settings import ConfigError
from agent.ui.led import Pattern

TURN_S = 0.05
LINE_MAX = 200  # of an answer


class NoChips:
    """For a board without lines, on a machine without libgpiod."""

    def output(self, facts: Any) -> Any:
        raise AssertionError(facts)

    def input(self, facts: Any) -> Any:
        raise AssertionError(facts)


def typed(question: str) -> str:
    """A line from the terminal. EOFError. Not by `input`: Python cannot end while a thread is in it."""
    print(question, end="", flush=True)
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_MAX:
        byte = os.read(sys.stdin.fileno(), 1) if sys.stdin else b""
        if not byte:
            raise EOFError
        line += byte
    return line.decode(errors="replace")


@dataclass
class RealHands:
    """`lines` and `out` are the terminal's; tests bring their own."""

    board: Board
    lines: Callable[[str], str] = typed
    out: Callable[[str], None] = print
    chips: Chips = field(default_factory=NoChips)
    reports: dict[int, Report] = field(default_factory=dict)
    lost: str = ""
    cards: list[str] = field(default_factory=list)
    fixes: list[FixTold] = field(default_factory=list)
    samples: dict[int, Sample | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ConfigError where a library is missing or a line may not be opened."""
        self._runner = asyncio.Runner()
        self._closing: list[Callable[[], None]] = []
        self._gnss: Gnss | None = None
        try:
            if self.board.output or self.board.input:
                self.chips = Gpiod()
            self._runner.run(self._open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        async def close() -> None:
            for each in reversed(self._closing):
                each()

        with suppress(RuntimeError):  # closed already
            self._runner.run(close())
        self._runner.close()

    # -- the person

    def say(self, text: str) -> None:
        self.out(text)

    def ask(self, question: str) -> str:
        """On a thread, for the controller wants its heartbeat meanwhile; it ends with the process if nobody answers."""
        answers: list[str | None] = []

        def read() -> None:
            try:
                answers.append(self.lines(question))
            except (EOFError, OSError):
                answers.append(None)

        threading.Thread(target=read, name="terminal", daemon=True).start()
        while not self.wait(lambda: bool(answers), 3_600.0):
            pass
        if answers[0] is None:
            raise EOFError
        return answers[0]

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        return self._runner.run(self._wait(condition, timeout_s))

    # -- the hardware

    def wish(self, commands: tuple[PortCommand, ...]) -> None:
        if self._controller:
            self._runner.run(self._wish(commands))

    def show(self, led: LedFacts, pattern: Pattern | None) -> str:
        try:
            Lamp(led, FOLDER, Sysfs()).show(pattern) if pattern else dark(led)
        except LightError as error:
            return str(error)
        except OSError as error:
            return f"the light {led.name}: {error.strerror}"
        return ""

    def temperature(self, sensor: SensorFacts) -> int | str:
        return thermal.read(sensor, thermal.FOLDER, Sysfs())

    def clock(self, rtc: RtcFacts) -> str:
        try:
            reading = clock_chip.read(rtc)
        except OSError as error:
            return f"the clock chip {rtc.device} does not answer: {error.strerror}"
        return reading.problem or f"the clock chip says {reading.wall_s:.0f} s since 1970"

    def sentences(self) -> int:
        return self._gnss.sentences if self._gnss else 0

    def backlight(self, percent: int) -> str:
        assert self.board.display
        at = BACKLIGHTS / self.board.display.backlight
        try:
            level = int(Sysfs().read(at / "max_brightness")) * percent // 100
            Sysfs().write(at / "brightness", str(level))
        except (OSError, ValueError) as error:
            return f"{at} does not work: {error}"
        return ""

    # -- on the loop

    async def _open(self) -> None:
        self._inbox, self._controller = Inbox(), None
        post, controller = self._inbox.post, self.board.controller
        if controller.link != "sim":
            link = ControllerLink(len(self.board.port), 0, 0, 0, pins_hash=pins_hash(self.board))
            link.limit = None
            self._controller = SerialController(link, checked_tty(controller.tty), post, monotonic)
            self._closing.append(self._controller.close)
        reader: Any = None
        match self.board.reader.facts:
            case LineFacts(tty=tty):
                reader = LineReader(checked_tty(tty), post)
            case PcscFacts() as facts:
                reader = PcscReader(facts, post, monotonic, self.out)
            case Pn532Facts() as facts:
                reader = Pn532Reader(facts, post, monotonic, self.out)
        if reader:
            self._closing.append(reader.close)
        if isinstance(self.board.meter.facts, ModbusFacts):
            bus = Bus(self.board.meter.facts, lambda i, said, at: self.samples.update({i + 1: said}), monotonic)
            self._closing.append(bus.close)
        if self.board.gnss:
            self._gnss = Gnss(self.board.gnss, post, monotonic)
            self._closing.append(self._gnss.close)

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        until = monotonic() + timeout_s
        while not condition():
            if (now := monotonic()) >= until:
                return False
            if self._controller:
                self._controller.due(now)
            for happening in await self._inbox.take(min(TURN_S, until - now)):
                self._happened(happening)
        return True

    async def _wish(self, commands: tuple[PortCommand, ...]) -> None:
        assert self._controller
        self._controller.wish(commands, monotonic())
        self._controller.due(monotonic())

    def _happened(self, happening: object) -> None:
        match happening:
            case PortReported(evse_id=evse_id, report=report):
                self.reports[evse_id], self.lost = report, ""
            case ControllerLost(why=why):
                self.reports.clear()
                self.lost = why
            case CardTapped(uid=uid):
                self.cards.append(uid)
            case FixTold():
                self.fixes = [happening]


def dark(led: LedFacts) -> None:
    for folder in (*led.single.values(), led.multicolour):
        if folder:
            Sysfs().write(Path(FOLDER, folder, "trigger"), "none")
            Sysfs().write(Path(FOLDER, folder, "brightness"), "0")


def hands_of(board: Board) -> RealHands:
    if board.controller.link == "sim":
        raise ConfigError(f"{board.name} has a simulated controller, there is nothing to try: name another board file")
    return RealHands(board)
