"""From a command on the serial line to the pin: the real firmware in MicroPython on its own clock, 64 kB of heap.

At rest the host is our end of the link alone. Under load it is a real agent with broker and cloud, its list of cards is
replaced again and again, and one byte in ten thousand is wrong on the line, either way. The clock is this process's:
from the first byte of a changed wish at the pty, before the line spoils it, to the duty cycle at the pin. The chip's
process has a station's chip to itself, so here it may run before all others, where we may say so (root).
"""

import os
import random
import select
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

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
from bench.figure import Figures, cpu_s, percentile
from bench.live import Stage, ports_of, stage

CHANGES, TAPS = 400, 100
NOISE = 1e-4
WAIT_S = 5.0
SEEN_S = 0.5  # until the agent has seen the car: the firmware samples its pilot, and tests itself
TARGETS = {
    "pin_rest_p99_ms": ("ms", 20.0),
    "pin_loaded_p99_ms": ("ms", 50.0),
    "loop_overruns": ("", 0.0),
}


def real(folder: Path, on_pin: OnPin) -> RealController:
    board = load(BOARD)
    ports = ports_of(board)
    return RealController(firmware(folder, ports, board.circuit_limit_ma), folder / "flash.img", ports, on_pin=on_pin)


def pins() -> Figures:
    if why := missing():
        return {name: figure.missing(unit, target, why) for name, (unit, target) in TARGETS.items()}
    rest_ms, steps, overruns, cpu_us = at_rest()
    said = f"missed turns of 10 ms: {overruns} of {steps} at rest"
    unit, target = TARGETS["pin_rest_p99_ms"]
    note = f"{len(rest_ms)} changed wishes at random times; p50 {percentile(rest_ms, 50):.1f}"
    figures = {"pin_rest_p99_ms": figure.figure(rest_ms, unit, target, note, percentile(rest_ms, 99))}
    unit, target = TARGETS["pin_loaded_p99_ms"]
    try:
        loaded_ms, more_steps, more_overruns = under_load()
    except BrokerError as error:
        figures["pin_loaded_p99_ms"] = figure.missing(unit, target, str(error))
    else:
        note = f"{len(loaded_ms)} taps while lists are replaced, noise {NOISE:g}; p50 {percentile(loaded_ms, 50):.1f}"
        figures["pin_loaded_p99_ms"] = figure.figure(loaded_ms, unit, target, note, percentile(loaded_ms, 99))
        overruns += more_overruns
        said += f", {more_overruns} of {more_steps} under load"
    unit, target = TARGETS["loop_overruns"]
    figures["loop_overruns"] = figure.figure([overruns], unit, target, said)
    figures["loop_turn_us"] = figure.figure([cpu_us], "us", note="CPU of the chip's process for each turn, at rest")
    return figures


def alone(controller: RealController) -> None:
    """What else runs on this computer does not run on the chip."""
    assert controller.boot
    with suppress(PermissionError):
        os.sched_setscheduler(controller.boot.process.pid, os.SCHED_FIFO, os.sched_param(1))


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


def at_rest() -> tuple[list[float], int, int, float]:
    """Milliseconds; turns; overruns; microseconds of CPU for each turn."""
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
            alone(controller)
            host.run(3.0)
            box.plug(1, Car(reaction_ms=600_000))  # it stays in B: the pilot alone is moved
            host.run(1.0)
            assert controller.boot
            cpu, steps = cpu_s(controller.boot.process.pid), controller.steps
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
            cpu_us = (cpu_s(controller.boot.process.pid) - cpu) / (controller.steps - steps) * 1e6
            return taken, controller.steps, controller.overruns, cpu_us
        finally:
            host.close()
            box.close()


# -- under load -------------------------------------------------------------------------------------------------------


def under_load() -> tuple[list[float], int, int]:
    """Milliseconds; turns; overruns."""
    with stage(real) as s:
        s.cloud()
        agent = s.agent(panel=True)
        assert isinstance(s.box.controller, RealController)
        alone(s.box.controller)
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
