"""What people see is true in every state a station can be in, and in many that it cannot."""

from dataclasses import replace
from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock, ClockSource
from agent.events import Cp, Entry, Link, ListState, Report, SelfTest
from agent.faults import FAULTS, Fault, mender
from agent.navigation import KEYS
from agent.panel import Panel, Part
from agent.policy.freshness import ALARM_S, WARNING_S, age
from agent.policy.owner import Owner
from agent.policy.plan_token import Standing
from agent.policy.reasons import WORDS, Led, Reason
from agent.port import Bar, Grant, Level, Port, Status, faults, is_ready, operative
from agent.selftest import Result
from agent.settings import Settings
from agent.station import (
    Ask,
    Boot,
    BootReason,
    Controller,
    Holding,
    Notice,
    Reset,
    ResetType,
    Stage,
    Station,
    charging_state,
)
from agent.terms import status
from agent.transaction import ChargingState, Ending, Reading, StoppedReason, Transaction, Trigger
from agent.ui.led import PATTERNS, Colour, Light, Pattern, coded, is_lit
from agent.ui.model import NoticeModel, PortModel, ScreenModel, Tone
from agent.ui.shown import FAULT_LIGHTS
from agent.ui.situation import BARS, Situation, situation
from agent.ui.view import screen
from agent.ui.words import LANGUAGES

NOW, WALL = 10_000.0, 1_800_000_000.0
CLOCK = Clock(wall_s=WALL, wall_at=NOW, source=ClockSource.NTP)
BOOT = Boot("0011223344556677", 0.0, BootReason.POWER_UP)
SETTINGS = Settings(station_id="SA-1", owner="Harbour Offices", support_number="0800 1")


def at(energy_wh: int, mono_s: float) -> Reading:
    return Reading(energy_wh, mono_s, WALL + mono_s - NOW, int(ClockSource.NTP))


TX = Transaction(
    transaction_id=f"{BOOT.boot_id}-1",
    id_token="04A2B3C4",
    token_type="ISO14443",
    groups=frozenset(),
    group_id=None,
    rule="allowlist",
    started=at(1_000, NOW - 4_000),
    last=at(13_000, NOW - 30),
    unplugs=0,
    controller_boot_id=1,
    charged=True,
)
OFFERED = Report(cp=Cp.C, pwm=True, contactor=True, offer_ma=16_000, energy_wh=13_345, power_w=3_600)
FREE = Port(1, report=Report())
PLUGGED = Port(1, report=Report(cp=Cp.B), plugged_at=NOW - 60)
CHARGING = replace(PLUGGED, report=OFFERED, transaction=TX)
GRANT = Grant("04A2B3C4", "ISO14443", "allowlist", NOW + 42.0)


def station(*ports: Port, **facts: object) -> Station:
    numbered = tuple(replace(port, evse_id=i) for i, port in enumerate(ports or (FREE,), 1))
    return replace(Station(SETTINGS, BOOT, CLOCK, numbered, Controller(1, 32_000), Link.UP), **facts)  # type: ignore[arg-type]


def shown(port: Port, **facts: object) -> PortModel:
    return screen(station(port, **facts), NOW).ports[0]


# -- every station hypothesis can think of ----------------------------------------------------------------------------

