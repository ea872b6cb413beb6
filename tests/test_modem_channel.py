"""The AT channel in simulated time: what modems do to one command in flight, and that no line is ever another's."""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.modem.at import (
    DRAIN_MAX_S,
    LINES_MAX,
    ODD_MAX,
    OWED_MIN_S,
    PROBE_S,
    QUIET_S,
    SETTLE_S,
    Answered,
    Channel,
    Event,
    Found,
    Heard,
    Hung,
    Prompted,
    Rebooted,
    State,
    Twice,
    timeout_s,
)

IMEI, IMSI = "490154203237518", "262011234567890"
T = TypeVar("T")
Said = Iterable[tuple[float, str]]  # seconds after the command, and what then is on the line

OK = "\r\nOK\r\n"
HABITS: dict[str, Said] = {
    "AT": [(0.01, OK)],
    "AT+CGSN": [(0.02, f"\r\n{IMEI}\r\n{OK}")],
    "AT+CIMI": [(0.02, f"\r\n{IMSI}\r\n{OK}")],
    "AT+CREG?": [(0.02, f"\r\n+CREG: 0,1\r\n{OK}")],
    "AT+CSQ": [(0.02, f"\r\n+CSQ: 20,99\r\n{OK}")],
    "ATE0": [(0.01, OK)],
}


@dataclass
class Line:
    """A modem at the other end of a channel, and the clock. `habits` answer commands; `say` speaks unasked."""

    habits: dict[str, Said] = field(default_factory=lambda: dict(HABITS))
    echoes: bool = False
    now: float = 0.0
    sent: list[str] = field(default_factory=list)
    events: list[tuple[float, Event]] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _: None

    def __post_init__(self) -> None:
        self.channel = Channel(self.now)
        self._coming: list[tuple[float, int, bytes]] = []
        self._order = count()

    def say(self, text: str, after_s: float = 0.0) -> None:
        heapq.heappush(self._coming, (self.now + after_s, next(self._order), text.encode()))

    def hear(self, data: bytes) -> None:
        """What the channel has written."""
        for said in data.decode().split("\r"):
            if command := said.removeprefix("\x1b"):
                self.sent.append(said.replace("\x1b", "<ESC>"))
                if self.echoes:
                    self.say(f"{command}\r")
                for after_s, text in self.habits.get(command, [(0.01, "\r\nERROR\r\n")]):
                    self.say(text, after_s)

    def ask(self, command: str) -> Answered:
        """Waits until the port is ready, and for the answer."""
        self.until(lambda: self.channel.is_ready)
        seen = len(self.events)
        self.hear(self.channel.send(command, self.now))
        return self.until(lambda: next((e for _, e in self.events[seen:] if isinstance(e, Answered)), None))

    def until(self, condition: Callable[[], T | None], limit_s: float = 1_000.0) -> T:
        end = self.now + limit_s
        while not (found := condition()):
            assert self.now < end, (self.channel._state, self.sent[-5:])
            self.step(end)
        return found

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step(end)

    def step(self, end: float) -> None:
        """To the next thing that happens."""
        due = self.channel.next_deadline()
        at = min(end, due if due is not None else end, self._coming[0][0] if self._coming else end)
        self.now = max(self.now, at)
        if self._coming and self._coming[0][0] <= self.now:
            self.note(self.channel.received(heapq.heappop(self._coming)[2], self.now))
        data, events = self.channel.poll(self.now)
        self.note(events)
        self.hear(data)

    def note(self, events: list[Event]) -> None:
        for event in events:
            self.events.append((self.now, event))
            self.on_event(event)

    def told(self, kind: type[T]) -> list[T]:
        return [event for _, event in self.events if isinstance(event, kind)]



def changed(command: str, *said: tuple[float, str]) -> Line:
    made = Line(HABITS | {command: said})
    made.until(lambda: made.channel.is_ready)
    return made


# -- one command ------------------------------------------------------------------------------------------------------


def test_a_port_is_tried_before_the_first_command() -> None:
    port = Line()
    port.until(lambda: port.channel.is_ready)
    assert port.sent == ["AT"] and port.told(Found)


