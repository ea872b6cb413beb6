"""Current and mains where Linux reads the meter: the host finds what the controller's own port would, a stated lag
later, and a session under it ends as in any other station."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board import BOARDS, load
from agent.events import Cp, Report
from agent.faults import Fault
from agent.hal.controller import ControllerLink
from agent.hal.modbus import PERIOD_S, Meters, ModbusFacts, Sample, begun, possible, three
from agent.hal.supervision import SUPERVISED, Supervision, Three
from agent.pintable import port_board
from agent.port import Status, faults, status
from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.controller import SimBay, SimController
from board.controller.app.port import FRESH, OVER_CURRENT, RULES, Pins, Port, PortBoard, measured_causes
from board.controller.contract import CP_A, CP_C, HEARTBEAT_MS
from tests.play import ANN, BOB, Play

REFRESH_S = 1.0
LAG_S = 2 * REFRESH_S + 2 * PERIOD_S  # beyond the rule's own time, then the fault is in the next report
THREE_PHASE = PortBoard(phases=3)
MASK = sum(1 << i for i in SUPERVISED)
TURN_MS = 250

MAINS: tuple[Three, ...] = (
    (230_000, 230_000, 230_000), (230_000, 230_000, 280_000), (230_000, 150_000, 230_000), (230_000, 230_000, 0),
)  # fmt: skip


@dataclass(frozen=True)
class Spell:
    """Some seconds in which nothing changes but, at their beginning, everything may. Longer than a meter's lag, or what
    it measures would be chance."""

    seconds: int
    offer_ma: int
    drawn_ma: int
    voltage_mv: Three
    cp: int


spells = st.builds(
    Spell, st.integers(3, 14), st.sampled_from([0, 6_000, 16_000, 32_000]), st.sampled_from([0, 7_000, 18_500, 38_000]),
    st.sampled_from(MAINS), st.sampled_from([CP_C, CP_C, CP_C, CP_A]),
)  # fmt: skip


@dataclass
class Both:
    """The controller's port, which measures all the time, and the host, whose meter measures every REFRESH_S."""

    lost: frozenset[int] = frozenset()  # readings, by number
    now_ms: int = 0
    port: Port = field(default_factory=lambda: Port(THREE_PHASE))
    host: Supervision = field(default_factory=lambda: Supervision(THREE_PHASE, REFRESH_S))
    since: dict[int, int] = field(default_factory=dict)  # of each cause that is there: since when, unbroken
    shown: tuple[Three, Three] = ((0, 0, 0), MAINS[0])
    before: frozenset[Fault] = frozenset()
    cp: Cp = Cp.A

    def live(self, spell: Spell) -> None:
        pins, plugged = Pins(), spell.cp != CP_A
        pins.cp, pins.contactor = spell.cp, plugged
        pins.current_ma, pins.voltage_mv = (spell.drawn_ma * plugged,) * 3, spell.voltage_mv
        offer_ma = spell.offer_ma * plugged
        if offer_ma != self.port.offer_ma:
            self.since.pop(OVER_CURRENT, None)
        for _ in range(spell.seconds * 1000 // TURN_MS):
            self.now_ms += TURN_MS
            self.port.asks(self.now_ms, pins, FRESH, 0)
            self.port.drive(self.now_ms, pins, FRESH, offer_ma)
            causes = measured_causes(THREE_PHASE, True, plugged, offer_ma, pins.current_ma, pins.voltage_mv)
            self.since = {i: self.since.get(i, self.now_ms) for i in SUPERVISED if causes >> i & 1}
            self.read(pins, offer_ma)
            self.compare()

    def read(self, pins: Pins, offer_ma: int) -> None:
        if self.now_ms % (REFRESH_S * 1000) == 500:  # between two readings, so that what is read is old
            self.shown = three(pins.current_ma), three(pins.voltage_mv)
        cp = Cp.A if pins.cp == CP_A else Cp.C
        if self.now_ms % HEARTBEAT_MS == 0 or (offer_ma, cp) != (self.host._offer_ma, self.cp):  # edges come at once
            self.cp = cp
            self.host.reported(Report(cp=cp, contactor=pins.contactor, offer_ma=offer_ma))
        number, rest = divmod(self.now_ms, round(PERIOD_S * 1000))
        if rest == 0 and number not in self.lost:
            self.host.read(*self.shown, self.now_ms / 1000)

    def compare(self) -> None:
        own = frozenset(fault for i, fault in SUPERVISED.items() if self.port.faults >> i & 1)
        assert self.host.faults - self.before <= own, "whatever the host finds, the controller would have found before"
        self.before = self.host.faults
        assert Fault.OVER_CURRENT in own or Fault.OVER_CURRENT not in self.host.faults, "nor does it last for longer"
        for i, since_ms in self.since.items():
            late_ms = RULES[i][0] + LAG_S * 1000
            assert self.lost or self.now_ms - since_ms < late_ms or SUPERVISED[i] in self.host.faults


@pytest.mark.promise("S1")
@given(st.lists(spells, max_size=12), st.frozensets(st.integers(0, 100), max_size=20))
def test_the_host_finds_what_the_controllers_own_port_finds_and_nothing_else_a_stated_lag_later(
    life: list[Spell], lost: frozenset[int]
) -> None:
    for both in (Both(), Both(lost)):
        for spell in life:
            both.live(spell)


def watched(*spells: tuple[float, int, Sample], refresh_s: float = REFRESH_S) -> Supervision:
    """A car that charges; in each spell so many seconds with this offer and what the meter says."""
    host, now = Supervision(THREE_PHASE, refresh_s), 0.0
    for seconds, offer_ma, sample in spells:
        host.reported(Report(cp=Cp.C, contactor=True, offer_ma=offer_ma))
        for _ in range(round(seconds / PERIOD_S)):
            now += PERIOD_S
            host.read(sample.current_ma, sample.voltage_mv, now)
    return host


def says(drawn_ma: int = 0, voltage_mv: Three = MAINS[0]) -> Sample:
    return Sample(0, 0, (drawn_ma,) * 3, voltage_mv)


def test_a_car_that_follows_each_lowered_offer_in_its_five_seconds_is_never_at_fault() -> None:
    """Not even with a meter that shows its old current for three seconds more."""
    steps = [(8.0, offer_ma, says(offer_ma + 4_000)) for offer_ma in range(32_000, 6_000, -2_000)]
    assert not watched(*steps, refresh_s=3.0).faults
    assert watched((11.0, 16_000, says(20_000)), refresh_s=3.0).faults == {Fault.OVER_CURRENT}


@pytest.mark.parametrize("sample", [says(60_000), *(says(16_000, mv) for mv in MAINS[1:])])
@given(refresh_s=st.integers(1, 3))
def test_no_single_wild_measurement_is_a_fault_for_as_long_as_it_can_be_read(refresh_s: int, sample: Sample) -> None:
    wild = watched((5.0, 16_000, says(16_000)), (refresh_s, 16_000, sample), refresh_s=refresh_s)
    assert not wild.faults
    assert watched((11.0, 16_000, sample), refresh_s=refresh_s).faults, "but if it lasts"


def test_the_fault_of_the_car_before_is_not_that_of_the_next_even_if_the_line_was_cut_meanwhile() -> None:
    host = watched((10.0, 16_000, says(20_000)))
    assert host.faults == {Fault.OVER_CURRENT}
    host.reported(Report(cp=Cp.B, unplugs=1))
    assert not host.faults


def test_mains_that_came_back_are_good_after_the_controllers_quiet_time() -> None:
    bad = (5.0, 16_000, says(0, MAINS[1]))
    assert watched(bad, (10.0, 16_000, says())).faults == {Fault.OVER_VOLTAGE}
    assert not watched(bad, (11.0, 16_000, says())).faults


# -- a session on the board -------------------------------------------------------------------------------------------

SOLO = load(BOARDS / "solo_modbus.toml")
TURN_S = 0.02
UNSEEN_WH = 3 * 38.4 * 230 * (REFRESH_S + PERIOD_S) / 3_600 + 1  # what flows before it is measured and read
ORDERLY_S = 6.0  # PWM is off; a car that has not left C/D by then is cut off


class Charger:
    """The board solo_modbus: the core, the link, the controller's logic, and a meter that both cannot hurry."""

    def __init__(self) -> None:
        assert isinstance(SOLO.meter.facts, ModbusFacts)
        self.facts = SOLO.meter.facts
        self.sim = SimController((port_board(SOLO, SOLO.port[0]),), circuit_limit_ma=SOLO.circuit_limit_ma)
        self.sim.power_on(0.0)
        self.play = Play(Settings(phases=3, socketed=True), ports=1, plug=False)
        self.measured = self.meter()
        self.is_dead = False
        self.start()

    def start(self) -> None:
        """The agent, as agent/app.py puts it together."""
        tx = self.play.port(1).transaction
        limits = possible(self.facts, SOLO.port[0].limit_ma)
        self.meters = Meters(
            limits, [begun(tx.last.energy_wh if tx else None, self.play.now, limits, self.play.station.settings)],
            [Supervision(port_board(SOLO, SOLO.port[0]), self.facts.refresh_s)],
            lambda evse_id: self.play.port(evse_id).transaction is None,
        )  # fmt: skip
        self.link = ControllerLink(1, SOLO.circuit_limit_ma, 6_000, 60, amend=self.meters.amend)

    def restart(self, off_s: float) -> None:
        self.play = self.play.reboot(off_s, same_kernel=True, controller_too=False)
        self.start()

    @property
    def bay(self) -> SimBay:
        return self.sim.bays[0]

    def meter(self) -> Sample:
        self.sim.bays[0].integrate(self.sim._now_ms)
        energy_wh, power_w, *rest = self.sim.bays[0].meter()
        return Sample(energy_wh, power_w, three(rest[:3]), three(rest[3:]))

    def run(self, seconds: float) -> "Charger":
        until = self.play.now + seconds
        while self.play.now < until - TURN_S / 2:
            now = round(self.play.now + TURN_S, 2)
            self.play.at(now)
            out, events = self.link.poll(now)
            self.sim.receive(out + self.link.wish(self.play.wish, now), now)
            answer, more = self.link.received(self.sim.transmit(), now)
            self.sim.receive(answer, now)
            for event in (*events, *more):
                self.play.on(event)
            turn = round(now / TURN_S)
            if turn % round(REFRESH_S / TURN_S) == 7:  # the meter's own time is nobody's
                self.measured = self.meter()
            if turn % round(PERIOD_S / TURN_S) == 0:
                self.meters.heard(0, "silence" if self.is_dead else self.measured, now)
        return self

    def until(self, what: Callable[[], object], timeout_s: float) -> float:
        """How long it took."""
        began = self.play.now
        while not what():
            assert self.play.now - began < timeout_s, "did not happen in time"
            self.run(TURN_S)
        return self.play.now - began

    def charging(self, car: Car) -> "Charger":
        self.run(6.0)
        self.sim.plug(0, car, self.play.now)
        self.run(2.0)
        self.play.tap(ANN)
        self.until(lambda: self.bay.power_w > 0, 10.0)
        return self


@pytest.mark.promise("S1", "S2")
def test_a_car_that_draws_a_fifth_too_much_is_stopped_in_order_and_stays_out_until_it_is_unplugged() -> None:
    charger = Charger()
    charger.charging(Car(phases=3, max_ma=26_000, greed_ma=6_400, need_wh=90_000)).run(30)
    assert not faults(charger.play.port(1)), "32 A are offered, 26 A and a fifth are drawn"
    hot = Charger()
    hot.charging(Car(phases=3, greed_ma=6_400, need_wh=90_000))
    took_s = hot.until(lambda: faults(hot.play.port(1)), 60.0)
    assert 7.0 <= took_s <= 7.0 + LAG_S + HEARTBEAT_MS / 1000
    assert hot.until(lambda: not hot.bay.contactor.value, 60.0) <= ORDERLY_S
    hot.until(lambda: not hot.play.port(1).transaction, 3.0)
    assert hot.play.transactions()[-1] == ("Ended", "OvercurrentFault")
    hot.run(5.0)
    assert 0 <= hot.bay.meter()[0] - hot.play.energy_wh()[-1] <= UNSEEN_WH, "never more than there was"
    for _ in range(2):
        hot.play.tap(BOB)
        hot.run(20.0)
        assert status(hot.play.port(1)) is Status.FAULTED and not hot.bay.contactor.value
        hot.restart(5.0)
        hot.run(10.0)
    assert hot.sim.unplug(0, hot.play.now)
    hot.run(1.0)
    assert status(hot.play.port(1)) is Status.AVAILABLE
    hot.charging(Car(phases=3, need_wh=90_000)).run(20.0)
    assert hot.bay.contactor.value


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("voltage_mv", "fault"),
    [(MAINS[1], Fault.OVER_VOLTAGE), (MAINS[2], Fault.UNDER_VOLTAGE), (MAINS[3], Fault.PHASE_LOSS)],
)
def test_bad_mains_suspend_the_session_in_order_and_it_goes_on_when_they_are_good(
    voltage_mv: Three, fault: Fault
) -> None:
    charger = Charger().charging(Car(phases=3, need_wh=90_000)).run(5.0)
    charger.sim.touch(charger.play.now, lambda sim: setattr(sim.bays[0], "voltage_mv", voltage_mv))
    assert charger.until(lambda: faults(charger.play.port(1)) == {fault}, 30.0) <= 1.0 + LAG_S + HEARTBEAT_MS / 1000
    assert charger.until(lambda: not charger.bay.contactor.value, 30.0) <= ORDERLY_S
    charger.sim.touch(charger.play.now, lambda sim: setattr(sim.bays[0], "voltage_mv", MAINS[0]))
    assert charger.until(lambda: charger.bay.contactor.value, 60.0) >= 10.0
    assert [kind for kind, _ in charger.play.transactions()].count("Started") == 1


