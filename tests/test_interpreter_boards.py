"""Every board's own firmware in the real interpreter: a car charges at each port through the pins of that board."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.board import Board, read_board
from agent.effects import PortCommand, Stop
from agent.events import ControllerFound, PortReported, Report
from agent.hal.controller import ControllerLink
from agent.hal.modbus import Bus, Meter, Meters, ModbusFacts, Register, Sample, Words, possible
from agent.hal.supervision import Supervision
from agent.loop import monotonic
from agent.pintable import pins_hash, port_board
from agent.sim.car import Car
from tests import pinned
from tests.rig import FAILSAFE_MA, GRACE_S, OFF, Rig, need_interpreter
from tests.test_board import ALL_BOARDS, CM4, MUX
from tests.test_modbus import Street

TEXTS = {path.stem: path.read_text() for path in ALL_BOARDS} | {"multiplexer": MUX}
SECOND_S = 1.0


class BoardMeters(Street):
    """The board's Modbus meters: pymodbus's server on a pty, whose registers are those of the board's file."""

    def __init__(self, folder: Path, facts: ModbusFacts, ports: int) -> None:
        need_modbus()
        self.samples = [Sample(0)] * ports
        super().__init__(folder, facts)
        line = msgspec.structs.replace(facts, tty=str(self.host.path))
        self.bus = Bus(line, lambda *reading: None, monotonic)
        self.bus.close()
        self.bus.thread.join()  # here it reads when simulated time asks for it

    def words(self, unit: int) -> Words:
        if unit not in self.facts.units:
            return {}
        sample, facts = self.samples[self.facts.units.index(unit)], self.facts
        held: list[tuple[Register, int]] = [(facts.energy_wh, sample.energy_wh), (facts.power_w, sample.power_w)]
        held += [*zip(facts.current_ma, sample.current_ma, strict=False)]
        held += [*zip(facts.voltage_mv, sample.voltage_mv, strict=False)]
        return {place: word for register, value in held for place, word in encoded(register, value).items()}

    def close(self) -> None:
        super().close()
        assert self.bus
        self.bus._client.close()

    def read(self, index: int) -> Sample | str:  # type: ignore[override]
        assert self.bus
        return self.bus._read(self.facts.units[index])


def encoded(register: Register, value: int) -> Words:
    """By pymodbus's own encoder."""
    from pymodbus.client import ModbusSerialClient

    kind = ModbusSerialClient.DATATYPE[register.type.upper()]
    number = value / register.scale
    whole = number if "float" in register.type else round(number)
    words = ModbusSerialClient.convert_to_registers(whole, kind, word_order=register.word_order)
    return {(register.function, register.address + i): word for i, word in enumerate(words)}


def need_modbus() -> None:
    pytest.importorskip("pymodbus", reason='needs pymodbus: pip install "station-agent[modbus]"')


class Site:
    """A rig of one board, with its meters where they are Linux' business."""

    def __init__(self, board: Board, folder: Path, undo: ExitStack, built_for: Board | None = None) -> None:
        """`built_for`: what the controller's firmware was built for, and what the host believes."""
        need_interpreter()
        self.board, facts = board, board.meter.facts
        self.meters: Meters | None = None
        self.street: BoardMeters | None = None
        amend: Any = lambda index, report, now: report
        if isinstance(facts, ModbusFacts):
            limits = possible(facts, board.port[0].limit_ma)
            supervisions = [Supervision(port_board(board, port), facts.refresh_s) for port in board.port]
            self.meters = Meters(limits, [Meter(0.0) for _ in board.port], supervisions, is_free=lambda evse_id: True)
            self.street = undo.enter_context(closing(BoardMeters(folder, facts, len(board.port))))
            amend = self.meters.amend
        limit = board.circuit_limit_ma, FAILSAFE_MA, GRACE_S
        link = partial(ControllerLink, len(board.port), *limit, pins_hash(built_for or board), amend)
        # What is seen broken in its first turn leaves no rig to close.
        sim = undo.enter_context(closing(pinned.controller(board, folder, built_for)))
        self.rig = Rig(folder, sim=sim, link=link)
        self._read_at = self.rig.now

    def after(self, seconds: float) -> None:
        """The meters are read once a second, over their line."""
        until = round(self.rig.now + seconds, 2)
        while self.rig.now < until:
            self.rig.after(min(until, self._read_at) - self.rig.now)
            if self.rig.now >= self._read_at:
                self._read_at = round(self.rig.now + SECOND_S, 2)
                self._read()

    def _read(self) -> None:
        for index, bay in enumerate(self.rig.bays if self.street else ()):
            assert self.street and self.meters
            energy_wh, power_w, *rest = bay.meter()
            currents, voltages = tuple(rest[:3]), tuple(rest[3:])
            self.street.samples[index] = Sample(energy_wh, power_w, currents, voltages)  # type: ignore[arg-type]
            self.meters.heard(index, self.street.read(index), self.rig.now)

    def until(self, what: Any, seconds: float = 10.0) -> None:
        give_up_at = self.rig.now + seconds
        while not what():
            assert self.rig.now < give_up_at, (self.rig.lost(), [self.rig.faults(i) for i in range(len(self.rig.bays))])
            self.after(0.1)

    def report(self, index: int) -> Report:
        """The newest, as the core gets it."""
        assert self.rig.host
        fresh = self.rig.host.fresh(index + 1, self.rig.now)
        self.rig.events += [fresh] if fresh else []
        return [e.report for e in self.rig.events if isinstance(e, PortReported) and e.evse_id == index + 1][-1]


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as undo:
        yield undo


