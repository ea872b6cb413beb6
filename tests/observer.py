"""Somebody with a voltmeter at every pin and a tap on the line, who knows promises S1 and S11 and nothing else.

It reads the hardware (`DrivenPlant`), what the firmware drives, and the host's wishes as they passed on the wire. It
never asks what the firmware thinks. `look` is its `watch`; a promise that is not kept raises `Broken`.
"""

from agent.sim.plant import Bay, DrivenPlant
from board.controller.contract import (
    CP_A,
    CP_B,
    CP_C,
    CP_D,
    CURRENT_MAX_MA,
    CURRENT_MIN_MA,
    HOST_SILENT_MS,
    STOP_NONE,
    STOP_NOW,
)

Row = tuple[int, ...]  # (offer_ma, stop, lock, clear)

OPEN_MS = 100  # S1: at once means within this, to the contact
ORDERLY_MS = 6_100  # 6 s, and the contact's own time
# Seen a few times before it is believed.
SAMPLED_MS = {"the car is ready": 50, "there is a diode": 50, "the cable carries it": 100}
AWAY_MS = 100  # a car that was gone for longer is another one, and wants another self-test
WELDED_MS = 300
PLUG_SEEN_MS = 150  # a plug that comes into a welded socket is seen a few times first
NEVER_MS, FOREVER_MS = -1 << 40, 1 << 40
ANY_MA = CURRENT_MAX_MA


class Broken(AssertionError):
    """A promise, broken at the pins; says which, when and where."""


class Eye:
    """What is remembered of one port."""

    def __init__(self) -> None:
        self.row: Row | None = None  # the host's wish; None: nobody has wished since boot
        self.coil = 0
        self.is_tested = False  # by the ground-fault self-test, since boot, since the car came, since the last fault
        self.test_rose = False
        self.is_welded = False  # until a clear
        self.away_ms: int | None = 0  # since when there is no car
        self.free_ms: int | None = None  # since when a live plug is let go
        self.odd_ms: int | None = None  # since when the contact is closed without its coil
        self.since: dict[str, int] = {}  # reason -> since when it is there without a break
        self.held: dict[str, int] = {}  # condition -> when it was last there


