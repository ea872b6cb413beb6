"""The MQTT connection against a real broker, a silent one, and one that talks nonsense."""

import gc
import os
import queue
import random
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from agent.sim import mosquitto
from agent.sim.mosquitto import Mosquitto
from agent.uplink import backoff
from agent.uplink import mqtt as mqtt_module
from agent.uplink.backoff import spread_s
from agent.uplink.codec import Will, decode_will
from agent.uplink.dial import Dial, dial, in_turns, tune
from agent.uplink.keepalive import START_S, Keepalive
from agent.uplink.mqtt import (
    Cause,
    Connected,
    Connection,
    Disconnected,
    Mqtt,
    MqttConfig,
    MqttError,
    PubAcked,
    Received,
)
from agent.uplink.protocol import Action, Drop, Publish, Uplink
from tests.listener import Listener
from tools import devcloud

CLOCK: Callable[[], float] = time.monotonic  # noqa: TID251 - a real broker keeps real time
NEEDS_MOSQUITTO = pytest.mark.needs("mosquitto", "mosquitto")


WILL = Will(b"theepoch", b"the boot")


class Eager(random.Random):
    """No patience: every delay as short as it can be."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Station:
    """An Mqtt with what it posts in a queue."""

    def __init__(self, config: MqttConfig, dial: Dial = dial) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.mqtt = Mqtt(config, WILL, self.events.put, Eager(), CLOCK, dial)

    def next(self, kind: type) -> Any:
        """The next event of this kind; what comes before it is let go."""
        while not isinstance(event := self.events.get(timeout=30), kind):
            pass
        return event

    def close(self) -> None:
        self.mqtt.stop()
        assert self.mqtt.join(30)


class Cloud(Listener):
    """For what a test says in the cloud's name."""

    def say(self, topic: str, payload: bytes, qos: int = 0) -> None:
        self.client.publish(topic, payload, qos).wait_for_publish(30)


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
def test_a_new_connection_teaches_nothing_about_silences(station: Station) -> None:
    """What was before it, a long time without any, is no silence that this network has bridged."""
    station.mqtt.start()
    for _ in range(2):
        connected = station.next(Connected)
        assert station.mqtt.learned_keepalive_s == START_S
        station.mqtt.drop(connected.connection, "enough")


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
@pytest.mark.parametrize("is_ours", [True, False])
def test_however_a_connection_ends_the_next_one_resumes_tls(
    station: Station, pki: Path, broker: Mosquitto, is_ours: bool
) -> None:
    station.mqtt.start()
    until_s = load_pem_x509_certificate((pki / "broker.pem").read_bytes()).not_valid_after_utc.timestamp()
    assert station.next(Connected).broker_until_s == until_s
    if is_ours:
        station.mqtt.drop(1, "no word for 30 s")
        assert station.next(Disconnected).why == "no word for 30 s"
    else:  # another one with our name: the broker hangs up
        other = paho.Client(CallbackAPIVersion.VERSION2, "S-1", protocol=paho.MQTTv5)
        mine = config(pki, broker.port)
        other.tls_set(str(mine.ca), str(mine.cert), str(mine.key))
        other.connect("localhost", broker.port)
        station.next(Disconnected)
    connected = station.next(Connected)
    assert connected.connection >= 2 and connected.broker_until_s == until_s, "though no certificate is sent again"
    assert station.mqtt._tls is not None and station.mqtt._tls.session_stats()["hits"] >= 1


@NEEDS_MOSQUITTO
def test_whoever_stops_leaves_a_will(
    pki: Path, broker: Mosquitto, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "WILL_DELAY_S", 0)
    station = Station(config(pki, broker.port))
    station.mqtt.start()
    station.next(Connected)
    station.close()
    assert station.next(Disconnected).why == "stopped"
    topic, said = cloud.heard.get(timeout=30)
    assert (topic, decode_will(said)) == ("u/S-1/w", replace(WILL, connection=1))


@NEEDS_MOSQUITTO
@pytest.mark.promise("S9")
def test_a_broker_that_is_not_ours_is_refused(broker: Mosquitto, pki: Path, tmp_path: Path) -> None:
    devcloud.ca_init(tmp_path / "stranger")
    mine = config(pki, broker.port)
    station = Station(MqttConfig(mine.host, mine.port, "S-1", tmp_path / "stranger/ca.pem", mine.cert, mine.key))
    station.mqtt.start()
    ended = station.next(Disconnected)
    assert "CERTIFICATE_VERIFY_FAILED" in ended.why
    assert ended.cause.security_event == "InvalidCsmsCertificate"
    station.close()


