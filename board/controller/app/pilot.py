"""The control pilot of IEC 61851-1 Annex A, seen from the station: millivolts to state, amperes to duty cycle and back.

The station drives +12 V through 1 kohm, steady or as a 1 kHz wave down to -12 V. The car pulls the positive half down:
9 V plugged in (B), 6 V ready (C), 3 V ready and to be ventilated (D); near 0 V is a short to earth (E), -12 V while we
drive +12 V a broken driver (F). Its diode must leave the negative half at -12 V. Pure; MicroPython subset.
"""

from board.controller.app.levels import Levels
from board.controller.contract import CP_E

# The standard's bands are nominal +-1 V: a border lies in the middle between two, the hysteresis is what is left.
BORDERS_MV = (10_500, 7_500, 4_500, 1_500, -10_500)  # between A, B, C, D, E and F
DIODE_MV = (-10_500,)
HYSTERESIS_MV = 500
HOLD_MS = 30  # of the 100 ms in which a contactor must open
ABOVE_SUPPLY_MV = 14_000  # no pilot is higher than what drives it: the converter is broken

STEADY = 10_000  # duty cycles are in 1/10,000: always +12 V
LOW_BRANCH_MAX = 8_500  # 0.6 A for each percent up to 51 A, from there 2.5 A for each percent above 64
HIGH_BRANCH_MIN_MA = 52_525  # the first that the upper branch can say: between the two lies a gap


class Pilot:
    def __init__(self) -> None:
        self._high = Levels(BORDERS_MV, HYSTERESIS_MV, HOLD_MS)
        self._low = Levels(DIODE_MV, HYSTERESIS_MV, HOLD_MS)
        self._low.rest(1)

    def see(self, now_ms: int, high_mv: int, low_mv: int, pwm: bool) -> int:
        """CP_A .. CP_F, by the voltages of the wave's two halves (steady +12 V: twice the same)."""
        if pwm:
            self._low.see(now_ms, low_mv)
        else:
            self._low.rest(1)
        level = self._high.see(now_ms, high_mv if high_mv < ABOVE_SUPPLY_MV else 0)
        assert level <= CP_E + 1  # the bands are the states, in their order
        return level

    @property
    def diode_ok(self) -> bool:
        """Only PWM's negative half shows the diode; without PWM it is taken for good."""
        return self._low.level == 1

    def rebase(self, by_ms: int) -> None:
        self._high.rebase(by_ms)
        self._low.rebase(by_ms)


def duty_of(offer_ma: int) -> int:
    """The duty cycle that offers this much, or a little less where it falls between two; 0 mA is steady +12 V."""
    if offer_ma == 0:
        return STEADY
    assert 6_000 <= offer_ma <= 80_000
    if offer_ma >= HIGH_BRANCH_MIN_MA:
        return offer_ma // 25 + 6_400
    return min(offer_ma // 6, LOW_BRANCH_MAX)


def ma_of(duty: int) -> int:
    """What a car may draw at this duty cycle; 0 for what offers nothing by PWM (digital communication, steady)."""
    if duty < 800 or duty > 9_700:
        return 0
    if duty < 1_000:
        return 6_000
    if duty <= LOW_BRANCH_MAX:
        return duty * 6
    return min((duty - 6_400) * 25, 80_000)
