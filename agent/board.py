"""A board is one TOML file of facts that checks itself. A new board is a copied file, never an `if board ==`.

One table, one driver: each table is the Struct of facts in that driver's file; here is what the tables must agree on.
Bounds stand beside the fields; a key that nobody reads is refused with the nearest one that somebody does. How to make
such a file: docs/boards.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

import board
from agent.hal.device import DEVICE, DEVICE_WORDS, DevicePath, Name
from agent.hal.display import DisplayFacts
from agent.hal.gnss import GnssFacts
from agent.hal.gpio import InputFacts, OutputFacts, check_lines
from agent.hal.keys import KeysFacts
from agent.hal.leds import ERROR_LED, LedFacts
from agent.hal.modbus import ModbusFacts
from agent.hal.pcsc import PcscFacts
from agent.hal.pn532 import Pn532Facts
from agent.hal.power import ModemFacts, check_modem
from agent.hal.rtc import RtcFacts
from agent.hal.thermal import SensorFacts
from agent.pintable import ControllerPins, PortPins, check_pins, refuse_twice
from agent.settings import (
    CONFIG_MAX,
    CircuitMa,
    Config,
    ConfigError,
    Phases,
    PortMa,
    T,
    read_config,
    read_toml,
    refuse_unknown,
    shown,
    table,
)

BOARDS = Path(board.__file__).parent  # the boards that come with the software
PORTS_MAX = 4  # board/controller/contract.py
ROWS_MAX = 64  # in any [[table]]

CONNECTOR_MA = {  # on one phase, on three: SAE J1772; IEC 62196-2:2022, 1
    "cType1": (80_000, 0), "cType2": (70_000, 63_000), "sType2": (70_000, 63_000), "sType3": (70_000, 63_000),
}  # fmt: skip
HEADERS = re.compile(r"^\s*\[+\s*([A-Za-z0-9_-]+)", re.MULTILINE)  # first word of each table's name

Millivolts = Annotated[int, Meta(ge=80_000, le=300_000)]
Line = Annotated[
    str,
    Meta(
        max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z",
        description="a line of text in quotes, at most 100 characters",
    ),
]  # fmt: skip


class Controller(Struct, frozen=True):
    """[controller]: how the port controller is reached, and what it is. A simulated one has no tty.

    `chip`: "rp2040" has pins; "unix" is the same firmware in MicroPython on a PC; "none" is its logic in memory.
    """

    link: Literal["serial", "sim"]
    tty: Annotated[str, Meta(pattern=rf"^(sim|{DEVICE})\Z", max_length=1_000, description=DEVICE_WORDS)]
    chip: Literal["rp2040", "unix", "none"] = "none"
    pins: ControllerPins | None = None


class PortFacts(Struct, frozen=True):
    """[[port]], in order of evse_id from 1."""

    limit_ma: PortMa  # per phase: contactor, wires, cable
    connector: Literal["cType1", "cType2", "sType2", "sType3"]  # OCPP 2.1 ConnectorEnumType: c = cable, s = socket
    led: Annotated[str, Meta(min_length=1, max_length=32)]  # the light that shows this port: a [[led]], or one that the
    # controller drives ([port.pins] led_red …; a simulated controller drives every light that Linux has not)
    temperature_max_dc: Annotated[int, Meta(ge=500, le=1_200)] = 850  # the controller stops there
    pins: PortPins | None = None

    @property
    def socketed(self) -> bool:
        return self.connector.startswith("s")


# -- tables of which `kind` chooses the driver -----------------------------------------------------------------------


class NoFacts(Struct, frozen=True):
    """Nothing more to say."""


class LineFacts(Struct, frozen=True):
    """A serial reader that sends each id as a line of text, at 9,600 baud."""

    tty: DevicePath


READERS: dict[str, type[Struct]] = {
    "line": LineFacts, "pcsc": PcscFacts, "pn532": Pn532Facts, "sim": NoFacts, "none": NoFacts,
}  # fmt: skip
METERS: dict[str, type[Struct]] = {"controller": NoFacts, "modbus": ModbusFacts}


class Chosen(Struct, frozen=True):
    """[reader]: what reads cards, for all ports. [meter]: what measures energy. `facts` is its driver's Struct."""

    kind: str
    facts: Struct

    @property
    def tty(self) -> str:
        """Empty where it is on no serial line."""
        return str(getattr(self.facts, "tty", ""))


