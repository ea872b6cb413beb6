"""A DHCP lease, as busybox's udhcpc tells its script, and the script that hands it on. Pure."""

import re

from msgspec import Struct

from agent.modem.links.pppd import DNS_MAX, ipv4

KEYS = ("ip", "mask", "router", "dns", "mtu", "lease")
# One line for each event. What a server has sent stands only in its own field: udhcpc has made numbers of it.
SCRIPT = "#!/bin/sh\nprintf '%s\\n' \"lease event=$1 {}\"\n".format(" ".join(f"{key}=${key}," for key in KEYS))
FIELD = re.compile(r"([a-z]+)=([^,=]*)(?:,|\Z)")


class Lease(Struct, frozen=True):
    address: str
    prefix: int  # bits
    router: str = ""  # "": the modem answers for every address
    dns: tuple[str, ...] = ()
    mtu: int | None = None


class Lost(Struct, frozen=True):
    """There is no lease, or none any more."""


def heard(line: str) -> Lease | Lost | None:
    """One line of the script. None: it says nothing of a lease."""
    head, _, rest = line.strip().partition(" ")
    event, _, facts = rest.partition(" ")
    if head != "lease" or not event.startswith("event="):
        return None
    if event not in ("event=bound", "event=renew"):
        return Lost() if event in ("event=deconfig", "event=nak", "event=leasefail") else None
    found = {key.strip(): value.strip() for key, value in FIELD.findall(facts)}
    address, prefix = ipv4(found.get("ip", "")), found.get("mask", "")
    if not address or not prefix.isascii() or not prefix.isdigit() or not 0 < int(prefix[:3]) <= 32:
        return Lost()
    routers = [each for text in found.get("router", "").split() if (each := ipv4(text))]
    dns = [each for text in found.get("dns", "").split() if (each := ipv4(text))]
    router = routers[0] if routers else ""
    return Lease(address, int(prefix[:3]), router, tuple(dns[:DNS_MAX]), mtu(found.get("mtu", "")))


def mtu(text: str) -> int | None:
    """None: none was said, or one that can be none."""
    value = int(text[:5]) if text.isascii() and text.isdigit() else 0
    return value if 576 <= value <= 1_500 else None
