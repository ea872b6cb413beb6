"""Messages that a modem prints (27.005): how many lines of one are text, which anybody may have written. Pure."""

from agent.modem.fields import at, number, split
from agent.modem.seams import RESULTS, Kind
from agent.modem.vocabulary import MESSAGES

DETAILED = 9  # fields of a +CMT with all of its header (AT+CSDH=1), whose last is the length of the text
USSD_MAX = 400  # characters: 182 of them, and what they may become on the wire
LENGTH_MAX = 1_600  # characters: ten parts of a long one


class Text:
    """The text of a message that is on its way: its first line, and more of them if its length says so."""

    def __init__(self, kind: Kind, prefix: str | None, length: int) -> None:
        self.kind, self.prefix = kind, prefix
        self.is_over = False
        self._left = length
        self._has_begun = False

    def takes(self, line: str) -> bool:
        """Whether it is a line of it. One that does not fit into what is left is none, whatever blanks were lost."""
        is_one = not self._has_begun or len(line) <= self._left
        self._has_begun = True
        self._left -= len(line) + 1  # its end
        self.is_over = not is_one or self._left <= 0
        return is_one

    def goes_on(self, size: int) -> None:
        """The beginning of a line has come, and the rest of it has not."""
        self._left -= size


class Quoted(Text):
    """What a network has written into the quotes of +CUSD (27.007 7.15): lines until the quote that ends it."""

    def takes(self, line: str) -> bool:
        is_one = line not in RESULTS and len(line) <= self._left
        self._left -= len(line) + 1
        self.is_over = not is_one or '"' in line
        return is_one


def text_lines(name: str, body: str) -> int | None:
    """How many lines of a message stand behind its first one, 27.005 3.4.1 - 3.4.3; None: any number.

    A PDU has one line, and before it a status that is a number. A report has none but its own, if it is told as text.
    """
    fields = split(body)
    if name in MESSAGES:
        return 0 if name == "+CDS" and len(fields) > 3 else 1
    if name == "+CMGL":
        fields = fields[1:]
    if fields and fields[0].isdigit():
        return 0 if at(fields, 2) == "0" else 1
    is_report = len(fields) >= 7 and fields[1].isdigit() and len(fields[1]) <= 3
    return 0 if is_report else None


def text_length(name: str, body: str) -> int:
    """Characters of the text behind +CMT, where its header tells them; else 0, for a single line."""
    fields = split(body)
    if name != "+CMT" or len(fields) < DETAILED:
        return 0
    return min(max(number(fields[-1]) or 0, 0), LENGTH_MAX)
