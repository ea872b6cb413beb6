"""The reference cloud: a ledger that no order, repetition or rubbish can confuse, and its wire on a real broker."""

import json
import queue
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from agent.sim.mosquitto import Mosquitto
from agent.uplink import codec, signed
from tools import devcloud
from tools.cloud import cli_ledger, drivers, referee, sessions, wire
from tools.cloud.cloud import Cloud, Publish
from tools.cloud.drivers import Driver
from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.wire import KEYS, STREAMS, Hello, format_time

STATION, EPOCH, BOOT = "S-0001", b"epoch--1", b"boot---1"
START_MS = 1_767_225_600_000


def record(action: str, payload: dict[str, Any], mono_ms: int = 0, clock: int = 3, boot: bytes = BOOT) -> bytes:
    wall_ms = START_MS + mono_ms if clock else None
    return cbor2.dumps([boot, mono_ms, wall_ms, clock, KEYS.word(action), KEYS.encode(payload)], canonical=True)


def batch(first: int, *bodies: bytes, epoch: bytes = EPOCH) -> bytes:
    return cbor2.dumps([epoch, first, list(bodies)])


def event(kind: str, seq_no: int, wh: float, transaction_id: str = "t-1", **more: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "triggerReason": "Authorized",
        "seqNo": seq_no,
        "timestamp": format_time(START_MS + seq_no * 60_000),
        "transactionInfo": {"transactionId": transaction_id},
        "meterValue": [{"timestamp": format_time(START_MS), "sampledValue": [{"value": wh}]}],
        **more,
    }


def status(connector_status: str = "Available") -> dict[str, Any]:
    times = {"timestamp": format_time(START_MS)}
    return times | {"connectorStatus": connector_status, "evseId": 1, "connectorId": 1}


def session_records(length: int, clock: int = 3, transaction_id: str = "t-1") -> list[bytes]:
    kinds = ["Started", *["Updated"] * (length - 2), "Ended"]
    token = {"idToken": {"idToken": "04A2B3C4", "type": "ISO14443"}, "evse": {"id": 2}}
    return [
        record("TransactionEvent", event(kind, i, 1000 + 10 * i, transaction_id, **token), 60_000 * i, clock)
        for i, kind in enumerate(kinds)
    ]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


def ack(ledger: Ledger, stream: int, data: bytes) -> Any:
    answer = ledger.ingest(STATION, stream, data, START_MS)
    return answer and cbor2.loads(answer)


def counts(ledger: Ledger) -> dict[str, int]:
    return {kind: n for kind, n in ledger.report().stations[STATION].counts.items() if n}


# ----------------------------------------------------------------------------------------------------------- words

