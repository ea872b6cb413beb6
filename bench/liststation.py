"""A station's process as bench/lists.py looks at it: everything that the agent has in memory, the real store and lists,
workers beside the loop as in agent/app.py, and taps at random times that are decided in the loop.

    python -m bench.liststation swaps FOLDER COUNT     takes FOLDER's lists, then its differences; prints Seen as JSON
    python -m bench.liststation ready FOLDER COUNT     takes the first list, and all parts of the last one but one
    python -m bench.liststation last FOLDER COUNT      says "now", and takes that part: to be killed
"""

import json
import os
import queue
import random
import resource
import sys
from array import array
from collections.abc import Callable, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import agent.app
import agent.ui.web  # noqa: F401 - the whole agent is in memory
from agent.authcache.listfile import KEY_B, open_list
from agent.authcache.lists import Lists, Made, Outcome, Plan, Status
from agent.clock import Clock, ClockSource
from agent.effects import Record, Stream
from agent.events import Link
from agent.loop import monotonic
from agent.policy.authorize import Accept, Question, decide
from agent.reporting import answer
from agent.settings import Settings
from agent.store import Committed, Store
from agent.uplink.commands import Command, ListReplaceRequested, SeenCommands, open_command, to_event
from bench.figure import resident_mb

STATION_ID = "S-1"
BOOT_ID = b"bench-01"
KEY = b"k" * KEY_B
WALL_S = 1_790_000_000.0
TAPS_PER_S = 200.0
LOOK_S = 0.05  # between two looks at the memory
LOOKUPS, FIRST = 10_000, 50
CHANGED, REMOVED = 250, 10  # cards in one difference; how many of them go
SETTINGS = Settings(station_id=STATION_ID)


def card(number: int) -> str:
    """Of seven bytes, as most are, in no order."""
    return f"04{number * 0x9E3779B97F4B % 2**48:012X}"


def changed(number: int, count: int) -> list[int]:
    """The numbers of the cards in this difference; the last REMOVED of them are taken off."""
    return [n % count for n in range(number * CHANGED, (number + 1) * CHANGED)]


def operator(folder: Path) -> dict[bytes, Ed25519PublicKey]:
    """The name of the file is the key's id."""
    (path,) = (folder / "operator").iterdir()
    return {bytes.fromhex(path.name): Ed25519PublicKey.from_public_bytes(path.read_bytes())}


Times = MutableSequence[float]  # an array: what is measured is this process's memory, too


@dataclass
class Swap:
    seconds: float  # from the last part's arrival to in force
    applied_s: float  # of them, in the loop: looked through, opened
    taps_s: Times  # from the tap to its decision, meanwhile
    queued_s: Times  # of each, at most: the loop was ready, and others had the processors
    earlier_taps_s: Times  # while the other parts came, one after the other
    parts_cpu_s: float  # ours, for those
    build_cpu_s: float  # the builder's
    builder_mb: float
    rss_mb: float  # ours, at most
    after_mb: float
    folder_b: int  # old, new and parts, before the old one is removed
    rest_b: int


@dataclass
class Seen:
    before_mb: float = 0.0
    swaps: list[Swap] = field(default_factory=list)
    idle_taps_s: Times = field(default_factory=list)
    changed_s: list[float] = field(default_factory=list)  # differences: from the read command to in force
    arrived_s: list[float] = field(default_factory=list)  # the same from the arrival of its bytes
    rewritten_s: list[float] = field(default_factory=list)  # those that made a new file
    lookups_s: dict[str, list[float]] = field(default_factory=dict)
    cold_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    read_b: int = 0


