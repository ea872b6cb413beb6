"""What the commands that all modems have do: ITU-T V.250, 3GPP TS 27.007 and 27.005. What only tells a fact, and what
only one make has, stands in the rows of `personalities`; a row goes before what stands here.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.sim.modem.air import DENIED, HOME, ROAMING, Context
from agent.sim.modem.line import Answer, Call, Failure, Prompt, Reply, Request, Wait
from agent.sim.modem.personality import Need, Row

if TYPE_CHECKING:
    from agent.sim.modem.modem import Modem
    from agent.sim.modem.port import Port

Handler = Callable[["Modem", "Port", Request, float], Reply]

OK = Answer()
WRONG = Failure(50)  # incorrect parameters
NO_SERVICE = Failure(30)
COPS_S, ATTACH_S, ACTIVATE_S, DIAL_S, FUN_S, PIN_S = 120.0, 20.0, 1.2, 1.0, 1.5, 0.3
TRY_S = 0.5  # between two looks whether what is waited for has come
CIDS = range(1, 17)
EPOCH = datetime(2026, 11, 22, 10, 15, tzinfo=UTC).timestamp()  # at `now` 0
VERIFY = "0020000100"  # an empty VERIFY PIN: asks for the tries left, 102.221 11.1.9
FREE_BEFORE_PIN = frozenset(("+CPIN", "+CPINR", "+CLCK"))


def handled(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """What a command comes to. Unknown ones are refused in the make's own words."""
    key = request.typed
    for row in modem.personality.rows:
        if row.command == key:
            return told(modem, row)
    if (setting := modem.settings.get(request.name)) is not None and request.name not in HANDLERS:
        return kept(modem, request, setting)
    handler = HANDLERS.get(request.name)
    if handler is None and re.fullmatch(r"S[0-9]{1,3}", request.name):
        handler = register
    if handler is None or request.name in (VENDORS - modem.personality.has) | modem.personality.lacks:
        return Failure(is_unknown=True)
    return handler(modem, port, request, now)


def told(modem: "Modem", row: Row) -> Reply:
    if failure := missing(modem, row.needs):
        return failure
    text: str | None = row.text
    if row.idle is not None:
        text = {None: row.idle, "3g": row.text_3g, "2g": row.text_2g}.get(modem.generation, row.text)
        text = row.text if text is None else text
    said = Answer(tuple((text or "").format(**modem.facts()).splitlines()))
    return Wait(row.after_s, lambda _: said) if row.after_s else said


def missing(modem: "Modem", need: Need) -> Failure | None:
    if need is Need.NOTHING:
        return None
    lock = modem.lock()
    if isinstance(lock, int):
        return Failure(lock)
    if need is not Need.CARD and lock != "READY":
        return Failure({"SIM PIN": 11, "SIM PUK": 12}.get(lock, 13))
    return NO_SERVICE if need is Need.SERVICE and not modem.is_served else None


def kept(modem: "Modem", request: Request, value: str) -> Reply:
    setting = next(each for each in modem.personality.settings if each.name == request.name)
    said = ",".join(request.arguments)
    match request.form:
        case "test":
            return Answer((f"{request.name}: {setting.test}",) if setting.test else ())
        case "read":
            return Answer((f"{request.name}: {value}",))
        case "set" if re.fullmatch(setting.allowed, said):
            modem.settings[request.name] = said
            return OK
        case "run":
            return OK
    return WRONG


# -- V.250 ------------------------------------------------------------------------------------------------------------


