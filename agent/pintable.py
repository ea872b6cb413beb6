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

NUMBER = "GP([0-9]|[12][0-9])"
WORDS = 'a pin of the controller in quotes, "GP0" to "GP29"'
ANALOGUE = f'{WORDS}, behind the multiplexer "GP26:0" to "GP26:7"'
Pin = Annotated[str, Meta(pattern=rf"^{NUMBER}\Z", description=WORDS)]
PinOrNone = Annotated[str, Meta(pattern=rf"^({NUMBER})?\Z", description=WORDS)]
Analogue = Annotated[str, Meta(pattern=rf"^{NUMBER}(:[0-7])?\Z", description=ANALOGUE)]
AnalogueOrNone = Annotated[str, Meta(pattern=rf"^({NUMBER}(:[0-7])?)?\Z", description=ANALOGUE)]
Module = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9_]{0,31})?\Z", description="a Python module's name in quotes")]
Millivolts = Annotated[int, Meta(ge=-100_000, le=100_000)]

BAUD = 115_200  # agent/hal/tty.py
PILOT_MAX_MV = 12_600  # IEC 61851-1 Table A.2: 12 V, 0.6 V either way


class ControllerPins(Struct, frozen=True):
    """[controller.pins]: what serves all ports. The UART leads to Linux."""

    tx: Pin
    rx: Pin
    pilot_mv: tuple[Millivolts, Millivolts]  # what the pilot's divider reads as nothing, and as all
    emergency_stop: PinOrNone = ""  # high = pressed, or its wire broken; the stop itself is in the coils' circuit
    mux: tuple[Pin, ...] = ()  # select pins of an analogue multiplexer, lowest bit first
    meter: Module = ""  # reads the metering chips, and knows their pins


class PortPins(Struct, frozen=True):
    """[port.pins], below its [[port]]."""

    pilot_pwm: Pin
    pilot: Analogue
    temperature: Analogue
    contactor: Pin  # the coil; a resistor holds it low while the chip is in reset
    contactor_feedback: Pin  # auxiliary contact: high = the power path is closed
    gf_trip: Pin  # the ground-fault detector's trip line
    gf_test: Pin
    proximity: AnalogueOrNone = ""  # this and the lock: a socket has them, a cable has not
    lock: PinOrNone = ""
    lock_feedback: PinOrNone = ""
    led_red: PinOrNone = ""  # a light that the controller blinks, whatever happens to Linux: high = lit
    led_green: PinOrNone = ""
    led_blue: PinOrNone = ""

    @property
    def leds(self) -> tuple[str, ...]:
        return tuple(pin for pin in (self.led_red, self.led_green, self.led_blue) if pin)


SOCKET_PINS = ("proximity", "lock", "lock_feedback")
ANALOGUE_PINS = ("pilot", "temperature", "proximity")


@dataclass(frozen=True, slots=True)
class Chip:
    """What its pins can do, by number."""

    adc: set[int]
    uarts: list[tuple[set[int], set[int]]]  # tx, rx
    pwm_channels: int  # pins that are so far apart share a channel, and can only show the same


