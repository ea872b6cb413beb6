"""Is this station fit to work? A list of checks; each answers with one finding, and a bad one says what to type.

Every check is a small function of the `Patient`, who is only looked at, never changed; None means that there is nothing
to check here, for example no certificate in a station without a broker.
"""

import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.board import Board, load, load_config
from agent.certificates import CertificateError, Pair, certified, day, paired, read_chain, read_key, read_pair
from agent.clock import BUILD_S
from agent.control import ask
from agent.faults import FAULTS, Fault
from agent.identity import folder_of
from agent.machine import first_gateway, neighbour
from agent.modem import signal_verdict
from agent.modem.budget import WARNINGS
from agent.modem.meter import leaves_told
from agent.modem.modem import State
from agent.modem.signal_verdict import Levels
from agent.policy.freshness import ALARM_S, WARNING_S
from agent.selftest import Result
from agent.settings import Broker, Config, ConfigError, Layer, merge

DISK_MIN_MB, DISK_GOOD_MB = 64, 300  # the database stops at 256 MB
EXPIRY_WARNING_DAYS = 30
OUTBOX_WARNING = 10_000  # records that wait: a day of a busy station
REFUSAL_S = 2.0  # TLS 1.3 tells of a refused certificate only after the handshake
ADDRESSES_MAX = 4
UNIT = "station-agent"
UNREADABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm)  # TypeError: the key asks for a password


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` says what to type or to do; empty where all is well."""

    name: str
    verdict: Verdict
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What every check may look at. A file that cannot be read is None, and its sentence is in `wrong`."""

    board: Board | None
    config: Config | None
    wrong: dict[str, str]  # check -> what the operator has to mend
    status: dict[str, Any] | None  # what the running agent says; None: none is running
    now_s: float  # the system clock
    timeout_s: float = 5.0

    @property
    def broker(self) -> Broker | None:
        return self.config.broker if self.config else None

    @property
    def key_files(self) -> list[Path]:
        """Our identity folder and what is in it, as far as we may look."""
        folder = folder_of(Path(self.config.paths.state)) if self.config else None
        known = (folder.path, folder.current, folder.trial, folder.request) if folder else ()
        return [path for path in known if os.path.lexists(path)]

    @property
    def pair_file(self) -> Path | None:
        """Key and certificate that the station connects with; None: it has only what the config file names."""
        folder = folder_of(Path(self.config.paths.state)) if self.config else None
        pairs = (folder.trial, folder.current) if folder else ()
        return next((path for path in pairs if os.path.lexists(path)), None)


def examine(board_path: Path, config_path: Path, now_s: float, timeout_s: float = 5.0) -> list[Finding]:
    """All findings, in the order of CHECKS. Raises nothing."""
    patient = admitted(board_path, config_path, now_s, timeout_s)
    return [finding for check in CHECKS if (finding := check(patient)) is not None]


def admitted(board_path: Path, config_path: Path, now_s: float, timeout_s: float) -> Patient:
    board, config, wrong = None, None, {}
    try:
        board = load(board_path)
    except ConfigError as error:
        wrong["board"] = str(error)
    try:
        config = load_config(config_path)
    except ConfigError as error:
        wrong["config"] = str(error)
    status = ask(Path(config.paths.control), {"command": "status"}, timeout_s) if config else None
    return Patient(board, config, wrong, status, now_s, timeout_s)


def is_fit(findings: list[Finding]) -> bool:
    return all(finding.verdict is not FAIL for finding in findings)


def as_text(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:4}  {finding.name:12}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':20}-> {finding.fix}")
    return "\n".join(lines)


# -- the two files -----------------------------------------------------------------------------------------------------


def check_board(patient: Patient) -> Finding:
    if patient.board is None:
        return Finding("board", FAIL, patient.wrong["board"])
    return Finding("board", OK, f"{patient.board.name}: {patient.board.description}")


def check_config(patient: Patient) -> Finding:
    if patient.config is None:
        return Finding("config", FAIL, patient.wrong["config"])
    if patient.config.station_id is None:
        fix = "add [station] and [broker] to the config file; config/example.toml shows how"
        return Finding("config", WARN, "valid, but the station has no identity and charges nobody", fix)
    if patient.broker is None:
        fix = "add [broker] to the config file; config/example.toml shows how"
        return Finding("config", WARN, f"{patient.config.station_id} knows no broker: sessions stay here", fix)
    return Finding(
        "config", OK, f"{patient.config.station_id}, broker {patient.broker.host} port {patient.broker.port}"
    )


def check_settings(patient: Patient) -> Finding | None:
    """Board and config together: the file may not go over the board."""
    if patient.board is None or patient.config is None:
        return None
    try:
        merged = merge({Layer.BOARD: patient.board.layer(), Layer.CONFIG: patient.config.layer()})
    except ConfigError as error:
        return Finding("settings", FAIL, str(error))
    amps = merged.settings.circuit_limit_ma / 1000
    return Finding(
        "settings", OK, f"circuit {amps:g} A, {merged.settings.phases} phase(s), {len(patient.board.port)} port(s)"
    )


# -- files -------------------------------------------------------------------------------------------------------------


def check_state(patient: Patient) -> Finding | None:
    if patient.config is None:
        return None
    folder = Path(patient.config.paths.state)
    if not folder.is_dir():
        return Finding("state", FAIL, f"{folder} is no folder", f"type: install -d -m 700 -o {UNIT} {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("state", FAIL, f"{folder} cannot be written", f"type: chown {UNIT} {folder}, or sudo doctor")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding("state", FAIL, f"{folder} holds sessions and is open to others", f"type: chmod 700 {folder}")
    return Finding("state", OK, f"{folder} is ours alone")


def check_disk(patient: Patient) -> Finding | None:
    if patient.config is None or not Path(patient.config.paths.state).is_dir():
        return None
    folder = patient.config.paths.state
    return disk_finding(shutil.disk_usage(folder).free // 1_000_000, folder)


def disk_finding(free_mb: int, folder: str) -> Finding:
    verdict = OK if free_mb >= DISK_GOOD_MB else WARN if free_mb >= DISK_MIN_MB else FAIL
    fix = "" if verdict is OK else f"free space beside {folder}, for example type: journalctl --vacuum-size=50M"
    return Finding("disk", verdict, f"{free_mb} MB free", fix)


def check_key(patient: Patient) -> Finding | None:
    """Whose the files with our keys are to read: the config's, and all in the identity folder."""
    if patient.broker is None:
        return None
    if patient.broker.key:
        path = Path(patient.broker.key)
        try:
            read_key(path.read_bytes())
        except (OSError, CertificateError) as error:
            return Finding("key", FAIL, f"{path} is no private key that can be read: {sentence(error)}", KEY_FIX)
    for path in [*patient.key_files, *([Path(patient.broker.key)] if patient.broker.key else [])]:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            return Finding("key", FAIL, f"{path} cannot be looked at: {sentence(error)}", KEY_FIX)
        if mode & 0o077:
            private = 700 if path.is_dir() else 600
            return Finding("key", FAIL, f"{path} can be read by others", f"type: chmod {private} {path}")
    return Finding("key", OK, "our keys are ours alone")


KEY_FIX = "check [broker] key in the config file; is it there, type sudo before the command"
CERT_FIX = "have a certificate made for this station's key, with CN = station_id: type station-agent csr"


def check_certificate(patient: Patient) -> Finding | None:
    """Ours, for this station, leading to our CA, and not expired by the clock as far as that is known."""
    config, broker = patient.config, patient.broker
    if config is None or broker is None or config.station_id is None:
        return None
    path, read = patient.pair_file, read_pair
    try:
        if path is None and broker.cert:
            path = Path(broker.cert)
            pair = paired(read_key(Path(broker.key).read_bytes()), read_chain(path.read_bytes()))
        elif path is None:
            return Finding("certificate", FAIL, "this station has no certificate and charges nobody", CERT_FIX)
        else:
            pair = read(path.read_bytes())
    except (OSError, CertificateError) as error:
        return Finding("certificate", FAIL, f"{path} cannot be used: {sentence(error)}", CERT_FIX)
    return pair_finding(pair, path, config.station_id, Path(broker.ca), patient.now_s)


def pair_finding(pair: Pair, path: Path, station_id: str, ca: Path, now_s: float) -> Finding:
    if pair.common_name != station_id:
        text = f"{path} is made out to {pair.common_name}, this station is {station_id}"
        return Finding("certificate", FAIL, text, CERT_FIX)
    if now_s < BUILD_S:
        return Finding("certificate", OK, f"{path} is ours; whether it has expired the clock cannot say yet")
    if pair.not_before_s > now_s:
        return Finding("certificate", FAIL, f"{path} is not valid before {day(pair.not_before_s)}", CLOCK_FIX)
    days = (pair.not_after_s - now_s) / 86_400
    if days < 0:
        return Finding("certificate", FAIL, f"{path} expired {day(pair.not_after_s)}", CERT_FIX)
    with suppress(OSError):  # that is the finding of check_ca
        try:
            certified(pair.pem, read_chain(pair.pem), station_id, ca.read_bytes(), now_s, now_s)
        except CertificateError as error:
            return Finding("certificate", FAIL, f"{path}: {sentence(error)}", CERT_FIX)
    text = f"{path} is valid until {day(pair.not_after_s)}, {days:.0f} days"
    if days < EXPIRY_WARNING_DAYS:
        return Finding("certificate", WARN, text, CERT_FIX)
    return Finding("certificate", OK, text)


def check_ca(patient: Patient) -> Finding | None:
    if patient.broker is None:
        return None
    path = Path(patient.broker.ca)
    try:
        count = len(x509.load_pem_x509_certificates(path.read_bytes()))
    except UNREADABLE as error:
        fix = "put the certificate of the broker's CA there (PEM), or correct [broker] ca"
        return Finding("ca", FAIL, f"{path} is no certificate that can be read: {sentence(error)}", fix)
    return Finding("ca", OK, f"{path} holds {count} certificate(s)")


def check_operator(patient: Patient) -> Finding | None:
    if patient.config is None or patient.config.broker is None:
        return None
    if patient.status and (keys := patient.status.get("operator_keys")):
        return Finding("operator", OK, f"keys in force: {', '.join(keys)}")
    if not patient.config.operator:
        fix = 'add [operator] and below it a key id = "public key file" to the config file'
        return Finding("operator", FAIL, "no operator key: no list and no command from the cloud is believed", fix)
    for kid, name in patient.config.operator.items():
        try:
            good = isinstance(serialization.load_pem_public_key(Path(name).read_bytes()), Ed25519PublicKey)
            why = "another kind of key"
        except UNREADABLE as error:
            good, why = False, sentence(error)
        if not good:
            fix = "get the operator's public key file (PEM) again, or correct [operator]"
            return Finding("operator", FAIL, f"{kid}: {name} is no Ed25519 public key: {why}", fix)
    return Finding("operator", OK, f"keys: {', '.join(patient.config.operator)}")


# -- clock and network -------------------------------------------------------------------------------------------------

CLOCK_FIX = "type: timedatectl set-ntp true; without NTP the cloud tells the time at the first connection"


def check_clock(patient: Patient) -> Finding:
    stamp = datetime.fromtimestamp(max(0.0, patient.now_s), UTC)
    if patient.now_s < BUILD_S:
        return Finding("clock", WARN, f"{stamp:%Y-%m-%d} is before this software was made", CLOCK_FIX)
    return Finding("clock", OK, f"{stamp:%Y-%m-%dT%H:%M:%SZ}")


def check_broker(patient: Patient) -> Finding | None:
    """Name, connection, handshake, and whether the broker takes our certificate: the first that fails."""
    broker = patient.broker
    if broker is None:
        return None
    where = f"{broker.host} port {broker.port}"
    addresses = resolved(broker.host, broker.port, patient.timeout_s)
    if not addresses:
        fix = f"check [broker] host and the network, type: getent hosts {broker.host}"
        return Finding("broker", FAIL, f"{broker.host} has no address (DNS)", fix)
    talk, why = connected(addresses, patient.timeout_s)
    if talk is None:
        fix = "check [broker] port, that the broker runs, and that the modem or a firewall lets us through"
        return Finding("broker", FAIL, f"{where} does not answer: {why}", fix)
    with talk:
        refusal = shaken(talk, broker, patient.pair_file)
    if refusal:
        return Finding("broker", FAIL, *refusal)
    return Finding("broker", OK, f"{where} answers and takes our certificate")


def resolved(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
    """Addresses; none after `timeout_s`. getaddrinfo itself waits as long as it likes, hence the thread."""
    found: list[tuple[str, int]] = []

    def look() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(info[4][:2] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))  # type: ignore[misc]

    thread = Thread(target=look, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return list(found)[:ADDRESSES_MAX]


def connected(addresses: list[tuple[str, int]], timeout_s: float) -> tuple[socket.socket | None, str]:
    why = ""
    for address in addresses:
        try:
            return socket.create_connection(address, timeout_s), ""
        except OSError as error:
            why = sentence(error)
    return None, why


def shaken(talk: socket.socket, broker: Broker, pair: Path | None) -> tuple[str, str] | None:
    """TLS 1.3 with our certificate over a connected socket; what is wrong and what to do, or None."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(broker.ca)
        files = (pair, None) if pair else (broker.cert, broker.key)
        context.load_cert_chain(files[0], files[1], password=lambda: b"")  # an encrypted key must not ask
    except (OSError, ValueError) as error:
        return (
            f"the files under [broker] do not fit each other: {sentence(error)}",
            "mend key, certificate and ca first",
        )
    try:
        secured = context.wrap_socket(talk, server_hostname=broker.host)
    except ssl.SSLCertVerificationError as error:
        fix = "compare [broker] ca and host with the broker's certificate, and look at the clock"
        return f"the broker's certificate is not accepted: {error.verify_message}", fix
    except (OSError, ValueError) as error:
        return f"no TLS 1.3 handshake: {sentence(error)}", "check that [broker] port is the broker's TLS port"
    with secured:
        secured.settimeout(REFUSAL_S)
        try:
            silent = secured.recv(1) == b""
        except TimeoutError:  # it waits for us to speak: accepted
            return None
        except OSError as error:
            return f"the broker refuses our certificate: {sentence(error)}", CERT_FIX
    return ("the broker hangs up after the handshake", "look into the broker's log") if silent else None


# -- devices and services ----------------------------------------------------------------------------------------------


def check_tty(patient: Patient) -> Finding | None:
    if patient.board is None:
        return None
    if patient.board.controller.link == "sim":
        return Finding("controller", OK, "simulated: for station-agent demo alone, run refuses this board")
    path = Path(patient.board.controller.tty)
    try:
        is_tty = stat.S_ISCHR(path.stat().st_mode)
    except OSError as error:
        fix = "check the cable to the port controller and [controller] tty in the board file"
        return Finding("controller", FAIL, f"{path}: {sentence(error)}", fix)
    if not is_tty:
        return Finding("controller", FAIL, f"{path} is no serial port", "correct [controller] tty in the board file")
    if not os.access(path, os.R_OK | os.W_OK):
        fix = f"type: usermod -aG dialout {UNIT}, then systemctl restart {UNIT}"
        return Finding("controller", FAIL, f"{path} may not be opened", fix)
    return Finding("controller", OK, f"{path} is there")


def check_unit(patient: Patient) -> Finding:
    properties = "LoadState,UnitFileState,ActiveState"
    try:
        call = ["systemctl", "show", "--property", properties, UNIT]
        said = subprocess.run(call, capture_output=True, text=True, timeout=patient.timeout_s, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Finding("unit", WARN, "no systemd here: nobody starts the agent again", "fine for a trial on a desk")
    return unit_finding(dict(line.partition("=")[::2] for line in said.splitlines()))


def unit_finding(state: dict[str, str]) -> Finding:
    """What `systemctl show` says about our unit."""
    if state.get("LoadState") != "loaded":
        fix = f"copy board/systemd/{UNIT}.service to /etc/systemd/system and type: systemctl enable --now {UNIT}"
        return Finding("unit", WARN, f"{UNIT}.service is not installed", fix)
    if state.get("ActiveState") == "failed":
        return Finding("unit", FAIL, f"{UNIT}.service has failed", f"type: journalctl -u {UNIT} -n 50")
    if state.get("UnitFileState") != "enabled":
        fix = f"type: systemctl enable --now {UNIT}"
        return Finding("unit", WARN, f"{UNIT}.service does not start with the station", fix)
    return Finding("unit", OK, f"{UNIT}.service is {state.get('ActiveState', 'unknown')}")


# -- the running agent -------------------------------------------------------------------------------------------------


def check_agent(patient: Patient) -> Finding | None:
    if patient.config is None:
        return None
    if patient.status is None:
        return Finding("agent", WARN, "no agent is running", f"type: systemctl start {UNIT}")
    if "error" in patient.status:
        return Finding("agent", FAIL, str(patient.status["error"]), f"type: systemctl restart {UNIT}")
    if not patient.status.get("store_ok", True):
        return Finding("agent", FAIL, "it runs, but cannot write its database: nobody may start", "see state and disk")
    clock = str(patient.status.get("clock", "unknown"))
    if clock.startswith("unknown"):
        fix = "connect it to the cloud once, or fit a clock chip and name it under [rtc] in the board file"
        return Finding("agent", WARN, f"runs, but does not know the time: {clock}", fix)
    return Finding("agent", OK, f"runs; its clock: {clock}")


def asked(patient: Patient) -> dict[str, Any] | None:
    return patient.status if patient.status is not None and "error" not in patient.status else None


def check_link(patient: Patient) -> Finding | None:
    status = asked(patient)
    if status is None:
        return None
    link = status.get("link")
    if link == "up":
        return Finding("link", OK, "the cloud answers")
    return Finding("link", WARN, f"link {link}: records wait, listed drivers charge", "see broker above")


def check_modem(patient: Patient) -> Finding | None:
    """What the running agent says of it; why it has no connection is `station-agent modem diagnose`'s."""
    modem = (asked(patient) or {}).get("modem")
    if not modem or not modem.get("state"):
        return None
    known = Levels(modem.get("rssi_dbm"), modem.get("rsrp_dbm"), modem.get("rsrq_db"))
    judged = signal_verdict.judged(known)
    where = " ".join(filter(None, (modem.get("operator"), modem.get("generation"))))
    text = ", ".join(filter(None, (modem["state"], where, signal_verdict.text(known))))
    if modem["state"] not in (State.ONLINE, State.BEARER_UP):
        return Finding("modem", WARN, text, "type: station-agent modem diagnose")
    if judged.verdict in (signal_verdict.Verdict.WEAK, signal_verdict.Verdict.UNUSABLE):
        fix = "type: station-agent modem watch, and turn the antenna"
        return Finding("modem", WARN, f"{text}: {judged.verdict} by {judged.by}", fix)
    return Finding("modem", OK, text)


def check_list(patient: Patient) -> Finding | None:
    status = asked(patient)
    if status is None:
        return None
    known, age_s = f"version {status.get('list_version')}, {status.get('list_entries')} cards", status.get("list_age_s")
    if age_s is None:
        return Finding("list", WARN, f"{known}; its age is unknown", "connect to the cloud once: see broker above")
    hours = age_s / 3600
    verdict = OK if age_s < WARNING_S else WARN if age_s < ALARM_S else FAIL
    fix = "" if verdict is OK else "approvals and removals of the last day may be missing: see link and broker above"
    return Finding("list", verdict, f"{known}; called current {hours:.1f} h ago", fix)


def check_faults(patient: Patient) -> Finding | None:
    status = asked(patient)
    if status is None:
        return None
    faults = [(port.get("evse_id"), name) for port in status.get("ports", []) for name in port.get("faults", [])]
    if not faults:
        return Finding("ports", OK, "no fault")
    fixes = dict.fromkeys(FAULTS[Fault(name)].fix for _, name in faults if name in set(Fault))
    return Finding("ports", FAIL, ", ".join(f"port {evse_id}: {name}" for evse_id, name in faults), " ".join(fixes))


def check_parts(patient: Patient) -> Finding | None:
    """The self-test of the running agent; what a port's faults say stands above."""
    parts = (asked(patient) or {}).get("self_test")
    if not parts:
        return None
    failed = [part for part in parts if part["result"] == Result.FAILED and not part["evse_id"]]
    if not failed:
        return Finding("self-test", OK, f"{len(parts)} parts, none of the station's has failed")
    fixes = dict.fromkeys(part["fix"] for part in failed)
    said = "; ".join(f"{part['part']} ({part['code']}): {part['text']}" for part in failed)
    return Finding("self-test", FAIL, said, " ".join(fixes))


def check_line(patient: Patient) -> Finding | None:
    """What both ends have counted; what is odd of it is a part that failed, above."""
    ends = (asked(patient) or {}).get("controller_link")
    if not ends or not ends["heard_there"]:
        return None
    here, there = ends["heard_here"], ends["heard_there"]
    heap = f", {there['heap_free_b']} bytes of heap free" if there["heap_free_b"] else ""
    return Finding(
        "line", OK,
        f"spoilt frames: {here['crc_errors']} here, {there['crc_errors']} at the controller, which has missed"
        f" {there['overruns']} turns and written its flash {there['flash_writes']} times{heap}",
    )  # fmt: skip


def check_gateway(patient: Patient) -> Finding | None:
    """Of a gateway: whether it forwards. Of a leaf: whether its gateway is there, which is another thing than that the
    network behind it is down."""
    config = patient.config
    if config and config.gateway:
        told = leaves_told()
        if told is None or told.problem:
            why = told.problem if told else "its service has not spoken since the boot"
            return Finding("gateway", FAIL, f"it forwards for nobody: {why}", "type systemctl status station-gateway")
        return Finding("gateway", OK, f"it forwards for {len(told.leaves)} stations")
    if config and config.modem and config.modem.gateway:
        return leaf_finding(config.modem.gateway, first_gateway(), neighbour)
    return None


def leaf_finding(serial: str, address: str, look: Callable[[str], bool | None]) -> Finding:
    """`look`: whether that neighbour has answered Linux; None: it has not been asked of late."""
    if not address:
        fix = "look at the cable to it, and whether it gives addresses (docs/gateway.md)"
        return Finding("gateway", FAIL, f"there is no way to gateway {serial}: no default route", fix)
    if look(address) is False:
        fix = "look at the cable to it, and whether that station is switched on"
        return Finding("gateway", FAIL, f"gateway {serial} ({address}) does not answer", fix)
    return Finding("gateway", OK, f"gateway {serial} ({address}) is there")


def check_data(patient: Patient) -> Finding | None:
    data = (asked(patient) or {}).get("data")
    if not data or data["percent"] is None:
        return None
    text = f"{data['percent']} % of {data['budget_mb']} MB are used since {data['since'] or 'the start'}"
    if data["percent"] < WARNINGS[0]:
        return Finding("data", OK, text)
    mode = "; low-data mode is on" if data["is_low_data"] else ""
    fix = "have DataLink.Budget raised, or wait for the next month: no session is late"
    return Finding("data", WARN, text + mode, fix)


def check_outbox(patient: Patient) -> Finding | None:
    status = asked(patient)
    if status is None or "outbox_records" not in status:
        return None
    count = status["outbox_records"]
    if count < OUTBOX_WARNING:
        return Finding("outbox", OK, f"{count} records wait for the cloud")
    return Finding("outbox", WARN, f"{count} records wait for the cloud; none is lost", "see link and broker above")


def check_dead_letters(patient: Patient) -> Finding | None:
    count = (asked(patient) or {}).get("dead_letters")
    if not count:
        return None
    text = f"{count} records that the cloud will not take, or that the disk has damaged, are kept aside"
    fix = "type: station-agent deadletters; --json says all that is in them"
    return Finding("dead letters", WARN, text, fix)


CHECKS: tuple[Callable[[Patient], Finding | None], ...] = (
    check_board,
    check_config,
    check_settings,
    check_state,
    check_disk,
    check_key,
    check_certificate,
    check_ca,
    check_operator,
    check_clock,
    check_broker,
    check_tty,
    check_unit,
    check_agent,
    check_link,
    check_modem,
    check_list,
    check_faults,
    check_parts,
    check_line,
    check_gateway,
    check_data,
    check_outbox,
    check_dead_letters,
)


def sentence(error: BaseException) -> str:
    """An exception as part of a sentence: the system's own words where there are some."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words).splitlines()[0][:200]
