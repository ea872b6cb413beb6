"""Which networks a modem is for, and whether they end (M1). Pure.

LTE needs positive evidence, and once there was some it is kept for that modem, by its IMEI: a question that failed, or
a week on 3G, makes no old modem of a new one. GSM and CDMA are said only when every question for it was answered.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from agent.modem.parsers.technologies import GENERATIONS

IMEIS_MAX = 8  # whose evidence is kept; the oldest goes
ON_3G_MAX_S = 24 * 3_600.0  # a modem for LTE that is on older networks for so long has a fault: antenna, band, SIM


class Kind(StrEnum):
    """As it is reported; blank is a station without a modem, behind a gateway station."""

    LTE = "LTE"
    GSM = "GSM"
    CDMA = "CDMA"
    NONE = ""


class Sunset(StrEnum):
    """What must be done, for people; the networks of GSM and CDMA end."""

    UPGRADE = "3G: upgrade"
    REPLACE = "replace the station"


# What the names of modules with LTE begin with. A name that is not here says nothing.
LTE_MODELS = (
    "EC2", "EG0", "EG1", "EG2", "EG6", "EG8", "EG9", "EM0", "EM1", "EP0", "BG7", "BG9", "RG5", "RM5", "SIM7", "A76",
    "LE9", "ME9", "TOBY", "LARA", "SARA-R", "HL78", "ELS", "NRF91",
)  # fmt: skip
CDMA_WORDS = ("CIS707", "IS-707", "IS-856", "CDMA 1X", "CDMA1X")


def is_lte_model(model: str | None) -> bool:
    name = (model or "").upper().replace("QUECTEL", "").replace("SIMCOM", "").replace("_", "-").strip(" -")
    return name.startswith(LTE_MODELS)


def generation(act: int | None) -> str | None:
    """`2g` to `5g` of an access technology."""
    return GENERATIONS.get(act) if act is not None else None


def is_newer(act: int | None) -> bool:
    """LTE or younger."""
    return generation(act) in ("4g", "5g")


class Evidence(Struct, frozen=True):
    """What was found out about one modem. Each is a positive sign, but `questions`: those that were answered surely."""

    lte: str | None = None  # by what it was seen, the first time
    cdma: str | None = None
    gsm: str | None = None
    questions: frozenset[str] = frozenset()


QUESTIONS = frozenset(("AT+CEREG=?", "AT+WS46=?", "AT+GCAP"))  # no answer to them leaves LTE possible


def kind(evidence: Evidence) -> Kind | None:
    """None: not known yet."""
    if evidence.lte:
        return Kind.LTE
    if not evidence.questions >= QUESTIONS:
        return None
    if evidence.cdma and not evidence.gsm:
        return Kind.CDMA
    return Kind.GSM if evidence.gsm else None


def sunset(kind: Kind | None, upgradable: bool) -> Sunset | None:
    if kind not in (Kind.GSM, Kind.CDMA):
        return None
    return Sunset.UPGRADE if upgradable else Sunset.REPLACE


def from_capabilities(evidence: Evidence, words: Iterable[str], by: str) -> Evidence:
    """+GCAP's, or the text of ATI."""
    said = " ".join(words).upper()
    lte = by if "+CLTE" in said else None
    cdma = by if any(word in said for word in CDMA_WORDS) else None
    gsm = by if "+CGSM" in said else None
    return with_signs(evidence, lte, cdma, gsm)


def with_signs(evidence: Evidence, lte: str | None = None, cdma: str | None = None, gsm: str | None = None) -> Evidence:
    """The first sign of each counts."""
    return Evidence(evidence.lte or lte, evidence.cdma or cdma, evidence.gsm or gsm, evidence.questions)


def asked(evidence: Evidence, question: str) -> Evidence:
    return Evidence(evidence.lte, evidence.cdma, evidence.gsm, evidence.questions | {question})


def joined(one: Evidence, other: Evidence) -> Evidence:
    both = with_signs(one, other.lte, other.cdma, other.gsm)
    return Evidence(both.lte, both.cdma, both.gsm, one.questions | other.questions)


def kept(known: Mapping[str, str], imei: str, evidence: Evidence) -> dict[str, str]:
    """Evidence of LTE by IMEI, with this one's; the newest last."""
    if not evidence.lte or imei in known:
        return dict(known)
    return dict([*known.items(), (imei, evidence.lte)][-IMEIS_MAX:])
