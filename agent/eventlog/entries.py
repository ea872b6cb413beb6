"""The event log's bytes: what entered the core, when, and what it decided. Without card ids and without secrets. Pure.

A segment is MAGIC and blocks; a block is its length, the CRC-32 of its payload, and the payload: deflated MessagePack,
an array of entries. Every block can be read without the ones before it. A cut leaves a last block that is no block.

    entry = ["H", header]                         what wrote this, of which station
          | ["B", now, beginning, said]           a run begins: everything that agent.core.born was given
          | ["S", now, station]                   the whole station, before the next entry
          | ["L", count]                          so many events are missing here
          | ["R", now, evse_id, changed, said]    PortReported: fields that differ from this port's report before
          | ["E", now, name, fields, said]        every other event
    said  = lines of `said`, or left out
    changed = {place in the header's `report`: value}

The header has a fingerprint of the vocabulary, by which a reader knows whether other software wrote it. What that
called otherwise is found, entry by entry, and said (`Otherwise`): a field that is new here has its default, one that is
unknown here is left out. What cannot be read so ends the segment (`Unreadable`), and no other one.
"""

import hmac
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, tzinfo
from enum import Enum
from functools import cache
from hashlib import sha256
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct

from agent import zones
from agent.clock import Clock
from agent.core import born
from agent.effects import Effect, PortCommand, Record, Save, Stream, Wish
from agent.events import Event, Machine, PortReported, Report
from agent.policy.id_token import RANDOM_UID_FIRST, is_random, normalised
from agent.settings import Settings
from agent.station import Boot, Station
from agent.uplink.messages import CustomData

FORMAT = 1
MAGIC_OF_ANY = b"station-agent events "
MAGIC = MAGIC_OF_ANY + b"%d\n" % FORMAT
HEAD_B = 8  # of a block
BLOCK_MAX_B = 4_000_000  # deflated; nobody writes a longer one
INFLATED_MAX_B = 32_000_000
FACTS = (
    "station", "cloud", "outputs", "opened", "network", "reset", "update", "restarted", "wizard", "log", "data",
    "modem",
)  # fmt: skip
FACT_PREFIXES = ("port/", "owner/")
EVENTS: dict[str, type] = {each.__name__: each for each in get_args(Event)}
REPORT = tuple(each.name for each in fields(Report))


class Unreadable(Exception):
    """A sentence."""


class Header(Struct, frozen=True):
    station_id: str = ""
    version: str = ""  # of the software
    format: int = FORMAT
    vocabulary: str = ""  # of the types that stand here
    report: tuple[str, ...] = REPORT  # a report's fields, in the order of their places


class Beginning(Struct, frozen=True):
    """What agent.core.born was given, but the time."""

    settings: Settings
    boot: Boot
    clock: Clock
    port_count: int
    facts: dict[str, Any]
    jitter: tuple[float, ...]
    machine: Machine | None = None
    board: Settings | None = None

    def born(self, now: float) -> tuple[Station, tuple[Effect, ...]]:
        known = self.facts, self.jitter
        return born(self.settings, self.boot, self.clock, self.port_count, *known, now, self.machine, self.board)


def known_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of all that is on the disk, what the core looks at."""
    return {key: value for key, value in facts.items() if key in FACTS or key.startswith(FACT_PREFIXES)}


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to the core at `now`. `before` is None where it began."""

    before: Station | None
    event: Event | Beginning
    now: float
    effects: Sequence[Effect]


@dataclass(frozen=True, slots=True)
class Snapshot:
    station: Station
    now: float


@dataclass(frozen=True, slots=True)
class Happened:
    event: Event | Beginning
    now: float
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    count: int


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The software that wrote the entries from here on had no such fields, or had others: a sentence's part each."""

    words: tuple[str, ...]


Entry = Header | Snapshot | Happened | Missing | Otherwise


# -- what stands there ------------------------------------------------------------------------------------------------


