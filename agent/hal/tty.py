"""Serial lines on the event loop: the port controller's link and a card reader that speaks in lines.

A line that vanishes (unplugged, renamed) is tried again every second for ever; its owner hears of both edges. Nothing
here blocks: bytes that the line does not take at once wait in a bounded buffer, and a stale wish is worth less than a
fresh one.
"""

import asyncio
import errno
import os
import termios
from collections.abc import Callable
from pathlib import Path

import serial

from agent.effects import PortCommand
from agent.events import CardTapped, Event
from agent.hal.controller import ControllerLink
from agent.hal.device import RETRY_S, sentence
from agent.settings import ConfigError
from agent.ui.led import Pattern

OUT_MAX = 4_096  # bytes that wait for the line; beyond it they are dropped, for the next heartbeat says it all again
PERMIT = "type usermod -aG dialout station-agent"
LINE_MAX = 64  # characters of a card id
LINE_S = 0.5  # a line comes within so long; what has begun then and not ended was noise


class Tty:
    """One serial line: `on_bytes` for what it says, `on_gone` when it is lost. `tell` hears with each attempt to open
    it what is wrong, in a sentence; "" is nothing."""

    def __init__(
        self, path: str, baudrate: int, on_bytes: Callable[[bytes], None], on_gone: Callable[[], None],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.path, self._baudrate = path, baudrate
        self._on_bytes, self._on_gone, self._tell = on_bytes, on_gone, tell
        self._loop = asyncio.get_running_loop()
        self._port: serial.Serial | None = None
        self._out = b""
        self._retry: asyncio.TimerHandle | None = None
        self._open()

    def write(self, data: bytes) -> None:
        if self._port is None or not data:
            return
        self._out += data
        if len(self._out) > OUT_MAX:
            self._out = data
        self._flush()

    def close(self) -> None:
        if self._retry:
            self._retry.cancel()
        if self._port is not None:
            self._release(self._port)

    def _open(self) -> None:
        self._retry = None
        try:
            self._port = serial.Serial(self.path, self._baudrate, timeout=0, write_timeout=0, exclusive=True)
        # termios: it vanished while it was opened. ValueError: a zero byte, which TOML can spell
        except (OSError, serial.SerialException, termios.error, ValueError) as error:
            self._retry = self._loop.call_later(RETRY_S, self._open)
            return self._tell(why_not_open(error, self.path))
        self._loop.add_reader(self._port.fileno(), self._readable)
        return self._tell("")

    def _readable(self) -> None:
        assert self._port
        try:
            data = os.read(self._port.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_bytes(data)
        else:
            self._gone()

    def _flush(self) -> None:
        assert self._port
        try:
            self._out = self._out[os.write(self._port.fileno(), self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            return self._gone()
        if self._out:
            self._loop.add_writer(self._port.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._port.fileno())

    def _gone(self) -> None:
        assert self._port
        self._release(self._port)
        self._on_gone()
        self._tell(sentence(OSError(errno.ENODEV, ""), self.path, PERMIT))
        self._retry = self._loop.call_later(RETRY_S, self._open)

    def _release(self, port: serial.Serial) -> None:
        self._loop.remove_reader(port.fileno())
        self._loop.remove_writer(port.fileno())
        self._port, self._out = None, b""
        port.close()


class SerialController:
    """The port controller behind its link, on a serial line."""

    def __init__(
        self, link: ControllerLink, path: str, post: Callable[[Event], None], now: Callable[[], float]
    ) -> None:
        self.link = link
        self._post, self._now = post, now
        self._tty = Tty(path, 115_200, self._received, self._gone)

    def wish(self, commands: tuple[PortCommand, ...], now: float) -> None:
        self._tty.write(self.link.wish(commands, now))

    def commission(self, limits: tuple[int, int, int], now: float) -> None:
        self._tty.write(self.link.commission(limits))

    def show(self, lights: tuple[Pattern | None, ...], now: float) -> None:
        self._tty.write(self.link.show(lights, now))

    def fresh(self, evse_id: int, now: float) -> Event | None:
        return self.link.fresh(evse_id, now)

    def due(self, now: float) -> None:
        if now >= self.link.next_deadline():
            out, events = self.link.poll(now)
            self._tty.write(out)
            for event in events:
                self._post(event)

    def next_deadline(self) -> float:
        return self.link.next_deadline()

    def close(self) -> None:
        self._tty.close()

    def _received(self, data: bytes) -> None:
        out, events = self.link.received(data, self._now())
        self._tty.write(out)
        for event in events:
            self._post(event)

    def _gone(self) -> None:
        for event in self.link.disconnected():
            self._post(event)


class LineReader:
    """A card reader that sends each id as a line of text, as serial and keyboard-wedge readers do.

    Of lines that come at once the last counts: nobody taps twice within milliseconds, and a reader gone wild must not
    bury the loop in taps. `tell` hears what is wrong with the line, "" is nothing; a silent reader on a line that
    is there is one that nobody has tapped.
    """

    def __init__(
        self, path: str, post: Callable[[Event], None], tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """ConfigError if the line may not be opened."""
        self._post = post
        self._line = b""
        self._patience: asyncio.TimerHandle | None = None
        self._tty = Tty(checked_tty(path), 9_600, self._received, self._forget, tell)

    def close(self) -> None:
        self._forget()
        self._tty.close()

    def _received(self, data: bytes) -> None:
        *lines, rest = (self._line + data).replace(b"\r", b"\n").split(b"\n")
        self._forget()
        if rest:
            self._line = rest[-LINE_MAX:]
            self._patience = asyncio.get_running_loop().call_later(LINE_S, self._forget)
        if ids := [line.strip() for line in lines if line.strip()]:
            self._post(CardTapped(ids[-1][-LINE_MAX:].decode("ascii", "replace")))

    def _forget(self) -> None:
        self._line = b""
        if self._patience:
            self._patience.cancel()


def why_not_open(error: Exception, path: str) -> str:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else errno.EINVAL
    if number == errno.EAGAIN:  # another program holds the lock
        number = errno.EBUSY
    return sentence(OSError(number, "it is no serial line"), path, PERMIT)


def checked_tty(path: str) -> str:
    """The path, if it is or may become a serial line. ConfigError says what to type."""
    if Path(path).exists() and not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"{path} is not ours to open: {PERMIT}")
    return path
