"""How the ports share a circuit, seen at the pins of the simulated world: whole station, controller, cars."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from agent.clock import iso8601
from agent.policy.sharing import TURN_S, WATCHED_S
from agent.sim.car import Car
from agent.sim.scenario import CARDS
from agent.sim.world import World
from tests.test_world import CALM, Observer

ANN, BOB = CARDS["ann"], CARDS["bob"]
FOLLOWS_S = 12.0  # the car 1 s, the controller 5 s until the others may have what it has left, reports and wishes
HUNGRY_WH = 10_000_000


def built(meter_s: float = 60.0, **settings: int) -> World:
    world = World(1, replace(CALM, **settings), meter_s=meter_s)
    world.allow(ANN, BOB).power_on().run(30)
    return world


@pytest.fixture
def world() -> Iterator[World]:
    with built(meter_s=5.0).closing() as world:
        yield world


def offers(world: World) -> list[int]:
    """At the pilot of each port, in A."""
    return [port.offer_ma // 1000 for port in world.controller.controller.ports] if world.controller.controller else []


def two_cars(world: World, first_ma: int = 32_000) -> World:
    world.plug(1, Car(max_ma=first_ma, need_wh=HUNGRY_WH)).run(2).tap(ANN).run(20)
    assert offers(world) == [32, 0], "one car gets all"
    return world.plug(2, Car(need_wh=HUNGRY_WH)).run(2).tap(BOB).run(FOLLOWS_S)


def limit(world: World, amperes: float, after_s: float = 0.0, for_s: int = 900) -> World:
    start = iso8601(world.true_wall_s() + after_s)
    schedule = {
        "id": 1, "chargingRateUnit": "A", "startSchedule": start, "duration": for_s,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": amperes}],
    }  # fmt: skip
    profile = {
        "id": 1, "stackLevel": 0, "chargingProfilePurpose": "ChargingStationMaxProfile",
        "chargingProfileKind": "Absolute", "chargingSchedule": [schedule],
    }  # fmt: skip
    return world.command("SetChargingProfile", evseId=0, chargingProfile=profile)


@pytest.mark.promise("S11")
def test_what_one_car_does_not_draw_the_other_has_and_gives_back_in_seconds(world: World) -> None:
    observer, modest = Observer(world), Car(max_ma=7_000, need_wh=HUNGRY_WH)
    world.plug(1, modest).run(2).tap(ANN).run(20).plug(2, Car(need_wh=HUNGRY_WH)).run(2).tap(BOB).run(FOLLOWS_S)
    assert offers(world) == [16, 16]
    world.run(WATCHED_S + FOLLOWS_S)
    assert offers(world) == [9, 23]
    modest.max_ma = 32_000
    world.run_until(lambda: offers(world) == [9, 16], 60).run(FOLLOWS_S)  # it draws more when it looks again
    assert offers(world) == [16, 16]
    assert observer.closings == 2


@pytest.mark.promise("S11")
def test_where_there_is_room_for_one_the_place_goes_round_and_the_contactors_with_it() -> None:
    with built(circuit_limit_ma=10_000).closing() as world:
        observer = Observer(world)
        world.plug(1, Car(need_wh=HUNGRY_WH)).run(2).tap(ANN).run(20)
        world.plug(2, Car(need_wh=HUNGRY_WH)).run(2).tap(BOB).run(FOLLOWS_S)
        assert offers(world) == [10, 0] and world.said(2) is None
        world.run(TURN_S)
        assert offers(world) == [0, 10] and not world.is_closed(1) and world.is_closed(2)
        world.run(TURN_S + FOLLOWS_S)
        assert offers(world) == [10, 0]
        assert observer.closings == 3
        world.leave(1).run(FOLLOWS_S)
        assert offers(world) == [0, 10], "at once, not at the end of a turn"


@pytest.mark.promise("S11")
def test_a_profile_of_the_station_holds_at_the_pins_without_the_cloud_and_over_a_power_cut(world: World) -> None:
    two_cars(world)
    limit(world, 14, after_s=60.0, for_s=1200).run(30)
    assert offers(world) == [16, 16]
    world.net.cut()
    world.run(35)
    assert offers(world) == [7, 7]
    world.cut_power().run(120).power_on()
    assert max([sum(offers(world.run(1))) for _ in range(120)]) == 14
    world.run(1000)
    assert offers(world) == [16, 16]


def test_an_agent_that_comes_back_takes_no_place_away() -> None:
    with built(circuit_limit_ma=10_000).closing() as world:
        world.plug(2, Car(need_wh=HUNGRY_WH)).run(2).tap(BOB).run(20)
        world.plug(1, Car(need_wh=HUNGRY_WH)).run(2).tap(ANN).run(20)
        observer = Observer(world)
        world.kill_agent(back_after_s=3).run(60)
        assert offers(world) == [0, 10] and observer.closings == 0
