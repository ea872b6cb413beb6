"""The SIM: its lock (27.007 8.3 +CPIN), tries that are left, its ICCID (ITU-T E.118), and its coming and going."""

import re

from agent.modem.fields import Fields, at, luhn, number, plain, split

# 27.007 8.3, and what vendors add; compared without blanks, `-` and case.
LOCKS = (
    "READY", "SIM PIN", "SIM PUK", "PH-SIM PIN", "PH-FSIM PIN", "PH-FSIM PUK", "SIM PIN2", "SIM PUK2", "PH-NET PIN",
    "PH-NET PUK", "PH-NETSUB PIN", "PH-NETSUB PUK", "PH-SP PIN", "PH-SP PUK", "PH-CORP PIN", "PH-CORP PUK",
    "NOT READY", "NOT INSERTED", "BLOCKED", "PH-ESL PIN", "PH-SIMLOCK PIN", "PH-SIM PUK",
)  # fmt: skip
ESSENCE = re.compile(r"[^A-Z0-9]+")
BY_ESSENCE = {ESSENCE.sub("", lock): lock for lock in LOCKS}
BY_ESSENCE |= {
    "SIMNOTREADY": "NOT READY", "SIMNOTINSERTED": "NOT INSERTED", "NOSIM": "NOT INSERTED", "ABSENT": "NOT INSERTED",
    "SIMREMOVED": "NOT INSERTED", "REMOVED": "NOT INSERTED", "SIMBLOCKED": "BLOCKED", "SIMREADY": "READY",
    "PIN": "SIM PIN", "PUK": "SIM PUK", "PIN2": "SIM PIN2", "PUK2": "SIM PUK2", "PHSIM": "PH-SIM PIN",
    "SIMPIN1": "SIM PIN", "SIMPUK1": "SIM PUK", "NOTREADYSIM": "NOT READY", "PHNETPINNEEDED": "PH-NET PIN",
    "BLOCK": "BLOCKED",
}  # fmt: skip
PIN, PUK, PIN2, PUK2 = "SIM PIN", "SIM PUK", "SIM PIN2", "SIM PUK2"
TRIES_MAX = 99

ICCID_MIN, ICCID_MAX = 18, 20  # E.118 allows 19; 18 are of before, 20 fill the ten bytes of the file
# 89 is telecommunication. China Mobile and others write letters in the account number, never in the first six digits.
ICCID = re.compile(r"89[0-9]{4}[0-9A-F]{12,14}")
STORED = re.compile(r"[0-9A-F]{10,24}")
CARD_LABEL = re.compile(r"^(?:SIM CARD ID|SCID|ICCID|CCID)\s*:\s*", re.IGNORECASE)  # RDA's +SCID has one of its own
BARE_ICCID = re.compile(r"(?:89|98)[0-9A-F]{10,20}|[0-9A-F]{18,22}")  # an IMEI or IMSI is shorter


def cpin(body: str) -> Fields:
    """+CPIN: <code>; Huawei's ^CPIN adds [<times>,]<PUK>,<PIN>,<PUK2>,<PIN2>."""
    fields = split(body)
    said = plain(fields[0]).strip()
    if said.startswith("("):  # what a test lists
        return {"lock": None}
    found: Fields = {"lock": BY_ESSENCE.get(ESSENCE.sub("", said.upper()), said.upper() or None)}
    if len(fields) >= 5:
        left = fields[1:] if len(fields) == 5 else fields[2:]
        found["retries"] = tries(dict(zip((PUK, PIN, PUK2, PIN2), left, strict=False)))
    return found


def is_lock(body: str) -> bool:
    """Whether it is one that is known, and nothing else."""
    return ESSENCE.sub("", plain(body.strip()).upper()) in BY_ESSENCE


def tries(said: dict[str, str]) -> dict[str, int]:
    known = {code: number(field) for code, field in said.items()}
    return {code: value for code, value in known.items() if value is not None and 0 <= value <= TRIES_MAX}


