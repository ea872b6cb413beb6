"""What the controller knows after a power cut, and when it is written. Pure; MicroPython subset.

Two files hold a copy each, with a sequence number and a checksum; a write replaces the older one, by a new file that is
renamed over it. So a cut at any moment leaves the old facts or the new, and one spoilt copy leaves the other.
"""

import struct
from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 0x5A01
NAMES = ("memory.0", "memory.1")
HOST_GRACE_S = 60
_HEAD, _ROW = 6, 5  # numbers before the rows, numbers in a row

GAP_MS = 10_000  # between two writes in the long run: whoever makes faults all day wears the flash no faster
BURST = 8  # writes that may come sooner
PATIENCE_MS = 600_000  # running numbers wait until no contactor is closed, or so long: a flash write stops the chip


class Memory:
    """The facts. `urgent`: a latch changed, or a meter leapt; `changed`: a running number."""

    def __init__(self, port_count: int) -> None:
        self.circuit_limit_ma = 0  # 0 = never commissioned: offers nothing
        self.failsafe_ma = 0
        self.host_grace_s = HOST_GRACE_S
        self.closes = [0] * port_count
        self.latched = [0] * port_count  # faults that a reset must not clear
        self.retries = [0] * port_count  # of the ground fault among them
        self.register_wh = [0] * port_count
        self.energy_wh = [0] * port_count
        self.urgent = False
        self.changed = False
        self.image: tuple[str, str, int, int] | None = None  # not written: as contract.FIRMWARE has it, if it is known

    def dump(self, seq: int) -> bytes:
        numbers = [FORMAT, seq, len(self.closes), self.circuit_limit_ma, self.failsafe_ma, self.host_grace_s]
        for i in range(len(self.closes)):
            numbers += [self.closes[i], self.latched[i], self.retries[i], self.register_wh[i], self.energy_wh[i]]
        body = struct.pack("<%dI" % len(numbers), *numbers)
        return body + struct.pack("<I", crc32(body))

    def load(self, data: bytes) -> int:
        """Take the facts; returns the sequence number, or -1 for what is no memory. Rows of ports that are not here
        any more are forgotten; the circuit stays, it is the site's."""
        count = len(data) // 4 - 1
        if len(data) % 4 or count < _HEAD or struct.unpack("<I", data[-4:])[0] != crc32(data[:-4]):
            return -1
        numbers = struct.unpack("<%dI" % count, data[:-4])
        if numbers[0] != FORMAT or count != _HEAD + _ROW * numbers[2]:
            return -1
        self.circuit_limit_ma, self.failsafe_ma, self.host_grace_s = numbers[3:_HEAD]
        for i in range(min(numbers[2], len(self.closes))):
            row = numbers[_HEAD + _ROW * i :]
            self.closes[i], self.latched[i], self.retries[i], self.register_wh[i], self.energy_wh[i] = row[:_ROW]
        return int(numbers[1])


class Keeper:
    """Loads and saves a Memory. `read(name)` gives a file's bytes or b""; `write(name, data)` replaces it, durably."""

    def __init__(
        self, port_count: int, read: "Callable[[str], bytes]", write: "Callable[[str, bytes], None]", now_ms: int = 0
    ) -> None:
        self.writes = 0
        self.failures = 0  # writes that the flash did not take
        self.memory = Memory(port_count)
        self._write = write
        self._seq = -1
        self._newer = 1
        self._free_ms = now_ms - BURST * GAP_MS  # when the writes so far are paid for
        self._waits_since: int | None = None
        copies = [read(name) for name in NAMES]
        for i in range(len(NAMES)):
            seq = Memory(port_count).load(copies[i])
            if seq > self._seq:
                self._seq, self._newer = seq, i
        self.memory.load(copies[self._newer])

    def save(self, now_ms: int) -> bool:
        """Write now; False: too many writes lately, or a flash that takes none. What is known stays known and is tried
        again: a reset would only forget it."""
        if now_ms < self._free_ms:
            return False
        self._free_ms = max(self._free_ms, now_ms - BURST * GAP_MS) + GAP_MS
        older = 1 - self._newer
        try:
            self._write(NAMES[older], self.memory.dump(self._seq + 1))
        except (OSError, MemoryError):
            self.failures += 1
            return False
        self._seq, self._newer = self._seq + 1, older
        self.writes += 1
        self.memory.urgent = self.memory.changed = False
        self._waits_since = None
        return True

    def step(self, now_ms: int, is_live: bool) -> None:
        """Save if it is time. `is_live`: some contactor is closed."""
        memory = self.memory
        if not (memory.urgent or memory.changed):
            return
        if self._waits_since is None:
            self._waits_since = now_ms
        if memory.urgent or not is_live or now_ms - self._waits_since >= PATIENCE_MS:
            self.save(now_ms)

    def rebase(self, by_ms: int) -> None:
        self._free_ms = max(self._free_ms, -BURST * GAP_MS + by_ms) - by_ms
        if self._waits_since is not None:
            self._waits_since -= by_ms
