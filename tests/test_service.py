"""The service menu: nobody has it without an act inside the station, nobody keeps it, and everything in it works with
four keys or by touch."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import navigation, service
from agent.core import handle
from agent.effects import Count
from agent.events import CaseTold, FieldEntered, KeyPressed, Machine, PhoneTold, ServiceOpened, UploadTold
from agent.faults import Fault
from agent.panel import ENTER_S, LEAVE_S, SERVICE_S, Action, DoorProblem, Page, Panel, Part
from agent.settings import Settings
from agent.station import ResetType
from agent.ui.led import Light
from agent.ui.model import Field, PageModel, Qr, Row, Rows, ScreenModel
from agent.ui.pages import about_rows
from agent.ui.view import lights, screen
from agent.ui.words import ENGLISH
from tests.installing import Installer
from tests.play import WALL_S, Play
from tests.test_wizard import installed

LINK, ADDRESS = "https://192.168.4.1:8443/#0123456789abcdef0123456789abcdef", "https://192.168.4.1:8443"


def opened(**options: Any) -> Play:
    return Play(Settings(), **options).on(ServiceOpened("button"))


def seen(play: Play) -> ScreenModel:
    return screen(play.station, play.now)


def content(play: Play) -> PageModel:
    shown = seen(play).content
    assert shown
    return shown


def press(play: Play, action: Action) -> Play:
    """The key that does this now."""
    keys = navigation.keys(play.station, play.now)
    return play.on(KeyPressed(keys.index(action) + 1, action))


def walk_to(play: Play, name: str) -> Play:
    for _ in service.menu(play.station):
        if service.at_cursor(play.station) == name:
            return play
        press(play, Action.DOWN)
    raise AssertionError(name)


def do(play: Play, name: str) -> Play:
    return press(walk_to(play, name), Action.DO)


def security(play: Play, kind: str) -> list[str]:
    return [p["techInfo"] for p in play.payloads("SecurityEventNotification") if p["type"] == kind]


def door(play: Play, **facts: Any) -> PhoneTold:
    """What its listener tells of the present opening."""
    return PhoneTold(play.station.panel.phone_at, **facts)


def open_door(play: Play) -> Play:
    facts = {"address": ADDRESS, "link": LINK, "code": "12345678", "fingerprint": "3F A2"}
    return do(play, "phone").on(door(play, **facts))


# -- who has it -------------------------------------------------------------------------------------------------------


def test_without_the_physical_act_no_key_leads_to_the_menu() -> None:
    play = Play(Settings())
    for action in (Action.HELP, Action.ABOUT):
        press(play, action)
    assert Action.SERVICE not in navigation.keys(play.station, play.now)
    play.on(KeyPressed(4, Action.SERVICE)).on(KeyPressed(4)).on(FieldEntered(service.FIELD, "restart"))
    assert seen(play).page is Page.ABOUT and play.station.reset is None


def test_the_act_brings_the_menu_and_the_operator_hears_of_each() -> None:
    play = opened()
    assert seen(play).page is Page.SERVICE and content(play).title == "Service"
    play.after(10).on(ServiceOpened("button"))
    assert security(play, "MaintenanceLoginAccepted") == ["service menu, opened by button"] * 2


def test_it_is_there_on_the_about_page_until_the_time_is_over_and_not_a_second_longer() -> None:
    play = opened().after(LEAVE_S)
    assert seen(play).page is Page.HOME
    press(press(play, Action.HELP), Action.ABOUT)
    assert seen(press(play, Action.SERVICE)).page is Page.SERVICE
    play.on(ServiceOpened("button")).after(SERVICE_S - LEAVE_S / 2)
    press(press(play, Action.HELP), Action.ABOUT)
    press(play, Action.SERVICE)
    assert seen(play.after(LEAVE_S / 2 - 0.1)).page is Page.SERVICE
    assert seen(play.after(0.2)).page is Page.HOME
    press(press(play, Action.HELP), Action.ABOUT)
    assert Action.SERVICE not in navigation.keys(play.station, play.now)


def test_opening_the_enclosure_opens_it_once_and_a_lid_left_open_does_not_keep_it_open() -> None:
    machine = Machine(contacts=("lid",))
    play = Play(Settings(), machine=machine).on(CaseTold("lid", is_open=True))
    assert seen(play).page is Page.SERVICE
    for _ in range(5):
        play.after(SERVICE_S / 4).on(CaseTold("lid", is_open=True))
    assert not service.is_open(play.station, play.now)
    again = Play(Settings(), machine=machine, facts=play.facts).on(CaseTold("lid", is_open=True))
    assert not service.is_open(again.station, again.now), "it has been open since before this run: no edge"
    again.on(CaseTold("lid", is_open=False)).on(CaseTold("lid", is_open=True))
    assert service.is_open(again.station, again.now)


def test_a_restart_of_the_agent_closes_it() -> None:
    play = opened()
    assert not service.is_open(Play(Settings(), facts=play.facts).station, play.now)


def test_whoever_is_inside_can_close_it_at_once() -> None:
    play = do(open_door(opened()).on(KeyPressed(1, Action.BACK)), "close")
    assert seen(play).page is Page.HOME and not service.is_open(play.station, play.now)
    assert not service.is_let_in(play.station.panel)


# -- what it does -----------------------------------------------------------------------------------------------------


def test_the_cursor_walks_the_whole_menu_with_two_keys_and_comes_round() -> None:
    play, walked = opened(), []
    for _ in service.menu(play.station):
        (chosen,) = (block for block in content(play).blocks if isinstance(block, Field) and block.chosen)
        assert chosen.label and chosen.name == service.FIELD
        walked.append(chosen.options[0].value)
        press(play, Action.DOWN)
    assert walked == list(service.menu(play.station)) == ["wizard", "phone", "clear 1", "clear 2", *walked[4:]]
    press(play, Action.UP)
    assert service.at_cursor(play.station) == walked[-1]


def test_touch_does_what_the_row_says() -> None:
    play = opened().on(FieldEntered(service.FIELD, "facts"))
    assert content(play).title == "Network"
    assert content(play.on(FieldEntered(service.FIELD, "restart"))).title == "Network", "that row is not to be seen"


def test_latched_faults_of_a_port_are_judged_anew() -> None:
    play = opened().see(2, faults=frozenset({Fault.GROUND_FAULT_HALTED}))
    assert content(walk_to(play, "clear 1")).footer.startswith("No fault at port 1.")
    assert "ground fault" in content(walk_to(play, "clear 2")).footer.lower()
    do(play, "clear 2")
    assert [each.clear for each in play.wish] == [0, 1]


def test_a_problem_that_is_reported_reaches_the_operator_once_a_minute_and_the_page_says_so() -> None:
    play = do(opened(), "report")
    press(play, Action.DO)

    def told() -> int:
        events = [event for p in play.payloads("NotifyEvent") for event in p["eventData"]]
        return sum(event["variable"] == {"name": "ProblemReported"} for event in events)

    assert told() == 1
    assert "Reported: 1." in str(content(play))
    press(play.after(30), Action.UP)
    press(play.after(31), Action.DOWN)
    press(play, Action.DO)
    assert told() == 2


def test_who_has_reported_a_problem_sees_how_far_the_report_is_and_its_end() -> None:
    play = do(opened(), "report")
    assert "Reported: 1. Open for" in content(play).footer
    ordered = {"requestId": 1, "logType": "DiagnosticsLog", "log": {"remoteLocation": "https://reports.example/in/r"}}
    play.command("GetLog", **ordered)
    assert "Reported: 1. The cloud has ordered the report." in content(play).footer
    assert play.station.log
    order = play.station.log.order
    before = len(play.payloads("LogStatusNotification"))
    for percent in (0, 5, 60):
        play.on(UploadTold(order, "Uploading", percent=percent))
        assert f"The report is being sent: {percent} %." in content(play).footer
    assert len(play.payloads("LogStatusNotification")) == before + 1, "the cloud hears of attempts, not of percents"
    assert "percent" not in play.facts["log"]
    for status, said in (("UploadFailure", "The report was not sent."), ("Uploaded", "The report was sent.")):
        over = Play(Settings(), facts=play.facts).on(UploadTold(order, status)).on(ServiceOpened("button"))
        assert "The report" not in content(walk_to(over, "report")).footer, "nobody here has asked for it"
        assert f"Reported: 1. {said}" in content(do(over, "report")).footer


def test_the_service_menu_warns_of_the_plans_end_and_the_start_page_does_not() -> None:
    """I6: whoever looks after the station can do something about it; its drivers cannot."""
    for days, said in (
        (400, ""), (61, ""), (59, "The plan ends on"),
        (-1, "The plan has ended: without a new plan token the station closes on"),
        (-91, "The plan has ended: a new plan token is needed."),
    ):  # fmt: skip
        ends_s = int(WALL_S + days * 86_400)
        rows = [{"serial": "aa", "issue": 1, "name": "Business", "begins_s": int(WALL_S) - 86_400 * 500,
                 "ends_s": ends_s, "support_ends_s": None}]  # fmt: skip
        play = opened(facts={"owner/tokens": rows})
        marked = [row.value for row in about_rows(play.station, play.now, ENGLISH) if row.mark == "open"]
        warnings = [value for value in marked if "plan token" in value]
        assert [text[: len(said)] for text in warnings] == ([said] if said else [])
        assert ("plan token" in content(play).footer) == bool(said) and all(w in content(play).footer for w in warnings)
        shown = seen(press(play, Action.BACK))
        assert "plan token" not in shown.headline + shown.note + shown.start_text + shown.who


def test_a_restart_is_asked_twice_lets_sessions_go_on_and_says_who_did_it() -> None:
    play = do(opened(), "restart")
    assert play.station.reset is None and "Sessions" in str(content(play).blocks)
    press(play, Action.BACK)
    assert service.at_cursor(play.station) == "restart" and play.restarts == 0
    press(do(play, "restart"), Action.DO)
    assert play.restarts == 0, "a second press at once has read nothing"
    press(play.after(1), Action.DO)
    assert play.restarts == 1 and play.station.reset and play.station.reset.type is ResetType.RESUME
    assert security(play, "ResetOrReboot") == ["ImmediateAndResume reset by the service menu"]


def test_every_light_is_shown_at_every_port_in_turn_and_then_what_was_there_before() -> None:
    play = opened()
    before = lights(play.station, play.now)
    do(play, "lights")
    seen_lights = []
    for n in range(len(Light)):
        assert (content(play).step, content(play).steps) == (n + 1, len(Light))
        first, second = lights(play.station, play.now)
        assert first is second
        seen_lights.append(first)
        play.after(service.TEST_LIGHT_S)
    assert set(seen_lights) == set(Light) and len(seen_lights) == len(Light)
    assert lights(play.station, play.now) == before
    assert service.at_cursor(play.station) == "lights", "back in the menu, where it was left"


def test_a_test_of_the_lights_ends_with_the_page() -> None:
    play = do(opened(), "lights")
    press(play, Action.BACK)
    assert service.test_light(play.station, play.now) is None


def test_the_facts_have_pages_that_come_round() -> None:
    play, titles = do(opened(), "facts"), []
    for _ in range(service.FACTS + 1):
        titles.append(content(play).title)
        (rows,) = content(play).blocks
        assert isinstance(rows, Rows) and all(row.label and row.value for row in rows.rows)
        press(play, Action.DOWN)
    assert titles == ["Network", "List", "Records", "Network"]


def test_what_waits_is_counted_for_who_looks() -> None:
    play = opened()
    counts = [len([each for each in handle(play.station, event, play.now)[1] if isinstance(each, Count)]) for event in
              (FieldEntered(service.FIELD, "lights"), FieldEntered(service.FIELD, "facts"))]  # fmt: skip
    assert counts == [0, 1]


# -- a phone ----------------------------------------------------------------------------------------------------------


def test_a_station_without_an_address_for_phones_says_what_is_missing() -> None:
    play = do(opened(), "phone")
    assert "[phone]" in str(content(play).blocks)


def test_the_code_is_on_the_screen_with_everything_it_can_be_checked_by() -> None:
    play = open_door(opened())
    code, rows, _ = content(play).blocks
    assert code == Qr(LINK, ADDRESS), "the address in full beneath it"
    assert isinstance(rows, Rows)
    values = {row.label: row.value for row in rows.rows}
    assert "1234 5678" in values.values() and "3F A2" in values.values()


def test_a_door_that_nobody_comes_through_closes_by_itself() -> None:
    play = open_door(opened())
    play.after(ENTER_S - 1)
    assert service.phone(play.station) and seen(play).page is Page.SERVICE, "it waits for a phone, not for a press"
    play.after(2)
    assert service.phone(play.station) is None and content(play).title == "Service"
    assert seen(play.after(LEAVE_S)).page is Page.HOME


def test_a_phone_that_is_in_stays_as_long_as_the_service_and_no_longer() -> None:
    play = open_door(opened()).on(door(open_door(opened()), address=ADDRESS, guest="192.168.4.7"))
    assert security(play, "MaintenanceLoginAccepted")[1:] == ["installer's phone, 192.168.4.7"]
    play.after(SERVICE_S - 1)
    assert service.is_phone_in(play.station)
    play.after(1)
    assert not service.is_phone_in(play.station) and not service.is_let_in(play.station.panel)


def guest() -> Play:
    play = open_door(opened())
    return play.on(door(play, address=ADDRESS, guest="192.168.4.7"))


def test_drivers_see_their_own_screen_and_that_a_phone_is_connected_and_anybody_there_can_end_it() -> None:
    play = guest().after(LEAVE_S)
    shown, plain = seen(play), screen(Play(Settings()).station, 0.0)
    assert shown.page is Page.HOME and shown.installer and not plain.installer
    assert [port.title for port in shown.ports] == [port.title for port in plain.ports]
    press(play, Action.END)
    assert not service.is_let_in(play.station.panel) and not seen(play).installer
    assert Action.END not in navigation.keys(play.station, play.now)


def test_too_many_wrong_codes_close_the_door_say_so_and_tell_the_operator() -> None:
    play = open_door(opened())
    play.on(door(play, problem=DoorProblem.GUESSED))
    assert not service.is_let_in(play.station.panel)
    assert "Too many wrong codes" in str(content(play).blocks)
    assert len(security(play, "MaintenanceLoginFailed")) == 1


def test_letting_another_phone_in_ends_the_visit_of_the_first_and_its_late_word_counts_for_nothing() -> None:
    play = guest().after(1)
    first = play.station.panel.phone_at
    do(press(play, Action.BACK), "phone")
    assert play.station.panel.phone_at != first and not service.is_phone_in(play.station)
    play.on(PhoneTold(first, address=ADDRESS, guest="192.168.4.7"))
    assert not service.is_phone_in(play.station)
    play.on(PhoneTold(first, problem=DoorProblem.GUESSED))
    assert service.is_let_in(play.station.panel)
    assert not security(play, "MaintenanceLoginFailed")


def test_a_door_that_reports_after_its_end_lets_nobody_in() -> None:
    play = guest()
    late = play.station.phone
    assert late
    press(play, Action.END)
    play.on(late)
    assert not service.is_phone_in(play.station)


# -- anything at all --------------------------------------------------------------------------------------------------

panels = st.builds(
    Panel,
    page=st.none() | st.sampled_from([Page.HOME, Page.HELP, Page.ABOUT, Page.SERVICE]),
    at=st.integers(-3, 30),
    part=st.sampled_from(Part),
    touched_at=st.floats(0, 100),
    service_until=st.floats(-1e9, 4_000),
    lights_at=st.just(float("-inf")) | st.floats(0, 100),
    phone_at=st.sampled_from([float("-inf"), 1.0, 2.0]),
    phone_until=st.just(float("-inf")) | st.floats(0, 4_000),
)
phones = st.none() | st.builds(
    PhoneTold,
    st.sampled_from([-1.0, 1.0, 2.0]),
    st.sampled_from(["", ADDRESS, "{braces}"]),
    problem=st.sampled_from(DoorProblem),
    guest=st.sampled_from(["", "192.168.4.7", "{braces}"]),
)
things = st.one_of(
    st.builds(KeyPressed, st.integers(-1, 6), st.sampled_from(["", *Action])),
    st.builds(FieldEntered, st.just(service.FIELD), st.sampled_from([*service.ITEMS, "clear 1", "clear 9", "{x}"])),
    st.builds(ServiceOpened, st.text(max_size=5)),
    phones.filter(bool),
)


@pytest.mark.promise("S9")
@given(panels, phones, st.lists(st.tuples(things, st.floats(0, 500)), max_size=8))
def test_whatever_happens_the_menu_is_shown_to_nobody_else_and_its_page_can_be_drawn(
    panel: Panel, phone: PhoneTold | None, happened: list[tuple[Any, float]]
) -> None:
    play = Play(Settings(), now=100.0)
    play.station = replace(play.station, panel=panel, phone=phone)
    for event, pause_s in happened:
        play.on(event).after(pause_s)
        model = seen(play)
        assert (model.page is not Page.SERVICE) or service.is_open(play.station, play.now)
        assert service.test_light(play.station, play.now) is None or play.station.panel.lights_at > float("-inf")
        assert not service.is_phone_in(play.station) or play.now < play.station.panel.phone_until
        assert all(isinstance(row, Row) for block in (model.content.blocks if model.content else ())
                   if isinstance(block, Rows) for row in block.rows)  # fmt: skip


# -- and the wizard ---------------------------------------------------------------------------------------------------


def test_a_lid_that_opens_does_not_hide_the_wizard_and_the_key_inside_shows_the_menu() -> None:
    me = Installer().enter("installer", "Ann")
    me.play.on(CaseTold("lid", is_open=True))
    assert service.is_open(me.play.station, me.play.now)
    pages = [me.screen.page]
    me.play.on(ServiceOpened("button"))
    pages.append(me.screen.page)
    me.press("Back")
    assert [*pages, me.screen.page] == [Page.WIZARD, Page.SERVICE, Page.WIZARD]


def test_the_menu_leads_into_the_wizard() -> None:
    play = do(opened(), "wizard")
    assert seen(play).page is Page.WIZARD


def test_the_hand_over_closes_the_service_and_the_phone_is_out() -> None:
    me = installed().service().let_a_phone_in()
    me.play.on(FieldEntered("step", "hand-over"))
    assert service.is_phone_in(me.play.station)
    me.play.after(1)
    me.enter("step", "next")
    assert not service.is_open(me.play.station, me.play.now) and not service.is_let_in(me.play.station.panel)


@pytest.mark.promise("S9")
def test_what_a_phone_says_counts_only_while_it_is_let_in() -> None:
    me = Installer()
    me.play.on(FieldEntered("installer", "Eve", by_phone=True))
    assert me.play.station.wizard.installer == ""
    me.enter("installer", "Ann", by_phone=True)
    assert me.play.station.wizard.installer == "Ann"
    me.play.on(FieldEntered(service.FIELD, "close")).after(SERVICE_S)
    me.play.on(FieldEntered("installer", "Eve", by_phone=True))
    assert me.play.station.wizard.installer == "Ann"
