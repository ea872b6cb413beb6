"""The makes that can be simulated. Two are deep, as their manuals and logs have them: Quectel's EG25-G (LTE) and
SIMCom's SIM5320A (3G, and no more). The others have what tells them apart: identity, SIM, registration, signal, their
restart; the E725 is CDMA, and has no SIM.
"""

from agent.sim.modem.air import with_check_digit
from agent.sim.modem.personality import Need, Personality, Row, Setting

CARD, OPEN, SERVICE = Need.CARD, Need.OPEN, Need.SERVICE
PLACES = '("ME","MT","SM"),("ME","MT","SM"),("SM","MT","ME")'

# What every one of them keeps: text messages and their like, of which this simulator has none.
SETTINGS = (
    Setting("+CMGF", "0", "(0,1)", "[01]"),
    Setting("+CSCS", '"IRA"', '("IRA","GSM","UCS2")', ".{0,20}"),
    Setting("+CNMI", "2,1,0,0,0", "(0-3),(0-3),(0-3),(0-2),(0,1)", "[0-9,]{0,20}"),
    Setting("+CGEREP", "0,0", "(0-2),(0,1)", "[0-2](,[01])?"),
    Setting("+CTZU", "0", "(0,1)", "[013]"),
    Setting("+CTZR", "0", "(0-2)", "[0-2]"),
    Setting("+CSMS", "0", "(0,1)", "[01]"),
    Setting("+CSCA", '"+491710760000",145', "", ".{0,40}"),
    Setting("+CLIP", "0,0", "(0,1)", "[01]"),
    Setting("+CLIR", "0,0", "(0-2)", "[0-2]"),
    Setting("+COLP", "0,0", "(0,1)", "[01]"),
    Setting("+CCWA", "0", "(0,1)", "[0-9,]{0,10}"),
    Setting("+CRC", "0", "(0,1)", "[01]"),
    Setting("+CUSD", "0", "(0-2)", "[0-2].{0,200}"),
    Setting("+CMER", "0,0,0,0,0", "(0-3),(0),(0),(0,1),(0,1)", "[0-9,]{0,20}"),
    Setting("+CPSMS", "0", "(0,1)", "[0-9,]{0,20}"),
    Setting("+CSSN", "0,0", "(0,1),(0,1)", "[01](,[01])?"),
    Setting("+CVHU", "0", "(0,1)", "[01]"),
    Setting("+CR", "0", "(0,1)", "[01]"),
    Setting("+IPR", "115200", "(),(9600,19200,38400,57600,115200,460800,921600)", "[0-9]{1,6}"),
    Setting("+IFC", "0,0", "(0-2),(0-2)", "[0-2](,[0-2])?"),
    Setting("+ICF", "3,3", "(3),(3)", "[0-9](,[0-9])?"),
    Setting("+CMGD", "0", "(),(0-4)", "[0-9]{1,3}(,[0-4])?"),
)
ROWS = (
    Row("+CGMI", "{maker}"), Row("+CGMM", "{model}"), Row("+CGMR", "{revision}"), Row("+CGSN", "{imei}"),
    Row("+GMI", "{maker}"), Row("+GMM", "{model}"), Row("+GMR", "{revision}"), Row("+GSN", "{imei}"),
    Row("+CGMI=?"), Row("+CGMM=?"), Row("+CGMR=?"), Row("+CGSN=?"), Row("+CIMI=?"), Row("+GSN=?"),
    Row("+GCAP", "+GCAP: +CGSM,+DS,+ES"), Row("+CIMI", "{imsi}", needs=OPEN),
    Row("+CLAC", "+CGMI\n+CGMM\n+CGMR\n+CGSN\n+CIMI\n+CREG\n+COPS\n+CSQ\n+CFUN"),
    Row("+CPAS", "+CPAS: 0"), Row("+CLCC"), Row("+CNUM", needs=OPEN), Row("+CGCLASS?", '+CGCLASS: "A"'),
    Row("+CPMS=?", f"+CPMS: {PLACES}"), Row("+CPMS?", '+CPMS: "ME",0,255,"ME",0,255,"ME",0,255', needs=CARD),
    *(Row(f"+CPMS={places}", "+CPMS: 0,255,0,255,0,255", needs=CARD) for places in (
        '"SM"', '"ME"', '"MT"', '"SM","SM"', '"ME","ME"', '"SM","SM","SM"', '"ME","ME","ME"', '"MT","MT","MT"')),
    Row("+CMGL=?", "+CMGL: (0-4)"), Row("+CMGL=4", needs=CARD), Row('+CMGL="ALL"', needs=CARD),
    Row("+CPBS=?", '+CPBS: ("SM","ME","ON")'), Row("+CPBS?", '+CPBS: "SM",0,250', needs=CARD),
    Row('+CPBS="SM"', needs=CARD), Row('+CPBS="ME"', needs=CARD), Row('+CPBS="ON"', needs=CARD),
    Row("+CIND=?", '+CIND: ("battchg",(0-5)),("signal",(0-5)),("service",(0,1)),("roam",(0,1))'),
    Row("+CIND?", "+CIND: 5,{bars},1,{roams}", idle="+CIND: 5,0,0,0"),
        Row("+CESQ=?", "+CESQ: (0-63,99),(0-7,99),(0-96,255),(0-49,255),(0-34,255),(0-97,255)"),
    Row("+CSDH=1"), Row("+CSDH=0"), Row("+CMMS=2"), Row("+CSMP?", "+CSMP: 17,167,0,0"),
)  # fmt: skip


