"""Meters on Modbus RTU: what a session may see of a register, and the driver against pymodbus's own server on a pty."""

import asyncio
import os
import queue
import select
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replaced

from agent.effects import PortCommand, Stop
from agent.events import Cp, PortReported, Report
from agent.faults import Fault
from agent.hal.controller import ControllerLink
from agent.hal.modbus import (
    CONFIRMATIONS,
    FAULT_AFTER_S,
    FORMATS,
    LAG_S,
    UNEVEN,
    Bus,
    Meter,
    Meters,
    ModbusFacts,
    Possible,
    Register,
    Sample,
    Span,
    Words,
    amended,
    begun,
    disagreement,
    is_faulty,
    plausible,
    possible,
    sample_of,
    spans,
    value,
    weighed,
)
from agent.hal.supervision import Supervision
from agent.loop import monotonic
from agent.port import Status, status
from agent.settings import Settings
from agent.sim.box import Line
from agent.sim.car import Car
from agent.sim.controller import SimController
from board.controller.app.port import PortBoard
from tests.play import ANN, Play

TIMEOUT_S = 10.0


def three_phases(tty: str = "/dev/ttyS2", units: tuple[int, ...] = (1,)) -> ModbusFacts:
    """A map like that of many meters: floats in V, A, W and kWh, with gaps between the groups."""
    return ModbusFacts(
        tty=tty,
        units=units,
        energy_wh=Register(72, "float32", 1000),
        power_w=Register(52, "float32"),
        current_ma=tuple(Register(6 + 2 * i, "float32", 1000) for i in range(3)),
        voltage_mv=tuple(Register(2 * i, "float32", 1000) for i in range(3)),
    )


FACTS = three_phases()
LIMITS = possible(FACTS, 32_000)
BOARD = PortBoard(phases=3, metered=False)
DEFAULTS = Settings()
GOOD = Sample(123_400, 7_360, (32_000, 0, 0), (230_000, 231_000, 229_000))
VALUES = {0: 230.0, 2: 231.0, 4: 229.0, 6: 32.0, 8: 0.0, 10: 0.0, 52: 7_360.0, 72: 123.4}


def mains(energy_wh: int, power_w: int = 1_000, current_ma: int = 0, volts: int = 230) -> Sample:
    """A reading on three healthy phases, or what is left of them."""
    return Sample(energy_wh, power_w, (current_ma,) * 3, (volts * 1_000,) * 3)


def passed_on(energy_wh: int) -> Report:
    return Report(energy_wh=energy_wh, power_w=1_000, voltage_mv=(230_000,) * 3)


def float_words(values: dict[int, float], function: int = 4) -> Words:
    return {
        (function, address + i): int.from_bytes(struct.pack(">f", number)[2 * i : 2 * i + 2], "big")
        for address, number in values.items()
        for i in (0, 1)
    }


# -- the facts --------------------------------------------------------------------------------------------------------


def test_a_board_describes_its_meters_and_contradictions_are_refused() -> None:
    table = msgspec.to_builtins(FACTS)
    assert msgspec.convert(table, ModbusFacts) == FACTS
    wrong: dict[str, Any] = {
        "units": [1, 1],
        "current_ma": table["current_ma"][:2],
        "baudrate": 9_601,
        "energy_wh": {"address": 65_535, "type": "float32"},
        "power_w": {"address": 1, "type": "float32", "scale": 0},
        "parity": "M",
        "unit": 1,
    }
    for key, bad in wrong.items():
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**table, key: bad}, ModbusFacts)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**table, "units": []}, ModbusFacts)


def test_neighbours_are_read_together_and_gaps_never() -> None:
    assert spans(FACTS.registers) == (Span(4, 0, 12), Span(4, 52, 2), Span(4, 72, 2))
    mixed = [Register(0, "int16", function=3), Register(1, "int64", function=4), Register(1, "int16", function=3)]
    assert spans(mixed) == (Span(3, 0, 2), Span(4, 1, 4))


registers = st.builds(
    Register,
    address=st.integers(0, 65_000),
    type=st.sampled_from(list(FORMATS)),
    function=st.sampled_from([3, 4]),
    word_order=st.sampled_from(["big", "little"]),
)


