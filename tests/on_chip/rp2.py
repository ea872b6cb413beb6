"""Runs on MicroPython: the RP2040's port layer on a `machine` that only remembers, until its watchdog was fed 30 times.

Prints the level of each pin and the pilot's duty at the first time that it was fed, at the last, and after the reset.
"""

import os
import sys

LEVELS, DUTIES, FILES = {8: 1}, {}, {}  # a bolt is in


class Pin:
    IN, OUT, PULL_UP = 0, 1, 2

    def __init__(self, number, mode=IN, pull=None, value=None):
        self.number = number
        if value is not None:
            LEVELS[number] = value

    def value(self, level=None):
        if level is not None:
            LEVELS[self.number] = level
        return LEVELS.get(self.number, 0)


class ADC:
    """A pilot in state B under PWM or not, no cable, 25 degrees."""

    def __init__(self, pin):
        self.pin = pin
        self.count = 0

    def read_u16(self):
        self.count += 1
        if self.pin != 26:
            return 65_535 if LEVELS[10] else 750 * 65_535 // 3_300 + 1
        mv = 9_000 if self.count % 3 or DUTIES.get(3, 65_535) == 65_535 else -12_000
        return (mv + 15_000) * 65_535 // 30_000


class PWM:
    def __init__(self, pin, freq, duty_u16):
        self.number = pin.number
        self.duty_u16(duty_u16)

    def duty_u16(self, duty):
        DUTIES[self.number] = duty


class UART:
    def __init__(self, number, baud, **options):
        self.said = list(SAID)

    def any(self):
        return len(self.said)

    def readinto(self, buffer):
        data = self.said.pop()
        buffer[: len(data)] = data
        return len(data)

    def flush(self):
        pass

    def write(self, data):
        SENT.append(bytes(data))
        return len(data)


class WDT:
    def __init__(self, timeout):
        self.fed = 0
        WDT.newest = self

    def feed(self):
        self.fed += 1
        if self.fed == 1:
            show()
        if self.fed == 30 and len(SAID) == 1:
            show()
            LEVELS[4] = 1  # a contactor that nobody wanted
            raise ValueError("bug")


class Timer:
    def __init__(self, period, callback):
        self.period, self.callback = period, callback
        MADE.append(self)


class Os:
    """Of MicroPython's own there is no terminal to be had on a PC."""

    urandom, rename = os.urandom, os.rename

    @staticmethod
    def dupterm(stream):
        MADE.append(stream)


class Machine:
    WDT_RESET = 3

    @staticmethod
    def reset_cause():
        return 3

    @staticmethod
    def reset():
        show()


def show():
    print([LEVELS[pin] for pin in (4, 5, 6)], DUTIES[3])


MADE = []
for part in (Pin, ADC, PWM, UART, WDT, Timer):
    setattr(Machine, part.__name__, part)
sys.modules["machine"] = Machine

from board.controller import contract, link, port_rp2  # noqa: E402

SENT = []
VERSION = (contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.contract_hash())
HELLO = link.frame(0, contract.pack(contract.HELLO, *VERSION))
SAID = [HELLO]
port_rp2.os = Os
port_rp2.start()
welcome, report = [contract.unpack(body) for _, body in link.Deframer().feed(b"".join(SENT))][:2]
print(welcome[7], report[3][0], report[3][15])

SENT, SAID = [], [link.frame(1, contract.pack(contract.HALT, contract.MINOR_LAST))] + [b""] * 20 + [HELLO]
LEVELS[4] = 1
port_rp2.start()  # comes back: the prompt is next
timer, stream = MADE
dog = WDT.newest
fed = dog.fed
for _ in range(port_rp2.FLASHING_MS // timer.period + 100):
    timer.callback(timer)
said = [contract.unpack(body)[0] for _, body in link.Deframer().feed(b"".join(SENT))]
print(contract.HALTED in said, isinstance(stream, UART), (dog.fed - fed) * timer.period)
show()
print([LEVELS[pin] for pin in (14, 15)])

