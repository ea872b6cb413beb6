"""What the modem's data costs, how its budget is kept, and that money never waits for it."""

import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from agent import dataplan, health
from agent.clock import iso8601
from agent.core import handle
from agent.effects import Stream, Upload
from agent.events import (
    DataUsed,
    Link,
    LinkChanged,
    ListChanged,
    ListState,
    LogRequested,
    Machine,
    Measured,
    Progress,
    Registered,
    Registration,
    UpdaterTold,
)
from agent.gateway.leaves import Leaf, Told, Traffic
from agent.listing import EVERY_S, PLACES_S
from agent.modem import budget
from agent.modem.budget import BACK_S, CLAIMED, MEGA_B, Cause, Counters, Meter, Month, Usage
from agent.modem.meter import LOOK_S, TELL_S, DataMeter, bearers
from agent.reporting import LOW_SAMPLE_S
from agent.settings import Settings
from agent.sim.world import World
from agent.station import is_low_data
from tests.play import ANN, BOB, WALL_S, Play

DAY_S, HOUR_S = 86_400.0, 3_600.0
SHORT = Settings(station_id="S-0001", data_budget_mb=10, data_billing_day=22)  # the next month begins in ten hours
NEARLY = DataUsed({"samples": 8 * MEGA_B})  # four fifths of it
few = settings(max_examples=20)

# -- the arithmetic ----------------------------------------------------------------------------------------------------

SIZES = st.integers(0, 10**6)
COUNTERS = st.builds(Counters, st.integers(1, 2), SIZES, SIZES)
LOOKS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["ppp0", "ppp1"]), COUNTERS, max_size=2),
        st.dictionaries(st.sampled_from(CLAIMED), SIZES, max_size=3),
    ),
    max_size=8,
)  # fmt: skip


@few
@given(LOOKS)
def test_causes_add_up_to_what_has_passed_and_nothing_is_ever_taken_back(looks: list[Any]) -> None:
    meter, least_b, most_b = Meter(), 0, 0
    for found, claims in looks:
        before, was = sum(meter.used.values()), meter
        meter = budget.looked(meter, found, claims)
        seen_b = sum(budget.passed(was.counters.get(name), now) for name, now in found.items())
        least_b, most_b = least_b + seen_b, most_b + seen_b + sum(claims.values())
        assert sum(meter.used.values()) >= before + seen_b
        assert all(size_b > 0 for size_b in meter.used.values())
    assert least_b <= sum(meter.used.values()) <= most_b


@few
@given(st.lists(st.tuples(SIZES, SIZES, st.dictionaries(st.sampled_from(CLAIMED), st.integers(0, 10**5))), max_size=6))
def test_looking_often_counts_the_same_as_looking_once(parts: list[tuple[int, int, dict[Cause, int]]]) -> None:
    """What is claimed goes over the wire, with something around it."""
    start, often = Counters(7, 50, 50), Meter({"ppp0": Counters(7, 50, 50)})
    now, all_claims = start, dict[Cause, int]()
    for received_b, sent_b, claims in parts:
        now = Counters(7, now.received_b + received_b, now.sent_b + sent_b + sum(claims.values()))
        often = budget.looked(often, {"ppp0": now}, claims)
        all_claims = budget.sums(all_claims, claims)
    once = budget.looked(Meter({"ppp0": start}), {"ppp0": now}, all_claims)
    assert budget.sums(often.used) == budget.sums(once.used)
    assert budget.sums(often.used, {Cause.OVERHEAD: 0}).get(Cause.OVERHEAD, 0) == sum(r + s for r, s, _ in parts)


def test_a_bearer_that_goes_between_two_looks_costs_at_least_what_was_sent_over_it() -> None:
    meter = Meter({"ppp0": Counters(7, 100, 100)})
    assert budget.looked(meter, {}, {Cause.RECORDS: 500}).used == {Cause.RECORDS: 500}
    again = budget.looked(meter, {"ppp0": Counters(8, 10, 10)}, {Cause.RECORDS: 500})
    assert again.used == {Cause.RECORDS: 500} and again.session == "ppp0/8"


def test_a_counter_that_begins_anew_is_counted_from_nothing() -> None:
    meter = Meter({"ppp0": Counters(7, 10_000, 10_000)})
    assert budget.looked(meter, {"ppp0": Counters(7, 300, 10_001)}, {}).used == {Cause.OVERHEAD: 301}


