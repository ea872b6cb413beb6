"""What boot part and firmware both need on a PC, each in a copy of its own: flash, files, the pins bus.

Frames on the bus, either way: b"P", uint8 n, n x int32 little endian.

    in   clock_ms, then the firmware's `inputs`     clock_ms >= 0: one step at that time, answered by one frame
                                                    clock_ms = -1: run freely, every 10 ms by the chip's own clock
    out  the firmware's `outputs`                   at each change, and every 100 ms
"""

import select

import vfs

BLOCK, ERASED = 4_096, b"\xff" * 256


class Flash:
    """A file from block `first` on as a block device, for littlefs."""

    def __init__(self, path, first=0):
        self._file = open(path, "r+b")
        self._first = first
        self._count = self._file.seek(0, 2) // BLOCK - first

    def readblocks(self, block, data, offset=0):
        self._file.seek((self._first + block) * BLOCK + offset)
        self._file.readinto(data)

    def writeblocks(self, block, data, offset=None):
        if offset is None:
            self.ioctl(6, block)
            offset = 0
        self._file.seek((self._first + block) * BLOCK + offset)
        self._file.write(data)

    def ioctl(self, op, arg):
        if op == 3:  # sync
            self._file.flush()
        elif op == 4:
            return self._count
        elif op == 5:
            return BLOCK
        elif op == 6:  # erase
            self._file.seek((self._first + arg) * BLOCK)
            for _ in range(BLOCK // len(ERASED)):
                self._file.write(ERASED)
        return 0


class Files:
    """The littlefs. A new file is renamed over the old one: littlefs does that whole."""

    def __init__(self, device):
        try:
            self._fs = vfs.VfsLfs2(device)
        except OSError:  # blank
            vfs.VfsLfs2.mkfs(device)
            self._fs = vfs.VfsLfs2(device)

    def read(self, name):
        try:
            with self._fs.open(name, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def rename(self, name, to):
        self._fs.rename(name, to)

    def write(self, name, data):
        with self._fs.open("new", "wb") as file:
            file.write(data)
        self._fs.rename("new", name)


class Bus:
    """Frames of 32-bit numbers, whole or not at all; nothing is allocated while they come whole."""

    def __init__(self, file):
        self._file = file
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._head = bytearray(2)

    def waits(self, timeout_ms):
        """Whether something came within so long; -1 = for ever."""
        for _ in self._poll.ipoll(timeout_ms):
            return True
        return False

    def read(self, first, rest):
        """One frame into two arrays; the start of it is there already."""
        self._fill(self._head, 2)
        if self._head[0] != 0x50 or self._head[1] != len(first) + len(rest):
            raise OSError("pins bus: a torn frame, or for another number of ports")
        self._fill(first, 4 * len(first))
        self._fill(rest, 4 * len(rest))

    def write(self, numbers):
        self._head[0], self._head[1] = 0x50, len(numbers)
        if self._file.write(self._head) != 2 or self._file.write(numbers) != 4 * len(numbers):
            raise OSError("pins bus: nobody reads")

    def _fill(self, buffer, size):
        done = self._file.readinto(buffer)
        while done is None or done < size:
            if done == 0 or not self.waits(1_000):
                raise OSError("pins bus: closed, or a frame cut short")
            more = self._file.readinto(memoryview(buffer).cast("B")[done or 0 :])
            if more == 0:
                raise OSError("pins bus: closed")
            done = (done or 0) + (more or 0)
