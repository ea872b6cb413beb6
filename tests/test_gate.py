"""Lowering at once, raising only after the commit: for every order of steps and commits."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.effects import SAFE, PortCommand, Stop
from agent.gate import Commands, Gate

OFFERS = st.integers(6_000, 32_000)
COMMANDS = st.one_of(
    st.builds(PortCommand, OFFERS, st.just(Stop.NONE), st.booleans(), st.integers(0, 2)),
    st.builds(PortCommand, st.just(0), st.sampled_from(Stop), st.booleans(), st.integers(0, 2)),
)
WISHES = st.none() | st.tuples(COMMANDS, COMMANDS)
STEPS = st.lists(st.tuples(st.just("step"), st.booleans(), WISHES) | st.tuples(st.just("commit"), st.integers(1, 3)))
ON, LESS = PortCommand(16_000, Stop.NONE), PortCommand(6_000, Stop.NONE)


@dataclass
class Model:
    """What was wished, each with the batch that must be on disk before it may raise anything."""

    wished: list[tuple[int, Commands]] = field(default_factory=lambda: [(0, (SAFE, SAFE))])
    batch_id: int = 0
    committed: int = 0

    def newest_committed(self) -> int:
        return max(i for i, (batch_id, _) in enumerate(self.wished) if batch_id <= self.committed)


def exceeds(command: PortCommand, other: PortCommand) -> bool:
    """Whether it asks for more than the other in any way."""
    return (
        command.offer_ma > other.offer_ma
        or command.stop < other.stop
        or command.clear > other.clear
        or (other.lock and not command.lock)
    )


@pytest.mark.promise("S1")
@given(STEPS)
def test_the_wish_never_exceeds_what_is_committed_and_lowers_at_once(steps: list[tuple[object, ...]]) -> None:
    gate, model = Gate((SAFE, SAFE)), Model()
    for step in steps:
        match step:
            case ("step", is_durable, wish):
                model.batch_id += bool(is_durable)
                gate.batch(model.batch_id if is_durable else None, wish)  # type: ignore[arg-type]
                model.wished.append((model.batch_id, wish or model.wished[-1][1]))  # type: ignore[arg-type]
            case ("commit", int(count)):
                model.committed = min(model.batch_id, model.committed + count)
                gate.committed(model.committed)
        open_wishes = [wish for _, wish in model.wished[model.newest_committed() :]]
        for port, now in enumerate(gate.wish):
            assert not any(exceeds(now, wish[port]) for wish in open_wishes)
            if all(wish[port] == open_wishes[0][port] for wish in open_wishes):
                assert now == open_wishes[0][port]  # what no step has touched waits for no disk
    gate.committed(model.batch_id)
    assert gate.wish == model.wished[-1][1]


@pytest.mark.promise("S1")
def test_a_start_waits_for_its_own_commit() -> None:
    gate = Gate((SAFE,))
    gate.batch(1, (ON,))
    assert gate.wish == (SAFE,)
    gate.committed(1)
    assert gate.wish == (ON,)


@pytest.mark.promise("S1")
def test_a_late_commit_does_not_bring_back_what_was_stopped_meanwhile() -> None:
    gate = Gate((SAFE,))
    gate.batch(1, (ON,))
    gate.batch(2, (SAFE,))
    gate.committed(1)
    assert gate.wish == (SAFE,)


def test_less_is_in_force_before_the_disk_has_heard_of_it() -> None:
    gate = Gate((ON,))
    gate.batch(1, (LESS,))
    assert gate.wish == (LESS,)
    gate.batch(2, (ON,))
    assert gate.wish == (LESS,)
    gate.committed(2)
    assert gate.wish == (ON,)
