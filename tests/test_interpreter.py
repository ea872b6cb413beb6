"""The real firmware in the real interpreter, in lockstep with the simulated hardware: stories in simulated time."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from board.controller import contract
from board.controller.contract import CP_E
from board.controller.link import frame
from tests.rig import CIRCUIT_MA, FAILSAFE_MA, GRACE_S, OFF, ON, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path, seed=3)) as rig:
        yield rig


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Rig]:
    """Without a host."""
    with closing(Rig(tmp_path, is_host_there=False)) as rig:
        yield rig


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


@pytest.mark.promise("S1")
@pytest.mark.parametrize("is_host_dead", [False, True])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_reset_in_mid_session_never_moves_the_bolt_of_a_plug(
    rig: Rig, is_power_cut: bool, is_host_dead: bool
) -> None:
    rig.charging(1)
    if is_host_dead:
        rig.kill_host()
    if is_power_cut:
        rig.sim.power_off(rig.now)
        rig.after(0.5)
        rig.sim.power_on(rig.now)
    else:
        rig.sim.reset(rig.now)
    for _ in range(40):
        assert not rig.after(0.1).sim.unplug(1, rig.now)
    assert bolt(rig) == [1]
    if is_host_dead:  # nobody is there to release it: its grace does, once nothing is live
        rig.after(GRACE_S)
        assert bolt(rig) == [1, 0] and not rig.closed(1)
    else:
        rig.until(lambda: rig.bays[1].power_w > 0)
        assert bolt(rig) == [1] and rig.clicks(1) == [1, 0, 1]


@pytest.mark.promise("S1")
def test_a_welded_contactor_keeps_its_plug_locked_over_a_reset_without_a_host(rig: Rig) -> None:
    rig.charging(1).touch(1)
    rig.bays[1].contactor.stuck = True
    rig.kill_host().sim.reset(rig.now)
    rig.after(60)
    assert bolt(rig) == [1] and rig.closed(1)


def bolt(rig: Rig) -> list[int]:
    return [value for _, i, name, value in rig.sim.pins if (i, name) == (1, "locked")]


@pytest.mark.promise("S1")
def test_a_trip_line_that_does_not_move_keeps_the_port_open(rig: Rig) -> None:
    rig.bays[0].detector.stuck = True
    rig.plug(0).wish(0, ON).after(5)
    assert rig.clicks() == [] and "ground_fault_self_test" in rig.faults()


@pytest.mark.promise("S1")
def test_a_contactor_that_does_not_follow_its_coil_is_stuck_open(rig: Rig) -> None:
    rig.bays[0].contactor.stuck = True
    rig.plug(0).wish(0, ON).after(5)
    assert "contactor_stuck_open" in rig.faults() and not rig.bays[0].out.coil


@pytest.mark.promise("S1")
def test_a_weld_is_remembered_over_a_power_cut_and_closes_nothing(rig: Rig) -> None:
    rig.charging()
    rig.bays[0].contactor.stuck = True
    rig.wish(0, OFF).after(8)
    assert "contactor_welded" in rig.faults()
    rig.sim.power_off(rig.now)
    rig.after(1)
    rig.sim.power_on(rig.now)
    rig.after(3).wish(0, ON).after(5)
    assert "contactor_welded" in rig.faults() and not rig.bays[0].out.coil


@pytest.mark.promise("S1", "S11")
def test_a_host_that_dies_leaves_the_failsafe_current_and_then_an_orderly_stop(rig: Rig) -> None:
    rig.charging().kill_host().after(3.2)
    assert rig.sim.offer_ma(rig.bays[0]) == FAILSAFE_MA and rig.closed()
    rig.after(GRACE_S - 3 + 1.2)
    assert rig.clicks() == [1, 0] and rig.sim.offer_ma(rig.bays[0]) == 0


@pytest.mark.promise("S11")
def test_one_that_was_never_commissioned_offers_nothing_and_one_that_was_remembers_it(lone: Rig) -> None:
    rig = lone
    greet = frame(0, contract.pack(contract.HELLO, contract.MAJOR, 0, 0, contract.contract_hash()))
    go = frame(1, contract.pack(contract.WISH, contract.MINOR_LAST, ((16_000, 0, 0, 0), (0, 1, 0, 0))))
    rig.plug(0).say(greet + go).after(2)
    assert rig.sim.offer_ma(rig.bays[0]) == 0 == rig.circuit_ma
    rig.start_host().after(1)
    assert rig.circuit_ma == CIRCUIT_MA and rig.limits == 1
    for _ in range(20):
        rig.sim.power_off(rig.now)
        rig.circuit_ma = 0
        rig.sim.power_on(rig.now)
        rig.after(0.2)
    rig.after(3)
    assert rig.circuit_ma == CIRCUIT_MA and rig.limits == 1  # its own word, nobody had to say it again
    rig.sim.power_off(rig.now)
    rig.sim.erase()
    rig.kill_host()
    rig.sim.power_on(rig.now)
    rig.say(greet).after(1)
    assert rig.circuit_ma == 0


@pytest.mark.promise("S2", "S3")
def test_the_register_goes_on_over_resets_and_power_cuts(rig: Rig) -> None:
    rig.charging()
    read = [rig.after(20).reported(0, "energy_wh")]
    for verb in (rig.sim.reset, rig.sim.power_off, rig.sim.reset):
        verb(rig.now)
        rig.sim.power_on(rig.now)
        rig.after(0.5).until(rig.closed)
        read.append(rig.after(20).reported(0, "energy_wh"))
    assert read == sorted(read) and read[-1] == int(rig.sim.register_wh(0, rig.now)) > 70


@pytest.mark.promise("S2")
def test_a_meter_that_leaps_is_not_believed_and_its_leap_never_sold(rig: Rig) -> None:
    rig.charging().after(20)
    before_wh = rig.reported(0, "energy_wh")
    rig.touch(0, register_mj=rig.bays[0].register_mj + 10**12).after(20)
    assert before_wh <= rig.reported(0, "energy_wh") < before_wh + 30


@pytest.mark.promise("S1", "S9")
def test_a_session_over_a_line_with_one_bad_byte_in_a_thousand_is_not_interrupted(rig: Rig) -> None:
    rig.noise = 1e-3
    rig.charging().after(60)
    assert rig.clicks() == [1] and rig.host and rig.host.deframer.crc_errors > 0
    rig.noise = 0.0
    rig.after(1).wish(0, OFF).until(lambda: not rig.closed())
