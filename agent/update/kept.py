"""What has come of something that is not whole yet: a file that outlives the process, so that of a flash which is cut
there no more than one window is sent twice.

    records of   size u32 | crc32 u32 | data      little endian; the first one's data begins with the digest, 32 bytes

Nothing is synced: after a power cut the records that are whole count, and what they lead to has a hash of its own. A
disk that refuses costs bytes on the line, no more.
"""

import os
from contextlib import suppress
from pathlib import Path
from zlib import crc32

DIGEST_B, HEADER_B = 32, 8
FILE_MAX_B = 2 << 20


class Kept:
    def __init__(self, path: Path | None = None) -> None:
        """`path` None: in memory alone."""
        self.digest = b""  # of the whole; b"" = nothing is on its way
        self.data = bytearray()
        self._path, self._fd = path, -1
        if path is not None:
            self._load(path)

    def begin(self, digest: bytes, data: bytes = b"") -> None:
        """Something new; what was kept is gone."""
        self.digest, self.data = digest, bytearray(data)
        self._close()
        if self._path is None:
            return
        with suppress(OSError):
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if digest:
                self._write(digest + data)

    def add(self, data: bytes) -> None:
        self.data += data
        if self._fd >= 0:
            try:
                self._write(data)
            except OSError:
                self._close()

    def close(self) -> None:
        """What is kept stays."""
        self._close()

    def _write(self, data: bytes) -> None:
        record = len(data).to_bytes(4, "little") + crc32(data).to_bytes(4, "little") + data
        if os.write(self._fd, record) != len(record):
            raise OSError("the disk is full")

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self, path: Path) -> None:
        found, end_b = b"", 0
        with suppress(OSError):
            content = path.read_bytes()[:FILE_MAX_B]
            while (data := _record(content, end_b)) is not None:
                found += data
                end_b += HEADER_B + len(data)
            if len(found) >= DIGEST_B:
                self._fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                os.truncate(self._fd, end_b)
                os.lseek(self._fd, end_b, os.SEEK_SET)
                self.digest, self.data = found[:DIGEST_B], bytearray(found[DIGEST_B:])


def _record(content: bytes, at: int) -> bytes | None:
    size_b = int.from_bytes(content[at : at + 4], "little")
    data = content[at + HEADER_B : at + HEADER_B + size_b]
    is_whole = 0 < size_b == len(data) and crc32(data) == int.from_bytes(content[at + 4 : at + HEADER_B], "little")
    return data if is_whole else None
