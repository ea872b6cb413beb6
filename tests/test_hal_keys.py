"""Keys and touch: recorded bytes through a real fifo, and any bytes through the parser."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import KeyPressed, PortChosen, ScreenTouched
from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.keys import (
    EV_ABS,
    EV_KEY,
    EV_SYN,
    EVENT,
    EVIOCGRAB,
    SYN_DROPPED,
    SYN_REPORT,
    WAKE_S,
    EventStream,
    InputEvent,
    Keys,
    KeysFacts,
)
from agent.settings import ConfigError, table
from tests.hal import Turns

KEY_1, KEY_2, BTN_TOUCH = 2, 3, 330


def event(type_: int, code: int, value: int) -> bytes:
    return EVENT.pack(1, 2, type_, code, value)


SYN = event(EV_SYN, SYN_REPORT, 0)


def press(code: int) -> bytes:
    """As a keyboard sends it: down, twice repeated, up."""
    return b"".join(event(EV_KEY, code, value) + SYN for value in (1, 2, 2, 0))


class Fifo(Turns):
    """An input device made of a fifo, and the loop's readers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.readers = path, dict[int, Callable[[], Any]]()
        self.fd: int | None = None

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int, /) -> None:
        del self.readers[fd]

    def plug(self) -> None:
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def unplug(self) -> None:
        assert self.fd is not None
        os.unlink(self.path)
        os.close(self.fd)
        self.fd = None

    def says(self, data: bytes, keys: Keys) -> list[Any]:
        assert self.fd is not None
        before = len(self.posted)
        os.write(self.fd, data)
        self.turn(0.2, keys)
        return self.posted[before:]

    def turn(self, seconds: float, keys: Keys) -> list[Any]:
        before = len(self.posted)
        for _ in range(round(seconds / 0.05)):
            for callback in list(self.readers.values()):
                callback()
            self.run(0.05, keys)
        return self.posted[before:]


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "event0")


@pytest.fixture
def keys(fifo: Fifo) -> Iterator[Keys]:
    keys = Keys(KeysFacts(str(fifo.path), (KEY_1, KEY_2)), fifo, fifo.post, fifo.now)
    yield keys
    keys.close()
    assert not fifo.readers


def test_a_ports_key_chooses_the_port_once_however_long_it_is_held(fifo: Fifo, keys: Keys) -> None:
    fifo.plug()
    fifo.turn(0.1, keys)
    assert fifo.says(press(KEY_2), keys) == [PortChosen(2), ScreenTouched()]
    fifo.turn(WAKE_S, keys)
    assert fifo.says(press(KEY_1) + press(99), keys) == [PortChosen(1), ScreenTouched()]


def test_the_four_soft_keys_are_pressed_from_the_left_and_nobody_else_hears_them(
    fifo: Fifo, monkeypatch: pytest.MonkeyPatch
) -> None:
    grabbed = []
    monkeypatch.setattr("agent.hal.keys.fcntl.ioctl", lambda fd, request, value: grabbed.append((request, value)))
    keys = Keys(KeysFacts(str(fifo.path), (KEY_1,), (59, 60, 61, 62), grab=True), fifo, fifo.post, fifo.now)
    fifo.plug()
    fifo.turn(0.1, keys)
    said = [e for code in (59, 60, 61, 62, KEY_1) for e in fifo.says(press(code), keys)]
    assert [e for e in said if not isinstance(e, ScreenTouched)] == [*map(KeyPressed, (1, 2, 3, 4)), PortChosen(1)]
    assert grabbed == [(EVIOCGRAB, 1)]
    keys.close()


def test_touch_only_wakes_and_a_resting_finger_wakes_once_a_second(fifo: Fifo, keys: Keys) -> None:
    fifo.plug()
    fifo.turn(0.1, keys)
    said: list[Any] = []
    for _ in range(50):
        said += fifo.says(event(EV_KEY, BTN_TOUCH, 1) + event(EV_ABS, 0, 100) + SYN, keys)
    assert set(said) == {ScreenTouched()} and 8 <= len(said) <= 11


def test_a_keyboard_gone_wild_buries_nobody(fifo: Fifo, keys: Keys) -> None:
    fifo.plug()
    fifo.turn(0.1, keys)
    said = [e for _ in range(50) for e in fifo.says(press(KEY_1) * 100, keys)]
    assert len(said) <= 20 * 10 + 11  # in 10 simulated seconds


