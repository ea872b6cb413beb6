"""`station-agent board try`: hands on simulated hardware, and a person who follows the prompts or does not."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cli
from agent.board import BOARDS, Board, load
from agent.effects import PortCommand
from agent.events import ControllerLost, FixTold, PortReported, Report
from agent.hal.controller import ControllerLink
from agent.hal.leds import LedFacts
from agent.hal.modbus import Sample
from agent.hal.rtc import RtcFacts
from agent.hal.thermal import SensorFacts
from agent.lock import exclusive
from agent.pintable import pins_hash, port_board
from agent.settings import ConfigError
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.sim.gpio import SimChips
from agent.trial import Result, Verdict, run, steps, summary
from agent.ui.led import Pattern
from tests.process import ROOT, until

REAL = [path for path in sorted(BOARDS.glob("*.toml")) if load(path).controller.link != "sim"]
CM4, SOLO = BOARDS / "duo_cm4.toml", BOARDS / "solo_modbus.toml"
SOLO_SIM = BOARDS / "solo_sim.toml"
TURN_S = 0.02


class SimHands:
    """A board in simulated time, and its person: does what is said, and answers yes; `answers` changes that by word."""

    def __init__(self, board: Board) -> None:
        self.board, self.chips, self.now = board, SimChips(), 0.0
        self.reports: dict[int, Report] = {}
        self.lost = ""
        self.cards: list[str] = []
        self.fixes = [FixTold(52.520008, 13.404954, 3.0)]
        self.heard = 9  # sentences of the GNSS receiver
        self.samples: dict[int, Sample | str] = {i: Sample(5, 0) for i in range(1, len(board.port) + 1)}
        self.said: list[str] = []
        self.lights: dict[str, Pattern | None] = {}
        self.bright = 100
        self.answers: dict[str, Callable[[], str]] = {}
        self.is_lazy = False  # does not do what is said
        self.closed = False
        boards = tuple(port_board(board, port) for port in board.port)
        self.sim = SimController(boards, circuit_limit_ma=board.circuit_limit_ma)
        self.sim.power_on(self.now)
        self.link = ControllerLink(len(board.port), 0, 0, 0, pins_hash=pins_hash(board))
        self.link.limit = None
        for entry in board.input:
            self.chips.contact((entry.chip, entry.line), entry.active_low)  # at rest

    # -- the person

    def say(self, text: str) -> None:
        self.said.append(text)
        if not self.is_lazy:
            self.act(text)

    def act(self, text: str) -> None:
        at = [said[9] for said in self.said if said.startswith("\n-- port ") and said[9].isdigit()]
        index = int(at[-1]) - 1 if at else 0
        if "plug a car" in text or "put a cable" in text:
            self.sim.plug(index, Car(need_wh=0), self.now)
        elif "unplug it" in text:
            self.sim.unplug(index, self.now)
        elif "emergency stop (" in text or "release it" in text:
            pressed = "press" in text
            self.sim.touch(self.now, lambda sim: setattr(sim, "emergency_stop", pressed))
        elif "hold a card" in text:
            self.cards.append("04A1B2C3")
        for entry in self.board.input:
            if f" {entry.name} (" in text and ("operate" in text or "let go" in text):
                self.chips.contact((entry.chip, entry.line), ("operate" in text) != entry.active_low, bounce_s=0.005)

    def ask(self, question: str) -> str:
        self.said.append(question)
        if "come out again" in question:
            for i in range(len(self.board.port)):
                self.sim.unplug(i, self.now)
        return next((answer() for word, answer in self.answers.items() if word in question), "y")

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        until = self.now + timeout_s
        while not condition():
            if self.now >= until:
                return False
            self.now += TURN_S
            self.chips.run(self.now)
            self.turn()
        return True

    def turn(self) -> None:
        out, events = self.link.poll(self.now)
        self.sim.receive(out, self.now)
        answer, more = self.link.received(self.sim.transmit(), self.now)
        self.sim.receive(answer, self.now)
        for event in [*events, *more]:
            if isinstance(event, PortReported):
                self.reports[event.evse_id] = event.report
            elif isinstance(event, ControllerLost):
                self.reports.clear()
                self.lost = event.why

    # -- the hardware

    def wish(self, commands: tuple[PortCommand, ...]) -> None:
        self.sim.receive(self.link.wish(commands, self.now), self.now)

    def show(self, led: LedFacts, pattern: Pattern | None) -> str:
        self.lights[led.name] = pattern
        return ""

    def temperature(self, sensor: SensorFacts) -> int | str:
        return 412

    def sentences(self) -> int:
        return self.heard

    def clock(self, rtc: RtcFacts) -> str:
        return "the clock chip says noon"

    def backlight(self, percent: int) -> str:
        self.bright = percent
        return ""

    def close(self) -> None:
        self.closed = True

    def is_safe(self) -> bool:
        """As a voltmeter sees it, and the controller's pins."""
        levels = [self.chips.level((each.chip, each.line)) for each in self.board.output]
        rest = [each.safe != each.active_low for each in self.board.output]
        lines = all(level in (None, safe) for level, safe in zip(levels, rest, strict=True))
        coils = [bay.contactor.value for bay in self.sim.bays]
        return lines and not any(coils) and not any(self.lights.values())


