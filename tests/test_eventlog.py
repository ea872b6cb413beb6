"""The event log: what entered the core, for weeks, without card ids, replayed to the same decisions."""

import random
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import cli
from agent.core import handle
from agent.eventlog import recorder as recorders
from agent.eventlog.entries import (
    MAGIC,
    Entry,
    Happened,
    Header,
    Missing,
    Pseudonyms,
    Snapshot,
    Step,
    Unreadable,
    Writer,
    block,
    payloads,
    read,
    said,
    without_secrets,
)
from agent.eventlog.recorder import Recorder
from agent.eventlog.replay import Difference, Replay, replay
from agent.eventlog.segments import PAGE_B, ROOM_B, SEGMENT_MAX_B, SEGMENT_MAX_S, Append, Segments, found
from agent.events import CardTapped, Deadline, PhoneTold, PortReported, Report, UpdateRequested
from agent.policy.id_token import is_random, normalised
from agent.settings import ConfigError
from agent.sim.world import World
from tests.play import ANN, BOB, Play

KEY = b"k" * 32
HEADER = Header("S-1", "1.0")


class Disk(Append):
    """Real files; of the room that is left, and of each write, the test decides."""

    def __init__(self) -> None:
        self.free, self.takes_b = 1 << 40, 1 << 40
        self.cannot_undo = False

    def write(self, fd: int, data: bytes) -> int:
        if not self.takes_b:
            raise OSError(28, "No space left on device")
        part = data[: self.takes_b]
        self.takes_b -= len(part)
        return super().write(fd, part)

    def truncate(self, fd: int, size_b: int) -> None:
        if self.cannot_undo:
            raise OSError(5, "Input/output error")
        super().truncate(fd, size_b)

    def free_b(self, folder: Path) -> int:
        return self.free


def recorder(folder: Path, *, disk: Append | None = None, log: list[str] | None = None, **bounds: int) -> Recorder:
    lines = [] if log is None else log
    return Recorder(Segments(folder, disk or Disk(), **bounds), KEY, HEADER, lambda: 0.0, lines.append)


def story() -> list[Step]:
    """An evening at a station with two ports, as its steps."""
    steps: list[Step] = []

    class Written(Play):
        def on(self, event):  # type: ignore[no-untyped-def]
            before = self.station
            self.station, effects = handle(before, event, self.now)
            steps.append(Step(before, event, self.now, effects))
            self._perform(effects)
            return self

    play = Written()
    play.plug(1).tap(ANN)
    play.charge(1, 100).after(700)
    play.plug(2).tap("04E5E5E5")
    play.after(30).tap(BOB).see(1, offer_ma=16_000)
    play.charge(2, 7)
    play.after(400).open(1, 20).unplug(1)
    play.command("RequestStopTransaction", transactionId="b0b0b0b0b0b0b0b0-2")
    play.after(60)
    return steps


STORY = story()


def segment(steps: list[Step], size: int = 12) -> bytes:
    """Blocks of so many steps."""
    data, pseudonyms = MAGIC, Pseudonyms(KEY)
    for at in range(0, len(steps), size):
        writer = Writer(pseudonyms)
        first = steps[at]
        head = [writer.header(HEADER), writer.snapshot(first.before, first.now)] if at == 0 and first.before else []
        data += block([*head, *map(writer.step, steps[at : at + size])])
    return data


def replayed(data: bytes) -> list[str]:
    return list(Replay().lines(read(data)))


# -- the codec --------------------------------------------------------------------------------------------------------


def test_what_was_logged_is_decided_again_as_it_was_then() -> None:
    lines = replayed(segment(STORY))
    assert any("Started Authorized" in line for line in lines)
    assert any("Ended" in line for line in lines)


def test_an_event_comes_back_as_it_went_in_when_it_names_no_card() -> None:
    for then, now in zip(STORY, [e for e in read(segment(STORY)) if isinstance(e, Happened)], strict=True):
        assert now.now == then.now
        assert now.said == said(then.effects)
        if isinstance(then.event, PortReported | Deadline):
            assert now.event == then.event


def test_no_card_id_stands_in_the_log() -> None:
    plain = b"".join(zlib.decompress(payload) for payload in payloads(segment(STORY)))
    for card in (ANN, BOB, "04E5E5E5"):
        assert card.encode() not in plain
        assert card.lower().encode() not in plain
    assert b"CardTapped" in plain


