"""What several sockets of ours need."""

import socket
import struct
from contextlib import suppress


def peer_uid(peer: socket.socket) -> int:
    """The user at the other end of a Unix socket, by the kernel's word (unix(7), SO_PEERCRED). OSError."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def hang_up(line: socket.socket) -> None:
    """Whoever waits for it in another thread wakes up."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
