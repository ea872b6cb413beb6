"""The flash protocol, both ends, over a simulated line: a flash arrives whole, goes on where it was, and nobody who
sends rubbish changes anything."""

import random
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update import build, line, protocol
from agent.update.line import BODY_MAX, DATA, Deframer, frame, packed
from agent.update.protocol import BACKLOG_B, Desk, Device
from agent.update.refusal import Refused
from tests.flashline import Simulation, Wire
from tests.flashstation import Flasher, Slots, Station, made
from tools.flashing import steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.steps import Wish
from tools.flashing.talk import Steps


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildFile]:
    with closing(BuildFile(made(tmp_path_factory.mktemp("builds")))) as file:
        yield file


def connected(
    flasher: Flasher, station: Station, baud: float = 921_600, now: float = 0.0, **faults: float
) -> Simulation:
    rng = random.Random(7)
    there, back = (Wire(baud, 0.001, rng=rng, **faults) for _ in range(2))  # type: ignore[arg-type]
    return Simulation(flasher, station, there, back, now)


def flash(station: Station, wish: Wish, baud: float = 921_600, **faults: float) -> tuple[Flasher, float]:
    """One whole flash; the flasher, and how long it took."""
    flasher = Flasher(b"%08d" % (station.now * 1_000))
    flasher.begin(steps.flashed(flasher.talk, wish, flasher.tell), station.now)
    seconds = connected(flasher, station, baud, station.now, **faults).run(lambda: flasher.is_done)
    return flasher, seconds


# -- a flash ----------------------------------------------------------------------------------------------------------


def test_a_build_comes_onto_a_station(file: BuildFile) -> None:
    station = Station(job_s=0.002)
    flasher, _ = flash(station, Wish(file, waits=False))
    assert flasher.refused is None and flasher.result.result == "activated"
    slots = station.slots
    assert slots.activated == "2.0.0" and slots.puts == flasher.told[1][1]["wanted"]
    wanted = protocol.numbered(build.load_head(slots.head, None))
    assert slots.have.keys() == {piece.digest for piece in wanted}
    assert [name for name, _ in flasher.told if name != "progress"] == ["identified", "planned", *["stage"] * 4]


def test_only_what_the_station_runs_is_sent(file: BuildFile) -> None:
    """A build for two processors weighs half of itself."""
    flasher, _ = flash(Station(), Wish(file, waits=False))
    assert flasher.talk.counts.data_b < file.size_b * 0.6


def test_what_is_there_is_not_sent_again(file: BuildFile) -> None:
    station = Station()
    flash(station, Wish(file, waits=False))
    station.device.close()
    again, seconds = flash(station, Wish(file, waits=False))
    assert again.result.wanted_b == 0 and again.talk.counts.data_b == 0 and seconds < 1


def test_a_dry_run_tells_the_plan_and_changes_nothing(file: BuildFile) -> None:
    station = Station()
    flasher, _ = flash(station, Wish(file, is_dry=True, rate_bps=1_000))
    plan = dict(flasher.told)["planned"]
    assert flasher.result.result == "planned" and plan["wanted"] == plan["pieces"] > 30
    assert plan["seconds"] == round(plan["wanted_b"] / 1_000, 1)
    assert not station.slots.head and not station.slots.have and not station.slots.staged


def test_after_a_dry_run_no_piece_is_taken(file: BuildFile) -> None:
    """A flasher that sends all the same is refused: nothing was begun that pieces could belong to."""
    station, flasher = Station(), Flasher()

    def talked() -> Steps:
        yield from flasher.talk.hello()
        want = yield from flasher.talk.plan(file.slim("x86_64", "duo_sim"), is_dry=True)
        yield from flasher.talk.send("pieces", lambda at, n: bytes(n), want["wanted_b"], b"")

    flasher.begin(talked())
    connected(flasher, station).run(lambda: flasher.is_done)
    assert flasher.refused is not None and flasher.refused.code == "usage" and not station.slots.puts


def test_a_wrong_station_is_never_asked_to_take_anything(file: BuildFile) -> None:
    for slots, wish, code in (
        (Slots(platform="aarch64"), Wish(file, serial="SA-0002"), "wrong-device"),
        (Slots(platform="riscv64"), Wish(file), "platform"),
        (Slots(has_session=True), Wish(file), "session"),
    ):
        flasher, _ = flash(Station(slots), wish)
        assert flasher.refused is not None and flasher.refused.code == code and not slots.head


