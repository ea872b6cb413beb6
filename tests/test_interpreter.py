"""The real firmware in the real interpreter, in lockstep with the simulated hardware: stories in simulated time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from board.controller.contract import CP_E
from tests.rig import OFF, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.mark.promise("S1")
@pytest.mark.parametrize("index", [0, 1], ids=["tethered", "socketed"])
def test_a_session_closes_once_meters_exactly_and_opens_when_told(rig: Rig, index: int) -> None:
    rig.charging(index).after(60).wish(index, OFF).until(lambda: not rig.closed(index)).after(1)
    assert rig.clicks(index) == [1, 0] and rig.faults(index) == set()
    assert 60 < rig.reported(index, "energy_wh") == int(rig.sim.register_wh(index, rig.now)) < 63
    assert rig.reported(index, "closes") == 1


FAULT_STORIES: dict[str, tuple[dict[str, object], float]] = {
    "ground_fault": ({"cable_leaks": True}, 0.1),
    "pilot_fault": ({"pilot_fault": CP_E}, 0.1),
    "over_temperature": ({"temperature_dc": 900}, 7.1),
    "under_voltage": ({"voltage_mv": (180_000, 0, 0)}, 7.1),
    "over_voltage": ({"voltage_mv": (270_000, 0, 0)}, 7.1),
    "meter_fault": ({"meter_dead": True}, 11.1),
}


@pytest.mark.promise("S1")
@pytest.mark.parametrize("fault", FAULT_STORIES)
def test_each_fault_opens_in_time_and_is_reported(rig: Rig, fault: str) -> None:
    screws, limit_s = FAULT_STORIES[fault]
    rig.charging().touch(0, **screws).after(limit_s)
    assert not rig.closed()
    rig.after(1)
    assert fault in rig.faults() and not rig.faults(1)
