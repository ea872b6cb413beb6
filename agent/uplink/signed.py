"""COSE_Sign1 (RFC 9052): with Ed25519 what the operator has signed, and nobody else.

One verifier for what comes signed over the uplink: commands, lists, policies, tokens. The content is looked at only
after its signature is right; what the content means is for its reader. What the station itself signs (ES256, with its
certificate) others verify. Builds have their own (agent/update/cose.py): the updater needs no agent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.uplink.codec import WireError, from_cbor, to_cbor

TAG_18 = b"\xd2"  # COSE_Sign1; optional in front of the array
ALG, CRIT, KID = 1, 2, 4  # header labels, RFC 9052 §3.1
X5CHAIN = 33  # RFC 9360 §2
EDDSA, ES256 = -8, -7  # RFC 9053 §2
P256_B = 32  # bytes of each of the two numbers of a signature


class SignatureError(Exception):
    """Not signed by a key we trust; the text says in one sentence why."""


def verify(data: bytes, keys: Mapping[bytes, Ed25519PublicKey]) -> bytes:
    """The payload, if the key that the envelope names is one of `keys` (by key id) and signed it. SignatureError."""
    try:
        protected, unprotected, payload, signature = _envelope(data)
        header = from_cbor(protected)
    except WireError as error:
        raise SignatureError(f"not a COSE_Sign1: {error}") from None
    if not isinstance(header, dict) or header.get(ALG) != EDDSA or CRIT in header:
        raise SignatureError("signed with an algorithm or an extension other than EdDSA")
    kid = header.get(KID, unprotected.get(KID))  # the name only chooses among keys that are all trusted
    key = keys.get(kid) if isinstance(kid, bytes) else None
    if key is None:
        raise SignatureError("signed with a key that this station does not know")
    try:
        key.verify(signature, signed_bytes(protected, payload))
    except InvalidSignature:
        raise SignatureError("the signature is wrong: the content or the key is not what it claims") from None
    return payload


def sign(payload: bytes, kid: bytes, private_key: Ed25519PrivateKey) -> bytes:
    """The envelope that verify() opens; for tools and tests, a station has no such key."""
    protected = to_cbor({ALG: EDDSA, KID: kid})
    return TAG_18 + to_cbor([protected, {}, payload, private_key.sign(signed_bytes(protected, payload))])


def sign_as_station(payload: bytes, key: EllipticCurvePrivateKey, chain: Sequence[bytes]) -> bytes:
    """`key` is P-256, `chain` its certificate and the CAs above it (DER): whoever has the CA can verify it for ever."""
    protected = to_cbor({ALG: ES256, X5CHAIN: chain[0] if len(chain) == 1 else list(chain)})
    numbers = decode_dss_signature(key.sign(signed_bytes(protected, payload), ECDSA(SHA256())))
    signature = b"".join(number.to_bytes(P256_B, "big") for number in numbers)
    return TAG_18 + to_cbor([protected, {}, payload, signature])


def signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """What the signature is over: Sig_structure of RFC 9052 §4.4, with empty external data."""
    return to_cbor(["Signature1", protected, b"", payload])


def _envelope(data: bytes) -> tuple[bytes, dict[Any, Any], bytes, bytes]:
    match from_cbor(data.removeprefix(TAG_18)):
        case [bytes() as protected, dict() as unprotected, bytes() as payload, bytes() as signature]:
            return protected, unprotected, payload, signature
    raise WireError("expected [protected, unprotected, payload, signature]")
