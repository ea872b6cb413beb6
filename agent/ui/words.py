"""Every sentence for people in their language. The English sentence is the key; a catalogue (`i18n/*.json`, loaded by
`catalogues.py`) gives the others, with the same `{facts}` in it.

Numbers, lists and ages are joined here too, so that no renderer needs to know a language.
`docs/languages.md` says what a sentence and its translation may be.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from unicodedata import bidirectional

HOLE = re.compile(r"\{([a-z_]+)\}")
STARTING = "The station is starting. Please wait."  # the display's first words; index.html has them, too
ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # U+2068 takes the direction of the first letter in it
RTL_MARK = "\u200f"  # a letter that is not seen: numbers after it follow each other from right to left


@dataclass(frozen=True, slots=True)
class Language:
    name: str  # in itself
    direction: str = "ltr"  # or "rtl"
    decimal: str = "."
    comma: str = ", "  # between the items of a list
    gap: str = " "  # between sentences


LANGUAGES: dict[str, Language] = {  # BCP 47; the order in which one key walks through them
    "en": Language("English"),
    "es": Language("Español", decimal=","),
    "fr": Language("Français", decimal=","),
    "de": Language("Deutsch", decimal=","),
    "zh": Language("中文", comma="、", gap=""),
    "ar": Language("العربية", "rtl", comma="، "),
}


def language_of(tag: str | None) -> str:
    """Ours that a tag (BCP 47: de, de-AT) asks for; "" if we do not speak it."""
    code = (tag or "").lower().replace("_", "-").partition("-")[0]
    return code if code in LANGUAGES else ""


def holes(text: str) -> set[str]:
    """The names of its facts."""
    return set(HOLE.findall(text))


class Say:
    """One language: `say("Port {n} is free", n=2)`.

    What is not in the catalogue is said in English, as are the words of drivers, which may hold anything. So nothing
    raises here: a hole that no fact fills stays as it is written, and a fact is never read for holes.
    """

    __slots__ = ("language", "texts")

    def __init__(self, language: str = "en", texts: Mapping[str, str] | None = None) -> None:
        assert language in LANGUAGES, language
        self.language, self.texts = language, texts or {}

    def __call__(self, text: str, /, **facts: object) -> str:
        def fact(hole: re.Match[str]) -> str:
            value = facts.get(hole[1], hole[0])
            return self.isolated(value) if isinstance(value, str) else str(value)

        said = self.texts.get(text)
        return self.isolated(HOLE.sub(fact, text)) if said is None else HOLE.sub(fact, said)

    def isolated(self, text: str) -> str:
        """Between Arabic words a name or number of another script keeps its own order, and theirs (UAX #9)."""
        if self.direction == "ltr" or not text or starts_rtl(text):
            return text
        return f"{ISOLATE}{text}{END_ISOLATE}"

    def quoted(self, text: str) -> str:
        """The owner's own sentences beside ours, in whatever direction they run: neither orders the other."""
        return f"{ISOLATE}{text}{END_ISOLATE}" if self.direction == "ltr" and has_rtl(text) else self.isolated(text)

    @property
    def direction(self) -> str:
        return LANGUAGES[self.language].direction

    def joined(self, *sentences: str) -> str:
        """One after the other; empty ones leave no gap."""
        return LANGUAGES[self.language].gap.join(sentence for sentence in sentences if sentence)

    def listed(self, items: Iterable[str]) -> str:
        comma = LANGUAGES[self.language].comma
        return comma.join(items) if self.direction == "ltr" else RTL_MARK + comma.join(map(self.isolated, items))

    def number(self, value: float, digits: int = 0) -> str:
        return f"{value:z.{digits}f}".replace(".", LANGUAGES[self.language].decimal)

    def age(self, seconds: float) -> str:
        """5 min, 30 h, 2 d: abbreviated, since plurals are another matter in each language."""
        for unit_s, text, least in ((86_400, "{n} d", 2), (3_600, "{n} h", 1)):
            if (n := int(seconds // unit_s)) >= least:
                return self(text, n=n)
        return self("{n} min", n=int(seconds // 60))


ENGLISH = Say()
Says = Mapping[str, Say]  # by language
ONLY_ENGLISH: Says = {"en": ENGLISH}


def has_rtl(text: str) -> bool:
    """Whether a letter or number in it is written from right to left, or belongs to such."""
    return not text.isascii() and any(bidirectional(char) in ("R", "AL", "AN") for char in text)


def starts_rtl(text: str) -> bool:
    """Whether its first letter is written from right to left; of one that has none, no."""
    strong = (kind for kind in map(bidirectional, text) if kind in ("L", "R", "AL"))
    return next(strong, "L") != "L"


def clock_face(seconds: int) -> str:
    """0:05, 12:30; from an hour on 1:02:03."""
    hours, rest = divmod(max(0, seconds), 3_600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
