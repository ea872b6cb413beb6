"""The simulated world: one station running the device's code, its cars, drivers, network, cloud, disk and clock.

Everything comes from one seed, in simulated time: `World(seed).run(3600)` is the same hour each time. What a story does
to the world are its verbs (plug, tap, cut_power ...); what it may ask are facts (ledger, meters, pins).
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.authcache.lists import Lists
from agent.clock import Clock, ClockSource, iso8601
from agent.core import born
from agent.effects import PortCommand
from agent.eventlog.entries import Beginning, known_facts
from agent.eventlog.recorder import Recorder
from agent.events import (
    CardTapped,
    ClockTold,
    ControllerFound,
    ControllerLost,
    Event,
    Link,
    ListChanged,
    Machine,
    PortChosen,
)
from agent.hal.controller import Filter, report_of, wish_row
from agent.modem.meter import DataMeter
from agent.reporting import VENDOR_ID
from agent.settings import Settings
from agent.shell import Shell
from agent.sim.car import Car, car_of
from agent.sim.cell import Cell
from agent.sim.controller import SimController
from agent.sim.disk import SimDisk, SimStore
from agent.sim.net import SimCloud, SimNet
from agent.sim.scenario import CLOCKS
from agent.sim.updater import SimBuild, SimUpdater
from agent.station import Boot, BootReason, boot_reason, charging_state
from agent.terms import status
from agent.ui.situation import Situation, situation
from agent.uplink.commands import SeenCommands
from agent.uplink.mqtt import Connected, Disconnected, PubAcked, Received
from agent.uplink.operator import OperatorKeys, key_id
from agent.uplink.protocol import Uplink
from board.controller.app.port import PortBoard

WALL_S = 1_790_000_000.0  # the true time at the world's beginning
BUILD_S = WALL_S - 30 * 86_400  # the software's build time: the clock's first floor
BOOT_S = 12.0  # from power to the agent's first step
SETTLE_S = 0.7  # from the welcome to the first wish: every port reports, the core decides
STATION_ID = "SIM-0001"
MACHINE = Machine("sim", firmware_version="0", macs=("02:00:00:00:00:01",), modem_type="sim", imei="490154203237518")


class SimLine:
    """Between agent and controller, without the bytes: what crosses is what the frames would carry."""

    def __init__(self, controller: SimController, filter_: Filter, world_now: Callable[[], float]) -> None:
        self.controller, self._filter, self._world_now = controller, filter_, world_now
        self.is_cut = False
        self.is_settled = False  # the agent has heard every port since it came: only then does it wish anything
        self.wished: tuple[PortCommand, ...] = ()
        self.on_commissioned: Callable[[], None] = lambda: None  # the controller has another limit now

    def commission(self, limits: tuple[int, int, int], now: float) -> None:
        board = self.controller.controller
        if not self.is_cut and board is not None and board.limit(*limits, round(self._world_now() * 1000)):
            self.on_commissioned()

    def wish(self, commands: tuple[PortCommand, ...], now: float) -> None:
        if commands != self.wished:
            self.wished = commands
            self.repeat()

    def fresh(self, evse_id: int, now: float) -> Event | None:
        """What the controller reports twice a second, seen now."""
        if self.is_cut:
            return None
        seen = self._look(evse_id - 1, now)
        return seen[-1] if seen else self._filter.fresh(evse_id - 1, now)

    def look(self, now: float) -> list[Event]:
        """Every port's report, as far as it has anything to tell."""
        return [event for index in range(len(self.controller.bays)) for event in self._look(index, now)]

    def _look(self, index: int, now: float) -> list[Event]:
        board, now_ms = self.controller.controller, round(self._world_now() * 1000)
        if board is None:
            return []
        self.controller.touch(self._world_now(), lambda _: None)
        return self._filter.passed(index, report_of(board.report(index, now_ms, self.controller.bays[index].pins)), now)

    def repeat(self) -> None:
        """The next heartbeat."""
        if self.is_settled and not self.is_cut and self.controller.controller is not None and self.wished:
            self.controller.wish([wish_row(command) for command in self.wished], self._world_now())


def at_once(job: Callable[[], Any], then: Callable[[Any], None]) -> None:
    then(job())


