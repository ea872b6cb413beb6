"""Whether an antenna's place will do: one verdict for wizard, tools and doctor. Pure.

LTE and 5G are judged by RSRQ, which tells noise and load, too; RSRP can only make the verdict worse. Without RSRQ it is
RSRP alone, on 3G RSCP and Ec/Io, and where a modem tells nothing else the RSSI of +CSQ. The limit for good is the one
that operators of charging stations ask for (RSRQ -12.5 dB); the others are where modules begin to lose their network.
"""

from enum import StrEnum

from msgspec import Struct

RSRQ_GOOD_DB, RSRQ_WEAK_DB = -12.5, -18.0
RSRP_GOOD_DBM, RSRP_WEAK_DBM = -110.0, -124.0
RSCP_GOOD_DBM, RSCP_WEAK_DBM = -98.0, -110.0
ECNO_GOOD_DB, ECNO_WEAK_DB = -12.0, -17.0
RSSI_GOOD_DBM, RSSI_WEAK_DBM = -93.0, -105.0  # +CSQ 10 and 4
HYSTERESIS_DB = 1.0  # so much a reading must be better to be the best so far


class Verdict(StrEnum):
    GOOD = "good"
    WEAK = "weak"
    UNUSABLE = "unusable"
    UNKNOWN = "unknown"


ORDER = (Verdict.GOOD, Verdict.WEAK, Verdict.UNUSABLE)  # the worst last
ADVICE = {
    Verdict.GOOD: "Good: fasten the antenna here.",
    Verdict.WEAK: "Weak: turn or move the antenna.",
    Verdict.UNUSABLE: "Unusable: move the antenna to another place.",
    Verdict.UNKNOWN: "Nothing is heard: look at the antenna's plug.",
}


class Levels(Struct, frozen=True):
    """What a modem has told of one moment; None: not."""

    rssi_dbm: float | None = None
    rsrp_dbm: float | None = None
    rsrq_db: float | None = None
    rscp_dbm: float | None = None
    ecno_db: float | None = None


class Judged(Struct, frozen=True):
    verdict: Verdict
    by: str  # the level that has decided, as it is printed: "RSRQ -9.5 dB"; "" if there is none

    @property
    def advice(self) -> str:
        return ADVICE[self.verdict]


def judged(levels: Levels) -> Judged:
    """The worst of those that count; of two alike the one that counts more."""
    found = [judge(*each) for each in counting(levels)]
    return max(found, key=lambda each: ORDER.index(each.verdict), default=Judged(Verdict.UNKNOWN, ""))


def counting(levels: Levels) -> list[tuple[str, float, str, float, float]]:
    """Name, value, unit, and the limits of good and weak; what counts more stands first."""
    rsrq, rsrp, rscp, ecno, rssi = (
        levels.rsrq_db, levels.rsrp_dbm, levels.rscp_dbm, levels.ecno_db, levels.rssi_dbm,
    )  # fmt: skip
    found = []
    if rsrq is not None:
        found.append(("RSRQ", rsrq, "dB", RSRQ_GOOD_DB, RSRQ_WEAK_DB))
        if rsrp is not None:  # beside it a low RSRP is a low one only where modules end
            found.append(("RSRP", rsrp, "dBm", RSRP_WEAK_DBM, RSRP_WEAK_DBM - 6.0))
    elif rsrp is not None:
        found.append(("RSRP", rsrp, "dBm", RSRP_GOOD_DBM, RSRP_WEAK_DBM))
    elif rscp is not None:
        if ecno is not None:
            found.append(("Ec/Io", ecno, "dB", ECNO_GOOD_DB, ECNO_WEAK_DB))
        found.append(("RSCP", rscp, "dBm", RSCP_GOOD_DBM, RSCP_WEAK_DBM))
    elif rssi is not None:
        found.append(("RSSI", rssi, "dBm", RSSI_GOOD_DBM, RSSI_WEAK_DBM))
    return found


def judge(name: str, value: float, unit: str, good: float, weak: float) -> Judged:
    verdict = Verdict.GOOD if value >= good else Verdict.WEAK if value >= weak else Verdict.UNUSABLE
    return Judged(verdict, f"{name} {value:g} {unit}")


def text(levels: Levels) -> str:
    """Every level that is known, in a line: RSRP -96 dBm, RSRQ -9.5 dB, RSSI -67 dBm (CSQ 23)."""
    csq = None if levels.rssi_dbm is None else max(0, min(31, int((levels.rssi_dbm + 113) // 2)))
    known = (
        ("RSRP", levels.rsrp_dbm, "dBm"), ("RSRQ", levels.rsrq_db, "dB"), ("RSCP", levels.rscp_dbm, "dBm"),
        ("Ec/Io", levels.ecno_db, "dB"), ("RSSI", levels.rssi_dbm, f"dBm (CSQ {csq})"),
    )  # fmt: skip
    return ", ".join(f"{name} {value:g} {unit}" for name, value, unit in known if value is not None) or "no signal"


def rank(levels: Levels) -> tuple[int, float]:
    """Of two readings of one place, the greater is the better one."""
    found = judged(levels)
    if found.verdict is Verdict.UNKNOWN:
        return -len(ORDER), 0.0
    return -ORDER.index(found.verdict), sum(value - good for _, value, _, good, _ in counting(levels))


def best(known: Levels | None, levels: Levels) -> Levels:
    """The best so far; noise makes no best of its own."""
    if known is None:
        return levels
    before, now = rank(known), rank(levels)
    return levels if now[0] > before[0] or (now[0] == before[0] and now[1] >= before[1] + HYSTERESIS_DB) else known
