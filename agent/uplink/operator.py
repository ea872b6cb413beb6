"""Whose signature counts: the operator's public keys, from the config file and from commands that one of them signed.

The change of a set is a fact in the store, committed with the command's result. A key that was retired by command stays
retired even if the config file still names it; a key that somebody adds to the config file later counts at once, so
nobody who may edit that file can be locked out.
"""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.effects import Save
from agent.settings import OPERATOR_KEYS_MAX

FACT = "operator_keys"
MESSAGE_ID = "OperatorKeys"  # of the DataTransfer that changes them
KID_B, KEY_B = 8, 32

Keys = dict[bytes, Ed25519PublicKey]  # by key id


def key_id(key: Ed25519PublicKey) -> bytes:
    """docs/uplink.md: the head of the raw key's SHA-256."""
    return sha256(key.public_bytes_raw()).digest()[:KID_B]


def keys_in_force(config: Iterable[Ed25519PublicKey], facts: Mapping[str, Any]) -> Keys:
    """At start. A fact that makes no sense is no fact."""
    configured = {key_id(key): key for key in config}
    fact = facts.get(FACT)
    try:
        known = {bytes.fromhex(kid) for kid in fact["configured"]}  # type: ignore[index]
        kept = [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in fact["keys"]]  # type: ignore[index]
    except (TypeError, ValueError, KeyError):
        return configured
    keys = {key_id(key): key for key in kept} | {kid: key for kid, key in configured.items() if kid not in known}
    return keys or configured


class Added(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kid: str
    key: str


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of the DataTransfer."""

    add: list[Added] = []
    retire: list[str] = []


@dataclass(frozen=True, slots=True)
class Changed:
    keys: Keys


class OperatorKeys:
    """The keys in force. `keys` is replaced as a whole: whoever verifies elsewhere keeps the set he began with."""

    def __init__(self, config: Iterable[Ed25519PublicKey], facts: Mapping[str, Any]) -> None:
        configured = list(config)
        self._configured = sorted(key_id(key).hex() for key in configured)
        self.keys = keys_in_force(configured, facts)

    def change(self, data: Any) -> Changed | str:
        """What the command asks for, or in one sentence why not. Nothing is in force before put()."""
        try:
            wanted = msgspec.convert(data, Change)
            added = dict(map(read_key, wanted.add))
            retired = {read_kid(kid) for kid in wanted.retire}
        except (msgspec.ValidationError, ValueError) as error:
            return f"operator keys: {str(error)[:200]}"
        keys = {kid: key for kid, key in {**self.keys, **added}.items() if kid not in retired}
        if not keys:
            return "the last key cannot be retired: nobody could ever command this station again"
        if len(keys) > OPERATOR_KEYS_MAX:
            return f"a station holds at most {OPERATOR_KEYS_MAX} keys: retire some"
        return Changed(keys)

    def put(self, changed: Changed) -> Save:
        """In force from now on; to be committed with the command's result."""
        self.keys = changed.keys
        hexes = [key.public_bytes_raw().hex() for key in changed.keys.values()]
        return Save(FACT, {"configured": self._configured, "keys": hexes})


def read_key(added: Added) -> tuple[bytes, Ed25519PublicKey]:
    """ValueError."""
    key = Ed25519PublicKey.from_public_bytes(b64decode(added.key, validate=True))
    if key_id(key) != read_kid(added.kid):
        raise ValueError(f"{added.kid[:20]} is not the id of the key beside it")
    return key_id(key), key


def read_kid(kid: str) -> bytes:
    """ValueError."""
    read = bytes.fromhex(kid)
    if len(read) != KID_B:
        raise ValueError(f"a key id has {2 * KID_B} hexadecimal digits")
    return read
