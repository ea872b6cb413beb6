"""The flash protocol's frames, numbers and receiving window (docs/flash-protocol.md). Pure: bytes in, bytes out.

All ends import this: the station's service (agent/update/protocol.py), the flashers (agent/update/chip.py,
tools/flashing/talk.py). The frames themselves are the port controller's too: board/controller/slip.py.
"""

from collections.abc import Mapping
from typing import Any

import cbor2

from agent.update import strict
from board.controller.slip import BODY_MAX, FRAME_MAX, OVERHEAD, Deframer, frame

__all__ = ["BODY_MAX", "FRAME_MAX", "OVERHEAD", "Deframer", "Receiver", "ack", "body", "frame", "packed", "read_ack"]

VERSION = 1
VERSIONS = range(1, 2)  # what this code speaks

HELLO, SEND, DATA, PLAN, WANTED, FINISH, ACTIVATE, STATUS, ROLLBACK, LOG, PROVISION = range(1, 12)
ABANDON, PING, BYE = range(13, 16)  # 12 was never in use
ANSWER = 0x40  # a success is the request's number plus this
ACK = DATA + ANSWER
WORKING, REFUSED = 0x7E, 0x7F
NAMES = {
    HELLO: "HELLO", SEND: "SEND", DATA: "DATA", PLAN: "PLAN", WANTED: "WANTED", FINISH: "FINISH", ACTIVATE: "ACTIVATE",
    STATUS: "STATUS", ROLLBACK: "ROLLBACK", LOG: "LOG", PROVISION: "PROVISION", ABANDON: "ABANDON",
    PING: "PING", BYE: "BYE", HELLO + ANSWER: "IDENTITY", SEND + ANSWER: "GO",
    ACK: "ACK", PLAN + ANSWER: "WANT", WANTED + ANSWER: "BITS", WORKING: "WORKING", REFUSED: "REFUSED",
    PING + ANSWER: "PONG", PROVISION + ANSWER: "PROVISIONED",
}  # fmt: skip

SILENCE_S = 30.0  # a session that hears nothing for so long is over
PATIENCE_S = 15.0  # a flasher that hears nothing for so long gives the link up
WORKING_AFTER_S, WORKING_EACH_S = 0.5, 1.0
BITS_B = 800  # of a bitmap in one answer
WINDOW = 32  # frames that a station keeps: 32 KiB
DEPTH_MAX = 6  # containers within each other in a body


def packed(fields: Mapping[str, Any]) -> bytes:
    return cbor2.dumps(fields) if fields else b""


def body(data: bytes) -> dict[str, Any]:
    """A control frame's fields. ValueError for what is none: hostile bytes come here. No tag is ever decoded."""
    if not data:
        return {}
    try:
        found = cbor2.loads(
            data,
            semantic_decoders=strict.Untagged(),
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no CBOR: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError("no map with text keys")
    return found


def ack(seq: int, room: int, bitmap: bytes) -> bytes:
    return frame(ACK, seq & 0xFFFF, bytes((min(room, 255),)) + bitmap)


def read_ack(data: bytes) -> tuple[int, int]:
    """(room, bitmap as one integer). ValueError."""
    if not 1 <= len(data) <= 33:
        raise ValueError("no ACK")
    return data[0], int.from_bytes(data[1:], "little")


class Receiver:
    """The receiving end of one transfer: DATA frames in any number of repetitions in, each byte once and in order out.

    Memory: window × BODY_MAX bytes at most.
    """

    def __init__(self, size_b: int, at_b: int = 0, *, first: int = 0, window: int = WINDOW) -> None:
        """`size_b`: of the whole transfer; it goes on from byte `at_b`, and its frames are numbered from `first`."""
        assert 0 <= at_b <= size_b and 1 <= window <= 255, (at_b, size_b, window)
        self.size_b, self.got_b, self.window = size_b, at_b, window
        self.again_b = 0  # came although it was here already
        self._next = first  # the first frame that is missing, counted without end
        self._early: dict[int, bytes] = {}

    @property
    def is_whole(self) -> bool:
        return self.got_b == self.size_b

    def take(self, seq: int, data: bytes) -> bytes:
        """What can be passed on now. ValueError: more than was announced."""
        ahead = (seq - self._next) & 0xFFFF
        number = self._next + ahead
        if ahead >= self.window or number in self._early:
            self.again_b += len(data)
            return b""
        self._early[number] = data
        ready = bytearray()
        while (part := self._early.pop(self._next, None)) is not None:
            ready += part
            self._next += 1
        if self.got_b + len(ready) > self.size_b:
            raise ValueError("more bytes than were announced")
        self.got_b += len(ready)
        return bytes(ready)

    def ack(self, room: int) -> bytes:
        """The frame that says what is here and how many frames there is room for."""
        bits = sum(1 << number - self._next - 1 for number in self._early)
        return ack(self._next, min(room, self.window), bits.to_bytes((bits.bit_length() + 7) // 8, "little"))
