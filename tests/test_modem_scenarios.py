"""What comes of each thing that befalls modems in the field (docs/modem.md, "What befalls a modem"): the host of a real
station over a simulated modem, from before its start or in the middle of a connection.
"""

import gc
import types
from typing import Any

import pytest

from agent.modem.modem import State
from agent.modem.recovery import ACCESS, ACCESSES, LIMITS, Action
from agent.modem.told import Warn
from agent.sim.modem.scenarios import SCENARIOS
from tests.test_modem_host import Scene

PING_S = 30.0
LASTS_S = 1_290.0  # no multiple of a scenario's own period


class Pole(Scene):
    """Its broker answers whatever reaches it."""

    def lived(self, seconds: float) -> "Pole":
        until = self.now + seconds
        while self.now < until:
            self.run(min(PING_S, until - self.now))
            if self.cell.carries:
                self.host.acknowledged("", self.now)
            else:
                self.host.silent(self.now)
        return self


def after(name: str, *, is_cold: bool, seconds: float = LASTS_S) -> Pole:
    pole = Pole()
    if is_cold:
        SCENARIOS[name](pole.modem, pole.now)
    else:
        pole.lived(90.0)
        assert pole.host.told().state is State.ONLINE
        SCENARIOS[name](pole.modem, pole.now)
    return pole.lived(seconds)


ACTIONS = frozenset(map(str, Action))
ONLINE = (State.ONLINE, frozenset[Warn](), frozenset[str]())
BY_RESET = frozenset({"radio off and on", "restart", "reset, or supply off and on"})
EXPECTED: dict[str, tuple[State, frozenset[Warn], frozenset[str]]] = {  # state, warnings, what was done but dialling
    **dict.fromkeys(SCENARIOS, ONLINE),
    "off": (State.ONLINE, frozenset(), frozenset({"press its power key"})),
    "no-sim": (State.SIM_MISSING, frozenset(), BY_RESET),
    "sim-dead": (State.SIM_FAILED, frozenset(), BY_RESET),
    "sim-locked": (State.SIM_LOCKED, frozenset({Warn.PIN_MISSING}), frozenset()),
    "sim-one-try": (State.SIM_LOCKED, frozenset({Warn.PIN_MISSING}), frozenset()),
    "sim-puk": (State.SIM_LOCKED, frozenset({Warn.PUK}), frozenset()),
    "no-coverage": (State.SEARCHING, frozenset(), frozenset()),
    "flapping": (State.DEGRADED, frozenset(), frozenset()),  # in a gap just now
    "denied": (State.DENIED, frozenset({Warn.DENIED}), frozenset()),
    "illegal": (State.DENIED, frozenset({Warn.DENIED}), frozenset()),
    "weak": (State.ONLINE, frozenset({Warn.SIGNAL}), frozenset()),
    "deregistered": (State.ONLINE, frozenset(), frozenset({"reselect"})),
    "radio-off": (State.ONLINE, frozenset(), frozenset({"radio on"})),
    "dead-call": (State.BACK_OFF, frozenset(), frozenset({"reattach", "radio off and on", "restart"})),
}
COLD = {  # where it differs when it was so before the start
    "hang": (State.ONLINE, frozenset[Warn](), frozenset({"reopen the port", "USB port off and on"})),
    "wrong-apn": (State.BACK_OFF, frozenset({Warn.ACCESS}), frozenset[str]()),
    "attach-fails": (State.SEARCHING, frozenset[Warn](), frozenset({"reattach", "reselect"})),
}


@pytest.mark.promise("R1")
@pytest.mark.parametrize("is_cold", [False, True], ids=["in a connection", "before the start"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_befalls_a_modem_ends_as_it_should(name: str, is_cold: bool) -> None:
    told = after(name, is_cold=is_cold).host.told()
    done = frozenset(ACTIONS & set(told.counts)) - {str(Action.REDIAL)}
    assert (told.state, told.warnings, done) == (COLD.get(name, EXPECTED[name]) if is_cold else EXPECTED[name])


@pytest.mark.long
@pytest.mark.promise("R1")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_day_of_whatever_befalls_a_modem_keeps_every_limit(name: str) -> None:
    pole = after(name, is_cold=False, seconds=86_400.0)
    told = pole.host.told()
    for key, limits in LIMITS.items():
        count = sum(told.counts.get(str(each), 0) for each in ACCESSES) if key == ACCESS else told.counts.get(key, 0)
        assert count <= 2 * max(most for most, _ in limits), f"{key}: {count}"
    assert len(pole.cell.actions) <= 100


CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)


def held_by(root: Any) -> int:
    """How many objects it keeps alive, itself among them; classes and functions are nobody's."""
    seen: dict[int, Any] = {}
    todo = [root]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, CODE):
            continue
        seen[id(each)] = each
        todo += gc.get_referents(each)
    return len(seen)


@pytest.mark.long
@pytest.mark.promise("R1")
@pytest.mark.parametrize(("name", "hours"), [("flapping", 24), ("garbage", 24), ("reboots", 4)])
def test_host_and_reader_keep_no_more_after_all_of_it_than_after_a_quarter(name: str, hours: int) -> None:
    """What does not grow by the day does not grow by the year; the keeper's year is in tests/test_modem_random.py."""
    pole, counts = after(name, is_cold=False), []
    for _ in range(4):
        pole.lived(hours * 900.0)
        pole.told.clear()
        pole.radio.clear()
        counts.append(held_by(pole.host))
    assert counts[-1] <= counts[0] + 50 and max(counts) < 5_000, counts
