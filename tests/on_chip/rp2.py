"""Runs on MicroPython: the RP2040's port layer on a `machine` that only remembers, until its watchdog was fed 30 times.

Prints the level of each pin and the pilot's duty at the first time that it was fed, at the last, and after the reset,
what broken wires read, and the longest that a turn had to wait for its UART, in bytes.
"""

import sys

import vfs

LEVELS, DUTIES, PULLS, UARTS, WAITED = {8: 1}, {}, {}, [], [0]  # a bolt is in


class Pin:
    IN, OUT, PULL_UP, PULL_DOWN = 0, 1, 2, 3

    def __init__(self, number, mode=IN, pull=None, value=None):
        self.number = number
        if mode == self.IN:
            PULLS[number] = pull
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
    """As the chip's: who asks for more than there is, or gives more than there is room for, waits for the line."""

    def __init__(self, number, baud, rxbuf, txbuf, **options):
        self.waiting, self.room = HELLO * 20, txbuf
        UARTS.append(self)

    def any(self):
        return len(self.waiting)

    def readinto(self, buffer, count=None):
        wanted = count or len(buffer)
        WAITED[0] = max(WAITED[0], wanted - len(self.waiting))
        data, self.waiting = self.waiting[:wanted], self.waiting[wanted:]
        buffer[: len(data)] = data
        return len(data)

    def flush(self):
        pass

    def write(self, data):
        WAITED[0] = max(WAITED[0], len(data) - self.room)
        self.room = max(0, self.room - len(data))
        SENT.append(bytes(data))
        return len(data)

    def carry(self):
        self.room = min(512, self.room + 115)


class Meter:
    """One whose bus does not answer now and then."""

    count = 0

    @staticmethod
    def read(index, inputs, at):
        Meter.count += 1
        inputs[at + firmware.METER_OK] = 1
        if Meter.count == 10:
            raise OSError(5)


class WDT:
    def __init__(self, timeout):
        self.fed = 0
        WDT.newest = self

    def feed(self):
        self.fed += 1
        UARTS[-1].carry()
        if self.fed == 20:
            UARTS[-1].waiting += HALTING
        if self.fed == 1:
            show()
        if self.fed == 30 and not HALTING:
            show()
            LEVELS[4] = 1  # a contactor that nobody wanted
            raise ValueError("bug")


class Machine:
    WDT_RESET = 3
    mem32 = {}  # noqa: RUF012

    @staticmethod
    def reset_cause():
        return 3

    @staticmethod
    def reset():
        show()


def show():
    print([LEVELS[pin] for pin in (4, 5, 6)], DUTIES[3])


class Ram:
    """A flash for its files."""

    data = bytearray(8 * 4_096)

    def readblocks(self, block, data, offset=0):
        at = 4_096 * block + offset
        data[:] = memoryview(Ram.data)[at : at + len(data)]

    def writeblocks(self, block, data, offset=0):
        at = 4_096 * block + offset
        Ram.data[at : at + len(data)] = data

    def ioctl(self, op, arg):
        return {4: 8, 5: 4_096}.get(op, 0)


vfs.VfsLfs2.mkfs(Ram())
vfs.mount(vfs.VfsLfs2(Ram()), "/flash")
for part in (Pin, ADC, PWM, UART, WDT):
    setattr(Machine, part.__name__, part)
sys.modules["machine"], sys.modules["meter"] = Machine, Meter

from board.controller import contract, link, port_rp2  # noqa: E402
from board.controller.app import firmware  # noqa: E402

SENT = []
VERSION = (contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH)
HELLO = link.frame(0, contract.pack(contract.HELLO, *VERSION))
HALTING = b""
TOLD = ("1", "digest", 0, 0), ("new", "old"), 0x1000, 0
port_rp2.start(TOLD)
said = [contract.unpack(body) for _, body in link.Deframer().feed(b"".join(SENT))]
welcome, report = said[0], next(message for message in said if message[0] == contract.REPORT)
print([PULLS[pin] for pin in (7, 8, 6)], WAITED[0])
print(welcome[7], report[3][0], report[3][15])

SENT, HALTING = [], link.frame(1, contract.pack(contract.HALT, contract.MINOR_LAST))
LEVELS[4] = 1
port_rp2.start(TOLD)  # a reset into the receiver
said = [contract.unpack(body)[0] for _, body in link.Deframer().feed(b"".join(SENT))]
print(contract.HALTED in said, Machine.mem32)
port = port_rp2.PortPins(port_rp2.pins.PORTS[0]["pins"], [])
for light in (contract.RED | contract.GREEN | contract.BLUE, 0, contract.GREEN, contract.BLUE):
    port.set([port_rp2.firmware.STEADY, 0, 0, 0, light], 0)
    print([LEVELS[pin] for pin in (14, 15)])

