"""The reference cloud: keys and certificates, a ledger that counts every fault of the wire, and a service around it.

Written from docs/uplink.md and the word table only; it shares no line of code with the station, so that each is the
other's first stranger. `python tools/devcloud.py --help` lists the commands. Four parts, in this order: the wire
(words, batches, COSE), certificates, the database (drivers, commands, ledger), the service with its command line.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import secrets
import signal
import sqlite3
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2
import jsonschema
import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

Json = dict[str, Any]

MESSAGE_MAX_BYTES = 100_000
MISSING_MAX = 1_000                     # ranges in one acknowledgement; beyond it `high` is lowered, which is as true
INT64 = range(-(1 << 63), 1 << 63)
DEPTH_MAX = 24
WALL_MS = (-62_135_596_800_000, 253_402_300_799_999)         # the years 1..9999
MONO_MAX_MS = 1 << 45                   # a thousand years; differences and sums of times stay below 64 bits
STREAMS = range(5)
STATION_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
VENDOR = "station-agent"


class Malformed(Exception):
    """Bytes from a station that the wire does not allow. Counted, never fatal."""


class OperatorError(Exception):
    """The operator can fix it; the message says how."""


# ------------------------------------------------------------------------------------------------------- the wire


class Keys:
    """The published word table (number, name, kind): OCPP's JSON form to short CBOR values and back, exactly."""

    def __init__(self, table: str) -> None:
        rows = list(csv.DictReader(io.StringIO(table)))
        self.names = {int(row["number"]): row["name"] for row in rows}
        self.numbers = {name: number for number, name in self.names.items()}
        self.kinds = {row["name"]: row["kind"] for row in rows}

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

    def encode(self, value: Any, kind: str = "number") -> Any:
        """JSON form -> CBOR value; `kind` is that of the nearest enclosing member."""
        match value:
            case dict():
                return {self.word(name): self.encode(item, self.kind(name)) for name, item in value.items()}
            case list():
                return [self.encode(item, kind) for item in value]
            case str() if kind == "name":
                return self.word(value)
            case str() if kind == "time" and (ms := parse_time(value)) is not None and format_time(ms) == value:
                return ms
            case int() if type(value) is int and (kind in ("name", "time") or value not in INT64):
                return b"%d" % value
        return value

    def decode(self, value: Any, kind: str = "number", depth: int = 0) -> Any:
        """CBOR value -> JSON form. Raises Malformed."""
        if depth > DEPTH_MAX:
            raise Malformed("nested too deep")
        match value:
            case None | bool() | str():
                return value
            case int() if value not in INT64:
                raise Malformed("integer of more than 64 bits")
            case int() if kind == "name":
                return self.name(value)
            case int() if kind == "time":
                return format_time(value)
            case int():
                return value
            case float() if value - value == 0:             # neither NaN nor infinite
                return value
            case bytes() if re.fullmatch(rb"-?\d{1,40}", value):
                return int(value)
            case list():
                return [self.decode(item, kind, depth + 1) for item in value]
            case dict():
                return self._members(value, depth)
        raise Malformed(f"no JSON value: {type(value).__name__}")

    def _members(self, members: dict[Any, Any], depth: int) -> Json:
        named = [(self.name(word), item) for word, item in members.items()]
        decoded = {name: self.decode(item, self.kind(name), depth + 1) for name, item in named}
        if len(decoded) != len(named):
            raise Malformed("a member twice, as number and as text")
        return decoded


KEYS = Keys((Path(__file__).resolve().parent.parent / "agent" / "uplink" / "keys.csv").read_text("utf-8"))


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
    record: Record | None
    why: str = ""

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True)
class Batch:
    epoch: bytes
    entries: tuple[Entry, ...]
    last: int                           # beyond the entries' own only for a tombstone

    @property
    def first(self) -> int:
        return self.entries[0].seq


class NoTags(dict[int, Any]):
    """No tag has a decoder: the wire has none, and cbor2's own compile regular expressions for whoever asks."""

    def __missing__(self, tag: int) -> Any:
        raise Malformed(f"tag {tag}")


def read_cbor(data: bytes) -> Any:
    """One CBOR item and nothing after it. Raises Malformed."""
    if len(data) > MESSAGE_MAX_BYTES:
        raise Malformed("message too long")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream, semantic_decoders=NoTags(), allow_indefinite=False, allow_duplicate_keys=False, max_depth=64
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
    try:
        return Entry(seq, body, read_record(body, keys))
    except Malformed as malformed:
        return Entry(seq, body, None, str(malformed)[:300])


def read_batch(data: bytes, keys: Keys = KEYS) -> Batch:
    """The batch in these bytes; a record in it that cannot be read keeps its bytes. Raises Malformed."""
    match read_cbor(data):
        case [epoch, first, [_, *_] as bodies, *_]:
            start = whole(first, 1, INT64[-1] - len(bodies))
            entries = tuple(read_entry(start + i, body, keys) for i, body in enumerate(bodies))
            return Batch(identity(epoch), entries, tombstone_last(entries) or entries[-1].seq)
    raise Malformed("not a batch")


def tombstone_last(entries: Sequence[Entry]) -> int | None:
    """Where the range ends that a tombstone, alone in its batch, stands for; None if this is none."""
    match entries:
        case [Entry(seq=seq, record=Record(action="Tombstone", payload={"first": first, "last": int(last)}))]:
            return last if first == seq and seq <= last < INT64[-1] else None
    return None


def sign(key: Ed25519PrivateKey, payload: bytes) -> bytes:
    """COSE_Sign1 (RFC 9052 4.2), EdDSA, payload attached; the key id is the head of the public key's SHA-256."""
    protected = cbor2.dumps({1: -8, 4: key_id(key.public_key())}, canonical=True)
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def key_id(key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes_raw()).digest()[:8]


# --------------------------------------------------------------------------------------------------- certificates

NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)         # where a clock chip that lost its battery starts
NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)        # the last year of UTCTime


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The whole file or none, also across a power cut; the mode holds from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
    encoding, form, clear = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_file(path, key.private_bytes(encoding, form, clear), 0o600)


def certificate(
    name: str, key: ec.EllipticCurvePublicKey, ca_name: str, ca_key: ec.EllipticCurvePrivateKey, *, server: bool = False
) -> bytes:
    """PEM of a certificate with CN = `name`; one that names itself its issuer is the CA's own."""
    is_ca = name == ca_name
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, ca_name))
    unused = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
    usage = dict.fromkeys(unused.split(), False)
    builder = (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), NOT_BEFORE, NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if not is_ca:
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if server:
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CA_NAME, CLOUD_NAME = "devcloud CA", "devcloud"


