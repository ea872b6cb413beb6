"""The port controller's pins: what a board says of them, what its chip can do, and the table of its firmware.

`station-agent board pins FILE` prints the table. Its hash is told in the controller's WELCOME and compared with the
board file's: firmware of another board would drive the wrong pins.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from board.controller.app.port import PortBoard
from board.firmware import facts_of, hash_of
from board.firmware import pin_table as table_text

if TYPE_CHECKING:
    from agent.board import Board, PortFacts

WORDS = 'a pin of the controller in quotes, "GP0" to "GP29"'
Pin = Annotated[str, Meta(pattern=r"^GP([0-9]|[12][0-9])\Z", description=WORDS)]
PinOrNone = Annotated[str, Meta(pattern=r"^(GP([0-9]|[12][0-9]))?\Z", description=WORDS)]


class ControllerPins(Struct, frozen=True):
    """[controller.pins]: what serves all ports. The UART leads to Linux, the SPI bus to the meters."""

    uart_tx: Pin
    uart_rx: Pin
    emergency_stop: PinOrNone = ""  # high = pressed, or its wire broken; the stop itself is in the coils' circuit
    meter_sck: PinOrNone = ""
    meter_mosi: PinOrNone = ""
    meter_miso: PinOrNone = ""


class PortPins(Struct, frozen=True):
    """[port.pins], below its [[port]]."""

    pilot_pwm: Pin
    pilot_adc: Pin
    temperature_adc: Pin
    contactor: Pin  # the coil; a resistor holds it low while the chip is in reset
    contactor_feedback: Pin  # auxiliary contact: high = the power path is closed
    ground_fault: Pin  # the detector's trip line
    ground_fault_test: Pin
    proximity_adc: PinOrNone = ""  # this and the lock: a socket has them, a cable has not
    lock: PinOrNone = ""
    lock_feedback: PinOrNone = ""
    meter_cs: PinOrNone = ""


SOCKET_PINS = ("proximity_adc", "lock", "lock_feedback")
ADC_PINS = ("pilot_adc", "temperature_adc", "proximity_adc")
METER_PINS = ("meter_sck", "meter_mosi", "meter_miso")


@dataclass(frozen=True, slots=True)
class Chip:
    """What its pins can do, by number."""

    adc: set[int]
    uarts: list[tuple[set[int], set[int]]]  # tx, rx
    spis: list[tuple[set[int], set[int], set[int]]]  # sck, mosi, miso
    pwm_channels: int  # pins that are so far apart share a channel, and can only show the same


CHIPS = {
    "rp2040": Chip(  # RP2040 datasheet, 1.4.3 and 4.5.2
        adc={26, 27, 28, 29},
        uarts=[({0, 12, 16, 28}, {1, 13, 17, 29}), ({4, 8, 20, 24}, {5, 9, 21, 25})],
        spis=[({2, 6, 18, 22}, {3, 7, 19, 23}, {0, 4, 16, 20}), ({10, 14, 26}, {11, 15, 27}, {8, 12, 24, 28})],
        pwm_channels=16,
    )
}


# -- what a board may not say ----------------------------------------------------------------------------------------


def check_pins(board: "Board") -> None:
    """Each pin has one user, and can do what it is used for. ValueError says what to type."""
    shared, chip = board.controller.pins, CHIPS.get(board.controller.chip)
    if (shared is None) != (chip is None):
        fix = "remove it" if shared else "add it"
        raise ValueError(f'[controller.pins] belongs to chip = "{next(iter(CHIPS))}": {fix}, or type another chip')
    for evse_id, port in enumerate(board.port, 1):
        if (port.pins is None) != (chip is None):
            fix = "remove it" if port.pins else "add it"
            raise ValueError(f"[port.pins] of port {evse_id} belongs to [controller.pins]: {fix}")
    if shared is None or chip is None:
        return
    refuse_twice((f"pin {pin}", who) for who, pin in signals(board))
    check_wires(shared, chip, is_metering=board.meter.kind == "controller")
    for evse_id, port in enumerate(board.port, 1):
        check_port(port, evse_id, chip, is_metering=board.meter.kind == "controller")
    pilots = [(port.pins.pilot_pwm, f"pilot_pwm of port {i}") for i, port in enumerate(board.port, 1) if port.pins]
    refuse_twice((f"PWM channel {number(pin) % chip.pwm_channels}", f"{who} = {pin}") for pin, who in pilots)


def check_wires(pins: ControllerPins, chip: Chip, *, is_metering: bool) -> None:
    if not any(number(pins.uart_tx) in tx and number(pins.uart_rx) in rx for tx, rx in chip.uarts):
        raise ValueError(
            f"[controller.pins] {pins.uart_tx} and {pins.uart_rx} are no UART: type uart_tx and uart_rx as"
            " GP0 and GP1, or another pair of the chip's data sheet"
        )
    bus = [getattr(pins, name) for name in METER_PINS]
    if not all(bus) if is_metering else any(bus):
        raise ValueError(
            f'[controller.pins] {", ".join(METER_PINS)} belong to a controller that measures energy: '
            + ("name them, or describe another meter under [meter]" if is_metering else "remove them, or [meter]")
        )
    spi = [[number(pin) in can for pin, can in zip(bus, each, strict=True)] for each in chip.spis if all(bus)]
    if is_metering and not any(map(all, spi)):
        raise ValueError(
            f"[controller.pins] {', '.join(bus)} are no SPI bus: type {', '.join(METER_PINS)} as GP2, GP3, GP4, or"
            " another three of the chip's data sheet"
        )


def check_port(port: "PortFacts", evse_id: int, chip: Chip, *, is_metering: bool) -> None:
    assert port.pins
    for name in ADC_PINS:
        pin = getattr(port.pins, name)
        if pin and number(pin) not in chip.adc:
            can = " or ".join(f"GP{each}" for each in sorted(chip.adc))
            raise ValueError(f"{name} of port {evse_id}: {pin} cannot measure: type {can}")
    for name, is_wanted, whose in (
        *((name, port.socketed, "a socket") for name in SOCKET_PINS),
        ("meter_cs", is_metering, "a controller that measures energy"),
    ):
        if bool(getattr(port.pins, name)) != is_wanted:
            fix = f'type {name} = "GP…"' if is_wanted else "remove it"
            raise ValueError(f"{name} of port {evse_id} belongs to {whose}: {fix}")


def refuse_twice(users: Iterable[tuple[str, str]]) -> None:
    """`(what, who)`: ValueError if one thing has two users."""
    known: dict[str, str] = {}
    for what, who in users:
        if what in known:
            raise ValueError(f"{what} is used twice, by {known[what]} and {who}: give each its own")
        known[what] = who


def signals(board: "Board") -> Iterator[tuple[str, str]]:
    """Every signal of the controller and its pin."""
    owners = [("the controller", board.controller.pins)]
    owners += [(f"port {i}", port.pins) for i, port in enumerate(board.port, 1)]  # type: ignore[misc]
    for who, pins in owners:
        for signal in pins.__struct_fields__ if pins else ():
            if pin := getattr(pins, signal):
                yield f"{signal} of {who}", pin


def number(pin: str) -> int:
    return int(pin.removeprefix("GP"))


# -- the table -------------------------------------------------------------------------------------------------------


def port_board(board: "Board", port: "PortFacts") -> PortBoard:
    """What the controller's logic knows of the board."""
    return PortBoard(
        max_ma=port.limit_ma, socketed=port.socketed, ventilated=board.ventilated, phases=board.phases,
        voltage_min_mv=board.voltage_min_mv, voltage_max_mv=board.voltage_max_mv,
        temperature_max_dc=port.temperature_max_dc,
    )  # fmt: skip


def pin_table(board: "Board") -> str:
    """The text of the module `pins`, see board/firmware.py."""
    return table_text(board.name, board.circuit_limit_ma, rows(board), numbered(board.controller.pins))


def pins_hash(board: "Board") -> str:
    """What the controller's WELCOME must tell; "" where no firmware was built from a board file."""
    if board.controller.chip == "none":
        return ""
    return hash_of(facts_of(board.circuit_limit_ma, rows(board), numbered(board.controller.pins)))


def rows(board: "Board") -> list[dict[str, object]]:
    return [{"board": vars(port_board(board, port)), "pins": numbered(port.pins)} for port in board.port]


def numbered(pins: Struct | None) -> dict[str, object]:
    if pins is None:
        return {}
    return {signal: number(pin) for signal in pins.__struct_fields__ if (pin := getattr(pins, signal))}
