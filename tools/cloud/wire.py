"""The wire of docs/uplink.md, as a stranger reads it: words, records, batches, and the other messages, from bytes and
to bytes. Pure: no I/O but the published word table, no clock.

Whatever a station sends, a reader here returns a value or raises Malformed; what that costs is bounded.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Json = dict[str, Any]

MESSAGE_MAX_BYTES = 100_000
REBUILT_MAX_BYTES = 1_000_000           # what the records of one batch in columns may amount to
COUNT_MAX = 1_000                       # records in such a batch
TEMPLATES_MAX = 4
MISSING_MAX = 1_000                     # ranges in one acknowledgement; beyond it `high` is lowered, which is as true
INT64 = range(-(1 << 63), 1 << 63)
DEPTH_MAX = 24                          # containers in a payload, itself included
WALL_MS = (-62_135_596_800_000, 253_402_300_799_999)         # the years 1..9999
MONO_MAX_MS = 1 << 45                   # a thousand years; differences and sums of times stay below 64 bits
STREAMS = range(5)                      # 0 money, 1 status and alarms, 2 command results, 3 samples, 4 logs
MONEY = 0
STATION_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
VENDOR = "station-agent"


class Malformed(Exception):
    """Bytes from a station that the wire does not allow. Counted, never fatal."""


# -- words and values -------------------------------------------------------------------------------------------------


LIST = "localAuthorizationList"


@dataclass(frozen=True, slots=True)
class Packed:
    """Cards, encoded already."""

    data: bytes


def shape(entry: Any) -> tuple[str, int, bool]:
    """What is alike in a run of cards; the bytes of an id, 0 = it travels by itself, as all does that is no card;
    whether each has its expiry."""
    match entry:
        case {"idToken": {"idToken": str(token)}, "idTokenInfo": dict(info)}:
            pass
        case {"idToken": {"idToken": str(token)}} if "idTokenInfo" not in entry:
            info = {}
        case _:
            return json.dumps(entry, sort_keys=True), 0, False
    expiry, is_dated = info.get("cacheExpiryDateTime"), "cacheExpiryDateTime" in info
    ms = parse_time(expiry) if isinstance(expiry, str) else None
    is_exact = not is_dated or (ms is not None and format_time(ms) == expiry)
    is_card = is_exact and re.fullmatch("([0-9A-F]{2}){1,18}", token) is not None
    return json.dumps(bare(entry), sort_keys=True), is_card * len(token) // 2, is_dated


def bare(entry: Json) -> Json:
    """Without its id and its expiry."""
    entry = entry | {"idToken": {name: value for name, value in entry["idToken"].items() if name != "idToken"}}
    if "idTokenInfo" in entry:
        info = entry["idTokenInfo"].items()
        entry["idTokenInfo"] = {name: value for name, value in info if name != "cacheExpiryDateTime"}
    return entry


class Keys:
    """The published word table (number, name, kind): OCPP's JSON form to short CBOR values and back, exactly."""

    def __init__(self, table: str) -> None:
        rows = list(csv.DictReader(io.StringIO(table)))
        self.names = {int(row["number"]): row["name"] for row in rows}
        self.numbers = {name: number for number, name in self.names.items()}
        self.kinds = {row["name"]: row["kind"] for row in rows}
        self._members = {number: (name, self.kinds[name]) for number, name in self.names.items()}

    def word(self, text: str) -> int | str:
        """What stands for an action or a member name on the wire."""
        return self.numbers.get(text, text)

    def kind(self, name: str) -> str:
        return self.kinds.get(name, "number")

    def name(self, word: object) -> str:
        """The text of an action or a member name. Raises Malformed, also for a number newer than this table."""
        if isinstance(word, str):
            return word
        if type(word) is int and word in self.names:
            return self.names[word]
        raise Malformed(f"unknown word {word!r}")

    def encode(self, value: Any, kind: str = "number", words: int | None = None) -> Any:
        """JSON form -> CBOR value; `kind` is that of the nearest enclosing member. Numbers from `words` on, which the
        reader does not know, are written out as text."""
        match value:
            case dict():
                return {
                    self._short(name, words): self.encode(
                        list(self._cards(item, words)) if name == LIST and isinstance(item, list) else item,
                        self.kind(name), words,
                    )
                    for name, item in value.items()
                }
            case Packed():
                return value.data
            case list():
                return [self.encode(item, kind, words) for item in value]
            case str() if kind == "name":
                return self._short(value, words)
            case str() if kind == "time" and (ms := parse_time(value)) is not None and format_time(ms) == value:
                return ms
            case int() if type(value) is int and (kind in ("name", "time") or value not in INT64):
                return b"%d" % value
        return value

    def _cards(self, entries: list[Any], words: int | None) -> Iterator[Json | Packed]:
        """Entries of a list of drivers; a run of those that differ in id, and perhaps expiry, alone, as one item."""
        for (_, size, dated), run in groupby(entries, shape):
            alike = list(run)
            if not size or len(alike) == 1:
                yield from alike
                continue
            entry = self.encode(bare(alike[0]), self.kind(LIST), words)
            ids = b"".join(bytes.fromhex(each["idToken"]["idToken"]) for each in alike)
            row = [entry, size, ids]
            if dated:
                row.append([parse_time(each["idTokenInfo"]["cacheExpiryDateTime"]) for each in alike])
            yield Packed(cbor2.dumps(row))

    def _short(self, text: str, words: int | None) -> int | str:
        number = self.numbers.get(text)
        return text if number is None or (words is not None and number >= words) else number

    def decode(self, value: Any, kind: str = "number", depth: int = 0) -> Any:
        """CBOR value -> JSON form. Raises Malformed. The most frequent types first: this is a hot path."""
        sort = type(value)
        if sort is int:
            return self._integer(value, kind)
        if sort is str or sort is bool or value is None:
            return value
        if sort is dict and depth < DEPTH_MAX:
            return self._decode_members(value, depth + 1)
        if sort is list and depth < DEPTH_MAX:
            return [self.decode(item, kind, depth + 1) for item in value]
        if sort is float and value - value == 0:                    # neither NaN nor infinite
            return value
        if sort is bytes and re.fullmatch(rb"-?\d{1,40}", value):
            return int(value)
        raise Malformed("nested too deep" if sort in (dict, list) else f"no JSON value: {sort.__name__}")

    def _unpacked(self, item: Any, depth: int) -> Iterator[Any]:
        """The entries, as they stand on the wire, for which this item of a list stands."""
        if type(item) is not bytes or item[:1] not in (b"\x83", b"\x84"):
            yield item
            return
        match read_cbor(item):
            case [dict(entry), int(size), bytes(ids), *rest] if size and ids and len(ids) % size == 0:
                expiries = rest[0] if rest else [None] * (len(ids) // size)
                for at, ms in zip(range(0, len(ids), size), expiries, strict=True):
                    token, info = self.word("idToken"), self.word("idTokenInfo")
                    made = entry | {token: entry[token] | {token: ids[at : at + size].hex().upper()}}
                    yield made if ms is None else made | {info: made[info] | {self.word("cacheExpiryDateTime"): ms}}
            case _:
                raise Malformed("no cards")

    def _integer(self, value: int, kind: str) -> Any:
        if value not in INT64:
            raise Malformed("integer of more than 64 bits")
        if kind == "name":
            return self.name(value)
        return format_time(value) if kind == "time" else value

    def _decode_members(self, members: dict[Any, Any], depth: int) -> Json:
        decoded: Json = {}
        for word, item in members.items():
            known = self._members.get(word) if type(word) is int else None
            name, kind = known or (self.name(word), self.kind(word))
            if name == LIST and type(item) is list:
                item = list(chain.from_iterable(self._unpacked(each, depth) for each in item))
            decoded[name] = self.decode(item, kind, depth)
        if len(decoded) != len(members):
            raise Malformed("a member twice, as number and as text")
        return decoded


KEYS = Keys((Path(__file__).resolve().parents[2] / "agent" / "uplink" / "keys.csv").read_text("utf-8"))


def format_time(ms: int) -> str:
    """Milliseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`. Raises Malformed outside the years 1..9999."""
    try:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=ms)      # noqa: DTZ001 - UTC, written as Z below
    except OverflowError:
        raise Malformed("time out of range") from None
    return moment.isoformat(timespec="milliseconds") + "Z"