@pytest.mark.parametrize("echoes", [False, True])
def test_a_command_has_its_lines_and_its_result(echoes: bool) -> None:
    port = Line(echoes=echoes)
    answer = port.ask("AT+CREG?")
    assert answer.is_ok and answer.get("stat") == 1 and len(answer.lines) == 1
    assert port.ask("AT+CSQ").get("rssi_dbm") == -73


def test_a_urc_inside_an_answer_is_no_part_of_it() -> None:
    urcs = '\r\n+CREG: 5,"0502","0404736D",7\r\n\r\n+CGEV: NW DETACH\r\n'
    port = changed("AT+CREG?", (0.02, f"{urcs}\r\n+CREG: 2,1\r\n{OK}"))
    answer = port.ask("AT+CREG?")
    assert answer.is_ok and answer.get("stat") == 1
    assert [heard.piece.prefix for heard in port.told(Heard)] == ["+CREG", "+CGEV"]


def test_an_error_is_told_by_its_number() -> None:
    port = changed("AT+CREG?", (0.02, "\r\n+CME ERROR: SIM busy\r\n"))
    assert port.ask("AT+CREG?").error == 14


def test_an_answer_without_ok_ends_by_time_and_is_not_sure() -> None:
    port = changed("AT+CPIN?", (0.02, "\r\n+CPIN: READY\r\n"))
    answer = port.ask("AT+CPIN?")
    assert answer.get("lock") == "READY" and answer.final is None and not answer.is_sure and not answer.is_ok


def test_only_one_command_is_ever_in_flight() -> None:
    port = changed("AT+COPS=?", (200.0, "\r\n+COPS: \r\n" + OK))
    port.hear(port.channel.send("AT+COPS=?", port.now))
    assert not port.channel.is_ready
    with pytest.raises(AssertionError):
        port.channel.send("AT", port.now)


@pytest.mark.parametrize(
    ("command", "seconds"),
    [("AT+CSQ", 3), ("AT+COPS=?", 315), ("AT+COPS=0", 180), ("AT+CGATT=1", 150), ("AT+CGATT=?", 3), ("ATD*99***1#", 60),
     ("AT+CFUN=4", 20), ("AT+CEREG?", 10), ("AT+C5GREG?", 10), ("ATE0V1", 3), ("AT+CSQ;+COPS=?", 315), ("AT+CFUN?", 3)],
)  # fmt: skip
def test_each_class_of_command_has_its_patience(command: str, seconds: float) -> None:
    assert timeout_s(command) == seconds


# -- doubt ------------------------------------------------------------------------------------------------------------


def test_a_second_result_makes_the_answer_unsure_and_shifts_nothing() -> None:
    """ofono-phonesim answers AT+CSIM with OK and then ERROR; a reader that is off by one sees another IMSI."""
    port = changed("AT+CSIM=1", (0.02, "\r\n+CSIM: 4,6800\r\n" + OK), (0.03, "\r\nERROR\r\n"))
    assert not port.ask("AT+CSIM=1").is_sure
    answer = port.ask("AT+CIMI")
    assert answer.is_ok and answer.get("imsi") == IMSI


def test_a_second_result_that_comes_late_is_nobodys_either() -> None:
    port = changed("AT+CSIM=1", (0.02, "\r\n+CSIM: 4,6800\r\n" + OK), (0.5, "\r\nERROR\r\n"))
    assert port.ask("AT+CSIM=1").is_sure
    port.run(0.5)
    assert not port.channel.is_ready, "a result with nothing in flight is doubt"
    assert port.ask("AT+CIMI").is_ok


def test_a_late_list_of_networks_is_not_the_next_commands_answer() -> None:
    port = changed("AT+COPS?", (60.0, '\r\n+COPS: 0,0,"late",7\r\n' + OK))
    assert port.ask("AT+COPS?").final is None
    port.until(lambda: port.channel.is_ready)
    port.habits["AT+CREG?"] = [(55.0, "\r\n+CREG: 0,5\r\n" + OK)]
    port.hear(port.channel.send("AT+CREG?", port.now, timeout=120.0))
    answer = port.until(lambda: next(iter(port.told(Answered)[1:]), None))
    assert answer.get("stat") == 5 and answer.get("operator") is None
    assert not answer.is_sure, "somebody else's line came in between"


