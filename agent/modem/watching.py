"""The signal, again and again, while somebody turns the antenna: what to ask for it, and what the answers say. Pure.

+CSQ knows every radio, +CESQ LTE and 3G in half decibels, and each vendor has its own; a level that two of them tell is
taken from the one that stands first in COMMANDS.
"""

from collections.abc import Iterable

from agent.modem.at import Answered
from agent.modem.modem import Signal
from agent.modem.signal_verdict import Levels

COMMANDS = ("AT+CESQ", "AT+CSQ")
OF_MAKER = {"quectel": "AT+QCSQ", "simcom": "AT+CPSI?", "huawei": "AT^HCSQ?", "fibocom": "AT+XCESQ?"}
NAMES = ("rssi_dbm", "rsrp_dbm", "rsrq_db", "rscp_dbm", "ecno_db")
NOT_KNOWN = (3, 4, 50, 58, 100, "ERROR")  # +CME ERROR of a command that is not there


def commands(manufacturer: str | None, refused: Iterable[str]) -> list[str]:
    """What to ask for one reading."""
    name = (manufacturer or "").lower()
    own = [command for maker, command in OF_MAKER.items() if maker in name]
    return [command for command in (*COMMANDS, *own) if command not in set(refused)]


def is_refused(answer: Answered) -> bool:
    """The modem does not know this command, and need not be asked again."""
    return answer.is_sure and answer.error in NOT_KNOWN


def levels(answers: Iterable[Answered]) -> Levels:
    """Of one reading; answers that are not sure say nothing."""
    known: dict[str, float] = {}
    for answer in answers:
        if not answer.is_ok:
            continue
        for line in answer.lines:
            for name in NAMES:
                value = line.fields.get(name)
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    known.setdefault(name, value)
    return Levels(**known)


def of_signal(signal: Signal) -> Levels:
    """What the keeper knows of it, for who cannot ask."""
    return Levels(signal.rssi_dbm, signal.rsrp_dbm, signal.rsrq_db)
