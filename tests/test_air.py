"""When an ordered build is fetched: waits that grow, budgets that hold, everything with an end. Pure."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.update import air, orders
from agent.update.air import BUSY_S, LIES_MAX, REFUSALS_MAX, WAIT_MAX_S, End, Next, Outcome, Place, Task
from agent.update.bootstate import Ended, Slot, State, Trial
from agent.update.engine import Held, Status
from agent.update.orders import Order, Wish

ORDER = Order("c1", "https://x/1")
TASK = Task(ORDER, wanted_b=1_000_000)
MAY, MAY_NOT = Wish(ORDER, download=True), Wish(ORDER)


def after(task: Task, *ends: Outcome, now: float = 0.0, chance: float = 0.5) -> Task:
    for outcome in ends:
        task = air.attempted(task, outcome, now, chance)
    return task


BREAK = Outcome(End.LINK, spent_b=7_000, why="it broke")


def test_nothing_is_fetched_before_the_agent_says_so_nor_after_the_end() -> None:
    assert air.next_step(TASK, MAY, 0.0)[0] is Next.FETCH
    assert air.next_step(TASK, MAY_NOT, 0.0) == (Next.REST, float("inf"))
    for progress in (*air.OVER, orders.ACTIVATED, orders.TRIAL):
        assert air.next_step(replace(TASK, progress=progress), replace(MAY, install=True), 0.0)[0] is Next.REST
    assert air.next_step(None, MAY, 0.0)[0] is Next.REST


def test_a_staged_build_is_begun_when_the_agent_says_so_and_not_before() -> None:
    task = replace(TASK, progress=orders.STAGED)
    assert air.next_step(task, MAY, 0.0)[0] is Next.REST
    assert air.next_step(task, replace(MAY, install=True), 0.0)[0] is Next.ACTIVATE


def test_waits_grow_up_to_an_hour_and_a_bad_network_is_never_a_reason_to_give_up() -> None:
    task, waits = TASK, []
    for _ in range(1_000):
        task = after(task, replace(BREAK, spent_b=0))
        waits.append(task.not_before)
    assert task.progress == orders.WAITING
    assert waits == sorted(waits) and waits[0] < 10 and waits[-1] <= WAIT_MAX_S
    spread = {after(TASK, BREAK, BREAK, BREAK, chance=n / 10).not_before for n in range(11)}
    assert len(spread) == 11, "a fleet does not come back at one instant"


def test_an_attempt_that_has_brought_something_starts_the_count_anew() -> None:
    task = after(replace(TASK, order=replace(ORDER, retries=2)), BREAK, BREAK, replace(BREAK, got_b=1), BREAK, BREAK)
    assert task.progress == orders.WAITING and task.failures == 2
    assert after(task, BREAK).progress == orders.FAILED


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_the_clouds_retries_are_attempts_in_a_row_that_brought_nothing(retries: int) -> None:
    task = replace(TASK, order=replace(ORDER, retries=retries))
    for _ in range(retries):
        task = after(task, BREAK)
    assert task.progress != orders.FAILED
    assert after(task, BREAK).progress == orders.FAILED


def test_the_clouds_interval_and_the_servers_wish_are_kept() -> None:
    task = replace(TASK, order=replace(ORDER, retry_interval_s=100))
    assert 100 <= after(task, BREAK).not_before <= 110
    assert after(task, replace(BREAK, retry_after_s=500)).not_before >= 500
    assert after(TASK, replace(BREAK, retry_after_s=1e9)).not_before <= air.RETRY_AFTER_MAX_S + WAIT_MAX_S


def test_a_server_that_says_no_or_lies_is_left_in_the_end() -> None:
    no, lie = Outcome(End.REFUSAL, why="404"), Outcome(End.LIE, code="hash", why="spoilt")
    assert after(TASK, *[no] * (REFUSALS_MAX - 1)).progress == orders.WAITING
    assert after(TASK, *[no] * REFUSALS_MAX).code == "link"
    assert after(TASK, *[lie] * LIES_MAX).code == "hash"
    assert after(TASK, *[replace(lie, code="")] * LIES_MAX).code == "link"
    assert after(TASK, *[replace(no, code="changed")] * REFUSALS_MAX).code == "link"
    for end, most in ((no, REFUSALS_MAX), (lie, LIES_MAX)):
        task = after(TASK, *[end] * (most - 1), replace(end, got_b=1), *[end] * (most - 1))
        assert task.progress == orders.WAITING, "it has brought something in between"


def test_a_refused_build_is_over_at_once_and_a_taken_slot_is_waited_for() -> None:
    refused = after(TASK, Outcome(End.REFUSED, code="platform", why="for others"))
    assert (refused.progress, refused.code, refused.why) == (orders.FAILED, "platform", "for others")
    busy = after(TASK, Outcome(End.BUSY), now=5.0)
    assert busy.not_before == 5.0 + BUSY_S and busy.failures == 0


def test_a_budget_is_the_clouds_or_grows_with_the_build() -> None:
    assert air.budget_b(Task(ORDER)) == air.BUDGET_FIRST_B
    assert air.budget_b(TASK) == air.BUDGET_FIRST_B + 3_000_000
    assert air.budget_b(replace(TASK, order=replace(ORDER, budget_b=5))) == 5
    assert after(TASK, Outcome(End.BUDGET)).code == "budget"


def test_a_wait_is_waited_and_one_that_was_stopped_goes_on_at_once() -> None:
    task = after(TASK, BREAK, now=50.0)
    assert 50.0 < task.not_before < 70.0
    assert air.next_step(task, MAY, 50.0) == (Next.REST, task.not_before)
    assert air.next_step(task, MAY, task.not_before)[0] is Next.FETCH
    for end in (End.DONE, End.STOPPED):
        assert after(task, Outcome(end), now=55.0).not_before == 55.0


def test_another_name_is_another_order_and_none_calls_it_off() -> None:
    task = replace(TASK, spent_b=5)
    assert air.wished(task, MAY) is task and air.wished(task, MAY_NOT) is task
    other = air.wished(task, Wish(Order("c2", "https://x/2")))
    assert other == Task(Order("c2", "https://x/2"))
    assert air.wished(task, Wish()) is None and air.wished(None, Wish()) is None
    assert air.wished(None, MAY) == Task(ORDER)


def test_what_the_boot_state_says_counts_and_an_earlier_rollback_does_not() -> None:
    begun = replace(TASK, progress=orders.ACTIVATED, number=7)
    assert air.placed(begun, Place.TRIAL, 9).progress == orders.TRIAL
    assert air.placed(begun, Place.CONFIRMED, 9).progress == orders.CONFIRMED
    back = air.placed(begun, Place.ROLLED_BACK, 9, "not heard")
    assert (back.progress, back.code, back.why) == (orders.ROLLED_BACK, "rolled-back", "not heard")
    for place in (Place.STAGED, Place.ROLLED_BACK):
        again = air.placed(begun, place, 7, "long ago")
        assert (again.progress, again.why) == (orders.STAGED, ""), "cut before it was begun: it is begun again"
    staged = replace(TASK, progress=orders.STAGED)
    assert air.placed(staged, Place.ROLLED_BACK, 9, "long ago") == staged
    assert air.placed(staged, Place.NOWHERE, 9).progress == orders.WAITING


@given(st.sampled_from(air.PLACED), st.sampled_from(Place), st.integers(0, 9), st.integers(-1, 9))
def test_a_build_that_was_begun_comes_to_an_end_whatever_the_boot_state_says(
    progress: str, place: Place, number: int, begun: int
) -> None:
    task = air.placed(replace(TASK, progress=progress, number=begun), place, number)
    if progress != orders.STAGED and task.progress in (orders.ACTIVATED, orders.TRIAL):
        assert place in (Place.ACTIVATED, Place.TRIAL), "else it would be said to reboot for ever"
    assert (task.progress == orders.ROLLED_BACK) <= bool(task.why)


A, B = Slot("aa", is_confirmed=True), Slot("bb", is_confirmed=False)
RUNS_A = State(3, A, B, "a")
WHERE = [
    ("a", RUNS_A, Place.STAGED, ""),
    ("a", replace(RUNS_A, trial=Trial("b")), Place.ACTIVATED, ""),
    ("b", replace(RUNS_A, trial=Trial("b")), Place.TRIAL, ""),
    ("a", replace(RUNS_A, last=Ended("b", "bb", False, "not heard")), Place.ROLLED_BACK, "not heard"),
    ("a", replace(RUNS_A, last=Ended("b", "b0", False, "of another build")), Place.STAGED, ""),
    ("a", replace(RUNS_A, last=Ended("a", "bb", False, "of the other slot")), Place.STAGED, ""),
    ("b", replace(RUNS_A, b=replace(B, is_confirmed=True), last=Ended("b", "bb", True, "")), Place.STAGED, ""),
    ("b", replace(RUNS_A, b=replace(B, is_confirmed=True), default="b"), Place.CONFIRMED, ""),
    ("a", replace(RUNS_A, b=replace(B, is_confirmed=True), default="b"), Place.STAGED, ""),
    ("b", replace(RUNS_A, b=B, default="b"), Place.STAGED, ""),
    ("a", replace(RUNS_A, b=Slot()), Place.NOWHERE, ""),
]


@pytest.mark.parametrize(("running", "state", "place", "why"), WHERE)
def test_where_a_build_is_by_the_boot_state(running: str, state: State, place: Place, why: str) -> None:
    slots: dict[str, Held | None] = {name: held(name, state.slot(name)) for name in ("a", "b")}
    status = Status(running, state.trial is not None, state, slots, None, 1)
    assert air.place(status, b"build b".hex()) == (place, why)
    assert air.place(status, b"another".hex())[0] is Place.NOWHERE and air.place(status, "")[0] is Place.NOWHERE


def held(name: str, slot: Slot) -> Held:
    return Held(f"build {name}".encode(), "2.0.0", "c0ffee", 0, 1, slot.is_confirmed, is_whole=bool(slot.digest))


ORDERS = st.builds(
    Order, st.text(min_size=1, max_size=20), st.just("https://x"), st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9), st.none() | st.integers(1, 10**12),
)  # fmt: skip
TASKS = st.builds(
    Task, ORDERS, st.sampled_from(orders.PROGRESS), st.text(max_size=9), st.text(max_size=9),
    *[st.integers(0, 2**50)] * 6,
    st.text(max_size=9), st.text(max_size=9), st.integers(-1, 99), st.text(max_size=9), st.integers(0, 2**50),
    st.booleans(),
)  # fmt: skip


@given(TASKS)
def test_a_task_survives_the_disk(task: Task) -> None:
    assert air.load(air.dump(task)) == task


@given(TASKS, st.binary(max_size=50), st.integers(0, 500))
def test_a_damaged_one_is_no_order_and_nothing_worse(task: Task, noise: bytes, at: int) -> None:
    data = air.dump(task)
    air.load(data[:at] + noise + data[at:])
    assert air.load(data[:-1]) is None and air.load(noise + b"[") is None


OUTCOMES = st.builds(
    Outcome, st.sampled_from(list(End)), st.integers(0, 10**6), st.integers(0, 10**6),
    st.sampled_from(["", "hash", "key"]), st.text(max_size=20), st.floats(0, 1e9),
)  # fmt: skip


@given(TASKS, st.lists(OUTCOMES, max_size=30), st.floats(0, 1))
def test_whatever_attempts_come_to_the_next_one_is_within_a_day_and_an_hour(
    task: Task, outcomes: list[Outcome], chance: float
) -> None:
    for outcome in outcomes:
        if task.progress in air.OVER:
            return
        spent_b = task.spent_b
        task = air.attempted(task, outcome, 100.0, chance)
        assert task.spent_b == spent_b + outcome.spent_b
        assert 0 <= task.not_before <= 100.0 + 90_000
        orders.write(air.told(task))
