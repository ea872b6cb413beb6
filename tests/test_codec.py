"""The wire of docs/uplink.md: what goes in comes out, and no bytes of any kind can do worse than a WireError."""

import hashlib
import io
import json
import random
import re
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft6Validator

from agent.uplink import codec, messages
from agent.uplink.codec import (
    Ack,
    Answer,
    Batch,
    Command,
    Hello,
    LivePort,
    LiveReading,
    Mark,
    VolatileAnswer,
    VolatileRequest,
    Will,
    WireError,
    WireRecord,
)
from tools import make_keys, make_messages

Json = dict[str, Any]

DOCS = Path(__file__).parent.parent / "docs" / "uplink.md"
EPOCH, BOOT = b"EPOCH..1", b"BOOT...1"
STATUS = {"timestamp": "2026-01-01T09:59:59.500Z", "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}
RECORD = WireRecord(bytes.fromhex("0123456789abcdef"), 90_500, 1_767_261_600_000, 3, "StatusNotification", STATUS)
STREAMS = {0: (1, 1), 1: (7, 9), 2: (3, 2**63 - 1), 3: (1, 2), 4: (5, 5)}
LIVE_PORT = LivePort(1, 2, 16_000, 123_456, 3_680, (16_000, 0, 0), (230_000, 0, 0))
MARKS = {0: Mark(0), 3: Mark(12, ((2, 2), (5, 9)))}

MESSAGES: list[tuple[Callable[..., bytes], Callable[[bytes], Any], Any]] = [
    (codec.encode_record, codec.decode_record, RECORD),
    (codec.encode_record, codec.decode_record, WireRecord(BOOT, 0, None, 0, "NotInTheTable", {})),
    (codec.encode_batch, codec.decode_batch, Batch(EPOCH, 7, (codec.encode_record(RECORD), b"unreadable"))),
    (codec.encode_hello, codec.decode_hello, Hello(EPOCH, BOOT, STREAMS, 3, 1_156)),
    (codec.encode_will, codec.decode_will, Will(EPOCH, BOOT, 3)),
    (codec.encode_ack, codec.decode_ack, Ack(EPOCH, MARKS, 1_767_261_600_000)),
    (codec.encode_ack, codec.decode_ack, Ack(EPOCH, {}, 0, conflict=True)),
    (codec.encode_ack, codec.decode_ack, Ack(EPOCH, {1: Mark(7, (), BOOT, 5)}, 0, refused={0: ((5, "never"),)})),
    (codec.encode_ack, codec.decode_ack, Ack(EPOCH, {1: Mark(7, (), BOOT, 5)}, 0, hello=(BOOT, 3))),
    (codec.encode_answer, codec.decode_answer, Answer(EPOCH, 0, 5, {"totalCost": 1.5})),
    (codec.encode_request, codec.decode_request, VolatileRequest(9, "Heartbeat", {})),
    (codec.encode_response, codec.decode_response, VolatileAnswer(9, {"currentTime": "2026-01-01T00:00:00.000Z"})),
    (codec.encode_response, codec.decode_response, VolatileAnswer(9, None, "FormatViolation", "no idToken")),
    (codec.encode_live, codec.decode_live, LiveReading(5, None, (LIVE_PORT, replace(LIVE_PORT, evse_id=2)))),
    (codec.encode_command, codec.decode_command, Command("S-1", "c1", 5, "Reset", {"type": "Immediate"})),
]
DECODERS = {decode for _, decode, _ in MESSAGES}


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: 1, 1.0 and True are three different values."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def through(payload: Json) -> Json:
    """A payload to bytes and back."""
    return codec.decode_payload(codec.from_cbor(codec.to_cbor(codec.encode_payload(payload))))


# -- payloads made from the schemas -----------------------------------------------------------------------------------


@cache
def schema(name: str) -> Json:
    return make_messages.read(name)


@cache
def validator(name: str) -> Draft6Validator:
    return Draft6Validator(schema(name))


def made(rng: random.Random, node: Json, definitions: Json, depth: int = 0) -> Any:
    """Something that this schema allows; optional members become rare with depth, so that it ends."""
    if "$ref" in node:
        node = definitions[node["$ref"].removeprefix("#/definitions/")]
    if "enum" in node:
        return rng.choice(node["enum"])
    match node.get("type"):
        case "object":
            chance = 0.7 / (1 + depth)
            wanted = [m for m in node["properties"] if m in node.get("required", ()) or rng.random() < chance]
            members = {m: made(rng, node["properties"][m], definitions, depth + 1) for m in wanted}
            return {**anything(rng, 2), **members} if node.get("javaType") == "CustomData" else members
        case "array":
            count = rng.randint(node.get("minItems", 0), min(node.get("maxItems", 2), node.get("minItems", 0) + 1))
            return [made(rng, node["items"], definitions, depth + 1) for _ in range(count)]
        case "string" if node.get("format") == "date-time":
            return rng.choice([instant(rng), "2024-02-29T23:59:59+01:00"])
        case "string":
            return text(rng, node.get("maxLength", 40))
        case "boolean":
            return rng.random() < 0.5
        case "integer" | "number" as form:
            low, high = node.get("minimum", -(2**53)), node.get("maximum", 2**53)
            return rng.randint(int(low), int(high)) if form == "integer" else rng.uniform(low, high)
    return anything(rng, 2)


def instant(rng: random.Random) -> str:
    return codec.time_text(rng.randint(-62_135_596_800_000, 253_402_300_799_999))


def text(rng: random.Random, most: int) -> str:
    word = rng.choice([name for name in codec.NUMBERS if len(name) <= most])
    noise = "".join(rng.choices(string.printable + "é€", k=rng.randint(0, min(most, 30))))
    return rng.choice([word, noise, "x" * most])


def anything(rng: random.Random, depth: int) -> Json:
    """An object of any content under members of every kind: what customData and DataTransfer may hold."""
    names = ["status", "timestamp", "seqNo", "startTime", "Charging", "notInTheTable", ""]
    values: list[Callable[[], Any]] = [
        lambda: None, lambda: rng.random() < 0.5, lambda: rng.randint(-5, 30), lambda: 5.0, lambda: rng.gauss(0, 1e9),
        lambda: rng.choice([2**63, -(2**64), 10**39]), lambda: text(rng, 30), lambda: instant(rng),
    ]  # fmt: skip
    if depth:
        values += [lambda: anything(rng, depth - 1), lambda: [rng.choice(values[:8])() for _ in range(3)]]
    return {name: rng.choice(values)() for name in rng.sample(names, rng.randint(0, 4))}


def payload(name: str, seed: int) -> Json:
    made_of: Json = made(random.Random(seed), schema(name), schema(name)["definitions"])
    return made_of


NAMES = [action + half for action in make_messages.ACTIONS for half in ("Request", "Response")]


@pytest.mark.promise("S9")
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32))
def test_every_message_that_the_schemas_allow_comes_back_exactly(name: str, seed: int) -> None:
    before = payload(name, seed)
    validator(name).validate(before)
    assert same(through(before), before)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("action", ["TransactionEvent", "StatusNotification", "BootNotification", "NotifyEvent",
                                    "SecurityEventNotification"])  # fmt: skip
