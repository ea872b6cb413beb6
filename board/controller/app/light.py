"""A port's light, played here: it blinks on if the host dies. Pure; MicroPython subset.

A light is `(colours, rhythm)` as the contract's PORT_LIGHT says. The two that no host wishes are the same as its own
(agent/ui/led.py): before it has spoken, and when it is gone.
"""

from board.controller import contract

STARTING = (contract.RED | contract.GREEN | contract.BLUE, contract.rhythm_of((8, 12)))
OUT_OF_SERVICE = (contract.RED, contract.rhythm_of((8, 3, 8, 3, 2, 12)))
TENTH_MS = 100


def is_lit(rhythm: int, now_ms: int) -> bool:
    """Whether a light with this rhythm is on at this instant; all with the same rhythm beat together."""
    whole, rest = 0, rhythm
    while rest:
        whole += rest & 31
        rest >>= 5
    if not whole:
        return True
    at, on = now_ms // TENTH_MS % whole, True
    while at >= rhythm & 31:
        at -= rhythm & 31
        rhythm >>= 5
        on = not on
    return on
