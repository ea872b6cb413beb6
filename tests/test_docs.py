"""The pages for people name files and tests that are there."""

import re
from pathlib import Path

import pytest

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
