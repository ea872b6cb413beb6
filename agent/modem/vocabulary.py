"""The words between a modem and us: commands, what their answers begin with, which lines come unasked, who reads what.

A newcomer finds every prefix that is known here, and the parser that reads it.
"""

import re
from collections.abc import Callable

from msgspec import Struct

from agent.modem.fields import Fields
from agent.modem.parsers import cells, clock, identity, modes, operators, packet, signal, sim
from agent.modem.seams import SIGNS

Parser = Callable[[str], Fields]
Bare = Callable[[str], Fields | None]


class Command(Struct, frozen=True):
    """What is in flight, of one or several parts. Forms: read (AT+X?), test (AT+X=?), set (AT+X=...), run (AT+X).

    `forms` has that of each name (a question, if it is both asked and set), `form` the last one's. `expected` are the
    prefixes of its answers, `bare` reads those of its lines that have none.
    """

    text: str
    names: tuple[str, ...]
    forms: dict[str, str]
    form: str
    expected: frozenset[str]
    bare: tuple[Bare, ...]
    is_free: bool
    """Its answer is text of any shape: what is no known line of anybody else is its own."""
    is_list: bool
    """Its answer names other commands, or their settings: they look like echoes, answers and URCs, and are none."""


PART = re.compile(r"([+^#*$%!_@][A-Za-z][A-Za-z0-9]*|[A-Za-z]|&[A-Za-z])(=\?|\?|=)?")
EXTENDED = re.compile(r"[+^#*$%!_@][A-Za-z][A-Za-z0-9]*(?:=\?|\?|=)?")
OUTSIDE = re.compile(r'((?:"[^"]*+"?|[^;"])*+)(?:;|$)')
QUESTIONS = ("read", "test")
LISTS = frozenset(("+CLAC", "$QCCLAC", "&V"))  # 27.007 8.37, V.250 6.1.2 and its vendors
FORMS = {"=?": "test", "?": "read", "=": "set", "": "run"}
REGISTRATIONS = frozenset(("+CREG", "+CGREG", "+CEREG", "+C5GREG"))

# Answers under another name than the command's.
ALSO: dict[str, frozenset[str]] = {
    "+CCID": frozenset(("+ICCID", "+CCID", "+QCCID", "+SCID")),
    "+QCCID": frozenset(("+CCID", "+ICCID")),
    "+CICCID": frozenset(("+ICCID",)),
    "+ICCID": frozenset(("+CCID", "+ICCID")),
    "+ZICCID": frozenset(("^ICCID", "+ICCID", "+ZICCID", "*ICCID")),
    "%CCID": frozenset(("+CCID",)),
    "#CCID": frozenset(("+CCID",)),
    "+GSN": frozenset(("+CGSN", "+MEID", "+ESN")),
    "+CGSN": frozenset(("+GSN", "+MEID", "+ESN")),
    "+GMI": frozenset(("+CGMI",)),
    "+CGMI": frozenset(("+GMI",)),
    "+GMM": frozenset(("+CGMM",)),
    "+CGMM": frozenset(("+GMM",)),
    "+GMR": frozenset(("+CGMR",)),
    "+CGMR": frozenset(("+GMR", "+QGMR")),
    **dict.fromkeys(
        ("I", "+SIMCOMATI"),
        frozenset(("+GCAP", "+GMI", "+GMM", "+GMR", "+GSN", "+CGMI", "+CGMM", "+CGMR", "+CGSN")),
    ),
    "+QLTS": frozenset(("+CCLK",)),
    "^SYSINFO": frozenset(("^SYSINFOEX",)),
}

