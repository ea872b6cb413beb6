"""What host and port controller say to each other: every message, field and bound. Both ends run this file.

A message is a CBOR array; its first element is the message type, the rest follow the field table of that type. Tables
are append-only. MicroPython subset: no dataclasses, enum or typing; of cbor2 only `dumps` and `loads`.
"""

from binascii import hexlify
from hashlib import sha256

import cbor2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Table = tuple[Any, ...]

MAJOR = 1
MINOR_FIRST = 2  # 1.0 and 1.1 were never released
MINOR_LAST = 3  # 1.3: FIRMWARE

HEARTBEAT_MS = 500  # WISH one way, a REPORT per port the other way, and at once on a change
HOST_SILENT_MS = 3_000  # no WISH for so long: the stored failsafe current
COUNTERS_MS = 30_000  # COUNTERS so often, and after each WELCOME

CURRENT_MIN_MA = 6_000  # IEC 61851-1 Annex A: no duty cycle says less
CURRENT_MAX_MA = 80_000  # and none says more
PORTS_MAX = 4

HELLO, WISH, LIMIT, LIGHTS, HALT = 0, 1, 2, 3, 4  # host -> controller
WELCOME, REPORT, REFUSED, COUNTERS, HALTED, FIRMWARE = 16, 17, 18, 19, 20, 21  # controller -> host

CP_A, CP_B, CP_C, CP_D, CP_E, CP_F = 0, 1, 2, 3, 4, 5
STOP_NONE, STOP_ORDERLY, STOP_NOW = 0, 1, 2
TEST_NOT_RUN, TEST_RUNNING, TEST_PASSED, TEST_FAILED = 0, 1, 2, 3
RED, GREEN, BLUE = 1, 2, 4
RESET_POWER_ON, RESET_WATCHDOG, RESET_SOFT = 0, 1, 2

# REFUSED codes
HELLO_FIRST, NO_COMMON_VERSION, OTHER_CONTRACT, WRONG_PORT_COUNT, LIMIT_REFUSED, HALT_REFUSED = 1, 2, 3, 4, 5, 6

# Names with a space between: on a small heap a tuple of texts is dear.
FAULTS = (
    "ground_fault ground_fault_halted ground_fault_self_test contactor_welded contactor_stuck_open "
    "pilot_fault diode_fault ventilation_missing over_current over_voltage under_voltage "
    "over_temperature lock_failure proximity_fault meter_fault emergency_stop phase_loss"
)
FAULT_COUNT = FAULTS.count(" ") + 1
COUNTS = "noise_bytes crc_errors gaps bad_messages dropped overruns flash_writes leaps heap_free_b"
# noise_bytes, crc_errors: on the line to the controller, as link.Deframer counts. bad_messages: intact frames that make
# no sense. dropped: messages that the line was too slow for. overruns: turns of 10 ms that were missed. flash_writes:
# each stops the chip; what they cost is no overrun. leaps: of the meters' registers. heap_free_b: now; 0 = unknown.

# A table is flat, name, lowest, highest for each field: a small heap holds it so. For a text it is name, TEXT, longest;
# name, table, most for 1..most rows of that table; name, table, ONE_ROW for the row itself.
TEXT = "text"
ONE_ROW = 0
UINT32 = 0xFFFF_FFFF

