"""A build: only what was signed by a key that counts is ever read, and every piece is the signed one or refused."""

import io
import random
import re
import tracemalloc
import zlib
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.update import build, cose, index, keyring, rules, strict, suit
from agent.update.engine import ROOT_KEY, Engine, wanted_files
from agent.update.keyring import Trust
from agent.update.protocol import numbered
from agent.update.refusal import EXITS, Refused
from tests.builds import DEV, FILES, PROD, RING, ROM, ROOT, STRANGER, TRUST, app, build_file, firmware, head_of, ring
from tools.flashing import packing

WHOLE = build_file()
HEAD = head_of(WHOLE)
STATION = rules.Station("x86_64", "duo_cm4", is_production=True, security_floor=0)


def refusal_of(data: bytes, trust: Trust = TRUST) -> Refused:
    with pytest.raises(Refused) as caught:
        head_of(data, trust)
    return caught.value


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_a_build_is_read_as_it_was_packed() -> None:
    assert (HEAD.version, HEAD.commit, HEAD.security_sequence, HEAD.role) == ("1.0.0", "c0ffee", 0, "prod")
    assert HEAD.named == (("app", "x86_64"), ("app", "aarch64"), ("controller", "duo_cm4"))
    assert HEAD.kid == PROD.kid and HEAD.keyring == RING and WHOLE.startswith(HEAD.raw)
    assert HEAD.digest == sha256(suit.read(HEAD.raw).manifest).digest()


def test_every_file_comes_out_of_the_pieces_as_it_went_in() -> None:
    places = build.pieces_of(HEAD)
    for name, files in ((("app", "x86_64"), FILES), (("controller", "duo_cm4"), ROM)):
        for file in HEAD.components[name].files:
            data = b"".join(unpacked(WHOLE, places, piece) for piece in file.pieces)
            assert data == files[file.path] and len(data) == file.size_b
            assert file.executable == file.path.startswith("bin/")


def unpacked(data: bytes, places: dict[bytes, tuple[int, index.Piece]], piece: index.Piece) -> bytes:
    at = len(HEAD.raw) + places[piece.digest][0]
    return build.unpack(piece, data[at : at + piece.stored_b])


def test_a_piece_that_two_components_have_is_stored_once() -> None:
    places = build.pieces_of(HEAD)
    assert len(WHOLE) == len(HEAD.raw) + sum(piece.stored_b for _, piece in places.values())
    assert WHOLE[len(HEAD.raw) :] == build_file(app(), firmware())[-(len(WHOLE) - len(HEAD.raw)) :]


def test_the_same_files_give_the_same_bytes() -> None:
    backwards = app(files=dict(reversed(FILES.items())))
    assert packing.packed("1", "c", 0, [app()]) == packing.packed("1", "c", 0, [backwards])


def test_the_signature_alone_differs_between_two_signers() -> None:
    one, other = head_of(build_file(signer=PROD)), head_of(build_file(signer=DEV))
    assert one.digest == other.digest and one.raw != other.raw
    assert (one.role, other.role) == ("prod", "dev")


def test_the_head_is_read_and_not_a_byte_more() -> None:
    stream = io.BytesIO(WHOLE)
    assert build.read_head(stream, TRUST) == HEAD
    assert stream.tell() == len(HEAD.raw)
    assert build.read_head(Drip(WHOLE), TRUST) == HEAD  # type: ignore[arg-type]


