"""From a command on the serial line to the pin: the real firmware in MicroPython on its own clock, 64 kB of heap.

At rest the host is our end of the link alone. Under load it is a real agent with broker and cloud, its list of cards is
replaced again and again, and one byte in ten thousand is wrong on the line, either way. The clock is this process's:
from the first byte of a changed wish at the pty, before the line spoils it, to the duty cycle at the pin. The chip's
process has a station's chip to itself, so here it may run before all others, where we may say so (root).

What a turn of its 10 ms loop costs is counted in its own CPU time, in lockstep, turn by turn. Turns missed by the clock
are counted too, but a shared machine takes its processes away: an empty loop beside it says how often.
"""

import os
import random
import select
import subprocess
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Self

from agent.board import load
from agent.effects import PortCommand, Stop
from agent.hal.controller import ControllerLink
from agent.loop import monotonic
from agent.sim.box import Box
from agent.sim.car import Car
from agent.sim.demo import BOARD
from agent.sim.interpreter import RealController, firmware, missing
from agent.sim.mosquitto import BrokerError
from agent.sim.plant import OnPin
from bench import figure
from bench.figure import Figures, percentile
from bench.live import Stage, ports_of, stage
from board import chip
from board.firmware import boot_rom, pin_table

CHANGES, TAPS = 400, 100
NOISE = 1e-4
WAIT_S = 5.0
SEEN_S = 0.5  # until the agent has seen the car: the firmware samples its pilot, and tests itself
TURNS = 20_000
EMPTY = """
import time
due = time.ticks_ms()
while True:
    due = time.ticks_add(due, 10)
    left_ms = time.ticks_diff(due, time.ticks_ms())
    if left_ms <= -10:
        print("missed\\n" * (-left_ms // 10), end="")
        due, left_ms = time.ticks_ms(), 0
    time.sleep_ms(max(0, left_ms))
"""
TARGETS = {
    "pin_rest_p99_ms": ("ms", 20.0),
    "pin_loaded_p99_ms": ("ms", 50.0),
    "loop_turn_worst_us": ("us", 10_000.0),
}


def real(folder: Path, on_pin: OnPin) -> RealController:
    board = load(BOARD)
    ports = ports_of(board)
    return RealController(firmware(folder, ports, board.circuit_limit_ma), folder / "flash.img", ports, on_pin=on_pin)


def pins() -> Figures:
    if why := missing():
        return {name: figure.missing(unit, target, why) for name, (unit, target) in TARGETS.items()}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Empty(Path(name)) as empty:
        rest_ms, steps, overruns = at_rest()
        missed = empty.missed()
        said = f"{overruns} of {steps} at rest (an empty loop beside it {missed})"
        unit, target = TARGETS["pin_rest_p99_ms"]
        note = f"{len(rest_ms)} changed wishes at random times; p50 {percentile(rest_ms, 50):.1f}"
        figures = {"pin_rest_p99_ms": figure.figure(rest_ms, unit, target, note, percentile(rest_ms, 99))}
        unit, target = TARGETS["pin_loaded_p99_ms"]
        try:
            loaded_ms, more_steps, more_overruns = under_load()
        except BrokerError as error:
            figures["pin_loaded_p99_ms"] = figure.missing(unit, target, str(error))
        else:
            note = f"{len(loaded_ms)} taps, lists are replaced, noise {NOISE:g}; p50 {percentile(loaded_ms, 50):.1f}"
            figures["pin_loaded_p99_ms"] = figure.figure(loaded_ms, unit, target, note, percentile(loaded_ms, 99))
            overruns += more_overruns
            said += f", {more_overruns} of {more_steps} under load ({empty.missed() - missed})"
    figures["loop_overruns"] = figure.figure([overruns], "", note=said)
    turns_us = turns()
    unit, target = TARGETS["loop_turn_worst_us"]
    note = f"own CPU in {TURNS} turns with a car, changing offers and noise; mean {sum(turns_us) / TURNS:.0f}"
    figures["loop_turn_worst_us"] = figure.figure(turns_us, unit, target, note, max(turns_us))
    return figures


def alone(process: "subprocess.Popen[bytes]") -> None:
    """What else runs on this computer does not run on the chip."""
    with suppress(PermissionError):
        os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))


