"""The boot part's second life on a PC: starts the slot that was chosen. On a chip `boot.py` does it.

No constant of `slots.py` is imported, nor is any named: each name costs the heap of the firmware some bytes.
"""

import gc
import sys

import uctypes
import vfs


def start(flash, link_fd, pins_fd, path, reset_cause, before):
    """`home_unix.decide` says what these are; `before`: code that runs in the firmware before it starts."""
    with open(path + ".word") as file:
        told = int(file.read())
    assert told & 0x0100
    with open(path + ".word", "w") as file:
        file.write(str(told & ~0x0100))
    data = uctypes.bytearray_at(flash + (98_304 if told & 0x0200 else 0), 98_304)
    vfs.umount("/rom")
    vfs.mount(vfs.VfsRom(memoryview(data)[128 : int.from_bytes(data[4:8], "little")]), "/rom")
    for name in list(sys.modules):
        if name.startswith("board"):
            del sys.modules[name]
    image = bytes(data[48:96]).rstrip(b"\0").decode(), data[96:104].hex()
    image += int(told & 0x0400 > 0), int(told & 0x0800 > 0)
    gc.threshold(1_024)  # what imports leave behind is used again at once, or the heap is full of holes
    told = image, ("slots.new", "slots"), 0x57A1_1000, 0x57A1_0000, 48
    if before:
        exec(before, {})
    from board.controller import port_unix

    port_unix.start(told, link_fd, pins_fd, path, reset_cause)
