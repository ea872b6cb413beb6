"""The pages for people name files and tests that are there."""

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from msgspec import Meta

from agent.settings import BOUNDS, SETTINGS, Layer, Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"`((?:agent|bench|board|config|docs|tests|tools)/[\w/.]+)`")
DEFINED = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text()))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_module_is_on_the_map() -> None:
    """By its name, or that of its folder's own page; a map that lacks a room sends a newcomer astray."""
    map_ = (ROOT / "docs" / "architecture.md").read_text()
    modules = [path for room in ("agent", "board", "tools") for path in (ROOT / room).rglob("*.py")]
    named = [path.stem for path in modules if not path.stem.startswith("__") and path.parent.name != "compat"]
    assert len(named) > 100 and not [name for name in named if not re.search(rf"\b{name}\b", map_)]


def test_every_test_that_the_security_page_leans_on_is_there() -> None:
    """In its brackets; a name may be cut short by an ellipsis."""
    there = [name for path in (ROOT / "tests").glob("test_*.py") for name in DEFINED.findall(path.read_text())]
    brackets = re.findall(r"\[([^]]*)]", (ROOT / "docs" / "security.md").read_text())
    names = re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+){3,}…?", " ".join(brackets))
    assert len(names) > 40
    cut = [(name.removesuffix("…"), name.endswith("…")) for name in names]
    missing = [name for name, is_cut in cut if not any(t == name or (is_cut and t.startswith(name)) for t in there)]
    assert not missing


# -- the settings


def table() -> str:
    """What docs/settings.md has to say of each."""
    return "\n".join(map(row, SETTINGS))


def row(key: str) -> str:
    it = SETTINGS[key]
    who = ", ".join(name for layer, name in LAYERS.items() if layer in it.layers)
    who += ", downwards" if it.lowers_only else ""
    values = bounds(BOUNDS[key]) + (f" {it.unit}" if it.unit else "")
    variable = (it.variable or "-") + (", the opposite" if it.is_opposite else "")
    return f"| `{key}` | {it.meaning} | {values} | {default(key)} | {who} | {variable} |"


LAYERS = {Layer.BOARD: "board", Layer.CONFIG: "file", Layer.WIZARD: "wizard", Layer.CLOUD: "cloud"}


def bounds(kind: Any) -> str:
    metas = [each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Meta)]
    base = get_args(kind)[0] if metas else kind
    if get_origin(base) is Literal:
        return ", ".join(map(str, get_args(base)))
    for meta in metas:
        if meta.ge is not None:
            return f"{meta.ge:,} to {meta.le:,}"
        if meta.max_length:
            return f"{meta.max_length} characters"
    return {bool: "true or false"}.get(base, "text")


def default(key: str) -> str:
    value = getattr(Settings(), key)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,.10g}" if isinstance(value, int | float) else value or "none"


def test_the_page_of_the_settings_is_what_the_station_takes() -> None:
    assert table() in (ROOT / "docs" / "settings.md").read_text(), f"the table should be:\n{table()}"
