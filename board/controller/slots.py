"""The two slots of the port controller's flash: what lies in them, which one boots, and until when it is on trial.

Part of the immutable boot part, and read by the host that builds images. MicroPython subset; no pins, no clock. `home`
is the chip, as `receive.py` says.

    image   "MRC1" | size u32 | board 40 | version 48 | SHA-256 of all the rest 32 | ROMFS         little endian

A boot has two lives with a soft reset between them, so that the firmware finds the whole of a small heap: the first
looks at the slots and chooses (`boot`), or receives; the second, `start_*.py`, starts what was chosen. A slot is a
piece of flash of its own, not a file of the littlefs: code runs where it lies, for a small heap has no room for it, and
a littlefs scatters its files. The state is such a file, replaced by a rename: a cut leaves the old state or the new.
"""

import struct
from binascii import crc32
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    View = memoryview | bytes
    State = tuple[int, int, int, int]
    Head = tuple[int, str, str, bytes]

SECTOR_B = 4_096
SLOT_SECTORS = 24
SLOT_B = SLOT_SECTORS * SECTOR_B
A, B, NONE = 0, 1, 2
NAMES = "ab"

MAGIC = b"MRC1"
HEAD, HEAD_B = "<4sI40s48s32s", 128
SIZE_AT, VERSION_AT, DIGEST_AT = 4, 48, 96
BOARD_MAX, VERSION_MAX = 40, 48  # bytes

FILE = "slots"  # the state, in the littlefs
NEXT = "slots.new"  # what it is when the image on trial stays: whoever runs renames it, and need not understand it
_STATE, _STATE_B = "<2s4B", 6
TRIES = 3  # boots that a new image has to be wished by a host

# The word: a register that survives a reset, and no power cut. How one life of the chip tells the next what to do.
MARK = 0x57A1_0000
RESETS = 0x00FF  # so many in a row without a host's wish in between
RUN, SLOT_B_RUNS, ON_TRIAL, FELL_BACK = 0x0100, 0x0200, 0x0400, 0x0800  # start this slot: it was looked at
STAY = 0x1000  # halted: the receiver is wanted, once
RESTLESS = 5  # resets in a row: then a flasher is waited for before the next
HALTED_MS = 60_000  # a halted chip whose flasher never came is back after this
CALLED_MS = 10_000
FOREVER = 0


# -- images


def head_of(slot: "View") -> "Head | None":
    """(size, board, version, digest) of what lies there, if it looks like an image; nothing else is checked."""
    if len(slot) < HEAD_B:
        return None
    magic, size_b, board, version, digest = struct.unpack(HEAD, bytes(slot[:HEAD_B]))
    if magic != MAGIC or not HEAD_B < size_b <= len(slot):
        return None
    try:
        return size_b, _text(board), _text(version), digest
    except ValueError:
        return None


def digest_of(image: "View", size_b: int, feed: "Callable[[], None]" = lambda: None) -> bytes:
    """SHA-256 over everything but the digest itself. `feed`: the watchdog, for it takes its time."""
    digest = sha256(image[:DIGEST_AT])
    for at in range(HEAD_B, size_b, SECTOR_B):
        digest.update(image[at : min(at + SECTOR_B, size_b)])
        feed()
    return digest.digest()


def intact(slot: "View", board: str, feed: "Callable[[], None]" = lambda: None) -> "Head | None":
    """The head of a whole image for this board; None for anything else."""
    head = head_of(slot)
    if head is None or head[1] != board or digest_of(slot, head[0], feed) != head[3]:
        return None
    return head


def sealed(board: str, version: str, romfs: bytes) -> bytes:
    """The image as it is flashed."""
    assert len(board.encode()) <= BOARD_MAX and len(version.encode()) <= VERSION_MAX, (board, version)
    size_b = HEAD_B + len(romfs)
    head = struct.pack(HEAD, MAGIC, size_b, board.encode(), version.encode(), b"")
    digest = digest_of(head + romfs, size_b)
    return head[:DIGEST_AT] + digest + romfs


def _text(padded: bytes) -> str:
    return str(padded.rstrip(b"\0"), "utf-8")


