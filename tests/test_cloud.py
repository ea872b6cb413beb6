"""What the reference cloud says to what it hears, and every command from its command line to its result."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.test_devcloud import (
    BOOT,
    EPOCH,
    HELLO,
    NO_LIST,
    START_MS,
    STATION,
    accepted,
    batch,
    counts,
    event,
    hello,
    opened,
    record,
    run,
    say,
    session_records,
    status,
)
from tools.cloud import cli
from tools.cloud.cloud import ACK_COMPANY, ACK_WAIT_MS, Cloud
from tools.cloud.drivers import Driver, State
from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.pki import Authority, Operator, ca_init, read_operator, validity
from tools.cloud.referee import id_token_statuses
from tools.cloud.roster import read_drivers, write_drivers
from tools.cloud.wire import KEYS, key_id

STATUS = record("StatusNotification", status())


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


@pytest.fixture
def cloud(ledger: Ledger) -> Cloud:
    return Cloud(ledger, Ed25519PrivateKey.generate())


def is_online(cloud: Cloud) -> bool:
    return bool(cloud.ledger.db.execute("SELECT online FROM station WHERE name = ?", (STATION,)).fetchone()[0])


def will(connection: int, boot: bytes = BOOT) -> bytes:
    return cbor2.dumps([EPOCH, boot, connection])


# ---------------------------------------------------------------------------------------------------- acknowledgements


def test_money_is_acknowledged_at_once_and_takes_along_what_waits(cloud: Cloud) -> None:
    say(cloud, "h", HELLO)
    assert list(say(cloud, "1", batch(1, STATUS))) == [] and cloud.acks(START_MS + ACK_WAIT_MS - 1) == []
    ack, *_ = say(cloud, "0", batch(1, *session_records(3)))
    assert cbor2.loads(ack.payload)[1] == {0: [3, []], 1: [1, []]} and ack.qos == 0
    assert cloud.acks(START_MS + 10 * ACK_WAIT_MS) == []


def test_other_streams_wait_for_company_but_not_five_seconds(cloud: Cloud) -> None:
    say(cloud, "h", HELLO)
    for stream in ("1", "3", "4"):
        assert say(cloud, stream, batch(1, STATUS)) == []
    (ack,) = cloud.acks(START_MS + ACK_WAIT_MS)
    assert cbor2.loads(ack.payload)[1] == {stream: [1, []] for stream in (1, 3, 4)} and ACK_WAIT_MS < 5_000
    answers = [say(cloud, "3", batch(1 + i, STATUS)) for i in range(ACK_COMPANY)]          # a station that drains
    assert [len(answer) for answer in answers] == [0] * (ACK_COMPANY - 1) + [1]
    say(cloud, "3", batch(9, STATUS))
    assert len(cloud.acks(START_MS, every=True)) == 1 and len(cloud.acks(START_MS, every=True)) == 0


@pytest.mark.promise("S2")
def test_a_refused_record_is_named_each_time_and_never_stored(cloud: Cloud, tmp_path: Path) -> None:
    say(cloud, "h", HELLO)
    cloud.ledger.refuse(STATION, 1, 2, "this one is poison")
    for _ in range(3):
        (ack,) = say(cloud, "1", batch(1, STATUS, STATUS, STATUS))
        assert cbor2.loads(ack.payload)[1:] == [{1: [3, [[2, 2]]]}, START_MS, False, {1: [[2, "this one is poison"]]}]
    assert cloud.ledger.report().stations[STATION].records == 2
    say(cloud, "1", batch(2, record("Tombstone", {"first": 2, "last": 2, "why": "refused"})))
    (ack,) = cloud.acks(START_MS, every=True)
    assert cbor2.loads(ack.payload)[1:] == [{1: [3, []]}, START_MS]
    assert counts(cloud.ledger) == {"refused": 3, "doubles": 4, "gaps_seen": 1}
    cloud.ledger.refuse(STATION, 1, 2, None)
    say(cloud, "1", batch(2, STATUS))
    assert cloud.ledger.report().stations[STATION].records == 3 and cloud.ledger.report().clean


def test_refusals_are_set_from_the_command_line(tmp_path: Path) -> None:
    db = tmp_path / "cloud.db"
    assert run("refuse", "--db", db, STATION, 0, 7, "no such money") == 0
    assert run("refuse", "--db", db, STATION, 0, 7) == 2 and run("refuse", "--db", db, "a_b", 0, 7, "x") == 2
    ledger = Ledger(db)
    assert ledger.db.execute("SELECT * FROM refusal").fetchall() == [(STATION, 0, 7, "no such money")]
    assert run("refuse", "--db", db, STATION, 0, 7, "--off") == 0
    assert ledger.db.execute("SELECT * FROM refusal").fetchall() == []
    ledger.close()


@pytest.mark.promise("S2")
def test_a_station_that_the_cloud_does_not_know_is_asked_for_a_hello(cloud: Cloud) -> None:
    ack, *_, asked = say(cloud, "0", batch(3, *session_records(2)))                 # of a cloud that has lost its state
    assert cbor2.loads(ack.payload)[1] == {0: [4, [[1, 2]]]} and cbor2.loads(asked.payload)[1] == {}
    _, asked = say(cloud, "v", cbor2.dumps([1, "Heartbeat", {}]))
    assert (asked.topic, cbor2.loads(asked.payload)[1]) == (f"d/{STATION}/a", {})
    say(cloud, "h", HELLO)
    assert len(say(cloud, "v", cbor2.dumps([2, "Heartbeat", {}]))) == 1


@pytest.mark.promise("S2")
def test_after_its_own_restore_the_cloud_takes_its_marks_back_and_gets_the_money_again(tmp_path: Path) -> None:
    bodies = session_records(6)
    yesterday, today = (Cloud(Ledger(tmp_path / name), Ed25519PrivateKey.generate()) for name in ("old.db", "new.db"))
    for one in (yesterday, today):
        say(one, "h", HELLO)
        say(one, "0", batch(1, *bodies[:2]))
    say(today, "0", batch(3, *bodies[2:]))
    today.ledger.close()
    (asked,) = yesterday.greet(START_MS)                                        # as it connects: who are you?
    assert cbor2.loads(asked.payload) == [EPOCH, {}, START_MS], "only what answers a hello may take marks back"
    (greeting,) = say(yesterday, "h", HELLO)
    mark = cbor2.loads(greeting.payload)[1][0]
    assert mark[:2] == [2, []] and len(mark[2]) == 8
    ack, *_ = say(yesterday, "0", batch(3, *bodies[2:]))                        # out of the station's archive
    assert cbor2.loads(ack.payload)[1] == {0: [6, []]}
    (session,) = yesterday.ledger.sessions(STATION)
    assert session.seq_nos == tuple(range(6)) and yesterday.ledger.report().clean
    yesterday.ledger.close()


@pytest.mark.promise("S2")
def test_a_transaction_that_went_on_differently_in_another_epoch_is_a_violation(ledger: Ledger) -> None:
    started = record("TransactionEvent", event("Started", 0, 5))
    one, other = (record("TransactionEvent", event("Ended", 1, wh), 60_000) for wh in (9, 8))
    ledger.ingest(STATION, 0, batch(1, started, one), START_MS)
    ledger.ingest(STATION, 0, batch(1, started, one, epoch=b"epoch--2"), START_MS)
    assert ledger.report().clean and counts(ledger) == {"resent": 2}
    ledger.ingest(STATION, 0, batch(3, other, epoch=b"epoch--2"), START_MS)
    assert set(counts(ledger)) == {"resent", "seq_no_twice", "ended_twice"}


def test_one_event_under_two_keys_of_an_epoch_is_billed_once_and_counted(ledger: Ledger) -> None:
    started = record("TransactionEvent", event("Started", 0, 5))
    ledger.ingest(STATION, 0, batch(1, started, started), START_MS)
    assert counts(ledger) == {"event_under_two_keys": 1} and ledger.sessions(STATION)[0].seq_nos == (0,)


# -------------------------------------------------------------------------------------------------------- who is there


@given(st.permutations([("h", 1), ("w", 1), ("h", 2), ("w", 2), ("h", 3)]), st.booleans())
def test_in_whatever_order_consumers_read_hellos_and_wills_the_newest_connection_counts(
    said: list[tuple[str, int]], is_gone: bool
) -> None:
    cloud = Cloud(Ledger(":memory:"), Ed25519PrivateKey.generate())
    for channel, connection in [*said, *([("w", 3)] if is_gone else [])]:
        say(cloud, channel, hello(connection) if channel == "h" else will(connection))
    assert is_online(cloud) is not is_gone
    assert cloud.ledger.report().clean
    cloud.ledger.close()


def test_a_will_given_before_a_new_epoch_on_the_same_connection_is_believed(cloud: Cloud) -> None:
    """A connection's will is fixed with CONNECT, its epoch is not: boot and connection say whose will it is."""
    say(cloud, "h", hello(1))
    say(cloud, "h", hello(1, epoch=b"epoch--2"))
    assert is_online(cloud)
    say(cloud, "w", will(1))
    assert not is_online(cloud)
    say(cloud, "h", hello(2, epoch=b"epoch--2"))
    say(cloud, "w", will(1))
    assert is_online(cloud), "an older connection's"
    say(cloud, "w", will(2, boot=b"boot---0"))
    assert is_online(cloud), "an older boot's"


