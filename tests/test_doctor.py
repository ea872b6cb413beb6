"""The doctor names what is wrong and what to type, about every part that he looks at; and never falls ill himself."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agent import cli
from agent.board import BOARDS, load
from agent.clock import BUILD_S
from agent.doctor import (
    Finding,
    Patient,
    Verdict,
    as_text,
    check_agent,
    check_broker,
    check_ca,
    check_certificate,
    check_data,
    check_faults,
    check_gateway,
    check_key,
    check_line,
    check_link,
    check_list,
    check_modem,
    check_operator,
    check_outbox,
    check_parts,
    check_tty,
    disk_finding,
    examine,
    is_fit,
    leaf_finding,
    unit_finding,
)
from agent.faults import FAULTS, Fault
from agent.hal.controller import ControllerLink
from agent.identity import folder_of, requested
from agent.settings import Broker, Config, Gateway, Modem
from board.controller import contract

DUO = BOARDS / "duo_sim.toml"
BORN = datetime(2026, 1, 1, tzinfo=UTC)
NOW_S = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
PEM = serialization.Encoding.PEM
HEADS = ("CERTIFICATE", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PUBLIC KEY")


# -- a station's files, made on the spot


def issued(name: str, key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey, days: int = 3650) -> bytes:
    """A certificate of our CA; "CA" is its own."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "CA"))
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), 1, BORN, BORN + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=name == "CA", path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(PEM)


def put_key(path: Path, key: ec.EllipticCurvePrivateKey, mode: int = 0o600) -> None:
    pkcs8, clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(PEM, pkcs8, clear))
    path.chmod(mode)


CA_KEY, STATION_KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """/etc and /var of a healthy station whose broker is not running."""
    (tmp_path / "ca.pem").write_bytes(issued("CA", CA_KEY, CA_KEY))
    put_key(tmp_path / "station.key", STATION_KEY)
    (tmp_path / "station.pem").write_bytes(issued("SA-1", STATION_KEY, CA_KEY))
    operator = Ed25519PrivateKey.generate().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "operator.pub").write_bytes(operator.public_bytes(PEM, form))
    (tmp_path / "state").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed_port = probe.getsockname()[1]
    (tmp_path / "config.toml").write_text(f"""
        station = {{ station_id = "SA-1" }}
        operator = {{ op = "operator.pub" }}
        [broker]
        host = "localhost"
        port = {closed_port}
        ca = "ca.pem"
        cert = "station.pem"
        key = "station.key"
        [paths]
        state = "state"
        control = "control.sock"
        """)
    return tmp_path


def findings(etc: Path, now_s: float = NOW_S, board: Path = DUO) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(board, etc / "config.toml", now_s, 2.0)}


def verdicts(etc: Path, now_s: float = NOW_S) -> dict[str, Verdict]:
    """Of what the machine under the test has no say in."""
    rest = ("disk", "unit", "broker")
    return {name: finding.verdict for name, finding in findings(etc, now_s).items() if name not in rest}


def edited(etc: Path, old: str, new: str) -> None:
    path = etc / "config.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


HEALTHY = dict.fromkeys("board config settings state key certificate ca operator clock controller".split(), OK)


def test_a_healthy_station_is_told_only_that_no_agent_runs(etc: Path) -> None:
    assert verdicts(etc) == {**HEALTHY, "agent": WARN}


def test_every_bad_finding_says_what_to_do(etc: Path) -> None:
    (etc / "station.key").chmod(0o644)
    (etc / "state").chmod(0o755)
    (etc / "ca.pem").unlink()
    (etc / "operator.pub").write_text("x")
    bad = [finding for finding in findings(etc, 0.0).values() if finding.verdict is not OK]
    assert {finding.name for finding in bad} >= {"key", "state", "ca", "operator", "clock", "broker", "agent"}
    assert all(finding.fix and "\n" not in finding.text + finding.fix for finding in bad)
    text = as_text(bad)
    assert f"-> type: chmod 600 {etc}/station.key" in text
    assert f"-> type: chmod 700 {etc}/state" in text


