"""What somebody whose money is in these records would try: to lose one, to bill one twice, to wedge the station."""

import secrets
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import outbox
from agent.clock import ClockSource, iso8601
from agent.effects import Stream
from agent.events import ClockTold, LinkChanged
from agent.outbox import Database, is_tombstone
from agent.settings import Settings
from agent.sim.scenario import CARDS
from agent.sim.world import World
from agent.store import BALLAST_B, Committed, ballast_of, damage_mark, load_ballast, open_database
from agent.uplink.codec import (
    Ack,
    Mark,
    VolatileAnswer,
    decode_record,
    decode_request,
    encode_ack,
    encode_response,
    to_cbor,
)
from agent.uplink.protocol import Action, Alarm, Deliver, Publish, Uplink
from tests.ledger import ALL_B, BOOT, record
from tests.play import ANN, WALL_S, Play
from tests.test_devcloud import STATION, batch, session_records
from tests.test_outbox import Rig
from tools.cloud.cloud import Cloud
from tools.cloud.ledger import Ledger

YEAR_S = 365 * 86_400


# -- dead letters


@pytest.mark.promise("S10")
def test_a_cloud_that_refuses_everything_for_years_neither_fills_the_disk_nor_wipes_what_was_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "DEAD_LETTERS_MAX", 10)
    for n in range(1, 31):
        database.commit([record(n, Stream.STATUS), record(n)])
        assert database.bury(Stream.STATUS, n, "no") and database.bury(Stream.MONEY, n, "no")
    letters = database.dead_letters()
    assert [letter.seq for letter in letters if letter.stream == Stream.STATUS] == [*range(1, 11)], "the first"
    assert len([letter for letter in letters if letter.stream == Stream.MONEY]) == 30, "money is never what is dropped"
    assert all(is_tombstone(row.body) for row in database.fetch(Stream.STATUS, 0, ALL_B)), "the rest is declared"


@pytest.mark.promise("S2", "S10")
def test_a_tombstone_that_the_cloud_refuses_too_is_no_second_dead_letter(database: Database) -> None:
    database.commit([record(1)])
    assert database.bury(Stream.MONEY, 1, "no such currency")
    assert not database.bury(Stream.MONEY, 1, "no such tombstone")
    (letter,) = database.dead_letters()
    assert letter.why == "no such currency"
    assert decode_record(database.fetch(0, 0, ALL_B)[0].body).payload["why"] == "no such currency"


# -- damage


@pytest.mark.promise("S2", "S9")
@pytest.mark.parametrize("victim", [3, 5], ids=["a tombstone", "a record"])
def test_a_new_epoch_does_not_make_damage_whole_nor_fail_for_ever(database: Database, victim: int) -> None:
    database.commit([record(n, Stream.STATUS) for n in range(1, 11)])
    database.bury(Stream.STATUS, 3, "no")
    (damaged,) = database.db.execute("SELECT body FROM outbox WHERE id = ?", (1 << 56 | victim,)).fetchone()
    broken = damaged[:-20] + b"\xff" * 20
    database.db.execute("UPDATE outbox SET body = ? WHERE id = ?", (broken, 1 << 56 | victim))
    database.new_epoch()
    rows = database.fetch(Stream.STATUS, 0, ALL_B)
    assert [row.seq for row in rows] == [*range(1, 11)]
    assert decode_record(rows[victim - 1].body).payload["why"] == "damaged on disk"
    assert broken in [letter.body for letter in database.dead_letters()]


