"""The firmware's hardware on a PC: MicroPython's unix port, with the simulated world behind a socket (the pins bus).

    start(LINK_FD, PINS_FD, FLASH_FILE, RESET_CAUSE)    called by `board/chip.py`

LINK_FD is the serial line, PINS_FD the pins bus; both non-blocking. FLASH_FILE is an image of whole 4,096-byte blocks,
blank or with a littlefs2 in it. RESET_CAUSE as in the contract.
Frames on the bus, either way: b"P", uint8 n, n x int32 little endian.

    in   clock_ms, then the firmware's `inputs`     clock_ms >= 0: one step at that time, answered by one frame
                                                    clock_ms = -1: run freely, every 10 ms by the chip's own clock
    out  the firmware's `outputs`                   at each change, and every 100 ms

The board is the module `pins` (`board/firmware.py`). The process ends where a chip would reset: with 1, or with 0 after
Ctrl-C. The watchdog is the supervisor's part: no frame for two seconds while running freely.
"""

import gc
import os
import select
import sys
import time
from array import array

import vfs

from board.controller import main
from board.controller.app.firmware import INPUTS_FIRST, INPUTS_PER_PORT, OUTPUTS_FIRST, OUTPUTS_PER_PORT, begin, safe
from board.controller.app.port import PortBoard

STEP_MS = 10
TELL_MS = 100
BLOCK, ERASED = 4_096, b"\xff" * 256
LINK_MAX = 128  # bytes taken from the line in one turn


