"""Energy meters on a Modbus RTU line, for boards whose port controller has none of its own.

    Bus (a thread, pymodbus)  --reading-->  Meters (on the loop)  --amend-->  the controller's report, for the core

A reading is only what a meter says. `plausible` decides what a session may see of it: a register that never goes back
and never moves by more than the supply can deliver. Everything else is a meter_fault, which ends the session at the
last good reading; energy is never guessed.
"""

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from threading import Event as Flag
from threading import Thread
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agent.events import Report
from agent.faults import Fault
from agent.hal.device import DevicePath
from agent.settings import ConfigError
from board.controller.contract import PORT_REPORT

Three = tuple[int, int, int]

PERIOD_S = 1.0
TIMEOUT_S = 0.5  # a meter answers within 0.2 s; at 1,200 baud the longest answer lasts as long again
FAULT_AFTER_S = 5.0  # without a plausible reading; board/controller/app/port.py waits as long for its own meter
MISSES = 3  # and so many that were none: a process that stood still for some seconds has missed nothing
DEAD_S = 15.0  # without any reading at all
CONFIRMATIONS = 3  # readings in a row that agree with each other, before a register is taken over
LAG_S = 15.0  # a meter may refresh its register so rarely
VOLTAGE_MAX_V, TRIP = 264, 1.45  # 240 V + 10 %; what a breaker carries for an hour, IEC 60898-1 table 7
RESUME_S = 600.0  # after a power cut a session resumes within so long (the default of tx_resumption_timeout_s)
BACKWARDS_W = 50  # what flows out of a car by more than noise is a meter that is wired backwards
UPPER = {name: upper for name, _, upper in PORT_REPORT}


# -- the facts of a board ---------------------------------------------------------------------------------------------

FORMATS = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip

Scale = Annotated[float, Meta(gt=0, le=1_000_000, description="a number above 0, at most 1000000")]


