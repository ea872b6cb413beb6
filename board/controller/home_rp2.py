"""The boot part on an RP2040, in the first life after a reset: looks at the slots and chooses, or receives.

What MicroPython calls the chip's storage begins with slot a and slot b; the rest is a littlefs. It is seen at XIP_BASE,
and code runs there. A write must not take longer than the UART's FIFO of 32 bytes lasts, or bytes are lost and sent
again: sectors are erased before the first byte comes, and written 256 bytes at a time.
"""

import gc
import io
import os
import time

import deflate
import fixed
import machine
import rp2
import vfs

from board.controller import slots
from board.controller.slots import SECTOR_B, SLOT_B

WATCHDOG_MS = 8_000
PAGE_B = 256  # is written at once, or none of it
WORD = 0x4005_800C  # as in boot.py
FOLDER = "/flash"
READ_MAX = 1_024


class Source(io.IOBase):
    """A buffer as a stream, that copies none of it."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def readinto(self, into):
        size = min(len(into), len(self._data) - self._at)
        into[:size] = self._data[self._at : self._at + size]
        self._at += size
        return size


class Home:
    board, is_production, kind = fixed.BOARD, fixed.IS_PRODUCTION, "rp2040"

    def __init__(self):
        self._watchdog = machine.WDT(timeout=WATCHDOG_MS)
        self._slots = [rp2.Flash(start=slot * SLOT_B, len=SLOT_B) for slot in (slots.A, slots.B)]
        rest = rp2.Flash(start=2 * SLOT_B)
        try:
            files = vfs.VfsLfs2(rest, progsize=PAGE_B)
        except OSError:  # blank
            vfs.VfsLfs2.mkfs(rest, progsize=PAGE_B)
            files = vfs.VfsLfs2(rest, progsize=PAGE_B)
        vfs.mount(files, FOLDER)
        line = fixed.LINE
        tx, rx = machine.Pin(line["tx"]), machine.Pin(line["rx"])
        self._uart = machine.UART(line["uart"], line["baud"], tx=tx, rx=rx, rxbuf=4 * READ_MAX, txbuf=512, timeout=0)
        self._read = bytearray(READ_MAX)

    def slot(self, number):
        return memoryview(self._slots[number])

    def erase(self, number, sector):
        self._slots[number].ioctl(6, sector)

    def write(self, number, at, data):
        page = bytearray(PAGE_B)
        for start in range(0, len(data), PAGE_B):
            part = data[start : start + PAGE_B]
            for i in range(PAGE_B):
                page[i] = part[i] if i < len(part) else 0xFF
            self._slots[number].writeblocks((at + start) // SECTOR_B, page, (at + start) % SECTOR_B)

    def read(self, name):
        try:
            with open(FOLDER + "/" + name, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def save(self, name, data):
        with open(FOLDER + "/new", "wb") as file:
            file.write(data)
        os.rename(FOLDER + "/new", FOLDER + "/" + name)

    def inflater(self, data):
        return deflate.DeflateIO(Source(data), deflate.RAW, 12)

    def feed(self):
        self._watchdog.feed()

    def send(self, data):
        at = 0
        while at < len(data):
            at += self._uart.write(data[at:]) or 0
            if at < len(data):
                time.sleep_ms(1)

    def receive(self):
        count = min(self._uart.any(), READ_MAX)
        if not count:
            return None
        count = self._uart.readinto(self._read, count)
        return bytes(self._read[:count]) if count else None

    def wait(self):
        for _ in range(10):
            if self._uart.any():
                return
            time.sleep_ms(1)

    def now_ms(self):
        return time.ticks_ms()

    def word(self):
        return machine.mem32[WORD]

    def set_word(self, word):
        machine.mem32[WORD] = word

    def reset(self):
        self._uart.flush()
        machine.reset()


def decide():
    home = Home()
    gc.threshold(2_048)  # or the heap is full of holes
    for _ in slots.boot(home, machine.reset_cause() != machine.WDT_RESET):
        home.wait()
    machine.soft_reset()