class Flash:
    """A file as a block device, for littlefs."""

    def __init__(self, path):
        self._file = open(path, "r+b")
        self._count = self._file.seek(0, 2) // BLOCK

    def readblocks(self, block, data, offset=0):
        self._file.seek(block * BLOCK + offset)
        self._file.readinto(data)

    def writeblocks(self, block, data, offset=None):
        if offset is None:
            self.ioctl(6, block)
            offset = 0
        self._file.seek(block * BLOCK + offset)
        self._file.write(data)

    def ioctl(self, op, arg):
        if op == 3:  # sync
            self._file.flush()
        elif op == 4:
            return self._count
        elif op == 5:
            return BLOCK
        elif op == 6:  # erase
            self._file.seek(arg * BLOCK)
            for _ in range(BLOCK // len(ERASED)):
                self._file.write(ERASED)
        return 0


class Files:
    """What `memory.Keeper` needs of a file system. A new file is renamed over the old one: littlefs does that whole."""

    def __init__(self, device):
        try:
            self._fs = vfs.VfsLfs2(device)
        except OSError:  # blank
            vfs.VfsLfs2.mkfs(device)
            self._fs = vfs.VfsLfs2(device)

    def read(self, name):
        try:
            with self._fs.open(name, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def write(self, name, data):
        with self._fs.open("new", "wb") as file:
            file.write(data)
        self._fs.rename("new", name)


class Bus:
    """Frames of 32-bit numbers, whole or not at all; nothing is allocated while they come whole."""

    def __init__(self, fd):
        self._file = open(fd, "r+b")
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._head = bytearray(2)

    def waits(self, timeout_ms):
        """Whether something came within so long; -1 = for ever."""
        for _ in self._poll.ipoll(timeout_ms):
            return True
        return False

    def read(self, first, rest):
        """One frame into two arrays; the start of it is there already."""
        self._fill(self._head, 2)
        if self._head[0] != 0x50 or self._head[1] != len(first) + len(rest):
            raise OSError("pins bus: a torn frame, or for another number of ports")
        self._fill(first, 4 * len(first))
        self._fill(rest, 4 * len(rest))

    def write(self, numbers):
        self._head[0], self._head[1] = 0x50, len(numbers)
        if self._file.write(self._head) != 2 or self._file.write(numbers) != 4 * len(numbers):
            raise OSError("pins bus: nobody reads")

    def _fill(self, buffer, size):
        done = self._file.readinto(buffer)
        while done is None or done < size:
            if done == 0 or not self.waits(1_000):
                raise OSError("pins bus: closed, or a frame cut short")
            more = self._file.readinto(memoryview(buffer).cast("B")[done or 0 :])
            if more == 0:
                raise OSError("pins bus: closed")
            done = (done or 0) + (more or 0)


class Hardware:
    def __init__(self, link_fd, pins_fd, flash_path, reset_cause, port_count):
        self._bus = Bus(pins_fd)
        self._link = open(link_fd, "r+b")
        self._outputs = array("i", [0] * (OUTPUTS_FIRST + OUTPUTS_PER_PORT * port_count))
        begin(self._outputs)
        self._told = array("i", self._outputs)
        self._told_ms = 0
        self._inputs = array("i", [0] * (INPUTS_FIRST + INPUTS_PER_PORT * port_count))
        self._clock = array("i", [0])
        self._line = bytearray(LINK_MAX)
        self._reset_cause = reset_cause
        self._flash_path = flash_path
        self._firmware = None
        self._now_ms = 0
        self._due_ms = 0
        self._ticks_ms = time.ticks_ms()
        self._fresh = False  # a frame came for which no turn was made

    def safe(self):
        safe(self._outputs)
        try:
            self._tell()
        except OSError:
            pass  # nobody is there to be told

    def bind(self, firmware):
        firmware.inputs = self._inputs
        self._outputs = firmware.outputs
        self._firmware = firmware

    def boot(self):
        self._files = Files(Flash(self._flash_path))
        self._take(-1)  # whose clock counts is the bus's to say
        return self._now_ms

    def wait(self):
        """In lockstep each frame is a turn, also the one that was there at boot."""
        if self._clock[0] < 0:
            self._wait_freely()
        elif not self._fresh:
            self._take(-1)
        self._fresh = False
        return self._now_ms

    def apply(self):
        if self._clock[0] < 0 and (self._now_ms - self._told_ms >= TELL_MS or self._is_changed()):
            self._tell()

    def receive(self):
        try:
            count = self._link.readinto(self._line)
        except OSError:  # nobody has the other end open
            return None
        return bytes(self._line[:count]) if count else None

    def send(self, data):
        try:
            return self._link.write(data) or 0
        except OSError:
            return len(data)

    def read(self, name):
        return self._files.read(name)

    def write(self, name, data):
        self._files.write(name, data)

    def feed(self):
        """In lockstep the answer comes when the turn is over: what it said on the line is there by then."""
        if self._clock[0] >= 0:
            self._tell()

    def boot_id(self):
        if self._clock[0] >= 0:  # nothing by chance: the same world twice is the same to the bit
            return self._now_ms * 2_654_435_761 & 0xFFFF_FFFF
        return int.from_bytes(os.urandom(4), "little")

    def reset_cause(self):
        return self._reset_cause

    def reset(self):
        sys.exit(1)

    def heap_free_b(self):
        return 0 if self._clock[0] >= 0 else gc.mem_free()  # in lockstep nothing is by chance

    def excuse(self):
        self._tick()
        self._due_ms = max(self._due_ms, self._now_ms)

    def halt(self):
        """Nobody flashes a PC: the bus is answered, with outputs that stay safe, until the process is ended."""
        while True:
            self._outputs[0] = self.wait()
            self.receive()
            self.apply()
            self.feed()

    def _wait_freely(self):
        self._tick()
        late_ms = self._now_ms - self._due_ms
        if late_ms >= STEP_MS:
            self._firmware.overruns += late_ms // STEP_MS
            self._due_ms = self._now_ms
        while self._clock[0] < 0 and self._take(max(0, self._due_ms - self._now_ms)):
            self._tick()
        self._tick()
        self._due_ms += STEP_MS

    def _tick(self):
        if self._clock[0] < 0:
            ticks_ms = time.ticks_ms()
            self._now_ms += time.ticks_diff(ticks_ms, self._ticks_ms)
            self._ticks_ms = ticks_ms

    def _take(self, timeout_ms):
        """The next frame, if one comes within so long; -1 = for ever."""
        if not self._bus.waits(timeout_ms):
            return False
        ran_freely = self._clock[0] < 0
        self._bus.read(self._clock, self._inputs)
        if self._clock[0] >= 0:
            self._now_ms = self._clock[0]
        elif not ran_freely:  # our own clock goes on from the bus's
            self._ticks_ms = time.ticks_ms()
            self._due_ms = self._now_ms
        self._fresh = True
        return True

    def _is_changed(self):
        for i in range(OUTPUTS_FIRST, len(self._outputs)):
            if self._outputs[i] != self._told[i]:
                return True
        return False

    def _tell(self):
        for i in range(len(self._outputs)):
            self._told[i] = self._outputs[i]
        self._told_ms = self._outputs[0]
        self._bus.write(self._outputs)


def start(link_fd, pins_fd, flash_path, reset_cause):
    import pins

    boards = tuple([PortBoard(**port["board"]) for port in pins.PORTS])
    hardware = Hardware(int(link_fd), int(pins_fd), flash_path, int(reset_cause), len(boards))
    main.run(hardware, boards, pins.CIRCUIT_MAX_MA, pins.HASH)

