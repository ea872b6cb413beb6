"""What an RP2040 runs first, in each of a boot's two lives (`slots.py`): contactors open and test currents off before
anything else is even imported. Frozen into its MicroPython, and never replaced over the line."""

import fixed
import machine

for pin in fixed.LOW:
    machine.Pin(pin, machine.Pin.OUT, value=0)

import micropython  # noqa: E402

if fixed.IS_PRODUCTION:
    micropython.kbd_intr(-1)  # the prompt can do anything, also close a contactor

WORD = 0x4005_800C  # watchdog SCRATCH0 (RP2040 datasheet, 4.7.6): survives a reset, and no power cut
RUN = 0x57A1_0100

word = machine.mem32[WORD]
try:
    if word & 0xFFFF_0100 == RUN:
        machine.mem32[WORD] = word & ~0x0100
        from board.controller import start_rp2

        start_rp2.start(word)
    else:
        from board.controller import home_rp2

        home_rp2.decide()
except Exception:
    if not fixed.IS_PRODUCTION:
        raise  # at the prompt it can be read; the watchdog ends that, too
if fixed.IS_PRODUCTION:
    machine.reset()
