"""What happens at stations, as people and machines see it: lines, a bar for each station on a terminal, or JSON.

All of it may be told from several threads.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
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
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        self._out, self._lock = out, threading.Lock()
        self._console = Console(file=out.stream, highlight=False)
        text = TextColumn("{task.percentage:3.0f} %  {task.fields[how]}")
        columns = TextColumn("{task.description}"), BarColumn(), text
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def tell(self, station: str, name: str, facts: Mapping[str, Any]) -> None:
        with self._lock:
            if name == "progress":
                if station not in self._tasks:
                    self._tasks[station] = self._progress.add_task(station, total=facts["total_b"], how="")
                self._progress.update(self._tasks[station], completed=facts["done_b"], how=how(facts))
                return
            if name in ("stage", "ended", "lost") and station in self._tasks:
                self._progress.remove_task(self._tasks.pop(station))
            if text := said(name, facts):
                self._console.print(plain(f"{station}: {text}"), markup=False)

    def close(self) -> None:
        self._progress.stop()


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
