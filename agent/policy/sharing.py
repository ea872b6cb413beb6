"""How the ports share one circuit: never more than it in sum, at least 6 A or nothing, in turn if that is not enough.

Each car has an equal part of the circuit. What a car does not draw is lent to the others, and is its own again when it
wants more. Where the circuit has less than 6 A for each, first come is first served, and places go round.

Currents are of each phase: which phases a car draws from, nobody knows, so every offer counts on all of them.
Ports are numbers from 0. Times are monotonic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

CURRENT_MIN_MA = 6_000  # IEC 61851-1 Annex A: no valid duty cycle below 6 A
STEP_MA = 1_000  # offers move in whole amperes, so that a sensor's noise does not reach the car
TURN_S = 1_800.0  # how long a place lasts while others wait: a contactor that goes round closes 48 times a day at most
WATCHED_S = 120.0  # a car is looked at for so long before the others get what it leaves
LENT_S = 900.0  # and so long at most: then it has all its part again, and shows what it takes
SPARE_MA = 2_000  # is left to it above the most that it drew
NEAR_MA = 1_000  # a car that draws so much less than it may, or still more, is held back by its offer
IDLE_MA = 1_000  # less than this is not charging


@dataclass(frozen=True, slots=True)
class Draw:
    """A port now. `want_ma`: what it could use by its own limits, 0 or 6 A and more. `offer_ma`: in force."""

    want_ma: int
    offer_ma: int = 0
    drawn_ma: int | None = None  # of the phase that carries most; None: its meter has failed
    came: float = 0.0  # its car


@dataclass(frozen=True, slots=True)
class Use:
    """What a car makes of its offer, while there is not enough for all."""

    offer_ma: int = 0
    since: float = 0.0  # it has been watched
    most_ma: int = 0  # that it drew since
    cap_ma: int | None = None  # it is to be content with this; None: with nothing less than its part
    lent_at: float = 0.0
    is_idle: bool = False  # it took nothing when it was watched last


NOTHING = Use()


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who has a place, whose turn ends first first; who waits for one, next first."""

    served: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()
    turn_at: float | None = None  # since then it is the turn of served[0], and somebody waits
    uses: tuple[Use, ...] = ()
    due: float = inf  # when time alone changes something


# -- parts ------------------------------------------------------------------------------------------------------------


def shares(circuit_ma: int, wanted_ma: Sequence[int], caps_ma: Sequence[int | None] = ()) -> tuple[int, ...]:
    """Equal parts of the circuit, up to each want; who would get less than 6 A waits, the last ones first.

    `wanted_ma` is in the order of service. A cap holds as long as others can use what is left by it.
    """
    places = circuit_ma // CURRENT_MIN_MA
    served = [i for i, want in enumerate(wanted_ma) if want >= CURRENT_MIN_MA][:places]
    wants = [wanted_ma[i] for i in served]
    caps = [caps_ma[i] if caps_ma else None for i in served]
    content = [want if cap is None else min(want, cap) for want, cap in zip(wants, caps, strict=True)]
    first = poured(circuit_ma, content)
    rest = poured(circuit_ma - sum(first), [want - part for want, part in zip(wants, first, strict=True)])
    given = [0] * len(wanted_ma)
    for i, part, more in zip(served, first, rest, strict=True):
        given[i] = part + more
    return tuple(given)