class Station:
    """What agent/shell.py does about a list."""

    def __init__(self, folder: Path, count: int) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._work, self._builds = ThreadPoolExecutor(1, "work"), ThreadPoolExecutor(1, "build")
        self.store = Store(folder / "station.db", BOOT_ID, self._stored, monotonic)
        facts = self.store.open().facts
        self.lists = Lists(folder / "lists", facts, KEY, monotonic())
        self._keys, self._seen = operator(folder), SeenCommands(facts)
        self.folder, self._count = folder / "lists", count
        self._random = random.Random(1)
        self._batch_id = 0
        self._clock = Clock(WALL_S, monotonic(), WALL_S, monotonic(), ClockSource.CLOUD)
        self._tap_due = self._look_due = float("inf")
        self._outcome: Outcome | None = None
        self.taps_s: Times = array("d")
        self.queued_s: Times = array("d")
        self._queued_s = 0.0
        self.rss_mb = self.builder_mb = self.opened_at = self.applied_s = 0.0
        self.folder_b = 0
        self.was_built = False

    def close(self) -> None:
        self._work.shutdown()
        self._builds.shutdown()
        self.store.close()

    # -- commands -----------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> Outcome:
        """Returns when the result of this command is on the disk and what it changes is in force."""
        self._outcome, self.was_built = None, False
        opened = partial(open_command, data, self._keys, STATION_ID, WALL_S, self._seen)
        self._elsewhere(opened, self._opened)
        while self._outcome is None:
            self._turn()
        return self._outcome

    def _opened(self, command: Any) -> None:
        assert isinstance(command, Command), command
        self.opened_at = perf_counter()
        wanted = to_event(command)
        assert isinstance(wanted, ListReplaceRequested), wanted
        plan = self.lists.plan(wanted.request, WALL_S, monotonic())
        if isinstance(plan, Plan):
            self._seen.begin(command.command_id)
            self._elsewhere(plan.build, partial(self._built, command.command_id), self._builds)
        else:
            self._done(command.command_id, plan)

    def _built(self, command_id: str, made: Made | Outcome) -> None:
        if isinstance(made, Outcome):
            return self._done(command_id, made)
        self.was_built = True
        self.folder_b = size_b(self.folder)
        began = perf_counter()
        outcome = self.lists.apply(made, WALL_S, monotonic())
        self.applied_s = perf_counter() - began
        return self._done(command_id, outcome)

    def _done(self, command_id: str, outcome: Outcome) -> None:
        assert outcome.status is Status.Accepted, outcome
        said = {"commandId": command_id, "status": "Done", "response": outcome.response or answer("Accepted")}
        record = Record(Stream.RESULTS, "CommandResult", said, monotonic(), WALL_S, ClockSource.CLOUD)
        self._batch_id += 1
        self._then = partial(self._committed, outcome)
        self.store.commit(self._batch_id, (record, *outcome.saves, self._seen.add(command_id)))

    def _committed(self, outcome: Outcome) -> None:
        if outcome.state:
            assert self.lists.committed() == outcome.state
        self._outcome = outcome

    def _stored(self, said: object) -> None:
        """In the store's thread."""
        assert isinstance(said, Committed), said
        if said.batch_id == self._batch_id:
            self._inbox.put(self._then)

    def _elsewhere(
        self, job: Callable[[], Any], then: Callable[[Any], None], where: ThreadPoolExecutor | None = None
    ) -> None:
        def run() -> None:
            try:
                happened = partial(then, job())
            except BaseException as error:  # it shall be seen in the loop
                happened = partial(raised, error)
            self._inbox.put(happened)

        (where or self._work).submit(run)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = monotonic()
        if now >= self._tap_due:
            return self._tap()
        if now >= self._look_due:
            return self._look()
        try:
            happened = self._inbox.get(timeout=min(1.0, self._tap_due - now, self._look_due - now))
        except queue.Empty:
            return None
        return happened()

    def tapping(self, *, on: bool) -> Times:
        """Seconds of the taps until now; then they begin anew, or end. So it is with looking at the memory."""
        taken, self.taps_s, self.queued_s = self.taps_s, array("d"), array("d")
        self._queued_s = queued_s()
        self.rss_mb = self.builder_mb = 0.0
        self._tap_due = self._look_due = monotonic() if on else float("inf")
        return taken

    def idle(self, seconds: float) -> None:
        until = monotonic() + seconds
        while monotonic() < until:
            self._turn()

    def _tap(self) -> None:
        """Half of them are on every list, half on none."""
        due, number = self._tap_due, self._random.randrange(2 * self._count)
        now, id_token = monotonic(), card(number)
        listed, cached = self.lists.lookup(id_token, now, WALL_S)
        age_s = WALL_S - (self.lists.state.synced_s or WALL_S)
        decision = decide(
            Question(id_token, SETTINGS, self._clock, Link.DOWN, listed=listed, list_age_s=age_s, cached=cached), now
        )
        self.taps_s.append(monotonic() - due)
        before_s, self._queued_s = self._queued_s, queued_s()
        self.queued_s.append(self._queued_s - before_s)
        assert isinstance(decision, Accept) == (number < self._count), (number, decision)
        self._tap_due = max(monotonic(), due + self._random.expovariate(TAPS_PER_S))

    def _look(self) -> None:
        self._look_due = monotonic() + LOOK_S
        self.rss_mb = max(self.rss_mb, resident_mb())
        for pid in children():
            self.builder_mb = max(self.builder_mb, peak_mb(pid))