@pytest.mark.promise("S9")
@pytest.mark.parametrize("late", ["+CREG: 0,5", '+CREG: 2,5,"1A2B","01C3D4E5",7', "+CFUN: 1", IMSI])
def test_a_late_answer_with_its_result_shifts_nothing(late: str) -> None:
    port = changed("AT+CSQ", (0.02, f"\r\n{late}\r\n{OK}"), (0.03, f"\r\n+CSQ: 20,99\r\n{OK}"))
    answer = port.ask("AT+CSQ")
    assert answer.get("rssi_dbm") == -73 and len(answer.lines) == 1 and not answer.is_sure
    assert not [heard for heard in port.told(Heard) if "stat" in heard.piece.fields]
    assert port.ask("AT+CREG?").get("stat") == 1


@pytest.mark.promise("S9")
def test_a_message_whose_text_comes_after_our_next_command_fakes_no_start() -> None:
    port = Line()
    port.ask("AT+CREG?")
    port.say('\r\n+CMT: "+49","","26/11/22,10:00:00+04"\r\n')
    port.run(0.1)
    port.habits["AT+CSQ"] = [(0.01, f"RDY\r\n\r\n+CSQ: 20,99\r\n{OK}")]
    assert port.ask("AT+CSQ").is_ok and not port.told(Rebooted)


def test_after_a_timeout_the_port_is_tried_before_the_next_command() -> None:
    port = changed("AT+CSQ")
    answer = port.ask("AT+CSQ")
    assert answer.final is None and not answer.is_sure
    assert port.ask("AT+CREG?").is_ok
    assert port.sent == ["AT", "AT+CSQ", "AT", "AT+CREG?"]


def test_what_was_given_up_may_answer_while_the_port_is_tried() -> None:
    """Its OK and that of the bare AT are two: one is not enough to go on."""
    port = changed("AT+CIMI", (3.0 + QUIET_S + 0.005, f"\r\n{IMSI}\r\n{OK}"))
    port.ask("AT+CIMI")
    answer = port.ask("AT+CGSN")
    assert answer.get("imei") == IMEI and len(answer.lines) == 1
    assert port.sent.count("AT") == 3


def test_so_long_as_a_late_answer_may_come_only_a_prefix_says_whose_a_line_is() -> None:
    """An IMSI and an IMEI are fifteen digits each, and an OK is an OK."""
    port = changed("AT+CIMI")
    port.ask("AT+CIMI")
    assert not port.ask("AT+CGSN").is_sure and not port.ask("ATE0").is_sure
    assert port.ask("AT+CREG?").is_sure
    port.run(OWED_MIN_S)
    assert port.ask("AT+CGSN").is_sure and port.ask("ATE0").is_sure


def test_a_port_that_is_never_silent_is_tried_all_the_same() -> None:
    port = Line()
    for tenth in range(300):
        port.say("$GPGGA,,,,,,0,00,99.99,,,,,,*48\r\n", tenth / 10)
    port.until(lambda: port.sent)
    assert DRAIN_MAX_S <= port.now < DRAIN_MAX_S + 1


def test_a_modem_that_does_not_answer_is_hung_after_three_tries_and_found_again() -> None:
    port = changed("AT+CSQ")
    port.habits["AT"] = []
    port.ask("AT+CSQ")
    port.until(lambda: port.told(Hung))
    assert 5 < port.now < 20
    port.run(60)
    assert len(port.told(Hung)) == 1, "once"
    port.habits = dict(HABITS)
    found = len(port.told(Found))
    port.until(lambda: len(port.told(Found)) > found)
    assert port.ask("AT+CSQ").is_ok


def test_an_unexpected_prompt_is_left_by_escape() -> None:
    port = changed("AT+CSQ", (0.01, "\r\n> "))
    answer = port.ask("AT+CSQ")
    assert port.told(Prompted) and answer.final is None
    port.ask("AT+CREG?")
    assert port.sent == ["AT", "AT+CSQ", "<ESC>AT", "AT+CREG?"]


