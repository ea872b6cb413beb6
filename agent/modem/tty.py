"""The AT port of a modem: found by path or by what it is on USB, opened by nobody else, lost and found again.

It carries bytes, and has no opinions. After each loss the port is looked for anew, since a modem that restarts comes
back under another number.
"""

import errno
import fcntl
import os
import re
import termios
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path

from msgspec import Struct

from agent.hal.device import Presence, Watch, sentence
from agent.hal.tty import PERMIT

SYS, PROC, LOCKS = Path("/sys"), Path("/proc"), Path("/run/lock")
SPEED = termios.B115200  # of real lines; USB has none
READ_B = 4_096
OUT_MAX = 4_096  # bytes that the line does not take; it is dead then
PUSH_S = 0.02  # until it is tried again
DTR_S = 0.3  # the line is down so long when it hangs up
USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4}):([0-9]{1,3})")
TAKEN = (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK)


class Opened(Struct, frozen=True):
    """`path` is where it is this time."""

    path: str


class Came(Struct, frozen=True):
    """From the modem."""

    data: bytes


class Gone(Struct, frozen=True):
    """With whatever was in flight."""


# -- where it is ------------------------------------------------------------------------------------------------------


def resolve(where: str, sys: Path = SYS) -> Path | None:
    """The line now: `where` is a path, or `usb:2c7c:0125:2` (vendor, product, interface). None: it is not there."""
    found = USB.fullmatch(where)
    if not found:
        return path if (path := Path(where)).exists() else None
    wanted = (found[1].lower(), found[2].lower(), int(found[3]))
    for link in sorted(sys.glob("class/tty/tty[AU]*")):
        if identity(link / "device") == wanted:
            return Path("/dev") / link.name
    return None


def identity(device: Path) -> tuple[str, str, int] | None:
    """Vendor, product and interface of a line's device in sysfs. None: it is not on USB, or has just gone."""
    try:
        place = device.resolve(strict=True)
        interface = next((each for each in (place, place.parent) if (each / "bInterfaceNumber").exists()), None)
        if interface is None:
            return None
        vendor, product = ((interface.parent / name).read_text().strip() for name in ("idVendor", "idProduct"))
        return vendor, product, int((interface / "bInterfaceNumber").read_text(), 16)
    except (OSError, ValueError):
        return None


# -- who has it -------------------------------------------------------------------------------------------------------


def holder(path: Path, proc: Path = PROC) -> str:
    """Another process that has the line open, by name and number; "" if none is seen (of others, only root sees). Who
    has a pty's other end is no rival: it is the modem, simulated."""
    wanted = str(path.resolve())
    for folder in proc.glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            files = [os.readlink(fd) for fd in (folder / "fd").iterdir()]
            if wanted in files and not any(file.endswith("/ptmx") for file in files):
                return f"{(folder / 'comm').read_text().strip()} ({folder.name})"
        except OSError:  # it has ended, or is not ours to look at
            continue
    return ""


def taken(path: Path, who: str) -> str:
    """What to do about it, in a sentence."""
    if who.startswith("ModemManager"):
        return f"{path} is in use by {who}: type systemctl disable --now ModemManager"
    return f"{path} is in use by {who or 'another program'}: end that one, or correct the board file"


class Lock:
    """The lock file that pppd, minicom and their like respect: LCK..ttyUSB2, with the number of its process."""

    def __init__(self, path: Path, folder: Path = LOCKS) -> None:
        self._file = folder / f"LCK..{path.resolve().name}"
        self._is_ours = False

    def take(self, proc: Path = PROC) -> str:
        """Who has it; "": we do, or there is no folder for it."""
        for _ in range(2):
            try:
                with self._file.open("x") as file:
                    file.write(f"{os.getpid():10d}\n")
            except FileExistsError:
                if who := self._owner(proc):
                    return who
                self._file.unlink(missing_ok=True)  # its process has ended
            except OSError:
                return ""
            else:
                self._is_ours = True
                return ""
        return "another program"

    def release(self) -> None:
        if self._is_ours:
            self._file.unlink(missing_ok=True)
            self._is_ours = False

    def _owner(self, proc: Path) -> str:
        try:
            number = int(self._file.read_text()[:20])
            return "" if number == os.getpid() else f"{(proc / str(number) / 'comm').read_text().strip()} ({number})"
        except (OSError, ValueError):
            return ""


# -- the port ---------------------------------------------------------------------------------------------------------


