"""Whose line is it? A line from the modem, and the command in flight, to a piece: its kind and its fields. Pure.

No line is given to a command that did not ask for it: an information text belongs to the command in flight only by its
prefix, or, without one, by a shape that this command's answers have (27.007 4.2; V.250 5.8.3). All else is a URC, stray
(known, but nobody has asked) or unknown.
"""

import re

from msgspec import Struct

from agent.modem.errors import final
from agent.modem.fields import Fields
from agent.modem.lines import PROMPT
from agent.modem.messages import USSD_MAX, Quoted, Text, text_length, text_lines
from agent.modem.parsers import clock, modes, operators, packet, sim
from agent.modem.parsers.registration import registration
from agent.modem.seams import RESULTS, SIGNS, VALUE_ENDS, Echo, Kind, before_result, behind_result, second_prefix
from agent.modem.vocabulary import (
    BARE,
    DIALS,
    EITHER,
    ENDS,
    FREE,
    HANGUPS,
    KNOWN,
    LEVELS,
    MESSAGES,
    NAMING,
    PARSERS,
    QUESTIONS,
    REGISTRATIONS,
    REPORTS,
    SOCKETS,
    STORED,
    STRICT,
    TOLD,
    URCS,
    WORDED,
    WORDS,
    Command,
    command_of,
)

FOREIGN_ECHO = re.compile(r"(?:AT)+(?:&?[CDEFHIQVXZ][0-9]?)*+(?:[+^#*$%!_@][A-Z].*)?|ATD[*#0-9].*", re.IGNORECASE)
SENT = re.compile(r"(?:[0-9]+\s*,\s*)?([A-Z]{4,5} (?:OK|FAIL))", re.IGNORECASE)  # SIMCom: of which socket
SOCKET_PROMPT = "@"
DIGITS = {
    "0": "OK", "1": "CONNECT", "3": "NO CARRIER", "4": "ERROR", "6": "NO DIALTONE", "7": "BUSY", "8": "NO ANSWER",
}  # fmt: skip
BARE_NUMBER = re.compile(r"[0-9]{14,20}")  # an IMEI, IMSI or ICCID
PARTS_MAX = 8  # of one line
TEXT_ENDS = ("OK", "ERROR", "+CME ERROR", "+CMS ERROR")
SETTING = re.compile(r"[0-9, ]*")  # what AT&V prints under the name of a URC
NOISE = re.compile(r"[^ -~]+(?=[+^#*$%!_@])")  # what a UART makes of a change of speed, before a prefix
NOISE_BEFORE, NOISE_BEHIND = re.compile(r"[^ -~]+"), re.compile(r"[^ -~]+\Z")
COMMANDS: dict[str, Command] = {}
COMMANDS_MAX, COMMAND_MAX = 256, 200  # the same few are asked again and again; longer ones are not kept


class Piece(Struct, frozen=True):
    """One line. `text` is as it came, without blanks around it; `prefix` in capitals and without its colon."""

    kind: Kind
    text: str
    prefix: str | None = None
    fields: Fields = {}


def command(text: str) -> Command:
    """The same as `command_of`, which takes its time."""
    known = COMMANDS.get(text)
    if known is None:
        known = command_of(text)
        if len(text) <= COMMAND_MAX:
            if len(COMMANDS) >= COMMANDS_MAX:
                COMMANDS.clear()
            COMMANDS[text] = known
    return known


