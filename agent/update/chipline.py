"""The controller's serial line for agent/update/chip.py: waits, reads, writes. And what a station does before its agent
starts: bring the controller to the firmware of the slot that runs.

    python -m agent.update.chipline BOARD STATE        from systemd, before the agent has the line

BOARD is the board file, which names the line; the firmware lies beside the tree that this runs out of, and the rescue
tree has none. It never keeps the agent from starting: whatever happens is a sentence, the exit code is 0, and it ends
within LIMIT_S. Ports in use are left alone: the agent starts, speaks with the old firmware (its contract range was
checked), and the next start tries again. An image that has failed its trial is not brought again: STATE remembers which
one was brought last. The agent's own wishes confirm a new one.
"""

import os
import select
import sys
import time
import tomllib
from collections.abc import Sequence
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from typing import Protocol

from agent.update.chip import Flash, Look, Progress, Report, Talk, image_of
from agent.update.refusal import Refused

BAUD = 115_200
WAIT_S = 0.25
READ_B = 65_536
LOOK_S = 3.0
LIMIT_S = 50.0  # systemd waits a minute; a flash with a trial that fails takes about forty seconds
TREE = Path(__file__).resolve().parents[2]  # what this runs out of
ROM = Path("controller", "app.rom")  # in a slot, beside that


class Line(Protocol):
    """OSError: it has gone. read() gives b"" at its end."""

    def fileno(self) -> int: ...
    def write_fileno(self) -> int: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def why(self) -> str: ...
    def close(self) -> None: ...


class Tty:
    """A serial port that nobody else has."""

    def __init__(self, path: str, baud: int = BAUD) -> None:
        """Refused("busy"), Refused("no-device")."""
        import serial

        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            code = "busy" if getattr(error, "errno", None) in (11, 16) or "lock" in str(error).lower() else "no-device"
            raise Refused(code, f"{path} cannot be opened ({error}): see [controller] of the board file") from None
        with suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._port.set_low_latency_mode(True)  # an FTDI chip waits 16 ms otherwise

    def fileno(self) -> int:
        return int(self._port.fileno())

    write_fileno = fileno

    def read(self) -> bytes:
        return os.read(self.fileno(), READ_B)

    def write(self, data: bytes) -> int:
        return os.write(self.fileno(), data)

    def why(self) -> str:
        return "it is gone"

    def close(self) -> None:
        self._port.close()


def converse(line: Line, talk: Talk, end_s: float = inf) -> Report:
    """To its end, or until then (of time.monotonic). Refused."""
    out = b""
    while not talk.is_over:
        if time.monotonic() >= end_s:
            raise Refused("link", "it takes too long: the controller goes back to its firmware by itself")
        try:
            data = _turn(line, talk, out)
        except (ConnectionError, OSError) as error:
            raise Refused("link", f"the controller's line was lost ({error}): plug it in, and flash again") from None
        out = data[1]
        if data[0]:
            talk.received(data[0], time.monotonic())
    if talk.refused:
        raise talk.refused
    assert talk.report
    return talk.report


def _turn(line: Line, talk: Talk, out: bytes) -> tuple[bytes, bytes]:
    """What came, and what the line has not taken yet."""
    with suppress(BlockingIOError):
        while out or (out := talk.poll(time.monotonic())):
            out = out[line.write(out) :]
    wait_s = min(WAIT_S, max(0.0, talk.next_deadline() - time.monotonic()))
    readable, _, _ = select.select([line.fileno()], [line.write_fileno()] if out else [], [], wait_s)
    if not readable:
        return b"", out
    with suppress(BlockingIOError):
        data = line.read()
        if not data:
            raise ConnectionError(line.why())
        return data, out
    return b"", out


# -- before the agent starts


def bring(tty: str, rom: bytes, state: Path) -> str:
    """What was done, in a sentence. Refused."""
    image, end_s = image_of(rom), time.monotonic() + LIMIT_S

    def tell(progress: Progress) -> None:
        if progress.step == "check":  # all of it is there: from now on it may fail its trial, and was not refused
            state.write_text(image.digest)

    with closing(Tty(tty)) as line:
        found = converse(line, Look(nonce=os.urandom(8), patience_s=LOOK_S), end_s)
        if found.digest == image.digest and not found.is_receiving:
            return f"the controller runs {image.version} already"
        is_running = bool(found.version) or not found.is_receiving
        if is_running and found.fell_back and state.exists() and state.read_text().strip() == image.digest:
            return f"{image.version} has failed its trial on the controller, which keeps {found.version or 'its own'}"
        report = converse(line, Flash(image, nonce=os.urandom(8), is_proven_here=False, tell=tell), end_s)
    return f"the controller runs {report.version or image.version}, on trial until this station has wished for a while"


def line_of(board: Path) -> str:
    """The tty of the controller; "" where it is a simulated one, or has no firmware of ours."""
    controller = tomllib.loads(board.read_text())["controller"]
    return str(controller["tty"]) if controller["link"] == "serial" and controller.get("chip", "none") != "none" else ""


def main(argv: Sequence[str], tree: Path = TREE) -> int:
    rom = tree.parent / ROM
    try:
        board, state = map(Path, argv)
        if (tty := line_of(board)) and rom.exists():
            print(bring(tty, rom.read_bytes(), state), flush=True)
    except (Refused, OSError, ValueError, KeyError, TypeError) as error:
        print(f"the controller keeps its firmware: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
