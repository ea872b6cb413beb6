"""The wizard end to end: the real shell, disk and uplink, the controller that stores the limit, the cloud."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.clock import ClockSource
from agent.effects import Commission
from agent.events import ControllerFound, FieldEntered, KeyPressed, PartTold, PortReported, Report
from agent.hal.controller import CIRCUIT
from agent.panel import Page
from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from agent.station import Station
from agent.ui.model import Prose
from agent.ui.view import screen
from agent.ui.words import ENGLISH
from agent.wizard import readiness
from agent.wizard.facts import Raise, Step, Wizard, saved
from board.controller import contract
from tests.play import Play
from tests.test_hal_controller import OFF, ON, Line, new_link, of, welcome

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


SITE = "52.520008, 13.404954"


def said(world: World) -> list[str]:
    return [ENGLISH(doubt.text, **doubt.facts) for doubt in station(world).wizard.doubts]


def test_a_point_far_from_its_sister_or_from_the_sites_address_is_warned_of(world: World) -> None:
    do(world, FieldEntered("step", "pinpoint"), FieldEntered("sister", SITE), FieldEntered("pinpoint.nudge", "n5"))
    assert not said(world)
    do(world, FieldEntered("pinpoint", "52.61, 13.404954"))
    assert said(world) == ["The station beside this one is 10 km away."]
    world.cut_power().run(5)
    world.power_on().run(30)
    assert said(world) == ["The station beside this one is 10 km away."], "also after a power cut"
    do(world, FieldEntered("sister", "13.404954, 52.520008"), FieldEntered("pinpoint", SITE))
    assert any("station beside this one is" in each for each in said(world))
    do(world, FieldEntered("sister", ""))
    assert not said(world), "there is none"
    world.command("SetVariables", setVariableData=[{
        "component": {"name": "ChargingStation"}, "variable": {"name": "SitePoint"}, "attributeValue": "52.7, 13.4",
    }]).run(10)  # fmt: skip
    assert said(world) == ["The address of this site is 20 km away."]
    do(world, FieldEntered("pinpoint", "52.7001, 13.4002"))
    assert not said(world)


def test_numbers_the_wrong_way_round_are_told_beside_the_sister_on_the_phone_too(world: World) -> None:
    do(world, FieldEntered("step", "pinpoint"), FieldEntered("sister", SITE), FieldEntered("pinpoint", "13.405, 52.52"))
    meant = "Are latitude and longitude the wrong way round? Then it is 52.520000, 13.405000."
    shown = screen(replace(station(world), panel=replace(station(world).panel, page=Page.WIZARD)), world.mono())
    assert meant in said(world) and shown.content
    assert meant in [block.text for block in shown.content.blocks if isinstance(block, Prose)]


# -- a raise that the controller hears of later -----------------------------------------------------------------------


class Told:
    """What the controller is told, and whether the offers ever exceed what it holds."""

    def __init__(self, world: World) -> None:
        self.limits: list[int] = []
        commission = world.line.commission

        def heard(limits: tuple[int, int, int], now: float) -> None:
            if not world.line.is_cut and world.controller.controller:
                self.limits.append(limits[0])
            commission(limits, now)

        world.line.commission = heard  # type: ignore[method-assign]


def held(world: World) -> int:
    return world.controller.memory.circuit_limit_ma


def raise_without_controller(world: World) -> Told:
    """16 A are commissioned; 40 A are confirmed while the line is cut."""
    commission(world, 20)
    told = Told(world)
    world.cut_line().run(10)
    commission(world, 50)
    assert held(world) == 16_000 and not told.limits and station(world).settings.circuit_limit_ma == 40_000
    return told


@pytest.mark.promise("S11")
def test_a_raise_confirmed_while_the_controller_is_away_reaches_it_once_when_it_is_back(world: World) -> None:
    told = raise_without_controller(world)
    item = readiness.circuit(station(world))
    assert "40 A are confirmed" in ENGLISH(item.evidence.text, **item.evidence.facts) and not item.is_met
    world.mend_line().run(30)
    assert held(world) == 40_000 and told.limits == [40_000] and readiness.circuit(station(world)).is_met
    world.cut_line().run(10).mend_line().run(30)
    world.reset_controller().run(30)
    world.kill_agent().run(60)
    assert told.limits == [40_000], "exactly once"


@pytest.mark.promise("S11")
@pytest.mark.parametrize("ends", ["power", "agent"])
def test_it_reaches_it_also_after_the_station_was_started_anew_in_between(world: World, ends: str) -> None:
    told = raise_without_controller(world)
    if ends == "power":
        world.cut_power().run(20)
        world.power_on().run(20)
    else:
        world.kill_agent().run(20)
    assert held(world) == 16_000 and not told.limits, "the line is still cut"
    world.mend_line().run(30)
    assert held(world) == 40_000 and told.limits == [40_000] and readiness.circuit(station(world)).is_met


@pytest.mark.promise("S11")
def test_it_waits_for_the_last_car_and_no_offer_is_above_what_the_controller_holds(world: World) -> None:
    told = raise_without_controller(world)
    world.plug(1, 5_000).plug(2, 5_000)
    world.mend_line()
    for _ in range(60):
        world.run(1)
        board = world.controller.controller
        assert board and sum(port.offer_ma for port in board.ports) <= held(world) == 16_000 and not told.limits
    world.leave(1).run(20)
    assert not told.limits
    world.leave(2).run(20)
    assert held(world) == 40_000 and told.limits == [40_000]


@pytest.mark.promise("S11")
def test_a_lower_limit_confirmed_later_takes_the_raise_back(world: World) -> None:
    told = raise_without_controller(world)
    commission(world, 16)
    world.mend_line().run(30)
    assert station(world).settings.circuit_limit_ma == 12_000 and 40_000 not in told.limits
    assert station(world).wizard.owed is None and held(world) <= 16_000


@pytest.mark.promise("S11")
@pytest.mark.parametrize("other_ma", [10_000, 24_000])
def test_a_controller_that_holds_another_limit_than_was_shown_is_not_told(world: World, other_ma: int) -> None:
    """Another one was built in, from another site: nobody has confirmed what its circuit is raised to."""
    told = raise_without_controller(world)
    world.controller.memory.circuit_limit_ma = other_ma
    world.mend_line().run(30)
    assert not told.limits and held(world) == other_ma and station(world).wizard.owed is None
    world.controller.memory.circuit_limit_ma = 16_000
    world.cut_line().run(10).mend_line().run(30)
    assert not told.limits, "nor later, by the old confirmation"
    commission(world, 50)
    assert held(world) == 40_000


@pytest.mark.promise("S11")
def test_a_limit_that_nobody_has_confirmed_never_reaches_it(world: World) -> None:
    commission(world, 20)
    told = Told(world)
    world.cut_line().run(10)
    do(world, FieldEntered("step", "circuit"), FieldEntered("breaker_a", "50"))
    world.mend_line().run(30)
    world.cut_power().run(20)
    world.power_on().run(30)
    assert not told.limits and held(world) == 16_000


def limits_told(line: Line) -> list[object]:
    return [message[1] for _, message in line.said if message[0] == contract.LIMIT]


@pytest.mark.promise("S11")
def test_a_limit_that_noise_has_eaten_is_told_again_until_it_is_answered() -> None:
    line = Line(link=new_link(16_000))
    line.run(2.0)
    before = len(limits_told(line))
    line.link.commission((24_000, 6_000, 60))  # its bytes are lost
    found = of(ControllerFound, line.run(3.0))
    assert line.sim.memory.circuit_limit_ma == 24_000 and len(found) == 1
    line.run(30.0)
    assert limits_told(line)[before:] == [24_000], "told again once, and then answered"


@pytest.mark.promise("S11")
def test_a_refused_limit_is_not_told_again_by_itself() -> None:
    line = Line(link=new_link(16_000))
    line.charge()
    before = len(limits_told(line))
    line.to_controller(line.link.commission((24_000, 6_000, 60)))
    line.run(30.0)
    assert limits_told(line)[before:] == [24_000] and line.sim.memory.circuit_limit_ma == 16_000


@pytest.mark.promise("S11")
def test_a_controller_that_comes_in_place_of_the_one_that_was_told_is_judged_by_what_it_holds() -> None:
    line = Line(link=new_link(16_000))
    line.run(2.0)
    before = len(limits_told(line))
    line.link.commission((24_000, 6_000, 60))  # its bytes are lost
    line.link.received(welcome(boot_id=99, circuit_limit_ma=10_000), line.now)
    line.sim.memory.circuit_limit_ma = 10_000
    line.run(10.0)
    assert 24_000 not in limits_told(line)[before:] and line.sim.memory.circuit_limit_ma == 10_000


@pytest.mark.promise("S11")
def test_a_raise_for_another_board_is_not_told() -> None:
    """Nobody has confirmed what this board carries."""
    wizard = saved(Wizard(settings={"circuit_limit_ma": 40_000}, breaker_ma=50_000, owed=Raise(16_000, 40_000)))
    for board_ma, told in ((40_000, [40_000]), (20_000, [])):
        board = Settings(circuit_limit_ma=board_ma, port_limit_ma=16_000)
        play = Play(board, facts={"wizard": wizard}, board=board, plug=False)
        play.on(ControllerFound(7, 1.0, 16_000))
        for evse_id in (1, 2):
            assert not play.commissioned, "not before every port has spoken"
            play.on(PortReported(evse_id, Report()))
        play.after(60)
        assert [each.circuit_limit_ma for each in play.commissioned] == told


@pytest.mark.promise("S11")
def test_a_raise_that_is_on_disk_waits_for_no_other_commit(world: World) -> None:
    commission(world, 20)
    told, shell = Told(world), world.shell
    assert shell
    world.run(30)
    shell._commission(Commission(24_000, 6_000, 60), world.mono())
    assert told.limits == [24_000], "at once"