instants = st.floats(0, 2 * NOW)
names = st.text(max_size=12)
tokens = st.sampled_from(["", "04A2B3C4", "04FFEE11"])
readings = st.builds(Reading, st.integers(0, 20_000), instants, st.none() | st.floats(0, 2e9), st.integers(0, 4))
endings = st.builds(Ending, st.sampled_from(StoppedReason), st.sampled_from(Trigger), instants)
fault_sets = st.just(frozenset[Fault]()) | st.frozensets(st.sampled_from(Fault), max_size=3)
reports = st.builds(
    Report,
    cp=st.sampled_from(Cp),
    contactor=st.booleans(),
    cable_ma=st.sampled_from([0, 13_000, 32_000]),
    offer_ma=st.sampled_from([0, 6_000, 16_000]),
    faults=fault_sets,
    energy_wh=st.integers(0, 20_000),
    power_w=st.sampled_from([0, 3_600]),
    temperature_dc=st.sampled_from([200, 700, 900]),
    self_test=st.sampled_from(SelfTest) | st.just(SelfTest.PASSED),
    retry_in_s=st.integers(0, 900),
)
transactions = st.builds(
    Transaction,
    transaction_id=st.sampled_from([TX.transaction_id, "8899aabbccddeeff-7"]),
    id_token=tokens,
    token_type=st.sampled_from(["ISO14443", "Central", "NoAuthorization"]),
    groups=st.just(frozenset()),
    group_id=st.none(),
    rule=names,
    started=readings,
    last=readings,
    unplugs=st.just(0),
    controller_boot_id=st.just(1),
    charged=st.booleans(),
    energy_cap_wh=st.none() | st.integers(0, 20_000),
    overstay_s=st.none() | st.integers(0, 9_999),
    ending=st.none() | endings,
    interrupted=st.booleans(),
)
bars = st.builds(Bar, st.sampled_from(sorted(BARS)), st.none() | st.floats(0, 4e9))
panels = st.builds(
    Panel,
    page=st.none() | st.sampled_from(sorted(set(KEYS))),
    at=st.integers(0, 9),
    language=st.sampled_from(["", *LANGUAGES]),
    large=st.booleans(),
    touched_at=instants,
    service_until=instants,
    part=st.sampled_from(Part),
)
grants = st.builds(Grant, tokens, st.just("ISO14443"), names, instants)
ports = st.builds(
    Port,
    evse_id=st.just(1),
    report=st.none() | reports,
    lost=st.booleans(),
    plugged_at=st.none() | instants,
    grant=st.none() | grants,
    transaction=st.none() | transactions,
    finished=st.none() | transactions,
    served=st.booleans(),
    off=st.just(frozenset()) | st.frozensets(st.sampled_from(Level)),
    off_next=st.just(frozenset()) | st.frozensets(st.sampled_from(Level)),
    latched=fault_sets,
    held_until=st.none() | instants,
    bar=st.none() | bars,
    idle_at=st.none() | instants,
    drew=st.booleans(),
)
asks = st.builds(
    Ask,
    ask_id=st.integers(1, 9),
    id_token=tokens,
    evse_id=st.none() | st.integers(1, 4),
    choose=st.booleans(),
    blocked=st.none() | st.sampled_from(Reason),
    at=instants,
    due=instants,
    stage=st.sampled_from(Stage),
    listed=st.none() | st.just(Entry()),
)
stations = st.builds(
    Station,
    settings=st.builds(
        Settings,
        station_id=names,
        port_limit_ma=st.sampled_from([5_000, 16_000, 32_000]),
        circuit_limit_ma=st.sampled_from([5_000, 10_000, 32_000]),
        socketed=st.booleans(),
        activated=st.booleans() | st.just(True),
        free=st.booleans(),
        support_number=names,
        owner=names | st.just("{owner}"),
    ),
    boot=st.just(BOOT),
    clock=st.just(Clock()) | st.just(CLOCK),
    ports=st.lists(ports, min_size=1, max_size=4).map(
        lambda found: tuple(replace(port, evse_id=i) for i, port in enumerate(found, 1))
    ),
    controller=st.none() | st.just(Controller(1, 32_000)),
    link=st.sampled_from(Link),
    store_ok=st.booleans() | st.just(True),
    allowlist=st.builds(ListState, st.integers(0, 9), st.integers(0, 1_000_000), st.none() | st.floats(0, 2e9)),
    asks=st.lists(asks, max_size=3).map(tuple),
    holding=st.none() | st.builds(Holding, grants, st.booleans()),
    bar=st.none() | st.none() | bars,
    panel=panels,
    notices=st.lists(
        st.builds(Notice, st.integers(0, 4), st.none() | st.sampled_from(Reason), instants, tokens), max_size=4
    ).map(tuple),
)