def charged(site: Site) -> None:
    """A car at each port, one after the other, then all at once, then none: as meters, pins and host see it."""
    rig, board = site.rig, site.board
    site.after(2.0)
    assert any(isinstance(event, ControllerFound) for event in rig.events) and not rig.lost()
    share_ma = min(board.port[0].limit_ma, board.circuit_limit_ma // len(board.port))
    for index, port in enumerate(board.port):
        before = [rig.clicks(i) for i in range(len(board.port))]
        car = Car(reaction_ms=200, need_wh=50_000, phases=board.phases, cable_ma=port.limit_ma)
        rig.plug(index, car).wish(index, PortCommand(share_ma, Stop.NONE, lock=port.socketed))
        site.until(lambda: rig.bays[index].power_w > 0)  # noqa: B023
        assert [i for i in range(len(board.port)) if rig.clicks(i) != before[i]] == [index], "another port has closed"
    site.after(20.0)
    for index, bay in enumerate(rig.bays):
        report, unread_wh = site.report(index), 2 * SECOND_S * bay.power_w / 3_600
        assert rig.sim.offer_ma(bay) == pytest.approx(share_ma, abs=100) and not rig.faults(index) and not report.faults
        assert 0 <= rig.sim.register_wh(index, rig.now) - report.energy_wh <= 1 + unread_wh
        assert report.power_w == bay.power_w and report.cp == "C" and report.contactor
        rig.wish(index, OFF)
    site.until(lambda: not any(rig.closed(i) for i in range(len(board.port))))
    site.after(1.0)
    assert [rig.clicks(i) for i in range(len(board.port))] == [[1, 0]] * len(board.port)
    assert rig.observer.closes == len(board.port) and rig.observer.greatest_ma <= board.circuit_limit_ma


@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("name", TEXTS)
def test_a_car_charges_at_every_port_through_the_pins_of_its_board(name: str, tmp_path: Path, undo: ExitStack) -> None:
    charged(Site(read_board(TEXTS[name], name), tmp_path, undo))


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("one", "other"),
    [('contactor = "GP7"', 'contactor = "GP13"'), ('pilot = "GP26"', 'pilot = "GP28"'),
     ('gf_trip = "GP9"', 'contactor_feedback = "GP8"'), ('contactor = "GP7"', 'gf_test = "GP10"')],
)  # fmt: skip
def test_firmware_with_two_pins_swapped_charges_nobody_or_is_seen(
    one: str, other: str, tmp_path: Path, undo: ExitStack
) -> None:
    (first, pin), (second, another) = one.split(" = "), other.split(" = ")
    swapped = CM4.replace(one, "\0").replace(other, f"{second} = {pin}").replace("\0", f"{first} = {another}")
    with pytest.raises(AssertionError):
        charged(Site(read_board(CM4, "duo_cm4"), tmp_path, undo, read_board(swapped, "swapped")))