def test_a_record_of_each_daily_message_comes_back_exactly(action: str) -> None:
    for seed in range(60):
        record = WireRecord(BOOT, seed, None, 0, action, payload(f"{action}Request", seed))
        after = codec.decode_record(codec.encode_record(record))
        assert (after.action, after.mono_ms) == (action, seed) and same(after.payload, record.payload), f"{seed=}"


@given(seed=st.integers(0, 2**32))
def test_any_json_under_any_member_comes_back_exactly(seed: int) -> None:
    before = anything(random.Random(seed), 3)
    assert same(through(before), before)


def test_a_value_that_its_members_kind_would_read_otherwise_comes_back_exactly() -> None:
    before = {
        "status": [7, -7, 0, 7.0, True, "Charging", "7"],  # kind name
        "timestamp": [7, "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z", "2026-02-30T00:00:00.000Z", "Charging"],
        "startTime": [7, "2026-01-01T00:00:00.000Z", "Charging", 2**64],  # kind number: a time in one schema only
        "Charging": {"no kind of its own": [7, "Charging"]},
    }
    assert same(through(before), before)
    wire = codec.encode_payload(before)
    assert wire[codec.NUMBERS["status"]][:2] == [b"7", b"-7"]
    assert wire[codec.NUMBERS["timestamp"]][1] == 1_767_225_600_000


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
@example(-1)
def test_a_time_is_its_milliseconds(ms: int) -> None:
    assert codec.time_ms(codec.time_text(ms)) == ms


