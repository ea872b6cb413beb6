"""`station-agent replay`: an event log through the core of this software, with the times it had then.

What was decided then stands in the log; what is decided now comes from agent.core. Where they differ, the first
difference is said. Needs the log and nothing else, so it works on any machine.
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__
from agent.clock import iso8601, wall
from agent.core import handle
from agent.eventlog import entries
from agent.eventlog.entries import (
    Beginning,
    Entry,
    Happened,
    Header,
    Missing,
    Otherwise,
    Snapshot,
    Unreadable,
    plain,
    said,
    vocabulary,
)
from agent.eventlog.segments import NAME, found
from agent.events import Deadline, PortReported, Report
from agent.settings import ConfigError
from agent.station import Station

FILE_MAX_B = 16_000_000  # a segment is far smaller; an archive may come from anywhere
TEXT_MAX = 400


class Difference(Exception):
    """This software decides otherwise: a sentence, and what was decided then and now."""


class Replay:
    """Entries in, lines for people out. Difference: the first."""

    def __init__(self) -> None:
        self.station: Station | None = None
        self.events = self.missing = 0
        self.header = Header()  # of the file that is read
        self.otherwise: list[str] = []  # what whoever wrote it calls otherwise

    def lines(self, log: Iterable[Entry]) -> Iterator[str]:
        """Of one file."""
        if self.otherwise:  # what came of it is not to be compared with anything
            self.station = None
        self.header, self.otherwise = Header(), []
        for entry in log:
            match entry:
                case Header(version=version):
                    self.header = entry
                    other = "" if version == __version__ else f", replayed by {__version__}"
                    build = "" if entry.vocabulary == vocabulary() or other else ", another build of it"
                    yield f"-- {entry.station_id}, written by {version}{other}{build}"
                case Otherwise(words=words):
                    self.otherwise += words
                    yield from (f"-- {each}" for each in words)
                case Missing(count=count):
                    self.station, self.missing = None, self.missing + count
                    yield f"-- {count} events are missing here"
                case Snapshot(station=station, now=now):
                    self._same_station(station, now)
                    self.station = station
                case Happened() if self.station is None and not isinstance(entry.event, Beginning):
                    self.missing += 1  # what came before is not here, nor a whole station
                case Happened():
                    yield from self._happened(entry)

    def _happened(self, entry: Happened) -> Iterator[str]:
        self.events += 1
        match entry.event:
            case Beginning() as beginning:
                self.station, effects = beginning.born(entry.now)
            case event:
                assert self.station is not None
                self.station, effects = handle(self.station, event, entry.now)
        now_said = said(effects)
        shown = shown_lines(entry)
        if shown or not isinstance(entry.event, Deadline | PortReported):
            yield f"{self._dated(entry.now)}  {worded(entry.event)}"
            yield from (f"    {line}" for line in shown)
        if now_said != entry.said:
            then, now = difference(entry.said, now_said)
            what = f"{self._dated(entry.now)} {type(entry.event).__name__}"
            raise Difference(f"this software decides otherwise at {what}\n    then: {then}\n    now:  {now}")

    def _same_station(self, then: Station, now: float) -> None:
        """What the log said, event by event, must have led to what it says of the whole."""
        if self.station is None or self.station == then or self.otherwise:
            return
        names = [f.name for f in fields(Station) if getattr(then, f.name) != getattr(self.station, f.name)]
        then_now = [text(getattr(each, names[0])) for each in (then, self.station)]
        raise Difference(
            f"this software comes to another station at {self._dated(now)}, in {', '.join(names)}\n"
            f"    then: {then_now[0]}\n    now:  {then_now[1]}"
        )

    def _dated(self, now: float) -> str:
        known = wall(self.station.clock, now) if self.station else None
        return f"{now:.3f} s" if known is None else iso8601(known)


def shown_lines(entry: Happened) -> list[str]:
    """Without what comes with nearly everything."""
    return [line for line in entry.said if not line.startswith(("wish ", "save "))]


def difference(then: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, str]:
    longest = max(len(then), len(now))
    padded = ([*each, *["nothing"] * (longest - len(each))] for each in (then, now))
    return next(pair for pair in zip(*padded, strict=True) if pair[0] != pair[1])


def worded(event: Any) -> str:
    """Its name, and what of it is not as always."""
    if isinstance(event, Beginning):
        return f"Beginning {event.boot.reason}, start {event.boot.count}"
    if isinstance(event, PortReported):
        usual = Report()
        names = [f.name for f in fields(Report) if getattr(event.report, f.name) != getattr(usual, f.name)]
        return f"PortReported {event.evse_id} " + " ".join(f"{n}={text(getattr(event.report, n))}" for n in names)
    members = " ".join(f"{key}={text(value)}" for key, value in plain(event).items() if value not in ("", None, []))
    return f"{type(event).__name__} {members}".strip()


def text(value: Any) -> str:
    spelled = msgspec.json.encode(plain(value), enc_hook=str).decode()
    return spelled if len(spelled) <= TEXT_MAX else f"{spelled[:TEXT_MAX]}…"


# -- files ------------------------------------------------------------------------------------------------------------


def segments(path: Path) -> Iterator[tuple[str, bytes]]:
    """A segment, a folder of them, or a report of a station; the oldest first. ConfigError."""
    try:
        if path.is_dir():
            files = found(path)
            if not files:
                raise ConfigError(f"{path} holds no event log: name the folder events of a station, or a report")
            yield from ((file.name, beginning(file)) for file in files)
        elif path.name.endswith((".tar.gz", ".tgz")):
            yield from unpacked(path)
        else:
            yield path.name, beginning(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name a file of an event log") from None


def beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_MAX_B)


def unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """Only read, never written anywhere: an archive may say any name."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            inside = [m for m in archive.getmembers() if m.isfile() and NAME.fullmatch(Path(m.name).name)]
            for member in sorted(inside, key=lambda m: Path(m.name).name):
                if (file := archive.extractfile(member)) and member.size <= FILE_MAX_B:
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path} is no report of a station ({error}): fetch it again") from None


def replay(path: Path) -> Iterator[str]:
    """Lines; the last is the verdict. A file that only other software can replay is left out, and the next one goes on.
    Difference, ConfigError."""
    run, left_out = Replay(), list[str]()
    for name, data in segments(path):
        try:
            yield from run.lines(entries.read(data))
        except (Unreadable, Difference) as error:
            if isinstance(error, Difference) and not run.otherwise:
                raise
            run.station = None
            by = f"; replay it with {run.header.version}" if run.header.version else ""
            left_out.append(f"{name}: {error}{by}")
            yield f"-- left out from here on: {left_out[-1]}"
    missing = f"; {run.missing} are missing" if run.missing else ""
    if left_out and not run.events:
        raise ConfigError(left_out[0])
    yield f"{run.events} events, decided as then{missing}"
    if left_out:
        raise ConfigError(f"not all could be replayed here: {left_out[0]}")