class Register(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value stands, and what one count of it is worth.

    `address` is what travels: a manual's 30053 is address 52 of function 4, its 40053 address 52 of function 3.
    """

    address: Annotated[int, Meta(ge=0, le=65_535)]
    type: Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
    scale: Scale = 1.0  # in the unit of the field: kWh in energy_wh is 1000
    function: Literal[3, 4] = 4  # 3: holding registers, 4: input registers
    word_order: Literal["big", "little"] = "big"  # big: the high word comes first

    @property
    def words(self) -> int:
        return struct.calcsize(FORMATS[self.type]) // 2

    def __post_init__(self) -> None:
        if self.address + self.words > 65_536:
            raise ValueError(f"address {self.address} is the last one: a {self.type} takes {self.words}")


class ModbusFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """One line with one meter a port, all of one make."""

    tty: DevicePath
    units: tuple[Annotated[int, Meta(ge=1, le=247)], ...]  # address of each port's meter, in order of evse_id
    energy_wh: Register  # imported, since the meter was made
    power_w: Register
    current_ma: tuple[Register, ...]  # of each phase
    voltage_mv: tuple[Register, ...]
    energy_step_wh: Annotated[float, Meta(ge=0, le=1_000)] = 10.0  # the register moves by so much at once
    baudrate: Literal[1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200] = 9_600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if not 1 <= len(self.units) <= 4 or len(set(self.units)) < len(self.units):
            raise ValueError("units: name 1 to 4 addresses, one for each port's meter, no two alike")
        if len(self.current_ma) not in (1, 3) or len(self.current_ma) != len(self.voltage_mv):
            raise ValueError("current_ma and voltage_mv: describe a register for each phase, 1 or 3 in both")

    @property
    def registers(self) -> tuple[Register, ...]:
        return (self.energy_wh, self.power_w, *self.current_ma, *self.voltage_mv)


# -- from words to a reading ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """What one meter said, within the bounds of board/controller/contract.py."""

    energy_wh: int
    power_w: int = 0
    current_ma: Three = (0, 0, 0)
    voltage_mv: Three = (0, 0, 0)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers that are read with one request: a value is never put together from two."""

    function: int
    address: int
    count: int  # at most 32, eight values of four words; a request may ask for 125

    @property
    def end(self) -> int:
        return self.address + self.count


Words = Mapping[tuple[int, int], int]  # (function, address) -> word


def spans(registers: Iterable[Register]) -> tuple[Span, ...]:
    """What to ask for: neighbours together, gaps never, for some meters refuse what touches a register they lack."""
    found: list[Span] = []
    for each in sorted({Span(r.function, r.address, r.words) for r in registers}):
        if found and found[-1].function == each.function and each.address <= found[-1].end:
            found[-1] = replace(found[-1], count=max(found[-1].end, each.end) - found[-1].address)
        else:
            found.append(each)
    return tuple(found)


def value(register: Register, words: Words) -> float:
    """In the unit of the field. Infinite and NaN as the meter has them."""
    order = range(register.words) if register.word_order == "big" else reversed(range(register.words))
    data = b"".join(words[register.function, register.address + i].to_bytes(2, "big") for i in order)
    number: float = struct.unpack(f">{FORMATS[register.type]}", data)[0]
    return number * register.scale


def sample_of(facts: ModbusFacts, words: Words) -> Sample | str:
    """The reading; or the sentence that says why it is none."""
    numbers = [value(register, words) for register in facts.registers]
    if not all(map(isfinite, numbers)):
        return "the meter says that it has no value (NaN): is it starting, or is the register map another meter's?"
    energy_wh, power_w, *rest = map(round, numbers)
    phases = len(facts.current_ma)
    if power_w < -BACKWARDS_W:
        return f"the meter reads {power_w} W: it is wired backwards, or the register map is another meter's"
    power_w, current_ma, voltage_mv = max(0, power_w), [*map(abs, rest[:phases])], rest[phases:]
    for name, bound, each in (
        ("energy_wh", "energy_wh", [energy_wh]), ("power_w", "power_w", [power_w]),
        ("current_ma", "current_l1_ma", current_ma), ("voltage_mv", "voltage_l1_mv", voltage_mv),
    ):  # fmt: skip
        if wrong := [number for number in each if not 0 <= number <= UPPER[bound]]:
            return f"the meter's {name} is {wrong[0]}: correct the register map"
    return Sample(energy_wh, power_w, three(current_ma), three(voltage_mv))


def three(values: Iterable[int]) -> Three:
    l1, l2, l3 = [*values, 0, 0][:3]
    return l1, l2, l3


# -- what a session may see of it -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Possible:
    """How fast a register can move: what one port's supply can carry, and how coarsely the meter counts."""

    power_w: float
    step_wh: float = 10.0

    def energy_wh(self, seconds: float) -> float:
        return self.power_w * max(0.0, seconds) / 3600

    @property
    def slack_wh(self) -> float:
        """By so much a register may be ahead of the power: it moves in steps, and seldom."""
        return self.energy_wh(LAG_S) + self.step_wh + 1


def possible(facts: ModbusFacts, port_limit_ma: int) -> Possible:
    return Possible(len(facts.current_ma) * port_limit_ma / 1000 * VOLTAGE_MAX_V * TRIP, facts.energy_step_wh)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reading that does not go on from the register, and how many in a row agree with it."""

    sample: Sample
    at: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter, as far as it is believed. `at`: when it was last believed, or the beginning."""

    at: float
    sample: Sample | None = None
    spare_wh: float = 0.0  # by so much the register may move beyond what flows from now on
    doubt: Doubt | None = None
    why: str = "the meter has not answered yet: check its wires and supply"  # it is not believed now; "" if it is
    missed: int = 0  # readings since then
    takeovers: int = 0  # registers that went on elsewhere


def remembered(energy_wh: int, now: float, limits: Possible) -> Meter:
    """A meter whose register stands in a stored session: it goes on from there, or that session has seen its last."""
    return Meter(now, Sample(energy_wh), limits.energy_wh(RESUME_S) + limits.slack_wh)


def plausible(meter: Meter, reading: Sample | str, at: float, limits: Possible, *, is_billed: bool) -> Meter:
    """Take in a reading of the time `at`, or the sentence that says why there is none.

    Over any time the register moves by no more than the limits' power times that time plus one slack. One that went on
    elsewhere (reset, exchanged, another meter) is taken over once it agrees with itself, unless something is or might
    be billed by the old one (`is_billed`).
    """
    if isinstance(reading, str):
        return replace(meter, why=reading, doubt=None, missed=meter.missed + 1)
    why = "the meter's register has just been found"
    if meter.sample is not None:
        moved_wh = reading.energy_wh - meter.sample.energy_wh
        spare_wh = meter.spare_wh + limits.energy_wh(at - meter.at)
        if 0 <= moved_wh <= spare_wh:
            return replace(
                meter, at=max(at, meter.at), sample=reading, doubt=None, why="", missed=0,
                spare_wh=min(spare_wh - moved_wh, limits.slack_wh),
            )  # fmt: skip
        how = "went back" if moved_wh < 0 else "jumped"
        why = f"the meter's register {how} from {meter.sample.energy_wh} to {reading.energy_wh} Wh"
    doubt = doubted(meter.doubt, reading, at, limits)
    if doubt.count < CONFIRMATIONS or is_billed:
        return replace(meter, doubt=doubt, why=why, missed=meter.missed + 1)
    return Meter(at, reading, limits.slack_wh, why="", takeovers=meter.takeovers + (meter.sample is not None))


def doubted(before: Doubt | None, reading: Sample, at: float, limits: Possible) -> Doubt:
    if before is None:
        return Doubt(reading, at)
    moved_wh = reading.energy_wh - before.sample.energy_wh
    agrees = 0 <= moved_wh <= limits.energy_wh(at - before.at) + limits.slack_wh
    return Doubt(reading, at, before.count + 1 if agrees else 1)


def is_faulty(meter: Meter, now: float) -> bool:
    silent_s = now - meter.at
    return silent_s >= FAULT_AFTER_S and (meter.missed >= MISSES or silent_s >= DEAD_S)


def amended(report: Report, meter: Meter, now: float) -> Report | None:
    """The controller's report with this meter's values; None while nobody can know the register, for at most
    DEAD_S: a session that waits to be resumed would take 0 Wh for a register that went back."""
    if is_faulty(meter, now):
        energy_wh = meter.sample.energy_wh if meter.sample else report.energy_wh
        silent = replace(report, energy_wh=energy_wh, power_w=0, current_ma=(0, 0, 0), voltage_mv=(0, 0, 0))
        return replace(silent, faults=report.faults | {Fault.METER_FAULT})
    if meter.sample is None:
        return None
    s = meter.sample
    return replace(
        report, energy_wh=s.energy_wh, power_w=s.power_w, current_ma=s.current_ma, voltage_mv=s.voltage_mv
    )


class Meters:
    """The meters of all ports, on the event loop. `heard` takes what a bus reads, `amend` is for the ControllerLink.

    `stored_wh`: of each port the newest reading of the session that stands open on the disk, or None. `is_free` says
    whether a port (by evse_id) has no session. `tell` hears of each port when its meter fails, why, and "" when it is
    well again; and of each register that was taken over.
    """

    def __init__(
        self, limits: Possible, stored_wh: Iterable[int | None], now: float, is_free: Callable[[int], bool],
        tell: Callable[[int, str], None] = lambda evse_id, sentence: None,
    ) -> None:  # fmt: skip
        self.meters = [Meter(now) if wh is None else remembered(wh, now, limits) for wh in stored_wh]
        self._limits, self._is_free, self._tell = limits, is_free, tell
        self._told = [False] * len(self.meters)

    def heard(self, index: int, reading: Sample | str, at: float) -> None:
        before = self.meters[index]
        # Without a session one may begin at any moment, with the old register, unless the core has heard of the fault.
        may_begin = before.sample is not None and not self._told[index]
        is_billed = may_begin or not self._is_free(index + 1)
        meter = plausible(before, reading, at, self._limits, is_billed=is_billed)
        self.meters[index] = meter
        if meter.takeovers > before.takeovers and before.sample and meter.sample:
            self._tell(index + 1, f"{before.why}, and goes on from {meter.sample.energy_wh} Wh")

    def amend(self, index: int, report: Report, now: float) -> Report | None:
        meter = self.meters[index]
        if is_faulty(meter, now) != self._told[index]:
            self._told[index] = not self._told[index]
            self._tell(index + 1, meter.why if self._told[index] else "")
        return amended(report, meter, now)


# -- the line ---------------------------------------------------------------------------------------------------------


class Bus:
    """Reads each meter every `period_s`, in a thread of its own, which hands every reading to `heard`: the port's
    index, a Sample or a sentence, and when it was read."""

    def __init__(
        self, facts: ModbusFacts, heard: Callable[[int, Sample | str, float], None], now: Callable[[], float],
        period_s: float = PERIOD_S,
    ) -> None:  # fmt: skip
        """ConfigError if there is no pymodbus."""
        try:
            from pymodbus.client import ModbusSerialClient
        except ImportError:
            raise ConfigError('pymodbus is not installed: install the extra "modbus"') from None
        logging.getLogger("pymodbus.logging").disabled = True  # every failure is a sentence of ours
        self._client: Any = ModbusSerialClient(
            facts.tty, baudrate=facts.baudrate, parity=facts.parity, stopbits=facts.stop_bits,
            timeout=TIMEOUT_S, retries=0,
        )  # fmt: skip
        self._facts, self._heard, self._now, self._period_s = facts, heard, now, period_s
        self._spans = spans(facts.registers)
        self._closed = Flag()
        self.thread = Thread(target=self._run, name="modbus", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Returns at once; the thread ends with the reading it is at."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            due = self._now() + self._period_s
            for index, unit in enumerate(self._facts.units):
                reading = self._read(unit)
                self._heard(index, reading, self._now())
                if isinstance(reading, str):
                    due = max(due, self._now() + TIMEOUT_S)
            self._closed.wait(max(0.0, due - self._now()))
        self._client.close()

    def _read(self, unit: int) -> Sample | str:
        """An answer does not say what it answers. So after one that is missing nothing more is asked of that meter in
        this round, and the pause lets a late one arrive; pymodbus throws away what has come unasked."""
        words: dict[tuple[int, int], int] = {}
        for span in self._spans:
            answer = self._asked(unit, span)
            if isinstance(answer, str):
                return answer
            words |= {(span.function, span.address + i): word for i, word in enumerate(answer)}
        return sample_of(self._facts, words)

    def _asked(self, unit: int, span: Span) -> list[int] | str:
        where = f"the meter {unit} on {self._facts.tty}"
        if not self._client.connect():
            return f"the meters' line {self._facts.tty} cannot be opened: check its adapter"
        ask = self._client.read_holding_registers if span.function == 3 else self._client.read_input_registers
        try:
            answer = ask(span.address, count=span.count, device_id=unit)
        except Exception:  # silence, a line that is gone, and whatever noise makes pymodbus's decoders raise
            return f"{where} does not answer: check its wires, address, baudrate and parity"
        if answer.isError():
            code = answer.exception_code
            return f"{where} refuses register {span.address} (exception {code}): correct the register map"
        if answer.function_code != span.function or len(answer.registers) != span.count:
            return f"{where} answers another question than {span.address}: check that no two have one address"
        return list(answer.registers)