class PinObserver:
    """`latency_ms`: how late the firmware sees and we see; 0 in lockstep."""

    def __init__(
        self, plant: DrivenPlant, circuit_ma: int, *, failsafe_ma: int = 6_000, grace_s: int = 60, latency_ms: int = 0
    ) -> None:
        self.plant, self.circuit_ma, self.failsafe_ma = plant, circuit_ma, failsafe_ma
        self.closes = self.looks = self.greatest_ma = 0
        self.slowest_ms: dict[str, int] = {}  # reason -> how long after it a contactor was still closed, at most
        self._grace_ms = max(grace_s * 1000, HOST_SILENT_MS)
        self._latency_ms = latency_ms
        self._eyes = [Eye() for _ in plant.bays]
        self._heard_ms: int | None = None

    # -- the tap on the line

    def heard(self, now_ms: int, rows: tuple[Row, ...]) -> None:
        """A whole wish of the host has reached the firmware."""
        self._heard_ms = now_ms
        for eye, row in zip(self._eyes, rows, strict=True):
            if row[3] > (eye.row[3] if eye.row else 0):
                eye.is_welded = False
            eye.row = row

    def booted(self) -> None:
        """Whatever was before, a firmware that starts knows nothing."""
        self._heard_ms = None
        for eye in self._eyes:
            eye.row, eye.is_tested, eye.test_rose, eye.is_welded = None, False, False, False

    # -- the voltmeter

    def look(self, now_ms: int) -> None:
        self.looks += 1
        self._judge_current(now_ms)
        for index, (bay, eye) in enumerate(zip(self.plant.bays, self._eyes, strict=True)):
            self._remember(bay, eye, now_ms)
            self._judge_closing(index, bay, eye, now_ms)
            self._judge_opening(index, bay, eye, now_ms)
            self._judge_bolt(index, bay, eye, now_ms)

    def _judge_current(self, now: int) -> None:
        sum_ma = sum(self.plant.offer_ma(bay) for bay in self.plant.bays)
        self.greatest_ma = max(self.greatest_ma, sum_ma)
        if sum_ma > self.circuit_ma:
            raise Broken(f"S11 at {now} ms: {sum_ma} mA offered on a circuit of {self.circuit_ma}")

    def _judge_closing(self, index: int, bay: Bay, eye: Eye, now: int) -> None:
        conditions = self._conditions(bay, eye, now)
        eye.held.update({name: now for name, holds in conditions.items() if holds})
        if bay.out.coil and not eye.coil:
            self.closes += 1
            missing = [
                name for name in conditions
                if now - eye.held.get(name, NEVER_MS) > SAMPLED_MS.get(name, 0) + self._latency_ms
            ]  # fmt: skip
            if missing:
                raise Broken(f"S1 at {now} ms: port {index} closes, but not: {', '.join(missing)}")
        eye.coil = bay.out.coil

    def _judge_opening(self, index: int, bay: Bay, eye: Eye, now: int) -> None:
        reasons = self._reasons(bay, eye, now)
        eye.since = {name: eye.since.get(name, now) for name in reasons}
        is_live = bay.out.coil or (bay.contactor.value and not bay.contactor.stuck)  # a weld opens for nobody
        offered_ma = self.plant.offer_ma(bay)
        for name, (limit_ms, most_ma) in reasons.items():
            late_ms = now - eye.since[name]
            if is_live and limit_ms < FOREVER_MS:
                self.slowest_ms[name] = max(self.slowest_ms.get(name, 0), late_ms)
            if is_live and late_ms > limit_ms + self._latency_ms:
                raise Broken(f"S1 at {now} ms: port {index} is closed {late_ms} ms after: {name}")
            if offered_ma > most_ma and late_ms > OPEN_MS + self._latency_ms:
                raise Broken(f"S11 at {now} ms: port {index} offers {offered_ma} mA {late_ms} ms after: {name}")

    def _judge_bolt(self, index: int, bay: Bay, eye: Eye, now: int) -> None:
        """Nobody lets go of a plug that is live, welded or not. (A bolt that fails by itself: `_reasons`.)"""
        is_plugged = bay.car is not None or bay.abandoned_cable_ma > 0
        if not (bay.board.socketed and is_plugged and bay.contactor.value) or bay.lock_wanted():
            eye.free_ms = None
            return
        eye.free_ms = now if eye.free_ms is None else eye.free_ms
        if now - eye.free_ms > PLUG_SEEN_MS + self._latency_ms:
            raise Broken(f"S1 at {now} ms: port {index} is closed, and its plug is let go")

    def _remember(self, bay: Bay, eye: Eye, now: int) -> None:
        if bay.cp() == CP_A:
            eye.away_ms = now if eye.away_ms is None else eye.away_ms
        elif eye.away_ms is not None:
            eye.is_tested = eye.is_tested and now - eye.away_ms < AWAY_MS
            eye.away_ms = None
        if bay.out.gf_test:
            eye.is_tested, eye.test_rose = False, eye.test_rose or bay.tripped(now)
        elif eye.test_rose and not bay.tripped(now):
            eye.is_tested, eye.test_rose = True, False
        if bay.is_leaking(now) and not eye.test_rose:
            eye.is_tested = False
        if bay.contactor.value and not bay.out.coil:
            eye.odd_ms = now if eye.odd_ms is None else eye.odd_ms
            eye.is_welded = eye.is_welded or now - eye.odd_ms > WELDED_MS
        else:
            eye.odd_ms = None

    # -- S1

    def _conditions(self, bay: Bay, eye: Eye, now: int) -> dict[str, bool]:
        """All of these, or it does not close."""
        offer_ma, row = self.plant.offer_ma(bay), eye.row
        return {
            "the car is ready": bay.cp() == CP_C or (bay.cp() == CP_D and bay.board.ventilated),
            "6 A are offered": offer_ma >= CURRENT_MIN_MA,
            "the host wants it": row is not None and row[0] >= CURRENT_MIN_MA and row[1] == STOP_NONE,
            "the host is fresh": self._heard_ms is not None and now - self._heard_ms < HOST_SILENT_MS,
            "the self-test has passed": eye.is_tested,
            "the contactor was open": not bay.contactor.value and not eye.is_welded,
            "no current leaks": not bay.is_leaking(now),
            "no emergency stop": not self.plant.emergency_stop,
            "there is a diode": bay.diode_ok,
            "the plug is locked": not bay.board.socketed or bay.bolt.value,
            "the cable carries it": not bay.board.socketed or bay.cable_ma >= offer_ma,
            "it is cool": bay.temperature_dc < bay.board.temperature_max_dc,
            "the meter lives": not bay.meter_dead,
            "the voltage is good": self._voltage_is_good(bay),
        }

    def _reasons(self, bay: Bay, eye: Eye, now: int) -> dict[str, tuple[int, int]]:
        """Why it must be open: within how many ms of the reason, and the most that may be offered until then."""
        board, cp, row = bay.board, bay.cp(), eye.row
        is_plugged = cp in (CP_B, CP_C, CP_D)
        silent_ms = None if self._heard_ms is None else now - self._heard_ms
        wished_ma = row[0] if row is not None and row[1] == STOP_NONE else 0
        everything = {
            "no power": (not self.plant.powered, OPEN_MS, 0),
            "not C or D": (cp not in (CP_C, CP_D), OPEN_MS, ANY_MA),
            "D without ventilation": (cp == CP_D and not board.ventilated, OPEN_MS, 0),
            "emergency stop": (self.plant.emergency_stop, OPEN_MS, 0),
            "ground fault": (bay.is_leaking(now), OPEN_MS, 0),
            "no diode": (not bay.diode_ok and is_plugged, OPEN_MS, ANY_MA),
            "stop now": (row is not None and row[1] == STOP_NOW, OPEN_MS, 0),
            "nobody asks for it": (wished_ma < CURRENT_MIN_MA, ORDERLY_MS, 0),
            f"no more than {wished_ma} mA are asked for": (True, FOREVER_MS, wished_ma),
            "host silent for 3 s": (silent_ms is None or silent_ms >= HOST_SILENT_MS, FOREVER_MS, self.failsafe_ma),
            "host silent for its grace": (silent_ms is None or silent_ms >= self._grace_ms, ORDERLY_MS, 0),
            "lock fails": (board.socketed and bay.lock_wanted() != bay.bolt.value, 3_000 + ORDERLY_MS, ANY_MA),
            "cable unreadable": (board.socketed and is_plugged and not bay.cable_ma, 1_000 + OPEN_MS, ANY_MA),
            "hot": (bay.temperature_dc >= board.temperature_max_dc, 1_000 + ORDERLY_MS, ANY_MA),
            "voltage": (not bay.meter_dead and not self._voltage_is_good(bay), 1_000 + ORDERLY_MS, ANY_MA),
            "meter": (bay.meter_dead, 5_000 + ORDERLY_MS, ANY_MA),
        }  # fmt: skip
        return {name: (limit_ms, most_ma) for name, (there, limit_ms, most_ma) in everything.items() if there}

    @staticmethod
    def _voltage_is_good(bay: Bay) -> bool:
        phases = bay.voltage_mv[: bay.board.phases]
        return bay.board.voltage_min_mv <= min(phases) and max(phases) <= bay.board.voltage_max_mv
