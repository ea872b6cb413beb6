"""The MQTT 5 connection: one thread that connects, keeps and loses it, and never makes anybody wait.

DNS, TCP and TLS may block for a minute; they block this thread only. paho is fenced: one client for each connection,
driven by this thread alone; it never reconnects by itself, gets no message while offline, and holds no more than the
protocol's window. Everything that happens goes to `post`, in order:

    Connected  Received  PubAcked  Disconnected
"""

import random
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.events import Blame
from agent.uplink.codec import MESSAGE_MAX_B

KEEPALIVE_S = 240
CONNECT_S = 10.0  # for each of: an address to answer, the TLS handshake, CONNACK and SUBACK
POLL_S = 1.0  # how late a keepalive may be noticed
USER_TIMEOUT_MS = 10_000  # TCP gives up on bytes that nobody acknowledges (RFC 5482)
SESSION_EXPIRY_S = 86_400  # how long the broker keeps commands for a station that is away
WILL_DELAY_S = 60
RECEIVE_MAXIMUM = 20
PACKET_MAX_B = MESSAGE_MAX_B + 1_000
NOTES_MAX = 100  # publishes on their way to the thread; the protocol's windows are smaller

FIRST_S, BASE_S, CAP_S, STABLE_S = 2.0, 5.0, 600.0, 60.0
PACKET_TOO_LARGE, PAYLOAD_INVALID = 0x95, 0x99
TAKEN_OVER = 0x8E  # somebody else uses our name: two stations with one identity must not fight
# CONNACK: client identifier not valid, bad user name or password, not authorized, banned, bad authentication method
NOT_YOU = (0x85, 0x86, 0x87, 0x8A, 0x8C)

# Commands outlive a connection. What else comes down is worthless late: with QoS 0 no broker keeps it.
SUBSCRIPTIONS = (("c", 1), ("a", 0), ("r", 0), ("v", 0))


Dial = Callable[[tuple[str, int], float], socket.socket]  # address, timeout in seconds: a TCP connection, or OSError


class MqttError(Exception):
    """The operator can fix it; the message says how."""


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """Where the broker is and who we are. PEM files; without `ca` plain TCP, which is for tests only. `pair` is any
    name for certificate and key, told again with each connection made with them; without `key` it stands in `cert`."""

    host: str
    port: int
    client_id: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    pair: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    """Connected and subscribed. The number is what publish() and drop() refer to."""

    connection: int
    receive_maximum: int
    maximum_packet_size: int
    session_present: bool
    pair: str = ""  # which certificate it was made with


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or an attempt has failed."""

    why: str
    retry_in_s: float
    pair: str = ""
    blame: Blame = Blame.NETWORK


@dataclass(frozen=True, slots=True)
class Received:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class PubAcked:
    packet_id: int
    reason_code: int


class Backoff:
    """Full jitter, doubling; only a connection that has stood for a minute proves that all is well again."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def first_s(self) -> float:
        """Before the first attempt: after a site-wide power cut nobody starts at the same instant."""
        return self._rng.uniform(0.0, FIRST_S)

    def next_s(self, stood_s: float, is_taken_over: bool = False) -> float:
        """How long to wait after a connection that stood so long (0: an attempt that failed)."""
        self._failures = 1 if stood_s >= STABLE_S else self._failures + 1
        if is_taken_over:
            return self._rng.uniform(CAP_S / 2, CAP_S)
        return self._rng.uniform(0.0, min(CAP_S, BASE_S * 2.0 ** min(self._failures - 1, 10)))


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """TLS 1.3, both ends with a certificate. MqttError names the file that is missing or no certificate."""
    if config.ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    file = config.ca
    try:
        context.load_verify_locations(config.ca)
        if config.cert is not None:
            file = config.cert
            context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        raise MqttError(f"{file}: {error.strerror or error}: issue the station's certificate again") from None
    return context


