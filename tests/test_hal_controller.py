"""The host's end of the controller link against the simulated controller, by bytes in memory and simulated time."""

import random
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.effects import PortCommand, Stop
from agent.events import ControllerFound, ControllerLost, Cp, Event, PartTold, PortReported, SelfTest
from agent.faults import Fault
from agent.hal.controller import LOST_S, METER_PERIOD_S, ControllerLink, light_row, report_of
from agent.hal.linkhealth import PART, QUIET_S
from agent.sim.car import Car
from agent.sim.controller import SimController
from agent.ui.led import PATTERNS, Light, is_lit
from board.controller import contract
from board.controller.app.light import OUT_OF_SERVICE, STARTING
from board.controller.app.light import is_lit as played
from board.controller.link import Deframer, frame

TURN_S = 0.02
ON, OFF = PortCommand(16_000, Stop.NONE, lock=False), PortCommand()


def new_link(circuit_limit_ma: int = 32_000, failsafe_ma: int = 6_000, pins_hash: str = "") -> ControllerLink:
    return ControllerLink(2, circuit_limit_ma, failsafe_ma, 60, pins_hash)


@dataclass
class Line:
    """Host and controller, and what has gone over the wire between them."""

    link: ControllerLink = field(default_factory=new_link)
    sim: SimController = field(default_factory=SimController)
    now: float = 0.0
    is_cut: bool = False
    events: list[Event] = field(default_factory=list)
    said: list[tuple[float, tuple[object, ...]]] = field(default_factory=list)  # by the host
    _ear: Deframer = field(default_factory=Deframer)

    def __post_init__(self) -> None:
        self.sim.power_on(self.now)

    def run(self, seconds: float) -> list[Event]:
        """Let time pass; the events since then."""
        before, until = len(self.events), self.now + seconds
        while self.now < until:
            self.now += TURN_S
            out, events = self.link.poll(self.now)
            self.events += events
            self.to_controller(out)
            self.sim.receive(b"", self.now)
            heard = self.sim.transmit()
            if not self.is_cut:
                answer, events = self.link.received(heard, self.now)
                self.events += events
                self.to_controller(answer)
        return self.events[before:]

    def wish(self, *commands: PortCommand) -> None:
        self.to_controller(self.link.wish(commands, self.now))

    def to_controller(self, data: bytes) -> None:
        for _, body in self._ear.feed(data):
            self.said.append((self.now, contract.unpack(body) or ()))
        if not self.is_cut:
            self.sim.receive(data, self.now)

    def charge(self) -> None:
        """A car at the first port draws energy."""
        self.run(2.0)
        self.sim.plug(0, Car(), self.now)
        self.run(1.0)
        self.wish(ON, OFF)
        self.run(4.0)
        assert self.sim.bays[0].power_w > 0

    def wishes(self) -> list[tuple[float, tuple[object, ...]]]:
        return [(at, message) for at, message in self.said if message[0] == contract.WISH]


def of(kind: type, events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def welcome(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "major": contract.MAJOR, "minor_first": contract.MINOR_FIRST, "minor_last": contract.MINOR_LAST,
        "hash": contract.HASH, "boot_id": 7, "uptime_ms": 1_000, "reset_cause": 0, "ports": 2,
        "circuit_limit_ma": 32_000, "pins_hash": "",
    }  # fmt: skip
    return frame(0, contract.pack(contract.WELCOME, *(fields | changed).values()))


# -- negotiation ------------------------------------------------------------------------------------------------------


def test_hello_welcome_and_every_port_is_reported() -> None:
    line = Line()
    events = line.run(1.0)
    assert line.said[0][1] == (contract.HELLO, contract.MAJOR, 2, 3, contract.HASH)
    assert isinstance(events[0], ControllerFound) and events[0].circuit_limit_ma == 32_000
    assert {event.evse_id for event in events if isinstance(event, PortReported)} == {1, 2}


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (welcome(hash="00000000"), "flash the controller"),
        (welcome(major=9), "flash the controller"),
        (welcome(ports=3), "it has 3 ports, the board file 2"),
        (frame(0, contract.pack(contract.REFUSED, contract.OTHER_CONTRACT, "mean different tables")), "different"),
    ],
)
def test_a_controller_that_does_not_fit_is_refused_with_a_sentence_said_once(answer: bytes, words: str) -> None:
    link, said, out = new_link(), [], b""
    for n in range(20):
        now = n / 2
        hello, news = link.poll(now)
        reply, more = link.received(answer, now)
        out += hello + reply
        said += news + more
    assert len(said) == 1
    assert isinstance(said[0], ControllerLost) and words in said[0].why
    messages = [contract.unpack(body) for _, body in Deframer().feed(out)]
    assert len(messages) == 20 and all(message and message[0] == contract.HELLO for message in messages)