def test_bytes_in_pieces_are_the_same_events(fifo: Fifo, keys: Keys) -> None:
    fifo.plug()
    fifo.turn(0.1, keys)
    said = [e for byte in press(KEY_1) for e in fifo.says(bytes([byte]), keys)]
    assert [e for e in said if isinstance(e, PortChosen)] == [PortChosen(1)]


def test_a_flood_is_read_twenty_times_a_second(fifo: Fifo, keys: Keys) -> None:
    fifo.plug()
    fifo.turn(0.1, keys)
    reads = 0

    def counted(fd: int, callback: Callable[[], Any]) -> None:
        def read() -> None:
            nonlocal reads
            reads += 1
            callback()

        Fifo.add_reader(fifo, fd, read)

    fifo.add_reader = counted  # type: ignore[method-assign]
    for _ in range(100):
        fifo.says(event(EV_ABS, 0, 1) * 100, keys)
    assert 300 <= reads <= 420  # 20 simulated seconds


def test_a_device_that_vanishes_is_told_once_and_comes_back_under_its_name(fifo: Fifo, keys: Keys) -> None:
    fifo.turn(60.0, keys)
    (absent,) = fifo.posted
    assert isinstance(absent, DeviceFailed) and "is not there" in absent.why
    fifo.plug()
    assert fifo.turn(10.0, keys) == [DeviceWorks(f"keys {fifo.path}")]
    fifo.unplug()
    assert [type(e) for e in fifo.turn(30.0, keys)] == [DeviceFailed]
    fifo.plug()
    assert fifo.turn(10.0, keys) == [DeviceWorks(f"keys {fifo.path}")]
    assert PortChosen(1) in fifo.says(press(KEY_1), keys)


def test_what_may_not_be_grabbed_or_read_is_a_sentence(fifo: Fifo, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo.plug()
    grabbing = Keys(KeysFacts(str(fifo.path), grab=True), fifo, fifo.post, fifo.now)  # no fifo can be grabbed
    fifo.turn(5.0, grabbing)
    assert "does not work" in fifo.posted.pop().why and not fifo.readers and not fifo.posted

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    Keys(KeysFacts(str(fifo.path)), fifo, fifo.post, fifo.now).due(fifo.time)
    assert "usermod -aG input" in fifo.posted.pop().why


def test_a_path_that_cannot_be_is_a_sentence(fifo: Fifo) -> None:
    async def on_a_real_loop() -> None:
        for path in ("/dev/input/\0", "/", __file__, "/" + "x" * 999):
            Keys(KeysFacts(path), asyncio.get_running_loop(), fifo.post, fifo.now).due(fifo.time)

    asyncio.run(on_a_real_loop())
    assert [type(e) for e in fifo.posted] == [DeviceFailed] * 4
    assert [("no input device" in e.why) for e in fifo.posted] == [False, True, True, False]


def test_after_the_kernel_lost_events_nothing_counts_until_the_next_report() -> None:
    stream = EventStream()
    lost = event(EV_SYN, SYN_DROPPED, 0) + event(EV_KEY, KEY_1, 1) + SYN
    assert list(stream.feed(lost + event(EV_KEY, KEY_2, 1) + SYN)) == [InputEvent(EV_KEY, KEY_2, 1)]
    assert stream.dropped == 1


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_any_bytes_in_any_pieces_are_some_events_and_never_an_error(pieces: list[bytes]) -> None:
    whole, cut = EventStream(), EventStream()
    expected = list(whole.feed(b"".join(pieces)))
    assert [e for piece in pieces for e in cut.feed(piece)] == expected
    assert len(expected) <= len(b"".join(pieces)) // EVENT.size and whole.dropped == cut.dropped


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"port_keys": (1, 2, 3, 4, 5)}, "at most 4"),
        ({"port_keys": (2, 2)}, "share a key"),
        ({"port_keys": (9_999,)}, "cannot be"),
        ({"soft_keys": (59, 60, 61), "grab": True}, "four codes"),
        ({"soft_keys": (59, 60, 61, 61), "grab": True}, "two meanings"),
        ({"soft_keys": (59, 60, 61, 62), "port_keys": (59,), "grab": True}, "two meanings"),
        ({"soft_keys": (59, 60, 61, 62)}, "grab = true"),
        ({"gra": True}, "did you mean grab"),
    ],
)
def test_keys_that_cannot_be_are_refused_with_what_to_type(facts: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        table({"path": "/dev/input/event0"} | facts, KeysFacts, "x")