@given(st.lists(registers, min_size=1, max_size=8))
def test_every_word_is_asked_for_once_and_in_bounds(wanted: list[Register]) -> None:
    asked = [(s.function, s.address + i) for s in spans(wanted) for i in range(s.count)]
    assert len(asked) == len(set(asked))
    assert set(asked) == {(r.function, r.address + i) for r in wanted for i in range(r.words)}
    assert all(1 <= s.count <= 125 and s.end <= 65_536 for s in spans(wanted))


@given(registers, st.data())
def test_a_value_is_read_as_pymodbus_writes_it(register: Register, draw: st.DataObject) -> None:
    from pymodbus.client import ModbusSerialClient

    form = FORMATS[register.type]
    raw = draw.draw(st.binary(min_size=2 * register.words, max_size=2 * register.words))
    number = struct.unpack(f">{form}", raw)[0]
    if number != number:  # NaN equals nothing, not even itself
        return
    kind = ModbusSerialClient.DATATYPE[register.type.upper()]
    words = ModbusSerialClient.convert_to_registers(number, kind, word_order=register.word_order)
    assert value(register, {(register.function, register.address + i): w for i, w in enumerate(words)}) == float(number)


# -- a reading --------------------------------------------------------------------------------------------------------


def test_a_reading_is_in_our_units() -> None:
    assert sample_of(FACTS, float_words(VALUES)) == GOOD


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({72: float("nan")}, "NaN"),
        ({0: float("inf")}, "NaN"),
        ({72: -1.0}, "energy_wh is -1000"),
        ({72: 1e9}, "energy_wh"),
        ({52: -500.0}, "-500 W: it is wired backwards"),
        ({6: 4_000.0}, "current_ma is 4000000"),
        ({4: -230.0}, "voltage_mv is -230000"),
        ({6: 0.0}, "7360 W is more than its currents carry"),
        ({6: 0.32}, "7360 W is more than its currents carry"),
        ({52: 736_000 / 4}, "184000 W is more than its currents carry"),
        ({0: 0.0, 2: 0.0, 4: 0.0}, "7360 W is more than its currents carry"),
        ({8: 32.0, 10: 32.0}, "7360 W is less than half of what its currents carry"),
        ({52: 0.0}, "0 W is less than half of what its currents carry"),
        ({0: 23_000.0}, "voltage_mv is 23000000"),
    ],
)
@pytest.mark.promise("S9")
def test_what_no_meter_can_read_is_a_sentence(change: dict[int, float], says: str) -> None:
    answer = sample_of(FACTS, float_words({**VALUES, **change}))
    assert isinstance(answer, str)
    assert says in answer


