"""Keys, certificate requests and certificates: made, read and judged. No file, no socket, no clock.

Bytes of a stranger come to certified(), read_chain() and read_pkcs7(): what they cannot read or do not believe is a
CertificateError with one sentence, and nothing else. A private key never stands in such a sentence.
"""

import warnings
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

PEM_MAX_B = 65_536  # of a chain; OCPP's CertificateSigned carries at most 10,000 characters
CHAIN_MAX = 5  # certificates in it
DEPTH_MAX = 3  # CAs between ours and the leaf
AHEAD_S = 300.0  # how far the CA's clock may be ahead of ours
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm,  # TypeError: the key asks for a password
    x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip


class CertificateError(Exception):
    """Cannot be read, or is not for us; the text says in one sentence why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and the certificate for it. `pem`: both and the CAs above, key first, ready for a file."""

    pem: bytes
    name: str  # of the certificate: SHA-256 of it, in hex
    common_name: str
    public_key: bytes  # DER
    not_before_s: float
    not_after_s: float

    def __repr__(self) -> str:
        """Without the key: this may end in a log."""
        return f"Pair({self.common_name}, {self.name[:16]})"


@dataclass(frozen=True, slots=True)
class Request:
    """A private key that has no certificate yet. `pem`: the key, then the request (PKCS#10)."""

    pem: bytes
    csr: str  # PEM
    public_key: bytes  # DER

    def __repr__(self) -> str:
        return "Request()"


# -- ours --------------------------------------------------------------------------------------------------------------


def new_request(common_name: str) -> Request:
    """A new ECDSA P-256 key and the request for its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    csr = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return Request(key_pem(key) + csr, csr.decode(), spki(key.public_key()))


def self_made(common_name: str, address: str, not_before_s: float, not_after_s: float) -> Pair:
    """A P-256 key and a TLS server's certificate for this IP address, signed by nobody but itself. Times are wall."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime.fromtimestamp(not_before_s, UTC))
    made = made.not_valid_after(datetime.fromtimestamp(not_after_s, UTC))
    for extension in (
        x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]),
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    ):
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return paired(key, [made.sign(key, hashes.SHA256())])


def is_for(pair: Pair, address: str) -> bool:
    """Whether its certificate names this IP address."""
    try:
        leaf = read_chain(pair.pem)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return ip_address(address) in names.get_values_for_type(x509.IPAddress)
    except (CertificateError, x509.ExtensionNotFound, *UNREADABLE):
        return False


def read_request(pem: bytes) -> Request:
    """What new_request() made. CertificateError."""
    try:
        key, csr = read_key(pem), x509.load_pem_x509_csr(pem)
        if not csr.is_signature_valid or spki(csr.public_key()) != spki(key.public_key()):
            raise CertificateError("the certificate request belongs to another key")
    except (*UNREADABLE, InvalidSignature) as error:
        raise CertificateError(f"no certificate request: {sentence(error)}") from None
    return Request(pem, csr.public_bytes(Encoding.PEM).decode(), spki(key.public_key()))


def read_pair(pem: bytes) -> Pair:
    """Key and chain in one PEM. CertificateError."""
    return paired(read_key(pem), read_chain(pem))


def paired(key: PrivateKeyTypes, chain: Sequence[x509.Certificate]) -> Pair:
    """The leaf is the certificate of this key, wherever in the chain it stands. CertificateError."""
    public = spki(key.public_key())
    leaf = next((cert for cert in chain if public_key(cert) == public), None)
    if leaf is None:
        raise CertificateError("the certificate belongs to another key")
    try:
        above = [cert for cert in dict.fromkeys(chain) if cert != leaf and cert.subject != cert.issuer]
        names = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        pems = [cert.public_bytes(Encoding.PEM) for cert in (leaf, *above)]
    except UNREADABLE as error:
        raise CertificateError(f"the certificate cannot be read: {sentence(error)}") from None
    common_name = names[0] if len(names) == 1 and isinstance(names[0], str) else ""
    return Pair(
        key_pem(key) + b"".join(pems), leaf.fingerprint(hashes.SHA256()).hex(), common_name[:64], public, *ends
    )


def read_key(pem: bytes) -> PrivateKeyTypes:
    """Of any kind: ours are ECDSA, a pair from the config file may be older. CertificateError."""
    try:
        return load_pem_private_key(pem, None)
    except UNREADABLE:
        raise CertificateError("no private key that can be read") from None


def key_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key(cert: x509.Certificate) -> bytes:
    """DER; empty if nobody can read it."""
    try:
        return spki(cert.public_key())
    except UNREADABLE:
        return b""