# -- Quectel EG25-G ---------------------------------------------------------------------------------------------------

EG25 = Personality(
    name="eg25", maker="Quectel", model="EG25", revision="EG25GGBR07A08M2G", imei=with_check_digit("86958503123456"),
    acts=(7, 6, 2, 3, 0), vendor="quectel", usb=(0x2C7C, 0x0125), at_interface=2, boot_s=8.0,
    has=frozenset(("+QLTS", "+QPOWD")), goodbye="POWERED DOWN", search_s=5.0,
    boot=(
        (0.0, "RDY"), (2.2, "+CFUN: {fun}"), (2.6, "+CPIN: {lock}"), (3.1, "+QUSIM: 1{lock:.0}"),
        (6.4, "+QIND: SMS DONE{lock:.0}"), (7.0, "+QIND: PB DONE{lock:.0}"),
    ),
    sim_in=("+QSIMSTAT: 1,1", "+CPIN: READY"), sim_out=("+QSIMSTAT: 1,0", "+CPIN: NOT READY"),
    settings=(
        *SETTINGS, Setting("+QSIMDET", "0,0", "(0,1),(0,1)", "[01],[01]"), Setting("+QNITZ", "1", "(0,1)", "[01]"),
        Setting("+QSCLK", "0", "(0,1)", "[0-2]"),
    ),
    rows=(
        *ROWS,
        Row("I", "{maker}\n{model}\nRevision: {revision}"),
        Row("+QGMR", "{revision}_01.002.01.002"),
        Row("+QCCID", "+QCCID: {iccid_f}", needs=CARD), Row("+CCID", "+CCID: {iccid_f}", needs=CARD),
        Row("+ICCID", "+ICCID: {iccid_f}", needs=CARD), Row("+QCCID=?"),
        Row("+QSIMSTAT?", "+QSIMSTAT: 1,{present}"), Row("+QSIMSTAT=1"), Row("+QINISTAT", "+QINISTAT: 7"),
        Row('+QPINC="SC"', '+QPINC: "SC",{pin_tries},{puk_tries}', needs=CARD),
        Row("+QPINC?", '+QPINC: "SC",{pin_tries},{puk_tries}\n+QPINC: "P2",3,10', needs=CARD),
        Row(
            "+QNWINFO", '+QNWINFO: "FDD LTE","{mccmnc}","{band}",{channel}',
            text_3g='+QNWINFO: "WCDMA","{mccmnc}","WCDMA 2100",10563',
            text_2g='+QNWINFO: "EDGE","{mccmnc}","GSM 900",62',
            idle="+QNWINFO: No Service",
        ),
        Row(
            "+QCSQ", '+QCSQ: "LTE",{rssi},{rsrp},{sinr},{rsrq_int}', text_3g='+QCSQ: "WCDMA",{rssi},{rscp},{ecno}',
            text_2g='+QCSQ: "GSM",{rssi}', idle='+QCSQ: "NOSERVICE"',
        ),
        Row("+QCSQ=?", '+QCSQ: "NOSERVICE","GSM","WCDMA","LTE"'),
        Row(
            '+QENG="SERVINGCELL"',
            '+QENG: "servingcell","NOCONN","LTE","FDD",{mcc},{mnc},{cell},321,{channel},3,5,5,{area},{rsrp},'
            '{rsrq_int},{rssi},{snr},40',
            text_3g=(
                '+QENG: "servingcell","NOCONN","WCDMA",{mcc},{mnc},{area},{cell},10563,261,0,{rscp},{ecno},'
                '-,-,-,-,-'
            ),
            text_2g=(
                '+QENG: "servingcell","NOCONN","GSM",{mcc},{mnc},{area},{cell},21,62,-,{rssi},255,0,255,38,'
                '1,-,-,-,-,-,-,-,-,-,"-"'
            ),
            idle='+QENG: "servingcell","SEARCH"',
        ),
        Row("+QSPN", '+QSPN: "{long}","{short}","",0,"{mccmnc}"', needs=SERVICE),
        Row('+QCFG="NWSCANMODE"', '+QCFG: "nwscanmode",0'), Row('+QCFG="USBNET"', '+QCFG: "usbnet",0'),
        Row('+QCFG="NWSCANSEQ"', '+QCFG: "nwscanseq",020301'), Row('+QCFG="IMS"', '+QCFG: "ims",0,0'),
        Row('+QCFG="BAND"', '+QCFG: "band",0x260,0x42000000000000381a,0x0'),
        Row("+QCFG=?", '+QCFG: "nwscanmode",(0-3),(0,1)'),
        Row("+QURCCFG=?", '+QURCCFG: "urcport",("usbat","usbmodem","uart1","all")'),
        Row('+QURCCFG="URCPORT"', '+QURCCFG: "urcport","all"'), Row('+QURCCFG="URCPORT","USBAT"'),
        Row('+QURCCFG="URCPORT","ALL"'), Row('+QINDCFG="ALL",1'), Row('+QINDCFG="CSQ",1'), Row('+QINDCFG="CSQ",0'),
        Row("+QIACT?", '+QIACT: 1,1,1,"{address}"', idle="", needs=OPEN), Row("+QGDCNT?", "+QGDCNT: 0,0"),
        Row("+WS46=?", "+WS46: (12,22,25,28,29,30,31)"), Row("+WS46?", "+WS46: 25"),
        Row("+QNETDEVSTATUS=1", needs=SERVICE), Row("+QGPS?", "+QGPS: 0"), Row("+QPRTPARA=3"),
        Row("+QADC=0", "+QADC: 1,742"),
        Row("+QTEMP", "+QTEMP: 34,31,33"),
        Row('+QMBNCFG="LIST"', '+QMBNCFG: "List",0,1,1,"ROW_Generic_3GPP",0x05010824,201806201'),
    ),
)  # fmt: skip

