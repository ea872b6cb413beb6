"""Runs on MicroPython, in a chip with a large heap: an update with the boot part's own code and a real littlefs, the
power cut at every operation on the flash, in its middle or elsewhere.

Prints for each cut its story, what booted then, and what stayed.
"""

import gc
from hashlib import sha256

import cbor2

from board.controller import slots
from board.controller.receive import Target
from board.controller.slots import NONE, SECTOR_B, SLOT_B
from board.controller.unix import BLOCK, Files

FILES_BLOCKS = 16
PAGE_B = 256  # is written at once
BOARD = "duo"


class Cut(Exception):
    pass


class Ram:
    """The flash; the littlefs' part of it is a block device. Its power goes at operation number `cut`, when so many
    256ths of that are done."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.operations = 0
        self.cut, self.torn = -1, 128

    def readblocks(self, block, data, offset=0):
        at = 2 * SLOT_B + block * BLOCK + offset
        try:
            data[:] = memoryview(self.data)[at : at + len(data)]
        except MemoryError:  # from a finalizer, where nothing may be allocated
            for i in range(len(data)):
                data[i] = self.data[at + i]

    def writeblocks(self, block, data, offset=0):
        self.change(2 * SLOT_B + block * BLOCK + offset, data)

    def ioctl(self, op, arg):
        if op == 4:
            return FILES_BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            self.change(2 * SLOT_B + arg * BLOCK, b"\xff" * BLOCK)
        return 0

    def change(self, at, data):
        self.operations += 1
        if self.operations == self.cut:
            part = len(data) * self.torn // 256
            self.data[at : at + part] = data[:part]
            raise Cut()
        self.data[at : at + len(data)] = data


class Home:
    board = BOARD

    def __init__(self, ram):
        self.ram = ram
        self.files = Files(ram)
        self.read, self.save = self.files.read, self.files.write

    def slot(self, number):
        return memoryview(self.ram.data)[number * SLOT_B : (number + 1) * SLOT_B]

    def erase(self, number, sector):
        self.ram.change(number * SLOT_B + sector * SECTOR_B, b"\xff" * SECTOR_B)

    def write(self, number, at, data):
        for start in range(0, len(data), PAGE_B):
            self.ram.change(number * SLOT_B + at + start, data[start : start + PAGE_B])

    def feed(self):
        pass


def image(version, size_b):
    return slots.sealed(BOARD, version, bytes([i * i // 7 & 255 ^ ord(version) for i in range(size_b)]))


def index_of(data):
    rows = []
    for at in range(0, len(data), SECTOR_B):
        part = data[at : at + SECTOR_B]
        rows.append([sha256(part).digest(), len(part), len(part)])
    return cbor2.dumps([1, {"board": BOARD, "version": "x"}, [["x.rom", 0, rows]]])


def update(ram, data, index):
    """Written, activated, booted, confirmed: as the chip does it, less the line."""
    home = Home(ram)
    target = Target(home, index)
    target.open(lambda: None)
    for number in target.wanted:
        at = target.pieces[number][3][0] * SECTOR_B
        target.put(number, data[at : at + SECTOR_B])
    target.finish()
    target.activate()
    slot, state = slots.chosen(Home(ram))
    assert slot == target.slot, (slot, state)
    if state[1] == slot:
        Home(ram).files.rename(slots.NEXT, slots.FILE)


def booted(ram):
    """The version that boots now."""
    home = Home(ram)
    slot, _ = slots.chosen(home)
    return "none" if slot == NONE else slots.intact(home.slot(slot), BOARD)[2]


def sweep(name, before, data, index, torn):
    cut = 0
    while True:
        cut += 1
        ram = Ram(before)
        ram.cut, ram.torn = cut, torn
        try:
            update(ram, data, index)
            break
        except (Cut, OSError):
            gc.collect()  # the files left open by it
        ram = Ram(ram.data)  # power is back
        first = booted(ram)
        for _ in range(slots.TRIES + 1):
            last = booted(ram)
        update(ram, data, index)  # and it can be flashed again
        assert booted(ram) == "2"
        print(name, cut, first, last)
    print(name, "end", booted(ram))
    return ram.data


OLD, NEW = image("1", 6_000), image("2", 9_000)
OLD_INDEX, NEW_INDEX = index_of(OLD), index_of(NEW)
factory = Ram(OLD + b"\xff" * (2 * SLOT_B - len(OLD) + FILES_BLOCKS * BLOCK))
for torn in TORN:  # noqa: F821
    sweep("factory", factory.data, NEW, NEW_INDEX, torn)
update(factory, NEW, NEW_INDEX)
update(factory, OLD, OLD_INDEX)
factory.data[SLOT_B : 2 * SLOT_B] = b"\x5a" * SLOT_B  # nothing is there already
for torn in TORN:  # noqa: F821
    sweep("again", factory.data, NEW, NEW_INDEX, torn)
