"""When a station tries again, and where: patient, never in a herd, never led away for ever."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.backoff import (
    REFERENCES_MAX,
    STABLE_S,
    Address,
    Backoff,
    Servers,
    read_reference,
    spread_s,
)

HOME, B, C = ("home", 8883), ("b.example", 8883), ("c.example", 8884)


@given(st.integers(), st.lists(st.tuples(st.floats(0, 200), st.booleans(), st.floats(0, 300)), max_size=40))
def test_patience_grows_to_ten_minutes_and_only_a_stable_minute_resets_it(
    seed: int, attempts: list[tuple[float, bool, float]]
) -> None:
    backoff = Backoff(random.Random(seed).uniform)
    assert 0.0 <= backoff.first_s() <= 2.0
    failures = 0
    for stood_s, is_long, at_least_s in attempts:
        failures = 1 if stood_s >= STABLE_S else failures + 1
        delay_s = backoff.next_s(stood_s, is_long, at_least_s) - at_least_s
        if is_long:
            assert 299.9 <= delay_s <= 600.1
        else:
            assert -0.1 <= delay_s <= min(600.1, 5.1 * 2 ** (failures - 1))


@pytest.mark.promise("S10")
@given(st.integers(), st.floats(0.0, 59.9))
def test_a_broker_that_welcomes_and_kicks_is_asked_ever_more_rarely(seed: int, stood_s: float) -> None:
    """A day of it costs at most some 300 connections, however long each one stands below a minute."""
    backoff, now, connections = Backoff(random.Random(seed).uniform), 0.0, 0
    while now < 86_400.0:
        connections += 1
        now += stood_s + backoff.next_s(stood_s)
    assert connections <= 450


def test_ten_thousand_stations_do_not_come_back_in_the_same_second() -> None:
    """A broker is down for five minutes; all knew it at once. In no second after it more than 2 % of them come."""
    arrivals: dict[int, int] = {}
    for seed in range(10_000):
        backoff, now = Backoff(random.Random(seed).uniform), 0.0
        while now < 300.0:
            now += backoff.next_s(0.0)
        arrivals[int(now)] = arrivals.get(int(now), 0) + 1
    assert max(arrivals.values()) <= 200


def test_a_planned_restart_spreads_a_fleet_evenly_over_five_minutes() -> None:
    places = sorted(spread_s(f"S-{number}") for number in range(3_000))
    assert spread_s("S-1") == spread_s("S-1")
    assert places[0] >= 0.0 and places[-1] < 300.0
    per_10_s = [sum(1 for place in places if start <= place < start + 10) for start in range(0, 300, 10)]
    assert max(per_10_s) <= 2 * 100, "the peak is more than twice the mean"
    assert max(b - a for a, b in pairwise(places)) < 2.0


# -- references to other servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("broker2.example:8883", ("broker2.example", 8883)),
        ("BROKER2.example:1", ("broker2.example", 1)),
        ("192.0.2.7:65535", ("192.0.2.7", 65_535)),
        ("[2001:db8::7]:8883", ("2001:db8::7", 8883)),
        ("no-port.example b.example:8883 c.example:8883", ("b.example", 8883)),
        ("mqtts://b.example:8883", None),
        ("b.example", None),
        ("b.example:0", None),
        ("b.example:65536", None),
        ("b.example:８８８３", None),
        ("user@b.example:8883", None),
        ("b.example/x:8883", None),
        ("-b.example:8883", None),
        ("b..example:8883", None),
        (".:8883", None),
        ("b.example:8883\n", None),
        ("[::g]:8883", None),
        ("[fe80::1%eth0]:8883", None),
        ("[192.0.2.7]:8883", None),
        ("x" * 64 + ".example:8883", None),
        ("b.example:8883 " + "x" * 300, None),
        ("", None),
    ],
)
def test_a_reference_is_a_host_and_a_port_and_nothing_else(text: str, address: Address | None) -> None:
    assert read_reference(text) == address


@pytest.mark.promise("S9")
@given(st.text(max_size=400) | st.text("ab:.[]- 0189", max_size=60))
def test_no_text_of_a_reference_raises(text: str) -> None:
    address = read_reference(text)
    assert address is None or (1 <= address[1] <= 65_535 and address[0] and "/" not in address[0])


def test_another_server_is_for_this_time_and_a_moved_one_for_good() -> None:
    servers = Servers(HOME)
    servers.ended(0.0, B)
    assert servers.address == B
    servers.ended(3_600.0)
    assert servers.address == HOME
    servers.ended(0.0, B, is_for_good=True)
    for _ in range(5):
        assert servers.address == B
        servers.ended(3_600.0)
    servers.ended(0.0, C)
    assert servers.address == C
    servers.ended(3_600.0)
    assert servers.address == B


@pytest.mark.parametrize("is_for_good", [True, False])
def test_a_reference_that_fails_twice_leads_home(is_for_good: bool) -> None:
    servers = Servers(HOME)
    servers.ended(0.0, B, is_for_good)
    servers.ended(0.0)
    assert servers.address == B
    servers.ended(59.0)
    assert servers.address == HOME
    for _ in range(5):
        servers.ended(0.0)
        assert servers.address == HOME


def test_servers_that_send_us_round_in_a_circle_lead_home() -> None:
    servers = Servers(HOME)
    for number in range(REFERENCES_MAX):
        servers.ended(0.0, (B, C)[number % 2], number % 2 == 0)
        assert servers.address != HOME
    servers.ended(0.0, C)
    assert servers.address == HOME


steps = st.tuples(st.floats(0, 200), st.none() | st.sampled_from([HOME, B, C]), st.booleans())


@given(st.lists(steps, max_size=60))
def test_nobody_can_lead_a_station_away_for_ever(story: list[tuple[float, Address | None, bool]]) -> None:
    """Whatever servers say: without one that holds for a minute, the configured one is tried each 8th time."""
    servers, away = Servers(HOME), 0
    for stood_s, reference, is_for_good in story:
        away = 0 if servers.address == HOME or stood_s >= STABLE_S else away + 1
        assert away <= 2 * (REFERENCES_MAX + 1)
        servers.ended(stood_s, reference, is_for_good)
