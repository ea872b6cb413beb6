"""The controller's slots and its receiver, on CPython: power cuts, damage, strangers, hostile bytes."""

import random
import struct
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update import index
from agent.update.chip import Image
from board.controller import receive, slots
from board.controller.receive import Receiver, Refused, Target
from board.controller.slip import BODY_MAX, Deframer, frame
from board.controller.slots import NONE, SECTOR_B, SLOT_B, A, B
from tests.conftest import LONG
from tests.slotchip import BOARD, Chip, Cut, Flash, Home, component, sealed

State = tuple[int, int, int, int]
OLD, NEW, OTHER = sealed("1"), sealed("2", 31_000), sealed("0", 9_000)
IMAGE, BEFORE = component(NEW), component(OLD, version="1")
THIRD = component(OTHER, version="0")


def flashed(home: Home, image: Image) -> None:
    """What the receiver does with a component, without a line."""
    target = Target(home, image.raw)
    target.open(lambda: None)
    for number in target.wanted:
        target.put(number, image.stored(image.pieces[number]))
    target.finish()
    target.activate()


# -- which slot boots

states = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, slots.TRIES), st.integers(0, 2))
wholes = st.tuples(st.booleans(), st.booleans())


@given(states)
def test_a_state_is_read_as_it_was_written(state: State) -> None:
    assert slots.load(slots.dump(state)) == state


