"""The bench's results file has the shape that its readers rely on; two cheap figures stand for all of them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import lists
from bench.__main__ import RESULTS, main

FIELDS = ["value", "unit", "target", "met", "runs", "spread", "note"]


def check(results: dict[str, Any]) -> None:
    machine = results.pop("machine")
    assert machine["calibration_ms"] > 0 and machine["fdatasync_per_s"] > 0 and machine["cores"] >= 1
    assert machine["cpu"] and machine["python"] and machine["sqlite"]
    for name, figure in results.items():
        assert list(figure) == FIELDS, name
        value, target = figure["value"], figure["target"]
        assert figure["met"] == (None if target is None or value is None else value <= target), name
        if value is not None:
            low, high = figure["spread"]
            assert low <= value <= high and figure["runs"] >= 1, name


def test_a_measured_figure_has_value_unit_target_and_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    assert main(["core_tap", "record_codec", "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert set(results) == {"machine", "core_tap_us", "record_encode_us", "record_decode_us"}
    check(results)
    assert "core_tap_us" in capsys.readouterr().out


@pytest.mark.long
def test_a_kill_in_the_middle_of_a_swap_leaves_the_old_list_or_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "KILLS", 1)
    monkeypatch.setattr(lists, "ROWS_KILLED_S", 0.05)
    figures = lists.measured([lists.Size("list", 2_500, 1)], 5)
    assert {"list_swap_s", "list_decision_p99_ms", "list_wire_b", "list_swap_per_rows"} <= figures.keys()
    assert figures["list_killed"].value == 0
    machine = {"calibration_ms": 1, "fdatasync_per_s": 1, "cores": 1, "cpu": "c", "python": "p", "sqlite": "s"}
    check({"machine": machine} | {name: asdict(figure) for name, figure in figures.items()})


def test_the_committed_results_are_whole() -> None:
    results = json.loads(RESULTS.read_text())
    assert {"station_day_cpu_s", "rss_mb", "month_rss_growth_mb", "tap_to_decision_p99_s"} <= results.keys()
    assert {"wire_hour_b", "drain_s", "black_hole_s", "wear_session_hour_kb", "outbox_month_mb"} <= results.keys()
    check(results)
