"""A station's modem in the simulated world: the device's own host and keeper over a simulated modem, whose state is
what the radio of agent/sim/net.py can do.

The call itself is short: it is up while the modem holds a context, and carries while the modem is served. A second
bearer, a pppd or a DHCP client, is no part of this world.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from agent.modem import tty
from agent.modem.bearer import Context, Hands, Traits
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.host import Around, Host, Line
from agent.modem.keeper import Wishes
from agent.modem.recovery import Action
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from agent.sim.modem.personality import Personality
from agent.sim.modem.port import Port

DIAL_S = 3.0
LINGER_S = 30.0  # a context without a network
POWER_S = 4.0
CAN = frozenset((Action.START, Action.USB, Action.POWER, Action.REBOOT))


class SimPort:
    """agent/modem/tty.py's Port, on a port of the simulated modem."""

    path = "/dev/ttyUSB2"

    def __init__(self, port: Port, said: Callable[[object], None], now: Callable[[], float]) -> None:
        self._port, self._said, self._now = port, said, now
        self._is_lent = False
        self._look_at = -inf
        self.is_open = False

    def write(self, data: bytes) -> None:
        if self.is_open:
            self._port.received(data, self._now())
            self._look_at = self._now()

    def lend(self) -> None:
        self._is_lent, self.is_open = True, False

    def take_back(self) -> None:
        self._is_lent, self._look_at = False, self._now()

    def reopen(self) -> None:
        self.is_open, self._look_at = False, self._now()

    def due(self, now: float) -> None:
        self._look_at = inf
        is_there = self._port.modem.is_there and not self._is_lent
        if is_there is not self.is_open:
            self.is_open = is_there
            self._said(tty.Opened(self.path) if is_there else tty.Gone())
        if self.is_open and (data := self._port.poll(now)):
            self._said(tty.Came(data))

    def next_deadline(self) -> float:
        return self._look_at

    def close(self) -> None:
        self.is_open = False


class SimBearer:
    """A call over the simulated modem. `carries` is what the radio can do."""

    traits = Traits("simulated")

    def __init__(self, modem: Modem, hands: Hands, changed: Callable[[], None]) -> None:
        self._modem, self._hands, self._changed = modem, hands, changed
        self.why = ""
        self.is_up = False
        self.dials = 0
        self._context: Context | None = None
        self._rise_at = inf
        self._unserved_since: float | None = None

    @property
    def carries(self) -> bool:
        return self.is_up and self._modem.is_attached and not self._modem.faults.dies_in_call

    def rise(self, context: Context) -> None:
        self.dials += 1
        self._context, self._rise_at = context, self._hands.now() + DIAL_S

    def fall(self) -> None:
        self._over(Cause.ASKED)

    def due(self, now: float) -> None:
        modem = self._modem
        if now >= self._rise_at:
            self._rise_at = inf
            assert self._context and not self.is_up
            network, apn = modem.network, self._context.access.apn
            if not modem.is_attached or modem.faults.fails_attach is not None:
                return self._over(Cause.FAILED)
            if network and network.apns and apn not in network.apns:
                return self._over(Cause.APN)
            self.is_up, self._unserved_since = True, None
            self._hands.post(BearerRose(network.address if network else None, "wwan0", network.dns if network else ()))
        if self.is_up:
            if modem.is_attached:
                self._unserved_since = None
            elif not modem.is_there or not modem.is_on:
                return self._over(Cause.ENDED)
            elif self._unserved_since is None:
                self._unserved_since = now
            elif now >= self._unserved_since + LINGER_S:
                return self._over(Cause.ENDED)
        return self._changed()

    def next_deadline(self) -> float:
        lingers = self._unserved_since + LINGER_S if self.is_up and self._unserved_since is not None else inf
        return min(self._rise_at, lingers)

    def close(self) -> None:
        self.is_up, self._rise_at = False, inf
        self._changed()

    def _over(self, cause: Cause) -> None:
        self.is_up, self._rise_at, self._unserved_since = False, inf, None
        self._changed()
        self._hands.post(BearerFell(cause))