@pytest.mark.promise("S2", "S8")
def test_money_of_newer_software_is_salvaged_by_older_software(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    database = Database(path, BOOT)
    database.commit([record(1)])
    unknown = to_cbor([BOOT, 1, None, 0, 60_000, {60_001: 1}])  # words that this table does not have
    database._insert(Stream.MONEY, unknown)
    database.close()
    damage_mark(path).touch()
    again, aside, found = open_database(path, BOOT)
    assert aside and found == 2 and [row.body for row in again.fetch(0, 1, ALL_B)] == [unknown]
    again.close()


@pytest.mark.promise("S2", "S10")
def test_a_ballast_that_a_power_cut_has_emptied_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    ballast_of(path).touch()
    assert load_ballast(path) and ballast_of(path).stat().st_size == BALLAST_B


class NoEpochs:
    """A disk with room for a record, but not for all of them anew: WAL enough is written before that shows."""

    def __init__(self) -> None:
        self.tries = 0

    def connect(self, path: Path) -> Any:
        self.db = outbox.connect(path)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if "INTO epoch" in sql and self.db.execute("SELECT count(*) FROM epoch").fetchone() == (1,):
            self.tries += 1
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(sql, *values)


@pytest.mark.promise("S10")
def test_an_epoch_for_which_there_is_no_room_does_not_wear_the_flash(tmp_path: Path) -> None:
    disk = NoEpochs()
    rig = Rig(tmp_path / "station.db", connect=disk.connect)
    rig.store.commit(1, [record(1)])
    assert isinstance(rig.answer(), Committed)
    rig.store.new_epoch()
    for number in range(2, 722):  # an hour
        rig.clock.now += 5
        rig.store.commit(number, [record(number)])
        assert isinstance(rig.answer(), Committed), "business goes on"
    rig.store.close()
    assert 5 <= disk.tries <= 15


# -- the cloud goes back


def hellos(uplink: Uplink, marks: dict[int, Mark], now: float) -> list[Publish]:
    """What the station says to this acknowledgement."""
    ack = encode_ack(Ack(uplink.epoch, marks, 1_790_000_000_000, hello=(BOOT, 1)))
    sent = [action for action in uplink.received("d/S-1/a", ack, now) if isinstance(action, Publish)]
    return [publish for publish in sent if publish.topic == "u/S-1/h"]


@pytest.mark.promise("S2")
def test_a_cloud_restored_behind_a_connection_that_stands_is_asked_what_it_holds() -> None:
    """Its own unasked greeting shows that today's money is gone; the connection may stand for weeks."""
    marks = dict.fromkeys(range(5), (1, 1)) | {0: (101, 101)}
    uplink = Uplink("S-1", BOOT, secrets.token_bytes(8), marks, {})
    uplink.connected(1, 20, 100_000, 0.0)
    empty = {stream: Mark(0) for stream in range(1, 5)}
    hellos(uplink, {0: Mark(100), **empty}, 1.0)
    assert uplink.owed()[0] == []
    assert len(hellos(uplink, {0: Mark(50), **empty}, 1_000.0)) == 1
    hellos(uplink, {0: Mark(50), **empty}, 1_001.0)
    assert uplink.owed()[0] == [(51, 100)]
    assert hellos(uplink, {0: Mark(50), **empty}, 1_100.0) == [], "nothing new, no hello"


@pytest.mark.promise("S2")
def test_where_the_unasked_greeting_was_lost_the_next_ack_shows_what_is_gone() -> None:
    marks = dict.fromkeys(range(5), (1, 1)) | {0: (101, 101)}
    uplink = Uplink("S-1", BOOT, secrets.token_bytes(8), marks, {})
    uplink.connected(1, 20, 100_000, 0.0)
    hellos(uplink, dict.fromkeys(range(1, 5), Mark(0)) | {0: Mark(100)}, 1.0)
    uplink.appended({0: 102}, 2.0)
    assert hellos(uplink, {0: Mark(90)}, 999.0) == [], "a word that came late"
    assert len(hellos(uplink, {0: Mark(100, ((51, 99),))}, 1_000.0)) == 1


@pytest.mark.promise("S2")
def test_acknowledged_money_survives_a_new_epoch(database: Database) -> None:
    """Else two forged words, an acknowledgement and a conflict, would destroy it; or a cloud and a station restored."""
    database.commit([record(n) for n in range(1, 101)])
    database.commit([record(n, Stream.STATUS) for n in range(1, 101)])
    database.acknowledged(database.epoch, {0: Mark(90), 1: Mark(90)})
    database.new_epoch()
    assert database.marks()[0] == (1, 101) and database.marks()[1] == (1, 11)


# -- a power cut


@pytest.mark.promise("S3")
@pytest.mark.parametrize("interval_s", [60.0, 10.0])
def test_a_session_that_a_cut_has_ended_is_short_of_one_sample_at_most(interval_s: float) -> None:
    settings = Settings(tx_updated_interval_s=interval_s, tx_resumption_timeout_s=0.0, restart_delay_max_s=0.0)
    short_s = []
    for seconds in range(300, 420, 9):  # a cut just before, and just after, each of the steps
        with World(1, settings).closing() as world:
            world.allow(CARDS["ann"]).power_on().run(60).plug(1).run(10).tap(CARDS["ann"]).run(seconds)
            had_wh = world.register_wh(1) - world.came_wh[1]
            world.cut_power().run(700).power_on().run(120)
            (session,) = world.cloud.sessions.values()
            short_s.append((had_wh - session.energy_wh) / (32 * 230 / 3_600))
    assert max(short_s) <= interval_s + 2


# -- one wrong word


@pytest.mark.promise("S9")
def test_a_time_beyond_the_brokers_own_certificate_is_not_believed() -> None:
    """The saved floor becomes the system clock at the next start (agent/clockset.py); TLS would find every certificate
    expired, and the cloud, which alone may take the floor back, could not be heard."""
    uplink = Uplink("S-1", BOOT, b"epoch--1", dict.fromkeys(range(5), (1, 1)), {})
    uplink.connected(1, 20, 100_000, 0.0, latest_s=WALL_S + 86_400)

    def acknowledged(wall_s: float) -> list[Action]:
        marks = {stream: Mark(0) for stream in range(5)}
        said = encode_ack(Ack(uplink.epoch, marks, round(wall_s * 1000), hello=(BOOT, 1)))
        return uplink.received("d/S-1/a", said, 1.0)

    def answered(wall_s: float) -> list[Action]:
        (asked,) = [action for action in uplink.announce("Heartbeat", 2.0) if isinstance(action, Publish)]
        answer = VolatileAnswer(decode_request(asked.payload).request_id, {"currentTime": iso8601(wall_s)})
        return uplink.received("d/S-1/v", encode_response(answer), 2.0)

    lies = [*acknowledged(WALL_S + 10 * YEAR_S), *answered(WALL_S + 10 * YEAR_S)]
    assert [type(event) for event in told(lies) if not isinstance(event, LinkChanged)] == [Alarm], "and only once"
    assert ClockTold(WALL_S, ClockSource.CLOUD) in told(acknowledged(WALL_S))
    assert ClockTold(WALL_S, ClockSource.CLOUD) in told(answered(WALL_S))


def told(actions: list[Action]) -> list[object]:
    return [action.event for action in actions if isinstance(action, Deliver)]


@pytest.mark.promise("S9")
def test_a_clock_chip_that_says_2040_moves_nothing_that_outlives_it() -> None:
    """Else a new battery would not help: the floor would be there first, at each start."""
    play = Play(wall_s=None).on(ClockTold(WALL_S + 14 * YEAR_S, ClockSource.RTC)).plug(1).tap(ANN).charge(1)
    play.after(3_600)
    assert play.facts["station"]["seen_s"] > WALL_S + 13 * YEAR_S and play.facts["station"]["floor_s"] < WALL_S + YEAR_S


# -- the reference cloud


@pytest.mark.promise("S2")
def test_a_refusal_is_about_a_record_and_not_about_what_has_its_number_in_a_new_epoch(tmp_path: Path) -> None:
    cloud = Cloud(Ledger(tmp_path / "cloud.db"), Ed25519PrivateKey.generate())
    boots = count()

    def hello(epoch: bytes) -> None:
        streams = {stream: [1, 1] for stream in range(5)}
        cloud.receive(f"u/{STATION}/h", cbor2.dumps([1, epoch, b"%08d" % next(boots), streams, 1, 9]), 0)

    hello(b"epoch--1")
    cloud.ledger.refuse(STATION, 0, 2, "poison")
    hello(b"epoch--1")
    money = session_records(3)
    cloud.receive(f"u/{STATION}/0", batch(1, *money), 0)
    assert cloud.ledger.mark(STATION, b"epoch--1", 0).missing == ((2, 2),)
    hello(b"epoch--2")
    cloud.receive(f"u/{STATION}/0", batch(1, *money, epoch=b"epoch--2"), 0)
    assert cloud.ledger.mark(STATION, b"epoch--2", 0).missing == ()
    cloud.ledger.close()
