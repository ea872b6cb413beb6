"""What the cloud says to what it hears: message in, messages out. No network, no clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tools.cloud.commands import Command
from tools.cloud.drivers import id_token_info
from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.lists import STATUS
from tools.cloud.pki import Authority, Operator
from tools.cloud.referee import schema_fault
from tools.cloud.wire import (
    MONEY,
    STATION_ID,
    VENDOR,
    Batch,
    Entry,
    Json,
    Malformed,
    Record,
    Refused,
    format_time,
    read_batch,
    read_hello,
    read_live,
    read_request,
    read_will,
    sign,
    write_ack,
)

ACK_WAIT_MS = 3_000                     # what is no money is acknowledged together; the wire allows 5 s
ACK_COMPANY = 5                         # .. unless so many batches wait: a station sends at most 20 without an ack
INTERVAL_S = 300                        # of heartbeats, as BootNotification's answer says
CERTIFICATE_EXPIRY_MS = 24 * 3600 * 1000
REPORT_EXPIRY_MS = 86_400_000
ANY_EPOCH = bytes(8)                    # of an ack without marks


@dataclass(frozen=True, slots=True)
class Publish:
    """A message to a station. `expires_ms` since 1970: the broker drops it then; None = never."""

    topic: str
    payload: bytes
    qos: int = 0
    expires_ms: int | None = None


@dataclass(slots=True)
class Owed:
    """An acknowledgement that waits for company: what is stored is stored, only the word about it is not out yet."""

    since_ms: int
    streams: set[int] = field(default_factory=set)
    batches: int = 0


def tells_problem(record: Record) -> bool:
    events = record.payload.get("eventData")
    named = [each.get("variable") for each in events if isinstance(each, dict)] if isinstance(events, list) else []
    return record.action == "NotifyEvent" and {"name": "ProblemReported"} in named


class Cloud:
    """The database is all its state, but for the acknowledgements that wait a few seconds: a lost one is asked for."""

    def __init__(
        self, ledger: Ledger, operator: Operator | Ed25519PrivateKey, authority: Authority | None = None,
        reports_url: str = "",
    ) -> None:
        """`reports_url`: where a station that reports a problem is to PUT its report, with its name behind it."""
        self.reports_url = reports_url
        self.ledger = ledger
        self.operator = operator if isinstance(operator, Operator) else Operator(operator)
        self.authority = authority
        self._owed: dict[tuple[str, bytes], Owed] = {}

    def receive(self, topic: str, payload: bytes, now_ms: int) -> list[Publish]:
        """Answers one message from a station, once everything it says is durable."""
        match topic.split("/"):
            case ["u", station, channel] if STATION_ID.fullmatch(station):
                pass
            case _:
                return []
        try:
            match channel:
                case "0" | "1" | "2" | "3" | "4":
                    return self._batch(station, int(channel), read_batch(payload, self.ledger.keys), now_ms)
                case "h":
                    return self._hello(station, payload, now_ms)
                case "w":
                    self.ledger.will(station, read_will(payload), now_ms)
                case "v":
                    return self._request(station, payload, now_ms)
                case "l":
                    self.ledger.watch(station, read_live(payload), now_ms)
        except Malformed:
            self.ledger.count(station, "undecodable", now_ms)
        return []

    # -- what is due --------------------------------------------------------------------------------------------------

    def due(self, now_ms: int) -> list[Publish]:
        """The commands to send now; to be called about once a second, since other processes queue them too."""
        self.ledger.lists.queue(now_ms)
        return [
            Publish(f"d/{command.station}/c", envelope, 1, command.expires_ms)
            for command in self.ledger.commands.due(now_ms)
            if (envelope := self.signed(command, now_ms))
        ]

    def acks(self, now_ms: int, *, every: bool = False) -> list[Publish]:
        """The acknowledgements that have waited long enough; all of them before we go."""
        ripe = [key for key, owed in self._owed.items() if every or now_ms - owed.since_ms >= ACK_WAIT_MS]
        return [self._ack(*key, now_ms) for key in ripe]

    def greet(self, now_ms: int) -> Iterator[Publish]:
        """Asks every station known for a hello, at the cloud's own start: its storage may be yesterday's, and only what
        answers a hello may take marks back."""
        known = self.ledger.db.execute("SELECT name, epoch FROM station WHERE epoch IS NOT NULL").fetchall()
        return (self._asked(name, epoch, now_ms) for name, epoch in known)

    def _asked(self, station: str, epoch: bytes, now_ms: int) -> Publish:
        """For a hello."""
        return Publish(f"d/{station}/a", write_ack(epoch, {}, now_ms, False, {}))

    def _unknown(self, station: str, epoch: bytes, now_ms: int) -> list[Publish]:
        """A station that has never said hello to this database: asked for one."""
        row = self.ledger.db.execute("SELECT epoch FROM station WHERE name = ?", (station,)).fetchone()
        return [] if row and row[0] is not None else [self._asked(station, epoch, now_ms)]

    def signed(self, command: Command, now_ms: int = 0) -> bytes | None:
        """The command under the key that its station takes, in words that it knows. None, and counted, without it."""
        row = "SELECT key_id, words FROM station WHERE name = ?"
        kid, words = self.ledger.db.execute(row, (command.station,)).fetchone() or (None, None)
        key = self.operator.key(kid)
        if key is None:
            self.ledger.count(command.station, "operator_key_missing", now_ms)
            return None
        keys = self.ledger.keys
        said = keys.encode(command.action, "name", words), keys.encode(command.payload, words=words)
        return sign(key, cbor2.dumps([command.station, command.id, command.expires_ms, *said], canonical=True))

    # -- records ------------------------------------------------------------------------------------------------------

    def _batch(self, station: str, stream: int, batch: Batch, now_ms: int) -> list[Publish]:
        stored = self.ledger.store(station, stream, batch, now_ms)
        key = station, batch.epoch
        owed = self._owed.setdefault(key, Owed(now_ms))
        owed.streams.add(stream)
        owed.batches += 1
        is_urgent = stream == MONEY or stored.refused or owed.batches >= ACK_COMPANY
        acks = [self._ack(*key, now_ms, {stream: stored.refused} if stored.refused else None)] if is_urgent else []
        answers = self._answers(station, batch.epoch, stream, stored.fresh, now_ms)
        return [*acks, *answers, *self._unknown(station, batch.epoch, now_ms)]

    def _ack(
        self, station: str, epoch: bytes, now_ms: int, refused: Refused | None = None
    ) -> Publish:
        owed = self._owed.pop((station, epoch))
        return Publish(f"d/{station}/a", self.ledger.ack(station, epoch, sorted(owed.streams), now_ms, refused))

    def _answers(
        self, station: str, epoch: bytes, stream: int, fresh: Iterable[Entry], now_ms: int
    ) -> Iterable[Publish]:
        for entry in fresh:
            if entry.record and self.reports_url and tells_problem(entry.record):
                self._order_report(station, now_ms)
            if entry.record and (answer := self._answer(entry.record, now_ms)):
                body = [epoch, stream, entry.seq, self.ledger.keys.encode(answer, words=self._words(station))]
                yield Publish(f"d/{station}/r", cbor2.dumps(body), 1)

    def _order_report(self, station: str, now_ms: int) -> None:
        """Somebody at the station asks for help: what there is to know comes before anybody has called."""
        order = {
            "log": {"remoteLocation": f"{self.reports_url.rstrip('/')}/{station}-{now_ms}.tar.gz"},
            "logType": "DiagnosticsLog", "requestId": now_ms // 1000 % (1 << 31),
        }  # fmt: skip
        self.ledger.commands.add(station, "GetLog", order, now_ms + REPORT_EXPIRY_MS, now_ms)

    def _answer(self, record: Record, now_ms: int) -> Json | None:
        """The OCPP response to a record, where it says something: a driver who has started is not welcome."""
        match record.action, record.payload:
            case ("TransactionEvent", {"eventType": "Started", "idToken": {"idToken": str(token)}}):
                info = id_token_info(self.ledger.drivers.find(token), now_ms)
                return {"idTokenInfo": info} if info["status"] != "Accepted" else None
        return None

    def _words(self, station: str) -> int | None:
        row = self.ledger.db.execute("SELECT words FROM station WHERE name = ?", (station,)).fetchone()
        return row[0] if row else None

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _hello(self, station: str, payload: bytes, now_ms: int) -> list[Publish]:
        hello = read_hello(payload)
        self.ledger.hello(station, hello, now_ms)
        self._owed.pop((station, hello.epoch), None)        # the greeting says it all
        greeting = Publish(f"d/{station}/a", self.ledger.greeting(station, hello, now_ms))
        return [greeting, *self.due(now_ms)]

    def _request(self, station: str, payload: bytes, now_ms: int) -> list[Publish]:
        request = read_request(payload, self.ledger.keys)
        response = self._respond(station, request.action, request.payload, now_ms)
        words = self._words(station)
        said = [self.ledger.keys.encode(response, words=words)] if isinstance(response, dict) else [None, *response]
        answer = Publish(f"d/{station}/v", cbor2.dumps([request.id, *said]))
        return [answer, *self._unknown(station, ANY_EPOCH, now_ms), *self.due(now_ms)]

    def _respond(self, station: str, action: str, payload: Json, now_ms: int) -> Json | tuple[str, str]:
        """The OCPP response, or OCPP-J's error code with a text."""
        if action not in ("BootNotification", "Heartbeat", "Authorize", "SignCertificate", "DataTransfer"):
            return "NotSupported", f"{action[:80]} is no request worthless late"
        if fault := schema_fault(f"{action}Request", payload):
            return "FormatViolation", fault
        self.ledger.describe(station, payload.get("chargingStation"), now_ms)
        match action:
            case "BootNotification":
                return {"currentTime": format_time(now_ms), "interval": INTERVAL_S, "status": "Accepted"}
            case "Heartbeat":
                return {"currentTime": format_time(now_ms)}
            case "SignCertificate":
                return self._sign_certificate(station, payload, now_ms)
            case "DataTransfer":
                return self._transferred(station, payload, now_ms)
        return self._authorized(payload["idToken"]["idToken"], now_ms)

    def _authorized(self, id_token: str, now_ms: int) -> Json:
        """With the driver's own tariff, if he may charge and has one."""
        info = id_token_info(self.ledger.drivers.find(id_token), now_ms)
        tariff = self.ledger.drivers.tariff(id_token) if info["status"] == "Accepted" else None
        return {"idTokenInfo": info} | ({"tariff": tariff} if tariff else {})

    def _transferred(self, station: str, payload: Json, now_ms: int) -> Json:
        if payload["vendorId"] != VENDOR:
            return {"status": "UnknownVendorId"}
        if payload.get("messageId") != STATUS:
            return {"status": "UnknownMessageId"}
        is_read = self.ledger.lists.told(station, payload.get("data"), now_ms)
        return {"status": "Accepted" if is_read else "Rejected"}

    def _sign_certificate(self, station: str, payload: Json, now_ms: int) -> Json:
        """Accepted, and the certificate follows as a command; a CSR that asks for more than it may is counted."""
        try:
            if self.authority is None:
                raise OperatorError("no CA here")
            chain = self.authority.sign(station, payload["csr"], now_ms)
        except OperatorError as error:
            self.ledger.count(station, "certificate_requests_refused", now_ms)
            return {"status": "Rejected", "statusInfo": {"reasonCode": "BadCSR", "additionalInfo": str(error)[:1024]}}
        request = {"certificateChain": chain, "certificateType": "ChargingStationCertificate"}
        if "requestId" in payload:
            request["requestId"] = payload["requestId"]
        self.ledger.commands.supersede(station, "CertificateSigned")
        self.ledger.commands.add(station, "CertificateSigned", request, now_ms + CERTIFICATE_EXPIRY_MS, now_ms)
        return {"status": "Accepted"}
