"""The time zones of this machine: the image's, or those of the package tzdata where it has none."""

from datetime import tzinfo
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo


def load(name: str) -> tzinfo | None:
    """None: there is no such zone here."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder's name, a path, a name of nothing
        return None


@cache
def names() -> tuple[str, ...]:
    """Every zone once, by its name of today: zone.tab of the IANA database, and UTC."""
    package = find_spec("tzdata")
    if package is None or package.origin is None:
        return ()
    try:
        table = Path(package.origin).with_name("zoneinfo").joinpath("zone.tab").read_text("utf-8")
    except OSError:
        return ()
    rows = (line.split("\t") for line in table.split("\n") if line and not line.startswith("#"))
    return (*sorted({row[2] for row in rows if len(row) > 2}), "UTC")
