"""The ways to a device: a serial port, SSH, a Unix socket. POSIX; what is read and written never waits.

An address is one word:
    /dev/ttyUSB0, /dev/ttyUSB0@921600     a serial port, with its rate (115200 unless said)
    ssh://user@host, ssh://user@host:22   SSH; the key's forced command on the station speaks the protocol
    unix:/run/station-update/flash.sock   the update service's socket, on the station itself
"""

import os
import re
import shlex
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Protocol

from agent.update import chipline
from agent.update.refusal import Refused

BAUD = 115_200
READ_B = 65_536
SHARE = 0.97  # of a serial line's bytes that are a build's: frames, escapes and acknowledgements cost the rest
SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5")
SSH_COMMAND = "station-update relay"  # ignored by a station whose authorized_keys names its own


@dataclass(frozen=True, slots=True)
class Address:
    kind: str  # serial, ssh or unix
    path: str  # of a tty or socket; user@host
    number: int = 0  # baud; SSH port, 0 = as ssh is configured

    def __str__(self) -> str:
        match self.kind:
            case "serial":
                return self.path if self.number == BAUD else f"{self.path}@{self.number}"
            case "ssh":
                return f"ssh://{self.path}" + (f":{self.number}" if self.number else "")
        return f"unix:{self.path}"

    @property
    def rate_bps(self) -> float | None:
        """Bytes of a build in a second; None: nobody knows before it is tried."""
        return self.number / 10 * SHARE if self.kind == "serial" else None


def address(text: str, baud: int = BAUD) -> Address:
    """Refused("usage") for what is none."""
    if found := re.fullmatch(r"ssh://([A-Za-z0-9_][\w.@%:\[\]-]*?)(?::(\d{1,5}))?/?", text, re.ASCII):
        return Address("ssh", found[1], int(found[2] or 0))
    if text.startswith("unix:/"):
        return Address("unix", text.removeprefix("unix:"))
    if found := re.fullmatch(r"(/[^@]+|COM\d+)(?:@(\d{3,8}))?", text):
        return Address("serial", found[1], int(found[2] or baud))
    raise Refused(
        "usage", f"{text!r} is no address: type /dev/ttyUSB0, /dev/ttyUSB0@921600, ssh://user@host or unix:/path"
    )


class Line(chipline.Line, Protocol):
    """`is_there`: somebody is at the other end, or was."""

    is_there: bool


def opened(to: Address) -> Line:
    """Refused("no-device"), or "link" where it is busy."""
    match to.kind:
        case "serial":
            return SerialLine(to)
        case "ssh":
            return SshLine(to)
    return UnixLine(to)


class SerialLine:
    is_there = True

    def __init__(self, to: Address) -> None:
        try:
            import serial
        except ImportError:
            raise Refused("usage", "pyserial is not installed: type pip install 'station-agent[flash]'") from None
        try:
            self._serial = serial.Serial(to.path, to.number, timeout=0, write_timeout=0, exclusive=True)
        except (serial.SerialException, ValueError, OSError) as error:
            raise _unopened(to, error) from None
        with suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)  # an FTDI chip keeps bytes for 16 ms otherwise
        self._fd = self._serial.fileno()
        os.set_blocking(self._fd, False)
        self._serial.reset_input_buffer()

    def fileno(self) -> int:
        return self._fd

    write_fileno = fileno

    def read(self) -> bytes:
        return os.read(self._fd, READ_B)

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def why(self) -> str:
        return "the serial port has gone: check the cable"

    def close(self) -> None:
        with suppress(OSError):
            self._serial.close()


class UnixLine:
    is_there = True

    def __init__(self, to: Address) -> None:
        self._talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._talk.connect(to.path)
        except OSError as error:
            self._talk.close()
            raise _unopened(to, error) from None
        self._talk.setblocking(False)

    def fileno(self) -> int:
        return self._talk.fileno()

    write_fileno = fileno

    def read(self) -> bytes:
        return self._talk.recv(READ_B)

    def write(self, data: bytes) -> int:
        return self._talk.send(data)

    def why(self) -> str:
        return "the update service has closed its socket: look at journalctl -u station-update"

    def close(self) -> None:
        self._talk.close()


class SshLine:
    """A child process; its complaints are kept for why()."""

    def __init__(self, to: Address, command: tuple[str, ...] = SSH) -> None:
        self.is_there = False  # before the first byte it may be another host, a wrong key, no network
        port = ("-p", str(to.number)) if to.number else ()
        self._said: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by close()
        words = [*_ssh(command), *port, "--", to.path, SSH_COMMAND]
        try:
            self._child = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
            )  # Ctrl-C is for the tool alone: it says goodbye over this line
        except OSError as error:
            self._said.close()
            raise Refused("no-device", f"{words[0]} cannot be started ({error.strerror}): install OpenSSH") from None
        assert self._child.stdin and self._child.stdout
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def fileno(self) -> int:
        return self._out

    def write_fileno(self) -> int:
        return self._in

    def read(self) -> bytes:
        data = os.read(self._out, READ_B)
        self.is_there = self.is_there or bool(data)
        return data

    def write(self, data: bytes) -> int:
        return os.write(self._in, data)

    def why(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=1.0)
        self._said.seek(0)
        lines = self._said.read(10_000).decode("utf-8", "replace").strip().splitlines()
        return f"ssh says: {lines[-1].strip()}" if lines else "ssh has ended: try the same host with ssh alone"

    def close(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        try:
            self._child.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._child.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=2.0)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._said.close()


def _ssh(command: tuple[str, ...]) -> list[str]:
    """STATION_SSH: another program instead, with its own arguments; for jump hosts and tests."""
    return shlex.split(os.environ["STATION_SSH"]) if os.environ.get("STATION_SSH") else list(command)


def _unopened(to: Address, error: BaseException) -> Refused:
    number = getattr(error, "errno", None)
    text = os.strerror(number) if number else str(error)
    if number in (11, 16) or "lock" in text.lower():  # EAGAIN, EBUSY
        return Refused("busy", f"another program has {to.path} open: close it, and try again")
    if number == 13:  # EACCES
        return Refused("no-device", f"{to.path} is not yours to open: type sudo usermod -aG dialout $USER, log in anew")
    if "ioctl" in text:
        text = "it is no serial port"
    return Refused("no-device", f"{to.path} cannot be opened ({text}): flash.py devices lists what is there")
