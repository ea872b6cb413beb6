"""One port of the controller: pins and wish in, pilot, contactor and lock out. Pure; MicroPython subset.

A step may come every 10 ms (firmware) or only when something changes or falls due (simulator): results depend on the
times of changes alone. A step has two halves, `asks` and `drive`, because between them the ports share the circuit.
A step in which nothing changes allocates nothing: no tuple, list or closure is made on that way.

A faulted port holds the pilot at steady +12 V, never at state F: it must still see the car leave.
"""

from board.controller.app.interlock import may_close
from board.controller.contract import (
    CP_A,
    CP_B,
    CP_C,
    CP_D,
    CP_E,
    CP_F,
    CURRENT_MIN_MA,
    FAULT_COUNT,
    STOP_NONE,
    STOP_NOW,
    STOP_ORDERLY,
    TEST_FAILED,
    TEST_NOT_RUN,
    TEST_PASSED,
    TEST_RUNNING,
)

FRESH, SILENT, GONE = 0, 1, 2  # the host: heard lately; silent, the failsafe current; silent for too long, stop

ORDERLY_MS = 6_000  # PWM is off; a car that has not left C/D by then is cut off (IEC 61851-1 Annex A)
FOLLOW_MS = 5_000  # what a car may take to follow a lowered duty cycle (IEC 61851-1 Annex A)
REST_MS = 500  # open at least so long: the weld check comes first
BRIEF_MS = 60_000  # a contactor that was closed for less rests twice as long as before, so that nothing wears it out
REST_MAX_MS = 60_000
PWM_MS = 100  # PWM must have been on so long before closing: only then the pilot shows C2, and whether there is a diode
SELF_TEST_MS = 1_000  # for the trip line to rise under the test current, and again to fall without it
RETRY_MS = 15 * 60_000
RETRIES_MAX = 3
VOLTAGE_LOST_MV = 50_000
COOLER_DC = 100  # an overheated port is good again this much below its limit
CURRENT_NOISE_MA = 500
TEMPERATURE_MIN_DC = -400  # a sensor that says less is broken (0 mV are -50.0), and what is not measured may be hot

AS_IT_IS = -1  # a lock, before the host has wished
NOW, ORDERLY = True, False  # how a fault opens: at once, or PWM off first
GONE_TOO, UNPLUG, CLEAR = 0, 1, 2  # until when it lasts: gone with its cause, until unplugged, until a clear

PLUGGED, BROKEN = (CP_B, CP_C, CP_D), (CP_E, CP_F)

# In the order of FAULTS: the cause must last for hold_ms, must be away for quiet_ms; how it opens; until when it lasts.
# The three ground-fault rows latch by themselves (Port._supervise, Port._run_self_test). A power cycle clears what a
# clear would, but each cause is sensed anew and the self-test must pass before anything closes; a reset clears nothing.
LINE, FOR_THIS_CAR, SUPPLY = (0, 0, NOW, GONE_TOO), (0, 0, NOW, UNPLUG), (1_000, 10_000, ORDERLY, GONE_TOO)
RULES = (
    LINE,  # ground_fault
    LINE,  # ground_fault_halted
    LINE,  # ground_fault_self_test
    (200, 0, NOW, CLEAR),  # contactor_welded: coil off, feedback closed
    (500, 0, NOW, CLEAR),  # contactor_stuck_open: coil on, feedback open
    LINE,  # pilot_fault
    FOR_THIS_CAR,  # diode_fault
    FOR_THIS_CAR,  # ventilation_missing
    (7_000, 0, ORDERLY, UNPLUG),  # over_current: the car's 5 s to follow, and 2 s more (EVerest's default)
    SUPPLY,  # over_voltage
    SUPPLY,  # under_voltage
    (1_000, 60_000, ORDERLY, GONE_TOO),  # over_temperature: the hard limit, or a dead sensor; derating is the host's
    (3_000, 0, ORDERLY, UNPLUG),  # lock_failure
    (1_000, 0, NOW, UNPLUG),  # proximity_fault: while a plug is pulled, proximity breaks first
    (5_000, 0, ORDERLY, GONE_TOO),  # meter_fault
    LINE,  # emergency_stop: its release restarts nothing, the host must wish anew
    SUPPLY,  # phase_loss
)
assert len(RULES) == FAULT_COUNT