CHIPS = {
    "rp2040": Chip(  # RP2040 datasheet, 1.4.3 and 4.5.2
        adc={26, 27, 28, 29},
        uarts=[({0, 12, 16, 28}, {1, 13, 17, 29}), ({4, 8, 20, 24}, {5, 9, 21, 25})],
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
    refuse_twice((f"pin {pin}", who) for who, pin in users(board))
    check_wires(shared, chip, is_metering=board.meter.kind == "controller")
    for evse_id, port in enumerate(board.port, 1):
        check_port(port, evse_id, chip, positions=1 << len(shared.mux) if shared.mux else 0)
    pilots = [(port.pins.pilot_pwm, f"pilot_pwm of port {i}") for i, port in enumerate(board.port, 1) if port.pins]
    refuse_twice((f"PWM channel {number(pin) % chip.pwm_channels}", f"{who} = {pin}") for pin, who in pilots)


def check_wires(pins: ControllerPins, chip: Chip, *, is_metering: bool) -> None:
    if uart_of(pins, chip) is None:
        raise ValueError(
            f"[controller.pins] {pins.tx} and {pins.rx} are no UART: type tx and rx as GP0 and GP1, or another pair of"
            " the chip's data sheet"
        )
    if pins.pilot_mv[0] >= pins.pilot_mv[1]:
        raise ValueError("[controller.pins] pilot_mv: type the lower voltage first, and another one after it")
    if pins.pilot_mv[0] > -PILOT_MAX_MV or pins.pilot_mv[1] < PILOT_MAX_MV:
        raise ValueError(
            f"[controller.pins] pilot_mv does not span the pilot: type at most -{PILOT_MAX_MV} and at least"
            f" {PILOT_MAX_MV}, the pilot's own voltages, not the pin's"
        )
    if len(pins.mux) > 3:
        raise ValueError("[controller.pins] mux: name up to 3 select pins, for 8 positions")
    if bool(pins.meter) != is_metering:
        fix = (
            "add it, the module that reads its metering chips, or describe another meter under [meter]"
            if is_metering else "remove it, or [meter]"
        )  # fmt: skip
        raise ValueError(f"[controller.pins] meter belongs to a controller that measures energy: {fix}")


def check_port(port: "PortFacts", evse_id: int, chip: Chip, *, positions: int) -> None:
    assert port.pins
    for name in ANALOGUE_PINS:
        pin = getattr(port.pins, name)
        if pin and number(pin) not in chip.adc:
            can = " or ".join(f"GP{each}" for each in sorted(chip.adc))
            raise ValueError(f"{name} of port {evse_id}: {pin} cannot measure: type {can}")
        if pin and ":" in pin and position(pin) >= positions:
            raise ValueError(f"{name} of port {evse_id}: {pin} is no position of mux: remove it, or add select pins")
    for name in SOCKET_PINS:
        if bool(getattr(port.pins, name)) != port.socketed:
            fix = f'type {name} = "GP…"' if port.socketed else "remove it"
            raise ValueError(f"{name} of port {evse_id} belongs to a socket: {fix}")


def refuse_twice(users: Iterable[tuple[str, str]]) -> None:
    """`(what, who)`: ValueError if one thing has two users."""
    known: dict[str, str] = {}
    for what, who in users:
        if what in known:
            raise ValueError(f"{what} is used twice, by {known[what]} and {who}: give each its own")
        known[what] = who


def signals(board: "Board") -> Iterator[tuple[str, str]]:
    """Every signal of the controller and its pin."""
    shared = board.controller.pins
    for signal in ("tx", "rx", "emergency_stop") if shared else ():
        if pin := getattr(shared, signal):
            yield f"{signal} of the controller", pin
    for i, pin in enumerate(shared.mux if shared else ()):
        yield f"mux {i} of the controller", pin
    for i, port in enumerate(board.port, 1):
        for signal in port.pins.__struct_fields__ if port.pins else ():
            if pin := getattr(port.pins, signal):
                yield f"{signal} of port {i}", pin


def users(board: "Board") -> Iterator[tuple[str, str]]:
    """`signals`, and once each pin that a multiplexer leads to, which nobody else may use."""
    found = list(signals(board))
    yield from found
    for pin in {pin.partition(":")[0] for _, pin in found if ":" in pin}:
        yield "the multiplexer", pin


def number(pin: str) -> int:
    return int(pin.removeprefix("GP").partition(":")[0])


def position(pin: str) -> int:
    """Of the multiplexer; 0 without one."""
    return int(pin.partition(":")[2] or 0)


def uart_of(pins: ControllerPins, chip: Chip) -> int | None:
    found = (i for i, (tx, rx) in enumerate(chip.uarts) if number(pins.tx) in tx and number(pins.rx) in rx)
    return next(found, None)


# -- the table -------------------------------------------------------------------------------------------------------


def port_board(board: "Board", port: "PortFacts") -> PortBoard:
    """What the controller's logic knows of the board."""
    return PortBoard(
        max_ma=port.limit_ma, socketed=port.socketed, ventilated=board.ventilated, phases=board.phases,
        voltage_min_mv=board.voltage_min_mv, voltage_max_mv=board.voltage_max_mv,
        temperature_max_dc=port.temperature_max_dc, metered=board.meter.kind == "controller",
    )  # fmt: skip


def pin_table(board: "Board") -> str:
    """The text of the module `pins`, see board/firmware.py."""
    return table_text(board.name, board.circuit_limit_ma, rows(board), of_station(board))


def pins_hash(board: "Board") -> str:
    """What the controller's WELCOME must tell; "" where no firmware was built from a board file."""
    if board.controller.chip == "none":
        return ""
    return hash_of(facts_of(board.circuit_limit_ma, rows(board), of_station(board)))


def rows(board: "Board") -> list[dict[str, object]]:
    return [{"board": vars(port_board(board, port)), "pins": of_port(port.pins)} for port in board.port]


def of_port(pins: PortPins | None) -> dict[str, object]:
    """None: the board has no such signal."""
    found: dict[str, object] = {}
    for signal in pins.__struct_fields__ if pins else ():
        pin = getattr(pins, signal)
        where = (number(pin), position(pin)) if pin and signal in ANALOGUE_PINS else pin and number(pin)
        found[signal] = where if pin else None
    return found


def of_station(board: "Board") -> dict[str, object]:
    pins, chip = board.controller.pins, CHIPS.get(board.controller.chip)
    if pins is None or chip is None:
        return {}
    return {
        "emergency_stop": number(pins.emergency_stop) if pins.emergency_stop else None,
        "uart": uart_of(pins, chip), "tx": number(pins.tx), "rx": number(pins.rx), "baud": BAUD,
        "mux": tuple(map(number, pins.mux)), "pilot_mv": pins.pilot_mv, "meter": pins.meter or None,
    }  # fmt: skip
