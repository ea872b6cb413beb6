"""What this station is made of, as Linux tells: the addresses of its network devices and the way out. Never raises."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from agent import __version__, zones
from agent.board import Board
from agent.events import Machine
from agent.hal.gpio import CLOUDS_OUTPUTS

DEVICES = Path("/sys/class/net")
ROUTES = Path("/proc/net/route")
MACS_MAX = 8
NO_MAC = "00:00:00:00:00:00"  # loopback, and modems that are no Ethernet


def machine_of(board: Board, devices: Path = DEVICES, routes: Path = ROUTES) -> Machine:
    gateway = next(gateways(lines(routes)), "")
    return Machine(
        model=board.name, firmware_version=__version__, macs=tuple(macs(devices))[:MACS_MAX], gateway=gateway,
        outputs=tuple((each.name, each.safe) for each in board.output if each.role in CLOUDS_OUTPUTS),
        contacts=tuple(each.name for each in board.input if each.role == "tamper"), zones=zones.names(),
    )  # fmt: skip


def macs(devices: Path) -> Iterator[str]:
    """Of the devices that are hardware, by name; bridges, tunnels and loopback have no `device`."""
    try:
        found = sorted(device for device in devices.iterdir() if (device / "device").exists())
    except OSError:
        return
    for device in found:
        for mac in lines(device / "address"):
            if mac and mac != NO_MAC:
                yield mac


def gateways(routes: Iterable[str]) -> Iterator[str]:
    """Of the default routes in /proc/net/route (proc(5)): hexadecimal, in the byte order of the machine."""
    for route in routes:
        match route.split():
            case [_, "00000000", str(gateway), *_] if gateway != "00000000":
                try:
                    yield ".".join(str(byte) for byte in reversed(bytes.fromhex(gateway)))
                except ValueError:
                    continue


def lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").split("\n")
    except OSError:
        return []
