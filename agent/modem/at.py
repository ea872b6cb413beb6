"""The AT channel of one port: one command in flight, its answer, what comes unasked, and the way back from any doubt.

Sans-IO: bytes and `now` (monotonic seconds) in, events and bytes out. No line is given to a command that did not ask
for it (`reading`), and no answer counts before the port has been silent for SETTLE_S after its final result: modems
send a second result to one command, and answers to a command that was given up. Whatever does not fit ends in one way:
wait for silence, send a bare AT, and go on only if exactly one OK comes back. What was given up may still be answered;
so long, an answer is sure only by a prefix of its own.
"""

import re
from collections import Counter, deque
from enum import Enum

from msgspec import Struct

from agent.modem.fields import Fields
from agent.modem.lines import Framer
from agent.modem.reading import Piece, Reader
from agent.modem.vocabulary import DIALS, DOWN, LIKELY, SURE, command_of

SETTLE_S = 0.05  # after a final result, until the answer counts
QUIET_S = 0.4  # of silence: what was still on its way has come
DRAIN_MAX_S = 10.0  # a port that is never silent is tried all the same
PROBE_S = 1.0  # a bare AT is answered at once
RETRY_S = 3.0  # between two of them that were not
HUNG_AFTER = 3  # bare ATs in a row without an answer; with their pauses some ten seconds
OWED_MIN_S, OWED_TIMES = 10.0, 2.0  # so long after a command was given up, or so many times its timeout, it may answer
BOOT_S = 60.0  # after a start, or a command that turns radio or SIM off and on, its signs are no news
LINES_MAX = 512  # of one answer; the rest of it is dropped, and the answer is not sure
ODD_MAX = 100  # lines kept that were stray or unknown, for who diagnoses
ESCAPE = b"\x1b"  # ends the input of a text, 27.005 3.5.1

# Seconds until a command is given up: ModemManager's values, and what modules' manuals say.
TIMEOUTS_S: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(rf"(?:^AT|;)(?:{pattern})", re.IGNORECASE), seconds)
    for pattern, seconds in (
        (r"\+COPS=\?", 315.0),  # a scan; some take five minutes
        (r"\+COPS=[01234]", 180.0),
        (r"\+(?:CGATT|CGACT|QIACT|CGDATA|CNACT)=[^?]", 150.0),
        (r"H|\+CHUP", 90.0),
        (r"[DOA]", 60.0),
        (r"\+QIDEACT=", 40.0),
        (r"\+(?:CMGS|CUSD|QPING)=|\+QLTS", 30.0),
        (r"\+CFUN=[0-9]|\+QPOWD|\+CPOF|\+CPWROFF|\+(?:CRSM|CSIM)=|\+CPOL", 20.0),
        (r"\+C(?:5G|E|G)?REG\?|\+CPIN|\+CGATT\?|\+COPS\?|\+CLCK=", 10.0),
    )
)
TIMEOUT_S = 3.0  # what the module answers by itself
RESTARTS = re.compile(r"(?:^AT|;)(?:\+CFUN=|\+CPIN=|\+QPOWD|\+CRESET|#REBOOT|\^RESET|\+QSIMSTAT=|&F|Z)", re.IGNORECASE)


def timeout_s(command: str) -> float:
    """Of a line of several commands, the longest."""
    return max((seconds for pattern, seconds in TIMEOUTS_S if pattern.search(command)), default=TIMEOUT_S)


# -- what happens -----------------------------------------------------------------------------------------------------


class Answered(Struct, frozen=True):
    """The end of a command. Without `final` it was given up, and its lines may not be all.

    `is_sure` says that nothing around it was odd: identity, and whatever steers anything, is taken from nothing else.
    """

    command: str
    lines: tuple[Piece, ...]
    final: Fields | None
    is_sure: bool

    @property
    def is_ok(self) -> bool:
        return self.is_sure and self.final is not None and self.final["error"] is None

    @property
    def error(self) -> int | str | None:
        """Its number, or its words where it has none. None: it was none, or was given up."""
        if self.final is None or self.final["error"] is None:
            return None
        code = self.final.get("code")
        return code if isinstance(code, int) else str(self.final.get("name") or self.final["error"])

    def get(self, field: str) -> object:
        """The first line's that knows it."""
        return next((value for line in self.lines if (value := line.fields.get(field)) is not None), None)


class Heard(Struct, frozen=True):
    """A URC."""

    piece: Piece


class Prompted(Struct, frozen=True):
    """The modem waits for the text of the command in flight."""

    command: str


class Rebooted(Struct, frozen=True):
    """The modem has started anew, or is about to go (`is_down`): nothing that was known of it holds any more."""

    sign: str
    is_down: bool = False


