"""Radio, broker and cloud: a network that delays, drops, doubles, reorders, goes mute; and a cloud that judges.

The cloud keeps every record it was ever given under its key and remembers each thing that should never happen: two
records under one key, a seqNo missing or doubled, a session that ends twice. `violations` is empty or the test fails.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from agent.clock import iso8601
from agent.modem.budget import Counters
from agent.sim.disk import Later
from agent.uplink import codec
from agent.uplink.codec import Ack, Answer, Command, Hello, Mark, VolatileAnswer, Will, WireError, WireRecord
from agent.uplink.columns import decode_any_batch
from agent.uplink.mqtt import Connected, Disconnected, PubAcked, Received
from agent.uplink.signed import sign


@dataclass(slots=True)
class Session:
    """What the cloud bills: one row per transactionId."""

    transaction_id: str
    evse_id: int
    id_token: str
    start_wh: int
    end_wh: int | None = None
    stopped_reason: str = ""
    seq_nos: set[int] = field(default_factory=set)
    last_seq_no: int | None = None

    @property
    def energy_wh(self) -> int:
        return (self.end_wh or self.start_wh) - self.start_wh

    @property
    def is_whole(self) -> bool:
        return self.last_seq_no is not None and self.seq_nos == set(range(self.last_seq_no + 1))


Judge = Callable[[str, str, dict[str, Any]], None]  # commandId or "", action or message, payload


# What a cloud stores.
LEDGER = ("records", "covered", "sessions", "_events", "status", "_status_at", "log", "results", "declared")


class SimCloud:
    """A cloud for one station, with a ledger in memory. `judge` sees every message of OCPP, whoever says it."""

    judge: Judge = staticmethod(lambda command_id, message, payload: None)

    def __init__(self, station_id: str, key: Any, kid: bytes, wall_s: Callable[[], float]) -> None:
        self.station_id, self._key, self._kid, self._wall_s = station_id, key, kid, wall_s
        self.drivers: dict[str, dict[str, Any]] = {}  # idToken -> idTokenInfo, for Authorize
        self.records: dict[tuple[bytes, int, int], bytes] = {}
        self.covered: dict[tuple[bytes, int], Covered] = defaultdict(Covered)
        self.sessions: dict[str, Session] = {}
        self._events: dict[tuple[str, int], dict[str, Any]] = {}  # transactionId, seqNo -> what was said
        self.status: dict[int, str] = {}
        self._status_at: dict[int, tuple[bytes, int]] = {}
        self.log: list[WireRecord] = []
        self.results: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.refuses: dict[int, tuple[tuple[int, str], ...]] = {}  # stream -> seq it will never take, why
        self.declared: list[tuple[int, int, int]] = []  # stream, first, last of the tombstones
        self.doubles = 0
        self.has_forgotten = False  # a backup was put back, and the station has not said hello since
        self.list_version = 0
        self.registration = "Accepted"
        self.tariffs: dict[str, dict[str, Any]] = {}  # idToken -> TariffType, for Authorize
        self.asked: list[codec.VolatileRequest] = []
        self.watched: list[codec.LiveReading] = []
        self._commands = 0

    @property
    def firmware(self) -> list[tuple[int | None, str]]:
        """What FirmwareStatusNotifications have said: request and status, in the order of their making."""
        told = [each.payload for each in self.log if each.action == "FirmwareStatusNotification"]
        return [(payload.get("requestId"), payload["status"]) for payload in told]

    # -- its own disk

    def copied(self) -> dict[str, Any]:
        """What a backup of the cloud's database would hold now."""
        return deepcopy({name: vars(self)[name] for name in LEDGER})

    def restore(self, copy: dict[str, Any]) -> None:
        """A backup is put back. The cloud knows that, and asks whoever speaks to it what he still has."""
        vars(self).update(deepcopy(copy))
        self.has_forgotten = True

    # -- what the station sends

    def received(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """The cloud's answers, (topic, payload). It commits before it answers."""
        kind = topic.rsplit("/", 1)[1]
        if self.has_forgotten and kind != "h":
            return [("a", codec.encode_ack(Ack(bytes(8), {}, round(self._wall_s() * 1000))))]
        try:
            match kind:
                case "h":
                    self.has_forgotten = False
                    hello = codec.decode_hello(payload)
                    return [("a", self._marks(hello.epoch, hello=hello))]
                case "l":
                    self.watched.append(codec.decode_live(payload))
                case "v":
                    return self._asked(codec.decode_request(payload))
                case "0" | "1" | "2" | "3" | "4":
                    return self._ingest(int(kind), decode_any_batch(payload))
        except WireError as error:
            self.violations.append(f"{topic}: {error}")
        return []

    def _marks(self, epoch: bytes, conflict: bool = False, hello: Hello | None = None) -> bytes:
        marks = {stream: self.covered[epoch, stream].mark() for stream in codec.STREAMS}
        if hello:
            marks = {stream: self._with_digest(epoch, stream, mark) for stream, mark in marks.items()}
        answers = (hello.boot_id, hello.connection) if hello else None
        return codec.encode_ack(Ack(epoch, marks, round(self._wall_s() * 1000), conflict, self.refuses, answers))

    def _with_digest(self, epoch: bytes, stream: int, mark: Mark) -> Mark:
        of = next((seq for seq in range(mark.high, 0, -1) if (epoch, stream, seq) in self.records), 0)
        return replace(mark, digest=codec.digest(self.records[epoch, stream, of]), of=of) if of else mark

    def _ingest(self, stream: int, batch: codec.Batch) -> list[tuple[str, bytes]]:
        out: list[tuple[str, bytes]] = []
        conflict = False
        seq = batch.first
        refused = [seq for seq, _ in self.refuses.get(stream, ())]
        for body in batch.records:
            key = (batch.epoch, stream, seq)
            record = codec.decode_record(body)
            is_stone = record.action == "Tombstone"
            last = record.payload["last"] if is_stone else seq
            if (seq in refused and not is_stone) or (is_stone and self.covered[batch.epoch, stream].holds(seq, last)):
                self.doubles += 1
            elif key not in self.records:
                self.records[key] = body
                self.covered[batch.epoch, stream].add(seq, last)
                self._apply(record, batch.epoch, stream, seq)
                if record.payload.get("eventType") == "Started":
                    info = self._opinion(record.payload["idToken"]["idToken"])
                    answer = Answer(batch.epoch, stream, seq, {"idTokenInfo": info})
                    out.append(("r", codec.encode_answer(answer)))
            elif self.records[key] == body or codec.record_action(self.records[key]) == "Tombstone":
                self.doubles += 1
            else:
                conflict = True
            seq = last + 1
        return [("a", self._marks(batch.epoch, conflict)), *out]

    def _opinion(self, id_token: str) -> dict[str, Any]:
        return self.drivers.get(id_token, {"status": "Accepted"})

    def _apply(self, record: WireRecord, epoch: bytes, stream: int, seq: int) -> None:
        self.log.append(record)
        payload = record.payload
        self.judge("", record.action, payload)
        match record.action:
            case "TransactionEvent":
                self._transaction(payload)
            case "StatusNotification" if stream == 1:
                # the network may reorder: the newest seq is the truth, not the last to arrive
                newest = self._status_at.get(payload["evseId"], (b"", 0))
                if epoch != newest[0] or seq > newest[1]:
                    self._status_at[payload["evseId"]] = epoch, seq
                    self.status[payload["evseId"]] = payload["connectorStatus"]
            case "CommandResult":
                self.results.append(payload)
            case "Tombstone":
                self.declared.append((stream, payload["first"], payload["last"]))

    def _transaction(self, payload: dict[str, Any]) -> None:
        transaction_id = payload["transactionInfo"]["transactionId"]
        register = payload["meterValue"][0]["sampledValue"][0]["value"]
        session = self.sessions.get(transaction_id)
        if session is None:  # a sample may come before its Started: money is another stream
            session = self.sessions[transaction_id] = Session(transaction_id, payload["evse"]["id"], "", register)
        if payload["seqNo"] in session.seq_nos:  # a new epoch sends again what was not known to be acknowledged
            if self._events[transaction_id, payload["seqNo"]] != payload:
                self.violations.append(f"{transaction_id}: seqNo {payload['seqNo']} twice")
            return
        session.seq_nos.add(payload["seqNo"])
        self._events[transaction_id, payload["seqNo"]] = payload
        match payload["eventType"]:
            case "Started":
                session.start_wh, session.id_token = register, payload["idToken"]["idToken"]
            case "Ended":
                if session.end_wh is not None:
                    self.violations.append(f"{transaction_id}: ended twice")
                session.end_wh, session.last_seq_no = register, payload["seqNo"]
                session.stopped_reason = payload["transactionInfo"]["stoppedReason"]
                if register < session.start_wh:
                    self.violations.append(f"{transaction_id}: negative energy")

    def _asked(self, request: codec.VolatileRequest) -> list[tuple[str, bytes]]:
        self.asked.append(request)
        self.judge("", request.action, request.payload)
        match request.action:
            case "BootNotification":
                now = iso8601(self._wall_s())
                payload: dict[str, Any] = {"currentTime": now, "interval": 300, "status": self.registration}
            case "Heartbeat":
                payload = {"currentTime": iso8601(self._wall_s())}
            case "Authorize":
                id_token = request.payload["idToken"]["idToken"]
                payload = {"idTokenInfo": self.drivers.get(id_token, {"status": "Unknown"})}
                if id_token in self.tariffs:
                    payload["tariff"] = self.tariffs[id_token]
            case "DataTransfer":
                payload = {"status": "Accepted"}
            case _:
                return []
        self.judge("", f"{request.action}Response", payload)
        return [("v", codec.encode_response(VolatileAnswer(request.request_id, payload)))]

    # -- what the operator does

    def command(self, action: str, payload: dict[str, Any], lives_s: float = 3600.0) -> bytes:
        """A signed command, for `d/<id>/c`."""
        self._commands += 1
        expires_ms = round((self._wall_s() + lives_s) * 1000)
        command = Command(self.station_id, f"c{self._commands}", expires_ms, action, payload)
        self.judge(command.command_id, action, payload)
        return sign(codec.encode_command(command), self._kid, self._key)

    def local_list(self) -> bytes:
        """The whole list as it is now, one version further on."""
        self.list_version += 1
        entries = [
            {"idToken": {"idToken": token, "type": "ISO14443"}, "idTokenInfo": info}
            for token, info in self.drivers.items()
        ]
        payload: dict[str, Any] = {"versionNumber": self.list_version, "updateType": "Full"}
        if entries:
            payload["localAuthorizationList"] = entries
        return self.command("SendLocalList", payload)


class Covered:
    """Which seqs of a stream are stored: all up to `whole`, and some beyond."""

    def __init__(self) -> None:
        self.whole = 0
        self.beyond: set[int] = set()

    def add(self, first: int, last: int) -> None:
        self.beyond.update(range(first, last + 1))
        while self.whole + 1 in self.beyond:
            self.whole += 1
            self.beyond.remove(self.whole)

    def holds(self, first: int, last: int) -> bool:
        return all(seq <= self.whole or seq in self.beyond for seq in range(first, last + 1))

    def mark(self) -> Mark:
        """The highest seq stored and the holes below it."""
        missing, first = [], self.whole + 1
        for seq in sorted(self.beyond):
            if seq > first:
                missing.append((first, seq - 1))
            first = seq + 1
        return Mark(first - 1, tuple(missing))


class SimNet:
    """The way between one station and the cloud, with the broker in it. Lives longer than the station's power."""

    def __init__(self, cloud: SimCloud, seed: int, later: Later) -> None:
        self.cloud = cloud
        self.will = Will(b"", b"")
        self.latency_s = 0.15
        self.learned_keepalive_s = 240.0
        self.is_up = True  # the radio
        self.is_mute = False  # half-open: everything vanishes, nobody says so
        self.is_refusing = False  # broker gone: connecting fails
        self.loss = 0.0  # of a message, after which this connection is dead (TCP)
        self.doubling = 0.0
        self.reordering = 0.0
        self.overhead_b = 200  # of a message: TLS, TCP, IP, and their answers
        self.bearer = Counters(1)  # what the modem's interface has counted
        self._random = random.Random(seed)
        self._later = later
        self._post: Callable[[object], None] | None = None
        self._connection = 0
        self._is_connected = False
        self._attempts = 0
        self._held: list[bytes] = []  # commands for a station that is away
        self._wanted: tuple[str, int] | None = None  # where the next connection goes ..
        self._address: tuple[str, int] | None = None  # .. and where the present one has gone

    # -- the station's side (BrokerPort)

    def start(self, post: Callable[[object], None]) -> None:
        self._post = post
        self._attempts = 0
        self._retry(1.0)

    def power_cut(self) -> None:
        self._post = None
        self._is_connected = False

    def booted(self) -> None:
        """Linux counts from nothing."""
        self.bearer = Counters(1)

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        if connection != self._connection or not self._is_connected or self.is_mute:
            return None
        if not self.is_up or self._random.random() < self.loss:
            return self._die("the link broke")
        self.bearer = structs.replace(self.bearer, sent_b=self.bearer.sent_b + len(payload) + self.overhead_b)
        copies = 2 if self._random.random() < self.doubling else 1
        for _ in range(copies):
            self._later(self._delay(), lambda: self._arrived(connection, topic, payload))
        if qos:
            self._later(2 * self.latency_s, lambda: self._tell(connection, PubAcked(packet_id, 0)))

    def drop(self, connection: int, why: str) -> None:
        if connection == self._connection:
            self._die(why)

    def use(self, cert: Path, pair: str) -> None:
        """Nobody asks for a certificate here."""

    def go(self, address: tuple[str, int] | None, *, is_trial: bool = False) -> None:
        """There is one broker, wherever it is."""
        self._wanted = address

    # -- faults and the cloud's side

    def cut(self) -> None:
        """The radio goes; the station notices at once, as TCP does when it is lucky."""
        self.is_up = False
        if self._is_connected:
            self._die("connection reset")

    def mend(self) -> None:
        self.is_up, self.is_mute, self.is_refusing = True, False, False
        self._attempts = 0

    def send_command(self, data: bytes) -> None:
        """QoS 1 into the station's session: kept while it is away."""
        if not self._deliver("c", data):
            self._held.append(data)

    def _delay(self) -> float:
        late = self._random.random() < self.reordering
        return self.latency_s * (1 + self._random.random() + (10 * self._random.random() if late else 0))

    def _arrived(self, connection: int, topic: str, payload: bytes) -> None:
        for kind, answer in self.cloud.received(topic, payload):
            if connection == self._connection:
                self._deliver(kind, answer)

    def _deliver(self, kind: str, payload: bytes) -> bool:
        if not self._is_connected or self.is_mute or not self.is_up:
            return False
        connection = self._connection
        message = Received(f"d/{self.cloud.station_id}/{kind}", payload)
        received_b = self.bearer.received_b + len(payload) + self.overhead_b
        self.bearer = structs.replace(self.bearer, received_b=received_b)
        self._later(self._delay(), lambda: self._tell(connection, message))
        return True

    def _tell(self, connection: int, news: object) -> None:
        if connection == self._connection and self._is_connected and self._post and not self.is_mute:
            self._post(news)

    def _die(self, why: str) -> None:
        self._is_connected = False
        if self._post:
            self._post(Disconnected(why, 0.0, address=self._address))
        self._retry(self._random.uniform(1.0, min(600.0, 5.0 * 2 ** min(self._attempts, 7))))

    def _retry(self, wait_s: float) -> None:
        post = self._post
        self._later(wait_s, lambda: self._try_connect(post))

    def _try_connect(self, post: object) -> None:
        if self._post is None or post is not self._post or self._is_connected:
            return None
        self._attempts += 1
        if not self.is_up or self.is_refusing or self.is_mute:
            return self._retry(self._random.uniform(1.0, min(600.0, 5.0 * 2 ** min(self._attempts, 7))))
        self._connection += 1
        self._address = self._wanted
        self._is_connected = True
        self._attempts = 0
        self._post(Connected(self._connection, 20, 100_000, session_present=True, address=self._address))
        held, self._held = self._held, []
        for data in held:
            self.send_command(data)
