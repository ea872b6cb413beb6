"""The MQTT connection against a real broker, a silent one, and one that talks nonsense."""

import queue
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from agent.sim.mosquitto import Mosquitto
from agent.uplink import mqtt as mqtt_module
from agent.uplink.mqtt import (
    Backoff,
    Connected,
    Connection,
    Disconnected,
    Mqtt,
    MqttConfig,
    MqttError,
    PubAcked,
    Received,
)
from tools import devcloud

CLOCK: Callable[[], float] = time.monotonic  # noqa: TID251 - a real broker keeps real time
NEEDS_MOSQUITTO = pytest.mark.needs("mosquitto", "mosquitto")


class Eager(random.Random):
    """No patience: every delay as short as it can be."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Station:
    """An Mqtt with what it posts in a queue."""

    def __init__(self, config: MqttConfig, will: bytes = b"gone") -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.mqtt = Mqtt(config, lambda _: will, self.events.put, Eager(), CLOCK)

    def next(self, kind: type) -> Any:
        """The next event of this kind; what comes before it is let go."""
        while not isinstance(event := self.events.get(timeout=30), kind):
            pass
        return event

    def close(self) -> None:
        self.mqtt.stop()
        assert self.mqtt.join(30)


class Cloud:
    """A second client, for what a test says in the cloud's name."""

    def __init__(self, folder: Path, port: int) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        subscribed: queue.Queue[None] = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "devcloud", protocol=paho.MQTTv5)
        self.client.tls_set(str(folder / "ca.pem"), str(folder / "cloud.pem"), str(folder / "cloud.key"))
        self.client.on_connect = lambda client, *_: client.subscribe("u/#", 1)
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.on_message = lambda _client, _data, said: self.heard.put((said.topic, bytes(said.payload)))
        self.client.connect("localhost", port)
        self.client.loop_start()
        subscribed.get(timeout=30)

    def say(self, topic: str, payload: bytes, qos: int) -> None:
        self.client.publish(topic, payload, qos).wait_for_publish(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    devcloud.ca_init(folder)
    devcloud.ca_station(folder, "S-1")
    return folder


@pytest.fixture
def broker(pki: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    ca, cert, key = (pki / name for name in ("ca.pem", "broker.pem", "broker.key"))
    broker = Mosquitto(tmp_path / "broker", cafile=ca, certfile=cert, keyfile=key)
    broker.start()
    yield broker
    broker.stop()


def config(pki: Path, port: int) -> MqttConfig:
    mine = pki / "stations"
    return MqttConfig("localhost", port, "S-1", pki / "ca.pem", mine / "S-1.pem", mine / "S-1.key")


@pytest.fixture
def station(pki: Path, broker: Mosquitto) -> Iterator[Station]:
    station = Station(config(pki, broker.port))
    yield station
    station.close()


@pytest.fixture
def cloud(pki: Path, broker: Mosquitto) -> Iterator[Cloud]:
    cloud = Cloud(pki, broker.port)
    yield cloud
    cloud.close()


# -- a real broker ----------------------------------------------------------------------------------------------------


@NEEDS_MOSQUITTO
def test_up_and_down_over_mutual_tls(station: Station, cloud: Cloud) -> None:
    station.mqtt.start()
    connected = station.next(Connected)
    assert (connected.connection, connected.session_present) == (1, False)
    assert 1 <= connected.receive_maximum <= 65_535 and connected.maximum_packet_size >= 100_000
    station.mqtt.publish(1, 77, "u/S-1/0", b"batch", 1)
    station.mqtt.publish(1, 78, "u/S-1/v", b"question", 0)
    assert cloud.heard.get(timeout=30) == ("u/S-1/0", b"batch")
    assert cloud.heard.get(timeout=30) == ("u/S-1/v", b"question")
    assert station.next(PubAcked) == PubAcked(77, 0)
    for kind in "acrv":
        cloud.say(f"d/S-1/{kind}", kind.encode(), 1)
        assert station.next(Received) == Received(f"d/S-1/{kind}", kind.encode())


@NEEDS_MOSQUITTO
def test_the_broker_says_when_nobody_reads(station: Station) -> None:
    station.mqtt.start()
    station.next(Connected)
    station.mqtt.publish(1, 5, "u/S-1/0", b"batch", 1)
    assert station.next(PubAcked) == PubAcked(5, 0x10)


@NEEDS_MOSQUITTO
def test_a_message_that_is_too_big_for_the_broker_does_not_cost_the_connection(station: Station, cloud: Cloud) -> None:
    station.mqtt.start()
    station.next(Connected)
    station.mqtt.publish(1, 1, "u/S-1/0", b"x" * 100_001, 1)
    station.mqtt.publish(1, 2, "u/S-1/0", b"x" * 100_000, 1)
    assert [station.next(PubAcked), station.next(PubAcked)] == [PubAcked(1, 0x99), PubAcked(2, 0)]


@NEEDS_MOSQUITTO
@pytest.mark.promise("S2")
def test_a_killed_broker_is_noticed_and_found_again_and_old_publishes_are_void(
    station: Station, broker: Mosquitto, pki: Path
) -> None:
    station.mqtt.start()
    station.next(Connected)
    broker.kill()
    assert "connection lost" in station.next(Disconnected).why
    assert "cannot connect" in station.next(Disconnected).why
    broker.start()
    assert station.next(Connected).connection == 2
    cloud = Cloud(pki, broker.port)
    station.mqtt.publish(1, 1, "u/S-1/0", b"late", 1)
    station.mqtt.drop(1, "late too")
    station.mqtt.publish(2, 2, "u/S-1/0", b"fresh", 1)
    assert cloud.heard.get(timeout=30) == ("u/S-1/0", b"fresh")
    assert station.next(PubAcked) == PubAcked(2, 0)
    cloud.close()


@NEEDS_MOSQUITTO
@pytest.mark.promise("S2")
def test_a_command_waits_for_a_station_that_is_away_and_an_old_acknowledgement_does_not(
    station: Station, cloud: Cloud, pki: Path, broker: Mosquitto
) -> None:
    station.mqtt.start()
    station.next(Connected)
    station.close()
    cloud.say("d/S-1/a", b"old news", 1)
    cloud.say("d/S-1/c", b"command", 1)
    again = Station(config(pki, broker.port))
    again.mqtt.start()
    events = [again.events.get(timeout=30), again.events.get(timeout=30)]
    assert Received("d/S-1/c", b"command") in events
    assert next(event for event in events if isinstance(event, Connected)).session_present
    cloud.say("d/S-1/a", b"new", 1)
    assert again.next(Received) == Received("d/S-1/a", b"new")
    again.close()


@NEEDS_MOSQUITTO
def test_drop_ends_the_connection_and_the_next_one_resumes_tls(station: Station) -> None:
    station.mqtt.start()
    station.next(Connected)
    station.mqtt.drop(1, "no word for 30 s")
    assert station.next(Disconnected).why == "no word for 30 s"
    assert station.next(Connected).connection == 2
    assert station.mqtt._tls_session is not None


@NEEDS_MOSQUITTO
def test_whoever_stops_leaves_a_will(
    pki: Path, broker: Mosquitto, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "WILL_DELAY_S", 0)
    station = Station(config(pki, broker.port), b"epoch and boot")
    station.mqtt.start()
    station.next(Connected)
    station.close()
    assert station.next(Disconnected).why == "stopped"
    assert cloud.heard.get(timeout=30) == ("u/S-1/w", b"epoch and boot")


@NEEDS_MOSQUITTO
@pytest.mark.promise("S9")
def test_a_broker_that_is_not_ours_is_refused(broker: Mosquitto, pki: Path, tmp_path: Path) -> None:
    devcloud.ca_init(tmp_path / "stranger")
    mine = config(pki, broker.port)
    station = Station(MqttConfig(mine.host, mine.port, "S-1", tmp_path / "stranger/ca.pem", mine.cert, mine.key))
    station.mqtt.start()
    assert "CERTIFICATE_VERIFY_FAILED" in station.next(Disconnected).why
    station.close()


# -- a broker that is none --------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.promise("S6")
@pytest.mark.parametrize("is_tls", [True, False])
def test_a_listener_that_accepts_and_stays_silent_blocks_nobody_and_is_given_up(
    listener: socket.socket, pki: Path, monkeypatch: pytest.MonkeyPatch, is_tls: bool
) -> None:
    monkeypatch.setattr(mqtt_module, "CONNECT_S", 0.5)
    monkeypatch.setattr(mqtt_module, "POLL_S", 0.1)
    port = listener.getsockname()[1]
    station = Station(config(pki, port) if is_tls else MqttConfig("127.0.0.1", port, "S-1"))
    station.mqtt.start()
    with listener.accept()[0]:
        before = CLOCK()
        for number in range(1_000):
            station.mqtt.publish(number, number, "u/S-1/0", b"x" * 8_000, 1)
            station.mqtt.drop(number + 10, "why not")
        assert CLOCK() - before < 0.4, "publish and drop wait for the network"
        why = station.next(Disconnected).why
        assert ("cannot connect" if is_tls else "does not answer") in why
        before = CLOCK()
        station.mqtt.stop()
        assert CLOCK() - before < 0.1
    assert station.mqtt.join(30)


def test_a_name_that_no_dns_knows_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("no-such-host.invalid", "a..b", "x" * 70):
        station = Station(MqttConfig(host, 8883, "S-1"))
        station.mqtt.start()
        assert f"cannot connect to {host}:8883" in station.next(Disconnected).why
        station.close()


def test_a_certificate_that_cannot_be_used_says_which(pki: Path, tmp_path: Path) -> None:
    mine = config(pki, 8883)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca, cert in ((tmp_path / "none.pem", mine.cert), (broken, mine.cert), (mine.ca, broken)):
        with pytest.raises(MqttError, match=r"(none|broken)\.pem"):
            mqtt_module.tls_context(MqttConfig("localhost", 8883, "S-1", ca, cert, mine.key))
    context = mqtt_module.tls_context(mine)
    assert context is not None
    assert (context.minimum_version, context.verify_mode) == (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)


class Script:
    """A broker in the same thread: before each turn of the connection it answers what has arrived."""

    def __init__(self, answer: Callable[[int, bytes], bytes]) -> None:
        self.answer = answer
        self.posted: list[object] = []
        self.ours, self.theirs = socket.socketpair()
        self.bell, self.ear = socket.socketpair()
        self.theirs.setblocking(False)
        self.turns = 0
        self.now = 0.0

    def run(self, turn: Callable[[Connection], None] = lambda connection: None, turns: int = 20) -> str:
        connection = Connection(7, MqttConfig("h", 1, "S-1"), b"", self.ours, self.posted.append, lambda: self.now)

        def both(connection: Connection) -> None:
            self.turns += 1
            turn(connection)
            try:
                data = self.theirs.recv(65_536)
                while data:
                    size, used = self.length(data[1:])
                    packet, data = data[: 1 + used + size], data[1 + used + size :]
                    self.theirs.send(self.answer(packet[0] >> 4, packet[1 + used :]))
            except (BlockingIOError, BrokenPipeError):
                pass
            if self.turns > turns:
                connection.end("the script is over")
            self.bell.send(b"x")

        with self.ours, self.theirs, self.bell, self.ear:
            self.bell.send(b"x")
            connection.serve(self.ear, both)
        return connection.why

    @staticmethod
    def length(data: bytes) -> tuple[int, int]:
        """MQTT's variable byte integer, and the bytes it takes."""
        value = 0
        for n, byte in enumerate(data[:4]):
            value |= (byte & 0x7F) << 7 * n
            if byte < 0x80:
                return value, n + 1
        return value, 4


CONNACK = bytes([0x20, 11, 0, 0, 8, 0x21, 0, 5, 0x27, 0, 0, 0x10, 0])  # Receive Maximum 5, Maximum Packet Size 4096


def polite(code: int) -> Callable[[int, bytes], bytes]:
    """A broker that takes every subscription and answers every PUBLISH with this code."""

    def answer(kind: int, rest: bytes) -> bytes:
        if kind == 3:
            at = 2 + int.from_bytes(rest[:2], "big")
            return bytes([0x40, 3, rest[at], rest[at + 1], code])
        return {1: CONNACK, 8: bytes([0x90, 7, *rest[:2], 0, 1, 0, 0, 0])}.get(kind, b"")

    return answer


@pytest.mark.promise("S2")
@pytest.mark.parametrize("code", [0x00, 0x10, 0x87, 0x95, 0x97])
def test_limits_and_reason_codes_are_handed_on(code: int) -> None:
    script = Script(polite(code))

    def turn(connection: Connection) -> None:
        if script.posted == [Connected(7, 5, 4_096, False)]:
            connection.publish(mqtt_module.Note(7, 1_000_000, "u/S-1/0", b"batch", 1))

    assert script.run(turn) == "the script is over"
    heard = 0x99 if code == 0x95 else code
    assert script.posted[:2] == [Connected(7, 5, 4_096, False), PubAcked(1_000_000, heard)]


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ({1: bytes([0x20, 3, 0, 0x87, 0])}, "refuses us: Not authorized"),
        ({1: bytes([0x20, 5, 0, 0, 2, 0x24, 0])}, "QoS 0 only"),
        ({1: CONNACK, 8: bytes([0x90, 7, 0, 1, 0, 1, 0x87, 0, 0])}, "refuses to subscribe d/S-1/: Not authorized"),
        ({1: CONNACK + bytes([0xE0, 2, 0x8E, 0])}, "Session taken over"),
    ],
)
def test_a_refusal_says_why(packets: dict[int, bytes], why: str) -> None:
    script = Script(lambda kind, _: packets.get(kind, b""))
    assert why in script.run()
    assert script.posted == []


