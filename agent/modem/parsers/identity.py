"""Who the modem is: +CGSN (27.007 5.4), +CGMI, +CGMM, +CGMR (5.1 - 5.3), ATI (V.250 6.1.3), and of CDMA its ESN, MEID.

An IMEI (3GPP TS 23.003 6.2) is fourteen digits and a check digit. With a software version instead of the check digit
(sixteen digits) it is the same modem, so the check digit is put in its place.
"""

import re

from agent.modem.fields import Fields, luhn, plain, split

SERIAL = re.compile(
    r'(?P<imei>[0-9]{14,17})(?:\s*[,;]\s*"?(?P<serial>[\w-]+)"?)?'
    r"|(?:0[xX])?(?P<meid>(?:00)?[A-Fa-f][0-9A-Fa-f]{13})(?:\s*[:,]\s*(?:0[xX])?(?P<with>[0-9A-Fa-f]{7,8}))?"
    r"|(?:0[xX])?(?P<esn>[0-9A-Fa-f]{7,8})"
    r"|(?P<decimal>[0-9]{10,18}\s*:\s*[0-9]{8,11})"
)
LABELLED = re.compile(r"^(IMEI ?[0-9]?|ESN|MEID)\s*[:=]\s*", re.IGNORECASE)
GROUPED = re.compile(r"(?:[0-9]{2}[ /-][0-9]{6}|[0-9]{6}[ /-][0-9]{2})[ /-][0-9]{6}[ /-][0-9]{1,2}")
NOTHING: Fields = {"imei": None, "valid": False, "luhn": None}
SVN = re.compile(r"[0-9]{1,2}")
LABEL = re.compile(
    r"(Manufacturer|Model(?: Number)?|Revision|IMEI ?SV|IMEISV|IMEI|ESN|MEID|SVN|SN|S/N|FSN|HW Revision|SoftVer"
    r"|Software Version)\s*:\s*(.*)", re.IGNORECASE,
)  # fmt: skip
UNLABELLED = re.compile(r"^REVISION (?=[0-9])")  # Cinterion: without the colon
INNER = re.compile(r"\s*\+(?:GMI|GMM|GMR|GSN|CGMI|CGMM|CGMR|CGSN)\s*:\s*", re.IGNORECASE)
ANY_SERIAL = re.compile(r"(?=.*[0-9])[\w/-]{4,80}", re.ASCII)
SERIALS_MAX = 80  # characters of anything that is kept of an identity


def serial(body: str) -> Fields:
    """IMEI, IMEISV, ESN or MEID, whichever it is; two digits are the software version; or the maker's own."""
    said = plain(body.strip())
    if '","' in said:  # AT+CGSN=... of some: the first is the number, the others are versions
        said = plain(split(body)[0])
    if (found := bare_serial(said)) is not None:
        return found
    return NOTHING | {"svn": said} if SVN.fullmatch(said) else any_serial(said) or dict(NOTHING)


def any_serial(line: str) -> Fields | None:
    """<sn> of 5.4, AT+CGSN=0: the maker's own number, of any shape."""
    said = plain(line.strip())
    return NOTHING | {"serial": said} if ANY_SERIAL.fullmatch(said) else None


def bare_serial(line: str) -> Fields | None:
    """The same; None where the text is no serial number of any kind, which an answer to AT+GSN must be."""
    said = plain(line.strip()).strip()
    if label := LABELLED.match(said):
        said = said[label.end() :]
        if label[1].upper() == "MEID" and said.isdigit():
            return cdma("meid", said)
    if GROUPED.fullmatch(said):
        said = re.sub(r"[ /-]", "", said)
    found = SERIAL.fullmatch(said)
    if not found:
        return None
    if found["imei"]:
        return imei(found["imei"]) | ({"serial": found["serial"]} if found["serial"] else {})
    if found["meid"]:
        esn = {"esn": found["with"].upper().zfill(8)} if found["with"] else {}
        return {"imei": None, "valid": True, "meid": found["meid"].upper()[-14:]} | esn
    if found["esn"]:
        return {"imei": None, "valid": True, "esn": found["esn"].upper().zfill(8)}
    return dict(NOTHING)  # the same in decimal, above the line that counts


