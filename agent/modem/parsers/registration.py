"""+CREG, +CGREG, +CEREG and +C5GREG, as answer and as URC: 3GPP TS 27.007 7.2, 10.1.20, 10.1.22, 10.1.47.

Answer: <n>,<stat>[,<lac>,<ci>[,<AcT>...]]; URC: the same without <n>. Modems send either where the other belongs, so
the shape decides: a <stat> is a small number of up to three digits, without quotes; a <lac> has quotes, or four digits.
"""

import re

from agent.modem.fields import Fields, at, hexadecimal, number, plain, split, text
from agent.modem.parsers.technologies import act

N_MAX = 5  # 27.007 10.1.22: the reporting modes 0..5
STAT_MAX = 11  # 27.007 7.2: 11 is attached for access to restricted local operator services
STAT_OWN, STAT_OWN_MAX = (80, 90), 99  # vendors have some of their own: 80 Sequans, 90 Nordic
LAC_MAX, CI_MAX = 0xFFFF, 0xFFFF_FFFF  # beyond: of 5GS, or written in decimal
LAC_5GS_MAX = 0xFF_FFFF
CAUSE_MAX = 255  # 24.008 10.5.5.14, 24.301 9.9.3.9: one byte
OF_5GS = (10, 11, 12, 13)
ROUTED, FIVE_GS = "+CGREG", "+C5GREG"  # with a RAC, with slices
STAT = re.compile(r"[0-9]{1,3}")
QUOTED_RAC = re.compile(r'"[0-9A-Fa-f]{2}"')
RAC = re.compile(r'"?[0-9A-Fa-f]{1,2}"?')
LONG = re.compile(r'"?(?:0[xX])?[0-9A-Fa-f]{3,}"?')
TIMER = re.compile(r"[01]{8}")


def registration(body: str, is_read: bool, name: str = "") -> Fields:
    """`n` is there only if the line has it. `name` is the prefix: what stands behind <AcT> differs."""
    fields = split(body)
    has_n = is_solicited(fields, is_read)
    found: Fields = {"n": number(fields[0])} if has_n else {}
    rest = fields[1:] if has_n else fields
    stat = number(rest[0]) if is_whole(rest) else None
    found["stat"] = stat if stat is not None and 0 <= stat <= STAT_OWN_MAX else None
    found |= place(rest[1:], name)
    return found


def is_whole(fields: list[str]) -> bool:
    """Whether <stat> is one: behind it stands nothing, or an area. Of `0,1.` nobody knows which number it is."""
    return len(fields) != 2 or not plain(fields[1]).strip() or hexadecimal(fields[1]) is not None


def is_solicited(fields: list[str], is_read: bool) -> bool:
    """Whether <n> comes first."""
    if len(fields) < 2 or not STAT.fullmatch(fields[1]):
        return False
    first = number(fields[0])
    if first is None or first > N_MAX:
        return False
    if len(fields) == 2 and is_read:  # a <stat> of a vendor's own (80 Sequans, 90 Nordic), since no <lac> stands alone
        return True
    if int(fields[1]) > STAT_MAX:  # one of their own again, if an area of two digits beside it would be odd
        return is_read and int(fields[1]) in STAT_OWN and (not fields[2] or fields[2].startswith('"'))
    if len(fields) == 2 or is_read:
        return True
    # +CREG: 1,13,2816 may be <stat>,<lac>,<ci>; with more fields a <lac> of one or two digits is the rarer reading.
    return len(fields) > 3 or not fields[2] or fields[2].startswith('"')


def place(fields: list[str], name: str) -> Fields:
    """What follows <stat>. A routing area code stands before <ci> (Quectel, Novatel) or behind <AcT> (27.007)."""
    rac = None
    if len(fields) > 2 and RAC.fullmatch(fields[1]) and LONG.fullmatch(fields[2].strip()):
        rac = hexadecimal(fields[1])
        fields = [fields[0], *fields[2:]]
    elif len(fields) > 3 and not fields[1] and LONG.fullmatch(fields[2]) and number(fields[3]) is not None:
        fields = [fields[0], *fields[2:]]
    technology = at(fields, 2)
    if QUOTED_RAC.fullmatch(technology):  # without an <AcT> before it
        rac, technology = hexadecimal(technology), ""
    lac = area(at(fields, 0), technology)
    is_decimal = lac is not None and lac != hexadecimal(at(fields, 0))
    found: Fields = {
        "lac": lac,
        "ci": cell(at(fields, 1), is_decimal),
        "act": act_in(technology),
    }
    if rac is not None:
        found["rac"] = rac
    return found | extra(fields[3:], name, found["act"]) if len(fields) > 3 else found


