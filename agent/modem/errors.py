"""What modems answer instead of OK: 3GPP TS 27.007 9.2 (+CME ERROR), 27.005 3.2.5 (+CMS ERROR), ITU-T V.250 5.7.1.

A modem says an error by its number (AT+CMEE=1) or in words (AT+CMEE=2); both ways lead to number and name here. Words
are compared without case, blanks and signs, as modems vary them.
"""

import re

from agent.modem.fields import Fields

CME: dict[int, str] = {
    0: "phone failure",
    1: "no connection to phone",
    2: "phone-adaptor link reserved",
    3: "operation not allowed",
    4: "operation not supported",
    5: "PH-SIM PIN required",
    6: "PH-FSIM PIN required",
    7: "PH-FSIM PUK required",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    13: "SIM failure",
    14: "SIM busy",
    15: "SIM wrong",
    16: "incorrect password",
    17: "SIM PIN2 required",
    18: "SIM PUK2 required",
    20: "memory full",
    21: "invalid index",
    22: "not found",
    23: "memory failure",
    24: "text string too long",
    25: "invalid characters in text string",
    26: "dial string too long",
    27: "invalid characters in dial string",
    30: "no network service",
    31: "network timeout",
    32: "network not allowed - emergency calls only",
    40: "network personalization PIN required",
    41: "network personalization PUK required",
    42: "network subset personalization PIN required",
    43: "network subset personalization PUK required",
    44: "service provider personalization PIN required",
    45: "service provider personalization PUK required",
    46: "corporate personalization PIN required",
    47: "corporate personalization PUK required",
    48: "hidden key required",
    49: "EAP method not supported",
    50: "incorrect parameters",
    51: "command implemented but currently disabled",
    52: "command aborted by user",
    53: "not attached to network due to MT functionality restrictions",
    54: "modem not allowed - MT restricted to emergency calls only",
    55: "operation not allowed because of MT functionality restrictions",
    56: "fixed dial number only allowed - called number is not a fixed dial number",
    57: "temporarily out of service due to other MT usage",
    58: "language/alphabet not supported",
    59: "unexpected data value",
    60: "system failure",
    61: "data missing",
    62: "call barred",
    63: "message waiting indication subscription failure",
    100: "unknown",
    # 9.2.2.1: the attach was refused; the network's cause plus 100
    102: "IMSI unknown in HLR",
    103: "illegal MS",
    104: "IMSI unknown in VLR",
    105: "IMEI not accepted",
    106: "illegal ME",
    107: "GPRS services not allowed",
    108: "GPRS services and non-GPRS services not allowed",
    109: "MS identity cannot be derived by the network",
    110: "implicitly detached",
    111: "PLMN not allowed",
    112: "location area not allowed",
    113: "roaming not allowed in this location area",
    114: "GPRS services not allowed in this PLMN",
    115: "no suitable cells in location area",
    116: "MSC temporarily not reachable",
    117: "network failure",
    118: "CS domain not available",
    119: "ESM failure",
    122: "congestion",
    124: "MBMS bearer capabilities insufficient for the service",
    125: "not authorized for this CSG",
    # 9.2.2.2: the context was refused; the network's cause plus 100
    126: "insufficient resources",
    127: "missing or unknown APN",
    128: "unknown PDP address or PDP type",
    129: "user authentication failed",
    130: "activation rejected by GGSN, Serving GW or PDN GW",
    131: "activation rejected, unspecified",
    132: "service option not supported",
    133: "requested service option not subscribed",
    134: "service option temporarily out of order",
    135: "NSAPI already used",
    136: "regular deactivation",
    137: "QoS not accepted",
    138: "call cannot be identified",
    139: "CS service temporarily not available",
    140: "feature not supported",
    141: "semantic error in the TFT operation",
    142: "syntactical error in the TFT operation",
    143: "unknown PDP context",
    144: "semantic errors in packet filter(s)",
    145: "syntactical errors in packet filter(s)",
    146: "PDP context without TFT already activated",
    147: "multicast group membership time-out",
    148: "unspecified GPRS error",
    149: "PDP authentication failure",
    150: "invalid mobile class",
    # 9.2.3: VBS, VGCS and eMLPP. 151 was once what is 171 now, and some modems have not heard
    151: "VBS/VGCS not supported by the network",
    152: "no service subscription on SIM",
    153: "no subscription for group ID",
    154: "group Id not activated on SIM",
    155: "no matching notification",
    156: "VBS/VGCS call already present",
    157: "congestion",
    158: "network failure",
    159: "uplink busy",
    160: "no access rights for SIM file",
    161: "no subscription for priority",
    162: "operation not applicable or not possible",
    163: "group Id prefixes not supported",
    164: "group Id prefixes not usable for VBS",
    165: "group Id prefix value invalid",
    171: "last PDN disconnection not allowed",
    172: "semantically incorrect message",
    173: "mandatory information element error",
    174: "information element non-existent or not implemented",
    175: "conditional IE error",
    176: "protocol error, unspecified",
    177: "operator determined barring",
    178: "maximum number of PDP contexts reached",
    179: "requested APN not supported in current RAT and PLMN combination",
    180: "request rejected, bearer control mode violation",
    181: "unsupported QCI value",
    182: "user data transmission via control plane is congested",
    183: "SMS provided via GPRS in this routing area",
    184: "invalid PTI value",
    185: "no PDP context activated",
    186: "message not compatible with protocol state",
    187: "recovery on timer expiry",
    188: "invalid transaction identifier value",
    189: "requested service option not authorized in this PLMN",
    190: "network failure during context activation",
    191: "reactivation requested",
    192: "PDP type IPv4 only allowed",
    193: "PDP type IPv6 only allowed",
    194: "single address bearers only allowed",
    195: "collision with network initiated request",
    196: "PDP type IPv4v6 only allowed",
    197: "PDP type non-IP only allowed",
    198: "bearer handling not supported",
    199: "APN restriction value incompatible with active PDP context",
    200: "multiple accesses to a PDN connection not allowed",
    201: "ESM information not received",
    202: "PDN connection does not exist",
    203: "multiple PDN connections for a given APN not allowed",
    204: "severe network failure",
    205: "insufficient resources for specific slice and DNN",
    206: "not supported SSC mode",
    207: "insufficient resources for specific slice",
    208: "message type not compatible with protocol state",
    209: "information element not implemented",
    210: "N1 mode not allowed",
    211: "restricted service area",
    212: "LADN not available",
    213: "missing or unknown DNN in a slice",
    214: "ngKSI already in use",
    215: "payload was not forwarded",
    216: "non-3GPP access to 5GCN not allowed",
    217: "serving network not authorized",
    218: "DNN not supported or not subscribed in the slice",
    219: "insufficient user-plane resources for the PDU session",
    220: "out of LADN service area",
    221: "PTI mismatch",
    222: "maximum data rate per UE for user-plane integrity protection is too low",
    223: "semantic error in the QoS operation",
    224: "syntactical error in the QoS operation",
    225: "invalid mapped EPS bearer identity",
    226: "redirection to 5GCN required",
    227: "redirection to EPC required",
    228: "temporarily not authorized for this SNPN",
    229: "permanently not authorized for this SNPN",
    230: "PDN type Ethernet only allowed",
    231: "not authorized for this CAG or authorized for CAG cells only",
    232: "no network slices available",
    233: "wireline access area not allowed",
}

