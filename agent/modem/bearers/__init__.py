"""The bearers, one file each, behind the interface of agent/modem/bearer.py.

`auto` takes the modem's own network interface where it shows one on USB (ecm), else a call (ppp) where this kernel has
PPP, else what routes there are (given).
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from agent.modem import tty
from agent.modem.bearer import Bearer, Hands
from agent.modem.levers import usb_device

NAMES = ("ppp", "ecm", "modemmanager", "given")
PPP = Path("/dev/ppp")


def maker(name: str, port: str, sys: Path = tty.SYS, ppp: Path = PPP) -> Callable[[Hands], Bearer] | None:
    """None: this build has no such bearer."""
    if name == "auto":
        device = usb_device(port, sys)
        has_interface = device is not None and any(device.glob("*/net/*"))
        wanted = ("ecm",) * has_interface + ("ppp",) * ppp.exists() + ("given",)
        name = next(each for each in wanted if find_spec(f"{__name__}.{each}"))
    if name not in NAMES or not find_spec(f"{__name__}.{name}"):
        return None
    made: Callable[[Hands], Bearer] = import_module(f"{__name__}.{name}").bearer
    return made
