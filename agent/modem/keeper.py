"""One modem, kept online: facts, questions and recovery put to work over one AT channel. Sans-IO, no clock.

`handle` takes what has happened and gives what is to be done, `next_deadline` says when to call it with `Due` at the
latest. The port's bytes, the bearer, the broker's word and the board's lines are the shell's.
"""

from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import inf
from typing import Any

from msgspec import Struct, field, structs

from agent.modem import apn, at, kinds, liveness, recovery
from agent.modem import modem as facts
from agent.modem.apn import Access, Table
from agent.modem.at import Channel
from agent.modem.events import (
    CID,
    Acknowledged,
    Ask,
    BearerFell,
    BearerRose,
    Cause,
    Charging,
    Dial,
    Do,
    Done,
    Effect,
    Event,
    HangUp,
    Lost,
    Opened,
    Probe,
    Probed,
    Received,
    Replied,
    Returned,
    Save,
    Silent,
    Tell,
    Write,
)
from agent.modem.kinds import Kind
from agent.modem.liveness import Liveness, Verdict
from agent.modem.modem import Bearer, Sim, State
from agent.modem.questions import (
    COMMANDS,
    NAME,
    OF_ICCID,
    OF_SIM,
    STABLE_S,
    START,
    Asked,
    asked,
    is_known,
    is_named,
    next_question,
)
from agent.modem.recovery import HOUR_S, LEVELS, Action, Context
from agent.modem.told import ActionNews, KindNews, ModemNews, SimNews, StartNews, StateNews, Told, Warn, WarningNews

RADIO_PAUSE_S = 10.0  # between radio off and on (Telit's note)
RESTART_PAUSE_S = 10.0  # after AT+CFUN=1,1: until it is worth to say anything
REPEATS_MAX = 3  # of a step of the start that was not answered
NAME_S = 3_600.0  # between two questions for the operator's name
SOON_S = 300.0  # after a change of state, questions are asked sooner
RISE_MAX_S = 180.0  # ModemManager's for the whole connect
PIN_TRIES_MIN = 2  # the last one is a person's
PINS_MAX = 8  # SIMs whose PIN was wrong, kept
SAVE_S = 900.0  # while a wait or a limit counts: a power cut may make waits longer by so much, never shorter
TOKEN = 1.0 - 1e-6  # one, whatever the sum of its parts is
PEOPLE_MAX = 8  # commands of people that wait
NEWS_MAX, NEWS_S = 10, 300.0  # of the state: so many at once, then one in so many seconds
FACTS_VERSION = 1


class Wishes(Struct, frozen=True):
    """What config, board and station say."""

    access: Access | None = None  # None: find out
    known: Table = field(default_factory=lambda: apn.KNOWN)
    providers: Table = {}
    pin: str = ""
    pdp_type: str = "IP"
    may_roam: bool = True
    upgradable: bool = True  # the board's word: a modem for LTE can be put in its place
    can: frozenset[Action] = frozenset()
    stable_s: float = STABLE_S  # between two questions for registration and signal while all is well
    lends_port: bool = False  # the bearer takes the port that we ask: from Dial until Returned nothing is asked


Step = str | float | Dial  # a command, a pause, or what comes after them


