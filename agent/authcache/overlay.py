"""What differential lists have changed since the list's file was written: few entries, in memory and as facts.

By key_hash(); None: not on the list any more, whatever the file says.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from agent.authcache.content import attributes_of, expiry_ms_of
from agent.authcache.listfile import KEY_HASH_B, entry_of
from agent.effects import Save
from agent.events import Entry

ENTRIES_MAX = 2_000  # beyond it, a new file is written
CHANGES_MAX = 500  # at once, for the loop reads them: a fifth of a second on a small core
PREFIX = "list/"

Overlay = Mapping[bytes, Entry | None]


def load(facts: Mapping[str, Any]) -> Overlay:
    """ValueError: a fact is not what `saves` makes."""
    found: dict[bytes, Entry | None] = {}
    for name in (name for name in facts if name.startswith(PREFIX)):
        key = bytes.fromhex(name.removeprefix(PREFIX))
        try:
            found[key] = _read(key, facts[name])
        except ValueError:
            raise ValueError(f"the fact {name} is malformed") from None
    return found


def _read(key: bytes, fact: Any) -> Entry | None:
    match fact:
        case [str(alike), int(expiry_ms)] if len(key) == KEY_HASH_B:
            return entry_of(alike, expiry_ms / 1000)
        case [] if len(key) == KEY_HASH_B:
            return None
    raise ValueError


def digest(overlay: Overlay) -> str:
    """Of all of it, "" of none: a database that was saved from damage may have lost a fact, or found an older one."""
    said = sorted(hashed + repr(fact_of(entry)).encode() for hashed, entry in overlay.items())
    return sha256(b"\0".join(said)).hexdigest()[:16] if said else ""


def saves(changes: Overlay) -> list[Save]:
    """The facts of these changes."""
    return [Save(name_of(hashed), fact_of(entry)) for hashed, entry in changes.items()]


def name_of(hashed: bytes) -> str:
    return PREFIX + hashed.hex()


def fact_of(entry: Entry | None) -> list[Any]:
    return [] if entry is None else [attributes_of(entry)[0], expiry_ms_of(entry)]
