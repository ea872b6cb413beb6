"""Whatever happens to cars, hardware, host, line and power: the real firmware keeps S1 and S11 at the pins."""

import random
from pathlib import Path

import pytest

from agent.effects import PortCommand, Stop
from agent.sim.car import Car
from agent.sim.plant import Bay
from board.controller import contract
from board.controller.app.port import PortBoard
from board.controller.contract import CP_A, CP_B, CP_E, CP_F
from board.controller.link import frame
from tests.chip import HELLO
from tests.rig import CIRCUIT_MA, CIRCUIT_MAX_MA, FAILSAFE_MA, GRACE_S, SOCKETED, TETHERED, Rig

BOARDS = (
    (TETHERED, SOCKETED),
    (PortBoard(phases=3, ventilated=True),),
    (SOCKETED, PortBoard(socketed=True, phases=3)),
    (TETHERED, TETHERED, SOCKETED, PortBoard(max_ma=63_000)),
)
GAPS_S = (0.01, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SCREWS: dict[str, tuple[object, ...]] = {
    "pilot_fault": (None, None, None, CP_A, CP_B, CP_E, CP_F),
    "cable_leaks": (False, False, True),
    "meter_dead": (False, False, True),
    "temperature_dc": (250, 250, 250, 900),
    "voltage_mv": ((230_000,) * 3, (230_000,) * 3, (180_000, 230_000, 230_000), (270_000,) * 3, (230_000, 0, 0)),
}


def random_car(rng: random.Random) -> Car:
    return Car(
        max_ma=rng.choice((6_000, 16_000, 32_000)),
        phases=rng.choice((1, 3)),
        need_wh=rng.choice((1, 10, 50_000)),
        reaction_ms=rng.choice((0, 10, 100, 1_000)),
        stubborn=rng.random() < 0.1,
        greed_ma=rng.choice((0, 0, 0, 5_000)),
        ventilation=rng.random() < 0.1,
        diode=rng.random() < 0.95,
        leak_after_ms=rng.choice((None, None, None, 50, 500)),
        cable_ma=rng.choice((0, 13_000, 20_000, 32_000)),
    )


def mended(bay: Bay) -> None:
    good = Bay(bay.board)
    vars(bay).update({name: vars(good)[name] for name in SCREWS})
    for contact in (bay.contactor, bay.bolt, bay.detector):
        contact.stuck = False


def good_session(rig: Rig, index: int) -> None:
    """Somebody mends everything, and a car charges a while, mostly a good one."""
    bay = rig.bays[index]
    rig.noise, rig.is_cut, rig.sim.emergency_stop = 0.0, False, False
    rig.sim.power_on(rig.now)
    if rig.host is None:
        rig.start_host()
    rig.sim.touch(rig.now, lambda sim: mended(bay))
    rig.sim.leave(index, rig.now)
    bay.abandoned_cable_ma = 0
    clear = rig.commands[index].clear + 1
    rig.wish(index, PortCommand(clear=clear)).after(rig.rng.choice((0.3, 1.0)))
    good = Car(need_wh=rig.rng.choice((1, 50_000)), reaction_ms=rig.rng.choice((50, 300)))
    rig.plug(index, rig.rng.choice((good, good, random_car(rig.rng))))
    rig.wish(index, PortCommand(rig.rng.choice((6_000, 16_000, 32_000)), Stop.NONE, lock=True, clear=clear))
    rig.after(rig.rng.choice((1.0, 1.5, 2.0)))


def cars_come_and_go(rig: Rig, index: int) -> None:
    if rig.bays[index].car is None:
        rig.plug(index, random_car(rig.rng))
    else:
        rig.rng.choice((rig.sim.unplug, rig.sim.leave))(index, rig.now)


def host_wishes(rig: Rig, index: int) -> None:
    rng = rig.rng
    stop = rng.choice((Stop.NONE, Stop.NONE, Stop.NONE, Stop.ORDERLY, Stop.NOW))
    offer_ma = 0 if stop else rng.choice((0, 6_000, 10_000, 16_000, 32_000, 80_000))
    rig.wish(index, PortCommand(offer_ma, stop, lock=rng.random() < 0.5, clear=rng.randrange(4)))


def host_comes_and_goes(rig: Rig, index: int) -> None:
    if rig.host is None:
        rig.start_host()
    else:
        rig.kill_host()


def power_fails(rig: Rig, index: int) -> None:
    rig.rng.choice((rig.sim.reset, rig.sim.reset, rig.sim.power_off, rig.sim.power_on, rig.sim.power_on))(rig.now)


def contacts_stick(rig: Rig, index: int) -> None:
    contact = rig.rng.choice((rig.bays[index].contactor, rig.bays[index].bolt, rig.bays[index].detector))
    rig.sim.touch(rig.now, lambda sim: setattr(contact, "stuck", not contact.stuck))


def hardware_changes(rig: Rig, index: int) -> None:
    name = rig.rng.choice(list(SCREWS))
    rig.touch(index, **{name: rig.rng.choice(SCREWS[name])})


def button_is_hit(rig: Rig, index: int) -> None:
    pressed = rig.rng.random() < 0.3
    rig.sim.touch(rig.now, lambda sim: setattr(sim, "emergency_stop", pressed))


def meter_jumps(rig: Rig, index: int) -> None:
    jump_mj = rig.rng.choice((-1, 1)) * rig.rng.choice((3_600_000, 10**9, 10**13))
    rig.touch(index, register_mj=max(0, rig.bays[index].register_mj + jump_mj))


def line_is_bad(rig: Rig, index: int) -> None:
    rig.noise = rig.rng.choice((0.0, 0.0, 1e-4, 1e-2))
    rig.is_cut = rig.rng.random() < 0.1


def line_babbles(rig: Rig, index: int) -> None:
    rng = rig.rng
    rows = (tuple(wild_row(rng)),) * len(rig.bays)
    good = frame(rng.randrange(256), contract.pack(contract.WISH, contract.MINOR_LAST, rows))
    at = rng.randrange(len(good))
    rig.say(rng.choice((
        rng.randbytes(rng.randrange(1, 300)), b"\x7e\xfa", good[:at], good[at:], good + good,
        good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :],
    )))  # fmt: skip