# fmt: off
PORT_WISH: "Table" = (
    "offer_ma", 0, CURRENT_MAX_MA,  # 0 = steady +12 V; else >= 6,000
    "stop", STOP_NONE, STOP_NOW,
    "lock", 0, 1,
    "clear", 0, UINT32,  # a counter: a rise asks to clear latched faults whose condition is gone, and to self-test
)
PORT_REPORT: "Table" = (
    "cp", CP_A, CP_F,
    "pwm", 0, 1,
    "contactor", 0, 1,  # feedback at the pins, not the coil's command
    "locked", 0, 1,
    "cable_ma", 0, CURRENT_MAX_MA,  # 0 = none in the socket; tethered: the board's
    "offer_ma", 0, CURRENT_MAX_MA,  # in force
    "faults", 0, (1 << FAULT_COUNT) - 1,  # bit i = FAULTS[i]
    "energy_wh", 0, UINT32,  # register, survives resets
    "power_w", 0, 200_000,
    "current_l1_ma", 0, 200_000,
    "current_l2_ma", 0, 200_000,
    "current_l3_ma", 0, 200_000,
    "voltage_l1_mv", 0, 1_000_000,
    "voltage_l2_mv", 0, 1_000_000,
    "voltage_l3_mv", 0, 1_000_000,
    "temperature_dc", -1_000, 2_000,  # tenths of a degree Celsius
    "self_test", TEST_NOT_RUN, TEST_FAILED,
    "retry_in_s", 0, 3_600,  # until the ground-fault retry; 0 = none
    "unplugs", 0, UINT32,  # arrivals in state A since the controller's boot; 0 = never seen in A since
    "closes", 0, UINT32,  # contactor cycles in its life
)
PORT_LIGHT: "Table" = (
    "colours", 0, RED | GREEN | BLUE,  # 0 = dark
    "rhythm", 0, (1 << 30) - 1,  # as `rhythm_of` makes it; 0 = on all the time
)
MINOR: "Table" = ("minor", 0, 255)  # the one that is spoken
VERSION: "Table" = (
    "major", 0, 255,
    "minor_first", 0, 255,
    "minor_last", 0, 255,
    "contract_hash", TEXT, 8,
)
MESSAGES: "dict[int, Table]" = {
    HELLO: VERSION,
    WISH: MINOR + ("ports", PORT_WISH, PORTS_MAX),
    LIMIT: (
        "circuit_limit_ma", 0, PORTS_MAX * CURRENT_MAX_MA,
        "failsafe_ma", 0, CURRENT_MAX_MA,  # per port
        "host_grace_s", 0, 3_600,  # 0 = stop as soon as the host is silent
    ),
    # Half a heartbeat after each WISH, and at once on a change; where the lights are the controller's.
    LIGHTS: MINOR + ("ports", PORT_LIGHT, PORTS_MAX),
    # To be flashed. Refused unless the last WISH stops all ports and all are open; from there to a reset it is deaf.
    HALT: MINOR,
    WELCOME: VERSION
    + (
        "boot_id", 0, UINT32,
        "uptime_ms", 0, 1 << 53,
        "reset_cause", RESET_POWER_ON, 255,
        "port_count", 1, PORTS_MAX,
        "circuit_limit_ma", 0, PORTS_MAX * CURRENT_MAX_MA,  # 0 = not commissioned: offers nothing
        "pins_hash", TEXT, 8,  # of the pin table it was built with; "" = it has none
    ),
    REPORT: (
        "uptime_ms", 0, 1 << 53,
        "index", 0, PORTS_MAX - 1,
        "port", PORT_REPORT, ONE_ROW,
    ),
    REFUSED: (
        "code", 0, 255,
        "text", TEXT, 160,
    ),
    # Since the controller's boot, in the order of COUNTS.
    COUNTERS: ("counts", ("count", 0, UINT32), COUNTS.count(" ") + 1),
    # Its outputs are safe, its memory is written, and whoever flashes it may have the line.
    HALTED: MINOR,
    # After each WELCOME, and when the trial is over; from 1.3 on.
    FIRMWARE: (
        "version", TEXT, 48,
        "digest", TEXT, 16,  # of the image, its first half in hex digits
        "on_trial", 0, 1,  # it goes at the next resets unless a host wishes for ten seconds
        "fell_back", 0, 1,  # the image before this has failed its trial
    ),
}
# fmt: on


def hash_of_tables() -> str:
    """Eight hex digits over order and names of the tables above: what both ends must share to understand each other."""
    digest = sha256()
    for number in sorted(MESSAGES):  # piece by piece: the controller has no room for the whole
        digest.update(("%d%s;" % (number, _names(MESSAGES[number]))).encode())
    digest.update((FAULTS + COUNTS).encode())
    return hexlify(digest.digest()).decode()[:8]


def _names(table: "Table") -> str:
    names = [
        table[i] + (_names(table[i + 1]) if type(table[i + 1]) is tuple else "") for i in range(0, len(table), 3)
    ]
    return "(" + ",".join(names) + ")"


HASH = hash_of_tables()  # once: it takes a good piece of a small heap


