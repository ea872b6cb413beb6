"""The firmware's parts, on CPython: pilot, proximity, register, memory, CBOR; and that its clock may start anew."""

import struct
from array import array
from binascii import crc32
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from board.controller import contract
from board.controller.app import firmware, memory, pilot
from board.controller.app.firmware import Firmware
from board.controller.app.levels import Levels
from board.controller.app.memory import BURST, GAP_MS, NAMES, PATIENCE_MS, Keeper, Memory
from board.controller.app.pilot import STEADY, Pilot, duty_of, ma_of
from board.controller.app.port import PortBoard
from board.controller.app.proximity import Proximity
from board.controller.app.register import REBASE_MS, Register
from board.controller.compat import cbor2 as compat
from board.controller.contract import CP_A, CP_B, CP_C, CP_D, CP_E, CP_F
from board.controller.link import frame
from tests.chip import HELLO, Life
from tests.test_link import messages

# -- from a voltage to a band

NOMINAL = {CP_A: 12_000, CP_B: 9_000, CP_C: 6_000, CP_D: 3_000, CP_E: 0, CP_F: -12_000}


@pytest.mark.parametrize("state", NOMINAL)
@given(off_mv=st.integers(-999, 999), before=st.sampled_from(sorted(NOMINAL)))
def test_each_pilot_state_is_read_a_volt_around_its_nominal_voltage_whatever_was_before(
    state: int, off_mv: int, before: int
) -> None:
    seen = Pilot()
    assert seen.see(0, NOMINAL[before], -12_000, True) == before
    for now_ms in (10, 20, 30, 40):
        seen.see(now_ms, NOMINAL[state] + off_mv, -12_000, True)
    assert seen.see(50, NOMINAL[state] + off_mv, -12_000, True) == state


def test_a_converter_that_reads_more_than_the_supply_is_a_fault_not_an_empty_cable() -> None:
    assert Pilot().see(0, 15_000, 15_000, False) == CP_E


@given(st.lists(st.integers(-700, 700), min_size=1, max_size=200), st.integers(0, 4))
def test_noise_smaller_than_the_hysteresis_moves_at_most_once(noise_mv: list[int], border: int) -> None:
    """700 mV around a border: the band changes at most in the beginning, and never back and forth."""
    levels = Levels(pilot.BORDERS_MV, 800, 0)
    seen = [levels.see(i * 10, pilot.BORDERS_MV[border] + mv) for i, mv in enumerate(noise_mv)]
    assert len(set(seen)) == 1