def poured(left_ma: int, rooms_ma: Sequence[int]) -> list[int]:
    """Into every room alike, in whole amperes; what a small one does not hold goes to the others."""
    parts = [0] * len(rooms_ma)
    for n, i in enumerate(sorted(range(len(rooms_ma)), key=lambda i: rooms_ma[i])):
        part = min(rooms_ma[i], left_ma // (len(rooms_ma) - n))
        parts[i] = part - part % STEP_MA
        left_ma -= parts[i]
    return parts


def raised_in_turn(circuit_ma: int, target_ma: Sequence[int], in_force_ma: Sequence[int]) -> tuple[int, ...]:
    """What may be offered now: lowering at once, raising only into what the others have given back already (S11)."""
    allowed = []
    for i, target in enumerate(target_ma):
        others = sum(max(target_ma[j], in_force_ma[j]) for j in range(len(target_ma)) if j != i)
        part = target if target <= in_force_ma[i] else min(target, max(in_force_ma[i], circuit_ma - others))
        part -= part % STEP_MA
        allowed.append(part if part >= CURRENT_MIN_MA else 0)
    return tuple(allowed)


def targets(sharing: Sharing, circuit_ma: int, draws: Sequence[Draw]) -> tuple[int, ...]:
    """What every port is to have in the end."""
    line = [*sharing.served, *in_line(sharing, draws)]
    uses = sharing.uses or (NOTHING,) * len(draws)
    given = [0] * len(draws)
    parts = shares(circuit_ma, [draws[i].want_ma for i in line], [uses[i].cap_ma for i in line])
    for i, part in zip(line, parts, strict=True):
        given[i] = part
    return tuple(given)


# -- turns ------------------------------------------------------------------------------------------------------------


def in_line(sharing: Sharing, draws: Sequence[Draw]) -> list[int]:
    """Who waits, and behind them who wants something for the first time: first who has it already, then who came first.
    A port that stopped wanting anything, for a fault, heat or its own profile, is at the end of the line again."""
    known = {*sharing.served, *sharing.waiting}
    new = [i for i, draw in enumerate(draws) if draw.want_ma and i not in known]
    new.sort(key=lambda i: (not draws[i].offer_ma, draws[i].came, i))
    return [*(i for i in sharing.waiting if draws[i].want_ma), *new]


def followed(sharing: Sharing, circuit_ma: int, draws: Sequence[Draw], now: float) -> Sharing:
    """Who has a place now, and what each car leaves to the others."""
    if not any(draw.want_ma for draw in draws):
        return sharing if sharing == Sharing() else Sharing()
    is_short = sum(draw.want_ma for draw in draws) > circuit_ma
    before = sharing.uses or (NOTHING,) * len(draws)
    uses = [watched(use, draw, now) if is_short else NOTHING for use, draw in zip(before, draws, strict=True)]
    served, waiting = placed(sharing, circuit_ma, draws, uses)
    since = sharing.turn_at if served[:1] == list(sharing.served[:1]) else None
    turn_at = None if not waiting or not served else now if since is None else since
    if turn_at is not None and now >= turn_at + TURN_S:
        going = min(len(served), len(waiting))
        served, waiting = [*served[going:], *waiting[:going]], [*waiting[going:], *served[:going]]
        turn_at = now
    for i in set(served) - set(sharing.served):
        uses[i] = replace(uses[i], is_idle=False)
    ends = [turn_at + TURN_S] if turn_at is not None else []
    due = min([*ends, *(at for use in uses for at in dues(use))], default=inf)
    after = Sharing(tuple(served), tuple(waiting), turn_at, tuple(uses) if is_short else (), due)
    return sharing if after == sharing else after


def placed(
    sharing: Sharing, circuit_ma: int, draws: Sequence[Draw], uses: Sequence[Use]
) -> tuple[list[int], list[int]]:
    """Every place is taken while somebody waits. A car that takes nothing leaves its own to one that might."""
    places = circuit_ma // CURRENT_MIN_MA
    served, waiting = [i for i in sharing.served if draws[i].want_ma], in_line(sharing, draws)
    served, waiting = served[:places], [*served[places:], *waiting]  # the circuit has become smaller
    free = places - len(served)
    served, waiting = [*served, *waiting[:free]], waiting[free:]
    for i in [i for i in served if uses[i].is_idle]:
        other = next((j for j in waiting if not uses[j].is_idle), None)
        if other is not None:
            served, waiting = [*without(served, i), other], [*without(waiting, other), i]
    return served, waiting


def turn_s(sharing: Sharing, port: int, now: float) -> float | None:
    """In how many seconds at the latest a port that waits has a place, while the circuit stays as it is. None: it does
    not wait, or nobody can tell.

    A place that falls free goes to the first in line and begins a new turn for those behind him. So whoever is ahead
    costs a whole turn at most. Who took nothing when it was his turn is overtaken by those who might.
    """
    if sharing.turn_at is None or port not in sharing.waiting:
        return None
    ahead = sharing.waiting.index(port)
    uses = sharing.uses
    if uses and uses[port].is_idle and any(not uses[each].is_idle for each in sharing.waiting[ahead + 1 :]):
        return None
    return max(0.0, sharing.turn_at + TURN_S * (ahead + 1) - now)


def without(ports: Sequence[int], port: int) -> list[int]:
    return [each for each in ports if each != port]


# -- what a car leaves ------------------------------------------------------------------------------------------------


def watched(use: Use, draw: Draw, now: float) -> Use:
    if not draw.want_ma or draw.drawn_ma is None:
        return NOTHING
    drawn = draw.drawn_ma
    if not draw.offer_ma:
        return replace(NOTHING, is_idle=use.is_idle)
    if use.cap_ma is not None and now >= use.lent_at + LENT_S:
        use = replace(use, cap_ma=None, since=now, most_ma=drawn)
    if draw.offer_ma != use.offer_ma:  # looked at anew: it had another offer to go by
        return replace(use, offer_ma=draw.offer_ma, since=now, most_ma=drawn)
    use = replace(use, most_ma=max(use.most_ma, drawn), is_idle=use.is_idle and drawn < IDLE_MA)
    if use.cap_ma is not None and drawn >= min(use.cap_ma, draw.offer_ma) - NEAR_MA:
        return replace(use, cap_ma=None, since=now, most_ma=drawn)
    if now < use.since + WATCHED_S:
        return use
    cap_ma = max(CURRENT_MIN_MA, -(-use.most_ma // STEP_MA) * STEP_MA + SPARE_MA)
    new = replace(use, since=now, most_ma=drawn, is_idle=use.most_ma < IDLE_MA)
    if use.cap_ma is None and cap_ma < draw.offer_ma:
        return replace(new, cap_ma=cap_ma, lent_at=now)
    if use.cap_ma is not None and cap_ma <= use.cap_ma - SPARE_MA:  # an ampere to and fro is noise
        return replace(new, cap_ma=cap_ma)
    return new


def dues(use: Use) -> Iterator[float]:
    if use.offer_ma:
        yield use.since + WATCHED_S
    if use.cap_ma is not None:
        yield use.lent_at + LENT_S