def pack(*message: "Any") -> bytes:
    """One message as CBOR; out of bounds is our own bug."""
    assert _fit(MESSAGES[message[0]], message[1:]), message
    return cbor2.dumps([message[0]] + _listed(message[1:]))


def unpack(body: bytes) -> "tuple[Any, ...] | None":
    """The message as `(type, *fields)`, rows as tuples, every field within its bounds; None for anything else."""
    try:
        items = cbor2.loads(body)
    except Exception:  # the two decoders differ in what they raise on noise
        return None
    if type(items) is not list or not items or type(items[0]) is not int or items[0] not in MESSAGES:
        return None
    if not _fit(MESSAGES[items[0]], items[1:]):
        return None
    message: "tuple[Any, ...]" = _tupled(items)
    return message


def _fit(table: "Table", values: "Any") -> bool:
    """Whether these are the fields of the table, each within its bounds."""
    if (type(values) is not list and type(values) is not tuple) or 3 * len(values) != len(table):
        return False
    for i in range(len(values)):
        if not _fits(table[3 * i + 1], table[3 * i + 2], values[i]):
            return False
    return True


def _fits(low: "Any", high: int, value: "Any") -> bool:
    if low is TEXT:
        return type(value) is str and len(value) <= high
    if type(low) is not tuple:
        return type(value) is int and low <= value <= high  # a CBOR bool is no int here
    if high == ONE_ROW:
        return _fit(low, value)
    if (type(value) is not list and type(value) is not tuple) or not 1 <= len(value) <= high:
        return False
    for row in value:
        if not _fit(low, row):
            return False
    return True


def _tupled(values: "Any") -> "Any":
    return tuple([_tupled(value) for value in values]) if type(values) is list else values


def _listed(values: "Any") -> "Any":
    """The controller's CBOR encoder knows lists, no tuples."""
    if type(values) is not tuple:
        return values
    listed: "list[Any]" = [None] * len(values)
    for i in range(len(values)):
        listed[i] = _listed(values[i])
    return listed


def clamped(table: "Table", row: "list[int] | tuple[int, ...]") -> "list[int]":
    """The row with each integer brought within its bounds: a meter may say anything."""
    bounded = [0] * len(row)  # a list that grows takes twice the room, in one piece that a small heap may not have
    for i in range(len(row)):
        bounded[i] = min(max(row[i], table[3 * i + 1]), table[3 * i + 2])
    return bounded


def rhythm_of(steps: "tuple[int, ...]") -> int:
    """On, off, on, off … from the start again, up to six steps of 1 to 31 tenths of a second: five bits each, the first
    lowest. () = 0, on all the time."""
    assert len(steps) <= 6 and not [step for step in steps if not 1 <= step <= 31], steps
    rhythm = 0
    for i in range(len(steps)):
        rhythm |= steps[i] << 5 * i
    return rhythm


def common_minor(ours: "tuple[int, int]", theirs: "tuple[int, int]") -> "int | None":
    """The highest minor in both `(first, last)` ranges; None if there is none."""
    highest = min(ours[1], theirs[1])
    return highest if highest >= max(ours[0], theirs[0]) else None


def agree(major: int, minor_first: int, minor_last: int, their_hash: str) -> "tuple[int | None, int, str]":
    """What to make of the other side's HELLO or WELCOME: `(minor, 0, "")`, or `(None, REFUSED code, sentence)`."""
    minor = common_minor((MINOR_FIRST, MINOR_LAST), (minor_first, minor_last)) if major == MAJOR else None
    if minor is None:
        ours = "%d.%d-%d" % (MAJOR, MINOR_FIRST, MINOR_LAST)
        theirs = "%d.%d-%d" % (major, minor_first, minor_last)
        fix = "flash the controller from the running slot: tools/flash.py"
        return None, NO_COMMON_VERSION, "this side speaks %s, the other %s: %s" % (ours, theirs, fix)
    if minor_last == MINOR_LAST and their_hash != HASH:
        fix = "one of them is not a released build; flash the controller: tools/flash.py"
        return None, OTHER_CONTRACT, "both speak %d.%d but mean different tables: %s" % (MAJOR, MINOR_LAST, fix)
    return minor, 0, ""