# -- the bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encode", "decode", "message"), MESSAGES)
def test_every_message_of_the_wire_comes_back(
    encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], message: Any
) -> None:
    assert decode(encode(message)) == message


def test_the_same_record_always_has_the_same_bytes() -> None:
    backwards = replace(RECORD, payload=dict(reversed(STATUS.items())))
    assert codec.encode_record(backwards) == codec.encode_record(RECORD)


def test_the_record_in_the_docs_is_what_we_send() -> None:
    block = DOCS.read_text().split("## One record, byte by byte")[1].split("```")[1]
    lines = [line.partition("#")[0] for line in block.splitlines()]
    assert bytes.fromhex("".join(lines)) == codec.encode_record(RECORD)


INT = st.integers(-(2**63), 2**63 - 1)
UINT = st.integers(0, 2**63 - 1)
PORTS = st.builds(
    LivePort, st.integers(1, 1_000), st.integers(0, 5), UINT, UINT, INT, st.tuples(INT, INT, INT),
    st.tuples(INT, INT, INT),
)  # fmt: skip


@given(st.builds(LiveReading, UINT, st.none() | INT, st.lists(PORTS, min_size=1, max_size=4).map(tuple)))
def test_every_live_reading_comes_back(live: LiveReading) -> None:
    assert codec.decode_live(codec.encode_live(live)) == live


def test_elements_of_a_later_version_are_ignored() -> None:
    for encode, decode, message in MESSAGES:
        wire = cbor2.loads(encode(message))
        if isinstance(message, Ack):
            wire = [*wire[:3], message.conflict, wire[4] if len(wire) > 4 else {}, *(wire[5:] or [BOOT, 1])]
            message = replace(message, hello=message.hello or (BOOT, 1))
        assert decode(cbor2.dumps([*wire, "later"])) == message


def test_text_is_read_where_a_number_could_stand() -> None:
    plain = cbor2.dumps([BOOT, 1, None, 0, "StatusNotification", {"status": "Accepted", "seqNo": 4}])
    assert codec.decode_record(plain).payload == {"status": "Accepted", "seqNo": 4}


# -- bad bytes --------------------------------------------------------------------------------------------------------


def attempt(read: Callable[..., Any], *given: Any) -> Any:
    """What it returns, or the only error it may raise."""
    try:
        return read(*given)
    except WireError as error:
        return error


def survives(data: bytes) -> None:
    for decode in DECODERS:
        assert str(attempt(decode, data))


@pytest.mark.promise("S9")
@given(st.binary(max_size=200))
def test_random_bytes_never_do_worse_than_a_wire_error(data: bytes) -> None:
    survives(data)


@pytest.mark.promise("S9")
@given(
    st.sampled_from(MESSAGES),
    st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4),
)
def test_damaged_messages_never_do_worse_than_a_wire_error(
    message: tuple[Callable[..., bytes], Any, Any], damages: list[tuple[int, bytes, int]]
) -> None:
    data = message[0](message[2])
    for at, inserted, removed in damages:
        data = data[:at] + inserted + data[at + removed :]
    survives(data)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=9)
CBOR = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=7)
        | st.dictionaries(st.integers(0, 6) | st.text(max_size=3), inner, max_size=5)
        | st.builds(cbor2.CBORTag, st.integers(0, 300), inner)
    ),
    max_leaves=12,
)