def test_a_batch_shows_that_a_station_is_there_unless_it_is_of_the_boot_that_is_gone(cloud: Cloud) -> None:
    say(cloud, "h", HELLO)
    say(cloud, "w", will(1))
    say(cloud, "1", batch(1, STATUS))                                           # read late by a slow consumer
    assert not is_online(cloud)
    say(cloud, "1", batch(2, record("StatusNotification", status(), boot=b"boot---2")))
    assert is_online(cloud)


def test_live_meters_are_kept_as_the_newest_and_bill_nothing(cloud: Cloud) -> None:
    for power in (3_600, 3_700):
        port = [1, 2, 16_000, 1234, power, [16_000, 0, 0], [230_000, 0, 0]]
        assert say(cloud, "l", cbor2.dumps([90_500, START_MS, [port]])) == []
    ((ports,),) = cloud.ledger.db.execute("SELECT ports FROM live").fetchall()
    assert json.loads(ports)[0][4] == 3_700 and cloud.ledger.sessions(STATION) == ()


# ------------------------------------------------------------------------------------------------------------- commands

COMMANDS: list[tuple[list[str], str, dict[str, Any]]] = [
    (["stop", "S", "t-1"], "RequestStopTransaction", {"transactionId": "t-1"}),
    (["availability", "S", "Operative"], "ChangeAvailability", {"operationalStatus": "Operative"}),
    (["reset", "S"], "Reset", {"type": "OnIdle"}),
    (["reset", "S", "Immediate"], "Reset", {"type": "Immediate"}),
    (["unlock", "S", "2"], "UnlockConnector", {"evseId": 2, "connectorId": 1}),
    (
        ["trigger", "S", "StatusNotification", "--evse", "1"],
        "TriggerMessage",
        {"requestedMessage": "StatusNotification", "evse": {"id": 1}},
    ),
    (
        ["get", "S", "OCPPCommCtrlr.HeartbeatInterval", "EVSE@2.Power"],
        "GetVariables",
        {
            "getVariableData": [
                {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}},
                {"component": {"name": "EVSE", "evse": {"id": 2}}, "variable": {"name": "Power"}},
            ]
        },
    ),
    (
        ["set", "S", "A.B[c]=1=2"],
        "SetVariables",
        {
            "setVariableData": [
                {"component": {"name": "A"}, "variable": {"name": "B", "instance": "c"}, "attributeValue": "1=2"}
            ]
        },
    ),
    (
        ["firmware", "S", "https://builds.example/2", "--id", "7", "--at", "2026-12-24T01:00:00.000Z", "--retries", "3",
         "--install-at", "2026-12-24T02:00:00+01:00", "--budget", "5000000", "--window", "22:00-05:00",
         "--spread", "3600", "--override", "ticket 12"],
        "UpdateFirmware",
        {
            "requestId": 7,
            "retries": 3,
            "firmware": {
                "location": "https://builds.example/2",
                "retrieveDateTime": "2026-12-24T01:00:00.000Z",
                "installDateTime": "2026-12-24T01:00:00.000Z",
            },
            "customData": {
                "vendorId": "station-agent", "budgetB": 5_000_000, "spreadS": 3_600, "override": "ticket 12",
                "window": ["22:00", "05:00"],
            },
        },
    ),
    (["list", "S", "--ask"], "GetLocalListVersion", {}),
    (["clear-cache", "S"], "ClearCache", {}),
    (["transaction-status", "S"], "GetTransactionStatus", {}),
    (["transaction-status", "S", "t-1"], "GetTransactionStatus", {"transactionId": "t-1"}),
    (
        ["network", "S", "mqtts://broker.example.com:8883"],
        "SetNetworkProfile",
        {
            "configurationSlot": 1,
            "connectionData": {
                "ocppCsmsUrl": "mqtts://broker.example.com:8883",
                "ocppTransport": "JSON",
                "messageTimeout": 30,
                "securityProfile": 3,
                "ocppInterface": "Any",
            },
        },
    ),
    (["policy", "S", "--none"], "DataTransfer", {"vendorId": "station-agent", "messageId": "AccessPolicy"}),
    (
        ["reserve", "S", "7", "04:a2:b3:c4", "--evse", "1", "--group", "fleet", "--until", "2026-12-24T18:00:00.000Z"],
        "ReserveNow",
        {
            "id": 7, "expiryDateTime": "2026-12-24T18:00:00.000Z", "evseId": 1,
            "idToken": {"idToken": "04A2B3C4", "type": "ISO14443"},
            "groupIdToken": {"idToken": "fleet", "type": "Central"},
        },
    ),
    (
        ["reserve", "S", "8", "04A2B3C4", "--connector-type", "cType2", "--until", "2026-12-24T18:00:00.000Z"],
        "ReserveNow",
        {
            "id": 8, "expiryDateTime": "2026-12-24T18:00:00.000Z", "connectorType": "cType2",
            "idToken": {"idToken": "04A2B3C4", "type": "ISO14443"},
        },
    ),
    (["unreserve", "S", "7"], "CancelReservation", {"reservationId": 7}),
    (
        ["message", "S", "3", "For taxis only.", "--evse", "1", "--priority", "front",
         "--until", "2026-12-24T18:00:00.000Z"],
        "SetDisplayMessage",
        {"message": {
            "id": 3, "priority": "InFront", "message": {"format": "UTF8", "content": "For taxis only."},
            "display": {"name": "Display", "evse": {"id": 1}}, "endDateTime": "2026-12-24T18:00:00.000Z",
        }},
    ),
    (["clear-message", "S", "3"], "ClearDisplayMessage", {"id": 3}),
    (
        ["live", "S", "--interval", "1", "--for", "0"],
        "DataTransfer",
        {"vendorId": "station-agent", "messageId": "LiveMode", "data": {"intervalS": 1, "forS": 0}},
    ),
]


