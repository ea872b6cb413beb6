"""Frames of the flash protocol (docs/flash-protocol.md). Host and port controller run this file; MicroPython subset.

    C0 | type u8 | seq u16 | body | crc32 u32 | C0       little endian; C0 inside is DB DC, DB is DB DD (SLIP, RFC 1055)
"""

import binascii

END, ESC = b"\xc0", b"\xdb"
ESC_END, ESC_ESC = b"\xdb\xdc", b"\xdb\xdd"
BODY_MAX = 1_024
OVERHEAD = 7
FRAME_MAX = 2 * (BODY_MAX + OVERHEAD)  # between two ENDs, every byte escaped


def frame(kind: int, seq: int, body: bytes = b"") -> bytes:
    assert len(body) <= BODY_MAX, len(body)
    raw = bytes((kind, seq & 0xFF, seq >> 8 & 0xFF)) + body
    raw += binascii.crc32(raw).to_bytes(4, "little")
    return END + raw.replace(ESC, ESC_ESC).replace(END, ESC_END) + END


class Deframer:
    """Bytes in, frames out, in any cut. Noise is counted, never raised; at most FRAME_MAX bytes are kept waiting."""

    def __init__(self) -> None:
        self.errors = 0  # what stood between two ENDs and was no frame
        self._buffer = b""
        self._skips = False  # what waits is already too long: dropped up to the next END

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The frames (type, seq, body) that these bytes complete."""
        frames = []
        parts = (self._buffer + data).split(END)
        self._buffer = parts.pop()
        for part in parts:
            if self._skips:
                self._skips = False
            elif part:
                found = self._opened(part)
                if found is None:
                    self.errors += 1
                else:
                    frames.append(found)
        if self._skips:
            self._buffer = b""
        elif len(self._buffer) > FRAME_MAX:
            self.errors += 1
            self._skips = True
            self._buffer = b""
        return frames

    def _opened(self, part: bytes) -> tuple[int, int, bytes] | None:
        if len(part) > FRAME_MAX:
            return None
        escapes = part.count(ESC)
        if escapes:
            if part.count(ESC_END) + part.count(ESC_ESC) != escapes:
                return None
            part = part.replace(ESC_END, END).replace(ESC_ESC, ESC)
        size = len(part)
        if not OVERHEAD <= size <= BODY_MAX + OVERHEAD:
            return None
        if binascii.crc32(part[:-4]) != int.from_bytes(part[-4:], "little"):
            return None
        return part[0], part[1] | part[2] << 8, part[3:-4]
