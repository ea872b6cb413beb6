"""What is behind the controller's pins, in physical units: pilot circuit, plug, contactor, lock, detector, meter, car.

`Plant` moves it through time; who drives its pins is the subclass's business: the controller's logic in memory
(agent/sim/controller.py) or the firmware in a real interpreter (agent/sim/interpreter.py).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, Self, TypeVar

from agent.sim.car import Car, Phases
from board.controller.app.firmware import HELD
from board.controller.app.port import PortBoard
from board.controller.contract import CP_A, CP_B, CP_C, CP_D, CP_E, CP_F

CONTACTOR_MS = 20  # from coil to contact, either way
LOCK_MS = 300
TRIP_MS = 30  # the ground-fault detector's answer to the self-test current
PINS_MAX = 10_000  # older edges are forgotten
MJ_PER_WH = 3_600_000

PILOT_MV = 12_000
PILOT_OHM = 1_000  # in series with the source
DIODE_MV = 700
CAR_OHM = {CP_B: 2_740.0, CP_C: 2_740 * 1_300 / 4_040, CP_D: 2_740 * 270 / 3_010}  # IEC 61851-1 Table A.3
PROXIMITY_MV, PROXIMITY_OHM = 3_300, 330
CABLE_OHM = {13_000: 1_500, 20_000: 680, 32_000: 220, 63_000: 100}  # IEC 61851-1 Table B.2
BROKEN_OHM = 20  # a proximity contact shorted to earth: there is a plug, and its rating cannot be read

FAULTS = {  # what a story or the workbench may break at a port, and mend again
    "leak": "a ground fault in our own cable",
    "weld": "the contactor's contacts are welded together",
    "pilot": "our pilot wire touches earth",
    "meter": "the meter is dead",
}

OnPin = Callable[[float, int, str, int], None]


class Outputs(NamedTuple):
    """What the firmware drives at one port."""

    duty: int  # 1/10,000: 10,000 = steady +12 V, 0 = steady -12 V
    coil: int
    lock: int  # HELD: nobody drives it, the bolt stays where it is
    gf_test: int
    light: int = 0  # colours that are on: contract.RED, GREEN, BLUE


RELEASED = Outputs(10_000, 0, HELD, 0)  # pull-ups and pull-downs, while nobody drives the pins


def offered_ma(duty: int) -> int:
    """What a car reads from the duty cycle in 1/10,000: IEC 61851-1 Table A.8. 0 = it may not charge."""
    if 800 <= duty < 1_000:
        return 6_000
    if 1_000 <= duty <= 8_500:
        return duty * 6
    if 8_500 < duty <= 9_600:
        return (duty - 6_400) * 25
    return 80_000 if 9_600 < duty <= 9_700 else 0


def pilot_mv(source_mv: int, state: int, diode: bool) -> int:
    """At the connector, with the source at plus or minus 12 V and a car that shows this state."""
    if state == CP_A:
        return source_mv
    if state == CP_E:
        return 0
    if state == CP_F:
        return -PILOT_MV  # the source's positive half is dead
    ohm = CAR_OHM[state]
    share = ohm / (ohm + PILOT_OHM)
    if not diode:
        return round(source_mv * share)
    return source_mv if source_mv < DIODE_MV else round(DIODE_MV + (source_mv - DIODE_MV) * share)


def proximity_mv(cable_ma: int | None) -> int:
    """None: no plug in the socket. 0: one whose rating cannot be read."""
    if cable_ma is None:
        return PROXIMITY_MV
    ohm = CABLE_OHM.get(cable_ma, BROKEN_OHM)
    return round(PROXIMITY_MV * ohm / (ohm + PROXIMITY_OHM))


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
    """The hardware of one port and the car on it. A test may turn every screw; then it calls `Plant.touch`."""

    def __init__(self, board: PortBoard) -> None:
        self.board = board
        self.car: Car | None = None
        self.abandoned_cable_ma = 0  # the car left, its cable is still in the socket
        self.contactor = Delayed(CONTACTOR_MS)
        self.bolt = Delayed(LOCK_MS)
        self.detector = Delayed(TRIP_MS)
        self.pilot_fault: int | None = None  # CP_A: open wire, CP_B: S2 bounces, CP_E: short to earth, CP_F: no source
        self.cable_leaks = False  # a ground fault on our side of the plug: trips with no car under power
        self.meter_dead = False
        self.temperature_dc = 250
        self.voltage_mv: Phases = (230_000, 230_000, 230_000) if board.phases > 1 else (230_000, 0, 0)
        self.register_mj = 0  # the meter's own memory: exact, survives power cuts
        self.power_w = 0
        self.current_ma: Phases = (0, 0, 0)
        self.out = RELEASED
        self._metered: tuple[int, ...] = (0,) * 8
        self.shown: Mapping[str, int] = {}  # pins as last told to the observer
        self._at_ms = 0

    def cp(self) -> int:
        """The state that the pilot's wire shows."""
        if self.pilot_fault is not None:
            return self.pilot_fault
        return CP_A if self.car is None else self.car.cp()

    @property
    def diode_ok(self) -> bool:
        return self.car is None or self.car.diode

    @property
    def cable_ma(self) -> int:
        """Rating of the plug in the socket; 0 = none, or unreadable."""
        return self.abandoned_cable_ma if self.car is None else self.car.cable_ma

    def break_(self, what: str, is_broken: bool) -> None:
        """One of FAULTS comes, or goes."""
        match what:
            case "leak":
                self.cable_leaks = is_broken
            case "weld":
                self.contactor.value |= is_broken
                self.contactor.stuck = is_broken
            case "pilot":
                self.pilot_fault = CP_E if is_broken else None
            case "meter":
                self.meter_dead = is_broken
            case _:
                raise ValueError(f"{what[:20]!r} cannot break: there are {', '.join(FAULTS)}")

    @property
    def broken(self) -> tuple[str, ...]:
        """Which of FAULTS there are."""
        is_so = (self.cable_leaks, self.contactor.stuck, self.pilot_fault is not None, self.meter_dead)
        return tuple(what for what, so in zip(FAULTS, is_so, strict=True) if so)

    def tripped(self, now_ms: int) -> bool:
        """The trip line: a real leakage, or the self-test's."""
        return self.is_leaking(now_ms) or self.detector.value

    def lock_wanted(self) -> bool:
        """Where the bolt is driven to."""
        return self.bolt.wanted if self.out.lock == HELD else bool(self.out.lock)

    def is_leaking(self, now_ms: int) -> bool:
        return self.cable_leaks or (self.car is not None and self.car.leaks(now_ms) and self.contactor.value)

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

    def meter(self) -> tuple[int, ...]:
        """What it says: energy_wh, power_w, currents, voltages. A dead one says what it said last."""
        if not self.meter_dead:
            self._metered = (self.register_mj // MJ_PER_WH, self.power_w, *self.current_ma, *self.voltage_mv)
        return self._metered

    def seen(self) -> tuple[int, ...]:
        """What the controller sees of it: nothing where Linux reads it."""
        return self.meter() if self.board.metered else (0,) * 8

    def pins_mv(self, *, is_ahead: bool = False) -> tuple[int, int, int]:
        """Pilot in the plus and the minus phase, proximity: what the ADC reads. `is_ahead`: the minus phase as PWM
        would show it, for a reader that looks at it only under PWM and may get it too late."""
        state, diode, duty = self.cp(), self.diode_ok, self.out.duty
        high = pilot_mv(PILOT_MV if duty else -PILOT_MV, state, diode)
        low = pilot_mv(-PILOT_MV, state, diode) if duty < 10_000 or is_ahead else high
        plug = self.board.socketed and (self.car is not None or self.abandoned_cable_ma)
        return high, low, proximity_mv(self.cable_ma if plug else None)

    def dues(self, now_ms: int) -> Iterable[int | None]:
        yield self.contactor.due_ms
        yield self.bolt.due_ms
        yield self.detector.due_ms
        if self.car is not None:
            yield self.car.next_due_ms(now_ms, self.power_w)


B = TypeVar("B", bound=Bay)


class Plant(Generic[B]):
    """The hardware of a charger. `pins` holds `(t, index, name, value)` for each edge at its pins; `on_pin`, if given,
    hears each as it happens. Times are monotonic seconds (`now`), ports count from 0. Starts without power."""

    def __init__(self, bays: list[B], on_pin: OnPin | None = None) -> None:
        self.bays = bays
        self.emergency_stop = False
        self.pins: deque[tuple[float, int, str, int]] = deque(maxlen=PINS_MAX)
        self._on_pin = on_pin
        self._now_ms = 0

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

    def _remove_car(self, bay: B, cable_ma: int) -> None:
        bay.car = None
        bay.abandoned_cable_ma = cable_ma
        self._settle()

    def touch(self, now: float, change: Callable[[Self], object]) -> None:
        """Change the hardware at `now`: `plant.touch(t, lambda p: setattr(p.bays[0].contactor, "stuck", True))`."""
        self._reach(now)
        change(self)
        self._settle()

    def register_wh(self, index: int, now: float) -> float:
        """The meter's register, exact to the millijoule."""
        self._reach(now)
        self.bays[index].integrate(self._now_ms)
        return self.bays[index].register_mj / MJ_PER_WH

    # -- power and the serial line

    @property
    def fds(self) -> list[int]:
        """What to wait for: when one of them has something to read, `receive` is due."""
        return []

    def power_on(self, now: float) -> object:
        raise NotImplementedError

    def power_off(self, now: float) -> None:
        raise NotImplementedError

    def reset(self, now: float) -> object:
        """The controller alone reboots: its coils drop for that moment."""
        raise NotImplementedError

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the host, if any; and let everything happen that is due."""
        raise NotImplementedError

    def transmit(self) -> bytes:
        """Bytes for the host, once."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing of it runs on."""

    # -- time

    def _reach(self, now: float) -> None:
        """Let everything happen that is due up to `now`."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Something has changed at this instant."""
        raise NotImplementedError

    def _show(self, states: list[dict[str, int]]) -> None:
        """Each port's pins now; what differs from before is told."""
        edges = []
        for i, (bay, state) in enumerate(zip(self.bays, states, strict=True)):
            edges += [(i, name, value) for name, value in state.items() if value != bay.shown.get(name, 0)]
            bay.shown = state
        for i, name, value in edges:
            self.pins.append((self._now_ms / 1000, i, name, value))
            if self._on_pin is not None:
                self._on_pin(self._now_ms / 1000, i, name, value)


class DrivenPlant(Plant[Bay]):
    """Its pins are driven by whoever sets `out` of its bays. `pins` has the edges of `cp`, `offer_ma`, `coil`,
    `contactor`, `locked`, `testing`, `light`; `watch` is called with each instant, in ms, at which one may have
    changed."""

    def __init__(
        self,
        boards: tuple[PortBoard, ...] = (PortBoard(), PortBoard()),
        *,
        coil_circuit: bool = True,  # emergency stop and trip line break the coil's own circuit, as they must
        on_pin: OnPin | None = None,
        watch: Callable[[int], None] = lambda now_ms: None,
    ) -> None:
        super().__init__([Bay(board) for board in boards], on_pin)
        self.powered = False
        self.watch = watch
        self._coil_circuit = coil_circuit

    def drive(self, index: int, out: Outputs, now: float) -> None:
        self.touch(now, lambda plant: setattr(plant.bays[index], "out", out))

    def release(self) -> None:
        """Nobody drives the pins any more."""
        for bay in self.bays:
            bay.out = RELEASED

    def next_due(self) -> float | None:
        """When the hardware does something by itself."""
        dues = [due for bay in self.bays for due in bay.dues(self._now_ms) if due is not None]
        return min(dues) / 1000 if dues else None

    def _reach(self, now: float) -> None:
        target_ms = round(now * 1000)
        assert target_ms >= self._now_ms, f"{now} is in the past of {self._now_ms / 1000}"
        while (due := self.next_due()) is not None and round(due * 1000) <= target_ms:
            self._now_ms = max(self._now_ms, round(due * 1000))
            self._settle()
        self._now_ms = target_ms

    def _settle(self) -> None:
        now = self._now_ms
        for bay in self.bays:
            bay.integrate(now)
            is_broken = self._coil_circuit and (self.emergency_stop or bay.tripped(now))
            bay.contactor.follow(now, bool(bay.out.coil) and self.powered and not is_broken)
            bay.bolt.follow(now, bay.lock_wanted())
            bay.detector.follow(now, bool(bay.out.gf_test) and self.powered)
            bay.flow(now, self.offer_ma(bay), self.powered)
        self._show([self._state(bay) for bay in self.bays])
        self.watch(now)

    def offer_ma(self, bay: Bay) -> int:
        return offered_ma(bay.out.duty) if self.powered else 0

    def _state(self, bay: Bay) -> dict[str, int]:
        return {
            "cp": bay.cp(),
            "offer_ma": self.offer_ma(bay),
            "locked": int(bay.bolt.value),
            "testing": bay.out.gf_test,
            "light": bay.out.light,
            "coil": bay.out.coil,
            "contactor": int(bay.contactor.value),
        }