def spki(key: Any) -> bytes:
    made: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return made


# -- a stranger's ------------------------------------------------------------------------------------------------------


def read_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM; other blocks are skipped. CertificateError."""
    return bounded(pem, lambda: x509.load_pem_x509_certificates(pem))


def read_pkcs7(body: bytes) -> list[x509.Certificate]:
    """An EST answer: base64 of a PKCS#7 that holds certificates only (RFC 7030 §4.1.3). CertificateError."""
    from cryptography.hazmat.primitives.serialization import pkcs7  # brings half of `email` along, for once a year

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is BER, which RFC 5652 §3 allows
        return bounded(
            body, lambda: pkcs7.load_der_pkcs7_certificates(b64decode(b"".join(body.split()), validate=True))
        )


def bounded(data: bytes, read: Callable[[], list[x509.Certificate]]) -> list[x509.Certificate]:
    if len(data) > PEM_MAX_B:
        raise CertificateError(f"{len(data)} bytes are no certificate chain")
    try:
        chain = read()
    except UNREADABLE as error:
        raise CertificateError(f"no certificate that can be read: {sentence(error)}") from None
    if not 1 <= len(chain) <= CHAIN_MAX:
        raise CertificateError(f"a chain has 1 to {CHAIN_MAX} certificates, this one {len(chain)}")
    return chain


def certified(
    request_pem: bytes, chain: Sequence[x509.Certificate], common_name: str, ca_pem: bytes,
    earliest_s: float, wall_s: float | None,
) -> Pair:  # fmt: skip
    """The pair that our key and this chain make, if the station can work with it. CertificateError.

    `earliest_s` is a time surely not after the true one, `wall_s` the time if it is known.
    """
    pair = paired(read_key(request_pem), chain)
    if pair.common_name != common_name:
        raise CertificateError(f"made out to {pair.common_name[:40]!r}, this station is {common_name}")
    if pair.not_after_s <= earliest_s:
        raise CertificateError(f"expired {day(pair.not_after_s)}")
    if wall_s is not None and pair.not_before_s > wall_s + AHEAD_S:
        raise CertificateError(f"not valid before {day(pair.not_before_s)}")
    leaf = next(cert for cert in chain if cert.fingerprint(hashes.SHA256()).hex() == pair.name)
    check_usage(leaf)
    check_chain(leaf, chain, ca_pem, max(earliest_s, pair.not_before_s))
    return pair


def check_usage(leaf: x509.Certificate) -> None:
    """For a TLS client (RFC 5280 §4.2.1): what the certificate does not restrict is allowed. CertificateError."""
    try:
        extensions = leaf.extensions
        for extension in extensions:
            match extension.value:
                case x509.BasicConstraints(ca=True):
                    raise CertificateError("a CA's certificate, not a station's")
                case x509.KeyUsage(digital_signature=False):
                    raise CertificateError("its key may not sign, so it cannot do TLS")
                case x509.ExtendedKeyUsage() as usage if not {
                    ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
                } & set(usage):  # fmt: skip
                    raise CertificateError("not for a TLS client (extended key usage clientAuth)")
    except UNREADABLE as error:
        raise CertificateError(f"the certificate cannot be read: {sentence(error)}") from None


def check_chain(leaf: x509.Certificate, chain: Sequence[x509.Certificate], ca_pem: bytes, at_s: float) -> None:
    """It leads to one of our CAs, by way of the chain. CertificateError."""
    try:
        store = Store(x509.load_pem_x509_certificates(ca_pem))
    except UNREADABLE as error:
        raise CertificateError(f"our own CA file cannot be read: {sentence(error)}") from None
    try:
        rules = PolicyBuilder().store(store).time(datetime.fromtimestamp(at_s, UTC)).max_chain_depth(DEPTH_MAX)
        rules = rules.extension_policies(ca_policy=A_CA, ee_policy=ExtensionPolicy.permit_all())
        rules.build_client_verifier().verify(leaf, [cert for cert in chain if cert != leaf])
    except (VerificationError, OverflowError, OSError, *UNREADABLE) as error:
        raise CertificateError(f"does not lead to our CA: {sentence(error)}") from None


def may_sign(_policy: Policy, _cert: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError("a CA that may not sign certificates")


# An operator's own CA is no CA of the web: it needs what RFC 5280 says of path validation, and no more.
A_CA = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, may_sign)
)


def sentence(error: BaseException) -> str:
    text = str(error).partition(" (encountered processing")[0]
    return (text.splitlines() or [type(error).__name__])[0][:150]


def day(wall_s: float) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d}"
