"""Card ids in one canonical form, so that reader, list, cache and record always mean the same card.

Readers disagree about case, separators and prefixes; backends have lost leading zeros and mixed up padding. Here an id
is upper-case hexadecimal without separators, with exactly the bytes the card gave: 4, 7 or 10 (ISO/IEC 14443-3).
"""

import re

UID_LENGTHS = (4, 7, 10)  # bytes: single, double and triple size
UID = re.compile("|".join(f"[0-9A-F]{{{2 * length}}}" for length in UID_LENGTHS))
SEPARATORS = str.maketrans("", "", " :-\t\r\n")
RANDOM_UID_FIRST = "08"  # ISO/IEC 14443-3: a single-size UID that begins so is made up anew at every tap


def normalised(uid: str) -> str | None:
    """The canonical id, or None if this cannot be a card: not hex, or no length a card can have."""
    text = uid.translate(SEPARATORS).upper().removeprefix("0X")
    return text if UID.fullmatch(text) else None


def is_random(id_token: str) -> bool:
    """Whether this is a phone or a passport that shows another id at each tap."""
    return len(id_token) == 8 and id_token.startswith(RANDOM_UID_FIRST)


def masked(id_token: str) -> str:
    """For logs and screens: enough to tell cards apart, not enough to copy one."""
    return f"…{id_token[-4:]}" if len(id_token) > 4 else "…"
