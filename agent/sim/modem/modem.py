"""The modem itself: what it knows, what it does by itself in time, and what can befall it. Its ports are `port`'s.

Whoever plays with it changes the world (`insert`, `pull`, `cover`, `power`), breaks it (`Faults`, `hang`, `restart`) or
plans either (`at`); the modem then does as one does: searches, registers, tells who has asked for it.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush

from msgspec import Struct

from agent.sim.modem.air import DENIED, HOME, IDLE, ROAMING, SEARCHING, Card, Context, Network, generation, index
from agent.sim.modem.personality import Personality
from agent.sim.modem.port import Port

LOSE_S = 2.0  # until it knows that the network is gone
DENIED_S = 3.0
SIM_S = 1.5  # from power to a SIM that answers
DETACH_S = 30.0  # a context outlives so long without a network
GONE_S = 1.0  # after it was told to restart, until its port vanishes
EVENTS_MAX = 10_000  # planned at once


class Faults(Struct):
    """What is wrong with it. Commands by name (`+COPS`) or as typed (`+COPS=?`), without AT."""

    late: dict[str, float] = {}
    """Answered so many seconds later, while others are answered at once."""
    lost: set[str] = set()
    """Never answered; `*` is all."""
    second_final: set[str] = set()
    """OK and then ERROR (ofono-phonesim's +CSIM)."""
    no_final: set[str] = set()
    """An answer without its OK (Wavecom's +CPIN)."""
    noise: float = 0.0
    """How probably a byte comes out as another."""
    doubles_cr: bool = False
    """CR CR LF at the ends of lines."""
    ignores_escape: bool = False
    """+++ does not end a call: only DTR does, or power."""
    ignores_dtr: bool = False
    dies_in_call: bool = False
    """The call goes on, and nothing comes through."""
    fails_attach: int | None = None
    """+CGATT, +CGACT and a call end with this cause."""


class Modem:
    """Off until `power(True, now)`; then its ports are there after `personality.boot_s`."""

    def __init__(
        self, personality: Personality, card: Card | None = None, network: Network | None = None, *, ports: int = 2,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.personality, self.card, self.network = personality, card, network
        self.faults = Faults()
        self.random = random.Random(seed)
        self.now = 0.0
        self.baud = 115_200  # of a real line; USB has none
        self.is_on = self.is_there = self.is_hung = False
        self.starts = 0  # since it was made
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._life = 0  # what was planned for a life before this one does not happen
        self._forget()
        self.fun = 1  # it keeps that over a restart, as some do
        self.ports = [Port(self, number) for number in range(ports)]

    def _forget(self) -> None:
        """What a start takes from it."""
        self.is_card_open, self.is_card_ready = False, False
        self.stat = IDLE
        self._search = 0  # the last one that began
        self._goal = IDLE
        self.is_attach_wanted, self.cops_mode, self.cops_format = True, 0, 0
        self.reports = {"+CREG": 0, "+CGREG": 0, "+CEREG": 0}
        self.settings = {setting.name: setting.value for setting in self.personality.settings}
        self.contexts = {1: Context("IP", "internet")}
        self.errors = 1  # +CMEE
        self.cause = ""  # +CEER

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[float], None]) -> None:
        """Plans what the world will do."""
        assert len(self._events) < EVENTS_MAX
        self._count += 1
        heappush(self._events, (when, self._count, what))

    def soon(self, after_s: float, what: Callable[[float], None], now: float) -> None:
        """Plans what the modem will do; it does not, if it has started anew by then."""
        life = self._life

        def alive(then: float) -> None:
            if self._life == life:
                what(then)

        self.at(now + after_s, alive)

    def run(self, now: float) -> None:
        """Everything until then."""
        while self._events and self._events[0][0] <= now:
            when, _, what = heappop(self._events)
            self.now = max(self.now, when)
            what(self.now)
        self.now = max(self.now, now)

    def next_deadline(self) -> float | None:
        return self._events[0][0] if self._events else None

    # -- power --------------------------------------------------------------------------------------------------------

    def power(self, is_on: bool, now: float) -> None:
        self.run(now)
        if is_on and not self.is_on:
            self.is_on = True
            self._start(now)
        elif not is_on and self.is_on:
            self.is_on = False
            self._stop()

    def restart(self, now: float, after_s: float = 0.0) -> None:
        """By itself, or because it was told to; the port of a USB modem goes and comes back."""
        self.run(now)

        def down(then: float) -> None:
            self._stop()
            self._start(then)

        self.soon(after_s, down, now) if after_s else down(now)

    def off(self, now: float, after_s: float) -> None:
        """It was told to switch itself off; only power brings it back."""
        self.soon(after_s, lambda then: self.power(False, then), now)

    def hang(self, now: float) -> None:
        """It says nothing and hears nothing, until it starts anew."""
        self.run(now)
        self.is_hung = True

    def _stop(self) -> None:
        self._life += 1
        self.is_there = self.is_hung = False
        for port in self.ports:
            port.gone()
        self._forget()

    def _start(self, now: float) -> None:
        self.starts += 1
        if self.personality.usb is None:
            self.is_there = True
        self.soon(self.personality.boot_s, self._booted, now)

    def _booted(self, now: float) -> None:
        self.is_there = True
        for port in self.ports:
            port.begin()
        for after_s, said in self.personality.boot:
            self.soon(after_s, lambda then, said=said: self._boot_line(said), now)  # type: ignore[misc]
        self.soon(SIM_S, self._card_wakes, now)
        self.settle(now)

    def _boot_line(self, said: str) -> None:
        if "{lock}" not in said or (self.card and not self.card.is_dead):
            self.tell(said.format(**self.facts()))

    @property
    def is_awake(self) -> bool:
        return self.is_on and self.is_there and not self.is_hung

    # -- the SIM ------------------------------------------------------------------------------------------------------

    def insert(self, card: Card, now: float) -> None:
        self.pull(now)
        self.card = card
        if self.is_there:
            self._tell_all(self.personality.sim_in)
            self.soon(SIM_S, self._card_wakes, now)

    def pull(self, now: float) -> None:
        self.run(now)
        if self.card is None:
            return
        self.card, self.is_card_open, self.is_card_ready = None, False, False
        if self.is_there:
            self._tell_all(self.personality.sim_out)
            self.settle(now)

    def _card_wakes(self, now: float) -> None:
        self.is_card_ready = self.card is not None and not self.card.is_dead and self.fun != 0
        self.settle(now)

    def opened(self, now: float) -> None:
        """Its PIN is given."""
        self.is_card_open = True
        self.settle(now)

    def lock(self) -> str | int:
        """What +CPIN? says, or the number of its error."""
        if self.card is None:
            return 10
        if self.card.is_dead:
            return 13
        if not self.is_card_ready:
            return 13 if self.fun == 0 else 14
        return self.card.lock(self.is_card_open)

    # -- the network --------------------------------------------------------------------------------------------------

    def cover(self, network: Network | None, now: float) -> None:
        """Another cell, or none; the same with other levels is no news."""
        self.run(now)
        before, self.network = self.network, network
        if before and network and place(before) != place(network) and self.is_served:
            self._tell_registration()
        self.settle(now)

    def flap(self, network: Network, period_s: float, now: float, until: float) -> None:
        """Coverage comes and goes, half a period each."""

        def turn(then: float) -> None:
            self.cover(network if self.network is None else None, then)
            if then + period_s / 2 < until:
                self.at(then + period_s / 2, turn)

        self.at(now, turn)

    def set_fun(self, fun: int, now: float) -> None:
        was, self.fun = self.fun, fun
        if fun == 0:
            self.is_card_ready, self.is_card_open = False, False
        elif was == 0:
            self.soon(SIM_S, self._card_wakes, now)
        self.settle(now)

    @property
    def act(self) -> int | None:
        """The technology it would use here."""
        if self.network is None:
            return None
        return next((act for act in self.personality.acts if act in self.network.acts), None)

    @property
    def is_served(self) -> bool:
        return self.stat in (HOME, ROAMING)

    @property
    def is_attached(self) -> bool:
        return self.is_served and self.is_attach_wanted

    def _wanted(self) -> int:
        """The state that it comes to if nothing changes."""
        if self.fun != 1 or self.cops_mode == 2 or not self.is_there or self.lock() != "READY":
            return IDLE
        if self.network is None or self.act is None:
            return SEARCHING
        if self.network.refuses is not None:
            return DENIED
        return HOME if self.card and self.network.mccmnc == self.card.home else ROAMING

    def settle(self, now: float) -> None:
        """After anything that it depends on has changed."""
        goal = self._wanted()
        if goal == self._goal:
            return
        self._goal = goal
        self._search += 1
        search = self._search
        if goal in (HOME, ROAMING, DENIED) and self.stat not in (HOME, ROAMING):
            self._become(SEARCHING, now)
        wait_s = {HOME: self.personality.search_s, ROAMING: self.personality.search_s, DENIED: DENIED_S, IDLE: 0.2}

        def arrive(then: float) -> None:
            if search == self._search:
                self._become(goal, then)

        self.soon(wait_s.get(goal, LOSE_S), arrive, now)

    def _become(self, stat: int, now: float) -> None:
        if stat == self.stat:
            return
        was_served, self.stat = self.is_served, stat
        if stat == DENIED and self.network:
            self.cause = f"EMM cause {self.network.refuses}" if self.act == 7 else f"MM cause {self.network.refuses}"
        self._tell_registration()
        if was_served and not self.is_served:
            search = self._search
            if stat == SEARCHING:
                self.soon(DETACH_S, lambda then: self._detach() if search == self._search else None, now)
            else:
                self._detach()

    def attach(self, is_wanted: bool) -> None:
        was, self.is_attach_wanted = self.is_attached, is_wanted
        if was and not is_wanted:
            self._detach()
        self._tell_registration()

    def _detach(self) -> None:
        for context in self.contexts.values():
            context.is_active = False
        if self.settings.get("+CGEREP", "0")[:1] not in ("", "0"):
            self.tell("+CGEV: NW DETACH")
        self.hang_up()

    def hang_up(self) -> None:
        """The network has ended what calls there are."""
        for port in self.ports:
            port.carrier_lost()

    def registration(self, name: str) -> tuple[int, bool]:
        """<stat> of +CREG, +CGREG or +CEREG, and whether area and cell are known."""
        stat = self.stat
        is_lte = (self.act or 0) >= 7
        if name == "+CREG" and self.is_served and self.network and self.network.is_data_only:
            return DENIED, False
        if name == "+CEREG" and self.is_served and not is_lte:
            stat = IDLE
        if name != "+CREG" and self.is_served and not self.is_attach_wanted:
            stat = IDLE
        return stat, stat in (HOME, ROAMING)

    def place(self, name: str) -> str:
        """What stands behind <stat> where reports are full."""
        stat, is_known = self.registration(name)
        if not is_known or not self.network or self.act is None:
            return str(stat)
        mark = '"' if self.personality.quotes_hex else ""
        parts = [str(stat), f"{mark}{self.network.area:04X}{mark}", f"{mark}{self.network.cell:X}{mark}"]
        return ",".join(parts + ([str(self.act)] if self.personality.tells_act else []))

    def _tell_registration(self) -> None:
        for name, report in self.reports.items():
            if report and name not in self.personality.lacks:
                said = self.place(name) if report >= 2 else str(self.registration(name)[0])
                self.tell(f"{name}: {said}")

    # -- what it says -------------------------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """A URC, on every port that carries commands."""
        for port in self.ports:
            port.tell(line)

    def _tell_all(self, lines: tuple[str, ...]) -> None:
        facts = self.facts()
        for line in lines:
            self.tell(line.format(**facts))

    def babble(self, data: bytes) -> None:
        """Bytes that nobody has asked for, and that mean nothing."""
        for port in self.ports:
            port.emit(data)

    def facts(self) -> dict[str, object]:
        """For the rows of a personality. Levels are those of no signal while nothing is heard."""
        card, net = self.card, self.network
        heard = net if net and self.act is not None and self.fun == 1 else None
        silent = Network(rssi_dbm=-140, rsrp_dbm=-140, rsrq_db=-20.0, sinr_db=-20.0)
        at = heard or silent
        iccid, lock = card.iccid if card else "", self.lock()
        return {
            "maker": self.personality.maker, "model": self.personality.model, "revision": self.personality.revision,
            "imei": self.personality.imei, "iccid": iccid, "iccid_f": iccid.ljust(20, "F"),
            "imsi": card.imsi if card else "", "lock": lock if isinstance(lock, str) else "NOT READY",
            "pin_tries": card.pin_tries if card else 0, "puk_tries": card.puk_tries if card else 0,
            "present": int(card is not None), "fun": self.fun, "stat": self.stat, "act": self.act or 0,
            "csq": index(at.rssi_dbm, -113, 2, 31) if heard else 99, "bars": index(at.rssi_dbm, -119, 12.4, 5),
            "rssi": at.rssi_dbm, "rsrp": at.rsrp_dbm, "rsrq": f"{at.rsrq_db:g}", "rsrq_int": round(at.rsrq_db),
            "rsrp_tenths": at.rsrp_dbm * 10, "rsrq_tenths": round(at.rsrq_db * 10), "rssi_tenths": at.rssi_dbm * 10,
            "rsrp_index": index(at.rsrp_dbm, -141, 1, 97), "rsrq_index": index(at.rsrq_db, -20, 0.5, 34),
            "rssi_index": index(at.rssi_dbm, -121, 1, 96),
            "rscp": at.rssi_dbm - 6, "ecno": -6,
            "rscp_index": index(at.rssi_dbm - 6, -121, 1, 96), "rxlev": index(at.rssi_dbm, -111, 1, 63),
            "sinr": round((at.sinr_db + 20) * 5), "sinr_index": index(at.sinr_db, -20, 0.2, 251),
            "snr": round(at.sinr_db),
            "mcc": at.mccmnc[:3], "mnc": at.mccmnc[3:], "mccmnc": at.mccmnc, "long": at.long, "short": at.short,
            "area": f"{at.area:04X}", "cell": f"{at.cell:X}", "cell_dec": at.cell, "area_dec": at.area,
            "band": at.band, "band_number": at.band.split()[-1], "channel": at.channel,
            "address": at.address, "dns1": at.dns[0], "dns2": at.dns[1],
            "roams": int(self.stat == ROAMING), "attached": int(self.is_attached), "cause": self.cause,
            "service": {"5g": "NR", "4g": "LTE", "3g": "WCDMA", "2g": "GSM"}[generation(self.act or 0)],
        }  # fmt: skip

    @property
    def generation(self) -> str | None:
        """Of the network that serves it."""
        return generation(self.act) if self.is_served and self.act is not None else None


def place(network: Network) -> tuple[str, int, int]:
    return network.mccmnc, network.area, network.cell
