"""Our own broker does what mosquitto does; and what no broker should do, the station outlives."""

import queue
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mqtt5
import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.loop import monotonic
from agent.sim.broker import Broker
from agent.sim.exchange import Exchange, OnPublish, Peer, Refusal, Silent, is_filter, matches, shared
from agent.sim.mosquitto import BrokerError, Mosquitto
from agent.sim.net import SimCloud
from agent.uplink import mqtt as mqtt_module
from agent.uplink.codec import decode_batch
from agent.uplink.mqtt import Connected, Disconnected, Mqtt, MqttConfig, PubAcked, Received
from agent.uplink.protocol import Alarm, Delete, Deliver, Drop, Fetch, OpenEpoch, Publish, Uplink
from tests.process import until
from tests.test_mqtt import Station, config
from tests.test_protocol import BOOT, BOOT_ID, Outbox, body
from tools import devcloud

TIMEOUT_S = 20.0
AnyBroker = Mosquitto | Broker


# -- the same on both ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    devcloud.ca_init(folder)
    for name in ("S-1", "S-2"):
        devcloud.ca_station(folder, name)
    return folder


@pytest.fixture(params=["own", pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto", "mosquitto"))])
def either(request: pytest.FixtureRequest, pki: Path, tmp_path: Path) -> Iterator[AnyBroker]:
    make = Broker if request.param == "own" else partial(Mosquitto, tmp_path / "broker")
    broker = make(cafile=pki / "ca.pem", certfile=pki / "broker.pem", keyfile=pki / "broker.key")
    broker.start()
    yield broker
    broker.stop()


def properties(packet: int, **values: int) -> Properties:
    made = Properties(packet)  # type: ignore[no-untyped-call, unused-ignore]
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """A paho with what it hears in queues."""

    def __init__(self, pki: Path, port: int, user: str = "devcloud", client_id: str | None = None) -> None:
        self.port = port
        self.connacks: queue.Queue[tuple[int, bool]] = queue.Queue()
        self.subacks: queue.Queue[list[int]] = queue.Queue()
        self.pubacks: queue.Queue[int] = queue.Queue()
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.ends: queue.Queue[int] = queue.Queue()
        self.messages: list[paho.MQTTMessage] = []
        cert = pki / "cloud" if user == "devcloud" else pki / "stations" / user
        name = user if client_id is None else client_id
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, reconnect_on_failure=False, manual_ack=True
        )
        self.paho.tls_set(str(pki / "ca.pem"), f"{cert}.pem", f"{cert}.key")
        self.paho.on_connect = lambda _c, _u, flags, code, _p: self.connacks.put((code.value, flags.session_present))
        self.paho.on_subscribe = lambda _c, _u, _m, codes, _p: self.subacks.put([code.value for code in codes])
        self.paho.on_publish = lambda _c, _u, _m, code, _p: self.pubacks.put(code.value)
        self.paho.on_disconnect = lambda _c, _u, _f, code, _p: self.ends.put(code.value)
        self.paho.on_message = lambda _c, _u, message: self._hear(message)

    def _hear(self, message: paho.MQTTMessage) -> None:
        self.messages.append(message)
        self.heard.put((message.topic, bytes(message.payload)))

    def connect(
        self, *subscriptions: str, is_clean: bool = False, keepalive: int = 60, wait: bool = True, **wishes: int
    ) -> tuple[int, bool]:
        """The CONNACK's reason code and Session Present."""
        asked = properties(PacketTypes.CONNECT, **wishes)
        self.paho.connect("localhost", self.port, keepalive, clean_start=is_clean, properties=asked)
        self.paho.loop_start()
        answer = self.connacks.get(timeout=TIMEOUT_S) if wait else (0, False)
        if subscriptions:
            self.subscribe(*subscriptions)
        return answer

    def subscribe(self, *patterns: str, qos: int = 1) -> list[int]:
        self.paho.subscribe([(pattern, SubscribeOptions(qos=qos)) for pattern in patterns])
        return self.subacks.get(timeout=TIMEOUT_S)

    def say(self, topic: str, payload: bytes, qos: int = 1, **wishes: int) -> int:
        """The PUBACK's reason code."""
        self.paho.publish(topic, payload, qos, properties=properties(PacketTypes.PUBLISH, **wishes))
        return self.pubacks.get(timeout=TIMEOUT_S)

    def hear(self) -> tuple[str, bytes]:
        return self.heard.get(timeout=TIMEOUT_S)

    def acknowledge(self) -> None:
        for message in self.messages:
            self.paho.ack(message.mid, message.qos)
        self.messages.clear()

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self) -> None:
        """The connection is lost without a word."""
        self.paho.loop_stop()
        sock = self.paho.socket()
        assert sock is not None
        sock.close()


