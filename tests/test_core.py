"""Every reachable state of the core keeps the promises: random drivers, cars, faults, cuts, clouds and clocks."""

import os
import random
from collections import defaultdict
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Struct

from agent.clock import ClockSource
from agent.core import next_deadline, saved
from agent.events import (
    AuthorizationStatus,
    AvailabilityRequested,
    CardTapped,
    ClearRequested,
    ClockTold,
    ControllerFound,
    ControllerLost,
    Cp,
    Deadline,
    Entry,
    Event,
    Link,
    LinkChanged,
    ListChanged,
    ListState,
    LookedUp,
    OnlineAnswered,
    PortChosen,
    PortReported,
    RemoteStartRequested,
    RemoteStopRequested,
    Report,
    SelfTest,
    StoreFailed,
    StoreRecovered,
    TransactionAnswered,
)
from agent.faults import Fault
from agent.port import faults, is_ready, status
from agent.settings import Settings
from agent.station import Station, wishes
from agent.transaction import restored
from tests.play import ANN, BOB, EVE, WALL_S, Play

CARDS = (ANN, BOB, EVE, "08ABCDEF", "04C3C3C3C3C3C3", "no card")
ENTRIES = (
    None,
    Entry(),
    Entry(group_id="home"),
    Entry(group_id="fire"),
    Entry(groups=frozenset({"staff", "fire"})),
    Entry(status=AuthorizationStatus.BLOCKED),
    Entry(expiry_s=WALL_S + 500),
    Entry(pending=True),
)
SETTINGS = (
    Settings(),
    Settings(free=True),
    Settings(concurrent_tx=True, offline_tx_for_unknown_id=True, circuit_limit_ma=40_000),
    Settings(master_pass_group_id="fire", socketed=True, phases=3, circuit_limit_ma=16_000),
    Settings(max_energy_on_invalid_id_wh=100, stop_tx_on_invalid_id=False, circuit_limit_ma=11_000),
    Settings(stop_tx_on_removal=True),
    Settings(stop_tx_on_removal=True, max_energy_on_invalid_id_wh=1000, concurrent_tx=True),
)


def random_event(rng: random.Random, station: Station) -> Event:
    """Anything at all, with a taste for what is likely; nothing is held back because it makes no sense now."""
    port = rng.choice(station.ports)
    old = port.report or Report()
    ask = rng.choice([a.ask_id for a in station.asks] or [1])
    tx = port.transaction.transaction_id if port.transaction else "none"
    return rng.choice(MAKERS)(rng, port.evse_id, old, ask, tx)


def reported(rng: random.Random, evse_id: int, old: Report, ask: int, tx: str) -> Event:
    changes = rng.choice(REPORT_CHANGES)(rng, old)
    return PortReported(evse_id, replace(old, **changes))


REPORT_CHANGES = (
    lambda r, o: {"cp": r.choice(list(Cp)), "contactor": False, "power_w": 0},
    lambda r, o: {"cp": Cp.B, "cable_ma": 20_000},
    lambda r, o: {"cp": Cp.C, "contactor": True, "power_w": 7000, "energy_wh": o.energy_wh + r.randrange(500)},
    lambda r, o: {"cp": Cp.A, "contactor": False, "power_w": 0, "offer_ma": 0, "unplugs": o.unplugs + 1},
    lambda r, o: {"offer_ma": r.choice([0, 6_000, 16_000])},
    lambda r, o: {"energy_wh": o.energy_wh + r.randrange(2000)},
    lambda r, o: {"energy_wh": max(0, o.energy_wh - r.randrange(5))} if r.random() < 0.1 else {},
    lambda r, o: {"temperature_dc": r.randrange(100, 900)},
    lambda r, o: {"faults": frozenset(r.sample(list(Fault), r.choice([0, 0, 0, 1, 2])))},
    lambda r, o: {"self_test": r.choice([SelfTest.PASSED, SelfTest.PASSED, SelfTest.RUNNING, SelfTest.NOT_RUN])},
)
MAKERS = (
    reported, reported, reported, reported, reported, reported,
    lambda r, e, o, a, t: CardTapped(r.choice(CARDS)),
    lambda r, e, o, a, t: CardTapped(r.choice(CARDS)),
    lambda r, e, o, a, t: LookedUp(a, r.choice(ENTRIES), r.choice(ENTRIES)),
    lambda r, e, o, a, t: LookedUp(t, r.choice(ENTRIES), None, r.random() < 0.9),
    lambda r, e, o, a, t: OnlineAnswered(a, r.choice(ENTRIES) or Entry()),
    lambda r, e, o, a, t: PortChosen(r.choice([e, 9])),
    lambda r, e, o, a, t: LinkChanged(r.choice(list(Link))),
    lambda r, e, o, a, t: ControllerLost("x") if r.random() < 0.3 else Deadline(),
    lambda r, e, o, a, t: ControllerFound(r.choice([7, 8]), 1.0, 32_000),
    lambda r, e, o, a, t: ClockTold(WALL_S + r.choice([-1e9, 0, 60, 1e9]), r.choice(list(ClockSource))),
    lambda r, e, o, a, t: StoreFailed("full") if r.random() < 0.2 else StoreRecovered(),
    lambda r, e, o, a, t: StoreRecovered(),
    lambda r, e, o, a, t: TransactionAnswered(t, Entry(r.choice(list(AuthorizationStatus))), r.random() * 9),
    lambda r, e, o, a, t: RemoteStartRequested("c", 1, r.choice(CARDS), evse_id=r.choice([None, e, 9])),
    lambda r, e, o, a, t: RemoteStopRequested("c", t),
    lambda r, e, o, a, t: AvailabilityRequested("c", r.random() < 0.7, r.choice([None, e, 9])),
    lambda r, e, o, a, t: ClearRequested("c", r.choice([e, 9])),
    lambda r, e, o, a, t: ListChanged(ListState(r.randrange(9), 3, WALL_S)),
)  # fmt: skip


