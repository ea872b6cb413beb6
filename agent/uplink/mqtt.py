"""The MQTT 5 connection: one thread that connects, keeps and loses it, and never makes anybody wait.

DNS, TCP and TLS may take a minute; nobody waits for it, and stop() ends them at once. paho is fenced: one client for
each connection, driven by this thread alone; it never reconnects by itself, gets no message while offline, holds no
more than the protocol's window, and takes no packet we have not asked for. What happens goes to `post`, in order:

    Connected  Received  PubAcked  Disconnected
"""

import math
import random
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.uplink.backoff import SPREAD_S, Address, Backoff, Servers, read_reference, spread_s
from agent.uplink.codec import MESSAGE_MAX_B, Will, encode_will
from agent.uplink.dial import Dial, Dialing, dial, tune
from agent.uplink.keepalive import MOST_S, START_S, Keepalive

CONNECT_S = 10.0  # for each of: an address to answer, the TLS handshake, CONNACK and SUBACK
DIAL_S = 90.0  # DNS and all addresses
SESSION_EXPIRY_S = 86_400  # how long the broker keeps commands for a station that is away; less granted is fine
WILL_DELAY_S = 60
RECEIVE_MAXIMUM = 20
PACKET_MAX_B = MESSAGE_MAX_B + 1_000  # beyond it a broker is refused, whatever it says
PACKET_LEAST_B = 512  # a broker that takes no more cannot even be greeted
NOTES_MAX = 100  # publishes on their way to the thread; the protocol's windows are smaller
RETRY_AFTER_MAX_S = 3_600.0
SOON = 3  # so often a pair or address just named is tried soon though refused: whoever named it may take it back then

SUCCESS, PACKET_TOO_LARGE, PAYLOAD_INVALID = 0x00, 0x95, 0x99
USE_ANOTHER_SERVER, SERVER_MOVED = 0x9C, 0x9D
KEEPALIVE_TIMEOUT = 0x8D

# Commands outlive a connection. What else comes down is worthless late: with QoS 0 no broker keeps it.
SUBSCRIPTIONS = (("c", 1), ("a", 0), ("r", 0), ("v", 0))


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
    spread_s: float = SPREAD_S  # over how long a fleet comes back when its broker says that it shuts down


class Cause(StrEnum):
    """Why a connection ended or an attempt failed, as far as somebody must do something about it."""

    LOST = "lost"  # the network, a dead or busy broker: it comes back
    STOPPED = "stopped"  # by us
    REFERRED = "referred"  # to another server
    SHUTTING_DOWN = "shutting down"  # the broker, as it says: planned, so nobody hurries
    REFUSED = "refused"  # the broker does not let this station in: its account, or its certificate
    HUNG_UP = "hung up"  # the broker, without a word, after TLS and before CONNACK: on our certificate, or by chance
    UNUSABLE = "unusable"  # the files of our own certificate and key
    UNFIT = "unfit"  # the broker cannot do what we need: an older MQTT, QoS 0 only, another name for us
    TAKEN_OVER = "taken over"  # somebody else uses our name: two stations with one identity must not fight
    UNTRUSTED = "untrusted"  # the broker's certificate does not verify
    TLS_VERSION = "TLS version"  # the broker speaks no TLS 1.3

    @property
    def is_alarm(self) -> bool:
        """No waiting will mend it."""
        return self.is_long or self in (Cause.UNUSABLE, Cause.UNTRUSTED, Cause.TLS_VERSION)

    @property
    def is_long(self) -> bool:
        """Another try soon does harm or no good."""
        return self in (Cause.REFUSED, Cause.UNFIT, Cause.TAKEN_OVER)

    @property
    def is_refusal(self) -> bool:
        """It may well be our certificate that is wrong: another one is worth a try (agent/renewal.py counts these)."""
        return self in (Cause.REFUSED, Cause.HUNG_UP, Cause.UNUSABLE)

    @property
    def security_event(self) -> str | None:
        """OCPP 2.1 part 2 appendix 1, the security event that this is."""
        return SECURITY_EVENTS.get(self)


SECURITY_EVENTS = {
    Cause.REFUSED: "FailedToAuthenticateAtCsms",
    Cause.UNTRUSTED: "InvalidCsmsCertificate",
    Cause.TLS_VERSION: "InvalidTLSVersion",
}

