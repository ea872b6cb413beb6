"""Lights against a folder that is laid out like /sys/class/leds."""

import errno
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hal.device import HANG_S, DeviceFailed, DeviceWorks
from agent.hal.leds import CHECK_S, LedFacts, Leds, lit, pattern_text
from agent.settings import ConfigError, table
from agent.ui.led import PATTERNS, Colour, Light, Pattern, is_lit
from tests.hal import Kernel, Turns

ALL = "none [mmc0] timer pattern"
THREE = LedFacts("port1", red="p1:red", green="p1:green", blue="p1:blue")
ONE = LedFacts("port1", multicolour="p1", brightness_percent=50)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def three(kernel: Kernel, triggers: str = ALL) -> None:
    for colour in ("red", "green", "blue"):
        kernel.make(f"p1:{colour}", trigger=triggers, brightness=0, max_brightness=255)


def leds(turns: Turns, kernel: Kernel, facts: LedFacts) -> Leds:
    return Leds([facts], turns.post, turns.aside, turns.now, folder=kernel.folder, sysfs=kernel)


def shows(kernel: Kernel, folder: str) -> str:
    return (kernel.folder / folder / "pattern").read_text().strip()


def played(text: str, at_ms: int) -> int:
    """The brightness that the kernel's pattern trigger shows: where two levels follow each other unchanged it holds,
    and a tuple of no duration is skipped; else it would fade."""
    numbers = [int(word) for word in text.split()]
    tuples = list(zip(numbers[::2], numbers[1::2], strict=True))
    for (level, _), (following, ms) in zip(tuples[::2], tuples[1::2], strict=True):
        assert (level, 0) == (following, ms)  # no fading
    at_ms %= sum(ms for _, ms in tuples)
    for level, ms in tuples:
        if at_ms < ms:
            return level
        at_ms -= ms
    raise AssertionError(text)


@pytest.mark.parametrize("light", Light)
def test_the_kernel_plays_each_light_as_the_table_has_it(light: Light, turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    leds(turns, kernel, THREE).show({"port1": PATTERNS[light]}, 0.0)
    on = lit(PATTERNS[light].colour, ["red", "green", "blue"])
    for colour in ("red", "green", "blue"):
        for at_ms in range(5, 12_000, 50):
            expected = colour in on and is_lit(PATTERNS[light], at_ms / 1000)
            assert played(shows(kernel, f"p1:{colour}"), at_ms) == (255 if expected else 0), (colour, at_ms)


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=8).map(lambda it: it + it[::-1]), st.integers(1, 255))
def test_any_rhythm_becomes_a_pattern_without_fading(rhythm_ms: list[int], level: int) -> None:
    pattern = Pattern(Colour.RED, tuple(ms / 1000 for ms in rhythm_ms))
    text, at = pattern_text(rhythm_ms, level), 0
    for before, after in pairwise([0, *(sum(rhythm_ms[: i + 1]) for i in range(len(rhythm_ms)))]):
        at = (before + after) // 2 if after - before > 1 else before
        assert played(text, at) == (level if is_lit(pattern, (at + 0.5) / 1000) else 0)


def test_a_multicolour_light_takes_its_colour_as_intensities(turns: Turns, kernel: Kernel) -> None:
    kernel.make("p1", trigger=ALL, brightness=0, max_brightness=200, multi_index="green blue red", multi_intensity="")
    leds(turns, kernel, ONE).show({"port1": PATTERNS[Light.ASK]}, 0.0)
    assert (kernel.folder / "p1" / "multi_intensity").read_text().split() == ["200", "0", "200"]
    assert played(shows(kernel, "p1"), 100) == 100  # half of 200


def test_a_light_of_one_colour_says_everything_in_it(turns: Turns, kernel: Kernel) -> None:
    kernel.make("status", trigger=ALL, brightness=0, max_brightness=1)
    lights = leds(turns, kernel, LedFacts("port1", green="status"))
    for light, pattern in PATTERNS.items():
        lights.show({"port1": pattern}, 0.0)
        assert "1 " in shows(kernel, "status"), light


