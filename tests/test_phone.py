"""The installer's phone: let in from inside the station, for a while, for the wizard and for nothing else."""

import json
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent import service
from agent.app import App, open_doors
from agent.board import load, load_config
from agent.certificates import read_pair
from agent.events import FieldEntered, KeyPressed, PhoneTold, ServiceOpened
from agent.loop import Inbox, Loop
from agent.machine import interface_of, is_mobile, leads_out
from agent.panel import ENTER_S, SERVICE_S, Action, DoorProblem
from agent.policy.plan_token import Why
from agent.settings import ConfigError, Phone, read_config
from agent.ui import phone
from agent.ui.door import (
    CERTIFICATE,
    CODE_DIGITS,
    LEFT_S,
    TRIES,
    VALID_S,
    Door,
    Entry,
    certificate,
    fingerprint,
    new_door,
    problem_at,
    wifi,
)
from agent.ui.phone import SUBSCRIBERS_MAX, fields, spoken
from agent.wizard.facts import Method
from agent.wizard.inputs import NUDGE
from tests.installing import Installer
from tests.phone import Browser, Site, is_listening, token_of
from tests.play import WALL_S, cwt
from tests.process import STATION_ID, started_box, until, write_files
from tests.test_owner import DAY_S, token
from tests.test_together import Running

TOKEN, CODE, SESSION = "0123456789abcdef" * 2, "12345678", "ab" * 32


def last_of(snapshot: Callable[[], object]) -> None:
    """Reads on until the stream ends, which raises."""
    for _ in range(1_000):
        snapshot()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("ACCEPT_S", "STRANGER_S"):
        monkeypatch.setattr(phone, name, 0.001)
    made = Site(tmp_path)
    yield made
    made.close()


# -- coming in --------------------------------------------------------------------------------------------------------


