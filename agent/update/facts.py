"""What the update service knows of its station: from files of others, each of which may be missing or damaged."""

import platform
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.files import beginning
from agent.update import health, rules

BOARD, CONFIG = Path("/etc/station-agent/board.toml"), Path("/etc/station-agent/config.toml")
VITALS = Path("/run/station-agent/vitals")
DEVELOPMENT = "development"  # a file in the root: this station takes dev builds
FILE_MAX_B = 65_536
SERIAL_MAX = 36


@dataclass(frozen=True, slots=True)
class Where:
    board: Path
    config: Path
    vitals: Path
    root: Path


def station(where: Where) -> rules.Station:
    """As it is now: what a build is held against. The engine knows the security floor."""
    facts = vitals(where)
    board = table(where.board)
    controller = board.get("controller")
    link = controller.get("link", "") if isinstance(controller, dict) else ""
    name = board.get("name")
    return rules.Station(
        platform=platform.machine(),
        board=name if isinstance(name, str) else "",
        is_production=not (where.root / DEVELOPMENT).exists(),
        security_floor=0,
        contract=facts.contract if facts else None,
        needs_controller=bool(controller) and link != "sim",
        has_session=bool(facts and facts.has_session),
    )


def vitals(where: Where) -> health.Facts | None:
    """None: the agent does not run. Then nobody charges by its leave, and nobody is disturbed."""
    facts = health.load(_read(where.vitals))
    return facts if facts is not None and health.is_fresh(facts, uptime_s()) else None


def operator_ca(where: Where) -> Path | None:
    """Whom the operator's servers prove themselves by: what the agent believes of the broker. None: not said."""
    found = table(where.config).get("broker")
    name = found.get("ca") if isinstance(found, dict) else None
    return where.config.parent / name if isinstance(name, str) and name else None


def serial_number(where: Where) -> str:
    """ "" on a bare station."""
    found = table(where.config).get("station")
    name = found.get("station_id") if isinstance(found, dict) else None
    return name[:SERIAL_MAX] if isinstance(name, str) else ""


def table(path: Path) -> dict[str, Any]:
    """A TOML file; empty if it is none."""
    try:
        return tomllib.loads(_read(path).decode())
    except (ValueError, RecursionError):
        return {}


def _read(path: Path) -> bytes:
    try:
        return beginning(path, FILE_MAX_B)
    except OSError:
        return b""


def boot_id() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")).decode("ascii", "replace").strip()


def uptime_s() -> float:
    """Since Linux booted; the agent's facts are dated by it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall() -> float | None:
    """For the log; a clock that was never set is none."""
    now = time.time()
    return now if now > 1_600_000_000 else None
