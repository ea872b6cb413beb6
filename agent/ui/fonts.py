"""Text of any of our scripts on a picture: which font has a letter, in which order pieces stand, where a line breaks.

Pillow shapes one font in one direction at a time (libraqm: Arabic joins, marks sit right). A line of several scripts is
cut into pieces, each with the first font that has its letters: those of the page (`static/fonts`), which a test holds
against the catalogues, then what Debian has for an owner's name in another script, DejaVu last.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from unicodedata import bidirectional, category

from PIL import ImageDraw, ImageFont, features

OURS = Path(__file__).parent / "static" / "fonts"
DEBIAN = Path("/usr/share/fonts")
CAP = 0.714  # height of a capital, in the size of the font (Noto Sans)
LINE = 1.27  # from line to line
BASE = 1.02  # of the baseline below the line's top
EVERYTHING = "U+0-10FFFF"
LATIN = "U+20-58F, U+1E00-1FFF, U+2000-206F, U+20A0-20BF, U+2100-214F"
ARABIC = "U+600-6FF, U+FB50-FDFF, U+FE70-FEFF"
CJK = "U+2E80-9FFF, U+AC00-D7AF, U+F900-FAFF, U+FF00-FFEF"
OTHERS = (  # file below DEBIAN, bold, what it has
    ("truetype/noto/NotoSans-Bold.ttf", True, LATIN), ("truetype/noto/NotoSans-Regular.ttf", False, LATIN),
    ("truetype/noto/NotoSansArabic-Bold.ttf", True, ARABIC),
    ("truetype/noto/NotoSansArabic-Regular.ttf", False, ARABIC),
    ("opentype/noto/NotoSansCJK-Bold.ttc", True, CJK), ("opentype/noto/NotoSansCJK-Regular.ttc", False, CJK),
    ("truetype/dejavu/DejaVuSans-Bold.ttf", True, EVERYTHING), ("truetype/dejavu/DejaVuSans.ttf", False, EVERYTHING),
)  # fmt: skip
CLOSES = set(",.;:!?)]}»”%…，。；：！？）》」』、")  # begins no line
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Source:
    path: str
    weights: frozenset[bool]  # that it stands for: True is bold
    ranges: tuple[tuple[int, int], ...]  # in order, none overlaps

    def has(self, letter: str) -> bool:
        point = ord(letter)
        at = bisect_right(self.ranges, point, key=itemgetter(0))
        return at > 0 and point <= self.ranges[at - 1][1]


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    path: str
    is_rtl: bool


def ranges_of(text: str) -> tuple[tuple[int, int], ...]:
    """As CSS's unicode-range spells them."""
    ends = (part.strip().removeprefix("U+").split("-") for part in text.split(","))
    return tuple(sorted((int(each[0], 16), int(each[-1], 16)) for each in ends))


def found(ours: Path = OURS, debian: Path = DEBIAN) -> tuple[Source, ...]:
    """What there is, the best first."""
    sources = []
    listed = ours / "fonts.json"
    for facts in json.loads(listed.read_text()) if listed.exists() else ():
        weights = frozenset(weight == "700" for weight in facts["weight"].split())
        sources.append(Source(str(ours / facts["file"]), weights, ranges_of(facts["ranges"])))
    for file, is_bold, ranges in OTHERS:
        if (debian / file).exists():
            sources.append(Source(str(debian / file), frozenset({is_bold}), ranges_of(ranges)))
    return tuple(sources)