def echo(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.is_echo = request.number(0, 0) != 0
    return OK


def verbose(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.is_verbose = request.number(0, 0) != 0
    return OK


def quiet(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.is_quiet = request.number(0, 0) == 1
    return OK


def dtr(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.dtr_drops = request.number(0, 0) == 2
    return OK


def defaults(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.is_echo, port.is_verbose, port.is_quiet = modem.personality.is_echo, True, False
    return OK


def nothing(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    return OK


def register(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    return Answer(("000",)) if request.form == "read" else OK


def hang_up(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    port.hang_up()
    return OK


def online(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    return Answer(final=f"CONNECT {modem.personality.speed}") if port.resume() else Answer(final="NO CARRIER")


def dial(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """*99# and its like are data, `T` or `P` before them or not; there is nobody to be called."""
    number = re.fullmatch(r"[TP]?\*99(?:\*\*?\*?([0-9]{0,2}))?(?:\*[0-9A-Z*]*)?#;?", request.text(0).upper())
    if number is None and not (modem.personality.is_cdma and request.text(0).upper().lstrip("TP") == "#777"):
        return Wait(DIAL_S, lambda _: Answer(final="NO CARRIER"))
    cid = int(number[1]) if number and number[1] else 1
    return Wait(DIAL_S, lambda then: connected(modem, cid, then))


def connected(modem: "Modem", cid: int, now: float) -> Reply:
    if activate(modem, cid) is not None:
        return Answer(final="NO CARRIER")
    return Call(cid)


# -- the modem --------------------------------------------------------------------------------------------------------


def cmee(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    return number_setting(request, modem.errors, (0, 1, 2), lambda value: setattr(modem, "errors", value))


def number_setting(request: Request, value: int, allowed: tuple[int, ...], store: Callable[[int], None]) -> Reply:
    match request.form:
        case "read":
            return Answer((f"{request.name}: {value}",))
        case "test":
            return Answer((f"{request.name}: ({','.join(map(str, allowed))})",))
        case "set" if request.number(0) in allowed:
            store(request.number(0))
            return OK
    return WRONG


def cfun(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    match request.form:
        case "read":
            return Answer((f"+CFUN: {modem.fun}",))
        case "test":
            return Answer(("+CFUN: (0,1,4),(0,1)",))
    fun, resets = request.number(0), request.number(1, 0)
    if fun not in (0, 1, 4) or resets not in (0, 1):
        return WRONG
    if resets:
        modem.fun = fun
        modem.restart(now, after_s=1.0)
        return OK
    modem.set_fun(fun, now)
    return Wait(FUN_S, lambda _: OK)


def restarts(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """+CRESET, #REBOOT, !RESET ..."""
    modem.restart(now, after_s=1.0)
    return OK


def goes_off(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """+QPOWD, +CPOF, #SHDN ..."""
    if goodbye := modem.personality.goodbye:
        modem.soon(0.8, lambda _: modem.tell(goodbye), now)
    modem.off(now, after_s=1.5)
    return OK


def cclk(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if request.form != "read":
        return OK
    return Answer((f'+CCLK: "{datetime.fromtimestamp(EPOCH + now, UTC):%y/%m/%d,%H:%M:%S}+00"',))


def qlts(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if not modem.is_served:
        return Answer(('+QLTS: ""',))
    return Answer((f'+QLTS: "{datetime.fromtimestamp(EPOCH + now, UTC):%Y/%m/%d,%H:%M:%S}+00,0"',))


# -- SIM --------------------------------------------------------------------------------------------------------------


def cpin(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    lock = modem.lock()
    if isinstance(lock, int):
        return Failure(lock)
    match request.form:
        case "test":
            return OK
        case "read":
            return Answer((f"+CPIN: {lock}",))
        case "set":
            return Wait(PIN_S, lambda then: entered(modem, request, then))
    return WRONG


def entered(modem: "Modem", request: Request, now: float) -> Reply:
    """27.007 8.3. A right PIN tells +CPIN: READY by itself, soon."""
    card, lock = modem.card, modem.lock()
    if card is None or not isinstance(lock, str):
        return Failure(10)
    match lock:
        case "READY":
            return Failure(3)
        case "SIM PIN" if len(request.arguments) == 1:
            is_right = card.verify(request.text(0))
        case "SIM PUK" if len(request.arguments) == 2:
            is_right = card.unblock(*request.arguments)
        case _:
            return Failure(12 if lock == "SIM PUK" else 13)
    if not is_right:
        return Failure(16 if card.pin_tries else 12)
    modem.opened(now)
    modem.soon(0.3, lambda _: modem.tell("+CPIN: READY"), now)
    return OK


def clck(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """The lock of the SIM; the others are open."""
    if request.form == "test":
        return Answer(('+CLCK: ("SC","PN","PU","PP","PC","PF")',))
    if failure := missing(modem, Need.CARD):
        return failure
    assert modem.card
    facility, mode = request.text(0).upper(), request.number(1)
    if mode == 2:
        return Answer((f"+CLCK: {int(facility == 'SC' and modem.card.asks_pin)}",))
    if facility != "SC" or mode not in (0, 1):
        return WRONG
    if not modem.card.pin_tries:
        return Failure(12)
    if not modem.card.verify(request.text(2)):
        return Failure(16)
    modem.card.asks_pin = mode == 1
    modem.opened(now)
    return OK


def cpinr(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if failure := missing(modem, Need.CARD):
        return failure
    card = modem.card
    assert card
    return Answer((f"+CPINR: SIM PIN,{card.pin_tries},3", f"+CPINR: SIM PUK,{card.puk_tries},10"))


def crsm(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """READ BINARY and GET RESPONSE of the few transparent files that there are, 27.007 8.18."""
    if failure := missing(modem, Need.CARD):
        return failure
    assert modem.card
    order, number, length = request.number(0), request.number(1), request.number(4, 0)
    if modem.lock() != "READY" and number != 0x2FE2:
        return Answer(("+CRSM: 105,130",))  # security status not satisfied
    data = modem.card.file(number) if number >= 0 else None
    if data is None:
        return Answer(("+CRSM: 106,130",))  # there is no such file
    if order == 176:
        return Answer((f'+CRSM: 144,0,"{data[: length or None].hex().upper()}"',))
    if order == 192:
        head = bytes(2) + len(data).to_bytes(2, "big") + number.to_bytes(2, "big") + bytes.fromhex("040011FF01020000")
        return Answer((f'+CRSM: 144,0,"{(head + bytes(1)).hex().upper()}"',))
    return Answer(("+CRSM: 109,0",))  # no such instruction


def csim(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if failure := missing(modem, Need.CARD):
        return failure
    assert modem.card
    said = f"63C{modem.card.pin_tries}" if request.text(1) == VERIFY else "6D00"
    return Answer((f'+CSIM: 4,"{said}"',))


# -- network ----------------------------------------------------------------------------------------------------------


def registration(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """+CREG, +CGREG, +CEREG: 27.007 7.2, 10.1.20, 10.1.22."""
    name = request.name
    match request.form:
        case "test":
            return Answer((f"{name}: (0-2)",))
        case "read":
            report = modem.reports[name]
            said = modem.place(name) if report >= 2 else str(modem.registration(name)[0])
            return Answer((f"{name}: {report},{said}",))
        case "set" if request.number(0) in (0, 1, 2):
            modem.reports[name] = request.number(0)
            return OK
    return WRONG


def cops(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    match request.form:
        case "read":
            return Answer((f"+COPS: {operator(modem)}",))
        case "test":
            if modem.lock() != "READY" or modem.fun != 1:
                return missing(modem, Need.OPEN) or NO_SERVICE
            return Wait(modem.personality.scan_s, lambda _: Answer((f"+COPS: {networks(modem)}",)))
        case "set":
            return selected(modem, request, now)
    return WRONG


def operator(modem: "Modem") -> str:
    if not modem.is_served or not modem.network:
        return str(modem.cops_mode)
    net = modem.network
    name = (net.long, net.short, net.mccmnc)[modem.cops_format]
    act = f",{modem.act}" if modem.personality.tells_act else ""
    return f'{modem.cops_mode},{modem.cops_format},"{name}"{act}'


def networks(modem: "Modem") -> str:
    """27.007 7.3: the one in use is 2, one that may be used 1, a forbidden one 3."""
    if not modem.network:
        return ",(0-4),(0-2)"
    net = modem.network
    heard = [(2 if modem.is_served else 3 if modem.stat == DENIED else 1, net.long, net.short, net.mccmnc, modem.act)]
    acts = modem.personality.acts
    for each in net.others:
        act = each.act if each.act in acts else min(acts)
        heard.append((3 if each.is_forbidden else 1, each.long, each.short, each.mccmnc, act))
    listed = [
        f'({stat},"{long}","{short}","{code}"' + (f",{act})" if modem.personality.tells_act else ")")
        for stat, long, short, code, act in heard
    ]
    return f"{','.join(listed)},,(0-4),(0-2)"


def selected(modem: "Modem", request: Request, now: float) -> Reply:
    mode, format_ = request.number(0), request.number(1, 0)
    if mode not in range(5) or format_ not in range(3):
        return WRONG
    if mode == 3:
        modem.cops_format = format_
        return OK
    if mode in (1, 4) and request.text(2) not in chosen(modem):
        return Wait(DIAL_S, lambda _: NO_SERVICE)
    modem.cops_mode = 2 if mode == 2 else mode % 4
    modem.settle(now)
    if mode == 2:
        return Wait(TRY_S, lambda _: OK)
    return wait_for(lambda: modem.stat in (HOME, ROAMING), OK, NO_SERVICE, now + COPS_S, modem.stat == DENIED)


def chosen(modem: "Modem") -> tuple[str, ...]:
    net = modem.network
    return (net.long, net.short, net.mccmnc) if net else ()


def wait_for(is_there: Callable[[], bool], good: Reply, bad: Reply, until: float, is_refused: bool = False) -> Reply:
    """Looks again and again."""

    def look(then: float) -> Reply:
        if is_there():
            return good
        return bad if then >= until or is_refused else Wait(TRY_S, look)

    return Wait(TRY_S, look)


def csq(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if request.form == "test":
        return Answer(("+CSQ: (0-31,99),(0-7,99)",))
    return Answer((f"+CSQ: {modem.facts()['csq']},99",))


def cesq(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """27.007 8.69: of the technology in use, the others are not known."""
    if request.form == "test":
        return Answer(("+CESQ: (0-63,99),(0-7,99),(0-96,255),(0-49,255),(0-34,255),(0-97,255)",))
    facts = modem.facts()
    match modem.generation:
        case "4g":
            said = f"99,99,255,255,{facts['rsrq_index']},{facts['rsrp_index']}"
        case "3g":
            said = f"99,99,{facts['rscp_index']},37,255,255"
        case "2g":
            said = f"{facts['rxlev']},0,255,255,255,255"
        case _:
            said = "99,99,255,255,255,255"
    return Answer((f"+CESQ: {said}",))


# -- packet domain ----------------------------------------------------------------------------------------------------


def cgatt(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    match request.form:
        case "read":
            return Answer((f"+CGATT: {int(modem.is_attached)}",))
        case "test":
            return Answer(("+CGATT: (0,1)",))
        case "set" if request.number(0) in (0, 1):
            is_wanted = request.number(0) == 1
            if (cause := modem.faults.fails_attach) is not None and is_wanted:
                return Wait(ATTACH_S, lambda _: Failure(cause))
            modem.attach(is_wanted)
            good = wait_for(lambda: modem.is_attached, OK, NO_SERVICE, now + ATTACH_S)
            return good if is_wanted else Wait(TRY_S, lambda _: OK)
    return WRONG


def cgdcont(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    match request.form:
        case "read":
            rows = sorted(modem.contexts.items())
            return Answer(tuple(f'+CGDCONT: {cid},"{each.type}","{each.apn}","",0,0' for cid, each in rows))
        case "test":
            return Answer(tuple(f'+CGDCONT: (1-16),"{kind}",,,(0-2),(0-4)' for kind in ("IP", "IPV6", "IPV4V6")))
        case "set" if request.number(0) in CIDS:
            cid, kind = request.number(0), request.text(1).upper()
            if len(request.arguments) == 1:
                modem.contexts.pop(cid, None)
                return OK
            if kind not in ("IP", "IPV6", "IPV4V6"):
                return WRONG
            if cid in modem.contexts and modem.contexts[cid].is_active:
                return Failure(3)
            modem.contexts[cid] = Context(kind, request.text(2))
            return OK
    return WRONG


def activate(modem: "Modem", cid: int) -> Failure | None:
    """None: the context is up."""
    context, network = modem.contexts.get(cid), modem.network
    if not modem.is_attached or network is None:
        return NO_SERVICE
    if context is None:
        return Failure(143)
    if modem.faults.fails_attach is not None:
        return Failure(modem.faults.fails_attach)
    if network.apns and context.apn.lower() not in network.apns:
        modem.cause = "ESM cause 27: missing or unknown APN"
        return Failure(127)
    context.is_active = True
    return None


def cgact(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    match request.form:
        case "read":
            rows = sorted(modem.contexts.items())
            return Answer(tuple(f"+CGACT: {cid},{int(each.is_active)}" for cid, each in rows))
        case "test":
            return Answer(("+CGACT: (0,1)",))
        case "set" if request.number(0) in (0, 1):
            cids = [request.number(1)] if len(request.arguments) > 1 else sorted(modem.contexts)
            if request.number(0) == 1:
                return Wait(ACTIVATE_S, lambda _: next(filter(None, (activate(modem, cid) for cid in cids)), OK))
            return Wait(TRY_S, lambda _: deactivated(modem, cids))
    return WRONG


def deactivated(modem: "Modem", cids: list[int]) -> Reply:
    for cid in cids:
        if cid not in modem.contexts:
            return Failure(143)
        modem.contexts[cid].is_active = False
    for port in modem.ports:
        if port.peer is not None and port.peer.cid in cids:
            port.carrier_lost()
    return OK


def cgpaddr(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    if request.form == "test":
        return Answer((f"+CGPADDR: ({','.join(map(str, sorted(modem.contexts)))})",))
    cids = [request.number(0)] if request.form == "set" else sorted(modem.contexts)
    if any(cid not in modem.contexts for cid in cids):
        return WRONG
    address = modem.network.address if modem.network else "0.0.0.0"
    rows = (f'+CGPADDR: {cid},"{address if modem.contexts[cid].is_active else "0.0.0.0"}"' for cid in cids)
    return Answer(tuple(rows))


def cgcontrdp(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    active = [cid for cid, each in sorted(modem.contexts.items()) if each.is_active]
    net = modem.network
    if request.form == "test" or net is None:
        return Answer((f"+CGCONTRDP: ({','.join(map(str, active))})",)) if request.form == "test" else OK
    cids = [request.number(0)] if request.form == "set" and request.arguments else active
    return Answer(
        tuple(
            f'+CGCONTRDP: {cid},5,"{modem.contexts[cid].apn}","{net.address}","","{net.dns[0]}","{net.dns[1]}"'
            for cid in cids
            if cid in active
        )
    )


def ceer(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    return Answer((f"+CEER: {modem.cause or 'No cause information available'}",))


def cmgs(modem: "Modem", port: "Port", request: Request, now: float) -> Reply:
    """27.005 3.5.1: the text comes after a prompt, and goes nowhere."""
    if failure := missing(modem, Need.SERVICE):
        return failure

    def sent(text: str | None) -> Reply:
        return OK if text is None else Wait(2.0, lambda _: Answer(("+CMGS: 1",)))

    return Prompt(sent) if request.form == "set" else WRONG


HANDLERS: dict[str, Handler] = {
    "E": echo, "V": verbose, "Q": quiet, "Z": defaults, "&F": defaults, "&D": dtr, "H": hang_up, "O": online, "D": dial,
    **dict.fromkeys(("X", "&C", "&W", "&K", "&S", "L", "M", "T", "P", "A"), nothing),
    "+CMEE": cmee, "+CFUN": cfun, "+CCLK": cclk, "+QLTS": qlts, "+CEER": ceer, "+CMGS": cmgs,
    "+CPIN": cpin, "+CLCK": clck, "+CPINR": cpinr, "+CRSM": crsm, "+CSIM": csim,
    "+CREG": registration, "+CGREG": registration, "+CEREG": registration, "+COPS": cops, "+CSQ": csq, "+CESQ": cesq,
    "+CGATT": cgatt, "+CGDCONT": cgdcont, "+CGACT": cgact, "+CGPADDR": cgpaddr, "+CGCONTRDP": cgcontrdp,
    **dict.fromkeys(("+CRESET", "#REBOOT", "!RESET", "^RESET"), restarts),
    **dict.fromkeys(("+QPOWD", "+CPOF", "#SHDN", "+CPWROFF"), goes_off),
}  # fmt: skip
VENDORS = frozenset(
    ("+QLTS", "+CRESET", "#REBOOT", "!RESET", "^RESET", "+QPOWD", "+CPOF", "#SHDN", "+CPWROFF")
)
