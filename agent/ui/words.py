"""Every sentence for people in their language. The English sentence is the key; a catalogue (`i18n/*.json`, loaded by
`catalogues.py`) gives the others, with the same `{facts}` in it.

Numbers and units are joined here too, so that no renderer needs to know a language.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    name: str  # in itself
    direction: str = "ltr"  # or "rtl"
    decimal: str = "."


LANGUAGES: dict[str, Language] = {  # BCP 47; the order in which one key walks through them
    "en": Language("English"),
    "es": Language("Español", decimal=","),
    "fr": Language("Français", decimal=","),
    "de": Language("Deutsch", decimal=","),
    "zh": Language("中文"),
    "ar": Language("العربية", "rtl"),
}


class Say:
    """One language: `say("Port {n} is free", n=2)`. What is not in the catalogue is said in English."""

    __slots__ = ("language", "texts")

    def __init__(self, language: str = "en", texts: Mapping[str, str] | None = None) -> None:
        assert language in LANGUAGES, language
        self.language, self.texts = language, texts or {}

    def __call__(self, text: str, /, **facts: object) -> str:
        return self.texts.get(text, text).format_map(facts) if text else ""

    @property
    def direction(self) -> str:
        return LANGUAGES[self.language].direction

    def joined(self, *sentences: str) -> str:
        """One after the other; empty ones leave no gap."""
        return " ".join(sentence for sentence in sentences if sentence)

    def number(self, value: float, digits: int = 0) -> str:
        return f"{value:.{digits}f}".replace(".", LANGUAGES[self.language].decimal)

    def age(self, seconds: float) -> str:
        """5 min, 30 h, 2 d: abbreviated, since plurals are another matter in each language."""
        for unit_s, text, least in ((86_400, "{n} d", 2), (3_600, "{n} h", 1)):
            if (n := int(seconds // unit_s)) >= least:
                return self(text, n=n)
        return self("{n} min", n=int(seconds // 60))


ENGLISH = Say()
Says = Mapping[str, Say]  # by language
ONLY_ENGLISH: Says = {"en": ENGLISH}


def clock_face(seconds: int) -> str:
    """0:05, 12:30; from an hour on 1:02:03."""
    hours, rest = divmod(max(0, seconds), 3_600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
