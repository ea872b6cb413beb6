"""When a new certificate is asked for, tried, kept or given up: in simulated time, for any order of events."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agent import renewal
from agent.renewal import (
    Ask,
    Connected,
    Disconnected,
    Enrol,
    EnrolFailed,
    Facts,
    FilesChanged,
    FilesFailed,
    GoBack,
    MakeRequest,
    Promote,
    Reconnect,
    Registered,
    RenewalWanted,
    Report,
    Tick,
    Up,
    Use,
    Validity,
    handle,
    next_deadline,
)

OLD, NEW = Validity("old", 0.0, 900.0), Validity("new", 600.0, 1500.0)
DUE_S = 600.0  # two thirds of OLD's life
NEVER = float("inf")


@dataclass
class Station:
    """Facts, and a folder that does at once, or not, what it is told."""

    facts: Facts = field(default_factory=lambda: Facts(OLD))
    now: float = 0.0
    offset_s: float = 0.0  # wall time of now = 0
    actions: list[renewal.Action] = field(default_factory=list)
    fails: bool = False
    made: int = 0

    def happens(self, *events: renewal.Event) -> list[renewal.Action]:
        """The actions that these and the folder's answers call for."""
        begun = len(self.actions)
        todo = list(events)
        while todo:
            self.facts, actions = handle(self.facts, todo.pop(0), self.now, self.now + self.offset_s)
            self.actions += actions
            todo += [event for action in actions if (event := self.done(action))]
        return self.actions[begun:]

    def done(self, action: renewal.Action) -> renewal.Event | None:
        facts = self.facts
        files = FilesChanged(facts.current, facts.trial, facts.csr)
        match action:
            case MakeRequest() | Promote() | GoBack() if self.fails:
                return FilesFailed()
            case MakeRequest():
                self.made += 1
                return structs.replace(files, csr=f"csr {self.made}")
            case Promote():
                assert facts.trial and facts.is_up and facts.connected_with == facts.trial.name
                return structs.replace(files, current=facts.trial, trial=None)
            case GoBack():
                assert facts.trial and facts.current
                return structs.replace(files, trial=None)
            case Enrol():
                return EnrolFailed(renewal.enrol_wait_max_s(action.tries))
        return None

    def certified(self, pair: Validity = NEW) -> list[renewal.Action]:
        is_first = self.facts.current is None
        current, trial = (pair, None) if is_first else (self.facts.current, pair)
        return self.happens(FilesChanged(current, trial, None, is_new=True))

    def until(self, now: float) -> list[renewal.Action]:
        """Time passes; whoever sleeps until the deadline misses nothing."""
        begun = len(self.actions)
        while (due := next_deadline(self.facts, self.now, self.now + self.offset_s)) <= now:
            assert due >= self.now
            self.now = due
            before = self.facts
            self.happens(Tick())
            later = next_deadline(self.facts, self.now, self.now + self.offset_s) > self.now
            assert self.facts != before or later, "a deadline that changes nothing comes again at once"
        self.now = now
        return self.actions[begun:]

    def connects(self) -> list[renewal.Action]:
        pair = self.facts.trial or self.facts.current
        return self.happens(Connected(1, pair.name if pair else ""), Up())


def refused(pair: str) -> Disconnected:
    return Disconnected(pair, is_refusal=True)


def test_a_fresh_certificate_is_left_alone_until_two_thirds_of_its_life() -> None:
    station = Station()
    station.connects()
    assert station.until(DUE_S - 1.0) == []
    assert station.until(DUE_S) == [MakeRequest(), Ask("csr 1")]


def test_a_station_without_identity_makes_its_key_at_once_and_asks_nobody() -> None:
    station = Station(Facts())
    assert station.until(1.0) == [MakeRequest()]
    assert station.certified(NEW) == [Use(is_trial=False)]


def test_the_question_is_repeated_ever_more_seldom_and_never_given_up() -> None:
    station = Station(offset_s=DUE_S)
    station.connects()
    asked_at: list[float] = []
    while len(asked_at) < 15:
        asked_at += [station.now] * sum(isinstance(action, Ask) for action in station.actions)
        station.actions.clear()
        station.until(next_deadline(station.facts, station.now, DUE_S))
    waits = [b - a for a, b in pairwise(asked_at)]
    assert waits[:4] == [60.0, 120.0, 240.0, 480.0] and waits[-1] == waits[-2] == 86_400.0


def test_nobody_is_asked_while_nobody_hears() -> None:
    station = Station(offset_s=DUE_S)
    assert station.happens(Connected(1, "old")) == [MakeRequest()]
    assert station.until(5_000.0) == []
    assert station.happens(Up()) == [Ask("csr 1")]


def test_a_new_pair_is_tried_after_a_minute_and_the_old_one_kept_until_the_cloud_acknowledges() -> None:
    station = Station(offset_s=DUE_S)
    station.connects()
    assert station.certified() == [Use(is_trial=True)]
    assert station.until(59.0) == [] and station.until(60.0) == [Reconnect(1)]
    assert station.happens(Disconnected("old"), Connected(2, "new")) == []
    assert station.happens(Up()) == [Promote()]
    assert (station.facts.current, station.facts.trial) == (NEW, None)


