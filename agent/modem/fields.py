"""The parts of which an information text is made (3GPP TS 27.007 clause 4.2), as modems really write them.

Strings come with quotes and without, hexadecimal numbers with `0x`, quotes, blanks and commas in them, numbers with
leading zeros. Nothing here raises for any text: what is not there, or is not what it should be, is None.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

Fields = dict[str, object]
Address = tuple[str | None, str | None]  # and its mask or prefix length

FIELD = re.compile(r'((?:"[^"]*+"?|\((?:[^()"]|"[^"]*+"?)*+\)?|[^,"(]++)*+)(,|$)')
NUMBER = re.compile(r"[+-]?[0-9]{1,12}")
REAL = re.compile(r"[+-]?[0-9]{1,6}(?:\.[0-9]{1,6})?")
HEXADECIMAL = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,16})")
RANGE = re.compile(r"([0-9]{1,4})\s*(?:-\s*([0-9]{1,4}))?")
RANGE_MAX = 256  # of the numbers that one list may hold
BYTE = re.compile(r"[0-9]{1,3}")


def split(body: str) -> list[str]:
    """At the commas that stand in no quotes and in no parentheses. Quotes stay, blanks around a field do not."""
    if '"' not in body and "(" not in body:
        return [field.strip() for field in body.split(",")]
    fields = []
    for found in FIELD.finditer(body):
        fields.append(found[1].strip())
        if not found[2]:
            break
    return fields


def at(fields: list[str], index: int) -> str:
    """"" where there is none."""
    return fields[index] if index < len(fields) else ""


def plain(field: str) -> str:
    """Without its quotes, of which one may be missing."""
    if not field or (field[0] != '"' and field[-1] != '"'):
        return field
    return field[field[0] == '"' : -1 if len(field) > 1 and field[-1] == '"' else None]


def text(field: str) -> str | None:
    """A string; None where it is empty."""
    return plain(field) or None


def number(field: str) -> int | None:
    """A decimal number of up to twelve digits, with any leading zeros."""
    if field.isdigit() and field.isascii() and len(field) <= 12:
        return int(field)
    bare = plain(field).strip()
    return int(bare) if NUMBER.fullmatch(bare) else None


def real(field: str) -> float | None:
    """A number with or without a fraction; whole ones stay whole."""
    bare = plain(field).strip()
    if not REAL.fullmatch(bare):
        return None
    return float(bare) if "." in bare else int(bare)


def hexadecimal(field: str) -> int | None:
    """Up to 64 bits. Blanks inside stand for zeros (Gobi 1000: `0 5`), commas inside for nothing (Thuraya: `F0,0F`).

    With one quote missing it may be a part of one, which is another number.
    """
    if field.count('"') % 2:
        return None
    bare = plain(field).strip()
    found = HEXADECIMAL.fullmatch(bare)
    if not found and (" " in bare or "," in bare):
        found = HEXADECIMAL.fullmatch(bare.replace(",", "").replace(" ", "0"))
    return int(found[1], 16) if found else None


def numbers(body: str) -> list[int]:
    """A list of numbers and ranges as test commands answer it: `(0,1,4-6),(1)`, sorted, each once."""
    found: set[int] = set()
    for first, last in RANGE.findall(body):
        low = int(first)
        high = min(int(last) if last else low, low + RANGE_MAX)
        found.update(range(low, high + 1))
        if len(found) > RANGE_MAX:
            break
    return sorted(found)


def ucs2(said: str) -> str:
    """The string itself, or what its hexadecimal digits mean in UCS2 (27.007 5.5, +CSCS) where that is what they are.

    Each character must be Latin or CJK: then eight digits or more are no name that anybody has.
    """
    if len(said) < 8 or len(said) % 4 or not HEXADECIMALS.fullmatch(said):
        return said
    codes = [int(said[i : i + 4], 16) for i in range(0, len(said), 4)]
    if all(0x20 <= code < 0x250 or 0x4E00 <= code < 0xA000 for code in codes):
        return "".join(map(chr, codes))
    return said


HEXADECIMALS = re.compile(r"[0-9A-Fa-f]+")


def address(field: str) -> Address:
    """The first that is one; its mask or prefix length, too. `0.0.0.0` and `::` are none."""
    found = addresses(field)
    return next((each for each in found if each[0]), found[0] if found else (None, None))


def addresses(field: str) -> list[Address]:
    """Those of one field, of either family, each with its mask or prefix length.

    27.007 writes both families as dotted numbers: 4 or 16 of an address, 8 or 32 with its mask (10.1.10, 10.1.23).
    Others write IPv6 with colons, and the length behind a slash; +CGPIAF puts a blank before the mask. Of a context of
    both families some write both addresses into one field, with a blank or a dot between them.
    """
    found: list[Address] = []
    before = 0
    for said in plain(field).split():
        for part in unglued(said):
            size, (told, mask) = single(part)
            if size and size == before and found[-1][1] is None:
                found[-1], before = (found[-1][0], told), 0
            else:
                found.append((told, mask))
                before = size
    return found


def unglued(said: str) -> list[str]:
    """IPv4 in front of IPv6 as one run of dotted numbers, with masks or without."""
    parts = said.split(".") if ":" not in said else []
    first = {20: 4, 40: 8}.get(len(parts))
    return [".".join(parts[:first]), ".".join(parts[first:])] if first else [said]


def single(said: str) -> tuple[int, Address]:
    """The bytes of its family, 0 if it is none of either; and the address."""
    bare, _, length = said.partition("/")
    if "." in bare and ":" not in bare:
        parts = bare.split(".")
        if not all(map(BYTE.fullmatch, parts)) or max(map(int, parts)) > 255:
            return 0, (None, None)
        half = len(parts) // 2 if len(parts) in (8, 32) else len(parts)
        return half, (dotted(parts[:half]), dotted(parts[half:]) or length or None)
    try:
        found = IPv6Address(bare)
    except AddressValueError:
        return 0, (None, None)
    return 16, (str(found) if int(found) else None, length or None)


def dotted(parts: list[str]) -> str | None:
    data = bytes(map(int, parts))
    if len(data) == 4:
        return str(IPv4Address(data)) if any(data) else None
    if len(data) == 16:
        return str(IPv6Address(data)) if any(data) else None
    return None


def mccmnc(field: str) -> str | None:
    """Five or six digits (seven of some that pad); quotes, UCS2 and a dash behind the MCC do not matter."""
    bare = ucs2(plain(field).strip())
    found = re.fullmatch(r"([0-9]{3})-?([0-9]{2,4})", bare)
    return found[1] + found[2] if found else None


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B: whether the last digit checks the others."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0
