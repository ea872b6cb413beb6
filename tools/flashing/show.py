"""What happens at stations, as people and machines see it: lines, a bar for each station on a terminal, or JSON.

All of it may be told from several threads.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from tools.flashing.cli import Out, plain
from tools.flashing.progress import duration, size

LINE_EACH_S = 5.0  # of progress, where there is no terminal
WORDS = {
    "send": "sending", "verify": "the station reads it back", "staged": "staged: all of it is there, and as signed",
    "waiting": "waiting until nobody charges", "activated": "activated: the next start of the agent tries it",
    "trial": "on trial: the station judges its health", "confirmed": "confirmed: this build stays",
    "rolled-back": "rolled back", "request": "the station has made its key", "certified": "certificate installed",
}  # fmt: skip


class Show(Protocol):
    def tell(self, station: str, name: str, facts: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def show_for(out: Out) -> "Show":
    """JSON if asked for; bars on a terminal that rich can draw on; else lines."""
    if out.is_json:
        return Events(out)
    if out.stream is sys.stdout and sys.stdout.isatty():
        with suppress(ImportError):
            return Bars(out)
    return Lines(out)


class Events:
    def __init__(self, out: Out) -> None:
        self._out, self._lock = out, threading.Lock()

    def tell(self, station: str, name: str, facts: Mapping[str, Any]) -> None:
        with self._lock:
            self._out.event(name, station=station, **facts)

    def close(self) -> None:
        pass


class Lines:
    """One line for each event, and of progress one every few seconds."""

    def __init__(self, out: Out, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock, self._lock = out, clock, threading.Lock()
        self._said_s: dict[str, float] = {}

    def tell(self, station: str, name: str, facts: Mapping[str, Any]) -> None:
        with self._lock:
            now = self._clock()
            if name == "progress" and facts["done_b"] < facts["total_b"]:
                if now - self._said_s.setdefault(station, now) < LINE_EACH_S:
                    return
                self._said_s[station] = now
            if text := said(name, facts):
                self._out.say(f"{station}: {text}")

    def close(self) -> None:
        pass


class Bars:
    """One bar for each station that sends; what else happens is a line above them. ImportError without rich."""

    def __init__(self, out: Out) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._lock = threading.Lock()
        self._console = Console(file=out.stream, highlight=False)
        self._rows: dict[str, Mapping[str, Any]] = {}  # station -> its latest progress

        def drawn() -> Text:
            with self._lock:
                rows = list(self._rows.items())
            columns, lines = self._console.size
            return Text("\n".join(bars(rows, columns, lines)), no_wrap=True, overflow="crop")

        self._live = Live(console=self._console, transient=True, get_renderable=drawn)
        self._live.start()

    def tell(self, station: str, name: str, facts: Mapping[str, Any]) -> None:
        with self._lock:
            if name == "progress":
                self._rows[station] = facts
                return
            if name in ("stage", "ended", "lost"):
                self._rows.pop(station, None)
        if text := said(name, facts):
            self._console.print(plain(f"{station}: {text}"), markup=False)

    def close(self) -> None:
        self._live.stop()


BAR_MIN, ENDS_WITH = 8, 34  # columns; of them what stands behind a bar


def bars(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: int, lines: int) -> list[str]:
    """A line for each station, as many as there is room for, and one that sums up the others."""
    room = max(1, lines - 2)  # for what is printed above, and the cursor
    shown = rows if len(rows) <= room else rows[: room - 1]
    name_w = min(max((len(name) for name, _ in shown), default=0), max(BAR_MIN, columns - ENDS_WITH - BAR_MIN - 4))
    bar_w = min(40, columns - name_w - ENDS_WITH - 3)
    drawn = [_bar(name, progress, name_w, bar_w) for name, progress in shown]
    if rest := rows[len(shown) :]:
        done_b, total_b = (sum(progress[what] for _, progress in rest) for what in ("done_b", "total_b"))
        drawn.append(f"and {len(rest)} more stations, {100 * done_b // max(1, total_b)} % of what is sent to them")
    return [line[: columns - 1] for line in drawn]


def _bar(name: str, progress: Mapping[str, Any], name_w: int, bar_w: int) -> str:
    """Of names that are too long the end is kept: that is where stations of one site differ."""
    done_b, total_b, rate = progress["done_b"], max(1, progress["total_b"]), progress["rate_bps"]
    name = name if len(name) <= name_w else "…" + name[len(name) - name_w + 1 :]
    full = bar_w * done_b // total_b
    how = f"{size(rate)}/s, {duration(progress['left_s'])} left" if rate else size(total_b)
    bar = f" {'━' * full}{'─' * (bar_w - full)}" if bar_w >= BAR_MIN else ""
    return f"{name:<{name_w}}{bar} {100 * done_b // total_b:3} %  {how}"


# -- words -------------------------------------------------------------------------------------------------------------


def how(progress: Mapping[str, Any]) -> str:
    """ "1.2 MB of 3.5 MB, 11.2 kB/s, 3 min 20 s left" """
    rate = progress["rate_bps"]
    parts = [f"{size(progress['done_b'])} of {size(progress['total_b'])}"]
    if rate:
        parts += [f"{size(rate)}/s", f"{duration(progress['left_s'])} left"]
    if progress["again_b"]:
        parts.append(f"{size(progress['again_b'])} sent again")
    return ", ".join(parts)


def said(name: str, facts: Mapping[str, Any]) -> str:
    """The event in words; "" where it is nothing for people."""
    match name:
        case "identified":
            kind = "production" if facts["is_production"] else "development"
            who = f"{facts['serial'] or 'a bare station'}, {facts['board'] or 'no board'}, {facts['platform']}, {kind}"
            return f"{who}, runs {facts['software'] or '?'}"
        case "planned":
            return planned(facts)
        case "progress":
            share = 100 * facts["done_b"] // max(1, facts["total_b"])
            return f"{share:3} %  {how(facts)}"
        case "stage":
            return WORDS.get(facts["stage"], str(facts["stage"]))
        case "lost":
            return f"{facts['sentence']}; trying again"
        case "log":
            return logged(str(facts["line"]))
        case "ended" if facts["code"]:
            return f"failed: {facts['sentence']}"
        case "ended":
            return f"{ENDS[facts['result']].format(**facts)} ({duration(facts['seconds'])})"
        case "provisioned":
            return f"provisioned as {facts['serial']}" + ("" if facts["changed"] else "; nothing was to be changed")
    return ""


def logged(line: str) -> str:
    """A line of a station's log: when, what, and the rest of what it says."""
    try:
        entry = json.loads(line)
        at = datetime.fromtimestamp(entry.pop("at_s"), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        what, entry["build"] = entry.pop("event"), entry.get("build", "")[:16]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError):
        return line  # from a station that writes it otherwise, or has no clock
    return f"{at}  {what}  " + ", ".join(f"{name} {value}" for name, value in entry.items() if value not in ("", []))


ENDS = {
    "planned": "nothing was changed", "same": "{version} runs already", "staged": "{version} is staged in slot {slot}",
    "waiting": "{version} is tried as soon as nobody charges", "activated": "{version} is tried at the next start",
    "confirmed": "{version} runs and is confirmed", "not-begun": "not begun",
}  # fmt: skip


def planned(plan: Mapping[str, Any]) -> str:
    if plan["held"]:
        return f"{plan['version']} is there already ({plan['held']})"
    time_ = f", about {duration(plan['seconds'])}" if plan["seconds"] is not None else ""
    to = "would be sent" if plan["is_dry"] else "to send"
    return (
        f"{plan['version']} into slot {plan['slot']}: {plan['wanted']} of {plan['pieces']} pieces {to},"
        f" {size(plan['wanted_b'])}{time_}; {size(plan['have_b'])} of {size(plan['total_b'])} are there"
    )
