"""How the interval between PINGs is learned, over networks that forget a silent connection sooner or later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.keepalive import LEAST_S, MOST_S, START_S, Keepalive

RTT_S = 0.2


class Network:
    """An idle station behind a NAT that forgets a connection after `nat_s` of silence."""

    def __init__(self, nat_s: float, server_s: int = 0, start_s: float = START_S) -> None:
        self.keepalive, self.nat_s, self.server_s = Keepalive(start_s), nat_s, server_s
        self.now, self.deaths, self.pings = 0.0, 0, 0
        self.noticed_s: list[float] = []
        self.connect()

    def connect(self) -> None:
        self.keepalive.opened(self.server_s, self.now)
        self.said_at = self.now

    def live(self, until: float) -> None:
        while self.now < until:
            due = self.keepalive.next_deadline()
            assert due > self.now
            self.now = due
            assert self.keepalive.is_ping_due(self.now)
            silence_s, interval_s = self.now - self.said_at, self.keepalive.interval_s
            self.keepalive.sent(self.now)
            self.keepalive.pinged(self.now)
            self.pings += 1
            if silence_s <= self.nat_s:
                self.now += RTT_S
                self.keepalive.heard(self.now)
                self.said_at = self.now
            else:
                self.now = self.keepalive.next_deadline()
                assert self.keepalive.is_dead(self.now)
                self.noticed_s.append((self.now - self.said_at) / interval_s)
                self.deaths += 1
                self.keepalive.closed(is_silent=True)
                self.connect()


def test_where_it_holds_it_grows_to_eighteen_minutes_on_one_connection() -> None:
    network, seen = Network(nat_s=1e9), []
    while network.keepalive.learned_s < MOST_S:
        seen.append(network.keepalive.learned_s)
        network.live(network.now + 1)
    assert seen == [240.0, 360.0, 540.0, 810.0]
    assert network.keepalive.interval_s == 1_090.0, "what was promised to the broker is kept with room to spare"
    before = network.pings
    network.live(network.now + 30 * 86_400)
    assert network.deaths == 0 and network.pings - before <= 2_380


@pytest.mark.promise("S6")
@given(st.floats(70, 2_000), st.floats(1, 5_000))
def test_a_network_that_forgets_is_learned_and_each_death_is_noticed_in_time(nat_s: float, start_s: float) -> None:
    """A month: rare deaths, each noticed within 1.5 intervals, and not many more PINGs than the network needs."""
    network = Network(nat_s, start_s=start_s)
    network.live(30 * 86_400.0)
    assert LEAST_S <= network.keepalive.learned_s <= MOST_S
    assert all(noticed <= 1.5 + 1e-6 for noticed in network.noticed_s)
    assert network.deaths <= 2_592_000 / 64 / min(nat_s, 240) * 2 + 60
    assert network.pings <= 2_592_000 / min(nat_s, MOST_S) * 4


@given(st.integers(1, 65_535), st.floats(60, 1_100))
def test_the_brokers_own_keepalive_wins_downwards(server_s: int, learned_s: float) -> None:
    keepalive = Keepalive(learned_s)
    keepalive.opened(server_s, 100.0)
    assert keepalive.agreed_s == min(server_s, MOST_S)
    assert keepalive.interval_s < server_s, "the broker may hang up on us"
    assert keepalive.interval_s <= learned_s
    assert keepalive.next_deadline() == 100.0 + keepalive.interval_s
    keepalive.opened(0, 200.0)
    assert keepalive.agreed_s == MOST_S, "what one broker wanted binds nobody on the next connection"


def test_short_silences_prove_nothing_about_long_ones() -> None:
    network = Network(nat_s=1e9, server_s=60)
    network.live(86_400.0)
    assert network.keepalive.learned_s == START_S


def test_whoever_talks_learns_nothing() -> None:
    keepalive = Keepalive()
    for now in range(0, 100_000, 100):
        keepalive.sent(float(now))
        keepalive.heard(now + 0.2)
    assert keepalive.learned_s == START_S and not keepalive.is_ping_due(99_990.0)


def test_a_word_of_the_broker_after_a_long_silence_proves_as_much_as_a_ping() -> None:
    keepalive = Keepalive()
    keepalive.heard(230.0)
    assert keepalive.learned_s == 360.0


@pytest.mark.parametrize("is_silent", [True, False])
def test_only_a_silent_death_after_a_silence_halves(is_silent: bool) -> None:
    keepalive = Keepalive(800.0)
    keepalive.heard(10.0)
    keepalive.sent(20.0)
    keepalive.closed(is_silent)
    assert keepalive.learned_s == 800.0, "it died in the middle of a talk"
    keepalive.opened(0, 100.0)
    keepalive.closed(is_silent)
    assert keepalive.learned_s == 800.0, "nobody had asked whether it still lives"
    keepalive.opened(0, 200.0)
    keepalive.sent(1_000.0)
    keepalive.closed(is_silent)
    assert keepalive.learned_s == (400.0 if is_silent else 800.0)


calls = st.sampled_from(["sent", "heard", "pinged", "opened", "closed", "killed"])
steps = st.tuples(calls, st.floats(0, 2_000), st.integers(0, 5_000))


@given(st.lists(steps, max_size=60), st.floats(allow_nan=False))
def test_whatever_happens_the_interval_stays_in_its_bounds_and_a_deadline_has_something_to_do(
    story: list[tuple[str, float, int]], start_s: float
) -> None:
    keepalive, now = Keepalive(start_s), 0.0
    for step, wait_s, server_s in story:
        now += wait_s
        match step:
            case "opened":
                keepalive.opened(server_s, now)
            case "closed" | "killed":
                keepalive.closed(is_silent=step == "killed")
            case _:
                getattr(keepalive, step)(now)
        assert LEAST_S <= keepalive.learned_s <= MOST_S
        assert 0 < keepalive.interval_s <= keepalive.agreed_s <= MOST_S
        due = max(now, keepalive.next_deadline())
        assert keepalive.is_ping_due(due) != keepalive.is_dead(due)
