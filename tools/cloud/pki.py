"""Keys and certificates: the CA, the stations' certificates, and the operator's signing keys."""

import base64
import math
import os
import secrets
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.cloud.errors import OperatorError
from tools.cloud.wire import STATION_ID, Json, key_id

NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)         # where a clock chip that lost its battery starts
NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)        # the last year of UTCTime
CA_NAME, CLOUD_NAME = "devcloud CA", "devcloud"
CSR_MAX_BYTES = 5_500                                 # OCPP's bound for a CSR
STRONG_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

Validity = tuple[datetime, datetime]                  # not before, not after


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The whole file or none, also across a power cut; the mode holds from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
    encoding, form, clear = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_file(path, key.private_bytes(encoding, form, clear), 0o600)


def read_key(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise OperatorError(f"{path} is missing: run `devcloud ca init {path.parent}`") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"{path} is no private key: {error}") from None


def certificate(
    name: str, key: ec.EllipticCurvePublicKey, ca_name: str, ca_key: ec.EllipticCurvePrivateKey, *,
    server: bool = False, valid: Validity = (NOT_BEFORE, NOT_AFTER),
) -> bytes:  # fmt: skip
    """PEM of a certificate with CN = `name`; one that names itself its issuer is the CA's own."""
    is_ca = name == ca_name
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, ca_name))
    unused = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
    usage = dict.fromkeys(unused.split(), False)
    builder = (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), *valid)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if not is_ca:
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if server:
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# -- the CA -----------------------------------------------------------------------------------------------------------


def ca_init(folder: Path) -> None:
    """Makes ca, broker and cloud (.key, .pem) and the operator's signing key (operator.key, operator.pub)."""
    if (folder / "ca.key").exists():
        raise OperatorError(f"{folder} already holds a CA: choose another directory, or remove this one first")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    for file, name in (("broker", "localhost"), ("cloud", CLOUD_NAME)):
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(folder / f"{file}.key", key)
        cert = certificate(name, key.public_key(), CA_NAME, ca_key, server=file == "broker")
        write_file(folder / f"{file}.pem", cert)
    operator = Ed25519PrivateKey.generate()
    write_key(folder / "operator.key", operator)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_file(folder / "operator.pub", operator.public_key().public_bytes(serialization.Encoding.PEM, form))
    write_file(folder / "ca.pem", certificate(CA_NAME, ca_key.public_key(), CA_NAME, ca_key))
    write_key(folder / "ca.key", ca_key)                  # last: a directory with it is complete


def read_ca_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    key = read_key(folder / "ca.key")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise OperatorError(f"{folder / 'ca.key'} is not the CA's key: run `devcloud ca init` in a new directory")
    return key


def read_ca(folder: Path) -> x509.Certificate:
    path = folder / "ca.pem"
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise OperatorError(f"{path} is missing: run `devcloud ca init {folder}`") from None
    except (ValueError, x509.InvalidVersion) as error:
        raise OperatorError(f"{path} is no certificate: {error}") from None


def ca_station(
    folder: Path, serial: str, csr: Path | None = None, valid: Validity = (NOT_BEFORE, NOT_AFTER)
) -> Path:
    """Issues stations/SERIAL.pem, for the CSR's key or for a new one beside it (SERIAL.key). Returns the .pem path."""
    if not STATION_ID.fullmatch(serial):
        raise OperatorError(f"{serial!r} is no serial number: use 1 to 36 letters, digits and hyphens")
    ca_key = read_ca_key(folder)
    if csr is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(folder / "stations" / f"{serial}.key", key)
        public = key.public_key()
    else:
        name, public = requested(read_csr(csr))
        if name != serial:
            raise OperatorError(f"{csr} asks for CN = {name}, not {serial}")
    path = folder / "stations" / f"{serial}.pem"
    write_file(path, certificate(serial, public, CA_NAME, ca_key, valid=valid))
    return path


def ca_sign(folder: Path, csr: Path, valid: Validity = (NOT_BEFORE, NOT_AFTER)) -> bytes:
    """The certificate that a CSR asks for, CN and key; the person at the keyboard vouches for it."""
    name, public = requested(read_csr(csr))
    return certificate(name, public, CA_NAME, read_ca_key(folder), valid=valid)