CONTROLLER_METER = Chosen("controller", NoFacts())


# -- the whole --------------------------------------------------------------------------------------------------------


class Board(Struct, frozen=True):
    name: Name
    description: Line
    circuit_limit_ma: CircuitMa  # per phase, what the board's own supply can carry; the installer commissions less
    phases: Phases
    ventilated: bool  # state D may be served: the board switches a fan, or stands outdoors
    controller: Controller
    reader: Chosen
    port: tuple[PortFacts, ...]
    voltage_min_mv: Millivolts = 187_000  # 208 V less 10 %: below it the controller stops
    voltage_max_mv: Millivolts = 264_000  # 240 V and 10 %
    meter: Chosen = CONTROLLER_METER
    output: tuple[OutputFacts, ...] = ()
    input: tuple[InputFacts, ...] = ()
    led: tuple[LedFacts, ...] = ()
    keys: tuple[KeysFacts, ...] = ()
    sensor: tuple[SensorFacts, ...] = ()
    display: DisplayFacts | None = None
    rtc: RtcFacts | None = None
    gnss: GnssFacts | None = None
    modem_lines: ModemFacts | None = None
    upgradable: bool = True  # a modem for 3G can be replaced by one for LTE; if not, the station must be

    def __post_init__(self) -> None:
        """What the tables must agree on: ValueError, one sentence that says what to type."""
        check_ports(self)
        check_controller(self)
        check_pins(self)
        check_meter(self)
        check_lights(self)
        check_lines(self.output, self.input)
        if self.modem_lines:
            check_modem(self.modem_lines, self.output)
        refuse_twice(ttys(self))
        refuse_twice(people(self))
        refuse_twice((f"the name {each.name}", f"[[sensor]] {i}") for i, each in enumerate(self.sensor, 1))

    @property
    def lights_at_controller(self) -> tuple[bool, ...]:
        """For each port whether its controller shows its light."""
        names = {led.name for led in self.led} - {ERROR_LED}
        return tuple(port.led not in names and (port.pins is None or bool(port.pins.leds)) for port in self.port)

    def layer(self) -> dict[str, Any]:
        """What this board says for Layer.BOARD."""
        return {
            "circuit_limit_ma": self.circuit_limit_ma,
            "port_limit_ma": self.port[0].limit_ma,
            "phases": self.phases,
            "ventilated": self.ventilated,
            "socketed": self.port[0].socketed,
        }


def check_ports(board: Board) -> None:
    if not 1 <= len(board.port) <= PORTS_MAX:
        raise ValueError(f"{len(board.port)} ports: describe 1 to {PORTS_MAX}, each under [[port]]")
    if len({(port.limit_ma, port.socketed) for port in board.port}) > 1:
        raise ValueError("the ports differ: give all of them the same limit_ma, and all sockets or all cables")
    if len({port.led for port in board.port}) < len(board.port):
        raise ValueError("two ports share an led: name one for each")
    if board.phases == 3 and any(port.connector == "cType1" for port in board.port):
        raise ValueError("cType1 has one phase: type phases = 1, or another connector")
    for port in board.port:
        most_ma = CONNECTOR_MA[port.connector][board.phases == 3]
        if port.limit_ma > most_ma:
            raise ValueError(
                f"limit_ma = {port.limit_ma} is too much, {port.connector} carries at most {most_ma} mA on"
                f" {board.phases} phase(s): type {most_ma} or less"
            )
        if port.limit_ma > board.circuit_limit_ma:
            raise ValueError(
                f"circuit_limit_ma = {board.circuit_limit_ma} is less than the limit_ma = {port.limit_ma} of a port:"
                f" type limit_ma = {board.circuit_limit_ma} or less, or a greater circuit_limit_ma"
            )
    if board.voltage_min_mv >= board.voltage_max_mv:
        raise ValueError(f"voltage_min_mv is not below voltage_max_mv: type less than {board.voltage_max_mv}")


