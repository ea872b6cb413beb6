"""When an ordered build is fetched, finished and begun: facts in, the next thing to do out. Pure.

The agent says what may be done (the time of day, the plan, who charges); here is how a download lives with a bad
network for days: what an attempt has brought is kept, waits grow, and everything that could go on for ever has an end.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import inf
from typing import Any

from agent.update import orders
from agent.update.orders import Order, State, Wish

FIRST_WAIT_S, WAIT_MAX_S = 10.0, 3_600.0  # after an attempt that brought nothing, doubled each time
BUSY_S = 60.0  # another flasher is at work
REFUSALS_MAX = 20  # in a row: a server that says no will not say yes
LIES_MAX = 3  # in a row: bytes that are not what was signed
BUDGET_FIRST_B, BUDGET_FACTOR = 8 << 20, 3  # without a budget of the cloud's: so much before the build's size is known
RETRY_AFTER_MAX_S = 86_400.0


class End(StrEnum):
    """How an attempt has ended."""

    DONE = "done"  # nothing is wanted any more
    STOPPED = "stopped"  # by us
    LINK = "link"  # the network, or a server that fell silent
    REFUSAL = "refusal"  # the server has said no
    LIE = "lie"  # it sends something else than was signed
    BUDGET = "budget"
    BUSY = "busy"  # another flasher has the slot
    REFUSED = "refused"  # this station must not have this build


@dataclass(frozen=True, slots=True)
class Outcome:
    """`got_b`: bytes that were new and right."""

    end: End
    got_b: int = 0
    spent_b: int = 0
    code: str = ""
    why: str = ""
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """An order and what has come of it; all but `not_before` survives a power cut."""

    order: Order
    progress: str = orders.WAITING
    build: str = ""  # digest of its manifest, once it was believed
    version: str = ""
    received_b: int = 0
    wanted_b: int = 0
    spent_b: int = 0
    failures: int = 0  # attempts in a row that have brought nothing
    refusals: int = 0  # of them those that the server has ended by saying no
    lies: int = 0
    code: str = ""
    why: str = ""
    number: int = -1  # of the boot state when its trial was begun; -1: it was not
    etag: str = ""  # what the server calls the file
    size_b: int = 0  # of the file, as the server says
    is_pinned: bool = True  # False: its name for the file changes, and has no meaning
    not_before: float = 0.0  # monotonic


class Next(StrEnum):
    REST = "rest"
    FETCH = "fetch"
    ACTIVATE = "activate"


class Place(StrEnum):
    """Where the build of an order is on this station, by the boot state."""

    NOWHERE = "nowhere"
    STAGED = "staged"
    ACTIVATED = "activated"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled back"


OVER = (orders.CONFIRMED, orders.FAILED, orders.ROLLED_BACK)


def next_step(task: Task | None, wish: Wish, now: float) -> tuple[Next, float]:
    """What to do, and else when to ask again."""
    if task is None or task.progress in OVER:
        return Next.REST, inf
    if task.progress == orders.STAGED:
        return (Next.ACTIVATE if wish.install else Next.REST), inf
    if task.progress in (orders.ACTIVATED, orders.TRIAL):
        return Next.REST, inf
    if not wish.download:
        return Next.REST, inf
    if now < task.not_before:
        return Next.REST, task.not_before
    return Next.FETCH, inf


def budget_b(task: Task) -> int:
    """All that may be spent on it: the cloud's word, or enough for a bad network and no more."""
    if task.order.budget_b is not None:
        return task.order.budget_b
    return BUDGET_FIRST_B + BUDGET_FACTOR * task.wanted_b


def wished(task: Task | None, wish: Wish) -> Task | None:
    """The order that counts now: a new name is a new order, and none calls the old one off."""
    if wish.order is None:
        return None
    if task is None or task.order.name != wish.order.name:
        return Task(wish.order)
    return task


def failed(task: Task, code: str, why: str) -> Task:
    return replace(task, progress=orders.FAILED, code=code, why=why[: orders.TEXT_MAX])


def attempted(task: Task, outcome: Outcome, now: float, chance: float) -> Task:
    """What an attempt has come to. `chance` in 0..1, so that a fleet does not knock at the same instant."""
    task = replace(task, spent_b=task.spent_b + outcome.spent_b)
    match outcome.end:
        case End.DONE | End.STOPPED:
            return replace(task, not_before=now)
        case End.REFUSED:
            return failed(task, outcome.code, outcome.why)
        case End.BUDGET:
            said = f"the data budget of {budget_b(task)} bytes is used up: order it again with a greater one"
            return failed(task, "budget", said)
        case End.BUSY:
            return replace(task, not_before=now + BUSY_S)
    task = counted(task, outcome)
    if (why := is_enough(task)) is not None:
        code = outcome.code if outcome.end is End.LIE and outcome.code else "link"
        return failed(task, code, f"{why}: {outcome.why}")
    return replace(task, not_before=now + wait_s(task, outcome, chance))


