"""Small builds for tests: keys, a keyring, and files signed by whom you like."""

import io
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.update import build, cose, keyring
from tools.flashing import keyfiles, packing

ROOT, DEV, STRANGER = (
    keyfiles.FileSigner(Ed25519PrivateKey.from_private_bytes(sha256(name).digest()))
    for name in (b"root", b"dev", b"stranger")
)
PROD = keyfiles.FileSigner(derive_private_key(int.from_bytes(sha256(b"prod").digest(), "big"), SECP256R1()))
APP_FACTS: dict[str, Any] = {"build_time_s": 1_790_000_000, "python": "3.11", "schema": [1, 4], "contract": [1, 2, 2]}
CHIP_FACTS: dict[str, Any] = {"contract": [1, 2, 2], "pins_hash": "0123abcd"}
FILES = {
    "__main__.pyc": b"main" * 400,
    "agent/a.pyc": b"a" * 100_000,
    "agent/empty": b"",
    "bin/tool": bytes(range(256)),
}
ROM = {"app.rom": b"".join(bytes([i]) * 1_500 for i in range(8))}


def ring(version: int = 1, **keys: keyfiles.FileSigner) -> bytes:
    """A keyring of `prod=` and `dev=`; without them, of PROD and DEV."""
    rows = [(role, key.alg, key.public) for role, key in (keys or {"prod": PROD, "dev": DEV}).items()]
    return keyring.seal(keyring.payload(version, rows), ROOT)


RING = ring()
TRUST = keyring.Trust(ROOT.public, RING)


def app(
    platform: str = "x86_64", version: str = "1.0.0", files: Mapping[str, bytes] = FILES, **facts: Any
) -> packing.Content:
    said = {**APP_FACTS, "version": version, **facts}
    return packing.Content("app", platform, said, {path: (data, "bin/" in path) for path, data in files.items()})


def firmware(
    board: str = "duo_cm4", version: str = "1.0.0", files: Mapping[str, bytes] = ROM, **facts: Any
) -> packing.Content:
    said = {**CHIP_FACTS, "version": version, "board": board, **facts}
    return packing.Content("controller", board, said, {path: (data, False) for path, data in files.items()})


def build_file(
    *contents: packing.Content,
    version: str = "1.0.0",
    sequence: int = 0,
    signer: cose.Signer = PROD,
    keys: bytes = RING,
) -> bytes:
    """A whole build; without `contents`: an app for both platforms and firmware for duo_cm4."""
    contents = contents or (app(version=version), app("aarch64", version), firmware(version=version))
    return packing.sealed(packing.packed(version, "c0ffee", sequence, contents), keys, signer)


def head_of(data: bytes, trust: keyring.Trust | None = TRUST) -> build.Head:
    return build.read_head(io.BytesIO(data), trust)
