"""Temperatures against a folder that is laid out like /sys/class."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hal.device import DeviceFailed, DeviceWorks
from agent.hal.thermal import HIGHEST_DC, LOWEST_DC, SensorFacts, TemperatureRead, Thermal, temperature_dc
from tests.hal import Kernel, Turns, quiet

CPU = SensorFacts("cpu", "thermal", "cpu-thermal")
BOARD = SensorFacts("supply", "hwmon", "lm75", 2)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path)
    kernel.make("thermal/cooling_device0", type="pwm-fan")
    kernel.make("thermal/nameless", temp=1)
    kernel.make("thermal/thermal_zone0", type="gpu-thermal", temp=99_000)
    kernel.make("thermal/thermal_zone1", type="cpu-thermal", temp=48_312)
    kernel.make("hwmon/hwmon0", name="lm75", temp1_input=1_000, temp2_input=-12_345)
    return kernel


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def thermal(turns: Turns, kernel: Kernel) -> Thermal:
    return Thermal([CPU, BOARD], turns.post, turns.aside, turns.now, folder=kernel.folder, sysfs=kernel)


def test_each_sensor_is_found_by_name_and_read_in_tenths(turns: Turns, thermal: Thermal) -> None:
    assert turns.run(9.0, thermal) == [TemperatureRead("cpu", 483), TemperatureRead("supply", -123)]
    assert len(turns.run(100.0, thermal)) == 20


def test_a_sensor_that_got_another_number_is_found_again(turns: Turns, kernel: Kernel, thermal: Thermal) -> None:
    turns.run(1.0, thermal)
    (kernel.folder / "thermal/thermal_zone1").rename(kernel.folder / "thermal/thermal_zone7")
    assert TemperatureRead("cpu", 483) in turns.run(10.0, thermal)


@pytest.mark.parametrize(("number", "word"), [(errno.EIO, "from the kernel"), (errno.ENODEV, "is not there")])
def test_a_sensor_that_fails_is_told_once_and_so_is_its_return(
    number: int, word: str, turns: Turns, kernel: Kernel, thermal: Thermal
) -> None:
    turns.run(1.0, thermal)
    kernel.errors["temp2_input"] = number
    said = turns.run(100.0, thermal)
    (failed,) = [e for e in said if isinstance(e, DeviceFailed)]
    assert failed.device == "temperature supply" and word in failed.why
    assert len([e for e in said if e == TemperatureRead("cpu", 483)]) == 10  # the other one goes on
    kernel.errors.clear()
    assert DeviceWorks("temperature supply") in turns.run(30.0, thermal)


def test_a_bus_that_hangs_is_told_and_not_asked_again(turns: Turns, thermal: Thermal) -> None:
    turns.hangs = True
    said = turns.run(1_000.0, thermal)
    assert {type(e) for e in said} == {DeviceFailed} and len(said) == 2 and len(turns.away) == 1
    turns.come_back()
    assert len([e for e in turns.run(20.0, thermal) if isinstance(e, DeviceWorks)]) == 2


def test_a_board_without_sensors_wants_nothing(turns: Turns) -> None:
    assert quiet(Thermal([], turns.post, turns.aside, turns.now))


def test_a_sensor_of_another_board_is_absent_and_says_so(turns: Turns, kernel: Kernel) -> None:
    for facts in (SensorFacts("x", "hwmon", "tmp117"), SensorFacts("x", "hwmon", "lm75", 9)):
        turns.run(1.0, Thermal([facts], turns.post, turns.aside, turns.now, folder=kernel.folder, sysfs=kernel))
    turns.run(1.0, Thermal([CPU], turns.post, turns.aside, turns.now, folder=kernel.folder / "no", sysfs=kernel))
    assert [type(e) for e in turns.posted] == [DeviceFailed] * 3


@given(st.text(max_size=12) | st.integers(-(10**9), 10**9).map(str))
def test_what_is_no_temperature_is_none(said: str) -> None:
    reading_dc = temperature_dc(said)
    assert reading_dc is None or (LOWEST_DC <= reading_dc <= HIGHEST_DC and abs(reading_dc * 100 - int(said)) <= 50)
