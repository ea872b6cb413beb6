"""Whose builds count: a list of keys with their roles, signed by one root key. Keys have ids, no certificates, no dates.

The root's public key is written into the station when it is provisioned. A keyring that lacks a key revokes it; the
version only rises, so an old keyring brings no key back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.update import strict
from agent.update.refusal import Refused
from agent.update.suit import EDDSA, ES256, SIGNATURE_B, TAG_18

FORMAT = 1
KID_B = 8
KEYS_MAX = 64
KEYRING_MAX_B = 16_384
PROD, DEV = "prod", "dev"
RAW_B = {EDDSA: 32, ES256: 65}  # Ed25519; P-256 as an uncompressed point


@dataclass(frozen=True, slots=True)
class Key:
    """verify(message, signature) raises Refused("signature")."""

    kid: bytes
    role: str  # PROD or DEV
    alg: int
    public: bytes  # raw, RAW_B
    verify: Callable[[bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class Keyring:
    version: int
    keys: tuple[Key, ...]


class Trust:
    """What a station, or a laptop, believes: a root key, and the newest keyring that it has signed."""

    def __init__(self, root: bytes | None, keyring: bytes | None) -> None:
        """`root`: the raw public key. None: nobody is believed. A stored keyring that is damaged counts as none, for
        each build brings one."""

    @property
    def version(self) -> int:
        """Of the keyring; 0 without one."""
        raise NotImplementedError

    def key(self, kid: bytes) -> Key:
        """Refused("key")"""
        raise NotImplementedError

    def renewed(self, keyring: bytes) -> "Trust":
        """With this keyring if it is newer than ours. Refused if the root has not signed it."""
        raise NotImplementedError