def test_another_decision_is_said_with_what_it_was_then() -> None:
    def altered() -> Iterator[Entry]:
        for entry in read(segment(STORY)):
            if isinstance(entry, Happened) and any("Started" in line for line in entry.said):
                entry = Happened(entry.event, entry.now, ("NotifyEvent refused",))
            yield entry

    with pytest.raises(Difference) as told:
        list(Replay().lines(altered()))
    assert "then: NotifyEvent refused" in str(told.value)
    assert "now:  TransactionEvent" in str(told.value)


def test_a_station_that_came_out_otherwise_is_said_too() -> None:
    entries = [e for e in read(segment(STORY)) if isinstance(e, Snapshot | Happened)]
    first = entries[0]
    assert isinstance(first, Snapshot)
    with pytest.raises(Difference, match="another station"):
        list(Replay().lines([*entries, first]))


@pytest.mark.promise("S9")
def test_a_segment_cut_at_any_byte_gives_all_whole_blocks_and_nothing_else() -> None:
    whole = segment(STORY, size=5)
    all_ = list(payloads(whole))
    ends, at = [len(MAGIC)], len(MAGIC)
    for payload in all_:
        at += 8 + len(payload)
        ends.append(at)
    for cut in range(len(MAGIC), len(whole) + 1):
        count = sum(end <= cut for end in ends) - 1
        assert list(payloads(whole[:cut])) == all_[:count], cut
        torn = whole[:cut] + bytes(len(whole) - cut)  # the size had reached the disk, the data had not
        assert list(payloads(torn))[:count] == all_[:count], cut
        assert all(each in all_ for each in payloads(torn)), cut


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_no_bytes_whatever_do_more_than_give_a_sentence(noise: bytes) -> None:
    for data in (noise, MAGIC + noise, MAGIC + block([]) + noise):
        try:
            list(read(data))
        except Unreadable as error:
            assert str(error)


ROWS = st.lists(
    st.one_of(
        st.lists(st.one_of(st.sampled_from("HBSLRE"), st.integers(-5, 5), st.text(max_size=2)), max_size=5),
        st.tuples(st.just("E"), st.floats(), st.sampled_from(["CardTapped", "Deadline", "X"]), st.dictionaries(
            st.sampled_from(["uid", "x"]), st.one_of(st.none(), st.text(max_size=3)))),
        st.tuples(st.just("R"), st.floats(), st.integers(0, 3), st.dictionaries(st.integers(-3, 40), st.just(7))),
    ),
    max_size=4,
)  # fmt: skip


@given(ROWS)
@settings(max_examples=80)
def test_a_block_of_other_software_gives_a_sentence(rows: list[object]) -> None:
    try:
        list(read(MAGIC + block(rows)))
    except Unreadable as error:
        assert "other software" in str(error)


@given(st.lists(st.tuples(st.integers(1, 3), st.builds(
    Report, energy_wh=st.integers(0, 10**9), power_w=st.integers(0, 22_000), contactor=st.booleans(),
    current_ma=st.tuples(*[st.integers(0, 32_000)] * 3), closes=st.integers(0, 10**6))), max_size=20))  # fmt: skip
@settings(max_examples=40)
def test_reports_that_say_only_what_has_changed_come_back_whole(reports: list[tuple[int, Report]]) -> None:
    writer = Writer(Pseudonyms(KEY))
    steps = [Step(None, PortReported(evse_id, report), 1.5, ()) for evse_id, report in reports]
    back = [e.event for e in read(MAGIC + block(list(map(writer.step, steps)))) if isinstance(e, Happened)]
    assert back == [step.event for step in steps]


# -- what other software has written ----------------------------------------------------------------------------------

Row = list[Any]


def by_other(data: bytes, change: Callable[[Row], None]) -> bytes:
    """The segment as software 0.9 would have written it, which called some things otherwise."""
    out = MAGIC
    for payload in payloads(data):
        rows = msgspec.msgpack.decode(zlib.decompress(payload), type=list[Row])
        for row in rows:
            if row[0] == "H":
                row[1] |= {"version": "0.9", "vocabulary": "another"}
            change(row)
        out += block(rows)
    return out


