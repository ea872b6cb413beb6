"""The wire between host and port controller: frames out of any bytes, messages out of any frame, both ends agree."""

import ast
from binascii import crc_hqx
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import board.controller
from board.controller import contract, link
from board.controller.contract import ONE_ROW, TEXT, agree, common_minor, pack, unpack
from board.controller.link import BODY_MAX, OVERHEAD, WRONG_MAX, Deframer, crc16, frame

bodies = st.binary(max_size=40)


def bytewise(deframer: Deframer, stream: bytes) -> list[tuple[int, bytes]]:
    return [got for i in range(len(stream)) for got in deframer.feed(stream[i : i + 1])]


# -- frames


@given(st.binary(max_size=300))
def test_the_checksum_is_crc16_ccitt(data: bytes) -> None:
    assert crc16(data) == crc_hqx(data, 0xFFFF)


@given(st.lists(st.binary(max_size=BODY_MAX), max_size=8), st.lists(st.integers(1, 600), max_size=30))
def test_frames_arrive_whole_in_order_whatever_the_chunks(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(seq, body) for seq, body in enumerate(sent))
    deframer, got, at = Deframer(), [], 0
    for cut in [*cuts, len(stream)]:
        got += deframer.feed(stream[at : at + cut])
        at += cut
    assert got == list(enumerate(sent))
    assert (deframer.noise_bytes, deframer.crc_errors, deframer.gaps) == (0, 0, 0)


@pytest.mark.promise("S9")
@given(st.binary(max_size=2_000))
def test_any_bytes_are_frames_or_counted_noise(noise: bytes) -> None:
    deframer = Deframer()
    got = bytewise(deframer, noise) + deframer.idle()
    assert deframer.noise_bytes + sum(OVERHEAD + len(body) for _, body in got) == len(noise)


@st.composite
def damaged_streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Frames cut, doubled, bit-flipped and strewn with noise: the stream, and the frames in it that are intact."""
    stream = b""
    intact: list[tuple[int, bytes]] = []
    for seq in range(draw(st.integers(1, 8))):
        body = draw(bodies)
        good = frame(seq, body)
        match draw(st.sampled_from(["whole", "whole", "doubled", "cut", "flipped", "noise"])):
            case "whole":
                stream, intact = stream + good, [*intact, (seq, body)]
            case "doubled":
                stream, intact = stream + good + good, [*intact, (seq, body), (seq, body)]
            case "cut":
                start, end = sorted(draw(st.tuples(st.integers(0, len(good)), st.integers(0, len(good)))))
                assume(start < end)
                stream += good[:start] + good[end:]
            case "flipped":
                at, bit = draw(st.integers(0, len(good) - 1)), draw(st.integers(0, 7))
                stream += good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            case "noise":
                stream += draw(st.binary(max_size=20)) + good
                intact = [*intact, (seq, body)]
    return stream, intact


def candidate_bytes(stream: bytes) -> int:
    """How much looks like a frame, over all that does."""
    ends = (i + OVERHEAD + stream[i + 1] for i in range(len(stream) - 1) if stream[i] == 0x7E)
    starts = (i for i in range(len(stream) - 1) if stream[i] == 0x7E)
    return sum(end - start for start, end in zip(starts, ends, strict=True) if end <= len(stream))


def frames_by_chance(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Everything in the stream that looks like a frame with a good checksum, overlapping or not."""
    for i in range(len(stream) - OVERHEAD + 1):
        end = i + OVERHEAD + stream[i + 1]
        if stream[i] != 0x7E or stream[i + 1] > BODY_MAX or end > len(stream):
            continue
        if crc_hqx(stream[i + 1 : end - 2], 0xFFFF) == int.from_bytes(stream[end - 2 : end], "little"):
            yield stream[i + 2], stream[i + 3 : end - 2]


@pytest.mark.promise("S9")
@given(damaged_streams())
def test_after_any_damage_every_intact_frame_is_delivered_and_no_other(
    given: tuple[bytes, list[tuple[int, bytes]]],
) -> None:
    stream, intact = given
    assume(candidate_bytes(stream) - sum(OVERHEAD + len(body) for _, body in intact) <= WRONG_MAX)
    assume(list(frames_by_chance(stream)) == intact)  # one false frame in 65,536 has a good checksum: not this promise
    deframer = Deframer()
    assert bytewise(deframer, stream) + deframer.idle() == intact