@NEEDS_MOSQUITTO
def test_a_certificate_that_the_broker_refuses_is_told_apart_from_a_broken_line(
    broker: Mosquitto, pki: Path, tmp_path: Path
) -> None:
    devcloud.ca_init(tmp_path / "stranger")
    devcloud.ca_station(tmp_path / "stranger", "S-1")
    theirs = config(tmp_path / "stranger", broker.port)
    station = Station(MqttConfig("localhost", broker.port, "S-1", pki / "ca.pem", theirs.cert, theirs.key))
    station.mqtt.start()
    ended = station.next(Disconnected)
    assert (ended.cause, "refuses our certificate" in ended.why) == (Cause.REFUSED, True)
    assert ended.retry_in_s >= 300.0
    used_at, name = CLOCK(), "the right one"
    both = tmp_path / "both.pem"
    both.write_text("".join((pki / "stations" / file).read_text() for file in ("S-1.key", "S-1.pem")))
    station.mqtt.use(both, name)
    assert station.next(Connected).pair == name
    assert CLOCK() - used_at < 30.0, "another pair ends the wait"
    station.close()


@NEEDS_MOSQUITTO
def test_a_pair_just_named_is_tried_soon_three_times_though_it_is_refused(
    broker: Mosquitto, pki: Path, tmp_path: Path
) -> None:
    devcloud.ca_init(tmp_path / "stranger")
    devcloud.ca_station(tmp_path / "stranger", "S-1")
    bad = tmp_path / "bad.pem"
    bad.write_text("".join((tmp_path / "stranger/stations" / file).read_text() for file in ("S-1.key", "S-1.pem")))
    station = Station(config(pki, broker.port))
    station.mqtt.start()
    station.mqtt.use(bad, "bad")
    station.mqtt.drop(station.next(Connected).connection, "for the test")
    ended = [station.next(Disconnected) for _ in range(5)]
    assert [(end.pair, end.cause) for end in ended] == [("", Cause.LOST)] + [("bad", Cause.REFUSED)] * 4
    assert [end.retry_in_s for end in ended[1:]] == [0.0, 0.0, 0.0, 300.0]
    station.mqtt.stop()
    assert station.mqtt.join(30), "stop() ends that wait, too"


@pytest.mark.parametrize(("is_mute", "cause"), [(False, Cause.HUNG_UP), (True, Cause.LOST)])
def test_a_broker_that_hangs_up_between_tls_and_connack_is_told_apart_from_a_mute_one(
    listener: socket.socket, pki: Path, monkeypatch: pytest.MonkeyPatch, is_mute: bool, cause: Cause
) -> None:
    """TLS 1.3: so a refused certificate looks, where the alert is lost to a reset."""
    monkeypatch.setattr(mqtt_module, "CONNECT_S", 1.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "broker.pem", pki / "broker.key")
    station = Station(config(pki, listener.getsockname()[1]))
    station.mqtt.start()
    with context.wrap_socket(listener.accept()[0], server_side=True) as talk:
        if is_mute:
            assert station.next(Disconnected).cause is cause
        else:
            talk.close()
            ended = station.next(Disconnected)
            assert (ended.cause, ended.cause.is_long, ended.cause.is_refusal) == (cause, False, True), ended
    station.close()


@NEEDS_MOSQUITTO
def test_the_servers_keepalive_of_a_real_broker_wins(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosquitto, "CONFIG", mosquitto.CONFIG + "max_keepalive 60\nmax_inflight_messages 7\n")
    ca, cert, key = (pki / name for name in ("ca.pem", "broker.pem", "broker.key"))
    strict = Mosquitto(tmp_path / "strict", cafile=ca, certfile=cert, keyfile=key)
    strict.start()
    station = Station(config(pki, strict.port))
    station.mqtt.start()
    connected = station.next(Connected)
    assert (connected.keepalive_s, connected.receive_maximum) == (60.0, 7)
    station.close()
    strict.stop()


