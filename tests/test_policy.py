"""The pure decisions, by property: sharing one circuit, card ids, time as an interval, the order of the rules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import WALL_MAX_S, Clock, ClockSource, earliest, floor, is_expired, iso8601, told, wall
from agent.events import AuthorizationStatus, Entry, Link
from agent.policy.authorize import NEGATIVE, RULES, Accept, Ask, Question, Refuse, decide, walk
from agent.policy.id_token import is_random, masked, normalised
from agent.policy.reasons import Reason
from agent.policy.sharing import CURRENT_MIN_MA, raised_in_turn, shares
from agent.settings import Settings

CIRCUIT = st.integers(0, 100_000)
WANT = st.sampled_from([0, 5_999, 6_000, 10_000, 16_000, 32_000, 80_000]) | st.integers(0, 80_000)
WANTS = st.lists(WANT, max_size=4)


@pytest.mark.promise("S11")
@given(CIRCUIT, WANTS)
def test_shares_never_exceed_the_circuit_and_are_six_amperes_or_nothing(circuit: int, wants: list[int]) -> None:
    given_ma = shares(circuit, wants)
    assert sum(given_ma) <= circuit
    assert all(g == 0 or CURRENT_MIN_MA <= g <= w for g, w in zip(given_ma, wants, strict=True))


@given(CIRCUIT, WANTS)
def test_nobody_waits_while_six_amperes_are_left_for_him(circuit: int, wants: list[int]) -> None:
    given_ma = shares(circuit, wants)
    waiting = [i for i, want in enumerate(wants) if want >= CURRENT_MIN_MA and not given_ma[i]]
    served = sum(1 for g in given_ma if g)
    assert not waiting or (served + 1) * CURRENT_MIN_MA > circuit


@given(CIRCUIT, WANTS)
def test_a_newcomer_never_takes_an_earlier_car_below_the_minimum(circuit: int, wants: list[int]) -> None:
    before, after = shares(circuit, wants[:-1]), shares(circuit, wants)
    assert all(a or not b for b, a in zip(before, after, strict=False))


@pytest.mark.promise("S11")
@given(st.integers(6_000, 100_000), WANTS, st.data())
def test_raising_in_turn_keeps_the_sum_whatever_the_controller_does_first(
    circuit: int, wants: list[int], data: st.DataObject
) -> None:
    """The controller may take over the new offers port by port, in any order, and the sum still fits."""
    targets = shares(circuit, wants)
    in_force = list(shares(circuit, data.draw(st.permutations(wants))))
    allowed = raised_in_turn(circuit, targets, in_force)
    for port in data.draw(st.permutations(range(len(wants)))):
        in_force[port] = allowed[port]
        assert sum(in_force) <= circuit


@given(WANTS)
def test_raising_in_turn_arrives(wants: list[int]) -> None:
    circuit = 32_000
    targets, in_force = shares(circuit, wants), (0,) * len(wants)
    for _ in range(4):
        in_force = raised_in_turn(circuit, targets, in_force)
    assert in_force == targets


# -- card ids


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=7, max_size=7) | st.binary(min_size=10, max_size=10))
def test_every_spelling_of_an_id_is_one_id(uid: bytes) -> None:
    canonical = uid.hex().upper()
    for text in (uid.hex(), canonical, uid.hex(":"), uid.hex(" ").upper(), uid.hex("-"), f" 0x{uid.hex()}\r\n"):
        assert normalised(text) == canonical
    assert normalised(canonical) == canonical


@pytest.mark.promise("S9")
@given(st.text())
def test_any_text_is_an_id_or_none_and_never_an_error(text: str) -> None:
    canonical = normalised(text)
    assert canonical is None or (canonical.isascii() and len(canonical) in (8, 14, 20))
    masked(text)


def test_leading_zeros_belong_to_the_id() -> None:
    assert normalised("00A1B2C3") == "00A1B2C3"
    assert is_random("08A1B2C3")
    assert not is_random("08A1B2C3D4E5F6"), "seven bytes are a card's own"


# -- time

WALLS = st.floats(1.0, 4e9)


@given(st.lists(st.tuples(WALLS, st.sampled_from(ClockSource), st.floats(0, 1e4)), max_size=8))
def test_only_the_cloud_moves_the_floor_and_nobody_else_goes_below_it(
    tellings: list[tuple[float, ClockSource, float]],
) -> None:
    clock, now = Clock(1.7e9, 0.0), 0.0
    for wall_s, source, pause_s in tellings:
        now += pause_s
        before = floor(clock, now)
        clock = told(clock, wall_s, source, now)
        if source is not ClockSource.CLOUD:
            assert floor(clock, now) == before and earliest(clock, now) >= before - 1.0
        elif wall_s < WALL_MAX_S:
            assert abs(floor(clock, now) - wall_s) <= 1.0


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(ClockSource))
def test_a_nonsense_time_changes_nothing(wall_s: float, source: ClockSource) -> None:
    clock = told(Clock(1.7e9, 0.0), wall_s, source, 5.0)
    assert 0.0 < earliest(clock, 5.0) < WALL_MAX_S
    iso8601(earliest(clock, 5.0))


def test_a_better_source_wins_and_a_worse_one_does_not() -> None:
    clock = told(Clock(), 1.8e9, ClockSource.NTP, 0.0)
    assert told(clock, 1.9e9, ClockSource.RTC, 0.0) is clock
    assert wall(told(clock, 1.9e9, ClockSource.CLOUD, 0.0), 1.0) == 1.9e9 + 1.0


def test_unknown_time_expires_only_what_was_expired_at_the_floor() -> None:
    clock = Clock(1.7e9, 0.0)
    assert is_expired(clock, 1.6e9, 0.0)
    assert not is_expired(clock, 1.7e9 + 50, 10.0)
    assert is_expired(clock, 1.7e9 + 50, 60.0), "time passes though nobody knows when it began"
    assert not is_expired(clock, None, 1e9)


def test_a_timestamp_has_milliseconds_and_rounds_up_into_the_next_second() -> None:
    assert iso8601(0.9996) == "1970-01-01T00:00:01.000Z"
    assert iso8601(1_790_000_000.25) == "2026-09-21T14:13:20.250Z"


# -- the rules

ENTRIES = st.none() | st.builds(
    Entry,
    status=st.sampled_from(AuthorizationStatus),
    expiry_s=st.none() | st.sampled_from([1.0, 1e12]),
    groups=st.frozensets(st.sampled_from(["staff", "fire"])),
    group_id=st.sampled_from([None, "home", "fire"]),
    pending=st.booleans(),
    removed=st.booleans(),
)
SETTINGS = st.builds(
    Settings,
    activated=st.booleans(),
    free=st.booleans(),
    offline_tx_for_unknown_id=st.booleans(),
    concurrent_tx=st.booleans(),
    master_pass_group_id=st.sampled_from(["", "fire"]),
)
QUESTIONS = st.builds(
    Question,
    id_token=st.sampled_from(["04A1B2C3", "08A1B2C3"]),
    settings=SETTINGS,
    clock=st.just(Clock(1.7e9, 0.0)),
    link=st.sampled_from(Link),
    port_reason=st.none() | st.sampled_from([Reason.OUT_OF_SERVICE, Reason.PORT_TAKEN]),
    in_use=st.booleans(),
    listed=ENTRIES,
    cached=ENTRIES,
    online=ENTRIES,
    asked=st.booleans(),
)


@pytest.mark.promise("S7")
@given(QUESTIONS)
def test_every_question_has_one_answer_and_the_walk_ends_with_it(question: Question) -> None:
    asked = list(walk(question, 0.0))
    assert asked[-1][1] == decide(question, 0.0)
    assert all(opinion is None for _, opinion in asked[:-1])
    assert [name for name, _ in asked] == [name for name, _ in RULES][: len(asked)]


@given(QUESTIONS)
def test_a_known_bad_card_never_starts_and_a_listed_one_is_never_asked_about(question: Question) -> None:
    listed = question.listed
    if question.settings.free or listed is None:
        return
    decision = decide(question, 0.0)
    assert not isinstance(decision, Ask)
    if listed.status is not AuthorizationStatus.ACCEPTED or listed.pending or listed.removed or listed.expiry_s == 1.0:
        assert isinstance(decision, Refuse)


@given(QUESTIONS)
def test_the_master_pass_never_starts(question: Question) -> None:
    master = Entry(group_id="fire")
    settings = Settings(master_pass_group_id="fire", free=False)
    question = replace(question, settings=settings, listed=master)
    assert isinstance(decide(question, 0.0), Refuse)


@pytest.mark.promise("S6")
@given(QUESTIONS)
def test_nobody_is_asked_without_a_link_nor_twice(question: Question) -> None:
    decision = decide(question, 0.0)
    if isinstance(decision, Ask):
        assert question.link is not Link.DOWN
        assert not question.asked
        assert 0 < decision.timeout_s <= 8.0


@given(QUESTIONS)
def test_a_port_that_cannot_start_starts_nothing(question: Question) -> None:
    if question.port_reason:
        assert not isinstance(decide(question, 0.0), Accept)


@pytest.mark.promise("S7")
@pytest.mark.parametrize("status", sorted(NEGATIVE))
def test_each_status_of_the_cloud_is_said_in_words_of_its_own(status: AuthorizationStatus) -> None:
    question = Question("04A1B2C3", Settings(), Clock(), Link.UP, online=Entry(status=status), asked=True)
    assert decide(question, 0.0) == Refuse("cloud", NEGATIVE[status])