def test_a_dev_build_is_refused_by_the_tool_itself(tmp_path: Path) -> None:
    """A station in production has been asked who it is, and no more."""
    desk = Desk()
    with closing(BuildFile(made(tmp_path, role="dev"))) as dev:
        flasher, _ = flash(Station(desk=desk), Wish(dev))
        assert flasher.refused is not None and flasher.refused.code == "role"
        assert [name for name, _ in flasher.told] == ["identified"] and not desk.text.data and not desk.holder
        flasher, _ = flash(Station(Slots(is_production=False)), Wish(dev, waits=False))
        assert flasher.result.result == "activated"


def test_a_session_delays_the_start_or_is_overridden_with_a_reason(file: BuildFile) -> None:
    slots = Slots(has_session=True)
    flasher, _ = flash(Station(slots), Wish(file, waits=False, when_idle=True))
    assert flasher.result.result == "waiting" and slots.staged and not slots.activated
    flasher, _ = flash(Station(slots), Wish(file, waits=False, override="sensor broken"))
    assert flasher.result.result == "activated" and slots.overrides == ["sensor broken"]


# -- how fast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [115_200, 921_600, 3_000_000])
def test_the_pieces_have_at_least_95_percent_of_the_wire(tmp_path: Path, baud: int) -> None:
    with closing(BuildFile(made(tmp_path, files=40, platforms=("x86_64",), boards=()))) as big:
        flasher = Flasher()
        station = Station(job_s=0.001)
        flasher.begin(steps.flashed(flasher.talk, Wish(big, waits=False), flasher.tell))
        simulation = connected(flasher, station, baud)
        simulation.run(lambda: flasher.talk.sends == "pieces")
        began_s = simulation.now
        simulation.run(lambda: ("stage", {"stage": "verify"}) in flasher.told)
    assert flasher.told[1][1]["wanted_b"] / (simulation.now - began_s) >= 0.95 * baud / 10


def test_a_slow_disk_makes_the_flasher_wait_and_loses_nothing(tmp_path: Path) -> None:
    """A fifth of a second for a piece; the backlog has its bound, and is reached."""
    station = Station(job_s=0.2)
    most_b = 0

    def look() -> bool:
        nonlocal most_b
        most_b = max(most_b, sum(piece.stored_b for piece in station.device._putting.values()))
        return flasher.is_done

    flasher = Flasher()
    with closing(BuildFile(made(tmp_path, files=80, platforms=("x86_64",), boards=()))) as big:
        flasher.begin(steps.flashed(flasher.talk, Wish(big, waits=False), flasher.tell))
        connected(flasher, station, 3_000_000).run(look)
    assert flasher.result.result == "activated" and not flasher.talk.counts.again_b
    assert BACKLOG_B <= most_b <= BACKLOG_B + line.WINDOW * BODY_MAX


# -- interruptions ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.001, 0.3]))
@settings(max_examples=12, deadline=None)
@pytest.mark.promise("S8")
def test_a_flash_that_was_cut_goes_on_and_sends_at_most_one_window_twice(
    file: BuildFile, seed: int, is_killed: bool, job_s: float
) -> None:
    """The cable is out at any instant, or the service is killed with pieces in its hands that it has acknowledged and
    not written, as many as a slow disk lets pile up."""
    rng = random.Random(seed)
    desk, slots = Desk(), Slots()
    first = Flasher(b"first   ")
    first.begin(steps.flashed(first.talk, Wish(file, waits=False), first.tell))
    station = Station(slots, desk, job_s=job_s)
    simulation = connected(first, station)
    cut_s = rng.uniform(0, 3.5)
    simulation.run(lambda: simulation.now >= cut_s or first.is_done)
    sender = first.talk.sender
    sent_b = first.talk.counts.data_b + (sender.sent_b if sender else 0)
    if is_killed:
        desk.holder = None
        station = Station(slots, desk, job_s=job_s)
    second = Flasher(b"second  ")
    second.begin(steps.flashed(second.talk, Wish(file, waits=False), second.tell), simulation.now)
    connected(second, station, now=simulation.now).run(lambda: second.is_done)
    assert second.result.result == "activated" and slots.activated
    total_b = sum(piece.stored_b for piece in protocol.numbered(build.load_head(slots.head, None))) + len(slots.head)
    assert sent_b + second.talk.counts.data_b - total_b <= line.WINDOW * BODY_MAX


