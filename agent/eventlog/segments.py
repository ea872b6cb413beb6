"""The event log's files: append-only segments, each readable by itself, bounded all together.

Nothing here is worth a word to anybody who charges: a disk that refuses, or has little room, loses log. Nothing is
synced before a segment ends, so a power cut costs what the kernel has not written yet (some 35 s), and what is torn
then is dropped by whoever reads. What is written again is only ever a new file.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.eventlog.entries import MAGIC

SEGMENT_MAX_B = 512 * 1024
SEGMENT_MAX_S = 86_400.0
TOTAL_MAX_B = 32 * 1024 * 1024
ROOM_B = 48 * 1024 * 1024  # of the disk: less is left to the database and to builds
PAGE_B = 4096  # a small file takes as much
NAME = re.compile(r"(\d{8})\.events")
PRIVATE = 0o600


class Append:
    """The file operations, one by one; a test makes them fail. OSError."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size_b: int) -> None:
        os.ftruncate(fd, size_b)

    def close(self, fd: int) -> None:
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def free_b(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize


class Segments:
    """`append` a block; begin a new file when is_full says so, and at each start. Oldest files make room."""

    def __init__(self, folder: Path, files: Append | None = None, total_max_b: int = TOTAL_MAX_B) -> None:
        self._folder, self._files, self._total_max_b = folder, files or Append(), total_max_b
        self._fd: int | None = None
        self._size_b = 0
        self._began_at = 0.0
        self.number = 0  # of the newest; 0: there is none
        self.problem = ""  # why the last block is lost

    @property
    def is_begun(self) -> bool:
        """A block stands in the newest file, and another one may follow it."""
        return self._fd is not None and self._size_b > len(MAGIC)

    def is_full(self, more_b: int, now: float) -> bool:
        return self._size_b + more_b > SEGMENT_MAX_B or now >= self._began_at + SEGMENT_MAX_S

    def append(self, block: bytes, now: float) -> bool:
        """Whether all of it is in the file. Where not, the file is as before, or it is ended."""
        try:
            self._make_room(len(block))
            if self._fd is None:
                self._begin(now)
            self._write(block)
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self.problem = ""
        return True

    def end(self) -> None:
        """The next block begins another file."""
        fd, self._fd = self._fd, None
        self._size_b = 0
        if fd is not None:
            with suppress(OSError):
                self._files.close(fd)

    def _begin(self, now: float) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        newest = max((number_of(path) for path in found(self._folder)), default=0)
        self.number = max(newest, self.number) + 1
        self._fd = self._files.open(self._folder / f"{self.number:08}.events")
        self._began_at, self._size_b = now, 0
        self._write(MAGIC)

    def _write(self, data: bytes) -> None:
        """All of it, or what was there before."""
        assert self._fd is not None
        done_b = 0
        try:
            while done_b < len(data):
                done_b += self._files.write(self._fd, data[done_b:])
        except OSError:
            self._undo(done_b)
            raise
        self._size_b += len(data)

    def _undo(self, done_b: int) -> None:
        assert self._fd is not None
        try:
            if done_b:
                self._files.truncate(self._fd, self._size_b)
        except OSError:  # what is torn there ends what can be read of this file
            self.end()
        if self._size_b == 0:
            self.end()

    def _make_room(self, more_b: int) -> None:
        """OSError: there is none to be had."""
        if not self._folder.exists():
            return
        files = found(self._folder)
        sizes = [taken_b(path) for path in files]
        while len(files) > 1 and (self._lacks_room() or sum(sizes) + more_b > self._total_max_b):
            self._files.remove(files.pop(0))
            sizes.pop(0)
        if self._lacks_room():
            raise OSError(0, "the disk has little room left, and that is kept for records")

    def _lacks_room(self) -> bool:
        return self._files.free_b(self._folder) < ROOM_B


def found(folder: Path) -> list[Path]:
    """The oldest first. What others have put there is nobody's."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def number_of(path: Path) -> int:
    return int(path.name[:8])


def taken_b(path: Path) -> int:
    try:
        return max(PAGE_B, path.stat().st_size)
    except OSError:
        return 0


def newest(folder: Path, most_b: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the newest files that fit, the newest first. A file that goes meanwhile is left out."""
    for path in reversed(found(folder)):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if len(data) > most_b:
            return
        most_b -= len(data)
        yield path.name, data


