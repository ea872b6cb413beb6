"""A whole station over a simulated modem, in simulated time: what the modem does to the radio, and what people hear."""

from typing import Any

import pytest

from agent.events import Link
from agent.health import facts
from agent.modem.keeper import Wishes
from agent.modem.modem import State
from agent.modem.recovery import Action
from agent.sim.car import Car
from agent.sim.modem.air import Card, Network
from agent.sim.modem.personalities import EG25, SIM5320
from agent.sim.modem.scenarios import SCENARIOS
from agent.sim.world import World

ANN = "04A1B2C3D4E5F6"
OTHER = Card("8949020000076543215", "262017654321098")
UMTS = Network(acts=(2,))


def online(world: World, timeout_s: float = 300.0) -> World:
    return world.run_until(lambda: bool(world.shell and world.shell.station.link is Link.UP), timeout_s)


def station(seed: int = 0, **modem: Any) -> World:
    """Its power is on, and nothing has happened yet."""
    return World(seed, modem=modem).power_on()


def told(world: World, variable: str = "") -> list[str]:
    """What NotifyEvents of the modem have said, in their order."""
    events = [each for r in world.cloud.log if r.action == "NotifyEvent" for each in r.payload["eventData"]]
    return [
        f"{each['techCode']}{' cleared' if each.get('cleared') else ''}" for each in events
        if each["component"]["name"] == "Modem" and variable in ("", each["variable"]["name"])
    ]  # fmt: skip


def health(world: World) -> dict[str, Any]:
    assert world.shell
    return facts(world.shell.station, world.mono())


def boot(world: World) -> dict[str, Any]:
    """What the station says of itself when it says hello the next time."""
    assert world.shell
    said = world.shell.uplink.boot
    assert said is not None
    return said


@pytest.mark.promise("R1")
def test_a_station_comes_online_over_its_modem_and_says_which_one_it_is() -> None:
    with online(station()).closing() as world:
        assert world.shell
        machine = world.shell.station.machine
        assert (machine.modem_type, machine.imei) == ("LTE", EG25.imei) and machine.iccid.startswith("8949")
        assert boot(world)["customData"]["modemType"] == "LTE" and boot(world)["chargingStation"]["modem"]["iccid"]
        world.run(60)
        assert (health(world)["r"], health(world)["s"]) == ("LTE", -97)
        assert not told(world), "there is nothing that anybody should do"


def flapped(for_s: float) -> None:
    """Coverage comes and goes every 20 s, while Ann charges again and again."""
    with online(station(3, wishes=Wishes(stable_s=800.0))).closing() as world:
        world.allow(ANN).run(60)
        assert world.cell
        modem = world.cell.modem
        modem.flap(Network(), 20.0, world.now, world.now + for_s)
        end = world.now + for_s
        while world.now < end:
            world.plug(1, Car()).run(20)
            world.tap(ANN).run(300)
            assert world.is_closed(1), "drivers do not need the network"
            world.tap(ANN).run(30)
            world.leave(1).run(min(1_000.0, end - world.now) if world.now < end else 0.0)
        modem.cover(Network(), world.now)
        world.run_until(world.is_equal, 2 * 3_600)
        resets = [action for _, action in world.cell.actions]
        assert modem.starts == 1 and not resets, "a reset makes no coverage"
        assert world.cell.bearer and world.cell.bearer.dials <= 12 * (1 + for_s / 3_600)


@pytest.mark.promise("S2")
def test_coverage_that_comes_and_goes_loses_no_record_and_resets_nothing() -> None:
    flapped(1_200.0)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.promise("S2")
def test_a_day_of_coverage_that_comes_and_goes_loses_no_record_either() -> None:
    flapped(86_400.0)


def test_another_sim_put_in_while_all_runs_is_reported_and_used() -> None:
    with online(station()).closing() as world:
        assert world.cell and world.shell
        world.cell.modem.insert(OTHER, world.now)
        world.run(400)
        online(world)
        world.run(60)
        assert world.shell.station.machine.iccid == OTHER.iccid and world.shell.station.machine.imsi == OTHER.imsi
        assert told(world, "ICCID") == ["modem-sim-swapped"]
        assert boot(world)["chargingStation"]["modem"] == {"iccid": OTHER.iccid, "imsi": OTHER.imsi}


