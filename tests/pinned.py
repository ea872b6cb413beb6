"""The real firmware with a board's own pin table, wired by the board's file: what is at which pin is not the firmware's
word. Whatever is driven that should not be is an AssertionError."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.board import Board
from agent.pintable import ANALOGUE_PINS, CHIPS, ControllerPins, PortPins, number, pin_table, port_board, position
from agent.sim.interpreter import HEAD_OUT, Program, RealController
from agent.sim.plant import Bay
from board import chip
from board.controller import contract
from board.firmware import CONTROLLER, boot_files, fixed, image, romfs

ON_CHIP = Path(__file__).parent / "on_chip" / "pins.py"
PINS, POSITIONS = 30, 8
FIRST_ADC, ADCS = 26, 4
SUPPLY_MV = 3_300
OFFSET_MV = 500  # of a TMP235, and 1 mV for each tenth of a degree
NOT_DRIVEN = -1
HEAP_KB = 256  # the stand-in is compiled in it and lives there


def program(board: Board, folder: Path) -> Program:
    """What one boot of the board's controller runs: the firmware built for it; on a stand-in for its chip, if any."""
    shared, table = board.controller.pins, pin_table(board)
    if shared is None:
        return chip.unit(folder, table)
    rom, data = folder / "rom", image(table, port="rp2")
    sources = sorted({*boot_files("rp2"), CONTROLLER / "unix.py"})  # the stand-in's bus and flash
    rom.write_bytes(romfs({"fixed.py": fixed(table)}, sources))
    machine, first = ON_CHIP.read_text(), (CONTROLLER / "boot.py").read_text()
    mux = tuple(map(number, shared.mux))

    def boot(link_fd: int, pins_fd: int, flash: Path, cause: int) -> list[str]:
        if not flash.exists():
            flash.write_bytes(chip.flash_image(data))
        flash.with_name(flash.name + ".word").touch()
        args = f"{link_fd}, {pins_fd}, {str(flash)!r}, FLASH, {cause}, {mux}"
        lives = (f"{machine}\nstart({life}, {args})\n{first}" for life in range(2))
        return chip.command(rom, *lives, heap_kb=HEAP_KB, flash=flash)

    return boot


def controller(board: Board, folder: Path, built_for: Board | None = None) -> RealController:
    """Its hardware in lockstep, by its pins where it has any; `built_for`: with the firmware of another board."""
    boards = tuple(port_board(board, port) for port in board.port)
    kind = RealController if board.controller.pins is None else partial(PinnedController, board)
    return kind(program(built_for or board, folder), folder / "flash.img", boards, lockstep=True, on_a_tty=False)


class PinnedController(RealController):
    """The pins bus of tests/on_chip/pins.py: numbers of pins instead of names of signals."""

    def __init__(self, board: Board, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert board.controller.pins and board.controller.chip in CHIPS
        self._shared: ControllerPins = board.controller.pins
        self._ports: Sequence[PortPins] = [port.pins for port in board.port if port.pins]
        self._coils = {number(pin) for each in self._ports for pin in (each.contactor, each.gf_test, each.lock) if pin}
        self._lights = {number(pin) for each in self._ports for _, pin in lights(each)}
        self._pilots = {number(each.pilot_pwm) for each in self._ports}
        self._selects = set(map(number, self._shared.mux))

    def _tell(self, clock_ms: int) -> None:
        assert self.boot is not None and clock_ms >= 0
        levels = dict.fromkeys(range(PINS), 0)
        measured: dict[tuple[int, int], tuple[int, int]] = {}
        if self._shared.emergency_stop:
            levels[number(self._shared.emergency_stop)] = int(self.emergency_stop)
        for bay, pins in zip(self.bays, self._ports, strict=True):
            self._wire(bay, pins, levels, measured)
        values = [clock_ms, *levels.values()]
        for pin in range(FIRST_ADC, FIRST_ADC + ADCS):
            for place in range(POSITIONS):
                values += measured.get((pin, place), (0, 0))
        if values != self._told and self.boot.inputs(values):
            self._told = values

    def _wire(
        self, bay: Bay, pins: PortPins, levels: dict[int, int], measured: dict[tuple[int, int], tuple[int, int]]
    ) -> None:
        for pin, level in (
            (pins.contactor_feedback, bay.contactor.value),
            (pins.lock_feedback, bay.bolt.value),
            (pins.gf_trip, bay.tripped(self._now_ms)),
        ):
            if pin:
                levels[number(pin)] = int(level)
        high_mv, low_mv, proximity_mv = bay.pins_mv()
        volts = {"pilot": (high_mv, low_mv), "temperature": (bay.temperature_dc + OFFSET_MV,) * 2,
                 "proximity": (proximity_mv,) * 2}  # fmt: skip
        for signal in ANALOGUE_PINS:
            if pin := getattr(pins, signal):
                spans = self._shared.pilot_mv if signal == "pilot" else (0, SUPPLY_MV)
                read = raw(volts[signal][0], *spans), raw(volts[signal][1], *spans)
                places = [position(pin)] if ":" in pin else range(POSITIONS)
                measured |= {(number(pin), place): read for place in places}

    def _drive(self, frame: tuple[int, ...]) -> None:
        clock_ms, *driven = frame
        assert len(driven) == 2 * PINS, frame
        levels, duties = driven[:PINS], driven[PINS:]
        assert {pin for pin in range(PINS) if levels[pin] != NOT_DRIVEN} <= self._coils | self._selects | self._lights
        assert {pin for pin in range(PINS) if duties[pin] != NOT_DRIVEN} <= self._pilots
        rows: list[int] = []
        for pins in self._ports:
            high = [bool(pin) and levels[number(pin)] == 1 for pin in (pins.contactor, pins.lock, pins.gf_test)]
            lit = [colour * (levels[number(pin)] == 1) for colour, pin in lights(pins)]
            rows += [round(duties[number(pins.pilot_pwm)] * 10_000 / 65_535), *map(int, high), sum(lit)]
        super()._drive((clock_ms, *[0] * (HEAD_OUT - 1), *rows))


def lights(pins: PortPins) -> list[tuple[int, str]]:
    """Colour and pin of those that the port has."""
    three = (contract.RED, pins.led_red), (contract.GREEN, pins.led_green), (contract.BLUE, pins.led_blue)
    return [(colour, pin) for colour, pin in three if pin]


def raw(mv: int, low_mv: int, high_mv: int) -> int:
    """What a 16-bit converter reads."""
    return min(65_535, max(0, -((low_mv - mv) * 65_535 // (high_mv - low_mv))))
