"""Five hundred stations on one broker: it restarts, nobody hurries, nothing is lost.

The stations are light: paho, their certificates, a few records. How long each waits before it connects again is the
station's own back-off, so that what is measured here is what a fleet does.
"""

import random
import resource
import selectors
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from agent.loop import monotonic
from agent.sim.mosquitto import Mosquitto
from agent.uplink.backoff import Backoff
from tests.test_devcloud import CloudProcess, batch, hello, run, session_records
from tools.cloud import pki as certificates
from tools.cloud.ledger import Ledger

STATIONS = 500
LENGTH = 4                              # records of a session; one session before the restart, one during it
BACK = 0.95                             # the window of the return ends when so many are there
STOOD_S = 3_600.0                       # how long the connections had stood, as far as the back-off knows
REMIND_S = 5.0
TIMEOUT_S = 60.0


@dataclass
class LightStation:
    """Says hello, then what the cloud's marks lack; comes back when its back-off says so."""

    name: str
    context: ssl.SSLContext
    port: int
    backoff: Backoff
    selector: selectors.BaseSelector
    connected: Callable[[float], None]
    due_at: float | None = 0.0          # of the next attempt; None while connected
    tried_at: float = 0.0               # when the last attempt was due: how late this machine was is not the fleet's
    connection: int = 0
    high: int = 0                       # what the cloud has acknowledged
    owed: int = LENGTH
    client: mqtt.Client | None = None
    sock: Any = None                    # that we listen on

    def bodies(self) -> list[bytes]:
        return [b for n in range(2) for b in session_records(LENGTH, transaction_id=f"{self.name}-{n}")]

    def connect(self, now: float) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, self.name, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.tls_set_context(self.context)
        client.on_connect = self.subscribe
        client.on_subscribe = lambda *_: self.greet()
        client.on_message = lambda _c, _u, message: self.hear(message)
        client.on_disconnect = self.lost
        assert self.due_at is not None
        self.client, self.tried_at, self.due_at = client, self.due_at, None
        try:
            client.connect("localhost", self.port, keepalive=240)
        except OSError:
            self.due_at = now + self.backoff.next_s(0.0)
        else:
            self.sock = client.socket()
            self.selector.register(self.sock, selectors.EVENT_READ, self)

    def subscribe(self, client: Any, *_: object) -> None:
        self.connected(self.tried_at)
        client.subscribe(f"d/{self.name}/#", qos=1)

    def greet(self) -> None:
        self.connection += 1
        self.say("h", hello(self.connection))

    def remind(self) -> None:
        """Hello again where the cloud has not answered, or not acknowledged: it may have been away."""
        if self.client and self.due_at is None and self.client.is_connected() and self.high < self.owed:
            self.say("h", hello(self.connection))

    def say(self, channel: str, content: bytes) -> None:
        assert self.client
        self.client.publish(f"u/{self.name}/{channel}", content, qos=1)

    def hear(self, message: mqtt.MQTTMessage) -> None:
        if message.topic[-1] != "a":
            return
        marks = cbor2.loads(bytes(message.payload))[1]
        if 0 in marks:
            assert not marks[0][1]
            is_greeting = len(marks) == 5                   # it may take marks back
            self.high = marks[0][0] if is_greeting else max(self.high, marks[0][0])
            if self.high < self.owed:
                self.say("0", batch(self.high + 1, *self.bodies()[self.high : self.owed]))

    def lost(self, *_: object) -> None:
        """Also noticed while we write."""
        self.due_at = monotonic() + self.backoff.next_s(STOOD_S)
        if self.sock is not None:
            self.selector.unregister(self.sock)
            self.sock = None

    def serve(self, sock: Any) -> None:
        assert self.client
        self.client.loop_read()
        while self.client.socket() is not None and sock.pending():
            self.client.loop_read()


