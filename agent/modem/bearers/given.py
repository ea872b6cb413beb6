"""Ethernet, Wi-Fi, a router's LTE: an interface that somebody else sets up, and that we only look at.

It is up while it has a carrier and an address other than link-local. Nothing is set, so nothing is undone.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from math import inf
from pathlib import Path

from agent.modem.bearer import Context, Hands, Traits
from agent.modem.events import BearerFell, BearerRose, Cause

TRAITS = Traits("given")
NET = Path("/sys/class/net")
LOOK_S = 2.0
GONE = 2  # looks without it
SIOCGIFADDR = 0x8915
TUNNEL_OR_LOOP = ("lo", "ppp", "tun", "tap", "docker", "veth")


def address(interface: str) -> str:
    """Its first IPv4 address; "": it has none, or one of its own making (169.254)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, suppress(OSError):
        answer = ioctl(asking, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        found = socket.inet_ntoa(answer[20:24])
        return "" if found.startswith("169.254.") else found
    return ""


class Bearer:
    def __init__(self, hands: Hands, net: Path = NET, address_of: Callable[[str], str] = address) -> None:
        self._hands, self._net, self._address = hands, net, address_of
        self._context: Context | None = None
        self._is_up = False
        self._misses = 0
        self._look_at = inf
        self.why = ""

    @property
    def traits(self) -> Traits:
        return TRAITS

    def rise(self, context: Context) -> None:
        assert self._context is None, "it is up, or rising"
        self._context, self._is_up, self._misses = context, False, 0
        self._look_at = self._hands.now()

    def fall(self) -> None:
        self.close()
        self._hands.post(BearerFell(Cause.ASKED))

    def due(self, now: float) -> None:
        if now < self._look_at or self._context is None:
            return
        self._look_at = now + LOOK_S
        interface, found = self._looked(self._context.interface)
        self._misses = 0 if found else self._misses + 1
        if found and not self._is_up:
            self._is_up, self.why = True, ""
            self._hands.post(BearerRose(found, interface))
        elif self._misses >= GONE and self._is_up:
            self.close()
            self._hands.post(BearerFell(Cause.ENDED))
        elif not found:
            self.why = f"{self._context.interface or 'no interface'} has no address: check its cable or its Wi-Fi"

    def next_deadline(self) -> float:
        return self._look_at

    def close(self) -> None:
        self._context, self._look_at, self._is_up = None, inf, False

    def _looked(self, wanted: str) -> tuple[str, str]:
        """Which interface, and its address; "": none."""
        for name in [wanted] if wanted else self._names():
            with suppress(OSError):
                if (self._net / name / "carrier").read_text().strip() == "1" and (found := self._address(name)):
                    return name, found
        return wanted, ""

    def _names(self) -> list[str]:
        with suppress(OSError):
            return sorted(each.name for each in self._net.iterdir() if not each.name.startswith(TUNNEL_OR_LOOP))
        return []


def bearer(hands: Hands) -> Bearer:
    return Bearer(hands)