def parse_time(text: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 time, without a zone taken as UTC; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# -- CBOR, strictly ---------------------------------------------------------------------------------------------------


class NoTags(dict[int, Any]):
    """No tag has a decoder: the wire has none, and cbor2's own compile regular expressions for whoever asks."""

    def __missing__(self, tag: int) -> Any:
        raise Malformed(f"tag {tag}")


NO_TAGS = NoTags()


def read_cbor(data: bytes) -> Any:
    """One CBOR item and nothing after it. Raises Malformed."""
    if len(data) > MESSAGE_MAX_BYTES:
        raise Malformed("message too long")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream, semantic_decoders=NO_TAGS, allow_indefinite=False, allow_duplicate_keys=False, max_depth=64
        ).decode()
    except (cbor2.CBORError, TypeError) as error:             # TypeError: a map key that cannot be one
        raise Malformed(str(error)) from None
    if stream.tell() != len(data):
        raise Malformed("bytes after the message")
    return value


def whole(value: object, low: int = 0, high: int = INT64[-1]) -> int:
    if type(value) is int and low <= value <= high:
        return value
    raise Malformed(f"{value!r} is not a whole number in {low}..{high}")


def identity(value: object) -> bytes:
    """An epoch or a boot id."""
    if isinstance(value, bytes) and len(value) == 8:
        return value
    raise Malformed("identity is not 8 bytes")


