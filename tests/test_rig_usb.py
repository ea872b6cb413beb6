"""Our link to the port controller behind a USB adapter: a virtual x86 machine with Linux' driver for FTDI's chips and
udev, the line of its adapter on the host, and there the real firmware in MicroPython.

The pins are watched on the host. The car neither hears nor sees the machine.
"""

import asyncio
import termios
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest

from agent.sim.box import Box
from agent.sim.car import Car
from board.controller.contract import HOST_SILENT_MS
from board.firmware import facts_of, hash_of
from tests.process import until
from tests.qemu import Kind, Machine, initramfs, machine
from tests.rig import LATE_MS, TETHERED, WatchedController, need_interpreter

X86 = Kind(
    debian="amd64",
    wheel="x86_64",
    qemu=("qemu-system-x86_64", "-M", "pc", "-cpu", "qemu64"),
    devices=("-device", "qemu-xhci,id=usb"),
    console="ttyS0",
    packages=("linux-image-amd64", "udev"),
    wheels=("cbor2", "msgspec", "pyserial"),
    modules=("usb-common", "usbcore", "xhci-hcd", "xhci-pci", "usbserial", "ftdi_sio"),
    used=(
        "bin/udevadm", "lib/systemd/systemd-udevd",
        "lib/udev/rules.d/50-udev-default.rules", "lib/udev/rules.d/60-serial.rules",
    ),
    first="/lib/systemd/systemd-udevd --daemon",
)  # fmt: skip
CIRCUIT_MA, FAILSAFE_MA, GRACE_S = 32_000, 9_000, 20
OFFER_MA = 15_000  # like the failsafe current a whole number of the duty's steps
ORDERLY_MS = 6_000  # S1: PWM off, then the car has so long to let go
NAME = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{}-if00-port0"


class Host:
    """Answers the machine's questions, and has the adapters in its hand."""

    def __init__(self, box: Box, hardware: WatchedController) -> None:
        self.box, self.hardware = box, hardware
        self.baud = 0
        self.killed = False
        self.gaps: list[tuple[int, list[int]]] = []  # for how long no wish came, and what the pilot has offered since
        self._before: tuple[int, int] = (0, 0)  # wishes and changes of the offer until the last pull

    async def ask(self, of: Machine, word: str) -> Any:
        match word:
            case "facts":
                return {
                    "name": NAME.format("C1"), "other": NAME.format("X9"), "offer_ma": OFFER_MA,
                    "limits": [CIRCUIT_MA, FAILSAFE_MA, GRACE_S],
                    "pins_hash": hash_of(facts_of(CIRCUIT_MA, [{"board": vars(TETHERED), "pins": {}}] * 2, {})),
                }  # fmt: skip
            case "plug_in":
                await self.plug_in(of)
            case "car":
                self.box.plug(1, Car(reaction_ms=200, need_wh=50_000))
            case "charging":
                await self.offers(OFFER_MA)
                assert self.box.link.master is not None
                self.baud = termios.tcgetattr(self.box.link.master)[5]
            case "pull":
                await self.pull(of)
            case "flick":
                await self.pull(of)
                await self.plug_in(of)
            case "other":
                await self.offers(FAILSAFE_MA)
                await of.qmp("device_add", driver="usb-serial", bus="usb.0", port="2", chardev="echo", serial="X9")
            case "again":
                return await self.again()
            case "kill":
                of.kill()
                self.killed = True
            case _:
                raise AssertionError(word)
        return None

    async def plug_in(self, of: Machine) -> None:
        facts = {"driver": "usb-serial", "bus": "usb.0", "port": "1", "chardev": "line", "serial": "C1"}
        await of.qmp("device_add", id="line", **facts)

    async def pull(self, of: Machine) -> None:
        self._before = len(self.hardware.wished_ms), len(self.offered())
        await of.qmp("device_del", id="line")
        while any(each["label"] == "line" and each["frontend-open"] for each in await of.qmp("query-chardev")):
            pass  # QEMU lets go of the line a moment later

    async def again(self) -> int:
        """Once the wishes come again: for how long none came."""
        wishes, offers = self._before
        count = len(self.hardware.wished_ms)
        await when(lambda: len(self.hardware.wished_ms) >= count + 2)
        await self.offers(OFFER_MA)
        gap_ms = max(b - a for a, b in pairwise(self.hardware.wished_ms[wishes - 1 :]))
        self.gaps.append((gap_ms, [ma for _, ma in self.offered()[offers:]]))
        return gap_ms

    async def offers(self, ma: int) -> None:
        await when(lambda: self.offered()[-1][1] == ma)

    def offered(self) -> list[tuple[int, int]]:
        return self.hardware.edges(0, "offer_ma")

    def clicks(self) -> list[tuple[int, int]]:
        return self.hardware.edges(0, "contactor")


