"""The host of a modem: what it does with the keeper's effects, what people may ask, what it is put together from."""

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agent.events import PartTold
from agent.hal.power import ModemFacts
from agent.modem import assembly, bearers, probe
from agent.modem.asking import objection
from agent.modem.at import Answered
from agent.modem.bearer import Context, Hands, Said, Traits
from agent.modem.bearers import given as given_bearer
from agent.modem.bearers.given import Given
from agent.modem.events import Acknowledged, BearerFell, BearerRose, Cause, Dial, HangUp, Probe, Probed, Silent
from agent.modem.host import Around, Host, Line, Refused
from agent.modem.keeper import Wishes
from agent.modem.levers import Levers, ways
from agent.modem.modem import State
from agent.modem.recovery import Action
from agent.modem.redial import Redial
from agent.modem.told import Warn, nothing
from agent.settings import ConfigError, Modem
from agent.sim.cell import Cell, SimLevers, SimPort
from agent.sim.modem.modem import Modem as SimModem

LINES = ModemFacts(power_key="key", reset="reset", supply="supply", sim_slot="slot")


class Scene:
    """One host over a simulated modem, in simulated time."""

    def __init__(self, **cell: Any) -> None:
        self.now = 0.0
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.told: list[object] = []
        self.radio: list[tuple[bool, bool]] = []
        self.cell = Cell(self.later, lambda: self.now, lambda *state: self.radio.append(state), **cell)
        self.cell.modem.power(True, 0.0)
        self.cell.start(self.told.append, is_cold=False, log=lambda _: None)

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self.count += 1
        self.due.append((self.now + seconds, self.count, then))

    @property
    def host(self) -> Host:
        assert self.cell.host
        return self.cell.host

    @property
    def modem(self) -> SimModem:
        return self.cell.modem

    def run(self, seconds: float) -> "Scene":
        end = self.now + seconds
        self.cell.due(self.now)  # what was done to the modem meanwhile
        while True:
            self.due.sort(key=lambda each: each[:2])
            then = min(self.cell.next_deadline(), self.due[0][0] if self.due else inf)
            if then > end:
                self.now = end
                return self
            self.now = max(self.now, then)
            while self.due and self.due[0][0] <= self.now:
                self.due.pop(0)[2]()
            self.cell.due(self.now)

    def up(self) -> "Scene":
        self.run(60)
        assert self.host.told().state is State.BEARER_UP
        self.host.acknowledged("", self.now)
        return self.run(1)

    def asked(self, command: str, force: bool = False) -> Answered:
        """By a person."""

        async def ask() -> Answered:
            question = asyncio.create_task(self.host.ask(command, force=force))
            for _ in range(400):
                await asyncio.wait([question], timeout=0)
                if question.done():
                    break
                self.run(0.1)
            return await question

        return asyncio.run(ask())


def test_a_modem_comes_up_and_everybody_hears_of_it() -> None:
    scene = Scene()
    heard: list[object] = []
    stop = scene.host.listen(heard.append)
    scene.up()
    rose = next(each for each in heard if isinstance(each, BearerRose))
    assert rose.interface == "wwan0" and rose.address == scene.host.told().address
    assert scene.radio[-1] == (True, True) and scene.host.told().state is State.ONLINE
    stop()
    count = len(heard)
    scene.modem.pull(scene.now)
    scene.run(120)
    assert len(heard) == count, "who has left hears nothing"


def test_a_modem_that_has_gone_is_started_again_though_nothing_else_happens() -> None:
    scene = Scene().up()
    scene.modem.power(False, scene.now)
    scene.run(120)
    assert [action for _, action in scene.cell.actions] == [Action.START]
    assert scene.run(120).host.told().state in (State.BEARER_UP, State.ONLINE)


def test_what_people_ask_is_answered_between_the_keepers_own_questions() -> None:
    scene = Scene().up()
    answer = scene.asked("AT+CSQ")
    assert answer.is_ok and answer.get("rssi_dbm") == -67
    assert scene.asked("AT+NONSENSE?").error is not None, "the modem's own word"
    assert scene.run(60).host.told().state is State.ONLINE


