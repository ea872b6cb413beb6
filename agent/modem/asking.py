"""Which commands of a person the modem is given while it carries us. Pure.

What only reads is harmless, and known by its form: a test or read command, or one of a list. Everything else may end
the connection or write what stays, in SIM or modem; it needs a second word. A few are never sent.
"""

import re

from agent.modem.vocabulary import STORED, command_of

COMMAND_MAX = 500  # characters; V.250 lets a modem stop at 500
HARMLESS = re.compile(
    r"AT(?:I[0-9]?|\+(?:CGMI|CGMM|CGMR|CGSN|GMI|GMM|GMR|GSN|GCAP|CIMI|CCID|QCCID|ICCID|CSQ|CESQ|QCSQ|QNWINFO|CEER|CPAS"
    r"|CNUM|CPINR|QSPN|CCLK|QGMR|CGPADDR|CGCONTRDP|QTEMP|CBC)|\^ICCID|#CCID|#RFSTS|#MONI|!GSTATUS|!ICCID|%CCID)?"
    r"|AT\+QENG=\"(?:servingcell|neighbourcell)\"|AT\+(?:CGCONTRDP|CGPADDR|QPINC|QLTS)=[0-9A-Z\",]*",
    re.IGNORECASE,
)
QUESTION = re.compile(r"AT[+^#!%$*][A-Z0-9]+(?:=\?|\?[0-9]*)", re.IGNORECASE)
SCAN = re.compile(r"AT\+COPS=\?|AT\+QSCAN|AT\+QNWLOCK", re.IGNORECASE)
NEVER = re.compile(
    r"AT(?:D|A\Z|O|\+CMG[SWC]=|\+CMSS=|\+CGDATA|\+CIPSEND|\+QISEND|\+USO(?:WR|ST)=)|.*;\+CMG[SWC]=", re.IGNORECASE
)


def objection(command: str, force: bool) -> str:
    """Why this command is not sent, and what to type instead; "": it is."""
    if not (command[:2].upper() == "AT" and command.isascii() and command.isprintable()):
        return "that is no AT command: type one like AT+CSQ"
    if len(command) > COMMAND_MAX:
        return f"{len(command)} characters are too many for a modem: type at most {COMMAND_MAX}"
    if not STORED.isdisjoint(command_of(command).names) and not QUESTION.fullmatch(command):
        return f"{command} prints what anybody may have written: stop the agent, and use a terminal program"
    if NEVER.match(command.replace(" ", "")):
        return f"{command} would take the port away from the agent: stop the agent, and use a terminal program"
    if force or HARMLESS.fullmatch(command):
        return ""
    if SCAN.match(command):
        return f"{command} searches for minutes, and most modems are offline meanwhile: type --force to do it anyway"
    if QUESTION.fullmatch(command):
        return ""
    return f"{command} may end the connection, or write what stays: type --force to send it anyway"
