"""All of a small MQTT 5 broker but its sockets and its clock; and the wrongs it does on command.

    opened  received  closed  deadline
        what happens to a connection; each takes the time last (`now`, monotonic seconds);
    take
        what goes out by now; next_deadline says when to call deadline() and take() at the latest.

Enough of MQTT 5 for docs/uplink.md: QoS 0 and 1, sessions that outlive connections, wills, shared subscriptions,
expiry, flow control both ways. No retained messages, no topic aliases, no QoS 2: a client that uses them is told so as
the standard asks, and is noted in `violations`. Who may do what is what agent/sim/mosquitto.py allows.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from math import ceil
from typing import TypeVar

import mqtt5
from mqtt5 import PublishPacket

RECEIVE_MAXIMUM = 20  # as mosquitto's max_inflight_messages
PAYLOAD_MAX_B = 100_000  # as mosquitto's message_size_limit: more is answered with 0x95, and the connection stands
PACKET_MAX_B = 1_000_000  # of anything; also where no Maximum Packet Size is announced
QUEUE_MAX = 10_000  # messages for one session; beyond it the newest is dropped, as mosquitto does
BACKLOG_MAX_B = 4_000_000  # for one connection that does not read; beyond it QoS 0 is dropped
FACTS_MAX = 10_000  # of each kind; beyond it the oldest is forgotten
CONNECT_S = 10.0  # for the CONNECT, once the connection stands
KEEPALIVE_FACTOR = 1.5  # MQTT 5 §3.1.2.10
NEVER = float("inf")
FOREVER = 0xFFFF_FFFF  # a Session Expiry Interval that does not end


class Reason(IntEnum):
    """MQTT 5 §2.4. The codec's own enums are no integers, whatever its stubs say: not hashed, ordered or named."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    CLIENT_ID_NOT_VALID = 0x85
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    CONNECTION_RATE_EXCEEDED = 0x9F
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


# -- what a test may wish for -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class OnPublish:
    """What becomes of a PUBLISH with QoS 1. The first rule that matches counts, until it is used up."""

    code: int | None  # of the PUBACK; None: there is none
    topic: str = "#"  # a topic filter
    times: int | None = None  # None: as long as it stands in the list
    is_taken: bool | None = None  # is the message handed on? None: yes, unless the code refuses it
    by_disconnect: bool = False  # the code goes out with a DISCONNECT instead

    def takes(self) -> bool:
        if self.is_taken is not None:
            return self.is_taken
        return not self.by_disconnect and self.code in (None, Reason.SUCCESS)


ACCEPTED = OnPublish(Reason.SUCCESS)


@dataclass(slots=True)
class Refusal:
    """A CONNACK that says no. ValueError if MQTT 5 knows no such code for it."""

    code: int
    server_reference: str | None = None  # with 0x9C and 0x9D
    times: int | None = None

    def __post_init__(self) -> None:
        mqtt5.ConnAckReasonCode(self.code)


class Silent(StrEnum):
    NO = "no"
    CONNECT = "connect"  # TLS stands; CONNECT is not answered
    TCP = "tcp"  # connected, and nothing more


@dataclass(slots=True)
class Faults:
    """Read anew for each packet: set what you wish at any time. Topics tell whom it hits; what has none spares the
    cloud."""

    on_publish: list[OnPublish] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)  # the first that is not used up
    silent: Silent = Silent.NO  # to new connections; Silent.TCP does not spare the cloud: nobody knows yet who it is
    receive_maximum: int = RECEIVE_MAXIMUM  # of the CONNACKs to come; so are the next three
    maximum_packet_size: int | None = None
    server_keep_alive: int | None = None
    session_expiry_max_s: int | None = None
    delay_s: float = 0.0  # everything we send comes so much later
    jitter_s: float = 0.0  # messages to a client wait up to so much longer, each for itself: they overtake each other
    copies: int = 1  # of each message to a client; 0 loses them all


Rule = TypeVar("Rule", OnPublish, Refusal)


def use(rules: Sequence[Rule]) -> Rule | None:
    """The first rule that is not used up, which it now is by one."""
    for rule in rules:
        if rule.times is None:
            return rule
        if rule.times > 0:
            rule.times -= 1
            return rule
    return None


