"""A TCP connection to the broker: DNS and connect block, so they get a thread of their own that nobody waits for."""

import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from agent.uplink.backoff import Address

ADDRESSES_MAX = 6  # of one name: each gets the time limit, so this bounds the whole
USER_TIMEOUT_MS = 10_000  # TCP gives up on bytes that nobody acknowledges (RFC 5482)

Dial = Callable[[Address, float], socket.socket]  # address, seconds for each of its IP addresses; may raise OSError


def dial(address: Address, timeout_s: float) -> socket.socket:
    """Each address of the name in turn, IPv6 and IPv4 by turns (RFC 8305 §4): a family without a way out costs one
    time limit, not all. OSError names what went wrong with each."""
    host, port = address
    errors = []
    for family, kind, protocol, _, where in in_turns(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # no IPv6 in this kernel
            errors.append(f"{where[0]}: {error.strerror or error}")
            continue
        try:
            sock.settimeout(timeout_s)
            sock.connect(where)
            return sock
        except OSError as error:
            sock.close()
            errors.append(f"{where[0]}: {error.strerror or error}")
    raise OSError("; ".join(errors) or "no address")


AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]  # as getaddrinfo gives them


def in_turns(infos: Sequence[AddressInfo]) -> list[AddressInfo]:
    """The resolver's order (RFC 6724), but the families alternate."""
    first = [info for info in infos if info[0] == infos[0][0]]
    second = [info for info in infos if info[0] != infos[0][0]]
    pairs = itertools.zip_longest(first, second)
    return [info for pair in pairs for info in pair if info is not None][:ADDRESSES_MAX]


def tune(sock: socket.socket) -> None:
    """What is sent goes out at once, and is not waited for in vain."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Dialing:
    """One call of `dial` in a thread of its own, which `done` tells when `result` is there. Whoever does not want it
    any more says abandon(): the thread cannot be stopped in a name server's silence, but its socket will be closed."""

    def __init__(self, dial: Dial, address: Address, timeout_s: float, done: Callable[[], None]) -> None:
        self.address = address
        self.result: socket.socket | OSError | ValueError | None = None  # ValueError: a name that DNS cannot hold
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, args=(dial, timeout_s, done), name="dial", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            if isinstance(self.result, socket.socket):
                self.result.close()

    def _run(self, dial: Dial, timeout_s: float, done: Callable[[], None]) -> None:
        try:
            result: socket.socket | OSError | ValueError = dial(self.address, timeout_s)
        except (OSError, ValueError) as error:
            result = error
        with self._lock:
            self.result = result
            if self._is_abandoned and isinstance(result, socket.socket):
                result.close()
        done()
