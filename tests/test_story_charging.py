"""Stories of one port and its driver: plug and card in either order, how sessions end, what the cloud hears."""

from dataclasses import replace

import pytest

from agent.effects import Stop, Stream
from agent.events import (
    AuthorizationStatus,
    AvailabilityRequested,
    ControllerFound,
    ControllerLost,
    Cp,
    Entry,
    Link,
    LinkChanged,
    PortReported,
    RemoteStartRequested,
    RemoteStopRequested,
    Report,
    SelfTest,
    StoreFailed,
    StoreRecovered,
    TransactionAnswered,
)
from agent.faults import Fault
from agent.policy.reasons import Reason
from agent.port import Status, status
from agent.settings import Settings
from agent.station import Boot, BootReason, charging_state
from agent.transaction import ChargingState
from tests.play import ANN, BOB, EVE, Play


def test_plug_then_tap_charges_and_a_second_tap_stops() -> None:
    play = Play().plug(1).after(5).tap(ANN)
    assert play.wish[0].offer_ma == 32_000
    assert play.wish[1].offer_ma == 0
    play.charge(1).after(30).charge(1, wh=40).after(10).tap(ANN)
    assert play.wish[0].offer_ma == 0
    assert play.wish[0].lock, "the plug stays locked until the contactor is open"
    play.open(1, wh=2)
    assert play.transactions() == [
        ("Started", "Authorized"), ("Updated", "ChargingStateChanged"), ("Ended", "Local"),
    ]  # fmt: skip
    assert play.energy_wh() == [1000, 1000, 1042], "energy that flowed until the contactor opened is in the record"
    assert not play.wish[0].lock


def test_tap_then_plug_charges_as_well() -> None:
    play = Play().tap(ANN)
    assert play.transactions() == []
    play.after(20).plug(2)
    assert play.transactions(2) == [("Started", "Authorized")]
    assert play.transactions(1) == []


def test_a_tap_without_a_car_is_forgotten_after_a_minute() -> None:
    play = Play().tap(ANN).after(59.9)
    assert play.station.holding
    play.after(0.1)
    assert play.station.holding is None
    assert play.said() is Reason.TIMED_OUT
    play.plug(1)
    assert play.transactions() == []


def test_the_token_is_forgotten_when_the_pilot_returns_to_a() -> None:
    play = Play().plug(1).tap(ANN).charge(1).unplug(1)
    assert play.transactions()[-1] == ("Ended", "EVDisconnected")
    play.after(5).plug(1)
    assert play.wish[0].offer_ma == 0


def test_a_stopped_session_does_not_start_again_by_itself_but_the_card_may_start_it() -> None:
    play = Play().plug(1).tap(ANN).charge(1).after(10).tap(ANN).open(1)
    assert play.after(3600).wish[0].offer_ma == 0
    play.tap(ANN)
    assert play.wish[0].offer_ma == 32_000
    assert [t for t in play.transactions() if t[0] == "Started"] == [("Started", "Authorized")] * 2


def test_samples_come_every_interval_and_on_the_quarter_hour() -> None:
    play = Play(Settings(tx_updated_interval_s=300.0)).plug(1).tap(ANN).charge(1).after(1800)
    triggers = [trigger for kind, trigger in play.transactions() if kind == "Updated"]
    assert triggers.count("MeterValueClock") == 2
    assert triggers.count("MeterValuePeriodic") == 4, "each clock-aligned reading also restarts the interval"
    sampled = [r for r in play.records if r.payload.get("triggerReason", "").startswith("Meter")]
    assert all(r.stream is Stream.SAMPLES for r in sampled)


def test_seq_numbers_are_dense_per_transaction() -> None:
    play = Play().plug(1).tap(ANN).charge(1).after(600).open(1).after(60).charge(1).after(60).tap(ANN).open(1)
    assert [p["seqNo"] for p in play.payloads("TransactionEvent")] == list(range(len(play.transactions())))