@pytest.mark.promise("S1")
@pytest.mark.parametrize(("ours", "theirs"), [("0badc0de", "0badc0de"), ("", "0badc0de"), ("0badc0de", "")])
def test_a_pin_table_that_only_one_end_knows_is_not_compared(ours: str, theirs: str) -> None:
    _, news = new_link(pins_hash=ours).received(welcome(pins_hash=theirs), 0.0)
    assert isinstance(news[0], ControllerFound)


@pytest.mark.promise("S1")
def test_a_controller_with_the_pin_table_of_another_board_is_refused_and_wished_nothing() -> None:
    link = new_link(pins_hash="0badc0de")
    link.poll(0.0)
    reply, news = link.received(welcome(pins_hash="600dc0de"), 0.0)
    (lost,) = news
    assert not reply and isinstance(lost, ControllerLost)
    assert "600dc0de" in lost.why and "tools/flash.py" in lost.why and "--board" in lost.why
    assert not link.wish((PortCommand(offer_ma=6_000, stop=Stop.NONE),) * 2, 0.1)


def test_a_newer_controller_is_spoken_to_in_our_minor_and_an_older_one_is_refused() -> None:
    link = new_link()
    _, news = link.received(welcome(minor_last=contract.MINOR_LAST + 3, hash="00000000"), 0.0)
    assert isinstance(news[0], ControllerFound)
    out, _ = link.poll(2.0)
    assert [contract.unpack(body)[:2] for _, body in Deframer().feed(out)] == [(contract.WISH, contract.MINOR_LAST)]  # type: ignore[index]
    older = contract.MINOR_FIRST - 1
    _, news = new_link().received(welcome(minor_first=0, minor_last=older, hash="00000000"), 0.0)
    assert isinstance(news[0], ControllerLost) and "flash the controller" in news[0].why


# -- lights, counters, halt


@pytest.mark.parametrize("light", Light)
def test_every_light_is_played_by_the_controller_as_the_agent_means_it(light: Light) -> None:
    pattern = PATTERNS[light]
    colours, rhythm = light_row(pattern)
    assert colours and light_row(None) == (0, 0)
    for tenths in range(200):
        assert played(rhythm, tenths * 100 + 50) == is_lit(pattern, tenths / 10 + 0.05)


def test_the_lights_that_no_host_wishes_are_the_agents_own() -> None:
    assert light_row(PATTERNS[Light.STARTING]) == STARTING
    assert light_row(PATTERNS[Light.OUT_OF_SERVICE]) == OUT_OF_SERVICE


def test_lights_go_out_at_once_and_with_every_heartbeat_and_where_there_are_none_nothing_does() -> None:
    line = Line()
    line.run(5.0)
    assert not [message for _, message in line.said if message[0] == contract.LIGHTS]
    lights = (PATTERNS[Light.PLUGGED], None)
    line.to_controller(line.link.show(lights, line.now))
    assert line.said[-1] == (line.now, (contract.LIGHTS, contract.MINOR_LAST, (light_row(lights[0]), (0, 0))))
    assert line.link.show(lights, line.now) == b""
    line.run(2.0)
    assert len([message for _, message in line.said if message[0] == contract.LIGHTS]) == 5


def counters(**changed: int) -> bytes:
    counts = [(changed.get(name, 0),) for name in contract.COUNTS.split()]
    return frame(0, contract.pack(contract.COUNTERS, counts))


def test_what_is_odd_on_the_line_is_told_once_and_once_that_it_is_over() -> None:
    link = new_link()
    link.received(welcome(), 0.0)

    def news(at: float, **changed: int) -> list[Event]:
        return link.received(counters(**changed), at)[1]

    assert not news(0.1, overruns=500, leaps=3), "before we came: told then, or nobody was there"
    assert not news(30.0, overruns=509, leaps=3), "a late turn now and then is none"
    (told,) = news(60.0, overruns=519, leaps=3)
    assert isinstance(told, PartTold) and told.part == PART and told.code == "overruns" and told.fix
    assert not news(90.0, overruns=700, leaps=3)
    (told,) = news(120.0, overruns=800, leaps=4)
    assert isinstance(told, PartTold) and "turns" in told.problem and "leapt" in told.problem
    assert not news(600.0, overruns=800, leaps=4)
    assert not news(719.0, overruns=800, leaps=5)
    (told,) = news(719.0 + QUIET_S, overruns=800, leaps=5)
    assert told == PartTold(PART)
    link.received(welcome(boot_id=8), 2_000.0)
    assert not news(2_000.1, overruns=1), "another boot counts from nothing"
    assert link.counters()["heard_there"]["overruns"] == 1


