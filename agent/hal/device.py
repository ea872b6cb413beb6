"""What all drivers of devices share: a device works or it does not, and each edge is told once, in a sentence.

Every driver has `due(now)` and `next_deadline()`, as agent/loop.py asks, and `close()`. A device that is absent, gone
or not ours is tried again every RETRY_S for ever, by its name: what udev renames comes back under the name of the
board file. Nothing of this raises and nothing spins.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, Protocol

from msgspec import Meta

RETRY_S = 1.0
STEADY_S = 5.0  # a device that failed must work so long before it is told to work: a loose plug fills no journal

Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z", description="a name in quotes: lower-case letters, digits and _")
]
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


Post = Callable[[Any], None]
Job = Callable[[], Any]
Aside = Callable[[Job, Callable[[Any], None]], None]  # does a job that may hang elsewhere, its result on this thread


class Watch(Protocol):
    """What of asyncio's event loop a driver needs."""

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> Any: ...
    def remove_reader(self, fd: int, /) -> Any: ...


class Presence:
    """Whether one device works, and when it is tried again. `why` is "" while it does."""

    def __init__(self, device: str, post: Post) -> None:
        self.device, self.why = device, ""
        self.retry_at = -inf
        self._post = post
        self._is_told = False  # that it fails
        self._works_since = -inf

    def failed(self, why: str, now: float) -> None:
        self.why, self.retry_at, self._works_since = why, now + RETRY_S, inf
        if not self._is_told:
            self._is_told = True
            self._post(DeviceFailed(self.device, why))

    def worked(self, now: float) -> None:
        """Say so at least every few seconds while it does."""
        self.why, self.retry_at = "", inf
        self._works_since = min(self._works_since, now)
        if self._is_told and now >= self._works_since + STEADY_S:
            self._is_told = False
            self._post(DeviceWorks(self.device))


def sentence(error: OSError, path: str, permit: str) -> str:
    """What is wrong with `path`, and what to do. `permit`: what to type where it may not be used."""
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.ENOTDIR:
            return f"{path} is not there: check its cable and the board file"
        case errno.EACCES | errno.EPERM:
            return f"{path} is not ours to use: {permit}"
        case errno.EBUSY:
            return f"{path} is in use by another program or driver: end that one, or correct the board file"
    return f"{path} does not work: {error.strerror or error}"
