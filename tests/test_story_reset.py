"""Reset, UnlockConnector and TriggerMessage: what the operator orders from afar, told by its records and its end."""

from dataclasses import replace

import pytest

from agent.events import ControllerLost, Link, LinkChanged, Machine, MachineTold, Registered, Registration
from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from agent.station import BootReason
from tests.play import ANN, BOB, Json, Play

SOCKET = Settings(socketed=True)


def charging(play: Play, evse_id: int = 1, card: str = ANN) -> Play:
    return play.plug(evse_id).tap(card).charge(evse_id)


def refused(answer: Json) -> tuple[str, str]:
    return answer["status"], answer["statusInfo"]["reasonCode"]


# -- Reset ------------------------------------------------------------------------------------------------------------


def test_an_immediate_reset_ends_the_sessions_first_and_goes_when_they_have_ended() -> None:
    play = charging(Play())
    assert play.command("Reset", type="Immediate") == {"status": "Accepted"}
    assert play.restarts == 0, "the contactor is still closed"
    assert not any(wish.offer_ma for wish in play.wish)
    play.after(2).open(1, wh=5)
    assert play.transactions(1)[-1] == ("Ended", "ImmediateReset")
    assert play.payloads("TransactionEvent")[-1]["triggerReason"] == "ResetCommand"
    assert play.restarts == 1 and play.facts["reset"] == "RemoteReset"
    assert play.payloads("SecurityEventNotification")[-1]["type"] == "ResetOrReboot"


def test_a_reset_of_an_idle_station_goes_at_once_and_the_next_run_says_why_it_began() -> None:
    play = Play()
    play.command("Reset", type="Immediate")
    assert play.restarts == 1
    again = play.reboot(2, same_kernel=True)
    assert again.station.boot.reason is BootReason.REMOTE_RESET
    startup = [p for p in again.payloads("SecurityEventNotification") if p["type"] == "StartupOfTheDevice"][-1]
    assert startup["customData"]["bootReason"] == "RemoteReset"
    assert again.facts["reset"] is None, "only the run after a reset is one"
    assert again.reboot(2, same_kernel=True).station.boot.reason is BootReason.APPLICATION_RESET


def test_a_reset_on_idle_waits_for_the_last_session_and_lets_nobody_start_meanwhile() -> None:
    play = charging(Play())
    assert play.command("Reset", type="OnIdle") == {"status": "Scheduled"}
    play.after(1)
    assert [p["connectorStatus"] for p in play.payloads("StatusNotification") if p["evseId"] == 2][-1] == "Unavailable"
    play.plug(2).tap(BOB)
    assert not play.port(2).transaction and play.restarts == 0
    play.after(5000).see(1, power_w=7360)
    assert play.restarts == 0
    play.tap(ANN).open(1)
    assert play.transactions(1)[-1] == ("Ended", "Local")
    assert play.restarts == 1 and play.facts["reset"] == "ScheduledReset"
    again = play.reboot(2, same_kernel=True).see(1).see(2)
    assert again.station.boot.reason is BootReason.SCHEDULED_RESET
    assert again.port(2).off == frozenset(), "the reset is over, and with it what it forbade"


def test_a_reset_that_keeps_sessions_restarts_at_once_and_they_go_on() -> None:
    play = charging(Play())
    assert play.command("Reset", type="ImmediateAndResume") == {"status": "Accepted"}
    assert play.restarts == 1 and play.transactions(1)[-1][0] != "Ended"
    again = play.reboot(2, same_kernel=True, controller_too=False)
    again.see(1, cp="C", contactor=True, energy_wh=play.energy_wh()[-1], pwm=True, offer_ma=32_000)
    assert again.transactions(1)[-1] == ("Updated", "TxResumed")


def test_a_session_that_does_not_end_in_time_keeps_no_reset_and_ends_after_it() -> None:
    play = charging(Play())
    play.on(ControllerLost("reset")).command("Reset", type="Immediate")
    play.after(14.9)
    assert play.restarts == 0
    play.after(0.2)
    assert play.restarts == 1
    again = play.reboot(2, same_kernel=True, controller_too=False)
    again.see(1, cp="A", unplugs=1).after(20)
    assert again.transactions(1)[-1] == ("Ended", "ImmediateReset")


