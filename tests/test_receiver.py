"""The pinpoint from a GNSS receiver: nothing before a real fix, the mean of many, and who is warned of what."""

from dataclasses import replace

import pytest
from msgspec import structs

from agent.events import FixLost, FixTold
from agent.hal.nmea import Nmea
from agent.sim.gnss import Receiver
from agent.ui.model import Map
from agent.wizard.coordinates import Point, distance_m
from agent.wizard.facts import Method, Step
from agent.wizard.receiver import FIXES_KEPT, FIXES_MIN, GAP_S
from tests.installing import MACHINE, Installer
from tests.play import WALL_S, Play

HERE = Point(52.520008, 13.404954)


def with_receiver() -> Installer:
    me = Installer()
    me.play.station = replace(me.play.station, machine=replace(MACHINE, has_gnss=True))
    return me.enter("step", Step.PINPOINT)


def heard(me: Installer, receiver: Receiver, seconds: int) -> Installer:
    """As the driver tells it."""
    line = Nmea()
    for _ in range(seconds):
        for epoch in line.received(receiver.second()):
            me.play.on(epoch or FixLost())
        me.play.after(1)
    return me


def test_nothing_is_taken_before_there_are_enough_real_fixes() -> None:
    me, receiver = with_receiver(), Receiver(HERE, cold_s=30)
    assert "view of the sky" in me.rows()["Its fix"].value
    heard(me, receiver, 30).enter("gnss", "take")
    assert "no fix yet" in me.field("gnss").error and me.play.station.wizard.pinpoint is None
    heard(me, receiver, FIXES_MIN // 2).enter("gnss", "take")
    assert f"wait until there are {FIXES_MIN}" in me.field("gnss").error
    assert me.play.station.wizard.pinpoint is None


def test_four_keys_take_the_mean_with_method_accuracy_time_and_name() -> None:
    me = heard(with_receiver(), Receiver(HERE, cold_s=10, seed=4), 120)
    me.enter("installer", "Ann").enter("company", "Amp")
    assert me.rows()[f"Mean of {FIXES_KEPT} fixes"].mark == "passed"
    me.choose("gnss")
    me.press("Change").press("+").press("Save")
    point = me.play.station.wizard.pinpoint
    assert point and point.method is Method.GNSS and point.who == "Ann, Amp" and point.at_s and point.at_s > WALL_S
    assert distance_m(HERE, Point(point.latitude, point.longitude)) < 10
    assert point.accuracy_m and 2 <= point.accuracy_m < 10 and me.rows()["Found"].value == "from a receiver"
    assert me.field("gnss").shown == "take its point" and me.cut().play.station.wizard.pinpoint == point


def test_fixes_that_leap_do_not_pull_the_mean() -> None:
    me = heard(with_receiver(), Receiver(HERE, cold_s=0, seed=2, leaps=0.1), 90).enter("gnss", "take")
    point = me.play.station.wizard.pinpoint
    assert point and distance_m(HERE, Point(point.latitude, point.longitude)) < 10


def test_a_fix_that_is_lost_leaves_its_mean_for_a_while() -> None:
    me, receiver = with_receiver(), Receiver(HERE, cold_s=0)
    heard(me, receiver, 30)
    receiver.sees_sky = False
    heard(me, receiver, 30)
    assert any(label.endswith("none at present") for label in me.rows())
    me.play.after(GAP_S)
    assert "Its fix" in me.rows()
    me.enter("gnss", "take")
    assert me.play.station.wizard.pinpoint is None, "it may have been carried elsewhere"


def test_taken_again_it_is_the_mean_of_newer_fixes() -> None:
    me, receiver = with_receiver(), Receiver(HERE, cold_s=0, seed=7)
    first = heard(me, receiver, 20).enter("gnss", "take").play.station.wizard.pinpoint
    second = heard(me, receiver, 200).enter("gnss", "take").play.station.wizard.pinpoint
    assert first and second and first != second and second.method is Method.GNSS
    assert me.enter("gnss", "-").play.station.wizard.pinpoint == second, "and is not given back"
    assert me.enter("gnss", "yes").field("gnss").error == "Choose one of the list."


def test_its_time_stands_in_where_the_station_knows_none() -> None:
    me = Installer().use(Play(Installer().play.station.files, wall_s=None, machine=replace(MACHINE, has_gnss=True)))
    heard(me.enter("step", "pinpoint"), Receiver(HERE, cold_s=0), 20)
    point = me.enter("gnss", "take").play.station.wizard.pinpoint
    assert point and point.at_s and point.at_s > WALL_S


def test_a_station_that_nobody_installs_keeps_no_fixes() -> None:
    me = with_receiver()
    me.play.station = replace(me.play.station, settings=structs.replace(me.play.station.settings, activated=True))
    assert not me.play.on(FixTold(52.5, 13.4, 3.0)).station.wizard.fixes
    me.service()
    assert me.play.on(FixTold(52.5, 13.4, 3.0)).station.wizard.fixes


def test_a_board_without_a_receiver_shows_nothing_of_one() -> None:
    me = Installer().enter("step", Step.PINPOINT)
    names = [getattr(block, "name", "") for block in me.page.blocks]
    assert "gnss" not in names and me.enter("gnss", "take").play.station.wizard.pinpoint is None


@pytest.mark.parametrize("has_receiver", [True, False])
def test_the_map_comes_right_after_where_the_point_comes_from(has_receiver: bool) -> None:
    me = with_receiver() if has_receiver else Installer().enter("step", Step.PINPOINT)
    me.enter("pinpoint", "52.52001, 13.40495")
    kinds = [getattr(block, "name", type(block).__name__) for block in me.page.blocks]
    origins = ["gnss", "Rows"] if has_receiver else []
    assert kinds == [*origins, "pinpoint", "Map", "north_m", "east_m", "sister", "Rows"]
    assert isinstance(me.page.blocks[kinds.index("Map")], Map)
