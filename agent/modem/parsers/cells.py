"""What vendors tell of the serving cell: SIMCom +CPSI, Quectel +QNWINFO and +QENG, Huawei ^SYSINFOEX, Cinterion ^SMONI,
Telit #RFSTS and #MONI, Nordic %XMONITOR, Sierra !GSTATUS.

RSRP and RSRQ are told apart by their size, since firmware disagrees about their order: RSRP is never above -29 dBm, and
RSRQ never below -43.5 dB. Tenths are recognised likewise: no RSRP is below -200 dBm.
"""

import re

from agent.modem.fields import Fields, at, hexadecimal, number, plain, real, split, text
from agent.modem.parsers.signal import RSRP_DBM, RSRQ_DB, RSSI_DBM, index
from agent.modem.parsers.sim import SIMST
from agent.modem.parsers.technologies import act, act_of

PLMN = re.compile(r"([0-9]{3})-([0-9]{1,3})")
NONE = frozenset(("", "NO SERVICE", "NOSERVICE", "NO_SERVICE", "UNKNOWN"))
LEVELS: Fields = {"rssi_dbm": None, "rsrp_dbm": None, "rsrq_db": None}
TENTHS_BELOW = -200  # dBm


def nothing(rat: str) -> Fields:
    """All fields of a cell, unknown."""
    technology = act_of(rat) if rat.upper() not in NONE else None
    return {"rat": rat or None, "act": technology, "mccmnc": None, "lac": None, "ci": None} | LEVELS


def within(value: float | None, limits: tuple[float, float]) -> float | None:
    return value if value is not None and limits[0] <= value <= limits[1] else None


def levels(first: str, second: str, rssi: str = "") -> Fields:
    """RSRP and RSRQ in either order, RSSI behind them; in decibels, in tenths of them, or as 27.007's indexes."""
    a, b, c = real(first), real(second), real(rssi)
    rsrp: float | None
    rsrq: float | None
    if a is None or b is None:
        rsrp, rsrq = a if b is None else b, None
    elif a == b == 0:  # nothing measured
        rsrp = rsrq = None
    elif a > 0 and b > 0:  # A7600: indexes of +CESQ, RSRQ first
        rsrp, rsrq = index(second, 97, -141), index(first, 34, -20.0, 0.5)
    else:
        rsrp, rsrq = min(a, b), max(a, b)
    if rsrp is not None and rsrp < TENTHS_BELOW:
        rsrp, rsrq, c = rsrp / 10, rsrq and rsrq / 10, c and c / 10
    return {"rsrp_dbm": within(rsrp, RSRP_DBM), "rsrq_db": within(rsrq, RSRQ_DB), "rssi_dbm": within(c, RSSI_DBM)}


def plmn(mcc: str, mnc: str) -> str | None:
    """Some print the MNC as a number: `0` is 00. No country has the code 000."""
    if mcc == "000":
        return None
    if re.fullmatch(r"[0-9]{3}", mcc) and re.fullmatch(r"[0-9]{1,3}", mnc):
        return mcc + mnc.zfill(2)
    return None


def negative(field: str) -> float | None:
    """A level that may be printed without its sign."""
    value = real(field)
    return None if value is None else -abs(value)


def level(field: str) -> float | None:
    """A received level in dBm, or as 27.007's index 0..63 (8.69, <rxlev>)."""
    value = real(field)
    return within(value - 111 if value is not None and 0 <= value <= 63 else value, RSSI_DBM)


# -- SIMCom -----------------------------------------------------------------------------------------------------------


def cpsi(body: str) -> Fields:
    """+CPSI: <mode>,<operation>[,<mcc>-<mnc>,<lac>,<cell>,...]: area code hexadecimal, cell decimal."""
    fields = [plain(field) for field in split(body)]
    rat = fields[0].strip()
    found = nothing(rat)
    code = PLMN.fullmatch(at(fields, 2).strip())
    found["service"] = None if found["act"] == 13 and not code else text(at(fields, 1))
    if code:
        found["mccmnc"] = plmn(code[1], code[2])
    if code and found["act"] is not None:
        found["lac"] = hexadecimal(at(fields, 3))
        cell = hexadecimal(at(fields, 4)) if at(fields, 4)[:2] in ("0x", "0X") else number(at(fields, 4))
        found["ci"] = cell if cell is not None and cell >= 0 else None
    technology = found["act"]
    if technology in (11, 13) and not code and number(at(fields, 1)) is not None:
        return found | {"act": 13, "service": None} | beside(fields)
    if not code or rat.upper() == "TDS":
        return found
    if technology == 11:
        first = 8 if BAND.search(at(fields, 6)) else 7  # SIM8200 tells no band
        band = text(at(fields, 6)) if first == 8 else None
        return found | {"band": band} | levels(at(fields, first), at(fields, first + 1))
    if technology in (7, 9):
        return found | {"band": text(at(fields, 6))} | levels(at(fields, 10), at(fields, 11), at(fields, 12))
    if technology in (2, 4, 5, 6):
        rscp, ecno = within(negative(at(fields, 10)), RSSI_DBM), negative(at(fields, 9))
        found |= {"band": text(at(fields, 5)), "rscp_dbm": rscp, "ecno_db": ecno}
        return found | {"rssi_dbm": level(at(fields, 12))}
    if technology in (0, 3):
        channel, _, band = at(fields, 5).partition(" ")
        return found | {"band": text(band), "channel": number(channel), "rssi_dbm": level(at(fields, 6))}
    return found