def is_event(row: Row, name: str) -> bool:
    return bool(row[0] == "E" and row[2] == name)


def nothing(row: Row) -> None:
    pass


def without_a_field(row: Row) -> None:
    if row[0] == "S":
        del row[2]["problems"]


def with_a_field(row: Row) -> None:
    if is_event(row, "CardTapped"):
        row[3]["colour"] = "red"


def with_a_field_of_another_name(row: Row) -> None:
    if is_event(row, "CardTapped"):
        row[3]["card"] = row[3].pop("uid")


def with_an_event_that_is_gone(row: Row) -> None:
    if is_event(row, "CardTapped"):
        row[2] = "CardWaved"


def with_other_reports(row: Row) -> None:
    """Another field stood in front."""
    if row[0] == "H":
        row[1]["report"] = ["colour", *row[1]["report"]]
    if row[0] == "R":
        row[3] = {0: "red"} | {place + 1: value for place, value in row[3].items()}


@pytest.mark.parametrize(("change", "said_"), [
    (nothing, []), (without_a_field, ["Station.problems is new here"]),
    (with_a_field, ["CardTapped.colour is unknown here"]), (with_other_reports, ["Report.colour is unknown here"]),
], ids=lambda it: getattr(it, "__name__", ""))  # fmt: skip
def test_a_segment_whose_fields_came_or_went_replays_and_says_which(change: Any, said_: list[str]) -> None:
    lines = replayed(by_other(segment(STORY), change))
    assert lines[0].startswith("-- S-1, written by 0.9")
    assert [line[3:] for line in lines[1:] if line.startswith("-- ")] == said_
    assert [line for line in lines if not line.startswith("--")] == [
        line for line in replayed(segment(STORY)) if not line.startswith("--")
    ]


@pytest.mark.parametrize("change", [with_a_field_of_another_name, with_an_event_that_is_gone])
def test_a_segment_that_only_its_own_software_reads_is_left_out_and_the_next_one_goes_on(
    change: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "00000001.events").write_bytes(by_other(segment(STORY[:30]), change))
    (tmp_path / "00000002.events").write_bytes(segment(STORY[30:]))
    assert cli.main(["replay", str(tmp_path)]) == cli.OPERATOR
    out = capsys.readouterr()
    assert "00000001.events: 0.9 wrote this, and its Card" in out.out and "replay it with 0.9" in out.err
    decided = re.search(r"(\d+) events, decided as then", out.out)
    assert decided and int(decided[1]) >= len(STORY[30:])


def test_a_decision_that_is_another_is_no_news_where_other_software_called_things_otherwise(tmp_path: Path) -> None:
    def change(row: Row) -> None:
        without_a_field(row)
        if row[0] == "E" and len(row) > 4:
            row[4] = ["NotifyEvent refused"]

    (tmp_path / "00000001.events").write_bytes(by_other(segment(STORY), change))
    with pytest.raises(ConfigError, match=r"replay it with 0\.9"):
        list(replay(tmp_path))

    def change_alone(row: Row) -> None:
        change(row)
        restored(row)

    (tmp_path / "00000001.events").write_bytes(by_other(segment(STORY), change_alone))
    with pytest.raises(Difference):
        list(replay(tmp_path))


def restored(row: Row) -> None:
    """Its vocabulary was ours after all."""
    if row[0] == "S":
        row[2]["problems"] = 0


def test_a_log_in_another_format_is_refused_with_a_sentence() -> None:
    with pytest.raises(Unreadable, match="in a format of its own"):
        list(read(MAGIC.replace(b"1", b"2") + segment(STORY)[len(MAGIC) :]))


# -- what is left out -------------------------------------------------------------------------------------------------

CARDS = st.one_of(
    st.sampled_from([8, 14, 20]).flatmap(lambda n: st.text("0123456789ABCDEFabcdef", min_size=n, max_size=n)),
    st.text(max_size=12),
)


@given(CARDS, CARDS)
@settings(max_examples=80)
def test_a_cards_other_name_answers_the_core_as_its_own_would(one: str, two: str) -> None:
    names = Pseudonyms(KEY)
    known = normalised(one)
    other = names.of_card(one)
    assert (normalised(other) is None) == (known is None)
    if known:
        assert is_random(other) == is_random(known)
        assert other != known
        assert names.of_card(one.lower()) == names.of_card(f" {one}") == other  # as readers spell it
        if normalised(two) not in (None, known):
            assert names.of_card(two) != other
    assert Pseudonyms(b"x" * 32).of_card(one) != other or not one


