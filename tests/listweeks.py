"""Weeks of one station's allowlist, in simulated time, from one seed; tests/listreferee.py judges after each event.

Real: the cloud's Drivers, the station's Lists with its files, facts and cache, the rules, the clock, the freshness.
Simulated: the operator, the link (outages; messages lost, doubled, late, in any order, truncated), the disk, the power,
what clock chips, modems and time servers say, and how a list is delivered: the station asks at each reconnect and every
8 h, the cloud tells each change at once and repeats what nobody has answered.
"""

import heapq
import random
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from agent.authcache.builder import run
from agent.authcache.lists import FACT, Lists, Made, Outcome, Plan, Status
from agent.clock import BUILD_S, Clock, ClockSource, earliest, floor, told, wall
from agent.effects import Remember, Save
from agent.events import Link
from agent.files import PRIVATE, Files
from agent.policy.authorize import Ask, Question, decide
from agent.policy.freshness import age_s
from agent.settings import Settings
from agent.taps import LATE_S
from agent.uplink.answers import authorized
from tests.durability import ROOT, Change, Data, Disk, Names, Size, fates, target
from tests.listreferee import ASK_EVERY_S, DAY_S, HOUR_S, T0_S, Referee, Violation
from tools.cloud import drivers as drivers_module
from tools.cloud.database import Database, open_database
from tools.cloud.drivers import Driver, Drivers, State, id_token_info
from tools.cloud.wire import Json

MINUTE_S, WEEK_S = 60.0, 7 * DAY_S
KEY = b"k" * 32
SHM = Path("/dev/shm")
MEMBERS = tuple(f"04A22B{n:02X}" for n in range(20))
GUESTS = ("04FFEE01", "04FFEE02", "04FFEE03")  # never on the list; the cloud lets them in when it is asked
STRANGERS = ("04DEAD01", "04A22B1C00")
CARDS = MEMBERS + GUESTS + STRANGERS
GROUPS = ((), ("staff",), ("guests",), ("staff", "night"))
TABLES = "driver", "driver_change", "edition"
ASK_AGAIN_S, REPEAT_S = 60 * MINUTE_S, 10 * MINUTE_S


class PowerCut(Exception):
    """In the middle of a file operation."""


class Killed(Exception):
    """The process, in the middle of a file operation."""


# -- the disk ---------------------------------------------------------------------------------------------------------


class SimDisk(Files):
    """The real folder is what the page cache shows; `_durable` and a part of `_pending` are what a cut leaves of it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self._rng = folder, rng
        self._durable = Disk({ROOT: {}}, {})
        self._pending: list[Change] = []
        self._files: dict[str, int] = {}
        self._next_file = ROOT + 1
        self.fuse: tuple[int, Exception] | None = None  # after so many operations, this

    def write(self, path: Path, data: bytes, mode: int = PRIVATE) -> None:
        if path.name not in self._files:
            self._files[path.name], self._next_file = self._next_file, self._next_file + 1
            self._pending.append(Names(ROOT, {path.name: self._files[path.name]}))
        file = self._files[path.name]
        self._pending += [Size(file, 0), Data(file, 0, data)]
        self._burn()
        super().write(path, data, mode)

    def sync(self, path: Path) -> None:
        self._burn()
        number = ROOT if path == self.folder else self._files[path.name]
        for change in [each for each in self._pending if target(each) == number]:
            self._durable.apply(change)
            self._pending.remove(change)

    def rename(self, source: Path, target: Path) -> None:
        self._burn()
        super().rename(source, target)
        self._files[target.name] = self._files.pop(source.name)
        self._pending.append(Names(ROOT, {source.name: None, target.name: self._files[target.name]}))

    def remove(self, path: Path) -> None:
        self._burn()
        super().remove(path)
        if self._files.pop(path.name, None) is not None:
            self._pending.append(Names(ROOT, {path.name: None}))

    def _burn(self) -> None:
        if self.fuse:
            left, what = self.fuse
            self.fuse = (left - 1, what) if left else None
            if not left:
                raise what

    def cut(self) -> None:
        """The power goes: of what no fsync covers any part is left, torn or not."""
        _, survivors = self._rng.choice(list(fates(self._pending, 1, self._rng)))
        self._durable = self._durable.with_changes(survivors)
        self._pending, self.fuse = [], None
        self._files = dict(self._durable.folders[ROOT])
        for path in self.folder.iterdir():
            path.unlink()
        for name, data in self._durable.tree(set()).items():
            (self.folder / name).write_bytes(data or b"")


# -- the station ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Facts on their way to the disk, and what follows."""

    saves: tuple[Save, ...]
    then: Callable[[float], None]
    stored: Callable[[], None] = lambda: None  # also where a cut leaves nobody to do what follows


