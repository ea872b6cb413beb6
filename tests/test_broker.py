"""Our own broker does what mosquitto does; and what no broker should do, the station outlives."""

import gc
import queue
import random
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mqtt5
import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.loop import monotonic
from agent.sim import exchange as exchange_module
from agent.sim.broker import Broker
from agent.sim.exchange import Exchange, Faults, OnPublish, Peer, Refusal, Silent, is_filter, matches, shared
from agent.sim.mosquitto import BrokerError, Mosquitto
from agent.sim.net import SimCloud
from agent.uplink import mqtt as mqtt_module
from agent.uplink.codec import Hello, encode_hello
from agent.uplink.mqtt import Connected, Disconnected, Mqtt, MqttConfig, PubAcked, Received
from agent.uplink.protocol import Alarm, Bury, Delete, Deliver, Drop, Fetch, OpenEpoch, Publish, Uplink
from tests.process import until
from tests.test_mqtt import WILL, Station, config
from tests.test_protocol import BOOT, BOOT_ID, Outbox, body
from tools import devcloud
from tools.cloud.cloud import Cloud
from tools.cloud.ledger import Ledger
from tools.cloud.pki import read_operator
from tools.cloud.service import Service

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
        self.paho._reset_sockets()  # paho leaves its wake-up sockets to the garbage collector, which complains

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
    assert not threading.Event().wait(2.2), "mosquitto counts whole seconds"
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
    members[0].close()  # and so its session ends: the broker has seen it when somebody else has come after it
    station.connect()
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
    assert 1.9 <= monotonic() - began <= 6.0  # two clocks, and a timer that may be a little early


def test_a_stranger_gets_no_connection(either: AnyBroker, pki: Path, tmp_path: Path) -> None:
    devcloud.ca_init(tmp_path / "strangers")
    devcloud.ca_station(tmp_path / "strangers", "S-1")
    mine, his = config(pki, either.port), config(tmp_path / "strangers", either.port)
    station = Station(MqttConfig(mine.host, mine.port, "S-1", mine.ca, his.cert, his.key))
    station.mqtt.start()
    assert station.next(Disconnected).why
    station.close()


@pytest.mark.parametrize("has_spoken", [False, True])
def test_a_broker_that_stops_in_the_middle_of_a_handshake_leaves_no_socket_open(pki: Path, has_spoken: bool) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(10):
            broker = Broker(cafile=pki / "ca.pem", certfile=pki / "broker.pem", keyfile=pki / "broker.key")
            broker.start()
            with socket.create_connection(("127.0.0.1", broker.port)) as client:
                if has_spoken:
                    client.sendall(b"\x16\x03\x01")  # the head of a ClientHello
                    until(lambda: broker._handshakes)  # noqa: B023
                broker.stop()
        gc.collect()
    assert [str(warning.message) for warning in seen if warning.category is ResourceWarning] == []


def test_our_station_goes_up_and_down_and_comes_back_to_its_session(
    either: AnyBroker, pki: Path, client: Callable[..., Client]
) -> None:
    cloud = client()
    cloud.connect("u/#", SessionExpiryInterval=3_600)
    station = Station(replace(config(pki, either.port), spread_s=0.2))
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
        hello = encode_hello(Hello(b"epoch--1", BOOT_ID, dict.fromkeys(range(5), (1, 1)), 1))
        until(lambda: station.say("u/S-1/h", hello) == 0)
        topic, ack = station.hear()
        assert topic == "d/S-1/a" and b"epoch--1" in ack
    finally:
        stop.set()
        thread.join()


def serve(pki: Path, port: int, db: Path, stop: threading.Event) -> None:
    ledger = Ledger(db)
    Service(Cloud(ledger, read_operator(pki)), pki, "localhost", port, "devcloud").run(stop)
    ledger.close()


# -- the station against a broker that does wrong ---------------------------------------------------------------------

SPEED = 20.0  # of the station's time: its protocol waits half a minute for a mute cloud


def station_time() -> float:
    return monotonic() * SPEED


class Hasty(random.Random):
    """Patience on the same scale, and no more than so many seconds of it."""

    def __init__(self, seed: int, most_s: float) -> None:
        super().__init__(seed)
        self.most_s = most_s

    def uniform(self, a: float, b: float) -> float:
        return min(self.most_s, super().uniform(a, b) / SPEED)


def hasty(port: int, post: Callable[[object], None], most_s: float = 2.0) -> Mqtt:
    config = MqttConfig("127.0.0.1", port, "S-1", spread_s=0.5)
    return Mqtt(config, WILL, post, Hasty(7, most_s), monotonic)


