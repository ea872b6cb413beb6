"""A station's report: what somebody far away needs to know of a problem, in one bounded archive. No card ids, no
secrets: what names a card does so by another name (agent/eventlog/entries.py)."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent import __version__, health
from agent.clock import earliest, iso8601, wall
from agent.eventlog.entries import Pseudonyms, plain
from agent.eventlog.segments import newest
from agent.settings import Merged
from agent.station import Station

EVENTS_MAX_B = 8_000_000
MEMBER_MAX_B = 1_000_000
MODE = 0o600


def written(
    file: Path, station: Station, now: float, merged: Merged, status: Mapping[str, Any], doctor: str, events: Path,
    pseudonyms: Pseudonyms,
) -> None:  # fmt: skip
    """All of it, or nothing. OSError."""
    new = file.with_suffix(".new")
    members = [*described(station, now, merged, status, doctor, pseudonyms), *logged(events)]
    dated_s = int(earliest(station.clock, now))
    with (
        open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, MODE), "wb") as out,
        tarfile.open(fileobj=out, mode="w:gz") as archive,
    ):
        for name, data in members:
            info = tarfile.TarInfo(f"{station.settings.station_id}/{name}")
            info.size, info.mode, info.mtime = len(data), MODE, dated_s
            archive.addfile(info, io.BytesIO(data))
    new.replace(file)


def described(
    station: Station, now: float, merged: Merged, status: Mapping[str, Any], doctor: str, pseudonyms: Pseudonyms
) -> Iterator[tuple[str, bytes]]:
    known_s = wall(station.clock, now)
    about = {
        "station": station.settings.station_id, "software": __version__, "machine": plain(station.machine),
        "at": None if known_s is None else iso8601(known_s), "monotonic_s": now, "boot": plain(station.boot),
        "clock": plain(station.clock), "parts": plain(dict(station.parts)), "network": plain(station.network),
    }  # fmt: skip
    told = {
        "about.json": about, "settings.json": sourced(station, merged), "status.json": dict(status),
        "health.json": health.known(health.facts(station, now)),
    }  # fmt: skip
    for name, value in told.items():
        clean = pseudonyms.of(plain(value))
        yield name, json.dumps(clean, indent=1, ensure_ascii=False, default=str).encode()[:MEMBER_MAX_B]
    yield "doctor.txt", doctor.encode()[:MEMBER_MAX_B]


def sourced(station: Station, merged: Merged) -> dict[str, Any]:
    """Each setting with its value, and who has set it: cloud, installer, or what the files say."""
    in_force = plain(station.settings)
    assert isinstance(in_force, dict)

    def source(key: str) -> str:
        if key in station.cloud:
            return "cloud"
        return "wizard" if key in station.wizard.settings else str(merged.sources.get(key, "default"))

    return {key: {"value": value, "source": source(key)} for key, value in in_force.items()}


def logged(events: Path) -> Iterator[tuple[str, bytes]]:
    for name, data in newest(events, EVENTS_MAX_B):
        yield f"events/{name}", data
