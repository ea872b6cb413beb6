"""SUIT: the draft's own example verifies, and not with any byte changed; of our profile nothing else is read."""

import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update import cose, strict, suit
from agent.update.refusal import EXITS, Refused
from tests.builds import DEV, PROD

# draft-ietf-suit-manifest, appendix B, example 0 (secure boot), and the appendix's public key.
EXAMPLE_0 = bytes.fromhex(
    "d86ba2025873825824822f58206658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af584ad28443a10126a0f6"
    "5840e3505f7ab70bd3a0e04916f37b0d7251aa6f52ca12c7edaa886a4129a298ca6a1ecc2a57955c6bf4ccb9f01d684d5d1c4774dffbe5"
    "08a034431feafa60848a2c035871a50101020003585fa202818141000458568614a40150fa6b4a53d5ad5fdfbe9de663e4d41ffe025014"
    "92af1425695e48bf429b2d51f2ab45035824822f582000112233445566778899aabbccddeeff0123456789abcdeffedcba987654321"
    "00e1987d0010f020f074382030f0943821702"
)
EXAMPLE_KEY = bytes.fromhex(
    "048496811aae0baaabd26157189eecda26beaa8bf11b6f3fe6e2b5659c85dbc0ad"
    "3b1f2a4b6c098131c0a36dacd1d78bd381dcdfb09c052db33991db7338b4a896"
)
COMPONENTS = (
    suit.Component("app", "x86_64", bytes(32), 1_000),
    suit.Component("controller", "duo_cm4", bytes(range(32)), 70_000),
)
MANIFEST = suit.Manifest(7, "1.2.3", "c0ffee", COMPONENTS)


def by_the_drafts_key(alg: int, kid: bytes | None, message: bytes, signature: bytes) -> None:
    assert (alg, kid) == (cose.ES256, None)
    cose.checker(alg, EXAMPLE_KEY)(message, signature)


def test_the_drafts_first_example_is_a_signed_envelope() -> None:
    envelope = suit.open_envelope(EXAMPLE_0, by_the_drafts_key)
    assert len(EXAMPLE_0) == 237
    assert strict.loads(envelope.manifest, "it", 1_000)[suit.VALIDATE] == strict.dumps([suit.IMAGE_MATCH, suit.REPORT])
    assert not envelope.payloads


def test_the_drafts_first_example_is_made_of_our_words() -> None:
    """Keys, parameters and commands of our profile have the draft's numbers, where the example uses them."""
    outer = strict.loads(suit.read(EXAMPLE_0).manifest, "it", 1_000)
    common = strict.loads(outer[suit.COMMON], "it", 1_000)
    shared = strict.loads(common[suit.SHARED], "it", 1_000)
    assert (outer[suit.VERSION], outer[suit.SEQUENCE], common[suit.COMPONENTS]) == (1, 0, [[b"\0"]])
    assert shared[0] == suit.OVERRIDE_PARAMETERS
    assert shared[2:] == [suit.VENDOR_MATCH, suit.REPORT, suit.CLASS_MATCH, suit.REPORT]
    assert shared[1][suit.IMAGE_SIZE] == 34_768
    assert strict.loads(shared[1][suit.IMAGE_DIGEST], "it", 100)[0] == suit.SHA_256
    assert {suit.VENDOR_ID, suit.CLASS_ID, suit.IMAGE_DIGEST, suit.IMAGE_SIZE} == shared[1].keys()


