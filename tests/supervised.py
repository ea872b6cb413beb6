"""A controller that runs by itself at one end of a pty: a real MicroPython, started again whenever it ends."""

import os
import pty
import socket
import subprocess
import threading
import tty
from contextlib import suppress
from pathlib import Path

from agent.sim.interpreter import bus_frame
from board import chip, firmware
from board.controller import contract
from board.controller.app.firmware import INPUTS_PER_PORT
from tests.chip import TETHERED, pins

TABLE = pins(tuple(TETHERED.items()))  # one port, board "test"


class Supervised:
    """A chip that runs on its own clock at one end of a pty; when it ends, it is started again."""

    def __init__(self, folder: Path, a: bytes = b"") -> None:
        self.boot, self.flash = folder / "boot", folder / "flash"
        self.boot.write_bytes(firmware.boot_rom(TABLE))
        self.flash.write_bytes(chip.flash_image(a))
        self._link, slave = pty.openpty()
        tty.setraw(slave)
        self.path, self._slave = os.ttyname(slave), slave  # it stays open: a line without a reader is no error
        os.set_blocking(self._link, False)
        self._is_over = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise)
        self._thread.start()

    def _supervise(self) -> None:
        cause = contract.RESET_POWER_ON
        while not self._is_over:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            command = chip.firmware(self.boot, self._link, theirs.fileno(), self.flash, cause)
            self._process = subprocess.Popen(command, pass_fds=(self._link, theirs.fileno()), stderr=subprocess.DEVNULL)
            theirs.close()
            with suppress(OSError), ours:
                idle = (12_000, 12_000, 3_300, 0, 0, 0, 250, 1, 0, 0, 0, 0, 0, 230_000, 230_000, 230_000)
                assert len(idle) == INPUTS_PER_PORT
                ours.sendall(bus_frame([-1, 0, *idle]))
                while ours.recv(4_096):
                    pass
            self._process.wait()
            cause = contract.RESET_WATCHDOG

    def close(self) -> None:
        self._is_over = True
        while self._thread.is_alive():
            if self._process is not None:
                self._process.kill()
            self._thread.join(0.05)
        os.close(self._link)
        os.close(self._slave)
