"""Where one thing ends and the next begins, on lines whose ends were lost, or that something else has cut. Pure."""

import re
from typing import Literal

from agent.modem.errors import final

Kind = Literal["echo", "answer", "URC", "final", "stray", "unknown"]

SIGNS = "+^#*$%!&_@"  # V.250 5.4.1: what an extended command, and so a prefix, begins with
ECHO_MIN = 3  # characters: what is left of an echo whose beginning was lost
RESULTS = ("OK", "ERROR")
VALUE_ENDS = frozenset("0123456789ABCDEFabcdef\")")  # of numbers and of strings; no word ends in them
SECOND = re.compile(rf"(?P<name>[{re.escape(SIGNS)}](?:CM[ES] ERROR|[A-Z][A-Z0-9_]+))\s?:")
BEHIND = re.compile(rf"(?P<result>OK|ERROR)(?P<rest>(?P<name>[{re.escape(SIGNS)}][A-Z0-9_]+)\s*:.*)")


class Echo:
    """The command in flight, as it comes back. A URC may cut it in two: then each part is looked for in its turn."""

    def __init__(self, text: str = "") -> None:
        self._text = text.casefold()
        self._seen = 0  # characters of one that was cut

    def size_in(self, line: str, is_answered: bool = False) -> int:
        """How many characters of the line are echo, from its beginning on. Behind an answer no rest of one comes."""
        said, text = line.casefold(), self._text
        if self._seen and not is_answered and (rest := text[self._seen :].lstrip()):
            if rest.startswith(said):
                self._seen = len(text) - len(rest) + len(said)
                return len(line)
            if said.startswith(rest) and begins(said[len(rest) :]):
                self._seen = 0
                return len(rest)
        if text.endswith(said) and len(said) >= min(ECHO_MIN, len(text)):
            return len(line)
        if len(text) > ECHO_MIN and said.endswith(text):  # with noise in front
            return len(line)
        if text and said.startswith(text) and begins(said[len(text) :]):
            return len(text)
        if len(said) > 1 and said.startswith("at") and text.startswith(said):
            self._seen = len(said)
            return len(line)
        return 0


def begins(behind: str) -> bool:
    """Whether an answer or a result begins here."""
    said = behind.strip()
    return said[:1] in tuple(SIGNS) or final(said) is not None


def before_result(line: str) -> tuple[str, str] | None:
    """`+CSQ: 15,99OK`: what stands in front of a result, and that. Whether it is an answer its grammar must say."""
    if not line.endswith(RESULTS) or line in RESULTS:
        return None
    result = "OK" if line.endswith("OK") else "ERROR"
    told = line.removesuffix(result).rstrip()
    return (told, result) if told and told.count('"') % 2 == 0 else None


def second_prefix(line: str) -> tuple[str, str, str] | None:
    """`+CREG: 1+CSQ: 15,99`: what stands in front of a second prefix, the rest, and that prefix."""
    for found in SECOND.finditer(line) if line.count(":") > 1 else ():
        if found.start() and line[: found.start()].count('"') % 2 == 0:
            return line[: found.start()].rstrip(), line[found.start() :], found["name"]
    return None


def behind_result(line: str) -> tuple[str, str, str] | None:
    """`OK+CREG: 1`: a result, what stands behind it, and the prefix of that."""
    found = BEHIND.fullmatch(line) if line.startswith(RESULTS) else None
    return (found["result"], found["rest"], found["name"]) if found else None