# -- SIMCom SIM5320A --------------------------------------------------------------------------------------------------

SIM5320 = Personality(
    name="sim5320", maker="SIMCOM INCORPORATED", model="SIMCOM_SIM5320A", revision="1575B11SIM5320A",
    imei=with_check_digit("01281300894593"), acts=(6, 5, 4, 2, 3, 0), vendor="simtech", usb=(0x05C6, 0x9000),
    at_interface=2,
    boot_s=6.0, has=frozenset(("+CRESET", "+CPOF")), search_s=9.0, quotes_hex=False, speed="7200000",
    boot=(
        (0.0, "START"), (3.0, "+CPIN: {lock}"), (5.5, "OPL UPDATING{lock:.0}"), (6.0, "PNN UPDATING{lock:.0}"),
        (7.5, "SMS DONE{lock:.0}"), (8.0, "CALL READY{lock:.0}"), (10.0, "PB DONE{lock:.0}"),
    ),
    sim_in=("+CPIN: READY",), sim_out=("+SIM REMOVED", "+CPIN: NOT READY"), lacks=frozenset(("+CEREG", "+CESQ",
    "+CGCONTRDP", "+CPINR")),
    settings=(
        *SETTINGS, Setting("+CNSMOD", "0,0", "(0,1)", "[01]"), Setting("+AUTOCSQ", "0,0", "(0,1),(0,1)", "[01],[01]"),
        Setting("+CNMP", "2", "((2-Automatic),(13-GSM Only),(14-WCDMA Only))", "(2|13|14)"),
        Setting("+CSCLK", "0", "(0,1)", "[01]"), Setting("+CEXITUPDATE", "0", "", "[01]"),
    ),
    rows=(
        Row("+CGMR", "+CGMR: {revision}"), Row("+GMR", "+GMR: {revision}"), *ROWS,
        Row("I", "Manufacturer: {maker}\nModel: {model}\nRevision: SIM5320A_V1.5\nIMEI: {imei}\n+GCAP: +CGSM,+DS,+ES"),
        Row("+SIMCOMATI", "Manufacturer: {maker}\nModel: {model}\nRevision: SIM5320A_V1.5\nIMEI: {imei}"),
        Row("+CICCID", "+ICCID: {iccid_f}", needs=CARD), Row("+CICCID=?"),
        Row("+SPIC", "+SPIC: {pin_tries},{puk_tries},3,10", needs=CARD),
        Row("+CNSMOD?", "+CNSMOD: 0,4", text_2g="+CNSMOD: 0,1", idle="+CNSMOD: 0,0"),
        Row("*CNTI=0", "*CNTI: 0,HSDPA", text_2g="*CNTI: 0,GSM", idle="*CNTI: 0,NONE"), Row("*CNTI?", "*CNTI: 0,HSDPA",
        idle="*CNTI: 0,NONE"),
        Row(
            "+CPSI?",
            "+CPSI: WCDMA,Online,{mcc}-{mnc},0x{area},{cell_dec},WCDMA IMT 2000,279,10663,0,1.5,{rscp},62,33,52,500",
            text_2g="+CPSI: GSM,Online,{mcc}-{mnc},0x{area},{cell_dec},62 EGSM 900,{rssi},0,32-32",
            idle="+CPSI: NO SERVICE,Online",
        ),
        Row("+CPSI=?", "+CPSI: (1-255)"), Row("+CNSMOD=?", "+CNSMOD: (0,1)"),
        Row("+WS46=?", "(12,22,25)"), Row("+WS46?", "25"),
        Row("+CGDCONT=?", '+CGDCONT: (1-16),"IP",,,(0-2),(0-4)\n+CGDCONT: (1-16),"PPP",,,(0-2),(0-4)'),
        Row("+CGPS?", "+CGPS: 0,1"), Row("+CVALARM?", "+CVALARM: 0,3400"), Row("+CBC", "+CBC: 0,75,3.95V"),
        Row("+CADC=2", "+CADC: 395"), Row("+CNBP?", "+CNBP: 0x0002000000680380"),
        Row("+UIMHOTSWAPON?", "+UIMHOTSWAPON: 1"),
        Row("+CNSMOD=1"), Row("+MONI", "+MONI: WCDMA"),
    ),
)  # fmt: skip

