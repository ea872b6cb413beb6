"""The story of an order over the air: a build is ordered, fetched with a line that breaks, staged, tried and confirmed,
called off, ordered anew; and its judge (tests/durable_stories.py).

Boot state and slots are judged as in tests/durable_slots.py. Beyond that: an order that has come to its end stays so,
one that was called off does not come back, and whatever else a cut has left, the same order leads to the same build.
"""

import json
import os
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Self

from agent.update import air, courier, orders
from agent.update.air import End, Outcome
from agent.update.bootstate import SLOTS
from agent.update.courier import Courier
from agent.update.download import Job, Stop, Taker
from agent.update.engine import Engine
from agent.update.keyring import Trust
from agent.update.orders import Order, Wish
from agent.update.refusal import Refused
from tests import durable_slots
from tests.durability import Judge, Tree, plant, tree
from tests.durable_slots import Legal, Writer, built, is_chosen, judged, legal_states, opened, pick, whole_file
from tests.durable_store import planted, say

OURS = {"order", "over", "off"}  # what is said here besides the slots' promises
FIRST = 1  # the build that is there before
STEP_B = 1_500


@cache
def before() -> Tree:
    """A station with a build that was found healthy."""
    with TemporaryDirectory() as name:
        plant(Path(name), durable_slots.BEFORE)
        choice = Path(name).with_name("choice")
        engine = opened(Path(name), choice)
        for piece in engine.begin(built(FIRST)[0]).wanted:
            engine.put(piece.digest, built(FIRST)[1][piece.digest])
        engine.finish()
        engine.activate()
        pick(Path(name), "before")
        engine.confirm()
        engine.close()
        return {path: data for path, data in tree(Path(name)).items() if path != "log"}


class Line:
    """In the place of download.Attempt: a server that has every build, and a line that breaks after `left_b` bytes."""

    left_b = 10**9

    def __init__(self, job: Job, stop: Stop, clock: Callable[[], float]) -> None:
        self.job, self.known, self.spent_b = job, job.known, 0
        self.taker: Taker | None = None

    def run(self) -> Outcome:
        data = whole_file(int(self.job.url.rpartition("/")[2]))
        try:
            taker = self.taker = Taker(self.job.hands, self.job.head, is_new=self.job.is_new)
            while (span := taker.wants()) is not None:
                part = data[span.first : min(span.last + 1, span.first + STEP_B, span.first + self.left_b)]
                if not part:
                    return Outcome(End.LINK, taker.got_b, self.spent_b)
                taker.feed(span.first, part)
                self.spent_b += len(part)
                self.left_b -= len(part)
        except Refused as refused:
            return Outcome(End.REFUSED, 0, self.spent_b, refused.code, refused.sentence)
        return Outcome(End.DONE, taker.got_b, self.spent_b)


class Lab:
    """The updater's part of a station: courier and engine, and an agent that lets them do everything."""

    def __init__(self, root: Path, engine: Any) -> None:
        self.now, self.woken = 1_000.0, Event()
        vars(courier)["Attempt"] = Line
        self.courier = Courier(
            root, engine, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), clock=lambda: self.now,
            chance=random.Random(1), wake=self.woken.set,
        )  # fmt: skip

    def until(self, progress: str, wish: Wish) -> Self:
        self.courier.wish(wish)
        for _ in range(200):
            self.woken.clear()
            self.courier.due(self.now)
            if self.progress == progress:
                return self
            if self.courier._thread is not None:
                assert self.woken.wait(20), "nothing happens any more"
            else:
                self.now += 10_000.0
        raise AssertionError(f"{self.courier.task} and not {progress}")

    @property
    def progress(self) -> str:
        return self.courier.task.progress if self.courier.task else orders.NONE


def order(number: int) -> Order:
    return Order(f"order {number}", f"https://builds.example.net/{number}")


# -- the writer -------------------------------------------------------------------------------------------------------