def test_what_went_over_another_line_is_not_the_modems() -> None:
    meter = Meter({"ppp0": Counters(7)})
    for sent_b in (10, 20, 30):
        meter = budget.looked(meter, {"ppp0": Counters(7, 0, sent_b)}, {Cause.UPDATES: 5_000})
    assert sum(meter.used.values()) == 30 and meter.late == {Cause.UPDATES: 5_000}


# -- the month ---------------------------------------------------------------------------------------------------------

ZONES = ("UTC", "Europe/Berlin", "America/Havana", "Asia/Beirut", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu")
# Clocks go back over midnight in St John's (until 2011), a whole day is left out in Apia (30 December 2011).
FROM_S = datetime.fromisoformat("2010-01-01T00:00:00+00:00").timestamp()


@few
@given(
    st.sampled_from(ZONES).map(ZoneInfo), st.integers(1, 28), st.floats(0, 20 * 365 * DAY_S),
    st.lists(st.floats(0, 40 * DAY_S) | st.floats(0, 7_200), min_size=1, max_size=20),
)  # fmt: skip
def test_months_follow_the_sites_clock_and_never_go_back(
    zone: ZoneInfo, day: int, start_s: float, steps_s: list[float]
) -> None:
    usage, now_s, all_b = Usage(), FROM_S + start_s, 0
    for step_s in steps_s:
        now_s, before = now_s + step_s, usage
        usage = budget.turned(usage, now_s, zone, day)
        assert usage.month.began >= before.month.began
        today, first = datetime.fromtimestamp(now_s, zone).date(), date.fromisoformat(usage.month.began)
        assert first.day == day and first <= today + timedelta(days=1) and today - first <= timedelta(days=31)
        assert usage.month.began == budget.began(now_s, zone, day).isoformat() or (
            usage.month.began == budget.began(now_s + BACK_S, zone, day).isoformat()
        )
        all_b = all_b + 5 if usage.month.began == before.month.began else 5 + (0 if before.month.began else all_b)
        usage = budget.added(usage, {Cause.RECORDS: 5}, {}, "")
        assert usage.month.all_b == all_b


def test_an_hour_that_comes_twice_over_midnight_turns_the_month_once() -> None:
    """St John's went from 00:01 back to 23:01 of the day before."""
    zone = ZoneInfo("America/St_Johns")
    first_s = datetime(2010, 11, 6, 23, 58, tzinfo=zone).timestamp()
    usage, months, days = Usage(), [], []
    for half_minute in range(200):
        at_s = first_s + half_minute * 30.0
        usage = budget.turned(usage, at_s, zone, 7)
        months.append(usage.month.began)
        days.append(datetime.fromtimestamp(at_s, zone).day)
    assert sorted(days) != days and sorted(months) == months and set(months) == {"2010-10-07", "2010-11-07"}


def test_what_was_counted_under_a_wrong_clock_stays_in_the_month_that_it_is() -> None:
    september_s, march_s = WALL_S, WALL_S + 180 * DAY_S
    usage = budget.added(budget.turned(Usage(), None, ZoneInfo("UTC"), 1), {Cause.LOGS: 7}, {}, "")
    assert usage.month == Month("", {Cause.LOGS: 7}), "nobody knows the time"
    usage = budget.turned(usage, september_s, ZoneInfo("UTC"), 1)
    assert usage.month == Month("2026-09-01", {Cause.LOGS: 7})
    ahead = budget.added(budget.turned(usage, march_s, ZoneInfo("UTC"), 1), {Cause.RECORDS: 1}, {"SA-2": 1}, "")
    assert ahead.month.all_b == 1 and ahead.before == usage.month
    right = budget.turned(ahead, september_s, ZoneInfo("UTC"), 1)
    assert right.month == Month("2026-09-01", {Cause.RECORDS: 1, Cause.LOGS: 7}) and right.before == Month()


@pytest.mark.promise("S10")
def test_of_too_many_leaves_the_rest_has_no_name_and_nothing_is_lost() -> None:
    usage = budget.added(Usage(), {}, {f"SA-{number}": number for number in range(200)}, "")
    usage = budget.added(usage, {}, {"SA-0": 5, "SA-199": 5, "x" * 500: 5}, "")
    assert len(usage.leaves) <= budget.LEAVES_MAX and sum(usage.leaves.values()) == sum(range(200)) + 15
    assert usage.leaves["SA-0"] == 5


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["month", "began", "causes", "records", "before", "leaves", "session_b", "kept"]), inner
    ),
)  # fmt: skip