def test_the_same_wish_is_written_once_and_the_trigger_set_once(turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    lights = leds(turns, kernel, THREE)
    for light in (Light.CHARGING, Light.CHARGING, Light.FAULT, Light.CHARGING):
        lights.show({"port1": PATTERNS[light]}, turns.time)
        turns.run(1.0, lights)
    triggers = [file for file, _ in kernel.written if file.endswith("/trigger")]
    assert len(triggers) == 3  # set again, its files would be root's again
    assert len(kernel.written) == 3 + 3 * 3


def test_a_kernel_without_pattern_blinks_by_timer_or_says_that_it_cannot(turns: Turns, kernel: Kernel) -> None:
    three(kernel, "[none] timer")
    lights = leds(turns, kernel, THREE)
    lights.show({"port1": PATTERNS[Light.CHARGING]}, 0.0)
    assert (kernel.folder / "p1:blue" / "delay_on").read_text() == "2000\n" and not turns.posted
    lights.show({"port1": PATTERNS[Light.REFUSED]}, 0.0)
    assert "modprobe ledtrig-pattern" in turns.posted[0].why
    assert (kernel.folder / "p1:red" / "brightness").read_text() == "255\n"  # steady: at least its colour
    assert turns.run(60.0, lights) == []
    lights.show({"port1": PATTERNS[Light.FAULT]}, turns.time)
    assert turns.run(30.0, lights) == [DeviceWorks("light port1")]


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENODEV, "is not there"), (errno.EACCES, "60-station-agent.rules"), (errno.EIO, "kernel")],
)
def test_a_light_that_fails_is_told_once_and_comes_back_with_its_pattern(
    number: int, word: str, turns: Turns, kernel: Kernel
) -> None:
    three(kernel)
    lights = leds(turns, kernel, THREE)
    lights.show({"port1": PATTERNS[Light.CHARGING]}, 0.0)
    turns.run(1.0, lights)
    kernel.errors["p1:blue"] = number
    lights.show({"port1": PATTERNS[Light.PLUGGED]}, turns.time)
    (failed,) = [*turns.posted, *turns.run(60.0, lights)][:1]
    assert isinstance(failed, DeviceFailed) and word in failed.why and len(turns.posted) == 1
    kernel.errors.clear()
    assert turns.run(30.0, lights) == [DeviceWorks("light port1")]
    assert played(shows(kernel, "p1:blue"), 100) == 255


def test_a_driver_that_was_reloaded_is_lit_again_without_a_new_wish(turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    lights = leds(turns, kernel, THREE)
    lights.show({"port1": PATTERNS[Light.CHARGING]}, 0.0)
    (kernel.folder / "p1:blue" / "pattern").unlink()
    three(kernel)
    turns.run(CHECK_S + 1.0, lights)
    assert played(shows(kernel, "p1:blue"), 100) == 255


def test_a_light_that_is_absent_stays_so_and_puts_off_nobodys_check(turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    facts = [THREE, LedFacts("port2", red="p2:red")]
    lights = Leds(facts, turns.post, turns.aside, turns.now, folder=kernel.folder, sysfs=kernel)
    lights.show({"port1": PATTERNS[Light.CHARGING], "port2": PATTERNS[Light.CHARGING]}, 0.0)
    turns.run(30.0, lights)
    three(kernel)  # the first one's driver is reloaded
    (kernel.folder / "p1:blue" / "pattern").unlink()
    turns.run(CHECK_S + 1.0, lights)
    assert played(shows(kernel, "p1:blue"), 100) == 255
    assert [type(e) for e in turns.posted] == [DeviceFailed]


def test_a_light_that_is_absent_costs_a_look_a_second(turns: Turns, kernel: Kernel) -> None:
    lights = leds(turns, kernel, THREE)
    lights.show({"port1": PATTERNS[Light.CHARGING]}, 0.0)
    turns.run(100.0, lights)
    assert len(turns.posted) == 1 and turns.turns < 120


def test_a_light_that_hangs_holds_up_nobody_and_gets_the_newest_wish(turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    lights = leds(turns, kernel, THREE)
    turns.hangs = True
    for i in range(100):
        lights.show({"port1": PATTERNS[list(Light)[i % len(Light)]]}, turns.time)
        turns.run(0.2, lights)
    assert len(turns.away) == 1
    assert [type(e) for e in turns.posted] == [DeviceFailed] and turns.time > HANG_S
    lights.show({"port1": PATTERNS[Light.CHARGING]}, turns.time)
    turns.come_back()
    assert played(shows(kernel, "p1:blue"), 100) == 255
    assert turns.run(30.0, lights) == [DeviceWorks("light port1")]


def test_nonsense_in_the_folder_is_a_sentence(turns: Turns, kernel: Kernel) -> None:
    three(kernel)
    for text in ("", "x", "-5", "9" * 4_000, "\xff"):
        kernel.make("p1:red", max_brightness=text)
        leds(turns, kernel, THREE).show({"port1": PATTERNS[Light.FAULT]}, 0.0)
    assert len(turns.posted) == 5 and all("this is no light" in e.why for e in turns.posted)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({}, "name a folder a colour"),
        ({"red": "a", "multicolour": "b"}, "or one multicolour"),
        ({"red": "a", "green": "a"}, "share a folder"),
        ({"red": "../../etc"}, "folder in /sys"),
        ({"red": "a", "rde": "b"}, "did you mean red"),
        ({"red": "a", "brightness_percent": 0}, "from 1 to 100"),
    ],
)
def test_a_light_that_cannot_be_is_refused_with_what_to_type(facts: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        table({"name": "port1"} | facts, LedFacts, "x")