NAMED = re.compile(r"\b(PIN2?|PUK2?)1?\s*[=:]\s*([0-9]{1,2})\b", re.IGNORECASE)


def named_tries(line: str) -> Fields | None:
    """`PIN1=3; PUK1=10; PIN2=0; PUK2=10`: AT+CPNNUM of Longcheer's modems."""
    return Retries()(line) if NAMED.match(line) else None


class Retries:
    """A line whose numbers are the tries left of these codes, in this order, if it does not name them."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def __call__(self, body: str) -> Fields:
        named = {BY_ESSENCE[found[1].upper()]: found[2] for found in NAMED.finditer(body)}
        return {"retries": tries(named or dict(zip(self._codes, split(body), strict=False)))}


def cpinr(body: str) -> Fields:
    """+CPINR: <code>,<retries>[,<default>]: 27.007 8.65."""
    fields = split(body)
    said = plain(fields[0]).strip()
    code = BY_ESSENCE.get(ESSENCE.sub("", said.upper()))
    return {"retries": tries({code: at(fields, 1)}) if code else {}}


def qpinc(body: str) -> Fields:
    """+QPINC: <facility>,<PIN>,<PUK>: Quectel; "P2" is the second pair."""
    fields = split(body)
    codes = {"SC": (PIN, PUK), "P2": (PIN2, PUK2)}.get(plain(fields[0]).upper())
    return {"retries": tries(dict(zip(codes, (at(fields, 1), at(fields, 2)), strict=True))) if codes else {}}


def spic(body: str, command: str = "") -> Fields:
    """^SPIC: [<facility>,]<retries>: Cinterion; without a facility, of what the command asks for, or of the PIN."""
    fields = split(body)
    asked = SPIC.search(command.upper())
    facility = plain(fields[0]).upper()
    if facility in FACILITIES:
        return {"retries": tries({FACILITIES[facility][0]: at(fields, 1)})}
    codes = FACILITIES.get(asked[1], ()) if asked else (PIN, PUK)
    code = codes[bool(asked and asked[2])] if codes else None
    return {"retries": tries({code: fields[0]}) if code else {}}


SPIC = re.compile(r"\^SPIC=\s*\"?([A-Z0-9]{2})\"?\s*(,\s*1)?")
FACILITIES = {
    "SC": (PIN, PUK), "P2": (PIN2, PUK2), "PS": ("PH-SIM PIN", "PH-SIM PUK"), "PN": ("PH-NET PIN", "PH-NET PUK"),
}  # fmt: skip


def csim(body: str) -> Fields:
    """+CSIM: <length>,<response>: 27.007 8.17. Its last two bytes are the status; of 63Cx, x tries are left."""
    fields = split(body)
    response = plain(at(fields, 1)).upper()
    found: Fields = {"response": response or None, "status": response[-4:] or None}
    if re.fullmatch(r"63C[0-9A-F]", response[-4:]):
        found["tries"] = int(response[-1], 16)
    return found


# -- ICCID ------------------------------------------------------------------------------------------------------------


def iccid(body: str) -> Fields:
    """In any spelling: quotes, blanks, filler F, nibbles swapped as on the SIM (3GPP TS 31.102 4.2.2 EF ICCID)."""
    candidates = (re.sub(r"[\s\"']", "", field).upper() for field in split(CARD_LABEL.sub("", body.strip())))
    said = next((each for each in candidates if STORED.fullmatch(each)), None)
    if said is None:
        return {"iccid": None, "valid": False, "luhn": None}
    if said.startswith("98"):
        said = "".join(said[i + 1 : i + 2] + said[i] for i in range(0, len(said), 2))
    digits = said.rstrip("F")
    is_valid = ICCID_MIN <= len(digits) <= ICCID_MAX and bool(ICCID.fullmatch(digits))
    return {"iccid": digits or None, "valid": is_valid, "luhn": is_checked(digits) if is_valid else None}


def is_checked(digits: str) -> bool | None:
    """Whether the check digit, the 19th or the last, fits; None where there is none."""
    if not digits.isdigit() or len(digits) < 19:
        return None
    return luhn(digits) or luhn(digits[:19])


def bare_iccid(line: str) -> Fields | None:
    """A line without prefix in answer to a question for it."""
    bare = plain(CARD_LABEL.sub("", line).replace(" ", "")).upper()
    return iccid(bare) if BARE_ICCID.fullmatch(bare) else None


def crsm(body: str) -> Fields:
    """+CRSM: <sw1>,<sw2>[,<response>]: 27.007 8.18; the ten bytes of EF ICCID are the ICCID."""
    fields = split(body)
    response = plain(at(fields, 2)).upper()
    found: Fields = {"sw1": number(fields[0]), "sw2": number(at(fields, 1)), "response": response or None}
    if len(response) == 20 and response.startswith("98") and found["sw1"] in (144, 145, 159):
        found |= iccid(response)
    return found


# -- the SIM's coming and going ---------------------------------------------------------------------------------------

READY, MISSING, INSERTED, FAILED, LOCKED, UNKNOWN = "ready", "missing", "inserted", "failed", "locked", "unknown"


PRESENCE = {0: MISSING, 1: INSERTED}
QUSIM = {0: INSERTED, 1: INSERTED}  # its kind, SIM or USIM: there is one
QSIMSTAT = {0: MISSING, 1: INSERTED, 2: UNKNOWN}  # 2 until it was looked for
QSS = {0: MISSING, 1: INSERTED, 2: INSERTED, 3: READY}
# Huawei: 0 invalid, 2 not valid for calls, 3 not for data, 4 for neither, 240 built in.
SIMST = {0: FAILED, 1: READY, 2: READY, 3: READY, 4: FAILED, 240: READY, 255: MISSING}
# Intel: 5 blocked for ever, 6 an error, 7 ready to attach, 8 a technical problem, 9 removed.
XSIM = {0: MISSING, 1: LOCKED, 2: READY, 3: READY, 4: LOCKED, 5: FAILED, 6: FAILED, 7: READY, 8: FAILED, 9: MISSING}
XSIM |= {99: UNKNOWN}
# u-blox: 2 PIN blocked, 3 PUK blocked, 4 not operational, 5 restricted to some numbers, 7 and 8 its phonebook is there.
UUSIMSTAT = {0: MISSING, 1: LOCKED, 2: LOCKED, 3: FAILED, 4: FAILED, 5: READY, 6: READY, 7: READY, 8: READY}
INITIALISED = {0: MISSING, 1: READY}
WIND = {0: MISSING, 1: INSERTED}  # Wavecom: the other numbers are of start and calls


class State:
    """A line of which one number tells the state of the SIM; an answer may have the number of a setting before it."""

    def __init__(self, states: dict[int, str], place_of_answer: int = 0) -> None:
        self._states = states
        self._answer = place_of_answer

    def __call__(self, body: str) -> Fields:
        fields = split(body)
        value = number(fields[self._answer if len(fields) > 1 else 0])
        return {"sim": self._states.get(value) if value is not None else None}


def words(body: str) -> Fields:
    """+SIMCARD: NOT AVAILABLE, +SIM: INSERTED, $QCSIMSTAT: 1,SIM INIT COMPLETED and their like."""
    said = body.upper()
    for word, state in WORDS:
        if word in said:
            return {"sim": state}
    return {"sim": None}


WORDS = (
    ("NOT AVAILABLE", MISSING), ("NOT INSERTED", MISSING), ("REMOVED", MISSING), ("ABSENT", MISSING), ("DROP", MISSING),
    ("NO SIM", MISSING), ("NOT READY", UNKNOWN), ("FAIL", FAILED), ("ERROR", FAILED), ("INIT COMPLETED", READY),
    ("READY", READY), ("INSERTED", INSERTED), ("AVAILABLE", INSERTED),
)  # fmt: skip