@given(st.lists(st.sampled_from((0, 9_000, 12_000, 3_000)), min_size=4, max_size=50))
def test_what_flutters_between_wrong_bands_does_not_hold_the_right_one(readings_mv: list[int]) -> None:
    seen = Pilot()
    seen.see(0, 6_000, -12_000, True)
    states = [seen.see(10 + 10 * i, mv, -12_000, True) for i, mv in enumerate(readings_mv)]
    assert CP_C not in states[pilot.HOLD_MS // 10 :]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(-15_000, 20_000)), max_size=60))
def test_a_band_never_counts_that_was_not_seen_and_a_short_visit_counts_for_nothing(
    readings: list[tuple[int, int]],
) -> None:
    levels, now_ms, raw = Levels(pilot.BORDERS_MV, 500, 30), 0, []
    for wait_ms, mv in readings:
        now_ms += wait_ms
        before = levels.level
        level = levels.see(now_ms, mv)
        raw.append(levels._seen)
        assert level in raw and (level == before or level == raw[-1])


def test_a_missing_diode_is_seen_in_the_negative_half_and_only_under_pwm() -> None:
    seen = Pilot()
    for now_ms in range(0, 100, 10):
        seen.see(now_ms, 9_000, 9_000, False)
    assert seen.diode_ok
    for now_ms in range(100, 140, 10):
        assert seen.diode_ok
        seen.see(now_ms, 9_000, -8_800, True)
    assert not seen.diode_ok
    seen.see(140, 9_000, 9_000, False)
    assert seen.diode_ok


# -- amperes and duty cycles


@given(st.integers(6_000, 80_000))
def test_a_duty_cycle_never_says_more_than_offered_and_hardly_less(offer_ma: int) -> None:
    said_ma = ma_of(duty_of(offer_ma))
    step_ma = 6 if offer_ma <= 51_000 else 25
    gap = 51_000 < offer_ma < 52_525  # which no duty cycle says
    assert said_ma == 51_000 if gap else offer_ma - step_ma < said_ma <= offer_ma


@given(st.integers(1_000, 9_600))
def test_every_duty_cycle_goes_round_through_amperes(duty: int) -> None:
    assert duty_of(ma_of(duty)) == duty


def test_duty_cycles_are_the_standards() -> None:
    said = {0: 10_000, 6_000: 1_000, 10_000: 1_666, 16_000: 2_666, 32_000: 5_333}
    said |= {51_000: 8_500, 63_000: 8_920, 80_000: 9_600}
    assert {ma: duty_of(ma) for ma in said} == said
    assert [ma_of(duty) for duty in (0, 500, 799, 800, 999, 9_600, 9_700, 9_701, STEADY)] == [
        0, 0, 0, 6_000, 6_000, 80_000, 80_000, 0, 0,
    ]  # fmt: skip


# -- proximity


def pp_mv(ohm: float) -> int:
    return round(3_300 * ohm / (ohm + 330))


CABLES = ((1_100, 2_460, 13_000), (400, 936, 20_000), (164, 308, 32_000), (80, 140, 63_000))
NO_CABLES = ((0, 60, 0), (4_500, 1e9, 0))


@given(st.sampled_from(CABLES + NO_CABLES), st.floats(0, 1), st.integers(0, 3_300))
def test_cables_are_read_over_the_standards_ranges_whatever_was_before(
    cable: tuple[float, float, int], place: float, before_mv: int
) -> None:
    low, high, cable_ma = cable
    seen = Proximity()
    seen.see(0, before_mv)
    for now_ms in range(10, 130, 10):
        seen.see(now_ms, pp_mv(low + (high - low) * place))
    assert seen.see(130, pp_mv(low + (high - low) * place)) == cable_ma
    assert seen.fault is (low == 0)


def test_a_plug_that_slides_in_is_not_read_on_its_way() -> None:
    seen = Proximity()
    assert seen.see(0, 3_300) == 0
    on_its_way = [seen.see(10 * i, pp_mv(ohm)) for i, ohm in enumerate((1_500, 220, 680, 100, 1_500), start=1)]
    assert on_its_way == [0] * 5
    assert [seen.see(100 + 10 * i, pp_mv(220)) for i in range(3)][-1] == 32_000


# -- the meter's register


@given(
    st.integers(0, 1 << 31),
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 1 << 31) | st.integers(-5, 100))),
)
def test_energy_never_goes_back_and_never_leaps(first_wh: int, readings: list[tuple[int, int]]) -> None:
    register, now_ms, raw = Register(22_000), 0, first_wh
    register.see(0, raw)
    most_wh = 10 + 22_000 // 60
    for wait_ms, reading in readings:
        now_ms += wait_ms
        raw = reading if reading > 200 else max(0, raw + reading)
        before = register.energy_wh
        register.see(now_ms, raw)
        assert 0 <= register.energy_wh - before <= most_wh


def test_a_meter_that_was_replaced_counts_on_from_the_last_good_value() -> None:
    register = Register(22_000)
    assert register.see(0, 500_000) and register.see(1_000, 500_100) and register.energy_wh == 500_100
    assert not register.see(2_000, 7)
    assert not register.see(3_000, 9)
    assert not register.see(2_000 + REBASE_MS, 12) and register.leaps == 1
    assert register.see(5_500, 12) and register.energy_wh == 500_100
    assert register.see(6_000, 20) and register.energy_wh == 500_108


