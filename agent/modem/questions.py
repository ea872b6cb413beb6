"""What a modem is asked, and how often: one table. Pure.

ModemManager asks for registration and signal every 30 s; while a connection is being made we ask sooner. COPS=? is not
here and never will be: it takes minutes, and drops the data of many modules. What comes unasked is asked all the same,
since URCs get lost, and some modems send none.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from math import inf

from msgspec import Struct

from agent.modem import modem as facts
from agent.modem.at import Answered
from agent.modem.modem import Modem, Sim

STABLE_S = 30.0  # a period of the table is for this one
REFUSED_S = 3_600.0  # what the modem does not know is asked again all the same: other firmware, another SIM
FAILED_S = 20.0  # it is known, but cannot be told now
UNSURE_S, UNSURE_MAX_S = 3.0, 300.0  # nothing came of it: soon again, and ever later
MISSES_MAX = 5  # of a question in a row: this modem does not answer it, and nothing waits for it any more
AGAIN_S = 1.0  # identity is read twice
ONCE = inf

# What a start is answered with. Errors mean that this modem lacks it; only echo, form and numbers matter. A message
# that is told as a PDU (+CMGF, 27.005 3.2.3) has one line, so no text that anybody sends looks like the modem's words.
START = (
    "ATE0V1", "ATX4&C1&D2", "AT+CMEE=1", "AT+CREG=2", "AT+CGREG=2", "AT+CEREG=2", "AT+CGEREP=2,1", "AT+CMGF=0",
    "AT+COPS=3,2",
)  # fmt: skip
NAME = ("AT+COPS=3,0", "AT+COPS?", "AT+COPS=3,2")  # the operator's name; its number is what is asked for otherwise
NOT_KNOWN = (3, 4, 50, 58, 100, "ERROR")  # +CME ERROR of a command that is not there

When = Callable[[Modem], bool]


class Question(Struct, frozen=True):
    """`commands`: spellings of one question; the first that this modem knows is used. `soon_s` while things change."""

    commands: tuple[str, ...]
    soon_s: float
    stable_s: float
    when: When
    is_first: bool = False  # nothing is known of the modem before it was asked


class Outcome(Enum):
    TOLD = "told"
    FAILED = "known, but not now"
    REFUSED = "not known to this modem"
    UNSURE = "nothing that counts"


class Asked(Struct, frozen=True):
    at: float
    outcome: Outcome
    misses: int = 0  # in a row

    @property
    def is_refused(self) -> bool:
        return self.outcome is Outcome.REFUSED


def asked(before: Asked | None, answer: Answered, now: float) -> Asked:
    """What has come of it, this time."""
    found = outcome(answer)
    misses = (before.misses if before else 0) + 1 if found is Outcome.UNSURE else 0
    return Asked(now, found, min(misses, 16))


def outcome(answer: Answered) -> Outcome:
    if not answer.is_sure or answer.final is None:
        return Outcome.UNSURE
    if answer.is_ok or answer.command == "AT+CPIN?":  # whose errors are its answers
        return Outcome.TOLD
    return Outcome.REFUSED if answer.error in NOT_KNOWN else Outcome.FAILED


def always(_: Modem) -> bool:
    return True


def is_on(modem: Modem) -> bool:
    return modem.fun is not None and not facts.is_radio_off(modem)


def is_locked(modem: Modem) -> bool:
    return is_on(modem) and modem.sim is Sim.LOCKED


def has_sim(modem: Modem) -> bool:
    return is_on(modem) and modem.sim in (Sim.READY, Sim.LOCKED)


def is_ready(modem: Modem) -> bool:
    return is_on(modem) and modem.sim is Sim.READY


def made_by(*makers: str) -> When:
    def when(modem: Modem) -> bool:
        name = (modem.manufacturer or "").lower()
        return is_on(modem) and any(maker in name for maker in makers)

    return when


TABLE: tuple[Question, ...] = (
    Question(("AT+CGMI", "AT+GMI"), ONCE, ONCE, always, is_first=True),
    Question(("AT+CGMM", "AT+GMM"), ONCE, ONCE, always, is_first=True),
    Question(("AT+CGMR", "AT+GMR"), ONCE, ONCE, always, is_first=True),
    Question(("AT+CGSN", "AT+GSN"), 600.0, 3_600.0, always, is_first=True),
    Question(("AT+CFUN?",), 10.0, 60.0, always, is_first=True),
    Question(("AT+GCAP",), ONCE, ONCE, always, is_first=True),
    Question(("AT+CEREG=?",), ONCE, ONCE, always, is_first=True),
    Question(("AT+WS46=?",), ONCE, ONCE, always, is_first=True),
    Question(("AT+CPIN?",), 5.0, 60.0, is_on, is_first=True),
    Question(("AT+QPINC=\"SC\"", "AT+CPINR"), 60.0, 60.0, is_locked),
    Question(("AT+CCID", "AT+QCCID", "AT+ICCID", "AT^ICCID?"), 300.0, 300.0, has_sim),
    Question(("AT+CIMI",), ONCE, ONCE, is_ready),
    Question(("AT+CEREG?",), 5.0, 30.0, is_on),
    Question(("AT+CGREG?",), 5.0, 30.0, is_on),
    Question(("AT+C5GREG?",), 5.0, 30.0, is_on),
    Question(("AT+CREG?",), 15.0, 60.0, is_on),
    Question(("AT+CGATT?",), 10.0, 60.0, is_ready),
    Question(("AT+CSQ",), 10.0, 30.0, is_on),
    Question(("AT+CESQ",), 10.0, 30.0, is_on),
    Question(("AT+QCSQ",), 10.0, 30.0, made_by("quectel")),
    Question(("AT+CPSI?",), 10.0, 30.0, made_by("simcom")),
    Question(("AT^HCSQ?",), 10.0, 30.0, made_by("huawei")),
    Question(("AT+COPS?",), 15.0, 60.0, is_on),
    Question(("AT+CGDCONT?",), 300.0, 3_600.0, is_ready),
)  # fmt: skip


def period_s(question: Question, modem: Modem, is_calm: bool, stable_s: float) -> float:
    """Until it is asked again after a sure answer."""
    match question.commands[0]:
        case "AT+CGSN" if modem.imei is None or modem.imei != modem.imei_read:
            return AGAIN_S
        case "AT+CCID" if modem.iccid is None or modem.iccid != modem.iccid_read:
            return AGAIN_S
        case "AT+CIMI" if modem.imsi is None:
            return 30.0
    return question.stable_s * stable_s / STABLE_S if is_calm else question.soon_s


COMMANDS = frozenset(command for question in TABLE for command in question.commands)
OF_ICCID = next(question for question in TABLE if question.commands[0] == "AT+CCID")
OF_SIM = (*OF_ICCID.commands, "AT+CIMI", "AT+CGDCONT?", "AT+CGATT?", "AT+COPS?", "AT+CEREG?", "AT+CGREG?", "AT+CREG?")


def spelling(question: Question, asked: Mapping[str, Asked]) -> str:
    """The first that was not refused; if all were, the one whose refusal is the oldest."""
    for command in question.commands:
        if not (known := asked.get(command)) or not known.is_refused:
            return command
    return min(question.commands, key=lambda each: asked[each].at)


def due_at(
    question: Question, modem: Modem, asked: Mapping[str, Asked], is_calm: bool, stable_s: float
) -> float:
    """-inf: it was never asked."""
    known = asked.get(spelling(question, asked))
    if known is None:
        return -inf
    match known.outcome:
        case Outcome.REFUSED:
            return known.at + REFUSED_S
        case Outcome.FAILED:
            return known.at + FAILED_S
        case Outcome.UNSURE:
            return known.at + min(UNSURE_S * 2.0 ** max(known.misses - MISSES_MAX, 0), UNSURE_MAX_S)
    return known.at + period_s(question, modem, is_calm, stable_s)


def next_question(
    modem: Modem, asked: Mapping[str, Asked], is_calm: bool, stable_s: float, now: float
) -> tuple[str, float]:
    """The command that is due first, and when; of several that are overdue the one that stands first in the table."""
    found, at = "", inf
    for question in TABLE:
        if question.when(modem):
            due = max(due_at(question, modem, asked, is_calm, stable_s), now)
            if due < at:
                found, at = spelling(question, asked), due
    return found, at


def is_known(modem: Modem, asked: Mapping[str, Asked]) -> bool:
    """Whether all that must be known first was asked, and answered in some way, or will not be."""
    for question in TABLE:
        if question.is_first and question.when(modem):
            known = asked.get(spelling(question, asked))
            if known is None or (known.outcome is Outcome.UNSURE and known.misses < MISSES_MAX):
                return False
    return True


def is_named(modem: Modem, asked: Mapping[str, Asked]) -> bool:
    """Whether the SIM has told its ICCID, or will not."""
    known = asked.get(spelling(OF_ICCID, asked))
    return modem.iccid is not None or (known is not None and known.outcome in (Outcome.FAILED, Outcome.REFUSED))