def test_what_may_end_the_connection_is_refused_until_it_is_forced() -> None:
    scene = Scene().up()
    with pytest.raises(Refused, match="--force"):
        scene.asked("AT+CFUN=0")
    assert scene.asked("AT+CFUN=0", force=True).is_ok
    scene.run(300)
    assert scene.modem.fun == 1, "and the keeper mends it"


def test_nobody_waits_for_an_answer_of_a_modem_that_has_gone() -> None:
    scene = Scene().up()
    scene.modem.power(False, scene.now)
    scene.run(1)
    with pytest.raises(Refused, match="not there"):
        scene.asked("AT+CSQ")


@pytest.mark.parametrize("command", ["AT", "ATI", "AT+CSQ", "at+cesq", "AT+COPS?", "AT+CGDCONT=?", "AT^HCSQ?"])
def test_what_only_reads_is_asked_without_a_second_word(command: str) -> None:
    assert objection(command, force=False) == ""


@pytest.mark.parametrize("command", ["AT+COPS=?", "AT+CFUN=1,1", "AT+CPIN=1234", "ATZ", "AT&F", "AT+CSQ;+CFUN=0"])
def test_what_changes_anything_needs_one(command: str) -> None:
    assert "--force" in objection(command, force=False) and objection(command, force=True) == ""


@pytest.mark.parametrize("command", ["ATD*99#", "ATA", "AT+CMGS=1", "CSQ", "", "AT+CSQ\rATH", "AT" + "x" * 600,
    "AT +CMGS=1", "AT+USOWR=0,3"])
def test_what_would_take_the_port_away_is_never_sent(command: str) -> None:
    assert objection(command, force=True)


@pytest.mark.parametrize("command", ["AT+CMGR=1", "AT+CMGL", 'at+cmgl="ALL"', "AT+CSQ;+CMGR=1", "ATE0 +CMGR=?;+CMGR=1"])
def test_what_prints_the_words_of_strangers_is_never_sent(command: str) -> None:
    assert "anybody may have written" in objection(command, force=True) and not objection("AT+CMGL=?", force=False)


@given(st.text(max_size=20))
def test_no_text_is_sent_that_the_channel_could_not_send(text: str) -> None:
    if not objection(f"AT{text}", force=True):
        assert f"AT{text}".isascii() and f"AT{text}".isprintable()


# -- what board and system can do -------------------------------------------------------------------------------------