class Drip:
    """A stream that gives a byte or two at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size_b: int) -> bytes:
        return self._data.read(min(size_b, 1 + size_b % 2))


def test_a_head_without_foreign_indexes_is_signed_as_before() -> None:
    slim = build.load_head(build.slim(HEAD, {("app", "x86_64")}), TRUST)
    assert slim.components == {("app", "x86_64"): HEAD.components["app", "x86_64"]}
    assert (slim.named, slim.digest, slim.role) == (HEAD.named, HEAD.digest, HEAD.role)
    assert HEAD.is_whole and not slim.is_whole
    assert len(slim.raw) < len(HEAD.raw)
    with pytest.raises(Refused, match="no index at all"):
        build.load_head(build.slim(HEAD, set()), TRUST)


def test_inspect_reads_a_build_that_nobody_verifies() -> None:
    assert head_of(WHOLE, None) == replace(HEAD, role="")


# -- nobody else's -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_a_head_with_any_byte_changed_is_refused() -> None:
    head = head_of(build_file(app(files={"a": b"a" * 50}), keys=b"")).raw
    for at in range(len(head)):
        for flip in (0x01, 0x80):
            changed = bytearray(head)
            changed[at] ^= flip
            assert EXITS[refusal_of(bytes(changed)).code] == 5


@pytest.mark.promise("S8")
def test_a_head_that_ends_early_anywhere_is_refused() -> None:
    for cut in range(len(HEAD.raw)):
        with pytest.raises(Refused):
            build.read_head(io.BytesIO(HEAD.raw[:cut]), TRUST)
        with pytest.raises(Refused):
            build.load_head(HEAD.raw[:cut], TRUST)


def test_what_a_stranger_has_signed_is_refused() -> None:
    assert refusal_of(build_file(signer=STRANGER)).code == "key"
    other = keyring.Trust(STRANGER.public, None)
    assert refusal_of(WHOLE, other).code == "key", "its keyring is another root's"
    assert refusal_of(WHOLE, keyring.Trust(None, RING)).code == "key", "a bare station believes nobody"
    assert "no root key is known here" in refusal_of(WHOLE, keyring.Trust(None, None)).sentence


def test_a_known_key_id_does_not_help_a_stranger() -> None:
    class Impostor:
        alg, kid = DEV.alg, DEV.kid
        sign = staticmethod(STRANGER.sign)

    assert refusal_of(build_file(signer=Impostor())).code == "signature"


def test_nobody_puts_anything_into_a_signed_head() -> None:
    envelope = suit.read(HEAD.raw)
    for name in ("#x", "#app-riscv64", "#controller-solo_modbus"):
        more = suit.with_payloads(envelope, {**envelope.payloads, name: b"more"})
        assert refusal_of(more).code == "format"
    other = suit.with_payloads(envelope, {**envelope.payloads, "#app-x86_64": envelope.payloads["#controller-duo_cm4"]})
    with pytest.raises(Refused, match="changed after it was signed"):
        head_of(other)


def test_an_index_of_the_same_length_is_not_the_one_that_was_signed_nor_one_whose_length_is_a_lie() -> None:
    envelope = suit.read(HEAD.raw)
    data = envelope.payloads["#app-x86_64"]
    other = suit.with_payloads(envelope, {**envelope.payloads, "#app-x86_64": data[:-1] + bytes([data[-1] ^ 1])})
    component = suit.Component("app", "x86_64", sha256(data).digest(), len(data) + 1)
    manifest = suit.dump_manifest(suit.Manifest(0, "1.0.0", "c", (component,)))
    for head in (other, suit.seal(manifest, {component.uri: data}, PROD)):
        assert "changed after it was signed" in refusal_of(head).sentence


def test_a_head_that_is_too_long_is_read_no_further() -> None:
    """Whatever it says of its length."""

    class Endless(io.BytesIO):
        def read(self, size_b: int | None = -1, /) -> bytes:
            assert size_b is not None and 0 < size_b <= suit.HEAD_MAX_B
            return super().read(size_b) or bytes(size_b)

    for length in ("001000 00", "7fffffff"):
        with pytest.raises(Refused, match="longer than"):
            build.read_head(Endless(suit.TAG + bytes.fromhex("a2025a" + length)), TRUST)


def test_a_build_that_waits_for_its_signature_is_refused() -> None:
    assert refusal_of(build_file(signer=packing.Nobody())).code == "key"


def test_a_key_signs_with_its_own_algorithm_alone() -> None:
    class Confused:
        alg, kid = DEV.alg, PROD.kid  # EdDSA's header over a key for ES256
        sign = staticmethod(PROD.sign)

    assert refusal_of(build_file(signer=Confused())).code == "signature"


def test_the_signature_is_looked_at_before_the_content() -> None:
    """A manifest and an index that would be refused anyway: what is said is that nobody has signed them."""
    for manifest, payloads in ((b"\xff", {}), (manifest_of(WHOLE), {"#app-x86_64": b"\xff", "#x": b""})):
        data = suit.seal(manifest, {**payloads, build.KEYRING: RING}, STRANGER)
        assert refusal_of(data).code == "key"


def manifest_of(data: bytes) -> bytes:
    return suit.read(head_of(data, None).raw).manifest


# -- the keyring -------------------------------------------------------------------------------------------------------


def test_a_newer_keyring_counts_at_once() -> None:
    bare = keyring.Trust(ROOT.public, None)
    assert head_of(WHOLE, bare).role == "prod"
    new = ring(2, prod=STRANGER)
    assert head_of(build_file(signer=STRANGER, keys=new)).role == "prod"
    assert refusal_of(build_file(signer=PROD, keys=new)).code == "key", "it is revoked by the build's own keyring"


def test_an_older_keyring_brings_no_key_back() -> None:
    trust = keyring.Trust(ROOT.public, ring(2, prod=STRANGER))
    assert refusal_of(WHOLE, trust).code == "key"
    assert trust.renewed(RING) is trust
    assert head_of(build_file(signer=STRANGER, keys=RING), trust).role == "prod"


def test_a_keyring_of_the_same_version_changes_nothing() -> None:
    assert TRUST.renewed(ring(1, prod=STRANGER)) is TRUST


def test_a_stored_keyring_that_is_damaged_is_none() -> None:
    newer = ring(3, prod=PROD)
    for damaged in (b"", b"\0", RING[:-1], RING + b"\0", newer[:-1] + bytes([newer[-1] ^ 1])):
        trust = keyring.Trust(ROOT.public, damaged)
        assert trust.version == 0 and not trust.keys
        assert head_of(WHOLE, trust).role == "prod", "the next build brings one"


@pytest.mark.promise("S8")
def test_a_keyring_with_any_byte_changed_is_refused() -> None:
    for at in range(len(RING)):
        changed = bytearray(RING)
        changed[at] ^= 0x01
        with pytest.raises(Refused):
            keyring.load(bytes(changed), ROOT.public)


def test_a_row_of_the_future_is_no_key_today() -> None:
    rows = [[b"k" * 8, "auditor", -50, b"k" * 1_000], [PROD.kid, "prod", PROD.alg, PROD.public]]
    rows[0][0] = sha256(rows[0][3]).digest()[:8]  # type: ignore[arg-type]
    data = keyring.seal(strict.dumps([1, 9, rows]), ROOT)
    assert [key.kid for key in keyring.load(data, ROOT.public).keys] == [PROD.kid]


@pytest.mark.parametrize(
    "rows",
    [
        [[b"12345678", "prod", -8, bytes(32)]],  # another key's name
        [[PROD.kid, "prod", -8, PROD.public]],  # another algorithm's key
        [[PROD.kid, "prod", -7]],
        [[PROD.kid, "prod", -7, PROD.public], [PROD.kid, "dev", -7, PROD.public]],
        [7],
        7,
    ],
    ids=range(6),
)
def test_a_keyring_with_a_row_that_is_wrong_is_refused(rows: object) -> None:
    with pytest.raises(Refused):
        keyring.load(keyring.seal(strict.dumps([1, 1, rows]), ROOT), ROOT.public)


@pytest.mark.parametrize("version", [0, -1, keyring.VERSION_MAX + 1, 2**63, 2**64 - 1])
def test_a_keyrings_version_can_be_counted(version: int) -> None:
    """Else the highest of all would revoke nothing any more."""
    row = [PROD.kid, "prod", PROD.alg, PROD.public]
    assert keyring.load(keyring.seal(strict.dumps([1, keyring.VERSION_MAX, [row]]), ROOT), ROOT.public).keys
    with pytest.raises(Refused, match="is not"):
        keyring.load(keyring.seal(strict.dumps([1, version, [row]]), ROOT), ROOT.public)


def test_a_keyring_has_64_keys_at_most() -> None:
    rows = [[cose.kid_of(key), "prod", cose.EDDSA, key] for key in (bytes([i]) * 32 for i in range(65))]
    assert len(keyring.load(keyring.seal(strict.dumps([1, 1, rows[:64]]), ROOT), ROOT.public).keys) == 64
    with pytest.raises(Refused, match="is not"):
        keyring.load(keyring.seal(strict.dumps([1, 1, rows]), ROOT), ROOT.public)


def test_the_root_signs_by_its_own_algorithm() -> None:
    class Other:
        alg, kid = PROD.alg, ROOT.kid
        sign = staticmethod(ROOT.sign)

    with pytest.raises(Refused) as caught:
        keyring.load(keyring.seal(keyring.payload(9, [("prod", PROD.alg, PROD.public)]), Other()), ROOT.public)
    assert caught.value.code == "key"


def test_a_keyring_that_is_too_long_is_not_read() -> None:
    content = strict.dumps([1, 1, [[PROD.kid, "prod", PROD.alg, PROD.public, bytes(keyring.KEYRING_MAX_B)]]])
    with pytest.raises(Refused, match="bytes, at most"):
        keyring.load(keyring.seal(content, ROOT), ROOT.public)


# -- the index ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "a//b", "a/", "../a", "a/../b", ".", "a/./b", "a\0b", "a\nb", "a\\b", "é" * 128, "a" * 256],
)
def test_no_path_leaves_the_slot(path: str) -> None:
    with pytest.raises(Refused):
        index.load(index.dump(index.Index({}, (index.File(path, False, ()),))))


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"], ["a", "a/b"], ["a", "a.b", "a/b/c"]])
def test_files_are_sorted_and_none_is_a_folder(paths: list[str]) -> None:
    with pytest.raises(Refused):
        index.load(index.dump(index.Index({}, tuple(index.File(path, False, ()) for path in paths))))


PIECE = index.Piece(b"d" * 32, 10, 5)


@pytest.mark.parametrize(
    "pieces",
    [
        (index.Piece(b"d" * 31, 10, 5),),
        (index.Piece(b"d" * 32, 0, 0),),
        (index.Piece(b"d" * 32, 10, 0),),
        (index.Piece(b"d" * 32, 10, 11),),
        (index.Piece(b"d" * 32, 65_537, 5),),
        (PIECE, replace(PIECE, size_b=9)),
        (PIECE, replace(PIECE, stored_b=6)),
    ],
    ids=range(7),
)
def test_a_piece_out_of_bounds_is_refused(pieces: tuple[index.Piece, ...]) -> None:
    with pytest.raises(Refused):
        index.load(index.dump(index.Index({}, (index.File("a", False, pieces),))))


def test_more_than_a_slot_holds_is_refused() -> None:
    full = index.File("a", False, (index.Piece(b"d" * 32, 65_536, 5),) * 4_097)
    with pytest.raises(Refused, match="unpacked"):
        index.load(index.dump(index.Index({}, (full,))))
    with pytest.raises(Refused, match="files"):
        index.load(index.dump(index.Index({}, tuple(index.File(f"{i:05}", False, ()) for i in range(20_001)))))


def test_an_index_at_its_bounds_is_read() -> None:
    full = index.File("a" * 255, False, (index.Piece(b"d" * 32, 65_536, 65_536),) * 4_096)
    small = index.File("a", True, (index.Piece(b"e" * 32, 1, 1),))
    for most in (
        index.Index({}, (full,)),
        index.Index({str(n): n for n in range(32)}, (small,)),
        index.Index({}, tuple(index.File(f"{i:05}", False, ()) for i in range(20_000))),
    ):
        assert index.load(index.dump(most)) == most


def test_one_piece_has_one_size_in_all_components() -> None:
    """Else nobody could tell where it lies in the file, or how it is unpacked."""
    digest = sha256(b"a" * 900).digest()
    parts = []
    for content, stored_b in ((app(), 20), (app("aarch64"), 21)):
        file = index.File("a", False, (index.Piece(digest, 900, stored_b),))
        parts.append((content, index.dump(index.Index(content.facts, (file,)))))
    components = [suit.Component(each.kind, each.name, sha256(data).digest(), len(data)) for each, data in parts]
    manifest = suit.dump_manifest(suit.Manifest(0, "1.0.0", "c", tuple(components)))
    payloads = {component.uri: data for component, (_, data) in zip(components, parts, strict=True)}
    with pytest.raises(Refused, match="two sizes"):
        head_of(suit.seal(manifest, payloads, PROD))


@pytest.mark.parametrize(
    "facts",
    [
        {"a": None}, {"a": b""}, {"a": {}}, {"a": [[1]]}, {"a": "a" * 256}, {"a": 1 << 63}, {"a": [1] * 33}, {1: 1},
        {str(i): 1 for i in range(33)},
    ],
)  # fmt: skip
def test_facts_are_few_and_plain(facts: dict[str, object]) -> None:
    with pytest.raises(Refused, match="fact"):
        index.load(strict.dumps([1, facts, []]))
    assert index.load(strict.dumps([1, {"a": "a" * 255, "b": [1] * 32}, []])).facts["b"] == [1] * 32


def test_an_index_of_another_version_is_refused() -> None:
    with pytest.raises(Refused, match="version 2"):
        index.load(strict.dumps([2, {}, []]))


@pytest.mark.parametrize(
    "content",
    [
        app(platform="riscv64"),
        app(version="1.0.1"),
        app(contract=[1, 2]),
        app(schema=["1"]),
        app(schema=7),
        app(python=3),
        packing.Content("app", "x86_64", {"version": "1.0.0"}, {}),
        packing.Content("modem", "x86_64", {"version": "1.0.0"}, {}),
        replace(firmware(), name="solo_modbus"),
        firmware(board="DUO", version="1.0.0"),
        firmware(pins_hash=7),
        firmware(version="1.0.1"),
        replace(firmware(board="x86_64"), kind="app"),
        replace(app(), kind="controller", name="duo_cm4"),
    ],
    ids=range(14),
)
def test_a_component_that_no_station_has_or_with_other_facts_is_refused(content: packing.Content) -> None:
    assert refusal_of(build_file(content)).code == "format"


def test_a_piece_that_is_too_long_for_a_chip_is_refused() -> None:
    content = firmware(files={"app.rom": b"r" * 5_000, "short": b"s" * 100})
    long = packing._indexed(replace(content, kind="app"), {})
    data = index.dump(replace(long, facts=content.facts))
    component = suit.Component("controller", "duo_cm4", sha256(data).digest(), len(data))
    manifest = suit.dump_manifest(suit.Manifest(0, "1.0.0", "c", (component,)))
    assert refusal_of(suit.seal(manifest, {component.uri: data}, PROD)).code == "format"


# -- the pieces --------------------------------------------------------------------------------------------------------


repetitive = st.builds(lambda data, times: data * times, st.binary(min_size=1, max_size=9), st.integers(1, 9_000))


@given(st.binary(min_size=1, max_size=9_000) | repetitive)
def test_a_piece_is_unpacked_as_it_was_packed(data: bytes) -> None:
    data = data[: index.PIECE_MAX_B]
    stored = build.pack(data)
    piece = index.Piece(sha256(data).digest(), len(data), len(stored))
    assert build.unpack(piece, stored) == data
    assert len(stored) <= len(data)
    if piece.is_deflated and len(data) <= index.CHIP_PIECE_MAX_B:
        assert zlib.decompress(stored, -build.CHIP_WINDOW_BITS) == data, "a chip inflates it, too"


@pytest.mark.promise("S8")
def test_a_piece_with_any_byte_changed_is_the_signed_one_or_refused() -> None:
    """Deflate ends within a byte: the bits after its end may be anything, what comes out may not."""
    rng = random.Random(7)
    for data in (b"text " * 800, rng.randbytes(600)):
        stored = build.pack(data)
        piece = index.Piece(sha256(data).digest(), len(data), len(stored))
        for at in range(len(stored)):
            changed = bytearray(stored)
            changed[at] ^= 1 << rng.randrange(8)
            try:
                assert build.unpack(piece, bytes(changed)) == data
            except Refused as refused:
                assert refused.code == "hash"
        for other in (b"", stored[:-1], stored + b"\0", stored * 2):
            refused_as_hash(piece, other)


def refused_as_hash(piece: index.Piece, stored: bytes) -> None:
    with pytest.raises(Refused) as caught:
        build.unpack(piece, stored)
    assert caught.value.code == "hash"


def test_a_piece_that_would_inflate_without_end_is_not_inflated() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = bomb.compress(bytes(50_000_000)) + bomb.flush()
    tracemalloc.start()
    try:
        refused_as_hash(index.Piece(b"d" * 32, 60_000, len(stored)), stored)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# -- which build a station takes ---------------------------------------------------------------------------------------


def code_of(head: build.Head, station: rules.Station, *waived: str) -> str:
    refused = rules.refusal(head, station, waived)
    return refused.code if refused else ""


def test_a_station_takes_the_build_that_is_made_for_it() -> None:
    assert code_of(HEAD, STATION) == ""


@pytest.mark.promise("S8")
def test_a_production_station_refuses_a_dev_build() -> None:
    head = head_of(build_file(signer=DEV))
    assert code_of(head, STATION) == "role"
    assert code_of(head, replace(STATION, is_production=False)) == ""


@pytest.mark.promise("S8")
def test_a_lower_security_sequence_is_refused_an_equal_one_taken() -> None:
    head = head_of(build_file(sequence=5))
    assert [code_of(head, replace(STATION, security_floor=floor)) for floor in (4, 5, 6)] == ["", "", "downgrade"]


def test_another_platform_or_board_is_refused() -> None:
    only = head_of(build_file(app("aarch64"), firmware()))
    assert code_of(only, STATION) == "platform"
    other = replace(STATION, board="solo_modbus")
    assert code_of(HEAD, other) == "", "its controller is not flashed from builds"
    assert code_of(HEAD, replace(other, needs_controller=True)) == "board"
    assert code_of(HEAD, replace(STATION, needs_controller=True)) == ""


def test_a_head_without_the_index_that_the_station_needs_is_refused() -> None:
    for wanted in ({("app", "aarch64")}, {("app", "x86_64")}):
        slim = build.load_head(build.slim(HEAD, wanted), TRUST)
        assert code_of(slim, STATION) == "format"
    both = build.slim(HEAD, {("app", "x86_64"), ("controller", "duo_cm4")})
    assert code_of(build.load_head(both, TRUST), STATION) == ""


def test_a_rollback_of_either_side_alone_still_charges() -> None:
    """New app with old firmware, old app with new firmware, both new: each pair must have a minor version in common."""
    old = replace(STATION, contract=(1, 2, 3), app_contract=(1, 2, 3))
    for app_range, chip_range, code in (
        ([1, 3, 4], [1, 3, 4], ""),
        ([1, 4, 4], [1, 3, 4], "contract"),
        ([1, 3, 4], [1, 4, 4], "contract"),
        ([1, 3, 3], [1, 2, 2], "contract"),
        ([2, 2, 3], [1, 2, 3], "contract"),
    ):
        head = head_of(build_file(app(contract=app_range), firmware(contract=chip_range)))
        assert code_of(head, old) == code, (app_range, chip_range)


def test_only_what_belongs_to_the_moment_can_be_waived() -> None:
    busy = replace(STATION, has_session=True)
    assert code_of(HEAD, busy) == "session"
    assert code_of(HEAD, busy, "session") == ""
    open_ = replace(STATION, interlock="The lid is open: close it.")
    assert [code_of(HEAD, open_, *waived) for waived in ((), ("session",), ("interlock",))] == ["interlock"] * 2 + [""]
    assert code_of(HEAD, replace(STATION, is_busy=True), "busy", "session") == "busy"
    dev = head_of(build_file(signer=DEV))
    assert code_of(dev, STATION, *EXITS) == "role"
    assert code_of(HEAD, replace(busy, security_floor=1), *EXITS) == "downgrade"


def test_what_lasts_is_said_before_what_passes() -> None:
    assert code_of(head_of(build_file(signer=DEV)), replace(STATION, has_session=True)) == "role"


# -- fuzz --------------------------------------------------------------------------------------------------------------

SEEDS = [HEAD.raw, head_of(build_file(app(files={"a": b"a" * 50}), keys=b"")).raw, RING]
INTERESTING = bytes.fromhex("00 01 17 18 19 1a 1b 1f 40 58 5b 5f 7f 80 9f a0 bf c2 d8 f6 ff")


def mutated(rng: random.Random) -> bytes:
    """A seed with a few bytes changed, cut out, put in, doubled or swapped with another seed's."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, size_b = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 200))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.choice(INTERESTING)])
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at : at + size_b]
            case 3:
                data[at:at] = rng.randbytes(size_b)
            case 4:
                data[at:at] = data[at : at + size_b]
            case _:
                other = rng.choice(SEEDS)
                data[at : at + size_b] = other[at : at + size_b]
    return bytes(data)


