"""The real firmware in the real interpreter, in lockstep with the simulated hardware: stories in simulated time."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.events import PartTold
from agent.ui.led import PATTERNS, Light, Pattern, is_lit
from board.controller import contract
from board.controller.contract import CP_E
from board.controller.link import frame
from tests.chip import HELLO
from tests.rig import CIRCUIT_MA, FAILSAFE_MA, GRACE_S, OFF, ON, STEP_S, Rig


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
    greet = frame(0, contract.pack(*HELLO))
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


# -- lights


def shown(rig: Rig, index: int, seconds: float) -> list[int]:
    """The colours that are on, in each step."""
    return [rig.after(STEP_S).bays[index].out.light for _ in range(round(seconds / STEP_S))]


def played(pattern: Pattern, colours: int, seconds: float) -> list[int]:
    return [colours if is_lit(pattern, i * STEP_S + 1e-6) else 0 for i in range(round(seconds / STEP_S))]


def beats(seen: list[int], pattern: Pattern, colours: int) -> bool:
    """Whether this is the pattern, from whatever beat on."""
    twice = played(pattern, colours, len(seen) * STEP_S + sum(pattern.rhythm_s))
    return any(twice[i : i + len(seen)] == seen for i in range(len(twice) - len(seen) + 1))


def test_a_light_blinks_on_when_the_host_is_killed_and_says_out_of_order_once_it_is_given_up(rig: Rig) -> None:
    charging, plugged = PATTERNS[Light.CHARGING], PATTERNS[Light.PLUGGED]
    rig.charging(0).show(charging, plugged).after(1)
    rig.kill_host()
    assert beats(shown(rig, 0, 4.0), charging, contract.BLUE) and not beats(shown(rig, 0, 4.0), plugged, contract.BLUE)
    rig.after(GRACE_S)
    for index in range(2):
        assert beats(shown(rig, index, 8.0), PATTERNS[Light.OUT_OF_SERVICE], contract.RED)
    rig.start_host().show(plugged, charging)
    rig.after(3)
    assert beats(shown(rig, 0, 4.0), plugged, contract.BLUE) and beats(shown(rig, 1, 4.0), charging, contract.BLUE)


def test_before_any_host_has_spoken_the_lights_say_that_it_starts(lone: Rig) -> None:
    assert beats(shown(lone, 1, 5.0), PATTERNS[Light.STARTING], contract.RED | contract.GREEN | contract.BLUE)


@pytest.mark.promise("S9")
def test_lights_heal_with_the_next_heartbeat_on_a_bad_line(rig: Rig) -> None:
    rig.noise = 0.01
    rig.show(PATTERNS[Light.ASK], PATTERNS[Light.ENDED]).after(5)
    rig.noise = 0.0
    rig.after(1)
    assert beats(shown(rig, 0, 4.0), PATTERNS[Light.ASK], contract.RED | contract.GREEN)
    assert beats(shown(rig, 1, 4.0), PATTERNS[Light.ENDED], contract.GREEN)


# -- counters


def test_both_ends_of_the_line_count_and_the_host_knows_both(rig: Rig) -> None:
    assert rig.host is not None
    rig.charging().say(b"\x7e\x03not a frame").after(1).say(frame(9, b"nonsense")).after(32)
    there, here = rig.host.counters()["heard_there"], rig.host.counters()["heard_here"]
    assert there["noise_bytes"] > 0 and there["bad_messages"] == 1 and there["flash_writes"] >= 1
    assert there["dropped"] == there["overruns"] == there["leaps"] == 0
    assert here == {"noise_bytes": 0, "crc_errors": 0, "gaps": 0, "bad_messages": 0}
    rig.touch(0, register_mj=0).after(40)
    assert rig.host.counters()["heard_there"]["leaps"] == 1
    told = [event for event in rig.events if isinstance(event, PartTold)]
    assert [event.problem for event in told] == [
        "the port controller does not understand us",
        "the port controller does not understand us; a meter's register has leapt",
    ]
    rig.after(700)
    assert [event.problem for event in rig.events if isinstance(event, PartTold)][2:] == [""]


# -- before flashing


def test_halted_it_is_safe_deaf_and_remembers_and_a_reset_brings_it_back(rig: Rig) -> None:
    assert rig.host is not None
    rig.charging(1).after(20).wish(1, OFF).until(lambda: not rig.closed(1)).after(1)
    told_wh = rig.reported(1, "energy_wh")
    rig.say(rig.host.halt()).after(0.2)
    assert rig.host.is_halted and rig.lost() == ["it was halted, to be flashed"] and rig.host.poll(rig.now)[0] == b""
    steps = rig.sim.steps
    rig.say(frame(0, contract.pack(*HELLO)))
    rig.say(frame(1, contract.pack(contract.WISH, contract.MINOR_LAST, ((16_000, 0, 0, 0), (16_000, 0, 1, 0)))))
    rig.plug(0).after(30)
    assert rig.sim.steps == steps and rig.sim.boot is not None, "no turn is made, and it still runs"
    for bay in rig.bays:
        assert (bay.out.duty, bay.out.coil, bay.out.gf_test) == (10_000, 0, 0)
    rig.sim.reset(rig.now)
    rig.host.resume(rig.now)
    rig.after(3)
    assert rig.reported(1, "energy_wh") >= told_wh and rig.reported(1, "closes") == 1
    assert rig.circuit_ma == CIRCUIT_MA
    rig.wish(0, ON).until(lambda: rig.bays[0].power_w > 0)


@pytest.mark.promise("S1")
def test_it_does_not_halt_while_a_port_is_in_use_or_wished(rig: Rig) -> None:
    assert rig.host is not None
    rig.wish(0, ON).after(0.2).say(rig.host.halt()).after(0.2)
    assert "stop all ports" in rig.host.halt_refusal, "nobody is there yet, but the host wants it"
    rig.charging(1).say(rig.host.halt()).after(0.2)
    assert "stop all ports" in rig.host.halt_refusal and rig.closed(1)
    rig.bays[1].car.stubborn = True  # type: ignore[union-attr]
    rig.wish(0, OFF).wish(1, OFF).after(1)
    rig.say(rig.host.halt()).after(0.2)
    assert rig.closed(1) and "stop all ports" in rig.host.halt_refusal, "an orderly stop comes to its end first"
    rig.until(lambda: not rig.closed(1)).say(rig.host.halt()).after(0.2)
    assert rig.host.is_halted and rig.lost() == ["it was halted, to be flashed"]
