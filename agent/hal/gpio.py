"""Relays and inputs on Linux GPIO, through the kernel's character device (libgpiod v2).

What the kernel does: a line belongs to the process that requested it, and is freed when that process ends, however it
ends. Its level is then the chip driver's own business: most leave it as it was, some make it an input. So a level is
safe only if somebody makes it so: `close` does on every orderly end and on an exception, `make_safe` after a kill
(systemd runs ExecStopPost= even then), and when Linux itself is dead, only a resistor or a watchdog in hardware.
Therefore a power contactor here is refused, unless the board names the hardware that opens it without Linux.

The lines stand behind `Chips` and `Line`; agent/sim/gpio.py has some that bounce, vanish and refuse. They are read and
set on the loop's thread: microseconds on a chip of the processor, a millisecond on an I2C expander.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from msgspec import Meta, Struct

from agent.events import KeyPressed, PortChosen
from agent.hal.device import Name, Post, Presence, Watch, bring, sentence
from agent.settings import ConfigError, FilePath

CHECK_S = 1.0  # each line is read so often, whatever its edges said
QUIET_S = 0.1  # after an edge a line is left alone so long: what bounces or oscillates is read ten times a second
FOLLOW_S = 0.5  # a relay's feedback is there by then
EDGES_MAX = 16  # taken at once; the kernel keeps as many for each line and drops the oldest

CLOUDS_OUTPUTS = ("enclosure_lock", "auxiliary")  # roles that the cloud sets

Chip = FilePath  # "/dev/gpiochip0", or better its label ("pinctrl-bcm2711"): numbers change with the kernel
LineOffset = Annotated[int, Meta(ge=0, le=1_023)]
Evidence = Annotated[str, Meta(max_length=200)]


class OutputFacts(Struct, frozen=True):
    """[[output]]: one line that we drive. Values are logical: true = on, whatever `active_low` makes of it.

    Fan, light and error LED follow the station, `enclosure_lock` and `auxiliary` the cloud. A connector's lock is none
    of them: it belongs to what it guards against, and is the port controller's ([port.pins] lock).
    """

    name: Name
    role: Literal["fan", "light", "error", "enclosure_lock", "auxiliary", "modem", "contactor"]
    chip: Chip
    line: LineOffset
    active_low: bool = False
    drive: Literal["push_pull", "open_drain", "open_source"] = "push_pull"
    safe: bool = False  # its value from the start until somebody wishes, and at the end
    feedback: Annotated[str, Meta(max_length=32)] = ""  # the [[input]] that follows it
    dropped_by: Evidence = ""  # a contactor's: what opens it when Linux hangs

    def __post_init__(self) -> None:
        if self.role == "contactor" and not self.dropped_by.strip():
            raise ValueError(
                f"{self.name} is a power contactor on a GPIO of Linux, which can hang with it closed: leave it to the"
                ' port controller, or name the hardware that opens it without Linux, dropped_by = "…"'
            )
        if self.role == "contactor" and self.safe:
            raise ValueError(f"{self.name}: a contactor that is closed when nobody asks is not safe: type safe = false")
        if self.role != "contactor" and self.dropped_by:
            raise ValueError(f'{self.name}: dropped_by belongs to role = "contactor": remove it')


class InputFacts(Struct, frozen=True):
    """[[input]]: one line that we read. An emergency stop here is a report; the stop itself is in the coil's circuit.

    Wire tamper and emergency stop so that a broken wire reads as active: a closed contact to ground, `bias` pull_up.
    `service` is a key inside the enclosure: held, it opens the service menu. A broken wire must not: an open contact.
    """

    name: Name
    role: Literal["tamper", "emergency_stop", "button", "key", "service", "feedback", "auxiliary"]
    chip: Chip
    line: LineOffset
    active_low: bool = False
    bias: Literal["as_is", "disabled", "pull_up", "pull_down"] = "as_is"
    debounce_ms: Annotated[int, Meta(ge=0, le=1_000)] = 20
    poll_ms: Annotated[int, Meta(ge=0, le=1_000)] = 0  # 0: edges by interrupt; else a chip without: read so often
    evse_id: Annotated[int, Meta(ge=0, le=4)] = 0  # a button's port
    key: Annotated[int, Meta(ge=0, le=4)] = 0  # which of the four at the display's lower edge, from the left

    def __post_init__(self) -> None:
        if (self.role == "button") != bool(self.evse_id):
            raise ValueError(f'{self.name}: type evse_id = 1 or more exactly where role = "button"')
        if (self.role == "key") != bool(self.key):
            raise ValueError(f'{self.name}: type key = 1, 2, 3 or 4 exactly where role = "key"')
        if 0 < self.poll_ms < 10:
            raise ValueError(f"{self.name}: poll_ms = {self.poll_ms} keeps a processor busy: type 0, or 10 to 1000")


def check_lines(outputs: Iterable[OutputFacts], inputs: Iterable[InputFacts]) -> None:
    """What the lines of one board must agree on. ValueError, as a Struct's __post_init__ raises it."""
    outputs, inputs = tuple(outputs), tuple(inputs)
    both: list[OutputFacts | InputFacts] = [*outputs, *inputs]
    names, lines = [each.name for each in both], [(each.chip, each.line) for each in both]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two lines are named {min(twice)}: name each once")
    if shared := {line for line in lines if lines.count(line) > 1}:
        users = " and ".join(each.name for each in both if (each.chip, each.line) == min(shared))
        raise ValueError(f"line {min(shared)[1]} of {min(shared)[0]} is used twice, by {users}: give each its own")
    followers = {each.name for each in inputs if each.role == "feedback"}
    for output in outputs:
        if output.feedback and output.feedback not in followers:
            raise ValueError(f'{output.name}: no [[input]] with role = "feedback" is named {output.feedback}')


