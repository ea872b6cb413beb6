"""The clock chip: what it says at the start, and whether it can be believed.

Read from /sys/class/rtc; the ioctl RTC_VL_READ of rtc(4) tells of a lost supply or a flat battery where the chip knows
and /dev may be opened. Nothing is written: the kernel keeps the chip right while the system clock is synchronised.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from agent.clock import BUILD_S, WALL_MAX_S, ClockSource
from agent.events import ClockTold
from agent.hal.device import SYSFS_PERMIT, Aside, DeviceFailed, Errand, Post, Presence, Sysfs, sentence

FOLDER, DEVICES = Path("/sys/class/rtc"), Path("/dev")
TRIES = 30  # seconds: a chip on I2C may come late, one that never comes is not there
RTC_VL_READ = 0x8004_7013  # linux/rtc.h: _IOR('p', 0x13, unsigned int)
VL_DATA_INVALID, VL_BACKUP_LOW, VL_BACKUP_EMPTY = 1, 2, 4


class RtcFacts(Struct, frozen=True):
    """[rtc]: the clock chip, where there is one."""

    device: Annotated[str, Meta(pattern=r"^rtc[0-9]{1,2}\Z", description='the name of a clock chip, "rtc0"')]


@dataclass(frozen=True, slots=True)
class RtcReading:
    wall_s: float | None  # None: it does not know
    problem: str = ""


def judged(since_epoch: str, voltage: int) -> RtcReading:
    """What a chip says (seconds since 1970 in UTC), given its flags of RTC_VL_READ."""
    if voltage & VL_DATA_INVALID:
        return RtcReading(None, "the clock chip has lost its supply and with it the time: replace its battery")
    if not since_epoch.isdecimal() or len(since_epoch) > 12 or int(since_epoch) >= WALL_MAX_S:
        return RtcReading(None, f"the clock chip says {since_epoch[:20]!r}, which is no time: replace its battery")
    if int(since_epoch) < BUILD_S:
        return RtcReading(None, "the clock chip was never set, or has lost its supply: replace its battery")
    low = "the clock chip's battery is low: replace it before the next power cut"
    return RtcReading(float(since_epoch), low if voltage & (VL_BACKUP_LOW | VL_BACKUP_EMPTY) else "")


def read(facts: RtcFacts, folder: Path = FOLDER, devices: Path = DEVICES, sysfs: Sysfs | None = None) -> RtcReading:
    """OSError if the chip is not there or not ours. EINVAL is what drivers say of a time that is not to be believed."""
    try:
        said = (sysfs or Sysfs()).read(folder / facts.device / "since_epoch")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return judged("", VL_DATA_INVALID)
    return judged(said, voltage_of(devices / facts.device))


def voltage_of(device: Path) -> int:
    """The flags of RTC_VL_READ; 0 where the chip has none, or the device is not ours or in use: that proves nothing."""
    flags = bytearray(4)
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, RTC_VL_READ, flags)
        finally:
            os.close(fd)
    except OSError:
        return 0
    return int.from_bytes(flags, "little")  # both our platforms are


class Rtc:
    """Asks the chip at the start until it has answered, then leaves it alone: the system's own clock is better."""

    def __init__(
        self, facts: RtcFacts, post: Post, aside: Aside, now: Callable[[], float],
        *, read: Callable[[RtcFacts], RtcReading] = read,
    ) -> None:  # fmt: skip
        self.presence = Presence("clock chip", post, steady_s=0.0)
        self._facts, self._post, self._now, self._read = facts, post, now, read
        self._errand = Errand(aside)
        self._tries = 0

    def due(self, now: float) -> None:
        if self._errand.hangs(now):
            self.presence.failed("the clock chip does not answer: look at its bus and supply", now)
        elif not self._errand.is_out and now >= self.next_deadline():
            self._tries += 1
            self._errand.go(self._ask, self._done, now)

    def next_deadline(self) -> float:
        if self._errand.is_out:
            return inf if self._errand.hangs(self._now()) else self._errand.next_deadline()
        return self.presence.retry_at if self._tries < TRIES else inf

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> RtcReading | OSError:
        try:
            return self._read(self._facts)
        except OSError as error:
            return error

    def _done(self, said: RtcReading | OSError) -> None:
        now = self._now()
        if isinstance(said, OSError):
            return self.presence.failed(sentence(said, f"the clock chip {self._facts.device}", SYSFS_PERMIT), now)
        self._tries = TRIES
        if said.problem:
            self.presence.why = said.problem
            self._post(DeviceFailed(self.presence.device, said.problem))
        else:
            self.presence.worked(now)
        if said.wall_s is not None:
            self._post(ClockTold(said.wall_s, ClockSource.RTC))
