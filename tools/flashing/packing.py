"""From files to a build: pure. The same files give the same bytes, wherever they are packed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.update import build, cose, index, suit
from agent.update.refusal import Refused

UNSIGNED = bytes(cose.KID_B)  # the name of no key, in a build that waits for its signature


@dataclass(frozen=True, slots=True)
class Content:
    """One component, unpacked."""

    kind: str
    name: str
    facts: Mapping[str, Any]
    files: Mapping[str, tuple[bytes, bool]]  # by path: content, executable


@dataclass(frozen=True, slots=True)
class Unsigned:
    """All of a build but its signature; the same for the same content."""

    manifest: bytes
    payloads: Mapping[str, bytes]
    pieces: bytes  # as stored, back to back


class Nobody:
    """Signs what is to be signed later."""

    alg, kid = cose.EDDSA, UNSIGNED

    def sign(self, message: bytes) -> bytes:
        return bytes(cose.SIGNATURE_B)


def packed(version: str, commit: str, sequence: int, contents: Iterable[Content]) -> Unsigned:
    stored: dict[bytes, bytes] = {}  # by digest, in order of first appearance
    components, payloads = [], {}
    for content in contents:
        data = index.dump(_indexed(content, stored))
        index.load(data)  # whatever no station takes is refused here, not there
        component = suit.Component(content.kind, content.name, sha256(data).digest(), len(data))
        components.append(component)
        payloads[component.uri] = data
    manifest = suit.dump_manifest(suit.Manifest(sequence, version, commit, tuple(components)))
    return Unsigned(manifest, payloads, b"".join(stored.values()))


def sealed(unsigned: Unsigned, keyring: bytes, signer: cose.Signer) -> bytes:
    """The whole file."""
    payloads = {**unsigned.payloads, **({build.KEYRING: keyring} if keyring else {})}
    head = suit.seal(unsigned.manifest, payloads, signer)
    if len(head) > suit.HEAD_MAX_B:
        raise Refused("format", f"the head has {len(head)} bytes, a station takes {suit.HEAD_MAX_B}: leave files out")
    return head + unsigned.pieces


def _indexed(content: Content, stored: dict[bytes, bytes]) -> index.Index:
    """Adds what is new to `stored`."""
    most = index.CHIP_PIECE_MAX_B if content.kind == build.CONTROLLER else index.PIECE_MAX_B
    files = []
    for path, (data, executable) in sorted(content.files.items()):
        pieces = tuple(_piece(data[at : at + most], stored) for at in range(0, len(data), most))
        files.append(index.File(path, executable, pieces))
    return index.Index(content.facts, tuple(files))


def _piece(data: bytes, stored: dict[bytes, bytes]) -> index.Piece:
    digest = sha256(data).digest()
    if digest not in stored:
        stored[digest] = build.pack(data)
    return index.Piece(digest, len(data), len(stored[digest]))