@given(st.one_of(st.binary(max_size=20), states.map(slots.dump)), st.integers(0, 79))
def test_a_spoilt_state_means_no_trial_and_is_never_an_error(data: bytes, bit: int) -> None:
    spoilt = bytearray(data)
    if bit < 8 * len(spoilt):
        spoilt[bit // 8] ^= 1 << bit % 8
    assert slots.load(bytes(spoilt)) == (A, NONE, 0, NONE)


@pytest.mark.promise("S8")
@given(states, wholes)
def test_what_boots_is_whole_and_nothing_boots_only_where_nothing_is(
    state: State, is_whole: tuple[bool, bool]
) -> None:
    slot, after = slots.at_boot(state, is_whole)
    assert is_whole[slot] if slot != NONE else not any(is_whole)
    assert slots.load(slots.dump(after)) == after


@pytest.mark.promise("S8")
@given(states, wholes)
def test_a_trial_ends_after_its_tries_in_the_confirmed_slot_if_that_is_whole(
    state: State, is_whole: tuple[bool, bool]
) -> None:
    for _ in range(slots.TRIES + 1):
        slot, state = slots.at_boot(state, is_whole)
    assert state[1] == NONE
    assert slot == state[0] or not is_whole[state[0]]


@given(states, wholes)
def test_without_a_trial_no_boot_changes_anything(state: State, is_whole: tuple[bool, bool]) -> None:
    state = (state[0], NONE, 0, state[3])
    assert slots.at_boot(state, is_whole)[1] == state, "mains that flicker wear nothing out"


@pytest.mark.promise("S8")
@given(states, wholes)
def test_the_slot_that_may_be_written_is_never_the_one_that_would_boot_without_it(
    state: State, is_whole: tuple[bool, bool]
) -> None:
    opened = slots.opened(state, is_whole)
    target = slots.target(state, is_whole)
    gone = (False, is_whole[1]) if target == A else (is_whole[0], False)
    assert slots.at_boot(opened, gone)[0] == slots.without_trial(state, is_whole) or not any(gone)
    after = slots.on_trial(opened, target)
    there = (True, is_whole[1]) if target == A else (is_whole[0], True)
    assert slots.at_boot(after, there)[0] == target


def test_an_image_says_its_board_and_version_and_any_spoilt_bit_shows() -> None:
    rng = random.Random(1)
    assert slots.intact(NEW, BOARD) == (len(NEW), BOARD, "2", NEW[96:128])
    assert slots.intact(NEW + b"\xff" * 100, BOARD), "what is behind it is nobody's"
    assert slots.intact(NEW, "solo") is None
    for _ in range(100):
        spoilt = bytearray(NEW)
        spoilt[rng.randrange(len(NEW))] ^= 1 << rng.randrange(8)
        assert slots.intact(bytes(spoilt), BOARD) is None
    assert slots.intact(b"", BOARD) is None and slots.intact(NEW[:-1], BOARD) is None


# -- power cuts

Story = Callable[[], Chip]


def updated(chip: Chip) -> None:
    """The whole of an update: written, booted on trial, confirmed."""
    flashed(chip.home, IMAGE)
    chip.reset()
    chip.step(chip.now + 1, b"")
    assert chip.version == "2"
    chip.flash.rename(slots.NEXT, slots.FILE)


def never_flashed() -> Chip:
    return Chip(OLD)


def flashed_before() -> Chip:
    chip = Chip(OTHER)
    flashed(chip.home, BEFORE)
    chip.flash.files[slots.FILE] = slots.dump(slots.confirmed(B))
    return chip


def in_a_trial() -> Chip:
    """Of a third image, which is overwritten."""
    chip = Chip(OLD)
    flashed(chip.home, THIRD)
    chip.power_on()
    return chip


def interrupted() -> Chip:
    chip = Chip(OLD)
    chip.flash.cut_at = chip.flash.operations + 7
    with pytest.raises(Cut):
        flashed(chip.home, IMAGE)
    chip.power_on()
    return chip


@pytest.mark.promise("S8")
@pytest.mark.parametrize("story", [never_flashed, flashed_before, in_a_trial, interrupted])
@pytest.mark.parametrize("torn", [0.0, pytest.param(0.3, marks=pytest.mark.long), 0.999])
def test_a_power_cut_at_any_operation_boots_the_old_image_or_the_new(story: Story, torn: float) -> None:
    cut, found = 0, set()
    while True:
        cut += 1
        chip = story()
        chip.flash.cut_at, chip.flash.torn = chip.flash.operations + cut, torn
        try:
            updated(chip)
            break
        except Cut:
            chip.power_on()
        chip.step(chip.now + 1, b"")
        assert chip.version in ("1", "2") or (story is in_a_trial and chip.version == "0" and cut == 1), cut
        found.add(chip.version)
        assert chip.settled() in ("1", "2")
        updated(chip)
        assert chip.settled() == "2", "and it can be flashed again"
    print(f"{cut - 1} cuts")
    assert {"1", "2"} <= found and cut > 20
    assert chip.settled() == "2"


@pytest.mark.promise("S8")
def test_what_was_written_before_a_cut_is_not_written_again() -> None:
    chip = interrupted()
    image = IMAGE
    target = Target(chip.home, image.raw)
    assert 0 < len(target.wanted) <= len(image.pieces)
    target.open(lambda: None)
    target.put(target.wanted[0], image.stored(image.pieces[target.wanted[0]]))
    assert len(Target(chip.home, image.raw).wanted) == len(target.wanted)


@pytest.mark.promise("S8")
def test_a_try_that_cannot_be_counted_is_not_made() -> None:
    chip = Chip(OLD)
    flashed(chip.home, IMAGE)
    chip.flash.is_full = True
    assert chip.settled() == "1"
    chip.flash.is_full = False
    chip.power_on()
    chip.step(chip.now + 1, b"")
    assert chip.version == "2", "later it is"


@pytest.mark.promise("S8")
def test_a_damaged_slot_is_not_booted_and_without_any_the_receiver_waits() -> None:
    chip = Chip(OLD, NEW)
    assert chip.settled() == "1"
    chip.flash.data[5_000] ^= 1
    assert chip.settled() == "2"
    chip.flash.data[SLOT_B + 5_000] ^= 1
    assert chip.settled() == "" and chip.is_receiving
    flashed(chip.home, IMAGE)
    assert chip.settled() == "2", "a trial that nobody confirms stays where there is nothing to go back to"


@pytest.mark.promise("S8")
def test_an_image_of_another_board_in_a_slot_is_not_booted() -> None:
    assert Chip(sealed("1", board="solo"), NEW).settled() == "2"


# -- what the receiver refuses


def refused(home: Home, image: Image) -> str:
    with pytest.raises(Refused) as caught:
        flashed(home, image)
    return str(caught.value.code)


@pytest.mark.promise("S8", "S9")
def test_another_boards_image_is_refused_before_the_first_byte_is_touched() -> None:
    chip = Chip(OLD)
    before = bytes(chip.flash.data), dict(chip.flash.files)
    assert refused(chip.home, component(sealed("2", board="solo"), "solo")) == "board"
    assert (bytes(chip.flash.data), chip.flash.files) == before
    assert refused(chip.home, component(sealed("2", board="solo"))) == "verify", "its index lies, it does not"
    assert chip.settled() == "1"


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda version, facts, files: [2, facts, files],
        lambda version, facts, files: [version, {}, files],
        lambda version, facts, files: [version, facts, []],
        lambda version, facts, files: [version, facts, files * 2],
        lambda version, facts, files: [version, facts, [["x", 0, files[0][2][:-2] + files[0][2][-1:] * 30]]],
        lambda version, facts, files: [version, facts, [["x", 0, [[b"", 1, 1]]]]],
        lambda version, facts, files: [version, facts, [["x", 0, [[1 << 40, 4_096, 4_096]]]]],
        lambda version, facts, files: [version, facts, [["x", 0, [[bytes(32), 4_097, 4_096]]]]],
        lambda version, facts, files: [version, facts, [["x", 0, [[bytes(32), 100, 100]] * 2]]],
        lambda version, facts, files: [version, facts, [["x", 0, []]]],
        lambda version, facts, files: {"version": version},
        lambda version, facts, files: 7,
    ],
    ids=range(12),
)
def test_an_index_that_is_none_is_refused_and_nothing_is_touched(spoil: Callable[..., object]) -> None:
    chip, image = Chip(OLD), IMAGE
    version, facts, files = cbor2.loads(image.raw)
    before = bytes(chip.flash.data)
    assert refused(chip.home, replace(image, raw=cbor2.dumps(spoil(version, facts, list(files))))) == "format"
    assert bytes(chip.flash.data) == before


