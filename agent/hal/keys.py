"""Keys and touch through /dev/input/event*: a port's key chooses the port, a soft key does what the display says it
does, and anything at all wakes the display.

The browser reads touch itself; we only learn that somebody is there. PyPI's evdev has no wheels, and would be compiled
on a station for the sake of one struct, so `struct input_event` of linux/input.h is read here.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Annotated

from msgspec import Meta, Struct

from agent.events import KeyPressed, PortChosen, ScreenTouched
from agent.hal.device import DevicePath, Post, Presence, Watch, sentence

EVENT = struct.Struct("@LLHHi")  # two words of time, type, code, value; 24 bytes on 64 bits, 16 on 32
EV_SYN, EV_KEY, EV_ABS = 0, 1, 3
SYN_REPORT, SYN_DROPPED = 0, 3
PRESSED = 1  # 0 released, 2 repeated
EVIOCGRAB = 0x4004_4590
READ_MAX = 64 * EVENT.size
QUIET_S = 0.05  # after a read the rest waits in the kernel, which keeps the newest: a finger moves 100 times a second
WAKE_S = 1.0  # a finger that stays wakes so often

KeyCode = Annotated[int, Meta(ge=1, le=767)]


class KeysFacts(Struct, frozen=True):
    """[[keys]]: one input device. The i-th of `port_keys` (codes of linux/input-event-codes.h) chooses evse_id i, the
    i-th of the four `soft_keys` is the i-th key at the display's lower edge, from the left.

    Name it by what does not change: /dev/input/by-path/… `grab`: nobody else hears of its keys, as a console would.
    """

    path: DevicePath
    port_keys: tuple[KeyCode, ...] = ()
    soft_keys: tuple[KeyCode, ...] = ()
    grab: bool = False

    def __post_init__(self) -> None:
        if len(self.soft_keys) not in (0, 4):
            raise ValueError("soft_keys: the display has four: type their four codes, from the left")
        if len({*self.soft_keys, *self.port_keys}) < len(self.soft_keys) + len(set(self.port_keys)):
            raise ValueError("soft_keys: a key has two meanings: give each its own code")
        if self.soft_keys and not self.grab:
            raise ValueError("soft_keys: the kiosk's browser would hear each press too: type grab = true")
        if len(self.port_keys) > 4:
            raise ValueError("port_keys: one key a port, at most 4")
        if len(set(self.port_keys)) < len(self.port_keys):
            raise ValueError("port_keys: two ports share a key: give each its own")


@dataclass(frozen=True, slots=True)
class InputEvent:
    type: int
    code: int
    value: int


class EventStream:
    """Bytes in, events out. After SYN_DROPPED the kernel has lost some: all until the next report are stale."""

    def __init__(self) -> None:
        self.dropped = 0  # times that the kernel has lost events
        self._rest = b""
        self._is_stale = False

    def feed(self, data: bytes) -> Iterator[InputEvent]:
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        for _, _, type_, code, value in EVENT.iter_unpack(data[:whole]):
            if type_ == EV_SYN:
                self._is_stale = code == SYN_DROPPED or (self._is_stale and code != SYN_REPORT)
                self.dropped += code == SYN_DROPPED
            elif not self._is_stale:
                yield InputEvent(type_, code, value)


class Keys:
    """One input device."""

    def __init__(self, facts: KeysFacts, watch: Watch, post: Post, now: Callable[[], float]) -> None:
        self.facts = facts
        self.presence = Presence(f"keys {facts.path}", post)
        self._watch, self._post, self._now = watch, post, now
        self._fd: int | None = None
        self._is_watched = False
        self._stream = EventStream()
        self._read_at = inf
        self._woken_at = -inf

    def due(self, now: float) -> None:
        if self._fd is None and now >= self.presence.retry_at:
            self._open(now)
        elif self._fd is not None and now >= self._read_at:
            self._listen(now)

    def next_deadline(self) -> float:
        return self.presence.retry_at if self._fd is None else self._read_at

    def close(self) -> None:
        if self._fd is not None:
            self._unwatch()
            os.close(self._fd)
            self._fd = None

    def _open(self, now: float) -> None:
        try:
            self._fd = os.open(self.facts.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            if self.facts.grab:
                fcntl.ioctl(self._fd, EVIOCGRAB, 1)
        except OSError as error:
            return self._gone(error, now)
        except ValueError as error:  # a path with a zero byte, which TOML can spell
            return self._gone(OSError(errno.EINVAL, str(error)), now)
        self._stream = EventStream()
        self._listen(now)

    def _listen(self, now: float) -> None:
        """A device that is gone is readable, so this is also how it is known to be there."""
        assert self._fd is not None
        try:
            self._watch.add_reader(self._fd, self._readable)
        except OSError:  # nobody can wait for a file or a folder
            return self._gone(OSError(errno.EINVAL, "it is no input device"), now)
        self._is_watched, self._read_at = True, inf
        self.presence.worked(now)
        if self.presence.is_told:
            self._read_at = now + 1.0
        return None

    def _readable(self) -> None:
        assert self._fd is not None
        now = self._now()
        try:
            data = os.read(self._fd, READ_MAX)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._gone(error, now)
        if not data:
            return self._gone(OSError(errno.ENODEV, "ended"), now)
        self._unwatch()
        self._read_at = now + QUIET_S
        return self._heard(list(self._stream.feed(data)), now)

    def _heard(self, events: list[InputEvent], now: float) -> None:
        """Of keys that come at once the last counts: a keyboard gone wild must not bury the loop."""
        pressed = [event.code for event in events if event.type == EV_KEY and event.value == PRESSED]
        if chosen := [code for code in pressed if code in self.facts.port_keys]:
            self._post(PortChosen(self.facts.port_keys.index(chosen[-1]) + 1))
        if soft := [code for code in pressed if code in self.facts.soft_keys]:
            self._post(KeyPressed(self.facts.soft_keys.index(soft[-1]) + 1))
        if now >= self._woken_at + WAKE_S and any(event.type in (EV_KEY, EV_ABS) for event in events):
            self._woken_at = now
            self._post(ScreenTouched())

    def _gone(self, error: OSError, now: float) -> None:
        self.close()
        self.presence.failed(sentence(error, self.facts.path, "type usermod -aG input station-agent"), now)

    def _unwatch(self) -> None:
        if self._is_watched and self._fd is not None:
            self._watch.remove_reader(self._fd)
        self._is_watched = False