@pytest.mark.promise("S8")
def test_the_drafts_first_example_fails_with_any_byte_changed() -> None:
    for at in range(len(EXAMPLE_0)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(EXAMPLE_0)
            changed[at] ^= flip
            with pytest.raises(Refused):
                suit.open_envelope(bytes(changed), lenient)


def lenient(alg: int, kid: bytes | None, message: bytes, signature: bytes) -> None:
    """Whatever header is claimed: the draft's key."""
    cose.checker(cose.ES256, EXAMPLE_KEY)(message, signature)


def test_an_envelope_that_is_cut_or_followed_by_something_is_refused() -> None:
    for cut in range(len(EXAMPLE_0)):
        with pytest.raises(Refused):
            suit.open_envelope(EXAMPLE_0[:cut], lenient)
    with pytest.raises(Refused):
        suit.open_envelope(EXAMPLE_0 + b"\0", lenient)


def test_the_example_is_valid_for_nobody_else() -> None:
    with pytest.raises(Refused, match="signature is wrong"):
        suit.open_envelope(EXAMPLE_0, lambda alg, kid, message, signature: dev(message, signature))


def dev(message: bytes, signature: bytes) -> None:
    cose.checker(DEV.alg, DEV.public)(message, signature)


@pytest.mark.parametrize(
    "outline",
    [
        "b9ffff",  # more entries than a build has
        "a28101 40 03 40",  # a list as a key: thousands of them could be made to collide
        "a2c101 40 03 40",
        "a220 40 03 40",
        "a21818 40 03 40",
        "a202 80 03 40",  # a list, a map, a text as a value
        "a202 a0 03 40",
        "a202 60 03 40",
        "a202 5f 4100 ff 03 40",
        "a202 5b00000000ffffffff 03 40",
        "a202 5a7fffffff 03 40",
        "bf02 40 03 40 ff",
        "8240 40",
    ],
)
def test_an_envelope_is_one_flat_map_before_any_decoder_sees_it(outline: str) -> None:
    for more in (b"", bytes(100)):
        with pytest.raises(Refused) as caught:
            suit.head_bytes(io.BytesIO(suit.TAG + bytes.fromhex(outline) + more))
        assert type(caught.value) is Refused and caught.value.code == "format", "at once: nothing more is waited for"


def test_an_envelope_may_be_a_mebibyte_and_hold_an_index_for_each_component_and_the_keyring() -> None:
    manifest = suit.dump_manifest(MANIFEST)

    def sealed(*sizes_b: int) -> bytes:
        payloads = {f"#{n}": bytes(size_b) for n, size_b in enumerate(sizes_b)}
        return suit.attach(manifest, payloads, DEV.alg, DEV.kid, bytes(64))

    assert len(suit.read(sealed(*[0] * 65)).payloads) == 65
    with pytest.raises(Refused, match="too much"):
        suit.read(sealed(*[0] * 66))
    room_b = (1 << 20) - len(sealed(100_000)) + 100_000
    assert len(suit.read(sealed(room_b)).payloads["#0"]) == room_b
    with pytest.raises(Refused, match="longer than 1048576 bytes"):
        suit.read(sealed(room_b + 1))


def test_an_envelope_with_another_signature_or_payload_than_ours_is_refused() -> None:
    """The payload of the signature is detached, and names of other payloads are fragments, as the draft has it."""
    manifest = suit.dump_manifest(MANIFEST)
    whole = suit.read(suit.attach(manifest, {"#a": b""}, DEV.alg, DEV.kid, bytes(64)))
    assert whole.payloads == {"#a": b""}
    wrapper = strict.loads(suit.with_payloads(whole, {})[2:], "it", 1_000)[suit.AUTHENTICATION]
    over, _ = strict.loads(wrapper, "it", 1_000)
    attached = cose.dump(whole.block.protected, over, bytes(64))
    for broken in (
        {2: strict.dumps([over, attached]), 3: manifest},
        {2: strict.dumps([over, whole.block.encoded, whole.block.encoded]), 3: manifest},
        {2: strict.dumps([over]), 3: manifest},
        {2: wrapper, 3: manifest, "a": b""},
        {2: wrapper, 3: manifest, 4: b""},
        {3: manifest},
        {2: wrapper},
    ):
        with pytest.raises(Refused) as caught:
            suit.read(suit.TAG + strict.dumps(broken))
        assert caught.value.code == "format"


# -- our profile -------------------------------------------------------------------------------------------------------


def test_a_manifest_reads_as_it_was_written() -> None:
    assert suit.load_manifest(suit.dump_manifest(MANIFEST)) == MANIFEST


def test_a_manifest_is_said_in_the_drafts_numbers() -> None:
    """Of which a change would make every build that is out there a stranger."""
    said = strict.loads(suit.dump_manifest(suit.Manifest(7, "1.2.3", "c0ffee", COMPONENTS[:1])), "it", 10_000)
    said[3] = strict.loads(said[3], "it", 10_000)
    for part, key in ((said[3], 4), (said, 7), (said, 20), (said, 23)):
        part[key] = strict.loads(part[key], "it", 10_000)
    identity = {
        1: bytes.fromhex("af7c433a583d5f8f8ce70e589ee9ca5b"),
        2: bytes.fromhex("11e034d8432c56c5ab28c83d3539a850"),
        3: strict.dumps([-16, bytes(32)]),
        14: 1_000,
    }
    assert said == {
        1: 1,
        2: 7,
        3: {2: [[b"app", b"x86_64"]], 4: [12, 0, 20, identity, 1, 15, 2, 15]},
        7: [12, 0, 3, 15],
        20: [12, 0, 20, {21: "#app-x86_64"}, 21, 2, 3, 15],
        23: {"en": {1: "1.2.3", 2: "c0ffee"}},
    }


def test_a_manifest_has_six_different_commands() -> None:
    outer = strict.loads(suit.dump_manifest(MANIFEST), "it", 10_000)
    common = strict.loads(outer[suit.COMMON], "it", 10_000)
    commands = {
        number
        for data in (common[suit.SHARED], outer[suit.VALIDATE], outer[suit.INSTALL])
        for number in strict.loads(data, "it", 10_000)[::2]
    }
    assert commands == {12, 20, 1, 2, 3, 21}


def test_a_manifest_of_the_draft_that_is_not_our_profile_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        suit.load_manifest(suit.read(EXAMPLE_0).manifest)
    assert caught.value.code == "format"


@pytest.mark.parametrize(
    "broken",
    [
        suit.Manifest(-1, "1", "c", COMPONENTS),
        suit.Manifest(2**53 + 1, "1", "c", COMPONENTS),
        suit.Manifest("1", "1", "c", COMPONENTS),  # type: ignore[arg-type]
        suit.Manifest(0, b"1", "c", COMPONENTS),  # type: ignore[arg-type]
        suit.Manifest(0, "1", 5, COMPONENTS),  # type: ignore[arg-type]
        suit.Manifest(0, "1\n", "c", COMPONENTS),
        suit.Manifest(0, "1" * 101, "c", COMPONENTS),
        suit.Manifest(0, "1", "c", ()),
        suit.Manifest(0, "1", "c", (COMPONENTS[0], COMPONENTS[0])),
        suit.Manifest(0, "1", "c", (suit.Component("app", "x86_64", bytes(31), 1),)),
        suit.Manifest(0, "1", "c", (suit.Component("app", "x86_64", "x" * 32, 1),)),  # type: ignore[arg-type]
        suit.Manifest(0, "1", "c", (suit.Component("app", "x86_64", bytes(32), "1"),)),  # type: ignore[arg-type]
        suit.Manifest(0, "1", "c", tuple(suit.Component("app", str(i), bytes(32), 1) for i in range(65))),
    ],
    ids=range(13),
)
def test_a_manifest_out_of_bounds_is_refused(broken: suit.Manifest) -> None:
    with pytest.raises(Refused) as caught:
        suit.load_manifest(suit.dump_manifest(broken))
    assert caught.value.code == "format"


@pytest.mark.parametrize(
    "most",
    [
        suit.Manifest(2**53, "1" * 100, "c" * 100, COMPONENTS[:1]),
        suit.Manifest(0, "", "", tuple(suit.Component("app", str(i), bytes(32), 1) for i in range(64))),
    ],
    ids=range(2),
)
def test_a_manifest_at_its_bounds_is_read(most: suit.Manifest) -> None:
    assert suit.load_manifest(suit.dump_manifest(most)) == most


def test_a_manifest_with_any_byte_changed_is_another_one_or_none() -> None:
    """Never the same one said in another way."""
    data = suit.dump_manifest(MANIFEST)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x01
        try:
            found = suit.load_manifest(bytes(changed))
        except Refused:
            continue
        assert found != MANIFEST and suit.dump_manifest(found) == bytes(changed)


@pytest.mark.parametrize("key", [4, 5, 8, 9, 14, 16, 24, -1])
def test_a_manifest_with_one_more_key_is_refused(key: int) -> None:
    outer = strict.loads(suit.dump_manifest(MANIFEST), "it", 10_000)
    with pytest.raises(Refused):
        suit.load_manifest(strict.dumps(outer | {key: b"\x80"}))


@pytest.mark.parametrize("command", [[14, 15], [23, 2], [15, []], [22, 2], [24, 15], [12, 0], [3, 15], [-1, 0]])
@pytest.mark.parametrize("where", [suit.VALIDATE, suit.INSTALL])
def test_a_manifest_with_one_more_command_is_refused(where: int, command: list[object]) -> None:
    outer = strict.loads(suit.dump_manifest(MANIFEST), "it", 10_000)
    commands = strict.loads(outer[where], "it", 10_000)
    for at in range(0, len(commands) + 1, 2):
        longer = strict.dumps(commands[:at] + command + commands[at:])
        with pytest.raises(Refused):
            suit.load_manifest(strict.dumps(outer | {where: longer}))


# -- CBOR --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "a2010101 02",  # a key twice
        "a2020201 01",  # keys out of order
        "1800",  # not the shortest
        "9f01ff",  # of unknown length
        "5f4101ff",
        "c11a00000000",  # tags: a time, a huge number, a pattern, a shared value, a set
        "c5821b7fffffffffffffff01",
        "d8236328612a",
        "d81c80",
        "d9010280",
        "c249010000000000000000",  # a number beyond 64 bits
        "f4",
        "f7",  # undefined
        "f90000",
        "a180 01",  # a list as a key
        "a1410101",  # bytes as a key
        "62c328",  # no UTF-8
        "8181818181818181818101",  # too deep
        "9bffffffffffffffff",  # too long
        "5bffffffffffffffff",
        "0101",  # two items
        "",
    ],
)
def test_cbor_that_is_said_in_another_way_or_says_other_things_is_refused(data: str) -> None:
    with pytest.raises(Refused) as caught:
        strict.loads(bytes.fromhex(data), "it", 100)
    assert caught.value.code == "format"