WORDS = sorted(KEYS.numbers)[::20]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(("Started", "Wh", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z", "transactionId")),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(WORDS) | st.text(), values))
def test_json_travels_through_the_word_table_exactly(payload: dict[str, Any]) -> None:
    assert repr(KEYS.decode(cbor2.loads(cbor2.dumps(KEYS.encode(payload))))) == repr(payload)


@given(values.map(lambda value: {"customData": value, "timestamp": value, "eventType": value, "seqNo": value}))
def test_station_and_cloud_read_each_other_though_they_share_no_code(payload: dict[str, Any]) -> None:
    said = codec.WireRecord(BOOT, 5, START_MS, codec.CLOCK_SOURCES[3], "TransactionEvent", payload)
    sent = codec.encode_batch(codec.Batch(EPOCH, 7, (codec.encode_record(said),)))
    (entry,) = wire.read_batch(sent).entries
    assert entry.record is not None
    assert entry.record == wire.Record(BOOT, 5, START_MS, 3, said.action, entry.record.payload)
    answer = codec.decode_answer(cbor2.dumps([EPOCH, 0, 7, KEYS.encode(payload)]))
    texts = {json.dumps(heard, sort_keys=True) for heard in (payload, entry.record.payload, answer.payload)}
    assert len(texts) == 1                                                      # as JSON: 5 is not 5.0, nor 1 true


# ---------------------------------------------------------------------------------------------------------- ledger


@pytest.mark.promise("S2")
@given(st.data())
def test_any_order_repetition_and_split_of_a_stream_make_the_same_ledger(data: st.DataObject) -> None:
    length = data.draw(st.integers(3, 7))
    bodies = [b for n in (1, 2) for b in session_records(length, data.draw(st.sampled_from((0, 3))), f"t-{n}")]
    bodies.append(record("StatusNotification", status(), 10**7))
    pieces = data.draw(st.permutations([*enumerate(bodies, 1)] * 2))
    spans = data.draw(st.lists(st.tuples(st.integers(1, len(bodies)), st.integers(1, 5)), max_size=6))
    batches = [batch(seq, body) for seq, body in pieces]
    for first, size in spans:
        place = data.draw(st.integers(0, len(batches)))
        batches.insert(place, batch(first, *bodies[first - 1 : first - 1 + size]))

    plain, mixed = Ledger(":memory:"), Ledger(":memory:")
    plain.ingest(STATION, 0, batch(1, *bodies), START_MS)
    for one in batches:
        answer = mixed.ingest(STATION, 0, one, START_MS)
    assert answer and cbor2.loads(answer) == [EPOCH, {0: [len(bodies), []]}, START_MS]
    columns = "seq, digest, body, boot_id, mono_ms, wall_ms, action, fault"
    every = f"SELECT {columns} FROM record ORDER BY seq"
    assert plain.db.execute(every).fetchall() == mixed.db.execute(every).fetchall()
    by_id = [sorted(one.sessions(STATION), key=lambda s: s.transaction_id) for one in (plain, mixed)]
    assert by_id[0] == by_id[1] and len(by_id[0]) == 2
    assert plain.report().clean and mixed.report().clean
    plain.close()
    mixed.close()


@pytest.mark.promise("S2")
def test_a_session_is_billed_once_from_register_to_register(ledger: Ledger) -> None:
    bodies = session_records(4)
    for _ in range(3):
        ack(ledger, 0, batch(1, *bodies))
    (session,) = ledger.sessions(STATION)
    assert (session.evse_id, session.id_token, session.energy_wh) == (2, "04A2B3C4", 30)
    assert (session.started_ms, session.ended_ms) == (START_MS, START_MS + 180_000)
    assert session.seq_nos == (0, 1, 2, 3)
    assert counts(ledger) == {"doubles": 8} and ledger.report().clean


def test_a_gap_is_named_in_every_ack_until_it_is_filled(ledger: Ledger) -> None:
    one, two, three, four = session_records(4)
    assert ack(ledger, 0, batch(1, one))[1] == {0: [1, []]}
    assert ack(ledger, 0, batch(4, four))[1] == {0: [4, [[2, 3]]]}
    assert counts(ledger) == {"gaps_seen": 1, "gaps_open": 1, "seq_no_gap": 1}
    assert ack(ledger, 0, batch(3, three))[1] == {0: [4, [[2, 2]]]}
    assert ack(ledger, 0, batch(2, two))[1] == {0: [4, []]}
    assert counts(ledger) == {"gaps_seen": 1} and ledger.report().clean


def test_an_ack_names_at_most_a_thousand_holes_and_stays_true(ledger: Ledger) -> None:
    islands = [(STATION, EPOCH, 1, seq, seq) for seq in range(2, 2 * 1_005, 2)]
    ledger.db.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", islands)
    high, missing = ack(ledger, 1, batch(5_000, record("StatusNotification", status())))[1][1]
    assert (high, len(missing)) == (2_000, 1_000) and missing[-1] == [1_999, 1_999]


@pytest.mark.promise("S2")
def test_another_record_under_a_taken_key_is_a_conflict_that_each_ack_of_the_epoch_repeats(ledger: Ledger) -> None:
    one, other = session_records(2)
    ack(ledger, 0, batch(1, one))
    assert ack(ledger, 0, batch(1, other)) == [EPOCH, {0: [1, []]}, START_MS, True]
    hello = Hello(EPOCH, BOOT, 1, None)
    assert cbor2.loads(ledger.greeting(STATION, hello, START_MS))[3:] == [True, {}, BOOT, 1]
    assert counts(ledger) == {"conflicts": 1} and not ledger.report().clean
    assert ledger.db.execute("SELECT body FROM record").fetchall() == [(one,)]
    assert ledger.db.execute("SELECT body FROM conflict").fetchall() == [(other,)]
    assert ack(ledger, 0, batch(1, other, epoch=b"epoch--2"))[3:] == []


@pytest.mark.promise("S2")
def test_a_transaction_sent_again_under_a_new_epoch_is_billed_once(ledger: Ledger) -> None:
    bodies = session_records(3)
    ack(ledger, 0, batch(1, *bodies))
    assert ack(ledger, 0, batch(1, *bodies, epoch=b"epoch--2"))[1] == {0: [3, []]}
    assert len(ledger.sessions(STATION)) == 1
    assert counts(ledger) == {"resent": 3} and ledger.report().clean


def test_a_tombstone_fills_its_range_and_is_no_conflict_with_a_record_in_either_order(ledger: Ledger) -> None:
    body = record("StatusNotification", status())
    grave = record("Tombstone", {"first": 2, "last": 9, "why": "thinned"})
    ack(ledger, 3, batch(1, body, body))
    assert ack(ledger, 3, batch(2, grave)) == [EPOCH, {3: [9, []]}, START_MS]
    assert ack(ledger, 3, batch(5, body)) == [EPOCH, {3: [9, []]}, START_MS]
    assert ledger.report().stations[STATION].records == 3 and ledger.report().clean


@pytest.mark.promise("S2")
def test_money_that_is_declared_lost_is_counted_until_it_comes_after_all(ledger: Ledger) -> None:
    for first, last in ((1, 2), (2, 3), (1, 3)):
        ack(ledger, 0, batch(first, record("Tombstone", {"first": first, "last": last, "why": "lost"})))
    assert counts(ledger) == {"money_declared_lost": 3} and not ledger.report().clean
    ack(ledger, 0, batch(1, *session_records(3)))
    assert counts(ledger) == {} and ledger.report().clean


def test_a_record_against_the_schema_is_stored_acknowledged_and_counted(ledger: Ledger) -> None:
    wrong = status() | {"connectorStatus": "Broken"}
    assert ack(ledger, 1, batch(1, record("StatusNotification", wrong)))[1] == {1: [1, []]}
    ack(ledger, 0, batch(1, record("TransactionEvent", {"eventType": "Started"}), record("NoSuch", {}), b"\x01"))
    assert counts(ledger) == {"schema_errors": 2, "unknown_actions": 1, "unreadable": 1}
    assert ledger.report().stations[STATION].records == 4 and ledger.sessions(STATION) == ()


@pytest.mark.promise("S9")
@given(st.binary(max_size=200) | values.map(cbor2.dumps))
def test_rubbish_is_counted_and_changes_nothing(rubbish: bytes) -> None:
    ledger = Ledger(":memory:")
    assert ledger.ingest(STATION, 0, rubbish, START_MS) is None
    assert counts(ledger) == {"undecodable": 1} and ledger.sessions(STATION) == ()
    assert ledger.db.execute("SELECT count(*) FROM record").fetchone() == (0,)
    ledger.close()


@pytest.mark.promise("S9")
@given(st.lists(st.tuples(st.sampled_from(("TransactionEvent", "Tombstone", "CommandResult")), values), min_size=1))
def test_no_payload_stops_the_ledger(strange: list[tuple[str, Any]]) -> None:
    ledger = Ledger(":memory:")
    bodies = []
    for action, value in strange:
        payload = event("Started", 1, 5) | {"evse": {"id": value}, "idToken": value, "first": value, "last": value}
        bodies += [record(action, payload), record(action, event("Ended", 2, 5) | {"evse": {"id": value}})]
        bodies.append(cbor2.dumps([BOOT, 1 << 63, value, 0, value, value]))
        bodies.append(record(action, event("Updated", 3, 1e308) | {"seqNo": value}))
    assert ack(ledger, 0, batch(1, *bodies))[1] == {0: [len(bodies), []]}
    cli_ledger.report_text(ledger.report())
    ledger.close()


def test_an_undated_record_is_dated_by_the_newest_dated_one_of_its_boot(ledger: Ledger) -> None:
    started, _, ended = session_records(3, clock=0)
    ack(ledger, 0, batch(1, started))
    assert ledger.sessions(STATION)[0].started_ms is None
    ack(ledger, 1, batch(1, record("StatusNotification", status(), mono_ms=500, clock=1)))
    drifted = [BOOT, 90_000, START_MS + 92_000, 3, "StatusNotification", KEYS.encode(status())]
    ack(ledger, 1, batch(2, cbor2.dumps(drifted), record("StatusNotification", status(), 10**6, 3, b"boot---2")))
    assert ledger.sessions(STATION)[0].started_ms == START_MS + 2_000
    ack(ledger, 0, batch(2, ended))
    assert ledger.sessions(STATION)[0].ended_ms == START_MS + 122_000


@pytest.mark.parametrize(
    ("events", "violations"),
    [
        ([event("Started", 0, 5), event("Ended", 1, 9)], set()),
        ([event("Started", 0, 5), event("Started", 1, 9)], {"started_twice"}),
        ([event("Started", 0, 5), event("Ended", 1, 9), event("Ended", 2, 9)], {"ended_twice"}),
        ([event("Started", 0, 5), event("Ended", 1, 9), event("Updated", 2, 9)], {"event_after_ended"}),
        ([event("Ended", 1, 9)], {"ended_without_started"}),
        ([event("Started", 0, 5), event("Ended", 2, 9)], {"seq_no_gap"}),
        ([event("Started", 0, 5), event("Updated", 1, 6), event("Updated", 1, 7)], {"seq_no_twice"}),
        ([event("Started", 0, 5), event("Updated", 1, 9), event("Ended", 2, 8)], {"register_fell"}),
        ([event("Started", 0, 5), event("Ended", 1, 4)], {"register_fell", "energy_negative"}),
    ],
)
def test_each_wrong_of_a_session_has_its_name(ledger: Ledger, events: list[Any], violations: set[str]) -> None:
    ack(ledger, 0, batch(1, *(record("TransactionEvent", one) for one in events)))
    assert set(ledger.sessions(STATION)[0].violations) == violations
    assert set(counts(ledger)) == violations and ledger.report().clean is not bool(violations)


def test_a_register_reads_in_watt_hours_whatever_its_unit() -> None:
    kwh = {"value": 1.5, "unitOfMeasure": {"unit": "kWh"}}
    assert sessions.register_wh(kwh) == sessions.register_wh({"value": 15, "unitOfMeasure": {"multiplier": 2}}) == 1500
    assert sessions.register_wh({"value": 15, "measurand": "Voltage"}) is None
    assert sessions.register_wh({"value": 15, "phase": "L1"}) is None


@pytest.mark.promise("S2")
def test_what_is_acknowledged_survives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    first = Ledger(path)
    first.ingest(STATION, 0, batch(1, *session_records(3)), START_MS)
    second = Ledger(path)                       # the first is not closed: as after kill -9
    assert second.sessions(STATION) == first.sessions(STATION) != ()
    assert second.db.execute("PRAGMA synchronous").fetchone() == (2,)
    first.close()
    second.close()


# ----------------------------------------------------------------------------------------------- drivers, commands


def run(*args: object) -> int:
    return devcloud.main([str(arg) for arg in args])


def test_a_csv_with_one_bad_line_imports_nothing_and_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, file = tmp_path / "cloud.db", tmp_path / "drivers.csv"
    rows = ["idToken,groups,status,expiry,language", "04:a2:b3:c4,staff;night,,2027-01-31,de", "04FFFF,,,,"]
    file.write_text("\n".join([*rows, "xyz,,,,", "04FFFF,,,,", "05FFFF,,Maybe,,", "06FFFF,,,soon,", "07FFFF,,,,,,9"]))
    assert run("allow", "--db", db, file) == 2
    said = capsys.readouterr().err
    assert all(f"line {n}:" in said for n in (4, 5, 6, 7, 8)) and "line 3:" not in said
    ledger = Ledger(db)
    assert ledger.drivers.all() == [] and ledger.drivers.version() is None
    file.write_text("\n".join(rows))
    assert run("allow", "--db", db, file) == 0
    assert run("allow", "--db", db, "--add", "04 ff ff 01", "--groups", "staff") == 0
    assert [driver.id_token for driver in ledger.drivers.all()] == ["04A2B3C4", "04FFFF", "04FFFF01"]
    first = Driver("04A2B3C4", ("staff", "night"), "Accepted", 1_801_353_600_000, "de")
    assert ledger.drivers.find("04-a2-b3-c4") == first
    version = ledger.drivers.version()
    assert run("remove", "--db", db, "04FFFF") == 0 and run("remove", "--db", db, "04FFFF") == 2
    assert version and ledger.drivers.version() == (version[0], version[1] + 1)
    ledger.close()


def test_a_long_list_goes_out_in_parts_that_say_the_same_of_the_whole(ledger: Ledger) -> None:
    ledger.drivers.put([Driver(f"{n:014X}", ("staff",) if n % 2 else ()) for n in range(2_500)], START_MS)
    requests = ledger.drivers.full(START_MS)
    assert [len(request["localAuthorizationList"]) for request in requests] == [1_000, 1_000, 500]
    customs = [request["customData"] for request in requests]
    assert [(custom.pop("part"), custom.pop("parts")) for custom in customs] == [(1, 3), (2, 3), (3, 3)]
    assert customs[0] == customs[1] == customs[2] and customs[0]["count"] == 2_500
    assert max(len(cbor2.dumps(KEYS.encode(request))) for request in requests) < 10_000


@pytest.mark.promise("S10")
def test_a_list_that_no_station_takes_is_refused_with_a_sentence(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "LIST_MAX", 5)
    ledger.drivers.put([Driver(f"{n:014X}") for n in range(5)], START_MS)
    with pytest.raises(OperatorError, match="6 drivers"):
        ledger.drivers.put([Driver("FF" * 7)], START_MS)
    assert len(ledger.drivers.all()) == 5


def test_every_request_the_cloud_makes_validates_against_its_schema(ledger: Ledger) -> None:
    people = [Driver("04A2", ("a", "b"), "Blocked", START_MS, "de-CH"), Driver("04A3")]
    ledger.drivers.put(people, START_MS)
    for request in (*ledger.drivers.full(START_MS), ledger.drivers.confirmation(START_MS)):
        assert referee.schema_fault("SendLocalListRequest", request) is None
    ledger.drivers.remove([driver.id_token for driver in people], START_MS)
    ledger.drivers.request(Driver("04A4", ("a", "b"), language="de"), START_MS)
    for request in (*ledger.drivers.full(START_MS), ledger.drivers.confirmation(START_MS)):
        assert referee.schema_fault("SendLocalListRequest", request) is None
    with pytest.raises(OperatorError, match="operationalStatus"):
        ledger.commands.add(STATION, "ChangeAvailability", {}, START_MS)


def test_each_command_line_queues_its_signed_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "cloud.db"
    assert run("start", "--db", db, STATION, "--token", "04:a2", "--evse", 2) == 0
    assert run("stop", "--db", db, STATION, "t-1") == 0
    assert run("availability", "--db", db, STATION, "Inoperative", "--evse", 1) == 0
    ids = capsys.readouterr().out.split()
    assert run("start", "--db", db, STATION, "--token", "xyz") == run("stop", "--db", db, "no/such", "t-1") == 2
    cloud = Cloud(Ledger(db), Ed25519PrivateKey.generate())
    _, *sent = say(cloud, "h", HELLO)
    commands = [opened(cloud, message) for message in sent]
    assert [command[1] for command in commands] == ids
    assert [command[3] for command in commands] == [
        "RequestStartTransaction",
        "RequestStopTransaction",
        "ChangeAvailability",
    ]
    assert commands[0][4]["idToken"] == {"idToken": "04A2", "type": "ISO14443"} and commands[0][4]["evseId"] == 2
    assert commands[2][4] == {"operationalStatus": "Inoperative", "evse": {"id": 1}}
    cloud.ledger.close()


# ----------------------------------------------------------------------------------------------------------- cloud


@pytest.fixture
def cloud(ledger: Ledger) -> Cloud:
    return Cloud(ledger, Ed25519PrivateKey.generate())


def hello(connection: int = 1, boot: bytes = BOOT, epoch: bytes = EPOCH, words: int = 9_999) -> bytes:
    return cbor2.dumps([1, epoch, boot, {stream: [1, 1] for stream in STREAMS}, connection, words])


HELLO = hello()


def say(cloud: Cloud, channel: str, content: bytes, now_ms: int = START_MS) -> list[Publish]:
    return cloud.receive(f"u/{STATION}/{channel}", content, now_ms)


NO_LIST = cbor2.dumps([7, "DataTransfer", {
    "vendorId": "station-agent", "messageId": "ListStatus", "data": {"generation": 0, "version": 0, "hash": ""},
}])  # fmt: skip


def signer(cloud: Cloud, kid: bytes | None = None) -> Ed25519PrivateKey:
    key = cloud.operator.key(kid)
    assert key is not None
    return key


def opened(cloud: Cloud, message: Publish) -> list[Any]:
    """The content of a signed command, as a station reads it."""
    tag = cbor2.loads(message.payload)
    protected, _, payload, signature = tag.value
    signer(cloud).public_key().verify(signature, cbor2.dumps(["Signature1", protected, b"", payload]))
    assert tag.tag == 18 and cbor2.loads(protected)[1] == -8
    station, command_id, expires_ms, action, body = cbor2.loads(payload)
    return [station, command_id, expires_ms, KEYS.name(action), KEYS.decode(body)]


def result(command_id: str) -> bytes:
    body = {"commandId": command_id, "status": "Done", "response": {"status": "Accepted"}}
    return record("CommandResult", body)


def test_a_hello_is_answered_with_the_marks_of_all_streams(cloud: Cloud) -> None:
    body = record("StatusNotification", status())
    say(cloud, "3", batch(3, body))
    stone = record("Tombstone", {"first": 2, "last": 7, "why": "no room"})
    say(cloud, "4", batch(2, stone))
    (answer,) = say(cloud, "h", HELLO)
    empty = {stream: [0, []] for stream in range(3)}
    marks = empty | {3: [3, [[1, 2]], sha256(body).digest()[:8], 3], 4: [7, [[1, 1]], sha256(stone).digest()[:8], 2]}
    said = [EPOCH, marks, START_MS, False, {}, BOOT, 1]
    assert (answer.topic, cbor2.loads(answer.payload)) == (f"d/{STATION}/a", said)
    (asked,) = cloud.greet(START_MS)
    assert (asked.topic, cbor2.loads(asked.payload)) == (f"d/{STATION}/a", [EPOCH, {}, START_MS])


def test_started_is_answered_with_what_the_cloud_thinks_of_the_card(cloud: Cloud) -> None:
    cloud.ledger.drivers.put([Driver("04A2B3C4", ("staff",), expiry_ms=START_MS - 1)], START_MS)
    acked, answer, *_ = say(cloud, "0", batch(1, *session_records(3)))
    epoch, stream, seq, payload = cbor2.loads(answer.payload)
    assert (acked.topic[-2:], answer.topic, epoch, stream, seq) == ("/a", f"d/{STATION}/r", EPOCH, 0, 1)
    decoded = KEYS.decode(payload)
    assert decoded["idTokenInfo"]["status"] == "Expired"
    assert referee.schema_fault("TransactionEventResponse", decoded) is None


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("BootNotification", {"reason": "PowerUp", "chargingStation": {"model": "m", "vendorName": "v"}}),
        ("Heartbeat", {}),
        ("Authorize", {"idToken": {"idToken": "04A2", "type": "ISO14443"}}),
    ],
)
def test_a_volatile_request_gets_the_response_of_its_schema(cloud: Cloud, action: str, payload: dict[str, Any]) -> None:
    say(cloud, "h", HELLO)
    (answer,) = say(cloud, "v", cbor2.dumps([7, KEYS.word(action), KEYS.encode(payload)]))
    request_id, response = cbor2.loads(answer.payload)
    assert (request_id, answer.topic) == (7, f"d/{STATION}/v")
    assert referee.schema_fault(f"{action}Response", KEYS.decode(response)) is None


