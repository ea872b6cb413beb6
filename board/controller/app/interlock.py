"""The two safety rules of the port controller, each one total function: when a contactor may close, and how ports share
a circuit. Whatever the host asks goes through both. MicroPython subset; the tests enumerate them."""

from board.controller.contract import CP_C, CP_D, CURRENT_MIN_MA, STOP_NONE


def may_close(
    cp: int,
    offer_ma: int,
    stop: int,
    host_fresh: bool,
    faults: int,
    self_test_passed: bool,
    feedback_closed: bool,
    ventilated: bool,
    socketed: bool,
    locked: bool,
    cable_ma: int,
) -> bool:
    """Promise S1. The car is ready (C2, or D2 where there is ventilation: PWM is on, so `offer_ma` is in force), the
    host wants it and is alive, nothing is wrong, and a loose cable is locked and rated for the offer.

    That the driver is authorised is the host's word: it is what an offer without a stop means.
    """
    return (
        (cp == CP_C or (cp == CP_D and ventilated))
        and offer_ma >= CURRENT_MIN_MA
        and stop == STOP_NONE
        and host_fresh
        and not faults
        and self_test_passed
        and not feedback_closed  # closed without its coil: welded, even before the fault's 200 ms are over
        and (not socketed or (locked and cable_ma >= offer_ma))
    )


def share(
    asked_ma: list[int], in_force_ma: list[int], claims_ma: list[int], circuit_ma: int, offers_ma: list[int]
) -> None:
    """Promise S11: fills in the offers from now on. Their sum is at most `circuit_ma`; each is 0 or >= 6 A, none is
    above asked.

    A claim is what a port may draw at this instant whatever we tell it: its offer in force, or the higher one before it
    that the car has 5 s to leave (IEC 61851-1 Annex A). Lowering needs nobody's leave. A port is raised, in port order,
    only into what no other port claims, so that it does not matter which output is set first. A port that would get
    less than 6 A gets nothing, never a shortage.
    """
    claimed = sum(claims_ma)
    left = circuit_ma  # less than what is in force only when the limit itself was lowered: then the last ports give way
    for i in range(len(asked_ma)):
        claim = claims_ma[i]
        offer = min(asked_ma[i], max(in_force_ma[i], circuit_ma - (claimed - claim)), left)
        if offer < CURRENT_MIN_MA:
            offer = 0
        claimed += max(0, offer - claim)
        left -= offer
        offers_ma[i] = offer