CMS: dict[int, str] = {
    # 3GPP TS 24.011 annex E-2
    1: "unassigned (unallocated) number",
    8: "operator determined barring",
    10: "call barred",
    17: "network failure",
    21: "short message transfer rejected",
    22: "congestion",
    27: "destination out of service",
    28: "unidentified subscriber",
    29: "facility rejected",
    30: "unknown subscriber",
    38: "network out of order",
    41: "temporary failure",
    42: "congestion",
    47: "resources unavailable, unspecified",
    50: "requested facility not subscribed",
    69: "requested facility not implemented",
    81: "invalid short message transfer reference value",
    95: "invalid message, unspecified",
    96: "invalid mandatory information",
    97: "message type non-existent or not implemented",
    98: "message not compatible with short message protocol state",
    99: "information element non-existent or not implemented",
    111: "protocol error, unspecified",
    127: "interworking, unspecified",
    # 3GPP TS 23.040 9.2.3.22
    128: "telematic interworking not supported",
    129: "short message type 0 not supported",
    130: "cannot replace short message",
    143: "unspecified TP-PID error",
    144: "data coding scheme (alphabet) not supported",
    145: "message class not supported",
    159: "unspecified TP-DCS error",
    160: "command cannot be actioned",
    161: "command unsupported",
    175: "unspecified TP-command error",
    176: "TPDU not supported",
    192: "SC busy",
    193: "no SC subscription",
    194: "SC system failure",
    195: "invalid SME address",
    196: "destination SME barred",
    197: "SM rejected-duplicate SM",
    198: "TP-VPF not supported",
    199: "TP-VP not supported",
    208: "(U)SIM SMS storage full",
    209: "no SMS storage capability in (U)SIM",
    210: "error in MS",
    211: "memory capacity exceeded",
    212: "(U)SIM application toolkit busy",
    213: "(U)SIM data download error",
    255: "unspecified error cause",
    # 3GPP TS 27.005 3.2.5
    300: "ME failure",
    301: "SMS service of ME reserved",
    302: "operation not allowed",
    303: "operation not supported",
    304: "invalid PDU mode parameter",
    305: "invalid text mode parameter",
    310: "(U)SIM not inserted",
    311: "(U)SIM PIN required",
    312: "PH-(U)SIM PIN required",
    313: "(U)SIM failure",
    314: "(U)SIM busy",
    315: "(U)SIM wrong",
    316: "(U)SIM PUK required",
    317: "(U)SIM PIN2 required",
    318: "(U)SIM PUK2 required",
    320: "memory failure",
    321: "invalid memory index",
    322: "memory full",
    330: "SMSC address unknown",
    331: "no network service",
    332: "network timeout",
    340: "no +CNMA acknowledgement expected",
    500: "unknown error",
}