def host_goes_wild(rig: Rig, index: int) -> None:
    """Intact frames that no host of ours would send."""
    rng = rig.rng
    rows = tuple(wild_row(rng) for _ in range(rng.choice((len(rig.bays), rng.randint(1, 4)))))
    circuit_ma = rng.choice((12_000, 24_000, CIRCUIT_MA, CIRCUIT_MAX_MA, 200_000))
    messages: tuple[tuple[object, ...], ...] = (
        (contract.WISH, contract.MINOR_LAST, rows), (contract.WISH, 3, rows),
        (contract.LIMIT, circuit_ma, FAILSAFE_MA, GRACE_S),
        HELLO, (contract.HELLO, 9, 0, 0, "00000000"),
    )  # fmt: skip
    rig.say(frame(rng.randrange(256), contract.pack(*rng.choice(messages))))


def wild_row(rng: random.Random) -> tuple[int, ...]:
    offer_ma, stop, lock = map(rng.randint, contract.PORT_WISH[1:9:3], contract.PORT_WISH[2:9:3])
    return offer_ma, stop, lock, rng.randrange(5)


EVENTS = {
    good_session: 2, cars_come_and_go: 4, host_wishes: 5, host_comes_and_goes: 1, power_fails: 1, contacts_stick: 1,
    hardware_changes: 3, button_is_hit: 1, meter_jumps: 1, line_is_bad: 1, line_babbles: 1, host_goes_wild: 1,
}  # fmt: skip


def soak(folder: Path, seed: int, events: int) -> Rig:
    """A life of so many random events; a broken promise names seed and event."""
    rng = random.Random(seed)
    rig = Rig(folder, BOARDS[seed % len(BOARDS)], seed=seed, coil_circuit=rng.random() < 0.5)
    kinds, weights = list(EVENTS), list(EVENTS.values())
    try:
        for n in range(events):  # noqa: B007  # for the message
            (event,) = rng.choices(kinds, weights)
            index = rng.randrange(len(rig.bays))
            event(rig, index)
            rig.after(8.0 if rng.random() < 0.005 else rng.choice(GAPS_S))
    except (AssertionError, TimeoutError) as wrong:
        said = rig.sim.log.read_text()[-500:]
        raise AssertionError(f"{seed=} event {n} {event.__name__} at {index}: {wrong} {said}") from wrong
    finally:
        rig.close()
    said = rig.sim.log.read_text()[-1000:]  # what it dies of; a receiver that nobody called ends without a word
    assert set(rig.sim.resets) <= {-9, 1} and not said, f"the firmware ended by itself: {said}"
    return rig


def check_that_something_happened(rig: Rig, events: int) -> None:
    """A world in which nothing charges proves nothing."""
    seen = rig.observer
    assert seen.closes > events / 40 and rig.sim.boots > events / 200 and seen.greatest_ma > 0.9 * CIRCUIT_MA
    assert len(seen.slowest_ms) >= 4, seen.slowest_ms  # reasons that a live contactor has met


@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_can_happen_to_the_real_firmware_breaks_a_promise_at_the_pins(tmp_path: Path, seed: int) -> None:
    check_that_something_happened(soak(tmp_path, seed, 600), 600)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("seed", range(100, 140))
def test_nothing_that_can_happen_breaks_a_promise_at_the_pins_in_100_000_events(tmp_path: Path, seed: int) -> None:
    check_that_something_happened(soak(tmp_path, seed, 2_500), 2_500)


def test_the_same_seed_gives_the_same_world(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert soak(tmp_path / "a", 5, 150).sim.pins == soak(tmp_path / "b", 5, 150).sim.pins