ICCID = (
    "+CCID", "+QCCID", "+ICCID", "+CICCID", "+ZICCID", "+ZGETICCID", "+SQNCCID", "+NCCID", "+MCCID", "^ICCID", "^SCID",
    "+SCID", "#CCID", "%CCID", "%XICCID", "!ICCID", "*ICCID", "%ICCID", "$ICCID", "+QICCID",
)  # fmt: skip
BARE: dict[str, tuple[Bare, ...]] = {
    "+GSN": (identity.bare_serial,),
    "+CGSN": (identity.bare_serial,),
    "+EGMR": (identity.bare_serial,),
    "+CGSN=0": (identity.any_serial,),
    "+CIMI": (identity.bare_imsi,),
    "+CPNNUM": (sim.named_tries,),
    "+COPS": (operators.continued, operators.ended),
    "+WS46": (modes.bare_ws46,),
    **dict.fromkeys(("S0?", "S2?", "S3?", "S4?", "S5?", "S6?", "S7?", "S8?", "S10?"), (modes.register,)),
    "+GCAP": (identity.bare_capabilities,),
    **dict.fromkeys(ICCID, (sim.bare_iccid,)),
}
EXACT = frozenset(name for name in BARE if name[-2:] == "=0" or name[-1] == "?")  # with what stands behind them
FREE: dict[str, Parser] = {
    "+GMI": identity.manufacturer,
    "+CGMI": identity.manufacturer,
    "+GMM": identity.model,
    "+CGMM": identity.model,
    "+GMR": identity.revision,
    "+CGMR": identity.revision,
    "+QGMR": identity.revision,
    "I": identity.information,
    "+SIMCOMATI": identity.information,
    "!GSTATUS": cells.gstatus,
}


def command_of(text: str) -> Command:
    """Any text: what is no command expects nothing but a final result."""
    said = text.strip()
    body = said[2:] if said[:2].upper() == "AT" else said
    names: list[str] = []
    forms: dict[str, str] = {}
    form = "run"
    parts = []
    for part in OUTSIDE.findall(body):
        part = part.replace(" ", "")  # V.250 5.2.1: blanks do not count, and in quotes they change no name
        parts.append(part.upper())
        found = PART.match(part)
        if found and found[1][0] not in SIGNS:  # basic ones need no `;` between them: ATE0V1+CMEE=1
            names.append(found[1].upper())
            found = (after := EXTENDED.search(part)) and PART.match(after[0])
        if found and found[1][0] in SIGNS:
            names.append(found[1].upper())
            form = FORMS[found[2] or ""]
            if forms.get(names[-1]) not in QUESTIONS:
                forms[names[-1]] = form
    expected = {also for name in names for also in ALSO.get(name, ())} | {name for name in names if name[0] in SIGNS}
    bare = tuple(reader for name in (*names, *EXACT.intersection(parts)) for reader in BARE.get(name, ()))
    is_free, is_list = (any(name in kind for name in names) for kind in (FREE, LISTS))
    return Command(said, tuple(names), forms, form, frozenset(expected), bare, is_free, is_list)


# -- who reads what ---------------------------------------------------------------------------------------------------

