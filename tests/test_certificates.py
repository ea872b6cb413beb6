"""What a CA, a cloud or an EST server sends as our certificate is believed only if all of it is right."""

from base64 import encodebytes
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7
from hypothesis import example, given
from hypothesis import strategies as st

from agent.certificates import (
    CHAIN_MAX,
    PEM_MAX_B,
    CertificateError,
    certified,
    new_request,
    read_chain,
    read_pair,
    read_pkcs7,
    read_request,
)
from tests.pki import SERVER, Ca
from tools import devcloud

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

NOW_S = 1_800_000_000.0
FROM_S, TO_S = NOW_S - 1e6, NOW_S + 1e6
CA = Ca(name="CA")
REQUEST = new_request("SA-1")
GOOD = CA.signed(REQUEST.csr, FROM_S, TO_S)


def judged(pem: str, ca: Ca = CA, earliest_s: float = NOW_S, wall_s: float | None = NOW_S) -> str:
    """The name it is good for, or why it is no good."""
    try:
        pair = certified(REQUEST.pem, read_chain(pem.encode()), "SA-1", ca.pem.encode(), earliest_s, wall_s)
    except CertificateError as error:
        return str(error)
    assert read_pair(pair.pem) == pair
    return pair.common_name


def test_key_and_request_are_made_here_as_p256_with_the_serial_as_the_name() -> None:
    key = load_pem_private_key(REQUEST.pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    csr = x509.load_pem_x509_csr(REQUEST.csr.encode())
    assert csr.subject.rfc4514_string() == "CN=SA-1" and csr.is_signature_valid and len(REQUEST.csr) < 5_500
    assert read_request(REQUEST.pem) == REQUEST
    assert "KEY" in REQUEST.pem.decode() and "KEY" not in REQUEST.csr + repr(REQUEST)


def test_the_reference_cloud_signs_what_we_ask_for(tmp_path: Path) -> None:
    devcloud.ca_init(tmp_path)
    (tmp_path / "csr").write_text(REQUEST.csr)
    pem = devcloud.ca_station(tmp_path, "SA-1", tmp_path / "csr").read_text()
    assert judged(pem, Ca(tmp_path)) == "SA-1"


def test_a_good_certificate_makes_a_pair_and_what_is_wrong_with_another_is_said() -> None:
    stranger = Ca(name="CA")  # the same name, another key
    assert judged(GOOD) == "SA-1"
    assert judged(REQUEST.pem.decode() + GOOD) == "SA-1", "other blocks are skipped"
    assert "does not lead to our CA" in judged(stranger.signed(REQUEST.csr, FROM_S, TO_S))
    assert "does not lead to our CA" in judged(stranger.signed(REQUEST.csr, FROM_S, TO_S) + stranger.pem)
    assert "another key" in judged(CA.signed(new_request("SA-1").csr, FROM_S, TO_S))
    assert judged(CA.signed(REQUEST.csr, FROM_S, TO_S, name="SA-2")) == "made out to 'SA-2', this station is SA-1"
    assert "not for a TLS client" in judged(CA.signed(REQUEST.csr, FROM_S, TO_S, usage=SERVER))
    assert judged(CA.signed(REQUEST.csr, FROM_S, TO_S, usage=None)) == "SA-1"
    assert "a CA's certificate" in judged(CA.signed(REQUEST.csr, FROM_S, TO_S, is_ca=True))
    assert "expired 2027-01-15" in judged(CA.signed(REQUEST.csr, FROM_S, NOW_S - 1.0))
    assert "not valid before 2027-01-15" in judged(CA.signed(REQUEST.csr, NOW_S + 1_000.0, TO_S))


def test_validity_is_judged_by_what_is_known_of_the_time() -> None:
    soon = CA.signed(REQUEST.csr, NOW_S + 1_000.0, TO_S)
    assert judged(soon, wall_s=None) == "SA-1", "the floor may be long ago"
    assert judged(CA.signed(REQUEST.csr, NOW_S + 200.0, TO_S)) == "SA-1", "clocks differ"
    assert "expired" in judged(GOOD, earliest_s=TO_S, wall_s=None)


def test_a_chain_leads_over_other_cas_in_any_order_but_not_over_a_station() -> None:
    middle = Ca(name="middle", above=CA)
    leaf = middle.signed(REQUEST.csr, FROM_S, TO_S)
    assert judged(leaf + middle.pem) == judged(middle.pem + leaf) == judged(leaf + middle.pem + CA.pem) == "SA-1"
    assert "does not lead" in judged(leaf)
    chain = read_chain((middle.pem + leaf + CA.pem).encode())
    pair = certified(REQUEST.pem, chain, "SA-1", CA.pem.encode(), NOW_S, None)
    certs = x509.load_pem_x509_certificates(pair.pem)
    assert [cert.subject.rfc4514_string() for cert in certs] == ["CN=SA-1", "CN=middle"], "leaf first, no root"
    other = Ca(name="SA-9")  # a station that plays CA
    csr = x509.CertificateSigningRequestBuilder(other.cert.subject).sign(other.key, hashes.SHA256())
    other_pem = CA.signed(csr.public_bytes(Encoding.PEM).decode(), FROM_S, TO_S)
    assert "does not lead" in judged(other.signed(REQUEST.csr, FROM_S, TO_S) + other_pem)


@pytest.mark.promise("S10")
def test_a_chain_is_bounded() -> None:
    assert "1 to 5" in judged(GOOD * (CHAIN_MAX + 1))
    assert "no certificate chain" in judged(GOOD + " " * PEM_MAX_B)
    assert "no certificate" in judged("")


def pkcs7_of(pem: str) -> bytes:
    return encodebytes(pkcs7.serialize_certificates(x509.load_pem_x509_certificates(pem.encode()), Encoding.DER))


def test_an_est_answer_is_read_from_base64() -> None:
    assert read_pkcs7(pkcs7_of(GOOD + CA.pem)) and len(read_pkcs7(pkcs7_of(GOOD))) == 1
    assert read_pkcs7(pkcs7_of(GOOD).replace(b"\n", b"\r\n"))


HEADS = st.sampled_from([b"", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN PRIVATE KEY-----\n", b"MIIB"])
SEED = {"pem": GOOD.encode(), "pkcs7": pkcs7_of(GOOD), "request": REQUEST.pem}


@pytest.mark.promise("S9")
@given(HEADS, st.binary(max_size=200))
def test_any_bytes_are_refused_with_one_sentence(head: bytes, body: bytes) -> None:
    for read in (read_chain, read_pkcs7, read_pair, read_request):
        with pytest.raises(CertificateError) as error:
            read(head + body)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.promise("S9")
@given(st.integers(0, 2**16), st.integers(1, 255), st.integers(0, 2))
def test_a_changed_byte_in_the_certificate_is_never_believed(at: int, flip: int, cut: int) -> None:
    """In the DER, so that every change reaches the parser of the certificate and not only that of base64."""
    (cert,) = x509.load_pem_x509_certificates(GOOD.encode())
    der = bytearray(cert.public_bytes(Encoding.DER))
    der[at % len(der)] ^= flip
    body = encodebytes(bytes(der)[: len(der) - cut]).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    if judged(pem) == "SA-1":  # the unused bits of the signature's BIT STRING say nothing
        assert read_chain(pem.encode())[0].tbs_certificate_bytes == cert.tbs_certificate_bytes


@pytest.mark.promise("S9")
@given(st.sampled_from(sorted(SEED)), st.integers(0, 2**16), st.integers(0, 255))
@example("pkcs7", 505, 47)  # DER no more, but BER
def test_a_changed_character_anywhere_is_an_error_or_the_same(kind: str, at: int, byte: int) -> None:
    data = bytearray(SEED[kind])
    data[at % len(data)] = byte
    read = {"pem": read_chain, "pkcs7": read_pkcs7, "request": read_request}[kind]
    try:
        read(bytes(data))
    except CertificateError as error:
        assert "PRIVATE" not in str(error)