def raised(error: BaseException) -> None:
    raise error


def queued_s() -> float:
    """How long this thread was ready to run so far, and did not: the machine had other work."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def size_b(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def children() -> list[str]:
    """Processes of ours, whichever thread has started them."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:  # the thread has ended, or the kernel was made without
            continue
    return found


def peak_mb(pid: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), 0.0)


# -- what it sees -----------------------------------------------------------------------------------------------------


def swaps(folder: Path, count: int) -> Seen:
    seen = Seen()
    with closing(Station(folder, count)) as station:
        first, *others = sorted((folder / "full").iterdir())
        for part in sorted(first.iterdir()):
            station.take(part.read_bytes())
        station.tapping(on=True)
        station.idle(1.0)
        seen.idle_taps_s = station.tapping(on=False)
        seen.before_mb = resident_mb()
        seen.swaps = [swapped(station, each) for each in others]
        changes = sorted((folder / "changes").iterdir())
        for change in changes:
            data = change.read_bytes()
            began = perf_counter()
            station.take(data)
            ended = perf_counter()
            if station.was_built:
                seen.rewritten_s.append(ended - began)
            else:
                seen.changed_s.append(ended - station.opened_at)
                seen.arrived_s.append(ended - began)
        look_up(station, count, len(changes) - 1, seen)
    return seen


def swapped(station: Station, parts: Path) -> Swap:
    *earlier, last = sorted(parts.iterdir())
    station.tapping(on=True)
    began_cpu = process_time()
    for number, part in enumerate(earlier):
        assert station.take(part.read_bytes()).missing == len(earlier) - number
    parts_cpu_s, build_cpu_s, data = process_time() - began_cpu, children_cpu_s(), last.read_bytes()
    version, earlier_taps_s = station.lists.state.version, station.tapping(on=True)
    began = perf_counter()
    station.take(data)
    seconds, rss_mb, builder_mb = perf_counter() - began, station.rss_mb, station.builder_mb
    queued = station.queued_s
    taps_s = station.tapping(on=False)
    assert station.lists.state.version > version
    return Swap(
        seconds, station.applied_s, taps_s, queued, earlier_taps_s, parts_cpu_s, children_cpu_s() - build_cpu_s,
        builder_mb, rss_mb, resident_mb(), station.folder_b, size_b(station.folder),
    )  # fmt: skip


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def look_up(station: Station, count: int, newest: int, seen: Seen) -> None:
    """Warm, of each kind; then in the file alone after the kernel has let go of its pages. The overlay holds what the
    newest difference has changed."""
    rng = random.Random(2)
    overlaid = changed(newest, count)[:-REMOVED]
    kinds: dict[str, Callable[[], str]] = {
        "hit": lambda: card(rng.randrange(count)),
        "miss": lambda: card(count + rng.randrange(count)),
        "overlay": lambda: card(rng.choice(overlaid)),
    }
    for name, some in kinds.items():
        cards = [some() for _ in range(LOOKUPS)]
        seen.lookups_s[name] = [taken(partial(station.lists.lookup, each, 0.0, WALL_S)) for each in cards]
    (path,) = station.folder.glob("list-*")
    for n in range(FIRST):
        file = open_list(path, KEY)
        dropped(path)
        before_b = read_b()
        each = [taken(partial(file.lookup, card(rng.randrange(count)))) for _ in range(LOOKUPS if n == 0 else 1)]
        seen.cold_s += each if n == 0 else ()
        seen.first_s.append(each[0])
        seen.read_b += read_b() - before_b
        file.close()


def taken(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def dropped(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_b() -> int:
    """What this process made the kernel read from the disk."""
    rows = Path("/proc/self/io").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("read_bytes"))


# -- to be killed -----------------------------------------------------------------------------------------------------


def ready(folder: Path, count: int) -> None:
    with closing(Station(folder, count)) as station:
        lists = sorted((folder / "full").iterdir())
        for part in (*sorted(lists[0].iterdir()), *sorted(lists[-1].iterdir())[:-1]):
            station.take(part.read_bytes())


def last(folder: Path, count: int) -> None:
    station = Station(folder, count)
    data = max(max((folder / "full").iterdir()).iterdir()).read_bytes()
    print("now", flush=True)
    station.take(data)
    print("in force", flush=True)
    sys.stdin.read()


def main(what: str, folder: str, count: str) -> None:
    match what:
        case "swaps":
            print(json.dumps(asdict(swaps(Path(folder), int(count))), default=list))
        case "ready":
            ready(Path(folder), int(count))
        case "last":
            last(Path(folder), int(count))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
