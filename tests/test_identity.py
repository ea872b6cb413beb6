"""A station always has a pair that works: through power cuts, refusals, a real broker's mind, and years of sleep."""

import gc
import queue
import random
import socket
import ssl
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent import est as est_module
from agent import renewal
from agent.certificates import CertificateError, Pair, new_request, read_chain
from agent.clock import Clock, ClockSource
from agent.est import EstError, EstServer
from agent.events import Link, LinkChanged, Machine, MachineTold
from agent.files import PRIVATE, Files
from agent.identity import Folder, Held, Identity, Judge, changed, installed, open_identity, requested
from agent.loop import monotonic, system_wall
from agent.network import Network
from agent.settings import Broker, ConfigError
from agent.sim.mosquitto import Mosquitto
from agent.uplink import mqtt as mqtt_module
from agent.uplink.codec import Will
from agent.uplink.mqtt import Cause, Connected, Disconnected, Mqtt, MqttConfig
from tests.pki import DAY_S, Ca
from tests.test_mqtt import Eager
from tools import devcloud
from tools.est import EstServer as EstService
from tools.est import Refused

NEEDS_MOSQUITTO = pytest.mark.needs("mosquitto", "mosquitto")
NOW_S = system_wall()
NAME = "S-1"
WILL = Will(bytes(8), bytes(8))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    devcloud.ca_init(folder)
    devcloud.ca_station(folder, NAME)
    return folder


def judge(pki: Path) -> Judge:
    return Judge(NAME, pki / "ca.pem", NOW_S, NOW_S)


def signed(ca: Ca, held: Held, days: float = 100.0, ago: float = 10.0) -> str:
    assert held.request
    return ca.signed(held.request.csr, NOW_S - ago * DAY_S, NOW_S + days * DAY_S)


def chain_of(pem: str) -> list[x509.Certificate]:
    return read_chain(pem.encode())


def first(folder: Folder, pki: Path, **times: float) -> Held:
    """A folder with a current pair."""
    folder.make()
    held = requested(folder, NAME)
    return installed(folder, chain_of(signed(Ca(pki), held, **times)), judge(pki))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


# -- files ------------------------------------------------------------------------------------------------------------


def test_the_folder_is_ours_alone_and_so_is_each_file_whatever_the_umask(pki: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "state" / "identity")
    first(folder, pki)
    requested(folder, NAME)
    assert modes(folder.path) == {"identity": 0o700, "current.pem": 0o600, "request.pem": 0o600}
    folder.path.chmod(0o755)
    folder.make()
    assert modes(folder.path)["identity"] == 0o700


def test_a_request_is_made_once_and_a_repeated_certificate_changes_nothing(pki: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "identity")
    folder.make()
    held = requested(folder, NAME)
    assert requested(folder, NAME) == held
    pem = signed(Ca(pki), held)
    once = installed(folder, chain_of(pem), judge(pki))
    assert once.current and not once.trial and not once.request
    assert installed(folder, chain_of(pem), judge(pki)) == once
    again = installed(folder, chain_of(signed(Ca(pki), requested(folder, NAME))), judge(pki))
    assert again.current == once.current and again.trial and not again.request
    with pytest.raises(CertificateError, match="another key"):
        installed(folder, chain_of(signed(Ca(pki), held_of_a_stranger())), judge(pki))


def held_of_a_stranger() -> Held:
    return Held(request=new_request(NAME))


class PowerCut(BaseException):
    """Nothing runs after it."""


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


