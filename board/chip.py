"""A PC as the controller's chip: a real MicroPython with a small heap, its code in mapped memory as in a chip's flash.

    python chip.py ROM_FILE FLASH_FILE HEAP_KB [-i] CODE [CODE]

ROM_FILE is a ROMFS, what a chip's build has frozen in; FLASH_FILE is mapped too, or "" for none. CODE is Python that
finds the modules of the ROM on its path; `FLASH` in it is the address of the flash. The second one runs after a soft
reset, an exit with 3; with -i the prompt comes after it. An RP2040 maps its flash the same way, at XIP_BASE, and runs
code where it lies; what is written to it is seen there at once. Any other exit is a reset, and whoever started it
starts it again.
"""

import ctypes
import mmap
import sys
from pathlib import Path

HEAP_KB = 64
FILES_B = 128 * 1024  # of the flash, beyond the slots
MOUNT = """
import sys, uctypes, vfs
vfs.mount(vfs.VfsRom(uctypes.bytearray_at(%d, %d)), "/rom")
sys.path[:] = ["/rom"]
FLASH = %d
"""
# The two lives of a boot; between them a soft reset.
DECIDE = """
from board.controller.home_unix import decide
decide(FLASH, %d, %d, %r, %d)
"""
START = """
from board.controller.start_unix import start
start(FLASH, %d, %d, %r, %d, %r)
"""
SOFT_RESET = 3


def command(rom: Path, *lives: str, heap_kb: int = HEAP_KB, flash: Path | None = None) -> list[str]:
    return [sys.executable, __file__, str(rom), str(flash or ""), str(heap_kb), *lives]


def firmware(
    rom: Path, link_fd: int, pins_fd: int, flash: Path, reset_cause: int, before: str = "", heap_kb: int = HEAP_KB
) -> list[str]:
    """What a supervisor runs, with both descriptors passed on; `controller/home_unix.py` says what they carry.
    `before`: code that runs when the slot is chosen, before its firmware starts."""
    args = link_fd, pins_fd, str(flash), reset_cause
    return command(rom, DECIDE % args, START % (*args, before), heap_kb=heap_kb, flash=flash)


def flash_image(image: bytes = b"", other: bytes = b"") -> bytes:
    """A flash as it leaves the factory: an image in slot a, nothing else."""
    from board.controller.slots import SLOT_B  # not where this file is run by itself

    return image.ljust(SLOT_B, b"\xff") + other.ljust(SLOT_B, b"\xff") + b"\xff" * FILES_B


class Unit:
    """One controller: its boot part, and what the factory puts into slot a. Called, it is what one boot runs."""

    def __init__(self, boot: Path, image: bytes) -> None:
        self.boot, self.image = boot, image

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


def main(rom: str, flash: str, heap_kb: str, *lives: str) -> None:
    import micropython_unix

    address, size = mapped(rom, mmap.MAP_PRIVATE)
    flash_address = mapped(flash, mmap.MAP_SHARED)[0] if flash and Path(flash).exists() else 0
    options = [word for word in lives if word == "-i"]
    for code in lives[len(options) :]:
        mounted = MOUNT % (address, size, flash_address)
        sys.argv = ["micropython", "-X", f"heapsize={heap_kb}k", *options, "-c", mounted + code]
        ended = micropython_unix.main()
        if ended != SOFT_RESET:
            sys.exit(ended)


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