# -- less deep --------------------------------------------------------------------------------------------------------

LARA = Personality(
    name="lara", maker="u-blox", model="LARA-R211", revision="30.49", imei=with_check_digit("35516208000123"),
    acts=(7, 3, 0), vendor="u-blox", usb=(0x1546, 0x1010), at_interface=0, has=frozenset(("+CPWROFF",)),
    settings=(*SETTINGS, Setting("+URAT", "5,3", "(0-6),(0,2,3)", "[0-9](,[0-9])?"), Setting("+UPSV", "0", "(0-4)"),
              Setting("+UCGED", "0", "(0,2,5)", "[0-5]")),
    boot=((0.0, "+PBREADY{lock:.0}"),), sim_in=("+CPIN: READY",), sim_out=("+CPIN: NOT INSERTED",),
    rows=(
        *ROWS, Row("I", "LARA-R211-02B-00"), Row("I0", "LARA-R211-02B-00"), Row("I9", "30.49,A01.10"),
        Row("+CCID", "+CCID: {iccid_f}", needs=CARD), Row("+CCID?", "+CCID: {iccid_f}", needs=CARD),
        Row("+UPINCNT", "+UPINCNT: {pin_tries},3,{puk_tries},10", needs=CARD),
        Row("+WS46=?", "+WS46: (12,28,30)"), Row("+WS46?", "+WS46: 30"),
        Row("+UUSBCONF?", '+UUSBCONF: 3,"RNDIS"'), Row("+UBMCONF?", "+UBMCONF: 1"), Row("+CFUN=16"), Row("+UDCONF=1,0"),
    ),
)  # fmt: skip