@pytest.mark.promise("S9")
@given(st.lists(CBOR | st.just(EPOCH) | st.integers(0, 4), min_size=2, max_size=7))
def test_well_formed_nonsense_never_does_worse_than_a_wire_error(elements: list[Any]) -> None:
    survives(cbor2.dumps(elements))


@pytest.mark.promise("S9")
def test_no_tag_is_ever_interpreted() -> None:
    contents = [cbor2.dumps(value) for value in (1, b"1", "1", [1, 2], {1: 2})]
    for tag in [*range(1_100), 43_000, 55_799, 2**32, 2**64 - 1]:
        head = tag_head(tag)
        for content in contents:
            with pytest.raises(WireError):
                codec.from_cbor(head + content)


def tag_head(tag: int) -> bytes:
    stream = io.BytesIO()
    cbor2.CBOREncoder(stream).encode_length(6, tag)
    return stream.getvalue()


@pytest.mark.promise("S9", "S10")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not CBOR"),
        (b"\x80\x80", "follow"),
        (b"\x81" * 30 + b"\x80", "nesting"),
        (b"\x81" * 50_000 + b"\x80", "nesting"),
        (b"\x9b" + b"\x7f" * 8, "end of stream"),
        (b"\x5b" + b"\x7f" * 8, "end of stream"),
        (b"\x9f\xff", "indefinite"),
        (b"\xa2\x01\x01\x01\x01", "Duplicate"),
        (b"\x00" * 100_001, "over 100000"),
        (b"\x61\xff", "text"),
    ],
)
def test_what_is_not_strict_cbor_is_refused_with_its_reason(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        codec.from_cbor(data)


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("wire", "said"),
    [
        ([EPOCH, {0: [4, [[5, 5]]]}, 0], "missing"),
        ([EPOCH, {0: [9, [[3, 4], [4, 5]]]}, 0], "missing"),
        ([EPOCH, {0: [9, [[4, 3]]]}, 0], "missing"),
        ([EPOCH, {0: [9_999, [[i, i] for i in range(1, 2_003, 2)]]}, 0], "1001 missing"),
        ([EPOCH, {5: [1, []]}, 0], "stream"),
        ([EPOCH, {False: [1, []]}, 0], "stream"),
        ([EPOCH, {0: [2**63, []]}, 0], "high"),
        ([EPOCH[:7], {}, 0], "epoch"),
        ([EPOCH, {}, True], "now_ms"),
        ([EPOCH, {}, 0, 1], "conflict"),
    ],
)
def test_an_acknowledgement_that_makes_no_sense_is_refused(wire: list[Any], said: str) -> None:
    with pytest.raises(WireError, match=said):
        codec.decode_ack(cbor2.dumps(wire))


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("wire", "said"),
    [
        ({999_999: 1}, "newer software"),
        ({-1: 1}, "not in the table"),
        ({True: 1}, "member name"),
        ({codec.NUMBERS["status"]: 999_999}, "newer software"),
        ({codec.NUMBERS["timestamp"]: 2**62}, "years 1 to 9999"),
        ({codec.NUMBERS["seqNo"]: 1, "seqNo": 2}, "twice"),
        ({"a": b"7f"}, "JSON"),
        ({"a": float("nan")}, "JSON"),
        ({"a": cbor2.undefined}, "JSON"),
        ([], "a map"),
    ],
)
def test_a_payload_that_is_not_ours_is_refused(wire: Any, said: str) -> None:
    with pytest.raises(WireError, match=said):
        codec.decode_payload(wire)


@pytest.mark.promise("S9", "S10")
def test_what_is_not_json_or_too_big_is_refused_before_it_is_stored() -> None:
    deep: Any = 1
    for _ in range(codec.DEPTH_MAX):
        deep = {"a": deep}
    assert through(deep) == deep
    ring: Json = {}
    ring["ring"] = ring
    bad: list[Any] = [{"a": deep}, ring, {"a": {1}}, {"a": b""}, {1: 2}, {"a": float("inf")}, {"a": 10**40}]
    bad += [{"a": "\ud800"}, {"a": "x" * 100_000}]
    for wrong in bad:
        with pytest.raises(WireError):
            codec.encode_record(WireRecord(BOOT, 0, None, 0, "DataTransfer", wrong))


