"""A PC as the controller's chip: a real MicroPython with a small heap, its code in mapped memory as in a chip's flash.

    python chip.py ROM_FILE HEAP_KB CODE

ROM_FILE is made by `firmware.image`; CODE is Python that finds the firmware on its path. This is one life of the chip:
any exit is a reset, and whoever started it starts it again.
"""

import ctypes
import mmap
import sys
from pathlib import Path

HEAP_KB = 64
MOUNT = """
import sys, uctypes, vfs
vfs.mount(vfs.VfsRom(uctypes.bytearray_at(%d, %d)), "/rom")
sys.path[:] = ["/rom"]
"""
START = "from board.controller import port_unix; port_unix.start(%d, %d, %r, %d)"


def command(rom: Path, code: str, heap_kb: int = HEAP_KB) -> list[str]:
    return [sys.executable, __file__, str(rom), str(heap_kb), code]


def firmware(rom: Path, link_fd: int, pins_fd: int, flash: Path, reset_cause: int) -> list[str]:
    """What a supervisor runs, with both descriptors passed on; `controller/port_unix.py` says what they carry."""
    return command(rom, START % (link_fd, pins_fd, str(flash), reset_cause))


def main(rom: str, heap_kb: str, code: str) -> None:
    import micropython_unix

    size = Path(rom).stat().st_size
    with Path(rom).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    sys.argv = ["micropython", "-X", f"heapsize={heap_kb}k", "-c", MOUNT % (address, size) + code]
    sys.exit(micropython_unix.main())


if __name__ == "__main__":
    main(*sys.argv[1:])
