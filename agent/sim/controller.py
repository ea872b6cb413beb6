"""The port controller in memory: the board's own logic on the simulated hardware of agent/sim/plant.py.

Two ways in. Bytes: `receive` and `transmit`, as over the serial line. Direct, for speed: `wish` sets the host's wish,
`host_alive` says whether it is fresh, `advance` returns reports as the tuples that `contract.unpack` would give: one
for each port that changed, and one every `meter_every_ms` for each that delivers. Times are monotonic seconds (`now`).
"""

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from agent.sim.plant import Bay, OnPin, Plant
from board.controller import contract
from board.controller.app.controller import Controller
from board.controller.app.memory import Memory
from board.controller.app.port import Pins, PortBoard

REPORTS_MAX = 10_000  # in direct mode, if nobody calls `advance`: older reports are forgotten
ROUNDS_MAX = 50  # changes at one instant settle in a few rounds; more is a loop in our logic
FOREVER_MS = 1 << 60

Report = tuple[Any, ...]


class SimBay(Bay):
    """A bay, and how the controller's logic sees and tells it."""

    def __init__(self, board: PortBoard) -> None:
        super().__init__(board)
        self.pins = Pins()
        self.told: Report = ()  # of the last report: all but the running numbers
        self.metered_ms = 0

    def fill_pins(self, now_ms: int, emergency_stop: bool) -> None:
        pins = self.pins
        pins.cp = self.cp()
        pins.diode_ok = self.diode_ok
        pins.contactor = self.contactor.value
        pins.locked = self.bolt.value
        pins.cable_ma = self.cable_ma
        pins.tripped = self.tripped(now_ms)
        pins.emergency_stop = emergency_stop
        pins.temperature_dc = self.temperature_dc
        pins.meter_ok = not self.meter_dead
        pins.energy_wh, pins.power_w, *phases = self.seen()
        pins.current_ma, pins.voltage_mv = (phases[0], phases[1], phases[2]), (phases[3], phases[4], phases[5])


class SimController(Plant[SimBay]):
    """`pins` has the edges of `cp`, `offer_ma`, `coil`, `contactor`, `locked` and `self_test`."""

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
        super().__init__([SimBay(board) for board in boards], on_pin)
        self.controller: Controller | None = None  # None = no power
        self.memory = Memory(len(boards))
        if circuit_limit_ma:
            self.memory.circuit_limit_ma = circuit_limit_ma
            self.memory.failsafe_ma = failsafe_ma
            self.memory.host_grace_s = host_grace_s
        self._random = random.Random(seed)
        self._meter_every_ms = meter_every_ms
        self._host_alive = False
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

    # -- the host, by bytes

    def receive(self, data: bytes, now: float) -> None:
        self._reach(now)
        if self.controller is not None and data:
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
                self.controller.speak(now, [bay.pins for bay in self.bays])
                due = self.controller.next_due_ms(now)
            self._show([self._state(i, bay) for i, bay in enumerate(self.bays)])
            dues = [due, *(d for bay in self.bays for d in bay.dues(now))]
            self._due_ms = min((d for d in dues if d is not None), default=None)
            if self._due_ms is None or self._due_ms > now:
                break
        else:
            raise AssertionError(f"does not settle at {now} ms")
        self._tell_changes()

    def _move(self, index: int, bay: SimBay) -> None:
        port = self.controller.ports[index] if self.controller is not None else None
        now = self._now_ms
        bay.contactor.follow(now, port is not None and port.coil)
        bay.bolt.follow(now, bay.bolt.wanted if port is None else port.lock)  # without power it stays where it is
        bay.detector.follow(now, port is not None and port.testing)
        bay.flow(now, 0 if port is None else port.offer_ma, port is not None)
        bay.fill_pins(now, self.emergency_stop)

    def _state(self, index: int, bay: SimBay) -> dict[str, int]:
        port = self.controller.ports[index] if self.controller is not None else None
        return {
            "cp": bay.pins.cp,
            "offer_ma": port.offer_ma if port is not None else 0,
            "locked": int(bay.bolt.value),
            "self_test": port.self_test if port is not None else contract.TEST_NOT_RUN,
            "coil": int(port is not None and port.coil),
            "contactor": int(bay.contactor.value),
        }

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

    def _tell(self, index: int, bay: SimBay, row: tuple[int, ...]) -> None:
        assert self.controller is not None
        bay.metered_ms = self._now_ms
        self._reports.append((contract.REPORT, self.controller.uptime_ms(self._now_ms), index, row))