def tried(path: Path, **turned: object) -> tuple[SimHands, dict[str, Result]]:
    hands = SimHands(load(path))
    for name, value in turned.items():
        setattr(hands, name, value)
    return hands, {result.name: result for result in run(hands.board, hands)}


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_every_part_of_every_board_is_tried_and_works_in_good_hands(path: Path) -> None:
    hands, results = tried(path)
    assert list(results) == [name for name, _ in steps(hands.board)]
    assert {result.verdict for result in results.values()} == {Verdict.WORKS}, summary(list(results.values()))
    assert hands.is_safe()


@pytest.mark.promise("S1")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_no_trial_closes_a_contactor_or_offers_a_current(path: Path) -> None:
    hands, _ = tried(path)
    assert not [pin for pin in hands.sim.pins if pin[2] in ("coil", "contactor", "offer_ma") and pin[3]]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_person_who_does_nothing_is_told_what_to_check(path: Path) -> None:
    hands, results = tried(path, is_lazy=True)
    waited = [r for name, r in results.items() if "pilot" in name or "input" in name or name == "card reader"]
    assert waited and all(result.verdict is Verdict.FAILS and result.note for result in waited)
    assert hands.is_safe()


def test_a_receiver_under_a_roof_speaks_and_one_that_is_not_wired_says_nothing() -> None:
    _, results = tried(CM4, fixes=[])
    assert results["GNSS receiver"] == Result("GNSS receiver", Verdict.WORKS, "it speaks, and has no fix here")
    _, results = tried(CM4, fixes=[], heard=0)
    assert results["GNSS receiver"].verdict is Verdict.FAILS and "baudrate" in results["GNSS receiver"].note


def test_a_no_is_a_failure_that_repeats_the_question_and_a_skip_is_none() -> None:
    _, results = tried(CM4, answers={"fan": lambda: "n", "light (light)": lambda: "s"})
    assert results["output fan"].verdict is Verdict.FAILS and "fan" in results["output fan"].note
    assert results["output light"].verdict is Verdict.SKIPPED
    assert results["output modem_key"].verdict is Verdict.WORKS


def test_a_shorted_line_is_named_and_nothing_is_asked_about_it() -> None:
    hands = SimHands(load(CM4))
    hands.chips.shorted[("pinctrl-bcm2711", 17)] = False
    results = {result.name: result for result in run(hands.board, hands)}
    assert results["output fan"].verdict is Verdict.FAILS and "line 17" in results["output fan"].note


def test_a_welded_contactor_and_a_dead_detector_are_found() -> None:
    hands = SimHands(load(CM4))
    hands.sim.bays[0].contactor.value = hands.sim.bays[0].contactor.stuck = True
    hands.sim.bays[1].detector.stuck = True
    results = {result.name: result for result in run(hands.board, hands)}
    assert "weld" in results["port 1: contactor open"].note
    assert results["port 2: contactor open"].verdict is Verdict.WORKS
    assert "gf_test" in results["port 2: ground-fault self-test"].note


def test_a_controller_that_does_not_answer_fails_its_steps_and_the_rest_goes_on() -> None:
    hands = SimHands(load(CM4))
    hands.sim.power_off(0.0)
    results = {result.name: result for result in run(hands.board, hands)}
    assert results["port controller"].verdict is results["port 1: pilot"].verdict is Verdict.FAILS
    assert results["output fan"].verdict is Verdict.WORKS


@pytest.mark.promise("S1")
def test_a_controller_with_another_boards_pins_is_not_tried() -> None:
    hands = SimHands(load(CM4))
    hands.sim.controller._pins_hash = "600dc0de"  # type: ignore[union-attr]
    results = {result.name: result for result in run(hands.board, hands)}
    assert "600dc0de" in results["port controller"].note and "tools/flash.py" in results["port controller"].note


class Pulled(Exception):
    """Ctrl-C, or whatever else ends a process from within."""


@pytest.mark.promise("S1")
@given(st.sampled_from(REAL), st.integers(0, 60), st.sampled_from(["q", "EOF", "Ctrl-C", "bug"]))
def test_whatever_ends_a_trial_at_whatever_question_leaves_all_outputs_safe(path: Path, at: int, how: str) -> None:
    hands, count = SimHands(load(path)), 0

    def ask(question: str) -> str:
        nonlocal count
        count += 1
        if count <= at:
            return type(hands).ask(hands, question)
        raised = {"EOF": EOFError, "Ctrl-C": KeyboardInterrupt, "bug": Pulled}
        if how in raised:
            raise raised[how]
        return how

    hands.ask = ask  # type: ignore[method-assign]
    try:
        results = run(hands.board, hands)
        assert "stopped: all outputs are safe" in hands.said or len(results) == len(list(steps(hands.board)))
    except Pulled:
        assert how == "bug"
    assert hands.is_safe()
    assert hands.link.commands == (PortCommand(stop=hands.link.commands[0].stop),) * len(hands.board.port)


