"""The boot part's second life on an RP2040: starts the slot that was chosen. `start_unix.py` does the same on a PC."""

import gc
import sys

import rp2
import vfs

from board.controller.slots import FELL_BACK, FILE, HEAD_B, MARK, NEXT, ON_TRIAL, SLOT_B, SLOT_B_RUNS, STAY


def start(word):
    vfs.mount(vfs.VfsLfs2(rp2.Flash(start=2 * SLOT_B), progsize=256), "/flash")
    data = memoryview(rp2.Flash(start=SLOT_B if word & SLOT_B_RUNS else 0, len=SLOT_B))
    try:
        vfs.umount("/rom")  # a MicroPython that has one mounts it by itself
    except OSError:
        pass
    vfs.mount(vfs.VfsRom(data[HEAD_B : int.from_bytes(bytes(data[4:8]), "little")]), "/rom")
    version, digest = bytes(data[48:96]).rstrip(b"\0").decode(), bytes(data[96:104]).hex()
    image = version, digest, int(word & ON_TRIAL > 0), int(word & FELL_BACK > 0)
    told = image, ("/flash/" + NEXT, "/flash/" + FILE), MARK | STAY, MARK
    sys.path[:] = ["/rom"]
    for name in list(sys.modules):
        if name.startswith("board") or name in ("cbor2", "fixed"):
            del sys.modules[name]
    gc.threshold(1_024)  # what imports leave behind is used again at once, or the heap is full of holes
    from board.controller import port_rp2

    port_rp2.start(told)
