"""`station-agent run` gets its identity, renews it and learns new operator keys: a real process, mosquitto, the
reference cloud's own code for everything but the certificate.
"""

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.effects import Save
from agent.identity import Folder, folder_of
from agent.loop import monotonic, system_wall
from agent.outbox import Database
from agent.sim.mosquitto import Mosquitto
from agent.uplink.codec import VolatileAnswer, decode_request, encode_response
from tests.listener import Listener
from tests.pki import DAY_S, Ca
from tests.process import CONFIG, STATION_ID, Agent, started_box, until, write_files
from tools import devcloud
from tools.cloud import cloud
from tools.cloud.commands import transfer
from tools.cloud.pki import read_operator
from tools.cloud.referee import schema_fault

TIMEOUT_S = 30.0
BROKER = """
[broker]
host = "localhost"
port = {port}
ca = "pki/ca.pem"
[operator]
"operator" = "pki/operator.pub"
"""


class Cloud:
    """The reference cloud on this thread, and a CA that signs what is asked for."""

    def __init__(self, pki: Path, port: int) -> None:
        self.csrs: list[str] = []
        self.operator = read_operator(pki)
        self.ledger = devcloud.Ledger(":memory:")
        self.cloud = cloud.Cloud(self.ledger, self.operator)
        self.mqtt = Listener(pki, port)

    def until(self, what: Callable[[], object]) -> None:
        """Be the cloud, until then."""
        give_up_at = monotonic() + TIMEOUT_S
        while not what():
            assert monotonic() < give_up_at, self.ledger.report()
            try:
                topic, payload = self.mqtt.heard.get(timeout=0.05)
            except queue.Empty:
                self._send([*self.cloud.acks(now_ms()), *self.cloud.due(now_ms())])
                continue
            if topic == f"u/{STATION_ID}/v" and (request := decode_request(payload)).action == "SignCertificate":
                assert schema_fault("SignCertificateRequest", request.payload) is None
                self.csrs.append(request.payload["csr"])
                answer = VolatileAnswer(request.request_id, {"status": "Accepted"})
                self.mqtt.say(f"d/{STATION_ID}/v", encode_response(answer))
            else:
                self._send(self.cloud.receive(topic, payload, now_ms()))

    def _send(self, messages: list[Any]) -> None:
        for message in messages:
            self.mqtt.say(message.topic, message.payload, 1)

    def command(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Its CommandResult."""
        command_id = self.ledger.commands.add(STATION_ID, action, payload, now_ms() + 600_000)
        self.until(lambda: self.ledger.commands.result(command_id)[1] is not None)
        return dict(self.ledger.commands.result(command_id)[1] or {})

    def security_events(self) -> list[str]:
        return [record.payload["type"] for _, record in self.ledger.records(STATION_ID, "SecurityEventNotification")]

    def close(self) -> None:
        self.mqtt.close()
        self.ledger.close()


def now_ms() -> int:
    return int(system_wall() * 1000)


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder, self.pki = folder, folder / "pki"
        devcloud.ca_init(self.pki)
        ca, cert, key = (self.pki / name for name in ("ca.pem", "broker.pem", "broker.key"))
        self.broker = Mosquitto(folder / "broker", cafile=ca, certfile=cert, keyfile=key)
        self.broker.start()
        self.box, _ = started_box(folder)
        self.board, self.config = write_files(folder, self.box)
        self.config.write_text(CONFIG.format(station_id=STATION_ID) + BROKER.format(port=self.broker.port))
        self.identity: Folder = folder_of(folder / "state")
        self.agents: list[Agent] = []
        self.cloud = Cloud(self.pki, self.broker.port)

    def agent(self) -> Agent:
        self.agents.append(Agent(self.folder, self.board, self.config))
        return self.agents[-1]

    def typed(self, *words: str) -> int:
        return cli.main([*words, "--board", str(self.board), "--config", str(self.config)])

    def signed(self, csr: str, days_ago: float, days: float) -> Path:
        path = self.folder / "signed.pem"
        path.write_text(Ca(self.pki).signed(csr, system_wall() - days_ago * DAY_S, system_wall() + days * DAY_S))
        return path

    def close(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait(5.0)
        self.cloud.close()
        self.box.close()
        self.broker.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.needs("mosquitto", "mosquitto")
@pytest.mark.promise("S2")
def test_from_no_identity_to_a_renewed_one(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    agent, cloud = site.agent(), site.cloud
    until(agent.status)
    until(site.identity.request.exists)
    assert "station-agent csr" in agent.log(), "it says what it lacks"
    assert site.typed("csr") == 0
    out = capsys.readouterr()
    assert out.out.startswith("-----BEGIN CERTIFICATE REQUEST") and "station-agent certificate FILE" in out.err
    agent.end()
    assert site.typed("csr") == 0 and capsys.readouterr().out == out.out, "the same one without an agent"

    assert site.typed("certificate", str(site.pki / "broker.pem")) == 2
    assert "belongs to another key" in capsys.readouterr().err
    assert site.typed("certificate", str(site.signed(out.out, 80.0, 20.0))) == 0
    assert "type systemctl restart station-agent" in capsys.readouterr().out
    first = site.identity.load().current
    agent = site.agent()
    cloud.until(lambda: cloud.csrs)
    assert agent.is_free(1) or agent.status()

    pem = site.signed(cloud.csrs[-1], 0.0, 100.0).read_text()
    request = {"certificateChain": pem, "certificateType": "ChargingStationCertificate"}
    done = cloud.command("CertificateSigned", request)
    assert (done["status"], done["response"]) == ("Done", {"status": "Accepted"})
    assert site.identity.load().current == first and site.identity.load().trial
    agent.end()  # the power may fail here: the pair on trial is used, and kept once the cloud has acknowledged
    agent = site.agent()
    cloud.until(lambda: not site.identity.trial.exists())
    renewed = site.identity.load().current
    assert renewed and renewed != first
    rejected = cloud.command("CertificateSigned", {"certificateChain": site.signed(out.out, 0.0, 1.0).read_text()})
    assert rejected["response"]["status"] == "Rejected"
    cloud.until(lambda: "InvalidChargingStationCertificate" in cloud.security_events())
    assert "ReconfigurationOfSecurityParameters" in cloud.security_events()
    assert "PRIVATE" not in agent.log()


@pytest.mark.needs("mosquitto", "mosquitto")
@pytest.mark.promise("S2", "S9")
def test_the_operator_changes_its_key_and_the_old_one_counts_no_more(site: Site) -> None:
    devcloud.ca_station(site.pki, STATION_ID)
    mine = f'cert = "pki/stations/{STATION_ID}.pem"\nkey = "pki/stations/{STATION_ID}.key"\n[operator]'
    site.config.write_text(site.config.read_text().replace("[operator]", mine))
    agent, cloud = site.agent(), site.cloud
    new, old = cloud.operator.make(), cloud.operator.first_id
    request = transfer("OperatorKeys", {"add": [cloud.operator.entry(new)], "retire": [old.hex()]})
    assert cloud.command("DataTransfer", request)["response"] == {"status": "Accepted"}
    empty = transfer("OperatorKeys", {"retire": [new.hex()]})
    assert cloud.command("DataTransfer", empty)["response"]["status"] == "Rejected"
    agent.end()
    agent = site.agent()
    assert cloud.command("GetLocalListVersion", {})["status"] == "Done", "after a restart, too"
    assert agent.status()["operator_keys"] == [new.hex()]
    with cloud.ledger.db.transaction():
        cloud.ledger.db.execute("UPDATE station SET key_id = NULL")  # it signs with the old one again
    cloud.ledger.commands.add(STATION_ID, "ClearCache", {}, now_ms() + 600_000)
    cloud.until(lambda: "InvalidMessages" in cloud.security_events())


@pytest.mark.needs("mosquitto", "mosquitto")
def test_a_clock_below_the_floor_is_reported_and_without_the_helper_the_station_connects_all_the_same(
    site: Site, tmp_path: Path
) -> None:
    devcloud.ca_station(site.pki, STATION_ID)
    mine = f'cert = "pki/stations/{STATION_ID}.pem"\nkey = "pki/stations/{STATION_ID}.key"\n[operator]'
    site.config.write_text(site.config.read_text().replace("[operator]", mine))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    database = Database(state / "station.db", bytes(8))
    database.commit([Save("station", {"floor_s": system_wall() + 5_000.0})])
    database.close()
    agent = site.agent()
    site.cloud.until(lambda: "SettingSystemTime" in site.cloud.security_events())
    assert "asked to raise it: the clock helper is not there" in agent.log()
