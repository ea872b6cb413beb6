"""Radio technologies: 27.007's access technology (AcT, 7.3) of the names that vendors print, and its generation."""

ACT_MAX = 16  # 27.007 release 18; 13 is E-UTRA with NR (EN-DC)

# Longer names first where one begins with another; compared in upper case without blanks, `-` and `_`.
NAMES: tuple[tuple[str, int], ...] = (
    ("NR5GNSA", 13),
    ("ENDC", 13),
    ("NR", 11),
    ("5G", 11),
    ("CATNB", 9),
    ("NBIOT", 9),
    ("NBS1", 9),
    ("LTENBIOT", 9),
    ("LTENB", 9),
    ("CATM", 7),
    ("EMTC", 7),
    ("LTE", 7),
    ("EUTRA", 7),
    ("HSPA", 6),
    ("DCHSPA", 6),
    ("HSUPA", 5),
    ("HSDPA", 4),
    ("EDGE", 3),
    ("EGPRS", 3),
    ("WCDMA", 2),
    ("UMTS", 2),
    ("UTRAN", 2),
    ("TDSCDMA", 2),
    ("TDS", 2),
    ("GSM", 0),
    ("GPRS", 0),
    ("GERAN", 0),
)
PREFIXES = ("FDD", "TDD", "NTN")
KNOWN: dict[str, int | None] = {}  # what was asked before; bounded by KNOWN_MAX
KNOWN_MAX, NAME_MAX = 256, 32

GENERATIONS = {0: "2g", 1: "2g", 2: "3g", 3: "2g", 4: "3g", 5: "3g", 6: "3g", 7: "4g", 8: "2g", 9: "4g", 10: "5g"}
GENERATIONS |= {11: "5g", 12: "5g", 13: "5g", 14: "4g", 15: "4g", 16: "5g"}


def act_of(name: str) -> int | None:
    """None: a technology without a number of 27.007 (CDMA, no service), or no name at all."""
    if name in KNOWN:
        return KNOWN[name]
    found = looked_up(name)
    if len(name) <= NAME_MAX:
        if len(KNOWN) >= KNOWN_MAX:
            KNOWN.clear()
        KNOWN[name] = found
    return found


def looked_up(name: str) -> int | None:
    bare = "".join(char for char in name.upper() if char.isalnum())
    for prefix in PREFIXES:
        bare = bare.removeprefix(prefix)
    return next((act for known, act in NAMES if bare.startswith(known)), None)


def act(number: int | None) -> int | None:
    """A number that 27.007 knows."""
    return number if number is not None and 0 <= number <= ACT_MAX else None
