"""Every power-on tests every part, says what to do about the ones that fail, and keeps no other port from work (I9)."""

import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from agent.events import (
    ControllerFound,
    ControllerLost,
    PartTold,
    PortReported,
    Report,
    SelfTest,
    StoreFailed,
    of_driver,
)
from agent.faults import FAULTS, Fault
from agent.selftest import PATIENCE_S, PORT_PARTS, SOCKET_PARTS, PartResult, Result, results
from agent.settings import Settings
from agent.ui.view import screen
from tests.play import ANN, Play
from tests.test_core import random_event

NEW = Report(self_test=SelfTest.RUNNING)


def started(settings: Settings | None = None, ports: int = 2) -> Play:
    """Switched on; the controller has spoken and tests its ports."""
    play = Play(settings, ports=ports, plug=False).on(ControllerFound(7, 1.0, 32_000))
    for evse_id in range(1, ports + 1):
        play.on(PortReported(evse_id, NEW))
    return play


def told(play: Play) -> list[list[dict[str, Any]]]:
    """The self-tests in the health report: of each its events."""
    events = [payload["eventData"] for payload in play.payloads("NotifyEvent")]
    return [list(parts) for parts in events if parts[0]["variable"] == {"name": "SelfTest"}]


def failures(play: Play) -> list[PartResult]:
    return [part for part in results(play.station, play.now) if part.result is Result.FAILED]


def test_a_start_without_fault_is_told_once_with_every_part() -> None:
    play = started()
    assert told(play) == []
    play.see(1, self_test=SelfTest.PASSED).see(2, self_test=SelfTest.PASSED)
    play.plug(1).tap(ANN).charge(1).unplug(1).after(3_600)
    (events,) = told(play)
    assert {event["actualValue"] for event in events} == {"passed"}
    assert len(events) == 2 * len(PORT_PARTS) + 1 and "techCode" not in events[0]


def test_a_port_whose_protection_fails_says_so_and_the_other_one_charges() -> None:
    play = started()
    play.see(1, self_test=SelfTest.FAILED, faults=frozenset({Fault.GROUND_FAULT_SELF_TEST}))
    play.see(2, self_test=SelfTest.PASSED)
    (events,) = told(play)
    (failed,) = (event for event in events if event["actualValue"] == "failed")
    assert failed["component"] == {"name": "GroundFaultDetector", "evse": {"id": 1}}
    assert failed["techCode"] == "CX002" and failed["techInfo"].endswith(FAULTS[Fault.GROUND_FAULT_SELF_TEST].fix)
    assert play.plug(2).tap(ANN).wish[1].offer_ma == 32_000 and play.wish[0].offer_ma == 0


def test_who_says_nothing_in_time_has_failed() -> None:
    play = Play(plug=False).after(PATIENCE_S - 1)
    assert told(play) == [] and failures(play) == []
    play.after(2)
    assert [(part.part, part.evse_id) for part in failures(play)] == [("Controller", 1), ("Controller", 2)]
    assert len(told(play)) == 1
    stuck = started().after(PATIENCE_S + 1)
    assert [part.part for part in failures(stuck)] == ["GroundFaultDetector", "GroundFaultDetector"]


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_of_a_port_is_some_parts_failure_with_its_fix(fault: Fault) -> None:
    play = started(Settings(socketed=True))
    event = ControllerLost("gone") if fault is Fault.CONTROLLER_LOST else None
    play.on(event or PortReported(1, replace(NEW, self_test=SelfTest.PASSED, faults=frozenset({fault}))))
    found = [part for part in failures(play) if part.evse_id == 1]
    assert [part.fix for part in found] == [FAULTS[fault].fix]
    assert fault in (PORT_PARTS | SOCKET_PARTS)[found[0].part]


def test_a_driver_of_this_machine_tells_about_its_part_before_and_after() -> None:
    reader = PartTold("TokenReader", "no reader at /dev/ttyS1", "check its cable", "reader")
    play = started().on(reader)
    play.see(1, self_test=SelfTest.PASSED).see(2, self_test=SelfTest.PASSED)
    (events,) = told(play)
    assert events[-1]["component"] == {"name": "TokenReader"} and events[-1]["techInfo"].endswith("check its cable")
    play.on(PartTold("TokenReader")).on(PartTold("TokenReader"))
    back = play.payloads("NotifyEvent")[-1]["eventData"][0]
    assert back["component"] == {"name": "TokenReader"} and back["cleared"] is True
    play.on(reader).on(structs.replace(reader, problem="still none"))
    gone = play.payloads("NotifyEvent")[-1]["eventData"][0]
    assert gone["actualValue"] == "no reader at /dev/ttyS1", "the edge is told, not every word"
    assert len(told(play)) == 1
    assert screen(play.station, play.now).self_test[-1].text == "still none"


def test_a_drivers_sentence_is_what_is_wrong_and_what_to_do_and_both_reach_the_cloud_with_a_code() -> None:
    driver = of_driver("TokenReader", "/dev/ttyS1 is not there: check its cable and the board file", "reader")
    assert (driver.problem, driver.fix) == ("/dev/ttyS1 is not there.", "Check its cable and the board file.")
    assert of_driver("TokenReader", "", "reader") == PartTold("TokenReader")
    assert of_driver("Meter.1", "the meter is silent", "meter").fix == "Type station-agent doctor."
    play = started().on(driver)
    play.see(1, self_test=SelfTest.PASSED).see(2, self_test=SelfTest.PASSED)
    (events,) = told(play)
    assert (events[-1]["techCode"], events[-1]["actualValue"]) == ("reader", "failed")
    assert events[-1]["techInfo"] == "/dev/ttyS1 is not there. Check its cable and the board file."
    play.on(PartTold("TokenReader")).on(driver)
    later = play.payloads("NotifyEvent")[-1]["eventData"][0]
    assert (later["techCode"], later["actualValue"]) == ("reader", "/dev/ttyS1 is not there.")
    assert later["techInfo"] == "Check its cable and the board file."


def test_a_disk_that_refuses_is_a_part_that_failed() -> None:
    assert [part.part for part in failures(started().on(StoreFailed("full")))] == ["Storage"]


@pytest.mark.promise("S9")
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_part_has_one_result_and_the_report_comes_once_in_time(seed: int) -> None:
    rng = random.Random(seed)
    play = Play(Settings(socketed=seed % 2 == 0), ports=rng.randint(1, 4), plug=False)
    for _ in range(200):
        play.after(rng.choice([0.0, 0.1, 5.0])).on(random_event(rng, play.station))
        found = [(part.part, part.evse_id) for part in results(play.station, play.now)]
        assert len(found) == len(set(found))
    play.after(PATIENCE_S)
    assert len(told(play)) == 1


def test_a_fault_of_a_part_that_the_board_should_not_have_is_a_part_that_failed() -> None:
    """The board file says tethered, the controller drives a lock."""
    play = Play(Settings(socketed=False)).see(1, faults=frozenset({Fault.LOCK_FAILURE}))
    (failed,) = [part for part in results(play.station, play.now) if part.result is Result.FAILED]
    assert (failed.part, failed.evse_id) == ("ConnectorPlugRetentionLock", 1)
