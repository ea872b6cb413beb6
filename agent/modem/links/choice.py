"""Which bearer, where the config file says `auto`: one table, the first row that holds. Pure."""

from collections.abc import Callable

from msgspec import Struct


class Facts(Struct, frozen=True):
    """What is seen before anything is opened or dialled."""

    is_managed: bool = False  # ModemManager has the port open
    has_port: bool = False  # the config file names an AT port
    has_interface: bool = False  # the same USB device has a network interface
    has_ppp: bool = False  # the kernel knows PPP, and pppd is installed
    has_dhcp: bool = False  # busybox is installed, whose udhcpc is our DHCP client


ROWS: tuple[tuple[str, str, Callable[[Facts], bool]], ...] = (
    ("modemmanager", "it owns the modem: its port is never ours", lambda f: f.is_managed),
    ("ecm", "fastest, and the AT port stays free", lambda f: f.has_port and f.has_interface and f.has_dhcp),
    ("ppp", "every modem knows it", lambda f: f.has_port and f.has_ppp),
    ("ecm", "says what is missing for it", lambda f: f.has_port and f.has_interface),
    ("given", "an interface that somebody else sets up", lambda f: True),
)


def chosen(facts: Facts) -> tuple[str, str]:
    """The bearer, and why that one."""
    return next((name, why) for name, why, holds in ROWS if holds(facts))
