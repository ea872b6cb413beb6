"""A simulated modem where programs find it: on a pty under a name of its own, a TCP port, an abstract socket.

A pty goes when the modem restarts, as a USB port does, and comes back with another number under the same name. It has
no DTR; a line set to 0 baud stands for it, which is how a host hangs up anyway. Its speed is what the host has set.
"""

import asyncio
import errno
import os
import pty
import socket
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.sim.modem.modem import Modem
from agent.sim.modem.port import Port

READ_B = 4_096
OUT_MAX = 65_536  # bytes that nobody reads; then all of them are lost, as of a UART
LOOK_S = 0.1  # how often the speed of a line is looked at, which nobody tells
SPEEDS = {getattr(termios, f"B{speed}"): speed for speed in (
    0, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600)}  # fmt: skip


class End(Protocol):
    """Where one port of the modem comes out."""

    port: Port

    def step(self, now: float) -> None: ...
    def close(self) -> None: ...


class Shell:
    """Drives one modem by the event loop's clock. `now` begins at 0."""

    def __init__(self, modem: Modem) -> None:
        self.modem = modem
        self._loop = asyncio.get_running_loop()
        self._zero = self._loop.time()
        self._ends: list[End] = []
        self._timer: asyncio.TimerHandle | None = None
        if not modem.is_on:
            modem.power(True, 0.0)
        self.step()

    @property
    def now(self) -> float:
        return self._loop.time() - self._zero

    def pty(self, path: Path, number: int = 0) -> None:
        """`path` will be a link to the pty, whenever the modem is there."""
        self._add(PtyEnd(self.modem.ports[number], path, self.step))

    async def tcp(self, host: str = "127.0.0.1", port: int = 0, number: int = 0) -> int:
        """The port that it listens on."""
        listener = socket.create_server((host, port))
        self._add(SocketEnd(self.modem.ports[number], listener, self.step))
        found: int = listener.getsockname()[1]
        return found

    async def abstract(self, name: str, number: int = 0) -> None:
        """As ModemManager's tests have their virtual ports: `abstract:name`."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"\0abstract:{name}")
        listener.listen()
        self._add(SocketEnd(self.modem.ports[number], listener, self.step))

    def step(self) -> None:
        """Whenever something has come, is due, or was done to the modem."""
        now = self.now
        self.modem.run(now)
        for end in self._ends:
            end.step(now)
        if self._timer:
            self._timer.cancel()
        due = self.modem.next_deadline()
        wait_s = LOOK_S if due is None else max(0.0, min(LOOK_S, due - now))
        self._timer = self._loop.call_later(wait_s, self.step)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        for end in self._ends:
            end.close()

    def _add(self, end: End) -> None:
        self._ends.append(end)
        self.step()


class Stream:
    """An open file whose bytes are a port's, without blocking. `gone` says that the other end has left."""

    def __init__(self, fd: int, port: Port, changed: Callable[[], None], gone: Callable[[], None]) -> None:
        self._fd, self._port, self._changed, self._gone = fd, port, changed, gone
        self._out = b""
        self._loop = asyncio.get_running_loop()
        self.came = b""
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._readable)

    def write(self, data: bytes) -> None:
        self._out = (self._out + data) if len(self._out) + len(data) <= OUT_MAX else b""
        self._flush()

    def take(self) -> bytes:
        came, self.came = self.came, b""
        return came

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_B)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self._gone()
        self.came += data
        return self._changed()

    def _flush(self) -> None:
        try:
            self._out = self._out[os.write(self._fd, self._out) :] if self._out else b""
        except BlockingIOError:
            pass
        except OSError as error:
            assert error.errno in (errno.EIO, errno.EPIPE, errno.ECONNRESET), error
            self._out = b""
        if self._out:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)


class PtyEnd:
    def __init__(self, port: Port, path: Path, changed: Callable[[], None]) -> None:
        self.port, self._path, self._changed = port, path, changed
        self._fds: tuple[int, int] | None = None
        self._stream: Stream | None = None

    def step(self, now: float) -> None:
        if self.port.modem.is_there and self._fds is None:
            self._open()
        elif not self.port.modem.is_there and self._fds is not None:
            self.close()
        if self._fds is None or self._stream is None:
            return
        speed = SPEEDS.get(termios.tcgetattr(self._fds[1])[5], 115_200)
        if speed == 0 != self.port.baud:
            self.port.dtr_dropped(now)
        self.port.baud = speed
        if came := self._stream.take():
            self.port.received(came, now)
        if data := self.port.poll(now):
            self._stream.write(data)

    def close(self) -> None:
        if self._fds is None:
            return
        if self._stream:
            self._stream.close()
        self._path.unlink(missing_ok=True)
        for fd in self._fds:
            os.close(fd)
        self._fds = self._stream = None

    def _open(self) -> None:
        """Our own copy of the host's end stays open, so that a host may come and go."""
        self._fds = pty.openpty()
        tty.setraw(self._fds[1])
        self._stream = Stream(self._fds[0], self.port, self._changed, lambda: None)
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(os.ttyname(self._fds[1]))


class SocketEnd:
    """One host at a time: who comes next takes the place of who was there. A host that leaves has dropped DTR."""

    def __init__(self, port: Port, listener: socket.socket, changed: Callable[[], None]) -> None:
        self.port, self._listener, self._changed = port, listener, changed
        self._line: socket.socket | None = None
        self._stream: Stream | None = None
        self._has_left = False
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._called)

    def step(self, now: float) -> None:
        if self._has_left:
            self._has_left = False
            self.port.dtr_dropped(now)
        if self._line and not self.port.modem.is_there:
            self._hang_up()
        if self._stream is None:
            return
        if came := self._stream.take():
            self.port.received(came, now)
        if data := self.port.poll(now):
            self._stream.write(data)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._hang_up()

    def _called(self) -> None:
        line, _ = self._listener.accept()
        self._hang_up()
        self._line = line
        self._stream = Stream(line.fileno(), self.port, self._changed, self._left)
        self._changed()

    def _left(self) -> None:
        self._has_left = True
        self._hang_up()
        self._changed()

    def _hang_up(self) -> None:
        if self._stream and self._line:
            self._stream.close()
            self._line.close()
        self._line = self._stream = None