async def when(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    await asyncio.to_thread(until, is_so, seconds)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


@pytest.mark.long
@pytest.mark.promise("S1", "S11")
@pytest.mark.timeout(600)
@pytest.mark.needs("qemu-system-x86_64", "qemu-system-x86")
@pytest.mark.needs("mmdebstrap")
def test_a_usb_adapter_that_comes_and_goes_is_not_heard_in_the_contactor(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    need_interpreter()
    initrd = initramfs(X86, tmp_path / "initrd", "tests.guest_usb")
    hardware = WatchedController(tmp_path, CIRCUIT_MA, failsafe_ma=FAILSAFE_MA, grace_s=GRACE_S)
    box = Box(hardware).start()
    box.power_on()
    host = Host(box, hardware)
    chardevs = (f"serial,id=line,path={box.link.path}", f"socket,id=echo,path={tmp_path / 'echo'}")
    options = [option for each in chardevs for option in ("-chardev", each)]

    async def story() -> Machine:
        async with await asyncio.start_unix_server(echo, tmp_path / "echo"):
            async with asyncio.timeout(240), machine(X86, tmp_path, initrd, *options) as running:
                await running.listen(host.ask)
            if host.killed:
                await when(lambda: len(host.clicks()) >= 2, GRACE_S + 30.0)
            return running

    try:
        ran = asyncio.run(story())
    finally:
        box.close()
    facts, log = ran.facts, "\n".join(ran.log[-60:])
    assert host.killed and "Traceback" not in log, log
    assert hardware.broken == [] and hardware.boots == 1, hardware.log.read_text()
    assert hardware.observer.closes == 1

    # Who is there: not the controller of another board, and at the speed that was asked for.
    assert "pin table" in facts["other_board"] and facts["circuit_ma"] == CIRCUIT_MA
    assert (host.baud, facts["charging"]) == (termios.B115200, "C")
    # Pulled out and put in again: found by its name, whatever number it has now.
    assert facts["device"] == "/dev/ttyUSB0" and facts["devices"] == ["/dev/ttyUSB1", "/dev/ttyUSB0"]
    assert "line is gone" in facts["lost"] and facts["same_boot"] and facts["same_names"]
    # Less current after 3 s without a wish, and what was asked for as soon as it is asked for again; nothing before.
    (long_ms, offered), *others = host.gaps
    assert long_ms > HOST_SILENT_MS and offered == [FAILSAFE_MA, OFFER_MA]
    short_ms, offered = min(others)
    assert short_ms < HOST_SILENT_MS and offered == []
    # Killed: less current, then none, then no contact; and not a moment sooner.
    last_ms = hardware.wished_ms[-1]
    (less_at, less_ma), (none_at, none_ma) = host.offered()[-2:]
    (_, on), (opened_at, off) = host.clicks()
    assert (less_ma, none_ma, on, off) == (FAILSAFE_MA, 0, 1, 0)
    assert 0 <= less_at - last_ms - HOST_SILENT_MS <= LATE_MS
    assert 0 <= none_at - last_ms - GRACE_S * 1000 <= LATE_MS
    assert 0 <= opened_at - none_at <= ORDERLY_MS + LATE_MS
    record_property("fact", said(facts["latency_timer_ms"], facts["trips_ms"], short_ms))


def said(latency_timer_ms: int, trips_ms: list[float], gap_ms: int) -> str:
    """QEMU's chip is not a real one: it starts with another latency timer, and waits for none."""
    percent = quantiles(trips_ms, n=100)
    took = f"64 bytes there and back p50 {percent[49]:.1f} ms, p99 {percent[98]:.1f} ms"
    return f"USB adapter in QEMU: latency_timer {latency_timer_ms} ms; {took}; out and in again in {gap_ms} ms"
