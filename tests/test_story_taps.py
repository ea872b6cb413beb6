"""One reader, two ports: the token goes to the port that was plugged or chosen, never to the other; and in time."""

import pytest

from agent.events import (
    AuthorizationStatus,
    CardTapped,
    Entry,
    Link,
    LinkChanged,
    OnlineAnswered,
    PortChosen,
)
from agent.faults import Fault
from agent.policy.reasons import WORDS, Reason
from agent.settings import Settings
from tests.play import ANN, BOB, EVE, Play

STATUS = AuthorizationStatus


def charging(play: Play) -> list[str | None]:
    """Whose session runs at each port."""
    return [p.transaction.id_token if p.transaction else None for p in play.station.ports]


# -- which port


def test_the_tap_goes_to_the_port_that_was_just_plugged_in() -> None:
    assert charging(Play().plug(2).after(10).tap(ANN)) == [None, ANN]


def test_with_two_cars_waiting_nobody_guesses_and_the_button_decides() -> None:
    play = Play().plug(1).plug(2).tap(ANN)
    assert charging(play) == [None, None]
    assert play.said() is Reason.CHOOSE_PORT
    assert charging(play.on(PortChosen(2))) == [None, ANN]


def test_a_button_pressed_first_aims_the_tap() -> None:
    assert charging(Play().plug(1).plug(2).on(PortChosen(1)).tap(BOB)) == [BOB, None]


def test_a_button_pressed_long_ago_counts_no_more() -> None:
    play = Play().plug(1).plug(2).on(PortChosen(1)).after(61).tap(BOB)
    assert charging(play) == [None, None]


def test_a_car_that_has_waited_for_an_hour_may_be_nobodys() -> None:
    play = Play().plug(1).after(3600).tap(ANN)
    assert charging(play) == [None, None]
    assert play.said() is Reason.CHOOSE_PORT
    assert charging(play.plug(2)) == [None, None], "a card that waits for a choice is not taken by the next plug"


def test_a_car_that_was_served_and_stays_is_not_charged_to_the_next_driver() -> None:
    play = Play().plug(2).tap(BOB).charge(2).plug(1).tap(ANN).see(2, offer_ma=16_000)
    play.charge(1).after(60).tap(ANN).open(1).after(30).tap(EVE)
    assert charging(play) == [None, BOB]
    assert play.said(1) is Reason.PORT_TAKEN


def test_two_taps_in_one_instant_never_share_a_port() -> None:
    play = Play().plug(1).on(CardTapped(ANN)).on(CardTapped(BOB))
    assert charging(play)[0] == ANN
    assert charging(play.plug(2)) == [ANN, BOB]


def test_while_one_card_is_asked_about_the_next_one_does_not_take_its_car() -> None:
    play = Play().on(LinkChanged(Link.UP)).plug(1).tap(EVE).tap(ANN)
    assert charging(play) == [None, None]
    play.on(OnlineAnswered(1, Entry()))
    assert charging(play) == [EVE, None]
    assert charging(play.plug(2)) == [EVE, ANN]


def test_two_cards_before_any_plug_are_not_mixed_up() -> None:
    play = Play().tap(ANN).tap(BOB)
    assert play.said() is Reason.PLUG_IN_FIRST
    play.plug(2)
    assert charging(play) == [None, None], "this car may be the other driver's"
    assert charging(play.on(PortChosen(2))) == [None, ANN]


def test_the_same_card_held_against_the_reader_is_one_tap() -> None:
    play = Play().plug(1)
    for _ in range(20):
        play.tap(ANN).after(0.5)
    assert charging(play) == [ANN, None]


def test_one_card_on_two_ports_is_refused_unless_the_owner_allows_it() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).after(10).on(PortChosen(2)).tap(ANN)
    assert charging(play) == [ANN, None]
    assert play.said(2) is Reason.CONCURRENT
    play = Play(Settings(concurrent_tx=True)).plug(1).tap(ANN).charge(1).plug(2).after(10).tap(ANN)
    assert charging(play) == [ANN, ANN]


def test_the_starting_card_stops_its_own_session_though_another_car_waits() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).after(10).tap(ANN).open(1)
    assert charging(play) == [None, None]
    assert play.transactions(1)[-1] == ("Ended", "Local")


def test_a_port_with_a_fault_is_not_a_place_to_wait_for() -> None:
    play = Play().see(1, faults=frozenset({Fault.METER_FAULT})).tap(ANN)
    assert play.station.holding is None
    assert charging(play.plug(2)) == [None, ANN]