def test_a_text_is_given_at_the_prompt() -> None:
    port = changed("AT+CMGS=12", (0.01, "\r\n> "))
    port.hear(port.channel.send("AT+CMGS=12", port.now))
    port.until(lambda: port.told(Prompted))
    assert port.channel.text(b"0011") == b"0011\x1a"


# -- the modem's own mind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["RDY", "APP RDY", "^SYSSTART", "*ATREADY: 1", "PB DONE", "+CPIN:READY", "SMS DONE"])
def test_a_modem_that_has_started_by_itself_says_so(sign: str) -> None:
    port = Line()
    port.ask("AT+CREG?")
    port.say(f"\r\n{sign}\r\n")
    port.run(0.1)
    assert [event.sign for event in port.told(Rebooted)] == [sign]
    assert not port.channel.is_ready, "what it still has to say is waited for"


def test_one_start_is_one_start_with_all_that_is_said_of_it() -> None:
    port = Line()
    port.ask("AT+CREG?")
    for after_s, sign in enumerate(["RDY", "+CFUN: 1", "+CPIN: READY", "SMS DONE", "PB DONE"]):
        port.say(f"\r\n{sign}\r\n", after_s * 4)
    port.run(30)
    assert len(port.told(Rebooted)) == 1 and port.ask("AT+CREG?").is_ok


def test_two_words_for_one_start_are_one_and_one_word_twice_is_two() -> None:
    port = Line()
    port.ask("AT+CREG?")
    port.say("\r\nRDY\r\n")
    port.say("\r\nAPP RDY\r\n", 3.0)
    port.run(10)
    assert len(port.told(Rebooted)) == 1
    port.say("\r\nRDY\r\n")
    port.run(1)
    assert len(port.told(Rebooted)) == 2, "a modem that starts again and again says so"


def test_a_start_ends_the_command_in_flight() -> None:
    port = changed("AT+COPS=?", (5.0, "\r\nRDY\r\n"))
    answer = port.ask("AT+COPS=?")
    assert answer.final is None and not answer.is_sure and port.now < 10


def test_what_we_switch_on_ourselves_is_no_start() -> None:
    port = changed("AT+CFUN=1", (0.5, OK), (3.0, "\r\n+CPIN: READY\r\n"), (9.0, "\r\nSMS DONE\r\n\r\nPB DONE\r\n"))
    assert port.ask("AT+CFUN=1").is_ok
    port.run(20)
    assert not port.told(Rebooted) and len(port.told(Heard)) == 3


def test_a_modem_that_switches_itself_off_is_going() -> None:
    port = Line()
    port.ask("AT+CREG?")
    port.say("\r\nNORMAL POWER DOWN\r\n")
    port.run(0.1)
    assert port.told(Rebooted)[0].is_down
    port.say("\r\nRDY\r\n", 5.0)
    port.run(6)
    assert [event.is_down for event in port.told(Rebooted)] == [True, False], "and then it is back"


def test_after_connect_the_port_carries_data_until_it_hangs_up() -> None:
    port = changed("ATD*99***1#", (1.0, "\r\nCONNECT 150000000\r\n~\r\nRDY\r\n"), (1.5, "~\xff}#RDY\r\nOK\r\n"))
    assert port.ask("ATD*99***1#").is_ok and port.channel.is_data
    port.run(2)
    assert not port.told(Rebooted) and not port.channel.is_ready
    port.channel.hung_up(port.now)
    assert port.ask("AT+CSQ").is_ok


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S10")
def test_an_answer_that_never_ends_is_bounded_and_not_sure() -> None:
    port = changed("AT+CGDCONT?", (0.02, "\r\n".join(f'+CGDCONT: {n},"IP","a"' for n in range(5_000)) + OK))
    answer = port.ask("AT+CGDCONT?")
    assert len(answer.lines) == LINES_MAX and not answer.is_sure


@pytest.mark.promise("S10")
def test_unknown_lines_are_kept_and_counted_and_not_for_ever() -> None:
    port = Line()
    port.ask("AT+CREG?")
    for n in range(3 * ODD_MAX):
        port.say(f"what is this {n}\r\n")
    port.run(1)
    assert port.channel.counts["unknown"] == 3 * ODD_MAX
    assert len(port.channel.odd) == ODD_MAX and port.channel.odd[-1] == f"what is this {3 * ODD_MAX - 1}"