class Empty:
    """A chip whose turns of 10 ms are empty: what it misses, the machine took."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "missed"
        rom = folder / "rom"
        rom.write_bytes(boot_rom(pin_table("simulated", 0, [])))
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(chip.command(rom, EMPTY), stdout=out)

    def __enter__(self) -> Self:
        alone(self._process)
        return self

    def missed(self) -> int:
        return len(self._out.read_bytes().splitlines())

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


# -- turn by turn -----------------------------------------------------------------------------------------------------


def turns() -> list[float]:
    """Microseconds of CPU of each turn, and of what it left to be collected after it."""
    board = load(BOARD)
    ports, rng = ports_of(board), random.Random(1)
    link = ControllerLink(len(ports), board.circuit_limit_ma, 6_000, 60)
    taken = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        program = firmware(Path(name), ports, board.circuit_limit_ma)
        controller = RealController(program, Path(name) / "flash.img", ports, lockstep=True, on_a_tty=False)
        try:
            controller.power_on(0.0)
            controller.plug(0, Car(), 0.0)
            used_ns, now = 0, 0.0
            for n in range(-500, TURNS):  # it boots and tests itself first
                now += 0.01
                if n % 20 == 0:
                    command = PortCommand(rng.choice((6_000, 10_000, 16_000)), Stop.NONE, lock=True)
                    out = link.wish((command, PortCommand()), now)
                else:
                    out, _ = link.poll(now)
                controller.receive(spoiled(out, rng), now)
                controller.poll(now)
                answer, _ = link.received(spoiled(controller.transmit(), rng), now)
                controller.receive(answer, now)
                if controller.boot:
                    before_ns, used_ns = used_ns, ran_ns(controller.boot.process.pid)
                    if n >= 0:
                        taken.append((used_ns - before_ns) / 1000)
        finally:
            controller.close()
    assert len(taken) == TURNS and controller.bays[0].register_mj > 0, "nothing was charged"
    return taken


def spoiled(data: bytes, rng: random.Random) -> bytes:
    return bytes(rng.randrange(256) if rng.random() < NOISE else byte for byte in data)


def ran_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


# -- at rest ----------------------------------------------------------------------------------------------------------


class Host:
    """Our end of the link, and nothing behind it, on the pty's other side."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        board = load(BOARD)
        self._link = ControllerLink(len(board.port), board.circuit_limit_ma, 6_000, 60)

    def run(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while (left_s := until - time.perf_counter()) > 0:
            out, _ = self._link.poll(monotonic())
            os.write(self._fd, out)
            if select.select([self._fd], [], [], min(left_s, 0.05))[0]:
                answer, _ = self._link.received(os.read(self._fd, 4_096), monotonic())
                os.write(self._fd, answer)

    def wish(self, offer_ma: int) -> None:
        command = PortCommand(offer_ma, Stop.NONE, lock=False)
        os.write(self._fd, self._link.wish((command, PortCommand()), monotonic()))

    def close(self) -> None:
        os.close(self._fd)


def at_rest() -> tuple[list[float], int, int]:
    """Milliseconds; turns; overruns."""
    edges: deque[tuple[float, int]] = deque()

    def on_pin(_: float, index: int, name: str, value: int) -> None:
        if (index, name) == (0, "offer_ma"):
            edges.append((time.perf_counter(), value))

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        controller = real(Path(name), on_pin)
        box = Box(controller).start()
        host = Host(box.link.path)
        try:
            box.power_on()
            assert controller.boot
            alone(controller.boot.process)
            host.run(3.0)
            box.plug(1, Car(reaction_ms=600_000))  # it stays in B: the pilot alone is moved
            host.run(1.0)
            taken = []
            for n in range(CHANGES):
                edges.clear()
                began = time.perf_counter()
                host.wish((10_000, 16_000)[n % 2])
                host.run(random.uniform(0.04, 0.06))
                give_up_at = began + WAIT_S
                while not edges and time.perf_counter() < give_up_at:
                    host.run(0.01)
                taken.append(((edges[0][0] if edges else give_up_at) - began) * 1000)
            return taken, controller.steps, controller.overruns
        finally:
            host.close()
            box.close()


# -- under load -------------------------------------------------------------------------------------------------------


def under_load() -> tuple[list[float], int, int]:
    """Milliseconds; turns; overruns."""
    with stage(real) as s:
        s.cloud()
        agent = s.agent(panel=True)
        assert isinstance(s.box.controller, RealController) and s.box.controller.boot
        alone(s.box.controller.boot.process)
        s.new_list("first")
        s.box.noise = NOISE
        over = threading.Event()
        lists = threading.Thread(target=replace_lists, args=(s, over), daemon=True)
        lists.start()
        for n in range(TAPS):
            s.tap_s(n, 1 + n % 2, SEEN_S)
            s.unplug(1 + n % 2)
        over.set()
        lists.join()
        s.end(agent)
        controller = s.box.controller
        raised = [(at, index) for at, index, offer_ma in s.box.changes if offer_ma]
        edges = [(at, index) for at, index in s.offered]
        taken = [min((pin for pin, i in edges if i == index and pin >= at), default=at + WAIT_S) - at
                 for at, index in raised]  # fmt: skip
        return [seconds * 1000 for seconds in taken], controller.steps, controller.overruns


def replace_lists(s: Stage, over: threading.Event) -> None:
    n = 0
    while not over.is_set():
        n += 1
        s.new_list(f"again-{n}")