@pytest.mark.parametrize(
    "keys",
    [
        [suit.AUTHENTICATION, suit.MANIFEST, "#keyring", "#app-x86_64", "#app-aarch64", "#controller-" + "a" * 64],
        [suit.VERSION, suit.SEQUENCE, suit.COMMON, suit.VALIDATE, suit.INSTALL, suit.TEXT],
        [suit.VENDOR_ID, suit.CLASS_ID, suit.IMAGE_DIGEST, suit.IMAGE_SIZE, suit.URI],
        ["version", "build_time_s", "python", "schema", "contract", "board", "pins_hash", "image", "f" * 255],
    ],
    ids=["envelope", "manifest", "parameters", "facts"],
)
def test_the_rfcs_two_orders_of_keys_are_one_for_the_keys_of_builds(keys: list[int | str]) -> None:
    """By their bytes (§4.2.1), and by their length first (§4.2.3), as cbor2 does it."""
    encoded = [strict.dumps(key) for key in keys]
    assert sorted(encoded) == sorted(encoded, key=lambda key: (len(key), key))


def test_what_is_too_long_is_not_decoded() -> None:
    assert strict.loads(b"\x43abc", "it", 4) == b"abc"
    with pytest.raises(Refused, match="at most 3"):
        strict.loads(b"\x43abc", "it", 3)


