"""How modems of each make are told to carry data on their network interface (ECM, NCM, RNDIS). A table. Pure.

Which kind of interface a modem has, or none, is set in its own memory, and a mistake there takes its AT port away: so
nothing here writes that. Where it has none, `no_interface` says what an engineer types.
"""

from msgspec import Struct

from agent.modem.apn import Access

NAME_MAX = 64
CHAP_OR_PAP = 3  # of +CGAUTH: 1 PAP, 2 CHAP; of +QICSGP: 3 either


class Dialect(Struct, frozen=True):
    """`probe`: is answered with OK by a modem that knows it. `{cid}` is the context's number."""

    name: str
    makers: tuple[str, ...]  # how +CGMI begins, in lower case; (): any
    probe: str
    connect: str
    disconnect: str
    auth: str = 'AT+CGAUTH={cid},1,"{username}","{password}"'  # 27.007 10.1.31
    switch: str = ""  # sets the interface up, once; written by a person


QUECTEL = Dialect(
    "+QNETDEVCTL", ("quectel",), "AT+QNETDEVCTL=?", "AT+QNETDEVCTL=1,{cid},1", "AT+QNETDEVCTL=0,{cid}",
    auth='AT+QICSGP={cid},1,"{apn}","{username}","{password}",3', switch='AT+QCFG="usbnet",1',
)  # fmt: skip
TELIT = Dialect("#ECM", ("telit",), "AT#ECM?", "AT#ECM={cid},0", "AT#ECMD=0", switch="AT#USBCFG=4")
HUAWEI = Dialect("^NDISDUP", ("huawei", "meig"), "AT^NDISDUP=?", "AT^NDISDUP={cid},1", "AT^NDISDUP={cid},0")
SIMCOM = Dialect("$QCRMCALL", ("simcom", "fibocom"), "AT$QCRMCALL=?", "AT$QCRMCALL=1,{cid}", "AT$QCRMCALL=0,{cid}")
PLAIN = Dialect("+CGACT", (), "AT+CGACT?", "AT+CGACT=1,{cid}", "AT+CGACT=0,{cid}")  # dials by itself, or on activation
DIALECTS = (QUECTEL, TELIT, HUAWEI, SIMCOM, PLAIN)


def candidates(manufacturer: str | None) -> tuple[Dialect, ...]:
    """In the order of asking; the last one is everybody's."""
    maker = (manufacturer or "").lower()
    return tuple(each for each in DIALECTS if not each.makers or maker.startswith(each.makers))


def commands(dialect: Dialect, access: Access, cid: int) -> list[str]:
    """To connect: name and password first, if there are any."""
    words = {"cid": cid, "apn": access.apn, "username": access.username, "password": access.password}
    first = [dialect.auth.format(**words)] if access.username else []
    return [*first, dialect.connect.format(cid=cid)]


def refusal(access: Access) -> str:
    """Why this cannot stand in a command, in a sentence; "": it can."""
    for word, text in (("apn", access.apn), ("username", access.username), ("password", access.password)):
        if len(text) > 100 or not text.isascii() or not text.isprintable() or '"' in text:
            return f"the access point's {word} has characters that no AT command can carry: correct it"
    return ""


def no_interface(manufacturer: str | None) -> str:
    """There is none beside the AT port."""
    switch = next((each.switch for each in candidates(manufacturer) if each.switch), "")
    how = f"type station-agent modem at '{switch}' and restart it, or " if switch else ""
    return f'the modem has no network interface: {how}set bearer = "ppp"'