class Port:
    """`due` when `next_deadline` says so. `post` hears Opened, Came, Gone, and in a sentence what is wrong
    (`hal.device`)."""

    def __init__(
        self, where: str, watch: Watch, post: Callable[[object], None], now: Callable[[], float], *,
        sys: Path = SYS, proc: Path = PROC, locks: Path = LOCKS,
    ) -> None:  # fmt: skip
        self.where, self.path = where, ""  # `path`: where it was found last
        self._watch, self._post, self._now = watch, post, now
        self._sys, self._proc, self._locks = sys, proc, locks
        self.presence = Presence("modem", post)
        self.presence.retry_at = now()
        self._fd: int | None = None
        self._lock: Lock | None = None
        self._is_lent = False
        self._out = b""
        self._down_until: float | None = None  # DTR is

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    @property
    def is_hanging_up(self) -> bool:
        return self._down_until is not None

    def hang_up(self) -> None:
        """Drops DTR for a moment, which ends a call, whatever state it is in."""
        if self._fd is not None and self._set_speed(termios.B0):
            self._down_until = self._now() + DTR_S

    def lend(self) -> None:
        """Closed and unlocked, for another program, until `take_back`."""
        self._is_lent = True
        self.close()

    def take_back(self) -> None:
        """Opened tells when it is ours again."""
        if self._is_lent:
            self._is_lent = False
            self.presence.retry_at = self._now()

    def reopen(self) -> None:
        """Closed without a word, and opened anew."""
        self.close()
        self.presence.retry_at = self._now()

    def due(self, now: float) -> None:
        if self._is_lent:
            return
        if self._fd is None:
            if now >= self.presence.retry_at:
                self._open(now)
            return
        if self._down_until is not None and now >= self._down_until:
            self._down_until = None
            if not self._set_speed(SPEED):
                return
        self.write(b"")

    def next_deadline(self) -> float:
        if self._is_lent:
            return inf
        if self._fd is None:
            return self.presence.retry_at
        dues = (self._down_until, self._now() + PUSH_S if self._out else None)
        return min((due for due in dues if due is not None), default=inf)

    def close(self) -> None:
        if self._fd is not None:
            self._watch.remove_reader(self._fd)
            os.close(self._fd)
        if self._lock:
            self._lock.release()
        self._fd = self._lock = self._down_until = None
        self._out = b""

    # -- opening and losing -------------------------------------------------------------------------------------------

    def _open(self, now: float) -> None:
        path = resolve(self.where, self._sys)
        if path is None:
            return self.presence.failed(sentence(OSError(errno.ENODEV, ""), self.where, PERMIT), now)
        lock = Lock(path, self._locks)
        if who := lock.take(self._proc) or holder(path, self._proc):
            lock.release()
            return self.presence.failed(taken(path, who), now)
        try:
            self._fd = opened(path)
        except (OSError, termios.error) as error:
            lock.release()
            number = error.args[0] if error.args and isinstance(error.args[0], int) else errno.EIO
            wrong = sentence(OSError(number, os.strerror(number)), str(path), PERMIT)
            return self.presence.failed(taken(path, "") if number in TAKEN else wrong, now)
        self._lock, self.path = lock, str(path)
        self._watch.add_reader(self._fd, self._readable)
        self.presence.worked(now)
        self._post(Opened(str(path)))
        return None

    def _lost(self) -> None:
        self.close()
        self.presence.failed(sentence(OSError(errno.ENODEV, ""), self.where, PERMIT), self._now())
        self._post(Gone())

    def _set_speed(self, speed: int) -> bool:
        """0 drops DTR (POSIX). False: the port has gone."""
        assert self._fd is not None
        try:
            facts = termios.tcgetattr(self._fd)
            facts[4] = facts[5] = speed
            termios.tcsetattr(self._fd, termios.TCSANOW, facts)
        except (OSError, termios.error):
            self._lost()
            return False
        return True

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, READ_B)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self._lost()
        self.presence.worked(self._now())
        return self._post(Came(data))

    def write(self, data: bytes) -> None:
        self._out += data
        if not self._out or self._fd is None:
            return None
        if len(self._out) > OUT_MAX:
            return self._lost()
        try:
            self._out = self._out[os.write(self._fd, self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lost()


def poke(where: str, sys: Path = SYS) -> None:
    """A bare AT on this port, whatever comes of it: some modems answer on their first port again once somebody has
    spoken on the second (botletics/SIM7000#298)."""
    with suppress(OSError, termios.error):
        if path := resolve(where, sys):
            fd = opened(path)
            try:
                os.write(fd, b"AT\r")
            finally:
                os.close(fd)


def opened(path: Path) -> int:
    """Raw, alone (TIOCEXCL, and a lock on the file that others of us respect), without waiting for a carrier. OSError.

    HUPCL stays set: when this process ends, DTR drops, and with it a call that nobody would end.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.ioctl(fd, termios.TIOCEXCL)
        facts = termios.tcgetattr(fd)
        facts[0] = facts[1] = facts[3] = 0
        facts[2] = termios.CS8 | termios.CREAD | termios.CLOCAL | termios.HUPCL
        facts[4] = facts[5] = SPEED
        facts[6][termios.VMIN], facts[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, facts)
        termios.tcflush(fd, termios.TCIFLUSH)
    except BaseException:
        os.close(fd)
        raise
    return fd