(
    GROUND_FAULT,
    GROUND_FAULT_HALTED,
    GROUND_FAULT_SELF_TEST,
    CONTACTOR_WELDED,
    CONTACTOR_STUCK_OPEN,
    PILOT_FAULT,
    DIODE_FAULT,
    VENTILATION_MISSING,
    OVER_CURRENT,
    OVER_VOLTAGE,
    UNDER_VOLTAGE,
    OVER_TEMPERATURE,
    LOCK_FAILURE,
    PROXIMITY_FAULT,
    METER_FAULT,
    EMERGENCY_STOP,
    PHASE_LOSS,
) = range(FAULT_COUNT)
AT_ONCE = sum([1 << i for i, rule in enumerate(RULES) if rule[2] is NOW])
UNTIL_UNPLUG = sum([1 << i for i, rule in enumerate(RULES) if rule[3] == UNPLUG])
UNTIL_CLEAR = sum([1 << i for i, rule in enumerate(RULES) if rule[3] == CLEAR])
UNTIL_POWER_CYCLE = UNTIL_CLEAR | 1 << GROUND_FAULT_SELF_TEST
LATCHES = UNTIL_POWER_CYCLE | UNTIL_UNPLUG | 1 << GROUND_FAULT | 1 << GROUND_FAULT_HALTED  # what a reset keeps


class PortBoard:
    """What a board says about one port; fixed for the firmware's life."""

    def __init__(
        self,
        max_ma: int = 32_000,
        socketed: bool = False,  # a socket with a lock and proximity sensing; else a tethered cable
        ventilated: bool = False,
        phases: int = 1,
        voltage_min_mv: int = 187_000,  # 208 V less 10 %
        voltage_max_mv: int = 264_000,  # 240 V and 10 %
        temperature_max_dc: int = 850,
        metered: bool = True,  # False: Linux reads the meter, and supervises by it; here is no current or voltage
    ) -> None:
        self.max_ma = max_ma
        self.socketed = socketed
        self.ventilated = ventilated
        self.phases = phases
        self.voltage_min_mv = voltage_min_mv
        self.voltage_max_mv = voltage_max_mv
        self.temperature_max_dc = temperature_max_dc
        self.metered = metered


class Pins:
    """What the pins of one port say now; firmware and simulator fill it in place before each step."""

    def __init__(self) -> None:
        self.cp = CP_A
        self.diode_ok = True
        self.contactor = False  # auxiliary contact: True = the power path is closed
        self.locked = False
        self.cable_ma = 0  # by the proximity resistor; 0 = no cable, or unreadable
        self.tripped = False  # ground-fault detector's trip line; the self-test makes it rise on purpose
        self.emergency_stop = False
        self.temperature_dc = 250
        self.meter_ok = True
        self.energy_wh = 0
        self.power_w = 0
        self.current_ma: list[int] | tuple[int, int, int] = (0, 0, 0)
        self.voltage_mv: list[int] | tuple[int, int, int] = (0, 0, 0)


