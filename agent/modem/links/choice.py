"""Which bearer, where the config file says `auto`. One table. Pure."""

from collections.abc import Callable

from msgspec import Struct


class Facts(Struct, frozen=True):
    """What is known before anything is dialled."""

    is_managed: bool = False  # ModemManager runs, and shows a modem
    has_port: bool = False  # an AT port is configured or found
    has_data_port: bool = False  # another one to dial on
    has_interface: bool = False  # a network interface of the same USB device, driven by cdc_ether and its like
    has_ppp: bool = False  # the kernel knows PPP, and pppd is installed
    has_dhcp: bool = False  # busybox is installed
    interface: str = ""  # named in the config file


ROWS: tuple[tuple[str, str, Callable[[Facts], bool]], ...] = (
    ("modemmanager", "it owns the modem: its port is never ours", lambda f: f.is_managed),
    ("ecm", "fastest, and the AT port stays free", lambda f: f.has_port and f.has_interface and f.has_dhcp),
    ("ppp", "every modem knows it", lambda f: f.has_port and f.has_ppp),
    ("ecm", "says what is missing for it", lambda f: f.has_port and f.has_interface),
    ("ppp", "says what is missing for it", lambda f: f.has_port),
    ("given", "an interface that somebody else sets up", lambda f: True),
)


def chosen(facts: Facts) -> tuple[str, str]:
    """The bearer, and why that one."""
    return next((name, why) for name, why, holds in ROWS if holds(facts))
