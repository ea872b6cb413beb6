"""A PC as the controller's chip: a real MicroPython with a small heap, its code in mapped memory as in a chip's flash.

    python chip.py ROM_FILE FLASH_FILE HEAP_KB CODE

ROM_FILE is a ROMFS, what a chip's build has frozen in; FLASH_FILE is mapped too, or "" for none. CODE is Python that
finds the modules of the ROM on its path; `FLASH` in it is the address of the flash. An RP2040 maps its flash the same
way, at XIP_BASE, and runs code where it lies; what is written to it is seen there at once. This is one life of the chip:
any exit is a reset, and whoever started it starts it again.
"""

import ctypes
import mmap
import sys
from pathlib import Path
from typing import NamedTuple

HEAP_KB = 64
FILES_B = 128 * 1024  # of the flash, beyond the slots
MOUNT = """
import sys, uctypes, vfs
vfs.mount(vfs.VfsRom(uctypes.bytearray_at(%d, %d)), "/rom")
sys.path[:] = ["/rom"]
FLASH = %d
"""
PREPARE = """
from board.controller import boot_unix
told = boot_unix.prepared(%d, %d, %r, FLASH, %d)
del boot_unix
import gc
gc.collect()
"""
START = """
from board.controller import port_unix
port_unix.start(told)
"""


def command(rom: Path, code: str, heap_kb: int = HEAP_KB, flash: Path | None = None) -> list[str]:
    return [sys.executable, __file__, str(rom), str(flash or ""), str(heap_kb), code]


def firmware(
    rom: Path, link_fd: int, pins_fd: int, flash: Path, reset_cause: int, before: str = "", heap_kb: int = HEAP_KB
) -> list[str]:
    """What a supervisor runs, with both descriptors passed on; `controller/boot_unix.py` says what they carry. `before`:
    code that runs when the slot is chosen, before its firmware starts."""
    code = PREPARE % (link_fd, pins_fd, str(flash), reset_cause)
    return command(rom, code + before + START, heap_kb, flash)


def flash_image(image: bytes = b"", other: bytes = b"") -> bytes:
    """A flash as it leaves the factory: an image in slot a, nothing else."""
    from board.controller.slots import SLOT_B  # not where this file is run by itself

    return image.ljust(SLOT_B, b"\xff") + other.ljust(SLOT_B, b"\xff") + b"\xff" * FILES_B


class Unit(NamedTuple):
    """One controller: its boot part, and what the factory puts into slot a. Called, it is what one boot runs."""

    boot: Path
    image: bytes

    def __call__(self, link_fd: int, pins_fd: int, flash: Path, reset_cause: int) -> list[str]:
        if not flash.exists():
            flash.write_bytes(flash_image(self.image))
        return firmware(self.boot, link_fd, pins_fd, flash, reset_cause)


def unit(folder: Path, pins: str) -> Unit:
    """`pins`: the text of its pin table. Its boot part becomes the file `boot` of the folder."""
    from board.firmware import boot_rom, image

    boot = folder / "boot"
    boot.write_bytes(boot_rom(pins))
    return Unit(boot, image(pins))


def main(rom: str, flash: str, heap_kb: str, code: str) -> None:
    import micropython_unix

    address, size = mapped(rom, mmap.MAP_PRIVATE)
    flash_address = mapped(flash, mmap.MAP_SHARED)[0] if flash and Path(flash).exists() else 0
    mounted = MOUNT % (address, size, flash_address)
    sys.argv = ["micropython", "-X", f"heapsize={heap_kb}k", "-c", mounted + code]
    sys.exit(micropython_unix.main())


def mapped(path: str, flags: int) -> tuple[int, int]:
    """Address and size of the file in memory; for as long as the process lives."""
    size = Path(path).stat().st_size
    with Path(path).open("r+b" if flags & mmap.MAP_SHARED else "rb") as file:
        memory = mmap.mmap(file.fileno(), size, flags=flags)
    KEPT.append(memory)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)), size


KEPT: list[mmap.mmap] = []

if __name__ == "__main__":
    main(*sys.argv[1:])