def read_csr(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None


def requested(pem: bytes) -> tuple[str, ec.EllipticCurvePublicKey]:
    """(CN, key) of a CSR that may be signed: one name, of a station; P-256 or better; signed by its own key. Raises
    OperatorError. Nothing else that the CSR asks for is granted."""
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        is_signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise OperatorError(f"no CSR: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, STRONG_CURVES):
        raise OperatorError("the CSR's key is weak or of another kind: make an ECDSA key, P-256 or better")
    if not is_signed:
        raise OperatorError("the CSR is not signed by its own key")
    if len(names) != 1 or not isinstance(names[0], str) or not STATION_ID.fullmatch(names[0]):
        raise OperatorError("the CSR must have one CN, the serial number: 1 to 36 letters, digits and hyphens")
    return names[0], key


class Authority:
    """Signs what stations ask for over the air."""

    def __init__(self, folder: Path, days: float | None = None) -> None:
        """`days`: how long what it signs is valid, from now; None = as the CA itself."""
        self._key = read_ca_key(folder)
        self._days = days

    def sign(self, station: str, csr: str, now_ms: int) -> str:
        """PEM of the certificate for this station's new key. Raises OperatorError saying why not."""
        if len(csr) > CSR_MAX_BYTES:
            raise OperatorError("the CSR is too long")
        name, key = requested(csr.encode("utf-8", "replace"))
        if station == CLOUD_NAME:
            raise OperatorError("the cloud's own name is no station's")
        if name != station:
            raise OperatorError(f"station {station} asks for a certificate of {name}")
        return certificate(name, key, CA_NAME, self._key, valid=validity(self._days, now_ms)).decode("ascii")


def validity(days: float | None, now_ms: int) -> Validity:
    """From now on for so many days (a float: tests make short ones); None = from the beginning of time. A little
    earlier, as a station's clock may lag behind ours; not much, since it counts two thirds from there to renew."""
    if days is None:
        return NOT_BEFORE, NOT_AFTER
    if not (math.isfinite(days) and 0 < days <= 10_000):
        raise OperatorError(f"{days:g} days: give 0.0001 to 10000")
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return now - timedelta(days=min(1.0, days / 10)), min(now + timedelta(days=days), NOT_AFTER)


# -- the operator's keys ----------------------------------------------------------------------------------------------


class Operator:
    """The keys that sign commands: the first one (operator.key), and those that came later (operators/KID.key)."""

    def __init__(self, first: Ed25519PrivateKey, folder: Path | None = None) -> None:
        self._first, self._folder = first, folder
        self._known = {self.first_id: first}

    @property
    def first_id(self) -> bytes:
        return key_id(self._first.public_key())

    def key(self, kid: bytes | None) -> Ed25519PrivateKey | None:
        """The key with this id, None = the first one. Returns None if it is not here."""
        if kid is None:
            return self._first
        if kid not in self._known and self._folder is not None:
            path = self._folder / "operators" / f"{kid.hex()}.key"
            if path.exists() and isinstance(key := read_key(path), Ed25519PrivateKey):
                self._known[kid] = key
        return self._known.get(kid)

    def make(self) -> bytes:
        """A new key, on disk before anybody hears of it. Returns its id."""
        assert self._folder is not None
        key = Ed25519PrivateKey.generate()
        kid = key_id(key.public_key())
        write_key(self._folder / "operators" / f"{kid.hex()}.key", key)
        self._known[kid] = key
        return kid

    def entry(self, kid: bytes) -> Json:
        """The key as `OperatorKeys` carries it."""
        key = self.key(kid)
        assert key is not None
        return {"kid": kid.hex(), "key": base64.b64encode(key.public_key().public_bytes_raw()).decode("ascii")}


def read_operator(folder: Path) -> Operator:
    key = read_key(folder / "operator.key")
    if not isinstance(key, Ed25519PrivateKey):
        raise OperatorError(f"{folder / 'operator.key'} is no Ed25519 key: run `devcloud ca init` in a new directory")
    return Operator(key, folder)


def tls_context(folder: Path) -> ssl.SSLContext:
    """Mutual TLS 1.3 as the cloud. Raises OperatorError if the files are not there."""
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cloud.pem", folder / "cloud.key")
    except FileNotFoundError:
        raise OperatorError(f"{folder} has no certificates: run `devcloud ca init {folder}`") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
