"""Which device is meant: the options that all commands for devices share, and serial ports that may be asked.

An unknown device may take bytes amiss, so a port is asked who it is only if its USB ids are on the list below, or if
somebody has named it.
"""

import argparse
import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.update.provision import NEVER
from agent.update.refusal import Refused
from tools.flashing import driver, steps
from tools.flashing.cli import Out
from tools.flashing.lines import BAUD, Address, address
from tools.flashing.show import Show, show_for
from tools.flashing.talk import Steps, Talk

PORT_ENV, USB_ENV = "STATION_PORT", "STATION_USB"
KNOWN_USB = (
    "0403:6001", "0403:6010", "0403:6011", "0403:6014", "0403:6015",  # FTDI FT232R, FT2232, FT4232, FT232H, FT-X
    "10c4:ea60", "10c4:ea70", "10c4:ea71",  # Silicon Labs CP210x
    "1a86:55d3", "1a86:55d4",  # WCH CH343, CH9102
)  # fmt: skip
PROBE_S = 2.0
USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")

WHERE = f"""\
Which device: --port (or {PORT_ENV}) takes a serial port, /dev/ttyUSB0 or /dev/ttyUSB0@921600; ssh://user@host, where
the key's forced command is `station-update relay`; or unix:/run/station-update/flash.sock on the station itself.
Without it the serial ports with a known USB chip are asked who they are; there must be exactly one station then."""


@dataclass(frozen=True, slots=True)
class Found:
    """A serial port of this machine."""

    address: Address
    what: str
    usb: str  # vendor:product, "" = not on USB
    is_ours: bool  # may be asked


def add(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument_group("device").add_argument
    option("--port", metavar="ADDRESS", help=f"the device's address; default: {PORT_ENV}, else the only one found")
    option("--baud", type=int, default=BAUD, help="of a serial port, if its address does not say; default: %(default)s")
    option("--serial", default="", metavar="NUMBER", help="refuse any other station than this one")
    option("--json", action="store_true", default=argparse.SUPPRESS, help="one event per line, for machines")
    option("--trace", type=Path, metavar="FILE", help="write every frame, with its time, into a file")


def usb_ids() -> set[str]:
    """Refused for a list in the environment that cannot be read."""
    more = os.environ.get(USB_ENV, "").lower().split()
    if wrong := [each for each in more if not USB.fullmatch(each)]:
        raise Refused("usage", f"{USB_ENV} names {wrong[0]!r}: type USB ids like 0403:6001, with spaces between them")
    return {*KNOWN_USB, *more}


def found(baud: int = BAUD) -> list[Found]:
    """The serial ports of this machine; none of them is opened."""
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        raise Refused("usage", "pyserial is not installed: type pip install 'station-agent[flash]'") from None
    known, ports = usb_ids(), []
    for port in sorted(comports(), key=lambda each: str(each.device)):
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else ""
        ports.append(Found(Address("serial", port.device, baud), port.description or "", usb, usb in known))
    return ports


def chosen(args: argparse.Namespace, ports: Callable[[int], list[Found]] = found) -> Address:
    """The device that is meant. Refused("no-device") if that is not clear."""
    if named := args.port or os.environ.get(PORT_ENV):
        return address(named, args.baud)
    there = [(each.address, who) for each in ports(args.baud) if each.is_ours and (who := asked(each.address))]
    if args.serial:
        meant = {args.serial, "", NEVER} if args.command == "provision" else {args.serial}
        there = [(at, who) for at, who in there if who.get("serial") in meant]
    if len(there) == 1:
        return there[0][0]
    names = ", ".join(f"{at} ({who.get('serial') or 'bare'})" for at, who in there)
    if there:
        raise Refused("no-device", f"{len(there)} stations answer, {names}: choose one with --port or --serial")
    raise Refused("no-device", "no station answers on a serial port: name its address with --port, or see devices")


def asked(to: Address) -> dict[str, Any] | None:
    """Who is there; None: nobody who speaks the flash protocol."""
    try:
        found: dict[str, Any] = driver.converse(
            to, lambda talk: steps.status(talk, lambda name, facts: None), patience_s=PROBE_S
        )
    except Refused:
        return None
    return found


def one(
    args: argparse.Namespace, out: Out, conversation: Callable[[Talk, steps.Tell], Steps]
) -> tuple[Address, Any]:
    """A conversation with the device that is meant; what it tells is shown. Refused, Interrupted."""
    to = chosen(args)
    show = show_for(out)
    out.event("began", schema=1, command=args.command)
    with closing(show), closing(Tracing(args)) as trace:
        return to, driver.converse(to, lambda talk: conversation(talk, teller(show, str(to))), trace=trace.trace)


def teller(show: Show, station: str) -> steps.Tell:
    return lambda name, facts: show.tell(station, name, facts)


class Tracing:
    """The trace that was asked for, if one was."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.trace = driver.Trace(args.trace) if args.trace else None

    def close(self) -> None:
        if self.trace:
            self.trace.close()
