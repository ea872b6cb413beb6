"""The boot part on a PC, in the first life after a reset: MicroPython's unix port, with the simulated world behind a
socket (the pins bus).

    decide(FLASH_ADDRESS, LINK_FD, PINS_FD, FLASH_FILE, RESET_CAUSE)      called by `board/chip.py`

LINK_FD is the serial line, PINS_FD the pins bus (`unix.py`); both non-blocking. FLASH_FILE is an image of whole
4,096-byte blocks: slot a, slot b, and the rest blank or with a littlefs2 in it; it is mapped at FLASH_ADDRESS, as a
chip maps its flash, so that code runs where it lies. RESET_CAUSE as in the contract.
It makes the outputs safe, looks at the slots and chooses, or receives. The process ends where a chip would reset: with
1, with 3 for a soft reset into the second life, in which `start_unix.py` starts the chosen firmware. The watchdog is
the supervisor's part: no frame for two seconds while running freely.
"""

import gc
import io
import select
import sys
import time
from array import array

import deflate
import fixed
import uctypes

from board.controller import slots
from board.controller.slots import SLOT_B, SLOT_SECTORS
from board.controller.unix import BLOCK, Bus, Files, Flash

TELL_MS = 100
WAIT_MS = 10
SOFT_RESET = 3
READ_MAX = 1_024
# The bus's frames, as board/controller/app/firmware.py has them: a slot's own numbers are not known here.
INPUTS_FIRST, INPUTS_PER_PORT, OUTPUTS_FIRST = 1, 16, 3
SAFE = (10_000, 0, 2, 0, 0)  # of a port: pilot at +12 V, contactor open, bolt held, no test current, dark


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
    """The chip, for the boot part and for the firmware in its slot."""

    board, is_production, kind = fixed.BOARD, fixed.IS_PRODUCTION, "unix"

    def __init__(self, link_fd, pins_fd, flash_path, address):
        self._pins = open(pins_fd, "r+b")
        self.bus = Bus(self._pins)
        self.outputs = array("i", [0] * OUTPUTS_FIRST + list(SAFE) * fixed.PORT_COUNT)
        try:
            self.bus.write(self.outputs)  # safe, before anything else
        except OSError:
            pass  # nobody is there to be told
        self.link = open(link_fd, "r+b")
        self._flash = Flash(flash_path)
        self._address = address
        self._path = flash_path
        self._files = Files(Flash(flash_path, 2 * SLOT_SECTORS))
        self._poll = None
        self._now_ms = self._told_ms = 0

    def slot(self, number):
        return memoryview(uctypes.bytearray_at(self._address + number * SLOT_B, SLOT_B))

    def erase(self, number, sector):
        self._flash.ioctl(6, number * SLOT_SECTORS + sector)

    def write(self, number, at, data):
        self._flash.writeblocks(number * SLOT_SECTORS + at // BLOCK, data, at % BLOCK)

    def read(self, name):
        return self._files.read(name)

    def save(self, name, data):
        self._files.write(name, data)

    def inflater(self, data):
        return deflate.DeflateIO(Source(data), deflate.RAW, 12)

    def word(self):
        """On a chip, a register; on a PC, a file that counts for nothing after a power cut."""
        try:
            with open(self._path + ".word") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0

    def set_word(self, word):
        with open(self._path + ".word", "w") as file:
            file.write(str(word))

    def feed(self):
        """The bus is served by `wait`; what takes long here takes a millisecond."""

    def send(self, data):
        at = 0
        while at < len(data):
            try:
                at += self.link.write(data[at:]) or 0
            except OSError:
                return  # nobody has the other end open
            if at < len(data):
                self.wait()

    def receive(self):
        try:
            return self.link.read(READ_MAX)
        except OSError:
            return None

    def wait(self):
        """In lockstep a frame is answered once what the line brought before it is done."""
        if self._poll is None:
            self._begin()
        if self._owed:
            self._owed = False
            self.bus.write(self.outputs)
        if self._clock[0] >= 0:
            self.bus.waits(-1)
        else:
            for file, event in self._poll.ipoll(WAIT_MS):
                if file is self.link and event & select.POLLHUP:  # nobody has the other end open
                    self.bus.waits(WAIT_MS)
        if self.bus.waits(0):
            self.bus.read(self._clock, self._inputs)
            self._owed = self._clock[0] >= 0
        if self._clock[0] >= 0:
            self.outputs[0] = self._now_ms = self._clock[0]
        else:
            self._tick()

    def now_ms(self):
        return self._now_ms

    def reset(self):
        sys.exit(1)

    def _begin(self):
        self._clock = array("i", [-1])
        self._inputs = array("i", [0] * (INPUTS_FIRST + INPUTS_PER_PORT * fixed.PORT_COUNT))
        self._poll = select.poll()
        for file in (self._pins, self.link):
            self._poll.register(file, select.POLLIN)
        self._owed = False
        self._ticks_ms = time.ticks_ms()
        self.bus.waits(-1)  # whose clock counts is the bus's to say

    def _tick(self):
        ticks_ms = time.ticks_ms()
        self._now_ms += time.ticks_diff(ticks_ms, self._ticks_ms)
        self._ticks_ms = ticks_ms
        if self._now_ms - self._told_ms >= TELL_MS:
            self._told_ms = self.outputs[0] = self._now_ms
            self.bus.write(self.outputs)


def decide(address, link_fd, pins_fd, flash_path, reset_cause):
    home = Home(link_fd, pins_fd, flash_path, address)
    gc.threshold(2_048)  # or the heap is full of holes
    for _ in slots.boot(home, reset_cause == 0):
        home.wait()
    sys.exit(SOFT_RESET)
