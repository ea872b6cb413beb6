"""The port controller: its ports, the host's link, and the circuit they share. Pure; MicroPython subset.

Firmware: `receive` what came, fill the pins, `step` every 10 ms, set the outputs of each port, `speak`, send
`transmit()`. What is received and said allocates memory, and may find none; a step allocates nothing.
"""

from board.controller import contract
from board.controller.app.interlock import share
from board.controller.app.light import OUT_OF_SERVICE, STARTING, is_lit
from board.controller.app.memory import Memory
from board.controller.app.port import FRESH, GONE, LATCHES, SILENT, UNTIL_POWER_CYCLE, Pins, Port, PortBoard
from board.controller.contract import COUNTERS_MS, HEARTBEAT_MS, HOST_SILENT_MS
from board.controller.link import Deframer, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LINE_IDLE_MS = 100  # longer than any frame lasts at 115,200 baud: a gap in it means that its rest is lost
OUT_MAX_BYTES = 512  # the line is slower than we speak: newer reports replace what is dropped
FRAMES_MAX = 4  # in one turn, the newest: each takes its time, and a host that floods must not take that of the ports
TIRED = "the flash was written too often lately, or takes nothing: ask again in ten seconds"
EDGES = (0, 1, 2, 3, 4, 5, 6, 16, 18)  # of a report: states and faults; what is measured waits for its 500 ms


