"""Energy meters on a Modbus RTU line, for boards whose port controller has none of its own.

    Bus (a thread, pymodbus)  --reading-->  Meters (on the loop)  --amend-->  the controller's report, for the core

A reading is only what a meter says. `plausible` decides what a session may see of it: a register that never goes back
and never moves by more than the supply can deliver, nor otherwise than the meter's own power says (`disagreement`).
Everything else is a meter_fault, which ends the session at the last good reading; energy is never guessed.
"""

import logging
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from threading import Event as Flag
from threading import Thread
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agent.events import Report
from agent.faults import Fault
from agent.hal.device import DevicePath
from agent.hal.supervision import Supervision
from agent.settings import ConfigError, Settings
from board.controller.contract import PORT_REPORT

Three = tuple[int, int, int]

PERIOD_S = 1.0
TIMEOUT_S = 0.5  # within which a meter begins to answer, and what the line takes
QUIET_S = 0.05  # between two questions; RTU asks for the time of 3.5 bytes
BYTE_BITS = 11  # at most: start, data, parity, stop
REQUEST_BYTES, ANSWER_BYTES = 8, 5  # and of the answer two more for each word
FAULT_AFTER_S = 5.0  # without a plausible reading; board/controller/app/port.py waits as long for its own meter
MISSES = 3  # and so many that were none: a process that stood still for some seconds has missed nothing
DEAD_S = 15.0  # without any reading at all
CONFIRMATIONS = 3  # readings in a row that agree with each other, before a register is taken over
LAG_S = 15.0  # a meter may refresh its register so rarely
VOLTAGE_MAX_V, TRIP = 264, 1.45  # 240 V + 10 %; what a breaker carries for an hour, IEC 60898-1 table 7
ALONE_S = 10.0  # beyond its grace for a silent host: the controller's orderly stop, and what a commit takes
LOADED_VA = 1_400  # a car that charges draws as much (6 A); below it may be the reactive current of its filters
BALANCE_WH, UNEVEN = 1_000, 1.25  # weighed over so much; register and power may differ by a quarter
BACKWARDS_W = 50  # what flows out of a car by more than noise is a meter that is wired backwards
UPPER = dict(zip(PORT_REPORT[::3], PORT_REPORT[2::3], strict=True))


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
    refresh_s: Annotated[float, Meta(ge=0.1, le=3)] = 1.0  # it measures current, voltage and power anew so often
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


def timeout_s(facts: ModbusFacts) -> float:
    """Until the last byte of the longest answer."""
    longest = max(span.count for span in spans(facts.registers))
    return TIMEOUT_S + (REQUEST_BYTES + ANSWER_BYTES + 2 * longest) * BYTE_BITS / facts.baudrate


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
    why = contradiction(power_w, current_ma, voltage_mv)
    return why or Sample(energy_wh, power_w, three(current_ma), three(voltage_mv))


def contradiction(power_w: int, current_ma: Iterable[int], voltage_mv: Sequence[int]) -> str:
    """How power, current and voltage disagree; "" if they do not.

    Whichever of them is wrong, the cable is supervised by the one and the energy is sold by a meter that has the other.
    So such a reading is none at all: once it changes nothing, and if it lasts it is a meter_fault.
    """
    apparent_va = sum(ma * mv for ma, mv in zip(current_ma, voltage_mv, strict=True)) / 1e6
    coarse_va = sum(voltage_mv) / 1000  # a meter may cut off whole amperes
    says = f"the meter's {power_w} W is"
    if power_w > 1.1 * apparent_va + coarse_va + BACKWARDS_W:
        return f"{says} more than its currents carry: check its transformers, or correct the register map"
    if apparent_va >= LOADED_VA and power_w < apparent_va / 2:  # cars have a power factor near 1
        return f"{says} less than half of what its currents carry: turn the phase wired backwards, or correct the map"
    return ""


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


def begun(stored_wh: int | None, now: float, limits: Possible, settings: Settings) -> Meter:
    """A meter at the agent's start. `stored_wh`: the newest reading of the session that stands open on the disk, or
    None. From there its register goes on, or that session has seen its last."""
    if stored_wh is None:
        return Meter(now)
    return Meter(now, Sample(stored_wh), limits.energy_wh(unseen_s(settings)) + limits.slack_wh)


def unseen_s(settings: Settings) -> float:
    """For how long energy may have flowed since a session's stored reading: until the next one would have been stored,
    and while the controller went on alone. However long the station was away: without it nothing flows."""
    return settings.tx_updated_interval_s + settings.host_grace_s + ALONE_S


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


@dataclass(frozen=True, slots=True)
class Balance:
    """A meter's two witnesses of energy, since a beginning: its register, and its power times time. The power is known
    only where it is read: between `low_wh` and `high_wh` have flowed."""

    begun_wh: int
    at: float
    power_w: int
    low_wh: float = 0.0
    high_wh: float = 0.0


