"""What an owner types about his drivers and reads of his stations, from the command line to the station and back."""

from pathlib import Path

import pytest

from agent import health
from tests.play import Json, Play, cwt
from tests.test_cloud_profiles import typed
from tests.test_devcloud import START_MS, STATION, batch, record, run
from tests.test_owner import charging, ordered, policy, token
from tools.cloud import cli_reports
from tools.cloud.ledger import Ledger

FLEET = policy({"name": "fleet", "who": "groups", "groups": ["fleet"]})


def told(db: Path, stream: int, *records: tuple[str, Json]) -> None:
    ledger = Ledger(db)
    ledger.ingest(STATION, stream, batch(1, *(record(*each, n * 1000) for n, each in enumerate(records))), START_MS)
    ledger.close()


def test_a_start_that_names_a_group_is_let_in_by_the_rule_of_that_group_and_without_one_by_none(tmp_path: Path) -> None:
    play = Play().plug(1)
    ordered(play, "AccessPolicy", FLEET)
    for group, answer, running in (([], "Rejected", None), (["--group", "fleet"], "Accepted", "04A2B3C4")):
        action, payload = typed(tmp_path, "start", "--token", "04A2B3C4", "--evse", "1", *group)
        assert play.command(action, **payload)["status"] == answer
        assert charging(play)[0] == running


def test_whatever_a_health_record_holds_is_shown_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = health.facts(Play().station, 0.0)
    assert set(cli_reports.NAMES) == set(facts)
    data = {"p": ["Ava"], "b": [120, 500], "z": True}
    payload = {"vendorId": "station-agent", "messageId": "Health", "data": data}
    told(tmp_path / "cloud.db", 4, ("DataTransfer", payload))
    assert run("health", "--db", tmp_path / "cloud.db", STATION) == 0
    names = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert names == {"ports", "data of month, budget/MB", "low-data mode"}


def test_the_warnings_of_a_plan_are_listed_and_nothing_else_if_only_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, db = Play(), tmp_path / "cloud.db"
    ordered(play, "PlanToken", cwt(token(1, -10, 61.5)))
    play.after(2 * 86_400).after(30 * 86_400)
    other: Json = play.payloads("NotifyEvent")[0]["eventData"][0] | {
        "component": {"name": "EVSE", "evse": {"id": 2}}, "variable": {"name": "Problem"}, "actualValue": "a\x1bb",
        "cleared": True,
    }  # fmt: skip
    faults = {"generatedAt": "2026-01-01T00:00:00.000Z", "seqNo": 0, "eventData": [other]}
    told(db, 1, *(("NotifyEvent", each) for each in (*play.payloads("NotifyEvent"), faults)))
    assert run("events", "--db", db, STATION, "--only", "ChargingStation.Plan") == 0
    lines = capsys.readouterr().out.splitlines()
    said = [(line.split("  ")[1], line.split("  ")[-1]) for line in lines]
    assert said == [("ChargingStation.Plan = active", f"plan Enterprise ends in {days} days") for days in (60, 30)]
    assert all(line.startswith("2026-01-01T00:00:0") for line in lines)
    assert run("events", "--db", db, STATION, "--last", "1") == 0
    (last,) = capsys.readouterr().out.splitlines()
    assert "EVSE@2.Problem = a?b" in last and last.endswith("  over")


def test_of_what_no_station_has_told_one_sentence_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(tmp_path / "cloud.db").close()
    for words in ([], ["--only", "ChargingStation.Plan"]):
        assert run("events", "--db", tmp_path / "cloud.db", STATION, *words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