READERS: tuple[tuple[Parser, str], ...] = (
    (signal.csq, "+CSQ +CSQN"),
    (signal.cesq, "+CESQ"),
    (signal.intel_cesq, "+XCESQ +XCESQI"),
    (signal.nordic_cesq, "%CESQ"),
    (signal.qcsq, "+QCSQ"),
    (signal.hcsq, "^HCSQ"),
    (signal.rssi_index, "^RSSI"),
    (signal.qcrsrp, "$QCRSRP +VZWRSRP +RSRP"),
    (signal.qcrsrq, "$QCRSRQ +VZWRSRQ +RSRQ"),
    (signal.by_antenna(signal.RSRP_DBM), "+QRSRP"),
    (signal.by_antenna(signal.RSRQ_DB), "+QRSRQ"),
    (signal.rsrp_rsrq, "^LTERSRP"),
    (cells.cpsi, "+CPSI"),
    (cells.qnwinfo, "+QNWINFO"),
    (cells.qeng, "+QENG"),
    (cells.sysinfo, "^SYSINFOEX"),
    (cells.old_sysinfo, "^SYSINFO"),
    (cells.smoni, "^SMONI"),
    (cells.rfsts, "#RFSTS"),
    (cells.moni, "#MONI"),
    (cells.xmonitor, "%XMONITOR"),
    (operators.service_provider, "+QSPN"),
    (sim.cpin, "+CPIN ^CPIN *CPIN"),
    (sim.cpinr, "+CPINR"),
    (sim.qpinc, "+QPINC"),
    (sim.csim, "+CSIM"),
    (sim.crsm, "+CRSM"),
    (sim.Retries(sim.PIN, sim.PUK, sim.PIN2, sim.PUK2), "+SPIC *EPIN %PINNUM +CPNNUM"),
    (sim.Retries(sim.PIN, sim.PIN2, sim.PUK, sim.PUK2), "+UPINCNT +CPINC +EPINC +XPINCNT"),
    (sim.Retries(sim.PIN, sim.PUK), "_OERCN +ZPINPUK"),
    (sim.Retries(sim.PIN), "#PCT"),
    (sim.iccid, " ".join(ICCID)),
    (sim.State(sim.QUSIM), "+QUSIM"),
    (sim.State(sim.PRESENCE), "+ESIMS"),
    (sim.State(sim.QSIMSTAT, place_of_answer=1), "+QSIMSTAT"),
    (sim.State(sim.PRESENCE, place_of_answer=1), "#SIMDET ^SCKS +CSMINS"),
    (sim.State(sim.UUSIMSTAT), "+UUSIMSTAT"),
    (sim.State(sim.QSS, place_of_answer=1), "#QSS"),
    (sim.State(sim.SIMST), "^SIMST"),
    (sim.State(sim.XSIM, place_of_answer=1), "+XSIM +XSIMSTATE"),
    (sim.State(sim.INITIALISED), "%XSIM +USIM"),
    (sim.State(sim.WIND), "+WIND"),
    (sim.words, "+SIMCARD +SIM $QCSIMSTAT"),
    (identity.serial, "+CGSN +GSN +QGSN +EGMR +CMEID #CGSN +KGSN"),
    (identity.labelled_meid, "^MEID +MEID"),
    (identity.labelled_esn, "^ESN +ESN"),
    (identity.imsi, "+CIMI"),
    (identity.capabilities, "+GCAP"),
    (identity.manufacturer, "+CGMI +GMI"),
    (identity.model, "+CGMM +GMM"),
    (identity.revision, "+CGMR +GMR +QGMR"),
    (packet.cgdcont, "+CGDCONT"),
    (packet.cgact, "+CGACT"),
    (packet.cgatt, "+CGATT"),
    (packet.cgpaddr, "+CGPADDR"),
    (packet.cgcontrdp, "+CGCONTRDP"),
    (packet.cgev, "+CGEV"),
    (packet.qiact, "+QIACT"),
    (packet.qiurc, "+QIURC"),
    (packet.first_cid, "+UUPSDD +UUPSDA"),
    (clock.clock, "+CCLK #CCLK ^NWTIME ^TIME #NITZ +NITZ +QNITZ %NWTIME"),
    (clock.psuttz, "*PSUTTZ"),
    (clock.zone_change, "+CTZV +CTZE"),
    (clock.universal, "+CTZEU"),
    (modes.cfun, "+CFUN"),
    (modes.ws46, "+WS46"),
    (modes.mode, "^MODE"),
    (modes.Single("cmee"), "+CMEE"),
    (modes.Single("service"), "^SRVST"),
    (modes.words, "+CEER +CNSMOD +QIND"),
)
PARSERS: dict[str, Parser] = {name: parser for parser, names in READERS for name in names.split()}