def imei(digits: str) -> Fields:
    """Of 14 (no check digit), 15, 16 (IMEISV) or 17 digits (an IMEI and its software version)."""
    if len(digits) in (14, 16):
        whole = digits[:14] + check_digit(digits[:14])
        found: Fields = {"imei": whole, "valid": digits[:14] != "0" * 14, "luhn": None}
        return found | ({"imeisv": digits} if len(digits) == 16 else {})
    whole = digits[:15]
    return {"imei": whole, "valid": whole != "0" * 15, "luhn": luhn(whole)}


def check_digit(digits: str) -> str:
    """23.003 annex B."""
    return next(str(digit) for digit in range(10) if luhn(f"{digits}{digit}"))


def bare_imsi(line: str) -> Fields | None:
    said = plain(line.strip())
    return {"imsi": said} if re.fullmatch(r"[0-9]{6,15}", said) else None


def imsi(body: str) -> Fields:
    return bare_imsi(body) or {"imsi": None}


# -- names ------------------------------------------------------------------------------------------------------------


class Name:
    """A line whose text is this field. Labels and quotes are no part of it; Motorola hides the model in a list."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __call__(self, body: str) -> Fields:
        said = body.strip()
        if self._field == "model" and (hidden := re.search(r'"MODEL=([^"]*)"', said)):
            said = hidden[1]
        found = LABEL.fullmatch(plain(said) if said.count('"') <= 2 else said)
        if found:
            said = found[2]
        return {self._field: bare_name(said)}


def bare_name(said: str) -> str | None:
    """Some print other commands' answers in front of it, and its label behind them."""
    said = UNLABELLED.sub("", INNER.split(said)[-1])
    if said.startswith('"') and '","' in said:  # Fibocom: the long name, then the short one
        said = split(said)[0]
    said = re.sub(r"^Model\s*:?\s+|^Model:", "", said)
    return (plain(said).strip() if said.count('"') <= 2 else said)[:SERIALS_MAX] or None


manufacturer, model, revision = Name("manufacturer"), Name("model"), Name("revision")
FIELD_OF = {
    "manufacturer": "manufacturer", "model": "model", "model number": "model", "revision": "revision",
    "softver": "revision", "software version": "revision", "svn": "svn", "imei sv": "svn", "sn": "serial",
    "s/n": "serial", "fsn": "serial", "hw revision": "hardware",
}  # fmt: skip


def information(line: str) -> Fields:
    """A line of the answer to ATI: `label: value`, or free text."""
    said = line.strip()
    found = LABEL.fullmatch(UNLABELLED.sub("Revision: ", said))
    if not found:
        return {"text": said}
    label, value = found[1].lower(), INNER.split(found[2])[-1].strip()
    if label in ("esn", "meid"):
        return cdma(label, value)
    if label in ("imei", "imeisv") or (label == "imei sv" and len(value) > 3):
        return serial(value)
    return {FIELD_OF[label]: bare_name(value)}


def cdma(label: str, value: str) -> Fields:
    """A number that is labelled: digits alone do not make an IMEI of it, and an ESN may stand in decimal before it."""
    last = value.rpartition(",")[2].strip().upper().removeprefix("0X").removeprefix("00" if label == "meid" else "")
    shape = {"esn": r"[0-9A-F]{7,8}", "meid": r"[0-9A-F]{14}"}[label]
    is_valid = bool(re.fullmatch(shape, last))
    return {"imei": None, "valid": is_valid, label: last.zfill(8) if is_valid else None}


def labelled_meid(body: str) -> Fields:
    return cdma("meid", plain(body.strip()))


def labelled_esn(body: str) -> Fields:
    return cdma("esn", plain(body.strip()))


CAPABILITIES = re.compile(r"\+(?:CGSM|CIS707|CLTE|MS|FCLASS|DS|ES)[A-Z0-9+-]*(?:\s*,\s*\+?[A-Z0-9-]+)*")


def bare_capabilities(line: str) -> Fields | None:
    return capabilities(line) if CAPABILITIES.fullmatch(line.upper()) else None


def capabilities(body: str) -> Fields:
    """+GCAP: <name>[,<name>...] (V.250 6.1.9): +CGSM is 3GPP, +CIS707 CDMA, +CLTE LTE."""
    return {"capabilities": [name.strip() for name in body.split(",") if name.strip()]}
