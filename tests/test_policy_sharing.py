"""Several ports on one circuit: equal parts, turns, and what a car leaves to the others."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from agent.policy.sharing import (
    CURRENT_MIN_MA,
    LENT_S,
    SPARE_MA,
    TURN_S,
    WATCHED_S,
    Draw,
    Sharing,
    followed,
    raised_in_turn,
    shares,
    targets,
    turn_s,
)


@dataclass
class Site:
    """Cars on one circuit. Each takes what it needs, up to its offer, as soon as that is in force."""

    circuit_ma: int
    needs_ma: list[int]  # what the car would draw at most; 0: it is full, but plugged in and authorised
    wants_ma: list[int] = field(default_factory=list)  # what its port allows; 0: nobody is there
    noise_ma: int = 0
    now: float = 0.0
    sharing: Sharing = field(default_factory=Sharing)
    changes: int = 0  # of offers
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.wants_ma = self.wants_ma or [32_000] * len(self.needs_ma)
        self.offers_ma = [0] * len(self.needs_ma)
        self.served_s = [0.0] * len(self.needs_ma)
        self.step()

    def draws(self) -> list[Draw]:
        return [
            Draw(want, offer, max(0, min(need, offer) - (self.rng.randint(0, self.noise_ma) if need else 0)))
            for want, offer, need in zip(self.wants_ma, self.offers_ma, self.needs_ma, strict=True)
        ]

    def step(self) -> None:
        for _ in range(4):  # reports and wishes, until all is quiet
            draws = self.draws()
            self.sharing = followed(self.sharing, self.circuit_ma, draws, self.now)
            wanted = targets(self.sharing, self.circuit_ma, draws)
            offers = list(raised_in_turn(self.circuit_ma, wanted, self.offers_ma))
            assert sum(offers) <= self.circuit_ma
            self.changes += sum(a != b for a, b in zip(offers, self.offers_ma, strict=True))
            if offers == self.offers_ma:
                break
            self.offers_ma = offers
        assert self.sharing.due > self.now

    def run(self, seconds: float, every_s: float = 10.0) -> "Site":
        until = self.now + seconds
        while self.now < until:
            before = self.now
            self.now = min(until, self.now + every_s, self.sharing.due)
            self.served_s = [
                had + (self.now - before if offer else 0.0)
                for had, offer in zip(self.served_s, self.offers_ma, strict=True)
            ]
            self.step()
        return self


# -- parts


@pytest.mark.parametrize(
    ("circuit_a", "wants_a", "parts_a"),
    [
        (32, [32], [32]), (32, [32, 32], [16, 16]), (32, [32, 10], [22, 10]), (32, [32, 32, 32], [10, 11, 11]),
        (16, [32, 32, 32], [8, 8, 0]), (11, [32, 32], [11, 0]), (5, [32, 32], [0, 0]), (32, [16.7, 5.9], [16, 0]),
    ],
)  # fmt: skip
def test_one_car_gets_all_it_can_take_and_several_equal_parts(
    circuit_a: int, wants_a: list[float], parts_a: list[int]
) -> None:
    wants_ma = [round(want * 1000) for want in wants_a]
    assert [part // 1000 for part in shares(circuit_a * 1000, wants_ma)] == parts_a


def test_a_cap_gives_way_where_nobody_else_can_use_the_rest() -> None:
    assert shares(32_000, [32_000, 32_000], [8_000, None]) == (8_000, 24_000)
    assert shares(32_000, [32_000, 10_000], [8_000, None]) == (22_000, 10_000)
    assert shares(32_000, [32_000], [6_000]) == (32_000,)


WANTS = st.lists(st.sampled_from([0, 6_000, 10_000, 16_000, 32_000]) | st.integers(0, 40_000), min_size=1, max_size=5)
CAPS = st.lists(st.none() | st.integers(6, 32).map(lambda a: a * 1000), min_size=5, max_size=5)


@pytest.mark.promise("S11")
@given(st.integers(0, 80_000), WANTS, CAPS)
def test_whatever_is_lent_the_circuit_holds_and_who_has_a_place_has_six_amperes(
    circuit: int, wants: list[int], caps: list[int | None]
) -> None:
    given_ma = shares(circuit, wants, caps[: len(wants)])
    assert sum(given_ma) <= circuit
    assert all(part == 0 or CURRENT_MIN_MA <= part <= want for part, want in zip(given_ma, wants, strict=True))
    has_place = [bool(part) for part in given_ma]
    assert has_place == [bool(part) for part in shares(circuit, wants)], "a cap moves amperes, never places"


# -- what a car leaves


def test_a_car_that_draws_less_lends_the_rest_after_two_minutes() -> None:
    site = Site(32_000, [8_000, 32_000]).run(WATCHED_S - 1)
    assert site.offers_ma == [16_000, 16_000]
    assert site.run(2).offers_ma == [8_000 + SPARE_MA, 22_000]


def test_it_has_its_part_again_as_soon_as_it_takes_what_it_may() -> None:
    site = Site(32_000, [8_000, 32_000]).run(600)
    site.needs_ma[0] = 32_000
    assert site.run(10).offers_ma == [16_000, 16_000]


def test_it_has_its_part_again_after_a_quarter_of_an_hour_whatever_it_shows() -> None:
    site = Site(32_000, [8_000, 32_000]).run(WATCHED_S + 1)
    assert site.offers_ma[0] == 10_000
    site.run(LENT_S)
    assert site.offers_ma == [16_000, 16_000]
    assert site.run(WATCHED_S).offers_ma[0] == 10_000


def test_a_full_car_keeps_six_amperes_to_wake_up_with() -> None:
    site = Site(32_000, [0, 32_000]).run(300)
    assert site.offers_ma == [6_000, 26_000]
    site.needs_ma[0] = 32_000
    assert site.run(10).offers_ma == [16_000, 16_000]


def test_a_draw_that_sways_by_an_ampere_leaves_what_is_lent_as_it_is() -> None:
    site = Site(32_000, [7_500, 32_000]).run(WATCHED_S + 1)
    assert site.offers_ma == [10_000, 22_000]
    site.changes = 0
    for need_ma in (6_500, 7_500, 6_500):
        site.needs_ma[0] = need_ma
        site.run(2 * WATCHED_S)
    assert site.changes == 0


def test_while_there_is_enough_for_all_nobody_is_watched() -> None:
    site = Site(64_000, [8_000, 32_000]).run(3600)
    assert site.offers_ma == [32_000, 32_000] and site.changes == 2


def test_a_meter_that_has_failed_lends_nothing() -> None:
    sharing = Sharing()
    for now in (0.0, 300.0, 600.0):
        sharing = followed(sharing, 32_000, [Draw(32_000, 16_000, None), Draw(32_000, 16_000, 16_000)], now)
    assert targets(sharing, 32_000, [Draw(32_000), Draw(32_000)]) == (16_000, 16_000)


@examples(max_examples=30)
@given(st.integers(0, 999), st.lists(st.integers(1, 32), min_size=2, max_size=4), st.integers(0, 1000))
def test_noise_of_an_ampere_moves_no_offer_to_and_fro(noise_ma: int, needs_a: list[int], seed: int) -> None:
    """Each car lends and takes back once in a quarter of an hour, and what it moves moves each of the others."""
    needs_ma = [need * 1000 for need in needs_a]
    site = Site(32_000, needs_ma, noise_ma=noise_ma, rng=random.Random(seed)).run(600, 60.0)
    site.changes = 0
    site.run(3600, 60.0)
    cycles = 3600 / (LENT_S + WATCHED_S)
    assert site.changes <= 4 * len(needs_a) ** 2 * cycles


# -- turns


def test_three_cars_at_a_circuit_for_two_have_two_thirds_of_the_time_each() -> None:
    site = Site(16_000, [32_000] * 3)
    assert site.offers_ma == [8_000, 8_000, 0]
    assert site.run(TURN_S - 1).offers_ma == [8_000, 8_000, 0]
    assert site.run(2).offers_ma == [0, 8_000, 8_000]
    site.served_s = [0.0] * 3
    site.run(6 * TURN_S)
    assert all(abs(had - 4 * TURN_S) < 60.0 for had in site.served_s)


def test_a_newcomer_waits_for_a_turn_however_long_the_others_have_had_their_places() -> None:
    site = Site(10_000, [32_000, 32_000], [32_000, 0]).run(20_000)
    site.wants_ma[1] = 32_000
    site.step()
    assert site.run(TURN_S - 1).offers_ma == [10_000, 0]
    assert site.run(2).offers_ma == [0, 10_000]


def test_a_car_that_takes_nothing_leaves_its_place_and_tries_again_in_its_turn() -> None:
    site = Site(10_000, [0, 32_000]).run(WATCHED_S + 1)
    assert site.offers_ma == [0, 10_000]
    assert site.run(TURN_S).offers_ma == [10_000, 0]
    site.needs_ma[0] = 32_000
    assert site.run(WATCHED_S + 10).offers_ma == [10_000, 0], "it charges now, and has its whole turn"


def test_full_cars_among_themselves_change_places_no_more_often_than_others() -> None:
    site = Site(10_000, [0, 0]).run(WATCHED_S + 1)
    site.changes = 0
    assert site.run(10 * TURN_S).changes <= 11 * 2 + 2


def test_who_leaves_a_place_leaves_it_to_the_first_in_line() -> None:
    site = Site(10_000, [32_000] * 3)
    site.wants_ma[0] = 0
    site.step()
    assert site.offers_ma == [0, 10_000, 0]
    site.wants_ma[0] = 32_000
    site.step()
    assert site.offers_ma == [0, 10_000, 0], "back again, it is the last"
    assert site.sharing.waiting == (2, 0)


def test_a_circuit_that_shrinks_stops_the_last_ones_and_they_come_first_when_it_grows() -> None:
    site = Site(32_000, [32_000] * 4)
    assert all(site.offers_ma)
    site.circuit_ma = 12_000
    site.step()
    assert [bool(offer) for offer in site.offers_ma] == [True, True, False, False]
    site.circuit_ma = 18_000
    site.step()
    assert [bool(offer) for offer in site.offers_ma] == [True, True, True, False]


def test_after_a_restart_who_has_something_in_force_keeps_it() -> None:
    draws = [Draw(32_000, came=1.0), Draw(32_000, 10_000, 10_000, came=2.0)]
    assert targets(followed(Sharing(), 10_000, draws, 5.0), 10_000, draws) == (0, 10_000)


def test_the_turn_of_who_waits_comes_in_so_long_at_the_latest() -> None:
    site = Site(10_000, [32_000] * 3).run(600)
    assert [turn_s(site.sharing, port, site.now) for port in range(4)] == [None, TURN_S - 600, 2 * TURN_S - 600, None]
    assert turn_s(Site(5_000, [32_000] * 2).sharing, 0, 0.0) is None, "there is no place at all"
    assert turn_s(Site(32_000, [32_000] * 2).sharing, 0, 0.0) is None


@examples(max_examples=60)
@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3_000)), max_size=12))
def test_nobodys_turn_comes_later_than_it_was_said(places: int, story: list[tuple[int, bool, int]]) -> None:
    """Cars that take what they may come, leave, and come again."""
    site = Site(places * CURRENT_MIN_MA, [32_000] * 5)
    latest: dict[int, float] = {}

    def look() -> None:
        waiting = {port: turn_s(site.sharing, port, site.now) for port in site.sharing.waiting}
        for port in [port for port in latest if port not in waiting]:
            del latest[port]
        for port, turn in waiting.items():
            assert turn is not None
            latest[port] = min(latest.get(port, site.now + turn), site.now + turn)
            assert site.now <= latest[port]

    for port, comes, for_s in story:
        site.wants_ma[port] = 32_000 if comes else 0
        site.step()
        look()
        for _ in range(for_s // 600 + 1):
            site.run(min(for_s, 600), 300.0)
            look()


@pytest.mark.promise("S11")
@examples(max_examples=50)
@given(
    st.integers(0, 40_000),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 8_000, 32_000]), st.sampled_from([0, 6_000, 32_000]),
                       st.integers(1, 4000)), max_size=12),
)  # fmt: skip
def test_in_any_story_the_circuit_holds_and_nobody_who_waits_waits_for_ever(
    circuit: int, story: list[tuple[int, int, int, int]]
) -> None:
    site = Site(circuit, [32_000] * 5)
    for port, need, want, for_s in story:
        site.needs_ma[port], site.wants_ma[port] = need, want
        site.step()
        site.run(for_s, 300.0)
        assert all(part == 0 or part >= CURRENT_MIN_MA for part in site.offers_ma)
    site.served_s = [0.0] * 5
    site.run(6 * TURN_S, 300.0)
    if circuit >= CURRENT_MIN_MA:
        assert all(had > 0.0 for had, want in zip(site.served_s, site.wants_ma, strict=True) if want)