@pytest.mark.promise("S9")
@few
@given(JSONS)
def test_a_fact_that_cannot_be_read_begins_at_nothing(fact: Any) -> None:
    usage = budget.restored(fact)
    assert usage.month.all_b >= 0 and budget.restored(budget.saved(usage)) == usage


@few
@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**6))
def test_more_data_is_never_a_lower_warning(one_b: int, more_b: int, budget_mb: int) -> None:
    assert budget.warning(one_b, budget_mb) <= budget.warning(one_b + more_b, budget_mb)
    assert budget.warning(budget_mb * MEGA_B, budget_mb) == (100 if budget_mb else 0)


# -- warnings ----------------------------------------------------------------------------------------------------------


def warnings(play: Play) -> list[tuple[str, int | None]]:
    events = [event for payload in play.payloads("NotifyEvent") for event in payload["eventData"]]
    return [(e["actualValue"], e.get("severity")) for e in events if e["variable"]["name"] == "BudgetUsed"]


def test_80_and_100_percent_are_told_once_each_and_the_next_month_ends_it() -> None:
    play = Play(SHORT).on(DataUsed({"records": 7 * MEGA_B}))
    assert warnings(play) == [] and not is_low_data(play.station)
    play.on(DataUsed({"logs": MEGA_B})).on(DataUsed({"logs": 1}))
    assert warnings(play) == [("80", 6)] and is_low_data(play.station)
    play.on(DataUsed({"samples": 2 * MEGA_B})).on(DataUsed({"samples": MEGA_B}))
    assert warnings(play) == [("80", 6), ("100", 5)]
    play.after(11 * HOUR_S).on(DataUsed({"records": 1}))
    assert warnings(play)[2:] == [("0", None)] and not is_low_data(play.station)
    assert play.station.data.before == Month("2026-08-22", {
        Cause.RECORDS: 7 * MEGA_B, Cause.SAMPLES: 3 * MEGA_B, Cause.LOGS: MEGA_B + 1})  # fmt: skip


def test_the_count_and_what_was_told_outlive_a_power_cut() -> None:
    play = Play(SHORT).on(NEARLY).reboot(60.0)
    assert is_low_data(play.station) and play.on(DataUsed({"records": 1})).station.data.month.all_b == 8 * MEGA_B + 1
    assert warnings(play) == [("80", 6)]


def test_without_a_budget_nothing_is_warned_of() -> None:
    play = Play().on(DataUsed({"logs": 10**12}))
    assert warnings(play) == [] and not is_low_data(play.station)
    assert dataplan.told(play.station)["used_b"] == 10**12 and dataplan.told(play.station)["percent"] is None


def test_the_cloud_sets_budget_day_and_mode() -> None:
    play = Play(SHORT).on(NEARLY)

    def set_(variable: str, value: str) -> str:
        data = {"component": {"name": "DataLink"}, "variable": {"name": variable}, "attributeValue": value}
        answer = play.command("SetVariables", setVariableData=[data])
        return str(answer["setVariableResult"][0]["attributeStatus"])

    assert set_("LowDataMode", "off") == "Accepted" and not is_low_data(play.station)
    assert set_("LowDataMode", "auto") == "Accepted" and is_low_data(play.station)
    assert set_("Budget", "100") == "Accepted" and not is_low_data(play.station)
    assert set_("LowDataMode", "on") == "Accepted" and is_low_data(play.station)
    assert set_("Budget", "-1") == "Rejected" and set_("BillingDay", "29") == "Rejected"
    assert play.station.settings.data_budget_mb == 100
    assert warnings(play.on(DataUsed({"logs": 1}))) == [("80", 6), ("0", None)]


# -- low-data mode -----------------------------------------------------------------------------------------------------


def a_day(seed: int, low: bool) -> tuple[Play, list[Any]]:
    """Sessions at random; and all that is money, with its instant."""
    rng = random.Random(seed)
    play = Play(structs.replace(SHORT, low_data="on" if low else "off", tx_updated_interval_s=60.0))
    play.plug(1).tap(ANN).charge(1).after(900.0)
    for _ in range(12):
        evse_id, card = rng.choice((1, 2)), rng.choice((ANN, BOB, "04FFFFFF"))
        port = play.port(evse_id)
        if port.transaction is None:
            play.plug(evse_id).after(1.0).tap(card)
            if play.wish[evse_id - 1].offer_ma:
                play.charge(evse_id, rng.randrange(100))
        else:
            play.charge(evse_id, rng.randrange(1, 500)) if play.wish[evse_id - 1].offer_ma else None
            if rng.random() < 0.5:
                play.unplug(evse_id)
        play.after(rng.choice((5.0, 900.0, 3_000.0)))
    unlike = ("seqNo", "customData")  # samples that were not sent have no number
    return play, [
        (r.action, r.mono_s, {key: value for key, value in r.payload.items() if key not in unlike})
        for r in play.records
        if r.stream in (Stream.MONEY, Stream.STATUS, Stream.RESULTS)
    ]  # fmt: skip