def test_fewer_or_more_counters_than_we_know_break_nothing() -> None:
    link = new_link()
    link.received(welcome(), 0.0)
    for count in (1, len(contract.COUNTS.split())):
        body = contract.pack(contract.COUNTERS, [(7,)] * count)
        link.received(frame(0, body), 1.0)
    assert link.counters()["heard_there"] == dict.fromkeys(contract.COUNTS.split(), 7)


def test_a_halted_controller_is_left_alone_until_the_flasher_is_done() -> None:
    line = Line()
    assert line.link.halt() == b"", "nobody is greeted yet"
    line.run(3.0)
    line.to_controller(line.link.halt())
    events = line.run(20.0)
    assert line.link.is_halted and [type(event) for event in events] == [ControllerLost]
    assert line.said[-1][1] == (contract.HALT, contract.MINOR_LAST) and line.link.next_deadline() == inf
    line.sim.reset(line.now)
    line.link.resume(line.now)
    assert of(ControllerFound, line.run(2.0))


def test_a_new_controller_is_commissioned_once_with_our_limits() -> None:
    line = Line(sim=SimController(circuit_limit_ma=0))
    found = of(ControllerFound, line.run(5.0))
    assert found[-1] == ControllerFound(line.sim.controller.boot_id, 0.02, 32_000)  # type: ignore[union-attr]
    assert line.sim.memory.circuit_limit_ma == 32_000
    assert len([message for _, message in line.said if message[0] == contract.LIMIT]) == 1


@pytest.mark.promise("S11")
def test_a_commissioned_limit_is_not_raised_by_a_restart_with_another_config() -> None:
    line = Line(link=new_link(circuit_limit_ma=64_000), sim=SimController(circuit_limit_ma=20_000))
    (found,) = of(ControllerFound, line.run(5.0))
    assert isinstance(found, ControllerFound) and found.circuit_limit_ma == 20_000
    assert line.sim.memory.circuit_limit_ma == 20_000


@pytest.mark.promise("S11")
def test_a_circuit_that_was_made_smaller_is_told_to_the_controller_also_in_mid_session() -> None:
    line = Line()  # commissioned with 32 A
    line.charge()
    line.link = new_link(circuit_limit_ma=20_000)
    found = of(ControllerFound, line.run(1.0))
    assert {event.circuit_limit_ma for event in found if isinstance(event, ControllerFound)} == {20_000}
    assert line.sim.memory.circuit_limit_ma == 20_000 and line.sim.bays[0].contactor.value
    assert len([message for _, message in line.said if message[0] == contract.LIMIT]) == 2, "commissioned, and lowered"


@pytest.mark.promise("S9", "S11")
def test_a_smaller_circuit_that_the_controller_does_not_take_is_a_part_that_failed_and_no_lost_controller() -> None:
    line = Line(link=new_link(circuit_limit_ma=10_000), sim=SimController(circuit_limit_ma=32_000))
    events = line.run(20.0)
    (told,) = of(PartTold, events)
    assert isinstance(told, PartTold) and told.fix == "Set at most 5000 mA."
    found = {event.circuit_limit_ma for event in events if isinstance(event, ControllerFound)}
    assert not of(ControllerLost, events) and found == {10_000}
    assert len([message for _, message in line.said if message[0] == contract.LIMIT]) == 1
    line.link = new_link(circuit_limit_ma=12_000)
    assert not of(PartTold, line.run(5.0)) and line.sim.memory.circuit_limit_ma == 12_000


@pytest.mark.promise("S9")
def test_limits_that_the_controller_refuses_are_said_once_and_not_asked_again() -> None:
    line = Line(link=new_link(circuit_limit_ma=10_000, failsafe_ma=6_000), sim=SimController(circuit_limit_ma=0))
    events = line.run(20.0)
    (lost,) = of(ControllerLost, events)
    assert isinstance(lost, ControllerLost) and "set at most 5000 mA" in lost.why
    assert len(of(ControllerFound, events)) == 1
    assert len([message for _, message in line.said if message[0] == contract.LIMIT]) == 1


