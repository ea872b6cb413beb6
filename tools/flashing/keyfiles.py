"""Keys as files: PEM (PKCS 8, with a password if you like) for private ones, PEM for public ones, raw inside builds."""

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from agent.update import cose
from agent.update.refusal import Refused

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
ALGORITHMS = {"es256": cose.ES256, "eddsa": cose.EDDSA}
FILE_MAX_B = 65_536
P256_B = 32

Ask = Callable[[str], str]  # for a password: shows the text, returns what was typed


class FileSigner:
    """A private key in memory."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public = raw(key.public_key())
        self.alg = cose.EDDSA if isinstance(key, Ed25519PrivateKey) else cose.ES256
        self.kid = cose.kid_of(self.public)

    def sign(self, message: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return flat(self._key.sign(message, ECDSA(SHA256())))


def new(alg: int) -> FileSigner:
    return FileSigner(Ed25519PrivateKey.generate() if alg == cose.EDDSA else generate_private_key(SECP256R1()))


def save(signer: FileSigner, private: Path, public: Path, password: str) -> None:
    """Makes both files; one that is there already is never overwritten."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    _create(private, signer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    _create(public, pem(signer.public), 0o644)


def load(path: Path, ask: Ask) -> FileSigner:
    """Asks for the password if the file has one. Refused("usage")."""
    data = _read(path)
    password = None
    if b"ENCRYPTED" in data:
        password = ask(f"password of {path}: ").encode()
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = "its password is another one" if password is not None else "type the path of a .key.pem"
        raise Refused("usage", f"{path} cannot be read as a private key: {why}") from None
    if not isinstance(key, (Ed25519PrivateKey, EllipticCurvePrivateKey)) or not _is_p256(key):
        raise Refused("usage", f"{path} is neither an Ed25519 nor a P-256 key: make one with keys new")
    return FileSigner(key)


def load_public(path: Path) -> bytes:
    """The raw public key of a .pub.pem. Refused("usage")."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refused("usage", f"{path} cannot be read as a public key: type the path of a .pub.pem") from None
    if not isinstance(key, (Ed25519PublicKey, EllipticCurvePublicKey)) or not _is_p256(key):
        raise Refused("usage", f"{path} is neither an Ed25519 nor a P-256 key: make one with keys new")
    return raw(key)


def alg_of(public: bytes) -> int:
    """Of a raw public key that is one."""
    alg = cose.alg_of(public)
    assert alg is not None
    return alg


def raw(key: Ed25519PublicKey | EllipticCurvePublicKey) -> bytes:
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def pem(public: bytes) -> bytes:
    key: Ed25519PublicKey | EllipticCurvePublicKey
    if cose.alg_of(public) == cose.EDDSA:
        key = Ed25519PublicKey.from_public_bytes(public)
    else:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def flat(der: bytes) -> bytes:
    """An ECDSA signature as COSE has it, from what OpenSSL and most hardware give. ValueError."""
    return b"".join(number.to_bytes(P256_B, "big") for number in decode_dss_signature(der))


def _is_p256(key: object) -> bool:
    curve = getattr(key, "curve", None)
    return curve is None or isinstance(curve, SECP256R1)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_MAX_B)
    except OSError as error:
        raise Refused("usage", f"{path} cannot be read ({error.strerror}): type the path of a key") from None


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise Refused("usage", f"{path} is there already and stays: type another name") from None
    except OSError as error:
        raise Refused("usage", f"{path} cannot be written ({error.strerror}): type another folder with --dir") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
