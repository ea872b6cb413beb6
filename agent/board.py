"""A board is one TOML file of facts that checks itself. A new board is a copied file, never an `if board ==`.

Bounds stand beside the fields; a key that nobody reads is refused with the nearest one that somebody does.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

import board
from agent.settings import (
    CircuitMa,
    Config,
    ConfigError,
    FilePath,
    Phases,
    PortMa,
    Text,
    read_config,
    read_toml,
    table,
)

BOARDS = Path(board.__file__).parent  # the boards that come with the software
PORTS_MAX = 4  # board/controller/contract.py

Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z", description="a name in quotes: lower-case letters, digits and _")
]


class Controller(Struct, frozen=True):
    """[controller]: how the port controller is reached. A simulated one has no tty."""

    link: Literal["serial", "sim"]
    tty: FilePath


class Reader(Struct, frozen=True):
    """[reader]: what reads cards, for all ports. `line`: a serial reader that sends each id as a line of text."""

    kind: Literal["line", "sim", "none"]
    tty: FilePath = "none"


class PortFacts(Struct, frozen=True):
    """[[port]], in order of evse_id from 1."""

    limit_ma: PortMa  # per phase: contactor, wires, cable
    connector: Literal["cType1", "cType2", "sType2", "sType3"]  # OCPP 2.1 ConnectorEnumType: c = cable, s = socket
    led: Annotated[str, Meta(min_length=1, max_length=32)]

    @property
    def socketed(self) -> bool:
        return self.connector.startswith("s")


class Board(Struct, frozen=True):
    name: Name
    description: Text
    circuit_limit_ma: CircuitMa  # per phase, what the board's own supply can carry; the installer commissions less
    phases: Phases
    ventilated: bool  # state D may be served: the board switches a fan, or stands outdoors
    controller: Controller
    reader: Reader
    port: tuple[PortFacts, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.port) <= PORTS_MAX:
            raise ValueError(f"{len(self.port)} ports: describe 1 to {PORTS_MAX}, each under [[port]]")
        if len({(port.limit_ma, port.socketed) for port in self.port}) > 1:
            raise ValueError("the ports differ: give all of them the same limit_ma, and all sockets or all cables")
        if len({port.led for port in self.port}) < len(self.port):
            raise ValueError("two ports share an led: name one for each")
        if (self.controller.link == "sim") != (self.controller.tty == "sim"):
            raise ValueError('[controller] contradicts itself: type tty = "sim" exactly where link = "sim"')
        if (self.reader.kind == "line") != (self.reader.tty != "none"):
            raise ValueError('[reader] contradicts itself: type a tty exactly where kind = "line"')
        if self.phases == 3 and any(port.connector == "cType1" for port in self.port):
            raise ValueError("cType1 has one phase: type phases = 1, or another connector")

    def layer(self) -> dict[str, Any]:
        """What this board says for Layer.BOARD."""
        return {
            "circuit_limit_ma": self.circuit_limit_ma,
            "port_limit_ma": self.port[0].limit_ma,
            "phases": self.phases,
            "ventilated": self.ventilated,
            "socketed": self.port[0].socketed,
        }


def load(path: Path) -> Board:
    """The board at `path`. ConfigError names file and key."""
    known = ", ".join(str(each) for each in sorted(BOARDS.glob("*.toml")))
    return read_board(text_of(path, f"no board file at {path}: type --board and one of {known}"), str(path))


def load_config(path: Path) -> Config:
    """The config file at `path`. ConfigError names file and key."""
    missing = f"no config file at {path}: copy config/example.toml there and edit it, or type --config FILE"
    return read_config(text_of(path, missing), str(path))


def text_of(path: Path, missing: str) -> str:
    try:
        return path.read_text()
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
    facts = read_toml(text, where)
    ports = facts.get("port")
    if not isinstance(ports, list):
        raise ConfigError(f"{where}: no port: describe each one under [[port]]")
    return table(
        facts,
        Board,
        f"{where}:",
        controller=table(facts.get("controller", {}), Controller, f"{where}: [controller]"),
        reader=table(facts.get("reader", {}), Reader, f"{where}: [reader]"),
        port=tuple(table(each, PortFacts, f"{where}: [[port]] {i}") for i, each in enumerate(ports, 1)),
    )