@NEEDS_MOSQUITTO
def test_a_session_that_goes_on_has_no_will(
    pki: Path, broker: Mosquitto, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each will names its connection: a late one of an earlier connection cannot mark this one dead."""
    monkeypatch.setattr(mqtt_module, "WILL_DELAY_S", 1)
    station = Station(config(pki, broker.port))
    station.mqtt.start()
    for number in (1, 2):
        station.next(Connected)
        station.mqtt.drop(number, "try again")
    station.next(Connected)
    station.close()
    assert decode_will(cloud.heard.get(timeout=30)[1]) == replace(WILL, connection=3)
    assert cloud.heard.empty()


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


class Stub:
    """A raw socket that answers as told, one connection after the other, in a thread of its own."""

    def __init__(self, answer: Callable[[int, bytes], bytes | None], host: str = "127.0.0.1") -> None:
        self.server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self.server.getsockname()[1]
        self.answer, self.connections, self.said = answer, 0, queue.SimpleQueue[tuple[int, bytes]]()
        self._thread = threading.Thread(target=self._run, name="stub")
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                link, _ = self.server.accept()
                self.connections += 1
                with link, suppress(OSError):
                    self._talk(link)

    def _talk(self, link: socket.socket) -> None:
        heard = b""
        while data := link.recv(65_536):
            heard += data
            while packet := first_packet(heard):
                kind, rest, heard = packet
                self.said.put((kind, rest))
                answer = self.answer(kind, rest)
                if answer is None:
                    return
                link.send(answer)

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self._thread.join(30)


@pytest.mark.parametrize(
    ("code", "cause", "is_alarm", "least_s"),
    [(0x8E, Cause.TAKEN_OVER, True, 300.0), (0x8B, Cause.SHUTTING_DOWN, False, spread_s("S-1")),
     (0x98, Cause.LOST, False, 0.0)],
)  # fmt: skip
def test_what_the_broker_says_last_decides_when_we_come_again(
    code: int, cause: Cause, is_alarm: bool, least_s: float
) -> None:
    """Two stations with one name do not fight, and somebody hears of it; a planned restart brings no herd."""
    stub = Stub(lambda kind, rest: bytes([0xE0, 2, code, 0]) if kind == 3 else polite(0)(kind, rest))
    station = Station(MqttConfig("127.0.0.1", stub.port, "S-1"))
    station.mqtt.start()
    station.mqtt.publish(station.next(Connected).connection, 1, "u/S-1/v", b"?", 0)
    ended = station.next(Disconnected)
    assert (ended.cause, ended.cause.is_alarm, ended.retry_in_s) == (cause, is_alarm, least_s)
    station.close()
    stub.close()


def referral(code: int, port: int) -> bytes:
    text = f"localhost:{port}".encode()
    return bytes([0x20, 6 + len(text), 0, code, 3 + len(text), 0x1C, 0, len(text)]) + text


@pytest.mark.parametrize(("code", "goes_on_at"), [(0x9C, "home"), (0x9D, "other")])
def test_a_station_goes_where_the_broker_sends_it(
    monkeypatch: pytest.MonkeyPatch, code: int, goes_on_at: str
) -> None:
    monkeypatch.setattr(backoff, "STABLE_S", 0.0)
    other = Stub(polite(0))
    home = Stub(lambda kind, rest: referral(code, other.port))
    station = Station(MqttConfig("localhost", home.port, "S-1"))
    station.mqtt.start()
    ended = station.next(Disconnected)
    assert ended.cause is Cause.REFERRED and f"localhost:{other.port}" in ended.why
    number = station.next(Connected).connection
    assert (home.connections, other.connections) == (1, 1)
    station.mqtt.drop(number, "next")
    station.next(Disconnected)
    station.next(Connected)
    assert home.connections == (2 if goes_on_at == "home" else 1)
    station.close()
    other.close()
    home.close()


def test_another_address_is_tried_at_the_next_connection_and_on_trial_it_is_the_only_one() -> None:
    home, other = Stub(polite(0)), Stub(polite(0))
    named = Stub(lambda kind, rest: referral(0x9D, other.port))
    station = Station(MqttConfig("localhost", home.port, "S-1"))
    station.mqtt.start()
    first = station.next(Connected)
    station.mqtt.go(("localhost", named.port), is_trial=True)
    station.mqtt.drop(first.connection, "next")
    assert (first.address, station.next(Disconnected).address) == (None, None)
    for _ in range(3):
        ended = station.next(Disconnected)
        assert (ended.cause, ended.address) == (Cause.REFERRED, ("localhost", named.port))
    assert (home.connections, other.connections) == (1, 0)
    station.mqtt.go(("localhost", named.port))
    assert station.next(Connected).address == ("localhost", named.port), "proven, it may refer us as it likes"
    assert other.connections == 1
    station.mqtt.go(None)
    station.mqtt.drop(station.mqtt._number, "next")
    assert station.next(Connected).address is None
    assert home.connections == 2, "a reference holds no longer than who gave it"
    station.close()
    for stub in (home, named, other):
        stub.close()


def test_a_broker_just_named_that_refuses_us_is_tried_soon_three_times() -> None:
    home, named = Stub(polite(0)), Stub(lambda kind, rest: bytes([0x20, 3, 0, 0x87, 0]))
    station = Station(MqttConfig("localhost", home.port, "S-1"))
    station.mqtt.go(("localhost", named.port), is_trial=True)
    station.mqtt.start()
    assert [station.next(Disconnected).retry_in_s for _ in range(4)] == [0.0, 0.0, 0.0, 300.0]
    station.close()
    home.close()
    named.close()


def test_a_reference_to_nobody_leads_home_again(listener: socket.socket) -> None:
    nobody = listener.getsockname()[1]
    listener.close()
    answers = iter([referral(0x9D, nobody)])
    home = Stub(lambda kind, rest: next(answers, None) or polite(0)(kind, rest))
    station = Station(MqttConfig("localhost", home.port, "S-1"))
    station.mqtt.start()
    assert [station.next(Disconnected).cause for _ in range(3)] == [Cause.REFERRED, Cause.LOST, Cause.LOST]
    station.next(Connected)
    station.close()
    home.close()


@NEEDS_MOSQUITTO
@pytest.mark.promise("S9")
def test_a_reference_to_a_broker_of_somebody_else_is_not_followed_further_than_its_certificate(
    broker: Mosquitto, pki: Path, tmp_path: Path
) -> None:
    devcloud.ca_init(tmp_path / "stranger")
    ca, cert, key = (tmp_path / "stranger" / name for name in ("ca.pem", "broker.pem", "broker.key"))
    strange = Mosquitto(tmp_path / "strange", cafile=ca, certfile=cert, keyfile=key)
    strange.start()
    station = Station(config(pki, broker.port))
    station.mqtt._servers.ended(0.0, ("localhost", strange.port), is_for_good=True)
    station.mqtt.start()
    assert [station.next(Disconnected).cause for _ in range(2)] == [Cause.UNTRUSTED] * 2
    station.next(Connected)
    station.close()
    strange.stop()


def test_a_planned_pause_is_waited_for_once(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    station = Station(MqttConfig("127.0.0.1", port, "S-1"))
    assert (station.mqtt._at_least_s(Cause.LOST), station.mqtt._at_least_s(Cause.SHUTTING_DOWN)) == (0, spread_s("S-1"))
    station.mqtt.retry_after_s = 1e9
    station.mqtt.start()
    assert station.next(Disconnected).retry_in_s == mqtt_module.RETRY_AFTER_MAX_S
    assert station.mqtt.retry_after_s == 0.0
    station.close()


# -- DNS, TCP, TLS ----------------------------------------------------------------------------------------------------


def resolver(*hosts: str) -> Callable[..., list[Any]]:
    """A name server that knows these addresses for every name."""

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        v4 = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts if ":" not in host]
        v6 = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0)) for host in hosts if ":" in host]
        return [*v6, *v4]

    return getaddrinfo


@given(st.lists(st.sampled_from(["v4", "v6"]), max_size=20))
def test_the_families_take_turns_and_a_name_with_many_addresses_is_bounded(families: list[str]) -> None:
    infos: list[Any] = [(family, number) for number, family in enumerate(families)]
    turns: list[Any] = in_turns(infos)
    assert len(turns) == min(len(infos), 6) and len(set(turns)) == len(turns)
    assert turns[:1] == infos[:1], "the resolver knows best where to begin"
    assert len({family for family, _ in turns[:2]}) == min(len(set(families)), 2)
    for family in ("v4", "v6"):
        mine = [info for info in turns if info[0] == family]
        assert mine == [info for info in infos if info[0] == family][: len(mine)]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=NEEDS_IPV6)])
def test_every_address_of_a_name_is_tried(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(polite(0), host)
    monkeypatch.setattr(socket, "getaddrinfo", resolver("127.0.0.2", "127.0.0.3", "::1", "127.0.0.1"))
    station = Station(MqttConfig("broker.example", stub.port, "S-1"))
    station.mqtt.start()
    station.next(Connected)
    station.close()
    stub.close()
    with pytest.raises(OSError, match=r"::1: .*; 127\.0\.0\.2: .*; 127\.0\.0\.3: .*; 127\.0\.0\.1: "):
        dial(("broker.example", stub.port), 1.0)


def test_what_is_sent_goes_out_at_once_and_is_not_waited_for_in_vain() -> None:
    stub = Stub(polite(0))
    with dial(("127.0.0.1", stub.port), 1.0) as sock:
        tune(sock)
        options = socket.TCP_USER_TIMEOUT, socket.TCP_NODELAY
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [10_000, 1]
    stub.close()


class NameServer:
    """Answers nobody until it is over; then it turns out that it has connected after all."""

    def __init__(self) -> None:
        self.is_asked, self.is_over, self.asked = threading.Event(), threading.Event(), 0
        self.ours, self.theirs = socket.socketpair()

    def dial(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        self.asked += 1
        self.is_asked.set()
        assert self.is_over.wait(30)
        return self.ours


@pytest.mark.promise("S6")
def test_a_name_server_that_hangs_is_given_up_and_asked_once_and_stop_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "DIAL_S", 0.05)
    dns = NameServer()
    station = Station(MqttConfig("broker.example", 8883, "S-1"), dns.dial)
    station.mqtt.start()
    for _ in range(3):
        assert "cannot connect to broker.example:8883: timed out" in station.next(Disconnected).why
    monkeypatch.setattr(mqtt_module, "DIAL_S", 90.0)
    station.next(Disconnected)
    before = CLOCK()
    station.close()
    assert CLOCK() - before < 1.0
    assert dns.asked == 1, "one thread hangs, not one for each attempt"
    dns.is_over.set()
    dns.theirs.settimeout(30)
    assert dns.theirs.recv(1) == b"", "what comes too late is closed"
    dns.theirs.close()


@pytest.mark.parametrize("is_tls", [True, False])
def test_stop_does_not_wait_for_a_handshake_or_a_welcome(listener: socket.socket, pki: Path, is_tls: bool) -> None:
    port = listener.getsockname()[1]
    station = Station(config(pki, port) if is_tls else MqttConfig("127.0.0.1", port, "S-1"))
    station.mqtt.start()
    with listener.accept()[0] as link:
        assert link.recv(1)
        before = CLOCK()
        station.close()
        assert CLOCK() - before < 1.0
    ended = station.next(Disconnected)
    assert ended.cause is Cause.STOPPED and "stopped" in ended.why


@pytest.mark.promise("S10")
def test_a_thousand_reconnects_leave_nothing_behind() -> None:
    stub = Stub(lambda kind, rest: {1: CONNACK, 8: None}.get(kind, b""))
    station = Station(MqttConfig("127.0.0.1", stub.port, "S-1"))

    def traces() -> tuple[int, int, int]:
        gc.collect()
        threads = sum(thread.name in ("mqtt", "dial") for thread in threading.enumerate())
        return len(os.listdir("/proc/self/fd")), threads, tracemalloc.get_traced_memory()[0]

    def reconnect(times: int) -> None:
        for _ in range(times):
            station.next(Disconnected)
            while not stub.said.empty():
                stub.said.get()

    tracemalloc.start()
    station.mqtt.start()
    reconnect(200)
    fds, threads, memory_b = traces()
    reconnect(800)
    fds_after, threads_after, memory_after_b = traces()
    tracemalloc.stop()
    station.close()
    stub.close()
    assert fds_after - fds <= 4 and threads_after - threads <= 1, "a connection more or less is just being made"
    assert memory_after_b - memory_b < 200_000


@pytest.mark.promise("S6")
def test_a_proxy_that_goes_silent_is_noticed_within_30_s_by_whoever_waits() -> None:
    """Its kernel acknowledges every byte, so TCP_USER_TIMEOUT sees nothing: the protocol's own deadline does."""
    silence = threading.Event()
    stub = Stub(lambda kind, rest: b"" if silence.is_set() else polite(0)(kind, rest))
    station = Station(MqttConfig("127.0.0.1", stub.port, "S-1"))
    station.mqtt.start()
    connected = station.next(Connected)
    silence.set()
    uplink = Uplink("S-1", WILL.boot_id, WILL.epoch, dict.fromkeys(range(5), (1, 1)), {})
    now = 1_000.0

    def perform(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Publish(number, packet_id, topic, payload, qos):
                    station.mqtt.publish(number, packet_id, topic, payload, qos)
                case Drop(number, why):
                    station.mqtt.drop(number, why)

    perform(uplink.connected(connected.connection, connected.receive_maximum, connected.maximum_packet_size, now))
    while stub.said.get(timeout=30)[0] != 3:  # the hello has arrived, and nobody says so
        pass
    while station.events.empty() and (due := uplink.next_deadline()) is not None and due <= 1_030.0:
        now = due
        perform(uplink.deadline(now))
    assert "no word from the cloud for 25 s" in station.next(Disconnected).why
    station.close()
    stub.close()


def test_a_name_that_no_dns_knows_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("no-such-host.invalid", "a..b", "x" * 70):
        station = Station(MqttConfig(host, 8883, "S-1"))
        station.mqtt.start()
        assert f"cannot connect to {host}:8883" in station.next(Disconnected).why
        station.close()


def locked(folder: Path) -> Path:
    """A private key with a password."""
    key = ec.generate_private_key(ec.SECP256R1())
    path = folder / "locked.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    return path


def test_a_certificate_that_cannot_be_used_says_which(pki: Path, tmp_path: Path) -> None:
    mine = config(pki, 8883)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca, cert in ((tmp_path / "none.pem", mine.cert), (broken, mine.cert), (mine.ca, broken)):
        with pytest.raises(MqttError, match=r"(none|broken)\.pem"):
            mqtt_module.tls_context(MqttConfig("localhost", 8883, "S-1", ca, cert, mine.key))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ca": tmp_path / "none.pem"}, r"ca .*none\.pem: No such file or directory: put the certificate of the CA"),
        ({"cert": tmp_path / "none.pem"}, r"cert .*none\.pem: No such file .*: issue the station's certificate again"),
        ({"key": tmp_path / "none.pem"}, r"key .*none\.pem: No such file .*: put the private key of the station there"),
        ({"key": locked(tmp_path)}, "for the key beside it"),  # it must not ask the terminal
        ({"key": pki / "broker.key"}, "for the key beside it"),
    ]
    for changes, sentence in cases:
        with pytest.raises(MqttError, match=sentence):
            mqtt_module.tls_context(replace(mine, **changes))
    context = mqtt_module.tls_context(mine)
    assert context is not None
    assert (context.minimum_version, context.verify_mode) == (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)


class Script:
    """A broker in the same thread: before each turn of the connection it answers what has arrived."""

    def __init__(self, answer: Callable[[int, bytes], bytes | None]) -> None:
        self.answer = answer
        self._heard = b""
        self.posted: list[object] = []
        self.ours, self.theirs = socket.socketpair()
        self.bell, self.ear = socket.socketpair()
        self.theirs.setblocking(False)
        self.turns = 0
        self.is_deaf = False
        self.keepalive = Keepalive()
        self.now = 0.0

    def run(self, turn: Callable[[Connection], None] = lambda connection: None, turns: int = 20) -> str:
        config = MqttConfig("h", 1, "S-1")
        connection = self.connection = Connection(
            7, config, b"", self.ours, self.posted.append, self.keepalive, lambda: self.now
        )
        self.ours.setblocking(False)

        def both(connection: Connection) -> None:
            self.turns += 1
            turn(connection)
            with suppress(BlockingIOError, BrokenPipeError):
                if not self.is_deaf:
                    self._heard += self.theirs.recv(65_536)
            while not self.is_deaf and (packet := first_packet(self._heard)):
                kind, rest, self._heard = packet
                with suppress(BrokenPipeError):
                    self.theirs.send(self.answer(kind, rest) or b"")
            if self.turns > turns:
                connection.end("the script is over")
            self.bell.send(b"x")

        with self.ours, self.theirs, self.bell, self.ear:
            self.bell.send(b"x")
            connection.serve(self.ear, both)
        return connection.why


def first_packet(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Type and body of the first whole packet, and what follows it."""
    size = 0
    for n, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            end = 2 + n + size
            return (data[0] >> 4, data[2 + n : end], data[end:]) if len(data) >= end else None
    return None


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
    ("packets", "why", "cause"),
    [
        ({1: bytes([0x20, 3, 0, 0x87, 0])}, "refuses us: Not authorized", Cause.REFUSED),
        ({1: bytes([0x20, 3, 0, 0x86, 0])}, "refuses us: Bad user name or password", Cause.REFUSED),
        ({1: bytes([0x20, 3, 0, 0x88, 0])}, "refuses us: Server unavailable", Cause.LOST),
        ({1: bytes([0x20, 3, 0, 0x89, 0])}, "refuses us: Server busy", Cause.LOST),
        ({1: bytes([0x20, 3, 0, 0x97, 0])}, "refuses us: Quota exceeded", Cause.LOST),
        ({1: bytes([0x20, 3, 0, 0x9F, 0])}, "refuses us: Connection rate exceeded", Cause.LOST),
        ({1: bytes([0x20, 2, 0, 1])}, "refuses us: Unsupported protocol version", Cause.UNFIT),  # it knows MQTT 3 only
        ({1: bytes([0x20, 5, 0, 0, 2, 0x24, 0])}, "QoS 0 only", Cause.UNFIT),
        ({1: bytes([0x20, 8, 0, 0, 5, 0x27, 0, 0, 1, 0])}, "packets of 256 bytes", Cause.UNFIT),
        ({1: bytes([0x20, 9, 0, 0, 6, 0x12, 0, 3]) + b"S-2"}, "another name", Cause.UNFIT),
        ({1: CONNACK, 8: bytes([0x90, 7, 0, 1, 0, 1, 0x87, 0, 0])}, "subscribe d/S-1/: Not authorized", Cause.REFUSED),
        ({1: CONNACK, 8: bytes([0x90, 7, 0, 1, 0, 1, 0x97, 0, 0])}, "subscribe d/S-1/: Quota", Cause.LOST),
        ({1: CONNACK, 8: bytes([0x90, 4, 0, 1, 0, 1])}, "what we did not ask for", Cause.LOST),
        ({1: CONNACK + bytes([0xE0, 2, 0x8E, 0])}, "Session taken over", Cause.TAKEN_OVER),
        ({1: CONNACK + bytes([0xE0, 2, 0x8B, 0])}, "Server shutting down", Cause.SHUTTING_DOWN),
        ({1: CONNACK + bytes([0xE0, 2, 0x87, 0])}, "Not authorized", Cause.REFUSED),
        ({1: CONNACK + bytes([0xE0, 2, 0x98, 0])}, "Administrative action", Cause.LOST),
        ({1: CONNACK + bytes([0xE0, 2, 0x97, 0])}, "Quota exceeded", Cause.LOST),
        ({1: CONNACK + CONNACK}, "welcomes us twice", Cause.LOST),
        ({1: bytes([0x90, 7, 0, 1, 0, 1, 0, 0, 0])}, "did not ask for", Cause.LOST),  # SUBACK before SUBSCRIBE
        ({1: bytes([0x30, 5, 0, 1]) + b"t" + b"\0x"}, "before it welcomes us", Cause.LOST),
        ({1: CONNACK + bytes([0x34, 7, 0, 1]) + b"t" + bytes([0, 1, 0]) + b"x"}, "Protocol error", Cause.LOST),  # QoS 2
        ({1: CONNACK + bytes([0x30, 0xFF, 0xFF, 0x7F])}, "a packet of 2097151 bytes, we take 101000", Cause.LOST),
        ({1: CONNACK + bytes([0xE0, 1, 0x05])}, ":", Cause.LOST),  # a code that does not exist
    ],
)  # fmt: skip
def test_a_refusal_says_why(packets: dict[int, bytes], why: str, cause: Cause) -> None:
    script = Script(lambda kind, _: packets.get(kind, b""))
    assert why in script.run()
    assert script.connection.cause is cause
    assert script.posted == []


@pytest.mark.parametrize(("code", "is_for_good"), [(0x9C, False), (0x9D, True)])
@pytest.mark.parametrize("head", [b"\x20", b"\xe0"])
def test_a_server_reference_is_read_where_it_is_one(head: bytes, code: int, is_for_good: bool) -> None:
    for text, address in ((b"b.example:8883", ("b.example", 8883)), (b"http://b/", None), (b"", None)):
        reference = bytes([0x1C, 0, len(text)]) + text if text else b""
        body = b"\0" * (head == b"\x20") + bytes([code, len(reference)]) + reference
        script = Script({1: head + bytes([len(body)]) + body}.get)
        script.run()
        connection = script.connection
        assert (connection.cause, connection.reference) == (Cause.REFERRED, address)
        assert connection.is_for_good == is_for_good


def test_what_needs_somebody_to_look_at_it_is_an_alarm() -> None:
    assert {cause for cause in Cause if cause.is_alarm} >= {cause for cause in Cause if cause.security_event}
    assert Cause.UNTRUSTED.security_event == "InvalidCsmsCertificate"
    assert not Cause.LOST.is_alarm and not Cause.SHUTTING_DOWN.is_alarm


def test_a_broker_that_does_not_read_blocks_nobody_and_misses_nothing() -> None:
    """The pipe between us is full. What did not fit waits, and goes out when the broker reads again."""
    script, heard = Script(polite(0)), []
    script.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    def turn(connection: Connection) -> None:
        if script.posted and script.turns < 20:
            script.is_deaf = True
            connection.publish(mqtt_module.Note(7, script.turns, "u/S-1/0", b"x" * 8_000, 1))
            heard.append(script.turns)
        script.is_deaf = script.is_deaf and script.turns < 30

    assert script.run(turn, turns=100) == "the script is over"
    assert len(heard) > 10
    assert script.posted[1:] == [PubAcked(number, 0) for number in heard]


# -- keepalive --------------------------------------------------------------------------------------------------------


class Idle(Script):
    """A polite broker and a station that has nothing to say. Time goes to the next deadline with each turn."""

    def __init__(self, answers_pings: Callable[[int], bool], server_s: int = 0) -> None:
        super().__init__(self.respond)
        self.answers_pings = answers_pings
        self.server_keepalive = bytes([0x13, *server_s.to_bytes(2, "big")]) if server_s else b""
        self.pinged_at: list[float] = []

    def respond(self, kind: int, rest: bytes) -> bytes:
        if kind == 12:
            self.pinged_at.append(self.now)
            return bytes([0xD0, 0]) if self.answers_pings(len(self.pinged_at)) else b""
        properties = self.server_keepalive
        connack = bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties
        return connack if kind == 1 else polite(0)(kind, rest)

    def live(self, turns: int) -> str:
        def turn(connection: Connection) -> None:
            if connection.since is not None and self.turns % 3 == 0:  # the turns between are for the answers
                self.now = self.keepalive.next_deadline()

        return self.run(turn, turns)


def test_an_idle_connection_pings_ever_more_rarely_and_says_so_to_nobody() -> None:
    idle = Idle(lambda number: True)
    assert idle.live(40) == "the script is over"
    gaps = [b - a for a, b in zip([0.0, *idle.pinged_at], idle.pinged_at, strict=False)]
    assert gaps[:6] == [240.0, 360.0, 540.0, 810.0, 1_090.0, 1_090.0]
    assert idle.posted == [Connected(7, 65_535, 268_435_455, False, keepalive_s=1_100)]


@pytest.mark.promise("S6")
def test_an_idle_connection_that_is_dead_is_noticed_within_one_and_a_half_keepalives_and_the_next_is_careful() -> None:
    idle = Idle(lambda number: number < 3)
    assert idle.live(40) == "connection lost: no answer to a PING"
    assert idle.pinged_at == [240.0, 600.0, 1_140.0]
    assert idle.now == 1_170.0 <= 600 + 1.5 * 540
    assert idle.keepalive.learned_s == 270.0


def test_a_broker_that_keeps_our_session_for_less_is_fine() -> None:
    connack = bytes([0x20, 8, 0, 0, 5, 0x11, 0, 0, 0, 60])
    script = Script(lambda kind, rest: connack if kind == 1 else polite(0)(kind, rest))
    assert script.run() == "the script is over"
    assert [type(event) for event in script.posted] == [Connected]


def test_the_brokers_keepalive_is_obeyed_and_told() -> None:
    idle = Idle(lambda number: True, server_s=30)
    idle.live(20)
    assert idle.posted == [Connected(7, 65_535, 268_435_455, False, keepalive_s=30)]
    assert idle.pinged_at[:3] == [27.0, 54.0, 81.0]


def test_nothing_is_published_before_the_subscriptions_stand() -> None:
    kinds: list[int] = []

    def answer(kind: int, rest: bytes) -> bytes:
        kinds.append(kind)
        return CONNACK if kind == 1 else b""

    Script(answer).run(lambda connection: connection.publish(mqtt_module.Note(7, 1, "u/S-1/0", b"batch", 1)))
    assert kinds == [1, 8]


def publish(qos: int, topic: bytes = b"d/S-1/c", payload: bytes = b"command") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + b"\0\7" * (qos > 0) + b"\0" + payload
    return bytes([0x30 | qos << 1, len(body)]) + body


SUBACK = bytes([0x90, 7, 0, 1, 0, 1, 0, 0, 0])
WORDS = [
    CONNACK, SUBACK, publish(0), publish(1), publish(2), publish(0, b"\xff"), publish(0, b""), bytes([0x40, 2, 0, 2]),
    bytes([0x40, 3, 0, 2, 0x97]), bytes([0x40, 4, 0, 2, 0x10, 0]), bytes([0x50, 2, 0, 1]), bytes([0x62, 2, 0, 7]),
    bytes([0x70, 2, 0, 1]), bytes([0xB0, 4, 0, 1, 0, 0]), bytes([0xC0, 0]), bytes([0xD0, 0]), bytes([0xE0, 0]),
    bytes([0xE0, 1, 0x8E]), bytes([0xE0, 2, 0x8B, 0]), bytes([0xF0, 2, 0x18, 0]), bytes([0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """What a broker may say, in any order, with bytes changed, lost, doubled and cut off."""
    said = CONNACK + SUBACK + b"".join(draw(st.lists(st.sampled_from(WORDS), max_size=8)))
    for at, what, byte in draw(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.integers(0, 255)))):
        at %= len(said) or 1
        middle = {0: bytes([byte]), 1: b"", 2: said[at : at + 1] * 2, 3: bytes([said[at] ^ 1 << byte % 8])}[what]
        said = said[:at] + middle + said[at + 1 :]
    return said[: draw(st.integers(0, len(said)))] if draw(st.booleans()) else said


@pytest.mark.promise("S9")
@given(mutated(), st.integers(1, 40))
def test_no_mutated_packet_of_a_broker_raises_or_tells_a_tale(said: bytes, chunk: int) -> None:
    """The connection may end, with a reason; what is posted is Connected once, first, and then what our events are."""
    pieces = iter([said[at : at + chunk] for at in range(0, len(said), chunk)])
    script = Script(lambda kind, rest: b"")

    def turn(connection: Connection) -> None:
        connection.publish(mqtt_module.Note(7, 99, "u/S-1/0", b"batch", 1))
        with suppress(BrokenPipeError):
            script.theirs.send(next(pieces, b""))

    assert script.run(turn, turns=len(said) // chunk + 5)
    connected = [type(event) for event in script.posted].count(Connected)
    assert connected <= 1 and all(isinstance(event, Connected | Received | PubAcked) for event in script.posted)
    assert connected or not any(isinstance(event, PubAcked) for event in script.posted)
    assert not script.connection._client._in_messages


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
