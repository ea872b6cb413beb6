"""Every character that the display can show is in one of its own fonts: nobody reads little empty boxes."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from PIL import ImageFont

from agent.faults import FAULTS
from agent.policy.reasons import WORDS
from agent.ui import catalogues, web
from agent.ui.words import LANGUAGES

FONTS = Path(web.__file__).parent / "static" / "fonts"
ROWS = json.loads((FONTS / "fonts.json").read_text())
DRAWN = [  # but what only names signs: that of fonts, and what is read of what people write
    path
    for room in (catalogues.FOLDER.parent, catalogues.FOLDER.parent.parent / "wizard")
    for path in room.rglob("*")
    if path.suffix in (".py", ".mjs") and path.name not in ("coordinates.py", "fonts.py")
]
INVISIBLE = {"\n"}


@cache
def cmap(file: str) -> frozenset[int]:
    with TTFont(FONTS / file) as font:
        return frozenset(font.getBestCmap())


def characters(weight: str) -> set[str]:
    return {chr(point) for row in ROWS if weight in row["weight"].split() for point in cmap(row["file"])}


@cache
def readable() -> frozenset[str]:
    """In every weight."""
    return frozenset(characters("400") & characters("700") | INVISIBLE)


def missing(text: str) -> set[str]:
    return set(text) - readable()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_font_is_what_its_manifest_says(row: dict[str, object]) -> None:
    body = (FONTS / str(row["file"])).read_bytes()
    assert (hashlib.sha256(body).hexdigest(), len(body)) == (row["sha256"], row["bytes"])
    assert spelled(str(row["ranges"])) == cmap(str(row["file"]))
    assert f'url("/fonts/{row["file"]}")' in (FONTS / "fonts.css").read_text()


def spelled(ranges: str) -> set[int]:
    """CSS Fonts 4 §4.5."""
    spans = [span.removeprefix("U+").split("-") for span in ranges.split(", ")]
    return {point for span in spans for point in range(int(span[0], 16), int(span[-1], 16) + 1)}


def test_the_licence_lies_beside_the_fonts() -> None:
    assert "SIL OPEN FONT LICENSE Version 1.1" in (FONTS / "OFL.txt").read_text()
    ours = {"OFL.txt", "fonts.json", "fonts.css"}
    assert {path.name for path in FONTS.iterdir()} == {row["file"] for row in ROWS} | ours


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_catalogue_uses_a_character_that_no_font_has(code: str) -> None:
    """If this fails: tools/make_fonts.py, and commit what it has written."""
    texts = catalogues.read(catalogues.FOLDER / f"{code}.json")
    assert not missing("".join([*texts, *texts.values(), LANGUAGES[code].name]))


def test_no_word_of_a_refusal_or_a_fault_needs_another_font() -> None:
    refusals = [text for words in WORDS.values() for text in (words.text, words.action, words.owner, words.code)]
    faults = [text for row in FAULTS.values() for text in (row.text, row.fix)]
    assert not missing("".join(refusals + faults))


@pytest.mark.parametrize("path", sorted(DRAWN), ids=lambda path: "/".join(path.parts[-2:]))
def test_no_sign_that_the_code_puts_on_the_display_needs_another_font(path: Path) -> None:
    """Whatever stands in a string there; of the page's own files, anywhere."""
    text = path.read_text()
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        text = "".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    assert not missing(text)


def test_a_character_that_no_font_has_is_found_out() -> None:
    assert missing("Ready \N{CJK UNIFIED IDEOGRAPH-9F98}") == {"\N{CJK UNIFIED IDEOGRAPH-9F98}"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_the_framebuffer_can_draw_with_the_same_files(row: dict[str, object]) -> None:
    """FreeType reads WOFF2 itself; a glyph is not empty."""
    font = ImageFont.truetype(str(FONTS / str(row["file"])), 40)
    sign = next(chr(point) for point in sorted(cmap(str(row["file"]))) if point > 0x2A and chr(point).isprintable())
    assert font.getmask(sign).getbbox()
