"""The firmware's hardware on an RP2040. The module `pins` says where everything is (`board/firmware.py` has its shape):

    PORTS[i]["pins"]    outputs, high = on: contactor, gf_test, lock; inputs, high = closed, locked, tripped:
                        contactor_feedback, lock_feedback, gf_trip; pilot_pwm, high = +12 V; analogue: pilot,
                        proximity, temperature; outputs, high = lit: led_red, led_green, led_blue
    STATION             emergency_stop, an input, high = pressed, and so is a broken wire; uart, tx, rx, baud; mux, the
                        select pins of an analogue multiplexer, lowest bit first, or (); pilot_mv, what the pilot's
                        divider reads as 0 and as 65,535; meter, a module with `read(index, inputs, at)`, or None;
                        its OSError is a meter that does not answer

An analogue signal is (pin, position of the multiplexer). None: the board has no such signal. It may lack a socket's
lock, lock_feedback and proximity, lights, and the emergency stop, if that is in the coils' circuit alone. Where a light
lacks the colour that is asked for, it shows the rhythm in the first that it has. Temperature sensors
give 500 mV at 0 degrees and 10 mV more for each (TMP235). Without a meter module a port stays in meter_fault, for what
is not measured is not sold, unless Linux reads its meter.
"""

import gc
import os
import time
from array import array

import machine
import pins
from machine import ADC, PWM, UART, WDT, Pin, mem32

from board.controller import contract, main
from board.controller.app import firmware
from board.controller.app.port import PortBoard

STEP_MS = 10
WATCHDOG_MS = 2_000
PILOT_US = 1_100  # a period of the pilot and a little: its halves are the highest and the lowest of what is read in it
PILOT_HZ = 1_000
SUPPLY_MV = 3_300
LINE_MAX = 128  # bytes taken from the line in a turn; it brings 115
SEND_MAX = 100  # and given to it: a UART whose buffer is full waits for the line
WORD = 0x4005_800C  # as in boot.py
FOLDER = "/flash/"  # where the boot part has mounted the littlefs
OUTPUTS = ("contactor", "lock", "gf_test")  # in the order of firmware.COIL, LOCK, GF_TEST
LEDS = ("led_red", "led_green", "led_blue")  # in the order of contract.RED, GREEN, BLUE
# In the order of firmware.CONTACTOR, LOCKED, TRIPPED; what a broken wire reads: closed, unlocked, tripped.
INPUTS = (("contactor_feedback", Pin.PULL_UP), ("lock_feedback", Pin.PULL_DOWN), ("gf_trip", Pin.PULL_UP))


class Analogue:
    """One converter input, behind a multiplexer or not."""

    def __init__(self, place, select):
        self.read = ADC(place[0]).read_u16
        self._position = place[1]
        self._select = select

    def choose(self):
        for i in range(len(self._select)):
            self._select[i].value(self._position >> i & 1)

    def mv(self):
        self.choose()
        return self.read() * SUPPLY_MV // 65_535


class Nothing:
    """In the place of a signal that the board has not."""

    def value(self, level=None):
        return 0

    def mv(self):
        return SUPPLY_MV  # no cable


NOTHING = Nothing()


