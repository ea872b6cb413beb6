"""The whole station in the simulated world: real core, shell, store, protocol, lists and controller logic, one seed.

An observer at the pins, which knows nothing of the agent, judges S1 and S11; the cloud's ledger against the simulated
meters judges the money.
"""

import os
import random
from collections.abc import Iterator, Sequence

import pytest
from jsonschema import ValidationError

from agent.app import learned_s
from agent.clock import ClockSource
from agent.effects import Durable, Save
from agent.settings import Settings
from agent.shell import KEEPALIVE
from agent.sim.car import Car
from agent.sim.disk import FSYNC_FAILS, FULL
from agent.sim.scenario import CARDS, DEMO, play
from agent.sim.world import STATION_ID, World
from agent.store import GROUP_S
from agent.uplink import codec
from agent.uplink.keepalive import START_S
from agent.uplink.mqtt import SECURITY_EVENTS, Cause, Disconnected
from tests import referee

ANN, BOB, CARA = CARDS["ann"], CARDS["bob"], CARDS["cara"]
SAMPLE_S = 60.0
CALM = Settings(station_id=STATION_ID, restart_delay_max_s=0.0, tx_updated_interval_s=SAMPLE_S)
CP_C, CP_D = 2, 3
SAMPLE_WH = 32 * 230 * (SAMPLE_S + GROUP_S) / 3_600 + 1  # the most that flows between two stored readings
PILOT_S, ORDERLY_S = 0.1, 6.1  # S1, and the time a contactor needs


