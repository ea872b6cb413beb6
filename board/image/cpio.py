"""An initramfs as the kernel unpacks it. Made here, for then it takes no root to hold /dev."""

import os
import stat
from pathlib import Path


class Cpio:
    """The "newc" format of cpio(5)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._number = 0
        self._folders = {"."}

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        parent = os.path.dirname(name)
        if parent and parent not in self._folders:
            self.add(parent, stat.S_IFDIR | 0o755)
        if stat.S_ISDIR(mode):
            if name in self._folders:
                return
            self._folders.add(name)
        self._number += 1
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        self._file.write(b"070701" + b"".join(b"%08x" % field for field in fields))
        self._padded(name.encode() + b"\0", before=110)
        self._padded(data)

    def close(self) -> None:
        self.add("TRAILER!!!", 0)
        self._file.close()

    def _padded(self, data: bytes, before: int = 0) -> None:
        self._file.write(data + b"\0" * (-(before + len(data)) % 4))