STRANGE: list[Any] = [
    None, True, 1.5, 0, 1, -1, 23, 24, 2**16, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), -(2**64),
    "", "a", "\0", "..", "a/../b", "/", "e" * 300, "\u202e", b"", b"a" * 8, b"a" * 31, b"a" * 32, bytes(65), [], {},
    {1: 1}, {"": ""}, [0] * 40, cbor2.undefined, cbor2.CBORTag(2, b"\1" * 9), cbor2.CBORSimpleValue(99),
]  # fmt: skip


def bent(value: Any, rng: random.Random) -> Any:
    """The same tree but for one place: another value or type, one more, one less, another order. Byte strings that
    hold CBOR are trees, too."""
    if isinstance(value, (list, dict)) and value and rng.random() < 0.9:
        return _bent_list(value, rng) if isinstance(value, list) else _bent_map(value, rng)
    if isinstance(value, bytes) and len(value) > 8 and rng.random() < 0.9:
        try:
            return strict.dumps(bent(strict.loads(value, "it", 10_000), rng))
        except Refused:
            at = rng.randrange(len(value))
            return rng.choice([value[:at], value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :], value + b"\0"])
    if isinstance(value, int) and rng.random() < 0.5:
        return max(-(2**64), min(value + rng.choice((-1, 1, 256)), 2**64 - 1))
    return rng.choice(STRANGE)