class Told:
    """The engine, which says what it is asked for before it does it."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._engine = writer, writer.engine
        self._number = 0

    def status(self) -> Any:
        return self._engine.status()

    def trust(self) -> Trust:
        return self._engine.trust()

    def begin(self, head: bytes) -> Any:
        self._number = next(number for number in range(1, 99) if built(number)[0] == head)
        legal = self._writer.legal
        is_here = self._number in (legal.default, legal.spare)
        return self._writer.step(legal if is_here else legal.begun(), lambda: self._engine.begin(head))

    def put(self, digest: bytes, stored: bytes) -> None:
        self._engine.put(digest, stored)

    def finish(self) -> str:
        slot: str = self._writer.step(self._writer.legal.staged(self._number), self._engine.finish)
        return slot

    def activate(self, **how: Any) -> Any:
        return self._writer.step(self._writer.legal.activated(), lambda: self._engine.activate(**how))

    def roll_back(self, reason: str) -> Any:
        return self._writer.step(self._writer.legal.rolled_back(), lambda: self._engine.roll_back(reason))

    def abandon(self) -> None:
        self._writer.abandon()


def play_air(folder: Path, life: int) -> None:
    """Life 0: an order, a line that breaks, the trial, the confirmation. Life 1: one that is called off when it is
    staged, and one that is called off in its middle. The others: whatever comes."""
    writer = Writer(folder, f"boot {life}")
    rng = random.Random(life)
    try:
        writer.start()
        lab = Lab(folder, Told(writer))
        number = max(writer.legal.default, writer.legal.spare) + 1
        if life == 0:
            fetch(lab, number, cuts=1)
            switch(writer, lab, number)
        elif life == 1:
            fetch(lab, number, cuts=1)
            call_off(lab)
            fetch(lab, number + 1, cuts=1, is_whole=False)
            call_off(lab)
        else:
            for each in range(number, number + 2):
                is_whole = rng.random() < 0.7
                fetch(lab, each, cuts=rng.randrange(3), is_whole=is_whole)
                if is_whole and rng.random() < 0.7:
                    switch(writer, lab, each)
                elif rng.random() < 0.5:
                    call_off(lab)
    finally:
        with suppress(FileNotFoundError):
            writer.choice.unlink()
    os._exit(0)  # as the power ends it


def fetch(lab: Lab, number: int, cuts: int, is_whole: bool = True) -> None:
    say(order=number)
    for _ in range(cuts):
        Line.left_b = 2_500
        lab.courier.wish(Wish(order(number), download=True))
        lab.courier.due(lab.now)
        while lab.courier._thread is not None:
            assert lab.woken.wait(20)
            lab.woken.clear()
            lab.courier.due(lab.now)
    Line.left_b = 10**9
    if is_whole:
        lab.until(orders.STAGED, Wish(order(number), download=True))


def switch(writer: Writer, lab: Lab, number: int) -> None:
    lab.until(orders.ACTIVATED, Wish(order(number), install=True))
    writer.start()
    lab.until(orders.TRIAL, Wish(order(number)))
    writer.confirm()
    lab.until(orders.CONFIRMED, Wish(order(number)))
    say(over=number)


def call_off(lab: Lab) -> None:
    lab.until(orders.NONE, Wish())
    say(off=True)


# -- the judge --------------------------------------------------------------------------------------------------------


def air_judge() -> Judge:
    """Worlds whose slots are the same differ in the order alone."""
    seen: dict[bytes, str] = {}

    def judge(files: Tree, said: Sequence[str]) -> str:
        legal = legal_states([line for line in said if not OURS & json.loads(line).keys()], Legal(FIRST))
        rest = {path: data for path, data in files.items() if path != "log" and not path.startswith(courier.ORDER)}
        key = sha256(repr((sorted(rest.items()), sorted(map(repr, legal)))).encode()).digest()
        if key not in seen:
            seen[key] = judged(rest, legal, is_thorough=False)
        return seen[key] or judged_order(files, said)

    return judge


def judged_order(files: Tree, said: Sequence[str]) -> str:
    if not (is_chosen(files) or (said and {"over", "off"} & json.loads(said[-1]).keys())):
        return ""
    with planted(files) as folder:
        choice = folder.with_name(f"{folder.name}.slot")
        try:
            return goes_on(folder, choice, [json.loads(line) for line in said])
        finally:
            choice.unlink(missing_ok=True)


def started(folder: Path, choice: Path, boot_id: str) -> str:
    made = pick(folder, boot_id)
    choice.write_text(f"{made.slot} {made.kind} {made.version}\n")
    return made.version


def goes_on(folder: Path, choice: Path, said: Sequence[dict[str, Any]]) -> str:
    started(folder, choice, "another boot")
    engine = opened(folder, choice)
    lab = Lab(folder, engine)
    last, task = said[-1] if said else {}, lab.courier.task
    number = [FIRST + 1, *(line["order"] for line in said if "order" in line)][-1]
    if "over" in last and (task is None or task.progress != orders.CONFIRMED):
        return f"the order is over and yet {task}"
    if "off" in last:
        lab.until(orders.NONE, Wish())
        if (state := engine.state).trial or any(state.slot(name).digest for name in SLOTS if name != state.default):
            return "the order was called off, and its build is there"
    return leads_to(folder, choice, engine, lab, number + ("over" in last or "off" in last))


def leads_to(folder: Path, choice: Path, engine: Engine, lab: Lab, number: int) -> str:
    """The agent says again what it has been ordered, and lets it be done."""
    Line.left_b = 10**9
    wish = Wish(order(number), download=True, install=True)
    for _ in range(60):
        lab.courier.wish(wish)
        lab.courier.due(lab.now)
        if lab.progress == orders.ACTIVATED:
            if started(folder, choice, "the next boot") != str(number):
                return f"{number} is not tried"
            lab.courier.connected()
        elif lab.progress == orders.TRIAL:
            engine.confirm()
            lab.courier.connected()
        elif lab.progress in air.OVER:
            break
        elif lab.courier._thread is not None:
            assert lab.woken.wait(20)
            lab.woken.clear()
        else:
            lab.now += 10_000.0
    state = engine.status()
    engine.close()
    held = state.slots.get(state.state.default)
    is_so = lab.progress == orders.CONFIRMED and held is not None and held.version == str(number)
    return "" if is_so else f"the order of {number} comes to {lab.courier.task}"
