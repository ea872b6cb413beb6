"""Signal strength and quality: 27.007 8.5 (+CSQ), 8.69 (+CESQ), and the vendors' own.

The indexes of the standard stand for a range of one or half a decibel each; its lower end is told. What is not known
or cannot be is None.
"""

from collections.abc import Callable

from agent.modem.fields import Fields, at, number, plain, real, split
from agent.modem.parsers.technologies import act_of

RSRP_DBM = (-157, -29)  # 38.133: what can be told of NR; LTE ends at -140 and -44
RSRQ_DB = (-43.5, 20.0)
RSSI_DBM = (-140, -1)  # 0 is what modems print that measure none
SINR_DB = (-30.0, 60.0)
CDMA = ("CDMA", "EVDO", "HDR")  # they have no number of 27.007


def index(field: str, last: int, zero: float, step: float = 1.0) -> float | None:
    """The lower end of an index 0..last."""
    value = number(field)
    if value is None or not 0 <= value <= last:
        return None
    told = zero + value * step
    return int(told) if step == 1.0 else told


def decibel(field: str, limits: tuple[float, float]) -> float | None:
    value = real(field)
    return value if value is not None and limits[0] <= value <= limits[1] else None


def csq(body: str) -> Fields:
    """0..31 in steps of 2 dB from -113 dBm; 100..191 of TD-SCDMA and LTE in steps of 1 from -116; or dBm, of some."""
    fields = split(body)
    value, ber = number(fields[0]), number(at(fields, 1))
    rssi = None
    if value is not None and 0 <= value <= 31:
        rssi = -113 + 2 * value
    elif value is not None and (100 <= value <= 191 or RSSI_DBM[0] <= value < 0):
        rssi = value - 216 if value > 0 else value
    return {"rssi_dbm": rssi, "ber": ber if ber is not None and 0 <= ber <= 7 else None}


def cesq(body: str) -> Fields:
    """<rxlev>,<ber>,<rscp>,<ecno>,<rsrq>,<rsrp>[,<ss_rsrq>,<ss_rsrp>,<ss_sinr>]; NR's where there are none of LTE."""
    fields = split(body)
    rsrq, rsrp = index(at(fields, 4), 34, -20.0, 0.5), index(at(fields, 5), 97, -141)
    found: Fields = {
        "rssi_dbm": index(fields[0], 63, -111),
        "ber": index(at(fields, 1), 7, 0),
        "rscp_dbm": index(at(fields, 2), 96, -121),
        "ecno_db": index(at(fields, 3), 49, -24.5, 0.5),
        "rsrq_db": rsrq,
        "rsrp_dbm": rsrp,
    }
    if len(fields) > 6:
        if rsrp is None:
            found["rsrp_dbm"] = index(at(fields, 7), 126, -157)
        if rsrq is None:
            found["rsrq_db"] = index(fields[6], 126, -43.5, 0.5)
        found["sinr_db"] = index(at(fields, 8), 127, -23.5, 0.5)
    return found


def intel_cesq(body: str) -> Fields:
    """+XCESQ: <n>, then as +CESQ, then the SNR in half decibels: Intel's, in Fibocom's L8xx and others."""
    fields = split(body)
    snr = number(at(fields, 7))
    found = cesq(",".join(fields[1:7]))
    return found | {"sinr_db": snr / 2 if snr is not None and -100 <= snr <= 100 else None}


def nordic_cesq(body: str) -> Fields:
    """%CESQ: <rsrp>,<its threshold>[,<rsrq>,<its threshold>]; nRF91 AT commands reference 5.6."""
    fields = split(body)
    return {"rsrp_dbm": index(fields[0], 97, -141), "rsrq_db": index(at(fields, 2), 34, -20.0, 0.5)}