@pytest.mark.parametrize(("words", "action", "payload"), COMMANDS)
def test_each_command_of_the_page_goes_from_the_command_line_to_the_station_signed(
    tmp_path: Path, words: list[str], action: str, payload: dict[str, Any]
) -> None:
    db = tmp_path / "cloud.db"
    line = [STATION if word == "S" else word for word in words]
    assert run(line[0], "--db", db, *line[1:]) == 0
    cloud = Cloud(Ledger(db), Ed25519PrivateKey.generate())
    _, message = say(cloud, "h", HELLO)
    assert opened(cloud, message)[3:] == [action, payload]
    cloud.ledger.close()


@pytest.mark.parametrize(
    ("last", "code"),
    [("Downloading", 0), ("Installed", 0), ("InvalidSignature", 1), ("InstallationFailed", 1), ("DownloadFailed", 1)],
)
def test_how_far_a_build_is_is_told_and_the_exit_code_says_whether_it_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str, code: int
) -> None:
    db = tmp_path / "cloud.db"
    ledger = Ledger(db)
    said = [record("FirmwareStatusNotification", {"status": each, "requestId": 7}) for each in ("Downloading", last)]
    ledger.ingest(STATION, 1, batch(1, *said), START_MS)
    ledger.close()
    assert run("firmware", "--db", db, STATION) == code
    assert [line.split()[1:] for line in capsys.readouterr().out.splitlines()] == [["7", "Downloading"], ["7", last]]