@pytest.mark.promise("S2")
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_money_is_told_at_the_same_instants_and_with_the_same_readings_whatever_the_budget_says(seed: int) -> None:
    plain, money = a_day(seed, low=False)
    low, same = a_day(seed, low=True)
    assert same == money and any(action == "TransactionEvent" for action, _, _ in money)
    samples = [len([r for r in play.records if r.stream is Stream.SAMPLES]) for play in (plain, low)]
    assert samples[0] > 3 * samples[1], samples


@pytest.mark.promise("S3")
def test_in_low_data_mode_a_sample_is_told_each_hour_and_stored_as_often_as_ever() -> None:
    play = Play(structs.replace(SHORT, low_data="on", tx_updated_interval_s=60.0)).plug(1).tap(ANN).charge(1)
    sent = len(play.records)
    for _ in range(179):
        play.charge(1, wh=10).after(60.0)
    samples = [r for r in play.records[sent:] if r.stream is Stream.SAMPLES]
    assert len(samples) == 2 and samples[1].mono_s - samples[0].mono_s == pytest.approx(LOW_SAMPLE_S, abs=61.0)
    transaction = play.port(1).transaction
    assert transaction and play.now - transaction.last.mono_s <= 60.0
    stored = play.facts["port/1"]["transaction"]
    assert stored["last"] == play.reboot(5.0).facts["port/1"]["transaction"]["last"]
    numbers = [p["seqNo"] for p in play.payloads("TransactionEvent")]
    assert numbers == list(range(len(numbers))), "what was not told leaves no hole"


def test_health_is_told_every_six_hours_and_an_alarm_at_once() -> None:
    play = Play(SHORT).on(NEARLY)

    def told() -> int:
        return len([p for p in play.payloads("DataTransfer") if p["messageId"] == "Health"])

    for _ in range(4 * 7):
        play.on(Measured(disk_free_b=10**9)).after(health.HEALTH_S)
    assert told() == 2
    play.on(Measured(disk_free_b=10 * MEGA_B))
    assert told() == 3
    shown = [p["data"] for p in play.payloads("DataTransfer") if p["messageId"] == "Health"][-1]
    assert shown["b"] == [8, 10] and shown["z"] is True


MACHINE = Machine(can_update=True)


def update(play: Play, **custom: Any) -> None:
    firmware = {"location": "https://builds.example/2.build", "retrieveDateTime": iso8601(play.epoch_s + play.now)}
    more = {"customData": {"vendorId": "station-agent", **custom}} if custom else {}
    assert play.command("UpdateFirmware", requestId=1, firmware=firmware, **more)["status"] == "Accepted"


def test_a_build_waits_for_the_month_to_end_unless_its_order_names_what_it_may_cost() -> None:
    play = Play(SHORT, machine=MACHINE).on(UpdaterTold()).on(NEARLY)
    update(play)
    assert play.updater and not play.updater.download
    play.after(11 * HOUR_S).on(DataUsed({"records": 1}))
    assert play.updater.download
    paid = Play(SHORT, machine=MACHINE).on(UpdaterTold()).on(NEARLY)
    update(paid, budgetB=3_000_000)
    assert paid.updater and paid.updater.download


def test_a_download_that_runs_pauses_when_data_gets_short() -> None:
    play = Play(SHORT, machine=MACHINE).on(UpdaterTold())
    update(play)
    assert play.updater and play.updater.download and play.station.update
    play.on(UpdaterTold(play.station.update.order, Progress.DOWNLOADING)).on(NEARLY)
    assert not play.updater.download
    assert [p["status"] for p in play.payloads("FirmwareStatusNotification")][-1] == "DownloadPaused"