def check_controller(board: Board) -> None:
    controller = board.controller
    if (controller.link == "sim") != (controller.tty == "sim"):
        raise ValueError('[controller] contradicts itself: type tty = "sim" exactly where link = "sim"')
    if (controller.link == "sim") != (controller.chip == "none"):
        raise ValueError('[controller] contradicts itself: type chip = "none" exactly where link = "sim"')


def check_meter(board: Board) -> None:
    if isinstance(facts := board.meter.facts, ModbusFacts):
        if len(facts.units) != len(board.port):
            raise ValueError(f"[meter] has {len(facts.units)} units: name {len(board.port)}, one for each port")
        if len(facts.current_ma) != board.phases:
            raise ValueError(f"[meter] has registers of {len(facts.current_ma)} phases: describe {board.phases}")


def check_lights(board: Board) -> None:
    """A port's light is Linux's or the controller's, never both; where there are none at all, led is a name for the
    screen alone."""
    names = [led.name for led in board.led if led.name != ERROR_LED]
    for i, port in enumerate(board.port, 1):
        if port.led == ERROR_LED:
            raise ValueError(f"{ERROR_LED} is the station's own light, not that of port {i}: type another name for led")
        is_controllers = port.pins is not None and bool(port.pins.leds)
        if port.led in names and is_controllers:
            raise ValueError(
                f"{port.led} is a [[led]] and has led pins of port {i}, so two would drive it: remove one of them"
            )
        if names and port.led not in names and not is_controllers:
            raise ValueError(f"no [[led]] is named {port.led}: add it, or type led = {' or '.join(map(repr, names))}")
    refuse_twice((f"the name {led.name}", f"[[led]] {i}") for i, led in enumerate(board.led, 1))
    refuse_twice(
        (f"/sys/class/leds/{folder}", f"[[led]] {led.name}")
        for led in board.led for folder in (*led.single.values(), led.multicolour) if folder
    )  # fmt: skip


def ttys(board: Board) -> Iterator[tuple[str, str]]:
    """Who is on which serial line or input device."""
    if board.controller.link != "sim":
        yield board.controller.tty, "[controller]"
    for where, each in (("[reader]", board.reader), ("[meter]", board.meter)):
        if each.tty:
            yield each.tty, where
    if board.gnss:
        yield board.gnss.device, "[gnss]"
    for i, keys in enumerate(board.keys, 1):
        yield keys.path, f"[[keys]] {i}"


def people(board: Board) -> Iterator[tuple[str, str]]:
    """What a person presses: a port's button, a key of the display. ValueError if there is no such port."""
    for each in board.input:
        if each.evse_id > len(board.port):
            raise ValueError(f"{each.name}: there is no port {each.evse_id}: type evse_id = 1 to {len(board.port)}")
        if each.evse_id:
            yield f"the button of port {each.evse_id}", each.name
        if each.key:
            yield f"soft key {each.key}", each.name
    for i, keys in enumerate(board.keys, 1):
        for key, _ in enumerate(keys.soft_keys, 1):
            yield f"soft key {key}", f"[[keys]] {i}"
        if len(keys.port_keys) > len(board.port):
            raise ValueError(f"[[keys]] {i}: port_keys names more keys than there are ports: type {len(board.port)}")


# -- from text ---------------------------------------------------------------------------------------------------------