# -- heartbeat --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S11")
def test_the_whole_wish_is_said_again_with_every_heartbeat() -> None:
    line = Line()
    line.run(1.0)
    line.wish(ON, replace(OFF, lock=True))
    first = len(line.wishes()) - 1
    line.run(10.0)
    beats = line.wishes()[first:]
    whole = ((16_000, 0, 0, 0), (0, 1, 1, 0))
    assert {message for _, message in beats} == {(contract.WISH, contract.MINOR_LAST, whole)}
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(beats)]
    assert max(gaps) <= 0.5 + TURN_S and len(beats) >= 20


@pytest.mark.promise("S1")
def test_a_changed_wish_waits_for_no_heartbeat() -> None:
    line = Line()
    line.charge()
    line.wish(replace(OFF, stop=Stop.NOW), OFF)
    assert line.wishes()[-1][0] == line.now
    line.run(0.1)
    assert not line.sim.bays[0].contactor.value


@pytest.mark.promise("S1")
def test_a_changed_wish_whose_frame_is_lost_on_the_line_waits_for_no_heartbeat() -> None:
    line = Line()
    line.charge()
    line.run(0.3)  # the heartbeat is not due
    line.is_cut = True
    line.wish(replace(OFF, stop=Stop.NOW), OFF)
    line.is_cut = False
    line.run(0.1)
    assert not line.sim.bays[0].contactor.value
    line.run(2.0)
    assert len([at for at, _ in line.wishes() if at > line.now - 2.0]) <= 4  # it ends


def test_edges_are_told_at_once_and_a_moving_meter_every_few_seconds() -> None:
    line = Line()
    line.charge()
    told = of(PortReported, line.run(60.0))
    assert 60 / (METER_PERIOD_S + 0.5) - 1 <= len(told) <= 60 / METER_PERIOD_S + 1  # with every fourth or fifth frame
    assert line.sim.unplug(0, line.now)
    (first, *_) = line.run(0.1)
    assert isinstance(first, PortReported) and first.report.cp is Cp.A


@pytest.mark.promise("S2")
def test_the_newest_good_reading_is_told_before_a_meter_fails() -> None:
    line = Line()
    line.charge()
    line.run(METER_PERIOD_S - 1.0)
    line.sim.touch(line.now, lambda sim: setattr(sim.bays[0], "meter_dead", True))
    told = [event.report for event in line.run(8.0) if isinstance(event, PortReported) and event.evse_id == 1]
    fails = next(i for i, report in enumerate(told) if Fault.METER_FAULT in report.faults)
    assert fails > 0
    assert not told[fails - 1].faults
    assert told[fails - 1].energy_wh == told[fails].energy_wh == int(line.sim.bays[0].meter()[0])


# -- what heals -------------------------------------------------------------------------------------------------------


def test_silence_of_three_seconds_is_told_once_and_the_first_word_heals_it() -> None:
    line = Line()
    line.run(2.0)
    line.is_cut = True
    assert line.run(LOST_S - 0.6) == []
    (lost,) = line.run(20.0)
    assert isinstance(lost, ControllerLost) and "3 s" in lost.why
    line.is_cut = False
    events = line.run(1.0)
    assert len(of(ControllerFound, events)) == 1 and len(of(PortReported, events)) >= 2


@pytest.mark.promise("S1")
def test_a_controller_that_was_reset_is_greeted_again_and_gets_the_whole_wish() -> None:
    line = Line()
    line.charge()
    line.sim.reset(line.now)
    events = line.run(6.0)
    found = of(ControllerFound, events)[-1]
    assert isinstance(found, ControllerFound)
    assert line.sim.controller and found.boot_id == line.sim.controller.boot_id
    assert line.wishes()[-1][1] == (contract.WISH, contract.MINOR_LAST, ((16_000, 0, 0, 0), (0, 1, 0, 0)))


@pytest.mark.promise("S3")
def test_a_restarted_host_does_not_touch_what_runs_before_it_knows_of_it() -> None:
    line = Line()
    line.charge()
    line.run(10.0)
    pins = list(line.sim.pins)
    line.link = new_link()
    assert {event.evse_id for event in line.run(0.6) if isinstance(event, PortReported)} == {1, 2}
    line.run(1.0)  # the core reads its disk
    line.wish(ON, OFF)
    line.run(5.0)
    assert list(line.sim.pins) == pins
    assert line.wishes()[-1][0] > line.now - 0.6


