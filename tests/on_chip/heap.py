"""Runs on MicroPython, in a chip: four ports charge through a thousand steps with the heap locked."""

import gc

import micropython
import pins

from board.controller import contract, link
from board.controller.app import firmware
from board.controller.app.port import PortBoard

COUNT = len(pins.PORTS)
READY = (6000, -12000, 1320, 0, 1, 0, 250, 1, 1000, 4000, 6000, 6000, 6000, 230000, 230000, 230000)


class Probe:
    def __init__(self):
        boards = tuple([PortBoard(**port["board"]) for port in pins.PORTS])
        self.files = {}
        self.count = 0
        self.now_ms = 0x3FFF_FFFF - 15_000  # as a chip's own clock, it starts anew at 1 << 30
        self.chip = firmware.Firmware(boards, 63_000, 7, 0, self.now_ms, self.read, self.files.__setitem__)
        for i in range(COUNT):
            for k in range(firmware.INPUTS_PER_PORT):
                self.chip.inputs[1 + firmware.INPUTS_PER_PORT * i + k] = READY[k]

    def read(self, name):
        return self.files.get(name, b"")

    def say(self, *message):
        self.chip.receive(link.frame(0, contract.pack(*message)), self.now_ms)

    def step(self, lock):
        """One turn; with `lock` no allocation is possible in it but for what is heard and said."""
        chip = self.chip
        self.now_ms = self.now_ms + 10 & 0x3FFF_FFFF
        self.count += 1
        if self.count % 50 == 0:
            self.say(contract.WISH, contract.MINOR_LAST, ((6_000, 0, 1, 0),) * COUNT)
        if self.count % 50 == 25:
            self.say(contract.LIGHTS, contract.MINOR_LAST, ((4, 20 << 5 | 20),) * COUNT)
        if lock:
            micropython.heap_lock()
        chip.step(self.now_ms)
        chip.keep(self.now_ms)
        self.obey()
        if lock:
            micropython.heap_unlock()
        chip.sent(len(chip.unsent(self.now_ms)))

    def obey(self):
        """Contactors, bolts and detectors follow; meters count."""
        inputs, outputs = self.chip.inputs, self.chip.outputs
        for i in range(COUNT):
            at, to = 1 + firmware.INPUTS_PER_PORT * i, 3 + firmware.OUTPUTS_PER_PORT * i
            inputs[at + firmware.CONTACTOR] = outputs[to + firmware.COIL]
            inputs[at + firmware.LOCKED] = outputs[to + firmware.LOCK]
            inputs[at + firmware.TRIPPED] = outputs[to + firmware.GF_TEST]
            inputs[at + firmware.ENERGY] += outputs[to + firmware.COIL]


probe = Probe()
gc.collect()
free = gc.mem_free()
probe.say(contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH)
probe.say(contract.LIMIT, 63_000, 6_000, 60)
for _ in range(1_000):
    probe.step(False)
used = locked = grown = 0  # names of a module cost memory when they are new
gc.collect()
used = gc.mem_alloc()
for _ in range(1_000):
    probe.step(True)
    locked += 1
gc.collect()
grown = gc.mem_alloc() - used
print("coils = %d" % sum([port.coil for port in probe.chip.controller.ports]))
print("locked steps = %d" % locked)
print("free after boot = %d" % free)
print("grown = %d" % grown)