# -- records and batches ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """What one record says. Times in milliseconds; `wall_ms` since 1970, `mono_ms` since the start of that boot."""

    boot_id: bytes
    mono_ms: int
    wall_ms: int | None
    clock_source: int
    action: str
    payload: Json


@dataclass(frozen=True, slots=True)
class Entry:
    """One record at its place in a batch; `record` is None if its bytes cannot be read, and `why` says why."""

    seq: int
    body: bytes
    digest: bytes
    record: Record | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    epoch: bytes
    entries: tuple[Entry, ...]
    last: int                           # beyond the entries' own only for a tombstone

    @property
    def first(self) -> int:
        return self.entries[0].seq


def read_record(body: bytes, keys: Keys = KEYS) -> Record:
    """The record in these bytes. Raises Malformed."""
    match read_cbor(body):
        case [boot_id, mono_ms, wall_ms, clock_source, action, dict() as payload, *_]:
            wall = None if wall_ms is None else whole(wall_ms, *WALL_MS)
            mono, source = whole(mono_ms, 0, MONO_MAX_MS), whole(clock_source, 0, 4)
            return Record(identity(boot_id), mono, wall, source, keys.name(action), keys.decode(payload))
    raise Malformed("not a record")


def read_entry(seq: int, body: object, keys: Keys) -> Entry:
    if not isinstance(body, bytes):
        raise Malformed("a record is not a byte string")
    digest = hashlib.sha256(body).digest()
    try:
        return Entry(seq, body, digest, read_record(body, keys))
    except Malformed as malformed:
        return Entry(seq, body, digest, None, str(malformed)[:300])


def read_batch(data: bytes, keys: Keys = KEYS) -> Batch:
    """The batch in these bytes; a record in it that cannot be read keeps its bytes. Raises Malformed."""
    match read_cbor(data):
        case [epoch, first, [_, *_] as bodies, *_]:
            entries = read_entries(first, bodies, keys)
            return Batch(identity(epoch), entries, tombstone_last(entries) or entries[-1].seq)
        case [epoch, first, int(count), list() as templates, dict() as columns, *_]:
            entries = read_entries(first, rebuilt(whole(count, 2, COUNT_MAX), templates, columns), keys)
            return Batch(identity(epoch), entries, entries[-1].seq)
    raise Malformed("not a batch")


def read_entries(first: object, bodies: Sequence[object], keys: Keys) -> tuple[Entry, ...]:
    start = whole(first, 1, INT64[-1] - len(bodies))
    return tuple(read_entry(start + i, body, keys) for i, body in enumerate(bodies))


def tombstone_last(entries: Sequence[Entry]) -> int | None:
    """Where the range ends that a tombstone, alone in its batch, stands for; None if this is none."""
    match entries:
        case [Entry(seq=seq, record=Record(action="Tombstone", payload={"first": first, "last": int(last)}))]:
            return last if first == seq and seq <= last < INT64[-1] else None
    return None