LE910 = Personality(
    name="le910", maker="Telit", model="LE910C1-EU", revision="25.20.668", imei=with_check_digit("35307710123456"),
    acts=(7, 2, 0), vendor="telit", usb=(0x1BC7, 0x1201), at_interface=4, has=frozenset(("#REBOOT", "#SHDN")),
    settings=(
        *SETTINGS, Setting("#PSNT", "0,4", "(0,1)", "[01]"), Setting("#NITZ", "7,0", "(0-15),(0,1)", "[0-9,]{1,5}"),
    ),
    sim_in=("#QSS: 3",), sim_out=("#QSS: 0",), lacks=frozenset(("+CPINR",)),
    rows=(
        *ROWS, Row("I", "332"), Row("#CGMI", "#CGMI: {maker}"), Row("#CGMM", "#CGMM: {model}"),
        Row("#CGSN", "#CGSN: {imei}"), Row("#ECM?", "#ECM: 0,0"), Row("#ECM=1,0", needs=SERVICE), Row("#ECMD=0"),
        Row("#CCID", "#CCID: {iccid}", needs=CARD), Row("+ICCID", "+ICCID: {iccid_f}", needs=CARD),
        Row("+CCID", "+CCID: {iccid}", needs=CARD),
        Row("#QSS?", "#QSS: 0,{present}"), Row("#QSS=1"), Row("#QSS=2"), Row("#PCT", "#PCT: {pin_tries}", needs=CARD),
        Row(
            "#RFSTS", '#RFSTS: "{mcc} {mnc}",{channel},{rsrp},{rssi},{rsrq},{area},FF,0,128,19,{cell},"{imsi}",'
            '"{long}",2,3',
            idle="#RFSTS: ", needs=OPEN,
        ),
        Row(
            "#MONI", "#MONI: {long} RSRP:{rsrp} RSRQ:{rsrq_int} TAC:{area} Id:{cell} EARFCN:{channel} PWR:{rssi}dbm "
            "DRX:128", idle="", needs=OPEN,
        ),
        Row("+WS46=?", "+WS46: (12,22,25,28,29,30,31)"), Row("+WS46?", "+WS46: 31"),
        Row("#USBCFG?", "#USBCFG: 0"), Row("#SIMDET?", "#SIMDET: 2,{present}"),
        Row("#BND=?", "#BND: (0-5),(0-11),(1-524420)"),
        Row("#FWSWITCH?", "#FWSWITCH: 0"), Row("#PORTCFG?", "#PORTCFG: 0,0"),
    ),
)  # fmt: skip