# -- the word table and what is generated -----------------------------------------------------------------------------


def test_the_word_table_holds_every_word_of_the_schemas() -> None:
    table = make_keys.TABLE.read_text()
    assert make_keys.extend(table) == table, "python tools/make_keys.py appends what is missing"
    assert len(codec.NUMBERS) == len(codec.WORDS) and {kind for _, kind in codec.WORDS} == {
        "name", "number", "time", "value"
    }  # fmt: skip


def test_a_number_once_given_never_changes() -> None:
    """Records years old must read: rows are appended, never edited."""
    first = b"".join(make_keys.TABLE.read_bytes().splitlines(keepends=True)[:1156])
    assert hashlib.sha256(first).hexdigest() == "6394a74159eb32b8f2be192ed3361244ccd6061f044d958c8663c78b76ba5fa0"


def test_the_daily_words_are_short() -> None:
    assert all(codec.NUMBERS[word] < 256 for word in make_keys.HOT.split())
    assert max(codec.NUMBERS[word] for word in ("value", "measurand", "sampledValue", "timestamp", "L1")) < 24


def test_the_messages_are_what_the_generator_writes() -> None:
    assert make_messages.TARGET.read_text() == make_messages.generate(), "python tools/make_messages.py"


# -- messages as structs ----------------------------------------------------------------------------------------------


def form(name: str) -> type[messages.Message]:
    found: type[messages.Message] = getattr(messages, name)
    return found


@pytest.mark.promise("S9")
@given(name=st.sampled_from(make_messages.FORMS), seed=st.integers(0, 2**32))
def test_structs_accept_and_return_every_message_that_the_schemas_allow(name: str, seed: int) -> None:
    before = payload(name, seed)
    assert msgspec.to_builtins(messages.from_wire(form(name), before)) == before


@pytest.mark.promise("S9")
@given(name=st.sampled_from(make_messages.FORMS), seed=st.integers(0, 2**32))
def test_structs_refuse_exactly_what_the_schemas_refuse(name: str, seed: int) -> None:
    rng = random.Random(seed)
    wire = payload(name, seed)
    damage(rng, wire)
    read = attempt(messages.from_wire, form(name), wire)
    if "matching regex" not in str(read):  # the one thing we ask beyond the schemas' letter: that a date-time is one
        assert isinstance(read, WireError) is not validator(name).is_valid(wire), read


def damage(rng: random.Random, wire: Json) -> None:
    """One member of one object somewhere in it removed, added or replaced."""
    places = [wire]
    for place in places:
        for value in place.values():
            places += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
    place = rng.choice(places)
    member = rng.choice([*place, "status", "notInTheTable", "customData", "id"])
    if rng.random() < 0.3:
        place.pop(member, None)
    else:
        place[member] = rng.choice([None, True, -1, 7, 1.5, "", "Accepted", "x" * 40, "x" * 40_000, [], [1], {}])


def test_a_refused_message_says_where_and_why() -> None:
    with pytest.raises(WireError, match=re.escape("ResetRequest: Invalid enum value 'Now' - at `$.type`")):
        messages.from_wire(messages.ResetRequest, {"type": "Now"})
    with pytest.raises(WireError, match="vendorId"):
        messages.from_wire(messages.ResetRequest, {"type": "Immediate", "customData": {}})
    with pytest.raises(WireError, match="null"):
        messages.from_wire(messages.ResetRequest, {"type": "Immediate", "evseId": None})


@pytest.mark.parametrize("text", ["null", "\ud800", "é"])
def test_a_text_may_say_null_and_a_vendors_member_may_be_null(text: str) -> None:
    custom = {"vendorId": text, "nothing": None}
    read = messages.from_wire(messages.ResetRequest, {"type": "Immediate", "customData": custom})
    assert msgspec.to_builtins(read) == {"type": "Immediate", "customData": custom}
    with pytest.raises(WireError, match="null"):
        messages.from_wire(messages.ResetRequest, {"type": "Immediate", "evseId": None, "customData": custom})