@cache
def vocabulary() -> str:
    """A fingerprint: every type that a segment may hold, with its fields and theirs."""
    forms: dict[str, Any] = {}
    todo: list[Any] = [Station, Beginning, *EVENTS.values()]
    while todo:
        form = todo.pop()
        todo += get_args(form)
        if not isinstance(form, type) or form.__qualname__ in forms:
            continue
        if issubclass(form, Enum):
            forms[form.__qualname__] = [each.value for each in form]
        elif is_dataclass(form) or issubclass(form, Struct):
            hints = get_type_hints(form)
            forms[form.__qualname__] = {name: str(hint) for name, hint in hints.items()}
            todo += hints.values()
    return sha256(json.dumps(forms, sort_keys=True, default=str).encode()).hexdigest()[:16]


# -- what was decided -------------------------------------------------------------------------------------------------


def said(effects: Sequence[Effect]) -> tuple[str, ...]:
    """What the core has decided, a line each: what another build has to decide as well. No card, no text for people."""
    return tuple(line for effect in effects for line in lines_of(effect))


def lines_of(effect: Effect) -> Iterator[str]:
    match effect:
        case Record(action=action, payload=payload):
            yield f"{action} {gist(action, payload)}".strip()
        case Wish(commands=commands):
            yield f"wish {' '.join(map(wished, commands))}"
        case Save(key=key):
            yield f"save {key}"
        case _:
            yield type(effect).__name__


def wished(command: PortCommand) -> str:
    return f"{command.offer_ma}/{command.stop.name.lower()}{'/lock' if command.lock else ''}"


def gist(action: str, payload: Mapping[str, Any]) -> str:
    match action:
        case "TransactionEvent":
            info = payload["transactionInfo"]
            meters = payload.get("meterValue") or ({"sampledValue": ({"value": "-"},)},)
            words = (
                info["transactionId"], payload["seqNo"], payload["eventType"], payload["triggerReason"],
                info.get("chargingState"), info.get("stoppedReason"), f"{meters[-1]['sampledValue'][0]['value']} Wh",
                payload.get("costDetails", {}).get("totalCost", {}).get("total", {}).get("inclTax"),
            )  # fmt: skip
            return " ".join(str(word) for word in words if word is not None)
        case "StatusNotification":
            return f"{payload['evseId']} {payload['connectorStatus']}"
        case "CommandResult":
            response = payload.get("response") or {}
            return f"{payload['commandId']} {response.get('status', payload['status'])}"
        case "NotifyEvent":
            return ", ".join(map(event_gist, payload["eventData"]))
        case _:
            return " ".join(str(payload[key]) for key in ("type", "status", "requestId", "messageId") if key in payload)


def event_gist(event: Mapping[str, Any]) -> str:
    component = event["component"]
    evse = component.get("evse", {}).get("id")
    where = f"{component['name']}{'' if evse is None else f'.{evse}'}.{event['variable']['name']}"
    return f"{where}={event['actualValue']}{' cleared' if event.get('cleared') else ''}"


def is_urgent(step: Step) -> bool:
    """More than time passing, a meter moving and a sample of it: what somebody will ask about."""
    if isinstance(step.event, Beginning):
        return True
    records = any(isinstance(each, Record) and each.stream is not Stream.SAMPLES for each in step.effects)
    return records or type(step.event).__name__ not in ("Deadline", "PortReported", "OutboxCounted", "ClockTold")


# -- what is left out -------------------------------------------------------------------------------------------------

CARDS = frozenset({"id_token", "idToken", "uid", "spoken_for", "groupIdToken"})  # whatever stands there is one
ADDRESSES = frozenset({"url", "location"})
HIDDEN = frozenset({"link", "code", "wifi", "fingerprint", "guest"})  # of the door for the installer's phone
HIDDEN_TEXT = "hidden"
SECRETS = ("password", "secret", "psk", "privatekey", "token", "pin")