def qcsq(body: str) -> Fields:
    """Quectel: <sysmode>[,...] in dBm and dB. LTE of all kinds: RSSI, RSRP, SINR, RSRQ; NR: RSRP, SINR, RSRQ."""
    fields = split(body)
    rat = plain(fields[0])
    technology = act_of(rat)
    found: Fields = {"rat": rat or None, "act": technology, "rssi_dbm": None, "rsrp_dbm": None, "rsrq_db": None}
    if technology in (11, 13):
        found["rsrp_dbm"], found["rsrq_db"] = decibel(at(fields, 1), RSRP_DBM), decibel(at(fields, 3), RSRQ_DB)
        return found
    found["rssi_dbm"] = decibel(at(fields, 1), RSSI_DBM)
    if found["rssi_dbm"] is None and at(fields, 2).startswith("-"):  # EP06: without its sign
        found["rssi_dbm"] = decibel(f"-{at(fields, 1)}", RSSI_DBM)
    if technology in (7, 9):
        found["rsrp_dbm"], found["rsrq_db"] = decibel(at(fields, 2), RSRP_DBM), decibel(at(fields, 4), RSRQ_DB)
    elif technology in (2, 4, 5, 6):
        found["rscp_dbm"] = decibel(at(fields, 2), RSSI_DBM)
    return found


def hcsq(body: str) -> Fields:
    """Huawei: <sysmode>[,...] as indexes.

    LTE: RSSI, RSRP, SINR, RSRQ; WCDMA: RSSI, RSCP, Ec/Io; GSM, CDMA: RSSI; NR: RSRP, SINR, RSRQ.
    """
    fields = split(body)
    rat = plain(fields[0])
    technology = act_of(rat)
    found: Fields = {"rat": rat or None, "act": technology, "rssi_dbm": None, "rsrp_dbm": None, "rsrq_db": None}
    if technology is None and not rat.upper().startswith(CDMA):
        return found
    if technology in (11, 13):
        fields.insert(1, "")  # NR has no RSSI
    found["rssi_dbm"] = index(at(fields, 1), 96, -121)
    if technology in (7, 9, 11, 13):
        found["rsrp_dbm"], found["rsrq_db"] = index(at(fields, 2), 97, -141), index(at(fields, 4), 34, -20.0, 0.5)
        sinr = index(at(fields, 3), 251, -20.2, 0.2)
        found["sinr_db"] = None if sinr is None else round(sinr, 1)
    elif technology in (2, 4, 5, 6):
        found["rscp_dbm"], found["ecno_db"] = index(at(fields, 2), 96, -121), index(at(fields, 3), 65, -32.5, 0.5)
    return found


def rssi_index(body: str) -> Fields:
    """^RSSI: Huawei's URC, with the numbers of +CSQ."""
    return {"rssi_dbm": csq(body)["rssi_dbm"]}


def qcrsrp(body: str) -> Fields:
    """$QCRSRP: <pci>,<earfcn>,<rsrp> for each cell, the serving one first: Qualcomm, in quotes, with fractions."""
    return {"rsrp_dbm": first_of(split(body), RSRP_DBM)}


def qcrsrq(body: str) -> Fields:
    return {"rsrq_db": first_of(split(body), RSRQ_DB)}


def by_antenna(limits: tuple[float, float]) -> Callable[[str], Fields]:
    """+QRSRP, +QRSRQ: <main>,<diversity>,<third>,<fourth>,<technology>: Quectel. The first that can be."""
    name = "rsrp_dbm" if limits is RSRP_DBM else "rsrq_db"

    def read(body: str) -> Fields:
        fields = split(body)
        known = [level for field in fields[:4] if (level := decibel(field, limits)) is not None]
        rat = plain(at(fields, 4)) or plain(fields[-1])
        return {name: known[0] if known else None, "act": act_of(rat)}

    return read


def rsrp_rsrq(body: str) -> Fields:
    """^LTERSRP: <rsrp>,<rsrq>: Huawei, in dBm and dB."""
    fields = split(body)
    return {"rsrp_dbm": decibel(fields[0], RSRP_DBM), "rsrq_db": decibel(at(fields, 1), RSRQ_DB)}


def first_of(fields: list[str], limits: tuple[float, float]) -> float | None:
    """The third of the first three; of a single one, that."""
    said = plain(at(fields, 2) or (fields[0] if len(fields) < 3 else "")).strip()
    try:
        value = float(said)
    except ValueError:
        return None
    return value if limits[0] <= value <= limits[1] else None
