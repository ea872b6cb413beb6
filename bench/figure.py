"""A figure: what was measured, in which unit, against which target. And the machine it was measured on."""

import os
import platform
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

LOOP = 1_000_000  # turns of the calibration
SYNC_B = 12_288  # what a small commit of SQLite writes: three pages
SYNC_FILE_B = 4_194_304  # SQLite's WAL is written over and over, too


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is the median of `runs` measurements unless the note says otherwise, `spread` their least and greatest.

    `met` is None where there is no target, or nothing could be measured: then the note says why.
    """

    value: float | None
    unit: str
    target: float | None
    met: bool | None
    runs: int
    spread: tuple[float, float] | None
    note: str


Figures = dict[str, Figure]


def figure(
    measured: Sequence[float], unit: str, target: float | None = None, note: str = "", value: float | None = None
) -> Figure:
    """All of ours are better when they are less: a target is met from below."""
    value = digits(median(measured) if value is None else value)
    met = None if target is None else value <= target
    return Figure(value, unit, target, met, len(measured), (digits(min(measured)), digits(max(measured))), note)


def missing(unit: str, target: float | None, why: str) -> Figure:
    return Figure(None, unit, target, None, 0, None, why)


def percentile(measured: Sequence[float], percent: float) -> float:
    """The nearest one that was measured: of few, the 99th percentile is the greatest."""
    return sorted(measured)[min(len(measured) - 1, int(len(measured) * percent / 100))]


def digits(value: float) -> float:
    """Three significant digits: more would be noise."""
    return float(f"{value:.3g}") if abs(value) < 100 else round(value)


def timed(work: Callable[[], object], repeats: int, runs: int) -> list[float]:
    """Microseconds of CPU each `work` takes, for each of the runs."""
    out = []
    for _ in range(runs):
        began = time.process_time()
        for _ in range(repeats):
            work()
        out.append((time.process_time() - began) / repeats * 1e6)
    return out


def wall_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# -- the machine ------------------------------------------------------------------------------------------------------


def loop_s() -> float:
    """CPU time of a fixed loop in pure Python: by this, others may scale our CPU times."""
    began, total = time.process_time(), 0
    for i in range(LOOP):
        total += i * i & 7
    return time.process_time() - began


def calibration_ms(runs: int = 5) -> float:
    """The least of a few."""
    return min(loop_s() for _ in range(runs)) * 1000


class Disk:
    """Writes three pages and waits until the disk has them: what any durable commit here must cost at least."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "sync", os.O_RDWR | os.O_CREAT)
        os.pwrite(self._fd, bytes(SYNC_FILE_B), 0)
        os.fsync(self._fd)
        self._at = 0

    def sync(self) -> None:
        os.pwrite(self._fd, os.urandom(16) * (SYNC_B // 16), self._at)
        os.fdatasync(self._fd)
        self._at = (self._at + SYNC_B) % (SYNC_FILE_B - SYNC_B)

    def close(self) -> None:
        os.close(self._fd)


def machine(folder: Path) -> dict[str, Any]:
    disk = Disk(folder)
    syncs = [wall_s(disk.sync) for _ in range(200)]
    disk.close()
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file_system": file_system(folder),
        "fdatasync_per_s": round(1 / median(syncs)),
        "calibration_ms": digits(calibration_ms()),
        "load_average": round(os.getloadavg()[0], 1),
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def file_system(folder: Path) -> str:
    """Its kind: a durable write to tmpfs costs nothing and proves nothing."""
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(row[1]), row[2]) for row in rows if folder.resolve().is_relative_to(row[1])]
    return max(above, default=(0, "unknown"))[1]


def resident_mb(pid: int | str = "self") -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    """CPU time of another process so far, user and system, all its threads: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)