def test_what_a_meter_said_before_it_fell_silent_is_forgotten_as_at_the_controller() -> None:
    charger = Charger().charging(Car(phases=3, need_wh=90_000)).run(5.0)
    charger.sim.touch(charger.play.now, lambda sim: setattr(sim.bays[0], "voltage_mv", MAINS[1]))
    charger.until(lambda: faults(charger.play.port(1)), 30.0)
    charger.is_dead = True
    charger.run(5.0 + 1.0 + 10.0 + 1.0)
    assert faults(charger.play.port(1)) == {Fault.METER_FAULT}
    charger.is_dead = False
    charger.run(2.0)
    assert not faults(charger.play.port(1)), "the first reading after it stands alone"


@pytest.mark.promise("S2")
def test_a_session_whose_meter_falls_silent_is_billed_to_the_last_answer_and_not_a_watt_hour_less() -> None:
    charger = Charger().charging(Car(phases=3, need_wh=90_000)).run(33.3)
    charger.is_dead = True
    last_wh = charger.meters.meters[0].sample
    assert last_wh
    charger.until(lambda: not charger.play.port(1).transaction, 20.0)
    assert charger.play.transactions()[-1] == ("Ended", "Other")
    assert charger.play.energy_wh()[-1] == last_wh.energy_wh > 0