# Other words for the same: older releases, EPS and 5GS terms, vendors' own.
CME_ALSO: dict[str, int] = {
    "unknown error": 100,
    "unspecified": 100,
    "phone failure error": 0,
    "operation not allowed error": 3,
    "operation temporarily not allowed": 3,
    "operation not supported error": 4,
    "command not supported": 4,
    "PH-SIM PIN necessary": 5,
    "SIM not inserted error": 10,
    "SIM not present": 10,
    "no SIM": 10,
    "(U)SIM not inserted": 10,
    "(U)SIM PIN required": 11,
    "SIM PIN necessary": 11,
    "(U)SIM PUK required": 12,
    "SIM PUK necessary": 12,
    "(U)SIM failure": 13,
    "(U)SIM busy": 14,
    "(U)SIM wrong": 15,
    "incorrect PIN": 16,
    "wrong password": 16,
    "(U)SIM PIN2 required": 17,
    "(U)SIM PUK2 required": 18,
    "text too long": 24,
    "invalid characters": 25,
    "dial string invalid": 27,
    "no network": 30,
    "no network service available": 30,
    "network not allowed": 32,
    "network not allowed emergency calls only": 32,
    "emergency calls only": 32,
    "network personalisation PIN required": 40,
    "network personalisation PUK required": 41,
    "network subset personalisation PIN required": 42,
    "network subset personalisation PUK required": 43,
    "service provider personalisation PIN required": 44,
    "service provider personalisation PUK required": 45,
    "corporate personalisation PIN required": 46,
    "corporate personalisation PUK required": 47,
    "invalid parameters": 50,
    "invalid parameter": 50,
    "incorrect parameter": 50,
    "command disabled": 51,
    "command aborted": 52,
    "IMSI unknown in HSS": 102,
    "illegal UE": 103,
    "EPS services not allowed": 107,
    "5GS services not allowed": 107,
    "GPRS and non-GPRS services not allowed": 108,
    "EPS services and non-EPS services not allowed": 108,
    "EPS and non-EPS services not allowed": 108,
    "UE identity cannot be derived by the network": 109,
    "tracking area not allowed": 112,
    "roaming not allowed in this tracking area": 113,
    "EPS services not allowed in this PLMN": 114,
    "no suitable cells in tracking area": 115,
    "no suitable cells in this location area": 115,
    "user authentication or authorization failed": 129,
    "activation rejected by GGSN": 130,
    "activation rejected by Serving GW or PDN GW": 130,
    "requested service option not subscribed error": 133,
    "EPS QoS not accepted": 137,
    "unspecified protocol error": 176,
    "maximum number of EPS bearers reached": 178,
    "PDN type IPv4 only allowed": 192,
    "PDN type IPv6 only allowed": 193,
    "PDN type IPv4v6 only allowed": 196,
    "PDN type non-IP only allowed": 197,
}
CMS_ALSO: dict[str, int] = {
    "unassigned number": 1,
    "unknown": 500,
    "SIM not inserted": 310,
    "SIM PIN required": 311,
    "SIM PIN necessary": 311,
    "PH-SIM PIN required": 312,
    "PH-SIM PIN necessary": 312,
    "SIM failure": 313,
    "SIM busy": 314,
    "SIM wrong": 315,
    "SIM PUK required": 316,
    "SIM PUK necessary": 316,
    "SIM PIN2 required": 317,
    "SIM PIN2 necessary": 317,
    "SIM PUK2 required": 318,
    "SIM PUK2 necessary": 318,
    "invalid index": 321,
    "no network": 331,
    "no CNMA acknowledgement expected": 340,
}