@given(
    st.lists(st.floats(0, 40), min_size=3, max_size=3), st.lists(st.floats(180, 260), min_size=3, max_size=3),
    st.floats(0.6, 1.0), st.sampled_from([0.01, 0.1, 1.0]),
)  # fmt: skip
def test_no_load_makes_an_honest_meter_contradict_itself_however_coarse_it_is(
    amps: list[float], volts: list[float], power_factor: float, step_a: float
) -> None:
    watts = power_factor * sum(a * v for a, v in zip(amps, volts, strict=True))
    shown = {6 + 2 * i: a // step_a * step_a for i, a in enumerate(amps)} | {2 * i: v for i, v in enumerate(volts)}
    assert isinstance(sample_of(FACTS, float_words({**VALUES, **shown, 52: watts})), Sample)


def test_what_a_parked_car_draws_without_power_is_no_contradiction() -> None:
    filters = {6: 1.9, 8: 1.9, 10: 1.9, 52: -30.0}
    assert isinstance(sample_of(FACTS, float_words({**VALUES, **filters})), Sample)


@given(st.lists(st.integers(0, 65_535), min_size=16, max_size=16))
def test_any_words_are_a_reading_within_the_contract_or_a_sentence(words: list[int]) -> None:
    places = [(s.function, s.address + i) for s in spans(FACTS.registers) for i in range(s.count)]
    answer = sample_of(FACTS, dict(zip(places, words, strict=True)))
    if isinstance(answer, Sample):
        assert 0 <= answer.energy_wh <= 0xFFFF_FFFF
        assert 0 <= answer.power_w <= 200_000
        assert all(0 <= ma <= 200_000 for ma in answer.current_ma)
        assert all(0 <= mv <= 1_000_000 for mv in answer.voltage_mv)
    else:
        assert answer


# -- what a session may see of it -------------------------------------------------------------------------------------


class Bench:
    """One meter in simulated time, read every second."""

    def __init__(
        self, stored_wh: int | None = None, limits: Possible = LIMITS, settings: Settings = DEFAULTS
    ) -> None:
        self.now, self.is_free = 100.0, True
        self.told: list[str] = []
        self.meters = Meters(
            limits, [begun(stored_wh, self.now, limits, settings)], [Supervision(BOARD, 1.0)], lambda _: self.is_free,
            lambda _, sentence: self.told.append(sentence),
        )  # fmt: skip

    @property
    def meter(self) -> Meter:
        return self.meters.meters[0]

    def hear(self, *readings: int | str | Sample) -> Report | None:
        """What the core is told at the end; it is told something after each."""
        report = None
        for reading in readings:
            self.now += 1.0
            heard = mains(reading) if isinstance(reading, int) else reading
            self.meters.heard(0, heard, self.now)
            report = self.report()
        return report

    def report(self) -> Report | None:
        return self.meters.amend(0, Report(), self.now)

    def found(self, register_wh: int) -> "Bench":
        self.hear(*[register_wh] * CONFIRMATIONS)
        assert self.meter.sample == mains(register_wh)
        return self


def faulty(report: Report | None) -> bool:
    return report is not None and Fault.METER_FAULT in report.faults


def test_nobody_sees_a_register_before_it_is_known_or_the_meter_is_faulty() -> None:
    bench = Bench()
    assert bench.hear("silence") is None
    bench.hear(*["silence"] * int(FAULT_AFTER_S))
    assert faulty(bench.report())
    assert not faulty(bench.hear(5_000, 5_000, 5_000))
    assert bench.report() == passed_on(5_000)


def test_a_register_that_moves_as_the_supply_can_is_passed_on() -> None:
    bench = Bench().found(5_000)
    for wh in range(5_000, 6_000, 9):
        report = bench.hear(mains(wh, 32_400))
        assert report is not None
        assert report.energy_wh == wh
        assert not report.faults


def test_a_register_that_runs_faster_than_the_supply_is_a_fault_however_small_its_jumps() -> None:
    bench = Bench().found(5_000)
    bench.is_free = False
    report = bench.hear(*range(5_000, 9_000, 20))  # 72 kW
    assert faulty(report)
    assert report is not None
    assert report.energy_wh <= 5_000 + LIMITS.energy_wh(30) + LIMITS.slack_wh


def test_a_coarse_meter_may_jump_by_its_step() -> None:
    bench = Bench(limits=replace(LIMITS, step_wh=100.0)).found(5_000)
    for wh in range(5_000, 9_000, 100):
        report = bench.hear(*[mains(wh, 18_000)] * 20)
        assert report is not None
        assert report.energy_wh == wh
        assert not report.faults


@pytest.mark.parametrize("elsewhere", [0, 4_999, 6_000, 4_000_000_000])
def test_one_wrong_register_changes_nothing(elsewhere: int) -> None:
    bench = Bench().found(5_000)
    bench.is_free = False
    assert bench.hear(elsewhere) == passed_on(5_000)
    assert bench.hear(5_001) == passed_on(5_001)
    assert bench.meter.why == ""


def lasting(bench: Bench, says_w: int, counts_w: float) -> tuple[float, int]:
    """A session in which the meter says and counts so much: after how many seconds it is a fault, and at which
    register; at most an hour."""
    bench.is_free = False
    for second in range(3_600):
        sample = mains(5_000 + int(counts_w * second / 3600), says_w, says_w * 1000 // 690)
        report = bench.hear(sample)
        if report and faulty(report):
            return second, report.energy_wh
    return 3_600, 0


@pytest.mark.promise("S2")
@pytest.mark.parametrize(("says_w", "counts_w"), [(22_000, 2_200), (22_000, 0), (0, 7_000), (7_000, 36_000)])
def test_a_register_that_its_own_power_denies_is_a_fault_before_much_is_sold(says_w: int, counts_w: int) -> None:
    bench = Bench().found(5_000)
    seconds, register_wh = lasting(bench, says_w, counts_w)
    assert seconds < 200
    assert register_wh - 5_000 <= UNEVEN * says_w * seconds / 3600 + LIMITS.slack_wh
    assert "the meter's register says" in bench.meter.why
    bench.is_free = True
    assert not faulty(bench.hear(*[register_wh] * CONFIRMATIONS)), "the next session may show it anew"


@pytest.mark.parametrize("load_w", [0, 30, 1_400, 7_000, 22_000])
@pytest.mark.parametrize("error", [0.9, 1.0, 1.1])
def test_a_meter_that_agrees_with_itself_is_never_a_fault(load_w: int, error: float) -> None:
    assert lasting(Bench().found(5_000), load_w, load_w * error) == (3_600, 0)


@given(st.lists(st.tuples(st.integers(0, 22_000), st.integers(1, 40)), max_size=30), st.sampled_from([1, 10, 100]))
def test_no_changing_load_makes_an_honest_meter_disagree_with_itself_however_rarely_it_counts(
    loads: list[tuple[int, int]], step_wh: int
) -> None:
    limits = replace(LIMITS, step_wh=float(step_wh))
    balance, now, true_wh, counted_wh = None, 0, 0.0, 0
    for load_w, seconds in loads:
        for _ in range(seconds):
            now += 1
            true_wh += load_w / 3600
            counted_wh = int(true_wh) // step_wh * step_wh if now % int(LAG_S) == 0 else counted_wh
            reading = mains(counted_wh, load_w)
            balance = weighed(balance, reading, now, limits)
            assert not disagreement(balance, counted_wh, limits)


@pytest.mark.promise("S3")
@pytest.mark.parametrize(("interval_s", "most_wh"), [(60.0, 2_000), (300.0, 4_500), (3_600.0, 38_000)])
def test_what_flowed_since_the_stored_reading_is_believed_for_every_interval_between_them_and_no_more(
    interval_s: float, most_wh: int
) -> None:
    settings = Settings(tx_updated_interval_s=interval_s)
    flowed_wh = round(22_000 * (interval_s + settings.host_grace_s) / 3600)
    for moved_wh, goes_on in ((0, True), (flowed_wh, True), (most_wh, False)):
        bench = Bench(5_000, settings=settings)
        bench.is_free = False
        report = bench.hear(*[5_000 + moved_wh] * 10)
        assert report
        assert report.energy_wh == 5_000 + (moved_wh if goes_on else 0)


@pytest.mark.parametrize("elsewhere", [0, 4_000, 9_000])
def test_a_register_that_went_on_elsewhere_is_a_fault_and_is_taken_over_only_between_sessions(elsewhere: int) -> None:
    bench = Bench().found(5_000)
    bench.is_free = False
    report = bench.hear(*[elsewhere] * 100)
    assert faulty(report)
    assert report is not None
    assert (report.energy_wh, report.power_w) == (5_000, 0)
    assert str(elsewhere) in bench.meter.why
    bench.is_free = True
    assert not faulty(bench.hear(elsewhere))
    assert bench.meter.takeovers == 1


def test_a_takeover_waits_until_the_core_has_heard_of_the_fault() -> None:
    bench = Bench().found(5_000)
    for second in range(100):  # no report goes out: a session might begin, at the register of the last one
        bench.meters.heard(0, mains(0), bench.now + second)
    assert bench.meter.takeovers == 0
    bench.now += 100
    assert faulty(bench.report())
    assert not faulty(bench.hear(0))
    back = "the meter's register went back from 5000 to 0 Wh"
    assert bench.told == [back, f"{back}, and goes on from 0 Wh", ""]


def test_a_process_that_stood_still_has_missed_no_reading() -> None:
    bench = Bench().found(5_000)
    bench.is_free = False
    bench.now += 10
    assert not faulty(bench.report())
    assert not faulty(bench.hear(5_050))
    bench.now += 60
    assert faulty(bench.report())


def test_registers_that_do_not_agree_with_each_other_are_never_taken_over() -> None:
    bench = Bench().found(5_000)
    for wh in range(1_000_000, 3_000_000, 10_000):
        bench.hear(wh)
    bench.hear(*range(2_000, 0, -1))
    assert faulty(bench.report())
    assert bench.meter.takeovers == 0


def test_a_silent_meter_is_a_fault_at_its_last_register_and_goes_on_from_there() -> None:
    bench = Bench().found(5_000)
    bench.is_free = False
    bench.hear(*["silence"] * int(FAULT_AFTER_S - 1))
    assert not faulty(bench.report())
    report = bench.hear("silence")
    assert faulty(report)
    assert report is not None
    assert (report.energy_wh, report.power_w, report.voltage_mv) == (5_000, 0, (0, 0, 0))
    assert not faulty(bench.hear(5_020))


def test_a_stored_session_goes_on_only_where_its_register_can_be() -> None:
    for register_wh, goes_on in ((5_000, True), (5_900, True), (4_999, False), (50_000, False)):
        bench = Bench(5_000)
        bench.is_free = False
        assert bench.report() == Report(energy_wh=5_000)
        report = bench.hear(*[register_wh] * 20)
        assert report is not None
        assert faulty(report) != goes_on
        assert report.energy_wh == (register_wh if goes_on else 5_000)


readings = st.one_of(
    st.just("silence"),
    st.integers(0, 40),  # moves by so many Wh
    st.integers(-2_000, 2_000),
    st.sampled_from([-(10**6), 10**6, 0]),
)
lives = st.lists(st.tuples(st.floats(0.0, 30.0), readings, st.booleans()), max_size=60)


@given(lives, st.integers(0, 10**6))
@pytest.mark.promise("S2")
def test_no_life_of_a_meter_lets_a_session_pay_for_more_than_can_flow(
    life: list[tuple[float, int | str, bool]], begins_wh: int
) -> None:
    meter, now, register_wh = Meter(0.0), 0.0, begins_wh
    session: list[tuple[float, int]] = []  # of one session: the registers it saw, and when each was read
    for pause_s, reading, is_free in life:
        now += pause_s
        if isinstance(reading, int):
            register_wh = max(0, register_wh + reading)
        heard = Sample(register_wh) if isinstance(reading, int) else reading
        meter = plausible(meter, heard, now, LIMITS, is_billed=not is_free)
        report = amended(Report(), meter, now)
        if is_free:
            session = []
        if report is None or is_free:
            continue
        for at, wh in session:
            assert 0 <= report.energy_wh - wh <= LIMITS.energy_wh(meter.at - at) + LIMITS.slack_wh
        session.append((meter.at, report.energy_wh))
        assert is_faulty(meter, now) or meter.sample is not None


@given(st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.0, 1.0)), max_size=100), st.sampled_from([1, 10, 100]))
def test_an_honest_meter_is_always_believed(life: list[tuple[float, float]], step_wh: int) -> None:
    """Whatever flows, up to the breaker, and however coarsely it is counted."""
    limits = replace(LIMITS, step_wh=float(step_wh))
    meter, now, true_wh = Meter(0.0, Sample(0), limits.slack_wh), 0.0, 0.0
    for pause_s, load in life:
        now += pause_s
        true_wh += load * limits.energy_wh(pause_s)
        meter = plausible(meter, Sample(int(true_wh) // step_wh * step_wh), now, limits, is_billed=True)
        assert meter.why == ""
        assert not is_faulty(meter, now)


# -- in the reports of the controller ---------------------------------------------------------------------------------


class Told:
    def __init__(self, *stored_wh: int | None) -> None:
        self.said: list[tuple[int, str]] = []
        self.is_free = True
        watches = [Supervision(BOARD, 1.0) for _ in stored_wh]
        self.meters = Meters(
            LIMITS, [begun(wh, 0.0, LIMITS, DEFAULTS) for wh in stored_wh], watches, lambda _: self.is_free,
            lambda *said: self.said.append(said),
        )  # fmt: skip


def test_the_controllers_reports_carry_the_meters_of_the_line() -> None:
    told, now = Told(None, None), 0.0
    sim, link = SimController(), ControllerLink(2, 32_000, 6_000, 60, amend=told.meters.amend)
    sim.power_on(now)
    reports: list[PortReported] = []

    def run(seconds: float) -> None:
        nonlocal now
        until = now + seconds
        while now < until:
            now = round(now + 0.02, 2)
            out, _ = link.poll(now)
            sim.receive(out, now)
            answer, events = link.received(sim.transmit(), now)
            sim.receive(answer, now)
            reports.extend(event for event in events if isinstance(event, PortReported))

    for second in range(4):
        run(1.0)
        told.meters.heard(0, mains(7_000), now)
        assert not [r for r in reports if r.evse_id == 1] or second == 3
    run(1.0)
    assert [r.report.energy_wh for r in reports if r.evse_id == 1] == [7_000]
    sim.plug(0, Car(), now)
    sim.receive(link.wish((PortCommand(16_000, Stop.NONE, lock=False), PortCommand()), now), now)
    for wh in range(7_000, 7_040, 2):
        told.meters.heard(0, mains(wh, 7_000), now)
        run(1.0)
    newest = [r.report for r in reports if r.evse_id == 1][-1]
    assert newest.contactor
    assert newest.power_w == 7_000
    assert 7_020 < newest.energy_wh <= 7_040
    second_port = [r.report for r in reports if r.evse_id == 2][-1]
    assert Fault.METER_FAULT in second_port.faults
    assert told.said == [(2, "the meter has not answered yet: check its wires and supply")]


def charging(told: Told) -> tuple[Play, Callable[[Report], Report]]:
    play = Play(ports=1)

    def report(seen: Report) -> Report:
        amended_report = told.meters.amend(0, seen, play.now)
        assert amended_report is not None
        play.on(PortReported(1, amended_report))
        told.is_free = play.station.ports[0].transaction is None
        return amended_report

    for _ in range(CONFIRMATIONS):
        play.after(1.0)
        told.meters.heard(0, mains(7_000), play.now)
    report(Report(cp=Cp.B))
    play.tap(ANN).after(0.5)
    report(Report(cp=Cp.C, contactor=True, offer_ma=16_000))
    assert play.station.ports[0].transaction
    return play, report


@pytest.mark.promise("S2")
@pytest.mark.parametrize("elsewhere", [0, 900_000])
def test_a_session_whose_meter_is_reset_ends_at_a_register_it_has_seen_and_the_next_one_begins_at_the_new(
    elsewhere: int,
) -> None:
    told = Told(None)
    play, report = charging(told)
    for wh in range(7_000, 7_100, 2):
        play.after(1.0)
        told.meters.heard(0, mains(wh, 7_000), play.now)
        report(Report(cp=Cp.C, contactor=True, offer_ma=16_000))
    for _ in range(60):
        play.after(1.0)
        told.meters.heard(0, mains(elsewhere, 7_000), play.now)
        is_charging = told.is_free is False
        report(Report(cp=Cp.B if not is_charging else Cp.C, contactor=is_charging and play.wish[0].offer_ma > 0))
    port = play.station.ports[0]
    assert port.transaction is None
    assert port.finished is not None
    assert port.finished.started.energy_wh == 7_000
    assert 7_000 <= port.finished.last.energy_wh <= 7_098
    assert told.said[0][1].startswith("the meter's register ")
    assert told.meters.meters[0].takeovers == 1
    report(Report(cp=Cp.A))
    assert status(port) is not Status.FAULTED
    report(Report(cp=Cp.B))
    play.tap(ANN).after(0.5)
    tx = play.station.ports[0].transaction
    assert tx is not None
    assert tx.started.energy_wh == elsewhere


# -- pymodbus's own server on a pty -----------------------------------------------------------------------------------


class Street:
    """Meters (pymodbus's server) and the driver, on two ptys with a wire between them on which accidents happen."""

    def __init__(self, folder: Path, facts: ModbusFacts = FACTS) -> None:
        self.facts = facts
        self.values: dict[int, dict[int, float]] = {1: dict(VALUES), 2: {**VALUES, 72: 50.0}}
        self.refuses = 0  # Modbus exception code
        self.accident: Callable[[bytes], bytes] = lambda data: data
        self.stranger: Callable[[bytes], bytes] = lambda data: b""  # says this a little later
        self.baudrate, self.thinks_s = 9_600, 0.0  # a pty knows no baudrate: at 1,200 the line is made slow
        self.heard: queue.Queue[tuple[int, Sample | str, float]] = queue.Queue()
        self.host, self._meters = Line(folder / "meters"), Line()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._serving = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._threads = [threading.Thread(target=self._relay), threading.Thread(target=self._serve)]
        for thread in self._threads:
            thread.start()
        assert self._serving.wait(TIMEOUT_S)
        self.bus: Bus | None = None

    def words(self, unit: int) -> Words:
        """What the registers of this meter hold."""
        return float_words(self.values[unit])

    def open(self, *units: int) -> "Street":
        facts = replaced(three_phases(str(self.host.path), units or (1,)), baudrate=self.baudrate)
        self.bus = Bus(facts, lambda *heard: self.heard.put(heard), monotonic, period_s=0.05)
        return self

    def next(self, wanted: Callable[[Sample | str], object]) -> Sample | str:
        """The next reading that is like this, whatever comes before it."""
        while True:
            _, reading, _ = self.heard.get(timeout=TIMEOUT_S)
            if wanted(reading):
                return reading

    def read(self, says: str) -> None:
        assert self.next(lambda reading: isinstance(reading, str) and says in reading)

    def cut(self) -> None:
        with self._lock:
            self.host.cut()

    def mend(self) -> None:
        with self._lock:
            self.host.mend()

    def close(self) -> None:
        if self.bus:
            self.bus.close()
            self.bus.thread.join(TIMEOUT_S)
            assert not self.bus.thread.is_alive()
        self._closed.set()
        self._stop()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
        self.host.close()
        self._meters.close()

    def _relay(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                host, meters = self.host.master, self._meters.master
                masters = [master for master in (host, meters) if master is not None]
                for master in select.select(masters, [], [], 0.005)[0]:
                    if master == host:
                        self._meters.write(self.host.read())
                        continue
                    threading.Event().wait(0.002 + self.thinks_s)  # the whole answer
                    said = self._meters.read()
                    for byte in self.accident(said):
                        self.host.write(bytes((byte,)))
                        if self.baudrate < 9_600:
                            threading.Event().wait(11 / self.baudrate)
                    if stranger := self.stranger(said):
                        threading.Event().wait(0.02)
                        self.host.write(stranger)
            self._closed.wait(0.001)

    def _serve(self) -> None:
        asyncio.run(self._served())

    async def _served(self) -> None:
        from pymodbus.constants import ExcCodes
        from pymodbus.server import ModbusSerialServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        def device(unit: int) -> Any:
            async def action(_: int, start: int, address: int, count: int, words: list[int], written: Any) -> Any:
                if self.refuses:
                    return ExcCodes(self.refuses)
                for (_, place), word in self.words(unit).items():
                    if 0 <= place - start < len(words):
                        words[place - start] = word
                return None

            blocks = [
                SimData(span.address, count=span.count, values=0, datatype=DataType.REGISTERS)
                for span in spans(self.facts.registers)
            ]
            return SimDevice(unit, blocks, action=action)

        devices = [device(unit) for unit in self.values]
        server: Any = ModbusSerialServer(
            devices, port=str(self._meters.path), baudrate=9_600, ignore_missing_devices=True
        )
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(done.set)
        await server.serve_forever(background=True)
        self._serving.set()
        await done.wait()
        await server.shutdown()


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = Street(tmp_path)
    yield street
    street.close()


def test_two_meters_on_one_line_are_read_each_for_its_port(street: Street) -> None:
    street.open(2, 1)
    first, second = street.heard.get(timeout=TIMEOUT_S), street.heard.get(timeout=TIMEOUT_S)
    assert (first[0], first[1]) == (0, replace(GOOD, energy_wh=50_000))
    assert (second[0], second[1]) == (1, GOOD)
    street.values[1][72] = 123.5
    street.next(lambda reading: reading == replace(GOOD, energy_wh=123_500))


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes((data[-3] ^ 0x10,)) + data[-2:] if len(data) > 3 else data


@pytest.mark.promise("S9")
def test_every_accident_on_the_line_is_a_sentence_and_the_next_reading_is_right(street: Street) -> None:
    street.open()
    accidents: list[tuple[Callable[[bytes], bytes], str]] = [
        (flipped, "does not answer"),  # a wrong CRC
        (lambda data: b"", "does not answer"),
        (lambda data: data[:5], "does not answer"),
        (lambda data: b"\x07" + data[1:], "does not answer"),  # another meter's
        (lambda data: os.urandom(40), "on "),
    ]
    for accident, says in accidents:
        street.next(lambda reading: reading == GOOD)
        street.accident = accident
        street.read(says)
        street.accident = lambda data: data
    street.next(lambda reading: reading == GOOD)


@pytest.mark.promise("S9")
def test_two_meters_with_one_address_are_no_reading_and_a_stray_byte_is_nothing(street: Street) -> None:
    """Asked for power and then for energy, the slower one answers the second question with its power."""
    street.open()
    street.next(lambda reading: reading == GOOD)
    street.stranger = lambda said: said
    street.read("is answered twice: check that no two have one address")
    for _ in range(5):
        reading = street.heard.get(timeout=TIMEOUT_S)[1]
        assert reading == GOOD or isinstance(reading, str), reading
    street.stranger = lambda said: b"\x00\xff"
    for _ in range(2):
        street.next(lambda reading: reading == GOOD)


def test_the_slowest_line_is_slow_and_no_fault_of_the_meter(street: Street) -> None:
    street.baudrate, street.thinks_s = 1_200, 0.2
    street.open()
    assert street.heard.get(timeout=TIMEOUT_S)[1] == GOOD
    street.accident = flipped
    street.read("does not answer")
    street.accident = lambda data: data
    street.next(lambda reading: reading == GOOD)


def test_a_meter_that_refuses_or_has_no_value_says_so(street: Street) -> None:
    street.open()
    street.next(lambda reading: reading == GOOD)
    street.refuses = 2
    street.read("refuses register 0 (exception 2)")
    street.refuses = 0
    street.values[1][72] = float("nan")
    street.read("NaN")
    street.values[1][72] = 123.4
    street.next(lambda reading: reading == GOOD)


def test_a_meter_that_is_not_there_does_not_silence_the_other(street: Street) -> None:
    street.open(9, 1)
    seen = [street.heard.get(timeout=TIMEOUT_S) for _ in range(4)]
    assert {index: reading for index, reading, _ in seen if index == 1} == {1: GOOD}
    assert all("9 on" in str(reading) for index, reading, _ in seen if index == 0)


@pytest.mark.promise("S9")
def test_an_answer_that_comes_when_nobody_waits_any_more_is_forgotten(street: Street) -> None:
    street.open()
    street.next(lambda reading: reading == GOOD)
    late: list[bytes] = []

    def held_back(data: bytes) -> bytes:
        """The power, once; it has the size of the energy."""
        if len(data) != 9 or late:
            return data
        late.append(data)
        return b""

    street.accident = held_back
    street.read("does not answer")
    street.host.write(late[0])
    for _ in range(3):
        assert street.heard.get(timeout=TIMEOUT_S)[1] == GOOD


@pytest.mark.promise("S9")
def test_an_answer_that_comes_late_never_passes_for_another(street: Street) -> None:
    street.open()
    street.next(lambda reading: reading == GOOD)
    late: list[bytes] = []

    def delayed(data: bytes) -> bytes:
        """Each answer with the next question: power for energy, if nobody took care."""
        late.append(data)
        return late[-2] if len(late) > 1 else b""

    street.accident = delayed
    for _ in range(6):
        reading = street.heard.get(timeout=TIMEOUT_S)[1]
        assert reading == GOOD or isinstance(reading, str), reading


def test_the_line_may_go_and_come_back(street: Street) -> None:
    street.open()
    street.next(lambda reading: reading == GOOD)
    street.cut()
    street.read("cannot be opened")
    street.mend()
    street.next(lambda reading: reading == GOOD)


def test_closing_waits_for_nobody(street: Street) -> None:
    street.accident = lambda data: b""
    street.open()
    assert street.bus
    began = monotonic()
    street.bus.close()
    assert monotonic() - began < 0.1