# -- files


def test_a_bad_board_or_config_is_one_finding_and_the_rest_goes_on(etc: Path) -> None:
    found = findings(etc, board=etc / "none.toml")
    assert found["board"].verdict is FAIL and "duo_sim.toml" in found["board"].text
    assert found["certificate"].verdict is OK
    edited(etc, "[paths]", "[pahts]")
    found = findings(etc)
    assert found["config"].verdict is FAIL and "did you mean paths?" in found["config"].text
    assert found["board"].verdict is OK and "certificate" not in found


def test_a_config_over_its_board_is_found(etc: Path) -> None:
    edited(etc, "[paths]", "[settings]\n circuit_limit_ma = 63_000\n[paths]")
    found = findings(etc)["settings"]
    assert found.verdict is FAIL and "type 32000 or less" in found.text


def test_a_station_without_identity_is_a_warning(etc: Path) -> None:
    (etc / "config.toml").write_text(f'[paths]\nstate = "{etc}/state"')
    found = findings(etc)
    assert found["config"].verdict is WARN and "charges nobody" in found["config"].text
    assert not found.keys() & {"broker", "certificate", "key", "ca", "operator"}
    (etc / "config.toml").write_text('[station]\nstation_id = "SA-1"')
    assert "knows no broker" in findings(etc)["config"].text


def test_a_state_folder_that_is_missing_or_a_file_is_found(etc: Path) -> None:
    (etc / "state").rmdir()
    found = findings(etc)
    assert found["state"].fix == f"type: install -d -m 700 -o station-agent {etc}/state"
    assert "disk" not in found
    (etc / "state").write_text("")
    assert findings(etc)["state"].verdict is FAIL


def test_a_full_disk_is_found() -> None:
    for free_mb, verdict in ((5_000, OK), (100, WARN), (10, FAIL)):
        finding = disk_finding(free_mb, "/var")
        assert finding.verdict is verdict and bool(finding.fix) == (verdict is not OK)


# -- identity


@pytest.mark.parametrize(
    ("cert", "words"),
    [
        (issued("SA-2", STATION_KEY, CA_KEY), "made out to SA-2, this station is SA-1"),
        (issued("SA-1", OTHER_KEY, CA_KEY), "belongs to another key"),
        (issued("SA-1", STATION_KEY, CA_KEY, days=300), "expired 2026-10-28"),
        (b"rubbish", "no certificate that can be read"),
    ],
    ids=["other name", "other key", "expired", "rubbish"],
)
def test_a_certificate_that_is_not_ours_or_expired_is_found(etc: Path, cert: bytes, words: str) -> None:
    (etc / "station.pem").write_bytes(cert)
    found = findings(etc)["certificate"]
    assert found.verdict is FAIL and words in found.text
    assert "CN = station_id" in found.fix


def test_a_station_that_makes_its_own_key_is_judged_by_its_folder(etc: Path) -> None:
    edited(etc, 'cert = "station.pem"', "")
    edited(etc, 'key = "station.key"', "")
    found = findings(etc)
    assert found["certificate"].verdict is FAIL and "station-agent csr" in found["certificate"].fix
    folder = folder_of(etc / "state")
    folder.make()
    held = requested(folder, "SA-1")
    assert held.request
    pair = (etc / "station.key").read_bytes() + (etc / "station.pem").read_bytes()
    folder.current.write_bytes(pair)
    folder.current.chmod(0o640)
    assert findings(etc)["key"].fix == f"type: chmod 600 {folder.current}"
    folder.current.chmod(0o600)
    found = findings(etc)
    assert found["key"].verdict is OK and "days" in found["certificate"].text
    folder.trial.write_bytes(pair[:200])
    assert findings(etc)["certificate"].verdict is FAIL


def test_a_certificate_of_another_ca_is_found(etc: Path) -> None:
    (etc / "ca.pem").write_bytes(issued("CA", OTHER_KEY, OTHER_KEY))
    assert "does not lead to our CA" in findings(etc)["certificate"].text


