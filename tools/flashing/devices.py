"""flash.py devices: which serial ports there are, and which stations answer."""

import argparse
from typing import Any

from tools.flashing import schema, target
from tools.flashing.cli import Out
from tools.flashing.lines import BAUD

HELP = f"""\
Lists this machine's serial ports. Those with a USB chip that our boards have are asked who they are; others are left
alone, since an unknown device may take bytes amiss. More USB ids: {target.USB_ENV}="0403:6001 10c4:ea60"."""
EXAMPLES = """\
examples:
  flash.py devices
  STATION_USB="067b:2303" flash.py devices"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "devices", help="list serial ports, and the stations that answer there", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--baud", type=int, default=BAUD, help="default: %(default)s")
    parser.add_argument("--no-ask", action="store_true", help="ask nobody")


def run(args: argparse.Namespace, out: Out) -> int:
    out.event("began", schema=schema.SCHEMA, command=args.command)
    ports = target.found(args.baud)
    for port in ports:
        who = target.asked(port.address) if port.is_ours and not args.no_ask else None
        serial, software = str((who or {}).get("serial", "")), str((who or {}).get("software", ""))
        out.event(
            "device", address=str(port.address), what=port.what, usb=port.usb, is_ours=port.is_ours, serial=serial,
            software=software,
        )  # fmt: skip
        silent = "no answer" if port.is_ours and not args.no_ask else "not asked"
        says = f"{serial or 'a bare station'}, runs {software or '?'}" if who else silent
        out.say(f"{port.address!s:24} {port.usb or '-':10} {says:40} {port.what}".rstrip())
    if not ports:
        out.say("there is no serial port: plug the cable in; a station on the network is ssh://user@host")
    return 0