class Reader:
    """Reads line by line. `command` is the one in flight: `begin` sets it, its final result ends it."""

    def __init__(self) -> None:
        self.command: Command | None = None
        self._echo = Echo()
        self._own = 0  # lines that were its answer
        self._foreign = 0  # lines that were another one's
        self._is_doubtful = False  # a URC has come that may be another one's answer
        self._is_odd = False  # a line has come that nobody knows: it may be its answer
        self._turn = 0  # whose answer without a prefix comes next, of several commands
        self._begun = ""  # of a list of networks: what a line end has cut
        self._text: Text | None = None  # of a message, that is on its way
        self._is_text = False  # what comes until the result is, too: a stored one may have many lines

    def begin(self, text: str) -> None:
        self.command = command(text)
        self._echo = Echo(self.command.text)
        self._own = self._foreign = self._turn = 0
        self._begun = ""
        self._is_doubtful = self._is_odd = self._is_text = False
        if self._text and self._text.kind == "answer":
            self._text = None  # that of a message that comes unasked is still on its way

    def end(self) -> None:
        """It is given up: what still comes of it is stray."""
        self.command, self._is_text = None, False

    def read(self, line: str) -> list[Piece]:
        """One piece; more if their line ends were lost: echo, answer and result behind one another."""
        if text := self._text:  # whatever it says: the text of a message may be OK
            if line == PROMPT:  # which is cut off what stands behind it
                text.goes_on(len(line))
                return [Piece(text.kind, line, text.prefix, {"text": line})]
            is_one = text.takes(line)
            self._text = None if text.is_over else text
            if is_one:
                return [Piece(text.kind, line, text.prefix, {"text": line})]
        if self._is_text and self._is_more(line):
            return [Piece("answer", line, None, {"text": line})]
        if line == PROMPT:
            return [Piece("answer" if self.command else "stray", line, PROMPT)]
        if line == SOCKET_PROMPT and self.command and not SOCKETS.isdisjoint(self.command.names):
            return [Piece("answer", line, SOCKET_PROMPT)]
        if self.command and self.command.is_list and self._own:  # it names itself, too
            return [self._one(line)]
        if self.command and (size := self._echo.size_in(line, self._own > 0)):
            behind = line[size:].strip()
            return [Piece("echo", line[:size]), *(self._parted(behind) if behind else ())]
        return self._parted(line)

    def _parted(self, line: str) -> list[Piece]:
        """One piece, or more: further prefixes and a result on the same line, if their grammar leaves no doubt."""
        parts: list[Piece] = []
        while len(parts) < PARTS_MAX and (seam := second_prefix(line)) and self._is_apart(seam[0], seam[2]):
            parts.append(self._one(seam[0]))
            line = seam[1]
        return [*parts, *self._ended(line)]

    def _ended(self, line: str) -> list[Piece]:
        """One piece, or two: a result, and what stands in front of it or behind it."""
        if (found := before_result(line)) and self._is_whole(found[0], line):
            return [self._one(each) for each in found]
        if (seam := behind_result(line)) and seam[2] in KNOWN:
            return [self._one(each) for each in seam[:2]]
        return [self._one(line)]

    def _is_apart(self, told: str, name: str) -> bool:
        """Whether the second prefix of a line is one: what stands in front of it is whole, and no text."""
        if self.command and (self.command.is_free or self.command.is_list):
            return False
        first, _, body = told.partition(":")
        is_result = name.endswith("ERROR")
        return (name in KNOWN or is_result) and first.rstrip().upper() in STRICT and is_ended(first, told, body)

    def _is_whole(self, told: str, line: str) -> bool:
        """Whether it is an answer of its own without the result behind it, and none with it."""
        asked = self.command
        if asked is None or asked.is_free or asked.is_list:
            return False
        name, colon, body = told.partition(":")
        if colon:
            name = name.rstrip().upper()
            return name in asked.expected and name in STRICT and is_ended(name, told, body)
        if told[-1] not in VALUE_ENDS or any(reader(line) is not None for reader in asked.bare):
            return False
        return any(reader(told) is not None for reader in asked.bare)

    def _one(self, line: str) -> Piece:
        if result := final(line) or self._sent(line):
            return self._final(line, result)
        if not line.isascii() and (result := self._final_behind_noise(line)):
            return self._final(line, result)
        name, colon, body = line.partition(":")
        name = name.rstrip().upper()
        if colon and not name.isascii() and (noise := NOISE.match(name)):
            name = name[noise.end() :]
        if self.command and self.command.is_list and listed(line, name, colon, body.strip(), self.command):
            self._own += 1
            return Piece("answer", line, name if colon and line[0] in SIGNS else None, {"text": line})
        if colon and name in KNOWN:
            if not body.isascii() and name in STRICT and name not in NAMING:
                body = NOISE_BEHIND.sub("", body)
            return self._named(line, name, body.strip())
        if line[0] in SIGNS or colon:
            return self._spelled(line, name, body.strip() if colon else None)
        return self._bare(line)

    # -- results ------------------------------------------------------------------------------------------------------

    def _final(self, line: str, result: Fields) -> Piece:
        word = result["final"]
        prefix = str(word) if str(word).startswith("+") else None
        asked = self.command
        if asked is None:
            return Piece("URC" if word in HANGUPS else "stray", line, prefix, result)
        is_call = not DIALS.isdisjoint(asked.names)
        if word in HANGUPS and not is_call:
            return Piece("URC", line, prefix, result)
        if word == "CONNECT" and not is_call and asked.form != "set":
            return Piece("stray", line, prefix, result)
        if not self._own and ((self._foreign and asks(asked)) or (word == "OK" and self._is_late(asked))):
            self._foreign, self._is_doubtful = 0, False
            return Piece("stray", line, prefix, result)  # it ends what the line before it belongs to
        self.command, self._is_text = None, False
        return Piece("final", line, prefix, result)

    def _final_behind_noise(self, line: str) -> Fields | None:
        """Not where an answer may be any text."""
        noise = NOISE_BEFORE.match(line)
        if noise is None or line[noise.end() :] not in RESULTS or (self.command and self.command.is_free):
            return None
        return final(line[noise.end() :])

    def _is_late(self, asked: Command) -> bool:
        """Whether OK ends the command before: something has come that may be that one's answer, and nothing of ours."""
        return self._is_doubtful and not self._is_odd and tells(asked)

    def _sent(self, line: str) -> Fields | None:
        """A vendor's own result, if the command in flight is one that it ends."""
        if not self.command or not (found := SENT.fullmatch(line)):
            return None
        word = found[1].upper()
        if ENDS.get(word, frozenset()).isdisjoint(self.command.names):
            return None
        return {"final": word, "error": None if word.endswith("OK") else word}

    # -- messages -----------------------------------------------------------------------------------------------------

    def _opens(self, kind: Kind, name: str, body: str) -> None:
        """A message's first line: behind it stands what anybody at all has written, and no word of the modem's."""
        lines = text_lines(name, body)
        if lines != 0:
            self._text = Text(kind, name if kind == "URC" else None, text_length(name, body))
        self._is_text = kind == "answer" and lines is None

    def _is_more(self, line: str) -> bool:
        """Of a stored text: another line of it, and no result, and nothing else that was asked for."""
        asked = self.command
        if asked is None or ((result := final(line)) and result["final"] in TEXT_ENDS):
            return False
        name, colon, _ = line.partition(":")
        return not (colon and name.rstrip().upper() in asked.expected)

    # -- lines with a prefix ------------------------------------------------------------------------------------------

    def _named(self, line: str, name: str, body: str) -> Piece:
        asked = self.command
        is_asked = asked is not None and name in asked.expected
        fields = self._fields(name, body, asked if is_asked else None)
        word = WORDS.get(f"{name}: {body.upper()}") if name in WORDED else None
        if is_asked and asked is not None:
            kind = answered(name, asked, fields, body)
            self._own += kind == "answer"
            self._foreign += kind == "stray"
            if kind == "answer" and "networks" in fields:
                self._begun = operators.cut(body)
            if kind != "URC":
                if name in STORED and asked.forms.get(name) not in QUESTIONS:
                    self._opens(kind, name, body)
                return Piece(kind, line, name, fields)
        elif (asked is not None and (name not in URCS or self._is_late_registration(name, fields, asked))) or (
            name not in URCS and name not in REPORTS and word is None
        ):
            self._foreign += 1
            if name in STORED:
                self._opens("stray", name, body)
            return Piece("stray", line, name, fields)
        self._is_doubtful |= name in EITHER
        if name in MESSAGES:
            self._opens("URC", name, body)
        elif name == "+CUSD" and body.count('"') % 2:
            self._text = Quoted("URC", name, USSD_MAX)
        return Piece("URC", line, name, fields | {"boot": word} if word else fields)

    def _is_late_registration(self, name: str, fields: Fields, asked: Command) -> bool:
        """<n> is in answers alone. While something else is asked and unanswered, such a line ends no other way."""
        return name in REGISTRATIONS and "n" in fields and not self._own and asks(asked)

    def _fields(self, name: str, body: str, asked: Command | None) -> Fields:
        form = asked.forms.get(name) if asked else None
        if parser := PARSERS.get(name):
            if form == "test" and asked and asked.names.count(name) == 1:
                if name in LEVELS:
                    return dict.fromkeys(parser(""))  # a range, or a list of words, is none of them
                if name == "+CFUN":
                    return modes.funs(body)
            return parser(body)
        if name in REGISTRATIONS:
            if form == "test":
                return {"text": body}
            return registration(body, form == "read", name)
        if name == "+COPS":
            return operators.operator(body, form == "test")
        if name == "+QLTS":
            return clock.network_time(body, asked.text if asked else "")
        if name == "+CSCON":
            return modes.connection(body, form == "read")
        if name == "^SPIC":
            return sim.spic(body, asked.text if asked else "")
        return {"text": body}

    def _spelled(self, line: str, name: str, body: str | None) -> Piece:
        """A prefix that is not known, or not spelled as it should be: no colon, no sign before it."""
        asked = self.command
        if (word := WORDS.get(line.upper())) is not None:
            return Piece("URC", line, name.partition(" ")[0] if line[0] in SIGNS else None, {"boot": word})
        if asked and name in asked.expected:
            self._own += 1
            return Piece("answer", line, name, {"text": body or ""})
        if body is None:
            if name in URCS and name not in PARSERS and name not in REGISTRATIONS:  # +PACSP1
                return Piece("URC", line, name, {"text": line})
            head, _, tail = line.partition(" ")
            if (head := head.upper().rstrip("=,")) in KNOWN and tail:
                return self._named(line, head, tail.strip())
            return self._bare(line)
        if asked and asked.is_free:
            return self._bare(line)
        head = name.partition(" ")[0]
        if head != name and head in KNOWN:  # +SAPBR 1: DEACT
            return self._named(line, head, body)
        if f"+{name}" in PARSERS or f"+{name}" in REGISTRATIONS or name == "COPS":
            return self._named(line, f"+{name}", body)
        return self._bare(line, name if line[0] in SIGNS else None)

    # -- lines without ------------------------------------------------------------------------------------------------

    def _bare(self, line: str, prefix: str | None = None) -> Piece:
        if (word := WORDS.get(line.upper())) is not None:
            return Piece("URC", line, prefix, {"boot": word})
        if asked := self.command:
            if self._begun and (fields := operators.resumed(self._begun, line)) is not None:
                self._begun = operators.cut(self._begun + line)
                self._own += 1
                return Piece("answer", line, "+COPS", fields)
            if (fields := self._in_turn(asked, line)) is not None:
                self._own += 1
                return Piece("answer", line, "+COPS" if "networks" in fields else prefix, fields)
            for reader in asked.bare:
                if (fields := reader(line)) is not None:
                    self._own += 1
                    self._begun = operators.cut(line) if "networks" in fields else ""
                    return Piece("answer", line, "+COPS" if "networks" in fields else prefix, fields)
            if fields := packet.bare_event(line):
                return Piece("URC", line, "+CGEV", fields)
            if asked.is_free and not FOREIGN_ECHO.fullmatch(line):
                self._own += 1
                names = [name for name in asked.names if name in FREE]
                return Piece("answer", line, prefix, FREE[names[0]](line) if len(names) == 1 else {"text": line})
            if result := final(self._digit(asked, line)):
                return self._final(line, result)
        elif fields := packet.bare_event(line):
            return Piece("URC", line, "+CGEV", fields)
        if FOREIGN_ECHO.fullmatch(line):
            return Piece("echo", line)
        if fields := operators.continued(line):
            return Piece("stray", line, "+COPS", fields)
        if asked and not asked.bare and BARE_NUMBER.fullmatch(line) and tells(asked):
            self._foreign += 1  # it may be anything, but this command's answers have a prefix
        self._is_odd = True
        return Piece("unknown", line, prefix)

    def _digit(self, asked: Command, line: str) -> str:
        """V.250 5.7.2: the same results as digits, until ATV1. Where a digit may be an answer, it is none: ""."""
        word = DIGITS.get(line, "")
        if not word or not DIALS.isdisjoint(asked.names):
            return word
        if word not in RESULTS or asked.is_free or "+WS46" in asked.names:
            return ""
        if self._own:
            return word if word == "OK" else ""
        is_set = not asked.bare and "?" not in asked.text and all(form == "set" for form in asked.forms.values())
        is_refused = word == "ERROR" and asked.names and all(name in TOLD for name in asked.names)
        return word if is_set or is_refused else ""

    def _in_turn(self, asked: Command, line: str) -> Fields | None:
        """Of a line without a prefix, by the next of several commands that have such answers (V.250 5.4.1)."""
        named = [name for name in asked.names if name in BARE or name in FREE]
        if len(named) < 2 or FOREIGN_ECHO.fullmatch(line) or packet.bare_event(line):
            return None
        for index, name in enumerate(named[self._turn :], self._turn):
            for reader in BARE.get(name) or (FREE[name],):
                if (fields := reader(line)) is not None:
                    self._turn = index + 1
                    return fields
        return None


