"""What has come of something that is not whole yet, or not written where it belongs: it outlives the process, so that
of a flash which is cut there no more than one window is sent twice.

    records of   size u32 | crc32 u32 | digest, 32 bytes | at u32 | data      little endian; `size`: what follows crc32

Two files, written in turn: what still counts is copied into the other one before the first is emptied, so that a
process may be killed between any two calls. A record counts if it goes on where those before it have ended. Nothing
is synced, and no file is closed after it was emptied (ext4 would write it at once): what is short-lived hardly reaches
the flash. After a power cut the records that are whole count, and what they lead to has a hash of its own. A disk that
refuses costs bytes on the line, no more.
"""

import os
from collections.abc import Collection
from pathlib import Path
from zlib import crc32

DIGEST_B, HEADER_B, AT_B = 32, 8, 4
FILE_MAX_B = 4 << 20  # what is read of one
FULL_B = 2 << 20  # then it is copied, though much of it still counts


class Kept:
    """`data`: digest of the whole -> its first bytes, oldest first."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: of the first file; the other one has `~` behind it. None: in memory alone."""
        self.data: dict[bytes, bytearray] = {}
        self._fds: list[int] = []  # the one that is written first; empty: nothing is on a disk
        self._end_b = 0  # of that one
        if path is not None:
            self._open(path)

    def add(self, digest: bytes, data: bytes) -> None:
        """What comes next of that whole."""
        kept = self.data.setdefault(digest, bytearray())
        self._write(digest, len(kept), data)
        kept += data
        if self._end_b > FULL_B:
            self._copy()

    def drop(self, digest: bytes) -> None:
        """It is where it belongs, or is not wanted."""
        if self.data.pop(digest, None) is not None and len(self.data) <= 1:
            self._copy()

    def only(self, digests: Collection[bytes]) -> None:
        """All others are not wanted."""
        if gone := self.data.keys() - set(digests):
            for digest in gone:
                del self.data[digest]
            self._copy()

    def close(self) -> None:
        """What is kept stays."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def _write(self, digest: bytes, at: int, data: bytes) -> None:
        content = digest + at.to_bytes(AT_B, "little") + data
        record = len(content).to_bytes(4, "little") + crc32(content).to_bytes(4, "little") + content
        if not self._fds:
            return
        try:
            if os.pwrite(self._fds[0], record, self._end_b) != len(record):
                raise OSError("the disk is full")
            self._end_b += len(record)
        except OSError:
            self.close()

    def _copy(self) -> None:
        """What counts goes into the other file, and then the first is empty."""
        self._fds.reverse()
        self._end_b = 0
        for digest, data in self.data.items():
            self._write(digest, 0, bytes(data))
        try:
            for fd in self._fds[1:]:
                os.ftruncate(fd, 0)
        except OSError:
            self.close()

    def _open(self, path: Path) -> None:
        """Of two files that both have something one was cut amid a copy: the other one has all of it."""
        found = []
        try:
            for each in (path, path.with_name(f"{path.name}~")):
                fd = os.open(each, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                self._fds.append(fd)
                data, end_b = _loaded(os.pread(fd, FILE_MAX_B, 0))
                found.append((sum(map(len, data.values())), end_b, fd, data))
            (_, self._end_b, fd, self.data), (_, _, empty, _) = sorted(found, key=lambda each: each[:2], reverse=True)
            self._fds = [fd, empty]
            os.ftruncate(fd, self._end_b)
            os.ftruncate(empty, 0)
        except OSError:
            self.close()


def _loaded(content: bytes) -> tuple[dict[bytes, bytearray], int]:
    """What a file has, and where its last whole record ends."""
    data: dict[bytes, bytearray] = {}
    end_b = 0
    while (found := _record(content, end_b)) is not None:
        end_b += HEADER_B + len(found)
        kept = data.setdefault(found[:DIGEST_B], bytearray())
        if int.from_bytes(found[DIGEST_B : DIGEST_B + AT_B], "little") == len(kept):
            kept += found[DIGEST_B + AT_B :]
    return data, end_b


def _record(content: bytes, at: int) -> bytes | None:
    size_b = int.from_bytes(content[at : at + 4], "little")
    data = content[at + HEADER_B : at + HEADER_B + size_b]
    is_whole = DIGEST_B + AT_B <= size_b == len(data)
    return data if is_whole and crc32(data) == int.from_bytes(content[at + 4 : at + HEADER_B], "little") else None
