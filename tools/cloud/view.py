"""What `devcloud watch` shows: who is there, which ports do what, what runs, what was said last, what is wrong.

`look` reads the database, `drawn` makes a picture of that for a terminal from 80 x 24 on, `run_view` repeats both.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tools.cloud.drivers import State, Version
from tools.cloud.ledger import Ledger
from tools.cloud.sessions import Session
from tools.cloud.wire import Json

REFRESH_S = 1.0
AUDIT_MS = 10_000                       # how often everything is counted anew: that reads the whole ledger
OWED_MAX_MS = 24 * 3_600_000            # by then an approval or a removal is promised to be in force
LIVE_MS = 15_000                        # an older live message is no news any more
MESSAGES = 6
SHORT = {"Available": "free", "Occupied": "busy", "Reserved": "rsvd", "Unavailable": "out", "Faulted": "FAULT"}
STREAM_NAMES = ("money", "status", "result", "sample", "log")


@dataclass(frozen=True, slots=True)
class StationView:
    """Ages in milliseconds. `listed`: the version of the list that it has confirmed, `listed_ms` ago. `owed_ms`: how
    long ago the first change was made that it lacks; None if it lacks none."""

    name: str
    is_online: bool
    silent_ms: int | None
    listed: str
    listed_ms: int | None
    owed_ms: int | None
    software: str
    ports: tuple[tuple[int, str], ...]  # evse_id, ConnectorStatusEnumType
    power_w: dict[int, int]             # by evse_id, where it is being watched live


@dataclass(frozen=True, slots=True)
class Message:
    received_ms: int
    station: str
    stream: int
    seq: int
    action: str


@dataclass(frozen=True, slots=True)
class ListView:
    """The list of drivers, and how many of them say what; `version` 0: there is none yet."""

    version: int
    approved: int
    pending: int
    removed: int


@dataclass(frozen=True, slots=True)
class Picture:
    now_ms: int
    drivers: ListView
    stations: tuple[StationView, ...]
    running: tuple[Session, ...]
    messages: tuple[Message, ...]       # the newest first
    violations: dict[str, int]


def look(ledger: Ledger, now_ms: int, violations: dict[str, int]) -> Picture:
    rows = ledger.db.execute(
        "SELECT name, online, heard_ms, listed, listed_ms, about, live.received_ms, live.ports FROM station"
        " LEFT JOIN live ON live.station = name ORDER BY online DESC, name"
    ).fetchall()
    ports: dict[str, list[tuple[int, str]]] = {}
    for station, evse_id, status in ledger.db.execute("SELECT station, evse_id, status FROM port ORDER BY evse_id"):
        ports.setdefault(station, []).append((evse_id, status))
    stations = tuple(
        StationView(
            name,
            bool(online),
            None if heard_ms is None else now_ms - heard_ms,
            shown_version(listed),
            now_ms - listed_ms if listed else None,
            None if (made_ms := ledger.drivers.made_ms(read_version(listed))) is None else now_ms - made_ms,
            software(json.loads(about)),
            tuple(ports.get(name, ())),
            powers(live) if live and now_ms - live_ms < LIVE_MS else {},
        )
        for name, online, heard_ms, listed, listed_ms, about, live_ms, live in rows
    )
    running = (session for name, *_ in rows for session in ledger.sessions(name, only_running=True))
    last = "SELECT received_ms, station, stream, seq, coalesce(action, '?') FROM record ORDER BY id DESC LIMIT ?"
    messages = tuple(Message(*row) for row in ledger.db.execute(last, (MESSAGES,)))
    version, counts = ledger.drivers.version(), ledger.drivers.counts()
    drivers = ListView(version[1] if version else 0, *(counts[state] for state in State))
    return Picture(now_ms, drivers, stations, tuple(running), messages, violations)


def read_version(listed: str) -> Version | None:
    if not listed:
        return None
    generation, version = json.loads(listed)
    return generation, version


def shown_version(listed: str) -> str:
    return str(json.loads(listed)[1]) if listed else "?"


def software(about: Json) -> str:
    return " ".join(str(about[name]) for name in ("model", "firmwareVersion") if name in about)


def powers(live: str) -> dict[int, int]:
    return {evse_id: power_w for evse_id, _, _, _, power_w, *_ in json.loads(live)}


def all_violations(ledger: Ledger) -> dict[str, int]:
    total: dict[str, int] = {}
    for station in ledger.report().stations.values():
        for kind, n in station.violations.items():
            total[kind] = total.get(kind, 0) + n
    if ahead := ledger.lists.ahead():
        total["list_newer_than_ours"] = len(ahead)      # `devcloud generation`
    return total


# -- the picture ------------------------------------------------------------------------------------------------------


def drawn(picture: Picture, height: int) -> ConsoleRenderable:
    """At most `height` lines, from 24 on: what does not fit is counted in the heads."""
    room = height - 3 - 3 - len(picture.messages)           # without headlines, what is wrong, three heads
    sessions = min(len(picture.running), room // 2)
    stations = min(len(picture.stations), room - sessions)
    sessions = min(len(picture.running), room - stations)
    watts = {(s.name, evse_id): watt for s in picture.stations for evse_id, watt in s.power_w.items()}
    now_ms = picture.now_ms
    there = [station_row(station) for station in picture.stations]
    running = [session_row(session, now_ms, watts) for session in picture.running]
    said = [
        (age(now_ms - m.received_ms), m.station, STREAM_NAMES[m.stream], str(m.seq), m.action) for m in picture.messages
    ]
    return Group(
        headline(picture),
        list_line(picture.drivers),
        table("station", "|heard|list|age|owed|software|ports", there, stations),
        table("running", "port|card|since|energy|power", running, sessions),
        table("said", "by|stream|seq|action", said, len(said)),
        wrong(picture.violations),
    )


def headline(picture: Picture) -> Text:
    online = sum(station.is_online for station in picture.stations)
    energy_wh = sum(session.energy_wh for session in picture.running)
    said = f"{online} of {len(picture.stations)} stations online, {len(picture.running)} sessions, {energy_wh:.0f} Wh"
    return Text.assemble(("devcloud  ", "bold"), said, no_wrap=True, overflow="ellipsis")


def list_line(drivers: ListView) -> Text:
    if not drivers.version:
        return Text("no list of drivers yet", "dim")
    said = f"list {drivers.version}: {drivers.approved} drivers, {drivers.pending} pending, {drivers.removed} removed"
    return Text(said, no_wrap=True, overflow="ellipsis")


def table(first: str, others: str, rows: Sequence[Sequence[str | Text]], room: int) -> Table:
    """One line a row; those beyond `room` are counted in the head."""
    made = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    more = len(rows) - room
    for name in (f"{first} (+{more})" if more else first, *others.split("|")):
        made.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in rows[:room]:
        made.add_row(*row)
    return made


def station_row(s: StationView) -> tuple[str | Text, ...]:
    there = Text("on", "green") if s.is_online else Text("off", "red")
    aged = "" if s.listed_ms is None else age(s.listed_ms)
    owed = Text() if s.owed_ms is None else Text(age(s.owed_ms), "yellow" if s.owed_ms < OWED_MAX_MS else "bold red")
    ports = [Text(f"{n} {SHORT.get(status, status)}", "red" if status == "Faulted" else "") for n, status in s.ports]
    heard = "" if s.silent_ms is None else age(s.silent_ms)
    return s.name, there, heard, s.listed, aged, owed, s.software, Text(" ").join(ports)


def session_row(s: Session, now_ms: int, watts: dict[tuple[str, int], int]) -> tuple[str | Text, ...]:
    since = "?" if s.started_ms is None else age(now_ms - s.started_ms)
    watt = watts.get((s.station, s.evse_id or 0))
    power = "" if watt is None else f"{watt} W"
    return s.station, str(s.evse_id or "?"), s.id_token or "-", since, f"{s.energy_wh:.0f} Wh", power


def wrong(violations: dict[str, int]) -> Text:
    if not violations:
        return Text("nothing is wrong", "green")
    said = "  ".join(f"{kind} {n}" for kind, n in sorted(violations.items()))
    return Text(f"WRONG: {said}", "bold red", no_wrap=True, overflow="ellipsis")


def age(ms: int) -> str:
    """Two figures are enough to look at."""
    s = max(0, ms) // 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if s >= size:
            return f"{s // size} {unit}"
    return f"{s} s"


def run_view(ledger: Ledger, clock_ms: Callable[[], int]) -> int:
    """Until Ctrl-C."""
    console = Console()
    audited_ms, violations = 0, dict[str, int]()
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as screen:
            while True:
                now_ms = clock_ms()
                if now_ms - audited_ms >= AUDIT_MS:
                    audited_ms, violations = now_ms, all_violations(ledger)
                screen.update(drawn(look(ledger, now_ms, violations), max(24, console.height)), refresh=True)
                if not console.is_terminal:
                    return 0                                # into a file: one picture
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return 0
    finally:
        ledger.close()