class Fleet:
    def __init__(self, pki: Path, port: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.connects: list[float] = []
        rng = random.Random(9)
        self.stations = []
        for n in range(STATIONS):
            name = f"FLEET-{n:04d}"
            backoff = Backoff(random.Random(rng.random()).uniform)
            station = LightStation(name, context(pki, name), port, backoff, self.selector, self.note)
            station.due_at = monotonic() + backoff.first_s()
            self.stations.append(station)

    def note(self, tried_at: float) -> None:
        self.connects.append(tried_at)

    def until(self, what: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        give_up_at = monotonic() + timeout_s
        remind_at = monotonic() + REMIND_S
        while not what():
            assert monotonic() < give_up_at, Counter((s.high, s.due_at is None) for s in self.stations)
            for key, _ in self.selector.select(0.02):
                key.data.serve(key.fileobj)
            now = monotonic()
            for station in self.stations:
                if station.due_at is not None and now >= station.due_at:
                    station.connect(now)
                elif station.client and station.client.want_write():
                    station.client.loop_write()
            if now >= remind_at:
                remind_at = now + REMIND_S
                for station in self.stations:
                    station.remind()


def context(pki: Path, name: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    made.load_cert_chain(pki / "stations" / f"{name}.pem", pki / "fleet.key")
    return made


def issue(pki: Path) -> None:
    """One key for all: what is tested here is not the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificates.write_key(pki / "fleet.key", key)
    ca_key = certificates.read_ca_key(pki)
    (pki / "stations").mkdir()
    for n in range(STATIONS):
        name = f"FLEET-{n:04d}"
        pem = certificates.certificate(name, key.public_key(), certificates.CA_NAME, ca_key)
        (pki / "stations" / f"{name}.pem").write_bytes(pem)


@pytest.mark.long
@pytest.mark.needs("mosquitto")
@pytest.mark.promise("S2")
def test_five_hundred_stations_come_back_one_by_one_when_their_broker_restarts(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4_096)), hard))     # the broker inherits it
    pki, db = tmp_path / "pki", tmp_path / "cloud.db"
    run("ca", "init", pki)
    issue(pki)
    broker = Mosquitto(
        tmp_path / "broker", cafile=pki / "ca.pem", certfile=pki / "broker.pem", keyfile=pki / "broker.key"
    )
    broker.start()
    clouds = [CloudProcess(pki, db, broker.port, name) for name in ("devcloud-1", "devcloud-2")]
    try:
        for cloud in clouds:
            cloud.wait_for("serving")
        fleet = Fleet(pki, broker.port)
        fleet.until(lambda: all(station.high == LENGTH for station in fleet.stations))
        for station in fleet.stations:
            station.owed = 2 * LENGTH                                           # what happens while it is away
        broker.stop()
        fleet.until(lambda: all(station.due_at is not None for station in fleet.stations))
        fleet.connects.clear()
        starter = threading.Thread(target=broker.start)     # the fleet goes on trying meanwhile
        starter.start()
        fleet.until(lambda: bool(fleet.connects))
        starter.join()
        fleet.until(lambda: all(station.high == 2 * LENGTH for station in fleet.stations))
    finally:
        ended = [cloud.end(signal.SIGTERM) for cloud in clouds]
        broker.stop()
    assert ended == [0, 0]
    times = sorted(at - min(fleet.connects) for at in fleet.connects)
    window_s = times[int(STATIONS * BACK)]
    peak = max(Counter(map(int, times)).values())
    mean = STATIONS * BACK / window_s
    print(f"peak {peak}, mean {mean:.0f} connects/s in {window_s:.1f} s, all after {times[-1]:.1f} s")
    assert len(times) == STATIONS and peak <= 2 * mean
    ledger = Ledger(db)
    report = ledger.report()
    assert report.clean and len(report.stations) == STATIONS
    assert {station.records for station in report.stations.values()} == {2 * LENGTH}
    assert {len(station.sessions) for station in report.stations.values()} == {2}
    ledger.close()
