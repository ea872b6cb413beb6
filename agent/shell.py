"""The one thin shell: takes what happened, lets the core decide, performs. It has no opinions.

The same shell runs on the device (agent/app.py gives it SQLite, paho and a serial line) and in the simulated world
(agent/sim/world.py gives it models of them). Everything arrives through `happened`, on one thread, with the time.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agent import atlas, listing, reporting, zones
from agent.authcache.cache import lifetime_s
from agent.authcache.lists import Lists, Made, Outcome, Plan, Status
from agent.clock import earliest, floor, wall
from agent.commands.owner import plan_token_judged
from agent.core import handle, next_deadline
from agent.effects import (
    Announce,
    AskList,
    AskOnline,
    Commission,
    Count,
    Durable,
    Effect,
    FindPlace,
    HangUp,
    Live,
    LoadZone,
    Lookup,
    Measure,
    PortCommand,
    Record,
    Remember,
    RenewCertificate,
    Restart,
    Save,
    Stream,
    UpdaterWish,
    Upload,
    Wipe,
    Wish,
    durable,
)
from agent.events import (
    AllDelivered,
    CacheCounted,
    ClockTold,
    Commanded,
    ConnectionEnded,
    ConnectionMade,
    Cp,
    Deadline,
    Entry,
    Event,
    LinkChanged,
    ListChanged,
    LookedUp,
    Measured,
    MessageTriggered,
    OnlineAnswered,
    OutboxCounted,
    PlaceFound,
    PlanTokenCame,
    Registered,
    Registration,
    ReportRequested,
    StatusDelivered,
    StoreFailed,
    TransactionAnswered,
    UpdaterTold,
    VariablesRequested,
    ZoneLoaded,
)
from agent.gate import Gate
from agent.identity import Done, Enrolled, Identity
from agent.modem.budget import Cause
from agent.network import verdict
from agent.policy.plan_token import Refused, Token
from agent.reporting import RECONFIGURED, samples_due
from agent.station import Station
from agent.store import Buried, CommitFailed, Committed, Crashed, EpochOpened, Fetched, Search, Searched, StoreForked
from agent.taps import LATE_S
from agent.uplink import answers
from agent.uplink.codec import LivePort, LiveReading, Mark, Will, encode_live
from agent.uplink.commands import (
    Answered,
    CacheClearRequested,
    CertificateCame,
    Command,
    KeysChangeRequested,
    ListContentRequested,
    ListReplaceRequested,
    ListVersionRequested,
    Refusal,
    SeenCommands,
    TransactionStatusRequested,
    open_command,
    refused,
    to_event,
)
from agent.uplink.cwt import claims_of
from agent.uplink.mqtt import Connected, Disconnected, PubAcked, Received
from agent.uplink.operator import OperatorKeys
from agent.uplink.protocol import (
    Action,
    Alarm,
    BootAnswered,
    Bury,
    CommandArrived,
    Delete,
    Deliver,
    Drop,
    Fetch,
    OpenEpoch,
    Publish,
    Told,
    Uplink,
    VolatileAnswered,
)
from agent.wizard import handover
from agent.wizard.coordinates import Point
from agent.wizard.facts import Sentence
from agent.wizard.places import Place

NEVER, NEVER_YET = float("inf"), float("-inf")
NO_OWNER = "the station was taken from its owner: send this after its next activation"
KEEPALIVE = "keepalive_s"  # the fact: learned by agent/uplink/keepalive.py
KEEPALIVE_SAVED_S = 21_600.0  # at most so often
PILOTS = tuple(Cp)
OWED = (Stream.MONEY, Stream.STATUS, Stream.RESULTS, Stream.SAMPLES)  # to an owner who leaves
SECURITY_EVENT_S = 60.0  # a broker full of bad signatures fills no disk with our complaints


@dataclass(frozen=True, slots=True)
class ListBuilt:
    """The file of a new allowlist is written, or could not be."""

    command_id: str
    made: Made | Outcome


@dataclass(frozen=True, slots=True)
class CommandOpened:
    """A command of the cloud has been verified and read, or refused."""

    command: Command | Refusal


Answers = (
    ListBuilt | CommandOpened | Committed | CommitFailed | EpochOpened | Fetched | Searched | Buried | StoreForked
    | Crashed | Done | Enrolled
)  # fmt: skip
Broker = Connected | Disconnected | PubAcked | Received
Happening = Event | Answers | Broker
Work = Callable[[Callable[[], Any], Callable[[Any], None]], None]  # what to run elsewhere, who takes its result here


class StorePort(Protocol):
    """agent/store.py, or the simulated disk. Answers come back through `happened`."""

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None: ...
    def flush(self) -> None: ...
    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None: ...
    def search(self, search: Search) -> None: ...
    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None: ...
    def bury(self, stream: int, seq: int, why: str) -> None: ...
    def new_epoch(self) -> None: ...


class BrokerPort(Protocol):
    """agent/uplink/mqtt.py, or the simulated network. `will`: what the broker says when we are gone."""

    will: Will

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None: ...
    def drop(self, connection: int, why: str) -> None: ...
    def use(self, cert: Path, pair: str) -> None: ...
    def go(self, address: tuple[str, int] | None, *, is_trial: bool = False) -> None: ...  # at the next connection

    @property
    def learned_keepalive_s(self) -> float: ...


class ControllerPort(Protocol):
    """The serial line to the port controller, or the simulated one."""

    def wish(self, commands: tuple[PortCommand, ...], now: float) -> None: ...
    def fresh(self, evse_id: int, now: float) -> Event | None: ...  # held back so far because only the meter moved
    def commission(self, limits: tuple[int, int, int], now: float) -> None: ...  # circuit, failsafe in mA, grace in s


class UpdaterPort(Protocol):
    """The line to the update service, or the simulated one; what it says arrives as UpdaterTold and UpdaterLost."""

    def wish(self, wish: UpdaterWish) -> None: ...


class NoUpdater:
    def wish(self, wish: UpdaterWish) -> None:
        raise AssertionError("nobody has spoken for it")


class EventLogPort(Protocol):
    """agent/eventlog/recorder.py: it must cost the loop next to nothing."""

    def stepped(self, before: Station, event: Event, now: float, effects: Sequence[Effect]) -> None: ...


class NoEventLog:
    def stepped(self, before: Station, event: Event, now: float, effects: Sequence[Effect]) -> None:
        """Nobody writes it down."""


class Shell:
    """`keys` are the operator's; without `identity` the station's certificate stays as it is. `work` runs something
    slow elsewhere and hands its result to a function on this thread; at once, where nothing is slow. `build` does the
    same with what takes minutes. `restart` ends this run of the agent soon, and has it started again. `spent` hears for
    what how many bytes go over the uplink."""

    def __init__(
        self, station: Station, first: Sequence[Effect], *, store: StorePort, broker: BrokerPort,
        controller: ControllerPort, uplink: Uplink, lists: Lists, seen: SeenCommands,
        keys: OperatorKeys, work: Work, build: Work, now: float, log: Callable[[str], None] = lambda _: None,
        restart: Callable[[], None] = lambda: None, identity: Identity | None = None,
        updater: UpdaterPort | None = None, events: EventLogPort | None = None,
        measure: Callable[[], Measured] | None = None, upload: Callable[[Upload], None] = lambda _: None,
        spent: Callable[[Cause, int], None] = lambda cause, size_b: None,
    ) -> None:  # fmt: skip
        self.station = station
        self.uplink = uplink
        self.lists = lists
        self.gate = Gate(tuple(PortCommand() for _ in station.ports))
        self.on_change: Callable[[], None] = lambda: None  # the station is another value now
        self.buried = 0  # records that became dead letters in this run
        self.steps = 0  # of the core: whoever watches over us wants to see it grow
        self._store, self._broker, self._controller, self._log = store, broker, controller, log
        self._seen, self._work, self._build, self._restart = seen, work, build, restart
        self._identity, self.operator_keys = identity, keys
        self._updater = updater or NoUpdater()
        self._events, self._measure, self._upload = events or NoEventLog(), measure, upload
        self._spent, self._updated = spent, ("", 0)
        self._batch_id = self._committed_id = 0
        self._todo: deque[Happening] = deque()
        self._after_commit: deque[tuple[int, Callable[[float], None]]] = deque()
        self._list_requests: deque[tuple[str, dict[str, Any]]] = deque()  # commands; the first is carried out
        self._requests_of_before = 0  # so many of these are the last owner's
        self._security_event_at: dict[str, float] = {}  # by type: when the next one may be recorded
        self._complaints: set[str] = set()  # types of security events that keep us from connecting, as recorded
        self._core_due: float | None = None  # remembered until the next step of the core
        self._uplink_due: float | None = None  # remembered until the next input of the uplink
        self._connection = 0  # the newest one's number
        self._keepalive_s, self._keepalive_at = broker.learned_keepalive_s, NEVER_YET  # as saved, when it may be again
        uplink.boot = reporting.boot_notification(station)
        self._steer()
        if identity:
            identity.attach(self)
        self._perform(first, (), now)

    # -- in -----------------------------------------------------------------------------------------------------------

    def happened(self, happening: Happening, now: float) -> None:
        """One thing happened; whatever follows from it at once is done before this returns."""
        self._todo.append(happening)
        self._work_off(now)

    def due(self, now: float) -> None:
        """Call when `next_deadline` has come; harmless earlier."""
        uplink_due = self.uplink.next_deadline()
        if uplink_due is not None and now >= uplink_due:
            self._act(self.uplink.deadline(now), now)
        if self._identity and now >= self._identity.next_deadline():
            self._identity.due(now)
        if now >= self._core_deadline():
            for evse_id in samples_due(self.station, now):  # a sample is of the newest reading
                if report := self._controller.fresh(evse_id, now):
                    self.happened(report, now)
            if now >= self._core_deadline():  # the readings were not all that was due
                self._todo.append(Deadline())
        self._work_off(now)

    def next_deadline(self) -> float:
        """When `due` has something to do. It changes with what happens, and with nothing else."""
        if self._uplink_due is None:
            due = self.uplink.next_deadline()
            self._uplink_due = NEVER if due is None else due
        identity_due = self._identity.next_deadline() if self._identity else NEVER
        return min(self._core_deadline(), self._uplink_due, identity_due)

    def _core_deadline(self) -> float:
        if self._core_due is None:
            self._core_due = next_deadline(self.station)
        return self._core_due

    def _work_off(self, now: float) -> None:
        while self._todo:
            self._take(self._todo.popleft(), now)

    def _take(self, happening: Happening, now: float) -> None:
        if self._identity and self._identity.took(happening, now):
            return
        match happening:
            case Done() | Enrolled():
                pass  # the identity's, and there is none
            case Committed(batch_id=batch_id, next_seq=next_seq):
                self.gate.committed(batch_id)
                self._controller.wish(self.gate.wish, now)
                while self._after_commit and self._after_commit[0][0] <= batch_id:
                    self._after_commit.popleft()[1](now)
                self._act(self.uplink.appended(next_seq, now), now)
                self._committed_id = max(self._committed_id, batch_id)
                self._look_whether_delivered()
            case StoreFailed(why=why):
                self._log(f"no new sessions: {why}")
                self._step(happening, now)
            case CommitFailed(why=why):
                self._log(f"not on disk, kept in memory: {why}")
                self._step(StoreFailed(why), now)
            case Fetched(stream=stream, after_seq=after_seq, rows=rows):
                self._act(self.uplink.fetched(stream, after_seq, rows, now), now)
            case StoreForked(why=why):
                self._log(f"the cloud holds other records than this storage, which was restored or copied: {why}")
                self._act(self.uplink.forked(now), now)
            case Buried(stream=stream, seq=seq, why=why):
                self.buried += 1
                self._log(f"alarm: record {seq} of stream {stream} is a dead letter: {why}")
                self._save([reporting.dead_letter(self.station, stream, seq, why, now)], now)
            case EpochOpened(epoch=epoch, marks=marks):
                self._log(f"new epoch {epoch.hex()}")
                self._broker.will = Will(epoch, self.uplink.boot_id)
                self._act(self.uplink.epoch_opened(epoch, marks, now), now)
            case CommandOpened(command=command):
                self._opened(command, now)
            case ListBuilt(command_id=command_id, made=made):
                self._built(command_id, made, now)
            case Searched(search=search, is_held=is_held):
                response = reporting.transaction_status(self.station, search.transaction_id, is_held)
                self._answer(search.search_id, response, now)
            case Crashed(error=error):
                raise error
            case Connected(connection=connection, address=address):
                self._complaints.clear()
                self._connection = connection
                self._step(ConnectionMade(address), now)
                limits = happening.receive_maximum, happening.maximum_packet_size
                agreed = happening.keepalive_s, happening.broker_until_s
                self._act(self.uplink.connected(connection, *limits, now, *agreed), now)
            case Disconnected(why=why, cause=cause, address=address):
                self._log(f"{'alarm: ' if cause.is_alarm else ''}broker: {why}")
                self._complain(cause.security_event, why, now)
                self._step(ConnectionEnded(address), now)
                self._act(self.uplink.disconnected(now), now)
            case Received(topic=topic, payload=payload):
                self._act(self.uplink.received(topic, payload, now), now)
            case UpdaterTold(order=order, received_b=received_b):
                before_b = self._updated[1] if self._updated[0] == order else received_b
                self._spent(Cause.UPDATES, max(0, received_b - before_b))
                self._updated = order, received_b
                self._step(happening, now)
            case PubAcked(packet_id=packet_id, reason_code=reason_code):
                self._act(self.uplink.puback(packet_id, reason_code, now), now)
            case _:
                self._step(happening, now)

    # -- the core -----------------------------------------------------------------------------------------------------

    def _step(self, event: Event, now: float, also: Sequence[Durable] = ()) -> None:
        """One step of the core. `also` is committed with it, or not at all."""
        self.steps += 1
        self._core_due = None
        before = self.station
        self.station, effects = handle(before, event, now)
        self._events.stepped(before, event, now, effects)
        if self.station is not before:
            self.on_change()
        if self.station.network is not before.network:
            self._steer(verdict(before.network, self.station.network))
        if self.station.machine is not before.machine or self.station.outage_known is not before.outage_known:
            self.uplink.boot = reporting.boot_notification(self.station)
        if any(isinstance(effect, Wipe) for effect in effects):
            also, self._requests_of_before = (*also, *self.lists.wiped(now)), len(self._list_requests)
        self._perform(effects, also, now)

    def _steer(self, said: str | None = None) -> None:
        """Where the next connection goes."""
        network = self.station.network
        self._broker.go(network.address(network.order[0]), is_trial=network.trying is not None)
        if said:
            self._log(said)

    def _perform(self, effects: Sequence[Effect], also: Sequence[Durable], now: float) -> None:
        """What is lowered goes out at once, what is owed goes to the disk, what is raised waits for it (Gate)."""
        owed = self._with_notes((*map(self._sealed, durable(effects)), *also), now)
        wish = next((effect.commands for effect in effects if isinstance(effect, Wish)), None)
        self.gate.batch(self._next_batch() if owed else None, wish)
        self._controller.wish(self.gate.wish, now)
        if owed:
            self._store.commit(self._batch_id, owed)
        if self.gate.is_waiting:  # something is to be raised: the disk shall speak now
            self._store.flush()
        for effect in effects:
            match effect:
                case Record():
                    for line in reporting.log_lines(effect):
                        self._log(line)
                case Lookup(ask_id=ask_id, id_token=id_token):
                    failures = self.lists.failures
                    known = self.looked_up(id_token, now)
                    self._todo.append(LookedUp(ask_id, *known, self.lists.failures == failures))
                case AskOnline():
                    self._ask(effect, now)
                case Count():
                    self._todo.extend(self._counted())
                case Measure() if self._measure:
                    self._todo.extend(self._counted())
                    self._work(self._measure, self._todo.append)
                case AskList():
                    asked = listing.status(self.lists.state)
                    self._act(self.uplink.request("DataTransfer", asked, listing.ASK_TIMEOUT_S, 0, now), now)
                case Announce(action=action):
                    self._act(self.uplink.announce(action, now), now)
                case Live():
                    self._act(self.uplink.live(encode_live(live_reading(effect)), now), now)
                case RenewCertificate():
                    if self._identity:
                        self._identity.wanted(now)
                case Commission():
                    self._commission(effect, now)
                case LoadZone(name=name):
                    self._todo.append(ZoneLoaded(name, zones.load(name)))
                case FindPlace():
                    self._find_place(effect)
                case HangUp(why=why):
                    self._broker.drop(self._connection, why)
                case Wipe():
                    self._after_commit.append((self._batch_id, lambda _: self._wiped()))
                    self._store.flush()
                case Upload():
                    self._upload(effect)
                case UpdaterWish():
                    self._tell_updater(effect)
                case Restart():
                    self._after_commit.append((self._batch_id, lambda _: self._restart()))
                    self._store.flush()
                case Remember():
                    clock, kept_s = self.station.clock, lifetime_s(self.station.settings)
                    self._save(self.lists.remember(effect, floor(clock, effect.asked_at), kept_s), now)

    def _sealed(self, each: Durable) -> Durable:
        """Signed where the core wants it, before the one commit: a power cut leaves the signed record, or none."""
        if not isinstance(each, Record) or not each.seal:
            return each
        envelope = self._identity.seal(each.seal) if self._identity else None
        if envelope is None:
            self._log(f"{each.action} is not signed: this station has no key of its own (ECDSA P-256)")
        return handover.sealed(each, envelope)

    def _commission(self, limits: Commission, now: float) -> None:
        """Lowered at once, raised when the disk has it; it may have had the confirmation for long."""
        row = (limits.circuit_limit_ma, limits.failsafe_ma, limits.host_grace_s)
        held = self.station.controller
        is_lower = held is not None and limits.circuit_limit_ma < held.circuit_limit_ma
        if is_lower or self._committed_id == self._batch_id:
            self._controller.commission(row, now)
        else:
            self._after_commit.append((self._batch_id, lambda later: self._controller.commission(row, later)))
            self._store.flush()

    def _tell_updater(self, wish: UpdaterWish) -> None:
        """An order is on disk before the updater hears of it, and its end before the updater may forget it."""
        if self._committed_id == self._batch_id:
            self._updater.wish(wish)
        else:
            self._after_commit.append((self._batch_id, lambda _: self._updater.wish(wish)))
            self._store.flush()

    def _find_place(self, at: FindPlace) -> None:
        def found(seen: tuple[Place, tuple[Sentence, ...]]) -> None:
            place, doubts = seen
            self._todo.append(PlaceFound(at.latitude, at.longitude, place, doubts))

        self._work(lambda: atlas.look(Point(at.latitude, at.longitude), at.zone, at.sister, at.address), found)

    def _look_whether_delivered(self) -> None:
        """Somebody waits at the display for the cloud's word about what was just reported."""
        told = self.station.wizard
        is_on_disk = self._committed_id == self._batch_id
        if told.told and not told.is_heard and is_on_disk and not self.uplink.owed()[Stream.STATUS]:
            self._todo.append(StatusDelivered())

        if self.station.owner.leaving and is_on_disk and not any(self.uplink.owed()[stream] for stream in OWED):
            self._todo.append(AllDelivered())

    def _wiped(self) -> None:
        self._log("what was the owner's is wiped")
        self._todo.append(ListChanged(self.lists.committed()))

    def looked_up(self, id_token: str, now: float) -> tuple[Entry | None, Entry | None]:
        """What list and cache say about this card."""
        station = self.station
        return self.lists.lookup(id_token, now, earliest(station.clock, now), lifetime_s(station.settings))

    def _with_notes(self, owed: Sequence[Durable], now: float) -> tuple[Durable, ...]:
        """What goes with a commit that is made anyway: which commands are done, and what the network has taught."""
        if not owed:
            return ()
        return (*owed, *self._learned(now), *(self._seen.add(command_id) for command_id in results(owed)))

    def _learned(self, now: float) -> tuple[Save, ...]:
        """Written rarely."""
        learned_s = self._broker.learned_keepalive_s
        if learned_s == self._keepalive_s or now < self._keepalive_at:
            return ()
        self._keepalive_s, self._keepalive_at = learned_s, now + KEEPALIVE_SAVED_S
        return (Save(KEEPALIVE, learned_s),)

    def _next_batch(self) -> int:
        self._batch_id += 1
        return self._batch_id

    def _save(self, owed: Sequence[Durable], now: float, then: Callable[[float], None] | None = None) -> None:
        """Commit something that is not the core's; `then` follows when it is on disk."""
        if not owed:
            return
        self.gate.batch(self._next_batch(), None)
        self._store.commit(self._batch_id, self._with_notes(owed, now))
        if then:
            self._after_commit.append((self._batch_id, then))
            self._store.flush()

    # -- the uplink ---------------------------------------------------------------------------------------------------

    def _ask(self, effect: AskOnline, now: float) -> None:
        request = {"idToken": {"idToken": effect.id_token, "type": "ISO14443"}}
        self._act(self.uplink.request("Authorize", request, LATE_S, effect.ask_id, now), now)

    def _act(self, actions: Sequence[Action], now: float) -> None:
        """Perform what an input of the uplink has called for."""
        self._uplink_due = None
        for action in actions:
            match action:
                case Publish(connection=connection, packet_id=packet_id, topic=topic, payload=payload, qos=qos):
                    self._broker.publish(connection, packet_id, topic, payload, qos)
                    self._spent(cause_of(topic), len(topic) + len(payload))
                case Fetch(stream=stream, after_seq=after_seq, limit_bytes=limit_bytes):
                    self._store.fetch(stream, after_seq, limit_bytes)
                case Delete(epoch=epoch, marks=marks):
                    self._store.acknowledged(epoch, marks)
                    self._look_whether_delivered()
                case Bury(stream=stream, seq=seq, why=why):
                    self._store.bury(stream, seq, why)
                case OpenEpoch():
                    self._store.new_epoch()
                case Drop(connection=connection, why=why):
                    self._log(f"dropped the connection: {why}")
                    self._broker.drop(connection, why)
                case Deliver(event=told):
                    self._told(told, now)

    def _told(self, told: Told, now: float) -> None:
        """What the uplink understood of the cloud's words."""
        match told:
            case CommandArrived(data=data):
                self._command(data, now)
            case VolatileAnswered(tag=int(ask_id), action="Authorize", payload=dict(payload)):
                entry, why = answers.authorized(payload)
                if entry:
                    self._todo.append(OnlineAnswered(ask_id, entry, why))
                if why:
                    self._log(why)
            case VolatileAnswered(action="SignCertificate", payload=answer) if self._identity:
                self._identity.answered(answer, now)
            case BootAnswered(status=status):
                was_held = self.station.registration in (Registration.PENDING, Registration.REJECTED)
                self._todo.append(Registered(Registration(status)))
                if was_held and status == Registration.ACCEPTED and self._identity:
                    self._identity.registered(now)  # what was asked meanwhile has not gone out
            case Alarm(why=why):
                self._log(f"alarm: {why}")
            case LinkChanged() | ClockTold() | TransactionAnswered():
                self._todo.append(told)

    # -- the cloud's commands -----------------------------------------------------------------------------------------

    def _command(self, data: bytes, now: float) -> None:
        """Verified and read elsewhere, for a list is long."""
        clock, station_id = self.station.clock, self.station.settings.station_id
        now_s, known = earliest(clock, now), wall(clock, now) is not None

        def opened() -> Command | Refusal:
            return open_command(data, self.operator_keys.keys, station_id, now_s, self._seen, is_time_known=known)

        def then(command: Command | Refusal) -> None:
            is_list = isinstance(command, Command) and command.action == "SendLocalList"
            self._spent(Cause.LISTS if is_list else Cause.RECORDS, len(data))
            self._todo.append(CommandOpened(command))

        self._work(opened, then)

    def _opened(self, command: Command | Refusal, now: float) -> None:
        """Done once and answered: the result, the mark "seen" and whatever it changes are one commit."""
        wanted = command if isinstance(command, Refusal) else to_event(command, self.operator_keys.keys)
        match wanted:
            case Refusal():
                self._refuse(wanted, now)
            case ListReplaceRequested(command_id=command_id, request=request):
                self._replace_list(command_id, request, now)
            case ListContentRequested(command_id=command_id):
                self._answer(command_id, {"status": "Accepted", "data": self.lists.said}, now)
            case ListVersionRequested(command_id=command_id):
                self._answer(command_id, {"versionNumber": self.lists.state.version}, now)
            case CacheClearRequested(command_id=command_id):
                status = "Accepted" if self.station.settings.cache_enabled else "Rejected"  # OCPP C11
                self._answer(command_id, {"status": status}, now, self.lists.cache.clear(now))
            case CertificateCame(command_id=command_id, request=request):
                self._certificate_came(command_id, request, now)
            case KeysChangeRequested(command_id=command_id, data=data):
                self._change_keys(command_id, data, now)
            case TransactionStatusRequested(command_id=command_id, transaction_id=transaction_id):
                self._seen.begin(command_id)
                owed = self.uplink.owed()
                about = {int(stream): owed[stream] for stream in (Stream.MONEY, Stream.SAMPLES)}
                self._store.search(Search(command_id, transaction_id, about))
            case Answered(command_id=command_id, response=response):
                self._answer(command_id, response, now)
            case _:
                self._seen.begin(wanted.command_id)
                self._look_around(wanted, now)
                self._step(wanted, now)

    def _look_around(self, wanted: Commanded, now: float) -> None:
        """Whoever asks gets the newest: of the meters, of the outbox."""
        if isinstance(wanted, MessageTriggered):
            for port in self.station.ports:
                if report := self._controller.fresh(port.evse_id, now):
                    self._step(report, now)
        if isinstance(wanted, VariablesRequested | ReportRequested):
            for counted in self._counted():
                self._step(counted, now)

    def _counted(self) -> tuple[OutboxCounted, CacheCounted]:
        waiting = tuple(map(count, self.uplink.owed().values()))
        return OutboxCounted(waiting), CacheCounted(self.lists.cache.size_b)

    def _refuse(self, refusal: Refusal, now: float) -> None:
        self._log(f"command refused: {refusal.why}")
        owed = self._security_event(refusal.security_event, refusal.why, now) if refusal.security_event else []
        if refusal.result and refusal.command_id:
            owed.append(reporting.message(self.station, Stream.RESULTS, "CommandResult", refusal.result, now))
        self._save(owed, now)

    def _security_event(self, kind: str, why: str, now: float) -> list[Durable]:
        if now < self._security_event_at.get(kind, 0.0):
            return []
        self._security_event_at[kind] = now + SECURITY_EVENT_S
        return [reporting.security_event(self.station, kind, why, now)]

    def _complain(self, kind: str | None, why: str, now: float) -> None:
        """Why we cannot connect: once until we can, not with every attempt of a month."""
        if kind and kind not in self._complaints and (owed := self._security_event(kind, why, now)):
            self._complaints.add(kind)
            self._save(owed, now)

    def _answer(
        self, command_id: str, response: dict[str, Any], now: float, also: Sequence[Durable] = (),
        then: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        result = reporting.result(self.station, command_id, response, now)
        self._save((result, *also), now, then)

    def _replace_list(self, command_id: str, request: dict[str, Any], now: float) -> None:
        """One list after the other, in the order of the cloud: a broker may hand out many at once."""
        self._seen.begin(command_id)
        self._list_requests.append((command_id, request))
        if len(self._list_requests) == 1:
            self._next_list(now)

    def _next_list(self, now: float) -> None:
        """Planned here, built elsewhere, in force with the commit."""
        command_id, request = self._list_requests[0]
        if self._is_list_too_late():
            return self._list_done(command_id, Outcome(Status.Failed, NO_OWNER), now)
        plan = self.lists.plan(request, wall(self.station.clock, now), now)
        if isinstance(plan, Plan):
            self._build(plan.build, lambda made: self._todo.append(ListBuilt(command_id, made)))
        else:
            self._list_done(command_id, plan, now)

    def _built(self, command_id: str, made: Made | Outcome, now: float) -> None:
        if self._is_list_too_late():
            self.lists.forget_drafts()
            made = Outcome(Status.Failed, NO_OWNER)
        outcome = self.lists.apply(made, wall(self.station.clock, now), now) if isinstance(made, Made) else made
        self._list_done(command_id, outcome, now)

    def _is_list_too_late(self) -> bool:
        """The first in the queue: for an owner who is gone, or going."""
        owner = self.station.owner
        return owner.is_transferred or owner.leaving is not None or self._requests_of_before > 0

    def _list_done(self, command_id: str, outcome: Outcome, now: float) -> None:
        def over(later: float) -> None:
            if outcome.state:
                state = self.lists.committed()
                self._log(f"allowlist {state.version} with {state.entries} cards is in force")
                self._todo.append(ListChanged(state))
            self._list_requests.popleft()
            self._requests_of_before = max(0, self._requests_of_before - 1)
            if self._list_requests:
                self._next_list(later)

        self._answer(command_id, outcome.response, now, outcome.saves, over)

    # -- certificates and keys; from post() on, what agent/identity.py asks of us --------------------------------------

    def _certificate_came(self, command_id: str, request: dict[str, Any], now: float) -> None:
        if self._identity is None:
            return self._refuse(refused(command_id, "NotSupported", "this station has no certificate of its own"), now)
        self._seen.begin(command_id)
        return self._identity.signed(command_id, request, now)

    def plan_token(self, text: str, then: Callable[[Token | Refused], None], now: float) -> None:
        """Somebody at the station has a token in a file, or on his phone. `then` is told why it is not taken, or what
        it is, when it is on disk."""
        claims = claims_of(text, self.operator_keys.keys)
        judged = plan_token_judged(self.station, claims, now)
        if isinstance(judged, Refused):
            self._log(f"plan token refused: {judged}")
            return then(judged)
        self._step(PlanTokenCame(claims), now)
        if self._committed_id == self._batch_id:
            return then(judged)  # it was here already
        self._after_commit.append((self._batch_id, lambda _: then(judged)))
        self._store.flush()
        return self._work_off(now)

    def _change_keys(self, command_id: str, data: Any, now: float) -> None:
        changed = self.operator_keys.change(data)
        if isinstance(changed, str):
            info = {"reasonCode": "InvalidKeys", "additionalInfo": changed}
            return self._answer(command_id, {"status": "Rejected", "statusInfo": info}, now)
        said = f"operator keys: {', '.join(kid.hex() for kid in changed.keys)}"
        self._log(said)
        owed = self._security_event(RECONFIGURED, said, now)
        return self._answer(command_id, {"status": "Accepted"}, now, (self.operator_keys.put(changed), *owed))

    def post(self, happening: Happening) -> None:
        """It happens in this turn of the loop."""
        self._todo.append(happening)

    def elsewhere(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._work(job, then)

    def ask(self, action: str, payload: dict[str, Any], timeout_s: float, tag: int, now: float) -> None:
        self._act(self.uplink.request(action, payload, timeout_s, tag, now), now)

    def security_event(self, kind: str, why: str, now: float) -> None:
        self._save(self._security_event(kind, why, now), now)

    def answer(self, command_id: str, response: dict[str, Any], now: float) -> None:
        self._answer(command_id, response, now)

    def use(self, cert: Path, pair: str) -> None:
        self._broker.use(cert, pair)

    def drop(self, connection: int, why: str) -> None:
        self._broker.drop(connection, why)

    def log(self, line: str) -> None:
        self._log(line)


def cause_of(topic: str) -> Cause:
    """What a message to the broker is for: its last level is a stream, or another word of docs/uplink.md."""
    stream = topic.rpartition("/")[2]
    return {"3": Cause.SAMPLES, "4": Cause.LOGS, "l": Cause.SAMPLES}.get(stream, Cause.RECORDS)


def count(owed: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in owed)


def results(owed: Sequence[Durable]) -> list[str]:
    """The commands that these records are the results of."""
    return [each.payload["commandId"] for each in owed if isinstance(each, Record) and each.action == "CommandResult"]


def live_reading(live: Live) -> LiveReading:
    ports = tuple(
        LivePort(evse_id, PILOTS.index(r.cp), r.offer_ma, r.energy_wh, r.power_w, r.current_ma, r.voltage_mv)
        for evse_id, r in live.ports
    )
    return LiveReading(round(live.mono_s * 1000), None if live.wall_s is None else round(live.wall_s * 1000), ports)