def test_one_wild_reading_is_forgotten() -> None:
    register = Register(22_000)
    assert register.see(0, 1_000) and not register.see(10, 1 << 30) and not register.see(20, 0)
    assert register.see(30, 1_001) and register.energy_wh == 1_001 and register.leaps == 0


def test_a_register_goes_on_over_a_reset_even_with_another_meter() -> None:
    assert (again := Register(22_000, 500, 90_500)).see(0, 700) and again.energy_wh == 90_700
    replaced = Register(22_000, 500, 90_500)
    assert not replaced.see(0, 123_456)
    assert not replaced.see(REBASE_MS, 123_456)
    assert replaced.see(REBASE_MS + 10, 123_456) and replaced.energy_wh == 90_500


def test_a_leap_is_believed_and_counted_on_from_only_while_memory_has_what_was_told() -> None:
    register = Register(22_000, 500, 90_500)
    assert register.see(0, 600) and not register.see(10, 7)
    assert not register.see(10 + REBASE_MS, 7, is_kept=False) and register.leaps == 0
    assert not register.see(20 + REBASE_MS, 7) and register.is_news and register.leaps == 1
    assert not register.see(30 + REBASE_MS, 8, is_kept=False) and register.energy_wh == 90_600
    assert register.see(40 + REBASE_MS, 8) and register.energy_wh == 90_601


class Selling:
    """A firmware whose port charges all the time, with a meter to play with; in turns of 100 ms."""

    TURN_MS = 100

    def __init__(self) -> None:
        self.disk, self.now_ms, self.meter_wh, self.told_wh, self.is_dead = Disk(), 0, 5_000, 0, False
        self.boot()
        self.firmware.controller.limit(32_000, 6_000, 60, 0)
        self.turns(30)
        assert self.firmware.controller.ports[0].coil

    def boot(self) -> None:
        board = PortBoard(voltage_min_mv=0)
        self.firmware = Firmware((board,), 32_000, 7, 1, self.now_ms, self.disk.read, self.disk.__setitem__)

    def turns(self, count: int, each_wh: int = 0) -> None:
        chip = self.firmware
        for _ in range(count):
            self.now_ms += self.TURN_MS
            self.meter_wh += each_wh
            _, coil, _, testing = chip.outputs[3:7]
            chip.controller.wish(((32_000, 0, 0, 0),), self.now_ms)
            meter = (not self.is_dead, self.meter_wh, *[0] * 7)
            chip.inputs = array("i", (0, 6_000, -12_000, 3_300, coil, 0, testing, 250, *meter))
            chip.step(self.now_ms)
            assert self.told_wh <= chip._senses[0].pins.energy_wh
            self.told_wh = chip._senses[0].pins.energy_wh
            chip.keep(self.now_ms)


@pytest.mark.promise("S3")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reset", "leap", "die", "live", "sell", "sell"]), st.integers(1, 60), st.integers(0, 3),
            st.integers(0, 1 << 20),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_what_was_told_never_goes_back_over_a_reset_however_the_meter_leaps(
    events: list[tuple[str, int, int, int]],
) -> None:
    selling = Selling()
    for what, turns, each_wh, meter_wh in events:
        match what:
            case "reset":
                selling.boot()
            case "leap":
                selling.meter_wh = meter_wh
            case "die" | "live":
                selling.is_dead = what == "die"
        selling.now_ms += 2 * GAP_MS  # flash pays for nobody who does this all day
        selling.turns(turns, each_wh)
    selling.is_dead = False
    selling.turns(100)
    assert selling.firmware._senses[0].pins.meter_ok


# -- memory


class Disk(dict[str, bytes]):
    def read(self, name: str) -> bytes:
        return self.get(name, b"")

    def keeper(self, port_count: int = 2) -> Keeper:
        return Keeper(port_count, self.read, self.__setitem__)


numbers = st.integers(0, 0xFFFF_FFFF)
rows = st.lists(st.tuples(*[numbers] * 5), min_size=1, max_size=4)


