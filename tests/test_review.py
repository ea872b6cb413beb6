"""What a cheating driver, a careful owner, an installer and a reader of the standard would complain about."""

from dataclasses import replace

import pytest

from agent.clock import ClockSource
from agent.core import next_deadline
from agent.effects import Remember, Stop
from agent.events import (
    AuthorizationStatus,
    ClockTold,
    ControllerFound,
    ControllerLost,
    Cp,
    Entry,
    Link,
    LinkChanged,
    OnlineAnswered,
    PortChosen,
    PortReported,
    RemoteStartRequested,
    Report,
    TransactionAnswered,
)
from agent.faults import Fault
from agent.policy.reasons import WORDS, Reason
from agent.port import Status, status
from agent.settings import Settings
from agent.station import Boot, BootReason
from tests.play import ANN, BOB, EVE, WALL_S, Play
from tests.test_story_power import in_session
from tests.test_story_taps import charging


def online(link: Link = Link.UP, settings: Settings | None = None, ports: int = 2) -> Play:
    return Play(settings, ports=ports).on(LinkChanged(link))


def answer(play: Play) -> dict[str, object]:
    return dict(play.payloads("CommandResult")[-1]["response"])


# -- whose bill


@pytest.mark.promise("S3")
def test_a_car_swapped_while_the_line_was_cut_is_not_billed_to_the_first_driver() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=100)
    report = play.port(1).report
    assert report
    play.on(ControllerLost("silence")).after(60).on(ControllerFound(7, 99.0, 32_000))
    play.on(PortReported(1, replace(report, cp=Cp.B, contactor=False, power_w=0, unplugs=1)))
    assert play.transactions()[-1] == ("Ended", "EVDisconnected")
    assert play.wish[0].offer_ma == 0
    assert charging(play.after(5).tap(BOB)) == [BOB, None], "and the car that is there now is nobody's yet"


def test_a_car_that_is_plugged_in_before_the_contactor_was_seen_open_is_a_new_car() -> None:
    play = (
        Play().plug(1).tap(ANN).charge(1).see(1, cp=Cp.A, power_w=0, unplugs=1).see(1, cp=Cp.B).see(1, contactor=False)
    )
    assert play.transactions()[-1] == ("Ended", "EVDisconnected")
    assert charging(play.after(5).tap(BOB)) == [BOB, None]


@pytest.mark.promise("S6")
def test_a_late_accepted_does_not_start_another_drivers_car() -> None:
    play = online(Link.DOUBT, ports=1).plug(1).tap(EVE).after(2).unplug(1).after(3).plug(1)
    assert charging(play.on(OnlineAnswered(1, Entry()))) == [None]


def test_a_driver_who_unplugs_while_the_cloud_is_asked_takes_the_question_along() -> None:
    play = online(ports=1).plug(1).tap(EVE).after(2).unplug(1)
    assert play.said(1) is Reason.TIMED_OUT
    assert charging(play.after(2).plug(1).on(OnlineAnswered(1, Entry()))) == [None]


def test_a_car_plugged_in_while_the_cloud_is_asked_starts_with_the_answer() -> None:
    play = online().tap(EVE).after(3).plug(2).after(2).on(OnlineAnswered(1, Entry()))
    assert charging(play) == [None, EVE]


def test_two_cars_plugged_in_while_the_cloud_is_asked_are_not_guessed_at() -> None:
    play = online().tap(EVE).after(3).plug(1).plug(2).after(2).on(OnlineAnswered(1, Entry()))
    assert charging(play) == [None, None]
    assert play.said() is Reason.CHOOSE_PORT
    assert charging(play.on(PortChosen(2))) == [None, EVE]


def test_a_button_does_not_aim_the_question_of_a_driver_who_was_refused() -> None:
    play = online(Link.DOUBT).tap(EVE).after(5).plug(1).on(PortChosen(1)).after(1).on(OnlineAnswered(1, Entry()))
    assert charging(play) == [None, None]


def test_a_card_that_got_its_port_is_no_longer_held_for_another() -> None:
    play = Play().tap(ANN).tap(BOB).after(4).plug(1).tap(ANN)
    assert charging(play) == [ANN, None]
    assert charging(play.plug(2).on(PortChosen(2))) == [ANN, None], "the second car is another driver's"


