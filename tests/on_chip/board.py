"""Runs on MicroPython: the RP2040's port layer on the pin table of a board, with a `machine` that only remembers.

Prints each output that was made and its level, then what the inputs of the ports are read as.
"""

import sys

LEVELS = {}


class Pin:
    IN, OUT, PULL_UP, PULL_DOWN = 0, 1, 2, 3

    def __init__(self, number, mode=IN, pull=None, value=None):
        self.number = number
        if value is not None:
            LEVELS[number] = value

    def value(self, level=None):
        if level is not None:
            LEVELS[self.number] = level
        return LEVELS.get(self.number, 1)


class ADC:
    def __init__(self, pin):
        self.pin = pin

    def read_u16(self):
        return 32_768


class Anything:
    def __init__(self, *args, **options):
        pass

    def duty_u16(self, duty):
        pass


class Machine:
    PWM = UART = WDT = Anything
    mem32 = {}  # noqa: RUF012


Machine.Pin, Machine.ADC = Pin, ADC
sys.modules["machine"] = Machine

from board.controller import port_rp2  # noqa: E402
from board.controller.app.firmware import Firmware  # noqa: E402
from board.controller.app.port import PortBoard  # noqa: E402

pins = port_rp2.pins
hardware = port_rp2.Hardware((("1", "digest", 0, 0), ("new", "old"), 0, 0))
hardware.safe()
boards = tuple([PortBoard(**port["board"]) for port in pins.PORTS])
chip = Firmware(boards, pins.CIRCUIT_MAX_MA, 1, 0, 0, lambda name: b"", lambda name, data: None, pins.HASH)
hardware.bind(chip)
hardware._look()
hardware.apply()
print(sorted(LEVELS.items()))
print(list(chip.inputs))
print(chip.controller.welcome(0)[-1])
