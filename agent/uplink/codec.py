"""OCPP 2.1 in CBOR: the messages of docs/uplink.md as values, to bytes and back. No I/O, no clock.

Decoders return the value or raise WireError, for any bytes. Encoders take values of ours: one out of its range is our
bug (assert); only a payload can hold anything, and one that is not JSON or is too big raises WireError too.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import cbor2

from agent.uplink import cards

MESSAGE_MAX_B = 100_000  # what every MQTT broker of the field takes
RECORD_MAX_B = 90_000  # leaves room for the batch around it
DEPTH_MAX = 24  # containers in a payload; the deepest OCPP message has 9
MISSING_MAX = 1_000  # ranges in one mark
TEXT_MAX = 1_000  # of an error
DIGITS_MAX = 40  # of an integer beyond 64 bits
STREAMS = range(5)  # 0 money, 1 status, 2 results, 3 samples, 4 logs
CLOCK_SOURCES = range(5)  # 0 none, 1 rtc, 2 modem, 3 ntp, 4 cloud
HELLO_VERSION = 1
EVSE_MAX = 1_000
PILOTS = range(6)  # control pilot, A to F

INT64 = range(-(2**63), 2**63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
DIGITS = re.compile(rb"-?[1-9][0-9]{0,%d}|0" % (DIGITS_MAX - 1))


class WireError(Exception):
    """Bytes or values that are not a message of docs/uplink.md; the text says in one sentence what is wrong."""


@dataclass(frozen=True, slots=True)
class WireRecord:
    """What a stream carries. Its bytes are made once: their SHA-256 is the digest that the cloud compares."""

    boot_id: bytes  # 8 random bytes per start of the software
    mono_ms: int  # since that start, >= 0
    wall_ms: int | None  # since 1970 UTC, None when unknown
    clock_source: int  # of wall_ms, one of CLOCK_SOURCES
    action: str
    payload: dict[str, Any]  # OCPP 2.1 in JSON form


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded records of one stream, dense from seq `first`; a tombstone stands alone in its batch."""

    epoch: bytes
    first: int
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Hello:
    """Birth: for each stream the oldest unacknowledged seq and the next one to be given."""

    epoch: bytes
    boot_id: bytes
    streams: dict[int, tuple[int, int]]
    connection: int  # of this boot, from 1
    words: int = 0  # rows of the word table that the station knows


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for a station that is gone; `connection` counts the connections of this boot."""

    epoch: bytes
    boot_id: bytes
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Durably stored: every seq <= high, except the missing ranges (both ends belong to them)."""

    high: int
    missing: tuple[tuple[int, int], ...] = ()
    digest: bytes | None = None  # the first 8 bytes of the SHA-256 of what is stored under `of`
    of: int = 0  # the highest seq <= high under which a record or tombstone is stored


@dataclass(frozen=True, slots=True)
class Ack:
    """The cloud's word that it has stored, and its clock. `conflict`: it holds something else under one of our keys."""

    epoch: bytes
    marks: dict[int, Mark]
    now_ms: int
    conflict: bool = False
    refused: dict[int, tuple[tuple[int, str], ...]] = field(default_factory=dict)  # stream -> seq it never takes, why
    hello: tuple[bytes, int] | None = None  # boot_id and connection of the hello that this answers