class PortPins:
    def __init__(self, where, select):
        self.inputs = [NOTHING if where[name] is None else Pin(where[name], Pin.IN, pull) for name, pull in INPUTS]
        self.outputs = []
        for name, feedback in zip(OUTPUTS, self.inputs):  # a bolt stays as it is: not even for a moment is it released
            level = feedback.value() if name == "lock" else 0
            self.outputs.append(NOTHING if where[name] is None else Pin(where[name], Pin.OUT, value=level))
        self.pilot_pwm = PWM(Pin(where["pilot_pwm"]), freq=PILOT_HZ, duty_u16=65_535)
        self.pilot = Analogue(where["pilot"], select)
        self.proximity = Analogue(where["proximity"], select) if where["proximity"] else NOTHING
        self.temperature = Analogue(where["temperature"], select)
        self.leds = [(1 << i, Pin(where[LEDS[i]], Pin.OUT, value=0)) for i in range(3) if where[LEDS[i]] is not None]
        self.colours = sum([colour for colour, _ in self.leds])

    def set(self, outputs, at):
        self.pilot_pwm.duty_u16(outputs[at + firmware.DUTY] * 65_535 // 10_000)
        for i in range(len(self.outputs)):
            level = outputs[at + firmware.COIL + i]
            self.outputs[i].value(self.inputs[i].value() if level == firmware.HELD else level)
        light = outputs[at + firmware.LIGHT]
        is_other = light > 0 and light & self.colours == 0
        for i in range(len(self.leds)):
            self.leds[i][1].value(int((is_other and i == 0) or light & self.leds[i][0] > 0))

    def get(self, inputs, at, low_mv, high_mv):
        """`low_mv`, `high_mv`: what the pilot's divider reads as 0 and as 65,535."""
        read, ticks_us, ticks_diff = self.pilot.read, time.ticks_us, time.ticks_diff
        self.pilot.choose()
        highest, lowest = 0, 65_535
        begin_us = ticks_us()
        while ticks_diff(ticks_us(), begin_us) < PILOT_US:  # the shorter half lasts 40 us at 80 A: nothing slow in here
            raw = read()
            if raw > highest:
                highest = raw
            if raw < lowest:
                lowest = raw
        span_mv = high_mv - low_mv
        inputs[at + firmware.CP_HIGH] = low_mv + (highest >> 2) * span_mv // 16_383  # a small integer also on 32 bits
        inputs[at + firmware.CP_LOW] = low_mv + (lowest >> 2) * span_mv // 16_383
        inputs[at + firmware.PP] = self.proximity.mv()
        for i in range(len(self.inputs)):
            inputs[at + firmware.CONTACTOR + i] = self.inputs[i].value()
        inputs[at + firmware.TEMPERATURE] = self.temperature.mv() - 500


class Hardware:
    def __init__(self, told):
        self._told = told
        station = pins.STATION
        select = [Pin(pin, Pin.OUT, value=0) for pin in station["mux"]]
        self._ports = [PortPins(port["pins"], select) for port in pins.PORTS]
        stop = station["emergency_stop"]
        self._stop = NOTHING if stop is None else Pin(stop, Pin.IN, Pin.PULL_UP)
        tx, rx = Pin(station["tx"]), Pin(station["rx"])
        self._uart = UART(station["uart"], station["baud"], tx=tx, rx=rx, rxbuf=512, txbuf=512, timeout=0)
        self._pilot_mv = station["pilot_mv"]
        self._meter = __import__(station["meter"]) if station["meter"] else None
        self._line = bytearray(LINE_MAX)
        self._outputs = array("i", [0] * (firmware.OUTPUTS_FIRST + firmware.OUTPUTS_PER_PORT * len(self._ports)))
        firmware.begin(self._outputs)
        self._firmware = self._watchdog = None
        self._due_ms = 0

    def safe(self):
        firmware.safe(self._outputs)
        self.apply()

    def boot(self):
        self._watchdog = WDT(timeout=WATCHDOG_MS)
        self._due_ms = time.ticks_ms()
        return self._due_ms

    def bind(self, chip):
        self._firmware = chip
        self._outputs = chip.outputs

    def wait(self):
        now_ms = time.ticks_ms()
        late_ms = time.ticks_diff(now_ms, self._due_ms)
        if late_ms >= STEP_MS:
            self._firmware.overruns += late_ms // STEP_MS
            self._due_ms = now_ms
        while time.ticks_diff(self._due_ms, now_ms) > 0:
            time.sleep_ms(1)
            now_ms = time.ticks_ms()
        self._due_ms = time.ticks_add(self._due_ms, STEP_MS)
        self._look()
        return now_ms

    def apply(self):
        for i in range(len(self._ports)):
            self._ports[i].set(self._outputs, firmware.OUTPUTS_FIRST + firmware.OUTPUTS_PER_PORT * i)

    def receive(self):
        """No more than is there: a UART that is asked for more waits while bytes keep coming."""
        count = min(self._uart.any(), LINE_MAX)
        if not count:
            return None
        count = self._uart.readinto(self._line, count)
        return bytes(self._line[:count]) if count else None

    def send(self, data):
        return self._uart.write(data[:SEND_MAX]) or 0

    def read(self, name):
        try:
            with open(FOLDER + name, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def write(self, name, data):
        with open(FOLDER + "new", "wb") as file:
            file.write(data)
        os.rename(FOLDER + "new", FOLDER + name)

    def feed(self):
        self._watchdog.feed()

    def boot_id(self):
        return int.from_bytes(os.urandom(4), "little")

    def reset_cause(self):
        return contract.RESET_WATCHDOG if machine.reset_cause() == machine.WDT_RESET else contract.RESET_POWER_ON

    def reset(self):
        machine.reset()

    def heap_free_b(self):
        return gc.mem_free()

    def excuse(self):
        now_ms = time.ticks_ms()
        if time.ticks_diff(now_ms, self._due_ms) > 0:
            self._due_ms = now_ms

    def image(self):
        return self._told[0]

    def confirm(self):
        if self._told[0][2]:
            os.rename(*self._told[1])
        mem32[WORD] = self._told[3]

    def halt(self):
        self._uart.flush()
        mem32[WORD] = self._told[2]
        machine.reset()

    def _look(self):
        inputs = self._firmware.inputs
        inputs[0] = self._stop.value()
        for i in range(len(self._ports)):
            at = firmware.INPUTS_FIRST + firmware.INPUTS_PER_PORT * i
            self._ports[i].get(inputs, at, self._pilot_mv[0], self._pilot_mv[1])
            if self._meter is not None:
                try:
                    self._meter.read(i, inputs, at)
                except OSError:  # its bus does not answer: that is a fault of the meter, no reason to reset
                    inputs[at + firmware.METER_OK] = 0


def start(told):
    """`told`: as that of port_unix.py, but for the last."""
    boards = tuple([PortBoard(**port["board"]) for port in pins.PORTS])
    main.run(Hardware(told), boards, pins.CIRCUIT_MAX_MA, pins.HASH)