PRESSED = ("button", "key")  # roles of what a person presses: the press counts, not how long it lasts


@dataclass(frozen=True, slots=True)
class InputChanged:
    """An input that nobody presses has another value, or its first one."""

    name: str
    role: str
    active: bool


# -- the seam -----------------------------------------------------------------------------------------------------


class Line(Protocol):
    """One requested line. All but `release` raise OSError when the chip is gone; values are logical."""

    @property
    def fd(self) -> int: ...  # readable when there are edges
    def get(self) -> bool: ...
    def set(self, active: bool) -> None: ...
    def edges(self) -> list[bool]: ...  # since the last call, the values after them; never waits
    def release(self) -> None: ...


class Chips(Protocol):
    """Requests lines: an output at its safe value, at once and without a pulse. OSError."""

    def output(self, facts: OutputFacts) -> Line: ...
    def input(self, facts: InputFacts) -> Line: ...


# -- outputs --------------------------------------------------------------------------------------------------------


class Output:
    """One output. It is kept at the wished value: read back after each change and every CHECK_S, and set again when
    its chip was gone."""

    def __init__(self, facts: OutputFacts, chips: Chips, post: Post) -> None:
        self.facts, self.wished = facts, facts.safe
        self.presence = Presence(f"output {facts.name}", post)
        self._chips = chips
        self._line: Line | None = None
        self._takes = False  # its value, when last looked at
        self._check_at = -inf
        self._differs_since = inf  # its feedback from it

    def set(self, active: bool, now: float) -> bool:
        """Whether the line is at this value now; if not, it is tried again."""
        if active != self.wished:
            self.wished, self._differs_since = active, inf
        self._apply(now)
        return self._takes

    def due(self, now: float, feedback: bool | None = None) -> None:
        """`feedback`: what the input that follows it says; None is unknown, and proves nothing."""
        if self._line is None and now >= self.presence.retry_at:
            self._open(now)
        if now >= self._check_at:
            self._apply(now)
        if self._takes and self._follows(feedback, now):
            self.presence.worked(now)

    def next_deadline(self) -> float:
        if self._line is None:
            return self.presence.retry_at
        return self._check_at if self.presence.why else min(self._check_at, self._differs_since + FOLLOW_S)

    def close(self) -> None:
        """At its safe value, then given back."""
        self.wished = self.facts.safe
        if self._line is not None:
            with suppress(OSError):  # gone: nothing of ours drives it any more
                self._line.set(self.facts.safe)
            self._release()

    def _open(self, now: float) -> None:
        try:
            self._line = self._chips.output(self.facts)
        except OSError as error:
            self.presence.failed(said(error, self.facts), now)
        self._check_at = now

    def _apply(self, now: float) -> None:
        if self._line is None:
            return None
        self._check_at = now + CHECK_S
        try:
            if self._line.get() != self.wished:
                self._line.set(self.wished)
            self._takes = self._line.get() == self.wished
        except OSError as error:
            self._release()
            return self.presence.failed(said(error, self.facts), now)
        if not self._takes:
            return self.presence.failed(f"{where(self.facts)} does not take its value: look for a short there", now)

    def _follows(self, feedback: bool | None, now: float) -> bool:
        if feedback is None or feedback == self.wished:
            self._differs_since = inf
            return True
        self._differs_since = min(self._differs_since, now)
        if now < self._differs_since + FOLLOW_S:
            return True
        on, off = ("on", "off") if self.wished else ("off", "on")
        why = f"{self.facts.name} is switched {on} and {self.facts.feedback} says {off}: check relay, fuse and wiring"
        self.presence.failed(why, now)
        return False

    def _release(self) -> None:
        assert self._line
        self._line.release()
        self._line, self._takes = None, False