def beside(fields: list[str]) -> Fields:
    """NR beside LTE: <pci>,<band>,<arfcn>,<rsrp>,<rsrq>,<snr>, of SIM8200 <pci>,<arfcn>,<rsrq>,<rsrp>,<snr>."""
    if BAND.search(at(fields, 2)):
        return {"band": text(at(fields, 2))} | levels(at(fields, 4), at(fields, 5))
    return {"band": None} | levels(at(fields, 3), at(fields, 4))


BAND = re.compile(r"[A-Za-z]")


# -- Quectel ----------------------------------------------------------------------------------------------------------


def qnwinfo(body: str) -> Fields:
    """+QNWINFO: <technology>,<plmn>,<band>,<channel>, or `No Service`."""
    fields = [plain(field) for field in split(body)]
    rat = fields[0].strip()
    code = at(fields, 1)
    return {
        "rat": rat or None,
        "act": act_of(rat) if rat.upper() not in NONE else None,
        "mccmnc": code if re.fullmatch(r"[0-9]{5,6}", code) else None,
        "band": text(at(fields, 2)),
        "channel": number(at(fields, 3)),
    }


def qeng(body: str) -> Fields:
    """+QENG: "servingcell",<state>[,<technology>,...], a line <technology>,... below it (5G), or a neighbour."""
    fields = [plain(field) for field in split(body)]
    kind, found = fields[0].strip(), nothing("")
    rest = fields[1:]
    if kind.lower().startswith("neighbourcell"):
        return neighbour(kind, rest)
    state = None
    if kind.lower().startswith("serving"):
        if act_of(at(rest, 0)) is None or len(rest) == 1:  # some have no state
            state, rest = text(at(rest, 0)), rest[1:]
    elif kind == "0" and len(fields) >= 8:  # of modems for GSM: <mcc>,<mnc>,<lac>,<cell>,<channel>,<bsic>,<level>
        rest = ["GSM", *fields[1:7], "", fields[7]]
    elif kind.isdigit():  # their settings, and other cells
        return found | {"cell": None, "service": None}
    else:
        rest = fields
    if not rest:
        return found | {"cell": "servingcell", "service": state}
    return {"cell": "servingcell", "service": state} | served(rest)


def served(fields: list[str]) -> Fields:
    """From the technology on. Area code and cell are hexadecimal throughout; `-` is unknown."""
    rat = fields[0].strip()
    found = nothing(rat)
    technology = found["act"]
    if at(fields, 1).upper() in ("FDD", "TDD"):
        fields = [fields[0], *fields[2:]]
    found["mccmnc"] = plmn(at(fields, 1), at(fields, 2))
    if technology in (7, 9):  # cell, pci, earfcn, band, two bandwidths, tac, rsrp, rsrq, rssi, sinr
        found |= {"ci": hexadecimal(at(fields, 3)), "lac": hexadecimal(at(fields, 9)), "band": said(at(fields, 6))}
        return found | levels(at(fields, 10), at(fields, 11), at(fields, 12))
    if technology == 13:  # pci, rsrp, sinr, rsrq, arfcn, band
        return found | {"band": said(at(fields, 8))} | levels(at(fields, 4), at(fields, 6))
    if technology == 11:  # cell, pci, tac, arfcn, band, bandwidth, rsrp, rsrq, sinr
        found |= {"ci": hexadecimal(at(fields, 3)), "lac": hexadecimal(at(fields, 5)), "band": said(at(fields, 7))}
        return found | levels(at(fields, 9), at(fields, 10))
    found |= {"lac": hexadecimal(at(fields, 3)), "ci": hexadecimal(at(fields, 4))}
    if rat.upper().startswith("TD"):  # channel, rssi, rscp, ecio
        found |= {"rssi_dbm": level(at(fields, 6)), "rscp_dbm": within(real(at(fields, 7)), RSSI_DBM)}
        found["ecno_db"] = real(at(fields, 8))
    elif technology in (2, 4, 5, 6):  # uarfcn, psc, rac, rscp, ecio
        found |= {"rscp_dbm": within(real(at(fields, 8)), RSSI_DBM), "ecno_db": real(at(fields, 9))}
    elif technology in (0, 3):  # bsic, arfcn, band, rxlev
        found["rssi_dbm"] = level(at(fields, 8))
    return found


