"""Backlight and framebuffer against a folder that is laid out like /sys/class."""

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import ScreenLit
from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.display import Backlight, DisplayFacts, Framebuffer, framebuffer, level_percent, next_level_at
from agent.settings import ConfigError, table
from tests.hal import Kernel, Turns, quiet

FACTS = DisplayFacts(backlight="rpi", framebuffer="fb0", dim_percent=20, dim_after_s=60, dark_after_s=300)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path)
    kernel.make("rpi", max_brightness=31, brightness=31, bl_power=0)
    return kernel


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def backlight(turns: Turns, kernel: Kernel) -> Backlight:
    return Backlight(FACTS, turns.post, turns.aside, turns.now, folder=kernel.folder, sysfs=kernel)


def shown(kernel: Kernel) -> tuple[str, str]:
    return kernel.read(kernel.folder / "rpi" / "brightness"), kernel.read(kernel.folder / "rpi" / "bl_power")


def test_it_dims_goes_dark_and_wakes_at_once(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    seen = []
    for seconds in (1, 60, 240):
        turns.run(seconds, backlight)
        seen.append(shown(kernel))
    assert seen == [("31", "0"), ("6", "0"), ("0", "4")]
    backlight.active(turns.time)
    assert shown(kernel) == ("31", "0")


def test_it_is_written_only_where_it_differs(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    turns.run(59.0, backlight)
    assert kernel.written == []
    turns.run(200.0, backlight)
    assert kernel.written == [("rpi/brightness", "6")]


def test_what_somebody_else_set_is_set_back(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    turns.run(1.0, backlight)
    (kernel.folder / "rpi" / "brightness").write_text("1\n")
    turns.run(11.0, backlight)
    assert shown(kernel) == ("31", "0")


def test_one_that_fails_is_told_once_and_comes_back(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    kernel.errors["rpi"] = errno.EACCES
    (failed,) = turns.run(100.0, backlight)
    assert isinstance(failed, DeviceFailed) and "devices.conf" in failed.why and turns.turns < 130
    kernel.errors.clear()
    assert turns.run(20.0, backlight) == [DeviceWorks("backlight")]
    assert shown(kernel) == ("6", "0")


def test_one_that_hangs_is_waited_for_once(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    turns.hangs = True
    for _ in range(100):
        backlight.active(turns.time)
        turns.run(1.0, backlight)
    assert len(turns.away) == 1 and [type(e) for e in turns.posted] == [DeviceFailed]
    turns.come_back()
    assert turns.run(30.0, backlight) == [DeviceWorks("backlight")]


def test_a_touch_while_it_is_being_set_counts_at_once(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    turns.run(59.0, backlight)
    turns.hangs = True
    turns.run(2.0, backlight)  # it begins to dim
    backlight.active(turns.time)
    turns.come_back()
    assert shown(kernel) == ("31", "0")


def test_a_board_without_one_wants_nothing(turns: Turns) -> None:
    none = Backlight(DisplayFacts(), turns.post, turns.aside, turns.now)
    none.active(1.0)
    assert quiet(none) and not turns.posted


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 2_000))
def test_the_level_changes_at_its_deadlines_and_at_no_other_time(dim: int, dark: int, idle_s: float) -> None:
    facts = DisplayFacts("x", dim_after_s=dim, dark_after_s=dark if dark >= dim else 0)
    at = next_level_at(facts, 0.0, idle_s)
    assert at > idle_s
    assert level_percent(facts, 0.0, min((idle_s + at) / 2, idle_s + 100)) == level_percent(facts, 0.0, idle_s)
    assert level_percent(facts, 0.0, at) <= level_percent(facts, 0.0, idle_s)


def test_what_the_screen_is(kernel: Kernel) -> None:
    kernel.make("fb0", name="vc4drmfb", virtual_size="800,480", bits_per_pixel=32, stride=3200)
    assert framebuffer(FACTS, kernel.folder, kernel) == Framebuffer("vc4drmfb", 800, 480, 32, 3200)


@pytest.mark.parametrize("size", ["", "800", "800,480,3", "0,480", "x,y", "9999999,1", "-1,5", "20000,480"])
def test_a_screen_that_cannot_be_is_a_sentence(size: str, kernel: Kernel) -> None:
    kernel.make("fb0", name="vc4drmfb", virtual_size=size, bits_per_pixel=32, stride=3200)
    assert isinstance(framebuffer(FACTS, kernel.folder, kernel), str)
    assert isinstance(framebuffer(DisplayFacts(framebuffer="fb9"), kernel.folder, kernel), str)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"dim_percent": 90, "bright_percent": 50}, "type less"),
        ({"dim_after_s": 60, "dark_after_s": 30}, "type more"),
        ({"backlight": "../x"}, "folder in /sys"),
    ],
)
def test_a_display_that_cannot_be_is_refused_with_what_to_type(facts: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        table(facts, DisplayFacts, "x")


def test_that_it_goes_out_and_on_is_told_once_each(turns: Turns, kernel: Kernel, backlight: Backlight) -> None:
    assert turns.run(299.0, backlight) == []
    assert turns.run(60.0, backlight) == [ScreenLit(False)]
    backlight.active(turns.time)
    assert turns.posted[-1] == ScreenLit(True)
    assert turns.run(200.0, backlight) == []


def test_one_that_does_not_take_its_level_tells_nothing_of_it(
    turns: Turns, kernel: Kernel, backlight: Backlight
) -> None:
    turns.run(10.0, backlight)
    kernel.errors["bl_power"] = errno.EIO
    assert not [e for e in turns.run(500.0, backlight) if isinstance(e, ScreenLit)]
    kernel.errors.clear()
    assert [e for e in turns.run(20.0, backlight) if isinstance(e, ScreenLit)] == [ScreenLit(False)]
