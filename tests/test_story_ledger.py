"""S2 over the life of a whole station: long outages, restored backups on either side, a disk that is full."""

import random
from itertools import count

import pytest

from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.disk import FULL
from agent.sim.world import STATION_ID, World

SETTINGS = Settings(
    station_id=STATION_ID, restart_delay_max_s=0.0, tx_updated_interval_s=300.0,
    list_grace_days=0,  # members charge however long the cloud is away: it is the sessions that these stories are about
)  # fmt: skip
CARDS = [f"04A1{n:04X}" for n in range(8)]
HOUR_S = 3_600.0


def station(seed: int = 1) -> World:
    return World(seed, SETTINGS, meter_s=300.0).allow(*CARDS).power_on().run(60)


def visit(world: World, evse_id: int, card: str, stay_s: float = 1_200.0) -> None:
    """A driver comes, charges and goes."""
    world.plug(evse_id, Car(need_wh=50_000)).run(3)
    world.tap(card).run(stay_s)
    assert world.is_closed(evse_id), world.said(evse_id)
    world.tap(card).run(15)
    assert world.unplug(evse_id)
    world.run(30)


def settled(world: World) -> World:
    """Connected, and everything sent; every car that left with energy is one whole session with that energy."""
    world.run_until(world.is_equal, 2 * HOUR_S)
    assert world.cloud.violations == []
    return world


