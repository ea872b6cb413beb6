"""+COPS: the operator in use, and the list of those that are heard. 3GPP TS 27.007 7.3.

Lists come with broken parentheses, commas and quotes, over several lines, and with the ranges of <mode> and <format> at
their end, or without; a network is whatever holds a <stat>, two names and a number of five to seven digits in this
order. One that is cut in its middle by the end of a line is told with the line of its number.
"""

import re

from agent.modem.fields import Fields, mccmnc, number, plain, split, text, ucs2
from agent.modem.parsers.technologies import act

PART = r'\s*+("[^"]*+"|[^",()]*+)\s*+'  # possessive: no text of any length is read twice
STAT = r"\(\s*+\"?0{0,2}([0-9])\"?\s*+,"
ACT = r"\)?(?:\s*+,\s*+\"?([0-9]{1,2})\"?)?"
NETWORK = re.compile(rf"{STAT}{PART},{PART},{PART}{ACT}")
# The same with a quote too many or too few: the number, which has none inside, is what it ends with.
UNQUOTED = re.compile(rf'{STAT}([^()]*?),([^(),]*),\s*("?[0-9]{{3}}-?[0-9]{{2,4}}"?)\s*{ACT}')
RANGE = r"[,\s]*\(\s*[0-9](?:\s*[-,]\s*[0-9])*[\s,]*\)"
RANGES = re.compile(rf"(?:,{RANGE}|{RANGE}{RANGE}|,{RANGE}{RANGE})[,\s]*\)?")
PACKED = re.compile(r'\(([0-4],[0-2],"[^"]*"[^()]*)\)')  # the answer to a read, in parentheses: Marvell
STAT_MAX = 3  # 27.007 7.3: forbidden
CUT_MAX = 200  # characters of a network that a line end has cut
CUT = re.compile(r'\((?:[^()"]|"[^"]*+")*+(?:"[^"]*+)?')
BEGUN = re.compile(r'\(\s*+"?[0-9]{0,3}"?\s*+(?:,\s*+(?:"[^"]*+"?|[^",()]*+)\s*+){0,4}')
LAST = re.compile(rf"{RANGE}(?:{RANGE})?[,\s]*\)?")
SPN = re.compile(r'\(\s*[0-9]{1,3}\s*,.*"?(?:[0-9]{3}-?[0-9]{2,4}|(?:003[0-9]){5,7})"?')


def operator(body: str, is_test: bool) -> Fields:
    if read := PACKED.match(body):
        body = read[1]
    elif (is_test and not body[:1].isdigit()) or (body.startswith("(") and SPN.match(body)):
        return {"networks": networks(body)}
    elif "(" in body.partition('"')[0]:  # the answer to a test of a modem that lists none
        return {"networks": []}
    fields = split(body)
    mode, format_, said, technology = (*fields, "", "", "", "")[:4]
    name = text(said)
    return {
        "mode": number(mode),
        "format": number(format_),
        "operator": ucs2(name) if name else None,
        "mccmnc": mccmnc(said) if said else None,
        "act": act(number(technology)),
    }


def networks(body: str) -> list[Fields]:
    """In the order of the list. `operator` is the best name there is."""
    found: list[Fields] = []
    end = 0
    for match in NETWORK.finditer(body):
        found += [network(*each.groups()) for each in UNQUOTED.finditer(body, end, match.start())]
        end = match.end()
        if mccmnc(match[4]) is not None:
            found.append(network(*match.groups()))
    return found + [network(*each.groups()) for each in UNQUOTED.finditer(body, end)]


def network(stat: str, long: str, short: str, code: str, technology: str | None) -> Fields:
    """`code` has a number in it."""
    names = [ucs2(name_of(name)) or None for name in (long, short)]
    numeric = mccmnc(code)
    return {
        "stat": int(stat) if int(stat) <= STAT_MAX else None,
        "operator": names[0] or names[1] or numeric,
        "long": names[0],
        "short": names[1],
        "mccmnc": numeric,
        "act": act(number(technology or "")),
    }


def name_of(field: str) -> str:
    """Between its quotes; where one is missing, without blanks at that end, and where they are doubled, once."""
    bare = field.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        return plain(bare).replace('""', '"')
    return plain(bare).strip()


def continued(line: str) -> Fields | None:
    """A further line of a list, which begins with a network."""
    is_one = line.startswith(("(", ",(")) and (NETWORK.search(line) or UNQUOTED.search(line))
    return {"networks": networks(line)} if is_one else None


def ended(line: str) -> Fields | None:
    """The last line of a list, with the ranges of <mode> and <format> alone."""
    return {"networks": []} if RANGES.fullmatch(line) else None


def cut(body: str) -> str:
    """What a list's line has begun and not ended: a network, a range, or the list itself (`,`); "" if nothing."""
    end = body[-CUT_MAX:]
    begun = next((end[found.start() :] for found in CUT.finditer(end) if found.end() == len(end)), "")
    return begun or ("," if end.rstrip().endswith(",") else "")


def resumed(begun: str, line: str) -> Fields | None:
    """The line behind one that was cut; None: it is none. A network belongs to the line in which its number ends."""
    joined = begun + line
    if (found := networks(joined)) and (NETWORK.match(joined) or UNQUOTED.match(joined)):
        return {"networks": found[len(networks(begun)) :]}
    if LAST.fullmatch(joined) or (BEGUN.fullmatch(joined) and ("," in line or '"' in line)):
        return {"networks": []}
    return None


def service_provider(body: str) -> Fields:
    """+QSPN: <full>,<short>,<SPN>,<alphabet>,<PLMN>."""
    fields = split(body)
    names = [ucs2(name) for field in fields[:3] if (name := text(field))]
    return {"operator": names[0] if names else None, "mccmnc": mccmnc(fields[-1])}