@dataclass(frozen=True, slots=True)
class Answer:
    """The OCPP response to one record, when it says something."""

    epoch: bytes
    stream: int
    seq: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VolatileRequest:
    """A question that is worthless late."""

    request_id: int
    action: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VolatileAnswer:
    """The response; `payload` None means an error, with OCPP-J's code and a sentence."""

    request_id: int
    payload: dict[str, Any] | None
    error_code: str = ""
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What stands in the envelope of signed.py: for whom, which one, until when, what."""

    station_id: str
    command_id: str
    expires_ms: int  # since 1970 UTC
    action: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LivePort:
    """What one port does at this instant."""

    evse_id: int  # 1 to EVSE_MAX
    cp: int  # control pilot: 0 = A to 5 = F
    offer_ma: int
    energy_wh: int  # register
    power_w: int
    current_ma: tuple[int, int, int]
    voltage_mv: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LiveReading:
    """The meters of a station that somebody watches: at least one port."""

    mono_ms: int  # >= 0
    wall_ms: int | None  # since 1970 UTC, None when unknown
    ports: tuple[LivePort, ...]


# -- the word table ---------------------------------------------------------------------------------------------------


def _read_table() -> list[tuple[str, str]]:
    lines = Path(__file__).with_name("keys.csv").read_text("ascii").splitlines()[1:]
    rows = [line.split(",") for line in lines]
    assert [int(number) for number, _, _ in rows] == list(range(len(rows))), "keys.csv: numbers are dense from 0"
    return [(name, kind) for _, name, kind in rows]


WORDS = _read_table()  # number -> (name, kind)
NUMBERS = {name: number for number, (name, _) in enumerate(WORDS)}
MEMBERS: dict[str, tuple[int, str]] = {name: (number, kind) for number, (name, kind) in enumerate(WORDS)}


CARDS = "localAuthorizationList"
CARDS_FIRST = (b"\x83", b"\x84")  # arrays of three and of four; a number's decimal digits never begin so


def _word(number: int) -> str:
    if not 0 <= number < len(WORDS):
        raise WireError(f"word number {number} is not in the table of {len(WORDS)} words: it needs newer software")
    return WORDS[number][0]


def time_text(ms: int) -> str:
    """Milliseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`, years 1 to 9999; WireError beyond."""
    try:
        return (EPOCH + ms * MILLISECOND).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    except OverflowError:
        raise WireError(f"{ms} ms is no time of the years 1 to 9999") from None


def time_ms(text: str) -> int | None:
    """Milliseconds since 1970 of exactly that form; None for any other text."""
    if not TIME.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text) - EPOCH) // MILLISECOND
    except ValueError:  # 30 February, a leap second
        return None


# -- payloads ---------------------------------------------------------------------------------------------------------


def encode_payload(payload: Mapping[str, Any]) -> dict[int | str, Any]:
    """A JSON object with the table's numbers in it, for CBOR. WireError if it is no JSON object or nests too deep."""
    return _members_out(payload, 1)


def decode_payload(wire: Any) -> dict[str, Any]:
    """The JSON object again, exactly as it was: 5 stays 5 and 5.0 stays 5.0. Takes the lists in `wire` for its own."""
    if not isinstance(wire, Mapping):
        raise _wrong("payload", "a map", wire)
    return _members_in(wire, 1)


def _members_out(members: Mapping[Any, Any], depth: int) -> dict[int | str, Any]:
    out: dict[int | str, Any] = {}
    for name, value in members.items():
        if not isinstance(name, str):
            raise _wrong("member name", "text", name)
        number, kind = MEMBERS.get(name) or (name, "value")
        is_list = name == CARDS and isinstance(value, list)
        out[number] = _cards_out(value, kind, depth) if is_list else _value_out(value, kind, depth)
    return out


def _value_out(value: Any, kind: str, depth: int) -> Any:
    if type(value) is int and value in INT64 and kind == "number":  # the two most frequent first: this is a hot path
        return value
    if type(value) is str and kind == "name":
        return NUMBERS.get(value, value)
    match value:
        case None | bool():
            return value
        case str() if kind == "name":
            return NUMBERS.get(value, str(value))
        case str():
            ms = time_ms(value) if kind == "time" else None
            return str(value) if ms is None else ms
        case int():
            value = int(value)  # an IntEnum is no plain int: CBOR and ranges would treat it as something else
            return value if value in INT64 and kind not in ("name", "time") else _digits(value)
        case float() if math.isfinite(value):
            return float(value)
        case list() | tuple() if depth < DEPTH_MAX:
            return [_value_out(item, kind, depth + 1) for item in value]
        case dict() | Mapping() if depth < DEPTH_MAX:  # dict first: asking an abstract class is slow
            return _members_out(value, depth + 1)
        case _:
            raise _wrong("payload", f"JSON at most {DEPTH_MAX} deep", value)


def _cards_out(entries: list[Any], kind: str, depth: int) -> list[Any]:
    out: list[Any] = []
    for each in cards.runs(entries, time_ms):
        if isinstance(each, tuple):
            entry, ids, expiries = each
            for at in range(0, len(ids), cards.CARDS_MAX):
                some = slice(at, at + cards.CARDS_MAX)
                row = [_value_out(entry, kind, depth + 1), len(ids[0]), b"".join(ids[some])]
                out.append(to_cbor([*row, expiries[some]] if expiries else row))
        else:
            out.append(_value_out(each, kind, depth + 1))
    return out


def _cards_in(items: list[Any], depth: int) -> list[Any]:
    entries: list[Any] = []
    for item in items:
        if type(item) is bytes and item[:1] in CARDS_FIRST:
            try:
                entries += cards.entries_of(from_cbor(item), lambda shape: _members_in(shape, depth + 2), time_text)
            except cards.CardsError as error:
                raise WireError(str(error)) from None
        else:
            entries.append(_value_in(item, MEMBERS[CARDS][1], depth + 1))
        if len(entries) > cards.CARDS_MAX:
            raise WireError(f"more than {cards.CARDS_MAX} cards in one message")
    return entries


def _digits(value: int) -> bytes:
    if abs(value) >= 10**DIGITS_MAX:
        raise WireError(f"an integer of more than {DIGITS_MAX} digits")
    return b"%d" % value


def _members_in(members: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in members.items():
        name = _word(key) if type(key) is int else key
        if not isinstance(name, str):
            raise _wrong("member name", "a word", key)
        if name in out:
            raise WireError(f"member {name!r} comes twice")
        if name == CARDS and type(value) is list and depth < DEPTH_MAX:
            out[name] = _cards_in(value, depth)
        else:
            out[name] = _value_in(value, MEMBERS[name][1] if name in MEMBERS else "value", depth)
    return out


def _value_in(value: Any, kind: str, depth: int) -> Any:
    if type(value) is int and kind == "name":  # the two most frequent first: this is a hot path
        return _word(value)
    if type(value) is int and kind == "number" and value in INT64:
        return value
    match value:
        case None | bool() | str():
            return value
        case int() if value in INT64:
            if kind == "name":
                return _word(value)
            return time_text(value) if kind == "time" else value
        case bytes() if DIGITS.fullmatch(value):
            return int(value)
        case float() if math.isfinite(value):
            return value
        case list() if depth < DEPTH_MAX:
            for i, item in enumerate(value):  # in place: an allowlist is never in memory twice
                value[i] = _value_in(item, kind, depth + 1)
            return value
        case tuple() if depth < DEPTH_MAX:
            return [_value_in(item, kind, depth + 1) for item in value]
        case dict() | Mapping() if depth < DEPTH_MAX:  # dict first: asking an abstract class is slow
            return _members_in(value, depth + 1)
        case _:
            raise _wrong("payload", f"JSON at most {DEPTH_MAX} deep", value)


# -- messages ---------------------------------------------------------------------------------------------------------


def encode_record(record: WireRecord) -> bytes:
    """The record's bytes, the same for the same record. WireError: payload is no JSON, or over RECORD_MAX_B."""
    assert record.mono_ms >= 0 and record.clock_source in CLOCK_SOURCES and len(record.boot_id) == 8
    head = [record.boot_id, record.mono_ms, record.wall_ms, int(record.clock_source)]
    data = to_cbor([*head, *_said(record.action, record.payload)])
    if len(data) > RECORD_MAX_B:
        raise WireError(f"a {record.action} of {len(data)} bytes is over {RECORD_MAX_B}")
    return data


def decode_record(data: bytes) -> WireRecord:
    boot_id, mono_ms, wall_ms, source, action, payload = _row("record", data, 6)
    return WireRecord(
        _key("boot_id", boot_id),
        _integer("mono_ms", mono_ms, 0),
        None if wall_ms is None else _integer("wall_ms", wall_ms),
        _among("clock_source", source, CLOCK_SOURCES),
        _action(action),
        decode_payload(payload),
    )


def record_action(data: bytes) -> str:
    """The action of an encoded record, without reading the rest of it. WireError."""
    return _action(_row("record", data, 6)[4])


def encode_batch(batch: Batch) -> bytes:
    """At most MESSAGE_MAX_B: whoever fills the batch counts the bytes (24 and 5 a record on top of the records)."""
    assert batch.first >= 1 and batch.records and len(batch.epoch) == 8
    data = to_cbor([batch.epoch, batch.first, list(batch.records)])
    assert len(data) <= MESSAGE_MAX_B, len(data)
    return data


def decode_batch(data: bytes) -> Batch:
    epoch, first, records = _row("batch", data, 3)
    if not isinstance(records, list) or not records or not all(isinstance(record, bytes) for record in records):
        raise _wrong("records", "at least one byte string", records)
    return Batch(_key("epoch", epoch), _integer("first", first, 1), tuple(records))


def encode_hello(hello: Hello) -> bytes:
    assert set(hello.streams) == set(STREAMS) and all(1 <= a <= b for a, b in hello.streams.values())
    streams = {int(stream): list(pair) for stream, pair in hello.streams.items()}
    assert hello.connection >= 1 and hello.words >= 0
    return to_cbor([HELLO_VERSION, hello.epoch, hello.boot_id, streams, hello.connection, hello.words])


def decode_hello(data: bytes) -> Hello:
    version, epoch, boot_id, streams, connection, words = _row("hello", data, 6)
    if version != HELLO_VERSION or version is True:
        raise _wrong("hello", f"version {HELLO_VERSION}", version)
    pairs = {stream: _range("stream", pair, 1) for stream, pair in _streams(streams)}
    if len(pairs) != len(STREAMS):
        raise _wrong("hello", "all five streams", streams)
    counts = _integer("connection", connection, 1), _integer("words", words, 0)
    return Hello(_key("epoch", epoch), _key("boot_id", boot_id), pairs, *counts)


def encode_will(will: Will) -> bytes:
    return to_cbor([will.epoch, will.boot_id, will.connection])


def decode_will(data: bytes) -> Will:
    epoch, boot_id, *rest = _row("will", data, 2, 3)
    return Will(_key("epoch", epoch), _key("boot_id", boot_id), _integer("connection", rest[0] if rest else 0))


def encode_ack(ack: Ack) -> bytes:
    marks = {int(stream): _mark_row(mark) for stream, mark in ack.marks.items()}
    refused = {int(stream): [list(said) for said in row] for stream, row in ack.refused.items()}
    more: list[Any] = [ack.conflict, refused, *(ack.hello or ())]
    while more and not more[-1]:
        more.pop()
    return to_cbor([ack.epoch, marks, ack.now_ms, *more])


def _mark_row(mark: Mark) -> list[Any]:
    return [mark.high, [list(pair) for pair in mark.missing], *([mark.digest, mark.of] if mark.digest else [])]


def decode_ack(data: bytes) -> Ack:
    epoch, marks, now_ms, *rest = _row("ack", data, 3, 7)
    conflict, refused = rest[0] if rest else False, rest[1] if len(rest) > 1 else {}
    hello = (_key("boot_id", rest[2]), _integer("connection", rest[3], 1)) if len(rest) > 3 else None
    if not isinstance(conflict, bool):
        raise _wrong("conflict", "true or false", conflict)
    return Ack(
        _key("epoch", epoch),
        {stream: _mark(mark) for stream, mark in _streams(marks)},
        _integer("now_ms", now_ms),
        conflict,
        {stream: _refused(row) for stream, row in _streams(refused)},
        hello,
    )


def encode_answer(answer: Answer) -> bytes:
    assert answer.stream in STREAMS and answer.seq >= 1
    return to_cbor([answer.epoch, int(answer.stream), answer.seq, encode_payload(answer.payload)])


def decode_answer(data: bytes) -> Answer:
    epoch, stream, seq, payload = _row("answer", data, 4)
    return Answer(
        _key("epoch", epoch), _among("stream", stream, STREAMS), _integer("seq", seq, 1), decode_payload(payload)
    )


def encode_request(request: VolatileRequest) -> bytes:
    assert request.request_id >= 0
    return to_cbor([request.request_id, *_said(request.action, request.payload)])


def decode_request(data: bytes) -> VolatileRequest:
    request_id, action, payload = _row("request", data, 3)
    return VolatileRequest(_integer("request_id", request_id, 0), _action(action), decode_payload(payload))


def encode_response(response: VolatileAnswer) -> bytes:
    if response.payload is None:
        return to_cbor([response.request_id, None, response.error_code, response.error_text])
    return to_cbor([response.request_id, encode_payload(response.payload)])


def decode_response(data: bytes) -> VolatileAnswer:
    request_id, payload, *error = _row("response", data, 2, 4)
    request_id = _integer("request_id", request_id, 0)
    if payload is not None:
        return VolatileAnswer(request_id, decode_payload(payload))
    if len(error) < 2:
        raise _wrong("response", "a payload, or an error's code and text", error)
    return VolatileAnswer(request_id, None, _text("error_code", error[0], 50), _text("error_text", error[1], TEXT_MAX))


def encode_command(command: Command) -> bytes:
    head = [command.station_id, command.command_id, command.expires_ms]
    return to_cbor([*head, *_said(command.action, command.payload)])


def decode_command(data: bytes) -> Command:
    """The content of a signed envelope; whether it is for us, new and in time is the caller's to check."""
    station_id, command_id, expires_ms, action, payload = _row("command", data, 5)
    return Command(
        _text("station_id", station_id, 36, 1),
        _text("command_id", command_id, 36, 1),
        _integer("expires_ms", expires_ms),
        _action(action),
        decode_payload(payload),
    )


def encode_live(live: LiveReading) -> bytes:
    assert live.mono_ms >= 0 and live.ports
    ports = [
        [p.evse_id, p.cp, p.offer_ma, p.energy_wh, p.power_w, list(p.current_ma), list(p.voltage_mv)]
        for p in live.ports
    ]
    return to_cbor([live.mono_ms, live.wall_ms, ports])


def decode_live(data: bytes) -> LiveReading:
    mono_ms, wall_ms, ports = _row("live", data, 3)
    if not isinstance(ports, list) or not ports:
        raise _wrong("ports", "at least one port", ports)
    return LiveReading(
        _integer("mono_ms", mono_ms, 0),
        None if wall_ms is None else _integer("wall_ms", wall_ms),
        tuple(_live_port(port) for port in ports),
    )


def _live_port(port: Any) -> LivePort:
    if not isinstance(port, list) or len(port) < 7:
        raise _wrong("port", "an array of 7", port)
    evse_id, cp, offer_ma, energy_wh, power_w, current_ma, voltage_mv = port[:7]
    return LivePort(
        _among("evse_id", evse_id, range(1, EVSE_MAX + 1)),
        _among("cp", cp, PILOTS),
        _integer("offer_ma", offer_ma, 0),
        _integer("energy_wh", energy_wh, 0),
        _integer("power_w", power_w),
        _phases("current_ma", current_ma),
        _phases("voltage_mv", voltage_mv),
    )


def _phases(what: str, value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise _wrong(what, "three integers", value)
    return _integer(what, value[0]), _integer(what, value[1]), _integer(what, value[2])


# -- CBOR, strictly ---------------------------------------------------------------------------------------------------


def to_cbor(value: Any) -> bytes:
    """Canonical CBOR (RFC 7049 §3.9): the same value always has the same bytes. WireError: text that is not Unicode."""
    try:
        return cbor2.dumps(value, canonical=True)
    except UnicodeEncodeError:
        raise WireError("text holds half a surrogate pair") from None


def _no_tag(decoder: Any, immutable: bool) -> NoReturn:
    raise WireError("tags are not used here")


class _Untagged(dict[int, Any]):
    """Every tag number leads to a refusal: cbor2 would compile regular expressions and expand references for us."""

    def __missing__(self, tag: int) -> Any:
        return _no_tag


def from_cbor(data: bytes) -> Any:
    """One CBOR item that fills `data`: no tags, no indefinite lengths, no double keys, at most MESSAGE_MAX_B."""
    if len(data) > MESSAGE_MAX_B:
        raise WireError(f"{len(data)} bytes are over {MESSAGE_MAX_B}")
    stream = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_Untagged(),
        max_depth=DEPTH_MAX + 4,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    try:
        value = decoder.decode()
    except cbor2.CBORError as error:
        raise WireError(f"not CBOR: {error}") from None
    if stream.tell() != len(data):
        raise WireError(f"{len(data) - stream.tell()} bytes follow the message")
    return value


# -- what a field may be ----------------------------------------------------------------------------------------------


def _wrong(what: str, wanted: str, got: Any) -> WireError:
    return WireError(f"{what}: expected {wanted}, got {repr(got)[:60]}")


def _row(what: str, data: bytes, least: int, most: int = 0) -> list[Any]:
    """The elements of an array; those after the known ones are for later versions and are ignored."""
    value = from_cbor(data)
    if not isinstance(value, list) or len(value) < least:
        raise _wrong(what, f"an array of {least}", value)
    return value[: max(least, most)]


def _said(action: str, payload: Mapping[str, Any]) -> list[Any]:
    return [NUMBERS.get(action, action), encode_payload(payload)]


def _action(value: Any) -> str:
    return _word(value) if type(value) is int else _text("action", value, 50, 1)


def _integer(what: str, value: Any, least: int = INT64.start) -> int:
    if type(value) is not int or not least <= value < INT64.stop:
        raise _wrong(what, f"an integer of 64 bits from {least}" if least >= 0 else "an integer of 64 bits", value)
    return value


def _among(what: str, value: Any, allowed: range) -> int:
    if type(value) is not int or value not in allowed:
        raise _wrong(what, f"{allowed.start} to {allowed.stop - 1}", value)
    return value


def _key(what: str, value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != 8:
        raise _wrong(what, "8 bytes", value)
    return value


def _text(what: str, value: Any, most: int, least: int = 0) -> str:
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise _wrong(what, f"text of {least} to {most} characters", value)
    return value


def _range(what: str, value: Any, least: int) -> tuple[int, int]:
    """[from, to] with least <= from <= to."""
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(what, "a pair", value)
    start = _integer(what, value[0], least)
    return start, _integer(what, value[1], start)


def _streams(value: Any) -> Iterable[tuple[int, Any]]:
    if not isinstance(value, Mapping):
        raise _wrong("streams", "a map", value)
    return [(_among("stream", stream, STREAMS), item) for stream, item in value.items()]


def _refused(value: Any) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise _wrong("refused", "pairs of a seq and a sentence", value)
    return tuple((_integer("seq", seq, 1), _text("why", why, TEXT_MAX)) for seq, why in value[:MISSING_MAX])


def _mark(value: Any) -> Mark:
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[1], list):
        raise _wrong("mark", "[high, missing]", value)
    high, missing = _integer("high", value[0], 0), value[1]
    digest, of = (_key("digest", value[2]), _integer("of", value[3], 1)) if len(value) > 3 else (None, 0)
    if len(missing) > MISSING_MAX:
        raise WireError(f"{len(missing)} missing ranges are over {MISSING_MAX}")
    ranges: list[tuple[int, int]] = []
    for pair in missing:
        ranges.append(_range("missing", pair, ranges[-1][1] + 1 if ranges else 1))
    if ranges and ranges[-1][1] > high:
        raise _wrong("missing", f"ranges up to {high}", ranges[-1])
    if of > high:
        raise _wrong("of", f"a seq up to {high}", of)
    return Mark(high, tuple(ranges), digest, of)


def digest(body: bytes) -> bytes:
    """What an acknowledgement says about a record, so that both ends know that they speak of the same one."""
    return sha256(body).digest()[:8]
