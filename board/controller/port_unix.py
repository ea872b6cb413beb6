"""The firmware's hardware on a PC: the pins bus of `unix.py`. `board/chip.py` starts it.

The board is the module `pins` (`board/firmware.py`). The process ends where a chip would reset: with 1, or with 0 after
Ctrl-C.
"""

import gc
import os
import sys
import time
from array import array

from board.controller import main
from board.controller.app.firmware import INPUTS_FIRST, INPUTS_PER_PORT, OUTPUTS_FIRST, OUTPUTS_PER_PORT, begin, safe
from board.controller.app.port import PortBoard
from board.controller.unix import Bus, Files, Flash

STEP_MS = 10
TELL_MS = 100
LINK_MAX = 128  # bytes taken from the line in one turn


class Hardware:
    def __init__(self, told, link_fd, pins_fd, flash_path, reset_cause, port_count):
        self._told_us = told
        self._flash_path, self._reset_cause = flash_path, reset_cause
        self._bus = Bus(open(pins_fd, "r+b"))
        self._link = open(link_fd, "r+b")
        self._outputs = array("i", [0] * (OUTPUTS_FIRST + OUTPUTS_PER_PORT * port_count))
        begin(self._outputs)
        self._told = array("i", self._outputs)  # by the boot part
        self._told_ms = 0
        self._inputs = array("i", [0] * (INPUTS_FIRST + INPUTS_PER_PORT * port_count))
        self._clock = array("i", [0])
        self._line = bytearray(LINK_MAX)
        self._firmware = None
        self._now_ms = 0
        self._due_ms = 0
        self._ticks_ms = time.ticks_ms()
        self._fresh = False  # a frame came for which no turn was made

    def safe(self):
        safe(self._outputs)
        try:
            if self._is_changed():
                self._tell()
        except OSError:
            pass  # nobody is there to be told

    def bind(self, firmware):
        firmware.inputs = self._inputs
        self._outputs = firmware.outputs
        self._firmware = firmware

    def boot(self):
        self._files = Files(Flash(self._flash_path, self._told_us[4]))
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

    def image(self):
        return self._told_us[0]

    def confirm(self):
        if self._told_us[0][2]:
            self._files.rename(*self._told_us[1])
        self._leave(self._told_us[3])

    def halt(self):
        self._leave(self._told_us[2])
        self.reset()

    def _leave(self, word):
        with open(self._flash_path + ".word", "w") as file:
            file.write(str(word))

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


def start(told, link_fd, pins_fd, flash_path, reset_cause):
    """`told`: the image as contract.FIRMWARE has it; which file is renamed to which when it is to stay; the word for a
    reset into the receiver, and once a host has wished for a while; the flash's first block that is no slot's."""
    import pins

    boards = tuple([PortBoard(**port["board"]) for port in pins.PORTS])
    hardware = Hardware(told, link_fd, pins_fd, flash_path, reset_cause, len(boards))
    main.run(hardware, boards, pins.CIRCUIT_MAX_MA, pins.HASH)