def test_a_volatile_request_that_is_wrong_gets_an_error_code(cloud: Cloud) -> None:
    say(cloud, "h", HELLO)
    (answer,) = say(cloud, "v", cbor2.dumps([1, "Authorize", {}]))
    assert cbor2.loads(answer.payload)[:3] == [1, None, "FormatViolation"]
    (answer,) = say(cloud, "v", cbor2.dumps([2, "Reset", {}]))
    assert cbor2.loads(answer.payload)[:3] == [2, None, "NotSupported"]


@pytest.mark.promise("S9")
@given(st.sampled_from(("0", "1", "h", "w", "v", "x", "99")), st.binary(max_size=60) | values.map(cbor2.dumps))
def test_no_message_stops_the_cloud(channel: str, content: bytes) -> None:
    ledger = Ledger(":memory:")
    assert say(Cloud(ledger, Ed25519PrivateKey.generate()), channel, content) == []
    assert Cloud(ledger, Ed25519PrivateKey.generate()).receive(f"u/a_b/{channel}", content, 0) == []
    ledger.close()


def accepted(command_id: str, **response: Any) -> bytes:
    response = {"status": "Accepted"} | response
    return record("CommandResult", {"commandId": command_id, "status": "Done", "response": response})


def test_a_command_is_repeated_until_its_result_or_its_expiry(cloud: Cloud) -> None:
    add = cloud.ledger.commands.add
    one = add(STATION, "RequestStopTransaction", {"transactionId": "t-1"}, START_MS + 60_000)
    assert cloud.due(START_MS) == []                                            # the station is not there
    _, message = say(cloud, "h", HELLO)
    assert opened(cloud, message)[1:4:2] == [one, "RequestStopTransaction"]
    assert cloud.due(START_MS + 29_999) == []
    assert [again.payload for again in cloud.due(START_MS + 30_000)] == [message.payload]
    say(cloud, "2", batch(1, result(one)))
    assert cloud.ledger.commands.result(one)[0] == "Done"
    add(STATION, "ChangeAvailability", {"operationalStatus": "Operative"}, START_MS + 60_000)
    assert cloud.due(START_MS + 60_000) == []