class SimLevers:
    """What the board can do to the modem, done to the simulated one."""

    can = CAN

    def __init__(self, cell: "Cell", ended: Callable[[Action, float], None]) -> None:
        self._cell, self._ended = cell, ended
        self._doing: Action | None = None
        self._until = inf

    def seen(self) -> None:
        """Its USB device is always the same."""

    def begin(self, action: Action, now: float) -> None:
        cell = self._cell
        cell.actions.append((now, action))
        self._doing, self._until = action, now + POWER_S
        match action:
            case Action.REBOOT:
                cell.reboot()
            case Action.USB:
                cell.modem.restart(now)
            case _:
                cell.modem.power(False, now)

    def due(self, now: float) -> None:
        if self._doing is None or now < self._until:
            return
        done, self._doing, self._until = self._doing, None, inf
        self._cell.modem.power(True, now)
        self._ended(done, now)

    def next_deadline(self) -> float:
        return self._until

    def close(self) -> None:
        self._until = inf


class Cell:
    """One modem with its SIM and network, and whoever keeps it while the agent runs. `later` and `now` are the world's;
    `radio` is told whether a connection can be made, and whether it carries."""

    def __init__(
        self, later: Callable[[float, Callable[[], None]], None], now: Callable[[], float],
        radio: Callable[[bool, bool], None], *, personality: Personality = EG25, card: Card | None = None,
        network: Network | None = None, wishes: Wishes | None = None, reboot: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.modem = Modem(personality, card or Card(), network or Network())
        self.wishes, self.reboot = wishes or Wishes(), reboot
        self.host: Host | None = None
        self.kept: dict[str, Any] | None = None
        self.actions: list[tuple[float, Action]] = []
        self._later, self._now, self._radio = later, now, radio
        self._run = 0
        self._told: tuple[bool, bool] | None = None

    # -- the agent comes and goes

    def start(self, tell: Callable[[object], None], *, is_cold: bool, log: Callable[[str], None]) -> None:
        self._run += 1
        run = self._run

        def at(then: Callable[[float], None]) -> None:
            self._later(0.0, lambda: then(self._now()) if run == self._run and self.host else None)

        def probe(interface: str, dns: tuple[str, ...], then: Callable[[bool], None]) -> None:
            self._later(0.5, lambda: then(self.carries))

        def save(kept: dict[str, Any]) -> None:
            self.kept = kept

        around = Around(
            at=at, now=self._now, uniform=self.modem.random.uniform, tell=lambda event: at(lambda _: tell(event)),
            save=save, save_last=save, probe=probe, aside=lambda job, then: then(job()), log=log,
        )  # fmt: skip
        self.host = Host(
            self.wishes, Line(), around, port=lambda said: SimPort(self.modem.ports[0], said, self._now),
            bearer=lambda hands: SimBearer(self.modem, hands, self._changed),
            levers=lambda ended: SimLevers(self, ended), kept=self.kept, is_cold=is_cold,
        )  # fmt: skip
        self._changed()

    def stop(self) -> None:
        """The agent is gone, and its call with it."""
        self._run += 1
        self.host = None
        self._changed()

    def replace_modem(self, personality: Personality) -> None:
        """Somebody has changed it, with the station's power on; the SIM moves into the new one."""
        now, card, network = self._now(), self.modem.card, self.modem.network
        self.modem.power(False, now)
        self.modem.personality = personality
        self.modem.power(True, now)
        assert self.modem.card is card and self.modem.network is network

    # -- a turn

    def due(self, now: float) -> None:
        self.modem.run(now)
        if self.host:
            self.host.due(now)
        self._changed()

    def next_deadline(self) -> float:
        modem = self.modem.next_deadline()
        return min(inf if modem is None else modem, self.host.next_deadline() if self.host else inf)

    @property
    def bearer(self) -> SimBearer | None:
        found = self.host.bearer if self.host else None
        return found if isinstance(found, SimBearer) else None

    @property
    def carries(self) -> bool:
        return self.bearer is not None and self.bearer.carries

    def _changed(self) -> None:
        is_up = self.bearer is not None and self.bearer.is_up
        if (told := (is_up, self.carries)) != self._told:
            self._told = told
            self._radio(*told)