def counted(task: Task, outcome: Outcome) -> Task:
    """An attempt that has brought something was no failure, however it ended."""
    if outcome.got_b:
        return replace(task, failures=0, refusals=0, lies=0)
    return replace(
        task,
        failures=task.failures + 1,
        refusals=task.refusals + 1 if outcome.end is End.REFUSAL else 0,
        lies=task.lies + (outcome.end is End.LIE),
    )


def is_enough(task: Task) -> str | None:
    """Why nothing more is tried. A bad network alone is never a reason: the agent gives up after a month."""
    if task.lies >= LIES_MAX:
        return f"{task.lies} attempts brought something else than was signed"
    if task.order.retries is not None and task.failures > task.order.retries:
        return f"{task.failures} attempts in a row brought nothing"
    if task.order.retries is None and task.refusals >= REFUSALS_MAX:
        return f"the server has said no {task.refusals} times"
    return None


def wait_s(task: Task, outcome: Outcome, chance: float) -> float:
    """At least what the server asks for; else what the cloud has said, or a growing and random time."""
    least_s = min(outcome.retry_after_s, RETRY_AFTER_MAX_S)
    if task.order.retry_interval_s is not None:
        return max(least_s, task.order.retry_interval_s * (1 + chance / 10))
    doubled_s = min(WAIT_MAX_S, FIRST_WAIT_S * 2.0 ** min(max(task.failures - 1, 0), 12))
    return least_s + doubled_s * (0.5 + chance / 2)


PLACED = (orders.STAGED, orders.ACTIVATED, orders.TRIAL)  # from here on the boot state says how it goes on


def placed(task: Task, place: Place, number: int, reason: str = "") -> Task:
    """What the boot state says of its build; `number` is that state's. What an earlier trial of the same build came to
    does not count."""
    match place:
        case Place.ACTIVATED:
            return replace(task, progress=orders.ACTIVATED)
        case Place.TRIAL:
            return replace(task, progress=orders.TRIAL)
        case Place.CONFIRMED:
            return replace(task, progress=orders.CONFIRMED)
    if task.progress == orders.STAGED:
        return task if place is not Place.NOWHERE else replace(task, progress=orders.WAITING)  # it was taken away
    if task.progress == orders.ACTIVATED and number <= task.number and place is not Place.NOWHERE:
        return replace(task, progress=orders.STAGED)  # the power was cut before it was begun
    why = reason or "its trial is over, and nobody knows why: the boot state was lost, or changed by hand"
    return replace(task, progress=orders.ROLLED_BACK, code="rolled-back", why=why[: orders.TEXT_MAX])


def place(status: Any, build: str) -> tuple[Place, str]:
    """Where the boot state (agent/update/engine.py Status) has this build, and why it was rolled back."""
    state = status.state
    for name, held in status.slots.items():
        if not build or held is None or held.build.hex() != build or not held.is_whole:
            continue
        if state.trial is not None and state.trial.slot == name:
            return (Place.TRIAL if status.running == name else Place.ACTIVATED), ""
        last = state.last
        if last is not None and last.slot == name and not last.is_confirmed and last.digest == state.slot(name).digest:
            return Place.ROLLED_BACK, last.reason
        if held.is_confirmed and state.default == name and status.running == name:
            return Place.CONFIRMED, ""
        return Place.STAGED, ""
    return Place.NOWHERE, ""


def told(task: Task | None) -> State:
    if task is None:
        return State()
    return State(
        task.order.name, task.progress, task.code, task.why, task.received_b, task.wanted_b,
        task.version[: orders.NAME_MAX],
    )  # fmt: skip


# -- what survives ----------------------------------------------------------------------------------------------------


def dump(task: Task) -> bytes:
    return json.dumps({name: value for name, value in asdict(task).items() if name != "not_before"}).encode()


def load(data: bytes) -> Task | None:
    """None: nothing that we have written; then there is no order, and the agent says it again."""
    try:
        table = json.loads(data)
        order = orders.read_order(table.pop("order"))
        return Task(order, **read_facts(table)) if order else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, orders.LineError):
        return None


def read_facts(table: Mapping[str, Any]) -> dict[str, Any]:
    """Those that this software knows, each of its kind."""
    out: dict[str, Any] = {}
    for name, plain in PLAIN.items():
        value = table.get(name, plain)
        if type(value) is not type(plain):
            raise TypeError(name)
        out[name] = value
    if out["progress"] not in orders.PROGRESS:
        raise ValueError("progress")
    return out


PLAIN = {name: value for name, value in asdict(Task(Order("x", "x"))).items() if name not in ("order", "not_before")}