def make_safe(outputs: Iterable[OutputFacts], chips: Chips) -> list[str]:
    """Each output at its safe value, for once, after a process that could not do it; sentences about those that could
    not be."""
    problems = []
    for facts in outputs:
        try:
            chips.output(facts).release()
        except OSError as error:
            problems.append(said(error, facts))
    return problems


# -- inputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Debounced:
    """A level that is read from time to time, for chips without interrupts; with them the kernel debounces."""

    value: bool
    raw: bool
    since: float  # that `raw` is what it is


def debounced(was: Debounced | None, raw: bool, now: float, period_s: float) -> Debounced:
    """A level counts when it was read the same for `period_s`; the very first counts at once."""
    if was is None:
        return Debounced(raw, raw, now)
    since = was.since if raw == was.raw else now
    return Debounced(raw if now - since >= period_s else was.value, raw, since)


class Input:
    """One input. `active` is its value as last told, None while unknown. What counts is the level; of the edges only
    that there was one, so a lost edge costs at most CHECK_S and a short press of a button is still seen."""

    def __init__(self, facts: InputFacts, chips: Chips, watch: Watch, post: Post, now: Callable[[], float]) -> None:
        self.facts = facts
        self.active: bool | None = False if facts.role in PRESSED else None
        self.presence = Presence(f"input {facts.name}", post)
        self._chips, self._watch, self._post, self._now = chips, watch, post, now
        self._line: Line | None = None
        self._level: Debounced | None = None
        self._look_at = -inf
        self._is_watched = False

    def due(self, now: float) -> None:
        if self._line is None and now >= self.presence.retry_at:
            self._open(now)
        if self._line is not None and now >= self._look_at:
            self._look(now)

    def next_deadline(self) -> float:
        return self.presence.retry_at if self._line is None else self._look_at

    def close(self) -> None:
        if self._line is not None:
            self._unwatch()
            self._line.release()
            self._line = None

    def _open(self, now: float) -> None:
        try:
            self._line = self._chips.input(self.facts)
        except OSError as error:
            return self.presence.failed(said(error, self.facts), now)
        self._level, self._look_at = None, now

    def _readable(self) -> None:
        now = self._now()
        self._look(now)
        self._unwatch()
        self._look_at = min(self._look_at, now + QUIET_S)

    def _look(self, now: float) -> None:
        assert self._line
        try:
            risen, value = any(self._line.edges()), self._line.get()
        except OSError as error:
            self.close()
            self.active = False if self.facts.role in PRESSED else None
            return self.presence.failed(said(error, self.facts), now)
        self.presence.worked(now)
        period_s = self.facts.debounce_ms / 1000 if self.facts.poll_ms else 0.0
        first, self._level = self._level is None, debounced(self._level, value, now, period_s)
        self._look_at = now + (self.facts.poll_ms / 1000 or CHECK_S)
        if not self.facts.poll_ms and not self._is_watched:
            self._watch.add_reader(self._line.fd, self._readable)
            self._is_watched = True
        self._tell(self._level.value, risen=risen, first=first)

    def _tell(self, value: bool, *, risen: bool, first: bool) -> None:
        was, self.active = self.active, value
        if self.facts.role in PRESSED:
            if not first and (risen or (value and not was)):  # held since the start is stuck, not pressed
                self._post(KeyPressed(self.facts.key) if self.facts.key else PortChosen(self.facts.evse_id))
        elif value != was:
            self._post(InputChanged(self.facts.name, self.facts.role, value))

    def _unwatch(self) -> None:
        if self._is_watched and self._line is not None:
            self._watch.remove_reader(self._line.fd)
        self._is_watched = False


# -- all of a board ---------------------------------------------------------------------------------------------------


