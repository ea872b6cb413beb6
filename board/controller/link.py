"""Frames on the serial line between host and port controller. Both ends run this file; MicroPython subset.

    0x7E | size | seq | body | crc16

size = length of the body, 0..250; seq counts frames modulo 256; crc16 = CCITT (0x1021, start 0xFFFF) over size, seq and
body, little endian. There is no escaping: 0x7E may stand inside a body. After noise the reader tries every 0x7E until a
checksum fits; where so much of what looks like frames is none, it gives up on all that is there, for the time that this
takes is the ports'.
"""

START = b"\x7e"
BODY_MAX = 250
OVERHEAD = 5
WRONG_MAX = 1_024  # bytes under wrong checksums in one go: on a small controller some 20 ms

_CRC = (  # CCITT, four bits at a time: 16 entries are dear enough for a small controller
    (0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7)
    + (0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF)
)


def crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 4 & 0xFFFF) ^ _CRC[crc >> 12 ^ byte >> 4]
        crc = (crc << 4 & 0xFFFF) ^ _CRC[crc >> 12 ^ byte & 15]
    return crc


def frame(seq: int, body: bytes) -> bytes:
    assert len(body) <= BODY_MAX, len(body)
    head = bytes((len(body), seq & 0xFF))
    return START + head + body + crc16(head + body).to_bytes(2, "little")


class Deframer:
    """Bytes in, frames out, in any cut. Noise is counted, never raised; at most one frame's worth is kept waiting."""

    def __init__(self) -> None:
        self.noise_bytes = 0  # bytes that belong to no frame
        self.crc_errors = 0  # frames, or what looked like one, whose checksum does not fit
        self.gaps = 0  # times that a frame's seq was not its predecessor's plus one
        self._buffer = b""
        self._seq = -1
        self._wrong = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames `(seq, body)` that these bytes complete."""
        self._wrong = 0
        return self._take(data)

    def _take(self, data: bytes) -> list[tuple[int, bytes]]:
        buffer = self._buffer + data
        frames = []
        at = 0
        while True:
            start = buffer.find(START, at)
            if start < 0:
                start = len(buffer)
            self.noise_bytes += start - at
            at = start
            if len(buffer) - at < 2:
                break
            end = at + OVERHEAD + buffer[at + 1]
            if buffer[at + 1] > BODY_MAX:
                self.noise_bytes += 1
                at += 1
            elif len(buffer) < end:
                break
            elif crc16(buffer[at + 1 : end - 2]) != buffer[end - 2] | buffer[end - 1] << 8:
                self.crc_errors += 1
                self._wrong += end - at
                dropped = 1 if self._wrong <= WRONG_MAX else len(buffer) - at
                self.noise_bytes += dropped  # only its first byte: an intact frame may start inside what follows
                at += dropped
            else:
                frames.append((buffer[at + 2], buffer[at + 3 : end - 2]))
                at = end
        self._buffer = buffer[at:]
        self._count_gaps(frames)
        return frames

    def idle(self) -> list[tuple[int, bytes]]:
        """The line was silent for longer than a frame takes: what waits will never be complete.

        Returns the frames hidden behind a false start. Without this a stray 0x7E could hold back several heartbeats.
        """
        frames = []
        self._wrong = 0
        while self._buffer:
            self.noise_bytes += 1
            rest, self._buffer = self._buffer[1:], b""
            frames += self._take(rest)
        return frames

    def _count_gaps(self, frames: list[tuple[int, bytes]]) -> None:
        for seq, _ in frames:
            if self._seq >= 0 and seq != (self._seq + 1) & 0xFF:
                self.gaps += 1
            self._seq = seq