@pytest.fixture
def client(pki: Path, either: AnyBroker) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(user: str = "devcloud", client_id: str | None = None) -> Client:
        made.append(Client(pki, either.port, user, client_id))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_qos_1_and_0_go_both_ways_and_a_broker_says_when_nobody_reads(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    assert station.connect("d/S-1/c", "d/S-1/a") == (0, False)
    assert station.say("u/S-1/0", b"nobody") == 0x10
    assert cloud.connect("u/#") == (0, False)
    assert [station.say("u/S-1/0", b"one"), station.say("u/S-1/v", b"two", 0)] == [0, 0]
    assert [cloud.hear(), cloud.hear()] == [("u/S-1/0", b"one"), ("u/S-1/v", b"two")]
    assert [cloud.say("d/S-1/c", b"three"), cloud.say("d/S-1/a", b"", 0)] == [0, 0]
    assert [station.hear(), station.hear()] == [("d/S-1/c", b"three"), ("d/S-1/a", b"")]


def test_a_station_speaks_for_itself_only_and_hears_nobody_elses_commands(client: Callable[..., Client]) -> None:
    cloud, first, second = client(), client("S-1"), client("S-2")
    for one, pattern in ((cloud, "u/#"), (first, "d/S-1/c"), (second, "d/S-2/c")):
        one.connect(pattern)
    for topic in ("u/S-2/0", "d/S-1/c", "u/S-1", "u/S-1/0/0", "x"):
        assert first.say(topic, b"forged") == 0x87
    first.subscribe("d/S-2/c", "d/#", "u/#")
    assert cloud.say("d/S-2/c", b"for two") == 0
    assert second.hear() == ("d/S-2/c", b"for two")
    assert cloud.say("d/S-1/c", b"for one") == 0
    assert first.say("u/S-1/0", b"mine") == 0
    assert (first.hear(), cloud.hear()) == (("d/S-1/c", b"for one"), ("u/S-1/0", b"mine"))


def test_what_is_too_large_is_refused_and_the_connection_stands(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    cloud.connect("u/#")
    station.connect()
    station.paho.publish("u/S-1/v", b"x" * 100_001, 0)
    assert station.say("u/S-1/0", b"x" * 100_000) == 0
    assert len(cloud.hear()[1]) == 100_000


def test_commands_wait_for_who_is_away_in_order_and_what_has_expired_does_not(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    cloud.connect()
    station.connect("d/S-1/c", SessionExpiryInterval=3_600)
    station.close()
    for n in range(50):
        assert cloud.say("d/S-1/c", b"%d" % n) == 0
        if n == 30:  # earlier ones mosquitto counts as under way already
            assert cloud.say("d/S-1/c", b"late", MessageExpiryInterval=1) == 0
    assert not threading.Event().wait(1.1), "the message expires"
    again = client("S-1")
    assert again.connect(SessionExpiryInterval=3_600, ReceiveMaximum=3) == (0, True)
    heard = [again.hear() for _ in range(3)]
    while len(heard) < 50:
        again.acknowledge()
        heard.append(again.hear())
    assert heard == [("d/S-1/c", b"%d" % n) for n in range(50)]


def test_the_receive_maximum_of_a_client_is_obeyed(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    cloud.connect()
    station.connect("d/S-1/c", ReceiveMaximum=2)
    for n in range(5):
        cloud.say("d/S-1/c", b"%d" % n)
    assert [station.hear()[1] for _ in range(2)] == [b"0", b"1"]
    cloud.say("d/S-1/a", b"a round trip")
    assert station.heard.empty()
    station.acknowledge()
    assert [station.hear()[1] for _ in range(2)] == [b"2", b"3"]


def test_what_was_not_acknowledged_comes_again_marked_as_such(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    cloud.connect()
    station.connect("d/S-1/c", SessionExpiryInterval=3_600)
    cloud.say("d/S-1/c", b"once")
    assert station.hear() == ("d/S-1/c", b"once")
    assert not station.messages[0].dup
    station.cut()
    again = client("S-1")
    assert again.connect(SessionExpiryInterval=3_600) == (0, True)
    assert again.hear() == ("d/S-1/c", b"once")
    assert again.messages[0].dup


def test_without_an_expiry_and_after_a_clean_start_there_is_no_session(client: Callable[..., Client]) -> None:
    station = client("S-1")
    station.connect("d/S-1/c")
    station.close()
    station = client("S-1")
    assert station.connect("d/S-1/c", SessionExpiryInterval=3_600) == (0, False)
    station.close()
    assert client("S-1").connect(is_clean=True) == (0, False)


def test_who_comes_under_the_same_name_takes_over_session_and_all(client: Callable[..., Client]) -> None:
    cloud, first, second = client(), client("S-1"), client("S-1")
    cloud.connect()
    first.connect("d/S-1/c", SessionExpiryInterval=3_600)
    assert second.connect(SessionExpiryInterval=3_600) == (0, True)
    assert first.ends.get(timeout=TIMEOUT_S) in (0x8E, 0x80)  # mosquitto 2.0 may hang up without a word
    cloud.say("d/S-1/c", b"to the second")
    assert second.hear() == ("d/S-1/c", b"to the second")


def test_a_shared_subscription_gives_each_message_to_one_of_the_group(client: Callable[..., Client]) -> None:
    members = [client("devcloud", f"devcloud-{n}") for n in range(3)]
    station = client("S-1")
    for n, member in enumerate(members):
        member.connect("$share/ingest/u/+/+", SessionExpiryInterval=60 * (n > 0))
    station.connect()
    members[0].close()  # and so its session ends
    for n in range(12):
        assert station.say("u/S-1/0", b"%d" % n) == 0
    heard = [member.hear()[1] for member in members[1:] for _ in range(6)]
    assert sorted(heard, key=int) == [b"%d" % n for n in range(12)]
    assert members[0].heard.empty()


def test_a_will_comes_after_a_loss_not_after_a_goodbye_and_not_if_the_station_is_back_in_time(
    client: Callable[..., Client],
) -> None:
    def station(delay_s: int) -> Client:
        made = client("S-1")
        delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay_s)
        made.paho.will_set("u/S-1/w", b"delay %d" % delay_s, qos=1, properties=delay)
        made.connect(SessionExpiryInterval=3_600)
        return made

    cloud = client()
    cloud.connect("u/#")
    station(0).close()
    station(1).cut()
    last = station(0)
    assert last.say("u/S-1/0", b"here") == 0
    last.cut()
    assert [cloud.hear(), cloud.hear()] == [("u/S-1/0", b"here"), ("u/S-1/w", b"delay 0")]
    station(1).cut()
    assert cloud.hear() == ("u/S-1/w", b"delay 1")


def test_who_is_silent_for_one_and_a_half_keepalives_is_gone(client: Callable[..., Client]) -> None:
    cloud, station = client(), client("S-1")
    cloud.connect("u/#")
    station.paho.will_set("u/S-1/w", b"gone", qos=1)
    station.connect(keepalive=2)
    station.paho.loop_stop()
    began = monotonic()
    assert cloud.hear() == ("u/S-1/w", b"gone")
    assert 2.0 <= monotonic() - began <= 6.0


def test_a_stranger_gets_no_connection(either: AnyBroker, pki: Path, tmp_path: Path) -> None:
    devcloud.ca_init(tmp_path / "strangers")
    devcloud.ca_station(tmp_path / "strangers", "S-1")
    mine, his = config(pki, either.port), config(tmp_path / "strangers", either.port)
    station = Station(MqttConfig(mine.host, mine.port, "S-1", mine.ca, his.cert, his.key))
    station.mqtt.start()
    assert station.next(Disconnected).why
    station.close()


def test_our_station_goes_up_and_down_and_comes_back_to_its_session(
    either: AnyBroker, pki: Path, client: Callable[..., Client]
) -> None:
    cloud = client()
    cloud.connect("u/#", SessionExpiryInterval=3_600)
    station = Station(config(pki, either.port))
    station.mqtt.start()
    first = station.next(Connected)
    assert (first.receive_maximum, first.session_present) == (20, False)
    station.mqtt.publish(first.connection, 7, "u/S-1/0", b"x" * 100_001, 1)
    station.mqtt.publish(first.connection, 8, "u/S-1/0", b"batch", 1)
    assert [station.next(PubAcked), station.next(PubAcked)] == [PubAcked(7, 0x99), PubAcked(8, 0)]
    assert cloud.hear() == ("u/S-1/0", b"batch")
    cloud.acknowledge()
    either.stop()
    station.next(Disconnected)
    either.start()
    assert station.next(Connected).session_present
    again = client()
    assert again.connect(SessionExpiryInterval=3_600) == (0, True)
    assert again.say("d/S-1/c", b"command") == 0
    assert station.next(Received) == Received("d/S-1/c", b"command")
    station.close()


def test_the_reference_cloud_serves_on_either(
    either: AnyBroker, pki: Path, tmp_path: Path, client: Callable[..., Client]
) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(pki, either.port, tmp_path / "cloud.db", stop))
    thread.start()
    try:
        station = client("S-1")
        station.connect("d/S-1/a")
        until(lambda: station.say("u/S-1/h", b"\x84\x01\x48epoch--1\x48boot---1\xa0") == 0)
        topic, ack = station.hear()
        assert topic == "d/S-1/a" and b"epoch--1" in ack
    finally:
        stop.set()
        thread.join()


def serve(pki: Path, port: int, db: Path, stop: threading.Event) -> None:
    ledger, key = devcloud.Ledger(db), devcloud.read_key(pki / "operator.key")
    assert isinstance(key, Ed25519PrivateKey)
    devcloud.Service(devcloud.Cloud(ledger, key), pki, "localhost", port).run(stop)
    ledger.close()
