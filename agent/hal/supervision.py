"""Current and mains of a port whose meter Linux reads: its controller sees neither, so the host supervises them. Pure.

Causes, hold and quiet times, and what latches are the controller's own code (board/controller/app/port.py). What
differs is the lag: a meter measures anew every `refresh_s` and is read about once a second. So a cause must last
longer by `refresh_s`: for so long a car that has followed a lowered offer still shows its old current, and for so long
one wild measurement can be read. No fault stands on a single one; it is found two refreshes and two readings late at
most.

Nothing but a reading that is believed says that there is a cause, or that it is gone. A missing one says neither, or a
noisy line would hide an over-current; and when too many are missing, meter_fault ends the session.
"""

from agent.events import Cp, Report
from agent.faults import Fault
from board.controller import contract
from board.controller.app.port import (
    OVER_CURRENT,
    OVER_VOLTAGE,
    PHASE_LOSS,
    UNDER_VOLTAGE,
    UNTIL_UNPLUG,
    Holds,
    PortBoard,
    measured_causes,
)

Three = tuple[int, int, int]
NAMES = contract.FAULTS.split()
SUPERVISED = {i: Fault(NAMES[i]) for i in (OVER_CURRENT, OVER_VOLTAGE, UNDER_VOLTAGE, PHASE_LOSS)}


class Supervision:
    """One port. `faults` belong into the controller's report, where everybody takes them for the controller's own."""

    def __init__(self, board: PortBoard, refresh_s: float) -> None:
        self.faults: frozenset[Fault] = frozenset()
        self._board = board
        self._holds = Holds(round(refresh_s * 1000))
        self._latched = 0
        self._contactor, self._offer_ma, self._unplugs = False, 0, 0

    def reported(self, report: Report) -> None:
        """What the controller says, before anything is put into it."""
        if report.cp is Cp.A or report.unplugs > self._unplugs:  # seen, or missed while the line was cut
            self._latched = 0
        if report.offer_ma < self._offer_ma:
            # The car may take its time to follow from here. Whether it followed before, a meter that is read once a
            # second cannot tell, so here, unlike at the controller, an offer that falls all the time covers its greed.
            self._holds.restart(OVER_CURRENT)
        self._contactor, self._offer_ma, self._unplugs = report.contactor, report.offer_ma, report.unplugs
        self._settle()

    def read(self, current_ma: Three, voltage_mv: Three, at: float) -> None:
        """A reading of the time `at` that is believed."""
        self._judge(measured_causes(self._board, True, self._contactor, self._offer_ma, current_ma, voltage_mv), at)

    def blind(self, now: float) -> None:
        """There is meter_fault: nothing is known, and what was seen before it counts no more than at the controller."""
        self._judge(0, now)

    def _judge(self, causes: int, at: float) -> None:
        self._holds.see(round(at * 1000), causes)
        self._latched |= self._holds.raised & UNTIL_UNPLUG
        self._settle()

    def _settle(self) -> None:
        mask = self._latched | (self._holds.raised & ~UNTIL_UNPLUG)
        self.faults = frozenset(fault for i, fault in SUPERVISED.items() if mask >> i & 1) if mask else frozenset()
