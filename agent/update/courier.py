"""Brings an ordered build: the hands of agent/update/air.py, on the thread of the update service.

One attempt at a time runs in a thread of its own, which may hang in the network; whatever it wants of the engine is
done here, on the engine's one thread, a piece at a time. What must survive lies in two files beside the slots: the
order with all that has come of it, and the head of its build. Each may be lost: then bytes are fetched again, no more.
"""

import random
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from agent.files import DISK, Files, put
from agent.update import air, build, health, orders
from agent.update.air import End, Next, Outcome, Place, Task
from agent.update.download import Attempt, Job, Known, Stop, Wanted
from agent.update.keyring import Trust
from agent.update.orders import State, Wish
from agent.update.refusal import Refused

ORDER, HEAD = "order", "order.head"
SAVE_B = 1 << 20  # so much may be spent without a word on the disk
TELL_S = 10.0  # progress in bytes is told at most so often
LOOK_S = 5.0  # at the boot state, while something is on trial
DEAF_S = 60.0  # an agent that has not heard by then that it is to end
HEAD_FILE_MAX_B = 1 << 20


class EngineLike(Protocol):
    """agent/update/engine.py Engine, as far as it matters here."""

    def status(self) -> Any: ...
    def trust(self) -> Trust: ...
    def begin(self, head_bytes: bytes) -> Any: ...
    def put(self, digest: bytes, stored: bytes) -> None: ...
    def finish(self) -> str: ...
    def activate(self, *, was_online: bool = False, waived: Sequence[str] = (), reason: str = "") -> Any: ...
    def roll_back(self, reason: str) -> Any: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Restart:
    """That the agent is to end once, as agent/update/orders.py State says it, and until when it may overhear that."""

    name: str = ""
    how: str = ""
    why: str = ""
    until: float = inf


class Elsewhere:
    """The engine, for the attempt's thread: each call is done on the service's, and waited for."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._is_closed = False

    def call(self, what: Callable[[], Any]) -> Any:
        """On the attempt's thread."""
        future: Future[Any] = Future()
        self._calls.put((future, what))
        self._wake()
        if self._is_closed:
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise OSError("the update service ends") from None

    def work_off(self) -> None:
        """On the service's thread."""
        while True:
            try:
                future, what = self._calls.get_nowait()
            except Empty:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(what())
            except Exception as error:
                future.set_exception(error)

    def close(self) -> None:
        self._is_closed = True
        while True:
            try:
                self._calls.get_nowait()[0].cancel()
            except Empty:
                return