def test_whoever_scans_the_code_is_in_and_the_panel_says_so(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    assert phone.enter(token_of(told)) == 204
    assert site.told().guest == "127.0.0.1" and service.is_phone_in(site.play.station)
    with phone.stream() as snapshot:
        assert snapshot()["content"]["title"] == "Circuit"


def test_whoever_types_the_code_is_in_too(site: Site) -> None:
    told = site.let_in()
    assert len(told.code) == CODE_DIGITS and told.code.isdigit()
    assert Browser(site, told).enter(told.code) == 204


def test_the_page_comes_to_everybody_and_the_wizard_to_who_is_in(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    assert phone.get("/")[0] == 200 and phone.get("/api/words")[0] == 200
    for path in ("/events", "/api/field", "/api/screen", "/api/key"):
        assert phone.get(path)[0] == 401
    assert phone.post("/api/field", {"name": "breaker_a", "value": "16"})[0] == 401
    assert site.posted.empty()


def test_what_is_typed_there_reaches_the_core_as_the_phones(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    site.told()
    assert phone.post("/api/field", {"name": "breaker_a", "value": "16"})[0] == 204
    assert site.hear() == FieldEntered("breaker_a", "16", by_phone=True)


def test_a_plan_token_comes_by_phone_or_a_sentence_says_why_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone, "PLAN_S", 0.0)
    told = site.let_in()
    guest = Browser(site, told)
    assert guest.post("/api/plan", {"token": cwt(token(2, -10, 10, "SA-0001"))})[0] == 401
    guest.enter(token_of(told))
    site.told()

    def told_of(text: str, language: str = "en") -> tuple[bool, str]:
        status, _, body = guest.post(f"/api/plan?language={language}", {"token": text})
        assert status == 200
        said = json.loads(body)
        return said["taken"], said["text"]

    good, end = cwt(token(2, -10, 10, "SA-0001")), datetime.fromtimestamp(WALL_S + 10 * DAY_S, UTC).date()
    for _ in range(2):
        assert told_of(f" {good}\n") == (True, f"The plan token is taken. The plan ends on {end}.")
    assert [each.issue for each in site.play.station.owner.tokens] == [2]
    told_cloud = [p for p in site.play.payloads("NotifyEvent") if "PlanToken" in repr(p)]
    assert len(told_cloud) == 1, "the cloud hears of it once"
    for text, why in {
        cwt(token(1, -10, 90, "SA-0001")): Why.OLDER, cwt(token(3, -10, 90, "SA-0002")): Why.STATION,
        cwt(token(3, -10, 90, "SA-0001"), Ed25519PrivateKey.generate()): Why.SIGNER,
        good[:-8]: Why.SIGNER, "hello": Why.UNREADABLE, "": Why.UNREADABLE, "A" * 60_000: Why.UNREADABLE,
    }.items():  # fmt: skip
        assert told_of(text) == (False, why)
    assert told_of("hello", "de") == (False, "Kein Vertrag")
    for body, status in (({"token": "A" * 70_000}, 413), ({"token": 7}, 400), ([], 400)):
        assert guest.post("/api/plan", body)[0] == status
    assert [each.issue for each in site.play.station.owner.tokens] == [2]
    monkeypatch.setattr(phone, "PLAN_S", 100.0)
    told_of("hello")
    assert guest.post("/api/plan", {"token": good})[0] == 429


def test_it_says_by_phone_whatever_the_phone_says(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    site.told()
    assert phone.post("/api/field", {"name": "step", "value": "next", "by_phone": False})[0] == 204
    assert site.hear() == FieldEntered("step", "next", by_phone=True)


def test_each_phone_reads_its_own_language(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    with phone.stream("/events?language=de") as german, phone.stream("/events?language=xx") as other:
        assert german()["content"]["blocks"][0]["label"] == "Breaker (de)"
        assert other()["content"]["blocks"][0]["label"] == "Breaker (en)"
    assert b'"Zahl"' in phone.get("/api/words", {"accept-language": "de-AT,en;q=0.5"})[2]


def test_a_change_is_on_the_phone_at_once(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    with phone.stream() as snapshot:
        assert snapshot()["serial"] == "SA-0001"
        site.play.see(1, power_w=1)
        site.do(KeyPressed(1))
        assert snapshot()["page"]


def test_more_pages_than_it_can_serve_are_told_to_close_one(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    with ExitStack() as pages:
        for _ in range(SUBSCRIBERS_MAX):
            pages.enter_context(phone.stream())()
        assert phone.get("/events")[0] == 503


# -- going out --------------------------------------------------------------------------------------------------------


def test_the_end_pressed_at_the_panel_ends_it_at_once(site: Site) -> None:
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    site.told()
    with phone.stream() as snapshot:
        snapshot()
        site.do(KeyPressed(4, Action.END))
        site.follow()
        with pytest.raises(ConnectionError):
            last_of(snapshot)
    assert not is_listening(told)


def test_nobody_listens_before_the_door_is_opened_or_after_its_time(site: Site) -> None:
    assert site.phone.visit is None
    told = site.let_in()
    assert is_listening(told)
    site.play.after(ENTER_S)
    site.follow()
    assert not is_listening(told)


def test_half_an_hour_is_the_end_even_of_a_phone_that_is_in(site: Site) -> None:
    told = site.let_in()
    Browser(site, told).enter(token_of(told))
    site.told()
    site.play.after(SERVICE_S - 1)
    site.follow()
    assert is_listening(told)
    site.play.after(1)
    site.follow()
    assert not is_listening(told)


def test_another_opening_has_other_secrets_and_the_first_phone_is_out(site: Site) -> None:
    first = site.let_in()
    phone = Browser(site, first)
    phone.enter(token_of(first))
    site.told()
    second = site.let_in()
    assert token_of(second) != token_of(first) and second.code != first.code
    stale = Browser(site, second)
    stale.cookie = phone.cookie
    assert stale.get("/events")[0] == 401
    assert stale.enter(token_of(first)) == 403 and stale.enter(token_of(second)) == 204


# -- the door, by itself ----------------------------------------------------------------------------------------------


def test_token_and_code_open_once_and_are_worth_nothing_afterwards() -> None:
    for secret in (TOKEN, CODE):
        door = Door(TOKEN, CODE, SESSION)
        assert not door.knows(SESSION), "before anybody is in"
        assert door.enter(secret) is Entry.IN and door.knows(SESSION)
        assert {door.enter(TOKEN), door.enter(CODE), door.enter("x")} == {Entry.CLOSED}


@given(st.lists(st.sampled_from([TOKEN, CODE, "", "1", "12345679", "é", "\ud800", "x" * 64]), max_size=12))
def test_nobody_is_in_after_five_wrong_tries_and_only_who_knows_is_ever_in(tries: list[str]) -> None:
    door, wrong = Door(TOKEN, CODE, SESSION), 0
    for said in tries:
        entry = door.enter(said)
        wrong += said not in (TOKEN, CODE) and not door.is_entered
        assert (entry is Entry.IN) <= (said in (TOKEN, CODE) and wrong < TRIES)
    assert door.is_entered == door.knows(SESSION)
    assert not door.is_entered or any(said in (TOKEN, CODE) for said in tries)


def test_every_opening_has_a_token_of_128_bits_and_eight_digits() -> None:
    doors = [new_door() for _ in range(50)]
    assert len({door.token for door in doors}) == len({door.session for door in doors}) == 50
    assert all(len(bytes.fromhex(door.token)) == 16 and len(door.code) == 8 for door in doors)


# -- the certificate --------------------------------------------------------------------------------------------------


def test_the_certificate_is_made_once_for_its_owners_eyes_and_its_beginning_is_on_the_panel(site: Site) -> None:
    told = site.let_in()
    pair = read_pair((site.folder / CERTIFICATE).read_bytes())
    assert stat.S_IMODE((site.folder / CERTIFICATE).stat().st_mode) == 0o600
    assert told.fingerprint.replace(":", "").lower() == pair.name[:16] and told.fingerprint == fingerprint(pair)
    assert site.let_in().fingerprint == told.fingerprint


def test_a_certificate_is_made_anew_when_it_is_not_good_any_more(tmp_path: Path) -> None:
    first = certificate(tmp_path, "SA-1", "192.168.4.1", WALL_S)
    assert certificate(tmp_path, "SA-1", "192.168.4.1", WALL_S + 1).name == first.name
    assert certificate(tmp_path, "SA-1", "192.168.4.2", WALL_S + 1).name != first.name, "another address"
    last = certificate(tmp_path, "SA-1", "192.168.4.2", WALL_S)
    assert certificate(tmp_path, "SA-1", "192.168.4.2", WALL_S + VALID_S - LEFT_S).name != last.name, "its last month"
    (tmp_path / CERTIFICATE).write_bytes(b"rubbish")
    assert certificate(tmp_path, "SA-1", "192.168.4.2", WALL_S).name
    assert certificate(tmp_path, "SA-1", "192.168.4.2", 0.0).not_before_s == 0.0, "a clock that was never set"


@pytest.mark.promise("S9")
def test_a_folder_that_takes_no_certificate_is_one_sentence_on_the_panel(site: Site) -> None:
    (site.folder / CERTIFICATE).mkdir()
    assert site.let_in().problem is DoorProblem.NO_CERTIFICATE
    assert site.logged and not service.is_let_in(site.play.station.panel)


# -- where it listens -------------------------------------------------------------------------------------------------


def test_an_address_that_is_nobodys_is_one_sentence_on_the_panel(tmp_path: Path) -> None:
    site = Site(tmp_path, address="192.0.2.77")
    assert site.let_in().problem is DoorProblem.NO_ADDRESS
    site.close()


def test_a_port_that_is_taken_is_one_sentence_on_the_panel(site: Site, tmp_path: Path) -> None:
    told = site.let_in()
    other = Site(tmp_path / "", port=int(told.address.rpartition(":")[2]))
    assert other.let_in().problem is DoorProblem.TAKEN
    other.close()


def test_a_modems_interface_is_known_by_its_name_or_by_its_driver(tmp_path: Path) -> None:
    for name, uevent, mobile in (
        ("wwan0", "", True), ("wwp0s20u4", "", True), ("ppp0", "", True), ("rmnet_data0", "", True),
        ("usb0", "INTERFACE=usb0\nDEVTYPE=wwan\n", True), ("usb1", "INTERFACE=usb1\n", False), ("wlan0", "", False),
        ("ap0", "DEVTYPE=wlan\n", False), ("eth0", "", False),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(uevent)
        assert is_mobile(name, tmp_path) is mobile, name


def test_an_interface_with_a_default_route_leads_to_the_internet(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\tGateway\nusb0\t00000000\t0101A8C0\t0003\nap0\t0004A8C0\t00000000\t0001\n")
    assert leads_out("usb0", routes) and not leads_out("ap0", routes) and not leads_out("usb", routes)
    routes.write_text("Iface\tDestination\tGateway\nlo\t00000000\t0101A8C0\t0003\n")
    assert problem_at("127.0.0.1", tmp_path, routes) is DoorProblem.ROUTED
    (tmp_path / "lo").mkdir()
    (tmp_path / "lo" / "uevent").write_text("DEVTYPE=wwan\n")
    assert problem_at("127.0.0.1", tmp_path, routes) is DoorProblem.MOBILE


def test_whose_address_it_is_linux_says() -> None:
    assert interface_of("127.0.0.1") == "lo" and interface_of("192.0.2.77") == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_door_ends_the_door_and_is_said_on_the_panel(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone, "listed", lambda: 1 / 0)
    site.let_in()
    assert site.told().problem is DoorProblem.BROKEN
    assert not service.is_let_in(site.play.station.panel)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_the_wifi_is_on_the_panel_only_with_the_passphrase_of_this_session(tmp_path: Path) -> None:
    facts = Phone("192.168.4.1", 8443, "Station; 1", str(tmp_path / "wifi"))
    assert wifi(facts) == "" == wifi(Phone("192.168.4.1"))
    (tmp_path / "wifi").write_text("pass:word\n")
    assert wifi(facts) == r"WIFI:T:WPA;S:Station\; 1;P:pass\:word;;"
    (tmp_path / "wifi").write_bytes(b"\xff\xfe")
    assert wifi(facts) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('address = "0.0.0.0"', "no interface"),
        ('address = "239.1.2.3"', "no interface"),
        ('address = "ap0"', "an IPv4 address"),
        ('address = "1.2.3.4.5"', "an IPv4 address"),
        ('address = "192.168.4.1"\nssid = "x"', "belong together"),
        ("port = 8443", "address is missing"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_the_config_file(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(f"[phone]\n{text}\n", "config.toml")


def test_the_config_names_the_address_and_the_passphrase_beside_it() -> None:
    text = '[phone]\naddress = "192.168.4.1"\nssid = "S"\npassphrase_file = "wifi"\n'
    assert read_config(text, "/etc/sa/config.toml").phone == Phone("192.168.4.1", 8443, "S", "/etc/sa/wifi")
    assert read_config("", "config.toml").phone is None


@given(st.text(max_size=60))
def test_any_wish_for_a_language_is_answered(wish: str) -> None:
    from starlette.datastructures import Headers

    assert spoken(Headers({"accept-language": wish.encode(errors="replace").decode("latin-1")}))


def test_a_phone_may_set_what_its_page_shows_and_nothing_else(site: Site) -> None:
    assert fields(site.view("en")) == {"step", "breaker_a"}
    told = site.let_in()
    phone = Browser(site, told)
    phone.enter(token_of(told))
    site.told()
    for name in ("service", "port_limit_ma", ""):
        assert phone.post("/api/field", {"name": name, "value": "restart"})[0] == 409
    site.do(FieldEntered("service", "restart", by_phone=True))
    assert site.posted.empty() and site.play.station.reset is None and site.play.station.panel.part == "phone"


def test_a_phone_whose_page_has_a_map_may_move_the_point_by_metres() -> None:
    """What a map sends is no field of the page."""
    me = Installer()
    assert NUDGE not in fields(me.screen)
    me.enter("step", "pinpoint").enter("pinpoint", "52.52, 13.405", by_phone=True)
    assert fields(me.screen) == {"step", "pinpoint", "sister", "north_m", "east_m", NUDGE}
    point = me.enter(NUDGE, "n5", by_phone=True).play.station.wizard.pinpoint
    assert point and point.method is Method.NUDGED and round((point.latitude - 52.52) * 111_195) == 5


def test_a_closed_door_forgets_late_words(site: Site) -> None:
    told = site.let_in()
    site.do(FieldEntered("service", "close"))
    site.do(KeyPressed(4, Action.END))
    site.do(PhoneTold(told.at, guest="127.0.0.1"))
    assert not service.is_phone_in(site.play.station)


# -- a whole agent ----------------------------------------------------------------------------------------------------


class Doors(Running):
    """With all that asks a running agent."""

    async def _live(self) -> None:
        inbox, config = Inbox(), load_config(self._files[1])
        app = App(load(self._files[0]), config, inbox)
        loop = Loop(app, inbox)
        async with AsyncExitStack() as undo:
            undo.callback(app.close)
            await open_doors(app, config, undo)
            self._built.put((app, loop))
            await loop.run()


def test_a_running_agent_lets_a_phone_in_and_out_again(tmp_path: Path) -> None:
    box, _ = started_box(tmp_path)
    board, config = write_files(tmp_path, box)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(config.read_text() + f'\n[phone]\naddress = "127.0.0.1"\nport = {port}\n')
    running = Doors(board, config)
    running.folder = Path(load_config(config).paths.state)
    try:
        until(lambda: running.app.shell.station.phone)
        for event in (ServiceOpened("button"), FieldEntered("service", "phone")):
            running.app.post(event)
        until(lambda: running.app.screen().content and "Qr" in str(running.app.screen().content))
        told = service.phone(running.app.shell.station)
        assert told and told.address == f"https://127.0.0.1:{port}"
        phone = Browser(running, told)
        assert phone.enter(token_of(told)) == 204
        until(lambda: running.app.screen().installer)
        with phone.stream("/events?language=de") as snapshot:
            shown = snapshot()
            assert (shown["page"], shown["language"], shown["serial"]) == ("wizard", "de", STATION_ID)
        assert phone.post("/api/field", {"name": "step", "value": "installer"})[0] == 204
        until(lambda: running.app.shell.station.wizard.step == "installer")
        assert b"kein Vertragsnachweis" in phone.post("/api/plan?language=de", {"token": "x"})[2]
        running.app.post(KeyPressed(4, Action.END))
        until(lambda: not is_listening(told))
        assert not running.app.screen().installer
        running.app.post(FieldEntered("service", "facts"))
        until(lambda: running.app.shell.station.waiting)
    finally:
        running.close()
        box.close()