def test_a_full_car_is_suspended_by_itself_and_a_waiting_one_by_us() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    play.see(1, cp=Cp.B, contactor=False, power_w=0)
    assert charging_state(play.station, play.port(1)) is ChargingState.SUSPENDED_EV
    play.see(1, temperature_dc=900)
    play.see(1, offer_ma=0)
    assert charging_state(play.station, play.port(1)) is ChargingState.SUSPENDED_EVSE


def test_a_car_that_waits_for_its_share_is_suspended_by_us_before_it_has_drawn_anything() -> None:
    play = Play(Settings(circuit_limit_ma=10_000)).plug(1).tap(ANN).charge(1).plug(2).tap(BOB)
    assert states(play, 2) == ["SuspendedEVSE"], "told as it is: the circuit has nothing left for it"
    play.tap(ANN).open(1)
    assert states(play, 2) == ["SuspendedEVSE", "EVConnected"], "its turn has come"
    play.charge(2)
    assert states(play, 2) == ["SuspendedEVSE", "EVConnected", "Charging"]


def test_a_car_with_a_share_is_never_called_suspended_while_it_starts() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    assert states(play, 1) == ["EVConnected", "Charging"]


def test_a_car_that_waits_for_the_random_delay_is_suspended_by_us() -> None:
    boot = Boot("b1" * 8, 0.0, BootReason.POWER_UP, count=2)
    play = Play(Settings(restart_delay_max_s=20.0), boot=boot).plug(1).tap(ANN)
    assert states(play, 1) == ["SuspendedEVSE"]
    assert states(play.after(11), 1) == ["SuspendedEVSE", "EVConnected"]


def states(play: Play, evse_id: int) -> list[str]:
    """The charging states that the cloud has heard of this port."""
    told = [p for p in play.payloads("TransactionEvent") if p["evse"]["id"] == evse_id and p["eventType"] != "Ended"]
    return [p["transactionInfo"]["chargingState"] for p in told if not p["triggerReason"].startswith("MeterValue")]


@pytest.mark.promise("S11")
def test_heat_lowers_the_offer_in_whole_amperes_and_then_stops_it() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    offers = []
    for temperature_dc in range(600, 820, 20):
        play.see(1, temperature_dc=temperature_dc)
        offers.append(play.wish[0].offer_ma)
        play.see(1, offer_ma=play.wish[0].offer_ma)
    assert offers == sorted(offers, reverse=True)
    assert offers[0] == 32_000
    assert offers[-1] == 0
    assert all(o % 1000 == 0 for o in offers)


@pytest.mark.promise("S11")
def test_a_second_car_gets_its_share_only_after_the_first_has_given_it_back() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).tap(BOB)
    assert [c.offer_ma for c in play.wish] == [16_000, 0]
    play.see(1, offer_ma=16_000)
    assert [c.offer_ma for c in play.wish] == [16_000, 16_000]
    play.charge(2).after(10).tap(ANN)
    assert [c.offer_ma for c in play.wish] == [0, 16_000]
    play.open(1)
    assert [c.offer_ma for c in play.wish] == [0, 32_000]


@pytest.mark.promise("S11")
def test_the_controllers_own_limit_wins_when_it_is_lower() -> None:
    play = Play().on(ControllerFound(7, 1.0, 20_000)).plug(1).tap(ANN)
    assert play.wish[0].offer_ma == 20_000


def test_a_socketed_port_offers_no_more_than_the_cable_carries() -> None:
    play = Play(Settings(socketed=True)).see(1, cp=Cp.B, cable_ma=13_000).tap(ANN)
    assert play.wish[0].offer_ma == 13_000
    assert play.wish[0].lock


# -- faults


def test_a_ground_fault_suspends_the_session_and_it_goes_on_after_the_retry() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    play.see(1, faults=frozenset({Fault.GROUND_FAULT}), contactor=False, power_w=0, retry_in_s=900)
    assert play.wish[0].offer_ma == 0
    assert status(play.port(1)) is Status.FAULTED
    assert status(play.port(2)) is Status.AVAILABLE, "a failed part takes out its port only"
    play.after(900).see(1, faults=frozenset(), retry_in_s=0)
    assert play.wish[0].offer_ma == 32_000
    assert not any(kind == "Ended" for kind, _ in play.transactions())