# -- columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaf:
    """An item of a template that is no array or map, and where its bytes are."""

    start: int
    end: int
    is_integer: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A record whose leaves are written anew for the records after it. `shape`: what templates must share."""

    body: bytes
    leaves: tuple[Leaf, ...]
    shape: tuple[object, ...]           # heads of arrays and maps, keys, which leaves are integers


def read_template(body: object) -> Template:
    """Raises Malformed. Leaves stand in the order of their bytes; keys of maps are none."""
    if not isinstance(body, bytes):
        raise Malformed("a template is not a byte string")
    read_cbor(body)                     # from here on it is known to be well formed, and not nested too deep
    leaves: list[Leaf] = []
    shape: list[object] = []

    def walk(at: int, is_key: bool) -> int:
        major, value, end = head(body, at)
        if major in (4, 5):
            shape.append(body[at:end])
            for i in range(value * (major - 3)):
                end = walk(end, is_key or (major == 5 and i % 2 == 0))
            return end
        end += value if major in (2, 3) else 0
        if is_key:
            shape.append(body[at:end])
        else:
            leaves.append(Leaf(at, end, major < 2))
            shape.append(major < 2)
        return end

    walk(0, is_key=False)
    return Template(body, tuple(leaves), tuple(shape))


def head(data: bytes, at: int) -> tuple[int, int, int]:
    """(major type, argument, where the head ends) of the CBOR item at this place."""
    major, low = data[at] >> 5, data[at] & 31
    if low < 24:
        return major, low, at + 1
    end = at + 1 + (1 << (low - 24))
    return major, int.from_bytes(data[at + 1 : end], "big"), end


def rebuilt(count: int, bodies: Sequence[object], columns: Mapping[Any, Any]) -> list[bytes]:
    """The bytes of `count` records: the templates, and each further one is that so many before it with some leaves
    changed. Raises Malformed."""
    stride = len(bodies)
    if not 1 <= stride <= min(TEMPLATES_MAX, count - 1):
        raise Malformed(f"{count} records of {stride} templates")
    templates = [read_template(body) for body in bodies]
    if any(template.shape != templates[0].shape for template in templates):
        raise Malformed("templates of different shapes")
    first = templates[0].leaves
    changes: dict[int, list[Any]] = {}                      # leaf -> what happens to it in each further record
    chosen = sorted(whole(key, 0, len(first) - 1) for key in columns)
    kept = [len(t.body) - sum(t.leaves[leaf].end - t.leaves[leaf].start for leaf in chosen) for t in templates]
    bounded((min(kept) + len(chosen)) * count)              # before anything of that size is made
    for leaf in chosen:
        wanted = (int,) if first[leaf].is_integer else (str, bytes, float, bool, type(None))
        changes[leaf] = changes_of(columns[leaf], count - stride, wanted, changes)
    chains = [chain_of(template, changes, number, stride) for number, template in enumerate(templates)]
    records = [chains[number % stride][number // stride] for number in range(count)]
    bounded(sum(map(len, records)))
    return records


def bounded(size: int) -> None:
    if size > REBUILT_MAX_BYTES:
        raise Malformed(f"columns of more than {REBUILT_MAX_BYTES} bytes")


def changes_of(
    column: object, count: int, wanted: tuple[type, ...], earlier: Mapping[int, list[Any]]
) -> list[Any]:
    """A column spelled out: what is added to an integer, or the values of another leaf."""
    match column:
        case int() if type(column) is int and int in wanted:
            return [column] * count
        case {0: int(other), **rest} if not rest and type(other) is int and other in earlier and int in wanted:
            return earlier[other]
        case [*items] if len(items) == count and all(type(item) in wanted for item in items):
            return items
    raise Malformed(f"no column for {count} further records")


def chain_of(template: Template, changes: Mapping[int, list[Any]], number: int, stride: int) -> list[bytes]:
    """The template, and every `stride`-th record after it: what stands between the changing leaves stays."""
    fixed, written, at = [], [], 0
    for leaf, column in changes.items():                    # ascending
        place, mine = template.leaves[leaf], column[number::stride]
        fixed.append(template.body[at : place.start])
        at = place.end
        if place.is_integer:
            written.append(counted_up(read_cbor(template.body[place.start : place.end]), mine))
        else:
            written.append([cbor2.dumps(value, canonical=True) for value in mine])
    tail = template.body[at:]
    if not changes:
        return [template.body] * COUNT_MAX                  # alike to the last bit, as many as are asked for
    rows = zip(*written, strict=True)
    return [template.body, *(b"".join((*chain.from_iterable(zip(fixed, row, strict=True)), tail)) for row in rows)]


def counted_up(value: int, steps: Iterable[int]) -> list[bytes]:
    encoded = []
    for step in steps:
        value += step
        if value not in INT64:
            raise Malformed("a column leaves 64 bits")
        encoded.append(cbor2.dumps(value))
    return encoded


# -- what else comes up -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """A station has connected: `connection` counts within the boot, `words` is what it knows of the table."""

    epoch: bytes
    boot_id: bytes
    connection: int
    words: int | None


@dataclass(frozen=True, slots=True)
class Will:
    """The broker's word that this connection of this boot is gone."""

    epoch: bytes
    boot_id: bytes
    connection: int


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    action: str
    payload: Json


