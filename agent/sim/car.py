"""A car at the end of the cable: what it shows on the pilot, what it draws from the contactor."""

from typing import Any

from board.controller.contract import CP_B, CP_C, CP_D, CP_E, CURRENT_MIN_MA

Phases = tuple[int, int, int]
SOON_WH = 20  # ten seconds at 7.4 kW

KINDS: dict[str, dict[str, Any]] = {  # that a story or the workbench may ask for
    "normal": {},
    "soon": {"need_wh": SOON_WH},  # full soon
    "diode": {"diode": False},
    "ventilation": {"ventilation": True},
    "shorted": {"shorted": True},
    "leaking": {"leak_after_ms": 3_000},
}


def car_of(kind: str, need_wh: int, reaction_ms: int = 1_000) -> "Car":
    """ValueError: there is no such car."""
    if kind not in KINDS:
        raise ValueError(f"{kind[:20]!r} is no car: there are {', '.join(KINDS)}")
    return Car(**{"need_wh": need_wh, "reaction_ms": reaction_ms, **KINDS[kind]})


class Car:
    """Shows B, and C (or D) once PWM offers at least 6 A and its battery wants energy, as IEC 61851-1 asks.

    `need_wh`: until then it wants energy, then it goes back to B. `reaction_ms`: how long it takes to obey a change of
    the offer (the standard allows 5 s). `cable_ma`: rating of the loose cable it brings, 0 unreadable.
    The rest is for cars that behave badly. `stubborn` closes S2 without PWM, draws `max_ma` whatever it is told, and
    never lets go; `greed_ma` is drawn above the offer; `ventilation` asks for D; without `diode` the pilot's negative
    half is missing; `shorted` holds the pilot to earth; `leak_after_ms` under power, current goes astray.
    """

    def __init__(
        self,
        *,
        max_ma: int = 32_000,
        phases: int = 1,
        need_wh: int = 10_000,
        reaction_ms: int = 1_000,
        stubborn: bool = False,
        greed_ma: int = 0,
        ventilation: bool = False,
        diode: bool = True,
        shorted: bool = False,
        leak_after_ms: int | None = None,
        cable_ma: int = 32_000,
    ) -> None:
        self.max_ma = max_ma
        self.phases = phases
        self.need_mj = need_wh * 3_600_000  # millijoule, as 1 W for 1 ms
        self.reaction_ms = reaction_ms
        self.stubborn = stubborn
        self.greed_ma = greed_ma
        self.ventilation = ventilation
        self.diode = diode
        self.shorted = shorted
        self.leak_after_ms = leak_after_ms
        self.cable_ma = cable_ma
        self.obeyed_ma = 0
        self._seen_ma = 0
        self._obey_at: int | None = None
        self._leak_at: int | None = None
        self._powered = False

    @property
    def full(self) -> bool:
        return self.need_mj <= 0

    def see(self, now_ms: int, offer_ma: int, powered: bool) -> None:
        """What reaches the car now: the pilot's offer (0 = no PWM), and mains or not."""
        if offer_ma != self._seen_ma:
            self._seen_ma = offer_ma
            if self._obey_at is None:  # it looks again when it is due, not ever later while the offer changes
                self._obey_at = now_ms + self.reaction_ms
        if self._obey_at is not None and now_ms >= self._obey_at:
            self.obeyed_ma, self._obey_at = self._seen_ma, None
        if powered != self._powered:
            self._powered = powered
            self._leak_at = now_ms + self.leak_after_ms if powered and self.leak_after_ms is not None else None

    def cp(self) -> int:
        if self.shorted:
            return CP_E
        if self.stubborn or (not self.full and self.obeyed_ma >= CURRENT_MIN_MA):
            return CP_D if self.ventilation else CP_C
        return CP_B

    def current_ma(self) -> Phases:
        """What it draws, per phase, while there is mains."""
        if not self._powered or self.full or self.cp() not in (CP_C, CP_D):
            return (0, 0, 0)
        drawn = self.max_ma if self.stubborn else min(self.max_ma, self.obeyed_ma) + self.greed_ma
        return (drawn, drawn if self.phases > 1 else 0, drawn if self.phases > 2 else 0)

    def leaks(self, now_ms: int) -> bool:
        return self._leak_at is not None and now_ms >= self._leak_at

    def next_due_ms(self, now_ms: int, power_w: int) -> int | None:
        """When it will do something by itself, if nothing else changes."""
        full_at = now_ms - (-self.need_mj // power_w) if power_w and not self.full else None  # rounded up
        leak_at = self._leak_at if self._leak_at is not None and self._leak_at > now_ms else None
        dues = [due for due in (self._obey_at, leak_at, full_at) if due is not None]
        return min(dues) if dues else None