def test_a_report_waits_unless_its_order_names_a_budget_and_is_sent_when_data_is_there_again() -> None:
    play = Play(SHORT).on(NEARLY)
    url = "https://logs.example/1"

    def uploads(event: Any) -> list[Upload]:
        play.station, effects = handle(play.station, event, play.now)
        play._perform(effects)
        return [effect for effect in effects if isinstance(effect, Upload)]

    assert uploads(LogRequested("c1", 1, "DiagnosticsLog", url)) == [Upload()]
    assert play.answer_to("c1")["statusInfo"]["reasonCode"] == "Postponed"
    assert uploads(LogRequested("c2", 2, "DiagnosticsLog", url, budget_b=5_000))[-1].order == "c2"
    uploads(LogRequested("c3", 3, "DiagnosticsLog", url))
    play.after(11 * HOUR_S)
    assert [each.order for each in uploads(DataUsed({"records": 1}))] == ["c3"]
    assert uploads(DataUsed({"records": 1})) == []


@pytest.mark.promise("S5")
def test_the_list_is_asked_for_three_times_a_day_and_not_with_every_connection() -> None:
    play = Play(SHORT).on(ListChanged(ListState(7, 100, WALL_S, 3, "ab" * 32))).on(NEARLY)
    for _ in range(24):
        play.on(LinkChanged(Link.UP)).on(Registered(Registration.ACCEPTED))
        play.on(ListChanged(ListState(7, 100, WALL_S + play.now, 3, "ab" * 32))) if play.now < 60 else None
        play.after(PLACES_S + 3_500.0).on(LinkChanged(Link.DOWN)).after(40.0)
    waits = [b - a for a, b in zip(play.list_asked_at, play.list_asked_at[1:], strict=False)]
    assert play.list_asked_at[0] >= EVERY_S and len(play.list_asked_at) > 2 and min(waits) >= 3_600.0


# -- the meter ---------------------------------------------------------------------------------------------------------


class Line:
    """A modem's interface, as Linux counts it."""

    def __init__(self) -> None:
        self.name, self.number, self.sent_b, self.is_ours = "ppp0", 3, 0, True
        self.told: Told | None = None

    def found(self, _: object) -> tuple[dict[str, Counters], bool]:
        return ({self.name: Counters(self.number, 0, self.sent_b)} if self.name else {}), self.is_ours


def metered(line: Line, kept: dict[str, Any] | None = None, boot: str = "b1") -> tuple[DataMeter, list[DataUsed]]:
    words: list[DataUsed] = []
    return DataMeter(kept or {}, boot, words.append, 0.0, line.found, lambda: line.told), words


def test_a_word_comes_every_ten_minutes_or_with_every_four_megabytes() -> None:
    line = Line()
    meter, words = metered(line)
    for tick in range(int(2 * TELL_S / LOOK_S) + 1):
        line.sent_b += 100
        meter.spent(Cause.RECORDS, 60)
        meter.due(tick * LOOK_S)
        assert meter.next_deadline() == (tick + 1) * LOOK_S
    assert len(words) == 2 and words[0].used == {"records": 61 * 60, "overhead": 61 * 40}
    line.sent_b += 4 * MEGA_B
    meter.due(3_000.0)
    assert len(words) == 3 and words[2].session == "ppp0/3"


def test_a_restart_of_the_agent_loses_nothing_and_a_boot_begins_anew() -> None:
    line = Line()
    meter, _ = metered(line)
    line.sent_b = 1_000
    meter.look()
    word = meter.word()
    assert word and word.used == {"overhead": 1_000}
    line.sent_b = 1_700
    again, _ = metered(line, dict(word.kept))
    again.look()
    assert (heard := again.word()) and heard.used == {"overhead": 700}
    line.sent_b = 1_300
    booted, _ = metered(line, dict(word.kept), boot="b2")
    booted.look()
    assert (heard := booted.word()) and heard.used == {"overhead": 1_300}
    assert booted.word() is None


def test_what_leaves_send_is_theirs_by_name() -> None:
    line = Line()
    meter, _ = metered(line)
    for size_b in (100, 400):
        line.told = Told("s1", leaves=(Leaf("10.0.0.2", "SA-2", Traffic(1, size_b)), Leaf("10.0.0.3", "", Traffic())))
        line.sent_b += 500
        meter.look()
    word = meter.word()
    assert word and word.used == {"leaves": 400, "overhead": 600} and word.leaves == {"SA-2": 400}
    line.told = Told("s2", leaves=(Leaf("10.0.0.2", "SA-2", Traffic(1, 50)),))
    line.sent_b += 60
    meter.look()
    assert (word := meter.word()) and word.leaves == {"SA-2": 50}