def test_another_sim_put_in_while_the_power_was_off_is_reported_and_used() -> None:
    with online(station()).closing() as world:
        assert world.cell
        world.cut_power().run(120)
        world.cell.modem.card = OTHER
        world.power_on().run(20)
        assert boot(world)["customData"]["modemType"] == "LTE", "known from before, until the modem speaks"
        online(world).run(60)
        assert told(world, "ICCID") == ["modem-sim-swapped"]


def test_a_card_that_is_pulled_is_missed_and_one_that_is_put_in_is_welcome() -> None:
    with online(station()).closing() as world:
        assert world.cell and world.cell.modem.card and world.shell
        card = world.cell.modem.card
        world.cell.modem.pull(world.now)
        world.run(90)
        assert world.shell.station.modem.state == State.SIM_MISSING
        world.cell.modem.insert(card, world.now)
        online(world, 1_000.0).run(60)
        assert told(world, "Problem") == ["modem-sim-missing", "modem-sim-missing cleared"]


@pytest.mark.parametrize(("can_be_upgraded", "code"), [(True, "modem-upgrade"), (False, "modem-replace")])
def test_a_modem_whose_networks_end_says_so_until_one_for_lte_takes_its_place(can_be_upgraded: bool, code: str) -> None:
    wishes = Wishes(upgradable=can_be_upgraded)
    with online(station(personality=SIM5320, network=Network(acts=(2, 7)), wishes=wishes)).closing() as world:
        assert world.cell and world.shell
        world.run(60)
        assert world.shell.station.machine.modem_type == "GSM" and told(world) == [code]
        world.cell.replace_modem(EG25)
        world.run(120)
        online(world).run(60)
        assert world.shell.station.machine.modem_type == "LTE"
        assert sorted(told(world)[1:]) == sorted([f"{code} cleared", "modem-modem-swapped"])


@pytest.mark.long
def test_a_lte_modem_that_has_been_on_3g_for_a_day_is_told_of() -> None:
    with online(station(network=UMTS, wishes=Wishes(stable_s=3_600.0))).closing() as world:
        world.run(86_000)
        assert not told(world)
        world.run(1_000)
        assert told(world) == ["modem-lte-on-3g"]


@pytest.mark.promise("R1")
def test_a_broker_that_is_gone_is_no_reason_to_touch_the_modem() -> None:
    with online(station(wishes=Wishes(stable_s=3_600.0))).closing() as world:
        assert world.cell and world.cell.bearer and world.shell
        world.net.is_refusing = True
        world.net.cut()
        world.net.is_up = True
        world.run(8 * 3_600)
        assert world.shell.station.link is Link.DOWN
        assert world.cell.modem.starts == 1 and not world.cell.actions and world.cell.bearer.dials == 1
        assert "BROKER" in world.shell.station.modem.warnings
        world.net.is_refusing = False
        online(world, 1_000.0)


@pytest.mark.long
@pytest.mark.promise("R1")
def test_a_station_that_is_dark_reboots_but_never_while_somebody_charges() -> None:
    reboots: list[float] = []
    dark = station(reboot=lambda: reboots.append(0.0), wishes=Wishes(stable_s=3_600.0))
    with online(dark).closing() as world:
        assert world.cell and world.shell
        world.allow(ANN).run(30)
        world.plug(1, Car()).run(20)
        world.tap(ANN).run(60)
        world.cell.modem.faults.dies_in_call = True
        world.run(10 * 3_600)
        assert world.shell.station.ports[0].transaction and not reboots
        assert Action.POWER in {action for _, action in world.cell.actions}
        world.leave(1).run(4 * 3_600)
        assert len(reboots) == 1


def test_what_the_recovery_does_is_told() -> None:
    with online(station(wishes=Wishes(stable_s=800.0))).closing() as world:
        assert world.cell
        SCENARIOS["dead-call"](world.cell.modem, world.now)
        world.run(1_200)
        world.cell.modem.faults.dies_in_call = False
        online(world, 3_600.0).run(60)
        assert any(each.startswith("modem-recovery-") for each in told(world, "Recovery"))


def test_an_agent_that_starts_anew_knows_its_modem_and_is_online_again() -> None:
    with online(station()).closing() as world:
        world.kill_agent().run(30)
        online(world).run(60)
        assert world.shell and world.shell.station.machine.imei == EG25.imei
        assert not told(world, "ICCID") and not told(world, "IMEI"), "the same modem, the same SIM"
