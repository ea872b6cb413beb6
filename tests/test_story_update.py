"""Whole stations being updated from afar, in simulated time: the radio, the power and the drivers do what they do."""

from typing import Any

import pytest

from agent.settings import Settings
from agent.sim.updater import SimBuild
from agent.sim.world import STATION_ID, World
from agent.ui.situation import Situation, situation
from tests.play import ANN, BOB

GOOD, BAD = "https://builds.example/2.0.0", "https://builds.example/2.0.1"
BUILDS = {
    GOOD: SimBuild("2.0.0"), BAD: SimBuild("2.0.1", is_well=False),
    "https://builds.example/dev": SimBuild("2.0.2", fault="role"),
    "https://builds.example/torn": SimBuild("2.0.3", fault="verify"),
}  # fmt: skip
DAY_S = 86_400.0
WHOLE = ["Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting", "Installed"]


def world(seed: int = 3, **how: Any) -> World:
    settings = Settings(station_id=STATION_ID, restart_delay_max_s=0.0)
    return World(seed, settings, builds=dict(BUILDS), **how).allow(ANN, BOB).power_on().run(60)


def told(w: World, request_id: int = 1) -> list[str]:
    return [status for request, status in w.cloud.firmware if request == request_id]


def test_a_station_is_updated_and_says_so_and_charges_before_and_after() -> None:
    with world().closing() as w:
        w.order_update(GOOD).run(600)
        assert told(w) == WHOLE
        assert w.updater and w.updater.running == "2.0.0" and w.starts == 2
        boots = [q.payload for q in w.cloud.asked if q.action == "BootNotification"]
        assert boots[-1]["reason"] == "FirmwareUpdate"
        assert boots[-1]["chargingStation"]["firmwareVersion"] == "2.0.0"
        w.plug(1).run(3).tap(ANN).run(120)
        assert w.is_closed(1)
        w.tap(ANN).run(20).unplug(1)
        w.run(60)
        assert w.is_equal()


def test_an_order_during_a_session_waits_and_the_driver_notices_nothing() -> None:
    with world().closing() as w:
        w.plug(1).run(3).tap(ANN).run(60)
        w.order_update(GOOD).run(3_600)
        assert told(w)[-1] == "InstallScheduled" and w.starts == 1 and w.is_closed(1)
        assert w.shell and situation(w.shell.station, w.shell.station.ports[1]) is Situation.UPDATING
        assert w.cloud.status[2] == "Unavailable"
        w.plug(2).run(3).tap(BOB).run(2)
        assert w.said(2) == "updating" or w.said() == "updating"
        w.tap(ANN).run(600)
        assert told(w) == [*WHOLE[:3], "InstallScheduled", *WHOLE[3:]] and w.starts == 2
        w.unplug(1)
        w.choose(2).tap(BOB).run(60)
        assert w.is_closed(2), "the car that waited charges by the new build"
        w.tap(BOB).run(20).unplug(2)
        w.run(60)
        assert w.is_equal()


@pytest.mark.promise("S8")
@pytest.mark.parametrize("after_s", [5, 45, 120, 205, 214, 215, 216, 217, 219, 225, 240, 300])
def test_a_power_cut_anywhere_ends_with_the_old_build_or_the_new_and_the_cloud_hears_it(after_s: float) -> None:
    with world().closing() as w:
        w.order_update(GOOD).run(after_s)
        w.cut_power().run(30).power_on().run(1_200)
        assert w.updater and w.updater.running == "2.0.0"
        assert told(w) == WHOLE
        w.plug(1).run(3).tap(ANN).run(60)
        assert w.is_closed(1)


def test_what_was_downloaded_before_a_power_cut_is_not_fetched_again() -> None:
    with world().closing() as w:
        w.order_update(GOOD).run(150).cut_power().run(3_600).power_on().run(900)
        assert told(w) == WHOLE
        assert w.updater and w.updater.spent_b < 1.2 * BUILDS[GOOD].size_b


def test_a_build_that_is_not_well_comes_back_by_itself_with_its_reason_and_a_session_goes_on() -> None:
    with world().closing() as w:
        w.order_update(BAD).run(300)
        assert told(w)[-1] == "InstallRebooting" and w.updater and w.updater.running == "2.0.1"
        w.plug(1).run(3).tap(ANN).run(60)
        assert w.is_closed(1)
        w.run(900)
        assert told(w) == [*WHOLE[:-1], "InstallationFailed"] and w.updater.running == "1.0.0"
        last = [each.payload for each in w.cloud.log if each.action == "FirmwareStatusNotification"][-1]
        assert last["statusInfo"] == {"reasonCode": "RolledBack", "additionalInfo": "the controller is not heard"}
        assert w.is_closed(1), "the driver has noticed nothing"
        w.tap(ANN).run(30).unplug(1)
        w.run(60)
        assert w.is_equal() and len(w.cloud.sessions) == 1


@pytest.mark.parametrize(
    ("name", "last"), [("dev", "InvalidSignature"), ("torn", "InstallVerificationFailed"), ("gone", "DownloadFailed")]
)
def test_a_build_that_must_not_be_is_refused_and_nothing_restarts(name: str, last: str) -> None:
    with world().closing() as w:
        w.order_update(f"https://builds.example/{name}").run(900)
        assert told(w)[-1] == last and w.starts == 1
        w.order_update(GOOD, 2).run(600)
        assert told(w, 2) == WHOLE, "and the next order is none the worse for it"


def test_a_second_order_replaces_the_first() -> None:
    with world().closing() as w:
        w.order_update(BAD, 1).run(60).order_update(GOOD, 2).run(900)
        said = [r["response"]["status"] for r in w.cloud.results if "status" in r.get("response", {})]
        assert "AcceptedCanceled" in said
        assert told(w, 1) == ["Downloading"] and told(w, 2) == WHOLE
        assert w.updater and w.updater.running == "2.0.0"


def test_a_cloud_that_is_mute_for_days_hears_everything_in_order_when_it_is_back() -> None:
    with world().closing() as w:
        w.order_update(GOOD, after_s=600).run(60)
        w.net.is_refusing = True  # the broker is gone; the build's server is not
        w.cut_power().run(5).power_on()
        w.run(3 * DAY_S)
        assert told(w) in ([], ["DownloadScheduled"]) and w.updater and w.updater.running == "2.0.0"
        w.net.mend()
        w.run(900)
        assert told(w) == ["DownloadScheduled", *WHOLE]
        assert not w.cloud.violations


@pytest.mark.long  # in pieces: tests/test_updating.py has the window, tests/test_courier.py the line that breaks
def test_days_of_bad_radio_and_a_window_at_night_bring_the_build_in_the_end() -> None:
    with world().closing() as w:
        w.updater.speed_bs = 100  # type: ignore[union-attr]
        w.order_update(GOOD, window=["01:00", "05:00"])
        for _ in range(3):
            w.run(20_000)
            w.net.cut()
            w.run(20_000)
            w.net.mend()
            w.run(5_000)
        w.run(3 * DAY_S)
        said = told(w)
        assert said[-1] == "Installed" and said.count("DownloadPaused") >= 2
        assert said[0] == "DownloadScheduled" and not w.cloud.violations


def test_the_updater_alone_dies_and_nothing_is_lost() -> None:
    with world().closing() as w:
        assert w.updater
        w.order_update(GOOD).run(100)
        w.updater.dies()
        w.run(10)
        w.updater.agent_started(w._post(), w._for_this_run())
        w.run(900)
        assert told(w) == WHOLE