@pytest.mark.promise("S8", "S9")
@pytest.mark.parametrize("stored", [b"", b"\x00" * 40, random.Random(3).randbytes(4_096)])
def test_a_piece_that_is_not_what_the_index_says_is_never_written(stored: bytes) -> None:
    chip, image = Chip(OLD), IMAGE
    target = Target(chip.home, image.raw)
    target.open(lambda: None)
    with pytest.raises(Refused):
        target.put(0, stored)
    assert bytes(chip.home.slot(B)[:SECTOR_B]) == b"\xff" * SECTOR_B
    with pytest.raises(Refused):
        target.finish()


@pytest.mark.promise("S8", "S9")
def test_a_piece_of_the_right_size_that_is_another_is_never_written() -> None:
    chip, rng = Chip(OLD), random.Random(4)
    image = component(slots.sealed(BOARD, "2", rng.randbytes(9_000)))
    assert image.pieces[1].stored_b == SECTOR_B, "as it is"
    target = Target(chip.home, image.raw)
    target.open(lambda: None)
    with pytest.raises(Refused) as caught:
        target.put(1, rng.randbytes(SECTOR_B))
    assert caught.value.code == "hash" and bytes(chip.home.slot(B)[SECTOR_B : 2 * SECTOR_B]) == b"\xff" * SECTOR_B


@pytest.mark.promise("S8")
def test_a_worn_sector_and_a_full_file_system_are_refused_and_the_old_image_stays() -> None:
    chip = Chip(OLD)
    chip.flash.worn = SLOT_B // SECTOR_B + 2
    assert refused(chip.home, IMAGE) == "verify"
    assert chip.settled() == "1"
    chip = Chip(OLD)
    chip.flash.is_full = True
    with pytest.raises(OSError, match="full"):
        flashed(chip.home, IMAGE)
    assert chip.settled() == "1"


def test_two_sectors_that_are_the_same_are_sent_once() -> None:
    image = component(slots.sealed(BOARD, "2", bytes(5 * SECTOR_B)))
    assert len(image.pieces) < 5
    chip = Chip(OLD)
    flashed(chip.home, image)
    chip.power_on()
    chip.step(chip.now + 1, b"")
    assert chip.version == "2"


def test_the_image_that_runs_is_not_written_again() -> None:
    chip = Chip(OLD)
    target = Target(chip.home, BEFORE.raw)
    assert not target.wanted and target.slot == A
    target.finish()
    target.activate()
    assert slots.load(chip.home.read(slots.FILE)) == (A, NONE, 0, NONE)


# -- hostile bytes

NONCE = bytes(8)


def request(kind: int, number: int, /, **fields: object) -> bytes:
    return frame(kind, number, cbor2.dumps(fields) if fields else b"")


HELLO = request(receive.HELLO, 0, versions=[1, 1], nonce=NONCE, who="test")


