"""Runs on MicroPython, in a chip with a large heap: the power is cut at every operation on its flash, in its middle.

Prints, for each cut, what the memory says afterwards: the old circuit limit or the new one.
"""

import gc

from board.controller.app.memory import Keeper
from board.controller.unix import BLOCK, Files

BLOCKS = 16


class Cut(Exception):
    pass


class Ram:
    """A block device whose power goes at operation number `cut`; half of that operation is done."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.operations = 0
        self.cut = -1

    def readblocks(self, block, data, offset=0):
        at = block * BLOCK + offset
        for i in range(len(data)):  # also from a finalizer, where nothing may be allocated
            data[i] = self.data[at + i]

    def writeblocks(self, block, data, offset=0):
        self.change(block * BLOCK + offset, data)

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            self.change(arg * BLOCK, b"\xff" * BLOCK)
        return 0

    def change(self, at, data):
        self.operations += 1
        if self.operations == self.cut:
            half = len(data) // 2
            self.data[at : at + half] = data[:half]
            raise Cut()
        self.data[at : at + len(data)] = data


def keeper(device):
    files = Files(device)
    return Keeper(2, files.read, files.write)


def save(device, circuit_ma):
    facts = keeper(device)
    facts.memory.circuit_limit_ma = circuit_ma
    if not facts.save(0):
        raise Cut()


def sweep(name, before, circuit_ma):
    cut = 0
    while True:
        cut += 1
        device = Ram(before)
        device.cut = cut
        try:
            save(device, circuit_ma)
            break
        except (Cut, OSError):
            gc.collect()  # the files left open by it
        device = Ram(device.data)  # power is back
        found = keeper(device).memory.circuit_limit_ma
        save(device, 50_000)  # and it can be written again
        assert keeper(Ram(device.data)).memory.circuit_limit_ma == 50_000
        print(name, cut, found)
    print(name, "end", keeper(device).memory.circuit_limit_ma)


blank = Ram(b"\xff" * BLOCK * BLOCKS)
sweep("first", blank.data, 20_000)
save(blank, 20_000)
sweep("second", blank.data, 30_000)
save(blank, 30_000)
for _ in range(40):  # each save finds the file system in another state: now and then it must compact and move
    sweep("again", blank.data, 40_000)
    save(blank, 30_000)
