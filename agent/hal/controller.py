"""The host's end of the link to the port controller: bytes in, events out, the whole wish with every heartbeat.

Sans-IO: `agent/hal/tty.py` moves the bytes, the simulator hands them over in memory. The core hears of edges at once
and of the meter every few seconds; a lost frame or a rebooted controller heals itself with the next heartbeat.
"""

from collections.abc import Callable
from math import inf

from agent.effects import PortCommand, Stop
from agent.events import ControllerFound, ControllerLost, Cp, Event, PortReported, Report, SelfTest, of_driver
from agent.faults import Fault
from agent.hal.linkhealth import LinkHealth, health_of
from agent.ui.led import Colour, Pattern
from board.controller import contract
from board.controller.link import Deframer, frame

HEARTBEAT_S = contract.HEARTBEAT_MS / 1000
AGAIN_S, AGAINS = 0.02, 2  # a changed wish is said so often again, so soon: noise must not hold it back for a heartbeat
LOST_S = 3.0  # no intact frame for so long: the controller is lost
LIMIT_AGAIN_S = 1.0  # a limit that nobody has answered is told again: noise has eaten it, or the answer
SETTLE_S = 2.0  # so long may a host that has just come be silent about what it finds running
IDLE_S = 0.1  # longer than any frame lasts at 115,200 baud: a gap in it means that its rest is lost
METER_PERIOD_S = 2.0  # the core hears of a merely moving meter this often: somebody may be watching it
CIRCUIT = "CircuitLimit"  # component name
CPS = tuple(Cp)
COLOURS = {
    Colour.RED: contract.RED, Colour.GREEN: contract.GREEN, Colour.BLUE: contract.BLUE,
    Colour.YELLOW: contract.RED | contract.GREEN, Colour.WHITE: contract.RED | contract.GREEN | contract.BLUE,
}  # fmt: skip
SELF_TESTS = (SelfTest.NOT_RUN, SelfTest.RUNNING, SelfTest.PASSED, SelfTest.FAILED)
OFFER = contract.PORT_REPORT[::3].index("offer_ma")
FAULTS = tuple(Fault(name) for name in contract.FAULTS.split())


def report_of(fields: tuple[int, ...]) -> Report:
    """A REPORT's fields, in the order of the contract; bounds were checked when it was unpacked."""
    cp, pwm, contactor, locked, cable_ma, offer_ma, mask, energy_wh, power_w, *rest = fields
    i1, i2, i3, v1, v2, v3, temperature_dc, self_test, retry_in_s, unplugs, closes = rest
    return Report(
        cp=CPS[cp],
        pwm=bool(pwm),
        contactor=bool(contactor),
        locked=bool(locked),
        cable_ma=cable_ma,
        offer_ma=offer_ma,
        faults=frozenset(fault for bit, fault in enumerate(FAULTS) if mask >> bit & 1) if mask else frozenset(),
        energy_wh=energy_wh,
        power_w=power_w,
        current_ma=(i1, i2, i3),
        voltage_mv=(v1, v2, v3),
        temperature_dc=temperature_dc,
        self_test=SELF_TESTS[self_test],
        retry_in_s=retry_in_s,
        unplugs=unplugs,
        closes=closes,
    )


def wish_row(command: PortCommand) -> tuple[int, int, int, int]:
    return command.offer_ma, int(command.stop), int(command.lock), command.clear


def light_row(pattern: Pattern | None) -> tuple[int, int]:
    """As PORT_LIGHT says; None is dark."""
    if pattern is None:
        return 0, 0
    return COLOURS[pattern.colour], contract.rhythm_of(tuple(round(10 * step_s) for step_s in pattern.rhythm_s))


def edges(report: Report) -> tuple[object, ...]:
    """Everything in a report but the meter, the temperature and a countdown; of the power, whether there is any."""
    return (
        report.cp, report.pwm, report.contactor, report.locked, report.cable_ma, report.offer_ma, report.faults,
        report.self_test, report.unplugs, report.closes, report.power_w > 0,
    )  # fmt: skip


def is_edge(old: Report | None, new: Report) -> bool:
    return old is None or edges(old) != edges(new)