def test_expiry_is_judged_only_by_a_clock_that_can_be_right(etc: Path) -> None:
    (etc / "station.pem").write_bytes(issued("SA-1", STATION_KEY, CA_KEY, days=340))
    assert findings(etc)["certificate"].verdict is WARN  # 16 days left
    assert findings(etc, 0.0)["certificate"].verdict is OK
    assert findings(etc, 0.0)["clock"].verdict is WARN
    assert findings(etc, BUILD_S)["clock"].verdict is OK


@pytest.mark.promise("S9")
@given(st.sampled_from(["", *(f"-----BEGIN {what}-----\n" for what in HEADS)]).map(str.encode), st.binary(max_size=80))
def test_any_rubbish_in_any_file_is_a_finding(head: bytes, rubbish: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(head + rubbish)
        path.chmod(0o600)
        files = Broker("localhost", str(path), str(path), str(path))
        patient = Patient(None, Config("SA-1", files, {"op": str(path)}), {}, None, NOW_S, 0.5)
        for check in (check_key, check_certificate, check_ca, check_operator):
            finding = check(patient)
            assert finding and finding.verdict is FAIL and finding.fix


# -- the broker


@contextmanager
def broker(etc: Path, cert_name: str = "localhost", *, tls: bool = True) -> Iterator[int]:
    """Accepts one connection on 127.0.0.1, asks for a certificate of our CA, then waits for MQTT as a broker does."""
    put_key(etc / "b.key", OTHER_KEY)
    (etc / "b.pem").write_bytes(issued(cert_name, OTHER_KEY, CA_KEY))
    (etc / "clients.pem").write_bytes(issued("CA", CA_KEY, CA_KEY))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(etc / "b.pem", etc / "b.key")
    context.load_verify_locations(etc / "clients.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)

        def serve() -> None:
            with suppress(OSError), listener.accept()[0] as talk:
                if not tls:
                    talk.sendall(b"SSH-2.0-OpenSSH\r\n")
                    return
                with context.wrap_socket(talk, server_side=True) as secured:
                    secured.recv(1)

        thread = Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10.0)


def handshake(etc: Path, port: int, host: str = "localhost") -> Finding:
    files = Broker(host, str(etc / "ca.pem"), str(etc / "station.pem"), str(etc / "station.key"), port)
    finding = check_broker(Patient(None, Config("SA-1", files), {}, None, NOW_S, 2.0))
    assert finding
    return finding


def test_a_broker_that_takes_our_certificate_is_fine(etc: Path) -> None:
    with broker(etc) as port:
        assert handshake(etc, port) == Finding("broker", OK, f"localhost port {port} answers and takes our certificate")


def test_a_broker_that_refuses_our_certificate_is_found_though_the_handshake_succeeds(etc: Path) -> None:
    (etc / "station.pem").write_bytes(issued("SA-1", STATION_KEY, OTHER_KEY))
    with broker(etc) as port:
        found = handshake(etc, port)
    assert found.verdict is FAIL and "refuses our certificate" in found.text


def test_a_broker_of_another_ca_is_not_believed(etc: Path) -> None:
    (etc / "ca.pem").write_bytes(issued("CA", OTHER_KEY, OTHER_KEY))
    with broker(etc) as port:
        found = handshake(etc, port)
    assert found.verdict is FAIL and "the broker's certificate is not accepted" in found.text


def test_a_port_that_speaks_no_tls_is_found(etc: Path) -> None:
    with broker(etc, tls=False) as port:
        found = handshake(etc, port)
    assert found.verdict is FAIL and "TLS port" in found.fix


def test_a_broker_that_is_not_there_and_a_name_that_nobody_knows_are_told_apart(etc: Path) -> None:
    found = findings(etc)["broker"]
    assert found.verdict is FAIL and "does not answer" in found.text
    found = handshake(etc, 8883, "nobody.invalid")
    assert found.verdict is FAIL and "getent hosts nobody.invalid" in found.fix


def test_files_that_do_not_fit_each_other_are_found_before_the_handshake(etc: Path) -> None:
    put_key(etc / "station.key", OTHER_KEY)
    with broker(etc) as port:
        found = handshake(etc, port)
    assert found.verdict is FAIL and "do not fit" in found.text


# -- devices and services


def test_a_serial_port_must_be_there_and_be_one(tmp_path: Path) -> None:
    text = DUO.read_text().replace('link = "sim"', 'link = "serial"\nchip = "unix"')
    for tty, verdict in (("/dev/null", OK), (str(DUO), FAIL), (str(tmp_path / "ttyS9"), FAIL)):
        path = tmp_path / "board.toml"
        path.write_text(text.replace('tty = "sim"', f'tty = "{tty}"'))
        finding = check_tty(Patient(load(path), None, {}, None, NOW_S))
        assert finding and finding.verdict is verdict


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}, OK),
        ({"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "failed"}, FAIL),
        ({"LoadState": "loaded", "UnitFileState": "disabled", "ActiveState": "active"}, WARN),
        ({"LoadState": "not-found"}, WARN),
        ({}, WARN),
    ],
)
def test_the_unit_must_be_installed_enabled_and_not_have_failed(said: dict[str, str], verdict: Verdict) -> None:
    finding = unit_finding(said)
    assert finding.verdict is verdict and bool(finding.fix) == (verdict is not OK)