class Station:
    """Lists between the link and the disk, as agent/shell.py has them: commits in order, one build at a time."""

    def __init__(self, folder: Path, disk: SimDisk, settings: Settings, tally: Counter[str]) -> None:
        self.folder, self.disk, self.settings, self.tally = folder, disk, settings, tally
        self.facts: dict[str, Any] = {}
        self.batches: deque[Batch] = deque()
        self.is_on = self.is_told = False
        self.clock = Clock()

    def boot(self, at_s: float, rng: random.Random) -> None:
        self._boot_s, self._began, self._rate = at_s, rng.uniform(0, 1e6), 1.0 + rng.uniform(-5e-5, 5e-5)
        self.clock = Clock(max(BUILD_S, self.facts.get("floor_s", 0.0)), self._began)
        self.is_on, self.is_told = True, False  # a cut may come while the folder is being looked through
        self.lists = Lists(self.folder, dict(self.facts), KEY, self._began, self.disk)

    def die(self, rng: random.Random) -> None:
        """Of what was on its way to the database a part may be there, in order."""
        self.is_on = False
        for batch in list(self.batches)[: rng.randint(0, len(self.batches))]:
            self._put(batch)
        self.batches.clear()

    def mono(self, at_s: float) -> float:
        return self._began + (at_s - self._boot_s) * self._rate

    def wall(self, at_s: float) -> float | None:
        return wall(self.clock, self.mono(at_s))

    def told(self, wall_s: float, source: ClockSource, at_s: float) -> None:
        before_s = self.wall(at_s)
        self.is_told |= source is ClockSource.CLOUD
        self.clock = told(self.clock, wall_s, source, self.mono(at_s))
        after_s = self.wall(at_s)
        self.tally["clock jumps"] += before_s is not None and after_s is not None and abs(after_s - before_s) > 1.0

    def committed(self, at_s: float) -> None:
        """The oldest batch is on the disk."""
        batch = self.batches.popleft()
        self._put(batch)
        self.facts["floor_s"] = floor(self.clock, self.mono(at_s))
        batch.then(at_s)

    def _put(self, batch: Batch) -> None:
        batch.stored()
        for save in batch.saves:
            self.facts[save.key] = save.value
            if save.value is None:
                del self.facts[save.key]

    def question(self, card: str, link: Link, at_s: float) -> Question:
        now = self.mono(at_s)
        listed, cached = self.lists.lookup(card, now, earliest(self.clock, now))
        age = age_s(self.lists.state, self.clock, now)
        return Question(card, self.settings, self.clock, link, listed=listed, list_age_s=age, cached=cached)

    def says(self) -> Json:
        """Of its list, to the cloud that it asks for a newer one."""
        state = self.lists.state
        return {"generation": state.generation, "version": state.version, "hash": state.hash}


# -- the cloud --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Backup:
    tables: dict[str, list[Any]]
    edition: tuple[int, int]
    cards: dict[str, Driver]
    listed: tuple[int, int] | None