@pytest.mark.promise("S2", "S10")
@pytest.mark.parametrize("days", [3, pytest.param(30, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_month_without_a_cloud_costs_no_session(days: int) -> None:
    with station().closing() as world:
        world.net.cut()
        rng = random.Random(days)
        for _ in range(days * 20):
            visit(world, rng.choice([1, 2]), rng.choice(CARDS))
            world.run(rng.uniform(0, 2.5) * HOUR_S)
            if rng.random() < 0.1:
                world.cut_power().run(rng.choice([5, 3_000])).power_on().run(60)
        assert len(world.cloud.sessions) == 0 and len(world.cars_wh) == days * 20
        world.net.mend()
        settled(world)


@pytest.mark.promise("S2")
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
@pytest.mark.parametrize("restarts", [0, 2])
def test_a_storage_that_is_restored_from_yesterday_swallows_no_new_session(offline: bool, restarts: int) -> None:
    with station().closing() as world:
        visit(world, 1, CARDS[0])
        backup = world.disk.copied()
        for n in range(3):  # the cloud has these; the storage will have forgotten them
            visit(world, 1 + n % 2, CARDS[n])
        settled(world)
        world.cut_power().run(10)
        world.disk.restore(backup)
        if offline:
            world.net.cut()
        world.power_on().run(60)
        for n in range(4):  # as many records as were forgotten, and more: under the very same keys
            visit(world, 1 + n % 2, CARDS[n + 3])
        for _ in range(restarts):
            world.kill_agent().run(60)
        world.net.mend()
        settled(world)
        assert len(world.cloud.sessions) == 8


@pytest.mark.promise("S2")
def test_a_storage_that_is_restored_again_and_again_still_loses_nothing() -> None:
    with station(7).closing() as world:
        backup, numbers = world.disk.copied(), count()
        for _ in range(4):
            for _ in range(3):
                visit(world, 1 + next(numbers) % 2, CARDS[next(numbers) % 8])
            settled(world)
            world.cut_power().run(10)
            world.disk.restore(backup)
            world.net.cut()
            world.power_on().run(60)
            visit(world, 1, CARDS[0])
            world.kill_agent().run(60)
            world.net.mend()
            settled(world)


@pytest.mark.promise("S2")
@pytest.mark.parametrize("power_cut", [False, True])
def test_a_cloud_that_is_restored_from_yesterday_has_everything_again(power_cut: bool) -> None:
    with station().closing() as world:
        visit(world, 1, CARDS[0])
        settled(world)
        backup = world.cloud.copied()
        for n in range(5):
            visit(world, 1 + n % 2, CARDS[n])
        settled(world)
        world.cloud.restore(backup)
        assert len(world.cloud.sessions) == 1
        if power_cut:
            world.cut_power().run(5).power_on().run(30)
        visit(world, 2, CARDS[7])
        world.run_until(lambda: len(world.cloud.sessions) == 7, HOUR_S).run(60)
        assert world.cloud.violations == []
        billed = sorted((s.evse_id, s.energy_wh) for s in world.cloud.sessions.values())
        for (port, wh), (meter_port, meter_wh) in zip(billed, sorted(world.cars_wh), strict=True):
            assert port == meter_port and abs(wh - meter_wh) <= 1.0
        money = [key for key in world.cloud.declared if key[0] == 0]
        assert money == [], "of money nothing had to be declared lost: the archive had it"


@pytest.mark.promise("S2")
def test_a_cloud_that_has_lost_everything_gets_all_the_money_that_the_archive_holds() -> None:
    with station().closing() as world:
        empty = world.cloud.copied()
        for n in range(4):
            visit(world, 1 + n % 2, CARDS[n])
        settled(world)
        world.cloud.restore(empty)
        world.run_until(lambda: len(world.cloud.sessions) == 4, HOUR_S).run(60)
        assert world.cloud.violations == []
        assert all(session.end_wh is not None for session in world.cloud.sessions.values())


@pytest.mark.promise("S2", "S3", "S10")
@pytest.mark.parametrize("at", ["before the card", "in mid-session", "at the end"])
def test_a_disk_that_is_full_for_a_while_costs_no_session_that_was_begun(at: str) -> None:
    with station().closing() as world:

        def now(moment: str) -> None:
            if moment == at:
                world.disk.refuses = FULL

        now("before the card")
        world.plug(1, Car(need_wh=50_000)).run(3).tap(CARDS[0]).run(400)
        if at == "before the card":
            assert not world.is_closed(1), "what cannot be recorded is not sold"
            world.disk.refuses = ""
            world.run(30).choose(1).tap(CARDS[0]).run(400)
        assert world.is_closed(1)
        now("in mid-session")
        world.run(900)
        assert world.is_closed(1), "a session that runs goes on"
        now("at the end")
        world.tap(CARDS[0]).run(60)
        world.unplug(1)
        world.run(600)
        world.disk.refuses = ""
        settled(world.run(60))
        visit(world, 2, CARDS[1])
        settled(world)


@pytest.mark.promise("S2")
def test_a_record_that_the_cloud_will_never_take_stops_nothing_and_is_not_forgotten() -> None:
    with station().closing() as world:
        assert world.shell
        victim = world.shell.uplink.lanes[0].next_seq + 1
        world.cloud.refuses = {0: ((victim, "the cloud cannot read this"),)}
        visit(world, 1, CARDS[0])
        world.run(900)
        world.cloud.refuses = {}
        visit(world, 2, CARDS[1])
        world.run(600)
        assert (0, victim, victim) in world.cloud.declared
        ended = [s for s in world.cloud.sessions.values() if s.end_wh is not None]
        assert len(ended) == 2, "the rest of both sessions is there"
        told = [r.payload for r in world.cloud.log if r.action == "NotifyEvent"]
        assert any(event["variable"]["name"] == "DeadLetter" for p in told for event in p["eventData"])


@pytest.mark.promise("S2")
def test_samples_that_waited_for_company_when_the_power_was_cut_were_never_given_a_number_twice() -> None:
    settings = Settings(station_id=STATION_ID, restart_delay_max_s=0.0, tx_updated_interval_s=20.0)
    for seed in range(6):
        with World(seed, settings, meter_s=10.0).allow(*CARDS).power_on().run(60).closing() as world:
            world.plug(1, Car(need_wh=50_000)).run(3).tap(CARDS[0]).run(300 + 7 * seed)
            world.cut_power().run(30).power_on().run(300)
            assert world.is_closed(1), "it goes on"
            world.tap(CARDS[0]).run(30)
            world.unplug(1)
            settled(world)
            (session,) = world.cloud.sessions.values()
            assert session.is_whole, "every seqNo is there, once"