SIGNS = re.compile(r"[\W_]+")


CAUSE = re.compile(r"\s*\(#?[0-9]{1,3}\)$")  # the network's own number behind the words, as the clause prints it


NUMBERED = re.compile(r"([0-9]{1,6})\s*[,:;(-].*")  # of some with the words behind it


def essence(words: str) -> str:
    return SIGNS.sub("", words).casefold()


def by_words(table: dict[int, str], also: dict[str, int]) -> dict[str, int]:
    """The lower number wins where two have one name (congestion, network failure)."""
    found = {essence(name): code for code, name in reversed(table.items())}
    return {essence(words): code for words, code in also.items()} | found


CME_BY_WORDS = by_words(CME, CME_ALSO)
CMS_BY_WORDS = by_words(CMS, CMS_ALSO)

FAILED = re.compile(r"\+?(CME|CMS)\s*ERROR\b\s*[:=]?\s*(.*)", re.IGNORECASE)
# V.250 5.7.1 and 27.007 4.1; SIMCom and Huawei, Wavecom, ZTE have their own words for ERROR.
WORDS = {
    "OK": "OK",
    "ERROR": "ERROR",
    "NO CARRIER": "NO CARRIER",
    "NO DIALTONE": "NO DIALTONE",
    "NO DIAL TONE": "NO DIALTONE",
    "NO ANSWER": "NO ANSWER",
    "BUSY": "BUSY",
    "CONNECT": "CONNECT",
    "COMMAND NOT SUPPORT": "ERROR",
    "COMMAND NOT SUPPORTED": "ERROR",
    "COMMAND NO RESPONSE": "ERROR",
    "COMMAND NO RESPONSE!": "ERROR",
    "TOO MANY PARAMETERS": "ERROR",
    "NOT SUPPORT": "ERROR",
    "OPERATION NOT SUPPORTED": "ERROR",
    "NA": "ERROR",
}
LONGER = re.compile(r"CONNECT\s+(?P<speed>.*)|(?:MODEM |\+EXT )?ERROR\s*:\s*(?P<said>.*)", re.IGNORECASE)


def final(line: str) -> Fields | None:
    """The fields of a final result code; None: this line is none.

    `final` is the code in V.250's words; `error` is None for OK and CONNECT, else ERROR, CME, CMS or the code itself.
    """
    upper = line.upper()
    if upper in WORDS:
        word = WORDS[upper]
        if word in ("OK", "CONNECT"):
            return {"final": word, "error": None}
        return {"final": word, "error": word, "code": None, "name": None if upper == word else line}
    if upper[:1] not in "+CME":  # the letters that the others begin with; most lines leave here
        return None
    if found := FAILED.fullmatch(line):
        return failure(found[1].upper(), found[2].strip())
    if found := LONGER.fullmatch(line):
        if found["speed"]:
            return {"final": "CONNECT", "error": None, "speed": found["speed"].strip()}
        said = (found["said"] or "").strip()
        return {"final": "ERROR", "error": "ERROR"} | code_or_words(said)
    return None


def failure(kind: str, said: str) -> Fields:
    """`kind` is CME or CMS; what it says may be a number, words, or nothing."""
    table, words = (CME, CME_BY_WORDS) if kind == "CME" else (CMS, CMS_BY_WORDS)
    said = CAUSE.sub("", said.strip('" '))
    if numbered := NUMBERED.fullmatch(said):
        said = numbered[1]
    code = int(said) if is_code(said) else words.get(essence(said))
    name = table.get(code, None if is_code(said) else said or None) if code is not None else said or None
    return {"final": f"+{kind} ERROR", "error": kind, "code": code, "name": name}


def code_or_words(said: str) -> Fields:
    return {"code": int(said), "name": None} if is_code(said) else {"code": None, "name": said or None}


def is_code(said: str) -> bool:
    return said.isascii() and said.isdigit() and len(said) <= 6