def test_with_every_port_taken_the_driver_hears_so() -> None:
    play = Play().plug(1).tap(ANN).charge(1).after(5).plug(2).tap(BOB).tap(EVE)
    assert Reason.PORT_TAKEN in (play.said(1), play.said(2))


# -- groups and the master pass


def test_a_card_of_the_same_group_stops_the_session_and_of_another_does_not() -> None:
    family = {ANN: Entry(group_id="home"), BOB: Entry(group_id="home"), EVE: Entry(group_id="other")}
    play = Play(ports=1, allow=family).plug(1).tap(ANN).charge(1).after(10).tap(EVE)
    assert play.said(1) is Reason.PORT_TAKEN
    assert play.tap(BOB).open(1).transactions()[-1] == ("Ended", "Local")


def test_colleagues_of_one_access_group_do_not_stop_each_other() -> None:
    staff = {ANN: Entry(groups=frozenset({"staff"})), BOB: Entry(groups=frozenset({"staff"}))}
    play = Play(ports=1, allow=staff).plug(1).tap(ANN).charge(1).after(10).tap(BOB)
    assert charging(play) == [ANN]
    assert play.wish[0].offer_ma


def test_the_master_pass_stops_any_session_and_never_starts_one() -> None:
    settings = Settings(master_pass_group_id="fire")
    people = {ANN: Entry(), EVE: Entry(group_id="fire")}
    play = Play(settings, allow=people).plug(1).tap(ANN).charge(1).after(10).tap(EVE).open(1)
    assert play.transactions()[-1] == ("Ended", "MasterPass")
    play.unplug(1).after(10).plug(2).tap(EVE)
    assert charging(play) == [None, None]
    assert play.said(2) is Reason.STOP_ONLY


# -- list, cache, cloud: S6


@pytest.mark.promise("S6")
def test_the_list_decides_without_asking_anybody() -> None:
    play = Play().on(LinkChanged(Link.UP)).plug(1).tap(ANN)
    assert charging(play) == [ANN, None]
    assert play.asked == []


@pytest.mark.promise("S6")
@pytest.mark.parametrize(("link", "wait_s"), [(Link.UP, 8.0), (Link.DOUBT, 1.5)])
def test_an_unknown_card_is_asked_about_and_the_wait_has_an_end(link: Link, wait_s: float) -> None:
    play = Play().on(LinkChanged(link)).plug(1).tap(EVE)
    assert [a.timeout_s for a in play.asked] == [wait_s]
    play.after(wait_s - 0.01)
    assert play.said(1) is None
    play.after(0.01)
    assert play.said(1) is Reason.COULD_NOT_ASK


@pytest.mark.promise("S6", "S7")
def test_without_a_link_an_unknown_card_is_refused_at_once_as_not_asked() -> None:
    play = Play().plug(1).tap(EVE)
    assert play.asked == []
    assert play.said(1) is Reason.COULD_NOT_ASK
    assert WORDS[Reason.COULD_NOT_ASK].text != WORDS[Reason.NOT_CONNECTED].text


@pytest.mark.promise("S6")
def test_a_late_accepted_still_starts_within_twenty_seconds_of_the_tap() -> None:
    play = Play().on(LinkChanged(Link.DOUBT)).plug(1).tap(EVE).after(19.9).on(OnlineAnswered(1, Entry()))
    assert charging(play) == [EVE, None]
    play = Play().on(LinkChanged(Link.DOUBT)).plug(1).tap(EVE).after(20).on(OnlineAnswered(1, Entry()))
    assert charging(play) == [None, None]


@pytest.mark.promise("S6")
def test_a_late_accepted_does_not_take_a_port_that_somebody_else_has_taken() -> None:
    play = Play(ports=1).on(LinkChanged(Link.DOUBT)).plug(1).tap(EVE).after(2).tap(ANN).charge(1)
    assert charging(play.on(OnlineAnswered(1, Entry()))) == [ANN]


@pytest.mark.promise("S6")
def test_a_list_that_does_not_answer_is_no_reason_to_wait() -> None:
    play = Play().plug(1)
    play.mute_list = True
    play.tap(ANN).after(0.3)
    assert play.said(1) is Reason.COULD_NOT_ASK


