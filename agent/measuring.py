"""What Linux tells of disk, memory and processor, for the health record. What it does not tell is None."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from agent.events import Measured
from agent.hal.thermal import temperature_dc

MEMINFO, ZONE = Path("/proc/meminfo"), Path("/sys/class/thermal/thermal_zone0/temp")
LINE = (("heard_here", "crc_errors"), ("heard_there", "crc_errors"), ("heard_there", "dropped"))  # Measured.line_errors
Counters = Callable[[], Mapping[str, Mapping[str, int]]]


def measured(state: Path, counters: Counters, meminfo: Path = MEMINFO, zone: Path = ZONE) -> Measured:
    """`state`: a folder of the disk that is meant; `counters`: of the line to the port controller."""
    line = counters()
    return Measured(
        disk_free_b(state), memory_free_b(meminfo), cpu_dc(zone), tuple(line[end].get(name, 0) for end, name in LINE)
    )


def disk_free_b(folder: Path) -> int | None:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return None


def memory_free_b(meminfo: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def cpu_dc(zone: Path) -> int | None:
    with suppress(OSError, ValueError):
        return temperature_dc(zone.read_text().strip())
    return None
