"""How long to wait before the next connection, and to which server it goes. Pure: chance is handed in."""

import ipaddress
import re
from collections.abc import Callable
from hashlib import sha256

FIRST_S, BASE_S, CAP_S = 2.0, 5.0, 600.0
STABLE_S = 60.0  # only a connection that has stood so long proves that all is well again
SPREAD_S = 300.0  # a planned event, e.g. a broker's restart: nobody is hurried, so all come one by one

REFERENCES_MAX = 3  # without a stable connection between them: servers that send us round in a circle
REFERENCE_FAILURES_MAX = 2
REFERENCE_MAX_B = 300

Address = tuple[str, int]  # host, port


class Backoff:
    """Full jitter, doubling. `uniform` is that of random.Random: a number from a to b."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._failures = 0

    def first_s(self) -> float:
        """Before the first attempt: after a site-wide power cut nobody starts at the same instant."""
        return self._uniform(0.0, FIRST_S)

    def next_s(self, stood_s: float, is_long: bool = False, at_least_s: float = 0.0) -> float:
        """How long to wait after a connection that stood so long (0: an attempt that failed). `is_long`: another try
        soon would do harm or no good. `at_least_s` is added to, never jittered away."""
        self._failures = 1 if stood_s >= STABLE_S else self._failures + 1
        if is_long:
            return at_least_s + self._uniform(CAP_S / 2, CAP_S)
        return at_least_s + self._uniform(0.0, min(CAP_S, BASE_S * 2.0 ** min(self._failures - 1, 10)))


def spread_s(station_id: str, window_s: float = SPREAD_S) -> float:
    """This station's own place in the window: even over a fleet, and the same each time."""
    return window_s * int.from_bytes(sha256(station_id.encode()).digest()[:8], "big") / 2**64


def read_reference(text: str) -> Address | None:
    """The first host:port of a Server Reference (MQTT 5 §4.11: a list, separated by blanks). None: there is none."""
    if len(text.encode(errors="replace")) > REFERENCE_MAX_B:
        return None
    for reference in text.lower().split(" "):
        found = re.fullmatch(r"(?:\[([0-9a-f:.]{2,45})\]|([0-9a-z.-]{1,253})):([0-9]{1,5})", reference)
        if found and 1 <= (port := int(found[3])) <= 65_535 and _is_host(found[1], found[2]):
            return found[1] or found[2], port
    return None


def _is_host(ipv6: str | None, name: str | None) -> bool:
    if name is not None:
        return all(re.fullmatch(r"[0-9a-z]([0-9a-z-]{0,61}[0-9a-z])?", label) for label in name.split("."))
    try:
        ipaddress.IPv6Address(ipv6 or "")
    except ValueError:
        return False
    return True


class Servers:
    """Where to connect. A broker may refer us to another one: for this time (0x9C) or for good (0x9D), which is until
    our process ends. The configured one is what we come back to, always: nobody can lead a station away for ever."""

    def __init__(self, configured: Address) -> None:
        self._configured = configured
        self._moved: Address | None = None
        self._other: Address | None = None
        self._references = 0  # since the last stable connection
        self._failures = 0  # of the reference in use, in a row

    @property
    def address(self) -> Address:
        """Of the next connection."""
        return self._other or self._moved or self._configured

    def ended(self, stood_s: float, reference: Address | None = None, is_for_good: bool = False) -> None:
        """A connection to `address`, or the attempt, is over; `reference`: because the broker has sent us there."""
        if stood_s >= STABLE_S:
            self._other, self._references, self._failures = None, 0, 0
        elif self.address != self._configured:
            self._failures += 1
        if reference is not None:
            self._references += 1
            if self._references <= REFERENCES_MAX:
                self._failures = 0
                self._other, self._moved = (None, reference) if is_for_good else (reference, self._moved)
                return
        if self._failures >= REFERENCE_FAILURES_MAX or self._references > REFERENCES_MAX:
            self._other, self._moved, self._references, self._failures = None, None, 0, 0