# Lines that come unasked. Some are answers too; then the command in flight, its form and the line's shape decide.
URCS = frozenset(
    """
    +CREG +CGREG +CEREG +C5GREG +CGEV +CPIN +CFUN +CTZV +CTZE +CTZEU +CSCON +CIEV +CMT +CMTI +CDS +CDSI +CBM +CLIP
    +CRING +CCWA +CUSD +CSSI +CSSU +CALV +CIREPI +CIREPH +CNEMIU +CNEMS1 +COLP +CDIP +CKEV +CNAP +CEDRXP +CPSMSTATUS
    +CUSATP +CUSATEND +CIREGU +CAPPLEVMCNR +CMCCSS +CMOLR +CMTLR +CNEC_EMM +CNEC_ESM +CRTDCP +CABTSRI +CMWN +CSDBTSRI
    +CIND

    +QUSIM +QSIMSTAT +QIND +QIURC +QSSLURC +QMTSTAT +QMTRECV +QMTOPEN +QMTCONN +QMTCLOSE +QNETDEVSTATUS +QPOWD +QSTK
    +QNITZ +QTIME +QLWEVTIND +QATWAKEUP +QNTP +QPING +QIOPEN +QICLOSE +QHTTPGET +QHTTPPOST +QSONMI

    +SIMCARD +SIM +CSMINS +STIN +CNSMOD +CPCM +CLTS +CDNSGIP +NETOPEN +NETCLOSE +IPCLOSE +RECEIVE +CIPEVENT +PDP
    +CCHEVENT +SAPBR +CNTP +CIPERROR +PACSP +APP +SIMEI +CWURC +CTEV +CMTE +CMTD +CIPOPEN +CIPCLOSE +CTZDST DST *PSUTTZ
    *PSNWID *ATREADY *ISIMAID *CGREG *CSYSTEM *CORGI *SIMINS *CISCC *REJCAUSE +CLBS +SMPUB +SMSUB +SMSTATE +CNACT

    +UUPSDD +UUPSDA +UUSORD +UUSORF +UUSOCL +UUSOLI +UUSOCO +UUSIMSTAT +UUICCSTAT +UMWI +UUSTS +UUMSTAT +UUPING +UREG
    +UUDNSRN +UUHTTPCR +UUCREG +UUFTPCR +UUGIND +PACSP0 +PACSP1 +USIM +UUTEMP +UUMQTTC +UUPSMR +UUSECO +UFOTASTAT
    +UUSMCSPM

    ^SIMST ^SRVST ^MODE ^RSSI ^BOOT ^RSSILVL ^HRSSILVL ^CRSSI ^HDRRSSI ^DSFLOWRPT ^NDISSTAT ^NDISEND ^DCONN ^DEND
    ^ORIG ^CONF ^CONN ^CEND ^HCSQ ^ANLEVEL ^STIN ^SMMEMFULL ^CSNR ^EARST ^XLEMA ^CERSSI ^LTERSRP ^LCACELL ^NWTIME
    ^NWNAME ^EONS ^TIME ^THERM ^THERMEX ^RFSWITCH ^CCALLSTATE ^SIMHOTPLUG ^SIMSQ ^CARDMODE ^ACTIVEBAND ^DATACONNECT
    ^LWURC ^SIMRESET ^FOTASTATE ^CPIN *CPIN

    ^SYSSTART ^SHUTDOWN ^SCKS ^SIS ^SISR ^SISW ^SBC ^SCTM_A ^SCTM_B ^SQPORT ^SLCC ^SIND ^SSIM ^EXIT ^SRADC

    #QSS #SIMDET #CEV #PSNT #STN #SRING #NITZ #ECAM #JDR #TEMPMEAS #CEERNET #MWI #PSMURC #NWEN #HTTPRING #FTPGETPKT

    %XSIM %CESQ %MDMEV %XVBATLVL %XTIME %NOTIFYEV %STATEV %REGINFOEV %DDNEV %BOOTEV %NITZ %NWTIME %CREG %TSIM %STKI
    %SNREV

    $QCSIMSTAT $QCSIMAPP _OSIGQ _OWCTI _OUWCTI _OSSYS _OPONI _OPATEMP _OWANCALL *EMRDY *E2REG *EREG *ESTKMENU
    *ERINFO

    +ZUSIMR +ZUSLOT +ZDONR +ZMSRI +ZPASR +ZPSTM +ZMGSF +ZCONSTAT +ZURDY +ZEMCI +SYSSTART +SHUTDOWN +SQNSIMST
    +SQNSRING +SQNMQTTONCONNECT +KSUP +KCNX_IND +KTCP_IND +KTCP_NOTIF +KUDP_IND +KUDP_NOTIF +WIND +ESIMS +EGREG
    +ESIMINF +EIND +PSBEARER +MSTK +XSIM +XSIMSTATE +XREG +XCESQI +XCALLSTAT +XDATACHANNEL +XNITZINFO +NITZ +MIPCALL
    +MIPRTCP +MIPOPEN +GTRNDIS +GTIPDISC +GTIND +SIND +NPSMR +NPING +NSONMI +NNMI +UFOTAS +EONS +SIMREADY +PBREADY
    +ECIND +ECPDPR +RING
    """.split()
)
# These too, where SIMCom's automatic reports are on; with a command in flight they are more likely a late answer.
REPORTS = frozenset(("+CSQ", "+CPSI", "+CSQN"))
# These, too, in the very shape that an answer to a question has.
EITHER = frozenset(("+CPIN", "+CFUN", "+QSIMSTAT", "^HCSQ"))
# Stored messages, 27.005 3.4.2 and 3.4.3: what somebody has written stands behind the line with this prefix.
STORED = frozenset(("+CMGR", "+CMGL", "+CMGRD", "+QCMGR"))
# Their parsers want to know what was asked, as the registrations' does.
ASKED = frozenset(("+COPS", "+QLTS", "^SPIC", "+CSCON"))
KNOWN = frozenset(PARSERS) | REGISTRATIONS | ASKED | URCS | STORED
# Questions of which OK alone is no good answer: those that are known, but for the lists that may be empty.
TOLD = (frozenset(PARSERS) | REGISTRATIONS | ASKED | frozenset(BARE) | frozenset(FREE)) - frozenset(
    ("+CGDCONT", "+CGACT", "+CGPADDR", "+CGCONTRDP", "+QIACT", "+CPINR", "+QENG", "+CEER", "!GSTATUS", "#MONI")
)
# Bodies of numbers, strings in quotes, and words that are known: no letter of them is left to chance.
STRICT = (frozenset(PARSERS) | REGISTRATIONS | ASKED) - frozenset(
    name for name, parser in PARSERS.items() if parser in (modes.words, sim.words) or isinstance(parser, identity.Name)
)
NAMING = frozenset(("+COPS", "+QSPN"))  # a name may be in any letters
# What a test of these lists looks like a value of theirs.
LEVELS = frozenset(
    name for name, parser in PARSERS.items() if parser.__module__ in (signal.__name__, cells.__name__)
)