def said(model: ScreenModel) -> list[PortModel | NoticeModel]:
    """Everything with a title, a text and an action."""
    notices = [p.notice for p in model.ports] + [model.notice]
    return [*model.ports, *(notice for notice in notices if notice)]


@pytest.mark.promise("S7")
@given(stations, instants)
def test_every_station_has_something_to_say_and_says_what_to_do(station: Station, now: float) -> None:
    model = screen(station, now)
    for words in said(model):
        assert words.title and words.text and words.action
        assert words.led in PATTERNS
    assert model.headline and model.who and model.link_text and model.list_text and model.store_text
    assert msgspec.json.decode(msgspec.json.encode(model), type=ScreenModel) == model


@given(stations, instants)
def test_no_text_has_a_hole_in_it(station: Station, now: float) -> None:
    station = replace(station, settings=msgspec.structs.replace(station.settings, owner="Harbour Offices"))
    for words in said(screen(station, now)):
        assert not set("{}") & set(words.title + words.text + words.action)
        assert "None" not in words.text + words.action


@given(stations, instants)
def test_the_model_repeats_the_facts(station: Station, now: float) -> None:
    model = screen(station, now)
    for port, drawn in zip(station.ports, model.ports, strict=True):
        assert (drawn.status, drawn.charging_state) == (status(station, port), charging_state(station, port))
        assert {f.fault for f in drawn.faults} == faults(port)
        assert all(f.text and f.fix and f.mrec == FAULTS[f.fault].mrec for f in drawn.faults)
        assert (drawn.energy_wh is None) == (port.transaction is None) and (drawn.energy_wh or 0) >= 0
        assert drawn.elapsed_s is None or drawn.elapsed_s >= 0
        assert (drawn.last is None) == (port.finished is None)


@given(stations, instants)
def test_nobody_is_told_that_a_port_is_free_when_it_is_not(station: Station, now: float) -> None:
    can_sell = station.settings.activated and station.store_ok
    free = [p for p in station.ports if situation(station, p) is Situation.AVAILABLE]
    for port in free:
        assert status(station, port) is Status.AVAILABLE and can_sell and not port.grant
    for model in screen(station, now).ports:
        assert model.led is not Light.AVAILABLE or model.status is Status.AVAILABLE
        assert (model.tone is Tone.CHARGING) <= (model.charging_state is ChargingState.CHARGING and model.power_w > 0)


@given(stations, instants)
def test_a_green_check_mark_needs_a_passed_self_test_and_no_fault(station: Station, now: float) -> None:
    model = screen(station, now)
    for port, drawn in zip(station.ports, model.ports, strict=True):
        assert drawn.ready == (is_ready(port) and operative(port) and not faults(port))
        parts = [part.result for part in model.self_test if part.evse_id == port.evse_id]
        assert (drawn.self_test is Result.FAILED) == (Result.FAILED in parts)
        assert drawn.self_test is Result.FAILED or not faults(port) or port.report is None
        assert drawn.self_test is Result.PASSED or not drawn.ready
    assert model.ready == (station.store_ok and all(p.ready for p in model.ports))


@given(stations, instants)
def test_a_port_with_a_fault_looks_like_one(station: Station, now: float) -> None:
    for port, drawn in zip(station.ports, screen(station, now).ports, strict=True):
        if faults(port):
            assert drawn.tone is Tone.FAULT
        if faults(port) and drawn.notice is None and not station.notices and not station.asks and not station.holding:
            assert drawn.led in FAULT_LIGHTS.values()


# -- ports, one by one ------------------------------------------------------------------------------------------------