def weighed(balance: Balance | None, reading: Sample, at: float, limits: Possible) -> Balance:
    """The balance with this reading's power; anew after BALANCE_WH, so that old agreement hides no new quarrel, and
    after a silence."""
    if balance is None or at - balance.at > DEAD_S or balance.high_wh > BALANCE_WH + limits.slack_wh:
        return Balance(reading.energy_wh, at, reading.power_w)
    low_w, high_w = sorted((balance.power_w, reading.power_w))
    hours = max(0.0, at - balance.at) / 3600
    return replace(
        balance, at=max(at, balance.at), power_w=reading.power_w,
        low_wh=balance.low_wh + low_w * hours, high_wh=balance.high_wh + high_w * hours,
    )  # fmt: skip


def disagreement(balance: Balance, register_wh: int, limits: Possible) -> str:
    """How its register and its power disagree about what has flowed; "" if they do not. Nobody can tell which of them
    is right, so neither is sold."""
    moved_wh = register_wh - balance.begun_wh
    if balance.low_wh / UNEVEN - limits.slack_wh <= moved_wh <= balance.high_wh * UNEVEN + limits.slack_wh:
        return ""
    flowed = f"its power {balance.low_wh:.0f} to {balance.high_wh:.0f} Wh"
    return f"the meter's register says {moved_wh} Wh, {flowed}: correct the register map, or replace the meter"


class Meters:
    """The meters of all ports, on the event loop. `heard` takes what a bus reads, `amend` is for the ControllerLink.

    `meters` and `supervisions`: of each port, as they begin. `is_free` says whether a port (by evse_id) has no session.
    `tell` hears of each port when its meter fails, why, and "" when it is well again; and of each register that was
    taken over.
    """

    def __init__(
        self, limits: Possible, meters: Iterable[Meter], supervisions: Sequence[Supervision],
        is_free: Callable[[int], bool],
        tell: Callable[[int, str], None] = lambda evse_id, sentence: None,
    ) -> None:  # fmt: skip
        self.meters = list(meters)
        self._balances: list[Balance | None] = [None] * len(self.meters)
        assert len(supervisions) == len(self.meters)
        self._limits, self._supervisions, self._is_free, self._tell = limits, supervisions, is_free, tell
        self._told = [False] * len(self.meters)

    def heard(self, index: int, reading: Sample | str, at: float) -> None:
        before = self.meters[index]
        # Without a session one may begin at any moment, with the old register, unless the core has heard of the fault.
        may_begin = before.sample is not None and not self._told[index]
        is_billed = may_begin or not self._is_free(index + 1)
        meter = plausible(before, reading, at, self._limits, is_billed=is_billed)
        if isinstance(reading, Sample) and meter.sample is reading:  # believed so far
            balance = weighed(self._balances[index] if is_billed else None, reading, at, self._limits)
            self._balances[index] = balance
            if why := disagreement(balance, reading.energy_wh, self._limits):
                meter = plausible(before, why, at, self._limits, is_billed=is_billed)
            else:
                self._supervisions[index].read(reading.current_ma, reading.voltage_mv, at)
        self.meters[index] = meter
        if meter.takeovers > before.takeovers and before.sample and meter.sample:
            self._tell(index + 1, f"{before.why}, and goes on from {meter.sample.energy_wh} Wh")

    def amend(self, index: int, report: Report, now: float) -> Report | None:
        meter, supervision = self.meters[index], self._supervisions[index]
        if is_faulty(meter, now) != self._told[index]:
            self._told[index] = not self._told[index]
            self._tell(index + 1, meter.why if self._told[index] else "")
        supervision.reported(report)
        if self._told[index]:
            supervision.blind(now)
        if supervision.faults:
            report = replace(report, faults=report.faults | supervision.faults)
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
        self._timeout_s = timeout_s(facts)
        self._client: Any = ModbusSerialClient(
            facts.tty, baudrate=facts.baudrate, parity=facts.parity, stopbits=facts.stop_bits,
            timeout=self._timeout_s, retries=0,
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
                    due = max(due, self._now() + self._timeout_s)
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
        if self._is_more_said():
            return f"{where} is answered twice: check that no two have one address"
        return list(answer.registers)

    def _is_more_said(self) -> bool:
        """Whether somebody speaks unasked: a second meter's answer would pass for that to the next question. A few
        bytes are noise, for the line floats when a meter lets it go."""
        self._closed.wait(QUIET_S)
        try:
            return bool(self._client.socket.in_waiting >= ANSWER_BYTES)
        except Exception:  # the line is gone: the next question will say so
            return False