@pytest.mark.parametrize("files", [29, 30])
def test_what_a_station_was_sent_of_a_build_before_is_not_mixed_with_what_comes(
    file: BuildFile, tmp_path: Path, files: int
) -> None:
    """Cut in the midst of a piece with others unwritten; and a piece before them is wanted again."""
    desk, slots, first = Desk(), Slots(), Flasher()
    first.begin(steps.flashed(first.talk, Wish(file, waits=False), first.tell))
    connected(first, Station(slots, desk, job_s=0.5)).run(lambda: bool(slots.have) and len(desk.pieces.data) > 3)
    desk.holder = None
    del slots.have[next(iter(slots.have))]
    with closing(BuildFile(made(tmp_path, "2.0.1", files=files))) as other:
        second, _ = flash(Station(slots, desk), Wish(other, waits=False))
    assert second.result.result == "activated" and not desk.pieces.data


def test_a_line_that_loses_and_spoils_ends_in_the_same_build(file: BuildFile) -> None:
    station = Station(job_s=0.001)
    flasher, _ = flash(station, Wish(file, waits=False), byte_error=1e-4, lost=0.02, twice=0.02, cut_each_b=900)
    assert flasher.result.result == "activated" and flasher.talk.counts.again_b


def test_a_flasher_that_vanishes_is_forgotten_after_half_a_minute(file: BuildFile) -> None:
    desk, slots = Desk(), Slots()
    first, second = Flasher(b"first   "), Flasher(b"second  ")
    one, two = Station(slots, desk), Station(slots, desk)
    first.begin(steps.flashed(first.talk, Wish(file, waits=False), first.tell))
    simulation = connected(first, one)
    simulation.run(lambda: first.talk.sends == "pieces")
    simulation.is_cut = True
    begun_s = simulation.now
    second.begin(steps.flashed(second.talk, Wish(file, waits=False), second.tell), begun_s)
    connected(second, two, now=begun_s).run(lambda: second.is_done)
    assert second.refused is not None and second.refused.code == "busy"
    simulation.run(lambda: desk.holder is None)
    assert simulation.now - begun_s <= 31


def test_a_station_that_was_started_anew_says_so_at_once(file: BuildFile) -> None:
    slots, flasher = Slots(), Flasher()
    flasher.begin(steps.flashed(flasher.talk, Wish(file, waits=False), flasher.tell))
    simulation = connected(flasher, Station(slots))
    simulation.run(lambda: len(slots.have) > 5)
    simulation.ends = (flasher, Station(slots))
    assert simulation.run(lambda: flasher.is_done) < 1
    assert flasher.refused is not None and flasher.refused.code == "link"
    again, _ = flash(Station(slots), Wish(file, waits=False))
    assert again.result.result == "activated" and again.talk.counts.data_b < flasher.told[1][1]["wanted_b"]


def test_a_silent_line_is_given_up_after_a_quarter_of_a_minute() -> None:
    flasher = Flasher()
    flasher.begin(flasher.talk.hello())
    simulation = connected(flasher, Station())
    simulation.is_cut = True
    assert 15 <= simulation.run(lambda: flasher.is_done) <= 16
    assert flasher.refused is not None and flasher.refused.code == "link"


def test_work_that_takes_minutes_is_no_silence(file: BuildFile) -> None:
    station = Station()
    flash(station, Wish(file, activates=False))
    station.job_s = 200.0
    flasher, seconds = flash(station, Wish(file, activates=False, is_dry=True))
    assert seconds > 300 and flasher.result.result == "planned"


def test_a_piece_that_is_not_what_was_signed_ends_the_flash_with_a_sentence(file: BuildFile) -> None:
    def fails(job: object) -> None:
        if isinstance(job, protocol.Put) and station.slots.puts == 10:
            raise Refused("hash", "a piece of the build is not what was signed: fetch the build anew")

    station = Station(Slots(fails=fails))
    flasher, _ = flash(station, Wish(file))
    assert flasher.refused is not None and flasher.refused.code == "hash" and not station.slots.staged


# -- one at a time ----------------------------------------------------------------------------------------------------


