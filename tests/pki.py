"""Certificates as an operator's CA makes them, good and bad ones."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY_S = 86_400.0
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
YEARS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)


class Ca:
    """One CA; `folder`: that of devcloud.ca_init, or none and it is a CA of its own, maybe under `above`."""

    def __init__(self, folder: Path | None = None, name: str = "other CA", above: "Ca | None" = None) -> None:
        if folder:
            key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self.key, self.cert = key, x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())
            top = above or self
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            issuer = above.cert.subject if above else subject
            serial = x509.random_serial_number()
            builder = x509.CertificateBuilder(issuer, subject, self.key.public_key(), serial, *YEARS)
            self.cert = builder.add_extension(x509.BasicConstraints(True, None), True).sign(top.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.cert.public_bytes(Encoding.PEM).decode()

    def signed(
        self, csr: str, start_s: float, end_s: float, name: str = "", usage: x509.ObjectIdentifier | None = CLIENT,
        is_ca: bool = False,
    ) -> str:  # fmt: skip
        """The PEM of a certificate for this request, valid from and to these seconds since 1970."""
        request = x509.load_pem_x509_csr(csr.encode())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if name else request.subject
        start, end = (datetime.fromtimestamp(int(second), UTC) for second in (start_s, end_s))
        builder = x509.CertificateBuilder(
            self.cert.subject, subject, request.public_key(), x509.random_serial_number(), start, end
        ).add_extension(x509.BasicConstraints(is_ca, None), True)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