class Hung(Struct, frozen=True):
    """Bare ATs are not answered any more. The channel goes on asking; `Found` tells when that has helped."""


class Found(Struct, frozen=True):
    """The first sound answer since the beginning, or since `Hung`."""


Event = Answered | Heard | Prompted | Rebooted | Hung | Found


class State(Enum):
    READY = "a command may be sent"
    BUSY = "one is in flight"
    SETTLING = "its final result has come, and nothing else may"
    DRAINING = "in doubt: until the port is silent"
    PROBING = "a bare AT is in flight"
    PROVING = "it was answered, and nothing else may come"
    DATA = "the port carries data since CONNECT"


class Channel:
    """`poll` when `next_deadline` says so, `received` with what has come, `send` when `is_ready`."""

    def __init__(self, now: float) -> None:
        self.counts: Counter[str] = Counter()  # of lines by kind; `timeouts`, `resyncs`
        self.odd: deque[str] = deque(maxlen=ODD_MAX)  # the last lines that were stray or unknown
        self._framer = Framer()
        self._reader = Reader()
        self._state = State.DRAINING
        self._due: float | None = now + QUIET_S
        self._since = now  # of DRAINING
        self._command, self._timeout_s = "", 0.0
        self._lines: list[Piece] = []
        self._final: Fields | None = None
        self._is_odd = False  # something did not fit while this command was in flight
        self._is_prompted = False  # the modem may be waiting for a text
        self._failures = 0  # bare ATs without an answer, in a row
        self._is_lost = True  # until Found
        self._owed_until = float("-inf")  # until then an answer to a command that was given up may come
        self._quiet_until = float("-inf")  # until then what may be a sign of a start is no news
        self._started_at = float("-inf")  # the modem, last
        self._signs: set[str] = set()  # what it has said of that start; the same again is another one

    @property
    def is_ready(self) -> bool:
        return self._state is State.READY

    @property
    def is_data(self) -> bool:
        return self._state is State.DATA

    @property
    def overlong(self) -> int:
        return self._framer.overlong

    def next_deadline(self) -> float | None:
        return self._due

    def send(self, command: str, now: float, timeout: float | None = None) -> bytes:
        """The bytes to write. Only when `is_ready`; without CR, LF and other control characters."""
        assert self.is_ready and command.isprintable() and command.isascii(), (self._state, command)
        self._command, self._lines, self._final, self._is_odd = command, [], None, False
        self._reader.begin(command)
        self._timeout_s = timeout_s(command) if timeout is None else timeout
        self._state, self._due = State.BUSY, now + self._timeout_s
        if RESTARTS.search(command):
            self._quiet_until = max(self._quiet_until, self._due + BOOT_S)
        return f"{command}\r".encode()

    def text(self, text: bytes) -> bytes:
        """The bytes to write after `Prompted`: the text and its end. Only while the modem waits for it."""
        assert self._is_prompted and self._state is State.BUSY
        self._is_prompted = False
        return text + b"\x1a"

    def received(self, data: bytes, now: float) -> list[Event]:
        events: list[Event] = []
        if self.is_data:
            return events
        if self._state is State.DRAINING and data:
            self._due = max(self._due or now, min(now + QUIET_S, self._since + DRAIN_MAX_S))
        for line in self._framer.feed(data):
            for piece in self._reader.read(line):
                if not self.is_data:  # what stands behind CONNECT is no line
                    self._heard(piece, now, events)
        return events

    def poll(self, now: float) -> tuple[bytes, list[Event]]:
        """What is due: bytes to write, and what has ended."""
        if self._due is None or now < self._due:
            return b"", []
        events: list[Event] = []
        match self._state:
            case State.BUSY:
                self.counts["timeouts"] += 1
                self._owed_until = max(self._owed_until, now + max(OWED_MIN_S, OWED_TIMES * self._timeout_s))
                self._answer(events, is_sure=False)
                self._doubt(now)
            case State.SETTLING:
                is_odd = self._is_odd or len(self._lines) >= LINES_MAX
                self._answer(events, is_sure=not is_odd and not self._is_owed(now))
                if is_odd:
                    self._doubt(now)
                else:
                    self._rest()
            case State.DRAINING:
                return self._probe(now), events
            case State.PROBING:
                self._unanswered(now, events)
            case State.PROVING:
                self._failures = 0
                if self._is_lost:
                    self._is_lost = False
                    events.append(Found())
                self._rest()
        return b"", events

    def lend(self) -> list[Event]:
        """Somebody else has the port until `hung_up`: nothing is sent, and what comes is not ours."""
        events: list[Event] = []
        if self._state in (State.BUSY, State.SETTLING):
            self._answer(events, is_sure=False)
        self._state, self._due = State.DATA, None
        return events

    def hung_up(self, now: float) -> None:
        """The port carries commands again, or may: a call has ended, its owner has given it back."""
        if self._state is State.DATA:
            self._framer = Framer()
            self._doubt(now)

    # -- one line -----------------------------------------------------------------------------------------------------

    def _heard(self, piece: Piece, now: float, events: list[Event]) -> None:
        self.counts[piece.kind] += 1
        match piece.kind:
            case "answer" if piece.prefix == ">":
                self._is_prompted = True
                events.append(Prompted(self._command))
            case "answer" if len(self._lines) < LINES_MAX:
                self._lines.append(piece)
            case "final":
                self._ended(piece, now, events)
            case "URC":
                self._unasked(piece, now, events)
            case "stray":
                self.odd.append(piece.text)
                self._is_prompted |= piece.prefix == ">"
                self._did_not_fit(now)
            case "unknown":
                self.odd.append(piece.text)

    def _ended(self, piece: Piece, now: float, events: list[Event]) -> None:
        if self._state is State.PROBING:
            if piece.fields["error"] is None:
                self._state, self._due = State.PROVING, now + QUIET_S
            else:
                self._doubt(now)  # somebody else's: a bare AT has no error
            return
        self._final, self._is_prompted = piece.fields, False
        if piece.fields["final"] == "CONNECT" and not DIALS.isdisjoint(command_of(self._command).names):
            self._answer(events, is_sure=not self._is_odd and now >= self._owed_until)
            self._state, self._due = State.DATA, None
            return
        self._state, self._due = State.SETTLING, now + SETTLE_S

    def _unasked(self, piece: Piece, now: float, events: list[Event]) -> None:
        sign = piece.fields.get("boot")
        is_ours = self._state in (State.READY, State.BUSY, State.SETTLING)  # else it may be a late answer
        is_news = (
            sign == DOWN
            or (sign == SURE and (piece.text in self._signs or now >= self._started_at + BOOT_S))
            or (sign == LIKELY and is_ours and now >= self._quiet_until)
        )
        if sign == SURE:
            self._signs.add(piece.text)
        if not is_news:
            events.append(Heard(piece))
            return
        if self._state in (State.BUSY, State.SETTLING):
            self._answer(events, is_sure=False)
        events.append(Rebooted(piece.text, is_down=sign == DOWN))
        self._signs = {piece.text}
        self._started_at, self._quiet_until = float("-inf") if sign == DOWN else now, now + BOOT_S
        self._doubt(now)

    def _did_not_fit(self, now: float) -> None:
        """A line that is nobody's: of the command before, or a second end of this one."""
        match self._state:
            case State.BUSY | State.SETTLING:
                self._is_odd = True
            case State.READY | State.PROVING:
                self._doubt(now)

    def _is_owed(self, now: float) -> bool:
        """Whether lines and result may be those of a command that was given up: nothing in them says whose they are."""
        return now < self._owed_until and not any(line.prefix for line in self._lines)

    # -- states -------------------------------------------------------------------------------------------------------

    def _answer(self, events: list[Event], is_sure: bool) -> None:
        events.append(Answered(self._command, tuple(self._lines), self._final, is_sure))
        self._lines, self._final = [], None
        self._reader.end()

    def _rest(self) -> None:
        self._reader.end()
        self._state, self._due = State.READY, None

    def _doubt(self, now: float) -> None:
        self.counts["resyncs"] += 1
        self._reader.end()
        self._state, self._due, self._since = State.DRAINING, now + QUIET_S, now

    def _probe(self, now: float) -> bytes:
        self._command = "AT"
        self._reader.begin("AT")
        self._state, self._due = State.PROBING, now + PROBE_S
        escape, self._is_prompted = ESCAPE if self._is_prompted else b"", False
        return escape + b"AT\r"

    def _unanswered(self, now: float, events: list[Event]) -> None:
        self._failures += 1
        if self._failures == HUNG_AFTER:
            self._is_lost = True
            events.append(Hung())
        self._doubt(now)
        self._due, self._since = now + RETRY_S, now + RETRY_S


class Twice:
    """An identity as it is read again and again: a value counts when two sure readings in a row have given it.

    One wrong line can so never look like another SIM or another modem.
    """

    def __init__(self) -> None:
        self.value: str | None = None
        self._last: str | None = None

    def read(self, value: object, is_sure: bool) -> bool:
        """Whether `value` has just become another one. A reading that is not sure, or is none, changes nothing."""
        if not is_sure or not isinstance(value, str):
            self._last = None
            return False
        is_new = value == self._last and value != self.value
        self._last = value
        if is_new:
            self.value = value
        return is_new