def said(field: str) -> str | None:
    return None if field.strip() == "-" else text(field)


def neighbour(kind: str, fields: list[str]) -> Fields:
    """LTE: earfcn, pci, rsrq, rsrp, rssi."""
    rat = at(fields, 0).strip()
    found = nothing(rat) | {"cell": kind}
    if found["act"] == 7:
        found |= levels(at(fields, 3), at(fields, 4), at(fields, 5))
    return found


# -- Huawei -----------------------------------------------------------------------------------------------------------


def sysinfo(body: str) -> Fields:
    """^SYSINFOEX: <service>,<domain>,<roaming>,<SIM>,<lock>,<mode>,<name>,<submode>,<name>."""
    fields = [plain(field) for field in split(body)]
    submode = next((name for name in (at(fields, 8).strip(), at(fields, 6).strip()) if name and not name.isdigit()), "")
    return {
        "rat": submode or None,
        "act": act_of(submode) if submode.upper() not in NONE else None,
        "service": text(at(fields, 0)),
        "roaming": {"0": False, "1": True}.get(at(fields, 2)),
        "sim": SIM_STATES.get(at(fields, 3)),
    }


SIM_STATES = {str(state): told for state, told in SIMST.items()}  # Huawei has one numbering for both
# 3 GSM, 5 WCDMA, 7 both, 15 TD-SCDMA, 17 LTE; the submode is finer, where there is one.
SYSMODES = {3: 0, 5: 2, 7: 2, 15: 2, 17: 7}
SUBMODES = {1: 0, 2: 0, 3: 3, 4: 2, 5: 4, 6: 5, 7: 6, 8: 2, 9: 6, 17: 6, 18: 6}


def old_sysinfo(body: str) -> Fields:
    """^SYSINFO: <service>,<domain>,<roaming>,<mode>,<SIM>[,<lock>[,<submode>]]: numbers alone, in another order."""
    fields = [plain(field) for field in split(body)]
    if len(fields) > 8:
        return sysinfo(body)
    mode, submode = number(at(fields, 3)) or 0, number(at(fields, 6)) or 0
    return {
        "rat": None,
        "act": SYSMODES.get(mode) if mode == 17 else SUBMODES.get(submode, SYSMODES.get(mode)),
        "service": text(at(fields, 0)),
        "roaming": {"0": False, "1": True}.get(at(fields, 2)),
        "sim": SIM_STATES.get(at(fields, 4)),
    }


# -- Cinterion, Telit, Nordic, Sierra ---------------------------------------------------------------------------------


def smoni(body: str) -> Fields:
    """^SMONI: <generation>,<channel>,...: of 4G band, bandwidths, duplex, PLMN, TAC, cell, PCI, Srxlev, RSRP, RSRQ."""
    fields = [plain(field) for field in split(body)]
    rat = fields[0].strip().upper()
    found = nothing(rat)
    found["act"] = {"2G": 0, "3G": 2, "4G": 7, "5G": 11}.get(rat, found["act"])
    at_plmn = {"2G": 3, "3G": 5, "4G": 6}.get(rat)
    if at_plmn is None or at(fields, 1).upper().startswith("SEARCH"):
        return found
    found["mccmnc"] = plmn(at(fields, at_plmn), at(fields, at_plmn + 1))
    found |= {"lac": hexadecimal(at(fields, at_plmn + 2)), "ci": hexadecimal(at(fields, at_plmn + 3))}
    if rat == "4G":
        return found | {"band": text(at(fields, 2))} | levels(at(fields, 12), at(fields, 13))
    if rat == "3G":
        return found | {"ecno_db": real(at(fields, 3)), "rscp_dbm": within(real(at(fields, 4)), RSSI_DBM)}
    return found | {"rssi_dbm": level(at(fields, 2))}


