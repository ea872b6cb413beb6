"""A PC as the controller's chip: a real MicroPython with a small heap, its code in mapped memory as in a chip's flash.

    python chip.py ROM_FILE LINK_FD PINS_FD FLASH_FILE RESET_CAUSE [HEAP_KB]

ROM_FILE is `firmware.image`; the rest is described in `controller/port_unix.py`. One life of the chip: any exit is a
reset, and whoever started it starts it again.
"""

import ctypes
import mmap
import sys
from pathlib import Path

HEAP_KB = 64
BOOT = """
import sys, uctypes, vfs
vfs.mount(vfs.VfsRom(uctypes.bytearray_at(%d, %d)), "/rom")
sys.path[:] = ["/rom"]
from board.controller import port_unix
port_unix.start(%r, %r, %r, %r)
"""


def command(rom: Path, link_fd: int, pins_fd: int, flash: Path, reset_cause: int, heap_kb: int = HEAP_KB) -> list[str]:
    """What a supervisor runs, with both descriptors passed on."""
    return [sys.executable, __file__, *map(str, (rom, link_fd, pins_fd, flash, reset_cause, heap_kb))]


def main(rom: str, link_fd: str, pins_fd: str, flash: str, reset_cause: str, heap_kb: str = str(HEAP_KB)) -> None:
    import micropython_unix

    size = Path(rom).stat().st_size
    with Path(rom).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    boot = BOOT % (address, size, link_fd, pins_fd, flash, reset_cause)
    sys.argv = ["micropython", "-X", f"heapsize={heap_kb}k", "-c", boot]
    sys.exit(micropython_unix.main())


if __name__ == "__main__":
    main(*sys.argv[1:])
