"""The shell of one modem: its keeper over its port, a bearer, what board and system can do to it, on the agent's loop.

It has no opinions: the keeper says what is to be done (agent/modem/events.py), this does it, and tells what came of it.
The broker's word comes from the uplink, whether anybody charges from the core. What the core needs goes to it as
ModemTold and ModemDid; who wants more asks `told`, or listens.

The bearer of ModemManager owns its modem: then no port is opened and nothing is asked, and the keeper's part is played
by `Redial`, which is all that is left to do.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any, Protocol

from msgspec import Struct, structs

from agent.events import Modem, ModemDid, ModemTold, PartTold, of_driver
from agent.hal.device import Aside, DeviceFailed, DeviceWorks
from agent.modem import tty
from agent.modem.apn import Table
from agent.modem.asking import objection
from agent.modem.at import Answered, timeout_s
from agent.modem.bearer import Bearer, Context, Described, Hands, Said
from agent.modem.events import (
    Acknowledged,
    Ask,
    BearerFell,
    BearerRose,
    Charging,
    Dial,
    Do,
    Done,
    Due,
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
from agent.modem.keeper import Keeper, Wishes
from agent.modem.recovery import Action
from agent.modem.redial import Redial
from agent.modem.told import ActionNews, ModemNews, News, SimNews, StartNews, Told
from agent.policy.id_token import masked

PART = "Modem"  # component on the wire
ABSENT_S = 60.0  # a modem that restarts is away for some seconds, which is no fault
FALL_MAX_S = 60.0  # a bearer that has not said by then that nothing is left of it
REOPEN_S = 2.0  # a port that was opened anew is there by then, or is not
BACK_S = 10.0  # the same of one that was lent
ASK_S = 30.0  # beyond a command's own time: what the keeper asks before it
SIGNAL_STEP_DB = 3  # less is no news
Heard = News | Said
At = Callable[[Callable[[float], None]], None]  # does it in a turn of the loop, with the time; from any thread


class Refused(Exception):
    """A command that is not sent, or was not answered; the sentence says why, and what to do."""


class PortLike(Protocol):
    """agent/modem/tty.py's Port, or a simulated one. It says Opened, Came, Gone, DeviceFailed, DeviceWorks."""

    path: str

    @property
    def is_open(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def lend(self) -> None: ...
    def take_back(self) -> None: ...
    def reopen(self) -> None: ...
    def due(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def close(self) -> None: ...


class LeversLike(Protocol):
    """agent/modem/levers.py."""

    can: frozenset[Action]

    def seen(self) -> None: ...
    def begin(self, action: Action, now: float) -> None: ...
    def due(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def close(self) -> None: ...


class Line(Struct, frozen=True):
    """What the config file says of the line."""

    pdp_type: str = "IP"
    data_port: str = ""  # where to dial, as `port` is written; "": on the port that is asked
    interface: str = ""
    metric: int = Context().metric


class Around(Struct, frozen=True):
    """What a host is given to work with."""

    at: At
    now: Callable[[], float]
    uniform: Callable[[float, float], float]
    tell: Callable[[object], None]  # events for the core
    save: Callable[[dict[str, Any]], None]  # durably, soon, without waiting
    save_last: Callable[[dict[str, Any]], None]  # the same at the end, at once
    probe: Callable[[str, tuple[str, ...], Callable[[bool], None]], None]  # interface, resolvers, the answer
    aside: Aside
    log: Callable[[str], None]


class Host:
    """`due` when `next_deadline` says so, or in any turn."""

    def __init__(
        self, wishes: Wishes, line: Line, around: Around, *,
        port: Callable[[Callable[[object], None]], PortLike] | None,
        bearer: Callable[[Hands], Bearer],
        levers: Callable[[Callable[[Action, float], None]], LeversLike],
        kept: object = None, is_cold: bool = False,
    ) -> None:  # fmt: skip
        """`port` is made with whom it tells; None: the bearer owns the modem, or there is none."""
        now = around.now()
        self._around, self._line = around, line
        self._listeners: list[Callable[[Heard], None]] = []
        self._levers = levers(lambda action, at: self._give(Done(action), at))
        hands = Hands(self._post, self._asked_by_bearer, around.aside, around.now, around.log)
        self.bearer = bearer(hands)
        self._owns = self.bearer.traits.owns_modem
        self._lends = self.bearer.traits.takes_port and not line.data_port
        wishes = structs.replace(wishes, can=wishes.can | self._levers.can, lends_port=self._lends)
        self.keeper: Keeper | Redial
        if self._owns:
            self.keeper = Redial(wishes, around.uniform, now, kept, is_cold)
        else:
            self.keeper = Keeper(wishes, around.uniform, now, kept, is_cold)
        self._keeper_at = now  # when it is to be asked again
        self._port = None if self._owns or port is None else port(self._from_port)
        self.rose: BearerRose | None = None  # the bearer, as it is up now
        self._dial: Dial | None = None  # what is to rise once the bearer has fallen
        self._is_risen = False  # it was told to rise, and has not fallen since
        self._falls_until: float | None = None  # it was told to fall: by then it has
        self._is_lent = False
        self._back_until: float | None = None  # the port that was lent is ours again by then, or gone
        self._reopens_until: float | None = None
        self._complained = ""  # the bearer's `why` that was logged last
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._is_charging: bool | None = None
        self._absent_since: float | None = now
        self._why = ""  # what the port's driver says is wrong
        self._is_failed = False  # as the core was told
        self._modem = Modem()  # as the core was told
        self._see(now)

    # -- a turn (agent/loop.py) ---------------------------------------------------------------------------------------

    def due(self, now: float) -> None:
        if self._port:
            self._port.due(now)
        self._levers.due(now)
        self.bearer.due(now)
        if self._falls_until is not None and now >= self._falls_until:
            self._around.log(f"modem: {self.bearer.traits.name} has not come down in {FALL_MAX_S:.0f} s")
            self._fallen(now)
        if self._back_until is not None and now >= self._back_until:
            self._is_lent, self._back_until = False, None
            self._give(Lost(), now)
        if self._reopens_until is not None and now >= self._reopens_until:
            self._reopens_until = None
            if self._port and not self._port.is_open:
                self._give(Lost(), now)
            self._give(Done(Action.REOPEN), now)
        if now >= self._keeper_at:
            self._give(Due(), now)
        self._see_part(now)

    def next_deadline(self) -> float:
        absent = self._absent_since + ABSENT_S if self._absent_since is not None and not self._is_failed else inf
        untils = (self._falls_until, self._back_until, self._reopens_until)
        waits = [each for each in untils if each is not None]
        port = self._port.next_deadline() if self._port else inf
        parts = (self._keeper_at, self._levers.next_deadline(), self.bearer.next_deadline(), port)
        return min(*parts, absent, *waits)

    def close(self) -> None:
        """The station stops: the line goes, what is known stays."""
        self._around.save_last(self.keeper.saved(self._around.now()))
        for number in list(self._waiting):
            self._replied(number, None)
        self.bearer.close()
        if self._port:
            self._port.close()
        self._levers.close()

    # -- what others tell, and ask ------------------------------------------------------------------------------------

    def charging(self, is_charging: bool, now: float) -> None:
        if is_charging is not self._is_charging:
            self._is_charging = is_charging
            self._give(Charging(is_charging), now)

    def acknowledged(self, local: str, now: float) -> None:
        """The broker's own word. `local`: our address of that connection; "": not known, then it is this line's."""
        address = self.rose.address if self.rose else None
        self._give(Acknowledged(not local or not address or local == address), now)

    def silent(self, now: float) -> None:
        self._give(Silent(), now)

    def learned(self, providers: Table) -> None:
        """Debian's list of access points was read."""
        if isinstance(self.keeper, Keeper):
            self.keeper.wishes = structs.replace(self.keeper.wishes, providers=providers)

    def told(self) -> Told:
        """All that is known."""
        return self.keeper.told(self._around.now())

    def listen(self, callback: Callable[[Heard], None]) -> Callable[[], None]:
        """News, and what the bearer says, as it comes, on the loop's thread. What is returned ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    async def ask(self, command: str, *, force: bool = False) -> Answered:
        """A command of a person's, between the keeper's own questions. Refused: see `agent/modem/asking.py`."""
        command = command.strip()
        if why := objection(command, force):
            raise Refused(why)
        return await self._asked(command)

    async def _asked_by_bearer(self, command: str) -> Answered:
        return await self._asked(command)

    async def _asked(self, command: str) -> Answered:
        if why := self.unaskable():
            raise Refused(why)
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._around.at(lambda now: self._give(Ask(number, command), now))
        try:
            async with asyncio.timeout(timeout_s(command) + ASK_S):
                answered: Answered = await future
                return answered
        except TimeoutError:
            raise Refused(f"{command} was not answered: type station-agent modem diagnose") from None
        finally:
            self._waiting.pop(number, None)

    def unaskable(self) -> str:
        """Why no command can be asked now; "": one can."""
        if self._owns:
            return f"the modem is {self.bearer.traits.name}'s: ask that one, for ModemManager with mmcli"
        if self._port is None:
            return 'the config file names no port: add port = "usb:…" to [modem]'
        if self._is_lent:
            return "the modem's only port carries our connection: name a second one as data_port in [modem]"
        if not self._port.is_open:
            return self._why or f"{self._port.path or 'the modem'} is not there: check its cable and the board file"
        return ""

    # -- what happens -------------------------------------------------------------------------------------------------

    def _from_port(self, said: object) -> None:
        self._around.at(lambda now: self._port_said(said, now))

    def _port_said(self, said: object, now: float) -> None:
        match said:
            case tty.Opened():
                self._levers.seen()
                if self._is_lent:
                    self._is_lent, self._back_until = False, None
                    self._give(Returned(), now)
                else:
                    self._give(Opened(), now)
            case tty.Came(data):
                self._give(Received(data), now)
            case tty.Gone():
                self._give(Lost(), now)
            case DeviceFailed(why=why):
                self._why = why
            case DeviceWorks():
                self._why = ""
        self._see_part(now)

    def _post(self, said: Said) -> None:
        self._around.at(lambda now: self._bearer_said(said, now))

    def _bearer_said(self, said: Said, now: float) -> None:
        match said:
            case Described(told=told) if isinstance(self.keeper, Redial):
                self.keeper.described(told)
                self._keeper_at = self.keeper.next_deadline(now)
                self._see(now)
            case BearerRose() if self._falls_until is None and self._is_risen:
                self.rose = said
                self._heard(said)
                self._give(said, now)
            case BearerFell():
                self._heard(said)
                is_ours = self._falls_until is not None
                if (why := self.bearer.why) and why != self._complained:
                    self._around.log(f"modem: {self.bearer.traits.name}: {why}")
                self._complained = why
                self._fallen(now)
                if not is_ours:
                    self._give(said, now)

    def _fallen(self, now: float) -> None:
        """Nothing is left of it. The port is taken back, and what waits for that rises."""
        self.rose, self._falls_until, self._is_risen = None, None, False
        if self._is_lent and self._port and self._dial is None:
            self._port.take_back()
            self._back_until = now + BACK_S
        if dial := self._dial:
            self._dial = None
            self._rise(dial)

    # -- what is to be done -------------------------------------------------------------------------------------------

    def _give(self, event: Event, now: float) -> None:
        effects = self.keeper.handle(event, now)
        self._keeper_at = self.keeper.next_deadline(now)  # of what has passed by now it says nothing any more
        for effect in effects:
            self._perform(effect, now)
        self._see(now)

    def _perform(self, effect: Effect, now: float) -> None:
        match effect:
            case Write(data) if self._port and not self._is_lent:
                self._port.write(data)
            case Dial():
                if self._is_risen:
                    self._dial = effect  # once it has come down
                    self._fall(now)
                else:
                    self._rise(effect)
            case HangUp():
                self._dial = None
                if self._is_risen:
                    self._fall(now)
            case Probe():
                self._ask_around()
            case Do(action=Action.REOPEN) if self._port:
                self._port.reopen()
                self._reopens_until = now + REOPEN_S
                if second := self._line.data_port:
                    self._around.aside(lambda: tty.poke(second), lambda _: None)
            case Do(action=action):
                self._levers.begin(action, now)
            case Save(kept):
                self._around.save(kept)
            case Tell(news=news):
                self._news(news)
            case Replied(number, answer):
                self._replied(number, answer)

    def _rise(self, dial: Dial) -> None:
        port = self._port.path if self._port else ""
        if self._lends and self._port:
            self._port.lend()
            self._is_lent, self._back_until = True, None
        data_port = str(tty.resolve(self._line.data_port) or "") if self._line.data_port else port
        self._is_risen = True
        self.bearer.rise(Context(
            dial.access, dial.cid, self._line.pdp_type, port, data_port, self._line.interface, self._line.metric,
            self.keeper.wishes.may_roam,
        ))  # fmt: skip

    def _fall(self, now: float) -> None:
        self.rose = None
        if self._falls_until is None:
            self._falls_until = now + FALL_MAX_S
            self.bearer.fall()

    def _ask_around(self) -> None:
        rose = self.rose or BearerRose()

        def answered(carries: bool) -> None:
            self._around.at(lambda now: self._give(Probed(carries), now))

        self._around.probe(rose.interface, rose.dns, answered)

    def _replied(self, number: int, answer: Answered | None) -> None:
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return
        if answer is None:
            future.set_exception(Refused("the modem has gone or started anew meanwhile: ask again in a minute"))
        else:
            future.set_result(answer)

    # -- what people hear ---------------------------------------------------------------------------------------------

    def _news(self, news: News) -> None:
        self._heard(news)
        match news:
            case SimNews(before=before, after=after):
                self._around.log(f"modem: SIM {replaced(before, after)}")
                self._around.tell(ModemDid("sim", before or "", after))
            case ModemNews(before=before, after=after):
                self._around.log(f"modem: {replaced(before, after)}")
                self._around.tell(ModemDid("modem", before or "", after))
            case ActionNews(action=action, level=level):
                self._around.log(f"modem: {action} (level {level})")
                if level:  # a call is what a modem is for
                    self._around.tell(ModemDid("action", str(level), action.value))
            case StartNews(sign=sign):
                self._around.log(f"modem: it has started by itself: {sign}")
            case _:
                pass

    def _heard(self, heard: Heard) -> None:
        for listener in list(self._listeners):
            listener(heard)

    def _see(self, now: float) -> None:
        """What the core knows of it is another."""
        modem = seen(self.keeper.told(now), self._modem)
        if modem != self._modem:
            self._modem = modem
            self._around.tell(ModemTold(modem))

    def _see_part(self, now: float) -> None:
        """A modem that does not come back is a part that has failed."""
        is_there = self._owns or self._port is None or self._port.is_open or self._is_lent
        self._absent_since = None if is_there else self._absent_since if self._absent_since is not None else now
        is_failed = self._absent_since is not None and now >= self._absent_since + ABSENT_S
        if is_failed and not self._is_failed:
            why = self._why or "the modem is not there: check its cable and the board file"
            self._around.tell(of_driver(PART, why, "modem"))
        if self._is_failed and is_there:
            self._around.tell(PartTold(PART))
        self._is_failed = is_failed


def seen(told: Told, before: Modem) -> Modem:
    """What the core keeps of it. A signal that has hardly moved is the same one."""
    signal = told.signal
    return Modem(
        state=told.beneath.value, doing="" if told.state is told.beneath else told.state.value,
        kind=None if told.kind is None else told.kind.value,
        generation=told.generation or "", operator=(told.operator or told.mccmnc or "")[:40],
        is_roaming=told.is_roaming, rssi_dbm=moved(signal.rssi_dbm, before.rssi_dbm),
        rsrp_dbm=moved(signal.rsrp_dbm, before.rsrp_dbm), rsrq_db=moved(signal.rsrq_db, before.rsrq_db),
        is_good=told.is_signal_good,
        sim=told.sim.value, imei=told.imei or "", iccid=told.iccid or "", imsi=told.imsi or "",
        warnings=tuple(sorted(warning.name for warning in told.warnings)),
    )  # fmt: skip


def moved(now: float | None, then: int | None) -> int | None:
    if now is None or then is None:
        return None if now is None else round(now)
    return then if abs(now - then) < SIGNAL_STEP_DB else round(now)


def replaced(before: str | None, after: str) -> str:
    """For the journal: whose SIM it is can be told by its number, so only its end is there."""
    return masked(after) + (f" in place of {masked(before)}" if before else "")
