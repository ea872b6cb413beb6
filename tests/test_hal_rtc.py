"""The clock chip: what is believed, and what is said of the rest."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import BUILD_S, WALL_MAX_S, ClockSource
from agent.events import ClockTold
from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.rtc import (
    TRIES,
    VL_BACKUP_EMPTY,
    VL_BACKUP_LOW,
    VL_DATA_INVALID,
    Rtc,
    RtcFacts,
    RtcReading,
    judged,
    read,
    voltage_of,
)
from tests.hal import Kernel, Turns, quiet

FACTS = RtcFacts("rtc0")
NOW_S = int(BUILD_S) + 1_000


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def chip(turns: Turns, kernel: Kernel) -> Rtc:
    def read_here(facts: RtcFacts) -> RtcReading:
        return read(facts, kernel.folder, kernel.folder / "dev", kernel)

    return Rtc(FACTS, turns.post, turns.aside, turns.now, read=read_here)


def test_it_tells_the_time_once_and_is_left_alone(turns: Turns, kernel: Kernel) -> None:
    kernel.make("rtc0", since_epoch=NOW_S)
    rtc = chip(turns, kernel)
    assert turns.run(100.0, rtc) == [ClockTold(NOW_S, ClockSource.RTC)]
    assert quiet(rtc)


def test_a_chip_that_comes_late_is_told_absent_once_and_then_asked(turns: Turns, kernel: Kernel) -> None:
    rtc = chip(turns, kernel)
    assert [type(e) for e in turns.run(3.0, rtc)] == [DeviceFailed]
    kernel.make("rtc0", since_epoch=NOW_S)
    assert ClockTold(NOW_S, ClockSource.RTC) in turns.run(3.0, rtc)
    assert rtc.presence.why == ""


def test_a_chip_that_never_comes_is_given_up(turns: Turns, kernel: Kernel) -> None:
    rtc = chip(turns, kernel)
    assert len(turns.run(1_000.0, rtc)) == 1 and turns.turns == TRIES and quiet(rtc)


def test_a_chip_that_lost_its_supply_says_so_and_tells_no_time(turns: Turns, kernel: Kernel) -> None:
    kernel.make("rtc0", since_epoch=0)
    kernel.errors["since_epoch"] = errno.EINVAL  # what the drivers say of a stopped oscillator
    (failed,) = turns.run(100.0, chip(turns, kernel))
    assert isinstance(failed, DeviceFailed) and "lost its supply" in failed.why and "replace its battery" in failed.why


def test_a_chip_that_hangs_is_told_and_waited_for(turns: Turns, kernel: Kernel) -> None:
    kernel.make("rtc0", since_epoch=NOW_S)
    rtc = chip(turns, kernel)
    turns.hangs = True
    assert [type(e) for e in turns.run(100.0, rtc)] == [DeviceFailed] and len(turns.away) == 1
    turns.come_back()
    assert turns.posted[-1] == ClockTold(NOW_S, ClockSource.RTC)


def test_a_low_battery_is_told_beside_the_time() -> None:
    for flags in (VL_BACKUP_LOW, VL_BACKUP_EMPTY):
        assert judged(str(NOW_S), flags).wall_s == NOW_S and "battery is low" in judged(str(NOW_S), flags).problem
    assert judged(str(NOW_S), VL_DATA_INVALID).wall_s is None


def test_what_is_no_clock_chip_has_no_flags(tmp_path: Path) -> None:
    (tmp_path / "rtc0").write_text("")
    assert voltage_of(tmp_path / "rtc0") == voltage_of(tmp_path / "none") == 0


@given(st.text(max_size=20) | st.integers(-(10**15), 10**15).map(str), st.integers(0, 31))
def test_a_time_is_believed_only_between_our_build_and_the_year_3000(said: str, flags: int) -> None:
    reading = judged(said, flags)
    if reading.wall_s is None:
        assert reading.problem
    else:
        assert BUILD_S <= reading.wall_s < WALL_MAX_S and not flags & VL_DATA_INVALID


def test_works_is_not_told_of_a_chip_that_worked_at_once(turns: Turns, kernel: Kernel) -> None:
    kernel.make("rtc0", since_epoch=NOW_S)
    assert not any(isinstance(e, DeviceWorks) for e in turns.run(100.0, chip(turns, kernel)))