class World:
    def __init__(
        self, seed: int = 0, settings: Settings | None = None, *, ports: int = 2, rtc: bool = True,
        meter_s: float = 60.0, builds: dict[str, SimBuild] | None = None, events: Recorder | None = None,
        modem: dict[str, Any] | None = None, is_metered: bool = False,
    ) -> None:  # fmt: skip
        """`builds`: what lies at which URL, for an update service; None: the station has none. `modem`: the station's
        only way out is a modem, made of these (agent/sim/cell.py); None: the network is simply there. `is_metered`:
        what goes over the network is counted as a modem's."""
        self.meter: DataMeter | None = None
        self.is_metered = is_metered
        self.seed, self.ports, self.rtc, self.events = seed, ports, rtc, events
        self.settings = settings or Settings(station_id=STATION_ID, restart_delay_max_s=5.0)
        self.now = 0.0
        self.random = random.Random(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._key = Ed25519PrivateKey.from_private_bytes(self.random.randbytes(32))
        board = PortBoard(
            max_ma=self.settings.port_limit_ma, socketed=self.settings.socketed, ventilated=self.settings.ventilated,
            phases=self.settings.phases,
        )  # fmt: skip
        self.controller = SimController(
            (board,) * ports, circuit_limit_ma=self.settings.circuit_limit_ma, seed=self.random.getrandbits(32),
            meter_every_ms=round(meter_s * 1000),
        )  # fmt: skip
        self._filter = Filter(ports)
        self.line = SimLine(self.controller, self._filter, lambda: self.now)
        self.line.on_commissioned = self._commissioned
        self.disk = SimDisk(self.random.getrandbits(32))
        self.cloud = SimCloud(STATION_ID, self._key, key_id(self._key.public_key()), self.true_wall_s)
        self.net = SimNet(self.cloud, self.random.getrandbits(32), self.later)
        self.updater = None if builds is None else SimUpdater(builds, self.net, self.later)
        self.cell = None if modem is None else Cell(self.later, lambda: self.now, self._radio, **modem)
        self.clock_error_s = 0.0  # of the station's own clock chip
        self.shell: Shell | None = None
        self.starts = 0  # of the agent, in its life
        self.kernel_since = -1.0  # Linux booted then
        self.log: list[tuple[float, str]] = []
        self.came_wh: dict[int, float] = {}  # evse_id -> register when its car came
        self.cars_wh: list[tuple[int, float]] = []  # what each car that left had had, by the meter itself

    # -- time

    def true_wall_s(self) -> float:
        return WALL_S + self.now

    def mono(self) -> float:
        """The station's monotonic clock: starts with Linux."""
        return self.now - self.kernel_since

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), then))

    def run(self, seconds: float) -> "World":
        """Let the world turn for so long."""
        until = self.now + seconds
        while True:
            due = self._next_due()
            if due > until:
                break
            self.now = max(self.now, due)
            self._turn()
        self.now = until
        self._turn()
        return self

    def run_until(self, what: Callable[[], bool], timeout_s: float = 600.0) -> "World":
        """Let the world turn until something is so; AssertionError with the seed if it does not happen in time."""
        assert self.until(what, timeout_s), f"seed {self.seed}: did not happen within {timeout_s} s"
        return self

    def _next_due(self) -> float:
        dues = [self._queue[0][0]] if self._queue else []
        if self.shell is not None:
            dues.append(self.shell.next_deadline() + self.kernel_since)
            if self.meter is not None:
                dues.append(self.meter.next_deadline() + self.kernel_since)
        if self.cell is not None:
            dues.append(self.cell.next_deadline())
        controller_due = self.controller.next_due()
        if controller_due is not None:
            dues.append(controller_due)
        return min(dues, default=float("inf"))

    def _turn(self) -> None:
        """Everything that is due at this instant."""
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        self._reports()
        if self.cell is not None:
            self.cell.due(self.now)
        if self.shell is not None:
            if self.cell is not None and self.cell.host is not None:
                self.cell.host.charging(any(port.transaction for port in self.shell.station.ports), self.now)
            due = self.shell.next_deadline()
            if due + self.kernel_since <= self.now:
                self.shell.due(max(due, self.mono()))  # due - since + since may be a hair less than due
        if self.meter is not None:
            self.meter.due(self.mono() + 1e-6)

    def _reports(self) -> None:
        for _, _, index, fields in self.controller.advance(self.now):
            if self.shell is not None and not self.line.is_cut:
                for event in self._filter.passed(index, report_of(fields), self.mono()):
                    self.shell.happened(event, self.mono())

    # -- power

    def power_on(self, *, reason: BootReason = BootReason.POWER_UP) -> "World":
        """Mains on: the controller runs at once, Linux and the agent a little later."""
        assert self.shell is None
        self.controller.power_on(self.now)
        self.kernel_since = self.now
        self.net.booted()
        if self.cell:
            self.cell.modem.power(True, self.now)
        power = object()
        self._power = power
        self.later(BOOT_S, lambda: self._start(reason, same_kernel=False) if self._power is power else None)
        return self

    def cut_power(self) -> "World":
        """Mains off: everything in the box is gone at this instant but what the disk and the controller stored."""
        self._power = object()
        if self.updater:
            self.updater.power_cut()
        self.controller.power_off(self.now)
        if self.cell:
            self.cell.modem.power(False, self.now)
        self._host_gone()
        return self

    def kill_agent(self, back_after_s: float = 2.0) -> "World":
        """The agent alone dies and is restarted; Linux and controller run on."""
        self._host_gone()
        self.controller.host_alive(False, self.now)
        power = self._power
        self.later(
            back_after_s,
            lambda: self._start(BootReason.APPLICATION_RESET, same_kernel=True) if self._power is power else None,
        )
        return self

    def reset_controller(self) -> "World":
        """The controller alone reboots."""
        self.controller.reset(self.now)
        if self.shell is not None:
            self._filter.forget()
            self.shell.happened(ControllerLost("reset"), self.mono())
            self.later(0.5, self._greet)
        return self

    def _host_gone(self) -> None:
        self.shell = self.meter = None
        if self.cell:
            self.cell.stop()
        if self.updater:
            self.updater.agent_gone()
        self.line.wished, self.line.is_settled = (), False
        self.net.power_cut()
        self.disk.power_cut()

    def _start(self, reason: BootReason, *, same_kernel: bool) -> None:
        """What agent/app.py does on the device."""
        self.starts += 1
        boot_id = self.random.randbytes(8)
        database = self.disk.mount(boot_id)
        store = SimStore(self.disk, database, self._for_this_run(), self._post())
        facts, now = store.facts(), self.mono()
        seen = facts.get("station", {})
        reason = boot_reason(facts, reason)
        boot = Boot(boot_id.hex(), now, reason, same_kernel, seen.get("seen_s"), seen.get("starts", 0) + 1)
        clock = Clock(max(BUILD_S, seen.get("floor_s", 0.0)), now)
        jitter = [self.random.random() for _ in range(self.ports)]
        if self.updater:
            self.updater.agent_started(self._post(), self._for_this_run())
        machine = replace(MACHINE, can_update=True, firmware_version=self.updater.running) if self.updater else MACHINE
        if self.cell:  # nothing is known of it before it has said it
            machine = replace(machine, has_modem=True, modem_type="", imei="")
        station, first = born(self.settings, boot, clock, self.ports, facts, jitter, now, machine)
        if self.events:
            known = known_facts(facts), tuple(jitter)
            self.events.began(Beginning(self.settings, boot, clock, self.ports, *known, machine), first, now)
        self._filter.forget()
        if self.is_metered:
            carried = lambda _: ({"ppp0": self.net.bearer}, True)
            self.meter = DataMeter(station.data.kept, str(self.kernel_since), self._post(), now, carried, lambda: None)
        self.shell = Shell(
            station, first,
            store=store, broker=self.net, controller=self.line,
            uplink=Uplink(STATION_ID, boot_id, database.epoch, database.marks(), {}),
            lists=Lists(self.disk.path / "lists", facts, b"sim" * 11, now), seen=SeenCommands(facts),
            keys=OperatorKeys([self._key.public_key()], facts),
            work=at_once, build=at_once, now=now, log=self._log, restart=self._restart,
            updater=self.updater, events=self.events,
            spent=self.meter.spent if self.meter else lambda cause, size_b: None,
        )  # fmt: skip
        if self.cell:
            self.cell.start(self._post(), is_cold=not same_kernel, log=self._log)
        self.net.start(self._post())
        self.shell.happened(ListChanged(self.shell.lists.state), now)
        if self.rtc:
            self.shell.happened(ClockTold(self.true_wall_s() + self.clock_error_s, ClockSource.RTC), now)
        self.later(0.2, self._greet)

    def _restart(self) -> None:
        """The process ends with its turn, and systemd starts it again."""

        def restart() -> None:
            self.kill_agent()

        self._for_this_run()(0.0, restart)

    def _greet(self) -> None:
        """The link is negotiated: hello, welcome, and a report of every port."""
        if self.shell is None or self.line.is_cut or self.controller.controller is None:
            return
        self._welcome()
        for event in self.line.look(self.mono()):
            self.shell.happened(event, self.mono())
        self._for_this_run()(SETTLE_S, self._settled)

    def _commissioned(self) -> None:
        """It welcomes anew, with the limit that it has stored."""
        self._for_this_run()(0.0, self._welcome)

    def _welcome(self) -> None:
        if self.shell is not None and self.controller.controller is not None:
            _, _, _, _, _, boot_id, uptime_ms, _, _, limit_ma, _ = self.controller.controller.welcome(
                round(self.now * 1000)
            )
            self.shell.happened(ControllerFound(boot_id, uptime_ms / 1000, limit_ma), self.mono())

    def _settled(self) -> None:
        self.line.is_settled = True
        self.line.repeat()

    def _post(self) -> Callable[[object], None]:
        """Into the inbox of this run of the agent, and of no later one."""
        run = self.starts

        def post(happening: Any) -> None:
            if self.shell is not None and run == self.starts:
                self.shell.happened(happening, self.mono())
                self._tell_modem(happening)

        return post

    def _tell_modem(self, happening: Any) -> None:
        """What agent/app.py does."""
        if self.cell is None or self.cell.host is None:
            return
        match happening:
            case Connected() | PubAcked() | Received():
                self.cell.host.acknowledged("", self.now)
            case Disconnected():
                self.cell.host.silent(self.now)

    def _radio(self, is_up: bool, carries: bool) -> None:
        """What the modem's call can do."""
        if not is_up and self.net.is_up:
            self.net.cut()
        self.net.is_up, self.net.is_mute = is_up, is_up and not carries

    def _for_this_run(self) -> Callable[[float, Callable[[], None]], None]:
        run = self.starts

        def later(seconds: float, then: Callable[[], None]) -> None:
            self.later(seconds, lambda: then() if self.shell is not None and run == self.starts else None)

        return later

    def _log(self, line: str) -> None:
        self.log.append((self.now, line))

    # -- verbs of a story

    def allow(self, *tokens: str, **info: Any) -> "World":
        """The owner approves these cards; the list goes out."""
        for token in tokens:
            self.cloud.drivers[token] = {"status": "Accepted", **info}
        self.net.send_command(self.cloud.local_list())
        return self

    def remove(self, *tokens: str) -> "World":
        for token in tokens:
            del self.cloud.drivers[token]
        self.net.send_command(self.cloud.local_list())
        return self

    def plug(self, evse_id: int, car: Car | int | None = None, kind: str = "normal") -> "World":
        """A car, or one of this kind that needs so many Wh, comes to the port."""
        car = car_of(kind, car) if isinstance(car, int) else car or Car()
        self.came_wh[evse_id] = self.register_wh(evse_id)
        self.controller.plug(evse_id - 1, car, self.now)
        return self

    def unplug(self, evse_id: int) -> bool:
        """False: the lock holds the plug."""
        is_out = self.controller.unplug(evse_id - 1, self.now)
        if is_out:
            self._car_left(evse_id)
        return is_out

    def leave(self, evse_id: int) -> "World":
        self.controller.leave(evse_id - 1, self.now)
        self._car_left(evse_id)
        return self

    def _car_left(self, evse_id: int) -> None:
        had_wh = self.register_wh(evse_id) - self.came_wh.get(evse_id, 0.0)
        if had_wh > 0:
            self.cars_wh.append((evse_id, had_wh))

    def tap(self, uid: str) -> "World":
        self._reports()
        if self.shell is not None:
            self.shell.happened(CardTapped(uid), self.mono())
        return self

    def choose(self, evse_id: int) -> "World":
        if self.shell is not None:
            self.shell.happened(PortChosen(evse_id), self.mono())
        return self

    def command(self, action: str, **payload: Any) -> "World":
        self.net.send_command(self.cloud.command(action, payload))
        return self

    def order_update(self, url: str, request_id: int = 1, after_s: float = 0.0, **custom: Any) -> "World":
        """UpdateFirmware of the build that lies there, from `after_s` on; `custom`: docs/uplink.md."""
        firmware = {"location": url, "retrieveDateTime": iso8601(self.true_wall_s() + after_s)}
        more = {"customData": {"vendorId": VENDOR_ID, **custom}} if custom else {}
        return self.command("UpdateFirmware", requestId=request_id, firmware=firmware, **more)

    def tell_clock(self, error_s: float, source: ClockSource) -> "World":
        """Somebody tells the station the time, and is wrong by so much."""
        if self.shell is not None:
            self.shell.happened(ClockTold(self.true_wall_s() + error_s, source), self.mono())
        return self

    def cut_line(self) -> "World":
        """The cable between Linux and the controller is pulled."""
        self.line.is_cut = True
        self.controller.host_alive(False, self.now)
        if self.shell is not None:
            self.later(3.0, self._line_lost)
        return self

    def mend_line(self) -> "World":
        self.line.is_cut = False
        self._filter.forget()
        self.later(0.5, self._greet)
        return self

    def _line_lost(self) -> None:
        if self.shell is not None and self.line.is_cut:
            self.shell.happened(ControllerLost("no frame for 3 s"), self.mono())

    # -- what a story may ask

    def register_wh(self, evse_id: int) -> float:
        """The meter itself, exact."""
        return self.controller.register_wh(evse_id - 1, self.now)

    def is_closed(self, evse_id: int) -> bool:
        """The contactor, seen at the pins."""
        return self.controller.bays[evse_id - 1].contactor.value

    def status(self, evse_id: int) -> str:
        assert self.shell
        return status(self.shell.station, self.shell.station.ports[evse_id - 1])

    def charging_state(self, evse_id: int) -> str:
        assert self.shell
        return charging_state(self.shell.station, self.shell.station.ports[evse_id - 1])

    def said(self, evse_id: int = 0) -> str | None:
        """The reason last shown at a port (0: at the station)."""
        assert self.shell
        return next((n.reason for n in self.shell.station.notices if n.evse_id == evse_id), None)

    # -- a stage (agent/sim/scenario.py)

    def say(self, text: str) -> None:
        self._log(text)

    def wait(self, seconds: float) -> None:
        self.run(seconds)

    def cut(self, what: str) -> None:
        verbs: dict[str, Callable[[], object]] = {
            "power": self.cut_power, "broker": self.net.cut, "radio": lambda: setattr(self.net, "is_mute", True),
        }  # fmt: skip
        verbs[what]()

    def mend(self, what: str) -> None:
        verbs: dict[str, Callable[[], object]] = {
            "power": self.power_on, "broker": self.net.mend, "radio": self.net.mend,
        }  # fmt: skip
        verbs[what]()

    def kill(self, what: str) -> None:
        {"agent": self.kill_agent}[what]()

    def fault(self, what: str, evse_id: int) -> None:
        self._touch(lambda plant: plant.bays[evse_id - 1].break_(what, True))

    def heal(self, what: str, evse_id: int) -> None:
        self._touch(lambda plant: plant.bays[evse_id - 1].break_(what, False))

    def stop(self, is_pressed: bool) -> None:
        self._touch(lambda plant: setattr(plant, "emergency_stop", is_pressed))

    def heat(self, evse_id: int, celsius: float) -> None:
        self._touch(lambda plant: setattr(plant.bays[evse_id - 1], "temperature_dc", round(celsius * 10)))

    def clock(self, how: str) -> None:
        error_s = CLOCKS[how]
        self.rtc, self.clock_error_s = error_s is not None, error_s or 0.0

    def _touch(self, change: Callable[[SimController], object]) -> None:
        self.controller.touch(self.now, change)

    def until(self, what: Callable[[], bool], timeout_s: float) -> bool:
        until = self.now + timeout_s
        while not what():
            if self._next_due() > until:
                return False
            self.now = max(self.now, self._next_due())
            self._turn()
        return True

    def holds(self, condition: str, args: tuple[str, ...]) -> bool:
        if condition == "sessions":
            return sum(s.end_wh is not None for s in self.cloud.sessions.values()) == int(args[0])
        if condition == "equal":
            return self.is_equal()
        if self.shell is None:
            return False
        if condition in ("online", "offline"):
            return (self.shell.station.link is Link.UP) == (condition == "online")
        evse_id = int(args[0])
        match condition:
            case "refused":
                return self.said(evse_id) == " ".join(args[1:])
            case "charging":
                return self.charging_state(evse_id) == "Charging" and self.controller.bays[evse_id - 1].power_w > 0
            case "waiting":
                station = self.shell.station
                return situation(station, station.ports[evse_id - 1]) is Situation.TAP_CARD
            case "faulted":
                return self.status(evse_id) == "Faulted"
            case "stopped":
                return self.shell.station.ports[evse_id - 1].transaction is None and not self.is_closed(evse_id)
        return self.status(evse_id) == "Available"

    def is_equal(self) -> bool:
        """Every car that left with energy is one whole session in the ledger with that energy, and nothing else is."""
        ended = [s for s in self.cloud.sessions.values() if s.end_wh is not None and s.energy_wh > 0]
        billed = sorted((s.evse_id, s.energy_wh) for s in ended)
        had = sorted(self.cars_wh)
        alike = all(b[0] == h[0] and abs(b[1] - h[1]) <= 1.0 for b, h in zip(billed, had, strict=False))
        return len(billed) == len(had) and alike and not self.cloud.violations and all(s.is_whole for s in ended)

    @contextmanager
    def closing(self) -> Iterator["World"]:
        try:
            yield self
        finally:
            self.disk.close()
