"""Several consumers, one database, one truth: on a real broker, with repetitions, disorder and kill -9."""

import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.sim.mosquitto import Mosquitto
from tests.test_devcloud import BareStation, CloudProcess, batch, hello, run, session_records
from tools.cloud.database import open_database
from tools.cloud.ledger import Ledger

NAMES = ("S-0001", "S-0002", "S-0003")
CONSUMERS = ("devcloud-1", "devcloud-2", "devcloud-3")
SESSIONS, LENGTH, SIZE = 30, 20, 15
ROUNDS_MAX = 30


class FloodingStation(BareStation):
    """Says everything at once, twice, in any order; then only what the cloud says it lacks."""

    def __init__(self, pki: Path, port: int, name: str, rng: random.Random) -> None:
        super().__init__(pki, port, name)
        bodies = [body for n in range(SESSIONS) for body in session_records(LENGTH, transaction_id=f"{name}-{n}")]
        self.count = len(bodies)
        firsts = range(1, self.count, SIZE)
        self.batches = {first: batch(first, *bodies[first - 1 : first - 1 + SIZE]) for first in firsts}
        self.flood = [*self.batches] * 2
        rng.shuffle(self.flood)
        self.connection = 0

    def shout(self) -> None:
        for first in self.flood:
            self.client.publish(f"u/{self.name}/0", self.batches[first], qos=1)

    def settle(self) -> None:
        """Hello, and again what is missing, until nothing is."""
        for _ in range(ROUNDS_MAX):
            high, missing, *_ = self.marks()
            lacks = [*missing, *([[high + 1, self.count]] if high < self.count else [])]
            if not lacks:
                return
            for first, content in self.batches.items():
                if any(start < first + SIZE and first <= end for start, end in lacks):
                    self.say("0", content)
        raise AssertionError(f"{self.name}: still missing {lacks}")

    def marks(self) -> Any:
        self.connection += 1
        self.say("h", hello(self.connection))
        while len(marks := self.hear("a")[1]) < 5:
            pass
        return marks[0]

    def hear(self, channel: str) -> Any:
        while True:
            heard, content = self.inbox.get(timeout=20)
            if heard == channel:
                return content


@pytest.mark.needs("mosquitto")
@pytest.mark.promise("S2")
def test_three_consumers_and_a_kill_in_the_middle_make_one_truth(tmp_path: Path) -> None:
    pki, db = tmp_path / "pki", tmp_path / "cloud.db"
    run("ca", "init", pki)
    for name in NAMES:
        run("ca", "station", pki, name)
    server, key = pki / "broker.pem", pki / "broker.key"
    broker = Mosquitto(tmp_path / "broker", cafile=pki / "ca.pem", certfile=server, keyfile=key)
    broker.start()
    consumers = {name: CloudProcess(pki, db, broker.port, name) for name in CONSUMERS}
    stations: list[FloodingStation] = []
    try:
        for consumer in consumers.values():
            consumer.wait_for("serving")
        rng = random.Random(3)
        stations += [FloodingStation(pki, broker.port, name, rng) for name in NAMES]
        for station in stations:
            station.shout()
        stations[0].hear("a")                                                   # in the middle of it
        consumers[CONSUMERS[1]].end(signal.SIGKILL)
        consumers[CONSUMERS[1]] = CloudProcess(pki, db, broker.port, CONSUMERS[1])
        consumers[CONSUMERS[1]].wait_for("serving")
        for station in stations:
            station.settle()
    finally:
        for station in stations:
            station.close()
        ended = [consumer.end(signal.SIGTERM) for consumer in consumers.values()]
        broker.stop()
    assert ended == [0, 0, 0]
    ledger = Ledger(db)
    assert ledger.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    report = ledger.report()
    assert report.clean, {name: station.violations for name, station in report.stations.items()}
    for station in stations:
        found = report.stations[station.name]
        assert found.records == station.count and len(found.sessions) == SESSIONS
        assert {session.energy_wh for session in found.sessions} == {10.0 * (LENGTH - 1)}
        assert found.counts["doubles"]
    ledger.close()


def test_a_writer_waits_for_its_turn_and_a_dead_one_leaves_none_waiting(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    one, other = open_database(path), open_database(path)
    with one.transaction():
        one.execute("INSERT INTO counter VALUES ('S', 'x', 1)")
        with one.transaction():                                                 # part of the first
            one.execute("INSERT INTO counter VALUES ('S', 'y', 1)")
        assert other.execute("SELECT count(*) FROM counter").fetchone() == (0,)     # readers never wait
    with pytest.raises(sqlite3.IntegrityError), other.transaction():            # the third is there already
        other.executemany("INSERT INTO counter VALUES ('S', ?, 1)", ["z", "w", "x"])
    assert one.execute("SELECT count(*) FROM counter").fetchone() == (2,)
    one.close()
    with other.transaction():
        other.execute("DELETE FROM counter")
    other.close()
