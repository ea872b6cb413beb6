"""Many cards of one kind in few bytes: runs of a SendLocalList whose entries differ in their id alone, or in its expiry
too, travel as one item (docs/uplink.md, "Cards"). Decoded it is OCPP's list again, exactly.

An entry of a list of a hundred thousand so takes the 7 bytes of its card.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

CARD = re.compile(r"(?:[0-9A-F]{2}){1,18}")
CARDS_MAX = 5_000  # of one message: what it grows to is bounded
ID, INFO, EXPIRY = "idToken", "idTokenInfo", "cacheExpiryDateTime"

Json = dict[str, Any]


class CardsError(Exception):
    """Bytes that are no cards; the text says why."""


def runs(entries: list[Any], time_ms: Callable[[str], int | None]) -> Iterator[Any]:
    """Entries as they are, and `(entry, ids, expiries)` for what can travel as one."""
    for shape, members in groupby(entries, lambda entry: _shape(entry, time_ms)):
        run = list(members)
        if shape is None or len(run) == 1:
            yield from run
            continue
        ids = [bytes.fromhex(entry[ID][ID]) for entry in run]
        expiries = [time_ms(entry[INFO][EXPIRY]) for entry in run] if shape[1] else None
        yield _without(run[0]) if shape[1] else _unnamed(run[0]), ids, expiries


def _shape(entry: Any, time_ms: Callable[[str], int | None]) -> tuple[str, bool, int] | None:
    """What is alike in a run; None: this travels by itself."""
    match entry:
        case {"idToken": {"idToken": str(uid)}} if CARD.fullmatch(uid):
            info = entry.get(INFO)
            expiry = info.get(EXPIRY) if isinstance(info, dict) else None
            has_expiry = isinstance(expiry, str) and time_ms(expiry) is not None
            return repr(_without(entry) if has_expiry else _unnamed(entry)), has_expiry, len(uid)
    return None


def _unnamed(entry: Json) -> Json:
    return {**entry, ID: {name: value for name, value in entry[ID].items() if name != ID}}


def _without(entry: Json) -> Json:
    """Neither its id nor its expiry."""
    info = entry.get(INFO)
    if isinstance(info, dict) and EXPIRY in info:
        entry = {**entry, INFO: {name: value for name, value in info.items() if name != EXPIRY}}
    return _unnamed(entry)


def entries_of(item: Any, decode: Callable[[Any], Json], time_text: Callable[[int], str]) -> list[Json]:
    """The entries that `[entry, size, ids]` or `[entry, size, ids, expiries]` stands for. CardsError."""
    match item:
        case [Mapping() as shape, int(size), bytes(ids), *rest] if 1 <= size <= 18 and ids and len(ids) % size == 0:
            uids = [ids[at : at + size].hex().upper() for at in range(0, len(ids), size)]
        case _:
            raise CardsError("cards are an entry, a size from 1 to 18, and ids of that size")
    if len(uids) > CARDS_MAX:
        raise CardsError(f"more than {CARDS_MAX} cards in one message")
    entry = decode(shape)
    token = entry.get(ID)
    if not isinstance(token, dict) or ID in token:
        raise CardsError("the entry of cards has no idToken, or one that bears an id")
    if not rest:
        return [{**entry, ID: {**token, ID: uid}} for uid in uids]
    info = entry.get(INFO)
    expiries = rest[0]
    if not isinstance(info, dict) or not isinstance(expiries, list) or len(expiries) != len(uids):
        raise CardsError("cards with expiries need idTokenInfo and one for each")
    if not all(type(ms) is int for ms in expiries):
        raise CardsError("an expiry of cards is milliseconds")
    return [
        {**entry, ID: {**token, ID: uid}, INFO: {**info, EXPIRY: time_text(ms)}}
        for uid, ms in zip(uids, expiries, strict=True)
    ]