# -- the state: (confirmed slot, slot on trial, its tries left, slot that failed its trial); NONE = none


def load(data: bytes) -> "State":
    """What the file says. Of a chip that was never flashed, or whose file is spoilt: A, and no trial."""
    if len(data) == _STATE_B + 4 and struct.unpack("<I", data[_STATE_B:])[0] == crc32(data[:_STATE_B]):
        magic, confirmed, trial, tries, failed = struct.unpack(_STATE, data[:_STATE_B])
        if magic == b"S1" and confirmed < NONE and trial <= NONE and tries <= TRIES and failed <= NONE:
            return confirmed, trial, tries, failed
    return A, NONE, 0, NONE


def dump(state: "State") -> bytes:
    body = struct.pack(_STATE, b"S1", *state)
    return body + struct.pack("<I", crc32(body))


def at_boot(state: "State", is_intact: "tuple[bool, bool]") -> "tuple[int, State]":
    """Which slot boots now, NONE if there is none, and the state that must be in flash before it does."""
    confirmed, trial, tries, failed = state
    if trial != NONE and tries > 0 and is_intact[trial]:
        return trial, (confirmed, trial, tries - 1, failed)
    if trial != NONE:
        failed = trial
    return without_trial(state, is_intact), (confirmed, NONE, 0, failed)


def without_trial(state: "State", is_intact: "tuple[bool, bool]") -> int:
    """The confirmed slot, or the other where that is spoilt."""
    for slot in (state[0], 1 - state[0]):
        if is_intact[slot]:
            return slot
    return NONE


def target(state: "State", is_intact: "tuple[bool, bool]") -> int:
    """The slot that may be written: never the one that boots if this comes to nothing."""
    kept = without_trial(state, is_intact)
    return 1 - (state[0] if kept == NONE else kept)


def opened(state: "State", is_intact: "tuple[bool, bool]") -> "State":
    """Before the first byte of the target is touched: no trial, and the slot that is kept is the confirmed one."""
    kept = without_trial(state, is_intact)
    return (state[0] if kept == NONE else kept), NONE, 0, NONE


def on_trial(state: "State", slot: int) -> "State":
    """From the next boot on."""
    return (state[0], slot, TRIES, NONE) if slot != state[0] else (slot, NONE, 0, NONE)


def confirmed(slot: int) -> "State":
    return slot, NONE, 0, NONE


# -- boot


def boot(home: "Any", is_power_on: bool) -> "Iterator[None]":
    """The first life; it yields while it waits. At its end the word says which slot the second one starts. Where none
    can run, or a flasher is expected, the receiver runs here, and the chip is reset."""
    word = 0 if is_power_on else home.word()
    is_ours = word & ~0xFFFF == MARK
    resets = word & RESETS if is_ours else 0
    home.set_word(MARK)
    if is_ours and word & STAY:
        yield from receive(home, HALTED_MS)
    if resets >= RESTLESS:
        yield from receive(home, CALLED_MS)
    slot, state = chosen(home)
    if slot == NONE:
        yield from receive(home, FOREVER)
    word = MARK | RUN | min(resets + 1, RESETS) | slot * SLOT_B_RUNS
    home.set_word(word | (state[1] == slot) * ON_TRIAL | (state[3] != NONE) * FELL_BACK)


def chosen(home: "Any") -> "tuple[int, State]":
    """The slot that runs now, by the state that is in flash by then."""
    state = load(home.read(FILE))
    is_intact = is_whole(home, A), is_whole(home, B)
    slot, after = at_boot(state, is_intact)
    try:
        if after[1] != NONE:
            home.save(NEXT, dump(confirmed(slot)))
        if after != state:
            home.save(FILE, dump(after))
    except OSError:  # a try that cannot be counted is not made
        return without_trial(state, is_intact), (state[0], NONE, 0, state[3])
    return slot, after


def is_whole(home: "Any", slot: int) -> bool:
    return intact(home.slot(slot), home.board, home.feed) is not None


def receive(home: "Any", patience_ms: int) -> "Iterator[None]":
    from board.controller.receive import serve

    yield from serve(home, patience_ms)
    home.reset()