def test_a_second_flasher_may_look_and_nothing_else(file: BuildFile) -> None:
    desk = Desk()
    desk.claim(object())
    station = Station(desk=desk)
    flasher = Flasher()
    flasher.begin(steps.status(flasher.talk, flasher.tell))
    connected(flasher, station).run(lambda: flasher.is_done)
    assert flasher.result["serial"] == "SA-0001"
    flasher, _ = flash(Station(desk=desk), Wish(file))
    assert flasher.refused is not None and flasher.refused.code == "busy"
    for kind in (line.ACTIVATE, line.ROLLBACK, line.PROVISION, line.FINISH, line.ABANDON):
        assert asked(Station(desk=desk), kind, WHOLE)["code"] == "busy"


@pytest.mark.promise("S8", "S9")
@pytest.mark.parametrize(("what", "most_b"), [("head", protocol.HEAD_MAX_B), ("document", protocol.DOCUMENT_MAX_B)])
def test_what_is_too_long_is_refused_before_its_first_byte(what: str, most_b: int) -> None:
    for size_b, is_taken in ((most_b, True), (most_b + 1, False), (0, False), (-1, False)):
        fields = {"what": what, "size_b": size_b, "digest": bytes(32), "seq": 0}
        assert (asked(Station(), line.SEND, fields).get("code") is None) == is_taken


WHOLE = {
    "when_idle": False, "override": "", "reason": "", "step": "begin", "board": "x", "op": "y", "digest": b"",
}  # fmt: skip


def asked(station: Station, kind: int, fields: dict[str, object], number: int = 1) -> dict[str, object]:
    """What the station answers to one request after a HELLO."""
    hello = packed({"versions": [1, 1], "nonce": b"12345678", "who": "x"})
    for ask in (frame(line.HELLO, 0, hello), frame(kind, number, packed(fields))):
        station.receive(ask, 0.0)
    answers = [Deframer().feed(made)[0] for made in iter(lambda: station.pull(0.0), None)]
    return line.body(answers[-1][2])


def test_a_repeated_request_is_answered_again_and_not_done_again() -> None:
    station = Station()
    hello = packed({"versions": [1, 1], "nonce": b"12345678", "who": "x"})
    station.receive(frame(line.HELLO, 0, hello), 0.0)
    first = station.pull(0.0)
    ask = frame(line.ROLLBACK, 1, packed({"reason": "because"}))
    answers = []
    for _ in range(3):
        station.receive(ask, 0.0)
        answers.append(station.pull(0.0))
    assert station.slots.log == ["rolled back: because"] and len(set(answers)) == 1 and answers[0]
    station.receive(frame(line.HELLO, 0, hello), 0.0)  # an old one, which the line has repeated
    assert station.pull(0.0) is None and first is not None


def test_a_request_out_of_its_turn_is_no_request() -> None:
    for number in (0, 2, 3, 65_535):
        station = Station()
        station.receive(frame(line.HELLO, 0, packed({"versions": [1, 1], "nonce": b"12345678", "who": "x"})), 0.0)
        station.pull(0.0)
        station.receive(frame(line.ROLLBACK, number, packed({"reason": "because"})), 0.0)
        assert station.pull(0.0) is None and not station.slots.log


def test_a_log_of_any_length_is_read_in_pages() -> None:
    station = Station(Slots(log=[f"line {i} " + "ä" * (i * 7 % 900) for i in range(300)]))
    flasher = Flasher()

    def talked() -> Steps:
        yield from flasher.talk.hello()
        return (yield from steps.logged(flasher.talk, 10, flasher.tell))

    flasher.begin(talked())
    connected(flasher, station, 3_000_000).run(lambda: flasher.is_done)
    numbers = [facts["number"] for name, facts in flasher.told if name == "log"]
    assert numbers == list(range(11, 301)) and flasher.result == 300


# -- hostile ----------------------------------------------------------------------------------------------------------

FIELDS = st.dictionaries(
    st.sampled_from(
        "versions nonce who what size_b digest seq is_dry first when_idle override reason after step board op".split()
    ),
    st.one_of(
        st.integers(-(2**70), 2**70), st.binary(max_size=40), st.text(max_size=20), st.booleans(), st.none(),
        st.sampled_from(["head", "pieces", 1, 0, 1 << 20, b"x" * 32, [1, 1], [0, 99]]),
        st.lists(st.integers(), max_size=3),
    ),
)  # fmt: skip
FRAMES = st.one_of(
    st.tuples(st.integers(0, 255), st.integers(0, 65_535), st.binary(max_size=BODY_MAX)),
    st.tuples(st.integers(0, 20), st.integers(0, 6), FIELDS.map(packed)),
    st.tuples(st.just(line.HELLO), st.just(0), st.just(packed({"versions": [1, 1], "nonce": b"n" * 8, "who": ""}))),
    st.tuples(st.just(DATA), st.integers(0, 40), st.binary(max_size=BODY_MAX)),
)