def test_a_signature_has_no_headers_that_nobody_has_signed() -> None:
    block: list[Any] = [cose.header(DEV.alg, DEV.kid), {}, None, bytes(64)]
    assert cose.load(cose.TAG + strict.dumps(block), "it").kid == DEV.kid
    for broken in (
        [block[0], {4: DEV.kid}, None, bytes(64)],
        [strict.dumps({1: DEV.alg, 2: [], 4: DEV.kid}), *block[1:]],  # crit
        [strict.dumps({1: -35, 4: DEV.kid}), *block[1:]],  # ES384
        [b"", *block[1:]],
        [*block[:3], bytes(63)],
        [*block[:2], 1, block[3]],
        [*block, None],
    ):
        with pytest.raises(Refused) as caught:
            cose.load(cose.TAG + strict.dumps(broken), "it")
        assert caught.value.code == "format"


values = st.recursive(
    st.none() | st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(-9, 300) | st.text(max_size=30), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read(value: object) -> None:
    data = strict.dumps(value)
    try:
        assert strict.loads(data, "it", 10_000) == value
    except Refused:
        assert depth(value) >= strict.DEPTH_MAX


def depth(value: object) -> int:
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return max((1 + depth(each) for each in inner), default=isinstance(value, (list, dict)))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for reads in (suit.read, suit.load_manifest, lambda data: strict.loads(data, "it", 100)):
        try:
            reads(data)
        except Refused as refused:
            assert refused.code in EXITS


def test_a_signature_of_zeros_or_of_another_length_is_wrong() -> None:
    for alg, public in ((cose.ES256, EXAMPLE_KEY), (cose.EDDSA, DEV.public)):
        for signature in (bytes(64), b"\xff" * 64, b"", bytes(63), bytes(65)):
            with pytest.raises(Refused, match="signature is wrong"):
                cose.checker(alg, public)(b"message", signature)


def test_a_right_signature_with_a_byte_more_is_wrong() -> None:
    """The same two numbers, said longer."""
    signature = PROD.sign(b"message")
    r, s = signature[:32], signature[32:]
    check = cose.checker(PROD.alg, PROD.public)
    check(b"message", r + s)
    with pytest.raises(Refused, match="signature is wrong"):
        check(b"message", r + b"\0" + s)


def test_a_public_key_has_one_form() -> None:
    """A point can be said shorter; then its key would have a second name."""
    short = bytes([2 + (PROD.public[-1] & 1)]) + PROD.public[1:33]
    for alg, public in ((cose.ES256, short), (cose.ES256, DEV.public), (cose.EDDSA, PROD.public), (0, DEV.public)):
        with pytest.raises(ValueError, match="length"):
            cose.checker(alg, public)


def test_a_signed_block_begins_with_its_tag_and_no_other_byte() -> None:
    whole = cose.dump(cose.header(DEV.alg, DEV.kid), None, bytes(64))
    assert cose.load(whole, "it").kid == DEV.kid
    for first in set(range(256)) - {whole[0]}:
        with pytest.raises(Refused) as caught:
            cose.load(bytes([first]) + whole[1:], "it")
        assert caught.value.code == "format"


def test_the_sentence_of_every_refusal_survives_a_process() -> None:
    import pickle

    refused = pickle.loads(pickle.dumps(Refused("downgrade", "no")))
    assert (refused.code, refused.sentence, refused.exit) == ("downgrade", "no", 6)


def test_random_bytes_in_place_of_keys_are_no_keys() -> None:
    rng = random.Random(1)
    for _ in range(20):
        with pytest.raises(ValueError):  # noqa: PT011
            cose.checker(cose.ES256, b"\x04" + rng.randbytes(64))
