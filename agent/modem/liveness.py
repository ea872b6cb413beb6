"""Whether a bearer carries: what the broker acknowledges is the truth; only its silence makes us look further. Pure.

| broker | a second host | verdict |
|---|---|---|
| acknowledges | is not asked: it would cost data | ALIVE |
| silent | answers | BROKER_ONLY: its business or TLS's, the modem is left alone |
| silent | silent, fewer than 3 times or for less than 90 s | DOUBT |
| silent | silent, 3 times over 90 s | DOWN, until two successes |
"""

from enum import StrEnum

from msgspec import Struct, structs

GRACE_S = 30.0  # for TLS and MQTT on a fresh bearer, or a connection that is being made anew
FAILURES_MIN, FAILURES_OVER_S = 3, 90.0
SUCCESSES_MIN = 2
PROBE_S, AGAIN_S, RARE_S = 45.0, 10.0, 300.0  # in doubt; for the second success; when we know (Verizon: 5 min)
PROBE_TIMEOUT_S = 30.0


class Verdict(StrEnum):
    ALIVE = "alive"
    DOUBT = "doubt"
    BROKER_ONLY = "broker only"
    DOWN = "down"


class Liveness(Struct, frozen=True):
    """Of one bearer, from when it came up."""

    since: float = 0.0  # it came up, or the broker fell silent: the later
    is_acknowledged: bool = False
    was_acknowledged: bool = False  # ever
    failures: int = 0  # of probes, in a row
    failed_at: float = 0.0  # the first of them
    successes: int = 0  # since it was DOWN
    is_down: bool = False
    is_reachable: bool = False  # the last probe was answered
    probe_at: float = 0.0  # the next
    asked_at: float | None = None  # a probe is under way since then


def began(now: float) -> Liveness:
    return Liveness(since=now, probe_at=now + GRACE_S)


def acknowledged(life: Liveness, now: float) -> Liveness:
    """CONNACK, PUBACK or PINGRESP: the broker's own word."""
    life = succeeded(life, now)
    return structs.replace(life, is_acknowledged=True, was_acknowledged=True, asked_at=None)


def silent(life: Liveness, now: float) -> Liveness:
    """The uplink has no connection that answers."""
    if not life.is_acknowledged:
        return life
    return structs.replace(life, is_acknowledged=False, is_reachable=False, since=now, probe_at=now + AGAIN_S)


def asked(life: Liveness, now: float) -> Liveness:
    """A probe has begun."""
    return structs.replace(life, asked_at=now, probe_at=now + PROBE_TIMEOUT_S)


def probed(life: Liveness, is_answered: bool, now: float) -> Liveness:
    """A second host was asked, over this bearer and no other."""
    life = structs.replace(life, asked_at=None, is_reachable=is_answered)
    if is_answered:
        life = succeeded(life, now)
        return structs.replace(life, probe_at=now + (AGAIN_S if life.is_down else RARE_S))
    failures = life.failures + 1
    failed_at = life.failed_at if life.failures else now
    is_down = life.is_down or (failures >= FAILURES_MIN and now >= failed_at + FAILURES_OVER_S)
    return structs.replace(
        life, failures=failures, failed_at=failed_at, successes=0, is_down=is_down,
        probe_at=now + (RARE_S if is_down else PROBE_S),
    )  # fmt: skip


def succeeded(life: Liveness, now: float) -> Liveness:
    successes = life.successes + 1
    return structs.replace(life, failures=0, successes=successes, is_down=life.is_down and successes < SUCCESSES_MIN)


def verdict(life: Liveness) -> Verdict:
    if life.is_down:
        return Verdict.DOWN
    if life.is_acknowledged:
        return Verdict.ALIVE
    return Verdict.BROKER_ONLY if life.is_reachable else Verdict.DOUBT


def due(life: Liveness, now: float) -> bool:
    """Whether to probe now."""
    return life.asked_at is None and now >= life.probe_at and (not life.is_acknowledged or life.is_down)


def next_deadline(life: Liveness) -> float | None:
    """Of a probe: to begin, or to give up."""
    if life.asked_at is not None:
        return life.asked_at + PROBE_TIMEOUT_S
    return life.probe_at if not life.is_acknowledged or life.is_down else None
