"""A page that is longer than the display is turned by the keys; nothing of it is out of reach."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock
from agent.core import handle
from agent.events import CardTapped, Event, KeyPressed, PageMeasured, PortChosen, Report, ScreenTouched
from agent.navigation import HELP_PARTS, pressed
from agent.panel import LEAVE_S, Action, Page
from agent.policy.reasons import WORDS, Reason, stands_s
from agent.port import Port
from agent.settings import Settings
from agent.station import Boot, BootReason, Station
from agent.ui.view import screen
from agent.wizard.facts import Step

STATION = Station(
    Settings(station_id="SA-1"), Boot("0011223344556677", 0.0, BootReason.POWER_UP), Clock(),
    (Port(1, report=Report()), Port(2, report=Report())),
)  # fmt: skip
HELP, NEXT = KeyPressed(1, Action.HELP), KeyPressed(4, Action.NEXT)
ABOUT, TURN = KeyPressed(3, Action.ABOUT), KeyPressed(3, Action.NEXT)


def after(*events: Event, now: float = 1.0) -> Station:
    station = STATION
    for event in events:
        station, _ = handle(station, event, now)
    return station


def test_a_long_page_is_turned_to_its_end_before_the_next_one_comes() -> None:
    seen = []
    station = after(HELP, PageMeasured(3))
    for _ in range(4):
        seen.append((station.panel.at, station.panel.turned))
        station, _ = handle(station, NEXT, 1.0)
    assert seen == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_a_page_that_fits_is_left_at_the_first_press() -> None:
    assert after(HELP, NEXT).panel.at == 1
    assert after(HELP, *[NEXT] * HELP_PARTS).panel.at == 0


def test_a_page_without_a_next_one_begins_anew() -> None:
    assert [after(HELP, ABOUT, PageMeasured(2), *[TURN] * n).panel.turned for n in range(4)] == [0, 1, 0, 1]


def test_about_offers_to_turn_only_where_there_is_something_to_turn() -> None:
    for screenfuls, label in ((1, ""), (2, "Next")):
        assert screen(after(HELP, ABOUT, PageMeasured(screenfuls)), 1.0).keys[2].label == label


def test_whoever_taps_a_card_sees_its_answer_whatever_was_read_before() -> None:
    for read in ((HELP,), (HELP, ABOUT, PageMeasured(2), TURN)):
        model = screen(after(*read, CardTapped("04A2B3C4")), 1.0)
        assert model.page is Page.HOME and model.notice and model.notice.title == "Card read"


def test_the_next_port_begins_at_its_first_screenful() -> None:
    station = after(PortChosen(1), PageMeasured(2), NEXT, NEXT)
    assert (station.panel.at, station.panel.turned, station.panel.screenfuls) == (2, 0, 1)


def test_large_text_and_another_language_show_the_page_from_its_beginning() -> None:
    turned = (PortChosen(1), PageMeasured(3), NEXT)
    for key, action in ((2, Action.LANGUAGE), (3, Action.LARGE)):
        assert after(*turned, KeyPressed(key, action)).panel.turned == 0


def test_in_the_wizard_nothing_is_confirmed_unseen() -> None:
    station = replace(STATION, panel=replace(STATION.panel, page=Page.WIZARD, screenfuls=2))
    asks = replace(station, wizard=replace(station.wizard, step=Step.CIRCUIT, confirms=True))
    seen = pressed(asks, KeyPressed(4), 1.0)
    assert seen.wizard.confirms and seen.panel.turned == 1
    confirmed = pressed(seen, KeyPressed(4), 1.0)
    assert not confirmed.wizard.confirms and confirmed.panel.turned == 0


def test_in_the_wizard_the_next_step_waits_until_this_one_was_shown() -> None:
    station = replace(STATION, panel=replace(STATION.panel, page=Page.WIZARD, screenfuls=2))
    steps = [station.wizard.step]
    for _ in range(2):
        station = pressed(station, KeyPressed(4), 1.0)
        steps.append(station.wizard.step)
    assert steps[0] == steps[1] != steps[2] and station.panel.screenfuls == 1


presses = st.one_of(
    st.builds(KeyPressed, st.integers(1, 4)), st.builds(PortChosen, st.integers(1, 2)),
    st.builds(PageMeasured, st.integers(1, 64)),
)  # fmt: skip


@given(st.lists(presses, max_size=40))
def test_whatever_is_pressed_the_screenful_that_is_shown_is_there(events: list[Event]) -> None:
    panel = after(*events).panel
    assert 0 <= panel.turned < panel.screenfuls


# -- the start page, at rest ------------------------------------------------------------------------------------------

REST = 1.0 + LEAVE_S


def test_the_start_page_turns_by_itself_until_somebody_is_there_and_again_when_he_has_gone() -> None:
    """WCAG 2.2.2: any press or touch holds it."""
    station = after(PageMeasured(3))
    assert screen(station, 1.0).turns
    for touch in (KeyPressed(2), ScreenTouched()):
        held, _ = handle(station, touch, 1.0)
        assert [screen(held, now).turns for now in (1.0, REST - 0.1, REST)] == [False, False, True]


def test_a_key_turns_the_start_page_on_to_its_end_and_then_leads_to_the_ports() -> None:
    station, said = after(PageMeasured(3)), []
    for _ in range(4):
        model = screen(station, 1.0)
        said.append((model.keys[3].label, model.turned))
        station, _ = handle(station, KeyPressed(4, model.keys[3].action), 1.0)
    assert said == [("Next", 0), ("Next", 1), ("Ports", 2), ("Next", 0)] and station.panel.page is Page.PORT


def test_who_comes_after_a_while_begins_at_the_beginning() -> None:
    station = after(PageMeasured(2), KeyPressed(4, Action.NEXT))
    assert screen(station, REST).keys[3].label == "Next"
    station, _ = handle(station, KeyPressed(2, Action.LANGUAGE), REST)
    assert station.panel.turned == 0


def test_a_start_page_that_fits_or_shows_ports_at_work_leads_straight_to_them() -> None:
    assert screen(after(PageMeasured(1)), 1.0).keys[3].label == "Ports"
    at_work = after(PageMeasured(3), CardTapped("04A2B3C4"))
    assert screen(at_work, 1.0).keys[3].label == "Ports"


# -- what is said to who has tapped -----------------------------------------------------------------------------------

UNREADABLE = CardTapped("?")


def test_an_answer_stands_as_long_as_it_takes_to_read_it() -> None:
    for reason in Reason:
        words = len(f"{WORDS[reason].text} {WORDS[reason].action}".split())
        assert stands_s(reason) >= max(8.0, 60 * words / 130)  # a slow reader's words a minute
    assert stands_s(None) == 8.0 < 12.0 < stands_s(Reason.NOT_CONNECTED) <= 20.0
    station = after(UNREADABLE)
    (said,) = station.notices
    notice = screen(station, said.until - 0.1).notice
    assert notice and said.until == 1.0 + notice.stands_s == 1.0 + stands_s(Reason.UNREADABLE)
    assert screen(station, said.until).notice is None


def test_the_next_tap_or_key_replaces_an_answer_at_once() -> None:
    for event in (KeyPressed(1), KeyPressed(4), PortChosen(2)):
        station, _ = handle(after(UNREADABLE), event, 2.0)
        assert screen(station, 2.0).notice is None, event
    station, _ = handle(after(UNREADABLE), CardTapped("04A2B3C4"), 2.0)
    notice = screen(station, 2.0).notice
    assert notice and notice.title == "Card read"


def test_an_answer_can_be_read_again_in_another_language_or_larger() -> None:
    for event in (KeyPressed(2), KeyPressed(3), ScreenTouched()):
        station, _ = handle(after(UNREADABLE), event, 2.0)
        assert screen(station, 2.0).notice, event
