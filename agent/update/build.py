"""A build: its head (a SUIT envelope with an index per component), then the stored pieces back to back.

A head may also travel without the indexes that its reader does not need (slim()): the manifest signs each of them.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, NoReturn

from agent.update import index, suit
from agent.update.index import CHIP_PIECE_MAX_B, Index, Piece
from agent.update.keyring import Trust
from agent.update.refusal import Refused

KEYRING = "#keyring"
APP, CONTROLLER = "app", "controller"
PLATFORMS = ("x86_64", "aarch64")
BOARD = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)  # as board files are named
LEVEL = 9  # of deflate: a build is made once, and sent often
WINDOW_BITS, CHIP_WINDOW_BITS = 15, 12  # a piece of a controller image is inflated by its chip

Id = tuple[str, str]  # ("app", platform) or ("controller", board)


@dataclass(frozen=True, slots=True)
class Head:
    version: str
    commit: str
    security_sequence: int
    kid: bytes | None  # of the key that signed it
    role: str  # of that key: "prod" or "dev"; "" if nobody has verified it
    keyring: bytes  # as it travels with the build; b"" without one
    components: Mapping[Id, Index]  # those that have their index here
    named: tuple[Id, ...]  # all that are signed, in the order of their pieces in the file
    digest: bytes  # SHA-256 of the manifest: the name of this build in a boot state, or for a flash that goes on
    raw: bytes  # the envelope as read; the pieces follow it in the file

    @property
    def is_whole(self) -> bool:
        return len(self.components) == len(self.named)


# -- the head --------------------------------------------------------------------------------------------------------


def read_head(stream: BinaryIO, trust: Trust | None) -> Head:
    """Reads the head and not a byte more: the pieces follow. As load_head()."""
    return load_head(suit.head_bytes(stream), trust)


def load_head(data: bytes, trust: Trust | None) -> Head:
    """The signature first, then what is signed. `trust` None: nobody verifies it, for `inspect`. Refused.

    A newer keyring that comes with the build counts at once: it revokes, or knows the key that signed the build."""
    envelope = suit.read(data)
    keyring = envelope.payloads.get(KEYRING, b"")
    kid, role = envelope.block.kid, ""
    if trust is not None:
        key = trust.renewed(keyring).key(kid)
        suit.check(envelope, lambda alg, _, message, signature: key.check(alg, message, signature))
        role = key.role
    manifest = suit.load_manifest(envelope.manifest)
    components = _components(manifest, envelope.payloads)
    if unknown := envelope.payloads.keys() - {KEYRING, *(component.uri for component in manifest.components)}:
        _bad(f"{min(unknown)[:80]!r} belongs to no component")
    named = tuple((component.kind, component.name) for component in manifest.components)
    return Head(
        manifest.version, manifest.commit, manifest.sequence, kid, role, keyring, components, named,
        envelope.digest, data,
    )  # fmt: skip


def slim(head: Head, wanted: set[Id]) -> bytes:
    """The head with the indexes of these components alone, as signed as before: a station's line is slow."""
    envelope = suit.read(head.raw)
    keep = {KEYRING, *(f"#{kind}-{name}" for kind, name in wanted)}
    return suit.with_payloads(envelope, {name: data for name, data in envelope.payloads.items() if name in keep})


def _components(manifest: suit.Manifest, payloads: Mapping[str, bytes]) -> dict[Id, Index]:
    found: dict[Id, Index] = {}
    known: dict[bytes, Piece] = {}
    for component in manifest.components:
        if not _is_known(component.kind, component.name):
            _bad(f"no station has a component {component.kind!r}, {component.name!r}")
        data = payloads.get(component.uri)
        if data is None:
            continue
        if len(data) != component.size_b or sha256(data).digest() != component.digest:
            raise Refused("signature", f"the index {component.uri} was changed after it was signed: fetch it anew")
        content = index.load(data)
        _check_facts(component.kind, component.name, manifest.version, content)
        if any(known.setdefault(digest, piece) != piece for digest, piece in content.pieces().items()):
            _bad("one piece is there with two sizes")
        found[component.kind, component.name] = content
    if not found:
        _bad("it has no index at all")
    return found


def _is_known(kind: str, name: str) -> bool:
    return (kind == APP and name in PLATFORMS) or (kind == CONTROLLER and BOARD.fullmatch(name) is not None)


def _check_facts(kind: str, name: str, version: str, content: Index) -> None:
    match dict(content.facts):
        case {"version": said, "contract": [int(), int(), int()], "build_time_s": int(), "python": str()} if (
            kind == APP and said == version and _is_numbers(content.facts.get("schema"))
        ):
            return
        case {"version": said, "contract": [int(), int(), int()], "board": board, "pins_hash": str()} if (
            kind == CONTROLLER and said == version and board == name
        ):
            if all(piece.size_b <= CHIP_PIECE_MAX_B for piece in content.pieces().values()):
                return
    _bad(f"the facts of {kind} {name} are not those of this build")


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _bad(why: str) -> NoReturn:
    raise Refused("format", f"this is no build for this software, or a damaged one ({why}): fetch it anew")


# -- the pieces --------------------------------------------------------------------------------------------------------


def pieces_of(head: Head) -> dict[bytes, tuple[int, Piece]]:
    """Each piece's place in the file, counted from the end of the head, which must be whole."""
    assert head.is_whole, "only the whole head knows where a piece lies"
    found: dict[bytes, tuple[int, Piece]] = {}
    offset = 0
    for name in head.named:
        for digest, piece in head.components[name].pieces().items():
            if digest not in found:
                found[digest] = offset, piece
                offset += piece.stored_b
    return found


def pack(data: bytes) -> bytes:
    """As it is stored: raw deflate, or `data` itself where that is no shorter. All that is short enough for a chip
    keeps to a chip's window, so that the form depends on the content alone."""
    bits = CHIP_WINDOW_BITS if len(data) <= CHIP_PIECE_MAX_B else WINDOW_BITS
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -bits, memLevel=9)
    stored = deflate.compress(data) + deflate.flush()
    return stored if len(stored) < len(data) else data


def unpack(piece: Piece, stored: bytes) -> bytes:
    """The piece's bytes, verified; nothing is inflated beyond its length. Refused("hash")."""
    data = _inflated(stored, piece.size_b) if piece.is_deflated else stored
    if len(stored) != piece.stored_b or len(data) != piece.size_b or sha256(data).digest() != piece.digest:
        raise Refused("hash", "a piece of the build is not what was signed: fetch the build anew")
    return data


def _inflated(stored: bytes, size_b: int) -> bytes:
    """At most a byte more than `size_b`; b"" for what is damaged."""
    try:
        return zlib.decompressobj(-WINDOW_BITS).decompress(stored, size_b + 1)
    except zlib.error:
        return b""
