"""The wizard end to end: the real shell, disk and uplink, the controller that stores the limit, the cloud."""

from collections.abc import Iterator

import pytest

from agent.clock import ClockSource
from agent.events import ControllerFound, FieldEntered, KeyPressed, PartTold
from agent.hal.controller import CIRCUIT
from agent.panel import Page
from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from agent.station import Station
from agent.ui.view import screen
from agent.wizard import readiness
from agent.wizard.facts import Step
from tests.test_hal_controller import OFF, ON, Line, new_link, of

NEW = Settings(
    station_id=STATION_ID, activated=False, circuit_limit_ma=40_000, restart_delay_max_s=0.0, time_zone="Europe/Berlin"
)  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    with World(settings=NEW).closing() as world:
        yield world.power_on().run(30)


def station(world: World) -> Station:
    assert world.shell
    return world.shell.station


def do(world: World, *events: FieldEntered | KeyPressed) -> None:
    for event in events:
        assert world.shell
        world.shell.happened(event, world.mono())
        world.run(2)


CONTINUE, CONFIRM = KeyPressed(4, "continue"), KeyPressed(4, "save")


def commission(world: World, breaker_a: int) -> None:
    do(world, FieldEntered("step", "circuit"), FieldEntered("breaker_a", str(breaker_a)), CONTINUE, CONFIRM)


@pytest.mark.promise("S11")
def test_the_confirmed_circuit_is_stored_in_the_controller_and_survives_every_power(world: World) -> None:
    commission(world, 20)
    assert world.controller.memory.circuit_limit_ma == 16_000 == station(world).settings.circuit_limit_ma
    assert readiness.circuit(station(world)).is_met
    world.cut_power().run(60)
    world.power_on().run(30)
    assert screen(station(world), world.mono()).page is Page.WIZARD and station(world).wizard.step is Step.CIRCUIT
    assert station(world).settings.circuit_limit_ma == 16_000 and readiness.circuit(station(world)).is_met
    commission(world, 50)
    assert world.controller.memory.circuit_limit_ma == 40_000, "raised, with every port free"


@pytest.mark.promise("S2")
def test_the_cloud_has_heard_when_it_has_acknowledged_and_not_before(world: World) -> None:
    world.net.is_up = False
    commission(world, 20)
    do(world, CONTINUE)
    world.run(300)
    assert station(world).wizard.told and not station(world).wizard.is_heard
    world.cut_power().run(5)
    world.power_on().run(300)
    assert not station(world).wizard.is_heard and station(world).wizard.step is Step.NETWORK
    world.net.is_up = True
    world.run_until(lambda: station(world).wizard.is_heard)
    told = [record for record in world.cloud.log if "Commissioning" in str(record.payload)]
    assert [str(record.payload["eventData"][0]["customData"]["circuitLimitMa"]) for record in told] == ["16000"]
    do(world, FieldEntered("pinpoint", "52.52001, 13.40495"), FieldEntered("step", "readiness"))
    assert station(world).wizard.told, "another pinpoint is told anew"
    world.run_until(lambda: station(world).wizard.is_heard)
    assert not world.cloud.violations


def test_the_sites_zone_is_loaded_at_birth_and_when_it_changes(world: World) -> None:
    assert str(station(world).zone) == "Europe/Berlin"
    do(world, FieldEntered("step", "clock"), FieldEntered("time_zone", "America/New_York"))
    assert str(station(world).zone) == "America/New_York"
    world.command("SetVariables", setVariableData=[{
        "component": {"name": "ClockCtrlr"}, "variable": {"name": "TimeZone"}, "attributeValue": "Asia/Tokyo",
    }]).run(10)  # fmt: skip
    assert str(station(world).zone) == "Asia/Tokyo"
    world.tell_clock(0.0, ClockSource.CLOUD).kill_agent().run(30)
    assert str(station(world).zone) == "Asia/Tokyo"


# -- the link ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S11")
def test_a_limit_is_lowered_and_raised_over_the_line_and_found_again() -> None:
    line = Line()
    line.run(2.0)
    for circuit_ma in (16_000, 24_000):
        line.to_controller(line.link.commission((circuit_ma, 6_000, 60)))
        found = of(ControllerFound, line.run(1.0))
        assert [event.circuit_limit_ma for event in found if isinstance(event, ControllerFound)] == [circuit_ma]
        assert line.sim.memory.circuit_limit_ma == circuit_ma


@pytest.mark.promise("S11")
def test_the_controller_refuses_more_while_a_port_is_in_use_and_it_is_told_until_it_fits() -> None:
    line = Line(link=new_link(16_000))
    line.charge()
    line.to_controller(line.link.commission((24_000, 6_000, 60)))
    told = of(PartTold, line.run(1.0))
    assert [(event.part, event.code) for event in told if isinstance(event, PartTold)] == [(CIRCUIT, "limit")]
    assert line.sim.memory.circuit_limit_ma == 16_000
    line.wish(OFF, OFF)
    line.run(10.0)
    line.to_controller(line.link.commission((24_000, 6_000, 60)))
    told = of(PartTold, line.run(1.0))
    assert line.sim.memory.circuit_limit_ma == 24_000
    assert [(event.part, event.problem) for event in told if isinstance(event, PartTold)] == [(CIRCUIT, "")]
    line.wish(ON, ON)
    line.run(2.0)
    assert line.sim.controller and 6_000 <= sum(port.offer_ma for port in line.sim.controller.ports) <= 24_000


@pytest.mark.promise("S11")
def test_a_limit_commissioned_while_nobody_answers_is_compared_at_the_next_welcome() -> None:
    line = Line()
    line.run(2.0)
    line.is_cut = True
    line.run(5.0)
    assert line.link.commission((16_000, 6_000, 60)) == b""
    line.is_cut = False
    line.run(2.0)
    assert line.sim.memory.circuit_limit_ma == 16_000


def test_country_town_and_zone_of_the_pinpoint_come_from_the_stations_own_files(world: World) -> None:
    do(world, FieldEntered("step", "pinpoint"), FieldEntered("pinpoint", "-52.52001, 13.40495"))
    assert any("sea" in doubt.text for doubt in station(world).wizard.doubts)
    do(world, FieldEntered("pinpoint", "52.52001, 13.40495"))
    place = station(world).wizard.place
    assert place and (place.country, place.zone) == ("Germany", "Europe/Berlin") and not station(world).wizard.doubts