MC7455 = Personality(
    name="mc7455", maker="Sierra Wireless, Incorporated", model="MC7455",
    revision="SWI9X30C_02.33.03.00 r8209 CARMD-EV-FRMWR2",
    imei=with_check_digit("35907206012345"), acts=(7, 2), vendor="sierra", usb=(0x1199, 0x9071), at_interface=3,
    has=frozenset(("!RESET",)), settings=(*SETTINGS, Setting("!SELRAT", "00, Automatic", "", "[0-9]{2}")),
    sim_in=("+CPIN: READY",), lacks=frozenset(("+CPINR",)),
    rows=(
        *ROWS,
        Row("I", "Manufacturer: {maker}\nModel: {model}\nRevision: {revision} 2019/08/28 20:59:30\nIMEI: {imei}\nIMEI "
        "SV: 22\nFSN: LQ70220123456\n+GCAP: +CGSM"),
        Row("+CCID", "+CCID: {iccid_f}", needs=CARD), Row("+ICCID", "+ICCID: {iccid}", needs=CARD),
        Row("!ICCID?", "!ICCID: {iccid}", needs=CARD),
        Row(
            "!GSTATUS?",
            "!GSTATUS: \nCurrent Time:  1205\t\tTemperature: 36\nSystem mode:   LTE\t\tPS state:    Attached\n"
            "LTE band:      B3\t\tLTE bw:      20 MHz\n"
            "EMM state:     Registered\tNormal Service\nPCC RxM RSSI:  {rssi}\t\tRSRP (dBm):  {rsrp}\nTx "
            "Power:      0\t\tTAC:         {area} ({area_dec})\n"
            "RSRQ (dB):     {rsrq}\t\tCell ID:     {cell} ({cell_dec})\nSINR (dB):     {snr}.0",
            text_3g="!GSTATUS: \nCurrent Time:  1205\t\tTemperature: 36\nSystem mode:   WCDMA\t\tPS state:    Attached",
            idle=(
                "!GSTATUS: \nCurrent Time:  1205\t\tTemperature: 36\nSystem mode:   No Service\tPS state:    "
                "Not attached"
            ),
        ),
        Row("+WS46=?", "+WS46: (22,25,28,31)"), Row("+WS46?", "+WS46: 25"), Row("!ENTERCND=\"A710\""),
        Row("!PCOFFEN?", "!PCOFFEN: 0"),
    ),
)  # fmt: skip

E725 = Personality(
    name="e725", maker="Novatel Wireless Inc.", model="EXPRESSCARD E725", revision="Q6085BDRAGONFLY_V170", imei="",
    acts=(0,), vendor="novatel", usb=(0x1410, 0x4100), at_interface=0, is_cdma=True, speed="",
    settings=(Setting("+CRM", "1", "(0-2)", "[0-2]"),),
    lacks=frozenset((
        "+CREG", "+CGREG", "+CEREG", "+CESQ", "+CGATT", "+CGDCONT", "+CGACT", "+CGPADDR", "+CGCONTRDP", "+CPIN",
        "+CPINR", "+CRSM", "+CSIM",
        "+CLCK", "+COPS", "+CMGS", "+CEER")),
    rows=(
        Row("I", "Manufacturer: {maker}\nModel: {model}\nRevision: {revision}\nESN: 0x8034AABB\n+GCAP: +CIS707-A, +MS, "
        "+ES, +DS, +FCLASS"),
        Row("+GMI", "{maker}"), Row("+GMM", "{model}"), Row("+GMR", "{revision}"), Row("+GSN", "0x8034AABB"),
        Row("+CGMI", "{maker}"), Row("+CGMM", "{model}"), Row("+CGMR", "{revision}"), Row("+CGSN", "0x8034AABB"),
        Row("+GCAP", "+GCAP: +CIS707-A, +MS, +ES, +DS, +FCLASS"), Row("+CSS?", "+CSS: 2,A,4384"),
        Row("+CAD?", "+CAD: 1"),
        Row("^SYSINFO", "^SYSINFO: 2,255,0,2,1"),
    ),
)  # fmt: skip

ALL: dict[str, Personality] = {each.name: each for each in (EG25, SIM5320, LARA, LE910, MC7455, E725)}