def test_a_station_opens_what_the_operator_signed(cloud: Cloud) -> None:
    payload = {"operationalStatus": "Operative"}
    command_id = cloud.ledger.commands.add(STATION, "ChangeAvailability", payload, START_MS + 60_000)
    acked, message = say(cloud, "h", HELLO)
    key = signer(cloud).public_key()
    opened = codec.decode_command(signed.verify(message.payload, {wire.key_id(key): key}))
    assert opened == codec.Command(STATION, command_id, START_MS + 60_000, "ChangeAvailability", payload)
    assert codec.decode_ack(acked.payload).now_ms == START_MS


def test_a_will_of_an_older_boot_says_nothing(cloud: Cloud) -> None:
    say(cloud, "h", HELLO)
    cloud.ledger.commands.add(STATION, "RequestStopTransaction", {"transactionId": "t-1"}, START_MS + 60_000)
    say(cloud, "w", cbor2.dumps([EPOCH, b"boot---0", 9]))
    assert len(cloud.due(START_MS)) == 1
    say(cloud, "w", cbor2.dumps([EPOCH, BOOT, 1]))
    assert cloud.due(START_MS + 40_000) == []


# ----------------------------------------------------------------------------------------------------- certificates


def test_the_demo_ca_makes_keys_that_only_their_owner_reads(tmp_path: Path) -> None:
    assert run("ca", "init", tmp_path / "pki") == 0 and run("ca", "station", tmp_path / "pki", STATION) == 0
    keys = [path for path in (tmp_path / "pki").rglob("*") if path.suffix == ".key"]
    assert len(keys) == 5 and {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert run("ca", "init", tmp_path / "pki") == 2 and run("ca", "station", tmp_path / "pki", "no/such") == 2
    assert run("ca", "station", tmp_path / "nowhere", STATION) == 2


def test_a_station_that_made_its_own_key_gets_its_certificate(tmp_path: Path) -> None:
    pki, csr = tmp_path / "pki", tmp_path / "station.csr"
    run("ca", "init", pki)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, STATION)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    csr.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    assert run("ca", "station", pki, STATION, "--csr", csr) == 0
    made = x509.load_pem_x509_certificate((pki / "stations" / f"{STATION}.pem").read_bytes())
    assert made.public_key() == key.public_key() and made.subject == name
    made.verify_directly_issued_by(x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes()))
    assert not (pki / "stations" / f"{STATION}.key").exists()
    assert run("ca", "station", pki, "S-0002", "--csr", csr) == 2
    csr.write_bytes(b"rubbish")
    assert run("ca", "station", pki, STATION, "--csr", csr) == 2