def test_a_start_from_the_app_replaces_the_same_cards_wait_for_a_plug() -> None:
    play = Play().tap(ANN).after(5).on(RemoteStartRequested("c", 1, ANN, "ISO14443", evse_id=1)).plug(1).plug(2)
    assert charging(play) == [ANN, None]


def test_a_second_tap_moves_the_wait_for_the_plug_to_where_there_is_room() -> None:
    play = Play().plug(1).tap(BOB).charge(1).tap(ANN).after(5).unplug(1).after(5).tap(ANN)
    assert play.said() is None, "she is not charging anywhere"
    assert charging(play.plug(1)) == [ANN, None]
    assert charging(play.plug(2)) == [ANN, None]


def test_a_wrong_button_does_not_lose_the_card() -> None:
    play = Play().plug(1).plug(2).tap(ANN).see(1, faults=frozenset({Fault.METER_FAULT})).on(PortChosen(1))
    assert play.said(1) is Reason.OUT_OF_SERVICE
    assert charging(play.on(PortChosen(2))) == [None, ANN]


def test_a_remote_start_without_a_port_takes_no_car_that_was_served_already() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).tap(BOB).after(5).tap(ANN).open(1)
    play.on(RemoteStartRequested("c", 1, "APP-USER"))
    assert answer(play)["status"] == "Rejected"
    assert charging(play) == [None, BOB]


def test_a_card_held_at_a_free_station_is_used_up_by_the_free_start() -> None:
    play = Play(Settings(free=True)).tap(ANN).plug(1)
    assert charging(play) == [ANN, None], "she tapped, so she may stop it"
    assert charging(play.plug(2)) == [ANN, ""]
    assert play.station.holding is None
    assert Reason.TIMED_OUT not in {play.after(61).said(i) for i in range(3)}


# -- who may stop, and who may start


@pytest.mark.parametrize("ports", [1, 2])
def test_a_card_that_only_the_cloud_knows_stops_its_groups_session(ports: int) -> None:
    play = Play(ports=ports, allow={ANN: Entry(group_id="home"), BOB: Entry()}).on(LinkChanged(Link.UP))
    play.plug(1).tap(ANN).charge(1)
    if ports == 2:
        play.plug(2).tap(BOB)
    play.after(10).tap(EVE)
    assert [a.id_token for a in play.asked] == [EVE]
    play.on(OnlineAnswered(play.asked[-1].ask_id, Entry(group_id="home"))).open(1)
    assert play.transactions(1)[-1] == ("Ended", "Local")
    assert play.payloads("TransactionEvent")[-1]["idToken"]["idToken"] == EVE, "the card that stopped it"


def test_a_stranger_whom_the_cloud_was_asked_about_hears_that_the_port_is_taken() -> None:
    play = Play(ports=1, allow={ANN: Entry(group_id="home")}).on(LinkChanged(Link.UP)).plug(1).tap(ANN).charge(1)
    play.after(10).tap(EVE).on(OnlineAnswered(2, Entry(group_id="other")))
    assert play.said(1) is Reason.PORT_TAKEN
    assert charging(play) == [ANN]


def test_a_master_pass_that_only_the_cloud_knows_stops_and_never_starts() -> None:
    play = online(settings=Settings(master_pass_group_id="fire")).plug(1).tap(ANN).charge(1).after(10).tap(EVE)
    play.on(OnlineAnswered(play.asked[-1].ask_id, Entry(expiry_s=WALL_S - 1, group_id="fire"))).open(1)
    assert play.transactions()[-1] == ("Ended", "MasterPass")
    play.on(RemoteStartRequested("c", 1, EVE, "ISO14443", evse_id=2, group_id="fire"))
    assert answer(play)["status"] == "Rejected"


@pytest.mark.parametrize("entry", [
    Entry(group_id="home", removed=True), Entry(group_id="home", pending=True), Entry(group_id="home", expiry_s=1e9),
])  # fmt: skip
def test_a_card_that_may_not_start_may_not_stop_its_former_groups_session(entry: Entry) -> None:
    play = Play(ports=1, allow={ANN: Entry(group_id="home"), BOB: entry}).plug(1).tap(ANN).charge(1).after(10).tap(BOB)
    assert play.wish[0].offer_ma