SITUATIONS: dict[Situation, Station] = {
    Situation.STARTING: station(Port(1)),
    Situation.SELF_TEST: station(replace(FREE, report=Report(self_test=SelfTest.RUNNING))),
    Situation.SELF_TEST_FAILED: station(replace(FREE, report=Report(self_test=SelfTest.FAILED))),
    Situation.FAULT: station(replace(FREE, latched=frozenset({Fault.DIODE_FAULT}))),
    Situation.FAULT_WAITS: station(replace(FREE, report=None, lost=True)),
    Situation.OUT_OF_SERVICE: station(replace(FREE, off=frozenset({Level.EVSE}))),
    Situation.NOT_ACTIVATED: station(FREE, settings=Settings(activated=False)),
    Situation.CANNOT_RECORD: station(FREE, store_ok=False),
    Situation.PLAN_ENDED: station(FREE, owner=Owner(standing=Standing.DEACTIVATED)),
    Situation.UPDATING: station(FREE, bar=Bar(Reason.UPDATING)),
    Situation.RESTARTING: station(replace(FREE, off=frozenset({Level.RESET})), reset=Reset(ResetType.ON_IDLE, NOW)),
    Situation.CLOSED: station(FREE, bar=Bar(Reason.CLOSED, WALL + 3_600)),
    Situation.RESERVED: station(replace(FREE, bar=Bar(Reason.RESERVED, WALL + 900))),
    Situation.AVAILABLE: station(FREE),
    Situation.PLUG_IN: station(replace(FREE, grant=GRANT)),
    Situation.TAP_CARD: station(PLUGGED),
    Situation.BEGINNING: station(replace(PLUGGED, grant=GRANT)),
    Situation.INTERRUPTED: station(replace(Port(1), transaction=replace(TX, interrupted=True))),
    Situation.HELD: station(replace(PLUGGED, transaction=TX, held_until=NOW + 23)),
    Situation.WAITS_FOR_CAR: station(
        replace(PLUGGED, report=Report(cp=Cp.B, offer_ma=16_000), transaction=replace(TX, charged=False))
    ),
    Situation.WAITS_FOR_POWER: station(
        replace(PLUGGED, transaction=TX), replace(CHARGING, plugged_at=1.0), controller=Controller(1, 8_000)
    ),
    Situation.CHARGING: station(CHARGING),
    Situation.NO_CURRENT: station(replace(CHARGING, report=replace(OFFERED, power_w=0))),
    Situation.PAUSED_BY_CAR: station(
        replace(CHARGING, report=replace(OFFERED, cp=Cp.B, contactor=False, power_w=0), drew=True)
    ),
    Situation.TOO_HOT: station(replace(PLUGGED, report=Report(cp=Cp.B, temperature_dc=900), transaction=TX)),
    Situation.CABLE_UNFIT: station(replace(PLUGGED, transaction=TX), settings=Settings(socketed=True)),
    Situation.NO_OFFER: station(replace(PLUGGED, transaction=TX), settings=Settings(circuit_limit_ma=5_000)),
    Situation.LIMIT_REACHED: station(replace(CHARGING, transaction=replace(TX, energy_cap_wh=13_000))),
    Situation.ENDING: station(
        replace(CHARGING, transaction=replace(TX, ending=Ending(StoppedReason.LOCAL, Trigger.STOP_AUTHORIZED, NOW)))
    ),
    Situation.ENDED: station(replace(PLUGGED, served=True, finished=TX)),
}


@pytest.mark.parametrize("expected", Situation)
def test_every_situation_is_found(expected: Situation) -> None:
    assert situation(SITUATIONS[expected], SITUATIONS[expected].ports[0]) is expected


def test_every_status_and_charging_state_is_shown_somewhere() -> None:
    drawn = [screen(station, NOW).ports[0] for station in SITUATIONS.values()]
    assert {p.status for p in drawn} == set(Status) - {Status.RESERVED}  # reservations are not here yet
    assert {p.charging_state for p in drawn} == set(ChargingState)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_shows_its_text_its_fix_and_its_light(fault: Fault) -> None:
    model = shown(replace(PLUGGED, latched=frozenset({fault})))
    assert model.text == FAULTS[fault].text
    assert [(f.fix, f.mrec) for f in model.faults] == [(FAULTS[fault].fix, FAULTS[fault].mrec)]
    assert model.led is FAULT_LIGHTS[mender(fault)]


def test_what_needs_a_hand_is_named_before_what_passes_by_itself() -> None:
    model = shown(replace(FREE, latched=frozenset({Fault.CONTACTOR_WELDED, Fault.GROUND_FAULT})))
    assert [f.fault for f in model.faults] == [Fault.CONTACTOR_WELDED, Fault.GROUND_FAULT]
    assert model.text == FAULTS[Fault.CONTACTOR_WELDED].text


