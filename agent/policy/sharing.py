"""How the ports share one circuit: never more than it in sum, at least 6 A or nothing, first come first served."""

from collections.abc import Sequence

CURRENT_MIN_MA = 6_000  # IEC 61851-1 Annex A: no valid duty cycle below 6 A
STEP_MA = 1_000  # offers move in whole amperes, so that a sensor's noise does not reach the car


def shares(circuit_ma: int, wanted_ma: Sequence[int]) -> tuple[int, ...]:
    """Equal parts of the circuit, capped by each want; who would get less than 6 A waits, the last ones first.

    `wanted_ma` is in the order of arrival, so that a newcomer never takes a running car below the minimum.
    """
    served = [i for i, want in enumerate(wanted_ma) if want >= CURRENT_MIN_MA]
    served = served[: circuit_ma // CURRENT_MIN_MA]
    given = [0] * len(wanted_ma)
    left = circuit_ma
    for n, i in enumerate(sorted(served, key=lambda i: wanted_ma[i])):  # the modest first: what they leave is shared on
        part = min(wanted_ma[i], left // (len(served) - n))
        given[i] = part - part % STEP_MA
        left -= given[i]
    return tuple(given)


def raised_in_turn(circuit_ma: int, target_ma: Sequence[int], in_force_ma: Sequence[int]) -> tuple[int, ...]:
    """What may be offered now: lowering at once, raising only into what the others have given back already (S11)."""
    allowed = []
    for i, target in enumerate(target_ma):
        others = sum(max(target_ma[j], in_force_ma[j]) for j in range(len(target_ma)) if j != i)
        part = target if target <= in_force_ma[i] else min(target, max(in_force_ma[i], circuit_ma - others))
        part -= part % STEP_MA
        allowed.append(part if part >= CURRENT_MIN_MA else 0)
    return tuple(allowed)
