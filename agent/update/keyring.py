"""Whose builds count: keys and their roles, in a list that one root key signs. No certificates, no dates.

The root's public key is written into the station when it is provisioned. A keyring that lacks a key revokes it; its
version only rises, so that no old one brings a key back. Each build brings the newest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from agent.update import cose, strict
from agent.update.refusal import Refused

FORMAT = 1
KEYS_MAX = 64
VERSION_MAX = 2**53
KEYRING_MAX_B = cose.SIZE_MAX_B
PROD, DEV = "prod", "dev"
ROLES = (PROD, DEV)


@dataclass(frozen=True, slots=True)
class Key:
    kid: bytes
    role: str  # PROD or DEV
    alg: int  # cose.EDDSA or cose.ES256
    public: bytes  # raw
    verify: cose.Check  # (message, signature), raises Refused("signature")

    def check(self, alg: int, message: bytes, signature: bytes) -> None:
        """The signature must be of the key's own algorithm."""
        if alg != self.alg:
            raise Refused("signature", "the build names another algorithm than its key has: have it signed again")
        self.verify(message, signature)


@dataclass(frozen=True, slots=True)
class Keyring:
    version: int  # from 1; 0 = none
    keys: tuple[Key, ...]


class Trust:
    """What a station, or a laptop, believes: a root key, and the newest keyring that it has signed."""

    def __init__(self, root: bytes | None, keyring: bytes | None) -> None:
        """`root`: its raw public key; None: nobody is believed. A stored `keyring` that is damaged is none: the next
        build brings one. ValueError for a root that is no key."""
        self.root = root
        self.keyring = keyring or b""
        self._ring = Keyring(0, ())
        if root is not None:
            _check_root(root)
            try:
                self._ring = load(self.keyring, root)
            except Refused:
                self.keyring = b""

    @property
    def version(self) -> int:
        """Of the keyring; 0 without one."""
        return self._ring.version

    @property
    def keys(self) -> tuple[Key, ...]:
        return self._ring.keys

    def key(self, kid: bytes | None) -> Key:
        """Refused("key")"""
        if self.root is None:
            raise Refused("key", "no root key is known here, so no build can be verified: give one with provision")
        for key in self.keys:
            if key.kid == kid:
                return key
        name = kid.hex() if kid else "without a name"
        raise Refused(
            "key", f"the build is signed by a key ({name}) that keyring {self.version} lacks: have it signed by another"
        )

    def renewed(self, keyring: bytes) -> "Trust":
        """With this keyring if it is newer than ours. Refused if the root has not signed it."""
        if self.root is None or not keyring or keyring == self.keyring:
            return self
        return Trust(self.root, keyring) if load(keyring, self.root).version > self.version else self


def payload(version: int, keys: Iterable[tuple[str, int, bytes]]) -> bytes:
    """What the root signs; `keys` are (role, algorithm, raw public key)."""
    rows = [[cose.kid_of(public), role, alg, public] for role, alg, public in keys]
    assert 1 <= version <= VERSION_MAX and len(rows) <= KEYS_MAX and all(role in ROLES for _, role, _, _ in rows)
    return strict.dumps([FORMAT, version, sorted(rows)])


def seal(payload: bytes, root: cose.Signer) -> bytes:
    signature = root.sign(to_be_signed(payload, root.alg, root.kid))
    return attach(payload, root.alg, root.kid, signature)


def to_be_signed(payload: bytes, alg: int, kid: bytes) -> bytes:
    return cose.to_be_signed(cose.header(alg, kid), payload)


def attach(payload: bytes, alg: int, kid: bytes, signature: bytes) -> bytes:
    """The keyring with a signature that was made before; does not look whether it is right."""
    return cose.dump(cose.header(alg, kid), payload, signature)


def load(data: bytes, root: bytes | None) -> Keyring:
    """The keyring, if `root` has signed it; None: nobody verifies, for tools that only show it. Refused.

    A row with a role or an algorithm of the future is no key here."""
    block = cose.load(data, "the keyring")
    content = block.payload or b""
    if root is not None:
        if block.kid != cose.kid_of(root) or block.alg != cose.alg_of(root):
            raise Refused("key", "the build's keyring is another root's: this build is for another operator's stations")
        _check_root(root)(block.message(content), block.signature)
    match strict.loads(content, "the keyring", KEYRING_MAX_B):
        case [1, int() as version, list() as rows] if 1 <= version <= VERSION_MAX and len(rows) <= KEYS_MAX:
            keys = tuple(key for row in rows if (key := _key(row)) is not None)
            if len({key.kid for key in keys}) == len(keys):
                return Keyring(version, keys)
    _bad("is not [1, version, keys]")


def _key(row: object) -> Key | None:
    match row:
        case [bytes() as kid, str() as role, int() as alg, bytes() as public, *_] if kid == cose.kid_of(public):
            if role not in ROLES or alg not in cose.RAW_B:
                return None
            try:
                return Key(kid, role, alg, public, cose.checker(alg, public))
            except ValueError:
                _bad("has a key that is none")
    _bad("has a row that is no key")


def _check_root(root: bytes) -> cose.Check:
    alg = cose.alg_of(root)
    if alg is None:
        raise ValueError(f"a root key of {len(root)} bytes")
    return cose.checker(alg, root)


def _bad(why: str) -> NoReturn:
    raise Refused("format", f"the keyring {why}: sign one with tools/flash.py keys ring")
