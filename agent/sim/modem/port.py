"""One port of a modem: the command line of ITU-T V.250 (editing, echo, several commands in a line, result codes), and
the call that takes its place.

Bytes that come while a command runs wait for it, up to WAITING_MAX; beyond they are lost, as in a UART's buffer.
"""

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from agent.modem.errors import CME
from agent.sim.modem.commands import handled
from agent.sim.modem.line import EXTENDED, Answer, Call, Failure, Prompt, Reply, Request, Wait, parsed
from agent.sim.modem.ppp import NullPeer

if TYPE_CHECKING:
    from agent.sim.modem.modem import Modem

LINE_MAX = 560  # characters of a command line; a longer one is an error
WAITING_MAX = 4_096
OUT_MAX = 262_144  # bytes that nobody fetches; the newest are lost
GUARD_S = 1.0  # of silence around +++
TEXT_MAX = 2_048
CR, LF, BACKSPACE, ESC, CTRL_Z = 13, 10, 8, 27, 26


class Line(Struct):
    """A command line that is being done."""

    text: str
    parts: deque[Request]
    is_detached: bool = False
    """Nobody waits for it any more: the fault of a late answer."""
    is_over: bool = False


class Port:
    def __init__(self, modem: "Modem", number: int) -> None:
        self.modem, self.number = modem, number
        self.baud = 115_200  # of the other end
        self._out = bytearray()
        self.begin()

    def begin(self) -> None:
        """As after a start, ATZ or AT&F."""
        self.is_echo, self.is_verbose, self.is_quiet = self.modem.personality.is_echo, True, False
        self.dtr_drops = True  # &D2
        self._typed = bytearray()
        self._is_long = False
        self._last = ""
        self._line: Line | None = None
        self._prompt: tuple[Line, Prompt] | None = None
        self._waiting = bytearray()
        self.peer: NullPeer | None = None  # of the call
        self._is_online = False  # its bytes are data
        self._plus, self._heard_at = 0, float("-inf")

    def gone(self) -> None:
        self._out.clear()
        self.begin()

    # -- bytes --------------------------------------------------------------------------------------------------------

    def received(self, data: bytes, now: float) -> None:
        """From the host."""
        self.modem.run(now)
        if not self.modem.is_awake:
            return
        if self._is_garbled:
            data = self._garbled(data)
        if self._is_online:
            self._data(data, now)
        elif self._line is not None:
            self._waits(data, now)
        else:
            self._type(data, now)

    def poll(self, now: float) -> bytes:
        """What it has said until now."""
        self.modem.run(now)
        if self.peer and self._is_online and not self.modem.faults.dies_in_call:
            self.emit(self.peer.poll(now))
        data = bytes(self._out)
        self._out.clear()
        return self._garbled(data) if self._is_garbled else self._noisy(data)

    def next_deadline(self) -> float | None:
        return self.modem.next_deadline()

    def emit(self, data: bytes) -> None:
        if self.modem.is_awake and len(self._out) + len(data) <= OUT_MAX:
            self._out += data

    @property
    def _is_garbled(self) -> bool:
        return self.modem.personality.usb is None and self.baud != self.modem.baud

    def _garbled(self, data: bytes) -> bytes:
        """What a line at another speed makes of it."""
        random = self.modem.random
        return bytes(random.choice((0x00, 0x80, 0xFE, 0xFF, byte ^ 0xA6)) for byte in data if random.random() < 0.7)

    def _noisy(self, data: bytes) -> bytes:
        noise, random = self.modem.faults.noise, self.modem.random
        if not noise:
            return data
        return bytes(random.randrange(256) if random.random() < noise else byte for byte in data)

    # -- the command line ---------------------------------------------------------------------------------------------

    def _waits(self, data: bytes, now: float) -> None:
        if self._prompt:
            self._text(data, now)
        elif self._line and self._line.text[:1].upper() == "D":  # V.250 5.6.1: any character ends dialling
            self._finish(self._line, "NO CARRIER", now)
        else:
            self._waiting += data[: WAITING_MAX - len(self._waiting)]

    def _type(self, data: bytes, now: float) -> None:
        for place, byte in enumerate(data):
            if self.is_echo:
                self.emit(bytes([byte]))
            if byte == CR:
                self._entered(now)
            elif byte == BACKSPACE:
                del self._typed[-1:]
            elif byte >= 32:
                self._is_long |= len(self._typed) >= LINE_MAX
                if not self._is_long:
                    self._typed.append(byte)
                if self._typed[-2:].upper() == b"A/":
                    self._typed[:] = b"AT" + self._last.encode()
                    self._entered(now)
            if self._line is not None or self._is_online:
                self._waiting += data[place + 1 :][:WAITING_MAX]
                return

    def _entered(self, now: float) -> None:
        typed, is_long = self._typed.decode("latin-1"), self._is_long
        self._typed.clear()
        self._is_long = False
        start = typed.upper().find("AT")
        if start < 0:
            return None
        text = typed[start + 2 :].strip()
        if is_long:
            return self._result("ERROR")
        self._last = text
        parts = parsed(text)
        line = Line(text, parts if parts is not None else deque())
        faults = self.modem.faults
        if matches(line, faults.lost):
            return None
        late_s = next((seconds for key, seconds in faults.late.items() if matches(line, {key})), 0.0)
        line.is_detached = late_s > 0
        if not line.is_detached:
            self._line = line
        delay_s = late_s or self.modem.personality.delay_s
        if parts is None:
            return self.modem.soon(delay_s, lambda then: self._reply(line, Failure(), then), now)
        return self.modem.soon(delay_s, lambda then: self._go_on(line, then), now)

    def _go_on(self, line: Line, now: float) -> None:
        """The next command of the line."""
        if line.is_over:
            return
        if not line.parts:
            self._finish(line, "OK", now)
        else:
            self._reply(line, handled(self.modem, self, line.parts.popleft(), now), now)

    def _reply(self, line: Line, reply: Reply, now: float) -> None:
        if line.is_over:
            return
        match reply:
            case Answer(lines=lines, final="OK"):
                self._say_lines(lines)
                self._go_on(line, now)
            case Answer(lines=lines, final=final):
                self._say_lines(lines)
                self._finish(line, final, now)
            case Failure():
                self._finish(line, self._failed(reply), now)
            case Wait(seconds=seconds, then=then):
                self.modem.soon(seconds, lambda at: self._reply(line, then(at), at), now)
            case Prompt():
                self._prompt = (line, reply)
                self._typed.clear()
                self.emit(b"\r\n> ")
            case Call(cid=cid):
                self._finish(line, f"CONNECT {self.modem.personality.speed}".strip(), now)
                network = self.modem.network
                assert network
                self.peer = NullPeer(network.address, network.dns, cid)
                self._is_online, self._plus = True, 0

    def _failed(self, failure: Failure) -> str:
        if failure.is_unknown:
            return self.modem.personality.unsupported
        if failure.code is None or not self.modem.errors:
            return "ERROR"
        return f"+CME ERROR: {failure.code if self.modem.errors == 1 else CME[failure.code]}"

    def _finish(self, line: Line, final: str, now: float) -> None:
        line.is_over, self._prompt = True, None
        if not (final == "OK" and matches(line, self.modem.faults.no_final)):
            self._result(final)
        if matches(line, self.modem.faults.second_final):
            self._result("ERROR")
        if line is not self._line:
            return
        self._line = None
        waiting = bytes(self._waiting)
        self._waiting.clear()
        if waiting and not final.startswith("CONNECT"):
            self._type(waiting, now)

    def _text(self, data: bytes, now: float) -> None:
        assert self._prompt
        for place, byte in enumerate(data):
            if self.is_echo and byte not in (CTRL_Z, ESC):
                self.emit(b"\r\n> " if byte == CR else bytes([byte]))
            if byte not in (CTRL_Z, ESC):
                if len(self._typed) < TEXT_MAX:
                    self._typed.append(byte)
                continue
            line, prompt = self._prompt
            text = self._typed.decode("latin-1") if byte == CTRL_Z else None
            self._typed.clear()
            self._prompt = None
            self._waiting += data[place + 1 :][:WAITING_MAX]
            self._reply(line, prompt.then(text), now)
            return

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def _end(self) -> str:
        return "\r\r\n" if self.modem.faults.doubles_cr else "\r\n"

    def _say_lines(self, lines: tuple[str, ...]) -> None:
        for index, line in enumerate(lines):
            head = self._end if self.is_verbose and not index else ""
            self.emit(f"{head}{line}{self._end}".encode())

    def _result(self, final: str) -> None:
        if self.is_quiet:
            return
        if self.is_verbose:
            self.emit(f"{self._end}{final}{self._end}".encode())
        else:
            digit = {"OK": "0", "CONNECT": "1", "RING": "2", "NO CARRIER": "3", "ERROR": "4"}
            self.emit(f"{digit.get(final.split(' ')[0] if final.startswith('CONNECT') else final, final)}\r".encode())

    def tell(self, line: str) -> None:
        """A URC; while data flows it is lost."""
        if not self._is_online:
            self.emit(f"{self._end}{line}{self._end}".encode())

    # -- the call -----------------------------------------------------------------------------------------------------

    @property
    def is_online(self) -> bool:
        return self._is_online

    def _data(self, data: bytes, now: float) -> None:
        assert self.peer
        self._escape(data, now)
        if not self.modem.faults.dies_in_call:
            self.peer.received(data, now)
            if self.peer.is_over:
                self.modem.contexts[self.peer.cid].is_active = False
                self.emit(self.peer.poll(now))
                self.carrier_lost()

    def _escape(self, data: bytes, now: float) -> None:
        """V.250 leaves it to the vendors, who all take +++ between two silences."""
        is_quiet = now >= self._heard_at + GUARD_S
        self._heard_at = now
        if data.strip(b"+"):
            self._plus = 0
            return
        self._plus = len(data) + (0 if is_quiet else self._plus or 99)
        if self._plus != 3 or self.modem.faults.ignores_escape:
            return

        def silent(then: float) -> None:
            if self._is_online and self._heard_at == now:
                self._is_online = False
                self._result("OK")

        self.modem.soon(GUARD_S, silent, now)

    def resume(self) -> bool:
        """ATO. False: there is no call."""
        if self.peer is None:
            return False
        self._is_online, self._plus = True, 0
        return True

    def carrier_lost(self) -> None:
        if self.peer is not None:
            self.peer, self._is_online = None, False
            self._result("NO CARRIER")

    def hang_up(self) -> None:
        """ATH."""
        if self.peer is not None:
            self.modem.contexts[self.peer.cid].is_active = False
        self.peer, self._is_online = None, False

    def dtr_dropped(self, now: float) -> None:
        """&D2: it ends the call."""
        self.modem.run(now)
        if self.modem.is_awake and self.dtr_drops and not self.modem.faults.ignores_dtr:
            if self.peer is not None:
                self.modem.contexts[self.peer.cid].is_active = False
            self.carrier_lost()


def matches(line: Line, keys: set[str]) -> bool:
    if not keys:
        return False
    text = line.text.upper()
    name = EXTENDED.match(text)
    return "*" in keys or text in keys or (name is not None and name[1] in keys)
