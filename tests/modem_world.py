"""A modem, its SIM, its network, the line above it and the station around it, in simulated time.

Small on purpose: what the keeper of agent/modem/ must cope with, spoken in bytes through the real channel. `Faults` are
what is broken; some are cured by an action only, as in the field.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from agent.modem.events import (
    Acknowledged,
    BearerFell,
    BearerRose,
    Cause,
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
    Save,
    Silent,
    Tell,
    Write,
)
from agent.modem.keeper import Keeper, Wishes
from agent.modem.modem import State
from agent.modem.recovery import RESETS, Action
from agent.modem.told import News

IMEI, OTHER_IMEI = "490154203237518", "356938035643809"
T = TypeVar("T")
ALL = frozenset((Action.START, Action.USB, Action.POWER, Action.REBOOT))
SLOW_S = 800.0  # between questions, where a story is days long
BOOT_S, SEARCH_S, RISE_S, PING_S = 8.0, 6.0, 3.0, 240.0


@dataclass
class Card:
    iccid: str = "89490200001234567890"
    imsi: str = "262011234567890"
    pin: str = ""
    tries: int = 3
    is_open: bool = False  # the PIN was entered
    apns: tuple[str, ...] = ()  # that its network accepts; () is any


@dataclass
class Network:
    is_heard: bool = True
    carries: bool = True  # data flow
    takes_data: bool = True  # contexts are activated
    denies: int | None = None  # with this cause
    is_foreign: bool = False
    rsrp: int = 45  # +CESQ index: -96 dBm
    rsrq: int = 20  # -10 dB
    act: int = 7


@dataclass
class Hardware:
    imei: str = IMEI
    model: str = "EC25"
    maker: str = "Quectel"
    has_lte: bool = True
    is_cdma: bool = False
    has_cfun4: bool = True
    says_rdy: bool = True
    leaves_usb: bool = True  # at a restart, as USB modems do


@dataclass
class World:
    """`cure`: the faults below end when this is done to the modem."""

    wishes: Wishes = field(default_factory=lambda: Wishes(can=ALL, stable_s=SLOW_S))
    card: Card | None = field(default_factory=Card)
    network: Network = field(default_factory=Network)
    hardware: Hardware = field(default_factory=Hardware)
    seed: int = 0
    kept: Any = None
    is_cold: bool = False
    is_charging: bool = False
    broker: bool = True
    has_port: bool = True  # the modem can be seen on USB
    hangs: bool = False  # AT is not answered
    deaf: bool = False  # radio hears nothing
    stuck: bool = False  # contexts come up, nothing flows
    cures: frozenset[Action] = frozenset()
    start: float = 1_000.0

    def __post_init__(self) -> None:
        self.now = self.start
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.actions: list[tuple[float, Action]] = []
        self.commands: Counter[str] = Counter()
        self.sent: list[tuple[float, str]] = []
        self.saves: list[tuple[float, dict[str, Any]]] = []
        self.news: list[tuple[float, News]] = []
        self.states: list[tuple[float, State]] = []
        self.rng = random.Random(self.seed)
        self.is_on, self.fun, self.echo = True, 1, True
        self.is_booting = False
        self.searching_until = self.now + SEARCH_S
        self.was_there = False
        self.cops_mode, self.cops_format = 0, 0
        self.attached = True
        self.contexts: dict[int, str] = {}
        self.bearer: Dial | None = None
        self.is_up = False
        self.input = ""
        self.probes = 0
        self.keeper = Keeper(self.wishes, self.rng.uniform, self.now, self.kept, self.is_cold)
        self.give(Charging(self.is_charging))
        if self.has_port:
            self.give(Opened())
        self.at(PING_S / 2, self._ping)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, after_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + after_s, next(self._order), what))

    def run(self, for_s: float) -> "World":
        end, turns = self.now + for_s, 0
        while True:
            due = self.keeper.next_deadline(self.now)
            then = min(due, self._queue[0][0] if self._queue else end, end)
            turns = turns + 1 if then <= self.now else 0
            assert turns < 300, ("it turns without end", self.keeper.state(self.now), self.sent[-5:], due, self.now)
            self.now = max(self.now, then)
            if self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            elif due <= self.now:
                self.give(Due())
            elif self.now >= end:
                return self

    def until(self, state: State, limit_s: float = 86_400.0) -> float:
        """How long it took."""
        begin = self.now
        while self.state is not state:
            assert self.now < begin + limit_s, (self.state, self.actions[-9:], self.sent[-9:])
            self.run(1.0 if self.now < begin + 300 else 20.0)
        return self.now - begin

    @property
    def state(self) -> State:
        return self.keeper.state(self.now)

    def done(self, *which: Action) -> list[float]:
        return [when for when, action in self.actions if action in (which or RESETS)]

    def told(self, kind: type[T]) -> list[T]:
        return [news for _, news in self.news if isinstance(news, kind)]

    # -- the shell ----------------------------------------------------------------------------------------------------

    def give(self, event: Event) -> None:
        for effect in self.keeper.handle(event, self.now):
            self._perform(effect)
        state = self.keeper.state(self.now)
        if not self.states or self.states[-1][1] is not state:
            self.states.append((self.now, state))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Write(data):
                self._hear(data.decode())
            case Dial():
                assert self.bearer is None, "a second call"
                self.bearer = effect
                self.commands["DIAL"] += 1
                self.actions.append((self.now, Action.REDIAL))
                self._cured(Action.REDIAL)
                self.at(RISE_S, lambda: self._rise(effect))
            case HangUp():
                self.bearer, self.is_up = None, False
                self._quiet()
            case Probe():
                self.probes += 1
                self.at(1.0 if self.carries else 10.0, lambda: self.give(Probed(self.carries)))
            case Do(action):
                self._do(action)
            case Save(kept):
                self.saves.append((self.now, kept))
            case Tell(news):
                self.news.append((self.now, news))

    def _do(self, action: Action) -> None:
        self.actions.append((self.now, action))
        if action is Action.REOPEN:
            self._cured(action)
            if self.has_port:
                self.at(0.5, lambda: self.give(Lost()))
                self.at(1.0, lambda: self.give(Opened()))
            self.at(1.5, lambda: self.give(Done(action)))
            return
        self._cured(action)
        if action in (Action.POWER, Action.USB, Action.START):
            self._restart(4.0)
        self.at(4.0, lambda: self.give(Done(action)))

    def _cured(self, action: Action) -> None:
        if action in self.cures:
            self.hangs = self.deaf = self.stuck = False
            if not self.has_port:
                self.has_port = True

    # -- the world ----------------------------------------------------------------------------------------------------

    @property
    def carries(self) -> bool:
        return self.is_up and self.network.carries and not self.stuck

    @property
    def is_registered(self) -> bool:
        return (
            self.is_on and self.fun == 1 and self.network.is_heard and not self.deaf and self.network.denies is None
            and self.is_sim_open and self.cops_mode != 2 and self.now >= self.searching_until
        )  # fmt: skip

    @property
    def is_sim_open(self) -> bool:
        return self.card is not None and (not self.card.pin or self.card.is_open)

    def set(self, **what: Any) -> "World":
        """Something of the network or the station changes."""
        for key, value in what.items():
            setattr(self.network if hasattr(self.network, key) else self, key, value)
        if not (self.network.is_heard and self.network.denies is None) or self.hangs or self.deaf:
            self.searching_until = self.now + SEARCH_S
        if self.bearer and self.is_up and not self.is_registered:
            self._drop()
        self._urc()
        self.at(max(self.searching_until - self.now, 0.0) + 0.1, self._urc)
        return self

    def _urc(self) -> None:
        """What +CEREG=2 and +CGREG=2 have asked for."""
        if not self.hangs and self.is_on and self.fun == 1 and not self.echo:
            stat = (5 if self.network.is_foreign else 1) if self.is_registered else 2
            domain = "+CEREG" if self.network.act >= 7 else "+CGREG"
            self.say(f"\r\n{domain}: {stat}" + f',"8BE3","2BAF",{self.network.act}' * (stat != 2) + "\r\n")

    def _drop(self, cause: Cause = Cause.ENDED) -> None:
        self.bearer, self.is_up = None, False
        self.give(BearerFell(cause))
        self._quiet()

    def _rise(self, dial: Dial) -> None:
        if self.bearer is not dial:
            return
        card = self.card
        if self.is_registered and self.network.takes_data and card:
            if card.apns and dial.access.apn not in card.apns:
                self._drop(Cause.APN)
                return
            self.is_up = True
            self.give(BearerRose("10.0.0.2"))
            self.at(2.0, self._answer_of_broker)
        else:
            self._drop(Cause.FAILED)

    def _answer_of_broker(self) -> None:
        if self.carries and self.broker:
            self.give(Acknowledged())
        else:
            self._quiet()

    def _quiet(self) -> None:
        if self.keeper.is_acknowledged:
            self.give(Silent())

    def _ping(self) -> None:
        self._answer_of_broker()
        self.at(PING_S, self._ping)

    # -- the modem ----------------------------------------------------------------------------------------------------

    def _restart(self, after_s: float) -> None:
        """Off, and on again: what it had is gone."""
        self.input, self.fun, self.echo, self.contexts = "", 1, True, {}
        self.cops_mode = 0
        self.attached = True
        if self.card:
            self.card.is_open = False
        self.is_booting = True
        if self.is_up:
            self._drop()
        leaves = self.hardware.leaves_usb and self.keeper.modem.opened_at is not None
        if leaves:
            self.at(0.5, lambda: self.give(Lost()))
        self.searching_until = self.now + after_s + BOOT_S + SEARCH_S

        def back() -> None:
            self.is_booting = False
            if (leaves or self.keeper.modem.opened_at is None) and self.has_port:
                self.give(Opened())
            if self.hardware.says_rdy:
                self.say("\r\nRDY\r\n")

        self.at(after_s + BOOT_S, back)

    def say(self, text: str, after_s: float = 0.0) -> None:
        def heard() -> None:
            if self.has_port and not self.is_booting:
                self.give(Received(text.encode()))

        self.at(after_s, heard)

    def _hear(self, text: str) -> None:
        if self.hangs or self.is_booting or not self.has_port:
            return
        self.input += text
        while "\r" in self.input:
            command, self.input = self.input.split("\r", 1)
            command = command.strip("\x1b ")
            self.commands[command] += 1
            self.sent = [*self.sent[-50:], (self.now, command)]
            answer = self.answer(command)
            self.say((f"{command}\r" if self.echo else "") + answer, 0.02)

    def answer(self, command: str) -> str:
        ok, error = "\r\nOK\r\n", "\r\nERROR\r\n"
        lines = self._lines(command)
        if lines is None:
            return error
        if isinstance(lines, int):
            return f"\r\n+CME ERROR: {lines}\r\n"
        return "".join(f"\r\n{line}\r\n" for line in lines) + ok

    def _lines(self, command: str) -> list[str] | int | None:
        """None: not known; a number: that error."""
        hardware, card, network = self.hardware, self.card, self.network
        name, _, value = command.partition("=")
        match command:
            case "AT" | "ATX4&C1&D2" | "AT+CMEE=1" | "AT+CREG=2" | "AT+CGREG=2" | "AT+CGEREP=2,1":
                return []
            case "ATE0V1":
                self.echo = False
                return []
            case "AT+CGMI":
                return [hardware.maker]
            case "AT+CGMM":
                return [hardware.model]
            case "AT+CGMR":
                return ["1.0"]
            case "AT+CGSN":
                return ["0x80123ABC"] if hardware.is_cdma else [hardware.imei]
            case "AT+GCAP":
                return ["+GCAP: +CIS707-A, +MS"] if hardware.is_cdma else ["+GCAP: +CGSM"]
            case "AT+CEREG=?":
                return ["+CEREG: (0-2)"] if hardware.has_lte else None
            case "AT+WS46=?":
                return ["+WS46: (12,22,25,28,29)"] if hardware.has_lte else ["(12,22,25)"]
            case "AT+CFUN?":
                return [f"+CFUN: {self.fun},0"]
            case "AT+CFUN=1,1":
                self._cured(Action.RESTART)
                self.actions.append((self.now, Action.RESTART))
                self.at(0.05, lambda: self._restart(1.0))
                return []
        if name == "AT+CFUN":
            return self._radio(int(value))
        if name == "AT+COPS" and value[:1] in ("3", "0"):
            if value[:1] == "3":
                self.cops_format = int(value[2:])
            else:
                self.cops_mode, self.searching_until = 0, self.now + SEARCH_S
                self.actions.append((self.now, Action.RESELECT))
                self._cured(Action.RESELECT)
            return []
        if name == "AT+CPIN":
            return self._pin(value.strip('"'))
        if command == "AT+CPIN?":
            if card is None:
                return 10
            if self.fun != 1:
                return 13
            return [f"+CPIN: {'READY' if self.is_sim_open else 'SIM PUK' if not card.tries else 'SIM PIN'}"]
        if self.fun != 1:
            return 30
        return self._of_network(command, name, value, network, card)

    def _of_network(
        self, command: str, name: str, value: str, network: Network, card: Card | None
    ) -> list[str] | int | None:
        stat = (5 if network.is_foreign else 1) if self.is_registered else 2
        if network.denies is not None and network.is_heard and not self.deaf:
            stat = 3
        is_lte = network.act >= 7
        match command:
            case 'AT+QPINC="SC"' if card:
                return [f'+QPINC: "SC",{card.tries},10']
            case "AT+CCID":
                return [f"+CCID: {card.iccid}"] if card else 10
            case "AT+CIMI":
                return [card.imsi] if card and self.is_sim_open else 11
            case "AT+CREG?":
                return [f"+CREG: 2,{stat if not self.hardware.has_lte else 0}"]
            case "AT+CGREG?":
                place = f',"1","2",{network.act}' if stat in (1, 5) else ""
                return [f"+CGREG: 2,{0 if is_lte else stat}{'' if is_lte else place}"]
            case "AT+CEREG?" if self.hardware.has_lte:
                if stat == 3:
                    return [f"+CEREG: 2,3,,,,0,{network.denies}"]
                return [f"+CEREG: 2,{stat if is_lte else 2}" + ',"8BE3","2BAF",7' * (is_lte and stat in (1, 5))]
            case "AT+COPS?":
                if not self.is_registered:
                    return [f"+COPS: {self.cops_mode}"]
                said = "26201" if self.cops_format == 2 else "Telekom.de"
                return [f'+COPS: 0,{self.cops_format},"{said}",{network.act}']
            case "AT+CSQ":
                return [f"+CSQ: {20 if network.is_heard and not self.deaf else 99},99"]
            case "AT+CESQ" if self.hardware.has_lte:
                return [f"+CESQ: 99,99,255,255,{network.rsrq},{network.rsrp}" if network.is_heard and not self.deaf
                        else "+CESQ: 99,99,255,255,255,255"]
            case "AT+CGATT?":
                return [f"+CGATT: {int(self.attached and self.is_registered)}"]
            case "AT+CGATT=0" | "AT+CGATT=1":
                self.attached = command.endswith("1")
                if self.attached:
                    self.actions.append((self.now, Action.REATTACH))
                    self._cured(Action.REATTACH)
                return []
            case "AT+CGDCONT?":
                return [f'+CGDCONT: {cid},"IP","{apn}","",0,0' for cid, apn in self.contexts.items()]
        if name == "AT+CGDCONT":
            cid, _, apn = value.split(",")
            self.contexts[int(cid)] = apn.strip('"')
            return []
        return None

    def _radio(self, fun: int) -> list[str] | None:
        if fun == 4 and not self.hardware.has_cfun4:
            return None
        if fun == 1 and self.fun != 1:
            self._cured(Action.RADIO)
            self.actions.append((self.now, Action.RADIO))
            self.searching_until = self.now + SEARCH_S
        self.fun = fun
        if fun != 1 and self.is_up:
            self.at(0.0, lambda: self._drop() if self.is_up else None)
        return []

    def _pin(self, pin: str) -> list[str] | int:
        card = self.card
        assert card is not None
        if pin == card.pin and card.tries:
            card.is_open, card.tries = True, 3
            self.searching_until = self.now + SEARCH_S
            return []
        card.tries = max(card.tries - 1, 0)
        return 16
