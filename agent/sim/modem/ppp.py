"""The other end of a call: the least of PPP that an address comes of. Sans-IO.

RFC 1661 (LCP), 1332 and 1877 (IPCP with DNS), 1662 (frames as in HDLC). It accepts what it is offered except
compression and authentication of us, asks for nothing itself but to be talked to, gives an address, answers echoes, and
swallows what is sent through it. The kernel of this project's test machines has no PPP, so no pppd can stand here.
"""

from ipaddress import IPv4Address

LCP, IPCP, IP = 0xC021, 0x8021, 0x0021
REQUEST, ACK, NAK, REJECT, TERMINATE, TERMINATED, CODE_REJECT, PROTOCOL_REJECT, ECHO, ECHOED = range(1, 11)
MRU, ACCM, AUTH, MAGIC, PFC, ACFC = 1, 2, 3, 5, 7, 8
ADDRESS, DNS1, DNS2 = 3, 129, 131
FLAG, ESCAPE = 0x7E, 0x7D
FRAME_MAX = 1_600
GATEWAY = IPv4Address("10.64.64.64")


def fcs16(data: bytes) -> int:
    """RFC 1662 appendix C."""
    fcs = 0xFFFF
    for byte in data:
        fcs ^= byte
        for _ in range(8):
            fcs = (fcs >> 1) ^ 0x8408 if fcs & 1 else fcs >> 1
    return fcs ^ 0xFFFF


def framed(protocol: int, body: bytes) -> bytes:
    content = b"\xff\x03" + protocol.to_bytes(2, "big") + body
    content += fcs16(content).to_bytes(2, "little")
    out = bytearray([FLAG])
    for byte in content:
        out += bytes([ESCAPE, byte ^ 0x20]) if byte < 0x20 or byte in (FLAG, ESCAPE) else bytes([byte])
    return bytes(out) + bytes([FLAG])


class Frames:
    """Frames of a stream; what is damaged is dropped."""

    def __init__(self) -> None:
        self._frame = bytearray()
        self._is_escaped = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Protocol and body of each."""
        found: list[tuple[int, bytes]] = []
        for byte in data:
            if byte == FLAG:
                if (each := opened(bytes(self._frame))) is not None:
                    found.append(each)
                self._frame.clear()
                self._is_escaped = False
            elif byte == ESCAPE:
                self._is_escaped = True
            elif len(self._frame) < FRAME_MAX:
                self._frame.append(byte ^ 0x20 if self._is_escaped else byte)
                self._is_escaped = False
        return found


def opened(frame: bytes) -> tuple[int, bytes] | None:
    if len(frame) < 4 or fcs16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
        return None
    content = frame[:-2].removeprefix(b"\xff\x03")
    if not content:
        return None
    size = 1 if content[0] & 1 else 2
    return int.from_bytes(content[:size], "big"), content[size:]


def options(body: bytes) -> list[tuple[int, bytes]] | None:
    """None: they are no options."""
    found = []
    while body:
        if len(body) < 2 or body[1] < 2 or body[1] > len(body):
            return None
        found.append((body[0], body[2 : body[1]]))
        body = body[body[1] :]
    return found


def packed(many: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([kind, len(value) + 2]) + value for kind, value in many)


class NullPeer:
    """`is_over`: the host has ended it."""

    def __init__(self, address: str, dns: tuple[str, str], cid: int) -> None:
        self.cid = cid
        self.is_over = False
        self.received_b = 0  # of IP, that went nowhere
        self._wanted = {ADDRESS: IPv4Address(address).packed, DNS1: IPv4Address(dns[0]).packed}
        self._wanted[DNS2] = IPv4Address(dns[1]).packed
        self._frames = Frames()
        self._out = bytearray()
        self._asked: set[int] = set()

    def poll(self, now: float) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    def received(self, data: bytes, now: float) -> None:
        for protocol, body in self._frames.feed(data):
            if protocol == IP:
                self.received_b += len(body)
            elif protocol not in (LCP, IPCP):
                self._say(LCP, PROTOCOL_REJECT, 1, protocol.to_bytes(2, "big") + body[:64])
            elif len(body) >= 4 and 4 <= int.from_bytes(body[2:4], "big") <= len(body):
                self._packet(protocol, body[0], body[1], body[4 : int.from_bytes(body[2:4], "big")])

    def _packet(self, protocol: int, code: int, number: int, body: bytes) -> None:
        match code:
            case 1:
                self._negotiate(protocol, number, options(body))
            case 5:
                self._say(protocol, TERMINATED, number, b"")
                self.is_over |= protocol == LCP
            case 9 if protocol == LCP:
                self._say(protocol, ECHOED, number, bytes(4) + body[4:])
            case 2 | 3 | 4 | 6 | 7 | 8 | 10:
                pass
            case _:
                self._say(protocol, CODE_REJECT, number, bytes([code, number]) + body[:64])

    def _negotiate(self, protocol: int, number: int, offered: list[tuple[int, bytes]] | None) -> None:
        if offered is None:
            return None
        if protocol not in self._asked:
            self._asked.add(protocol)
            ours = [(ADDRESS, GATEWAY.packed)] if protocol == IPCP else [(ACCM, bytes(4))]
            self._say(protocol, REQUEST, 1, packed(ours))
        known = (ADDRESS, DNS1, DNS2) if protocol == IPCP else (MRU, ACCM, MAGIC, PFC, ACFC)
        if refused := [each for each in offered if each[0] not in known]:
            return self._say(protocol, REJECT, number, packed(refused))
        if protocol == IPCP:
            wrong = [(kind, self._wanted[kind]) for kind, value in offered if value != self._wanted[kind]]
            if wrong:
                return self._say(protocol, NAK, number, packed(wrong))
        return self._say(protocol, ACK, number, packed(offered))

    def _say(self, protocol: int, code: int, number: int, body: bytes) -> None:
        self._out += framed(protocol, bytes([code, number]) + (len(body) + 4).to_bytes(2, "big") + body)
