"""Health: one small record each quarter of an hour, and an alarm where a threshold is passed, once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from agent.clock import ClockSource
from agent.effects import Measure, Record, Stream
from agent.events import ListState, Machine, Measured, Modem, OutboxCounted
from agent.health import HEALTH_S, RECORD_MAX_B, THRESHOLDS
from agent.health import record as health_record
from agent.measuring import measured
from agent.modem.budget import Cause, Month, Usage
from agent.settings import Settings
from agent.station import Health
from agent.uplink.codec import WireRecord, encode_record
from tests import referee
from tests.play import Play

WELL = Measured(10**10, 10**9, 450, (0, 0, 0))


def healths(play: Play) -> list[dict[str, Any]]:
    return [p["data"] for p in play.payloads("DataTransfer") if p["messageId"] == "Health"]


def alarms(play: Play) -> list[tuple[str, str, bool]]:
    """Component and variable, actual value, whether it is over."""
    events = [event for p in play.payloads("NotifyEvent") for event in p["eventData"]]
    told = [event for event in events if event["eventNotificationType"] == "HardWiredMonitor"]
    return [(f"{e['component']['name']}.{e['variable']['name']}", e["actualValue"], "cleared" in e) for e in told]


class Measuring(Play):
    """A machine that answers."""

    machine_is: Measured = WELL

    def _perform(self, effects: tuple[Any, ...]) -> None:
        super()._perform(effects)
        if any(isinstance(effect, Measure) for effect in effects):
            self.on(self.machine_is)


def test_a_record_comes_each_quarter_of_an_hour() -> None:
    play = Measuring()
    play.at(60.0 + 4 * HEALTH_S)
    assert len(healths(play)) == 5
    first = healths(play)[0]
    assert (first["p"], first["c"], first["d"], first["k"]) == (["Ava", "Ava"], 450, 10_000, "cloud")
    records = [r for r in play.records if r.action == "DataTransfer"]
    assert {r.stream for r in records} == {Stream.LOGS}


def test_a_machine_that_does_not_answer_is_asked_again_and_keeps_nobody_awake() -> None:
    play = Play()
    play.at(3 * HEALTH_S)
    assert healths(play) == []


@pytest.mark.parametrize(
    ("machine", "alarm"),
    [
        (Measured(128 * 10**6, 10**9), "Storage.Available"),
        (Measured(10**10, 40 * 10**6), "Memory.Available"),
        (Measured(10**10, 10**9, 850), "CPU.Temperature"),
    ],
)
def test_a_threshold_that_is_passed_is_told_once_and_its_end_once(machine: Measured, alarm: str) -> None:
    play = Measuring()
    play.machine_is = machine
    play.at(60.0 + 2 * HEALTH_S)
    assert [(name, over) for name, _, over in alarms(play)] == [(alarm, False)]
    assert "a" in healths(play)[-1]
    play.machine_is = WELL
    play.after(2 * HEALTH_S)
    assert [(name, over) for name, _, over in alarms(play)] == [(alarm, False), (alarm, True)]
    assert "a" not in healths(play)[-1]


def test_between_the_two_values_of_a_threshold_nothing_is_told() -> None:
    play = Measuring()
    for cpu_dc in (800, 849, 851, 800, 760, 849, 750, 800, 849):
        play.machine_is = Measured(10**10, 10**9, cpu_dc)
        play.after(HEALTH_S)
    assert [over for _, _, over in alarms(play)] == [False, True]
    for limit in THRESHOLDS.values():
        assert limit.at != limit.until


def test_a_port_that_grows_hot_is_told_at_once_with_a_record() -> None:
    play = Measuring()
    play.see(2, temperature_dc=700)
    assert alarms(play) == [("TemperatureSensor.Temperature", "70", False)]
    assert healths(play)[-1]["a"] == ["port2"]
    for temperature_dc in (650, 601, 699, 710):
        play.see(2, temperature_dc=temperature_dc)
    assert len(alarms(play)) == 1
    play.see(2, temperature_dc=600)
    assert alarms(play)[-1][2]


def test_what_cannot_be_judged_any_more_is_no_news() -> None:
    play = Measuring()
    play.machine_is = Measured(10**10, 10**9, 900)
    play.at(60.0)
    play.machine_is = Measured()
    play.after(2 * HEALTH_S)
    assert [over for _, _, over in alarms(play)] == [False]


ANY = st.none() | st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 2**63 - 1)
ALARMS = [(name, evse_id) for name in THRESHOLDS for evse_id in ((1, 2, 3, 4) if name in ("port", "cycles") else (0,))]


@st.composite
def worlds(draw: st.DrawFn) -> Play:
    """A station of four ports about which anything may be known, right or wrong."""
    play = Play(ports=4, machine=Machine(modem_type=draw(st.text(max_size=40))))
    for evse_id in range(1, 5):
        play.see(evse_id, temperature_dc=draw(COUNT) - draw(COUNT), closes=draw(COUNT))
    told = Measured(draw(ANY), draw(ANY), draw(ANY), draw(st.tuples(COUNT, COUNT, COUNT)))
    health = replace(play.station.health, measured=told, alarms=draw(st.frozensets(st.sampled_from(ALARMS))))
    waiting = draw(st.tuples(COUNT, COUNT, COUNT, COUNT, COUNT))
    old = ListState(9, 100_000, draw(st.floats(0, 1e10)), 3, "ab" * 32)
    data = Usage(Month("2026-11-01", {Cause.RECORDS: draw(COUNT)}))
    play.station = replace(
        play.station, health=health, waiting=waiting, allowlist=old, data=data, modem=Modem(rsrp_dbm=draw(ANY)),
        settings=Settings(low_data=draw(st.sampled_from(("auto", "on"))), data_budget_mb=draw(st.integers(0, 10**6))),
    )  # fmt: skip
    return play


def size_b(record: Record) -> int:
    return len(encode_record(WireRecord(bytes(8), 2**53, 1_790_000_000_000, 4, record.action, record.payload)))


@pytest.mark.promise("S10")
@settings(max_examples=25)
@given(worlds(), st.floats(0, 1e12))
def test_a_record_has_at_most_300_bytes_whatever_is_known(play: Play, now: float) -> None:
    told = health_record(play.station, play.now + now)
    assert size_b(told) <= RECORD_MAX_B, told.payload
    referee.judge(told.action, told.payload)


@pytest.mark.promise("S10")
def test_the_longest_record_has_at_most_300_bytes() -> None:
    most = 2**62
    play = Play(ports=4, machine=Machine(modem_type="SIM7600E-H-M.2"))
    for evse_id in range(1, 5):
        play.see(evse_id, temperature_dc=-most, closes=most)
    told = Measured(-most * 10**6, -most * 10**6, -most, (most,) * 3)
    health = Health(measured=told, alarms=frozenset(ALARMS))
    data = Usage(Month("2026-11-01", {Cause.RECORDS: most}))
    old = ListState(9, 100_000, 1.0e9, 3, "ab" * 32)
    play.station = replace(
        play.station, health=health, waiting=(most,) * 5, allowlist=old, data=data, modem=Modem(rsrp_dbm=-most),
        settings=Settings(low_data="on", data_budget_mb=10**6),
    )  # fmt: skip
    record = health_record(play.station, 1e12)
    assert set(record.payload["data"]) == set("ptncdmklwersuabz")
    assert record.payload["data"]["a"] == ["cpu", "cycles1234", "disk", "memory", "outbox", "port1234"]
    assert size_b(record) <= RECORD_MAX_B, size_b(record)


def test_the_clocks_source_and_the_lists_age_are_in_it_when_known() -> None:
    play = Measuring(wall_s=None)
    play.at(60.0)
    data = healths(play)[-1]
    assert data["k"] == ClockSource.NONE.name.lower()
    assert "l" not in data


def test_what_this_machine_does_not_tell_is_left_out(tmp_path: Path) -> None:
    zone, meminfo = tmp_path / "temp", tmp_path / "meminfo"
    found = measured(tmp_path / "absent", lambda: {"heard_here": {}, "heard_there": {}}, meminfo, zone)
    assert found == Measured(line_errors=(0, 0, 0))
    zone.write_text("45678\n")
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 512 kB\n")
    counters = {"heard_here": {"crc_errors": 3}, "heard_there": {"crc_errors": 2, "dropped": 1}}
    found = measured(tmp_path, lambda: counters, meminfo, zone)
    assert (found.cpu_dc, found.memory_free_b, found.line_errors) == (457, 512 * 1024, (3, 2, 1))
    assert found.disk_free_b
    for broken in ("hot", "", "99999999999"):
        zone.write_text(broken)
        assert measured(tmp_path, lambda: counters, meminfo, zone).cpu_dc is None


# -- the thresholds


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(sorted(THRESHOLDS)), st.integers(0, 200)), max_size=12))
def test_every_alarm_is_told_once_when_it_comes_and_once_when_it_goes(moves: list[tuple[str, int]]) -> None:
    """Whatever is measured, in tenths and fifths of a threshold's own size."""
    play = Measuring()
    for name, part in moves:
        value = THRESHOLDS[name].at * part / 100
        match name:
            case "port":
                play.see(1, temperature_dc=round(value * 10))
            case "cycles":
                play.see(1, closes=round(value))
            case "outbox":
                play.on(OutboxCounted((round(value), 0, 0, 0, 0)))
            case "cpu":
                play.machine_is = structs.replace(play.machine_is, cpu_dc=round(value * 10))
            case "disk":
                play.machine_is = structs.replace(play.machine_is, disk_free_b=round(value * 10**6))
            case "memory":
                play.machine_is = structs.replace(play.machine_is, memory_free_b=round(value * 10**6))
        play.after(HEALTH_S)
    for name in {name for name, _, _ in alarms(play)}:
        over = [is_over for told, _, is_over in alarms(play) if told == name]
        assert over == [bool(n % 2) for n in range(len(over))], name
    last = {name: is_over for name, _, is_over in alarms(play)}
    standing = {THRESHOLDS[name] for name, _ in play.station.health.alarms}
    assert {f"{each.component}.{each.variable}" for each in standing} == {name for name in last if not last[name]}