class Pseudonyms:
    """For each card another one, always the same at this station, that nobody can turn back without its key; what the
    core asks of an id (is it one, is it made up anew at each tap) has the same answer."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of_card(self, text: str) -> str:
        if not text:
            return ""
        card = normalised(text)
        digest = hmac.digest(self._key, (card or text.strip().upper()).encode(errors="replace"), "sha256").hex().upper()
        if card is None:
            return f"~{digest[:12]}"
        return f"{RANDOM_UID_FIRST}{digest[:6]}" if is_random(card) else f"04{digest[:18]}"

    def of(self, value: Any, key: str = "") -> Any:
        """JSON-like, with every card's id replaced, wherever it stands, and what is secret left out."""
        match value:
            case str():
                if key in CARDS or normalised(value) is not None:
                    return self.of_card(value)
                return without_secrets(value) if key in ADDRESSES else value
            case dict():
                hidden = hidden_of(value)
                return {
                    self.of(name): HIDDEN_TEXT if name in hidden and each else self.of(each, name)
                    for name, each in value.items()
                }
            case list() | tuple():
                return [self.of(each, key) for each in value]
        return value


def hidden_of(value: Mapping[Any, Any]) -> frozenset[str]:
    """Which of an object's members nobody may read."""
    if {"link", "wifi", "fingerprint"} <= value.keys():
        return HIDDEN
    variable = value.get("variable")
    name = variable.get("name") if isinstance(variable, dict) else value.get("name")
    if isinstance(name, str) and any(word in name.lower() for word in SECRETS):
        return frozenset({"attributeValue", "attribute_value", "value", "actualValue"})
    return frozenset()


def without_secrets(address: str) -> str:
    """A URL without user, password and query: what is there opens a door for whoever has it."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place, query, _ = rest.partition("?")
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{'?hidden' if query else ''}"


# -- to bytes ---------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """As JSON-like values."""
    return msgspec.to_builtins(value, enc_hook=spelled, builtin_types=(bytes,))


def spelled(value: Any) -> Any:
    if isinstance(value, tzinfo):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(type(value))


class Writer:
    """One block: entries in, bytes out."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._reports: dict[int, Report] = {}

    def header(self, header: Header) -> list[Any]:
        return ["H", {**plain(header), "vocabulary": vocabulary(), "report": REPORT}]

    def snapshot(self, station: Station, now: float) -> list[Any]:
        return ["S", now, self._pseudonyms.of(plain(station))]

    def missing(self, count: int) -> list[Any]:
        return ["L", count]

    def step(self, step: Step) -> list[Any]:
        lines = list(said(step.effects))
        match step.event:
            case Beginning():
                entry = ["B", step.now, self._pseudonyms.of(plain(step.event))]
            case PortReported(evse_id=evse_id, report=report):
                entry = ["R", step.now, evse_id, self._changed(evse_id, report)]
            case event:
                entry = ["E", step.now, type(event).__name__, self._pseudonyms.of(plain(event))]
        return [*entry, lines] if lines else entry

    def _changed(self, evse_id: int, report: Report) -> dict[int, Any]:
        before = self._reports.get(evse_id, Report())
        self._reports[evse_id] = report
        changed = {i: getattr(report, name) for i, name in enumerate(REPORT)}
        return {i: plain(value) for i, value in changed.items() if value != getattr(before, REPORT[i])}


def block(entries: Sequence[Any]) -> bytes:
    payload = zlib.compress(msgspec.msgpack.encode(entries), 6)
    assert len(payload) <= BLOCK_MAX_B, len(payload)
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


# -- from bytes -------------------------------------------------------------------------------------------------------


def payloads(data: bytes) -> Iterator[bytes]:
    """Of every whole block, up to the first that is none: what is behind it cannot be told from what an earlier file
    has left there."""
    if MAGIC.startswith(data) or not data.strip(b"\0"):  # a cut, or a full disk, before anything stood there
        return
    if not data.startswith(MAGIC) and data.startswith(MAGIC_OF_ANY):
        raise Unreadable("other software wrote this, in a format of its own")
    if not data.startswith(MAGIC):
        raise Unreadable("this is no event log of a station: name a file of its folder events, or a report")
    at = len(MAGIC)
    while at + HEAD_B <= len(data):
        length, crc = (int.from_bytes(data[at + i : at + i + 4], "big") for i in (0, 4))
        payload = data[at + HEAD_B : at + HEAD_B + length]
        if not 0 < length <= BLOCK_MAX_B or len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield payload
        at += HEAD_B + length


