"""The proximity contact of a socket: which cable is in it, by the resistor in its plug. Pure; MicroPython subset.

3,300 mV feed a divider: 330 ohm to the contact, the plug's resistor to earth. IEC 61851-1 Annex B codes 13 A as 1,500
ohm, 20 A as 680, 32 A as 220, 63 A as 100, and gives each a range; above 4.5 kohm nothing is plugged in.
"""

from board.controller.app.levels import Levels

# In the middle of the gaps between the standard's ranges; the narrowest gap, 936 to 1,100 ohm, is 98 mV wide.
BORDERS_MV = (2_990, 2_490, 1_700, 1_040, 576)
CABLE_MA = (0, 13_000, 20_000, 32_000, 63_000, 0)  # of each band: none, four cables, a short
FAULT = 5
HYSTERESIS_MV = 40
HOLD_MS = 100  # a plug on its way in slides over the contact


class Proximity:
    def __init__(self) -> None:
        self._levels = Levels(BORDERS_MV, HYSTERESIS_MV, HOLD_MS)

    def see(self, now_ms: int, mv: int) -> int:
        """What the cable carries, in mA; 0 = no cable, or unreadable."""
        return CABLE_MA[self._levels.see(now_ms, mv)]

    @property
    def fault(self) -> bool:
        """Shorted to earth. That nothing is there while the pilot sees a car is the port's to notice."""
        return self._levels.level == FAULT

    def rebase(self, by_ms: int) -> None:
        self._levels.rebase(by_ms)