class Filter:
    """Lets edges through at once and a moving meter every METER_PERIOD_S, per port; before a meter fails, its newest
    good reading."""

    def __init__(self, port_count: int) -> None:
        self._told: list[tuple[Report | None, float]] = [(None, 0.0)] * port_count
        self._newest: list[Report | None] = [None] * port_count

    def passed(self, index: int, report: Report, now: float) -> list[Event]:
        (old, at), newest = self._told[index], self._newest[index]
        self._newest[index] = report
        if not is_edge(old, report) and (report == old or now < at + METER_PERIOD_S):
            return []
        self._told[index] = (report, now)
        if newest and newest != old and Fault.METER_FAULT in report.faults - newest.faults:
            return [PortReported(index + 1, newest), PortReported(index + 1, report)]
        return [PortReported(index + 1, report)]

    def fresh(self, index: int, now: float) -> Event | None:
        """What was held back: a reading that is about to be stored is to be the newest one."""
        report = self._newest[index]
        if report is None or report == self._told[index][0]:
            return None
        self._told[index] = (report, now)
        return PortReported(index + 1, report)

    def forget(self) -> None:
        self._told = [(None, 0.0)] * len(self._told)
        self._newest = [None] * len(self._newest)


Amend = Callable[[int, Report, float], Report | None]  # port's index, its report, now; None: nothing to tell yet