def test_an_immediate_reset_overtakes_one_that_waits_and_a_milder_one_changes_nothing() -> None:
    play = charging(Play())
    play.command("Reset", type="OnIdle")
    assert play.command("Reset", type="OnIdle") == {"status": "Scheduled"}
    assert play.command("Reset", type="Immediate") == {"status": "Accepted"}
    assert play.command("Reset", type="OnIdle") == {"status": "Accepted"}
    play.open(1)
    assert play.restarts == 1 and play.facts["reset"] == "RemoteReset"
    play.command("Reset", type="Immediate")
    assert play.restarts == 1, "it goes already"


def test_one_port_is_not_reset_alone_and_nothing_happens() -> None:
    play = charging(Play())
    assert refused(play.command("Reset", type="Immediate", evseId=1)) == ("Rejected", "UnsupportedRequest")
    assert refused(play.command("Reset", type="Immediate", evseId=9)) == ("Rejected", "UnknownEvse")
    assert play.restarts == 0 and play.port(1).transaction


def test_a_power_cut_fulfils_a_reset_that_still_waits() -> None:
    play = charging(Play())
    play.command("Reset", type="OnIdle")
    again = play.reboot(30)
    assert again.station.boot.reason is BootReason.POWER_UP and again.station.reset is None
    assert again.port(2).off == again.port(1).off_next == frozenset()


# -- UnlockConnector --------------------------------------------------------------------------------------------------


def test_a_connector_is_unlocked_when_its_lock_is_seen_open() -> None:
    play = Play(SOCKET).see(1, locked=True)
    assert play.command("UnlockConnector", evseId=1, connectorId=1) == {}
    assert not play.wish or not play.wish[0].lock
    play.after(1).see(1, locked=False)
    assert play.answer_to("c1") == {"status": "Unlocked"}
    assert play.command("UnlockConnector", evseId=1, connectorId=1) == {"status": "Unlocked"}, "it was open"


def test_a_lock_that_is_stuck_is_told_after_three_seconds() -> None:
    play = Play(SOCKET).see(1, locked=True)
    play.command("UnlockConnector", evseId=1, connectorId=1)
    play.command("UnlockConnector", evseId=1, connectorId=1)
    play.after(2.9)
    assert play.payloads("CommandResult") == []
    play.after(0.2)
    assert refused(play.answer_to("c1")) == refused(play.answer_to("c2")) == ("UnlockFailed", "InternalError")


def test_a_running_session_is_never_unlocked() -> None:
    play = charging(Play(SOCKET).see(1, cable_ma=32_000, locked=True))
    answer = play.command("UnlockConnector", evseId=1, connectorId=1)
    assert refused(answer) == ("OngoingAuthorizedTransaction", "TxInProgress")
    assert play.wish[0].lock


def test_a_driver_who_is_faster_than_the_lock_keeps_it_shut() -> None:
    play = Play(SOCKET).see(1, locked=True, cable_ma=32_000)
    play.command("UnlockConnector", evseId=1, connectorId=1)
    play.plug(1).tap(ANN)
    assert play.answer_to("c1")["status"] == "OngoingAuthorizedTransaction"


def test_what_has_no_lock_or_is_not_there_says_so() -> None:
    play = Play()
    assert refused(play.command("UnlockConnector", evseId=1, connectorId=1)) == ("UnlockFailed", "FixedCable")
    assert refused(play.command("UnlockConnector", evseId=7, connectorId=1)) == ("UnknownConnector", "UnknownEvse")
    other = play.command("UnlockConnector", evseId=1, connectorId=2)
    assert refused(other) == ("UnknownConnector", "UnknownConnectorId")


# -- TriggerMessage ---------------------------------------------------------------------------------------------------


def trigger(play: Play, message: str, **more: object) -> Json:
    return play.command("TriggerMessage", requestedMessage=message, **more)


def test_a_triggered_transaction_event_is_an_update_with_the_next_seq_no() -> None:
    play = charging(Play())
    assert trigger(play, "TransactionEvent") == {"status": "Accepted"}
    event = play.payloads("TransactionEvent")[-1]
    assert (event["eventType"], event["triggerReason"]) == ("Updated", "Trigger")
    assert {v["context"] for v in event["meterValue"][0]["sampledValue"]} == {"Trigger"}
    seq_nos = [p["seqNo"] for p in play.payloads("TransactionEvent")]
    assert seq_nos == list(range(len(seq_nos)))
    trigger(play, "TransactionEvent", evse={"id": 1})
    assert play.transactions(1)[-2:] == [("Updated", "Trigger")] * 2
    assert refused(trigger(play, "TransactionEvent", evse={"id": 2})) == ("Rejected", "TxNotFound")


