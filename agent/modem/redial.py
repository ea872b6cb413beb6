"""A modem that somebody else owns: all that is left to do is to dial again, with the ladder's own back-off. Pure.

It takes the keeper's place where there is no port to ask (ModemManager, which has a recovery of its own): the same
events and effects, but only Dial, HangUp, Probe and Tell.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from msgspec import structs

from agent.modem import liveness
from agent.modem.apn import Access
from agent.modem.events import (
    Acknowledged,
    BearerFell,
    BearerRose,
    Dial,
    Effect,
    Event,
    HangUp,
    Probe,
    Probed,
    Silent,
    Tell,
)
from agent.modem.keeper import RISE_MAX_S, Wishes
from agent.modem.liveness import Liveness, Verdict
from agent.modem.modem import Bearer, State
from agent.modem.recovery import BACKOFFS_S, JITTER, STABLE_S, START_MAX_S
from agent.modem.told import ModemNews, SimNews, StateNews, Told, Warn, nothing

SOON_S = (10.0, 30.0)  # the first times; then the ladder's back-off


class Redial:
    """As agent/modem/keeper.py's Keeper."""

    def __init__(
        self, wishes: Wishes, uniform: Callable[[float, float], float], now: float, kept: object = None,
        is_cold: bool = False,
    ) -> None:  # fmt: skip
        self.wishes, self._uniform = wishes, uniform
        self._told = nothing(now)
        self._before = kept if isinstance(kept, Mapping) else {}
        failures = self._before.get("failures", 0)
        self._failures = failures if isinstance(failures, int) and 0 <= failures < 100 else 0
        self._bearer, self._bearer_at = Bearer.DOWN, now
        self._address: str | None = None
        self._due = now + (uniform(0.0, START_MAX_S) if is_cold else 0.0)
        self._life = Liveness()
        self._well_since: float | None = None
        self._state, self._state_at = State.ABSENT, now
        self._effects: list[Effect] = []

    def described(self, told: Told) -> None:
        """By the bearer."""
        before, self._told = self._told, told
        for old, new, kind in ((before.imei, told.imei, ModemNews), (before.iccid, told.iccid, SimNews)):
            known = old or self._before.get("imei" if kind is ModemNews else "iccid")
            if new and new != known:
                self._effects.append(Tell(kind(known if isinstance(known, str) else None, new)))

    def handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case BearerRose(address=address) if self._bearer is Bearer.RISING:
                self._bearer, self._bearer_at, self._address = Bearer.UP, now, address
                self._life = liveness.began(now)
            case BearerFell() if self._bearer is not Bearer.DOWN:
                self._fell(now)
            case Acknowledged(is_ours=True) if self._bearer is Bearer.UP:
                self._life = liveness.acknowledged(self._life, now)
            case Silent():
                self._life = liveness.silent(self._life, now)
            case Probed(is_answered) if self._life.asked_at is not None:
                self._life = liveness.probed(self._life, is_answered, now)
        self._turn(now)
        effects, self._effects = self._effects, []
        return effects

    def next_deadline(self, now: float) -> float:
        match self._bearer:
            case Bearer.DOWN:
                return inf if self._is_abroad else self._due
            case Bearer.UP if self._is_abroad:
                return now
            case Bearer.RISING:
                return self._bearer_at + RISE_MAX_S
        well = self._well_since + STABLE_S if self._well_since is not None and self._failures else inf
        return min(liveness.next_deadline(self._life) or inf, well)

    def told(self, now: float) -> Told:
        state = self._state_now()
        back_off = self._bearer is Bearer.DOWN and self._failures > len(SOON_S)
        warnings = self._told.warnings | {Warn.ROAMING} if self._is_abroad else self._told.warnings
        return structs.replace(
            self._told, warnings=warnings,
            state=State.BACK_OFF if back_off else state, beneath=state, since=self._state_at,
            address=self._address, next_action_s=max(self._due - now, 0.0) if self._bearer is Bearer.DOWN else None,
        )  # fmt: skip

    def saved(self, now: float) -> dict[str, Any]:
        return {"version": 1, "failures": self._failures, "imei": self._told.imei, "iccid": self._told.iccid}

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _is_abroad(self) -> bool:
        """In a foreign network, where we must not be."""
        return self._told.is_roaming and not self.wishes.may_roam

    def _state_now(self) -> State:
        if self._bearer is not Bearer.UP:
            return self._told.state
        if liveness.verdict(self._life) is Verdict.ALIVE:
            return State.ONLINE
        return State.DEGRADED if self._life.was_acknowledged else State.BEARER_UP

    def _fell(self, now: float) -> None:
        self._bearer, self._bearer_at, self._address, self._well_since = Bearer.DOWN, now, None, None
        waits = (*SOON_S, *BACKOFFS_S)
        self._due = now + waits[min(self._failures, len(waits) - 1)] * self._uniform(1 - JITTER, 1 + JITTER)
        self._failures = min(self._failures + 1, 99)

    def _turn(self, now: float) -> None:
        if self._bearer is Bearer.DOWN and now >= self._due and not self._is_abroad:
            self._bearer, self._bearer_at = Bearer.RISING, now
            self._effects.append(Dial(self.wishes.access or Access()))
        elif self._is_to_fall(now):
            self._effects.append(HangUp())
            self._fell(now)
        elif self._bearer is Bearer.UP:
            self._watch(now)
        if (state := self._state_now()) is not self._state:
            self._effects.append(Tell(StateNews(self._state, state)))
            self._state, self._state_at = state, now

    def _is_to_fall(self, now: float) -> bool:
        if self._bearer is Bearer.RISING:
            return now >= self._bearer_at + RISE_MAX_S
        return self._bearer is Bearer.UP and self._is_abroad

    def _watch(self, now: float) -> None:
        if self._life.asked_at is not None and now >= self._life.asked_at + liveness.PROBE_TIMEOUT_S:
            self._life = liveness.probed(self._life, False, now)
        if liveness.due(self._life, now):
            self._effects.append(Probe())
            self._life = liveness.asked(self._life, now)
        match liveness.verdict(self._life):
            case Verdict.DOWN:
                self._effects.append(HangUp())
                self._fell(now)
            case Verdict.ALIVE:
                self._well_since = self._well_since if self._well_since is not None else now
                if now >= self._well_since + STABLE_S:
                    self._failures = 0
            case _:
                self._well_since = None