# MQTT 5 §2.4, of a CONNACK, SUBACK or DISCONNECT. Any other failure is Cause.LOST: back off and try again.
CAUSES = {
    0x84: Cause.UNFIT,  # unsupported protocol version
    0x85: Cause.UNFIT,  # client identifier not valid
    0x86: Cause.REFUSED,  # bad user name or password
    0x87: Cause.REFUSED,  # not authorized
    0x8A: Cause.REFUSED,  # banned
    0x8C: Cause.REFUSED,  # bad authentication method
    0x8B: Cause.SHUTTING_DOWN,
    0x8E: Cause.TAKEN_OVER,
    USE_ANOTHER_SERVER: Cause.REFERRED,
    SERVER_MOVED: Cause.REFERRED,
}
OUR_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")  # in OpenSSL's name of the alert that the broker sent
HANG_UPS = (ConnectionError, ssl.SSLEOFError)  # not a link that went silent: that is a TimeoutError
NO_COMMON_VERSION = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "WRONG_VERSION_NUMBER")


class Connected(Struct, frozen=True):
    """Connected and subscribed. The number is what publish() and drop() refer to, and stands in the will.

    `keepalive_s`: the keepalive agreed with the broker. PINGs keep it; whoever has words of his own for an idle
    connection says them somewhat earlier than that, and not more often.
    """

    connection: int
    receive_maximum: int
    maximum_packet_size: int
    session_present: bool
    keepalive_s: float = MOST_S
    pair: str = ""  # which certificate it was made with
    address: Address | None = None  # whom the attempt was for, as go() has said it
    broker_until_s: float = float("inf")  # wall: notAfter of its certificate
    local: str = ""  # our own address of it: whose line it goes over


class Disconnected(Struct, frozen=True):
    """The connection is gone, or an attempt has failed."""

    why: str
    retry_in_s: float
    cause: Cause = Cause.LOST
    pair: str = ""
    address: Address | None = None


class Received(Struct, frozen=True):
    topic: str
    payload: bytes


class PubAcked(Struct, frozen=True):
    packet_id: int
    reason_code: int


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """TLS 1.3, both ends with a certificate. MqttError names the file that cannot be used and says what to do."""
    if config.ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with usable("ca", config.ca, "put the certificate of the CA that signs the broker there"):
        context.load_verify_locations(config.ca)
    if config.cert is not None:
        with usable("key", config.key or config.cert, "put the private key of the station there, not encrypted"):
            (config.key or config.cert).read_bytes()
        with usable("cert", config.cert, "issue the station's certificate again, for the key beside it"):
            context.load_cert_chain(config.cert, config.key, password="")  # else OpenSSL asks the terminal
    return context