def filled(circuit_ma: int, ports: list[tuple[int, ...]]) -> Memory:
    facts = Memory(len(ports))
    facts.circuit_limit_ma = circuit_ma
    columns = [list(column) for column in zip(*ports, strict=True)]
    facts.closes, facts.latched, facts.retries, facts.register_wh, facts.energy_wh = columns
    return facts


@given(numbers, numbers, rows, st.integers(1, 4))
def test_memory_survives_its_bytes_also_on_a_board_with_other_ports(
    circuit_ma: int, seq: int, ports: list[tuple[int, ...]], count: int
) -> None:
    again = Memory(count)
    assert again.load(filled(circuit_ma, ports).dump(seq)) == seq
    assert again.circuit_limit_ma == circuit_ma
    kept = [row[0] for row in ports][:count]
    assert again.closes == kept + [0] * (count - len(kept))


@pytest.mark.promise("S8", "S11")
@given(rows, st.data())
def test_a_spoilt_copy_is_no_memory(ports: list[tuple[int, ...]], data: st.DataObject) -> None:
    dump = filled(32_000, ports).dump(7)
    at, bit = data.draw(st.integers(0, len(dump) - 1)), data.draw(st.integers(0, 7))
    flipped = dump[:at] + bytes([dump[at] ^ 1 << bit]) + dump[at + 1 :]
    facts = Memory(2)
    assert facts.load(flipped) == -1
    assert facts.load(dump[: data.draw(st.integers(0, len(dump) - 1))]) == -1
    assert facts.load(data.draw(st.binary(max_size=80))) == -1
    assert (facts.circuit_limit_ma, facts.closes) == (0, [0, 0])


@pytest.mark.promise("S9")
@given(st.lists(numbers, max_size=30))
def test_any_numbers_with_a_good_checksum_are_taken_or_refused(words: list[int]) -> None:
    body = struct.pack(f"<{len(words)}I", memory.FORMAT, *words[1:]) if words else b""
    Memory(3).load(body + struct.pack("<I", crc32(body)))


@pytest.mark.promise("S8")
def test_the_newest_good_copy_counts_and_the_other_is_written_next() -> None:
    disk = Disk()
    for circuit_ma in (10_000, 20_000, 30_000):
        keeper = disk.keeper()
        keeper.memory.circuit_limit_ma = circuit_ma
        assert keeper.save(0)
    assert disk.keeper().memory.circuit_limit_ma == 30_000
    newest = disk.pop(NAMES[0])
    assert disk.keeper().memory.circuit_limit_ma == 20_000
    disk[NAMES[0]] = newest
    del disk[NAMES[1]]
    assert disk.keeper().memory.circuit_limit_ma == 30_000
    assert Disk().keeper().memory.circuit_limit_ma == 0


@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans(), st.booleans(), st.booleans()), max_size=200))
def test_flash_is_written_no_faster_than_its_wear_allows(
    events: list[tuple[int, bool, bool, bool]],
) -> None:
    keeper, now_ms = Disk().keeper(), 0
    for wait_ms, urgent, changed, live in events:
        now_ms += wait_ms
        keeper.memory.urgent |= urgent
        keeper.memory.changed |= changed
        keeper.step(now_ms, live)
        assert keeper.writes <= BURST + 1 + now_ms // GAP_MS


@pytest.mark.promise("S1")
@pytest.mark.parametrize("error", [OSError(28), MemoryError()])
def test_a_flash_that_takes_nothing_more_is_tried_again_and_its_good_copies_stay(error: Exception) -> None:
    """Neither a reset, which would forget the latch, nor a copy lost."""
    files: dict[str, bytes] = {}
    is_broken = False

    def write(name: str, data: bytes) -> None:
        if is_broken:
            raise error
        files[name] = data

    keeper = Keeper(1, lambda name: files.get(name, b""), write)
    assert keeper.save(0) and keeper.save(0)
    before, is_broken = dict(files), True
    keeper.memory.latched[0], keeper.memory.urgent = 8, True
    for now_ms in range(10, 60_000, 10):
        keeper.step(now_ms, False)
    assert files == before and keeper.memory.urgent and 0 < keeper.failures <= BURST + 60_000 // GAP_MS
    is_broken = False
    keeper.step(60_000 + GAP_MS, False)
    assert not keeper.memory.urgent and Keeper(1, lambda name: files.get(name, b""), write).memory.latched == [8]


