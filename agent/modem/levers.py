"""What board and system can do to a modem that does not answer: its power key, reset, supply and SIM slot, its USB
port, a reboot of the station. One at a time; each says when it is over."""

import os
from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from pathlib import Path

from agent.hal.device import Aside
from agent.hal.power import Action as Sequence
from agent.hal.power import ModemFacts, ModemPower, SequenceEnded, sequence
from agent.modem import tty
from agent.modem.recovery import Action

USB_S = 3.0  # the port is off so long, and then has so long to come back
REBOOT_S = 120.0  # whoever is to reboot us has not by then
SetOutput = Callable[[str, bool, float], bool]
Ended = Callable[[Action, float], None]


class Also(Enum):
    """Steps that are no sequence of lines."""

    USB_OFF = "USB off"
    USB_ON = "USB on"
    REBOOT = "reboot"


Step = Sequence | Also


class Levers:
    """`begin` an action that `can` names; `ended` is called when it is over, done or not."""

    def __init__(
        self, lines: ModemFacts | None, set_output: SetOutput | None, where: str, reboot: Callable[[], str] | None,
        ended: Ended, aside: Aside, log: Callable[[str], None], sys: Path = tty.SYS,
    ) -> None:  # fmt: skip
        """`where`: of the AT port, for its device on USB. `reboot` asks for one; it says why that is not possible."""
        self._is_playing = False  # a sequence of lines
        self._power = ModemPower(lines, set_output, self._played) if lines and set_output else None
        self._where, self._sys, self._reboot = where, sys, reboot
        self._ended, self._aside, self._log = ended, aside, log
        self._ways = ways(lines if self._power else None)
        self._cuts = 0  # so many were made: each one another way
        self._is_second_sim = False
        self._doing: Action | None = None
        self._steps: deque[Step] = deque()
        self._wait_until = -inf  # for the next step
        self._usb = usb_device(where, sys)  # as it was seen last: a port that has gone has none
        if self._usb and os.access(self._usb / "authorized", os.W_OK):
            self._ways[Action.USB] = ((Also.USB_OFF, Also.USB_ON),)
        if reboot:
            self._ways[Action.REBOOT] = ((Also.REBOOT,),)
        self.can = frozenset(self._ways)

    def seen(self) -> None:
        """The port is there: so is its device."""
        self._usb = usb_device(self._where, self._sys) or self._usb

    def begin(self, action: Action, now: float) -> None:
        if self._doing is not None or action not in self.can:
            return self._ended(action, now)
        ways_ = self._ways[action]
        way = ways_[self._cuts % len(ways_)]
        if action is Action.POWER:
            self._cuts += 1
        if action is Action.OTHER_SIM:
            self._is_second_sim = not self._is_second_sim
            way = (Sequence.SECOND_SIM if self._is_second_sim else Sequence.FIRST_SIM,)
        self._doing, self._steps, self._wait_until = action, deque(way), -inf
        return self.due(now)

    def due(self, now: float) -> None:
        if self._power:
            self._power.due(now)
        while self._doing and not self._is_playing and now >= self._wait_until:
            if not self._steps:
                done, self._doing = self._doing, None
                self._ended(done, now)
                return
            self._take(self._steps.popleft(), now)

    def next_deadline(self) -> float:
        if self._is_playing and self._power:
            return self._power.next_deadline()
        return self._wait_until if self._doing else inf

    def close(self) -> None:
        if self._power:
            self._power.close()

    def _take(self, step: Step, now: float) -> None:
        match step:
            case Sequence():
                assert self._power
                self._is_playing = True  # until _played, which may be at once
                if not self._power.begin(step, now):
                    self._is_playing = False
            case Also.REBOOT if self._reboot:
                self._aside(self._reboot, self._complain)
                self._wait_until = now + REBOOT_S
            case Also.USB_OFF | Also.USB_ON if device := self._usb:
                self._aside(lambda: switched(device, on=step is Also.USB_ON), self._complain)
                self._wait_until = now + USB_S

    def _played(self, ended: SequenceEnded) -> None:
        self._is_playing = False
        if not ended.done:
            self._complain(f"{ended.action}: an output did not take its value")

    def _complain(self, problem: str) -> None:
        if problem:
            self._log(f"modem: {problem}")


def ways(lines: ModemFacts | None) -> dict[Action, tuple[tuple[Step, ...], ...]]:
    """Of each action, the ways that this board has, gentlest first."""
    if lines is None:
        return {}
    key = (Sequence.TURN_ON,) if lines.power_key else ()
    cuts = [
        (Sequence.RESET,) if lines.reset else (),
        (Sequence.CUT_SUPPLY, *key) if lines.supply else (),
        (Sequence.TURN_OFF, *key) if lines.power_key and not lines.supply else (),
    ]
    found: dict[Action, tuple[tuple[Step, ...], ...]] = {}
    if cuts := [cut for cut in cuts if cut]:
        found[Action.POWER] = tuple(cuts)
    if key:
        found[Action.START] = (key,)
    if sequence(lines, Sequence.SECOND_SIM):
        found[Action.OTHER_SIM] = ((Sequence.SECOND_SIM,), (Sequence.FIRST_SIM,))
    return found


def usb_device(where: str, sys: Path = tty.SYS) -> Path | None:
    """Its folder in sysfs."""
    path = tty.resolve(where, sys)
    if path is None:
        return None
    try:
        place = (sys / "class" / "tty" / path.resolve().name / "device").resolve(strict=True)
    except OSError:
        return None
    return next((each for each in (place, *place.parents[:3]) if (each / "idVendor").exists()), None)


def switched(device: Path, *, on: bool) -> str:
    try:
        (device / "authorized").write_text("1" if on else "0")
    except OSError as error:
        return f"{device.name} on USB could not be switched ({error.strerror})"
    return ""