def test_a_ground_fault_counts_down_to_its_retry() -> None:
    report = Report(cp=Cp.B, faults=frozenset({Fault.GROUND_FAULT}), retry_in_s=754)
    model = shown(replace(PLUGGED, report=report, transaction=TX))
    assert model.retry_in_s == 754 and "12:34" in model.action


def test_who_cannot_be_served_here_is_sent_to_the_port_that_is_free() -> None:
    broken = replace(FREE, latched=frozenset({Fault.CONTACTOR_WELDED}))
    assert screen(station(broken, FREE), NOW).ports[0].action == "Please use port 2."
    assert screen(station(broken, CHARGING), NOW).ports[0].action == "Please use another station."
    assert screen(station(broken), NOW).ports[0].action == "Please use another station."


def test_a_session_shows_what_it_has_drawn_and_how_long_it_lasts() -> None:
    model = shown(CHARGING)
    assert (model.energy_wh, model.power_w, model.elapsed_s, model.offer_a) == (12_345, 3_600, 4_000, 16.0)


def test_the_total_that_stays_is_the_one_that_was_recorded() -> None:
    tx = replace(TX, ending=Ending(StoppedReason.REMOTE, Trigger.REMOTE_STOP, NOW - 30))
    model = shown(replace(PLUGGED, served=True, finished=tx))
    assert model.last and (model.last.energy_wh, model.last.elapsed_s) == (12_000, 3_970)
    assert model.text == model.last.text == "Ended from the app."


@pytest.mark.promise("S3")
def test_after_a_power_cut_the_screen_shows_only_what_is_stored_until_it_is_decided() -> None:
    tx = replace(TX, transaction_id="8899aabbccddeeff-7", interrupted=True)
    model = shown(replace(CHARGING, transaction=tx))
    assert model.energy_wh == 12_000 and model.tone is Tone.WAIT


@pytest.mark.promise("S3")
def test_until_the_first_report_of_this_run_no_figure_of_power_is_shown() -> None:
    tx = replace(TX, transaction_id="8899aabbccddeeff-7", interrupted=True)
    for port in (replace(CHARGING, report=None, transaction=tx), replace(CHARGING, report=None)):
        model = shown(port)
        assert model.title == "Interrupted" and model.power_w == 0
        assert [f.value for f in model.figures if f.name == "power"] == ["0.0"]


def test_a_car_that_has_not_drawn_under_this_offer_is_waited_for_and_has_not_paused() -> None:
    """After a power cut, or when its turn has come: it has been offered something, and needs a moment."""
    offered = replace(OFFERED, cp=Cp.B, contactor=False, power_w=0)
    assert shown(replace(CHARGING, report=offered)).title == "Waiting for the car"
    assert shown(replace(CHARGING, report=offered, drew=True)).title == "Paused by the car"


def test_across_a_restart_only_a_known_clock_tells_how_long_a_session_lasts() -> None:
    port = replace(CHARGING, transaction=replace(TX, transaction_id="8899aabbccddeeff-7"))
    assert shown(port).elapsed_s == 4_000
    assert shown(port, clock=Clock()).elapsed_s is None


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({}, "Tap your card again to stop."),
        ({"token_type": "Central"}, "Stop in the app."),
        ({"id_token": ""}, "To stop, unlock and unplug the car."),
    ],
)
def test_a_driver_is_told_the_way_to_stop_that_works(change: dict[str, str], action: str) -> None:
    assert shown(replace(CHARGING, transaction=replace(TX, **change))).action == action  # type: ignore[arg-type]


def test_a_port_to_be_taken_out_of_service_says_so_during_the_session() -> None:
    assert "out of service after this session" in shown(replace(CHARGING, off_next=frozenset({Level.EVSE}))).text


# -- what a tap is answered -------------------------------------------------------------------------------------------


