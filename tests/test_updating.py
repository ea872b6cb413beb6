"""An order of the cloud in the core: what may be done when, who may charge meanwhile, what the cloud hears of it."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import life, updating
from agent.clock import ClockSource, iso8601
from agent.events import ClockTold, ControllerLost, Machine, Progress, UpdaterLost, UpdaterTold, ZoneLoaded
from agent.policy.lifecycle import TABLE, State
from agent.policy.plan_token import Standing
from agent.policy.reasons import Reason
from agent.port import Bar, Level
from agent.settings import Settings
from agent.station import BootReason, FirmwareStatus, Station, Update
from agent.ui.situation import Situation, situation
from tests.play import ANN, BOB, WALL_S, Json, Play

P, S = Progress, FirmwareStatus
URL = "https://builds.example/station-2.build"
MACHINE = Machine(can_update=True)
DAY_S = 86_400.0
UPLINK = Path(__file__).parent.parent / "docs" / "uplink.md"


def play(settings: Settings | None = None, **how: Any) -> Play:
    return Play(settings, machine=MACHINE, **how).on(UpdaterTold())


def order(play: Play, request_id: int = 1, url: str = URL, *, at_s: float = 0.0, install_s: float | None = None,
          retries: int | None = None, interval_s: int | None = None, custom: Json | None = None) -> Json:  # fmt: skip
    """`at_s`, `install_s` from now on."""
    now_s = play.epoch_s + play.now
    firmware = {"location": url, "retrieveDateTime": iso8601(now_s + at_s)}
    if install_s is not None:
        firmware["installDateTime"] = iso8601(now_s + install_s)
    more: Json = {} if custom is None else {"customData": {"vendorId": "station-agent", **custom}}
    if retries is not None:
        more["retries"] = retries
    if interval_s is not None:
        more["retryInterval"] = interval_s
    return play.command("UpdateFirmware", requestId=request_id, firmware=firmware, **more)


def tell(play: Play, progress: Progress, **more: Any) -> Play:
    assert play.station.update
    return play.on(UpdaterTold(play.station.update.order, progress, **more))


def statuses(play: Play) -> list[str]:
    return [str(payload["status"]) for payload in play.payloads("FirmwareStatusNotification")]


def charging(play: Play, evse_id: int = 1) -> Play:
    return play.plug(evse_id).tap(ANN).charge(evse_id)


WHOLE = [
    "Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting", "Installed",
]  # fmt: skip


# -- the way of an order ----------------------------------------------------------------------------------------------


def test_an_order_goes_its_way_and_each_status_is_told_once_in_ocpps_order() -> None:
    p = play()
    assert order(p, 7) == {"status": "Accepted"}
    assert p.updater and p.updater.ordered and p.updater.ordered.url == URL and p.updater.download
    for progress in (P.WAITING, P.DOWNLOADING, P.DOWNLOADING, P.STAGED):
        tell(p, progress)
    assert p.updater.install and p.restarts == 0
    tell(p, P.ACTIVATED)
    assert p.restarts == 1 and p.facts["reset"] == "FirmwareUpdate"
    assert p.payloads("SecurityEventNotification")[-1]["techInfo"].endswith("update 7"), "over nobody's session"
    again = p.reboot(3, same_kernel=True, controller_too=False).see(1).see(2)
    assert again.station.boot.reason is BootReason.FIRMWARE_UPDATE
    tell(again, P.TRIAL)
    assert statuses(again) == WHOLE[:-1] and again.restarts == 0
    tell(again, P.CONFIRMED)
    assert statuses(again) == WHOLE
    assert {payload["requestId"] for payload in again.payloads("FirmwareStatusNotification")} == {7}
    assert again.updater and again.updater.ordered is None, "the updater may forget it"
    assert [p["type"] for p in again.payloads("SecurityEventNotification")][-1] == "FirmwareUpdated"
    assert again.plug(1).tap(ANN).port(1).transaction


def test_steps_that_passed_while_the_agent_was_away_are_told_all_the_same() -> None:
    p = play()
    order(p)
    tell(p, P.DOWNLOADING)
    again = p.reboot(600)
    tell(again, P.CONFIRMED)
    assert statuses(again) == WHOLE


def test_a_download_that_nobody_has_told_of_is_told_of_before_what_came_of_it() -> None:
    p = play()
    order(p)
    tell(p, P.STAGED)
    assert statuses(p) == WHOLE[:4]


def test_the_updater_is_told_each_wish_once_and_a_new_one_all_of_it_anew() -> None:
    p = Play(machine=MACHINE)
    order(p)
    assert p.wishes == 0, "nobody is there to hear it"
    p.on(UpdaterTold())
    assert p.wishes == 1 and p.updater and p.updater.ordered
    tell(p, P.DOWNLOADING).after(20)
    tell(p, P.DOWNLOADING)
    assert p.wishes == 1
    p.on(UpdaterLost()).after(5).on(UpdaterTold())
    assert p.wishes == 2


def test_a_station_whose_update_service_was_taken_away_follows_no_old_order() -> None:
    p = play()
    order(p)
    p.station = replace(p.station, machine=Machine(can_update=False))
    p.on(UpdaterTold(p.station.update.order if p.station.update else "", P.FAILED, code="link"))
    assert statuses(p) == []


def test_a_build_that_was_there_already_is_installed_and_nothing_is_said_of_a_download() -> None:
    p = play()
    order(p)
    tell(p, P.CONFIRMED)
    assert statuses(p) == ["Installed"]


@pytest.mark.parametrize(
    ("progress", "code", "told"),
    [
        (P.FAILED, "signature", "InvalidSignature"), (P.FAILED, "key", "InvalidSignature"),
        (P.FAILED, "role", "InvalidSignature"), (P.FAILED, "link", "DownloadFailed"),
        (P.FAILED, "budget", "DownloadFailed"), (P.FAILED, "hash", "DownloadFailed"),
        (P.FAILED, "storage", "DownloadFailed"), (P.FAILED, "verify", "InstallVerificationFailed"),
        (P.FAILED, "platform", "InstallVerificationFailed"), (P.FAILED, "downgrade", "InstallVerificationFailed"),
        (P.FAILED, "a word of newer software", "DownloadFailed"),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_what_it_is_with_its_reason(progress: Progress, code: str, told: str) -> None:
    p = play()
    order(p)
    tell(p, P.DOWNLOADING)
    tell(p, progress, code=code, why="so it was")
    assert statuses(p) == ["Downloading", told]
    info = p.payloads("FirmwareStatusNotification")[-1]["statusInfo"]
    assert info["additionalInfo"] == "so it was"
    assert p.updater and p.updater.ordered is None
    events = [each["type"] for each in p.payloads("SecurityEventNotification")]
    assert ("InvalidFirmwareSignature" in events) == (told == "InvalidSignature")


@pytest.mark.parametrize(
    ("code", "told"), [("rolled-back", "InstallationFailed"), ("verify", "InstallVerificationFailed")]
)
def test_a_rolled_back_build_is_told_with_its_reason_after_all_that_came_before(code: str, told: str) -> None:
    p = play()
    order(p)
    for progress in (P.DOWNLOADING, P.STAGED, P.ACTIVATED):
        tell(p, progress)
    again = p.reboot(3, same_kernel=True).see(1).see(2)
    tell(again, P.ROLLED_BACK, code=code, why="the controller is not heard")
    assert statuses(again) == [*WHOLE[:-1], told]
    assert again.payloads("FirmwareStatusNotification")[-1]["statusInfo"]["additionalInfo"] == (
        "the controller is not heard"
    )


@pytest.mark.parametrize(
    ("progress", "code", "told"),
    [
        (P.FAILED, "link", ["DownloadFailed"]), (P.FAILED, "key", ["Downloading", "InvalidSignature"]),
        (P.FAILED, "board", ["Downloading", "InstallVerificationFailed"]),
        (P.ROLLED_BACK, "rolled-back", [*WHOLE[:-1], "InstallationFailed"]),
    ],
)  # fmt: skip
def test_an_end_that_comes_at_once_is_told_after_what_must_have_happened(
    progress: Progress, code: str, told: list[str]
) -> None:
    p = play()
    order(p)
    tell(p, progress, code=code, why="so it was")
    assert statuses(p) == told
    *before, last = p.payloads("FirmwareStatusNotification")
    assert "so it was" in str(last) and "so it was" not in str(before), "the end alone has a reason"
    events = [(each["type"], each["techInfo"]) for each in p.payloads("SecurityEventNotification")]
    assert events[1:] == ([("InvalidFirmwareSignature", "so it was")] if code == "key" else [])


@pytest.mark.parametrize(
    ("code", "told"), [("storage", "InstallationFailed"), ("hash", "InstallVerificationFailed")]
)
def test_a_build_that_was_here_and_could_not_be_begun_has_failed_its_installation(code: str, told: str) -> None:
    p = staged(charging(play()))
    tell(p, P.FAILED, code=code, why="so it was")
    assert statuses(p) == [*WHOLE[:3], "InstallScheduled", told]
    assert p.station.update and (p.station.update.code, p.station.update.why) == (code, "so it was")


def test_the_security_log_has_the_version_that_runs_now() -> None:
    p = play()
    order(p, 7)
    tell(p, P.CONFIRMED, version="2.0.0")
    assert p.payloads("SecurityEventNotification")[-1]["techInfo"] == "update 7: 2.0.0"


def test_a_saved_order_reads_as_it_was_and_what_cannot_be_one_is_none() -> None:
    p = play()
    order(p, retries=3, install_s=60, custom={"window": ["23:30", "01:30"], "budgetB": 5_000_000, "override": "now"})
    update = p.station.update
    fact = updating.saved(update)
    assert fact and updating.restored({**fact, "mood": "sunny"}) == update
    assert "shut_at" not in fact and updating.saved(None) is None
    bad: Any
    for bad in (None, 5, [], {}, {**fact, "url": 5}, {**fact, "window": "all day"}):
        assert updating.restored(bad) is None, bad


# -- nobody is in a session -------------------------------------------------------------------------------------------


def staged(p: Play, **how: Any) -> Play:
    order(p, **how)
    tell(p, P.DOWNLOADING)
    return tell(p, P.STAGED)


def test_an_update_waits_for_the_last_session_and_lets_nobody_start_meanwhile() -> None:
    p = staged(charging(play()))
    assert statuses(p)[-1] == "InstallScheduled" and p.updater and not p.updater.install
    p.after(1)
    assert [s["connectorStatus"] for s in p.payloads("StatusNotification") if s["evseId"] == 2][-1] == "Unavailable"
    assert situation(p.station, p.port(2)) is Situation.UPDATING
    p.plug(2).tap(BOB)
    assert p.said() is Reason.UPDATING or p.said(2) is Reason.UPDATING
    assert not p.port(2).transaction
    p.after(5_000).see(1, power_w=7_360)
    assert not p.updater.install
    p.tap(ANN).open(1)
    assert p.transactions(1)[-1] == ("Ended", "Local")
    assert p.updater.install and statuses(p)[-1] == "Installing"
    assert all(port.off for port in p.station.ports)


def test_somebody_who_was_let_in_and_has_not_plugged_in_yet_is_waited_for() -> None:
    p = play(ports=1).tap(ANN)
    assert any(port.grant for port in p.station.ports)
    staged(p)
    assert p.updater and not p.updater.install and p.station.told_updater == p.updater
    p.after(p.station.settings.ev_connection_timeout_s + 1)
    assert not any(port.grant for port in p.station.ports) and p.updater.install


def test_the_cloud_may_let_people_start_while_an_update_waits() -> None:
    p = staged(charging(play(Settings(sessions_before_update=True))))
    p.plug(2).tap(BOB)
    assert p.port(2).transaction and statuses(p)[-1] == "InstallScheduled"
    p.tap(ANN).open(1).unplug(1)
    assert p.updater and not p.updater.install
    p.tap(BOB).see(2, cp="B")
    p.after(20)
    assert p.updater.install and p.port(2).off


def test_an_override_ends_the_sessions_first_and_is_logged() -> None:
    p = staged(charging(play()), custom={"override": "fire risk, ticket 12"})
    assert p.updater and not p.updater.install, "the contactor is still closed"
    assert not any(wish.offer_ma for wish in p.wish)
    p.after(2).open(1, wh=5)
    assert p.transactions(1)[-1] == ("Ended", "ImmediateReset")
    assert p.updater.install
    tell(p, P.ACTIVATED)
    event = p.payloads("SecurityEventNotification")[-1]
    assert event["type"] == "ResetOrReboot" and "fire risk, ticket 12" in event["techInfo"]


def test_an_override_counts_where_people_may_start_before_an_update_too() -> None:
    p = staged(charging(play(Settings(sessions_before_update=True))), custom={"override": "fire risk"})
    p.after(2).open(1, wh=5)
    assert p.transactions(1)[-1] == ("Ended", "ImmediateReset") and p.updater and p.updater.install


def test_what_else_opens_the_station_meanwhile_stays_so() -> None:
    p = staged(charging(play()))
    p.station = replace(p.station, bar=None)
    p.on(UpdaterLost()).after(1)
    assert p.station.bar is None and not p.port(2).off


def test_an_override_waits_no_longer_than_a_reset_would() -> None:
    p = staged(charging(play()).on(ControllerLost("reset")), custom={"override": "now"})
    p.after(14.9)
    assert p.updater and not p.updater.install
    p.after(0.2)
    assert p.updater.install


def test_ports_open_again_when_the_updater_is_gone_and_shut_when_it_is_back() -> None:
    p = staged(charging(play()))
    p.on(UpdaterLost()).after(1)
    assert not p.port(2).off and not p.port(1).off_next and p.station.bar is None
    p.plug(2).tap(BOB)
    assert p.port(2).transaction
    p.on(UpdaterTold(p.station.update.order, P.STAGED) if p.station.update else UpdaterTold())
    assert p.port(1).off_next and p.updater and not p.updater.install
    assert statuses(p).count("InstallScheduled") == 1


def test_an_updater_that_never_switches_keeps_no_port_shut() -> None:
    p = staged(play())
    assert all(port.off for port in p.station.ports)
    p.after(updating.INSTALL_S + 1)
    assert statuses(p)[-1] == "InstallationFailed" and not any(port.off for port in p.station.ports)
    assert p.updater and p.updater.ordered is None
    assert p.plug(1).tap(ANN).port(1).transaction


def test_a_power_cut_while_ports_are_shut_leaves_none_shut() -> None:
    p = staged(charging(play()))
    again = p.reboot(30)
    assert not any(port.off for port in again.station.ports) and "update" not in str(again.facts["port/2"])


# -- another order ----------------------------------------------------------------------------------------------------


def test_a_second_order_replaces_the_first_until_it_installs() -> None:
    p = play()
    order(p, 1)
    tell(p, P.DOWNLOADING)
    first = p.updater and p.updater.ordered
    assert order(p, 2, "https://builds.example/3") == {"status": "AcceptedCanceled"}
    assert p.updater and p.updater.ordered and p.updater.ordered != first
    tell(p, P.DOWNLOADING)
    tell(p, P.STAGED)
    said = order(p, 3)
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", "FwUpdateInProgress")
    tell(p, P.ACTIVATED)
    assert order(p, 4)["status"] == "Rejected"
    ids = [payload["requestId"] for payload in p.payloads("FirmwareStatusNotification")]
    assert ids == sorted(ids), "nothing more is said of the first"


def test_while_the_new_build_is_on_trial_no_other_one_is_ordered() -> None:
    p = staged(play())
    tell(p, P.ACTIVATED)
    again = p.reboot(3, same_kernel=True).see(1).see(2).on(UpdaterTold())
    tell(again, P.TRIAL)
    assert order(again, 2)["statusInfo"]["reasonCode"] == "FwUpdateInProgress"


def test_the_same_order_again_goes_on() -> None:
    p = play()
    order(p, 1)
    tell(p, P.DOWNLOADING)
    wish = p.updater
    assert order(p, 1)["status"] == "Accepted"
    assert p.updater == wish and statuses(p) == ["Downloading"]


def test_an_order_that_waits_for_a_session_may_be_called_off_by_another_and_ports_open() -> None:
    p = staged(charging(play()))
    assert order(p, 2, "https://builds.example/3")["status"] == "AcceptedCanceled"
    assert not p.port(2).off


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"url": "http://builds.example/x"}, "InvalidURL"), ({"url": "https://a:b@builds.example/x"}, "InvalidURL"),
        ({"url": "ftp://x"}, "InvalidURL"), ({"url": "https://"}, "InvalidURL"), ({"url": ""}, "InvalidURL"),
        ({"url": "https://x/\r\nHost: y"}, "InvalidURL"), ({"retries": 10**9}, "ValueTooHigh"),
        ({"custom": {"budgetB": 0}}, "InvalidValue"), ({"custom": {"budgetB": True}}, "InvalidValue"),
        ({"custom": {"budgetB": "5"}}, "InvalidValue"), ({"custom": {"spreadS": -1}}, "InvalidValue"),
        ({"custom": {"spreadS": 10**9}}, "InvalidValue"), ({"custom": {"window": ["1:00", "05:00"]}}, "InvalidValue"),
        ({"custom": {"window": ["01:00", "01:00"]}}, "InvalidValue"), ({"custom": {"window": "01:00"}}, "InvalidValue"),
        ({"custom": {"window": ["24:00", "01:00"]}}, "InvalidValue"), ({"custom": {"override": ""}}, "InvalidValue"),
        ({"custom": {"override": "a\nb"}}, "InvalidValue"), ({"custom": {"override": True}}, "InvalidValue"),
        ({"custom": {"budgetb": 5}}, "UnsupportedParam"), ({"retries": 1_000_001}, "ValueTooHigh"),
        ({"interval_s": -1}, "ValueOutOfRange"), ({"interval_s": 86_401}, "ValueOutOfRange"),
        ({"custom": {"budgetB": 1 << 40}}, "InvalidValue"), ({"custom": {"spreadS": 604_801}}, "InvalidValue"),
        ({"custom": {"override": "x" * 201}}, "InvalidValue"), ({"custom": {"window": ["23:60", "1"]}}, "InvalidValue"),
        ({"custom": {"window": ["01:00", 5]}}, "InvalidValue"), ({"url": "https://x/#y z"}, "InvalidURL"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_refused_with_one_sentence_and_changes_nothing(how: Json, code: str) -> None:
    p = play()
    before = p.station.update
    said = order(p, **how)
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", code)
    assert p.station.update is before and not statuses(p)


@pytest.mark.parametrize(
    "how",
    [
        {"retries": 0, "interval_s": 0, "custom": {"budgetB": 1, "spreadS": 0, "override": "x"}},
        {"retries": 1_000_000, "interval_s": 86_400, "custom": {
            "budgetB": (1 << 40) - 1, "spreadS": 604_800, "override": "x" * 200, "window": ["23:59", "00:00"],
        }},
    ],
)  # fmt: skip
def test_an_order_at_its_bounds_reaches_the_updater_as_it_is(how: Json) -> None:
    p = play()
    assert order(p, **how) == {"status": "Accepted"}
    assert p.updater and (found := p.updater.ordered) and p.station.update
    assert (found.retries, found.retry_interval_s, found.budget_b) == (
        how["retries"], how["interval_s"], how["custom"]["budgetB"]
    )  # fmt: skip
    assert p.station.update.override == how["custom"]["override"]
    assert p.station.update.window == ((23 * 60 + 59, 0) if "window" in how["custom"] else None)


def test_the_same_request_for_another_place_is_another_order() -> None:
    p = play()
    order(p, 1)
    assert order(p, 1, "https://builds.example/3") == {"status": "AcceptedCanceled"}
    assert order(p, 2, "https://builds.example/3") == {"status": "AcceptedCanceled"}


def test_a_station_without_an_updater_says_so() -> None:
    p = Play()
    said = order(p)
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", "UnsupportedRequest")


# -- when -------------------------------------------------------------------------------------------------------------


def test_before_its_time_an_order_is_scheduled_and_then_begins_by_itself() -> None:
    p = play()
    order(p, at_s=3_600, install_s=7_200)
    assert statuses(p) == ["DownloadScheduled"] and p.updater and not p.updater.download
    p.after(3_600 - updating.SOON_S - 1)
    assert not p.updater.download
    p.after(2)
    assert p.updater.download
    tell(p, P.DOWNLOADING)
    tell(p, P.STAGED)
    assert statuses(p)[-1] == "InstallScheduled" and not p.updater.install and not p.port(1).off
    p.after(3_600 + updating.SOON_S - 2)
    assert not p.updater.install
    p.after(2)
    assert p.updater.install


@pytest.mark.parametrize("window", [None, ["23:30", "01:30"]])
def test_a_fleet_begins_spread_over_the_time_it_was_given_also_when_it_has_waited_for_a_window(
    window: list[str] | None
) -> None:
    begun = []
    for n in range(20):
        p = play(Settings(station_id=f"S-{n}"))
        order(p, custom={"spreadS": 3_600, **({"window": window} if window else {})})
        for _ in range(10):
            if not (p.updater and p.updater.download):
                p.after(p.station.update_due - p.now)
        assert p.updater and p.updater.download
        begun.append(p.now + p.epoch_s)
    begun.sort()
    assert begun[-1] - begun[0] <= 3_600
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert max(gaps) < 1_000 and begun[-1] - begun[0] > 2_400, "really over all of it"


def test_a_station_keeps_its_place_among_its_fleet_over_a_power_cut() -> None:
    p = play()
    order(p, custom={"spreadS": 3_600})
    assert p.station.update and p.station.update.place_s
    assert p.reboot(10).station.update == p.station.update


def test_a_window_opens_and_shuts_by_the_sites_clock() -> None:
    p = play(Settings(time_zone="Europe/Berlin"))
    p.on(ZoneLoaded("Europe/Berlin", ZoneInfo("Europe/Berlin")))
    local = datetime.fromtimestamp(WALL_S, ZoneInfo("Europe/Berlin"))
    to_midnight_s = DAY_S - (local.hour * 3_600 + local.minute * 60 + local.second)
    order(p, custom={"window": ["23:30", "01:00"]})
    assert p.updater and not p.updater.download and statuses(p) == ["DownloadScheduled"]
    p.after(to_midnight_s - 1_801)
    assert not p.updater.download
    p.after(2)
    assert p.updater.download
    tell(p, P.DOWNLOADING)
    p.after(1_800 + 3_600)
    assert not p.updater.download and statuses(p)[-1] == "DownloadPaused"
    p.after(DAY_S - 5_400)
    assert p.updater.download
    assert statuses(p) == ["DownloadScheduled", "Downloading", "DownloadPaused", "Downloading"]


def test_while_the_time_is_unknown_a_window_is_shut_and_opens_when_somebody_knows() -> None:
    p = play(wall_s=None)
    p.epoch_s = WALL_S
    order(p, at_s=-1e7, custom={"window": ["00:00", "23:59"]})
    assert p.updater and not p.updater.download
    p.on(ClockTold(WALL_S, ClockSource.CLOUD))
    assert p.updater.download


def test_an_order_that_is_dated_years_ago_has_its_month_from_when_it_came() -> None:
    p = play()
    order(p, at_s=-1_000 * DAY_S, install_s=-900 * DAY_S)
    tell(p, P.DOWNLOADING).after(10)
    assert statuses(p) == ["Downloading"]


def test_an_order_that_comes_to_nothing_for_a_month_is_over() -> None:
    p = play()
    order(p)
    tell(p, P.DOWNLOADING)
    p.after(29.9 * DAY_S)
    assert statuses(p) == ["Downloading"]
    p.after(0.2 * DAY_S)
    assert statuses(p) == ["Downloading", "DownloadFailed"]
    assert p.updater and p.updater.ordered is None


def test_after_its_month_an_order_has_failed_where_it_stands() -> None:
    p = play()
    order(p)
    update = p.station.update
    assert update and update.ordered_s
    old = replace(update, ordered_s=update.ordered_s - 31 * DAY_S, retrieve_s=update.retrieve_s - 31 * DAY_S)

    def said(update: Update) -> updating.Standing:
        return updating.standing(p.station, update, p.now)

    assert said(old) == updating.Standing(S.DOWNLOAD_FAILED, "interrupted", "not done within 30 days: order it again")
    assert said(replace(old, told=S.DOWNLOADING)).status is S.DOWNLOAD_FAILED
    assert said(replace(old, told=S.DOWNLOADED)).status is S.INSTALLATION_FAILED
    later = replace(old, install_s=update.ordered_s + DAY_S)
    assert said(later).status is None, "it may not even install yet"
    tell(p, P.STAGED)
    assert said(old).status is S.INSTALLATION_FAILED


def test_what_the_cloud_has_heard_is_not_taken_back() -> None:
    p = staged(charging(play()))
    heard = statuses(p)
    for progress in (P.DOWNLOADING, P.WAITING):
        tell(p, progress)
    assert statuses(p) == heard


# -- the plan ---------------------------------------------------------------------------------------------------------


def deactivated(station: Station) -> Station:
    return replace(station, owner=replace(station.owner, standing=Standing.DEACTIVATED))


def test_a_deactivated_station_downloads_nothing_but_what_is_here_is_installed() -> None:
    p = play()
    order(p)
    tell(p, P.DOWNLOADING)
    p.station = deactivated(p.station)
    p.on(UpdaterTold(p.station.update.order if p.station.update else "", P.DOWNLOADING))
    assert p.updater and not p.updater.download and statuses(p)[-1] == "DownloadPaused"
    said = order(p, 2)
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", "NotEnabled")
    tell(p, P.STAGED)
    assert p.updater.install


def test_what_else_closes_the_station_is_still_so_after_an_update_that_came_to_nothing() -> None:
    p = play()
    order(p)
    p.station = replace(p.station, bar=Bar(Reason.CLOSED))
    tell(p, P.STAGED)
    assert p.updater and p.updater.install
    tell(p, P.FAILED, code="storage")
    assert p.station.bar == Bar(Reason.CLOSED) and not p.port(1).off
    assert p.station.update and p.station.update.shut_at is p.station.update.ready_at is None


def test_a_station_that_is_not_activated_may_be_updated() -> None:
    p = play(Settings(activated=False))
    order(p)
    assert p.updater and p.updater.download


@pytest.mark.parametrize("state", State)
def test_an_order_follows_its_row_from_the_clouds_word_to_the_updaters_wish(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = play()
    order(p)
    monkeypatch.setattr(life, "state_of", lambda station: state)
    may = TABLE[state]
    tell(p, P.DOWNLOADING)
    assert statuses(p)[-1] == ("Downloading" if may.download else "DownloadPaused")
    assert p.updater and p.updater.download is may.download
    tell(p, P.STAGED)
    assert p.updater.install is may.install
    assert (order(play(), 2)["status"] == "Accepted") is may.download


# -- what the updater asks for, and who asks for a status -------------------------------------------------------------


def test_a_restart_that_the_updater_asks_for_is_done_once_also_over_runs() -> None:
    p = charging(play())
    wanted = UpdaterTold(restart_id="r1", restart="idle", restart_why="flashed by hand")
    p.on(wanted)
    assert p.restarts == 0 and p.port(2).off
    assert situation(p.station, p.port(2)) is Situation.UPDATING and p.station.bar == Bar(Reason.UPDATING)
    p.after(10).tap(ANN).open(1)
    assert p.restarts == 1 and "flashed by hand" in p.payloads("SecurityEventNotification")[-1]["techInfo"]
    again = p.reboot(3, same_kernel=True).see(1).see(2).on(wanted)
    assert again.restarts == 0 and not again.port(1).off
    assert again.on(UpdaterTold()).restarts == 0, "it asks for nothing any more"


def test_a_restart_that_the_updater_asks_for_leaves_the_reason_why_a_station_is_closed() -> None:
    p = charging(play())
    p.station = replace(p.station, bar=Bar(Reason.PLAN_ENDED))
    p.on(UpdaterTold(restart_id="r1", restart="idle", restart_why="flashed by hand"))
    assert p.station.bar == Bar(Reason.PLAN_ENDED)


def test_a_build_that_the_next_start_would_run_waits_for_the_last_session() -> None:
    p = charging(play())
    order(p)
    tell(p, P.ACTIVATED).after(20)
    assert p.restarts == 0 and p.port(2).off
    p.tap(ANN).open(1)
    assert p.restarts == 1


def test_an_order_that_waits_does_not_take_the_text_of_a_restart_away() -> None:
    p = charging(play())
    order(p, at_s=3_600)
    p.on(UpdaterTold(restart_id="r1", restart="idle", restart_why="flashed by hand")).after(20)
    assert situation(p.station, p.port(2)) is Situation.UPDATING and p.station.bar == Bar(Reason.UPDATING)


def test_a_failed_trial_is_left_with_the_sessions_going_on() -> None:
    p = charging(play())
    p.on(UpdaterTold(restart_id="r1", restart="resume", restart_why="the trial has failed"))
    tx = p.port(1).transaction
    assert p.restarts == 1 and tx and not tx.ending


def test_asked_for_its_status_a_station_says_idle_or_what_it_said_last() -> None:
    p = play()

    def asked() -> Json:
        assert p.command("TriggerMessage", requestedMessage="FirmwareStatusNotification") == {"status": "Accepted"}
        return p.payloads("FirmwareStatusNotification")[-1]

    assert asked() == {"status": "Idle"}
    order(p, 5)
    assert asked() == {"status": "DownloadScheduled", "requestId": 5}
    tell(p, P.DOWNLOADING)
    assert asked() == {"status": "Downloading", "requestId": 5}
    tell(p, P.FAILED, code="link", why="gone")
    assert asked()["status"] == "DownloadFailed"
    order(p, 6)
    tell(p, P.CONFIRMED)
    assert asked() == {"status": "Idle"}


# -- whatever is told -------------------------------------------------------------------------------------------------

TOLD = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from(list(P)), st.sampled_from(["", "link", "verify", "key", "?"])),
        st.tuples(st.just("lost")), st.tuples(st.just("order"), st.integers(1, 3)), st.tuples(st.just("cut")),
        st.tuples(st.just("after"), st.sampled_from([1.0, 20.0, 700.0])), st.tuples(st.just("plug")),
        st.tuples(st.just("tap")), st.tuples(st.just("open")), st.tuples(st.just("other")),
    ),
    max_size=25,
)  # fmt: skip


@given(TOLD)
@settings(max_examples=40, deadline=None)
def test_whatever_the_updater_says_statuses_rise_end_once_and_ports_are_shut_for_a_reason(story: list[Any]) -> None:
    p = play()
    for step in story:
        match step:
            case ("tell", progress, code) if p.station.update:
                tell(p, progress, code=code, why="x" if code else "")
            case ("lost",):
                p.on(UpdaterLost())
            case ("other",):
                p.on(UpdaterTold("another's", P.ACTIVATED))
            case ("order", n):
                order(p, n, f"https://x/{n}")
            case ("cut",):
                p = p.reboot(5).see(1, cp="A", contactor=False).see(2, cp="A", contactor=False)
            case ("after", seconds):
                p.after(seconds)
            case ("plug",):
                p.plug(1)
            case ("tap",):
                p.tap(ANN)
            case ("open",):
                p.open(1)
        update = p.station.update
        is_shut = any(Level.UPDATE in port.off | port.off_next for port in p.station.ports)
        assert not is_shut or (update and update.shut_at is not None)
        if p.updater and p.updater.install and not p.restarts:
            assert not any(port.transaction for port in p.station.ports)
    orders: dict[int, list[str]] = {}
    runs: list[list[str]] = []
    last = None
    for payload in p.payloads("FirmwareStatusNotification"):
        if last is None or payload["requestId"] != last or runs[-1][-1] in updating.FINAL:
            runs.append([])
        last = payload["requestId"]
        runs[-1].append(payload["status"])
        orders.setdefault(last, []).append(payload["status"])
    for run in runs:
        assert all(status not in updating.FINAL for status in run[:-1]), run
