"""The file operations that durability hangs on, one by one; a test cuts the power between any two.

Standard library only: what runs before the agent (agent/update/launcher.py) writes with it, too.
"""

import os
from pathlib import Path

PRIVATE, SHARED, EXECUTABLE = 0o600, 0o644, 0o755  # modes: keys and lists; what other users of ours read; programs


class Files:
    """On the real disk. Nothing here is durable before sync() has returned. OSError."""

    def write(self, path: Path, data: bytes, mode: int = PRIVATE) -> None:
        """All of the file. Not through a link: where others may make names, `path` might lead anywhere."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
            file.write(data)

    def shape(self, path: Path, size_b: int, mode: int) -> None:
        """The file is there, of this size and mode; what it holds up to there stays."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, mode), "wb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size_b:
                file.truncate(size_b)
            os.fchmod(file.fileno(), mode)

    def write_at(self, path: Path, offset_b: int, data: bytes) -> None:
        """A part of a file that is there."""
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            while data:
                done_b = os.pwrite(fd, data, offset_b)
                data, offset_b = data[done_b:], offset_b + done_b
        finally:
            os.close(fd)

    def sync(self, path: Path) -> None:
        """A file's content, or the names in a directory."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def forget(self, path: Path) -> None:
        """The next read comes from the disk, not from memory; after sync()."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Its parent is there."""
        path.mkdir(mode=EXECUTABLE, exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        """It is empty."""
        path.rmdir()


DISK = Files()


def beginning(path: Path, most_b: int) -> bytes:
    """Of a file in somebody else's folder. Never waits, whatever he has put there: a pipe gives nothing. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return os.read(fd, most_b)
    finally:
        os.close(fd)


def put(path: Path, data: bytes, new: Path | None = None, files: Files = DISK, mode: int = PRIVATE) -> None:
    """`path` holds all of `data`, durably, or what it held before. `new` is written first, in the same folder; a cut
    may leave it there, and the next put() takes it. OSError."""
    new = new or path.with_name(f"{path.name}.new")
    files.write(new, data, mode)
    files.sync(new)
    files.rename(new, path)
    files.sync(path.parent)
