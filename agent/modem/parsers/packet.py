"""The packet domain: 27.007 10.1.1 (+CGDCONT), 10.1.9 (+CGATT), 10.1.10 (+CGACT), 10.1.14 (+CGPADDR), 10.1.19 (+CGEV),
10.1.23 (+CGCONTRDP).
"""

import re

from agent.modem.fields import Fields, address, addresses, at, number, plain, split, text

# 10.1.19, longest first; EPS PDN ACT and PDN ACT are SIMCom's and Altair's, the rest of the bottom Nordic's.
EVENTS = (
    "NW PDN MODIFY", "ME PDN MODIFY", "NW PDN DEACT", "ME PDN DEACT", "EPS PDN DEACT", "NW PDN ACT", "ME PDN ACT",
    "EPS PDN ACT", "NW DETACH", "ME DETACH", "NW DEACT", "ME DEACT", "NW ACT", "ME ACT", "NW CLASS", "ME CLASS",
    "NW MODIFY", "ME MODIFY", "NW REACT", "REJECT", "PDN DEACT", "PDN ACT", "IPV6 FAIL", "IPV6", "RESTR",
    "APNRATECTRL STAT", "ME OVERHEATED", "ME BATTERY LOW", "DETACH",
)  # fmt: skip
EVENT = re.compile(rf"({'|'.join(EVENTS)})(?=[\s,:\"]|$)[\s,:]*(.*)", re.IGNORECASE)
WITH_CID = frozenset(event for event in EVENTS if event.endswith(("PDN ACT", "PDN DEACT")) or event.startswith("IPV6"))
BARE = re.compile(rf"(?:{'|'.join(event for event in EVENTS if event[:3] in ('NW ', 'ME ', 'EPS', 'REJ'))})\b.*")


def cgev(body: str) -> Fields:
    """`event` is the words of 10.1.19; `cid` the context of its own, `p_cid` the one it hangs on."""
    said = body.strip()
    found = EVENT.fullmatch(plain(said) if said.startswith('"') and said.count('"') <= 2 else said)
    if not found:
        words = re.match(r"[A-Z][A-Z0-9_]*(?: [A-Z][A-Z0-9_]*)*", said)
        return {"event": words[0] if words else said or None, "cid": None}
    event = " ".join(found[1].upper().split())
    fields = split(found[2])
    told: Fields = {"event": event, "cid": None}
    if event in WITH_CID:
        told["cid"] = number(fields[0])
        if event == "ME PDN ACT" and number(at(fields, 1)) is not None:
            told["reason"] = number(fields[1])
    elif event.endswith("CLASS"):
        told["class"] = text(fields[0])
    elif event.endswith("MODIFY") or event == "RESTR" or event.startswith("APNRATE"):
        told["cid"] = number(fields[0])
    elif event in ("NW ACT", "ME ACT", "NW DEACT", "ME DEACT") and number(fields[0]) is not None:
        if len(fields) == 1:
            return told | {"cid": number(fields[0])}
        told |= {"p_cid": number(fields[0]), "cid": number(at(fields, 1)), "event_type": number(at(fields, 2))}
    elif event in ("NW DEACT", "ME DEACT", "NW REACT", "REJECT"):
        told |= {"pdp_type": text(fields[0]), "address": address(at(fields, 1))[0], "cid": number(at(fields, 2))}
    return told


def bare_event(line: str) -> Fields | None:
    """The same without its prefix."""
    return cgev(line) if BARE.fullmatch(line) else None


def cgdcont(body: str) -> Fields:
    """+CGDCONT: <cid>,<PDP_type>,<APN>,<PDP_addr>,...; a test answers a range of <cid>."""
    fields = split(body)
    if fields[0].startswith("(") or not fields[0]:
        cids = [int(each) for each in re.findall(r"[0-9]{1,3}", fields[0])[:2]]
        found: Fields = {"cid": None, "cid_min": min(cids, default=None), "cid_max": max(cids, default=None)}
        kind = at(fields, 1)
        return found | {"pdp_type": None if kind.startswith("(") else text(kind)}
    return {
        "cid": number(fields[0]),
        "pdp_type": text(at(fields, 1)),
        "apn": text(at(fields, 2)),
        "address": address(at(fields, 3))[0],
    }


def cgact(body: str) -> Fields:
    fields = split(body)
    return {"cid": number(fields[0]), "active": yes(at(fields, 1))}


def cgatt(body: str) -> Fields:
    return {"attached": yes(split(body)[0])}


def yes(field: str) -> bool | None:
    return {"0": False, "1": True}.get(plain(field).strip())


def cgpaddr(body: str) -> Fields:
    """+CGPADDR: <cid>[,<address>[,<address>]]; some write both into one pair of quotes."""
    fields = split(body)
    said = [each for field in fields[1:] for each in plain(field).split(",")]
    return {"cid": number(fields[0]), "addresses": [found for each in said for found, _ in addresses(each) if found]}


def cgcontrdp(body: str) -> Fields:
    """+CGCONTRDP: <cid>,<bearer_id>,<apn>,<address and mask>,<gateway>,<DNS>,<DNS>...

    Before release 9.4 the mask was a field of its own. It looks like one: its bits are ones, then zeros. Of both
    families some put the second address behind the first: of the other family, or with a mask, it is no gateway.
    """
    fields = split(body)
    local, mask = address(at(fields, 3))
    rest = fields[4:]
    if mask is None and rest and is_mask(rest[0]):
        mask, rest = plain(rest[0]), rest[1:]
    also, also_mask = address(at(rest, 0))
    found: Fields = {}
    if local and also and (also_mask or (":" in local) != (":" in also)):
        found, rest = {"addresses": [local, also]}, rest[1:]
    servers = [server for field in rest[1:3] if (server := address(field)[0])]
    return found | {
        "cid": number(fields[0]),
        "bearer_id": number(at(fields, 1)),
        "apn": text(at(fields, 2)),
        "address": local,
        "mask": mask,
        "gateway": address(at(rest, 0))[0],
        "dns": servers,
    }


def is_mask(field: str) -> bool:
    said = plain(field)
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", said) or not said.startswith("255."):
        return False
    bits = "".join(f"{int(part):08b}" for part in said.split("."))
    return "01" not in bits


def qiurc(body: str) -> Fields:
    """+QIURC: "pdpdeact",<cid>; the number behind the other events is a socket's: Quectel."""
    fields = split(body)
    event = text(fields[0])
    return {"event": event, "cid": number(at(fields, 1)) if event == "pdpdeact" else None}


def first_cid(body: str) -> Fields:
    """+UUPSDD: <profile>: u-blox has lost a connection."""
    return {"cid": number(split(body)[0])}


def qiact(body: str) -> Fields:
    """+QIACT: <cid>,<state>,<type>[,<address>]: Quectel."""
    fields = split(body)
    return cgact(",".join(fields[:2])) | {"address": address(at(fields, 3))[0]}