class Referee:
    """Watches records and wishes, and knows nothing of the core but its words."""

    def __init__(self) -> None:
        self.seen = 0
        self.seq: dict[str, int] = defaultdict(int)
        self.open: dict[int, str] = {}  # evse_id -> transactionId
        self.status: dict[int, str] = {}
        self.true_status: dict[int, tuple[str, float]] = {}  # and since when we have seen it
        self.energy: dict[str, int] = {}

    def check(self, play: Play) -> None:
        for record in play.records[self.seen :]:
            if record.action == "TransactionEvent":
                self._transaction(record.payload)
            if record.action == "StatusNotification":
                self.status[record.payload["evseId"]] = record.payload["connectorStatus"]
        self.seen = len(play.records)
        self._facts(play)

    def _transaction(self, p: dict) -> None:  # type: ignore[type-arg]
        tx, evse_id = p["transactionInfo"]["transactionId"], p["evse"]["id"]
        assert p["seqNo"] == self.seq[tx], "every seqNo once and in order"
        self.seq[tx] += 1
        register = p["meterValue"][0]["sampledValue"][0]["value"]
        assert register >= self.energy.get(tx, 0), "a register never goes back within a session"
        self.energy[tx] = register
        match p["eventType"]:
            case "Started":
                assert p["seqNo"] == 0
                assert evse_id not in self.open, "one session at a time"
                self.open[evse_id] = tx
            case "Updated":
                assert self.open[evse_id] == tx
            case "Ended":
                assert self.open.pop(evse_id) == tx, "Started and Ended come in pairs"
                assert p["transactionInfo"]["stoppedReason"]

    def _facts(self, play: Play) -> None:
        station = play.station
        assert play.wish == wishes(station), "the last wish performed is the one the facts ask for"
        assert sum(c.offer_ma for c in play.wish) <= station.settings.circuit_limit_ma
        in_force = [p.report.offer_ma if p.report else 0 for p in station.ports]
        raised = [max(c.offer_ma, f) for c, f in zip(play.wish, in_force, strict=True)]
        if sum(in_force) <= station.settings.circuit_limit_ma:
            lowered_last = sum(
                max(f, c.offer_ma) for c, f in zip(play.wish, in_force, strict=True)
            )
            assert lowered_last <= station.settings.circuit_limit_ma or raised == in_force, "raised before given back"
        for port, command in zip(station.ports, play.wish, strict=True):
            assert self.open.get(port.evse_id) == (port.transaction and port.transaction.transaction_id)
            if command.offer_ma:
                assert port.transaction
                assert not port.transaction.ending
                assert not port.transaction.interrupted
                assert not faults(port)
                assert is_ready(port)
                assert command.offer_ma >= 6_000
                assert command.lock
            seen = f"{status(port)}, boot {station.boot.boot_id}"
            if self.true_status.get(port.evse_id, ("", 0.0))[0] != seen:
                self.true_status[port.evse_id] = seen, play.now
            if play.now >= self.true_status[port.evse_id][1] + station.settings.minimum_status_duration_s:
                assert self.status[port.evse_id] == status(port), "the cloud's picture is the facts"
            fact = play.facts.get(f"port/{port.evse_id}")
            if fact or port.transaction:
                assert fact == saved(port), "the disk knows what the facts are"
        assert len(station.asks) <= 8
        assert len(station.notices) <= len(station.ports) + 1
        assert next_deadline(station) > play.now, "no deadline is left standing in the past"


