"""Reads the catalogues beside this file, once, at the start."""

from pathlib import Path
from sys import intern

import msgspec

from agent.ui.words import LANGUAGES, Say, Says, holes

FOLDER = Path(__file__).parent / "i18n"


def load_says(folder: Path = FOLDER) -> Says:
    """Every language that has a catalogue, and English, which is the texts themselves."""
    texts = {code: read(folder / f"{code}.json") for code in LANGUAGES if code != "en"}
    return {"en": Say()} | {code: Say(code, found) for code, found in texts.items() if found}


def read(path: Path) -> dict[str, str]:
    """English sentence to its translation. What is damaged, or has other facts than its sentence, is left out: an
    English screen is better than none. All catalogues share their keys: five copies would be 0.3 MB.
    """
    try:
        texts = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {intern(key): text for key, text in texts.items() if text.strip() and holes(text) == holes(key)}