@pytest.mark.promise("S7")
@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("evse_id", [0, 1])
def test_every_refusal_shows_its_text_its_code_and_its_light(reason: Reason, evse_id: int) -> None:
    model = screen(station(FREE, notices=(Notice(evse_id, reason, NOW + 8),)), NOW)
    notice = model.ports[0].notice if evse_id else model.notice
    assert notice and (notice.text, notice.code, notice.led) == (
        WORDS[reason].text, WORDS[reason].code, Light(WORDS[reason].led)
    )  # fmt: skip
    assert notice.action and notice.led is model.ports[0].led
    assert screen(station(FREE, notices=(Notice(evse_id, reason, NOW),)), NOW).notice is None


@pytest.mark.promise("S7")
def test_could_not_ask_does_not_look_like_you_may_not() -> None:
    looks = {
        (n.led, n.tone, n.title)
        for reason in (Reason.COULD_NOT_ASK, Reason.NOT_CONNECTED)
        if (n := screen(station(FREE, notices=(Notice(0, reason, NOW + 8),)), NOW).notice)
    }
    assert len(looks) == 2 and len({led for led, _, _ in looks}) == 2 and len({tone for _, tone, _ in looks}) == 2


def test_a_driver_who_is_not_connected_learns_how_old_the_list_is() -> None:
    facts = {"notices": (Notice(0, Reason.NOT_CONNECTED, NOW + 8),), "allowlist": ListState(7, 10, WALL - 7_300)}
    notice = screen(station(FREE, **facts), NOW).notice
    assert notice and "2 h ago" in notice.action
    notice = screen(station(FREE, **facts, clock=Clock()), NOW).notice
    assert notice and "ago" not in notice.action


@pytest.mark.promise("S6")
def test_a_tap_is_acknowledged_before_it_is_decided() -> None:
    ask = Ask(1, "04A2B3C4", 1, False, None, NOW, NOW + 0.25)
    model = shown(PLUGGED, asks=(ask,))
    assert model.notice and model.notice.title == "Card read" and model.led is Light.AUTHORISING
    unknown = screen(station(FREE, FREE, asks=(replace(ask, evse_id=None),)), NOW)
    assert unknown.notice and {p.led for p in unknown.ports} == {Light.AUTHORISING}
    assert shown(PLUGGED, asks=(replace(ask, stage=Stage.LATE),)).notice is None


def test_an_accepted_card_is_told_what_it_did() -> None:
    accepted = (Notice(1, None, NOW + 8),)
    started = shown(replace(FREE, grant=GRANT), notices=accepted)
    assert started.notice and (started.notice.title, started.notice.action) == (
        "Card accepted", "Plug in your car within 42 s.",
    )  # fmt: skip
    ending = Ending(StoppedReason.LOCAL, Trigger.STOP_AUTHORIZED, NOW)
    stopped = shown(replace(CHARGING, transaction=replace(TX, ending=ending)), notices=accepted)
    assert stopped.notice and stopped.notice.text == "Ended with a card."


def test_a_card_that_waits_for_a_port_stays_on_the_screen_as_long_as_it_waits() -> None:
    model = screen(station(FREE, CHARGING, holding=Holding(GRANT, choose=False)), NOW)
    assert model.notice and "42 s" in model.notice.action
    assert [p.led for p in model.ports] == [Light.ASK, Light.CHARGING]
    model = screen(station(PLUGGED, PLUGGED, holding=Holding(GRANT, choose=True)), NOW)
    assert model.notice and model.notice.action == WORDS[Reason.CHOOSE_PORT].action


def test_no_card_number_is_on_the_screen() -> None:
    drawn = screen(station(CHARGING, replace(FREE, finished=TX), holding=Holding(GRANT, choose=False)), NOW)
    assert TX.id_token.encode() not in msgspec.json.encode(drawn)


# -- the station ------------------------------------------------------------------------------------------------------