def test_nothing_is_published_before_the_subscriptions_stand() -> None:
    kinds: list[int] = []

    def answer(kind: int, rest: bytes) -> bytes:
        kinds.append(kind)
        return CONNACK if kind == 1 else b""

    Script(answer).run(lambda connection: connection.publish(mqtt_module.Note(7, 1, "u/S-1/0", b"batch", 1)))
    assert kinds == [1, 8]


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_no_bytes_of_a_broker_raise(chunks: list[bytes], is_connected: bool) -> None:
    replies = iter([CONNACK] * is_connected + chunks)

    def turn(connection: Connection) -> None:
        script.theirs.send(next(replies, b""))

    script = Script(lambda kind, rest: b"")
    try:
        why = script.run(turn, turns=12)
    except BrokenPipeError:  # the connection has ended: nobody hears the rest
        return
    assert why


# -- patience ---------------------------------------------------------------------------------------------------------


@given(st.integers(), st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=40))
def test_patience_grows_to_ten_minutes_and_only_a_stable_minute_resets_it(
    seed: int, attempts: list[tuple[float, bool]]
) -> None:
    backoff = Backoff(random.Random(seed))
    assert 0.0 <= backoff.first_s() <= 2.0
    failures = 0
    for stood_s, is_taken_over in attempts:
        failures = 1 if stood_s >= 60.0 else failures + 1
        delay_s = backoff.next_s(stood_s, is_taken_over)
        if is_taken_over:
            assert 300.0 <= delay_s <= 600.0
        else:
            assert 0.0 <= delay_s <= min(600.0, 5.0 * 2 ** (failures - 1))


def test_ten_thousand_stations_do_not_come_back_in_the_same_second() -> None:
    """A broker is down for five minutes; all knew it at once. In no second after it more than 2 % of them come."""
    arrivals: dict[int, int] = {}
    for seed in range(10_000):
        backoff, now = Backoff(random.Random(seed)), 0.0
        while now < 300.0:
            now += backoff.next_s(0.0)
        arrivals[int(now)] = arrivals.get(int(now), 0) + 1
    assert max(arrivals.values()) <= 200
