"""A command line of V.250, and what a command comes to."""

import re
from collections import deque
from collections.abc import Callable

from msgspec import Struct

BASIC = re.compile(r"\s*(S[0-9]{1,3}|[&\\%]?[A-Z])(=\?|\?|=?[0-9]*)", re.IGNORECASE)
EXTENDED = re.compile(r'\s*([+^#*$%!_][A-Za-z0-9]+)\s*(=\?|\?|=)?((?:[^;"]|"[^"]*+"?)*+)(?:;|$)')
ARGUMENT = re.compile(r'\s*("[^"]*"?|[^,]*)\s*(?:,|$)')


class Request(Struct, frozen=True):
    """One command of a line. `form`: run, read, test, set; `arguments` without their quotes; `typed` in capitals."""

    name: str
    form: str
    arguments: tuple[str, ...] = ()
    typed: str = ""

    def number(self, index: int, default: int = -1) -> int:
        """`default` where there is none; -2 where it is no number."""
        said = self.arguments[index] if index < len(self.arguments) else ""
        if not said:
            return default
        return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else -2

    def text(self, index: int) -> str:
        return self.arguments[index] if index < len(self.arguments) else ""


# -- what a command comes to ------------------------------------------------------------------------------------------


class Answer(Struct, frozen=True):
    """Information texts, and OK; or another result."""

    lines: tuple[str, ...] = ()
    final: str = "OK"


class Failure(Struct, frozen=True):
    """+CME ERROR with this number (27.007 9.2), or ERROR. `is_unknown`: there is no such command."""

    code: int | None = None
    is_unknown: bool = False


class Wait(Struct, frozen=True):
    """It takes its time; then it asks again what it has come to."""

    seconds: float
    then: Callable[[float], "Reply"]


class Prompt(Struct, frozen=True):
    """`> `, and what is made of the text, or of None where it was left."""

    then: Callable[[str | None], "Reply"]


class Call(Struct, frozen=True):
    """CONNECT, and data from there on."""

    cid: int


Reply = Answer | Failure | Wait | Prompt | Call


# -- reading ----------------------------------------------------------------------------------------------------------


def parsed(text: str) -> deque[Request] | None:
    """The commands of a line, V.250 5.4. None: it is none."""
    parts: deque[Request] = deque()
    at = 0
    while at < len(text):
        if text[at] == ";" or text[at] == " ":
            at += 1
        elif text[at].upper() == "D":
            parts.append(Request("D", "run", (text[at + 1 :].strip(),), text[at:].upper()))
            break
        elif found := EXTENDED.match(text, at):
            said = found[3].strip()
            form = {"=?": "test", "?": "read", "=": "set", None: "run"}[found[2]]
            if said and form != "set":
                return None
            parts.append(Request(found[1].upper(), form, arguments(said), found[0].strip(" ;").upper()))
            at = found.end()
        elif found := BASIC.match(text, at):
            said = found[2].lstrip("=")
            form = "test" if found[2] == "=?" else "read" if found[2] == "?" else "run"
            parts.append(Request(found[1].upper(), form, (said,) if said != "?" else (), found[0].strip().upper()))
            at = found.end()
        else:
            return None
    return parts


def arguments(said: str) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while said:
        part = ARGUMENT.match(said, at)
        assert part
        found.append(part[1].strip().strip('"'))
        at = part.end()
        if not part[0].endswith(",") or at == part.start():
            break
    return tuple(found)