def ca_init(folder: Path) -> None:
    """Makes ca, broker and cloud (.key, .pem) and the operator's signing key (operator.key, operator.pub)."""
    if (folder / "ca.key").exists():
        raise OperatorError(f"{folder} already holds a CA: choose another directory, or remove this one first")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    for file, name in (("broker", "localhost"), ("cloud", CLOUD_NAME)):
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(folder / f"{file}.key", key)
        cert = certificate(name, key.public_key(), CA_NAME, ca_key, server=file == "broker")
        write_file(folder / f"{file}.pem", cert)
    operator = Ed25519PrivateKey.generate()
    write_key(folder / "operator.key", operator)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_file(folder / "operator.pub", operator.public_key().public_bytes(serialization.Encoding.PEM, form))
    write_file(folder / "ca.pem", certificate(CA_NAME, ca_key.public_key(), CA_NAME, ca_key))
    write_key(folder / "ca.key", ca_key)                  # last: a directory with it is complete


def ca_station(folder: Path, serial: str, csr: Path | None = None) -> Path:
    """Issues stations/SERIAL.pem, for the CSR's key or for a new one beside it (SERIAL.key). Returns the .pem path."""
    if not STATION_ID.fullmatch(serial):
        raise OperatorError(f"{serial!r} is no serial number: use 1 to 36 letters, digits and hyphens")
    ca_key = read_key(folder / "ca.key")
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise OperatorError(f"{folder / 'ca.key'} is not the CA's key: run `devcloud ca init {folder}`")
    if csr is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(folder / "stations" / f"{serial}.key", key)
    path = folder / "stations" / f"{serial}.pem"
    write_file(path, certificate(serial, csr_key(csr, serial) if csr else key.public_key(), CA_NAME, ca_key))
    return path


