"""Cut the display's fonts out of Debian's Noto, to just the characters that are used: agent/ui/static/fonts/.

    apt-get install fonts-noto-core fonts-noto-cjk
    .venv/bin/python tools/make_fonts.py            after a catalogue has changed; says what each file weighs
    .venv/bin/python tools/make_fonts.py --noto DIR  fonts from elsewhere than /usr/share/fonts

No font is asked of the network or of the system when the page is drawn. Latin and Arabic are whole, so that owners'
names can be written; of the Chinese characters, of which there are tens of thousands, those of zh.json are there.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter, load_font, save_font
from fontTools.ttLib import TTCollection

ROOT = Path(__file__).parent.parent
OUT = ROOT / "agent" / "ui" / "static" / "fonts"
CATALOGUES = ROOT / "agent" / "ui" / "i18n"
NOTO = Path("/usr/share/fonts")
FAMILY = "Station"
MANIFEST, CSS = "fonts.json", "fonts.css"

LATIN = [
    *range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x218, 0x21C), 0x2C6, 0x2C7, *range(0x2D8, 0x2DE),
    *range(0x2010, 0x2016), *range(0x2018, 0x2023), 0x2026, 0x2030, 0x2032, 0x2033, 0x2039, 0x203A, 0x2044,
    0x200E, 0x200F, *range(0x2066, 0x206A),  # marks of direction: without width, but a letter to the browser
    *range(0x20A0, 0x20C0), 0x2116, 0x2122, 0x2126,
]  # fmt: skip
ARABIC = [*range(0x600, 0x700), 0x200C, 0x200D, 0x200E, 0x200F, 0xFDFC]
MATH = [ord(sign) for sign in "←↑→↓−≤≥"]
MARKS = [ord(mark) for mark in "✓✔✖✗⚠⚡⏳☎●○■□▲▼◀▶▦⇧⌖⌫␣"]
PUNCTUATION = [*range(0x3000, 0x3012), 0xFF01, 0xFF08, 0xFF09, 0xFF0C, 0xFF1A, 0xFF1B, 0xFF1F]


@dataclass(frozen=True, slots=True)
class Cut:
    """`weight` as in CSS; two of them: this file stands for both, since marks need no second one."""

    name: str
    weight: str
    source: str
    characters: Sequence[int]
    face: str = ""  # of a collection


def cuts(chinese: Sequence[int]) -> list[Cut]:
    """In the order in which a character is looked for."""
    return [
        Cut("latin", "400", "NotoSans-Regular.ttf", LATIN),
        Cut("latin-bold", "700", "NotoSans-Bold.ttf", LATIN),
        Cut("arabic", "400", "NotoSansArabic-Regular.ttf", ARABIC),
        Cut("arabic-bold", "700", "NotoSansArabic-Bold.ttf", ARABIC),
        Cut("math", "400 700", "NotoSansMath-Regular.ttf", MATH),
        Cut("marks", "400 700", "NotoSansSymbols2-Regular.ttf", MARKS),
        Cut("chinese", "400", "NotoSansCJK-Regular.ttc", chinese, "Noto Sans CJK SC"),
        Cut("chinese-bold", "700", "NotoSansCJK-Bold.ttc", chinese, "Noto Sans CJK SC"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("make_fonts", description="Cut the display's fonts out of Debian's Noto.")
    parser.add_argument("--noto", type=Path, default=NOTO, metavar="DIR", help=f"where Noto is, else {NOTO}")
    noto = parser.parse_args(argv).noto
    OUT.mkdir(exist_ok=True)
    made, taken = [], {"400": set[int](), "700": set[int]()}
    for cut in cuts(chinese()):
        source = next(iter(sorted(noto.rglob(cut.source))), None)
        if source is None:
            print(f"{noto} has no {cut.source}: apt-get install fonts-noto-core fonts-noto-cjk", file=sys.stderr)
            return 1
        wanted = set(cut.characters) - taken[cut.weight[:3]]
        made.append(made_font(cut, source, wanted))
        for weight in cut.weight.split():
            taken[weight] |= wanted & found(made[-1])
    (OUT / MANIFEST).write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in made) + "\n]\n")
    (OUT / CSS).write_text("/* Written by tools/make_fonts.py. */\n" + "".join(map(rules, made)))
    print(f"{sum(int(row['bytes']) for row in made):>8} bytes in all")
    return 0


def chinese() -> list[int]:
    """Every character of the Chinese catalogue that is none of ASCII; and the language's own name."""
    path = CATALOGUES / "zh.json"
    texts = "".join(json.loads(path.read_text()).values()) if path.exists() else ""
    return sorted({ord(sign) for sign in texts + "中文" if ord(sign) > 0x7F} | set(PUNCTUATION))


def made_font(cut: Cut, source: Path, wanted: set[int]) -> dict[str, Any]:
    """Write one file; what the manifest says of it."""
    options = Options(
        flavor="woff2", recalc_timestamp=False, hinting=False, desubroutinize=True, notdef_outline=True,
        name_IDs=[0, 1, 2, 5, 13, 14], ignore_missing_unicodes=True, font_number=face(source, cut.face),
    )  # fmt: skip
    font = load_font(str(source), options)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    path = OUT / f"{cut.name}.woff2"
    save_font(font, str(path), options)
    body = path.read_bytes()
    print(f"{len(body):>8} {path.name}: {len(font.getBestCmap())} characters of {source.name}")
    return {
        "file": path.name, "weight": cut.weight, "ranges": ranges(sorted(font.getBestCmap())), "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(), "source": source.name,
    }  # fmt: skip


def face(source: Path, name: str) -> int:
    """Which one of a collection; -1 for a file that is none."""
    if not name:
        return -1
    with TTCollection(source, lazy=True) as collection:
        return [font["name"].getDebugName(1) for font in collection].index(name)


def ranges(points: Sequence[int]) -> str:
    """As CSS spells a unicode-range: U+20-7E, U+A0."""
    return ", ".join(f"U+{low:X}" if low == high else f"U+{low:X}-{high:X}" for low, high in runs(points))


def runs(points: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, numbered in groupby(enumerate(points), lambda pair: pair[1] - pair[0]):
        run = [point for _, point in numbered]
        yield run[0], run[-1]


def found(row: dict[str, Any]) -> set[int]:
    """The code points that a row of the manifest has."""
    spans = [part.removeprefix("U+").split("-") for part in row["ranges"].split(", ")]
    return {point for span in spans for point in range(int(span[0], 16), int(span[-1], 16) + 1)}


def rules(row: dict[str, Any]) -> str:
    """One for each weight: Chromium looks for a letter only in the faces of the very weight that it has settled on."""
    return "".join(
        f'@font-face {{\n  font-family: "{FAMILY}"; font-weight: {weight}; font-display: block;\n'
        f'  src: url("/fonts/{row["file"]}") format("woff2");\n  unicode-range: {row["ranges"]};\n}}\n'
        for weight in row["weight"].split()
    )


if __name__ == "__main__":
    sys.exit(main())
