"""A build: its head (a SUIT envelope with an index per component), then the stored pieces back to back.

A head may travel without the indexes that its reader does not need (slim()): the manifest signs each by its digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from agent.update.index import Index, Piece
from agent.update.keyring import Trust

KEYRING = "#keyring"
APP, CONTROLLER = "app", "controller"
PLATFORMS = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True)
class Head:
    version: str
    commit: str
    security_sequence: int
    kid: bytes
    role: str  # of the key that signed it: "prod" or "dev"; "" if nobody has verified it
    keyring: bytes  # as it travels with the build; b"": none
    components: Mapping[tuple[str, str], Index]  # ("app", "x86_64"), ("controller", "duo_cm4"); those with their index
    named: tuple[tuple[str, str], ...]  # all that are signed, in the order of their pieces
    digest: bytes  # SHA-256 of the manifest: what a boot state or a resumed flash knows this build by
    raw: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.components) == len(self.named)


def read_head(stream: BinaryIO, trust: Trust) -> Head:
    """Reads exactly the head, the signature first; the pieces follow in the stream. Refused."""
    raise NotImplementedError


def load_head(data: bytes, trust: Trust | None) -> Head:
    """The same for a head that is all there is. `trust` None: nobody verifies, for `inspect`."""
    raise NotImplementedError


def slim(head: Head, wanted: set[tuple[str, str]]) -> bytes:
    """The head with the indexes of these components alone; still signed."""
    raise NotImplementedError


def pieces_of(head: Head) -> dict[bytes, tuple[int, Piece]]:
    """Each piece's place in the file, counted from the end of the head. The head must be whole."""
    raise NotImplementedError


def unpack(piece: Piece, stored: bytes) -> bytes:
    """The piece's bytes, verified; never inflates more than the piece is long. Refused("hash")."""
    raise NotImplementedError


def pack(data: bytes) -> bytes:
    """As it is stored: raw deflate, or `data` itself where that is not shorter. A function of the content alone."""
    raise NotImplementedError