def is_ended(name: str, told: str, body: str) -> bool:
    """Whether an information text may end so: in a number, a string, or a lock's last word."""
    return told[-1] in VALUE_ENDS or (name.upper() == "+CPIN" and sim.is_lock(body))


def answered(name: str, asked: Command, fields: Fields, body: str) -> Kind:
    """Whether a line under the command's own prefix is its answer.

    27.007: only an answer to a question has <n>, and who sets something is not told what it is. What a test lists is
    no answer to a read: a list of networks takes minutes, and may come behind another question.
    """
    form = asked.forms.get(name)
    if name == "+COPS" and asked.names.count(name) == 1 and form in QUESTIONS:
        return "answer" if ("networks" in fields) == (form == "test") else "stray"
    if name in REGISTRATIONS:
        if body.startswith("(") and form == "read":
            return "stray"
        return "answer" if form == "test" or (form == "read" and "n" in fields) else "URC"
    return "URC" if name in URCS and form == "set" else "answer"


def tells(asked: Command) -> bool:
    """Whether it has an answer of its own before each OK: what it asks for is never nothing."""
    return any(name in TOLD and asked.forms.get(name, "run") in ("read", "run") for name in asked.names)


def listed(line: str, name: str, colon: str, body: str, asked: Command) -> bool:
    """Whether a line is of a list of commands, or of settings under their names: no start, no message, no event."""
    if line.upper() in WORDS or name in MESSAGES or packet.bare_event(line):
        return False
    if not colon or name in asked.expected:
        return True
    return "&V" in asked.names and (name not in URCS or bool(SETTING.fullmatch(body)))


def asks(asked: Command) -> bool:
    """Whether it has no good end without an information text."""
    if any(form in QUESTIONS for form in asked.forms.values()):
        return True
    return asked.form == "run" and any(name in PARSERS or name in BARE or name in FREE for name in asked.names)


