"""Does the line carry, if the broker is silent? One name asked of the bearer's own resolver, one TCP connection to a
second host, both over this bearer's interface alone (SO_BINDTODEVICE). In a thread of its own: all of it may hang.

Any answer of the resolver counts, whatever it says of the name. The second host is the config file's `probe`; without
one the resolver's answer is enough, for it is the operator's network that has answered, and nobody else is bothered.
"""

import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress

ANSWER_S = 4.0  # of each question; both fit into the keeper's ten seconds
DNS_PORT = 53
NAME = "a.root-servers.net"  # asked of the resolver where no second host has a name
Host = tuple[str, int]


def carries(interface: str, dns: Sequence[str], second: Host | None) -> bool:
    """Never raises. `second` may be a name: then it is the one that the resolver is asked for."""
    address, has_answered = "", False
    for resolver in dns[:2]:
        with suppress(OSError, ValueError):
            address, has_answered = asked(resolver, second[0] if second else NAME, interface), True
            break
    if second is None:
        return has_answered
    return is_open((address or second[0], second[1]), interface)


def is_open(host: Host, interface: str) -> bool:
    """Whether it takes a TCP connection."""
    try:
        family, _, _, _, where = socket.getaddrinfo(*host, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            bind_to(sock, interface)
            sock.settimeout(ANSWER_S)
            sock.connect(where)
            return True
    except (OSError, ValueError):
        return False


def asked(resolver: str, name: str, interface: str) -> str:
    """The first IPv4 address, "" if the answer has none. OSError, ValueError: no answer that is one."""
    number = secrets.randbelow(65_536)
    family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        bind_to(sock, interface)
        sock.settimeout(ANSWER_S)
        sock.connect((resolver, DNS_PORT))
        sock.send(question(number, name))
        return address_in(sock.recv(4_096), number)


def bind_to(sock: socket.socket, interface: str) -> None:
    if interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def question(number: int, name: str) -> bytes:
    """RFC 1035 4.1: one question for an IPv4 address, recursion desired. ValueError: the name is none."""
    labels = name.rstrip(".").encode("idna").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(name)
    head = number.to_bytes(2, "big") + b"\x01\x00\x00\x01" + bytes(6)
    return head + b"".join(bytes([len(label)]) + label for label in labels) + b"\x00\x00\x01\x00\x01"


def address_in(data: bytes, number: int) -> str:
    """Of an answer to `number`; "" if it has no IPv4 address. ValueError: it is no answer."""
    if len(data) < 12 or data[:2] != number.to_bytes(2, "big") or not data[2] & 0x80:
        raise ValueError("no answer to our question")
    questions, answers = (int.from_bytes(data[i : i + 2], "big") for i in (4, 6))
    at = 12
    try:
        for _ in range(min(questions, 4)):
            at = after_name(data, at) + 4
        for _ in range(min(answers, 32)):
            at = after_name(data, at)
            kind, size = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 8 : at + 10], "big")
            if kind == 1 and size == 4 and at + 14 <= len(data):
                return socket.inet_ntoa(data[at + 10 : at + 14])
            at += 10 + size
    except IndexError:
        pass
    return ""


def after_name(data: bytes, at: int) -> int:
    """RFC 1035 4.1.4. IndexError: it goes beyond the end."""
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1
