"""The station's own process in the demo: the device's code, on the lines of a simulated box, with its clock chip.

    python -m agent.sim.device BOARD CONFIG CONTROLLER_TTY READER_TTY CLOCK GNSS_TTY

CLOCK is a file with one word of agent/sim/scenario.py CLOCKS: what the clock chip says at this power-on.
"""

import os
import sys
from pathlib import Path

from agent import app
from agent.loop import system_wall
from agent.sim.scenario import CLOCKS


def main(board: Path, config: Path, controller_tty: str, reader_tty: str, clock: Path, gnss_tty: str) -> int:
    error_s = CLOCKS[clock.read_text()]
    # The box's chip in place of this machine's: there when its file is there, and as wrong as the story wants it.
    vars(app).update(RTC=clock if error_s is not None else clock / "none", system_wall=lambda: wall_s(error_s))
    return app.run(board, config, controller_tty=controller_tty, reader_tty=reader_tty, gnss_tty=gnss_tty)


def wall_s(error_s: float | None) -> float:
    """Linux takes its clock from the chip; without one, this machine's stands in, for TLS alone."""
    return system_wall() + (error_s or 0.0)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5]), sys.argv[6]))