# -- a process and its terminal


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    socket = port_board(load(SOLO_SIM), load(SOLO_SIM).port[0])
    box = Box(SimController((socket,), circuit_limit_ma=0), tmp_path).start()
    box.power_on()
    yield box
    box.close()


def tries(folder: Path, box: Box, *through: str) -> subprocess.Popen[bytes]:
    """`board try` of one socket behind the box; `through` a shell, perhaps."""
    board, config = folder / "solo_sim.toml", folder / "config.toml"
    text = SOLO_SIM.read_text().replace('tty = "sim"', f'chip = "unix"\ntty = "{box.link.path}"')
    board.write_text(text.replace('link = "sim"', 'link = "serial"').replace('kind = "sim"', 'kind = "none"'))
    config.write_text(f'[paths]\nstate = "{folder}"\n')
    command = [*through, sys.executable, "-m", "agent", "board", "try", str(board), "--config", str(config)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, bufsize=0,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def hears(process: subprocess.Popen[bytes], words: str) -> None:
    """Waits until it has said this; a process that ends instead says so."""
    assert process.stdout
    said = b""
    while words.encode() not in said:
        byte = process.stdout.read(1)
        assert byte, said.decode()
        said += byte


def at_the_lock(process: subprocess.Popen[bytes], box: Box) -> subprocess.Popen[bytes]:
    """Up to the first question, at which the bolt holds the plug."""
    for words, is_there in (("plug a car", True), ("unplug it", False), ("put a cable", True)):
        hears(process, words)
        box.plug(1, Car(need_wh=0)) if is_there else box.unplug(1)
    hears(process, "Is the plug held now?")
    return process


@pytest.mark.promise("S1")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None], ids=str)
def test_ctrl_c_pressed_twice_at_a_question_or_a_terminal_that_ends_leaves_all_safe_and_tells_what_was_tried(
    tmp_path: Path, box: Box, how: signal.Signals | None
) -> None:
    process = at_the_lock(tries(tmp_path, box), box)
    assert box.controller.bays[0].bolt.value
    if how:
        process.send_signal(how)
        process.send_signal(how)
    said = process.communicate(timeout=20.0)[0].decode()  # closes its input
    assert process.returncode == cli.FAILED and "Traceback" not in said and "Fatal" not in said
    assert "stopped: all outputs are safe" in said and "works   port 1: pilot" in said
    until(lambda: not box.controller.bays[0].bolt.value)


def test_a_terminal_that_was_never_there_ends_the_trial_at_its_first_question(tmp_path: Path, box: Box) -> None:
    process = at_the_lock(tries(tmp_path, box, "sh", "-c", 'exec "$@" <&-', "sh"), box)
    said = process.communicate(timeout=20.0)[0].decode()
    assert process.returncode == cli.FAILED and "stopped: all outputs are safe" in said


def test_two_trials_at_once_are_one_and_a_killed_one_bars_nobody(tmp_path: Path, box: Box) -> None:
    first = at_the_lock(tries(tmp_path, box), box)
    second = tries(tmp_path, box)
    said = second.communicate(timeout=20.0)[0].decode()
    assert second.returncode == cli.OPERATOR and "or another board try has the hardware" in said
    first.kill()
    first.communicate()
    third = tries(tmp_path, box)
    hears(third, "port(s) report")
    until(lambda: not box.controller.bays[0].bolt.value)  # what the killed one has left locked
    third.send_signal(signal.SIGINT)
    assert "stopped" in third.communicate(timeout=20.0)[0].decode()


# -- one process at a time


def test_nobody_tries_a_board_while_another_process_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[paths]\nstate = "{tmp_path}"\n')
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert cli.main(["board", "try", str(CM4), "--config", str(config)]) == cli.OPERATOR
        assert "systemctl stop station-agent" in capsys.readouterr().err
    finally:
        os.close(fd)
    with exclusive(tmp_path, "taken"), pytest.raises(ConfigError, match="taken"), exclusive(tmp_path, "taken"):
        pass
    with exclusive(tmp_path, "taken"), exclusive(tmp_path / "none", "taken"):  # given back; and never made
        assert not (tmp_path / "none").exists()


def test_a_simulated_board_has_nothing_to_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[paths]\nstate = "{tmp_path}"\n')
    assert cli.main(["board", "try", str(BOARDS / "duo_sim.toml"), "--config", str(config)]) == cli.OPERATOR
    assert "simulated" in capsys.readouterr().err