class Gpio:
    """The lines of a board."""

    def __init__(
        self, outputs: Iterable[OutputFacts], inputs: Iterable[InputFacts], chips: Chips, watch: Watch, post: Post,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.outputs = {each.name: Output(each, chips, post) for each in outputs}
        self.inputs = {each.name: Input(each, chips, watch, post, now) for each in inputs}
        self._all: list[Output | Input] = [*self.outputs.values(), *self.inputs.values()]

    def set(self, name: str, active: bool, now: float) -> bool:
        """Whether the output took it; if not, it is tried again, and a DeviceFailed has said why."""
        return self.outputs[name].set(active, now)

    def wish(self, values: Mapping[str, bool], now: float) -> None:
        """Some or all outputs, as often as you like."""
        for name, active in values.items():
            self.set(name, active, now)

    def due(self, now: float) -> None:
        for each in self.inputs.values():
            each.due(now)
        for output in self.outputs.values():
            follower = self.inputs.get(output.facts.feedback)
            output.due(now, follower.active if follower else None)

    def next_deadline(self) -> float:
        return min((each.next_deadline() for each in self._all), default=inf)

    def close(self) -> None:
        for each in self._all:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def where(facts: OutputFacts | InputFacts) -> str:
    return f"line {facts.line} of {facts.chip} ({facts.name})"


def said(error: OSError, facts: OutputFacts | InputFacts) -> str:
    return sentence(error, where(facts), "type usermod -aG gpio station-agent")


# -- the real thing ---------------------------------------------------------------------------------------------------


class Gpiod:
    """Chips of this machine through libgpiod v2. ConfigError where that is not installed."""

    def __init__(self) -> None:
        try:
            import gpiod
        except ImportError:
            raise ConfigError(f"this board has GPIO lines: type {bring('device')}") from None
        self._gpiod = gpiod

    def output(self, facts: OutputFacts) -> Line:
        line = self._gpiod.line
        settings = self._gpiod.LineSettings(
            direction=line.Direction.OUTPUT, drive=line.Drive[facts.drive.upper()], active_low=facts.active_low,
            output_value=line.Value(facts.safe),
        )  # fmt: skip
        return self._request(facts, settings)

    def input(self, facts: InputFacts) -> Line:
        line = self._gpiod.line
        settings = self._gpiod.LineSettings(
            direction=line.Direction.INPUT, bias=line.Bias[facts.bias.upper()], active_low=facts.active_low
        )
        if not facts.poll_ms:  # the kernel debounces by interrupts too
            settings.edge_detection = line.Edge.BOTH
            settings.debounce_period = timedelta(milliseconds=facts.debounce_ms)
        return self._request(facts, settings)

    def _request(self, facts: OutputFacts | InputFacts, settings: Any) -> Line:
        consumer = f"station-agent {facts.name}"[:31]  # the kernel keeps no more
        with oserrors(), self._gpiod.Chip(self._path(facts.chip)) as chip:
            return GpiodLine(self._gpiod, chip.request_lines({facts.line: settings}, consumer), facts.line)

    def _path(self, chip: str) -> str:
        if chip.startswith("/"):
            return chip
        for path in map(str, sorted(Path("/dev").glob("gpiochip*"))):
            with suppress(OSError), self._gpiod.Chip(path) as found:
                if found.get_info().label == chip:
                    return path
        raise FileNotFoundError(errno.ENOENT, "no GPIO chip has this label", chip)


@contextmanager
def oserrors() -> Iterator[None]:
    """libgpiod has its own names for EINVAL and EOPNOTSUPP."""
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        why = f"the chip has no such line, or not what the board file asks of it ({error}): correct the board file"
        raise OSError(errno.EINVAL, why) from None


class GpiodLine:
    def __init__(self, gpiod: Any, request: Any, line: int) -> None:
        self._gpiod, self._request, self._line = gpiod, request, line

    @property
    def fd(self) -> int:
        return int(self._request.fd)

    def get(self) -> bool:
        with oserrors():
            return bool(self._request.get_value(self._line))

    def set(self, active: bool) -> None:
        with oserrors():
            self._request.set_value(self._line, self._gpiod.line.Value(active))

    def edges(self) -> list[bool]:
        rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
        with oserrors():
            if not self._request.wait_edge_events(timedelta()):
                return []
            return [event.event_type is rising for event in self._request.read_edge_events(EDGES_MAX)]

    def release(self) -> None:
        self._request.release()
