"""What the operator signed is believed, whatever anybody else did to it is not."""

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.signed import SignatureError, sign, signed_bytes, verify

# RFC 8032 §7.1, test 1, which is also the key "11" of the COSE working group's examples.
PRIVATE = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
KEYS = {b"11": PRIVATE.public_key()}
STRANGER = Ed25519PrivateKey.from_private_bytes(b"another private key of 32 bytes!")

# cose-wg/Examples, eddsa-examples/eddsa-sig-01: key id in the unprotected header, a content type in the protected one.
VECTOR = bytes.fromhex(
    "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e"
    "58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb87"
    "11497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d"
)


def refused(data: bytes, keys: dict[bytes, Ed25519PublicKey] = KEYS) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(data, keys)
    return str(caught.value)


def test_the_example_of_the_cose_working_group_verifies() -> None:
    assert verify(VECTOR, KEYS) == b"This is the content."


def test_the_signature_is_over_the_structure_of_rfc_9052() -> None:
    by_hand = b"\x84" + b"\x6aSignature1" + b"\x43\xa1\x01\x27" + b"\x40" + b"\x42hi"
    assert signed_bytes(b"\xa1\x01\x27", b"hi") == by_hand


@pytest.mark.promise("S9")
@given(st.binary(max_size=300), st.binary(min_size=1, max_size=16))
def test_what_is_signed_verifies_with_tag_and_without(payload: bytes, kid: bytes) -> None:
    data = sign(payload, kid, PRIVATE)
    assert verify(data, {kid: PRIVATE.public_key()}) == payload
    assert verify(data[1:], {kid: PRIVATE.public_key()}) == payload
    assert isinstance(cbor2.loads(data), cbor2.CBORTag)


@pytest.mark.promise("S9")
def test_a_changed_bit_anywhere_is_refused_or_changes_nothing() -> None:
    """The unprotected header is not signed; all it could do is name another key, and that one did not sign."""
    for data in (sign(b"stop", b"11", PRIVATE), VECTOR):
        payload = verify(data, KEYS)
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                assert verify(bytes(changed), KEYS) == payload
            except SignatureError:
                continue


@pytest.mark.promise("S9")
def test_a_truncated_or_lengthened_envelope_is_refused() -> None:
    data = sign(b"stop", b"11", PRIVATE)
    for end in range(len(data)):
        refused(data[:end])
    assert "follow" in refused(data + b"\x00")


@pytest.mark.promise("S9")
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=70) | st.just(b"\xa1\x01\x27") | st.just({4: b"11"}) | st.integers(), max_size=5))
def test_well_formed_nonsense_is_refused(elements: list[object]) -> None:
    refused(cbor2.dumps(elements))


@pytest.mark.promise("S9")
def test_every_refusal_says_why() -> None:
    def envelope(protected: dict[int, object]) -> bytes:
        head = cbor2.dumps(protected)
        return cbor2.dumps([head, {}, b"stop", PRIVATE.sign(signed_bytes(head, b"stop"))])

    assert verify(envelope({1: -8, 4: b"11"}), KEYS) == b"stop"
    assert "algorithm" in refused(envelope({1: -7, 4: b"11"}))
    assert "algorithm" in refused(envelope({4: b"11"}))
    assert "extension" in refused(envelope({1: -8, 2: [99], 4: b"11", 99: 1}))
    assert "does not know" in refused(envelope({1: -8}))
    assert "does not know" in refused(envelope({1: -8, 4: b"12"}))
    assert "does not know" in refused(envelope({1: -8, 4: [1]}))
    assert "is wrong" in refused(sign(b"stop", b"11", STRANGER))
    assert "COSE_Sign1" in refused(cbor2.dumps([b"", {}, None, b""]))
    assert "COSE_Sign1" in refused(b"hello")