def load(path: Path) -> Board:
    """The board at `path`. ConfigError names file and key."""
    known = ", ".join(str(each) for each in sorted(BOARDS.glob("*.toml")))
    return read_board(text_of(path, f"no board file at {path}: name another, yours or one of {known}"), str(path))


def load_config(path: Path) -> Config:
    """The config file at `path`. ConfigError names file and key."""
    missing = f"no config file at {path}: copy config/example.toml there and edit it, or type --config FILE"
    return read_config(text_of(path, missing), str(path))


def text_of(path: Path, missing: str) -> str:
    """At most CONFIG_MAX bytes of text, whatever it is a path of."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_MAX + 1)
        if len(data) > CONFIG_MAX:
            raise ConfigError(f"{path}: more than {CONFIG_MAX} bytes are no file of ours: name another")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ConfigError(missing) from None
    except PermissionError:
        raise ConfigError(f"{path} may not be read: type sudo before the command") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} cannot be read: it is a folder, name the file in it") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read: it is no text in UTF-8, name a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def read_board(text: str, where: str) -> Board:
    """ConfigError, whatever the text is."""
    if not text.strip():
        raise ConfigError(f"{where} is empty: type station-agent board new --from duo_cm4 FILE, and correct that file")
    try:
        facts = read_toml(text, where)
    except ConfigError:  # of a misspelt [[table]] TOML says what nobody can guess it from
        refuse_unknown(HEADERS.findall(text[:CONFIG_MAX]), Board.__struct_fields__, f"{where}:")
        raise
    where = f"{where}:"
    if not isinstance(facts.get("port"), list):
        raise ConfigError(f"{where} no port: describe each one under [[port]]")
    made: dict[str, object] = {"reader": chosen(facts.get("reader", {}), READERS, f"{where} [reader]")}
    if "meter" in facts:
        made["meter"] = chosen(facts["meter"], METERS, f"{where} [meter]")
    return built(facts, Board, where, "[", "]", **made)


def chosen(value: object, drivers: dict[str, type[Struct]], where: str) -> Chosen:
    """A table of which `kind` names the driver, and the rest are that driver's facts."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: write it as a table, [name] and below it one key = value a line")
    kinds = " or ".join(f'"{name}"' for name in drivers)
    if "kind" not in value:
        raise ConfigError(f"{where} kind is missing: add kind = {kinds}")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in drivers:
        raise ConfigError(f"{where} kind = {shown(kind)} cannot be: type {kinds}")
    rest = {key: each for key, each in value.items() if key != "kind"}
    return Chosen(kind, built(rest, drivers[kind], f"{where}"))


def built(value: object, type_: type[T], where: str, left: str = "", right: str = "", **made: object) -> T:
    """A table as a Struct, with the tables in it; `left` and `right` spell the name of a table as TOML does."""
    hints = get_type_hints(type_, include_extras=True)
    refuse_unknown(value if isinstance(value, dict) else (), hints, where)
    for key, each in value.items() if isinstance(value, dict) else ():
        if key in made or key not in hints:
            continue
        struct, is_rows = struct_of(hints[key])
        if struct and is_rows:
            made[key] = built_rows(each, struct, f"{where} {left * 2}{key}{right * 2}")
        elif struct:
            made[key] = built(each, struct, f"{where} {left}{key}{right}")
    return table(value, type_, where, **made)


def built_rows(value: object, struct: type[T], where: str) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > ROWS_MAX:
        raise ConfigError(f"{where}: write each one as a table of its own, up to {ROWS_MAX}")
    return tuple(built(each, struct, f"{where} {i}") for i, each in enumerate(value, 1))


def struct_of(hint: Any) -> tuple[type[Struct] | None, bool]:
    """The Struct that a field holds, or holds in rows."""
    for each in (hint, *get_args(hint)):
        if isinstance(each, type) and issubclass(each, Struct):
            return each, get_origin(hint) is tuple
    return None, False