@pytest.mark.parametrize(
    "line",
    [
        ["get", STATION, "no variable"],
        ["set", STATION, "A.B"],
        ["trigger", STATION, "Nonsense"],
        ["network", STATION, "http://broker.example.com"],
        ["live", STATION, "--interval", "61"],
        ["firmware", STATION, "http://builds.example/2"],
        ["firmware", STATION, "https://builds.example/2", "--at", "tomorrow"],
        ["firmware", STATION, "https://builds.example/2", "--window", "22-5"],
        ["firmware", STATION],
        ["policy", STATION, "--file", "/nowhere.json"],
        ["reserve", STATION, "1", "no card", "--for-s", "60"],
        ["reserve", STATION, "1", "04A2B3C4", "--until", "tomorrow"],
        ["unlock", "no/such", "1"],
        ["list", STATION],
        ["availability", STATION, "Operative", "--evse", "-1"],
        ["certificate", STATION, "/no/such.pem"],
        ["report", STATION],
    ],
)
def test_a_command_that_cannot_be_is_one_sentence_and_queues_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    db = tmp_path / "cloud.db"
    Ledger(db).close()
    assert run(line[0], "--db", db, *line[1:]) == 2
    assert capsys.readouterr().err.startswith("devcloud: ")
    ledger = Ledger(db)
    assert ledger.db.execute("SELECT count(*) FROM command").fetchone() == (0,)
    ledger.close()