# -- the running agent


def asked(**status: Any) -> list[Finding]:
    patient = Patient(None, Config(), {}, status, NOW_S)
    found = [check(patient) for check in (check_agent, check_link, check_list, check_faults, check_outbox)]
    return [finding for finding in found if finding]


def test_the_modem_is_judged_by_its_state_and_its_signal() -> None:
    good = {"state": "online", "operator": "Example", "generation": "4g", "rsrp_dbm": -96, "rsrq_db": -9}
    for modem, verdict, said in (
        (good, OK, "RSRQ -9 dB"),
        ({**good, "rsrq_db": -13}, WARN, "modem watch"),
        ({**good, "state": "SIM missing"}, WARN, "modem diagnose"),
    ):
        finding = check_modem(Patient(None, Config(), {}, {"modem": modem}, NOW_S))
        assert finding and finding.verdict is verdict and said in f"{finding.text} {finding.fix}"
    assert check_modem(Patient(None, Config(), {}, {"modem": None}, NOW_S)) is None, "there is none"
    assert check_modem(Patient(None, Config(), {}, {"modem": {"state": ""}}, NOW_S)) is None, "behind a gateway"


def test_a_part_that_failed_its_self_test_is_named_with_its_fix() -> None:
    failed = {
        "part": "TokenReader", "evse_id": 0, "result": "failed", "code": "reader",
        "text": "no reader.", "fix": "Check its cable.",
    }  # fmt: skip
    passed = {"part": "Meter", "evse_id": 1, "result": "passed", "text": "", "fix": ""}
    for parts, verdict, fix in (([failed, passed], FAIL, "Check its cable."), ([passed], OK, "")):
        finding = check_parts(Patient(None, Config(), {}, {"self_test": parts}, NOW_S))
        assert finding and (finding.verdict, finding.fix) == (verdict, fix)
        assert verdict is OK or finding.text == "TokenReader (reader): no reader."


def test_an_agent_that_does_not_know_the_time_says_so_and_how_it_learns_it() -> None:
    finding = asked(clock="unknown, not before 2026-09-21T14:13:27.991Z")[0]
    assert finding.verdict is WARN and "does not know the time" in finding.text and "[rtc]" in finding.fix


def test_what_both_ends_of_the_controllers_line_have_counted_is_told_by_doctor_and_status() -> None:
    link = ControllerLink(1, 32_000, 6_000, 60)
    assert check_line(Patient(None, Config(), {}, {"controller_link": link.counters()}, NOW_S)) is None
    link.health.counted([0, 3, 0, 0, 0, 12, 5, 0, 9_000], link.deframer, 0, 0.0)
    finding = check_line(Patient(None, Config(), {}, {"controller_link": link.counters()}, NOW_S))
    assert finding and finding.verdict is OK
    assert "0 here, 3 at the controller" in finding.text and "missed 12 turns" in finding.text
    text = cli.status_text({"link": "up", "controller_link": link.counters()})
    assert "line, heard there" in text and "overruns 12" in text and "{" not in text