def test_a_latch_is_written_at_once_a_counter_when_no_contactor_is_closed_or_after_a_while() -> None:
    keeper = Disk().keeper()
    keeper.memory.changed = True
    keeper.step(0, True)
    keeper.step(PATIENCE_MS - 1, True)
    assert keeper.writes == 0
    keeper.step(PATIENCE_MS, True)
    assert keeper.writes == 1
    keeper.memory.changed = True
    keeper.step(PATIENCE_MS + 1, False)
    assert keeper.writes == 2
    keeper.memory.urgent = True
    keeper.step(PATIENCE_MS + 2, True)
    assert keeper.writes == 3


# -- CBOR: what a PC's firmware runs in the place of micropython-lib's

leaves = st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=30)
items = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=12)


@given(items)
def test_our_cbor_says_what_cbor2_says(value: Any) -> None:
    data = cbor2.dumps(value)
    assert compat.dumps(value) == data and compat.loads(data) == value


@given(st.binary(max_size=40) | st.lists(st.sampled_from((0x80, 0x82, 0x9F, 0xFF, 0x18, 0x61, 0x00, 0xF5))).map(bytes))
def test_our_cbor_reads_what_cbor2_reads_or_refuses(noise: bytes) -> None:
    with suppress(ValueError):
        assert compat.loads(noise) == cbor2.loads(noise)


def unpacked(decoder: Any, body: bytes, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(contract, "cbor2", decoder)
        return contract.unpack(body)


@pytest.mark.promise("S9")
@given(message=messages, data=st.data())
def test_both_ends_take_a_damaged_message_for_the_same(message: tuple[Any, ...], data: st.DataObject) -> None:
    body = bytearray(contract.pack(*message))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    # No encoder of ours makes these: tags (a bignum is an integer to cbor2) and lengths that are found out at the end.
    assume(not any(byte >> 5 == 6 or byte & 0x1F == 31 for byte in body))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert unpacked(compat, bytes(body), monkeypatch) == unpacked(cbor2, bytes(body), monkeypatch)


# -- a clock that starts anew


@pytest.mark.promise("S1", "S11")
@given(st.integers(0, 1 << 32), st.integers(0, 2_000))
def test_the_clock_may_be_set_back_at_any_instant_and_nobody_notices(seed: int, lead_ms: int) -> None:
    """A 32-bit chip does so after six days; the outputs are those of a chip on which it did not happen."""
    def play(first_ms: int, mask: int = -1) -> list[list[int]]:
        life = Life(seed, 2)
        boards = (PortBoard(), PortBoard(socketed=True, phases=3))
        disk = Disk()
        chip = Firmware(boards, 63_000, 1, 0, first_ms, disk.read, disk.__setitem__)
        start_ms, seen = life.clock_ms, []
        chip.receive(frame(0, contract.pack(*HELLO)), first_ms)
        for _ in range(150):
            life.pause()
            elapsed_ms = life.clock_ms - start_ms
            now_ms = first_ms + elapsed_ms & mask
            chip.inputs = array("i", life.inputs())
            chip.receive(life.line(), now_ms)
            chip.step(now_ms)
            chip.keep(now_ms)
            said = chip.unsent(now_ms)
            chip.sent(len(said))
            assert chip.outputs[0] == now_ms
            outputs = list(chip.outputs[1:])
            del outputs[firmware.OUTPUTS_FIRST - 1 + firmware.LIGHT :: firmware.OUTPUTS_PER_PORT]  # out of step, once
            seen.append([elapsed_ms, *outputs, len(said), crc32(said)])
        return seen

    assert play(firmware.REBASE_MS - 1 - lead_ms) == play(0)
    assert play(firmware.CLOCK_MASK - lead_ms, firmware.CLOCK_MASK) == play(0)
