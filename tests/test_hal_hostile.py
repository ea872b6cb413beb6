"""Drivers in a world that lies: whatever a file says, a file that is none, a service that talks rubbish. What a driver
does not believe is a sentence, once; nothing raises and nothing spins."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.clock import BUILD_S
from agent.events import ClockTold
from agent.hal import pcsc, rtc
from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.display import Backlight, DisplayFacts, framebuffer
from agent.hal.leds import LedFacts, Leds
from agent.hal.pcsc import PcscFacts, PcscReader
from agent.hal.rtc import Rtc, RtcFacts
from agent.hal.thermal import SensorFacts, TemperatureRead, Thermal
from agent.ui.led import PATTERNS, Light
from tests.hal import Kernel, Turns

SAID = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"-", b"9" * 4_096, b"0x10", b"1e9", b"255\0", "٣".encode(), b"\xff\xfe", b"none [pattern]",
                     b"[timer] pattern", b"red green blue", b"255", b"-1", b"red\n" * 900]),
)  # fmt: skip
FILES = ("trigger", "brightness", "max_brightness", "multi_index", "multi_intensity", "pattern", "bl_power", "type",
         "temp", "name", "temp1_input", "since_epoch", "virtual_size", "bits_per_pixel", "stride")  # fmt: skip
FACTS = (LedFacts("one", multicolour="x"), LedFacts("two", red="x"), LedFacts("three", white="gone"))


def drivers(turns: Turns, kernel: Kernel) -> list[Any]:
    folder = kernel.folder
    (folder / "thermal").mkdir()
    (folder / "thermal" / "zone0").symlink_to(folder / "x")
    (folder / "hwmon").symlink_to(folder / "thermal")
    sensors = SensorFacts("a", "thermal", "255"), SensorFacts("b", "hwmon", "255")
    clock = RtcFacts("rtc0")
    (folder / "rtc0").symlink_to(folder / "x")
    here: dict[str, Any] = {"folder": folder, "sysfs": kernel}
    lights = Leds(FACTS, turns.post, turns.aside, turns.now, **here)
    lights.show({each.name: PATTERNS[light] for each, light in zip(FACTS, Light, strict=False)}, turns.now())
    return [
        lights,
        Backlight(DisplayFacts(backlight="x"), turns.post, turns.aside, turns.now, **here),
        Thermal(sensors, turns.post, turns.aside, turns.now, **here),
        Rtc(clock, turns.post, turns.aside, turns.now, read=lambda f: rtc.read(f, folder, folder / "dev", kernel)),
    ]


@pytest.mark.promise("S9")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(says=st.fixed_dictionaries(dict.fromkeys(FILES, SAID)))
def test_whatever_the_kernels_files_say_is_a_value_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, says: dict[str, bytes]
) -> None:
    turns, kernel = Turns(), Kernel(tmp_path_factory.mktemp("sys"))
    at = kernel.make("x")
    for name, said in says.items():
        (at / name).write_bytes(said)
    for driver in drivers(turns, kernel):
        turns.run(30.0, driver)
    assert framebuffer(DisplayFacts(framebuffer="x"), kernel.folder, kernel) is not None
    for event in turns.posted:
        assert isinstance(event, DeviceFailed | DeviceWorks | TemperatureRead | ClockTold)
        assert not isinstance(event, DeviceFailed) or event.why
    assert len([event for event in turns.posted if isinstance(event, DeviceFailed)]) < 20


@pytest.mark.promise("S9")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda at: at.symlink_to(at)], ids=["folder", "pipe", "loop"])
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    turns, kernel = Turns(), Kernel(tmp_path)
    at = kernel.make("x", type="255", name="255")
    for name in FILES:
        (at / name).unlink(missing_ok=True)
        make(at / name)
    for driver in drivers(turns, kernel):
        turns.run(30.0, driver)
    assert all(event.why for event in turns.posted if isinstance(event, DeviceFailed))


def test_a_clock_chip_that_comes_late_works_from_then_on(tmp_path: Path) -> None:
    turns, kernel = Turns(), Kernel(tmp_path)
    chip = Rtc(RtcFacts("rtc0"), turns.post, turns.aside, turns.now,
               read=lambda f: rtc.read(f, tmp_path, tmp_path / "dev", kernel))  # fmt: skip
    turns.run(3.0, chip)
    kernel.make("rtc0", since_epoch=int(BUILD_S) + 1_000)
    turns.run(100.0, chip)
    told = [type(event) for event in turns.posted]
    assert told == [DeviceFailed, DeviceWorks, ClockTold], "or it would be a failed part for ever"


class Foreign:
    """A PC/SC service; its list of readers comes from a table, and an exception in it is raised."""

    def __init__(self, lists: list[Any]) -> None:
        self.lists = lists
        self.is_empty = threading.Event()

    def __getattr__(self, name: str) -> int:
        assert name.startswith("SCARD_"), name
        return crc32(name.encode())

    def SCardEstablishContext(self, scope: int) -> tuple[int, int]:  # noqa: N802 - its name
        return 0, 7

    def SCardReleaseContext(self, context: int) -> int:  # noqa: N802 - its name
        return 0

    def SCardListReaders(self, context: int, groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802 - its name
        if not self.lists:
            self.is_empty.set()
            return 0, []
        said = self.lists.pop(0)
        if isinstance(said, Exception):
            raise said
        return 0, said


@pytest.mark.promise("S9")
def test_a_readers_name_in_no_encoding_does_not_end_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever plugs in a USB device chooses its name."""
    rubbish = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    scard, told = Foreign([rubbish, rubbish]), []  # type: ignore[var-annotated]
    monkeypatch.setitem(__import__("sys").modules, "smartcard", SimpleNamespace(scard=scard))
    monkeypatch.setattr(pcsc, "RETRY_S", 0.01)
    reader = PcscReader(PcscFacts(), told.append, lambda: 0.0, told.append)
    assert scard.is_empty.wait(20)
    reader.close()
    reader.thread.join(20)
    assert "cannot be read" in told[0] and len(told) <= 2