def test_the_group_of_a_remote_start_stops_its_session() -> None:
    play = Play(ports=1, allow={BOB: Entry(group_id="home")}).plug(1)
    play.on(RemoteStartRequested("c", 1, "APP-USER", evse_id=1, group_id="home")).charge(1).after(10).tap(BOB).open(1)
    assert play.transactions()[-1] == ("Ended", "Local")


def test_a_remote_start_at_a_station_that_is_not_activated_says_so() -> None:
    play = Play(Settings(activated=False)).on(RemoteStartRequested("c", 1, "APP-USER", evse_id=1))
    assert answer(play)["statusInfo"] == {"reasonCode": "NotReady", "additionalInfo": "station not activated"}


def test_an_accepted_that_must_not_be_cached_is_still_an_accepted() -> None:
    play = online().plug(1).tap(EVE).on(OnlineAnswered(1, Entry(expiry_s=WALL_S - 1)))
    assert charging(play) == [EVE, None]


@pytest.mark.promise("S7")
def test_an_outdated_cache_entry_is_no_expired_card() -> None:
    play = Play(cached={EVE: Entry(expiry_s=WALL_S - 1)}).plug(1).tap(EVE)
    assert play.said(1) is Reason.COULD_NOT_ASK


def test_a_card_refused_late_does_not_start_from_the_cache_again() -> None:
    play = Play(cached={EVE: Entry(group_id="home")}).plug(1).tap(EVE).charge(1)
    tx = play.port(1).transaction
    assert tx
    play.on(TransactionAnswered(tx.transaction_id, Entry(AuthorizationStatus.BLOCKED), 5.0))
    assert play.remembered == [Remember(EVE, Entry(AuthorizationStatus.BLOCKED), 5.0)]


def test_already_charging_is_no_property_of_a_card() -> None:
    play = online().plug(1).tap(EVE).on(OnlineAnswered(1, Entry(status=AuthorizationStatus.CONCURRENT_TX)))
    assert play.said(1) is Reason.CONCURRENT
    assert play.remembered == []


@pytest.mark.promise("S6")
def test_eight_strangers_do_not_keep_a_listed_driver_from_the_list() -> None:
    play = online(Link.DOUBT).plug(1)
    for n in range(8):
        play.tap(f"04{n:06X}")
    play.after(2)
    assert charging(play.tap(ANN)) == [ANN, None]


@pytest.mark.promise("S7")
def test_the_words_are_true_where_a_car_only_stands_or_has_waited_long() -> None:
    play = Play(ports=1).plug(1).tap(ANN).charge(1).after(5).tap(ANN).open(1)
    assert "charging" not in WORDS[Reason.PORT_TAKEN].text, "the session may be over, or not have begun"
    play = Play().plug(1).after(3600).tap(ANN)
    assert play.said() is Reason.CHOOSE_PORT
    assert "Two cars" not in WORDS[Reason.CHOOSE_PORT].text, "there is one"


# -- energy and faults


@pytest.mark.promise("S1")
def test_a_car_that_asks_for_ventilation_gets_it_or_nothing() -> None:
    play = Play().plug(1).tap(ANN).see(1, cp=Cp.D)
    assert play.wish[0].offer_ma == 0
    assert status(play.port(1)) is Status.FAULTED
    assert play.transactions()[-1] == ("Ended", "Other")
    assert status(play.see(1, cp=Cp.B).port(1)) is Status.FAULTED, "until it is unplugged: else it would try for ever"
    assert status(play.unplug(1).port(1)) is Status.AVAILABLE
    assert Play(Settings(ventilated=True)).plug(1).tap(ANN).see(1, cp=Cp.D).wish[0].offer_ma == 32_000


@pytest.mark.parametrize("cp", [Cp.E, Cp.F])
def test_a_broken_pilot_is_no_car(cp: Cp) -> None:
    play = Play(Settings(free=True), ports=1).see(1, cp=cp)
    assert play.transactions() == []
    assert status(play.port(1)) is Status.AVAILABLE, "the fault itself is the controller's to tell"
    assert play.see(1, cp=Cp.B).see(1, cp=cp).port(1).plugged_at is not None, "nor is it an unplugged one"