def test_a_halted_ground_fault_ends_the_session_and_stays_to_be_seen_until_the_plug_is_out() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    play.see(1, faults=frozenset({Fault.GROUND_FAULT_HALTED}), contactor=False, power_w=0)
    assert play.transactions()[-1] == ("Ended", "GroundFault")
    play.see(1, faults=frozenset())
    assert status(play.port(1)) is Status.FAULTED
    play.unplug(1)
    assert status(play.port(1)) is Status.AVAILABLE


def test_each_fault_is_told_when_it_comes_and_when_it_goes_with_its_mrec_code() -> None:
    play = Play().see(1, faults=frozenset({Fault.PILOT_FAULT})).see(1, faults=frozenset())
    raised, cleared = (p["eventData"][0] for p in play.payloads("NotifyEvent")[1:])  # after the self-test
    assert (raised["techCode"], raised["actualValue"]) == ("CX014", "pilot_fault")
    assert cleared["cleared"] is True
    assert "cleared" not in raised


def test_an_emergency_stop_opens_at_once() -> None:
    play = Play().plug(1).tap(ANN).charge(1).see(1, faults=frozenset({Fault.EMERGENCY_STOP}))
    assert play.wish[0].stop is Stop.NOW
    play.open(1)
    assert play.transactions()[-1] == ("Ended", "EmergencyStop")


def test_a_welded_contactor_ends_the_session_though_it_is_never_seen_open() -> None:
    play = Play().plug(1).tap(ANN).charge(1).tap(ANN).see(1, faults=frozenset({Fault.CONTACTOR_WELDED}))
    play.after(10)
    assert play.transactions()[-1][0] == "Ended"


def test_a_register_that_goes_back_ends_the_session_at_the_last_stored_reading() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61).see(1, energy_wh=3)
    play.open(1)
    assert play.transactions()[-1] == ("Ended", "Other")
    assert play.energy_wh()[-1] == 1050


def test_a_lost_controller_is_a_fault_and_the_session_goes_on_when_it_is_back() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=10)
    report = play.port(1).report
    assert report
    play.on(ControllerLost("silence"))
    assert status(play.port(1)) is Status.FAULTED
    assert play.wish[0].offer_ma == 0
    play.after(20).on(ControllerFound(7, 30.0, 32_000)).on(PortReported(1, report))
    assert play.wish[0].offer_ma == 32_000
    assert not any(kind == "Ended" for kind, _ in play.transactions())


def test_nothing_starts_before_the_self_test_has_passed() -> None:
    play = Play().see(1, cp=Cp.B, self_test=SelfTest.RUNNING).tap(ANN)
    assert play.said(1) is Reason.UNAVAILABLE
    assert play.wish[0].offer_ma == 0


# -- the disk


@pytest.mark.promise("S2", "S10")
def test_what_cannot_be_recorded_is_not_sold_and_running_sessions_go_on() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).on(StoreFailed("disk full"))
    assert play.wish[0].offer_ma == 32_000
    play.tap(BOB)
    assert play.said(2) is Reason.CANNOT_RECORD
    play.on(StoreRecovered()).after(10).tap(BOB)
    assert play.wish[0].offer_ma == 16_000


def test_a_session_whose_start_could_not_be_recorded_ends_before_energy_flows() -> None:
    play = Play().plug(1).tap(ANN).on(StoreFailed("disk full"))
    assert play.transactions()[-1] == ("Ended", "Other")
    assert play.wish[0].offer_ma == 0


# -- the cloud's commands


def test_a_remote_start_waits_for_the_plug_and_a_remote_stop_ends_it() -> None:
    play = Play().on(RemoteStartRequested("c1", 42, "APP-USER", evse_id=1))
    assert play.payloads("CommandResult")[-1]["response"] == {"status": "Accepted"}
    play.after(10).plug(1)
    started = play.payloads("TransactionEvent")[-1]
    assert started["triggerReason"] == "RemoteStart"
    assert started["transactionInfo"]["remoteStartId"] == 42
    play.charge(1).on(RemoteStopRequested("c2", started["transactionInfo"]["transactionId"])).open(1)
    assert play.transactions()[-1] == ("Ended", "Remote")