class Bench:
    def __init__(self, lines: ModemFacts | None = LINES) -> None:
        self.set: list[tuple[float, str, bool]] = []
        self.ended: list[tuple[float, Action]] = []
        self.asked: list[str] = []
        self.now = 0.0
        self.levers = Levers(
            lines, self._set, "/nowhere", self._reboot, self._ended,
            lambda job, then: then(job()), lambda _: None,
        )  # fmt: skip

    def _set(self, output: str, active: bool, now: float) -> bool:
        self.set.append((round(now, 3), output, active))
        return True

    def _reboot(self) -> str:
        self.asked.append("reboot")
        return ""

    def _ended(self, action: Action, now: float) -> None:
        self.ended.append((round(now, 3), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.levers.next_deadline()) <= end:
            self.now = max(self.now, due)
            self.levers.due(self.now)
        self.now = end


def test_the_gentlest_cut_comes_first_and_the_supply_is_off_long_enough() -> None:
    bench = Bench()
    bench.levers.begin(Action.POWER, 0.0)
    bench.run(60)
    assert bench.set == [(0, "reset", True), (0.3, "reset", False)] and bench.ended == [(0.3, Action.POWER)]
    bench.set.clear()
    bench.levers.begin(Action.POWER, bench.now)
    bench.run(60)
    assert [each[1:] for each in bench.set] == [("supply", False), ("supply", True), ("key", True), ("key", False)]
    assert bench.set[1][0] - bench.set[0][0] == 3.0, "until its capacitors are empty"


def test_the_other_sim_is_the_first_one_the_next_time() -> None:
    bench = Bench()
    for _ in range(2):
        bench.levers.begin(Action.OTHER_SIM, bench.now)
        bench.run(60)
    assert [each[2] for each in bench.set if each[1] == "slot"] == [True, False]


def test_a_board_without_lines_can_only_reboot_and_says_so() -> None:
    bench = Bench(None)
    assert bench.levers.can == {Action.REBOOT} and not ways(None)
    bench.levers.begin(Action.POWER, 0.0)
    assert bench.ended == [(0.0, Action.POWER)] and not bench.set, "nothing is waited for that cannot be"
    bench.levers.begin(Action.REBOOT, 0.0)
    assert bench.asked == ["reboot"]


def test_a_usb_port_is_switched_where_we_may(tmp_path: Path) -> None:
    device = tmp_path / "devices" / "1-1"
    line = device / "1-1:1.2" / "ttyUSB2"
    line.mkdir(parents=True)
    for name, text in (("idVendor", "2c7c\n"), ("idProduct", "0125\n"), ("authorized", "1")):
        (device / name).write_text(text)
    (tmp_path / "class" / "tty" / "ttyUSB2").mkdir(parents=True)
    (tmp_path / "class" / "tty" / "ttyUSB2" / "device").symlink_to(line)
    (tmp_path / "ttyUSB2").touch()
    seen: list[str] = []
    ended: list[Action] = []

    def aside(job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        then(job())
        seen.append((device / "authorized").read_text())

    levers = Levers(
        None, None, str(tmp_path / "ttyUSB2"), None, lambda action, _: ended.append(action), aside, lambda _: None,
        tmp_path,
    )  # fmt: skip
    assert levers.can == {Action.USB}
    levers.begin(Action.USB, 0.0)
    levers.due(3.0)
    levers.due(6.0)
    assert seen == ["0", "1"] and ended == [Action.USB]


# -- bearers ----------------------------------------------------------------------------------------------------------


def hands(said: list[Said], now: Callable[[], float]) -> Hands:
    async def ask(command: str) -> Answered:
        raise AssertionError(command)

    return Hands(said.append, ask, lambda job, then: then(job()), now, lambda _: None)


def test_a_given_line_rises_with_its_address_and_falls_when_that_has_been_gone_for_a_while() -> None:
    now, found = [0.0], [("eth0", "192.0.2.7")]
    said: list[Said] = []
    line = Given(hands(said, lambda: now[0]), lambda name: found[0] if found else None, lambda: ("192.0.2.1",))
    line.due(0.0)
    assert not said, "nobody has said rise"
    line.rise(Context())
    line.due(0.0)
    assert said == [BearerRose("192.0.2.7", "eth0", ("192.0.2.1",))]
    found.clear()
    for now[0] in (5.0, 10.0):
        line.due(now[0])
    found.append(("eth0", "192.0.2.7"))
    line.due(15.0)
    assert len(said) == 1, "a lease was renewed"
    found.clear()
    for now[0] in (20.0, 25.0, 30.0, 35.0):
        line.due(now[0])
    assert said[1:] == [BearerFell(Cause.ENDED)]


def test_a_named_interface_is_asked_for_its_own_address() -> None:
    assert given_bearer.line("lo") == ("lo", "127.0.0.1") and given_bearer.line("none0") is None


def test_auto_takes_what_there_is(tmp_path: Path) -> None:
    assert bearers.maker("auto", "/nowhere", tmp_path, tmp_path / "ppp") is given_bearer.bearer
    assert bearers.maker("other", "/nowhere") is None


# -- does it carry ----------------------------------------------------------------------------------------------------


def test_a_resolver_that_answers_is_a_line_that_carries() -> None:
    number, asked = 7, probe.question(7, "broker.example.net")
    answer = asked[:2] + b"\x81\x80" + asked[4:6] + b"\x00\x01" + bytes(4) + asked[12:]
    answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + bytes((192, 0, 2, 9))
    assert probe.address_in(answer, number) == "192.0.2.9"
    assert probe.address_in(asked[:2] + b"\x81\x83" + asked[4:], number) == "", "no such name is an answer, too"
    for wrong in (b"", asked, answer[:11], b"\x00\x08" + answer[2:]):
        with pytest.raises(ValueError, match="no answer"):
            probe.address_in(wrong, number)


@given(st.binary(max_size=120))
def test_no_answer_of_a_resolver_raises_anything_else(data: bytes) -> None:
    probe.address_in(b"\x00\x07\x81\x80" + data.ljust(8, b"\x00"), 7)


def test_a_second_host_that_takes_a_connection_is_enough_and_one_that_does_not_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert probe.carries("lo", (), ("127.0.0.1", port))
    assert not probe.carries("lo", (), ("127.0.0.1", port))
    assert not probe.carries("lo", (), None), "nobody has answered"


# -- somebody else's modem --------------------------------------------------------------------------------------------


def test_a_modem_that_somebody_else_owns_is_dialled_again_with_patience() -> None:
    redial = Redial(Wishes(), lambda low, high: 1.0 if low < 1.0 < high else low, 0.0)
    now, dialled = 0.0, []
    while now < 3_600:
        now = max(now, redial.next_deadline(now))
        for effect in redial.handle(Silent(), now):
            if isinstance(effect, Dial):
                dialled.append(now)
                redial.handle(BearerFell(Cause.FAILED), now)
    waits = [b - a for a, b in pairwise(dialled)]
    assert waits[:5] == [10, 30, 300, 600, 900] and redial.told(now).state is State.BACK_OFF


def test_a_modem_that_somebody_else_owns_makes_no_call_abroad_where_it_must_not() -> None:
    redial = Redial(Wishes(may_roam=False), lambda low, high: low, 0.0)
    home, abroad = nothing(0.0), structs.replace(nothing(0.0), is_roaming=True)
    redial.described(abroad)
    assert redial.handle(Silent(), 100.0) == [] and redial.next_deadline(100.0) == inf
    assert Warn.ROAMING in redial.told(100.0).warnings
    redial.described(home)
    assert redial.next_deadline(101.0) <= 101.0
    assert [type(each) for each in redial.handle(Silent(), 101.0)] == [Dial]
    redial.handle(BearerRose("192.0.2.7", "wwan0"), 105.0)
    redial.described(abroad)
    assert redial.next_deadline(106.0) <= 106.0
    assert HangUp() in redial.handle(Silent(), 106.0) and Warn.ROAMING in redial.told(106.0).warnings
    assert redial.handle(BearerFell(Cause.ASKED), 107.0) == [] and redial.next_deadline(107.0) == inf


def test_a_modem_that_somebody_else_owns_is_left_alone_while_only_the_broker_is_silent() -> None:
    redial = Redial(Wishes(), lambda low, high: low, 0.0)
    assert [type(each) for each in redial.handle(Silent(), 0.0)] == [Dial]
    redial.handle(BearerRose("192.0.2.7", "wwan0"), 5.0)
    redial.handle(Acknowledged(), 6.0)
    assert redial.told(6.0).state is State.ONLINE
    redial.handle(Silent(), 100.0)
    now, probes = 100.0, 0
    while now < 10_000:
        now = redial.next_deadline(now)
        effects = redial.handle(Silent(), now)
        assert not any(isinstance(each, (Dial, HangUp)) for each in effects)
        if any(isinstance(each, Probe) for each in effects):
            probes += 1
            redial.handle(Probed(True), now + 0.5)
    assert 20 < probes < 60, "once in five minutes"


# -- what it is put together from -------------------------------------------------------------------------------------


def test_a_secret_is_read_only_if_it_is_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    file.write_text("1234\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        assembly.secret(str(file), "pin_file")
    file.chmod(0o600)
    assert assembly.secret(str(file), "pin_file") == ["1234"]
    for wrong in ("", "\n", "\x00\n", "é\n"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match="pin_file"):
            assembly.secret(str(file), "pin_file")
    with pytest.raises(ConfigError, match="cannot be read"):
        assembly.secret(str(tmp_path / "none"), "pin_file")


def test_an_access_point_is_the_config_files_with_its_name_and_password(tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("user\nsecret\n")
    file.chmod(0o600)
    access = assembly.access_of(Modem(port="/dev/x", apn="iot.example", login_file=str(file)))
    assert access and (access.apn, access.username, access.password) == ("iot.example", "user", "secret")
    assert assembly.access_of(Modem(port="/dev/x")) is None
    file.write_text("user\n")
    with pytest.raises(ConfigError, match="second"):
        assembly.access_of(Modem(port="/dev/x", apn="iot.example", login_file=str(file)))


def test_what_is_kept_is_read_again_and_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    keep = assembly.Keep(tmp_path / assembly.KEPT, lambda job, then: then(job()), lambda _: None)
    assert keep.read() is None
    keep.put({"imei": "1"})
    assert keep.read() == {"imei": "1"}
    keep.last({"imei": "2"})
    assert keep.read() == {"imei": "2"} and [path.name for path in tmp_path.iterdir()] == [assembly.KEPT]
    (tmp_path / assembly.KEPT).write_text("[" * 100_000)
    assert keep.read() is None


def test_the_newest_of_what_waits_is_kept(tmp_path: Path) -> None:
    jobs: list[Callable[[], None]] = []
    keep = assembly.Keep(tmp_path / "kept", lambda job, then: jobs.append(lambda: then(job())), lambda _: None)
    for number in range(5):
        keep.put({"number": number})
    assert len(jobs) == 1, "one at a time"
    jobs.pop(0)()
    jobs.pop(0)()
    assert keep.read() == {"number": 4} and not jobs


def test_a_board_can_do_what_it_has_lines_for() -> None:
    assert set(ways(LINES)) == {Action.POWER, Action.START, Action.OTHER_SIM}
    assert set(ways(ModemFacts(reset="reset"))) == {Action.POWER}


# -- one port for both ------------------------------------------------------------------------------------------------


class Borrower:
    """A bearer that dials on the port that is asked, as pppd does."""

    traits = Traits("borrower", takes_port=True)
    why = ""

    def __init__(self, hands: Hands) -> None:
        self.hands, self.rises = hands, 0

    def rise(self, context: Context) -> None:
        self.rises += 1
        self.hands.post(BearerRose("192.0.2.7", "ppp0"))

    def fall(self) -> None:
        self.hands.post(BearerFell(Cause.ASKED))

    def due(self, now: float) -> None: ...

    def next_deadline(self) -> float:
        return inf

    def close(self) -> None: ...


class Borrowing(Scene):
    """As a scene, with such a bearer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell.stop()
        around = Around(
            at=lambda then: self.later(0.0, lambda: then(self.now)), now=lambda: self.now,
            uniform=lambda low, high: low, tell=self.told.append, save=lambda _: None, save_last=lambda _: None,
            probe=lambda interface, dns, then: then(True), aside=lambda job, then: then(job()), log=lambda _: None,
        )  # fmt: skip
        self.ports: list[SimPort] = []

        def port(said: Callable[[object], None]) -> SimPort:
            self.ports.append(SimPort(self.modem.ports[0], said, lambda: self.now))
            return self.ports[0]

        self.cell.host = Host(
            Wishes(), Line(), around, port=port, bearer=Borrower, levers=lambda ended: SimLevers(self.cell, ended)
        )  # fmt: skip

    def up(self) -> "Borrowing":
        self.run(60)
        self.host.acknowledged("", self.now)
        self.run(1)
        return self


def test_a_bearer_that_needs_the_port_gets_it_and_gives_it_back() -> None:
    scene = Borrowing().up()
    assert scene.host.told().state is State.ONLINE and not scene.ports[0].is_open
    with pytest.raises(Refused, match="data_port"):
        scene.asked("AT+CSQ")
    imei = scene.host.told().imei
    scene.host.bearer.hands.post(BearerFell(Cause.ENDED))  # type: ignore[attr-defined]
    scene.run(0.3)
    assert scene.ports[0].is_open and scene.host.told().imei == imei, "nothing has to be asked anew"
    scene.run(60)
    assert not scene.ports[0].is_open and scene.host.bearer.rises == 2


def test_a_port_that_does_not_come_back_from_a_call_is_gone() -> None:
    scene = Borrowing().up()
    scene.modem.power(False, scene.now)
    scene.host.bearer.hands.post(BearerFell(Cause.ENDED))  # type: ignore[attr-defined]
    scene.run(30)
    assert scene.host.told().beneath is State.ABSENT
    scene.run(60)
    assert any(isinstance(each, PartTold) and each.problem for each in scene.told), "people hear of it"