@pytest.mark.parametrize(("said", "code"), [("Accepted", 0), ("Rejected", 1)])
def test_wait_prints_the_result_when_it_has_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, code: int
) -> None:
    db = tmp_path / "cloud.db"
    Ledger(db).close()

    def station() -> None:
        cloud = Cloud(Ledger(db), Ed25519PrivateKey.generate())
        say(cloud, "h", HELLO)
        while not (queued := cloud.ledger.commands.of(STATION, 1)):
            threading.Event().wait(0.01)
        say(cloud, "2", batch(1, accepted(queued[0].id, status=said)))
        cloud.ledger.close()

    thread = threading.Thread(target=station)
    thread.start()
    assert run("reset", "--db", db, STATION, "--wait") == code
    thread.join(10)
    assert f'"status": "{said}"' in capsys.readouterr().out
    assert run("reset", "--db", db, STATION, "--wait", "--expires-s", 1) == 1               # nobody answers
    assert "expired without a word" in capsys.readouterr().out
    assert run("results", "--db", db, STATION) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and f"Done {said}" in lines[0] and "expired" in lines[1]


def test_what_reports_have_brought_is_printed_newest_value_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "cloud.db"
    assert run("report", "--db", db, STATION, "--base", "FullInventory") == 0
    assert run("report", "--db", db, STATION, "--only", "A.B") == 0
    cloud = Cloud(Ledger(db), Ed25519PrivateKey.generate())
    sent = [opened(cloud, message) for message in say(cloud, "h", HELLO)[1:]]
    assert [command[3] for command in sent] == ["GetBaseReport", "GetReport"]
    for seq, value in enumerate(("1", "2"), 1):
        data = {"component": {"name": "A", "evse": {"id": 1}}, "variable": {"name": "B"}}
        attributes = [{"value": value}, {"type": "MaxSet", "value": "9"}]
        payload = {"requestId": 1, "seqNo": 0, "generatedAt": "2026-01-01T00:00:00.000Z"}
        report = payload | {"reportData": [data | {"variableAttribute": attributes}]}
        say(cloud, "2", batch(seq, record("NotifyReport", report)))
    assert cloud.ledger.report().clean
    cloud.ledger.close()
    capsys.readouterr()
    assert run("report", "--db", db, STATION) == 0
    assert capsys.readouterr().out == "A@1.B = 2, 9 (MaxSet)\n"