def test_only_a_refusal_of_the_new_pair_counts_against_it() -> None:
    station = Station(offset_s=DUE_S)
    station.connects()
    station.certified()
    for event in (refused("old"), Disconnected("new")) * 5:
        assert GoBack() not in station.happens(event)
    assert station.happens(refused("new"), refused("new")) == []
    why = "the broker has refused the new certificate 3 times: the old one is used again"
    expected = [GoBack(), Use(is_trial=False), Report("InvalidChargingStationCertificate", why)]
    assert station.happens(refused("new"))[:3] == expected
    assert (station.facts.current, station.facts.trial) == (OLD, None)


def test_after_a_way_back_another_certificate_is_asked_for_an_hour_later_with_another_key() -> None:
    station = Station(offset_s=DUE_S)
    station.connects()
    station.certified()
    station.happens(*[refused("new")] * 3)
    station.connects()
    assert station.until(3_599.0) == []
    assert station.until(3_600.0) == [MakeRequest(), Ask("csr 2")]


def test_a_ca_whose_certificates_are_born_old_is_asked_no_more_than_once_an_hour() -> None:
    station = Station(offset_s=DUE_S)
    station.connects()
    station.certified(Validity("new", -1e9, 1e6))
    station.happens(Disconnected("old"))
    assert Promote() in station.connects()
    assert station.until(3_599.0) == []
    assert MakeRequest() in station.until(3_600.0)


def test_a_first_certificate_has_no_way_back() -> None:
    station = Station(Facts(None, NEW))
    assert station.happens(*[refused("new")] * 10) == []


def test_a_pair_made_by_hand_is_not_promoted_by_a_connection_that_stood_before_it() -> None:
    station = Station()
    station.connects()
    station.certified()
    assert station.happens(Up()) == []


def test_a_station_that_slept_past_its_certificate_asks_the_est_server_and_grows_patient() -> None:
    station = Station(Facts(OLD, can_enrol=True), offset_s=901.0)
    assert station.happens(Tick()) == [MakeRequest(), Enrol("csr 1", 0)]
    tries = [action.tries for action in station.until(200_000.0) if isinstance(action, Enrol)]
    assert tries == list(range(1, len(tries) + 1)) and len(tries) == 16
    assert station.certified() == [Use(is_trial=True)]


def test_a_station_that_is_shut_out_asks_the_est_server_even_if_it_does_not_know_the_time() -> None:
    station = Station(Facts(OLD, can_enrol=True))
    assert station.happens(refused("old"), refused("old")) == []
    assert station.happens(refused("old")) == [MakeRequest(), Enrol("csr 1", 0)]
    unhelped = Station()
    assert unhelped.happens(*[refused("old")] * 9) == []


@pytest.mark.promise("S10")
def test_files_that_cannot_be_written_are_tried_again_a_minute_later() -> None:
    station = Station(offset_s=DUE_S, fails=True)
    assert station.until(599.0) == [MakeRequest()] * 10


def test_the_cloud_can_ask_for_a_renewal_now() -> None:
    station = Station()
    station.connects()
    assert station.happens(RenewalWanted()) == [MakeRequest(), Ask("csr 1")]
    station.certified()
    station.happens(Disconnected("old"))
    assert station.connects() == [Promote()]
    assert station.until(99.0) == []


def test_what_was_asked_before_the_cloud_accepted_the_station_is_asked_again_at_once() -> None:
    station = Station(offset_s=DUE_S)
    assert station.connects() == [MakeRequest(), Ask("csr 1")]
    assert station.until(20.0) == []
    assert station.happens(Registered()) == [Ask("csr 1")]


PAIRS = st.sampled_from([None, OLD, NEW, Validity("third", 0.0, 1e9)])
EVENTS = st.one_of(
    st.builds(Connected, st.integers(1, 3), st.sampled_from(["old", "new", "third"])),
    st.builds(Disconnected, st.sampled_from(["old", "new", "third", ""]), st.booleans()),
    st.just(Up()), st.just(Tick()), st.just(RenewalWanted()), st.just(Registered()), st.just(FilesFailed()),
    st.builds(EnrolFailed, st.floats(0, 1e5)),
)  # fmt: skip


@pytest.mark.promise("S9", "S10")
@given(PAIRS, PAIRS, st.booleans(), st.booleans(), st.floats(0, 2e3),
       st.lists(st.tuples(st.floats(0, 1e4), EVENTS | st.none()), max_size=30))  # fmt: skip
def test_whatever_happens_there_is_a_pair_if_there_was_one(
    current: Validity | None, trial: Validity | None, can_enrol: bool, fails: bool, offset_s: float,
    story: list[tuple[float, renewal.Event | None]],
) -> None:  # fmt: skip
    """None in the story: a certificate comes. Deadlines end in rest, promotions are earned (Station.done)."""
    station = Station(Facts(current, trial, can_enrol=can_enrol), offset_s=offset_s, fails=fails)
    had_one = bool(current or trial)
    for wait_s, event in story:
        station.until(station.now + wait_s)
        if event is None:
            station.certified(Validity(f"{station.now}", 0.0, 1e9))
            had_one = True
        else:
            station.happens(event)
        assert not had_one or station.facts.current or station.facts.trial