# ----------------------------------------------------------------------------------------------------- on a broker


class BareStation:
    """What a stranger would write in an afternoon: paho, certificates, and a queue of what comes down."""

    def __init__(self, pki: Path, port: int, name: str = STATION) -> None:
        self.name = name
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        context.load_cert_chain(pki / "stations" / f"{name}.pem", pki / "stations" / f"{name}.key")
        self.client.tls_set_context(context)
        self.client.on_connect = lambda client, *_: client.subscribe(f"d/{name}/#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _c, _u, m: self.inbox.put((m.topic[-1], cbor2.loads(bytes(m.payload))))
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def say(self, channel: str, content: bytes) -> None:
        self.client.publish(f"u/{self.name}/{channel}", content, qos=1).wait_for_publish(10)

    def hear(self, channel: str) -> Any:
        """The next message on this channel."""
        for _ in range(20):
            heard, content = self.inbox.get(timeout=20)
            if heard == channel:
                return content
        raise AssertionError(f"nothing on {channel}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()  # paho leaves its wake-up sockets to the garbage collector


class CloudProcess:
    def __init__(self, pki: Path, db: Path, port: int, name: str = "devcloud") -> None:
        serve = ("serve", "--pki", pki, "--db", db, "--host", "localhost", "--port", port, "--name", name)
        script = Path(devcloud.__file__)
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, serve)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)

    def wait_for(self, text: str) -> None:
        while text not in self.lines.get(timeout=20):
            pass

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.reader.join(20)
        return self.process.wait(20)


