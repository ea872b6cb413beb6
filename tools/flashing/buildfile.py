"""A build's file on the laptop: its head, and any of its pieces by number, as a device wants them."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from agent.update import build
from agent.update.build import Head
from agent.update.index import Piece
from agent.update.keyring import Trust
from agent.update.protocol import numbered
from agent.update.refusal import Refused


class BuildFile:
    """Open for as long as the object is. Many stations may read from it at once: each reads with its own position."""

    def __init__(self, path: Path) -> None:
        """Refused: no build, or none that this tool knows. Nobody has verified the signature: see verified()."""
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
            self.size_b = path.stat().st_size
        except OSError as error:
            raise Refused("usage", f"{path} cannot be opened ({error.strerror}): name a build's file") from None
        try:
            self.head: Head = build.read_head(self._file, None)
            self._places = self._checked()
        except Refused:
            self._file.close()
            raise

    def _checked(self) -> dict[bytes, tuple[int, Piece]]:
        """Where each piece lies."""
        if not self.head.is_whole:
            raise Refused("format", f"{self.path} is a head without its build: flash the file that build has made")
        places = build.pieces_of(self.head)
        stored_b = sum(piece.stored_b for _, piece in places.values())
        if self.size_b != len(self.head.raw) + stored_b:
            raise Refused("format", f"{self.path} has {self.size_b} bytes and not those of its build: copy it anew")
        return places

    def verified(self, trust: Trust) -> Head:
        """The same head, its signature checked. Refused."""
        return build.load_head(self.head.raw, trust)

    def slim(self, platform: str, board: str) -> bytes:
        """The head as a station of this kind wants it."""
        names = {("app", platform), ("controller", board)} & set(self.head.named)
        if not names:
            raise Refused("platform", f"{self.path} has nothing for {platform}: make a build for it")
        return build.slim(self.head, names)

    def read(self, offset: int, size_b: int) -> bytes:
        """Of the file, wherever others read."""
        data = os.pread(self._file.fileno(), size_b, offset)
        if len(data) != size_b:
            raise Refused("usage", f"{self.path} became shorter while it was read: copy it anew")
        return data

    def pieces(self, slim: bytes, wanted: Iterable[int]) -> "Pieces":
        """The pieces with these numbers, of what that head holds."""
        all_ = numbered(build.load_head(slim, None))
        return Pieces(self, [all_[number] for number in wanted])

    def place(self, piece: Piece) -> int:
        """Its offset in the file."""
        return len(self.head.raw) + self._places[piece.digest][0]

    def close(self) -> None:
        self._file.close()


class Pieces:
    """Some pieces back to back, as one run of bytes."""

    def __init__(self, file: BuildFile, pieces: Sequence[Piece]) -> None:
        self._file, self.pieces = file, pieces
        self._starts = list(accumulate((piece.stored_b for piece in pieces), initial=0))
        self.size_b = self._starts.pop()

    def read(self, at_b: int, size_b: int) -> bytes:
        data = b""
        while len(data) < size_b:
            number = bisect_right(self._starts, at_b + len(data)) - 1
            within = at_b + len(data) - self._starts[number]
            piece = self.pieces[number]
            size = min(size_b - len(data), piece.stored_b - within)
            data += self._file.read(self._file.place(piece) + within, size)
        return data