def test_what_goes_over_ethernet_is_no_claim_on_the_modem() -> None:
    line = Line()
    line.is_ours = False
    meter, _ = metered(line)
    meter.spent(Cause.UPDATES, 900)
    line.sent_b = 90
    meter.look()
    assert (word := meter.word()) and word.used == {"overhead": 90}


def test_bearers_are_what_linux_calls_a_modems(tmp_path: Path) -> None:
    for name, number in (("ppp1", 7), ("eth0", 2), ("wwan0", 8)):
        (tmp_path / name / "statistics").mkdir(parents=True)
        (tmp_path / name / "ifindex").write_text(f"{number}\n")
        (tmp_path / name / "statistics/rx_bytes").write_text("12\n")
        (tmp_path / name / "statistics/tx_bytes").write_text("34\n")
    (tmp_path / "wwan0" / "statistics/tx_bytes").write_text("not yet")
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    row = "{} 00000000 0100000A 0003 0 0 {} 00000000 0 0 0\n"
    (tmp_path / "route").write_text(head + row.format("ppp1", 50) + row.format("eth0", 600))  # the kernel's order
    assert bearers((), tmp_path, tmp_path / "route") == ({"ppp1": Counters(7, 12, 34)}, True)
    assert bearers(["eth0"], tmp_path, tmp_path / "route")[0].keys() == {"eth0", "ppp1"}
    (tmp_path / "route").write_text(head + row.format("eth0", 600) + row.format("ppp1", 700))
    assert not bearers((), tmp_path, tmp_path / "route")[1]
    assert bearers((), tmp_path / "none", tmp_path / "none") == ({}, False)


# -- a month with a small budget ---------------------------------------------------------------------------------------


@pytest.mark.promise("S2")
def test_in_a_month_with_a_small_budget_the_warning_comes_samples_get_slow_and_money_is_as_prompt_as_ever() -> None:
    """One megabyte until midnight, where each message costs 20 kB; then the next month begins."""
    small = Settings(
        station_id="SIM-0001", restart_delay_max_s=5.0, data_budget_mb=1, data_billing_day=22,
        tx_updated_interval_s=60.0, aligned_interval_s=0.0,
    )  # fmt: skip
    with World(3, small, ports=1, is_metered=True).closing() as world:
        world.net.overhead_b = 20_000
        world.power_on().run(60.0).allow(ANN).run(10.0)
        late: list[float] = []
        per_hour: list[int] = []
        for _ in range(11):
            samples = len(samples_of(world))
            world.plug(1, 2_000).run(2.0).tap(ANN)
            begun = world.now
            world.run_until(lambda: money_of(world)[-1:] == ["Started"], 60.0)
            late.append(world.now - begun)
            world.run(3_000.0)
            world.leave(1).run_until(lambda: money_of(world)[-1:] == ["Ended"], 60.0).run(540.0)
            per_hour.append(len(samples_of(world)) - samples)
        assert not world.cloud.violations
        assert max(late) <= 2.0, late
        told = [e["actualValue"] for p in world.cloud.log if p.action == "NotifyEvent" for e in p.payload["eventData"]
                if e["variable"]["name"] == "BudgetUsed"]  # fmt: skip
        assert told[0] == "80" and told[-1] == "0", told
        slow = per_hour.index(min(per_hour))
        assert per_hour[0] > 30 and min(per_hour) <= 2 and per_hour[-1] > 30, per_hour
        assert 0 < slow < 10


def money_of(world: World) -> list[str]:
    return [r.payload["eventType"] for r in world.cloud.log
            if r.action == "TransactionEvent" and r.payload["eventType"] != "Updated"]  # fmt: skip


def counted_b(world: World) -> int:
    assert world.shell
    return world.shell.station.data.month.all_b


def samples_of(world: World) -> list[Any]:
    return [r for r in world.cloud.log
            if r.action == "TransactionEvent" and r.payload["triggerReason"] == "MeterValuePeriodic"]  # fmt: skip


def test_a_power_cut_loses_no_more_than_ten_minutes_of_the_count() -> None:
    with World(4, ports=1, is_metered=True).closing() as world:
        world.power_on().run(3_600.0)
        counted = counted_b(world)
        passed = world.net.bearer.sent_b + world.net.bearer.received_b
        assert 0 <= passed - counted < 3_000 and counted > 0
        world.cut_power().run(5.0).power_on().run(60.0)
        assert counted_b(world) >= counted
