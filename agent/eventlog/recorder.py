"""Who writes the event log: the loop hands over what has happened, a thread makes bytes of it and files.

What is handed over are frozen values, so the loop only appends to a queue. A thread that cannot follow loses events,
counted; whatever comes after a gap begins with the whole station, so it can be replayed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Thread
from typing import Any

from agent.effects import Effect
from agent.eventlog.entries import Beginning, Header, Pseudonyms, Step, Writer, block, is_urgent
from agent.eventlog.segments import Segments
from agent.events import Event
from agent.station import Station

QUEUE_MAX = 5_000
BLOCK_STEPS = 500  # a block has no more
URGENT_S = 15.0  # so long waits what somebody will ask about
PATIENT_S = 600.0  # so long a moving meter, and time that passes
LOOK_S = 2.0


class Recorder:
    """`began` and `stepped` are called by the loop; everything else is the thread's, or a test's that has none."""

    def __init__(
        self, segments: Segments, key: bytes, header: Header, clock: Callable[[], float], log: Callable[[str], None]
    ) -> None:
        self.written_b = self.blocks = 0
        self._segments, self.pseudonyms, self._header = segments, Pseudonyms(key), header
        self._clock, self._log = clock, log
        self._queue: deque[Step | int] = deque()  # a number: so many events are missing here
        self._lost = 0  # since the queue was full; the loop's
        self._gap = 0  # events that are in no block, before the next one
        self._steps: list[Step] = []  # of the next block
        self._due_at = 0.0  # it is written then
        self._problem = ""
        self._ended, self._asked, self._settled = Flag(), Flag(), Flag()
        self._thread: Thread | None = None

    # -- the loop's side

    def began(self, beginning: Beginning, effects: Sequence[Effect], now: float) -> None:
        self._queue.append(Step(None, beginning, now, effects))

    def stepped(self, before: Station, event: Event, now: float, effects: Sequence[Effect]) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self._lost += 1
            return
        if self._lost:
            self._queue.append(self._lost)
            self._lost = 0
        self._queue.append(Step(before, event, now, effects))

    def start(self) -> None:
        self._thread = Thread(target=self._run, name="eventlog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What waits is written, the file synced."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self.pump(self._clock(), is_end=True)
        self._segments.end()

    def settle(self, timeout_s: float) -> bool:
        """From another thread, for whoever reads the files next: whether all that has happened before is in them."""
        self._settled.clear()
        self._asked.set()
        return self._settled.wait(timeout_s)

    # -- the thread's side

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                is_asked = self._asked.is_set()
                self._asked.clear()
                self.pump(self._clock(), is_end=is_asked)
                if is_asked:
                    self._settled.set()
            except Exception as error:  # a bug of ours: the log ends, the station goes on
                self._log(f"alarm: the event log ends with this run, which goes on: {error!r}")
                self._steps.clear()
                return self._drain()
        return None

    def _drain(self) -> None:
        """Nobody writes any more; the queue must not stay full of old stations."""
        while not self._ended.wait(LOOK_S):
            self._queue.clear()
        self._queue.clear()

    def pump(self, now: float, *, is_end: bool = False) -> None:
        """Take what has come, write what is due."""
        while self._queue:
            match self._queue.popleft():
                case int(lost):
                    self._log(f"{lost} events are not in the event log: this machine is too slow for it")
                    self._write(now)
                    self._gap += lost
                case step:
                    self._take(step, now)
        if self._steps and (is_end or now >= self._due_at):
            self._write(now)

    def _take(self, step: Step, now: float) -> None:
        due_at = step.now + (URGENT_S if is_urgent(step) else PATIENT_S)
        self._due_at = min(self._due_at, due_at) if self._steps else due_at
        self._steps.append(step)
        if len(self._steps) >= BLOCK_STEPS:
            self._write(now)

    def _write(self, now: float) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        if self._segments.is_begun and self._segments.is_full(0, now):
            self._segments.end()
        data = self._block(steps)
        if self._segments.append(data, now):
            self._gap, self._problem = 0, ""
            self.written_b, self.blocks = self.written_b + len(data), self.blocks + 1
            return
        self._gap += len(steps)
        if self._segments.problem != self._problem:
            self._problem = self._segments.problem
            self._log(f"the event log loses events: {self._problem}")

    def _block(self, steps: Sequence[Step]) -> bytes:
        writer = Writer(self.pseudonyms)
        rows: list[Any] = []
        if not self._segments.is_begun:
            rows.append(writer.header(self._header))
        if self._gap:
            rows.append(writer.missing(self._gap))
        first = steps[0]
        if rows and first.before is not None:
            rows.append(writer.snapshot(first.before, first.now))
        return block([*rows, *map(writer.step, steps)])