def blamed(error: Exception) -> Blame:
    """Why an attempt to connect has failed, before MQTT had its turn."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Blame.BROKER
    if isinstance(error, MqttError) or (isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")):
        return Blame.IDENTITY
    return Blame.NETWORK


def properties(packet_type: int, **values: int) -> Properties:
    made = Properties(packet_type)  # type: ignore[no-untyped-call, unused-ignore]
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client(paho.Client):
    """paho on a socket that stands already: its own connect knows neither our timeouts nor TLS resumption."""

    def __init__(self, config: MqttConfig, will: bytes, sock: socket.socket) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, config.client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self._given = sock
        self.max_inflight_messages_set(0)  # the window is the protocol's
        delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
        self.will_set(f"u/{config.client_id}/w", will, qos=1, properties=delay)

    def open(self, config: MqttConfig) -> None:
        """Sends CONNECT. The session is kept for the sake of commands; what we publish never relies on it."""
        wishes = {"SessionExpiryInterval": SESSION_EXPIRY_S, "ReceiveMaximum": RECEIVE_MAXIMUM}
        asked = properties(PacketTypes.CONNECT, MaximumPacketSize=PACKET_MAX_B, **wishes)
        self.connect(config.host, config.port, KEEPALIVE_S, clean_start=False, properties=asked)

    def _create_socket(self) -> socket.socket:
        return self._given

    def _handle_pubackcomp(self, cmd: Any) -> Any:
        """mosquitto refuses what is too large with a code that MQTT 5 has for DISCONNECT only: paho would hang up, we
        would send it again, for ever. 0x99 (payload format invalid) says the same."""
        packet = self._in_packet["packet"]
        if len(packet) > 2 and packet[2] == PACKET_TOO_LARGE:
            packet[2] = PAYLOAD_INVALID
        return super()._handle_pubackcomp(cmd)


class Connection:
    """From CONNECT to the end, all of it in the thread of Mqtt."""

    def __init__(
        self, number: int, config: MqttConfig, will: bytes, sock: socket.socket,
        post: Callable[[object], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.number, self._config, self._sock, self._post, self._clock = number, config, sock, post, clock
        self.why = ""  # it ended
        self.is_taken_over = False
        self.blame = Blame.NETWORK
        self._is_answered = False  # CONNACK has come
        self.since: float | None = None  # when it was subscribed
        self._limits = (0, 0, False)
        self._packet_ids: dict[int, int] = {}  # paho's -> the protocol's
        self._client = Client(config, will, sock)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    def serve(self, ear: socket.socket, turn: Callable[["Connection"], None]) -> None:
        """Until the connection has a reason to end; `turn` is called whenever the ear hears something, and at the end
        of every POLL_S. Whatever paho makes of bytes that are no MQTT ends this connection, not the thread."""
        give_up_at = self._clock() + CONNECT_S
        try:
            self._client.open(self._config)
            while not self.why:
                self._wait(ear)
                turn(self)
                if self.since is None and self._clock() >= give_up_at:
                    self.end("the broker does not answer")
        except Exception as error:
            self.end(f"{type(error).__name__}: {error}")

    def _wait(self, ear: socket.socket) -> None:
        """Until there is something to read, to write or to hear; then paho does its part."""
        is_pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        writers = [self._sock] if self._client.want_write() else []
        readable, writable, _ = select.select([self._sock, ear], writers, [], 0.0 if is_pending else POLL_S)
        if ear in readable:
            ear.recv(4096)
        if is_pending or self._sock in readable:
            self._client.loop_read()
        if writable and not self.why:
            self._client.loop_write()
        if not self.why:
            self._client.loop_misc()
        if self._client.socket() is None:
            self._lost("connection lost")

    def publish(self, note: "Note") -> None:
        if self.since is None or self.why:
            return
        info = self._client.publish(note.topic, note.payload, note.qos)
        if note.qos:
            self._packet_ids[info.mid] = note.packet_id

    def end(self, why: str) -> None:
        """The first reason counts."""
        self.why = self.why or why

    def _lost(self, why: str) -> None:
        """TLS 1.3 tells of a refused certificate only after the handshake: by an alert, or by hanging up."""
        if isinstance(self._sock, ssl.SSLSocket) and not self._is_answered and not self.why:
            self.blame, why = Blame.IDENTITY, "the broker hangs up on our certificate"
        self.end(why)

    def say_goodbye(self) -> None:
        """Disconnect with will (MQTT 5 §3.14.2.1): whoever waits for this station shall know."""
        self.end("stopped")
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=0x04))

    # paho calls these while it holds locks: they note and post, no more.

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any) -> None:
        self._is_answered = True
        if reason_code.is_failure:
            self.blame = Blame.IDENTITY if reason_code.value in NOT_YOU else Blame.NETWORK
            self.end(f"the broker refuses us: {reason_code}")
        elif getattr(properties, "MaximumQoS", 2) == 0:
            self.end("the broker knows QoS 0 only: it could not say what it has taken")
        else:
            window = getattr(properties, "ReceiveMaximum", 65_535)
            self._limits = window, getattr(properties, "MaximumPacketSize", 268_435_455), bool(flags.session_present)
            prefix = f"d/{self._config.client_id}/"
            client.subscribe([(prefix + kind, SubscribeOptions(qos=qos)) for kind, qos in SUBSCRIPTIONS])

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reason_codes: Any, properties: Any) -> None:
        if refused := [str(code) for code in reason_codes if code.is_failure]:
            self.end(f"the broker refuses to subscribe d/{self._config.client_id}/: {refused[0]}")
            return
        self.since = self._clock()
        self._post(Connected(self.number, *self._limits, self._config.pair))

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        self._post(Received(message.topic, bytes(message.payload)))

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if (packet_id := self._packet_ids.pop(mid, None)) is not None:
            self._post(PubAcked(packet_id, reason_code.value))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        self.is_taken_over = by_broker and reason_code.value == TAKEN_OVER
        if by_broker:
            self.end(f"disconnected by the broker: {reason_code}")
        else:
            self._lost(f"connection lost: {reason_code}")


class Note(NamedTuple):
    """A publish on its way to the thread."""

    connection: int
    packet_id: int
    topic: str
    payload: bytes
    qos: int


class Mqtt:
    """publish, drop and stop only leave a note for the thread: none of them waits."""

    def __init__(
        self, config: MqttConfig, will: bytes, post: Callable[[object], None],
        rng: random.Random, clock: Callable[[], float], dial: Dial = socket.create_connection,
    ) -> None:  # fmt: skip
        """`clock` is monotonic seconds. MqttError if the certificates cannot be used."""
        self._dial = dial
        self.will = will  # of the connections to come: set it again with each new epoch
        self._config, self._post, self._clock = config, post, clock
        self._tls = tls_context(config)
        self._tls_session: ssl.SSLSession | None = None
        self._wanted: tuple[Path, str] | None = None  # see use()
        self._backoff = Backoff(rng)
        self._number = 0  # of the last connection
        self._notes: deque[Note] = deque(maxlen=NOTES_MAX)
        self._unwanted = (0, "")  # connection, why
        self._stopping = threading.Event()
        self._bell, self._ear = socket.socketpair()  # wakes the thread from its select
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        """Sent on this connection or not at all. PubAcked follows for qos 1."""
        self._notes.append(Note(connection, packet_id, topic, payload, qos))
        self._ring()

    def drop(self, connection: int, why: str) -> None:
        """Tear this connection down without a goodbye: nobody is there to hear it."""
        self._unwanted = connection, why
        self._ring()

    def use(self, cert: Path, pair: str) -> None:
        """From the next connection on: this certificate with its key, one PEM file, and `pair` its name."""
        self._wanted = cert, pair

    def stop(self) -> None:
        """Say goodbye and end, as soon as the thread is out of DNS, TCP or TLS."""
        self._stopping.set()
        self._ring()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end after stop(); False: it still hangs in the network, and as a daemon keeps nobody."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it wakes up anyway; closed: it has ended
            self._bell.send(b"\0")

    # -- the thread

    def _run(self) -> None:
        delay_s = self._backoff.first_s()
        with self._bell, self._ear:
            while not self._stopping.wait(delay_s):
                why, stood_s, is_taken_over, blame = self._attempt()
                delay_s = self._backoff.next_s(stood_s, is_taken_over)
                self._post(Disconnected(why, delay_s, self._config.pair, blame))

    def _attempt(self) -> tuple[str, float, bool, Blame]:
        """One connection from first to last: why it ended, how long it stood, whether somebody took our name, and if
        it never stood, who is to blame."""
        try:
            self._take_wanted()
            sock = self._connect()
        except (OSError, ValueError, MqttError) as error:  # DNS, TCP, TLS; ValueError: a name that DNS cannot hold
            return f"cannot connect to {self._config.host}:{self._config.port}: {error}", 0.0, False, blamed(error)
        self._number += 1
        with closing(sock):
            connection = Connection(self._number, self._config, self.will, sock, self._post, self._clock)
            connection.serve(self._ear, self._turn)
            if isinstance(sock, ssl.SSLSocket):
                self._tls_session = sock.session or self._tls_session  # TLS 1.3: the tickets come after the handshake
        stood_s = 0.0 if connection.since is None else self._clock() - connection.since
        return connection.why, stood_s, connection.is_taken_over, connection.blame

    def _take_wanted(self) -> None:
        """A fresh context, so that a file which cannot be used leaves the old one whole; its TLS session, which would
        go on with the old certificate, is forgotten."""
        if wanted := self._wanted:
            self._config = replace(self._config, cert=wanted[0], key=None, pair=wanted[1])  # to blame if it is no good
            self._tls, self._tls_session = tls_context(self._config), None
            if self._wanted is wanted:  # not another one meanwhile
                self._wanted = None

    def _connect(self) -> socket.socket:
        sock = self._dial((self._config.host, self._config.port), CONNECT_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            if self._tls:
                return self._tls.wrap_socket(sock, server_hostname=self._config.host, session=self._tls_session)
            return sock
        except BaseException:
            sock.close()
            raise

    def _turn(self, connection: Connection) -> None:
        """What has been noted for this connection; what was meant for an earlier one is void."""
        while self._notes:
            note = self._notes.popleft()
            if note.connection == connection.number:
                connection.publish(note)
        number, why = self._unwanted
        if number == connection.number:
            connection.end(why)
        elif self._stopping.is_set():
            connection.say_goodbye()