def _bent_list(value: list[Any], rng: random.Random) -> list[Any]:
    found, at, other = list(value), rng.randrange(len(value)), rng.randrange(len(value))
    match rng.randrange(9):
        case 0:
            del found[at]
        case 1:
            found.insert(at, rng.choice(STRANGE))
        case 2:
            found.insert(other, found[at])
        case 3:
            found[at], found[other] = found[other], found[at]
        case _:
            found[at] = bent(found[at], rng)
    return found


def _bent_map(value: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    found, key = dict(value), rng.choice(list(value))
    match rng.randrange(6):
        case 0:
            del found[key]
        case 1:
            found[rng.choice([0, 5, 24, -1, 2**64 - 1, "", "#x", "z", b"k"])] = found[key]
        case _:
            found[key] = bent(found[key], rng)
    return found


def written(value: Any, rng: random.Random) -> bytes:
    """Deterministic, as a rule."""
    return strict.dumps(value) if rng.random() < 0.9 else cbor2.dumps(value)


def resigned(rng: random.Random) -> bytes:
    """What only the holder of a key could send: one layer is hostile, all hashes and signatures above it are right."""
    payloads = dict(suit.read(HEAD.raw).payloads)
    manifest = manifest_of(WHOLE)
    layer = rng.choice(("manifest", "index", "index", "keyring", "header", "wrapper", "envelope", "bytes"))
    if layer == "manifest":
        manifest = written(bent(strict.loads(manifest, "it", suit.HEAD_MAX_B), rng), rng)
    elif layer in ("index", "bytes"):
        manifest = _with_index(payloads, layer == "bytes", rng)
    elif layer == "keyring":
        block = cose.load(RING, "it")
        rows = bent(strict.loads(block.payload or b"", "it", 10_000), rng)
        payloads["#keyring"] = keyring.seal(written(rows, rng), ROOT)
    elif layer == "header":
        protected = written(bent({cose.ALG: PROD.alg, cose.KID: PROD.kid}, rng), rng)
        message = cose.to_be_signed(protected, suit._suit_digest(manifest))
        block = cose.Sign1(protected, None, PROD.sign(message), 0, None)
        return suit.with_payloads(replace(suit.read(HEAD.raw), block=block), payloads)
    head = suit.seal(manifest, payloads, PROD)
    if layer in ("wrapper", "envelope"):
        outer = cbor2.loads(head[len(suit.TAG) :])
        if layer == "wrapper":
            outer[suit.AUTHENTICATION] = written(bent(strict.loads(outer[2], "it", 10_000), rng), rng)
        else:
            outer = bent(outer, rng)
        head = suit.TAG + written(outer, rng)
    return head


def _with_index(payloads: dict[str, bytes], is_raw: bool, rng: random.Random) -> bytes:
    """The manifest of one hostile index among the others, which it replaces in `payloads`."""
    found = suit.load_manifest(manifest_of(WHOLE))
    wanted = rng.choice(found.components)
    data = payloads[wanted.uri]
    if is_raw:
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.choice(INTERESTING)]) + data[at + 1 :]
    else:
        data = written(bent(strict.loads(data, "it", suit.HEAD_MAX_B), rng), rng)
    payloads[wanted.uri] = data
    changed = replace(wanted, digest=sha256(data).digest(), size_b=len(data))
    components = tuple(changed if each is wanted else each for each in found.components)
    return suit.dump_manifest(replace(found, components=components))


