"""+COPS: the operator in use, and the list of those that are heard. 3GPP TS 27.007 7.3.

Lists come with broken parentheses and commas, over several lines, and with the ranges of <mode> and <format> at their
end, or without; a network is whatever holds a <stat>, two names and a number of five to seven digits in this order.
"""

import re

from agent.modem.fields import Fields, mccmnc, number, plain, split, text, ucs2
from agent.modem.parsers.technologies import act

PART = r'\s*+("[^"]*+"|[^",()]*+)\s*+'  # possessive: no text of any length is read twice
NETWORK = re.compile(rf'\(\s*([0-9])\s*,{PART},{PART},{PART}\)?(?:\s*,\s*([0-9]{{1,2}}))?')
PACKED = re.compile(r'\(([0-4],[0-2],"[^"]*"[^()]*)\)')  # the answer to a read, in parentheses: Marvell
SPN = re.compile(r'\(\s*[0-9]\s*,.*"?(?:[0-9]{5,7}|(?:003[0-9]){5,7})"?')


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
    found = []
    for stat, long, short, code, technology in NETWORK.findall(body):
        numeric = mccmnc(code)
        if numeric is None:
            continue
        names = [ucs2(plain(name)) or None for name in (long, short)]
        found.append(
            {
                "stat": int(stat),
                "operator": names[0] or names[1] or numeric,
                "long": names[0],
                "short": names[1],
                "mccmnc": numeric,
                "act": act(number(technology)),
            }
        )
    return found


def continued(line: str) -> Fields | None:
    """A further line of a list, which begins with a network."""
    return {"networks": networks(line)} if line.startswith(("(", ",(")) and NETWORK.search(line) else None


def service_provider(body: str) -> Fields:
    """+QSPN: <full>,<short>,<SPN>,<alphabet>,<PLMN>."""
    fields = split(body)
    names = [text(field) for field in fields]
    return {"operator": next((name for name in names[:3] if name), None), "mccmnc": mccmnc(fields[-1])}
