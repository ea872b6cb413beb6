"""`station-agent board check | describe | pins | new`, and the real hands of `try` on simulated serial lines."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent import cli
from agent.board import BOARDS, Board, load, read_board
from agent.boardtool import Machine, check, described, new
from agent.doctor import FAIL, OK
from agent.events import ControllerFound, ControllerLost
from agent.hal.controller import ControllerLink
from agent.hal.gpio import InputFacts, OutputFacts
from agent.pintable import pin_table, pins_hash, port_board, signals
from agent.settings import ConfigError
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.sim.interpreter import RealController
from agent.trial import Verdict, run
from agent.trialhands import RealHands
from board import chip
from board.chip import command as chip_command
from tests.chip import probe_rom
from tests.rig import need_interpreter

ALL_BOARDS = sorted(BOARDS.glob("*.toml"))
PINNED = [path for path in ALL_BOARDS if load(path).controller.pins]
CM4, SIM = BOARDS / "duo_cm4.toml", BOARDS / "duo_sim.toml"


# -- check


def lines_of(board: Board) -> list[OutputFacts | InputFacts]:
    return [*board.output, *board.input]

def machine(root: Path, board: Board) -> Machine:
    """One that has everything that this board names; a device is /dev/null."""
    ttys = [board.controller.tty, board.reader.tty, board.meter.tty, *(keys.path for keys in board.keys)]
    ttys += [board.gnss.device] if board.gnss else []
    chips = [each.chip for each in lines_of(board)]
    for path in {path for path in [*ttys, *chips] if path.startswith("/")}:
        at = root / path[1:]
        at.parent.mkdir(parents=True, exist_ok=True)
        at.symlink_to("/dev/null")
    files = [f"leds/{name}/brightness" for led in board.led for name in (*led.single.values(), led.multicolour) if name]
    files += [f"backlight/{board.display.backlight}/brightness"] if board.display else []
    files += [f"graphics/{board.display.framebuffer}/virtual_size"] if board.display else []
    files += [f"rtc/{board.rtc.device}/since_epoch"] if board.rtc else []
    for i, sensor in enumerate(board.sensor):
        files.append(f"{sensor.kind}/thermal_zone{i}/type")
    for file in files:
        at = root / "sys/class" / file
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(board.sensor[0].chip if file.endswith("/type") else "1")
    return Machine(root, lambda name: True)


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_a_machine_that_has_all_of_a_board_is_fit_for_it_and_an_empty_one_lacks_each_part(
    path: Path, tmp_path: Path
) -> None:
    full = check(path, machine(tmp_path / "full", load(path)))
    assert not [finding for finding in full if finding.verdict is FAIL]
    empty = check(path, Machine(tmp_path / "empty", lambda name: False))
    if load(path).controller.link == "sim":
        assert all(finding.verdict is OK for finding in empty)
    else:
        assert len([finding for finding in empty if finding.verdict is FAIL and finding.fix]) >= len(full) - 2
    assert all("\n" not in finding.text + finding.fix for finding in empty)


def test_a_light_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    has = machine(tmp_path, load(CM4))
    (tmp_path / "sys/class/leds/port1:red").rename(tmp_path / "sys/class/leds/status:red")
    (bad,) = [finding for finding in check(CM4, has) if finding.verdict is FAIL]
    assert bad.name == "led port1" and "status:red" in bad.text


def test_what_may_not_be_opened_is_told_with_what_to_type(tmp_path: Path) -> None:
    has = replace(machine(tmp_path, load(CM4)), may=lambda path, how: False)
    bad = [finding for finding in check(CM4, has) if finding.verdict is FAIL]
    assert {finding.name for finding in bad} >= {"controller", "reader", "led port1", "backlight"}
    assert "dialout" in bad[0].fix and all(finding.fix for finding in bad)


@pytest.mark.promise("S9")
def test_check_says_one_thing_about_a_wrong_file_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.toml"
    path.write_text(CM4.read_text().replace("pilot_pwm", "pilot_pmw"))
    assert cli.main(["board", "check", str(path), "--json"]) == cli.FAILED
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["verdict"] == "fail" and "did you mean pilot_pwm?" in finding["text"]
    assert cli.main(["board", "check", str(SIM)]) == 0
    assert "duo_sim" in capsys.readouterr().out


# -- describe, pins


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_describe_names_every_pin_line_and_device_of_the_file(path: Path) -> None:
    board, text = load(path), described(load(path))
    for signal, pin in signals(board):
        assert any(signal in line and f" {pin} " in line for line in text.splitlines())
    for each in lines_of(board):
        assert f"{each.chip} line {each.line}" in text
    for led in board.led:
        assert all(folder in text for folder in led.single.values())
    assert all(tty in text for tty in (board.controller.tty, board.reader.tty, board.meter.tty) if tty != "sim")


def test_pins_prints_the_module_that_the_firmware_is_built_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["board", "pins", str(CM4)]) == 0
    module: dict[str, object] = {}
    exec(capsys.readouterr().out, module)
    assert module["BOARD"] == "duo_cm4"
    assert cli.main(["board", "pins", "nothing.toml"]) == cli.OPERATOR
    assert "no board file at nothing.toml" in capsys.readouterr().err


@pytest.mark.promise("S1")
def test_the_real_firmware_tells_the_hash_of_the_table_it_was_built_with(tmp_path: Path) -> None:
    need_interpreter()
    board = load(BOARDS / "solo_virt.toml")
    unit = chip.unit(tmp_path, pin_table(board))
    ports = tuple(port_board(board, port) for port in board.port)
    controller = RealController(unit, tmp_path / "flash", ports, lockstep=True)
    try:
        for hash_, is_ours in ((pins_hash(board), True), ("600dc0de", False)):
            controller.power_on(controller_s := 1.0 if is_ours else 5.0)
            link = ControllerLink(1, 32_000, 6_000, 60, pins_hash=hash_)
            events = []
            for turn in range(150):
                now = controller_s + 0.1 + turn / 100
                out, news = link.poll(now)
                controller.receive(out, now)
                answer, more = link.received(controller.transmit(), now)
                controller.receive(answer, now)
                events += [*news, *more]
            assert isinstance(events[0], ControllerFound if is_ours else ControllerLost), events
            assert is_ours or hash_ in str(events[0])
            controller.power_off(4.0 if is_ours else 8.0)
    finally:
        controller.close()


@pytest.mark.promise("S1")
@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.stem)
def test_the_chips_port_layer_finds_every_pin_in_the_table_of_every_board(path: Path, tmp_path: Path) -> None:
    need_interpreter()
    board, rom = load(path), tmp_path / "rom"
    rom.write_bytes(probe_rom(pin_table(board), "rp2"))
    probe = (Path(__file__).parent / "on_chip" / "board.py").read_text()
    command = chip_command(rom, probe, heap_kb=128)  # the stand-ins want room, too
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    levels, inputs, hash_ = done.stdout.splitlines()
    pins = [port.pins for port in board.port if port.pins]
    outputs = {pin: 0 for each in pins for pin in (each.contactor, each.gf_test, *each.leds)}
    outputs |= {each.lock: 1 for each in pins if each.lock}  # as its feedback says: the bolt stays
    assert dict(eval(levels)) == {int(pin.removeprefix("GP")): level for pin, level in outputs.items()}
    assert len(eval(inputs)) == 1 + 16 * len(board.port) and hash_ == pins_hash(board)


# -- new


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_a_new_board_bears_its_own_name_keeps_the_comments_and_differs_in_nothing_else(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.toml"
    assert cli.main(["board", "new", "--from", path.stem, str(target)]) == 0
    mine, text = load(target), target.read_text()
    assert mine.name == "mine" and "station-agent board try mine.toml" in text
    assert all(comment in text for comment in path.read_text().splitlines() if comment.startswith("# "))
    as_before = text.replace('"mine"', f'"{path.stem}"').replace(f"A copy of {path.stem}", load(path).description)
    assert read_board(as_before, "b.toml") == load(path)
    assert check(target, machine(tmp_path / "root", mine))[0].verdict is OK


@pytest.mark.promise("S9")
def test_new_never_writes_over_a_file_nor_under_a_name_that_no_board_can_have(tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    target.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        new("duo_sim", target)
    assert target.read_text() == "mine"
    with pytest.raises(ConfigError, match="no name for a board"):
        new("duo_sim", tmp_path / "My Board.toml")
    with pytest.raises(ConfigError, match="no board is named duo: type --from and one of duo_cm4, duo_sim"):
        new("duo", tmp_path / "x.toml")
    with pytest.raises(ConfigError, match="cannot be written"):
        new("duo_sim", tmp_path / "none" / "x.toml")
    assert sorted(tmp_path.iterdir()) == [target]


# -- the real hands


def test_real_hands_walk_a_board_over_serial_lines_and_commission_nobody() -> None:
    plain = load(SIM)
    sim = SimController(tuple(port_board(plain, port) for port in plain.port), circuit_limit_ma=0)
    box = Box(sim).start()
    box.power_on()
    text = SIM.read_text().replace('tty = "sim"', f'chip = "unix"\ntty = "{box.link.path}"')
    text = text.replace('link = "sim"', 'link = "serial"')
    text = text.replace('kind = "sim"', f'kind = "line"\ntty = "{box.reader.path}"')
    board, said = read_board(text, "b.toml"), list[str]()

    def out(line: str) -> None:
        """The person does what is said."""
        said.append(line)
        evse_id = 2 if any("port 2" in each for each in said) else 1
        if "plug a car" in line:
            box.plug(evse_id, Car(need_wh=0))
        elif "unplug it" in line:
            box.unplug(evse_id)
        elif "the emergency stop" in line or "release it" in line:
            pressed = "press" in line
            box.touch(lambda sim: setattr(sim, "emergency_stop", pressed))
        elif "hold a card" in line:
            box.tap("04A1B2C3")

    try:
        hands = RealHands(board, lines=lambda question: "y", out=out)
        try:
            results = run(board, hands)
        finally:
            hands.close()
        assert {result.verdict for result in results} == {Verdict.WORKS}, results
        assert results[-1].note == "card 04A1B2C3" and len(results) == 11
        assert sim.memory.circuit_limit_ma == 0
    finally:
        box.close()


def test_a_terminal_that_ends_ends_the_trial() -> None:
    def gone(question: str) -> str:
        raise EOFError

    hands = RealHands(load(SIM), lines=gone)
    try:
        with pytest.raises(EOFError):
            hands.ask("?")
    finally:
        hands.close()
