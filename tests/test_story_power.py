"""Power cuts and restarts: a session resumes only if everything says that it is still the same one (S3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import ClockSource
from agent.events import ClockTold, Cp, PortReported, Report
from agent.settings import Settings
from agent.station import Boot, BootReason
from tests.play import ANN, WALL_S, Play

SETTINGS = Settings(restart_delay_max_s=0.0, tx_updated_interval_s=60.0)


def in_session(settings: Settings = SETTINGS) -> Play:
    """A session with 500 Wh on the register and its last stored sample 20 s ago."""
    return Play(settings).plug(1).tap(ANN).charge(1, wh=0).after(40).charge(1, wh=500).after(40)


@pytest.mark.promise("S3")
def test_a_short_cut_is_survived_and_the_session_goes_on() -> None:
    play = in_session().reboot(off_s=120)
    play.see(1, cp=Cp.B, energy_wh=1510).see(2)
    assert play.transactions()[-1] == ("Updated", "TxResumed")
    assert play.wish[0].offer_ma == 32_000
    play.charge(1, wh=90).after(10).tap(ANN).open(1)
    assert play.transactions()[-1] == ("Ended", "Local")
    assert play.energy_wh()[-1] == 1600
    assert [p["seqNo"] for p in play.payloads("TransactionEvent")] == list(range(len(play.transactions())))


@pytest.mark.promise("S3")
def test_a_long_cut_ends_the_session_at_the_last_stored_value() -> None:
    play = in_session().reboot(off_s=601)
    play.see(1, cp=Cp.B, energy_wh=1510).see(2)
    ended = play.payloads("TransactionEvent")[-1]
    assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
    assert play.energy_wh()[-1] == 1500, "the 10 Wh after the last stored sample are not billed"
    assert ended["timestamp"] < "2026-09-21T14:15:00", "dated by the last reading, not by the restart"
    assert play.wish[0].offer_ma == 0


@pytest.mark.promise("S3")
def test_a_car_that_left_during_the_cut_ends_the_session() -> None:
    play = in_session().reboot(off_s=60)
    play.see(1, cp=Cp.A, energy_wh=1500).see(2)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")


@pytest.mark.promise("S3")
def test_a_car_swapped_while_only_the_host_was_away_ends_the_session() -> None:
    play = in_session().reboot(off_s=60, controller_too=False)
    play.see(1, cp=Cp.C, energy_wh=1500, unplugs=1).see(2)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")


@pytest.mark.promise("S3")
def test_a_register_that_went_back_ends_the_session_at_the_last_stored_value() -> None:
    play = in_session().reboot(off_s=60)
    play.see(1, cp=Cp.B, energy_wh=7).see(2)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")
    assert play.energy_wh()[-1] == 1500


@pytest.mark.promise("S3")
def test_with_an_unknown_clock_the_session_waits_for_the_time_and_then_resumes() -> None:
    play = in_session().reboot(off_s=120, wall=False)
    play.see(1, cp=Cp.B, energy_wh=1500).see(2).after(50)
    assert play.wish[0].offer_ma == 0
    play.on(ClockTold(WALL_S + 80 + 120 + 50, ClockSource.CLOUD))
    assert play.transactions()[-1] == ("Updated", "TxResumed")
    assert play.wish[0].offer_ma == 32_000


@pytest.mark.promise("S3")
def test_with_a_clock_that_never_comes_the_session_ends() -> None:
    play = in_session().reboot(off_s=120, wall=False)
    play.see(1, cp=Cp.B, energy_wh=1500).see(2).after(600)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")


@pytest.mark.promise("S3")
def test_a_restart_of_the_agent_alone_needs_no_clock() -> None:
    play = in_session().reboot(off_s=5, wall=False, controller_too=False, same_kernel=True)
    play.see(1, cp=Cp.C, contactor=True, power_w=7000, offer_ma=32_000, energy_wh=1510).see(2)
    assert play.transactions()[-1] == ("Updated", "TxResumed")
    assert play.wish[0].offer_ma == 32_000


@pytest.mark.promise("S3")
def test_the_same_card_stops_the_session_it_started_before_the_cut() -> None:
    play = in_session().reboot(off_s=60)
    play.see(1, cp=Cp.B, energy_wh=1500).see(2).charge(1).after(10).tap(ANN).open(1)
    assert play.transactions()[-1] == ("Ended", "Local")


@pytest.mark.promise("S3")
def test_twenty_short_cuts_in_a_row_lose_nothing_and_end_once() -> None:
    play = in_session()
    for _ in range(20):
        play = play.reboot(off_s=3)
        play.see(1, cp=Cp.B, energy_wh=1500)
    play.see(2).charge(1, wh=100).after(10).tap(ANN).open(1)
    kinds = [kind for kind, _ in play.transactions()]
    assert kinds.count("Started") == kinds.count("Ended") == 1
    assert play.energy_wh()[-1] == 1600
    assert [p["seqNo"] for p in play.payloads("TransactionEvent")] == list(range(len(kinds)))


def test_a_cut_during_the_stop_keeps_the_reason_of_the_stop() -> None:
    play = in_session().tap(ANN).reboot(off_s=60)
    play.see(1, cp=Cp.B, energy_wh=1500)
    assert play.transactions()[-1] == ("Ended", "Local")


def test_after_a_site_wide_cut_each_port_waits_its_own_random_time() -> None:
    play = in_session(Settings(restart_delay_max_s=60.0)).reboot(off_s=120)
    play.see(1, cp=Cp.B, energy_wh=1500).see(2)
    assert play.wish[0].offer_ma == 0
    play.after(29)
    assert play.wish[0].offer_ma == 0
    play.after(1.1)
    assert play.wish[0].offer_ma == 32_000


def test_the_first_power_on_of_its_life_waits_for_nothing() -> None:
    assert Play(Settings(restart_delay_max_s=60.0)).plug(1).tap(ANN).wish[0].offer_ma == 32_000


def test_boot_reason_and_outage_are_reported_as_soon_as_they_are_known() -> None:
    play = in_session().reboot(off_s=300, wall=False)
    started = play.payloads("SecurityEventNotification")[-1]
    assert started["customData"]["bootReason"] == "PowerUp"
    play.on(ClockTold(WALL_S + 80 + 300, ClockSource.CLOUD))
    away = play.payloads("NotifyEvent")[-1]["eventData"][0]
    assert away["variable"] == {"name": "OutageDuration"}
    assert abs(int(away["actualValue"]) - 380) <= 1, "since the last sign of life"


@pytest.mark.promise("S9")
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_facts_that_cannot_be_read_cost_a_port_its_memory_and_nothing_else(fact: object) -> None:
    play = Play(facts={"port/1": fact, "port/2": {"off": ["evse"], "off_next": [], "transaction": fact}})
    assert play.plug(1).tap(ANN).wish[0].offer_ma in (0, 32_000)


@pytest.mark.promise("S2")
def test_a_stored_session_that_cannot_be_read_is_kept_aside_and_told() -> None:
    """Software that was rolled back meets what newer software has written."""
    play = in_session()
    fact = play.facts["port/1"]
    newer = {**fact, "transaction": {**fact["transaction"], "rule": 7}}
    after = Play(facts={"port/1": newer, "port/2": play.facts.get("port/2")})
    event, _self_test = (p["eventData"][0] for p in after.payloads("NotifyEvent"))
    assert (event["variable"]["name"], event["techInfo"]) == ("StoredSession", newer["transaction"]["transaction_id"])
    assert after.facts["unread/port/1"] == newer and "unread/port/2" not in after.facts


def test_a_clean_second_start_has_no_session_to_resume() -> None:
    play = Play(boot=Boot("b" * 16, 0.0, BootReason.POWER_UP, count=2), settings=SETTINGS).plug(1).tap(ANN)
    play.on(PortReported(1, Report(cp=Cp.A, energy_wh=1000))).reboot(off_s=60)
    assert [kind for kind, _ in play.transactions()] == ["Started", "Ended"]


def test_an_ended_session_whose_contactor_is_not_seen_open_leaves_no_deadline_in_the_past() -> None:
    """Found by seed 1033: the resumption deadline stayed due, and the loop would have spun for ten seconds."""
    play = in_session().reboot(off_s=120, wall=False)
    play.see(1, cp=Cp.B, contactor=True, energy_wh=1500).see(2).after(700)
    assert play.transactions()[-1] == ("Ended", "PowerLoss")