@pytest.mark.needs("mosquitto")
@pytest.mark.promise("S2")
def test_on_a_real_broker_money_is_stored_once_through_kills_of_cloud_and_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pki, db = tmp_path / "pki", tmp_path / "cloud.db"
    run("ca", "init", pki)
    run("ca", "station", pki, STATION)
    run("allow", "--db", db, "--add", "04A2B3C4", "--status", "Blocked")
    server, key = pki / "broker.pem", pki / "broker.key"
    broker = Mosquitto(tmp_path / "broker", cafile=pki / "ca.pem", certfile=server, keyfile=key)
    broker.start()
    cloud = CloudProcess(pki, db, broker.port)
    station = None
    bodies = session_records(4)
    try:
        cloud.wait_for("serving")
        station = BareStation(pki, broker.port)
        station.say("h", HELLO)
        assert station.hear("a")[1] == {stream: [0, []] for stream in range(5)}
        station.say("v", NO_LIST)
        assert station.hear("c").tag == 18
        station.say("0", batch(1, *bodies[:2]))
        assert station.hear("a")[1] == {0: [2, []]}
        epoch, stream, seq, payload = station.hear("r")
        station.say("0", batch(1, *bodies[:2]))
        assert station.hear("a")[1] == {0: [2, []]}
        assert (epoch, stream, seq, KEYS.decode(payload)["idTokenInfo"]["status"]) == (EPOCH, 0, 1, "Blocked")

        cloud.end(signal.SIGKILL)
        station.say("0", batch(3, bodies[2]))                                   # the broker keeps it for the cloud
        cloud = CloudProcess(pki, db, broker.port)
        cloud.wait_for("serving")
        while station.hear("a")[1].get(0) != [3, []]:                           # a cloud that starts asks for a hello
            pass

        station.ready.clear()
        broker.kill()
        broker.start()
        cloud.wait_for("serving")
        assert station.ready.wait(20)
        station.say("0", batch(4, bodies[3]))
        while station.hear("a")[1].get(0) != [4, []]:
            pass
    finally:
        if station is not None:
            station.close()
        ended = cloud.end(signal.SIGTERM)
        broker.stop()
    assert ended == 0
    capsys.readouterr()
    assert run("ledger", "--db", db, "--json") == 0
    report = json.loads(capsys.readouterr().out)["stations"][STATION]
    (session,) = report["sessions"]
    assert (session["energy_wh"], session["violations"]) == (30, [])
    assert report["counts"]["doubles"] >= 2 and report["records"] == 4
    Ledger(db).ingest(STATION, 0, b"rubbish", START_MS)
    assert run("ledger", "--db", db) == 1 and run("ledger", "--db", tmp_path / "none") == 2


def test_a_report_reads_the_same_with_and_without_findings(ledger: Ledger) -> None:
    ack(ledger, 0, batch(2, *session_records(3)[1:]))
    text = cli_ledger.report_text(ledger.report())
    assert "t-1" in text and "! ended_without_started 1" in text and text.endswith("NOT CLEAN")
    assert "clean" in cli_ledger.report_text(replace(ledger.report(), stations={}))


def test_a_program_that_watches_gets_a_line_for_each_change_and_may_go_when_it_likes(tmp_path: Path) -> None:
    books = Ledger(tmp_path / "cloud.db")
    command = [sys.executable, devcloud.__file__, "watch", "--json", "--db", str(tmp_path / "cloud.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout and watch.stderr
        assert json.loads(watch.stdout.readline()) == {"clean": True, "stations": {}, "messages": []}
        books.describe("S-1", None, 1)
        assert list(json.loads(watch.stdout.readline())["stations"]) == ["S-1"]
        watch.stdout.close()
        books.describe("S-2", None, 2)
        assert watch.wait(20) == 0 and watch.stderr.read() == ""
    books.close()