@pytest.mark.promise("S1")
def test_a_restarted_host_that_does_not_want_what_runs_ends_it_within_seconds() -> None:
    line = Line()
    line.charge()
    line.link = new_link()
    line.run(10.0)
    assert not line.sim.bays[0].contactor.value


@pytest.mark.promise("S1")
def test_a_stop_at_once_is_said_even_while_a_restarted_host_listens() -> None:
    line = Line()
    line.charge()
    line.link = new_link()
    line.run(0.6)
    line.wish(replace(OFF, stop=Stop.NOW), OFF)
    line.run(0.1)
    assert not line.sim.bays[0].contactor.value


def test_a_line_that_is_gone_is_told_once() -> None:
    line = Line()
    line.run(2.0)
    (lost,) = line.link.disconnected()
    assert isinstance(lost, ControllerLost) and "gone" in lost.why
    assert line.link.disconnected() == []
    assert len(of(ControllerFound, line.run(1.0))) == 1


# -- noise ------------------------------------------------------------------------------------------------------------


def random_row(rng: random.Random) -> tuple[int, ...]:
    return tuple(map(rng.randint, contract.PORT_REPORT[1::3], contract.PORT_REPORT[2::3]))


@pytest.mark.promise("S9")
def test_of_ten_thousand_frames_with_a_byte_error_in_a_thousand_only_true_reports_pass() -> None:
    rng, link = random.Random(1), new_link()
    link.received(welcome(), 0.0)
    true, told = set(), []
    for n in range(10_000):
        row = random_row(rng)
        true.add(report_of(row))
        data = bytearray(frame(n & 0xFF, contract.pack(contract.REPORT, n, n % 2, row)))
        for i in range(len(data)):
            if rng.random() < 1e-3:
                data[i] ^= rng.randint(1, 255)
        _, events = link.received(bytes(data), n / 4)
        told += [event.report for event in events if isinstance(event, PortReported)]
    assert set(told) <= true
    assert 9_000 <= len(told) < 10_000  # one frame in twelve is hit; nothing is lost but that
    assert link.deframer.crc_errors > 0


@pytest.mark.promise("S9")
def test_a_stray_start_byte_holds_nothing_back() -> None:
    line = Line()
    line.run(2.0)
    line.run(0.2)
    line.link.received(b"\x7e\xf0", line.now)
    line.sim.plug(0, Car(), line.now)
    told = of(PortReported, line.run(0.5))
    assert any(isinstance(event, PortReported) and event.report.cp is Cp.B for event in told)


ROWS = st.tuples(*map(st.integers, contract.PORT_REPORT[1::3], contract.PORT_REPORT[2::3]))
MESSAGES = st.one_of(
    st.builds(lambda n, i, row: contract.pack(contract.REPORT, n, i, row), st.integers(0, 99), st.integers(0, 3), ROWS),
    st.builds(lambda n, text: contract.pack(contract.REFUSED, n, text), st.integers(0, 255), st.text(max_size=40)),
    st.builds(lambda ma, n: welcome(circuit_limit_ma=ma, ports=n)[3:-2], st.integers(0, 40_000), st.integers(1, 4)),
    st.binary(max_size=250),
)
INPUTS = st.lists(
    st.tuples(st.floats(0.0, 4.0), st.one_of(st.binary(max_size=300), MESSAGES.map(lambda body: frame(3, body))))
)


@pytest.mark.promise("S9")
@given(INPUTS)
def test_no_bytes_of_any_kind_raise_or_make_it_silent(inputs: list[tuple[float, bytes]]) -> None:
    link, now = new_link(), 0.0
    for wait_s, data in inputs:
        now += wait_s
        link.poll(now)
        link.received(data, now)
        link.wish((ON, OFF) if len(data) % 2 else (OFF, OFF), now)
        assert link.next_deadline() <= now + 0.5
    now += 10.0
    out, _ = link.poll(now)
    later, _ = link.poll(now + 4.0)
    assert out + later  # it still says hello, or its wish


@given(ROWS)
def test_every_row_within_bounds_is_a_report(row: tuple[int, ...]) -> None:
    report = report_of(row)
    assert report.energy_wh == row[7] and report.self_test in SelfTest and len(report.faults) == row[6].bit_count()