def read(data: bytes) -> Iterator[Entry]:
    """Every entry of a segment. Unreadable: it is none, or what stands in it this software does not know."""
    reader = Reader()
    for payload in payloads(data):
        try:
            inflater = zlib.decompressobj()
            rows = msgspec.msgpack.decode(inflater.decompress(payload, INFLATED_MAX_B), type=list[list[Any]])
        except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"a block that is whole cannot be read: {error}") from None
        reports: dict[int, Report] = {}
        for row in rows:
            try:
                entry = reader.entry_of(row, reports)
            except (msgspec.MsgspecError, TypeError, ValueError, LookupError, ArithmeticError) as error:
                kind = str(row[2] if row[:1] == ["E"] and len(row) > 2 else row[:1])[:40]
                who = reader.header.version or "other software"
                raise Unreadable(f"{who} wrote this, and its {kind} cannot be read here: {error}") from None
            if (words := reader.strange - reader.told) and not isinstance(entry, Header):
                reader.told |= words
                yield Otherwise(tuple(sorted(words)))
            yield entry


@dataclass(slots=True)
class Reader:
    """Of one segment: rows in, entries out."""

    header: Header = field(default_factory=Header)
    is_ours: bool = True  # whoever wrote this calls everything as we do
    strange: set[str] = field(default_factory=set)  # what is called otherwise
    told: set[str] = field(default_factory=set)

    def entry_of(self, row: list[Any], reports: dict[int, Report]) -> Entry:
        match row:
            case ["H", dict(header)]:
                return self._headed(msgspec.convert(header, Header))
            case ["L", int(count)]:
                return Missing(count)
            case ["S", float() | int() as now, dict(station)]:
                return Snapshot(self._formed(station, Station), float(now))
            case ["B", float() | int() as now, dict(beginning), *lines]:
                return Happened(self._formed(beginning, Beginning), float(now), lines_in(lines))
            case ["R", float() | int() as now, int(evse_id), dict(changed), *lines]:
                before = reports.get(evse_id, Report())
                said = {self.header.report[int(place)]: value for place, value in changed.items()}
                whole = {**plain(before), **{name: value for name, value in said.items() if name in REPORT}}
                reports[evse_id] = formed(whole, Report)
                return Happened(PortReported(evse_id, reports[evse_id]), float(now), lines_in(lines))
            case ["E", float() | int() as now, str(name), dict(members), *lines]:
                return Happened(self._formed(members, EVENTS[name]), float(now), lines_in(lines))
        raise ValueError("no entry")

    def _headed(self, header: Header) -> Header:
        self.header, self.is_ours = header, header.vocabulary == vocabulary()
        self.strange |= set(unlike(dict.fromkeys(header.report), dict.fromkeys(REPORT), Report.__name__))
        return header

    def _formed(self, value: Any, form: type) -> Any:
        made = formed(value, form)
        if not self.is_ours:
            self.strange |= set(unlike(value, plain(made), form.__name__))
        return made


def unlike(then: Any, here: Any, where: str) -> Iterator[str]:
    """Which names stand in only one of the two, and where. `here` was made of `then`."""
    match then, here:
        case dict(), dict():
            yield from (f"{where}.{name} is unknown here" for name in then.keys() - here.keys())
            yield from (f"{where}.{name} is new here" for name in here.keys() - then.keys())
            for name in then.keys() & here.keys():
                yield from unlike(then[name], here[name], f"{where}.{name}")
        case (list() | tuple()), (list() | tuple()):
            for one, other in zip(then, here, strict=False):
                yield from unlike(one, other, where)


def lines_in(lines: Sequence[Any]) -> tuple[str, ...]:
    return tuple(map(str, lines[0])) if lines else ()


def formed(value: Any, form: type) -> Any:
    return msgspec.convert(value, form, dec_hook=unspelled)


def unspelled(form: type, value: Any) -> Any:
    if form is tzinfo:
        return UTC if value == "UTC" else zones.load(str(value)) or UTC
    if form is CustomData and isinstance(value, dict):
        return CustomData(value)
    raise NotImplementedError(form)