def test_a_station_is_spoken_to_in_words_it_knows(cloud: Cloud) -> None:
    cloud.ledger.commands.add(STATION, "Reset", {"type": "OnIdle"}, START_MS + 60_000)
    _, message = say(cloud, "h", hello(words=3))
    body = cbor2.loads(cbor2.loads(message.payload).value[2])
    assert body[3:] == ["Reset", {"type": "OnIdle"}]


# -------------------------------------------------------------------------------------------------------- certificates


def csr(name: str = STATION, key: Any = None) -> str:
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = request.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def ask_certificate(cloud: Cloud, text: str) -> str:
    payload = {"csr": text, "certificateType": "ChargingStationCertificate"}
    answer, *_ = say(cloud, "v", cbor2.dumps([1, "SignCertificate", payload]))
    response = cbor2.loads(answer.payload)[1]
    return str(KEYS.decode(response)["status"])


def test_a_station_that_asks_over_the_air_gets_its_certificate_as_a_signed_command(
    ledger: Ledger, tmp_path: Path
) -> None:
    ca_init(tmp_path)
    cloud = Cloud(ledger, read_operator(tmp_path), Authority(tmp_path, days=0.5))
    say(cloud, "h", HELLO)
    key = ec.generate_private_key(ec.SECP256R1())
    payload = {"csr": csr(key=key), "certificateType": "ChargingStationCertificate", "requestId": 7}
    answer, message = say(cloud, "v", cbor2.dumps([1, "SignCertificate", payload]))
    assert KEYS.decode(cbor2.loads(answer.payload)[1]) == {"status": "Accepted"}
    _, _, _, action, request = opened(cloud, message)
    made = x509.load_pem_x509_certificate(request["certificateChain"].encode())
    assert (action, request["requestId"], made.public_key()) == ("CertificateSigned", 7, key.public_key())
    assert int(made.not_valid_after_utc.timestamp() * 1000) == START_MS + 12 * 3_600_000
    life_s = (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds()
    assert made.not_valid_before_utc.timestamp() + life_s * 2 / 3 > START_MS / 1000, "not due again at once"
    made.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes()))


def test_a_certificate_is_only_for_the_name_that_asks_with_a_strong_key_of_its_own(
    ledger: Ledger, tmp_path: Path
) -> None:
    ca_init(tmp_path)
    cloud = Cloud(ledger, read_operator(tmp_path), Authority(tmp_path))
    good = csr()
    other = base64.b64decode("".join(csr().splitlines()[1:-1]))
    forged = bytearray(other)
    forged[-1] ^= 1                                                             # the signature
    lines = base64.encodebytes(bytes(forged)).decode()
    tampered = f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"
    weak = csr(key=ec.generate_private_key(ec.SECP192R1()))
    for bad in (csr("S-0002"), csr("devcloud"), tampered, weak, "rubbish", "x" * 5_000):
        assert ask_certificate(cloud, bad) == "Rejected"
    assert counts(ledger) == {"certificate_requests_refused": 6} and not ledger.report().clean
    assert ledger.db.execute("SELECT count(*) FROM command").fetchone() == (0,)
    assert ask_certificate(Cloud(ledger, read_operator(tmp_path)), good) == "Rejected"       # no CA there
    assert ask_certificate(cloud, good) == "Accepted"
    with pytest.raises(OperatorError):
        validity(float("nan"), START_MS)


