"""Runs on MicroPython: boot.py and the RP2040's port layer as they are, on a `machine` whose pins are numbers on a bus.

    start(LIFE, LINK_FD, PINS_FD, FLASH_FILE, FLASH, RESET_CAUSE, MUX)

LIFE as the chip's command has it, FLASH: where the file is mapped, MUX: the select pins of the analogue multiplexer.

in   clock_ms, the level of each pin, then for each converter and each position of the multiplexer in front of it what
     is read in the pilot's positive half, and in its negative half
out  clock_ms, then for each pin the level that it is driven to, then for each pin the duty of its PWM; -1 = neither

Frames as in board/controller/unix.py, always in lockstep. Time passes only while the firmware waits.
"""

import builtins
import select
import sys
from array import array

import uctypes

PINS, POSITIONS = 30, 8
FIRST_ADC, ADCS = 26, 4
READ_US = 100
FOREVER = 1 << 30
BLOCK = 4_096


class Bench:
    def __init__(self, link_fd, pins_fd, mux):
        from board.controller.unix import Bus

        self.bus = Bus(open(pins_fd, "r+b"))  # noqa: SIM115
        self.link = open(link_fd, "r+b")  # noqa: SIM115
        self.readable = select.poll()
        self.readable.register(self.link, select.POLLIN)
        self.clock = array("i", [0])
        self.seen = array("i", [0] * (PINS + 2 * ADCS * POSITIONS))
        self.driven = array("i", [0] + [-1] * 2 * PINS)
        self.mux = mux
        self.us = self.reads = 0

    def take(self):
        if not self.bus.waits(-1):
            raise OSError
        self.bus.read(self.clock, self.seen)

    def tell(self):
        self.driven[0] = self.clock[0]
        self.bus.write(self.driven)


class Pin:
    IN, OUT, PULL_UP, PULL_DOWN = 0, 1, 2, 3

    def __init__(self, number, mode=IN, pull=None, value=None):
        self.number = number
        if mode == Pin.OUT:
            BENCH.driven[1 + number] = value

    def value(self, level=None):
        if level is None:
            return BENCH.seen[self.number]
        assert BENCH.driven[1 + self.number] >= 0, "an input is driven"
        BENCH.driven[1 + self.number] = level


class ADC:
    def __init__(self, pin):
        self.at = PINS + 2 * POSITIONS * (pin - FIRST_ADC)

    def read_u16(self):
        BENCH.reads += 1
        position = 0
        for i in range(len(BENCH.mux)):
            position |= BENCH.driven[1 + BENCH.mux[i]] << i
        return BENCH.seen[self.at + 2 * position + BENCH.reads % 2]


class PWM:
    def __init__(self, pin, freq, duty_u16):
        assert freq == 1_000
        self.at = 1 + PINS + pin.number
        self.duty_u16(duty_u16)

    def duty_u16(self, duty):
        BENCH.driven[self.at] = duty


class UART:
    def __init__(self, number, baud, **options):
        pass

    def any(self):
        return 115 * bool(BENCH.readable.poll(0))  # as many as come in a turn

    def readinto(self, buffer, count):
        return BENCH.link.readinto(memoryview(buffer)[:count])

    def write(self, data):
        return BENCH.link.write(data)


class WDT:
    """It is fed when a turn is over."""

    def __init__(self, timeout):
        pass

    def feed(self):
        BENCH.tell()


class Flash:
    """A piece of the storage; a memoryview of it is where it is mapped."""

    def __init__(self, start, len=None):  # noqa: A002
        self.start = start
        self.size = BENCH.file.seek(0, 2) - start if len is None else len
        self.mapped = uctypes.bytearray_at(BENCH.flash + start, self.size)

    def readblocks(self, block, data, offset=0):
        BENCH.file.seek(self.start + BLOCK * block + offset)
        BENCH.file.readinto(data)

    def writeblocks(self, block, data, offset=None):
        if offset is None:
            self.ioctl(6, block)
            offset = 0
        assert len(data) % 256 == 0, "flash is programmed by pages"
        BENCH.file.seek(self.start + BLOCK * block + offset)
        BENCH.file.write(data)

    def ioctl(self, op, arg):
        if op == 4:
            return self.size // BLOCK
        if op == 5:
            return BLOCK
        if op == 6:
            BENCH.file.seek(self.start + BLOCK * arg)
            BENCH.file.write(b"\xff" * BLOCK)
        return 0


class Rp2:
    Flash = Flash


def view(of, original=memoryview):
    return original(of.mapped if type(of) is Flash else of)


builtins.memoryview = view


class Registers:
    """One is used; a file keeps it from life to life."""

    def __getitem__(self, address):
        BENCH.word.seek(0)
        return int(BENCH.word.read() or 0)

    def __setitem__(self, address, word):
        BENCH.word.seek(0)
        BENCH.word.write("%10d" % word)


class Machine:
    WDT_RESET = 3
    mem32 = Registers()


class Time:
    @staticmethod
    def ticks_us():
        BENCH.us += READ_US
        return BENCH.us

    @staticmethod
    def ticks_ms():
        return BENCH.clock[0]

    @staticmethod
    def ticks_diff(a, b):
        return a - b

    @staticmethod
    def ticks_add(a, b):
        return a + b

    @staticmethod
    def sleep_ms(ms):
        BENCH.take()


def start(life, link_fd, pins_fd, path, flash, reset_cause, mux):
    global BENCH  # noqa: PLW0603
    BENCH = Bench(link_fd, pins_fd, mux)
    BENCH.flash = flash
    BENCH.file, BENCH.word = open(path, "r+b"), open(path + ".word", "r+")  # noqa: SIM115
    for part in (Pin, ADC, PWM, UART, WDT):
        setattr(Machine, part.__name__, part)
    Machine.reset_cause = lambda: Machine.WDT_RESET if reset_cause else 0
    Machine.reset, Machine.soft_reset = lambda: sys.exit(1), lambda: sys.exit(3)
    if life == 0 and not reset_cause:
        Machine.mem32[0] = 0  # a register forgets
    sys.modules["machine"], sys.modules["time"], sys.modules["rp2"] = Machine, Time, Rp2
    if life:
        BENCH.take()