class Holds:
    """From causes to faults: RULES' hold and quiet times. `raised`: causes after them; `due_ms`: when to look again if
    nothing changes. Linux runs it too, where it reads the meter (agent/hal/supervision.py); what it knows is up to
    `lag_ms` old, and so a cause must last longer by that."""

    def __init__(self, lag_ms: int = 0) -> None:
        self.raised = 0
        self.due_ms: int | None = None
        self._lag_ms = lag_ms
        self._since: list[int | None] = [None] * len(RULES)  # since when a cause differs from raised
        self._waiting = 0  # causes with a _since

    def see(self, now_ms: int, causes: int) -> None:
        """`causes`: those that are there at this instant."""
        self.due_ms = None
        moving = causes ^ self.raised
        if not moving | self._waiting:
            return
        for i in range(len(RULES)):
            if not moving >> i & 1:
                self._since[i] = None
                continue
            since = self._since[i]
            if since is None:
                self._since[i] = since = now_ms
            due = since + (RULES[i][1] if self.raised >> i & 1 else RULES[i][0] + self._lag_ms)
            if now_ms >= due:
                self.raised ^= 1 << i
                self._since[i] = None
            elif self.due_ms is None or due < self.due_ms:
                self.due_ms = due
        self._waiting = causes ^ self.raised

    def restart(self, fault: int) -> None:
        """Its time begins anew with the next look."""
        self._since[fault] = None

    def rebase(self, by_ms: int) -> None:
        for i in range(len(self._since)):
            since = self._since[i]
            if since is not None:
                self._since[i] = since - by_ms


