"""The whole firmware but its pins: raw numbers from the converters in, raw numbers for the outputs out. Pure; the same
on CPython and MicroPython.

`inputs`: [emergency_stop], then for each port INPUTS_PER_PORT numbers. `outputs`: [now_ms, step_count, overruns], then
for each port OUTPUTS_PER_PORT. Both are `array("i")`, filled in place: a step allocates nothing. What is heard and said
does, and may raise MemoryError; then that is lost, and the next step is as good as ever.
"""

from array import array

from board.controller.app.controller import Controller
from board.controller.app.memory import Keeper
from board.controller.app.pilot import STEADY, Pilot, duty_of
from board.controller.app.port import Pins, PortBoard
from board.controller.app.proximity import Proximity
from board.controller.app.register import Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Numbers = array[int]

INPUTS_FIRST, INPUTS_PER_PORT = 1, 16
CP_HIGH, CP_LOW, PP, CONTACTOR, LOCKED, TRIPPED, TEMPERATURE, METER_OK, ENERGY, POWER, CURRENTS = range(11)
VOLTAGES = CURRENTS + 3
OUTPUTS_FIRST, OUTPUTS_PER_PORT = 3, 5
DUTY, COIL, LOCK, GF_TEST, LIGHT = range(5)
HELD = 2  # a LOCK that is not decided yet: the bolt stays as its feedback says

SETTLE_MS = 50  # after boot: until the pilot is surely read, or a plugged car might pass for an empty cable (S3)
STEPS_MASK = 0x3FFF_FFFF
CLOCK_MASK = 0x3FFF_FFFF  # the port layer's clock may start anew there, as a 32-bit MicroPython's own does
REBASE_MS = 1 << 29  # six days; small integers end at 1 << 30


class Senses:
    """One port's raw inputs as `Pins`."""

    def __init__(self, board: PortBoard, register_wh: int, energy_wh: int) -> None:
        self.pins = Pins()
        self.pilot = Pilot()
        self.proximity = Proximity()
        power_max_w = board.phases * board.max_ma // 1000 * board.voltage_max_mv // 1000
        self.register = Register(power_max_w, register_wh, energy_wh)
        self._current_ma, self._voltage_mv = [0, 0, 0], [0, 0, 0]
        self.pins.current_ma, self.pins.voltage_mv = self._current_ma, self._voltage_mv
        self.pins.energy_wh = energy_wh  # until the meter says more

    def fill(self, now_ms: int, inputs: "Numbers", at: int, pwm: bool, is_kept: bool) -> None:
        """`pwm`: what the pilot driver was told before these inputs were read. `is_kept`: nothing urgent waits to be
        written to flash."""
        pins = self.pins
        pins.emergency_stop = inputs[0] != 0
        pins.cp = self.pilot.see(now_ms, inputs[at + CP_HIGH], inputs[at + CP_LOW], pwm)
        pins.diode_ok = self.pilot.diode_ok
        pins.cable_ma = self.proximity.see(now_ms, inputs[at + PP])
        pins.contactor = inputs[at + CONTACTOR] != 0
        pins.locked = inputs[at + LOCKED] != 0
        pins.tripped = inputs[at + TRIPPED] != 0
        pins.temperature_dc = inputs[at + TEMPERATURE]
        meter_ok = inputs[at + METER_OK] != 0 and self.register.see(now_ms, inputs[at + ENERGY], is_kept)
        if pins.meter_ok and not meter_ok:  # who knows what it says after a reset
            self.register.is_news = True
        pins.meter_ok = meter_ok
        if pins.meter_ok:
            pins.energy_wh = self.register.energy_wh
            pins.power_w = inputs[at + POWER]
            for i in range(3):
                self._current_ma[i] = inputs[at + CURRENTS + i]
                self._voltage_mv[i] = inputs[at + VOLTAGES + i]

    def rebase(self, by_ms: int) -> None:
        self.pilot.rebase(by_ms)
        self.proximity.rebase(by_ms)
        self.register.rebase(by_ms)