@dataclass(frozen=True, slots=True)
class LivePort:
    """One port of a watched station, as its meter says now. `cp`: 0..5 for the pilot states A..F."""

    evse_id: int
    cp: int
    offer_ma: int
    energy_wh: int
    power_w: int
    current_ma: list[int]
    voltage_mv: list[int]


@dataclass(frozen=True, slots=True)
class Live:
    mono_ms: int
    wall_ms: int | None
    ports: tuple[LivePort, ...]


LIVE_PORTS_MAX = 100


def read_hello(data: bytes) -> Hello:
    match read_cbor(data):
        case [1, epoch, boot_id, dict() as streams, *rest] if streams.keys() == set(STREAMS):
            connection = whole(rest[0]) if rest else 0
            return Hello(identity(epoch), identity(boot_id), connection, whole(rest[1]) if len(rest) > 1 else None)
    raise Malformed("not a hello of version 1")


def read_will(data: bytes) -> Will:
    match read_cbor(data):
        case [epoch, boot_id, *rest]:
            return Will(identity(epoch), identity(boot_id), whole(rest[0]) if rest else 0)
    raise Malformed("not a will")


def read_request(data: bytes, keys: Keys = KEYS) -> Request:
    match read_cbor(data):
        case [request_id, action, dict() as payload, *_]:
            return Request(whole(request_id), keys.name(action), keys.decode(payload))
    raise Malformed("not a request")


def read_live(data: bytes) -> Live:
    match read_cbor(data):
        case [mono_ms, wall_ms, [_, *_] as ports, *_] if len(ports) <= LIVE_PORTS_MAX:
            wall = None if wall_ms is None else whole(wall_ms, *WALL_MS)
            return Live(whole(mono_ms, 0, MONO_MAX_MS), wall, tuple(map(read_live_port, ports)))
    raise Malformed("not a live message")


def read_live_port(value: object) -> LivePort:
    match value:
        case [evse_id, cp, offer, energy, power, [_, _, _] as currents, [_, _, _] as voltages, *_]:
            phases = [[whole(item, INT64[0]) for item in items] for items in (currents, voltages)]
            return LivePort(
                whole(evse_id, 1, 1000), whole(cp, 0, 5), whole(offer), whole(energy), whole(power, INT64[0]), *phases
            )
    raise Malformed("not a live port")


# -- what goes down ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to `high` is stored or declared, but for `missing`; answering a hello with the digest of what
    stands under `of`, the highest key that is not beyond it."""

    high: int
    missing: tuple[tuple[int, int], ...] = ()
    digest: bytes | None = None
    of: int = 0

    def row(self) -> list[Any]:
        return [self.high, self.missing, *([self.digest, self.of] if self.digest else [])]


Refused = Mapping[int, Sequence[tuple[int, str]]]           # stream -> (seq, why)


def write_ack(
    epoch: bytes, marks: Mapping[int, Mark], now_ms: int, conflict: bool, refused: Refused, hello: Hello | None = None
) -> bytes:
    """`hello`: the one that this answers."""
    rest: list[Any] = [conflict, dict(refused)] if refused else [True] if conflict else []
    if hello:
        rest = [conflict, dict(refused), hello.boot_id, hello.connection]
    return cbor2.dumps([epoch, {stream: mark.row() for stream, mark in marks.items()}, now_ms, *rest], canonical=True)


def sign(key: Ed25519PrivateKey, payload: bytes) -> bytes:
    """COSE_Sign1 (RFC 9052 4.2), EdDSA, payload attached; the key id is the head of the public key's SHA-256."""
    protected = cbor2.dumps({1: -8, 4: key_id(key.public_key())}, canonical=True)
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def key_id(key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes_raw()).digest()[:8]
