"""The port controller with everything behind it: the board's own logic, simulated pins, contactors, meters and cars.

Two ways in. Bytes: `receive` and `transmit`, as over the serial line. Direct, for speed: `wish` sets the host's wish,
`host_alive` says whether it is fresh, `advance` returns reports as the tuples that `contract.unpack` would give: one
for each port that changed, and one every `meter_every_ms` for each that delivers. Times are monotonic seconds (`now`).
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from agent.sim.car import Car, Phases
from board.controller import contract
from board.controller.app.controller import Controller
from board.controller.app.memory import Memory
from board.controller.app.port import Pins, PortBoard

CONTACTOR_MS = 20  # from coil to contact, either way
LOCK_MS = 300
TRIP_MS = 30  # the ground-fault detector's answer to the self-test current
PINS_MAX = 10_000  # older edges are forgotten
REPORTS_MAX = 10_000  # in direct mode, if nobody calls `advance`: older reports are forgotten
ROUNDS_MAX = 50  # changes at one instant settle in a few rounds; more is a loop in our logic
FOREVER_MS = 1 << 60
MJ_PER_WH = 3_600_000

OnPin = Callable[[float, int, str, int], None]
Report = tuple[Any, ...]


class Delayed:
    """A signal that follows its cause after a time: contacts, bolts, detectors."""

    def __init__(self, delay_ms: int) -> None:
        self.value = False
        self.stuck = False  # stays as it is, whatever is asked
        self.due_ms: int | None = None
        self._delay_ms = delay_ms
        self.wanted = False

    def follow(self, now_ms: int, wanted: bool) -> None:
        if wanted != self.wanted:
            self.wanted = wanted
            self.due_ms = now_ms + self._delay_ms
        if self.due_ms is not None and now_ms >= self.due_ms:
            self.due_ms = None
        if self.due_ms is None and not self.stuck:
            self.value = self.wanted


class Bay:
    """The hardware of one port and the car on it. A test may turn every screw; then it calls `SimController.touch`."""

    def __init__(self, board: PortBoard) -> None:
        self.board = board
        self.car: Car | None = None
        self.abandoned_cable_ma = 0  # the car left, its cable is still in the socket
        self.contactor = Delayed(CONTACTOR_MS)
        self.bolt = Delayed(LOCK_MS)
        self.detector = Delayed(TRIP_MS)
        self.pilot_fault: int | None = None  # CP_E or CP_F
        self.cable_leaks = False  # a ground fault on our side of the plug: trips with no car under power
        self.meter_dead = False
        self.temperature_dc = 250
        self.voltage_mv: Phases = (230_000, 230_000, 230_000) if board.phases > 1 else (230_000, 0, 0)
        self.register_mj = 0  # the meter's own memory: exact, survives power cuts
        self.power_w = 0
        self.current_ma: Phases = (0, 0, 0)
        self.pins = Pins()
        self.shown: dict[str, int] = {}  # pins as last told to the observer
        self.told: Report = ()  # of the last report: all but the running numbers
        self.metered_ms = 0
        self._at_ms = 0

    def integrate(self, now_ms: int) -> None:
        """Energy since the last call: power is constant between two events."""
        energy_mj = self.power_w * (now_ms - self._at_ms)
        self._at_ms = now_ms
        self.register_mj += energy_mj
        if self.car is not None:
            self.car.need_mj -= energy_mj

    def flow(self, now_ms: int, offer_ma: int, mains: bool) -> None:
        """What the car does with the pilot and the power it gets."""
        self.current_ma = (0, 0, 0)
        if self.car is not None:
            self.car.see(now_ms, offer_ma, self.contactor.value and mains)
            l1, l2, l3 = self.car.current_ma()
            self.current_ma = (l1, l2 if self.voltage_mv[1] else 0, l3 if self.voltage_mv[2] else 0)
        self.power_w = sum(a * v for a, v in zip(self.current_ma, self.voltage_mv, strict=True)) // 1_000_000

    def fill_pins(self, now_ms: int, emergency_stop: bool) -> None:
        pins, car = self.pins, self.car
        pins.cp = self.pilot_fault if self.pilot_fault is not None else contract.CP_A if car is None else car.cp()
        pins.diode_ok = car is None or car.diode
        pins.contactor = self.contactor.value
        pins.locked = self.bolt.value
        pins.cable_ma = self.abandoned_cable_ma if car is None else car.cable_ma
        leaking = self.cable_leaks or (car is not None and car.leaks(now_ms) and self.contactor.value)
        pins.tripped = leaking or self.detector.value
        pins.emergency_stop = emergency_stop
        pins.temperature_dc = self.temperature_dc
        pins.meter_ok = not self.meter_dead
        if not self.meter_dead:
            pins.energy_wh = self.register_mj // MJ_PER_WH
            pins.power_w = self.power_w
            pins.current_ma = self.current_ma
            pins.voltage_mv = self.voltage_mv

    def dues(self, now_ms: int) -> Iterable[int | None]:
        yield self.contactor.due_ms
        yield self.bolt.due_ms
        yield self.detector.due_ms
        if self.car is not None:
            yield self.car.next_due_ms(now_ms, self.power_w)


class SimController:
    """`pins` holds `(t, index, name, value)` for each edge of `cp`, `offer_ma`, `coil`, `contactor`, `locked` and
    `self_test`; `on_pin`, if given, hears each as it happens. Ports count from 0 here. Starts without power."""

    def __init__(
        self,
        boards: tuple[PortBoard, ...] = (PortBoard(), PortBoard()),
        *,
        circuit_limit_ma: int = 40_000,  # as commissioned; 0 = never
        failsafe_ma: int = 6_000,
        host_grace_s: int = 60,
        seed: int = 0,
        meter_every_ms: int = 10_000,
        on_pin: OnPin | None = None,
    ) -> None:
        self.bays = [Bay(board) for board in boards]
        self.controller: Controller | None = None  # None = no power
        self.emergency_stop = False
        self.pins: deque[tuple[float, int, str, int]] = deque(maxlen=PINS_MAX)
        self.memory = Memory(len(boards))
        if circuit_limit_ma:
            self.memory.circuit_limit_ma = circuit_limit_ma
            self.memory.failsafe_ma = failsafe_ma
            self.memory.host_grace_s = host_grace_s
        self._random = random.Random(seed)
        self._meter_every_ms = meter_every_ms
        self._on_pin = on_pin
        self._host_alive = False
        self._now_ms = 0
        self._due_ms: int | None = None
        self._reports: deque[Report] = deque(maxlen=REPORTS_MAX)

    # -- power

    def power_on(self, now: float, reset_cause: int = contract.RESET_POWER_ON) -> Report:
        """Boot; also after `reset`. Returns the WELCOME."""
        self._reach(now)
        boot_id = self._random.getrandbits(32)
        self._host_alive = False
        boards = tuple(bay.board for bay in self.bays)
        self.controller = Controller(boards, self.memory, boot_id, reset_cause, now_ms=self._now_ms)
        for bay in self.bays:
            bay.told = ()
        self._settle()
        return self.controller.welcome(self._now_ms)

    def power_off(self, now: float) -> None:
        """Contactors fall open (unless welded); what the controller knew and did not store is gone."""
        self._reach(now)
        self.controller = None
        self._reports.clear()
        self._settle()

    def reset(self, now: float, reset_cause: int = contract.RESET_WATCHDOG) -> Report:
        """The controller alone reboots: its coils drop for that moment."""
        self.power_off(now)
        return self.power_on(now, reset_cause)

    # -- drivers and vandals

    def plug(self, index: int, car: Car, now: float) -> None:
        assert self.bays[index].car is None, f"port {index} has a car already"
        self._reach(now)
        self.bays[index].car = car
        self.bays[index].abandoned_cable_ma = 0
        self._settle()

    def unplug(self, index: int, now: float) -> bool:
        """Pull the plug out of the station's socket, or the tethered plug out of the car. False: the lock holds it."""
        self._reach(now)
        bay = self.bays[index]
        if bay.board.socketed and bay.bolt.value:
            return False
        self._remove_car(bay, 0)
        return True

    def leave(self, index: int, now: float) -> None:
        """The car goes although the lock holds: unplugged at its own end, a loose cable stays in the socket."""
        self._reach(now)
        bay = self.bays[index]
        self._remove_car(bay, bay.car.cable_ma if bay.car is not None and bay.board.socketed else 0)

    def _remove_car(self, bay: Bay, cable_ma: int) -> None:
        bay.car = None
        bay.abandoned_cable_ma = cable_ma
        self._settle()

    def touch(self, now: float, change: Callable[["SimController"], object]) -> None:
        """Change the hardware at `now`: `sim.touch(t, lambda s: setattr(s.bays[0].contactor, "stuck", True))`."""
        self._reach(now)
        change(self)
        self._settle()

    # -- the host, by bytes

    def receive(self, data: bytes, now: float) -> None:
        self._reach(now)
        if self.controller is not None:
            self.controller.receive(data, self._now_ms)
            self._settle()

    def transmit(self) -> bytes:
        return b"" if self.controller is None else self.controller.transmit()

    # -- the host, directly

    def wish(self, rows: Iterable[tuple[int, int, int, int]], now: float) -> None:
        """`(offer_ma, stop, lock, clear)` for each port; it stays until the next one. The host lives from here on."""
        self._reach(now)
        if self.controller is not None:
            self.controller.wish(tuple(rows), self._now_ms)
            self.controller.heard(FOREVER_MS)
            self._host_alive = True
            self._settle()

    def host_alive(self, alive: bool, now: float) -> None:
        """False: silent from now on, as after its last heartbeat."""
        self._reach(now)
        if self.controller is not None and alive != self._host_alive:
            self.controller.heard(FOREVER_MS if alive else self._now_ms)
            self._host_alive = alive
            self._settle()

    # -- time

    def advance(self, now: float) -> list[Report]:
        """Let everything happen that is due up to `now`; the reports since the last call, oldest first."""
        self._reach(now)
        reports = list(self._reports)
        self._reports.clear()
        return reports

    def next_due(self) -> float | None:
        """When `advance` has something to do, if nobody touches anything before."""
        if self._reports:
            return self._now_ms / 1000
        dues = [due for due in (self._due_ms, self._meter_due_ms()) if due is not None]
        return min(dues) / 1000 if dues else None

    def register_wh(self, index: int, now: float) -> float:
        """The meter's register, exact to the millijoule."""
        self._reach(now)
        self.bays[index].integrate(self._now_ms)
        return self.bays[index].register_mj / MJ_PER_WH

    def _reach(self, now: float) -> None:
        target_ms = round(now * 1000)
        assert target_ms >= self._now_ms, f"{now} is in the past of {self._now_ms / 1000}"
        while True:
            meter_ms = self._meter_due_ms()
            if (
                self._due_ms is not None
                and self._due_ms <= target_ms
                and (meter_ms is None or self._due_ms <= meter_ms)
            ):
                self._now_ms = max(self._now_ms, self._due_ms)
                self._settle()
            elif meter_ms is not None and meter_ms <= target_ms:
                self._now_ms = meter_ms
                self._tell_meters()
            else:
                break
        self._now_ms = target_ms

    def _settle(self) -> None:
        """Contacts, cars and controller answer each other until nothing changes at this instant any more."""
        now = self._now_ms
        for bay in self.bays:
            bay.integrate(now)
        for _ in range(ROUNDS_MAX):
            for i, bay in enumerate(self.bays):
                self._move(i, bay)
            due = None
            if self.controller is not None:
                self.controller.step(now, [bay.pins for bay in self.bays])
                due = self.controller.next_due_ms(now)
            self._show()
            dues = [due, *(d for bay in self.bays for d in bay.dues(now))]
            self._due_ms = min((d for d in dues if d is not None), default=None)
            if self._due_ms is None or self._due_ms > now:
                break
        else:
            raise AssertionError(f"does not settle at {now} ms")
        self._tell_changes()

    def _move(self, index: int, bay: Bay) -> None:
        port = self.controller.ports[index] if self.controller is not None else None
        now = self._now_ms
        bay.contactor.follow(now, port is not None and port.coil)
        bay.bolt.follow(now, bay.bolt.wanted if port is None else port.lock)  # without power it stays where it is
        bay.detector.follow(now, port is not None and port.testing)
        bay.flow(now, 0 if port is None else port.offer_ma, port is not None)
        bay.fill_pins(now, self.emergency_stop)

    def _show(self) -> None:
        edges = []
        for i, bay in enumerate(self.bays):
            port = self.controller.ports[i] if self.controller is not None else None
            state = {
                "cp": bay.pins.cp,
                "offer_ma": port.offer_ma if port is not None else 0,
                "locked": int(bay.bolt.value),
                "self_test": port.self_test if port is not None else contract.TEST_NOT_RUN,
                "coil": int(port is not None and port.coil),
                "contactor": int(bay.contactor.value),
            }
            edges += [(i, name, value) for name, value in state.items() if value != bay.shown.get(name, 0)]
            bay.shown = state
        for i, name, value in edges:
            self.pins.append((self._now_ms / 1000, i, name, value))
            if self._on_pin is not None:
                self._on_pin(self._now_ms / 1000, i, name, value)

    # -- reports in direct mode

    def _direct(self) -> bool:
        return self.controller is not None and self.controller.minor is None

    def _tell_changes(self) -> None:
        if self.controller is None or not self._direct():
            return
        for i, bay in enumerate(self.bays):
            row = self.controller.report(i, self._now_ms, bay.pins)
            told = (*row[:7], *row[8:17], *row[18:])  # all but energy_wh and retry_in_s, which run by themselves
            if told != bay.told:
                bay.told = told
                self._tell(i, bay, row)

    def _meter_due_ms(self) -> int | None:
        if not self._direct():
            return None
        dues = [bay.metered_ms + self._meter_every_ms for bay in self.bays if bay.power_w]
        return min(dues) if dues else None

    def _tell_meters(self) -> None:
        assert self.controller is not None
        for i, bay in enumerate(self.bays):
            if bay.power_w and bay.metered_ms + self._meter_every_ms <= self._now_ms:
                bay.integrate(self._now_ms)
                bay.fill_pins(self._now_ms, self.emergency_stop)
                self._tell(i, bay, self.controller.report(i, self._now_ms, bay.pins))

    def _tell(self, index: int, bay: Bay, row: tuple[int, ...]) -> None:
        assert self.controller is not None
        bay.metered_ms = self._now_ms
        self._reports.append((contract.REPORT, self.controller.uptime_ms(self._now_ms), index, row))
