"""What the agent and the update service say to each other over a Unix socket: lines of JSON, each the whole of it.

    wish    agent to updater: the order, if there is one, and what may be done about it now. No order calls one off
    state   updater to agent: how far it is, and why it has ended; and whether it wants the agent to be started anew

Each says its whole with every change and with every connection, so nothing can get lost. Versions: members are only
ever added, and what a reader does not know it leaves out; one that is missing has its default. `least` names the oldest
reader that a line is fit for, so an old agent and a new updater understand each other, after a rollback, too.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
LINE_MAX_B = 65_536  # the longest of ours, all of it in twelve-byte escapes, has 30,000
NAME_MAX, URL_MAX, TEXT_MAX = 100, 2_000, 1_000
NUMBER_MAX = 2**53

WAITING, DOWNLOADING, STAGED, ACTIVATED, TRIAL, CONFIRMED, FAILED, ROLLED_BACK = PROGRESS = (
    "waiting", "downloading", "staged", "activated", "trial", "confirmed", "failed", "rolled-back",
)  # fmt: skip
NONE = "none"  # there is no order; or a word of newer software
HOW = ("idle", "now", "resume")  # the agent may end when nobody charges; sessions end; sessions go on after it


class LineError(Exception):
    """Nobody of ours has written this; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Order:
    name: str
    url: str  # https
    retries: int | None = None  # attempts in a row that may bring nothing
    retry_interval_s: int | None = None
    budget_b: int | None = None  # on the radio, all attempts together


@dataclass(frozen=True, slots=True)
class Wish:
    order: Order | None = None
    download: bool = False
    install: bool = False  # the next start of the agent shall run it; nobody charges
    restarted: str = ""  # the last restart_id that the agent has heard of, in this run or one before


@dataclass(frozen=True, slots=True)
class State:
    order: str = ""  # its name
    progress: str = NONE
    code: str = ""  # of agent/update/refusal.py
    why: str = ""
    received_b: int = 0
    wanted_b: int = 0
    version: str = ""
    restart_id: str = ""  # the agent is to end once for each such name; "" = it need not
    restart: str = ""  # one of HOW
    restart_why: str = ""


def write(said: Wish | State) -> bytes:
    kind = "wish" if isinstance(said, Wish) else "state"
    line = json.dumps({"v": VERSION, "least": 1, "say": kind, **asdict(said)}, separators=(",", ":")).encode()
    assert len(line) < LINE_MAX_B, len(line)
    return line + b"\n"


def read(line: bytes) -> Wish | State | None:
    """None: a kind of line that this software does not know, or one that is not for it. LineError."""
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        raise LineError("no line of JSON") from None
    if not isinstance(table, dict):
        raise LineError("no object")
    if number(table, "least", 1) > VERSION:
        return None
    match table.get("say"):
        case "wish":
            return Wish(
                read_order(table.get("order")), flag(table, "download"), flag(table, "install"),
                text(table, "restarted", NAME_MAX),
            )  # fmt: skip
        case "state":
            return read_state(table)
        case str():
            return None
    raise LineError("it does not say what it is")


def read_order(value: Any) -> Order | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise LineError("order is no object")
    name, url = text(value, "name", NAME_MAX), text(value, "url", URL_MAX)
    if not name or not url:
        raise LineError("an order without a name or a place")
    return Order(name, url, *(optional(value, key) for key in ("retries", "retry_interval_s", "budget_b")))


def read_state(table: Mapping[str, Any]) -> State:
    progress = text(table, "progress", NAME_MAX)
    return State(
        text(table, "order", NAME_MAX), progress if progress in PROGRESS else NONE, text(table, "code", NAME_MAX),
        text(table, "why", TEXT_MAX), number(table, "received_b"), number(table, "wanted_b"),
        text(table, "version", NAME_MAX), text(table, "restart_id", NAME_MAX), text(table, "restart", NAME_MAX),
        text(table, "restart_why", TEXT_MAX),
    )  # fmt: skip


def text(table: Mapping[str, Any], name: str, most: int) -> str:
    value = table.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise LineError(f"{name} is no text of at most {most} characters")
    return value


def number(table: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = table.get(name, default)
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise LineError(f"{name} is no number from 0 on")
    return value


def optional(table: Mapping[str, Any], name: str) -> int | None:
    return None if table.get(name) is None else number(table, name)


def flag(table: Mapping[str, Any], name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise LineError(f"{name} is neither true nor false")
    return value


class Lines:
    """Bytes in, whole lines out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """LineError if one is longer than any of ours."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*whole, self._rest))) > LINE_MAX_B:
            raise LineError(f"a line of more than {LINE_MAX_B} bytes")
        yield from whole
