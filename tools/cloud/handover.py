"""Whether an installer's hand-over is what its station has signed: pure, and written from docs/uplink.md alone.

A verdict is one sentence. Whoever holds the record and the CA's certificate can do the same years later, with any
library for COSE: the envelope carries its content and the station's certificate.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Protocol

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from tools.cloud.wire import VENDOR, Json, Malformed, read_cbor

ALG, CRIT, X5CHAIN, ES256 = 1, 2, 33, -7            # RFC 9052 3.1, RFC 9360 2, RFC 9053 2.1
TAG_18 = b"\xd2"
CHAIN_MAX, DEPTH_MAX = 5, 3
BAD = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`is_good` None: nothing is signed, so nothing is proven."""

    is_good: bool | None
    text: str


class Told(Protocol):
    """A record, as far as we look."""

    @property
    def action(self) -> str: ...
    @property
    def payload(self) -> Json: ...


class Tampered(Exception):
    """The text says in one sentence with what."""


def hand_overs(record: Told) -> list[Json]:
    """What hand-overs this record tells of, as their `customData`."""
    if record.action != "NotifyEvent":
        return []
    told = record.payload.get("eventData")
    events = [event for event in told if isinstance(event, dict)] if isinstance(told, list) else []
    found = [event.get("customData") for event in events if event.get("variable") == {"name": "HandOver"}]
    return [custom for custom in found if isinstance(custom, dict)]


def judged(station: str, custom: Json, ca: x509.Certificate) -> Verdict:
    """Of the hand-over that came in this station's name."""
    signed = custom.get("signed")
    if signed is None:
        return Verdict(None, "not signed")
    try:
        if not isinstance(signed, str):
            raise Tampered("the envelope is no text")
        content = opened(station, envelope_of(signed), ca)
    except Tampered as why:
        return Verdict(False, f"TAMPERED: {why}")
    said = {key: value for key, value in custom.items() if key not in ("signed", "vendorId")}
    if custom.get("vendorId") != VENDOR or not same(said, content):
        keys = sorted(key for key in said.keys() | content if not same(said.get(key), content.get(key)))
        return Verdict(False, f"TAMPERED: signed was another {', '.join(keys)[:200] or 'vendorId'}")
    return Verdict(True, f"signed by {station}")


def same(one: object, other: object) -> bool:
    """By their bytes: 1 is not True, and not 1.0."""
    return cbor2.dumps(one, canonical=True) == cbor2.dumps(other, canonical=True)


def envelope_of(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Tampered("the envelope is no base64") from None


def opened(station: str, envelope: bytes, ca: x509.Certificate) -> Json:
    """The content, if this station's certificate is our CA's and its key has signed it. Raises Tampered."""
    try:
        match read_cbor(envelope.removeprefix(TAG_18)):
            case [bytes() as protected, dict(), bytes() as payload, bytes() as signature]:
                header = read_cbor(protected)
            case _:
                raise Tampered("the envelope is no COSE_Sign1")
        if not isinstance(header, dict) or header.get(ALG) != ES256 or CRIT in header:
            raise Tampered("it is not signed with ES256")
        key = key_of(station, header.get(X5CHAIN), ca)
        verify(key, cbor2.dumps(["Signature1", protected, b"", payload], canonical=True), signature)
        content = read_cbor(payload)
    except Malformed as malformed:
        raise Tampered(f"the envelope cannot be read ({malformed})") from None
    if not isinstance(content, dict) or content.get("serial") != station:
        raise Tampered("signed was the hand-over of another station")
    return content


def key_of(station: str, chain: object, ca: x509.Certificate) -> ec.EllipticCurvePublicKey:
    ders = [chain] if isinstance(chain, bytes) else chain
    if not isinstance(ders, list) or not 1 <= len(ders) <= CHAIN_MAX or not all(isinstance(d, bytes) for d in ders):
        raise Tampered("there is no certificate in it")
    try:
        leaf, *above = map(x509.load_der_x509_certificate, ders)
        issued_by_ca(leaf, above, ca)
        names = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = leaf.public_key()
    except BAD:
        raise Tampered("the certificate in it is not our CA's") from None
    if names != [station]:
        raise Tampered("the certificate in it is another station's")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Tampered("the certificate's key is no ECDSA P-256 key")
    return key


def issued_by_ca(leaf: x509.Certificate, above: list[x509.Certificate], ca: x509.Certificate) -> None:
    """Link by link; whether it is valid still is not asked: it was when it was used. Raises one of BAD."""
    for _ in range(DEPTH_MAX):
        if leaf.issuer == ca.subject:
            return leaf.verify_directly_issued_by(ca)
        issuer = next((each for each in above if each.subject == leaf.issuer), None)
        if issuer is None or not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            break
        leaf.verify_directly_issued_by(issuer)
        leaf = issuer
    raise ValueError("no way to the CA")


def verify(key: ec.EllipticCurvePublicKey, content: bytes, signature: bytes) -> None:
    """Raises Tampered."""
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    try:
        if len(signature) != 64:
            raise Tampered("the signature is too long or too short")
        key.verify(encode_dss_signature(r, s), content, ec.ECDSA(hashes.SHA256()))
    except BAD:
        raise Tampered("the signature is wrong") from None
