"""What this station is made of, as Linux tells: the addresses of its network devices and the way out. Never raises."""

import fcntl
import socket
import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent import __version__, zones
from agent.board import Board
from agent.events import Machine
from agent.hal.gpio import CLOUDS_OUTPUTS

DEVICES = Path("/sys/class/net")
ROUTES = Path("/proc/net/route")
ARP = Path("/proc/net/arp")
MACS_MAX = 8
SIOCGIFCONF = 0x8912  # netdevice(7)
IFCONF = struct.Struct("@iP")  # bytes, where
IFREQ_B = 40 if struct.calcsize("P") == 8 else 32  # a name of 16, a sockaddr_in; with the room of the largest member
INTERFACES_MAX = 64
MODEMS = ("ww", "ppp", "rmnet")  # what Linux and systemd call their interfaces
NO_MAC = "00:00:00:00:00:00"  # loopback, and modems that are no Ethernet


def machine_of(board: Board, devices: Path = DEVICES, routes: Path = ROUTES) -> Machine:
    gateway = next(gateways(lines(routes)), "")
    return Machine(
        model=board.name, firmware_version=__version__, macs=tuple(macs(devices))[:MACS_MAX], gateway=gateway,
        outputs=tuple((each.name, each.safe) for each in board.output if each.role in CLOUDS_OUTPUTS),
        contacts=tuple(each.name for each in board.input if each.role == "tamper"), zones=zones.names(),
        connectors=tuple(port.connector for port in board.port), has_gnss=board.gnss is not None,
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


def first_gateway(routes: Path = ROUTES) -> str:
    """The address that default routes lead to; "" without one."""
    return next(gateways(lines(routes)), "")


def neighbour(address: str, table: Path = ARP) -> bool | None:
    """Whether it has answered Linux (proc(5), /proc/net/arp: flag 2 is a complete entry); None: it was not asked."""
    for line in lines(table):
        match line.split():
            case [found, _, flags, *_] if found == address:
                return flags not in ("0x0", "0x00")
    return None


def interface_of(address: str) -> str:
    """Whose this IPv4 address is; "" if nobody's."""
    return next((name for name, each in addresses() if each == address), "")


def address_of(interface: str) -> str:
    """Its first IPv4 address; "" without one."""
    return next((address for name, address in addresses() if name == interface), "")


def addresses() -> Iterator[tuple[str, str]]:
    """Interface and IPv4 address of each that has one."""
    room = array("B", bytes(IFREQ_B * INTERFACES_MAX))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        told = fcntl.ioctl(asked, SIOCGIFCONF, IFCONF.pack(len(room), room.buffer_info()[0]))
    size, _ = IFCONF.unpack(told)
    for at in range(0, size, IFREQ_B):
        row = room[at : at + IFREQ_B].tobytes()
        name = row[:16].partition(b"\0")[0].partition(b":")[0].decode("ascii", "replace")
        yield name, socket.inet_ntoa(row[20:24])


def is_mobile(interface: str, devices: Path = DEVICES) -> bool:
    """A modem's, by its name or by its driver's word."""
    return interface.startswith(MODEMS) or "DEVTYPE=wwan" in lines(devices / interface / "uevent")


def leads_out(interface: str, routes: Path = ROUTES) -> bool:
    """It has a default route: whatever it is, behind it is the Internet."""
    return any(route.split()[:2] == [interface, "00000000"] for route in lines(routes))


def ways_out(routes: Path = ROUTES) -> list[str]:
    """Interfaces with a default route, in the kernel's order."""
    return [words[0] for route in lines(routes) if len(words := route.split()) > 1 and words[1] == "00000000"]


def lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").split("\n")
    except OSError:
        return []