def test_a_well_running_agent_has_no_bad_finding() -> None:
    known = {"link": "up", "clock": "2026-11-21T12:00:00Z, told by cloud", "list_version": 1, "list_entries": 3}
    found = asked(**known, list_age_s=60.0, ports=[], outbox_records=0)
    assert [finding.verdict for finding in found] == [OK] * 5


@pytest.mark.promise("S5")
@pytest.mark.parametrize(("hours", "verdict"), [(19.9, OK), (20.0, WARN), (23.9, WARN), (24.0, FAIL), (None, WARN)])
def test_the_age_of_the_list_warns_at_20_hours_and_alarms_at_24(hours: float | None, verdict: Verdict) -> None:
    found = asked(link="up", list_age_s=hours and hours * 3600)
    assert next(finding.verdict for finding in found if finding.name == "list") is verdict


@pytest.mark.parametrize("fault", contract.FAULTS.split())
def test_every_fault_comes_with_its_fix(fault: str) -> None:
    found = asked(link="down", ports=[{"evse_id": 2, "faults": [fault]}])
    ports = next(finding for finding in found if finding.name == "ports")
    assert ports == Finding("ports", FAIL, f"port 2: {fault}", FAULTS[Fault(fault)].fix)


def test_an_agent_in_trouble_is_told_from_one_that_does_not_run() -> None:
    assert asked(error="the agent did not answer within 5 s")[0].verdict is FAIL
    assert asked(store_ok=False)[0].verdict is FAIL
    assert asked(outbox_records=50_000)[-1].verdict is WARN


# -- the command


def test_the_command_exits_0_only_if_nothing_fails(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["doctor", "--board", str(DUO), "--config", str(etc / "config.toml")]
    assert cli.main(argv) == 1  # its broker is not running
    assert "FAIL" in capsys.readouterr().out.upper()
    assert cli.main([*argv, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert {"name", "verdict", "text", "fix"} == said[0].keys()
    (etc / "config.toml").write_text(f'[paths]\nstate = "{etc}/state"\ncontrol = "{etc}/control.sock"')
    assert cli.main(argv) in (0, 1)
    assert is_fit([Finding("a", OK, ""), Finding("b", WARN, "", "x")])
    assert not is_fit([Finding("a", OK, ""), Finding("b", FAIL, "", "x")])


# -- gateway and data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "answers", "said"), [
    ("192.168.77.1", True, "is there"), ("192.168.77.1", None, "is there"),
    ("192.168.77.1", False, "does not answer"), ("", None, "no default route"),
])  # fmt: skip
def test_a_gateway_that_is_down_is_a_reason_of_its_own(address: str, answers: bool | None, said: str) -> None:
    found = leaf_finding("SA-0001", address, lambda _: answers)
    assert said in found.text and "SA-0001" in found.text
    assert (found.verdict is OK) is (not found.fix) is (said == "is there")


def test_a_gateway_whose_service_is_away_forwards_for_nobody() -> None:
    found = check_gateway(Patient(None, Config(gateway=Gateway("eth9", "192.168.77.0/24")), {}, None, NOW_S))
    assert found and found.verdict is FAIL and "station-gateway" in found.fix
    leaf = check_gateway(Patient(None, Config(modem=Modem(gateway="SA-0001")), {}, None, NOW_S))
    assert leaf and "SA-0001" in leaf.text
    assert check_gateway(Patient(None, Config(), {}, None, NOW_S)) is None


@pytest.mark.parametrize(("percent", "verdict"), [(None, None), (79, OK), (80, WARN), (140, WARN)])
def test_data_that_gets_short_is_warned_of(percent: int | None, verdict: Verdict | None) -> None:
    data = {"percent": percent, "budget_mb": 10, "since": "2026-11-01", "is_low_data": True}
    found = check_data(Patient(None, None, {}, {"data": data}, NOW_S))
    assert (found.verdict if found else None) == verdict