# -- what a test may see ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Visit:
    """One TCP connection. Times are those of the event loop, monotonic seconds."""

    since: float
    client_id: str = ""  # until CONNECT
    is_accepted: bool = False
    until: float | None = None
    why: str = ""  # it ended
    keep_alive_s: int = 0
    published: int = 0
    pings: int = 0
    in_flight_max: int = 0  # PUBLISH with QoS 1 that we had not answered


@dataclass(frozen=True, slots=True)
class Published:
    """A PUBLISH that came in, whatever became of it."""

    at: float
    client_id: str
    topic: str
    payload: bytes
    qos: int
    code: int | None  # our answer; None: none


# -- topics -----------------------------------------------------------------------------------------------------------


def is_filter(pattern: str) -> bool:
    """MQTT 5 §4.7.1."""
    levels = pattern.split("/")
    return (
        0 < len(pattern) <= 65_535
        and "\0" not in pattern
        and "#" not in "".join(levels[:-1])
        and all(level in ("#", "+") or not {"#", "+"} & set(level) for level in levels)
    )


def matches(pattern: str, topic: str) -> bool:
    """MQTT 5 §4.7: `pattern` is a valid topic filter."""
    if topic.startswith("$") and pattern[0] in "#+":
        return False
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]  # `a/#` is also `a`
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def shared(pattern: str) -> tuple[str, str]:
    """The group of a shared subscription (§4.8.2), or "", and the filter proper."""
    if not pattern.startswith("$share/"):
        return "", pattern
    group, _, rest = pattern.removeprefix("$share/").partition("/")
    return (group, rest) if group and not {"#", "+"} & set(group) else ("?", "")


def may_publish(user: str, cloud: str, topic: str) -> bool:
    if user == cloud:
        return topic.startswith("d/")
    return topic.startswith(f"u/{user}/") and topic.count("/") == 2


def may_subscribe(user: str, cloud: str, pattern: str) -> bool:
    return pattern.startswith("u/" if user == cloud else f"d/{user}/")


# -- what is kept -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    packet: PublishPacket
    qos: int
    expires_at: float = NEVER

    def write(self, packet_id: int | None, is_again: bool, now: float) -> bytes:
        packet = self.packet
        expiry_s = None if self.expires_at == NEVER else max(1, ceil(self.expires_at - now))
        return PublishPacket(
            packet.topic, packet.payload, qos=mqtt5.QoS(self.qos), packet_id=packet_id, duplicate=is_again,
            message_expiry_interval=expiry_s, content_type=packet.content_type, response_topic=packet.response_topic,
            correlation_data=packet.correlation_data, user_properties=packet.user_properties,
            payload_format_indicator=packet.payload_format_indicator,
        ).write()  # fmt: skip


@dataclass(slots=True, eq=False)
class Peer:
    """A connection."""

    user: str | None  # the CN of its certificate; None: whatever client id it says
    visit: Visit
    heard_at: float
    buffer: bytearray = field(default_factory=bytearray)
    session: "Session | None" = None  # from CONNECT to the end
    patience_s: float = CONNECT_S  # for its next packet
    receive_maximum: int = 65_535  # theirs
    packet_max_b: int = PACKET_MAX_B  # theirs
    our_receive_maximum: int = RECEIVE_MAXIMUM  # as announced
    our_packet_max_b: int = PACKET_MAX_B
    in_flight: set[int] = field(default_factory=set)  # theirs, until our PUBACK is out
    out: deque[tuple[float, bytes, int]] = field(default_factory=deque)  # when, what, the packet id it acknowledges
    backlog_b: int = 0
    is_mute: bool = False  # its CONNECT was met with silence
    is_frozen: bool = False  # a black hole
    is_full: bool = False  # it does not read
    is_over: bool = False  # to be closed as soon as `out` is empty

    def listens(self) -> bool:
        return not (self.is_mute or self.is_frozen or self.is_over)


@dataclass(slots=True, eq=False)
class Session:
    client_id: str
    user: str
    expiry_s: int = 0
    peer: Peer | None = None
    expires_at: float = NEVER  # while nobody is connected
    will: Message | None = None
    will_delay_s: float = 0.0
    will_at: float = NEVER
    subscriptions: dict[str, int] = field(default_factory=dict)
    queue: deque[Message] = field(default_factory=deque)
    unacknowledged: dict[int, Message] = field(default_factory=dict)  # by the client
    dropped: int = 0  # there was no room for it
    last_id: int = 0

    def next_id(self) -> int:
        """Receive Maximum is at most 65,535: there is always one that is free."""
        self.last_id = self.last_id % 65_535 + 1
        while self.last_id in self.unacknowledged:
            self.last_id = self.last_id % 65_535 + 1
        return self.last_id