def area(field: str, technology: str) -> int | None:
    """Location or tracking area code, hexadecimal; five digits that fit no 16 bits otherwise are decimal."""
    value = hexadecimal(field)
    if value is not None and value > LAC_5GS_MAX:
        return None
    if value is not None and value > LAC_MAX and len(plain(field)) == 5:
        decimal = number(field)
        if decimal is not None and decimal <= LAC_MAX and act_in(technology) not in OF_5GS:
            return decimal
    return value


def cell(field: str, is_decimal: bool) -> int | None:
    """Cell identity, hexadecimal; decimal beside a decimal area, or if it fits no 32 bits and begins with no zero."""
    value = hexadecimal(field)
    if value == CI_MAX:  # all ones: none
        return None
    if value is not None and (is_decimal or value > CI_MAX) and not plain(field).startswith("0"):
        decimal = number(field)
        if decimal is not None and decimal <= 0x0FFF_FFFF:
            return decimal
    return value


def act_in(field: str) -> int | None:
    return act(number(field))


def extra(fields: list[str], name: str, technology: object) -> Fields:
    """Behind <AcT>: the RAC or the slices, the cause of a rejection (n = 3, 5), timers of power saving (n = 4, 5)."""
    found: Fields = {}
    if name == FIVE_GS or (technology == 11 and len(fields) >= 2 and not TIMER.fullmatch(plain(fields[-1]))):
        found, fields = slices(fields)
    elif len(fields) == 1 or has_rac(fields, name):
        if RAC.fullmatch(fields[0]):
            found["rac"] = hexadecimal(fields[0])
        fields = fields[1:]
    if not fields:
        return found
    timers_at = next((i for i, field in enumerate(fields[:2]) if TIMER.fullmatch(plain(field))), 2)
    causes = fields[:timers_at]
    found["cause_type"], found["reject_cause"] = cause(at(causes, 0)), cause(at(causes, 1))
    for timer, field in zip(("active_time", "periodic_tau"), fields[timers_at:], strict=False):
        if TIMER.fullmatch(plain(field)):
            found[timer] = plain(field)
    return {key: value for key, value in found.items() if value is not None}


def slices(fields: list[str]) -> tuple[Fields, list[str]]:
    """10.1.47: <Allowed_NSSAI_length>,<Allowed_NSSAI>, and the fields behind them; some have neither in a rejection."""
    if len(fields) == 2 and number(fields[0]) == 0 and cause(fields[1]) is not None:
        return {}, fields
    said = at(fields, 1) or (fields[0] if fields[0].startswith('"') else "")
    return {"nssai": text(said)} if text(said) else {}, fields[2:]


def has_rac(fields: list[str], name: str) -> bool:
    """Whether a routing area code comes first: always in +CGREG (10.1.20), of some in the others, too."""
    if QUOTED_RAC.fullmatch(fields[0]):
        return True
    third, fourth, fifth = (at(fields, i) for i in (2, 3, 4))
    if TIMER.fullmatch(plain(third)):
        return False
    if TIMER.fullmatch(plain(fourth)) and TIMER.fullmatch(plain(fifth)):
        return True
    kind, reason = cause(fields[0]), cause(at(fields, 1))
    if kind in (0, 1) and reason is not None:  # or a RAC of such a value, and the type of a cause behind it
        return name == ROUTED and reason in (0, 1) and cause(third) is not None
    return name == ROUTED or cause(third) is not None


def cause(field: str) -> int | None:
    """<cause_type> or <reject_cause>; a timer is none, and what is beyond a byte is none."""
    value = None if TIMER.fullmatch(plain(field)) else number(field)
    return value if value is not None and 0 <= value <= CAUSE_MAX else None
