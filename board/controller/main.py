"""The firmware's main loop, the same on the chip and on a PC: outputs safe first, then one turn every 10 ms.

`hardware` is all that differs (`port_rp2.py`, `port_unix.py`):
    safe()              outputs safe, at once; may be called at any time, also before boot()
    boot() -> now_ms    opens the flash
    wait() -> now_ms    until the next turn is due; the firmware's `inputs` are fresh then. It may start anew at
                        firmware.CLOCK_MASK
    apply()             the firmware's `outputs` to the pins
    receive() -> bytes  what came over the line; None or b"" if nothing did
    send(data) -> count how many bytes the line took
    read(name), write(name, data)   files in flash; no such file is b""
    feed()              the watchdog
    boot_id(), reset_cause(), reset()
    heap_free_b()       0 = unknown
    excuse()            a pause that was meant: what is late by now is no overrun
    halt()              a reset into the receiver (`receive.py`)
    image()             as contract.FIRMWARE has it; on trial it goes at the next resets unless `confirm` comes before
    confirm()           it stays; OSError: the flash does not take it
    bind(firmware)      before the first turn
"""

import gc
import sys

from board.controller.app.firmware import CLOCK_MASK, Firmware

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLLECT_MS = 500  # what messages left behind is collected between two turns, never in the middle of one
SOUND_MS = 10_000  # a host that wishes for so long, without a break, is one that this image serves
TRIAL_MS = 120_000  # a new image that no host likes by then gives way: a host that boots has come
STARVED_MAX = 100  # turns without memory for what is said: then nothing but a reset will find any


def run(hardware: "Any", boards: "Any", circuit_max_ma: int, pins_hash: str = "") -> None:
    """Ends in `halt` when the host has asked for it, and with Ctrl-C at the prompt; whatever goes wrong ends in a
    reset, with safe outputs."""
    hardware.safe()
    try:
        _loop(hardware, boards, circuit_max_ma, pins_hash)
    except KeyboardInterrupt:
        hardware.safe()
    except BaseException as error:
        hardware.safe()
        try:
            _tell(error)
        finally:
            hardware.reset()
    else:
        hardware.safe()
        try:
            hardware.halt()
        finally:
            hardware.reset()


def _loop(hardware: "Any", boards: "Any", circuit_max_ma: int, pins_hash: str) -> None:
    """An image on trial may stay once a host has wished for SOUND_MS. A wish comes from a host that has understood the
    WELCOME: contract and pin table fit, the line works both ways, and the loop has run until here. A ground-fault
    self-test is not waited for: it needs a car, and a trial of days would end with any power cut."""
    now_ms = hardware.boot()
    firmware = Firmware(
        boards,
        circuit_max_ma,
        hardware.boot_id(),
        hardware.reset_cause(),
        now_ms,
        hardware.read,
        hardware.write,
        pins_hash,
        hardware.image(),
    )
    hardware.bind(firmware)
    if hasattr(gc, "threshold"):
        gc.threshold(-1)  # from here on between two turns alone
    collected_ms = begun_ms = now_ms
    wished_ms = None  # since when a host wishes
    is_proven = False
    while not firmware.is_over():
        now_ms = hardware.wait()
        turn(firmware, hardware, now_ms)
        if now_ms - collected_ms & CLOCK_MASK >= COLLECT_MS:
            collected_ms = now_ms
            gc.collect()
            firmware.heap_free_b = hardware.heap_free_b()
        if is_proven:
            pass
        elif hardware.image()[2] and now_ms - begun_ms & CLOCK_MASK >= TRIAL_MS:
            raise OSError("on trial, and no host has wished for long enough")
        elif not firmware.is_wished(now_ms):
            wished_ms = None
        elif wished_ms is None:
            wished_ms = now_ms
        elif now_ms - wished_ms & CLOCK_MASK >= SOUND_MS:
            wished_ms = now_ms
            is_proven = _prove(firmware, hardware)


def _prove(firmware: Firmware, hardware: "Any") -> bool:
    """False: the flash did not take it, or nothing is left to say it."""
    try:
        hardware.confirm()
        firmware.controller.proven()
    except (OSError, MemoryError):
        return False
    finally:
        hardware.excuse()
    return True


def turn(firmware: Firmware, hardware: "Any", now_ms: int) -> None:
    """Listen, think, act, then speak and remember. Only thinking and acting need no memory: a message for which there
    is none is lost, as on a bad line, and the ports go on."""
    starved, writes = firmware.starved, firmware.keeper.writes
    try:
        data = hardware.receive()
        if data:
            firmware.receive(data, now_ms)
    except MemoryError:
        firmware.starved += 1
    firmware.step(now_ms)
    hardware.apply()
    try:
        data = firmware.unsent(now_ms)
        if data:
            firmware.sent(hardware.send(data))
        firmware.keep(now_ms)
    except MemoryError:
        firmware.starved += 1
    if firmware.keeper.writes != writes:  # flash stops the chip
        hardware.excuse()
    if firmware.starved == starved:
        firmware.starved = 0
    elif firmware.starved > STARVED_MAX:
        raise MemoryError()
    hardware.feed()


def _tell(error: BaseException) -> None:
    if hasattr(sys, "print_exception"):
        sys.print_exception(error)