# -- identity ---------------------------------------------------------------------------------------------------------


def test_an_identity_counts_when_it_was_read_twice_alike() -> None:
    iccid = Twice()
    assert not iccid.read("A", True) and iccid.value is None
    assert iccid.read("A", True) and iccid.value == "A"
    assert not iccid.read("A", True), "no news"
    assert not iccid.read("B", True) and not iccid.read("A", True) and iccid.value == "A", "one wrong one is none"
    assert not iccid.read("B", True) and not iccid.read("B", False), "it was not sure"
    assert not iccid.read("B", True), "so they were not two in a row"
    assert iccid.read("B", True) and iccid.value == "B"


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["twice", "late", "cut", "URC", "error", "reboot", "slow", "other"]),
        st.floats(0.0, 8.0, allow_nan=False),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@pytest.mark.promise("S9")
@settings(deadline=None, max_examples=25)
@given(FAULTS, st.booleans())
def test_whatever_the_line_does_the_identity_is_never_another(faults: list[tuple[str, float]], echoes: bool) -> None:
    never_another(faults, echoes)


@pytest.mark.long
@settings(deadline=None, max_examples=1_500)
@given(FAULTS, st.booleans())
def test_nor_is_it_in_a_long_time(faults: list[tuple[str, float]], echoes: bool) -> None:
    never_another(faults, echoes)


def never_another(faults: list[tuple[str, float]], echoes: bool) -> None:
    """Results twice, late, cut off or missing, URCs and starts in the middle; IMSI and IMEI look alike on the line."""
    port = Line(echoes=echoes)
    imei, imsi = Twice(), Twice()
    for kind, after_s in [*faults, ("rest", 60.0), ("none", 0.0), ("none", 0.0)]:
        for command, said, twice in (("AT+CGSN", IMEI, imei), ("AT+CIMI", IMSI, imsi)):
            if kind == "rest":
                port.run(after_s)
                continue
            port.habits = HABITS | {command: faulty(kind, after_s, said)}
            answer = port.ask(command)
            value = answer.get("imei" if twice is imei else "imsi")
            twice.read(value if len(answer.lines) == 1 else None, answer.is_ok)
            assert imei.value in (None, IMEI) and imsi.value in (None, IMSI)
    assert (imei.value, imsi.value) == (IMEI, IMSI), "and in the end it is known"


def faulty(kind: str, after_s: float, said: str) -> Said:
    whole = f"\r\n{said}\r\n{OK}"
    return {
        "none": [(0.02, whole)],
        "twice": [(0.02, whole), (0.02 + after_s / 100, "\r\nERROR\r\n")],
        "late": [(after_s, whole)],
        "cut": [(0.02, whole[: int(after_s * 3)])],
        "URC": [(0.02, f"\r\n+CREG: 2\r\n\r\n{said}\r\n\r\n+CGEV: NW DETACH\r\n{OK}")],
        "error": [(0.02, "\r\n+CME ERROR: 14\r\n"), (after_s / 100, OK)],
        "reboot": [(0.02, f"\r\n{said[:4]}"), (after_s / 10, "\r\nRDY\r\n"), (after_s, "\r\n+CPIN: READY\r\n")],
        "slow": [(n * after_s / 20, char) for n, char in enumerate(whole)],
        "other": [(0.02, '\r\n+CRSM: 144,0,"98"\r\n' + OK), (0.1, whole)],
    }[kind]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=40), st.floats(0, 5)), max_size=30))
def test_no_bytes_hang_the_channel(chunks: list[tuple[bytes, float]]) -> None:
    """After any noise a modem that answers is found."""
    port = Line()
    for data, after_s in chunks:
        port.note(port.channel.received(data, port.now))
        port.run(after_s)
        is_idle = port.channel._state in (State.READY, State.DATA)
        assert (port.channel.next_deadline() is None) is is_idle, "it waits for nothing without a deadline"
        if port.channel.is_data:
            port.channel.hung_up(port.now)
    port.until(lambda: port.channel.is_ready, 60.0)
    assert SETTLE_S < PROBE_S