class Controller:
    """`memory` survives resets; a controller that was never commissioned offers nothing. `save(now_ms)` writes it to
    flash before LIMIT is answered; False: written too often lately. `counts` are the last four of COUNTERS."""

    def __init__(
        self,
        boards: "tuple[PortBoard, ...]",
        memory: Memory,
        boot_id: int,
        reset_cause: int = contract.RESET_POWER_ON,
        circuit_max_ma: int = 80_000,  # what the board itself can carry; no commissioning goes above it
        now_ms: int = 0,
        save: "Callable[[int], bool]" = lambda now_ms: True,
        pins_hash: str = "",
        counts: "Callable[[], tuple[int, int, int, int]]" = lambda: (0, 0, 0, 0),
    ) -> None:
        count = len(boards)
        assert 1 <= count <= contract.PORTS_MAX and len(memory.closes) == count
        kept = LATCHES & ~UNTIL_POWER_CYCLE if reset_cause == contract.RESET_POWER_ON else LATCHES
        self.ports = [
            Port(boards[i], memory.closes[i], memory.latched[i] & kept, memory.retries[i], now_ms) for i in range(count)
        ]
        self.boot_id = boot_id
        self.minor: int | None = None  # agreed with the host; None: not yet
        self.bad_messages = 0  # intact frames that make no sense
        self.dropped_frames = self.dropped_reports = 0
        self.is_halted = False  # to be flashed: hears nothing any more
        self.deframer = Deframer()
        self._memory = memory
        self._counts = counts
        self._lights: list[tuple[int, int]] = [STARTING] * count
        self._is_alone = False  # the host is gone
        self._save = save
        self._reset_cause = reset_cause
        self._pins_hash = pins_hash
        self._circuit_max_ma = circuit_max_ma
        self._booted_ms = now_ms
        self._heard_ms: int | None = None  # the last WISH
        self._received_ms = now_ms
        self._seq = 0
        self._out = b""
        self._asked, self._in_force, self._claims, self._granted = [0] * count, [0] * count, [0] * count, [0] * count
        self._row = [0] * (len(contract.PORT_REPORT) // 3)  # of whichever port is looked at
        self._reported = [[-1] * len(EDGES) for _ in range(count)]  # what of the last report tells a change
        self._report_due_ms = [now_ms] * count
        self._counters_due_ms = now_ms

    @property
    def circuit_limit_ma(self) -> int:
        return min(self._memory.circuit_limit_ma, self._circuit_max_ma)

    def uptime_ms(self, now_ms: int) -> int:
        return now_ms - self._booted_ms

    # -- the host's side --------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the line, in any cut. What makes no sense is counted and changes nothing."""
        frames = self.deframer.idle() if now_ms - self._received_ms > LINE_IDLE_MS else []
        self._received_ms = now_ms
        frames += self.deframer.feed(data)
        self.dropped_frames += max(0, len(frames) - FRAMES_MAX)
        for _, body in frames[-FRAMES_MAX:]:
            message = contract.unpack(body)
            if self.is_halted:
                pass
            elif message is None or message[0] > contract.HALT:
                self.bad_messages += 1
            elif message[0] == contract.HELLO:
                self._hello(message, now_ms)
            elif self.minor is None or (message[0] != contract.LIMIT and message[1] != self.minor):
                self._refuse(contract.HELLO_FIRST, "say HELLO first: this controller was reset, or never greeted")
            elif message[0] == contract.WISH:
                self.wish(message[2], now_ms)
            elif message[0] == contract.LIGHTS:
                self.show(message[2])
            elif message[0] == contract.HALT:
                self.halt(now_ms)
            else:
                self.limit(message[1], message[2], message[3], now_ms)

    def has_output(self) -> bool:
        return len(self._out) > 0

    def transmit(self) -> bytes:
        """Bytes for the line, once."""
        out, self._out = self._out, b""
        return out

    def welcome(self, now_ms: int) -> "tuple[Any, ...]":
        return (
            contract.WELCOME,
            contract.MAJOR,
            contract.MINOR_FIRST,
            contract.MINOR_LAST,
            contract.HASH,
            self.boot_id,
            self.uptime_ms(now_ms),
            self._reset_cause,
            len(self.ports),
            self.circuit_limit_ma,
            self._pins_hash,
        )

    def wish(self, rows: "tuple[tuple[int, int, int, int], ...]", now_ms: int) -> bool:
        """The host's wish, `(offer_ma, stop, lock, clear)` for each port; False if there are not as many ports."""
        if len(rows) != len(self.ports):
            text = "here are %d ports, the wish is for %d: check the board file" % (len(self.ports), len(rows))
            self._refuse(contract.WRONG_PORT_COUNT, text)
            return False
        self.heard(now_ms)
        for i in range(len(rows)):
            self.ports[i].wish(*rows[i])
        return True

    def show(self, rows: "tuple[tuple[int, int], ...]") -> None:
        """The ports' lights; those of ports that are not here are nobody's."""
        for i in range(min(len(rows), len(self.ports))):
            self._lights[i] = rows[i]

    def light(self, index: int, now_ms: int) -> int:
        """The colours that are on now."""
        colours, rhythm = OUT_OF_SERVICE if self._is_alone else self._lights[index]
        return colours if is_lit(rhythm, now_ms) else 0

    def heard(self, now_ms: int) -> None:
        """The host is alive. A future time keeps it alive until then: for a simulator that sends no heartbeats."""
        self._heard_ms = now_ms

    def limit(self, circuit_ma: int, failsafe_ma: int, host_grace_s: int, now_ms: int) -> bool:
        """Commission; answered by a WELCOME with the new limit. Raised only while nothing is offered or closed, so that
        a host gone wild cannot do it in mid-session, and never above what the board can carry."""
        memory = self._memory
        limits = (circuit_ma, failsafe_ma, host_grace_s)
        before = (memory.circuit_limit_ma, memory.failsafe_ma, memory.host_grace_s)
        raised = circuit_ma > self.circuit_limit_ma or failsafe_ma > memory.failsafe_ma
        if circuit_ma > self._circuit_max_ma:
            text = "this board carries %d mA: set a circuit limit up to that" % self._circuit_max_ma
        elif failsafe_ma * len(self.ports) > circuit_ma:
            text = "all ports' failsafe must fit the circuit: set at most %d mA" % (circuit_ma // len(self.ports))
        elif raised and [port for port in self.ports if port.offer_ma or port.coil]:
            text = "a port is in use: raise the circuit limit when all are idle"
        else:
            memory.circuit_limit_ma, memory.failsafe_ma, memory.host_grace_s = limits
            if limits == before or self._save(now_ms):
                self._send(*self.welcome(now_ms))
                return True
            memory.circuit_limit_ma, memory.failsafe_ma, memory.host_grace_s = before
            text = TIRED
        self._refuse(contract.LIMIT_REFUSED, text)
        return False

    def halt(self, now_ms: int) -> bool:
        """Before it is flashed. A host that wants it stops all ports first and waits until they are open: whatever is
        running is not ended here. What memory has is written before it is answered."""
        memory = self._memory
        if [port for port in self.ports if port.is_allowed() or port.offer_ma or port.coil]:
            text = "a port is in use: stop all ports, wait until they are open, and ask again"
        elif (memory.urgent or memory.changed) and not self._save(now_ms):
            text = TIRED
        else:
            self.is_halted = True
            self._send(contract.HALTED, self.minor)
            return True
        self._refuse(contract.HALT_REFUSED, text)
        return False

    def _hello(self, message: "tuple[Any, ...]", now_ms: int) -> None:
        self.minor, code, text = contract.agree(*message[1:])
        if self.minor is None:
            self._refuse(code, text)
            return
        self._send(*self.welcome(now_ms))
        self._tell_image()
        self._counters_due_ms = now_ms
        for edges in self._reported:
            edges[0] = -1

    def proven(self) -> None:
        """The image's trial is over, and it stays."""
        image = self._memory.image
        if image is not None and image[2]:
            self._memory.image = image[0], image[1], 0, image[3]
            self._tell_image()

    def _tell_image(self) -> None:
        image = self._memory.image
        if image is not None and self.minor is not None and self.minor >= 3:
            self._send(contract.FIRMWARE, *image)

    def _refuse(self, code: int, text: str) -> None:
        self._send(contract.REFUSED, code, text)

    def _send(self, *message: "Any") -> None:
        if len(self._out) > OUT_MAX_BYTES:
            self.dropped_reports += 1
            return
        self._out += frame(self._seq, contract.pack(*message))
        self._seq = (self._seq + 1) & 0xFF

    # -- the ports' side --------------------------------------------------------------------------------------------

    def step(self, now_ms: int, pins: "list[Pins]") -> None:
        """Every 10 ms, or when a pin changes or `next_due_ms` comes. Read the outputs of `ports` afterwards."""
        host = self._host(now_ms)
        ports = self.ports
        self._is_alone = host == GONE
        for i in range(len(ports)):
            self._asked[i] = ports[i].asks(now_ms, pins[i], host, self._memory.failsafe_ma)
            self._in_force[i] = ports[i].offer_ma
            self._claims[i] = ports[i].claim_ma()
        share(self._asked, self._in_force, self._claims, self.circuit_limit_ma, self._granted)
        for i in range(len(ports)):
            ports[i].drive(now_ms, pins[i], host, self._granted[i])
            self._remember(i)

    def report(self, index: int, now_ms: int, pins: Pins) -> "tuple[int, ...]":
        """One port as `PORT_REPORT` says."""
        return tuple(self._fill_row(index, now_ms, pins))

    def _fill_row(self, index: int, now_ms: int, pins: Pins) -> "list[int]":
        port, row = self.ports[index], self._row
        row[0] = pins.cp
        row[1] = int(port.offer_ma > 0)
        row[2] = int(pins.contactor)
        row[3] = int(pins.locked)
        row[4] = pins.cable_ma if port.board.socketed else port.board.max_ma
        row[5] = port.offer_ma
        row[6] = port.faults
        row[7] = pins.energy_wh
        row[8] = pins.power_w
        for i in range(3):
            row[9 + i] = pins.current_ma[i]
            row[12 + i] = pins.voltage_mv[i]
        row[15] = pins.temperature_dc
        row[16] = port.self_test
        row[17] = port.retry_in_s(now_ms)
        row[18] = port.unplugs
        row[19] = port.closes
        return row

    def _remember(self, i: int) -> None:
        port, memory = self.ports[i], self._memory
        latched = port.faults & LATCHES
        if port.closes != memory.closes[i]:
            memory.closes[i] = port.closes
            memory.changed = True
        if latched != memory.latched[i] or port.retries != memory.retries[i]:
            memory.latched[i], memory.retries[i] = latched, port.retries
            memory.urgent = True

    def rebase(self, by_ms: int) -> None:
        """The clock goes back by so much; uptime goes on."""
        for i in range(len(self.ports)):
            self.ports[i].rebase(by_ms)
            self._report_due_ms[i] = max(0, self._report_due_ms[i] - by_ms)
        self._counters_due_ms = max(0, self._counters_due_ms - by_ms)
        self._booted_ms -= by_ms
        self._received_ms = max(-LINE_IDLE_MS - 1, self._received_ms - by_ms)
        if self._heard_ms is not None:
            self._heard_ms -= by_ms
            if self._host(0) == GONE:
                self._heard_ms = None

    def next_due_ms(self, now_ms: int) -> "int | None":
        """When the next step must come if no pin changes and nothing is received before."""
        dues = [port.due_ms for port in self.ports if port.due_ms is not None]
        heard_ms = self._booted_ms if self._heard_ms is None else self._heard_ms
        limits = (heard_ms + HOST_SILENT_MS, heard_ms + self._grace_ms())
        dues += [due for due in limits if due > now_ms]
        if self.minor is not None:
            dues += self._report_due_ms
            dues.append(self._counters_due_ms)
        return max(now_ms, min(dues)) if dues else None

    def _host(self, now_ms: int) -> int:
        """A host that has not come since the boot is silent, and gone after its grace: nothing starts without it."""
        silent_ms = now_ms - (self._booted_ms if self._heard_ms is None else self._heard_ms)
        if silent_ms >= self._grace_ms():
            return GONE
        return SILENT if self._heard_ms is None or silent_ms >= HOST_SILENT_MS else FRESH

    def is_wished(self, now_ms: int) -> bool:
        return self._host(now_ms) == FRESH

    def _grace_ms(self) -> int:
        return max(HOST_SILENT_MS, self._memory.host_grace_s * 1000)

    def speak(self, now_ms: int, pins: "list[Pins]") -> None:
        """After the step: the reports that are due. At most one at a time, or four at once would take too long."""
        sent = self.minor is None
        for i in range(len(self.ports)):
            row = self._fill_row(i, now_ms, pins[i])
            if self._is_edge(i, row):
                self._report_due_ms[i] = now_ms
            if now_ms >= self._report_due_ms[i] and not sent:
                sent = True
                self._report_due_ms[i] = now_ms + HEARTBEAT_MS
                self._send(contract.REPORT, self.uptime_ms(now_ms), i, contract.clamped(contract.PORT_REPORT, row))
                for k in range(len(EDGES)):
                    self._reported[i][k] = row[EDGES[k]]
        if not sent and now_ms >= self._counters_due_ms:
            self._send_counters(now_ms)

    def _send_counters(self, now_ms: int) -> None:
        self._counters_due_ms = now_ms + COUNTERS_MS
        ear = self.deframer
        dropped = self.dropped_frames + self.dropped_reports
        row = (ear.noise_bytes, ear.crc_errors, ear.gaps, self.bad_messages, dropped) + self._counts()
        self._send(contract.COUNTERS, tuple([(min(count, contract.UINT32),) for count in row]))

    def _is_edge(self, index: int, row: "list[int]") -> bool:
        reported = self._reported[index]
        for k in range(len(EDGES)):
            if row[EDGES[k]] != reported[k]:
                return True
        return False