class Wrong(Exception):
    """A client broke MQTT 5: the reason code of the DISCONNECT, and what it did."""

    def __init__(self, code: Reason, what: str) -> None:
        super().__init__(what)
        self.code = code


def packet_size(data: bytearray) -> int | None:
    """Of the first packet; None: not enough bytes to know. Raises Wrong."""
    size = 0
    for n, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return 2 + n + size
    if len(data) >= 5:
        raise Wrong(Reason.MALFORMED_PACKET, "a length that does not end")
    return None


def puback(packet_id: int, code: int) -> bytes:
    """By hand: mosquitto also says 0x95, which the standard has for DISCONNECT only, and so has the codec."""
    return bytes((0x40, 3, packet_id >> 8, packet_id & 0xFF, code))


def disconnect(code: int, server_reference: str | None) -> bytes:
    """ValueError if MQTT 5 knows no such code for it."""
    return mqtt5.DisconnectPacket(
        reason_code=mqtt5.DisconnectReasonCode(code), server_reference=server_reference
    ).write()


# -- the broker -------------------------------------------------------------------------------------------------------


class Exchange:
    """One broker. `cloud` is the user who reads u/# and writes d/#."""

    def __init__(self, cloud: str = "devcloud", seed: int = 0) -> None:
        self.cloud = cloud
        self.faults = Faults()
        self.visits: deque[Visit] = deque(maxlen=FACTS_MAX)
        self.published: deque[Published] = deque(maxlen=FACTS_MAX)
        self.violations: deque[str] = deque(maxlen=FACTS_MAX)  # of the standard, by clients
        self.sessions: dict[str, Session] = {}
        self._peers: list[Peer] = []
        self._held: list[tuple[float, Session, Message]] = []  # by Faults.jitter_s
        self._turn = 0  # of the members of a shared subscription
        self._rng = random.Random(seed)

    # -- happenings

    def opened(self, user: str | None, now: float) -> Peer:
        """A connection stands; `user` is the CN of the client's certificate, None without TLS."""
        peer = Peer(user, Visit(now), now)
        self._peers.append(peer)
        self.visits.append(peer.visit)
        return peer

    def ignored(self, now: float) -> None:
        """A connection stands that will never hear a word."""
        self.visits.append(Visit(now, why="silence"))

    def received(self, peer: Peer, data: bytes, now: float) -> None:
        """Any bytes: what is no MQTT 5 ends this connection and nothing else."""
        if not peer.listens():
            return
        peer.heard_at = now
        peer.buffer += data
        try:
            while packet := self._next_packet(peer):
                self._handle(peer, packet, now)
        except Wrong as wrong:
            self._violated(peer, wrong, now)

    def closed(self, peer: Peer, now: float) -> None:
        """The connection is gone, without a word or after one."""
        peer.out.clear()
        self._end(peer, "connection lost", now)

    def deadline(self, now: float) -> None:
        """Whatever is due by now; harmless at any other time."""
        for peer in list(self._peers):
            if not peer.is_over and now >= peer.heard_at + peer.patience_s:
                self._disconnect(peer, Reason.KEEP_ALIVE_TIMEOUT, now)
        for session in list(self.sessions.values()):
            if now >= session.will_at:
                self._send_will(session, now)
            if now >= session.expires_at:
                self._end_session(session, now)
        due = [held for held in self._held if now >= held[0]]
        self._held = [held for held in self._held if now < held[0]]
        for _, session, message in sorted(due, key=lambda held: held[0]):
            self._enqueue(session, message, now)

    def next_deadline(self) -> float:
        """When deadline() or take() have something to do; NEVER: only a happening will change anything."""
        return min(
            (
                *(peer.heard_at + peer.patience_s for peer in self._peers if not peer.is_over),
                *(peer.out[0][0] for peer in self._peers if peer.out and not peer.is_full),
                *(min(session.will_at, session.expires_at) for session in self.sessions.values()),
                *(held[0] for held in self._held),
            ),
            default=NEVER,
        )

    def take(self, now: float) -> Iterator[tuple[Peer, bytes, bool]]:
        """What goes out by now, and whether the connection is to be closed after it."""
        for peer in list(self._peers):
            data = b""
            while peer.out and now >= peer.out[0][0] and not peer.is_full:
                _, packet, acknowledged = peer.out.popleft()
                peer.backlog_b -= len(packet)
                peer.in_flight.discard(acknowledged)
                data += packet
            is_closed = peer.is_over and not peer.out
            if is_closed:
                self._peers.remove(peer)
            if data or is_closed:
                yield peer, b"" if peer.is_frozen else data, is_closed

    def clients(self) -> dict[str, list[str]]:
        """Who is connected, and the topic filters each has subscribed."""
        return {name: list(session.subscriptions) for name, session in self.sessions.items() if session.peer}

    # -- wishes

    def disconnect(self, code: int | None, client_id: str | None, server_reference: str | None, now: float) -> None:
        """Send these clients away (None: all); without a code the connection is cut."""
        for peer in [peer for peer in self._peers if client_id in (None, peer.visit.client_id)]:
            if code is None:
                peer.out.clear()
                self._end(peer, "cut", now)
            else:
                self._disconnect(peer, code, now, server_reference)

    def freeze(self, client_id: str | None) -> None:
        """A black hole swallows these connections (None: all): nothing comes out of them, nothing goes in."""
        for peer in self._peers:
            peer.is_frozen = peer.is_frozen or client_id in (None, peer.visit.client_id)

    def forget(self, client_id: str | None) -> None:
        """Their sessions (None: all) are lost, and the connections do not know: no subscription, no queue, no will."""
        lost = [session for session in self.sessions.values() if client_id in (None, session.client_id)]
        self._held = [held for held in self._held if held[1] not in lost]
        for session in lost:
            session.subscriptions.clear()
            session.queue.clear()
            session.unacknowledged.clear()
            session.will, session.expiry_s = None, 0
            if session.peer is None:
                del self.sessions[session.client_id]

    # -- packets in

    def _next_packet(self, peer: Peer) -> mqtt5.Packet | None:
        size = packet_size(peer.buffer) if peer.listens() else None
        if size is not None and size > peer.our_packet_max_b:
            raise Wrong(Reason.PACKET_TOO_LARGE, f"a packet of {size} bytes")
        if size is None or len(peer.buffer) < size:
            return None
        data = bytes(peer.buffer[:size])
        del peer.buffer[:size]
        try:
            packet, used = mqtt5.read(memoryview(data))
        except (ValueError, IndexError) as error:
            raise Wrong(Reason.MALFORMED_PACKET, str(error)) from None
        if used != size:
            raise Wrong(Reason.MALFORMED_PACKET, "bytes after the packet")
        return packet

    def _handle(self, peer: Peer, packet: mqtt5.Packet, now: float) -> None:
        match packet, peer.session:
            case mqtt5.ConnectPacket(), None:
                self._connect(peer, packet, now)
            case _, None:
                raise Wrong(Reason.PROTOCOL_ERROR, "no CONNECT first")
            case PublishPacket(), Session() as session:
                self._publish(peer, session, packet, now)
            case mqtt5.PubAckPacket(), Session() as session:
                if session.unacknowledged.pop(packet.packet_id, None) is None:
                    self._note(peer, f"PUBACK of packet id {packet.packet_id}, which is not in use")
                self._pump(session, now)
            case mqtt5.SubscribePacket(), Session() as session:
                self._subscribe(peer, session, packet, now)
            case mqtt5.UnsubscribePacket(), Session() as session:
                self._unsubscribe(peer, session, packet, now)
            case mqtt5.PingReqPacket(), _:
                peer.visit.pings += 1
                self._send(peer, mqtt5.PingRespPacket().write(), now)
            case mqtt5.DisconnectPacket(), Session() as session:
                self._goodbye(peer, session, packet, now)
            case _:
                raise Wrong(Reason.PROTOCOL_ERROR, f"{type(packet).__name__} is not for a broker")

    def _connect(self, peer: Peer, packet: mqtt5.ConnectPacket, now: float) -> None:
        client_id = packet.client_id or peer.user or f"assigned-{len(self.visits)}"
        user = peer.user or (self.cloud if client_id.startswith(self.cloud) else client_id)
        is_spared = user == self.cloud
        faults = Faults() if is_spared else self.faults
        peer.visit.client_id = client_id
        if faults.silent is not Silent.NO:
            peer.is_mute, peer.patience_s = True, NEVER
            return
        if refusal := use(faults.refusals) or self._objection(user, client_id, packet):
            code, reference = mqtt5.ConnAckReasonCode(refusal.code), refusal.server_reference
            self._send(peer, mqtt5.ConnAckPacket(reason_code=code, server_reference=reference).write(), now)
            self._end(peer, f"refused: {refusal.code:#04x}", now)
            return
        session, is_present = self._session(client_id, user, packet.clean_start, now)
        self._agree(peer, session, packet, faults)
        self._send(
            peer,
            mqtt5.ConnAckPacket(
                session_present=is_present,
                session_expiry_interval=session.expiry_s,
                assigned_client_id=None if packet.client_id else client_id,
                server_keep_alive=faults.server_keep_alive,
                receive_max=faults.receive_maximum,
                max_packet_size=faults.maximum_packet_size,
                max_qos=mqtt5.QoS(1),
                retain_available=False,
                subscription_id_available=False,
            ).write(),
            now,
        )
        for packet_id, message in session.unacknowledged.items():  # §4.4: again, in the order they went out
            self._send(peer, message.write(packet_id, True, now), now)
        self._pump(session, now)

    def _objection(self, user: str, client_id: str, packet: mqtt5.ConnectPacket) -> Refusal | None:
        """A station is who its certificate says; the cloud may come several times, under several names."""
        if packet.authentication_method is not None:
            return Refusal(Reason.BAD_AUTHENTICATION_METHOD)
        if user not in (self.cloud, client_id):
            return Refusal(Reason.CLIENT_ID_NOT_VALID)
        if (will := packet.will) is None:
            return None
        if will.retain:
            return Refusal(Reason.RETAIN_NOT_SUPPORTED)
        if will.qos == 2:
            return Refusal(Reason.QOS_NOT_SUPPORTED)
        return None if may_publish(user, self.cloud, will.topic) else Refusal(Reason.NOT_AUTHORIZED)

    def _session(self, client_id: str, user: str, is_clean: bool, now: float) -> tuple[Session, bool]:
        """The session to go on with, and whether it was there before. Whoever holds it is sent away."""
        session = self.sessions.get(client_id)
        if session and session.peer:
            self._disconnect(session.peer, Reason.SESSION_TAKEN_OVER, now)
            session = self.sessions.get(client_id)  # without an expiry it ends with its connection
        if session and is_clean:
            self._end_session(session, now)
            session = None
        if session:
            return session, True
        return self.sessions.setdefault(client_id, Session(client_id, user)), False

    def _agree(self, peer: Peer, session: Session, packet: mqtt5.ConnectPacket, faults: Faults) -> None:
        expiry_max_s = FOREVER if faults.session_expiry_max_s is None else faults.session_expiry_max_s
        session.peer, session.expires_at, session.will_at = peer, NEVER, NEVER
        session.expiry_s = min(packet.session_expiry_interval, expiry_max_s)
        session.will = None
        if packet.will:
            session.will, session.will_delay_s = will_message(packet.will), packet.will.will_delay_interval
        keep_alive_s = packet.keep_alive if faults.server_keep_alive is None else faults.server_keep_alive
        peer.session = session
        peer.patience_s = keep_alive_s * KEEPALIVE_FACTOR or NEVER
        peer.receive_maximum, peer.packet_max_b = packet.receive_max, packet.max_packet_size or PACKET_MAX_B
        peer.our_receive_maximum = faults.receive_maximum
        peer.our_packet_max_b = faults.maximum_packet_size or PACKET_MAX_B
        peer.visit.is_accepted, peer.visit.keep_alive_s = True, keep_alive_s

    def _publish(self, peer: Peer, session: Session, packet: PublishPacket, now: float) -> None:
        peer.visit.published += 1
        if packet.qos == 2:
            raise Wrong(Reason.QOS_NOT_SUPPORTED, f"QoS 2 to {packet.topic}")
        if packet.retain:
            raise Wrong(Reason.RETAIN_NOT_SUPPORTED, f"retain to {packet.topic}")
        if packet.topic_alias is not None:
            raise Wrong(Reason.TOPIC_ALIAS_INVALID, "a topic alias, where Topic Alias Maximum is 0")
        if {"#", "+", "\0"} & set(packet.topic):
            raise Wrong(Reason.TOPIC_NAME_INVALID, f"topic {packet.topic!r}")
        if packet.packet_id is not None:
            self._fly(peer, packet.packet_id)
        rule = self._rule(session, packet)
        is_known = rule.takes() and self._route(packet, now)
        code = rule.code
        if code == Reason.SUCCESS and rule.is_taken is None and not is_known:
            code = Reason.NO_MATCHING_SUBSCRIBERS
        answer = None if packet.packet_id is None else code
        self.published.append(
            Published(now, session.client_id, packet.topic, packet.payload, int(packet.qos), answer)
        )
        if packet.packet_id is None or code is None:
            return
        if rule.by_disconnect:
            self._disconnect(peer, code, now)
        else:
            self._send(peer, puback(packet.packet_id, code), now, packet.packet_id)

    def _fly(self, peer: Peer, packet_id: int) -> None:
        if packet_id in peer.in_flight:
            self._note(peer, f"packet id {packet_id} is in use")
        peer.in_flight.add(packet_id)
        peer.visit.in_flight_max = max(peer.visit.in_flight_max, len(peer.in_flight))
        if len(peer.in_flight) > peer.our_receive_maximum:
            raise Wrong(
                Reason.RECEIVE_MAXIMUM_EXCEEDED,
                f"{len(peer.in_flight)} in flight, where Receive Maximum is {peer.our_receive_maximum}",
            )

    def _rule(self, session: Session, packet: PublishPacket) -> OnPublish:
        if not may_publish(session.user, self.cloud, packet.topic):
            return OnPublish(Reason.NOT_AUTHORIZED)
        if len(packet.payload) > PAYLOAD_MAX_B:
            return OnPublish(Reason.PACKET_TOO_LARGE)
        if packet.qos == 0:
            return ACCEPTED
        return use([rule for rule in self.faults.on_publish if matches(rule.topic, packet.topic)]) or ACCEPTED

    def _subscribe(self, peer: Peer, session: Session, packet: mqtt5.SubscribePacket, now: float) -> None:
        codes = [self._grant(session, wish) for wish in packet.topic_filters]
        if packet.subscription_id is not None:
            codes = [Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED] * len(codes)
        for wish, code in zip(packet.topic_filters, codes, strict=True):
            if code < 0x80:
                session.subscriptions[wish.pattern] = code
        answer = mqtt5.SubAckPacket(packet.packet_id, [mqtt5.SubAckReasonCode(code) for code in codes])
        self._send(peer, answer.write(), now)

    def _grant(self, session: Session, wish: mqtt5.TopicFilter) -> int:
        """The QoS granted, or why not."""
        _, pattern = shared(wish.pattern)
        if not is_filter(pattern):
            return Reason.TOPIC_FILTER_INVALID
        if not may_subscribe(session.user, self.cloud, pattern):
            return Reason.NOT_AUTHORIZED
        return min(int(wish.max_qos), 1)

    def _unsubscribe(self, peer: Peer, session: Session, packet: mqtt5.UnsubscribePacket, now: float) -> None:
        gone = [session.subscriptions.pop(pattern, None) for pattern in packet.patterns]
        good, none = (mqtt5.UnsubAckReasonCode(code) for code in (Reason.SUCCESS, Reason.NO_SUBSCRIPTION_EXISTED))
        codes = [none if qos is None else good for qos in gone]
        self._send(peer, mqtt5.UnsubAckPacket(packet.packet_id, codes).write(), now)

    def _goodbye(self, peer: Peer, session: Session, packet: mqtt5.DisconnectPacket, now: float) -> None:
        if packet.session_expiry_interval and not session.expiry_s:
            raise Wrong(Reason.PROTOCOL_ERROR, "a session expiry where CONNECT had none")
        if packet.session_expiry_interval is not None:
            session.expiry_s = packet.session_expiry_interval
        code = int(packet.reason_code)
        if code == Reason.SUCCESS:
            session.will = None
        self._end(peer, f"client: {code:#04x}", now)

    # -- messages out

    def _route(self, packet: PublishPacket, now: float) -> bool:
        """To every session that wants it, and to one of each group; False: nobody wants it."""
        groups: dict[str, list[Session]] = {}
        wanted: dict[Session, int] = {}
        for session in self.sessions.values():
            for pattern, qos in session.subscriptions.items():
                group, proper = shared(pattern)
                if not matches(proper, packet.topic):
                    continue
                if group:
                    groups.setdefault(pattern, []).append(session)
                else:
                    wanted[session] = max(qos, wanted.get(session, 0))
        expiry_s = packet.message_expiry_interval
        message = Message(packet, int(packet.qos), NEVER if expiry_s is None else now + expiry_s)
        for session, qos in wanted.items():
            self._deliver(session, message, qos, now)
        for pattern, members in groups.items():
            member = self._member(members)
            self._deliver(member, message, member.subscriptions[pattern], now)
        return bool(wanted or groups)

    def _member(self, members: list[Session]) -> Session:
        """Of a group: the next in turn. As with mosquitto also one who is away, for whom it then waits."""
        self._turn += 1
        return members[self._turn % len(members)]

    def _deliver(self, session: Session, message: Message, qos: int, now: float) -> None:
        message = replace(message, qos=min(message.qos, qos))
        faults = Faults() if session.user == self.cloud else self.faults
        for _ in range(faults.copies):
            if faults.jitter_s:
                self._held.append((now + self._rng.uniform(0.0, faults.jitter_s), session, message))
            else:
                self._enqueue(session, message, now)

    def _enqueue(self, session: Session, message: Message, now: float) -> None:
        peer = session.peer
        if message.qos == 0:
            if peer is None or peer.backlog_b > BACKLOG_MAX_B:
                session.dropped += peer is not None
            else:
                self._send_message(peer, message, None, now)
        elif len(session.queue) >= QUEUE_MAX:
            session.dropped += 1
        else:
            session.queue.append(message)
            self._pump(session, now)

    def _pump(self, session: Session, now: float) -> None:
        """As many as the client's Receive Maximum allows."""
        peer = session.peer
        while peer and session.queue and len(session.unacknowledged) < peer.receive_maximum:
            message, packet_id = session.queue.popleft(), session.next_id()
            if now < message.expires_at and self._send_message(peer, message, packet_id, now):
                session.unacknowledged[packet_id] = message

    def _send_message(self, peer: Peer, message: Message, packet_id: int | None, now: float) -> bool:
        """False: it is too large for this client, who shall never see it (§3.1.2.11.4)."""
        data = message.write(packet_id, False, now)
        if len(data) > peer.packet_max_b:
            return False
        self._send(peer, data, now)
        return True

    def _send(self, peer: Peer, data: bytes, now: float, acknowledged: int = 0) -> None:
        is_spared = peer.session is not None and peer.session.user == self.cloud
        due_at = now if is_spared else now + self.faults.delay_s
        if peer.out:
            due_at = max(due_at, peer.out[-1][0])  # a delay that became shorter: still in order
        peer.out.append((due_at, data, acknowledged))
        peer.backlog_b += len(data)

    # -- ends

    def _note(self, peer: Peer, what: str) -> None:
        self.violations.append(f"{peer.visit.client_id or 'somebody'}: {what}")

    def _violated(self, peer: Peer, wrong: Wrong, now: float) -> None:
        self._note(peer, str(wrong))
        self._disconnect(peer, wrong.code, now)

    def _disconnect(self, peer: Peer, code: int, now: float, reference: str | None = None) -> None:
        if not peer.is_over and peer.session:
            self._send(peer, disconnect(code, reference), now)
        self._end(peer, f"broker: {code:#04x}", now)

    def _end(self, peer: Peer, why: str, now: float) -> None:
        """Only the first reason counts. What is on its way still goes out."""
        if peer.is_over:
            return
        peer.is_over, peer.visit.until, peer.visit.why = True, now, why
        session = peer.session
        if session is None or session.peer is not peer:
            return
        session.peer = None
        session.expires_at = NEVER if session.expiry_s == FOREVER else now + session.expiry_s
        session.will_at = now + session.will_delay_s
        if now >= session.will_at:
            self._send_will(session, now)
        if now >= session.expires_at:
            self._end_session(session, now)

    def _send_will(self, session: Session, now: float) -> None:
        will, session.will, session.will_at = session.will, None, NEVER
        if will is not None:
            self._route(will.packet, now)

    def _end_session(self, session: Session, now: float) -> None:
        del self.sessions[session.client_id]
        self._send_will(session, now)


def will_message(will: mqtt5.Will) -> Message:
    packet = PublishPacket(
        will.topic, will.payload or b"", qos=will.qos, packet_id=None if will.qos == 0 else 1,
        message_expiry_interval=will.message_expiry_interval, content_type=will.content_type,
        response_topic=will.response_topic, correlation_data=will.correlation_data,
        user_properties=will.user_properties, payload_format_indicator=will.payload_format_indicator,
    )  # fmt: skip
    return Message(packet, int(will.qos))
