"""What a modem has around it: a SIM in its slot, and a network, or none."""

from msgspec import Struct

from agent.modem.fields import luhn
from agent.modem.parsers.technologies import GENERATIONS

IDLE, HOME, SEARCHING, DENIED, ROAMING = 0, 1, 2, 3, 5  # registration, 27.007 7.2
PIN_TRIES, PUK_TRIES = 3, 10


class Card:
    """A SIM. It counts wrong PINs itself, so pulling it does not help."""

    def __init__(
        self, iccid: str = "8949020000012345675", imsi: str = "262011234567890", *, mnc_digits: int = 2,
        pin: str = "", puk: str = "12345678",
    ) -> None:  # fmt: skip
        """With a `pin` it asks for it after each start."""
        self.iccid, self.imsi, self.mnc_digits, self.pin, self.puk = iccid, imsi, mnc_digits, pin or "0000", puk
        self.asks_pin = bool(pin)
        self.pin_tries, self.puk_tries = PIN_TRIES, PUK_TRIES
        self.is_dead = False  # it does not answer any more

    @property
    def home(self) -> str:
        """MCC and MNC of its operator."""
        return self.imsi[: 3 + self.mnc_digits]

    def lock(self, is_open: bool) -> str:
        """27.007 8.3; `is_open`: its PIN was given since it has power."""
        if not self.puk_tries:
            return "BLOCKED"
        if not self.pin_tries:
            return "SIM PUK"
        return "SIM PIN" if self.asks_pin and not is_open else "READY"

    def verify(self, pin: str) -> bool:
        assert self.pin_tries
        is_right = pin == self.pin
        self.pin_tries = PIN_TRIES if is_right else self.pin_tries - 1
        return is_right

    def unblock(self, puk: str, pin: str) -> bool:
        """A new PIN by PUK."""
        assert self.puk_tries
        if puk != self.puk:
            self.puk_tries -= 1
            return False
        self.pin, self.pin_tries, self.puk_tries = pin, PIN_TRIES, PUK_TRIES
        return True

    def file(self, number: int) -> bytes | None:
        """A transparent elementary file (3GPP TS 31.102 4.2), as it is stored. None: there is none."""
        match number:
            case 0x2FE2:
                return swapped(self.iccid.ljust(20, "F"))
            case 0x6F07:  # 4.2.2: its length, then a nibble of parity, then the digits
                digits = f"{9 if len(self.imsi) % 2 else 1}{self.imsi}"
                body = swapped(digits.ljust(16, "F"))
                return bytes([len(digits) + 1 >> 1]) + body
            case 0x6FAD:
                return bytes([0, 0, 0, self.mnc_digits])
            case 0x6F46:
                return b"\x00" + b"Simulated".ljust(16, b"\xff")
        return None


def swapped(digits: str) -> bytes:
    """Two digits in a byte, the first one in its lower half."""
    return bytes.fromhex("".join(digits[i + 1] + digits[i] for i in range(0, len(digits), 2)))


def with_check_digit(digits: str) -> str:
    return next(f"{digits}{each}" for each in range(10) if luhn(f"{digits}{each}"))


class Neighbour(Struct, frozen=True):
    """Another operator's network that can be heard."""

    mccmnc: str
    long: str
    short: str
    act: int
    is_forbidden: bool = False


class Network(Struct, frozen=True):
    """One operator's cell, as the modem's aerial hears it. `acts` are the technologies of 27.007 7.3 that it has."""

    mccmnc: str = "26201"
    long: str = "Telekom.de"
    short: str = "TDG"
    acts: tuple[int, ...] = (7, 2, 0)
    area: int = 0x8BE3
    """Location or tracking area code."""
    cell: int = 0x01A2B3C4
    band: str = "LTE BAND 3"
    channel: int = 1300
    rssi_dbm: int = -67
    rsrp_dbm: int = -97
    rsrq_db: float = -9.5
    sinr_db: float = 13.0
    refuses: int | None = None
    """The network's cause (24.008 10.5.5.14) with which it turns this SIM away."""
    is_data_only: bool = False
    """The SIM has no voice: circuit switched registration is denied, and all is well."""
    apns: tuple[str, ...] = ()
    """Those that it knows; none: any will do."""
    address: str = "10.64.12.7"
    dns: tuple[str, str] = ("10.74.210.210", "10.74.210.211")
    others: tuple[Neighbour, ...] = (
        Neighbour("26202", "Vodafone.de", "voda DE", 7),
        Neighbour("26203", "o2 - de", "o2 - de", 7, is_forbidden=True),
    )


class Context(Struct):
    """A PDP context, 27.007 10.1.1."""

    type: str
    apn: str
    is_active: bool = False


def generation(act: int) -> str:
    """2g, 3g, 4g or 5g."""
    return GENERATIONS[act]


def index(value: float, zero: float, step: float, last: int) -> int:
    """The number that stands for a level in 27.007: the lower end of its range is not above the value."""
    return max(0, min(last, int((value - zero) // step)))