@pytest.mark.promise("S9")
def test_a_stray_start_byte_holds_back_frames_only_until_the_line_is_idle() -> None:
    deframer = Deframer()
    assert deframer.feed(b"\x7e\xfa" + frame(1, b"one") + frame(2, b"two")) == []
    assert deframer.idle() == [(1, b"one"), (2, b"two")]
    assert deframer.noise_bytes == 2
    assert deframer.feed(frame(3, b"three")) == [(3, b"three")]


@pytest.mark.promise("S1")
@pytest.mark.parametrize("unit", [b"\x7e", b"\x7e\xfa", b"\x7e\xf0\x7e\x7e", b"\x7e\xfa" + b"\x7e" * 250])
def test_a_line_full_of_false_starts_costs_no_more_time_than_a_few_frames(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    deframer = Deframer()
    checked: list[int] = []

    def counted(data: bytes) -> int:
        checked.append(len(data))
        return crc16(data)

    monkeypatch.setattr(link, "crc16", counted)
    stream = unit * (10_000 // len(unit))
    for at in range(0, len(stream), 128):
        checked.clear()
        deframer.feed(stream[at : at + 128])
        if at % 1_024 == 0:
            deframer.idle()
        assert sum(checked) <= 2 * (WRONG_MAX + BODY_MAX)
    deframer.idle()
    assert deframer.noise_bytes == len(stream) and deframer.feed(frame(1, b"one")) == [(1, b"one")]


def test_what_waits_is_never_more_than_a_frame() -> None:
    deframer = Deframer()
    for _ in range(50):
        deframer.feed(b"\x7e\xfa" * 500)
        assert len(deframer._buffer) < OVERHEAD + BODY_MAX


def test_lost_and_doubled_frames_are_counted_as_gaps() -> None:
    deframer = Deframer()
    deframer.feed(frame(254, b"") + frame(255, b"") + frame(0, b""))
    assert deframer.gaps == 0
    deframer.feed(frame(2, b""))
    assert deframer.gaps == 1
    deframer.feed(frame(2, b""))
    assert deframer.gaps == 2


# -- messages


def values_of(table: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*map(value_of, table[1::3], table[2::3]))


def value_of(low: Any, high: int) -> st.SearchStrategy[Any]:
    if low is TEXT:
        return st.text(max_size=high)
    if isinstance(low, tuple):
        return values_of(low) if high == ONE_ROW else st.lists(values_of(low), min_size=1, max_size=high).map(tuple)
    return st.integers(low, high)


messages = st.sampled_from(sorted(contract.MESSAGES)).flatmap(
    lambda number: values_of(contract.MESSAGES[number]).map(lambda values: (number, *values))
)


@given(messages)
def test_every_message_within_its_bounds_survives_the_wire(message: tuple[Any, ...]) -> None:
    assert unpack(pack(*message)) == message


def test_the_longest_message_fits_a_frame() -> None:
    row = contract.PORT_REPORT[2::3]
    assert len(pack(contract.REPORT, 1 << 53, 3, row)) <= BODY_MAX
    wish = contract.PORT_WISH[2::3]
    assert len(pack(contract.WISH, 255, (wish,) * contract.PORTS_MAX)) <= BODY_MAX
    assert len(pack(contract.REFUSED, 255, "x" * 160)) <= BODY_MAX


@pytest.mark.promise("S9")
@given(st.binary(max_size=BODY_MAX))
def test_any_body_is_a_message_or_none(body: bytes) -> None:
    message = unpack(body)
    assert message is None or unpack(pack(*message)) == message


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(), inner), max_leaves=9
)


@pytest.mark.promise("S9")
@given(st.sampled_from(sorted(contract.MESSAGES)), st.lists(anything, max_size=11))
def test_a_message_with_any_content_is_within_bounds_or_none(number: int, content: list[Any]) -> None:
    message = unpack(cbor2.dumps([number, *content]))
    assert message is None or unpack(pack(*message)) == message