def rfsts(body: str) -> Fields:
    """#RFSTS: "<mcc> <mnc>",<earfcn>,<rsrp>,<rssi>,<rsrq>,<tac>[,<rac>],<power>,...,<cell>,"<imsi>",... of LTE.

    WCDMA: ...,<uarfcn>,<psc>,<Ec/Io>,<rscp>,<rssi>,<lac>,...; GSM: ...,<arfcn>,<rssi>,<lac>,...; both <cell>,"<imsi>".
    """
    fields = [plain(field) for field in split(body)]
    mcc, _, mnc = fields[0].partition(" ")
    found = nothing("") | {"mccmnc": plmn(mcc, mnc)}
    imsi_at = next((index for index, field in enumerate(fields) if re.fullmatch(r"[0-9]{14,15}", field)), 0)
    technology, lac_at = {10: (0, 3), 15: (2, 6)}.get(imsi_at, (7, 5) if imsi_at in (11, 12) else (None, 0))
    if technology is None or (technology == 7 and real(at(fields, 4)) is None):
        return found
    found |= {"act": technology, "lac": hexadecimal(at(fields, lac_at)), "ci": hexadecimal(fields[imsi_at - 1])}
    if technology == 7:
        return found | levels(at(fields, 2), at(fields, 4), at(fields, 3))
    if technology == 2:
        found |= {"ecno_db": real(at(fields, 3)), "rscp_dbm": within(real(at(fields, 4)), RSSI_DBM)}
    return found | {"rssi_dbm": within(real(at(fields, lac_at - 1)), RSSI_DBM)}


MONI = (("RSRP", 7), ("RSCP", 2), ("BSIC", 0))
PAIR = re.compile(r"(?<![A-Za-z])([A-Za-z]{1,12}+):\s*(-?[0-9A-Fa-f.]+)")


def moni(body: str) -> Fields:
    """#MONI: <name> RSRP:<dBm> RSRQ:<dB> TAC:<hex> Id:<hex> ... PWR:<dBm>dbm ...; else RSCP and EcIo, or a BSIC."""
    pairs = {key.upper(): value for key, value in PAIR.findall(body)}
    found = nothing("") | {"act": next((act for label, act in MONI if label in pairs), None)}
    if "RSCP" in pairs:
        found |= {"rscp_dbm": within(real(pairs["RSCP"]), RSSI_DBM), "ecno_db": real(pairs.get("ECIO", ""))}
    found |= {"lac": hexadecimal(pairs.get("TAC", pairs.get("LAC", ""))), "ci": hexadecimal(pairs.get("ID", ""))}
    power = re.search(r"PWR:\s*(-[0-9]{1,3})", body)
    return found | levels(pairs.get("RSRP", ""), pairs.get("RSRQ", ""), power[1] if power else "")


def xmonitor(body: str) -> Fields:
    """%XMONITOR: <stat>,<name>,<short>,<plmn>,<tac>,<AcT>,<band>,<cell>,<pci>,<earfcn>,<rsrp>,<snr>,...: nRF91."""
    fields = [plain(field) for field in split(body)]
    code = at(fields, 3)
    return {
        "stat": number(fields[0]),
        "operator": text(at(fields, 1)),
        "mccmnc": code if re.fullmatch(r"[0-9]{5,6}", code) else None,
        "lac": hexadecimal(at(fields, 4)),
        "act": act(number(at(fields, 5))),
        "band": text(at(fields, 6)),
        "ci": hexadecimal(at(fields, 7)),
        "rsrp_dbm": index(at(fields, 10), 97, -141),
    }


GSTATUS = (
    ("rsrp_dbm", re.compile(r"RSRP(?: \(dBm\))?:\s*(-?[0-9.]+)")),
    ("rsrq_db", re.compile(r"RSRQ(?: \(dB\))?:\s*(-?[0-9.]+)")),
    ("rssi_dbm", re.compile(r"RSSI(?: \(dBm\))?:\s*(-?[0-9.]+)")),
)
SYSTEM_MODE = re.compile(r"System mode\s*:\s*([A-Za-z0-9]+)", re.IGNORECASE)
TAC, CELL = re.compile(r"(?:TAC|LAC):\s*([0-9A-Fa-f]{2,8})\b"), re.compile(r"Cell ID:\s*([0-9A-Fa-f]{2,10})\b")


def gstatus(line: str) -> Fields:
    """A line below !GSTATUS: with one or two pairs of label and value."""
    found: Fields = {"text": line}
    for field, pattern in GSTATUS:
        if said := pattern.search(line):
            found[field] = within(real(said[1]), RSRQ_DB if field == "rsrq_db" else RSRP_DBM)
    if said := SYSTEM_MODE.search(line):
        found |= {"rat": said[1], "act": act_of(said[1])}
    for field, pattern in (("lac", TAC), ("ci", CELL)):
        if said := pattern.search(line):
            found[field] = hexadecimal(said[1])
    return found