def fuzz(seeds: range, trust: Trust = TRUST) -> tuple[int, Counter[str]]:
    """How many were taken, and what the others were refused for. Of those taken every reader makes what it makes of any
    build: the rules, the plan, the numbers of the pieces."""
    taken, refusals = 0, Counter[str]()
    for seed in seeds:
        rng = random.Random(seed)
        for data in (mutated(rng), resigned(rng)):
            try:
                head = build.load_head(data, trust)
            except Refused as refused:
                assert refused.exit == 5, seed
                refusals[re.sub(r"wrong: .*|[0-9a-f]{16}|\d+", "", refused.sentence, flags=re.DOTALL)[:70]] += 1
                continue
            taken += 1
            assert is_honest(head, trust), seed
            rules.refusal(head, STATION)
            wanted_files(head, STATION)
            assert len(numbered(head)) >= (len(build.pieces_of(head)) if head.is_whole else 0), seed
    return taken, refusals


def is_honest(head: build.Head, trust: Trust) -> bool:
    """Signed by the key it names, and each index the one that the manifest names."""
    trust = trust.renewed(head.keyring)
    envelope = suit.open_envelope(head.raw, lambda alg, kid, *signed: trust.key(kid).check(alg, *signed))
    digests = {component.uri: component.digest for component in suit.load_manifest(envelope.manifest).components}
    return all(sha256(data).digest() == digests[name] for name, data in envelope.payloads.items() if name in digests)


