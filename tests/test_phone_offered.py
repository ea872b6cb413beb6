"""The wizard's last page offers a phone, to whoever stands at the display: what an attacker tries at this way in, and
that it is closed before, after and beside it. The listener's own threats: tests/test_phone_threats.py."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import navigation, service
from agent.events import FieldEntered, KeyPressed, PhoneTold, ServiceOpened
from agent.panel import ENTER_S, LEAVE_S, SERVICE_S, Action, DoorProblem, Page
from agent.ui import phone as phone_module
from agent.ui.door import TRIES
from agent.ui.model import Qr, ScreenModel
from agent.ui.view import screen
from agent.wizard.facts import STEPS, Step
from agent.wizard.layer import held_ma
from tests.installing import Installer, activate
from tests.phone import Browser, Site, is_listening, token_of
from tests.test_look import complete
from tests.test_wizard import installed


class Installing(Site):
    """The station at the end of its wizard, with a door for phones."""

    def __init__(self, folder: Path) -> None:
        self.me = complete()
        super().__init__(folder)
        self.play = self.me.play
        self.play.on(PhoneTold())

    def view(self, language: str) -> ScreenModel:
        shown = replace(self.me.play.station.panel, page=Page.WIZARD, language=language)
        return screen(replace(self.me.play.station, panel=shown), self.me.play.now)

    def press(self, label: str) -> None:
        self.me.press(label)
        self.follow()

    def offered(self) -> PhoneTold:
        """Somebody at the display presses Phone; what the panel shows then."""
        self.press("Phone")
        return self.told()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installing]:
    for name in ("ACCEPT_S", "STRANGER_S", "FIELD_S"):
        monkeypatch.setattr(phone_module, name, 0.0)
    made = Installing(tmp_path)
    yield made
    made.close()


def with_door(me: Installer) -> Installer:
    me.play.on(PhoneTold())
    return me


# -- who may open it --------------------------------------------------------------------------------------------------


def test_it_is_off_until_a_key_at_the_display_opens_it_on_the_last_page(site: Installing) -> None:
    assert site.phone.visit is None and "Phone" in site.me.keys
    told = site.offered()
    assert site.me.shows(Page.PHONE) and is_listening(told)
    codes = [block for block in site.me.page.blocks if isinstance(block, Qr)]
    assert [code.data for code in codes] == [told.link] and codes[0].text == told.address


@pytest.mark.parametrize("step", [step for step in STEPS if step is not Step.HAND_OVER])
def test_no_other_page_offers_it(step: Step) -> None:
    me = with_door(complete()).enter("step", step)
    assert "Phone" not in me.keys
    me.play.on(KeyPressed(2, Action.PHONE)).on(KeyPressed(3, Action.PHONE))
    assert not service.is_let_in(me.play.station.panel)


def test_not_while_something_is_missing() -> None:
    me = with_door(Installer()).enter("step", "hand-over")
    assert "Phone" not in me.keys and not service.is_let_in(me.play.on(KeyPressed(2, Action.PHONE)).station.panel)


def test_not_without_an_address_for_it() -> None:
    assert "Phone" not in complete().keys


def test_not_after_the_hand_over_or_the_activation() -> None:
    me = with_door(installed())
    assert "Phone" not in me.keys
    active = with_door(complete())
    activate(active)
    assert active.shows(Page.HOME) and not service.is_let_in(active.play.on(KeyPressed(2, Action.PHONE)).station.panel)


def test_nothing_that_comes_over_a_wire_presses_the_key() -> None:
    me = with_door(complete())
    for by_phone in (False, True):
        for name, value in (("phone", "1"), ("step", "phone"), ("service", "phone"), ("key", "3")):
            me.play.on(FieldEntered(name, value, by_phone))
    assert not service.is_let_in(me.play.station.panel)


# -- what a phone has then --------------------------------------------------------------------------------------------


def test_whoever_scans_the_code_fills_in_what_is_open_and_the_display_goes_on(site: Installing) -> None:
    told = site.offered()
    phone = Browser(site, told)
    assert phone.enter(token_of(told)) == 204
    site.told()
    site.play.after(LEAVE_S + 1)
    assert site.me.shows(Page.WIZARD) and "End phone" in site.me.keys
    for name, value in (("step", "installer"), ("company", "B2")):
        site.play.after(1)
        assert phone.post("/api/field", {"name": name, "value": value})[0] == 204
        site.hear()
    assert site.play.station.wizard.company == "B2"


@pytest.mark.promise("S11")
def test_unsafe_amperage_still_waits_for_a_key_at_the_display(site: Installing) -> None:
    told = site.offered()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    site.told()
    before = held_ma(site.play.station)
    for name, value in (("step", "circuit"), ("circuit_limit_a", "13")):
        assert phone.post("/api/field", {"name": name, "value": value})[0] == 204
        site.hear()
        site.play.after(1)
    assert site.me.shows(Page.WIZARD) and site.me.keys[1:] == ["End phone", "Later", "Confirm"]
    assert held_ma(site.play.station) == before
    site.press("Confirm")
    assert held_ma(site.play.station) == 13_000


def test_the_token_opens_once_and_guessing_ends_after_five_tries(site: Installing) -> None:
    told = site.offered()
    thief = Browser(site, told)
    said = [thief.enter("00000000") for _ in range(TRIES)]
    assert 204 not in said and thief.enter(token_of(told)) != 204
    assert site.told().problem is DoorProblem.GUESSED
    assert site.me.shows(Page.PHONE) and "Too many wrong codes" in site.me.prose()
    assert site.phone.visit
    site.phone.visit.join()
    assert not is_listening(told)


def test_pressed_again_it_has_other_secrets_and_the_first_code_is_worth_nothing(site: Installing) -> None:
    first = site.offered()
    site.press("Back")
    assert site.me.shows(Page.WIZARD)
    second = site.offered()
    assert token_of(first) != token_of(second) and first.code != second.code
    assert Browser(site, second).enter(token_of(first)) != 204


# -- when it is over --------------------------------------------------------------------------------------------------


def test_who_does_not_come_within_five_minutes_finds_it_closed(site: Installing) -> None:
    told = site.offered()
    site.play.after(ENTER_S - 1)
    assert site.me.shows(Page.PHONE), "it waits as long as the door does"
    site.play.after(2)
    site.follow()
    assert site.me.shows(Page.WIZARD) and not is_listening(told)


def test_half_an_hour_after_the_key_it_is_over_even_for_who_is_in(site: Installing) -> None:
    told = site.offered()
    site.play.after(ENTER_S - 10)
    Browser(site, told).enter(token_of(told))
    site.told()
    site.play.after(SERVICE_S - ENTER_S)
    assert service.is_phone_in(site.play.station)
    site.play.after(20)
    site.follow()
    assert not service.is_phone_in(site.play.station) and not is_listening(told)


@pytest.mark.parametrize("end", ["Hand over", "activation", "End phone"])
def test_hand_over_activation_and_a_key_end_it_at_once(site: Installing, end: str) -> None:
    told = site.offered()
    Browser(site, told).enter(token_of(told))
    site.told()
    if end == "activation":
        activate(site.me)
    elif end == "End phone":
        site.press(end)
    else:
        site.press("Back")
        site.press(end)
    site.follow()
    assert not service.is_let_in(site.play.station.panel) and not is_listening(told)
    assert not site.me.shows(Page.PHONE)


def test_a_restart_ends_it(site: Installing) -> None:
    site.offered()
    assert not service.is_let_in(site.me.cut().play.station.panel)


def test_the_operator_hears_of_the_phone(site: Installing) -> None:
    told = site.offered()
    Browser(site, told).enter(token_of(told))
    site.told()
    events = [p["techInfo"] for p in site.play.payloads("SecurityEventNotification")]
    assert any("installer's phone" in text for text in events)


def test_the_way_through_the_service_menu_is_what_it_was() -> None:
    me = with_door(installed())
    me.play.on(ServiceOpened("button")).on(FieldEntered("service", "phone"))
    assert service.is_let_in(me.play.station.panel) and me.shows(Page.SERVICE)


PRESSES = st.tuples(st.integers(1, 4), st.sampled_from([0.1, 1.0, 30.0, 400.0]))


@settings(max_examples=60, deadline=None)
@given(presses=st.lists(PRESSES, max_size=25), is_on=st.booleans())
def test_whatever_is_pressed_a_door_is_open_only_where_it_may(presses: list[tuple[int, float]], *, is_on: bool) -> None:
    """Judged from outside: opened by a key called Phone, or behind the service menu; never when installing is over."""
    me = with_door(complete())
    if is_on:
        activate(me)
    for key, after_s in presses:
        me.play.after(after_s)
        was_in, label = service.is_let_in(me.play.station.panel), me.screen.keys[key - 1].label
        me.play.on(KeyPressed(key))
        panel = me.play.station.panel
        if service.is_let_in(panel):
            assert was_in or label == "Phone"
            assert me.play.now < panel.phone_at + SERVICE_S
            is_over = me.play.station.settings.activated or Step.HAND_OVER in me.play.station.wizard.done
            assert not is_over
        assert navigation.page(me.play.station) is not Page.PHONE or not is_on