def test_secrets_of_addresses_doors_and_passwords_are_left_out() -> None:
    assert without_secrets("https://ann:pw@h.example/a/b?sig=1") == "https://h.example/a/b?hidden"
    assert without_secrets("no address") == "no address"
    order = UpdateRequested("c1", 1, "https://u:p@h/x?token=t", 0.0)
    door = PhoneTold(1.0, "https://192.168.4.1", "https://192.168.4.1/#tok3n", "12345678", "ab:cd", "WIFI:T:psk", "g")
    writer = Writer(Pseudonyms(KEY))
    data = msgspec.json.encode([writer.step(Step(None, each, 0.0, ())) for each in (order, door)])
    for secret in (b"u:p@", b"token=t", b"tok3n", b"12345678", b"psk"):
        assert secret not in data


def test_what_a_password_variable_is_set_to_is_left_out() -> None:
    said_ = Pseudonyms(KEY).of({"variable": {"name": "BasicAuthPassword"}, "attributeValue": "hunter2"})
    assert "hunter2" not in str(said_)
    assert Pseudonyms(KEY).of({"variable": {"name": "Limit"}, "attributeValue": "16"})["attributeValue"] == "16"


# -- the recorder and its files ---------------------------------------------------------------------------------------


def play_into(log: Recorder, steps: list[Step]) -> None:
    for step in steps:
        assert step.before
        log.stepped(step.before, step.event, step.now, step.effects)  # type: ignore[arg-type]
        log.pump(step.now)


