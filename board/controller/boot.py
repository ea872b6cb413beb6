"""What the chip runs first: contactors open and test currents off before anything else is even imported."""

import pins
from machine import Pin

for port in pins.PORTS:
    for signal in ("contactor", "gf_test"):
        Pin(port["pins"][signal], Pin.OUT, value=0)

from board.controller import port_rp2  # noqa: E402

port_rp2.start()