@pytest.mark.promise("S1")
def test_an_emergency_stop_opens_at_once_whatever_else_is_going_on() -> None:
    play = Play().plug(1).tap(ANN).charge(1).after(5).tap(ANN).see(1, faults=frozenset({Fault.EMERGENCY_STOP}))
    assert play.wish[0].stop is Stop.NOW
    both = frozenset({Fault.CONTACTOR_STUCK_OPEN, Fault.EMERGENCY_STOP})
    play = Play().plug(1).tap(ANN).charge(1).see(1, faults=both, contactor=False)
    assert play.wish[0].stop is Stop.NOW
    assert play.transactions()[-1] == ("Ended", "EmergencyStop"), "the contactor did what the button told it"


def test_a_meter_that_fails_has_no_say_in_the_bill() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61)
    play.see(1, faults=frozenset({Fault.METER_FAULT}), energy_wh=4_294_967_295, contactor=False)
    assert play.transactions()[-1] == ("Ended", "Other")
    assert play.energy_wh()[-1] == 1050


@pytest.mark.promise("S2")
@pytest.mark.parametrize("wild_wh", [0, 1_170, 4_294_967_295])
def test_a_session_whose_meter_fails_ends_at_the_last_good_reading_not_at_the_last_stored_one(wild_wh: int) -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61).charge(1, wh=120).after(3)
    assert play.energy_wh()[-1] == 1050, "nothing is stored in between"
    failed = frozenset({Fault.METER_FAULT})
    play.see(1, faults=failed, energy_wh=wild_wh, power_w=0).after(1)
    play.command("TriggerMessage", requestedMessage="TransactionEvent", evse={"id": 1})
    play.see(1, faults=failed, energy_wh=wild_wh, contactor=False)
    assert play.transactions()[-1] == ("Ended", "Other")
    assert set(play.energy_wh()[-2:]) == {1170}


@pytest.mark.promise("S2", "S3")
def test_a_session_that_comes_back_to_a_failed_meter_ends_at_what_was_stored_and_asks_nobody_again_and_again() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61).reboot(100, same_kernel=True, controller_too=False)
    before = Report(cp=Cp.C, pwm=True, contactor=True, offer_ma=32_000, energy_wh=1_900)
    play.on(PortReported(1, replace(before, faults=frozenset({Fault.METER_FAULT}))))
    play.after(30).see(1, contactor=False)
    assert play.transactions()[-1][0] == "Ended"
    assert play.energy_wh()[-1] == 1050


@pytest.mark.promise("S1")
def test_a_latched_fault_outlives_the_agent_until_the_plug_is_out() -> None:
    seen = Report(cp=Cp.C, contactor=True, offer_ma=32_000, energy_wh=1_900)
    play = Play().plug(1).tap(ANN).charge(1).on(PortReported(1, replace(seen, faults=frozenset({Fault.OVER_CURRENT}))))
    play.on(PortReported(1, replace(seen, cp=Cp.B, contactor=False))).after(1)
    assert play.transactions()[-1] == ("Ended", "OvercurrentFault")
    plugged = replace(seen, cp=Cp.B, contactor=False)
    play = play.reboot(5, same_kernel=True, controller_too=False).reboot(5).on(PortReported(1, plugged)).tap(ANN)
    assert status(play.port(1)) is Status.FAULTED and not play.wish[0].offer_ma
    again = play.reboot(5, same_kernel=True).on(PortReported(1, replace(plugged, unplugs=1)))
    assert status(again.port(1)) is not Status.FAULTED, "another car came while the agent was away"
    assert status(play.unplug(1).port(1)) is Status.AVAILABLE
    assert status(play.reboot(5).on(PortReported(1, plugged)).port(1)) is Status.OCCUPIED, "and it stays gone"


@pytest.mark.promise("S8")
def test_a_latch_that_this_software_does_not_know_costs_no_session() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61)
    play.facts["port/1"] |= {"latched": ["from the future", "over_current"], "arrivals": "nonsense"}
    port = play.reboot(5).port(1)
    assert port.transaction and port.latched == {Fault.OVER_CURRENT}
    del play.facts["port/1"]["latched"], play.facts["port/1"]["arrivals"]
    port = play.reboot(5).port(1)
    assert port.transaction and not port.latched, "facts of an older software"


