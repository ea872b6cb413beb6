"""A port's energy register that never goes back and never leaps, whatever its meter does. Pure; MicroPython subset."""

REBASE_MS = 3_000  # a meter that leapt and goes on from there was reset or replaced; sooner than meter_fault is raised
SLACK_WH = 10


class Register:
    """`register_wh` is the meter's own, `energy_wh` what we report; both survive resets in `memory`.

    Between two readings a meter moves by what the port can deliver in a minute at most: without a good reading the
    contactor is opened long before. What moves otherwise is not believed; what stays there is counted on from the last
    good value, so that no leap is ever sold.
    """

    def __init__(self, power_max_w: int, register_wh: int = 0, energy_wh: int = 0) -> None:
        self.register_wh = register_wh
        self.energy_wh = energy_wh
        self.leaps = 0
        self._step_max_wh = SLACK_WH + power_max_w // 60
        self._first_max_wh = self._step_max_wh * 15  # memory is at most ten minutes old, and a little
        self._is_new = register_wh == 0 and energy_wh == 0
        self.is_news = False  # memory must have the two above now, or a reset would forget what was told
        self._leapt_wh = -1  # where the meter seems to be now
        self._leapt_ms = 0
        self._has_leapt = False  # and no reading was believed since

    def see(self, now_ms: int, register_wh: int, is_kept: bool = True) -> bool:
        """Take in a reading; False: not believed. `is_kept`: memory has what was news. Only then is a leap believed,
        and only then counted on from."""
        if self._is_new:
            self._is_new = False
            self.register_wh = self.energy_wh = register_wh
        moved_wh = register_wh - self.register_wh
        if self._has_leapt and not is_kept:
            return False
        if 0 <= moved_wh <= self._first_max_wh:
            self.energy_wh += moved_wh
            self.register_wh = register_wh
            self._first_max_wh = self._step_max_wh
            self._leapt_wh = -1
            self._has_leapt = False
            return True
        if self._leapt_wh < 0 or not 0 <= register_wh - self._leapt_wh <= self._step_max_wh:
            self._leapt_ms = now_ms
        self._leapt_wh = register_wh
        if now_ms - self._leapt_ms < REBASE_MS or not is_kept:
            return False
        self.leaps += 1
        self.register_wh = register_wh
        self._leapt_wh = -1
        self.is_news = self._has_leapt = True
        return False  # the next one

    def rebase(self, by_ms: int) -> None:
        self._leapt_ms -= by_ms