def test_a_csr_is_signed_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca_init(tmp_path)
    file = tmp_path / "a.csr"
    file.write_text(csr("S-77"))
    assert run("ca", "sign", tmp_path, file, "--days", 2) == 0
    made = x509.load_pem_x509_certificate(capsys.readouterr().out.encode())
    assert made.subject.rfc4514_string() == "CN=S-77"
    assert run("ca", "sign", tmp_path, tmp_path / "none") == 2 and run("ca", "sign", tmp_path, file, "--days", -1) == 2
    file.write_text("rubbish")
    assert run("ca", "sign", tmp_path, file) == 2
    assert run("certificate", "--db", tmp_path / "cloud.db", STATION, tmp_path / "ca.pem") == 0


def test_the_operators_key_rolls_over_station_by_station(ledger: Ledger, tmp_path: Path) -> None:
    pki, db = tmp_path / "pki", tmp_path / "cloud.db"
    ca_init(pki)
    assert run("keys", "--db", db, STATION, "--pki", pki, "--retire") == 2                  # it knows no other yet
    assert run("keys", "--db", db, STATION, "--pki", pki) == 0
    cloud = Cloud(Ledger(db), read_operator(pki))
    _, message = say(cloud, "h", HELLO)
    first = cloud.operator.first_id
    *_, action, request = opened(cloud, message)
    (added,) = request["data"]["add"]
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(added["key"]))
    assert (action, request["messageId"], added["kid"]) == ("DataTransfer", "OperatorKeys", key_id(public).hex())
    assert signed_by(message.payload) == first
    assert run("keys", "--db", db, STATION, "--pki", pki, "--retire") == 2                  # not taken yet
    say(cloud, "2", batch(1, accepted(opened(cloud, message)[1])))

    assert run("keys", "--db", db, STATION, "--pki", pki, "--retire") == 0
    (message,) = cloud.due(START_MS)
    assert signed_by(message.payload) == key_id(public)
    body = KEYS.decode(cbor2.loads(cbor2.loads(message.payload).value[2])[4])
    assert body["data"] == {"add": [], "retire": [first.hex()]}
    (pki / "operators" / f"{key_id(public).hex()}.key").unlink()
    forgetful = Cloud(cloud.ledger, read_operator(pki))
    assert forgetful.due(START_MS + 30_000) == []
    assert counts(cloud.ledger) == {"operator_key_missing": 1}
    cloud.ledger.close()


def signed_by(envelope: bytes) -> bytes:
    kid: bytes = cbor2.loads(cbor2.loads(envelope).value[0])[4]
    return kid


def test_keys_of_the_operator_are_read_by_their_owner_only(tmp_path: Path) -> None:
    ca_init(tmp_path)
    operator = read_operator(tmp_path)
    kid = operator.make()
    assert (tmp_path / "operators" / f"{kid.hex()}.key").stat().st_mode & 0o777 == 0o600
    assert read_operator(tmp_path).key(kid) is not None and Operator(Ed25519PrivateKey.generate()).key(kid) is None


# -------------------------------------------------------------------------------------------------------------- drivers

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).map(str.strip)
groups = st.lists(st.text("abcé ,\"x", min_size=1, max_size=4).map(str.strip).filter(bool), unique=True, max_size=3)