def seen(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below, with its length and the time of its last write."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*") if path.name != "log"}


def hostile_flashes(root: Path, seeds: range) -> None:
    """A station's engine gets them as heads of builds; what it takes is abandoned again."""
    (root / ROOT_KEY).write_bytes(ROOT.public)
    engine = Engine(root, STATION, choice=root / "slot", probe=lambda tree: "")
    before = seen(root)
    for seed in seeds:
        rng = random.Random(seed)
        for each in (mutated(rng), resigned(rng)):
            try:
                engine.begin(each)
            except Refused:
                assert seen(root) == before, seed
            else:
                engine.abandon()
                before = seen(root)


@pytest.mark.promise("S8")
def test_no_refused_build_has_touched_a_slot(tmp_path: Path) -> None:
    hostile_flashes(tmp_path, range(100))


@pytest.mark.long
@pytest.mark.promise("S8")
def test_of_thousands_of_mutated_builds_none_that_was_refused_has_touched_a_slot(tmp_path: Path) -> None:
    hostile_flashes(tmp_path, range(100, 20_100))


@pytest.mark.promise("S8")
def test_a_mutated_build_is_refused_or_says_what_was_signed() -> None:
    taken, refusals = fuzz(range(700))
    assert taken > 50 and len(refusals) > 20, "most of them are stopped by the same check"


@pytest.mark.long
@pytest.mark.promise("S8")
def test_two_hundred_thousand_mutated_builds_are_refused_or_say_what_was_signed() -> None:
    """Half of them are signed, and hostile inside."""
    taken, refusals = fuzz(range(1_000, 101_000))
    assert taken > 5_000 and len(refusals) > 40
    print("taken:", taken, *refusals.most_common(), sep="\n")