class CutFiles(Files):
    """The power fails after `left` operations. What fsync has not covered is then kept, or lost: a file is empty, a
    name is what it was."""

    def __init__(self, left: int, *, loses: bool) -> None:
        self.left, self.loses = left, loses
        self.unsynced: list[tuple[Path, Callable[[], None]]] = []  # where a sync would cover it, how it is lost

    def _spend(self) -> None:
        if self.left == 0:
            for _, lose in reversed(self.unsynced if self.loses else []):
                lose()
            raise PowerCut
        self.left -= 1

    def write(self, path: Path, data: bytes, mode: int = PRIVATE) -> None:
        self._spend()
        super().write(path, data, mode)
        self.unsynced.append((path, lambda: put(path, data[: len(data) // 2])))

    def sync(self, path: Path) -> None:
        self._spend()
        self.unsynced = [(covered, lose) for covered, lose in self.unsynced if covered != path]

    def rename(self, source: Path, target: Path) -> None:
        self._spend()
        old, data = target.read_bytes() if target.exists() else None, source.read_bytes()
        super().rename(source, target)

        def lose() -> None:
            source.write_bytes(data)
            target.write_bytes(old) if old is not None else target.unlink()

        self.unsynced.append((target.parent, lose))

    def remove(self, path: Path) -> None:
        self._spend()
        if path.exists():
            data = path.read_bytes()
            super().remove(path)
            self.unsynced.append((path.parent, lambda: put(path, data)))


@pytest.mark.promise("S9")
@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("ending", ["promote", "go back"])
def test_a_power_cut_anywhere_in_a_rotation_leaves_a_pair_that_works(
    pki: Path, tmp_path: Path, loses: bool, ending: str
) -> None:
    ca, cuts = Ca(pki), 0
    while True:
        path = tmp_path / str(cuts)
        old = first(Folder(path), pki).current
        files = CutFiles(cuts, loses=loses)

        def rotate(files: Files, path: Path = path, ending: str = ending) -> Held:
            folder = Folder(path, files)
            if folder.load().trial is None:
                installed(folder, chain_of(signed(ca, requested(folder, NAME), days=300.0)), judge(pki))
            return changed(folder, folder.promote if ending == "promote" else folder.go_back)

        try:
            rotate(files)
        except PowerCut:
            held = Folder(path).load()
            assert held.current and held.in_use and held.problems == ()
            if held.trial is None and held.current == old:
                rotate(Files())
            elif held.trial:
                folder = Folder(path)
                held = changed(folder, folder.promote if ending == "promote" else folder.go_back)
                assert (held.current != old) == (ending == "promote") and held.trial is None
            cuts += 1
        else:
            assert cuts >= 11
            break


@pytest.mark.promise("S9")
def test_a_power_cut_while_the_config_pair_is_taken_over_leaves_that_pair(pki: Path, tmp_path: Path) -> None:
    broker = config_pair(pki)
    for cuts in range(100):
        path = tmp_path / str(cuts)
        try:
            open_identity(Folder(path, CutFiles(cuts, loses=True)), broker)
        except PowerCut:
            held = open_identity(Folder(path), broker)
            assert held.current and held.problems == ()
        else:
            break
    assert cuts > 8


def config_pair(pki: Path) -> Broker:
    mine = pki / "stations" / NAME
    return Broker("localhost", str(pki / "ca.pem"), f"{mine}.pem", f"{mine}.key")


def test_a_pair_in_the_config_file_is_taken_over_once_and_another_one_there_again(pki: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "identity")
    given = open_identity(folder, config_pair(pki)).current
    assert given and given.common_name == NAME
    installed(folder, chain_of(signed(Ca(pki), requested(folder, NAME))), judge(pki))
    folder.promote()
    renewed = open_identity(folder, config_pair(pki)).current
    assert renewed and renewed != given, "the renewed one wins over the file it came from"
    other = tmp_path / "other"
    devcloud.ca_init(other)
    devcloud.ca_station(other, NAME)
    by_hand = open_identity(folder, config_pair(other)).current
    assert by_hand not in (renewed, given, None)


@pytest.mark.promise("S9")
def test_a_config_pair_that_is_none_stops_a_new_station_and_no_old_one(pki: Path, tmp_path: Path) -> None:
    folder, good = Folder(tmp_path / "identity"), config_pair(pki)
    bad = Broker("localhost", good.ca, good.cert, str(pki / "cloud.key"))
    with pytest.raises(ConfigError, match="another key: issue the station's certificate again"):
        open_identity(folder, bad)
    held = open_identity(folder, good)
    later = open_identity(folder, bad)
    assert later.current == held.current and "another key" in later.problems[0]


@pytest.mark.promise("S9")
def test_a_damaged_file_is_one_sentence_and_the_other_pair_works(pki: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "identity")
    first(folder, pki)
    installed(folder, chain_of(signed(Ca(pki), requested(folder, NAME))), judge(pki))
    folder.current.write_bytes(folder.current.read_bytes()[:100])
    held = folder.load()
    assert held.in_use == held.trial and len(held.problems) == 1 and "PRIVATE" not in held.problems[0]


# -- a running station, with a real broker -----------------------------------------------------------------------------


@dataclass
class Known:
    machine: Machine = field(default_factory=Machine)
    clock: Clock = field(default_factory=lambda: Clock(NOW_S, 0.0, NOW_S, 0.0, ClockSource.CLOUD))
    network: Network = field(default_factory=Network)


class Desk:
    """The station around an Identity: what it is told goes round by a queue, as in agent/loop.py."""

    def __init__(self, folder: Folder, ca: Path, est: EstServer | None = None, mqtt: Mqtt | None = None) -> None:
        self.station: Any = Known()
        self.events: queue.Queue[Any] = queue.Queue()
        self.mqtt = mqtt
        self.asked: list[str] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.reports: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.identity = Identity(folder, folder.load(), NAME, ca, est, self._aside, random.Random(1))
        self.identity.attach(self)

    @property
    def facts(self) -> renewal.Facts:
        return self.identity.facts

    def connect(self, port: int, ca: Path) -> None:
        folder, held = self.identity.folder, self.identity.held
        assert held.in_use
        file = folder.trial if held.trial else folder.current
        config = MqttConfig("localhost", port, NAME, ca, file, None, held.in_use.name)
        self.mqtt = Mqtt(config, WILL, self.events.put, Eager(), monotonic)
        self.mqtt.start()

    def until(self, what: Callable[[], object]) -> None:
        """Whoever connects is greeted by the cloud at once."""
        while not what():
            if monotonic() >= self.identity.next_deadline():
                self.identity.due(monotonic())
                continue
            wait_s = min(30.0, self.identity.next_deadline() - monotonic())
            try:
                event = self.events.get(timeout=max(0.01, wait_s))
            except queue.Empty:
                assert wait_s < 30.0, f"nothing happens: {self.facts} {self.lines}"
                continue
            self.identity.took(event, monotonic())
            if isinstance(event, MachineTold):
                self.station.machine = event.machine
            if isinstance(event, Connected):
                self.identity.took(LinkChanged(Link.UP), monotonic())

    def close(self) -> None:
        if self.mqtt:
            self.mqtt.stop()
            assert self.mqtt.join(30)

    def _aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        Thread(target=lambda: then(job()), daemon=True).start()

    # -- Host

    def post(self, happening: Any) -> None:
        self.events.put(happening)

    def elsewhere(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        then(job())

    def ask(self, action: str, payload: dict[str, Any], timeout_s: float, tag: int, now: float) -> None:
        self.asked.append(payload["csr"])

    def security_event(self, kind: str, why: str, now: float) -> None:
        self.reports.append((kind, why))

    def answer(self, command_id: str, response: dict[str, Any], now: float) -> None:
        self.answers[command_id] = response

    def use(self, cert: Path, pair: str) -> None:
        if self.mqtt:
            self.mqtt.use(cert, pair)

    def drop(self, connection: int, why: str) -> None:
        assert self.mqtt
        self.mqtt.drop(connection, why)

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def broker(pki: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    ca, cert, key = (pki / name for name in ("ca.pem", "broker.pem", "broker.key"))
    broker = Mosquitto(tmp_path / "broker", cafile=ca, certfile=cert, keyfile=key)
    broker.start()
    yield broker
    broker.stop()


def wall(held: Pair | None) -> tuple[float, float]:
    assert held
    return held.not_before_s, held.not_after_s


def send(desk: Desk, pem: str, command_id: str = "C1", **more: str) -> dict[str, Any]:
    desk.identity.signed(command_id, {"certificateChain": pem, **more}, monotonic())
    desk.until(lambda: command_id in desk.answers)
    return desk.answers[command_id]


@NEEDS_MOSQUITTO
def test_a_whole_rotation_against_a_real_broker(
    pki: Path, tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "SWITCH_S", 0.1)
    resumed: list[bool] = []

    class Watched(mqtt_module.Connection):
        def serve(self, *args: Any) -> None:
            resumed.append(bool(self._sock.session_reused))  # type: ignore[attr-defined]
            super().serve(*args)

    monkeypatch.setattr(mqtt_module, "Connection", Watched)
    folder = Folder(tmp_path / "identity")
    first(folder, pki, days=30.0, ago=70.0)  # more than two thirds of its life
    desk = Desk(folder, pki / "ca.pem")
    old = desk.identity.held.current
    desk.connect(broker.port, pki / "ca.pem")
    desk.until(lambda: desk.asked)
    desk.drop(1, "for resumption's sake")
    desk.until(lambda: desk.facts.connection == 2)
    assert send(desk, Ca(pki).signed(desk.asked[0], NOW_S, NOW_S + 9e6)) == {"status": "Accepted"}
    assert desk.identity.held.current == old, "kept until the cloud has acknowledged"
    desk.until(lambda: desk.identity.held.current != old)
    assert desk.identity.held.trial is None and desk.facts.connection == 3
    assert desk.identity.held.current and desk.station.machine.certificate_expiry_s == NOW_S // 1 + 9e6
    assert modes(folder.path) == {"identity": 0o700, "current.pem": 0o600}
    assert desk.reports == [("ReconfigurationOfSecurityParameters", "the renewed certificate is in use")]
    desk.drop(3, "once more")
    desk.until(lambda: desk.facts.connection == 4)
    desk.close()
    assert resumed == [False, True, False, True], "a resumed session would go on with the old certificate"
    assert "BEGIN" not in "".join(desk.lines)


@NEEDS_MOSQUITTO
def test_a_new_certificate_that_the_broker_refuses_is_given_up_for_the_old_one(
    pki: Path, tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "SWITCH_S", 0.1)
    other, cas = Ca(name="a CA that only the station believes"), tmp_path / "cas.pem"
    cas.write_text((pki / "ca.pem").read_text() + other.pem)
    folder = Folder(tmp_path / "identity")
    first(folder, pki, days=30.0, ago=70.0)
    desk = Desk(folder, cas)
    old = desk.identity.held.current
    desk.connect(broker.port, cas)
    desk.until(lambda: desk.asked)
    assert send(desk, other.signed(desk.asked[0], NOW_S, NOW_S + 9e6)) == {"status": "Accepted"}
    desk.until(lambda: desk.reports)
    assert desk.reports[0][0] == "InvalidChargingStationCertificate" and "refused" in desk.reports[0][1]
    desk.until(lambda: desk.facts.connection is not None)
    assert desk.facts.connected_with == (old.name if old else "") and not folder.trial.exists()
    desk.close()


@pytest.mark.promise("S9")
def test_a_certificate_that_is_not_ours_is_rejected_and_reported(pki: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "identity")
    held = first(folder, pki)
    request = requested(folder, NAME)
    desk = Desk(folder, pki / "ca.pem")
    for n, (pem, more) in enumerate([
        ("rubbish", {}),
        (signed(Ca(), request), {}),
        (signed(Ca(pki), held_of_a_stranger()), {}),
        (signed(Ca(pki), request, days=-1.0), {}),
        (signed(Ca(pki), request), {"certificateType": "V2GCertificate"}),
    ]):  # fmt: skip
        answer = send(desk, pem, f"C{n}", **more)
        assert answer["status"] == "Rejected" and len(answer["statusInfo"]["reasonCode"]) <= 20
    assert {kind for kind, _ in desk.reports} == {"InvalidChargingStationCertificate"} and len(desk.reports) == 5
    assert folder.load().names == held.names
    assert send(desk, signed(Ca(pki), request), "C9") == {"status": "Accepted"}


@NEEDS_MOSQUITTO
def test_each_end_says_which_pair_it_was_and_whether_that_may_be_why(
    pki: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    stranger = tmp_path / "stranger"
    devcloud.ca_init(stranger)
    devcloud.ca_station(stranger, NAME)
    mine, theirs = config_pair(pki), config_pair(stranger)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    for port, ca, pair, cause in (
        (broker.port, pki, theirs, Cause.REFUSED),
        (broker.port, stranger, mine, Cause.UNTRUSTED),
        (closed, pki, mine, Cause.LOST),
    ):
        events: queue.Queue[Any] = queue.Queue()
        files = ca / "ca.pem", Path(pair.cert), Path(pair.key)
        mqtt = Mqtt(MqttConfig("localhost", port, NAME, *files, "name"), WILL, events.put, Eager(), monotonic)
        mqtt.start()
        ended = events.get(timeout=30)
        mqtt.stop()
        assert mqtt.join(30)
        assert isinstance(ended, Disconnected) and (ended.cause, ended.pair) == (cause, "name"), ended


@NEEDS_MOSQUITTO
def test_a_pair_that_cannot_be_loaded_is_blamed_and_the_old_one_still_works(
    pki: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    desk = Desk(Folder(tmp_path / "identity"), pki / "ca.pem")
    first(desk.identity.folder, pki)
    desk.identity.held = desk.identity.folder.load()
    desk.connect(broker.port, pki / "ca.pem")
    desk.until(lambda: desk.facts.connection == 1)
    desk.use(tmp_path / "none.pem", "none")
    desk.drop(1, "for the test")
    ended: list[Disconnected] = []
    while len(ended) < 3:
        if isinstance(said := desk.events.get(timeout=30), Disconnected):
            ended.append(said)
    assert [(event.pair, event.cause) for event in ended[1:]] == [("none", Cause.UNUSABLE)] * 2
    desk.use(desk.identity.folder.current, "current")
    while not isinstance(event := desk.events.get(timeout=30), Connected):
        pass
    assert event.pair == "current"
    desk.close()


# -- a station that slept past its certificate -------------------------------------------------------------------------


def signer(pki: Path, start_s: float = NOW_S - DAY_S, end_s: float = NOW_S + 9e6) -> Any:
    def sign(name: str, csr: x509.CertificateSigningRequest) -> list[x509.Certificate]:
        assert name == NAME
        return chain_of(Ca(pki).signed(csr.public_bytes(Encoding.PEM).decode(), start_s, end_s))

    return sign


@pytest.fixture
def est(pki: Path) -> Iterator[EstService]:
    service = EstService(pki / "ca.pem", pki / "broker.pem", pki / "broker.key", signer(pki))
    service.start()
    yield service
    service.stop()


def url(port: int) -> str:
    return f"https://localhost:{port}"


@NEEDS_MOSQUITTO
def test_an_expired_station_gets_a_certificate_from_the_est_server_and_then_its_broker(
    pki: Path, tmp_path: Path, est: EstService, broker: Mosquitto
) -> None:
    folder = Folder(tmp_path / "identity")
    expired_folder(folder, pki)
    desk = Desk(folder, pki / "ca.pem", EstServer(url(est.port), pki / "ca.pem"))
    desk.connect(broker.port, pki / "ca.pem")
    desk.until(lambda: desk.identity.held.current and desk.identity.held.current.not_after_s > NOW_S)
    assert desk.facts.is_up and not folder.trial.exists()
    desk.close()


def expired_folder(folder: Folder, pki: Path) -> None:
    folder.make()
    pem = signed(Ca(pki), requested(folder, NAME), days=-10.0, ago=100.0)
    installed(folder, chain_of(pem), Judge(NAME, pki / "ca.pem", NOW_S - 50 * DAY_S, None))


def test_the_est_server_may_refuse_and_answer_nonsense_and_we_grow_patient(pki: Path, tmp_path: Path) -> None:
    answers: list[Any] = [Refused("stolen"), signer(pki, NOW_S - 9e6, NOW_S - 1.0), signer(pki)]

    def sign(name: str, csr: x509.CertificateSigningRequest) -> list[x509.Certificate]:
        answer = answers.pop(0)
        if isinstance(answer, Refused):
            raise answer
        return list(answer(name, csr))

    service = EstService(pki / "ca.pem", pki / "broker.pem", pki / "broker.key", sign)
    service.start()
    folder = Folder(tmp_path / "identity")
    expired_folder(folder, pki)
    desk = Desk(folder, pki / "ca.pem", EstServer(url(service.port), pki / "ca.pem"))
    desk.identity._rng = Eager()
    desk.until(lambda: desk.identity.held.trial)
    service.stop()
    assert answers == [] and "answers 403" in "".join(desk.lines)
    assert desk.reports[0][0] == "InvalidChargingStationCertificate" and "expired" in desk.reports[0][1]


@pytest.mark.promise("S9", "S10")
def test_a_hostile_est_server_is_one_sentence_in_bounded_time(
    pki: Path, tmp_path: Path, est: EstService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(est_module, "SILENT_S", 0.5)
    folder = Folder(tmp_path / "identity")
    expired_folder(folder, pki)
    csr = new_request(NAME).csr

    def asked(port: int, ca: Path = pki / "ca.pem", whole_s: float = 5.0) -> str:
        with pytest.raises(EstError) as error:
            EstServer(url(port), ca).reenroll(folder.current, csr, whole_s)
        assert "\n" not in str(error.value)
        return str(error.value)

    stranger = tmp_path / "stranger.pem"
    stranger.write_text(Ca().pem)
    assert "CERTIFICATE_VERIFY_FAILED" in asked(est.port, stranger)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "broker.pem", pki / "broker.key")
    # Servers' sockets are not ours; ssl itself forgets one whose client is gone before it is wrapped.
    servers = {f"laddr={('127.0.0.1', est.port)}"}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for said, whole_s, why in (
            (b"", 5.0, "localhost"),
            (b"SSH-2.0\r\n", 5.0, "SSH"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"A" * 200_000, 5.0, "more than a certificate"),
            (b"HTTP/1.1 202 Accepted\r\nRetry-After: 600\r\n\r\n", 5.0, "answers 202"),
            (None, 5.0, "timed out"),  # accepts, and says nothing
            (b"drip", 0.3, "localhost"),
        ):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                Thread(target=hostile, args=(listener, context, said), daemon=True).start()
                servers.add(f"laddr={listener.getsockname()}")
                begun = monotonic()
                assert why in asked(listener.getsockname()[1], whole_s=whole_s)
                assert monotonic() - begun < 4.0
        gc.collect()
    left = [str(warning.message) for warning in seen]
    assert [each for each in left if not any(server in each for server in servers)] == [], "no socket is left open"


def hostile(listener: socket.socket, context: ssl.SSLContext, said: bytes | None) -> None:
    try:
        with listener.accept()[0] as talk:
            if said is None:
                while talk.recv(10_000):
                    pass
                return
            with context.wrap_socket(talk, server_side=True) as secured:
                secured.recv(10_000)
                if said == b"drip":
                    while True:
                        secured.sendall(b"H")
                        Event().wait(0.05)
                secured.sendall(said)
                secured.recv(10_000)
    except OSError:
        pass


def test_a_retry_after_is_obeyed_within_reason() -> None:
    assert [est_module.retry_after_s(said) for said in ("600", "9" * 9, "-5", "soon", "", "9" * 5_000)] == [
        600.0, 86_400.0, 0.0, 0.0, 0.0, 0.0,
    ]  # fmt: skip