QUARTERS = [STORY[len(STORY) * i // 4 : len(STORY) * (i + 1) // 4] for i in range(4)]


def entries(folder: Path) -> list[Entry]:
    return [entry for path in found(folder) for entry in read(path.read_bytes())]


def test_the_folder_replays_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = recorder(tmp_path / "events")
    play_into(log, STORY)
    log.stop()
    assert cli.main(["replay", str(tmp_path / "events")]) == 0
    out = capsys.readouterr().out
    assert f"{len(STORY)} events, decided as then" in out
    assert "CardTapped" in out


def test_the_command_says_what_to_name_when_a_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    (tmp_path / "x.tar.gz").write_bytes(b"hello")
    for name in ("x", "x.tar.gz", "absent", "."):
        assert cli.main(["replay", str(tmp_path / name)]) == cli.OPERATOR


def test_time_that_passes_is_written_rarely_and_what_matters_soon(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    station = STORY[0].before
    assert station
    for minute in range(9):
        log.stepped(station, Deadline(), 60.0 * minute, ())
        log.pump(60.0 * minute)
    assert log.blocks == 0
    log.stepped(station, CardTapped(ANN), 500.0, ())
    log.pump(514.0)
    assert log.blocks == 0
    log.pump(515.0)
    assert log.blocks == 1


def test_a_segment_ends_by_size_and_by_age_and_each_can_be_read_alone(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    play_into(log, STORY[:20])
    log.pump(0.0, is_end=True)
    play_into(log, STORY[20:])
    log.pump(2 * SEGMENT_MAX_S, is_end=True)
    log.stop()
    first, second = found(tmp_path)
    for path in (first, second):
        kinds = [type(entry) for entry in read(path.read_bytes())]
        assert kinds[:2] == [Header, Snapshot]
    segments = Segments(tmp_path / "other", Disk())
    for _ in range(3):
        assert segments.append(bytes(SEGMENT_MAX_B - 100), 0.0)
        assert segments.is_full(200, 1.0)
        segments.end()
    assert len(found(tmp_path / "other")) == 3


@pytest.mark.promise("S10")
def test_the_oldest_files_go_when_all_together_are_too_long(tmp_path: Path) -> None:
    segments = Segments(tmp_path, Disk(), total_max_b=10 * PAGE_B)
    for at in range(40):
        assert segments.append(bytes(1000), float(at))
        segments.end()
    names = [path.name for path in found(tmp_path)]
    assert names == [f"{n:08}.events" for n in range(31, 41)]


@pytest.mark.promise("S10")
def test_a_disk_with_little_room_gets_it_from_the_log(tmp_path: Path) -> None:
    disk, lines = Disk(), list[str]()
    log = recorder(tmp_path, disk=disk, log=lines)
    for day_, quarter in enumerate(QUARTERS[:2]):
        play_into(log, quarter)
        log.pump((day_ + 1) * SEGMENT_MAX_S, is_end=True)
    assert len(found(tmp_path)) == 2
    disk.free = ROOM_B - 1
    play_into(log, QUARTERS[2])
    log.pump(3 * SEGMENT_MAX_S, is_end=True)
    assert len(found(tmp_path)) == 1  # the newest stays, and nothing is added
    assert len([line for line in lines if "loses events" in line]) == 1
    disk.free = 1 << 40
    play_into(log, QUARTERS[3])
    log.stop()
    after = list(read(found(tmp_path)[-1].read_bytes()))
    assert Missing(len(QUARTERS[2])) in after
    list(replay(tmp_path))  # what is there is decided again as it was


@pytest.mark.parametrize("cannot_undo", [False, True])
def test_a_write_that_fails_at_any_byte_leaves_a_log_that_replays(tmp_path: Path, cannot_undo: bool) -> None:
    rng = random.Random(1)
    for round_ in range(12):
        disk = Disk()
        disk.cannot_undo = cannot_undo
        disk.takes_b = rng.randrange(4000) if round_ else 5
        folder = tmp_path / str(round_)
        log = recorder(folder, disk=disk)
        for number, quarter in enumerate(QUARTERS):
            if number == 3:
                disk.takes_b = 1 << 40
            play_into(log, quarter)
            log.pump(quarter[-1].now, is_end=True)
        log.stop()
        assert any(line.startswith("-- S-1") for line in replay(folder))


def test_a_queue_that_is_full_loses_events_counts_them_and_replays_after_the_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "QUEUE_MAX", 10)
    lines: list[str] = []
    log = recorder(tmp_path, log=lines)
    for step in STORY[:20]:
        assert step.before
        log.stepped(step.before, step.event, step.now, step.effects)  # type: ignore[arg-type]
    log.pump(0.0)
    play_into(log, STORY[20:])
    log.stop()
    assert any("10 events are not in the event log" in line for line in lines)
    assert any(isinstance(e, Missing) and e.count == 10 for e in entries(tmp_path))
    assert "10 are missing" in list(replay(tmp_path))[-1]


def test_the_thread_writes_what_has_come_when_somebody_wants_to_read(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    log.start()
    station = STORY[0].before
    assert station
    log.stepped(station, CardTapped(ANN), 0.0, ())
    assert log.settle(20.0)
    assert sum(isinstance(e, Happened) for e in entries(tmp_path)) == 1
    log.stop()


# -- a day ------------------------------------------------------------------------------------------------------------


def day(folder: Path, hours: int, *, busy: bool) -> Recorder:
    """So many hours of a station with two ports; a busy one charges two hours in three at one of them, with a power cut
    in the middle."""
    log = recorder(folder)
    with World(3, meter_s=2.0, events=log).closing() as world:
        world.allow(ANN).power_on().run(60.0)
        for hour in range(hours):
            if busy and hour % 3 == 0:
                world.plug(1, 14_000).run(20.0).tap(ANN)
            if busy and hour % 3 == 2:
                world.unplug(1)
            if hour == 4:
                world.cut_power().run(30.0).power_on()
            world.run(3600.0)
            log.pump(world.mono())
        log.pump(world.mono(), is_end=True)
        log.stop()
    return log


def test_hours_of_a_world_replay_to_the_same_decisions(tmp_path: Path) -> None:
    day(tmp_path, 3, busy=True)
    assert "decided as then" in list(replay(tmp_path))[-1]


@pytest.mark.long
def test_a_busy_day_with_a_power_cut_replays_and_is_small(tmp_path: Path) -> None:
    log = day(tmp_path / "busy", 24, busy=True)
    assert "decided as then" in list(replay(tmp_path / "busy"))[-1]
    assert log.written_b < 1_000_000
    assert day(tmp_path / "idle", 24, busy=False).written_b < 20_000