@given(
    st.dictionaries(
        st.binary(min_size=2, max_size=20).map(lambda raw: raw.hex().upper()),
        st.builds(
            Driver,
            st.just(""),
            groups.map(tuple),
            st.sampled_from(id_token_statuses()),
            st.none() | st.integers(0, 4_000_000_000_000),
            st.sampled_from(("", "de", "en-GB")),
            texts,
            st.sampled_from(State),
        ),
        max_size=6,
    )
)
def test_the_list_goes_out_as_csv_and_comes_back_the_same(made: dict[str, Driver]) -> None:
    drivers = [replace(driver, id_token=token) for token, driver in made.items()]
    assert read_drivers(write_drivers(drivers)) == drivers


def test_the_drivers_command_writes_what_allow_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, file = tmp_path / "cloud.db", tmp_path / "out.csv"
    run("allow", "--db", db, "--add", "04A2", "--groups", "a;b", "--expiry", "2027-01-31", "--driver", "Ann, A.")
    capsys.readouterr()
    assert run("drivers", "--db", db) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert line == '04A2,a;b,Accepted,2027-01-31T00:00:00.000Z,,"Ann, A.",approved'
    assert run("drivers", "--db", db, "--csv", file) == 0 and run("allow", "--db", db, file) == 0
    assert run("allow", "--db", db, "--add", "04A3", "--expiry", "soon") == 2
    file.write_text('idToken,name\n04A2,"no end')
    assert run("allow", "--db", db, file) == 2 and "line 2" in capsys.readouterr().err


def test_a_differential_list_leads_from_what_the_station_has_confirmed_to_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "cloud.db"
    cloud = Cloud(Ledger(db), Ed25519PrivateKey.generate())
    drivers = cloud.ledger.drivers
    drivers.put([Driver("04A1"), Driver("04A2"), Driver("04A3")], START_MS)
    assert run("list", "--db", db, STATION, "--differential") == 2              # nobody knows what is there
    say(cloud, "h", HELLO)
    _, message = say(cloud, "v", NO_LIST)
    say(cloud, "2", batch(1, accepted(opened(cloud, message)[1])))
    drivers.remove(["04A1"], START_MS)
    drivers.put([Driver("04A2", status="Blocked"), Driver("04A4")], START_MS)
    assert run("list", "--db", db, STATION, "--differential") == 0
    cloud.ledger.lists.queue(START_MS)
    (command,) = [one for one in cloud.ledger.commands.of(STATION, 9) if one.status is None]
    assert (command.payload["updateType"], command.payload["versionNumber"]) == ("Differential", 3)
    entries = command.payload["localAuthorizationList"]
    told = {entry["idToken"]["idToken"]: entry.get("idTokenInfo", {}).get("status") for entry in entries}
    assert told == {"04A1": "Invalid", "04A2": "Blocked", "04A4": "Accepted"}
    say(cloud, "2", batch(2, accepted(command.id, status="Failed")))            # then it is asked what is there
    (message,) = cloud.due(START_MS)
    assert opened(cloud, message)[4]["messageId"] == "ListContent"
    cloud.ledger.close()


# --------------------------------------------------------------------------------------------------------------- export


def test_sessions_go_out_as_csv_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "cloud.db"
    ledger = Ledger(db)
    ledger.ingest(STATION, 0, batch(1, *session_records(3)), START_MS)
    ledger.close()
    assert run("export", "--db", db) == 0
    header, row = capsys.readouterr().out.splitlines()
    said = dict(zip(header.split(","), row.split(","), strict=True))
    assert {column: text for column, text in said.items() if text} == {
        "station": STATION,
        "kind": "session",
        "transaction_id": "t-1",
        "evse_id": "2",
        "id_token": "04A2B3C4",
        "started_ms": "2026-01-01T00:00:00.000Z",
        "ended_ms": "2026-01-01T00:02:00.000Z",
        "energy_wh": "20.0",
    }
    assert run("export", "--db", db, STATION, "--json") == 0
    (session,) = json.loads(capsys.readouterr().out)
    assert session["seq_nos"] == [0, 1, 2] and session["energy_wh"] == 20


def test_the_command_line_explains_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.parser()._subparsers._group_actions[0].choices:  # type: ignore[union-attr]
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0 and len(capsys.readouterr().out) > 100