class Cloud:
    """Drivers, and a small honest delivery: what the station has confirmed, and what it has not answered yet."""

    def __init__(self, db: Database, referee: Referee, tally: Counter[str]) -> None:
        self.db, self.referee, self.tally = db, referee, tally
        for table in ("list", *TABLES):
            db.execute(f"DELETE FROM {table}")
        self.drivers = Drivers(db)
        self.cards: dict[str, Driver] = {}  # the operator's own book
        self.edition = (0, 0)
        self.listed: tuple[int, int] | None = None
        self.offered: tuple[int, int] | None = None
        self.is_behind = False  # carelessly restored: stations may have lists that it does not know
        self.open: dict[int, Json] = {}
        self._next_id = 0

    def _publish(self, at_s: float) -> None:
        version = self.drivers.version()
        assert version
        if version != self.edition or self.is_behind:  # nothing was changed
            self.edition = version
            self.referee.publish(self.edition, self.cards, at_s, self.is_behind)

    def put(self, drivers: Sequence[Driver], at_s: float) -> None:
        self.drivers.put(drivers, ms(at_s))
        self.cards |= {driver.id_token: driver for driver in drivers}
        self._publish(at_s)
        self.tally["approvals and changes"] += len(drivers)

    def request(self, driver: Driver, at_s: float) -> None:
        self.drivers.request(driver, ms(at_s))
        self.cards[driver.id_token] = replace(driver, state=State.PENDING)
        self._publish(at_s)
        self.tally["requests"] += 1

    def remove(self, card: str, at_s: float) -> None:
        """Who only asked is forgotten; who was approved is told, by a cloud that does not forget him, too."""
        self.drivers.remove([card], ms(at_s))
        if (driver := self.cards.pop(card)).state is State.APPROVED and drivers_module.REMOVED_MAX:
            self.cards[card] = replace(driver, state=State.REMOVED)
        self._publish(at_s)
        self.tally["removals"] += 1

    def here(self) -> list[str]:
        """Who was not removed."""
        return sorted(card for card, driver in self.cards.items() if driver.state is not State.REMOVED)

    def backup(self) -> Backup:
        tables = {table: self.db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        return Backup(tables, self.edition, dict(self.cards), self.listed)

    def restore(self, backup: Backup, at_s: float, *, careless: bool) -> None:
        """`careless`: under the old generation, in which the station may be ahead of us."""
        for table, rows in backup.tables.items():
            self.db.execute(f"DELETE FROM {table}")
            for row in rows:
                self.db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        self.db.execute("UPDATE list SET generation = ?, version = ?", backup.edition)
        self.drivers, self.cards, self.listed = Drivers(self.db), dict(backup.cards), backup.listed
        self.open, self.offered = {}, None
        self.tally["restores"] += 1
        self.is_behind = careless
        if careless:
            self._publish(at_s)
        else:
            self.begin_generation(at_s)

    def begin_generation(self, at_s: float) -> None:
        self.drivers.new_generation(ms(at_s))
        self.is_behind = False
        self._publish(at_s)
        self.tally["generations"] += 1

    def offer(self, at_s: float) -> list[tuple[int, Json]]:
        """What leads the station from what it has confirmed to the newest; nothing if that, or a list in parts, is on
        its way: with a new one at each change no station on bad radio would ever have one."""
        if self._is_long_way or (self.offered == self.edition and self.open):
            return []
        if self.listed == self.edition:
            return self._send([self.drivers.confirmation(ms(at_s))])
        way = self.drivers.differential(self.listed, ms(at_s)) if self.listed else None
        return self._send(way or self.drivers.full(ms(at_s)))

    @property
    def _is_long_way(self) -> bool:
        return any("part" in request["customData"] for request in self.open.values())

    def asked(self, said: Json, at_s: float) -> list[tuple[int, Json]] | None:
        """The station's word about its list. None: it is ours by number and not by content, so say what is in it."""
        edition = said["generation"], said["version"]
        if edition > self.edition and edition[1]:
            self.begin_generation(at_s)
        if self._is_long_way:
            return list(self.open.items())
        self.open, self.listed = {}, edition if edition[1] else None
        if edition == self.edition and said["hash"] != self.referee.published[-1].hash:
            return None
        return self.offer(at_s)

    def compared(self, said: Json, at_s: float) -> list[tuple[int, Json]]:
        """What is in the station's list: the buckets that differ."""
        at, theirs = (said["generation"], said["version"]), b64decode(said["content"])
        if at[0] != self.edition[0] or not 0 < at[1] <= self.edition[1]:
            return self.asked(said, at_s) or []
        requests = self.drivers.mend(theirs, ms(at_s), at)
        if self.drivers.version() != self.edition:
            self._publish(at_s)
        self.tally["mends"] += requests is not None
        return self._send(requests or [self.drivers.confirmation(ms(at_s))])

    def _send(self, requests: list[Json]) -> list[tuple[int, Json]]:
        self.open = {self._next_id + n: request for n, request in enumerate(requests)}
        self._next_id += len(requests)
        self.offered = self.edition
        return list(self.open.items())

    def result(self, command_id: int, request: Json, response: Json) -> bool:
        """The station's answer, however late. True: a difference does not fit, so say what is there."""
        status, is_open, custom = response["status"], command_id in self.open, request["customData"]
        if "on its way" in response.get("statusInfo", {}).get("additionalInfo", ""):
            return False
        self.open.pop(command_id, None)
        if status == "Accepted" and not response.get("customData", {}).get("missing"):
            edition = custom["generation"], request["versionNumber"]
            if edition <= self.edition:
                self.listed = max(self.listed or edition, edition)
        elif status != "Accepted" and is_open:
            self.listed, self.open, self.offered = None, {}, None
            return request["updateType"] == "Differential" and "buckets" not in custom
        return False

    def answer(self, card: str, at_s: float) -> Json:
        """To Authorize."""
        guest = Driver(card) if card in GUESTS else None
        return {"idTokenInfo": id_token_info(self.drivers.find(card) or guest, ms(at_s))}


def ms(at_s: float) -> int:
    return int((T0_S + at_s) * 1000)


# -- the world --------------------------------------------------------------------------------------------------------


@dataclass(order=True, slots=True)
class Due:
    at_s: float
    number: int
    what: Callable[[float], None] = field(compare=False)
    is_quiet: bool = field(compare=False)  # nothing at the station


class World:
    """One station, its cloud and everything between them. `run` raises Violation, with seed and time."""

    def __init__(self, seed: int, db: Database, folder: Path, tally: Counter[str]) -> None:
        self.seed, self.rng, self.tally = seed, random.Random(seed), tally
        rng = self.rng
        self.referee = Referee(tally)
        self.cloud = Cloud(db, self.referee, tally)
        self.disk = SimDisk(folder, rng)
        settings = Settings(list_grace_days=rng.choice([7, 7, 7, 1, 3, 0]), activated=True)
        self.station = Station(folder, self.disk, settings, tally)
        self._due: list[Due] = []
        self._count = 0
        self._is_up = False
        self._loss = 0.0
        self._held: list[Callable[[float], None]] = []  # by the broker, until the station is back
        self._work: deque[tuple[int, Json, Plan]] = deque()
        self._life = 0  # what was begun in an earlier one never ends
        self._recent: deque[str] = deque(MEMBERS[:2], maxlen=5)
        self._backup: Backup | None = None
        self._asked_s = self._heard_s = -DAY_S
        self._before = (0, 0, "")  # generation, version, file

    def at(self, at_s: float, what: Callable[[float], None], *, is_quiet: bool = False) -> None:
        self._count += 1
        heapq.heappush(self._due, Due(at_s, self._count, what, is_quiet))

    def in_this_life(self, at_s: float, what: Callable[[float], None]) -> None:
        """Forgotten when the station stops before."""
        life = self._life
        self.at(at_s, lambda later: what(later) if self._life == life else None)

    def run(self, weeks: int) -> None:
        rng = self.rng
        first = [self._driver(card, 0.0) for card in rng.sample(MEMBERS, rng.randint(0, 12))]
        self.cloud.put(first or [self._driver(MEMBERS[0], 0.0)], 0.0)
        self.at(1.0, self.boot)
        self.at(30.0, self.link_up)
        for what, every_s in (
            (self.operate, 24 * HOUR_S), (self.tap, 8 * HOUR_S), (self.power_fails, 40 * HOUR_S),
            (self.is_killed, 60 * HOUR_S), (self.clock_is_set, 30 * HOUR_S), (self.copy_cloud, 60 * HOUR_S),
            (self.cloud_is_restored, 400 * HOUR_S), (self.glance, 4 * HOUR_S), (self.look, 24 * HOUR_S),
        ):  # fmt: skip
            self._again(what, every_s, 0.0)
        at_s = 0.0
        try:
            while self._due and self._due[0].at_s < weeks * WEEK_S:
                due = heapq.heappop(self._due)
                at_s = due.at_s
                self._step(due.what, at_s)
                if not due.is_quiet:
                    self.check(at_s)
        except Violation as violation:
            place = f"seed {self.seed}, day {at_s / DAY_S:.3f}"
            raise Violation(f"{violation} ({place})") from violation
        self.tally["station-weeks"] += weeks

    def _step(self, what: Callable[[float], None], at_s: float) -> None:
        try:
            what(at_s)
        except PowerCut:
            self._stop(at_s, is_cut=True)
        except Killed:
            self._stop(at_s, is_cut=False)

    def _again(self, what: Callable[[float], None], every_s: float, at_s: float) -> None:
        """At random moments, on average so often."""
        def happens(later: float) -> None:
            self._again(what, every_s, later)
            what(later)

        self.at(at_s + self.rng.expovariate(1 / every_s), happens)

    # the referee's rounds

    def check(self, at_s: float) -> None:
        """Who was changed lately, and anybody."""
        self.referee.in_time(at_s)
        station, referee = self.station, self.referee
        if not station.is_on:
            return
        made = referee.list_in_force(station, at_s)
        referee.age(made, station, at_s)
        for card in (self.rng.choice(self._recent), self.rng.choice(CARDS)):
            question = station.question(card, Link.DOWN, at_s)
            referee.entry(made, card, question.listed)
            decision = decide(question, station.mono(at_s))
            referee.decision(made, card, decision, station, at_s, can_ask=False)

    def glance(self, at_s: float) -> None:
        """Time passes: check() comes after everything that happens."""

    def look(self, at_s: float) -> None:
        """Everybody is asked about."""
        if self.station.is_on:
            made = self.referee.list_in_force(self.station, at_s)
            for card in CARDS:
                self.referee.entry(made, card, self.station.lists.lookup(card, self.station.mono(at_s), 0.0)[0])

    # the operator

    def _driver(self, card: str, at_s: float) -> Driver:
        rng = self.rng
        status = rng.choice(["Accepted"] * 8 + ["Blocked", "Invalid", "NoCredit"])
        expiry_ms = ms(at_s + rng.uniform(-1, 12) * DAY_S) if rng.random() < 0.15 else None
        return Driver(card, rng.choice(GROUPS), status, expiry_ms, rng.choice(["", "", "de-CH"]))

    def operate(self, at_s: float) -> None:
        rng = self.rng
        burst = rng.choice([1, 1, 1, 2, 6])
        for n in range(burst):
            self.at(at_s + n * rng.choice([0.1, 20.0, HOUR_S]), self._change)
        if rng.random() < 0.3:
            self._change_of_mind(at_s)

    def _change(self, at_s: float) -> None:
        rng, here = self.rng, self.cloud.here()
        away = [card for card in MEMBERS if card not in here]
        if here and rng.random() < len(here) / 20:
            cards = [rng.choice(here)]
            self.cloud.remove(cards[0], at_s)
        elif away and rng.random() < 0.2:
            cards = [rng.choice(away)]
            self.cloud.request(Driver(cards[0]), at_s)
        else:
            cards = rng.sample(MEMBERS, rng.choice([1, 1, 2, 8]))
            self.cloud.put([self._driver(card, at_s) for card in cards], at_s)
        self._recent.extend(cards[:3])
        self._changed(at_s)

    def _change_of_mind(self, at_s: float) -> None:
        """A driver is approved, taps before the list is there, and is removed again, all within a minute."""
        strangers = [card for card in MEMBERS if card not in self.cloud.here()]
        if not strangers:
            return
        card = self.rng.choice(strangers)
        self._recent.append(card)

        def approved(later: float) -> None:
            self.cloud.put([Driver(card, ("staff",))], later)
            self._changed(later)

        def removed(later: float) -> None:
            if card in self.cloud.here():
                self.cloud.remove(card, later)
                self._changed(later)

        self.at(at_s, approved)
        for _ in range(3):
            self.at(at_s + self.rng.uniform(0, 6), lambda later: self._tap(card, later))
        self.at(at_s + self.rng.uniform(3, 12), removed)

    def _changed(self, at_s: float) -> None:
        if self._is_up:
            self._down(self.cloud.offer(at_s), at_s)

    def copy_cloud(self, at_s: float) -> None:
        self._backup = self.cloud.backup()

    def cloud_is_restored(self, at_s: float) -> None:
        if self._backup:
            self.cloud.restore(self._backup, at_s, careless=self.rng.random() < 0.4)
            self._backup = None
            self._changed(at_s)

    # taps

    def tap(self, at_s: float) -> None:
        self._tap(self.rng.choice([*self._recent, *MEMBERS, *GUESTS]), at_s)

    def _tap(self, card: str, at_s: float) -> None:
        station = self.station
        if not station.is_on:
            return
        question = station.question(card, Link.UP if self._is_up else Link.DOWN, at_s)
        decision = decide(question, station.mono(at_s))
        made = self.referee.list_in_force(station, at_s)
        self.referee.decision(made, card, decision, station, at_s, can_ask=self._is_up)
        if isinstance(decision, Ask):
            self.in_this_life(at_s + self.rng.uniform(0.05, 5.0), lambda later: self._authorize(card, at_s, later))

    def _authorize(self, card: str, asked_s: float, at_s: float) -> None:
        """The cloud makes its answer; it is on its way for a while."""
        if not self._is_up or self.rng.random() < self._loss:
            return
        response, asked_at = self.cloud.answer(card, at_s), self.station.mono(asked_s)
        arrives_s = at_s + self.rng.choice([0.1, self.rng.uniform(0.1, LATE_S), 15.0])
        if arrives_s <= asked_s + LATE_S:
            self.in_this_life(arrives_s, lambda later: self._authorized(card, response, asked_at, at_s, later))

    def _authorized(self, card: str, response: Json, asked_at: float, said_s: float, at_s: float) -> None:
        entry, station = authorized(response)[0], self.station
        if not self._is_up or entry is None:
            return
        if saves := station.lists.remember(Remember(card, entry, asked_at), floor(station.clock, asked_at)):
            stored = self.referee.answered(card, entry.status.value, said_s)
            self._commit(Batch(tuple(saves), lambda _: None, stored), at_s)
        self.tally["online answers"] += 1

    # the link

    def link_up(self, at_s: float) -> None:
        rng = self.rng
        self._is_up, self._loss = True, rng.choice([0.0, 0.0, 0.1, 0.25])
        lasts_s = rng.choice([rng.uniform(30, 600), rng.uniform(0.1, 40) * HOUR_S, rng.uniform(0, 5) * DAY_S])
        self.at(at_s + lasts_s, self.link_down)
        self._link_counts(at_s)
        held, self._held = self._held, []
        for message in held:
            self.at(at_s + rng.uniform(0, 30), message)
        if self.station.is_on:
            self._connected(at_s)

    def _connected(self, at_s: float) -> None:
        """The station and the cloud speak: first of all of the time."""
        if self.rng.random() < 0.2:
            self.station.told(self._some_wall_s(at_s), ClockSource.MODEM, at_s)
        self.station.told(T0_S + at_s, ClockSource.CLOUD, at_s)
        spell = self._spell
        self._ask(spell, at_s + self.rng.uniform(0, 120))
        self._repeat(spell, at_s + REPEAT_S)

    @property
    def _spell(self) -> tuple[int, int]:
        return self._life, len(self.referee._spells)

    def _link_counts(self, at_s: float) -> None:
        self.referee.linked(self._is_up and self.station.is_on, at_s)

    def link_down(self, at_s: float) -> None:
        rng = self.rng
        self._is_up = False
        self._link_counts(at_s)
        self.tally["outages"] += 1
        gap_s = rng.choice([rng.uniform(10, 3600), rng.uniform(1, 30) * HOUR_S])
        self.at(at_s + (rng.uniform(1, 9) * DAY_S if rng.random() < 0.08 else gap_s), self.link_up)

    def _ask(self, spell: tuple[int, int], at_s: float) -> None:
        """Every 8 h; sooner while nothing has come of it."""
        def asks(later: float) -> None:
            is_due = self._heard_s < self._asked_s or later >= self._asked_s + ASK_EVERY_S
            if spell == self._spell and is_due:
                self._asked_s = later
                self._up(partial(self._status, self.station.says()), later)
                self._ask(spell, later + ASK_AGAIN_S)
            elif spell == self._spell:
                self._ask(spell, self._asked_s + ASK_EVERY_S)

        self.at(at_s, asks, is_quiet=True)

    def _status(self, said: Json, at_s: float) -> None:
        way = self.cloud.asked(said, at_s)
        if way is not None:
            self._down(way, at_s)
        else:
            self._compare(at_s)

    def _compare(self, at_s: float) -> None:
        """The cloud asks what is in the list (ListContent)."""
        self._over(self._tell_content, at_s)

    def _tell_content(self, at_s: float) -> None:
        said = self.station.lists.said
        self._up(lambda later: self._down(self.cloud.compared(said, later), later), at_s)

    def _result(self, command_id: int, request: Json, outcome: Outcome, at_s: float) -> None:
        if self.cloud.result(command_id, request, outcome.response):
            self._compare(at_s)

    def _repeat(self, spell: tuple[int, int], at_s: float) -> None:
        def repeats(later: float) -> None:
            if spell == self._spell:
                news = self.cloud.offer(later) if self.cloud.listed != self.cloud.edition else []
                self._down(news or list(self.cloud.open.items()), later)
                self._repeat(spell, later + REPEAT_S)

        self.at(at_s, repeats, is_quiet=True)

    def _down(self, commands: Iterable[tuple[int, Json]], at_s: float) -> None:
        for command_id, request in commands:
            said = self._truncated(request) if self.rng.random() < 0.02 else request
            self._over(partial(self._received, command_id, request, said), at_s)

    def _truncated(self, request: Json) -> Json:
        """What no signature would let pass; the list's own guards shall not, either."""
        cards, custom = request.get("localAuthorizationList", []), request["customData"]
        match self.rng.randrange(3):
            case 0 if len(cards) > 1:
                return {**request, "localAuthorizationList": cards[:-1]}
            case 1:
                return {**request, "customData": {**custom, "count": custom["count"] + 1}}
            case _:
                return {**request, "customData": {**custom, "hash": "0" * 64}}

    def _over(self, what: Callable[[float], None], at_s: float) -> None:
        """To the station, which must be there: a copy or two, some time, or never; the broker holds some of them."""
        def arrives(later: float) -> None:
            if self._is_up and self.station.is_on and self.station.is_told:  # the cloud's first word
                what(later)
            elif self.rng.random() < 0.5:
                self._held.append(arrives)

        for delay_s in self._journeys():
            self.at(at_s + delay_s, arrives)

    def _up(self, what: Callable[[float], None], at_s: float) -> None:
        if self._is_up:
            for delay_s in self._journeys():
                self.at(at_s + delay_s, what, is_quiet=True)

    def _journeys(self) -> Iterator[float]:
        rng = self.rng
        for _ in range(2 if rng.random() < 0.05 else 1):
            if rng.random() >= self._loss:
                yield rng.uniform(0, DAY_S) if rng.random() < 0.03 else rng.uniform(0.05, 4.0)
            else:
                self.tally["messages lost"] += 1

    # the station's list

    def _received(self, command_id: int, request: Json, said: Json, at_s: float) -> None:
        self.tally["messages"] += 1
        rng, station = self.rng, self.station
        if rng.random() < 0.03:
            self.disk.fuse = rng.randint(0, 6), rng.choice([PowerCut(), Killed(), OSError(28, "no space")])
        planned = station.lists.plan(said, station.wall(at_s), station.mono(at_s))
        if isinstance(planned, Plan):
            self._work.append((command_id, request, planned))
            if len(self._work) == 1:
                self._build(at_s)
        else:
            self._answer(command_id, request, planned, at_s)

    def _build(self, at_s: float) -> None:
        takes_s = self.rng.choice([0.2, 0.2, 3.0, 100.0])
        self.in_this_life(at_s + takes_s, self._built)

    def _built(self, at_s: float) -> None:
        command_id, request, plan = self._work[0]
        made = plan.build()
        self._work.popleft()
        if self._work:
            self._build(at_s)
        waits_s = self.rng.choice([0.0, 2.0])
        self.in_this_life(at_s + waits_s, lambda later: self._apply(command_id, request, made, later))

    def _apply(self, command_id: int, request: Json, made: Made | Outcome, at_s: float) -> None:
        if isinstance(made, Made):
            made = self.station.lists.apply(made, self.station.wall(at_s), self.station.mono(at_s))
        self._answer(command_id, request, made, at_s)

    def _answer(self, command_id: int, request: Json, outcome: Outcome, at_s: float) -> None:
        """The answer is part of the commit; what it says is in force when that is on the disk."""
        def then(later: float) -> None:
            if outcome.state:
                self._count_list()
                self.station.lists.committed()
                self._heard_s = later
            self._up(lambda at_s: self._result(command_id, request, outcome, at_s), later)

        if outcome.status is not Status.Accepted:
            self.tally["messages refused"] += 1
        self.tally["parts kept"] += outcome.missing > 0
        self._commit(Batch(outcome.saves, then), at_s)

    def _count_list(self) -> None:
        fact, before = self.station.facts[FACT], self._before
        edition = fact["generation"], fact["version"]
        if edition == before[:2]:
            self.tally["confirmations"] += 1
        elif fact["file"] == before[2]:
            self.tally["differentials in place"] += 1
        else:
            self.tally["swaps"] += 1
        self._before = (*edition, fact["file"])

    def _commit(self, batch: Batch, at_s: float) -> None:
        self.station.batches.append(batch)
        takes_s = self.rng.choice([0.005, 0.02, 1.0, 20.0])
        self.in_this_life(at_s + takes_s, self._committed)
        if self.rng.random() < 0.02:
            self.at(at_s + self.rng.uniform(0, 2 * takes_s), self.rng.choice([self.power_fails, self.is_killed]))

    def _committed(self, at_s: float) -> None:
        if self.station.batches:
            self.station.committed(at_s)

    # power, process, time

    def power_fails(self, at_s: float) -> None:
        if self.station.is_on:
            self._stop(at_s, is_cut=True)

    def is_killed(self, at_s: float) -> None:
        if self.station.is_on:
            self._stop(at_s, is_cut=False)

    def _stop(self, at_s: float, *, is_cut: bool) -> None:
        rng = self.rng
        self._life += 1
        self._work.clear()
        self.station.die(rng)
        self.referee.restarted()
        self.disk.fuse = None
        if is_cut:
            self.disk.cut()
        self.tally["power cuts" if is_cut else "kills"] += 1
        self._link_counts(at_s)
        off_s = rng.choice([20.0, 300.0, rng.uniform(0, 8) * HOUR_S, rng.uniform(0, 2) * DAY_S]) if is_cut else 8.0
        self.at(at_s + off_s, self.boot)

    def boot(self, at_s: float) -> None:
        rng = self.rng
        if rng.random() < 0.1:
            self.disk.fuse = rng.randint(0, 3), PowerCut()
        self.station.boot(at_s, rng)
        self.disk.fuse = None
        if rng.random() < 0.7:
            self.station.told(self._some_wall_s(at_s), ClockSource.RTC, at_s)
        self.tally["boots without time"] += self.station.wall(at_s) is None
        self.look(at_s)
        self._link_counts(at_s)
        if self._is_up:
            self.in_this_life(at_s + rng.uniform(2, 60), lambda later: self._connected(later) if self._is_up else None)

    def clock_is_set(self, at_s: float) -> None:
        """By whoever believes to know."""
        if self.station.is_on:
            self.station.told(self._some_wall_s(at_s), self.rng.choice([ClockSource.MODEM, ClockSource.NTP]), at_s)

    def _some_wall_s(self, at_s: float) -> float:
        rng, true_s = self.rng, T0_S + at_s
        wrong_s = rng.choice([5.0, 3 * HOUR_S, 3 * DAY_S, 400 * DAY_S, 14 * 365 * DAY_S]) * rng.choice([-1, 1])
        return rng.choice([true_s, true_s, true_s + rng.uniform(-2, 2), true_s + wrong_s, 946_684_800.0])


@contextmanager
def small(rng: random.Random, disk: Files) -> Iterator[None]:
    """Few cards are many here, so that lists have parts, overlays grow over, and long lists are written elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.cloud.drivers.PART_MAX", rng.choice([2, 5, 1000]))
        patch.setattr("tools.cloud.drivers.REMOVED_MAX", rng.choice([0, 1000]))
        patch.setattr("agent.authcache.overlay.ENTRIES_MAX", rng.choice([3, 9, 2000]))
        patch.setattr("agent.authcache.lists.HERE_MAX", rng.choice([8, 2000]))
        patch.setattr("agent.authcache.lists.elsewhere", partial(run, files=disk))
        yield


def play(seeds: Iterable[int], weeks: int) -> tuple[Counter[str], float]:
    """One station for each seed, for so many weeks: what was done and checked, and how long a station was connected, at
    most, until a change was in force. Violation."""
    tally, longest_s = Counter[str](), 0.0
    db = open_database(":memory:")
    try:
        for seed in seeds:
            with TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
                folder = Path(name) / "lists"
                world = World(seed, db, folder, tally)
                with small(world.rng, world.disk):
                    world.run(weeks)
                longest_s = max(longest_s, world.referee.longest_s)
    finally:
        db.close()
    return tally, longest_s