def run_seed(seed: int, events: int) -> int:
    """A random life from one seed. Returns how many sessions it had; prints the seed if anything is wrong."""
    rng = random.Random(seed)
    play = Play(rng.choice(SETTINGS), ports=rng.choice([1, 2, 2, 3, 4]), allow={})
    referee = Referee()
    play.allow = {ANN: Entry(), BOB: Entry(group_id="home")}
    try:
        play.watch = referee.check
        for _ in range(events):
            play.at(play.now + rng.choice([0.0, 0.0, 0.01, 1.0, 7.0, 65.0, 700.0]))
            play.on(random_event(rng, play.station))
            if rng.random() < 0.005:
                play = rebooted(play, rng)
                play.watch = referee.check
                referee.check(play)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return len(referee.seq)


def rebooted(play: Play, rng: random.Random) -> Play:
    same_kernel = rng.random() < 0.3
    off_s = rng.choice([1.0, 30.0, 3000.0])
    return play.reboot(off_s, wall=rng.random() < 0.7, controller_too=not same_kernel, same_kernel=same_kernel)


@pytest.mark.promise("S1", "S3", "S9", "S10", "S11")
@pytest.mark.parametrize("first", range(0, 20, 5))
def test_no_event_of_any_kind_breaks_a_promise(first: int) -> None:
    sessions = sum(run_seed(seed, 1_000) for seed in range(first, first + 5))
    assert sessions > 5, "lives without sessions prove nothing"


@pytest.mark.long
@pytest.mark.promise("S1", "S3", "S9", "S10", "S11")
@pytest.mark.parametrize("seed", range(1000, 1050))
def test_a_million_events_break_no_promise(seed: int) -> None:
    events = int(os.environ.get("STATION_EVENTS", "20000"))
    assert run_seed(seed, events) > 0


class Drivers(RuleBasedStateMachine):
    """Hypothesis looks for the shortest story that breaks a promise."""

    @initialize(settings=st.sampled_from(SETTINGS), ports=st.integers(1, 3))
    def power_on(self, settings: Settings, ports: int) -> None:
        self.play = Play(settings, ports=ports)
        self.referee = Referee()
        self.play.watch = self.referee.check

    @rule(seed=st.integers(0, 2**32), wait_s=st.sampled_from([0.0, 0.3, 3.0, 61.0, 901.0]))
    def anything_happens(self, seed: int, wait_s: float) -> None:
        self.play.after(wait_s).on(random_event(random.Random(seed), self.play.station))

    @rule(evse_id=st.integers(1, 3), card=st.sampled_from([ANN, BOB]))
    def a_driver_comes_and_charges(self, evse_id: int, card: str) -> None:
        if evse_id <= len(self.play.station.ports):
            self.play.see(evse_id, cp=Cp.B, cable_ma=32_000).after(4).tap(card)

    @rule(seed=st.integers(0, 2**32))
    def the_power_fails(self, seed: int) -> None:
        self.play = rebooted(self.play, random.Random(seed))
        self.play.watch = self.referee.check

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "play"):
            self.referee.check(self.play)


TestDrivers = pytest.mark.promise("S1", "S3", "S9", "S11")(Drivers.TestCase)


def test_what_is_saved_is_what_is_restored() -> None:
    play = Play().plug(1).tap(ANN).charge(1, wh=10).after(61)
    tx = play.port(1).transaction
    assert tx
    assert restored(saved(play.port(1))["transaction"]) == replace(tx, interrupted=True)


def test_all_events_are_frozen() -> None:
    for kind in get_args(Event):
        assert issubclass(kind, Struct) and kind.__struct_config__.frozen, kind
        assert "now" not in kind.__struct_fields__, "time is an argument, not a fact"