class Fonts:
    """Measures and sets text. RuntimeError where there is no font at all."""

    def __init__(self, sources: Sequence[Source] | None = None) -> None:
        self._sources = tuple(found() if sources is None else sources)
        if not self._sources:
            raise RuntimeError("there is no font: type apt-get install fonts-dejavu-core")
        self._is_shaped = features.check("raqm")
        self.width = lru_cache(4_096)(self._width)
        self._font = lru_cache(64)(self._load)
        self._source = lru_cache(2_048)(self._choose)

    def draw(self, at: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, colour: Rgb, *,
             bold: bool = False, rtl: bool = False) -> None:  # fmt: skip
        """One line, its top left at x, y."""
        for piece in pieces(text, lambda letter: self._source(letter, bold), rtl=rtl):
            font = self._font(piece.path, size)
            direction = self._direction(piece)
            shown = piece.text if self._is_shaped or not piece.is_rtl else piece.text[::-1]
            at.text((x, y + BASE * size), shown, colour, font, "ls", **direction)
            x += font.getlength(shown, **direction)

    def _width(self, text: str, size: int, bold: bool = False) -> float:
        width = 0.0
        for piece in pieces(text, lambda letter: self._source(letter, bold), rtl=False):
            direction = self._direction(piece)
            width += self._font(piece.path, size).getlength(piece.text, **direction)
        return width

    def _direction(self, piece: Piece) -> dict[str, Any]:
        return {"direction": "rtl" if piece.is_rtl else "ltr"} if self._is_shaped else {}

    def _choose(self, letter: str, bold: bool) -> str:
        """The right weight before the other one, any before none."""
        has = [source for source in self._sources if source.has(letter)] or list(self._sources)
        return next((source for source in has if bold in source.weights), has[0]).path

    def _load(self, path: str, size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(path, size)

    # -- paragraphs

    def wrapped(self, text: str, width: float, size: int, *, bold: bool = False) -> list[str]:
        """Lines no wider than that; a word that is wider is broken where it must be."""
        lines, line, used = [], "", 0.0
        for word in words(text):
            wide = self.width(word.rstrip(), size, bold)
            if used + wide > width:
                if line.strip():
                    lines.append(line.rstrip())
                while wide > width and len(word) > 1:
                    head = self._head(word, width, size, bold)
                    lines.append(head)
                    word = word[len(head) :]
                    wide = self.width(word.rstrip(), size, bold)
                line, used = "", 0.0
            line += word
            used += wide + self.width(" ", size, bold) * (len(word) - len(word.rstrip()))
        return [*lines, line.rstrip()] if line.strip() else lines

    def cut(self, text: str, width: float, size: int, *, bold: bool = False) -> str:
        """What of it fits into one line, with … where something is missing."""
        if self.width(text, size, bold) <= width:
            return text
        while text and self.width(f"{text.rstrip()}…", size, bold) > width:
            text = text[:-1]
        return f"{text.rstrip()}…"

    def _head(self, word: str, width: float, size: int, bold: bool) -> str:
        fits = (n for n in range(len(word) - 1, 1, -1) if self.width(word[:n], size, bold) <= width)
        return word[: next(fits, 1)]


# -- bidirectional text -----------------------------------------------------------------------------------------------


def pieces(text: str, source: Callable[[str], str], *, rtl: bool) -> list[Piece]:
    """From left to right as they stand. As much of UAX #9 as signs need: letters have a direction, digits run as Latin
    does, what stands between two of a kind is of that kind, and what is isolated is read for itself."""
    runs = [
        [Piece("".join(letters), path, is_rtl) for path, letters in groupby(run, key=source)]
        for run, is_rtl in directions(text, rtl=rtl)
    ]
    visual = [run[::-1] if run[0].is_rtl else run for run in runs]
    return [piece for run in (reversed(visual) if rtl else visual) for piece in run]


def directions(text: str, *, rtl: bool) -> Iterator[tuple[str, bool]]:
    """Runs of one direction, in the order of reading; without what only steers them, or cannot be drawn."""
    strong = [STRONG.get(bidirectional(letter)) for letter in text]
    inside = isolated(text)
    outside = [None if within is not None else each for each, within in zip(strong, inside, strict=True)]
    before = list(accumulate(outside, lambda last, each: last if each is None else each, initial=rtl))[1:]
    after = list(accumulate(reversed(outside), lambda last, each: last if each is None else each, initial=rtl))[:0:-1]
    is_rtl = []
    for i, each in enumerate(strong):
        if each is None:
            within = inside[i]
            each = within if within is not None else before[i] if before[i] == after[i] else rtl
        is_rtl.append(each)
    for direction, group in groupby(range(len(text)), key=lambda i: is_rtl[i]):
        if run := "".join(text[i] for i in group if is_drawn(text[i])):
            yield run, bool(direction)


def isolated(text: str) -> list[bool | None]:
    """For each letter, whether it stands in an isolate, and in which direction that is read; else None."""
    within: list[bool | None] = []
    now: bool | None = None
    for letter in text:
        now = {"\u2066": False, "\u2067": True, "\u2068": False, "\u2069": None}.get(letter, now)
        within.append(now)
    return within


def is_drawn(letter: str) -> bool:
    """A line break in the midst of a line, or half of a surrogate pair, would end the shaper."""
    return letter in JOINERS or category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


JOINERS = "\u200c\u200d"
STRONG = {"L": False, "EN": False, "AN": False, "R": True, "AL": True}


# -- line breaking ----------------------------------------------------------------------------------------------------


def words(text: str) -> Iterator[str]:
    """What a line may break after, its spaces with it: words, and each sign of a script that has none (UAX #14)."""
    word = ""
    for letter in text:
        starts = word and (word[-1].isspace() or is_ideograph(letter) or is_ideograph(word[-1]))
        if starts and not letter.isspace() and letter not in CLOSES:
            yield word
            word = ""
        word += " " if letter.isspace() else letter
    if word:
        yield word


def is_ideograph(letter: str) -> bool:
    """CJK, its compatibility characters, full-width signs."""
    point = ord(letter)
    return 0x2E80 <= point <= 0x9FFF or 0xF900 <= point <= 0xFAFF or 0xFF01 <= point <= 0xFF60