def answers(home: Home) -> list[tuple[int, int, dict[str, object]]]:
    said, home.said = home.said, b""
    return [(kind, seq, cbor2.loads(body) if body else {}) for kind, seq, body in Deframer().feed(said)]


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 64), (1 << 64) - 1), st.binary(max_size=40), st.text(max_size=9),
        st.sampled_from(["head", "pieces", NONCE, 0, 1, 30_000]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
names = st.sampled_from(["versions", "nonce", "digest", "what", "size_b", "seq", "first", "when_idle", "override", "x"])
requests = st.dictionaries(names, values, max_size=6).map(cbor2.dumps)
bodies = st.one_of(st.binary(max_size=60), requests, values.map(cbor2.dumps))
hostile_frames = st.builds(frame, st.integers(0, 255), st.integers(0, 9), bodies)


@pytest.mark.promise("S8", "S9")
@settings(max_examples=2_000 if LONG else 60)
@given(st.lists(st.one_of(hostile_frames, st.binary(max_size=50), st.just(HELLO)), max_size=30), st.booleans())
def test_no_frame_crashes_the_receiver_or_touches_the_slot_that_runs(sent: list[bytes], is_planned: bool) -> None:
    home = Home(Flash(OLD))
    receiver = Receiver(home)
    image = IMAGE
    if is_planned:
        receiver.feed(HELLO + request(receive.SEND, 1, what="head", size_b=len(image.raw), digest=b"", seq=0))
        receiver.feed(frame(receive.DATA, 0, image.raw))
        receiver.feed(request(receive.PLAN, 2, digest=Target(home, image.raw).digest))
    for data in sent:
        receiver.feed(data)
        assert len(home.said) < 60_000
        home.said = b""
    assert slots.intact(home.slot(A), BOARD), "the slot that runs"
    chip = Chip()
    chip.home.flash.data[:], chip.home.flash.files = home.flash.data, home.flash.files
    assert chip.settled() == "1"


def test_requests_are_answered_once_done_once_and_only_in_their_order() -> None:
    home = Home(Flash(OLD, NEW))
    receiver = Receiver(home)
    receiver.feed(request(receive.STATUS, 1))
    assert answers(home) == [(receive.REFUSED, 1, {"code": "usage", "sentence": "say HELLO first"})]
    receiver.feed(HELLO + HELLO)
    (kind, _, identity), again = answers(home)
    assert kind == receive.HELLO + 0x40 and again[2] == identity
    assert (identity["kind"], identity["board"], identity["software"]) == ("controller", BOARD, "1")
    receiver.feed(request(receive.ROLLBACK, 1, reason="x"))
    receiver.feed(request(receive.ROLLBACK, 1, reason="x"))
    assert [said[2] for said in answers(home)] == [{"result": "rolled-back"}] * 2
    assert slots.load(home.read(slots.FILE)) == (A, B, slots.TRIES, NONE), "once, or it would be back"
    receiver.feed(request(receive.STATUS, 7) + request(receive.STATUS, 0))
    assert not answers(home)
    receiver.feed(request(receive.STATUS, 2))
    ((_, _, state),) = answers(home)
    assert state["trial"] == "b" and state["tries"] == slots.TRIES and state["running"] == "b"
    assert state["slots"]["a"] == {"version": "1", "digest": OLD[96:128].hex()}  # type: ignore[index]


def test_frames_that_were_lost_come_again_and_those_beyond_the_window_are_dropped() -> None:
    home = Home(Flash(OLD))
    receiver = Receiver(home)
    index_bytes = IMAGE.raw
    parts = [index_bytes[at : at + 20] for at in range(0, len(index_bytes), 20)]
    receiver.feed(HELLO + request(receive.SEND, 1, what="head", size_b=len(index_bytes), digest=b"", seq=0xFFFE))
    answers(home)
    for number in (1, 3, 3, 8):
        receiver.feed(frame(receive.DATA, 0xFFFE + number & 0xFFFF, parts[number]))
    (*_, (kind, seq, body)) = Deframer().feed(home.said)
    assert (kind, seq) == (receive.DATA + 0x40, 0xFFFE) and body == bytes((receive.WINDOW, 0b101))
    for number in [*range(len(parts)), *range(3)]:
        receiver.feed(frame(receive.DATA, 0xFFFE + number & 0xFFFF, parts[number]))
    (*_, (_, seq, body)) = Deframer().feed(home.said)
    assert seq == (0xFFFE + len(parts)) & 0xFFFF and body == bytes((receive.WINDOW,))
    home.said = b""
    receiver.feed(request(receive.PLAN, 2, digest=Target(home, index_bytes).digest))
    assert answers(home)[0][2]["is_known"] is True


@pytest.mark.promise("S8", "S9")
@pytest.mark.parametrize("size_b", [-1, 0, receive.HEAD_MAX_B + 1, 1 << 40])
def test_a_head_that_is_too_long_is_refused_before_its_first_byte(size_b: int) -> None:
    home = Home(Flash(OLD))
    receiver = Receiver(home)
    receiver.feed(HELLO + request(receive.SEND, 1, what="head", size_b=size_b, digest=b"", seq=0))
    assert answers(home)[1][2]["code"] == "format"
    for number in range(4):
        receiver.feed(frame(receive.DATA, number, bytes(BODY_MAX)))
    assert not home.said and not receiver._head, "nobody has asked for it"


def test_a_head_is_as_short_as_it_must_be() -> None:
    image = component(sealed("2", SLOT_B - slots.HEAD_B))
    assert len(image.raw) < receive.HEAD_MAX_B and len(image.pieces) == SLOT_B // SECTOR_B
    assert index.load(image.raw).size_b == SLOT_B
    assert struct.calcsize(slots.HEAD) == slots.HEAD_B