def measured_causes(
    board: PortBoard,
    is_measured: bool,
    contactor: bool,
    offer_ma: int,
    current_ma: "list[int] | tuple[int, int, int]",
    voltage_mv: "list[int] | tuple[int, int, int]",
) -> int:
    """The faults of current and mains whose cause is there now, bit i for FAULTS[i]. Linux runs it too."""
    lowest_mv = highest_mv = voltage_mv[0]
    for i in range(1, board.phases):
        lowest_mv = min(lowest_mv, voltage_mv[i])
        highest_mv = max(highest_mv, voltage_mv[i])
    lost = board.phases > 1 and lowest_mv < VOLTAGE_LOST_MV
    return (
        (contactor and max(current_ma) > offer_ma * 11 // 10 + CURRENT_NOISE_MA and offer_ma > 0) << OVER_CURRENT
        | (is_measured and highest_mv > board.voltage_max_mv) << OVER_VOLTAGE
        | (is_measured and lowest_mv < board.voltage_min_mv and not lost) << UNDER_VOLTAGE
        | (is_measured and lost) << PHASE_LOSS
    )


class Port:
    """Outputs, to be read after each step: `offer_ma` (pilot: 0 = steady +12 V), `coil`, `lock`, `testing` (drive the
    self-test current). `closes`, `latched` and `retries` are what is kept over a reset."""

    def __init__(
        self, board: PortBoard, closes: int = 0, latched: int = 0, retries: int = 0, now_ms: int = 0
    ) -> None:
        self.board = board
        self.offer_ma = 0
        self.coil = False
        self.lock = False
        self.testing = False

        self.faults = latched
        self.self_test = TEST_FAILED if latched >> GROUND_FAULT_SELF_TEST & 1 else TEST_NOT_RUN
        self.unplugs = 0
        self.closes = closes
        self.retries = retries
        self.due_ms: int | None = None  # when to step again if nothing changes before

        self._wish = (0, STOP_ORDERLY, AS_IT_IS, 0)
        self._clear = False  # the host asked; done in the next step
        self._void = False  # the wish in force ended here (unplugged, emergency stop): the host must withdraw it first
        self._cp = -1  # of the step before; -1 = first step after boot
        self._present = 0  # causes there at this instant: enough to keep a contactor from closing
        self.holds = Holds()
        self._stop_by: int | None = None  # an orderly stop's end
        self._rest_ms = REST_MS  # of the next opening
        self._close_from = 0  # open: not before, the contactor rests, the pilot is looked at; closed: since then
        # The offer that the car may still be leaving, and until when; a lower one that it left later, and until when.
        self._held = [0, 0, 0, 0]
        self._test_failed = self.self_test == TEST_FAILED
        self._test_wanted = not self._test_failed
        self._test_by = 0
        self._tested_for = 0  # closes at the last self-test: what is more was closed on its strength
        self._retry_at: int | None = now_ms + RETRY_MS if latched >> GROUND_FAULT & 1 else None
        self._halted = bool(latched >> GROUND_FAULT_HALTED & 1)

    def wish(self, offer_ma: int, stop: int, lock: int, clear: int) -> None:
        """The host's whole wish, as `PORT_WISH` says."""
        wish = (offer_ma, stop, lock, clear)  # first: there may be no memory for it
        if clear > self._wish[3]:
            self._clear = True
        self._wish = wish
        self._void = self._void and self.is_allowed()

    def step(self, now_ms: int, pins: Pins, host: int = FRESH, failsafe_ma: int = 0) -> tuple[int, bool, bool, bool]:
        """A port that has its circuit for itself: `(offer_ma, coil, lock, testing)`."""
        self.drive(now_ms, pins, host, self.asks(now_ms, pins, host, failsafe_ma))
        return self.offer_ma, self.coil, self.lock, self.testing

    def next_due_ms(self, now_ms: int) -> int | None:
        """When to step again if no input changes before; None: not at all. After an output changed: at once."""
        return None if self.due_ms is None else max(now_ms, self.due_ms)

    def rebase(self, by_ms: int) -> None:
        """The clock goes back by so much: a small controller's integers end after days, and larger ones cost memory."""
        self.holds.rebase(by_ms)
        if self._stop_by is not None:
            self._stop_by -= by_ms
        if self._retry_at is not None:
            self._retry_at -= by_ms
        self._close_from = max(-BRIEF_MS, self._close_from - by_ms)
        self._held[1] = max(0, self._held[1] - by_ms)
        self._held[3] = max(0, self._held[3] - by_ms)
        self._test_by -= by_ms
        self.due_ms = None  # until the next step

    def retry_in_s(self, now_ms: int) -> int:
        return 0 if self._retry_at is None else max(1, (self._retry_at - now_ms + 999) // 1000)

    # -- first half: what do the pins mean? --------------------------------------------------------------------------

    def asks(self, now_ms: int, pins: Pins, host: int, failsafe_ma: int) -> int:
        """Take in the pins; return the offer this port would make if the circuit has room. 0 or >= 6 A."""
        self.due_ms = None
        self._hold(now_ms, pins)
        self._see_plug(now_ms, pins)
        self._supervise(now_ms, pins)
        self._run_self_test(now_ms, pins)
        self._present = self._causes(pins)
        self.holds.see(now_ms, self._present)
        if self.holds.due_ms is not None:
            self._wake(self.holds.due_ms)
        keep = 0 if self._clear else self.faults & (UNTIL_CLEAR if pins.cp == CP_A else UNTIL_CLEAR | UNTIL_UNPLUG)
        self.faults = keep | self.holds.raised
        self._clear = False
        return self._wanted_ma(pins, host, failsafe_ma)

    def claim_ma(self) -> int:
        """What the car may draw at this instant: no other port may have it."""
        return max(self.offer_ma, self._held[0])

    def _hold(self, now: int, pins: Pins) -> None:
        live, held = self.coil or pins.contactor, self._held
        if pins.cp == CP_A and not live:
            held[0] = held[2] = 0
        elif self.offer_ma == 0 and live:  # stopping, or welded: what flows is taken until it is off
            held[0] = max(held[0], self._flowing_ma(now, pins))
            return
        while held[0] and now >= held[1]:
            held[0], held[1], held[2] = held[2], held[3], 0
        if held[0]:  # open or not: a car that has seen the old duty cycle might close and draw it
            self._wake(held[1])

    def _flowing_ma(self, now: int, pins: Pins) -> int:
        """What flows though nothing is offered; through a weld that nobody measures, all that could."""
        if pins.contactor and not self.coil and now >= self._close_from and not (self.board.metered and pins.meter_ok):
            return self.board.max_ma
        return max(pins.current_ma)

    def _leave(self, now: int, pins: Pins) -> None:
        """The offer in force is lowered: the car has its time to follow, unless it has not followed before."""
        if max(pins.current_ma) <= self.claim_ma() * 11 // 10 + CURRENT_NOISE_MA:
            self.holds.restart(OVER_CURRENT)
        held = self._held
        if self.offer_ma >= held[0]:
            held[0], held[1], held[2] = self.offer_ma, now + FOLLOW_MS, 0
        else:
            held[2], held[3] = max(held[2], self.offer_ma), now + FOLLOW_MS

    def _see_plug(self, now: int, pins: Pins) -> None:
        if pins.cp == CP_A != self._cp:
            self.unplugs += 1
            self._rest_ms, self._close_from = REST_MS, min(self._close_from, now + REST_MS)
            self._void = self.is_allowed()
        if pins.cp != CP_A == self._cp and not self._test_failed:
            self._test_wanted = True
        if pins.emergency_stop:
            self._void = self.is_allowed()
        self._cp = pins.cp

    def is_allowed(self) -> bool:
        """Whether the host's wish, as it stands, lets a car charge."""
        return self._wish[1] == STOP_NONE and self._wish[0] >= CURRENT_MIN_MA

    def _supervise(self, now: int, pins: Pins) -> None:
        """Ground faults: tried again after 15 minutes, three times; then halted until the car is unplugged."""
        tripped = pins.tripped and self.self_test != TEST_RUNNING and self.self_test != TEST_FAILED
        if not tripped and (pins.cp == CP_A or self._clear):
            self.retries, self._retry_at, self._halted = 0, None, False
        if self._retry_at is not None and now >= self._retry_at:
            self.retries += 1
            self._retry_at = None
            self._test_wanted = True
        if tripped and self._retry_at is None and not self._halted:
            if self.retries < RETRIES_MAX:
                self._retry_at = now + RETRY_MS
            else:
                self._halted = True
        if self._retry_at is not None:
            self._wake(self._retry_at)

    def _run_self_test(self, now: int, pins: Pins) -> None:
        """At power-on, when a car is plugged, after each session, on a clear, before a ground-fault retry; never under
        load, and not when the car itself pauses (C, B, C)."""
        session_over = self.closes != self._tested_for and self._wish[1] != STOP_NONE
        if self._clear or (session_over and not self._test_failed):
            self._test_wanted = True
        if self.self_test != TEST_RUNNING:
            if self._test_wanted and not (self.coil or pins.contactor or pins.tripped):
                self._test_wanted = False
                self._tested_for = self.closes
                self.self_test = TEST_RUNNING
                self._test_current(True, now)
        elif pins.tripped != self.testing:
            if now >= self._test_by:
                self._test_failed = True
                self.self_test = TEST_FAILED
                self.testing = False
            else:
                self._wake(self._test_by)
        elif self.testing:  # the line rose, as it should: now it must fall
            self._test_current(False, now)
        else:
            self._test_failed = False
            self.self_test = TEST_PASSED

    def _test_current(self, on: bool, now: int) -> None:
        self.testing = on
        self._test_by = now + SELF_TEST_MS
        self._wake(now)

    def _causes(self, pins: Pins) -> int:
        """The faults whose cause is there now, bit i for FAULTS[i]."""
        board = self.board
        plugged = pins.cp in PLUGGED
        measured = board.metered and pins.meter_ok
        hot_dc = board.temperature_max_dc - (COOLER_DC if self.holds.raised >> OVER_TEMPERATURE & 1 else 0)
        return (
            measured_causes(board, measured, pins.contactor, self.offer_ma, pins.current_ma, pins.voltage_mv)
            | (self._retry_at is not None) << GROUND_FAULT
            | self._halted << GROUND_FAULT_HALTED
            | self._test_failed << GROUND_FAULT_SELF_TEST
            | (pins.contactor and not self.coil) << CONTACTOR_WELDED
            | (self.coil and not pins.contactor) << CONTACTOR_STUCK_OPEN
            | (pins.cp in BROKEN) << PILOT_FAULT
            # Only PWM's negative half shows the diode.
            | (self.offer_ma > 0 and plugged and not pins.diode_ok) << DIODE_FAULT
            | (pins.cp == CP_D and not board.ventilated) << VENTILATION_MISSING
            | (not TEMPERATURE_MIN_DC <= pins.temperature_dc < hot_dc) << OVER_TEMPERATURE
            | (board.socketed and self.lock != pins.locked) << LOCK_FAILURE
            | (board.socketed and plugged and not pins.cable_ma) << PROXIMITY_FAULT
            | (board.metered and not pins.meter_ok) << METER_FAULT
            | pins.emergency_stop << EMERGENCY_STOP
        )

    def _wanted_ma(self, pins: Pins, host: int, failsafe_ma: int) -> int:
        if not self.is_allowed() or self._void or host == GONE or self.faults or self.self_test != TEST_PASSED:
            return 0
        if pins.cp not in PLUGGED:  # an offer to nobody would only take current from the other ports
            return 0
        offer_ma = min(self._wish[0], self.board.max_ma)
        if self.board.socketed:
            offer_ma = min(offer_ma, pins.cable_ma)
        if host == SILENT:  # lower, never raise, never start
            offer_ma = min(offer_ma, self.offer_ma, failsafe_ma)
        return offer_ma if offer_ma >= CURRENT_MIN_MA else 0

    # -- second half: act ---------------------------------------------------------------------------------------------

    def drive(self, now_ms: int, pins: Pins, host: int, granted_ma: int) -> None:
        """Set the outputs; `granted_ma` is 0 or 6 A up to what `asks` returned."""
        offered_ma, coil, lock = self.offer_ma, self.coil, self.lock
        if granted_ma < self.offer_ma:
            self._leave(now_ms, pins)
        if granted_ma and not self.offer_ma:
            self._close_from = max(self._close_from, now_ms + PWM_MS)
        self.offer_ma = granted_ma
        self._set_coil(now_ms, pins, host)
        live = self.offer_ma > 0 or self.coil or pins.contactor
        in_socket = pins.cp != CP_A or pins.cable_ma > 0
        # A dead host must not keep a driver's cable; a live contactor must, whatever is or is not seen in the socket.
        # After a boot the bolt waits for the host.
        wished = self.lock or pins.locked if self._wish[2] == AS_IT_IS else in_socket and self._wish[2] == 1
        self.lock = self.board.socketed and (live or (wished and host != GONE))
        if self.offer_ma != offered_ma or self.coil != coil or self.lock != lock:
            self._wake(now_ms)

    def _set_coil(self, now: int, pins: Pins, host: int) -> None:
        if not self.coil:
            if self._may_close(pins, host):
                if now >= self._close_from:
                    self.coil = True
                    self.closes += 1
                    self._close_from = now
                else:
                    self._wake(self._close_from)
            return
        if self.offer_ma > 0:
            self._stop_by = None
        elif self._stop_by is None:
            self._stop_by = now + ORDERLY_MS
        late = self._stop_by is not None and now >= self._stop_by
        if late or (pins.cp != CP_C and pins.cp != CP_D) or self._wish[1] == STOP_NOW or self.faults & AT_ONCE:
            self.coil = False
            self._stop_by = None
            is_brief = now - self._close_from < BRIEF_MS
            self._close_from = now + self._rest_ms
            self._rest_ms = min(2 * self._rest_ms, REST_MAX_MS) if is_brief else REST_MS
        elif self._stop_by is not None:
            self._wake(self._stop_by)

    def _may_close(self, pins: Pins, host: int) -> bool:
        return may_close(
            pins.cp,
            self.offer_ma,
            self._wish[1],
            host == FRESH,
            self.faults | self._present,
            self.self_test == TEST_PASSED,
            pins.contactor,
            self.board.ventilated,
            self.board.socketed,
            pins.locked,
            pins.cable_ma,
        )

    def _wake(self, due_ms: int) -> None:
        if self.due_ms is None or due_ms < self.due_ms:
            self.due_ms = due_ms