class Firmware:
    """`read` and `write` are the flash (`memory.Keeper`). Call `step` every 10 ms; `inputs` first, `outputs` after."""

    def __init__(
        self,
        boards: "tuple[PortBoard, ...]",
        circuit_max_ma: int,
        boot_id: int,
        reset_cause: int,
        now_ms: int,
        read: "Callable[[str], bytes]",
        write: "Callable[[str, bytes], None]",
        pins_hash: str = "",
        image: "tuple[str, str, int, int] | None" = None,
    ) -> None:
        self.inputs = array("i", [0] * (INPUTS_FIRST + INPUTS_PER_PORT * len(boards)))
        self.outputs = array("i", [0] * (OUTPUTS_FIRST + OUTPUTS_PER_PORT * len(boards)))
        begin(self.outputs)
        self._clock_ms = now_ms
        self._now_ms = now_ms = now_ms % REBASE_MS  # ours
        self.overruns = 0
        self.heap_free_b = 0
        self.starved = 0  # times in a row that there was no memory for what was heard or said
        self.keeper = Keeper(len(boards), read, write, now_ms)
        memory = self.keeper.memory
        memory.image = image
        self.controller = Controller(
            boards, memory, boot_id, reset_cause, circuit_max_ma, now_ms=now_ms, save=self.keeper.save,
            pins_hash=pins_hash, counts=self._counts,
        )
        self._senses = [
            Senses(boards[i], memory.register_wh[i], memory.energy_wh[i]) for i in range(len(boards))
        ]
        self._pins = [senses.pins for senses in self._senses]
        self._unsent = b""
        self._settled_ms = now_ms + SETTLE_MS

    def step(self, clock_ms: int) -> None:
        """`clock_ms` never goes back but by starting anew."""
        now_ms = self._advance(clock_ms)
        if now_ms >= REBASE_MS:
            self._rebase(now_ms)
            now_ms = 0
        outputs, controller = self.outputs, self.controller
        for i in range(len(self._senses)):
            duty = outputs[OUTPUTS_FIRST + OUTPUTS_PER_PORT * i + DUTY]
            at, is_kept = INPUTS_FIRST + INPUTS_PER_PORT * i, not self.keeper.memory.urgent
            self._senses[i].fill(now_ms, self.inputs, at, 0 < duty < STEADY, is_kept)
        outputs[0] = clock_ms
        outputs[1] = outputs[1] + 1 & STEPS_MASK
        outputs[2] = self.overruns
        if now_ms < self._settled_ms:
            return
        controller.step(now_ms, self._pins)
        for i in range(len(self._senses)):
            self._act(i, now_ms)

    def receive(self, data: bytes, clock_ms: int) -> None:
        """Bytes from the host; before the step of the same time."""
        self.controller.receive(data, self._advance(clock_ms))

    def unsent(self, clock_ms: int) -> bytes:
        """After the step: bytes for the host; the same again until `sent` says that they went out."""
        now_ms = self._advance(clock_ms)
        if now_ms >= self._settled_ms:
            self.controller.speak(now_ms, self._pins)
        if not self._unsent and self.controller.has_output():
            self._unsent = self.controller.transmit()
        return self._unsent

    def sent(self, count: int) -> None:
        self._unsent = self._unsent[count:]

    def is_over(self) -> bool:
        """It was halted, and has said so."""
        return self.controller.is_halted and not self._unsent and not self.controller.has_output()

    def is_wished(self, clock_ms: int) -> bool:
        """By a host whose contract fits, and who is not silent."""
        return self.controller.is_wished(self._advance(clock_ms))

    def keep(self, clock_ms: int) -> None:
        """After the outputs are set: write to flash what is worth it. Takes long, and not often."""
        is_live = False
        for port in self.controller.ports:
            is_live = is_live or port.coil
        self.keeper.step(self._advance(clock_ms), is_live)

    def _counts(self) -> "tuple[int, int, int, int]":
        leaps = sum([senses.register.leaps for senses in self._senses])
        return self.overruns, self.keeper.writes, leaps, self.heap_free_b

    def _act(self, i: int, now_ms: int) -> None:
        port, outputs, at = self.controller.ports[i], self.outputs, OUTPUTS_FIRST + OUTPUTS_PER_PORT * i
        outputs[at + DUTY] = duty_of(port.offer_ma)
        outputs[at + COIL] = int(port.coil)
        outputs[at + LOCK] = int(port.lock)
        outputs[at + GF_TEST] = int(port.testing)
        outputs[at + LIGHT] = self.controller.light(i, now_ms)
        register, memory = self._senses[i].register, self.keeper.memory
        if register.register_wh != memory.register_wh[i] or register.energy_wh != memory.energy_wh[i]:
            memory.register_wh[i], memory.energy_wh[i] = register.register_wh, register.energy_wh
            memory.changed = True
        if register.is_news:
            register.is_news = False
            memory.urgent = memory.urgent or memory.changed

    def _advance(self, clock_ms: int) -> int:
        self._now_ms += clock_ms - self._clock_ms & CLOCK_MASK
        self._clock_ms = clock_ms
        return self._now_ms

    def _rebase(self, by_ms: int) -> None:
        self._now_ms -= by_ms
        self._settled_ms -= by_ms
        self.controller.rebase(by_ms)
        self.keeper.rebase(by_ms)
        for senses in self._senses:
            senses.rebase(by_ms)


def begin(outputs: "Numbers") -> None:
    """As a chip that starts: safe, and no bolt moves before pins and host are known."""
    for at in range(OUTPUTS_FIRST, len(outputs), OUTPUTS_PER_PORT):
        outputs[at + LOCK] = HELD
    safe(outputs)


def safe(outputs: "Numbers") -> None:
    """Contactors open, pilots at steady +12 V, no test current. Locks stay: a live contact may still be behind one, and
    without power they stay too. No allocation: it may be called because there is no memory left."""
    at = OUTPUTS_FIRST
    while at < len(outputs):
        outputs[at + DUTY] = STEADY
        outputs[at + COIL] = 0
        outputs[at + GF_TEST] = 0
        at += OUTPUTS_PER_PORT