def hostile(device: Device, slots: Slots, frames: list[tuple[int, int, bytes]], noise: list[bytes]) -> int:
    """How many frames came back."""
    now, answers = 0.0, 0
    for i, (kind, seq, body) in enumerate(frames):
        now += 0.1
        device.receive(noise[i % len(noise)] if noise else b"", now)
        device.receive(frame(kind, seq, body[:BODY_MAX]), now)
        for ticket, job in device.jobs():
            try:
                result = slots.perform(job)
            except Refused as refused:
                result = refused
            device.done(ticket, result, now)
        device.tick(now)
        while (out := device.pull(now)) is not None:
            assert Deframer().feed(out)
            answers += 1
    return answers


@given(st.lists(FRAMES, max_size=30), st.lists(st.binary(max_size=100), max_size=3))
@settings(max_examples=60, deadline=None)
def test_no_frames_in_any_order_crash_a_station_or_touch_its_slots(
    frames: list[tuple[int, int, bytes]], noise: list[bytes]
) -> None:
    desk, slots = Desk(), Slots()
    answers = hostile(Device(desk), slots, frames, noise)
    assert not slots.have and not slots.staged and not slots.activated and not slots.head
    assert answers <= 4 * len(frames) and sum(map(len, desk.text.data.values())) <= protocol.HEAD_MAX_B


@pytest.mark.long
@given(st.lists(FRAMES, max_size=60), st.lists(st.binary(max_size=300), max_size=3))
@settings(max_examples=20_000, deadline=None)
def test_no_frames_in_any_order_crash_a_station_for_long(
    frames: list[tuple[int, int, bytes]], noise: list[bytes]
) -> None:
    slots = Slots()
    hostile(Device(Desk()), slots, frames, noise)
    assert not slots.have and not slots.staged and not slots.head


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_flasher_in_the_wrong_order_gets_a_sentence(file: BuildFile, draw: st.DataObject) -> None:
    """Real requests with real contents, shuffled: what is staged is whole, whatever came before what."""
    slots, device = Slots(), Device(Desk())
    slim = file.slim("x86_64", "duo_sim")
    digest = sha256(slim).digest()
    possible: list[tuple[int, dict[str, object]]] = [
        (line.PLAN, {"digest": digest}), (line.WANTED, {"first": 0}), (line.FINISH, {}),
        (line.SEND, {"what": "head", "size_b": len(slim), "digest": digest, "seq": 0}),
        (line.SEND, {"what": "pieces", "size_b": draw.draw(st.integers(0, 2**40)), "digest": digest, "seq": 0}),
        (line.ACTIVATE, {"when_idle": False, "override": ""}), (line.ABANDON, {}), (line.BYE, {}),
    ]  # fmt: skip
    frames = [(line.HELLO, 0, packed({"versions": [1, 1], "nonce": b"n" * 8, "who": ""}))]
    for number in range(1, draw.draw(st.integers(1, 25))):
        kind, fields = draw.draw(st.sampled_from(possible))
        frames.append((kind, number, packed(fields)))
        if kind == line.SEND:
            frames += [(DATA, at // 1_000, slim[at : at + 1_000]) for at in range(0, len(slim), 1_000)]
    hostile(device, slots, frames, [])
    assert not slots.staged and not slots.activated


def test_a_head_of_a_gigabyte_is_refused_before_a_byte_of_it_is_kept() -> None:
    for size_b in (1 << 30, 2**70, 0, -1):
        fields: dict[str, object] = {"what": "head", "size_b": size_b, "digest": b"x" * 32, "seq": 0}
        assert asked(Station(), line.SEND, fields)["code"] == "format"


def test_a_flasher_of_another_age_is_told_which_versions_there_are() -> None:
    station = Station()
    station.receive(frame(line.HELLO, 0, packed({"versions": [7, 9], "nonce": b"12345678", "who": "x"})), 0.0)
    _, _, body = Deframer().feed(station.pull(0.0) or b"")[0]
    assert "versions 1 to 1" in str(line.body(body)["sentence"])
    station.receive(frame(line.STATUS, 1), 0.0)
    _, _, body = Deframer().feed(station.pull(0.0) or b"")[0]
    assert line.body(body)["code"] == "link"