def test_the_clouds_refusal_is_said_in_its_own_words_and_remembered() -> None:
    play = Play().on(LinkChanged(Link.UP)).plug(1).tap(EVE).on(OnlineAnswered(1, Entry(status=STATUS.NO_CREDIT)))
    assert play.said(1) is Reason.NO_CREDIT
    assert [(r.id_token, r.entry.status) for r in play.remembered] == [(EVE, STATUS.NO_CREDIT)]


def test_a_timeout_is_never_remembered_as_an_answer() -> None:
    play = Play().on(LinkChanged(Link.UP)).plug(1).tap(EVE).after(30)
    assert play.remembered == []


def test_a_cached_refusal_is_asked_about_again_while_it_can_be() -> None:
    cached = {EVE: Entry(status=STATUS.BLOCKED)}
    play = Play(cached=cached).on(LinkChanged(Link.UP)).plug(1).tap(EVE)
    assert len(play.asked) == 1
    play = Play(cached=cached).plug(1).tap(EVE)
    assert play.said(1) is Reason.CARD_BLOCKED


def test_known_bad_cards_are_refused_offline_even_where_unknown_ones_may_charge() -> None:
    settings = Settings(offline_tx_for_unknown_id=True)
    assert charging(Play(settings).plug(1).tap(EVE)) == [EVE, None]
    play = Play(settings, allow={EVE: Entry(status=STATUS.BLOCKED)}).plug(1).tap(EVE)
    assert play.said(1) is Reason.CARD_BLOCKED


def test_the_list_beats_the_cache() -> None:
    removed = {EVE: Entry(removed=True, status=STATUS.INVALID)}
    play = Play(allow=removed, cached={EVE: Entry()}).plug(1).tap(EVE)
    assert play.said(1) is Reason.CONNECTION_REMOVED


@pytest.mark.promise("S7")
def test_a_pending_approval_is_not_the_same_as_an_unknown_card() -> None:
    play = Play(allow={EVE: Entry(pending=True)}).plug(1).tap(EVE)
    assert play.said(1) is Reason.APPROVAL_PENDING


# -- ids


@pytest.mark.parametrize("uid", ["04a1a1a1", "04:A1:A1:A1", "04 a1 a1 a1", "0x04A1A1A1", "04-A1-A1-A1\r\n"])
def test_every_spelling_of_a_card_is_the_same_card(uid: str) -> None:
    assert charging(Play().plug(1).tap(uid)) == [ANN, None]


@pytest.mark.parametrize("uid", ["", "hello", "04A1", "04A1A1A", "00" * 11, "04A1A1A1\x00", "🚗"])
def test_what_cannot_be_a_card_is_called_unreadable(uid: str) -> None:
    play = Play().plug(1).tap(uid)
    assert play.said() is Reason.UNREADABLE
    assert play.station.asks == ()


def test_a_phone_with_a_changing_id_is_told_what_to_do() -> None:
    play = Play(allow={"08123456": Entry()}).plug(1).tap("08123456")
    assert play.said(1) is Reason.RANDOM_UID
    assert "app" in WORDS[Reason.RANDOM_UID].action


# -- the table


@pytest.mark.promise("S7")
def test_every_refusal_has_its_own_words_code_and_status() -> None:
    assert len({w.code for w in WORDS.values()}) == len(WORDS)
    assert len({w.text for w in WORDS.values()}) == len(WORDS)
    assert all(w.text.endswith((".", "?")) and w.action.endswith(".") for w in WORDS.values())
    ours = set(AuthorizationStatus) - {w.status for w in WORDS.values()}
    assert ours == set(), "each OCPP status is somebody's"


def test_a_broken_reader_cannot_fill_the_station_with_questions() -> None:
    play = Play().on(LinkChanged(Link.UP)).plug(1)
    for n in range(1000):
        play.tap(f"04{n:06X}")
    assert len(play.station.asks) <= 8


def test_at_a_free_station_a_taken_port_is_taken_though_the_cloud_could_be_asked() -> None:
    play = Play(Settings(free=True, master_pass_group_id="fire")).on(LinkChanged(Link.UP)).plug(1).after(20).plug(2)
    play.after(20).tap(EVE)
    assert [a.id_token for a in play.asked] == [EVE], "it may be the master pass: only the cloud knows"
    play.on(OnlineAnswered(1, Entry()))
    assert charging(play) == ["", ""]
    assert play.said(1) is Reason.PORT_TAKEN
