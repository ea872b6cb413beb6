"""COSE_Sign1 (RFC 9052) as builds have it: Ed25519 or ES256, raw public keys, the key's id in the protected header.

The updater's own, a few lines: it must work when the agent beside it does not (agent/uplink/signed.py is the agent's).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.update import strict
from agent.update.refusal import Refused

TAG = b"\xd2"  # 18
ALG, KID = 1, 4  # RFC 9052 §3.1
EDDSA, ES256 = -8, -7  # RFC 9053 §2
RAW_B = {EDDSA: 32, ES256: 65}  # of a public key: Ed25519 as it is, P-256 as an uncompressed point
SIGNATURE_B = 64  # of either; ES256: its two numbers one after the other
KID_B = 8
SIZE_MAX_B = 16_384  # of what is read before its signature is known to be right

Check = Callable[[bytes, bytes], None]  # message, signature; Refused("signature") if they do not belong together


class Signer(Protocol):
    """A private key, wherever it is."""

    @property
    def alg(self) -> int: ...
    @property
    def kid(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes:
        """SIGNATURE_B bytes."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """As read: nobody has verified it yet."""

    protected: bytes
    payload: bytes | None  # None: it is elsewhere
    signature: bytes
    alg: int
    kid: bytes | None

    @property
    def encoded(self) -> bytes:
        return dump(self.protected, self.payload, self.signature)

    def message(self, payload: bytes) -> bytes:
        """What the signature is over."""
        return to_be_signed(self.protected, payload)


def load(data: bytes, what: str) -> Sign1:
    """Refused("format")"""
    if not data.startswith(TAG):
        _bad(what, "is not a COSE_Sign1")
    match strict.loads(data[len(TAG) :], what, SIZE_MAX_B):
        case [bytes() as protected, {**unprotected}, (bytes() | None) as payload, bytes() as signature] if (
            not unprotected and len(signature) == SIGNATURE_B
        ):
            return Sign1(protected, payload, signature, *_algorithm(protected, what))
    _bad(what, "is not a COSE_Sign1 of ours")


def dump(protected: bytes, payload: bytes | None, signature: bytes) -> bytes:
    assert len(signature) == SIGNATURE_B
    return TAG + strict.dumps([protected, {}, payload, signature])


def header(alg: int, kid: bytes) -> bytes:
    """The protected one."""
    return strict.dumps({ALG: alg, KID: kid})


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 §4.4, without external data."""
    return strict.dumps(["Signature1", protected, b"", payload])


def _algorithm(protected: bytes, what: str) -> tuple[int, bytes | None]:
    match strict.loads(protected, what, SIZE_MAX_B):
        case {1: -8 | -7 as alg, **others} if not others:
            return alg, None
        case {1: -8 | -7 as alg, 4: bytes() as kid, **others} if not others:
            return alg, kid
    _bad(what, "is signed in another way than with EdDSA or ES256")


# -- keys ------------------------------------------------------------------------------------------------------------


def kid_of(public: bytes) -> bytes:
    """The name of a key: the first bytes of its hash."""
    return sha256(public).digest()[:KID_B]


def alg_of(public: bytes) -> int | None:
    """By its length; None for what is no raw public key."""
    return next((alg for alg, size_b in RAW_B.items() if size_b == len(public)), None)


def checker(alg: int, public: bytes) -> Check:
    """ValueError for what is no public key of this algorithm."""
    if RAW_B.get(alg) != len(public):
        raise ValueError("a public key of another length")
    verify = _ed25519(public) if alg == EDDSA else _es256(public)

    def check(message: bytes, signature: bytes) -> None:
        try:
            if len(signature) != SIGNATURE_B:
                raise InvalidSignature
            verify(signature, message)
        except InvalidSignature:
            raise Refused("signature", "the signature is wrong: the content was changed after it was signed") from None

    return check


def _ed25519(public: bytes) -> Callable[[bytes, bytes], None]:
    return Ed25519PublicKey.from_public_bytes(public).verify


def _es256(public: bytes) -> Callable[[bytes, bytes], None]:
    key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)

    def verify(signature: bytes, message: bytes) -> None:
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))

    return verify


def _bad(what: str, why: str) -> NoReturn:
    raise Refused("format", f"{what} {why}: fetch it anew")
