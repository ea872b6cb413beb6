"""The cloud plan that the station works under, by its plan tokens (I6): CWTs (RFC 8392), signed by the operator.

What is kept are the tokens; which one counts follows from the time. Of those that have begun the one with the highest
issue number counts, also if it ends earlier; one that has not begun waits. 90 days after its end the station is
deactivated, until another token comes. Expired means surely expired (agent/clock.py): while the time is unknown nothing
ends, and of several tokens the one that was issued last counts.

Pure; the signature was verified before (agent/uplink/signed.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent.clock import Clock, earliest, wall
from agent.settings import plain_text

DAY_S = 86_400.0
GRACE_S = 90 * DAY_S  # from the end to the deactivation
WARNINGS_D = (60, 30, 14, 7, 3, 1)  # days before the end, and before the deactivation, on which somebody is told
TOKENS_MAX = 8  # in force and waiting
ISS, SUB, EXP, NBF, CTI = 1, 2, 4, 5, 7  # RFC 8392 §4: claims
ISSUE, NAME, SUPPORT = "issue", "plan", "supportEnd"  # ours

Instant = Annotated[int, Meta(ge=0, lt=32_503_680_000)]  # seconds since 1970, before the year 3000


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """`issue` numbers the tokens of one station, ascending."""

    serial: Annotated[str, Meta(pattern=r"^[0-9a-f]{2,64}\Z")]  # cti, in hex
    issue: Annotated[int, Meta(ge=1, le=2**53)]
    name: Annotated[str, plain_text(60)]
    begins_s: Instant
    ends_s: Instant
    support_ends_s: Instant | None = None  # shown, decides nothing


class State(StrEnum):
    """Of one token, as owners know it."""

    NEW = "New"  # the station is not activated yet
    AVAILABLE = "Available"  # it begins later
    ACTIVE = "Active"
    EXPIRED = "Expired"


class Standing(StrEnum):
    """Of the station."""

    NONE = "none"  # no token has begun yet: nobody has said that a plan is needed
    ACTIVE = "active"
    ENDED = "ended"  # works on; deactivated when the grace is over
    DEACTIVATED = "deactivated"


class Why(StrEnum):
    """The token is not taken, in the installer's words."""

    UNREADABLE = "This is no plan token: paste the whole of its text, or choose its file."
    SIGNER = "This plan token is not signed by the operator of this station."
    STATION = "This plan token is for another station."
    OLDER = "A newer plan token is here already: ask for the newest one."
    FULL = "Too many plan tokens wait already: come back when one of them has begun."


UNSIGNED = "the plan token is refused"  # how the text begins, of one whose signature is wrong


class Refused(Exception):
    """The token is not taken; the text says in one sentence why."""

    def __init__(self, text: str, why: Why = Why.UNREADABLE) -> None:
        super().__init__(text)
        self.why = why


def refusal(text: str) -> Refused:
    """Of what bears no claims (agent/uplink/cwt.py says why)."""
    return Refused(text, Why.SIGNER if text.startswith(UNSIGNED) else Why.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Plan:
    standing: Standing
    token: Token | None = None  # that counts
    waiting: Token | None = None  # the next one
    deactivates_s: float = inf  # wall


def read(claims: Any, station_id: str) -> Token:
    """The claims of a token whose signature is right. Refused."""
    if not isinstance(claims, Mapping):
        raise Refused("a plan token is a map of claims (RFC 8392)")
    if claims.get(SUB) != station_id:
        raise Refused(f"the plan token is for station {str(claims.get(SUB))[:40]}, this is {station_id}", Why.STATION)
    serial = claims.get(CTI)
    said = {
        "serial": serial.hex() if isinstance(serial, bytes) else "", "issue": claims.get(ISSUE),
        "name": claims.get(NAME), "begins_s": claims.get(NBF), "ends_s": claims.get(EXP),
        "support_ends_s": claims.get(SUPPORT),
    }  # fmt: skip
    try:
        token = msgspec.convert(said, Token)
    except msgspec.ValidationError as error:
        raise Refused(f"the plan token cannot be read: {error}") from None
    if token.begins_s >= token.ends_s:
        raise Refused("the plan token ends before it begins")
    return token


def taken(held: tuple[Token, ...], token: Token, clock: Clock, now: float) -> tuple[Token, ...]:
    """With this token, and without those that will never count again. The same one again changes nothing; one that was
    issued earlier is a replay. Refused."""
    if token in held:
        return held
    newest = max((each.issue for each in held), default=0)
    if token.issue <= newest:
        text = f"plan token {token.issue} was issued before {newest}, which is here: send the newest"
        raise Refused(text, Why.OLDER)
    counts = plan(held, clock, now).token if wall(clock, now) is not None else None
    held = tuple(each for each in held if counts is None or each.issue >= counts.issue)
    if len(held) >= TOKENS_MAX:
        raise Refused(f"{TOKENS_MAX} plan tokens are here already: wait until one has begun", Why.FULL)
    return (*held, token)


def plan(held: tuple[Token, ...], clock: Clock, now: float) -> Plan:
    if not held:
        return Plan(Standing.NONE)
    known_s = wall(clock, now)
    begun = [token for token in held if known_s is None or token.begins_s <= known_s]
    waiting = [token for token in held if token not in begun]
    following = min(waiting, key=lambda token: (token.begins_s, -token.issue), default=None)
    if not begun:
        return Plan(Standing.NONE, None, following)
    token = max(begun, key=lambda each: each.issue)
    at_s, deactivates_s = earliest(clock, now), token.ends_s + GRACE_S
    if at_s < token.ends_s:
        return Plan(Standing.ACTIVE, token, following, deactivates_s)
    return Plan(Standing.ENDED if at_s < deactivates_s else Standing.DEACTIVATED, token, following, deactivates_s)


def state_of(token: Token, found: Plan, *, is_activated: bool) -> State:
    if not is_activated:
        return State.NEW
    if token != found.token:
        counts = found.token is not None and token.issue < found.token.issue
        return State.EXPIRED if counts else State.AVAILABLE
    return State.ACTIVE if found.standing is Standing.ACTIVE else State.EXPIRED


def changes_s(held: tuple[Token, ...]) -> list[float]:
    """Wall times at which the plan may be another, or somebody is to be told."""
    ends = [end for token in held for end in (float(token.ends_s), token.ends_s + GRACE_S)]
    warnings = [end - days * DAY_S for end in ends for days in WARNINGS_D]
    return sorted([*(float(token.begins_s) for token in held), *ends, *warnings])


def warned_d(found: Plan, at_s: float) -> int | None:
    """The newest warning that is due: so many days are left, to the end or, after it, to the deactivation. None: a
    token waits that begins in time, or there is time enough."""
    if found.token is None or found.standing not in (Standing.ACTIVE, Standing.ENDED):
        return None
    if found.waiting is not None and found.waiting.begins_s <= found.token.ends_s < found.waiting.ends_s:
        return None
    end_s = found.token.ends_s if found.standing is Standing.ACTIVE else found.deactivates_s
    return min((days for days in WARNINGS_D if at_s >= end_s - days * DAY_S), default=None)


def saved(held: tuple[Token, ...]) -> Any:
    return msgspec.to_builtins(held)


def restored(fact: Any) -> tuple[Token, ...]:
    """Those that this software can read."""
    tokens = []
    for row in fact if isinstance(fact, list | tuple) else []:
        try:
            tokens.append(msgspec.convert(row, Token))
        except msgspec.ValidationError:
            continue
    return tuple(tokens[-TOKENS_MAX:])