class Keeper:
    """`uniform` is that of random.Random. `is_cold`: the station has just got its power back."""

    def __init__(
        self,
        wishes: Wishes,
        uniform: Callable[[float, float], float],
        now: float,
        kept: object = None,
        is_cold: bool = False,
    ) -> None:
        self.wishes = wishes
        self.modem = facts.gone(now)
        self.life = Liveness()
        self.is_acknowledged = False
        self.is_charging = True  # until we are told
        self.counts: dict[str, int] = {}
        self._uniform = uniform
        self._channel: Channel | None = None
        self._asked: dict[str, Asked] = {}
        self._steps: deque[Step] = deque()
        self._people: deque[Ask] = deque()  # commands of people, between our own
        self._person: int | None = None  # whose is in flight
        self._pause_until = -inf
        self._repeats = 0
        self._named_at = -inf
        self._was_registered = False
        self._kept = kept_of(kept)
        self.recovery = recovery.restored(self._kept.recovery, now)
        if is_cold:
            self.recovery = structs.replace(self.recovery, began_at=now + uniform(0.0, recovery.START_MAX_S))
        self._pins_tried: set[str] = set()  # since our start
        self._access = 0  # which candidate
        self._refused = 0  # candidates in a row that were not accepted
        self._is_system_fault = False
        self._on_3g_since: float | None = None
        self._on_3g_s = self._kept.on_3g_s  # before
        self._state, self._state_at, self._told = State.ABSENT, now, State.ABSENT
        self._skipped = 0
        self._tokens, self._tokens_at = float(NEWS_MAX), now
        self._kind: Kind | None = None
        self._warnings: frozenset[Warn] = frozenset()
        self._saved: dict[str, Any] = {}
        self._saved_at = now
        self._is_changed = False  # something to keep that cannot wait
        self._effects: list[Effect] = []

    # -- outside ------------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """In this order."""
        self._absorb(event, now)
        self._turn(now)
        effects, self._effects = self._effects, []
        return effects

    def next_deadline(self, now: float) -> float:
        """Never in the past by more than what `handle` at that time would do."""
        times = [
            self._channel_deadline(now),
            facts.next_change(self.modem, now) or inf,
            self._recovery_deadline(now),
            self._news_deadline(),
            self._save_deadline(now),
        ]
        if self.modem.bearer is Bearer.UP:
            times.append(liveness.next_deadline(self.life) or inf)
        if self.modem.bearer is Bearer.RISING:
            times.append(self.modem.bearer_at + RISE_MAX_S)
        if self._on_3g_since is not None and Warn.LTE_ON_3G not in self._warnings:
            times.append(self._on_3g_since + kinds.ON_3G_MAX_S - self._on_3g_s)
        return min(times)

    def saved(self, now: float) -> dict[str, Any]:
        """What a stop of the station keeps."""
        return self._to_keep(now)

    @property
    def kind(self) -> Kind | None:
        if self.modem.imei in self._kept.lte:
            return Kind.LTE
        return kinds.kind(self.modem.evidence)

    @property
    def verdict(self) -> Verdict | None:
        return liveness.verdict(self.life) if self.modem.bearer is Bearer.UP else None

    def state(self, now: float) -> State:
        beneath = self.beneath(now)
        if self.recovery.acting is not None and not self._is_first_dial():
            return State.RECOVERING
        waits = (State.ABSENT, State.PROBING, State.REGISTERED, State.ATTACHED, State.DEGRADED, State.SEARCHING)
        trouble = self._trouble(now)
        if beneath in waits and trouble and (track := self.recovery.tracks.get(trouble)):
            return State.BACK_OFF if track.series and now < track.not_before else beneath
        return beneath

    def beneath(self, now: float) -> State:
        """Without recovery."""
        found = facts.state(self.modem, now)
        if found is not State.BEARER_UP:
            return found
        if self.verdict is Verdict.ALIVE:
            return State.ONLINE
        return State.DEGRADED if self.life.was_acknowledged else State.BEARER_UP

    def told(self, now: float) -> Told:
        modem, kind = self.modem, self.kind
        at, trouble = self._recovery_deadline(now), self._trouble(now)
        planned = recovery.next_action(self.recovery, trouble, modem, self._context(), now) if trouble else None
        doing = self.recovery.acting or planned
        radio = facts.act(modem)
        return Told(
            state=self.state(now), beneath=self.beneath(now), since=self._state_at,
            level=LEVELS[doing] if doing else None, trouble=trouble, next_action=planned,
            next_action_s=max(at - now, 0.0) if at < inf and trouble else None,
            manufacturer=modem.manufacturer, model=modem.model, revision=modem.revision, imei=modem.imei,
            kind=kind, sunset=kinds.sunset(kind, self.wishes.upgradable), sim=facts.sim(modem, now),
            iccid=modem.iccid, imsi=modem.imsi, operator=modem.operator, mccmnc=modem.mccmnc,
            act=radio, generation=kinds.generation(radio), is_roaming=facts.is_roaming(modem),
            registrations=dict(modem.registrations), signal=modem.signal, is_signal_good=modem.signal.is_good,
            apn=self._candidate().apn if modem.bearer is not Bearer.DOWN else None, address=modem.address,
            warnings=self._warnings, counts=dict(self.counts),
        )  # fmt: skip

    # -- what happens -------------------------------------------------------------------------------------------------

    def _absorb(self, event: Event, now: float) -> None:
        match event:
            case Opened():
                self._fell(now)
                self._channel = Channel(now)
                self.modem = facts.opened(now)
                self._forget()
                if self.recovery.acting is not None and self.recovery.acting is not Action.REBOOT:
                    self.recovery = recovery.done(self.recovery, now)
            case Lost():
                self._fell(now)
                if self.modem.opened_at is not None:
                    self.modem = facts.gone(now)
                self._channel = None
                self._forget()
            case Received(data) if self._channel is not None:
                self._on_channel(self._channel.received(data, now), now)
            case Returned() if self._channel is not None:
                self._channel.hung_up(now)
            case Ask():
                self._asked_by_person(event)
            case BearerRose(address) if self.modem.bearer is Bearer.RISING:
                self.modem = facts.bearer_changed(self.modem, Bearer.UP, address, now)
                self.life = liveness.began(now)
                self._refused, self._is_system_fault = 0, False
                self._count("connections")
                self._ended(Action.REDIAL, now)
            case BearerFell(cause) if self.modem.bearer is not Bearer.DOWN:
                self.modem = facts.bearer_changed(self.modem, Bearer.DOWN, None, now)
                self._judge(cause)
                self._ended(Action.REDIAL, now)
            case Acknowledged(is_ours):
                self.is_acknowledged = True
                if self.modem.bearer is Bearer.UP and is_ours:
                    self.life = liveness.acknowledged(self.life, now)
            case Silent():
                self.is_acknowledged = False
                self.life = liveness.silent(self.life, now)
            case Probed(is_answered) if self.life.asked_at is not None:
                self.life = liveness.probed(self.life, is_answered, now)
            case Done(action):
                self._ended(action, now)
            case Charging(is_charging):
                self.is_charging = is_charging

    def _forget(self) -> None:
        """Another modem may be there, or the same anew."""
        self._asked.clear()
        self._steps.clear()
        self._pause_until = self._named_at = -inf
        self._repeats = 0
        if self._person is not None:
            self._effects.append(Replied(self._person, None))
            self._person = None
        while self._people:
            self._effects.append(Replied(self._people.popleft().number, None))

    def _asked_by_person(self, ask: Ask) -> None:
        if self._channel is None or len(self._people) >= PEOPLE_MAX:
            self._effects.append(Replied(ask.number, None))
        else:
            self._people.append(ask)

    def _fell(self, now: float) -> None:
        """The bearer is gone with its modem."""
        if self.modem.bearer is not Bearer.DOWN:
            self.modem = facts.bearer_changed(self.modem, Bearer.DOWN, None, now)
            self._effects.append(HangUp())
            self._ended(Action.REDIAL, now)

    def _judge(self, cause: Cause) -> None:
        """What a bearer's end says of the access point."""
        if cause is Cause.SYSTEM:
            self._is_system_fault = True
        if cause in (Cause.APN, Cause.AUTH):
            self._access += 1
            self._refused += 1

    def _ended(self, action: Action, now: float) -> None:
        if self.recovery.acting is action:
            self.recovery = recovery.done(self.recovery, now)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- the channel --------------------------------------------------------------------------------------------------

    def _on_channel(self, events: list[at.Event], now: float) -> None:
        for event in events:
            match event:
                case at.Answered():
                    self._answered(event, now)
                case at.Heard():
                    self._heard(event, now)
                case at.Rebooted(sign, is_down):
                    self._restarted(now)
                    if not is_down:
                        self._count("starts by itself")
                        self._effects.append(Tell(StartNews(sign)))
                case at.Hung():
                    self.modem = structs.replace(self.modem, hung_at=now)
                    self._steps.clear()
                    self._count("hung")
                case at.Found():
                    if self.modem.hung_at is not None or not self.modem.is_found:
                        self._restarted(now)

    def _restarted(self, now: float) -> None:
        """Everything is asked anew."""
        self._fell(now)
        self.modem = facts.restarted(self.modem, now)
        self._forget()
        self._steps.extend(START)

    def _heard(self, event: at.Heard, now: float) -> None:
        piece = event.piece
        self.modem = facts.listened(self.modem, facts.heard(self.modem, piece, now), now)
        if "sim" in piece.fields or piece.prefix == "+CPIN":
            self._again("AT+CPIN?", *OF_ICCID.commands)
        if piece.prefix == "+CGEV":
            self._again("AT+CGATT?")

    def _again(self, *commands: str) -> None:
        """As soon as may be; what was refused stays so for its hour."""
        for command in commands:
            if (known := self._asked.get(command)) is not None and not known.is_refused:
                del self._asked[command]

    def _answered(self, answer: at.Answered, now: float) -> None:
        command, before = answer.command, self.modem
        is_persons = self._person is not None
        if self._person is not None:
            self._effects.append(Replied(self._person, answer))
            self._person = None
        self.modem = facts.listened(before, facts.answered(before, answer, now), now)
        is_sure = answer.is_sure and answer.final is not None
        if command in COMMANDS:
            self._asked[command] = asked(self._asked.get(command), answer, now)
        if before.sim is not self.modem.sim and self.modem.sim in (Sim.READY, Sim.LOCKED):
            for each in OF_SIM:
                self._asked.pop(each, None)
        if facts.is_in_service(self.modem) and not facts.is_in_service(before):
            self._again("AT+CGATT?", "AT+COPS?")
        if facts.sim(self.modem, now) is Sim.MISSING:
            self._pins_tried.discard(self._pin_place())
        if command == "AT+COPS?":
            self._name_operator(now)
        if command.startswith("AT+CPIN=") and is_sure and not is_persons:
            self._pin_answered(answer)
        self._stepped(command, answer, is_sure, now)

    def _stepped(self, command: str, answer: at.Answered, is_sure: bool, now: float) -> None:
        """What follows from a command that was no question."""
        if command in START and answer.final is None and self._repeats < REPEATS_MAX:
            self._repeats += 1
            self._steps.appendleft(command)
            return
        self._repeats = 0
        other = {"AT+CMEE=1": "AT+CMEE=2", "AT+CFUN=4": "AT+CFUN=0"}.get(command)
        if other and is_sure and not answer.is_ok:
            self._steps.appendleft(other)
        if command == "AT+CFUN=1,1":
            if not is_sure or answer.is_ok:
                self._restarted(now)
                self._steps.appendleft(RESTART_PAUSE_S)
            self._ended(Action.RESTART, now)
        if is_sure and answer.is_ok and command in ("AT+CFUN=0", "AT+CFUN=1", "AT+CFUN=4"):
            self.modem = facts.powered(self.modem, int(command[-1]), now)
        if is_sure and answer.is_ok and command in ("AT+CGATT=0", "AT+COPS=0"):
            self.modem = facts.detached(self.modem, now)
        if command in ("AT+CFUN=1", "AT+CGATT=1", "AT+COPS=0") and not self._steps:
            for action in (Action.ON, Action.RADIO, Action.REATTACH, Action.RESELECT):
                self._ended(action, now)
        if command.startswith(("AT+CFUN=", "AT+COPS=0", "AT+CGATT=")):
            self._again("AT+CFUN?", "AT+CPIN?", "AT+COPS?", "AT+CGATT?", "AT+CEREG?", "AT+CGREG?", "AT+CREG?")

    def _name_operator(self, now: float) -> None:
        """Its name beside its number, once in a while."""
        if self.modem.mccmnc and not self.modem.operator and not self._steps and now >= self._named_at + NAME_S:
            self._named_at = now
            self._steps.extend(NAME)

    def _channel_turn(self, now: float) -> None:
        """Polls it, and sends what comes next."""
        channel = self._channel
        if channel is None:
            return
        data, events = channel.poll(now)
        if data:
            self._effects.append(Write(data))
        self._on_channel(events, now)
        if channel.is_ready and now >= self._pause_until and (command := self._next_command(channel, now)):
            self._effects.append(Write(channel.send(command, now)))

    def _next_command(self, channel: Channel, now: float) -> str:
        while self._steps:
            step = self._steps.popleft()
            if isinstance(step, float):
                self._pause_until = now + step
                return ""
            if isinstance(step, Dial):
                self._dialled(channel, step, now)
                if channel.is_data:
                    return ""
                continue
            return step
        if not self.modem.is_found or channel.is_data:
            return ""
        if self._people:
            ask = self._people.popleft()
            self._person = ask.number
            return ask.command
        command, due = next_question(self.modem, self._asked, self._is_calm(now), self.wishes.stable_s, now)
        return command if due <= now else ""

    def _is_calm(self, now: float) -> bool:
        """It carries us, or has not for so long that haste is of no use."""
        return self.modem.bearer is Bearer.UP or now >= self._state_at + SOON_S

    def _channel_deadline(self, now: float) -> float:
        channel = self._channel
        if channel is None:
            return inf
        found = channel.next_deadline()
        if not channel.is_ready:
            return inf if found is None else found
        if now < self._pause_until:
            return self._pause_until
        if self._steps or (self._people and self.modem.is_found):
            return now
        return next_question(self.modem, self._asked, self._is_calm(now), self.wishes.stable_s, now)[1]

    # -- a turn -------------------------------------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        self._channel_turn(now)
        self._see_known()
        self._see_identity(now)
        self._see_bearer(now)
        self._see_pin(now)
        self._see_3g(now)
        self._recover(now)
        self._channel_turn(now)
        self._tell(now)
        self._keep(now)

    def _see_known(self) -> None:
        modem = self.modem
        if modem.is_found and not modem.is_known and not self._steps and is_known(modem, self._asked):
            self.modem = structs.replace(modem, is_known=True)

    def _see_identity(self, now: float) -> None:
        """Another modem, another SIM: since our last look, or since the last run."""
        modem, kept = self.modem, self._kept
        if modem.imei and modem.imei != kept.imei:
            self._effects.append(Tell(ModemNews(kept.imei, modem.imei)))
            self._new_part(now)
            self._kept = structs.replace(self._kept, imei=modem.imei)
        if modem.iccid and modem.iccid != kept.iccid:
            self._effects.append(Tell(SimNews(kept.iccid, modem.iccid)))
            self._new_part(now)
            if kept.iccid is not None:
                bare = facts.without_sim(modem, now)
                self.modem = structs.replace(bare, iccid=modem.iccid, iccid_read=modem.iccid_read)
                self._fell(now)
                for command in OF_SIM:
                    self._asked.pop(command, None)
                self._named_at = -inf
            self._kept = structs.replace(self._kept, iccid=modem.iccid)
        if modem.imei and modem.evidence.lte and modem.imei not in self._kept.lte:
            self._kept = structs.replace(self._kept, lte=kinds.kept(self._kept.lte, modem.imei, modem.evidence))
            self._is_changed = True

    def _new_part(self, now: float) -> None:
        """All is derived anew; what was tried with the old part says nothing of this one, but the limits stay."""
        self.recovery = recovery.forgiven(self.recovery)
        self._access = self._refused = 0
        self._on_3g_since, self._on_3g_s = None, 0.0
        self._is_changed = True

    def _see_bearer(self, now: float) -> None:
        """Liveness, and a bearer that has outlived its registration or will not rise."""
        modem = self.modem
        if (is_registered := facts.is_registered(modem, now)) is not self._was_registered:
            self._was_registered = is_registered
            if is_registered:
                self.recovery = recovery.in_service(self.recovery)
        if modem.bearer is Bearer.RISING and now >= modem.bearer_at + RISE_MAX_S:
            self._fell(now)
        if modem.bearer is Bearer.UP:
            self.life = self._probing(now)
            is_gone = not is_registered and self.verdict is not Verdict.ALIVE
            if is_gone or (facts.is_roaming(modem) and not self.wishes.may_roam):
                self._fell(now)
        self.recovery = recovery.observed(
            self.recovery, self.is_acknowledged, self.verdict in (Verdict.ALIVE, Verdict.BROKER_ONLY), now
        )

    def _probing(self, now: float) -> Liveness:
        life = self.life
        if life.asked_at is not None and now >= life.asked_at + liveness.PROBE_TIMEOUT_S:
            life = liveness.probed(life, False, now)
        if liveness.due(life, now):
            self._effects.append(Probe())
            self._count("probes")
            life = liveness.asked(life, now)
        return life

    def _see_pin(self, now: float) -> None:
        """Once per SIM and start, if it is known that a person still has a try left after it."""
        if self._pin_problem() is not None or self.modem.lock != "SIM PIN" or self._steps:
            return
        is_tried = not self._pins_tried.isdisjoint((self._pin_key(), self._pin_place()))
        if self.modem.is_known and not is_tried and is_named(self.modem, self._asked):
            self._pins_tried.add(self._pin_key())
            self._steps.extend((f'AT+CPIN="{self.wishes.pin}"', "AT+CPIN?"))

    def _pin_key(self) -> str:
        return self.modem.iccid or self._pin_place()

    def _pin_place(self) -> str:
        """Of a SIM that does not tell its ICCID before its PIN."""
        return f"in {self.modem.imei}"

    def _pin_digest(self) -> str:
        return sha256(f"{self._pin_key()} {self.wishes.pin}".encode()).hexdigest()[:16]

    def _pin_problem(self) -> Warn | None:
        modem = self.modem
        if modem.sim is not Sim.LOCKED or facts.is_radio_off(modem):
            return None
        if modem.lock in ("SIM PUK", "SIM PUK2"):
            return Warn.PUK
        if modem.lock != "SIM PIN":
            return Warn.LOCKED_TO
        if not (self.wishes.pin.isdigit() and self.wishes.pin.isascii() and 4 <= len(self.wishes.pin) <= 8):
            return Warn.PIN_MISSING
        if self._pin_digest() in self._kept.wrong_pins:
            return Warn.PIN_WRONG
        return Warn.PIN_UNSURE if modem.retries is None or modem.retries < PIN_TRIES_MIN else None

    def _pin_answered(self, answer: at.Answered) -> None:
        if answer.is_ok or answer.error == 14:  # busy: it was not looked at
            return
        self._kept = structs.replace(self._kept, wrong_pins=(*self._kept.wrong_pins, self._pin_digest())[-PINS_MAX:])
        self.modem = structs.replace(self.modem, retries=None)
        self._is_changed = True

    def _see_3g(self, now: float) -> None:
        """How long an LTE modem has been on older networks."""
        radio = facts.act(self.modem)
        is_old = kinds.generation(radio) in ("2g", "3g") and self.kind is Kind.LTE
        if is_old and self._on_3g_since is None:
            self._on_3g_since = now
        elif kinds.is_newer(radio):
            self._on_3g_since, self._on_3g_s = None, 0.0
        elif not is_old and self._on_3g_since is not None:  # no radio at all: it is not counted, nor forgotten
            self._on_3g_s += now - self._on_3g_since
            self._on_3g_since = None

    def _on_3g(self, now: float) -> float:
        return self._on_3g_s + (now - self._on_3g_since if self._on_3g_since is not None else 0.0)

    # -- recovery -----------------------------------------------------------------------------------------------------

    def _context(self) -> Context:
        return Context(
            can=self.wishes.can,
            is_charging=self.is_charging,
            is_refused=self._is_system_fault or self._is_refused(),
            may_roam=self.wishes.may_roam,
        )

    def _trouble(self, now: float) -> recovery.Trouble | None:
        return recovery.trouble(self.modem, self.verdict, self._context(), now)

    def _is_first_dial(self) -> bool:
        """Which recovers nothing."""
        track = self.recovery.tracks.get(recovery.Trouble.DARK)
        return self.recovery.acting is Action.REDIAL and (track is None or (track.rung, track.series) == (0, 0))

    def _recover(self, now: float) -> None:
        trouble = self._trouble(now)
        if self._steps and self.recovery.acting is None:
            return  # the modem is being set up
        self.recovery, action = recovery.step(
            self.recovery, trouble, self.modem, self._context(), self._uniform, now
        )
        if action is None:
            return
        self._count(str(action))
        self._effects.append(Tell(ActionNews(action, LEVELS[action])))
        if action in recovery.RESETS:
            self._is_changed = True  # before it is done: it may end us, too
            self._keep(now)
        self._do(action, now)

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Action.REDIAL:
                self._steps.extend(self._dialling(now))
            case Action.REATTACH:
                self._hang_up(now)
                self._steps.extend(("AT+CGATT=0", "AT+CGATT=1"))
            case Action.RESELECT:
                self._steps.append("AT+COPS=0")
            case Action.ON:
                self._steps.append("AT+CFUN=1")
            case Action.RADIO:
                self._hang_up(now)
                self._steps.extend(("AT+CFUN=4", RADIO_PAUSE_S, "AT+CFUN=1"))
            case Action.RESTART:
                self._hang_up(now)
                self._steps.append("AT+CFUN=1,1")
            case _:
                self._hang_up(now)
                self._effects.append(Do(action))

    def _hang_up(self, now: float) -> None:
        if self.modem.bearer is not Bearer.DOWN:
            self.modem = facts.bearer_changed(self.modem, Bearer.DOWN, None, now)
            self._effects.append(HangUp())

    def _is_refused(self) -> bool:
        """Every candidate in a row."""
        return self._refused > 0 and self._refused >= len(self._candidates())

    def _candidates(self) -> tuple[Access, ...]:
        wishes = self.wishes
        return apn.candidates(wishes.access, wishes.known, wishes.providers, self.modem.iccid, self.modem.imsi)

    def _candidate(self) -> Access:
        found = self._candidates()
        return found[self._access % len(found)]

    def _dialling(self, now: float) -> list[Step]:
        """The context that has this access point already, or the first one set to it; then the call."""
        self._hang_up(now)
        access = self._candidate()
        cid = next((cid for cid, name in self.modem.contexts.items() if cid and apn.same(name, access.apn)), None)
        if cid is not None:
            return [Dial(access, cid)]
        return [f'AT+CGDCONT={CID},"{self.wishes.pdp_type}","{access.apn}"', "AT+CGDCONT?", Dial(access, CID)]

    def _dialled(self, channel: Channel, dial: Dial, now: float) -> None:
        if self.wishes.lends_port:
            self._on_channel(channel.lend(), now)
        self.modem = facts.bearer_changed(self.modem, Bearer.RISING, None, now)
        self._effects.append(dial)

    def _recovery_deadline(self, now: float) -> float:
        found = self.recovery
        if found.acting is not None:
            return found.until
        times = [inf]
        if (trouble := self._trouble(now)) is not None:
            times.append(recovery.ready_at(found, trouble, self.modem, self._context(), now))
            if Action.REBOOT in self.wishes.can and not self.is_charging:
                times.append(max(found.dark_since + recovery.REBOOT_AFTER_S,
                                 recovery.allowed_at(found, Action.REBOOT, now)))
        if found.well_since is not None and found.tracks:
            times.append(found.well_since + recovery.STABLE_S)
        return min((each for each in times if each > now), default=inf) if min(times) <= now else min(times)

    # -- what people hear ---------------------------------------------------------------------------------------------

    def warnings(self, now: float) -> frozenset[Warn]:
        modem, found = self.modem, set[Warn]()
        if sunset := kinds.sunset(self.kind, self.wishes.upgradable):
            found.add(Warn(sunset.value))
        if self._on_3g(now) >= kinds.ON_3G_MAX_S:
            found.add(Warn.LTE_ON_3G)
            lte = modem.registrations.get("+CEREG")
            if lte and lte.stat == facts.DENIED:
                found.add(Warn.SIM_3G_ONLY)
        if modem.is_known and (problem := self._pin_problem()):
            found.add(problem)
        if facts.is_denied_for_good(modem) and not facts.is_registered(modem, now):
            found.add(Warn.DENIED)
        if self._is_system_fault:
            found.add(Warn.SYSTEM)
        elif self._is_refused():
            found.add(Warn.ACCESS)
        if facts.is_roaming(modem) and not self.wishes.may_roam:
            found.add(Warn.ROAMING)
        if self.verdict is Verdict.BROKER_ONLY and not self.is_acknowledged:
            found.add(Warn.BROKER)
        if modem.signal.is_good is False:
            found.add(Warn.SIGNAL)
        return frozenset(found)

    def _tell(self, now: float) -> None:
        state = self.state(now)
        if state is not self._state:
            self._state, self._state_at = state, now
            self._skipped += 1
        if self.kind is not None and self.kind is not self._kind:
            self._kind = self.kind
            self._effects.append(Tell(KindNews(self.kind, kinds.sunset(self.kind, self.wishes.upgradable))))
        self._tokens = min(float(NEWS_MAX), self._tokens + (now - self._tokens_at) / NEWS_S)
        self._tokens_at = now
        warnings = self.warnings(now)
        if state is not self._told and self._tokens >= TOKEN:
            self._effects.append(Tell(StateNews(self._told, state, max(self._skipped - 1, 0))))
            self._told, self._skipped = state, 0
            self._tokens -= 1.0
        if warnings != self._warnings and self._tokens >= TOKEN:
            self._effects.append(Tell(WarningNews(warnings - self._warnings, self._warnings - warnings)))
            self._warnings = warnings
            self._tokens -= 1.0

    def _news_deadline(self) -> float:
        if self._state is self._told or self._tokens >= TOKEN:
            return inf
        return self._tokens_at + (1.0 - self._tokens) * NEWS_S

    # -- what is kept -------------------------------------------------------------------------------------------------

    def _to_keep(self, now: float) -> dict[str, Any]:
        kept = self._kept
        return {
            "version": FACTS_VERSION, "imei": kept.imei, "iccid": kept.iccid, "lte": dict(kept.lte),
            "wrong_pins": list(kept.wrong_pins), "on_3g_s": round(self._on_3g(now)),
            "recovery": recovery.saved(self.recovery, now),
        }  # fmt: skip

    def _keep(self, now: float) -> None:
        """At once what steers the next start; else in SAVE_S at the earliest, and only while something counts."""
        if not self._is_changed and now < self._save_deadline(now):
            return
        self._is_changed = False
        self._saved_at, self._saved = now, self._to_keep(now)
        self._effects.append(Save(self._saved))

    def _save_deadline(self, now: float) -> float:
        """A wait, a limit or a day on 3G that runs is kept now and then."""
        is_counting = self._on_3g_since is not None and self._on_3g(now) < kinds.ON_3G_MAX_S + HOUR_S
        is_counting |= any(track.series for track in self.recovery.tracks.values())
        is_counting |= self._saved.get("recovery", {}).get("tracks", {}) != {} and not self.recovery.tracks
        return self._saved_at + SAVE_S if is_counting else inf


class Kept(Struct, frozen=True):
    """Over restarts."""

    imei: str | None = None
    iccid: str | None = None
    lte: dict[str, str] = {}  # by IMEI, by what it was seen
    wrong_pins: tuple[str, ...] = ()
    on_3g_s: float = 0.0
    recovery: object = None


def kept_of(fact: object) -> Kept:
    """As it was saved; what cannot be read is left out."""
    if not isinstance(fact, Mapping):
        return Kept()
    lte, pins, on_3g_s = fact.get("lte"), fact.get("wrong_pins"), fact.get("on_3g_s")
    names = [value if isinstance(value := fact.get(key), str) else None for key in ("imei", "iccid")]
    return Kept(
        imei=names[0],
        iccid=names[1],
        lte={str(key): str(value) for key, value in lte.items()} if isinstance(lte, Mapping) else {},
        wrong_pins=tuple(str(each) for each in pins)[-PINS_MAX:] if isinstance(pins, (list, tuple)) else (),
        on_3g_s=float(on_3g_s) if isinstance(on_3g_s, (int, float)) and 0 <= on_3g_s < inf else 0.0,
        recovery=fact.get("recovery"),
    )