# Whole lines that come unasked. What they say of the modem: it has surely started anew, it is likely to have, it goes.
SURE, LIKELY, DOWN, OTHER = "sure", "likely", "down", "other"
MEANINGS = {
    SURE: """
        RDY | APP RDY | ^SYSSTART | +SYSSTART | SYSSTART | ^SYSSTART AIRPLANE MODE | ^SYSSTART NORMAL MODE
        *ATREADY: 1 | *EMRDY: 1 | START | ^BOOT.ROM'V'!\\N | MODEM:STARTUP | +KSUP: 0 | %BOOTEV: 0
        +ZURDY: 0 | +QIND: BOOT
    """,
    LIKELY: """
        PB DONE | SMS DONE | CALL READY | SMS READY | SIM READY | PB READY | +PBREADY | +QIND: PB DONE
        +QIND: SMS DONE | +CPIN: READY | AT READY
    """,
    DOWN: """
        NORMAL POWER DOWN | POWERED DOWN | NORMAL POWER OFF | POWER DOWN | ^SHUTDOWN | +SHUTDOWN | SHUTDOWN
        UNDER-VOLTAGE POWER DOWN | OVER-VOLTAGE POWER DOWN | UNDER_VOLTAGE POWER DOWN | OVER_VOLTAGE POWER DOWN
    """,
    OTHER: """
        RING | UNDER-VOLTAGE WARNNING | UNDER-VOLTAGE WARNING | UNDER_VOLTAGE WARNING | OVER-VOLTAGE WARNNING
        OVER-VOLTAGE WARNING | OVER_VOLTAGE WARNING | SIM REMOVED | SIM INSERTED
        SIM DROP | +PDP: DEACT | +PDP DEACT | CONNECT OK | CLOSED | CLOSE OK | SHUT OK | SEND OK | ALREADY CONNECT
        OPL UPDATING | PNN UPDATING | EONS UPDATING | VOICE CALL: BEGIN | +CPIN: NOT READY | NETWORK DISCONNECTED
        ^EXIT | +NITZ
    """,
}
WORDS: dict[str, str] = {
    word.strip(): meaning
    for meaning, said in MEANINGS.items()
    for row in said.strip().split("\n")
    for word in row.split("|")
}
WORDED = frozenset(word.partition(":")[0] for word in WORDS if ":" in word)  # prefixes of those that have one
MESSAGES = frozenset(("+CMT", "+CDS", "+CBM"))  # 27.005 3.4.1: a second line follows, the message itself
# V.250 5.7.1: result codes that also come when nothing was asked, since a call ends; and what begins one.
HANGUPS = frozenset(("NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE"))
DIALS = frozenset(("D", "O", "A", "+CGDATA"))
# The vendors' own results, and the commands that they end; after any other they came unasked.
ENDS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("SEND OK", "SEND FAIL"), frozenset(("+QISEND", "+QISENDEX", "+QSSLSEND", "+CIPSEND"))),
    "SHUT OK": frozenset(("+CIPSHUT",)),
    "CLOSE OK": frozenset(("+CIPCLOSE", "+QICLOSE")),
    "DEACT OK": frozenset(("+QIDEACT",)),
}
SOCKETS = frozenset(("+USOWR", "+USOST"))  # u-blox: their prompt is @