class Courier:
    """`context` makes the TLS context anew for each attempt, since the operator's root may be another by then; `clock`
    is monotonic; `wake` is called from the attempt's thread when due() has something to do; `vitals`: what the agent
    tells of itself, if it runs; `fresh`: the engine is about to judge a build, by what the station is now;
    `start_anew`: root is to start the agent anew, which has not heard that it is to end (OSError)."""

    def __init__(
        self, root: Path, engine: EngineLike, context: Callable[[], ssl.SSLContext], *, clock: Callable[[], float],
        chance: random.Random, wake: Callable[[], None] = lambda: None,
        vitals: Callable[[], health.Facts | None] = lambda: None, fresh: Callable[[], None] = lambda: None,
        start_anew: Callable[[], None] = lambda: None, files: Files = DISK, log: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._root, self._engine, self._context, self._files = root, engine, context, files
        self._clock, self._chance, self._wake, self._log = clock, chance, wake, log
        self._vitals, self._fresh, self._start_anew = vitals, fresh, start_anew
        self._wish = Wish()
        self._attempt: Attempt | None = None
        self._thread: Thread | None = None
        self._stop = Stop()
        self._hands = Elsewhere(wake)
        self._over: SimpleQueue[tuple[Attempt, Outcome]] = SimpleQueue()
        self._is_begun = False  # the engine has a slot open for us
        self._saved_b = 0  # spent, as saved
        self._looked_at = -LOOK_S
        self._told, self._told_at = State(), -TELL_S
        self._restart = Restart()
        self._is_aside = False  # an engineer flashes
        self._is_told = False  # the agent has spoken since our start
        self._said: SimpleQueue[Callable[[], None]] = SimpleQueue()  # from other threads
        self.task = air.load(read(root / ORDER))
        self._head = headed(read(root / HEAD), self.task)

    # -- what the service calls ---------------------------------------------------------------------------------------

    def wish(self, wish: Wish) -> None:
        """The agent's newest word, for due(). Without one, after a start, nothing goes on: it is the agent that knows
        the hour."""
        self._wish, self._is_told = wish, True

    def _obey(self) -> None:
        if self._wish.restarted == self._restart.name:
            self._restart = Restart()
        before, task = self.task, air.wished(self.task, self._wish)
        if task is before or not self._is_told:
            return
        self._halt()
        if before is not None:
            self._called_off(before)
        self._head = b""
        self._files.remove(self._root / HEAD)
        self._keep(task)

    def due(self, now: float) -> None:
        """Call after wake(), after a wish, and when next_deadline() has come."""
        while not self._said.empty():
            self._said.get()()
        self._obey()
        self._hands.work_off()
        self._settle_attempt(now)
        self._look(now)
        self._insist(now)
        step, _ = air.next_step(self.task, self._wish, now)
        if self._thread is not None:
            if step is not Next.FETCH or self._is_aside:
                self._stop.set()
            return
        if self._is_aside:
            return
        match step:
            case Next.FETCH:
                self._fetch()
            case Next.ACTIVATE:
                self._activate()

    def next_deadline(self) -> float:
        now = self._clock()
        step, due = air.next_step(self.task, self._wish, now)
        if step is not Next.REST and self._thread is None and not self._is_aside:
            return now
        is_watched = self.task is not None and self.task.progress in (orders.ACTIVATED, orders.TRIAL)
        return min(due, self._restart.until, self._looked_at + LOOK_S if is_watched else inf)

    def state(self, now: float) -> State | None:
        """What the agent is to be told now; None: nothing that it does not know. After a connection: news()."""
        said = self._saying()
        is_bytes_only = replace(said, received_b=self._told.received_b) == self._told
        if said == self._told or (is_bytes_only and now < self._told_at + TELL_S):
            return None
        self._told, self._told_at = said, now
        return said

    def news(self) -> State:
        """The whole of it, for an agent that has just come."""
        self._told = self._saying()
        return self._told

    def _saying(self) -> State:
        asked = self._restart
        return replace(air.told(self.task), restart_id=asked.name, restart=asked.how, restart_why=asked.why)

    def ask_restart(self, how: str, why: str) -> None:
        """The agent is to end, and systemd to start what the launcher chooses. It is asked until it has
        heard; one that never hears is ended by root. From any thread."""
        assert how in orders.HOW, how
        name = f"{self._chance.getrandbits(64):016x}"
        asked = Restart(name, how, why[: orders.TEXT_MAX], self._clock() + DEAF_S)
        self._said.put(lambda: setattr(self, "_restart", asked))
        self._wake()

    def _insist(self, now: float) -> None:
        """An agent that has been told, and has not heard, hangs or is of a build that does not listen."""
        asked = self._restart
        if now < asked.until:
            return
        found = self._vitals()
        if asked.how == "idle" and found is not None and found.has_session:
            self._restart = replace(asked, until=now + DEAF_S)
            return
        self._restart = Restart()
        self._log(f"the agent does not hear that it is to end ({asked.why}): it is started anew")
        try:
            self._start_anew()
        except OSError as error:
            self._log(f"it cannot be started anew: {error}")

    def connected(self) -> None:
        """An agent has come, perhaps by another build."""
        self._looked_at = -LOOK_S

    def stand_aside(self, is_aside: bool) -> None:
        """An engineer at the station is first: while he flashes nothing is fetched for the cloud."""
        if is_aside != self._is_aside:
            self._is_aside, self._is_begun = is_aside, False
            self._stop.set()

    def overruled(self, why: str) -> None:
        """An engineer has staged another build: the order is over, and the cloud hears why. From any thread."""
        self._said.put(lambda: self._overrule(why))
        self._wake()

    def _overrule(self, why: str) -> None:
        if self.task is not None and self.task.progress not in air.OVER:
            self._halt()
            self._keep(air.failed(self.task, "busy", why))

    def close(self) -> None:
        self._halt()

    # -- an attempt ---------------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        task = self.task
        assert task is not None and self._thread is None
        left_b = air.budget_b(task) - task.spent_b
        if left_b <= 0:
            return self._ended(Outcome(End.BUDGET))
        try:
            context = self._context()
        except OSError as error:
            return self._ended(Outcome(End.LINK, why=f"the operator's CA cannot be read: {error.strerror or error}"))
        self._keep(replace(task, progress=orders.DOWNLOADING))
        self._stop, self._hands = Stop(), Elsewhere(self._wake)
        known = Known(task.etag, task.size_b)
        hands = ForAttempt(self, self._hands)
        job = Job(
            task.order.url, hands, context, left_b, self._head, known, is_pinned=task.is_pinned, is_new=not task.build
        )  # fmt: skip
        attempt = self._attempt = Attempt(job, self._stop, self._clock)
        self._thread = Thread(target=self._run, args=(attempt,), name="courier", daemon=True)
        self._thread.start()

    def _run(self, attempt: Attempt) -> None:
        self._over.put((attempt, attempt.run()))
        self._wake()

    def _settle_attempt(self, now: float) -> None:
        try:
            attempt, outcome = self._over.get_nowait()
        except Empty:
            return
        if attempt is not self._attempt or self.task is None:  # of an order that was called off
            return
        self._attempt = self._thread = None
        if attempt.taker is not None and not attempt.taker.is_begun:
            self._head = attempt.taker.head
        known = attempt.known
        if outcome.code == "changed" or outcome.end is End.LIE:
            self._head = b""  # begun anew; it may be the same build, and then all that has come of it counts
            known = Known()
        is_pinned = self.task.is_pinned and not (outcome.code == "changed" and self.task.build)
        self.task = replace(self.task, etag=known.etag, size_b=known.size_b, is_pinned=is_pinned)
        if outcome.end is End.DONE:
            outcome = self._finish(outcome)
        self._ended(outcome, now)

    def _finish(self, outcome: Outcome) -> Outcome:
        """All of it is here: read back, and staged."""
        assert self.task is not None
        if self.task.progress != orders.DOWNLOADING:
            return outcome  # it was here already
        try:
            self._engine.finish()
        except Refused as refused:
            end = End.LIE if refused.code == "verify" else End.REFUSED
            return replace(outcome, end=end, got_b=0, code=refused.code, why=refused.sentence)
        self.task = replace(self.task, progress=orders.STAGED, received_b=self.task.wanted_b)
        self._is_begun, self._looked_at = False, -LOOK_S
        return outcome

    def _ended(self, outcome: Outcome, now: float | None = None) -> None:
        assert self.task is not None
        now = self._clock() if now is None else now
        if outcome.end not in (End.DONE, End.STOPPED):
            self._log(f"order {self.task.order.name}: {outcome.end}: {outcome.why}")
        self._keep(air.attempted(self.task, outcome, now, self._chance.random()))
        if self.task.progress == orders.FAILED:
            self._give_up_slot()

    def _give_up_slot(self) -> None:
        """The next flasher finds it free; what has come stays for him."""
        if self._is_begun:
            self._is_begun = False
            self._engine.abandon()

    def begin(self, head: bytes) -> Sequence[Wanted]:
        """What the engine wants of this build, by its place in the file. Refused."""
        assert self.task is not None
        found = build.load_head(head, self._engine.trust())
        if not found.is_whole:
            raise Refused("format", "the head of this build lacks an index: publish the file as it was built")
        self._fresh()
        plan = self._engine.begin(head)
        places = build.pieces_of(found)
        wanted = [Wanted(len(head) + places[piece.digest][0], piece.stored_b, piece.digest) for piece in plan.wanted]
        task = replace(self.task, build=found.digest.hex(), version=found.version)
        self._is_begun, self._looked_at = not plan.held, -LOOK_S
        if plan.held:
            task = replace(task, progress=orders.STAGED, received_b=0, wanted_b=0)
        else:
            still_b = sum(each.size_b for each in wanted)
            whole_b = max(task.wanted_b if task.build == self.task.build else 0, still_b)
            task = replace(task, wanted_b=whole_b, received_b=whole_b - still_b)
        if head != self._head:
            self._head = head
            put(self._root / HEAD, head, files=self._files)
        self._keep(task)
        return wanted

    def put(self, digest: bytes, stored: bytes) -> None:
        assert self.task is not None
        self._engine.put(digest, stored)
        self.task = replace(self.task, received_b=self.task.received_b + len(stored))
        spent_b = self.task.spent_b + (self._attempt.spent_b if self._attempt else 0)
        if spent_b >= self._saved_b + SAVE_B:
            self._saved_b = spent_b
            self._write(replace(self.task, spent_b=spent_b))

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _activate(self) -> None:
        """First what is about to happen, then it happens: after a cut in between it is asked for again."""
        assert self.task is not None
        number = self._engine.status().state.number
        self._keep(replace(self.task, progress=orders.ACTIVATED, number=number))
        try:
            self._fresh()
            said = f"order {self.task.order.name}: every port is shut"
            found = self._vitals()
            is_online = found is not None and found.broker  # then the new build must reach the cloud, too
            self._engine.activate(was_online=is_online, waived=("session",), reason=said)
        except Refused as refused:
            self._keep(air.failed(self.task, refused.code, refused.sentence))

    def _called_off(self, task: Task) -> None:
        """What of the old order could still happen does not."""
        try:
            self._give_up_slot()
            if task.progress not in (orders.STAGED, orders.ACTIVATED):
                return
            where, _ = air.place(self._engine.status(), task.build)
            if where is Place.ACTIVATED:
                self._engine.roll_back("called off before it was begun")
            if where in (Place.ACTIVATED, Place.STAGED):
                self._engine.abandon()
        except Refused as refused:
            self._log(f"order {task.order.name} is called off, but {refused.sentence}")

    def _look(self, now: float) -> None:
        """Where the boot state has the build: launcher and health decide without us."""
        task = self.task
        if task is None or task.progress not in air.PLACED or self._thread is not None:
            return
        if now < self._looked_at + LOOK_S:
            return
        self._looked_at = now
        status = self._engine.status()
        where, reason = air.place(status, task.build)
        self._keep(air.placed(task, where, status.state.number, reason))

    def _halt(self) -> None:
        """No attempt runs any more, and nothing of it comes."""
        self._stop.set()
        self._hands.close()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        self._thread = self._attempt = None

    def _keep(self, task: Task | None) -> None:
        before, self.task = self.task, task
        if task is None:
            self._files.remove(self._root / ORDER)
        elif before is None or replace(before, not_before=0.0) != replace(task, not_before=0.0):
            self._write(task)

    def _write(self, task: Task) -> None:
        self._saved_b = task.spent_b
        try:
            put(self._root / ORDER, air.dump(task), files=self._files)
        except OSError as error:
            self._log(f"the order is not on the disk: {error.strerror}")


class ForAttempt:
    """What an attempt may ask for, from its thread."""

    def __init__(self, courier: Courier, hands: Elsewhere) -> None:
        self._courier, self._hands = courier, hands

    def begin(self, head: bytes) -> Sequence[Wanted]:
        wanted: Sequence[Wanted] = self._hands.call(lambda: self._courier.begin(head))
        return wanted

    def put(self, digest: bytes, stored: bytes) -> None:
        self._hands.call(lambda: self._courier.put(digest, stored))


def headed(head: bytes, task: Task | None) -> bytes:
    """The head, if it is that of the build which the order has come to; else it is of an order before, whose end a
    power cut has undone."""
    with suppress(Refused):
        if task is not None and build.load_head(head, None).digest.hex() == task.build:
            return head
    return b""


def read(path: Path) -> bytes:
    """b"": it is not there, or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_FILE_MAX_B + 1)
    except OSError:
        return b""
