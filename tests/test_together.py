"""The real agent, mosquitto and the reference cloud's own process, together: what each has promised to the other."""

import asyncio
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from agent import listing, network
from agent.app import App
from agent.board import load, load_config
from agent.clock import BUILD_S
from agent.events import Link
from agent.identity import Folder, folder_of
from agent.listtool import opened
from agent.loop import Inbox, Loop, system_wall
from agent.network import Network
from agent.sim.box import Box
from agent.sim.mosquitto import Mosquitto, free_port
from agent.uplink import backoff
from agent.uplink.keepalive import START_S
from agent.uplink.mqtt import Mqtt
from tests.pki import DAY_S, Ca
from tests.process import CONFIG, STATION_ID, TIMEOUT_S, Agent, started_box, until, write_files
from tools import devcloud
from tools.cloud.database import open_database
from tools.cloud.ledger import Ledger

pytestmark = [pytest.mark.needs("mosquitto", "mosquitto"), pytest.mark.timeout(90)]

SCRIPT = Path(devcloud.__file__)
BROKER = """
[broker]
host = "localhost"
port = {port}
ca = "pki/ca.pem"
{more}
[operator]
"operator" = "pki/operator.pub"
"""


class Cloud:
    """`devcloud serve` at one broker, and its command line."""

    def __init__(self, folder: Path, pki: Path, port: int, *more: str) -> None:
        self.pki, self.db = pki, folder / f"cloud-{port}.db"
        self.log_path = folder / f"cloud-{port}.log"
        serve = ["serve", "--pki", str(pki), "--db", str(self.db), "--port", str(port), *more]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, str(SCRIPT), *serve], stdout=log, stderr=log)
        until(lambda: "serving" in self.log())

    def log(self) -> str:
        return self.log_path.read_text()

    def typed(self, *words: str) -> tuple[int, str]:
        """Exit code and output of `devcloud WORDS`."""
        command = [sys.executable, str(SCRIPT), words[0], "--db", str(self.db), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def security_events(self) -> list[dict[str, Any]]:
        ledger = Ledger(self.db)
        found = [record.payload for _, record in ledger.records(STATION_ID, "SecurityEventNotification")]
        ledger.close()
        return found

    def told(self, text: str) -> bool:
        return any(text in event.get("techInfo", "") for event in self.security_events())

    def station(self) -> dict[str, Any]:
        """What the ledger counts against it, if it is known."""
        stations: dict[str, Any] = json.loads(self.typed("ledger", "--json")[1])["stations"]
        return dict(stations.get(STATION_ID, {}))

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log()


class Place:
    """A station's box, its folder, a CA; brokers and clouds as the story needs them."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self.folder, self.pki, self._undo = folder, folder / "pki", undo
        devcloud.ca_init(self.pki)
        self.box: Box = undo.enter_context(closing(started_box(folder)[0]))
        self.board, self.config = write_files(folder, self.box)
        self.identity: Folder = folder_of(folder / "state")

    def broker(self, name: str = "broker", pki: Path | None = None, clients: Path | None = None) -> Mosquitto:
        """`pki`: whose certificate it has; `clients`: the CA whose stations it lets in."""
        pki = pki or self.pki
        ca, cert, key = clients or pki / "ca.pem", pki / "broker.pem", pki / "broker.key"
        broker = Mosquitto(self.folder / name, cafile=ca, certfile=cert, keyfile=key)
        broker.start()
        self._undo.callback(broker.stop)
        return broker

    def cloud(self, broker: Mosquitto, *more: str) -> Cloud:
        cloud = Cloud(self.folder, self.pki, broker.port, *more)
        self._undo.callback(cloud.close)
        return cloud

    def certified(self, days_ago: float, days: float) -> None:
        """The station's own pair, valid from and until then."""
        key = self.pki / "stations" / f"{STATION_ID}.key"
        devcloud.ca_station(self.pki, STATION_ID)
        csr = csr_of(key)
        pem = Ca(self.pki).signed(csr, system_wall() - days_ago * DAY_S, system_wall() + days * DAY_S)
        key.with_suffix(".pem").write_text(pem)

    def configure(self, broker: Mosquitto, *more: str) -> None:
        pair = f'cert = "pki/stations/{STATION_ID}.pem"\nkey = "pki/stations/{STATION_ID}.key"'
        text = BROKER.format(port=broker.port, more="\n".join((pair, *more)))
        self.config.write_text(CONFIG.format(station_id=STATION_ID) + text)

    def home(self, *more: str) -> tuple[Mosquitto, Cloud]:
        """A broker with a cloud, and the station configured for it with a pair that is good for long."""
        self.certified(1.0, 100.0)
        broker = self.broker()
        cloud = self.cloud(broker, *more)
        self.configure(broker)
        return broker, cloud

    def agent(self) -> Agent:
        agent = Agent(self.folder, self.board, self.config)
        self._undo.callback(killed, agent)
        return agent

    def running(self) -> "Running":
        running = Running(self.board, self.config)
        self._undo.callback(running.close)
        return running


def csr_of(key_path: Path) -> str:
    key = load_pem_private_key(key_path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, STATION_ID)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def killed(agent: Agent) -> None:
    if agent.process.poll() is None:
        agent.process.kill()
        agent.process.wait(5.0)


class Running:
    """App and Loop on a thread of their own: a station whose patience a test may shorten."""

    def __init__(self, board: Path, config: Path) -> None:
        self.folder, self._files = config.parent, (board, config)
        self._built: queue.SimpleQueue[tuple[App, Loop]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="loop")
        self._thread.start()
        self.app, self.loop = self._built.get(timeout=TIMEOUT_S)

    async def _live(self) -> None:
        inbox = Inbox()
        app = App(load(self._files[0]), load_config(self._files[1]), inbox)
        loop = Loop(app, inbox)
        self._built.put((app, loop))
        try:
            await loop.run()
        finally:
            app.close()

    @property
    def network(self) -> Network:
        return self.app.shell.station.network

    def is_up(self) -> bool:
        return self.app.shell.station.link is Link.UP

    def hang_up(self) -> None:
        self.app.broker.drop(self.app.shell._connection, "next")

    def close(self) -> None:
        self.loop.stop()
        self._thread.join(10.0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as undo:
        yield Place(tmp_path, undo)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for another try."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.1)
    monkeypatch.setattr(backoff, "BASE_S", 0.1)
    monkeypatch.setattr(backoff, "CAP_S", 0.2)


# -- another broker ----------------------------------------------------------------------------------------------------


def named(cloud: Cloud, port: int, slot: int = 1) -> str:
    """SetNetworkProfile, from the command line."""
    return cloud.typed("network", STATION_ID, f"mqtts://localhost:{port}", "--slot", str(slot), "--wait")[1]


@pytest.mark.promise("S9")
def test_a_station_moves_to_the_broker_that_the_cloud_names_and_back_when_told(place: Place, hasty: None) -> None:
    home, old = place.home()
    other = place.broker("other")
    new = place.cloud(other)
    station = place.running()
    until(station.is_up)
    assert '"Accepted"' in named(old, other.port)
    assert station.network.via == 0 and not new.station(), "the connection that stands goes on"
    home.stop()
    until(lambda: new.told("network profile 1"))
    assert (station.network.proven, station.network.trying) == (1, None)
    station.close()

    home.start()
    station = place.running()
    until(station.is_up)
    assert station.network.via == 1, "it was proven, and stays so over a restart"
    way_back = new.typed("set", STATION_ID, "OCPPCommCtrlr.NetworkConfigurationPriority=0,1", "--wait")
    assert way_back[0] == 0, way_back
    other.stop()
    until(lambda: old.told("network profile 0 (the config file) is in use"))


@pytest.mark.promise("S9")
@pytest.mark.parametrize("wrong", ["dead", "a stranger's", "of another CA for clients", "without a cloud"])
def test_a_broker_that_was_named_by_mistake_is_no_way_out_of_reach(
    place: Place, hasty: None, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.5)
    devcloud.ca_init(place.folder / "stranger")
    stranger = place.folder / "stranger"
    match wrong:
        case "dead":
            port = free_port()
        case "a stranger's":
            port = place.broker("other", stranger).port
        case "of another CA for clients":
            port = place.broker("other", clients=stranger / "ca.pem").port
        case _:
            port = place.broker("other").port
    _, cloud = place.home()
    station = place.running()
    until(station.is_up)
    assert '"Accepted"' in named(cloud, port)
    pair = place.identity.current.read_bytes()
    station.hang_up()
    until(lambda: cloud.told(f"network profile 1 (localhost:{port}) has failed 3 times: back to network profile 0"))
    assert (station.network.order, station.network.via) == ((0,), 0)
    assert station.app.identity and station.app.identity.facts.refusals == 0 and not place.identity.request.exists()
    assert place.identity.current.read_bytes() == pair, "it was the broker that was wrong, not the certificate"
    assert "InvalidCsmsCertificate" in [event["type"] for event in cloud.security_events()] or wrong != "a stranger's"


@pytest.mark.long
@pytest.mark.promise("S9")
def test_the_way_back_is_found_over_kills(place: Place) -> None:
    _, cloud = place.home()
    agent = place.agent()
    until(lambda: agent.status().get("link") == "up")
    assert '"Accepted"' in named(cloud, free_port())
    for _ in range(2):
        killed(agent)
        tries = agent.log().count("cannot connect")
        agent = place.agent()
        until(lambda tries=tries, log=agent.log: log().count("cannot connect") > tries)  # type: ignore[misc]
    until(lambda: cloud.told("has failed 3 times"), 60.0)


def test_what_the_network_has_taught_is_known_after_a_restart(place: Place) -> None:
    _, cloud = place.home()
    station = place.running()
    assert isinstance(station.app.broker, Mqtt) and station.app.broker.learned_keepalive_s == START_S
    station.app.broker.keepalive.learned_s = 540.0
    until(station.is_up)
    cloud.typed("list", STATION_ID, "--ask", "--wait")  # its result is written, and with it
    until(lambda: station.app.shell._keepalive_s == 540.0)
    station.close()
    assert place.running().app.broker.learned_keepalive_s == 540.0


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S2")
def test_a_certificate_is_renewed_by_the_cloud_before_it_ends_and_once(place: Place) -> None:
    place.certified(80.0, 20.0)
    broker = place.broker()
    cloud = place.cloud(broker, "--cert-days", "1")
    place.configure(broker)
    agent = place.agent()
    until(place.identity.trial.exists)
    until(lambda: "CertificateSigned" in cloud.typed("results", STATION_ID)[1])
    broker.kill()  # else the old connection stands for a minute
    broker.start()
    until(lambda: not place.identity.trial.exists(), 30.0)
    renewed = place.identity.load().current
    assert renewed and renewed.not_after_s < system_wall() + DAY_S
    until(lambda: cloud.told("the renewed certificate is in use"))
    assert agent.status()["link"] == "up" and not place.identity.request.exists()
    (line,) = [line for line in cloud.typed("results", STATION_ID)[1].splitlines() if "CertificateSigned" in line]
    assert line.endswith("Done Accepted"), "one renewal, not one after the other"
    assert not cloud.station()["violations"]


@pytest.mark.promise("S2")
def test_a_station_that_slept_past_its_certificate_comes_back_through_enrol(place: Place) -> None:
    place.certified((system_wall() - BUILD_S) / DAY_S + 90.0, (BUILD_S - system_wall()) / DAY_S - 1.0)
    broker, port = place.broker(), free_port()
    cloud = place.cloud(broker, "--enrol", str(port), "--cert-days", "30")
    place.configure(broker, f'enrol = "https://localhost:{port}"')
    agent = place.agent()
    until(lambda: agent.status().get("link") == "up")
    until(lambda: cloud.told("the renewed certificate is in use"))
    assert f"a certificate for {STATION_ID}, who came to enrol again" in cloud.log()
    current = place.identity.load().current
    assert current and system_wall() + 29 * DAY_S < current.not_after_s < system_wall() + 31 * DAY_S


def test_renewal_is_triggered_from_the_command_line(place: Place) -> None:
    _, cloud = place.home("--cert-days", "30")
    agent = place.agent()
    until(lambda: agent.status().get("link") == "up")
    code, said = cloud.typed("trigger", STATION_ID, "SignChargingStationCertificate", "--wait")
    assert code == 0 and '"Accepted"' in said
    until(place.identity.trial.exists)


@pytest.mark.promise("S2", "S9")
def test_the_operators_key_rolls_over_from_the_command_line(place: Place) -> None:
    _, cloud = place.home()
    agent = place.agent()
    until(lambda: agent.status().get("link") == "up")
    (old,) = agent.status()["operator_keys"]
    pki = ("--pki", str(place.pki), "--wait")
    assert cloud.typed("keys", STATION_ID, *pki)[0] == 0
    assert len(agent.status()["operator_keys"]) == 2
    assert cloud.typed("keys", STATION_ID, *pki, "--retire")[0] == 0, "signed by the new one"
    (new,) = agent.status()["operator_keys"]
    assert new != old
    assert cloud.typed("list", STATION_ID, "--ask", "--wait")[0] == 0
    assert not cloud.station()["violations"]


def test_enrol_without_a_ca_or_on_a_taken_port_is_one_sentence(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serve = [sys.executable, str(SCRIPT), "serve", "--db", str(place.folder / "x.db"), "--pki", str(place.pki)]
        for port in (str(taken.getsockname()[1]), "70000"):
            done = subprocess.run([*serve, "--enrol", port], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 2 and done.stderr.startswith("devcloud: no EST server")
            assert len(done.stderr.splitlines()) == 1
        (place.pki / "ca.key").unlink()
        done = subprocess.run([*serve, "--enrol", "0"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "holds no CA" in done.stderr


# -- the allowlist -----------------------------------------------------------------------------------------------------

ANN, BOB, EVE = "04A1A1A1", "04B2B2B2", "04E5E5E5"


@pytest.fixture
def curious(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A station that asks for its list soon after each connection."""
    monkeypatch.setattr(listing, "PLACES_S", 0.1)
    monkeypatch.setattr(listing, "AGAIN_S", 3.0)


def listed(running: Running, id_token: str) -> str:
    """What the list in force says of a card; from a copy, for the list's own file belongs to the loop's thread."""
    with opened(running.folder / "state", running.app.lists.facts) as lists:
        found, _ = lists.lookup(id_token, 0.0, 0.0)
    return str(found.status) if found else "not listed"


@pytest.mark.promise("S5")
def test_a_station_that_was_away_hears_what_has_changed_when_it_comes_back(place: Place, curious: None) -> None:
    _, cloud = place.home()
    cloud.typed("allow", "--add", ANN)
    running = place.running()
    until(lambda: listed(running, ANN) == "Accepted")
    cloud.typed("allow", "--add", BOB)
    until(lambda: listed(running, BOB) == "Accepted")
    running.close()
    cloud.typed("remove", ANN)
    cloud.typed("allow", "--add", EVE)
    running = place.running()
    assert listed(running, ANN) == "Accepted", "nobody has told it yet"
    until(lambda: listed(running, EVE) == "Accepted")
    assert (listed(running, ANN), listed(running, BOB)) == ("Invalid", "Accepted"), "it can say that she was removed"
    code, said = cloud.typed("get", STATION_ID, "LocalAuthListCtrlr.Entries", "LocalAuthListCtrlr.Freshness", "--wait")
    assert code == 0 and '"3"' in said and '"Fresh"' in said


@pytest.mark.promise("S4")
def test_a_list_that_is_not_what_the_cloud_has_is_found_and_mended_by_its_buckets(place: Place, curious: None) -> None:
    broker, cloud = place.home()
    (place.folder / "many.csv").write_text("idToken\n" + "".join(f"04{i:06X}\n" for i in range(3_000)))
    cloud.typed("allow", str(place.folder / "many.csv"))
    running = place.running()
    until(lambda: running.app.lists.state.entries == 3_000)
    cloud.close()
    with closing(open_database(cloud.db)) as db, db.transaction():  # behind everybody's back: no version says so
        db.execute("UPDATE driver SET status = 'Blocked' WHERE id_token = '04000007'")
    cloud = place.cloud(broker)
    running.hang_up()
    until(lambda: listed(running, "04000007") == "Blocked")
    sent = [one.payload for one in Ledger(cloud.db).commands.of(STATION_ID, 20) if one.action == "SendLocalList"]
    mend = next(each for each in reversed(sent) if "buckets" in each["customData"])  # after it the station asks again
    assert len(mend["customData"]["buckets"]) == 1 and len(mend["localAuthorizationList"]) < 50
    assert listed(running, "04000008") == "Accepted" and running.app.lists.state.entries == 3_000
