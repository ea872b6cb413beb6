"""A driver is answered in his own language, as far as the list, the cache or the cloud know it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import navigation
from agent.core import handle
from agent.events import AuthorizationStatus, CardTapped, Entry, Event, KeyPressed, Link, LookedUp, OnlineAnswered
from agent.panel import LEAVE_S, Action, Page, Panel
from agent.settings import Settings
from agent.station import Station
from agent.ui.catalogues import load_says
from agent.ui.view import screen
from agent.ui.words import LANGUAGES
from tests.test_view import CHARGING, FREE, NOW, PLUGGED, TX, station

FRENCH, GERMAN, SILENT = Entry(language="fr-CH"), Entry(language="de"), Entry()
SAYS = load_says()


def after(station: Station, *events: Event, now: float = NOW) -> Station:
    for event in events:
        station, _ = handle(station, event, now)
    return station


def tapped(station: Station, listed: Entry | None, *, now: float = NOW, uid: str = "04B1B2B3") -> Station:
    """A card at the reader, and what the list says about it."""
    ask_id = station.next_ask_id
    return after(station, CardTapped(uid), LookedUp(ask_id, listed, None), now=now)


def language(station: Station, now: float = NOW) -> str:
    return screen(station, now, SAYS).language


def test_a_driver_on_the_list_is_answered_in_his_language_for_a_minute() -> None:
    one = tapped(station(PLUGGED), FRENCH)
    notice = screen(one, NOW, SAYS).ports[0].notice
    assert language(one) == "fr" and notice and notice.title == "Badge accepté"
    assert language(navigation.left(one, NOW + LEAVE_S - 1)) == "fr"
    assert language(navigation.left(one, NOW + LEAVE_S)) == "en"
    assert navigation.deadline(one) == NOW + LEAVE_S


def test_so_is_one_who_is_refused() -> None:
    one = tapped(station(PLUGGED), Entry(AuthorizationStatus.BLOCKED, language="es"))
    notice = screen(one, NOW, SAYS).ports[0].notice
    assert notice and notice.text == "Esta tarjeta está bloqueada."


def test_and_one_whom_only_the_cloud_knows() -> None:
    one = tapped(station(PLUGGED), None)
    assert language(one) == "en"  # nobody knows yet
    assert language(after(one, OnlineAnswered(one.asks[0].ask_id, GERMAN))) == "de"


def test_and_one_who_stops_the_session_of_his_group() -> None:
    charging = replace(CHARGING, transaction=replace(TX, group_id="family"))
    one = tapped(station(charging), Entry(group_id="family", language="fr"))
    assert one.ports[0].transaction and one.ports[0].transaction.ending and language(one) == "fr"


def test_the_next_driver_is_not_answered_in_the_language_of_the_one_before() -> None:
    one = tapped(station(PLUGGED, PLUGGED), FRENCH)
    assert language(tapped(one, GERMAN, uid="04C1C2C3", now=NOW + 9)) == "de"
    assert language(tapped(one, SILENT, uid="04C1C2C3", now=NOW + 9)) == "en"
    assert language(tapped(one, Entry(language="ja"), uid="04C1C2C3", now=NOW + 9)) == "en"


def test_what_somebody_has_chosen_by_hand_stands() -> None:
    chosen = after(station(PLUGGED), KeyPressed(2, Action.LANGUAGE))
    assert language(chosen) == "es" and language(tapped(chosen, FRENCH)) == "es"
    changed = after(tapped(station(PLUGGED), FRENCH), KeyPressed(2, Action.LANGUAGE), now=NOW + 1)
    assert language(changed) == "de" and language(tapped(changed, FRENCH, uid="04C1C2C3")) == "de"
    back = navigation.left(changed, NOW + 1 + LEAVE_S)
    assert language(tapped(back, FRENCH, uid="04C1C2C3", now=NOW + 100)) == "fr"  # that choice was another's, long ago


def test_even_if_it_is_what_a_card_had_set_before() -> None:
    back = navigation.left(tapped(station(PLUGGED), Entry(language="es")), NOW + LEAVE_S)
    chosen = after(back, KeyPressed(2, Action.LANGUAGE), now=NOW + 90)
    assert language(chosen) == language(tapped(chosen, GERMAN, uid="04C1C2C3", now=NOW + 91)) == "es"


def test_an_installer_at_work_keeps_his_language() -> None:
    at_work = station(FREE, PLUGGED, panel=Panel(Page.SERVICE, touched_at=NOW, service_until=NOW + 900))
    assert language(tapped(at_work, FRENCH)) == "en"


def test_who_speaks_the_language_of_the_station_changes_nothing() -> None:
    one = tapped(station(PLUGGED, settings=Settings(language="fr")), FRENCH)
    assert one.panel.language == "" and language(one) == "fr" and navigation.deadline(one) == float("inf")


@pytest.mark.promise("S6")
@given(st.none() | st.text(max_size=8) | st.sampled_from(["fr", "ar-EG", "EN", "zh_TW"]), st.sampled_from([*LANGUAGES]))
def test_no_language_of_a_card_is_too_odd(tag: str | None, own: str) -> None:
    before = station(PLUGGED, settings=Settings(language=own), link=Link.DOWN)  # type: ignore[arg-type]
    one = tapped(before, Entry(language=tag))
    assert language(one) in LANGUAGES and one.ports[0].transaction