@pytest.mark.promise("S1", "S3")
def test_an_agent_that_restarts_in_mid_session_moves_no_contactor_and_supervises_again() -> None:
    charger = Charger().charging(Car(phases=3, need_wh=90_000)).run(30.0)
    charger.restart(5.0)
    charger.run(20.0)
    assert charger.bay.contactor.value and charger.play.port(1).report.closes == 1  # type: ignore[union-attr]
    assert charger.play.transactions()[-1] == ("Updated", "TxResumed")
    charger.sim.touch(charger.play.now, lambda sim: setattr(sim.bays[0].car, "greed_ma", 6_400))
    assert charger.until(lambda: faults(charger.play.port(1)), 60.0) <= 7.0 + LAG_S + HEARTBEAT_MS / 1000


@pytest.mark.promise("S2", "S3")
def test_a_meter_that_is_swapped_while_the_agent_restarts_sells_nothing_of_its_own() -> None:
    charger = Charger().charging(Car(phases=3, need_wh=90_000)).run(310.0)
    stored_wh = charger.play.energy_wh()[-1]
    assert stored_wh > 0
    charger.restart(5.0)
    charger.sim.touch(charger.play.now, lambda sim: setattr(sim.bays[0], "register_mj", 50_000 * 3_600_000))
    charger.until(lambda: not charger.play.port(1).transaction, 60.0)
    assert charger.play.transactions()[-1][0] == "Ended" and charger.play.energy_wh()[-1] == stored_wh
    charger.run(10.0)
    assert not charger.bay.contactor.value
