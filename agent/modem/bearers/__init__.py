"""The bearers, one file each, behind the interface of agent/modem/bearer.py.

Which one `auto` is: the table of agent/modem/links/choice.py, by what this machine shows at the start.
"""

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from agent.modem import tty
from agent.modem.bearer import Bearer, Hands
from agent.modem.levers import usb_device
from agent.modem.links.choice import Facts, chosen

NAMES = ("ppp", "ecm", "modemmanager", "given")
PPP = Path("/dev/ppp")
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"


def maker(name: str, port: str, sys: Path = tty.SYS, ppp: Path = PPP) -> Callable[[Hands], Bearer] | None:
    """None: there is no such bearer."""
    if name == "auto":
        name, _ = chosen(seen(port, sys, ppp))
    if name not in NAMES:
        return None
    made: Callable[[Hands], Bearer] = import_module(f"{__name__}.{name}").bearer
    return made


def seen(port: str, sys: Path = tty.SYS, ppp: Path = PPP) -> Facts:
    """`port`: as in the config file."""
    device, path = usb_device(port, sys), tty.resolve(port, sys) if port else None
    return Facts(
        is_managed=path is not None and tty.holder(path).startswith("ModemManager"),
        has_port=bool(port),
        has_interface=device is not None and any(device.glob("*/net/*")),
        has_ppp=ppp.exists() and shutil.which("pppd", path=PROGRAMS) is not None,
        has_dhcp=shutil.which("busybox", path=PROGRAMS) is not None,
    )