def test_a_triggered_status_belongs_to_one_connector() -> None:
    play = Play()
    told = len(play.payloads("StatusNotification"))
    assert refused(trigger(play, "StatusNotification")) == ("Rejected", "MissingParam")
    assert trigger(play, "StatusNotification", evse={"id": 2, "connectorId": 1}) == {"status": "Accepted"}
    (only,) = play.payloads("StatusNotification")[told:]
    assert (only["evseId"], only["connectorStatus"]) == (2, "Available")


def test_triggered_meter_values_are_of_every_port_or_of_the_one_named() -> None:
    play = charging(Play())
    assert trigger(play, "MeterValues") == {"status": "Accepted"}
    assert [p["evseId"] for p in play.payloads("MeterValues")] == [1, 2]
    trigger(play, "MeterValues", evse={"id": 2, "connectorId": 1})
    assert play.payloads("MeterValues")[-1]["evseId"] == 2
    play.on(ControllerLost("reset"))
    assert refused(trigger(play, "MeterValues")) == ("Rejected", "InternalError")


def test_a_boot_notification_is_triggered_only_while_the_cloud_has_not_accepted() -> None:
    play = Play()
    trigger(play, "Heartbeat")
    assert trigger(play, "BootNotification") == {"status": "Accepted"}
    play.on(Registered(Registration.ACCEPTED))
    assert refused(trigger(play, "BootNotification")) == ("Rejected", "NotEnabled")
    assert play.announced == ["Heartbeat", "BootNotification"]


def test_what_is_never_sent_from_here_cannot_be_triggered() -> None:
    play = Play()
    renewal = "SignChargingStationCertificate"
    for message in ("PublishFirmwareStatusNotification", "SignV2GCertificate", "CustomTrigger", renewal):
        assert refused(trigger(play, message)) == ("NotImplemented", "UnsupportedRequest")
    play.on(MachineTold(Machine(can_renew=True)))
    assert trigger(play, renewal) == {"status": "Accepted"}
    assert refused(trigger(play, "MeterValues", evse={"id": 5})) == ("Rejected", "UnknownEvse")


# -- Pending ----------------------------------------------------------------------------------------------------------


def test_a_cloud_that_has_not_accepted_us_starts_nobody_from_afar_but_drivers_charge() -> None:
    play = Play().on(LinkChanged(Link.UP)).on(Registered(Registration.PENDING)).plug(1)
    start = {"idToken": {"idToken": BOB, "type": "ISO14443"}, "remoteStartId": 1, "evseId": 1}
    assert refused(play.command("RequestStartTransaction", **start)) == ("Rejected", "CSNotAccepted")
    play.tap(ANN)
    assert play.port(1).transaction


# -- the whole station ------------------------------------------------------------------------------------------------


def world() -> World:
    world = World(3, Settings(station_id=STATION_ID, restart_delay_max_s=0.0))
    world.allow(ANN, BOB).power_on().run(30)
    return world


def answers(world: World, status: str) -> list[Json]:
    return [r for r in world.cloud.results if r.get("response", {}).get("status") == status]


@pytest.mark.promise("S2")
def test_a_reset_station_has_its_result_and_its_sessions_end_on_disk_before_it_goes() -> None:
    with world().closing() as w:
        w.plug(1).run(2).tap(ANN).run(300)
        w.net.cut()
        data = w.cloud.command("Reset", {"type": "Immediate"})
        w.net.mend()
        w.net.send_command(data)
        w.run_until(lambda: w.starts == 2, 60)
        w.net.send_command(data)
        w.run(900)
        assert w.starts == 2, "the repetition resets nothing"
        assert not w.is_closed(1)
        assert len(answers(w, "Accepted")) == 2, "the list, and the reset"
        session = next(iter(w.cloud.sessions.values()))
        assert session.stopped_reason == "ImmediateReset" and session.is_whole
        boots = [q.payload for q in w.cloud.asked if q.action == "BootNotification"]
        assert boots[-1]["reason"] == boots[-1]["customData"]["bootReason"] == "RemoteReset"
        w.unplug(1)
        w.run(60)
        assert w.is_equal()