@pytest.mark.promise("S9")
@given(messages, st.data())
def test_one_field_out_of_bounds_spoils_the_message(message: tuple[Any, ...], data: st.DataObject) -> None:
    table = contract.MESSAGES[message[0]]
    i = data.draw(st.integers(0, len(table) // 3 - 1))
    _, low, high = table[3 * i : 3 * i + 3]
    wrong: list[Any] = [None, True, 1.0, b"", {}, [[]]]
    if low is TEXT:
        wrong += [0, "x" * (high + 1)]
    elif isinstance(low, tuple):
        good = list(message[1 + i]) if high == ONE_ROW else list(message[1 + i][0])
        good[0] = -1
        wrong += ["", [], good if high == ONE_ROW else [good]]
    else:
        wrong += ["", low - 1, high + 1]
    fields = list(message)
    fields[1 + i] = data.draw(st.sampled_from(wrong))
    assert unpack(cbor2.dumps(fields)) is None
    assert unpack(cbor2.dumps(list(message)[:-1])) is None
    assert unpack(cbor2.dumps([*message, 0])) is None


@pytest.mark.promise("S9")
def test_hostile_cbor_is_none() -> None:
    for body in (
        b"",
        b"\x81" * 240,  # nested beyond any recursion limit that the decoder has
        b"\x9b" + b"\xff" * 8,  # an array of 2**64 elements
        b"\x5b\x7f" + b"\xff" * 7,  # a byte string of 2**63 bytes
        b"\x9f" * 240,
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
        b"\x80",
        b"\x81\xf5",  # True is no message type 1
        b"\x81\x18\x63",
    ):
        assert unpack(body) is None


# -- agreement


def test_the_hash_stands_for_order_and_names_of_the_tables() -> None:
    assert contract.HASH == "264bb4ec", (
        "the contract changed: raise MINOR_LAST, or MAJOR if old readers would err; then this"
    )


def test_a_renamed_or_moved_field_changes_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {contract.hash_of_tables()}
    wish = contract.PORT_WISH
    for table in (("offer", *wish[1:]), (*wish[3:6], *wish[:3], *wish[6:]), wish[:-3]):
        messages = {**contract.MESSAGES, contract.WISH: (*contract.MINOR, "ports", table, 4)}
        monkeypatch.setattr(contract, "MESSAGES", messages)
        seen.add(contract.hash_of_tables())
    monkeypatch.setattr(contract, "FAULTS", " ".join(contract.FAULTS.split()[::-1]))
    seen.add(contract.hash_of_tables())
    assert len(seen) == 5


version_ranges = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda ends: (min(ends), max(ends)))


@given(version_ranges, version_ranges)
def test_the_highest_common_minor_is_used(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    common = set(range(ours[0], ours[1] + 1)) & set(range(theirs[0], theirs[1] + 1))
    assert common_minor(ours, theirs) == (max(common) if common else None)


def test_both_ends_refuse_what_they_cannot_understand_with_a_sentence() -> None:
    major, first, last = contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST
    assert agree(major, first, last, contract.HASH) == (last, 0, "")
    assert agree(major, first, last + 3, "00000000") == (last, 0, "")  # newer: its tables begin as ours
    minor, code, text = agree(major + 1, first, last, contract.HASH)
    assert (minor, code) == (None, contract.NO_COMMON_VERSION) and "tools/flash.py" in text and len(text) <= 160
    minor, code, text = agree(major, last + 1, last + 2, contract.HASH)
    assert (minor, code) == (None, contract.NO_COMMON_VERSION)
    minor, code, text = agree(major, first, last, "00000000")
    assert (minor, code) == (None, contract.OTHER_CONTRACT) and len(text) <= 160


# -- the firmware's subset of Python

FIRMWARE = sorted(Path(board.controller.__file__).parent.rglob("*.py"))
MODULES = {"array", "binascii", "cbor2", "gc", "hashlib", "struct", "sys", "board.controller"}  # on CPython too
OF_A_CHIP = {
    "deflate", "fixed", "io", "machine", "micropython", "os", "pins", "rp2", "select", "time", "uctypes", "vfs",
}  # fmt: skip
PORT_LAYER = ("port_", "home_", "start_", "boot", "unix")


@pytest.mark.parametrize("path", FIRMWARE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_firmware_keeps_to_what_micropython_understands(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = MODULES | OF_A_CHIP if path.stem.startswith(PORT_LAYER) else MODULES
    typing_only = {id(node) for guard in ast.walk(tree) if is_type_checking(guard) for node in ast.walk(guard)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").startswith("board.controller") or node.module in modules, where
        elif isinstance(node, ast.Import):
            assert all(alias.name in modules for alias in node.names), where
        elif isinstance(node, ast.Tuple | ast.List):
            assert not any(isinstance(item, ast.Starred) for item in node.elts), where  # PEP 448 displays
        else:
            assert not isinstance(node, ast.JoinedStr | ast.Match | ast.AsyncFunctionDef), where


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