def test_heat_at_the_limit_does_not_make_the_contactor_chatter() -> None:
    play = Play().plug(1).tap(ANN).charge(1).see(1, temperature_dc=800, offer_ma=0)
    assert play.wish[0].offer_ma == 0
    assert play.see(1, temperature_dc=799).wish[0].offer_ma == 0
    assert play.see(1, temperature_dc=740).wish[0].offer_ma >= 6_000


@pytest.mark.promise("S11")
def test_nothing_is_raised_before_every_port_has_said_what_it_offers() -> None:
    settings = Settings(restart_delay_max_s=0.0)
    play = Play(settings).plug(1).tap(ANN).charge(1).plug(2).tap(BOB).see(1, offer_ma=16_000).charge(2).after(61)
    one, two = (p.report for p in play.station.ports)
    assert one and two
    play = play.reboot(off_s=3, same_kernel=True, controller_too=False).on(PortReported(1, one))
    assert play.wish[0].offer_ma == 16_000
    assert [c.offer_ma for c in play.on(PortReported(2, two)).wish] == [16_000, 16_000]


# -- cuts and clocks


@pytest.mark.promise("S3")
def test_a_controller_that_stays_away_ends_the_session_as_a_power_cut_would() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=50).after(61).see(1, energy_wh=1060).on(ControllerLost("silence"))
    assert play.after(599).port(1).transaction
    play.after(1)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")
    assert play.energy_wh()[-1] == 1050


@pytest.mark.promise("S3")
def test_a_stop_that_a_cut_interrupted_has_ten_seconds_again_and_no_more() -> None:
    play = in_session().after(50_000).tap(ANN).reboot(off_s=20)
    play.see(1, cp=Cp.B, contactor=True, energy_wh=1500).see(2)
    assert next_deadline(play.station) <= play.now + 10
    assert play.after(10).transactions()[-1] == ("Ended", "Local")


@pytest.mark.promise("S3")
def test_a_session_that_never_knew_the_time_ends_with_a_date_that_can_be() -> None:
    settings = Settings(restart_delay_max_s=0.0)
    play = Play(settings, wall_s=None).after(900_000).plug(1).tap(ANN).charge(1).after(61).reboot(off_s=5, wall=False)
    play.see(1, cp=Cp.A, energy_wh=1000).see(2)
    record = [r for r in play.records if r.action == "TransactionEvent"][-1]
    assert play.transactions()[-1] == ("Ended", "PowerLoss")
    assert record.mono_s <= play.now, "an instant of this run, which is what the record's header says"
    assert record.payload["timestamp"] <= play.payloads("SecurityEventNotification")[-1]["timestamp"]


def test_the_uptime_of_linux_is_no_outage() -> None:
    boot = Boot("b" * 16, 86_400.0, BootReason.WATCHDOG, same_kernel=True, last_seen_s=WALL_S, count=2)
    play = Play(boot=boot, now=86_400.0, wall_s=None).on(ClockTold(WALL_S + 10, ClockSource.CLOUD))
    assert "OutageDuration" not in str(play.payloads("NotifyEvent"))


def test_a_clock_that_jumps_by_years_stops_no_samples_and_floods_none() -> None:
    play = Play(Settings(tx_updated_interval_s=60.0)).plug(1).tap(ANN).charge(1).after(120)
    for wall_s in (WALL_S + 3e8, WALL_S - 3e8, WALL_S):
        before = len(play.records)
        play.on(ClockTold(wall_s, ClockSource.CLOUD)).after(600)
        assert 10 <= len(play.records) - before <= 12


def test_a_port_report_keeps_the_controllers_own_words() -> None:
    report = Report(cp=Cp.D, energy_wh=1000)
    assert Play().on(PortReported(1, report)).port(1).report == report


def test_a_free_station_starts_the_next_car_in_the_very_step_in_which_the_last_session_ends() -> None:
    play = Play(Settings(free=True), ports=1).plug(1).charge(1).see(1, cp=Cp.A, power_w=0, unplugs=1).see(1, cp=Cp.B)
    play.see(1, contactor=False)
    assert [kind for kind, _ in play.transactions() if kind != "Updated"] == ["Started", "Ended", "Started"]