def csr_key(path: Path, serial: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        key = request.public_key()
        names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        good = request.is_signature_valid and isinstance(key, ec.EllipticCurvePublicKey) and names == [serial]
    except (ValueError, OSError, InvalidSignature) as error:
        raise OperatorError(f"{path}: {error}") from None
    if not good or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OperatorError(f"{path}: make a CSR with CN = {serial}, signed by its own ECDSA P-256 key")
    return key


def read_key(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise OperatorError(f"{path} is missing: run `devcloud ca init {path.parent}`") from None


# ------------------------------------------------------------------------------------------------------- database

TABLES = """
CREATE TABLE IF NOT EXISTS station (name TEXT PRIMARY KEY, epoch BLOB, boot_id BLOB, online INTEGER NOT NULL DEFAULT 0,
    listed TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, station TEXT NOT NULL, epoch BLOB NOT NULL,
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    boot_id BLOB, mono_ms INTEGER, wall_ms INTEGER, clock_source INTEGER, action TEXT, payload TEXT,
    at_ms INTEGER,              -- when it happened: wall_ms, or corrected by a later record of the same boot
    fault TEXT, fault_text TEXT,
    UNIQUE (station, epoch, stream, seq)) STRICT;
CREATE INDEX IF NOT EXISTS record_digest ON record (station, digest);
CREATE INDEX IF NOT EXISTS record_undated ON record (station, boot_id) WHERE clock_source = 0;
CREATE TABLE IF NOT EXISTS tombstone (station TEXT, epoch BLOB, stream INTEGER, first INTEGER, last INTEGER, body BLOB,
    PRIMARY KEY (station, epoch, stream, first, last)) STRICT;
CREATE TABLE IF NOT EXISTS conflict (station TEXT, epoch BLOB, stream INTEGER, seq INTEGER, digest BLOB, body BLOB,
    PRIMARY KEY (station, epoch, stream, seq, digest)) STRICT;
CREATE TABLE IF NOT EXISTS span (station TEXT, epoch BLOB, stream INTEGER, first INTEGER, last INTEGER,
    PRIMARY KEY (station, epoch, stream, first)) STRICT;                     -- what is stored or declared, merged
CREATE TABLE IF NOT EXISTS boot (station TEXT, boot_id BLOB, mono_ms INTEGER, wall_ms INTEGER,
    PRIMARY KEY (station, boot_id)) STRICT;                                 -- the newest dated record of each boot
CREATE TABLE IF NOT EXISTS counter (station TEXT, kind TEXT, n INTEGER, PRIMARY KEY (station, kind)) STRICT;
CREATE TABLE IF NOT EXISTS transaction_event (station TEXT, transaction_id TEXT, digest BLOB, record_id INTEGER UNIQUE,
    PRIMARY KEY (station, transaction_id, digest)) STRICT;
CREATE TABLE IF NOT EXISTS session (station TEXT, transaction_id TEXT, evse_id INTEGER, id_token TEXT,
    started_ms INTEGER, ended_ms INTEGER,
    first_wh REAL, last_wh REAL, stopped_reason TEXT, seq_nos TEXT, violations TEXT,
    PRIMARY KEY (station, transaction_id)) STRICT;
CREATE TABLE IF NOT EXISTS driver (id_token TEXT PRIMARY KEY, group_ids TEXT NOT NULL, status TEXT NOT NULL,
    expiry_ms INTEGER, language TEXT NOT NULL, name TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS list (generation INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, station TEXT NOT NULL, action TEXT NOT NULL,
    payload TEXT NOT NULL, expires_ms INTEGER NOT NULL, sends INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    status TEXT, result TEXT) STRICT;                                       -- status NULL: no answer yet
"""


def open_database(path: Path | str) -> sqlite3.Connection:
    """The service and the commands have it open at once: WAL, and whoever comes second waits."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.executescript(TABLES)
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, durable when it returns."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def canonical_token(text: str) -> str | None:
    """A card number as upper-case hex without separators; None if it is none (2 to 20 bytes)."""
    digits = re.sub(r"[\s:-]", "", text).upper()
    return digits if re.fullmatch(r"([0-9A-F]{2}){2,20}", digits) else None


@dataclass(frozen=True, slots=True)
class Driver:
    """One line of the list of drivers. `expiry_ms` since 1970, None = never."""

    id_token: str
    groups: tuple[str, ...] = ()
    status: str = "Accepted"
    expiry_ms: int | None = None
    language: str = ""
    name: str = ""


def id_token_info(driver: Driver | None, now_ms: int | None = None) -> Json:
    """OCPP's IdTokenInfoType; a passed expiry shows as Expired only where `now_ms` is given."""
    if driver is None:
        return {"status": "Unknown"}
    expired = now_ms is not None and driver.expiry_ms is not None and driver.expiry_ms < now_ms
    info: Json = {"status": "Expired" if expired and driver.status == "Accepted" else driver.status}
    if driver.expiry_ms is not None:
        info["cacheExpiryDateTime"] = format_time(driver.expiry_ms)
    if driver.groups:
        info["groupIdToken"] = {"idToken": driver.groups[0], "type": "Central"}
    if driver.language:
        info["language1"] = driver.language
    return info


def list_entry(driver: Driver) -> Json:
    """OCPP's AuthorizationData; OCPP knows one group, the others go to customData."""
    entry: Json = {
        "idToken": {"idToken": driver.id_token, "type": "ISO14443"},
        "idTokenInfo": id_token_info(driver),
    }
    if len(driver.groups) > 1:
        entry["customData"] = {"vendorId": VENDOR, "groups": list(driver.groups)}
    return entry


LIST_MAX = 1_500


class Drivers:
    """The drivers and the version of the list made of them; every change is one transaction and one version."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def find(self, id_token: str) -> Driver | None:
        return next(self._select("WHERE id_token = ?", canonical_token(id_token) or id_token), None)

    def all(self) -> list[Driver]:
        return list(self._select("ORDER BY id_token"))

    def _select(self, where: str, *values: str) -> Iterator[Driver]:
        columns = "id_token, group_ids, status, expiry_ms, language, name"
        for token, groups, *rest in self.db.execute(f"SELECT {columns} FROM driver {where}", values):
            yield Driver(token, tuple(json.loads(groups)), *rest)

    def version(self) -> tuple[int, int] | None:
        """(generation, version) of the list; None before the first change, when nobody shall be sent anything."""
        found: tuple[int, int] | None = self.db.execute("SELECT generation, version FROM list").fetchone()
        return found

    def put(self, drivers: Iterable[Driver], now_ms: int) -> None:
        """Adds or replaces these drivers. Raises OperatorError, with nothing changed, if the list would not fit."""
        rows = [(d.id_token, json.dumps(d.groups), d.status, d.expiry_ms, d.language, d.name) for d in drivers]
        with transaction(self.db):
            self.db.executemany("INSERT OR REPLACE INTO driver VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._bump(now_ms)

    def remove(self, id_token: str, now_ms: int) -> None:
        with transaction(self.db):
            token = canonical_token(id_token) or id_token
            if not self.db.execute("DELETE FROM driver WHERE id_token = ?", (token,)).rowcount:
                raise OperatorError(f"{token} is not on the list; `devcloud allow --add {token}` would put it there")
            self._bump(now_ms)

    def _bump(self, now_ms: int) -> None:
        if self.version() is None:
            self.db.execute("INSERT INTO list VALUES (?, 0)", (now_ms // 1000,))
        self.db.execute("UPDATE list SET version = version + 1")
        request = self.request()
        count, size = len(request.get("localAuthorizationList", ())), len(cbor2.dumps(KEYS.encode(request)))
        if count > LIST_MAX or size > MESSAGE_MAX_BYTES - 500:            # what signature and frame take
            raise OperatorError(
                f"the list would have {count} drivers in {size} bytes, and one command carries {LIST_MAX} in 99500:"
                " allow fewer, or remove some first"
            )

    def request(self) -> Json:
        """The SendLocalListRequest with the whole list; an empty list has no member for it, as OCPP wants."""
        version = self.version()
        assert version is not None
        entries = [list_entry(driver) for driver in self.all()]
        return {
            "versionNumber": version[1],
            "updateType": "Full",
            **({"localAuthorizationList": entries} if entries else {}),
            "customData": {"vendorId": VENDOR, "generation": version[0], "count": len(entries)},
        }


CSV_COLUMNS = ("idToken", "groups", "status", "expiry", "language", "name")


def read_drivers(text: str) -> list[Driver]:
    """The drivers of a CSV file. Raises OperatorError naming each bad line."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    if "idToken" not in (rows.fieldnames or ()) or not set(rows.fieldnames or ()) <= set(CSV_COLUMNS):
        raise OperatorError(f"the first line must name columns: idToken, and any of {', '.join(CSV_COLUMNS[1:])}")
    drivers: dict[str, Driver] = {}
    bad: list[str] = []
    for row in rows:
        try:
            driver = read_driver({name: (value or "").strip() for name, value in row.items() if name in CSV_COLUMNS})
            if driver.id_token in drivers or None in row:
                raise OperatorError(f"{driver.id_token} stands twice" if None not in row else "too many columns")
            drivers[driver.id_token] = driver
        except OperatorError as error:
            bad.append(f"line {rows.line_num}: {error}")
    if bad:
        raise OperatorError("; ".join((*bad[:20], "nothing imported")))
    return list(drivers.values())


def read_driver(row: dict[str, str]) -> Driver:
    token = canonical_token(row["idToken"])
    if token is None:
        raise OperatorError(f"{row['idToken']!r} is no card number: write 2 to 20 bytes in hex, like 04A2B3C4D5E6F7")
    expiry_ms = parse_time(row["expiry"]) if row.get("expiry") else None
    if row.get("expiry") and expiry_ms is None:
        raise OperatorError(f"{row['expiry']!r} is no time: write 2027-01-31 or 2027-01-31T18:00:00Z")
    status = row.get("status") or "Accepted"
    if status not in id_token_statuses():
        raise OperatorError(f"status {status!r} is none of {', '.join(id_token_statuses())}")
    groups = tuple(dict.fromkeys(group.strip() for group in row.get("groups", "").split(";") if group.strip()))
    if len(row.get("language", "")) > 8 or any(len(group) > 255 for group in groups):
        raise OperatorError("a language has at most 8 characters (en, de-CH), a group at most 255")
    return Driver(token, groups, status, expiry_ms, row.get("language", ""), row.get("name", ""))


@dataclass(frozen=True, slots=True)
class Command:
    """A command on its way; repeated until its result comes back as a record, or until it expires."""

    id: str
    station: str
    action: str
    payload: Json
    expires_ms: int


REDELIVER_MS = 30_000                   # doubled each time, up to 64 times that


class Commands:
    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def add(self, station: str, action: str, payload: Json, expires_ms: int) -> str:
        """Queues a command for the service to sign and send. Returns its id. Raises OperatorError for a bad payload."""
        if fault := schema_fault(f"{action}Request", payload):
            raise OperatorError(f"{action}: {fault}")
        command_id = secrets.token_hex(8)
        self.db.execute(
            "INSERT INTO command (id, station, action, payload, expires_ms) VALUES (?, ?, ?, ?, ?)",
            (command_id, station, action, json.dumps(payload), expires_ms),
        )
        return command_id

    def due(self, now_ms: int) -> list[Command]:
        """The commands to send now to the stations that are there; each is due again later, ever more rarely."""
        rows = self.db.execute(
            "SELECT id, command.station, action, payload, expires_ms, sends FROM command"
            " JOIN station ON station.name = command.station AND station.online"
            " WHERE status IS NULL AND expires_ms > ? AND next_ms <= ? ORDER BY command.rowid",
            (now_ms, now_ms),
        ).fetchall()
        later = "UPDATE command SET sends = sends + 1, next_ms = ? WHERE id = ?"
        if rows:
            with transaction(self.db):
                self.db.executemany(later, [(now_ms + (REDELIVER_MS << min(row[5], 6)), row[0]) for row in rows])
        return [Command(row[0], row[1], row[2], json.loads(row[3]), row[4]) for row in rows]

    def retry(self, station: str) -> None:
        """The station has just come: what it has not answered is due at once."""
        self.db.execute("UPDATE command SET next_ms = 0, sends = 0 WHERE station = ? AND status IS NULL", (station,))

    def supersede(self, station: str, action: str) -> None:
        self.db.execute(
            "UPDATE command SET status = 'Superseded' WHERE station = ? AND action = ? AND status IS NULL",
            (station, action),
        )

    def finish(self, station: str, result: Json) -> None:
        """A CommandResult has come; of several the first stands."""
        self.db.execute(
            "UPDATE command SET status = ?, result = ? WHERE id = ? AND station = ? AND status IS NULL",
            (str(result.get("status")), json.dumps(result), str(result.get("commandId")), station),
        )

    def result(self, command_id: str) -> tuple[str | None, Json | None]:
        """(status, CommandResult payload) of a command; None while it is on its way."""
        row = self.db.execute("SELECT status, result FROM command WHERE id = ?", (command_id,)).fetchone()
        return (row[0], row[1] and json.loads(row[1])) if row else (None, None)


# ---------------------------------------------------------------------------------------------------- the referee

REFEREE_TIMES = jsonschema.FormatChecker(formats=())
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def is_date_time(text: object) -> bool:
    return not isinstance(text, str) or bool(RFC3339.fullmatch(text) and parse_time(text) is not None)


REFEREE_TIMES.checks("date-time")(is_date_time)


@cache
def validator(name: str) -> Any:
    """The official OCPP 2.1 schema of `<Action>Request` or `<Action>Response`; None if there is none."""
    file = files("ocpp") / "v21" / "schemas" / f"{name}.json"
    if not re.fullmatch(r"\w{1,80}", name) or not file.is_file():
        return None
    return jsonschema.Draft6Validator(json.loads(file.read_text("utf-8-sig")), format_checker=REFEREE_TIMES)


def schema_fault(name: str, payload: Json) -> str | None:
    """What is wrong with this payload, in at most 300 characters; None if nothing is."""
    if (schema := validator(name)) is None:
        return f"no schema {name}"
    error = jsonschema.exceptions.best_match(schema.iter_errors(payload))
    return f"{error.json_path}: {error.message}"[:300] if error else None


@cache
def id_token_statuses() -> tuple[str, ...]:
    return tuple(validator("AuthorizeResponse").schema["definitions"]["AuthorizationStatusEnumType"]["enum"])


def record_fault(record: Record) -> tuple[str, str] | None:
    """(kind, text) of what is wrong with a record that could be read."""
    if record.action == "CommandResult":
        return None if isinstance(record.payload.get("commandId"), str) else ("schema_errors", "no commandId")
    if record.action == "Tombstone":
        return "schema_errors", "a tombstone must stand alone in its batch, from its own seq on"
    if validator(f"{record.action}Request") is None:
        return "unknown_actions", record.action[:80]
    text = schema_fault(f"{record.action}Request", record.payload)
    return ("schema_errors", text) if text else None


# --------------------------------------------------------------------------------------------------------- ledger


@dataclass(frozen=True, slots=True)
class TransactionEvent:
    """What the bill needs of one TransactionEvent. Registers in Wh, in the order they were read."""

    seq_no: int
    event_type: str
    at_ms: int | None
    evse_id: int | None
    id_token: str | None
    registers_wh: tuple[float, ...]
    stopped_reason: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """One charging session as it will be billed: a function of its events, whatever order they came in."""

    station: str
    transaction_id: str
    evse_id: int | None
    id_token: str | None
    started_ms: int | None
    ended_ms: int | None
    first_wh: float | None
    last_wh: float | None
    stopped_reason: str | None
    seq_nos: tuple[int, ...]
    violations: tuple[str, ...]

    @property
    def energy_wh(self) -> float:
        return 0.0 if self.first_wh is None or self.last_wh is None else self.last_wh - self.first_wh


def read_transaction_event(payload: Json, at_ms: int | None) -> TransactionEvent:
    """From a payload that the schema has passed."""
    evse_id = payload.get("evse", {}).get("id")
    registers = (register_wh(s) for meter_value in payload.get("meterValue", ()) for s in meter_value["sampledValue"])
    return TransactionEvent(
        int(payload["seqNo"]),
        payload["eventType"],
        at_ms,
        evse_id if type(evse_id) is int and evse_id in INT64 else None,
        payload.get("idToken", {}).get("idToken"),
        tuple(wh for wh in registers if wh is not None),
        payload["transactionInfo"].get("stoppedReason"),
    )


def register_wh(sample: Json) -> float | None:
    """The reading of the energy register in a SampledValueType (absent measurand and unit mean just that), or None."""
    register = sample.get("measurand", "Energy.Active.Import.Register") == "Energy.Active.Import.Register"
    unit = sample.get("unitOfMeasure", {})
    scale = {"Wh": 1, "kWh": 1000}.get(unit.get("unit", "Wh"))
    if not register or "phase" in sample or scale is None or abs(unit.get("multiplier", 0)) > 12:
        return None
    return float(sample["value"] * scale * 10.0 ** unit.get("multiplier", 0))


def session_of(station: str, transaction_id: str, events: Iterable[TransactionEvent]) -> Session:
    """The session that these events make."""
    events = sorted(events, key=lambda event: (event.seq_no, event.event_type, repr(event)))
    started = [event for event in events if event.event_type == "Started"]
    ended = [event for event in events if event.event_type == "Ended"]
    registers = [wh for event in events for wh in event.registers_wh]
    seq_nos = sorted({event.seq_no for event in events})
    wrong = {
        "started_twice": len(started) > 1,
        "ended_twice": len(ended) > 1,
        "ended_without_started": bool(ended) and not started,
        "event_after_ended": bool(ended) and seq_nos[-1] > ended[-1].seq_no,
        "seq_no_gap": seq_nos[-1] - seq_nos[0] + 1 != len(seq_nos),
        "seq_no_twice": len(seq_nos) != len(events),
        "register_fell": any(later < earlier for earlier, later in pairwise(registers)),
        "energy_negative": bool(registers) and registers[-1] < registers[0],
    }
    return Session(
        station,
        transaction_id,
        next((event.evse_id for event in events if event.evse_id is not None), None),
        next((event.id_token for event in events if event.id_token is not None), None),
        started[0].at_ms if started else None,
        ended[0].at_ms if ended else None,
        registers[0] if registers else None,
        registers[-1] if registers else None,
        next((event.stopped_reason for event in ended if event.stopped_reason is not None), None),
        tuple(seq_nos),
        tuple(kind for kind, is_wrong in wrong.items() if is_wrong),
    )


HARMLESS = ("doubles", "resent", "gaps_seen")
VIOLATIONS = (
    *("conflicts", "gaps_open", "undecodable", "unreadable", "schema_errors", "unknown_actions", "money_dropped"),
    *("started_twice", "ended_twice", "ended_without_started", "event_after_ended"),              # these of sessions
    *("seq_no_gap", "seq_no_twice", "register_fell", "energy_negative"),
)


@dataclass(frozen=True, slots=True)
class StationReport:
    sessions: tuple[Session, ...]
    records: int
    counts: dict[str, int]              # every kind of HARMLESS and VIOLATIONS

    @property
    def violations(self) -> dict[str, int]:
        return {kind: n for kind, n in self.counts.items() if n and kind not in HARMLESS}


@dataclass(frozen=True, slots=True)
class Report:
    stations: dict[str, StationReport]

    @property
    def clean(self) -> bool:
        return not any(station.violations for station in self.stations.values())


Key = tuple[str, bytes, int]            # station, epoch, stream


class Ledger:
    """Everything the stations have sent, once each, and what it amounts to. One SQLite file, or `:memory:`."""

    def __init__(self, path: Path | str, keys: Keys = KEYS) -> None:
        self.db = open_database(path)
        self.keys = keys
        self.drivers = Drivers(self.db)
        self.commands = Commands(self.db)

    def close(self) -> None:
        self.db.close()

    def ingest(self, station: str, stream: int, batch_bytes: bytes, now_ms: int) -> bytes | None:
        """Stores a batch with all its effects in one transaction. Returns the acknowledgement, to be sent now that it
        is durable, or None for a batch that cannot be read: it is counted, and nothing else changes."""
        try:
            batch = read_batch(batch_bytes, self.keys)
        except Malformed:
            self.count_undecodable(station)
            return None
        return self.store(station, stream, batch, now_ms)

    def store(self, station: str, stream: int, batch: Batch, now_ms: int) -> bytes:
        key = (station, batch.epoch, stream)
        with transaction(self.db):
            self._seen(station)
            if tombstone_last(batch.entries) is not None:
                self._bury(key, batch)
            else:
                fresh = [entry for entry in batch.entries if self._insert(key, entry, now_ms)]
                self._take_effect(key, fresh)
            self._cover(key, batch.first, batch.last)
        return self.ack(station, batch.epoch, (stream,), now_ms)

    def _seen(self, station: str) -> None:
        """It is there: a hello may have been lost with a broker, and what comes now proves the same."""
        here = "INSERT INTO station (name, online) VALUES (?, 1) ON CONFLICT DO UPDATE SET online = 1"
        self.db.execute(here, (station,))

    def count_undecodable(self, station: str) -> None:
        with transaction(self.db):
            self._seen(station)
            self._count(station, "undecodable")

    def _count(self, station: str, kind: str) -> None:
        self.db.execute(
            "INSERT INTO counter VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (station, kind)
        )

    def _bury(self, key: Key, batch: Batch) -> None:
        """A tombstone lives beside the records: under one key with a record it is no conflict, in either order."""
        row = (*key, batch.first, batch.last, batch.entries[0].body)
        if not self.db.execute("INSERT OR IGNORE INTO tombstone VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
            self._count(key[0], "doubles")

    def _insert(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Stores a record under its key; False, and counted, if the key was taken."""
        station, *_ = key
        at_key = "FROM record WHERE station = ? AND epoch = ? AND stream = ? AND seq = ?"
        if known := self.db.execute(f"SELECT digest {at_key}", (*key, entry.seq)).fetchone():
            if known[0] == entry.digest:
                self._count(station, "doubles")
            else:
                row = (*key, entry.seq, entry.digest, entry.body)
                self.db.execute("INSERT OR IGNORE INTO conflict VALUES (?, ?, ?, ?, ?, ?)", row)
            return False
        elsewhere = "SELECT 1 FROM record WHERE station = ? AND digest = ? AND epoch <> ? LIMIT 1"
        if self.db.execute(elsewhere, (station, entry.digest, key[1])).fetchone():
            self._count(station, "resent")
        record = entry.record
        fault = record_fault(record) if record else ("unreadable", entry.why)
        place = (None, *key, entry.seq, entry.digest, entry.body, now_ms)
        values = (*place, *record_columns(record), *(fault or (None, None)))
        self.db.execute(f"INSERT INTO record VALUES ({', '.join('?' * len(values))})", values)
        return True

    def _take_effect(self, key: Key, fresh: list[Entry]) -> None:
        """What new records mean besides being kept: results, sessions, and better dates for older records."""
        station, *_ = key
        touched: set[str] = set()
        for entry in fresh:
            match entry.record:
                case None:
                    continue
                case Record(action="CommandResult", payload=payload):
                    self.commands.finish(station, payload)
                case Record(action="TransactionEvent", payload=payload) if record_fault(entry.record) is None:
                    touched.add(self._remember_event(key, entry, payload))
            self._set_clock(station, entry.record)
        for boot_id in {entry.record.boot_id for entry in fresh if entry.record}:
            touched |= self._date(station, boot_id)
        for transaction_id in touched:
            self._settle(station, transaction_id)

    def _remember_event(self, key: Key, entry: Entry, payload: Json) -> str:
        """Ties the record to its session; the same bytes under a second epoch are one event."""
        transaction_id: str = payload["transactionInfo"]["transactionId"]
        self.db.execute(
            "INSERT OR IGNORE INTO transaction_event SELECT ?, ?, digest, id FROM record"
            " WHERE station = ? AND epoch = ? AND stream = ? AND seq = ?",
            (key[0], transaction_id, *key, entry.seq),
        )
        return transaction_id

    def _set_clock(self, station: str, record: Record) -> None:
        """The newest dated record of a boot dates the undated ones: later in a boot, the clock is the better one."""
        if record.clock_source and record.wall_ms is not None:
            self.db.execute(
                "INSERT INTO boot VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET mono_ms = excluded.mono_ms,"
                " wall_ms = excluded.wall_ms WHERE (excluded.mono_ms, excluded.wall_ms) > (mono_ms, wall_ms)",
                (station, record.boot_id, record.mono_ms, record.wall_ms),
            )

    def _date(self, station: str, boot_id: bytes) -> set[str]:
        """Dates the undated records of this boot, if its clock is known. Returns the transactions that moved."""
        clock = "SELECT wall_ms - mono_ms FROM boot WHERE station = ? AND boot_id = ?"
        if (known := self.db.execute(clock, (station, boot_id)).fetchone()) is None:
            return set()
        moved = self.db.execute(
            "UPDATE record SET at_ms = mono_ms + ?1 WHERE station = ?2 AND boot_id = ?3 AND clock_source = 0"
            " AND at_ms IS NOT mono_ms + ?1 RETURNING id",
            (known[0], station, boot_id),
        ).fetchall()
        which = "SELECT transaction_id FROM transaction_event WHERE record_id = ?"
        return {transaction_id for row in moved for (transaction_id,) in self.db.execute(which, row)}

    def _settle(self, station: str, transaction_id: str) -> None:
        rows = self.db.execute(
            "SELECT payload, at_ms, clock_source FROM transaction_event JOIN record ON record.id = record_id"
            " WHERE transaction_event.station = ? AND transaction_id = ?",
            (station, transaction_id),
        )
        session = session_of(station, transaction_id, (settled_event(*row) for row in rows))
        values = [json.dumps(value) if isinstance(value, tuple) else value for value in asdict(session).values()]
        self.db.execute(f"INSERT OR REPLACE INTO session VALUES ({', '.join('?' * len(values))})", values)

    def _cover(self, key: Key, first: int, last: int) -> None:
        """Adds first..last to the stored ranges, merging neighbours, so that marks cost as much as there are holes."""
        ours = "station = ? AND epoch = ? AND stream = ?"
        (high,) = self.db.execute(f"SELECT coalesce(max(last), 0) FROM span WHERE {ours}", key).fetchone()
        if first > high + 1:
            self._count(key[0], "gaps_seen")
        touching = f"FROM span WHERE {ours} AND first <= ? AND last >= ?"
        reach = (*key, last + 1, first - 1)
        low, top = self.db.execute(f"SELECT min(first), max(last) {touching}", reach).fetchone()
        self.db.execute(f"DELETE {touching}", reach)
        merged = (*key, min(first, low or first), max(last, top or last))
        self.db.execute("INSERT INTO span VALUES (?, ?, ?, ?, ?)", merged)

    def mark(self, station: str, epoch: bytes, stream: int) -> tuple[int, list[tuple[int, int]]]:
        """(high, missing): everything up to `high` is stored or declared dropped, except the missing ranges."""
        spans = self.db.execute(
            "SELECT first, last FROM span WHERE station = ? AND epoch = ? AND stream = ? ORDER BY first LIMIT ?",
            (station, epoch, stream, MISSING_MAX),
        )
        high, missing = 0, []
        for first, last in spans:
            if first > high + 1:
                missing.append((high + 1, first - 1))
            high = last
        return high, missing

    def ack(self, station: str, epoch: bytes, streams: Iterable[int], now_ms: int) -> bytes:
        """The acknowledgement for these streams. A conflict stays said for its epoch: the mark covers a record that is
        not the station's, so no later ack may let the station forget its own."""
        marks = {stream: self.mark(station, epoch, stream) for stream in streams}
        conflict = self.db.execute("SELECT 1 FROM conflict WHERE station = ? AND epoch = ? LIMIT 1", (station, epoch))
        return cbor2.dumps([epoch, marks, now_ms, *([True] if conflict.fetchone() else [])], canonical=True)

    def hello(self, station: str, epoch: bytes, boot_id: bytes, now_ms: int) -> bytes:
        """The station has connected. Returns the acknowledgement with its marks of all streams."""
        with transaction(self.db):
            self.db.execute(
                "INSERT INTO station (name, epoch, boot_id, online) VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE"
                " SET epoch = ?2, boot_id = ?3, online = 1, listed = ''",
                (station, epoch, boot_id),
            )
            self.commands.retry(station)
        return self.ack(station, epoch, STREAMS, now_ms)

    def will(self, station: str, epoch: bytes, boot_id: bytes) -> None:
        """The broker says the station is gone; a will older than the newest hello says nothing."""
        self.db.execute(
            "UPDATE station SET online = 0 WHERE name = ? AND epoch = ? AND boot_id = ?", (station, epoch, boot_id)
        )

    def queue_lists(self, now_ms: int) -> None:
        """Queues the whole list for each station that is there and has not been sent this version since its hello."""
        if (version := self.drivers.version()) is None:
            return
        listed = json.dumps(version)
        waiting = self.db.execute("SELECT name FROM station WHERE online AND listed <> ?", (listed,)).fetchall()
        if not waiting:
            return
        with transaction(self.db):
            request = self.drivers.request()
            for (station,) in waiting:
                self.commands.supersede(station, "SendLocalList")
                self.commands.add(station, "SendLocalList", request, now_ms + LIST_EXPIRY_MS)
                self.db.execute("UPDATE station SET listed = ? WHERE name = ?", (listed, station))

    def sessions(self, station: str) -> tuple[Session, ...]:
        """Its sessions, the first event to arrive first."""
        rows = self.db.execute(
            "SELECT session.* FROM session JOIN transaction_event USING (station, transaction_id)"
            " WHERE station = ? GROUP BY transaction_id ORDER BY min(record_id)",
            (station,),
        )
        return tuple(Session(*(*row[:-2], *(tuple(json.loads(text)) for text in row[-2:]))) for row in rows)

    def report(self) -> Report:
        """Every station's sessions and what was wrong, told apart from what was only repeated."""
        names = [name for (name,) in self.db.execute("SELECT name FROM station ORDER BY name")]
        return Report({name: self._station_report(name) for name in names})

    def _station_report(self, station: str) -> StationReport:
        sessions = self.sessions(station)
        (records,) = self.db.execute("SELECT count(*) FROM record WHERE station = ?", (station,)).fetchone()
        counts = dict.fromkeys((*HARMLESS, *VIOLATIONS), 0)
        for query in COUNTS:
            counts |= dict(self.db.execute(query, (station,)).fetchall())
        for kind in (kind for session in sessions for kind in session.violations):
            counts[kind] += 1
        return StationReport(sessions, records, counts)


LIST_EXPIRY_MS = 24 * 3600 * 1000

COUNTS = (
    "SELECT kind, n FROM counter WHERE station = ?",
    "SELECT 'conflicts', count(*) FROM conflict WHERE station = ?",
    "SELECT 'money_dropped', count(*) FROM tombstone WHERE station = ? AND stream = 0",
    "SELECT fault, count(*) FROM record WHERE station = ? AND fault IS NOT NULL GROUP BY fault",
    """SELECT 'gaps_open', count(*) FROM (SELECT first,
        lag(last, 1, 0) OVER (PARTITION BY epoch, stream ORDER BY first) AS before FROM span WHERE station = ?)
        WHERE first > before + 1""",
)


def record_columns(record: Record | None) -> tuple[object, ...]:
    """boot_id .. at_ms of the table `record`. A wall clock without a source is kept, and not believed."""
    if record is None:
        return (None,) * 7
    at_ms = record.wall_ms if record.clock_source else None
    payload = json.dumps(record.payload, ensure_ascii=False)
    return (record.boot_id, record.mono_ms, record.wall_ms, record.clock_source, record.action, payload, at_ms)


def settled_event(payload: str, at_ms: int | None, clock_source: int) -> TransactionEvent:
    """An event is dated by what it says itself if its station knew the time, else by when its record was made."""
    event: Json = json.loads(payload)
    return read_transaction_event(event, parse_time(event["timestamp"]) if clock_source else at_ms)


# -------------------------------------------------------------------------------------------------------- service


@dataclass(frozen=True, slots=True)
class Publish:
    """A message to a station. `expires_ms` since 1970: the broker drops it then; None = never."""

    topic: str
    payload: bytes
    qos: int = 0
    expires_ms: int | None = None


class Cloud:
    """What the cloud says to what it hears: message in, messages out; the database is all its state."""

    def __init__(self, ledger: Ledger, operator: Ed25519PrivateKey) -> None:
        self.ledger = ledger
        self.operator = operator

    def receive(self, topic: str, payload: bytes, now_ms: int) -> list[Publish]:
        """Answers one message from a station, once everything it says is durable."""
        match topic.split("/"):
            case ["u", station, channel] if STATION_ID.fullmatch(station):
                pass
            case _:
                return []
        try:
            match channel:
                case "0" | "1" | "2" | "3" | "4":
                    return self._batch(station, int(channel), read_batch(payload, self.ledger.keys), now_ms)
                case "h":
                    return self._hello(station, payload, now_ms)
                case "w":
                    self._will(station, payload)
                case "v":
                    return self._request(station, payload, now_ms)
        except Malformed:
            self.ledger.count_undecodable(station)
        return []

    def due(self, now_ms: int) -> list[Publish]:
        """The commands to send now; to be called about once a second, since other processes queue them too."""
        self.ledger.queue_lists(now_ms)
        return [
            Publish(f"d/{command.station}/c", self.signed(command), 1, command.expires_ms)
            for command in self.ledger.commands.due(now_ms)
        ]

    def greet(self, now_ms: int) -> list[Publish]:
        """The marks of every station known, for the cloud's own connect: a hello said to nobody is not repeated."""
        known = self.ledger.db.execute("SELECT name, epoch FROM station WHERE epoch IS NOT NULL").fetchall()
        return [Publish(f"d/{name}/a", self.ledger.ack(name, epoch, STREAMS, now_ms)) for name, epoch in known]

    def signed(self, command: Command) -> bytes:
        keys = self.ledger.keys
        action, payload = keys.word(command.action), keys.encode(command.payload)
        body = [command.station, command.id, command.expires_ms, action, payload]
        return sign(self.operator, cbor2.dumps(body, canonical=True))

    def _batch(self, station: str, stream: int, batch: Batch, now_ms: int) -> list[Publish]:
        ack = self.ledger.store(station, stream, batch, now_ms)
        answers = (
            Publish(f"d/{station}/r", cbor2.dumps([batch.epoch, stream, entry.seq, self.ledger.keys.encode(answer)]), 1)
            for entry in batch.entries
            if entry.record and (answer := self._answer(entry.record, now_ms))
        )
        return [Publish(f"d/{station}/a", ack), *answers]

    def _answer(self, record: Record, now_ms: int) -> Json | None:
        """The OCPP response to a record, where it says something: is the driver who has started welcome?"""
        match record.action, record.payload:
            case ("TransactionEvent", {"eventType": "Started", "idToken": {"idToken": str(token)}}):
                return {"idTokenInfo": id_token_info(self.ledger.drivers.find(token), now_ms)}
        return None

    def _hello(self, station: str, payload: bytes, now_ms: int) -> list[Publish]:
        match read_cbor(payload):
            case [1, epoch, boot_id, dict(), *_]:
                ack = self.ledger.hello(station, identity(epoch), identity(boot_id), now_ms)
                return [Publish(f"d/{station}/a", ack), *self.due(now_ms)]
        raise Malformed("not a hello of version 1")

    def _will(self, station: str, payload: bytes) -> None:
        match read_cbor(payload):
            case [epoch, boot_id, *_]:
                self.ledger.will(station, identity(epoch), identity(boot_id))
            case _:
                raise Malformed("not a will")

    def _request(self, station: str, payload: bytes, now_ms: int) -> list[Publish]:
        match read_cbor(payload):
            case [request_id, action, dict() as body, *_]:
                keys = self.ledger.keys
                response = self._respond(keys.name(action), keys.decode(body), now_ms)
                content = [keys.encode(response)] if isinstance(response, dict) else [None, *response]
                return [Publish(f"d/{station}/v", cbor2.dumps([whole(request_id), *content]))]
        raise Malformed("not a request")

    def _respond(self, action: str, payload: Json, now_ms: int) -> Json | tuple[str, str]:
        """The OCPP response, or OCPP-J's error code with a text."""
        if action not in ("BootNotification", "Heartbeat", "Authorize"):
            return "NotSupported", f"{action[:80]} is no request worthless late"
        if fault := schema_fault(f"{action}Request", payload):
            return "FormatViolation", fault
        match action:
            case "BootNotification":
                return {"currentTime": format_time(now_ms), "interval": 300, "status": "Accepted"}
            case "Heartbeat":
                return {"currentTime": format_time(now_ms)}
        return {"idTokenInfo": id_token_info(self.ledger.drivers.find(payload["idToken"]["idToken"]), now_ms)}


class Service:
    """The shell: one thread between broker and `Cloud`. A PUBACK is sent only when what came is committed, so that the
    broker keeps for us what a crash or a full disk interrupts."""

    def __init__(self, cloud: Cloud, pki: Path, host: str, port: int) -> None:
        self.cloud = cloud
        self.address = host, port
        self.inbox: deque[mqtt.MQTTMessage] = deque()       # bounded by the broker's own window towards us
        self.subscribed = False
        api = CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(api, CLOUD_NAME, protocol=mqtt.MQTTv5, manual_ack=True, reconnect_on_failure=False)
        self.client.tls_set_context(tls_context(pki))
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._ready
        self.client.on_message = lambda _client, _userdata, message: self.inbox.append(message)

    def run(self, stop: threading.Event) -> None:
        """Serves until `stop`, through every loss of broker or disk."""
        pause_s = 0.5
        while not stop.is_set():
            try:
                self._connect()
                self._pump(stop)
                pause_s = 0.5 if self.subscribed else min(pause_s * 2, 10.0)
            except (OSError, sqlite3.OperationalError) as error:
                print(f"devcloud: {error}; trying again", file=sys.stderr, flush=True)
                pause_s = min(pause_s * 2, 10.0)
            self.client.disconnect()
            self.client.drop_out_messages()                 # commands come again from the database
            stop.wait(pause_s)

    def _connect(self) -> None:
        self.subscribed = False
        self.inbox.clear()                                  # their packet ids died with the connection
        session = properties(PacketTypes.CONNECT, SessionExpiryInterval=24 * 3600)
        self.client.connect(*self.address, keepalive=30, clean_start=False, properties=session)

    def _connected(self, client: mqtt.Client, _user: object, _flags: object, reason: Any, _extra: object) -> None:
        if reason.is_failure:
            print(f"devcloud: the broker refuses: {reason}", file=sys.stderr, flush=True)
        else:
            client.subscribe("$share/ingest/u/+/+", qos=1)

    def _ready(self, _client: mqtt.Client, _user: object, _mid: int, reasons: list[Any], _extra: object) -> None:
        self.subscribed = not any(reason.is_failure for reason in reasons)
        what = "serving" if self.subscribed else "refused by"
        print(f"devcloud: {what} {self.address[0]}:{self.address[1]}", flush=True)

    def _pump(self, stop: threading.Event) -> None:
        poll_at = 0.0
        greeted = False
        while not stop.is_set() and self.client.loop(0.2) == mqtt.MQTT_ERR_SUCCESS:
            while self.inbox:
                message = self.inbox[0]
                self._publish(self.cloud.receive(message.topic, bytes(message.payload), clock_ms()))
                self.client.ack(message.mid, message.qos)
                self.inbox.popleft()
            if self.subscribed and not greeted:
                self._publish(self.cloud.greet(clock_ms()))
                greeted = True
            if self.subscribed and time.monotonic() >= poll_at:
                self._publish(self.cloud.due(clock_ms()))
                poll_at = time.monotonic() + 1.0

    def _publish(self, messages: Iterable[Publish]) -> None:
        for message in messages:
            expiry = {}
            if message.expires_ms is not None:
                expiry["MessageExpiryInterval"] = max(1, (message.expires_ms - clock_ms()) // 1000)
            extra = properties(PacketTypes.PUBLISH, ContentType="application/cbor", **expiry)
            self.client.publish(message.topic, message.payload, message.qos, properties=extra)


def properties(packet: int, **values: object) -> Properties:
    made = Properties(packet)           # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def tls_context(pki: Path) -> ssl.SSLContext:
    """Mutual TLS 1.3 as the cloud. Raises OperatorError if the files are not there."""
    try:
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        context.load_cert_chain(pki / "cloud.pem", pki / "cloud.key")
    except FileNotFoundError:
        raise OperatorError(f"{pki} has no certificates: run `devcloud ca init {pki}`") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


# --------------------------------------------------------------------------------------------------- command line


def serve(args: argparse.Namespace) -> int:
    operator = read_key(args.pki / "operator.key")
    if not isinstance(operator, Ed25519PrivateKey):
        raise OperatorError(f"{args.pki / 'operator.key'} is no Ed25519 key: run `devcloud ca init` in a new directory")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ledger = Ledger(args.db)
    Service(Cloud(ledger, operator), args.pki, args.host, args.port).run(stop)
    ledger.close()
    return 0


def ca(args: argparse.Namespace) -> int:
    if args.what == "init":
        ca_init(args.dir)
        print(f"made {args.dir}")
    else:
        print(f"made {ca_station(args.dir, args.serial, args.csr)}")
    return 0


def allow(args: argparse.Namespace) -> int:
    if (args.csv is None) == (args.add is None):
        raise OperatorError("give a CSV file, or --add TOKEN")
    if args.csv:
        try:
            drivers = read_drivers(args.csv.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(f"{args.csv}: {error}") from None
    else:
        drivers = [read_driver({"idToken": args.add, "groups": args.groups})]
    Ledger(args.db).drivers.put(drivers, clock_ms())
    print(f"{len(drivers)} drivers added or changed")
    return 0


def remove(args: argparse.Namespace) -> int:
    Ledger(args.db).drivers.remove(args.token, clock_ms())
    return 0


def start(args: argparse.Namespace) -> int:
    token = canonical_token(args.token) if args.type == "ISO14443" else args.token
    if token is None:
        raise OperatorError(f"{args.token!r} is no card number; name another kind with --type Central")
    request = {"idToken": {"idToken": token, "type": args.type}, "remoteStartId": secrets.randbits(31)}
    return command(args, "RequestStartTransaction", request | ({"evseId": args.evse} if args.evse else {}))


def stop(args: argparse.Namespace) -> int:
    return command(args, "RequestStopTransaction", {"transactionId": args.transaction})


def availability(args: argparse.Namespace) -> int:
    evse = {"evse": {"id": args.evse}} if args.evse else {}
    return command(args, "ChangeAvailability", {"operationalStatus": args.status} | evse)


def command(args: argparse.Namespace, action: str, payload: Json) -> int:
    if not STATION_ID.fullmatch(args.station):
        raise OperatorError(f"{args.station!r} is no station id")
    print(Ledger(args.db).commands.add(args.station, action, payload, clock_ms() + args.expires_s * 1000))
    return 0


def show_ledger(args: argparse.Namespace) -> int:
    """Exit code 1 if anything is wrong that is not just a repetition."""
    if not args.db.exists():
        raise OperatorError(f"{args.db} is not there: give --db the file that `devcloud serve` uses")
    ledger = Ledger(args.db)
    report = ledger.report()
    ledger.close()
    print(json.dumps(report_json(report), indent=2) if args.json else report_text(report))
    return 0 if report.clean else 1


def report_json(report: Report) -> Json:
    """{clean, stations: {name: {records, counts, violations, sessions: [Session's fields and energy_wh]}}}"""
    stations = {
        name: {
            "records": station.records,
            "counts": station.counts,
            "violations": station.violations,
            "sessions": [asdict(session) | {"energy_wh": session.energy_wh} for session in station.sessions],
        }
        for name, station in report.stations.items()
    }
    return {"clean": report.clean, "stations": stations}


def shown_time(ms: int | None) -> str:
    try:
        return "?" if ms is None else format_time(ms)
    except Malformed:
        return f"{ms} ms"


def report_text(report: Report) -> str:
    lines = []
    for name, station in report.stations.items():
        lines.append(f"{name}: {station.records} records, {len(station.sessions)} sessions")
        for s in station.sessions:
            times = " .. ".join(map(shown_time, (s.started_ms, s.ended_ms)))
            ended = s.stopped_reason or ("open" if s.ended_ms is None else "Local")
            wrong = f"  ! {' '.join(s.violations)}" if s.violations else ""
            who = f"{s.transaction_id}  evse {s.evse_id}  {s.id_token or '-'}"
            lines.append(f"  {who}  {times}  {s.energy_wh:.0f} Wh  {ended}{wrong}")
        lines += [f"  {'-' if kind in HARMLESS or not n else '!'} {kind} {n}" for kind, n in station.counts.items()]
    return "\n".join((*lines, "clean" if report.clean else "NOT CLEAN"))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("devcloud", description="The reference cloud of station-agent.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if name != "ca":
            sub.add_argument("--db", type=Path, default=Path("devcloud.db"), metavar="FILE")
        return sub

    sub = add("ca", ca, "demo certificates: `ca init DIR`, `ca station DIR SERIAL`")
    whats = sub.add_subparsers(required=True, dest="what")
    whats.add_parser("init").add_argument("dir", type=Path)
    sub = whats.add_parser("station")
    sub.add_argument("dir", type=Path)
    sub.add_argument("serial")
    sub.add_argument("--csr", type=Path, metavar="FILE")

    sub = add("serve", serve, "take in what the stations send, and answer")
    sub.add_argument("--pki", type=Path, required=True, metavar="DIR")
    sub.add_argument("--host", default="localhost")
    sub.add_argument("--port", type=int, default=8883)

    sub = add("ledger", show_ledger, "print sessions and everything that was wrong; exit code 1 if anything was")
    sub.add_argument("--json", action="store_true")

    sub = add("allow", allow, f"add or change drivers: a CSV file ({','.join(CSV_COLUMNS)}) or one")
    sub.add_argument("csv", type=Path, nargs="?")
    sub.add_argument("--add", metavar="TOKEN")
    sub.add_argument("--groups", default="", metavar="G;H")
    add("remove", remove, "take a driver from the list").add_argument("token")

    for name, run, text in (
        ("start", start, "start a session from afar"),
        ("stop", stop, "end one"),
        ("availability", availability, "take a station or one of its ports in or out of service"),
    ):
        sub = add(name, run, text)
        sub.add_argument("station")
        sub.add_argument("--expires-s", type=int, default=60, metavar="S")
        if name == "stop":
            sub.add_argument("transaction")
        elif name == "availability":
            sub.add_argument("status", choices=("Operative", "Inoperative"))
        else:
            sub.add_argument("--token", required=True)
            sub.add_argument("--type", default="ISO14443")
        if name != "stop":
            sub.add_argument("--evse", type=int, metavar="N")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except OperatorError as error:
        print(f"devcloud: {error}", file=sys.stderr)
        return 2
    except sqlite3.DatabaseError as error:
        print(f"devcloud: {args.db}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