@pytest.mark.promise("S3")
def test_a_reset_that_resumes_moves_no_contactor() -> None:
    with world().closing() as w:
        w.plug(1).run(2).tap(ANN).run(300).command("Reset", type="ImmediateAndResume").run(60)
        assert w.starts == 2 and w.is_closed(1)
        w.tap(ANN).run(20)
        assert next(iter(w.cloud.sessions.values())).stopped_reason == "Local"


def test_a_reset_waits_for_a_disk_that_refuses() -> None:
    with world().closing() as w:
        w.disk.refuses = "database or disk is full"
        w.command("Reset", type="Immediate").run(120)
        assert w.starts == 1
        w.disk.refuses = ""
        w.run(120)
        assert w.starts == 2 and answers(w, "Accepted")


def test_somebody_who_watches_gets_fresh_meters_until_his_time_is_over() -> None:
    with world().closing() as w:
        w.plug(1).run(2).tap(ANN).run(5).plug(2).run(2).tap(BOB).run(60)
        live = {"vendorId": "station-agent", "messageId": "LiveMode", "data": {"intervalS": 2, "forS": 20}}
        w.command("DataTransfer", **live).run(60)
        assert len(w.cloud.watched) == 10
        assert [p.evse_id for p in w.cloud.watched[-1].ports] == [1, 2]
        for port in (0, 1):
            registers = [reading.ports[port].energy_wh for reading in w.cloud.watched]
            assert registers == sorted(set(registers)), "each is a new reading"
        w.command("DataTransfer", **live).run(5)
        w.command("DataTransfer", **{**live, "data": {"intervalS": 2, "forS": 0}}).run(2)
        seen = len(w.cloud.watched)
        w.run(30)
        assert len(w.cloud.watched) == seen


def test_other_vendors_and_other_messages_are_unknown() -> None:
    with world().closing() as w:
        w.command("DataTransfer", vendorId="example.com")
        w.command("DataTransfer", vendorId="station-agent", messageId="Dance")
        for data in (None, {"intervalS": True, "forS": 5}, {"intervalS": 61, "forS": 5}, {"intervalS": 1}):
            w.command("DataTransfer", vendorId="station-agent", messageId="LiveMode", data=data)
        w.run(10)
        said = [r["response"]["status"] for r in w.cloud.results[1:]]
        assert sorted(said) == sorted(["UnknownVendorId", "UnknownMessageId", *["Rejected"] * 4])


def test_the_status_of_a_transaction_is_true_before_and_after_its_records_are_acknowledged() -> None:
    with world().closing() as w:
        w.plug(1).run(2).tap(ANN).run(120)
        transaction_id = next(iter(w.cloud.sessions))

        def status(**asked: str) -> Json:
            known = len(w.cloud.results)
            w.command("GetTransactionStatus", **asked)
            w.run_until(lambda: len(w.cloud.results) > known, 60)
            found: Json = w.cloud.results[-1]["response"]
            return found

        assert status(transactionId=transaction_id)["ongoingIndicator"] is True
        w.tap(ANN).run(60)
        assert status(transactionId=transaction_id) == {"ongoingIndicator": False, "messagesInQueue": False}
        assert status() == {"messagesInQueue": False}
        assert status(transactionId=transaction_id[:-1]) == {"ongoingIndicator": False, "messagesInQueue": False}
        assert w.shell
        w.shell.uplink.lanes[0].stopped_until = float("inf")  # the broker refuses money: it stays owed
        w.unplug(1)
        w.run(5).plug(1).run(2).tap(ANN).run(5)
        running = w.shell.station.ports[0].transaction
        assert running
        assert status(transactionId=running.transaction_id) == {"ongoingIndicator": True, "messagesInQueue": True}
        assert status(transactionId=transaction_id) == {"ongoingIndicator": False, "messagesInQueue": False}
        assert status() == {"messagesInQueue": True}


def test_a_boot_notification_tells_what_is_known_of_the_machine() -> None:
    play = Play()
    station = replace(play.station, machine=Machine("duo", macs=("02:00:00:00:00:01",), imei="490154203237518"))
    from agent.reporting import boot_notification
    from tests import referee

    payload = boot_notification(station)
    referee.judge("BootNotification", payload)
    assert payload["customData"] == {
        "vendorId": "station-agent", "mac": ["02:00:00:00:00:01"], "imei": "490154203237518", "bootReason": "PowerUp",
    }  # fmt: skip