def tls_cause(error: Exception | None) -> Cause:
    """What a failed handshake, or the alert that broke a connection, tells. TLS 1.3: a broker refuses our certificate
    only after the handshake."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause.UNTRUSTED
    if "ALERT" in reason and any(word in reason for word in OUR_CERTIFICATE):
        return Cause.REFUSED
    return Cause.TLS_VERSION if any(word in reason for word in NO_COMMON_VERSION) else Cause.LOST


@contextmanager
def usable(what: str, file: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MqttError(f"{what} {file}: {why}: {advice}, or set {what} to where it is") from None


def wait(readers: Iterable[socket.socket], writers: Iterable[socket.socket], timeout_s: float) -> set[int]:
    """The file descriptors that are ready, or that have failed."""
    poller = select.poll()  # select() knows no descriptor beyond 1023
    for sock in readers:
        poller.register(sock, select.POLLIN)
    for sock in writers:
        poller.register(sock, select.POLLOUT | select.POLLIN)
    return {fd for fd, _ in poller.poll(math.ceil(1000 * max(0.0, timeout_s)))}


def properties(packet_type: int, **values: int) -> Properties:
    made = Properties(packet_type)  # type: ignore[no-untyped-call, unused-ignore]
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client(paho.Client):
    """paho on a socket that stands already: its own connect knows neither our timeouts nor TLS resumption. Of paho's
    timers none runs: loop_misc() notices a dead link only after two keepalives."""

    def __init__(
        self, config: MqttConfig, will: bytes, sock: socket.socket, keepalive: Keepalive, clock: Callable[[], float]
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, config.client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.error: OSError | None = None  # paho keeps it to itself
        self._given, self._pulse, self._clock = sock, keepalive, clock
        self.max_inflight_messages_set(0)  # the window is the protocol's
        delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
        self.will_set(f"u/{config.client_id}/w", will, qos=1, properties=delay)

    def open(self, config: MqttConfig) -> None:
        """Sends CONNECT. The session is kept for the sake of commands; what we publish never relies on it."""
        wishes = {"SessionExpiryInterval": SESSION_EXPIRY_S, "ReceiveMaximum": RECEIVE_MAXIMUM}
        asked = properties(PacketTypes.CONNECT, MaximumPacketSize=PACKET_MAX_B, **wishes)
        self.connect(config.host, config.port, int(MOST_S), clean_start=False, properties=asked)

    def ping(self) -> None:
        self._pulse.pinged(self._clock())
        self._send_pingreq()

    def _create_socket(self) -> socket.socket:
        return self._given

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            if bufsize > PACKET_MAX_B:  # paho would collect up to 256 MB of it
                raise OSError(f"the broker sends a packet of {bufsize} bytes, we take {PACKET_MAX_B}")
            data: bytes = super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:
            self.error = error
            raise
        if data:
            self._pulse.heard(self._clock())
        else:
            self.error = self.error or ConnectionResetError("the broker has hung up")
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            size: int = super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError as error:
            self.error = error
            with suppress(BlockingIOError):  # why it has hung up may wait to be read
                self._sock_recv(1)
            raise
        self._pulse.sent(self._clock())
        return size

    def _handle_publish(self) -> Any:
        """QoS 2 is not what we have subscribed; paho would keep the messages until a PUBREL that never comes."""
        is_qos_2 = self._in_packet["command"] & 0x04
        return MQTTErrorCode.MQTT_ERR_PROTOCOL if is_qos_2 else super()._handle_publish()

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
        post: Callable[[object], None], keepalive: Keepalive, clock: Callable[[], float],
        address: Address | None = None,
    ) -> None:  # fmt: skip
        self.number, self._config, self._sock, self._address = number, config, sock, address
        self._post, self._keepalive, self._clock = post, keepalive, clock
        self.why, self.cause = "", Cause.LOST  # it ended
        self.reference: Address | None = None  # the server that the broker has sent us to
        self.is_for_good = False
        self.since: float | None = None  # when it was subscribed
        self.tls_session: ssl.SSLSession | None = None  # for the next connection
        self._is_silent = True  # the broker has not said why it ends
        self._connected: Connected | None = None  # posted once it is subscribed
        self._packet_ids: dict[int, int] = {}  # paho's -> the protocol's
        self._client = Client(config, will, sock, keepalive, clock)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    def serve(self, ear: socket.socket, turn: Callable[["Connection"], None]) -> None:
        """Until the connection has a reason to end; `turn` is called whenever there was something to do or to hear.
        Whatever paho makes of bytes that are no MQTT ends this connection, not the thread."""
        give_up_at = self._clock() + CONNECT_S
        self._keepalive.opened(0, self._clock())  # how long there was no connection says nothing about this one
        try:
            self._client.open(self._config)
            while not self.why:
                self._wait(ear, give_up_at if self.since is None else self._keepalive.next_deadline())
                turn(self)
                if self.since is None and self._clock() >= give_up_at:
                    self.end("the broker does not answer")
        except Exception as error:
            self.end(f"{type(error).__name__}: {error}")
        if self._connected:
            self._keepalive.closed(self._is_silent and self.cause is Cause.LOST)

    def _wait(self, ear: socket.socket, until: float) -> None:
        """Until there is something to read, to write or to hear, or it is time; then paho does its part."""
        is_pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        writers = [self._sock] if self._client.want_write() else []
        ready = wait([self._sock, ear], writers, 0.0 if is_pending else until - self._clock())
        if ear.fileno() in ready:
            ear.recv(4096)
        if is_pending or self._sock.fileno() in ready:
            self._client.loop_read()
        if self._client.want_write() and not self.why:
            self._client.loop_write()
        if self.since is not None and not self.why:
            self._beat()
        if self._client.socket() is None:
            self._lost("connection lost")

    def _beat(self) -> None:
        now = self._clock()
        if self._keepalive.is_dead(now):
            self.end("connection lost: no answer to a PING")
        elif self._keepalive.is_ping_due(now):
            self._client.ping()

    def publish(self, note: "Note") -> None:
        if self.since is None or self.why:
            return
        info = self._client.publish(note.topic, note.payload, note.qos)
        if note.qos:
            self._packet_ids[info.mid] = note.packet_id

    def end(self, why: str, cause: Cause = Cause.LOST) -> None:
        """The first reason counts."""
        if not self.why:
            self.why, self.cause = why, cause

    def say_goodbye(self) -> None:
        """Disconnect with will (MQTT 5 §3.14.2.1): whoever waits for this station shall know."""
        self.end("stopped", Cause.STOPPED)
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=0x04))

    def _lost(self, why: str) -> None:
        error, cause = self._client.error, tls_cause(self._client.error)
        if cause is Cause.REFUSED:
            self.end(f"the broker refuses our certificate: {error}", cause)
        elif self._connected is None and isinstance(self._sock, ssl.SSLSocket) and isinstance(error, HANG_UPS):
            self.end(f"the broker hangs up before it welcomes us: {error}", Cause.HUNG_UP)
        else:
            self.end(f"connection lost: {error}" if error else why)

    def _refused(self, what: str, code: Any, properties: Any = None) -> None:
        """The broker has said no, or goodbye."""
        if code.value in (USE_ANOTHER_SERVER, SERVER_MOVED):
            self.reference = read_reference(getattr(properties, "ServerReference", ""))
            self.is_for_good = code.value == SERVER_MOVED
        self._is_silent = code.value == KEEPALIVE_TIMEOUT
        where = f" to {self.reference[0]}:{self.reference[1]}" if self.reference else ""
        self.end(f"{what}: {code}{where}", CAUSES.get(code.value, Cause.LOST))

    # paho calls these while it holds locks: they note and post, no more.

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any) -> None:
        packet_max = getattr(properties, "MaximumPacketSize", 268_435_455)
        if self._connected:
            self.end("the broker welcomes us twice")
        elif reason_code.is_failure:
            self._refused("the broker refuses us", reason_code, properties)
        elif getattr(properties, "MaximumQoS", 2) == 0:
            self.end("the broker knows QoS 0 only: it could not say what it has taken", Cause.UNFIT)
        elif packet_max < PACKET_LEAST_B:
            self.end(f"the broker takes packets of {packet_max} bytes only, we need {PACKET_LEAST_B}", Cause.UNFIT)
        elif getattr(properties, "AssignedClientIdentifier", self._config.client_id) != self._config.client_id:
            self.end("the broker gives us another name: it must take the client id as it is", Cause.UNFIT)
        else:
            self._keepalive.opened(getattr(properties, "ServerKeepAlive", 0), self._clock())
            window = getattr(properties, "ReceiveMaximum", 65_535)
            is_present, agreed_s = bool(flags.session_present), self._keepalive.agreed_s
            made_with = self._config.pair, self._address, valid_until(self._sock), local_of(self._sock)
            self._connected = Connected(self.number, window, packet_max, is_present, agreed_s, *made_with)
            prefix = f"d/{self._config.client_id}/"
            client.subscribe([(prefix + kind, SubscribeOptions(qos=qos)) for kind, qos in SUBSCRIPTIONS])

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reason_codes: Any, properties: Any) -> None:
        if refused := [code for code in reason_codes if code.is_failure]:
            self._refused(f"the broker refuses to subscribe d/{self._config.client_id}/", refused[0])
        elif self._connected is None or self.since is not None or len(reason_codes) != len(SUBSCRIPTIONS):
            self.end("the broker grants what we did not ask for")
        elif not self.why:
            self.since = self._clock()
            if isinstance(self._sock, ssl.SSLSocket):  # TLS 1.3: the tickets have come after the handshake
                self.tls_session = self._sock.session
            self._post(self._connected)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if self._connected is None:
            self.end("the broker talks before it welcomes us")
        else:
            self._post(Received(message.topic, bytes(message.payload)))

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if (packet_id := self._packet_ids.pop(mid, None)) is not None:
            self._post(PubAcked(packet_id, reason_code.value))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._refused("disconnected by the broker", reason_code, properties)
        else:
            self._lost(f"connection lost: {reason_code}")


def valid_until(sock: socket.socket) -> float:
    """When the certificate at the other end expires, in wall seconds; a resumed TLS session keeps its first one."""
    shown = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    return ssl.cert_time_to_seconds(str(shown["notAfter"])) if shown else float("inf")


def local_of(sock: socket.socket) -> str:
    """Our address of it; "" where it has none."""
    name = sock.getsockname()
    return name[0] if isinstance(name, tuple) else ""


class Note(NamedTuple):
    """A publish on its way to the thread."""

    connection: int
    packet_id: int
    topic: str
    payload: bytes
    qos: int


class End(NamedTuple):
    """Of a connection or an attempt."""

    why: str
    cause: Cause
    stood_s: float = 0.0


class Goal(Struct, frozen=True):
    """Whom the next attempt is for."""

    address: Address | None = None
    is_trial: bool = False


class Mqtt:
    """publish, drop and stop only leave a note for the thread: none of them waits."""

    def __init__(
        self, config: MqttConfig, will: Will, post: Callable[[object], None], rng: random.Random,
        clock: Callable[[], float], dial: Dial = dial, learned_keepalive_s: float = START_S,
    ) -> None:  # fmt: skip
        """`clock` is monotonic seconds. MqttError if the certificates cannot be used."""
        self.will = will  # of the connections to come: set it again with each new epoch
        self.retry_after_s = 0.0  # before the next attempt, once: somebody has planned something
        self.keepalive = Keepalive(learned_keepalive_s)
        self._config, self._post, self._clock, self._dial = config, post, clock, dial
        self._tls = tls_context(config)
        self._tls_session: tuple[Address, ssl.SSLSession] | None = None  # good for the server that gave it
        self._wanted: tuple[Path, str] | None = None  # see use()
        self._soon = 0  # so many refusals of a new pair are followed by another try soon
        self._backoff = Backoff(rng.uniform)
        self._servers = Servers((config.host, config.port))
        self._wish: Goal = Goal()  # see go()
        self._goal = self._wish  # of the present attempt
        self._number = 0  # of the last connection
        self._notes: deque[Note] = deque(maxlen=NOTES_MAX)
        self._unwanted = (0, "")  # connection, why
        self._dialing: Dialing | None = None
        self._stopping, self._news = threading.Event(), threading.Event()  # news: stop() or use()
        self._bell, self._ear = socket.socketpair()  # wakes the thread from its wait
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
        """From the next connection on: this certificate with its key, one PEM file, and `pair` its name. Who waits
        because the last one was refused waits no longer."""
        self._wanted = cert, pair
        self._news.set()

    def go(self, address: Address | None, *, is_trial: bool = False) -> None:
        """From the next connection on: to this address, told again with each connection made for it; None: to the one
        we were made with. On trial it alone is tried: no reference to another server is followed."""
        self._wish = Goal(address, is_trial)

    @property
    def learned_keepalive_s(self) -> float:
        """Worth keeping over a restart."""
        return self.keepalive.learned_s

    def stop(self) -> None:
        """Say goodbye and end, at once: also in the middle of DNS, TCP or TLS."""
        self._stopping.set()
        self._news.set()
        self._ring()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end after stop(); False: it has not come."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it wakes up anyway; closed: it has ended
            self._bell.send(b"\0")

    # -- the thread

    def _run(self) -> None:
        delay_s, is_refused = self._backoff.first_s(), False
        with self._bell, self._ear:
            while not self._is_stopped_after(delay_s, is_refused):
                end = self._attempt()
                is_refused = end.cause.is_refusal
                is_soon = is_refused and self._soon > 0
                self._soon -= is_soon
                is_long = end.cause.is_long and not is_soon
                delay_s = self._backoff.next_s(end.stood_s, is_long, self._at_least_s(end.cause))
                self._post(Disconnected(end.why, delay_s, end.cause, self._config.pair, self._goal.address))
        if self._dialing:
            self._dialing.abandon()

    def _is_stopped_after(self, delay_s: float, is_refused: bool) -> bool:
        """Another pair is news for who was refused; nobody else is hurried."""
        if not self._stopping.is_set():
            (self._news if is_refused else self._stopping).wait(delay_s)
        return self._stopping.is_set()

    def _at_least_s(self, cause: Cause) -> float:
        asked_s, self.retry_after_s = min(self.retry_after_s, RETRY_AFTER_MAX_S), 0.0
        is_planned = cause is Cause.SHUTTING_DOWN
        return max(asked_s, spread_s(self._config.client_id, self._config.spread_s) if is_planned else 0.0)

    def _attempt(self) -> End:
        """One connection from first to last."""
        self._take_wish()
        address = self._servers.address
        try:
            self._take_wanted()
            sock = self._connect(address)
        except MqttError as error:
            return End(str(error), Cause.UNUSABLE)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no thread left for DNS
            self._servers.ended(0.0)
            cause = Cause.STOPPED if self._stopping.is_set() else tls_cause(error)
            return End(f"cannot connect to {address[0]}:{address[1]}: {error}", cause)
        self._number += 1
        with closing(sock):
            will = encode_will(replace(self.will, connection=self._number))
            connection = Connection(
                self._number, self._config, will, sock, self._post, self.keepalive, self._clock, self._goal.address
            )
            connection.serve(self._ear, self._turn)
        if connection.tls_session:
            self._tls_session = address, connection.tls_session
        stood_s = 0.0 if connection.since is None else self._clock() - connection.since
        reference = None if self._goal.is_trial else connection.reference
        self._servers.ended(stood_s, reference, connection.is_for_good)
        return End(connection.why, connection.cause, stood_s)

    def _take_wish(self) -> None:
        """Where references have led to holds no more, once somebody has named another address."""
        before, self._goal = self._goal, self._wish
        if self._goal.address != before.address:
            self._servers = Servers(self._goal.address or (self._config.host, self._config.port))
            self._soon = SOON

    def _take_wanted(self) -> None:
        """A fresh context, so that a file which cannot be used leaves the old one whole; its TLS session, which would
        go on with the old certificate, is forgotten. MqttError."""
        self._news.clear()
        if wanted := self._wanted:
            self._soon = SOON if self._config.pair != wanted[1] else self._soon
            self._config = replace(self._config, cert=wanted[0], key=None, pair=wanted[1])  # to blame if it is no good
            self._tls, self._tls_session = tls_context(self._config), None
            if self._wanted is wanted:  # not another one meanwhile
                self._wanted = None

    def _connect(self, address: Address) -> socket.socket:
        """TCP and, with a CA, TLS. OSError; ValueError: a name that DNS cannot hold."""
        sock = self._dialed(address)
        try:
            tune(sock)
            sock.setblocking(False)
            if self._tls is None:
                return sock
            session = self._tls_session[1] if self._tls_session and self._tls_session[0] == address else None
            sock = self._tls.wrap_socket(
                sock, server_hostname=address[0], session=session, do_handshake_on_connect=False
            )
            self._shake_hands(sock)
            return sock
        except BaseException:
            sock.close()
            raise

    def _dialed(self, address: Address) -> socket.socket:
        if self._dialing and (self._dialing.result is not None or self._dialing.address != address):
            self._dialing.abandon()  # it came too late
            self._dialing = None
        dialing = self._dialing = self._dialing or Dialing(self._dial, address, CONNECT_S, self._ring)
        until = self._clock() + DIAL_S
        while dialing.result is None:
            self._listen([], [], until)
        self._dialing = None
        if isinstance(dialing.result, socket.socket):
            return dialing.result
        raise dialing.result

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        until = self._clock() + CONNECT_S
        while True:
            try:
                return sock.do_handshake()
            except ssl.SSLWantReadError:
                self._listen([sock], [], until)
            except ssl.SSLWantWriteError:
                self._listen([], [sock], until)

    def _listen(self, readers: list[socket.socket], writers: list[socket.socket], until: float) -> None:
        """Until one of them is ready or the bell rings; OSError when it is time or we are stopped."""
        if self._ear.fileno() in wait([*readers, self._ear], writers, until - self._clock()):
            self._ear.recv(4096)
        if self._stopping.is_set():
            raise InterruptedError("stopped")
        if self._clock() >= until:
            raise TimeoutError("timed out")

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
