"""Accepted, Pending, Rejected (OCPP B01 to B03): they say what the station may send, never who may charge."""

import pytest

from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from tests.play import ANN, BOB


def registered(status: str) -> World:
    """A station whose drivers are known from an earlier day, started anew with a cloud that says this."""
    world = World(4, Settings(station_id=STATION_ID, restart_delay_max_s=0.0))
    world.allow(ANN, BOB).power_on().run(60)
    world.cut_power()
    world.cloud.registration = status
    world.cloud.log.clear()
    return world.run(30).power_on().run(60)


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_drivers_charge_whatever_the_cloud_says_of_the_station(status: str) -> None:
    with registered(status).closing() as world:
        world.plug(1).run(2).tap(ANN).run(60)
        assert world.is_closed(1)
        world.tap(ANN).run(20)
        world.unplug(1)
        world.cloud.registration = "Accepted"
        world.run_until(world.is_equal, 900)


def test_a_pending_station_answers_commands_and_sends_the_reports_they_ask_for() -> None:
    with registered("Pending").closing() as world:
        world.command("GetBaseReport", requestId=1, reportBase="FullInventory").run(10)
        assert {"CommandResult", "NotifyReport"} <= {record.action for record in world.cloud.log}
        world.command("TriggerMessage", requestedMessage="BootNotification").run(10)
        assert len([q for q in world.cloud.asked if q.action == "BootNotification"]) >= 3


@pytest.mark.parametrize(("status", "allowed"), [("Pending", {"CommandResult", "NotifyReport"}), ("Rejected", set())])
def test_nothing_else_is_sent_before_the_cloud_accepts_and_all_of_it_after(status: str, allowed: set[str]) -> None:
    with registered(status).closing() as world:
        world.cloud.log.clear()  # what went out before the first answer
        world.cloud.asked.clear()
        world.plug(1).run(2).tap(ANN).run(60)
        world.command("GetBaseReport", requestId=1, reportBase="FullInventory").run(300)
        assert {record.action for record in world.cloud.log} == allowed
        assert {request.action for request in world.cloud.asked} <= {"BootNotification"}
        world.cloud.registration = "Accepted"
        world.tap(ANN).run(20)
        world.unplug(1)
        world.run_until(world.is_equal, 900)


def test_what_the_cloud_triggers_is_sent_while_it_is_pending() -> None:
    with registered("Pending").closing() as world:
        world.cloud.log.clear()
        world.command("TriggerMessage", requestedMessage="StatusNotification", evse={"id": 2, "connectorId": 1})
        world.run(10)
        told = [r.payload["evseId"] for r in world.cloud.log if r.action == "StatusNotification"]
        assert told == [2], "this one, and not all that wait before it"
        world.plug(1).run(30)
        assert [r.payload["evseId"] for r in world.cloud.log if r.action == "StatusNotification"] == [2]