class Judge(SimCloud):
    """The cloud: it keeps every record under its key, and notes two under one."""

    def __init__(self, port: int) -> None:
        super().__init__("S-1", None, b"", lambda: 1_767_225_600.0)
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, "devcloud", protocol=paho.MQTTv5)
        self.paho.reconnect_delay_set(1, 1)
        self.paho.on_connect = lambda client, *_: client.subscribe("u/#", 1)
        self.paho.on_message = self._hear
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()

    def _hear(self, client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        for kind, payload in self.received(message.topic, bytes(message.payload)):
            client.publish(f"d/S-1/{kind}", payload, 1 if kind == "r" else 0)

    def _apply(self, record: Any, epoch: bytes, stream: int, seq: int) -> None:
        self.log.append(record)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()
        self.paho._reset_sockets()


class Rig:
    """The station's real uplink and MQTT on one thread, an outbox without a disk, and a cloud at the other end."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.outbox = broker, Outbox()
        self.alarms: list[str] = []
        self.owed: dict[tuple[bytes, int, int], bytes] = {}  # everything there ever was
        self._inbox: queue.Queue[Any] = queue.Queue()
        self._uplink = Uplink("S-1", BOOT_ID, self.outbox.epoch, self.outbox.marks(), BOOT)
        self._mqtt = hasty(broker.port, self._inbox.put)
        self._bugs: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self.cloud = Judge(broker.port)
        assert broker.wait_for(lambda facts: facts.clients().get("devcloud"), TIMEOUT_S)
        self._thread.start()

    def append(self, count: int, size: int = 0) -> None:
        """So many records for each of the streams of money and of status."""
        self._inbox.put((count, size))

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join(TIMEOUT_S)
        self.cloud.close()
        assert self._mqtt.join(TIMEOUT_S)
        assert self._bugs == []

    def is_settled(self, count: int) -> bool:
        """The cloud holds every record there was, this many, and the station knows."""
        is_told = not any(self.outbox.rows.values()) and "S-1" in self.broker.clients()
        return is_told and len(self.owed) == count == len(self.cloud.records)

    def settles(self, count: int) -> None:
        until(lambda: self._bugs or self.is_settled(count), 2 * TIMEOUT_S)
        assert self.cloud.records == self.owed
        assert self.cloud.violations == []
        assert self.broker.violations == []

    def _run(self) -> None:
        try:
            self._mqtt.start()
            while (event := self._next()) is not None:
                self._perform(self._handle(event, station_time()))
        except BaseException as error:
            self._bugs.append(error)
        self._mqtt.stop()

    def _next(self) -> Any:
        """The next happening; () is the deadline; None the end."""
        due_at = self._uplink.next_deadline()
        pause_s = 0.5 if due_at is None else min(0.5, max(0.001, (due_at - station_time()) / SPEED))
        try:
            return self._inbox.get(timeout=pause_s)
        except queue.Empty:
            return ()

    def _handle(self, event: Any, now: float) -> list[Any]:
        match event:
            case Connected():
                limits = event.receive_maximum, event.maximum_packet_size
                return self._uplink.connected(event.connection, *limits, now)
            case Disconnected():
                return self._uplink.disconnected(now)
            case Received():
                return self._uplink.received(event.topic, event.payload, now)
            case PubAcked():
                return self._uplink.puback(event.packet_id, event.reason_code, now)
            case int(count), int(size):
                for stream in (0, 1):
                    self.outbox.append(stream, *(body(n, stream, size) for n in range(count)))
                    for seq, _, data in self.outbox.rows[stream]:
                        self.owed[self.outbox.epoch, stream, seq] = data
                return self._uplink.appended({stream: self.outbox.next_seq[stream] for stream in (0, 1)}, now)
        return self._uplink.deadline(now)

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self._mqtt.publish(
                        action.connection, action.packet_id, action.topic, action.payload, action.qos
                    )
                case Fetch():
                    rows = self.outbox.fetch(action)
                    self._perform(self._uplink.fetched(action.stream, action.after_seq, rows, station_time()))
                case Delete():
                    assert not self.outbox.is_forked(action)
                    self.outbox.delete(action)
                case Drop():
                    self._mqtt.drop(action.connection, action.why)
                case Deliver(event=Alarm(why=why)):
                    self.alarms.append(why)
                case OpenEpoch() | Bury():
                    raise AssertionError(f"nothing here calls for {action}")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Without TLS."""
    monkeypatch.setattr(mqtt_module, "CONNECT_S", 10.0 / SPEED)
    broker = Broker()
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def rig(broker: Broker) -> Iterator[Rig]:
    rig = Rig(broker)
    yield rig
    rig.close()


def lasts(broker: Broker, station_s: float) -> None:
    """So much of the station's time goes by."""
    broker.wait_for(lambda facts: False, station_s / SPEED)


def counted(broker: Broker) -> tuple[int, int]:
    """Connections and publishes of the station so far."""
    return len(broker.visits()), len([said for said in broker.published("S-1") if said.qos])


def every_publish(*rules: OnPublish) -> Callable[[Broker], None]:
    return lambda broker: broker.faults.on_publish.extend(rules)


def every_connect(refusal: Refusal) -> Callable[[Broker], None]:
    def begin(broker: Broker) -> None:
        broker.faults.refusals.append(refusal)
        broker.disconnect(0x8B)

    return begin


def silence(silent: Silent) -> Callable[[Broker], None]:
    def begin(broker: Broker) -> None:
        broker.faults.silent = silent
        broker.disconnect(None, "S-1")

    return begin


def downwards(**wishes: float) -> Callable[[Broker], None]:
    def begin(broker: Broker) -> None:
        for name, value in wishes.items():
            setattr(broker.faults, name, value)

    return begin


Fault = Callable[[Broker], None]
REFUSED, ALARMED = (0x10, 0x80, 0x83, 0x91, 0x97), (0x87, 0x90, 0x95, 0x99)
FAULTS: dict[str, Fault] = {
    "no PUBACK": every_publish(OnPublish(None)),
    **{f"PUBACK {code:#x}": every_publish(OnPublish(code)) for code in (*REFUSED, *ALARMED)},
    "CONNACK 0x9d": every_connect(Refusal(0x9D, "127.0.0.1:1")),
    "TCP and then silence": silence(Silent.TCP),
    "a black hole": lambda broker: broker.freeze("S-1"),
    "no PUBACK, and lost": every_publish(OnPublish(None, is_taken=False)),
    "no PUBACK for money": every_publish(OnPublish(None, "u/+/0")),
    "a PUBACK, and lost": every_publish(OnPublish(0, is_taken=False)),
    "PUBACK 0x97, and taken": every_publish(OnPublish(0x97, is_taken=True)),
    "DISCONNECT 0x97 at each publish": every_publish(OnPublish(0x97, by_disconnect=True)),
    "DISCONNECT 0x96 at money": every_publish(OnPublish(0x96, "u/+/0", by_disconnect=True)),
    **{f"CONNACK {code:#x}": every_connect(Refusal(code)) for code in (0x87, 0x88, 0x89, 0x8A, 0x97, 0x9F)},
    "CONNACK 0x9c": every_connect(Refusal(0x9C, "127.0.0.1:1")),
    "CONNECT and then silence": silence(Silent.CONNECT),
    "nothing comes down": downwards(copies=0),
    "everything comes down three times": downwards(copies=3),
    "what comes down is late and out of order": downwards(delay_s=0.1, jitter_s=0.3),
}
SHORT = ("no PUBACK", *(f"PUBACK {code}" for code in ("0x10", "0x87", "0x97")), "CONNACK 0x9d", "a black hole")
WRONGS = [pytest.param(fault, marks=() if fault in SHORT else pytest.mark.long) for fault in FAULTS]
UNTIL_RECONNECT = {f"PUBACK {code:#x}" for code in ALARMED}  # a stream stops, with an alarm, for this connection


@pytest.mark.promise("S2", "S10")
@pytest.mark.parametrize("fault", WRONGS)
def test_no_wrong_of_a_broker_loses_a_record_floods_it_or_lasts_longer_than_itself(
    broker: Broker, rig: Rig, fault: str
) -> None:
    rig.append(20)
    rig.settles(40)
    before = counted(broker)
    FAULTS[fault](broker)
    rig.append(30)
    lasts(broker, 60.0)
    connects, publishes = (after - began for after, began in zip(counted(broker), before, strict=True))
    assert connects <= 20, "it hammers the broker with connections"
    assert publishes <= 60, "it floods the broker"
    broker.faults = Faults()
    if fault in UNTIL_RECONNECT:
        assert rig.alarms
        broker.disconnect(0x8B, "S-1")
    rig.append(5)
    rig.settles(110)


@pytest.mark.promise("S2")
@pytest.mark.parametrize(("code", "times"), [(0x10, 2), (0x97, 2), (None, 2), (0x90, 1), (0x95, 1), (0x99, 1)])
def test_what_was_refused_for_a_while_is_there_in_the_end(
    broker: Broker, rig: Rig, code: int | None, times: int
) -> None:
    rig.append(1)
    rig.settles(2)
    broker.faults.on_publish.append(rule := OnPublish(code, "u/+/0", times=times))
    rig.append(3)
    until(lambda: rule.times != times)
    rig.append(3)
    rig.settles(14)
    assert rig.alarms == []


@pytest.mark.promise("S10")
@pytest.mark.parametrize(("receive_maximum", "packet_max_b"), [(1, None), (2, 600), (20, 512), (65_535, 2_000)])
def test_the_limits_of_the_connack_are_obeyed(
    broker: Broker, receive_maximum: int, packet_max_b: int | None
) -> None:
    broker.faults.receive_maximum, broker.faults.maximum_packet_size = receive_maximum, packet_max_b
    broker.faults.delay_s = 0.01  # so that there is a window to fill
    rig = Rig(broker)
    try:
        rig.append(100, 100)
        rig.settles(200)
        (visit,) = broker.visits("S-1")
        assert visit.in_flight_max <= min(20, receive_maximum)
    finally:
        rig.close()


@pytest.mark.promise("S2", "S10")
@pytest.mark.parametrize("code", [0x89, 0x8B, 0x98, 0x9D, None])
def test_a_station_that_is_sent_away_comes_back_and_owes_nothing(broker: Broker, rig: Rig, code: int | None) -> None:
    rig.settles(0)
    for n in range(1, 4):
        rig.append(50)
        broker.disconnect(code, "S-1", "127.0.0.1:1" if code == 0x9D else None)
        rig.settles(100 * n)
    assert len(broker.visits("S-1")) == 4


@pytest.mark.promise("S2")
def test_a_station_goes_where_the_broker_sends_it_and_comes_home_when_that_one_is_gone(
    broker: Broker, rig: Rig
) -> None:
    rig.settles(0)
    other = Broker()
    other.start()
    try:
        broker.disconnect(0x9D, "S-1", f"127.0.0.1:{other.port}")
        assert other.wait_for(lambda facts: facts.clients().get("S-1"), TIMEOUT_S)
        rig.append(20)
    finally:
        other.kill()
    rig.settles(40)


@pytest.mark.promise("S10")
def test_two_with_one_name_do_not_fight(broker: Broker) -> None:
    one = hasty(broker.port, lambda _: None, most_s=1_000.0)
    one.start()
    assert broker.wait_for(lambda facts: facts.clients().get("S-1"), TIMEOUT_S)
    other = hasty(broker.port, lambda _: None, most_s=1_000.0)
    other.start()
    lasts(broker, 120.0)
    for station in (one, other):
        station.stop()
        assert station.join(TIMEOUT_S)
    assert len(broker.visits("S-1")) == 2
    assert broker.visits("S-1")[0].why == "broker: 0x8e"


@pytest.mark.promise("S2")
def test_a_broker_that_loses_everything_it_had_loses_no_record(broker: Broker, rig: Rig) -> None:
    for n in range(1, 4):
        broker.faults.on_publish.append(OnPublish(0, is_taken=False, times=n))  # it had them, and said so
        rig.append(30)
        until(lambda: broker.faults.on_publish[-1].times == 0)
        broker.kill()
        broker.start()
        rig.settles(60 * n)


@pytest.mark.long
@pytest.mark.promise("S2")
def test_a_station_whose_subscriptions_the_broker_has_lost_finds_out(broker: Broker, rig: Rig) -> None:
    rig.append(5)
    rig.settles(10)
    broker.forget("S-1")
    rig.append(5)
    rig.settles(20)
    assert len(broker.visits("S-1")) == 2


# -- the broker itself ------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_sentence(broker: Broker) -> None:
    with pytest.raises(BrokerError, match="does not start on port"):
        Broker(port=broker.port).start()


@pytest.mark.parametrize(
    ("pattern", "topic", "does"),
    [
        ("#", "a/b", True), ("#", "$SYS/x", False), ("+/b", "$a/b", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
        ("a/+", "a", False), ("a/+", "a/", True), ("+/+", "/b", True), ("a/b", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
    ],
)  # fmt: skip
def test_a_filter_matches_as_the_standard_says(pattern: str, topic: str, does: bool) -> None:
    assert is_filter(pattern) and matches(pattern, topic) is does


@given(st.text("ab+#/$", max_size=8), st.text("ab/$", min_size=1, max_size=8))
def test_a_filter_is_good_or_refused_and_a_topic_matches_itself(pattern: str, topic: str) -> None:
    assert matches(topic, topic)
    if is_filter(pattern):
        matches(pattern, topic)
    assert shared(f"$share/g/{pattern}") == ("g", pattern)


def out(exchange: Exchange, peer: Peer, now: float = 0.0) -> list[mqtt5.Packet]:
    data = b"".join(sent for to, sent, _ in exchange.take(now) if to is peer)
    packets = []
    while data:
        packet, used = mqtt5.read(memoryview(data))
        packets.append(packet)
        data = data[used:]
    return packets


def met(exchange: Exchange, client_id: str = "S-1", now: float = 0.0, **wishes: Any) -> Peer:
    peer = exchange.opened(None, now)
    exchange.received(peer, mqtt5.ConnectPacket(client_id, **wishes).write(), now)
    return peer


def published(packet_id: int = 1, topic: str = "u/S-1/0", **wishes: Any) -> bytes:
    return mqtt5.PublishPacket(topic, b"x", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, **wishes).write()


TWICE = mqtt5.PublishPacket("u/S-1/0", b"x", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=1).write()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (TWICE, 0x9B), (published(retain=True), 0x9A), (published(topic_alias=1), 0x94),
        (published(1) + published(2), 0x93),
        (mqtt5.ConnectPacket("S-1").write(), 0x82), (mqtt5.PingRespPacket().write(), 0x82), (b"\x00\x00", 0x81),
        (b"\x30\xff\xff\xff\xff", 0x81), (b"\x30\xff\xff\x7f", 0x95),
    ],
)  # fmt: skip
def test_a_client_that_breaks_the_standard_is_told_so_and_noted(data: bytes, code: int) -> None:
    exchange = Exchange()
    exchange.faults = Faults([OnPublish(None)], receive_maximum=1)
    peer = met(exchange)
    list(exchange.take(0.0))
    exchange.received(peer, data, 0.0)
    (last,) = out(exchange, peer)[-1:]
    assert isinstance(last, mqtt5.DisconnectPacket)
    assert int(last.reason_code) == code
    assert exchange.violations and peer.visit.until == 0.0


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=30) | st.sampled_from([published(), TWICE, mqtt5.PingReqPacket().write()])))
def test_no_bytes_of_a_client_raise_or_touch_another(chunks: list[bytes]) -> None:
    exchange = Exchange()
    other, peer = met(exchange, "S-2"), exchange.opened(None, 0.0)
    list(exchange.take(0.0))
    for chunk in chunks:
        exchange.received(peer, chunk, 0.0)
    list(exchange.take(0.0))
    exchange.received(other, mqtt5.PingReqPacket().write(), 0.0)
    assert [type(packet) for packet in out(exchange, other)] == [mqtt5.PingRespPacket]