class Observer:
    """Sees the pins with their times, and nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pin: dict[tuple[int, str], int] = {}
        self.left_c: dict[int, float] = {}
        self.closings = 0
        world.controller._on_pin = self.see

    def see(self, at: float, index: int, name: str, value: int) -> None:
        self.pin[index, name] = value
        if name == "cp" and value not in (CP_C, CP_D):
            self.left_c[index] = at
        if name == "offer_ma":
            total = sum(v for (_, n), v in self.pin.items() if n == "offer_ma")
            assert total <= self.world.settings.circuit_limit_ma, f"{at}: {total} mA offered (S11)"
        if name == "contactor" and value:
            self.closings += 1
            assert self.pin.get((index, "cp")) in (CP_C, CP_D), f"{at}: closed without a car that asks (S1)"
            assert self.pin.get((index, "offer_ma"), 0) >= 6_000, f"{at}: closed with no offer (S1)"
        if name == "contactor" and not value and self.pin.get((index, "cp")) not in (CP_C, CP_D):
            late_s = at - self.left_c.get(index, at)
            assert late_s <= PILOT_S, f"{at}: opened {late_s:.3f} s after the car left C (S1)"

    def check(self) -> None:
        """No contactor may be closed on a car that does not ask, nor without anybody being billed."""
        for index in range(self.world.ports):
            if self.pin.get((index, "contactor")) and not self.world.controller.bays[index].contactor.stuck:
                left = self.world.now - self.left_c.get(index, self.world.now)
                assert self.pin.get((index, "cp")) in (CP_C, CP_D) or left <= PILOT_S


@pytest.fixture
def world() -> Iterator[World]:
    with World(1, CALM).closing() as world:
        world.allow(ANN, BOB, CARA).power_on().run(30)
        yield world


def charging(world: World, evse_id: int = 1, card: str = ANN, seconds: float = 600.0) -> World:
    return world.plug(evse_id).run(2).tap(card).run(seconds)


@pytest.mark.promise("S2", "S3", "S6", "S7")
@pytest.mark.parametrize("seed", range(5))
def test_the_demos_story_comes_true_in_every_world(seed: int) -> None:
    with World(seed).closing() as world:
        world.allow(ANN, BOB, CARA).power_on()
        play(DEMO, world)


@pytest.mark.promise("S1")
def test_a_stubborn_car_gets_no_energy_without_a_card(world: World) -> None:
    observer = Observer(world)
    world.plug(1, Car(stubborn=True)).run(600)
    assert observer.closings == 0
    assert world.register_wh(1) == 0


@pytest.mark.promise("S1")
def test_a_stubborn_car_that_never_lets_go_is_cut_off_after_six_seconds(world: World) -> None:
    world.plug(1, Car(stubborn=True, max_ma=20_000)).run(2).tap(ANN).run(60)
    assert world.is_closed(1)
    world.tap(ANN).run(ORDERLY_S)
    assert not world.is_closed(1)


@pytest.mark.promise("S1")
def test_a_plug_pulled_under_load_opens_within_a_tenth_of_a_second(world: World) -> None:
    observer = Observer(world)
    charging(world, seconds=60)
    assert world.unplug(1)
    world.run(PILOT_S)
    assert not world.is_closed(1)
    observer.check()
    world.run(60)
    assert [s.stopped_reason for s in world.cloud.sessions.values()] == ["EVDisconnected"]


@pytest.mark.promise("S1")
def test_a_silent_host_never_starts_anything_and_stops_what_runs_after_its_grace(world: World) -> None:
    charging(world, seconds=60)
    world.cut_line().run(59)
    assert world.is_closed(1)
    world.run(20)
    assert not world.is_closed(1)
    world.mend_line().run(30)
    assert world.is_closed(1), "the session was never ended, and goes on"


@pytest.mark.promise("S1", "S3")
def test_an_agent_that_is_killed_and_comes_back_moves_no_contactor(world: World) -> None:
    charging(world, seconds=60)
    observer = Observer(world)
    world.kill_agent(back_after_s=3).run(60)
    assert world.is_closed(1)
    assert observer.closings == 0
    world.tap(ANN).run(20)
    world.unplug(1)
    world.run(30)
    assert world.is_equal()


@pytest.mark.promise("S1")
def test_nothing_closes_before_its_record_is_on_disk(world: World) -> None:
    world.disk.latency_s = 10.0
    world.plug(1).run(2).tap(ANN).run(9)
    assert not world.is_closed(1)
    world.run(40)
    assert world.is_closed(1)


@pytest.mark.promise("S1", "S10")
def test_a_stop_overtakes_a_disk_that_hangs(world: World) -> None:
    charging(world, seconds=60)
    world.disk.latency_s = 1000.0
    world.run(61).tap(ANN).run(ORDERLY_S)
    assert not world.is_closed(1)


@pytest.mark.promise("S2", "S10")
def test_a_full_disk_in_mid_session_loses_nothing_and_sells_nothing_new(world: World) -> None:
    charging(world, seconds=60)
    world.disk.refuses = FULL
    world.run(300)
    assert world.is_closed(1), "the running session goes on"
    world.plug(2).run(2).tap(BOB).run(2)
    assert world.said(2) == "cannot record"
    world.tap(ANN).run(20)
    assert world.unplug(1)
    world.disk.refuses = ""
    world.run(60)
    assert world.is_equal()


@pytest.mark.promise("S3")
@pytest.mark.parametrize(("off_s", "reason"), [(60, "Local"), (500, "Local"), (700, "PowerLoss")])
def test_a_power_cut_resumes_or_ends_the_session(world: World, off_s: float, reason: str) -> None:
    charging(world, seconds=600)
    before_wh = world.register_wh(1)
    world.cut_power().run(off_s).power_on().run(60)
    assert world.is_closed(1) == (reason == "Local")
    world.tap(ANN).run(20)
    if reason == "PowerLoss":
        world.tap(ANN).run(20)  # the first tap began a new session
    world.unplug(1)
    world.run(60)
    session = next(iter(world.cloud.sessions.values()))
    assert session.stopped_reason == reason
    if reason == "PowerLoss":
        assert 0 <= before_wh - session.energy_wh <= SAMPLE_WH, "never in the owner's favour"
    assert world.cloud.violations == []


@pytest.mark.promise("S3")
def test_a_car_swapped_while_the_agent_was_away_is_not_billed_to_the_first_driver(world: World) -> None:
    charging(world, seconds=600)
    world.kill_agent(back_after_s=30).run(5)
    had_wh = world.register_wh(1)
    assert world.unplug(1)
    world.run(2).plug(1, Car(stubborn=True)).run(120)
    session = next(iter(world.cloud.sessions.values()))
    assert session.stopped_reason == "PowerLoss"
    assert 0 <= had_wh - session.energy_wh <= SAMPLE_WH
    assert not world.is_closed(1), "nobody was authorised for the second car"


@pytest.mark.promise("S3")
@pytest.mark.parametrize("seed", range(3))
def test_twenty_short_cuts_end_with_one_whole_session(seed: int) -> None:
    with World(seed, CALM).closing() as world:
        world.allow(ANN).power_on().run(30)
        charging(world, seconds=300)
        rng = random.Random(seed)
        for _ in range(20):
            world.cut_power().run(rng.uniform(0.2, 5)).power_on().run(rng.choice([0.1, 5, 12.01, 13, 20]))
        world.run(60).tap(ANN).run(20)
        world.unplug(1)
        world.run(120)
        sessions = list(world.cloud.sessions.values())
        assert len(sessions) == 1
        assert sessions[0].is_whole
        assert world.is_equal()


@pytest.mark.promise("S2")
def test_a_month_without_a_network_is_delivered_whole_and_money_comes_first() -> None:
    with World(3, CALM).closing() as world:
        world.allow(ANN, BOB).power_on().run(30)
        world.net.cut()
        for _ in range(4):
            charging(world, 1, ANN, 600).tap(ANN).run(20)
            world.unplug(1)
            world.run(7 * 86_400)
        seen = len(world.cloud.log)
        world.net.mend()
        world.run_until(world.is_equal, 1200)
        back = [record.action for record in world.cloud.log[seen:]]
        assert back[0] == "TransactionEvent"
        assert world.cloud.violations == []


@pytest.mark.promise("S2", "S6")
@pytest.mark.parametrize("seed", range(6))
def test_a_bad_network_loses_and_doubles_nothing(seed: int) -> None:
    with World(seed, CALM).closing() as world:
        world.allow(ANN, BOB).power_on().run(30)
        world.net.loss, world.net.doubling, world.net.reordering = 0.05, 0.2, 0.3
        rng = random.Random(seed)
        for _ in range(10):
            charging(world, 1, ANN, rng.uniform(30, 400)).tap(ANN).run(20)
            world.unplug(1)
            world.net.is_mute = rng.random() < 0.3
            world.run(rng.uniform(10, 300))
            world.net.is_mute = False
        world.net.loss = 0.0
        world.run_until(world.is_equal, 3600)


@pytest.mark.promise("S6")
def test_a_half_open_link_is_noticed_and_the_list_decides_meanwhile(world: World) -> None:
    world.net.is_mute = True
    began = world.now
    charging(world, seconds=5)
    assert world.is_closed(1), "a dead link is no reason to wait"
    world.run_until(lambda: world.holds("offline", ()), 40)
    assert world.now - began <= 40
    world.net.mend()
    world.run_until(lambda: world.holds("online", ()), 120)


@pytest.mark.promise("S6")
def test_an_unknown_card_is_asked_about_and_remembered(world: World) -> None:
    world.cloud.drivers["04DEAD99"] = {"status": "Accepted"}
    charging(world, card="04DEAD99", seconds=10)
    assert world.is_closed(1)
    world.tap("04DEAD99").run(20)
    world.unplug(1)
    world.net.cut()
    world.run(60)
    charging(world, card="04DEAD99", seconds=10)
    assert world.is_closed(1), "from the cache, offline"


@pytest.mark.promise("S7")
def test_a_removed_driver_is_told_and_the_new_list_is_in_force_at_once(world: World) -> None:
    world.remove(BOB).run(5)
    assert world.shell
    assert world.shell.station.allowlist.version == 2
    world.plug(1).run(2).tap(BOB).run(2)
    assert world.said(1) == "not connected", "the cloud was asked and does not know the card"


@pytest.mark.promise("S9")
def test_rubbish_from_the_broker_changes_nothing(world: World) -> None:
    assert world.shell
    before = world.shell.station
    rng = random.Random(9)
    for kind in "arvcx":
        for _ in range(50):
            world.net._deliver(kind, rng.randbytes(rng.randrange(200)))
    world.run(10)
    now = world.shell.station
    assert (now.ports, now.allowlist, now.link) == (before.ports, before.allowlist, before.link)


@pytest.mark.promise("S9")
def test_what_keeps_us_from_the_broker_is_reported_once_until_a_connection_stands(world: World) -> None:
    def reported() -> list[str]:
        kinds = [record.payload["type"] for record in world.cloud.log if record.action == "SecurityEventNotification"]
        return [kind for kind in kinds if kind in SECURITY_EVENTS.values()]

    assert world.shell
    for times in (1, 2):
        world.net.cut()
        world.run(90)
        for cause in (Cause.UNTRUSTED, Cause.LOST, Cause.REFUSED, Cause.UNTRUSTED) * 20:
            world.shell.happened(Disconnected("no", 300.0, cause), world.now)
            world.run(5)
        world.net.mend()
        world.run_until(lambda: world.holds("online", ()), 700)
        world.run(30)
        assert sorted(reported()) == sorted(["FailedToAuthenticateAtCsms", "InvalidCsmsCertificate"] * times)


@pytest.mark.promise("S9")
def test_a_command_signed_by_somebody_else_is_refused_and_reported(world: World) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    forged = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
    true_key, world.cloud._key = world.cloud._key, forged
    world.command("ChangeAvailability", operationalStatus="Inoperative").run(5)
    world.cloud._key = true_key
    assert world.status(1) == "Available"
    assert any(record.payload.get("type") == "InvalidMessages" for record in world.cloud.log)


def test_commands_from_the_cloud_are_done_once_and_answered(world: World) -> None:
    data = world.cloud.command("ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1}})
    for _ in range(3):
        world.net.send_command(data)
    world.run(10)
    assert world.status(1) == "Unavailable"
    assert [r["response"] for r in world.cloud.results if "response" in r][-1] == {"status": "Accepted"}
    assert len([r for r in world.cloud.results if r["commandId"] == "c2"]) == 1


@pytest.mark.promise("S11")
def test_two_cars_share_the_circuit_at_every_instant(world: World) -> None:
    Observer(world)
    charging(world, 1, ANN, 120)
    charging(world, 2, BOB, 120)
    offers = [bay.car.obeyed_ma for bay in world.controller.bays if bay.car]
    assert offers == [16_000, 16_000]
    world.tap(ANN).run(30)
    assert world.controller.bays[1].car
    assert world.controller.bays[1].car.obeyed_ma == 32_000


def test_the_clock_may_start_in_1970_and_the_sessions_are_dated_right_later() -> None:
    with World(5, CALM, rtc=False).closing() as world:
        world.net.cut()
        world.allow(ANN).power_on().run(60)
        world.net.mend()
        world.run(120)
        world.net.cut()
        world.cut_power().run(30).power_on().run(30)
        charging(world, seconds=60)
        started = [r for r in records_of(world) if r.payload.get("eventType") == "Started"]
        assert started == [], "still owed"
        world.net.mend()
        world.run_until(lambda: len(world.cloud.sessions) == 1, 900).run(5)
        started = [r for r in records_of(world) if r.payload.get("eventType") == "Started"]
        assert started[0].wall_ms is None
        assert started[0].clock_source == 0


def records_of(world: World) -> list:  # type: ignore[type-arg]
    return world.cloud.log


def test_a_day_has_every_kind_of_message_for_the_referee(world: World) -> None:
    """tests/referee.py judges each of them, here as in every other world."""
    charging(world, seconds=1000)
    world.cut_power().run(30).power_on().run(60)
    world.tap(ANN).run(20)
    world.unplug(1)
    world.command("GetBaseReport", requestId=1, reportBase="FullInventory")
    world.command("TriggerMessage", requestedMessage="MeterValues")
    world.command("TriggerMessage", requestedMessage="Heartbeat")
    world.plug(2, Car(leak_after_ms=5_000)).run(2).tap("04DEAD99").run(2).tap(BOB).run(3000)
    seen = {record.action for record in world.cloud.log} | {request.action for request in world.cloud.asked}
    assert seen >= {
        "TransactionEvent", "StatusNotification", "NotifyEvent", "SecurityEventNotification", "MeterValues",
        "NotifyReport", "CommandResult", "BootNotification", "Heartbeat", "Authorize",
    }  # fmt: skip


def test_the_referee_refuses_what_the_schemas_refuse() -> None:
    wrong: dict[str, dict[str, object]] = {
        "Heartbeat": {"x": 1}, "StatusNotification": {"connectorStatus": "Sleeping"}, "ResetResponse": {},
        "CommandResult": {"commandId": "c1", "status": "Refused", "errorCode": "NotSupported"},
    }  # fmt: skip
    for message, payload in wrong.items():
        with pytest.raises((AssertionError, ValidationError)):
            referee.judge(message, payload)


# -- random lives --------------------------------------------------------------------------------------------------


def evening(seed: int, hours: float) -> World:
    """Drivers come and go while everything fails that can. Returns the world when all has been mended."""
    rng = random.Random(seed)
    delay_s = rng.choice([0.0, 20.0])
    settings = Settings(station_id=STATION_ID, restart_delay_max_s=delay_s, tx_updated_interval_s=SAMPLE_S)
    world = World(seed, settings)
    observer = Observer(world)
    world.allow(ANN, BOB, CARA).power_on().run(30)
    until = world.now + hours * 3600
    tapped: list[tuple[int, str]] = []
    while world.now < until:
        evse_id = rng.choice([1, 2])
        bay = world.controller.bays[evse_id - 1]
        match rng.choice("car car car tap tap net power agent line controller disk clock wait".split()):
            case "car" if bay.car is None:
                world.plug(evse_id, Car(need_wh=rng.choice([500, 5000, 50_000]), stubborn=rng.random() < 0.1))
                tapped.append((evse_id, rng.choice([ANN, BOB, CARA])))
                world.run(rng.uniform(0, 5)).choose(evse_id).tap(tapped[-1][1])
            case "car":
                world.unplug(evse_id)
            case "tap":
                tapped.append((evse_id, rng.choice([ANN, BOB, CARA, "04DEAD99", "08112233", "rubbish"])))
                world.choose(evse_id).tap(tapped[-1][1])
            case "net":
                {0: world.net.cut, 1: world.net.mend, 2: world.net.mend}[rng.randrange(3)]()
                world.net.is_mute = rng.random() < 0.3
                world.net.loss, world.net.doubling = rng.choice([0.0, 0.1]), rng.choice([0.0, 0.5])
            case "power":
                if world.disk.refuses:  # what a full disk refused is in memory only, and a cut takes it
                    world.disk.refuses, world.disk.latency_s = "", 0.004
                    world.run(30)
                world.cut_power().run(rng.choice([0.5, 20, 400, 900])).power_on()
            case "agent" if world.shell is not None and not world.disk.refuses:
                world.kill_agent(rng.choice([0.5, 3, 90]))
            case "line" if world.shell is not None:
                world.cut_line().run(rng.choice([1, 10, 80])).mend_line()
            case "controller" if world.shell is not None:
                world.reset_controller()
            case "clock":
                source = rng.choice([ClockSource.RTC, ClockSource.MODEM, ClockSource.NTP])
                world.tell_clock(rng.choice([-1e9, -3600.0, -2.0, 0.0, 2.0, 3600.0]), source)
            case "disk":
                world.disk.refuses = rng.choice(["", "", "", FULL, FSYNC_FAILS])
                world.disk.latency_s = rng.choice([0.001, 0.05, 3.0])
        world.run(rng.choice([0.1, 3, 30, 300]))
        observer.check()
    mended(world)
    for evse_id in (1, 2):  # each session belongs to a tap at this port, and no two to the same
        at_this_port = iter([token for port, token in tapped if port == evse_id])
        served = drivers(world, evse_id)
        assert all(token in at_this_port for token in served), f"seed {seed}: port {evse_id} served {served}"
    return world


def drivers(world: World, evse_id: int) -> list[str]:
    """Whose sessions the cloud has seen begin at this port, oldest first."""
    money = [codec.decode_record(world.cloud.records[key]).payload for key in sorted(world.cloud.records) if not key[1]]
    started = [p for p in money if p["eventType"] == "Started" and p["evse"]["id"] == evse_id]
    return [p["idToken"]["idToken"] for p in started]


def mended(world: World) -> World:
    """Everything works again, everybody goes home."""
    world.net.mend()
    world.net.loss = world.net.doubling = 0.0
    world.disk.refuses, world.disk.latency_s = "", 0.004
    world.run(120)
    if world.shell is None:
        world.run(120)
    for evse_id in (1, 2):
        if world.controller.bays[evse_id - 1].car:
            world.unplug(evse_id)
    return world.run(1200)


def judge(world: World) -> None:
    """Every session whole and ended once; every Wh that flowed billed at most once, and lost only to power cuts."""
    seed = f"seed {world.seed}"
    assert world.cloud.violations == [], seed
    for session in world.cloud.sessions.values():
        assert session.is_whole, f"{seed}: {session}"
        assert session.energy_wh >= 0, seed
    billed = sum(session.energy_wh for session in world.cloud.sessions.values())
    flowed = sum(world.register_wh(evse_id) for evse_id in (1, 2))
    rounding = len(world.cloud.sessions)
    disturbed = min(len(world.cloud.sessions), 2 * (world.starts - 1))  # each restart may cost each port one sample
    assert billed <= flowed + rounding, f"{seed}: {billed} Wh billed, {flowed} Wh flowed"
    lost_wh = flowed - billed
    assert lost_wh <= disturbed * SAMPLE_WH + rounding, f"{seed}: {lost_wh} Wh lost to {disturbed} restarts"
    assert world.holds("online", ()), seed
    assert world.cloud.status == {1: "Available", 2: "Available"}, f"{seed}: {world.cloud.status}"


@pytest.mark.promise("S1", "S2", "S3", "S9", "S10", "S11")
@pytest.mark.parametrize("seed", range(int(os.environ.get("STATION_SEEDS", "12"))))
def test_an_evening_in_which_everything_fails_ends_with_a_true_ledger(seed: int) -> None:
    world = evening(seed, hours=2.0)
    with world.closing():
        judge(world)


@pytest.mark.long
@pytest.mark.promise("S1", "S2", "S3", "S9", "S10", "S11")
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_days_in_which_everything_fails_end_with_a_true_ledger(seed: int) -> None:
    world = evening(seed, hours=24.0)
    with world.closing():
        judge(world)


def test_the_same_seed_is_the_same_evening() -> None:
    first, second = evening(4, hours=1.0), evening(4, hours=1.0)
    with first.closing(), second.closing():
        assert [r.payload for r in first.cloud.log] == [r.payload for r in second.cloud.log]




@pytest.mark.promise("S2")
def test_samples_of_a_quiet_hour_wait_for_company_and_arrive_whole(world: World) -> None:
    sent: list[str] = []
    publish = world.net.publish

    def seen(connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        sent.append(topic.rsplit("/", 1)[1])
        publish(connection, packet_id, topic, payload, qos)

    world.net.publish = seen  # type: ignore[method-assign]  # a tap on the wire
    charging(world, seconds=3600).tap(ANN).run(20)
    world.unplug(1)
    world.run(60)
    assert sent.count("3") <= 8, "60 samples in a few messages"
    assert world.is_equal(), "and none of them is missing when the session is over"


# -- what the network has taught --------------------------------------------------------------------------------------


def test_the_learned_keepalive_is_written_rarely_and_only_with_what_is_written_anyway(world: World) -> None:
    def saved() -> list[float]:
        return [item.value for batch in committed for item in batch if isinstance(item, Save) and item.key == KEEPALIVE]

    assert world.shell
    committed: list[Sequence[Durable]] = []
    store, commit = world.shell._store, world.shell._store.commit

    def seen(batch_id: int, durable: Sequence[Durable]) -> None:
        committed.append(durable)
        commit(batch_id, durable)

    store.commit = seen  # type: ignore[method-assign]
    world.run(3_600.0)
    assert committed and not saved(), "nothing was learned"
    for hour in range(24):
        world.net.learned_keepalive_s = 240.0 + hour
        world.run(3_600.0)
    assert 3 <= len(saved()) <= 5 and saved()[0] == 240.0 + 1
    assert not [batch for batch in committed if len(batch) == 1 and getattr(batch[0], "key", "") == KEEPALIVE]
    assert learned_s(saved()[-1]) == saved()[-1]


@pytest.mark.parametrize("fact", [None, "x", True, [], {}, 10**30, float("nan"), float("inf")])
def test_a_keepalive_that_is_none_is_learned_anew(fact: object) -> None:
    assert learned_s(fact) == START_S