def statuses(play: Play, evse_id: int) -> list[str]:
    return [p["connectorStatus"] for p in play.payloads("StatusNotification") if p["evseId"] == evse_id]


def test_a_status_is_told_when_it_has_lasted_and_with_the_time_it_began() -> None:
    play = Play().after(10)
    assert statuses(play, 1) == ["Available"], "and not that it was Unavailable while the controller started"
    play.plug(1).after(0.4).unplug(1).after(60)
    assert statuses(play, 1) == ["Available"], "a plug that bounced"
    began = play.now
    play.plug(1).after(0.6)
    assert statuses(play, 1) == ["Available", "Occupied"]
    assert play.records[-1].mono_s == began
    play = Play(Settings(minimum_status_duration_s=0)).after(1).plug(1).unplug(1)
    assert statuses(play, 1) == ["Unavailable", "Available", "Occupied", "Available"]


def test_after_an_outage_of_the_link_only_changes_are_told_and_after_a_start_each_port_once() -> None:
    play = Play().after(10).on(LinkChanged(Link.UP)).on(LinkChanged(Link.DOWN)).plug(1).after(60)
    told = len(play.payloads("StatusNotification"))
    play.on(LinkChanged(Link.UP)).after(60)
    assert len(play.payloads("StatusNotification")) == told == 3
    again = play.reboot(30).see(1).see(2).after(60)
    assert len(again.payloads("StatusNotification")) == told + 2


def test_a_remote_stop_of_nothing_is_rejected() -> None:
    play = Play().on(RemoteStopRequested("c2", "no such thing"))
    response = play.payloads("CommandResult")[-1]["response"]
    assert (response["status"], response["statusInfo"]["reasonCode"]) == ("Rejected", "TxNotFound")


def test_a_remote_start_at_a_faulted_port_is_rejected_with_its_reason() -> None:
    play = Play().see(1, faults=frozenset({Fault.METER_FAULT})).on(RemoteStartRequested("c1", 1, "X", evse_id=1))
    answer = play.payloads("CommandResult")[-1]["response"]
    assert answer["status"] == "Rejected"
    assert answer["statusInfo"]["additionalInfo"] == "out of service"


def test_inoperative_during_a_session_is_scheduled_and_survives_a_power_cut() -> None:
    play = Play().plug(1).tap(ANN).charge(1).on(AvailabilityRequested("c", operative=False, evse_id=1))
    assert play.payloads("CommandResult")[-1]["response"] == {"status": "Scheduled"}
    assert play.wish[0].offer_ma == 32_000
    play = play.reboot(off_s=3600)
    play.see(1, cp=Cp.B, energy_wh=1000).see(2)
    assert status(play.port(1)) is Status.UNAVAILABLE
    assert play.after(60).tap(BOB).wish[0].offer_ma == 0
    play.on(AvailabilityRequested("d", operative=True, evse_id=1))
    assert status(play.port(1)) is Status.OCCUPIED


def test_an_inoperative_port_starts_nothing_on_replug_or_remote_start() -> None:
    play = Play(ports=1).on(AvailabilityRequested("c", operative=False)).plug(1).tap(ANN)
    assert play.said(1) is Reason.UNAVAILABLE
    play.on(RemoteStartRequested("r", 1, "X", evse_id=1)).unplug(1).plug(1)
    assert play.transactions() == []


@pytest.mark.parametrize(("wh", "stop"), [(0, True), (500, True), (500, False), (0, False)])
def test_a_token_refused_late_draws_no_more_than_max_energy_on_invalid_id(wh: int, stop: bool) -> None:
    settings = Settings(max_energy_on_invalid_id_wh=wh, stop_tx_on_invalid_id=stop)
    play = Play(settings).plug(1).tap(ANN).charge(1, wh=100)
    transaction_id = play.payloads("TransactionEvent")[-1]["transactionInfo"]["transactionId"]
    play.on(TransactionAnswered(transaction_id, Entry(AuthorizationStatus.BLOCKED), play.now))
    if wh:
        assert play.wish[0].offer_ma, "the car may still leave"
        play.charge(1, wh=wh)
    assert play.wish[0].offer_ma == 0
    play.open(1)
    if stop:
        assert play.transactions()[-1] == ("Ended", "DeAuthorized")
    else:
        assert charging_state(play.station, play.port(1)) is ChargingState.SUSPENDED_EVSE