class ControllerLink:
    """One link, from hello to hello. Silent until negotiated; a refusal is an event with its sentence. `amend` puts in
    what this board reads elsewhere than at the controller.

    A host that has just come (restarted, line mended) knows nothing of sessions that the controller has kept running,
    and its wish would end them. So the first wish waits until every port has been heard, and up to SETTLE_S for the
    core to go on with what is in force there.
    """

    def __init__(
        self, port_count: int, circuit_limit_ma: int, failsafe_ma: int, host_grace_s: int, pins_hash: str = "",
        amend: Amend = lambda index, report, now: report,
    ) -> None:  # fmt: skip
        """`pins_hash` is the board file's (agent/pintable.py); "" is not compared, here or there."""
        self.port_count, self.pins_hash, self._amend = port_count, pins_hash, amend
        # None: never commissions
        self.limit: tuple[int, int, int] | None = (circuit_limit_ma, failsafe_ma, host_grace_s)
        self.commands: tuple[PortCommand, ...] = (PortCommand(),) * port_count
        self.lights: tuple[Pattern | None, ...] | None = None  # None: they are not the controller's
        self.bad_messages = 0  # intact frames that say nothing we understand
        self.health = LinkHealth()
        self.is_halted = False  # the controller is a flasher's, and we are silent until `resume`
        self.halt_refusal = ""  # why it would not halt
        self.firmware: tuple[str, str, bool, bool] | None = None  # version, digest, on trial, fell back; None: not told
        self.deframer = Deframer()
        self._filter = Filter(port_count)
        self._minor: int | None = None
        self.contract: tuple[int, int, int] | None = None  # major, first and last minor that it has said it speaks
        self._boot_id: int | None = None
        self._circuit_ma = 0  # as the controller has it; 0: never commissioned
        self._is_limit_refused = False  # and somebody was told
        self._limit_at: float | None = None  # when it is told again; None: it was answered
        self._unwilling: int | None = None  # boot id of a controller that refused our limits
        self._adopt_until: float | None = None  # the first wish waits at most so long; None: it is out
        self._offers: list[int | None] = [None] * port_count  # in force, as reported since the welcome
        self._received_at = 0.0
        self._seq = 0
        self._heard_at: float | None = None
        self._beat_at = 0.0
        self._lights_at = inf
        self._agains = 0  # still to be said of the newest wish
        self._refusal = ""

    # -- towards the controller

    def wish(self, commands: tuple[PortCommand, ...], now: float) -> bytes:
        """Take the new wish; what lowers or opens goes out with the bytes returned, not with the next beat."""
        assert len(commands) == self.port_count
        if commands == self.commands:
            return b""
        self.commands, self._agains = commands, AGAINS + 1
        return self._beat(now) if self._minor is not None and not self._is_adopting(now) else b""

    def show(self, lights: tuple[Pattern | None, ...], now: float) -> bytes:
        """The lights of the ports, where they are the controller's; from now on half a beat after every wish."""
        assert len(lights) == self.port_count
        if lights == self.lights:
            return b""
        self.lights = lights
        return self._lights() if self._minor is not None and not self._is_adopting(now) else b""

    def halt(self) -> bytes:
        """Ask the controller to make room for a flasher; nothing may be wished then. The answer is `is_halted`, with a
        ControllerLost, or `halt_refusal`. b"": nobody is greeted."""
        self.halt_refusal = ""
        return b"" if self._minor is None else self._frame(contract.pack(contract.HALT, self._minor))

    def resume(self, now: float) -> None:
        """The flasher is done: greet whoever is there."""
        self.is_halted, self._beat_at = False, now

    def poll(self, now: float) -> tuple[bytes, list[Event]]:
        """What is due: a heartbeat or a hello, and the news that nobody answers any more."""
        events: list[Event] = []
        if self.is_halted:
            return b"", events
        if self._heard_at is not None and now >= self._heard_at + LOST_S:
            events.append(self._lost(f"no frame from the port controller for {LOST_S:.0f} s"))
        if now < self._beat_at:
            return self._lights() if now >= self._lights_at else b"", events
        if self._is_adopting(now):
            self._beat_at = now + IDLE_S
            return b"", events
        return self._beat(now) if self._minor is not None else self._hello(now), events

    def next_deadline(self) -> float:
        if self.is_halted:
            return inf
        return min(self._beat_at, self._lights_at, inf if self._heard_at is None else self._heard_at + LOST_S)

    def fresh(self, evse_id: int, now: float) -> Event | None:
        """The newest report of this port, if the core has not heard it yet."""
        return self._filter.fresh(evse_id - 1, now) if self._minor is not None else None

    def commission(self, limits: tuple[int, int, int]) -> bytes:
        """Circuit and failsafe in mA, grace in s, as the installer has confirmed them; answered by a WELCOME with the
        new limit, or refused with a sentence. b"": nobody is greeted, and the next WELCOME is compared."""
        self.limit, self._unwilling = limits, None
        return b"" if self._minor is None else self._told_limit(limits)

    # -- from the controller

    def received(self, data: bytes, now: float) -> tuple[bytes, list[Event]]:
        """Bytes from the line, in any cut. Returns what to answer, and what happened."""
        out, events = b"", []
        frames = self.deframer.idle() if data and now - self._received_at > IDLE_S else []
        self._received_at = now if data else self._received_at
        for _, body in frames + self.deframer.feed(data):
            message = contract.unpack(body)
            if message is None:
                self.bad_messages += 1
                continue
            answer, news = self._understood(message, now)
            out += answer
            events += news
        return out, events

    def disconnected(self) -> list[Event]:
        """The line itself is gone (unplugged, renamed)."""
        self.deframer = Deframer()
        return [self._lost("the port controller's line is gone")] if self._heard_at is not None else []

    def _understood(self, message: tuple[object, ...], now: float) -> tuple[bytes, list[Event]]:
        match message:
            case (contract.WELCOME, int(major), int(first), int(last), str(their_hash), int(boot_id), int(uptime_ms),
                  _, int(ports), int(circuit_ma), str(pins)):  # fmt: skip
                self.contract = major, first, last
                minor, _, sentence = contract.agree(major, first, last, their_hash)
                sentence = sentence or self._other_board(ports, pins)
                if minor is None or sentence:
                    return b"", self._refused(sentence)
                return self._welcomed(minor, boot_id, uptime_ms / 1000, circuit_ma, now)
            case (contract.REPORT, _, int(index), tuple(fields)) if self._minor is not None and index < self.port_count:
                self._heard_at, self._offers[index] = now, fields[OFFER]
                report = self._amend(index, report_of(fields), now)
                return b"", self._filter.passed(index, report, now) if report else []
            case (contract.COUNTERS, tuple(rows)) if self._minor is not None:
                told = self.health.counted((count for (count,) in rows), self.deframer, self.bad_messages, now)
                return b"", [told] if told else []
            case (contract.FIRMWARE, str(version), str(digest), int(on_trial), int(fell_back)):
                self.firmware = version, digest, bool(on_trial), bool(fell_back)
                return b"", []
            case (contract.HALTED, minor) if minor == self._minor:
                self.is_halted = True
                return b"", [self._lost("it was halted, to be flashed")]
            case (contract.REFUSED, contract.HALT_REFUSED, str(text)):
                self.halt_refusal = text
                return b"", []
            case (contract.REFUSED, int(code), str(text)):
                if code != contract.LIMIT_REFUSED:
                    self._minor = None
                    return b"", self._refused(text)
                self._unwilling, self._limit_at = self._boot_id, None
                self._is_limit_refused = True
                if self._circuit_ma:  # it goes on with its own; the sum of our offers is the smaller one's anyway
                    return b"", [of_driver(CIRCUIT, text, "limit")]
                self._minor = None
                return b"", self._refused(text)
        self.bad_messages += 1
        return b"", []

    def _other_board(self, ports: int, pins_hash: str) -> str:
        """Why it is not the controller of our board file; "" if it is."""
        if ports != self.port_count:
            return f"it has {ports} ports, the board file {self.port_count}: name its own board file with --board"
        if pins_hash and self.pins_hash and pins_hash != self.pins_hash:
            fix = "flash the controller: tools/flash.py, or name its own board file with --board"
            return f"its pin table is {pins_hash}, the board file's {self.pins_hash}: {fix}"
        return ""

    def _welcomed(
        self, minor: int, boot_id: int, uptime_s: float, circuit_ma: int, now: float
    ) -> tuple[bytes, list[Event]]:
        is_unwilling = boot_id == self._unwilling
        if is_unwilling and not circuit_ma:
            return b"", []  # it has said why; it offers nothing, and would refuse the same limits again
        if self._minor is None:
            self._adopt_until, self._offers = now + SETTLE_S, [None] * self.port_count
        self._minor, self._heard_at, self._refusal = minor, now, ""
        self.health.booted(is_new=boot_id != self._boot_id)
        if boot_id != self._boot_id:
            self._filter.forget()
        if boot_id != self._boot_id or (self.limit and circuit_ma == self.limit[0]):
            self._limit_at = None  # answered; or it was told another one, which is judged by what it holds
        self._boot_id, self._circuit_ma = boot_id, circuit_ma
        self._beat_at = now
        if self.limit is None:
            return b"", [ControllerFound(boot_id, uptime_s, circuit_ma)]
        found = ControllerFound(boot_id, uptime_s, min(circuit_ma, self.limit[0]) if circuit_ma else self.limit[0])
        if is_unwilling or 0 < circuit_ma <= self.limit[0]:
            return b"", [found, *self._limit_taken(circuit_ma)]
        # At commissioning; and when the circuit was made smaller: without us, too, the ports must fit it.
        return self._told_limit(self.limit), [found]

    def _limit_taken(self, circuit_ma: int) -> list[Event]:
        """What was refused before is in force now."""
        if not self._is_limit_refused or self.limit is None or circuit_ma != self.limit[0]:
            return []
        self._is_limit_refused = False
        return [of_driver(CIRCUIT, "", "limit")]

    def _is_adopting(self, now: float) -> bool:
        """Whether the core may not know yet what our wish would end."""
        if self._adopt_until is None:
            return False
        ports = zip(self._offers, self.commands, strict=True)
        ends = any(offer and not command.offer_ma and command.stop is not Stop.NOW for offer, command in ports)
        if now >= self._adopt_until or not (ends or None in self._offers):
            self._adopt_until = None
        return self._adopt_until is not None

    def _refused(self, sentence: str) -> list[Event]:
        """Said once per reason: the hello is repeated, the news is not."""
        if sentence == self._refusal:
            return []
        self._refusal = sentence
        return [self._lost(sentence)]

    def _lost(self, why: str) -> Event:
        self._minor, self._heard_at, self._adopt_until, self._limit_at = None, None, None, None
        self._filter.forget()
        return ControllerLost(why)

    def _hello(self, now: float) -> bytes:
        self._beat_at = now + HEARTBEAT_S
        return self._frame(contract.pack(
            contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH
        ))  # fmt: skip

    def _beat(self, now: float) -> bytes:
        assert self._minor is not None
        self._agains = max(0, self._agains - 1)
        self._beat_at = now + (AGAIN_S if self._agains else HEARTBEAT_S)
        rows = tuple(wish_row(command) for command in self.commands)
        self._lights_at = inf if self.lights is None else now + HEARTBEAT_S / 2
        return self._limit_again(now) + self._frame(contract.pack(contract.WISH, self._minor, rows))

    def _told_limit(self, limits: tuple[int, int, int]) -> bytes:
        self._limit_at = inf  # the next beat knows when that was
        return self._frame(contract.pack(contract.LIMIT, *limits))

    def _limit_again(self, now: float) -> bytes:
        """With a beat. What is told twice is stored once."""
        if self._limit_at is None or self.limit is None:
            return b""
        is_due, self._limit_at = now >= self._limit_at, min(self._limit_at, now + LIMIT_AGAIN_S)
        if not is_due:
            return b""
        self._limit_at = now + LIMIT_AGAIN_S
        return self._frame(contract.pack(contract.LIMIT, *self.limit))

    def _lights(self) -> bytes:
        """Between two wishes: both in one turn are much for a small controller."""
        self._lights_at = inf
        if self.lights is None or self._minor is None:
            return b""
        rows = tuple(light_row(light) for light in self.lights)
        return self._frame(contract.pack(contract.LIGHTS, self._minor, rows))

    def counters(self) -> dict[str, dict[str, int]]:
        """For `station-agent status`."""
        return health_of(self.deframer, self.bad_messages, self.health)

    def _frame(self, body: bytes) -> bytes:
        self._seq = (self._seq + 1) & 0xFF
        return frame(self._seq, body)


assert (Stop.NONE, Stop.ORDERLY, Stop.NOW) == (contract.STOP_NONE, contract.STOP_ORDERLY, contract.STOP_NOW)
