"""Runs on MicroPython: boot.py and the RP2040's port layer as they are, on a `machine` whose pins are numbers on a bus.

    start(LINK_FD, PINS_FD, FOLDER, RESET_CAUSE, MUX)    MUX: the select pins of the analogue multiplexer

in   clock_ms, the level of each pin, then for each converter and each position of the multiplexer in front of it what
     is read in the pilot's positive half, and in its negative half
out  clock_ms, then for each pin the level that it is driven to, then for each pin the duty of its PWM; -1 = neither

Frames as in board/controller/unix.py, always in lockstep. Time passes only while the firmware waits.
"""

import os
import select
import sys
from array import array

PINS, POSITIONS = 30, 8
FIRST_ADC, ADCS = 26, 4
READ_US = 100
FOREVER = 1 << 30


class Bench:
    def __init__(self, link_fd, pins_fd, mux):
        from board.controller.unix import Bus

        self.bus = Bus(open(pins_fd, "r+b"))
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


class Timer:
    """For whoever flashes it: nobody does here."""


class Machine:
    WDT_RESET = 3


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


def start(link_fd, pins_fd, folder, reset_cause, mux):
    global BENCH  # noqa: PLW0603
    BENCH = Bench(link_fd, pins_fd, mux)
    os.chdir(folder)
    for part in (Pin, ADC, PWM, UART, WDT, Timer):
        setattr(Machine, part.__name__, part)
    Machine.reset_cause = lambda: Machine.WDT_RESET if reset_cause else 0
    Machine.reset = lambda: sys.exit(1)
    sys.modules["machine"], sys.modules["time"] = Machine, Time
    BENCH.take()