def test_a_late_accepted_changes_nothing() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    tx = play.port(1).transaction
    assert tx
    before = play.station
    play.on(TransactionAnswered(tx.transaction_id, Entry(), play.now))
    assert play.station == before


# -- offline, free, clock


def test_records_made_without_a_link_say_so() -> None:
    play = Play().plug(1).tap(ANN)
    assert play.payloads("TransactionEvent")[-1]["offline"] is True
    play.on(LinkChanged(Link.UP)).charge(1)
    assert "offline" not in play.payloads("TransactionEvent")[-1]


def test_a_free_station_asks_for_no_card_and_does_not_restart_a_stopped_car() -> None:
    play = Play(Settings(free=True)).plug(1)
    started = play.payloads("TransactionEvent")[-1]
    assert started["idToken"] == {"idToken": "", "type": "NoAuthorization"}
    play.charge(1).on(RemoteStopRequested("c", started["transactionInfo"]["transactionId"])).open(1)
    assert play.after(60).wish[0].offer_ma == 0
    assert play.unplug(1).after(5).plug(1).wish[0].offer_ma == 32_000


def test_with_an_unknown_clock_the_record_says_none_and_the_timestamp_is_the_floor() -> None:
    play = Play(wall_s=None).plug(1).tap(ANN)
    record = play.records[-1]
    assert (record.wall_s, record.source) == (None, 0)
    assert record.payload["timestamp"].startswith("20")


def test_an_unknown_clock_expires_nobody_and_a_known_one_does() -> None:
    entry = Entry(expiry_s=1_000_000_000.0)
    play = Play(allow={ANN: entry}).plug(1).tap(ANN)
    assert play.said(1) is Reason.CARD_EXPIRED
    play = Play(allow={ANN: replace(entry, expiry_s=1_790_000_010.0)}, wall_s=None).plug(1).tap(ANN)
    assert play.wish[0].offer_ma


def test_reports_for_ports_that_do_not_exist_change_nothing() -> None:
    play = Play(ports=1)
    before = play.station
    assert play.on(PortReported(9, Report(cp=Cp.C))).station == before


def test_a_stranger_is_refused_and_the_owner_is_told_why() -> None:
    play = Play().plug(1).tap(EVE)
    assert play.said(1) is Reason.COULD_NOT_ASK
    told = play.payloads("NotifyEvent")[-1]["eventData"][0]
    assert told["techCode"] == "A040"
    assert EVE not in str(told), "no card id in a log"


def test_a_reading_taken_a_hair_before_the_quarter_hour_is_not_taken_again_and_again() -> None:
    """At 1.8e9 s a float resolves 2e-7 s, and the next quarter hour came due for ever."""
    for offset_s in (0.0, 1e-7, 2.4e-7, 1e-3, 0.3):
        play = Play(wall_s=1_790_000_100.0 - offset_s).plug(1).tap(ANN).charge(1).after(899)
        triggers = [trigger for _, trigger in play.transactions()]
        assert triggers.count("MeterValueClock") <= 1


def test_the_whole_station_back_in_service_leaves_a_port_out_that_was_switched_off_by_itself() -> None:
    off = AvailabilityRequested("a", operative=False, evse_id=1)
    play = Play().on(off).on(AvailabilityRequested("b", operative=False))
    assert [status(p) for p in play.station.ports] == [Status.UNAVAILABLE, Status.UNAVAILABLE]
    play.on(AvailabilityRequested("c", operative=True))
    assert [status(p) for p in play.station.ports] == [Status.UNAVAILABLE, Status.AVAILABLE]
    play = play.reboot(off_s=60)
    play.see(1).see(2)
    assert [status(p) for p in play.station.ports] == [Status.UNAVAILABLE, Status.AVAILABLE]
