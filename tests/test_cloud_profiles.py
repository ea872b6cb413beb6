"""Charging profiles from the command line: what an engineer types is what the station keeps to."""

import json
import sqlite3
from pathlib import Path

import pytest

from agent.settings import Settings
from tests.play import ANN, BOB, WALL_S, Json, Play
from tests.test_devcloud import START_MS, STATION, batch, record, run
from tools.cloud.ledger import Ledger
from tools.cloud.wire import format_time


def typed(tmp_path: Path, *words: str) -> tuple[str, Json]:
    """The command that goes out."""
    db = tmp_path / "cloud.db"
    Ledger(db).close()
    assert run(words[0], "--db", db, STATION, *words[1:]) == 0
    with sqlite3.connect(db) as books:
        action, payload = books.execute("SELECT action, payload FROM command ORDER BY rowid DESC").fetchone()
    return action, json.loads(payload)


def offers(play: Play) -> list[int]:
    return [wish.offer_ma // 1000 for wish in play.wish]


NOW = format_time(round(WALL_S * 1000))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["10A", "--from", NOW], [10, 0]),
        (["3680W", "--from", NOW], [16, 0]),
        (["3.7kW", "--from", NOW, "--evse", "1"], [16, 0]),
        (["8A", "0:30=20A", "--relative"], [8, 0]),
        (["12A", "--purpose", "station", "--daily"], [12, 0]),
        (["12A", "--from", NOW, "--offline-s", "0"], [32, 0]),  # the cloud is away here
        (["12A", "--from", format_time(round(WALL_S * 1000) + 60_000)], [32, 0]),
    ],
)
def test_a_limit_that_is_typed_is_offered_at_the_plug(tmp_path: Path, words: list[str], offered: list[int]) -> None:
    action, payload = typed(tmp_path, "profile", *words)
    play = Play(Settings())
    assert play.command(action, **payload)["status"] == "Accepted"
    assert offers(play.plug(1).tap(ANN)) == offered


def test_limits_by_the_hour_follow_the_clock_at_the_site_each_day(tmp_path: Path) -> None:
    action, payload = typed(tmp_path, "profile", "6A", "5:00=16A", "22:00=10A", "--daily")
    play = Play(Settings(time_zone="Europe/Berlin"), wall_s=1_795_230_000.0)  # 21 November 2026, 3:00 UTC, 4:00 there
    play.command(action, **payload)
    assert offers(play.plug(1).tap(ANN).charge(1)) == [6, 0]
    assert offers(play.after(3601)) == [16, 0]
    assert offers(play.after(17 * 3600)) == [10, 0]
    assert offers(play.after(2 * 3600)) == [6, 0]


def test_what_was_set_is_told_and_taken_away_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play(Settings())
    for words in (["10A", "--id", "3", "--from", NOW], ["20A", "--id", "4", "--level", "1", "--from", NOW]):
        action, payload = typed(tmp_path, "profile", *words)
        play.command(action, **payload)
    action, payload = typed(tmp_path, "profiles", "--purpose", "default")
    assert play.command(action, **payload)["status"] == "Accepted"
    reports = play.payloads("ReportChargingProfiles")
    ledger = Ledger(tmp_path / "cloud.db")
    ledger.ingest(STATION, 2, batch(1, *(record("ReportChargingProfiles", each) for each in reports)), START_MS)
    ledger.close()
    capsys.readouterr()
    assert run("profiles", "--db", tmp_path / "cloud.db", STATION, "--told") == 0
    assert ["\"id\": 3" in line or "\"id\": 4" in line for line in capsys.readouterr().out.splitlines()] == [True] * 2
    action, payload = typed(tmp_path, "clear-profile", "--id", "4")
    assert play.command(action, **payload)["status"] == "Accepted"
    assert offers(play.plug(2).tap(BOB)) == [0, 10]
    action, payload = typed(tmp_path, "schedule", "--evse", "2", "--for-s", "3600", "--watts")
    (period,) = play.command(action, **payload)["schedule"]["chargingSchedulePeriod"]
    assert period["limit"] == 2300.0


@pytest.mark.parametrize(
    "words",
    [
        ["profile"], ["profile", "10"], ["profile", "10A", "3kW"], ["profile", "1:00=10A"],
        ["profile", "9A", "0:00=8A"],
        ["profile", "10A", "--from", "tomorrow"], ["profile", "10A", "--until", "tomorrow"],
        ["profile", "--file", "/nowhere.json"], ["clear-profile"], ["profiles", "--told"],
    ],
)  # fmt: skip
def test_what_is_no_limit_is_one_sentence_and_queues_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    db = tmp_path / "cloud.db"
    Ledger(db).close()
    assert run(words[0], "--db", db, STATION, *words[1:]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with sqlite3.connect(db) as books:
        assert books.execute("SELECT count(*) FROM command").fetchone() == (0,)
