"""What an installer is told while the antenna is turned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.modem import signal_verdict
from agent.modem.modem import Signal
from agent.modem.signal_verdict import ADVICE, Levels, Verdict, best, judged, rank, text

GOOD, WEAK, UNUSABLE, UNKNOWN = Verdict


@pytest.mark.parametrize(
    ("levels", "verdict", "by"),
    [
        (Levels(rsrq_db=-12.5, rsrp_dbm=-96), GOOD, "RSRQ -12.5 dB"),
        (Levels(rsrq_db=-13.0, rsrp_dbm=-70), WEAK, "RSRQ -13 dB"),
        (Levels(rsrq_db=-9.0, rsrp_dbm=-125), WEAK, "RSRP -125 dBm"),
        (Levels(rsrq_db=-18.5, rsrp_dbm=-125), UNUSABLE, "RSRQ -18.5 dB"),
        (Levels(rsrq_db=-9.0, rsrp_dbm=-131), UNUSABLE, "RSRP -131 dBm"),
        (Levels(rsrq_db=-9.0, rssi_dbm=-111), GOOD, "RSRQ -9 dB"),
        (Levels(rsrp_dbm=-110), GOOD, "RSRP -110 dBm"),
        (Levels(rsrp_dbm=-111, rssi_dbm=-60), WEAK, "RSRP -111 dBm"),
        (Levels(rscp_dbm=-90, ecno_db=-13, rssi_dbm=-80), WEAK, "Ec/Io -13 dB"),
        (Levels(rscp_dbm=-111, ecno_db=-6), UNUSABLE, "RSCP -111 dBm"),
        (Levels(rssi_dbm=-93), GOOD, "RSSI -93 dBm"),
        (Levels(rssi_dbm=-95), WEAK, "RSSI -95 dBm"),
        (Levels(rssi_dbm=-107), UNUSABLE, "RSSI -107 dBm"),
        (Levels(), UNKNOWN, ""),
    ],
)
def test_the_verdict_names_the_level_that_has_decided(levels: Levels, verdict: Verdict, by: str) -> None:
    found = judged(levels)
    assert (found.verdict, found.by, found.advice) == (verdict, by, ADVICE[verdict])


def test_the_limit_of_a_good_place_is_one_number() -> None:
    assert Signal(rsrq_db=signal_verdict.RSRQ_GOOD_DB).is_good
    assert Signal(rsrq_db=signal_verdict.RSRQ_GOOD_DB - 0.5).is_good is False
    assert set(ADVICE) == set(Verdict)


def test_what_is_known_stands_in_one_line() -> None:
    assert text(Levels(-67, -96, -9.5)) == "RSRP -96 dBm, RSRQ -9.5 dB, RSSI -67 dBm (CSQ 23)"
    assert text(Levels()) == "no signal"


def test_noise_makes_no_best_place() -> None:
    first = best(None, Levels(rsrq_db=-11.0))
    assert best(first, Levels(rsrq_db=-10.5)) is first
    assert best(first, Levels(rsrq_db=-10.0)) == Levels(rsrq_db=-10.0)
    assert best(first, Levels()) is first and best(Levels(), first) is first
    assert best(Levels(rsrq_db=-12.6), Levels(rsrq_db=-12.5)).rsrq_db == -12.5, "a better verdict is better at once"


LEVEL = st.none() | st.floats(-160, 20)


@given(st.builds(Levels, LEVEL, LEVEL, LEVEL, LEVEL, LEVEL), st.builds(Levels, LEVEL, LEVEL, LEVEL, LEVEL, LEVEL))
def test_the_best_is_never_the_worse_one(one: Levels, other: Levels) -> None:
    kept = best(one, other)
    assert kept in (one, other) and rank(kept)[0] == max(rank(one)[0], rank(other)[0])