def test_who_says_nothing_after_tcp_is_let_go_and_a_frozen_one_hears_nothing() -> None:
    exchange = Exchange()
    peer, frozen = exchange.opened(None, 0.0), met(exchange, keep_alive=10)
    exchange.freeze("S-1")
    exchange.deadline(9.9)
    assert not peer.is_over
    exchange.deadline(10.0)
    assert peer.is_over and not frozen.is_over
    exchange.received(frozen, published(), 11.0)
    exchange.deadline(15.0)
    assert frozen.is_over and out(exchange, frozen, 15.0) == [] and not exchange.published
    assert exchange.next_deadline() == float("inf")


def test_a_queue_is_bounded_and_says_what_it_has_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "QUEUE_MAX", 3)
    exchange = Exchange()
    peer = met(exchange, session_expiry_interval=100)
    wish = mqtt5.TopicFilter("d/S-1/c", max_qos=mqtt5.QoS.AT_LEAST_ONCE)
    exchange.received(peer, mqtt5.SubscribePacket(1, [wish]).write(), 0.0)
    exchange.closed(peer, 0.0)
    cloud = met(exchange, "devcloud")
    for n in range(1, 6):
        exchange.received(cloud, published(n, "d/S-1/c"), 0.0)
    assert (len(exchange.sessions["S-1"].queue), exchange.sessions["S-1"].dropped) == (3, 2)
    exchange.deadline(100.0)
    assert "S-1" not in exchange.sessions