def test_an_idle_station_says_who_may_charge_and_how() -> None:
    model = screen(station(FREE, FREE), NOW)
    assert model.headline == "Ports 1 and 2 are free"
    assert (model.who, model.ways) == ("For connected drivers of Harbour Offices.", ("driver card", "app"))
    assert screen(station(FREE, link=Link.DOWN), NOW).ways == ("driver card",)
    free = screen(station(FREE, settings=Settings(free=True)), NOW)
    assert (free.who, free.ports[0].action) == ("For everybody.", "Plug in. No card is needed.")
    assert screen(station(FREE, settings=Settings(activated=False)), NOW).ways == ()


def test_serial_software_and_support_number_are_always_there() -> None:
    model = screen(SITUATIONS[Situation.STARTING], NOW)
    assert (model.serial, model.support_number) == ("SA-1", "0800 1") and model.software


@pytest.mark.promise("S5")
def test_an_old_list_shows_its_age_and_is_called_late() -> None:
    def of(age_s: float) -> ScreenModel:
        return screen(station(FREE, allowlist=ListState(7, 10, WALL - age_s)), NOW)

    assert not of(WARNING_S - 1).list_late and of(WARNING_S).list_late
    assert ":" not in of(WARNING_S - 1).list_text
    assert "20 h ago: late. The newest approvals and removals may be missing." in of(WARNING_S).list_text
    assert "24 h ago: old. What the owner has approved or removed since is not" in of(ALARM_S).list_text
    assert "charge for 6 d more." in of(ALARM_S).list_text
    lapsed = of(7 * 86_400.0).list_text
    assert "7 d ago: too old. Nobody starts by it until the network is back." in lapsed
    settings = Settings(list_grace_days=0)
    unlimited = screen(station(FREE, allowlist=ListState(7, 10, WALL - 1e8), settings=settings), NOW)
    assert "charge all the same." in unlimited.list_text
    assert screen(station(FREE, allowlist=ListState(7, 10)), NOW).list_age_s is None
    assert screen(station(FREE), NOW).list_text == "No list of connected drivers yet"


def test_ages_are_said_as_a_person_says_them() -> None:
    said = [age(s) for s in (0, 59, 60, 3_599, 3_600, 90_000, 172_800)]
    assert said == ["less than a minute"] * 2 + ["1 minute", "59 minutes", "1 hour", "25 hours", "2 days"]


# -- the lights -------------------------------------------------------------------------------------------------------


def looks_alike(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether an eye that sees no colour could take one rhythm for the other, wherever it starts to look."""
    turns = [b[i:] + b[:i] for i in range(0, len(b), 2)] or [b]
    return len(a) == len(b) and any(
        all(max(x, y) / min(x, y) < 1.4 for x, y in zip(a, turn, strict=True)) for turn in turns
    )


@pytest.mark.promise("S7")
def test_all_lights_are_told_apart_by_rhythm_alone() -> None:
    pairs = [(a, b) for a in Light for b in Light if a < b]
    assert not [(a, b) for a, b in pairs if looks_alike(PATTERNS[a].rhythm_s, PATTERNS[b].rhythm_s)]


def test_every_reason_has_a_light() -> None:
    assert {Light(led) for led in Led} <= set(Light)


def test_no_light_flashes_more_than_three_times_a_second() -> None:
    for pattern in PATTERNS.values():
        steps = pattern.rhythm_s * 10
        rises = list(accumulate((steps[i] + steps[i + 1] for i in range(0, len(steps), 2)), initial=0.0))
        assert all(late - early >= 1.0 - 1e-9 for early, late in zip(rises, rises[3:], strict=False))


def test_a_rhythm_begins_lit_and_comes_round() -> None:
    pattern = Pattern(Colour.RED, coded("-."))
    assert coded("-.") == (0.8, 0.3, 0.2, 1.2)
    assert [is_lit(pattern, t) for t in (0.0, 0.7, 0.9, 1.2, 1.4, 2.4, 2.6)] == [
        True, True, False, True, False, False, True,
    ]  # fmt: skip
    assert is_lit(PATTERNS[Light.FAULT], 123.4)


@given(st.sampled_from(Light), st.floats(0, 1e9))
def test_is_lit_answers_at_any_time(light: Light, now: float) -> None:
    assert is_lit(PATTERNS[light], now) in (True, False)
