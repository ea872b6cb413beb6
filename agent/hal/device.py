"""What all drivers of devices share: a device works or it does not, and each edge is told once, in a sentence.

Every driver has `due(now)` and `next_deadline()`, as agent/loop.py asks, and `close()`. A device that is absent, gone
or not ours is tried again every RETRY_S for ever, by its name: what udev renames comes back under the name of the
board file. Nothing of this raises and nothing spins.
"""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from msgspec import Meta

RETRY_S = 1.0
STEADY_S = 5.0  # a device that failed must work so long before it is told to work: a loose plug fills no journal

Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z", description="a name in quotes: lower-case letters, digits and _")
]
DEVICE = r"(/(?!\.\.?(/|\Z))[^/\x00-\x20\x7f]+)+"  # in one spelling each, or two parts on one line are not noticed
DEVICE_WORDS = '"/dev/…", the path of a device in quotes'
DevicePath = Annotated[str, Meta(pattern=rf"^{DEVICE}\Z", max_length=1_000, description=DEVICE_WORDS)]
SysName = Annotated[  # no slash and no "..": it must not lead out of its folder
    str, Meta(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.:-]{0,62})?\Z", description="the name of a folder in /sys in quotes")
]


@dataclass(frozen=True, slots=True)
class DeviceFailed:
    """A device of the board does not work; `why` says what to look at or to type. Not told again until it works."""

    device: str
    why: str


@dataclass(frozen=True, slots=True)
class DeviceWorks:
    """It does again, since STEADY_S. A device that works from the start is not told."""

    device: str


T = TypeVar("T")
Post = Callable[[Any], None]
Job = Callable[[], Any]
Aside = Callable[[Job, Callable[[Any], None]], None]  # does a job that may hang elsewhere, its result on this thread


class Watch(Protocol):
    """What of asyncio's event loop a driver needs."""

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> Any: ...
    def remove_reader(self, fd: int, /) -> Any: ...


class Presence:
    """Whether one device works, and when it is tried again. `why` is "" while it does."""

    def __init__(self, device: str, post: Post, steady_s: float = STEADY_S) -> None:
        """`steady_s`: how long it must work before it is told to; 0 for what is asked once."""
        self.device, self.why = device, ""
        self.retry_at = -inf
        self._post, self._steady_s = post, steady_s
        self.is_told = False  # that it fails
        self._works_since = -inf

    def failed(self, why: str, now: float) -> None:
        self.why, self.retry_at, self._works_since = why, now + RETRY_S, inf
        if not self.is_told:
            self.is_told = True
            self._post(DeviceFailed(self.device, why))

    def worked(self, now: float) -> None:
        """Say so at least every few seconds while it does."""
        self.why, self.retry_at = "", inf
        self._works_since = min(self._works_since, now)
        if self.is_told and now >= self._works_since + self._steady_s:
            self.is_told = False
            self._post(DeviceWorks(self.device))


def bring(extra: str) -> str:
    """What to type for an extra's packages; with the Python that runs us, for Debian's own pip refuses."""
    return f"{sys.executable} -m pip install 'station-agent[{extra}]'"


def sentence(error: OSError, path: str, permit: str) -> str:
    """What is wrong with `path`, and what to do. `permit`: what to type where it may not be used."""
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.ENOTDIR:
            return f"{path} is not there: check its cable and the board file"
        case errno.EACCES | errno.EPERM:
            return f"{path} is not ours to use: {permit}"
        case errno.EBUSY:
            return f"{path} is in use by another program or driver: end that one, or correct the board file"
    return f"{path} does not work ({error.strerror or error}): check its cable and its supply"


# -- files that may hang ----------------------------------------------------------------------------------------------

HANG_S = 5.0  # a job that takes longer hangs: a bus held low, a driver stuck
READ_MAX = 4_096  # bytes: a page, the most that sysfs says


SYSFS_PERMIT = "install board/systemd/60-station-agent.rules and devices.conf, and type udevadm trigger"


class Sysfs:
    """Files of the kernel: one read or write is one question or order. OSError."""

    def read(self, path: Path) -> str:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(fd, READ_MAX).decode("ascii", "replace").strip()
        finally:
            os.close(fd)

    def write(self, path: Path, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # never makes a file that is not there
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)


class Errand:
    """A job that may hang, done elsewhere, one at a time: a hung one is waited for, and not joined by others."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._began: float | None = None

    @property
    def is_out(self) -> bool:
        return self._began is not None

    def hangs(self, now: float) -> bool:
        return self._began is not None and now >= self._began + HANG_S

    def next_deadline(self) -> float:
        """When it begins to hang; inf while nothing is out."""
        return inf if self._began is None else self._began + HANG_S

    def go(self, job: Callable[[], T], then: Callable[[T], None], now: float) -> None:
        assert not self.is_out
        self._began = now

        def back(result: T) -> None:
            self._began = None
            then(result)

        self._aside(job, back)
